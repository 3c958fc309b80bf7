/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rbd-disk.c: server disks on Ceph: clones of images, config drives, and nonces for nodes to read
 */

#include "block-rbd-priv.h"

#include <errno.h>
#include <string.h>

#define DISK_MOST          (INT64_C(64) << 40)
#define NONCE_PREFIX       "nonce-"
#define NONCE_SECTORS_MOST (UINT32_C(1) << 27) /* 64 GiB, of which nothing is ever written */
#define WATCHERS_MOST      8
/* A QEMU that was killed cannot say good-bye; its watch ends 30 s after its last sign of life. */
#define WATCH_SECONDS 35

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

static bool
server_ready(Block *block, const char *server_id, GError **err)
{
    return block_id_check(server_id, err) && rbd_ready(block, err);
}

static bool
grow(Block *block, const char *name, int64_t size, GError **err)
{
    rbd_image_t image = rbd_image_open(block, RBD_POOL_SERVERS, name, NULL, false, err);
    uint64_t now = 0;
    int code;

    if (!image)
        return false;
    code = rbd_get_size(image, &now);
    if (code >= 0 && now < (uint64_t)size)
        code = rbd_resize(image, (uint64_t)size);
    rbd_close(image);
    return code >= 0 || rbd_failed(block, RBD_POOL_SERVERS, name, "enlarge", code, err);
}

/* A clone is complete as soon as it is there; only its size may still be the image's, if a crash
 * came between. So one that is there is enlarged again. */
bool
rbd_disk_create(Block *block, const char *server_id, const char *image_id, int64_t size,
                GError **err)
{
    g_autofree char *name = NULL;
    rbd_image_options_t options;
    int code;

    if (!block_id_check(image_id, err) || !server_ready(block, server_id, err))
        return false;
    if (size < 0 || size > DISK_MOST)
        return err_set(err, ERR_INVALID, "a disk of %" G_GINT64_FORMAT " bytes cannot be made",
                       size);
    if (!rbd_space_check(block, RBD_POOL_SERVERS, err))
        return false;
    name = disk_name(server_id);
    rbd_image_options_create(&options);
    rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, RBD_FEATURES_WANTED);
    code = rbd_clone3(block->io[RBD_POOL_IMAGES], image_id, RBD_BASE_SNAP,
                      block->io[RBD_POOL_SERVERS], name, options);
    rbd_image_options_destroy(options);
    if (code == -ENOENT || code == -EINVAL) { /* EINVAL: the base is being taken away */
        bool exists;

        if (!rbd_image_exists(block, image_id, &exists, err))
            return false;
        if (!exists)
            return err_set(err, ERR_NOT_FOUND, "image %s is not in the pool '%s'", image_id,
                           block->pools[RBD_POOL_IMAGES]);
    }
    if (code < 0 && code != -EEXIST)
        return rbd_failed(block, RBD_POOL_SERVERS, name, "make", code, err);
    return grow(block, name, size, err);
}

static bool
name_exists(Block *block, const char *name, bool *exists, GError **err)
{
    rbd_image_t image = NULL;
    int code = rbd_open_read_only(block->io[RBD_POOL_SERVERS], name, &image, NULL);

    *exists = code >= 0;
    if (code >= 0)
        rbd_close(image);
    return code >= 0 || code == -ENOENT ||
           rbd_failed(block, RBD_POOL_SERVERS, name, "look at", code, err);
}

bool
rbd_disk_exists(Block *block, const char *server_id, bool *exists, GError **err)
{
    g_autofree char *name = NULL;

    if (!server_ready(block, server_id, err))
        return false;
    name = disk_name(server_id);
    return name_exists(block, name, exists, err);
}

/* Who has it open, for the message. */
static char *
watchers(Block *block, const char *name)
{
    rbd_image_watcher_t list[WATCHERS_MOST];
    size_t n = WATCHERS_MOST;
    rbd_image_t image = NULL;
    GString *text = g_string_new(NULL);

    if (rbd_open_read_only(block->io[RBD_POOL_SERVERS], name, &image, NULL) >= 0) {
        if (rbd_watchers_list(image, list, &n) >= 0) {
            for (size_t i = 0; i < n; i++)
                g_string_append_printf(text, "%s%s", i ? ", " : "", list[i].addr);
            rbd_watchers_list_cleanup(list, n);
        }
        rbd_close(image);
    }
    return g_string_free(text, FALSE);
}

static bool
remove_when_free(Block *block, const char *name, int64_t deadline, GError **err)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never;
    int code;

    cond_init_monotonic(&never);
    pthread_mutex_lock(&mutex);
    /* No event says that a watch has ended without keeping a watch of our own on the image. */
    while ((code = rbd_remove(block->io[RBD_POOL_SERVERS], name)) == -EBUSY &&
           clock_monotonic() < deadline)
        cond_wait_until(&never, &mutex, clock_monotonic() + USEC_PER_SEC);
    pthread_mutex_unlock(&mutex);
    pthread_cond_destroy(&never);
    if (code == -EBUSY) {
        g_autofree char *who = watchers(block, name);

        return err_set(err, ERR_CONFLICT, "the disk %s/%s cannot be deleted: %s still has it open",
                       block->pools[RBD_POOL_SERVERS], name, *who ? who : "a client");
    }
    return code >= 0 || code == -ENOENT ||
           rbd_failed(block, RBD_POOL_SERVERS, name, "delete", code, err);
}

