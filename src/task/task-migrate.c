/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-migrate.c: live migration
 *
 *   select ─► check ─► reserve ─► prepare ─► transfer ─► (switch) ─► commit ─► cleanup
 *
 * select orders the hosts by what the store knows; check asks them, best first, what only they
 * know: the guest's live CPU against their hypervisor, the bridges. reserve takes the first that
 * passes, in one transaction. prepare removes what an earlier move may have left on it. transfer
 * ends when the destination says that the guest runs; the transaction after it makes that the
 * truth: the server is ACTIVE on its new host. cleanup is the source's teardown and no longer the
 * guest's business.
 *
 * Invariant: server.host names the node that has the guest, or, between the switch and the commit,
 * had it an instant ago. */
#include <string.h>

#include "task/move-queue.h"
#include "task/move.h"

/* ---- the Move of a run
 * -------------------------------------------------------------------------------- */

static void
move_free(gpointer data)
{
    Move *move = data;

    migration_free(move->migration);
    g_clear_error(&move->call_error);
    g_free(move->abort_reason);
    g_free(move->force_reason);
    g_free(move);
}

static bool
read_migration(TaskRun *run, StoreTx *tx, GError **err)
{
    Move *move = run->data;
    Migration *row = store_get_int(tx, &MIGRATION, run->task->migration_id, err);

    if (!row)
        return false;
    migration_free(move->migration);
    move->migration = row;
    return true;
}

Move *
move_get(TaskRun *run, GError **err)
{
    Move *move = run->data;

    if (!move) {
        move = g_new0(Move, 1);
        move->began = SWITCH_NOT_KNOWN;
        run->data = move;
        run->data_free = move_free;
    }
    return run_read(run, read_migration, err) ? move : NULL;
}

/* ---- phases
 * -----------------------------------------------------------------------------------------------
 */

void
move_enter_phase(TaskRun *run, const char *phase)
{
    phase_enter(run, "queue", phase);
}

void
move_force_phase(TaskRun *run, MoveForce force)
{
    json_t *phases;

    move_enter_phase(run, move_force_phases[force]);
    for (MoveForce other = FORCE_PAUSE; other <= FORCE_POSTCOPY; other++) {
        const char *name = move_force_phases[other];

        phases = json_object_get(run->state, "phases");
        if (other == force) {
            phase_add_time(run, name, 0); /* it is there as soon as it begins */
        } else if (json_object_get(phases, name)) {
            phase_add_time(run, move_force_phases[FORCE_NONE],
                           json_integer_value(json_object_get(phases, name)));
            json_object_del(phases, name);
        }
    }
}

bool
move_update(TaskRun *run, StoreTx *tx, void (*change)(TaskRun *run, Migration *row), GError **err)
{
    g_autoptr(Migration) row = store_get_int(tx, &MIGRATION, run->task->migration_id, err);

    if (!row)
        return false;
    if (change)
        change(run, row);
    phase_record(run, row);
    if (json_object_get(run->state, "attempts")) {
        g_free(row->attempts);
        row->attempts = json_dumps(json_object_get(run->state, "attempts"), JSON_COMPACT);
    }
    return store_update(tx, &MIGRATION, row, err);
}

/* ---- select
 * -------------------------------------------------------------------------------------------------
 */

PlacementRequest
move_placement(const TaskSettings *settings, const Server *server, const Migration *migration)
{
    return (PlacementRequest){
        .vcpus = server->vcpus,
        .ram_mb = server->ram_mb,
        .only_host = migration->dest_given ? migration->dest_host : NULL,
        .exclude_host = migration->source_host,
        .needs_storage = true,
        .cpu_ratio = settings->cpu_ratio,
        .ram_ratio = settings->ram_ratio,
        .reserved_ram_mb = settings->reserved_ram_mb,
    };
}

/* The error of a choice from no host at all: what was tried before belongs to it. */
static bool
no_candidate(TaskRun *run, GError *error, GError **err)
{
    g_autoptr(GString) tried = g_string_new(NULL);

    move_append_attempts(run, tried);
    if (tried->len)
        g_prefix_error(&error, "%s; ", tried->str);
    g_propagate_error(err, error);
    return false;
}

