/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-rbd.c: storage in two pools of a Ceph cluster
 *
 *   IMAGES/ID                 an image's data, raw, never written again; its snapshot "base" is
 *                             protected, and disks are its clones
 *   IMAGES/ID.qcow2           the same as it was uploaded, if that was qcow2: for downloads
 *   IMAGES/ID.UNIQUE.part     an upload on its way
 *   SERVERS/ID_disk           a server's root disk: a copy-on-write clone
 *   SERVERS/ID_disk.config    its config drive
 *   SERVERS/nonce-UNIQUE      for the proof that a node reaches the pool
 *
 * What becomes visible is complete: it is made under another name and renamed. What a crash leaves
 * is swept when the cluster is connected; an upload under way is told from a left one by the watch
 * that librbd keeps on an image that is open for writing: such an image cannot be removed.
 *
 * One connection, shared by all threads. librados never gives up by itself; the time-outs set here
 * bound every call. A pool that is full answers at once instead of waiting for space. */

#include "block-rbd-priv.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_SECONDS "10"
#define MON_SECONDS     "15"
#define OSD_SECONDS     "30"
#define SPACE_LEAST     (INT64_C(64) << 20) /* kept free for what is there already */
#define PIECE           65536
#define NAMES_MOST      1000000
#define KEYRING_MOST    65536

/* ---- errors -----------------------------------------------------------------------------------
 */

static const struct {
    int number;
    ErrCode code;
    const char *remedy;
} meanings[] = {
    {ENOENT, ERR_NOT_FOUND, ""},
    {EEXIST, ERR_CONFLICT, ""},
    {EBUSY, ERR_CONFLICT, "it is in use; see 'rbd status' for who has it open"},
    {ENOSPC, ERR_QUOTA, "delete images or servers, add OSDs, or raise the pool's quota"},
    {EDQUOT, ERR_QUOTA, "delete images or servers, or raise the pool's quota"},
    {EPERM, ERR_BACKEND, "give the user 'profile rbd' for mon, and for osd in this pool"},
    {EACCES, ERR_BACKEND, "give the user 'profile rbd' for mon, and for osd in this pool"},
    {ETIMEDOUT, ERR_UNREACHABLE, "the cluster did not answer in time; see 'ceph -s'"},
    {ENOTCONN, ERR_UNREACHABLE, "the cluster does not answer; see 'ceph -s'"},
    {ESHUTDOWN, ERR_FENCED,
     "this controller is on the cluster's blocklist; see 'ceph osd "
     "blocklist ls'"},
};

static bool
cluster_failed(int code, GError **err, const char *what)
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
rbd_failed(Block *block, RbdPool pool, const char *image, const char *verb, int code, GError **err)
{
    g_autofree char *what =
        g_strdup_printf("cannot %s %s/%s on Ceph", verb, block->pools[pool], image);

    return cluster_failed(code, err, what);
}

/* ---- connecting -------------------------------------------------------------------------------
 */

/* libvirt and QEMU find the key by this id. The same cluster and user give the same id, whoever
 * asks and whenever. */
static char *
secret_uuid_of(const char *fsid, const char *user)
{
    g_autofree char *text = g_strdup_printf("godwit rbd %s client.%s", fsid, user);
    g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);

    return g_strdup_printf("%.8s-%.4s-4%.3s-8%.3s-%.12s", sum, sum + 8, sum + 12, sum + 15,
                           sum + 18);
}

static void
disconnect(Block *block)
{
    for (int i = 0; i < RBD_POOLS; i++)
        if (block->io[i])
            rados_ioctx_destroy(block->io[i]);
    memset(block->io, 0, sizeof block->io);
    if (block->cluster)
        rados_shutdown(block->cluster);
    block->cluster = NULL;
    g_clear_pointer(&block->secret_uuid, g_free);
}

static bool
configure(Block *block, GError **err)
{
    static const char *const options[][2] = {{"client_mount_timeout", CONNECT_SECONDS},
                                             {"rados_mon_op_timeout", MON_SECONDS},
                                             {"rados_osd_op_timeout", OSD_SECONDS},
                                             {"log_to_stderr", "false"},
                                             {"err_to_stderr", "false"}};
    g_autofree char *name = g_strconcat("client.", block->user, NULL);
    int code = rados_create2(&block->cluster, "ceph", name, 0);

    if (code < 0)
        return cluster_failed(code, err, "cannot make a client of the Ceph cluster");
    code = rados_conf_read_file(block->cluster, block->conf);
    if (code < 0)
        return err_set(err, ERR_INVALID, "[storage] conf = %s cannot be read: %s", block->conf,
                       errno_text(-code));
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        code = rados_conf_set(block->cluster, options[i][0], options[i][1]);
        if (code < 0)
            return cluster_failed(code, err, options[i][0]);
    }
    return true;
}

