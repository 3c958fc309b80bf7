/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* orphan-watch.h: the sweep of the storage, in the background */
#pragma once

#include "task/task.h"

typedef struct OrphanWatch OrphanWatch;

OrphanWatch *orphan_watch_new(TaskEngine *tasks);
/* After sweep_wait_all. */
void orphan_watch_free(OrphanWatch *watch);
/* Look for orphans on a thread of its own, unless one is at it. What was found is logged when it is
 * not what the last sweep found. Never blocks. */
void orphan_watch_start(OrphanWatch *watch);
