/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-evacuate.c: brings the server of a dead node up elsewhere, once that node cannot write
 *
 *   verify ─► power-off ─► gather ─► fence ─► place ─► start
 *
 * verify: the node is still taken for dead, and nobody who answers has the guest. power-off: the
 * operator's own command, if there is one. gather and fence: the clients of the server's disks are
 * written down, then shut out of the cluster (fence.c). Only then is another host chosen and the
 * server started there.
 *
 * Invariants: nothing is started before the fence is confirmed, or, where the storage has none,
 * before the command has succeeded or an administrator's word is recorded. server.host is the dead
 * node until place, and from then on the one host where the guest may be.
 *
 * What fails before the fence is confirmed leaves the server as it was. What fails later leaves it
 * in ERROR with its disk fenced and free, on its old host's account, so that it can be evacuated
 * again; only if a start broke off in the middle, and cannot be taken back, does it stay on the
 * host where it may run. */
#include "task/disk-clients.h"
#include "task/fence.h"

#include <string.h>

typedef struct Evacuation {
    Migration *row;
    Host *source;      /* NULL: it was removed from the records */
    GPtrArray *others; /* char *: hosts that may have had the guest, but for the source */
} Evacuation;

static void
evacuation_free(gpointer data)
{
    Evacuation *evacuation = data;

    migration_free(evacuation->row);
    host_free(evacuation->source);
    g_clear_pointer(&evacuation->others, g_ptr_array_unref);
    g_free(evacuation);
}

static void
add_other(Evacuation *evacuation, const char *host)
{
    if (host && strcmp(host, evacuation->row->source_host) != 0 &&
        !g_ptr_array_find_with_equal_func(evacuation->others, host, g_str_equal, NULL))
        g_ptr_array_add(evacuation->others, g_strdup(host));
}

/* Where it was, or was to be, by its last moves and by its disks' clients. */
static bool
read_others(TaskRun *run, StoreTx *tx, GError **err)
{
    Evacuation *evacuation = run->data;
    const StoreCond of_server[] = {{"server_id", STORE_EQ, run->server_id, 0}, {NULL}};
    const StoreQuery last = {.where = of_server, .order_by = "id", .descending = true, .limit = 4};
    g_autoptr(GPtrArray) moves = store_list(tx, &MIGRATION, &last, err);
    g_autoptr(GPtrArray) clients =
        moves ? store_list(tx, &DISK_CLIENT, &(StoreQuery){.where = of_server}, err) : NULL;

    if (!clients)
        return false;
    for (guint i = 0; i < moves->len; i++) {
        const Migration *move = g_ptr_array_index(moves, i);

        if (move->id == evacuation->row->id)
            continue;
        add_other(evacuation, move->dest_host);
        add_other(evacuation, move->source_host);
    }
    for (guint i = 0; i < clients->len; i++)
        add_other(evacuation, ((DiskClient *)g_ptr_array_index(clients, i))->host);
    return true;
}

static bool
read_evacuation(TaskRun *run, StoreTx *tx, GError **err)
{
    Evacuation *evacuation = run->data;
    Migration *row = store_get_int(tx, &MIGRATION, run->task->migration_id, err);

    if (!row)
        return false;
    const StoreCond by_name[] = {{"name", STORE_EQ, row->source_host, 0}, {NULL}};
    migration_free(evacuation->row);
    evacuation->row = row;
    host_free(evacuation->source);
    evacuation->source = store_find(tx, &HOST, by_name, NULL);
    g_ptr_array_set_size(evacuation->others, 0);
    return read_others(run, tx, err);
}

static Evacuation *
get(TaskRun *run, GError **err)
{
    Evacuation *evacuation = run->data;
    json_t *override = json_object_get(run->params, "override");

    if (!evacuation) {
        evacuation = g_new0(Evacuation, 1);
        evacuation->others = g_ptr_array_new_with_free_func(g_free);
        run->data = evacuation;
        run->data_free = evacuation_free;
    }
    if (!run_read(run, read_evacuation, err))
        return NULL;
    run_set_state_text(run, "old_vm_state", vm_state_names[evacuation->row->old_vm_state]);
    if (json_is_string(override))
        json_object_set_new(fence_report(run), "override",
                            json_pack("{s:O, s:s}", "reason", override, "by",
                                      run->task->user_id ? run->task->user_id : ""));
    return evacuation;
}

/* ---- the record --------------------------------------------------------------------------------
 */

