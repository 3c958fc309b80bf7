/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-task-resize.c: resize, cold migration, and how each ends: where is the guest, with which
 * sizes, what is held on which host, and what does the record say? */
#include <string.h>
#include <sys/stat.h>

#include "rig/rig.h"
#include "task/runner.h"

#define HOSTS 3
#define GIB   (INT64_C(1) << 30)

/* ---- a driver that remembers with which sizes it was asked to start or define what --------------
 */

static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;
static ServerSpec last_started, last_defined; /* sizes only */
static HostOps spying;

static void
remember(ServerSpec *last, const ServerSpec *spec)
{
    WITH_MUTEX(&last_lock);
    last->vcpus = spec->vcpus;
    last->ram_mb = spec->ram_mb;
}

static bool
spy_start(HostConn *conn, const ServerSpec *spec, char **machine, char **cpu, GError **err)
{
    remember(&last_started, spec);
    return host_fake_ops.domain_start(conn, spec, machine, cpu, err);
}

static bool
spy_define(HostConn *conn, const ServerSpec *spec, GError **err)
{
    remember(&last_defined, spec);
    return host_fake_ops.domain_define(conn, spec, err);
}

static void
assert_sizes(const ServerSpec *last, int64_t vcpus, int64_t ram_mb)
{
    WITH_MUTEX(&last_lock);
    g_assert_cmpint(last->vcpus, ==, vcpus);
    g_assert_cmpint(last->ram_mb, ==, ram_mb);
}

/* ---- a storage that cannot enlarge
 * ---------------------------------------------------------------
 */

static BlockOps full;

static bool
extend_fails(Block *block, const char *server_id, int64_t size, GError **err)
{
    return err_set(err, ERR_BACKEND, "no space is left");
}

/* ---- the stage
 * ---------------------------------------------------------------------------------------- */

typedef struct Stage {
    char *dir;
    HostDriver *world;
    Rig *rig;
    char *server;
} Stage;

static void
stage_open(Stage *stage, const void *unused)
{
    spying = host_fake_ops;
    spying.domain_start = spy_start;
    spying.domain_define = spy_define;
    rig_host_ops = &spying;
    stage->dir = rig_make_dir(HOSTS);
    stage->world = host_fake_world_new(HOSTS);
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
    rig_block_ops = NULL;
}

static void
let_it_stay(TaskSettings *settings)
{
    settings->resize_same_host = true;
}

static void
confirm_soon(TaskSettings *settings)
{
    settings->resize_confirm_window_s = 1;
}

/* Another controller over the same world, with other settings. */
static void
stage_restart(Stage *stage, void (*adjust)(TaskSettings *settings))
{
    rig_stop(stage->rig);
    rig_adjust = adjust;
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
    rig_adjust = NULL;
}

static const Flavor small = {.id = (char *)"small",
                             .name = (char *)"m1.small",
                             .vcpus = 2,
                             .ram_mb = 512,
                             .disk_gb = 2,
                             .extra_specs = (char *)"{\"a\": \"b\"}"};
static const Flavor lean = {.id = (char *)"lean",
                            .name = (char *)"m1.lean",
                            .vcpus = 1,
                            .ram_mb = 128,
                            .disk_gb = 1,
                            .extra_specs = (char *)"{}"};

static Migration *
resize(Stage *stage, const Flavor *flavor, const char *dest)
{
    int64_t id = rig_resize(stage->rig, stage->server, flavor, dest, NULL);

    g_assert_true(rig_wait_idle(stage->rig, 20));
    return rig_migration(stage->rig, id);
}

static Migration *
end(Stage *stage, const Migration *migration, const char *action)
{
    rig_end_resize(stage->rig, stage->server, action, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    return rig_migration(stage->rig, migration->id);
}

static void
assert_is(Stage *stage, VmState state, PowerState power, const char *host, const char *flavor,
          int copies, int domains)
{
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);

    g_assert_cmpstr(vm_state_names[server->vm_state], ==, vm_state_names[state]);
    g_assert_cmpstr(task_state_names[server->task_state], ==, "");
    g_assert_cmpint(server->power_state, ==, power);
    g_assert_cmpstr(server->host, ==, host);
    g_assert_cmpstr(server->flavor_id, ==, flavor);
    g_assert_cmpint(host_fake_running_count(stage->world, stage->server), ==, copies);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, domains);
    g_assert_null(server->uncertainty);
}

