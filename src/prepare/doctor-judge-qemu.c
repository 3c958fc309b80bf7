/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-judge-qemu.c: what QEMU needs on a node, and that nodes agree on it. Pure. */
#include "prepare/doctor-priv.h"

#include <string.h>

#define PORTS_FEW 8

/* The value that most nodes have (the first of several such), and one that has it. */
static const char *
most_common(const Judge *judge, const char *(*value)(const DoctorNode *, const char *),
            const char *key, const DoctorNode **owner)
{
    const char *best = "";
    unsigned best_count = 0;

    *owner = NULL;
    for (unsigned i = 0; i < judge->n; i++) {
        unsigned count = 0;
        if (judge->nodes[i].facts == NULL)
            continue;
        for (unsigned k = i; k < judge->n; k++)
            count += judge->nodes[k].facts != NULL &&
                     g_str_equal(value(&judge->nodes[i], key), value(&judge->nodes[k], key));
        if (count > best_count) {
            best_count = count;
            best = value(&judge->nodes[i], key);
            *owner = &judge->nodes[i];
        }
    }
    return best;
}

static const char *
or_default(const char *value, const char *otherwise)
{
    return *value != '\0' ? value : otherwise;
}

/* Names, and the numbers that the storage sees. */
static void
judge_user(Judge *judge, const DoctorNode *node)
{
    const DoctorNode *uid_owner, *gid_owner;
    const char *uid = most_common(judge, fact, "qemu.uid", &uid_owner);
    const char *gid = most_common(judge, fact, "qemu.gid", &gid_owner);
    const char *user = fact(node, "qemu.user"), *group = fact(node, "qemu.group");

    if (*user == '\0' || *group == '\0')
        judge_add(judge, node, "qemu-user", CHECK_WARN,
                  g_strdup("qemu.conf names no user or group: it is what the package was built "
                           "with"),
                  "say it in qemu.conf, with the same numbers on every node: godwit host prepare "
                  "does",
                  NULL);
    else if (*fact(node, "qemu.uid") == '\0' || *fact(node, "qemu.gid") == '\0')
        judge_add(
            judge, node, "qemu-user", CHECK_FAIL,
            g_strdup_printf("qemu.conf names %s:%s, which this node does not have", user, group),
            "no guest starts here: make the user and group, or set others with godwit host "
            "prepare --user --group",
            NULL);
    else if (!fact_is(node, "qemu.uid", uid) || !fact_is(node, "qemu.gid", gid))
        judge_add(judge, node, "qemu-user", CHECK_FAIL,
                  g_strdup_printf("%s:%s is %s:%s here, but QEMU's is %s:%s on %s", user, group,
                                  fact(node, "qemu.uid"), fact(node, "qemu.gid"), uid, gid,
                                  (fact_is(node, "qemu.uid", uid) ? gid_owner : uid_owner)->name),
                  "QEMU here could not use files of the other nodes' QEMU: set user and group with "
                  "godwit host prepare --user --group, with the same numbers everywhere",
                  NULL);
    else
        judge_add(judge, node, "qemu-user", CHECK_PASS,
                  g_strdup_printf("%s:%s, %s:%s", user, group, uid, gid), NULL, NULL);
}

static void
judge_conf(Judge *judge, const DoctorNode *node)
{
    static const char *const keys[] = {"qemu.dynamic_ownership", "qemu.migrate_tls_force",
                                       "qemu.migrate_tls_x509_verify"};
    const char *address = fact(node, "qemu.migration_address");
    g_autofree char *normal = address_normal(address);
    g_autoptr(GString) found = g_string_new(NULL);

    /* A name is resolved by libvirt when a move comes; only addresses can be judged here. */
    if (normal != NULL && !g_str_equal(normal, "0.0.0.0") && !g_str_equal(normal, "::") &&
        !list_has(fact(node, "addresses"), normal)) {
        judge_add(judge, node, "qemu-conf", CHECK_FAIL,
                  g_strdup_printf("migration_address is %s, which is not an address of this node",
                                  normal),
                  "moves to it fail: set migration_address in /etc/libvirt/qemu.conf right, or "
                  "remove it, and restart libvirt's daemon",
                  NULL);
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        const DoctorNode *owner;
        const char *common = most_common(judge, fact, keys[i], &owner);
        if (!fact_is(node, keys[i], common))
            g_string_append_printf(found, "%s%s is %s here, %s on %s", found->len > 0 ? "; " : "",
                                   keys[i] + strlen("qemu."),
                                   or_default(fact(node, keys[i]), "not set"),
                                   or_default(common, "not set"), owner->name);
    }
    if (found->len > 0)
        judge_add(judge, node, "qemu-conf", CHECK_WARN, g_strdup(found->str),
                  "prepare the nodes together, so that they agree: godwit host prepare", NULL);
    else
        judge_add(judge, node, "qemu-conf", CHECK_PASS,
                  g_strdup_printf("dynamic_ownership %s, migrate_tls_force %s, "
                                  "migrate_tls_x509_verify %s",
                                  or_default(fact(node, keys[0]), "not set"),
                                  or_default(fact(node, keys[1]), "not set"),
                                  or_default(fact(node, keys[2]), "not set")),
                  NULL, NULL);
}

