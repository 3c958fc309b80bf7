/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* render.c: the settings and files of a compute node, as texts */
#include "prepare/prepare-priv.h"

#include <arpa/inet.h>
#include <string.h>

#define HEAD         "# Written by godwit host prepare; changes here are lost.\n"
#define SETTINGS_MAX 24

unsigned
settings_port(const NodeSettings *settings)
{
    switch (settings->transport) {
    case TRANSPORT_TLS:
        return LIBVIRT_TLS_PORT;
    case TRANSPORT_TCP:
        return LIBVIRT_TCP_PORT;
    case TRANSPORT_SSH:
    case N_TRANSPORTS:
        break;
    }
    return 0;
}

/* An incoming move takes one port, and one more for each further stream of disks. */
unsigned
settings_migration_port_last(const NodeSettings *settings)
{
    return MIGRATION_PORT_FIRST + MAX((unsigned)MIGRATION_PORTS_LEAST, 4 * settings->moves) - 1;
}

static void
setting_add(ConfSetting *all, const char *key, char *value)
{
    size_t n = 0;
    while (all[n].key != NULL)
        n++;
    g_assert(n + 1 < SETTINGS_MAX);
    all[n].key = key;
    all[n].value = value;
}

static void
setting_add_number(ConfSetting *all, const char *key, unsigned number)
{
    setting_add(all, key, g_strdup_printf("%u", number));
}

static bool
setting_add_text(ConfSetting *all, const char *key, const char *text, GError **err)
{
    char *value = conf_quote(text, err);
    if (value != NULL)
        setting_add(all, key, value);
    return value != NULL;
}

void
settings_free(ConfSetting *settings)
{
    for (ConfSetting *setting = settings; setting != NULL && setting->key != NULL; setting++)
        g_free((char *)setting->value);
    g_free(settings);
}

const ConfKey conf_keys_libvirtd[] = {
    {"listen_tls"},
    {"listen_tcp"},
    {"tls_port"},
    {"tcp_port"},
    {"auth_tls"},
    {"auth_tcp"},
    {"tls_no_verify_certificate"},
    {"tls_allowed_dn_list"},
    {"listen_addr", .unset = true},
    {"max_client_requests"},
    {"max_workers"},
    {NULL},
};

const ConfKey conf_keys_qemu[] = {
    {"user"},
    {"group"},
    {"dynamic_ownership"},
    {"migration_port_min"},
    {"migration_port_max"},
    {"migrate_tls_x509_verify"},
    {"migrate_tls_force", .unset = true},
    {NULL},
};

/* The listener's settings are written in every mode, although systemd's sockets make libvirtd
 * ignore the addresses and ports: a file that contradicts what is in effect misleads. */
ConfSetting *
settings_libvirtd(const NodeSettings *settings, GError **err)
{
    ConfSetting *all = g_new0(ConfSetting, SETTINGS_MAX);
    g_autofree char *tls_port = g_strdup_printf("%d", LIBVIRT_TLS_PORT);
    g_autofree char *tcp_port = g_strdup_printf("%d", LIBVIRT_TCP_PORT);
    bool listens = settings->transport != TRANSPORT_SSH, good = true;

    setting_add_number(all, "listen_tls", settings->transport == TRANSPORT_TLS);
    setting_add_number(all, "listen_tcp", settings->transport == TRANSPORT_TCP);
    if (settings->transport == TRANSPORT_TLS) {
        good = setting_add_text(all, "tls_port", tls_port, err) &&
               setting_add_text(all, "auth_tls", "none", err);
        setting_add_number(all, "tls_no_verify_certificate", 0);
        /* Certificates of this role only: QEMU's, of the same CA, must not open libvirtd. */
        setting_add(all, "tls_allowed_dn_list", g_strdup("[ \"CN=libvirt-*\" ]"));
    } else if (settings->transport == TRANSPORT_TCP) {
        good = setting_add_text(all, "tcp_port", tcp_port, err) &&
               setting_add_text(all, "auth_tcp", "none", err);
    }
    /* Should somebody start a plaintext listener by hand, it asks for a password. */
    if (good && settings->transport != TRANSPORT_TCP)
        good = setting_add_text(all, "auth_tcp", "sasl", err);
    if (good && listens && settings->listen_address != NULL)
        good = setting_add_text(all, "listen_addr", settings->listen_address, err);
    else
        setting_add(all, "listen_addr", NULL);
    /* A connection serves so many calls at a time; a long one must never keep an abort waiting. */
    setting_add_number(all, "max_client_requests", settings->moves + 5);
    setting_add_number(all, "max_workers", MAX(20, 2 * settings->moves + 10));
    if (!good)
        g_clear_pointer(&all, settings_free);
    return all;
}

