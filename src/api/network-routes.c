/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* network-routes.c: the network API v2.0: routes, lists, what there is only for the clients' sake
 */
#include <string.h>

#include "api/network-priv.h"

/* ---- lists ------------------------------------------------------------------------------------
 */

typedef struct RowFilter {
    const json_t *row;
    GHashTable *misses; /* names of which no value matched so far; matched ones map to NULL */
} RowFilter;

static const char *const list_words[] = {"limit",    "marker",       "fields", "sort_key",
                                         "sort_dir", "page_reverse", NULL};

/* "fixed_ips=ip_address=10.0.0.5" and "fixed_ips=subnet_id=…" */
static bool
fixed_ips_match(const json_t *fixed_ips, const char *value)
{
    const char *equals = strchr(value, '=');
    g_autofree char *key = equals ? g_strndup(value, (size_t)(equals - value)) : NULL;
    json_t *entry;
    size_t i;

    if (!equals)
        return true;
    json_array_foreach((json_t *)fixed_ips, i, entry)
    {
        if (g_strcmp0(json_string_value(json_object_get(entry, key)), equals + 1) == 0)
            return true;
    }
    return false;
}

static bool
member_matches(const json_t *member, const char *value)
{
    int64_t number;
    bool flag;

    if (json_is_boolean(member))
        return parse_bool(value, &flag) && flag == json_is_true(member);
    if (json_is_integer(member))
        return parse_int64(value, INT64_MIN, INT64_MAX, &number) &&
               number == json_integer_value(member);
    if (json_is_string(member))
        return strcmp(json_string_value(member), value) == 0;
    return *value == '\0';
}

/* A name that is given more than once is satisfied by any of its values. */
static void
filter_pair(const char *name, const char *value, void *opaque)
{
    RowFilter *filter = opaque;
    const json_t *member = json_object_get(filter->row, name);
    bool matches;

    if (g_strv_contains(list_words, name) || !member)
        return;
    matches = strcmp(name, "fixed_ips") == 0 ? fixed_ips_match(member, value)
                                             : member_matches(member, value);
    if (matches)
        g_hash_table_insert(filter->misses, (char *)name, NULL);
    else if (!g_hash_table_contains(filter->misses, name))
        g_hash_table_insert(filter->misses, (char *)name, (char *)name);
}

static bool
row_is_listed(ApiCall *call, const json_t *row)
{
    g_autoptr(GHashTable) misses = g_hash_table_new(g_str_hash, g_str_equal);
    RowFilter filter = {row, misses};
    GHashTableIter iter;
    void *name, *missed;

    http_request_query_each(call->request, filter_pair, &filter);
    g_hash_table_iter_init(&iter, misses);
    while (g_hash_table_iter_next(&iter, &name, &missed)) {
        if (missed)
            return false;
    }
    return true;
}

void
network_reply_list(ApiCall *call, const char *collection, json_t *rows)
{
    json_auto_t *all = rows;
    json_auto_t *page = json_array();
    const char *marker;
    int64_t limit;
    bool started;
    json_t *row;
    size_t i;

    if (!api_paging(call, &limit, &marker))
        return;
    if (!api_query(call, "limit"))
        limit = INT64_MAX; /* Neutron gives everything unless asked for pages */
    started = marker == NULL;
    json_array_foreach(all, i, row)
    {
        if (!started)
            started = g_strcmp0(json_string_value(json_object_get(row, "id")), marker) == 0;
        else if (row_is_listed(call, row) && (int64_t)json_array_size(page) < limit)
            json_array_append(page, row);
    }
    if (!started) {
        api_fault(call, 400, "The marker %s is not in the list.", marker);
        return;
    }
    api_reply(call, 200, json_pack("{s:O}", collection, page));
}

/* ---- bodies -----------------------------------------------------------------------------------
 */

