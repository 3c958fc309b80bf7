/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-judge.c: what the facts of some nodes mean for moves between them. Pure. */
#include "prepare/doctor-priv.h"

#include <string.h>

#define CERTIFICATE_WARN_DAYS 30
#define CLOCK_WARN_MS         500
#define CLOCK_FAIL_MS         60000 /* certificates and tokens begin to look invalid */
#define DISK_WARN_MIB         1024

const char *const check_status_names[] = {
    [CHECK_PASS] = "PASS",
    [CHECK_WARN] = "WARN",
    [CHECK_FAIL] = "FAIL",
};

void
check_free(void *opaque)
{
    Check *check = opaque;
    g_free(check->host);
    g_free(check->evidence);
    g_free(check->remedy);
    g_free(check);
}

/* Takes evidence. */
static void
check_add(GPtrArray *checks, const DoctorNode *node, const char *name, CheckStatus status,
          char *evidence, const char *remedy)
{
    Check check = {.name = name,
                   .status = status,
                   .host = g_strdup(node->target->host),
                   .evidence = evidence,
                   .remedy = status == CHECK_PASS ? NULL : g_strdup(remedy)};
    g_ptr_array_add(checks, g_memdup2(&check, sizeof check));
}

GHashTable *
doctor_facts_parse(const char *answer)
{
    GHashTable *facts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_auto(GStrv) lines = g_strsplit(answer, "\n", 400);

    for (char **line = lines; *line != NULL; line++) {
        const char *equals = strchr(*line, '=');
        if (equals != NULL && text_is_clean(equals + 1, 1000, true))
            g_hash_table_insert(facts, g_strndup(*line, (gsize)(equals - *line)),
                                g_strdup(equals + 1));
    }
    return facts;
}

static const char *
fact(const DoctorNode *node, const char *key)
{
    const char *value = node->facts != NULL ? g_hash_table_lookup(node->facts, key) : NULL;
    return value != NULL ? value : "";
}

static int64_t
fact_number(const DoctorNode *node, const char *key, int64_t otherwise)
{
    int64_t number = otherwise;
    parse_int64(fact(node, key), INT64_MIN, INT64_MAX, &number);
    return number;
}

static void
judge_drift(const DoctorNode *node, GPtrArray *checks)
{
    g_autofree char *lines = g_strstrip(g_strdup(node->drift != NULL ? node->drift : ""));
    g_auto(GStrv) words = g_strsplit(lines, "\n", 100);

    if (*lines == '\0')
        check_add(checks, node, "drift", CHECK_PASS,
                  g_strdup(*fact(node, "prepared") ? "every file is as prepare wrote it"
                                                   : "not prepared by Godwit"),
                  NULL);
    else
        check_add(
            checks, node, "drift", CHECK_WARN, g_strjoinv(", ", words),
            "look at what was changed with godwit host prepare --dry-run, then keep it or let "
            "prepare set it again");
}

static void
judge_listener(const DoctorNode *node, GPtrArray *checks)
{
    bool tls = *fact(node, "port.16514") != '\0', tcp = *fact(node, "port.16509") != '\0';

    if (tcp)
        check_add(checks, node, "listener", CHECK_WARN,
                  g_strdup_printf("plaintext on port 16509 (%s)%s", fact(node, "port.16509"),
                                  tls ? ", TLS on 16514" : ""),
                  "moves and libvirt's channel are not encrypted; godwit host prepare sets up TLS");
    else if (tls)
        check_add(checks, node, "listener", CHECK_PASS,
                  g_strdup_printf("TLS on port 16514 (%s)", fact(node, "port.16514")), NULL);
    else
        check_add(
            checks, node, "listener", CHECK_FAIL,
            g_strdup("libvirt listens on neither 16514 nor 16509"),
            "run godwit host prepare; if it was prepared: systemctl status libvirtd-tls.socket "
            "libvirtd.service there");
}

static void
judge_certificate(const DoctorNode *node, GPtrArray *checks)
{
    int64_t days = fact_number(node, "certificate.days", -100000);

    if (days == -100000)
        check_add(checks, node, "certificate",
                  *fact(node, "port.16514") != '\0' ? CHECK_FAIL : CHECK_WARN,
                  g_strdup("there is none in /etc/pki/libvirt"),
                  "run godwit host prepare to have one made and signed");
    else
        check_add(checks, node, "certificate",
                  days < 0                       ? CHECK_FAIL
                  : days < CERTIFICATE_WARN_DAYS ? CHECK_WARN
                                                 : CHECK_PASS,
                  g_strdup_printf("ends in %" PRId64 " days", days),
                  "run godwit host prepare: it renews what ends within 30 days and drops no "
                  "connection");
}

