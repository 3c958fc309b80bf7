/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-hosts.c: compute nodes in Godwit's own API */
#include <arpa/inet.h>
#include <string.h>

#include "api/godwit-priv.h"
#include "task/host-change.h"

static json_t *
view_version(int64_t version)
{
    g_autofree char *text = NULL;

    if (version <= 0)
        return json_null();
    text = g_strdup_printf("%d.%d.%d", (int)(version / 1000000), (int)(version / 1000 % 1000),
                           (int)(version % 1000));
    return json_string(text);
}

static json_t *
view_host(const LibvirtSettings *settings, const HostLoad *load, int64_t fences)
{
    const Host *host = load->host;
    json_auto_t *cpu = json_parse_stored(host->cpu_info, JSON_OBJECT);
    json_t *model = json_object_get(cpu, "model");

    return json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:b,s:o,s:b,s:s,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:o,"
        "s:O,s:b,s:o,s:I,s:I,s:s,s:I,s:I,s:I}",
        "name", host->name, "id", host->id, "uri", host->uri, "address", host->address,
        "migration_address", host->migration_address ? host->migration_address : host->address,
        "enabled", (int)host->enabled, "disabled_reason", json_text_or_null(host->disabled_reason),
        "forced_down", (int)host->forced_down, "state", host_state_names[host->state],
        "state_reason", json_text_or_null(host->state_reason), "vcpus", (json_int_t)host->vcpus,
        "memory_mb", (json_int_t)host->memory_mb, "disk_gb", (json_int_t)host->disk_gb,
        "disk_free_gb", (json_int_t)host->disk_free_gb, "servers", (json_int_t)load->servers,
        "vcpus_used", (json_int_t)load->vcpus_used, "ram_mb_used", (json_int_t)load->ram_mb_used,
        "virt_type", json_text_or_null(host->virt_type), "encryption",
        json_text_or_null(host->encryption), "libvirt_version", view_version(host->libvirt_version),
        "qemu_version", view_version(host->qemu_version), "cpu_model",
        json_is_string(model) ? model : json_null(), "storage_visible", (int)host->storage_visible,
        "storage_reason", json_text_or_null(host->storage_reason), "created_at",
        (json_int_t)host->created_at, "facts_at", (json_int_t)host->facts_at, "memory_encryption",
        migrate_encryption_at(settings, host), "foreign_domains", (json_int_t)host->foreign_domains,
        "fences", (json_int_t)fences, "state_changed_at", (json_int_t)host->state_changed_at);
}

/* Views of hosts, which are freed. */
static json_t *
view_hosts(StoreTx *tx, ApiCall *call, GPtrArray *hosts, GError **err)
{
    g_autofree HostLoad *loads = g_new0(HostLoad, hosts->len + 1);
    json_auto_t *rows = json_array();

    if (!store_host_loads(tx, hosts, loads, err))
        return NULL;
    for (size_t i = 0; i < hosts->len; i++) {
        const StoreCond where[] = {{"host", STORE_EQ, loads[i].host->name, 0}, {NULL}};
        int64_t fences = store_count(tx, &FENCE, where, err);

        if (fences < 0)
            return NULL;
        json_array_append_new(rows, view_host(api_config(call->api)->libvirt, &loads[i], fences));
    }
    return json_incref(rows);
}

static bool
hosts_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const StoreQuery query = {.order_by = "name"};
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, &query, err);
    json_t *rows = hosts ? view_hosts(tx, call, hosts, err) : NULL;

    if (rows)
        *(json_t **)opaque = json_pack("{s:o}", "hosts", rows);
    return rows != NULL;
}

void
godwit_hosts_list(ApiCall *call)
{
    api_answer_read(call, hosts_list, 200);
}

static GPtrArray *
hosts_by(StoreTx *tx, const char *column, const char *value, GError **err)
{
    const StoreCond where[] = {
        {.column = column, .op = STORE_EQ, .text = value},
        {.column = NULL},
    };
    const StoreQuery query = {.where = where};

    return store_list(tx, &HOST, &query, err);
}

