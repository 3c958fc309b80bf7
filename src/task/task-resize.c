/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-resize.c: resize and cold migration
 *
 *   select ─► prepare ─► power-off ─► (switch) ─► grow ─► start
 *
 * select finds a host that the store and the host itself have nothing against, and reserves it.
 * prepare removes what an earlier resize may have left there. The transaction behind power-off is
 * the switch: from then on the server has its new host and its new flavor. Storage is shared, so
 * nothing is copied: grow makes the disk larger, where the flavor asks for that, and start defines
 * and boots. The former domain stays defined, off, and its room reserved, until somebody confirms
 * or reverts (task-end-resize.c).
 *
 * Taken back, the server has its former host and flavor and runs if it ran; a disk that has grown
 * stays so. There is one exception: if the destination was asked to start the guest and answers no
 * more, then the guest may run there, and must not be started a second time: the server stays
 * recorded there, in ERROR.
 *
 * Invariant: server.host names the only node that may have the guest. */
#include <string.h>

#include "task/resize.h"
#include "task/task-flatten.h"

/* ---- select
 * ------------------------------------------------------------------------------------------- */

static bool
judge_hosts(TaskRun *run, StoreTx *tx, GError **err)
{
    const Migration *migration = run->data;
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, NULL, err), verdicts = NULL;
    g_autofree HostLoad *loads = NULL;
    g_autofree char *best = NULL;
    PlacementRequest request;
    json_t *names;

    if (!hosts)
        return false;
    loads = g_new0(HostLoad, hosts->len + 1);
    if (!store_host_loads(tx, hosts, loads, err))
        return false;
    request = resize_placement(run_settings(run), run->server, migration, loads, hosts->len);
    best = placement_choose(&request, loads, hosts->len, err);
    if (!best)
        return false;
    verdicts = placement_judge(&request, loads, hosts->len);
    json_object_set_new(run->state, "candidates", names = json_array());
    for (guint i = 0; i < verdicts->len; i++) {
        const PlacementVerdict *verdict = g_ptr_array_index(verdicts, i);

        if (!verdict->reason)
            json_array_append_new(names, json_string(verdict->host->name));
    }
    return true;
}

/* What the node alone knows. */
static bool
check_host(TaskRun *run, const Migration *migration, const char *name, GError **err)
{
    g_autoptr(DomainInfo) info = NULL;

    if (!part_check_bridges(run, name, err))
        return false;
    if (g_strcmp0(name, migration->source_host) == 0)
        return true;
    info = host_domain_probe(run_hosts(run), name, run->server_id, DEADLINE_CONTROL, err);
    if (!info)
        return false;
    if (info->state == DOMAIN_ABSENT || (info->state == DOMAIN_SHUTOFF && info->ours))
        return true;
    return err_set(err, ERR_CONFLICT,
                   "%s already has a domain with the id of this server (%s, %s), not touching it",
                   name, info->name, domain_state_names[info->state]);
}

static void
note_attempt(TaskRun *run, const char *name, const GError *error)
{
    json_t *attempts = json_object_get(run->state, "attempts");

    if (!attempts)
        json_object_set_new(run->state, "attempts", attempts = json_array());
    json_array_append_new(attempts,
                          json_pack("{s:s, s:I, s:s, s:s}", "host", name, "at",
                                    (json_int_t)clock_realtime(), "error_code",
                                    err_code_name(err_code(error)), "reason", error->message));
}

/* The first candidate that passes; with none, the reasons of all. */
static bool
select_host(TaskRun *run, GError **err)
{
    const Migration *migration = resize_migration(run, err);
    g_autoptr(GString) reasons = g_string_new(NULL);
    json_t *name;
    size_t i;

    if (!migration)
        return false;
    json_object_del(run->state, "attempts");
    if (!run_read(run, judge_hosts, err))
        return false;
    json_array_foreach(json_object_get(run->state, "candidates"), i, name)
    {
        g_autoptr(GError) error = NULL;

        if (check_host(run, migration, json_string_value(name), &error)) {
            run_set_state_text(run, "dest", json_string_value(name));
            return true;
        }
        note_attempt(run, json_string_value(name), error);
        g_string_append_printf(reasons, "%s%s", reasons->len ? "; " : "", error->message);
    }
    /* Known, whatever it was: nothing has been touched. */
    return err_set(err, ERR_CONFLICT, "%s",
                   reasons->len ? reasons->str : "no host is left to go to");
}

