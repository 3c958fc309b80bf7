/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* status.c: the words and numbers that the API shows for a server's and a migration's states */

#include "model/model.h"

char *
server_domain_name(const Server *server)
{
    return g_strdup_printf("instance-%08" G_GINT64_MODIFIER "x", server->number);
}

static const char *
status_of_task(TaskState task_state)
{
    switch (task_state) {
    case TASK_REBOOTING:
        return "REBOOT";
    case TASK_REBOOTING_HARD:
        return "HARD_REBOOT";
    case TASK_MIGRATING:
        return "MIGRATING";
    case TASK_RESIZE_PREP:
    case TASK_RESIZE_MIGRATING:
    case TASK_RESIZE_MIGRATED:
    case TASK_RESIZE_FINISH:
        return "RESIZE";
    case TASK_REBUILDING:
        return "REBUILD";
    case TASK_NONE:
    case TASK_SCHEDULING:
    case TASK_SPAWNING:
    case TASK_POWERING_ON:
    case TASK_POWERING_OFF:
    case TASK_DELETING:
    case TASK_RESIZE_CONFIRMING:
    case TASK_RESIZE_REVERTING:
    case TASK_PAUSING:
    case TASK_UNPAUSING:
    case TASK_SUSPENDING:
    case TASK_RESUMING:
        return NULL;
    }
    return NULL;
}

static const char *
otherwise(const char *shown, const char *usual)
{
    return shown ? shown : usual;
}

/* A task shows in the status only where Nova shows it: clients wait for these very words. */
const char *
server_status(VmState vm_state, TaskState task_state)
{
    switch (vm_state) {
    case VM_BUILDING:
        return "BUILD";
    case VM_ACTIVE:
        return otherwise(status_of_task(task_state), "ACTIVE");
    case VM_PAUSED:
        return task_state == TASK_MIGRATING    ? "MIGRATING"
               : task_state == TASK_REBUILDING ? "REBUILD"
                                               : "PAUSED";
    case VM_SUSPENDED:
        return task_state == TASK_REBUILDING ? "REBUILD" : "SUSPENDED";
    case VM_STOPPED:
        return task_state == TASK_REBOOTING || task_state == TASK_REBOOTING_HARD
                   ? "SHUTOFF"
                   : otherwise(status_of_task(task_state), "SHUTOFF");
    case VM_RESIZED:
        return task_state == TASK_RESIZE_REVERTING ? "REVERT_RESIZE" : "VERIFY_RESIZE";
    case VM_ERROR:
        return task_state == TASK_REBUILDING ? "REBUILD" : "ERROR";
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
    case MIGRATION_CONFIRMED:
    case MIGRATION_REVERTED:
    case MIGRATION_DONE:
        return true;
    case MIGRATION_ACCEPTED:
    case MIGRATION_QUEUED:
    case MIGRATION_PREPARING:
    case MIGRATION_RUNNING:
    case MIGRATION_POST_MIGRATING:
    case MIGRATION_PRE_MIGRATING:
    case MIGRATION_MIGRATING:
    case MIGRATION_FINISHED:
    case MIGRATION_CONFIRMING:
    case MIGRATION_REVERTING:
        return false;
    }
    return false;
}
