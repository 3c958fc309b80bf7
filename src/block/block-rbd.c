/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-rbd.c: storage in three pools of a Ceph cluster
 *
 *   IMAGES/ID                 an image's data, raw, never written again; its snapshot "base" is
 *                             protected, and disks are its clones
 *   IMAGES/ID.qcow2           the same as it was uploaded, if that was qcow2: for downloads
 *   IMAGES/ID.UNIQUE.part     an upload on its way
 *   SERVERS/ID_disk           a server's root disk: a copy-on-write clone
 *   SERVERS/ID_disk.config    its config drive
 *   SERVERS/nonce-UNIQUE      for the proof that a node reaches the pool
 *   VOLUMES/volume-ID         a volume: rbd-volume.c
 *
 * What becomes visible is complete: an image is made under another name and renamed; a disk or
 * volume that a crash left half made is found out and made anew. What a crash leaves
 * is swept when the cluster is connected; an upload under way is told from a left one by the watch
 * that librbd keeps on an image that is open for writing: such an image cannot be removed.
 *
 * A pool that is full answers at once instead of waiting for space. */

#include "block-rbd-priv.h"

#include <errno.h>
#include <string.h>

#define PIECE      65536
#define NAMES_MOST 1000000
#define DISK_MOST  (INT64_C(64) << 40)
#define CLOSE_US   (10 * USEC_PER_SEC) /* downloads get to their end in it */

/* ---- errors -----------------------------------------------------------------------------------
 */

#define CAPS_REMEDY                                                                            \
    "give the user the caps mon 'profile rbd, allow command \"osd blocklist\"' and, for each " \
    "pool, osd 'profile rbd pool=POOL' ('ceph auth caps')"

static const struct {
    int number;
    ErrCode code;
    const char *remedy;
} meanings[] = {
    {ENOENT, ERR_NOT_FOUND, ""},
    {EEXIST, ERR_CONFLICT, ""},
    {EBUSY, ERR_CONFLICT, "it is in use; see 'rbd status' for who has it open"},
    {ENOTEMPTY, ERR_CONFLICT, "it has snapshots; see 'rbd snap ls --all'"},
    {ENOSPC, ERR_QUOTA, "delete images, servers or volumes, add OSDs, or raise the pool's quota"},
    {EDQUOT, ERR_QUOTA, "delete images, servers or volumes, or raise the pool's quota"},
    {EPERM, ERR_BACKEND, CAPS_REMEDY},
    {EACCES, ERR_BACKEND, CAPS_REMEDY},
    {ETIMEDOUT, ERR_UNREACHABLE, "the cluster did not answer in time; see 'ceph -s'"},
    {ENOTCONN, ERR_UNREACHABLE, "the cluster does not answer; see 'ceph -s'"},
    {ESHUTDOWN, ERR_FENCED,
     "this controller is on the cluster's blocklist; see 'ceph osd "
     "blocklist ls'"},
};

bool
rbd_cluster_failed(int code, GError **err, const char *what)
{
    ErrCode meaning = ERR_BACKEND;
    const char *remedy = "";

    for (size_t i = 0; i < G_N_ELEMENTS(meanings); i++)
        if (meanings[i].number == -code) {
            meaning = meanings[i].code;
            remedy = meanings[i].remedy;
        }
    return err_set(err, meaning, "%s: %s%s%s", what, errno_text(-code), *remedy ? "; " : "",
                   remedy);
}

bool
rbd_failed(const RbdLink *link, BlockPurpose pool, const char *image, const char *verb, int code,
           GError **err)
{
    g_autofree char *what =
        g_strdup_printf("cannot %s %s/%s on Ceph", verb, link->block->pools[pool], image);

    return rbd_cluster_failed(code, err, what);
}

