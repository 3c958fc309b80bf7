/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rados-vfs.h: inside of store/: SQLite on RADOS */
#pragma once

#include "store/rados-client.h"

/* Make SQLite's "ceph" usable and connect it; *address is its client's. One cluster and one user
 * per process: a second call answers the same. Nothing is opened by it. */
bool rados_vfs_use(const StoreConfig *config, char **address, GError **err);
/* What sqlite3_open_v2 wants with SQLITE_OPEN_URI. */
char *rados_vfs_uri(const StateUri *uri);