/* candidates: those that fit and were not tried. A host that takes in as many moves as it may is
 * one of them, and looked at again when its turn comes. */
static bool
read_candidates(TaskRun *run, StoreTx *tx, GError **err)
{
    Move *move = run->data;
    PlacementRequest request = move_placement(run_settings(run), run->server, move->migration);
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, NULL, err), verdicts = NULL;
    g_autofree HostLoad *loads = NULL;
    g_autoptr(GError) error = NULL;
    json_t *names;

    if (!hosts)
        return false;
    loads = g_new0(HostLoad, hosts->len + 1);
    if (!store_host_loads(tx, hosts, loads, err))
        return false;
    for (guint i = 0; i < hosts->len && move->migration->dest_given; i++)
        if (g_strcmp0(loads[i].host->name, move->migration->dest_host) ==
            0) { /* our own reservation is no load on it */
            loads[i].ram_mb_used -= run->server->ram_mb;
            loads[i].vcpus_used -= run->server->vcpus;
        }
    g_free(placement_choose(&request, loads, hosts->len, &error));
    if (error)
        return no_candidate(run, g_steal_pointer(&error), err);
    verdicts = placement_judge(&request, loads, hosts->len);
    json_object_set_new(run->state, "candidates", names = json_array());
    for (guint i = 0; i < verdicts->len; i++) {
        const PlacementVerdict *verdict = g_ptr_array_index(verdicts, i);

        if (!verdict->reason && !move_was_tried(run, verdict->host->name))
            json_array_append_new(names, json_string(verdict->host->name));
    }
    return true;
}

static bool
select_hosts(TaskRun *run, GError **err)
{
    const char *phase = run_state_text(run, "phase");

    if (!phase || strcmp(phase, "queue") == 0)
        move_enter_phase(run, "select");
    return move_get(run, err) && run_read(run, read_candidates, err);
}

static void
set_preparing(TaskRun *run, Migration *row)
{
    row->status = MIGRATION_PREPARING;
}

static bool
commit_select(TaskRun *run, StoreTx *tx, GError **err)
{
    move_enter_phase(run, "check");
    return move_update(run, tx, set_preparing, err);
}

/* ---- check
 * ----------------------------------------------------------------------------------------------------
 */

typedef struct Pair {
    const char *source, *dest;
    Host *source_row, *dest_row;
} Pair;

static bool
read_pair(StoreTx *tx, void *opaque, GError **err)
{
    Pair *pair = opaque;
    const StoreCond from[] = {{"name", STORE_EQ, pair->source, 0}, {NULL}},
                    to[] = {{"name", STORE_EQ, pair->dest, 0}, {NULL}};

    pair->source_row = store_find(tx, &HOST, from, err);
    pair->dest_row = pair->source_row ? store_find(tx, &HOST, to, err) : NULL;
    return pair->dest_row != NULL;
}

static void
pair_clear(Pair *pair)
{
    host_free(pair->source_row);
    host_free(pair->dest_row);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pair, pair_clear)

/* Flags in effect: the configured ones; persistence is ours; a directory is known to be shared,
 * which libvirt cannot know. */
static unsigned
effective_flags(const LibvirtSettings *settings)
{
    return settings->migrate_flags | MIGRATE_LIVE | MIGRATE_PEER2PEER | MIGRATE_PERSIST_DEST |
           MIGRATE_UNDEFINE_SOURCE | MIGRATE_UNSAFE;
}

