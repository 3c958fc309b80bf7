/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-task-evacuate.c: a dead node's servers are brought up elsewhere, and the node comes back:
 * what is fenced when, what runs where, and what is said of it */
#include "evacuate-stage.h"

/* ---- the way it should go --------------------------------------------------------------------
 */

static void
test_cut(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_CUT);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);
    g_autoptr(GPtrArray) fences = rig_rows(stage->rig, &FENCE, NULL);
    const Fence *fence = g_ptr_array_index(fences, 0);

    g_assert_cmpstr(migration_status_names[row->status], ==, "done");
    assert_server(stage, VM_ACTIVE, row->dest_host, 2); /* the old one runs on, fenced */
    g_assert_true(is_fenced(stage, CLIENT));
    g_assert_cmpuint(fences->len, ==, 1);
    g_assert_cmpstr(fence->host, ==, "host1");
    g_assert_cmpstr(fence->address, ==, CLIENT);
    g_assert_cmpint(fence->expires_at, >, clock_realtime() + 20 * 86400 * USEC_PER_SEC);
    g_assert_nonnull(strstr(row->fence, CLIENT));
    g_assert_nonnull(strstr(row->fence, "confirmed_at"));
    for (const char *const *phase =
             (const char *const[]){"detection", "power-off", "fencing", "start", NULL};
         *phase; phase++)
        g_assert_nonnull(strstr(row->phases, *phase));
}

static void
test_returns(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_CUT);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    set_node(stage, 1, FAKE_FAULT_NONE);
    wait_status(stage, row->id, MIGRATION_COMPLETED);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_server(stage, VM_ACTIVE, row->dest_host, 1);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 1);
    g_assert_false(is_fenced(stage, CLIENT));
    g_assert_cmpuint(fence_rows(stage), ==, 0);
    g_assert_cmpint(unfence_calls, >, 0);
}

/* Its record says another host, and there it is off: the copy on the returned node is stale all the
 * same. */
static void
test_returns_to_a_stopped_one(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_CUT);
    g_autoptr(Migration) row = evacuate(stage, &(EvacuateRequest){.leave_stopped = true});

    assert_server(stage, VM_STOPPED, row->dest_host, 1);
    set_node(stage, 1, FAKE_FAULT_NONE);
    wait_status(stage, row->id, MIGRATION_COMPLETED);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_server(stage, VM_STOPPED, row->dest_host, 0);
    g_assert_false(is_fenced(stage, CLIENT));
}

static void
test_rebooted(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_DOWN);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    assert_server(stage, VM_ACTIVE, row->dest_host, 1);
    set_node(stage, 1, FAKE_FAULT_NONE);
    wait_status(stage, row->id, MIGRATION_COMPLETED);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 1);
    g_assert_cmpuint(fence_rows(stage), ==, 0);
}

static void
test_deleted_meanwhile(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_CUT);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    rig_action(stage->rig, stage->id, "delete", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_assert_true(is_fenced(stage, CLIENT));
    set_node(stage, 1, FAKE_FAULT_NONE);
    wait_status(stage, row->id, MIGRATION_COMPLETED);
    g_assert_cmpint(host_fake_running_count(stage->world, stage->id), ==, 0);
    g_assert_cmpuint(fence_rows(stage), ==, 0);
    g_assert_false(is_fenced(stage, CLIENT));
}

static void
test_forced_down(Stage *stage, gconstpointer data)
{
    g_assert_true(store_write(stage->rig->store, force_down, (void *)"host1", NULL));
    g_autoptr(Migration) row = evacuate(stage, &(EvacuateRequest){.dest = "host3"});

    /* It answers all the same, so it may be cleared up already. */
    g_assert_true(row->status == MIGRATION_DONE || row->status == MIGRATION_COMPLETED);
    watch_sweep(stage->rig->watch);
    wait_status(stage, row->id, MIGRATION_COMPLETED);
    assert_server(stage, VM_ACTIVE, "host3", 1);
}

