/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-look.c: what a node is, and what is missing on it */
#include "prepare/prepare-node.h"

#include <arpa/inet.h>
#include <string.h>

#define SCRIPT_SECONDS  30
#define INSTALL_SECONDS 1200

bool
step_connect(PrepareNode *node, GError **err)
{
    SshOptions options = {
        .config = node->run->options->ssh_config,
        .cancel_fd = node->run->options->cancel_fd,
    };

    node->ssh = ssh_open(node->target, &options, err);
    if (node->ssh == NULL)
        return false;
    if (!node->run->options->dry_run && !node_lock(node, err))
        return false;
    node_step(node, "connect", STEP_SAME, NULL);
    return true;
}

static const char facts_script[] =
    "set -u\n"
    "echo \"hostname=$(cat /proc/sys/kernel/hostname)\"\n"
    "set -- ${SSH_CONNECTION:-}\n"
    "[ -z \"${3:-}\" ] || echo \"address=${3%%%*}\"\n"
    "if command -v ip >/dev/null; then\n"
    "  ip -o addr show scope global | sed -n 's|.* inet6\\{0,1\\} \\([^/ ]*\\)[/ "
    "].*|address=\\1|p'\n"
    "else\n"
    "  for a in $(hostname -I); do echo \"address=$a\"; done\n"
    "fi\n"
    "[ ! -d /run/systemd/system ] || echo systemd=yes\n"
    "if t=$(mktemp /etc/.godwit.XXXXXX); then rm -f \"$t\"; echo writable=yes; fi\n"
    "! systemctl -q is-enabled virtqemud.socket 2>/dev/null || echo modular=yes\n"
    "sed 's/^/os:/' /etc/os-release";

static bool
is_address(const char *text)
{
    struct in6_addr binary;
    return inet_pton(AF_INET, text, &binary) == 1 || inet_pton(AF_INET6, text, &binary) == 1;
}

static void
address_add(PrepareNode *node, const char *address)
{
    unsigned where;
    if (is_address(address) && !g_str_equal(address, "::1") && !g_str_has_prefix(address, "127.") &&
        !g_ptr_array_find_with_equal_func(node->addresses, address, g_str_equal, &where))
        g_ptr_array_add(node->addresses, g_strdup(address));
}

typedef struct Facts {
    GString *os_release;
    bool systemd, writable, modular;
} Facts;

static void
facts_parse(PrepareNode *node, const char *answer, Facts *facts)
{
    g_auto(GStrv) lines = g_strsplit(answer, "\n", 1000);

    for (char **line = lines; *line != NULL; line++) {
        if (g_str_has_prefix(*line, "os:"))
            g_string_append_printf(facts->os_release, "%s\n", *line + 3);
        else if (g_str_has_prefix(*line, "address="))
            address_add(node, *line + strlen("address="));
        else if (g_str_has_prefix(*line, "hostname=") && node->hostname == NULL)
            node->hostname = g_strdup(*line + strlen("hostname="));
        facts->systemd |= g_str_equal(*line, "systemd=yes");
        facts->writable |= g_str_equal(*line, "writable=yes");
        facts->modular |= g_str_equal(*line, "modular=yes");
    }
}

static bool
listen_address_check(const PrepareNode *node, GError **err)
{
    const char *address = node->run->options->listen_address;
    unsigned where;

    if (address == NULL || g_str_equal(address, "0.0.0.0") || g_str_equal(address, "::") ||
        g_ptr_array_find_with_equal_func(node->addresses, address, g_str_equal, &where))
        return true;
    g_ptr_array_add(node->addresses, NULL);
    g_autofree char *own = g_strjoinv(" ", (char **)node->addresses->pdata);
    return err_set(
        err, ERR_INVALID,
        "%s has no address %s to listen on, it has: %s. Give one of these, one node at a "
        "time, or none, to listen on all",
        node->target->text, address, own);
}

/* What a node says of itself goes into certificates and rules: it must be what it claims to be. */
static bool
facts_judge(PrepareNode *node, const Facts *facts, GError **err)
{
    const char *who = node->target->text;

    if (node->hostname != NULL) {
        g_autoptr(NodeTarget) name = node_target_parse(node->hostname, NULL);
        if (name == NULL || name->user != NULL || name->port != 0)
            return err_set(err, ERR_INVALID, "%s: its host name is not a name; set one there", who);
    }
    if (!facts->systemd)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s does not run systemd, on which libvirt's sockets and services rest here; "
            "set this machine up by hand",
            who);
    if (!facts->writable)
        return err_set(err, ERR_FORBIDDEN,
                       "%s: /etc cannot be written to; is its file system read-only or full?", who);
    if (node->addresses->len == 0)
        return err_set(err, ERR_INVALID,
                       "%s has no address that others could reach: bring its network up", who);
    return listen_address_check(node, err);
}

