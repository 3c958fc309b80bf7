/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lease-rados.c: one active godwitd per state on RADOS
 *
 * The lease is an object of its own beside the database, NAME.lease:
 *
 *   lock "lease"   exclusive, with a duration, taken and renewed by its owner. The cluster drops it
 *                  when it was not renewed for that long, and not before somebody else asks.
 *   omap           url, epoch: of the owner, for those who wait; "client ADDRESS": every client of
 *                  the cluster that an owner works with. Written only together with the assertion
 *                  that the writer has the lock.
 *
 *            lock              record clients        fence others          open
 *   waiting ------> renewing ------------------> … ---------------> … ------------> active
 *      ^ notify, or a tenth of the duration                                            |
 *      +------------------------- strike out clients, unlock, notify <-----------------+
 *
 * Whoever has the lock blocklists every recorded client that is not its own, before it opens the
 * database, and strikes it out only when that is confirmed. A process that had the lock, recorded
 * itself and died or hung at any point is fenced by the next one the same way; one that had the
 * lock but recorded nothing has nothing that could write.
 *
 * Times, of a duration D: renewed each D/5; the owner trusts an acknowledged renewal for 4D/5 from
 * before it was sent; nobody else gets the lock before D after it was received. D/5 is the margin
 * for clocks that run at different speed and for an OSD that takes over from another. */
#include "store/rados-client.h"

#include <errno.h>
#include <string.h>

#define LOCK_NAME     "lease"
#define LOCK_TAG      ""
#define CLIENT_PREFIX "client "
#define STRIPER_LOCK  "striper.lock" /* libcephsqlite's, on the first object of a database */
#define KEYS_MAX      1000
/* Without anybody to report to: beyond the duration, so that a dead owner's lease runs out. */
#define IMPATIENCE_US (3 * USEC_PER_SEC)
#define RETRY_US      (200 * USEC_PER_MSEC)
#define NOTIFY_MS     1000

struct LeaseRados {
    StoreConfig config; /* strings are the caller's until take returns, except for url */
    char *url;
    char *object;   /* NAME.lease */
    char *database; /* the first object of the database */
    char *pool, *space;
    char *cookie;
    int64_t duration_us;
    rados_t cluster;
    rados_ioctx_t io;
    uint64_t watch;
    bool is_watching;
    LeaseGuard *guard;
    bool is_held, is_renewing;
    pthread_t renewer;

    pthread_mutex_t mutex; /* what follows */
    pthread_cond_t changed;
    bool closing, notified, watch_broken;
    GPtrArray *own; /* recorded addresses */
};

/* ---- what the lock class of the OSDs understands ----------------------------------------------
 */
static void
encode_u32(GByteArray *to, uint32_t value)
{
    const uint8_t bytes[] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                             (uint8_t)(value >> 24)};

    g_byte_array_append(to, bytes, sizeof bytes);
}

static void
encode_text(GByteArray *to, const char *text)
{
    encode_u32(to, (uint32_t)strlen(text));
    g_byte_array_append(to, (const uint8_t *)text, (unsigned)strlen(text));
}

/* The whole operation fails unless we have the lock when it is applied. There is no call of
 * librados's C interface for this: the request is version 1 of the class's assert_locked. */
static void
assert_locked(rados_write_op_t op, const LeaseRados *lease)
{
    g_autoptr(GByteArray) fields = g_byte_array_new();
    g_autoptr(GByteArray) request = g_byte_array_new();
    const uint8_t version[] = {1, 1}, exclusive = 1;

    encode_text(fields, LOCK_NAME);
    g_byte_array_append(fields, &exclusive, 1);
    encode_text(fields, lease->cookie);
    encode_text(fields, LOCK_TAG);
    g_byte_array_append(request, version, sizeof version);
    encode_u32(request, fields->len);
    g_byte_array_append(request, fields->data, fields->len);
    rados_write_op_exec(op, "lock", "assert_locked", (const char *)request->data, request->len,
                        NULL);
}

