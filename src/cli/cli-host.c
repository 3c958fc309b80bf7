/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-host.c: godwit host: the compute nodes */
#include "cli/cli.h"

#include <string.h>

#define WAIT_US (60 * USEC_PER_SEC)

static const Column columns[] = {
    {"name", "name"},
    {"state", "state"},
    {"enabled", "enabled"},
    {"address", "address"},
    {"servers", "servers"},
    {"vcpus", "vcpus"},
    {"used", "vcpus_used"},
    {"ram MiB", "memory_mb"},
    {"used", "ram_mb_used"},
    {"encryption", "encryption"},
    {"moves", "memory_encryption"},
    {"reason", "state_reason"},
    {0},
};

static char *
host_path(const char *name)
{
    g_autofree char *escaped = client_escape(name);

    return g_strconcat("/hosts/", escaped, NULL);
}

/* A node is ready when it is connected and its storage has been seen. */
static bool
host_wait(Cli *cli, const char *name, json_t **host, GError **err)
{
    g_autofree char *path = host_path(name);
    int64_t deadline = clock_monotonic() + WAIT_US;

    for (;;) {
        json_decref(*host);
        *host = cli_get(cli, SERVICE_GODWIT, path, "host", err);
        if (!*host)
            return false;
        if (g_str_equal(json_text_at(*host, "state"), "up") &&
            json_is_true(json_at(*host, "storage_visible")))
            return true;
        if (clock_monotonic() >= deadline)
            break;
        g_usleep(250 * USEC_PER_MSEC);
    }

    const char *reason = json_text_at(*host, "state_reason");
    const char *storage = json_text_at(*host, "storage_reason");

    return err_set(err, ERR_TIMEOUT,
                   "host %s is registered but not ready after %d s: state %s%s%s%s%s. It will be "
                   "tried again and again; see godwit host show %s",
                   name, (int)(WAIT_US / USEC_PER_SEC), json_text_at(*host, "state"),
                   *reason ? ", " : "", reason, *storage ? ", storage: " : "", storage, name);
}

static bool
host_add(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    g_autoptr(json_t) body =
        json_pack("{s:{s:s,s:s,s:s,s:s*}}", "host", "name", name, "uri",
                  args_text(cli->args, "uri"), "address", args_text(cli->args, "address"),
                  "migration_address", args_text(cli->args, "migration-address"));
    g_autoptr(json_t) host = NULL;

    if (!cli_post(cli, SERVICE_GODWIT, "/hosts", body, "host", &host, err) ||
        (args_flag(cli->args, "wait") && !host_wait(cli, name, &host, err)))
        return false;
    if (cli->json)
        cli_print_object(cli, host);
    cli_say(cli, "host %s added; state %s", name, json_text_at(host, "state"));
    return true;
}

static bool
host_list(Cli *cli, GError **err)
{
    g_autoptr(json_t) hosts = cli_get(cli, SERVICE_GODWIT, "/hosts", "hosts", err);
    json_t *host;
    size_t i;

    if (!hosts)
        return false;
    json_array_foreach(hosts, i, host)
    {
        if (!cli->json && json_is_true(json_at(host, "forced_down")))
            json_object_set_new(host, "state",
                                json_sprintf("%s, forced down", json_text_at(host, "state")));
    }
    cli_print_list(cli, hosts, columns);
    return true;
}

/* With the clients of it that are shut out of the storage. */
static bool
host_show(Cli *cli, GError **err)
{
    static const Column fence_columns[] = {
        {"fenced client", "address"},
        {"disk of", "server_name"},
        {"since", "created_at", CELL_TIME},
        {"until", "expires_at", CELL_TIME},
        {0},
    };
    g_autofree char *escaped = client_escape(args_word(cli->args, 0));
    g_autofree char *path = g_strconcat("/hosts/", escaped, NULL);
    g_autofree char *fences_path = g_strconcat("/fences?host=", escaped, NULL);
    g_autoptr(json_t) host = cli_get(cli, SERVICE_GODWIT, path, "host", err);
    g_autoptr(json_t) fences =
        host ? cli_get(cli, SERVICE_GODWIT, fences_path, "fences", err) : NULL;

    if (!fences)
        return false;
    if (cli->json)
        json_object_set(host, "fence_list", fences);
    cli_print_object(cli, host);
    if (!cli->json && json_array_size(fences) > 0) {
        fputc('\n', cli->out);
        cli_print_list(cli, fences, fence_columns);
    }
    return true;
}

static bool
host_rename(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0), *new_name = args_word(cli->args, 1);
    g_autofree char *path = host_path(name);
    g_autoptr(json_t) body = json_pack("{s:{s:s}}", "host", "name", new_name);
    g_autoptr(json_t) reply = NULL;

    if (!client_call(cli->client, SERVICE_GODWIT, "PUT", path, body, &reply, err)) {
        g_prefix_error(err, "host %s is not renamed: ", name);
        return false;
    }
    if (cli->json)
        cli_print_object(cli, json_object_get(reply, "host"));
    cli_say(cli, "host %s is called %s now", name, new_name);
    return true;
}

