/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move-queue.h: which of the live migrations that were asked for may be under way */
#pragma once

#include "task/task.h"

/* ---- the decision: pure ---- */
typedef struct QueueHost {
    const char *name;
    int64_t out_most, in_most; /* moves at once; 0: no limit */
    int64_t out, in;           /* filled in by move_queue_choose: under way, or just chosen */
} QueueHost;

typedef struct QueueMove {
    int64_t id, priority;
    const char *source;
    const char *dest; /* NULL: none chosen yet */
    bool under_way;
    bool ready; /* it may begin as far as its server is concerned */
    bool start; /* out: it may be under way from now on */
} QueueMove;

/* On which of the hosts could move, which names none, run? Sets fits[i]; how many. 0: it is let
 * start all the same, to end with the reason. */
typedef size_t (*QueueFitsFn)(const QueueMove *move, bool *fits, void *opaque);

/* Of those that are ready, let start what the limits allow: the higher priority first, then the
 * older; who waits for one node keeps nobody from the others. total: in all; 0: no limit. */
void move_queue_choose(QueueMove *moves, size_t n_moves, QueueHost *hosts, size_t n_hosts,
                       int64_t total, QueueFitsFn fits, void *opaque);

/* ---- and its application ---- */
/* Decide about the migrations in ready (a set of ids, int64_t *) and record it: PREPARING, or
 * QUEUED. held: set of the ids, borrowed from ready, that must go on waiting. One write
 * transaction, and none where nothing changes. */
bool move_queue_admit(Store *store, const TaskSettings *settings, GHashTable *ready,
                      GHashTable *held, GError **err);

/* Is there a free place on host for a further incoming move, beside those under way other than
 * migration_id? Inside a transaction. */
bool move_queue_has_place(StoreTx *tx, const TaskSettings *settings, const char *host,
                          int64_t migration_id, bool *has_place, GError **err);
