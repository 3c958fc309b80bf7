/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-moves.c: migrations in Godwit's own API, with everything that is known of them, by long
 * poll if wanted */
#include "api/godwit-priv.h"

#define WAIT_MAX_MS INT64_C(30000)

static json_t *
view_move(StoreTx *tx, const Migration *move)
{
    g_autoptr(Server) server = store_get(tx, &SERVER, move->server_id, NULL);
    json_t *view =
        json_pack("{s:I,s:s,s:s,s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "id",
                  (json_int_t)move->id, "uuid", move->uuid, "server_id", move->server_id,
                  "server_name", json_text_or_null(server ? server->name : NULL), "status",
                  migration_status_names[move->status], "phase", json_text_or_null(move->phase),
                  "source_host", json_text_or_null(move->source_host), "dest_host",
                  json_text_or_null(move->dest_host), "reason", json_text_or_null(move->reason),
                  "error_code", json_text_or_null(move->error_code), "encryption",
                  json_text_or_null(move->encryption), "flags", json_text_or_null(move->flags),
                  "phases", json_parse_stored(move->phases, JSON_OBJECT));
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {
        {"memory_total", move->memory_total},
        {"memory_processed", move->memory_processed},
        {"memory_remaining", move->memory_remaining},
        {"memory_bps", move->memory_bps},
        {"dirty_bps", move->dirty_bps},
        {"iterations", move->iterations},
        {"downtime_limit_ms", move->downtime_limit_ms},
        {"eta_ms", move->eta_ms},
        {"downtime_ms", move->downtime_ms},
        {"total_ms", move->total_ms},
        {"predicted_ms", move->predicted_ms},
        {"predicted_downtime_ms", move->predicted_downtime_ms},
        {"created_at", move->created_at},
        {"started_at", move->started_at},
        {"resumed_at", move->resumed_at},
        {"active_at", move->active_at},
        {"ended_at", move->ended_at},
        {"updated_at", move->updated_at},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        json_object_set_new(view, numbers[i].key, json_integer(numbers[i].value));
    return view;
}

static bool
moves_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *server = api_query(call, "server");
    const char *marker;
    StoreCond where[3] = {{.column = NULL}};
    StoreQuery query = {.where = where, .order_by = "id", .descending = true};
    g_autoptr(GPtrArray) moves = NULL;
    json_t *rows;
    size_t n = 0;

    api_paging(call, &query.limit, &marker); /* checked before */
    if (server)
        where[n++] = (StoreCond){.column = "server_id", .op = STORE_EQ, .text = server};
    if (!call->caller->is_admin)
        where[n++] =
            (StoreCond){.column = "project_id", .op = STORE_EQ, .text = call->caller->project_id};
    moves = store_list(tx, &MIGRATION, &query, err);
    if (!moves)
        return false;
    rows = json_array();
    for (size_t i = 0; i < moves->len; i++)
        json_array_append_new(rows, view_move(tx, g_ptr_array_index(moves, i)));
    *(json_t **)opaque = json_pack("{s:o}", "migrations", rows);
    return true;
}

void
godwit_migrations_list(ApiCall *call)
{
    const char *marker;
    int64_t limit;

    if (api_paging(call, &limit, &marker))
        api_answer_read(call, moves_list, 200);
}

typedef struct MoveLook {
    int64_t id;
    int64_t updated_at;
    bool is_over;
    json_t *view;
} MoveLook;

static bool
move_look(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    MoveLook *look = opaque;
    g_autoptr(Migration) move = store_get_int(tx, &MIGRATION, look->id, NULL);

    if (!move || !caller_may_see(call->caller, move->project_id))
        return err_set(err, ERR_NOT_FOUND, "Migration %" G_GINT64_FORMAT " could not be found.",
                       look->id);
    look->updated_at = move->updated_at;
    look->is_over = migration_status_is_final(move->status) && move->ended_at;
    json_decref(look->view);
    look->view = json_pack("{s:o}", "migration", view_move(tx, move));
    return true;
}

/* Answers as soon as the row differs from what the caller has seen, when there is nothing more to
 * come, or when the wait is over. The change counter is read before the row, so that no change
 * falls in between. */
void
godwit_migration_show(ApiCall *call)
{
    Store *store = api_config(call->api)->store;
    const char *since_text = api_query(call, "since");
    const char *wait_text = api_query(call, "wait_ms");
    int64_t since = -1, wait_ms = 0, deadline;
    MoveLook look = {0};

    if (!parse_int64(api_param(call, "id"), 1, INT64_MAX, &look.id)) {
        api_fault(call, 404, "Migration %s could not be found.", api_param(call, "id"));
        return;
    }
    if ((since_text && !parse_int64(since_text, 0, INT64_MAX, &since)) ||
        (wait_text && !parse_int64(wait_text, 0, INT64_MAX, &wait_ms))) {
        api_fault(call, 400, "'since' and 'wait_ms' must be whole numbers that are not negative.");
        return;
    }
    deadline = clock_monotonic() + MIN(wait_ms, WAIT_MAX_MS) * USEC_PER_MSEC;
    for (;;) {
        uint64_t seen = store_change_count(store);

        if (!api_read(call, move_look, &look)) {
            json_decref(look.view);
            return;
        }
        if (look.updated_at != since || look.is_over || clock_monotonic() >= deadline)
            break;
        store_wait_change(store, seen, deadline);
    }
    api_reply(call, 200, look.view);
}
