/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move.h: the parts of a live migration: what is known of it while it runs, how it is watched,
 * steered and begun again, its progress */
#pragma once

#include "task/task-priv.h"

typedef enum MoveForce { /* how a move is brought to its end */
    FORCE_NONE,
    FORCE_PAUSE,    /* the guest stands still on the source until it runs on the destination */
    FORCE_POSTCOPY, /* it runs on the destination, and what it lacks follows */
} MoveForce;
extern const char *const move_force_phases[]; /* the phase that it is in from then on */

typedef struct Move {     /* run->data of a live migration */
    Migration *migration; /* as read at the start of this run; dest_host and flags are final once
                             transfer begins */
    SwitchBegan began;
    bool resumed_on_dest; /* the destination said so */
    bool postcopy;        /* the guest runs there, and part of its memory is still on the source */
    bool is_split;        /* that came to a halt: neither node can go on alone */
    bool guest_stopped;   /* it powered off or crashed by itself during the move */
    bool call_running, call_ended;
    GError *call_error;  /* NULL with call_ended: returned 0 */
    bool source_stopped; /* the source said that its copy is gone */
    bool have_stats;
    JobStats stats;                   /* of the finished job */
    int64_t suspended_at, resumed_at; /* monotonic, as the driver saw the events */
    bool progress_busy;
    bool streaming; /* memory crosses: the hypervisor has begun, and remembers how it found it */
    int64_t memory_processed;
    int64_t downtime_limit_ms;
    char *abort_reason; /* NULL: nobody wants it aborted */
    bool abort_busy;
    int64_t abort_at;   /* monotonic: ask again then */
    char *force_reason; /* NULL: nobody wants it forced to its end */
    MoveForce forced;   /* how it was */
    bool force_busy, postcopy_refused;
    int64_t force_at; /* monotonic: not again before */
} Move;

/* The run's Move; made from the store if this run has none yet. NULL with *err. */
Move *move_get(TaskRun *run, GError **err);

/* Close the phase under way and begin the next; times go to run->state "phases". */
void move_enter_phase(TaskRun *run, const char *phase);
/* Begin the phase of a move that is forced so, or (FORCE_NONE) no longer; of the times of these
 * phases only that of this one stays, so that they tell how it was. */
void move_force_phase(TaskRun *run, MoveForce force);
/* The row's phase and times, and its attempts, as run->state has them; and what change, which may
 * be NULL, does. */
bool
move_update(TaskRun *run, StoreTx *tx, void (*change)(TaskRun *run, Migration *row), GError **err);

/* What placement is asked for a move of server. */
PlacementRequest
move_placement(const TaskSettings *settings, const Server *server, const Migration *migration);

/* ---- the next candidate (move-retry.c) ----
 * Where no host was named, run->state has "candidates" (all that fit, best first) and "attempts"
 * (what was tried, as Migration.attempts). */
void move_note_attempt(TaskRun *run, const char *host, const GError *reason);
bool move_attempts_have(const char *attempts, const char *host); /* of Migration.attempts */
bool move_was_tried(TaskRun *run, const char *host);
/* "; " between the reasons of all attempts. */
void move_append_attempts(TaskRun *run, GString *text);
/* Nothing is wrong but that every host that fits takes in as many moves as it may: back into the
 * queue. Returns false with *err. */
bool move_put_back(TaskRun *run, GError **err);
bool move_again(TaskRun *run, StoreTx *tx, const GError *reason, TaskAgain *again, GError **err);

/* ---- transfer (move-watch.c) ----
 * Start the call (or take up what a former godwitd started) and watch until the guest runs on the
 * destination (true), or it is clear that it will not (false, *err with a known outcome; run->state
 * "end" says where the guest is). */
bool move_transfer(TaskRun *run, GError **err);
/* After the switch: wait for the source's teardown, stop the source if it does not end by itself.
 */
bool move_clean_up(TaskRun *run, GError **err);

/* If what the call said is about TLS: add on which node what is missing, and the cure. Asks nodes.
 */
void move_explain_tls(TaskRun *run, Move *move);

/* Ask both nodes now. */
void move_look(TaskRun *run, Move *move, Seen *source, Seen *dest);

/* Read statistics and adapt the downtime limit on a thread of its own (the node may be slow to
 * answer just in the switch); the answer comes as RUN_PROGRESS. iteration < 0: only statistics. At
 * most one at a time. */
void move_read_progress(TaskRun *run, Move *move, int64_t iteration);

/* ---- steering (move-steer.c) ---- */
/* Somebody wishes, or time is up: abort, or force to the end. The first reason stays; who wants
 * both gets the abort. Never blocks for long. */
void move_want_abort(TaskRun *run, Move *move, const char *reason);
void move_want_force(TaskRun *run, Move *move, const char *reason);
/* Read the migration's wish and want it. */
void move_read_wish(TaskRun *run, Move *move);
/* Do what is wanted and possible now; called whenever something has changed. Returns when to be
 * called at the latest (INT64_MAX: no need). */
int64_t move_steer(TaskRun *run, Move *move);
void move_steered(TaskRun *run, Move *move, RunMessage *message); /* RUN_ABORTED, RUN_FORCED */
