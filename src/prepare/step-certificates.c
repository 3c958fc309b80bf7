/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-certificates.c: a node's certificates, and proof from the other nodes that they serve
 *
 * Two key pairs, both made on the node, whose keys never leave it. libvirt's is read by root alone
 * and carries a name that libvirtd's allow-list knows; QEMU's is readable by QEMU's group, so it
 * must not open libvirtd: its name is another ("qemu-…"), and a guest that breaks out of QEMU gains
 * no way into the other nodes. */
#include "prepare/prepare-node.h"

#include <string.h>

#define SCRIPT_SECONDS 60
#define RENEW_SECONDS  "2592000" /* 30 days before the end */

typedef struct KeyPair {
    const char *role, *key, *certificate;
    const char *client_key,
        *client_certificate; /* copies under the other names that are looked for */
    const char *ca;
} KeyPair;

static const KeyPair pairs[] = {
    {"libvirt", "/etc/pki/libvirt/private/serverkey.pem", "/etc/pki/libvirt/servercert.pem",
     "/etc/pki/libvirt/private/clientkey.pem", "/etc/pki/libvirt/clientcert.pem",
     "/etc/pki/CA/cacert.pem"},
    {"qemu", "/etc/pki/qemu/server-key.pem", "/etc/pki/qemu/server-cert.pem",
     "/etc/pki/qemu/client-key.pem", "/etc/pki/qemu/client-cert.pem", "/etc/pki/qemu/ca-cert.pem"},
};

/* $1 key, $2 certificate, $3 ca, $4 group, then the names: "good", or a request. */
static const char request_script[] =
    "set -eu\n"
    "key=$1 certificate=$2 ca=$3 group=$4; shift 4\n"
    "good() {\n"
    "  [ -s \"$key\" ] && [ -s \"$certificate\" ] || return 1\n"
    "  openssl verify -CAfile \"$ca\" \"$certificate\" >/dev/null 2>&1 || return 1\n"
    "  openssl x509 -in \"$certificate\" -noout -checkend " RENEW_SECONDS
    " >/dev/null || return 1\n"
    "  [ \"$(openssl x509 -in \"$certificate\" -noout -pubkey)\" = \"$(openssl pkey -in \"$key\" "
    "-pubout)\" ]"
    " || return 1\n"
    "  for name in \"$@\"; do\n"
    "    case $name in *:* | *[!0-9.]*) how=-checkhost ;; *) how=-checkip ;; esac\n"
    "    case $name in *:*) how=-checkip ;; esac\n"
    "    openssl x509 -in \"$certificate\" -noout $how \"$name\" | grep -q 'does match' || return "
    "1\n"
    "  done\n"
    "}\n"
    "if good \"$@\"; then echo good; exit 0; fi\n"
    "mkdir -p -m 755 /etc/pki /etc/pki/CA /etc/pki/libvirt\n"
    "mkdir -p -m 700 /etc/pki/libvirt/private\n"
    "mkdir -p -m 750 /etc/pki/qemu\n"
    "chgrp \"$group\" /etc/pki/qemu\n"
    "if [ ! -s \"$key\" ]; then\n"
    "  umask 077\n"
    "  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out \"$key.new\" "
    "2>/dev/null\n"
    "  case $key in /etc/pki/qemu/*) chgrp \"$group\" \"$key.new\"; chmod 0640 \"$key.new\" ;; "
    "esac\n"
    "  mv -f \"$key.new\" \"$key\"\n"
    "fi\n"
    "openssl req -new -key \"$key\" -subj /CN=node";

/* $1 key, $2 its copy, $3 certificate, $4 its copy */
static const char copy_script[] = "set -e\ncp -p -- \"$1\" \"$2.new\"; mv -f -- \"$2.new\" \"$2\"\n"
                                  "cp -p -- \"$3\" \"$4.new\"; mv -f -- \"$4.new\" \"$4\"";

static bool
pair_sign(PrepareNode *node, const KeyPair *pair, const char *request, const char *const *names,
          GError **err)
{
    const PrepareEvents *events = node->run->events;
    g_autofree char *certificate = NULL;
    const char *const copies[] = {pair->key, pair->client_key, pair->certificate,
                                  pair->client_certificate, NULL};
    bool changed, good;

    pthread_mutex_lock(&node->run->mutex);
    good = events->sign(events->opaque, pair->role, node->target->host, request, names,
                        &certificate, err);
    pthread_mutex_unlock(&node->run->mutex);
    if (!good) {
        g_prefix_error(err, "%s: the certificate was not signed: ", node->target->text);
        return false;
    }
    return node_file_make(node, "certificates", pair->certificate, NULL, certificate, "0644",
                          "root:root", &changed, err) &&
           ssh_script(node->ssh, copy_script, copies, SCRIPT_SECONDS, NULL, err);
}

