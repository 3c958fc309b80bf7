/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* visibility.c: a directory of the same name proves nothing; a nonce read back does */
#include "task/visibility.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "task/runner.h"

#define NONCE_DEADLINE (clock_monotonic() + 10 * USEC_PER_SEC)

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

bool
visibility_prove(TaskEngine *engine, const char *host, GError **err)
{
    const Storage *storage = engine_storage(engine);
    g_autofree char *directory = storage->ops->nonce_directory(storage->block);
    g_autofree char *nonce = random_token(24);

    return prove_read(engine_hosts(engine), host, directory, nonce, err) &&
           prove_write(engine_hosts(engine), host, directory, nonce, err);
}

bool
visibility_capacity(TaskEngine *engine, const char *host, int64_t *total_gb, int64_t *free_gb,
                    GError **err)
{
    const Storage *storage = engine_storage(engine);
    g_autofree char *directory = storage->ops->nonce_directory(storage->block);
    g_autofree char *path = g_build_filename(directory, "x", NULL);
    int64_t total, free_bytes;

    if (!host_file_system(engine_hosts(engine), host, path, &total, &free_bytes, NONCE_DEADLINE,
                          err))
        return false;
    *total_gb = total >> 30;
    *free_gb = free_bytes >> 30;
    return true;
}
