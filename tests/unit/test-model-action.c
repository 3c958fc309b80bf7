/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-model-action.c: which actions are permitted in which states, and how states are shown */

#include "model/model.h"

#define ID "6e3c4dfa-9fd7-4e9a-a25b-3b6f0d3e7a11"

static Server
server_in(VmState vm_state, TaskState task_state)
{
    return (Server){.id = (char *)ID, .vm_state = vm_state, .task_state = task_state};
}

static void
assert_permitted(const char *action, VmState vm_state, TaskState task_state)
{
    g_autoptr(GError) error = NULL;
    Server server = server_in(vm_state, task_state);

    g_assert_true(action_rule_permits(action_rule_find(action), &server, false, &error));
    g_assert_no_error(error);
}

static void
assert_refused(const char *action, VmState vm_state, TaskState task_state, const char *message)
{
    g_autoptr(GError) error = NULL;
    Server server = server_in(vm_state, task_state);

    g_assert_false(action_rule_permits(action_rule_find(action), &server, true, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_assert_cmpstr(error->message, ==, message);
}

static void
test_states(void)
{
    assert_permitted("create", VM_BUILDING, TASK_NONE);
    assert_permitted("os-start", VM_STOPPED, TASK_NONE);
    assert_permitted("os-stop", VM_ACTIVE, TASK_NONE);
    assert_permitted("os-stop", VM_ERROR, TASK_NONE);
    assert_permitted("reboot-soft", VM_ACTIVE, TASK_NONE);
    assert_permitted("os-migrateLive", VM_ACTIVE, TASK_NONE);
    assert_permitted("os-migrateLive", VM_PAUSED, TASK_NONE);
    for (int state = VM_ACTIVE; state <= VM_ERROR; state++)
        if (state != VM_RESIZED)
            assert_permitted("reboot-hard", (VmState)state, TASK_NONE);

    for (int state = VM_ACTIVE; state <= VM_STOPPED; state++)
        if (state != VM_SUSPENDED) {
            assert_permitted("attach-volume", (VmState)state, TASK_NONE);
            if (state != VM_PAUSED)
                assert_permitted("detach-volume", (VmState)state, TASK_NONE);
        }

    assert_refused("attach-volume", VM_BUILDING, TASK_SPAWNING,
                   "Cannot 'attach_volume' instance " ID " while it is in vm_state building");
    assert_refused("detach-volume", VM_ACTIVE, TASK_MIGRATING,
                   "Cannot 'detach_volume' instance " ID " while it is in task_state migrating");
    assert_refused("os-start", VM_ACTIVE, TASK_NONE,
                   "Cannot 'os-start' instance " ID " while it is in vm_state active");
    assert_refused("os-stop", VM_STOPPED, TASK_NONE,
                   "Cannot 'os-stop' instance " ID " while it is in vm_state stopped");
    assert_refused("reboot-soft", VM_STOPPED, TASK_NONE,
                   "Cannot 'reboot' instance " ID " while it is in vm_state stopped");
    assert_refused("os-migrateLive", VM_STOPPED, TASK_NONE,
                   "Cannot 'os-migrateLive' instance " ID " while it is in vm_state stopped");
    assert_refused("os-migrateLive", VM_ACTIVE, TASK_MIGRATING,
                   "Cannot 'os-migrateLive' instance " ID " while it is in task_state migrating");
    assert_refused("os-stop", VM_ACTIVE, TASK_MIGRATING,
                   "Cannot 'os-stop' instance " ID " while it is in task_state migrating");
    assert_refused("delete", VM_DELETED, TASK_NONE,
                   "Cannot 'delete' instance " ID " while it is in vm_state deleted");
}

static void
test_delete_interrupts(void)
{
    for (int state = VM_BUILDING; state < VM_DELETED; state++)
        for (int task = TASK_NONE; task <= TASK_MIGRATING; task++)
            assert_permitted("delete", (VmState)state, (TaskState)task);
}

static void
test_lock(void)
{
    for (const ActionRule *rule = action_rules; rule->action; rule++) {
        g_autoptr(GError) error = NULL;
        VmState state = (VmState)__builtin_ctz(rule->vm_states); /* one that it permits */
        Server server = server_in(state, TASK_NONE);

        if (!rule->refused_when_locked)
            continue;
        server.locked = true;
        g_assert_false(action_rule_permits(rule, &server, false, &error));
        g_assert_cmpstr(error->message, ==, "Instance " ID " is locked");
        g_assert_true(action_rule_permits(rule, &server, true, NULL));
    }
}

static void
test_uncertainty(void)
{
    for (const ActionRule *rule = action_rules; rule->action; rule++) {
        g_autoptr(GError) error = NULL;
        Server server = server_in(VM_ACTIVE, TASK_NONE);
        bool ends_doubt = strcmp(rule->action, "delete") == 0 || rule->settles_uncertainty;

        server.uncertainty = (char *)"may run on two nodes: host1, host2";
        g_assert_cmpint(action_rule_permits(rule, &server, true, NULL), ==, ends_doubt);
        g_assert_false(action_rule_permits(rule, &server, false, &error));
        g_assert_true(err_is(error, ERR_CONFLICT));
        g_assert_nonnull(strstr(error->message, server.uncertainty));
    }
}

static void
test_find(void)
{
    for (const ActionRule *rule = action_rules; rule->action; rule++)
        g_assert_true(rule->refused_when_locked || strcmp(rule->action, "create") == 0);
    g_assert_null(action_rule_find("os-fly"));
    g_assert_null(action_rule_find(NULL));
    g_assert_cmpstr(action_rule_find("os-migrateLive")->task_kind, ==, "server-live-migrate");
    g_assert_cmpstr(action_rule_find("reboot-hard")->title, ==, "reboot");
}

static void
test_status(void)
{
    g_assert_cmpstr(server_status(VM_BUILDING, TASK_SPAWNING), ==, "BUILD");
    g_assert_cmpstr(server_status(VM_ACTIVE, TASK_NONE), ==, "ACTIVE");
    g_assert_cmpstr(server_status(VM_ACTIVE, TASK_DELETING), ==, "ACTIVE");
    g_assert_cmpstr(server_status(VM_ACTIVE, TASK_REBOOTING), ==, "REBOOT");
    g_assert_cmpstr(server_status(VM_ACTIVE, TASK_REBOOTING_HARD), ==, "HARD_REBOOT");
    g_assert_cmpstr(server_status(VM_ACTIVE, TASK_MIGRATING), ==, "MIGRATING");
    g_assert_cmpstr(server_status(VM_PAUSED, TASK_MIGRATING), ==, "MIGRATING");
    g_assert_cmpstr(server_status(VM_PAUSED, TASK_NONE), ==, "PAUSED");
    g_assert_cmpstr(server_status(VM_SUSPENDED, TASK_NONE), ==, "SUSPENDED");
    g_assert_cmpstr(server_status(VM_STOPPED, TASK_POWERING_ON), ==, "SHUTOFF");
    g_assert_cmpstr(server_status(VM_RESIZED, TASK_NONE), ==, "VERIFY_RESIZE");
    g_assert_cmpstr(server_status(VM_ERROR, TASK_NONE), ==, "ERROR");
    g_assert_cmpstr(server_status(VM_DELETED, TASK_NONE), ==, "DELETED");
}

static void
test_numbers(void)
{
    Server server = {.number = 42};
    g_autofree char *name = server_domain_name(&server);

    g_assert_cmpstr(name, ==, "instance-0000002a");
    g_assert_cmpint(power_state_number(POWER_UNKNOWN), ==, 0);
    g_assert_cmpint(power_state_number(POWER_RUNNING), ==, 1);
    g_assert_cmpint(power_state_number(POWER_PAUSED), ==, 3);
    g_assert_cmpint(power_state_number(POWER_SHUTDOWN), ==, 4);
    g_assert_cmpint(power_state_number(POWER_CRASHED), ==, 6);
    g_assert_cmpint(power_state_number(POWER_SUSPENDED), ==, 7);
    g_assert_true(migration_status_is_final(MIGRATION_COMPLETED));
    g_assert_true(migration_status_is_final(MIGRATION_CANCELLED));
    g_assert_false(migration_status_is_final(MIGRATION_POST_MIGRATING));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/action/states", test_states);
    g_test_add_func("/model/action/delete-interrupts", test_delete_interrupts);
    g_test_add_func("/model/action/lock", test_lock);
    g_test_add_func("/model/action/uncertainty", test_uncertainty);
    g_test_add_func("/model/action/find", test_find);
    g_test_add_func("/model/status/words", test_status);
    g_test_add_func("/model/status/numbers", test_numbers);
    return g_test_run();
}
