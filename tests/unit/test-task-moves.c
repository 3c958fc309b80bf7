/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-task-moves.c: live migrations that go wrong in every way the fake knows: where is the guest,
 * and what does the record say?
 */
#include <string.h>

#include "rig/rig.h"

#define HOSTS 3

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
    host_fake_set_timing(stage->world, 100 * USEC_PER_MSEC, 20 * USEC_PER_MSEC);
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

/* Move to dest and wait for the end of everything. */
static Migration *
move(Stage *stage, const char *dest)
{
    int64_t id = rig_migrate(stage->rig, stage->server, dest, NULL);

    g_assert_true(rig_wait_idle(stage->rig, 20));
    return rig_migration(stage->rig, id);
}

static void
assert_runs(Stage *stage, VmState state, const char *host, int copies)
{
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);

    g_assert_cmpstr(vm_state_names[server->vm_state], ==, vm_state_names[state]);
    g_assert_cmpint(server->task_state, ==, TASK_NONE);
    g_assert_cmpstr(server->host, ==, host);
    g_assert_cmpint(host_fake_running_count(stage->world, stage->server), ==, copies);
}

static void
test_success(Stage *stage, const void *unused)
{
    g_autoptr(Migration) migration = move(stage, NULL);

    g_assert_cmpint(migration->status, ==, MIGRATION_COMPLETED);
    g_assert_cmpstr(migration->source_host, ==, "host1");
    assert_runs(stage, VM_ACTIVE, migration->dest_host, 1);
    g_assert_cmpint(migration->active_at, >=, migration->resumed_at);
    g_assert_cmpint(migration->active_at - migration->resumed_at, <, 50 * USEC_PER_MSEC);
    for (const char *const *phase =
             (const char *const[]){"select", "check", "reserve", "prepare", "transfer", "switch",
                                   "commit", "cleanup", NULL};
         *phase; phase++)
        g_assert_nonnull(strstr(migration->phases, *phase));
}

static void
test_fails_in_transfer(Stage *stage, const void *unused)
{
    host_fake_set_fault(stage->world, 1, FAKE_MIGRATE_FAILS);
    g_autoptr(Migration) migration = move(stage, "host2");

    g_assert_cmpint(migration->status, ==, MIGRATION_ERROR);
    g_assert_nonnull(strstr(migration->reason, "the guest runs on host1"));
    assert_runs(stage, VM_ACTIVE, "host1", 1);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 1); /* nothing is left on host2 */
}

static void
test_encrypted(Stage *stage, const void *unused)
{
    text_set(&stage->rig->libvirt->migration_uri, "fake+tls://%s/system");
    stage->rig->libvirt->require_encryption = true;
    g_autoptr(Migration) migration = move(stage, "host2");

    g_assert_cmpint(migration->status, ==, MIGRATION_COMPLETED);
    g_assert_cmpstr(migration->encryption, ==, "tls");
    g_assert_nonnull(strstr(migration->flags, "TLS"));
}

static void
test_encryption_required(Stage *stage, const void *unused)
{
    stage->rig->libvirt->require_encryption = true;
    g_autoptr(Migration) migration = move(stage, "host2");

    g_assert_cmpint(migration->status, ==, MIGRATION_FAILED);
    g_assert_cmpstr(migration->error_code, ==, "forbidden");
    g_assert_nonnull(strstr(migration->reason, "host1 to host2"));
    g_assert_nonnull(strstr(migration->reason, "plaintext"));
    g_assert_nonnull(strstr(migration->reason, "godwit host prepare"));
    g_assert_null(migration->encryption);
    assert_runs(stage, VM_ACTIVE, "host1", 1);
}

/* Configured TLS that does not work is an error, never a move without it. */
static void
test_no_certificates(Stage *stage, const void *unused)
{
    text_set(&stage->rig->libvirt->migration_uri, "fake+tls://%s/system");
    host_fake_set_fault(stage->world, 1, FAKE_MIGRATE_NO_TLS);
    g_autoptr(Migration) migration = move(stage, "host2");

    g_assert_cmpint(migration->status, ==, MIGRATION_ERROR);
    g_assert_cmpstr(migration->encryption, ==, "tls");
    g_assert_nonnull(strstr(migration->reason, "the guest runs on host1"));
    g_assert_nonnull(strstr(migration->reason,
                            "host2 has no /etc/pki/qemu-of-the-fake/ca-cert.pem and no "
                            "/etc/pki/qemu-of-the-fake/server-cert.pem"));
    g_assert_nonnull(strstr(migration->reason, "nothing was sent unencrypted"));
    g_assert_nonnull(strstr(migration->reason, "`godwit doctor host1 host2`"));
    g_assert_nonnull(strstr(migration->reason, "`godwit host prepare host1 host2`"));
    assert_runs(stage, VM_ACTIVE, "host1", 1);
}

