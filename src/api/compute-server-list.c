/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-server-list.c: lists of servers: filters, order, pages
 *
 * What SQL can decide cheaply (project, host, image, flavor, time of change) goes into the
 * statement; patterns, tags and the status words, which mix two states, are decided here. The order
 * is total (the id is the last key), so that a page continues exactly after its marker even if the
 * marker has ceased to match. */
#include <string.h>

#include "api/compute-priv.h"

#define SORT_KEYS_MAX 4
#define SLACK         32 /* rows read beyond a page for servers made in the same microsecond */

typedef struct SortKey {
    const Field *field;
    bool ascending;
} SortKey;

typedef enum TextFilterKind {
    MATCH_PATTERN,
    MATCH_EXACT
} TextFilterKind;

/* Filters on a text field. Those not for everybody are ignored, as in Nova, unless an administrator
 * asks. */
static const struct TextFilter {
    const char *name;
    const char *column;
    TextFilterKind kind;
    int everybody_since; /* microversion from which all may use it; 0: never */
} text_filters[] = {
    {"name", "name", MATCH_PATTERN, 1},
    {"display_name", "name", MATCH_PATTERN, 0},
    {"hostname", "hostname", MATCH_PATTERN, 0},
    {"description", "description", MATCH_PATTERN, 0},
    {"display_description", "description", MATCH_PATTERN, 0},
    {"reservation_id", "reservation_id", MATCH_EXACT, 1},
    {"image", "image_id", MATCH_EXACT, 1},
    {"image_ref", "image_id", MATCH_EXACT, 0},
    {"flavor", "flavor_id", MATCH_EXACT, 1},
    {"host", "host", MATCH_EXACT, 0},
    {"node", "host", MATCH_EXACT, 0},
    {"uuid", "id", MATCH_EXACT, 0},
    {"key_name", "key_name", MATCH_EXACT, 83},
    {"user_id", "user_id", MATCH_EXACT, 83},
};

static const char *const query_names[] = {
    "user_id",
    "project_id",
    "tenant_id",
    "launch_index",
    "image_ref",
    "image",
    "kernel_id",
    "ramdisk_id",
    "hostname",
    "key_name",
    "power_state",
    "vm_state",
    "task_state",
    "host",
    "node",
    "flavor",
    "reservation_id",
    "launched_at",
    "terminated_at",
    "availability_zone",
    "name",
    "display_name",
    "description",
    "display_description",
    "locked_by",
    "uuid",
    "root_device_name",
    "config_drive",
    "access_ip_v4",
    "access_ip_v6",
    "auto_disk_config",
    "progress",
    "sort_key",
    "sort_dir",
    "all_tenants",
    "soft_deleted",
    "deleted",
    "status",
    "changes-since",
    "changes-before",
    "ip",
    "ip6",
    "created_at",
    "tags",
    "tags-any",
    "not-tags",
    "not-tags-any",
    "locked",
    "limit",
    "marker",
    NULL,
};

static const char *const status_words[] = {
    "ACTIVE",    "BUILD",        "DELETED",       "ERROR",   "HARD_REBOOT",
    "MIGRATING", "PASSWORD",     "PAUSED",        "REBOOT",  "REBUILD",
    "RESCUE",    "RESIZE",       "REVERT_RESIZE", "SHELVED", "SHELVED_OFFLOADED",
    "SHUTOFF",   "SOFT_DELETED", "SUSPENDED",     "UNKNOWN", "VERIFY_RESIZE",
    NULL,
};

/* Nova's sort keys: those with a column here sort, the others are accepted and change nothing. */
static const struct {
    const char *key, *column;
} sort_columns[] = {
    {"created_at", "created_at"},
    {"updated_at", "updated_at"},
    {"launched_at", "launched_at"},
    {"terminated_at", "terminated_at"},
    {"display_name", "name"},
    {"display_description", "description"},
    {"uuid", "id"},
    {"hostname", "hostname"},
    {"host", "host"},
    {"node", "host"},
    {"image_ref", "image_id"},
    {"instance_type_id", "flavor_id"},
    {"key_name", "key_name"},
    {"launch_index", "launch_index"},
    {"power_state", "power_state"},
    {"task_state", "task_state"},
    {"vm_state", "vm_state"},
    {"project_id", "project_id"},
    {"user_id", "user_id"},
    {"availability_zone", "availability_zone"},
    {"config_drive", "config_drive"},
    {"locked", "locked"},
    {"access_ip_v4", NULL},
    {"access_ip_v6", NULL},
    {"auto_disk_config", NULL},
    {"kernel_id", NULL},
    {"locked_by", NULL},
    {"progress", NULL},
    {"ramdisk_id", NULL},
    {"root_device_name", NULL},
};

