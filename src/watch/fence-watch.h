/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fence-watch.h: fences are kept up while a node is away, and lifted when it is back */
#pragma once

#include "task/task.h"

typedef struct FenceWatch FenceWatch;
FenceWatch *fence_watch_new(TaskEngine *tasks);
void fence_watch_free(FenceWatch *watch); /* after sweep_wait_all */

/* Stock was taken of the node: clear up what it still has of servers that were evacuated from it,
 * and let it use the storage again. Blocks on the node and the storage; to be called on the sweep's
 * thread. */
void fence_watch_connected(TaskEngine *tasks, const char *host);
/* See to it that every fence is in force, on a thread of its own; one at a time. Never blocks. */
void fence_watch_start(FenceWatch *watch);
