/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dir-volume.c: volumes and their snapshots in a directory
 *
 *   PATH/volumes/ID/disk            a volume: qcow2
 *   PATH/volumes/ID/base            the data of the image that it stems from: another name of the
 *                                   image's file, so that the image can be deleted
 *   PATH/volumes/ID/snapshot-ID     a snapshot: a qcow2 file that holds all its data itself
 *
 * Snapshots, and volumes made from a snapshot or a volume, are full copies: they depend on nothing,
 * so everything can be deleted in any order. A copy needs a disk that does not change, so a volume
 * that a guest has open can neither be copied nor enlarged here. */

#include "block-dir-priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIND            "volumes"
#define SNAPSHOT_PREFIX "snapshot-"

static char *
disk_path(Block *block, const char *volume_id)
{
    return dir_thing_path(block, KIND, volume_id, "disk");
}

static char *
snapshot_path(Block *block, const char *volume_id, const char *snapshot_id)
{
    g_autofree char *name = g_strconcat(SNAPSHOT_PREFIX, snapshot_id, NULL);

    return dir_thing_path(block, KIND, volume_id, name);
}

static bool
must_exist(const char *path, const char *what, const char *id, GError **err)
{
    bool exists;

    if (!dir_exists(path, &exists, err))
        return false;
    return exists ||
           err_set(err, ERR_NOT_FOUND, "%s %s is not in the storage (%s)", what, id, path);
}

/* The fake's files have sizes, too: holes. */
static bool
hole_make(const char *path, int64_t size, GError **err)
{
    AUTO_FD fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);

    return (fd >= 0 && ftruncate(fd, size) == 0) || dir_failed(err, errno, "make", path);
}

static bool
disk_size(Block *block, const char *path, int64_t *size, GError **err)
{
    struct stat found;

    if (block->durable)
        return dir_qcow2_size(path, size, err);
    if (stat(path, &found) != 0)
        return dir_failed(err, errno, "look at", path);
    *size = found.st_size;
    return true;
}

bool
dir_grow(Block *block, const char *path, int64_t size, GError **err)
{
    int64_t now = 0;

    if (!disk_size(block, path, &now, err))
        return false;
    if (now >= size)
        return true;
    return block->durable ? dir_qcow2_resize(path, size, err) : hole_make(path, size, err);
}

/* A full copy that nothing else is needed for. */
static bool
copy_make(Block *block, const char *from, const char *to, BlockProgressFn progress, void *opaque,
          GError **err)
{
    int64_t size = 0;

    if (!block->durable)
        return disk_size(block, from, &size, err) && hole_make(to, size, err);
    if (dir_is_open(from))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s is open in a server: with driver dir, stop the server or detach the "
                       "volume, then copy it",
                       from);
    return dir_qcow2_copy(from, "qcow2", to, progress, opaque, err);
}

/* ---- making ------------------------------------------------------------------------------------
 */

static bool
make_from_image(Block *block, const char *volume_id, const char *image_id, const char *unfinished,
                int64_t size, BlockProgressFn progress, void *opaque, GError **err)
{
    g_autofree char *image = dir_image_path(block, image_id);
    g_autofree char *base = dir_thing_path(block, KIND, volume_id, "base");
    const char *format = NULL;
    int64_t virtual_size = 0;

    if (!dir_image_read(block, image_id, &format, &virtual_size, err))
        return false;
    size = MAX(size, virtual_size);
    if (!block->durable)
        return hole_make(unfinished, size, err);
    if (unlink(base) != 0 && errno != ENOENT)
        return dir_failed(err, errno, "delete", base);
    if (link(image, base) == 0)
        return dir_qcow2_make(unfinished, base, format, size, err);
    /* a file system without hard links */
    if (errno != EPERM && errno != EOPNOTSUPP && errno != EMLINK)
        return dir_failed(err, errno, "make", base);
    return dir_qcow2_copy(image, format, unfinished, progress, opaque, err);
}

