/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-move-broken.c: live migrations that break: post-copy that loses a half, a source that is out
 * of sight, wishes and deletions that come at the worst moment */
#include <stdatomic.h>
#include <string.h>

#include "rig/rig.h"

#define HOSTS    3
#define DEADLINE (clock_monotonic() + 5 * USEC_PER_SEC)

typedef struct Stage {
    char *dir;
    HostDriver *world;
    Rig *rig;
    char *server;
} Stage;

static _Atomic int64_t linger_us; /* the migrate call returns so much later than the move ends */
static Rig *wisher;
static _Atomic int64_t to_abort; /* when a CPU is compared; 0: none */

static bool
lingering_migrate(HostConn *conn, const MoveSpec *spec, GError **err)
{
    bool ok = host_fake_ops.migrate(conn, spec, err);

    g_usleep((gulong)atomic_load(&linger_us));
    return ok;
}

static bool
wishing_cpu_compare(HostConn *conn, const char *cpu_xml, const char *virt_type, const char *machine,
                    GError **err)
{
    int64_t id;

    while ((id = atomic_load(&to_abort)) < 0) /* it is not known yet */
        g_usleep(USEC_PER_MSEC);
    if (id && atomic_exchange(&to_abort, 0))
        rig_wish(wisher, id, WISH_ABORT, NULL);
    return host_fake_ops.cpu_compare(conn, cpu_xml, virt_type, machine, err);
}

static void
stage_open(Stage *stage, const void *unused)
{
    static HostOps ops;

    ops = host_fake_ops;
    ops.migrate = lingering_migrate;
    ops.cpu_compare = wishing_cpu_compare;
    rig_host_ops = &ops;
    atomic_store(&linger_us, 0);
    stage->dir = rig_make_dir(HOSTS);
    stage->world = host_fake_world_new(HOSTS);
    host_fake_set_timing(stage->world, 20 * USEC_PER_SEC, 10 * USEC_PER_MSEC);
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
    stage->server = rig_create_server(stage->rig, "s", "host1", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
}

static void
stage_close(Stage *stage, const void *unused)
{
    rig_stop(stage->rig);
    host_fake_world_free(stage->world);
    rig_remove_dir(stage->dir);
    g_free(stage->server);
    rig_host_ops = NULL;
}

static DomainInfo *
probe(Stage *stage, const char *host)
{
    return host_domain_probe(stage->rig->hosts, host, stage->server, DEADLINE, NULL);
}

static int64_t
start_move(Stage *stage, const char *dest)
{
    int64_t id = rig_migrate(stage->rig, stage->server, dest, NULL);

    for (;;) {
        g_autoptr(DomainInfo) info = probe(stage, "host1");

        if (info && info->job_active)
            return id;
        g_usleep(5 * USEC_PER_MSEC);
    }
}

static void
wait_for_host(Stage *stage, const char *host, HostState state)
{
    const StoreCond where[] = {
        {"name", STORE_EQ, host, 0}, {"state", STORE_EQ, NULL, state}, {NULL}};

    for (uint64_t seen = 0;;) {
        g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &HOST, where);

        if (rows->len > 0)
            return;
        seen = store_wait_change(stage->rig->store, seen, clock_monotonic() + 20 * USEC_PER_MSEC);
    }
}

static Migration *
wait_for_end(Stage *stage, int64_t id, int64_t within_s)
{
    int64_t deadline = clock_monotonic() + within_s * USEC_PER_SEC;

    for (uint64_t seen = 0;;) {
        Migration *row = rig_migration(stage->rig, id);

        if (migration_status_is_final(row->status))
            return row;
        g_assert_cmpint(clock_monotonic(), <, deadline);
        migration_free(row);
        seen = store_wait_change(stage->rig->store, seen, clock_monotonic() + 20 * USEC_PER_MSEC);
    }
}

static void
wait_until_certain(Stage *stage)
{
    int64_t deadline = clock_monotonic() + 10 * USEC_PER_SEC;

    for (bool certain = false; !certain;) {
        g_autoptr(Server) now = rig_server(stage->rig, stage->server);

        certain = !now->uncertainty;
        g_assert_cmpint(clock_monotonic(), <, deadline);
        g_usleep(5 * USEC_PER_MSEC);
    }
}

