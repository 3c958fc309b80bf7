/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* view-server.c: a server as the compute API shows it, key by key at its microversion
 *
 * Strict clients refuse an answer with one key too many as surely as one with one too few, so every
 * key stands here once, with the microversion it came with. What a view needs beside the server
 * itself (ports, volumes, networks, hosts, moves) is read beforehand for the whole page, in a
 * number of statements that does not grow with the page. */
#include <string.h>

#include "api/compute-priv.h"

/* Up to this many servers, what hangs on them is read per server, by an index; above, all of it at
 * once. */
#define ONE_BY_ONE 8

json_t *
view_bookmark(ApiCall *call, const char *collection, const char *id)
{
    g_autofree char *safe = g_uri_escape_string(id, NULL, false);
    g_autofree char *href = api_url(call->api, "/compute/%s/%s", collection, safe);

    return json_pack("[{s:s,s:s}]", "rel", "bookmark", "href", href);
}

json_t *
view_links(ApiCall *call, const char *collection, const char *id)
{
    g_autofree char *safe = g_uri_escape_string(id, NULL, false);
    g_autofree char *self = api_url(call->api, "/compute/v2.1/%s/%s", collection, safe);
    g_autofree char *bookmark = api_url(call->api, "/compute/%s/%s", collection, safe);

    return json_pack("[{s:s,s:s},{s:s,s:s}]", "rel", "self", "href", self, "rel", "bookmark",
                     "href", bookmark);
}

json_t *
view_time_micros(int64_t realtime_us)
{
    if (realtime_us == 0)
        return json_null();
    g_autofree char *text = clock_format(realtime_us, true);
    text[strcspn(text, "Z")] = '\0'; /* Nova's older times are UTC without saying so */
    return json_string(text);
}

char *
api_host_id(const char *project_id, const char *host)
{
    if (!host)
        return g_strdup("");
    /* As long as Nova's digest, and as one-way: tells two servers on one host apart from two hosts,
     * no more. */
    g_autofree char *both = g_strconcat(project_id, host, NULL);
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, both, -1);
    return g_strndup(digest, 56);
}

/* ---- context -----------------------------------------------------------------------------------
 */

void
server_context_free(ServerContext *context)
{
    if (!context)
        return;
    g_clear_pointer(&context->hosts, g_ptr_array_unref);
    g_clear_pointer(&context->ports, g_hash_table_unref);
    g_clear_pointer(&context->port_rows, g_ptr_array_unref);
    g_clear_pointer(&context->networks, g_hash_table_unref);
    g_clear_pointer(&context->network_rows, g_ptr_array_unref);
    g_clear_pointer(&context->moves, g_ptr_array_unref);
    g_clear_pointer(&context->attachments, g_hash_table_unref);
    g_clear_pointer(&context->attachment_rows, g_ptr_array_unref);
    g_free(context);
}

static int
port_compare(const void *a, const void *b)
{
    const Port *x = *(Port *const *)a, *y = *(Port *const *)b;

    return x->position < y->position ? -1 : x->position > y->position ? 1 : strcmp(x->id, y->id);
}

/* The rows of a type that hang on servers: *by_server has a list of them for each server, in order.
 * column: the field that names the server; among: what all such rows have in common, or an empty
 * condition. */
static bool
context_read_rows(StoreTx *tx, const GPtrArray *servers, const RecordType *type, const char *column,
                  StoreCond among, GCompareFunc order, GPtrArray **rows, GHashTable **by_server,
                  GError **err)
{
    size_t offset = record_field(type, column)->offset;
    GHashTableIter iter;
    void *list;

    *by_server =
        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)g_ptr_array_unref);
    for (guint i = 0; i < servers->len; i++)
        g_hash_table_insert(*by_server, ((Server *)servers->pdata[i])->id, g_ptr_array_new());
    if (servers->len > ONE_BY_ONE) {
        StoreCond where[] = {among, {0}};
        StoreQuery query = {.where = where};
        *rows = store_list(tx, type, &query, err);
        if (!*rows)
            return false;
    }
    for (guint i = 0; i < servers->len && servers->len <= ONE_BY_ONE; i++) {
        StoreCond where[] = {{column, STORE_EQ, ((Server *)servers->pdata[i])->id, 0}, {0}};
        StoreQuery query = {.where = where};
        GPtrArray *own = store_list(tx, type, &query, err);
        if (!own)
            return false;
        if (*rows)
            g_ptr_array_extend_and_steal(*rows, own);
        else
            *rows = own;
    }
    for (guint i = 0; *rows && i < (*rows)->len; i++) {
        char *row = (*rows)->pdata[i];
        const char *server_id = *(char *const *)(row + offset);
        GPtrArray *own = server_id ? g_hash_table_lookup(*by_server, server_id) : NULL;
        if (own)
            g_ptr_array_add(own, row);
    }
    g_hash_table_iter_init(&iter, *by_server);
    while (g_hash_table_iter_next(&iter, NULL, &list))
        g_ptr_array_sort(list, order);
    return true;
}

