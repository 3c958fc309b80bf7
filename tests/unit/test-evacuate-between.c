/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-evacuate-between.c: what happens just between two steps of an evacuation, or of the clearing
 * up after it: no two writers, and no guest lost */
#include "evacuate-stage.h"

static bool
give_uri(StoreTx *tx, void *opaque, GError **err)
{
    const StoreCond where[] = {{"name", STORE_EQ, "host1", 0}, {NULL}};
    g_autoptr(Host) host = store_find(tx, &HOST, where, err);

    host->state = HOST_UNKNOWN;
    text_set(&host->uri, opaque);
    return store_update(tx, &HOST, host, err);
}

static void
reach_by(Stage *stage, const char *uri, HostState state)
{
    g_assert_true(store_write(stage->rig->store, give_uri, (void *)uri, NULL));
    watch_hosts_changed(stage->rig->watch);
    wait_host(stage, "host1", state);
}

static void
assert_stays_fenced(Stage *stage, const char *host)
{
    g_usleep(300 * USEC_PER_MSEC); /* longer than a lift that is asked for */
    watch_sweep(stage->rig->watch);
    g_usleep(300 * USEC_PER_MSEC);
    wait_host(stage, "host1", HOST_DOWN);
    g_assert_true(is_fenced(stage, CLIENT));
    assert_server(stage, VM_ACTIVE, host, 2);
}

/* What answers in the name of the dead node has none of its guests. */
static void
test_other_machine_after(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_CUT);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    reach_by(stage, "fake+tcp://host4/system", HOST_DOWN);
    assert_stays_fenced(stage, row->dest_host);
}

static void
test_other_machine_before(Stage *stage, gconstpointer data)
{
    reach_by(stage, "fake+tcp://host4/system", HOST_DOWN);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);

    g_assert_cmpstr(migration_status_names[row->status], ==, "done");
    assert_stays_fenced(stage, row->dest_host);
}

static bool
insert_intent(StoreTx *tx, void *opaque, GError **err)
{
    const Stage *stage = opaque;
    Fence row = {.host = (char *)"host1",
                 .address = (char *)CLIENT,
                 .server_id = stage->id,
                 .created_at = clock_realtime()};

    return store_insert(tx, &FENCE, &row, err);
}

static void
put_in_force(void)
{
    const char *const addresses[] = {CLIENT, NULL};

    g_assert_true(store_write(stage_now->rig->store, nearly_over, NULL, NULL));
    g_assert_true(block_fake_ops.fence(stage_now->rig->storage.block, addresses, 100, NULL));
}

/* A lift has seen that the fence was never in force; then another evacuation puts it in force. */
static void
test_lift_and_evacuation(Stage *stage, gconstpointer data)
{
    g_assert_true(store_write(stage->rig->store, insert_intent, stage, NULL));
    on_probe = put_in_force;
    g_assert_true(fence_lift_host(stage->rig->tasks, "host1", NULL));
    g_assert_null(on_probe);
    g_assert_true(is_fenced(stage, CLIENT));
    g_assert_cmpuint(fence_rows(stage), ==, 1);
    g_assert_cmpint(unfence_calls, ==, 0);
}

static bool
set_home(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Server) server = store_get(tx, &SERVER, stage_now->id, err);

    text_set(&server->host, opaque);
    return store_update(tx, &SERVER, server, err);
}

static void
bring_home(void)
{
    g_assert_true(store_write(stage_now->rig->store, set_home, (void *)"host1", NULL));
}

/* It has come back to the node while the lift was busy with others. */
static void
test_lift_and_return(Stage *stage, gconstpointer data)
{
    g_assert_true(store_write(stage->rig->store, insert_intent, stage, NULL));
    g_assert_true(store_write(stage->rig->store, set_home, (void *)"host2", NULL));
    on_probe = bring_home;
    g_assert_true(fence_lift_host(stage->rig->tasks, "host1", NULL));
    g_assert_null(on_probe);
    assert_server(stage, VM_ACTIVE, "host1", 1);
}

