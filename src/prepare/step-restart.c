/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-restart.c: the daemons take up what was changed; their units as they were before
 *
 * How the units stood before the first restart is kept beside the backups, for undo, and how they
 * stood before this run's restart in memory, should it fail. */
#include "prepare/prepare-node.h"

#include <string.h>

#define SCRIPT_SECONDS 60

/* $1 mode, $2 listener, $3 socket to use ("": none), $4 those not to use, $5 port (0: none), $6
 * services that work for the listener; then the units to mask.
 *
 * libvirtd refuses to share: a socket can only be started while the service that it starts is not
 * running. KillMode=process in libvirt's units leaves the guests alone; they are counted to be
 * sure.
 */
static const char restart_script[] =
    "set -eu\n"
    "mode=$1 listener=$2 use=$3 other=$4 port=$5 workers=$6; shift 6\n"
    "guests() { pgrep -c -f '^[^ ]*qemu[^ ]* .*-name guest=' || true; }\n"
    "before=$(guests)\n"
    "systemctl daemon-reload\n"
    "if [ \"$mode\" = listen ]; then\n"
    "  systemctl stop \"$listener\" 2>/dev/null\n"
    "  systemctl -q mask --now \"$@\"\n"
    "  systemctl -q enable \"$listener\"\n"
    "else\n"
    "  base=${listener%.service}\n"
    "  systemctl -q unmask \"$base.socket\" \"$base-ro.socket\" \"$base-admin.socket\" $use\n"
    "  systemctl -q disable --now $other 2>/dev/null || true\n"
    "  systemctl stop \"$listener\" 2>/dev/null\n"
    "  [ -z \"$use\" ] || systemctl -q enable \"$use\"\n"
    "  for try in 1 2 3 4 5; do\n"
    "    if [ -z \"$use\" ] || systemctl restart \"$use\" 2>/dev/null; then break; fi\n"
    "    [ $try != 5 ] || { journalctl -u \"$use\" -n 3 -o cat --no-pager >&2; exit 1; }\n"
    "    systemctl stop \"$listener\" 2>/dev/null\n"
    "  done\n"
    "  systemctl start \"$base.socket\" \"$base-ro.socket\"\n"
    "fi\n"
    "systemctl start \"$listener\" ||\n"
    "  { journalctl -u \"$listener\" _COMM=${listener%.service} -n 2 -o cat --no-pager >&2; exit "
    "1; }\n"
    "for worker in $workers; do\n"
    "  systemctl stop $worker\n"
    "  systemctl -q enable --now ${worker%.service}.socket\n"
    "  systemctl start $worker\n"
    "done\n"
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

/* $1 backup directory, then units: "UNIT ENABLED ACTIVE" of those that there are. */
static const char units_script[] =
    "set -u\n"
    "dir=$1; shift\n"
    "state=$(for u in \"$@\"; do\n"
    "  enabled=$(systemctl is-enabled \"$u\" 2>/dev/null); active=$(systemctl is-active \"$u\")\n"
    "  case $enabled in '' | not-found) ;; *) echo \"$u $enabled $active\" ;; esac\n"
    "done)\n"
    "if [ ! -e \"$dir/units\" ]; then\n"
    "  umask 077; mkdir -p -- \"$dir\"\n"
    "  printf '%s\\n' \"$state\" >\"$dir/units.new\" && mv -f -- \"$dir/units.new\" "
    "\"$dir/units\"\n"
    "fi\n"
    "printf '%s\\n' \"$state\"";

/* "$@": units, how they were enabled, and whether they were active, three words each. All are
 * stopped by one command: one by one, a socket would start its service again. A service that was
 * idle behind an active socket is started too, to see that it can be. */
static const char restore_script[] =
    "set -eu\n"
    "systemctl daemon-reload\n"
    "units= masked= sockets= services=\n"
    "for word in \"$@\"; do\n"
    "  [ -n \"${unit:-}\" ] || { unit=$word; continue; }\n"
    "  [ -n \"${enabled:-}\" ] || { enabled=$word; continue; }\n"
    "  units=\"$units $unit\"\n"
    "  case $enabled in masked*) masked=\"$masked $unit\" ;; *)\n"
    "    systemctl -q unmask $unit\n"
    "    [ $enabled != disabled ] || systemctl -q disable $unit ;;\n"
    "  esac\n"
    "  case $unit:$word in\n"
    "  *.socket:active) sockets=\"$sockets $unit\" ;;\n"
    "  *.service:active) services=\"$services $unit\" ;;\n"
    "  *.service:*) case $enabled in masked*) ;; *) idle=\"${idle:-} $unit\" ;; esac ;;\n"
    "  esac\n"
    "  [ $enabled != enabled ] || again=\"${again:-} $unit\"\n"
    "  unit= enabled=\n"
    "done\n"
    "[ -z \"${again:-}\" ] || systemctl -q enable $again\n"
    "[ -z \"$units\" ] || systemctl stop $units 2>/dev/null || true\n"
    "[ -z \"$units\" ] || systemctl reset-failed $units 2>/dev/null || true\n"
    "[ -z \"$masked\" ] || systemctl -q mask $masked\n"
    "[ -z \"$sockets\" ] || systemctl start $sockets\n"
    "[ -z \"$sockets\" ] || services=\"$services ${idle:-}\"\n"
    "for s in $services; do\n"
    "  systemctl start $s || {\n"
    "    journalctl -u $s _COMM=${s%.service} -n 2 -o cat --no-pager >&2; exit 1\n"
    "  }\n"
    "done\n"
    "[ -z \"$services\" ] || virsh -q -c qemu:///system version >/dev/null";

