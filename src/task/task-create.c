/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-create.c: from a row to a running guest
 *
 *   place ─► check ─► disk ─► config ─► start
 *
 * place reserves a host in the store; check asks that node what only it knows; disk and config make
 * files that bear the server's id; start defines and boots. All are idempotent under that id, so
 * that a crash anywhere is answered by running the step again. Taking back removes the domain, then
 * the files; the server stays as a row in ERROR that says why. */
#include "task/task-priv.h"

static bool
run_nothing(TaskRun *run, GError **err)
{
    return true; /* place happens in its transaction */
}

static bool
check(TaskRun *run, GError **err)
{
    g_autoptr(DomainInfo) there = host_domain_probe(run_hosts(run), run->server->host,
                                                    run->server->id, DEADLINE_CONTROL, err);

    return there && part_check_bridges(run, run->server->host, err);
}

static bool
undo_disk(TaskRun *run, GError **err)
{
    return storage_disk_delete(run_storage(run), run->server->id, err);
}

static bool
undo_start(TaskRun *run, GError **err)
{
    const char *host = run->server->host, *id = run->server->id;

    return host_domain_destroy(run_hosts(run), host, id, DEADLINE_WORK, err) &&
           host_domain_undefine(run_hosts(run), host, id, DEADLINE_WORK, err);
}

static void
set_active(TaskRun *run, Server *server)
{
    server->vm_state = VM_ACTIVE;
    server->task_state = TASK_NONE;
    server->power_state = POWER_RUNNING;
    server->launched_at = clock_realtime();
    text_set(&server->machine, run_state_text(run, "machine"));
    text_set(&server->cpu_xml, run_state_text(run, "cpu"));
    part_console_add(server, server->host);
}

static bool
succeed(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, set_active, err) &&
           part_finish_action(run, tx, "compute__do_build_and_run_instance", run->server->host,
                              NULL, err);
}

typedef struct Failure {
    const GError *reason;
} Failure;

static void
set_error(TaskRun *run, Server *server)
{
    const Failure *failure = run->data;

    server->vm_state = VM_ERROR;
    server->task_state = TASK_NONE;
    server->power_state = POWER_UNKNOWN;
    server->fault_code = 500;
    server->fault_at = clock_realtime();
    text_set(&server->fault_message, failure->reason->message);
    if (err_code(failure->reason) != ERR_UNREACHABLE && err_code(failure->reason) != ERR_TIMEOUT)
        text_set(&server->host, NULL); /* nothing of it is there any more */
}

static bool
fail(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    Failure failure = {reason};
    g_autofree char *host = NULL;
    bool ok;

    if (!run->server) /* failed before the first step read it */
        run->server = store_get(tx, &SERVER, run->task->server_id, NULL);
    host = g_strdup(run->server ? run->server->host : NULL);
    run->data = &failure;
    ok = run_update_server(run, tx, set_error, err) &&
         part_finish_action(run, tx, "compute__do_build_and_run_instance", host, reason, err);
    run->data = NULL;
    return ok;
}

static const TaskStep steps[] = {
    {"place", NULL, run_nothing, part_place, NULL},
    {"check", NULL, check, NULL, NULL},
    {"disk", NULL, part_make_disk, NULL, undo_disk},
    {"config", NULL, part_make_config_drive, NULL, NULL},
    {"start", part_probe_running, part_start_domain, NULL, undo_start},
};

const TaskKind task_server_create = {
    .name = "server-create",
    .steps = steps,
    .n_steps = G_N_ELEMENTS(steps),
    .unreachable_wait_us = 60 * USEC_PER_SEC,
    .succeed = succeed,
    .fail = fail,
};