static bool
pools_open(Block *block, GError **err)
{
    for (int i = 0; i < RBD_POOLS; i++) {
        int code = rados_ioctx_create(block->cluster, block->pools[i], &block->io[i]);

        if (code == -ENOENT)
            return err_set(err, ERR_INVALID,
                           "the Ceph cluster has no pool '%s'; make it with 'ceph osd pool create "
                           "%s' and 'rbd pool init %s', or name another in [storage]",
                           block->pools[i], block->pools[i], block->pools[i]);
        if (code < 0)
            return rbd_failed(block, i, "", "open", code, err);
        rados_set_pool_full_try(block->io[i]);
    }
    return true;
}

/* A pool that is not marked for RBD is somebody else's: refuse it before anything is written. */
static bool
pools_are_for_rbd(Block *block, GError **err)
{
    for (int i = 0; i < RBD_POOLS; i++) {
        char applications[1024];
        size_t size = sizeof applications;
        bool found = false;
        int code = rados_application_list(block->io[i], applications, &size);

        if (code < 0)
            return rbd_failed(block, i, "", "read the applications of", code, err);
        for (size_t at = 0; at < size && applications[at]; at += strlen(applications + at) + 1)
            found = found || strcmp(applications + at, "rbd") == 0;
        if (!found)
            return err_set(err, ERR_INVALID,
                           "the pool '%s' is not for RBD; if it is meant to be, run 'rbd pool init "
                           "%s'",
                           block->pools[i], block->pools[i]);
    }
    return true;
}

static bool
connect_cluster(Block *block, GError **err)
{
    char fsid[64];
    int code;

    if (!configure(block, err))
        return false;
    code = rados_connect(block->cluster);
    if (code == -ENOENT || code == -EACCES || code == -EPERM || code == -EINVAL)
        return err_set(
            err, ERR_INVALID,
            "Ceph does not let client.%s in (%s): check the keyring that %s names for it, "
            "and 'ceph auth get client.%s'",
            block->user, errno_text(-code), block->conf, block->user);
    if (code < 0)
        return cluster_failed(code == -ENOTSUP ? -EACCES : code, err,
                              "cannot connect to the Ceph cluster");
    code = rados_cluster_fsid(block->cluster, fsid, sizeof fsid);
    if (code < 0)
        return cluster_failed(code, err, "cannot read the id of the Ceph cluster");
    block->secret_uuid = secret_uuid_of(fsid, block->user);
    return pools_open(block, err) && pools_are_for_rbd(block, err);
}

bool
rbd_ready(Block *block, GError **err)
{
    WITH_MUTEX(&block->lock);

    if (block->connected)
        return true;
    block->connected = connect_cluster(block, err);
    if (!block->connected) {
        disconnect(block);
        return false;
    }
    /* one time-out is enough: without OSDs there is nothing to sweep now */
    if (rbd_sweep_images(block))
        rbd_sweep_nonces(block);
    return true;
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
    if (!block)
        return;
    pthread_mutex_lock(&block->lock);
    while (block->downloads > 0)
        pthread_cond_wait(&block->idle, &block->lock);
    disconnect(block);
    pthread_mutex_unlock(&block->lock);
    pthread_mutex_destroy(&block->lock);
    pthread_cond_destroy(&block->idle);
    for (int i = 0; i < RBD_POOLS; i++)
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
    Block *block;

    if (!name_check("conf", settings->conf, "/", err) ||
        !name_check("user", settings->user, "", err) ||
        !name_check("images_pool", settings->images_pool, "", err) ||
        !name_check("instances_pool", settings->servers_pool, "", err))
        return NULL;
    if (!settings->console_path || settings->console_path[0] != '/') {
        err_set(err, ERR_INVALID, "[storage] console_path is not an absolute path");
        return NULL;
    }
    block = g_new0(Block, 1);
    block->conf = g_strdup(settings->conf);
    block->user = g_strdup(settings->user);
    block->pools[RBD_POOL_IMAGES] = g_strdup(settings->images_pool);
    block->pools[RBD_POOL_SERVERS] = g_strdup(settings->servers_pool);
    block->console_path = g_strdup(settings->console_path);
    pthread_mutex_init(&block->lock, NULL);
    pthread_cond_init(&block->idle, NULL);
    if (rbd_ready(block, &error) || err_is(error, ERR_UNREACHABLE))
        return block;
    g_propagate_error(err, g_steal_pointer(&error));
    block_rbd_close(block);
    return NULL;
}

