/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-end-resize.c: a finished resize or cold migration is confirmed, or reverted
 *
 *   confirm   remove
 *   revert    check ─► power-off ─► (switch) ─► start ─► remove
 *
 * Confirming forgets the former domain and gives its room free; a former host that does not answer
 * holds nobody up: what is left there is a stray that its next sweep removes. Reverting needs both
 * nodes, and is refused before anything is touched if one is away. Its switch is the transaction
 * behind power-off: the server has its former host and flavor, and runs there if it ran when the
 * resize was asked for. A disk that has grown stays so. Taken back, the server is where the resize
 * had brought it, RESIZED as before, and either can be asked for again. */
#include "task/resize.h"

/* ---- both
 * --------------------------------------------------------------------------------------------- */

static void
set_finished_again(TaskRun *run, Migration *row)
{
    row->status = MIGRATION_FINISHED;
    text_set(&row->reason, run_state_text(run, "reason"));
}

static void
keep_resized(TaskRun *run, Server *server)
{
    server->task_state = TASK_NONE;
    if (run_state_int(run, "undone", 0)) /* taken back, it is as it was */
        server->power_state = run_state_int(run, "ran", 0) ? POWER_RUNNING : POWER_SHUTDOWN;
}

/* Nothing has changed: it may be asked for again. */
static bool
stay_resized(TaskRun *run, StoreTx *tx, const char *event, const GError *reason, GError **err)
{
    run_set_state_text(run, "reason", reason->message);
    return run_update_server(run, tx, keep_resized, err) &&
           resize_update(run, tx, set_finished_again, err) &&
           part_finish_action(run, tx, event, run->server->host, reason, err);
}

/* ---- confirm
 * ------------------------------------------------------------------------------------------ */

static bool
confirm(TaskRun *run, GError **err)
{
    const Migration *migration = resize_migration(run, err);
    g_autoptr(DomainInfo) info = NULL;
    bool left = false;

    if (!migration)
        return false;
    if (!resize_on_one_host(migration) &&
        !resize_remove_domain(run, migration->source_host, &left, err))
        return false;
    run_set_state_text(run, "left", left ? migration->source_host : NULL);
    /* Without an answer it is what was recorded last. */
    info = host_domain_probe(run_hosts(run), run->server->host, run->server_id, DEADLINE_CONTROL,
                             NULL);
    run_set_state_text(run, "observed", info ? domain_state_names[info->state] : NULL);
    return true;
}

static void
set_confirmed(TaskRun *run, Migration *row)
{
    const char *left = run_state_text(run, "left");
    g_autofree char *text =
        left ? g_strdup_printf("confirmed; what is left of it on %s is removed when that answers "
                               "again",
                               left)
             : NULL;

    row->status = MIGRATION_CONFIRMED;
    row->ended_at = clock_realtime();
    text_set(&row->reason, text);
}

static void
set_ended(TaskRun *run, Server *server)
{
    const char *observed = run_state_text(run, "observed");

    server->task_state = TASK_NONE;
    if (observed && g_strcmp0(observed, domain_state_names[DOMAIN_RUNNING]) == 0)
        server->power_state = POWER_RUNNING;
    else if (observed && g_strcmp0(observed, domain_state_names[DOMAIN_PAUSED]) == 0)
        server->power_state = POWER_PAUSED;
    else if (observed)
        server->power_state = POWER_SHUTDOWN;
    server->vm_state = server->power_state == POWER_RUNNING  ? VM_ACTIVE
                       : server->power_state == POWER_PAUSED ? VM_PAUSED
                                                             : VM_STOPPED;
}

static bool
confirm_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, set_ended, err) &&
           resize_update(run, tx, set_confirmed, err) &&
           part_finish_action(run, tx, "compute_confirm_resize", run->server->host, NULL, err);
}

static bool
confirm_failed(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    return stay_resized(run, tx, "compute_confirm_resize", reason, err);
}

