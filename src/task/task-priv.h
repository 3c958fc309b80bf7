/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-priv.h: what engine and operations share: kinds, steps, a run, its waits */
#pragma once

#include <jansson.h>

#include "block/block.h"
#include "host/host.h"
#include "task/task.h"

/* A task is a row. Where it stands is (phase, mark):
 *
 *            INTENT 0 ──► INTENT 1 ──► … ──► INTENT n-1 ──► DONE (succeeded)
 *               │            │                  │
 *               ▼            ▼                  ▼
 *             UNDO 0 ◄──── UNDO 1 ◄──── … ◄── UNDO n-1
 *               │
 *               ▼
 *             DONE (failed), or INTENT 0: everything was taken back, begin again another way
 *
 * INTENT p is committed before step p touches anything outside, in the same transaction as the
 * outcome of step p-1. Whoever finds a task at INTENT p after a crash knows that step p may have
 * happened: it probes before it runs. An edge that is not in this picture is refused
 * (task_edge_allowed), checked by the unit tests and logged. */
bool task_edge_allowed(int64_t from_phase, TaskMark from, int64_t to_phase, TaskMark to,
                       int64_t n_steps);

typedef struct TaskRun TaskRun;

typedef enum StepProbe {
    STEP_NOT_DONE, /* run it */
    STEP_DONE,     /* go on with its commit */
    STEP_UNKNOWN,  /* *err says why; waits for the node, then probes again */
} StepProbe;

typedef struct TaskStep {
    const char *name;
    /* Asked after a crash, and after an error whose outcome is not known. NULL: run is idempotent
     * and may simply run again. */
    StepProbe (*probe)(TaskRun *run, GError **err);
    bool (*run)(TaskRun *run, GError **err);
    /* Writes the outcome in the transaction that moves the task on; reads run->…, touches nothing
     * outside. May be NULL. */
    bool (*commit)(TaskRun *run, StoreTx *tx, GError **err);
    /* Takes the step back, whether it happened, half happened or not; idempotent. May be NULL. */
    bool (*undo)(TaskRun *run, GError **err);
} TaskStep;

typedef enum TaskAgain { /* all that a task did was taken back: what now? */
    TASK_AGAIN_NO,
    TASK_AGAIN_NOW,
    TASK_AGAIN_LATER, /* it stays open without a thread until the scheduler finds that it may run */
} TaskAgain;

typedef struct TaskKind {
    const char *name;
    const TaskStep *steps;
    size_t n_steps;
    int64_t unreachable_wait_us; /* how long a step waits for a node that went away before the task
                                    fails */
    /* The last transaction. reason is what made it fail. */
    bool (*succeed)(TaskRun *run, StoreTx *tx, GError **err);
    bool (*fail)(TaskRun *run, StoreTx *tx, const GError *reason, GError **err);
    /* A task that is to end (a delete waits behind it, or wants_end says so) ends at the start of a
     * step up to this one; later steps see to it themselves. */
    int64_t cancel_through;
    /* Did somebody ask for the end of just this task? Asked at the start of those steps. May be
     * NULL. *err: ERR_CANCELLED and who or why. */
    bool (*wants_end)(TaskRun *run, GError **err);
    /* In the transaction that would be the last of a failed task: fail it, or begin again? Writes
     * what is to be done differently. May be NULL. */
    bool (*again)(TaskRun *run, StoreTx *tx, const GError *reason, TaskAgain *again, GError **err);
} TaskKind;

extern const TaskKind task_server_create, task_server_start, task_server_stop, task_server_reboot,
    task_server_delete, task_server_live_migrate, task_server_reconcile, task_volume_create,
    task_volume_delete, task_volume_extend, task_volume_attach, task_volume_detach,
    task_snapshot_create, task_snapshot_delete, task_server_flatten, task_volume_flatten,
    task_server_pause, task_server_unpause, task_server_suspend, task_server_resume,
    task_server_resize, task_server_confirm_resize, task_server_revert_resize, task_server_evacuate;
const TaskKind *task_kind_find(const char *name);

