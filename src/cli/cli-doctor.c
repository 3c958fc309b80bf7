/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-doctor.c: godwit doctor: is everything there that a move needs?
 *
 * Two halves: what ssh sees of the nodes, and what the controller knows. Either works without the
 * other. Exit status, for monitoring: 0 no check failed (with --strict: none warns), 1 one did, 2
 * nothing could be looked at. */
#include "cli/doctor-controller.h"

#include <string.h>

enum {
    HOSTS_MAX = 1000,
    STATUS_NOTHING_SEEN = 2,
};

typedef struct Examination {
    Cli *cli;
    json_t *hosts;         /* of the controller; NULL: it was not asked, or did not answer */
    GPtrArray *targets;    /* NodeTarget * */
    GPtrArray *names;      /* char *, of the same */
    GPtrArray *wanted;     /* borrowed names of checks, and a NULL; NULL: all */
    GPtrArray *checks;     /* Check * */
    bool controller_asked; /* and it should have answered */
} Examination;

static const char *const *
wanted_names(const Examination *examination)
{
    return examination->wanted ? (const char *const *)examination->wanted->pdata : NULL;
}

static bool
is_check(const char *name)
{
    for (const CheckName *check = doctor_checks; check->name; check++) {
        if (g_str_equal(check->name, name))
            return true;
    }
    return false;
}

static bool
wanted_read(Examination *examination, GError **err)
{
    const GPtrArray *given = args_list(examination->cli->args, "check");

    if (!given)
        return true;
    examination->wanted = g_ptr_array_new();
    for (unsigned i = 0; i < given->len; i++) {
        if (!is_check(g_ptr_array_index(given, i)))
            return usage_error(err, "there is no check \"%s\"; --list-checks lists them",
                               (const char *)g_ptr_array_index(given, i));
        g_ptr_array_add(examination->wanted, g_ptr_array_index(given, i));
    }
    g_ptr_array_add(examination->wanted, NULL);
    return true;
}

/* Is one of the checks of that half wanted? */
static bool
half_is_wanted(const Examination *examination, bool of_controller)
{
    for (const CheckName *check = doctor_checks; check->name; check++) {
        if (check->of_controller == of_controller &&
            (!examination->wanted || g_strv_contains(wanted_names(examination), check->name)))
            return true;
    }
    return false;
}

/* ---- the controller ---------------------------------------------------------------------------
 */

static bool
controller_is_configured(const Examination *examination)
{
    g_autoptr(CloudConfig) config = cloud_config_load(examination->cli->args, NULL);

    return config != NULL;
}

/* Not to be told where it is is no fault where hosts are named. */
static void
controller_ask(Examination *examination)
{
    Cli *cli = examination->cli;
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) baseline = NULL;
    const char *const *names = wanted_names(examination);
    bool named = cli->args->words->len > 0, drift = args_flag(cli->args, "drift");

    if (args_flag(cli->args, "no-controller") ||
        (named && (drift || !half_is_wanted(examination, true))))
        return;
    if (!controller_is_configured(examination) && named)
        return;
    examination->controller_asked = true;
    if (cli_client_ensure(cli, &error))
        examination->hosts = cli_get(cli, SERVICE_GODWIT, "/hosts", "hosts", &error);
    if (!examination->hosts) {
        /* Without it no host is known: that has to be told, whatever was asked for. */
        doctor_controller_failed(error, named ? names : NULL, examination->checks);
        return;
    }
    if (drift)
        return;
    baseline = cli_get(cli, SERVICE_GODWIT, "/cpu/baseline", "baseline", NULL);
    doctor_judge_controller(examination->hosts, baseline, clock_realtime(), names,
                            examination->checks);
}

/* By name or address. */
static const json_t *
registered_host(const Examination *examination, const char *name)
{
    size_t i;
    const json_t *host;

    json_array_foreach(examination->hosts, i, host)
    {
        if (g_str_equal(json_text_at(host, "name"), name) ||
            g_str_equal(json_text_at(host, "address"), name))
            return host;
    }
    return NULL;
}

/* ---- the hosts ---------------------------------------------------------------------------------
 */

/* What the controller says is checked like what an operator types. */
static bool
target_add(Examination *examination, const char *text, const char *name, GError **err)
{
    NodeTarget *target = node_target_parse(text, err);
    g_autoptr(NodeTarget) plain = name ? node_target_parse(name, err) : NULL;

    if (!target || (name && !plain)) {
        node_target_free(target);
        return false;
    }
    g_ptr_array_add(examination->targets, target);
    g_ptr_array_add(examination->names, g_strdup(name ? plain->host : target->host));
    return true;
}