/* ---- post-copy ----------------------------------------------------------------------------
 */

/* The guest runs on host2, and needs host1. */
static int64_t
hand_over(Stage *stage)
{
    int64_t id;

    stage->rig->libvirt->migrate_flags |= MIGRATE_POSTCOPY;
    host_fake_set_timing(stage->world, 60 * USEC_PER_SEC, 10 * USEC_PER_MSEC);
    id = start_move(stage, "host2");
    rig_wish(stage->rig, id, WISH_FORCE_COMPLETE, NULL);
    for (bool handed_over = false; !handed_over;) {
        g_autoptr(DomainInfo) info = probe(stage, "host1");

        handed_over = info && info->postcopy;
        g_usleep(5 * USEC_PER_MSEC);
    }
    return id;
}

static void
assert_lost(Stage *stage, int64_t id)
{
    g_autoptr(Migration) row = wait_for_end(stage, id, 20);
    g_autoptr(Server) server = NULL;

    g_assert_true(rig_wait_idle(stage->rig, 20));
    server = rig_server(stage->rig, stage->server);
    g_assert_cmpstr(migration_status_names[row->status], ==, "error");
    g_assert_cmpstr(vm_state_names[server->vm_state], ==, "error");
    g_assert_null(server->uncertainty);
    g_assert_nonnull(server->fault_message);
    g_assert_nonnull(strstr(server->fault_message, "--hard"));
}

/* What is left of the guest on host2 is none, whatever a sweep finds there; it can be booted when
 * somebody has cleared that away. */
