/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* power.h: what the operations on a guest that stays on its host have in common (task-power.c) */
#pragma once

#include "task/task-priv.h"

/* ERR_CONFLICT: it is on no host, its creation failed. */
bool power_need_host(TaskRun *run, GError **err);
/* For a transaction that succeeds. */
void power_set_running(TaskRun *run, Server *server);
/* A step's undo: what does the guest do after the attempt? And the fail that records it: a failed
 * operation leaves the server as it is seen to be. */
bool power_look(TaskRun *run, GError **err);
void power_set_as_observed(TaskRun *run, Server *server);
bool power_fail(TaskRun *run, StoreTx *tx, const GError *reason, GError **err);
