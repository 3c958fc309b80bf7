/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* take-over.h: a godwitd shuts out the one before it from the storage */
#pragma once

#include "task/task.h"

/* Fence the clients that the records have of a former godwitd (its watches would make its disks
 * look in use until the OSDs' time-out), and write down our own. Nothing to do: one read of the
 * store. Blocks on storage. Any error: nothing was forgotten, call again later. */
bool task_take_over_storage(TaskEngine *engine, GError **err);
