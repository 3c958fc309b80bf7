/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-judge-peers.c: what nodes said about each other. Pure.
 *
 * Lines of doctor_peers_script:
 *   reach PEER yes WORD       WORD: "address", or the name that was used
 *   reach PEER no REASON
 *   resolve PEER NAME A,B,C   the addresses of NAME; none: it is not known there
 *   mtu PEER MTU SMALL FULL   whether packets passed: yes, no, unknown
 *   plain PEER yes|no         whether PEER lets in without encryption
 *   stranger PEER yes|no      or without a certificate */
#include "prepare/doctor-priv.h"

#include <string.h>

#define LINES_MAX      400
#define SLOW_BYTES     (100000000 / 8) /* per second */
#define LONG_WAY_SHARE 3               /* that many times less than the best pair is worth a look */

typedef struct PeerLine {
    char **words; /* of the line, at most 5 */
    unsigned n;
    const DoctorNode *peer;
} PeerLine;

static const DoctorNode *
node_named(const Judge *judge, const char *name)
{
    for (unsigned i = 0; i < judge->n; i++) {
        if (g_str_equal(judge->nodes[i].name, name))
            return &judge->nodes[i];
    }
    return NULL;
}

/* Every line of that kind, as far as it makes sense. */
static void
each_line(Judge *judge, const DoctorNode *node, const char *text, const char *kind, unsigned most,
          void (*fn)(Judge *, const DoctorNode *, const PeerLine *, void *), void *opaque)
{
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\n", LINES_MAX);

    for (char **line = lines; *line != NULL; line++) {
        if (!text_is_clean(*line, 1000, false))
            continue;
        g_auto(GStrv) words = g_strsplit(*line, " ", (int)most);
        unsigned n = g_strv_length(words);
        const DoctorNode *peer = n >= 3 ? node_named(judge, words[1]) : NULL;
        PeerLine found = {.words = words, .n = n, .peer = peer};

        if (peer != NULL && g_str_equal(words[0], kind))
            fn(judge, node, &found, opaque);
    }
}

typedef struct Tally {
    unsigned good, bad;
    GString *text;
} Tally;

static void
on_reach(Judge *judge, const DoctorNode *node, const PeerLine *line, void *opaque)
{
    Tally *tally = opaque;

    if (g_str_equal(line->words[2], "yes")) {
        tally->good++;
        return;
    }
    tally->bad++;
    judge_add(judge, node, "reach", CHECK_FAIL,
              g_strdup_printf("libvirt on %s does not answer: %s", line->peer->name,
                              line->n >= 4 ? line->words[3] : "it said nothing"),
              "look at that node's listener, certificate, firewall and names, then at the network "
              "between the two",
              NULL);
}

static void
judge_reach(Judge *judge, const DoctorNode *node)
{
    Tally tally = {0};

    each_line(judge, node, node->peers, "reach", 4, on_reach, &tally);
    if (tally.bad > 0)
        return;
    if (node->peers_error != NULL)
        judge_add(judge, node, "reach", CHECK_FAIL,
                  g_strdup_printf("it could not be asked about the others: %s", node->peers_error),
                  "try again; see whether the node is overloaded", NULL);
    else if (tally.good > 0)
        judge_add(judge, node, "reach", CHECK_PASS,
                  g_strdup("libvirt on every node that it was asked about answers"), NULL, NULL);
    else if (judge->n > 1)
        judge_add(judge, node, "reach", CHECK_WARN,
                  g_strdup("no other node listens, so nobody was asked"),
                  "look at the listeners of the others", NULL);
    else
        judge_add(judge, node, "reach", CHECK_PASS,
                  g_strdup("one node only: nobody to ask about it"), NULL, NULL);
}

