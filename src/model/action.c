/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* action.c: what may be done to a server in which state
 *
 * One row per action of the API. The row gives the 409 (action_rule_permits), the task state that
 * the accepting transaction sets, and the task that carries it out; documentation is made from the
 * same rows. The order of the checks is the order in which a person can act on them: a lock is
 * somebody's will, an uncertainty needs an administrator, a state changes by itself. */

#include "model/model.h"

#define STATE(vm) (1u << (vm))
#define ANY_STATE                                                                     \
    (STATE(VM_BUILDING) | STATE(VM_ACTIVE) | STATE(VM_PAUSED) | STATE(VM_SUSPENDED) | \
     STATE(VM_STOPPED) | STATE(VM_RESIZED) | STATE(VM_ERROR))

const ActionRule action_rules[] = {
    {
        .action = "create",
        .title = "create",
        .vm_states = STATE(VM_BUILDING),
        .task_state = TASK_SCHEDULING,
        .task_kind = "server-create",
    },
    {
        .action = "os-start",
        .title = "start",
        .vm_states = STATE(VM_STOPPED),
        .task_state = TASK_POWERING_ON,
        .task_kind = "server-start",
        .refused_when_locked = true,
    },
    {
        .action = "os-stop",
        .title = "stop",
        .vm_states = STATE(VM_ACTIVE) | STATE(VM_ERROR),
        .task_state = TASK_POWERING_OFF,
        .task_kind = "server-stop",
        .refused_when_locked = true,
    },
    {
        .action = "reboot-soft",
        .title = "reboot",
        .vm_states = STATE(VM_ACTIVE),
        .task_state = TASK_REBOOTING,
        .task_kind = "server-reboot",
        .refused_when_locked = true,
    },
    {
        .action = "reboot-hard",
        .title = "reboot",
        .vm_states = STATE(VM_ACTIVE) | STATE(VM_PAUSED) | STATE(VM_SUSPENDED) | STATE(VM_STOPPED) |
                     STATE(VM_ERROR),
        .task_state = TASK_REBOOTING_HARD,
        .task_kind = "server-reboot",
        .refused_when_locked = true,
    },
    {
        .action = "os-migrateLive",
        .title = "live-migration",
        .vm_states = STATE(VM_ACTIVE) | STATE(VM_PAUSED),
        .task_state = TASK_MIGRATING,
        .task_kind = "server-live-migrate",
        .refused_when_locked = true,
    },
    {
        .action = "migrate",
        .title = "migrate",
        .vm_states = STATE(VM_ACTIVE) | STATE(VM_STOPPED),
        .task_state = TASK_RESIZE_PREP,
        .task_kind = "server-resize",
        .refused_when_locked = true,
    },
    {
        .action = "resize",
        .title = "resize",
        .vm_states = STATE(VM_ACTIVE) | STATE(VM_STOPPED),
        .task_state = TASK_RESIZE_PREP,
        .task_kind = "server-resize",
        .refused_when_locked = true,
    },
    {
        .action = "confirmResize",
        .title = "confirmResize",
        .vm_states = STATE(VM_RESIZED),
        .task_state = TASK_RESIZE_CONFIRMING,
        .task_kind = "server-confirm-resize",
        .refused_when_locked = true,
    },
    {
        .action = "revertResize",
        .title = "revertResize",
        .vm_states = STATE(VM_RESIZED),
        .task_state = TASK_RESIZE_REVERTING,
        .task_kind = "server-revert-resize",
        .refused_when_locked = true,
    },
    /* The node is dead: whatever was under way there ends with it, and doubt about where the guest
     * runs is what fencing settles. */
    {
        .action = "evacuate",
        .title = "evacuate",
        .vm_states = STATE(VM_ACTIVE) | STATE(VM_PAUSED) | STATE(VM_SUSPENDED) | STATE(VM_STOPPED) |
                     STATE(VM_ERROR),
        .task_state = TASK_REBUILDING,
        .task_kind = "server-evacuate",
        .interrupts = true,
        .settles_uncertainty = true,
        .refused_when_locked = true,
    },
    {
        .action = "pause",
        .title = "pause",
        .vm_states = STATE(VM_ACTIVE),
        .task_state = TASK_PAUSING,
        .task_kind = "server-pause",
        .refused_when_locked = true,
    },
    {
        .action = "unpause",
        .title = "unpause",
        .vm_states = STATE(VM_PAUSED),
        .task_state = TASK_UNPAUSING,
        .task_kind = "server-unpause",
        .refused_when_locked = true,
    },
    {
        .action = "suspend",
        .title = "suspend",
        .vm_states = STATE(VM_ACTIVE),
        .task_state = TASK_SUSPENDING,
        .task_kind = "server-suspend",
        .refused_when_locked = true,
    },
    {
        .action = "resume",
        .title = "resume",
        .vm_states = STATE(VM_SUSPENDED),
        .task_state = TASK_RESUMING,
        .task_kind = "server-resume",
        .refused_when_locked = true,
    },
    /* The task state stays null, as Nova's: the volume's status tells that it is under way, and the
     * order of the server's tasks keeps what comes after it behind it. Not while it is suspended:
     * the guest in the saved memory has the disks that it had, and comes back with them. */
    {
        .action = "attach-volume",
        .title = "attach_volume",
        .vm_states = STATE(VM_ACTIVE) | STATE(VM_PAUSED) | STATE(VM_STOPPED),
        .task_state = TASK_NONE,
        .task_kind = "volume-attach",
        .refused_when_locked = true,
    },
    {
        /* A guest that stands still does not let go of a disk. */
        .action = "detach-volume",
        .title = "detach_volume",
        .vm_states = STATE(VM_ACTIVE) | STATE(VM_STOPPED),
        .task_state = TASK_NONE,
        .task_kind = "volume-detach",
        .refused_when_locked = true,
    },
    {
        .action = "delete",
        .title = "delete",
        .vm_states = ANY_STATE,
        .task_state = TASK_DELETING,
        .task_kind = "server-delete",
        .interrupts = true,
        .refused_when_locked = true,
    },
    {0},
};