static bool
check_host(TaskRun *run, Move *move, const char *cpu, const char *dest, GError **err)
{
    const LibvirtSettings *settings = run_settings(run)->libvirt;
    unsigned flags = effective_flags(settings);
    g_auto(Pair) pair = {.source = move->migration->source_host, .dest = dest};
    g_autofree char *uri = NULL, *scheme = NULL, *flag_names = NULL;
    const char *encryption;
    MigrateContext context;

    if (!store_read(run_store(run), read_pair, &pair, err))
        return false;
    uri = settings->migration_uri ? host_uri_fill(settings->migration_uri, pair.dest_row->address)
                                  : host_uri_for_peers(pair.dest_row->uri, pair.dest_row->address);
    scheme = migrate_scheme(uri);
    context = (MigrateContext){pair.source_row->libvirt_version, pair.source_row->qemu_version,
                               pair.dest_row->libvirt_version, pair.dest_row->qemu_version,
                               settings->inbound_addr != NULL};
    if (!migrate_encrypt(
            settings,
            &(MigrateWire){scheme, pair.source_row->encryption, pair.dest_row->encryption}, &flags,
            &encryption, err)) {
        g_prefix_error(err, "%s to %s: ", move->migration->source_host, dest);
        return false;
    }
    if (!migrate_flags_check(flags, &context, err))
        return false;
    if (cpu && !host_cpu_compare(run_hosts(run), dest, cpu, settings->virt_type,
                                 run->server->machine, DEADLINE_CONTROL, err)) {
        g_prefix_error(err,
                       err && err_is(*err, ERR_UNSUPPORTED)
                           ? "the guest's CPU does not fit %s: "
                           : "cannot see whether the guest's CPU fits %s: ",
                       dest);
        return false;
    }
    if (!part_check_bridges(run, dest, err))
        return false;
    flag_names = migrate_flags_format(flags);
    run_set_state_text(run, "dest", dest);
    run_set_state_text(run, "dest_uri", uri);
    run_set_state_text(run, "dest_stream_address",
                       pair.dest_row->migration_address ? pair.dest_row->migration_address
                                                        : pair.dest_row->address);
    run_set_state_int(run, "flags", flags);
    run_set_state_text(run, "flag_names", flag_names);
    run_set_state_text(run, "encryption", encryption);
    return true;
}

typedef struct PlaceQuestion {
    TaskRun *run;
    const char *host;
    bool has_place;
} PlaceQuestion;

static bool
read_place(StoreTx *tx, void *opaque, GError **err)
{
    PlaceQuestion *question = opaque;

    return move_queue_has_place(tx, run_settings(question->run), question->host,
                                question->run->task->migration_id, &question->has_place, err);
}

/* One that was given was admitted with its place. */
static bool
has_place(TaskRun *run, const Move *move, const char *host)
{
    PlaceQuestion question = {run, host, true};

    return move->migration->dest_given ||
           !store_read(run_store(run), read_place, &question, NULL) || question.has_place;
}

/* The first candidate that passes and has a place; with none, the reasons of all. */
static bool
check(TaskRun *run, GError **err)
{
    Move *move = move_get(run, err);
    g_autofree char *cpu = NULL;
    g_autoptr(GString) reasons = g_string_new(NULL);
    ErrCode code = ERR_CONFLICT;
    bool full = false;
    json_t *name;
    size_t i;

    if (!move)
        return false;
    cpu = host_domain_cpu(run_hosts(run), move->migration->source_host, run->server->id,
                          DEADLINE_CONTROL, err);
    if (!cpu)
        return false;
    json_array_foreach(json_object_get(run->state, "candidates"), i, name)
    {
        g_autoptr(GError) error = NULL;
        const char *host = json_string_value(name);

        if (!has_place(run, move, host)) {
            full = true;
            continue;
        }
        if (check_host(run, move, cpu, host, &error))
            return true;
        code = err_code(error) == ERR_UNREACHABLE || err_code(error) == ERR_TIMEOUT
                   ? ERR_BACKEND
                   : err_code(error);
        if (move->migration->dest_given)
            g_string_append(reasons, error->message);
        else
            move_note_attempt(run, host, error);
    }
    if (full)
        return move_put_back(run, err);
    move_append_attempts(run, reasons);
    return err_set(err, code, "%s", reasons->len ? reasons->str : "no host is left to move to");
}

/* ---- reserve
 * ----------------------------------------------------------------------------------------------------
 */

