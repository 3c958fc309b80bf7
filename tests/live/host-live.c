/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host-live.c: the libvirt driver against real nodes: CPUs, a guest's life, moves, files. Prints
 * TAP.
 *
 * usage: host-live DIRECTORY IMAGE URI URI URI [ROUNDS]
 *   DIRECTORY is shared: the same path on this machine and on all three nodes; IMAGE is a raw disk
 * image that boots. The main thread runs libvirt's event loop, as in the daemon; a second thread
 * does the work. */
#include "host/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_HOSTS    3
#define N_EVENTS   4096
#define IMAGE_MOST ((size_t)1 << 30)
#define CLASSIC    (MIGRATE_UNDEFINE_SOURCE | MIGRATE_PEER2PEER | MIGRATE_LIVE | MIGRATE_TUNNELLED)
#define OWN        (MIGRATE_PERSIST_DEST | MIGRATE_UNDEFINE_SOURCE | MIGRATE_UNSAFE)
#define DEFAULT    (MIGRATE_PEER2PEER | MIGRATE_LIVE | OWN)

typedef struct Seen {
    int node;
    HostEventKind kind;
    DomainChange change;
    int64_t at;
    JobStats stats;
} Seen;

static const HostOps *const ops = &host_libvirt_ops;
static HostConn *conns[N_HOSTS];
static const char *const names[N_HOSTS] = {"host1", "host2", "host3"};
static char *directory, *image_path, *uris[N_HOSTS], *uuid;
static int64_t rounds = 5;
static GMainLoop *loop;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived;
static Seen events[N_EVENTS];
static size_t n_events;

static int n_checks, n_failed;

static bool
check(bool ok, const GError *error, const char *text)
{
    n_checks++;
    n_failed += !ok;
    printf("%sok %d - %s\n", ok ? "" : "not ", n_checks, text);
    if (!ok && error)
        printf("# %s: %s\n", err_code_name(err_code(error)), error->message);
    fflush(stdout);
    return ok;
}

static void
on_event(HostEvent *event, void *opaque)
{
    WITH_MUTEX(&lock);
    if (g_strcmp0(event->uuid, uuid) == 0 && n_events < N_EVENTS) {
        int node = 0;
        while (node < N_HOSTS - 1 && strcmp(names[node], event->host) != 0)
            node++;
        events[n_events++] = (Seen){node, event->kind, event->change, event->at, event->stats};
        pthread_cond_broadcast(&arrived);
    }
    host_event_free(event);
}

static void
on_closed(const char *why, void *opaque)
{
    printf("# connection lost: %s\n", why);
}

static Seen *
find(size_t from, int node, HostEventKind kind, DomainChange change)
{
    for (size_t i = from; i < n_events; i++) {
        if (events[i].node == node && events[i].kind == kind &&
            (kind != HOST_EVENT_DOMAIN || events[i].change == change))
            return &events[i];
    }
    return NULL;
}

static Seen *
wait_for(size_t from, int node, HostEventKind kind, DomainChange change, int64_t seconds)
{
    WITH_MUTEX(&lock);
    int64_t deadline = clock_monotonic() + seconds * USEC_PER_SEC;
    Seen *seen;
    while (!(seen = find(from, node, kind, change)) && cond_wait_until(&arrived, &lock, deadline)) {
    }
    return seen;
}

static size_t
mark(void)
{
    WITH_MUTEX(&lock);
    return n_events;
}

/* ---- CPUs ------------------------------------------------------------------------------- */
static HostFacts *facts[N_HOSTS];

static void
test_facts(void)
{
    for (int i = 0; i < N_HOSTS; i++) {
        g_autoptr(GError) error = NULL;
        int64_t start = clock_monotonic();
        facts[i] = ops->facts(conns[i], "kvm", &error);
        if (!check(facts[i] != NULL, error, "facts"))
            exit(1);
        printf("# %s: %s %s libvirt %" PRId64 " qemu %" PRId64 " virt %s %s, %" PRId64
               " vcpus %" PRId64 " MiB, models %s, %.1f ms\n",
               names[i], facts[i]->hostname, facts[i]->libvirt_uuid, facts[i]->libvirt_version,
               facts[i]->qemu_version, facts[i]->virt_type, facts[i]->encryption, facts[i]->vcpus,
               facts[i]->memory_mb, facts[i]->cpu_models,
               (double)(clock_monotonic() - start) / 1000);
    }
    check(strcmp(facts[0]->libvirt_uuid, facts[1]->libvirt_uuid) != 0, NULL,
          "the nodes have their own UUIDs");
}