/* A name that leads nowhere costs only those who use it; one that leads elsewhere, moves. */
static void
on_resolve(Judge *judge, const DoctorNode *node, const PeerLine *line, void *opaque)
{
    Tally *tally = opaque;
    const char *name = line->words[2], *found = line->n >= 4 ? line->words[3] : "";
    g_auto(GStrv) addresses = g_strsplit(found, ",", 16);
    g_autoptr(NodeTarget) plain = node_target_parse(name, NULL);
    unsigned right = 0, all = 0;

    for (char **address = addresses; *address != NULL; address++) {
        g_autofree char *normal = address_normal(*address);
        if (normal == NULL)
            continue;
        all++;
        right += list_has(fact(line->peer, "addresses"), normal) ||
                 g_str_equal(node_address(line->peer), normal);
    }
    if (all > 0 && right == all) {
        tally->good++;
        return;
    }
    tally->bad++;
    bool good = plain != NULL && plain->user == NULL && plain->port == 0;
    g_autofree char *address = address_normal(node_address(line->peer));
    g_autofree char *command =
        all == 0 && good && address != NULL
            ? g_strdup_printf("echo '%s %s' >> /etc/hosts", address, plain->host)
            : NULL;
    judge_add(judge, node, "names", all == 0 ? CHECK_WARN : CHECK_FAIL,
              all == 0
                  ? g_strdup_printf("the name %s of %s is not known here", name, line->peer->name)
                  : g_strdup_printf("the name %s leads to %s here, which is not %s", name, found,
                                    line->peer->name),
              all == 0 ? "moves that use names fail: add it to DNS, or here"
                       : "put DNS or /etc/hosts right: moves would go to another machine",
              command);
}

static void
judge_names(Judge *judge, const DoctorNode *node)
{
    Tally tally = {0};

    each_line(judge, node, node->peers, "resolve", 4, on_resolve, &tally);
    if (tally.bad == 0)
        judge_add(
            judge, node, "names", CHECK_PASS,
            tally.good > 0
                ? g_strdup_printf("%u names of other nodes lead to their addresses", tally.good)
                : g_strdup("no names to ask for"),
            NULL, NULL);
}

/* Most nodes' MTU, of those that told one; 0: none did. */
static int64_t
mtu_common(const Judge *judge)
{
    int64_t best = 0;
    unsigned best_count = 0;

    for (unsigned i = 0; i < judge->n; i++) {
        int64_t mtu = fact_number(&judge->nodes[i], "mtu", 0);
        unsigned count = 0;
        for (unsigned k = 0; mtu > 0 && k < judge->n; k++)
            count += fact_number(&judge->nodes[k], "mtu", 0) == mtu;
        if (count > best_count || (count == best_count && mtu < best)) {
            best_count = count;
            best = mtu;
        }
    }
    return best;
}

/* The device's name comes from the node: only a plain one goes into a command. */
static char *
mtu_command(const Judge *judge, const DoctorNode *node)
{
    const char *device = fact(node, "mtu.dev");
    int64_t mtu = mtu_common(judge);
    size_t size = strlen(device);
    bool plain = size >= 1 && size <= 15 && g_ascii_isalnum(*device);

    for (const char *p = device; *p != '\0'; p++)
        plain = plain && (g_ascii_isalnum(*p) || strchr("._-", *p) != NULL);
    return plain && mtu >= 576 && mtu <= 65535 && mtu != fact_number(node, "mtu", 0)
               ? g_strdup_printf("ip link set dev %s mtu %" PRId64, device, mtu)
               : NULL;
}

static void
on_mtu(Judge *judge, const DoctorNode *node, const PeerLine *line, void *opaque)
{
    Tally *tally = opaque;

    if (line->n < 5 || g_str_equal(line->words[4], "yes")) {
        tally->good++;
        return;
    }
    tally->bad++;
    bool small = g_str_equal(line->words[3], "yes"), known = g_str_equal(line->words[4], "no");
    g_autofree char *command = small && known ? mtu_command(judge, node) : NULL;
    judge_add(judge, node, "mtu", known && small ? CHECK_FAIL : CHECK_WARN,
              known && small
                  ? g_strdup_printf("packets of %s bytes do not pass to %s; small ones do",
                                    line->words[2], line->peer->name)
              : known ? g_strdup_printf("%s answers no ping, so the way there could not be tried",
                                        line->peer->name)
                      : g_strdup("there is neither ping nor perl to try it with"),
              known && small ? "moves hang: set the MTU that every node and switch on the way has"
                             : "let echo requests pass between nodes, or check by hand",
              command);
}

static void
judge_mtu(Judge *judge, const DoctorNode *node)
{
    Tally tally = {0};
    int64_t mine = fact_number(node, "mtu", 0), common = mtu_common(judge);

    each_line(judge, node, node->peers, "mtu", 5, on_mtu, &tally);
    if (tally.bad > 0)
        return;
    g_autofree char *command = mtu_command(judge, node);
    judge_add(judge, node, "mtu", mine == common ? CHECK_PASS : CHECK_WARN,
              mine == common
                  ? g_strdup_printf("%" PRId64 "%s", mine,
                                    tally.good > 0 ? "; packets of that size pass" : "")
                  : g_strdup_printf("%" PRId64 " here, %" PRId64 " on most nodes", mine, common),
              "set the same MTU on the network that moves take", command);
}

