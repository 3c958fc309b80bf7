/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor.c: asks the nodes, then each of them about the others, then measures; and has it judged
 *
 * The nodes of a part are taken by at most DOCTOR_AT_ONCE threads, one after the other, so that
 * hundreds of nodes do not mean hundreds of ssh processes at one time. */
#include "prepare/doctor-priv.h"

#include <poll.h>
#include <string.h>

#define FACTS_SECONDS   90
#define PEERS_SECONDS   180
#define MEASURE_SECONDS 30
#define MEASURE_BYTES   "67108864"

typedef struct Doctor {
    DoctorNode *nodes;
    NodeSsh **ssh;
    unsigned n;
    const DoctorOptions *options;

    pthread_mutex_t mutex;
    unsigned next; /* node that nobody has taken yet; guarded by mutex */
    void (*visit)(struct Doctor *doctor, unsigned index);
} Doctor;

static bool
is_cancelled(const Doctor *doctor)
{
    struct pollfd wait = {.fd = doctor->options->cancel_fd, .events = POLLIN};
    return doctor->options->cancel_fd >= 0 && poll(&wait, 1, 0) > 0;
}

static void
visits_take(void *opaque)
{
    Doctor *doctor = opaque;

    for (;;) {
        pthread_mutex_lock(&doctor->mutex);
        unsigned index = doctor->next++;
        pthread_mutex_unlock(&doctor->mutex);
        if (index >= doctor->n || is_cancelled(doctor))
            return;
        doctor->visit(doctor, index);
    }
}