static char *
choose(CpuMode mode, const char *const *models, const char *const *flags, char **limit,
       GError **error)
{
    const char *cpus[N_HOSTS];
    for (int i = 0; i < N_HOSTS; i++)
        cpus[i] = facts[i]->hypervisor_cpu;
    LibvirtSettings settings = {.virt_type = facts[0]->virt_type,
                                .cpu_mode = mode,
                                .cpu_models = (char **)models,
                                .cpu_extra_flags = (char **)flags};
    return ops->cpu_choose(conns[0], &settings, names, cpus, N_HOSTS, limit, error);
}

static char *
test_cpu(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *limit = NULL;
    char *baseline = choose(CPU_MODE_BASELINE, NULL, NULL, &limit, &error);
    check(baseline && limit, error, "baseline over all nodes");
    printf("# %s\n", limit);
    g_clear_error(&error);
    if (strcmp(facts[0]->virt_type, "qemu") == 0) {
        bool fits = ops->cpu_compare(conns[1], "SandyBridge", "qemu", NULL, &error);
        check(!fits && err_is(error, ERR_UNSUPPORTED) && strstr(error->message, "x2apic") &&
                  strstr(error->message, "tsc-deadline"),
              error, "SandyBridge is refused with the missing features named");
        printf("# %s\n", error ? error->message : "-");
        g_clear_error(&error);
        const char *const models[] = {"SandyBridge", "kvm64", NULL}, *const only[] = {"SandyBridge",
                                                                                      NULL};
        g_autofree char *first = choose(CPU_MODE_CUSTOM, only, NULL, NULL, &error);
        check(!first && err_is(error, ERR_UNSUPPORTED) && strstr(error->message, "x2apic"), error,
              "custom: a model that no node can give is refused");
        g_clear_error(&error);
        g_clear_pointer(&limit, g_free);
        g_autofree char *second = choose(CPU_MODE_CUSTOM, models, NULL, &limit, &error);
        check(second && strstr(second, "kvm64"), error, "custom: the first usable model wins");
        printf("# %s\n", limit);
        g_clear_error(&error);
        const char *const flags[] = {"+x2apic", NULL};
        g_autofree char *flagged = choose(CPU_MODE_CUSTOM, models, flags, NULL, &error);
        check(!flagged && err_is(error, ERR_UNSUPPORTED), error, "custom: an extra flag counts");
        g_clear_error(&error);
    }
    check(ops->cpu_compare(conns[2], "kvm64", facts[2]->virt_type, NULL, &error), error,
          "kvm64 fits");
    g_clear_error(&error);
    check(!ops->cpu_compare(conns[2], "NoSuchModel", facts[2]->virt_type, NULL, &error) &&
              err_is(error, ERR_UNSUPPORTED),
          error, "an unknown model is refused");
    return baseline;
}

/* Nodes that differ, on paper: the limit names who lacks what. */
static void
test_cpu_limit(void)
{
    const char *const cpus[N_HOSTS] = {
        "<cpu mode='custom' match='exact'><model fallback='forbid'>Nehalem</model></cpu>",
        "<cpu mode='custom' match='exact'><model fallback='forbid'>Westmere</model></cpu>",
        ("<cpu mode='custom' match='exact'><model fallback='forbid'>Nehalem</model>"
         "<feature policy='disable' name='sse4.2'/></cpu>"),
    };
    const char *const models[] = {"Nehalem", "Penryn", NULL};
    LibvirtSettings settings = {.virt_type = facts[0]->virt_type, .cpu_models = (char **)models};
    g_autoptr(GError) error = NULL;
    g_autofree char *limit = NULL;
    settings.cpu_mode = CPU_MODE_BASELINE;
    g_autofree char *common =
        ops->cpu_choose(conns[0], &settings, names, cpus, N_HOSTS, &limit, &error);
    check(common && !strstr(common, "Nehalem") && strstr(limit, "host1 lacks aes") &&
              strstr(limit, "host3 lacks aes, sse4.2") && !strstr(limit, "host2"),
          error, "unequal nodes: the limit names node and features");
    printf("# %s\n", limit);
    g_clear_error(&error);
    g_clear_pointer(&limit, g_free);
    settings.cpu_mode = CPU_MODE_CUSTOM;
    g_autofree char *custom =
        ops->cpu_choose(conns[0], &settings, names, cpus, N_HOSTS, &limit, &error);
    check(custom && strstr(custom, "Penryn") && strstr(limit, "host3") && strstr(limit, "sse4.2"),
          error, "unequal nodes: a model that one of them lacks is passed over");
    printf("# %s\n", limit);
}