ConfSetting *
settings_qemu(const NodeSettings *settings, GError **err)
{
    ConfSetting *all = g_new0(ConfSetting, SETTINGS_MAX);

    if (!setting_add_text(all, "user", settings->qemu_user, err) ||
        !setting_add_text(all, "group", settings->qemu_group, err)) {
        settings_free(all);
        return NULL;
    }
    setting_add_number(all, "dynamic_ownership", settings->dynamic_ownership);
    setting_add_number(all, "migration_port_min", MIGRATION_PORT_FIRST);
    setting_add_number(all, "migration_port_max", settings_migration_port_last(settings));
    if (settings->transport != TRANSPORT_TCP) {
        setting_add_number(all, "migrate_tls_x509_verify", 1);
        setting_add_number(all, "migrate_tls_force", 1);
    } else {
        setting_add(all, "migrate_tls_force", NULL);
    }
    return all;
}

static bool
is_ipv6(const char *address)
{
    struct in6_addr binary;
    return inet_pton(AF_INET6, address, &binary) == 1;
}

static bool
is_ipv4(const char *address)
{
    struct in_addr binary;
    return inet_pton(AF_INET, address, &binary) == 1;
}

/* FreeBind: at boot the socket may be made before the address is there. */
char *
render_socket(const NodeSettings *settings)
{
    const char *address = settings->listen_address;
    unsigned port = settings_port(settings);

    if (address == NULL)
        return g_strdup_printf(HEAD "[Socket]\nListenStream=\nListenStream=%u\n", port);
    return g_strdup_printf(HEAD "[Socket]\nListenStream=\nListenStream=%s%s%s:%u\nFreeBind=yes\n",
                           is_ipv6(address) ? "[" : "", address, is_ipv6(address) ? "]" : "", port);
}

/* The vendor's --timeout would end a daemon that no socket starts again. */
char *
render_service_listen(const char *libvirtd)
{
    return g_strdup_printf(HEAD "[Service]\nExecStart=\nExecStart=%s --listen\n", libvirtd);
}

static void
elements_print(GString *out, const char *set, const char *type, const char *const *addresses,
               bool (*belongs)(const char *))
{
    const char *comma = "";

    g_string_append_printf(out, "\tset %s {\n\t\ttype %s\n", set, type);
    for (; *addresses != NULL; addresses++) {
        if (!belongs(*addresses))
            continue;
        g_string_append_printf(out, "%s%s", *comma ? comma : "\t\telements = { ", *addresses);
        comma = ", ";
    }
    g_string_append_printf(out, "%s\t}\n", *comma ? " }\n" : "");
}

static int
text_compare(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Sorted and each once: nft refuses an element that is given twice, and the file must not change
 * because somebody named the nodes in another order. */
static GPtrArray *
addresses_sorted(const char *const *addresses, GError **err)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_new();
    g_autoptr(GPtrArray) once = g_ptr_array_new();

    for (; *addresses != NULL; addresses++) {
        if (!is_ipv4(*addresses) && !is_ipv6(*addresses)) {
            err_set(err, ERR_INVALID,
                    "\"%.100s\" is not a numeric address; the firewall takes no "
                    "names, which could change their meaning later",
                    *addresses);
            return NULL;
        }
        g_ptr_array_add(sorted, (void *)*addresses);
    }
    g_ptr_array_sort(sorted, text_compare);
    for (unsigned i = 0; i < sorted->len; i++) {
        const char *address = g_ptr_array_index(sorted, i);
        if (once->len == 0 || !g_str_equal(address, g_ptr_array_index(once, once->len - 1)))
            g_ptr_array_add(once, (void *)address);
    }
    g_ptr_array_add(once, NULL);
    return g_steal_pointer(&once);
}

/* Naming the table before deleting it makes the deletion good whether it was there or not, and nft
 * takes the whole file as one transaction: there is no moment without rules. Only our ports are
 * judged; what other tables say of other traffic, and of this, holds as before. The ports of the
 * transports that are not used are closed to everybody. */
