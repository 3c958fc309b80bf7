/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move-watch.c: from the start of a live migration's transfer to the end of its clean-up
 *
 * The source's libvirtd carries the move; we start it and listen. What ends the transfer is an
 * event: the destination says that the guest runs there, or the source says that it runs on.
 * Anything else (the call's return, a lost connection, a silent second) only makes us look: ask
 * both nodes, let move_judge say what it means, and look again until it means something or time is
 * up. */
#include <string.h>

#include "task/move.h"

#define LOOK_AGAIN_US  USEC_PER_SEC
#define UNREACHABLE_US (45 * USEC_PER_SEC) /* unless TaskSettings says otherwise */
#define TEARDOWN_US    (5 * USEC_PER_SEC)  /* normal teardown takes 1–2 s */
#define CALL_GRACE_US \
    (15 * USEC_PER_SEC) /* after the end is clear: for the call to return with its reason */

typedef struct Watch {
    int64_t give_up_at;  /* monotonic; INT64_MAX: no node is missing */
    int64_t stuck_at;    /* both nodes wait for each other and no call is left that could end it;
                            INT64_MAX: no */
    int64_t split_at;    /* post-copy broke: given up then */
    int64_t progress_at; /* next statistics */
    int64_t timeout_at;  /* completion time-out */
    int64_t steer_at;    /* what is wanted of the move is to be asked for again */
    bool look;           /* something happened that calls for a look */
    bool source_rolled_back;
} Watch;

static int64_t
unreachable_wait(TaskRun *run)
{
    return run_settings(run)->unreachable_wait_us ? run_settings(run)->unreachable_wait_us
                                                  : UNREACHABLE_US;
}

void
move_look(TaskRun *run, Move *move, Seen *source, Seen *dest)
{
    const char *id = run->task->server_id;
    g_autoptr(DomainInfo) there =
        host_domain_probe(run_hosts(run), move->migration->dest_host, id, DEADLINE_CONTROL, NULL);
    g_autoptr(DomainInfo) here =
        host_domain_probe(run_hosts(run), move->migration->source_host, id, DEADLINE_CONTROL, NULL);

    *dest = there ? seen_of(there, false) : SEEN_UNREACHABLE;
    *source = here ? seen_of(here, true) : SEEN_UNREACHABLE;
    move->is_split = there && there->state == DOMAIN_PAUSED_POSTCOPY_FAILED &&
                     *source != SEEN_RUNNING && *source != SEEN_MOVING;
}

/* ---- messages
 * ----------------------------------------------------------------------------------------- */

static void
on_domain_event(Move *move, Watch *watch, const HostEvent *event)
{
    bool source = g_strcmp0(event->host, move->migration->source_host) == 0;
    bool dest = g_strcmp0(event->host, move->migration->dest_host) == 0;

    switch (event->change) {
    case DOMAIN_SUSPENDED_MIGRATED: /* also what a pause of ours looks like */
    case DOMAIN_SUSPENDED_POSTCOPY:
        if (source) {
            move->began = SWITCH_BEGAN;
            move->suspended_at = move->suspended_at ? move->suspended_at : event->at;
            move->postcopy |= event->change == DOMAIN_SUSPENDED_POSTCOPY;
        }
        break;
    case DOMAIN_RESUMED_POSTCOPY:
        move->postcopy |= dest;
        /* fall through */
    case DOMAIN_RESUMED_MIGRATED:
        if (dest) {
            move->resumed_at = move->resumed_at ? move->resumed_at : event->at;
            /* By post-copy, it needs its source until that is gone. */
            if (move->postcopy || move->forced == FORCE_POSTCOPY)
                watch->look = true;
            else
                move->resumed_on_dest = true;
        } else if (source) {
            watch->source_rolled_back = watch->look = true;
        }
        break;
    case DOMAIN_STOPPED_MIGRATED:
        if (source)
            move->source_stopped = watch->look = true;
        break;
    case DOMAIN_STOPPED_SHUTDOWN:
    case DOMAIN_STOPPED_DESTROYED:
    case DOMAIN_STOPPED_CRASHED:
        if (event->change != DOMAIN_STOPPED_DESTROYED || source)
            move->guest_stopped = true;
        watch->look = true;
        break;
    case DOMAIN_STOPPED_FAILED:
    case DOMAIN_STOPPED_SAVED:
    case DOMAIN_RESUMED:
    case DOMAIN_SUSPENDED:
        watch->look = true;
        break;
    case DOMAIN_DEFINED:
    case DOMAIN_UNDEFINED:
    case DOMAIN_STARTED:
    case DOMAIN_STARTED_INCOMING:
    case DOMAIN_REBOOTED:
        break;
    }
}

static void
on_event(TaskRun *run, Move *move, Watch *watch, const HostEvent *event)
{
    switch (event->kind) {
    case HOST_EVENT_DOMAIN:
        on_domain_event(move, watch, event);
        break;
    case HOST_EVENT_ITERATION:
        move->streaming = true;
        move_read_progress(run, move, event->number);
        break;
    case HOST_EVENT_JOB_COMPLETED:
        move->stats = event->stats;
        move->have_stats = true;
        watch->look = !move->call_running;
        break;
    case HOST_EVENT_DISCONNECTED:
        /* What the source said since is lost; it may have been stopped, and have come back. */
        if (move->began == SWITCH_NOT_BEGUN &&
            g_strcmp0(event->host, move->migration->source_host) == 0)
            move->began = SWITCH_NOT_KNOWN;
        /* fall through */
    case HOST_EVENT_CONNECTED:
        watch->look = true;
        break;
    }
}

static void
on_message(TaskRun *run, Move *move, Watch *watch, RunMessage *message)
{
    switch (message->kind) {
    case RUN_EVENT:
        on_event(run, move, watch, message->event);
        break;
    case RUN_MOVE_END:
        move->call_running = false;
        move->call_ended = watch->look = true;
        move->call_error = g_steal_pointer(&message->error);
        break;
    case RUN_PROGRESS:
        move->progress_busy = false;
        move->downtime_limit_ms = message->downtime_limit_ms;
        if (message->memory_processed > move->memory_processed) {
            move->memory_processed = message->memory_processed;
            move->streaming = true;
            /* nobody waits as long as memory crosses */
            watch->stuck_at = watch->split_at = INT64_MAX;
        }
        if (!message->error && !message->job_active && !move->call_running)
            watch->look = true;
        break;
    case RUN_CANCEL:
        move_want_abort(run, move,
                        run_is_evacuated(run) ? "the server is being evacuated"
                                              : "the server is being deleted");
        watch->look = true;
        break;
    case RUN_ABORTED:
    case RUN_FORCED:
        move_steered(run, move, message);
        break;
    case RUN_WISH:
        move_read_wish(run, move);
        break;
    }
}

/* ---- transfer
 * ------------------------------------------------------------------------------------------ */

static void
on_call_end(const char *host, const char *uuid, GError *error, void *opaque)
{
    struct {
        TaskEngine *engine;
        int64_t task_id;
    } *whose = opaque;
    RunMessage *message = g_new0(RunMessage, 1);

    message->kind = RUN_MOVE_END;
    message->error = error;
    engine_post(whose->engine, uuid, whose->task_id, message);
    g_free(whose);
}

static bool
start_call(TaskRun *run, Move *move, GError **err)
{
    const LibvirtSettings *settings = run_settings(run)->libvirt;
    const char *uri = run_state_text(run, "dest_uri"),
               *encryption = run_state_text(run, "encryption");
    g_autoptr(MoveSpec) spec = g_new0(MoveSpec, 1);
    struct {
        TaskEngine *engine;
        int64_t task_id;
    } * whose;

    if (!uri || !encryption ||
        (settings->require_encryption && strcmp(encryption, "plaintext") == 0))
        return err_set(err, ERR_CONFLICT,
                       "another version of godwitd, or one with other settings, prepared this "
                       "move; ask for it again");
    whose = g_malloc0(sizeof *whose);
    spec->uuid = g_strdup(run->task->server_id);
    spec->dest_uri = g_strdup(uri);
    spec->flags = (unsigned)run_state_int(run, "flags", 0);
    if (!(spec->flags & MIGRATE_TUNNELLED))
        spec->migrate_uri = host_uri_fill("tcp://%s", run_state_text(run, "dest_stream_address"));
    spec->bandwidth_mib_s = settings->bandwidth_mib_s;
    spec->downtime_ms = move->downtime_limit_ms;
    spec->parallel_connections = settings->parallel_connections;
    whose->engine = run->engine;
    whose->task_id = run->task->id;
    if (!host_migrate_start(run_hosts(run), move->migration->source_host, spec, on_call_end, whose,
                            err)) {
        g_free(whose);
        return false;
    }
    log_event(strcmp(encryption, "plaintext") == 0 ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "task",
              strcmp(encryption, "plaintext") == 0
                  ? "a guest's memory crosses the network in PLAINTEXT: a move begins"
                  : "a move begins",
              "server", run->task->server_id, "source", move->migration->source_host, "dest",
              move->migration->dest_host, "encryption", encryption, "flags",
              run_state_text(run, "flag_names"), "uri", uri, NULL);
    move->call_running = true;
    move->began = SWITCH_NOT_BEGUN;
    move_force_phase(run, FORCE_NONE);
    return true;
}

static bool
ends_as(TaskRun *run, const char *end, GError **err, ErrCode code, const char *text,
        const Move *move)
{
    const char *why = move->abort_reason ? move->abort_reason
                      : move->call_error ? move->call_error->message
                                         : NULL;

    run_set_state_text(run, "end", end);
    return why ? err_set(err, code, "%s: %s", text, why) : err_set(err, code, "%s", text);
}

/* What did the call say, as a code whose outcome is known: the outcome has been looked at. */
static ErrCode
settled_code(const Move *move)
{
    ErrCode code = move->call_error ? err_code(move->call_error) : ERR_BACKEND;

    if (move->abort_reason)
        return ERR_CANCELLED;
    return code == ERR_UNREACHABLE || code == ERR_TIMEOUT ? ERR_BACKEND : code;
}

/* The call's own reason is the best one: give it a moment once the end is clear. */
static void
wait_for_reason(TaskRun *run, Move *move, Watch *watch)
{
    int64_t until = clock_monotonic() + CALL_GRACE_US;

    while (move->call_running && clock_monotonic() < until && !run_is_stopping(run)) {
        g_autoptr(RunMessage) message = run_receive(run, until, NULL);

        if (message)
            on_message(run, move, watch, message);
    }
}

/* Is the destination to blame, and did the guest never stand still? Then another host may do. */
static void
judge_retry(TaskRun *run, const Move *move)
{
    ErrCode code = move->call_error ? err_code(move->call_error) : ERR_BUG;

    if (!move->abort_reason && move->call_ended && move->began == SWITCH_NOT_BEGUN &&
        (code == ERR_BACKEND || code == ERR_UNREACHABLE || code == ERR_TIMEOUT))
        run_set_state_text(run, "retry", "yes");
}

/* The source is taken for dead, and somebody waits for the end of this move to start the guest
 * elsewhere: what the destination says is enough. It must not go on there by itself later. */
static void
settle_without_source(TaskRun *run, Move *move, Watch *watch, Seen *dest)
{
    bool is_whole = *dest != SEEN_INCOMING && !move->is_split;

    if (!is_whole && host_domain_destroy(run_hosts(run), move->migration->dest_host,
                                         run->task->server_id, DEADLINE_CONTROL, NULL)) {
        *dest = SEEN_GONE;
        move->is_split = false;
        is_whole = true;
    }
    if (is_whole)
        watch->give_up_at = 0;
}

/* The two daemons each wait for the other, and the call that drove them is gone. The destination
 * never ran: it is removed, and what the judge says next is clear. */
static void
break_tie(TaskRun *run, Move *move, Watch *watch, Seen source, Seen dest)
{
    if (move->call_running || source == SEEN_MOVING || source == SEEN_POSTCOPY ||
        dest != SEEN_INCOMING) {
        watch->stuck_at = INT64_MAX;
    } else if (watch->stuck_at == INT64_MAX) {
        watch->stuck_at = clock_monotonic() + unreachable_wait(run);
    } else if (clock_monotonic() >= watch->stuck_at) {
        log_event(LOG_LEVEL_WARNING, "task",
                  "removing a destination that waits for a source that has given up", "server",
                  run->task->server_id, "dest", move->migration->dest_host, NULL);
        host_domain_destroy(run_hosts(run), move->migration->dest_host, run->task->server_id,
                            DEADLINE_CONTROL, NULL);
        watch->stuck_at = INT64_MAX;
    }
}

/* Post-copy that broke: half of the memory is here and half there, or no longer anywhere; or it
 * just does not go on, and no call is left that could say why. It does not mend by itself; what an
 * operator may do with virsh within that time is not stood in the way of. */
static bool
is_past_mending(TaskRun *run, const Move *move, Watch *watch, Seen source, Seen dest)
{
    bool halted = move->is_split || (source == SEEN_POSTCOPY && !move->call_running &&
                                     dest != SEEN_UNREACHABLE && dest != SEEN_GONE);

    if (!halted)
        watch->split_at = INT64_MAX;
    else if (watch->split_at == INT64_MAX)
        watch->split_at = clock_monotonic() + unreachable_wait(run);
    return clock_monotonic() >= watch->split_at;
}

static char *
describe_split(Seen source, const char *from, const char *to)
{
    if (source == SEEN_UNREACHABLE)
        return g_strdup_printf(
            "post-copy broke off: half of the guest's memory is on %s, which does not answer, and "
            "it cannot run on %s without it; when %s is back, give the guest up with 'virsh "
            "destroy' on both and reboot it with --hard; if %s is dead, 'virsh destroy' it on %s "
            "and evacuate it",
            from, to, from, from, to);
    if (source == SEEN_GONE)
        return g_strdup_printf(
            "post-copy broke off: half of the guest's memory was lost on %s, and it cannot run on "
            "%s without it; its disk is intact: 'virsh destroy' it on %s and reboot it with --hard",
            from, to, to);
    return g_strdup_printf(
        "post-copy broke off: half of the guest's memory is on %s, half on %s, and it runs on "
        "neither; give it up with 'virsh destroy' on both and reboot it with --hard, or try 'virsh "
        "migrate --postcopy-resume' first",
        from, to);
}

/* Both nodes were asked. 1: on the destination; 0: look again later; -1: it failed, *err set. */
static int
conclude(TaskRun *run, Move *move, Watch *watch, GError **err)
{
    /* the row is read anew when a wish comes */
    g_autofree char *from = g_strdup(move->migration->source_host),
                    *to = g_strdup(move->migration->dest_host), *text = NULL;
    Seen source, dest;
    MoveVerdict verdict;

    move_look(run, move, &source, &dest);
    move->postcopy |= source == SEEN_POSTCOPY;
    verdict = move_judge(source, dest, move->began);
    log_event(LOG_LEVEL_DEBUG, "task", "looked at a move", "server", run->task->server_id, "source",
              seen_names[source], "dest", seen_names[dest], "verdict", move_verdict_names[verdict],
              NULL);
    if (source == SEEN_UNREACHABLE || dest == SEEN_UNREACHABLE)
        watch->give_up_at = MIN(watch->give_up_at, clock_monotonic() + unreachable_wait(run));
    else
        watch->give_up_at = INT64_MAX;
    if (source == SEEN_UNREACHABLE && run_is_evacuated(run))
        settle_without_source(run, move, watch, &dest);
    if (is_past_mending(run, move, watch, source, dest)) {
        text = describe_split(source, from, to);
        ends_as(run, "split", err, settled_code(move), text, move);
        return -1;
    }
    if (move->is_split)
        return 0;

    switch (verdict) {
    case MOVE_SWITCHED:
    case MOVE_SWITCHED_STOP_SOURCE:
        return 1;
    case MOVE_ROLLED_BACK:
        if (move->call_running && !watch->source_rolled_back)
            return 0; /* it has not begun, or the call is about to say why it ended */
        wait_for_reason(run, move, watch);
        move_explain_tls(run, move);
        judge_retry(run, move);
        text = g_strdup_printf("the move to %s %s, the guest runs on %s", to,
                               move->abort_reason ? "was aborted" : "failed", from);
        ends_as(run, "source", err, settled_code(move), text, move);
        return -1;
    case MOVE_RESUME_SOURCE:
        if (move->call_running)
            return 0; /* libvirt is still at it and will resume it itself */
        if (!host_domain_resume(run_hosts(run), from, run->task->server_id, DEADLINE_CONTROL, NULL))
            return 0;
        text = g_strdup_printf(
            "the move to %s broke off in the switch, the guest was resumed on %s", to, from);
        ends_as(run, "source", err, settled_code(move), text, move);
        return -1;
    case MOVE_NOWHERE:
        if (move->call_running)
            return 0;
        if (source == SEEN_POSTCOPY && /* nobody can use what is left of it there */
            !host_domain_destroy(run_hosts(run), from, run->task->server_id, DEADLINE_CONTROL,
                                 NULL))
            return 0;
        text = g_strdup_printf(move->guest_stopped && !move->postcopy
                                   ? "the guest stopped during its move from %s to %s"
                                   : "the guest is on neither %s nor %s after its move (its disk "
                                     "is intact: reboot it with --hard)",
                               from, to);
        ends_as(run, move->guest_stopped && !move->postcopy ? "stopped" : "nowhere", err,
                settled_code(move), text, move);
        return -1;
    case MOVE_IN_FLIGHT:
        break_tie(run, move, watch, source, dest);
        return 0;
    case MOVE_WAIT:
        break;
    }
    if (clock_monotonic() < watch->give_up_at)
        return 0;
    MoveFinal final = move_judge_at_deadline(source, dest, move->began);
    text =
        g_strdup_printf("%s does not answer (%s says: %s)", source == SEEN_UNREACHABLE ? from : to,
                        source == SEEN_UNREACHABLE ? to : from,
                        seen_names[source == SEEN_UNREACHABLE ? dest : source]);
    if (final.uncertain) {
        g_autofree char *doubt =
            source == SEEN_POSTCOPY
                ? g_strdup_printf("was handed over to %s by post-copy, and %s does not answer; it "
                                  "is settled when %s answers again, or evacuate the server if %s "
                                  "is dead",
                                  to, to, to, to)
                : g_strdup_printf("may run on two nodes, %s and %s, after a move that broke off: "
                                  "%s; it is settled when both answer again",
                                  from, to, text);

        run_set_state_text(run, "uncertainty", doubt);
    }
    if (final.on_dest)
        return 1;
    ends_as(run, "unknown", err,
            run_is_evacuated(run) && !final.uncertain ? ERR_CANCELLED : ERR_BACKEND, text, move);
    return -1;
}

static int64_t
completion_deadline(TaskRun *run, const Move *move)
{
    const LibvirtSettings *settings = run_settings(run)->libvirt;
    int64_t gib = MAX(2, (run->server->ram_mb + 1023) / 1024);

    int64_t since =
        move->migration->started_at ? clock_realtime() - move->migration->started_at : 0;

    if (settings->completion_timeout_s_per_gib <= 0)
        return INT64_MAX;
    /* what passed before a restart has passed */
    return clock_monotonic() - CLAMP(since, 0, 365 * 86400 * USEC_PER_SEC) +
           settings->completion_timeout_s_per_gib * gib * USEC_PER_SEC;
}

static void
on_timeout(TaskRun *run, Move *move)
{
    if (run_settings(run)->libvirt->timeout_force_complete)
        move_want_force(run, move,
                        "it did not end within live_migration_completion_timeout, and "
                        "live_migration_timeout_action is force_complete");
    else
        move_want_abort(run, move,
                        "it did not end within live_migration_completion_timeout; the guest "
                        "dirties memory faster than the link carries it: raise the time-out or the "
                        "bandwidth, permit auto-converge or post-copy, or set "
                        "live_migration_timeout_action to force_complete");
}

static bool
watch_transfer(TaskRun *run, Move *move, Watch *watch, GError **err)
{
    for (;;) {
        g_autoptr(RunMessage) message = NULL;
        int64_t now, wake;

        if (move->resumed_on_dest)
            return true;
        if (watch->look) {
            int end;

            watch->look = false;
            end = conclude(run, move, watch, err);
            if (end)
                return end > 0;
        }
        watch->steer_at = move_steer(run, move);
        now = clock_monotonic();
        wake = MIN(watch->steer_at, MIN(watch->progress_at, watch->timeout_at));
        if (watch->give_up_at != INT64_MAX || !move->call_running)
            wake = MIN(wake, now + LOOK_AGAIN_US);
        message = run_receive(run, wake, err);
        if (run_is_stopping(run))
            return false;
        if (message) {
            on_message(run, move, watch, message);
            continue;
        }
        now = clock_monotonic();
        if (now >= watch->timeout_at) {
            watch->timeout_at = INT64_MAX;
            on_timeout(run, move);
        }
        if (now >= watch->progress_at) {
            watch->progress_at = now + USEC_PER_SEC;
            move_read_progress(run, move, -1);
        }
        if (!move->call_running || watch->give_up_at != INT64_MAX)
            watch->look = true;
    }
}

/* It was never begun, and is not to be. */
static bool
end_before_start(TaskRun *run, Move *move, GError **err)
{
    g_autofree char *text =
        g_strdup_printf("the move to %s was not begun, the guest runs on %s",
                        move->migration->dest_host, move->migration->source_host);

    return ends_as(run, "source", err, ERR_CANCELLED, text, move);
}

/* Somebody before us may have started it: only if the source shows no trace of a move is it ours to
 * start. What he forced is to be forced still. */
static bool
take_up(TaskRun *run, Move *move, Watch *watch, GError **err)
{
    const char *phase = run_state_text(run, "phase");
    bool was_forced = phase && strcmp(phase, move_force_phases[FORCE_NONE]) != 0;
    Seen source, dest;

    move->began = SWITCH_NOT_KNOWN;
    move_look(run, move, &source, &dest);
    move->postcopy = source == SEEN_POSTCOPY;
    if (source == SEEN_RUNNING && dest == SEEN_GONE) {
        if (was_forced && run->server->vm_state != VM_PAUSED &&
            !host_domain_resume(run_hosts(run), move->migration->source_host, run->task->server_id,
                                DEADLINE_CONTROL, err))
            return false;
        return move->abort_reason ? end_before_start(run, move, err) : start_call(run, move, err);
    }
    log_event(LOG_LEVEL_NOTICE, "task", "took up a move that was under way", "server",
              run->task->server_id, "source", seen_names[source], "dest", seen_names[dest], NULL);
    watch->look = true;
    if (was_forced)
        move_want_force(run, move, "as before godwitd was started again");
    return true;
}

static bool
begin(TaskRun *run, Move *move, GError **err)
{
    run_drain_inbox(run);
    move_read_wish(run, move); /* what was said until now is in the row, or in cancelled */
    if (__atomic_load_n(&run->cancelled, __ATOMIC_ACQUIRE))
        move_want_abort(run, move,
                        run_is_evacuated(run) ? "the server is being evacuated"
                                              : "the server is being deleted");
    return move->abort_reason ? end_before_start(run, move, err) : start_call(run, move, err);
}

/* libvirt remembers how it found the guest and lets it run; one that it found paused, because our
 * pause came early, stays so. */
static void
end_pause(TaskRun *run, const Move *move)
{
    const char *dest = move->migration->dest_host;
    g_autoptr(DomainInfo) info = NULL;
    g_autoptr(GError) error = NULL;

    if (g_strcmp0(run_state_text(run, "phase"), move_force_phases[FORCE_PAUSE]) != 0 ||
        run->server->vm_state == VM_PAUSED)
        return;
    info = host_domain_probe(run_hosts(run), dest, run->task->server_id, DEADLINE_CONTROL, NULL);
    if (info && info->state == DOMAIN_PAUSED &&
        !host_domain_resume(run_hosts(run), dest, run->task->server_id, DEADLINE_CONTROL, &error))
        log_event(LOG_LEVEL_WARNING, "task", "cannot let a guest run that was paused for its move",
                  "server", run->task->server_id, "host", dest, "reason", error->message, NULL);
}

/* A pause that is still on its way to the node must not come after its taking back, nor an abort
 * hit the server's next move. */
static void
wait_for_requests(TaskRun *run, Move *move, Watch *watch, bool moved)
{
    while ((move->force_busy || (move->abort_busy && !moved)) && !run_is_stopping(run)) {
        g_autoptr(RunMessage) message = run_receive(run, INT64_MAX, NULL);

        if (message)
            on_message(run, move, watch, message);
    }
}

bool
move_transfer(TaskRun *run, GError **err)
{
    Move *move = move_get(run, err);
    Watch watch = {.give_up_at = INT64_MAX,
                   .stuck_at = INT64_MAX,
                   .split_at = INT64_MAX,
                   .progress_at = clock_monotonic() + USEC_PER_SEC};
    bool moved;

    if (!move)
        return false;
    watch.timeout_at = completion_deadline(run, move);
    move->downtime_limit_ms = MIN(run_settings(run)->libvirt->downtime_initial_ms,
                                  run_settings(run)->libvirt->downtime_ms);
    if (run->taken_up)
        move_read_wish(run, move);
    if (!(run->taken_up ? take_up(run, move, &watch, err) : begin(run, move, err)))
        return false;
    moved = watch_transfer(run, move, &watch, err);
    wait_for_requests(run, move, &watch, moved);
    if (moved)
        end_pause(run, move);
    return moved;
}

/* ---- clean-up
 * -------------------------------------------------------------------------------------------- */

static bool
stop_source(TaskRun *run, Move *move, GError **err)
{
    const char *from = move->migration->source_host;

    log_event(LOG_LEVEL_WARNING, "task",
              "the guest runs on the destination, stopping what is left on the source", "server",
              run->task->server_id, "source", from, "dest", move->migration->dest_host, NULL);
    return host_domain_destroy(run_hosts(run), from, run->task->server_id, DEADLINE_CONTROL, err);
}

/* As long as its migration job lasts, libvirt lets nobody undefine the domain; a source that is not
 * answered by the destination holds the job until its keepalive gives up. When the call returns the
 * job is over; a call that is not ours is waited for by asking again. */
static bool
undefine_source(TaskRun *run, Move *move, Watch *watch, int64_t until, GError **err)
{
    for (;;) {
        g_autoptr(GError) error = NULL;

        while (move->call_running && clock_monotonic() < until) {
            g_autoptr(RunMessage) message = run_receive(run, until, err);

            if (run_is_stopping(run))
                return false;
            if (message)
                on_message(run, move, watch, message);
        }
        if (host_domain_undefine(run_hosts(run), move->migration->source_host, run->task->server_id,
                                 DEADLINE_CONTROL, &error))
            return true;
        if (!err_is(error, ERR_TIMEOUT) || clock_monotonic() >= until || run_is_stopping(run)) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
    }
}

bool
move_clean_up(TaskRun *run, GError **err)
{
    Move *move = move_get(run, err);
    Watch watch = {.give_up_at = INT64_MAX, .stuck_at = INT64_MAX, .split_at = INT64_MAX};
    int64_t started = clock_monotonic(), look_at = started + TEARDOWN_US;
    Seen source = SEEN_MOVING, dest = SEEN_UNREACHABLE;

    if (!move)
        return false;
    move->resumed_on_dest = true;
    if (!move->call_running)
        look_at = started; /* taken up, or already returned */
    while (!move->call_ended && clock_monotonic() < look_at) {
        g_autoptr(RunMessage) message = run_receive(run, look_at, err);

        if (run_is_stopping(run))
            return false;
        if (message)
            on_message(run, move, &watch, message);
    }
    for (;;) {
        g_autoptr(RunMessage) message = NULL;
        g_autoptr(GError) error = NULL;

        move_look(run, move, &source, &dest);
        if (source == SEEN_GONE && dest != SEEN_UNREACHABLE)
            break;
        if ((dest == SEEN_RUNNING || dest == SEEN_MOVING) && source != SEEN_UNREACHABLE &&
            source != SEEN_GONE && source != SEEN_POSTCOPY && stop_source(run, move, &error))
            continue;
        if (clock_monotonic() - started > unreachable_wait(run) ||
            (source == SEEN_UNREACHABLE && __atomic_load_n(&run->cancelled, __ATOMIC_ACQUIRE)))
            break;
        message = run_receive(run, clock_monotonic() + LOOK_AGAIN_US, err);
        if (run_is_stopping(run))
            return false;
        if (message)
            on_message(run, move, &watch, message);
    }
    if (source == SEEN_UNREACHABLE && !move->source_stopped) {
        g_autofree char *doubt = g_strdup_printf(
            "runs on %s; %s, where it came from, stopped answering before it said that its copy is "
            "gone: it may "
            "run there too; it is settled when %s answers again",
            move->migration->dest_host, move->migration->source_host, move->migration->source_host);

        run_set_state_text(run, "uncertainty", doubt);
        return true;
    }
    if (source == SEEN_GONE) {
        g_autoptr(GError) error = NULL;

        /* With UNDEFINE_SOURCE libvirt did it; after a stop of ours, or a crash of its daemon, it
         * did not. What cannot be removed now is found by the sweep when the node is next
         * connected. */
        if (!undefine_source(run, move, &watch, started + unreachable_wait(run), &error))
            log_event(LOG_LEVEL_WARNING, "task",
                      "cannot remove the source's definition after a move", "server",
                      run->task->server_id, "host", move->migration->source_host, "reason",
                      error->message, NULL);
        run_set_state_text(run, "uncertainty", NULL);
    }
    if (dest == SEEN_GONE && !move->guest_stopped)
        run_set_state_text(run, "end", "nowhere");
    if (!move->have_stats && dest != SEEN_UNREACHABLE)
        move->have_stats =
            host_job_stats(run_hosts(run), move->migration->dest_host, run->task->server_id, true,
                           &move->stats, DEADLINE_CONTROL, NULL);
    return true;
}