/* These go into argument vectors of qemu-img, where a comma or a colon has a meaning. */
static bool
name_check(const char *key, const char *value, const char *more, GError **err)
{
    g_autofree char *allowed =
        g_strconcat(G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_.-", more, NULL);

    if (value && *value && strlen(value) <= 255 && value[strspn(value, allowed)] == '\0')
        return true;
    return err_set(err, ERR_INVALID,
                   "[storage] %s = %s: letters, digits and _ . - %s are allowed there", key,
                   value ? value : "", more);
}

static void
block_rbd_close(Block *block)
{
    int64_t deadline = clock_monotonic() + CLOSE_US;

    if (!block)
        return;
    if (block->link)
        rbd_link_drop(block->link);
    pthread_mutex_lock(&block->lock);
    while (block->links->len > 0 || block->closing > 0) /* downloads hold one */
        if (!cond_wait_until(&block->changed, &block->lock, deadline)) {
            /* A guest's QEMU flattens for us, and nobody can call it back: the process ends with
             * that call under way. */
            pthread_mutex_unlock(&block->lock);
            return;
        }
    pthread_mutex_unlock(&block->lock);
    pthread_mutex_destroy(&block->lock);
    pthread_mutex_destroy(&block->trash_lock);
    pthread_cond_destroy(&block->changed);
    g_ptr_array_unref(block->links);
    g_clear_error(&block->failure);
    for (int i = 0; i < BLOCK_PURPOSES; i++)
        g_free(block->pools[i]);
    g_free(block->conf);
    g_free(block->user);
    g_free(block->console_path);
    g_free(block);
}

static Block *
block_rbd_open(const BlockSettings *settings, GError **err)
{
    g_autoptr(GError) error = NULL;
    RbdLink *link;
    Block *block;

    if (!name_check("conf", settings->conf, "/", err) ||
        !name_check("user", settings->user, "", err) ||
        !name_check("images_pool", settings->images_pool, "", err) ||
        !name_check("instances_pool", settings->servers_pool, "", err) ||
        !name_check("volumes_pool", settings->volumes_pool, "", err))
        return NULL;
    if (!settings->console_path || settings->console_path[0] != '/') {
        err_set(err, ERR_INVALID, "[storage] console_path is not an absolute path");
        return NULL;
    }
    block = g_new0(Block, 1);
    block->conf = g_strdup(settings->conf);
    block->user = g_strdup(settings->user);
    block->pools[BLOCK_FOR_IMAGES] = g_strdup(settings->images_pool);
    block->pools[BLOCK_FOR_SERVERS] = g_strdup(settings->servers_pool);
    block->pools[BLOCK_FOR_VOLUMES] = g_strdup(settings->volumes_pool);
    block->console_path = g_strdup(settings->console_path);
    block->links = g_ptr_array_new();
    pthread_mutex_init(&block->lock, NULL);
    pthread_mutex_init(&block->trash_lock, NULL);
    cond_init_monotonic(&block->changed);
    link = rbd_link(block, &error);
    if (link)
        rbd_link_drop(link);
    if (link || err_is(error, ERR_UNREACHABLE))
        return block;
    g_propagate_error(err, g_steal_pointer(&error));
    block_rbd_close(block);
    return NULL;
}

/* ---- images, whatever they are for -------------------------------------------------------------
 */

rbd_image_t
rbd_image_open(RbdLink *link, BlockPurpose pool, const char *image, const char *snap,
               bool read_only, GError **err)
{
    rbd_image_t opened = NULL;
    int code = read_only ? rbd_open_read_only(link->io[pool], image, &opened, snap)
                         : rbd_open(link->io[pool], image, &opened, snap);

    if (code >= 0)
        return opened;
    rbd_failed(link, pool, image, "open", code, err);
    return NULL;
}

bool
rbd_image_make(RbdLink *link, BlockPurpose pool, const char *image, uint64_t size, GError **err)
{
    rbd_image_options_t options;
    int code;

    rbd_image_options_create(&options);
    rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, RBD_FEATURES_WANTED);
    code = rbd_create4(link->io[pool], image, size, options);
    rbd_image_options_destroy(options);
    return code >= 0 || rbd_failed(link, pool, image, "make", code, err);
}

