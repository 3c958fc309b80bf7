/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-move-wish.c: live migrations that are aborted or forced to their end, in every phase */
#include <stdatomic.h>
#include <string.h>

#include "rig/rig.h"

#define HOSTS 3

typedef struct Stage {
    char *dir;
    HostDriver *world;
    Rig *rig;
    char *server;
} Stage;

/* What a test does at the first call of one kind, on the thread of that call. */
static struct {
    const char *call;
    Stage *stage;
    _Atomic int64_t migration;
    int64_t then_sleep_us;
    atomic_int calls;
} hook;

static void
at(const char *call)
{
    if (!hook.call || strcmp(call, hook.call) != 0 || atomic_fetch_add(&hook.calls, 1) != 0)
        return;
    while (atomic_load(&hook.migration) == 0)
        g_usleep(USEC_PER_MSEC);
    rig_wish(hook.stage->rig, atomic_load(&hook.migration), WISH_ABORT, NULL);
    g_usleep((gulong)hook.then_sleep_us);
}

static char *
hooked_domain_cpu(HostConn *conn, const char *uuid, GError **err)
{
    at("check");
    return host_fake_ops.domain_cpu(conn, uuid, err);
}

static DomainInfo *
hooked_domain_probe(HostConn *conn, const char *uuid, GError **err)
{
    at("prepare");
    return host_fake_ops.domain_probe(conn, uuid, err);
}

static bool
hooked_migrate(HostConn *conn, const MoveSpec *spec, GError **err)
{
    at("transfer");
    return host_fake_ops.migrate(conn, spec, err);
}

static void
stage_open(Stage *stage, const void *unused)
{
    static HostOps ops;

    ops = host_fake_ops;
    ops.domain_cpu = hooked_domain_cpu;
    ops.domain_probe = hooked_domain_probe;
    ops.migrate = hooked_migrate;
    rig_host_ops = &ops;
    hook.call = NULL;
    hook.stage = stage;
    atomic_store(&hook.migration, 0);
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

static void
restart(Stage *stage)
{
    rig_stop(stage->rig);
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
}

/* Until the fake sends the guest's memory. */
static int64_t
start_move(Stage *stage)
{
    int64_t id = rig_migrate(stage->rig, stage->server, "host2", NULL);

    for (;;) {
        uint64_t seen = store_change_count(stage->rig->store);
        g_autoptr(DomainInfo) info = host_domain_probe(stage->rig->hosts, "host1", stage->server,
                                                       clock_monotonic() + USEC_PER_SEC, NULL);

        if (info && info->job_active)
            return id;
        store_wait_change(stage->rig->store, seen, clock_monotonic() + 5 * USEC_PER_MSEC);
    }
}

static void
wait_for_phase(Stage *stage, int64_t id, const char *phase)
{
    for (uint64_t seen = 0;;) {
        g_autoptr(Migration) row = rig_migration(stage->rig, id);

        if (strcmp(row->phase, phase) == 0)
            return;
        g_assert_false(migration_status_is_final(row->status));
        seen = store_wait_change(stage->rig->store, seen, clock_monotonic() + 20 * USEC_PER_MSEC);
    }
}

static void
assert_ends(Stage *stage, int64_t id, MigrationStatus status, const char *host)
{
    g_assert_true(rig_wait_idle(stage->rig, 20));
    g_autoptr(Migration) row = rig_migration(stage->rig, id);
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_autoptr(DomainInfo) info = host_domain_probe(stage->rig->hosts, host, stage->server,
                                                   clock_monotonic() + 5 * USEC_PER_SEC, NULL);

    g_assert_cmpstr(migration_status_names[row->status], ==, migration_status_names[status]);
    g_assert_cmpint(server->vm_state, ==, VM_ACTIVE);
    g_assert_cmpint(server->task_state, ==, TASK_NONE);
    g_assert_cmpstr(server->host, ==, host);
    g_assert_null(server->uncertainty);
    g_assert_nonnull(info);
    g_assert_cmpint(info->state, ==, DOMAIN_RUNNING); /* and not paused */
    g_assert_cmpint(host_fake_running_count(stage->world, stage->server), ==, 1);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 1);
    if (status != MIGRATION_CANCELLED)
        return;
    const StoreCond where[] = {{"server_id", STORE_EQ, stage->server, 0},
                               {"action", STORE_EQ, "live-migration", 0},
                               {NULL}};
    g_autoptr(GPtrArray) actions = rig_rows(stage->rig, &ACTION, where);
    g_assert_cmpuint(actions->len, ==, 1);
    g_assert_cmpstr(((Action *)g_ptr_array_index(actions, 0))->message, ==, row->reason);
}

