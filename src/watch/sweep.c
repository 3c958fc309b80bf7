/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sweep.c: a node came (back): learn what it is, what it sees and what runs there */
#include "watch/sweep-priv.h"

#include <string.h>

#include "task/visibility.h"
#include "watch/fence-watch.h"

/* "physmem: Fix migration dirty bitmap coherency with TCG memory access" came with it. */
#define TCG_SAFE_QEMU 8002002

#define ASK_DEADLINE  (clock_monotonic() + 30 * USEC_PER_SEC)

static void
sweep_free(Sweep *sweep)
{
    host_facts_free(sweep->facts);
    g_clear_pointer(&sweep->domains, g_ptr_array_unref);
    g_clear_error(&sweep->storage_error);
    g_free(sweep->host);
    g_free(sweep->uri);
    g_free(sweep->virt_type);
    g_free(sweep);
}

/* ---- the host's row
 * --------------------------------------------------------------------------------------- */

Host *
sweep_host_row(StoreTx *tx, const Sweep *sweep)
{
    const StoreCond where[] = {
        {"name", STORE_EQ, sweep->host, 0}, {"uri", STORE_EQ, sweep->uri, 0}, {NULL}};

    return store_find(tx, &HOST, where, NULL);
}

/* Two names for one machine would let a guest "move" to where it is. */
static bool
same_node_twice(StoreTx *tx, const Host *host, const char *uuid, char **other)
{
    const StoreCond where[] = {
        {"libvirt_uuid", STORE_EQ, uuid, 0}, {"id", STORE_NE, host->id, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = store_list(tx, &HOST, &(StoreQuery){.where = where}, NULL);

    if (!rows || rows->len == 0)
        return false;
    *other = g_strdup(((Host *)g_ptr_array_index(rows, 0))->name);
    return true;
}

/* Was the host's machine taken for dead, and not seen to be rid of its guests since? A count that
 * cannot be had: as if it was. */
static bool
has_remains(StoreTx *tx, const Host *host)
{
    const StoreCond fences[] = {{"host", STORE_EQ, host->name, 0}, {NULL}};
    const StoreCond moves[] = {{"source_host", STORE_EQ, host->name, 0},
                               {"type", STORE_EQ, "evacuation", 0},
                               {"status", STORE_EQ, NULL, MIGRATION_DONE},
                               {NULL}};

    return store_count(tx, &FENCE, fences, NULL) != 0 ||
           store_count(tx, &MIGRATION, moves, NULL) != 0;
}

/* A URI that leads to another machine would have its guests taken for stopped, and started a second
 * time; and what was evacuated would be taken for gone, and be let into the storage again. It is
 * another one if its UUID is, and it has none of the guests that run on the host. */
static bool
is_other_machine(StoreTx *tx, const Sweep *sweep, const Host *host)
{
    const StoreCond where[] = {{"host", STORE_EQ, host->name, 0}, {NULL}};
    g_autoptr(GPtrArray) servers = NULL;
    bool misses;

    if (!host->libvirt_uuid || strcmp(host->libvirt_uuid, sweep->facts->libvirt_uuid) == 0)
        return false;
    misses = has_remains(tx, host);
    servers = store_list(tx, &SERVER, &(StoreQuery){.where = where}, NULL);
    for (guint i = 0; servers && i < servers->len; i++) {
        const Server *server = g_ptr_array_index(servers, i);

        if (server->vm_state != VM_ACTIVE && server->vm_state != VM_PAUSED)
            continue;
        if (sweep_find_domain(sweep, server->id))
            return false;
        misses = true;
    }
    return misses;
}

static bool
record_other_machine(StoreTx *tx, const Sweep *sweep, Host *host, GError **err)
{
    g_autofree char *reason = g_strdup_printf(
        "%s leads to another machine (host UUID %s) than the one on which its servers run (%s): "
        "give the right URI with `godwit host set`; if the machine was replaced, stop these "
        "servers, or, if they were evacuated, remove the host with force and add it again",
        host->uri, sweep->facts->libvirt_uuid, host->libvirt_uuid);

    if (host->state != HOST_DOWN)
        host->state_changed_at = clock_realtime();
    host->state = HOST_DOWN;
    host->storage_visible = false;
    text_set(&host->state_reason, reason);
    host->updated_at = clock_realtime();
    return store_update(tx, &HOST, host, err);
}

static bool
record_host(StoreTx *tx, void *opaque, GError **err)
{
    Sweep *sweep = opaque;
    const HostFacts *facts = sweep->facts;
    g_autoptr(Host) host = sweep_host_row(tx, sweep);
    g_autofree char *other = NULL;
    int64_t now = clock_realtime();

    sweep->is_other = !host || is_other_machine(tx, sweep, host);
    if (sweep->is_other)
        return !host || record_other_machine(tx, sweep, host, err);
    host->vcpus = facts->vcpus;
    host->memory_mb = facts->memory_mb;
    text_set(&host->cpu_info, facts->cpu_info);
    text_set(&host->hypervisor_cpu, facts->hypervisor_cpu);
    text_set(&host->cpu_models, facts->cpu_models);
    text_set(&host->virt_type, facts->virt_type);
    text_set(&host->libvirt_uuid, facts->libvirt_uuid);
    text_set(&host->encryption, facts->encryption);
    host->libvirt_version = facts->libvirt_version;
    host->qemu_version = facts->qemu_version;
    host->max_client_requests = facts->max_client_requests;
    host->disk_gb = sweep->disk_gb;
    host->disk_free_gb = sweep->disk_free_gb;
    host->storage_visible = sweep->storage_error == NULL;
    text_set(&host->storage_reason, sweep->storage_error ? sweep->storage_error->message : NULL);
    if (!host->facts_at && strcmp(facts->virt_type, "qemu") == 0 &&
        facts->qemu_version < TCG_SAFE_QEMU)
        log_event(LOG_LEVEL_WARNING, "watch",
                  "guests run under TCG here, and QEMU before 8.2.2 loses writes of a guest that "
                  "moves under TCG: "
                  "for tests only; with KVM it does not",
                  "host", sweep->host, NULL);
    host->facts_at = now;
    if (!host->started_at)
        host->started_at = now;
    if (host->state != HOST_UP)
        host->state_changed_at = now;
    host->state = HOST_UP;
    text_set(&host->state_reason, NULL);
    if (same_node_twice(tx, host, facts->libvirt_uuid, &other)) {
        g_autofree char *reason =
            g_strdup_printf("it is the same machine as %s (host UUID %s): give each node its own "
                            "host_uuid in libvirtd.conf, or remove one of them",
                            other, facts->libvirt_uuid);

        host->state = HOST_DOWN;
        text_set(&host->state_reason, reason);
        /* One guest would seem to run on both, and a copy that is none would be stopped. */
        sweep->is_other = true;
    }
    host->updated_at = now;
    return store_update(tx, &HOST, host, err);
}

static bool
record_gone(StoreTx *tx, void *opaque, GError **err)
{
    Sweep *sweep = opaque;
    g_autoptr(Host) host = sweep_host_row(tx, sweep);

    if (!host)
        return true;
    host->state = HOST_DOWN;
    host->state_changed_at = host->updated_at = clock_realtime();
    host->storage_visible = false;
    text_set(&host->state_reason, "the connection was lost");
    return store_update(tx, &HOST, host, err);
}

static bool
read_was_visible(StoreTx *tx, void *opaque, GError **err)
{
    Sweep *sweep = opaque;
    g_autoptr(Host) host = sweep_host_row(tx, sweep);

    sweep->was_visible = host && host->storage_visible;
    return true;
}

/* A node that has seen the storage since it was connected need not start a QEMU to show it again.
 */
static bool
storage_is_visible(Sweep *sweep)
{
    if (!sweep->is_new && !visibility_is_cheap(sweep->tasks) &&
        store_read(sweep->store, read_was_visible, sweep, NULL) && sweep->was_visible)
        return true;
    return visibility_prove(sweep->tasks, sweep->host, &sweep->storage_error);
}

static bool
ask_node(Sweep *sweep, GError **err)
{
    sweep->facts = host_facts(sweep->hosts, sweep->host, ASK_DEADLINE, err);
    if (!sweep->facts)
        return false;
    hosts_set_work_limit(sweep->hosts, sweep->host, MAX(1, sweep->facts->max_client_requests - 1));
    if (storage_is_visible(sweep))
        visibility_capacity(sweep->tasks, sweep->host, &sweep->disk_gb, &sweep->disk_free_gb, NULL);
    else
        log_event(LOG_LEVEL_WARNING, "watch", "host does not see the storage", "host", sweep->host,
                  "reason", sweep->storage_error->message, NULL);
    /* A deadline of its own: a proof that hangs until its end is no reason to know nothing else. */
    sweep->domains = host_domains(sweep->hosts, sweep->host, ASK_DEADLINE, err);
    return sweep->domains != NULL;
}

/* It may have gone while we wrote that it is there; the event that said so may have been recorded
 * before. */
static bool
still_connected(Sweep *sweep, GError **err)
{
    if (hosts_is_connected(sweep->hosts, sweep->host))
        return true;
    store_write(sweep->store, record_gone, sweep, NULL);
    return err_set(err, ERR_UNREACHABLE, "%s went away while it was asked", sweep->host);
}

/* For tasks that wait for the node: that it is there was told before anything was known of it. */
static void
tell_tasks(const Sweep *sweep)
{
    const HostEvent event = {
        .kind = HOST_EVENT_CONNECTED, .host = sweep->host, .at = clock_monotonic()};

    if (sweep->is_new)
        task_engine_host_event(sweep->tasks, &event);
}

static void
sweep_thread(void *opaque)
{
    Sweep *sweep = opaque;
    g_autoptr(GError) error = NULL;

    if (!ask_node(sweep, &error) || !store_write(sweep->store, record_host, sweep, &error) ||
        !store_write(sweep->store, sweep_compare_domains, sweep, &error) ||
        !still_connected(sweep, &error))
        log_event(LOG_LEVEL_WARNING, "watch",
                  "cannot take stock of a host; it is tried again at its next connect", "host",
                  sweep->host, "reason", error->message, NULL);
    else
        log_event(LOG_LEVEL_DEBUG, "watch", "took stock of a host", "host", sweep->host, "channel",
                  sweep->facts->encryption, "storage",
                  sweep->storage_error ? "not visible" : "visible", NULL);
    tell_tasks(sweep);
    /* Before a reconciliation does the same: its record says what was found. */
    if (!error && !sweep->is_other)
        fence_watch_connected(sweep->tasks, sweep->host);
    if (sweep->submitted)
        task_engine_wake(sweep->tasks);
    sweep_free(sweep);
}

void
sweep_start(Store *store, TaskEngine *tasks, Hosts *hosts, const char *host, const char *uri,
            const char *virt_type, bool is_new)
{
    Sweep *sweep = g_new0(Sweep, 1);

    sweep->store = store;
    sweep->tasks = tasks;
    sweep->hosts = hosts;
    sweep->host = g_strdup(host);
    sweep->uri = g_strdup(uri);
    sweep->virt_type = g_strdup(virt_type);
    sweep->is_new = is_new;
    sweep_start_thread("sweep", sweep_thread, sweep);
}

/* ---- threads
 * --------------------------------------------------------------------------------------------- */

static pthread_mutex_t running_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t running_changed = PTHREAD_COND_INITIALIZER;
static int running;

typedef struct Work {
    ThreadFn fn;
    void *opaque;
} Work;

static void
work_thread(void *opaque)
{
    Work *work = opaque;

    work->fn(work->opaque);
    g_free(work);
    WITH_MUTEX(&running_mutex);
    running--;
    pthread_cond_broadcast(&running_changed);
}

void
sweep_start_thread(const char *name, ThreadFn fn, void *opaque)
{
    Work *work = g_new0(Work, 1);

    *work = (Work){fn, opaque};
    pthread_mutex_lock(&running_mutex);
    running++;
    pthread_mutex_unlock(&running_mutex);
    thread_start_detached(name, work_thread, work);
}

void
sweep_wait_all(void)
{
    pthread_mutex_lock(&running_mutex);
    while (running > 0)
        pthread_cond_wait(&running_changed, &running_mutex);
    pthread_mutex_unlock(&running_mutex);
}
