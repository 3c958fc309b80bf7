/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-v1.c: Godwit's own API: status, CPUs, and the routes of it all */
#include <string.h>

#include "api/godwit-priv.h"
#include "task/query.h"

/* ---- status -----------------------------------------------------------------------------------
 */

/* What they have in common. */
static const char *
common_encryption(const char *common, const char *mine)
{
    return !common || strcmp(common, mine) == 0 ? mine : "mixed";
}

/* Whether anything between the nodes is plaintext, and where: an operator must see it unasked. */
static json_t *
status_encryption(const LibvirtSettings *settings, const GPtrArray *hosts)
{
    const char *channel = NULL, *memory = NULL;
    json_t *plaintext = json_array();

    for (size_t i = 0; i < hosts->len; i++) {
        const Host *host = g_ptr_array_index(hosts, i);
        const char *mine = host->encryption ? host->encryption : "plaintext";
        const char *moves = migrate_encryption_at(settings, host);

        channel = common_encryption(channel, mine);
        memory = common_encryption(memory, moves);
        if (strcmp(mine, "plaintext") == 0 || strcmp(moves, "plaintext") == 0)
            json_array_append_new(plaintext, json_string(host->name));
    }
    return json_pack("{s:s,s:s,s:b,s:o}", "node_encryption", channel ? channel : "none",
                     "memory_encryption", memory ? memory : "none", "encryption_required",
                     (int)settings->require_encryption, "plaintext_hosts", plaintext);
}

/* Servers of which it is not known where they run: an operator must see them without asking for
 * each. */
static json_t *
uncertain_servers(StoreTx *tx, GError **err)
{
    static const StoreCond where[] = {
        {.column = "uncertainty", .op = STORE_NOT_NULL},
        {.column = "vm_state", .op = STORE_NE, .num = VM_DELETED},
        {.column = NULL},
    };
    g_autoptr(GPtrArray) servers = store_list(tx, &SERVER, &(StoreQuery){.where = where}, err);
    json_t *list = servers ? json_array() : NULL;

    for (guint i = 0; servers && i < servers->len; i++) {
        const Server *server = g_ptr_array_index(servers, i);

        json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "id", server->id, "name",
                                              server->name, "uncertainty", server->uncertainty));
    }
    return list;
}

static bool
status_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    static const StoreCond alive[] = {
        {.column = "vm_state", .op = STORE_NE, .num = VM_DELETED},
        {.column = NULL},
    };
    static const StoreCond open[] = {
        {.column = "status", .op = STORE_EQ, .num = TASK_OPEN},
        {.column = NULL},
    };
    const ApiConfig *config = api_config(call->api);
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, &(StoreQuery){.order_by = "name"}, err);
    int64_t servers = hosts ? store_count(tx, &SERVER, alive, err) : -1;
    int64_t tasks = servers >= 0 ? store_count(tx, &TASK, open, err) : -1;
    json_t *uncertain = tasks >= 0 ? uncertain_servers(tx, err) : NULL;
    int64_t up = 0;

    if (!uncertain)
        return false;
    for (size_t i = 0; i < hosts->len; i++)
        up += ((Host *)g_ptr_array_index(hosts, i))->state == HOST_UP;
    *(json_t **)opaque =
        json_pack("{s:{s:s,s:I,s:I,s:s,s:s,s:{s:I,s:I},s:I,s:I,s:o}}", "status", "version",
                  GODWIT_VERSION, "epoch", (json_int_t)store_epoch(config->store), "uptime_s",
                  (json_int_t)((clock_monotonic() - api_started_at(call->api)) / USEC_PER_SEC),
                  "state", "active", "url", config->public_url, "hosts", "up", (json_int_t)up,
                  "down", (json_int_t)(hosts->len - up), "servers", (json_int_t)servers,
                  "open_tasks", (json_int_t)tasks, "uncertain", uncertain);
    json_object_update_new(json_object_get(*(json_t **)opaque, "status"),
                           status_encryption(config->libvirt, hosts));
    return true;
}

static void
status_show(ApiCall *call)
{
    api_answer_read(call, status_read, 200);
}

/* ---- CPUs -------------------------------------------------------------------------------------
 */

static int
row_compare(const void *a, const void *b)
{
    const json_t *left = *(json_t *const *)a, *right = *(json_t *const *)b;

    return strcmp(json_string_value(json_object_get(left, "name")),
                  json_string_value(json_object_get(right, "name")));
}

