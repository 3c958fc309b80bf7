/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* network-networks.c: networks: a name for a bridge that is on every node */
#include <string.h>

#include "api/network-priv.h"

#define BRIDGE_NAME_MAX 15 /* of an interface, in Linux */

static json_t *
view_network(StoreTx *tx, ApiCall *call, const Network *network, GError **err)
{
    g_autoptr(GPtrArray) subnets = network_rows(tx, &SUBNET, "network_id", network->id, err);
    json_t *ids, *view;

    if (!subnets)
        return NULL;
    ids = json_array();
    for (size_t i = 0; i < subnets->len; i++)
        json_array_append_new(ids, json_string(((Subnet *)g_ptr_array_index(subnets, i))->id));
    view = json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:b,s:b,s:I,s:o,s:s,s:[],s:[],s:[],s:b,s:o,s:o}",
                     "id", network->id, "name", network->name, "tenant_id", network->project_id,
                     "project_id", network->project_id, "status", "ACTIVE", "admin_state_up",
                     (int)network->admin_state_up, "shared", (int)network->shared,
                     "router:external", 0, "mtu", (json_int_t)network->mtu, "subnets", ids,
                     "description", network->description, "availability_zone_hints",
                     "availability_zones", "tags", "port_security_enabled", 0, "created_at",
                     api_time(network->created_at), "updated_at", api_time(network->updated_at));
    if (call->caller->is_admin) {
        json_object_set_new(view, "provider:network_type", json_string("flat"));
        json_object_set_new(view, "provider:physical_network", json_string(network->bridge));
        json_object_set_new(view, "provider:segmentation_id", json_null());
    }
    return view;
}

static bool
network_out(StoreTx *tx, ApiCall *call, const Network *network, json_t **out, GError **err)
{
    json_t *view = view_network(tx, call, network, err);

    if (view)
        *out = json_pack("{s:o}", "network", view);
    return view != NULL;
}

Network *
api_network_get(StoreTx *tx, ApiCall *call, const char *id, GError **err)
{
    g_autoptr(Network) network = store_get(tx, &NETWORK, id, NULL);

    if (network && (network->shared || caller_may_see(call->caller, network->project_id)))
        return g_steal_pointer(&network);
    err_set(err, ERR_NOT_FOUND, "Network %s could not be found.", id);
    return NULL;
}

GPtrArray *
api_network_list_usable(StoreTx *tx, const char *project_id, GError **err)
{
    const StoreQuery query = {.order_by = "created_at"};
    g_autoptr(GPtrArray) networks = store_list(tx, &NETWORK, &query, err);

    for (size_t i = 0; networks && i < networks->len;) {
        const Network *network = g_ptr_array_index(networks, i);

        if (network->shared || g_strcmp0(network->project_id, project_id) == 0)
            i++;
        else
            g_ptr_array_remove_index(networks, i);
    }
    return g_steal_pointer(&networks);
}

static bool
networks_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const StoreQuery query = {.order_by = "created_at"};
    g_autoptr(GPtrArray) networks =
        call->caller->is_admin ? store_list(tx, &NETWORK, &query, err)
                               : api_network_list_usable(tx, call->caller->project_id, err);
    json_auto_t *rows = json_array();

    if (!networks)
        return false;
    for (size_t i = 0; i < networks->len; i++) {
        json_t *view = view_network(tx, call, g_ptr_array_index(networks, i), err);

        if (!view)
            return false;
        json_array_append_new(rows, view);
    }
    *(json_t **)opaque = g_steal_pointer(&rows);
    return true;
}

void
network_networks_list(ApiCall *call)
{
    json_t *rows = NULL;

    if (api_read(call, networks_list, &rows))
        network_reply_list(call, "networks", rows);
}