static void
judge_node(const DoctorNode *node, GPtrArray *checks)
{
    int64_t disk = fact_number(node, "disk.mib", -1);

    judge_listener(node, checks);
    judge_certificate(node, checks);
    check_add(
        checks, node, "firewall", *fact(node, "firewall") ? CHECK_PASS : CHECK_WARN,
        g_strdup(*fact(node, "firewall") ? "Godwit's rules are in force"
                                         : "Godwit's rules are not in force"),
        "run godwit host prepare, or see to it yourself that only the nodes and the controller "
        "reach libvirt's port and the migration ports");
    check_add(checks, node, "post-copy", *fact(node, "userfaultfd") ? CHECK_PASS : CHECK_WARN,
              g_strdup(*fact(node, "userfaultfd") ? "QEMU may use userfaultfd"
                                                  : "QEMU may not use userfaultfd"),
              "post-copy moves to this node fail; set vm.unprivileged_userfaultfd = 1 in "
              "/etc/sysctl.d");
    check_add(checks, node, "disk", disk >= DISK_WARN_MIB ? CHECK_PASS : CHECK_WARN,
              g_strdup_printf("%" PRId64 " MiB free in /var/lib/libvirt", disk),
              "make room: logs, consoles and saved state go there");
    check_add(checks, node, "kvm", *fact(node, "kvm") ? CHECK_PASS : CHECK_WARN,
              g_strdup(*fact(node, "kvm") ? "/dev/kvm is there" : "there is no /dev/kvm"),
              "guests run without hardware help, slowly; switch virtualization on in the firmware, "
              "or load kvm_intel or kvm_amd");
}

/* Nodes must agree; the first one that was looked at is the measure. */
static void
judge_equal(const DoctorNode *node, const DoctorNode *first, const char *name, const char *key,
            CheckStatus status, const char *remedy, GPtrArray *checks)
{
    const char *mine = fact(node, key), *theirs = fact(first, key);
    bool equal = g_str_equal(mine, theirs);

    check_add(checks, node, name, equal ? CHECK_PASS : status,
              equal ? g_strdup(*mine ? mine : "not there")
                    : g_strdup_printf("%s here, %s on %s", *mine ? mine : "nothing",
                                      *theirs ? theirs : "nothing", first->target->host),
              remedy);
}

/* How far a clock is from ours, in ms; the way there and back is the uncertainty. */
static int64_t
clock_offset_ms(const DoctorNode *node)
{
    int64_t middle = fact_number(node, "asked", 0) / 2 + fact_number(node, "answered", 0) / 2;
    return (fact_number(node, "clock", 0) - middle) / 1000;
}

static void
judge_clock(const DoctorNode *node, const DoctorNode *first, GPtrArray *checks)
{
    int64_t apart = clock_offset_ms(node) - clock_offset_ms(first);
    int64_t unsure = (fact_number(node, "answered", 0) - fact_number(node, "asked", 0) +
                      fact_number(first, "answered", 0) - fact_number(first, "asked", 0)) /
                     2000;
    int64_t surely = MAX(0, ABS(apart) - unsure);

    check_add(checks, node, "clock",
              surely >= CLOCK_FAIL_MS   ? CHECK_FAIL
              : surely >= CLOCK_WARN_MS ? CHECK_WARN
                                        : CHECK_PASS,
              g_strdup_printf("%" PRId64 " ms from %s's, give or take %" PRId64 " ms", apart,
                              first->target->host, unsure),
              "let both follow the same time servers (chrony or systemd-timesyncd)");
}

/* Lines "HOST yes name", "HOST yes address", "HOST no REASON" */
static void
judge_reach(const DoctorNode *node, GPtrArray *checks)
{
    g_auto(GStrv) lines = g_strsplit(node->reach != NULL ? node->reach : "", "\n", 1000);

    for (char **line = lines; *line != NULL; line++) {
        g_auto(GStrv) words = g_strsplit(*line, " ", 3);
        if (g_strv_length(words) != 3)
            continue;
        bool reached = g_str_equal(words[1], "yes"), named = g_str_equal(words[2], "name");
        check_add(checks, node, "reach",
                  !reached ? CHECK_FAIL
                  : named  ? CHECK_PASS
                           : CHECK_WARN,
                  reached
                      ? g_strdup_printf("libvirt on %s answers, by %s", words[0],
                                        named ? "name and address"
                                              : "address only: its name is not known here")
                      : g_strdup_printf("libvirt on %s does not answer: %s", words[0], words[2]),
                  reached ? "add the name to DNS or /etc/hosts, if a migration URI uses it"
                          : "look at the other checks of that node, then at the network between "
                            "them");
    }
}

void
doctor_judge(const DoctorNode *nodes, unsigned n, bool drift_only, GPtrArray *checks)
{
    const DoctorNode *first = NULL;

    for (unsigned i = 0; i < n; i++) {
        const DoctorNode *node = &nodes[i];
        check_add(checks, node, "ssh", node->error != NULL ? CHECK_FAIL : CHECK_PASS,
                  g_strdup(node->error != NULL ? node->error->message : fact(node, "system")),
                  "nothing else could be looked at");
        if (node->error != NULL)
            continue;
        judge_drift(node, checks);
        if (drift_only)
            continue;
        judge_node(node, checks);
        first = first != NULL ? first : node;
        judge_equal(node, first, "libvirt", "libvirt", CHECK_WARN,
                    "moves from a newer to an older version may fail: update the older", checks);
        judge_equal(node, first, "qemu", "qemu", CHECK_WARN,
                    "moves from a newer to an older version may fail: update the older", checks);
        judge_equal(node, first, "qemu-user", "qemu.user", CHECK_FAIL,
                    "QEMU on one node could not use the other's files: set user and group with "
                    "godwit host prepare --user --group, with the same numbers on both",
                    checks);
        judge_equal(node, first, "ports", "ports", CHECK_WARN,
                    "set the same migration ports with godwit host prepare", checks);
        judge_equal(
            node, first, "mtu", "mtu", CHECK_WARN,
            "large packets may be lost on the way: set the same MTU on the network that moves "
            "take",
            checks);
        judge_clock(node, first, checks);
        judge_reach(node, checks);
    }
}
