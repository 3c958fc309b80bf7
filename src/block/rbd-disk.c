/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rbd-disk.c: server disks on Ceph: clones of images, config drives, and nonces for nodes to read
 */

#include "block-rbd-priv.h"

#include <errno.h>
#include <string.h>

#define NONCE_PREFIX       "nonce-"
#define NONCE_SECTORS_MOST (UINT32_C(1) << 27) /* 64 GiB, of which nothing is ever written */

static char *
disk_name(const char *server_id)
{
    return g_strconcat(server_id, "_disk", NULL);
}

static char *
drive_name(const char *server_id)
{
    return g_strconcat(server_id, "_disk.config", NULL);
}

static RbdLink *
server_link(Block *block, const char *server_id, GError **err)
{
    return block_id_check(server_id, err) ? rbd_link(block, err) : NULL;
}

bool
rbd_disk_create(Block *block, const char *server_id, const char *image_id, int64_t size,
                GError **err)
{
    g_autoptr(RbdLink) link =
        block_id_check(image_id, err) ? server_link(block, server_id, err) : NULL;
    g_autofree char *name = NULL;

    if (!link || !rbd_space_check(link, BLOCK_FOR_SERVERS, err))
        return false;
    name = disk_name(server_id);
    return rbd_image_clone(link, BLOCK_FOR_IMAGES, image_id, RBD_BASE_SNAP, BLOCK_FOR_SERVERS, name,
                           size, err);
}

bool
rbd_disk_exists(Block *block, const char *server_id, bool *exists, GError **err)
{
    g_autoptr(RbdLink) link = server_link(block, server_id, err);
    g_autofree char *name = NULL;
    rbd_image_t image = NULL;
    int code;

    if (!link)
        return false;
    name = disk_name(server_id);
    code = rbd_open_read_only(link->io[BLOCK_FOR_SERVERS], name, &image, NULL);
    *exists = code >= 0;
    if (code >= 0)
        rbd_close(image);
    return code >= 0 || code == -ENOENT ||
           rbd_failed(link, BLOCK_FOR_SERVERS, name, "look at", code, err);
}

bool
rbd_disk_extend(Block *block, const char *server_id, int64_t size, GError **err)
{
    g_autoptr(RbdLink) link = server_link(block, server_id, err);
    g_autofree char *name = NULL;

    if (!link)
        return false;
    if (size < 0 || size > BLOCK_VOLUME_MOST)
        return err_set(err, ERR_INVALID, "a disk cannot have %" G_GINT64_FORMAT " bytes", size);
    name = disk_name(server_id);
    return rbd_image_grow(link, BLOCK_FOR_SERVERS, name, size, err);
}

/* Disk and drive are both looked at first: either all goes or nothing. */
bool
rbd_disk_delete(Block *block, const char *server_id, GError **err)
{
    g_autoptr(RbdLink) link = server_link(block, server_id, err);
    g_autofree char *disk = NULL, *drive = NULL;

    if (!link)
        return false;
    disk = disk_name(server_id);
    drive = drive_name(server_id);
    return rbd_refuse_open(link, BLOCK_FOR_SERVERS, disk, err) &&
           rbd_refuse_open(link, BLOCK_FOR_SERVERS, drive, err) &&
           rbd_image_remove(link, BLOCK_FOR_SERVERS, drive, err) &&
           rbd_image_remove(link, BLOCK_FOR_SERVERS, disk, err);
}

bool
rbd_disk_source(Block *block, const char *server_id, char **path, char **format, GError **err)
{
    g_autofree char *name = NULL;

    if (!block_id_check(server_id, err))
        return false;
    name = disk_name(server_id);
    *path = rbd_source(block, BLOCK_FOR_SERVERS, name);
    *format = g_strdup("raw");
    return true;
}

/* Make the image or take the one that is there, and let it hold just these bytes. */
static bool
store_bytes(RbdLink *link, const char *name, const void *data, size_t size, GError **err)
{
    uint64_t room = (size + 511) / 512 * 512;
    g_autoptr(GError) error = NULL;
    rbd_image_t image;
    int code;

    if (!rbd_image_make(link, BLOCK_FOR_SERVERS, name, room, &error) &&
        !err_is(error, ERR_CONFLICT)) {
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    image = rbd_image_open(link, BLOCK_FOR_SERVERS, name, NULL, false, err);
    if (!image)
        return false;
    /* What an older one left must not show through where the new one is zero. */
    code = error ? rbd_resize(image, 0) : 0;
    if (code >= 0 && error)
        code = rbd_resize(image, room);
    if (code >= 0 && rbd_image_write(image, 0, data, size, &code))
        code = rbd_flush(image);
    rbd_close(image);
    return code >= 0 || rbd_failed(link, BLOCK_FOR_SERVERS, name, "write", code, err);
}

bool
rbd_config_drive_store(Block *block, const char *server_id, const void *iso, size_t size,
                       GError **err)
{
    g_autoptr(RbdLink) link = server_link(block, server_id, err);
    g_autofree char *name = NULL;

    if (!link)
        return false;
    name = drive_name(server_id);
    return store_bytes(link, name, iso, size, err);
}

bool
rbd_config_drive_source(Block *block, const char *server_id, char **path, GError **err)
{
    g_autofree char *name = NULL;

    if (!block_id_check(server_id, err))
        return false;
    name = drive_name(server_id);
    *path = rbd_source(block, BLOCK_FOR_SERVERS, name);
    return true;
}

/* ---- nonces ------------------------------------------------------------------------------------
 */

bool
rbd_nonce_make(Block *block, char **source, int64_t *size, GError **err)
{
    g_autofree char *unique = uuid_new();
    g_autofree char *name = g_strconcat(NONCE_PREFIX, unique, NULL);
    g_autoptr(RbdLink) link = rbd_link(block, err);
    uint32_t random = 0;

    if (!link || !random_bytes(&random, sizeof random, err))
        return false;
    *size = (1 + (int64_t)(random % NONCE_SECTORS_MOST)) * 512;
    if (!rbd_image_make(link, BLOCK_FOR_SERVERS, name, (uint64_t)*size, err))
        return false;
    *source = rbd_source(block, BLOCK_FOR_SERVERS, name);
    return true;
}

void
rbd_nonce_remove(Block *block, const char *source)
{
    const char *name = strchr(source, '/');
    g_autoptr(RbdLink) link = name ? rbd_link(block, NULL) : NULL;

    if (link)
        rbd_image_remove(link, BLOCK_FOR_SERVERS, name + 1, NULL);
}

void
rbd_sweep_nonces(RbdLink *link)
{
    g_autoptr(GPtrArray) names = rbd_image_names(link, BLOCK_FOR_SERVERS, NULL);

    for (guint i = 0; names && i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);

        if (g_str_has_prefix(name, NONCE_PREFIX) && uuid_is_valid(name + strlen(NONCE_PREFIX)))
            rbd_image_remove(link, BLOCK_FOR_SERVERS, name, NULL);
    }
}
