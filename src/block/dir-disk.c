/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dir-disk.c: server disks in a directory, and what lies there altogether */

#include "block-dir-priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIND "instances"

/* ---- disks -------------------------------------------------------------------------------------
 */

/* Make the disk under another name and give it its own when it is complete. */
static bool
disk_make(Block *block, const char *server_id, const char *image, const char *format, int64_t size,
          GError **err)
{
    g_autofree char *directory = dir_thing_path(block, KIND, server_id, "");
    g_autofree char *final = dir_thing_path(block, KIND, server_id, "disk");
    g_autofree char *unfinished = g_strconcat(final, ".new", NULL);

    if (!dir_make(directory, 0711, err))
        return false;
    if (unlink(unfinished) != 0 && errno != ENOENT)
        return dir_failed(err, errno, "delete", unfinished);
    return (!block->durable || dir_qcow2_make(unfinished, image, format, size, err)) &&
           dir_publish(block, final, err);
}

bool
dir_disk_exists(Block *block, const char *server_id, bool *exists, GError **err)
{
    g_autofree char *path = NULL;

    if (!block_id_check(server_id, err))
        return false;
    path = dir_thing_path(block, KIND, server_id, "disk");
    return dir_exists(path, exists, err);
}

bool
dir_disk_create(Block *block, const char *server_id, const char *image_id, int64_t size,
                GError **err)
{
    g_autofree char *image = NULL;
    const char *format = NULL;
    int64_t virtual_size = 0;
    bool exists;

    if (!block_id_check(image_id, err) || !dir_disk_exists(block, server_id, &exists, err))
        return false;
    if (exists)
        return true;
    if (size < 0 || size > DIR_DISK_MOST)
        return err_set(err, ERR_INVALID, "a disk of %" G_GINT64_FORMAT " bytes cannot be made",
                       size);
    if (!dir_image_read(block, image_id, &format, &virtual_size, err) ||
        !dir_space_check(block, err))
        return false;
    image = dir_image_path(block, image_id);
    return disk_make(block, server_id, image, format, MAX(size, virtual_size), err);
}

bool
dir_disk_extend(Block *block, const char *server_id, int64_t size, GError **err)
{
    g_autofree char *path = NULL;
    bool exists;

    if (!dir_disk_exists(block, server_id, &exists, err))
        return false;
    if (!exists)
        return err_set(err, ERR_NOT_FOUND, "server %s has no disk in %s", server_id, block->path);
    if (size < 0 || size > DIR_DISK_MOST)
        return err_set(err, ERR_INVALID, "a disk cannot have %" G_GINT64_FORMAT " bytes", size);
    path = dir_thing_path(block, KIND, server_id, "disk");
    if (block->durable && dir_is_open(path))
        return err_set(err, ERR_CONFLICT,
                       "the disk %s cannot be enlarged: a QEMU still has it open; stop it first",
                       path);
    return dir_grow(block, path, size, err);
}

bool
dir_disk_delete(Block *block, const char *server_id, GError **err)
{
    g_autofree char *path = NULL;

    if (!block_id_check(server_id, err))
        return false;
    path = dir_thing_path(block, KIND, server_id, "disk");
    return dir_refuse_open(block, path, err) && dir_remove(block, KIND, server_id, err);
}

bool
dir_disk_source(Block *block, const char *server_id, char **path, char **format, GError **err)
{
    if (!block_id_check(server_id, err))
        return false;
    *path = dir_thing_path(block, KIND, server_id, "disk");
    *format = g_strdup("qcow2");
    return true;
}

/* ---- beside the disk ---------------------------------------------------------------------------
 */

bool
dir_config_drive_store(Block *block, const char *server_id, const void *iso, size_t size,
                       GError **err)
{
    g_autofree char *directory = NULL;
    g_autofree char *path = NULL;

    if (!block_id_check(server_id, err))
        return false;
    directory = dir_thing_path(block, KIND, server_id, "");
    path = dir_thing_path(block, KIND, server_id, "config.iso");
    /* It holds user data, which may hold secrets: for the owner and the group of QEMU only. */
    return dir_make(directory, 0711, err) && file_write_atomically(path, iso, size, 0660, err);
}

bool
dir_config_drive_source(Block *block, const char *server_id, char **path, GError **err)
{
    if (!block_id_check(server_id, err))
        return false;
    *path = dir_thing_path(block, KIND, server_id, "config.iso");
    return true;
}

/* ---- all that is here --------------------------------------------------------------------------
 */

/* Images are files with a suffix, the others directories without. */
static char *
id_of(const char *name, BlockPurpose purpose)
{
    const char *suffix = purpose == BLOCK_FOR_IMAGES ? ".img" : "";
    g_autofree char *id = g_strdup(name);

    if (!g_str_has_suffix(id, suffix))
        return NULL;
    id[strlen(id) - strlen(suffix)] = '\0';
    return uuid_is_valid(id) ? g_steal_pointer(&id) : NULL;
}

GPtrArray *
dir_things(Block *block, BlockPurpose purpose, GError **err)
{
    g_autofree char *directory =
        g_strdup_printf("%s/%s", block->path, block_purpose_names[purpose]);
    DIR *dir = opendir(directory);
    struct dirent *entry;
    GPtrArray *ids;

    if (!dir) {
        dir_failed(err, errno, "list", directory);
        return NULL;
    }
    ids = g_ptr_array_new_with_free_func(g_free);
    while ((entry = readdir(dir))) {
        char *id = id_of(entry->d_name, purpose);

        if (id)
            g_ptr_array_add(ids, id);
    }
    closedir(dir);
    return ids;
}

/* Bytes on the medium of the files in a directory, one level deep. */
static int64_t
bytes_in(const char *directory, bool deeper)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    struct stat found;
    int64_t bytes = 0;

    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.' ||
            fstatat(dirfd(dir), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISREG(found.st_mode)) {
            /* a name that shares its data with another one's: counted in equal parts */
            bytes += (int64_t)found.st_blocks * 512 / (int64_t)MAX(found.st_nlink, 1);
        } else if (S_ISDIR(found.st_mode) && deeper) {
            g_autofree char *inner = g_strdup_printf("%s/%s", directory, entry->d_name);

            bytes += bytes_in(inner, false);
        }
    }
    if (dir)
        closedir(dir);
    return bytes;
}

GPtrArray *
dir_pools(Block *block, GError **err)
{
    GPtrArray *pools = g_ptr_array_new_with_free_func((GDestroyNotify)block_pool_free);
    BlockCapacity capacity = {0};
    g_autoptr(GError) space = NULL;

    if (!dir_capacity(block, &capacity, err)) {
        g_ptr_array_unref(pools);
        return NULL;
    }
    dir_space_check(block, &space);
    for (int i = 0; i < BLOCK_PURPOSES; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GPtrArray) ids = dir_things(block, (BlockPurpose)i, &error);
        BlockPool *pool = g_new0(BlockPool, 1);

        pool->purpose = (BlockPurpose)i;
        pool->name = g_strdup_printf("%s/%s", block->path, block_purpose_names[i]);
        pool->used = bytes_in(pool->name, true);
        pool->free_bytes = capacity.free_bytes;
        pool->total = pool->used + pool->free_bytes;
        pool->things = ids ? ids->len : 0;
        if (error || space)
            pool->trouble = g_strdup((error ? error : space)->message);
        g_ptr_array_add(pools, pool);
    }
    return pools;
}