/* The phase that begins, what the fence did so far, and what change adds, which may be NULL. */
static bool
update_migration(TaskRun *run, StoreTx *tx, const char *phase,
                 void (*change)(TaskRun *run, Migration *row), GError **err)
{
    g_autoptr(Migration) row = store_get_int(tx, &MIGRATION, run->task->migration_id, err);

    if (!row)
        return false;
    phase_record(run, row);
    if (phase)
        text_set(&row->phase, phase);
    g_free(row->fence);
    row->fence = json_dumps(fence_report(run), JSON_COMPACT);
    if (change)
        change(run, row);
    return store_update(tx, &MIGRATION, row, err);
}

/* ---- verify ------------------------------------------------------------------------------------
 */

/* An answer of a node decides; one that does not answer is fenced with the source. */
static bool
check_other(TaskRun *run, const char *host, GError **err)
{
    g_autoptr(DomainInfo) info = NULL;

    if (!hosts_is_connected(run_hosts(run), host))
        return true;
    info = host_domain_probe(run_hosts(run), host, run->server_id, DEADLINE_CONTROL, NULL);
    if (!info || !info->ours)
        return true;
    switch (seen_of(info, true)) {
    case SEEN_RUNNING:
    case SEEN_MOVING:
    case SEEN_POSTCOPY:
        return err_set(err, ERR_CONFLICT,
                       "server %s runs on %s, which answers: it is not started a second time; the "
                       "record follows by itself, see 'godwit server show %s'",
                       run->server_id, host, run->server_id);
    case SEEN_INCOMING:
    case SEEN_STOPPED_FOR_SWITCH: /* half of a move whose other half is on the dead node */
        return host_domain_destroy(run_hosts(run), host, run->server_id, DEADLINE_CONTROL, err) &&
               host_domain_undefine(run_hosts(run), host, run->server_id, DEADLINE_CONTROL, err);
    case SEEN_UNREACHABLE:
    case SEEN_GONE:
        break;
    }
    return true;
}

static bool
verify(TaskRun *run, GError **err)
{
    Evacuation *evacuation = get(run, err);
    const Server *server = run->server;

    if (!evacuation)
        return false;
    if (server->vm_state == VM_DELETED)
        return err_set(err, ERR_CONFLICT, "server %s was deleted", server->id);
    if (g_strcmp0(server->host, evacuation->row->source_host) != 0)
        return err_set(err, ERR_CONFLICT, "server %s is not on %s any more: it is on %s",
                       server->id, evacuation->row->source_host,
                       server->host ? server->host : "no host");
    if (evacuation->source && evacuation->source->state == HOST_UP &&
        !evacuation->source->forced_down)
        return err_set(err, ERR_CONFLICT,
                       "%s is up again: server %s is not evacuated; see what it does with 'godwit "
                       "server show %s'",
                       evacuation->source->name, server->id, server->id);
    for (guint i = 0; i < evacuation->others->len; i++)
        if (!check_other(run, g_ptr_array_index(evacuation->others, i), err))
            return false;
    return true;
}

static void
set_rebuilding(TaskRun *run, Server *server)
{
    server->task_state = TASK_REBUILDING; /* what was interrupted may have cleared it */
}

static void
set_pre_migrating(TaskRun *run, Migration *row)
{
    row->status = MIGRATION_PRE_MIGRATING;
    row->started_at = clock_realtime();
}

static bool
commit_verify(TaskRun *run, StoreTx *tx, GError **err)
{
    const Evacuation *evacuation = run->data;
    const Host *source = evacuation->source;

    /* How long it was down when somebody asked; a host that is only said to be down: not at all. */
    phase_add_time(run, "detection",
                   source && source->state == HOST_DOWN
                       ? evacuation->row->created_at - source->state_changed_at
                       : 0);
    return run_update_server(run, tx, set_rebuilding, err) &&
           update_migration(run, tx, "power-off", set_pre_migrating, err);
}

/* ---- power-off ---------------------------------------------------------------------------------
 */

/* Where nothing else can stop the guest, a node that answers after all is told to. */
static bool
stop_there(TaskRun *run, const Evacuation *evacuation, GError **err)
{
    const char *host = evacuation->row->source_host;

    if (run_storage(run)->ops->can_fence || !hosts_is_connected(run_hosts(run), host))
        return true;
    if (!host_domain_destroy(run_hosts(run), host, run->server_id, DEADLINE_CONTROL, NULL))
        return true; /* it was said to be dead */
    json_object_set_new(fence_report(run), "stopped_there", json_true());
    return true;
}