/* ---- a guest's life --------------------------------------------------------------------- */
static bool
copy_image(const char *to)
{
    g_autofree char *contents = NULL;
    size_t size;
    g_autoptr(GError) error = NULL;
    return check(file_read_bounded(image_path, IMAGE_MOST, &contents, &size, &error) &&
                     file_write_atomically(to, contents, size, 0600, &error),
                 error, "copy the image");
}

static bool
state_is(int node, DomainState state, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainInfo) info = ops->domain_probe(conns[node], uuid, &error);
    bool ok = check(info && info->state == state, error, text);
    if (info && !ok)
        printf("# it is %s\n", domain_state_names[info->state]);
    return ok;
}

static bool
test_start(const ServerSpec *spec, char **machine, char **cpu)
{
    g_autoptr(GError) error = NULL;
    if (!check(ops->domain_start(conns[0], spec, machine, cpu, &error), error, "start on host1"))
        return false;
    printf("# machine %s\n", *machine);
    check(ops->domain_start(conns[0], spec, NULL, NULL, &error), error, "start again is success");
    g_clear_error(&error);
    g_autoptr(DomainInfo) info = ops->domain_probe(conns[0], uuid, &error);
    check(info && info->state == DOMAIN_RUNNING && info->persistent && info->ours &&
              !info->job_active,
          error, "it runs, persistent, ours, no job");
    g_clear_error(&error);
    g_autofree char *live = ops->domain_cpu(conns[0], uuid, &error);
    check(live != NULL, error, "live CPU");
    g_clear_error(&error);
    check(live && ops->cpu_compare(conns[1], live, spec->virt_type, *machine, &error), error,
          "the live CPU fits host2's hypervisor");
    g_clear_error(&error);
    g_autoptr(GPtrArray) all = ops->domains(conns[0], &error);
    bool listed = false;
    for (unsigned i = 0; all && i < all->len; i++)
        listed |= strcmp(((DomainInfo *)all->pdata[i])->uuid, uuid) == 0;
    check(listed, error, "the list of domains has it");
    return true;
}

static bool
console_grows(int node, const char *path, const char *text)
{
    int64_t deadline = clock_monotonic() + 30 * USEC_PER_SEC;
    size_t first = 0;
    g_autoptr(GError) error = NULL;
    while (clock_monotonic() < deadline) {
        g_autoptr(GString) contents = g_string_new(NULL);
        g_clear_error(&error);
        if (ops->file_read(conns[node], path, 0, 1 << 20, contents, &error) &&
            contents->len > first) {
            if (first)
                return check(true, NULL, text);
            first = contents->len;
        }
        g_usleep(300000);
    }
    return check(false, error, text);
}

/* ---- moves ------------------------------------------------------------------------------ */
typedef struct Move {
    int from;
    MoveSpec spec;
    bool ok;
    GError *error;
    int64_t started, returned;
} Move;

static void
move_run(void *opaque)
{
    Move *move = opaque;
    move->started = clock_monotonic();
    move->ok = ops->migrate(conns[move->from], &move->spec, &move->error);
    move->returned = clock_monotonic();
}

typedef struct Figures {
    double resumed, returned, gap, downtime;
} Figures;