/* ---- capacity, monitors, the secret -----------------------------------------------------------
 */

/* A read of the cluster's state. NULL with *err. */
static json_t *
mon_command(Block *block, const char *prefix, GError **err)
{
    g_autofree char *command =
        g_strdup_printf("{\"prefix\": \"%s\", \"format\": \"json\"}", prefix);
    g_autofree char *what = g_strdup_printf("cannot ask the Ceph cluster for '%s'", prefix);
    const char *commands[] = {command, NULL};
    char *out = NULL, *status = NULL;
    size_t size = 0, status_size = 0;
    json_t *answer = NULL;
    int code;

    if (!rbd_ready(block, err))
        return NULL;
    code =
        rados_mon_command(block->cluster, commands, 1, "", 0, &out, &size, &status, &status_size);
    if (code >= 0)
        answer = json_loadb(out, size, 0, NULL);
    rados_buffer_free(out);
    rados_buffer_free(status);
    if (code < 0)
        cluster_failed(code, err, what);
    else if (!answer)
        err_set(err, ERR_BACKEND, "%s: the answer is not JSON", what);
    return answer;
}

/* Of the pool of servers, with its replication counted: what disks may still grow to. */
bool
rbd_capacity(Block *block, BlockCapacity *capacity, GError **err)
{
    json_t *answer = mon_command(block, "df", err), *pool;
    bool found = false;
    size_t i;

    if (!answer)
        return false;
    json_array_foreach(json_object_get(answer, "pools"), i, pool)
    {
        const char *name = json_string_value(json_object_get(pool, "name"));
        json_t *stats = json_object_get(pool, "stats");

        if (g_strcmp0(name, block->pools[RBD_POOL_SERVERS]) != 0)
            continue;
        found = true;
        capacity->free_bytes = json_integer_value(json_object_get(stats, "max_avail"));
        capacity->total =
            capacity->free_bytes + json_integer_value(json_object_get(stats, "stored"));
    }
    json_decref(answer);
    return found || err_set(err, ERR_NOT_FOUND, "the Ceph cluster does not list the pool '%s'",
                            block->pools[RBD_POOL_SERVERS]);
}

bool
rbd_space_check(Block *block, RbdPool pool, GError **err)
{
    struct rados_cluster_stat_t all;
    int code = rados_cluster_stat(block->cluster, &all);

    if (code < 0)
        return rbd_failed(block, pool, "", "read the free space for", code, err);
    if (all.kb_avail >= SPACE_LEAST >> 10)
        return true;
    return err_set(err, ERR_QUOTA,
                   "the Ceph cluster has only %" PRIu64
                   " MiB left; delete images or servers, or add OSDs",
                   all.kb_avail >> 10);
}

/* "10.0.0.1:3300" of the newest protocol that a monitor speaks. */
static char *
monitor_address(json_t *monitor)
{
    json_t *list = json_object_get(json_object_get(monitor, "public_addrs"), "addrvec"), *address;
    const char *best = NULL;
    size_t i;

    json_array_foreach(list, i, address)
    {
        const char *type = json_string_value(json_object_get(address, "type"));

        if (!best || g_strcmp0(type, "v2") == 0)
            best = json_string_value(json_object_get(address, "addr"));
    }
    return g_strdup(best);
}

static bool
block_rbd_access(Block *block, RbdAccess **access, GError **err)
{
    json_t *answer = mon_command(block, "mon dump", err), *monitor;
    g_autoptr(GPtrArray) addresses = g_ptr_array_new();
    size_t i;

    if (!answer)
        return false;
    json_array_foreach(json_object_get(answer, "mons"), i, monitor)
    {
        char *address = monitor_address(monitor);

        if (address)
            g_ptr_array_add(addresses, address);
    }
    json_decref(answer);
    if (addresses->len == 0)
        return err_set(err, ERR_BACKEND, "the Ceph cluster lists no monitors");
    g_ptr_array_add(addresses, NULL);
    *access = g_new0(RbdAccess, 1);
    (*access)->monitors = (char **)g_ptr_array_free(g_steal_pointer(&addresses), FALSE);
    (*access)->user = g_strdup(block->user);
    (*access)->secret_uuid = g_strdup(block->secret_uuid);
    return true;
}