static bool
power_off(TaskRun *run, GError **err)
{
    Evacuation *evacuation = get(run, err);
    bool vouched = evacuation && json_object_get(fence_report(run), "override");
    g_autoptr(GError) error = NULL;
    int64_t began = clock_monotonic();
    Host removed = {0};

    if (!evacuation)
        return false;
    removed.name = evacuation->row->source_host;
    if (!fence_command_run(run, evacuation->source ? evacuation->source : &removed, &error)) {
        if (!vouched || err_is(error, ERR_FENCED)) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
        log_event(LOG_LEVEL_WARNING, "task",
                  "the fence command failed, going on upon an administrator's word", "host",
                  evacuation->row->source_host, "server", run->server_id, "reason", error->message,
                  NULL);
    }
    if (vouched)
        log_event(LOG_LEVEL_WARNING, "task", "an administrator vouches that the node is off",
                  "host", evacuation->row->source_host, "server", run->server_id, "user",
                  run->task->user_id, "reason",
                  json_string_value(json_object_get(run->params, "override")), NULL);
    phase_add_time(run, "power-off", clock_monotonic() - began);
    return stop_there(run, evacuation, err);
}

static bool
commit_power_off(TaskRun *run, StoreTx *tx, GError **err)
{
    return update_migration(run, tx, "fence", NULL, err);
}

/* ---- gather, fence -----------------------------------------------------------------------------
 */

static bool
gather(TaskRun *run, GError **err)
{
    Evacuation *evacuation = get(run, err);
    int64_t began = clock_monotonic();
    bool ok = evacuation && fence_gather(run, evacuation->row->source_host, err);

    phase_add_time(run, "fencing", clock_monotonic() - began);
    return ok;
}

static bool
shut_out(TaskRun *run, GError **err)
{
    Evacuation *evacuation = get(run, err);
    int64_t began = clock_monotonic();
    bool ok = evacuation && fence_shut_out(run, evacuation->row->source_host, err);

    phase_add_time(run, "fencing", clock_monotonic() - began);
    return ok;
}

static bool
commit_fence(TaskRun *run, StoreTx *tx, GError **err)
{
    return update_migration(run, tx, "place", NULL, err);
}

/* ---- place -------------------------------------------------------------------------------------
 */

static json_t *
attempts_of(const Migration *row)
{
    json_t *attempts = row->attempts ? json_loads(row->attempts, 0, NULL) : NULL;

    return attempts ? attempts : json_array();
}

static bool
was_tried(json_t *attempts, const char *host)
{
    json_t *attempt;
    size_t i;

    json_array_foreach(attempts, i,
                       attempt) if (g_strcmp0(json_string_value(json_object_get(attempt, "host")),
                                              host) == 0) return true;
    return false;
}

static bool
all_tried(json_t *attempts, GError **err)
{
    g_autoptr(GString) text = g_string_new(NULL);
    json_t *attempt;
    size_t i;

    json_array_foreach(attempts, i, attempt) g_string_append_printf(
        text, "%s%s: %s", i ? "; " : "", json_string_value(json_object_get(attempt, "host")),
        json_string_value(json_object_get(attempt, "reason")));
    return err_set(err, ERR_CONFLICT, "no host could start it: %s", text->str);
}

/* A host that was named has been reserved since the request. */
static void
leave_out_own(const Evacuation *evacuation, const Server *server, HostLoad *loads, guint n)
{
    for (guint i = 0; i < n; i++)
        if (evacuation->row->dest_host &&
            g_strcmp0(server->host, evacuation->row->dest_host) != 0 &&
            strcmp(loads[i].host->name, evacuation->row->dest_host) == 0) {
            loads[i].ram_mb_used -= server->ram_mb;
            loads[i].vcpus_used -= server->vcpus;
        }
}

