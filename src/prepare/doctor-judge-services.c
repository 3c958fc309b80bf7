/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-judge-services.c: libvirt's listener, its certificate, the firewall before it. Pure. */
#include "prepare/doctor-priv.h"

#include <string.h>

#define CERTIFICATE_WARN_DAYS 30
#define PREPARE_AGAIN         "run godwit host prepare for it and the other nodes"

/* Only units of ours are put into a command. */
static char *
listener_command(const DoctorNode *node)
{
    static const char *const sockets[] = {"libvirtd-tls.socket", "libvirtd-tcp.socket",
                                          "virtproxyd-tls.socket", "virtproxyd-tcp.socket", NULL};
    const char *wanted = fact(node, "listen.socket");
    const char *service =
        fact_is(node, "listen.service", "virtproxyd.service") ? "virtproxyd" : "libvirtd";

    if (!fact_is(node, "prepared", "yes"))
        return NULL;
    if (!g_strv_contains(sockets, wanted))
        return g_strdup_printf("systemctl restart %s.service", service);
    /* A socket can be started only while the service that it starts is not running. */
    return g_strdup_printf("systemctl stop %s.service && systemctl start %s && "
                           "systemctl start %s.service",
                           service, wanted, service);
}

static bool
is_ssh_only(const DoctorNode *node)
{
    return fact_is(node, "conf.listen_tls", "0") && fact_is(node, "conf.listen_tcp", "0");
}

static void
judge_listener(Judge *judge, const DoctorNode *node)
{
    const char *tls = fact(node, "port.16514"), *tcp = fact(node, "port.16509");

    if (*tcp != '\0')
        judge_add(judge, node, "listener", CHECK_WARN,
                  g_strdup_printf("PLAINTEXT on port 16509 (%s), auth_tcp \"%s\"%s", tcp,
                                  fact(node, "conf.auth_tcp"), *tls ? "; TLS on 16514 too" : ""),
                  "libvirt's channel and the guests' memory are not encrypted, and the firewall is "
                  "all that keeps others out; godwit host prepare sets up TLS",
                  NULL);
    else if (*tls != '\0')
        judge_add(judge, node, "listener", CHECK_PASS,
                  g_strdup_printf("TLS on port 16514 (%s)", tls), NULL, NULL);
    else if (is_ssh_only(node))
        judge_add(judge, node, "listener", CHECK_PASS,
                  g_strdup("no listener: libvirt is reached through ssh"), NULL, NULL);
    else {
        g_autofree char *command = listener_command(node);
        judge_add(judge, node, "listener", CHECK_FAIL,
                  g_strdup("libvirt listens on neither 16514 nor 16509"),
                  command != NULL ? "start it again, and see journalctl -u libvirtd if it does not "
                                    "stay"
                                  : PREPARE_AGAIN,
                  command);
    }
}

/* "DNS:host1,IPAddress:10.88.0.1" has this name? Addresses are compared as addresses. */
static bool
certificate_has(const char *names, const char *name)
{
    g_auto(GStrv) words = g_strsplit(names, ",", 200);
    g_autofree char *wanted = address_normal(name);

    for (char **word = words; *word != NULL; word++) {
        if (wanted == NULL && g_str_has_prefix(*word, "DNS:") &&
            g_ascii_strcasecmp(*word + strlen("DNS:"), name) == 0)
            return true;
        if (wanted != NULL && g_str_has_prefix(*word, "IPAddress:")) {
            g_autofree char *has = address_normal(*word + strlen("IPAddress:"));
            if (has != NULL && g_str_equal(has, wanted))
                return true;
        }
    }
    return false;
}

static void
name_need(GString *missing, const char *names, const char *name)
{
    if (*name != '\0' && !certificate_has(names, name) && strstr(missing->str, name) == NULL)
        g_string_append_printf(missing, "%s%s", missing->len > 0 ? ", " : "", name);
}

