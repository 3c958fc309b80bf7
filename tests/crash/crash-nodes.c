/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* crash-nodes.c: a node that is rebooted, for crash.c */
#include "crash-nodes.h"

void
crash_resume_guests(TaskSettings *settings)
{
    settings->resume_guests = true;
}

static bool
is_running(Rig *rig)
{
    g_autoptr(GPtrArray) servers = rig_rows(rig, &SERVER, NULL);
    const Server *server = servers->len > 0 ? g_ptr_array_index(servers, 0) : NULL;

    return server && server->vm_state == VM_ACTIVE && server->task_state == TASK_NONE &&
           host_fake_running_count(rig->world, server->id) == 1;
}

void
crash_await_running(Rig *rig)
{
    int64_t deadline = clock_monotonic() + 20 * USEC_PER_SEC;

    while (!is_running(rig)) {
        if (clock_monotonic() > deadline)
            g_error("the server does not run again");
        store_wait_change(rig->store, store_change_count(rig->store),
                          clock_monotonic() + 20 * USEC_PER_MSEC);
    }
}

void
crash_run_reboot(Rig *rig, const char *server_id)
{
    host_fake_set_fault(rig->world, 1, FAKE_NODE_DOWN);
    host_fake_set_fault(rig->world, 1, FAKE_FAULT_NONE);
    crash_await_running(rig);
}
