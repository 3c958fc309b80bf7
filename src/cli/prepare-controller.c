/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* prepare-controller.c: host prepare's business with the controller
 *
 * The registered nodes are let through the firewall of those named now, so that a node can be added
 * without naming all others again. The other way round only the operator can act: a node that is
 * not named now is not touched. */
#include "cli/prepare-controller.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netdb.h>
#include <string.h>

#define CEPH_CONF_MAX ((size_t)65536)

static bool
is_numeric(const char *address)
{
    struct in6_addr binary;

    return inet_pton(AF_INET, address, &binary) == 1 || inet_pton(AF_INET6, address, &binary) == 1;
}

static bool
is_loopback(const char *address)
{
    return g_str_has_prefix(address, "127.") || g_str_equal(address, "::1");
}

static void say(NoticeFn notice, void *opaque, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void
say(NoticeFn notice, void *opaque, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    notice(opaque, text);
}

static void
address_add(GPtrArray *addresses, const char *address)
{
    unsigned where;

    if (is_numeric(address) &&
        !g_ptr_array_find_with_equal_func(addresses, address, g_str_equal, &where))
        g_ptr_array_add(addresses, g_strdup(address));
}

static void
name_append(GString *out, const char *name)
{
    g_string_append_printf(out, "%s%s", out->len ? ", " : "", name);
}

/* ---- where controllers are --------------------------------------------------------------------
 */

static char *
url_host(const char *url)
{
    CURLU *parsed = curl_url();
    char *part = NULL, *host = NULL;

    if (curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(parsed, CURLUPART_HOST, &part, 0) == CURLUE_OK) {
        size_t length = strlen(part);

        host = *part == '[' && length > 2 ? g_strndup(part + 1, length - 2) : g_strdup(part);
    }
    curl_free(part);
    curl_url_cleanup(parsed);
    return host;
}

/* What the name has as addresses, those that mean "this machine" left out. */
static void
host_resolve(const char *host, GPtrArray *addresses)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char text[INET6_ADDRSTRLEN + 32];

    if (getaddrinfo(host, NULL, &hints, &list) != 0)
        return;
    for (const struct addrinfo *at = list; at; at = at->ai_next) {
        if (getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) ==
                0 &&
            !is_loopback(text))
            address_add(addresses, text);
    }
    freeaddrinfo(list);
}

static void
controllers_find(PrepareController *controller, NoticeFn notice, void *opaque)
{
    const char *url = client_auth_url(controller->cli->client);
    g_autofree char *host = url_host(url);
    GPtrArray *found = controller->controllers;

    if (host)
        host_resolve(host, found);
    if (found->len == 0) {
        say(notice, opaque,
            "the controller's URL %s has no address by which a node could know it: name the "
            "controller with --controller IP, or it cannot reach the nodes",
            url);
        return;
    }
    g_ptr_array_add(found, NULL);
    g_autofree char *list = g_strjoinv(", ", (char **)found->pdata);
    g_ptr_array_set_size(found, (int)found->len - 1);
    say(notice, opaque,
        "the firewall lets the controller through: %s (from %s; name all controllers with "
        "--controller)",
        list, url);
}

/* ---- nodes that are not named now -------------------------------------------------------------
 */

static bool
row_is_target(const json_t *row, const NodeTarget *target)
{
    return g_ascii_strcasecmp(json_text_at(row, "name"), target->host) == 0 ||
           g_str_equal(json_text_at(row, "address"), target->host) ||
           g_str_equal(json_text_at(row, "migration_address"), target->host);
}

static bool
row_is_named(const json_t *row, const NodeTarget *const *targets, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (row_is_target(row, targets[i]))
            return true;
    }
    return false;
}