static void
test_volumes(Stage *stage, gconstpointer data)
{
    g_autofree char *volume = rig_create_volume(stage->rig, &(RigVolume){0}, NULL);
    g_autofree char *source = NULL, *format = NULL;

    g_assert_true(rig_wait_idle(stage->rig, 10));
    block_fake_set_client(stage->rig->storage.block, stage->disk, NULL);
    rig_attach(stage->rig, stage->id, volume, NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_assert_true(storage_volume_source(&stage->rig->storage, volume, &source, &format, NULL));
    add_client(stage, stage->id, source, "10.0.0.1:0/99");
    /* Nobody lists it any more: the record counts. */
    block_fake_set_client(stage->rig->storage.block, source, NULL);
    set_node(stage, 1, FAKE_NODE_CUT);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    assert_server(stage, VM_ACTIVE, row->dest_host, 2);
    g_assert_true(is_fenced(stage, CLIENT));
    g_assert_true(is_fenced(stage, "10.0.0.1:0/99"));
    g_assert_true(rig_guest_has(stage->rig, row->dest_host, stage->id, volume));
}

static void
test_late_client(Stage *stage, gconstpointer data)
{
    late_client = g_strdup("10.0.0.1:0/4712");
    set_node(stage, 1, FAKE_NODE_CUT);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    g_assert_cmpstr(migration_status_names[row->status], ==, "done");
    g_assert_true(is_fenced(stage, "10.0.0.1:0/4712"));
    g_assert_cmpint(fence_calls, ==, 2);
    g_assert_cmpuint(fence_rows(stage), ==, 2);
}

static void
test_stopped(Stage *stage, gconstpointer data)
{
    rig_action(stage->rig, stage->id, "os-stop", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    set_node(stage, 1, FAKE_NODE_DOWN);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    assert_server(stage, VM_STOPPED, row->dest_host, 0);
    rig_action(stage->rig, stage->id, "os-start", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_server(stage, VM_ACTIVE, row->dest_host, 1);
}

static void
test_paused(Stage *stage, gconstpointer data)
{
    g_autoptr(GPtrArray) events = NULL;

    g_assert_true(host_domain_pause(stage->rig->hosts, "host1", stage->id,
                                    clock_monotonic() + USEC_PER_SEC, NULL));
    for (int i = 0; i < 1000; i++) {
        g_autoptr(Server) server = rig_server(stage->rig, stage->id);

        if (server->vm_state == VM_PAUSED)
            break;
        g_usleep(5000);
    }
    set_node(stage, 1, FAKE_NODE_DOWN);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    g_assert_cmpint(row->old_vm_state, ==, VM_PAUSED);
    assert_server(stage, VM_ACTIVE, row->dest_host, 1);
    events = rows_of(&ACTION_EVENT, "event", "compute_rebuild_memory_lost");
    g_assert_cmpuint(events->len, ==, 1);
    g_assert_nonnull(strstr(((ActionEvent *)g_ptr_array_index(events, 0))->details, "afresh"));
}

/* ---- what is refused, what fails -------------------------------------------------------------
 */

static void
test_refused(Stage *stage, gconstpointer data)
{
    assert_refused(stage, &anywhere, ERR_CONFLICT, "host1 is up: stop it, or force it down");
    set_node(stage, 1, FAKE_NODE_CUT);
    set_node(stage, 3, FAKE_NODE_CUT);
    assert_refused(stage, &(EvacuateRequest){.dest = "host1"}, ERR_CONFLICT, "evacuated from");
    assert_refused(stage, &(EvacuateRequest){.dest = "host3"}, ERR_CONFLICT, "host3 is not up");
    assert_refused(stage, &(EvacuateRequest){.dest = "host9"}, ERR_NOT_FOUND, "host9");
}

static void
test_fence_fails(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_CUT);
    fence_fails = true;
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    g_assert_cmpstr(migration_status_names[row->status], ==, "failed");
    g_assert_nonnull(strstr(row->reason, "no quorum"));
    assert_server(stage, VM_ACTIVE, "host1", 1);
    g_assert_cmpuint(fence_rows(stage), ==, 0);
    g_assert_false(is_fenced(stage, CLIENT));
}

static void
test_is_back_before(Stage *stage, gconstpointer data)
{
    g_autoptr(Migration) row = NULL;
    int64_t id;

    set_node(stage, 1, FAKE_NODE_CUT);
    g_assert_true(task_engine_stop(stage->rig->tasks, clock_monotonic() + 5 * USEC_PER_SEC));
    id = rig_evacuate(stage->rig, stage->id, &anywhere, NULL);
    set_node(stage, 1, FAKE_FAULT_NONE);
    g_assert_true(task_engine_start(stage->rig->tasks, NULL));
    g_assert_true(rig_wait_idle(stage->rig, 10));
    row = rig_migration(stage->rig, id);
    g_assert_cmpstr(migration_status_names[row->status], ==, "failed");
    g_assert_nonnull(strstr(row->reason, "host1 is up again"));
    assert_server(stage, VM_ACTIVE, "host1", 1);
    g_assert_cmpint(fence_calls, ==, 0);
}

static void
test_nobody_known(Stage *stage, gconstpointer data)
{
    g_autofree char *other = rig_create_server(stage->rig, "t", "host1", NULL); /* not recorded */
    g_autoptr(Migration) row = NULL;
    int64_t id;

    g_assert_true(rig_wait_idle(stage->rig, 10));
    set_node(stage, 1, FAKE_NODE_CUT);
    id = rig_evacuate(stage->rig, other, &anywhere, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    row = rig_migration(stage->rig, id);
    g_assert_cmpstr(migration_status_names[row->status], ==, "failed");
    g_assert_nonnull(strstr(row->reason, "nobody knows by which Ceph client host1"));
    g_assert_cmpint(host_fake_running_count(stage->world, other), ==, 1);
    migration_free(g_steal_pointer(&row));
    id = rig_evacuate(stage->rig, other, &(EvacuateRequest){.override = "unplugged"}, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    row = rig_migration(stage->rig, id);
    g_assert_cmpstr(migration_status_names[row->status], ==, "done");
    g_assert_nonnull(strstr(row->fence, "unplugged"));
}

static void
test_next_host(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_CUT);
    host_fake_set_fault(stage->world, 2, FAKE_START_FAILS);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    g_assert_cmpstr(migration_status_names[row->status], ==, "done");
    g_assert_cmpstr(row->dest_host, ==, "host3");
    g_assert_nonnull(strstr(row->attempts, "host2"));
    assert_server(stage, VM_ACTIVE, "host3", 2);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 2);
}

static void
test_nowhere(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_CUT);
    host_fake_set_fault(stage->world, 2, FAKE_START_FAILS);
    host_fake_set_fault(stage->world, 3, FAKE_START_FAILS);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);
    g_autoptr(Server) server = rig_server(stage->rig, stage->id);
    g_autoptr(Migration) again = NULL;

    g_assert_cmpstr(migration_status_names[row->status], ==, "error");
    assert_server(stage, VM_ERROR, "host1", 1);
    g_assert_nonnull(strstr(server->fault_message, "fenced from host1 and free"));
    g_assert_nonnull(strstr(server->fault_message, "evacuate it again"));
    g_assert_true(is_fenced(stage, CLIENT));
    host_fake_set_fault(stage->world, 2, FAKE_FAULT_NONE);
    again = evacuate(stage, &anywhere);
    g_assert_cmpint(again->old_vm_state, ==, VM_ACTIVE);
    assert_server(stage, VM_ACTIVE, "host2", 2);
}