/* The best host that was not tried. */
static bool
choose(TaskRun *run, StoreTx *tx, const Migration *row, char **host, GError **err)
{
    const Evacuation *evacuation = run->data;
    const TaskSettings *settings = run_settings(run);
    const PlacementRequest request = {
        .vcpus = run->server->vcpus,
        .ram_mb = run->server->ram_mb,
        .only_host = row->dest_given ? row->dest_host : NULL,
        .exclude_host = row->source_host,
        .needs_storage = true,
        .cpu_ratio = settings->cpu_ratio,
        .ram_ratio = settings->ram_ratio,
        .reserved_ram_mb = settings->reserved_ram_mb,
    };
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, NULL, err), verdicts = NULL;
    g_autofree HostLoad *loads = NULL;
    json_t *attempts = attempts_of(row);
    bool ok;

    *host = NULL;
    loads = hosts ? g_new0(HostLoad, hosts->len + 1) : NULL;
    if (hosts && store_host_loads(tx, hosts, loads, err)) {
        leave_out_own(evacuation, run->server, loads, hosts->len);
        verdicts = placement_judge(&request, loads, hosts->len);
    }
    for (guint i = 0; verdicts && !*host && i < verdicts->len; i++) {
        const PlacementVerdict *verdict = g_ptr_array_index(verdicts, i);

        if (!verdict->reason && !was_tried(attempts, verdict->host->name))
            *host = g_strdup(verdict->host->name);
    }
    ok = *host != NULL;
    if (verdicts && !ok && json_array_size(attempts) > 0)
        ok = all_tried(attempts, err);
    else if (verdicts && !ok)
        ok = (*host = placement_choose(&request, loads, hosts->len, err)) != NULL;
    json_decref(attempts);
    return ok;
}

static bool
place(TaskRun *run, GError **err)
{
    return get(run, err) != NULL; /* the reservation is the transaction below */
}

static void
set_host(TaskRun *run, Server *server)
{
    text_set(&server->host, run_state_text(run, "dest"));
}

static void
set_dest(TaskRun *run, Migration *row)
{
    row->status = MIGRATION_MIGRATING;
    text_set(&row->dest_host, run_state_text(run, "dest"));
}

static bool
take_host(TaskRun *run, StoreTx *tx, const Migration *row, GError **err)
{
    g_autofree char *host = NULL;

    if (!choose(run, tx, row, &host, err))
        return false;
    run_set_state_text(run, "dest", host);
    return run_update_server(run, tx, set_host, err);
}

static bool
commit_place(TaskRun *run, StoreTx *tx, GError **err)
{
    const Evacuation *evacuation = run->data;

    return take_host(run, tx, evacuation->row, err) &&
           update_migration(run, tx, "start", set_dest, err);
}

/* ---- start -------------------------------------------------------------------------------------
 */

static bool
is_to_run(TaskRun *run)
{
    return !json_is_true(json_object_get(run->params, "leave_stopped")) &&
           g_strcmp0(run_state_text(run, "old_vm_state"), vm_state_names[VM_STOPPED]) != 0;
}

/* A domain with the server's id that is not ours is never replaced. */
static bool
check_free(TaskRun *run, const char *host, GError **err)
{
    g_autoptr(DomainInfo) there =
        host_domain_probe(run_hosts(run), host, run->server_id, DEADLINE_CONTROL, err);

    if (!there)
        return false;
    return there->state == DOMAIN_ABSENT || there->ours ||
           err_set(err, ERR_CONFLICT,
                   "%s already has a domain with the id of this server (%s, %s), not touching it",
                   host, there->name, domain_state_names[there->state]);
}

static bool
start_there(TaskRun *run, GError **err)
{
    const char *host = run->server->host;

    return check_free(run, host, err) && part_check_bridges(run, host, err) &&
           part_clear_disk_clients(run, err) && part_make_config_drive(run, err) &&
           part_start_domain(run, err);
}

static void
add_attempt(TaskRun *run, Migration *row)
{
    json_t *attempts = attempts_of(row);

    json_array_append_new(attempts, json_pack("{s:s, s:I, s:s, s:s}", "host", row->dest_host, "at",
                                              (json_int_t)clock_realtime(), "error_code",
                                              run_state_text(run, "attempt_code"), "reason",
                                              run_state_text(run, "attempt_reason")));
    g_free(row->attempts);
    row->attempts = json_dumps(attempts, JSON_COMPACT);
    json_decref(attempts);
}

/* The attempt is written down in any case: so this transaction never fails for want of a host. */
static bool
next_host(TaskRun *run, StoreTx *tx, GError **err)
{
    g_autoptr(GError) none = NULL;
    g_autoptr(Migration) row = NULL;

    if (!update_migration(run, tx, NULL, add_attempt, err))
        return false;
    row = store_get_int(tx, &MIGRATION, run->task->migration_id, err);
    if (!row)
        return false;
    run_set_state_text(run, "none_left", NULL);
    if (take_host(run, tx, row, &none))
        return update_migration(run, tx, NULL, set_dest, err);
    run_set_state_text(run, "none_left", none->message);
    return true;
}