static void
set_reserved(TaskRun *run, Migration *row)
{
    json_t *attempts = json_object_get(run->state, "attempts");

    text_set(&row->dest_host, run_state_text(run, "dest"));
    g_free(row->attempts);
    row->attempts = attempts ? json_dumps(attempts, JSON_COMPACT) : NULL;
}

static bool
commit_select(TaskRun *run, StoreTx *tx, GError **err)
{
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, NULL, err);
    g_autofree HostLoad *loads = NULL;
    g_autofree char *chosen = NULL;
    PlacementRequest request;

    if (!hosts)
        return false;
    loads = g_new0(HostLoad, hosts->len + 1);
    if (!store_host_loads(tx, hosts, loads, err))
        return false;
    request = resize_placement(run_settings(run), run->server, run->data, loads, hosts->len);
    request.only_host = run_state_text(run, "dest");
    chosen = placement_choose(&request, loads, hosts->len, err);
    if (!chosen)
        return false;
    resize_enter_phase(run, "prepare");
    return resize_update(run, tx, set_reserved, err);
}

/* ---- prepare
 * ------------------------------------------------------------------------------------------ */

static bool
prepare(TaskRun *run, GError **err)
{
    const Migration *migration = resize_migration(run, err);
    g_autoptr(DomainInfo) info = NULL;

    if (!migration)
        return false;
    if (resize_on_one_host(migration))
        return true;
    info = host_domain_probe(run_hosts(run), migration->dest_host, run->server_id, DEADLINE_CONTROL,
                             err);
    if (!info)
        return false;
    return info->state == DOMAIN_ABSENT ||
           host_domain_undefine(run_hosts(run), migration->dest_host, run->server_id,
                                DEADLINE_CONTROL, err);
}

static void
set_migrating(TaskRun *run, Migration *row)
{
    row->status = MIGRATION_MIGRATING;
    row->started_at = clock_realtime();
}

static void
set_task_migrating(TaskRun *run, Server *server)
{
    server->task_state = TASK_RESIZE_MIGRATING;
}

static bool
commit_prepare(TaskRun *run, StoreTx *tx, GError **err)
{
    resize_enter_phase(run, "power-off");
    return run_update_server(run, tx, set_task_migrating, err) &&
           resize_update(run, tx, set_migrating, err);
}

/* ---- power-off, switch
 * -------------------------------------------------------------------------------- */

static bool
refuse_deleted(TaskRun *run, GError **err)
{
    return !__atomic_load_n(&run->cancelled, __ATOMIC_RELAXED) ||
           err_set(err, ERR_CANCELLED, "the server is being %s",
                   run->evacuated ? "evacuated" : "deleted");
}

static bool
power_off(TaskRun *run, GError **err)
{
    const Migration *migration = resize_migration(run, err);

    if (!migration || !refuse_deleted(run, err))
        return false;
    run_drain_inbox(run);
    return part_power_off(run, migration->old_vm_state == VM_ACTIVE, err);
}

static void
set_switched(TaskRun *run, Migration *row)
{
    row->status = MIGRATION_POST_MIGRATING;
}

static bool
commit_power_off(TaskRun *run, StoreTx *tx, GError **err)
{
    run_set_state_int(run, "off", 1);
    resize_enter_phase(run, "grow");
    return resize_put(run, tx, true, TASK_RESIZE_MIGRATED, err) &&
           resize_update(run, tx, set_switched, err);
}

static bool
put_back(TaskRun *run, StoreTx *tx, GError **err)
{
    return resize_put(run, tx, false, TASK_RESIZE_PREP, err);
}

/* The guest as it was before: running, or off with its former definition, which only a resize on
 * one host has changed. */
static bool
bring_back(TaskRun *run, const Migration *migration, GError **err)
{
    bool deleted = __atomic_load_n(&run->cancelled, __ATOMIC_RELAXED);
    g_autoptr(DomainInfo) info = NULL;

    if (migration->old_vm_state != VM_ACTIVE || deleted) {
        if (resize_on_one_host(migration) && !resize_define(run, err))
            return false;
        run_set_state_text(run, "back", run_state_int(run, "off", 0) ? "off" : NULL);
        return true;
    }
    info =
        host_domain_probe(run_hosts(run), run->server->host, run->server_id, DEADLINE_CONTROL, err);
    if (!info)
        return false;
    /* Else it never stopped, or runs again already. */
    if (info->state != DOMAIN_RUNNING &&
        (!resize_start(run, err) || !run_write(run, part_record_clients, err)))
        return false;
    run_set_state_text(run, "back", "running");
    return true;
}