/* The node is back, and the guest there is cut off from its disk: a hard reboot mends it, and only
 * then is the fence lifted. */
static void
test_nowhere_then_back(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_CUT);
    host_fake_set_fault(stage->world, 2, FAKE_START_FAILS);
    host_fake_set_fault(stage->world, 3, FAKE_START_FAILS);
    migration_free(evacuate(stage, &anywhere));
    set_node(stage, 1, FAKE_FAULT_NONE);
    g_usleep(200 * USEC_PER_MSEC);
    g_assert_true(is_fenced(stage, CLIENT));
    rig_action(stage->rig, stage->id, "reboot-hard", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_server(stage, VM_ACTIVE, "host1", 1);
    add_client(stage, stage->id, stage->disk, "10.0.0.1:0/4713");
    for (int i = 0; i < 500 && fence_rows(stage); i++) {
        if (i % 40 == 0)
            watch_sweep(stage->rig->watch);
        g_usleep(10000);
    }
    g_assert_cmpuint(fence_rows(stage), ==, 0);
    g_assert_false(is_fenced(stage, CLIENT));
    assert_server(stage, VM_ACTIVE, "host1", 1);
}

static void
test_twice_at_once(Stage *stage, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    set_node(stage, 1, FAKE_NODE_CUT);
    g_assert_true(task_engine_stop(stage->rig->tasks, clock_monotonic() + 5 * USEC_PER_SEC));
    g_assert_cmpint(rig_evacuate(stage->rig, stage->id, &anywhere, NULL), >, 0);
    g_assert_cmpint(rig_evacuate(stage->rig, stage->id, &anywhere, &error), ==, 0);
    g_assert_nonnull(strstr(error->message, "is being evacuated already"));
    g_assert_true(task_engine_start(stage->rig->tasks, NULL));
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_server(stage, VM_ACTIVE, NULL, 2);
}

