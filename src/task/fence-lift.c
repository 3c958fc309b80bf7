/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fence-lift.c: a node that was taken for dead is back
 *
 * Its QEMUs may have run all the time, with disks that refuse their writes. Until each of them is
 * seen to be gone, by the node's own answer after it was told to stop them, its client stays in the
 * blocklist: whoever let it in earlier would have two writers. What is gone is judged per server:
 *
 *   the record says another host, or it was deleted    stopped and undefined, then asked for again
 *   the record says this host, and it is off           gone
 *   the same, and it runs by a client that was         the QEMU of before is gone: a node has one
 *     recorded after the fence and is not fenced        of each
 *   the same, otherwise                                it may be the one of before: stays fenced
 *   a task is at work on the server                    left to the next sweep
 *
 * Time passes with each: so whose it is by now is read again after the node was asked, and, for
 * what was never in force, with the books in hand. A node that does not answer for one guest is
 * asked for the others all the same.
 *
 * Only domains that carry Godwit's mark are touched. */
#include <string.h>

#include "task/fence.h"
#include "task/runner.h"

#define AT_ONCE 500 /* addresses in one call */
/* A QEMU whose disk does not answer does not end when it is asked to, and libvirt waits before it
 * kills it. */
#define DEADLINE_STOP (clock_monotonic() + 45 * USEC_PER_SEC)

bool
fence_is_stale_copy(StoreTx *tx, const char *server_id, const char *host, bool *stale, GError **err)
{
    const StoreCond where[] = {{"server_id", STORE_EQ, server_id, 0},
                               {"type", STORE_EQ, "evacuation", 0},
                               {"source_host", STORE_EQ, host, 0},
                               {"status", STORE_EQ, NULL, MIGRATION_DONE},
                               {NULL}};
    g_autoptr(Server) server = store_get(tx, &SERVER, server_id, err);
    int64_t done = server ? store_count(tx, &MIGRATION, where, err) : -1;

    *stale = done > 0 && g_strcmp0(server->host, host) != 0;
    return done >= 0;
}

/* ---- what there is to do -----------------------------------------------------------------------
 */

typedef struct Left { /* of one server on the node */
    char *server_id;
    Server *server;           /* NULL: no such row */
    GPtrArray *fences;        /* Fence */
    bool is_busy, is_home_up; /* the node is up, still, or again */
    bool runs_anew;           /* by a client that was recorded after its fences and is not fenced */
    bool was_running;
    bool is_gone;
} Left;

static void
left_free(gpointer data)
{
    Left *left = data;

    g_free(left->server_id);
    server_free(left->server);
    g_ptr_array_unref(left->fences);
    g_free(left);
}

static void
fence_free_void(gpointer fence)
{
    fence_free(fence);
}

static Left *
left_of(GPtrArray *all, const char *server_id)
{
    Left *left;

    for (guint i = 0; i < all->len; i++) {
        left = g_ptr_array_index(all, i);
        if (strcmp(left->server_id, server_id) == 0)
            return left;
    }
    left = g_new0(Left, 1);
    left->server_id = g_strdup(server_id);
    left->fences = g_ptr_array_new_with_free_func(fence_free_void);
    g_ptr_array_add(all, left);
    return left;
}

typedef struct Lift {
    const char *host;
    GPtrArray *all; /* Left */
    Left *one;      /* that is looked at */
} Lift;

/* Up, by its own name: else what answers may be another machine, or belong to another name. */
static bool
is_up(StoreTx *tx, const char *host)
{
    const StoreCond where[] = {
        {"name", STORE_EQ, host, 0}, {"state", STORE_EQ, NULL, HOST_UP}, {NULL}};

    return store_count(tx, &HOST, where, NULL) > 0;
}

/* A task that only compares (server-reconcile) is none. */
static bool
read_busy(StoreTx *tx, Left *left, GError **err)
{
    const StoreCond where[] = {{"status", STORE_EQ, NULL, TASK_OPEN},
                               {"server_id", STORE_EQ, left->server_id, 0},
                               {"kind", STORE_NE, "server-reconcile", 0},
                               {NULL}};
    int64_t n = store_count(tx, &TASK, where, err);

    left->is_busy = n > 0;
    return n >= 0;
}

