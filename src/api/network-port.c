/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* network-port.c: ports: a server's network card with its MAC address and its IP address */
#include <string.h>

#include "api/network-priv.h"

#define MAC_TRIES 16

static json_t *
view_port(const Port *port)
{
    json_t *fixed_ips = json_array();

    if (port->ip_address)
        json_array_append_new(fixed_ips, json_pack("{s:s,s:s}", "subnet_id", port->subnet_id,
                                                   "ip_address", port->ip_address));
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:b,s:s,s:s,s:o,s:[],s:s,s:[],s:b,s:s,s:[],s:o,"
        "s:o}",
        "id", port->id, "name", port->name, "network_id", port->network_id, "tenant_id",
        port->project_id, "project_id", port->project_id, "mac_address", port->mac_address,
        "status", *port->device_id ? "ACTIVE" : "DOWN", "admin_state_up", (int)port->admin_state_up,
        "device_id", port->device_id, "device_owner", port->device_owner, "fixed_ips", fixed_ips,
        "security_groups", "description", port->description, "allowed_address_pairs",
        "port_security_enabled", 0, "binding:vnic_type", "normal", "tags", "created_at",
        api_time(port->created_at), "updated_at", api_time(port->updated_at));
}

/* ---- addresses --------------------------------------------------------------------------------
 */

/* The addresses of subnet that are given out, as a set. */
static GHashTable *
subnet_used(StoreTx *tx, const Subnet *subnet, GError **err)
{
    g_autoptr(GPtrArray) ports = network_rows(tx, &PORT, "subnet_id", subnet->id, err);
    GHashTable *used;
    uint32_t address;

    if (!ports)
        return NULL;
    used = g_hash_table_new(g_direct_hash, g_direct_equal);
    for (size_t i = 0; i < ports->len; i++)
        if (ipv4_parse(((Port *)g_ptr_array_index(ports, i))->ip_address, &address))
            g_hash_table_add(used, GUINT_TO_POINTER(address));
    if (ipv4_parse(subnet->gateway_ip, &address))
        g_hash_table_add(used, GUINT_TO_POINTER(address));
    return used;
}

/* NULL without error: the pool is used up. */
static char *
subnet_next_address(StoreTx *tx, const Subnet *subnet, GError **err)
{
    g_autoptr(GHashTable) used = subnet_used(tx, subnet, err);
    uint32_t start, end;

    if (!used || !ipv4_parse(subnet->pool_start, &start) || !ipv4_parse(subnet->pool_end, &end))
        return NULL;
    for (uint32_t address = start; address <= end; address++)
        if (!g_hash_table_contains(used, GUINT_TO_POINTER(address)))
            return ipv4_format(address);
    return NULL;
}

/* The given address on the subnet that it belongs to. */
static bool
port_take_address(StoreTx *tx, const GPtrArray *subnets, const char *text, Port *port, GError **err)
{
    uint32_t address;

    if (!ipv4_parse(text, &address))
        return err_set(err, ERR_INVALID, "'%.64s' is not an IPv4 address.", text);
    for (size_t i = 0; i < subnets->len; i++) {
        const Subnet *subnet = g_ptr_array_index(subnets, i);
        g_autoptr(GHashTable) used = NULL;
        Cidr cidr;

        if (!cidr_parse(subnet->cidr, &cidr, err))
            return false;
        if (!cidr_has_host(&cidr, address))
            continue;
        used = subnet_used(tx, subnet, err);
        if (!used)
            return false;
        if (g_hash_table_contains(used, GUINT_TO_POINTER(address)))
            return err_set(err, ERR_CONFLICT, "IP address %s is in use on subnet %s.", text,
                           subnet->id);
        text_set(&port->subnet_id, subnet->id);
        text_set(&port->ip_address, text);
        return true;
    }
    return err_set(err, ERR_INVALID, "IP address %s is not a host's in any subnet meant.", text);
}

