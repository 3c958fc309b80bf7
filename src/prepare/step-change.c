/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-change.c: a node's firewall, configuration and units; the restart; putting it all back */
#include "prepare/prepare-node.h"

#include <string.h>

#define SCRIPT_SECONDS  60
#define RULES_PATH      "/etc/godwit/node.nft"
#define RULES_UNIT      "godwit-firewall.service"
#define RULES_UNIT_PATH "/etc/systemd/system/" RULES_UNIT
#define QEMU_CONF       "/etc/libvirt/qemu.conf"

bool
node_file_make(PrepareNode *node, const char *step, const char *path, const NodeFile *file,
               const char *text, const char *mode, const char *owner, bool *changed, GError **err)
{
    g_autoptr(NodeFile) read = NULL;

    *changed = false;
    if (file == NULL) {
        file = read = node_file_read(node->ssh, path, err);
        if (read == NULL)
            return false;
    }
    g_autofree char *diff = text_diff(path, file->text, text, 3);
    if (*diff == '\0')
        return true;
    if (!node->run->options->dry_run && !node_file_write(node->ssh, file, text, mode, owner, err))
        return false;
    *changed = true;
    node_step(node, step, STEP_CHANGED, diff);
    return true;
}

/* Set keys in one of libvirt's files; one that is not there yet (a dry run before the packages are
 * installed) is taken for empty. */
static bool
conf_make(PrepareNode *node, const char *step, const char *path, const ConfSetting *settings,
          bool *changed, GError **err)
{
    g_autoptr(NodeFile) file = node_file_read(node->ssh, path, err);
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);

    if (file == NULL)
        return false;
    g_autofree char *text = conf_edit(file->text != NULL ? file->text : "", settings, notices, err);
    if (text == NULL) {
        g_prefix_error(err, "%s: %s: ", ssh_name(node->ssh), path);
        return false;
    }
    for (unsigned i = 0; i < notices->len; i++) {
        g_autofree char *notice =
            g_strdup_printf("%s: %s", path, (const char *)g_ptr_array_index(notices, i));
        node_step(node, step, STEP_RUNNING, notice);
    }
    if (!node_file_make(node, step, path, file, text, "0644", "root:root", changed, err))
        return false;
    if (!*changed)
        node_step(node, step, STEP_SAME, NULL);
    node->restart = node->restart || *changed;
    return true;
}

bool
step_libvirt(PrepareNode *node, GError **err)
{
    NodeSettings settings = node_settings(node);
    ConfSetting *wanted = settings_libvirtd(&settings, err);
    bool changed;
    bool good = wanted != NULL &&
                conf_make(node, "libvirt", daemon_units[node->mode].conf, wanted, &changed, err);
    settings_free(wanted);
    return good;
}

/* QEMU's user must exist before a file names it: libvirtd would not start. */
static bool
qemu_user_check(PrepareNode *node, const NodeSettings *settings, GError **err)
{
    static const char body[] =
        "getent passwd \"$1\" >/dev/null || { echo \"there is no user $1\" >&2; exit 1; }\n"
        "getent group \"$2\" >/dev/null || { echo \"there is no group $2\" >&2; exit 1; }";
    const char *const args[] = {settings->qemu_user, settings->qemu_group, NULL};
    return node->run->options->dry_run ||
           ssh_script(node->ssh, body, args, SCRIPT_SECONDS, NULL, err);
}

bool
step_qemu(PrepareNode *node, GError **err)
{
    NodeSettings settings = node_settings(node);
    bool changed;

    if (!qemu_user_check(node, &settings, err))
        return false;
    ConfSetting *wanted = settings_qemu(&settings, err);
    bool good = wanted != NULL && conf_make(node, "qemu", QEMU_CONF, wanted, &changed, err);
    settings_free(wanted);
    return good;
}

static GPtrArray *
addresses_allowed(const PrepareNode *node)
{
    GPtrArray *allowed = g_ptr_array_new();
    const PrepareRun *run = node->run;

    for (unsigned i = 0; i < run->n; i++) {
        for (unsigned k = 0; i != node->index && k < run->nodes[i].addresses->len; k++)
            g_ptr_array_add(allowed, g_ptr_array_index(run->nodes[i].addresses, k));
    }
    for (const char *const *address = run->options->controllers; address && *address; address++)
        g_ptr_array_add(allowed, (void *)*address);
    g_ptr_array_add(allowed, NULL);
    return allowed;
}

