/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rbd-link.c: the connection to the Ceph cluster, and the key to it
 *
 * One connection is shared by all threads. librados never gives up by itself: the time-outs set
 * here bound every call. While one thread tries to connect, the others wait for what comes of it,
 * so that a cluster that does not answer costs all of them one time-out, not one each.
 *
 * A change of the key makes a new connection. The old one is closed when the last call that was
 * begun on it has ended. */

#include "block-rbd-priv.h"

#include <errno.h>
#include <string.h>

#define CONNECT_SECONDS "10"
#define MON_SECONDS     "15"
#define OSD_SECONDS     "30"

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

static bool
configure(RbdLink *link, GError **err)
{
    static const char *const options[][2] = {{"client_mount_timeout", CONNECT_SECONDS},
                                             {"rados_mon_op_timeout", MON_SECONDS},
                                             {"rados_osd_op_timeout", OSD_SECONDS},
                                             {"log_to_stderr", "false"},
                                             {"err_to_stderr", "false"}};
    const Block *block = link->block;
    g_autofree char *name = g_strconcat("client.", block->user, NULL);
    int code = rados_create2(&link->cluster, "ceph", name, 0);

    if (code < 0)
        return rbd_cluster_failed(code, err, "cannot make a client of the Ceph cluster");
    code = rados_conf_read_file(link->cluster, block->conf);
    if (code < 0)
        return err_set(err, ERR_INVALID, "[storage] conf = %s cannot be read: %s", block->conf,
                       errno_text(-code));
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        code = rados_conf_set(link->cluster, options[i][0], options[i][1]);
        if (code < 0)
            return rbd_cluster_failed(code, err, options[i][0]);
    }
    return true;
}

/* A pool that is not marked for RBD is somebody else's: it is refused before anything is written.
 */
static char *
pool_trouble(RbdLink *link, BlockPurpose pool)
{
    const char *name = link->block->pools[pool];
    char applications[1024];
    size_t size = sizeof applications;
    g_autoptr(GError) error = NULL;
    int code = rados_application_list(link->io[pool], applications, &size);

    if (code < 0) {
        rbd_failed(link, pool, "", "read the applications of", code, &error);
        return g_strdup(error->message);
    }
    for (size_t at = 0; at < size && applications[at]; at += strlen(applications + at) + 1)
        if (strcmp(applications + at, "rbd") == 0)
            return NULL;
    return g_strdup_printf(
        "the pool '%s' is not for RBD; if it is meant to be, run 'rbd pool init %s'", name, name);
}

static bool
pools_open(RbdLink *link, GError **err)
{
    for (int i = 0; i < BLOCK_PURPOSES; i++) {
        const char *name = link->block->pools[i];
        int code = rados_ioctx_create(link->cluster, name, &link->io[i]);

        if (code == -ENOENT) {
            link->trouble[i] =
                g_strdup_printf("the Ceph cluster has no pool '%s'; make it with 'ceph osd pool "
                                "create %s' and 'rbd pool init %s', or name another in [storage]",
                                name, name, name);
            continue;
        }
        if (code < 0)
            return rbd_failed(link, (BlockPurpose)i, "", "open", code, err);
        rados_set_pool_full_try(link->io[i]);
        link->trouble[i] = pool_trouble(link, (BlockPurpose)i);
    }
    return true;
}

static bool
connect_cluster(RbdLink *link, GError **err)
{
    const Block *block = link->block;
    char *addresses = NULL;
    char fsid[64];
    int code;

    if (!configure(link, err))
        return false;
    code = rados_connect(link->cluster);
    if (code == -ENOENT || code == -EACCES || code == -EPERM || code == -EINVAL)
        return err_set(
            err, ERR_INVALID,
            "Ceph does not let client.%s in (%s): check the keyring that %s names for it, "
            "and 'ceph auth get client.%s'",
            block->user, errno_text(-code), block->conf, block->user);
    if (code < 0)
        return rbd_cluster_failed(code == -ENOTSUP ? -EACCES : code, err,
                                  "cannot connect to the Ceph cluster");
    code = rados_cluster_fsid(link->cluster, fsid, sizeof fsid);
    if (code < 0)
        return rbd_cluster_failed(code, err, "cannot read the id of the Ceph cluster");
    link->secret_uuid = secret_uuid_of(fsid, block->user);
    if (rados_getaddrs(link->cluster, &addresses) >= 0) {
        link->addresses = g_strdup(addresses);
        rados_buffer_free(addresses);
    }
    return pools_open(link, err);
}

static void
link_free(RbdLink *link)
{
    for (int i = 0; i < BLOCK_PURPOSES; i++) {
        if (link->io[i])
            rados_ioctx_destroy(link->io[i]);
        g_free(link->trouble[i]);
    }
    if (link->cluster)
        rados_shutdown(link->cluster);
    g_free(link->secret_uuid);
    g_free(link->addresses);
    g_free(link);
}

static RbdLink *
link_make(Block *block, GError **err)
{
    RbdLink *link = g_new0(RbdLink, 1);

    link->block = block;
    link->holders = 1;
    if (!connect_cluster(link, err)) {
        link_free(link);
        return NULL;
    }
    pthread_mutex_lock(&block->lock);
    g_ptr_array_add(block->links, link);
    pthread_mutex_unlock(&block->lock);
    return link;
}