static DomainState
domain_on(Stage *stage, const char *host)
{
    g_autoptr(DomainInfo) info = host_domain_probe(stage->rig->hosts, host, stage->server,
                                                   clock_monotonic() + USEC_PER_SEC, NULL);

    g_assert_nonnull(info);
    return info->state;
}

typedef struct Loads {
    GPtrArray *hosts;
    HostLoad loads[HOSTS];
} Loads;

static bool
read_loads(StoreTx *tx, void *opaque, GError **err)
{
    Loads *loads = opaque;

    loads->hosts = store_list(tx, &HOST, &(StoreQuery){.order_by = "name"}, err);
    return loads->hosts && store_host_loads(tx, loads->hosts, loads->loads, err);
}

/* What is held on each of the hosts. */
static void
assert_loads(Stage *stage, int64_t one, int64_t two, int64_t three)
{
    Loads loads = {0};
    g_autoptr(GPtrArray) hosts = NULL;
    GError *error = NULL;

    store_read(stage->rig->store, read_loads, &loads, &error);
    g_assert_no_error(error);
    hosts = loads.hosts;
    g_assert_cmpint(loads.loads[0].ram_mb_used, ==, one);
    g_assert_cmpint(loads.loads[1].ram_mb_used, ==, two);
    g_assert_cmpint(loads.loads[2].ram_mb_used, ==, three);
}

static int64_t
disk_size(Stage *stage)
{
    g_autofree char *path = NULL, *format = NULL;
    struct stat found;

    g_assert_true(storage_disk_source(&stage->rig->storage, stage->server, &path, &format, NULL));
    g_assert_cmpint(stat(path, &found), ==, 0);
    return found.st_size;
}

static void
assert_refused(bool accepted, GError **error, ErrCode code, const char *words)
{
    g_assert_false(accepted);
    g_assert_nonnull(*error);
    g_assert_cmpstr(err_code_name(err_code(*error)), ==, err_code_name(code));
    if (!strstr((*error)->message, words))
        g_error("'%s' does not say '%s'", (*error)->message, words);
    g_clear_error(error);
}

/* The newest instance action's message; NULL: it went well. */
static char *
action_message(Stage *stage, const char *title)
{
    const StoreCond where[] = {
        {"server_id", STORE_EQ, stage->server, 0}, {"action", STORE_EQ, title, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &ACTION, where);

    g_assert_cmpuint(rows->len, >, 0);
    return g_strdup(((Action *)g_ptr_array_index(rows, rows->len - 1))->message);
}

/* ---- what goes well
 * ------------------------------------------------------------------------------
 */

static void
test_up(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = resize(stage, &small, "host2"), after = NULL;
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);

    g_assert_cmpstr(migration->reason, ==, NULL);
    g_assert_cmpint(migration->status, ==, MIGRATION_FINISHED);
    g_assert_cmpstr(migration->type, ==, "resize");
    g_assert_cmpint(migration->ended_at, ==, 0);
    for (const char *const *phase =
             (const char *const[]){"select", "prepare", "power-off", "grow", "start", NULL};
         *phase; phase++)
        g_assert_nonnull(strstr(migration->phases, *phase));
    assert_is(stage, VM_RESIZED, POWER_RUNNING, "host2", "small", 1, 2);
    assert_sizes(&last_started, 2, 512);
    g_assert_cmpint(disk_size(stage), ==, 2 * GIB);
    g_assert_cmpstr(server->extra_specs, ==, "{\"a\":\"b\"}");
    g_assert_cmpint(domain_on(stage, "host1"), ==, DOMAIN_SHUTOFF);
    assert_loads(stage, 256, 512, 0);

    after = end(stage, migration, "confirmResize");
    g_assert_cmpint(after->status, ==, MIGRATION_CONFIRMED);
    g_assert_cmpint(after->ended_at, >, 0);
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host2", "small", 1, 1);
    assert_loads(stage, 0, 512, 0);
}

