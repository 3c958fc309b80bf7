/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-move-retry.c: a live migration for which no host was named goes on to the next candidate */
#include <jansson.h>
#include <string.h>

#include "rig/rig.h"

#define HOSTS 4

typedef struct Stage {
    char *dir;
    HostDriver *world;
    Rig *rig;
    char *server;
} Stage;

static void
stage_open(Stage *stage, const void *unused)
{
    stage->dir = rig_make_dir(HOSTS);
    stage->world = host_fake_world_new(HOSTS);
    host_fake_set_timing(stage->world, 60 * USEC_PER_MSEC, 10 * USEC_PER_MSEC);
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
}

/* "host2 backend, host3 conflict", in the order of the attempts */
static char *
attempts_text(const Migration *row)
{
    GString *text = g_string_new(NULL);
    json_t *attempts = row->attempts ? json_loads(row->attempts, 0, NULL) : NULL, *attempt;
    size_t i;

    json_array_foreach(attempts, i, attempt)
    {
        g_assert_cmpint(json_integer_value(json_object_get(attempt, "at")), >, row->created_at);
        g_assert_cmpint(strlen(json_string_value(json_object_get(attempt, "reason"))), >, 10);
        g_string_append_printf(text, "%s%s %s", i ? ", " : "",
                               json_string_value(json_object_get(attempt, "host")),
                               json_string_value(json_object_get(attempt, "error_code")));
    }
    json_decref(attempts);
    return g_string_free(text, FALSE);
}

static Migration *
move(Stage *stage, const char *dest)
{
    int64_t id = rig_migrate(stage->rig, stage->server, dest, NULL);

    g_assert_true(rig_wait_idle(stage->rig, 20));
    return rig_migration(stage->rig, id);
}

static void
assert_runs(Stage *stage, const char *host)
{
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);

    g_assert_cmpint(server->vm_state, ==, VM_ACTIVE);
    g_assert_cmpint(server->task_state, ==, TASK_NONE);
    g_assert_cmpstr(server->host, ==, host);
    g_assert_cmpint(host_fake_running_count(stage->world, stage->server), ==, 1);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 1);
}

static void
test_transfer(Stage *stage, const void *unused)
{
    host_fake_set_fault(stage->world, 2, FAKE_MIGRATE_FAILS);
    host_fake_set_fault(stage->world, 3, FAKE_MIGRATE_NO_TLS);
    g_autoptr(Migration) row = move(stage, NULL);
    g_autofree char *attempts = attempts_text(row);

    g_assert_cmpint(row->status, ==, MIGRATION_COMPLETED);
    g_assert_cmpstr(row->dest_host, ==, "host4");
    g_assert_null(row->reason);
    g_assert_cmpstr(attempts, ==, "host2 backend, host3 backend");
    assert_runs(stage, "host4");
}

static void
test_check_and_transfer(Stage *stage, const void *unused)
{
    host_fake_set_fault(stage->world, 2, FAKE_CPU_INCOMPATIBLE);
    host_fake_set_fault(stage->world, 3, FAKE_MIGRATE_FAILS);
    g_autoptr(Migration) row = move(stage, NULL);
    g_autofree char *attempts = attempts_text(row);

    g_assert_cmpstr(row->dest_host, ==, "host4");
    g_assert_cmpstr(attempts, ==, "host2 unsupported, host3 backend");
    assert_runs(stage, "host4");
}

/* Nobody is left: the record says what each of them said, and where the guest is. */
static void
test_all_fail(Stage *stage, const void *unused)
{
    host_fake_set_fault(stage->world, 2, FAKE_CPU_INCOMPATIBLE);
    host_fake_set_fault(stage->world, 3, FAKE_MIGRATE_FAILS);
    host_fake_set_fault(stage->world, 4, FAKE_MIGRATE_FAILS);
    g_autoptr(Migration) row = move(stage, NULL);
    g_autofree char *attempts = attempts_text(row);

    g_assert_cmpint(row->status, ==, MIGRATION_ERROR);
    g_assert_cmpstr(row->dest_host, ==, "host4");
    g_assert_nonnull(strstr(row->reason, "the guest runs on host1"));
    g_assert_cmpstr(attempts, ==, "host2 unsupported, host3 backend");
    assert_runs(stage, "host1");
}

