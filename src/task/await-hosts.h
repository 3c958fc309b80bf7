/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* await-hosts.h: just after the start, nodes have not shown yet whether they are there */
#pragma once

#include "task/task-priv.h"

/* Before a run's first step: wait for the nodes that it needs and that have not shown since
 * started_at, when the engine started, whether they are up. Bounded from then; ends early when the
 * run is cancelled or the engine stops. */
void run_await_hosts(TaskRun *run, int64_t started_at);
