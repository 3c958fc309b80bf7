/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-nodes.c: nodes come, go and get other names; what is done on them by hand is recorded, and
 * nothing on them is touched that is not a server's
 */
#include <string.h>

#include "rig/rig.h"
#include "task/host-change.h"
#include "task/host-domains.h"

#define HOSTS    3
#define DEADLINE (clock_monotonic() + 5 * USEC_PER_SEC)

typedef struct Stage {
    char *dir;
    HostDriver *world;
    Rig *rig;
    char *server; /* ACTIVE on host1 */
} Stage;

/* ---- domains that do not carry Godwit's mark
 * -------------------------------------------------------------
 */

static char unmarked[64]; /* the id of one */

static GPtrArray *
marked_domains(HostConn *conn, GError **err)
{
    GPtrArray *infos = host_fake_ops.domains(conn, err);

    for (guint i = 0; infos && i < infos->len; i++) {
        DomainInfo *info = g_ptr_array_index(infos, i);

        info->ours = strcmp(info->uuid, unmarked) != 0;
    }
    return infos;
}

static DomainInfo *
marked_probe(HostConn *conn, const char *uuid, GError **err)
{
    DomainInfo *info = host_fake_ops.domain_probe(conn, uuid, err);

    if (info && strcmp(uuid, unmarked) == 0)
        info->ours = false;
    return info;
}

/* ---- the stage
 * -------------------------------------------------------------------------------------------
 */

static bool resume_guests;

static void
adjust(TaskSettings *settings)
{
    settings->resume_guests = resume_guests;
}

static void
start(Stage *stage)
{
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
    g_assert_true(rig_wait_idle(stage->rig, 15));
}