static void
test_down(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = resize(stage, &lean, NULL), after = NULL;

    g_assert_cmpint(migration->status, ==, MIGRATION_FINISHED);
    g_assert_cmpstr(migration->dest_host, !=, "host1");
    assert_is(stage, VM_RESIZED, POWER_RUNNING, migration->dest_host, "lean", 1, 2);
    assert_sizes(&last_started, 1, 128);
    after = end(stage, migration, "confirmResize");
    g_assert_cmpint(after->status, ==, MIGRATION_CONFIRMED);
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, migration->dest_host, "lean", 1, 1);
}

static void
test_revert(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = resize(stage, &small, "host2"), after = NULL;

    after = end(stage, migration, "revertResize");
    g_assert_cmpint(after->status, ==, MIGRATION_REVERTED);
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host1", "f", 1, 1);
    g_assert_cmpint(domain_on(stage, "host1"), ==, DOMAIN_RUNNING);
    assert_sizes(&last_started, 1, 256);
    g_assert_cmpint(disk_size(stage), ==, 2 * GIB); /* nothing ever shrinks */
    assert_loads(stage, 256, 0, 0);
}

static void
test_cold_migrate(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = resize(stage, NULL, NULL), after = NULL;

    g_assert_cmpstr(migration->type, ==, "migration");
    g_assert_cmpint(migration->status, ==, MIGRATION_FINISHED);
    g_assert_cmpstr(migration->dest_host, !=, "host1");
    assert_is(stage, VM_RESIZED, POWER_RUNNING, migration->dest_host, "f", 1, 2);
    assert_sizes(&last_started, 1, 256);
    after = end(stage, migration, "revertResize");
    g_assert_cmpint(after->status, ==, MIGRATION_REVERTED);
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host1", "f", 1, 1);
}