static void
test_runs_twice(Stage *stage, const void *unused)
{
    /* The destination runs, the source hears nothing of it and goes on too: the copy on the source
     * must go. */
    host_fake_set_timing(stage->world, 50 * USEC_PER_MSEC, 300 * USEC_PER_MSEC);
    host_fake_set_fault(stage->world, 1, FAKE_MIGRATE_RUNS_TWICE);
    g_autoptr(Migration) migration = move(stage, "host2");

    g_assert_cmpint(migration->status, ==, MIGRATION_COMPLETED);
    assert_runs(stage, VM_ACTIVE, "host2", 1);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 1);
}

static void
test_lost(Stage *stage, const void *unused)
{
    host_fake_set_fault(stage->world, 1, FAKE_MIGRATE_LOST);
    g_autoptr(Migration) migration = move(stage, "host2");
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);

    g_assert_true(migration_status_is_final(migration->status));
    g_assert_cmpint(host_fake_running_count(stage->world, stage->server), ==, 0);
    g_assert_cmpint(server->vm_state, ==, VM_ERROR); /* a return of 0 is not believed */
    g_assert_nonnull(server->fault_message);
    host_fake_set_fault(stage->world, 1, FAKE_FAULT_NONE);
    rig_action(stage->rig, stage->server, "reboot-hard", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_assert_cmpint(host_fake_running_count(stage->world, stage->server), ==, 1);
}

static void
test_cpu_does_not_fit(Stage *stage, const void *unused)
{
    host_fake_set_fault(stage->world, 2, FAKE_CPU_INCOMPATIBLE);
    g_autoptr(Migration) migration = move(stage, "host2");

    g_assert_cmpint(migration->status, ==, MIGRATION_FAILED);
    g_assert_nonnull(strstr(migration->reason, "host2"));
    g_assert_cmpstr(migration->error_code, ==, err_code_name(ERR_UNSUPPORTED));
    assert_runs(stage, VM_ACTIVE, "host1", 1);

    /* Not told where to, it goes to the one that fits. */
    g_autoptr(Migration) chosen = move(stage, NULL);
    g_assert_cmpint(chosen->status, ==, MIGRATION_COMPLETED);
    g_assert_cmpstr(chosen->dest_host, ==, "host3");
}

/* Wait until the transfer of the newest move is under way. */
static void
wait_for_transfer(Stage *stage, int64_t id)
{
    for (;;) {
        uint64_t seen = store_change_count(stage->rig->store);
        g_autoptr(Migration) migration = rig_migration(stage->rig, id);
        g_autoptr(DomainInfo) info = host_domain_probe(stage->rig->hosts, "host1", stage->server,
                                                       clock_monotonic() + USEC_PER_SEC, NULL);

        if (migration->status == MIGRATION_RUNNING && info && info->job_active)
            return;
        g_assert_false(migration_status_is_final(migration->status));
        store_wait_change(stage->rig->store, seen, clock_monotonic() + 5 * USEC_PER_MSEC);
    }
}

static void
test_delete_during_move(Stage *stage, const void *unused)
{
    int64_t id;

    host_fake_set_timing(stage->world, 5 * USEC_PER_SEC, 20 * USEC_PER_MSEC);
    id = rig_migrate(stage->rig, stage->server, "host2", NULL);
    wait_for_transfer(stage, id);
    rig_action(stage->rig, stage->server, "delete", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_autoptr(Migration) migration = rig_migration(stage->rig, id);
    g_assert_cmpint(migration->status, ==, MIGRATION_CANCELLED);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 0);
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_assert_cmpint(server->vm_state, ==, VM_DELETED);
}

static void
test_destination_dies(Stage *stage, const void *unused)
{
    int64_t id;

    host_fake_set_timing(stage->world, 2 * USEC_PER_SEC, 20 * USEC_PER_MSEC);
    id = rig_migrate(stage->rig, stage->server, "host2", NULL);
    wait_for_transfer(stage, id);
    host_fake_set_fault(stage->world, 2, FAKE_NODE_DOWN);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    g_autoptr(Migration) migration = rig_migration(stage->rig, id);
    g_assert_cmpint(migration->status, ==, MIGRATION_ERROR);
    assert_runs(stage, VM_ACTIVE, "host1", 1);
}

