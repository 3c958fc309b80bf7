/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* store.c: opening and closing, the writer thread with its group commit, the pool of readers, the
 * change notice
 *
 * A write is an entry on its caller's stack, put into a bounded queue. The writer thread takes all
 * that wait, up to BATCH_MAX, runs each in a savepoint of one transaction, commits once and then
 * wakes the callers: while one commit waits for the disk the next batch gathers by itself. A write
 * that fails takes back its own savepoint only. Some errors (disk full) make SQLite roll the whole
 * transaction back: then all that ran before in the batch get the error, and the rest begins anew.
 *
 * Readers run on their caller's thread. On a file each has a connection of its own: in WAL mode
 * they neither wait for the writer nor does it wait for them. On RADOS there is one connection for
 * all, and they take turns with the writer's batches; its cache holds the database, so a read costs
 * the cluster nothing. */
#include "store/rados-vfs.h"
#include "store/store-priv.h"
#include "store/turn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_MAX   64
#define QUEUE_MAX   1024
#define READERS_MAX 8
/* A reader that finds all connections in use: reads last milliseconds, so something is very wrong
 * after this. */
#define READER_WAIT_US (30 * USEC_PER_SEC)

typedef struct Write {
    StoreFn fn;
    void *opaque;
    GError *error;
    bool ok;
    bool done;
    pthread_cond_t finished;
} Write;

struct Store {
    char *path;
    int lease;         /* on a file; else -1 */
    LeaseRados *rados; /* on RADOS; else NULL */
    Turn turn;         /* RADOS: who uses the writer's connection */
    int64_t epoch;
    Conn *writer;
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex; /* what follows */
    pthread_cond_t work;   /* the queue got an entry, or closing */
    GQueue queue;          /* Write * */
    bool closing;
    pthread_cond_t reader_free;
    Conn *idle[READERS_MAX];
    size_t n_idle, n_readers;
    uint64_t changes;
    pthread_cond_t changed;
};

static _Thread_local bool inside_transaction;

bool
store_inside_transaction(void)
{
    return inside_transaction;
}

/* Run a caller's function with the mark set, and hold it to the contract of StoreFn. */
static bool
transaction_run(Conn *conn, bool writable, StoreFn fn, void *opaque, GError **err)
{
    StoreTx tx = {.conn = conn, .writable = writable};
    GError *error = NULL;
    g_clear_error(&conn->failure);
    inside_transaction = true;
    bool ok = fn(&tx, opaque, &error);
    inside_transaction = false;
    if (conn->failure) { /* whatever it made of it */
        g_clear_error(&error);
        g_propagate_error(err, g_steal_pointer(&conn->failure));
        return false;
    }
    if (ok && error != NULL) {
        g_clear_error(&error);
        return err_set(err, ERR_BUG, "a transaction function returned true and an error");
    }
    if (!ok && error == NULL)
        return err_set(err, ERR_BUG, "a transaction function failed without an error");
    if (!ok)
        g_propagate_error(err, error);
    return ok;
}

/* ---- the writer ------------------------------------------------------------------------------ */
static void
write_fail(Write *write, const GError *error)
{
    write->ok = false;
    if (write->error == NULL)
        write->error = g_error_copy(error);
}

/* Run one write in its savepoint. false: SQLite has given up the whole transaction. */
static bool
write_run(Conn *conn, Write *write)
{
    if (!conn_run(conn, "SAVEPOINT one", &write->error))
        return !sqlite3_get_autocommit(conn->db);
    write->ok = transaction_run(conn, true, write->fn, write->opaque, &write->error);
    if (sqlite3_get_autocommit(conn->db)) {
        if (write->ok)
            err_set(&write->error, ERR_BUG,
                    "a transaction function hid an error that ended its transaction");
        write->ok = false;
        return false;
    }
    if (!write->ok && !conn_run(conn, "ROLLBACK TO one", NULL)) {
        conn_rollback(conn);
        return false;
    }
    GError **err = write->ok ? &write->error : NULL;
    if (!conn_run(conn, "RELEASE one", err)) {
        write->ok = false;
        conn_rollback(conn);
        return false;
    }
    return true;
}

