/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-power.c: start, stop, reboot: one step each, idempotent, on the host that holds the server
 *
 * A failed one leaves the server as it was, with the reason in the instance action; what the guest
 * really does is then recorded by watch. */
#include <string.h>

#include "task/task-priv.h"

static void
set_running(TaskRun *run, Server *server)
{
    server->vm_state = VM_ACTIVE;
    server->task_state = TASK_NONE;
    server->power_state = POWER_RUNNING;
    if (run_state_text(run, "machine"))
        text_set(&server->machine, run_state_text(run, "machine"));
    if (run_state_text(run, "cpu"))
        text_set(&server->cpu_xml, run_state_text(run, "cpu"));
    if (!server->launched_at)
        server->launched_at = clock_realtime();
    server->fault_code = 0;
    text_set(&server->fault_message, NULL);
}

static void
set_stopped(TaskRun *run, Server *server)
{
    server->vm_state = VM_STOPPED;
    server->task_state = TASK_NONE;
    server->power_state = POWER_SHUTDOWN;
}

static void
set_as_observed(TaskRun *run, Server *server)
{
    const char *observed = run_state_text(run, "observed");

    server->task_state = TASK_NONE;
    if (!observed)
        return;
    if (strcmp(observed, domain_state_names[DOMAIN_RUNNING]) == 0) {
        server->vm_state = VM_ACTIVE;
        server->power_state = POWER_RUNNING;
    } else if (strcmp(observed, domain_state_names[DOMAIN_PAUSED]) == 0) {
        server->vm_state = VM_PAUSED;
        server->power_state = POWER_PAUSED;
    } else if (strcmp(observed, domain_state_names[DOMAIN_SHUTOFF]) == 0 ||
               strcmp(observed, domain_state_names[DOMAIN_ABSENT]) == 0) {
        server->vm_state = VM_STOPPED;
        server->power_state = POWER_SHUTDOWN;
    }
}

/* What the guest does after the attempt, for the record of a failure. */
static bool
undo_look(TaskRun *run, GError **err)
{
    g_autoptr(DomainInfo) info = host_domain_probe(run_hosts(run), run->server->host,
                                                   run->server->id, DEADLINE_CONTROL, err);

    if (!info)
        return false;
    run_set_state_text(run, "observed", domain_state_names[info->state]);
    return true;
}

static bool
fail(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    return run_update_server(run, tx, set_as_observed, err) &&
           part_finish_action(run, tx, run->kind->name, run->server->host, reason, err);
}

/* ---- start
 * ------------------------------------------------------------------------------------------ */

static bool
need_host(TaskRun *run, GError **err)
{
    return run->server->host ||
           err_set(err, ERR_CONFLICT,
                   "server %s is on no host: its creation failed; delete it and create it again",
                   run->server->id);
}

static bool
start(TaskRun *run, GError **err)
{
    /* Before the config drive is written, too: a dead QEMU's watch on it would delay that. */
    return need_host(run, err) && part_clear_disk_clients(run, err) &&
           part_make_config_drive(run, err) && part_start_domain(run, err);
}

static bool
start_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, set_running, err) &&
           part_finish_action(run, tx, "compute_start_instance", run->server->host, NULL, err);
}

static const TaskStep start_steps[] = {
    {"start", part_probe_running, start, part_record_clients, undo_look}};
const TaskKind task_server_start = {"server-start",    start_steps,     1,
                                    60 * USEC_PER_SEC, start_succeeded, fail};

/* ---- stop
 * ------------------------------------------------------------------------------------------- */

static bool
stop(TaskRun *run, GError **err)
{
    run_drain_inbox(run);
    return need_host(run, err) && part_power_off(run, true, err);
}

static bool
stop_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, set_stopped, err) &&
           part_finish_action(run, tx, "compute_stop_instance", run->server->host, NULL, err);
}

static const TaskStep stop_steps[] = {{"stop", part_probe_stopped, stop, NULL, undo_look}};
const TaskKind task_server_stop = {"server-stop",     stop_steps,     1,
                                   60 * USEC_PER_SEC, stop_succeeded, fail};

/* ---- reboot
 * ------------------------------------------------------------------------------------------ Soft:
 * an orderly shutdown with a time-out, then a start: so that a changed definition takes effect too.
 * Hard: the plug, then a start. The off step is skipped by its probe if a crash came between the
 * two. */

static bool
reboot_off(TaskRun *run, GError **err)
{
    bool soft = json_is_true(json_object_get(run->params, "soft"));

    run_drain_inbox(run);
    return need_host(run, err) &&
           part_power_off(run, soft && run->server->vm_state == VM_ACTIVE, err);
}

static bool
reboot_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, set_running, err) &&
           part_finish_action(run, tx, "compute_reboot_instance", run->server->host, NULL, err);
}

static const TaskStep reboot_steps[] = {
    {"off", part_probe_stopped, reboot_off, NULL, undo_look},
    {"start", part_probe_running, start, part_record_clients, undo_look},
};
const TaskKind task_server_reboot = {"server-reboot",   reboot_steps,     2,
                                     60 * USEC_PER_SEC, reboot_succeeded, fail};