static void
set_reserved(TaskRun *run, Migration *row)
{
    row->status = MIGRATION_RUNNING;
    row->started_at = clock_realtime();
    text_set(&row->dest_host, run_state_text(run, "dest"));
    text_set(&row->flags, run_state_text(run, "flag_names"));
    text_set(&row->encryption, run_state_text(run, "encryption"));
}

static bool
reserve_now(TaskRun *run, GError **err)
{
    return move_get(run, err) != NULL; /* the reservation is the transaction below */
}

static bool
commit_check(TaskRun *run, StoreTx *tx, GError **err)
{
    move_enter_phase(run, "reserve");
    return true;
}

/* In this very transaction the host must have a place for it still. */
static bool
reserve_host(TaskRun *run, StoreTx *tx, const Move *move, GError **err)
{
    PlacementRequest request = move_placement(run_settings(run), run->server, move->migration);
    const char *dest = run_state_text(run, "dest");
    g_autofree char *chosen = NULL;
    bool has_room;

    request.only_host = dest;
    if (!move_queue_has_place(tx, run_settings(run), dest, move->migration->id, &has_room, err))
        return false;
    return has_room ? part_choose_host(run, tx, &request, &chosen, err) : move_put_back(run, err);
}

static bool
commit_reserve(TaskRun *run, StoreTx *tx, GError **err)
{
    const Move *move = run->data;

    /* a given host is reserved since the request */
    if (!move->migration->dest_given && !reserve_host(run, tx, move, err))
        return false;
    move_enter_phase(run, "prepare");
    return move_update(run, tx, set_reserved, err);
}

/* ---- prepare
 * ------------------------------------------------------------------------------------------------------
 */

static bool
prepare(TaskRun *run, GError **err)
{
    Move *move = move_get(run, err);
    g_autoptr(DomainInfo) there = NULL;
    const char *dest;

    if (!move)
        return false;
    task_engine_wake(run->engine); /* it no longer stands in the way to other hosts */
    dest = move->migration->dest_host;
    there = host_domain_probe(run_hosts(run), dest, run->server->id, DEADLINE_CONTROL, err);
    if (!there)
        return false;
    if (there->state == DOMAIN_ABSENT)
        return true;
    if (there->state == DOMAIN_SHUTOFF && there->ours) /* left by a move that was cut off */
        return host_domain_undefine(run_hosts(run), dest, run->server->id, DEADLINE_CONTROL, err);
    return err_set(err, ERR_CONFLICT,
                   "%s already has a domain with the id of this server (%s, %s), not touching it",
                   dest, there->name, domain_state_names[there->state]);
}

static bool
commit_prepare(TaskRun *run, StoreTx *tx, GError **err)
{
    move_enter_phase(run, "transfer");
    return move_update(run, tx, NULL, err);
}

/* ---- transfer, switch, commit
 * ---------------------------------------------------------------------------------------- */

static void
set_on_dest(TaskRun *run, Server *server)
{
    const Move *move = run->data;

    text_set(&server->host, move->migration->dest_host);
    part_console_add(server, server->host);
    server->task_state = TASK_NONE;
    server->vm_state = server->vm_state == VM_PAUSED ? VM_PAUSED : VM_ACTIVE;
    server->power_state = server->vm_state == VM_PAUSED ? POWER_PAUSED : POWER_RUNNING;
    text_set(&server->uncertainty, run_state_text(run, "uncertainty"));
}

static void
set_switched(TaskRun *run, Migration *row)
{
    const Move *move = run->data;
    int64_t now = clock_realtime();

    row->status = MIGRATION_POST_MIGRATING;
    row->active_at = now;
    /* The driver's clock is monotonic, the record's is not: carry the distance over. */
    row->resumed_at = move->resumed_at ? now - (clock_monotonic() - move->resumed_at) : now;
    row->downtime_limit_ms = move->downtime_limit_ms;
}

/* The clock saw transfer, switch and commit as one; split them. A guest that was paused on request
 * stands still from then on, so that no switch is to be told apart; of a post-copy the switch lies
 * in the middle. */