typedef enum RunMessageKind {
    RUN_EVENT,    /* a node or a domain said something */
    RUN_MOVE_END, /* the migrate call of this task returned */
    RUN_PROGRESS, /* statistics of the running move were read */
    RUN_CANCEL,   /* somebody wants this task to stop */
    RUN_ABORTED,  /* the node was asked to abort the move */
    RUN_FORCED,   /* the node was asked to force the move to its end */
    RUN_WISH,     /* somebody wrote a wish into the migration: read it */
} RunMessageKind;
typedef struct RunMessage {
    RunMessageKind kind;
    HostEvent *event; /* RUN_EVENT */
    GError *error;    /* RUN_MOVE_END: NULL = the call returned 0; RUN_PROGRESS: why there are none;
                         RUN_ABORTED, RUN_FORCED: why not */
    bool job_active;  /* RUN_PROGRESS */
    int64_t memory_processed;  /* RUN_PROGRESS: bytes that have crossed */
    int64_t downtime_limit_ms; /* RUN_PROGRESS: in force now */
} RunMessage;
void run_message_free(RunMessage *message);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RunMessage, run_message_free)

struct TaskRun {
    TaskEngine *engine;
    const TaskKind *kind;
    int64_t id;      /* of the task, and of its subjects: what others may read of a run */
    char *server_id; /* "": none */
    char *volume_id; /* NULL: none */
    Task *task;      /* copy of the row, kept in step with it */
    Server *server;  /* as read at the start of the current step; NULL: none */
    Volume *volume;  /* the same */
    json_t *state;   /* what steps found out; saved with each transition */
    json_t *params;
    bool taken_up;  /* the current step may have happened before this run */
    bool later;     /* it was put back: open, and nobody is at work on it */
    bool cancelled; /* somebody wants it stopped (a delete or an evacuation waits behind it) */
    bool evacuated; /* it is an evacuation: the server's node is taken for dead */
    Mailbox *inbox; /* RunMessage; bounded */
    void *data;     /* the kind's own, freed by data_free */
    GDestroyNotify data_free;
};

/* ---- for the operations ------------------------------------------------------------------------
 */
Store *run_store(TaskRun *run);
Hosts *run_hosts(TaskRun *run);
const Storage *run_storage(TaskRun *run);
const TaskSettings *run_settings(TaskRun *run);

bool run_write(TaskRun *run, bool (*fn)(TaskRun *run, StoreTx *tx, GError **err), GError **err);
bool run_read(TaskRun *run, bool (*fn)(TaskRun *run, StoreTx *tx, GError **err), GError **err);
/* Keep run->state within a step: for what must be known to who takes it up. */
bool run_save_state(TaskRun *run, StoreTx *tx, GError **err);
bool run_reload(TaskRun *run, GError **err); /* server and volume, as far as it has them */
/* Read-change-write of the server row inside tx; also refreshes run->server. */
bool run_update_server(TaskRun *run, StoreTx *tx, void (*change)(TaskRun *run, Server *server),
                       GError **err);
bool run_update_volume(TaskRun *run, StoreTx *tx, void (*change)(TaskRun *run, Volume *volume),
                       GError **err);
/* For a log line: what the task is about. */
#define RUN_SUBJECT(run)                       \
    (*(run)->server_id ? "server" : "volume"), \
        (*(run)->server_id ? (run)->server_id : (run)->volume_id)

/* Next message for this run, or NULL at the deadline. A stop of the engine sets *err to
 * ERR_CANCELLED (run_is_stopping). */
RunMessage *run_receive(TaskRun *run, int64_t deadline_us, GError **err);
bool run_is_stopping(const TaskRun *run);
bool run_is_evacuated(const TaskRun *run); /* an evacuation waits for its end */
/* Wait until host is connected. ERR_UNREACHABLE at the deadline. */
bool run_wait_host(TaskRun *run, const char *host, int64_t deadline_us, GError **err);
/* Forget queued messages: before a step whose events must be its own. */
void run_drain_inbox(TaskRun *run);
/* Drop a message into the inbox of the run of this very task, from any thread; takes message. A
 * task that is gone swallows it. */
void engine_post(TaskEngine *engine, const char *server_id, int64_t task_id, RunMessage *message);