const ActionRule *
action_rule_find(const char *action)
{
    for (const ActionRule *rule = action_rules; rule->action; rule++)
        if (g_strcmp0(rule->action, action) == 0)
            return rule;
    return NULL;
}

/* What a client knows it as. Both reboots are one key of the API, told apart by its parameter;
 * volumes come and go by a path of their own, without a key. */
static const char *
action_shown(const ActionRule *rule)
{
    return g_str_has_prefix(rule->action, "reboot-") || g_str_has_suffix(rule->action, "-volume")
               ? rule->title
               : rule->action;
}

bool
action_rule_permits(const ActionRule *rule, const Server *server, bool caller_is_admin,
                    GError **err)
{
    bool is_delete = strcmp(rule->action, "delete") == 0;

    if (server->locked && rule->refused_when_locked && !caller_is_admin)
        return err_set(err, ERR_CONFLICT, "Instance %s is locked", server->id);

    /* A guest that may run twice must not be started, stopped or moved on half the knowledge.
     * Deleting ends the doubt, but takes the disk with it: an administrator's decision. */
    if (server->uncertainty && !(caller_is_admin && (is_delete || rule->settles_uncertainty)))
        return err_set(err, ERR_CONFLICT,
                       "Cannot '%s' instance %s while it is not certain where it runs: %s. It is "
                       "settled by itself as soon as every node named can be reached again; until "
                       "then only an administrator may delete the instance",
                       action_shown(rule), server->id, server->uncertainty);

    if (!(rule->vm_states & STATE(server->vm_state)))
        return err_set(err, ERR_CONFLICT, "Cannot '%s' instance %s while it is in vm_state %s",
                       action_shown(rule), server->id, vm_state_names[server->vm_state]);

    if (server->task_state != TASK_NONE && !rule->interrupts)
        return err_set(err, ERR_CONFLICT, "Cannot '%s' instance %s while it is in task_state %s",
                       action_shown(rule), server->id, task_state_names[server->task_state]);
    return true;
}