bool
step_firewall(PrepareNode *node, GError **err)
{
    static const char load[] =
        "set -e\nsystemctl daemon-reload\nsystemctl -q enable " RULES_UNIT "\n"
        "systemctl restart " RULES_UNIT "\nnft list table inet godwit_node >/dev/null";
    /* The rules that are in force are asked, not only the file: somebody may have flushed them. */
    static const char ask[] = "nft list table inet godwit_node >/dev/null 2>&1 && "
                              "systemctl -q is-enabled " RULES_UNIT " && echo yes || echo no";
    NodeSettings settings = node_settings(node);
    g_autoptr(GPtrArray) allowed = addresses_allowed(node);
    bool rules_changed, unit_changed;
    g_autofree char *answer = NULL;

    if (!node->run->options->firewall) {
        node_step(node, "firewall", STEP_SAME, "left alone, as asked");
        return true;
    }
    g_autofree char *rules = render_firewall(&settings, (const char *const *)allowed->pdata, err);
    g_autofree char *unit = render_firewall_unit("/usr/sbin/nft", RULES_PATH);

    if (rules == NULL ||
        !node_file_make(node, "firewall", RULES_PATH, NULL, rules, "0644", "root:root",
                        &rules_changed, err) ||
        !node_file_make(node, "firewall", RULES_UNIT_PATH, NULL, unit, "0644", "root:root",
                        &unit_changed, err) ||
        !ssh_script(node->ssh, ask, NULL, SCRIPT_SECONDS, &answer, err))
        return false;
    if (!rules_changed && !unit_changed && g_str_equal(answer, "yes\n")) {
        node_step(node, "firewall", STEP_SAME, NULL);
        return true;
    }
    if (!rules_changed && !unit_changed)
        node_step(node, "firewall", STEP_CHANGED, "the rules were not in force");
    return node->run->options->dry_run ||
           ssh_script(node->ssh, load, NULL, SCRIPT_SECONDS, NULL, err);
}

/* libvirtd does not start with --listen when systemd listens for it: an earlier drop-in is emptied.
 */
static bool
listen_reset(PrepareNode *node, const char *listener, bool *reset, GError **err)
{
    g_autofree char *path = g_strdup_printf("/etc/systemd/system/%s.d/godwit.conf", listener);
    g_autoptr(NodeFile) file = NULL;

    *reset = false;
    if (node->mode == DAEMON_LISTEN)
        return true;
    file = node_file_read(node->ssh, path, err);
    return file != NULL &&
           (file->text == NULL || *file->text == '\0' ||
            node_file_make(node, "units", path, file, "", "0644", "root:root", reset, err));
}

bool
step_units(PrepareNode *node, GError **err)
{
    NodeSettings settings = node_settings(node);
    const DaemonUnits *units = &daemon_units[node->mode];
    const char *unit = node->mode == DAEMON_LISTEN           ? units->listener
                       : settings.transport == TRANSPORT_TLS ? units->tls_socket
                                                             : units->tcp_socket;
    g_autofree char *path = g_strdup_printf("/etc/systemd/system/%s.d/godwit.conf", unit);
    g_autofree char *text = node->mode == DAEMON_LISTEN
                                ? render_service_listen(node->distro->libvirtd)
                                : render_socket(&settings);
    bool changed, reset;

    if (!listen_reset(node, units->listener, &reset, err))
        return false;
    if (settings.transport == TRANSPORT_SSH) {
        node_step(node, "units", STEP_SAME, "no listener: libvirt is reached through ssh");
        node->restart = node->restart || reset;
        return true;
    }
    if (!node_file_make(node, "units", path, NULL, text, "0644", "root:root", &changed, err))
        return false;
    if (!changed && !reset)
        node_step(node, "units", STEP_SAME, NULL);
    node->restart = node->restart || changed || reset;
    return true;
}

