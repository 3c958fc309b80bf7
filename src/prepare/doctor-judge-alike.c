/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-judge-alike.c: versions, machine types, CPUs, clocks: where nodes differ, and what that
 * means for which direction. Pure. */
#include "prepare/doctor-priv.h"

#include <stdlib.h>
#include <string.h>

#define CLOCK_WARN_MS  500
#define CLOCK_FAIL_MS  60000 /* certificates and tokens begin to look invalid */
#define FEATURES_SHOWN 12

/* "7.2.22" → a number that orders versions; -1: not a version. */
static int64_t
version_number(const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, ".", 4);
    int64_t number = 0;

    for (int i = 0; i < 3; i++) {
        int64_t part = 0;
        if (words[0] == NULL ||
            (i < (int)g_strv_length(words) && !parse_int64(words[i], 0, 999999, &part)))
            return -1;
        number = number * 1000000 + part;
    }
    return number;
}

static void
judge_version(Judge *judge, const DoctorNode *node, const char *name, const char *what)
{
    int64_t mine = version_number(fact(node, name));
    const DoctorNode *newest = NULL;

    for (unsigned i = 0; i < judge->n; i++) {
        int64_t theirs = version_number(fact(&judge->nodes[i], name));
        if (theirs > mine && (newest == NULL || theirs > version_number(fact(newest, name))))
            newest = &judge->nodes[i];
    }
    if (mine < 0)
        judge_add(judge, node, name, CHECK_FAIL,
                  g_strdup_printf("%s does not tell its version here", what),
                  "no guest runs here: see virsh version and journalctl -u libvirtd there, or run "
                  "godwit host prepare",
                  NULL);
    else if (newest != NULL)
        judge_add(judge, node, name, CHECK_WARN,
                  g_strdup_printf("%s here, %s on %s: moves from %s to %s go to an older version "
                                  "and may fail; the other way is safe",
                                  fact(node, name), fact(newest, name), newest->name, newest->name,
                                  node->name),
                  "update this node; until then, move guests away from it, not to it", NULL);
    else
        judge_add(judge, node, name, CHECK_PASS, g_strdup(fact(node, name)), NULL, NULL);
}

/* The newest of a family here must exist elsewhere, or guests made here cannot leave. */
static void
judge_machines(Judge *judge, const DoctorNode *node)
{
    static const char *const families[] = {"machine.pc", "machine.q35", "machine.virt"};
    g_autoptr(GString) missing = g_string_new(NULL);
    g_autoptr(GString) newest = g_string_new(NULL);

    for (size_t f = 0; f < G_N_ELEMENTS(families); f++) {
        const char *machine = fact(node, families[f]);
        if (*machine == '\0')
            continue;
        g_string_append_printf(newest, "%s%s", newest->len > 0 ? ", " : "", machine);
        for (unsigned i = 0; i < judge->n; i++) {
            const char *theirs = fact(&judge->nodes[i], "machines");
            if (*theirs != '\0' && !list_has(theirs, machine))
                g_string_append_printf(missing, "%s%s on %s", missing->len > 0 ? ", " : "", machine,
                                       judge->nodes[i].name);
        }
    }
    if (missing->len > 0)
        judge_add(
            judge, node, "machine-types", CHECK_WARN,
            g_strdup_printf("newest here, but missing elsewhere: %s", missing->str),
            "guests that are made here with the newest machine type cannot move there: update "
            "QEMU there, or name an older machine type in the image (hw_machine_type)",
            NULL);
    else if (newest->len == 0)
        judge_add(judge, node, "machine-types", CHECK_WARN,
                  g_strdup("libvirt lists no machine types here"), "see virsh capabilities there",
                  NULL);
    else
        judge_add(judge, node, "machine-types", CHECK_PASS,
                  g_strdup_printf("newest: %s; every node has them", newest->str), NULL, NULL);
}

/* Features that others have and this node lacks; *who: one of those. */
static unsigned
features_lacking(const Judge *judge, const DoctorNode *node, GString *lacking,
                 const DoctorNode **who)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    unsigned count = 0;

    for (unsigned i = 0; i < judge->n; i++) {
        const char *theirs = fact(&judge->nodes[i], "cpu.features");
        if (g_str_equal(theirs, fact(node, "cpu.features")))
            continue;
        g_auto(GStrv) words = g_strsplit(theirs, ",", 1000);
        for (char **word = words; *word != NULL; word++) {
            if (**word == '\0' || list_has(fact(node, "cpu.features"), *word) ||
                !g_hash_table_add(seen, g_strdup(*word)))
                continue;
            *who = *who != NULL ? *who : &judge->nodes[i];
            if (count++ < FEATURES_SHOWN)
                g_string_append_printf(lacking, "%s%s", lacking->len > 0 ? ", " : "", *word);
        }
    }
    if (count > FEATURES_SHOWN)
        g_string_append_printf(lacking, " and %u more", count - FEATURES_SHOWN);
    return count;
}