ServerContext *
server_context_read(StoreTx *tx, ApiCall *call, const GPtrArray *servers, GError **err)
{
    g_autoptr(ServerContext) context = g_new0(ServerContext, 1);
    bool moving = false;

    if (!context_read_rows(tx, servers, &PORT, "device_id",
                           (StoreCond){"device_owner", STORE_EQ, "compute:nova", 0}, port_compare,
                           &context->port_rows, &context->ports, err) ||
        !context_read_rows(tx, servers, &ATTACHMENT, "server_id", (StoreCond){0},
                           attachment_compare, &context->attachment_rows, &context->attachments,
                           err))
        return NULL;
    context->network_rows = store_list(tx, &NETWORK, NULL, err);
    if (!context->network_rows)
        return NULL;
    context->networks = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < context->network_rows->len; i++) {
        Network *network = context->network_rows->pdata[i];
        g_hash_table_insert(context->networks, network->id, network);
    }
    if (call->caller->is_admin) {
        context->hosts = store_list(tx, &HOST, NULL, err);
        if (!context->hosts)
            return NULL;
    }
    for (guint i = 0; i < servers->len; i++)
        moving |= ((Server *)servers->pdata[i])->task_state == TASK_MIGRATING;
    if (moving) {
        StoreCond where[] = {{"ended_at", STORE_EQ, NULL, 0}, {0}};
        StoreQuery query = {.where = where};
        context->moves = store_list(tx, &MIGRATION, &query, err);
        if (!context->moves)
            return NULL;
    }
    return g_steal_pointer(&context);
}

/* ---- parts -------------------------------------------------------------------------------------
 */

json_t *
view_server_addresses(const Server *server, const ServerContext *context, bool extended)
{
    json_t *addresses = json_object();
    const GPtrArray *ports = g_hash_table_lookup(context->ports, server->id);

    if (server->vm_state == VM_BUILDING)
        return addresses; /* not before they are answered at */
    for (guint i = 0; ports && i < ports->len; i++) {
        const Port *port = ports->pdata[i];
        const Network *network = g_hash_table_lookup(context->networks, port->network_id);
        const char *label = network && network->name ? network->name : port->network_id;
        json_t *list = json_object_get(addresses, label);

        if (!list) {
            list = json_array();
            json_object_set_new(addresses, label, list);
        }
        if (!port->ip_address)
            continue;
        json_t *one = json_pack("{s:i,s:s}", "version", strchr(port->ip_address, ':') ? 6 : 4,
                                "addr", port->ip_address);
        if (extended) {
            json_object_set_new(one, "OS-EXT-IPS:type", json_string("fixed"));
            json_object_set_new(one, "OS-EXT-IPS-MAC:mac_addr", json_string(port->mac_address));
        }
        json_array_append_new(list, one);
    }
    return addresses;
}

static json_t *
server_flavor(ApiCall *call, const Server *server)
{
    if (!api_microversion_at_least(call, 47))
        return json_pack("{s:s,s:o}", "id", server->flavor_id, "links",
                         view_bookmark(call, "flavors", server->flavor_id));
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:s,s:o}", "vcpus", (json_int_t)server->vcpus, "ram",
                     (json_int_t)server->ram_mb, "disk", (json_int_t)server->disk_gb, "ephemeral",
                     (json_int_t)server->ephemeral_gb, "swap", (json_int_t)server->swap_mb,
                     "original_name", server->flavor_name, "extra_specs",
                     json_parse_stored(server->extra_specs, JSON_OBJECT));
}

