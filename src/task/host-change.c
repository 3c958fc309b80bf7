/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host-change.c: a node leaves, or gets another name
 *
 * A host's name stands in many rows, as the clients use it for a key. Renaming changes all of them
 * in one transaction. Steps of tasks carry the name in their state, so none may be at work there;
 * connections and threads follow afterwards, when watch sees that one host went and another came:
 * nothing is recorded of the one, and everything is asked anew of the other. */
#include "task/host-change.h"

#include <string.h>

#define NAMES_SHOWN 3

bool
host_name_is_valid(const char *name)
{
    size_t length = strlen(name);

    return length >= 1 && length <= HOST_NAME_MAX_BYTES && g_ascii_isalnum(name[0]) &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-") ==
               length;
}

/* "3 servers (a, b, c, …)"; names: char * */
static char *
count_text(const GPtrArray *names, const char *one, const char *many)
{
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "%u %s (", names->len, names->len == 1 ? one : many);
    for (guint i = 0; i < MIN(names->len, NAMES_SHOWN); i++)
        g_string_append_printf(text, "%s%s", i ? ", " : "", (char *)g_ptr_array_index(names, i));
    g_string_append(text, names->len > NAMES_SHOWN ? ", …)" : ")");
    return g_string_free(text, FALSE);
}

/* ---- what is in the way
 * ----------------------------------------------------------------------------------
 */

static bool
has_no_servers(StoreTx *tx, const Host *host, GError **err)
{
    const StoreCond where[] = {
        {"host", STORE_EQ, host->name, 0}, {"vm_state", STORE_NE, NULL, VM_DELETED}, {NULL}};
    const StoreQuery query = {.where = where, .order_by = "number"};
    g_autoptr(GPtrArray) servers = store_list(tx, &SERVER, &query, err);
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autofree char *text = NULL;

    for (guint i = 0; servers && i < servers->len; i++)
        g_ptr_array_add(names, ((Server *)g_ptr_array_index(servers, i))->name);
    if (!servers || names->len == 0)
        return servers != NULL;
    text = count_text(names, "server", "servers");
    return err_set(err, ERR_CONFLICT, "Host %s has %s: move or delete %s first.", host->name, text,
                   names->len == 1 ? "it" : "them");
}

typedef struct Moves { /* of a host, as source or destination: elements char *, names of servers */
    GPtrArray *under_way;
    GPtrArray *finished; /* resizes to be confirmed or reverted */
    GPtrArray *remains;  /* evacuated from it, and not seen to be gone there */
} Moves;