static bool
read_runs_anew(StoreTx *tx, const char *host, Left *left, GError **err)
{
    const StoreCond where[] = {
        {"server_id", STORE_EQ, left->server_id, 0}, {"host", STORE_EQ, host, 0}, {NULL}};
    g_autoptr(GPtrArray) clients = store_list(tx, &DISK_CLIENT, &(StoreQuery){.where = where}, err);

    left->runs_anew = false;
    for (guint i = 0; clients && i < clients->len; i++) {
        const DiskClient *client = g_ptr_array_index(clients, i);
        bool later = true;

        for (guint k = 0; k < left->fences->len; k++) {
            const Fence *fence = g_ptr_array_index(left->fences, k);

            later = later && client->created_at > fence->created_at &&
                    strcmp(client->address, fence->address) != 0;
        }
        left->runs_anew |= later;
    }
    return clients != NULL;
}

static bool
read_left(StoreTx *tx, void *opaque, GError **err)
{
    Lift *lift = opaque;
    const StoreCond of_host[] = {{"host", STORE_EQ, lift->host, 0}, {NULL}};
    const StoreCond done[] = {{"source_host", STORE_EQ, lift->host, 0},
                              {"type", STORE_EQ, "evacuation", 0},
                              {"status", STORE_EQ, NULL, MIGRATION_DONE},
                              {NULL}};
    g_autoptr(GPtrArray) fences = store_list(tx, &FENCE, &(StoreQuery){.where = of_host}, err);
    g_autoptr(GPtrArray) moves =
        fences ? store_list(tx, &MIGRATION, &(StoreQuery){.where = done}, err) : NULL;

    if (!moves)
        return false;
    for (guint i = 0; i < fences->len; i++) {
        const Fence *fence = g_ptr_array_index(fences, i);

        g_ptr_array_add(left_of(lift->all, fence->server_id)->fences, record_copy(&FENCE, fence));
    }
    for (guint i = 0; i < moves->len; i++)
        left_of(lift->all, ((Migration *)g_ptr_array_index(moves, i))->server_id);
    if (!is_up(tx, lift->host))
        g_ptr_array_set_size(lift->all, 0);
    return true;
}

/* Whose is it now? */
static bool
read_one(StoreTx *tx, void *opaque, GError **err)
{
    const Lift *lift = opaque;
    Left *left = lift->one;

    server_free(left->server);
    left->server = store_get(tx, &SERVER, left->server_id, NULL);
    left->is_home_up = is_up(tx, lift->host);
    return read_busy(tx, left, err) && read_runs_anew(tx, lift->host, left, err);
}

/* ---- seeing that it is gone --------------------------------------------------------------------
 */

static bool
lives_here(const Left *left, const char *host)
{
    return left->server && left->server->vm_state != VM_DELETED &&
           g_strcmp0(left->server->host, host) == 0;
}

/* Was asked for, and never known to be in force: nothing was started elsewhere upon it. */
static bool
is_mere_intent(const Left *left)
{
    for (guint i = 0; i < left->fences->len; i++)
        if (((Fence *)g_ptr_array_index(left->fences, i))->expires_at)
            return false;
    return left->fences->len > 0;
}

static bool
is_off(const DomainInfo *info)
{
    return info->state == DOMAIN_ABSENT || info->state == DOMAIN_SHUTOFF ||
           info->state == DOMAIN_CRASHED;
}