bool
rbd_disk_delete(Block *block, const char *server_id, GError **err)
{
    g_autofree char *disk = NULL, *drive = NULL;
    int64_t deadline = clock_monotonic() + WATCH_SECONDS * USEC_PER_SEC;

    if (!server_ready(block, server_id, err))
        return false;
    disk = disk_name(server_id);
    drive = drive_name(server_id);
    return remove_when_free(block, drive, deadline, err) &&
           remove_when_free(block, disk, deadline, err);
}

static char *
source_of(Block *block, const char *name)
{
    return g_strdup_printf("%s/%s", block->pools[RBD_POOL_SERVERS], name);
}

bool
rbd_disk_source(Block *block, const char *server_id, char **path, char **format, GError **err)
{
    g_autofree char *name = NULL;

    if (!block_id_check(server_id, err))
        return false;
    name = disk_name(server_id);
    *path = source_of(block, name);
    *format = g_strdup("raw");
    return true;
}

/* Make the image or take the one that is there, and let it hold just these bytes. */
static bool
store_bytes(Block *block, const char *name, const void *data, size_t size, GError **err)
{
    uint64_t room = (size + 511) / 512 * 512;
    g_autoptr(GError) error = NULL;
    rbd_image_t image;
    int code;

    if (!rbd_image_make(block, RBD_POOL_SERVERS, name, room, &error) &&
        !err_is(error, ERR_CONFLICT)) {
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    image = rbd_image_open(block, RBD_POOL_SERVERS, name, NULL, false, err);
    if (!image)
        return false;
    /* What an older one left must not show through where the new one is zero. */
    code = error ? rbd_resize(image, 0) : 0;
    if (code >= 0 && error)
        code = rbd_resize(image, room);
    if (code >= 0 && rbd_image_write(image, 0, data, size, &code))
        code = rbd_flush(image);
    rbd_close(image);
    return code >= 0 || rbd_failed(block, RBD_POOL_SERVERS, name, "write", code, err);
}

bool
rbd_config_drive_store(Block *block, const char *server_id, const void *iso, size_t size,
                       GError **err)
{
    g_autofree char *name = NULL;

    if (!server_ready(block, server_id, err))
        return false;
    name = drive_name(server_id);
    return store_bytes(block, name, iso, size, err);
}

bool
rbd_config_drive_source(Block *block, const char *server_id, char **path, GError **err)
{
    g_autofree char *name = NULL;

    if (!block_id_check(server_id, err))
        return false;
    name = drive_name(server_id);
    *path = source_of(block, name);
    return true;
}

GPtrArray *
rbd_disks(Block *block, GError **err)
{
    g_autoptr(GPtrArray) names =
        rbd_ready(block, err) ? rbd_image_names(block, RBD_POOL_SERVERS, err) : NULL;
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    GPtrArray *ids;

    if (!names)
        return NULL;
    ids = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        const char *end = strstr(name, "_disk");
        g_autofree char *id = end ? g_strndup(name, (gsize)(end - name)) : NULL;

        if (!id || !uuid_is_valid(id) || g_hash_table_contains(seen, id))
            continue;
        g_hash_table_add(seen, id);
        g_ptr_array_add(ids, g_steal_pointer(&id));
    }
    return ids;
}

/* ---- nonces ------------------------------------------------------------------------------------
 */

bool
rbd_nonce_make(Block *block, char **source, int64_t *size, GError **err)
{
    g_autofree char *unique = uuid_new();
    g_autofree char *name = g_strconcat(NONCE_PREFIX, unique, NULL);
    uint32_t random = 0;

    if (!rbd_ready(block, err) || !random_bytes(&random, sizeof random, err))
        return false;
    *size = (1 + (int64_t)(random % NONCE_SECTORS_MOST)) * 512;
    if (!rbd_image_make(block, RBD_POOL_SERVERS, name, (uint64_t)*size, err))
        return false;
    *source = source_of(block, name);
    return true;
}

void
rbd_nonce_remove(Block *block, const char *source)
{
    const char *name = strchr(source, '/');

    if (name && rbd_ready(block, NULL))
        rbd_image_remove(block, RBD_POOL_SERVERS, name + 1, NULL);
}

void
rbd_sweep_nonces(Block *block)
{
    g_autoptr(GPtrArray) names = rbd_image_names(block, RBD_POOL_SERVERS, NULL);

    for (guint i = 0; names && i < names->len; i++)
        if (g_str_has_prefix(g_ptr_array_index(names, i), NONCE_PREFIX))
            rbd_image_remove(block, RBD_POOL_SERVERS, g_ptr_array_index(names, i), NULL);
}