static bool
test_move(int from, int to, unsigned flags, int64_t downtime, Figures *figures, const char *text)
{
    size_t start = mark();
    Move move = {
        .from = from,
        .spec = {.uuid = uuid, .dest_uri = uris[to], .flags = flags, .downtime_ms = downtime}};
    move_run(&move);
    g_autoptr(GError) error = move.error;
    if (!check(move.ok, error, text))
        return false;
    Seen *completed = wait_for(start, from, HOST_EVENT_JOB_COMPLETED, 0, 5);
    Seen *stopped = wait_for(start, from, HOST_EVENT_DOMAIN, DOMAIN_STOPPED_MIGRATED, 5);
    Seen *suspended = find(start, from, HOST_EVENT_DOMAIN, DOMAIN_SUSPENDED_MIGRATED);
    Seen *incoming = wait_for(start, to, HOST_EVENT_DOMAIN, DOMAIN_STARTED_INCOMING, 5);
    Seen *resumed = wait_for(start, to, HOST_EVENT_DOMAIN, DOMAIN_RESUMED_MIGRATED, 5);
    bool all =
        completed && stopped && suspended && resumed && find(start, from, HOST_EVENT_ITERATION, 0);
    check(all, NULL, "the events of a move came, iterations included");
    check(all && suspended->at <= resumed->at && resumed->at <= stopped->at, NULL,
          "suspended, then resumed, then stopped");
    check(all && completed->stats.completed && completed->stats.downtime_ms >= 0 &&
              completed->stats.memory_total > 0,
          NULL, "the job-completed event carries the statistics");
    JobStats stats;
    check(ops->job_stats(conns[to], uuid, true, &stats, &move.error) && stats.completed, move.error,
          "the destination keeps the final statistics");
    state_is(to, DOMAIN_RUNNING, "it runs on the destination");
    state_is(from, DOMAIN_ABSENT, "the source is gone");
    g_autoptr(DomainInfo) info = ops->domain_probe(conns[to], uuid, NULL);
    check(info && info->persistent && info->ours, NULL,
          "the definition persists on the destination and is ours");
    if (!all)
        return false;
    *figures = (Figures){
        (double)(resumed->at - move.started) / 1e6, (double)(move.returned - move.started) / 1e6,
        (double)(resumed->at - suspended->at) / 1e3, (double)completed->stats.downtime_ms};
    printf("# %s: resumed %.2f s, returned %.2f s, suspended to resumed %.0f ms, downtime %.0f ms, "
           "iterations %" PRId64 "%s\n",
           text, figures->resumed, figures->returned, figures->gap, figures->downtime,
           completed->stats.iteration, incoming ? "" : " (no started-incoming event)");
    return true;
}

/* In mid-transfer: what do both nodes say; then the abort. */
static void
test_abort(int from, int to)
{
    size_t start = mark();
    Move move = {.from = from,
                 .spec = {.uuid = uuid,
                          .dest_uri = uris[to],
                          .flags = DEFAULT,
                          .downtime_ms = 30,
                          .bandwidth_mib_s = 1}};
    pthread_t thread = thread_start("move", move_run, &move);
    bool began = wait_for(start, from, HOST_EVENT_ITERATION, 0, 20) != NULL;
    check(began, NULL, "a slow move is under way");
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainInfo) source = ops->domain_probe(conns[from], uuid, &error);
    check(source && source->state == DOMAIN_RUNNING && source->job_active, error,
          "source: running, with a job");
    g_clear_error(&error);
    g_autoptr(DomainInfo) dest = ops->domain_probe(conns[to], uuid, &error);
    check(dest && dest->state == DOMAIN_PAUSED_INCOMING && dest->job_active, error,
          "destination: paused, incoming");
    if (dest)
        printf("# destination: %s, persistent %d\n", domain_state_names[dest->state],
               dest->persistent);
    g_clear_error(&error);
    check(!ops->resume(conns[to], uuid, &error) && err_is(error, ERR_CONFLICT), error,
          "the incoming guest cannot be resumed by hand");
    g_clear_error(&error);
    JobStats stats = {0};
    check(ops->job_stats(conns[from], uuid, false, &stats, &error) && stats.active &&
              stats.memory_remaining > 0,
          error, "statistics of the running job");
    g_clear_error(&error);
    check(ops->set_downtime(conns[from], uuid, 50, &error), error,
          "downtime limit in mid-transfer");
    g_clear_error(&error);
    check(ops->set_bandwidth(conns[from], uuid, 2, &error), error, "bandwidth in mid-transfer");
    g_clear_error(&error);
    check(!ops->job_abort(conns[to], uuid, &error) && err_is(error, ERR_CONFLICT), error,
          "the destination's half cannot be aborted");
    g_clear_error(&error);
    check(ops->job_abort(conns[from], uuid, &error), error, "abort");
    pthread_join(thread, NULL);
    check(!move.ok && err_is(move.error, ERR_CANCELLED), move.error,
          "the aborted call says cancelled");
    printf("# %s\n", move.error ? move.error->message : "-");
    g_clear_error(&move.error);
    state_is(from, DOMAIN_RUNNING, "it runs on the source");
    state_is(to, DOMAIN_ABSENT, "the destination is clean");
    g_clear_error(&error);
    check(ops->job_abort(conns[from], uuid, &error), error, "abort without a job is success");
}