static bool
make_unfinished(Block *block, const char *volume_id, const BlockVolumeSource *source,
                const char *unfinished, int64_t size, BlockProgressFn progress, void *opaque,
                GError **err)
{
    g_autofree char *from = NULL;

    switch (source->origin) {
    case BLOCK_EMPTY:
        return block->durable ? dir_qcow2_make(unfinished, NULL, NULL, size, err)
                              : hole_make(unfinished, size, err);
    case BLOCK_IMAGE:
        return make_from_image(block, volume_id, source->id, unfinished, size, progress, opaque,
                               err);
    case BLOCK_SNAPSHOT:
        from = snapshot_path(block, source->volume_id, source->id);
        return must_exist(from, "snapshot", source->id, err) &&
               copy_make(block, from, unfinished, progress, opaque, err);
    case BLOCK_VOLUME:
        from = disk_path(block, source->id);
        return must_exist(from, "volume", source->id, err) &&
               copy_make(block, from, unfinished, progress, opaque, err);
    }
    return err_set(err, ERR_BUG, "a volume of origin %d", (int)source->origin);
}

bool
dir_volume_create(Block *block, const char *volume_id, const BlockVolumeSource *source,
                  int64_t size, BlockProgressFn progress, void *opaque, GError **err)
{
    static const BlockVolumeSource empty = {.origin = BLOCK_EMPTY};
    g_autofree char *directory = NULL, *final = NULL, *unfinished = NULL;
    bool exists;

    source = source ? source : &empty;
    if (!block_volume_check(volume_id, source, size, err))
        return false;
    directory = dir_thing_path(block, KIND, volume_id, "");
    final = disk_path(block, volume_id);
    unfinished = g_strconcat(final, ".new", NULL);
    if (!dir_exists(final, &exists, err))
        return false;
    if (exists) /* it was complete, in contents and size, when it got its name */
        return true;
    if (!dir_space_check(block, err) || !dir_make(directory, 0711, err))
        return false;
    if (unlink(unfinished) != 0 && errno != ENOENT)
        return dir_failed(err, errno, "delete", unfinished);
    if (make_unfinished(block, volume_id, source, unfinished, size, progress, opaque, err) &&
        dir_grow(block, unfinished, size, err) && dir_publish(block, final, err))
        return true;
    dir_remove(block, KIND, volume_id, NULL);
    return false;
}

/* ---- the other calls ---------------------------------------------------------------------------
 */

/* The id of one of its snapshots. NULL: there is none, or no volume. */
static char *
any_snapshot(Block *block, const char *volume_id)
{
    g_autofree char *directory = dir_thing_path(block, KIND, volume_id, "");
    DIR *dir = opendir(directory);
    struct dirent *entry;
    char *id = NULL;

    while (dir && !id && (entry = readdir(dir)))
        if (g_str_has_prefix(entry->d_name, SNAPSHOT_PREFIX) &&
            uuid_is_valid(entry->d_name + strlen(SNAPSHOT_PREFIX)))
            id = g_strdup(entry->d_name + strlen(SNAPSHOT_PREFIX));
    if (dir)
        closedir(dir);
    return id;
}

bool
dir_volume_delete(Block *block, const char *volume_id, GError **err)
{
    g_autofree char *path = NULL, *snapshot = NULL;

    if (!block_id_check(volume_id, err))
        return false;
    snapshot = any_snapshot(block, volume_id);
    if (snapshot)
        return err_set(err, ERR_CONFLICT, "volume %s has snapshots (%s); delete them first",
                       volume_id, snapshot);
    path = disk_path(block, volume_id);
    if (block->durable && dir_is_open(path))
        return err_set(err, ERR_CONFLICT,
                       "the volume %s cannot be deleted: a QEMU still has %s open", volume_id,
                       path);
    return dir_refuse_open(block, path, err) && dir_remove(block, KIND, volume_id, err);
}

bool
dir_volume_extend(Block *block, const char *volume_id, int64_t size, GError **err)
{
    g_autofree char *path = NULL;
    int64_t now = 0;

    if (!block_volume_check(volume_id, &(BlockVolumeSource){.origin = BLOCK_EMPTY}, size, err))
        return false;
    path = disk_path(block, volume_id);
    if (!must_exist(path, "volume", volume_id, err) || !disk_size(block, path, &now, err))
        return false;
    if (now >= size)
        return true;
    if (block->durable && dir_is_open(path))
        return err_set(err, ERR_UNSUPPORTED,
                       "volume %s is open in a server: with driver dir, stop the server or detach "
                       "the volume, then enlarge it",
                       volume_id);
    return dir_grow(block, path, size, err);
}