static int
lock_take(LeaseRados *lease, uint8_t flags)
{
    struct timeval duration = {.tv_sec = lease->duration_us / USEC_PER_SEC,
                               .tv_usec = lease->duration_us % USEC_PER_SEC};

    return rados_lock_exclusive(lease->io, lease->object, LOCK_NAME, lease->cookie, "godwitd",
                                &duration, flags);
}

/* ---- the object's keys ------------------------------------------------------------------------
 */
/* Every key with its value; NULL on error. An absent object has none. */
static GHashTable *
keys_read(LeaseRados *lease, GError **err)
{
    GHashTable *keys = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    rados_read_op_t op = rados_create_read_op();
    rados_omap_iter_t found = NULL;
    unsigned char more = 0;
    int result = 0;

    rados_read_op_omap_get_vals2(op, "", "", KEYS_MAX, &found, &more, &result);
    int code = rados_read_op_operate(op, lease->io, lease->object, 0);
    rados_release_read_op(op);
    if (code == 0)
        code = result;
    if (code == 0) {
        char *key, *value;
        size_t key_size, value_size;

        while (rados_omap_get_next2(found, &key, &value, &key_size, &value_size) == 0 && key)
            g_hash_table_insert(keys, g_strndup(key, key_size), g_strndup(value, value_size));
    }
    if (found)
        rados_omap_get_end(found);
    if (code < 0 && code != -ENOENT) {
        g_hash_table_unref(keys);
        rados_client_failed(code, "reading the lease", err);
        return NULL;
    }
    return keys;
}

static bool
keys_operate(LeaseRados *lease, rados_write_op_t op, const char *doing, GError **err)
{
    int code = rados_write_op_operate2(op, lease->io, lease->object, NULL, 0);

    if (code == -EBUSY || code == -ENOENT)
        return err_set(err, ERR_FENCED, "%s: another controller owns the lease now", doing);
    return code == 0 || rados_client_failed(code, doing, err);
}

static bool
key_set(LeaseRados *lease, const char *key, const char *value, GError **err)
{
    rados_write_op_t op = rados_create_write_op();
    size_t key_size = strlen(key), value_size = strlen(value);

    assert_locked(op, lease);
    rados_write_op_omap_set2(op, &key, &value, &key_size, &value_size, 1);
    bool ok = keys_operate(lease, op, "writing the lease", err);
    rados_release_write_op(op);
    return ok;
}

static bool
clients_strike_out(LeaseRados *lease, const GPtrArray *addresses, GError **err)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free);
    g_autofree size_t *sizes = g_new(size_t, addresses->len);
    rados_write_op_t op = rados_create_write_op();

    for (unsigned i = 0; i < addresses->len; i++) {
        char *key = g_strconcat(CLIENT_PREFIX, (char *)g_ptr_array_index(addresses, i), NULL);

        g_ptr_array_add(keys, key);
        sizes[i] = strlen(key);
    }
    assert_locked(op, lease);
    rados_write_op_omap_rm_keys2(op, (const char **)keys->pdata, sizes, keys->len);
    bool ok = keys_operate(lease, op, "striking clients out of the lease", err);
    rados_release_write_op(op);
    return ok;
}

/* ---- waiting ----------------------------------------------------------------------------------
 */
static void
on_notify(void *opaque, uint64_t notify_id, uint64_t handle, uint64_t notifier, void *data,
          size_t size)
{
    LeaseRados *lease = opaque;

    rados_notify_ack(lease->io, lease->object, notify_id, handle, NULL, 0);
    WITH_MUTEX(&lease->mutex);
    lease->notified = true;
    pthread_cond_broadcast(&lease->changed);
}

static void
on_watch_broken(void *opaque, uint64_t handle, int code)
{
    LeaseRados *lease = opaque;

    WITH_MUTEX(&lease->mutex);
    lease->watch_broken = true;
}

