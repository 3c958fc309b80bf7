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
} TaskSettings;

TaskEngine *
task_engine_new(Store *store, Hosts *hosts, const Storage *storage, const TaskSettings *settings);
/* Take up every open task of the store, then accept new ones. */
bool task_engine_start(TaskEngine *engine, GError **err);
/* Stop taking steps; tasks stay open in the store for the next start. Waits for steps under way
 * until deadline. */
void task_engine_stop(TaskEngine *engine, int64_t deadline_us);
void task_engine_free(TaskEngine *engine);

typedef struct TaskRequest {
    const char *request_id, *user_id, *project_id;
    const char *host; /* target host, NULL: choose */
    int64_t migration_id;
    const char *params; /* JSON object; NULL: {} */
} TaskRequest;

/* Inside the caller's write transaction: check the action's rule against the server, set its
 * task_state, write the instance action and the task. ERR_CONFLICT as action_rule_permits. After
 * the commit call task_engine_wake. */
bool task_submit(StoreTx *tx, const char *action, Server *server, bool caller_is_admin,
                 const TaskRequest *request, int64_t *task_id, GError **err);
/* Insert the migration row and its task for os-migrateLive. dest may be NULL. */
bool task_submit_live_migration(StoreTx *tx, Server *server, const char *dest, bool caller_is_admin,
                                const TaskRequest *request, int64_t *migration_id, GError **err);
/* Queue a look at where server_id really is, unless one is queued; host: a node that made somebody
 * ask, may be NULL. */
bool task_submit_reconcile(StoreTx *tx, const char *server_id, const char *host, GError **err);
/* New rows are there: run them. Never blocks. */
void task_engine_wake(TaskEngine *engine);

/* What watch saw; routed to the task that waits for this server. Does not take event. Never blocks.
 */
void task_engine_host_event(TaskEngine *engine, const HostEvent *event);
/* Number of tasks open in the store or at work; 0 = idle. For shutdown and tests. */
int64_t task_engine_open_count(TaskEngine *engine);