/* Stop and undefine it, and ask again. */
static bool
remove_stale(Hosts *hosts, const char *host, Left *left, const DomainInfo *info, GError **err)
{
    g_autoptr(DomainInfo) after = NULL;

    if (!info->ours || info->state == DOMAIN_PAUSED_INCOMING)
        return true;
    left->was_running = !is_off(info);
    log_event(LOG_LEVEL_WARNING, "task",
              left->was_running ? "stopping the stale guest of a server that was evacuated"
                                : "removing what is left of a server that was evacuated",
              "server", left->server_id, "host", host, "state", domain_state_names[info->state],
              NULL);
    if (!host_domain_destroy(hosts, host, left->server_id, DEADLINE_STOP, err) ||
        !host_domain_undefine(hosts, host, left->server_id, DEADLINE_CONTROL, err))
        return false;
    after = host_domain_probe(hosts, host, left->server_id, DEADLINE_CONTROL, err);
    left->is_gone = after && after->state == DOMAIN_ABSENT;
    return after != NULL;
}

static bool
look_at(TaskEngine *engine, Lift *lift, GError **err)
{
    Hosts *hosts = engine_hosts(engine);
    const char *host = lift->host;
    Left *left = lift->one;
    g_autoptr(DomainInfo) info =
        host_domain_probe(hosts, host, left->server_id, DEADLINE_CONTROL, err);

    /* In this order: what was started there since has a task, or the record has it there. */
    if (!info || !store_read(engine_store(engine), read_one, lift, err))
        return false;
    if (left->is_busy)
        return true;
    if (!left->is_home_up)
        return err_set(err, ERR_UNREACHABLE, "%s is not up any more", host);
    left->is_gone = info->state == DOMAIN_ABSENT;
    if (lives_here(left, host))
        left->is_gone =
            is_off(info) || left->runs_anew || is_mere_intent(left) || left->fences->len == 0;
    else if (!left->is_gone && left->server)
        return remove_stale(hosts, host, left, info, err);
    return true;
}

/* ---- letting it in -----------------------------------------------------------------------------
 */

static bool
unfence(TaskEngine *engine, const GPtrArray *all, int64_t *lifted, GError **err)
{
    const Storage *storage = engine_storage(engine);
    g_autoptr(GPtrArray) addresses = g_ptr_array_new();

    for (guint i = 0; i < all->len; i++) {
        const Left *left = g_ptr_array_index(all, i);

        for (guint k = 0; left->is_gone && k < left->fences->len; k++)
            g_ptr_array_add(addresses, ((Fence *)g_ptr_array_index(left->fences, k))->address);
    }
    *lifted = addresses->len;
    for (guint from = 0; from < addresses->len; from += AT_ONCE) {
        guint n = MIN(addresses->len - from, AT_ONCE);
        g_autofree const char **some = g_new0(const char *, n + 1);

        memcpy(some, addresses->pdata + from, n * sizeof *some);
        if (!storage_unfence(storage, some, err))
            return false;
    }
    return true;
}

static char *
with_return(const char *fence, const Left *left)
{
    json_t *report = json_loads(fence ? fence : "{}", 0, NULL);
    char *text;

    if (!report)
        report = json_object();
    json_object_set_new(report, "lifted_at", json_integer(clock_realtime()));
    json_object_set_new(report, "stale_guest_stopped", json_boolean(left->was_running));
    text = json_dumps(report, JSON_COMPACT);
    json_decref(report);
    return text;
}

static bool
complete_moves(StoreTx *tx, const char *host, const Left *left, GError **err)
{
    const StoreCond done[] = {{"server_id", STORE_EQ, left->server_id, 0},
                              {"source_host", STORE_EQ, host, 0},
                              {"type", STORE_EQ, "evacuation", 0},
                              {"status", STORE_EQ, NULL, MIGRATION_DONE},
                              {NULL}};
    g_autoptr(GPtrArray) moves = store_list(tx, &MIGRATION, &(StoreQuery){.where = done}, err);

    for (guint i = 0; moves && i < moves->len; i++) {
        Migration *move = g_ptr_array_index(moves, i);
        g_autofree char *fence = with_return(move->fence, left);

        move->status = MIGRATION_COMPLETED;
        move->updated_at = clock_realtime();
        text_set(&move->fence, fence);
        if (!store_update(tx, &MIGRATION, move, err))
            return false;
    }
    return moves != NULL;
}