static void
test_stopped(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = NULL, after = NULL, second = NULL;

    rig_action(stage->rig, stage->server, "os-stop", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    migration = resize(stage, &small, "host3");
    g_assert_cmpint(migration->status, ==, MIGRATION_FINISHED);
    assert_is(stage, VM_RESIZED, POWER_SHUTDOWN, "host3", "small", 0, 2);
    assert_sizes(&last_defined, 2, 512);
    g_assert_cmpint(disk_size(stage), ==, 2 * GIB);
    after = end(stage, migration, "confirmResize");
    assert_is(stage, VM_STOPPED, POWER_SHUTDOWN, "host3", "small", 0, 1);

    second = resize(stage, NULL, "host2");
    migration_free(after);
    after = end(stage, second, "revertResize");
    g_assert_cmpint(after->status, ==, MIGRATION_REVERTED);
    assert_is(stage, VM_STOPPED, POWER_SHUTDOWN, "host3", "small", 0, 1);
    rig_action(stage->rig, stage->server, "os-start", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host3", "small", 1, 1);
}

static void
test_same_host(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = NULL, after = NULL;

    stage_restart(stage, let_it_stay);
    migration = resize(stage, &small, "host1");
    g_assert_cmpint(migration->status, ==, MIGRATION_FINISHED);
    assert_is(stage, VM_RESIZED, POWER_RUNNING, "host1", "small", 1, 1);
    assert_sizes(&last_started, 2, 512);
    assert_loads(stage, 512, 0, 0);
    after = end(stage, migration, "revertResize");
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host1", "f", 1, 1);
    assert_sizes(&last_started, 1, 256);

    migration_free(migration);
    migration = resize(stage, &lean, "host1");
    assert_loads(stage, 256, 0, 0); /* it may be reverted */
    migration_free(after);
    after = end(stage, migration, "confirmResize");
    g_assert_cmpint(after->status, ==, MIGRATION_CONFIRMED);
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host1", "lean", 1, 1);
    assert_loads(stage, 128, 0, 0);
}

/* Without a disk of its own, the flavor's does not matter; its volumes come along. */
static void
test_boot_from_volume(Stage *stage, const void *unused)
{
    static const RigVolume root = {.image_id = "11111111-2222-4333-8444-555555555555"};
    g_autofree char *id = rig_boot_from_volume(stage->rig, &root, true, NULL, false, NULL);
    g_autoptr(GPtrArray) volumes = NULL;
    g_autoptr(Migration) migration = NULL;
    Flavor diskless = small;
    int64_t number;
    const char *volume;

    g_assert_true(rig_wait_idle(stage->rig, 10));
    volumes = rig_rows(stage->rig, &VOLUME, NULL);
    g_assert_cmpuint(volumes->len, ==, 1);
    volume = ((Volume *)g_ptr_array_index(volumes, 0))->id;
    diskless.disk_gb = 0;
    number = rig_resize(stage->rig, id, &diskless, NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    migration = rig_migration(stage->rig, number);
    g_assert_cmpint(migration->status, ==, MIGRATION_FINISHED);
    g_assert_true(rig_guest_has(stage->rig, migration->dest_host, id, volume));
    rig_end_resize(stage->rig, id, "revertResize", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    g_assert_true(rig_guest_has(stage->rig, migration->source_host, id, volume));
    g_assert_cmpint(host_fake_running_count(stage->world, id), ==, 1);
}

/* A guest that powers itself off, or is restarted by hand, stays to be confirmed. */
static void
test_guest_powers_off(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = resize(stage, &small, "host2"), after = NULL;
    int64_t deadline = clock_monotonic() + 5 * USEC_PER_SEC;

    g_assert_true(host_domain_shutdown(stage->rig->hosts, "host2", stage->server,
                                       clock_monotonic() + USEC_PER_SEC, NULL));
    for (;;) {
        g_autoptr(Server) server = rig_server(stage->rig, stage->server);

        if (server->power_state == POWER_SHUTDOWN)
            break;
        g_assert_cmpint(clock_monotonic(), <, deadline);
        g_usleep(5 * USEC_PER_MSEC);
    }
    assert_is(stage, VM_RESIZED, POWER_SHUTDOWN, "host2", "small", 0, 2);
    after = end(stage, migration, "confirmResize");
    g_assert_cmpint(after->status, ==, MIGRATION_CONFIRMED);
    assert_is(stage, VM_STOPPED, POWER_SHUTDOWN, "host2", "small", 0, 1);
}

static void
wait_for_status(Stage *stage, int64_t id, MigrationStatus status)
{
    int64_t deadline = clock_monotonic() + 15 * USEC_PER_SEC;

    for (;;) {
        g_autoptr(Migration) migration = rig_migration(stage->rig, id);

        if (migration->status == status)
            break;
        g_assert_cmpint(clock_monotonic(), <, deadline);
        g_usleep(10 * USEC_PER_MSEC);
    }
    g_assert_true(rig_wait_idle(stage->rig, 10));
}

/* It outlives a restart, and tells what it did. */
static void
test_auto_confirm(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = resize(stage, &small, "host2"), after = NULL, second = NULL;
    g_autofree char *message = NULL;
    int64_t asked;

    assert_is(stage, VM_RESIZED, POWER_RUNNING, "host2", "small", 1, 2);
    stage_restart(stage, confirm_soon);
    wait_for_status(stage, migration->id, MIGRATION_CONFIRMED);
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host2", "small", 1, 1);
    message = action_message(stage, "confirmResize");
    g_assert_null(message);

    asked = clock_realtime();
    second = resize(stage, NULL, "host1");
    wait_for_status(stage, second->id, MIGRATION_CONFIRMED);
    after = rig_migration(stage->rig, second->id);
    g_assert_cmpint(after->ended_at - asked, >=, USEC_PER_SEC);
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host1", "small", 1, 1);
}

static void
test_delete(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = resize(stage, &small, "host2"), after = NULL;

    rig_action(stage->rig, stage->server, "delete", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    after = rig_migration(stage->rig, migration->id);
    g_assert_true(migration_status_is_final(after->status));
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 0);
    assert_loads(stage, 0, 0, 0);
}

/* A delete that comes in the middle ends it. */
static void
test_delete_in_the_middle(Stage *stage, const void *unused)
{
    int64_t id = rig_resize(stage->rig, stage->server, &small, "host2", NULL);
    g_autoptr(Migration) after = NULL;
    g_autoptr(Server) server = NULL;

    rig_action(stage->rig, stage->server, "delete", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    after = rig_migration(stage->rig, id);
    g_assert_true(migration_status_is_final(after->status));
    server = rig_server(stage->rig, stage->server);
    g_assert_cmpint(server->vm_state, ==, VM_DELETED);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 0);
    assert_loads(stage, 0, 0, 0);
}

/* ---- what is refused
 * -----------------------------------------------------------------------------
 */

static void
test_refused(Stage *stage, const void *unused)
{
    Rig *rig = stage->rig;
    g_autoptr(GError) error = NULL;
    Flavor flavor = small;
    const char *id = stage->server;

    flavor.id = (char *)"f";
    assert_refused(rig_resize(rig, id, &flavor, NULL, &error), &error, ERR_INVALID,
                   "must change flavor");
    flavor = small;
    flavor.disk_gb = 0;
    assert_refused(rig_resize(rig, id, &flavor, NULL, &error), &error, ERR_INVALID, "smaller disk");
    flavor = small;
    flavor.ram_mb = INT64_C(1) << 40;
    assert_refused(rig_resize(rig, id, &flavor, NULL, &error), &error, ERR_INVALID,
                   "No valid host");
    assert_refused(rig_resize(rig, id, &flavor, "host2", &error), &error, ERR_INVALID, "host2");
    assert_refused(rig_resize(rig, id, &small, "host1", &error), &error, ERR_INVALID,
                   "can't be the same one");
    assert_refused(rig_resize(rig, id, NULL, "host1", &error), &error, ERR_INVALID,
                   "can't be the same one");
    assert_refused(rig_resize(rig, id, NULL, "host9", &error), &error, ERR_INVALID, "host9");
    assert_refused(rig_end_resize(rig, id, "confirmResize", &error), &error, ERR_CONFLICT,
                   "vm_state active");
    assert_refused(rig_end_resize(rig, id, "revertResize", &error), &error, ERR_CONFLICT,
                   "vm_state active");
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host1", "f", 1, 1);

    g_autoptr(Migration) migration = resize(stage, &small, "host2"), after = NULL;
    static const char *const actions[] = {"os-start",    "os-stop",       "reboot-soft",
                                          "reboot-hard", "attach-volume", "os-migrateLive",
                                          "suspend"};
    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++)
        assert_refused(rig_action(rig, id, actions[i], NULL, &error), &error, ERR_CONFLICT,
                       "vm_state resized");
    assert_refused(rig_resize(rig, id, &lean, NULL, &error), &error, ERR_CONFLICT,
                   "vm_state resized");
    after = end(stage, migration, "revertResize");
    assert_refused(rig_end_resize(rig, id, "confirmResize", &error), &error, ERR_CONFLICT,
                   "vm_state active");
}

/* ---- what goes wrong
 * -----------------------------------------------------------------------------
 */

static void
test_start_fails(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = NULL, again = NULL;
    g_autofree char *message = NULL;

    host_fake_set_fault(stage->world, 2, FAKE_START_FAILS);
    migration = resize(stage, &small, "host2");
    g_assert_cmpint(migration->status, ==, MIGRATION_ERROR);
    g_assert_nonnull(strstr(migration->reason, "has grown to 2 GB and stays so"));
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host1", "f", 1, 1);
    assert_sizes(&last_started, 1, 256);
    assert_loads(stage, 256, 0, 0);
    message = action_message(stage, "resize");
    g_assert_cmpstr(message, ==, migration->reason);

    host_fake_set_fault(stage->world, 2, FAKE_FAULT_NONE);
    again = resize(stage, &small, "host2");
    g_assert_cmpint(again->status, ==, MIGRATION_FINISHED);
    assert_is(stage, VM_RESIZED, POWER_RUNNING, "host2", "small", 1, 2);
}

static void
test_start_fails_everywhere(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = NULL;
    g_autoptr(Server) server = NULL;

    host_fake_set_fault(stage->world, 1, FAKE_START_FAILS);
    host_fake_set_fault(stage->world, 2, FAKE_START_FAILS);
    migration = resize(stage, &small, "host2");
    g_assert_cmpint(migration->status, ==, MIGRATION_ERROR);
    assert_is(stage, VM_ERROR, POWER_SHUTDOWN, "host1", "f", 0, 1);
    server = rig_server(stage->rig, stage->server);
    g_assert_nonnull(strstr(server->fault_message, "reboot it with --hard"));
    host_fake_set_fault(stage->world, 1, FAKE_FAULT_NONE);
    rig_action(stage->rig, stage->server, "reboot-hard", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host1", "f", 1, 1);
}

static void
test_disk_does_not_grow(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = NULL;

    rig_stop(stage->rig);
    full = block_fake_ops;
    full.disk_extend = extend_fails;
    rig_block_ops = &full;
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
    migration = resize(stage, &small, "host2");
    g_assert_cmpint(migration->status, ==, MIGRATION_ERROR);
    g_assert_cmpstr(migration->reason, ==, "no space is left");
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host1", "f", 1, 1);
}

static void
test_stopped_fails(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = NULL;

    rig_action(stage->rig, stage->server, "os-stop", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    rig_stop(stage->rig);
    full = block_fake_ops;
    full.disk_extend = extend_fails;
    rig_block_ops = &full;
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
    migration = resize(stage, &small, "host2");
    g_assert_cmpint(migration->status, ==, MIGRATION_ERROR);
    assert_is(stage, VM_STOPPED, POWER_SHUTDOWN, "host1", "f", 0, 1);
}

static void
wait_for_host(Stage *stage, const char *name, HostState state)
{
    const StoreCond where[] = {
        {"name", STORE_EQ, name, 0}, {"state", STORE_EQ, NULL, state}, {NULL}};
    int64_t deadline = clock_monotonic() + 10 * USEC_PER_SEC;

    for (;;) {
        g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &HOST, where);

        if (rows->len > 0)
            return;
        g_assert_cmpint(clock_monotonic(), <, deadline);
        g_usleep(10 * USEC_PER_MSEC);
    }
}

/* The former host is away: nothing can be reverted; a confirmation does not need it, and what is
 * left there goes when it is back. */
static void
test_source_down(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = resize(stage, &small, "host2"), after = NULL;
    g_autoptr(GError) error = NULL;
    int64_t deadline;

    host_fake_set_fault(stage->world, 1, FAKE_NODE_DOWN);
    wait_for_host(stage, "host1", HOST_DOWN);
    assert_refused(rig_end_resize(stage->rig, stage->server, "revertResize", &error), &error,
                   ERR_CONFLICT, "host1 is down");
    assert_is(stage, VM_RESIZED, POWER_RUNNING, "host2", "small", 1, 2);
    after = end(stage, migration, "confirmResize");
    g_assert_cmpint(after->status, ==, MIGRATION_CONFIRMED);
    g_assert_nonnull(strstr(after->reason, "host1"));
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host2", "small", 1, 2);
    host_fake_set_fault(stage->world, 1, FAKE_FAULT_NONE);
    deadline = clock_monotonic() + 15 * USEC_PER_SEC;
    while (host_fake_domain_count(stage->world) > 1 || !rig_wait_idle(stage->rig, 1)) {
        g_assert_cmpint(clock_monotonic(), <, deadline);
        g_usleep(10 * USEC_PER_MSEC);
    }
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host2", "small", 1, 1);
}

/* While it waits to be confirmed, the domain on the former host is expected there. */
static void
test_source_comes_back(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = resize(stage, &small, "host2"), after = NULL;

    host_fake_set_fault(stage->world, 1, FAKE_NODE_CUT);
    wait_for_host(stage, "host1", HOST_DOWN);
    host_fake_set_fault(stage->world, 1, FAKE_FAULT_NONE);
    wait_for_host(stage, "host1", HOST_UP);
    g_usleep(200 * USEC_PER_MSEC); /* for what a sweep would have submitted behind it */
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_is(stage, VM_RESIZED, POWER_RUNNING, "host2", "small", 1, 2);
    after = end(stage, migration, "revertResize");
    g_assert_cmpint(after->status, ==, MIGRATION_REVERTED);
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host1", "f", 1, 1);
}

static void
test_revert_fails(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = resize(stage, &small, "host2"), after = NULL;
    g_autofree char *message = NULL;

    host_fake_set_fault(stage->world, 1, FAKE_START_FAILS);
    after = end(stage, migration, "revertResize");
    g_assert_cmpint(after->status, ==, MIGRATION_FINISHED);
    assert_is(stage, VM_RESIZED, POWER_RUNNING, "host2", "small", 1, 2);
    message = action_message(stage, "revertResize");
    g_assert_nonnull(message);
    assert_loads(stage, 256, 512, 0);
    host_fake_set_fault(stage->world, 1, FAKE_FAULT_NONE);
    migration_free(after);
    after = end(stage, migration, "revertResize");
    g_assert_cmpint(after->status, ==, MIGRATION_REVERTED);
    g_assert_null(after->reason);
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host1", "f", 1, 1);
}

/* A godwitd was killed while it started the guest, and the host does not answer the next one: the
 * guest may run there, and must not be started where it came from. */
static void
start_in_doubt(Stage *stage, const TaskKind *kind, const Migration *migration)
{
    const TaskStep *step = kind->steps;
    Task task = {.server_id = stage->server, .migration_id = migration->id};
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_autoptr(GError) error = NULL;
    TaskRun run = {.engine = stage->rig->tasks,
                   .kind = kind,
                   .server_id = stage->server,
                   .server = server,
                   .task = &task,
                   .taken_up = true,
                   .state = json_object()};

    while (strcmp(step->name, "start") != 0)
        step++;
    g_assert_cmpint(step->probe(&run, &error), ==, STEP_UNKNOWN);
    g_clear_error(&error);
    g_assert_false(step->undo(&run, &error));
    g_assert_cmpint(run_state_int(&run, "unclear", 0), ==, 1);
    json_decref(run.state);
    run.data_free(run.data);
}

static void
test_start_in_doubt(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = resize(stage, &small, "host2");

    host_fake_set_fault(stage->world, 2, FAKE_NODE_CUT);
    wait_for_host(stage, "host2", HOST_DOWN);
    start_in_doubt(stage, &task_server_resize, migration);
    start_in_doubt(stage, &task_server_revert_resize, migration);
}

/* The server is in ERROR then: what the resize holds would be held for ever. */
static void
test_delete_fails(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = resize(stage, &small, "host2"), after = NULL;

    host_fake_set_fault(stage->world, 2, FAKE_NODE_DOWN);
    wait_for_host(stage, "host2", HOST_DOWN);
    rig_action(stage->rig, stage->server, "delete", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    after = rig_migration(stage->rig, migration->id);
    g_assert_cmpint(after->status, ==, MIGRATION_CONFIRMED);
    g_assert_cmpint(after->ended_at, >, 0);
    assert_loads(stage, 0, 512, 0);
    host_fake_set_fault(stage->world, 2, FAKE_FAULT_NONE);
    wait_for_host(stage, "host2", HOST_UP);
    rig_action(stage->rig, stage->server, "delete", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    assert_loads(stage, 0, 0, 0);
}

/* Somebody starts what the resize keeps on the former host: the record stays with the new one. */
static void
test_former_started(Stage *stage, const void *unused)
{
    DiskSpec disk = {.source = (char *)"/disk", .format = (char *)"raw", .target = (char *)"vda"};
    ServerSpec spec = {.uuid = stage->server,
                       .domain_name = (char *)"instance-00000001",
                       .title = (char *)"by hand",
                       .virt_type = (char *)"qemu",
                       .machine = (char *)"pc",
                       .vcpus = 1,
                       .ram_mb = 256,
                       .disks = &disk,
                       .n_disks = 1};
    g_autoptr(Migration) migration = NULL, after = NULL;
    g_autoptr(GError) error = NULL;

    rig_action(stage->rig, stage->server, "os-stop", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    migration = resize(stage, &small, "host2");
    host_domain_start(stage->rig->hosts, "host1", &spec, NULL, NULL,
                      clock_monotonic() + USEC_PER_SEC, &error);
    g_assert_no_error(error);
    g_usleep(200 * USEC_PER_MSEC); /* for the event */
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_is(stage, VM_RESIZED, POWER_SHUTDOWN, "host2", "small", 1, 2);
    after = end(stage, migration, "confirmResize");
    assert_is(stage, VM_STOPPED, POWER_SHUTDOWN, "host2", "small", 0, 1);
}

/* With the room that a resize holds on both hosts, another one does not fit. */
static void
test_room_is_held(Stage *stage, const void *unused)
{
    Loads loads = {0};
    g_autoptr(GPtrArray) hosts = NULL;
    g_autoptr(Migration) migration = NULL, after = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *other = rig_create_server(stage->rig, "t", "host3", NULL);
    Flavor large = small;

    g_assert_true(rig_wait_idle(stage->rig, 10));
    store_read(stage->rig->store, read_loads, &loads, NULL);
    hosts = loads.hosts;
    large.ram_mb = ((Host *)g_ptr_array_index(hosts, 1))->memory_mb; /* × 1.5 may be promised */
    migration = resize(stage, &large, "host2");
    g_assert_cmpint(migration->status, ==, MIGRATION_FINISHED);
    assert_refused(rig_resize(stage->rig, other, &large, "host2", &error), &error, ERR_INVALID,
                   "RAM");
    after = end(stage, migration, "revertResize");
    g_assert_cmpint(rig_resize(stage->rig, other, &large, "host2", NULL), >, 0);
    g_assert_true(rig_wait_idle(stage->rig, 10));
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Stage *stage, const void *unused);
    } tests[] = {
        {"/resize/up", test_up},
        {"/resize/down", test_down},
        {"/resize/revert", test_revert},
        {"/resize/cold-migrate", test_cold_migrate},
        {"/resize/stopped", test_stopped},
        {"/resize/same-host", test_same_host},
        {"/resize/boot-from-volume", test_boot_from_volume},
        {"/resize/guest-powers-off", test_guest_powers_off},
        {"/resize/auto-confirm", test_auto_confirm},
        {"/resize/delete", test_delete},
        {"/resize/delete-in-the-middle", test_delete_in_the_middle},
        {"/resize/refused", test_refused},
        {"/resize/start-fails", test_start_fails},
        {"/resize/start-fails-everywhere", test_start_fails_everywhere},
        {"/resize/disk-does-not-grow", test_disk_does_not_grow},
        {"/resize/stopped-fails", test_stopped_fails},
        {"/resize/source-down", test_source_down},
        {"/resize/source-comes-back", test_source_comes_back},
        {"/resize/revert-fails", test_revert_fails},
        {"/resize/start-in-doubt", test_start_in_doubt},
        {"/resize/delete-fails", test_delete_fails},
        {"/resize/former-started", test_former_started},
        {"/resize/room-is-held", test_room_is_held},
    };

    g_test_init(&argc, &argv, NULL);
    log_set_level(g_getenv("TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Stage, NULL, stage_open, tests[i].fn, stage_close);
    return g_test_run();
}