const char *
network_owner(ApiCall *call, const json_t *body, GError **err)
{
    const char *project, *tenant;

    if (!json_get_name(body, "project_id", 64, &project, err) ||
        !json_get_name(body, "tenant_id", 64, &tenant, err))
        return NULL;
    if (!project)
        project = tenant;
    if (!project || !*project)
        return call->caller->project_id;
    if (!caller_may_see(call->caller, project)) {
        err_set(err, ERR_FORBIDDEN,
                "Only an administrator can make something for another project.");
        return NULL;
    }
    return project;
}

bool
network_read_common(const json_t *body, char **name, char **description, bool *admin_state_up,
                    GError **err)
{
    const char *text, *about;

    if (!json_get_name(body, "name", 255, &text, err) ||
        !json_get_text(body, "description", 255, &about, err) ||
        (admin_state_up && !json_get_bool(body, "admin_state_up", admin_state_up, err)))
        return false;
    if (text)
        text_set(name, text);
    if (about)
        text_set(description, about);
    else if (!*description)
        text_set(description, "");
    return true;
}

GPtrArray *
network_rows(StoreTx *tx, const RecordType *type, const char *column, const char *value,
             GError **err)
{
    const StoreCond where[] = {
        {.column = column, .op = STORE_EQ, .text = value},
        {.column = NULL},
    };
    const StoreQuery query = {.where = where, .order_by = "created_at"};

    return store_list(tx, type, &query, err);
}

bool
network_is_changeable(ApiCall *call, const char *kind, const char *id, const char *project_id,
                      GError **err)
{
    return caller_may_see(call->caller, project_id) ||
           err_set(err, ERR_FORBIDDEN, "%s %s belongs to another project.", kind, id);
}

/* ---- for the clients' sake --------------------------------------------------------------------
 */

static const struct {
    const char *alias, *name;
} extensions[] = {
    {"provider", "Provider Network"},
    {"binding", "Port Binding"},
    {"net-mtu", "Network MTU"},
    {"security-group", "security-group"},
    {"standard-attr-timestamp", "Resource timestamps"},
    {"project-id", "project_id field enabled"},
};

static json_t *
view_extension(size_t i)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:[]}", "alias", extensions[i].alias, "name",
                     extensions[i].name, "description", extensions[i].name, "updated",
                     "2024-01-01T00:00:00-00:00", "links");
}

static void
extensions_list(ApiCall *call)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < G_N_ELEMENTS(extensions); i++)
        json_array_append_new(rows, view_extension(i));
    api_reply(call, 200, json_pack("{s:o}", "extensions", rows));
}

static void
extension_show(ApiCall *call)
{
    const char *alias = api_param(call, "alias");

    for (size_t i = 0; i < G_N_ELEMENTS(extensions); i++) {
        if (strcmp(extensions[i].alias, alias) == 0) {
            api_reply(call, 200, json_pack("{s:o}", "extension", view_extension(i)));
            return;
        }
    }
    api_fault(call, 404, "Extension with alias %s does not exist.", alias);
}

/* Godwit does not filter a guest's traffic. It says so by one group, "default", whose rules allow
 * everything. */
static json_t *
view_security_group(ApiCall *call)
{
    static const char *const directions[] = {"egress", "ingress"};
    const char *project = call->caller->project_id;
    g_autofree char *seed = g_strconcat("security-group ", project, NULL);
    g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_MD5, seed, -1);
    g_autofree char *id = g_strdup_printf("%.8s-%.4s-%.4s-%.4s-%.12s", hash, hash + 8, hash + 12,
                                          hash + 16, hash + 20);
    json_t *rules = json_array();

    for (size_t i = 0; i < G_N_ELEMENTS(directions); i++) {
        g_autofree char *rule_id = g_strdup_printf("%.8s-%.4s-%.4s-%.4s-%011zu%c", hash, hash + 8,
                                                   hash + 12, hash + 16, i, hash[31]);
        json_array_append_new(
            rules,
            json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:n,s:n,s:n,s:n,s:n,s:s}", "id", rule_id,
                      "security_group_id", id, "direction", directions[i], "ethertype", "IPv4",
                      "project_id", project, "tenant_id", project, "protocol", "port_range_min",
                      "port_range_max", "remote_group_id", "remote_ip_prefix", "description", ""));
    }
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:[],s:o}", "id", id, "name", "default",
                     "description", "Everything is allowed", "project_id", project, "tenant_id",
                     project, "stateful", 1, "tags", "security_group_rules", rules);
}