/* Run the writes from the first on in one transaction; returns how many of them are decided. */
static size_t
batch_run_once(Store *store, Write **batch, size_t n, bool *changed)
{
    Conn *conn = store->writer;
    g_autoptr(GError) error = NULL;
    size_t n_run = 0;
    bool alive = conn_begin(conn, true, &error);
    if (!alive) {
        for (size_t i = 0; i < n; i++)
            write_fail(batch[i], error);
        return n;
    }
    sqlite3_int64 before = sqlite3_total_changes64(conn->db);
    while (alive && n_run < n)
        alive = write_run(conn, batch[n_run++]);
    if (!alive) {
        const GError *cause = batch[n_run - 1]->error;
        if (cause == NULL) {
            err_set(&error, ERR_BACKEND, "%s: the transaction was given up; nothing was changed",
                    store->path);
            cause = error;
        }
        for (size_t i = 0; i < n_run; i++) {
            if (batch[i]->ok || batch[i]->error == NULL)
                write_fail(batch[i], cause);
        }
        return n_run;
    }
    if (sqlite3_total_changes64(conn->db) == before) {
        conn_rollback(conn);
        return n;
    }
    if (!conn_commit(conn, &error)) {
        for (size_t i = 0; i < n; i++) {
            if (batch[i]->ok)
                write_fail(batch[i], error);
        }
        return n;
    }
    *changed = true;
    return n;
}

static void
batch_run(Store *store, Write **batch, size_t n)
{
    bool changed = false;
    if (store->rados)
        turn_take(&store->turn, INT64_MAX);
    for (size_t done = 0; done < n;)
        done += batch_run_once(store, batch + done, n - done, &changed);
    if (store->rados)
        turn_give(&store->turn);

    WITH_MUTEX(&store->mutex);
    if (changed) {
        store->changes++;
        pthread_cond_broadcast(&store->changed);
    }
    for (size_t i = 0; i < n; i++) {
        batch[i]->done = true;
        pthread_cond_signal(&batch[i]->finished);
    }
}

static size_t
batch_take(Store *store, Write **batch)
{
    WITH_MUTEX(&store->mutex);
    while (g_queue_is_empty(&store->queue) && !store->closing)
        cond_wait_until(&store->work, &store->mutex, INT64_MAX);
    size_t n = 0;
    while (n < BATCH_MAX && !g_queue_is_empty(&store->queue))
        batch[n++] = g_queue_pop_head(&store->queue);
    return n;
}

static void
writer_main(void *opaque)
{
    Store *store = opaque;
    Write *batch[BATCH_MAX];
    size_t n;
    /* Nothing to take only when closing: what was accepted before is still carried out. */
    while ((n = batch_take(store, batch)) > 0)
        batch_run(store, batch, n);
}

bool
store_write(Store *store, StoreFn fn, void *opaque, GError **err)
{
    if (inside_transaction)
        return err_set(err, ERR_BUG, "store_write inside a transaction");
    Write write = {.fn = fn, .opaque = opaque};
    cond_init_monotonic(&write.finished);
    {
        WITH_MUTEX(&store->mutex);
        if (store->closing) {
            err_set(&write.error, ERR_CANCELLED, "the store is being closed");
        } else if (g_queue_get_length(&store->queue) >= QUEUE_MAX) {
            err_set(&write.error, ERR_BUSY, "%d writes wait for %s already; try again", QUEUE_MAX,
                    store->path);
        } else {
            g_queue_push_tail(&store->queue, &write);
            pthread_cond_signal(&store->work);
            while (!write.done)
                cond_wait_until(&write.finished, &store->mutex, INT64_MAX);
        }
    }
    pthread_cond_destroy(&write.finished);
    if (!write.ok)
        g_propagate_error(err, write.error);
    return write.ok;
}

/* ---- the readers ----------------------------------------------------------------------------- */
static Conn *
reader_take(Store *store, GError **err)
{
    int64_t deadline = clock_monotonic() + READER_WAIT_US;
    {
        WITH_MUTEX(&store->mutex);
        while (store->n_idle == 0 && store->n_readers == READERS_MAX && !store->closing) {
            if (!cond_wait_until(&store->reader_free, &store->mutex, deadline)) {
                err_set(err, ERR_BUSY, "all %d read connections to %s are in use", READERS_MAX,
                        store->path);
                return NULL;
            }
        }
        if (store->closing) {
            err_set(err, ERR_CANCELLED, "the store is being closed");
            return NULL;
        }
        if (store->n_idle > 0)
            return store->idle[--store->n_idle];
        store->n_readers++;
    }
    Conn *conn = conn_open(store->path, false, err);
    if (conn == NULL) {
        WITH_MUTEX(&store->mutex);
        store->n_readers--;
        pthread_cond_broadcast(&store->reader_free);
    }
    return conn;
}

