/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* store.h: the durable truth. SQLite behind two calls: store_write and store_read.
 *
 * store_write runs its function on the one writer thread, inside a transaction; several waiting
 * writes share one commit (group commit), each in a savepoint of its own, so that one that fails
 * takes back only itself. It returns when the commit is durable. store_read runs on the caller's
 * thread against a snapshot. Neither function may call a driver, block, or call
 * store_write/store_read again (checked: ERR_BUG). Records are copied out; a StoreTx must not
 * outlive its function. */
#pragma once

#include "model/model.h"

typedef struct Store Store;
typedef struct StoreTx StoreTx;

/* Return true to keep the changes, false with *err to take them back. Called once. */
typedef bool (*StoreFn)(StoreTx *tx, void *opaque, GError **err);

/* For how long a lease on RADOS holds without a renewal, unless StoreConfig says otherwise. A
 * standby takes over after that long and what fencing and opening take. */
#define STORE_LEASE_US (5 * USEC_PER_SEC)

typedef struct StoreConfig {
    const char *state;       /* a path, or "rados:POOL/NAMESPACE/NAME" */
    const char *conf, *user; /* RADOS: the cluster's configuration; cephx user without "client." */
    const char *url;         /* RADOS: where this controller answers, for those who wait */
    int64_t lease_us;        /* RADOS: 0: STORE_LEASE_US */
    /* RADOS: called about twice a second while store_open_with waits: active is the address of the
     * controller that has the lease (reason says the same as a sentence), or NULL if the cluster
     * cannot be used, reason says why. false: give up, with that as the error. NULL: do not wait
     * for long: ERR_BUSY names the other. */
    bool (*on_wait)(const char *active, const char *reason, void *opaque);
    /* RADOS: the lease is lost. NULL, as it must be where another controller may take over: say so
     * on stderr and _exit at once. */
    void (*on_lost)(const char *why, void *opaque);
    void *opaque;
} StoreConfig;

bool store_is_on_rados(const char *state);

/* Open the state, bring its schema up to date and raise the epoch. Only one process has it open.
 *
 * A file: made if missing, mode 0600; WAL; a lock that ends with the process, a second opener gets
 * ERR_BUSY naming the holder's pid. On RADOS: the same schema through libcephsqlite, after the
 * lease is held and the clients of former owners are fenced; ERR_UNREACHABLE: try again. Blocks on
 * disk or cluster. */
Store *store_open_with(const StoreConfig *config, GError **err);
/* The same with a path and nothing else. */
Store *store_open(const char *path, GError **err);
void store_close(Store *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Store, store_close)
int64_t store_epoch(const Store *store);
/* May this process act (call a node or the storage, answer a request)? On a file: always. On RADOS:
 * while the lease is certain to be ours. Takes no lock. */
bool store_may_act(const Store *store);
bool store_has_lease(const Store *store); /* on RADOS: another controller may take over */
/* End the process now if it is not ours (RADOS). Async-signal-safe: for SIGCONT. */
void store_check_lease(Store *store);
/* Before a client of the cluster that is not the store's own is used: from then on, whoever takes
 * the lease over blocklists it first. Such clients are closed before the store. Nothing to do on a
 * file. */
bool store_record_client(Store *store, const char *address, GError **err);

bool store_write(Store *store, StoreFn fn, void *opaque, GError **err);
bool store_read(Store *store, StoreFn fn, void *opaque, GError **err);
/* True while the calling thread is inside store_read or store_write: the driver wrapper asserts on
 * it. */
bool store_inside_transaction(void);

/* ---- records ----------------------------------------------------------------------------------
 */
typedef enum StoreOp {
    STORE_EQ,
    STORE_NE, /* true also where the column is NULL */
    STORE_LT,
    STORE_LE,
    STORE_GT,
    STORE_GE,
    STORE_IS_NULL,
    STORE_NOT_NULL,
    STORE_LIKE, /* text: a SQL pattern with \ as escape; ASCII letters match in either case */
} StoreOp;