static void
stage_open(Stage *stage, const void *unused)
{
    static HostOps ops;

    ops = host_fake_ops;
    ops.domains = marked_domains;
    ops.domain_probe = marked_probe;
    rig_host_ops = &ops;
    rig_adjust = adjust;
    resume_guests = false;
    *unmarked = '\0';
    stage->dir = rig_make_dir(HOSTS);
    stage->world = host_fake_world_new(HOSTS);
    host_fake_set_timing(stage->world, 50 * USEC_PER_MSEC, 10 * USEC_PER_MSEC);
    start(stage);
    stage->server = rig_create_server(stage->rig, "s", "host1", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
}

static void
stage_close(Stage *stage, const void *unused)
{
    if (stage->rig)
        rig_stop(stage->rig);
    host_fake_world_free(stage->world);
    rig_remove_dir(stage->dir);
    g_free(stage->server);
}

/* Wait until the record says so; µs that it took. */
static int64_t
wait_state(Stage *stage, const char *id, VmState state, PowerState power)
{
    int64_t since = clock_monotonic(), deadline = DEADLINE;

    for (;;) {
        uint64_t seen = store_change_count(stage->rig->store);
        g_autoptr(Server) server = rig_server(stage->rig, id);

        if (server->vm_state == state && server->power_state == power &&
            server->task_state == TASK_NONE)
            return clock_monotonic() - since;
        if (clock_monotonic() > deadline)
            g_error("%s is %s, %s, %s, and not %s, %s", id, vm_state_names[server->vm_state],
                    power_state_names[server->power_state], task_state_names[server->task_state],
                    vm_state_names[state], power_state_names[power]);
        store_wait_change(stage->rig->store, seen, deadline);
    }
}

/* It is so, or comes to be. */
static void
assert_server(Stage *stage, const char *id, VmState state, const char *host, int copies)
{
    int64_t deadline = clock_monotonic() + 10 * USEC_PER_SEC;

    for (;;) {
        g_autoptr(Server) server = rig_server(stage->rig, id);
        int running = host_fake_running_count(stage->world, id);

        if (server->vm_state == state && server->task_state == TASK_NONE &&
            g_strcmp0(server->host, host) == 0 && running == copies)
            break;
        if (clock_monotonic() > deadline)
            g_error("%s is %s, %s on %s and runs on %d", id, vm_state_names[server->vm_state],
                    task_state_names[server->task_state], server->host, running);
        g_usleep(5 * USEC_PER_MSEC);
    }
}

static void
assert_fault(Stage *stage, const char *id, const char *words)
{
    g_autoptr(Server) server = rig_server(stage->rig, id);

    if (!words)
        g_assert_null(server->fault_message);
    else
        g_assert_nonnull(strstr(server->fault_message ? server->fault_message : "", words));
}

static int64_t
count_actions(Stage *stage, const char *id, const char *action)
{
    const StoreCond where[] = {
        {"server_id", STORE_EQ, id, 0}, {"action", STORE_EQ, action, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &ACTION, where);

    return rows->len;
}

static Host *
find_host(Stage *stage, const char *name)
{
    const StoreCond where[] = {{"name", STORE_EQ, name, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &HOST, where);

    return rows->len ? record_copy(&HOST, g_ptr_array_index(rows, 0)) : NULL;
}

static void
wait_host(Stage *stage, const char *name, HostState state)
{
    int64_t deadline = clock_monotonic() + 15 * USEC_PER_SEC;

    for (;;) {
        uint64_t seen = store_change_count(stage->rig->store);
        g_autoptr(Host) host = find_host(stage, name);

        if (host && host->state == state)
            break;
        g_assert_cmpint(clock_monotonic(), <, deadline);
        store_wait_change(stage->rig->store, seen, deadline);
    }
}

/* A node goes off and on again, while the controller looks or not. */
static void
reboot(Stage *stage, int node)
{
    g_autofree char *name = g_strdup_printf("host%d", node);

    host_fake_set_fault(stage->world, node, FAKE_NODE_DOWN);
    if (stage->rig)
        wait_host(stage, name, HOST_DOWN);
    host_fake_set_fault(stage->world, node, FAKE_FAULT_NONE);
    if (!stage->rig)
        return;
    wait_host(stage, name, HOST_UP);
    g_usleep(50 * USEC_PER_MSEC); /* for what the comparison submits */
    g_assert_true(rig_wait_idle(stage->rig, 15));
}

/* Connections of somebody else, who works on the nodes while the controller is away. */
static Hosts *
hand_open(Stage *stage)
{
    const HostsConfig config = {.ops = &host_fake_ops, .driver = stage->world, .virt_type = "qemu"};
    Hosts *hand = hosts_new(&config);

    for (int i = 1; i <= HOSTS; i++) {
        g_autofree char *name = g_strdup_printf("host%d", i),
                        *uri = g_strdup_printf("fake://host%d/system", i);
        int64_t deadline = DEADLINE;

        hosts_add(hand, name, uri);
        while (!hosts_is_connected(hand, name)) {
            g_assert_cmpint(clock_monotonic(), <, deadline);
            g_usleep(USEC_PER_MSEC);
        }
    }
    return hand;
}

typedef bool (*ByHand)(Hosts *hosts, const char *host, const char *uuid, int64_t deadline,
                       GError **err);

static void
by_hand(Stage *stage, ByHand what, const char *host, const char *id)
{
    g_autoptr(GError) error = NULL;
    Hosts *hand = stage->rig ? stage->rig->hosts : hand_open(stage);

    what(hand, host, id, DEADLINE, &error);
    g_assert_no_error(error);
    if (!stage->rig)
        hosts_free(hand);
}

/* Somebody defines and starts a domain with this id. */
static void
start_by_hand(Stage *stage, const char *host, const char *id)
{
    ServerSpec spec = {.uuid = (char *)id,
                       .domain_name = (char *)"by-hand",
                       .title = (char *)"x",
                       .virt_type = (char *)"qemu",
                       .machine = (char *)"pc",
                       .vcpus = 1,
                       .ram_mb = 64,
                       .console_path = (char *)"/x"};
    g_autoptr(GError) error = NULL;
    Hosts *hand = stage->rig ? stage->rig->hosts : hand_open(stage);

    host_domain_start(hand, host, &spec, NULL, NULL, DEADLINE, &error);
    g_assert_no_error(error);
    if (!stage->rig)
        hosts_free(hand);
}

/* Somebody starts the server's own domain. */
static void
start_again(Stage *stage, const char *host, const char *id)
{
    start_by_hand(stage, host, id);
}

/* Take stock now, and let what comes of it end. */
static void
sweep(Stage *stage)
{
    int64_t since = clock_realtime(), deadline = DEADLINE;

    watch_sweep(stage->rig->watch);
    for (int i = 1; i <= HOSTS;) {
        g_autofree char *name = g_strdup_printf("host%d", i);
        g_autoptr(Host) host = find_host(stage, name);

        if (host->facts_at >= since) {
            i++;
            continue;
        }
        g_assert_cmpint(clock_monotonic(), <, deadline);
        g_usleep(USEC_PER_MSEC);
    }
    g_usleep(100 * USEC_PER_MSEC); /* for what the comparison submits */
    g_assert_true(rig_wait_idle(stage->rig, 15));
}

/* ---- by hand, while the controller looks
 * ----------------------------------------------------------------
 */

static void
test_by_hand(Stage *stage, const void *unused)
{
    const char *id = stage->server;
    int64_t worst = 0;

    by_hand(stage, host_domain_pause, "host1", id);
    worst = MAX(worst, wait_state(stage, id, VM_PAUSED, POWER_PAUSED));
    by_hand(stage, host_domain_resume, "host1", id);
    worst = MAX(worst, wait_state(stage, id, VM_ACTIVE, POWER_RUNNING));
    by_hand(stage, host_domain_destroy, "host1", id);
    worst = MAX(worst, wait_state(stage, id, VM_STOPPED, POWER_SHUTDOWN));
    start_again(stage, "host1", id);
    worst = MAX(worst, wait_state(stage, id, VM_ACTIVE, POWER_RUNNING));
    by_hand(stage, host_domain_save, "host1", id);
    worst = MAX(worst, wait_state(stage, id, VM_SUSPENDED, POWER_SUSPENDED));
    by_hand(stage, host_domain_restore, "host1", id);
    worst = MAX(worst, wait_state(stage, id, VM_ACTIVE, POWER_RUNNING));
    g_assert_cmpint(worst, <, USEC_PER_SEC);
    assert_server(stage, id, VM_ACTIVE, "host1", 1);
    assert_fault(stage, id, NULL);
}

static void
test_undefined(Stage *stage, const void *unused)
{
    const char *id = stage->server;

    rig_action(stage->rig, id, "os-stop", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    by_hand(stage, host_domain_undefine, "host1", id);
    for (int64_t deadline = DEADLINE;;) {
        g_autoptr(Server) server = rig_server(stage->rig, id);

        if (server->fault_message)
            break;
        g_assert_cmpint(clock_monotonic(), <, deadline);
        g_usleep(USEC_PER_MSEC);
    }
    assert_server(stage, id, VM_STOPPED, "host1", 0);
    assert_fault(stage, id, "removed by hand");
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 0);
    rig_action(stage->rig, id, "os-start", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_server(stage, id, VM_ACTIVE, "host1", 1);
    assert_fault(stage, id, NULL);
}

/* With the definition goes the memory that was saved. */
static void
test_undefined_suspended(Stage *stage, const void *unused)
{
    const char *id = stage->server;

    by_hand(stage, host_domain_save, "host1", id);
    wait_state(stage, id, VM_SUSPENDED, POWER_SUSPENDED);
    by_hand(stage, host_domain_undefine, "host1", id);
    wait_state(stage, id, VM_STOPPED, POWER_SHUTDOWN);
    assert_fault(stage, id, "removed by hand");
    g_assert_cmpint(count_actions(stage, id, "stop"), ==, 1);
}

static bool
set_vm_state(StoreTx *tx, void *opaque, GError **err)
{
    Server *wanted = opaque;
    g_autoptr(Server) server = store_get(tx, &SERVER, wanted->id, err);

    server->vm_state = wanted->vm_state;
    if (wanted->host)
        text_set(&server->host, wanted->host);
    return store_update(tx, &SERVER, server, err);
}

static void
change_server(Stage *stage, const char *id, VmState state, const char *host)
{
    Server wanted = {.id = (char *)id, .vm_state = state, .host = (char *)host};

    g_assert_true(store_write(stage->rig->store, set_vm_state, &wanted, NULL));
}

/* A state that waits for somebody's decision is not changed by what the guest does. */
static void
test_kept_states(Stage *stage, const void *unused)
{
    const char *id = stage->server;

    change_server(stage, id, VM_RESIZED, NULL);
    by_hand(stage, host_domain_destroy, "host1", id);
    wait_state(stage, id, VM_RESIZED, POWER_SHUTDOWN);
    sweep(stage);
    wait_state(stage, id, VM_RESIZED, POWER_SHUTDOWN);
    start_again(stage, "host1", id);
    sweep(stage); /* behind every event of the start */
    wait_state(stage, id, VM_RESIZED, POWER_RUNNING);
    change_server(stage, id, VM_ERROR, NULL);
    by_hand(stage, host_domain_destroy, "host1", id);
    wait_state(stage, id, VM_ERROR, POWER_SHUTDOWN);
    start_again(stage, "host1", id);
    wait_state(stage, id, VM_ACTIVE, POWER_RUNNING);
}

/* ---- by hand, while the controller is away
 * --------------------------------------------------------------
 */

static void
leave(Stage *stage)
{
    rig_stop(stage->rig);
    stage->rig = NULL;
}

static void
test_away(Stage *stage, const void *unused)
{
    const char *id = stage->server;

    leave(stage);
    by_hand(stage, host_domain_pause, "host1", id);
    start(stage);
    wait_state(stage, id, VM_PAUSED, POWER_PAUSED);
    leave(stage);
    by_hand(stage, host_domain_resume, "host1", id);
    start(stage);
    wait_state(stage, id, VM_ACTIVE, POWER_RUNNING);
    leave(stage);
    by_hand(stage, host_domain_save, "host1", id);
    start(stage);
    wait_state(stage, id, VM_SUSPENDED, POWER_SUSPENDED);
    leave(stage);
    by_hand(stage, host_domain_restore, "host1", id);
    start(stage);
    wait_state(stage, id, VM_ACTIVE, POWER_RUNNING);
    leave(stage);
    by_hand(stage, host_domain_destroy, "host1", id);
    resume_guests = true; /* it was not lost with its node */
    start(stage);
    wait_state(stage, id, VM_STOPPED, POWER_SHUTDOWN);
    sweep(stage);
    assert_server(stage, id, VM_STOPPED, "host1", 0);
    assert_fault(stage, id, NULL);
    g_assert_cmpint(count_actions(stage, id, "start"), ==, 0);
    leave(stage);
    by_hand(stage, host_domain_undefine, "host1", id);
    start(stage);
    assert_server(stage, id, VM_STOPPED, "host1", 0);
    rig_action(stage->rig, id, "os-start", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_server(stage, id, VM_ACTIVE, "host1", 1);
    leave(stage);
    by_hand(stage, host_domain_destroy, "host1", id);
    by_hand(stage, host_domain_undefine, "host1", id);
    start(stage);
    wait_state(stage, id, VM_STOPPED, POWER_SHUTDOWN);
    assert_fault(stage, id, "removed by hand");
}

/* Somebody moved the guest while nobody looked: the record follows, and one copy runs. */
static void
test_moved_by_hand(Stage *stage, const void *unused)
{
    const char *id = stage->server;

    leave(stage);
    by_hand(stage, host_domain_destroy, "host1", id);
    start_by_hand(stage, "host3", id);
    start(stage);
    sweep(stage);
    assert_server(stage, id, VM_ACTIVE, "host3", 1);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 1);
}

/* ---- a node is rebooted
 * ---------------------------------------------------------------------------------
 */

static void
test_reboot(Stage *stage, const void *unused)
{
    const char *id = stage->server;

    reboot(stage, 1);
    assert_server(stage, id, VM_STOPPED, "host1", 0);
    assert_fault(stage, id, "was lost when the node was started anew");
    g_assert_cmpint(count_actions(stage, id, "stop"), ==, 1);
    g_assert_cmpint(count_actions(stage, id, "start"), ==, 0);
    rig_action(stage->rig, id, "os-start", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_server(stage, id, VM_ACTIVE, "host1", 1);
    assert_fault(stage, id, NULL);
}

static void
test_reboot_resume(Stage *stage, const void *unused)
{
    g_autofree char *stopped = NULL, *paused = NULL, *evacuated = NULL;

    stopped = rig_create_server(stage->rig, "stopped", "host1", NULL);
    paused = rig_create_server(stage->rig, "paused", "host1", NULL);
    evacuated = rig_create_server(stage->rig, "evacuated", "host1", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    rig_action(stage->rig, stopped, "os-stop", NULL, NULL);
    by_hand(stage, host_domain_pause, "host1", paused);
    wait_state(stage, paused, VM_PAUSED, POWER_PAUSED);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    leave(stage);
    resume_guests = true;
    start(stage);

    host_fake_set_fault(stage->world, 1, FAKE_NODE_DOWN);
    wait_host(stage, "host1", HOST_DOWN);
    change_server(stage, evacuated, VM_ACTIVE, "host2");
    start_by_hand(stage, "host2", evacuated);
    host_fake_set_fault(stage->world, 1, FAKE_FAULT_NONE);
    wait_host(stage, "host1", HOST_UP);
    sweep(stage);
    assert_server(stage, stage->server, VM_ACTIVE, "host1", 1);
    assert_server(stage, stopped, VM_STOPPED, "host1", 0);
    assert_server(stage, paused, VM_STOPPED, "host1", 0);
    assert_server(stage, evacuated, VM_ACTIVE, "host2", 1);
    g_assert_cmpint(count_actions(stage, stage->server, "start"), ==, 1);
    g_assert_cmpint(count_actions(stage, stage->server, "stop"), ==, 1);
    assert_fault(stage, stage->server, NULL);
    assert_fault(stage, paused, "was lost");
}

/* While the controller is away, too; and not where it runs already. */
static void
test_reboot_away(Stage *stage, const void *unused)
{
    const char *id = stage->server;

    resume_guests = true;
    leave(stage);
    reboot(stage, 1);
    start(stage);
    sweep(stage);
    assert_server(stage, id, VM_ACTIVE, "host1", 1);
    leave(stage);
    reboot(stage, 1);
    start_by_hand(stage, "host3", id);
    start(stage);
    sweep(stage);
    assert_server(stage, id, VM_ACTIVE, "host3", 1);
}

/* ---- what is not Godwit's
 * -------------------------------------------------------------------------------
 */

static DomainRole
role_on(const HostDomains *found, const char *id)
{
    for (guint i = 0; i < found->domains->len; i++) {
        const HostDomain *domain = g_ptr_array_index(found->domains, i);

        if (strcmp(domain->uuid, id) == 0)
            return domain->role;
    }
    g_error("%s is not there", id);
}

static void
test_foreign(Stage *stage, const void *unused)
{
    g_autofree char *unknown = uuid_new();
    g_autoptr(Host) host = NULL;
    g_autoptr(HostDomains) found = NULL, here = NULL;

    start_by_hand(stage, "host3", unknown);
    g_strlcpy(unmarked, unknown, sizeof unmarked);
    sweep(stage);
    host = find_host(stage, "host3");
    g_assert_cmpint(host->foreign_domains, ==, 1);
    g_assert_cmpint(host_fake_running_count(stage->world, unknown), ==, 1);
    found = query_host_domains(stage->rig->tasks, "host3", NULL);
    g_assert_cmpint(role_on(found, unknown), ==, ROLE_FOREIGN);
    g_assert_cmpint(found->foreign, ==, 1);
    g_assert_cmpint(found->unexpected, ==, 0);

    /* the mark, but no server */
    *unmarked = '\0';
    sweep(stage);
    g_clear_pointer(&found, host_domains_free);
    found = query_host_domains(stage->rig->tasks, "host3", NULL);
    g_assert_cmpint(role_on(found, unknown), ==, ROLE_UNKNOWN);
    g_assert_cmpint(found->unexpected, ==, 1);
    g_assert_cmpint(host_fake_running_count(stage->world, unknown), ==, 1);
    here = query_host_domains(stage->rig->tasks, "host1", NULL);
    g_assert_cmpint(role_on(here, stage->server), ==, ROLE_SERVER);
    g_assert_cmpint(here->missing->len, ==, 0);
}

/* A server's id without Godwit's mark is somebody's copy: neither the guest nor removed. */
static void
test_unmarked(Stage *stage, const void *unused)
{
    const char *id = stage->server;
    g_autoptr(HostDomains) found = NULL;

    rig_action(stage->rig, id, "os-stop", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    leave(stage);
    g_strlcpy(unmarked, id, sizeof unmarked);
    start_by_hand(stage, "host3", id);
    start(stage);
    sweep(stage);
    assert_server(stage, id, VM_STOPPED, "host1", 1);
    found = query_host_domains(stage->rig->tasks, "host3", NULL);
    g_assert_cmpint(role_on(found, id), ==, ROLE_UNMARKED);
    g_assert_cmpint(found->unexpected, ==, 1);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 2);
}

/* ---- removed, renamed
 * -----------------------------------------------------------------------------------
 */

typedef struct Change {
    const char *host, *name; /* name NULL: remove */
    bool force;
} Change;

static bool
change_host(StoreTx *tx, void *opaque, GError **err)
{
    const Change *change = opaque;
    const StoreCond where[] = {{"name", STORE_EQ, change->host, 0}, {NULL}};
    g_autoptr(Host) host = store_find(tx, &HOST, where, err);

    return host && (change->name ? task_host_rename(tx, host, change->name, err)
                                 : task_host_remove(tx, host, change->force, err));
}

static void
try_change(Stage *stage, const char *host, const char *name, bool force, ErrCode code,
           const char *words)
{
    Change change = {host, name, force};
    g_autoptr(GError) error = NULL;

    if (store_write(stage->rig->store, change_host, &change, &error)) {
        g_assert_null(words);
        watch_hosts_changed(stage->rig->watch);
        return;
    }
    if (!words || !strstr(error->message, words) || !err_is(error, code))
        g_error("%s", error->message);
}

static bool
insert_fence(StoreTx *tx, void *opaque, GError **err)
{
    Fence fence = {.host = (char *)"host3",
                   .address = (char *)"192.0.2.9:0/1",
                   .server_id = (char *)"",
                   .expires_at = clock_realtime() + 1000 * USEC_PER_SEC};

    return store_insert(tx, &FENCE, &fence, err);
}

static bool
set_migration_status(StoreTx *tx, void *opaque, GError **err)
{
    MigrationStatus *status = opaque;
    g_autoptr(Migration) row = store_get_int(tx, &MIGRATION, 1, err);

    row->status = *status;
    return row && store_update(tx, &MIGRATION, row, err);
}

static void
test_remove(Stage *stage, const void *unused)
{
    g_autofree char *b = rig_create_server(stage->rig, "b", "host1", NULL),
                    *c = rig_create_server(stage->rig, "c", "host1", NULL),
                    *d = rig_create_server(stage->rig, "d", "host1", NULL);
    MigrationStatus finished = MIGRATION_FINISHED, completed = MIGRATION_COMPLETED,
                    done = MIGRATION_DONE;
    g_autoptr(GPtrArray) left = NULL;

    g_assert_true(rig_wait_idle(stage->rig, 10));
    try_change(stage, "host1", NULL, true, ERR_CONFLICT, "has 4 servers (s, b, c, …)");
    host_fake_set_timing(stage->world, USEC_PER_SEC, 10 * USEC_PER_MSEC);
    rig_migrate(stage->rig, stage->server, "host2", NULL);
    for (;;) {
        g_autoptr(Migration) row = rig_migration(stage->rig, 1);

        if (row->dest_host && row->status == MIGRATION_RUNNING)
            break;
        g_usleep(USEC_PER_MSEC);
    }
    try_change(stage, "host2", NULL, true, ERR_CONFLICT, "1 move (s)");
    try_change(stage, "host2", "other", false, ERR_CONFLICT, "");
    g_assert_true(rig_wait_idle(stage->rig, 10));
    rig_migrate(stage->rig, stage->server, "host1", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_assert_true(store_write(stage->rig->store, set_migration_status, &finished, NULL));
    try_change(stage, "host2", NULL, true, ERR_CONFLICT, "confirmed or reverted");
    g_assert_true(store_write(stage->rig->store, set_migration_status, &completed, NULL));
    try_change(stage, "host2", NULL, false, ERR_BUG, NULL);

    g_assert_true(store_write(stage->rig->store, insert_fence, NULL, NULL));
    try_change(stage, "host3", NULL, false, ERR_CONFLICT, "shut out");
    try_change(stage, "host3", NULL, true, ERR_BUG, NULL);
    left = rig_rows(stage->rig, &FENCE, NULL);
    g_assert_cmpint(left->len, ==, 0);
    for (int64_t deadline = DEADLINE; hosts_is_connected(stage->rig->hosts, "host2") ||
                                      hosts_is_connected(stage->rig->hosts, "host3");) {
        g_assert_cmpint(clock_monotonic(), <, deadline);
        g_usleep(USEC_PER_MSEC);
    }
    /* what is left of servers that were brought up elsewhere */
    for (int i = 0; i < 4; i++) {
        const char *ids[] = {stage->server, b, c, d};

        rig_action(stage->rig, ids[i], "delete", NULL, NULL);
    }
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_assert_true(store_write(stage->rig->store, set_migration_status, &done, NULL));
    try_change(stage, "host1", NULL, false, ERR_CONFLICT, "brought up elsewhere");
    try_change(stage, "host1", NULL, true, ERR_BUG, NULL);
}

static bool
insert_client(StoreTx *tx, void *opaque, GError **err)
{
    DiskClient client = {.server_id = (char *)opaque,
                         .source = (char *)"p/i",
                         .host = (char *)"host1",
                         .address = (char *)"192.0.2.1:0/1"};

    return store_insert(tx, &DISK_CLIENT, &client, err);
}

static void
test_rename(Stage *stage, const void *unused)
{
    const char *id = stage->server;
    const StoreCond here[] = {{"host", STORE_EQ, "rack-7.node1", 0}, {NULL}};
    g_autoptr(Host) before = find_host(stage, "host1"), after = NULL;
    g_autoptr(Server) server = NULL;
    g_autoptr(Migration) row = NULL;
    g_autoptr(GPtrArray) clients = NULL;

    rig_migrate(stage->rig, id, "host2", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    rig_migrate(stage->rig, id, "host1", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_assert_true(store_write(stage->rig->store, insert_client, (void *)id, NULL));
    try_change(stage, "host1", "host2", false, ERR_CONFLICT, "already");
    try_change(stage, "host1", "-x", false, ERR_INVALID, "begin with");
    try_change(stage, "host1", "a b", false, ERR_INVALID, "begin with");
    try_change(stage, "host1", "", false, ERR_INVALID, "begin with");
    try_change(stage, "host1", "host1", false, ERR_BUG, NULL);
    try_change(stage, "host1", "rack-7.node1", false, ERR_BUG, NULL);
    wait_host(stage, "rack-7.node1", HOST_UP);
    after = find_host(stage, "rack-7.node1");
    g_assert_cmpstr(after->id, ==, before->id);
    g_assert_cmpstr(after->service_id, ==, before->service_id);
    g_assert_cmpint(after->number, ==, before->number);
    g_assert_null(find_host(stage, "host1"));
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_server(stage, id, VM_ACTIVE, "rack-7.node1", 1);
    server = rig_server(stage->rig, id);
    g_assert_nonnull(strstr(server->console_parts, "\"rack-7.node1\""));
    g_assert_null(strstr(server->console_parts, "\"host1\""));
    row = rig_migration(stage->rig, 1);
    g_assert_cmpstr(row->source_host, ==, "rack-7.node1");
    clients = rig_rows(stage->rig, &DISK_CLIENT, here);
    g_assert_cmpint(clients->len, ==, 1);

    /* and all goes on under the new name */
    by_hand(stage, host_domain_pause, "rack-7.node1", id);
    wait_state(stage, id, VM_PAUSED, POWER_PAUSED);
    by_hand(stage, host_domain_resume, "rack-7.node1", id);
    wait_state(stage, id, VM_ACTIVE, POWER_RUNNING);
    rig_action(stage->rig, id, "os-stop", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    rig_action(stage->rig, id, "os-start", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    rig_migrate(stage->rig, id, "host3", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_server(stage, id, VM_ACTIVE, "host3", 1);

    /* there and back before anybody looked */
    try_change(stage, "rack-7.node1", "x", false, ERR_BUG, NULL);
    try_change(stage, "x", "rack-7.node1", false, ERR_BUG, NULL);
    wait_host(stage, "rack-7.node1", HOST_UP);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Stage *stage, const void *unused);
    } tests[] = {
        {"/nodes/by-hand", test_by_hand},
        {"/nodes/undefined", test_undefined},
        {"/nodes/undefined-suspended", test_undefined_suspended},
        {"/nodes/kept-states", test_kept_states},
        {"/nodes/away", test_away},
        {"/nodes/moved-by-hand", test_moved_by_hand},
        {"/nodes/reboot", test_reboot},
        {"/nodes/reboot-resume", test_reboot_resume},
        {"/nodes/reboot-away", test_reboot_away},
        {"/nodes/foreign", test_foreign},
        {"/nodes/unmarked", test_unmarked},
        {"/nodes/remove", test_remove},
        {"/nodes/rename", test_rename},
    };

    g_test_init(&argc, &argv, NULL);
    log_set_level(g_getenv("TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Stage, NULL, stage_open, tests[i].fn, stage_close);
    return g_test_run();
}