static void
record_switch(TaskRun *run, const Move *move)
{
    int64_t now = clock_monotonic(), before, after = 0, switching = -1;
    g_autofree char *phase = g_strdup(run_state_text(run, "phase"));
    json_t *phases;

    move_enter_phase(run, "cleanup");
    if (!phase || !move->resumed_at || !move->suspended_at || move->resumed_at < move->suspended_at)
        return;
    if (strcmp(phase, "pause") != 0)
        switching = move->resumed_at - move->suspended_at;
    if (strcmp(phase, "post-copy") != 0)
        after = now - move->resumed_at;
    phases = json_object_get(run->state, "phases");
    before = json_integer_value(json_object_get(phases, phase)) - MAX(switching, 0) - after;
    json_object_set_new(phases, phase, json_integer(MAX(before, 0)));
    if (switching >= 0)
        json_object_set_new(phases, "switch", json_integer(switching));
    if (after)
        json_object_set_new(phases, "commit", json_integer(after));
}

static bool
commit_transfer(TaskRun *run, StoreTx *tx, GError **err)
{
    const Move *move = run->data;

    record_switch(run, move);
    return run_update_server(run, tx, set_on_dest, err) &&
           move_update(run, tx, set_switched, err) &&
           part_finish_action(run, tx, "compute_live_migration", move->migration->dest_host, NULL,
                              err);
}

/* A pause that was to help the move is nobody's wish once the move is off. */
static bool
end_pause(TaskRun *run, const Move *move, GError **err)
{
    if (g_strcmp0(run_state_text(run, "phase"), move_force_phases[FORCE_PAUSE]) != 0 ||
        g_strcmp0(run_state_text(run, "end"), "source") != 0 || run->server->vm_state == VM_PAUSED)
        return true;
    return host_domain_resume(run_hosts(run), move->migration->source_host, run->task->server_id,
                              DEADLINE_CONTROL, err);
}

/* Only ever after the guest was seen to run on the source, or to run nowhere. */
static bool
undo_transfer(TaskRun *run, GError **err)
{
    Move *move = move_get(run, err);
    const char *end = run_state_text(run, "end");
    const char *id = run->task->server_id, *dest;
    g_autoptr(DomainInfo) there = NULL;

    if (!move || !end_pause(run, move, err))
        return false;
    dest = move->migration->dest_host;
    if (!end || strcmp(end, "unknown") == 0 || strcmp(end, "split") == 0 ||
        !hosts_is_connected(run_hosts(run), dest))
        return true; /* the sweep after a reconnect looks after it */
    there = host_domain_probe(run_hosts(run), dest, id, DEADLINE_CONTROL, err);
    if (!there)
        return false;
    /* one whose libvirtd was started anew does not know any more that it was coming in */
    if ((there->state == DOMAIN_PAUSED_INCOMING || there->state == DOMAIN_PAUSED_MIGRATED) &&
        !host_domain_destroy(run_hosts(run), dest, id, DEADLINE_CONTROL, err))
        return false;
    if (there->state == DOMAIN_RUNNING || there->state == DOMAIN_ABSENT)
        return true;
    return host_domain_undefine(run_hosts(run), dest, id, DEADLINE_CONTROL, err);
}

/* ---- the end
 * ----------------------------------------------------------------------------------------------------------
 */

static void
set_completed(TaskRun *run, Migration *row)
{
    const Move *move = run->data;

    row->status = MIGRATION_COMPLETED;
    row->ended_at = clock_realtime();
    row->eta_ms = 0;
    if (move && move->have_stats) {
        row->downtime_ms = move->stats.downtime_ms;
        row->total_ms = move->stats.elapsed_ms;
        row->memory_total = MAX(move->stats.memory_total, 0);
        row->memory_processed = MAX(move->stats.memory_processed, 0);
        row->memory_remaining = 0;
        row->memory_bps = MAX(move->stats.memory_bps, row->memory_bps);
        row->iterations = MAX(move->stats.iteration, row->iterations);
    }
    text_set(&row->reason, run_state_text(run, "uncertainty"));
}