/* $1 mode, $2 listener, $3 socket to use ("": none), $4 those not to use, $5 port (0: none); then
 * the units to mask.
 *
 * libvirtd refuses to share: a socket can only be started while the service that it starts is not
 * running. KillMode=process in libvirt's units leaves the guests alone; they are counted to be
 * sure.
 */
static const char restart_script[] =
    "set -eu\n"
    "mode=$1 listener=$2 use=$3 other=$4 port=$5; shift 5\n"
    "guests() { pgrep -c -f '^[^ ]*qemu[^ ]* .*-name guest=' || true; }\n"
    "before=$(guests)\n"
    "systemctl daemon-reload\n"
    "if [ \"$mode\" = listen ]; then\n"
    "  systemctl stop \"$listener\"\n"
    "  systemctl -q mask --now \"$@\"\n"
    "  systemctl -q enable \"$listener\"\n"
    "  systemctl start \"$listener\"\n"
    "else\n"
    "  base=${listener%.service}\n"
    "  systemctl -q unmask \"$base.socket\" \"$base-ro.socket\" \"$base-admin.socket\" $use\n"
    "  systemctl -q disable --now $other 2>/dev/null || true\n"
    "  systemctl stop \"$listener\"\n"
    "  [ -z \"$use\" ] || systemctl -q enable \"$use\"\n"
    "  for try in 1 2 3 4 5; do\n"
    "    if [ -z \"$use\" ] || systemctl restart \"$use\"; then break; fi\n"
    "    [ $try != 5 ] || exit 1\n"
    "    systemctl stop \"$listener\"\n"
    "  done\n"
    "  systemctl start \"$base.socket\" \"$base-ro.socket\"\n"
    "  systemctl start \"$listener\"\n"
    "fi\n"
    "virsh -q -c qemu:///system version >/dev/null\n"
    "[ $port = 0 ] || [ -n \"$(ss -Hltn \"sport = :$port\")\" ] || { echo \"nothing listens on "
    "port $port\" >&2; "
    "exit 1; }\n"
    "after=$(guests)\n"
    "[ \"$before\" = \"$after\" ] || { echo \"$before guests ran before, $after do now\" >&2; exit "
    "1; }\n"
    "echo \"$after\"";

/* Is the node as the last restart left it? Somebody may have stopped or masked something since. */
static const char effective_script[] =
    "set -u\n"
    "use=$3 other=$4 port=$5 listener=$2 mode=$1\n"
    "if [ \"$mode\" != listen ]; then\n"
    "  [ -z \"$use\" ] || { systemctl -q is-enabled \"$use\" && systemctl -q is-active \"$use\"; } "
    "||\n"
    "    { echo no; exit 0; }\n"
    "  for o in $other; do ! systemctl -q is-active $o || { echo no; exit 0; }; done\n"
    "else\n"
    "  systemctl -q is-active \"$listener\" && systemctl -q is-enabled \"$listener\" ||\n"
    "    { echo no; exit 0; }\n"
    "fi\n"
    "if [ $port = 0 ] || [ -n \"$(ss -Hltn \"sport = :$port\")\" ]; then echo yes; else echo no; "
    "fi";

static GPtrArray *
restart_args(const PrepareNode *node, char **port, char **both)
{
    NodeSettings settings = node_settings(node);
    const DaemonUnits *units = &daemon_units[node->mode];
    bool tls = settings.transport == TRANSPORT_TLS;
    GPtrArray *args = g_ptr_array_new();

    *port = g_strdup_printf("%u", settings_port(&settings));
    g_ptr_array_add(args, (void *)(node->mode == DAEMON_LISTEN ? "listen" : "socket"));
    g_ptr_array_add(args, (void *)units->listener);
    bool none = settings.transport == TRANSPORT_SSH || node->mode == DAEMON_LISTEN;
    const char *use = tls ? units->tls_socket : units->tcp_socket;
    const char *other = tls ? units->tcp_socket : units->tls_socket;
    *both = none && units->tls_socket != NULL
                ? g_strdup_printf("%s %s", units->tls_socket, units->tcp_socket)
                : NULL;
    g_ptr_array_add(args, (void *)(none ? "" : use));
    g_ptr_array_add(args, (void *)(*both != NULL ? *both : none ? "" : other));
    g_ptr_array_add(args, *port);
    for (const char *const *unit = units->masked; *unit != NULL; unit++)
        g_ptr_array_add(args, (void *)*unit);
    g_ptr_array_add(args, NULL);
    return args;
}