static void
reader_return(Store *store, Conn *conn)
{
    WITH_MUTEX(&store->mutex);
    store->idle[store->n_idle++] = conn;
    /* store_close waits on the same condition as readers do. */
    if (store->closing)
        pthread_cond_broadcast(&store->reader_free);
    else
        pthread_cond_signal(&store->reader_free);
}

Conn *
store_conn_take(Store *store, GError **err)
{
    if (store->rados == NULL)
        return reader_take(store, err);
    if (turn_take(&store->turn, clock_monotonic() + READER_WAIT_US))
        return store->writer;
    err_set(err, ERR_BUSY,
            "%s is busy: the one connection to it was not free for %d s. Look at \"ceph status\"",
            store->path, (int)(READER_WAIT_US / USEC_PER_SEC));
    return NULL;
}

void
store_conn_give(Store *store, Conn *conn)
{
    if (store->rados == NULL)
        reader_return(store, conn);
    else
        turn_give(&store->turn);
}

bool
store_has_lease(const Store *store)
{
    return store->rados != NULL;
}

bool
store_read(Store *store, StoreFn fn, void *opaque, GError **err)
{
    if (inside_transaction)
        return err_set(err, ERR_BUG, "store_read inside a transaction");
    Conn *conn = store_conn_take(store, err);
    if (conn == NULL)
        return false;
    bool ok = conn_begin(conn, false, err) && transaction_run(conn, false, fn, opaque, err);
    conn_rollback(conn);
    store_conn_give(store, conn);
    return ok;
}

/* ---- change notice --------------------------------------------------------------------------- */
uint64_t
store_change_count(Store *store)
{
    WITH_MUTEX(&store->mutex);
    return store->changes;
}

uint64_t
store_wait_change(Store *store, uint64_t seen, int64_t deadline_us)
{
    WITH_MUTEX(&store->mutex);
    while (store->changes == seen && !store->closing) {
        if (!cond_wait_until(&store->changed, &store->mutex, deadline_us))
            break;
    }
    return store->changes;
}

/* ---- open and close -------------------------------------------------------------------------- */
/* SQLite would make the file readable to all; it holds password hashes. */
static bool
state_file_make(const char *path, GError **err)
{
    AUTO_FD fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0)
        return err_set(err, ERR_BACKEND, "cannot open the state file %s: %s", path,
                       errno_text(errno));
    if (!S_ISREG(info.st_mode))
        return err_set(err, ERR_INVALID, "the state file %s is not a plain file", path);
    if ((info.st_mode & 077) != 0 && fchmod(fd, 0600) != 0)
        return err_set(err, ERR_BACKEND, "cannot make %s readable to its owner only: %s", path,
                       errno_text(errno));
    return true;
}

