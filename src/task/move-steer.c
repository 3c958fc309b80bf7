/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move-steer.c: stops a move under way, or brings it to its end, on request or when its time is up
 *
 * What is wanted is kept in the Move, and tried whenever something has changed, until the move is
 * over: libvirt answers an abort that comes before its job has begun with nothing at all, so it is
 * asked again; and a guest may only be forced once its memory crosses, since a guest that is
 * stopped before that arrives stopped.
 *
 * A move is forced by post-copy where its flags permit that: the guest runs on the destination at
 * once, and there is no way back. Else the guest is paused on the source: what is left is then
 * bounded, and libvirt, which remembers how it found the guest, lets it run where the move ends.
 * Which of the two is in the record before the node is asked, in the transaction that also looks
 * whether an abort was wished meanwhile: whoever wins there has won.
 *
 * The node is asked on a thread of its own: it may be slow in the moment of the switch, and that is
 * when the task must hear the destination. */
#include "task/move.h"

#define ASK_AGAIN_US (USEC_PER_SEC / 2)

const char *const move_force_phases[] = {
    [FORCE_NONE] = "transfer", [FORCE_PAUSE] = "pause", [FORCE_POSTCOPY] = "post-copy"};

typedef struct Request {
    TaskEngine *engine;
    Hosts *hosts;
    char *host, *uuid;
    int64_t task_id;
    MoveForce force; /* FORCE_NONE: abort */
} Request;

static void
request_thread(void *opaque)
{
    Request *request = opaque;
    RunMessage *message = g_new0(RunMessage, 1);
    int64_t deadline = DEADLINE_CONTROL;

    message->kind = request->force == FORCE_NONE ? RUN_ABORTED : RUN_FORCED;
    switch (request->force) {
    case FORCE_NONE:
        host_job_abort(request->hosts, request->host, request->uuid, deadline, &message->error);
        break;
    case FORCE_PAUSE:
        host_domain_pause(request->hosts, request->host, request->uuid, deadline, &message->error);
        break;
    case FORCE_POSTCOPY:
        host_migrate_postcopy(request->hosts, request->host, request->uuid, deadline,
                              &message->error);
        break;
    }
    engine_post(request->engine, request->uuid, request->task_id, message);
    g_free(request->host);
    g_free(request->uuid);
    g_free(request);
}

static void
ask(TaskRun *run, const Move *move, MoveForce force)
{
    Request *request = g_new0(Request, 1);

    *request = (Request){
        .engine = run->engine,
        .hosts = run_hosts(run),
        .host = g_strdup(move->migration->source_host),
        .uuid = g_strdup(run->task->server_id),
        .task_id = run->task->id,
        .force = force,
    };
    engine_start_helper(run->engine, "steer", request_thread, request);
}

/* ---- what is wanted -----------------------------------------------------------------------
 */

static bool
is_beyond(const Move *move)
{
    return move->resumed_on_dest || move->postcopy;
}

void
move_want_abort(TaskRun *run, Move *move, const char *reason)
{
    if (move->abort_reason)
        return;
    log_event(LOG_LEVEL_NOTICE, "task",
              is_beyond(move) ? "an abort comes too late: the guest runs on the destination"
                              : "aborting a move",
              "server", run->task->server_id, "source", move->migration->source_host, "dest",
              move->migration->dest_host, "reason", reason, NULL);
    if (!is_beyond(move))
        move->abort_reason = g_strdup(reason);
}

void
move_want_force(TaskRun *run, Move *move, const char *reason)
{
    if (move->abort_reason || move->force_reason || is_beyond(move))
        return;
    log_event(LOG_LEVEL_NOTICE, "task", "a move is to be forced to its end", "server",
              run->task->server_id, "source", move->migration->source_host, "dest",
              move->migration->dest_host, "reason", reason, NULL);
    move->force_reason = g_strdup(reason);
}

void
move_read_wish(TaskRun *run, Move *move)
{
    if (!move_get(run, NULL)) /* reads the row anew */
        return;
    switch (move->migration->wish) {
    case WISH_NONE:
        break;
    case WISH_ABORT:
        move_want_abort(run, move, "it was aborted on request");
        break;
    case WISH_FORCE_COMPLETE:
        move_want_force(run, move, "on request");
        break;
    }
}

