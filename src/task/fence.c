/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fence.c: shuts the clients of a dead node's server out of the cluster
 *
 * That a node does not answer says nothing about its guests: they may run on, and write. So before
 * a server is started elsewhere each client that its disks are known to have had is put into the
 * cluster's blocklist:
 *
 *   gather ─► rows committed ─► blocklist, read back, epoch waited for ─► list again ─► nobody left
 *                ▲                                                            │
 *                └───────────────────── somebody who is not fenced ───────────┘
 *
 * The recorded clients count, not only the listed ones: a node that is cut off from the cluster
 * loses its watch after a while without any fence, and comes back with it. For the same reason an
 * empty list proves nothing, and a disk of which no client is known cannot be fenced: the server of
 * such a disk needs the external command, or somebody's word. So does one whose start was under way
 * when its node went: who is recorded is the client of before.
 *
 * A row is written before its client is touched, with expires_at 0, and gets its expiry when the
 * blocklist has been seen to have it. What a crash leaves at 0, and no task is after, is lifted
 * again by the sweep (fence-lift.c): the guest may never have been evacuated.
 *
 * An entry names one process, address and nonce; never a whole address: other clients, or the
 * cluster's own daemons, may live there. */
#include "task/fence.h"

#include <string.h>

#include "task/disk-clients.h"

#define ROUNDS 5
#define GONE_WAIT_US                                                            \
    (60 * USEC_PER_SEC) /* a fenced client's watch ends with the OSDs' time-out \
                         */
#define LOOK_US    (200 * USEC_PER_MSEC)

#define REPORT_KEY "fence"
#define FOUND_KEY  "fence_found" /* [{"address", "host"}]: to be written down */
#define DONE_KEY   "fenced"

pthread_rwlock_t *
fence_books(void)
{
    static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

    return &lock;
}

json_t *
fence_report(TaskRun *run)
{
    json_t *report = json_object_get(run->state, REPORT_KEY);

    if (!report)
        json_object_set_new(run->state, REPORT_KEY, report = json_pack("{s:{}}", "us"));
    return report;
}

void
fence_report_time(TaskRun *run, const char *part, int64_t began_us)
{
    json_t *times = json_object_get(fence_report(run), "us");
    int64_t before = json_integer_value(json_object_get(times, part));

    json_object_set_new(times, part, json_integer(before + clock_monotonic() - began_us));
}

/* ---- who ---------------------------------------------------------------------------------------
 */

static bool
somebody_vouches(TaskRun *run)
{
    json_t *report = fence_report(run);

    return json_is_true(json_object_get(json_object_get(report, "command"), "done")) ||
           json_object_get(report, "override");
}

/* A guest that was off when it was last seen has no client, unless it was being started. */
static bool
was_off(TaskRun *run, const GPtrArray *known)
{
    const char *state = run_state_text(run, "old_vm_state");

    for (guint i = 0; i < known->len; i++)
        if (part_client_is_past(g_ptr_array_index(known, i)))
            return false;
    return state && (strcmp(state, vm_state_names[VM_STOPPED]) == 0 ||
                     strcmp(state, vm_state_names[VM_SUSPENDED]) == 0);
}

static bool
all_are_known(TaskRun *run, const char *host, const GPtrArray *known, const GPtrArray *unknown,
              GError **err)
{
    if (unknown->len == 0 || was_off(run, known) || somebody_vouches(run))
        return true;
    return err_set(
        err, ERR_CONFLICT,
        "nobody knows by which Ceph client %s had the disk %s open, so it cannot be shut "
        "out: make sure that %s is off and say so (`godwit host rescue %s --override "
        "REASON`), or configure a fence_command",
        host, (char *)g_ptr_array_index(unknown, 0), host, host);
}

static void
add_found(json_t *found, const char *address, const char *host)
{
    json_t *entry;
    size_t i;

    json_array_foreach(found, i,
                       entry) if (strcmp(json_string_value(json_object_get(entry, "address")),
                                         address) == 0) return;
    json_array_append_new(found, json_pack("{s:s, s:s}", "address", address, "host", host));
}

bool
fence_gather(TaskRun *run, const char *host, GError **err)
{
    g_autoptr(GPtrArray) known = NULL, unknown = NULL;
    json_t *found = json_array();

    json_object_set_new(run->state, FOUND_KEY, found);
    json_object_set_new(fence_report(run), "storage", json_string(run_storage(run)->ops->name));
    if (!run_storage(run)->ops->can_fence)
        return true;
    known = part_known_clients(run, host, &unknown, err);
    if (!known || !all_are_known(run, host, known, unknown, err))
        return false;
    for (guint i = 0; i < known->len; i++) {
        const DiskClient *client = g_ptr_array_index(known, i);

        add_found(found, client->address, *client->host ? client->host : host);
    }
    return true;
}