static bool
write_lifted(StoreTx *tx, void *opaque, GError **err)
{
    Lift *lift = opaque;

    for (guint i = 0; i < lift->all->len; i++) {
        const Left *left = g_ptr_array_index(lift->all, i);

        if (!left->is_gone)
            continue;
        for (guint k = 0; k < left->fences->len; k++) {
            const Fence *fence = g_ptr_array_index(left->fences, k);
            const StoreCond same[] = {{"id", STORE_EQ, NULL, fence->id}, {NULL}};

            if (!store_delete_where(tx, &FENCE, same, err)) /* maybe gone already */
                return false;
        }
        if (!complete_moves(tx, lift->host, left, err))
            return false;
    }
    return true;
}

static void
tell_lifted(const Lift *lift, int64_t lifted)
{
    int64_t gone = 0, stopped = 0;

    for (guint i = 0; i < lift->all->len; i++) {
        const Left *left = g_ptr_array_index(lift->all, i);

        gone += left->is_gone;
        stopped += left->was_running && left->is_gone;
        if (!left->is_gone && !left->is_busy)
            log_event(LOG_LEVEL_WARNING, "task",
                      "the guest of before the fence may still be there: it stays shut out until "
                      "it is rebooted with --hard or removed",
                      "host", lift->host, "server", left->server_id, NULL);
    }
    if (gone == 0)
        return;
    g_autofree char *servers = g_strdup_printf("%" PRId64, gone);
    g_autofree char *guests = g_strdup_printf("%" PRId64, stopped);
    g_autofree char *entries = g_strdup_printf("%" PRId64, lifted);
    log_event(LOG_LEVEL_NOTICE, "task",
              "a node that was taken for dead is back: nothing is left of the servers that were "
              "evacuated from it, and it may use the storage again",
              "host", lift->host, "servers", servers, "stopped", guests, "lifted", entries, NULL);
}

/* Another evacuation may have put in force what was a mere intent. */
static bool
read_intents(StoreTx *tx, void *opaque, GError **err)
{
    const Lift *lift = opaque;

    for (guint i = 0; i < lift->all->len; i++) {
        Left *left = g_ptr_array_index(lift->all, i);

        if (!left->is_gone || !is_mere_intent(left))
            continue;
        if (!read_busy(tx, left, err))
            return false;
        for (guint k = 0; k < left->fences->len; k++) {
            const Fence *fence = g_ptr_array_index(left->fences, k);
            g_autoptr(Fence) row = store_get_int(tx, &FENCE, fence->id, NULL);

            left->is_gone &= !left->is_busy && row && !row->expires_at;
        }
    }
    return true;
}

static bool
let_in(TaskEngine *engine, Lift *lift, int64_t *lifted, GError **err)
{
    bool ok;

    pthread_rwlock_wrlock(fence_books());
    ok = store_read(engine_store(engine), read_intents, lift, err) &&
         unfence(engine, lift->all, lifted, err) &&
         store_write(engine_store(engine), write_lifted, lift, err);
    pthread_rwlock_unlock(fence_books());
    return ok;
}

bool
fence_lift_host(TaskEngine *engine, const char *host, GError **err)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(left_free);
    g_autoptr(GError) first = NULL;
    Lift lift = {host, all, NULL};
    bool any = false;
    int64_t lifted = 0;

    if (!store_read(engine_store(engine), read_left, &lift, err))
        return false;
    for (guint i = 0; i < all->len && (!first || hosts_is_connected(engine_hosts(engine), host));
         i++) {
        lift.one = g_ptr_array_index(all, i);
        if (!look_at(engine, &lift, first ? NULL : &first))
            continue;
        any |= lift.one->is_gone;
    }
    if (any && !let_in(engine, &lift, &lifted, err))
        return false;
    if (first) {
        g_propagate_error(err, g_steal_pointer(&first));
        return false;
    }
    tell_lifted(&lift, lifted);
    return true;
}

/* ---- soon --------------------------------------------------------------------------------------
 * Not before the task that asks for it has ended, and not twice at once for one node. */

#define END_WAIT_US (2 * USEC_PER_SEC)

typedef struct Soon {
    TaskEngine *engine;
    char *host;
    bool again; /* somebody else asked meanwhile */
} Soon;