static bool
is_zero(const uint8_t *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

bool
rbd_image_write(rbd_image_t image, uint64_t offset, const uint8_t *data, size_t size, int *code)
{
    size_t at = 0;

    while (at < size) {
        size_t end = at;

        while (end < size && !is_zero(data + end, MIN(PIECE, size - end)))
            end = MIN(end + PIECE, size);
        if (end > at) {
            ssize_t written = rbd_write(image, offset + at, end - at, (const char *)data + at);

            if (written < 0) {
                *code = (int)written;
                return false;
            }
        }
        at = MAX(end, at + MIN(PIECE, size - at));
    }
    return true;
}

/* The snapshot of an image that disks stem from can only go when they have gone. */
static int
base_remove(RbdLink *link, BlockPurpose pool, const char *image)
{
    rbd_image_t opened;
    int code = rbd_open(link->io[pool], image, &opened, NULL);

    if (code < 0)
        return code;
    code = rbd_snap_unprotect(opened, RBD_BASE_SNAP);
    if (code >= 0 || code == -EINVAL) /* EINVAL: it is not protected */
        code = rbd_snap_remove(opened, RBD_BASE_SNAP);
    rbd_close(opened);
    return code;
}

bool
rbd_image_remove(RbdLink *link, BlockPurpose pool, const char *image, GError **err)
{
    int code = rbd_remove(link->io[pool], image);

    if (code == -ENOTEMPTY) { /* it has snapshots */
        code = base_remove(link, pool, image);
        if (code >= 0 || code == -ENOENT)
            code = rbd_remove(link->io[pool], image);
    }
    return code >= 0 || code == -ENOENT || rbd_failed(link, pool, image, "delete", code, err);
}

GPtrArray *
rbd_image_names(RbdLink *link, BlockPurpose pool, GError **err)
{
    size_t room = 1024;

    for (;;) {
        g_autofree rbd_image_spec_t *list = g_new0(rbd_image_spec_t, room);
        size_t n = room;
        int code = rbd_list2(link->io[pool], list, &n);

        if (code == -ERANGE && n > room && n <= NAMES_MOST) {
            room = n + n / 8;
            continue;
        }
        if (code < 0) {
            rbd_failed(link, pool, "", "list", code, err);
            return NULL;
        }
        GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

        for (size_t i = 0; i < n; i++)
            g_ptr_array_add(names, g_strdup(list[i].name));
        rbd_image_spec_list_cleanup(list, n);
        return names;
    }
}

/* ---- disks and volumes -------------------------------------------------------------------------
 */

char *
rbd_source(const Block *block, BlockPurpose pool, const char *image)
{
    return g_strdup_printf("%s/%s", block->pools[pool], image);
}

bool
rbd_source_parse(Block *block, const char *source, BlockPurpose *pool, const char **image,
                 GError **err)
{
    static const char allowed[] = G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_.-";

    for (int i = 0; i < BLOCK_PURPOSES; i++) {
        size_t length = strlen(block->pools[i]);

        if (strncmp(source, block->pools[i], length) != 0 || source[length] != '/')
            continue;
        *pool = (BlockPurpose)i;
        *image = source + length + 1;
        if (**image && (*image)[strspn(*image, allowed)] == '\0')
            return true;
    }
    return err_set(err, ERR_INVALID, "'%.255s' is no disk in a pool of [storage]", source);
}

static int
grow_opened(rbd_image_t image, int64_t size)
{
    uint64_t now = 0;
    int code = rbd_get_size(image, &now);

    return code >= 0 && now < (uint64_t)size ? rbd_resize(image, (uint64_t)size) : code;
}

bool
rbd_image_grow(RbdLink *link, BlockPurpose pool, const char *image, int64_t size, GError **err)
{
    rbd_image_t opened = rbd_image_open(link, pool, image, NULL, false, err);
    int code;

    if (!opened)
        return false;
    code = grow_opened(opened, size);
    rbd_close(opened);
    return code >= 0 || rbd_failed(link, pool, image, "enlarge", code, err);
}

static bool
is_among(const rbd_linked_image_spec_t *children, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(children[i].image_id, id) == 0)
            return true;
    return false;
}