/* A thread on behalf of a run that may outlive it; the engine's stop waits for it. */
void engine_start_helper(TaskEngine *engine, const char *name, ThreadFn fn, void *opaque);

const char *run_state_text(TaskRun *run, const char *key);
void run_set_state_text(TaskRun *run, const char *key, const char *value);
int64_t run_state_int(TaskRun *run, const char *key, int64_t absent);
void run_set_state_int(TaskRun *run, const char *key, int64_t value);

#define DEADLINE_CONTROL \
    (clock_monotonic() + 10 * USEC_PER_SEC) /* a node that answers at all answers by then */
#define DEADLINE_WORK (clock_monotonic() + 120 * USEC_PER_SEC) /* start, stop, file transfer */

/* ---- shared parts of operations (server-parts.c)
 * ------------------------------------------------- */
/* Choose a host and reserve it: server->host is set in the transaction. Honours params "host". */
bool part_place(TaskRun *run, StoreTx *tx, GError **err);
/* The same, and nothing is reserved. */
bool part_find_place(TaskRun *run, StoreTx *tx, char **host, GError **err);
bool part_choose_host(TaskRun *run, StoreTx *tx, const PlacementRequest *request, char **host,
                      GError **err);
/* The <cpu> for new domains over all nodes that are up; host NULL: any of them computes it. limit
 * may be NULL. */
char *engine_choose_cpu(Store *store, Hosts *hosts, const LibvirtSettings *settings,
                        const char *host, char **limit, GError **err);
/* Build the disk, the config drive, the domain's spec. */
bool part_make_disk(TaskRun *run, GError **err);
bool part_make_config_drive(TaskRun *run, GError **err);
ServerSpec *part_server_spec(TaskRun *run, const char *host, GError **err);
/* The <cpu> for a new domain on host. */
bool part_choose_cpu(TaskRun *run, const char *host, char **cpu_xml, GError **err);
/* Define and start on server->host, once nobody else has its disks open; remembers machine, cpu and
 * the disks' clients in run->state for the commit (part_record_clients). */
bool part_start_domain(TaskRun *run, GError **err);
StepProbe part_probe_running(TaskRun *run, GError **err);
StepProbe part_probe_stopped(TaskRun *run, GError **err);
/* Is the bridge of each of the server's ports there on host? ERR_CONFLICT names host and bridge. */
bool part_check_bridges(TaskRun *run, const char *host, GError **err);
bool part_power_off(TaskRun *run, bool graceful, GError **err);

/* ---- volumes of a server (server-volumes.c) ----
 * Attachments of the server with their volumes, in the order of their devices. */
typedef struct ServerVolume {
    Attachment *attachment;
    Volume *volume;
} ServerVolume;
void server_volume_free(ServerVolume *entry);
GPtrArray *part_server_volumes(TaskRun *run, GError **err); /* elements ServerVolume * */
bool part_volume_disk(TaskRun *run, const ServerVolume *entry, DiskSpec *disk, GError **err);
/* The data of a volume, from what its row says it is made from; progress goes into the row.
 * Idempotent. */
bool part_make_volume(TaskRun *run, const Volume *volume, GError **err);
/* The server's volumes that are not made yet; and, in the step's commit, that they are. */
bool part_make_volumes(TaskRun *run, GError **err);
bool part_commit_volumes(TaskRun *run, StoreTx *tx, GError **err);
/* All that were reserved are attached and in use from now on. */
bool part_keep_volumes(TaskRun *run, StoreTx *tx, GError **err);
/* No guest has them any more: they become available, or their deletion is queued: of those that go
 * with the server; create_failed: of those that its creation was to make. */
bool part_release_volumes(TaskRun *run, StoreTx *tx, bool create_failed, GError **err);
/* The guest that runs on host gets the volumes that it should have and loses others. What cannot be
 * done is logged. */
void part_settle_volumes(TaskRun *run, const char *host);

/* ---- one writer (disk-clients.c) ----
 * Before a start on host: whoever has one of the server's disks open is judged. A former client of
 * this very server whose QEMU is proven gone on a node that answers is fenced, and we go on at
 * once; a client that is recorded on a node that does not answer, or that nobody knows, is refused
 * and named (ERR_CONFLICT). */
