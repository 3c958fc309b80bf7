/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* watch.c: the recorder
 *
 * One thread takes events from a mailbox and writes what they mean into the store, in the order in
 * which they came. What needs questions to a node (the sweep after a connect) runs on a thread of
 * its own per node and posts nothing back: it writes rows too. Watch never acts on a node; where
 * something must be done it submits a reconciliation task. While a task works on a server
 * (task_state is set) its states are the task's business and events only pass through. */
#include "watch/watch.h"

#include <string.h>

#include "watch/fence-watch.h"
#include "watch/orphan-watch.h"
#include "watch/sweep.h"

struct Watch {
    Store *store;
    TaskEngine *tasks;
    Hosts *hosts;
    char *virt_type;
    Mailbox *box; /* HostEvent *, or one of the marks */
    pthread_t thread;
    bool running;
    GHashTable *known; /* name → uri, of the hosts that Hosts keeps */
    OrphanWatch *orphans;
    FenceWatch *fences;
};

static HostEvent hosts_changed_mark, sweep_mark;

static void
message_free(gpointer message)
{
    if (message != &hosts_changed_mark && message != &sweep_mark)
        host_event_free(message);
}

Watch *
watch_new(const WatchConfig *config)
{
    Watch *watch = g_new0(Watch, 1);

    watch->store = config->store;
    watch->tasks = config->tasks;
    watch->hosts = config->hosts;
    watch->virt_type = g_strdup(config->virt_type);
    watch->box = mailbox_new(65536, message_free);
    watch->known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    watch->orphans = orphan_watch_new(config->tasks);
    watch->fences = fence_watch_new(config->tasks);
    return watch;
}

void
watch_free(Watch *watch)
{
    if (!watch)
        return;
    watch_stop(watch);
    mailbox_free(watch->box);
    g_hash_table_unref(watch->known);
    orphan_watch_free(watch->orphans);
    fence_watch_free(watch->fences);
    g_free(watch->virt_type);
    g_free(watch);
}

/* ---- the set of hosts
 * --------------------------------------------------------------------------------- */

static bool
read_hosts(StoreTx *tx, void *opaque, GError **err)
{
    return (*(GPtrArray **)opaque = store_list(tx, &HOST, NULL, err)) != NULL;
}

static void
follow_hosts(Watch *watch)
{
    g_autoptr(GPtrArray) rows = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(GHashTable) wanted = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTableIter iter;
    gpointer name;

    if (!store_read(watch->store, read_hosts, &rows, &error)) {
        log_event(LOG_LEVEL_ERROR, "watch", "cannot read the hosts", "reason", error->message,
                  NULL);
        return;
    }
    for (guint i = 0; i < rows->len; i++) {
        const Host *row = g_ptr_array_index(rows, i);

        g_hash_table_add(wanted, row->name);
        if (g_strcmp0(g_hash_table_lookup(watch->known, row->name), row->uri) == 0) {
            /* It got another name or URI, and its own again before we looked. */
            if (row->state == HOST_UNKNOWN && hosts_is_connected(watch->hosts, row->name))
                sweep_start(watch->store, watch->tasks, watch->hosts, row->name, row->uri,
                            watch->virt_type, true);
            continue;
        }
        g_hash_table_insert(watch->known, g_strdup(row->name), g_strdup(row->uri));
        hosts_add(watch->hosts, row->name, row->uri);
    }
    g_hash_table_iter_init(&iter, watch->known);
    while (g_hash_table_iter_next(&iter, &name, NULL))
        if (!g_hash_table_contains(wanted, name)) {
            hosts_remove(watch->hosts, name);
            g_hash_table_iter_remove(&iter);
        }
}

static void
sweep_connected(Watch *watch)
{
    GHashTableIter iter;
    gpointer name, uri;

    g_hash_table_iter_init(&iter, watch->known);
    while (g_hash_table_iter_next(&iter, &name, &uri))
        if (hosts_is_connected(watch->hosts, name))
            sweep_start(watch->store, watch->tasks, watch->hosts, name, uri, watch->virt_type,
                        false);
}

/* ---- domain events
 * --------------------------------------------------------------------------------------- */

typedef struct Observed {
    const HostEvent *event;
    bool changed;
} Observed;

/* What an event says about a server that no task works on. false: nothing. */
static bool
read_change(DomainChange change, VmState *vm, PowerState *power)
{
    switch (change) {
    case DOMAIN_STARTED:
    case DOMAIN_RESUMED:
        *vm = VM_ACTIVE;
        *power = POWER_RUNNING;
        return true;
    case DOMAIN_SUSPENDED:
        *vm = VM_PAUSED;
        *power = POWER_PAUSED;
        return true;
    case DOMAIN_STOPPED_SHUTDOWN:
    case DOMAIN_STOPPED_DESTROYED:
    case DOMAIN_STOPPED_FAILED:
        *vm = VM_STOPPED;
        *power = POWER_SHUTDOWN;
        return true;
    case DOMAIN_STOPPED_SAVED:
        *vm = VM_SUSPENDED;
        *power = POWER_SUSPENDED;
        return true;
    case DOMAIN_STOPPED_CRASHED:
        *vm = VM_STOPPED;
        *power = POWER_CRASHED;
        return true;
    case DOMAIN_DEFINED:
    case DOMAIN_UNDEFINED:
    case DOMAIN_STARTED_INCOMING:
    case DOMAIN_SUSPENDED_MIGRATED:
    case DOMAIN_SUSPENDED_POSTCOPY:
    case DOMAIN_RESUMED_MIGRATED:
    case DOMAIN_RESUMED_POSTCOPY:
    case DOMAIN_STOPPED_MIGRATED:
    case DOMAIN_REBOOTED:
        return false;
    }
    return false;
}