static pthread_mutex_t soon_mutex = PTHREAD_MUTEX_INITIALIZER;
static GPtrArray *soon_list; /* Soon *, with a thread each; NULL: none yet */

static Soon *
soon_find(TaskEngine *engine, const char *host)
{
    for (guint i = 0; soon_list && i < soon_list->len; i++) {
        Soon *soon = g_ptr_array_index(soon_list, i);

        if (soon->engine == engine && strcmp(soon->host, host) == 0)
            return soon;
    }
    return NULL;
}

static bool
soon_is_over(Soon *soon)
{
    WITH_MUTEX(&soon_mutex);
    if (soon->again) {
        soon->again = false;
        return false;
    }
    g_ptr_array_remove(soon_list, soon);
    return true;
}

static void
soon_thread(void *opaque)
{
    Soon *soon = opaque;
    Store *store = engine_store(soon->engine);

    do {
        g_autoptr(GError) error = NULL;

        store_wait_change(store, store_change_count(store), clock_monotonic() + END_WAIT_US);
        if (hosts_is_connected(engine_hosts(soon->engine), soon->host) &&
            !fence_lift_host(soon->engine, soon->host, &error))
            log_event(LOG_LEVEL_INFO, "task", "the evacuated host does not answer yet", "host",
                      soon->host, "reason", error->message, NULL);
    } while (!soon_is_over(soon));
    g_free(soon->host);
    g_free(soon);
}

void
fence_lift_soon(TaskEngine *engine, const char *host)
{
    Soon *soon;
    WITH_MUTEX(&soon_mutex);

    soon = soon_find(engine, host);
    if (soon) {
        soon->again = true;
        return;
    }
    soon = g_new0(Soon, 1);
    soon->engine = engine;
    soon->host = g_strdup(host);
    if (!soon_list)
        soon_list = g_ptr_array_new();
    g_ptr_array_add(soon_list, soon);
    engine_start_helper(engine, "fence-lift", soon_thread, soon);
}

/* ---- asserting again ---------------------------------------------------------------------------
 */

typedef struct Assertion {
    GPtrArray *fences; /* Fence, of hosts in the records and in force */
    GPtrArray *left;   /* char *: names of removed hosts that have fences */
    GPtrArray *undone; /* char *: hosts with fences that nobody is after any more */
    int64_t now;
} Assertion;

static void
add_name(GPtrArray *names, const char *name)
{
    if (!g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL))
        g_ptr_array_add(names, g_strdup(name));
}

static bool
read_fences(StoreTx *tx, void *opaque, GError **err)
{
    Assertion *assertion = opaque;
    g_autoptr(GPtrArray) fences = store_list(tx, &FENCE, NULL, err);

    for (guint i = 0; fences && i < fences->len; i++) {
        const Fence *fence = g_ptr_array_index(fences, i);
        const StoreCond by_name[] = {{"name", STORE_EQ, fence->host, 0}, {NULL}};
        int64_t hosts = store_count(tx, &HOST, by_name, err);

        if (hosts < 0)
            return false;
        if (hosts == 0)
            add_name(assertion->left, fence->host);
        else if (fence->expires_at)
            g_ptr_array_add(assertion->fences, record_copy(&FENCE, fence));
        else
            add_name(assertion->undone, fence->server_id);
    }
    return fences != NULL;
}

static bool
write_expiries(StoreTx *tx, void *opaque, GError **err)
{
    Assertion *assertion = opaque;
    int64_t whole = FENCE_SECONDS * USEC_PER_SEC;
    const StoreCond over[] = {
        {"expires_at", STORE_GT, NULL, 0}, {"expires_at", STORE_LT, NULL, assertion->now}, {NULL}};

    for (guint i = 0; i < assertion->fences->len; i++) {
        const Fence *fence = g_ptr_array_index(assertion->fences, i);
        g_autoptr(Fence) row = NULL;

        /* Only then did the driver prolong it. Lifted meanwhile: nothing to write. */
        if (fence->expires_at > assertion->now + whole - whole / 10 ||
            !(row = store_get_int(tx, &FENCE, fence->id, NULL)))
            continue;
        row->expires_at = assertion->now + whole;
        if (!store_update(tx, &FENCE, row, err))
            return false;
    }
    return assertion->left->len == 0 || store_delete_where(tx, &FENCE, over, err);
}