static void
set_lost(TaskRun *run, Server *server)
{
    server->vm_state = VM_ERROR;
    server->power_state = POWER_SHUTDOWN;
    server->fault_code = 500;
    server->fault_at = clock_realtime();
    text_set(&server->fault_message, "the hypervisor reported the move as done, but the guest runs "
                                     "on no node; its disk is intact: reboot it with --hard");
}

static void
set_uncertainty(TaskRun *run, Server *server)
{
    text_set(&server->uncertainty, run_state_text(run, "uncertainty"));
}

static bool
succeed(TaskRun *run, StoreTx *tx, GError **err)
{
    bool lost = g_strcmp0(run_state_text(run, "end"), "nowhere") == 0;

    move_enter_phase(run, "done");
    return run_update_server(run, tx, lost ? set_lost : set_uncertainty, err) &&
           move_update(run, tx, set_completed, err);
}

static void
set_failed(TaskRun *run, Migration *row)
{
    const char *phase = run_state_text(run, "phase");
    bool touched = phase && (strcmp(phase, "transfer") == 0 || strcmp(phase, "pause") == 0 ||
                             strcmp(phase, "post-copy") == 0);

    row->status = g_strcmp0(run->task->error_code, err_code_name(ERR_CANCELLED)) == 0
                      ? MIGRATION_CANCELLED
                  : touched ? MIGRATION_ERROR
                            : MIGRATION_FAILED;
    row->ended_at = clock_realtime();
    row->eta_ms = 0;
    text_set(&row->reason, run->task->error_message);
    text_set(&row->error_code, run->task->error_code);
}

static void
set_where_it_is(TaskRun *run, Server *server)
{
    const char *end = run_state_text(run, "end");

    server->task_state = TASK_NONE;
    text_set(&server->uncertainty, run_state_text(run, "uncertainty"));
    if (g_strcmp0(end, "stopped") == 0) {
        server->vm_state = VM_STOPPED;
        server->power_state = POWER_SHUTDOWN;
    } else if (g_strcmp0(end, "nowhere") == 0 || g_strcmp0(end, "split") == 0) {
        server->vm_state = VM_ERROR;
        server->power_state = POWER_SHUTDOWN;
        server->fault_code = 500;
        server->fault_at = clock_realtime();
        text_set(&server->fault_message, run->task->error_message);
    }
}

static bool
fail(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    g_autofree char *phase = g_strdup(run_state_text(run, "phase"));

    move_enter_phase(run, phase ? phase : "queue");
    return run_update_server(run, tx, set_where_it_is, err) &&
           move_update(run, tx, set_failed, err) &&
           part_finish_action(run, tx, "compute_live_migration", run->server->host, reason, err);
}

/* The guest runs on already: who has its disks open now is looked at last. */
static bool
clean_up(TaskRun *run, GError **err)
{
    return move_clean_up(run, err) &&
           (!run->server->host || part_observe_clients(run, run->server->host, err));
}

static const TaskStep steps[] = {
    {"select", NULL, select_hosts, commit_select, NULL},
    {"check", NULL, check, commit_check, NULL},
    {"reserve", NULL, reserve_now, commit_reserve, NULL},
    {"prepare", NULL, prepare, commit_prepare, NULL},
    {"transfer", NULL, move_transfer, commit_transfer, undo_transfer},
    {"cleanup", NULL, clean_up, part_record_clients, NULL},
};

static bool
wants_end(TaskRun *run, GError **err)
{
    const Move *move = move_get(run, NULL);

    if (!move || move->migration->wish != WISH_ABORT)
        return false;
    err_set(err, ERR_CANCELLED, "it was aborted on request before the guest was touched");
    return true;
}

const TaskKind task_server_live_migrate = {
    .name = "server-live-migrate",
    .steps = steps,
    .n_steps = G_N_ELEMENTS(steps),
    .unreachable_wait_us = 60 * USEC_PER_SEC,
    .succeed = succeed,
    .fail = fail,
    .cancel_through = 3, /* prepare */
    .wants_end = wants_end,
    .again = move_again,
};
