/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rbd-volume.c: volumes and their snapshots on Ceph
 *
 *   VOLUMES/volume-ID               a volume; made from an image, a snapshot or a volume: a clone
 *   VOLUMES/volume-ID@snapshot-ID   a snapshot
 *   VOLUMES/volume-ID@clone-ID      only while volume ID2 is made from volume ID: a clone stems
 * from a snapshot. The pool's metadata godwit.clone.ID2 = volume-ID says where it is, so that a
 * retry or a deletion after a crash finds it
 *
 * Snapshots and volumes are deleted in any order (rbd-trash.c). Sizes grow and snapshots are made
 * under a running guest: librbd passes such requests to the client that holds the image's lock. */

#include "block-rbd-priv.h"

#include <errno.h>
#include <string.h>

#define SNAPSHOT_PREFIX "snapshot-"
#define HELPER_KEY      "godwit.clone."

static char *
volume_name(const char *volume_id)
{
    return g_strconcat(RBD_VOLUME_PREFIX, volume_id, NULL);
}

static char *
snapshot_name(const char *snapshot_id)
{
    return g_strconcat(SNAPSHOT_PREFIX, snapshot_id, NULL);
}

static bool
volume_failed(RbdLink *link, const char *name, const char *verb, int code, GError **err)
{
    return rbd_failed(link, BLOCK_FOR_VOLUMES, name, verb, code, err);
}

/* ---- making ------------------------------------------------------------------------------------
 */

/* One that a crash left half made is in the list of images, but cannot be opened. */
static bool
make_empty(RbdLink *link, const char *name, int64_t size, GError **err)
{
    g_autoptr(GError) error = NULL;

    if (rbd_image_make(link, BLOCK_FOR_VOLUMES, name, (uint64_t)size, &error))
        return true;
    if (err_is(error, ERR_CONFLICT)) {
        g_clear_error(&error);
        if (rbd_image_grow(link, BLOCK_FOR_VOLUMES, name, size, &error))
            return true;
        if (err_is(error, ERR_NOT_FOUND))
            return rbd_image_remove(link, BLOCK_FOR_VOLUMES, name, err) &&
                   rbd_image_make(link, BLOCK_FOR_VOLUMES, name, (uint64_t)size, err);
    }
    g_propagate_error(err, g_steal_pointer(&error));
    return false;
}

static bool
snapshot_make(RbdLink *link, const char *name, const char *snap, GError **err)
{
    rbd_image_t image = rbd_image_open(link, BLOCK_FOR_VOLUMES, name, NULL, false, err);
    int code;

    if (!image)
        return false;
    code = rbd_snap_create(image, snap);
    rbd_close(image);
    return code >= 0 || code == -EEXIST ||
           volume_failed(link, name, "make a snapshot of", code, err);
}

/* With clones that stem from it: it becomes invisible, and goes with the last of them. */
static bool
snapshot_remove(RbdLink *link, const char *name, const char *snap, GError **err)
{
    rbd_image_t image = NULL;
    int code = rbd_open(link->io[BLOCK_FOR_VOLUMES], name, &image, NULL);

    if (code >= 0) {
        code = rbd_snap_remove(image, snap);
        rbd_close(image);
    }
    return code >= 0 || code == -ENOENT ||
           volume_failed(link, name, "delete a snapshot of", code, err);
}

/* Whatever an attempt to make a volume from another left there. */
static bool
helper_remove(RbdLink *link, const char *volume_id, GError **err)
{
    g_autofree char *key = g_strconcat(HELPER_KEY, volume_id, NULL);
    g_autofree char *helper = g_strconcat(RBD_HELPER_PREFIX, volume_id, NULL);
    rados_ioctx_t io = link->io[BLOCK_FOR_VOLUMES];
    char from[256] = "";
    size_t size = sizeof from;
    int code = rbd_pool_metadata_get(io, key, from, &size);

    if (code == -ENOENT)
        return true;
    if (code < 0)
        return volume_failed(link, "", "read the metadata of", code, err);
    if (!snapshot_remove(link, from, helper, err))
        return false;
    code = rbd_pool_metadata_remove(io, key);
    return code >= 0 || code == -ENOENT ||
           volume_failed(link, "", "write the metadata of", code, err);
}