/* ---- the external command --------------------------------------------------------------------
 */

static void
test_command_once(Stage *stage, gconstpointer data)
{
    g_autofree char *other = rig_create_server(stage->rig, "t", "host1", NULL);
    g_autofree char *third = rig_create_server(stage->rig, "u", "host1", NULL);
    int64_t ids[3];

    g_assert_true(rig_wait_idle(stage->rig, 10));
    set_command(stage, "sleep 0.2; echo powered off", 10);
    set_node(stage, 1, FAKE_NODE_DOWN);
    ids[0] = rig_evacuate(stage->rig, stage->id, &anywhere, NULL);
    ids[1] = rig_evacuate(stage->rig, other, &anywhere, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    ids[2] = rig_evacuate(stage->rig, third, &anywhere, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    for (int i = 0; i < 3; i++) {
        g_autoptr(Migration) row = rig_migration(stage->rig, ids[i]);

        g_assert_cmpstr(migration_status_names[row->status], ==, "done");
        g_assert_nonnull(strstr(row->fence, "\"program\""));
    }
    g_assert_cmpint(calls(stage, "host1 10.0.0.1"), ==, 1);

    /* back, and dead again: another outage */
    set_node(stage, 1, FAKE_FAULT_NONE);
    wait_status(stage, ids[0], MIGRATION_COMPLETED);
    g_autofree char *fourth = rig_create_server(stage->rig, "v", "host1", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    set_node(stage, 1, FAKE_NODE_DOWN);
    rig_evacuate(stage->rig, fourth, &anywhere, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    g_assert_cmpint(calls(stage, "host1 10.0.0.1"), ==, 2);
}

static void
test_command_fails(Stage *stage, gconstpointer data)
{
    set_command(stage, "echo no such outlet >&2; exit 3", 10);
    set_node(stage, 1, FAKE_NODE_CUT);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    g_assert_cmpstr(migration_status_names[row->status], ==, "failed");
    g_assert_nonnull(strstr(row->reason, "ended with status 3: no such outlet"));
    assert_server(stage, VM_ACTIVE, "host1", 1);
    g_assert_cmpint(fence_calls, ==, 0);
    g_assert_cmpuint(fence_rows(stage), ==, 0);
}

static void
test_command_hangs(Stage *stage, gconstpointer data)
{
    set_command(stage, "sleep 30", 1);
    set_node(stage, 1, FAKE_NODE_CUT);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    g_assert_cmpstr(migration_status_names[row->status], ==, "failed");
    g_assert_nonnull(strstr(row->reason, "host1 may still be running"));
    assert_server(stage, VM_ACTIVE, "host1", 1);
}

/* ---- a shared directory ----------------------------------------------------------------------
 */

static void
test_directory(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_DOWN);
    assert_refused(stage, &anywhere, ERR_CONFLICT, "--override REASON");
    g_autoptr(Migration) row = evacuate(stage, &(EvacuateRequest){.override = "seen it dark"});

    g_assert_cmpstr(migration_status_names[row->status], ==, "done");
    g_assert_nonnull(strstr(row->fence, "seen it dark"));
    g_assert_nonnull(strstr(row->fence, "\"by\":\"u\""));
    assert_server(stage, VM_ACTIVE, row->dest_host, 1);
    set_node(stage, 1, FAKE_FAULT_NONE);
    wait_status(stage, row->id, MIGRATION_COMPLETED);
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 1);
}

static void
test_directory_by_command(Stage *stage, gconstpointer data)
{
    set_command(stage, "exit 0", 10);
    set_node(stage, 1, FAKE_NODE_DOWN);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    g_assert_cmpstr(migration_status_names[row->status], ==, "done");
    g_assert_cmpint(calls(stage, "host1 10.0.0.1"), ==, 1);
    assert_server(stage, VM_ACTIVE, row->dest_host, 1);
}

/* ---- while it is away ------------------------------------------------------------------------
 */

static int64_t
expiry(Stage *stage)
{
    g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &FENCE, NULL);

    return ((Fence *)g_ptr_array_index(rows, 0))->expires_at;
}

static void
test_asserted_again(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_CUT);
    migration_free(evacuate(stage, &anywhere));
    g_assert_true(store_write(stage->rig->store, nearly_over, NULL, NULL));
    /* as if somebody had taken it out by hand */
    g_assert_true(block_fake_ops.unfence(stage->rig->storage.block,
                                         (const char *const[]){CLIENT, NULL}, NULL));
    watch_sweep(stage->rig->watch);
    for (int i = 0; i < 500 && expiry(stage) < clock_realtime() + 86400 * USEC_PER_SEC; i++)
        g_usleep(10000);
    g_assert_cmpint(expiry(stage), >, clock_realtime() + 20 * 86400 * USEC_PER_SEC);
    g_assert_true(is_fenced(stage, CLIENT));
}