static void
visits_run(Doctor *doctor, void (*visit)(Doctor *doctor, unsigned index))
{
    unsigned count = MIN(doctor->n, (unsigned)DOCTOR_AT_ONCE);
    g_autofree pthread_t *threads = g_new0(pthread_t, count);

    doctor->next = 0;
    doctor->visit = visit;
    for (unsigned i = 0; i < count; i++)
        threads[i] = thread_start("doctor", visits_take, doctor);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* ---- facts ------------------------------------------------------------------------------------
 */

static void
fact_put(GHashTable *facts, const char *key, int64_t value)
{
    g_hash_table_insert(facts, g_strdup(key), g_strdup_printf("%" PRId64, value));
}

/* The MTU that counts is the one on the way to another node; any of them will do. */
static const char *
some_peer(const Doctor *doctor, unsigned index)
{
    const DoctorNode *peer = &doctor->nodes[(index + 1) % doctor->n];

    if (doctor->n == 1)
        return "";
    return peer->address != NULL ? peer->address : peer->target->host;
}

static void
visit_look(Doctor *doctor, unsigned index)
{
    DoctorNode *node = &doctor->nodes[index];
    SshOptions options = {.config = doctor->options->ssh_config,
                          .cancel_fd = doctor->options->cancel_fd};
    static const char prepared[] = "[ ! -e /var/backups/godwit/written ] || echo prepared=yes";
    const char *const args[] = {some_peer(doctor, index), NULL};
    g_autofree char *answer = NULL;

    NodeSsh *ssh = doctor->ssh[index] = ssh_open(node->target, &options, &node->error);
    if (ssh == NULL || !node_files_drift(ssh, &node->drift, &node->error))
        return;
    int64_t asked = clock_realtime();
    if (!ssh_script(ssh, "date +%s%6N", NULL, FACTS_SECONDS, &answer, &node->error))
        return;
    int64_t answered = clock_realtime(), clock = 0;
    parse_int64(g_strchomp(answer), 0, INT64_MAX, &clock);
    g_clear_pointer(&answer, g_free);
    if (!ssh_script(ssh, doctor->options->drift_only ? prepared : doctor_facts_script, args,
                    FACTS_SECONDS, &answer, &node->error))
        return;
    node->facts = doctor_facts_parse(answer);
    fact_put(node->facts, "asked", asked);
    fact_put(node->facts, "answered", answered);
    fact_put(node->facts, "clock", clock);
}

/* ---- about each other -------------------------------------------------------------------------
 */

static const char *
scheme_of(const DoctorNode *peer)
{
    if (*fact(peer, "port.16514") != '\0')
        return "qemu+tls";
    if (*fact(peer, "port.16509") != '\0')
        return "qemu+tcp";
    return fact_is(peer, "conf.listen_tls", "0") && fact_is(peer, "conf.listen_tcp", "0")
               ? "qemu+ssh"
               : "none";
}

/* What others may call it: the name that we were given, and the one that it has itself. */
static char *
names_of(const DoctorNode *peer)
{
    g_autofree char *numeric = address_normal(peer->name);
    const char *hostname = node_hostname(peer);

    if (numeric != NULL)
        return g_strdup(hostname);
    return g_str_equal(hostname, peer->name) || *hostname == '\0'
               ? g_strdup(peer->name)
               : g_strdup_printf("%s %s", peer->name, hostname);
}

static void
visit_peers(Doctor *doctor, unsigned index)
{
    DoctorNode *node = &doctor->nodes[index];
    g_autoptr(GPtrArray) args = g_ptr_array_new_with_free_func(g_free);
    unsigned peers[DOCTOR_PEERS_MAX], count = doctor_peers(index, doctor->n, peers);

    for (unsigned i = 0; i < count; i++) {
        const DoctorNode *peer = &doctor->nodes[peers[i]];
        if (peer->facts == NULL || *node_address(peer) == '\0')
            continue;
        g_ptr_array_add(args, g_strdup(scheme_of(peer)));
        g_ptr_array_add(args, g_strdup(peer->name));
        g_ptr_array_add(args, names_of(peer));
        g_ptr_array_add(args, g_strdup(node_address(peer)));
    }
    g_ptr_array_add(args, NULL);
    g_autoptr(GError) error = NULL;
    if (node->facts != NULL && args->len > 1 &&
        !ssh_script(doctor->ssh[index], doctor_peers_script, (const char *const *)args->pdata,
                    PEERS_SECONDS, &node->peers, &error))
        node->peers_error = g_strdup(error->message);
}

/* ---- bandwidth --------------------------------------------------------------------------------
 *
 * Both ends of a pair at the same time, in threads of their own. In a round no node is in two
 * pairs, so that no measurement disturbs another, and one thread uses an ssh connection. */

static char *
measure_port(const DoctorNode *node)
{
    int64_t port = fact_number(node, "qemu.migration_port_max",
                               MIGRATION_PORT_FIRST + MIGRATION_PORTS_LEAST - 1);
    return g_strdup_printf("%" PRId64, CLAMP(port, 1024, 65535));
}

typedef struct Sender {
    Doctor *doctor;
    unsigned from, to;
    char *line;
} Sender;

static void
pair_receive(void *opaque)
{
    const Sender *pair = opaque;
    const DoctorNode *to = &pair->doctor->nodes[pair->to], *from = &pair->doctor->nodes[pair->from];
    g_autofree char *port = measure_port(to);
    const char *const args[] = {node_address(to), port, node_address(from), NULL};

    /* That nothing came, the sender tells better. */
    ssh_script(pair->doctor->ssh[pair->to], doctor_receive_script, args, MEASURE_SECONDS, NULL,
               NULL);
}

static void
pair_send(void *opaque)
{
    Sender *pair = opaque;
    const DoctorNode *to = &pair->doctor->nodes[pair->to], *from = &pair->doctor->nodes[pair->from];
    g_autofree char *port = measure_port(to), *answer = NULL;
    const char *const args[] = {node_address(from), node_address(to), port, MEASURE_BYTES, NULL};
    g_autoptr(GError) error = NULL;

    if (ssh_script(pair->doctor->ssh[pair->from], doctor_send_script, args, MEASURE_SECONDS,
                   &answer, &error))
        pair->line = g_strdup_printf("speed %s yes %s\n", to->name, g_strchomp(answer));
    else
        pair->line = g_strdup_printf("speed %s no %s\n", to->name, error->message);
}

static void
pair_keep(Doctor *doctor, Sender *pair)
{
    DoctorNode *from = &doctor->nodes[pair->from];
    char *lines = g_strconcat(from->speed != NULL ? from->speed : "", pair->line, NULL);

    g_free(from->speed);
    g_free(pair->line);
    from->speed = lines;
}

/* Some pairs at a time, so that the threads are bounded here too. */
static void
pairs_measure(Doctor *doctor, Sender *pairs, unsigned n)
{
    pthread_t threads[DOCTOR_AT_ONCE];

    for (unsigned done = 0; done < n && !is_cancelled(doctor); done += DOCTOR_AT_ONCE / 2) {
        unsigned count = MIN(n - done, (unsigned)DOCTOR_AT_ONCE / 2);
        for (unsigned i = 0; i < count; i++) {
            threads[2 * i] = thread_start("receive", pair_receive, &pairs[done + i]);
            threads[2 * i + 1] = thread_start("send", pair_send, &pairs[done + i]);
        }
        for (unsigned i = 0; i < 2 * count; i++)
            pthread_join(threads[i], NULL);
        for (unsigned i = 0; i < count; i++)
            pair_keep(doctor, &pairs[done + i]);
    }
}

static bool
can_measure(const DoctorNode *node)
{
    return node->error == NULL && node->facts != NULL && *node_address(node) != '\0';
}

static void
bandwidth_measure(Doctor *doctor)
{
    g_autofree int *to = g_new0(int, doctor->n);
    g_autofree Sender *pairs = g_new0(Sender, doctor->n);

    for (unsigned round = 0; doctor_round(doctor->n, round, to); round++) {
        unsigned n = 0;
        for (unsigned i = 0; i < doctor->n; i++) {
            if (to[i] >= 0 && can_measure(&doctor->nodes[i]) && can_measure(&doctor->nodes[to[i]]))
                pairs[n++] = (Sender){.doctor = doctor, .from = i, .to = (unsigned)to[i]};
        }
        pairs_measure(doctor, pairs, n);
    }
}

/* ---- all of it --------------------------------------------------------------------------------
 */

static void
doctor_end(Doctor *doctor)
{
    for (unsigned i = 0; i < doctor->n; i++) {
        DoctorNode *node = &doctor->nodes[i];
        ssh_close(doctor->ssh[i]);
        g_clear_pointer(&node->facts, g_hash_table_unref);
        g_clear_error(&node->error);
        g_free(node->drift);
        g_free(node->peers);
        g_free(node->peers_error);
        g_free(node->speed);
    }
    g_free(doctor->nodes);
    g_free(doctor->ssh);
    pthread_mutex_destroy(&doctor->mutex);
}

/* Is a check wanted that only peers can answer? */
static bool
asks_peers(const DoctorOptions *options)
{
    static const char *const checks[] = {"reach",     "names",          "mtu",
                                         "plaintext", "authentication", NULL};

    for (const char *const *name = checks; *name != NULL; name++) {
        if (options->names == NULL || g_strv_contains(options->names, *name))
            return true;
    }
    return false;
}

GPtrArray *
doctor_run(const DoctorHost *hosts, unsigned n, const DoctorOptions *options, GError **err)
{
    Doctor doctor = {
        .nodes = g_new0(DoctorNode, n),
        .ssh = g_new0(NodeSsh *, n),
        .n = n,
        .options = options,
        .mutex = PTHREAD_MUTEX_INITIALIZER,
    };
    g_autoptr(GPtrArray) checks = g_ptr_array_new_with_free_func(check_free);

    for (unsigned i = 0; i < n; i++)
        doctor.nodes[i] = (DoctorNode){
            .name = hosts[i].name, .target = hosts[i].target, .address = hosts[i].address};
    visits_run(&doctor, visit_look);
    if (!options->drift_only) {
        if (asks_peers(options))
            visits_run(&doctor, visit_peers);
        if (options->bandwidth)
            bandwidth_measure(&doctor);
    }
    doctor_judge(doctor.nodes, n, options, checks);
    bool cancelled = is_cancelled(&doctor);
    doctor_end(&doctor);
    if (cancelled) {
        err_set(err, ERR_CANCELLED, "called off");
        return NULL;
    }
    return g_steal_pointer(&checks);
}