static const char *const ignored_sort_keys[] = {
    "architecture",
    "cell_name",
    "cleaned",
    "default_ephemeral_device",
    "default_swap_device",
    "deleted",
    "deleted_at",
    "disable_terminate",
    "ephemeral_gb",
    "ephemeral_key_uuid",
    "id",
    "key_data",
    "launched_on",
    "memory_mb",
    "os_type",
    "reservation_id",
    "root_gb",
    "shutdown_terminate",
    "user_data",
    "vcpus",
    "vm_mode",
    NULL,
};

typedef struct ListRequest {
    bool detail;
    bool all_projects;
    bool nothing; /* a filter that no server can pass */
    int64_t limit;
    const char *marker;
    int64_t changed_since, changed_before;
    GPtrArray *statuses;              /* char *, upper case; NULL: any */
    GPtrArray *sort_keys, *sort_dirs; /* char * */
    Matcher *patterns[G_N_ELEMENTS(text_filters)];
    const char *exact[G_N_ELEMENTS(text_filters)];
    Matcher *ip;
    char **tags, **tags_any, **not_tags, **not_tags_any;
    const char *project; /* of another project, for administrators */
    const char *zone;
    int locked; /* -1: any */
    SortKey sort[SORT_KEYS_MAX];
    size_t n_sort;
    bool in_memory; /* some filter is decided here, so SQL must not cut the page */
    /* out */
    GPtrArray *servers;
    ServerContext *context;
    bool more;
} ListRequest;

