/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rados-client.h: inside of store/: a client of the Ceph cluster, its errors, and putting an end to
 * another one */
#pragma once

#include "store/lease.h"

#include <rados/librados.h>

/* After this long a silent monitor counts as unreachable. */
#define RADOS_MON_SECONDS 5

/* Configured, not connected. osd_seconds: how long an operation may take. */
rados_t rados_client_new(const StoreConfig *config, int osd_seconds, GError **err);
/* ERR_INVALID: it will not let us in; ERR_UNREACHABLE: later it may. */
bool rados_client_connect(rados_t cluster, const StoreConfig *config, GError **err);
/* "192.0.2.7:0/3710147553", as the blocklist wants it. NULL on error. */
char *rados_client_address(rados_t cluster, GError **err);
/* The one translation of librados's results; always returns false. */
bool rados_client_failed(int code, const char *doing, GError **err);

/* Blocklist addresses (char *), read the list back, and wait until cluster's own map has them: an
 * operation sent by it afterwards makes every daemon it reaches know them, too. */
bool rados_fence(rados_t cluster, const GPtrArray *addresses, GError **err);
/* Take a lock on an object away from those clients. *other: somebody else who has it, else NULL. An
 * absent object or lock is fine. */
bool rados_locks_break(rados_ioctx_t io, const char *object, const char *lock,
                       const GPtrArray *addresses, char **other, GError **err);