/* Only what is ours: check_free may have found somebody else's. */
static bool
remove_there(TaskRun *run, const char *host, GError **err)
{
    g_autoptr(DomainInfo) there =
        host_domain_probe(run_hosts(run), host, run->server_id, DEADLINE_CONTROL, err);

    if (!there)
        return false;
    if (there->ours &&
        (!host_domain_destroy(run_hosts(run), host, run->server_id, DEADLINE_CONTROL, err) ||
         !host_domain_undefine(run_hosts(run), host, run->server_id, DEADLINE_CONTROL, err)))
        return false;
    part_expect_no_clients(run);
    return true;
}

static bool
may_try_another(TaskRun *run, const GError *error)
{
    return err_outcome_known(error) && !err_is(error, ERR_FENCED) &&
           !err_is(error, ERR_CANCELLED) && !run_is_stopping(run);
}

static bool
try_hosts(TaskRun *run, GError **err)
{
    for (;;) {
        g_autoptr(GError) error = NULL;

        run_set_state_text(run, "may_run", run->server->host);
        if (start_there(run, &error))
            return true;
        if (!may_try_another(run, error)) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
        /* The guest may have come up all the same, and then its XML could not be read. */
        if (!remove_there(run, run->server->host, err))
            return false;
        run_set_state_text(run, "may_run", NULL);
        log_event(LOG_LEVEL_WARNING, "task", "the server does not start on this host", "server",
                  run->server_id, "host", run->server->host, "reason", error->message, NULL);
        run_set_state_text(run, "attempt_code", err_code_name(err_code(error)));
        run_set_state_text(run, "attempt_reason", error->message);
        if (!run_write(run, next_host, err))
            return false;
        if (run_state_text(run, "none_left"))
            return err_set(err, ERR_CONFLICT, "%s", run_state_text(run, "none_left"));
        if (!run_reload(run, err))
            return false;
    }
}

static bool
start(TaskRun *run, GError **err)
{
    Evacuation *evacuation = get(run, err);
    int64_t began = clock_monotonic();
    bool ok = evacuation && (!is_to_run(run) || try_hosts(run, err));

    phase_add_time(run, "start", clock_monotonic() - began);
    return ok;
}

static bool
commit_start(TaskRun *run, StoreTx *tx, GError **err)
{
    return is_to_run(run) ? part_record_clients(run, tx, err)
                          : part_forget_clients(tx, run->server_id, err);
}

/* A start that broke off: nothing may be left of it on its host. */
static bool
undo_start(TaskRun *run, GError **err)
{
    const char *host = run_state_text(run, "may_run");

    /* Not even set: what a former run did on the host that was chosen is not known. */
    if (!json_object_get(run->state, "may_run")) {
        run_set_state_text(run, "may_run", run->server->host);
        host = run->server->host;
    }
    if (!host)
        return true;
    if (!remove_there(run, host, err))
        return false;
    run_set_state_text(run, "may_run", NULL);
    return true;
}

/* ---- the end -----------------------------------------------------------------------------------
 */

static void
set_up(TaskRun *run, Server *server)
{
    bool runs = is_to_run(run);

    server->vm_state = runs ? VM_ACTIVE : VM_STOPPED;
    server->power_state = runs ? POWER_RUNNING : POWER_SHUTDOWN;
    server->task_state = TASK_NONE;
    server->fault_code = 0;
    text_set(&server->fault_message, NULL);
    text_set(&server->uncertainty, NULL);
    if (!runs)
        return;
    part_console_add(server, server->host);
    if (run_state_text(run, "machine"))
        text_set(&server->machine, run_state_text(run, "machine"));
    if (run_state_text(run, "cpu"))
        text_set(&server->cpu_xml, run_state_text(run, "cpu"));
    if (!server->launched_at)
        server->launched_at = clock_realtime();
}

static void
set_done(TaskRun *run, Migration *row)
{
    row->status = MIGRATION_DONE;
    row->active_at = row->ended_at = clock_realtime();
}