static bool
remove_host(StoreTx *tx, void *opaque, GError **err)
{
    const StoreCond where[] = {{"name", STORE_EQ, opaque, 0}, {NULL}};

    return store_delete_where(tx, &HOST, where, err);
}

static void
test_removed_node(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_CUT);
    migration_free(evacuate(stage, &anywhere));
    g_assert_true(store_write(stage->rig->store, remove_host, (void *)"host1", NULL));
    watch_hosts_changed(stage->rig->watch);
    watch_sweep(stage->rig->watch);
    g_usleep(300 * USEC_PER_MSEC);
    g_assert_true(is_fenced(stage, CLIENT));
    g_assert_cmpuint(fence_rows(stage), ==, 1);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    log_set_level(g_getenv("TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
#define ADD(name, fn)     g_test_add("/evacuate/" name, Stage, NULL, set_up, fn, tear_down)
#define ADD_DIR(name, fn) g_test_add("/evacuate/" name, Stage, "dir", set_up, fn, tear_down)
    ADD("cut", test_cut);
    ADD("returns", test_returns);
    ADD("returns-to-a-stopped-one", test_returns_to_a_stopped_one);
    ADD("rebooted", test_rebooted);
    ADD("deleted-meanwhile", test_deleted_meanwhile);
    ADD("forced-down", test_forced_down);
    ADD("volumes", test_volumes);
    ADD("late-client", test_late_client);
    ADD("stopped", test_stopped);
    ADD("paused", test_paused);
    ADD("refused", test_refused);
    ADD("fence-fails", test_fence_fails);
    ADD("is-back-before", test_is_back_before);
    ADD("nobody-known", test_nobody_known);
    ADD("next-host", test_next_host);
    ADD("nowhere", test_nowhere);
    ADD("nowhere-then-back", test_nowhere_then_back);
    ADD("twice-at-once", test_twice_at_once);
    ADD("command-once", test_command_once);
    ADD("command-fails", test_command_fails);
    ADD("command-hangs", test_command_hangs);
    ADD_DIR("directory", test_directory);
    ADD_DIR("directory-by-command", test_directory_by_command);
    ADD("asserted-again", test_asserted_again);
    ADD("removed-node", test_removed_node);
    return g_test_run();
}
