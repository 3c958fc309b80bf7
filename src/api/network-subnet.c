/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* network-subnet.c: subnets: from which addresses the servers of a network get theirs
 *
 * IPv4, one allocation pool each. Godwit runs no DHCP server: an address reaches the guest by its
 * config drive. */
#include <string.h>

#include "api/network-priv.h"

#define DNS_MAX    8
#define ROUTES_MAX 20

static json_t *
view_subnet(const Subnet *subnet)
{
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:s,s:i,s:o,s:[{s:s,s:s}],s:o,s:o,s:b,s:s,s:n,s:n,s:n,"
        "s:[],s:[],s:o,s:o}",
        "id", subnet->id, "name", subnet->name, "network_id", subnet->network_id, "tenant_id",
        subnet->project_id, "project_id", subnet->project_id, "cidr", subnet->cidr, "ip_version", 4,
        "gateway_ip", json_text_or_null(subnet->gateway_ip), "allocation_pools", "start",
        subnet->pool_start, "end", subnet->pool_end, "dns_nameservers",
        json_parse_stored(subnet->dns_nameservers, JSON_ARRAY), "host_routes",
        json_parse_stored(subnet->host_routes, JSON_ARRAY), "enable_dhcp", (int)subnet->enable_dhcp,
        "description", subnet->description ? subnet->description : "", "ipv6_address_mode",
        "ipv6_ra_mode", "subnetpool_id", "service_types", "tags", "created_at",
        api_time(subnet->created_at), "updated_at", api_time(subnet->updated_at));
}

static Subnet *
subnet_get(StoreTx *tx, ApiCall *call, GError **err)
{
    const char *id = api_param(call, "id");
    g_autoptr(Subnet) subnet = store_get(tx, &SUBNET, id, NULL);
    g_autoptr(Network) network =
        subnet ? api_network_get(tx, call, subnet->network_id, NULL) : NULL;

    if (network)
        return g_steal_pointer(&subnet);
    err_set(err, ERR_NOT_FOUND, "Subnet %s could not be found.", id);
    return NULL;
}

static bool
subnets_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const StoreQuery query = {.order_by = "created_at"};
    g_autoptr(GPtrArray) subnets = store_list(tx, &SUBNET, &query, err);
    json_auto_t *rows = json_array();

    if (!subnets)
        return false;
    for (size_t i = 0; i < subnets->len; i++) {
        const Subnet *subnet = g_ptr_array_index(subnets, i);
        g_autoptr(Network) network = api_network_get(tx, call, subnet->network_id, NULL);

        if (network)
            json_array_append_new(rows, view_subnet(subnet));
    }
    *(json_t **)opaque = g_steal_pointer(&rows);
    return true;
}

void
network_subnets_list(ApiCall *call)
{
    json_t *rows = NULL;

    if (api_read(call, subnets_list, &rows))
        network_reply_list(call, "subnets", rows);
}

static bool
subnet_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Subnet) subnet = subnet_get(tx, call, err);

    if (!subnet)
        return false;
    *(json_t **)opaque = json_pack("{s:o}", "subnet", view_subnet(subnet));
    return true;
}

void
network_subnet_show(ApiCall *call)
{
    api_answer_read(call, subnet_show, 200);
}

/* ---- reading a body ---------------------------------------------------------------------------
 */

static bool
subnet_read_gateway(const json_t *body, const Cidr *cidr, Subnet *subnet, bool is_new, GError **err)
{
    const json_t *value = json_object_get(body, "gateway_ip");
    const char *text;
    uint32_t address;

    if (!value && is_new)
        subnet->gateway_ip = ipv4_format(cidr->first + 1);
    if (!value)
        return true;
    if (!json_get_text(body, "gateway_ip", 64, &text, err))
        return false;
    if (text && (!ipv4_parse(text, &address) || !cidr_has_host(cidr, address)))
        return err_set(err, ERR_INVALID, "'gateway_ip' %.64s is not an address of a host in %s.",
                       text, subnet->cidr);
    text_set(&subnet->gateway_ip, text);
    return true;
}

/* Without a pool of its own: every host address but a gateway at one of the ends. One in between is
 * skipped when addresses are given out. */