/* The one host of the path, as a list. */
static GPtrArray *
host_of_path(StoreTx *tx, ApiCall *call, GError **err)
{
    const char *name = api_param(call, "name");
    g_autoptr(GPtrArray) hosts = hosts_by(tx, "name", name, err);

    if (!hosts || hosts->len == 1)
        return g_steal_pointer(&hosts);
    err_set(err, ERR_NOT_FOUND, "Host %s is not known; `godwit host list` shows those that are.",
            name);
    return NULL;
}

static bool
host_out(StoreTx *tx, ApiCall *call, GPtrArray *hosts, json_t **out, GError **err)
{
    json_auto_t *rows = view_hosts(tx, call, hosts, err);

    if (rows)
        *out = json_pack("{s:O}", "host", json_array_get(rows, 0));
    return rows != NULL;
}

static bool
host_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(GPtrArray) hosts = host_of_path(tx, call, err);

    return hosts && host_out(tx, call, hosts, opaque, err);
}

void
godwit_host_show(ApiCall *call)
{
    api_answer_read(call, host_show, 200);
}

/* ---- create -----------------------------------------------------------------------------------
 */

static bool
address_is_numeric(const char *text)
{
    struct in6_addr raw;

    return inet_pton(AF_INET, text, &raw) == 1 || inet_pton(AF_INET6, text, &raw) == 1;
}

/* No other host may have its name or its URI. */
static bool
host_is_alone(StoreTx *tx, const Host *host, GError **err)
{
    static const char *const columns[] = {"name", "uri"};
    const char *const values[] = {host->name, host->uri};

    for (size_t i = 0; i < G_N_ELEMENTS(columns); i++) {
        g_autoptr(GPtrArray) same = hosts_by(tx, columns[i], values[i], err);
        const Host *other = same && same->len > 0 ? g_ptr_array_index(same, 0) : NULL;

        if (!same)
            return false;
        if (other && strcmp(other->id, host->id) != 0)
            return i == 0
                       ? err_set(err, ERR_CONFLICT, "There is a host %s already.", host->name)
                       : err_set(err, ERR_CONFLICT,
                                 "Host %s has this URI already: one node, one host.", other->name);
    }
    return true;
}

/* How it is reached: of a new host, or of one that was prepared anew. What is not named stays. */
static bool
host_read_place(const json_t *body, Host *host, GError **err)
{
    const char *uri, *address, *migration_address;

    if (!json_get_text(body, "uri", 1024, &uri, err) ||
        !json_get_text(body, "address", 64, &address, err) ||
        !json_get_text(body, "migration_address", 64, &migration_address, err))
        return false;
    if ((address && !address_is_numeric(address)) ||
        (migration_address && !address_is_numeric(migration_address)))
        return err_set(err, ERR_INVALID,
                       "'address' and 'migration_address' must be numeric IP addresses: the other "
                       "nodes reach this one by them.");
    if (uri) {
        const char *transport = host_uri_transport(uri, err);

        if (!transport)
            return false;
        text_set(&host->uri, uri);
        text_set(&host->encryption, strcmp(transport, "tcp") == 0 ? "plaintext" : transport);
    }
    if (address)
        text_set(&host->address, address);
    if (migration_address)
        text_set(&host->migration_address, migration_address);
    return true;
}

static bool
host_read_body(const json_t *body, Host *host, GError **err)
{
    const char *name, *uri, *address;

    if (!json_only_keys(body, err, "name", "uri", "address", "migration_address", NULL) ||
        !json_need_text(body, "name", 255, &name, err) ||
        !json_need_text(body, "uri", 1024, &uri, err) ||
        !json_need_text(body, "address", 64, &address, err))
        return false;
    if (!host_name_is_valid(name))
        return err_set(err, ERR_INVALID,
                       "'name' must have 1 to %d letters, digits, '.' or '-', and begin with a "
                       "letter or a digit.",
                       HOST_NAME_MAX_BYTES);
    host->name = g_strdup(name);
    return host_read_place(body, host, err);
}