bool part_clear_disk_clients(TaskRun *run, GError **err);
/* After a start, an attachment or a move: who has the server's disks open now, on host;
 * part_record_ clients writes it in the step's commit (replacing what was recorded for the server).
 */
bool part_observe_clients(TaskRun *run, const char *host, GError **err);
bool part_record_clients(TaskRun *run, StoreTx *tx, GError **err);
/* Before a QEMU is started, once nobody has its disks open: whoever is recorded is a client of the
 * past, and the new one is not known until it is recorded. */
bool part_expect_clients(TaskRun *run, GError **err);
/* It did not start after all, and nothing of it is there: by the node's word; and if the node,
 * asked after error, says so. */
void part_expect_no_clients(TaskRun *run);
void part_not_started(TaskRun *run, const GError *error);

/* The console log goes on on host. */
void part_console_add(Server *server, const char *host);
/* Remove the parts of the console log that are on nodes. One that does not answer keeps its part: a
 * log is no reason to keep a server. */
void part_console_delete(TaskRun *run);

/* ---- the phases of a migration (migration-phases.c) ----
 * How long each took, in the run's state; us: microseconds, below 0 counts as 0. */
void phase_add_time(TaskRun *run, const char *phase, int64_t us);
/* The phase under way ends (first: if none has begun yet), and phase begins. */
void phase_enter(TaskRun *run, const char *first, const char *phase);
/* Phase and times into the row, which is stored by the caller. */
void phase_record(TaskRun *run, Migration *row);

/* Open the instance action of a request that has been accepted (submit.c). */
bool submit_insert_action(StoreTx *tx, const ActionRule *rule, const Server *server,
                          const TaskRequest *request, int64_t now, GError **err);
/* Close the instance action of this task's request. reason NULL: success. */
bool part_finish_action(TaskRun *run, StoreTx *tx, const char *event, const char *host,
                        const GError *reason, GError **err);

/* ---- where does a guest run? (move-judge.c: pure)
 * ----------------------------------------------------- */
typedef enum Seen { /* what a probe of one node answered */
    SEEN_UNREACHABLE,
    SEEN_GONE,               /* absent or shut off */
    SEEN_RUNNING,            /* or paused by a person: it lives here */
    SEEN_MOVING,             /* source: runs, and a migration job is active */
    SEEN_STOPPED_FOR_SWITCH, /* source: paused by migration */
    SEEN_INCOMING,           /* destination: QEMU waits for the stream */
    SEEN_POSTCOPY, /* source: handed over, but memory that the guest needs is still here */
} Seen;
extern const char *const seen_names[];

typedef enum SwitchBegan {
    SWITCH_NOT_BEGUN,
    SWITCH_BEGAN,
    SWITCH_NOT_KNOWN
} SwitchBegan;

typedef enum MoveVerdict {
    MOVE_IN_FLIGHT,            /* leave it alone, look again */
    MOVE_SWITCHED,             /* it runs on the destination; nothing of it runs on the source */
    MOVE_SWITCHED_STOP_SOURCE, /* it runs on the destination; the source must be destroyed */
    MOVE_ROLLED_BACK,          /* it runs on the source */
    MOVE_RESUME_SOURCE,        /* it is on the source only, stopped by the move: let it run */
    MOVE_NOWHERE,              /* it runs on neither */
    MOVE_WAIT, /* a node does not answer, and the answer matters: look again until the deadline */
} MoveVerdict;
extern const char *const move_verdict_names[];
MoveVerdict move_judge(Seen source, Seen dest, SwitchBegan began);
/* What may be said when the deadline for MOVE_WAIT has passed. uncertain: it may run on two nodes,
 * or on a node that does not answer. */
typedef struct MoveFinal {
    bool on_dest; /* record the destination as its host */
    bool uncertain;
} MoveFinal;
MoveFinal move_judge_at_deadline(Seen source, Seen dest, SwitchBegan began);
Seen seen_of(const DomainInfo *info, bool is_source);