/* Read anew each time, so that a rotated key reaches the nodes. */
static bool
key_read(Block *block, BlockSecret *secret, GError **err)
{
    char paths[4096];
    g_auto(GStrv) files = NULL;
    g_autofree char *group = g_strconcat("client.", block->user, NULL);
    int code = rados_conf_get(block->cluster, "keyring", paths, sizeof paths);

    if (code < 0)
        return cluster_failed(code, err, "cannot read Ceph's option keyring");
    files = g_strsplit_set(paths, ", ;", -1);
    for (size_t i = 0; files[i]; i++) {
        g_autoptr(GKeyFile) keyring = g_key_file_new();
        g_autofree char *key = NULL;

        if (!*files[i] || !g_key_file_load_from_file(keyring, files[i], G_KEY_FILE_NONE, NULL))
            continue;
        key = g_key_file_get_string(keyring, group, "key", NULL);
        if (!key)
            continue;
        secret->value = g_base64_decode(key, &secret->size);
        explicit_bzero(key, strlen(key));
        if (secret->size > 0)
            return true;
    }
    return err_set(err, ERR_NOT_FOUND,
                   "no key of %s is in %s; write it there with 'ceph auth get %s -o FILE'", group,
                   paths, group);
}

static bool
block_rbd_secret(Block *block, BlockSecret *secret, GError **err)
{
    *secret = (BlockSecret){0};
    if (!rbd_ready(block, err) || !key_read(block, secret, err)) {
        block_secret_clear(secret);
        return false;
    }
    secret->uuid = g_strdup(block->secret_uuid);
    secret->usage = g_strdup_printf("godwit client.%s %.8s", block->user, block->secret_uuid);
    return true;
}

/* ---- images, whatever they are for -------------------------------------------------------------
 */

rbd_image_t
rbd_image_open(Block *block, RbdPool pool, const char *image, const char *snap, bool read_only,
               GError **err)
{
    rbd_image_t opened = NULL;
    int code = read_only ? rbd_open_read_only(block->io[pool], image, &opened, snap)
                         : rbd_open(block->io[pool], image, &opened, snap);

    if (code >= 0)
        return opened;
    rbd_failed(block, pool, image, "open", code, err);
    return NULL;
}

bool
rbd_image_make(Block *block, RbdPool pool, const char *image, uint64_t size, GError **err)
{
    rbd_image_options_t options;
    int code;

    rbd_image_options_create(&options);
    rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, RBD_FEATURES_WANTED);
    code = rbd_create4(block->io[pool], image, size, options);
    rbd_image_options_destroy(options);
    return code >= 0 || rbd_failed(block, pool, image, "make", code, err);
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
base_remove(Block *block, RbdPool pool, const char *image)
{
    rbd_image_t opened;
    int code = rbd_open(block->io[pool], image, &opened, NULL);

    if (code < 0)
        return code;
    code = rbd_snap_unprotect(opened, RBD_BASE_SNAP);
    if (code >= 0 || code == -EINVAL) /* EINVAL: it is not protected */
        code = rbd_snap_remove(opened, RBD_BASE_SNAP);
    rbd_close(opened);
    return code;
}

bool
rbd_image_remove(Block *block, RbdPool pool, const char *image, GError **err)
{
    int code = rbd_remove(block->io[pool], image);

    if (code == -ENOTEMPTY) { /* it has snapshots */
        code = base_remove(block, pool, image);
        if (code >= 0 || code == -ENOENT)
            code = rbd_remove(block->io[pool], image);
    }
    return code >= 0 || code == -ENOENT || rbd_failed(block, pool, image, "delete", code, err);
}

GPtrArray *
rbd_image_names(Block *block, RbdPool pool, GError **err)
{
    size_t room = 1024;

    for (;;) {
        g_autofree rbd_image_spec_t *list = g_new0(rbd_image_spec_t, room);
        size_t n = room;
        int code = rbd_list2(block->io[pool], list, &n);

        if (code == -ERANGE && n > room && n <= NAMES_MOST) {
            room = n + n / 8;
            continue;
        }
        if (code < 0) {
            rbd_failed(block, pool, "", "list", code, err);
            return NULL;
        }
        GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

        for (size_t i = 0; i < n; i++)
            g_ptr_array_add(names, g_strdup(list[i].name));
        rbd_image_spec_list_cleanup(list, n);
        return names;
    }
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
    .disk_delete = rbd_disk_delete,
    .disk_source = rbd_disk_source,
    .config_drive_store = rbd_config_drive_store,
    .config_drive_source = rbd_config_drive_source,
    .disks = rbd_disks,
    .access = block_rbd_access,
    .secret = block_rbd_secret,
    .nonce_directory = block_rbd_nonce_directory,
    .nonce_make = rbd_nonce_make,
    .nonce_remove = rbd_nonce_remove,
    .console_path = block_rbd_console_path,
};
