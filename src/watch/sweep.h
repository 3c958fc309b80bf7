/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sweep.h: what is asked of a node each time it is connected */
#pragma once

#include "host/host.h"
#include "task/task.h"

/* On a thread of its own: read the node's facts, prove that it sees the storage, compare its
 * domains with the record. The host is up when all of that is in the store. is_new: it was just
 * connected; else a proof that is dear and was given is not asked for again. uri: by which it is
 * connected; nothing is recorded if the host has another one by then. */
void sweep_start(Store *store, TaskEngine *tasks, Hosts *hosts, const char *host, const char *uri,
                 const char *virt_type, bool is_new);
/* A thread of watch's that sweep_wait_all waits for. */
void sweep_start_thread(const char *name, ThreadFn fn, void *opaque);
/* Wait until no sweep runs. */
void sweep_wait_all(void);