/* Does the parent know of its child? */
static int
is_known(RbdLink *link, BlockPurpose pool, const char *parent, uint64_t snap, const char *id,
         bool *known)
{
    g_autofree rbd_linked_image_spec_t *children = NULL;
    size_t room = 64, n = 0;
    rbd_image_t opened;
    int code = rbd_open_by_id_read_only(link->io[pool], parent, &opened, NULL);

    if (code < 0)
        return code;
    code = rbd_snap_set_by_id(opened, snap);
    while (code >= 0 || code == -ERANGE) {
        g_free(children);
        children = g_new0(rbd_linked_image_spec_t, room);
        n = room;
        code = rbd_list_children3(opened, children, &n);
        if (code != -ERANGE || n > NAMES_MOST)
            break;
        room = n + n / 8;
    }
    if (code >= 0) {
        *known = is_among(children, n, id);
        rbd_linked_image_spec_list_cleanup(children, n);
    }
    rbd_close(opened);
    return code;
}

/* librbd makes a clone in several steps: the image, the child's link to its parent, the parent's to
 * its child. A crash between them leaves what looks like an empty image, or like a clone whose
 * parent may vanish. */
static int
is_complete(RbdLink *link, BlockPurpose from_pool, BlockPurpose pool, const char *image,
            bool *complete)
{
    rbd_linked_image_spec_t parent = {0};
    rbd_snap_spec_t snap = {0};
    rbd_image_t opened;
    char id[128] = "";
    int code = rbd_open_read_only(link->io[pool], image, &opened, NULL);

    *complete = false;
    if (code < 0)
        return code == -ENOENT ? 0 : code; /* in the list of images, but without a header */
    code = rbd_get_id(opened, id, sizeof id);
    if (code >= 0)
        code = rbd_get_parent(opened, &parent, &snap);
    if (code >= 0) {
        code = is_known(link, from_pool, parent.image_id, snap.id, id, complete);
        rbd_linked_image_spec_cleanup(&parent);
        rbd_snap_spec_cleanup(&snap);
    }
    rbd_close(opened);
    return code == -ENOENT ? 0 : code;
}

/* Version 2 of clones: the parent's snapshot needs no protection, and can be deleted. */
static int
clone_make(RbdLink *link, BlockPurpose from_pool, const char *from, const char *snap,
           BlockPurpose to_pool, const char *to)
{
    rbd_image_options_t options;
    int code;

    rbd_image_options_create(&options);
    rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, RBD_FEATURES_WANTED);
    rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2);
    code = rbd_clone3(link->io[from_pool], from, snap, link->io[to_pool], to, options);
    rbd_image_options_destroy(options);
    return code;
}

bool
rbd_image_clone(RbdLink *link, BlockPurpose from_pool, const char *from, const char *snap,
                BlockPurpose to_pool, const char *to, int64_t size, GError **err)
{
    bool complete = false;
    int code;

    if (size < 0 || size > DISK_MOST)
        return err_set(err, ERR_INVALID, "a disk of %" G_GINT64_FORMAT " bytes cannot be made",
                       size);
    code = clone_make(link, from_pool, from, snap, to_pool, to);
    if (code == -EEXIST) {
        code = is_complete(link, from_pool, to_pool, to, &complete);
        if (code >= 0 && !complete && !rbd_image_remove(link, to_pool, to, err))
            return false;
        if (code >= 0 && !complete)
            code = clone_make(link, from_pool, from, snap, to_pool, to);
    }
    if (code == -ENOENT)
        return err_set(err, ERR_NOT_FOUND, "%s/%s@%s is not in the Ceph cluster",
                       link->block->pools[from_pool], from, snap);
    if (code < 0)
        return rbd_failed(link, to_pool, to, "make", code, err);
    return rbd_image_grow(link, to_pool, to, size, err);
}