/* A resize waits for its confirmation whatever its guest does, and an error stays until the guest
 * runs. */
static bool
keeps_vm_state(const Server *server, VmState vm)
{
    return server->vm_state == VM_RESIZED || server->vm_state == VM_BUILDING ||
           (server->vm_state == VM_ERROR && vm != VM_ACTIVE);
}

/* false: it was so already. */
static bool
apply_change(Server *server, VmState vm, PowerState power)
{
    if (keeps_vm_state(server, vm))
        vm = server->vm_state;
    if (vm == server->vm_state && power == server->power_state)
        return false;
    server->vm_state = vm;
    server->power_state = power;
    if (vm == VM_ACTIVE) {
        server->fault_code = 0;
        text_set(&server->fault_message, NULL);
    }
    return true;
}

/* Godwit undefines on behalf of a task only: somebody did it by hand. A guest that runs goes on; in
 * any case a start defines it again. */
static bool
record_undefined(StoreTx *tx, Observed *observed, Server *server, GError **err)
{
    g_autofree char *why = NULL;

    if (server->vm_state == VM_SUSPENDED) {
        observed->changed = true;
        return task_submit_reconcile(tx, server->id, observed->event->host, err);
    }
    log_event(LOG_LEVEL_WARNING, "watch", "a server's definition was removed by hand", "host",
              server->host, "server", server->id, NULL);
    if (server->vm_state != VM_STOPPED)
        return true;
    why = g_strdup_printf("its definition on %s was removed by hand; os-start defines it again",
                          server->host);
    observed->changed = true;
    server->fault_code = 500;
    server->fault_at = server->updated_at = clock_realtime();
    text_set(&server->fault_message, why);
    return store_update(tx, &SERVER, server, err);
}

/* Something of a server happens on a node where the record does not have it. */
static bool
record_elsewhere(StoreTx *tx, Observed *observed, const Server *server, GError **err)
{
    const HostEvent *event = observed->event;

    if (event->change != DOMAIN_STARTED && event->change != DOMAIN_RESUMED &&
        event->change != DOMAIN_RESUMED_MIGRATED)
        return true;
    observed->changed = true; /* a guest comes up where it should not be: somebody must look */
    return task_submit_reconcile(tx, server->id, event->host, err);
}

/* Is the event older than the end of the server's last task? That has seen more. An event that was
 * read late would take the record back to a state that is over, until the next one is read. */
static bool
is_history(StoreTx *tx, const Server *server, const HostEvent *event, bool *history, GError **err)
{
    const StoreCond where[] = {
        {"server_id", STORE_EQ, server->id, 0}, {"status", STORE_NE, NULL, TASK_OPEN}, {NULL}};
    g_autoptr(GPtrArray) rows =
        store_list(tx, &TASK, &(StoreQuery){.where = where, .descending = true, .limit = 1}, err);
    int64_t at = clock_realtime() - (clock_monotonic() - event->at);

    if (!rows)
        return false;
    *history = rows->len > 0 && at <= ((Task *)g_ptr_array_index(rows, 0))->ended_at;
    return true;
}

/* Does a move of the server wait for its turn, maybe for hours? Nobody is at work on the guest. */
static bool
is_queued(StoreTx *tx, const Server *server)
{
    const StoreCond where[] = {{"server_id", STORE_EQ, server->id, 0},
                               {"status", STORE_EQ, NULL, MIGRATION_QUEUED},
                               {NULL}};

    return server->task_state == TASK_MIGRATING && store_count(tx, &MIGRATION, where, NULL) > 0;
}

static bool
record_domain_event(StoreTx *tx, void *opaque, GError **err)
{
    Observed *observed = opaque;
    const HostEvent *event = observed->event;
    g_autoptr(Server) server = store_get(tx, &SERVER, event->uuid, NULL);
    VmState vm;
    PowerState power;
    bool history;

    if (!server || server->vm_state == VM_DELETED ||
        (server->task_state != TASK_NONE && !is_queued(tx, server)))
        return true; /* not ours, or a task's business */
    if (g_strcmp0(server->host, event->host) != 0)
        return record_elsewhere(tx, observed, server, err);
    if (!is_history(tx, server, event, &history, err))
        return false;
    if (event->change == DOMAIN_UNDEFINED)
        return history || record_undefined(tx, observed, server, err);
    if (!read_change(event->change, &vm, &power) || !apply_change(server, vm, power))
        return true;
    observed->changed = true;
    if (history) /* it may be of a person all the same: ask the node how it is now */
        return task_submit_reconcile(tx, server->id, event->host, err);
    server->updated_at = clock_realtime();
    return store_update(tx, &SERVER, server, err);
}