static bool
make_from_volume(RbdLink *link, const char *volume_id, const char *from_id, int64_t size,
                 GError **err)
{
    g_autofree char *name = volume_name(volume_id);
    g_autofree char *from = volume_name(from_id);
    g_autofree char *key = g_strconcat(HELPER_KEY, volume_id, NULL);
    g_autofree char *helper = g_strconcat(RBD_HELPER_PREFIX, volume_id, NULL);
    int code = rbd_pool_metadata_set(link->io[BLOCK_FOR_VOLUMES], key, from);

    if (code < 0)
        return volume_failed(link, "", "write the metadata of", code, err);
    if (snapshot_make(link, from, helper, err) &&
        rbd_image_clone(link, BLOCK_FOR_VOLUMES, from, helper, BLOCK_FOR_VOLUMES, name, size, err))
        return helper_remove(link, volume_id, err);
    helper_remove(link, volume_id, NULL);
    return false;
}

static RbdLink *
volume_link(Block *block, const char *volume_id, GError **err)
{
    return block_id_check(volume_id, err) ? rbd_link(block, err) : NULL;
}

bool
rbd_volume_create(Block *block, const char *volume_id, const BlockVolumeSource *source,
                  int64_t size, BlockProgressFn progress, void *opaque, GError **err)
{
    static const BlockVolumeSource empty = {.origin = BLOCK_EMPTY};
    g_autofree char *name = NULL, *from = NULL, *snap = NULL;
    g_autoptr(RbdLink) link = NULL;

    source = source ? source : &empty;
    if (!block_volume_check(volume_id, source, size, err))
        return false;
    link = rbd_link(block, err);
    if (!link || !rbd_space_check(link, BLOCK_FOR_VOLUMES, err))
        return false;
    name = volume_name(volume_id);
    switch (source->origin) {
    case BLOCK_EMPTY:
        return make_empty(link, name, size, err);
    case BLOCK_IMAGE:
        return rbd_image_clone(link, BLOCK_FOR_IMAGES, source->id, RBD_BASE_SNAP, BLOCK_FOR_VOLUMES,
                               name, size, err);
    case BLOCK_SNAPSHOT:
        from = volume_name(source->volume_id);
        snap = snapshot_name(source->id);
        return rbd_image_clone(link, BLOCK_FOR_VOLUMES, from, snap, BLOCK_FOR_VOLUMES, name, size,
                               err);
    case BLOCK_VOLUME:
        return make_from_volume(link, volume_id, source->id, size, err);
    }
    return err_set(err, ERR_BUG, "a volume of origin %d", (int)source->origin);
}

/* ---- the other calls ---------------------------------------------------------------------------
 */

#define IMAGE_ID_MOST 128 /* librbd's own are some 16 characters */

/* Snapshots that keep a volume are found before anything is touched. *parked: there are some that
 * only clones see. id: room for that of its image. */
