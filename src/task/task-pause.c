/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-pause.c: pause and unpause: the guest's CPUs stand still, its memory stays in QEMU
 *
 * One step each. Asking again for what is so already changes nothing, so a crash needs no more than
 * the same call again. */
#include "task/power.h"

static bool
pause_guest(TaskRun *run, GError **err)
{
    return power_need_host(run, err) && host_domain_pause(run_hosts(run), run->server->host,
                                                          run->server->id, DEADLINE_CONTROL, err);
}

static void
set_paused(TaskRun *run, Server *server)
{
    server->vm_state = VM_PAUSED;
    server->task_state = TASK_NONE;
    server->power_state = POWER_PAUSED;
}

static bool
pause_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, set_paused, err) &&
           part_finish_action(run, tx, "compute_pause_instance", run->server->host, NULL, err);
}

static const TaskStep pause_steps[] = {{"pause", NULL, pause_guest, NULL, power_look}};
const TaskKind task_server_pause = {
    .name = "server-pause",
    .steps = pause_steps,
    .n_steps = G_N_ELEMENTS(pause_steps),
    .unreachable_wait_us = 60 * USEC_PER_SEC,
    .succeed = pause_succeeded,
    .fail = power_fail,
};

static bool
unpause_guest(TaskRun *run, GError **err)
{
    return power_need_host(run, err) && host_domain_resume(run_hosts(run), run->server->host,
                                                           run->server->id, DEADLINE_CONTROL, err);
}

static bool
unpause_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, power_set_running, err) &&
           part_finish_action(run, tx, "compute_unpause_instance", run->server->host, NULL, err);
}

static const TaskStep unpause_steps[] = {{"unpause", NULL, unpause_guest, NULL, power_look}};
const TaskKind task_server_unpause = {
    .name = "server-unpause",
    .steps = unpause_steps,
    .n_steps = G_N_ELEMENTS(unpause_steps),
    .unreachable_wait_us = 60 * USEC_PER_SEC,
    .succeed = unpause_succeeded,
    .fail = power_fail,
};