static void
security_groups_list(ApiCall *call)
{
    network_reply_list(call, "security_groups", json_pack("[o]", view_security_group(call)));
}

static void
security_group_show(ApiCall *call)
{
    json_auto_t *group = view_security_group(call);

    if (strcmp(json_string_value(json_object_get(group, "id")), api_param(call, "id")) == 0)
        api_reply(call, 200, json_pack("{s:O}", "security_group", group));
    else
        api_fault(call, 404, "Security group %s does not exist.", api_param(call, "id"));
}

static void
security_group_rules_list(ApiCall *call)
{
    json_auto_t *group = view_security_group(call);

    network_reply_list(call, "security_group_rules",
                       json_incref(json_object_get(group, "security_group_rules")));
}

#define V2(verb, path, fn, who, body)                                                   \
    {                                                                                   \
        .method = verb, .pattern = "/network/v2.0/" path, .handler = fn, .policy = who, \
        .flags = body, .service = API_NETWORK                                           \
    }

const ApiRoute api_network_routes[] = {
    V2("GET", "extensions", extensions_list, API_ANYBODY, API_BODY_NONE),
    V2("GET", "extensions/{alias}", extension_show, API_ANYBODY, API_BODY_NONE),
    V2("GET", "security-groups", security_groups_list, API_READER, API_BODY_NONE),
    V2("GET", "security-groups/{id}", security_group_show, API_READER, API_BODY_NONE),
    V2("GET", "security-group-rules", security_group_rules_list, API_READER, API_BODY_NONE),
    V2("GET", "quotas/{project}", network_quota_show, API_READER, API_BODY_NONE),
    V2("GET", "quotas/{project}/default", network_quota_show, API_READER, API_BODY_NONE),
    V2("GET", "quotas/{project}/details.json", network_quota_details, API_READER, API_BODY_NONE),
    V2("GET", "networks", network_networks_list, API_READER, API_BODY_NONE),
    V2("POST", "networks", network_network_create, API_ADMIN, API_BODY_JSON),
    V2("GET", "networks/{id}", network_network_show, API_READER, API_BODY_NONE),
    V2("PUT", "networks/{id}", network_network_update, API_MEMBER, API_BODY_JSON),
    V2("DELETE", "networks/{id}", network_network_delete, API_MEMBER, API_BODY_NONE),
    V2("GET", "subnets", network_subnets_list, API_READER, API_BODY_NONE),
    V2("POST", "subnets", network_subnet_create, API_MEMBER, API_BODY_JSON),
    V2("GET", "subnets/{id}", network_subnet_show, API_READER, API_BODY_NONE),
    V2("PUT", "subnets/{id}", network_subnet_update, API_MEMBER, API_BODY_JSON),
    V2("DELETE", "subnets/{id}", network_subnet_delete, API_MEMBER, API_BODY_NONE),
    V2("GET", "ports", network_ports_list, API_READER, API_BODY_NONE),
    V2("POST", "ports", network_port_create, API_MEMBER, API_BODY_JSON),
    V2("GET", "ports/{id}", network_port_show, API_READER, API_BODY_NONE),
    V2("PUT", "ports/{id}", network_port_update, API_MEMBER, API_BODY_JSON),
    V2("DELETE", "ports/{id}", network_port_delete, API_MEMBER, API_BODY_NONE),
    {.method = NULL},
};
