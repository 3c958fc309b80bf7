/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* runner.h: between engine.c, which decides when a task runs, and runner.c, which takes it through
 * its steps */
#pragma once

#include "task/task-priv.h"

/* Run until the task is closed, or left open because the engine stops. Blocks. */
void runner_run(TaskRun *run);

/* The engine's parts, for the synchronous queries. */
Store *engine_store(TaskEngine *engine);
Hosts *engine_hosts(TaskEngine *engine);
const Storage *engine_storage(TaskEngine *engine);
const TaskSettings *engine_settings(TaskEngine *engine);