static void
on_plain(Judge *judge, const DoctorNode *node, const PeerLine *line, void *opaque)
{
    bool in = g_str_equal(line->words[2], "yes");

    if (line->peer == opaque)
        judge_add(
            judge, line->peer, "plaintext", in ? CHECK_WARN : CHECK_PASS,
            in ? g_strdup_printf("PLAINTEXT: %s got in through port 16509, without encryption or "
                                 "password",
                                 node->name)
               : g_strdup_printf("%s does not get in without encryption", node->name),
            "the firewall is all that keeps others out; godwit host prepare sets up TLS", NULL);
}

static void
on_stranger(Judge *judge, const DoctorNode *node, const PeerLine *line, void *opaque)
{
    bool in = g_str_equal(line->words[2], "yes");

    if (line->peer == opaque)
        judge_add(
            judge, line->peer, "authentication", in ? CHECK_FAIL : CHECK_PASS,
            in ? g_strdup_printf("%s got in through TLS without a certificate", node->name)
               : g_strdup_printf("%s does not get in without a certificate", node->name),
            "whoever reaches the port is root there: set tls_no_verify_certificate = 0 and let "
            "godwit host prepare restart it",
            NULL);
}

/* A small answer of the loopback's kind would divide by zero. */
static int64_t
bytes_per_second(const PeerLine *line)
{
    int64_t bytes, us;

    if (line->n < 5 || !parse_int64(line->words[3], 1, INT64_C(1) << 40, &bytes) ||
        !parse_int64(line->words[4], 1, 60 * USEC_PER_SEC, &us))
        return 0;
    return (int64_t)((double)bytes * USEC_PER_SEC / (double)us);
}

static void
on_speed_best(Judge *judge, const DoctorNode *node, const PeerLine *line, void *opaque)
{
    int64_t *best = opaque;
    *best = MAX(*best, bytes_per_second(line));
}

static void
on_speed(Judge *judge, const DoctorNode *node, const PeerLine *line, void *opaque)
{
    const int64_t *best = opaque;
    int64_t speed = bytes_per_second(line);
    bool slow = speed < SLOW_BYTES || speed < *best / LONG_WAY_SHARE;

    if (g_str_equal(line->words[2], "no") || speed == 0) {
        g_autofree char *why = g_strjoinv(" ", line->words + 3);
        judge_add(judge, node, "bandwidth", CHECK_FAIL,
                  g_strdup_printf("nothing gets to %s through its migration ports: %s",
                                  line->peer->name, why),
                  "moves would fail the same way: look at that node's firewall and ports, and at "
                  "what is between",
                  NULL);
        return;
    }
    judge_add(
        judge, node, "bandwidth", slow ? CHECK_WARN : CHECK_PASS,
        g_strdup_printf("%.2f Gbit/s to %s (the fastest pair: %.2f)", (double)speed * 8 / 1e9,
                        line->peer->name, (double)*best * 8 / 1e9),
        "moves of busy guests may not converge over this: look for a wrong link speed, a busy "
        "network, or the wrong network (migration_address)",
        NULL);
}

static void
judge_bandwidth(Judge *judge, const DoctorNode *node)
{
    int64_t best = 0;

    if (!judge->options->bandwidth)
        return;
    for (unsigned i = 0; i < judge->n; i++)
        each_line(judge, &judge->nodes[i], judge->nodes[i].speed, "speed", 5, on_speed_best, &best);
    each_line(judge, node, node->speed, "speed", 5, on_speed, &best);
}

void
judge_peers(Judge *judge, const DoctorNode *node)
{
    judge_reach(judge, node);
    judge_names(judge, node);
    judge_mtu(judge, node);
    /* What others found out about this one. */
    for (unsigned i = 0; i < judge->n; i++)
        each_line(judge, &judge->nodes[i], judge->nodes[i].peers, "plain", 3, on_plain,
                  (void *)node);
    for (unsigned i = 0; i < judge->n; i++)
        each_line(judge, &judge->nodes[i], judge->nodes[i].peers, "stranger", 3, on_stranger,
                  (void *)node);
    judge_bandwidth(judge, node);
}
