/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt-file.c: files on a node by way of its libvirt alone
 *
 * A directory becomes a transient `dir` storage pool for the length of one call; its files are the
 * volumes. libvirt refuses a second pool on the same directory, so the calls to one node take
 * turns, a pool that somebody else keeps there is used and left alone, and one of ours that was
 * left behind is used and then removed. Starting a pool makes libvirt look at each file of the
 * directory: keep files that are read this way in a directory with few others. */
#include "host/host-libvirt-priv.h"

#include "host/domain-xml.h"
#include <errno.h>
#include <string.h>

#define POOL_PREFIX "godwit-"
#define POOL_TRIES  20
#define POOL_PAUSE  (50 * 1000) /* µs between them */
#define CHUNK       (64 * 1024)
#define PATH_MOST   4095

/* One lock per node would need a table that grows; a fixed number of locks, chosen by name, does
 * the same. */
static pthread_mutex_t turns[] = {
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER,
};

typedef struct Pool {
    pthread_mutex_t *turn;
    virStoragePoolPtr vir;
    bool stop; /* we started it, or another run of ours did */
} Pool;

static void
pool_close(Pool *pool)
{
    /* libvirt refuses while it still looks at what an upload changed */
    for (int i = 0;
         pool->vir && pool->stop && virStoragePoolDestroy(pool->vir) < 0 && i < POOL_TRIES; i++) {
        if (virStoragePoolIsActive(pool->vir) != 1)
            break;
        g_usleep(POOL_PAUSE);
    }
    if (pool->vir)
        virStoragePoolFree(pool->vir);
    if (pool->turn)
        pthread_mutex_unlock(pool->turn);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pool, pool_close)

/* The pool that is on the directory already, if any. */
static bool
pool_adopt(HostConn *conn, Pool *pool, const char *directory)
{
    pool->vir = virStoragePoolLookupByTargetPath(conn->vir, directory);
    if (!pool->vir)
        return false;
    pool->stop = g_str_has_prefix(virStoragePoolGetName(pool->vir), POOL_PREFIX);
    virStoragePoolRefresh(pool->vir,
                          0); /* else it only knows the files of the time when it was started */
    return true;
}

static bool
pool_open_with(HostConn *conn, Pool *pool, const char *directory, unsigned flags, GError **err)
{
    pool->turn = &turns[g_str_hash(conn->host) % G_N_ELEMENTS(turns)];
    pthread_mutex_lock(pool->turn);
    for (int i = 0; i < POOL_TRIES; i++) {
        if (pool_adopt(conn, pool, directory))
            return true;
        if (libvirt_last_code() != VIR_ERR_NO_STORAGE_POOL)
            break;
        g_autofree char *id = uuid_new();
        g_autofree char *name = g_strconcat(POOL_PREFIX, id, NULL);
        g_autofree char *xml = pool_xml_build(name, directory);
        pool->vir = virStoragePoolCreateXML(conn->vir, xml, flags);
        pool->stop = true;
        if (pool->vir)
            return true;
        const virError *error = virGetLastError();
        if (error && error->code == VIR_ERR_SYSTEM_ERROR &&
            (error->int1 == ENOENT || error->int1 == ENOTDIR))
            return err_set(err, ERR_NOT_FOUND, "%s: there is no directory %s", conn->host,
                           directory);
        if (!error || error->code != VIR_ERR_OPERATION_FAILED)
            break;
        g_usleep(POOL_PAUSE); /* another pool on this directory comes or goes */
    }
    return libvirt_error_set(conn, err, "open directory %s", directory);
}

static bool
pool_open(HostConn *conn, Pool *pool, const char *directory, GError **err)
{
    return pool_open_with(conn, pool, directory, 0, err);
}

/* path → its directory and name. */
static bool
path_split(const char *path, char **directory, char **name, GError **err)
{
    if (!text_is_clean(path, PATH_MOST, false) || !g_path_is_absolute(path))
        return err_set(err, ERR_INVALID, "a file on a node is named by an absolute path");
    g_autofree char *canonical = g_canonicalize_filename(path, "/");
    if (strcmp(canonical, path) != 0 || strcmp(path, "/") == 0)
        return err_set(err, ERR_INVALID,
                       "%s: write the path of a file without '.', '..' and double slashes", path);
    *directory = g_path_get_dirname(path);
    *name = g_path_get_basename(path);
    return true;
}

/* ---- streams ---------------------------------------------------------------------------- */
static bool
download(HostConn *conn, virStorageVolPtr volume, int64_t offset, int64_t most, GString *contents,
         GError **err)
{
    g_autoptr(virStream) stream = virStreamNew(conn->vir, 0);
    if (!stream || virStorageVolDownload(volume, stream, (unsigned long long)offset,
                                         (unsigned long long)most, 0) < 0)
        return libvirt_error_set(conn, err, "read %s", virStorageVolGetKey(volume));
    g_autofree char *chunk = g_malloc(CHUNK);
    int64_t left = most;
    int n;
    /* until the end of the stream, even if nothing more may come: a stream that was not read out
     * cannot be finished */
    while ((n = virStreamRecv(stream, chunk, CHUNK)) > 0) {
        if (n > left) {
            virStreamAbort(stream);
            return err_set(err, ERR_BACKEND, "%s: sent more of %s than was asked for", conn->host,
                           virStorageVolGetKey(volume));
        }
        g_string_append_len(contents, chunk, n);
        left -= n;
    }
    if (n == 0 && virStreamFinish(stream) == 0)
        return true;
    libvirt_error_set(conn, err, "read %s", virStorageVolGetKey(volume));
    if (n < 0)
        virStreamAbort(stream);
    return false;
}

