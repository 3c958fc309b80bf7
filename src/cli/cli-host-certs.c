/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-host-certs.c: godwit host certs: when the certificates of nodes and controller end
 *
 * For people and for monitoring: exit status 1 says that somebody has to act. */
#include "cli/cli.h"
#include "prepare/prepare.h"

#include <string.h>

#define DAY_US (INT64_C(86400) * USEC_PER_SEC)

static void
row_add(json_t *rows, const char *host, const char *name, CertificateState state, int64_t ends,
        const char *subject, const char *names, const char *path)
{
    json_t *row =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "host", host, "certificate", name, "state",
                  certificate_state_names[state], "subject", subject, "names", names, "path", path);

    if (ends >= 0) {
        json_object_set_new(row, "ends_at", json_integer(ends));
        json_object_set_new(row, "days",
                            json_integer((json_int_t)((ends - clock_realtime()) / DAY_US)));
    }
    json_array_append_new(rows, row);
}

/* ---- the controller's own ---------------------------------------------------------------------
 */

static void
controller_rows(const json_t *ca, const char *url, json_t *rows, unsigned *bad)
{
    const json_t *row;
    int64_t now = clock_realtime(), ends = json_int_at(ca, "expires_at");
    CertificateState state = certificate_judge(0, ends, now);
    size_t i;

    *bad += state != CERTIFICATE_GOOD;
    row_add(rows, "controller", "CA", state, ends, "", url, "");
    json_array_foreach(json_object_get(ca, "certificates"), i, row)
    {
        ends = json_int_at(row, "expires_at");
        state = certificate_judge(0, ends, now);
        *bad += state != CERTIFICATE_GOOD;
        row_add(rows, "controller", json_text_at(row, "name"), state, ends, "", url, "");
    }
}

/* ---- which nodes ------------------------------------------------------------------------------
 */

/* The registered ones, as "[USER@]NAME" or "[USER@]ADDRESS". */
static GPtrArray *
words_of(const json_t *hosts, const char *user, bool by_address)
{
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
    const json_t *row;
    size_t i;

    json_array_foreach((json_t *)hosts, i, row)
    {
        const char *word = json_text_at(row, by_address ? "address" : "name");
        bool is_v6 = strchr(word, ':') != NULL;

        g_ptr_array_add(words, g_strdup_printf("%s%s%s%s%s", user ? user : "", user ? "@" : "",
                                               is_v6 ? "[" : "", word, is_v6 ? "]" : ""));
    }
    return words;
}

/* NULL with *err; *n is 0 if the controller knows no node. */
static NodeTarget **
targets_find(Cli *cli, unsigned *n, GError **err)
{
    const char *user = args_text(cli->args, "ssh-user");
    g_autoptr(json_t) hosts = NULL;
    g_autoptr(GPtrArray) words = NULL;

    if (args_word(cli->args, 0))
        return cli_targets_parse(cli->args->words, n, err);
    hosts = cli_get(cli, SERVICE_GODWIT, "/hosts", "hosts", err);
    if (!hosts)
        return NULL;
    words = words_of(hosts, user, args_flag(cli->args, "by-address"));
    return cli_targets_parse(words, n, err);
}

/* ---- the command ------------------------------------------------------------------------------
 */

/* A node whose transport is plaintext has none at all, and needs none. */
static bool
node_has_any(const GPtrArray *certificates, const char *host)
{
    for (unsigned i = 0; i < certificates->len; i++) {
        const NodeCertificate *row = g_ptr_array_index(certificates, i);

        if (g_str_equal(row->host, host) && row->state != CERTIFICATE_MISSING)
            return true;
    }
    return false;
}

static void
node_rows(const GPtrArray *certificates, json_t *rows, unsigned *bad)
{
    for (unsigned i = 0; i < certificates->len; i++) {
        const NodeCertificate *row = g_ptr_array_index(certificates, i);

        *bad += row->state != CERTIFICATE_GOOD && node_has_any(certificates, row->host);
        row_add(rows, row->host, row->name, row->state, row->ends, row->subject, row->names,
                row->path);
    }
}

static bool
verdict(Cli *cli, unsigned bad, const GPtrArray *failures, unsigned n, GError **err)
{
    for (unsigned i = 0; i < failures->len; i++)
        fprintf(stderr, "%s\n", (const char *)g_ptr_array_index(failures, i));
    if (bad > 0 || failures->len > 0)
        return err_set(
            err, ERR_CONFLICT,
            "%u certificates need care, %u nodes could not be asked; godwit host prepare "
            "renews those of nodes, a restart of godwitd its own",
            bad, failures->len);
    cli_say(cli, "every certificate there is, is good for more than 30 days%s",
            n == 0 ? "; no node was asked" : "");
    return true;
}

static bool
host_certs(Cli *cli, GError **err)
{
    static const Column columns[] = {
        {"host", "host"},
        {"certificate", "certificate"},
        {"state", "state"},
        {"days", "days"},
        {"ends", "ends_at", CELL_TIME},
        {"subject", "subject"},
        {"names", "names"},
        {0},
    };
    g_autoptr(GPtrArray) failures = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) certificates = NULL;
    g_autoptr(json_t) rows = json_array();
    g_autoptr(json_t) ca = NULL;
    bool ask = !args_flag(cli->args, "no-controller");
    unsigned n = 0, bad = 0;
    NodeTarget **targets;

    if (!ask && !args_word(cli->args, 0))
        return usage_error(err, "without the controller nobody knows the nodes: name them");
    if (ask) {
        if (!cli_client_ensure(cli, err) ||
            !(ca = cli_get(cli, SERVICE_GODWIT, "/ca", "ca", err))) {
            g_prefix_error(err, "the controller was asked for its own certificates "
                                "(--no-controller leaves it out): ");
            return false;
        }
        controller_rows(ca, client_auth_url(cli->client), rows, &bad);
    }
    targets = targets_find(cli, &n, err);
    if (!targets)
        return false;
    certificates =
        certificate_list((const NodeTarget *const *)targets, n, args_text(cli->args, "ssh-config"),
                         cli_interrupt_fd(), failures);
    cli_targets_free(targets);
    node_rows(certificates, rows, &bad);
    cli_print_list(cli, rows, columns);
    fflush(cli->out);
    return verdict(cli, bad, failures, n, err);
}

static const CliOption certs_options[] = {
    {"by-address", CLI_FLAG, NULL, "reach the registered nodes by their address, not their name"},
    {"ssh-user", CLI_TEXT, "USER", "log in to the registered nodes as this user"},
    {"no-controller", CLI_FLAG, NULL, "only the nodes named here"},
    {"ssh-config", CLI_TEXT, "FILE", "as ssh -F"},
    {0},
};

const CliCommand certs_commands[] = {
    {"host certs", "[[USER@]HOST...]", 0, 200, certs_options, host_certs,
     "show when certificates end, of nodes (over ssh) and controller", true},
    {0},
};