static const DoctorNode *
other_vendor(const Judge *judge, const DoctorNode *node)
{
    for (unsigned i = 0; i < judge->n; i++) {
        const char *theirs = fact(&judge->nodes[i], "cpu.vendor");
        if (*theirs != '\0' && !fact_is(node, "cpu.vendor", theirs))
            return &judge->nodes[i];
    }
    return NULL;
}

static void
judge_cpu(Judge *judge, const DoctorNode *node)
{
    const DoctorNode *who = NULL, *stranger = other_vendor(judge, node);
    g_autoptr(GString) lacking = g_string_new(NULL);

    if (*fact(node, "cpu.features") == '\0') {
        judge_add(judge, node, "cpu", CHECK_WARN,
                  g_strdup("libvirt does not tell what CPU it can give to guests here"),
                  "see virsh domcapabilities there", NULL);
        return;
    }
    if (stranger != NULL && *fact(node, "cpu.vendor") != '\0') {
        judge_add(judge, node, "cpu", CHECK_FAIL,
                  g_strdup_printf("%s here, %s on %s", fact(node, "cpu.vendor"),
                                  fact(stranger, "cpu.vendor"), stranger->name),
                  "running guests cannot move between vendors: keep them apart (aggregates or "
                  "availability zones)",
                  NULL);
        return;
    }
    if (features_lacking(judge, node, lacking, &who) > 0)
        judge_add(
            judge, node, "cpu", CHECK_WARN,
            g_strdup_printf("%s limits the common CPU (%s): it lacks %s, which %s has", node->name,
                            fact(node, "cpu.model"), lacking->str, who->name),
            "guests with cpu_mode baseline do without these features; guests that have them "
            "(host-model, host-passthrough) cannot move here; the same microcode and firmware "
            "settings may bring them",
            NULL);
    else
        judge_add(judge, node, "cpu", CHECK_PASS,
                  g_strdup_printf("%s (%s); it limits nobody", fact(node, "cpu.model"),
                                  fact(node, "virt")),
                  NULL, NULL);
}

/* How far a clock is from ours, in ms; the way there and back is the uncertainty. */
static int64_t
clock_offset_ms(const DoctorNode *node)
{
    int64_t middle = fact_number(node, "asked", 0) / 2 + fact_number(node, "answered", 0) / 2;
    return fact_number(node, "clock", 0) / 1000 - middle / 1000;
}

static int64_t
clock_unsure_ms(const DoctorNode *node)
{
    return (fact_number(node, "answered", 0) - fact_number(node, "asked", 0)) / 2000;
}

static int
compare_numbers(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return a < b ? -1 : a > b;
}

/* Measured against the middle of all and ours: one clock that is wrong must not make the others
 * look so. */
static int64_t
clock_middle_ms(const Judge *judge)
{
    g_autofree int64_t *offsets = g_new0(int64_t, judge->n + 1);
    unsigned count = 1; /* ours is 0 */

    for (unsigned i = 0; i < judge->n; i++) {
        if (fact_number(&judge->nodes[i], "clock", 0) > 0)
            offsets[count++] = clock_offset_ms(&judge->nodes[i]);
    }
    qsort(offsets, count, sizeof *offsets, compare_numbers);
    return judge->n == 1 ? 0 : offsets[(count - 1) / 2];
}

static void
judge_clock(Judge *judge, const DoctorNode *node)
{
    if (fact_number(node, "clock", 0) <= 0) {
        judge_add(judge, node, "clock", CHECK_WARN, g_strdup("it did not tell its time"),
                  "see date there", NULL);
        return;
    }
    int64_t apart = clock_offset_ms(node) - clock_middle_ms(judge);
    int64_t surely = MAX(0, ABS(apart) - clock_unsure_ms(node));

    judge_add(judge, node, "clock",
              surely >= CLOCK_FAIL_MS   ? CHECK_FAIL
              : surely >= CLOCK_WARN_MS ? CHECK_WARN
                                        : CHECK_PASS,
              g_strdup_printf("%" PRId64 " ms from the middle of all clocks, give or take %" PRId64
                              " ms",
                              apart, clock_unsure_ms(node)),
              "let all nodes follow the same time servers (chrony or systemd-timesyncd)",
              fact_is(node, "sync.by", "chrony") || fact_is(node, "sync.by", "chronyd")
                  ? "chronyc makestep"
                  : NULL);
}

void
judge_alike(Judge *judge, const DoctorNode *node)
{
    judge_version(judge, node, "libvirt", "libvirt");
    judge_version(judge, node, "qemu", "QEMU");
    judge_machines(judge, node);
    judge_cpu(judge, node);
    judge_clock(judge, node);
}