static bool
epoch_raise(StoreTx *tx, void *opaque, GError **err)
{
    Store *store = opaque;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = store_meta_get(tx, "epoch", &error);
    if (error != NULL) {
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    int64_t epoch = 0;
    if (text != NULL && !parse_int64(text, 0, INT64_MAX - 1, &epoch))
        return err_set(err, ERR_BACKEND, "%s: the epoch \"%s\" in table meta is not a number",
                       store->path, text);
    g_autofree char *next = g_strdup_printf("%" PRId64, epoch + 1);
    store->epoch = epoch + 1;
    return store_meta_set(tx, "epoch", next, err);
}

static bool
writer_open_file(Store *store, bool make, GError **err)
{
    if (!make && access(store->path, F_OK) != 0)
        return err_set(err, ERR_NOT_FOUND, "%s does not exist", store->path);
    store->lease = lease_file_open(store->path, err);
    if (store->lease < 0 || (make && !state_file_make(store->path, err)))
        return false;
    store->writer = conn_open(store->path, true, err);
    return store->writer != NULL;
}

/* The order is what makes it safe: lease, our clients written down, former clients fenced, and only
 * then the database. */
static bool
writer_open_rados(Store *store, const StoreConfig *config, bool make, GError **err)
{
    g_auto(StateUri) uri = {0};
    g_autofree char *address = NULL;
    if (!state_uri_parse(config->state, &uri, err))
        return false;
    store->rados = lease_rados_take(config, &uri, err);
    if (store->rados == NULL)
        return false;
    if (!rados_vfs_use(config, &address, err) ||
        !lease_rados_record_client(store->rados, address, err) ||
        !lease_rados_fence(store->rados, err))
        return false;
    g_autofree char *database = rados_vfs_uri(&uri);
    store->writer = conn_open_rados(database, store->path, make, err);
    return store->writer != NULL;
}

static bool
writer_open(Store *store, const StoreConfig *config, bool make, GError **err)
{
    return store_is_on_rados(config->state) ? writer_open_rados(store, config, make, err)
                                            : writer_open_file(store, make, err);
}

static bool
store_start(Store *store, const StoreConfig *config, GError **err)
{
    if (!writer_open(store, config, true, err) || !schema_prepare(store->writer, err))
        return false;
    store->thread = thread_start("store-writer", writer_main, store);
    store->started = true;
    if (!store_write(store, epoch_raise, store, err))
        return false;
    if (store->rados == NULL)
        return true;
    store->writer->guard = lease_rados_guard(store->rados);
    return lease_rados_announce(store->rados, store->epoch, err);
}

static Store *
store_new(const StoreConfig *config)
{
    Store *store = g_new0(Store, 1);
    store->path = g_strdup(config->state);
    store->lease = -1;
    pthread_mutex_init(&store->mutex, NULL);
    cond_init_monotonic(&store->work);
    cond_init_monotonic(&store->reader_free);
    cond_init_monotonic(&store->changed);
    g_queue_init(&store->queue);
    turn_init(&store->turn);
    return store;
}

Store *
store_open_with(const StoreConfig *config, GError **err)
{
    g_autoptr(Store) store = store_new(config);
    return store_start(store, config, err) ? g_steal_pointer(&store) : NULL;
}

Store *
store_open_raw(const StoreConfig *config, bool must_exist, GError **err)
{
    g_autoptr(Store) store = store_new(config);
    return writer_open(store, config, !must_exist, err) ? g_steal_pointer(&store) : NULL;
}

Conn *
store_raw_conn(Store *store)
{
    return store->writer;
}

Store *
store_open(const char *path, GError **err)
{
    const StoreConfig config = {.state = path};
    return store_open_with(&config, err);
}

bool
store_may_act(const Store *store)
{
    return store->rados == NULL || lease_guard_valid(lease_rados_guard(store->rados));
}

void
store_check_lease(Store *store)
{
    if (store->rados != NULL)
        lease_guard_check(lease_rados_guard(store->rados));
}

bool
store_record_client(Store *store, const char *address, GError **err)
{
    return store->rados == NULL || lease_rados_record_client(store->rados, address, err);
}

static void
store_stop(Store *store)
{
    {
        WITH_MUTEX(&store->mutex);
        store->closing = true;
        pthread_cond_broadcast(&store->work);
        pthread_cond_broadcast(&store->changed);
        pthread_cond_broadcast(&store->reader_free);
        while (store->n_idle < store->n_readers)
            cond_wait_until(&store->reader_free, &store->mutex, INT64_MAX);
    }
    if (store->started)
        pthread_join(store->thread, NULL);
}

void
store_close(Store *store)
{
    if (store == NULL)
        return;
    store_stop(store);
    for (size_t i = 0; i < store->n_idle; i++)
        conn_close(store->idle[i]);
    conn_close(store->writer);
    lease_rados_close(store->rados);
    lease_file_close(store->lease);
    turn_clear(&store->turn);
    pthread_cond_destroy(&store->work);
    pthread_cond_destroy(&store->reader_free);
    pthread_cond_destroy(&store->changed);
    pthread_mutex_destroy(&store->mutex);
    g_free(store->path);
    g_free(store);
}

int64_t
store_epoch(const Store *store)
{
    return store->epoch;
}