/* Adds host's name to the entry of each model that it can give. Returns how many it can. */
static size_t
models_add(GPtrArray *rows, GHashTable *by_name, const Host *host)
{
    json_auto_t *models = json_parse_stored(host->cpu_models, JSON_ARRAY);
    json_t *model;
    size_t i;

    json_array_foreach(models, i, model)
    {
        const char *name = json_string_value(model);
        json_t *row = name ? g_hash_table_lookup(by_name, name) : NULL;

        if (!name)
            continue;
        if (!row) {
            row = json_pack("{s:s,s:[],s:b}", "name", name, "hosts", "everywhere", 0);
            g_hash_table_insert(by_name, g_strdup(name), row);
            g_ptr_array_add(rows, row);
        }
        json_array_append_new(json_object_get(row, "hosts"), json_string(host->name));
    }
    return json_array_size(models);
}

static bool
models_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const StoreQuery query = {.order_by = "name"};
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, &query, err);
    g_autoptr(GPtrArray) rows = g_ptr_array_new();
    g_autoptr(GHashTable) by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    json_t *list;
    size_t known = 0; /* hosts whose models have been read */

    if (!hosts)
        return false;
    for (size_t i = 0; i < hosts->len; i++)
        known += models_add(rows, by_name, g_ptr_array_index(hosts, i)) > 0;
    g_ptr_array_sort(rows, row_compare);
    list = json_array();
    for (size_t i = 0; i < rows->len; i++) {
        json_t *row = g_ptr_array_index(rows, i);

        if (json_array_size(json_object_get(row, "hosts")) == known)
            json_object_set_new(row, "everywhere", json_true());
        json_array_append_new(list, row);
    }
    *(json_t **)opaque = json_pack("{s:o}", "models", list);
    return true;
}

static void
cpu_models(ApiCall *call)
{
    api_answer_read(call, models_read, 200);
}

/* The text between <model …> and </model> of a CPU that libvirt wrote. */
static char *
cpu_xml_model(const char *xml)
{
    const char *start = strstr(xml, "<model");
    const char *text = start ? strchr(start, '>') : NULL;
    const char *end = text ? strstr(text, "</model>") : NULL;

    return end ? g_strndup(text + 1, (size_t)(end - text - 1)) : NULL;
}

static void
cpu_baseline(ApiCall *call)
{
    g_autofree char *limit = NULL;
    GError *error = NULL;
    g_autofree char *xml = query_cpu_baseline(api_config(call->api)->tasks, &limit, &error);
    g_autofree char *model = NULL;

    if (!xml) {
        api_fail(call, error);
        return;
    }
    model = cpu_xml_model(xml);
    api_reply(call, 200,
              json_pack("{s:{s:s,s:o,s:o}}", "baseline", "xml", xml, "model",
                        json_text_or_null(model), "limit", json_text_or_null(limit)));
}

typedef struct CompareRequest {
    const char *host, *model, *server_id;
    Server *server;
} CompareRequest;

static bool
compare_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    CompareRequest *request = opaque;
    const StoreCond by_name[] = {
        {.column = "name", .op = STORE_EQ, .text = request->host},
        {.column = NULL},
    };
    int64_t hosts = store_count(tx, &HOST, by_name, err);

    if (hosts < 0)
        return false;
    if (hosts == 0)
        return err_set(err, ERR_NOT_FOUND, "Host %s is not known.", request->host);
    if (!request->server_id)
        return true;
    request->server = store_get(tx, &SERVER, request->server_id, NULL);
    return request->server ||
           err_set(err, ERR_NOT_FOUND, "Instance %s could not be found.", request->server_id);
}

static void
cpu_compare(ApiCall *call)
{
    TaskEngine *tasks = api_config(call->api)->tasks;
    CompareRequest request = {0};
    g_autoptr(Server) server = NULL;
    g_autofree char *xml = NULL;
    const json_t *body;
    GError *error = NULL;
    bool fits;

    if (!json_need_object(call->body, "compare", &body, &error) ||
        !json_only_keys(body, &error, "host", "model", "server", NULL) ||
        !json_need_name(body, "host", 255, &request.host, &error) ||
        !json_get_name(body, "model", 64, &request.model, &error) ||
        !json_get_name(body, "server", 64, &request.server_id, &error) ||
        (!request.model == !request.server_id &&
         !err_set(&error, ERR_INVALID, "Name either a 'model' or a 'server' to compare."))) {
        api_fail(call, error);
        return;
    }
    if (!api_read(call, compare_read, &request))
        return;
    server = request.server;
    if (server) {
        xml = query_server_cpu(tasks, server, &error);
        if (!xml) {
            api_fail(call, error);
            return;
        }
    }
    fits = query_cpu_compare(tasks, request.host, xml ? xml : request.model, &error);
    if (!fits && !err_is(error, ERR_UNSUPPORTED)) {
        api_fail(call, error);
        return;
    }
    api_reply(call, 200,
              json_pack("{s:{s:b,s:o}}", "compare", "compatible", (int)fits, "reason",
                        json_text_or_null(error ? error->message : NULL)));
    g_clear_error(&error);
}