/* ---- doing it -----------------------------------------------------------------------------
 */

static MoveForce
way_to_force(TaskRun *run, const Move *move)
{
    unsigned flags = (unsigned)run_state_int(run, "flags", 0);

    /* With parallel streams, post-copy has been seen to lose the guest on both nodes. */
    return flags & MIGRATE_POSTCOPY && !(flags & MIGRATE_PARALLEL) && !move->postcopy_refused
               ? FORCE_POSTCOPY
               : FORCE_PAUSE;
}

static bool
write_forced(TaskRun *run, StoreTx *tx, GError **err)
{
    g_autoptr(Migration) row = store_get_int(tx, &MIGRATION, run->task->migration_id, err);

    if (!row)
        return false;
    if (row->wish == WISH_ABORT || row->status != MIGRATION_RUNNING)
        return err_set(err, ERR_CANCELLED, "it is to be aborted");
    return move_update(run, tx, NULL, err) && run_save_state(run, tx, err);
}

/* Record how, then ask the node. */
static void
force(TaskRun *run, Move *move)
{
    MoveForce how = way_to_force(run, move);
    g_autoptr(GError) error = NULL;

    move_force_phase(run, how);
    if (!run_write(run, write_forced, &error)) {
        move_force_phase(run, FORCE_NONE);
        if (err_is(error, ERR_CANCELLED))
            move_read_wish(run, move);
        move->force_at = clock_monotonic() + ASK_AGAIN_US;
        return;
    }
    log_event(LOG_LEVEL_NOTICE, "task",
              how == FORCE_PAUSE ? "pausing a guest, so that its move can end"
                                 : "letting a move end by post-copy",
              "server", run->task->server_id, "source", move->migration->source_host, "reason",
              move->force_reason, NULL);
    move->forced = how;
    move->force_busy = true;
    ask(run, move, how);
}

/* Neither the end nor the switch is there yet; a pause of ours is no switch. */
static bool
can_steer(const Move *move)
{
    return !is_beyond(move) && !move->call_ended &&
           (move->began != SWITCH_BEGAN || move->forced == FORCE_PAUSE);
}

int64_t
move_steer(TaskRun *run, Move *move)
{
    int64_t now = clock_monotonic();

    if (!can_steer(move))
        return INT64_MAX;
    if (!move->abort_reason && move->force_reason && move->forced == FORCE_NONE &&
        !move->force_busy && move->streaming) {
        if (now < move->force_at)
            return move->force_at;
        force(run, move);
    }
    if (!move->abort_reason || move->abort_busy)
        return INT64_MAX;
    if (now < move->abort_at)
        return move->abort_at;
    move->abort_busy = true;
    ask(run, move, FORCE_NONE);
    return INT64_MAX;
}

static void
force_answered(TaskRun *run, Move *move, const GError *error)
{
    move->force_busy = false;
    if (!error)
        return;
    log_event(LOG_LEVEL_WARNING, "task",
              move->forced == FORCE_POSTCOPY ? "a move could not be ended by post-copy"
                                             : "cannot pause a guest to end its move",
              "server", run->task->server_id, "reason", error->message, NULL);
    if (is_beyond(move))
        return;
    /* One that has perhaps begun can only be asked for again. */
    move->postcopy_refused |= move->forced == FORCE_POSTCOPY && err_outcome_known(error);
    move->forced = FORCE_NONE;
    move->force_at = clock_monotonic() + (move->postcopy_refused ? 0 : ASK_AGAIN_US);
}

void
move_steered(TaskRun *run, Move *move, RunMessage *message)
{
    if (message->kind == RUN_FORCED) {
        force_answered(run, move, message->error);
        return;
    }
    move->abort_busy = false;
    move->abort_at = clock_monotonic() + ASK_AGAIN_US;
    if (message->error)
        log_event(LOG_LEVEL_WARNING, "task", "cannot abort a move", "server", run->task->server_id,
                  "host", move->migration->source_host, "reason", message->error->message, NULL);
}
