/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* visibility.h: proof that a node sees the storage that the controller sees */
#pragma once

#include "task/task.h"

/* A directory: writes a random nonce on the controller's side and reads it back through the node's
 * own libvirt, then the reverse. Ceph: gives the node the key, makes a random disk and lets the
 * node's QEMU open it. false with *err: the node does not see the same storage (ERR_CONFLICT) or
 * could not be asked. Blocks up to a minute. */
bool visibility_prove(TaskEngine *engine, const char *host, GError **err);
/* Is the proof worth repeating for no reason? On Ceph it starts a QEMU on the node. */
bool visibility_is_cheap(TaskEngine *engine);
/* Free and total GiB of the storage as the node sees it. */
bool visibility_capacity(TaskEngine *engine, const char *host, int64_t *total_gb, int64_t *free_gb,
                         GError **err);