/* *must: without them moves fail; *may: somebody could use them. */
static void
names_missing(const DoctorNode *node, const char *key, GString *must, GString *may)
{
    const char *names = fact(node, key);
    g_auto(GStrv) addresses = g_strsplit(fact(node, "addresses"), ",", 64);

    name_need(must, names, node->name);
    name_need(must, names, node_address(node));
    name_need(may, names, node_hostname(node));
    for (char **address = addresses; *address != NULL; address++) {
        g_autofree char *normal = address_normal(*address);
        if (normal != NULL)
            name_need(may, names, normal);
    }
}

/* The worst thing about a certificate; NULL: nothing. */
static char *
certificate_fault(const DoctorNode *node, const char *role, CheckStatus *status)
{
    g_autofree char *days_key = g_strconcat(role, ".days", NULL);
    g_autofree char *verify_key = g_strconcat(role, ".verify", NULL);
    g_autofree char *key_key = g_strconcat(role, ".key", NULL);
    g_autofree char *names_key = g_strconcat(role, ".names", NULL);
    int64_t days = fact_number(node, days_key, INT64_MIN);
    g_autoptr(GString) must = g_string_new(NULL);
    g_autoptr(GString) may = g_string_new(NULL);

    names_missing(node, names_key, must, may);
    *status = CHECK_FAIL;
    if (days == INT64_MIN)
        return g_strdup("there is none");
    if (days < 0)
        return g_strdup_printf("it ended %" PRId64 " days ago", -days);
    if (!fact_is(node, key_key, "yes"))
        return g_strdup("its key is not there, or belongs to another certificate");
    if (!fact_is(node, verify_key, "yes"))
        return g_strdup("it is not signed by the CA that is installed beside it");
    if (must->len > 0)
        return g_strdup_printf("it is not valid for %s, by which others reach this node",
                               must->str);
    *status = CHECK_WARN;
    if (days < CERTIFICATE_WARN_DAYS)
        return g_strdup_printf("it ends in %" PRId64 " days", days);
    if (may->len > 0)
        return g_strdup_printf("it is not valid for %s, which are this node too", may->str);
    *status = CHECK_PASS;
    return NULL;
}

static void
judge_certificate(Judge *judge, const DoctorNode *node)
{
    CheckStatus status;
    g_autofree char *fault = certificate_fault(node, "cert", &status);

    if (*fact(node, "port.16514") == '\0' && !fact_is(node, "conf.listen_tls", "1"))
        judge_add(judge, node, "certificate", CHECK_PASS,
                  g_strdup("none is needed: libvirt does not listen with TLS here"), NULL, NULL);
    else
        judge_add(judge, node, "certificate", status,
                  fault != NULL ? g_steal_pointer(&fault)
                                : g_strdup_printf("ends in %" PRId64 " days; %s",
                                                  fact_number(node, "cert.days", 0),
                                                  fact(node, "cert.names")),
                  PREPARE_AGAIN ": it signs what is missing or ends within 30 days, and drops no "
                                "connection",
                  NULL);
}