void
prepare_peers(const json_t *hosts, const NodeTarget *const *targets, unsigned n, GPtrArray *peers)
{
    const json_t *row;
    size_t i;

    json_array_foreach((json_t *)hosts, i, row)
    {
        if (row_is_named(row, targets, n))
            continue;
        address_add(peers, json_text_at(row, "address"));
        address_add(peers, json_text_at(row, "migration_address"));
    }
}

const json_t *
prepare_node_row(const json_t *hosts, const NodeTarget *target, const FoundNode *found)
{
    const json_t *row;
    size_t i;

    json_array_foreach((json_t *)hosts, i, row)
    {
        if (row_is_target(row, target) ||
            (found->addresses &&
             g_strv_contains((const char *const *)found->addresses, json_text_at(row, "address"))))
            return row;
    }
    return NULL;
}

/* ---- Ceph -------------------------------------------------------------------------------------
 */

static bool
ceph_conf_find(PrepareController *controller, NoticeFn notice, void *opaque, GError **err)
{
    Cli *cli = controller->cli;
    const char *file = args_text(cli->args, "ceph-conf");
    g_autoptr(json_t) answer = NULL;

    if (file)
        return file_read_bounded(file, CEPH_CONF_MAX, &controller->ceph_conf, NULL, err);
    if (!args_flag(cli->args, "ceph"))
        return true;
    if (!controller->ca) {
        say(notice, opaque,
            "no controller is asked: /etc/ceph/ceph.conf stays as it is on the nodes; --ceph-conf "
            "FILE writes one");
        return true;
    }
    answer = cli_get(cli, SERVICE_GODWIT, "/ceph-conf", "ceph_conf", err);
    if (!answer) {
        g_prefix_error(err, "--ceph asks the controller for the cluster: ");
        return false;
    }
    controller->ceph_conf = g_strdup(json_text_at(answer, "text"));
    return true;
}

/* ---- before -----------------------------------------------------------------------------------
 */

/* For signatures. */
static bool
controller_is_needed(const PrepareController *controller)
{
    return controller->options->transport != TRANSPORT_TCP && !controller->options->dry_run;
}

static bool
controller_is_wanted(PrepareController *controller, NoticeFn notice, void *opaque, bool *wanted,
                     GError **err)
{
    const CliArgs *args = controller->cli->args;
    bool needed = controller_is_needed(controller);
    g_autoptr(GError) error = NULL;

    *wanted = false;
    if (args_flag(args, "no-controller")) {
        if (needed)
            return usage_error(err,
                               "transport %s needs the controller, which signs the nodes' "
                               "certificates: --no-controller goes with --transport tcp or "
                               "--dry-run only",
                               transport_names[controller->options->transport]);
        if (args_flag(args, "register"))
            return usage_error(err, "--register and --no-controller exclude each other");
    } else if (cli_client_ensure(controller->cli, &error)) {
        *wanted = true;
    } else if (needed || args_flag(args, "register")) {
        g_propagate_prefixed_error(
            err, g_steal_pointer(&error),
            "the controller must be asked, for certificates or to register nodes: ");
        return false;
    }
    if (!*wanted && controller->options->firewall)
        say(notice, opaque,
            "no controller is asked: the firewall lets nobody through but the nodes named here%s",
            args_list(args, "controller") ? " and each --controller" : "");
    return true;
}

/* Addresses that the operator gave with an option. */
static bool
given_read(const CliArgs *args, const char *option, GPtrArray *addresses, GError **err)
{
    const GPtrArray *given = args_list(args, option);

    for (unsigned i = 0; given && i < given->len; i++) {
        const char *address = g_ptr_array_index(given, i);

        if (!is_numeric(address))
            return usage_error(err, "--%s takes a numeric address, not \"%s\"", option, address);
        address_add(addresses, address);
    }
    return true;
}

/* ssh between nodes rests on keys that this run gives to the nodes named, and on nothing else. */
static bool
joins_by_ssh(const PrepareController *controller)
{
    return controller->options->transport == TRANSPORT_SSH || controller->options->mesh_user;
}