static bool
targets_registered(Examination *examination, GError **err)
{
    const char *user = args_text(examination->cli->args, "ssh-user");
    size_t i;
    const json_t *host;

    json_array_foreach(examination->hosts, i, host)
    {
        const char *address = json_text_at(host, "address");
        bool v6 = strchr(address, ':') != NULL;
        g_autofree char *text = g_strdup_printf("%s%s%s%s%s", user ? user : "", user ? "@" : "",
                                                v6 ? "[" : "", address, v6 ? "]" : "");

        if (!target_add(examination, text, json_text_at(host, "name"), err))
            return false;
    }
    return true;
}

static bool
targets_find(Examination *examination, GError **err)
{
    const CliArgs *args = examination->cli->args;

    if (args->words->len == 0 && examination->hosts)
        return targets_registered(examination, err);
    for (unsigned i = 0; args_word(args, i); i++) {
        if (!target_add(examination, args_word(args, i), NULL, err))
            return false;
    }
    return true;
}

static bool
nodes_ask(Examination *examination, GError **err)
{
    const CliArgs *args = examination->cli->args;
    unsigned n = examination->targets->len;
    g_autofree DoctorHost *hosts = g_new0(DoctorHost, n + 1);
    g_autoptr(GPtrArray) controllers = g_ptr_array_new();
    const GPtrArray *given = args_list(args, "controller");

    for (unsigned i = 0; given && i < given->len; i++)
        g_ptr_array_add(controllers, g_ptr_array_index(given, i));
    g_ptr_array_add(controllers, NULL);
    for (unsigned i = 0; i < n; i++) {
        const json_t *host = registered_host(examination, g_ptr_array_index(examination->names, i));

        hosts[i] = (DoctorHost){.target = g_ptr_array_index(examination->targets, i),
                                .name = g_ptr_array_index(examination->names, i),
                                .address = host ? json_text_at(host, "address") : NULL};
    }
    DoctorOptions options = {
        .ssh_config = args_text(args, "ssh-config"),
        .cancel_fd = cli_interrupt_fd(),
        .drift_only = args_flag(args, "drift"),
        .bandwidth = args_flag(args, "bandwidth"),
        .ceph = args_flag(args, "ceph"),
        .names = wanted_names(examination),
        .controllers = (const char *const *)controllers->pdata,
    };
    g_autoptr(GPtrArray) seen = n > 0 ? doctor_run(hosts, n, &options, err) : NULL;

    if (n > 0 && !seen)
        return false;
    if (seen)
        g_ptr_array_extend_and_steal(examination->checks, g_steal_pointer(&seen));
    return true;
}

/* ---- what was found ----------------------------------------------------------------------------
 */

static void
print_json(Cli *cli, const GPtrArray *checks)
{
    g_autoptr(json_t) rows = json_array();

    for (unsigned i = 0; i < checks->len; i++) {
        const Check *check = g_ptr_array_index(checks, i);

        json_array_append_new(
            rows, json_pack("{s:s,s:s,s:s,s:s,s:s?,s:s?}", "host", check->host, "check",
                            check->name, "status", check_status_names[check->status], "evidence",
                            check->evidence, "remedy", check->remedy, "command", check->command));
    }
    cli_print_object(cli, rows);
}

static void
print_text(Cli *cli, const GPtrArray *checks)
{
    bool quiet = args_flag(cli->args, "quiet");

    for (unsigned i = 0; i < checks->len; i++) {
        const Check *check = g_ptr_array_index(checks, i);

        if (quiet && check->status == CHECK_PASS)
            continue;
        g_autofree char *evidence = cli_text_clean(check->evidence);

        cli_say(cli, "%-16s %-15s %s  %s", check->host, check->name,
                check_status_names[check->status], evidence);
        if (check->remedy)
            cli_say(cli, "%38s%s", "", check->remedy);
        if (check->command)
            cli_say(cli, "%38sthere, as root: %s", "", check->command);
    }
}

/* A node, or what the controller knows. */
static bool
anything_seen(const Examination *examination)
{
    unsigned blind = 0;

    for (unsigned i = 0; i < examination->checks->len; i++) {
        const Check *check = g_ptr_array_index(examination->checks, i);

        blind += check->status == CHECK_FAIL && g_str_equal(check->name, "ssh");
    }
    return examination->hosts || examination->targets->len > blind;
}