static bool
port_choose_address(StoreTx *tx, const GPtrArray *subnets, Port *port, GError **err)
{
    for (size_t i = 0; i < subnets->len; i++) {
        const Subnet *subnet = g_ptr_array_index(subnets, i);
        GError *error = NULL;
        g_autofree char *address = subnet_next_address(tx, subnet, &error);

        if (error) {
            g_propagate_error(err, error);
            return false;
        }
        if (address) {
            text_set(&port->subnet_id, subnet->id);
            text_set(&port->ip_address, address);
            return true;
        }
    }
    return subnets->len == 0 || err_set(err, ERR_CONFLICT,
                                        "No more IP addresses available on network %s: widen the "
                                        "allocation pool of its subnet or delete unused ports.",
                                        port->network_id);
}

static bool
port_set_address(StoreTx *tx, const Network *network, const char *subnet_id, const char *fixed_ip,
                 Port *port, GError **err)
{
    g_autoptr(GPtrArray) subnets = network_rows(tx, &SUBNET, "network_id", network->id, err);

    if (!subnets)
        return false;
    for (size_t i = 0; subnet_id && i < subnets->len;) {
        if (strcmp(((Subnet *)g_ptr_array_index(subnets, i))->id, subnet_id) == 0)
            i++;
        else
            g_ptr_array_remove_index(subnets, i);
    }
    if (subnet_id && subnets->len == 0)
        return err_set(err, ERR_INVALID, "Subnet %s does not belong to network %s.", subnet_id,
                       network->id);
    if (fixed_ip)
        return port_take_address(tx, subnets, fixed_ip, port, err);
    return port_choose_address(tx, subnets, port, err);
}

/* 1: free, 0: taken, -1: *err */
static int
mac_is_free(StoreTx *tx, const char *mac, GError **err)
{
    const StoreCond where[] = {
        {.column = "mac_address", .op = STORE_EQ, .text = mac},
        {.column = NULL},
    };
    int64_t count = store_count(tx, &PORT, where, err);

    return count < 0 ? -1 : count == 0;
}

static bool
port_set_mac(StoreTx *tx, const char *wanted, Port *port, GError **err)
{
    unsigned char tail[3];
    int free_now;

    if (wanted) {
        port->mac_address = mac_canonical(wanted);
        if (!port->mac_address)
            return err_set(err, ERR_INVALID,
                           "'mac_address' must be a unicast address such as fa:16:3e:00:00:01.");
        free_now = mac_is_free(tx, port->mac_address, err);
        return free_now > 0 ||
               (free_now == 0 &&
                err_set(err, ERR_CONFLICT, "MAC address %s is in use.", port->mac_address));
    }
    for (int i = 0; i < MAC_TRIES; i++) {
        if (!random_bytes(tail, sizeof(tail), err))
            return false;
        g_free(port->mac_address);
        port->mac_address = g_strdup_printf("fa:16:3e:%02x:%02x:%02x", tail[0], tail[1], tail[2]);
        free_now = mac_is_free(tx, port->mac_address, err);
        if (free_now != 0)
            return free_now > 0;
    }
    return err_set(err, ERR_CONFLICT, "No free MAC address was found in %d tries.", MAC_TRIES);
}

bool
api_port_create(StoreTx *tx, const Network *network, const PortRequest *request, Port **port,
                GError **err)
{
    g_autoptr(Port) made = record_new(&PORT);

    made->id = uuid_new();
    made->name = g_strdup(request->name ? request->name : "");
    made->description = g_strdup(request->description ? request->description : "");
    made->network_id = g_strdup(network->id);
    made->project_id = g_strdup(request->project_id);
    made->device_id = g_strdup(request->device_id ? request->device_id : "");
    made->device_owner = g_strdup(request->device_owner ? request->device_owner
                                  : request->device_id  ? "compute:nova"
                                                        : "");
    made->admin_state_up = true;
    made->position = request->position;
    made->auto_delete = request->auto_delete;
    made->created_at = made->updated_at = clock_realtime();
    if (!port_set_mac(tx, request->mac_address, made, err) ||
        (!request->no_address &&
         !port_set_address(tx, network, request->subnet_id, request->fixed_ip, made, err)) ||
        !store_insert(tx, &PORT, made, err))
        return false;
    *port = g_steal_pointer(&made);
    return true;
}