static bool
assert_some(TaskEngine *engine, const GPtrArray *fences, GError **err)
{
    for (guint from = 0; from < fences->len; from += AT_ONCE) {
        guint n = MIN(fences->len - from, AT_ONCE);
        g_autofree const char **some = g_new0(const char *, n + 1);

        for (guint i = 0; i < n; i++)
            some[i] = ((Fence *)g_ptr_array_index(fences, from + i))->address;
        if (!storage_fence(engine_storage(engine), some, FENCE_SECONDS, err))
            return false;
    }
    return true;
}

/* What a task that ended without them left behind, while its cluster did not answer. */
typedef struct Undone {
    const char *server_id;
    GPtrArray *fences; /* Fence; empty: a task is at work */
} Undone;

static bool
read_undone(StoreTx *tx, void *opaque, GError **err)
{
    Undone *undone = opaque;
    const StoreCond open[] = {{"status", STORE_EQ, NULL, TASK_OPEN},
                              {"server_id", STORE_EQ, undone->server_id, 0},
                              {"kind", STORE_EQ, task_server_evacuate.name, 0},
                              {NULL}};
    const StoreCond mere[] = {
        {"server_id", STORE_EQ, undone->server_id, 0}, {"expires_at", STORE_EQ, NULL, 0}, {NULL}};
    int64_t n = store_count(tx, &TASK, open, err);

    if (n < 0)
        return false;
    undone->fences =
        n > 0 ? g_ptr_array_new() : store_list(tx, &FENCE, &(StoreQuery){.where = mere}, err);
    return undone->fences != NULL;
}

static bool
delete_undone(StoreTx *tx, void *opaque, GError **err)
{
    Undone *undone = opaque;

    for (guint i = 0; i < undone->fences->len; i++)
        store_delete_int(tx, &FENCE, ((Fence *)g_ptr_array_index(undone->fences, i))->id, NULL);
    return true;
}

static bool
lift_undone(TaskEngine *engine, const char *server_id, GError **err)
{
    Undone undone = {server_id, NULL};
    g_autoptr(GPtrArray) fences = NULL;
    g_autofree const char **addresses = NULL;

    if (!store_read(engine_store(engine), read_undone, &undone, err))
        return false;
    fences = undone.fences;
    if (fences->len == 0)
        return true;
    addresses = g_new0(const char *, fences->len + 1);
    for (guint i = 0; i < fences->len; i++)
        addresses[i] = ((Fence *)g_ptr_array_index(fences, i))->address;
    return storage_unfence(engine_storage(engine), addresses, err) &&
           store_write(engine_store(engine), delete_undone, &undone, err);
}

static bool
assert_all(TaskEngine *engine, GPtrArray **left, GError **err)
{
    g_autoptr(GPtrArray) fences = g_ptr_array_new_with_free_func(fence_free_void);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) undone = g_ptr_array_new_with_free_func(g_free);
    Assertion assertion = {fences, names, undone, clock_realtime()};

    if (!store_read(engine_store(engine), read_fences, &assertion, err))
        return false;
    for (guint i = 0; i < undone->len; i++)
        if (!lift_undone(engine, g_ptr_array_index(undone, i), err))
            return false;
    if (fences->len + names->len > 0 &&
        (!assert_some(engine, fences, err) ||
         !store_write(engine_store(engine), write_expiries, &assertion, err)))
        return false;
    *left = g_steal_pointer(&names);
    return true;
}

bool
fence_assert_all(TaskEngine *engine, GPtrArray **left, GError **err)
{
    bool ok;

    pthread_rwlock_wrlock(fence_books());
    ok = assert_all(engine, left, err);
    pthread_rwlock_unlock(fence_books());
    return ok;
}
