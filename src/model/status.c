/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* status.c: the words and numbers that the API shows for a server's and a migration's states */

#include "model/model.h"

char *
server_domain_name(const Server *server)
{
    return g_strdup_printf("instance-%08" G_GINT64_MODIFIER "x", server->number);
}

static const char *
status_while_active(TaskState task_state)
{
    switch (task_state) {
    case TASK_REBOOTING:
        return "REBOOT";
    case TASK_REBOOTING_HARD:
        return "HARD_REBOOT";
    case TASK_MIGRATING:
        return "MIGRATING";
    case TASK_NONE:
    case TASK_SCHEDULING:
    case TASK_SPAWNING:
    case TASK_POWERING_ON:
    case TASK_POWERING_OFF:
    case TASK_DELETING:
        return "ACTIVE";
    }
    return "ACTIVE";
}

/* A task shows in the status only where Nova shows it: clients wait for these very words. */
const char *
server_status(VmState vm_state, TaskState task_state)
{
    switch (vm_state) {
    case VM_BUILDING:
        return "BUILD";
    case VM_ACTIVE:
        return status_while_active(task_state);
    case VM_PAUSED:
        return task_state == TASK_MIGRATING ? "MIGRATING" : "PAUSED";
    case VM_SUSPENDED:
        return "SUSPENDED";
    case VM_STOPPED:
        return "SHUTOFF";
    case VM_RESIZED:
        return "VERIFY_RESIZE";
    case VM_ERROR:
        return "ERROR";
    case VM_DELETED:
        return "DELETED";
    }
    return "UNKNOWN";
}

int
power_state_number(PowerState state)
{
    switch (state) {
    case POWER_UNKNOWN:
        return 0;
    case POWER_RUNNING:
        return 1;
    case POWER_PAUSED:
        return 3;
    case POWER_SHUTDOWN:
        return 4;
    case POWER_CRASHED:
        return 6;
    case POWER_SUSPENDED:
        return 7;
    }
    return 0;
}

bool
migration_status_is_final(MigrationStatus status)
{
    switch (status) {
    case MIGRATION_COMPLETED:
    case MIGRATION_ERROR:
    case MIGRATION_FAILED:
    case MIGRATION_CANCELLED:
        return true;
    case MIGRATION_ACCEPTED:
    case MIGRATION_QUEUED:
    case MIGRATION_PREPARING:
    case MIGRATION_RUNNING:
    case MIGRATION_POST_MIGRATING:
        return false;
    }
    return false;
}