static void
moves_clear(Moves *moves)
{
    g_clear_pointer(&moves->under_way, g_ptr_array_unref);
    g_clear_pointer(&moves->finished, g_ptr_array_unref);
    g_clear_pointer(&moves->remains, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Moves, moves_clear)

static void
sort_move(StoreTx *tx, const Host *host, const Migration *row, Moves *moves)
{
    bool comes_from = strcmp(row->source_host, host->name) == 0;
    g_autoptr(Server) server = NULL;
    GPtrArray *list;

    if (!comes_from && g_strcmp0(row->dest_host, host->name) != 0)
        return;
    if (row->status == MIGRATION_FINISHED)
        list = moves->finished;
    else if (row->status == MIGRATION_DONE && comes_from)
        list = moves->remains;
    else if (!migration_status_is_final(row->status))
        list = moves->under_way;
    else
        return;
    server = store_get(tx, &SERVER, row->server_id, NULL);
    g_ptr_array_add(list, g_strdup(server ? server->name : row->server_id));
}

static bool
read_moves(StoreTx *tx, const Host *host, Moves *moves, GError **err)
{
    moves->under_way = g_ptr_array_new_with_free_func(g_free);
    moves->finished = g_ptr_array_new_with_free_func(g_free);
    moves->remains = g_ptr_array_new_with_free_func(g_free);
    for (MigrationStatus status = 0; migration_status_names[status]; status++) {
        const StoreCond where[] = {{"status", STORE_EQ, NULL, status}, {NULL}};
        g_autoptr(GPtrArray) rows = NULL;

        if (migration_status_is_final(status) && status != MIGRATION_DONE)
            continue;
        rows = store_list(tx, &MIGRATION, &(StoreQuery){.where = where}, err);
        for (guint i = 0; rows && i < rows->len; i++)
            sort_move(tx, host, g_ptr_array_index(rows, i), moves);
        if (!rows)
            return false;
    }
    return true;
}

static bool
has_no_moves(const Host *host, const Moves *moves, GError **err)
{
    bool is_finished = moves->finished->len > 0;
    const GPtrArray *names = is_finished ? moves->finished : moves->under_way;
    g_autofree char *text = NULL;

    if (names->len == 0)
        return true;
    text =
        is_finished ? count_text(names, "resize", "resizes") : count_text(names, "move", "moves");
    return err_set(err, ERR_CONFLICT, "%s from or to host %s %s: %s first.", text, host->name,
                   is_finished ? "wait to be confirmed or reverted" : "are under way",
                   is_finished ? "do one or the other" : "let them end, or abort them,");
}

static bool
has_nothing_shut_out(StoreTx *tx, const Host *host, const Moves *moves, GError **err)
{
    const StoreCond where[] = {{"host", STORE_EQ, host->name, 0}, {NULL}};
    int64_t fences = store_count(tx, &FENCE, where, err);
    g_autofree char *text = NULL;

    if (fences < 0)
        return false;
    if (fences > 0)
        return err_set(err, ERR_CONFLICT,
                       "Host %s was taken for dead, and %" PRId64 " of its clients are still shut "
                       "out of the storage. They are let in when the node is back and its guests "
                       "are seen to be gone; if the machine never comes back, remove the host with "
                       "force.",
                       host->name, fences);
    if (moves->remains->len == 0)
        return true;
    text = count_text(moves->remains, "server", "servers");
    return err_set(err, ERR_CONFLICT,
                   "%s were brought up elsewhere when host %s was dead, and what it had of them "
                   "has not been seen to be gone. Bring the node back; if the machine never comes "
                   "back, remove the host with force.",
                   text, host->name);
}

/* ---- removing
 * --------------------------------------------------------------------------------------------
 */

bool
task_host_remove(StoreTx *tx, const Host *host, bool gone_for_good, GError **err)
{
    const StoreCond here[] = {{"host", STORE_EQ, host->name, 0}, {NULL}};
    g_auto(Moves) moves = {0};

    if (!has_no_servers(tx, host, err) || !read_moves(tx, host, &moves, err) ||
        !has_no_moves(host, &moves, err) ||
        (!gone_for_good && !has_nothing_shut_out(tx, host, &moves, err)))
        return false;
    return store_delete_where(tx, &FENCE, here, err) && store_delete(tx, &HOST, host->id, err);
}

/* ---- renaming
 * --------------------------------------------------------------------------------------------
 */

static bool
names_host(const char *json, const char *quoted)
{
    return json && strstr(json, quoted);
}

/* A task at work has read the name, and may have written it down. */
static bool
has_no_tasks(StoreTx *tx, const Host *host, GError **err)
{
    const StoreCond open[] = {{"status", STORE_EQ, NULL, TASK_OPEN}, {NULL}};
    g_autoptr(GPtrArray) tasks = store_list(tx, &TASK, &(StoreQuery){.where = open}, err);
    g_autofree char *quoted = g_strdup_printf("\"%s\"", host->name);

    for (guint i = 0; tasks && i < tasks->len; i++) {
        const Task *task = g_ptr_array_index(tasks, i);
        g_autoptr(Server) server = store_get(tx, &SERVER, task->server_id, NULL);

        if (g_strcmp0(task->host, host->name) == 0 || names_host(task->params, quoted) ||
            names_host(task->state, quoted) || (server && g_strcmp0(server->host, host->name) == 0))
            return err_set(err, ERR_CONFLICT,
                           "Host %s cannot be renamed while task %" PRId64
                           " (%s) is at work on it: try again when it has ended.",
                           host->name, task->id, task->kind);
    }
    return tasks != NULL;
}

/* The name stands in a sentence for people there. */
static bool
has_no_doubts(StoreTx *tx, const Host *host, GError **err)
{
    const StoreCond where[] = {
        {"uncertainty", STORE_NOT_NULL, NULL, 0}, {"vm_state", STORE_NE, NULL, VM_DELETED}, {NULL}};
    g_autoptr(GPtrArray) servers = store_list(tx, &SERVER, &(StoreQuery){.where = where}, err);

    for (guint i = 0; servers && i < servers->len; i++) {
        const Server *server = g_ptr_array_index(servers, i);

        if (strstr(server->uncertainty, host->name))
            return err_set(err, ERR_CONFLICT,
                           "Host %s cannot be renamed while it is not certain where server %s "
                           "runs: %s.",
                           host->name, server->name, server->uncertainty);
    }
    return servers != NULL;
}

static bool
is_free(StoreTx *tx, const Host *host, const char *name, GError **err)
{
    const StoreCond where[] = {{"name", STORE_EQ, name, 0}, {"id", STORE_NE, host->id, 0}, {NULL}};
    int64_t others = store_count(tx, &HOST, where, err);

    if (others > 0)
        return err_set(err, ERR_CONFLICT, "There is a host %s already.", name);
    return others == 0;
}

/* The name inside of the JSON lists of some rows. */
static bool
replace_in_lists(StoreTx *tx, const RecordType *type, const char *column, const char *from,
                 const char *to, GError **err)
{
    g_autofree char *pattern = g_strdup_printf("%%\"%s\"%%", from); /* a name has no wildcard */
    g_autofree char *old = g_strdup_printf("\"%s\"", from), *new = g_strdup_printf("\"%s\"", to);
    const StoreCond where[] = {{column, STORE_LIKE, pattern, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = store_list(tx, type, &(StoreQuery){.where = where}, err);
    size_t offset = record_field(type, column)->offset;

    for (guint i = 0; rows && i < rows->len; i++) {
        char *row = g_ptr_array_index(rows, i), **field = (char **)(row + offset);
        g_auto(GStrv) parts = g_strsplit(*field, old, -1);
        g_autofree char *text = g_strjoinv(new, parts);

        text_set(field, text);
        if (!store_update(tx, type, row, err))
            return false;
    }
    return rows != NULL;
}

static bool
replace_name(StoreTx *tx, const char *from, const char *to, GError **err)
{
    static const struct {
        const RecordType *type;
        const char *column;
    } columns[] = {
        {&SERVER, "host"},         {&MIGRATION, "source_host"},
        {&MIGRATION, "dest_host"}, {&DISK_CLIENT, "host"},
        {&FENCE, "host"},          {&TASK, "host"},
        {&ACTION_EVENT, "host"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(columns); i++)
        if (store_replace_text(tx, columns[i].type, columns[i].column, from, to, err) < 0)
            return false;
    return replace_in_lists(tx, &SERVER, "console_parts", from, to, err) &&
           replace_in_lists(tx, &MIGRATION, "attempts", from, to, err);
}

bool
task_host_rename(StoreTx *tx, Host *host, const char *name, GError **err)
{
    g_autofree char *reason = g_strdup_printf("it was called %s; not connected yet", host->name);
    g_auto(Moves) moves = {0};

    if (strcmp(name, host->name) == 0)
        return true;
    if (!host_name_is_valid(name))
        return err_set(err, ERR_INVALID,
                       "'name' must have 1 to %d letters, digits, '.' or '-', and begin with a "
                       "letter or a digit.",
                       HOST_NAME_MAX_BYTES);
    if (!is_free(tx, host, name, err) || !has_no_tasks(tx, host, err) ||
        !has_no_doubts(tx, host, err) || !read_moves(tx, host, &moves, err))
        return false;
    g_ptr_array_set_size(moves.finished, 0); /* nobody is at work on those */
    if (!has_no_moves(host, &moves, err) || !replace_name(tx, host->name, name, err))
        return false;
    text_set(&host->name, name);
    /* What was heard under the former name is not recorded any more. */
    host->state = HOST_UNKNOWN;
    host->state_changed_at = host->updated_at = clock_realtime();
    text_set(&host->state_reason, reason);
    host->storage_visible = false;
    text_set(&host->storage_reason, "not connected yet");
    return store_update(tx, &HOST, host, err);
}
