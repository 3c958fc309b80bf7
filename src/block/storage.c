/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* storage.c: the way from the tasks to a storage driver
 *
 * Every call passes two fault points, so that the crash suite can end the process just before and
 * just after each effect, and is refused inside a store transaction: storage may block for a long
 * time, and the store has one writer. */

#include "block/block.h"

#include <stdatomic.h>
#include <string.h>

static _Atomic(StorageInsideFn) inside_transaction;

void
storage_set_transaction_check(StorageInsideFn inside)
{
    atomic_store(&inside_transaction, inside);
}

static bool
call_permitted(const char *call, GError **err)
{
    StorageInsideFn inside = atomic_load(&inside_transaction);

    if (inside && inside())
        return err_set(err, ERR_BUG, "storage call %s inside a store transaction", call);
    return true;
}

/* The fault point behind the call is passed whether it succeeded or not: a crash may follow either.
 */
#define STORAGE_CALL(name, call)              \
    do {                                      \
        bool done;                            \
        if (!call_permitted(name, err))       \
            return false;                     \
        fault_point("block." name ".before"); \
        done = storage->ops->call;            \
        fault_point("block." name ".after");  \
        return done;                          \
    } while (0)

bool
storage_disk_create(const Storage *storage, const char *server_id, const char *image_id,
                    int64_t size, GError **err)
{
    STORAGE_CALL("disk-create", disk_create(storage->block, server_id, image_id, size, err));
}

bool
storage_disk_exists(const Storage *storage, const char *server_id, bool *exists, GError **err)
{
    STORAGE_CALL("disk-exists", disk_exists(storage->block, server_id, exists, err));
}

bool
storage_disk_delete(const Storage *storage, const char *server_id, GError **err)
{
    STORAGE_CALL("disk-delete", disk_delete(storage->block, server_id, err));
}

bool
storage_disk_source(const Storage *storage, const char *server_id, char **path, char **format,
                    GError **err)
{
    STORAGE_CALL("disk-source", disk_source(storage->block, server_id, path, format, err));
}

bool
storage_image_delete(const Storage *storage, const char *image_id, GError **err)
{
    STORAGE_CALL("image-delete", image_delete(storage->block, image_id, err));
}

bool
storage_config_drive_store(const Storage *storage, const char *server_id, const void *iso,
                           size_t size, GError **err)
{
    STORAGE_CALL("config-drive-store",
                 config_drive_store(storage->block, server_id, iso, size, err));
}

bool
storage_config_drive_source(const Storage *storage, const char *server_id, char **path,
                            GError **err)
{
    STORAGE_CALL("config-drive-source", config_drive_source(storage->block, server_id, path, err));
}

/* Reads only, so no fault points: a crash before or after is the same. */
bool
storage_access(const Storage *storage, RbdAccess **access, GError **err)
{
    return call_permitted("access", err) && storage->ops->access(storage->block, access, err);
}

bool
storage_secret(const Storage *storage, BlockSecret *secret, GError **err)
{
    return call_permitted("secret", err) && storage->ops->secret(storage->block, secret, err);
}

void
block_secret_clear(BlockSecret *secret)
{
    if (secret->value)
        explicit_bzero(secret->value, secret->size);
    g_free(secret->value);
    g_free(secret->uuid);
    g_free(secret->usage);
    *secret = (BlockSecret){0};
}

char *
storage_console_path(const Storage *storage, const char *server_id)
{
    return storage->ops->console_path(storage->block, server_id);
}