char *
render_firewall(const NodeSettings *settings, const char *const *addresses, GError **err)
{
    g_autoptr(GPtrArray) sorted = addresses_sorted(addresses, err);
    if (sorted == NULL)
        return NULL;
    const char *const *peers = (const char *const *)sorted->pdata;
    GString *out = g_string_new(HEAD);
    unsigned port = settings_port(settings);
    g_autofree char *ports = port != 0 ? g_strdup_printf("%u, %d-%u", port, MIGRATION_PORT_FIRST,
                                                         settings_migration_port_last(settings))
                                       : g_strdup_printf("%d-%u", MIGRATION_PORT_FIRST,
                                                         settings_migration_port_last(settings));

    g_string_append(out, "table inet godwit_node\ndelete table inet godwit_node\n"
                         "table inet godwit_node {\n");
    elements_print(out, "peers4", "ipv4_addr", peers, is_ipv4);
    elements_print(out, "peers6", "ipv6_addr", peers, is_ipv6);
    g_string_append_printf(out,
                           "\tchain input {\n"
                           "\t\ttype filter hook input priority filter - 5; policy accept;\n"
                           "\t\tiif \"lo\" accept\n"
                           "\t\ttcp dport { %s } ip saddr @peers4 accept\n"
                           "\t\ttcp dport { %s } ip6 saddr @peers6 accept\n"
                           "\t\ttcp dport { %d, %d, %d-%u } reject with tcp reset\n"
                           "\t}\n}\n",
                           ports, ports, LIBVIRT_TCP_PORT, LIBVIRT_TLS_PORT, MIGRATION_PORT_FIRST,
                           settings_migration_port_last(settings));
    return g_string_free(out, FALSE);
}

char **
firewall_addresses(const char *rules)
{
    g_auto(GStrv) words = g_strsplit_set(rules, " ,\t\n", -1);
    GPtrArray *found = g_ptr_array_new();

    for (char **word = words; *word != NULL; word++) {
        if (is_ipv4(*word) || is_ipv6(*word))
            g_ptr_array_add(found, g_strdup(*word));
    }
    g_ptr_array_add(found, NULL);
    return (char **)g_ptr_array_free(found, FALSE);
}

char *
render_firewall_unit(const char *nft, const char *rules_path)
{
    return g_strdup_printf(HEAD "[Unit]\n"
                                "Description=Ports of libvirt and of migration, for the other "
                                "compute nodes and the controller only\n"
                                "DefaultDependencies=no\n"
                                "Before=network-pre.target sockets.target libvirtd.service "
                                "virtproxyd.service shutdown.target\n"
                                "Wants=network-pre.target\n"
                                "After=nftables.service\n"
                                "PartOf=nftables.service\n"
                                "Conflicts=shutdown.target\n\n"
                                "[Service]\n"
                                "Type=oneshot\n"
                                "RemainAfterExit=yes\n"
                                "ExecStart=%s -f %s\n"
                                "ExecReload=%s -f %s\n\n"
                                "[Install]\n"
                                "WantedBy=sysinit.target nftables.service\n",
                           nft, rules_path, nft, rules_path);
}

/* "type base64" and nothing else: it goes into files where a comma or an option means something. */
static bool
key_check(const char *key, GError **err)
{
    static const char *const types[] = {"ssh-ed25519",         "ssh-rsa",
                                        "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384",
                                        "ecdsa-sha2-nistp521", NULL};
    g_auto(GStrv) words = g_strsplit(key, " ", 3);
    bool good = g_strv_length(words) == 2 && g_strv_contains((const char *const *)types, words[0]);

    for (const char *p = good ? words[1] : ""; *p != '\0'; p++)
        good = good && (g_ascii_isalnum(*p) || strchr("+/=", *p) != NULL);
    if (good && strlen(words[1]) >= 40 && strlen(words[1]) <= 4096)
        return true;
    return err_set(err, ERR_INVALID, "a node gave something else than a public ssh key");
}

char *
render_known_hosts(const MeshKey *keys, unsigned n, GError **err)
{
    g_autoptr(GString) out = g_string_new(NULL);

    for (unsigned i = 0; i < n; i++) {
        g_autofree char *names = g_strjoinv(",", (char **)keys[i].names);
        for (const char *const *key = keys[i].host_keys; *key != NULL; key++) {
            if (!key_check(*key, err))
                return NULL;
            g_string_append_printf(out, "%s %s\n", names, *key);
        }
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

/* restrict: commands only; no forwarding of ports, agents or displays, no terminal. */
char *
render_authorized_keys(const MeshKey *keys, unsigned n, GError **err)
{
    g_autoptr(GString) out = g_string_new(NULL);

    for (unsigned i = 0; i < n; i++) {
        if (!key_check(keys[i].user_key, err))
            return NULL;
        g_string_append_printf(out, "restrict %s godwit:%s\n", keys[i].user_key, keys[i].names[0]);
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

/* For these hosts only: ssh to anywhere else works as it did. */
char *
render_ssh_config(const MeshKey *keys, unsigned n, const char *user)
{
    GString *out = g_string_new("Host");

    for (unsigned i = 0; i < n; i++) {
        for (const char *const *name = keys[i].names; *name != NULL; name++)
            g_string_append_printf(out, " %s", *name);
    }
    g_string_append_printf(out,
                           "\n    User %s\n    IdentityFile ~/.ssh/id_godwit\n"
                           "    StrictHostKeyChecking yes\n    BatchMode yes\nMatch all\n",
                           user);
    return g_string_free(out, FALSE);
}