RbdLink *
rbd_link_hold(RbdLink *link)
{
    WITH_MUTEX(&link->block->lock);

    link->holders++;
    return link;
}

void
rbd_link_drop(RbdLink *link)
{
    Block *block = link->block;
    bool last;

    pthread_mutex_lock(&block->lock);
    last = --link->holders == 0;
    if (last) {
        g_ptr_array_remove(block->links, link);
        block->closing++; /* closing the driver waits for it */
    }
    pthread_mutex_unlock(&block->lock);
    if (!last)
        return;
    link_free(link);
    pthread_mutex_lock(&block->lock);
    block->closing--;
    pthread_cond_broadcast(&block->changed);
    pthread_mutex_unlock(&block->lock);
}

static RbdLink *
link_make_usable(Block *block, GError **err)
{
    RbdLink *link = link_make(block, err);

    for (int i = 0; link && i < BLOCK_PURPOSES; i++) {
        if (!link->trouble[i])
            continue;
        err_set(err, ERR_INVALID, "%s", link->trouble[i]);
        g_clear_pointer(&link, rbd_link_drop);
    }
    return link;
}

/* What a crash left is removed before anything new of the kind is made. One time-out is enough:
 * without OSDs there is nothing to sweep now. */
static void
sweep(RbdLink *link)
{
    if (rbd_sweep_images(link)) {
        rbd_sweep_nonces(link);
        rbd_trash_sweep(link);
    }
}

/* The caller is the one that tries. */
static RbdLink *
connect_for_all(Block *block, GError **err)
{
    g_autoptr(GError) error = NULL;
    RbdLink *link = link_make_usable(block, &error);

    if (link)
        sweep(link);
    pthread_mutex_lock(&block->lock);
    g_clear_error(&block->failure);
    if (link) {
        block->link = link;
        link->holders++;
    } else {
        block->failure = g_error_copy(error);
    }
    block->connecting = false;
    block->attempts++;
    pthread_cond_broadcast(&block->changed);
    pthread_mutex_unlock(&block->lock);
    if (!link)
        g_propagate_error(err, g_steal_pointer(&error));
    return link;
}

RbdLink *
rbd_link(Block *block, GError **err)
{
    RbdLink *link = NULL;
    bool mine;
    uint64_t attempt;

    pthread_mutex_lock(&block->lock);
    mine = !block->link && !block->connecting;
    attempt = block->attempts;
    block->connecting = block->connecting || mine;
    while (!mine && !block->link && block->attempts == attempt)
        pthread_cond_wait(&block->changed, &block->lock); /* connecting has its time-outs */
    link = block->link;
    if (link)
        link->holders++;
    else if (!mine && err)
        *err = g_error_copy(block->failure);
    pthread_mutex_unlock(&block->lock);
    return mine ? connect_for_all(block, err) : link;
}

RbdLink *
rbd_link_whatever(Block *block, GError **err)
{
    g_autoptr(GError) error = NULL;
    RbdLink *link = rbd_link(block, &error);

    if (link)
        return link;
    if (err_is(error, ERR_INVALID))
        return link_make(block, err);
    g_propagate_error(err, g_steal_pointer(&error));
    return NULL;
}

bool
rbd_id_is_own(Block *block, uint64_t id)
{
    WITH_MUTEX(&block->lock);

    for (guint i = 0; i < block->links->len; i++)
        if (rados_get_instance_id(((RbdLink *)g_ptr_array_index(block->links, i))->cluster) == id)
            return true;
    return false;
}

bool
rbd_address_is_own(Block *block, const char *address)
{
    WITH_MUTEX(&block->lock);

    for (guint i = 0; i < block->links->len; i++) {
        const RbdLink *link = g_ptr_array_index(block->links, i);

        if (link->addresses && strstr(link->addresses, address))
            return true;
    }
    return false;
}

/* ---- the key -----------------------------------------------------------------------------------
 */

bool
rbd_reload_secret(Block *block, GError **err)
{
    g_autoptr(RbdLink) now = rbd_link(block, err);
    RbdLink *old, *link;

    if (!now)
        return false;
    link = link_make_usable(block, err);
    if (!link)
        return false;
    pthread_mutex_lock(&block->lock);
    old = block->link;
    block->link = link;
    pthread_mutex_unlock(&block->lock);
    rbd_link_drop(old);
    return true;
}

/* Read anew each time, so that a rotated key reaches the nodes. */
static bool
key_read(RbdLink *link, BlockSecret *secret, GError **err)
{
    const Block *block = link->block;
    char paths[4096];
    g_auto(GStrv) files = NULL;
    g_autofree char *group = g_strconcat("client.", block->user, NULL);
    int code = rados_conf_get(link->cluster, "keyring", paths, sizeof paths);

    if (code < 0)
        return rbd_cluster_failed(code, err, "cannot read Ceph's option keyring");
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

bool
rbd_secret(Block *block, BlockSecret *secret, GError **err)
{
    g_autoptr(RbdLink) link = rbd_link(block, err);

    *secret = (BlockSecret){0};
    if (!link || !key_read(link, secret, err)) {
        block_secret_clear(secret);
        return false;
    }
    secret->uuid = g_strdup(link->secret_uuid);
    secret->usage = g_strdup_printf("godwit client.%s %.8s", block->user, link->secret_uuid);
    return true;
}