typedef struct Watch {
    int node;
    bool stop; /* atomic */
    bool failed;
    GString *
        states; /* each state once, as they followed each other: "running paused-migrated absent" */
} Watch;

static void
watch_run(void *opaque)
{
    Watch *watch = opaque;
    int last = -1;
    while (!__atomic_load_n(&watch->stop, __ATOMIC_ACQUIRE)) {
        g_autoptr(DomainInfo) info = ops->domain_probe(conns[watch->node], uuid, NULL);
        watch->failed |= !info;
        if (info && (int)info->state != last) {
            g_string_append_printf(watch->states, "%s%s", last < 0 ? "" : " ",
                                   domain_state_names[info->state]);
            last = (int)info->state;
        }
    }
}

/* Probes at every moment of a move: the guest never seems to run on both nodes, and neither seems
 * to be what it is not. */
static bool
test_probe_all_through(int from, int to)
{
    Watch watches[] = {{.node = from, .states = g_string_new(NULL)},
                       {.node = to, .states = g_string_new(NULL)}};
    pthread_t threads[2];
    Move move = {.from = from,
                 .spec = {.uuid = uuid, .dest_uri = uris[to], .flags = DEFAULT, .downtime_ms = 30}};
    for (int i = 0; i < 2; i++)
        threads[i] = thread_start("watch", watch_run, &watches[i]);
    g_usleep(100000);
    move_run(&move);
    g_usleep(100000);
    for (int i = 0; i < 2; i++) {
        __atomic_store_n(&watches[i].stop, true, __ATOMIC_RELEASE);
        pthread_join(threads[i], NULL);
    }
    check(move.ok && !watches[0].failed && !watches[1].failed, move.error,
          "move while both nodes are probed");
    const char *source = watches[0].states->str, *dest = watches[1].states->str;
    check(strcmp(source, "running paused-migrated absent") == 0 ||
              strcmp(source, "running absent") == 0,
          NULL, "the source: running, paused by the move, absent");
    check(strcmp(dest, "absent paused-incoming running") == 0, NULL,
          "the destination: absent, incoming, running");
    printf("# source: %s; destination: %s\n", source, dest);
    for (int i = 0; i < 2; i++)
        g_string_free(watches[i].states, TRUE);
    g_clear_error(&move.error);
    return move.ok;
}

static int
compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double
median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_double);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static int
test_moves(void)
{
    Figures figures;
    if (!test_move(0, 1, CLASSIC | OWN, 0, &figures, "move with the classic flags, tunnelled"))
        return 0;
    test_abort(1, 2);
    if (!test_probe_all_through(1, 0) || !test_probe_all_through(0, 1))
        return 0;
    double resumed[64], returned[64], gap[64];
    int at = 1;
    size_t n = 0;
    for (; n < (size_t)rounds; n++) {
        int to = at == 2 ? 1 : 2;
        if (!test_move(at, to, DEFAULT, 30, &figures, "move with the default flags, 30 ms"))
            break;
        at = to;
        resumed[n] = figures.resumed;
        returned[n] = figures.returned;
        gap[n] = figures.gap;
        g_usleep(500000);
    }
    if (n > 0)
        printf("# medians of %zu: resumed %.2f s, returned %.2f s, suspended to resumed %.0f ms\n",
               n, median(resumed, n), median(returned, n), median(gap, n));
    return at;
}

