/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host-change.h: a node leaves, or gets another name */
#pragma once

#include "task/task.h"

#define HOST_NAME_MAX_BYTES 63
bool host_name_is_valid(const char *name);

/* Both inside the caller's write transaction; after the commit watch_hosts_changed.
 *
 * ERR_CONFLICT says what is in the way: servers, moves under way, resizes that are neither
 * confirmed nor reverted, in any case; clients that are shut out of the storage, remains of
 * evacuated servers, unless gone_for_good: then the entries run out by themselves. */
bool task_host_remove(StoreTx *tx, const Host *host, bool gone_for_good, GError **err);
/* Write the new name wherever the old one stands; id, number and service stay. ERR_INVALID: it is
 * no name; ERR_CONFLICT: another host has it, or a task or a move is at work on this host. */
bool task_host_rename(StoreTx *tx, Host *host, const char *name, GError **err);
