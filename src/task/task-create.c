/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-create.c: from a row to a running guest
 *
 *   place ─► check ─► volumes ─► disk ─► config ─► start
 *
 * place reserves a host in the store; check asks that node what only it knows; volumes makes those
 * that are made with the server, disk and config make what bears the server's id; start defines and
 * boots. All are idempotent under those ids, so that a crash anywhere is answered by running the
 * step again. Taking back removes the domain, then the disk; the server stays as a row in ERROR
 * that says why, and its volumes are given back: those made for it are deleted by tasks of their
 * own.
 *
 * Invariant: volumes are given back only when no domain can have them. Is the domain's node away
 * when it is to be removed, then they stay with the server until that is deleted. */
#include "task/disk-clients.h"
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

/* From the intent of the next step on there may be a domain. */
static bool
commit_config(TaskRun *run, StoreTx *tx, GError **err)
{
    run_set_state_int(run, "domain", 1);
    return true;
}

static bool
undo_start(TaskRun *run, GError **err)
{
    const char *host = run->server->host, *id = run->server->id;

    if (!host_domain_destroy(run_hosts(run), host, id, DEADLINE_WORK, err) ||
        !host_domain_undefine(run_hosts(run), host, id, DEADLINE_WORK, err))
        return false;
    run_set_state_int(run, "domain", 0);
    return true;
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
    return run_update_server(run, tx, set_active, err) && part_keep_volumes(run, tx, err) &&
           part_finish_action(run, tx, "compute__do_build_and_run_instance", run->server->host,
                              NULL, err);
}

typedef struct Failure {
    const GError *reason;
} Failure;

static bool
may_have_domain(TaskRun *run)
{
    return run_state_int(run, "domain", 0) != 0;
}

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
    if (!may_have_domain(run))
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
         (may_have_domain(run) ? part_keep_volumes(run, tx, err)
                               : part_release_volumes(run, tx, true, err) &&
                                     part_forget_clients(tx, run->server_id, err)) &&
         part_finish_action(run, tx, "compute__do_build_and_run_instance", host, reason, err);
    run->data = NULL;
    return ok;
}

static const TaskStep steps[] = {
    {"place", NULL, run_nothing, part_place, NULL},
    {"check", NULL, check, NULL, NULL},
    {"volumes", NULL, part_make_volumes, part_commit_volumes, NULL},
    {"disk", NULL, part_make_disk, NULL, undo_disk},
    {"config", NULL, part_make_config_drive, commit_config, NULL},
    {"start", part_probe_running, part_start_domain, part_record_clients, undo_start},
};

const TaskKind task_server_create = {
    .name = "server-create",
    .steps = steps,
    .n_steps = G_N_ELEMENTS(steps),
    .unreachable_wait_us = 60 * USEC_PER_SEC,
    .succeed = succeed,
    .fail = fail,
};
