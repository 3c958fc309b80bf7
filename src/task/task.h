/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task.h: carries an operation to its end across crashes. A request inserts a task row in its own
 * transaction and returns; the engine runs the task's steps on a worker thread, each {probe, run,
 * undo} with a committed intent before anything outside is touched. query.h has the few synchronous
 * node reads that a request may do. */
#pragma once

#include "model/model.h"
#include "store/store.h"

typedef struct TaskEngine TaskEngine;
/* of host.h and block.h, which callers of this header need not see */
typedef struct Hosts Hosts;
typedef struct Storage Storage;
typedef struct HostEvent HostEvent;

typedef struct TaskSettings {
    LibvirtSettings *libvirt;    /* borrowed */
    double cpu_ratio, ram_ratio; /* allocation ratios, Nova's defaults 16.0 and 1.5 */
    int64_t reserved_ram_mb;
    int64_t shutdown_timeout_s;  /* graceful power-off before the plug is pulled */
    int64_t unreachable_wait_us; /* how long a move waits for a node that stopped answering; 0: 45
                                    s, since libvirt's own keepalive settles each side after 30 s */
    int64_t worker_limit;        /* tasks at work at once */
    /* live migrations under way at once: out of one host, into one host, in all; 0: no limit */
    int64_t moves_out, moves_in, moves_total;
    int64_t resize_confirm_window_s; /* confirm a resize by itself after that; 0: never */
    bool resize_same_host;           /* a resize may stay where the server is */
    const char
        *fence_command; /* borrowed; program that makes sure that a node is off; NULL: none */
    int64_t fence_timeout_s;
    bool resume_guests; /* servers that ran on a node that was rebooted are started again */
} TaskSettings;

TaskEngine *
task_engine_new(Store *store, Hosts *hosts, const Storage *storage, const TaskSettings *settings);
/* Take up every open task of the store, then accept new ones. */
bool task_engine_start(TaskEngine *engine, GError **err);
/* Stop taking steps; tasks stay open in the store for the next start. Waits for steps under way
 * until deadline. false: some still are, and nothing that they use may be freed. Can be called
 * again, to wait longer. */
bool task_engine_stop(TaskEngine *engine, int64_t deadline_us);
void task_engine_free(TaskEngine *engine);

typedef struct TaskRequest {
    const char *request_id, *user_id, *project_id;
    const char *host; /* target host, NULL: choose */
    int64_t migration_id;
    const char *params;           /* JSON object; NULL: {} */
    int64_t priority;             /* of a live migration, see Migration */
    const TaskSettings *settings; /* borrowed; by which hosts are judged: for a resize */
} TaskRequest;
const TaskSettings *task_engine_settings(TaskEngine *engine);

/* Inside the caller's write transaction: check the action's rule against the server, set its
 * task_state, write the instance action and the task. ERR_CONFLICT as action_rule_permits. After
 * the commit call task_engine_wake. */
bool task_submit(StoreTx *tx, const char *action, Server *server, bool caller_is_admin,
                 const TaskRequest *request, int64_t *task_id, GError **err);
/* Insert the migration row and its task for os-migrateLive. dest may be NULL. */
bool task_submit_live_migration(StoreTx *tx, Server *server, const char *dest, bool caller_is_admin,
                                const TaskRequest *request, int64_t *migration_id, GError **err);
/* Ask a live migration to stop, or to end soon: the wish is kept with it. ERR_CONFLICT: it is over,
 * has switched, or cannot (post-copy under way, not running yet). After the commit call
 * task_engine_tell. */
bool task_submit_move_wish(StoreTx *tx, Migration *migration, MigrationWish wish, GError **err);
/* Insert the migration row and its task for "resize" (flavor given) or "migrate" (flavor NULL: a
 * cold migration, always to another host). dest may be NULL. ERR_INVALID: the flavor is the same,
 * or its disk smaller; dest is unknown, not up, or the server's own host; no host can hold it.
 * ERR_CONFLICT: the server's state, or its host's. */
bool task_submit_resize(StoreTx *tx, Server *server, const Flavor *flavor, const char *dest,
                        bool caller_is_admin, const TaskRequest *request, int64_t *migration_id,
                        GError **err);
/* "confirmResize", "revertResize" of the server's resize or cold migration that is finished.
 * ERR_CONFLICT: there is none; or a revert, and one of its two nodes is away. */
bool task_submit_end_resize(StoreTx *tx, const char *action, Server *server, bool caller_is_admin,
                            const TaskRequest *request, GError **err);
/* Does a resize that is neither confirmed nor reverted keep a domain of this server defined, off,
 * on host? */