bool
dir_volume_source(Block *block, const char *volume_id, char **path, char **format, GError **err)
{
    if (!block_id_check(volume_id, err))
        return false;
    *path = disk_path(block, volume_id);
    *format = g_strdup("qcow2");
    return true;
}

bool
dir_snapshot_create(Block *block, const char *volume_id, const char *snapshot_id, GError **err)
{
    g_autofree char *disk = NULL, *final = NULL, *unfinished = NULL;
    bool exists;

    if (!block_id_check(volume_id, err) || !block_id_check(snapshot_id, err))
        return false;
    disk = disk_path(block, volume_id);
    final = snapshot_path(block, volume_id, snapshot_id);
    unfinished = g_strconcat(final, ".new", NULL);
    if (!dir_exists(final, &exists, err))
        return false;
    if (exists)
        return true;
    if (unlink(unfinished) != 0 && errno != ENOENT)
        return dir_failed(err, errno, "delete", unfinished);
    return must_exist(disk, "volume", volume_id, err) && dir_space_check(block, err) &&
           copy_make(block, disk, unfinished, NULL, NULL, err) && dir_publish(block, final, err);
}

bool
dir_snapshot_delete(Block *block, const char *volume_id, const char *snapshot_id, GError **err)
{
    g_autofree char *directory = NULL, *path = NULL, *unfinished = NULL;

    if (!block_id_check(volume_id, err) || !block_id_check(snapshot_id, err))
        return false;
    directory = dir_thing_path(block, KIND, volume_id, "");
    path = snapshot_path(block, volume_id, snapshot_id);
    unfinished = g_strconcat(path, ".new", NULL);
    unlink(unfinished);
    if (unlink(path) != 0)
        return errno == ENOENT || dir_failed(err, errno, "delete", path);
    return dir_sync(block, directory, err);
}

/* ---- flatten -----------------------------------------------------------------------------------
 */

/* Is source really the disk of something here? Nothing else is ever touched. */
static bool
source_check(Block *block, const char *source, GError **err)
{
    static const BlockPurpose purposes[] = {BLOCK_FOR_SERVERS, BLOCK_FOR_VOLUMES};
    g_autofree char *directory = g_path_get_dirname(source);
    g_autofree char *id = g_path_get_basename(directory);

    for (size_t i = 0; i < G_N_ELEMENTS(purposes) && uuid_is_valid(id); i++) {
        g_autofree char *disk = dir_thing_path(block, block_purpose_names[purposes[i]], id, "disk");

        if (strcmp(source, disk) == 0)
            return must_exist(source, "disk", id, err);
    }
    return err_set(err, ERR_INVALID, "'%.255s' is no disk of the storage %s", source, block->path);
}

bool
dir_flatten(Block *block, const char *source, BlockProgressFn progress, void *opaque, GError **err)
{
    g_autofree char *directory = g_path_get_dirname(source);
    g_autofree char *unfinished = g_strconcat(source, ".new", NULL);
    g_autofree char *base = g_build_filename(directory, "base", NULL);
    uint64_t backing = 0;
    ssize_t got;
    AUTO_FD fd = -1;

    if (!source_check(block, source, err))
        return false;
    if (!block->durable)
        return !progress || progress(1, 1, opaque) ||
               err_set(err, ERR_CANCELLED, "flattening %s was stopped", source);
    fd = open(source, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return dir_failed(err, errno, "open", source);
    got = pread(fd, &backing, sizeof backing, 8); /* where its header has a backing file's name */
    if (got == sizeof backing && backing == 0)
        return true;
    if (dir_is_open(source))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s is open in a server: with driver dir, stop the server, then flatten it",
                       source);
    if (unlink(unfinished) != 0 && errno != ENOENT)
        return dir_failed(err, errno, "delete", unfinished);
    if (!dir_space_check(block, err) ||
        !dir_qcow2_copy(source, "qcow2", unfinished, progress, opaque, err) ||
        !dir_publish(block, source, err))
        return false;
    unlink(base);
    return true;
}