static void
test_source_destroyed(Stage *stage, const void *unused)
{
    int64_t id = hand_over(stage);

    host_domain_destroy(stage->rig->hosts, "host1", stage->server, DEADLINE, NULL);
    assert_lost(stage, id);
    watch_sweep(stage->rig->watch);
    g_usleep(500 * USEC_PER_MSEC);
    assert_lost(stage, id);
    g_assert_true(host_domain_destroy(stage->rig->hosts, "host2", stage->server, DEADLINE, NULL));
    rig_action(stage->rig, stage->server, "reboot-hard", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_assert_cmpstr(vm_state_names[server->vm_state], ==, "active");
    g_assert_cmpint(host_fake_running_count(stage->world, stage->server), ==, 1);
}

static void
test_source_died(Stage *stage, const void *unused)
{
    int64_t id = hand_over(stage);

    host_fake_set_fault(stage->world, 1, FAKE_NODE_DOWN);
    assert_lost(stage, id);
}

static void
test_dest_destroyed(Stage *stage, const void *unused)
{
    int64_t id = hand_over(stage);

    host_domain_destroy(stage->rig->hosts, "host2", stage->server, DEADLINE, NULL);
    assert_lost(stage, id);
    rig_action(stage->rig, stage->server, "reboot-hard", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    g_assert_cmpint(host_fake_running_count(stage->world, stage->server), ==, 1);
}

/* Whether the guest runs there only that node can say; when it does, what the source has is of no
 * use, and does not stand in the way of a start. */
static void
test_dest_died(Stage *stage, const void *unused)
{
    int64_t id = hand_over(stage);

    host_fake_set_fault(stage->world, 2, FAKE_NODE_DOWN);
    migration_free(wait_for_end(stage, id, 20));
    g_assert_true(rig_wait_idle(stage->rig, 20));
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_assert_cmpstr(server->host, ==, "host2");
    g_assert_nonnull(strstr(server->uncertainty, "evacuate"));
    host_fake_set_fault(stage->world, 2, FAKE_FAULT_NONE);
    wait_until_certain(stage);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    g_autoptr(Server) settled = rig_server(stage->rig, stage->server);
    g_assert_cmpstr(vm_state_names[settled->vm_state], ==, "stopped");
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 0);
    rig_action(stage->rig, stage->server, "os-start", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    g_assert_cmpint(host_fake_running_count(stage->world, stage->server), ==, 1);
}

static void
test_evacuated(Stage *stage, const void *unused)
{
    const EvacuateRequest evacuate = {.dest = "host3", .override = "its plug was pulled"};
    int64_t id = hand_over(stage);

    host_fake_set_fault(stage->world, 1, FAKE_NODE_DOWN);
    wait_for_host(stage, "host1", HOST_DOWN);
    rig_evacuate(stage->rig, stage->server, &evacuate, NULL);
    migration_free(wait_for_end(stage, id, 10));
    g_assert_true(rig_wait_idle(stage->rig, 30));
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_autoptr(DomainInfo) half = probe(stage, "host2");
    g_assert_cmpstr(server->host, ==, "host3");
    g_assert_cmpstr(vm_state_names[server->vm_state], ==, "active");
    g_assert_null(server->uncertainty);
    g_assert_true(half && (half->state == DOMAIN_ABSENT || half->state == DOMAIN_SHUTOFF));
}

/* ---- what was not seen --------------------------------------------------------------------
 */

/* While the source was out of sight, the guest may have gone to the destination and come back: when
 * that does not answer, nobody can say that it does not run there. */
static void
test_out_of_sight(Stage *stage, const void *unused)
{
    int64_t id;

    host_fake_set_fault(stage->world, 1, FAKE_MIGRATE_NEVER_CONVERGES);
    id = start_move(stage, NULL);
    g_autoptr(Migration) under_way = rig_migration(stage->rig, id);
    int dest = under_way->dest_host[strlen("host")] - '0';
    host_fake_set_fault(stage->world, 1, FAKE_NODE_CUT);
    wait_for_host(stage, "host1", HOST_DOWN);
    host_fake_set_fault(stage->world, 1, FAKE_FAULT_NONE);
    wait_for_host(stage, "host1", HOST_UP);
    host_fake_set_fault(stage->world, dest, FAKE_NODE_CUT);
    wait_for_host(stage, under_way->dest_host, HOST_DOWN);
    g_assert_true(host_job_abort(stage->rig->hosts, "host1", stage->server, DEADLINE, NULL));
    g_autoptr(Migration) row = wait_for_end(stage, id, 10);
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_assert_cmpstr(row->dest_host, ==, under_way->dest_host); /* no second attempt */
    g_assert_cmpstr(server->host, ==, "host1");
    g_assert_nonnull(server->uncertainty);
    host_fake_set_fault(stage->world, dest, FAKE_FAULT_NONE);
    wait_until_certain(stage);
}

/* ---- the worst moment ---------------------------------------------------------------------
 */

/* It runs on the source again, and the call has not said so: the wish is read once more. */
static void
test_abort_again(Stage *stage, const void *unused)
{
    int64_t id = start_move(stage, "host2");

    atomic_store(&linger_us, 2 * USEC_PER_SEC);
    rig_wish(stage->rig, id, WISH_FORCE_COMPLETE, NULL);
    for (bool paused = false; !paused;) {
        g_autoptr(DomainInfo) info = probe(stage, "host1");

        paused = info && info->state == DOMAIN_PAUSED_MIGRATED;
        g_usleep(5 * USEC_PER_MSEC);
    }
    rig_wish(stage->rig, id, WISH_ABORT, NULL);
    for (bool back = false; !back;) {
        g_autoptr(DomainInfo) info = probe(stage, "host1");

        back = info && info->state == DOMAIN_RUNNING && !info->job_active;
        g_usleep(5 * USEC_PER_MSEC);
    }
    g_usleep(300 * USEC_PER_MSEC);
    rig_wish(stage->rig, id, WISH_ABORT, NULL);
    g_autoptr(Migration) row = wait_for_end(stage, id, 10);
    g_assert_cmpstr(migration_status_names[row->status], ==, "cancelled");
    g_assert_nonnull(strstr(row->reason, "the move to host2 was aborted, the guest runs on host1"));
    g_assert_true(rig_wait_idle(stage->rig, 10));
}

static bool
submit_delete(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Server) server = store_get(tx, &SERVER, opaque, err);
    const TaskRequest request = {.request_id = "req-d", .user_id = "u", .project_id = "p"};

    return server && task_submit(tx, "delete", server, true, &request, NULL, err);
}

/* Accepted, and godwitd died before the move was told: the next one ends it. */
static void
test_delete_after_restart(Stage *stage, const void *unused)
{
    int64_t id = start_move(stage, "host2"), begun;

    rig_stop(stage->rig);
    g_autofree char *db = g_build_filename(stage->dir, "godwit.db", NULL);
    Store *store = store_open(db, NULL);
    g_assert_true(store_write(store, submit_delete, stage->server, NULL));
    store_close(store);
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
    begun = clock_monotonic();
    g_autoptr(Migration) row = wait_for_end(stage, id, 15);
    g_assert_cmpint(clock_monotonic() - begun, <, 10 * USEC_PER_SEC);
    g_assert_cmpstr(migration_status_names[row->status], ==, "cancelled");
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_assert_cmpstr(vm_state_names[server->vm_state], ==, "deleted");
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 0);
}

