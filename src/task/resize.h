/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* resize.h: what a resize, its confirmation and its revert have in common */
#pragma once

#include "task/task-priv.h"

/* The run's migration as it stands in the store; it belongs to the run. NULL: *err. */
const Migration *resize_migration(TaskRun *run, GError **err);
/* Close the phase that is open, in the task's state, and open this one. */
void resize_enter_phase(TaskRun *run, const char *phase);
/* The phase and its times always; what else there is by change, which may be NULL. */
bool resize_update(TaskRun *run, StoreTx *tx, void (*change)(TaskRun *run, Migration *row),
                   GError **err);

bool resize_on_one_host(const Migration *migration);
/* The server has the destination and the new flavor from now on, or the source and the old one. */
bool resize_put(TaskRun *run, StoreTx *tx, bool on_dest, TaskState task_state, GError **err);

/* On server->host, with what the server's row says: the guest runs; or there is just the
 * definition. Both idempotent. */
bool resize_start(TaskRun *run, GError **err);
bool resize_define(TaskRun *run, GError **err);
/* Of a step that starts the guest on server->host, and the mark that it leaves: "tried" is set as
 * soon as the guest may run there. */
StepProbe resize_probe_start(TaskRun *run, GError **err);
/* Take its definition, and whatever should run of it, from a node that does not have the server. A
 * node that does not answer is no error: *left, and its next sweep does it. */
bool resize_remove_domain(TaskRun *run, const char *host, bool *left, GError **err);

/* For the deletion of a server: the domains of a resize that nobody has confirmed, and its end,
 * with the reason. */
bool resize_remove_others(TaskRun *run, GError **err);
bool resize_end_with_server(TaskRun *run, StoreTx *tx, const char *why, GError **err);

/* Newest resize of the server that is finished and neither confirmed nor reverted; NULL: *err,
 * ERR_CONFLICT if there is none. */
Migration *resize_find_finished(StoreTx *tx, const Server *server, GError **err);

/* What a server needs on its new host, as loads without it and without what it holds there would be
 * judged; changes loads. */
PlacementRequest resize_placement(const TaskSettings *settings, const Server *server,
                                  const Migration *migration, HostLoad *loads, size_t n);