static void
test_second_move_at_once(Stage *stage, const void *unused)
{
    g_autoptr(GError) error = NULL;

    host_fake_set_timing(stage->world, USEC_PER_SEC, 20 * USEC_PER_MSEC);
    rig_migrate(stage->rig, stage->server, "host2", NULL);
    g_assert_cmpint(rig_migrate(stage->rig, stage->server, "host3", &error), ==, 0);
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_runs(stage, VM_ACTIVE, "host2", 1);
}

/* Accepted while the source is still being wound up, and done after it. */
static void
test_stop_behind_clean_up(Stage *stage, const void *unused)
{
    host_fake_set_timing(stage->world, 20 * USEC_PER_MSEC, 2 * USEC_PER_SEC);
    rig_migrate(stage->rig, stage->server, "host2", NULL);
    for (;;) {
        uint64_t seen = store_change_count(stage->rig->store);
        g_autoptr(Server) server = rig_server(stage->rig, stage->server);

        if (server->task_state == TASK_NONE)
            break;
        store_wait_change(stage->rig->store, seen, clock_monotonic() + USEC_PER_SEC);
    }
    g_assert_cmpint(task_engine_open_count(stage->rig->tasks), >, 0); /* the move is not over yet */
    rig_action(stage->rig, stage->server, "os-stop", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 15));
    assert_runs(stage, VM_STOPPED, "host2", 0);
}

static bool
give_uri(StoreTx *tx, void *opaque, GError **err)
{
    const char *const *words = opaque;
    const StoreCond where[] = {{"name", STORE_EQ, words[0], 0}, {NULL}};
    g_autoptr(Host) host = store_find(tx, &HOST, where, err);

    host->state = HOST_UNKNOWN;
    text_set(&host->uri, words[1]);
    return store_update(tx, &HOST, host, err);
}

/* Give a host another URI, and wait until it is in this state, for a reason that says so. */
static void
reach_by(Stage *stage, const char *name, const char *uri, HostState state, const char *reason)
{
    const char *words[] = {name, uri};
    const StoreCond where[] = {
        {"name", STORE_EQ, name, 0}, {"state", STORE_EQ, NULL, state}, {NULL}};
    int64_t deadline = clock_monotonic() + 10 * USEC_PER_SEC;

    g_assert_true(store_write(stage->rig->store, give_uri, words, NULL));
    watch_hosts_changed(stage->rig->watch);
    for (;;) {
        g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &HOST, where);
        const Host *host = rows->len > 0 ? g_ptr_array_index(rows, 0) : NULL;

        if (host && (!reason || (host->state_reason && strstr(host->state_reason, reason))))
            break;
        g_assert_cmpint(clock_monotonic(), <, deadline);
        g_usleep(10 * USEC_PER_MSEC);
    }
    g_usleep(200 * USEC_PER_MSEC); /* for what a sweep would have submitted behind it */
    g_assert_true(rig_wait_idle(stage->rig, 10));
}

/* A URI that leads to the wrong machine costs no guest and starts none twice. */
static void
test_other_machine(Stage *stage, const void *unused)
{
    reach_by(stage, "host1", "fake+tcp://host3/system?second", HOST_DOWN, "another machine");
    assert_runs(stage, VM_ACTIVE, "host1", 1);
    reach_by(stage, "host1", "fake+tls://host1/system", HOST_UP, NULL);
    assert_runs(stage, VM_ACTIVE, "host1", 1);
    reach_by(stage, "host2", "fake+tls://host1/system?second", HOST_DOWN, "the same machine");
    assert_runs(stage, VM_ACTIVE, "host1", 1);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Stage *stage, const void *unused);
    } tests[] = {
        {"/moves/success", test_success},
        {"/moves/fails-in-transfer", test_fails_in_transfer},
        {"/moves/encrypted", test_encrypted},
        {"/moves/encryption-required", test_encryption_required},
        {"/moves/no-certificates", test_no_certificates},
        {"/moves/runs-twice", test_runs_twice},
        {"/moves/lost", test_lost},
        {"/moves/cpu-does-not-fit", test_cpu_does_not_fit},
        {"/moves/delete-during-move", test_delete_during_move},
        {"/moves/destination-dies", test_destination_dies},
        {"/moves/second-move-at-once", test_second_move_at_once},
        {"/moves/other-machine", test_other_machine},
        {"/moves/stop-behind-clean-up", test_stop_behind_clean_up},
    };

    g_test_init(&argc, &argv, NULL);
    log_set_level(g_getenv("TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Stage, NULL, stage_open, tests[i].fn, stage_close);
    return g_test_run();
}