/* What a guest lost beside its disk's last unwritten bytes. */
static bool
say_what_was_lost(TaskRun *run, StoreTx *tx, GError **err)
{
    const char *before = run_state_text(run, "old_vm_state");
    const StoreCond where[] = {{"request_id", STORE_EQ, run->task->request_id, 0},
                               {"server_id", STORE_EQ, run->server_id, 0},
                               {NULL}};
    g_autoptr(Action) action = NULL;
    g_autofree char *text = NULL;
    ActionEvent row = {0};

    if (!before || !is_to_run(run) ||
        (strcmp(before, vm_state_names[VM_PAUSED]) != 0 &&
         strcmp(before, vm_state_names[VM_SUSPENDED]) != 0))
        return true;
    action = store_find(tx, &ACTION, where, err);
    if (!action)
        return false;
    text = g_strdup_printf("it was %s: its memory was lost with its node, and it has booted afresh",
                           before);
    row.action_id = action->id;
    row.event = (char *)"compute_rebuild_memory_lost";
    row.host = run->server->host;
    row.result = (char *)"Success";
    row.details = text;
    row.started_at = row.finished_at = clock_realtime();
    return store_insert(tx, &ACTION_EVENT, &row, err);
}

static bool
succeed(TaskRun *run, StoreTx *tx, GError **err)
{
    const Evacuation *evacuation = run->data;

    if (!run_update_server(run, tx, set_up, err) ||
        !update_migration(run, tx, "done", set_done, err) ||
        !part_finish_action(run, tx, "compute_rebuild_instance", run->server->host, NULL, err) ||
        !say_what_was_lost(run, tx, err))
        return false;
    fence_lift_soon(run->engine, evacuation->row->source_host);
    return true;
}

static bool
is_fenced(TaskRun *run)
{
    return run_state_text(run, "fenced") != NULL;
}

static void
set_as_before(TaskRun *run, Server *server)
{
    server->task_state = TASK_NONE;
}

static void
set_error(TaskRun *run, Server *server)
{
    const Evacuation *evacuation = run->data;
    const char *source = evacuation->row->source_host, *why = run_state_text(run, "reason");
    g_autofree char *text = NULL;

    server->task_state = TASK_NONE;
    server->vm_state = VM_ERROR;
    server->power_state = POWER_UNKNOWN;
    server->fault_code = 500;
    server->fault_at = clock_realtime();
    if (run_state_text(run, "may_run")) {
        text = g_strdup_printf("evacuated from %s, but whether it was started on %s is not known: "
                               "%s; when %s answers, reboot it with --hard; if that is dead, too, "
                               "evacuate it again",
                               source, server->host, why, server->host);
    } else {
        text = g_strdup_printf("not started elsewhere: %s; its disk is fenced from %s and free: "
                               "when a host can take it, evacuate it again, or, if %s is back, "
                               "reboot it with --hard",
                               why, source, source);
        text_set(&server->host, source);
        text_set(&server->uncertainty, NULL);
    }
    text_set(&server->fault_message, text);
}

static void
set_failed(TaskRun *run, Migration *row)
{
    row->status = is_fenced(run) ? MIGRATION_ERROR : MIGRATION_FAILED;
    row->ended_at = clock_realtime();
    text_set(&row->reason, run->task->error_message);
    text_set(&row->error_code, run->task->error_code);
}

static bool
fail(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    bool deleted = run->server && run->server->vm_state == VM_DELETED;

    run_set_state_text(run, "reason", reason->message);
    /* The run may have been taken up on its way back. */
    if (!run->data) {
        Evacuation *evacuation = run->data = g_new0(Evacuation, 1);

        evacuation->others = g_ptr_array_new_with_free_func(g_free);
        run->data_free = evacuation_free;
    }
    return read_evacuation(run, tx, err) &&
           (deleted ||
            run_update_server(run, tx, is_fenced(run) ? set_error : set_as_before, err)) &&
           update_migration(run, tx, NULL, set_failed, err) &&
           part_finish_action(run, tx, "compute_rebuild_instance", run->server->host, reason, err);
}

static const TaskStep steps[] = {
    {"verify", NULL, verify, commit_verify, NULL},
    {"power-off", NULL, power_off, commit_power_off, NULL},
    {"gather", NULL, gather, fence_commit_clients, NULL},
    {"fence", NULL, shut_out, commit_fence, fence_take_back},
    {"place", NULL, place, commit_place, NULL},
    {"start", NULL, start, commit_start, undo_start},
};

const TaskKind task_server_evacuate = {
    .name = "server-evacuate",
    .steps = steps,
    .n_steps = G_N_ELEMENTS(steps),
    .unreachable_wait_us = 60 * USEC_PER_SEC,
    .succeed = succeed,
    .fail = fail,
};