static void
list_request_clear(ListRequest *list)
{
    for (size_t i = 0; i < G_N_ELEMENTS(list->patterns); i++)
        matcher_free(list->patterns[i]);
    matcher_free(list->ip);
    g_strfreev(list->tags);
    g_strfreev(list->tags_any);
    g_strfreev(list->not_tags);
    g_strfreev(list->not_tags_any);
    g_clear_pointer(&list->statuses, g_ptr_array_unref);
    g_clear_pointer(&list->sort_keys, g_ptr_array_unref);
    g_clear_pointer(&list->sort_dirs, g_ptr_array_unref);
    g_clear_pointer(&list->servers, g_ptr_array_unref);
    g_clear_pointer(&list->context, server_context_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ListRequest, list_request_clear)

/* ---- reading the query --------------------------------------------------------------------------
 */

static void
collect_repeated(const char *name, const char *value, void *opaque)
{
    ListRequest *list = opaque;

    if (strcmp(name, "status") == 0) {
        if (!list->statuses)
            list->statuses = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(list->statuses, g_ascii_strup(value ? value : "", -1));
    } else if (strcmp(name, "sort_key") == 0) {
        g_ptr_array_add(list->sort_keys, g_strdup(value ? value : ""));
    } else if (strcmp(name, "sort_dir") == 0) {
        g_ptr_array_add(list->sort_dirs, g_strdup(value ? value : ""));
    }
}

static char **
split_tags(ApiCall *call, const char *name, bool *in_memory)
{
    const char *text = api_microversion_at_least(call, 26) ? api_query(call, name) : NULL;

    if (!text)
        return NULL;
    *in_memory = true;
    return g_strsplit(text, ",", COMPUTE_TAGS_MAX + 1);
}

static bool
list_read_status(ApiCall *call, ListRequest *list)
{
    guint known = 0;

    if (!list->statuses)
        return true;
    for (guint i = 0; i < list->statuses->len; i++)
        known += g_strv_contains(status_words, list->statuses->pdata[i]);
    if (known == 0 && api_microversion_at_least(call, 38)) {
        api_fault(call, 400, "Invalid status value");
        return false;
    }
    list->nothing |= known == 0;
    if (list->statuses->len == 1 && strcmp(list->statuses->pdata[0], "DELETED") == 0) {
        if (!call->caller->is_admin) {
            api_fault(call, 403, "Only administrators may list deleted instances");
            return false;
        }
        list->nothing = true;
    }
    list->in_memory = true;
    return true;
}

static bool
list_read_sort(ApiCall *call, ListRequest *list)
{
    for (guint i = 0; i < list->sort_keys->len; i++) {
        const char *key = list->sort_keys->pdata[i];
        const char *dir = i < list->sort_dirs->len ? list->sort_dirs->pdata[i] : "desc";
        size_t row = 0;

        while (row < G_N_ELEMENTS(sort_columns) && strcmp(sort_columns[row].key, key) != 0)
            row++;
        if (row == G_N_ELEMENTS(sort_columns)) {
            if (g_strv_contains(ignored_sort_keys, key) && !api_microversion_at_least(call, 75))
                continue;
            api_fault(call, 400, "Invalid input for query parameter sort_key: '%s' is no sort key.",
                      key);
            return false;
        }
        if (strcmp(dir, "asc") != 0 && strcmp(dir, "desc") != 0) {
            api_fault(call, 400, "Unknown sort direction, must be one of: asc, desc");
            return false;
        }
        if (sort_columns[row].column && list->n_sort < SORT_KEYS_MAX) {
            list->sort[list->n_sort].field = record_field(&SERVER, sort_columns[row].column);
            list->sort[list->n_sort++].ascending = strcmp(dir, "asc") == 0;
        }
    }
    if (list->n_sort > 0) {
        list->in_memory = true;
    } else {
        list->sort[0].field = record_field(&SERVER, "created_at");
        list->n_sort = 1;
    }
    return true;
}

static bool
list_read_projects(ApiCall *call, ListRequest *list)
{
    const char *asked = api_query(call, "project_id");
    const char *all = api_query(call, "all_tenants");
    bool wanted = false;

    if (all && *all && !parse_bool(all, &wanted)) {
        api_fault(call, 400,
                  "Invalid input for query parameter all_tenants: '%s' is neither true "
                  "nor false.",
                  all);
        return false;
    }
    if (all && (wanted || !*all)) {
        if (!call->caller->is_admin) {
            api_fault(call, 403,
                      "Policy doesn't allow os_compute_api:servers:%s:get_all_tenants to be "
                      "performed. Only administrators list the servers of all projects.",
                      list->detail ? "detail" : "index");
            return false;
        }
        list->all_projects = true;
        list->project = asked ? asked : api_query(call, "tenant_id");
    }
    return true;
}

static bool
list_request_read(ApiCall *call, ListRequest *list)
{
    bool is_admin = call->caller->is_admin;
    const char *text;

    list->locked = -1;
    list->sort_keys = g_ptr_array_new_with_free_func(g_free);
    list->sort_dirs = g_ptr_array_new_with_free_func(g_free);
    if (api_microversion_at_least(call, 75) && !query_accept(call, query_names))
        return false;
    http_request_query_each(call->request, collect_repeated, list);
    if (!api_paging(call, &list->limit, &list->marker) || !list_read_projects(call, list) ||
        !list_read_status(call, list) || !list_read_sort(call, list) ||
        !query_time(call, "changes-since", &list->changed_since))
        return false;
    if (api_microversion_at_least(call, 66)) {
        if (!query_time(call, "changes-before", &list->changed_before))
            return false;
        if (list->changed_before && list->changed_before < list->changed_since) {
            api_fault(call, 400,
                      "The value of changes-since must be less than or equal to changes-before.");
            return false;
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(text_filters); i++) {
        const struct TextFilter *filter = &text_filters[i];
        bool allowed = is_admin || (filter->everybody_since > 0 &&
                                    api_microversion_at_least(call, filter->everybody_since));

        text = allowed ? api_query(call, filter->name) : NULL;
        if (!text)
            continue;
        if (filter->kind == MATCH_EXACT) {
            list->exact[i] = text;
        } else {
            list->patterns[i] = matcher_new(text);
            list->in_memory = true;
        }
    }
    text = api_query(call, "ip");
    if (text) {
        list->ip = matcher_new(text);
        list->in_memory = true;
    }
    list->nothing |= api_query(call, "ip6") && (is_admin || api_microversion_at_least(call, 5));
    list->nothing |= is_admin && query_bool(call, "deleted", false) && !list->changed_since;
    list->zone = is_admin || api_microversion_at_least(call, 83)
                     ? api_query(call, "availability_zone")
                     : NULL;
    list->in_memory |= list->zone != NULL;
    text = api_microversion_at_least(call, 73) ? api_query(call, "locked") : NULL;
    if (text) {
        list->locked = query_bool(call, "locked", false);
        list->in_memory = true;
    }
    list->tags = split_tags(call, "tags", &list->in_memory);
    list->tags_any = split_tags(call, "tags-any", &list->in_memory);
    list->not_tags = split_tags(call, "not-tags", &list->in_memory);
    list->not_tags_any = split_tags(call, "not-tags-any", &list->in_memory);
    return true;
}

/* ---- order -------------------------------------------------------------------------------------
 */

static int
field_compare(const Field *field, const Server *a, const Server *b)
{
    const char *left = (const char *)a + field->offset, *right = (const char *)b + field->offset;

    switch (field->type) {
    case FIELD_TEXT:
        return g_strcmp0(*(char *const *)left, *(char *const *)right);
    case FIELD_INT: {
        int64_t x = *(const int64_t *)left, y = *(const int64_t *)right;
        return x < y ? -1 : x > y;
    }
    case FIELD_BOOL:
        return (int)*(const bool *)left - (int)*(const bool *)right;
    case FIELD_ENUM:
        return *(const int *)left - *(const int *)right;
    }
    return 0;
}

static int
server_compare(const Server *a, const Server *b, const ListRequest *list)
{
    for (size_t i = 0; i < list->n_sort; i++) {
        int order = field_compare(list->sort[i].field, a, b);
        if (order != 0)
            return list->sort[i].ascending ? order : -order;
    }
    return strcmp(b->id, a->id);
}

static int
server_compare_rows(const void *a, const void *b, void *list)
{
    return server_compare(*(Server *const *)a, *(Server *const *)b, list);
}

/* ---- filters ------------------------------------------------------------------------------------
 */

static bool
tags_pass(const ListRequest *list, const Server *server)
{
    if (!list->tags && !list->tags_any && !list->not_tags && !list->not_tags_any)
        return true;
    json_t *own = json_parse_stored(server->tags, JSON_ARRAY);
    char **const wanted[] = {list->tags, list->tags_any, list->not_tags, list->not_tags_any};
    size_t found[4] = {0}, asked[4] = {0};

    for (size_t w = 0; w < G_N_ELEMENTS(wanted); w++) {
        for (char **tag = wanted[w]; tag && *tag; tag++, asked[w]++) {
            size_t i;
            json_t *item;
            json_array_foreach(own, i, item) found[w] +=
                g_strcmp0(json_string_value(item), *tag) == 0;
        }
    }
    json_decref(own);
    return found[0] == asked[0] && (!list->tags_any || found[1] > 0) &&
           (!list->not_tags || found[2] < asked[2]) && found[3] == 0;
}

static bool
status_passes(const ListRequest *list, const Server *server)
{
    if (!list->statuses)
        return true;
    /* As in Nova, the plain status of a vm_state also finds the servers to which something is being
     * done. */
    const char *now = server_status(server->vm_state, server->task_state);
    const char *plain = server_status(server->vm_state, TASK_NONE);
    for (guint i = 0; i < list->statuses->len; i++) {
        if (strcmp(now, list->statuses->pdata[i]) == 0 ||
            strcmp(plain, list->statuses->pdata[i]) == 0)
            return true;
    }
    return false;
}

static bool
server_passes(const ListRequest *list, const Server *server)
{
    if (!status_passes(list, server) || !tags_pass(list, server))
        return false;
    if (list->locked >= 0 && server->locked != (list->locked == 1))
        return false;
    if (list->zone && strcmp(list->zone, "nova") != 0)
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(text_filters); i++) {
        const Field *field = record_field(&SERVER, text_filters[i].column);
        const char *text = *(char *const *)((const char *)server + field->offset);
        if (list->patterns[i] && !matcher_matches(list->patterns[i], text ? text : ""))
            return false;
    }
    return true;
}

/* Keep the servers that have an address that matches. One statement, whatever their number. */
static bool
filter_by_ip(StoreTx *tx, ListRequest *list, GError **err)
{
    StoreCond where[] = {{"device_owner", STORE_EQ, "compute:nova", 0}, {0}};
    StoreQuery query = {.where = where};
    g_autoptr(GHashTable) ids = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GPtrArray) ports = store_list(tx, &PORT, &query, err);

    if (!ports)
        return false;
    for (guint i = 0; i < ports->len; i++) {
        Port *port = ports->pdata[i];
        if (port->device_id && port->ip_address && matcher_matches(list->ip, port->ip_address))
            g_hash_table_add(ids, port->device_id);
    }
    for (guint i = list->servers->len; i-- > 0;) {
        if (!g_hash_table_contains(ids, ((Server *)list->servers->pdata[i])->id))
            g_ptr_array_remove_index(list->servers, i);
    }
    return true;
}