static bool
bridge_name_is_valid(const char *name)
{
    size_t length = strlen(name);

    return length >= 1 && length <= BRIDGE_NAME_MAX &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
               length &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* The bridge: a network is one by name, on every node; no VLANs, no tunnels. */
static bool
network_read_provider(StoreTx *tx, const json_t *body, Network *network, GError **err)
{
    const json_t *segment = json_object_get(body, "provider:segmentation_id");
    const char *type, *bridge;
    g_autoptr(GPtrArray) others = NULL;

    if (!json_get_text(body, "provider:network_type", 32, &type, err) ||
        !json_get_text(body, "provider:physical_network", 255, &bridge, err))
        return false;
    if ((type && strcmp(type, "flat") != 0) || (segment && !json_is_null(segment)))
        return err_set(err, ERR_INVALID,
                       "A network here is a bridge on the nodes: 'provider:network_type' must be "
                       "flat, without a segmentation id.");
    if (!bridge)
        return err_set(err, ERR_INVALID,
                       "'provider:physical_network' is missing: it must name the bridge that "
                       "carries the network on every node.");
    if (!bridge_name_is_valid(bridge))
        return err_set(err, ERR_INVALID,
                       "'provider:physical_network' must be the name of a bridge: 1 to %d letters, "
                       "digits, '.', '_' or '-'.",
                       BRIDGE_NAME_MAX);
    others = network_rows(tx, &NETWORK, "bridge", bridge, err);
    if (!others)
        return false;
    if (others->len > 0)
        return err_set(err, ERR_CONFLICT, "The bridge %s carries the network %s already.", bridge,
                       ((Network *)g_ptr_array_index(others, 0))->name);
    network->bridge = g_strdup(bridge);
    return true;
}

static bool
network_read_body(ApiCall *call, const json_t *body, Network *network, GError **err)
{
    bool shared = network->shared;

    if (!network_read_common(body, &network->name, &network->description, &network->admin_state_up,
                             err) ||
        !json_get_int(body, "mtu", 68, 65535, &network->mtu, err) ||
        !json_get_bool(body, "shared", &shared, err))
        return false;
    if (shared != network->shared && !call->caller->is_admin)
        return err_set(err, ERR_FORBIDDEN, "Only an administrator can share a network.");
    network->shared = shared;
    return true;
}

static bool
network_create(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Network) network = record_new(&NETWORK);
    const json_t *body;
    const char *owner;
    bool external = false;

    network->id = uuid_new();
    network->mtu = 1500;
    network->admin_state_up = true;
    network->name = g_strdup("");
    network->description = g_strdup("");
    network->created_at = network->updated_at = clock_realtime();
    if (!json_need_object(call->body, "network", &body, err) ||
        !network_read_body(call, body, network, err) ||
        !json_get_bool(body, "router:external", &external, err) ||
        !network_read_provider(tx, body, network, err))
        return false;
    if (external)
        return err_set(err, ERR_INVALID, "There are no routers here, hence no external networks.");
    owner = network_owner(call, body, err);
    if (!owner)
        return false;
    network->project_id = g_strdup(owner);
    return store_insert(tx, &NETWORK, network, err) && network_out(tx, call, network, opaque, err);
}

void
network_network_create(ApiCall *call)
{
    api_answer_write(call, network_create, 201);
}

static bool
network_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Network) network = api_network_get(tx, call, api_param(call, "id"), err);

    return network && network_out(tx, call, network, opaque, err);
}

void
network_network_show(ApiCall *call)
{
    api_answer_read(call, network_show, 200);
}

static bool
network_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Network) network = api_network_get(tx, call, api_param(call, "id"), err);
    const json_t *body;

    if (!network ||
        !network_is_changeable(call, "Network", network->id, network->project_id, err) ||
        !json_need_object(call->body, "network", &body, err))
        return false;
    if (json_object_get(body, "provider:physical_network") ||
        json_object_get(body, "provider:network_type") ||
        json_object_get(body, "provider:segmentation_id"))
        return err_set(err, ERR_INVALID,
                       "The bridge of a network stays: servers are plugged into it. Make another "
                       "network.");
    if (!network_read_body(call, body, network, err))
        return false;
    network->updated_at = clock_realtime();
    return store_update(tx, &NETWORK, network, err) && network_out(tx, call, network, opaque, err);
}

void
network_network_update(ApiCall *call)
{
    api_answer_write(call, network_update, 200);
}

static bool
network_delete(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Network) network = api_network_get(tx, call, api_param(call, "id"), err);
    g_autoptr(GPtrArray) ports = NULL;
    const StoreCond subnets[] = {
        {.column = "network_id", .op = STORE_EQ, .text = network ? network->id : ""},
        {.column = NULL},
    };

    if (!network || !network_is_changeable(call, "Network", network->id, network->project_id, err))
        return false;
    ports = network_rows(tx, &PORT, "network_id", network->id, err);
    if (!ports)
        return false;
    if (ports->len > 0)
        return err_set(err, ERR_CONFLICT,
                       "Unable to complete operation on network %s. There are one or more ports "
                       "still in use on the network, e.g. %s.",
                       network->id, ((Port *)g_ptr_array_index(ports, 0))->id);
    return store_delete_where(tx, &SUBNET, subnets, err) &&
           store_delete(tx, &NETWORK, network->id, err);
}

void
network_network_delete(ApiCall *call)
{
    api_answer_write(call, network_delete, 204);
}
