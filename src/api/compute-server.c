/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-server.c: one server: show, rename, delete, and what hangs on it (addresses, cards,
 * groups) */
#include <string.h>

#include "api/compute-priv.h"

Server *
api_server_get(StoreTx *tx, ApiCall *call, const char *id, GError **err)
{
    g_autoptr(Server) server = NULL;
    GError *error = NULL;

    server = store_get(tx, &SERVER, id, &error);
    if (!server && !err_is(error, ERR_NOT_FOUND)) {
        g_propagate_error(err, error);
        return NULL;
    }
    g_clear_error(&error);
    /* One answer for "is not there" and "is not yours". */
    if (!server || server->vm_state == VM_DELETED ||
        !caller_may_see(call->caller, server->project_id)) {
        err_set(err, ERR_NOT_FOUND, "Instance %s could not be found.", id);
        return NULL;
    }
    return g_steal_pointer(&server);
}

bool
caller_is_manager(const Caller *caller)
{
    return caller->is_admin ||
           (caller->roles && g_strv_contains((const char *const *)caller->roles, "manager"));
}

TaskRequest
compute_task_request(ApiCall *call)
{
    TaskEngine *tasks = api_config(call->api)->tasks;

    return (TaskRequest){.request_id = call->request_id,
                         .user_id = call->caller->user_id,
                         .project_id = call->caller->project_id,
                         .settings = tasks ? task_engine_settings(tasks) : NULL};
}

typedef struct ServerRead {
    Server *server;
    ServerContext *context;
} ServerRead;

static void
server_read_clear(ServerRead *read)
{
    g_clear_pointer(&read->server, server_free);
    g_clear_pointer(&read->context, server_context_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ServerRead, server_read_clear)

static bool
server_read_context(StoreTx *tx, ApiCall *call, ServerRead *read, GError **err)
{
    g_autoptr(GPtrArray) one = g_ptr_array_new();

    g_ptr_array_add(one, read->server);
    read->context = server_context_read(tx, call, one, err);
    return read->context != NULL;
}

static bool
server_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    ServerRead *read = opaque;

    read->server = api_server_get(tx, call, api_param(call, "id"), err);
    return read->server && server_read_context(tx, call, read, err);
}

void
compute_server_show(ApiCall *call)
{
    g_auto(ServerRead) read = {0};

    if (api_read(call, server_read, &read))
        api_reply(call, 200,
                  json_pack("{s:o}", "server",
                            view_server(call, read.server, read.context, SERVER_VIEW_SHOW)));
}

/* ---- PUT ---------------------------------------------------------------------------------------
 */

static const char *const disk_config_words[] = {"AUTO", "MANUAL", NULL};

static const BodyMember update_members[] = {
    {.key = "name", .type = BODY_NAME},
    {.key = "OS-DCF:diskConfig", .type = BODY_WORD, .words = disk_config_words},
    {.key = "accessIPv4", .type = BODY_IPV4},
    {.key = "accessIPv6", .type = BODY_IPV6},
    {.key = "description", .type = BODY_CLEAN_OR_NULL, .since = 19, .most = 255},
    {.key = "hostname", .type = BODY_HOSTNAME, .since = 90, .until = 93},
    {.key = "hostname", .type = BODY_FQDN, .since = 94},
    {0},
};

static const BodyMember update_body[] = {
    {.key = "server", .type = BODY_OBJECT, .required = true, .members = update_members},
    {0},
};

static bool
server_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    ServerRead *read = opaque;
    const json_t *wanted = json_object_get(call->body, "server");
    const char *name = body_text(wanted, "name"), *hostname = body_text(wanted, "hostname");
    Server *server = read->server = api_server_get(tx, call, api_param(call, "id"), err);

    if (!server)
        return false;
    if (name)
        text_set(&server->name, name);
    if (hostname)
        text_set(&server->hostname, hostname);
    if (json_object_get(wanted, "description"))
        text_set(&server->description, body_text(wanted, "description"));
    server->updated_at = clock_realtime();
    return store_update(tx, &SERVER, server, err) && server_read_context(tx, call, read, err);
}

