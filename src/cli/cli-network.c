/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-network.c: godwit network, subnet, port */
#include "cli/cli.h"

#include <string.h>

static const Column network_columns[] = {
    {"id", "id"},   {"name", "name"},       {"bridge", "provider:physical_network"},
    {"mtu", "mtu"}, {"subnets", "subnets"}, {0},
};
static const Column subnet_columns[] = {
    {"id", "id"},     {"name", "name"},          {"network", "network_id"},
    {"cidr", "cidr"}, {"gateway", "gateway_ip"}, {0},
};
static const Column port_columns[] = {
    {"id", "id"},
    {"mac address", "mac_address"},
    {"network", "network_id"},
    {"server", "device_id"},
    {"status", "status"},
    {0},
};

static bool
network_create(Cli *cli, GError **err)
{
    int64_t mtu = 0;

    if (!args_int(cli->args, "mtu", 576, 65535, &mtu, err))
        return false;

    g_autoptr(json_t) body = json_pack("{s:{s:s,s:s,s:s,s:b,s:o*}}", "network", "name",
                                       args_word(cli->args, 0), "provider:physical_network",
                                       args_text(cli->args, "bridge"), "provider:network_type",
                                       "flat", "shared", 1, "mtu", mtu ? json_integer(mtu) : NULL);
    g_autoptr(json_t) network = NULL;

    if (!cli_post(cli, SERVICE_NETWORK, "/networks", body, "network", &network, err))
        return false;
    if (cli->json)
        cli_print_object(cli, network);
    cli_say(cli, "network %s created: %s; give it addresses with godwit subnet create",
            json_text_at(network, "name"), json_text_at(network, "id"));
    return true;
}

static bool
list_print(Cli *cli, const char *path, const char *key, const Column *columns, GError **err)
{
    g_autoptr(json_t) rows = cli_get(cli, SERVICE_NETWORK, path, key, err);

    if (rows)
        cli_print_list(cli, rows, columns);
    return rows != NULL;
}

static bool
object_print(Cli *cli, const Noun *noun, GError **err)
{
    g_autoptr(json_t) object = cli_find(cli, noun, args_word(cli->args, 0), err);

    if (object)
        cli_print_object(cli, object);
    return object != NULL;
}

static bool
network_list(Cli *cli, GError **err)
{
    return list_print(cli, "/networks", "networks", network_columns, err);
}

static bool
network_show(Cli *cli, GError **err)
{
    return object_print(cli, &noun_network, err);
}

static bool
network_delete(Cli *cli, GError **err)
{
    return cli_delete_all(cli, &noun_network, err);
}

/* "10.0.0.10-10.0.0.99" → {"start", "end"} */
static json_t *
pools_parse(const char *text, GError **err)
{
    g_auto(GStrv) ends = g_strsplit(text, "-", 3);

    if (g_strv_length(ends) != 2) {
        usage_error(err, "--pool wants FIRST-LAST, e.g. 10.0.0.10-10.0.0.99, not \"%s\"", text);
        return NULL;
    }
    return json_pack("[{s:s,s:s}]", "start", g_strstrip(ends[0]), "end", g_strstrip(ends[1]));
}

static bool
subnet_create(Cli *cli, GError **err)
{
    const char *cidr = args_text(cli->args, "cidr");
    const char *pool = args_text(cli->args, "pool");
    const GPtrArray *dns = args_list(cli->args, "dns");
    g_autoptr(json_t) pools = pool ? pools_parse(pool, err) : NULL;
    g_autoptr(json_t) network = NULL, subnet = NULL;

    if (pool && !pools)
        return false;
    network = cli_find(cli, &noun_network, args_text(cli->args, "network"), err);
    if (!network)
        return false;

    g_autoptr(json_t) wanted = json_pack(
        "{s:s,s:s,s:s,s:i,s:s*,s:O*}", "name", args_word(cli->args, 0), "network_id",
        json_text_at(network, "id"), "cidr", cidr, "ip_version", strchr(cidr, ':') ? 6 : 4,
        "gateway_ip", args_text(cli->args, "gateway"), "allocation_pools", pools);
    g_autoptr(json_t) body = json_pack("{s:O}", "subnet", wanted);

    if (dns) {
        json_t *servers = json_array();
        for (unsigned i = 0; i < dns->len; i++)
            json_array_append_new(servers, json_string(dns->pdata[i]));
        json_object_set_new(wanted, "dns_nameservers", servers);
    }
    if (!cli_post(cli, SERVICE_NETWORK, "/subnets", body, "subnet", &subnet, err))
        return false;
    if (cli->json)
        cli_print_object(cli, subnet);
    cli_say(cli, "subnet %s created: %s", json_text_at(subnet, "name"), json_text_at(subnet, "id"));
    return true;
}

static bool
subnet_list(Cli *cli, GError **err)
{
    return list_print(cli, "/subnets", "subnets", subnet_columns, err);
}

static bool
subnet_show(Cli *cli, GError **err)
{
    return object_print(cli, &noun_subnet, err);
}

static bool
subnet_delete(Cli *cli, GError **err)
{
    return cli_delete_all(cli, &noun_subnet, err);
}

static bool
port_list(Cli *cli, GError **err)
{
    const char *server = args_text(cli->args, "server");
    g_autoptr(json_t) found = server ? cli_find(cli, &noun_server, server, err) : NULL;
    g_autofree char *path = found
                                ? g_strconcat("/ports?device_id=", json_text_at(found, "id"), NULL)
                                : g_strdup("/ports");

    return (!server || found) && list_print(cli, path, "ports", port_columns, err);
}

static const CliOption network_options[] = {
    {"bridge", CLI_TEXT, "NAME", "bridge that carries it on every node", true},
    {"mtu", CLI_TEXT, "BYTES", "largest packet (1500)"},
    {0},
};
static const CliOption subnet_options[] = {
    {"network", CLI_TEXT, "NETWORK", "network it belongs to", true},
    {"cidr", CLI_TEXT, "CIDR", "addresses, e.g. 10.88.1.0/24", true},
    {"gateway", CLI_TEXT, "IP", "gateway (the first address)"},
    {"pool", CLI_TEXT, "FIRST-LAST", "addresses given to servers (all but the gateway)"},
    {"dns", CLI_LIST, "IP", "name server; may be repeated"},
    {0},
};
static const CliOption port_options[] = {
    {"server", CLI_TEXT, "SERVER", "only the ports of this server"}, {0}};

const CliCommand network_commands[] = {
    {"network create", "NAME", 1, 1, network_options, network_create,
     "make a network of a bridge that every node has"},
    {"network list", "", 0, 0, NULL, network_list, "list the networks"},
    {"network show", "NETWORK", 1, 1, NULL, network_show, "show a network"},
    {"network delete", "NETWORK...", 1, 100, NULL, network_delete, "delete networks"},
    {"subnet create", "NAME", 1, 1, subnet_options, subnet_create, "give a network addresses"},
    {"subnet list", "", 0, 0, NULL, subnet_list, "list the subnets"},
    {"subnet show", "SUBNET", 1, 1, NULL, subnet_show, "show a subnet"},
    {"subnet delete", "SUBNET...", 1, 100, NULL, subnet_delete, "delete subnets"},
    {"port list", "", 0, 0, port_options, port_list, "list the servers' network cards"},
    {0},
};