/* ---- handlers ---------------------------------------------------------------------------------
 */

static bool
ports_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *device = api_query(call, "device_id");
    const char *network = api_query(call, "network_id");
    const StoreCond where[] = {
        {.column = device    ? "device_id"
                   : network ? "network_id"
                             : NULL,
         .op = STORE_EQ,
         .text = device ? device : network},
        {.column = NULL},
    };
    const StoreQuery query = {.where = where, .order_by = "created_at"};
    g_autoptr(GPtrArray) ports = store_list(tx, &PORT, &query, err);
    json_t *rows;

    if (!ports)
        return false;
    rows = json_array();
    for (size_t i = 0; i < ports->len; i++) {
        const Port *port = g_ptr_array_index(ports, i);

        if (caller_may_see(call->caller, port->project_id))
            json_array_append_new(rows, view_port(port));
    }
    *(json_t **)opaque = rows;
    return true;
}

void
network_ports_list(ApiCall *call)
{
    json_t *rows = NULL;

    if (api_read(call, ports_list, &rows))
        network_reply_list(call, "ports", rows);
}

static Port *
port_get(StoreTx *tx, ApiCall *call, GError **err)
{
    const char *id = api_param(call, "id");
    g_autoptr(Port) port = store_get(tx, &PORT, id, NULL);

    if (port && caller_may_see(call->caller, port->project_id))
        return g_steal_pointer(&port);
    err_set(err, ERR_NOT_FOUND, "Port %s could not be found.", id);
    return NULL;
}

static bool
port_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Port) port = port_get(tx, call, err);

    if (!port)
        return false;
    *(json_t **)opaque = json_pack("{s:o}", "port", view_port(port));
    return true;
}

void
network_port_show(ApiCall *call)
{
    api_answer_read(call, port_show, 200);
}

/* fixed_ips: absent = choose, [] = none, one entry = as it says */
static bool
port_read_address(const json_t *body, PortRequest *request, bool *is_given, GError **err)
{
    const json_t *list, *entry;

    if (!json_get_array(body, "fixed_ips", 16, &list, err))
        return false;
    *is_given = list != NULL;
    if (!list)
        return true;
    if (json_array_size(list) > 1)
        return err_set(err, ERR_INVALID, "A port has at most one address here.");
    entry = json_array_get(list, 0);
    request->no_address = entry == NULL;
    if (!entry)
        return true;
    if (!json_is_object(entry))
        return err_set(err, ERR_INVALID, "Each of 'fixed_ips' must be an object.");
    return json_get_text(entry, "subnet_id", 64, &request->subnet_id, err) &&
           json_get_text(entry, "ip_address", 64, &request->fixed_ip, err);
}

/* A card is bound to a server by the compute API; here only other devices can be named. */
static bool
device_owner_is_allowed(const char *owner, GError **err)
{
    if (owner && g_str_has_prefix(owner, "compute:"))
        return err_set(err, ERR_INVALID,
                       "A port becomes a server's when the server is created with it.");
    return true;
}

static bool
port_create(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    PortRequest request = {0};
    g_autoptr(Network) network = NULL;
    g_autoptr(Port) port = NULL;
    const char *network_id;
    const json_t *body;
    bool up = true, has_address;

    if (!json_need_object(call->body, "port", &body, err) ||
        !json_need_text(body, "network_id", 64, &network_id, err) ||
        !json_get_name(body, "name", 255, &request.name, err) ||
        !json_get_text(body, "description", 255, &request.description, err) ||
        !json_get_text(body, "mac_address", 64, &request.mac_address, err) ||
        !json_get_name(body, "device_id", 255, &request.device_id, err) ||
        !json_get_name(body, "device_owner", 255, &request.device_owner, err) ||
        !json_get_bool(body, "admin_state_up", &up, err) ||
        !device_owner_is_allowed(request.device_owner, err) ||
        !port_read_address(body, &request, &has_address, err))
        return false;
    if (!request.device_owner)
        request.device_owner = "";
    network = api_network_get(tx, call, network_id, err);
    if (!network)
        return false;
    if (request.mac_address && !caller_may_see(call->caller, network->project_id))
        return err_set(err, ERR_FORBIDDEN,
                       "Only the network's owner can choose a port's MAC address.");
    request.project_id = network_owner(call, body, err);
    if (!request.project_id || !api_port_create(tx, network, &request, &port, err))
        return false;
    if (!up) {
        port->admin_state_up = false;
        if (!store_update(tx, &PORT, port, err))
            return false;
    }
    *(json_t **)opaque = json_pack("{s:o}", "port", view_port(port));
    return true;
}