void
compute_server_update(ApiCall *call)
{
    g_auto(ServerRead) read = {0};

    if (body_accept(call, update_body) && api_write(call, server_update, &read))
        api_reply(call, 200,
                  json_pack("{s:o}", "server",
                            view_server(call, read.server, read.context, SERVER_VIEW_UPDATE)));
}

/* ---- DELETE ------------------------------------------------------------------------------------
 */

static bool
server_delete(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    TaskRequest request = compute_task_request(call);
    int64_t task_id;
    (void)opaque;

    if (!server)
        return false;
    if (server->task_state == TASK_DELETING)
        return true; /* asked for already: the same outcome */
    return task_submit(tx, "delete", server, call->caller->is_admin, &request, &task_id, err);
}

void
compute_server_delete(ApiCall *call)
{
    if (!api_write(call, server_delete, NULL))
        return;
    api_wake(call);
    api_reply_empty(call, 204);
}

/* ---- what hangs on a server ---------------------------------------------------------------------
 */

void
compute_server_ips(ApiCall *call)
{
    g_auto(ServerRead) read = {0};

    if (api_read(call, server_read, &read))
        api_reply(call, 200,
                  json_pack("{s:o}", "addresses",
                            view_server_addresses(read.server, read.context, false)));
}

void
compute_server_ips_network(ApiCall *call)
{
    const char *label = api_param(call, "network");
    g_auto(ServerRead) read = {0};

    if (!api_read(call, server_read, &read))
        return;
    json_t *all = view_server_addresses(read.server, read.context, false);
    json_t *one = json_object_get(all, label);
    if (one)
        api_reply(call, 200, json_pack("{s:O}", label, one));
    else
        api_fault(call, 404, "Instance is not a member of specified network");
    json_decref(all);
}

static json_t *
interface_view(ApiCall *call, const Server *server, const Port *port)
{
    json_t *addresses = json_array();

    if (port->ip_address && port->subnet_id)
        json_array_append_new(addresses, json_pack("{s:s,s:s}", "subnet_id", port->subnet_id,
                                                   "ip_address", port->ip_address));
    json_t *view =
        json_pack("{s:s,s:s,s:s,s:s,s:o}", "net_id", port->network_id, "port_id", port->id,
                  "mac_addr", port->mac_address, "port_state",
                  server->power_state == POWER_RUNNING ? "ACTIVE" : "DOWN", "fixed_ips", addresses);
    if (api_microversion_at_least(call, 70))
        json_object_set_new(view, "tag", json_null());
    return view;
}

void
compute_server_interfaces(ApiCall *call)
{
    g_auto(ServerRead) read = {0};

    if (!api_read(call, server_read, &read))
        return;
    const GPtrArray *ports = g_hash_table_lookup(read.context->ports, read.server->id);
    json_t *list = json_array();
    for (guint i = 0; ports && i < ports->len; i++)
        json_array_append_new(list, interface_view(call, read.server, ports->pdata[i]));
    api_reply(call, 200, json_pack("{s:o}", "interfaceAttachments", list));
}

void
compute_server_interface(ApiCall *call)
{
    const char *wanted = api_param(call, "port");
    g_auto(ServerRead) read = {0};

    if (!api_read(call, server_read, &read))
        return;
    const GPtrArray *ports = g_hash_table_lookup(read.context->ports, read.server->id);
    for (guint i = 0; ports && i < ports->len; i++) {
        const Port *port = ports->pdata[i];
        if (strcmp(port->id, wanted) == 0) {
            api_reply(
                call, 200,
                json_pack("{s:o}", "interfaceAttachment", interface_view(call, read.server, port)));
            return;
        }
    }
    api_fault(call, 404, "Instance %s does not have a port with id %s", read.server->id, wanted);
}

static bool
server_exists(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    Server **server = opaque;

    *server = api_server_get(tx, call, api_param(call, "id"), err);
    return *server != NULL;
}

void
compute_server_security_groups(ApiCall *call)
{
    g_autoptr(Server) server = NULL;

    if (api_read(call, server_exists, &server))
        api_reply(call, 200, json_pack("{s:[]}", "security_groups"));
}