/* ---- abort --------------------------------------------------------------------------------
 */

static void
test_abort_in_phase(Stage *stage, const void *data)
{
    const char *call = data;
    int64_t id;

    hook.call = call;
    atomic_store(&hook.calls, 0);
    /* Before the job is there, libvirt has nothing to abort, and says that all is well. */
    hook.then_sleep_us = strcmp(call, "transfer") == 0 ? 300 * USEC_PER_MSEC : 0;
    id = rig_migrate(stage->rig, stage->server, "host2", NULL);
    atomic_store(&hook.migration, id);
    assert_ends(stage, id, MIGRATION_CANCELLED, "host1");
    g_autoptr(Migration) row = rig_migration(stage->rig, id);
    g_assert_nonnull(strstr(row->reason, "aborted on request"));
    g_assert_cmpstr(row->error_code, ==, "cancelled");
}

static void
test_abort_at_once(Stage *stage, const void *unused)
{
    int64_t id = rig_migrate(stage->rig, stage->server, NULL, NULL);

    rig_wish(stage->rig, id, WISH_ABORT, NULL);
    rig_wish(stage->rig, id, WISH_ABORT, NULL); /* again is no mistake */
    assert_ends(stage, id, MIGRATION_CANCELLED, "host1");
}

static void
test_abort_in_transfer(Stage *stage, const void *unused)
{
    int64_t id = start_move(stage), begun = clock_monotonic();

    rig_wish(stage->rig, id, WISH_ABORT, NULL);
    assert_ends(stage, id, MIGRATION_CANCELLED, "host1");
    g_assert_cmpint(clock_monotonic() - begun, <, 2 * USEC_PER_SEC);
    g_autoptr(Migration) row = rig_migration(stage->rig, id);
    g_assert_nonnull(strstr(row->reason, "the move to host2 was aborted"));

    /* The server can be moved again, and then stays moved. */
    host_fake_set_timing(stage->world, 50 * USEC_PER_MSEC, 10 * USEC_PER_MSEC);
    g_autoptr(GError) error = NULL;
    g_assert_false(rig_wish(stage->rig, id, WISH_ABORT, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    int64_t next = rig_migrate(stage->rig, stage->server, "host3", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_autoptr(Migration) again = rig_migration(stage->rig, next);
    g_assert_cmpint(again->status, ==, MIGRATION_COMPLETED);
}

static bool
wish_abort(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Migration) row = store_get_int(tx, &MIGRATION, *(int64_t *)opaque, err);

    return row && task_submit_move_wish(tx, row, WISH_ABORT, err);
}

/* Written, and godwitd died before anybody was told. */
static void
test_abort_after_restart(Stage *stage, const void *unused)
{
    int64_t id = start_move(stage);

    rig_stop(stage->rig);
    g_autofree char *db = g_build_filename(stage->dir, "godwit.db", NULL);
    Store *store = store_open(db, NULL);
    g_assert_true(store_write(store, wish_abort, &id, NULL));
    store_close(store);
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
    assert_ends(stage, id, MIGRATION_CANCELLED, "host1");
}

static void
test_time_out_aborts(Stage *stage, const void *unused)
{
    stage->rig->libvirt->completion_timeout_s_per_gib = 1; /* times 2 GiB at least */
    host_fake_set_fault(stage->world, 1, FAKE_MIGRATE_NEVER_CONVERGES);
    int64_t id = start_move(stage);
    assert_ends(stage, id, MIGRATION_CANCELLED, "host1");
    g_autoptr(Migration) row = rig_migration(stage->rig, id);
    g_assert_nonnull(strstr(row->reason, "live_migration_completion_timeout"));
}

/* ---- force --------------------------------------------------------------------------------
 */

static void
test_force_by_pause(Stage *stage, const void *unused)
{
    host_fake_set_fault(stage->world, 1, FAKE_MIGRATE_NEVER_CONVERGES);
    int64_t id = start_move(stage);
    rig_wish(stage->rig, id, WISH_FORCE_COMPLETE, NULL);
    rig_wish(stage->rig, id, WISH_FORCE_COMPLETE, NULL);
    assert_ends(stage, id, MIGRATION_COMPLETED, "host2");
    g_autoptr(Migration) row = rig_migration(stage->rig, id);
    g_assert_nonnull(strstr(row->phases, "\"pause\""));
    g_assert_null(strstr(row->phases, "post-copy"));
}

static void
test_force_by_post_copy(Stage *stage, const void *unused)
{
    g_autoptr(GError) error = NULL;

    stage->rig->libvirt->migrate_flags |= MIGRATE_POSTCOPY;
    host_fake_set_timing(stage->world, 4 * USEC_PER_SEC, 10 * USEC_PER_MSEC);
    host_fake_set_fault(stage->world, 1, FAKE_MIGRATE_NEVER_CONVERGES);
    int64_t id = start_move(stage);
    rig_wish(stage->rig, id, WISH_FORCE_COMPLETE, NULL);
    wait_for_phase(stage, id, "post-copy");
    g_autoptr(Migration) under_way = rig_migration(stage->rig, id);
    g_assert_nonnull(strstr(under_way->phases, "\"post-copy\""));
    g_assert_false(rig_wish(stage->rig, id, WISH_ABORT, &error)); /* there is no way back */
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_assert_nonnull(strstr(error->message, "post-copy"));
    assert_ends(stage, id, MIGRATION_COMPLETED, "host2");
    g_autoptr(Migration) row = rig_migration(stage->rig, id);
    g_assert_nonnull(strstr(row->phases, "\"post-copy\""));
    g_assert_nonnull(strstr(row->phases, "\"switch\""));
    g_assert_null(strstr(row->phases, "\"pause\""));
}

/* The next controller finds a guest on the destination that would die with its source. */
static void
test_restart_in_post_copy(Stage *stage, const void *unused)
{
    stage->rig->libvirt->migrate_flags |= MIGRATE_POSTCOPY;
    host_fake_set_timing(stage->world, 4 * USEC_PER_SEC, 10 * USEC_PER_MSEC);
    int64_t id = start_move(stage);
    rig_wish(stage->rig, id, WISH_FORCE_COMPLETE, NULL);
    for (bool handed_over = false; !handed_over;) {
        g_autoptr(DomainInfo) info = host_domain_probe(stage->rig->hosts, "host1", stage->server,
                                                       clock_monotonic() + USEC_PER_SEC, NULL);

        handed_over = info && info->postcopy;
        g_usleep(5 * USEC_PER_MSEC);
    }
    restart(stage);
    assert_ends(stage, id, MIGRATION_COMPLETED, "host2");
}

static void
test_delete_in_post_copy(Stage *stage, const void *unused)
{
    stage->rig->libvirt->migrate_flags |= MIGRATE_POSTCOPY;
    host_fake_set_timing(stage->world, 2 * USEC_PER_SEC, 10 * USEC_PER_MSEC);
    int64_t id = start_move(stage);
    rig_wish(stage->rig, id, WISH_FORCE_COMPLETE, NULL);
    wait_for_phase(stage, id, "post-copy");
    rig_action(stage->rig, stage->server, "delete", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_assert_cmpint(server->vm_state, ==, VM_DELETED);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 0);
}

/* A guest that was paused for its move runs again when the move is aborted, or fails. */
static void
test_abort_after_pause(Stage *stage, const void *unused)
{
    int64_t id = start_move(stage);

    rig_wish(stage->rig, id, WISH_FORCE_COMPLETE, NULL);
    wait_for_phase(stage, id, "pause");
    for (bool paused = false; !paused;) {
        g_autoptr(DomainInfo) info = host_domain_probe(stage->rig->hosts, "host1", stage->server,
                                                       clock_monotonic() + USEC_PER_SEC, NULL);

        paused = info && info->state == DOMAIN_PAUSED_MIGRATED;
        g_usleep(5 * USEC_PER_MSEC);
    }
    rig_wish(stage->rig, id, WISH_ABORT, NULL);
    assert_ends(stage, id, MIGRATION_CANCELLED, "host1");
}

static void
test_restart_after_pause(Stage *stage, const void *unused)
{
    host_fake_set_timing(stage->world, 2 * USEC_PER_SEC, 10 * USEC_PER_MSEC);
    int64_t id = start_move(stage);
    rig_wish(stage->rig, id, WISH_FORCE_COMPLETE, NULL);
    wait_for_phase(stage, id, "pause");
    restart(stage);
    assert_ends(stage, id, MIGRATION_COMPLETED, "host2");
}

static void
test_time_out_forces(Stage *stage, const void *unused)
{
    stage->rig->libvirt->completion_timeout_s_per_gib = 1;
    stage->rig->libvirt->timeout_force_complete = true;
    host_fake_set_fault(stage->world, 1, FAKE_MIGRATE_NEVER_CONVERGES);
    int64_t id = start_move(stage);
    assert_ends(stage, id, MIGRATION_COMPLETED, "host2");
    g_autoptr(Migration) row = rig_migration(stage->rig, id);
    g_assert_nonnull(strstr(row->phases, "\"pause\""));
}

/* ---- the source dies ----------------------------------------------------------------------
 */

#define PATIENCE_S 30

static void
be_patient(TaskSettings *settings)
{
    settings->unreachable_wait_us = PATIENCE_S * USEC_PER_SEC;
}

static bool
is_down(Stage *stage, const char *host)
{
    const StoreCond where[] = {
        {"name", STORE_EQ, host, 0}, {"state", STORE_EQ, NULL, HOST_DOWN}, {NULL}};
    g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &HOST, where);

    return rows->len > 0;
}

/* The move is not waited for as long as a node that comes back would be, and the guest that it was
 * sending does not begin to run behind the back of the new one. */
static void
test_evacuate(Stage *stage, const void *unused)
{
    const EvacuateRequest evacuate = {.dest = "host3", .override = "its plug was pulled"};
    int64_t id, begun;

    rig_adjust = be_patient;
    restart(stage);
    rig_adjust = NULL;
    id = start_move(stage);
    host_fake_set_fault(stage->world, 1, FAKE_NODE_CUT);
    while (!is_down(stage, "host1"))
        g_usleep(10 * USEC_PER_MSEC);
    begun = clock_monotonic();
    rig_evacuate(stage->rig, stage->server, &evacuate, NULL);
    for (bool over = false; !over;) {
        g_autoptr(Migration) row = rig_migration(stage->rig, id);

        over = migration_status_is_final(row->status);
        g_usleep(10 * USEC_PER_MSEC);
    }
    g_assert_cmpint(clock_monotonic() - begun, <, PATIENCE_S / 3 * USEC_PER_SEC);
    g_assert_true(rig_wait_idle(stage->rig, 30));
    g_autoptr(Migration) row = rig_migration(stage->rig, id);
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_autoptr(DomainInfo) incoming = host_domain_probe(stage->rig->hosts, "host2", stage->server,
                                                       clock_monotonic() + USEC_PER_SEC, NULL);
    g_assert_cmpint(row->status, ==, MIGRATION_CANCELLED);
    g_assert_nonnull(strstr(row->reason, "evacuated"));
    g_assert_cmpstr(server->host, ==, "host3");
    g_assert_cmpint(server->vm_state, ==, VM_ACTIVE);
    g_assert_true(incoming && incoming->state != DOMAIN_PAUSED_INCOMING &&
                  incoming->state != DOMAIN_RUNNING);
}

/* ---- what is refused ----------------------------------------------------------------------
 */

typedef struct Refusal {
    const char *type, *phase;
    MigrationStatus status;
    MigrationWish before, wish;
    int code; /* 0: accepted */
    const char *words;
} Refusal;

static bool
try_wish(StoreTx *tx, void *opaque, GError **err)
{
    const Refusal *refusal = opaque;
    g_autofree char *uuid = uuid_new();
    Migration row = {.uuid = uuid,
                     .server_id = (char *)"s",
                     .project_id = (char *)"p",
                     .user_id = (char *)"u",
                     .type = (char *)refusal->type,
                     .status = refusal->status,
                     .phase = (char *)refusal->phase,
                     .source_host = (char *)"host1",
                     .dest_host = (char *)"host2",
                     .flavor_id = (char *)"f",
                     .phases = (char *)"{}",
                     .wish = refusal->before,
                     .created_at = 1,
                     .updated_at = 1};

    if (!store_insert(tx, &MIGRATION, &row, err) ||
        !task_submit_move_wish(tx, &row, refusal->wish, err))
        return false;
    g_autoptr(Migration) stored = store_get_int(tx, &MIGRATION, row.id, err);
    g_assert_cmpint(stored->wish, ==, refusal->wish);
    return store_delete_int(tx, &MIGRATION, row.id, err);
}

static void
test_refusals(Stage *stage, const void *unused)
{
    static const char live[] = "live-migration";
    static const Refusal cases[] = {
        {live, "queue", MIGRATION_ACCEPTED, WISH_NONE, WISH_ABORT, 0, NULL},
        {live, "queue", MIGRATION_QUEUED, WISH_NONE, WISH_ABORT, 0, NULL},
        {live, "check", MIGRATION_PREPARING, WISH_NONE, WISH_ABORT, 0, NULL},
        {live, "transfer", MIGRATION_RUNNING, WISH_NONE, WISH_ABORT, 0, NULL},
        {live, "pause", MIGRATION_RUNNING, WISH_FORCE_COMPLETE, WISH_ABORT, 0, NULL},
        {live, "transfer", MIGRATION_RUNNING, WISH_ABORT, WISH_ABORT, 0, NULL},
        {live, "transfer", MIGRATION_RUNNING, WISH_NONE, WISH_FORCE_COMPLETE, 0, NULL},
        {live, "post-copy", MIGRATION_RUNNING, WISH_FORCE_COMPLETE, WISH_FORCE_COMPLETE, 0, NULL},
        {live, "post-copy", MIGRATION_RUNNING, WISH_FORCE_COMPLETE, WISH_ABORT, ERR_CONFLICT,
         "memory is on both nodes"},
        {live, "transfer", MIGRATION_RUNNING, WISH_ABORT, WISH_FORCE_COMPLETE, ERR_CONFLICT,
         "being aborted"},
        {live, "queue", MIGRATION_QUEUED, WISH_NONE, WISH_FORCE_COMPLETE, ERR_CONFLICT,
         "not running yet (queued)"},
        {live, "check", MIGRATION_PREPARING, WISH_NONE, WISH_FORCE_COMPLETE, ERR_CONFLICT,
         "not running yet (preparing)"},
        {live, "cleanup", MIGRATION_POST_MIGRATING, WISH_NONE, WISH_ABORT, ERR_CONFLICT,
         "runs on host2 already"},
        {live, "cleanup", MIGRATION_POST_MIGRATING, WISH_NONE, WISH_FORCE_COMPLETE, ERR_CONFLICT,
         "runs on host2 already"},
        {live, "done", MIGRATION_COMPLETED, WISH_NONE, WISH_ABORT, ERR_CONFLICT, "completed"},
        {live, "done", MIGRATION_ERROR, WISH_NONE, WISH_ABORT, ERR_CONFLICT, "error"},
        {live, "done", MIGRATION_FAILED, WISH_NONE, WISH_FORCE_COMPLETE, ERR_CONFLICT, "failed"},
        {live, "done", MIGRATION_CANCELLED, WISH_ABORT, WISH_ABORT, ERR_CONFLICT, "cancelled"},
        {"resize", "done", MIGRATION_FINISHED, WISH_NONE, WISH_ABORT, ERR_INVALID, "revertResize"},
        {"evacuation", "x", MIGRATION_RUNNING, WISH_NONE, WISH_ABORT, ERR_INVALID, "evacuation"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        bool ok = store_write(stage->rig->store, try_wish, (void *)&cases[i], &error);

        g_test_message("%zu: %s", i, error ? error->message : "accepted");
        g_assert_cmpint(ok, ==, cases[i].code == 0);
        if (ok)
            continue;
        g_assert_cmpint(err_code(error), ==, cases[i].code);
        g_assert_nonnull(strstr(error->message, cases[i].words));
    }
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Stage *stage, const void *data);
        const char *data;
    } tests[] = {
        {"/move-wish/refusals", test_refusals, NULL},
        {"/move-wish/abort/at-once", test_abort_at_once, NULL},
        {"/move-wish/abort/check", test_abort_in_phase, "check"},
        {"/move-wish/abort/prepare", test_abort_in_phase, "prepare"},
        {"/move-wish/abort/before-the-job", test_abort_in_phase, "transfer"},
        {"/move-wish/abort/in-transfer", test_abort_in_transfer, NULL},
        {"/move-wish/abort/after-restart", test_abort_after_restart, NULL},
        {"/move-wish/abort/after-pause", test_abort_after_pause, NULL},
        {"/move-wish/abort/by-time-out", test_time_out_aborts, NULL},
        {"/move-wish/force/by-pause", test_force_by_pause, NULL},
        {"/move-wish/force/by-post-copy", test_force_by_post_copy, NULL},
        {"/move-wish/force/restart-in-post-copy", test_restart_in_post_copy, NULL},
        {"/move-wish/force/delete-in-post-copy", test_delete_in_post_copy, NULL},
        {"/move-wish/force/restart-after-pause", test_restart_after_pause, NULL},
        {"/move-wish/force/by-time-out", test_time_out_forces, NULL},
        {"/move-wish/evacuate", test_evacuate, NULL},
    };

    g_test_init(&argc, &argv, NULL);
    log_set_level(g_getenv("TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Stage, tests[i].data, stage_open, tests[i].fn, stage_close);
    return g_test_run();
}