static bool
verdict(Examination *examination, GError **err)
{
    Cli *cli = examination->cli;
    unsigned counts[3] = {0};

    for (unsigned i = 0; i < examination->checks->len; i++)
        counts[((const Check *)g_ptr_array_index(examination->checks, i))->status]++;
    if (!anything_seen(examination)) {
        cli->exit_status = STATUS_NOTHING_SEEN;
        return err_set(err, ERR_UNREACHABLE,
                       "nothing could be looked at: no node by ssh, and no controller");
    }
    if (counts[CHECK_FAIL] > 0 || (counts[CHECK_WARN] > 0 && args_flag(cli->args, "strict")))
        return err_set(err, ERR_CONFLICT, "%u checks failed, %u warn, %u passed",
                       counts[CHECK_FAIL], counts[CHECK_WARN], counts[CHECK_PASS]);
    cli_say(cli, "no check failed, %u warn, %u passed", counts[CHECK_WARN], counts[CHECK_PASS]);
    return true;
}

static void
say_halves(const Examination *examination)
{
    Cli *cli = examination->cli;

    if (examination->targets->len == 0)
        cli_say(cli, "not looked at: everything that is seen by ssh");
    if (!examination->hosts && !examination->controller_asked && !args_flag(cli->args, "drift") &&
        half_is_wanted(examination, true))
        cli_say(cli, "not looked at: what a controller knows of the nodes (%s)",
                args_flag(cli->args, "no-controller") ? "--no-controller" : "no OS_AUTH_URL");
}

static bool
list_checks(Cli *cli)
{
    g_autoptr(json_t) rows = json_array();
    static const Column columns[] = {
        {"check", "check"}, {"seen by", "by"}, {"about", "about"}, {0}};

    for (const CheckName *check = doctor_checks; check->name; check++)
        json_array_append_new(rows, json_pack("{s:s,s:s,s:s}", "check", check->name, "by",
                                              check->of_controller ? "controller" : "ssh", "about",
                                              check->about));
    cli_print_list(cli, rows, columns);
    return true;
}

static bool
examine(Examination *examination, GError **err)
{
    Cli *cli = examination->cli;

    if (!wanted_read(examination, err))
        return false;
    if (cli->args->words->len == 0 && args_flag(cli->args, "no-controller"))
        return usage_error(err, "which hosts? without a controller to ask, name them");
    controller_ask(examination);
    if (!args_flag(cli->args, "no-ssh") && half_is_wanted(examination, false)) {
        if (!targets_find(examination, err)) {
            cli->exit_status = STATUS_NOTHING_SEEN;
            return false;
        }
        if (!nodes_ask(examination, err))
            return false;
    }
    if (cli->json)
        print_json(cli, examination->checks);
    else
        print_text(cli, examination->checks);
    say_halves(examination);
    return verdict(examination, err);
}

static bool
doctor(Cli *cli, GError **err)
{
    Examination examination = {
        .cli = cli,
        .targets = g_ptr_array_new_with_free_func((GDestroyNotify)node_target_free),
        .names = g_ptr_array_new_with_free_func(g_free),
        .checks = g_ptr_array_new_with_free_func(check_free),
    };
    bool ok = args_flag(cli->args, "list-checks") ? list_checks(cli) : examine(&examination, err);

    g_ptr_array_unref(examination.targets);
    g_ptr_array_unref(examination.names);
    g_ptr_array_unref(examination.checks);
    if (examination.wanted)
        g_ptr_array_unref(examination.wanted);
    json_decref(examination.hosts);
    return ok;
}

static const CliOption doctor_options[] = {
    {"drift", CLI_FLAG, NULL, "only compare the nodes with what prepare wrote"},
    {"check", CLI_LIST, "NAME", "only this check (again for more)"},
    {"list-checks", CLI_FLAG, NULL, "say what is checked"},
    {"bandwidth", CLI_FLAG, NULL, "measure it too: at most 64 MiB or 2 s for each pair"},
    {"ceph", CLI_FLAG, NULL, "disks are on Ceph, even if no node looks like it"},
    {"controller", CLI_LIST, "IP", "address of a controller that firewalls must let in"},
    {"no-controller", CLI_FLAG, NULL, "leave out what the controller knows"},
    {"no-ssh", CLI_FLAG, NULL, "leave out what ssh sees"},
    {"quiet", CLI_FLAG, NULL, "leave out what passed"},
    {"strict", CLI_FLAG, NULL, "fail on warnings too"},
    {"ssh-user", CLI_TEXT, "USER", "whom to log in as on the controller's hosts"},
    {"ssh-config", CLI_TEXT, "FILE", "as ssh -F"},
    {0},
};

const CliCommand doctor_commands[] = {
    {"doctor", "[[USER@]HOST...]", 0, HOSTS_MAX, doctor_options, doctor,
     "check everything that a move needs", true},
    {0},
};