static void
on_domain_event(Watch *watch, const HostEvent *event)
{
    Observed observed = {event, false};
    g_autoptr(GError) error = NULL;

    log_event(LOG_LEVEL_DEBUG, "watch", "domain event", "host", event->host, "server", event->uuid,
              "change", domain_change_names[event->change], NULL);
    if (!store_write(watch->store, record_domain_event, &observed, &error))
        log_event(LOG_LEVEL_ERROR, "watch", "cannot record a domain event; the next sweep will",
                  "host", event->host, "server", event->uuid, "reason", error->message, NULL);
    else if (observed.changed)
        task_engine_wake(watch->tasks);
}

/* ---- connection events
 * --------------------------------------------------------------------------------------- */

static bool
record_disconnect(StoreTx *tx, void *opaque, GError **err)
{
    const HostEvent *event = opaque;
    const StoreCond where[] = {{"name", STORE_EQ, event->host, 0}, {NULL}};
    g_autoptr(Host) host = store_find(tx, &HOST, where, NULL);

    if (!host) /* removed meanwhile */
        return true;
    if (host->state != HOST_DOWN)
        host->state_changed_at = clock_realtime();
    host->state = HOST_DOWN;
    host->storage_visible = false; /* to be shown again */
    text_set(&host->storage_reason, "not connected");
    text_set(&host->state_reason, event->text);
    host->updated_at = clock_realtime();
    return store_update(tx, &HOST, host, err);
}

static void
on_disconnect(Watch *watch, HostEvent *event)
{
    g_autoptr(GError) error = NULL;

    log_event(LOG_LEVEL_WARNING, "watch", "host is not reachable", "host", event->host, "reason",
              event->text, NULL);
    if (!store_write(watch->store, record_disconnect, event, &error))
        log_event(LOG_LEVEL_ERROR, "watch", "cannot record that a host is down", "host",
                  event->host, "reason", error->message, NULL);
}

static void
watch_thread(void *opaque)
{
    Watch *watch = opaque;
    HostEvent *event;
    const char *uri;

    while ((event = mailbox_receive(watch->box, INT64_MAX))) {
        if (event == &hosts_changed_mark) {
            follow_hosts(watch);
            continue;
        }
        if (event == &sweep_mark) {
            sweep_connected(watch);
            orphan_watch_start(watch->orphans);
            fence_watch_start(watch->fences);
            continue;
        }
        switch (event->kind) {
        case HOST_EVENT_DOMAIN:
            on_domain_event(watch, event);
            break;
        case HOST_EVENT_CONNECTED:
            uri = g_hash_table_lookup(watch->known, event->host);
            if (uri) /* else it was removed meanwhile */
                sweep_start(watch->store, watch->tasks, watch->hosts, event->host, uri,
                            watch->virt_type, true);
            break;
        case HOST_EVENT_DISCONNECTED:
            on_disconnect(watch, event);
            break;
        case HOST_EVENT_ITERATION:
        case HOST_EVENT_JOB_COMPLETED:
            break;
        }
        host_event_free(event);
    }
}

void
watch_host_event(HostEvent *event, void *opaque)
{
    Watch *watch = opaque;

    task_engine_host_event(watch->tasks, event);
    mailbox_send(watch->box, event);
}

void
watch_hosts_changed(Watch *watch)
{
    mailbox_send(watch->box, &hosts_changed_mark);
}

void
watch_sweep(Watch *watch)
{
    mailbox_send(watch->box, &sweep_mark);
}

/* What a former run saw is not what is: every node has to show itself again. */
static bool
forget_states(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(GPtrArray) rows = store_list(tx, &HOST, NULL, err);

    for (guint i = 0; rows && i < rows->len; i++) {
        Host *host = g_ptr_array_index(rows, i);

        host->state = HOST_UNKNOWN;
        host->storage_visible = false;
        text_set(&host->state_reason, "not connected yet");
        text_set(&host->storage_reason, "not connected yet");
        if (!store_update(tx, &HOST, host, err))
            return false;
    }
    return rows != NULL;
}

bool
watch_start(Watch *watch, GError **err)
{
    if (!store_write(watch->store, forget_states, NULL, err))
        return false;
    watch->thread = thread_start("watch", watch_thread, watch);
    watch->running = true;
    watch_hosts_changed(watch);
    /* What has an open task is no orphan, so this need not wait for the tasks that are taken up. */
    orphan_watch_start(watch->orphans);
    return true;
}

void
watch_stop(Watch *watch)
{
    if (!watch->running)
        return;
    watch->running = false;
    mailbox_close(watch->box);
    pthread_join(watch->thread, NULL);
    sweep_wait_all();
}