static bool
upload(HostConn *conn, virStorageVolPtr volume, const char *contents, size_t size, GError **err)
{
    g_autoptr(virStream) stream = virStreamNew(conn->vir, 0);
    if (!stream || virStorageVolUpload(volume, stream, 0, size, 0) < 0)
        return libvirt_error_set(conn, err, "write %s", virStorageVolGetKey(volume));
    size_t sent = 0;
    int n = 0;
    while (sent < size && (n = virStreamSend(stream, contents + sent, MIN(size - sent, CHUNK))) > 0)
        sent += (size_t)n;
    if (sent == size && virStreamFinish(stream) == 0)
        return true;
    libvirt_error_set(conn, err, "write %s", virStorageVolGetKey(volume));
    if (sent < size)
        virStreamAbort(stream);
    return false;
}

/* ---- the operations --------------------------------------------------------------------- */
bool
libvirt_file_read(HostConn *conn, const char *path, int64_t offset, int64_t most, GString *contents,
                  GError **err)
{
    g_autofree char *directory = NULL, *name = NULL;
    if (most < 1 || most > LIBVIRT_FILE_MOST)
        return err_set(err, ERR_INVALID,
                       "from a file on a node, 1 to %" PRId64 " bytes can be read at a time",
                       LIBVIRT_FILE_MOST);
    if (!path_split(path, &directory, &name, err))
        return false;
    g_auto(Pool) pool = {0};
    if (!pool_open(conn, &pool, directory, err))
        return false;
    g_autoptr(virStorageVol) volume = virStorageVolLookupByName(pool.vir, name);
    if (!volume)
        return libvirt_error_set(conn, err, "read %s", path);
    if (offset < 0) {
        virStorageVolInfo info;
        if (virStorageVolGetInfo(volume, &info) < 0)
            return libvirt_error_set(conn, err, "measure %s", path);
        offset = MAX(0, (int64_t)info.capacity + offset);
    }
    size_t before = contents->len;
    bool ok = download(conn, volume, offset, most, contents, err);
    if (!ok)
        g_string_truncate(contents, before);
    return ok;
}

bool
libvirt_file_write(HostConn *conn, const char *path, const char *contents, size_t size,
                   GError **err)
{
    g_autofree char *directory = NULL, *name = NULL;
    if (size > (size_t)LIBVIRT_FILE_MOST)
        return err_set(err, ERR_INVALID,
                       "to a file on a node, at most %" PRId64 " bytes can be written",
                       LIBVIRT_FILE_MOST);
    if (!path_split(path, &directory, &name, err))
        return false;
    g_auto(Pool) pool = {0};
    if (!pool_open(conn, &pool, directory, err))
        return false;
    g_autoptr(virStorageVol) old = virStorageVolLookupByName(pool.vir, name);
    if (old ? virStorageVolDelete(old, 0) < 0 : libvirt_last_code() != VIR_ERR_NO_STORAGE_VOL)
        return libvirt_error_set(conn, err, "replace %s", path);
    g_autofree char *xml = volume_xml_build(name, size);
    g_autoptr(virStorageVol) volume = virStorageVolCreateXML(pool.vir, xml, 0);
    if (!volume)
        return libvirt_error_set(conn, err, "create %s", path);
    if (size > 0 && !upload(conn, volume, contents, size, err)) {
        virStorageVolDelete(volume, 0);
        return false;
    }
    return true;
}

bool
libvirt_file_delete(HostConn *conn, const char *path, GError **err)
{
    g_autofree char *directory = NULL, *name = NULL;
    if (!path_split(path, &directory, &name, err))
        return false;
    g_auto(Pool) pool = {0};
    g_autoptr(GError) error = NULL;
    if (!pool_open(conn, &pool, directory, &error)) {
        if (err_is(error, ERR_NOT_FOUND))
            return true;
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    g_autoptr(virStorageVol) volume = virStorageVolLookupByName(pool.vir, name);
    if ((volume && virStorageVolDelete(volume, 0) == 0) ||
        libvirt_last_code() == VIR_ERR_NO_STORAGE_VOL)
        return true;
    return libvirt_error_set(conn, err, "delete %s", path);
}

bool
libvirt_directory_make(HostConn *conn, const char *path, GError **err)
{
    g_autofree char *directory = NULL, *name = NULL;
    if (!path_split(path, &directory, &name, err))
        return false;
    g_auto(Pool) pool = {0};
    return pool_open_with(conn, &pool, path, VIR_STORAGE_POOL_CREATE_WITH_BUILD, err);
}

bool
libvirt_file_system(HostConn *conn, const char *path, int64_t *total, int64_t *free_bytes,
                    GError **err)
{
    g_autofree char *directory = NULL, *name = NULL;
    if (!path_split(path, &directory, &name, err))
        return false;
    /* path itself if it is a directory, else the one it is in */
    const char *const candidates[] = {path, directory};
    g_autoptr(GError) error = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(candidates) && (i == 0 || err_is(error, ERR_NOT_FOUND));
         i++) {
        g_auto(Pool) pool = {0};
        virStoragePoolInfo info;
        g_clear_error(&error);
        if (!pool_open(conn, &pool, candidates[i], &error))
            continue;
        if (virStoragePoolGetInfo(pool.vir, &info) < 0)
            return libvirt_error_set(conn, err, "read the size of the file system of %s", path);
        *total = (int64_t)MIN(info.capacity, (unsigned long long)INT64_MAX);
        *free_bytes = (int64_t)MIN(info.available, (unsigned long long)INT64_MAX);
        return true;
    }
    g_propagate_error(err, g_steal_pointer(&error));
    return false;
}