static void
strangers_tell(const PrepareController *controller, NoticeFn notice, void *opaque)
{
    const json_t *row;
    g_autoptr(GString) names = g_string_new(NULL);
    size_t i;

    json_array_foreach(controller->hosts, i, row)
    {
        if (!row_is_named(row, controller->targets, controller->n))
            name_append(names, json_text_at(row, "name"));
    }
    if (names->len > 0 && joins_by_ssh(controller))
        say(notice, opaque,
            "ssh will join only the nodes that are named here; these are registered too: %s",
            names->str);
}

bool
prepare_controller_ask(PrepareController *controller, NoticeFn notice, void *opaque, GError **err)
{
    Cli *cli = controller->cli;
    bool wanted = false;

    controller->found = g_new0(FoundNode, controller->n);
    controller->controllers = g_ptr_array_new_with_free_func(g_free);
    controller->peers = g_ptr_array_new_with_free_func(g_free);
    if (!given_read(cli->args, "controller", controller->controllers, err) ||
        !given_read(cli->args, "peer", controller->peers, err))
        return false;
    if (!args_flag(cli->args, "undo") &&
        !controller_is_wanted(controller, notice, opaque, &wanted, err))
        return false;
    if (wanted) {
        controller->ca = cli_get(cli, SERVICE_GODWIT, "/ca", "ca", err);
        if (controller->ca)
            controller->hosts = cli_get(cli, SERVICE_GODWIT, "/hosts", "hosts", err);
        if (!controller->hosts) {
            g_prefix_error(err,
                           "the controller must say which nodes there are besides those named "
                           "here, or their way in would be closed%s: ",
                           controller_is_needed(controller) ? ""
                                                            : " (--no-controller goes without)");
            return false;
        }
        if (controller->controllers->len == 0 && controller->options->firewall)
            controllers_find(controller, notice, opaque);
        prepare_peers(controller->hosts, controller->targets, controller->n, controller->peers);
        strangers_tell(controller, notice, opaque);
    }
    g_ptr_array_add(controller->controllers, NULL);
    g_ptr_array_add(controller->peers, NULL);
    return args_flag(cli->args, "undo") || ceph_conf_find(controller, notice, opaque, err);
}

void
prepare_controller_clear(PrepareController *controller)
{
    for (unsigned i = 0; controller->found && i < controller->n; i++) {
        g_free(controller->found[i].hostname);
        g_strfreev(controller->found[i].addresses);
    }
    g_free(controller->found);
    json_decref(controller->ca);
    json_decref(controller->hosts);
    g_clear_pointer(&controller->controllers, g_ptr_array_unref);
    g_clear_pointer(&controller->peers, g_ptr_array_unref);
    g_free(controller->ceph_conf);
}

bool
prepare_controller_sign(const PrepareController *controller, const char *role, const char *host,
                        const char *request, const char *const *names, char **certificate,
                        GError **err)
{
    json_t *list = json_array();
    g_autoptr(json_t) answer = NULL;

    for (; *names; names++)
        json_array_append_new(list, json_string(*names));

    g_autoptr(json_t) body = json_pack("{s:{s:s,s:s,s:s,s:o}}", "certificate", "role", role, "host",
                                       host, "request", request, "names", list);

    if (!body)
        return err_set(err, ERR_INVALID, "the node's request is not a text");
    if (!cli_post(controller->cli, SERVICE_GODWIT, "/certificates", body, "certificate", &answer,
                  err))
        return false;
    *certificate = g_strdup(json_text_at(answer, "certificate"));
    return true;
}

/* ---- after ------------------------------------------------------------------------------------
 */