bool task_resize_holds(StoreTx *tx, const char *server_id, const char *host);
typedef struct EvacuateRequest {
    const char *dest;         /* NULL: choose */
    const char *override;     /* an administrator vouches that the node is off, and why; NULL: no.
                                 Needed where neither the storage nor a command can fence */
    bool leave_stopped;       /* microversion 2.95: not started on its new host */
    const TaskEngine *engine; /* knows what can fence; NULL: nothing can */
} EvacuateRequest;
/* Insert the migration row and its task: the server's node is dead, bring it up elsewhere.
 * ERR_CONFLICT: the node is up (neither down nor forced down), dest cannot take it, or there is no
 * fence. ERR_NOT_FOUND: there is no such dest. */
bool task_submit_evacuate(StoreTx *tx, Server *server, const EvacuateRequest *evacuate,
                          bool caller_is_admin, const TaskRequest *request, int64_t *migration_id,
                          GError **err);
/* ---- volumes: each inside the caller's write transaction; after the commit call task_engine_wake
 * -
 *
 * "create", "delete", "extend", … of volume_rules: check the rule against the volume (and that it
 * has no snapshots, where the rule says so), set its status, queue the task. volume is the row as
 * it stands in tx and is updated; for "create" it has just been inserted. extend: params
 * {"size_gb": N}. */
bool task_submit_volume(StoreTx *tx, const char *action, Volume *volume, const TaskRequest *request,
                        int64_t *task_id, GError **err);
/* "snapshot-create", "snapshot-delete"; the snapshot's row exists. force: also while the volume is
 * in use. */
bool task_submit_snapshot(StoreTx *tx, const char *action, Volume *volume, Snapshot *snapshot,
                          bool force, const TaskRequest *request, int64_t *task_id, GError **err);

typedef struct AttachRequest {
    const char *device; /* "vdb" or "/dev/vdb"; NULL: the next free one */
    int64_t boot_index; /* -1: none */
    bool delete_on_termination;
    const char *tag; /* may be NULL */
} AttachRequest;
/* Put volume into server: an Attachment in RESERVED, the volume ATTACHING (one that is being
 * created keeps its status). Only the rows: server creation uses it for the volumes that it starts
 * with. ERR_CONFLICT: the volume is not available, or the device is taken. Caller frees
 * *attachment. */
bool task_reserve_volume(StoreTx *tx, const Server *server, Volume *volume,
                         const AttachRequest *request, Attachment **attachment, GError **err);
/* The same for a server that exists, with the task that makes it so. */
bool task_submit_attach(StoreTx *tx, Server *server, Volume *volume, const AttachRequest *attach,
                        bool caller_is_admin, const TaskRequest *request, Attachment **attachment,
                        GError **err);
bool task_submit_detach(StoreTx *tx, Server *server, Attachment *attachment, bool caller_is_admin,
                        const TaskRequest *request, GError **err);
/* Let a server's disk, or a volume (the other NULL), hold all its data itself. Progress: the
 * volume's progress_percent, and in the task's state {"done": BYTES, "total": BYTES}. */
bool task_submit_flatten(StoreTx *tx, Server *server, Volume *volume, const TaskRequest *request,
                         int64_t *task_id, GError **err);

/* Queue a look at where server_id really is, unless one is queued; host: a node that made somebody
 * ask, may be NULL. */
bool task_submit_reconcile(StoreTx *tx, const char *server_id, const char *host, GError **err);
/* New rows are there: run them. Never blocks. */
void task_engine_wake(TaskEngine *engine);
/* Somebody wishes something of the migration that is at work on this server: read it. Also wakes.
 * Never blocks. */
void task_engine_tell(TaskEngine *engine, const char *server_id);

/* What watch saw; routed to the task that waits for this server. Does not take event. Never blocks.
 */
void task_engine_host_event(TaskEngine *engine, const HostEvent *event);
/* Look for what lies in the storage without a record: a disk whose server is known to be deleted, a
 * volume of ours that is gone from the records, is removed; what was never ours is left alone and
 * counted. Blocks on storage. */
typedef struct OrphanReport {
    int64_t removed, foreign;
    GPtrArray *foreign_names; /* char *, "instances/…": at most 100 */
} OrphanReport;
void orphan_report_clear(OrphanReport *report);
bool task_sweep_orphans(TaskEngine *engine, OrphanReport *report, GError **err);
/* What the last sweep of this process left alone, and when it ended (realtime µs; 0: none yet). */
int64_t task_last_foreign(int64_t *swept_at);
/* Number of tasks open in the store or at work; 0 = idle. For shutdown and tests. */
int64_t task_engine_open_count(TaskEngine *engine);
