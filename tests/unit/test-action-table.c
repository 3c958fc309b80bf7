/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-action-table.c: every action in every pair of states, against the expectation written out
 * here by hand: which may be asked for, and which is a 409, also during a move */
#include <string.h>

#include "model/model.h"

#define ID "6e3c4dfa-9fd7-4e9a-a25b-3b6f0d3e7a11"

static const char states[] = "BAPUSREX"; /* building active paused suspended stopped resized error
                                            deleted, in the order of VmState */

static const struct {
    const char *action;
    const char *permitted; /* a letter or a dot for each of states */
    bool while_busy;       /* also while a task is at work on the server, whichever it is */
} table[] = {
    {"create", "B.......", false},        {"os-start", "....S...", false},
    {"os-stop", ".A....E.", false},       {"reboot-soft", ".A......", false},
    {"reboot-hard", ".APUS.E.", false},   {"os-migrateLive", ".AP.....", false},
    {"migrate", ".A..S...", false},       {"resize", ".A..S...", false},
    {"confirmResize", ".....R..", false}, {"revertResize", ".....R..", false},
    {"evacuate", ".APUS.E.", true},       {"pause", ".A......", false},
    {"unpause", "..P.....", false},       {"suspend", ".A......", false},
    {"resume", "...U....", false},        {"attach-volume", ".AP.S...", false},
    {"detach-volume", ".A..S...", false}, {"delete", "BAPUSRE.", true},
};

static void
check(const ActionRule *rule, size_t row, VmState vm, TaskState task)
{
    Server server = {.id = (char *)ID, .vm_state = vm, .task_state = task};
    bool in_state = table[row].permitted[vm] == states[vm];
    bool want = in_state && (task == TASK_NONE || table[row].while_busy);
    g_autoptr(GError) error = NULL;

    if (action_rule_permits(rule, &server, false, &error) != want)
        g_error("%s while %s/%s: %s", rule->action, vm_state_names[vm], task_state_names[task],
                want ? error->message : "permitted");
    g_assert_true(want == (error == NULL));
    if (want)
        return;
    g_assert_true(err_is(error, ERR_CONFLICT));
    /* which of the two states is in the way */
    g_assert_nonnull(
        strstr(error->message, in_state ? task_state_names[task] : vm_state_names[vm]));
    g_assert_nonnull(strstr(error->message, in_state ? "task_state" : "vm_state"));
}

static void
test_all(void)
{
    size_t n = 0;

    for (const ActionRule *rule = action_rules; rule->action; rule++, n++) {
        size_t row = 0;

        while (row < G_N_ELEMENTS(table) && strcmp(table[row].action, rule->action) != 0)
            row++;
        if (row == G_N_ELEMENTS(table))
            g_error("nothing is written here of %s", rule->action);
        for (int vm = VM_BUILDING; vm <= VM_DELETED; vm++)
            for (int task = TASK_NONE; task_state_names[task]; task++)
                check(rule, row, (VmState)vm, (TaskState)task);
    }
    g_assert_cmpuint(n, ==, G_N_ELEMENTS(table));
    g_assert_cmpuint(strlen(states), ==, VM_DELETED + 1);
}

/* What its name promises: the states in between are those of this action. */
static void
test_tasks(void)
{
    static const struct {
        const char *action, *kind;
        TaskState state;
    } power[] = {
        {"pause", "server-pause", TASK_PAUSING},
        {"unpause", "server-unpause", TASK_UNPAUSING},
        {"suspend", "server-suspend", TASK_SUSPENDING},
        {"resume", "server-resume", TASK_RESUMING},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(power); i++) {
        const ActionRule *rule = action_rule_find(power[i].action);

        g_assert_cmpstr(rule->task_kind, ==, power[i].kind);
        g_assert_cmpstr(rule->title, ==, power[i].action);
        g_assert_cmpint(rule->task_state, ==, power[i].state);
        g_assert_true(rule->refused_when_locked && !rule->interrupts);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/action-table/all", test_all);
    g_test_add_func("/action-table/tasks", test_tasks);
    return g_test_run();
}
