/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-migration.c: os-migrations and servers/ID/migrations: the record of every move */
#include <string.h>

#include "api/compute-priv.h"

static const char *const names_59[] = {"hidden",        "host",  "instance_uuid",  "source_compute",
                                       "status",        "limit", "migration_type", "marker",
                                       "changes-since", NULL};
static const char *const names_66[] = {
    "hidden",         "host",   "instance_uuid", "source_compute", "status", "limit",
    "migration_type", "marker", "changes-since", "changes-before", NULL};
static const char *const names_80[] = {"hidden",
                                       "host",
                                       "instance_uuid",
                                       "source_compute",
                                       "status",
                                       "limit",
                                       "migration_type",
                                       "marker",
                                       "changes-since",
                                       "changes-before",
                                       "user_id",
                                       "project_id",
                                       NULL};

typedef struct MigrationList {
    int64_t limit, changed_since, changed_before;
    const char *marker;
    GPtrArray *rows;
    bool more;
} MigrationList;

static const char *
migration_key(const void *record)
{
    return ((const Migration *)record)->uuid;
}

static void
where_text(ApiCall *call, const char *name, const char *column, StoreCond *where, size_t *n)
{
    const char *text = api_query(call, name);

    if (text)
        where[(*n)++] = (StoreCond){column, STORE_EQ, text, 0};
}

static bool
migrations_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    MigrationList *list = opaque;
    StoreCond where[10] = {{0}};
    size_t n = 0;
    StoreQuery query = {.where = where, .order_by = "id", .descending = true};
    const char *status = api_query(call, "status"), *host = api_query(call, "host");

    where_text(call, "instance_uuid", "server_id", where, &n);
    where_text(call, "source_compute", "source_host", where, &n);
    where_text(call, "migration_type", "type", where, &n);
    if (api_microversion_at_least(call, 80)) {
        where_text(call, "user_id", "user_id", where, &n);
        where_text(call, "project_id", "project_id", where, &n);
    }
    if (list->changed_since)
        where[n++] = (StoreCond){"updated_at", STORE_GE, NULL, list->changed_since};
    if (list->changed_before)
        where[n++] = (StoreCond){"updated_at", STORE_LE, NULL, list->changed_before};
    if (status) {
        int64_t value = 0;
        while (migration_status_names[value] && strcmp(migration_status_names[value], status) != 0)
            value++;
        if (!migration_status_names[value]) { /* one of Nova's that no move here can have */
            list->rows = g_ptr_array_new();
            return true;
        }
        where[n++] = (StoreCond){"status", STORE_EQ, NULL, value};
    }
    /* A server's whole history is short; the table's is not. */
    if (!list->marker && !host && !api_query(call, "hidden"))
        query.limit = list->limit + 1;
    list->rows = store_list(tx, &MIGRATION, &query, err);
    if (!list->rows)
        return false;
    if (host) {
        for (guint i = list->rows->len; i-- > 0;) {
            const Migration *row = list->rows->pdata[i];
            if (g_strcmp0(row->source_host, host) != 0 && g_strcmp0(row->dest_host, host) != 0)
                g_ptr_array_remove_index(list->rows, i);
        }
    }
    if (query_bool(call, "hidden", false))
        g_ptr_array_set_size(list->rows, 0);
    return page_cut(list->rows, migration_key, list->marker, list->limit, &list->more, err);
}

void
compute_migrations(ApiCall *call)
{
    MigrationList list = {.limit = API_PAGE_MAX};
    bool paged = api_microversion_at_least(call, 59);

    if (paged) {
        const char *const *names = api_microversion_at_least(call, 80)   ? names_80
                                   : api_microversion_at_least(call, 66) ? names_66
                                                                         : names_59;
        if (!query_accept(call, names) || !api_paging(call, &list.limit, &list.marker) ||
            !query_time(call, "changes-since", &list.changed_since))
            return;
    }
    if (api_microversion_at_least(call, 66)) {
        if (!query_time(call, "changes-before", &list.changed_before))
            return;
        if (list.changed_before && list.changed_before < list.changed_since) {
            api_fault(call, 400,
                      "The value of changes-since must be less than or equal to changes-before.");
            return;
        }
    }
    if (api_read(call, migrations_run, &list)) {
        json_t *rows = json_array();
        for (guint i = 0; i < list.rows->len; i++)
            json_array_append_new(rows, view_migration(call, list.rows->pdata[i], NULL));
        json_t *body = json_pack("{s:o}", "migrations", rows);
        if (paged && list.more && list.rows->len > 0)
            json_object_set_new(body, "migrations_links",
                                page_next(call, "/compute/v2.1/os-migrations",
                                          migration_key(list.rows->pdata[list.rows->len - 1])));
        api_reply(call, 200, body);
    }
    g_clear_pointer(&list.rows, g_ptr_array_unref);
}

/* ---- the moves under way of one server
 * ----------------------------------------------------------- */

static bool
server_moves(StoreTx *tx, ApiCall *call, GPtrArray **moves, GError **err)
{
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);

    if (!server)
        return false;
    StoreCond where[] = {{"server_id", STORE_EQ, server->id, 0},
                         {"type", STORE_EQ, "live-migration", 0},
                         {"ended_at", STORE_EQ, NULL, 0},
                         {0}};
    StoreQuery query = {.where = where};
    *moves = store_list(tx, &MIGRATION, &query, err);
    return *moves != NULL;
}

static bool
server_migrations_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    json_t **body = opaque;
    g_autoptr(GPtrArray) moves = NULL;
    json_t *rows;

    if (!server_moves(tx, call, &moves, err))
        return false;
    rows = json_array();
    for (guint i = 0; i < moves->len; i++)
        json_array_append_new(rows, view_server_migration(call, moves->pdata[i]));
    *body = json_pack("{s:o}", "migrations", rows);
    return true;
}

void
compute_server_migrations(ApiCall *call)
{
    if (compute_manager_needed(call, "servers:migrations:index"))
        api_answer_read(call, server_migrations_run, 200);
}

static bool
server_migration_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    json_t **body = opaque;
    const char *wanted = api_param(call, "migration");
    g_autoptr(GPtrArray) moves = NULL;
    int64_t id;

    if (!server_moves(tx, call, &moves, err))
        return false;
    for (guint i = 0; i < moves->len; i++) {
        const Migration *move = moves->pdata[i];
        if (parse_int64(wanted, 0, INT64_MAX, &id) && id == move->id) {
            *body = json_pack("{s:o}", "migration", view_server_migration(call, move));
            return true;
        }
    }
    return err_set(
        err, ERR_NOT_FOUND,
        "In-progress live migration %s is not found for server %s. A move that has ended "
        "is in 'nova migration-list' and 'godwit migration show'.",
        wanted, api_param(call, "id"));
}

void
compute_server_migration(ApiCall *call)
{
    if (compute_manager_needed(call, "servers:migrations:show"))
        api_answer_read(call, server_migration_run, 200);
}
