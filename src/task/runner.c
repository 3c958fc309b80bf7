/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* runner.c: takes one task through its steps, forwards or back, one committed transition at a time
 *
 * A transition is one transaction: the outcome of the step that was made, the new (phase, mark),
 * and what the steps know. An error whose outcome is not known (the node went away in the middle)
 * is never taken for "did not happen": the runner waits for the node, asks the step's probe, and
 * only then runs again, goes on, or gives up. */
#include <string.h>

#include "task/runner.h"

#define UNDO_ATTEMPTS       5
#define RETRY_LIMIT         3 /* runs of one step after errors with unknown outcome */
#define TRANSITION_RETRY_US (500 * USEC_PER_MSEC)

bool
task_edge_allowed(int64_t from_phase, TaskMark from, int64_t to_phase, TaskMark to, int64_t n_steps)
{
    static const struct {
        TaskMark from, to;
        int delta;
    } edges[] = {
        {TASK_MARK_INTENT, TASK_MARK_INTENT, +1}, {TASK_MARK_INTENT, TASK_MARK_UNDO, 0},
        {TASK_MARK_UNDO, TASK_MARK_UNDO, -1},     {TASK_MARK_INTENT, TASK_MARK_DONE, 0},
        {TASK_MARK_UNDO, TASK_MARK_DONE, 0},      {TASK_MARK_UNDO, TASK_MARK_INTENT, 0},
    };

    if (from_phase < 0 || from_phase >= n_steps || to_phase < 0 || to_phase >= n_steps)
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(edges); i++) {
        if (edges[i].from != from || edges[i].to != to || to_phase - from_phase != edges[i].delta)
            continue;
        if (from == TASK_MARK_UNDO && to != TASK_MARK_UNDO)
            return from_phase == 0;
        return to != TASK_MARK_DONE || from_phase == n_steps - 1;
    }
    return false;
}

/* ---- transitions
 * ------------------------------------------------------------------------------------ */

typedef struct Transition {
    TaskRun *run;
    int64_t phase;
    TaskMark mark;
    TaskStatus status;
    bool (*outcome)(TaskRun *run, StoreTx *tx, GError **err); /* may be NULL */
    const GError *reason;                                     /* of a failure, now or earlier */
} Transition;

/* All was taken back: is that the end, or does the kind know another way? */
static bool
may_begin_again(const Transition *to, StoreTx *tx, TaskAgain *again, GError **err)
{
    *again = TASK_AGAIN_NO;
    return to->status != TASK_FAILED || !to->run->kind->again ||
           to->run->kind->again(to->run, tx, to->reason, again, err);
}

static bool
write_transition(StoreTx *tx, void *opaque, GError **err)
{
    const Transition *asked = opaque;
    Transition changed = *asked, *to = &changed;
    TaskRun *run = to->run;
    g_autoptr(Task) row = store_get_int(tx, &TASK, run->task->id, err);
    TaskAgain again;

    if (!row || !may_begin_again(to, tx, &again, err))
        return false;
    if (again != TASK_AGAIN_NO) {
        to->mark = TASK_MARK_INTENT;
        to->status = TASK_OPEN;
        to->reason = NULL;
    }
    if (row->status != TASK_OPEN || row->phase != run->task->phase || row->mark != run->task->mark)
        return err_set(err, ERR_BUG, "task %" PRId64 " was moved on by somebody else", row->id);
    if (!task_edge_allowed(row->phase, row->mark, to->phase, to->mark, (int64_t)run->kind->n_steps))
        return err_set(err, ERR_BUG,
                       "task %" PRId64 " (%s) may not go from %s %" PRId64 " to %s %" PRId64,
                       row->id, row->kind, task_mark_names[row->mark], row->phase,
                       task_mark_names[to->mark], to->phase);
    if (to->outcome && !to->outcome(run, tx, err))
        return false;
    if (to->mark == TASK_MARK_DONE) {
        bool ok = to->status == TASK_SUCCEEDED ? run->kind->succeed(run, tx, err)
                                               : run->kind->fail(run, tx, to->reason, err);
        if (!ok)
            return false;
    }
    row->phase = to->phase;
    row->mark = to->mark;
    row->status = to->status;
    row->epoch = store_epoch(run_store(run));
    row->updated_at = clock_realtime();
    if (to->status != TASK_OPEN)
        row->ended_at = row->updated_at;
    if (to->reason || again != TASK_AGAIN_NO) {
        text_set(&row->error_code, to->reason ? err_code_name(err_code(to->reason)) : NULL);
        text_set(&row->error_message, to->reason ? to->reason->message : NULL);
    }
    g_free(row->state);
    row->state = json_dumps(run->state, JSON_COMPACT | JSON_SORT_KEYS);
    if (!store_update(tx, &TASK, row, err))
        return false;
    task_free(run->task);
    run->task = g_steal_pointer(&row);
    run->later = again == TASK_AGAIN_LATER;
    return true;
}

