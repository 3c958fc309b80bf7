/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move-retry.c: the next candidate of a live migration for which no host was named
 *
 * What goes wrong before the guest is touched, or in a transfer during which it never stood still
 * and for which the destination is to blame, is no reason to give up as long as another host fits.
 * The task takes back what it did, and in the transaction that would be its last it writes down the
 * attempt, lets the destination go and begins again; so whatever the record says of the destination
 * is true before the next one is touched. Each host is tried once. */
#include <string.h>

#include "task/move.h"

static json_t *
attempts_of(TaskRun *run)
{
    return json_object_get(run->state, "attempts");
}

static bool
list_has(const json_t *attempts, const char *host)
{
    const json_t *attempt;
    size_t i;

    json_array_foreach(attempts, i, attempt)
    {
        if (g_strcmp0(json_string_value(json_object_get(attempt, "host")), host) == 0)
            return true;
    }
    return false;
}

bool
move_was_tried(TaskRun *run, const char *host)
{
    return list_has(attempts_of(run), host);
}

bool
move_attempts_have(const char *attempts, const char *host)
{
    json_t *list = attempts ? json_loads(attempts, 0, NULL) : NULL;
    bool has = list_has(list, host);

    json_decref(list);
    return has;
}

void
move_note_attempt(TaskRun *run, const char *host, const GError *reason)
{
    json_t *attempts = attempts_of(run);

    if (move_was_tried(run, host)) /* a transaction that was made twice */
        return;
    if (!attempts)
        json_object_set_new(run->state, "attempts", attempts = json_array());
    json_array_append_new(attempts,
                          json_pack("{s:s, s:I, s:s, s:s}", "host", host, "at",
                                    (json_int_t)clock_realtime(), "error_code",
                                    err_code_name(err_code(reason)), "reason", reason->message));
}

void
move_append_attempts(TaskRun *run, GString *text)
{
    const json_t *attempt;
    size_t i;

    json_array_foreach(attempts_of(run), i, attempt)
    {
        g_string_append_printf(text, "%s%s", text->len ? "; " : "",
                               json_string_value(json_object_get(attempt, "reason")));
    }
}

bool
move_put_back(TaskRun *run, GError **err)
{
    run_set_state_text(run, "put_back", "yes");
    return err_set(err, ERR_CONFLICT,
                   "every host that fits takes in as many moves as it may; waiting for a place");
}

/* Is there a host that fits and was not tried? The one of now is through. */
static bool
has_more(TaskRun *run, const char *dest)
{
    const json_t *name;
    size_t i;

    json_array_foreach(json_object_get(run->state, "candidates"), i, name)
    {
        const char *host = json_string_value(name);

        if (g_strcmp0(host, dest) != 0 && !move_was_tried(run, host))
            return true;
    }
    return false;
}

/* May what went wrong be better elsewhere, and was the guest left in peace? */
static bool
may_go_elsewhere(TaskRun *run, const GError *reason)
{
    const char *phase = run_state_text(run, "phase");

    if (err_code(reason) == ERR_CANCELLED || !phase)
        return false;
    if (strcmp(phase, "reserve") == 0 || strcmp(phase, "prepare") == 0)
        return true;
    return strcmp(phase, "transfer") == 0 && run_state_text(run, "retry");
}

static void
let_go(TaskRun *run, Migration *row)
{
    text_set(&row->dest_host, NULL);
    row->status = run_state_text(run, "put_back") ? MIGRATION_QUEUED : MIGRATION_PREPARING;
    row->started_at = 0;
}

bool
move_again(TaskRun *run, StoreTx *tx, const GError *reason, TaskAgain *again, GError **err)
{
    static const char *const of_one_attempt[] = {"dest", "dest_uri", "dest_stream_address",
                                                 "end",  "retry",    "put_back"};
    g_autoptr(Migration) row = store_get_int(tx, &MIGRATION, run->task->migration_id, err);
    const char *dest = run_state_text(run, "dest");
    bool put_back = run_state_text(run, "put_back") != NULL;

    if (!row)
        return false;
    if (row->dest_given)
        return true;
    if (!put_back) { /* what is to end ends in the queue */
        if (row->wish == WISH_ABORT || __atomic_load_n(&run->cancelled, __ATOMIC_RELAXED))
            return true;
        if (!dest || !may_go_elsewhere(run, reason) || !has_more(run, dest))
            return true;
        move_note_attempt(run, dest, reason);
        log_event(LOG_LEVEL_NOTICE, "task", "a move goes on to the next host", "server",
                  run->task->server_id, "tried", dest, "reason", reason->message, NULL);
    }
    move_enter_phase(run, put_back ? "queue" : "select");
    if (!move_update(run, tx, let_go, err))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(of_one_attempt); i++)
        json_object_del(run->state, of_one_attempt[i]);
    *again = put_back ? TASK_AGAIN_LATER : TASK_AGAIN_NOW;
    return true;
}