bool
step_restart(PrepareNode *node, GError **err)
{
    /* Open connections go on with the certificates that they were made with. */
    static const char reload[] = "virt-admin -q server-update-tls \"$1\"";
    g_autofree char *port = NULL, *both = NULL, *answer = NULL, *guests = NULL, *detail = NULL;
    g_autoptr(GPtrArray) args = restart_args(node, &port, &both);
    const char *const *words = (const char *const *)args->pdata;
    const char *const server[] = {node->mode == DAEMON_MODULAR ? "virtproxyd" : "libvirtd", NULL};

    if (node->run->options->dry_run) {
        node_step(node, "restart", node->restart ? STEP_CHANGED : STEP_SAME, NULL);
        return true;
    }
    if (!node->restart) {
        if (!ssh_script(node->ssh, effective_script, words, SCRIPT_SECONDS, &answer, err))
            return false;
        node->restart = g_str_equal(answer, "no\n");
    }
    if (!node->restart && node->reload &&
        !ssh_script(node->ssh, reload, server, SCRIPT_SECONDS, NULL, err))
        return false;
    if (!node->restart) {
        node_step(node, "restart", node->reload ? STEP_CHANGED : STEP_SAME,
                  node->reload ? "certificates read again, no connection was dropped" : NULL);
        return true;
    }
    if (!ssh_script(node->ssh, restart_script, words, SCRIPT_SECONDS, &guests, err)) {
        g_prefix_error(err,
                       "the daemons did not come back as they should; see journalctl -u %s "
                       "there, or put everything back with --undo: ",
                       daemon_units[node->mode].listener);
        return false;
    }
    g_strstrip(guests);

    g_autofree char *listens = g_str_equal(port, "0")
                                   ? g_strdup("no listener")
                                   : g_strdup_printf("listening on port %s", port);
    detail = g_str_equal(guests, "0")
                 ? g_strdup(listens)
                 : g_strdup_printf("%s; %s guests ran on undisturbed", listens, guests);
    node_step(node, "restart", STEP_CHANGED, detail);
    return true;
}

/* After the files are back: what they told systemd and the daemons must be told again. */
static const char undo_script[] =
    "set -u\n"
    "if systemctl -q is-enabled " RULES_UNIT " 2>/dev/null; then\n"
    "  systemctl -q disable --now " RULES_UNIT "\n"
    "fi\n"
    "systemctl -q stop " RULES_UNIT " 2>/dev/null\n"
    "nft delete table inet godwit_node 2>/dev/null\n"
    "systemctl daemon-reload\n"
    "for s in libvirtd virtproxyd; do\n"
    "  systemctl cat $s.service >/dev/null 2>&1 || continue\n"
    "  systemctl -q unmask $s.socket $s-ro.socket $s-admin.socket $s-tls.socket $s-tcp.socket\n"
    "  systemctl -q disable $s-tls.socket $s-tcp.socket\n"
    "  systemctl stop $s-tls.socket $s-tcp.socket $s.service 2>/dev/null\n"
    "  systemctl start $s.socket $s-ro.socket $s-admin.socket\n"
    "  systemctl start $s.service || { journalctl -u $s.service -n 3 -o cat --no-pager >&2; exit "
    "1; }\n"
    "done";

bool
step_undo(PrepareNode *node, GError **err)
{
    g_autofree char *report = NULL;

    if (!node_files_undo(node->ssh, &report, err))
        return false;
    if (*report == '\0') {
        node_step(node, "undo", STEP_SAME, "nothing of Godwit's is here");
        return true;
    }
    if (!ssh_script(node->ssh, undo_script, NULL, SCRIPT_SECONDS, NULL, err))
        return false;
    node_step(node, "undo", STEP_CHANGED, g_strchomp(report));
    return true;
}
