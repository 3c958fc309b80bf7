/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-suspend.c: suspend and resume: the guest's memory goes to its node's disk, QEMU goes, and it
 * comes back from there
 *
 * The memory is on one node, so a suspended server keeps its host (and its share of the host's
 * memory: it must be able to come back). It is dropped by whatever boots the server (a hard reboot)
 * and by its deletion.
 *
 * A node that lost it can only boot the server. A resume never does that by itself: a guest that
 * booted is not the one that was suspended. */
#include "task/power.h"

/* Slowest disk that a node's memory is written to and read from, in MiB/s. */
#define DISK_LEAST_MIB_S 20

static int64_t
memory_deadline(const TaskRun *run)
{
    return DEADLINE_WORK + run->server->ram_mb / DISK_LEAST_MIB_S * USEC_PER_SEC;
}

/* ---- suspend
 * ---------------------------------------------------------------------------------------- */

/* A call that was made before a crash may still be writing: libvirt lets the next one wait for half
 * a minute, and refuses it then. */
static bool
save(TaskRun *run, GError **err)
{
    int64_t deadline = memory_deadline(run);

    if (!power_need_host(run, err))
        return false;
    for (;;) {
        g_autoptr(GError) error = NULL;

        if (host_domain_save(run_hosts(run), run->server->host, run->server->id, deadline, &error))
            return true;
        if (err_code(error) != ERR_TIMEOUT || clock_monotonic() >= deadline ||
            run_is_stopping(run)) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
    }
}

static void
set_suspended(TaskRun *run, Server *server)
{
    server->vm_state = VM_SUSPENDED;
    server->task_state = TASK_NONE;
    server->power_state = POWER_SUSPENDED;
}

static bool
suspend_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, set_suspended, err) &&
           part_finish_action(run, tx, "compute_suspend_instance", run->server->host, NULL, err);
}

static const TaskStep suspend_steps[] = {{"save", NULL, save, NULL, power_look}};
const TaskKind task_server_suspend = {
    .name = "server-suspend",
    .steps = suspend_steps,
    .n_steps = G_N_ELEMENTS(suspend_steps),
    .unreachable_wait_us = 60 * USEC_PER_SEC,
    .succeed = suspend_succeeded,
    .fail = power_fail,
};

/* ---- resume
 * ----------------------------------------------------------------------------------------- */

/* The config drive is not made anew, unlike before a boot: the guest has it open. */
static bool
restore(TaskRun *run, GError **err)
{
    const char *host = run->server->host;
    g_autoptr(GError) error = NULL;

    if (!power_need_host(run, err) || !part_clear_disk_clients(run, err) ||
        !part_expect_clients(run, err))
        return false;
    if (host_domain_restore(run_hosts(run), host, run->server->id, memory_deadline(run), &error))
        return part_observe_clients(run, host, err);
    part_not_started(run, error);
    if (err_is(error, ERR_NOT_FOUND)) {
        run_set_state_text(run, "lost", "yes");
        return err_set(err, ERR_CONFLICT,
                       "cannot resume server %s: its memory is no longer on %s (somebody started "
                       "or removed its domain there); its disks are intact: boot it with a hard "
                       "reboot",
                       run->server->id, host);
    }
    if (err_outcome_known(error))
        return err_set(err, err_code(error),
                       "%s; its memory is still on %s: resume it again when that is mended, or "
                       "drop the memory and boot it with a hard reboot",
                       error->message, host);
    g_propagate_error(err, g_steal_pointer(&error));
    return false;
}

static bool
resume_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, power_set_running, err) &&
           part_finish_action(run, tx, "compute_resume_instance", run->server->host, NULL, err);
}

/* Without its memory it is a stopped server, and says why. */
static void
set_not_resumed(TaskRun *run, Server *server)
{
    power_set_as_observed(run, server);
    if (!run_state_text(run, "lost") || server->vm_state != VM_STOPPED)
        return;
    server->fault_code = 500;
    server->fault_at = clock_realtime();
    text_set(&server->fault_message, run->task->error_message);
}

static bool
resume_failed(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    return run_update_server(run, tx, set_not_resumed, err) &&
           part_finish_action(run, tx, run->kind->name, run->server->host, reason, err);
}

static const TaskStep resume_steps[] = {
    {"restore", NULL, restore, part_record_clients, power_look}};
const TaskKind task_server_resume = {
    .name = "server-resume",
    .steps = resume_steps,
    .n_steps = G_N_ELEMENTS(resume_steps),
    .unreachable_wait_us = 60 * USEC_PER_SEC,
    .succeed = resume_succeeded,
    .fail = resume_failed,
};