static json_t *
server_image(ApiCall *call, const Server *server)
{
    if (!server->image_id || !*server->image_id)
        return json_string("");
    return json_pack("{s:s,s:o}", "id", server->image_id, "links",
                     view_bookmark(call, "images", server->image_id));
}

static json_t *
server_security_groups(const Server *server)
{
    json_t *names = json_parse_stored(server->security_groups, JSON_ARRAY);
    json_t *groups = json_array();
    json_t *name;
    size_t i;

    json_array_foreach(names, i, name)
        json_array_append_new(groups, json_pack("{s:O}", "name", name));
    json_decref(names);
    return groups;
}

static json_t *
server_volumes(ApiCall *call, const Server *server, const ServerContext *context)
{
    const GPtrArray *own = g_hash_table_lookup(context->attachments, server->id);
    json_t *list = json_array();

    for (guint i = 0; own && i < own->len; i++) {
        const Attachment *attachment = own->pdata[i];
        json_t *one = json_pack("{s:s}", "id", attachment->volume_id);
        if (api_microversion_at_least(call, 3))
            json_object_set_new(one, "delete_on_termination",
                                json_boolean(attachment->delete_on_termination));
        json_array_append_new(list, one);
    }
    return list;
}

static char *
server_root_device(const Server *server, const ServerContext *context)
{
    const GPtrArray *own = g_hash_table_lookup(context->attachments, server->id);

    for (guint i = 0; own && i < own->len; i++) {
        const Attachment *attachment = own->pdata[i];
        if (attachment->boot_index == 0)
            return g_strconcat("/dev/", attachment->device, NULL);
    }
    return g_strdup("/dev/vda");
}

static const char *
server_host_status(const Server *server, const ServerContext *context)
{
    if (!server->host)
        return "";
    for (guint i = 0; i < context->hosts->len; i++) {
        const Host *host = context->hosts->pdata[i];

        if (strcmp(host->name, server->host) != 0)
            continue;
        if (host->forced_down)
            return "DOWN";
        if (!host->enabled)
            return "MAINTENANCE";
        return host->state == HOST_UP ? "UP" : "UNKNOWN";
    }
    return "";
}

static int64_t
server_progress(const Server *server, const ServerContext *context)
{
    for (guint i = 0; context->moves && i < context->moves->len; i++) {
        const Migration *move = context->moves->pdata[i];

        if (strcmp(move->server_id, server->id) != 0 || move->memory_total <= 0)
            continue;
        int64_t left = CLAMP(move->memory_remaining, 0, move->memory_total);
        return 100 - left * 100 / move->memory_total;
    }
    return 0;
}

static void
set(json_t *object, const char *key, json_t *value)
{
    json_object_set_new_nocheck(object, key, value);
}

static void
set_text(json_t *object, const char *key, const char *text)
{
    set(object, key, json_text_or_null(text));
}

/* The keys that every answer with a whole server has had since 2.1, and those of PUT below 2.75 */
static json_t *
server_core(ApiCall *call, const Server *server, const ServerContext *context, bool extended)
{
    static const char *const with_progress[] = {"ACTIVE",        "BUILD",     "REBUILD", "RESIZE",
                                                "VERIFY_RESIZE", "MIGRATING", NULL};
    const char *status = server_status(server->vm_state, server->task_state);
    g_autofree char *host_id = api_host_id(server->project_id, server->host);
    json_t *view = json_object();

    set_text(view, "id", server->id);
    set_text(view, "name", server->name);
    set_text(view, "status", status);
    set_text(view, "tenant_id", server->project_id);
    set_text(view, "user_id", server->user_id);
    set(view, "metadata", json_parse_stored(server->metadata, JSON_OBJECT));
    set_text(view, "hostId", host_id);
    set(view, "image", server_image(call, server));
    set(view, "flavor", server_flavor(call, server));
    set(view, "created", api_time(server->created_at));
    set(view, "updated", api_time(server->updated_at));
    set(view, "addresses", view_server_addresses(server, context, extended));
    set_text(view, "accessIPv4", "");
    set_text(view, "accessIPv6", "");
    set(view, "links", view_links(call, "servers", server->id));
    set_text(view, "OS-DCF:diskConfig", "MANUAL");
    if (g_strv_contains(with_progress, status))
        set(view, "progress", json_integer(server_progress(server, context)));
    if (server->vm_state == VM_ERROR && server->fault_code != 0)
        set(view, "fault",
            json_pack("{s:I,s:o,s:s}", "code", (json_int_t)server->fault_code, "created",
                      api_time(server->fault_at ? server->fault_at : server->updated_at), "message",
                      server->fault_message ? server->fault_message : ""));
    return view;
}

