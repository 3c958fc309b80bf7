/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-task-power.c: pause, unpause, suspend, resume: what the record, the node and the instance
 * actions say, and what is left when they fail */
#include <string.h>

#include "rig/rig.h"

#define HOSTS 2

typedef struct Stage {
    char *dir;
    HostDriver *world;
    Rig *rig;
    char *server;
} Stage;

static int64_t
soon(void)
{
    return clock_monotonic() + 10 * USEC_PER_SEC;
}

static void
stage_open(Stage *stage, const void *unused)
{
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
    rig_host_ops = NULL;
    host_fake_world_free(stage->world);
    rig_remove_dir(stage->dir);
    g_free(stage->server);
}

static void
act(Stage *stage, const char *action)
{
    rig_action(stage->rig, stage->server, action, NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
}

static void
refuse(Stage *stage, const char *action)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(rig_action(stage->rig, stage->server, action, NULL, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
}

/* A change that an event brings; and events of the last operation but one, read late, may bring a
 * state that is over for a moment. */
static void
wait_state(Stage *stage, VmState vm)
{
    for (int64_t until = soon(); clock_monotonic() < until; g_usleep(2000)) {
        g_autoptr(Server) server = rig_server(stage->rig, stage->server);

        if (server->vm_state == vm && server->task_state == TASK_NONE)
            return;
    }
    g_error("the server does not become %s", vm_state_names[vm]);
}

static DomainInfo *
domain(Stage *stage, const char *host)
{
    return host_domain_probe(stage->rig->hosts, host, stage->server, soon(), NULL);
}

static void
assert_is(Stage *stage, VmState vm, PowerState power, const char *host, DomainState state)
{
    wait_state(stage, vm);
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_autoptr(DomainInfo) info = domain(stage, host);

    g_assert_cmpstr(vm_state_names[server->vm_state], ==, vm_state_names[vm]);
    g_assert_cmpstr(power_state_names[server->power_state], ==, power_state_names[power]);
    g_assert_cmpint(server->task_state, ==, TASK_NONE);
    g_assert_cmpstr(server->host, ==, host);
    g_assert_cmpstr(domain_state_names[info->state], ==, domain_state_names[state]);
    g_assert_true(info->saved == (vm == VM_SUSPENDED));
}

static void
assert_active(Stage *stage)
{
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host1", DOMAIN_RUNNING);
}

static void
assert_suspended(Stage *stage)
{
    assert_is(stage, VM_SUSPENDED, POWER_SUSPENDED, "host1", DOMAIN_SHUTOFF);
}

/* The newest instance action is this one and has this event; its message, to be freed. */
static char *
last_action(Stage *stage, const char *title, const char *event, const char *result)
{
    g_autoptr(GPtrArray) actions = rig_rows(stage->rig, &ACTION, NULL);
    const Action *action = g_ptr_array_index(actions, actions->len - 1);
    const StoreCond where[] = {{"action_id", STORE_EQ, NULL, action->id}, {NULL}};
    g_autoptr(GPtrArray) events = rig_rows(stage->rig, &ACTION_EVENT, where);
    const ActionEvent *row = events->len ? g_ptr_array_index(events, 0) : NULL;

    g_assert_cmpstr(action->action, ==, title);
    g_assert_cmpuint(events->len, ==, 1);
    g_assert_cmpstr(row->event, ==, event);
    g_assert_cmpstr(row->result, ==, result);
    return g_strdup(action->message);
}

static void
succeeded(Stage *stage, const char *title, const char *event)
{
    g_autofree char *message = last_action(stage, title, event, "Success");

    g_assert_null(message);
}

static void
test_pause(Stage *stage, const void *unused)
{
    act(stage, "pause");
    assert_is(stage, VM_PAUSED, POWER_PAUSED, "host1", DOMAIN_PAUSED);
    succeeded(stage, "pause", "compute_pause_instance");
    refuse(stage, "pause");
    refuse(stage, "suspend");
    refuse(stage, "resume");
    refuse(stage, "os-start");
    act(stage, "unpause");
    assert_active(stage);
    succeeded(stage, "unpause", "compute_unpause_instance");
    refuse(stage, "unpause");
}

static void
test_suspend(Stage *stage, const void *unused)
{
    g_autoptr(GError) refused = NULL;

    act(stage, "suspend");
    assert_suspended(stage);
    succeeded(stage, "suspend", "compute_suspend_instance");
    g_assert_cmpint(host_fake_running_count(stage->world, stage->server), ==, 0);
    for (const char *const *other = (const char *const[]){"suspend", "pause", "unpause", "os-start",
                                                          "os-stop", "reboot-soft", NULL};
         *other; other++)
        refuse(stage, *other);
    g_assert_cmpint(rig_migrate(stage->rig, stage->server, "host2", &refused), ==, 0);
    g_assert_true(err_is(refused, ERR_CONFLICT));
    act(stage, "resume");
    assert_active(stage);
    succeeded(stage, "resume", "compute_resume_instance");
}

static void
test_suspended_disks(Stage *stage, const void *unused)
{
    g_autofree char *volume = rig_create_volume(stage->rig, &(RigVolume){0}, NULL);
    g_autoptr(GError) error = NULL;

    g_assert_true(rig_wait_idle(stage->rig, 10));
    rig_attach(stage->rig, stage->server, volume, NULL, NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    act(stage, "suspend");
    assert_suspended(stage);
    g_assert_false(rig_detach(stage->rig, stage->server, volume, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    act(stage, "resume");
    g_assert_true(rig_guest_has(stage->rig, "host1", stage->server, volume));
}

/* A boot, not the old memory. */
static void
test_hard_reboot(Stage *stage, const void *unused)
{
    act(stage, "suspend");
    act(stage, "reboot-hard");
    assert_active(stage);
    g_assert_true(host_domain_destroy(stage->rig->hosts, "host1", stage->server, soon(), NULL));
    g_autoptr(DomainInfo) info = domain(stage, "host1");
    g_assert_false(info->saved);
}

static void
test_delete(Stage *stage, const void *unused)
{
    act(stage, "suspend");
    act(stage, "delete");
    g_assert_cmpint(host_fake_domain_count(stage->world), ==, 0);
}

static void
test_move_paused(Stage *stage, const void *unused)
{
    act(stage, "pause");
    rig_migrate(stage->rig, stage->server, "host2", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    assert_is(stage, VM_PAUSED, POWER_PAUSED, "host2", DOMAIN_PAUSED);
    act(stage, "unpause");
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host2", DOMAIN_RUNNING);
}

static void
test_during_move(Stage *stage, const void *unused)
{
    host_fake_set_timing(stage->world, USEC_PER_SEC, USEC_PER_MSEC);
    rig_migrate(stage->rig, stage->server, "host2", NULL);
    for (const char *const *action =
             (const char *const[]){"pause", "unpause", "suspend", "resume", NULL};
         *action; action++)
        refuse(stage, *action);
    g_assert_true(rig_wait_idle(stage->rig, 20));
    assert_is(stage, VM_ACTIVE, POWER_RUNNING, "host2", DOMAIN_RUNNING);
}

static void
test_save_fails(Stage *stage, const void *unused)
{
    host_fake_set_fault(stage->world, 1, FAKE_SAVE_FAILS);
    act(stage, "suspend");
    assert_active(stage);
    g_autofree char *message = last_action(stage, "suspend", "server-suspend", "Error");
    g_assert_nonnull(strstr(message, "No space left"));
}

static void
test_restore_fails(Stage *stage, const void *unused)
{
    act(stage, "suspend");
    host_fake_set_fault(stage->world, 1, FAKE_START_FAILS);
    act(stage, "resume");
    assert_suspended(stage);
    g_autofree char *message = last_action(stage, "resume", "server-resume", "Error");
    g_assert_nonnull(strstr(message, "still on host1"));
    g_assert_nonnull(strstr(message, "hard reboot"));
    host_fake_set_fault(stage->world, 1, FAKE_FAULT_NONE);
    act(stage, "resume");
    assert_active(stage);
}

/* Somebody is at its disk: the memory stays where it is. */
static void
test_foreign_client(Stage *stage, const void *unused)
{
    g_autofree char *disk = NULL, *format = NULL;

    act(stage, "suspend");
    g_assert_true(storage_disk_source(&stage->rig->storage, stage->server, &disk, &format, NULL));
    block_fake_set_client(stage->rig->storage.block, disk, "203.0.113.9:0/1");
    act(stage, "resume");
    assert_suspended(stage);
    g_autofree char *message = last_action(stage, "resume", "server-resume", "Error");
    g_assert_nonnull(strstr(message, "203.0.113.9:0/1"));
}

static bool
restore_of_lost(HostConn *conn, const char *uuid, GError **err)
{
    return host_fake_ops.domain_undefine(conn, uuid, err) &&
           host_fake_ops.domain_restore(conn, uuid, err);
}

/* The domain was removed by hand in the very moment. */
static void
test_memory_lost(Stage *stage, const void *unused)
{
    HostOps ops = host_fake_ops;

    act(stage, "suspend");
    rig_stop(stage->rig);
    ops.domain_restore = restore_of_lost;
    rig_host_ops = &ops;
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
    act(stage, "resume");
    assert_is(stage, VM_STOPPED, POWER_SHUTDOWN, "host1", DOMAIN_ABSENT);
    g_autofree char *message = last_action(stage, "resume", "server-resume", "Error");
    g_assert_nonnull(strstr(message, "no longer on host1"));
    g_assert_nonnull(strstr(message, "hard reboot"));
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_assert_cmpstr(server->fault_message, ==, message);
    act(stage, "reboot-hard");
    assert_active(stage);
    g_autoptr(Server) after = rig_server(stage->rig, stage->server);
    g_assert_null(after->fault_message);
    rig_stop(stage->rig);
    rig_host_ops = NULL;
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
}

/* What a person does on the node is recorded. */
static void
test_by_hand(Stage *stage, const void *unused)
{
    Hosts *hosts = stage->rig->hosts;

    g_assert_true(host_domain_pause(hosts, "host1", stage->server, soon(), NULL));
    wait_state(stage, VM_PAUSED);
    g_assert_true(host_domain_resume(hosts, "host1", stage->server, soon(), NULL));
    wait_state(stage, VM_ACTIVE);
    g_assert_true(host_domain_save(hosts, "host1", stage->server, soon(), NULL));
    wait_state(stage, VM_SUSPENDED);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_suspended(stage);
    g_assert_true(host_domain_restore(hosts, "host1", stage->server, soon(), NULL));
    wait_state(stage, VM_ACTIVE);
    g_assert_true(host_domain_save(hosts, "host1", stage->server, soon(), NULL));
    wait_state(stage, VM_SUSPENDED);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    act(stage, "resume");
    assert_active(stage);
}

/* An event that is older than what the last task saw is no news: the node is asked. */
static void
test_late_event(Stage *stage, const void *unused)
{
    const StoreCond looks[] = {{"server_id", STORE_EQ, stage->server, 0},
                               {"kind", STORE_EQ, "server-reconcile", 0},
                               {"status", STORE_EQ, NULL, TASK_SUCCEEDED},
                               {NULL}};
    HostEvent *event = g_new0(HostEvent, 1);
    unsigned done = 0;

    act(stage, "suspend");
    assert_suspended(stage);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    g_autoptr(GPtrArray) before = rig_rows(stage->rig, &TASK, looks);
    *event = (HostEvent){.kind = HOST_EVENT_DOMAIN,
                         .host = g_strdup("host1"),
                         .uuid = g_strdup(stage->server),
                         .change = DOMAIN_STARTED,
                         .at = clock_monotonic() - 60 * USEC_PER_SEC};
    watch_host_event(event, stage->rig->watch);
    for (int64_t until = soon(); done <= before->len && clock_monotonic() < until; g_usleep(2000)) {
        g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &TASK, looks);
        g_autoptr(Server) server = rig_server(stage->rig, stage->server);

        g_assert_cmpint(server->vm_state, ==, VM_SUSPENDED);
        done = rows->len;
    }
    g_assert_cmpuint(done, >, before->len);
    assert_suspended(stage);
}

/* A suspended server outlives its node's reboot and the controller's. */
static void
test_node_boots(Stage *stage, const void *unused)
{
    act(stage, "suspend");
    host_fake_set_fault(stage->world, 1, FAKE_NODE_DOWN);
    rig_stop(stage->rig);
    host_fake_set_fault(stage->world, 1, FAKE_FAULT_NONE);
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    assert_suspended(stage);
    act(stage, "resume");
    assert_active(stage);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    log_set_level(LOG_LEVEL_ERROR + 1);
#define ADD(name, fn) g_test_add("/task-power/" name, Stage, NULL, stage_open, fn, stage_close)
    ADD("pause", test_pause);
    ADD("suspend", test_suspend);
    ADD("suspended-disks", test_suspended_disks);
    ADD("hard-reboot", test_hard_reboot);
    ADD("delete", test_delete);
    ADD("move-paused", test_move_paused);
    ADD("during-move", test_during_move);
    ADD("save-fails", test_save_fails);
    ADD("restore-fails", test_restore_fails);
    ADD("foreign-client", test_foreign_client);
    ADD("memory-lost", test_memory_lost);
    ADD("by-hand", test_by_hand);
    ADD("late-event", test_late_event);
    ADD("node-boots", test_node_boots);
    return g_test_run();
}