/* A callback may be at work on a thread of librados: it has ended when this returns. */
static void
watch_end(LeaseRados *lease)
{
    if (lease->is_watching) {
        rados_unwatch2(lease->io, lease->watch);
        rados_watch_flush(lease->cluster);
    }
    lease->is_watching = false;
}

/* That fails costs a second of waiting at most: the poll goes on. */
static void
watch_keep(LeaseRados *lease)
{
    bool broken;
    {
        WITH_MUTEX(&lease->mutex);
        broken = lease->watch_broken;
        lease->watch_broken = false;
    }
    if (broken)
        watch_end(lease);
    if (!lease->is_watching)
        lease->is_watching = rados_watch2(lease->io, lease->object, &lease->watch, on_notify,
                                          on_watch_broken, lease) == 0;
}

static void
disconnect(LeaseRados *lease)
{
    if (lease->io) {
        watch_end(lease);
        rados_ioctx_destroy(lease->io);
    }
    lease->io = NULL;
    if (lease->cluster)
        rados_shutdown(lease->cluster);
    lease->cluster = NULL;
}

/* Ceph wants every pool marked for what it is; one that is not may be anybody's. */
static bool
pool_is_meant(LeaseRados *lease, GError **err)
{
    char applications[1024] = "";
    size_t size = sizeof applications;
    int code = rados_application_list(lease->io, applications, &size);

    if (code < 0 && code != -ERANGE)
        return rados_client_failed(code, "reading what the pool of the state is for", err);
    return code == -ERANGE || applications[0] != '\0' ||
           err_set(err, ERR_INVALID,
                   "the pool '%s' is not marked for anything; if it is meant for the state, run "
                   "'ceph osd pool application enable %s godwit'",
                   lease->pool, lease->pool);
}

static bool
connect_cluster(LeaseRados *lease, GError **err)
{
    const StoreConfig *config = &lease->config;

    /* Two tries within the time for which a renewal is good. */
    int seconds = (int)(lease->duration_us * 2 / 5 / USEC_PER_SEC);
    lease->cluster = rados_client_new(config, MAX(seconds, 1), err);
    if (!lease->cluster || !rados_client_connect(lease->cluster, config, err))
        return false;
    int code = rados_ioctx_create(lease->cluster, lease->pool, &lease->io);
    if (code == -ENOENT)
        return err_set(err, ERR_INVALID,
                       "the Ceph cluster has no pool '%s' for the state; make it with 'ceph osd "
                       "pool create %s' and 'ceph osd pool application enable %s godwit'",
                       lease->pool, lease->pool, lease->pool);
    if (code < 0)
        return rados_client_failed(code, "opening the pool of the state", err);
    rados_ioctx_set_namespace(lease->io, lease->space);
    return pool_is_meant(lease, err);
}

/* One try. *active: who has it instead, NULL if unknown. */
static bool
try_once(LeaseRados *lease, char **active, GError **err)
{
    if (!lease->io && !connect_cluster(lease, err)) {
        disconnect(lease);
        return false;
    }
    int64_t sent_us = lease_clock();
    int code = lock_take(lease, 0);
    if (code == 0) {
        lease_guard_renewed(lease->guard, sent_us);
        return true;
    }
    if (code != -EBUSY) {
        rados_client_failed(code, "asking for the lease", err);
        disconnect(lease);
        return false;
    }
    g_autoptr(GHashTable) keys = keys_read(lease, err);
    if (!keys)
        return false;
    const char *url = g_hash_table_lookup(keys, "url");
    *active = g_strdup(url ? url : "unknown");
    watch_keep(lease);
    return err_set(err, ERR_BUSY,
                   "the state %s is in use by the controller at %s: one is active, others "
                   "wait",
                   lease->config.state, *active);
}