static bool
host_create(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    Host *host = record_new(&HOST);
    g_autoptr(GPtrArray) hosts = g_ptr_array_new_with_free_func((GDestroyNotify)host_free);
    const json_t *body;

    g_ptr_array_add(hosts, host);
    host->id = uuid_new();
    host->service_id = uuid_new();
    host->enabled = true;
    host->state = HOST_UNKNOWN;
    host->cpu_info = g_strdup("{}");
    host->cpu_models = g_strdup("[]");
    host->max_client_requests = 5;
    host->created_at = host->updated_at = clock_realtime();
    return json_need_object(call->body, "host", &body, err) && host_read_body(body, host, err) &&
           host_is_alone(tx, host, err) && store_next_number(tx, "host", &host->number, err) &&
           store_insert(tx, &HOST, host, err) && host_out(tx, call, hosts, opaque, err);
}

static void
hosts_changed(ApiCall *call)
{
    const ApiConfig *config = api_config(call->api);

    if (config->on_hosts_changed)
        config->on_hosts_changed(config->opaque);
}

void
godwit_host_create(ApiCall *call)
{
    api_answer_write(call, host_create, 201);
    hosts_changed(call);
}

/* ---- update, delete ---------------------------------------------------------------------------
 */

/* Another URI is another connection: what was seen over the former one has to be seen again. */
static bool
host_move_place(StoreTx *tx, const json_t *body, Host *host, GError **err)
{
    g_autofree char *before = g_strdup(host->uri);

    if (!host_read_place(body, host, err) || !host_is_alone(tx, host, err))
        return false;
    if (strcmp(before, host->uri) == 0)
        return true;
    host->state = HOST_UNKNOWN;
    text_set(&host->state_reason, NULL);
    host->storage_visible = false;
    text_set(&host->storage_reason, NULL);
    return true;
}

static bool
host_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(GPtrArray) hosts = host_of_path(tx, call, err);
    const char *reason, *name;
    const json_t *body;
    Host *host;

    if (!hosts || !json_need_object(call->body, "host", &body, err) ||
        !json_only_keys(body, err, "enabled", "disabled_reason", "forced_down", "name", "uri",
                        "address", "migration_address", NULL) ||
        !json_get_name(body, "disabled_reason", 255, &reason, err) ||
        !json_get_text(body, "name", 255, &name, err))
        return false;
    host = g_ptr_array_index(hosts, 0);
    if (!json_get_bool(body, "enabled", &host->enabled, err) ||
        !json_get_bool(body, "forced_down", &host->forced_down, err) ||
        !host_move_place(tx, body, host, err))
        return false;
    if (host->enabled)
        text_set(&host->disabled_reason, NULL);
    else if (reason)
        text_set(&host->disabled_reason, reason);
    host->updated_at = clock_realtime();
    return store_update(tx, &HOST, host, err) && (!name || task_host_rename(tx, host, name, err)) &&
           host_out(tx, call, hosts, opaque, err);
}

void
godwit_host_update(ApiCall *call)
{
    api_answer_write(call, host_update, 200);
    hosts_changed(call);
}

static bool
host_delete(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(GPtrArray) hosts = host_of_path(tx, call, err);
    const char *text = api_query(call, "force");
    bool force = false;

    if (!hosts)
        return false;
    if (text && !parse_bool(text, &force))
        return err_set(err, ERR_INVALID, "'force' must be true or false.");
    return task_host_remove(tx, g_ptr_array_index(hosts, 0), force, err);
}

void
godwit_host_delete(ApiCall *call)
{
    api_answer_write(call, host_delete, 204);
    hosts_changed(call);
}