/* What libvirt has there, ours and others'; and what is missing. */
static bool
host_domains(Cli *cli, GError **err)
{
    static const Column domain_columns[] = {
        {"domain", "name"},
        {"uuid", "uuid"},
        {"state", "state"},
        {"ours", "ours"},
        {"role", "role"},
        {"expected", "expected"},
        {"server", "server_name"},
        {"its host", "server_host"},
        {0},
    };
    static const Column missing_columns[] = {
        {"missing server", "server_name"},
        {"id", "server_id"},
        {"recorded as", "vm_state"},
        {0},
    };
    g_autofree char *path = host_path(args_word(cli->args, 0));
    g_autofree char *list = g_strconcat(path, "/domains", NULL);
    g_autoptr(json_t) reply = cli_get(cli, SERVICE_GODWIT, list, NULL, err);
    const json_t *missing = json_object_get(reply, "missing");
    json_t *domain;
    size_t i;

    if (!reply)
        return false;
    if (cli->json) {
        cli_print_object(cli, reply);
        return true;
    }
    json_array_foreach(json_object_get(reply, "domains"), i, domain)
    {
        if (json_is_true(json_at(domain, "saved")))
            json_object_set_new(domain, "state",
                                json_sprintf("%s, saved", json_text_at(domain, "state")));
    }
    cli_print_list(cli, json_object_get(reply, "domains"), domain_columns);
    if (json_array_size(missing) > 0) {
        fputc('\n', cli->out);
        cli_print_list(cli, missing, missing_columns);
    }
    return true;
}

/* A node that was prepared for another transport, or moved to another address. */
static bool
host_set(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    const char *uri = args_text(cli->args, "uri"), *address = args_text(cli->args, "address"),
               *migration_address = args_text(cli->args, "migration-address");
    g_autofree char *path = host_path(name);
    g_autoptr(json_t) body = json_pack("{s:{s:s*,s:s*,s:s*}}", "host", "uri", uri, "address",
                                       address, "migration_address", migration_address);
    g_autoptr(json_t) answer = NULL;
    g_autoptr(json_t) host = NULL;

    if (!uri && !address && !migration_address)
        return usage_error(err, "say what is to change: --uri, --address or --migration-address");
    if (!client_call(cli->client, SERVICE_GODWIT, "PUT", path, body, &answer, err))
        return false;
    host = json_incref(json_object_get(answer, "host"));
    if (args_flag(cli->args, "wait") && !host_wait(cli, name, &host, err))
        return false;
    if (cli->json)
        cli_print_object(cli, host);
    cli_say(cli, "host %s is reached by %s (%s); state %s", name, json_text_at(host, "uri"),
            json_text_at(host, "encryption"), json_text_at(host, "state"));
    return true;
}

static bool
host_set_enabled(Cli *cli, bool enabled, const char *reason, GError **err)
{
    const char *name = args_word(cli->args, 0);
    g_autofree char *path = host_path(name);
    g_autoptr(json_t) body =
        json_pack("{s:{s:b,s:s*}}", "host", "enabled", (int)enabled, "disabled_reason", reason);

    if (!client_call(cli->client, SERVICE_GODWIT, "PUT", path, body, NULL, err))
        return false;
    cli_say(cli,
            enabled ? "host %s takes servers again"
                    : "host %s takes no new servers; those on it run on",
            name);
    return true;
}

static bool
host_enable(Cli *cli, GError **err)
{
    return host_set_enabled(cli, true, NULL, err);
}

static bool
host_disable(Cli *cli, GError **err)
{
    return host_set_enabled(cli, false, args_text(cli->args, "reason"), err);
}

static bool
host_remove(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    g_autofree char *host = host_path(name);
    g_autofree char *path =
        g_strconcat(host, args_flag(cli->args, "force") ? "?force=true" : "", NULL);

    if (!client_call(cli->client, SERVICE_GODWIT, "DELETE", path, NULL, NULL, err))
        return false;
    cli_say(cli, "host %s removed", name);
    return true;
}

static const CliOption add_options[] = {
    {"uri", CLI_TEXT, "URI", "libvirt connection, e.g. qemu+tls://10.88.0.1/system", true},
    {"address", CLI_TEXT, "IP", "address of the node", true},
    {"migration-address", CLI_TEXT, "IP", "address that moves go to, if it is another"},
    {"wait", CLI_FLAG, NULL, "return when the node is connected and its storage verified"},
    {0},
};
static const CliOption set_options[] = {
    {"uri", CLI_TEXT, "URI", "libvirt connection, e.g. qemu+tls://10.88.0.1/system"},
    {"address", CLI_TEXT, "IP", "address of the node"},
    {"migration-address", CLI_TEXT, "IP", "address that moves go to, if it is another"},
    {"wait", CLI_FLAG, NULL, "return when the node is connected and its storage verified"},
    {0},
};
static const CliOption disable_options[] = {{"reason", CLI_TEXT, "TEXT", "shown to whoever asks"},
                                            {0}};
static const CliOption remove_options[] = {
    {"force", CLI_FLAG, NULL, "the machine is gone for good: its fences are forgotten"}, {0}};

const CliCommand host_commands[] = {
    {"host add", "NAME", 1, 1, add_options, host_add, "register a compute node"},
    {"host list", "", 0, 0, NULL, host_list, "list the nodes"},
    {"host show", "NAME", 1, 1, NULL, host_show, "show what is known of a node"},
    {"host set", "NAME", 1, 1, set_options, host_set,
     "change how a node is reached, e.g. after it was prepared for another transport"},
    {"host enable", "NAME", 1, 1, NULL, host_enable, "let a node take servers again"},
    {"host disable", "NAME", 1, 1, disable_options, host_disable,
     "let a node take no new servers; those on it run on"},
    {"host rename", "NAME NEW-NAME", 2, 2, NULL, host_rename, "call a node by another name"},
    {"host domains", "NAME", 1, 1, NULL, host_domains,
     "list what runs on a node, what does not belong to Godwit too"},
    {"host remove", "NAME", 1, 1, remove_options, host_remove, "forget a node that has no servers"},
    {0},
};