static bool
find_row(StoreTx *tx, const char *server_id, const char *address, Fence **row, GError **err)
{
    const StoreCond same[] = {
        {"server_id", STORE_EQ, server_id, 0}, {"address", STORE_EQ, address, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = store_list(tx, &FENCE, &(StoreQuery){.where = same}, err);

    *row = rows && rows->len ? record_copy(&FENCE, g_ptr_array_index(rows, 0)) : NULL;
    return rows != NULL;
}

bool
fence_commit_clients(TaskRun *run, StoreTx *tx, GError **err)
{
    json_t *entry;
    size_t i;

    json_array_foreach(json_object_get(run->state, FOUND_KEY), i, entry)
    {
        const char *address = json_string_value(json_object_get(entry, "address"));
        const char *host = json_string_value(json_object_get(entry, "host"));
        g_autoptr(Fence) there = NULL;
        Fence row = {.host = (char *)host,
                     .address = (char *)address,
                     .server_id = run->server_id,
                     .created_at = clock_realtime()};

        if (!find_row(tx, run->server_id, address, &there, err) ||
            (!there && !store_insert(tx, &FENCE, &row, err)))
            return false;
    }
    return true;
}

/* ---- shutting out ------------------------------------------------------------------------------
 */

typedef struct Rows {
    TaskRun *run;
    GPtrArray *list; /* Fence, of the server */
} Rows;

static bool
read_rows(StoreTx *tx, void *opaque, GError **err)
{
    Rows *rows = opaque;
    const StoreCond of_server[] = {{"server_id", STORE_EQ, rows->run->server_id, 0}, {NULL}};

    rows->list = store_list(tx, &FENCE, &(StoreQuery){.where = of_server}, err);
    return rows->list != NULL;
}

static GPtrArray *
server_fences(TaskRun *run, GError **err)
{
    Rows rows = {run, NULL};

    return store_read(run_store(run), read_rows, &rows, err) ? rows.list : NULL;
}

static GPtrArray *
addresses_of(const GPtrArray *fences) /* ended by NULL, borrowed from fences */
{
    GPtrArray *addresses = g_ptr_array_new();

    for (guint i = 0; i < fences->len; i++)
        g_ptr_array_add(addresses, ((Fence *)g_ptr_array_index(fences, i))->address);
    g_ptr_array_add(addresses, NULL);
    return addresses;
}

/* They are in force. */
static bool
write_expiry(StoreTx *tx, void *opaque, GError **err)
{
    Rows *rows = opaque;

    for (guint i = 0; i < rows->list->len; i++) {
        Fence *fence = g_ptr_array_index(rows->list, i);

        fence->expires_at = clock_realtime() + FENCE_SECONDS * USEC_PER_SEC;
        if (!store_update(tx, &FENCE, fence, err))
            return false;
    }
    return true;
}

static bool
fence_rows(TaskRun *run, GPtrArray *fences, GError **err)
{
    g_autoptr(GPtrArray) addresses = addresses_of(fences);
    json_t *told = json_array();

    for (guint i = 0; i < fences->len; i++)
        json_array_append_new(told, json_string(addresses->pdata[i]));
    json_object_set_new(fence_report(run), "addresses", told);
    if (fences->len == 0)
        return true;
    return storage_fence(run_storage(run), (const char *const *)addresses->pdata, FENCE_SECONDS,
                         err) &&
           store_write(run_store(run), write_expiry, &(Rows){run, fences}, err);
}

static bool
has_row(const GPtrArray *fences, const char *address)
{
    for (guint i = 0; i < fences->len; i++)
        if (strcmp(((Fence *)g_ptr_array_index(fences, i))->address, address) == 0)
            return true;
    return false;
}

/* Somebody who is not fenced goes to FOUND_KEY. */
static guint
find_others(TaskRun *run, const GPtrArray *listed, const GPtrArray *fences, const char *host)
{
    json_t *found = json_array();

    for (guint i = 0; i < listed->len; i++)
        if (!has_row(fences, g_ptr_array_index(listed, i)))
            add_found(found, g_ptr_array_index(listed, i), host);
    json_object_set_new(run->state, FOUND_KEY, found);
    return (guint)json_array_size(found);
}

/* Until nobody has a disk open (*others false), or somebody who is not fenced has. */
static bool
wait_until_gone(TaskRun *run, const GPtrArray *fences, const char *host, bool *others, GError **err)
{
    int64_t deadline = clock_monotonic() + GONE_WAIT_US;

    for (;;) {
        g_autoptr(GPtrArray) listed = part_list_clients(run, err);

        if (!listed)
            return false;
        *others = find_others(run, listed, fences, host) > 0;
        if (*others || listed->len == 0)
            return true;
        if (clock_monotonic() > deadline)
            return err_set(err, ERR_TIMEOUT,
                           "%s is in the cluster's blocklist, but after %d s still has a disk of "
                           "server %s open; see 'rbd status' and 'ceph health'",
                           (char *)g_ptr_array_index(listed, 0), (int)(GONE_WAIT_US / USEC_PER_SEC),
                           run->server_id);
        run_message_free(run_receive(run, clock_monotonic() + LOOK_US, err));
        if (run_is_stopping(run))
            return false;
    }
}

static void
tell_fenced(TaskRun *run, const char *host, const GPtrArray *fences)
{
    for (guint i = 0; i < fences->len; i++) {
        const Fence *fence = g_ptr_array_index(fences, i);

        log_event(LOG_LEVEL_NOTICE, "task", "shut out a client of a node that is taken for dead",
                  "host", host, "server", run->server_id, "client", fence->address, NULL);
    }
}

/* What was found is put down once more: a sweep may have cleared up after an earlier evacuation
 * that failed, and taken the rows of that for nobody's. NULL with *err. */
static GPtrArray *
fence_all(TaskRun *run, GError **err)
{
    g_autoptr(GPtrArray) fences = NULL;
    bool ok;

    pthread_rwlock_rdlock(fence_books());
    ok = run_write(run, fence_commit_clients, err) && (fences = server_fences(run, err)) &&
         fence_rows(run, fences, err);
    pthread_rwlock_unlock(fence_books());
    return ok ? g_steal_pointer(&fences) : NULL;
}

static bool
fence_round(TaskRun *run, const char *host, bool *others, GError **err)
{
    int64_t began = clock_monotonic();
    g_autoptr(GPtrArray) fences = fence_all(run, err);

    if (!fences)
        return false;
    fence_report_time(run, "blocklist", began);
    began = clock_monotonic();
    if (!wait_until_gone(run, fences, host, others, err))
        return false;
    fence_report_time(run, "watchers", began);
    if (!*others)
        tell_fenced(run, host, fences);
    return true;
}

bool
fence_shut_out(TaskRun *run, const char *host, GError **err)
{
    bool others = run_storage(run)->ops->can_fence;

    for (int round = 1; others; round++) {
        if (!fence_round(run, host, &others, err))
            return false;
        if (others && round == ROUNDS)
            return err_set(
                err, ERR_CONFLICT,
                "the disks of server %s are opened anew by somebody each time he is shut "
                "out; see 'rbd status' and 'ceph osd blocklist ls'",
                run->server_id);
        json_object_set_new(fence_report(run), "rounds", json_integer(round));
    }
    json_object_set_new(fence_report(run), "confirmed_at", json_integer(clock_realtime()));
    run_set_state_text(run, DONE_KEY, "yes");
    return true;
}

/* Those of an earlier evacuation are older than the task. */
static bool
delete_rows(TaskRun *run, StoreTx *tx, GError **err)
{
    const StoreCond of_run[] = {{"server_id", STORE_EQ, run->server_id, 0},
                                {"created_at", STORE_GE, NULL, run->task->created_at},
                                {NULL}};

    return store_delete_where(tx, &FENCE, of_run, err);
}

/* If it goes no further than this, the sweep does the rest. */
static bool
make_intents(StoreTx *tx, void *opaque, GError **err)
{
    Rows *rows = opaque;

    for (guint i = 0; i < rows->list->len; i++) {
        Fence *fence = g_ptr_array_index(rows->list, i);

        fence->expires_at = 0;
        if (!store_update(tx, &FENCE, fence, err))
            return false;
    }
    return true;
}

static bool
take_back(TaskRun *run, GError **err)
{
    g_autoptr(GPtrArray) fences = server_fences(run, err), addresses = NULL;

    if (!fences)
        return false;
    for (guint i = fences->len; i-- > 0;)
        if (((Fence *)g_ptr_array_index(fences, i))->created_at < run->task->created_at)
            g_ptr_array_remove_index(fences, i);
    if (fences->len == 0)
        return true;
    addresses = addresses_of(fences);
    return store_write(run_store(run), make_intents, &(Rows){run, fences}, err) &&
           storage_unfence(run_storage(run), (const char *const *)addresses->pdata, err) &&
           run_write(run, delete_rows, err);
}

bool
fence_take_back(TaskRun *run, GError **err)
{
    bool ok;

    if (run_state_text(run, DONE_KEY) || !run_storage(run)->ops->can_fence)
        return true;
    pthread_rwlock_rdlock(fence_books());
    ok = take_back(run, err);
    pthread_rwlock_unlock(fence_books());
    return ok;
}