static void
test_none_fits(Stage *stage, const void *unused)
{
    for (int node = 2; node <= HOSTS; node++)
        host_fake_set_fault(stage->world, node, FAKE_CPU_INCOMPATIBLE);
    g_autoptr(Migration) row = move(stage, NULL);
    g_autofree char *attempts = attempts_text(row);

    g_assert_cmpint(row->status, ==, MIGRATION_FAILED);
    g_assert_cmpstr(attempts, ==, "host2 unsupported, host3 unsupported, host4 unsupported");
    for (int node = 2; node <= HOSTS; node++) {
        g_autofree char *name = g_strdup_printf("host%d", node);

        g_assert_nonnull(strstr(row->reason, name));
    }
    assert_runs(stage, "host1");
}

static void
test_named_host(Stage *stage, const void *unused)
{
    host_fake_set_fault(stage->world, 2, FAKE_MIGRATE_FAILS);
    g_autoptr(Migration) row = move(stage, "host2");

    g_assert_cmpint(row->status, ==, MIGRATION_ERROR);
    g_assert_null(row->attempts);
    assert_runs(stage, "host1");
}

static void
wait_for_attempt(Stage *stage, int64_t id)
{
    for (uint64_t seen = 0;;) {
        g_autoptr(Migration) row = rig_migration(stage->rig, id);

        if (row->attempts && row->status == MIGRATION_RUNNING)
            return;
        g_assert_false(migration_status_is_final(row->status));
        seen = store_wait_change(stage->rig->store, seen, clock_monotonic() + 20 * USEC_PER_MSEC);
    }
}

/* The wish to abort is for the whole move, not for the attempt. */
static void
test_abort(Stage *stage, const void *unused)
{
    int64_t id;

    host_fake_set_timing(stage->world, 2 * USEC_PER_SEC, 10 * USEC_PER_MSEC);
    host_fake_set_fault(stage->world, 2, FAKE_MIGRATE_FAILS);
    id = rig_migrate(stage->rig, stage->server, NULL, NULL);
    wait_for_attempt(stage, id);
    rig_wish(stage->rig, id, WISH_ABORT, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_autoptr(Migration) row = rig_migration(stage->rig, id);
    g_autofree char *attempts = attempts_text(row);
    g_assert_cmpint(row->status, ==, MIGRATION_CANCELLED);
    g_assert_cmpstr(attempts, ==, "host2 backend");
    assert_runs(stage, "host1");
}

/* Who takes it up knows what was tried. */
static void
test_restart(Stage *stage, const void *unused)
{
    int64_t id;

    host_fake_set_timing(stage->world, USEC_PER_SEC, 10 * USEC_PER_MSEC);
    host_fake_set_fault(stage->world, 2, FAKE_MIGRATE_FAILS);
    id = rig_migrate(stage->rig, stage->server, NULL, NULL);
    wait_for_attempt(stage, id);
    rig_stop(stage->rig);
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_autoptr(Migration) row = rig_migration(stage->rig, id);
    g_autofree char *attempts = attempts_text(row);
    g_assert_cmpint(row->status, ==, MIGRATION_COMPLETED);
    g_assert_cmpstr(row->dest_host, ==, "host3");
    g_assert_cmpstr(attempts, ==, "host2 backend");
    assert_runs(stage, "host3");
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Stage *stage, const void *unused);
    } tests[] = {
        {"/move-retry/transfer", test_transfer},
        {"/move-retry/check-and-transfer", test_check_and_transfer},
        {"/move-retry/all-fail", test_all_fail},
        {"/move-retry/none-fits", test_none_fits},
        {"/move-retry/named-host", test_named_host},
        {"/move-retry/abort", test_abort},
        {"/move-retry/restart", test_restart},
    };

    g_test_init(&argc, &argv, NULL);
    log_set_level(g_getenv("TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Stage, NULL, stage_open, tests[i].fn, stage_close);
    return g_test_run();
}
