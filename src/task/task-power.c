/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-power.c: start, stop, reboot: one step each, idempotent, on the host that holds the server
 *
 * A start is a boot: memory that a suspended server has on its node is dropped by it, which is what
 * a hard reboot of such a server means.
 *
 * A failed one leaves the server as it was, with the reason in the instance action; what the guest
 * really does is then recorded by watch. */
#include "task/host-domains.h"
#include "task/power.h"

void
power_set_running(TaskRun *run, Server *server)
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

void
power_set_as_observed(TaskRun *run, Server *server)
{
    server->task_state = TASK_NONE;
    if (run_state_int(run, "observed_vm", -1) < 0)
        return;
    server->vm_state = (VmState)run_state_int(run, "observed_vm", 0);
    server->power_state = (PowerState)run_state_int(run, "observed_power", 0);
}

bool
power_look(TaskRun *run, GError **err)
{
    g_autoptr(DomainInfo) info = NULL;
    VmState vm;
    PowerState power;

    if (!run->server->host)
        return true;
    info = host_domain_probe(run_hosts(run), run->server->host, run->server->id, DEADLINE_CONTROL,
                             err);
    if (!info)
        return false;
    if (domain_observe(info, &vm, &power)) {
        run_set_state_int(run, "observed_vm", vm);
        run_set_state_int(run, "observed_power", power);
    }
    return true;
}

bool
power_fail(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    return run_update_server(run, tx, power_set_as_observed, err) &&
           part_finish_action(run, tx, run->kind->name, run->server->host, reason, err);
}

/* ---- start
 * ------------------------------------------------------------------------------------------ */

bool
power_need_host(TaskRun *run, GError **err)
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
    return power_need_host(run, err) && part_clear_disk_clients(run, err) &&
           part_make_config_drive(run, err) && part_start_domain(run, err);
}

static bool
start_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, power_set_running, err) &&
           part_finish_action(run, tx, "compute_start_instance", run->server->host, NULL, err);
}

static const TaskStep start_steps[] = {
    {"start", part_probe_running, start, part_record_clients, power_look}};
const TaskKind task_server_start = {"server-start",    start_steps,     1,
                                    60 * USEC_PER_SEC, start_succeeded, power_fail};

/* ---- stop
 * ------------------------------------------------------------------------------------------- */

static bool
stop(TaskRun *run, GError **err)
{
    run_drain_inbox(run);
    return power_need_host(run, err) && part_power_off(run, true, err);
}

static bool
stop_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, set_stopped, err) &&
           part_finish_action(run, tx, "compute_stop_instance", run->server->host, NULL, err);
}

static const TaskStep stop_steps[] = {{"stop", part_probe_stopped, stop, NULL, power_look}};
const TaskKind task_server_stop = {"server-stop",     stop_steps,     1,
                                   60 * USEC_PER_SEC, stop_succeeded, power_fail};

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
    return power_need_host(run, err) &&
           part_power_off(run, soft && run->server->vm_state == VM_ACTIVE, err);
}

static bool
reboot_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, power_set_running, err) &&
           part_finish_action(run, tx, "compute_reboot_instance", run->server->host, NULL, err);
}

static const TaskStep reboot_steps[] = {
    {"off", part_probe_stopped, reboot_off, NULL, power_look},
    {"start", part_probe_running, start, part_record_clients, power_look},
};
const TaskKind task_server_reboot = {"server-reboot",   reboot_steps,     2,
                                     60 * USEC_PER_SEC, reboot_succeeded, power_fail};