#define V1(verb, path, fn, who, body)                                                \
    {                                                                                \
        .method = verb, .pattern = "/godwit/v1/" path, .handler = fn, .policy = who, \
        .flags = body, .service = API_GODWIT                                         \
    }

const ApiRoute api_godwit_routes[] = {
    V1("GET", "status", status_show, API_ADMIN, API_BODY_NONE),
    V1("GET", "hosts", godwit_hosts_list, API_ADMIN, API_BODY_NONE),
    V1("POST", "hosts", godwit_host_create, API_ADMIN, API_BODY_JSON),
    V1("GET", "hosts/{name}", godwit_host_show, API_ADMIN, API_BODY_NONE),
    V1("PUT", "hosts/{name}", godwit_host_update, API_ADMIN, API_BODY_JSON),
    V1("DELETE", "hosts/{name}", godwit_host_delete, API_ADMIN, API_BODY_NONE),
    V1("GET", "hosts/{name}/domains", godwit_host_domains, API_ADMIN, API_BODY_NONE),
    V1("GET", "ca", godwit_ca_show, API_READER, API_BODY_NONE),
    V1("POST", "certificates", godwit_certificate_create, API_ADMIN, API_BODY_JSON),
    V1("GET", "migrations", godwit_migrations_list, API_READER, API_BODY_NONE),
    V1("GET", "migrations/{id}", godwit_migration_show, API_READER, API_BODY_NONE),
    V1("POST", "migrations/{id}/abort", godwit_migration_abort, API_MEMBER, API_BODY_NONE),
    V1("POST", "migrations/{id}/force-complete", godwit_migration_force, API_MEMBER, API_BODY_NONE),
    V1("GET", "fences", godwit_fences_list, API_ADMIN, API_BODY_NONE),
    V1("POST", "hosts/{name}/rescue", godwit_host_rescue, API_ADMIN, API_BODY_JSON_OPTIONAL),
    V1("GET", "servers/{id}", godwit_server_show, API_ADMIN, API_BODY_NONE),
    V1("POST", "servers/{id}/move", godwit_server_move, API_ADMIN, API_BODY_JSON_OPTIONAL),
    V1("POST", "servers/{id}/resize", godwit_server_resize, API_ADMIN, API_BODY_JSON_OPTIONAL),
    V1("POST", "servers/{id}/evacuate", godwit_server_evacuate, API_ADMIN, API_BODY_JSON_OPTIONAL),
    V1("POST", "servers/{id}/flatten", godwit_server_flatten, API_ADMIN, API_BODY_NONE),
    V1("GET", "volumes/{id}", godwit_volume_show, API_READER, API_BODY_NONE),
    V1("POST", "volumes/{id}/flatten", godwit_volume_flatten, API_ADMIN, API_BODY_NONE),
    V1("GET", "snapshots/{id}", godwit_snapshot_show, API_READER, API_BODY_NONE),
    V1("GET", "storage", godwit_storage_list, API_ADMIN, API_BODY_NONE),
    V1("POST", "storage/rotate-key", godwit_storage_rotate_key, API_ADMIN, API_BODY_NONE),
    V1("POST", "storage/sweep", godwit_storage_sweep, API_ADMIN, API_BODY_NONE),
    V1("GET", "ceph-conf", godwit_ceph_conf_show, API_ADMIN, API_BODY_NONE),
    V1("GET", "storage/{purpose}", godwit_storage_show, API_ADMIN, API_BODY_NONE),
    V1("GET", "state/backup", godwit_state_backup, API_ADMIN, API_BODY_NONE),
    V1("GET", "tasks", godwit_tasks_list, API_ADMIN, API_BODY_NONE),
    V1("GET", "tasks/{id}", godwit_task_show, API_ADMIN, API_BODY_NONE),
    V1("GET", "cpu/models", cpu_models, API_ADMIN, API_BODY_NONE),
    V1("GET", "cpu/baseline", cpu_baseline, API_ADMIN, API_BODY_NONE),
    V1("POST", "cpu/compare", cpu_compare, API_ADMIN, API_BODY_JSON),
    {.method = NULL},
};