static bool
list_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    ListRequest *list = opaque;
    g_autoptr(Server) marker = NULL;
    StoreCond where[G_N_ELEMENTS(text_filters) + 6] = {{"vm_state", STORE_NE, NULL, VM_DELETED}};
    size_t n = 1;
    StoreQuery query = {.where = where, .order_by = "created_at", .descending = true};

    if (list->marker) {
        marker = api_server_get(tx, call, list->marker, NULL);
        if (!marker)
            return err_set(err, ERR_INVALID, "marker [%s] not found", list->marker);
        if (!list->in_memory)
            where[n++] = (StoreCond){"created_at", STORE_LE, NULL, marker->created_at};
    }
    if (!list->all_projects)
        where[n++] = (StoreCond){"project_id", STORE_EQ, call->caller->project_id, 0};
    else if (list->project)
        where[n++] = (StoreCond){"project_id", STORE_EQ, list->project, 0};
    if (list->changed_since)
        where[n++] = (StoreCond){"updated_at", STORE_GE, NULL, list->changed_since};
    if (list->changed_before)
        where[n++] = (StoreCond){"updated_at", STORE_LE, NULL, list->changed_before};
    for (size_t i = 0; i < G_N_ELEMENTS(text_filters); i++) {
        if (list->exact[i])
            where[n++] = (StoreCond){text_filters[i].column, STORE_EQ, list->exact[i], 0};
    }
    if (!list->in_memory)
        query.limit = list->limit + 1 + (marker ? SLACK : 0);
    list->servers = list->nothing ? g_ptr_array_new_with_free_func((GDestroyNotify)server_free)
                                  : store_list(tx, &SERVER, &query, err);
    if (!list->servers)
        return false;
    if (list->in_memory) {
        for (guint i = list->servers->len; i-- > 0;) {
            if (!server_passes(list, list->servers->pdata[i]))
                g_ptr_array_remove_index_fast(list->servers, i);
        }
    }
    if (list->ip && !filter_by_ip(tx, list, err))
        return false;
    g_ptr_array_sort_with_data(list->servers, server_compare_rows, list);
    if (marker) {
        guint passed = 0;
        while (passed < list->servers->len &&
               server_compare(list->servers->pdata[passed], marker, list) <= 0)
            passed++;
        if (passed > 0)
            g_ptr_array_remove_range(list->servers, 0, passed);
    }
    if (list->servers->len > list->limit) {
        g_ptr_array_remove_range(list->servers, (guint)list->limit,
                                 list->servers->len - (guint)list->limit);
        list->more = true;
    }
    if (!list->detail)
        return true;
    list->context = server_context_read(tx, call, list->servers, err);
    return list->context != NULL;
}