/* Who started this registers the node by what is known of it now. */
static void
node_tell(PrepareNode *node)
{
    const PrepareEvents *events = node->run->events;
    g_autoptr(GPtrArray) addresses = g_ptr_array_new();

    if (events->on_node == NULL)
        return;
    for (unsigned i = 0; i < node->addresses->len; i++)
        g_ptr_array_add(addresses, g_ptr_array_index(node->addresses, i));
    g_ptr_array_add(addresses, NULL);
    WITH_MUTEX(&node->run->mutex);
    events->on_node(events->opaque, node->index, node->hostname,
                    (const char *const *)addresses->pdata);
}

bool
step_system(PrepareNode *node, GError **err)
{
    g_autofree char *answer = NULL;
    g_autoptr(GString) os_release = g_string_new(NULL);
    Facts facts = {.os_release = os_release};

    if (!ssh_script(node->ssh, facts_script, NULL, SCRIPT_SECONDS, &answer, err))
        return false;
    facts_parse(node, answer, &facts);
    if (!facts_judge(node, &facts, err))
        return false;
    node->distro = distro_find(os_release->str, err);
    if (node->distro == NULL) {
        g_prefix_error(err, "%s: ", node->target->text);
        return false;
    }
    node->mode = node->run->options->listen               ? DAEMON_LISTEN
                 : node->distro->modular || facts.modular ? DAEMON_MODULAR
                                                          : DAEMON_SOCKET;
    g_autofree char *detail = g_strdup_printf("%s, %s", node->distro->name,
                                              (const char *)g_ptr_array_index(node->addresses, 0));
    node_step(node, "system", STEP_SAME, detail);
    node_tell(node);
    return true;
}

static GPtrArray *
packages_wanted(const PrepareNode *node)
{
    GPtrArray *wanted = g_ptr_array_new();
    for (const char *const *name = node->distro->packages; *name != NULL; name++)
        g_ptr_array_add(wanted, (void *)*name);
    for (const char *const *name = node->distro->ceph_packages;
         node->run->options->ceph && *name != NULL; name++)
        g_ptr_array_add(wanted, (void *)*name);
    g_ptr_array_add(wanted, NULL);
    return wanted;
}

static bool
packages_step(PrepareNode *node, const char *script, const char *what, const char *const *packages,
              GError **err)
{
    g_autofree char *names = packages != NULL ? g_strjoinv(" ", (char **)packages) : g_strdup("");
    g_autoptr(GError) error = NULL;

    if (ssh_script(node->ssh, script, packages, INSTALL_SECONDS, NULL, &error))
        return true;
    if (error->code == ERR_CANCELLED || error->code == ERR_TIMEOUT ||
        error->code == ERR_UNREACHABLE)
        return err_set(err, (ErrCode)error->code,
                       "%s. What %s was asked to do there may go on to its end, which harms "
                       "nothing; nothing else was changed, so run the same again",
                       error->message, node->distro->manager);
    return err_set(err, (ErrCode)error->code,
                   "%s could not %s%s%s: %s. Nothing else was changed there; see to it that it "
                   "works by hand, then run the same again",
                   node->distro->manager, what, packages != NULL ? " " : "", names, error->message);
}

bool
step_packages(PrepareNode *node, GError **err)
{
    g_autoptr(GPtrArray) wanted = packages_wanted(node), missing = g_ptr_array_new();
    g_autofree char *answer = NULL;

    if (!ssh_script(node->ssh, node->distro->present, (const char *const *)wanted->pdata,
                    SCRIPT_SECONDS, &answer, err))
        return false;
    g_auto(GStrv) present = g_strsplit(answer, "\n", 200);
    for (unsigned i = 0; i + 1 < wanted->len; i++) {
        void *name = g_ptr_array_index(wanted, i);
        if (!g_strv_contains((const char *const *)present, name))
            g_ptr_array_add(missing, name);
    }
    g_ptr_array_add(missing, NULL);
    if (missing->len == 1) {
        node_step(node, "packages", STEP_SAME, NULL);
        return true;
    }
    g_autofree char *names = g_strjoinv(" ", (char **)missing->pdata);
    if (!node->run->options->dry_run &&
        (!packages_step(node, node->distro->refresh, "refresh the list of packages", NULL, err) ||
         !packages_step(node, node->distro->install, "install", (const char *const *)missing->pdata,
                        err)))
        return false;
    node_step(node, "packages", STEP_CHANGED, names);
    return true;
}