/* What the units of the node's listener are called; also those that it does not use now. */
static GPtrArray *
unit_names(const PrepareNode *node)
{
    static const char *const kinds[] = {".service",      ".socket",     "-ro.socket",
                                        "-admin.socket", "-tls.socket", "-tcp.socket"};
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

    for (const char *const *service = daemon_units[node->mode].serving; *service; service++) {
        size_t base = strlen(*service) - strlen(".service");
        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
            g_ptr_array_add(names, g_strdup_printf("%.*s%s", (int)base, *service, kinds[i]));
    }
    g_ptr_array_add(names, NULL);
    return names;
}

static bool
units_remember(PrepareNode *node, GError **err)
{
    g_autoptr(GPtrArray) names = unit_names(node), args = g_ptr_array_new();

    g_ptr_array_add(args, (void *)ssh_backup_dir(node->ssh));
    for (unsigned i = 0; i < names->len; i++)
        g_ptr_array_add(args, g_ptr_array_index(names, i));
    return ssh_script(node->ssh, units_script, (const char *const *)args->pdata, SCRIPT_SECONDS,
                      &node->units_before, err);
}

/* Of what a file on the node says only what can be a unit's name and state is used. */
bool
units_restore(PrepareNode *node, const char *units, GError **err)
{
    g_autoptr(GPtrArray) names = unit_names(node), args = g_ptr_array_new();
    g_auto(GStrv) words = g_strsplit_set(units, " \n", -1);
    unsigned n = g_strv_length(words);

    for (unsigned i = 0; i + 2 < n; i += 3) {
        if (!g_strv_contains((const char *const *)names->pdata, words[i]) ||
            *words[i + 1] == '\0' ||
            strspn(words[i + 1], "abcdefghijklmnopqrstuvwxyz-") != strlen(words[i + 1]))
            continue;
        g_ptr_array_add(args, words[i]);
        g_ptr_array_add(args, words[i + 1]);
        g_ptr_array_add(args, g_str_equal(words[i + 2], "active") ? "active" : "not");
    }
    g_ptr_array_add(args, NULL);
    return ssh_script(node->ssh, restore_script, (const char *const *)args->pdata,
                      2 * SCRIPT_SECONDS, NULL, err);
}

/* Open connections go on with the certificates that they were made with. Without a listener of TLS
 * there is nobody to tell: QEMU reads its files at the beginning of each move. */
bool
certificates_reload(PrepareNode *node, GError **err)
{
    static const char reload[] = "virt-admin -q -c \"$1:///system\" server-update-tls \"$1\"";
    const char *const args[] = {daemon_units[node->mode].server, NULL};

    return node->run->options->transport != TRANSPORT_TLS ||
           ssh_script(node->ssh, reload, args, SCRIPT_SECONDS, NULL, err);
}

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
    g_ptr_array_add(args, (void *)(units->serving[1] != NULL ? units->serving[1] : ""));
    for (const char *const *unit = units->masked; *unit != NULL; unit++)
        g_ptr_array_add(args, (void *)*unit);
    g_ptr_array_add(args, NULL);
    return args;
}

static bool
certificates_take_up(PrepareNode *node, GError **err)
{
    bool listens = node->run->options->transport == TRANSPORT_TLS;

    if (!node->reload) {
        node_step(node, "restart", STEP_SAME, NULL);
        return true;
    }
    node->reloaded = true;
    if (!certificates_reload(node, err)) {
        g_prefix_error(err, "the daemon does not take the new certificates: ");
        return false;
    }
    node_step(node, "restart", listens ? STEP_CHANGED : STEP_SAME,
              listens ? "certificates read again, no connection was dropped" : NULL);
    return true;
}

bool
step_restart(PrepareNode *node, GError **err)
{
    g_autofree char *port = NULL, *both = NULL, *answer = NULL, *guests = NULL, *detail = NULL;
    g_autoptr(GPtrArray) args = restart_args(node, &port, &both);
    const char *const *words = (const char *const *)args->pdata;

    if (node->run->options->dry_run) {
        node_step(node, "restart", node->restart ? STEP_CHANGED : STEP_SAME, NULL);
        return true;
    }
    if (!node->restart) {
        if (!ssh_script(node->ssh, effective_script, words, SCRIPT_SECONDS, &answer, err))
            return false;
        node->restart = g_str_equal(answer, "no\n");
    }
    if (!node->restart)
        return certificates_take_up(node, err);
    if (!units_remember(node, err))
        return false;
    if (!ssh_script(node->ssh, restart_script, words, SCRIPT_SECONDS, &guests, err)) {
        g_prefix_error(err,
                       "the daemons did not come back as they should; journalctl -u %s there has "
                       "more: ",
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