static bool
undo_power_off(TaskRun *run, GError **err)
{
    const Migration *migration = resize_migration(run, err);
    g_autoptr(GError) error = NULL;

    if (!migration)
        return false;
    if (run_state_int(run, "unclear", 0))
        return true; /* it may run on the destination */
    if (run_state_int(run, "off", 0) && !run_write(run, put_back, err))
        return false;
    if (bring_back(run, migration, &error)) {
        run_set_state_text(run, "not_back", NULL);
        return true;
    }
    run_set_state_text(run, "not_back", error->message);
    g_propagate_error(err, g_steal_pointer(&error));
    return false;
}

/* ---- grow
 * --------------------------------------------------------------------------------------------- */

static bool
grow(TaskRun *run, GError **err)
{
    const Migration *migration = resize_migration(run, err);
    const Server *server = run->server;
    g_autoptr(Server) before = NULL;
    g_autofree char *source = NULL, *format = NULL;

    if (!migration || !refuse_deleted(run, err))
        return false;
    if (!migration->old_flavor || !*server->image_id)
        return true;
    before = record_copy(&SERVER, server);
    if (!server_flavor_apply(before, migration->old_flavor, err))
        return false;
    if (server->disk_gb <= before->disk_gb)
        return true;
    if (!storage_disk_source(run_storage(run), server->id, &source, &format, err))
        return false;
    flatten_await(source, FLATTEN_AWAIT);
    /* A QEMU that was killed is not waited for: it may hold the disk's lock. */
    if (!part_clear_disk_clients(run, err) ||
        !storage_disk_extend(run_storage(run), server->id, server->disk_gb << 30, err))
        return false;
    run_set_state_int(run, "grown_gb", server->disk_gb);
    return true;
}

static void
set_task_finish(TaskRun *run, Server *server)
{
    server->task_state = TASK_RESIZE_FINISH;
}

static bool
commit_grow(TaskRun *run, StoreTx *tx, GError **err)
{
    resize_enter_phase(run, "start");
    return run_update_server(run, tx, set_task_finish, err) && resize_update(run, tx, NULL, err);
}

/* ---- start
 * -------------------------------------------------------------------------------------------- */