/* The other certificate: of QEMU, for the memory in moves. */
static void
judge_qemu_tls(Judge *judge, const DoctorNode *node)
{
    CheckStatus status;
    g_autofree char *fault = certificate_fault(node, "qcert", &status);
    static const char keys_readable[] =
        "cd /etc/pki/qemu && chgrp --reference=. server-key.pem client-key.pem && "
        "chmod 0640 server-key.pem client-key.pem";
    bool forced = fact_is(node, "qemu.migrate_tls_force", "1");
    bool plain = *fact(node, "port.16509") != '\0' && *fact(node, "port.16514") == '\0';

    if (plain && !forced) {
        judge_add(judge, node, "qemu-tls", CHECK_WARN,
                  g_strdup("PLAINTEXT: the guests' memory in moves is not encrypted"),
                  "godwit host prepare sets up TLS", NULL);
        return;
    }
    if (fault == NULL && !fact_is(node, "qcert.readable", "yes")) {
        judge_add(judge, node, "qemu-tls", CHECK_FAIL,
                  g_strdup_printf("QEMU's user cannot read its key in %s", fact(node, "qcert.dir")),
                  "encrypted moves from and to it fail: let QEMU's group read the keys there",
                  fact_is(node, "qcert.dir", "/etc/pki/qemu") ? keys_readable : NULL);
        return;
    }
    if (status != CHECK_PASS)
        judge_add(judge, node, "qemu-tls", forced ? status : CHECK_WARN,
                  g_strdup_printf("QEMU's certificate: %s", fault),
                  forced ? PREPARE_AGAIN ": encrypted moves from and to it fail"
                         : PREPARE_AGAIN ": moves could only go unencrypted",
                  NULL);
    else if (!forced)
        judge_add(judge, node, "qemu-tls", CHECK_WARN,
                  g_strdup("migrate_tls_force is not 1: a move that does not ask for encryption "
                           "goes in plaintext"),
                  PREPARE_AGAIN, NULL);
    else
        judge_add(judge, node, "qemu-tls", CHECK_PASS,
                  g_strdup_printf("memory in moves is always encrypted; the certificate ends in "
                                  "%" PRId64 " days",
                                  fact_number(node, "qcert.days", 0)),
                  NULL, NULL);
}

/* nft prints addresses in their normal spelling, whatever way they were given. */
static bool
firewall_has(const char *peers, const char *address)
{
    g_autofree char *normal = address_normal(address);
    return list_has(peers, normal != NULL ? normal : address);
}

/* Addresses that the rules do not hold, of nodes and controllers. */
static char *
firewall_missing(const Judge *judge, const DoctorNode *node)
{
    GString *missing = g_string_new(NULL);
    const char *peers = fact(node, "firewall.peers");

    for (unsigned i = 0; i < judge->n; i++) {
        const DoctorNode *peer = &judge->nodes[i];
        if (peer != node && peer->facts != NULL && *node_address(peer) != '\0' &&
            !firewall_has(peers, node_address(peer)))
            g_string_append_printf(missing, "%s%s (%s)", missing->len > 0 ? ", " : "", peer->name,
                                   node_address(peer));
    }
    for (const char *const *c = judge->options->controllers; c != NULL && *c != NULL; c++) {
        if (!firewall_has(peers, *c))
            g_string_append_printf(missing, "%scontroller %s", missing->len > 0 ? ", " : "", *c);
    }
    return g_string_free(missing, FALSE);
}

static void
judge_firewall(Judge *judge, const DoctorNode *node)
{
    g_autofree char *missing = firewall_missing(judge, node);
    int64_t drops = fact_number(node, "firewall.drops", 0);

    if (!fact_is(node, "firewall", "yes"))
        judge_add(judge, node, "firewall", CHECK_WARN,
                  g_strdup_printf("Godwit's rules are not in force%s",
                                  drops > 0 ? "; other rules of this node drop by default" : ""),
                  fact_is(node, "firewall.unit", "yes")
                      ? "load them again"
                      : "run godwit host prepare, or see to it yourself that only the nodes and "
                        "the controller reach libvirt's port and the migration ports",
                  fact_is(node, "firewall.unit", "yes")
                      ? "systemctl restart godwit-firewall.service"
                      : NULL);
    else if (*missing != '\0')
        judge_add(judge, node, "firewall", CHECK_FAIL,
                  g_strdup_printf("the rules in force do not let in %s", missing),
                  "load them again; if that is not enough, run godwit host prepare with all nodes "
                  "and every --controller",
                  fact_is(node, "firewall.unit", "yes")
                      ? "systemctl restart godwit-firewall.service"
                      : NULL);
    else
        judge_add(judge, node, "firewall", CHECK_PASS,
                  g_strdup_printf("Godwit's rules are in force: ports %s for %s",
                                  fact(node, "firewall.ports"), fact(node, "firewall.peers")),
                  NULL, NULL);
}

void
judge_services(Judge *judge, const DoctorNode *node)
{
    judge_listener(judge, node);
    judge_certificate(judge, node);
    judge_qemu_tls(judge, node);
    judge_firewall(judge, node);
}
