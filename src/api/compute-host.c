/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-host.c: compute nodes as hypervisors, in all the forms that the microversions know */
#include <string.h>

#include "api/compute-priv.h"

static const char *const list_names[] = {"limit", "marker", "hypervisor_hostname_pattern",
                                         "with_servers", NULL};
static const char *const show_names[] = {"with_servers", NULL};

bool
host_loads_read(StoreTx *tx, GPtrArray **hosts, HostLoad **loads, GError **err)
{
    StoreQuery query = {.order_by = "name"};
    g_autoptr(GPtrArray) rows = store_list(tx, &HOST, &query, err);

    if (!rows)
        return false;
    g_autofree HostLoad *array = g_new0(HostLoad, MAX(rows->len, 1));
    if (!store_host_loads(tx, rows, array, err))
        return false;
    *hosts = g_steal_pointer(&rows);
    *loads = g_steal_pointer(&array);
    return true;
}

Host *
host_find(StoreTx *tx, const char *name, GError **err)
{
    StoreCond where[] = {{"name", STORE_EQ, name, 0}, {0}};
    GError *error = NULL;
    Host *host = store_find(tx, &HOST, where, &error);

    if (!host && !err_is(error, ERR_NOT_FOUND))
        g_propagate_error(err, error);
    else
        g_clear_error(&error);
    return host;
}

typedef struct HypervisorList {
    GPtrArray *hosts;
    HostLoad *loads;
    GPtrArray *servers; /* of all hosts, if they are to be shown; else NULL */
    bool with_servers;
} HypervisorList;