static void
subnet_default_pool(const Cidr *cidr, Subnet *subnet)
{
    uint32_t start = cidr->first + 1, end = cidr->last - 1, gateway;

    if (ipv4_parse(subnet->gateway_ip, &gateway)) {
        if (gateway == start)
            start++;
        else if (gateway == end)
            end--;
    }
    g_free(subnet->pool_start);
    g_free(subnet->pool_end);
    subnet->pool_start = ipv4_format(start);
    subnet->pool_end = ipv4_format(end);
}

static bool
subnet_read_pool(const json_t *body, const Cidr *cidr, Subnet *subnet, bool is_new, GError **err)
{
    const char *start_text, *end_text;
    const json_t *pools;
    uint32_t start, end;

    if (!json_get_array(body, "allocation_pools", 64, &pools, err))
        return false;
    if (json_array_size(pools) == 0) {
        if (is_new)
            subnet_default_pool(cidr, subnet);
        return true;
    }
    if (json_array_size(pools) > 1)
        return err_set(err, ERR_INVALID, "A subnet has one allocation pool here.");
    if (!json_is_object(json_array_get(pools, 0)))
        return err_set(err, ERR_INVALID, "A pool must be an object with start and end.");
    if (!json_need_text(json_array_get(pools, 0), "start", 64, &start_text, err) ||
        !json_need_text(json_array_get(pools, 0), "end", 64, &end_text, err))
        return false;
    if (!ipv4_parse(start_text, &start) || !ipv4_parse(end_text, &end))
        return err_set(err, ERR_INVALID, "A pool's start and end must be IPv4 addresses.");
    if (start > end || !cidr_has_host(cidr, start) || !cidr_has_host(cidr, end))
        return err_set(err, ERR_INVALID,
                       "The pool %s-%s must run upwards and lie among the host addresses of %s.",
                       start_text, end_text, subnet->cidr);
    text_set(&subnet->pool_start, start_text);
    text_set(&subnet->pool_end, end_text);
    return true;
}

static bool
subnet_read_dns(const json_t *body, Subnet *subnet, GError **err)
{
    const json_t *list;
    json_t *entry;
    uint32_t address;
    size_t i;

    if (!json_get_array(body, "dns_nameservers", DNS_MAX, &list, err))
        return false;
    if (!list)
        return true;
    json_array_foreach((json_t *)list, i, entry)
    {
        if (!ipv4_parse(json_string_value(entry), &address))
            return err_set(err, ERR_INVALID, "'dns_nameservers' must be IPv4 addresses.");
    }
    g_free(subnet->dns_nameservers);
    subnet->dns_nameservers = json_to_text(list);
    return true;
}

static bool
subnet_read_routes(const json_t *body, Subnet *subnet, GError **err)
{
    const json_t *list;
    json_auto_t *routes = json_array();
    json_t *entry;
    size_t i;

    if (!json_get_array(body, "host_routes", ROUTES_MAX, &list, err))
        return false;
    if (!list)
        return true;
    json_array_foreach((json_t *)list, i, entry)
    {
        const char *destination = json_string_value(json_object_get(entry, "destination"));
        const char *nexthop = json_string_value(json_object_get(entry, "nexthop"));
        const char *slash = destination ? strchr(destination, '/') : NULL;
        g_autofree char *host =
            slash ? g_strndup(destination, (size_t)(slash - destination)) : NULL;
        uint32_t address;
        int64_t prefix;

        if (!slash || !ipv4_parse(host, &address) || !parse_int64(slash + 1, 0, 32, &prefix) ||
            !ipv4_parse(nexthop, &address))
            return err_set(err, ERR_INVALID,
                           "Each of 'host_routes' must have a destination such as 10.1.0.0/16 and "
                           "the address of a nexthop.");
        json_array_append_new(
            routes, json_pack("{s:s,s:s}", "destination", destination, "nexthop", nexthop));
    }
    g_free(subnet->host_routes);
    subnet->host_routes = json_to_text(routes);
    return true;
}

static bool
subnet_read_body(const json_t *body, Subnet *subnet, bool is_new, GError **err)
{
    Cidr cidr;

    return cidr_parse(subnet->cidr, &cidr, err) &&
           network_read_common(body, &subnet->name, &subnet->description, NULL, err) &&
           json_get_bool(body, "enable_dhcp", &subnet->enable_dhcp, err) &&
           subnet_read_gateway(body, &cidr, subnet, is_new, err) &&
           subnet_read_pool(body, &cidr, subnet, is_new, err) &&
           subnet_read_dns(body, subnet, err) && subnet_read_routes(body, subnet, err);
}

/* ---- create, update, delete --------------------------------------------------------------------
 */

