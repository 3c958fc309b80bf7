/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rados-vfs.c: SQLite on RADOS by way of libcephsqlite, with a cluster client of our own making
 *
 * libcephsqlite has one client per process. We configure it: operations end in an error instead of
 * hanging for ever. Its own lock on the database is the second line behind the lease; it outlives
 * its holder for 30 s (Ceph 16 refuses to set that time), so whoever takes over breaks it. Its
 * address must be known before the database is opened, because the next owner has to blocklist it.
 * Once connected it stays so until the process ends: it cannot be given another client. */
#include "store/rados-vfs.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The lease ends a process that cannot reach the cluster long before this. It is for a cluster
 * where only the database's placement groups are unavailable: requests wait that long for them. */
#define OSD_SECONDS 30

/* From libcephsqlite.h, which only a C++ compiler can read. */
struct sqlite3_api_routines;
int sqlite3_cephsqlite_init(sqlite3 *db, char **err, const struct sqlite3_api_routines *api);
int cephsqlite_setcct(void *context, char **address);

static pthread_mutex_t vfs_mutex = PTHREAD_MUTEX_INITIALIZER;
static rados_t vfs_client; /* holds the configuration that libcephsqlite's client uses */
static char *vfs_address;

/* Extensions are given SQLite's routines when a database is opened, and by no call. */
static const struct sqlite3_api_routines *routines;

static int
routines_catch(sqlite3 *db, char **err, const struct sqlite3_api_routines *api)
{
    routines = api;
    return SQLITE_OK;
}

static bool
vfs_register(GError **err)
{
    void (*const catcher)(void) = (void (*)(void))routines_catch;
    sqlite3 *db = NULL;

    if (sqlite3_vfs_find("ceph"))
        return true;
    sqlite3_auto_extension(catcher);
    int rc = sqlite3_open(":memory:", &db);
    sqlite3_cancel_auto_extension(catcher);
    if (rc == SQLITE_OK && routines)
        sqlite3_cephsqlite_init(db, NULL, routines);
    sqlite3_close(db);
    return sqlite3_vfs_find("ceph") != NULL ||
           err_set(err, ERR_UNSUPPORTED,
                   "libcephsqlite cannot be set up: is its version made for this SQLite (%s)?",
                   sqlite3_libversion());
}

bool
rados_vfs_use(const StoreConfig *config, char **address, GError **err)
{
    WITH_MUTEX(&vfs_mutex);
    char *found = NULL;

    if (vfs_client) {
        *address = g_strdup(vfs_address);
        return true;
    }
    if (!vfs_register(err))
        return false;
    rados_t client = rados_client_new(config, OSD_SECONDS, err);
    if (!client)
        return false;
    int code = cephsqlite_setcct(rados_cct(client), &found);
    if (code < 0) {
        rados_shutdown(client);
        return rados_client_failed(code, "connecting libcephsqlite to the cluster", err);
    }
    vfs_client = client;
    vfs_address = g_strdup(found);
    free(found);
    *address = g_strdup(vfs_address);
    return true;
}

char *
rados_vfs_uri(const StateUri *uri)
{
    return g_strdup_printf("file:///%s:%s/%s.db?vfs=ceph", uri->pool, uri->space, uri->name);
}