char *
prepare_node_uri(PrepareTransport transport, const char *address, unsigned ssh_port,
                 const char *pkipath)
{
    g_autofree char *shown =
        strchr(address, ':') ? g_strdup_printf("[%s]", address) : g_strdup(address);
    g_autofree char *port = ssh_port ? g_strdup_printf(":%u", ssh_port) : g_strdup("");

    switch (transport) {
    case TRANSPORT_TLS:
        return g_strdup_printf("qemu+tls://%s/system?pkipath=%s", shown, pkipath);
    case TRANSPORT_SSH:
        return g_strdup_printf("qemu+ssh://root@%s%s/system?no_tty=1", shown, port);
    case TRANSPORT_TCP:
    case N_TRANSPORTS:
        break;
    }
    return g_strdup_printf("qemu+tcp://%s/system", shown);
}

static bool
name_serves(const char *name)
{
    return name && *name && strlen(name) <= 63 && !is_numeric(name) && !strchr(name, '_') &&
           !strchr(name, ':') && !g_str_equal(name, "localhost");
}

char *
prepare_node_name(const NodeTarget *target, const char *hostname)
{
    return g_strdup(name_serves(target->host) ? target->host
                    : name_serves(hostname)   ? hostname
                                              : NULL);
}

/* Where the others and the controller reach it. */
static const char *
node_address(const PrepareController *controller, unsigned i)
{
    const char *listen = controller->options->listen_address;

    if (listen && !g_str_equal(listen, "0.0.0.0") && !g_str_equal(listen, "::"))
        return listen;
    return controller->found[i].addresses ? controller->found[i].addresses[0] : NULL;
}

static bool
node_register(PrepareController *controller, const char *name, const char *address, const char *uri,
              const json_t *row, NoticeFn notice, void *opaque, GError **err)
{
    g_autoptr(json_t) body =
        row ? json_pack("{s:{s:s,s:s}}", "host", "address", address, "uri", uri)
            : json_pack("{s:{s:s,s:s,s:s}}", "host", "name", name, "address", address, "uri", uri);
    g_autofree char *escaped = client_escape(name);
    g_autofree char *path = row ? g_strconcat("/hosts/", escaped, NULL) : g_strdup("/hosts");

    if (!client_call(controller->cli->client, SERVICE_GODWIT, row ? "PUT" : "POST", path, body,
                     NULL, err)) {
        g_prefix_error(err, "%s is prepared, but could not be registered: ", name);
        return false;
    }
    say(notice, opaque, "%s: %s as %s; see godwit host list", name,
        row ? "reached anew" : "registered", uri);
    return true;
}

bool
prepare_uri_serves(const char *uri, PrepareTransport transport)
{
    static const char *const prefixes[N_TRANSPORTS][3] = {
        [TRANSPORT_TLS] = {"qemu+tls://"},
        [TRANSPORT_SSH] = {"qemu+ssh://", "qemu+libssh://"},
        [TRANSPORT_TCP] = {"qemu+tcp://"},
    };

    for (const char *const *prefix = prefixes[transport]; *prefix; prefix++) {
        if (g_str_has_prefix(uri, *prefix))
            return true;
    }
    return false;
}

static bool
node_finish(PrepareController *controller, unsigned i, NoticeFn notice, void *opaque, GError **err)
{
    const NodeTarget *target = controller->targets[i];
    const FoundNode *found = &controller->found[i];
    const json_t *row = prepare_node_row(controller->hosts, target, found);
    g_autofree char *name =
        row ? g_strdup(json_text_at(row, "name")) : prepare_node_name(target, found->hostname);
    const char *address = node_address(controller, i);
    const char *pkipath = json_text_at(controller->ca, "pkipath");
    bool wants = args_flag(controller->cli->args, "register");

    if (!address)
        return true;
    g_autofree char *uri = prepare_node_uri(controller->options->transport, address, target->port,
                                            *pkipath ? pkipath : "STATE/pki/libvirt");
    if (row && prepare_uri_serves(json_text_at(row, "uri"), controller->options->transport) &&
        g_str_equal(json_text_at(row, "address"), address)) {
        if (wants)
            say(notice, opaque, "%s: registered already", name);
        return true;
    }
    if (wants && !name)
        return err_set(err, ERR_INVALID,
                       "%s is prepared, but could not be registered: neither \"%s\" nor what it "
                       "calls itself is a name for a node; type godwit host add NAME --address %s "
                       "--uri '%s'",
                       target->text, target->host, address, uri);
    if (wants)
        return node_register(controller, name, address, uri, row, notice, opaque, err);
    say(notice, opaque, "next: godwit host %s %s --address %s --uri '%s' --wait",
        row ? "set" : "add", name ? name : "NAME", address, uri);
    return true;
}

