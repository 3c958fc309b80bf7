/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-judge.c: what the facts of some nodes mean for moves between them. Pure.
 *
 * The themes are in files of their own. Commands in remedies are ours: what a node said goes into
 * one only after it was found to be a name, a number or an address. */
#include "prepare/doctor-priv.h"

#include <string.h>

#define EVIDENCE_MAX_BYTES 700

const char *const check_status_names[] = {
    [CHECK_PASS] = "PASS",
    [CHECK_WARN] = "WARN",
    [CHECK_FAIL] = "FAIL",
};

const CheckName doctor_checks[] = {
    {"ssh", "the node can be looked at, over ssh as root"},
    {"drift", "its files are as prepare wrote them"},
    {"libvirt", "libvirt answers, and is not older than on the other nodes"},
    {"qemu", "QEMU is not older than on the other nodes"},
    {"machine-types", "the newest machine types exist on every node"},
    {"cpu", "which CPU all nodes can give, and who limits it"},
    {"listener", "libvirt listens, where and how"},
    {"reach", "libvirt answers to the other nodes, by address and by name"},
    {"plaintext", "nobody gets in without encryption (asked from a peer)"},
    {"authentication", "nobody gets in without a certificate (asked from a peer)"},
    {"certificate", "libvirt's certificate: names, chain, key, end"},
    {"qemu-tls", "QEMU's certificate; the memory in moves is encrypted"},
    {"qemu-user", "user and group of QEMU, the same numbers everywhere"},
    {"qemu-conf", "qemu.conf agrees with the other nodes"},
    {"ports", "migration ports, the same everywhere"},
    {"firewall", "rules are in force, and let in every node and controller"},
    {"names", "names of the other nodes lead to their addresses"},
    {"clock", "clocks agree"},
    {"time-source", "the clock follows a time server"},
    {"mtu", "full-size packets pass between nodes"},
    {"bandwidth", "speed between nodes through the migration ports (--bandwidth)"},
    {"storage", "QEMU can open disks on Ceph"},
    {"post-copy", "QEMU may use userfaultfd"},
    {"huge-pages", "huge pages, of the same sizes everywhere"},
    {"locked-memory", "memory can be locked, for zero-copy"},
    {"disk", "room for logs and state"},
    {"sysctl", "kernel settings that moves suffer from"},
    {"kvm", "hardware virtualization"},
    {"scope", "what was asked of whom"},
    {"controller", "the controller answers", true},
    {"host-state", "the controller reaches the node", true},
    {"host-storage", "the node sees the storage", true},
    {"host-encryption", "the controller's channel to the node", true},
    {"host-cpu", "CPU of all nodes, as the controller computed it", true},
    {0},
};

void
check_free(void *opaque)
{
    Check *check = opaque;
    g_free(check->host);
    g_free(check->evidence);
    g_free(check->remedy);
    g_free(check->command);
    g_free(check);
}

/* What nodes say has no natural end. */
static char *
evidence_bounded(char *evidence)
{
    if (strlen(evidence) <= EVIDENCE_MAX_BYTES)
        return evidence;
    size_t end = EVIDENCE_MAX_BYTES;
    while (end > 0 && (evidence[end] & 0xc0) == 0x80)
        end--;
    evidence[end] = '\0';
    char *bounded = g_strconcat(evidence, " …", NULL);
    g_free(evidence);
    return bounded;
}

Check *
check_new(const char *name, CheckStatus status, const char *host, char *evidence,
          const char *remedy, const char *command)
{
    Check check = {
        .name = name,
        .status = status,
        .host = g_strdup(host),
        .evidence = evidence_bounded(evidence),
        .remedy = status == CHECK_PASS ? NULL : g_strdup(remedy),
        .command = status == CHECK_PASS ? NULL : g_strdup(command),
    };
    return g_memdup2(&check, sizeof check);
}

void
judge_add(Judge *judge, const DoctorNode *node, const char *name, CheckStatus status,
          char *evidence, const char *remedy, const char *command)
{
    const char *const *names = judge->options->names;
    /* That a node could not be looked at is told whatever was asked for. */
    bool wanted = names == NULL || g_strv_contains(names, name) ||
                  (g_str_equal(name, "ssh") && status != CHECK_PASS);

    if (wanted)
        g_ptr_array_add(judge->checks, check_new(name, status, node != NULL ? node->name : "*",
                                                 evidence, remedy, command));
    else
        g_free(evidence);
}

static void
judge_drift(Judge *judge, const DoctorNode *node)
{
    g_autofree char *lines = g_strstrip(g_strdup(node->drift != NULL ? node->drift : ""));
    g_auto(GStrv) words = g_strsplit(lines, "\n", 100);
    bool prepared = fact_is(node, "prepared", "yes");

    if (*lines == '\0')
        judge_add(
            judge, node, "drift", CHECK_PASS,
            g_strdup(prepared ? "every file is as prepare wrote it" : "not prepared by Godwit"),
            NULL, NULL);
    else
        judge_add(
            judge, node, "drift", CHECK_WARN, g_strjoinv(", ", words),
            "look at what was changed with godwit host prepare --dry-run, then keep it or let "
            "godwit host prepare set it again",
            NULL);
}

/* With so many nodes that not every pair was asked. */
static void
judge_scope(Judge *judge)
{
    if (judge->n - 1 > DOCTOR_PEERS_MAX)
        judge_add(judge, NULL, "scope", CHECK_PASS,
                  g_strdup_printf("%u nodes: each was asked about the %d after it in a ring, and "
                                  "is asked about by as many; not every pair",
                                  judge->n, DOCTOR_PEERS_MAX),
                  NULL, NULL);
}

void
doctor_judge(const DoctorNode *nodes, unsigned n, const DoctorOptions *options, GPtrArray *checks)
{
    Judge judge = {.nodes = nodes, .n = n, .options = options, .checks = checks};

    if (!options->drift_only)
        judge_scope(&judge);
    for (unsigned i = 0; i < n; i++) {
        const DoctorNode *node = &nodes[i];
        bool seen = node->error == NULL && node->facts != NULL;

        judge_add(&judge, node, "ssh", seen ? CHECK_PASS : CHECK_FAIL,
                  g_strdup(seen                  ? fact(node, "system")
                           : node->error != NULL ? node->error->message
                                                 : "it gave no answer"),
                  "get ssh to work first: nothing else of this node could be looked at", NULL);
        if (!seen)
            continue;
        judge_drift(&judge, node);
        if (options->drift_only)
            continue;
        judge_alike(&judge, node);
        judge_services(&judge, node);
        judge_peers(&judge, node);
        judge_qemu(&judge, node);
        judge_system(&judge, node);
    }
}