static void
wait_for_news(LeaseRados *lease)
{
    int64_t deadline = clock_monotonic() + lease->duration_us / 10;

    WITH_MUTEX(&lease->mutex);
    while (!lease->notified && cond_wait_until(&lease->changed, &lease->mutex, deadline))
        ;
    lease->notified = false;
}

static bool
lock_await(LeaseRados *lease, GError **err)
{
    const StoreConfig *config = &lease->config;
    int64_t patience = clock_monotonic() + lease->duration_us + IMPATIENCE_US;

    for (;;) {
        g_autofree char *active = NULL;
        GError *error = NULL;

        if (try_once(lease, &active, &error))
            return true;
        bool later = err_is(error, ERR_BUSY) || err_is(error, ERR_UNREACHABLE) ||
                     err_is(error, ERR_FENCED) || err_is(error, ERR_BACKEND);
        if (!later || (!config->on_wait && clock_monotonic() > patience)) {
            g_propagate_error(err, error);
            return false;
        }
        if (config->on_wait && !config->on_wait(active, error->message, config->opaque)) {
            g_propagate_error(err, error);
            return false;
        }
        g_error_free(error);
        wait_for_news(lease);
    }
}

/* ---- owning -----------------------------------------------------------------------------------
 */
static bool
renewer_wait(LeaseRados *lease, int64_t pause_us)
{
    int64_t deadline = clock_monotonic() + pause_us;

    WITH_MUTEX(&lease->mutex);
    while (!lease->closing && cond_wait_until(&lease->changed, &lease->mutex, deadline))
        ;
    return !lease->closing;
}

static void
renewer_main(void *opaque)
{
    LeaseRados *lease = opaque;
    int64_t pause = lease->duration_us / 5;

    while (renewer_wait(lease, pause)) {
        int64_t sent_us = lease_clock();
        int code = lock_take(lease, LIBRADOS_LOCK_FLAG_MUST_RENEW);

        pause = RETRY_US;
        if (code == 0) {
            lease_guard_renewed(lease->guard, sent_us);
            pause = lease->duration_us / 5 - (lease_clock() - sent_us);
        } else if (code == -ESHUTDOWN) {
            lease_guard_lose(lease->guard, "another controller put this one on the blocklist");
        } else if (code == -ENOENT || code == -EBUSY || code == -EEXIST) {
            lease_guard_lose(lease->guard, "the lease ran out or was taken over");
        }
        /* Else the cluster does not answer: the watchdog counts. */
    }
}

static void
renewer_stop(LeaseRados *lease)
{
    if (!lease->is_renewing)
        return;
    {
        WITH_MUTEX(&lease->mutex);
        lease->closing = true;
        pthread_cond_broadcast(&lease->changed);
    }
    pthread_join(lease->renewer, NULL);
    lease->is_renewing = false;
}

LeaseRados *
lease_rados_take(const StoreConfig *config, const StateUri *uri, GError **err)
{
    LeaseRados *lease = g_new0(LeaseRados, 1);

    lease->config = *config;
    lease->url = g_strdup(config->url ? config->url : "a godwitd without an address");
    lease->object = g_strconcat(uri->name, ".lease", NULL);
    lease->database = g_strconcat(uri->name, ".db.0000000000000000", NULL);
    lease->pool = g_strdup(uri->pool);
    lease->space = g_strdup(uri->space);
    lease->cookie = uuid_new();
    lease->duration_us = config->lease_us ? config->lease_us : STORE_LEASE_US;
    lease->guard =
        lease_guard_new(lease->duration_us * 4 / 5, config->on_lost, config->opaque, NULL);
    lease->own = g_ptr_array_new_with_free_func(g_free);
    pthread_mutex_init(&lease->mutex, NULL);
    cond_init_monotonic(&lease->changed);
    if (!lock_await(lease, err)) {
        lease_rados_close(lease);
        return NULL;
    }
    lease->is_held = true;
    lease_guard_watch(lease->guard);
    lease->renewer = thread_start("lease-renewer", renewer_main, lease);
    lease->is_renewing = true;
    watch_end(lease);
    g_autofree char *address = rados_client_address(lease->cluster, err);
    if (!address || !lease_rados_record_client(lease, address, err) ||
        !key_set(lease, "url", lease->url, err)) {
        lease_rados_close(lease);
        return NULL;
    }
    return lease;
}

