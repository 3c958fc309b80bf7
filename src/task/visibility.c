/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* visibility.c: a directory or a pool of the same name proves nothing; a nonce read back does
 *
 * A directory: a file written on one side is read on the other, and the reverse. A cluster: an RBD
 * image is made whose name and size are random; the node's QEMU opens it for a guest that never
 * runs, and must tell its size. That takes what a server's start there takes: QEMU's driver for
 * RBD, a way to monitors and OSDs, the key, and its capabilities in the pool. */
#include "task/visibility.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "task/runner.h"

#define NONCE_DEADLINE (clock_monotonic() + 10 * USEC_PER_SEC)
#define PROBE_DEADLINE (clock_monotonic() + 20 * USEC_PER_SEC) /* a QEMU starts in it */

static bool
mismatch(const char *host, const char *directory, const char *what, GError **err)
{
    return err_set(err, ERR_CONFLICT,
                   "%s does not see the storage: %s in %s (%s); mount the same file system there "
                   "on %s and on the controller",
                   host, "the nonce was not found", directory, what, host);
}

/* Controller writes, node reads. */
static bool
prove_read(Hosts *hosts, const char *host, const char *directory, const char *nonce, GError **err)
{
    g_autofree char *name = g_strdup_printf("%s/c-%s", directory, nonce);
    g_autoptr(GString) read = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    bool ok;

    if (!file_write_atomically(name, nonce, strlen(nonce), 0644, err))
        return false;
    ok = host_file_read(hosts, host, name, 0, 256, read, NONCE_DEADLINE, &error);
    unlink(name);
    if (ok && strcmp(read->str, nonce) == 0)
        return true;
    if (error && (err_code(error) == ERR_UNREACHABLE || err_code(error) == ERR_TIMEOUT)) {
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    return mismatch(host, directory, error ? error->message : "it holds something else", err);
}

/* Node writes, controller reads. */
static bool
prove_write(Hosts *hosts, const char *host, const char *directory, const char *nonce, GError **err)
{
    g_autofree char *name = g_strdup_printf("%s/n-%s", directory, nonce), *contents = NULL;
    g_autoptr(GError) error = NULL;
    size_t size = 0;
    bool same;

    if (!host_file_write(hosts, host, name, nonce, strlen(nonce), NONCE_DEADLINE, err))
        return false;
    same = file_read_bounded(name, 256, &contents, &size, &error) && size == strlen(nonce) &&
           memcmp(contents, nonce, size) == 0;
    host_file_delete(hosts, host, name, NONCE_DEADLINE, NULL);
    return same ||
           mismatch(host, directory,
                    error ? error->message : "what the node wrote is not what the controller reads",
                    err);
}

/* ---- a cluster ---------------------------------------------------------------------------------
 */

/* What a node needs before it can open disks, each time anew: the key may have been rotated, the
 * node installed again. */
static bool
prepare_for_rbd(Hosts *hosts, const char *host, const Storage *storage, GError **err)
{
    g_auto(BlockSecret) secret = {0};
    g_autofree char *console =
        storage_console_path(storage, "00000000-0000-4000-8000-000000000000");
    g_autofree char *directory = g_path_get_dirname(console);

    return storage_secret(storage, &secret, err) &&
           host_secret_define(hosts, host, secret.uuid, secret.usage, secret.value, secret.size,
                              NONCE_DEADLINE, err) &&
           host_directory_make(hosts, host, directory, NONCE_DEADLINE, err);
}

/* A QEMU that waits for a cluster out of its reach waits for minutes; we do not. */
static bool
probe_nonce(Hosts *hosts, const char *host, const DiskSpec *disk, int64_t size, GError **err)
{
    g_autofree char *uuid = uuid_new();
    g_autoptr(GError) error = NULL;
    int64_t seen = 0;

    if (host_disk_probe(hosts, host, uuid, disk, &seen, PROBE_DEADLINE, &error)) {
        if (seen == size)
            return true;
        return err_set(err, ERR_CONFLICT,
                       "%s sees another Ceph cluster: the disk %s has %" PRId64
                       " bytes there and not %" PRId64 "; check its monitors and /etc/ceph there",
                       host, disk->source, seen, size);
    }
    if (err_is(error, ERR_TIMEOUT)) {
        host_domain_destroy(hosts, host, uuid, NONCE_DEADLINE, NULL);
        return err_set(err, ERR_CONFLICT,
                       "%s does not reach the Ceph cluster: its QEMU could not open the disk %s in "
                       "time; check the way from %s to the monitors (%s) and to every OSD",
                       host, disk->source, host, disk->rbd->monitors[0]);
    }
    if (err_is(error, ERR_UNREACHABLE)) {
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    return err_set(err, ERR_CONFLICT,
                   "%s cannot open disks on Ceph (%s); check that QEMU's driver for RBD is there "
                   "(package qemu-block-extra) and the capabilities of client.%s",
                   host, error->message, disk->rbd->user);
}

static bool
prove_rbd(TaskEngine *engine, const char *host, RbdAccess *access, GError **err)
{
    const Storage *storage = engine_storage(engine);
    Hosts *hosts = engine_hosts(engine);
    g_auto(DiskSpec) disk = {
        .format = g_strdup("raw"), .read_only = true, .rbd = rbd_access_copy(access)};
    int64_t size = 0;
    bool ok;

    if (!prepare_for_rbd(hosts, host, storage, err) ||
        !storage->ops->nonce_make(storage->block, &disk.source, &size, err))
        return false;
    ok = probe_nonce(hosts, host, &disk, size, err);
    storage->ops->nonce_remove(storage->block, disk.source);
    return ok;
}

bool
visibility_prove(TaskEngine *engine, const char *host, GError **err)
{
    const Storage *storage = engine_storage(engine);
    g_autofree char *directory = storage->ops->nonce_directory(storage->block);
    g_autofree char *nonce = random_token(24);
    g_autoptr(RbdAccess) access = NULL;

    if (!storage_access(storage, &access, err))
        return false;
    if (access)
        return prove_rbd(engine, host, access, err);
    return prove_read(engine_hosts(engine), host, directory, nonce, err) &&
           prove_write(engine_hosts(engine), host, directory, nonce, err);
}

bool
visibility_is_cheap(TaskEngine *engine)
{
    const Storage *storage = engine_storage(engine);
    g_autofree char *directory = storage->ops->nonce_directory(storage->block);

    return directory != NULL;
}

bool
visibility_capacity(TaskEngine *engine, const char *host, int64_t *total_gb, int64_t *free_gb,
                    GError **err)
{
    const Storage *storage = engine_storage(engine);
    g_autofree char *directory = storage->ops->nonce_directory(storage->block);
    g_autofree char *path = directory ? g_build_filename(directory, "x", NULL) : NULL;
    int64_t total, free_bytes;

    if (!path) { /* all nodes see the same */
        BlockCapacity capacity = {0};

        if (!storage->ops->capacity(storage->block, &capacity, err))
            return false;
        *total_gb = capacity.total >> 30;
        *free_gb = capacity.free_bytes >> 30;
        return true;
    }
    if (!host_file_system(engine_hosts(engine), host, path, &total, &free_bytes, NONCE_DEADLINE,
                          err))
        return false;
    *total_gb = total >> 30;
    *free_gb = free_bytes >> 30;
    return true;
}