static bool
subnet_does_not_overlap(StoreTx *tx, const Subnet *subnet, GError **err)
{
    g_autoptr(GPtrArray) others = network_rows(tx, &SUBNET, "network_id", subnet->network_id, err);
    Cidr mine, theirs;

    if (!others || !cidr_parse(subnet->cidr, &mine, err))
        return false;
    for (size_t i = 0; i < others->len; i++) {
        const Subnet *other = g_ptr_array_index(others, i);

        if (cidr_parse(other->cidr, &theirs, NULL) && cidr_overlaps(&mine, &theirs))
            return err_set(err, ERR_INVALID, "%s overlaps with the subnet %s (%s) of this network.",
                           subnet->cidr, other->id, other->cidr);
    }
    return true;
}

static bool
subnet_create(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Subnet) subnet = record_new(&SUBNET);
    g_autoptr(Network) network = NULL;
    const char *network_id, *cidr_text, *owner;
    int64_t ip_version = 4;
    const json_t *body;
    Cidr cidr;

    if (!json_need_object(call->body, "subnet", &body, err) ||
        !json_need_text(body, "network_id", 64, &network_id, err) ||
        !json_get_int(body, "ip_version", 4, 6, &ip_version, err) ||
        !json_need_text(body, "cidr", 64, &cidr_text, err))
        return false;
    if (ip_version != 4)
        return err_set(err, ERR_INVALID, "'ip_version' must be 4: IPv6 subnets do not exist here.");
    network = api_network_get(tx, call, network_id, err);
    if (!network || !cidr_parse(cidr_text, &cidr, err) ||
        !network_is_changeable(call, "Network", network_id, network->project_id, err))
        return false;
    owner = network_owner(call, body, err);
    if (!owner)
        return false;
    subnet->id = uuid_new();
    subnet->network_id = g_strdup(network->id);
    subnet->project_id = g_strdup(owner);
    subnet->cidr = cidr_format(&cidr);
    subnet->enable_dhcp = true;
    subnet->name = g_strdup("");
    subnet->description = g_strdup("");
    subnet->dns_nameservers = g_strdup("[]");
    subnet->host_routes = g_strdup("[]");
    subnet->created_at = subnet->updated_at = clock_realtime();
    if (!subnet_read_body(body, subnet, true, err) || !subnet_does_not_overlap(tx, subnet, err) ||
        !store_insert(tx, &SUBNET, subnet, err))
        return false;
    *(json_t **)opaque = json_pack("{s:o}", "subnet", view_subnet(subnet));
    return true;
}

void
network_subnet_create(ApiCall *call)
{
    api_answer_write(call, subnet_create, 201);
}

static bool
subnet_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Subnet) subnet = subnet_get(tx, call, err);
    const json_t *body;

    if (!subnet || !network_is_changeable(call, "Subnet", subnet->id, subnet->project_id, err) ||
        !json_need_object(call->body, "subnet", &body, err))
        return false;
    if (json_object_get(body, "cidr") || json_object_get(body, "network_id"))
        return err_set(err, ERR_INVALID, "'cidr' and 'network_id' of a subnet cannot be changed.");
    if (!subnet_read_body(body, subnet, false, err))
        return false;
    subnet->updated_at = clock_realtime();
    if (!store_update(tx, &SUBNET, subnet, err))
        return false;
    *(json_t **)opaque = json_pack("{s:o}", "subnet", view_subnet(subnet));
    return true;
}

void
network_subnet_update(ApiCall *call)
{
    api_answer_write(call, subnet_update, 200);
}

static bool
subnet_delete(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Subnet) subnet = subnet_get(tx, call, err);
    g_autoptr(GPtrArray) ports = NULL;

    if (!subnet || !network_is_changeable(call, "Subnet", subnet->id, subnet->project_id, err))
        return false;
    ports = network_rows(tx, &PORT, "subnet_id", subnet->id, err);
    if (!ports)
        return false;
    if (ports->len > 0)
        return err_set(err, ERR_CONFLICT,
                       "Unable to complete operation on subnet %s: One or more ports have an IP "
                       "allocation from this subnet, e.g. %s.",
                       subnet->id, ((Port *)g_ptr_array_index(ports, 0))->id);
    return store_delete(tx, &SUBNET, subnet->id, err);
}

void
network_subnet_delete(ApiCall *call)
{
    api_answer_write(call, subnet_delete, 204);
}