static bool
is_own(LeaseRados *lease, const char *address)
{
    WITH_MUTEX(&lease->mutex);
    return g_ptr_array_find_with_equal_func(lease->own, address, g_str_equal, NULL);
}

bool
lease_rados_record_client(LeaseRados *lease, const char *address, GError **err)
{
    g_autofree char *key = g_strconcat(CLIENT_PREFIX, address, NULL);

    if (is_own(lease, address))
        return true;
    if (!key_set(lease, key, lease->url, err))
        return false;
    WITH_MUTEX(&lease->mutex);
    g_ptr_array_add(lease->own, g_strdup(address));
    return true;
}

/* libcephsqlite would wait for its lock: for a fenced client's until it runs out, for a live one's
 * without end. */
static bool
database_unlock(LeaseRados *lease, const GPtrArray *fenced, GError **err)
{
    g_autofree char *other = NULL;

    if (!rados_locks_break(lease->io, lease->database, STRIPER_LOCK, fenced, &other, err))
        return false;
    return other == NULL || is_own(lease, other) ||
           err_set(
               err, ERR_UNREACHABLE,
               "the database in pool %s, namespace %s is open in the program at %s, which is no "
               "controller (an sqlite3 with libcephsqlite?): end that program, or wait 30 s if "
               "it is dead",
               lease->pool, lease->space, other);
}

bool
lease_rados_fence(LeaseRados *lease, GError **err)
{
    g_autoptr(GHashTable) keys = keys_read(lease, err);
    g_autoptr(GPtrArray) others = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter each;
    void *key;

    if (!keys)
        return false;
    g_hash_table_iter_init(&each, keys);
    while (g_hash_table_iter_next(&each, &key, NULL)) {
        const char *address = (const char *)key + strlen(CLIENT_PREFIX);

        if (g_str_has_prefix(key, CLIENT_PREFIX) && !is_own(lease, address))
            g_ptr_array_add(others, g_strdup(address));
    }
    if (!rados_fence(lease->cluster, others, err) || !database_unlock(lease, others, err))
        return false;
    return others->len == 0 || clients_strike_out(lease, others, err);
}

bool
lease_rados_announce(LeaseRados *lease, int64_t epoch, GError **err)
{
    g_autofree char *text = g_strdup_printf("%" PRId64, epoch);

    return key_set(lease, "epoch", text, err);
}

LeaseGuard *
lease_rados_guard(LeaseRados *lease)
{
    return lease->guard;
}

/* Only for speed: what fails here, the duration repairs. */
static void
give_up_lock(LeaseRados *lease)
{
    char *reply = NULL;
    size_t size = 0;

    if (lease->own->len > 0 && !clients_strike_out(lease, lease->own, NULL))
        return;
    if (rados_unlock(lease->io, lease->object, LOCK_NAME, lease->cookie) == 0)
        rados_notify2(lease->io, lease->object, "", 0, NOTIFY_MS, &reply, &size);
    rados_buffer_free(reply);
}

void
lease_rados_close(LeaseRados *lease)
{
    if (!lease)
        return;
    lease_guard_release(lease->guard);
    renewer_stop(lease);
    if (lease->is_held)
        give_up_lock(lease);
    disconnect(lease);
    lease_guard_free(lease->guard);
    g_ptr_array_unref(lease->own);
    pthread_cond_destroy(&lease->changed);
    pthread_mutex_destroy(&lease->mutex);
    g_free(lease->url);
    g_free(lease->object);
    g_free(lease->database);
    g_free(lease->pool);
    g_free(lease->space);
    g_free(lease->cookie);
    g_free(lease);
}