static bool
start(TaskRun *run, GError **err)
{
    const Migration *migration = resize_migration(run, err);

    if (!migration || !refuse_deleted(run, err))
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
undo_start(TaskRun *run, GError **err)
{
    const Migration *migration = resize_migration(run, err);
    const char *dest;

    if (!migration)
        return false;
    dest = migration->dest_host;
    run_set_state_int(run, "unclear", run_state_int(run, "tried", 0));
    if (!host_domain_destroy(run_hosts(run), dest, run->server_id, DEADLINE_WORK, err))
        return false;
    run_set_state_int(run, "unclear", 0);
    return resize_on_one_host(migration) ||
           host_domain_undefine(run_hosts(run), dest, run->server_id, DEADLINE_WORK, err);
}

/* ---- the end
 * ------------------------------------------------------------------------------------------ */

static void
set_resized(TaskRun *run, Server *server)
{
    const Migration *migration = run->data;
    bool runs = migration->old_vm_state == VM_ACTIVE;

    server->vm_state = VM_RESIZED;
    server->power_state = runs ? POWER_RUNNING : POWER_SHUTDOWN;
    server->task_state = TASK_NONE;
    if (runs) {
        server->launched_at = clock_realtime();
        text_set(&server->machine, run_state_text(run, "machine"));
        text_set(&server->cpu_xml, run_state_text(run, "cpu"));
    }
    server->fault_code = 0;
    text_set(&server->fault_message, NULL);
}

static void
set_finished(TaskRun *run, Migration *row)
{
    row->status = MIGRATION_FINISHED;
    row->active_at = clock_realtime();
}

static bool
succeed(TaskRun *run, StoreTx *tx, GError **err)
{
    resize_enter_phase(run, "done");
    return run_update_server(run, tx, set_resized, err) &&
           resize_update(run, tx, set_finished, err) &&
           part_finish_action(run, tx, "compute_finish_resize", run->server->host, NULL, err);
}

static void
set_fault(Server *server, char *text)
{
    server->vm_state = VM_ERROR;
    server->fault_code = 500;
    server->fault_at = clock_realtime();
    g_free(server->fault_message);
    server->fault_message = text;
}

static void
set_taken_back(TaskRun *run, Server *server)
{
    const char *back = run_state_text(run, "back"), *not_back = run_state_text(run, "not_back");
    const char *reason = run_state_text(run, "reason");

    server->task_state = TASK_NONE;
    if (run_state_int(run, "unclear", 0)) {
        server->power_state = POWER_UNKNOWN;
        set_fault(server,
                  g_strdup_printf("the resize failed (%s), and %s, which was starting the server, "
                                  "answers no more: it may run there. When %s is back, reboot the "
                                  "server with --hard; if %s is dead, evacuate it",
                                  reason, server->host, server->host, server->host));
    } else if (g_strcmp0(back, "running") == 0) {
        server->vm_state = VM_ACTIVE;
        server->power_state = POWER_RUNNING;
        if (run_state_text(run, "machine"))
            text_set(&server->machine, run_state_text(run, "machine"));
        if (run_state_text(run, "cpu"))
            text_set(&server->cpu_xml, run_state_text(run, "cpu"));
    } else if (g_strcmp0(back, "off") == 0) {
        server->vm_state = VM_STOPPED;
        server->power_state = POWER_SHUTDOWN;
    } else if (not_back && run_state_int(run, "off", 0)) {
        server->power_state = POWER_SHUTDOWN;
        set_fault(server, g_strdup_printf("the resize failed (%s), and the server could not be "
                                          "brought back on %s (%s); its disk is intact: mend that, "
                                          "then reboot it with --hard",
                                          reason, server->host, not_back));
    } /* else it was never touched, or its node does not answer: what it does is seen by watch */
}

static void
set_failed(TaskRun *run, Migration *row)
{
    json_t *attempts = json_object_get(run->state, "attempts");

    row->status = g_strcmp0(run_state_text(run, "code"), err_code_name(ERR_CANCELLED)) == 0
                      ? MIGRATION_CANCELLED
                      : MIGRATION_ERROR;
    row->ended_at = clock_realtime();
    text_set(&row->reason, run_state_text(run, "reason"));
    text_set(&row->error_code, run_state_text(run, "code"));
    if (attempts && !row->attempts)
        row->attempts = json_dumps(attempts, JSON_COMPACT);
}

static bool
fail(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    int64_t grown = run_state_int(run, "grown_gb", 0);
    g_autofree char *text =
        grown ? g_strdup_printf("%s; its disk has grown to %" PRId64 " GB and stays so",
                                reason->message, grown)
              : g_strdup(reason->message);
    g_autoptr(GError) told = g_error_new_literal(ERR_DOMAIN, err_code(reason), text);
    bool is_put_back = !run_state_int(run, "off", 0) || run_state_int(run, "unclear", 0);

    run_set_state_text(run, "reason", text);
    run_set_state_text(run, "code", err_code_name(err_code(reason)));
    return (is_put_back || resize_put(run, tx, false, TASK_RESIZE_PREP, err)) &&
           run_update_server(run, tx, set_taken_back, err) &&
           resize_update(run, tx, set_failed, err) &&
           part_finish_action(run, tx, "compute_resize_instance", run->server->host, told, err);
}

static const TaskStep steps[] = {
    {"select", NULL, select_host, commit_select, NULL},
    {"prepare", NULL, prepare, commit_prepare, NULL},
    {"power-off", part_probe_stopped, power_off, commit_power_off, undo_power_off},
    {"grow", NULL, grow, commit_grow, NULL},
    {"start", resize_probe_start, start, part_record_clients, undo_start},
};

const TaskKind task_server_resize = {
    .name = "server-resize",
    .steps = steps,
    .n_steps = G_N_ELEMENTS(steps),
    .unreachable_wait_us = 60 * USEC_PER_SEC,
    .succeed = succeed,
    .fail = fail,
};