/* ---- files ------------------------------------------------------------------------------ */
static void
test_files(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *nonce = random_token(32);
    g_autofree char *path = g_strdup_printf("%s/nonce-%s", directory, uuid);
    g_autofree char *absent = g_strdup_printf("%s/absent-%s", directory, uuid);
    g_autofree char *nowhere = g_strdup_printf("%s/no-such-directory/x", directory);
    g_autoptr(GString) read = g_string_new(NULL);
    int64_t start = clock_monotonic();
    check(ops->file_write(conns[0], path, nonce, strlen(nonce), &error), error,
          "write a nonce on host1");
    g_clear_error(&error);
    int64_t written = clock_monotonic();
    check(ops->file_read(conns[1], path, 0, 4096, read, &error) && strcmp(read->str, nonce) == 0,
          error, "read it on host2");
    printf("# write %.0f ms, read %.0f ms\n", (double)(written - start) / 1e3,
           (double)(clock_monotonic() - written) / 1e3);
    g_clear_error(&error);
    g_string_truncate(read, 0);
    check(ops->file_read(conns[2], path, 3, 5, read, &error) &&
              strncmp(read->str, nonce + 3, 5) == 0 && read->len == 5,
          error, "read a part of it on host3");
    g_clear_error(&error);
    g_string_truncate(read, 0);
    check(ops->file_read(conns[2], path, 100000, 5, read, &error) && read->len == 0, error,
          "nothing beyond its end");
    g_clear_error(&error);
    check(ops->file_write(conns[2], path, "short", 5, &error), error, "write it anew on host3");
    g_clear_error(&error);
    check(ops->file_read(conns[0], path, 0, 4096, read, &error) && strcmp(read->str, "short") == 0,
          error, "host1 sees the new contents, and nothing of the old");
    g_clear_error(&error);
    check(ops->file_write(conns[2], path, "", 0, &error), error, "an empty file");
    g_clear_error(&error);
    check(!ops->file_read(conns[0], absent, 0, 4096, read, &error) && err_is(error, ERR_NOT_FOUND),
          error, "an absent file is not found");
    g_clear_error(&error);
    check(!ops->file_read(conns[0], nowhere, 0, 4096, read, &error) && err_is(error, ERR_NOT_FOUND),
          error, "an absent directory is not found");
    g_clear_error(&error);
    check(ops->file_delete(conns[1], path, &error) && ops->file_delete(conns[1], path, &error) &&
              ops->file_delete(conns[1], nowhere, &error),
          error, "delete, and delete again");
    g_clear_error(&error);
    int64_t total = 0, free_bytes = 0;
    check(ops->file_system(conns[1], directory, &total, &free_bytes, &error) &&
              total > free_bytes && free_bytes > 0,
          error, "size of the file system");
    g_clear_error(&error);
    check(ops->file_system(conns[1], image_path, &total, &free_bytes, &error) ||
              err_is(error, ERR_NOT_FOUND),
          error, "size by the path of a file");
}

static void
test_end(int at, const ServerSpec *spec, const char *machine, const char *cpu)
{
    g_autoptr(GError) error = NULL;
    check(ops->pause(conns[at], uuid, &error), error, "pause");
    g_clear_error(&error);
    state_is(at, DOMAIN_PAUSED, "it is paused");
    check(ops->resume(conns[at], uuid, &error) && ops->resume(conns[at], uuid, &error), error,
          "resume, twice");
    g_clear_error(&error);
    check(!ops->domain_undefine(conns[at], uuid, &error) && err_is(error, ERR_CONFLICT), error,
          "a running domain is not undefined");
    g_clear_error(&error);
    size_t start = mark();
    check(ops->domain_shutdown(conns[at], uuid, &error), error, "ask it to power off");
    g_clear_error(&error);
    if (!wait_for(start, at, HOST_EVENT_DOMAIN, DOMAIN_STOPPED_SHUTDOWN, 20)) {
        printf("# the guest does not power off by itself within 20 s\n");
        check(ops->domain_destroy(conns[at], uuid, &error), error, "power off");
        g_clear_error(&error);
    }
    state_is(at, DOMAIN_SHUTOFF, "it is off");
    check(ops->domain_shutdown(conns[at], uuid, &error) &&
              ops->domain_destroy(conns[at], uuid, &error),
          error, "off again is success");
    g_clear_error(&error);
    ServerSpec pinned = *spec;
    pinned.machine = (char *)machine;
    pinned.cpu_xml = (char *)cpu;
    check(ops->domain_start(conns[at], &pinned, NULL, NULL, &error), error,
          "start with the machine and CPU that libvirt made of it");
    g_clear_error(&error);
    start = mark();
    check(ops->domain_destroy(conns[at], uuid, &error), error, "power off now");
    g_clear_error(&error);
    check(wait_for(start, at, HOST_EVENT_DOMAIN, DOMAIN_STOPPED_DESTROYED, 5) != NULL, NULL,
          "the event says so");
    check(ops->domain_undefine(conns[at], uuid, &error) &&
              ops->domain_undefine(conns[at], uuid, &error),
          error, "undefine, twice");
    g_clear_error(&error);
    state_is(at, DOMAIN_ABSENT, "it is gone");
}

