/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-moves.c: migrations in Godwit's own API, with everything that is known of them, by long
 * poll if wanted; and the requests for one that Nova's API has no words for */
#include <string.h>

#include "api/compute-priv.h"
#include "api/godwit-priv.h"

#define WAIT_MAX_MS  INT64_C(30000)
#define PRIORITY_MAX 100

/* Number of moves that leave the queue before this one; null: it is not in it. */
static json_t *
queue_position(StoreTx *tx, const Migration *move)
{
    const StoreCond higher[] = {{"status", STORE_EQ, NULL, MIGRATION_QUEUED},
                                {"priority", STORE_GT, NULL, move->priority},
                                {0}};
    const StoreCond older[] = {{"status", STORE_EQ, NULL, MIGRATION_QUEUED},
                               {"priority", STORE_EQ, NULL, move->priority},
                               {"id", STORE_LT, NULL, move->id},
                               {0}};

    if (move->status != MIGRATION_QUEUED)
        return json_null();
    return json_integer((json_int_t)(MAX(store_count(tx, &MIGRATION, higher, NULL), 0) +
                                     MAX(store_count(tx, &MIGRATION, older, NULL), 0)));
}

/* Which way a move that was forced has ended or is ending: it is one of its phases. */
static json_t *
forced_way(const json_t *phases)
{
    static const char *const ways[] = {"post-copy", "pause"};

    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++)
        if (json_object_get(phases, ways[i]))
            return json_string(ways[i]);
    return json_null();
}

static json_t *
object_or_null(const char *stored)
{
    return stored ? json_parse_stored(stored, JSON_OBJECT) : json_null();
}

/* What was asked of it, and what it is in, beside the one move itself. */
static void
add_circumstances(StoreTx *tx, const ApiCall *call, const Migration *move, json_t *view)
{
    bool live = strcmp(move->type, "live-migration") == 0;

    json_object_set_new(view, "type", json_string(move->type));
    json_object_set_new(view, "dest_given", json_boolean(move->dest_given));
    json_object_set_new(
        view, "wish",
        json_text_or_null(move->wish == WISH_NONE ? NULL : migration_wish_names[move->wish]));
    json_object_set_new(view, "forced", forced_way(json_object_get(view, "phases")));
    json_object_set_new(view, "priority", json_integer(move->priority));
    json_object_set_new(view, "queue_position", queue_position(tx, move));
    json_object_set_new(view, "attempts", json_parse_stored(move->attempts, JSON_ARRAY));
    json_object_set_new(view, "old_flavor", object_or_null(move->old_flavor));
    json_object_set_new(view, "new_flavor", object_or_null(move->new_flavor));
    json_object_set_new(view, "old_vm_state",
                        json_text_or_null(live ? NULL : vm_state_names[move->old_vm_state]));
    /* Addresses of the storage's clients are none of a project's business. */
    json_object_set_new(view, "fence", object_or_null(call->caller->is_admin ? move->fence : NULL));
}

json_t *
godwit_migration_view(StoreTx *tx, const ApiCall *call, const Migration *move)
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
    add_circumstances(tx, call, move, view);
    return view;
}

static bool
moves_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *server = api_query(call, "server"), *type = api_query(call, "type");
    const char *open_text = api_query(call, "open");
    const char *marker;
    bool only_open = false;
    StoreCond where[5] = {{.column = NULL}};
    StoreQuery query = {.where = where, .order_by = "id", .descending = true};
    g_autoptr(GPtrArray) moves = NULL;
    json_t *rows;
    size_t n = 0;

    api_paging(call, &query.limit, &marker); /* checked before */
    if (open_text && !parse_bool(open_text, &only_open))
        return err_set(err, ERR_INVALID, "'open' must be true or false.");
    if (only_open)
        where[n++] = (StoreCond){.column = "ended_at", .op = STORE_EQ, .num = 0};
    if (type)
        where[n++] = (StoreCond){.column = "type", .op = STORE_EQ, .text = type};
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
        json_array_append_new(rows, godwit_migration_view(tx, call, g_ptr_array_index(moves, i)));
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
    look->view = json_pack("{s:o}", "migration", godwit_migration_view(tx, call, move));
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