static const TaskStep confirm_steps[] = {{"remove", NULL, confirm, NULL, NULL}};
const TaskKind task_server_confirm_resize = {
    "server-confirm-resize", confirm_steps,     1,
    60 * USEC_PER_SEC,       confirm_succeeded, confirm_failed};

/* ---- revert
 * ------------------------------------------------------------------------------------------- */

/* Both nodes answer, and the source can take it back. */
static bool
check(TaskRun *run, GError **err)
{
    const Migration *migration = resize_migration(run, err);
    const char *hosts[2];

    if (!migration)
        return false;
    hosts[0] = migration->source_host;
    hosts[1] = migration->dest_host;
    for (size_t i = 0; i < G_N_ELEMENTS(hosts); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(DomainInfo) info =
            host_domain_probe(run_hosts(run), hosts[i], run->server_id, DEADLINE_CONTROL, &error);

        if (!info)
            return err_set(err, ERR_CONFLICT,
                           "cannot revert: %s does not answer (%s); nothing has been touched: "
                           "revert when it is back, or confirm",
                           hosts[i], error->message);
        if (i == 1)
            run_set_state_int(run, "ran", info->state == DOMAIN_RUNNING);
    }
    return part_check_bridges(run, hosts[0], err);
}

static bool
revert_power_off(TaskRun *run, GError **err)
{
    run_drain_inbox(run);
    return part_power_off(run, run_state_int(run, "ran", 0) != 0, err);
}

static bool
commit_revert_power_off(TaskRun *run, StoreTx *tx, GError **err)
{
    run_set_state_int(run, "switched", 1);
    return resize_put(run, tx, false, TASK_RESIZE_REVERTING, err);
}

static bool
put_on_dest(TaskRun *run, StoreTx *tx, GError **err)
{
    return resize_put(run, tx, true, TASK_RESIZE_REVERTING, err);
}

/* Where the resize had brought it, as it was there. */
static bool
undo_revert_power_off(TaskRun *run, GError **err)
{
    g_autoptr(DomainInfo) info = NULL;

    if (run_state_int(run, "unclear", 0))
        return true; /* it may run on its former host */
    if (run_state_int(run, "switched", 0) && !run_write(run, put_on_dest, err))
        return false;
    info =
        host_domain_probe(run_hosts(run), run->server->host, run->server_id, DEADLINE_CONTROL, err);
    if (!info)
        return false;
    if (info->state != DOMAIN_RUNNING && run_state_int(run, "ran", 0) &&
        (!resize_start(run, err) || !run_write(run, part_record_clients, err)))
        return false;
    if (info->state != DOMAIN_RUNNING && !run_state_int(run, "ran", 0) && !resize_define(run, err))
        return false;
    run_set_state_int(run, "undone", 1);
    return true;
}

static bool
revert_start(TaskRun *run, GError **err)
{
    const Migration *migration = resize_migration(run, err);

    if (!migration)
        return false;
    if (migration->old_vm_state != VM_ACTIVE)
        return resize_define(run, err);
    if (!hosts_is_connected(run_hosts(run), run->server->host))
        return err_set(err, ERR_UNREACHABLE, "%s went away before the guest could be started there",
                       run->server->host);
    run_set_state_int(run, "tried", 1);
    return resize_start(run, err);
}

static bool
undo_revert_start(TaskRun *run, GError **err)
{
    run_set_state_int(run, "unclear", run_state_int(run, "tried", 0));
    if (!host_domain_destroy(run_hosts(run), run->server->host, run->server_id, DEADLINE_WORK, err))
        return false;
    run_set_state_int(run, "unclear", 0);
    return true;
}