/* Commits, trying again while the store cannot: an outcome that happened must not be forgotten.
 * false: stopping, or the outcome itself is refused (*err). */
static bool
transition(Transition *to, GError **err)
{
    for (;;) {
        g_autoptr(GError) error = NULL;
        g_autoptr(RunMessage) message = NULL;
        g_autoptr(Task) before = record_copy(&TASK, to->run->task);
        json_t *state = json_deep_copy(to->run->state);

        if (store_write(run_store(to->run), write_transition, to, &error)) {
            json_decref(state);
            return true;
        }
        task_free(to->run->task); /* the row may have been taken back after we adopted it */
        to->run->task = g_steal_pointer(&before);
        if (!err_is_retriable(error) || run_is_stopping(to->run)) {
            json_decref(state);
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
        json_decref(to->run->state); /* and what the outcome wrote is written anew */
        to->run->state = state;
        log_event(LOG_LEVEL_ERROR, "task", "cannot record a step, trying again", "task",
                  to->run->task->kind, RUN_SUBJECT(to->run), "reason", error->message, NULL);
        message = mailbox_receive(to->run->inbox, clock_monotonic() + TRANSITION_RETRY_US);
    }
}

/* ---- forwards
 * ---------------------------------------------------------------------------------------- */

static const TaskStep *
current_step(const TaskRun *run)
{
    return &run->kind->steps[run->task->phase];
}

/* Wait until the node whose absence made an outcome unknown answers again, at most until deadline.
 */
static bool
wait_for_news(TaskRun *run, int64_t deadline_us)
{
    int64_t look_again = MIN(deadline_us, clock_monotonic() + USEC_PER_SEC);
    g_autoptr(RunMessage) message = NULL;

    if (clock_monotonic() >= deadline_us)
        return false;
    message = mailbox_receive(run->inbox, look_again);
    return !run_is_stopping(run);
}

/* Did the step happen? Asks until there is an answer or the wait is over. */
static StepProbe
probe_until_known(TaskRun *run, int64_t deadline_us, GError **err)
{
    const TaskStep *step = current_step(run);

    if (!step->probe)
        return STEP_NOT_DONE;
    for (;;) {
        g_autoptr(GError) error = NULL;
        StepProbe answer = step->probe(run, &error);

        if (answer != STEP_UNKNOWN)
            return answer;
        if (!wait_for_news(run, deadline_us)) {
            g_propagate_error(err, g_steal_pointer(&error));
            return STEP_UNKNOWN;
        }
    }
}

/* Does somebody want the task to end, and can the current step simply be left out? *err says who.
 * A transfer that a former godwitd began, for one, cannot. */
static bool
is_to_end(TaskRun *run, GError **err)
{
    const TaskKind *kind = run->kind;

    if (run->task->phase > kind->cancel_through || kind == &task_server_delete)
        return false;
    if (__atomic_load_n(&run->cancelled, __ATOMIC_RELAXED)) {
        err_set(err, ERR_CANCELLED, "the %s is being %s", *run->server_id ? "server" : "volume",
                run_is_evacuated(run) ? "evacuated" : "deleted");
        return true;
    }
    return kind->wants_end && kind->wants_end(run, err);
}

/* There is nothing to do for a server that was deleted while its task waited, nor to take back. */
static bool
is_deleted(const TaskRun *run)
{
    return run->server && run->server->vm_state == VM_DELETED && !run->volume_id &&
           run->kind != &task_server_delete && run->kind != &task_server_reconcile;
}

/* Make the current step happen. False with *err; ERR_CANCELLED while stopping leaves the task open.
 */
static bool
do_step(TaskRun *run, GError **err)
{
    const TaskStep *step = current_step(run);
    int64_t deadline = clock_monotonic() + run->kind->unreachable_wait_us;
    bool ask_first = run->taken_up;

    for (int attempt = 1;; attempt++) {
        g_autoptr(GError) error = NULL;

        if (!run_reload(run, err))
            return false;
        if (is_deleted(run))
            return err_set(err, ERR_CONFLICT, "the server was deleted");
        if (ask_first) {
            switch (probe_until_known(run, deadline, err)) {
            case STEP_DONE:
                return true;
            case STEP_UNKNOWN:
                return false;
            case STEP_NOT_DONE:
                break;
            }
        }
        if (step->run(run, &error))
            return true;
        if (!error) /* a step may see the stop without being told why */
            err_set(&error, ERR_CANCELLED, "godwitd is stopping");
        if (err_outcome_known(error) || attempt == RETRY_LIMIT || run_is_stopping(run)) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
        log_event(LOG_LEVEL_WARNING, "task", "a step's outcome is not known, asking the node",
                  "task", run->task->kind, "step", step->name, RUN_SUBJECT(run), "reason",
                  error->message, NULL);
        if (!wait_for_news(run, deadline)) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
        if (is_to_end(run, err))
            return false;
        ask_first = true;
    }
}

static bool
go_forward(TaskRun *run, GError **err)
{
    while (run->task->mark == TASK_MARK_INTENT) {
        const TaskStep *step = current_step(run);
        bool last = run->task->phase + 1 == (int64_t)run->kind->n_steps;
        Transition next = {.run = run,
                           .phase = last ? run->task->phase : run->task->phase + 1,
                           .mark = last ? TASK_MARK_DONE : TASK_MARK_INTENT,
                           .status = last ? TASK_SUCCEEDED : TASK_OPEN,
                           .outcome = step->commit};

        if (is_to_end(run, err) || !do_step(run, err) || !transition(&next, err))
            return false;
        run->taken_up = false;
    }
    return true;
}

/* ---- back
 * --------------------------------------------------------------------------------------------- */

static GError *
reason_of(const TaskRun *run)
{
    for (int code = ERR_NOT_FOUND; code <= ERR_BUG; code++)
        if (g_strcmp0(run->task->error_code, err_code_name(code)) == 0)
            return g_error_new(ERR_DOMAIN, code, "%s",
                               run->task->error_message ? run->task->error_message : "");
    return g_error_new(ERR_DOMAIN, ERR_BACKEND, "%s",
                       run->task->error_message ? run->task->error_message
                                                : "it failed without a reason");
}

static void
undo_step(TaskRun *run)
{
    const TaskStep *step = current_step(run);
    int64_t deadline = clock_monotonic() + run->kind->unreachable_wait_us;

    if (!step->undo)
        return;
    for (int attempt = 1; attempt <= UNDO_ATTEMPTS && !run_is_stopping(run); attempt++) {
        g_autoptr(GError) error = NULL;

        if (run_reload(run, &error) && (is_deleted(run) || step->undo(run, &error)))
            return;
        log_event(LOG_LEVEL_WARNING, "task", "cannot take a step back", "task", run->task->kind,
                  "step", step->name, RUN_SUBJECT(run), "reason", error->message, NULL);
        if (!err_is_retriable(error) || !wait_for_news(run, deadline))
            return;
    }
}

static bool
go_back(TaskRun *run, GError **err)
{
    g_autoptr(GError) reason = reason_of(run);

    while (run->task->mark == TASK_MARK_UNDO) {
        bool last = run->task->phase == 0;
        Transition next = {.run = run,
                           .phase = last ? 0 : run->task->phase - 1,
                           .mark = last ? TASK_MARK_DONE : TASK_MARK_UNDO,
                           .status = last ? TASK_FAILED : TASK_OPEN,
                           .reason = reason};

        undo_step(run);
        if (run_is_stopping(run))
            return err_set(err, ERR_CANCELLED, "godwitd is stopping");
        if (!transition(&next, err))
            return false;
    }
    return true;
}

static bool
turn_back(TaskRun *run, const GError *reason, GError **err)
{
    Transition back = {.run = run,
                       .phase = run->task->phase,
                       .mark = TASK_MARK_UNDO,
                       .status = TASK_OPEN,
                       .reason = reason};

    log_event(err_code(reason) == ERR_CANCELLED ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "task",
              "failed, taking back", "task", run->task->kind, "step", current_step(run)->name,
              RUN_SUBJECT(run), "error", err_code_name(err_code(reason)), "reason", reason->message,
              NULL);
    return transition(&back, err);
}

/* To the end, or to the start again (true: go on from there). */
static bool
run_once(TaskRun *run)
{
    g_autoptr(GError) error = NULL;

    log_event(LOG_LEVEL_DEBUG, "task", run->taken_up ? "taken up" : "started", "task",
              run->task->kind, RUN_SUBJECT(run), NULL);
    if (!run->kind) {
        log_event(LOG_LEVEL_ERROR, "task",
                  "a task of unknown kind stays open: it was made by a newer godwitd", "task",
                  run->task->kind, NULL);
        run_message_free(mailbox_receive(run->inbox, clock_monotonic() + 60 * USEC_PER_SEC));
        return false; /* not at once again */
    }
    if (go_forward(run, &error)) {
        if (run->task->mark == TASK_MARK_DONE)
            log_event(LOG_LEVEL_INFO, "task", "done", "task", run->task->kind, RUN_SUBJECT(run),
                      NULL);
    } else if (run_is_stopping(run)) {
        return false; /* stays open; the next start takes it up */
    } else {
        g_autoptr(GError) reason = g_steal_pointer(&error);

        if (!turn_back(run, reason, &error))
            goto broken;
    }
    if (run->task->mark == TASK_MARK_UNDO && !go_back(run, &error)) {
        if (run_is_stopping(run))
            return false;
        goto broken;
    }
    return run->task->mark == TASK_MARK_INTENT && !run->later;
broken:
    log_event(LOG_LEVEL_ERROR, "task",
              "cannot record the end of a task; it stays open and is taken up at the next start",
              "task", run->task->kind, RUN_SUBJECT(run), "reason", error->message, NULL);
    /* Not to be scheduled again in a tight loop: wait for the stop or for a change of fortune. */
    run->taken_up = true;
    wait_for_news(run, clock_monotonic() + 5 * USEC_PER_SEC);
    return false;
}

void
runner_run(TaskRun *run)
{
    while (run_once(run)) {
        if (run->data && run->data_free)
            run->data_free(run->data);
        run->data = NULL;
        run->taken_up = false;
    }
}

/* ---- what steps use
 * ------------------------------------------------------------------------------------ */

typedef struct RunTx {
    TaskRun *run;
    bool (*fn)(TaskRun *run, StoreTx *tx, GError **err);
} RunTx;

static bool
call_run_tx(StoreTx *tx, void *opaque, GError **err)
{
    RunTx *call = opaque;

    return call->fn(call->run, tx, err);
}

bool
run_write(TaskRun *run, bool (*fn)(TaskRun *run, StoreTx *tx, GError **err), GError **err)
{
    return store_write(run_store(run), call_run_tx, &(RunTx){run, fn}, err);
}

bool
run_read(TaskRun *run, bool (*fn)(TaskRun *run, StoreTx *tx, GError **err), GError **err)
{
    return store_read(run_store(run), call_run_tx, &(RunTx){run, fn}, err);
}

static bool
read_subjects(TaskRun *run, StoreTx *tx, GError **err)
{
    g_autoptr(Server) server = NULL;
    g_autoptr(Volume) volume = NULL;

    if (*run->server_id && !(server = store_get(tx, &SERVER, run->server_id, err)))
        return false;
    if (run->volume_id && !(volume = store_get(tx, &VOLUME, run->volume_id, err)))
        return false;
    server_free(run->server);
    run->server = g_steal_pointer(&server);
    volume_free(run->volume);
    run->volume = g_steal_pointer(&volume);
    return true;
}

bool
run_save_state(TaskRun *run, StoreTx *tx, GError **err)
{
    g_autoptr(Task) row = store_get_int(tx, &TASK, run->task->id, err);

    if (!row)
        return false;
    g_free(row->state);
    row->state = json_dumps(run->state, JSON_COMPACT | JSON_SORT_KEYS);
    return store_update(tx, &TASK, row, err);
}

bool
run_reload(TaskRun *run, GError **err)
{
    return run_read(run, read_subjects, err);
}

/* What is being done to the server by somebody who waits for the end of this very run. */
static bool
is_interrupted_by(const TaskRun *run, TaskState state)
{
    return (state == TASK_DELETING && run->kind != &task_server_delete) ||
           (state == TASK_REBUILDING && strcmp(run->kind->name, "server-evacuate") != 0);
}

bool
run_update_server(TaskRun *run, StoreTx *tx, void (*change)(TaskRun *run, Server *server),
                  GError **err)
{
    g_autoptr(Server) server = store_get(tx, &SERVER, run->task->server_id, err);
    TaskState before;

    if (!server)
        return false;
    if (server->vm_state != VM_DELETED || run->kind == &task_server_delete) {
        before = server->task_state;
        change(run, server);
        if (is_interrupted_by(run, before))
            server->task_state = before;
    }
    server->updated_at = clock_realtime();
    if (!store_update(tx, &SERVER, server, err))
        return false;
    server_free(run->server);
    run->server = g_steal_pointer(&server);
    return true;
}

bool
run_update_volume(TaskRun *run, StoreTx *tx, void (*change)(TaskRun *run, Volume *volume),
                  GError **err)
{
    g_autoptr(Volume) volume = store_get(tx, &VOLUME, run->task->volume_id, err);

    if (!volume)
        return false;
    change(run, volume);
    volume->updated_at = clock_realtime();
    if (!store_update(tx, &VOLUME, volume, err))
        return false;
    volume_free(run->volume);
    run->volume = g_steal_pointer(&volume);
    return true;
}

bool
run_is_evacuated(const TaskRun *run)
{
    return __atomic_load_n(&run->cancelled, __ATOMIC_ACQUIRE) && run->evacuated;
}

RunMessage *
run_receive(TaskRun *run, int64_t deadline_us, GError **err)
{
    RunMessage *message = mailbox_receive(run->inbox, deadline_us);

    if (!message && run_is_stopping(run))
        err_set(err, ERR_CANCELLED, "godwitd is stopping");
    return message;
}

bool
run_wait_host(TaskRun *run, const char *host, int64_t deadline_us, GError **err)
{
    while (!hosts_is_connected(run_hosts(run), host)) {
        g_autoptr(RunMessage) message = NULL;

        if (clock_monotonic() >= deadline_us)
            return err_set(err, ERR_UNREACHABLE,
                           "%s did not come back in time; see 'godwit host show %s'", host, host);
        message = run_receive(run, MIN(deadline_us, clock_monotonic() + USEC_PER_SEC), err);
        if (run_is_stopping(run))
            return false;
    }
    return true;
}

void
run_drain_inbox(TaskRun *run)
{
    RunMessage *message;

    while ((message = mailbox_try_receive(run->inbox)))
        run_message_free(message);
}

const char *
run_state_text(TaskRun *run, const char *key)
{
    return json_string_value(json_object_get(run->state, key));
}

void
run_set_state_text(TaskRun *run, const char *key, const char *value)
{
    json_object_set_new(run->state, key, value ? json_string(value) : json_null());
}

int64_t
run_state_int(TaskRun *run, const char *key, int64_t absent)
{
    json_t *value = json_object_get(run->state, key);

    return json_is_integer(value) ? json_integer_value(value) : absent;
}

void
run_set_state_int(TaskRun *run, const char *key, int64_t value)
{
    json_object_set_new(run->state, key, json_integer(value));
}