/* The node was never off: what the command said before does not hold. */
static void
test_command_again(Stage *stage, gconstpointer data)
{
    g_autofree char *other = rig_create_server(stage->rig, "t", "host1", NULL);
    g_autoptr(Migration) row = NULL;

    g_assert_true(rig_wait_idle(stage->rig, 10));
    set_command(stage, "exit 0", 10);
    g_assert_true(store_write(stage->rig->store, force_down, (void *)"host1", NULL));
    row = evacuate(stage, &anywhere);
    watch_sweep(stage->rig->watch);
    wait_status(stage, row->id, MIGRATION_COMPLETED);
    g_usleep(300 * USEC_PER_MSEC); /* the sweep may be behind the lift that was asked for */
    rig_evacuate(stage->rig, other, &anywhere, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    g_assert_cmpint(calls(stage, "host1 10.0.0.1"), ==, 2);
}

/* The start says that it failed, and the guest runs: it is stopped before another host has it. */
static void
test_start_lies(Stage *stage, gconstpointer data)
{
    set_node(stage, 1, FAKE_NODE_DOWN);
    start_lies = true;
    g_autoptr(Migration) row = evacuate(stage, &(EvacuateRequest){.override = "seen it dark"});

    g_assert_cmpstr(migration_status_names[row->status], ==, "done");
    g_assert_nonnull(strstr(row->attempts, "cannot be read"));
    assert_server(stage, VM_ACTIVE, row->dest_host, 1);
}

/* The client of before is recorded, the one of after it is not. */
static void
cut_in_start(Stage *stage)
{
    block_fake_set_client(stage->rig->storage.block, stage->disk, NULL);
    set_node(stage, 1, FAKE_NODE_CUT);
    g_autoptr(Migration) row = evacuate(stage, &anywhere);
    g_assert_cmpstr(migration_status_names[row->status], ==, "failed");
    g_assert_nonnull(strstr(row->reason, "nobody knows by which Ceph client host1"));
}

static void
test_cut_in_reboot(Stage *stage, gconstpointer data)
{
    block_fake_set_client(stage->rig->storage.block, stage->disk, NULL);
    start_lies = true;
    rig_action(stage->rig, stage->id, "reboot-hard", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    cut_in_start(stage);
    g_autoptr(Migration) row = evacuate(stage, &(EvacuateRequest){.override = "unplugged"});
    g_assert_cmpstr(migration_status_names[row->status], ==, "done");
}

static bool
begin_start(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(GPtrArray) rows = store_list(tx, &DISK_CLIENT, NULL, err);

    ((DiskClient *)g_ptr_array_index(rows, 0))->created_at = 0;
    return store_update(tx, &DISK_CLIENT, g_ptr_array_index(rows, 0), err);
}

static void
test_cut_in_start(Stage *stage, gconstpointer data)
{
    rig_action(stage->rig, stage->id, "os-stop", NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_assert_true(store_write(stage->rig->store, begin_start, NULL, NULL));
    cut_in_start(stage);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    log_set_level(g_getenv("TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
#define ADD(name, fn)     g_test_add("/evacuate-between/" name, Stage, NULL, set_up, fn, tear_down)
#define ADD_DIR(name, fn) g_test_add("/evacuate-between/" name, Stage, "dir", set_up, fn, tear_down)
    ADD("other-machine-after", test_other_machine_after);
    ADD("other-machine-before", test_other_machine_before);
    ADD("lift-and-evacuation", test_lift_and_evacuation);
    ADD("lift-and-return", test_lift_and_return);
    ADD("command-again", test_command_again);
    ADD_DIR("start-lies", test_start_lies);
    ADD("cut-in-reboot", test_cut_in_reboot);
    ADD("cut-in-start", test_cut_in_start);
    return g_test_run();
}