static bool
revert_remove(TaskRun *run, GError **err)
{
    const Migration *migration = resize_migration(run, err);
    g_autoptr(GError) error = NULL;
    bool left = false;

    if (!migration)
        return false;
    if (resize_on_one_host(migration) ||
        resize_remove_domain(run, migration->dest_host, &left, &error))
        return true;
    /* The server is back, and its guest runs: what is left is the sweep's business. */
    log_event(LOG_LEVEL_WARNING, "task", "cannot remove what a reverted resize has left on a host",
              "server", run->server_id, "host", migration->dest_host, "reason", error->message,
              NULL);
    return true;
}

static void
set_reverted(TaskRun *run, Migration *row)
{
    row->status = MIGRATION_REVERTED;
    row->ended_at = clock_realtime();
    text_set(&row->reason, NULL);
}

static void
set_back(TaskRun *run, Server *server)
{
    const Migration *migration = run->data;
    bool runs = migration->old_vm_state == VM_ACTIVE;

    server->task_state = TASK_NONE;
    server->vm_state = runs ? VM_ACTIVE : VM_STOPPED;
    server->power_state = runs ? POWER_RUNNING : POWER_SHUTDOWN;
    if (runs)
        server->launched_at = clock_realtime();
    if (run_state_text(run, "machine"))
        text_set(&server->machine, run_state_text(run, "machine"));
    if (run_state_text(run, "cpu"))
        text_set(&server->cpu_xml, run_state_text(run, "cpu"));
}

static bool
revert_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, set_back, err) && resize_update(run, tx, set_reverted, err) &&
           part_finish_action(run, tx, "compute_revert_resize", run->server->host, NULL, err);
}

static void
set_lost(TaskRun *run, Server *server)
{
    bool unclear = run_state_int(run, "unclear", 0) != 0;

    server->task_state = TASK_NONE;
    server->vm_state = VM_ERROR;
    server->power_state = unclear ? POWER_UNKNOWN : POWER_SHUTDOWN;
    server->fault_code = 500;
    server->fault_at = clock_realtime();
    g_free(server->fault_message);
    server->fault_message =
        unclear ? g_strdup_printf("the resize could not be reverted (%s), and %s, which was "
                                  "starting the server, answers no more: it may run there. When "
                                  "%s is back, reboot the server with --hard; if %s is dead, "
                                  "evacuate it",
                                  run_state_text(run, "reason"), server->host, server->host,
                                  server->host)
                : g_strdup_printf("the resize could not be reverted (%s), and the server could "
                                  "not be started again on %s; its disk is intact: mend that, "
                                  "then reboot it with --hard",
                                  run_state_text(run, "reason"), server->host);
}

static void
set_error(TaskRun *run, Migration *row)
{
    row->status = MIGRATION_ERROR;
    row->ended_at = clock_realtime();
    text_set(&row->reason, run_state_text(run, "reason"));
}

static bool
revert_failed(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    bool unclear = run_state_int(run, "unclear", 0) != 0;

    if (!run_state_int(run, "switched", 0) || run_state_int(run, "undone", 0))
        return stay_resized(run, tx, "compute_revert_resize", reason, err);
    run_set_state_text(run, "reason", reason->message);
    return (unclear || resize_put(run, tx, true, TASK_RESIZE_REVERTING, err)) &&
           run_update_server(run, tx, set_lost, err) && resize_update(run, tx, set_error, err) &&
           part_finish_action(run, tx, "compute_revert_resize", run->server->host, reason, err);
}

static const TaskStep revert_steps[] = {
    {"check", NULL, check, NULL, NULL},
    {"power-off", part_probe_stopped, revert_power_off, commit_revert_power_off,
     undo_revert_power_off},
    {"start", resize_probe_start, revert_start, part_record_clients, undo_revert_start},
    {"remove", NULL, revert_remove, NULL, NULL},
};
const TaskKind task_server_revert_resize = {
    .name = "server-revert-resize",
    .steps = revert_steps,
    .n_steps = G_N_ELEMENTS(revert_steps),
    .unreachable_wait_us = 60 * USEC_PER_SEC,
    .succeed = revert_succeeded,
    .fail = revert_failed,
};
