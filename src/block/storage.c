/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* storage.c: the way from the tasks to a storage driver
 *
 * Every call passes two fault points, so that the crash suite can end the process just before and
 * just after each effect. It is refused inside a store transaction (storage may block for a long
 * time, and the store has one writer) and to a process that may not act: what another one took over
 * is the other one's. */

#include "block/block.h"

#include <stdatomic.h>
#include <string.h>

static _Atomic(StorageInsideFn) inside_transaction;
static bool (*_Atomic may_act)(void *opaque);
static void *_Atomic may_act_opaque;
static _Atomic(StorageReconnectFn) on_reconnect;
static void *_Atomic on_reconnect_opaque;

void
storage_set_transaction_check(StorageInsideFn inside)
{
    atomic_store(&inside_transaction, inside);
}

void
storage_set_may_act(bool (*ask)(void *opaque), void *opaque)
{
    atomic_store(&may_act_opaque, opaque);
    atomic_store(&may_act, ask);
}

void
storage_set_on_reconnect(StorageReconnectFn tell, void *opaque)
{
    atomic_store(&on_reconnect_opaque, opaque);
    atomic_store(&on_reconnect, tell);
}

static bool
call_permitted(const char *call, GError **err)
{
    StorageInsideFn inside = atomic_load(&inside_transaction);
    bool (*ask)(void *) = atomic_load(&may_act);

    if (inside && inside())
        return err_set(err, ERR_BUG, "storage call %s inside a store transaction", call);
    if (ask && !ask(atomic_load(&may_act_opaque)))
        return err_set(err, ERR_FENCED,
                       "storage call %s refused: this controller does not hold the lease", call);
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
storage_disk_extend(const Storage *storage, const char *server_id, int64_t size, GError **err)
{
    STORAGE_CALL("disk-extend", disk_extend(storage->block, server_id, size, err));
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

bool
storage_volume_create(const Storage *storage, const char *volume_id,
                      const BlockVolumeSource *source, int64_t size, BlockProgressFn progress,
                      void *opaque, GError **err)
{
    STORAGE_CALL("volume-create",
                 volume_create(storage->block, volume_id, source, size, progress, opaque, err));
}

bool
storage_volume_delete(const Storage *storage, const char *volume_id, GError **err)
{
    STORAGE_CALL("volume-delete", volume_delete(storage->block, volume_id, err));
}

bool
storage_volume_extend(const Storage *storage, const char *volume_id, int64_t size, GError **err)
{
    STORAGE_CALL("volume-extend", volume_extend(storage->block, volume_id, size, err));
}

bool
storage_snapshot_create(const Storage *storage, const char *volume_id, const char *snapshot_id,
                        GError **err)
{
    STORAGE_CALL("snapshot-create", snapshot_create(storage->block, volume_id, snapshot_id, err));
}

bool
storage_snapshot_delete(const Storage *storage, const char *volume_id, const char *snapshot_id,
                        GError **err)
{
    STORAGE_CALL("snapshot-delete", snapshot_delete(storage->block, volume_id, snapshot_id, err));
}

bool
storage_flatten(const Storage *storage, const char *source, BlockProgressFn progress, void *opaque,
                GError **err)
{
    STORAGE_CALL("flatten", flatten(storage->block, source, progress, opaque, err));
}

bool
storage_fence(const Storage *storage, const char *const *addresses, int64_t seconds, GError **err)
{
    STORAGE_CALL("fence", fence(storage->block, addresses, seconds, err));
}

bool
storage_unfence(const Storage *storage, const char *const *addresses, GError **err)
{
    STORAGE_CALL("unfence", unfence(storage->block, addresses, err));
}

bool
storage_reload_secret(const Storage *storage, GError **err)
{
    if (!call_permitted("reload-secret", err) || !storage->ops->reload_secret(storage->block, err))
        return false;
    StorageReconnectFn tell = atomic_load(&on_reconnect);
    return !tell || tell(atomic_load(&on_reconnect_opaque), err);
}

/* Reads only from here on, so no fault points: a crash before or after is the same. */
bool
storage_volume_source(const Storage *storage, const char *volume_id, char **path, char **format,
                      GError **err)
{
    return call_permitted("volume-source", err) &&
           storage->ops->volume_source(storage->block, volume_id, path, format, err);
}

GPtrArray *
storage_things(const Storage *storage, BlockPurpose purpose, GError **err)
{
    return call_permitted("things", err) ? storage->ops->things(storage->block, purpose, err)
                                         : NULL;
}

GPtrArray *
storage_clients(const Storage *storage, const char *source, GError **err)
{
    return call_permitted("clients", err) ? storage->ops->clients(storage->block, source, err)
                                          : NULL;
}

GPtrArray *
storage_own_clients(const Storage *storage, GError **err)
{
    if (!call_permitted("own-clients", err))
        return NULL;
    return storage->ops->own_clients ? storage->ops->own_clients(storage->block, err)
                                     : g_ptr_array_new_with_free_func(g_free);
}

GPtrArray *
storage_pools(const Storage *storage, GError **err)
{
    return call_permitted("pools", err) ? storage->ops->pools(storage->block, err) : NULL;
}

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

const char *const block_purpose_names[] = {"images", "instances", "volumes", NULL};

void
block_pool_free(BlockPool *pool)
{
    if (!pool)
        return;
    g_free(pool->name);
    g_free(pool->trouble);
    g_free(pool);
}

void
block_client_free(BlockClient *client)
{
    if (!client)
        return;
    g_free(client->address);
    g_free(client);
}