/* The id that an image's name has in it, or NULL: it is none of a finished thing's. */
static char *
id_of(const char *name, BlockPurpose purpose)
{
    g_autofree char *id = NULL;

    switch (purpose) {
    case BLOCK_FOR_IMAGES:
        id = g_strdup(name);
        break;
    case BLOCK_FOR_SERVERS:
        if (strstr(name, "_disk"))
            id = g_strndup(name, (gsize)(strstr(name, "_disk") - name));
        break;
    case BLOCK_FOR_VOLUMES:
        if (g_str_has_prefix(name, RBD_VOLUME_PREFIX))
            id = g_strdup(name + strlen(RBD_VOLUME_PREFIX));
        break;
    case BLOCK_PURPOSES:
        break;
    }
    return id && uuid_is_valid(id) ? g_steal_pointer(&id) : NULL;
}

GPtrArray *
rbd_things_on(RbdLink *link, BlockPurpose purpose, GError **err)
{
    g_autoptr(GPtrArray) names = rbd_image_names(link, purpose, err);
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    GPtrArray *ids;

    if (!names)
        return NULL;
    ids = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < names->len; i++) {
        g_autofree char *id = id_of(g_ptr_array_index(names, i), purpose);

        if (!id || g_hash_table_contains(seen, id))
            continue;
        g_hash_table_add(seen, id);
        g_ptr_array_add(ids, g_steal_pointer(&id));
    }
    return ids;
}

GPtrArray *
rbd_things(Block *block, BlockPurpose purpose, GError **err)
{
    g_autoptr(RbdLink) link = rbd_link(block, err);

    return link ? rbd_things_on(link, purpose, err) : NULL;
}

static char *
block_rbd_nonce_directory(Block *block)
{
    return NULL;
}

static char *
block_rbd_console_path(Block *block, const char *server_id)
{
    return uuid_is_valid(server_id) ? g_strdup_printf("%s/%s.log", block->console_path, server_id)
                                    : NULL;
}

const BlockOps block_rbd_ops = {
    .name = "rbd",
    .can_fence = true,
    .open = block_rbd_open,
    .close = block_rbd_close,
    .capacity = rbd_capacity,
    .upload_begin = rbd_upload_begin,
    .upload_write = rbd_upload_write,
    .upload_commit = rbd_upload_commit,
    .upload_abort = rbd_upload_abort,
    .image_open = rbd_download_open,
    .image_exists = rbd_image_exists,
    .image_delete = rbd_image_delete,
    .disk_create = rbd_disk_create,
    .disk_exists = rbd_disk_exists,
    .disk_extend = rbd_disk_extend,
    .disk_delete = rbd_disk_delete,
    .disk_source = rbd_disk_source,
    .config_drive_store = rbd_config_drive_store,
    .config_drive_source = rbd_config_drive_source,
    .things = rbd_things,
    .volume_create = rbd_volume_create,
    .volume_delete = rbd_volume_delete,
    .volume_extend = rbd_volume_extend,
    .volume_source = rbd_volume_source,
    .snapshot_create = rbd_snapshot_create,
    .snapshot_delete = rbd_snapshot_delete,
    .flatten = rbd_flatten_source,
    .clients = rbd_clients,
    .fence = rbd_fence,
    .unfence = rbd_unfence,
    .pools = rbd_pools,
    .reload_secret = rbd_reload_secret,
    .access = rbd_access,
    .secret = rbd_secret,
    .own_clients = rbd_own_clients,
    .nonce_directory = block_rbd_nonce_directory,
    .nonce_make = rbd_nonce_make,
    .nonce_remove = rbd_nonce_remove,
    .console_path = block_rbd_console_path,
};