void
network_port_create(ApiCall *call)
{
    api_answer_write(call, port_create, 201);
}

/* The name of the server that uses the port, or NULL: none does. */
static char *
port_user(StoreTx *tx, const Port *port)
{
    g_autoptr(Server) server =
        *port->device_id ? store_get(tx, &SERVER, port->device_id, NULL) : NULL;

    return server && server->vm_state != VM_DELETED ? g_strdup(server->name) : NULL;
}

static bool
port_move_address(StoreTx *tx, ApiCall *call, const PortRequest *request, Port *port, GError **err)
{
    g_autoptr(Network) network = NULL;
    g_autofree char *user = port_user(tx, port);

    /* what the guest has already is asked for again by some clients */
    if (request->fixed_ip && g_strcmp0(request->fixed_ip, port->ip_address) == 0)
        return true;
    if (user)
        return err_set(err, ERR_CONFLICT,
                       "Port %s is a card of server %s, which got its address when it was made.",
                       port->id, user);
    network = api_network_get(tx, call, port->network_id, err);
    if (!network)
        return false;
    text_set(&port->subnet_id, NULL);
    text_set(&port->ip_address, NULL);
    return request->no_address ||
           port_set_address(tx, network, request->subnet_id, request->fixed_ip, port, err);
}

static bool
port_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Port) port = port_get(tx, call, err);
    PortRequest request = {0};
    const json_t *body;
    const char *mac;
    bool has_address;

    if (!port || !json_need_object(call->body, "port", &body, err) ||
        !network_read_common(body, &port->name, &port->description, &port->admin_state_up, err) ||
        !json_get_name(body, "device_id", 255, &request.device_id, err) ||
        !json_get_name(body, "device_owner", 255, &request.device_owner, err) ||
        !json_get_text(body, "mac_address", 64, &mac, err) ||
        !device_owner_is_allowed(request.device_owner, err) ||
        !port_read_address(body, &request, &has_address, err))
        return false;
    if (mac && g_ascii_strcasecmp(mac, port->mac_address) != 0)
        return err_set(err, ERR_INVALID, "The MAC address of a port stays: make another port.");
    if (request.device_id || request.device_owner) {
        g_autofree char *user = port_user(tx, port);

        if (user)
            return err_set(err, ERR_CONFLICT, "Port %s is a card of server %s.", port->id, user);
        if (request.device_id)
            text_set(&port->device_id, request.device_id);
        if (request.device_owner)
            text_set(&port->device_owner, request.device_owner);
    }
    if (has_address && !port_move_address(tx, call, &request, port, err))
        return false;
    port->updated_at = clock_realtime();
    if (!store_update(tx, &PORT, port, err))
        return false;
    *(json_t **)opaque = json_pack("{s:o}", "port", view_port(port));
    return true;
}

void
network_port_update(ApiCall *call)
{
    api_answer_write(call, port_update, 200);
}

static bool
port_delete(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Port) port = port_get(tx, call, err);
    g_autofree char *user = port ? port_user(tx, port) : NULL;

    if (!port)
        return false;
    if (user)
        return err_set(err, ERR_CONFLICT,
                       "Port %s is a card of server %s and goes with it: delete the server.",
                       port->id, user);
    return store_delete(tx, &PORT, port->id, err);
}

void
network_port_delete(ApiCall *call)
{
    api_answer_write(call, port_delete, 204);
}