static void
allow_one(TaskSettings *settings)
{
    settings->moves_total = 1;
}

/* It may wait for hours: what its guest does meanwhile is recorded as ever. */
static void
test_stops_in_queue(Stage *stage, const void *unused)
{
    g_autofree char *other = NULL;
    int64_t first, second, deadline;

    rig_stop(stage->rig);
    rig_adjust = allow_one;
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
    rig_adjust = NULL;
    other = rig_create_server(stage->rig, "other", "host1", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    first = start_move(stage, "host2");
    second = rig_migrate(stage->rig, other, "host3", NULL);
    for (bool queued = false; !queued;) {
        g_autoptr(Migration) row = rig_migration(stage->rig, second);

        queued = row->status == MIGRATION_QUEUED;
        g_usleep(5 * USEC_PER_MSEC);
    }
    g_assert_true(host_domain_shutdown(stage->rig->hosts, "host1", other, DEADLINE, NULL));
    deadline = clock_monotonic() + 2 * USEC_PER_SEC;
    for (bool stopped = false; !stopped;) {
        g_autoptr(Server) server = rig_server(stage->rig, other);

        stopped = server->vm_state == VM_STOPPED;
        g_assert_cmpint(clock_monotonic(), <, deadline);
        g_usleep(5 * USEC_PER_MSEC);
    }
    rig_wish(stage->rig, first, WISH_ABORT, NULL);
    g_autoptr(Migration) row = wait_for_end(stage, second, 10);
    g_assert_cmpstr(migration_status_names[row->status], ==, "failed");
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_autoptr(Server) server = rig_server(stage->rig, other);
    g_assert_cmpstr(vm_state_names[server->vm_state], ==, "stopped");
    g_assert_cmpint(server->task_state, ==, TASK_NONE);
}

static void
let_one_in(TaskSettings *settings)
{
    settings->moves_in = 1;
}

/* It had to go back to the queue in the moment in which it was aborted. */
static void
test_abort_when_put_back(Stage *stage, const void *unused)
{
    g_autofree char *other = NULL;
    int64_t second;

    rig_stop(stage->rig);
    rig_adjust = let_one_in;
    wisher = stage->rig = rig_start(stage->dir, stage->world, HOSTS);
    rig_adjust = NULL;
    other = rig_create_server(stage->rig, "other", "host1", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    start_move(stage, "host2");
    host_fake_set_fault(stage->world, 3, FAKE_CPU_INCOMPATIBLE);
    atomic_store(&to_abort, -1);
    second = rig_migrate(stage->rig, other, NULL, NULL);
    atomic_store(&to_abort, second);
    g_autoptr(Migration) row = wait_for_end(stage, second, 10);
    g_assert_cmpstr(migration_status_names[row->status], ==, "cancelled");
    g_assert_nonnull(strstr(row->reason, "aborted on request"));
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Stage *stage, const void *data);
    } tests[] = {
        {"/move-broken/post-copy/source-destroyed", test_source_destroyed},
        {"/move-broken/post-copy/source-died", test_source_died},
        {"/move-broken/post-copy/dest-destroyed", test_dest_destroyed},
        {"/move-broken/post-copy/dest-died", test_dest_died},
        {"/move-broken/post-copy/evacuated", test_evacuated},
        {"/move-broken/out-of-sight", test_out_of_sight},
        {"/move-broken/abort-again", test_abort_again},
        {"/move-broken/abort-when-put-back", test_abort_when_put_back},
        {"/move-broken/delete-after-restart", test_delete_after_restart},
        {"/move-broken/stops-in-queue", test_stops_in_queue},
    };

    g_test_init(&argc, &argv, NULL);
    log_set_level(g_getenv("TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Stage, NULL, stage_open, tests[i].fn, stage_close);
    return g_test_run();
}