/* ---- wishes -------------------------------------------------------------------------------------
 */

typedef struct WishRequest {
    MigrationWish wish;
    char *server_id;
    json_t *view;
} WishRequest;

static bool
wish_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    WishRequest *request = opaque;
    const char *text = api_param(call, "id");
    int64_t id;
    g_autoptr(Migration) move =
        parse_int64(text, 1, INT64_MAX, &id) ? store_get_int(tx, &MIGRATION, id, NULL) : NULL;
    g_autoptr(Server) server = NULL;

    if (!move || !caller_may_see(call->caller, move->project_id))
        return err_set(err, ERR_NOT_FOUND, "Migration %s could not be found.", text);
    server = api_server_get(tx, call, move->server_id, err);
    if (!server || !compute_wish_submit(tx, call, server, move, request->wish, err))
        return false;
    request->server_id = g_strdup(server->id);
    request->view = json_pack("{s:o}", "migration", godwit_migration_view(tx, call, move));
    return true;
}

static void
wish_answer(ApiCall *call, MigrationWish wish)
{
    WishRequest request = {.wish = wish};

    if (!caller_is_manager(call->caller)) {
        api_fault(call, 403, "To end a move the role manager or admin is needed.");
        return;
    }
    if (api_write(call, wish_run, &request)) {
        log_event(LOG_LEVEL_NOTICE, "api", "a live migration is to end", "wish",
                  migration_wish_names[wish], "migration", api_param(call, "id"), "server",
                  request.server_id, "user", call->caller->user_name, "request_id",
                  call->request_id, NULL);
        api_tell(call, request.server_id);
        api_reply(call, 202, request.view);
    } else {
        json_decref(request.view);
    }
    g_free(request.server_id);
}

void
godwit_migration_abort(ApiCall *call)
{
    wish_answer(call, WISH_ABORT);
}

void
godwit_migration_force(ApiCall *call)
{
    wish_answer(call, WISH_FORCE_COMPLETE);
}

/* ---- moves and resizes with more than compute's requests hold -----------------------------------
 */

typedef struct MoveOrder {
    ComputeMove move;
    ComputeResize resize;
    bool is_resize;
    json_t *view;
} MoveOrder;

static bool
order_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    MoveOrder *order = opaque;
    g_autoptr(Migration) move = NULL;

    if (order->is_resize ? !compute_resize_submit(tx, call, &order->resize, err)
                         : !compute_move_submit(tx, call, &order->move, err))
        return false;
    move = store_get_int(tx, &MIGRATION,
                         order->is_resize ? order->resize.migration_id : order->move.migration_id,
                         err);
    if (!move)
        return false;
    order->view = json_pack("{s:o}", "migration", godwit_migration_view(tx, call, move));
    return true;
}

static void
order_answer(ApiCall *call, MoveOrder *order)
{
    if (api_write(call, order_run, order)) {
        api_wake(call);
        api_reply(call, 202, order->view);
    } else {
        json_decref(order->view);
    }
}

void
godwit_server_move(ApiCall *call)
{
    MoveOrder order = {0};
    GError *error = NULL;

    if (call->body && (!json_only_keys(call->body, &error, "host", "priority", NULL) ||
                       !json_get_name(call->body, "host", 255, &order.move.host, &error) ||
                       !json_get_int(call->body, "priority", -PRIORITY_MAX, PRIORITY_MAX,
                                     &order.move.priority, &error)))
        api_fail(call, error);
    else
        order_answer(call, &order);
}

void
godwit_server_resize(ApiCall *call)
{
    MoveOrder order = {.is_resize = true};
    GError *error = NULL;

    if (call->body && (!json_only_keys(call->body, &error, "flavor", "host", NULL) ||
                       !json_get_name(call->body, "flavor", 255, &order.resize.flavor, &error) ||
                       !json_get_name(call->body, "host", 255, &order.resize.host, &error)))
        api_fail(call, error);
    else
        order_answer(call, &order);
}