static const char *const of_this_run[] = {"dry-run", "diff", "undo", "register", "json", NULL};

char *
prepare_options_again(const CliArgs *args, const CliOption *options)
{
    GString *out = g_string_new(NULL);

    for (const CliOption *option = options; option->name; option++) {
        const GPtrArray *given = args_list(args, option->name);

        if (!given || g_strv_contains(of_this_run, option->name))
            continue;
        if (option->kind == CLI_FLAG)
            g_string_append_printf(out, " --%s", option->name);
        for (unsigned i = 0; option->kind != CLI_FLAG && i < given->len; i++) {
            g_autofree char *quoted = g_shell_quote(g_ptr_array_index(given, i));
            const char *value = g_ptr_array_index(given, i);
            bool plain = *value && value[strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopq"
                                                       "rstuvwxyz0123456789./:_-")] == '\0';

            g_string_append_printf(out, " --%s %s", option->name, plain ? value : quoted);
        }
    }
    return g_string_free(out, FALSE);
}

/* Nodes that are registered, were not named now, and were prepared before some of these were known:
 * only the operator can say that they are to be touched. */
static void
others_tell(PrepareController *controller, const CliOption *options, NoticeFn notice, void *opaque)
{
    const NodeTarget *first = controller->targets[0];
    g_autofree char *again = prepare_options_again(controller->cli->args, options);
    g_autoptr(GString) command = g_string_new(NULL);
    g_autoptr(GString) fresh = g_string_new(NULL);
    g_autoptr(GString) others = g_string_new(NULL);
    const json_t *row;
    size_t k;

    g_string_append_printf(command, "godwit host prepare%s", again);
    for (unsigned i = 0; i < controller->n; i++) {
        g_string_append_printf(command, " %s", controller->targets[i]->text);
        if (!prepare_node_row(controller->hosts, controller->targets[i], &controller->found[i]))
            name_append(fresh, controller->targets[i]->host);
    }
    json_array_foreach(controller->hosts, k, row)
    {
        const char *name = json_text_at(row, "name"), *address = json_text_at(row, "address");
        bool is_named = false;

        for (unsigned i = 0; i < controller->n && !is_named; i++)
            is_named = row == prepare_node_row(controller->hosts, controller->targets[i],
                                               &controller->found[i]);
        if (is_named)
            continue;
        name_append(others, name);
        g_string_append_printf(command, " %s%s%s", first->user ? first->user : "",
                               first->user ? "@" : "", is_numeric(first->host) ? address : name);
    }
    if (fresh->len == 0 || others->len == 0)
        return;
    say(notice, opaque,
        "%s, registered but not named now: %s, and moves to and from there fail, until you type\n"
        "  %s",
        others->str,
        joins_by_ssh(controller)
            ? "ssh does not join it with the nodes named"
            : "where Godwit set up the firewall, it may not let the new ones in yet",
        command->str);
}

bool
prepare_controller_finish(PrepareController *controller, const CliOption *options, NoticeFn notice,
                          void *opaque, GError **err)
{
    bool good = true;

    for (unsigned i = 0; i < controller->n && good; i++)
        good = node_finish(controller, i, notice, opaque, err);
    if (controller->hosts && (controller->options->firewall || joins_by_ssh(controller)))
        others_tell(controller, options, notice, opaque);
    return good;
}