static void
judge_ports(Judge *judge, const DoctorNode *node)
{
    const DoctorNode *low_owner, *high_owner;
    const char *low = most_common(judge, fact, "qemu.migration_port_min", &low_owner);
    const char *high = most_common(judge, fact, "qemu.migration_port_max", &high_owner);
    int64_t first = fact_number(node, "qemu.migration_port_min", MIGRATION_PORT_FIRST);
    int64_t last = fact_number(node, "qemu.migration_port_max",
                               MIGRATION_PORT_FIRST + MIGRATION_PORTS_LEAST - 1);
    char *range = g_strdup_printf("%" PRId64 "-%" PRId64, first, last);
    static const char remedy[] = "set the same range everywhere with godwit host prepare --moves";

    if (first < 1 || last > 65535 || first > last) {
        judge_add(judge, node, "ports", CHECK_FAIL, range, remedy, NULL);
        return;
    }
    if (!fact_is(node, "qemu.migration_port_min", low) ||
        !fact_is(node, "qemu.migration_port_max", high)) {
        bool is_low = !fact_is(node, "qemu.migration_port_min", low);
        judge_add(judge, node, "ports", CHECK_WARN,
                  g_strdup_printf("%s here, %s-%s on %s", range, or_default(low, "49152"),
                                  or_default(high, "49215"),
                                  (is_low ? low_owner : high_owner)->name),
                  remedy, NULL);
        g_free(range);
        return;
    }
    judge_add(judge, node, "ports", last - first + 1 < PORTS_FEW ? CHECK_WARN : CHECK_PASS, range,
              "few moves can come in at one time; widen the range with godwit host prepare --moves",
              NULL);
}

static bool
is_on_ceph(const DoctorNode *node)
{
    return fact_is(node, "ceph.conf", "yes") || *fact(node, "rbd") != '\0';
}

static void
judge_storage(Judge *judge, const DoctorNode *node)
{
    const DoctorNode *user = NULL;

    for (unsigned i = 0; i < judge->n && user == NULL; i++)
        user = is_on_ceph(&judge->nodes[i]) ? &judge->nodes[i] : NULL;
    if (user == NULL && !judge->options->ceph)
        judge_add(judge, node, "storage", CHECK_PASS,
                  g_strdup("no node has Ceph's configuration; whether the storage is seen, the "
                           "controller knows"),
                  NULL, NULL);
    else if (*fact(node, "rbd") == '\0')
        judge_add(judge, node, "storage", CHECK_FAIL,
                  g_strdup_printf("QEMU here has no driver for RBD, and %s is on Ceph",
                                  user == NULL || user == node ? "it" : user->name),
                  "guests with disks on Ceph can neither start here nor move here: install it with "
                  "godwit host prepare --ceph (or --ceph-conf FILE)",
                  NULL);
    else
        judge_add(judge, node, "storage", CHECK_PASS,
                  g_strdup_printf("QEMU has its driver for RBD (%s)", fact(node, "rbd")), NULL,
                  NULL);
}

void
judge_qemu(Judge *judge, const DoctorNode *node)
{
    judge_user(judge, node);
    judge_conf(judge, node);
    judge_ports(judge, node);
    judge_storage(judge, node);
}