static void
test_connections(void)
{
    g_autoptr(GError) error = NULL;
    HostConn *conn =
        ops->open(NULL, "nowhere", "qemu+tcp://127.0.0.1:1/system", NULL, NULL, NULL, &error);
    check(!conn && err_is(error, ERR_UNREACHABLE), error, "nobody listens: unreachable");
    for (int i = 0; i < 20; i++) {
        conn = ops->open(NULL, "host1", uris[0], on_event, on_closed, NULL, NULL);
        if (conn)
            ops->close(conn);
    }
    check(conn != NULL, NULL, "open and close, twenty times");
}

static void
clean_up(const char *disk, const char *console)
{
    for (int i = 0; i < N_HOSTS; i++) {
        ops->domain_destroy(conns[i], uuid, NULL);
        ops->domain_undefine(conns[i], uuid, NULL);
        ops->close(conns[i]);
        host_facts_free(facts[i]);
    }
    unlink(disk);
    unlink(console);
}

static void
run(void *opaque)
{
    g_autofree char *disk = g_strdup_printf("%s/%s.img", directory, uuid);
    g_autofree char *console = g_strdup_printf("%s/%s.console", directory, uuid);
    for (int i = 0; i < N_HOSTS; i++) {
        g_autoptr(GError) error = NULL;
        conns[i] = ops->open(NULL, names[i], uris[i], on_event, on_closed, NULL, &error);
        if (!check(conns[i] != NULL, error, "connect"))
            exit(1);
    }
    test_facts();
    test_connections();
    g_autofree char *baseline = test_cpu();
    test_cpu_limit();
    test_files();
    DiskSpec disks[] = {{.source = disk, .format = "raw", .serial = "live"}};
    NicSpec nics[] = {
        {.mac_address = "52:54:00:4c:56:01", .bridge = "br0", .port_id = "port-live", .mtu = 1400}};
    ServerSpec spec = {.uuid = uuid,
                       .domain_name = "host-live",
                       .title = "host-live <&> \"test\"",
                       .virt_type = facts[0]->virt_type,
                       .machine = "pc",
                       .cpu_xml = baseline,
                       .vcpus = 1,
                       .ram_mb = 256,
                       .console_path = console,
                       .disks = disks,
                       .n_disks = 1,
                       .nics = nics,
                       .n_nics = 1};
    g_autofree char *machine = NULL, *cpu = NULL;
    if (copy_image(disk) && test_start(&spec, &machine, &cpu)) {
        console_grows(2, console, "the console, read through another node, grows");
        int at = test_moves();
        console_grows(0, console, "the console still grows after the moves");
        test_end(at, &spec, machine, cpu);
    }
    clean_up(disk, console);
    printf("1..%d\n", n_checks);
    g_main_loop_quit(loop);
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    if (argc < 3 + N_HOSTS ||
        (argc > 3 + N_HOSTS && !parse_int64(argv[3 + N_HOSTS], 0, 64, &rounds))) {
        fprintf(stderr, "usage: host-live DIRECTORY IMAGE URI URI URI [ROUNDS]\n");
        return 2;
    }
    directory = argv[1];
    image_path = argv[2];
    for (int i = 0; i < N_HOSTS; i++)
        uris[i] = argv[3 + i];
    uuid = uuid_new();
    cond_init_monotonic(&arrived);
    if (!host_libvirt_init(&error)) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    loop = g_main_loop_new(NULL, FALSE);
    pthread_t thread = thread_start("test", run, NULL);
    g_main_loop_run(loop);
    pthread_join(thread, NULL);
    /* let libvirt free on the loop what close() left to it */
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    g_main_loop_unref(loop);
    g_free(uuid);
    return n_failed ? 1 : 0;
}