static int
text_append(const char *piece, size_t size, void *text)
{
    g_string_append_len(text, piece, (gssize)size);
    return 0;
}

/* Row by row into one text: a tree of a thousand servers would take several times the memory of the
 * answer, and most of its time in the allocator. */
static void
servers_reply(ApiCall *call, const ListRequest *list)
{
    const char *path = list->detail ? "/compute/v2.1/servers/detail" : "/compute/v2.1/servers";
    GString *text = g_string_new("{\"servers\":[");
    size_t size;

    for (guint i = 0; i < list->servers->len; i++) {
        const Server *server = list->servers->pdata[i];
        json_t *row = list->detail ? view_server(call, server, list->context, SERVER_VIEW_DETAIL)
                                   : view_server_brief(call, server);
        if (i > 0)
            g_string_append_c(text, ',');
        json_dump_callback(row, text_append, text, JSON_COMPACT);
        json_decref(row);
    }
    g_string_append_c(text, ']');
    if (list->more && list->servers->len > 0) {
        const Server *last = list->servers->pdata[list->servers->len - 1];
        json_t *next = page_next(call, path, last->id);
        g_string_append(text, ",\"servers_links\":");
        json_dump_callback(next, text_append, text, JSON_COMPACT);
        json_decref(next);
    }
    g_string_append_c(text, '}');
    size = text->len;
    http_response_status(call->response, 200);
    api_header(call, "Content-Type", "application/json");
    http_response_body(call->response, g_string_free(text, FALSE), size);
}

static void
servers_list(ApiCall *call, bool detail)
{
    g_auto(ListRequest) list = {.detail = detail};

    if (list_request_read(call, &list) && api_read(call, list_run, &list))
        servers_reply(call, &list);
}

void
compute_servers_list(ApiCall *call)
{
    servers_list(call, false);
}

void
compute_servers_detail(ApiCall *call)
{
    servers_list(call, true);
}