static bool
pair_make(PrepareNode *node, const KeyPair *pair, GPtrArray *names, bool *changed, GError **err)
{
    NodeSettings settings = node_settings(node);
    g_autoptr(GPtrArray) args = g_ptr_array_new();
    g_autoptr(GPtrArray) ended = g_ptr_array_new();
    g_autofree char *answer = NULL;
    bool ca_changed;

    if (!node_file_make(node, "certificates", pair->ca, NULL, node->run->options->ca, "0644",
                        "root:root", &ca_changed, err))
        return false;
    g_ptr_array_add(args, (void *)pair->key);
    g_ptr_array_add(args, (void *)pair->certificate);
    g_ptr_array_add(args, (void *)pair->ca);
    g_ptr_array_add(args, (void *)settings.qemu_group);
    for (unsigned i = 0; i < names->len; i++) {
        g_ptr_array_add(args, g_ptr_array_index(names, i));
        g_ptr_array_add(ended, g_ptr_array_index(names, i));
    }
    g_ptr_array_add(args, NULL);
    g_ptr_array_add(ended, NULL);
    if (!ssh_script(node->ssh, request_script, (const char *const *)args->pdata, SCRIPT_SECONDS,
                    &answer, err))
        return false;
    *changed = ca_changed || !g_str_equal(answer, "good\n");
    return g_str_equal(answer, "good\n") ||
           pair_sign(node, pair, answer, (const char *const *)ended->pdata, err);
}

bool
step_certificates(PrepareNode *node, GError **err)
{
    g_autoptr(GPtrArray) names = node_names(node);

    if (node->run->options->transport == TRANSPORT_TCP) {
        node_step(node, "certificates", STEP_SAME, "none: this transport is plaintext");
        return true;
    }
    if (node->run->options->dry_run) {
        node_step(node, "certificates", STEP_SAME, "not looked at in a dry run");
        return true;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        bool changed;
        if (!pair_make(node, &pairs[i], names, &changed, err))
            return false;
        node->reload = node->reload || changed;
    }
    if (!node->reload)
        node_step(node, "certificates", STEP_SAME, NULL);
    return true;
}

/* $1 URI, $2 name, $3 address; asked on a peer. */
static const char reach_script[] =
    "virsh_asks() { timeout 20 virsh -q -c \"$1\" hostname >/dev/null; }\n"
    "virsh_asks \"$1://$3/system\" || exit 1\n"
    "if getent ahosts \"$2\" >/dev/null; then virsh_asks \"$1://$2/system\" || exit 1; echo name\n"
    "else echo address; fi";

/* By the address that we reached it by, and by its name where the peer knows it. */
static bool
reached_from(PrepareNode *node, PrepareNode *peer, NodeSsh *ssh, bool *by_name, GError **err)
{
    static const char *const schemes[N_TRANSPORTS] = {
        [TRANSPORT_TLS] = "qemu+tls",
        [TRANSPORT_SSH] = "qemu+ssh",
        [TRANSPORT_TCP] = "qemu+tcp",
    };
    const char *scheme = schemes[node->run->options->transport];
    const char *address = g_ptr_array_index(node->addresses, 0);
    g_autofree char *shown =
        strchr(address, ':') != NULL ? g_strdup_printf("[%s]", address) : g_strdup(address);
    const char *const args[] = {scheme, node->target->host, shown, NULL};
    g_autofree char *answer = NULL;

    if (!ssh_script(ssh, reach_script, args, SCRIPT_SECONDS, &answer, err)) {
        g_prefix_error(err, "%s cannot reach libvirt on %s: ", peer->target->text,
                       node->target->text);
        return false;
    }
    *by_name = g_str_equal(answer, "name\n");
    return true;
}

/* From this node to every other one: an ssh connection belongs to one thread. */
bool
step_verify(PrepareNode *node, GError **err)
{
    const PrepareRun *run = node->run;
    g_autoptr(GString) unnamed = g_string_new(NULL);

    for (unsigned i = 0; i < run->n; i++) {
        bool by_name = true;
        if (i != node->index && !reached_from(&run->nodes[i], node, node->ssh, &by_name, err))
            return false;
        if (!by_name)
            g_string_append_printf(unnamed, " %s", run->nodes[i].target->host);
    }
    g_autofree char *detail =
        unnamed->len > 0
            ? g_strdup_printf("reaches every other node; these by address only, it has no name "
                              "for them:%s",
                              unnamed->str)
            : NULL;
    node_step(node, "verify", STEP_SAME,
              detail != NULL ? detail
              : run->n > 1   ? "reaches every other node"
                             : "one node: nobody to ask");
    return true;
}
