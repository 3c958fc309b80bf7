/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fence.h: a node that is taken for dead cannot write any more: shutting it out, and letting it in
 * again */
#pragma once

#include "task/task-priv.h"

#include <pthread.h>

#define FENCE_SECONDS (INT64_C(30) * 86400) /* asserted anew long before */

/* What was done for the evacuation of this run, for its record: an object in run->state, which owns
 * it. "us": microseconds of each part. */
json_t *fence_report(TaskRun *run);
void fence_report_time(TaskRun *run, const char *part, int64_t began_us);

/* Over rows and the cluster's entries together. Shared: by a task for its own server. Exclusive: by
 * whoever lifts or asserts those of others; he looks for an evacuation under way with the lock in
 * hand, and it puts its clients down again with the lock in hand, before they are fenced. So nobody
 * takes out of the blocklist what has just been put in, nor brings back what was lifted. */
pthread_rwlock_t *fence_books(void);

/* ---- shutting out (fence.c) ----
 * gather finds the clients of the server's disks; its commit writes them down; only then shut_out
 * may touch the cluster. It returns when each is in the blocklist, the OSDs know it, and nobody has
 * a disk open. host: whose clients they are taken for. Nothing to do where the storage cannot
 * fence. */
bool fence_gather(TaskRun *run, const char *host, GError **err);
bool fence_commit_clients(TaskRun *run, StoreTx *tx, GError **err);
bool fence_shut_out(TaskRun *run, const char *host, GError **err);
/* After a shut_out that failed: nothing was started elsewhere, so the guest may have its disks
 * back. */
bool fence_take_back(TaskRun *run, GError **err);

/* ---- the external command (fence-command.c) ----
 * Run the configured program, once per node and outage: concurrent callers wait for the one call,
 * later ones find that it was made, until stock is taken of the node again. None configured: ok.
 * Blocks up to fence_timeout_s. */
bool fence_command_run(TaskRun *run, const Host *host, GError **err);
bool fence_command_forget(TaskEngine *engine, const char *host, GError **err);

/* ---- the node is back (fence-lift.c) ----
 * Does whatever host has of this server stem from before its evacuation? Then it is never the
 * guest, however alone it is. */
bool fence_is_stale_copy(StoreTx *tx, const char *server_id, const char *host, bool *stale,
                         GError **err);
/* Stop and remove what a node that answers still has of servers that were evacuated from it, see
 * that it is gone, and then, and only then, let its clients in again. Idempotent; nothing to do:
 * one read of the store. Blocks on the node and the storage. */
bool fence_lift_host(TaskEngine *engine, const char *host, GError **err);
/* The same, after the caller's task has ended, on a thread of its own, if the node is connected: it
 * was only said to be down. Never blocks. */
void fence_lift_soon(TaskEngine *engine, const char *host);
/* See to it that every fence is in force still, and does not expire. Of nodes that were removed
 * from the records the fences run out: their names go to *left (char *). Nothing to do: one read of
 * the store. */
bool fence_assert_all(TaskEngine *engine, GPtrArray **left, GError **err);