/* Misuse (unknown column, no text for a text column, order of an enum compared) is ERR_BUG. At most
 * 16 conditions. */
typedef struct StoreCond {
    const char *column; /* must be a field of the record type; NULL ends the list */
    StoreOp op;
    const char *text; /* compared if not NULL, else num; an enum is compared by num */
    int64_t num;
} StoreCond;

typedef struct StoreQuery {
    const StoreCond *where; /* all must hold; NULL: every row */
    const char *order_by;   /* a field; NULL: the key */
    bool descending;
    int64_t limit; /* 0: none */
    int64_t offset;
} StoreQuery;

/* One record by key; ERR_NOT_FOUND with "TYPE KEY not found". Caller frees (record_free). */
void *store_get(StoreTx *tx, const RecordType *type, const char *id, GError **err);
void *store_get_int(StoreTx *tx, const RecordType *type, int64_t id, GError **err);
/* The only match; ERR_NOT_FOUND if none, ERR_CONFLICT if several. */
void *store_find(StoreTx *tx, const RecordType *type, const StoreCond *where, GError **err);
/* Matching records; element free function set. query may be NULL. Never NULL unless *err. */
GPtrArray *store_list(StoreTx *tx, const RecordType *type, const StoreQuery *query, GError **err);
int64_t store_count(StoreTx *tx, const RecordType *type, const StoreCond *where,
                    GError **err); /* -1 on error */

/* Insert; an int64_t key of 0 is filled in by the store. A duplicate is ERR_CONFLICT. */
bool store_insert(StoreTx *tx, const RecordType *type, void *record, GError **err);
/* Replace the row with the record's key; ERR_NOT_FOUND if it is gone. */
bool store_update(StoreTx *tx, const RecordType *type, const void *record, GError **err);
bool
store_delete(StoreTx *tx, const RecordType *type, const char *id, GError **err); /* ERR_NOT_FOUND */
bool store_delete_int(StoreTx *tx, const RecordType *type, int64_t id, GError **err);
/* No match is no error. Without a condition (where NULL or empty): ERR_BUG, a table is never
 * emptied by accident. */
bool store_delete_where(StoreTx *tx, const RecordType *type, const StoreCond *where, GError **err);

/* Write to in every row whose text column is from; the number of rows, or -1. */
int64_t store_replace_text(StoreTx *tx, const RecordType *type, const char *column,
                           const char *from, const char *to, GError **err);

/* The next number of a named sequence, from 1 (server numbers, host numbers). */
bool store_next_number(StoreTx *tx, const char *sequence, int64_t *number, GError **err);
/* Named small values ("ca-serial", …): NULL without error if absent. */
char *store_meta_get(StoreTx *tx, const char *key, GError **err);
bool store_meta_set(StoreTx *tx, const char *key, const char *value, GError **err);

/* Servers and reservations per host in one pass: fills an array of HostLoad in the order of hosts.
 */
bool store_host_loads(StoreTx *tx, const GPtrArray *hosts, HostLoad *loads, GError **err);

/* ---- change notice ----------------------------------------------------------------------------
 * A counter that rises with every commit: lets a caller wait for news instead of polling. */
uint64_t store_change_count(Store *store);
/* Block until the counter differs from seen, or the deadline (monotonic µs). Returns the counter.
 */
uint64_t store_wait_change(Store *store, uint64_t seen, int64_t deadline_us);

/* ---- copies -----------------------------------------------------------------------------------
 */
/* A consistent copy into path, which must not exist; mode 0600 (it holds password hashes). Writers
 * are held up for milliseconds at a time. */
bool store_backup(Store *store, const char *path, GError **err);
/* Both closed: takes both leases; to must be absent or empty. Verified: integrity, the same number
 * of rows in each table, and a higher epoch. Fills tables and rows for the report. */
bool store_copy(const StoreConfig *from, const StoreConfig *to, int64_t *tables, int64_t *rows,
                GError **err);