static void
server_admin_keys(ApiCall *call, const Server *server, const ServerContext *context, json_t *view)
{
    g_autofree char *instance_name = server_domain_name(server);
    g_autofree char *root_device = server_root_device(server, context);

    set_text(view, "OS-EXT-SRV-ATTR:host", server->host);
    set_text(view, "OS-EXT-SRV-ATTR:hypervisor_hostname", server->host);
    set_text(view, "OS-EXT-SRV-ATTR:instance_name", instance_name);
    if (!api_microversion_at_least(call, 3))
        return;
    set_text(view, "OS-EXT-SRV-ATTR:hostname", server->hostname);
    set_text(view, "OS-EXT-SRV-ATTR:reservation_id", server->reservation_id);
    set(view, "OS-EXT-SRV-ATTR:launch_index", json_integer(server->launch_index));
    set_text(view, "OS-EXT-SRV-ATTR:kernel_id", "");
    set_text(view, "OS-EXT-SRV-ATTR:ramdisk_id", "");
    set_text(view, "OS-EXT-SRV-ATTR:root_device_name", root_device);
    set_text(view, "OS-EXT-SRV-ATTR:user_data", server->user_data);
}

/* ---- the views ---------------------------------------------------------------------------------
 */

json_t *
view_server(ApiCall *call, const Server *server, const ServerContext *context, ServerViewKind kind)
{
    bool whole = kind != SERVER_VIEW_UPDATE || api_microversion_at_least(call, 75);
    json_t *view = server_core(call, server, context, whole);

    if (whole) {
        set_text(view, "OS-EXT-AZ:availability_zone", server->host ? "nova" : "");
        set_text(view, "config_drive", server->config_drive ? "True" : "");
        set_text(view, "key_name", server->key_name);
        set(view, "OS-SRV-USG:launched_at", view_time_micros(server->launched_at));
        set(view, "OS-SRV-USG:terminated_at", view_time_micros(server->terminated_at));
        set(view, "security_groups", server_security_groups(server));
        set_text(view, "OS-EXT-STS:task_state",
                 server->task_state == TASK_NONE ? NULL : task_state_names[server->task_state]);
        set_text(view, "OS-EXT-STS:vm_state", vm_state_names[server->vm_state]);
        set(view, "OS-EXT-STS:power_state", json_integer(power_state_number(server->power_state)));
        set(view, "os-extended-volumes:volumes_attached", server_volumes(call, server, context));
        if (call->caller->is_admin)
            server_admin_keys(call, server, context, view);
        else if (api_microversion_at_least(call, 90))
            set_text(view, "OS-EXT-SRV-ATTR:hostname", server->hostname);
        if (api_microversion_at_least(call, 16) && context->hosts)
            set_text(view, "host_status", server_host_status(server, context));
    }
    if (api_microversion_at_least(call, 9))
        set(view, "locked", json_boolean(server->locked));
    if (api_microversion_at_least(call, 19))
        set_text(view, "description", server->description);
    if (api_microversion_at_least(call, 26))
        set(view, "tags", json_parse_stored(server->tags, JSON_ARRAY));
    if (api_microversion_at_least(call, 63))
        set(view, "trusted_image_certificates", json_null());
    if (api_microversion_at_least(call, 71) && kind != SERVER_VIEW_DETAIL)
        set(view, "server_groups", json_array());
    if (api_microversion_at_least(call, 73))
        set_text(view, "locked_reason", server->locked_reason);
    return view;
}

json_t *
view_server_brief(ApiCall *call, const Server *server)
{
    return json_pack("{s:s,s:s,s:o}", "id", server->id, "name", server->name, "links",
                     view_links(call, "servers", server->id));
}