static void
hypervisor_list_clear(HypervisorList *list)
{
    g_clear_pointer(&list->hosts, g_ptr_array_unref);
    g_clear_pointer(&list->loads, g_free);
    g_clear_pointer(&list->servers, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(HypervisorList, hypervisor_list_clear)

static bool
hypervisors_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    HypervisorList *list = opaque;
    StoreCond where[] = {
        {"host", STORE_NOT_NULL, NULL, 0}, {"vm_state", STORE_NE, NULL, VM_DELETED}, {0}};
    StoreQuery query = {.where = where};
    (void)call;

    if (!host_loads_read(tx, &list->hosts, &list->loads, err))
        return false;
    if (list->with_servers)
        list->servers = store_list(tx, &SERVER, &query, err);
    return !list->with_servers || list->servers;
}

/* Nova leaves the key out where there is no server, and gives an empty list only from 2.75 on. */
static void
hypervisor_add_servers(ApiCall *call, const HypervisorList *list, const Host *host, json_t *view)
{
    json_t *servers = json_array();

    for (guint i = 0; list->servers && i < list->servers->len; i++) {
        const Server *server = list->servers->pdata[i];
        if (strcmp(server->host, host->name) == 0) {
            g_autofree char *name = server_domain_name(server);
            json_array_append_new(servers,
                                  json_pack("{s:s,s:s}", "name", name, "uuid", server->id));
        }
    }
    if (list->with_servers && (json_array_size(servers) > 0 || api_microversion_at_least(call, 75)))
        json_object_set(view, "servers", servers);
    json_decref(servers);
}

static bool
hostname_matches(const Host *host, const char *pattern)
{
    g_autofree char *name = g_ascii_strdown(host->name, -1);
    g_autofree char *part = g_ascii_strdown(pattern, -1);

    return strstr(name, part) != NULL;
}

static bool
hypervisor_has_id(ApiCall *call, const Host *host, const char *id)
{
    int64_t number;

    if (api_microversion_at_least(call, 53))
        return strcmp(host->id, id) == 0;
    return parse_int64(id, 1, INT64_MAX, &number) && number == host->number;
}

static bool
query_with_servers(ApiCall *call, bool *with_servers)
{
    const char *text = api_microversion_at_least(call, 53) ? api_query(call, "with_servers") : NULL;

    *with_servers = false;
    if (!text || parse_bool(text, with_servers))
        return true;
    api_fault(call, 400,
              "Invalid input for query parameter with_servers: '%s' is neither true nor "
              "false.",
              text);
    return false;
}

/* pattern NULL: all, by pages. */
static void
hypervisors_reply(ApiCall *call, const HypervisorList *list, const char *pattern, bool detail,
                  int64_t limit, const char *marker)
{
    const char *path =
        detail ? "/compute/v2.1/os-hypervisors/detail" : "/compute/v2.1/os-hypervisors";
    bool started = marker == NULL, more = false;
    json_t *rows = json_array();
    g_autofree char *last = NULL;

    for (guint i = 0; i < list->hosts->len; i++) {
        const HostLoad *load = &list->loads[i];
        const Host *host = load->host;

        if (!started) {
            started = hypervisor_has_id(call, host, marker);
            continue;
        }
        if (pattern && !hostname_matches(host, pattern))
            continue;
        if ((int64_t)json_array_size(rows) == limit) {
            more = true;
            break;
        }
        json_t *view = view_hypervisor(call, load, detail);
        hypervisor_add_servers(call, list, host, view);
        json_array_append_new(rows, view);
        g_free(last);
        last = api_microversion_at_least(call, 53) ? g_strdup(host->id)
                                                   : g_strdup_printf("%" PRId64, host->number);
    }
    if (!started) {
        json_decref(rows);
        api_fault(call, 400, "marker [%s] not found", marker);
        return;
    }
    if (pattern && json_array_size(rows) == 0) {
        json_decref(rows);
        api_fault(call, 404, "No hypervisor matching '%s' could be found.", pattern);
        return;
    }
    json_t *body = json_pack("{s:o}", "hypervisors", rows);
    if (more && last)
        json_object_set_new(body, "hypervisors_links", page_next(call, path, last));
    api_reply(call, 200, body);
}

static void
hypervisors_list(ApiCall *call, bool detail)
{
    g_auto(HypervisorList) list = {0};
    const char *pattern = NULL, *marker = NULL;
    int64_t limit = API_PAGE_MAX;

    if (api_microversion_at_least(call, 53)) {
        if (!query_accept(call, list_names) || !query_with_servers(call, &list.with_servers))
            return;
        pattern = api_query(call, "hypervisor_hostname_pattern");
        if (pattern && (api_query(call, "limit") || api_query(call, "marker"))) {
            api_fault(call, 400,
                      "Paging over hypervisors with the hypervisor_hostname_pattern "
                      "query parameter is not supported.");
            return;
        }
    }
    if (api_microversion_at_least(call, 33) && !api_paging(call, &limit, &marker))
        return;
    if (api_read(call, hypervisors_run, &list))
        hypervisors_reply(call, &list, pattern, detail, limit, marker);
}

void
compute_hypervisors_list(ApiCall *call)
{
    hypervisors_list(call, false);
}

void
compute_hypervisors_detail(ApiCall *call)
{
    hypervisors_list(call, true);
}

void
compute_hypervisors_search(ApiCall *call)
{
    g_auto(HypervisorList) list = {0};

    if (api_read(call, hypervisors_run, &list))
        hypervisors_reply(call, &list, api_param(call, "id"), false, API_PAGE_MAX, NULL);
}

void
compute_hypervisors_servers(ApiCall *call)
{
    g_auto(HypervisorList) list = {.with_servers = true};

    if (api_read(call, hypervisors_run, &list))
        hypervisors_reply(call, &list, api_param(call, "id"), false, API_PAGE_MAX, NULL);
}

void
compute_hypervisors_statistics(ApiCall *call)
{
    g_auto(HypervisorList) list = {0};

    if (api_read(call, hypervisors_run, &list))
        api_reply(call, 200,
                  json_pack("{s:o}", "hypervisor_statistics",
                            view_hypervisor_statistics(list.loads, list.hosts->len)));
}

/* The host that the path names, or NULL after a reply of 404: clients try a name here first and go
 * on after that. */
static const HostLoad *
hypervisor_of_call(ApiCall *call, const HypervisorList *list)
{
    const char *id = api_param(call, "id");

    for (guint i = 0; i < list->hosts->len; i++) {
        if (hypervisor_has_id(call, list->loads[i].host, id))
            return &list->loads[i];
    }
    api_fault(call, 404, "Hypervisor with ID '%s' could not be found.", id);
    return NULL;
}

void
compute_hypervisor_show(ApiCall *call)
{
    g_auto(HypervisorList) list = {0};
    const HostLoad *load;

    if ((api_microversion_at_least(call, 53) && !query_accept(call, show_names)) ||
        !query_with_servers(call, &list.with_servers) || !api_read(call, hypervisors_run, &list))
        return;
    load = hypervisor_of_call(call, &list);
    if (!load)
        return;
    json_t *view = view_hypervisor(call, load, true);
    hypervisor_add_servers(call, &list, load->host, view);
    api_reply(call, 200, json_pack("{s:o}", "hypervisor", view));
}

void
compute_hypervisor_uptime(ApiCall *call)
{
    g_auto(HypervisorList) list = {0};
    const HostLoad *load;

    if (!api_read(call, hypervisors_run, &list))
        return;
    load = hypervisor_of_call(call, &list);
    if (!load)
        return;
    if (!host_is_up(load->host)) {
        api_fault(call, 400, "Compute service of %s is unavailable at this time: the host is down.",
                  load->host->name);
        return;
    }
    api_reply(call, 200, json_pack("{s:o}", "hypervisor", view_hypervisor_uptime(call, load)));
}
