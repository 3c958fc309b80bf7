/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move.h: the parts of a live migration: what is known of it while it runs, how it is watched, its
 * progress */
#pragma once

#include "task/task-priv.h"

typedef struct Move {     /* run->data of a live migration */
    Migration *migration; /* as read at the start of this run; dest_host and flags are final once
                             transfer begins */
    SwitchBegan began;
    bool resumed_on_dest; /* the destination said so */
    bool guest_stopped;   /* it powered off or crashed by itself during the move */
    bool call_running, call_ended;
    GError *call_error;  /* NULL with call_ended: returned 0 */
    bool source_stopped; /* the source said that its copy is gone */
    bool have_stats;
    JobStats stats;                   /* of the finished job */
    int64_t suspended_at, resumed_at; /* monotonic, as the driver saw the events */
    int64_t phase_since;              /* realtime */
    bool progress_busy;
    int64_t downtime_limit_ms;
    bool abort_sent;
    char *abort_reason;
} Move;

/* The run's Move; made from the store if this run has none yet. NULL with *err. */
Move *move_get(TaskRun *run, GError **err);

/* Close the phase under way and begin the next; times go to run->state "phases". */
void move_enter_phase(TaskRun *run, Move *move, const char *phase);

/* Start the call (or take up what a former godwitd started) and watch until the guest runs on the
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
/* Abort the job on a thread of its own; reason is kept for the record. */
void move_abort(TaskRun *run, Move *move, const char *reason);