static bool
may_go(RbdLink *link, const char *name, RbdParent *parent, bool *parked, char *id, GError **err)
{
    g_autofree char *visible = NULL;
    g_autoptr(GError) error = NULL;
    rbd_image_t image;
    unsigned left = 0;
    bool ok;
    int code;

    *parked = false;
    image = rbd_image_open(link, BLOCK_FOR_VOLUMES, name, NULL, false, &error);
    if (!image && err_is(error, ERR_NOT_FOUND))
        return true;
    if (!image) {
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    *parent = rbd_parent_of(link, image);
    code = rbd_get_id(image, id, IMAGE_ID_MOST);
    ok = code >= 0 ? rbd_snapshots_tidy(link, name, image, &left, &visible, err)
                   : volume_failed(link, name, "read the id of", code, err);
    rbd_close(image);
    *parked = left > 0;
    if (ok && visible)
        return err_set(err, ERR_CONFLICT, "the volume %s/%s has snapshots (%s); delete them first",
                       link->block->pools[BLOCK_FOR_VOLUMES], name, visible);
    return ok;
}

bool
rbd_volume_delete(Block *block, const char *volume_id, GError **err)
{
    g_autoptr(RbdLink) link = volume_link(block, volume_id, err);
    g_auto(RbdParent) parent = {0};
    g_autofree char *name = NULL;
    char id[IMAGE_ID_MOST] = "";
    bool parked;

    if (!link)
        return false;
    name = volume_name(volume_id);
    if (!rbd_refuse_open(link, BLOCK_FOR_VOLUMES, name, err) ||
        !may_go(link, name, &parent, &parked, id, err) ||
        !(parked ? rbd_trash_put(link, name, id, err)
                 : rbd_image_remove(link, BLOCK_FOR_VOLUMES, name, err)))
        return false;
    rbd_trash_purge_from(link, &parent);
    return helper_remove(link, volume_id, err);
}

bool
rbd_volume_extend(Block *block, const char *volume_id, int64_t size, GError **err)
{
    g_autofree char *name = NULL;
    g_autoptr(RbdLink) link = NULL;

    if (!block_volume_check(volume_id, &(BlockVolumeSource){.origin = BLOCK_EMPTY}, size, err))
        return false;
    link = rbd_link(block, err);
    if (!link)
        return false;
    name = volume_name(volume_id);
    return rbd_image_grow(link, BLOCK_FOR_VOLUMES, name, size, err);
}

bool
rbd_volume_source(Block *block, const char *volume_id, char **path, char **format, GError **err)
{
    g_autofree char *name = NULL;

    if (!block_id_check(volume_id, err))
        return false;
    name = volume_name(volume_id);
    *path = rbd_source(block, BLOCK_FOR_VOLUMES, name);
    *format = g_strdup("raw");
    return true;
}

bool
rbd_snapshot_create(Block *block, const char *volume_id, const char *snapshot_id, GError **err)
{
    g_autoptr(RbdLink) link =
        block_id_check(snapshot_id, err) ? volume_link(block, volume_id, err) : NULL;
    g_autofree char *name = NULL, *snap = NULL;

    if (!link || !rbd_space_check(link, BLOCK_FOR_VOLUMES, err))
        return false;
    name = volume_name(volume_id);
    snap = snapshot_name(snapshot_id);
    return snapshot_make(link, name, snap, err);
}

bool
rbd_snapshot_delete(Block *block, const char *volume_id, const char *snapshot_id, GError **err)
{
    g_autoptr(RbdLink) link =
        block_id_check(snapshot_id, err) ? volume_link(block, volume_id, err) : NULL;
    g_autofree char *name = NULL, *snap = NULL;

    if (!link)
        return false;
    name = volume_name(volume_id);
    snap = snapshot_name(snapshot_id);
    return snapshot_remove(link, name, snap, err);
}

/* ---- flatten -----------------------------------------------------------------------------------
 */

typedef struct Flatten {
    BlockProgressFn progress; /* NULL: nobody listens */
    void *opaque;
    uint64_t bytes; /* librbd counts objects, people bytes */
    bool stopped;
} Flatten;

static int
flatten_went_on(uint64_t done, uint64_t total, void *opaque)
{
    Flatten *flatten = opaque;
    double part = total ? (double)done / (double)total : 1;

    if (flatten->progress && !flatten->progress((int64_t)(part * (double)flatten->bytes),
                                                (int64_t)flatten->bytes, flatten->opaque))
        flatten->stopped = true;
    return flatten->stopped ? -ECANCELED : 0;
}

bool
rbd_flatten_source(Block *block, const char *source, BlockProgressFn progress, void *opaque,
                   GError **err)
{
    BlockPurpose pool = BLOCK_FOR_SERVERS;
    const char *name = NULL;
    g_autoptr(RbdLink) link =
        rbd_source_parse(block, source, &pool, &name, err) ? rbd_link(block, err) : NULL;
    Flatten flatten = {.progress = progress, .opaque = opaque};
    g_auto(RbdParent) parent = {0};
    rbd_linked_image_spec_t spec = {0};
    rbd_snap_spec_t snap = {0};
    rbd_image_t image = link ? rbd_image_open(link, pool, name, NULL, false, err) : NULL;
    int code;

    if (!image)
        return false;
    code = rbd_get_parent(image, &spec, &snap);
    if (code >= 0) {
        rbd_linked_image_spec_cleanup(&spec);
        rbd_snap_spec_cleanup(&snap);
        parent = rbd_parent_of(link, image);
        rbd_get_size(image, &flatten.bytes);
        code = rbd_flatten_with_progress(image, flatten_went_on, &flatten);
    } else if (code == -ENOENT) {
        code = 0; /* it holds all its data itself */
    }
    rbd_close(image);
    if (code < 0 && flatten.stopped)
        return err_set(err, ERR_CANCELLED, "flattening %s was stopped", source);
    if (code < 0)
        return rbd_failed(link, pool, name, "flatten", code, err);
    rbd_trash_purge_from(link, &parent);
    return true;
}
