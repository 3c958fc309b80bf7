/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* file.c: whole files: written so that a crash leaves the old or the new one, read with a bound */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static ErrCode
code_of_errno(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_FORBIDDEN;
    default:
        return ERR_BACKEND;
    }
}

static bool
write_all(int fd, const void *contents, size_t size)
{
    const char *p = contents;
    while (size > 0) {
        ssize_t done = write(fd, p, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return false;
        p += done;
        size -= (size_t)done;
    }
    return true;
}

static bool
directory_sync(const char *directory)
{
    AUTO_FD fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0;
}

bool
file_write_atomically(const char *path, const void *contents, size_t size, unsigned mode,
                      GError **err)
{
    g_autofree char *directory = g_path_get_dirname(path);
    g_autofree char *base = g_path_get_basename(path);
    g_autofree char *temporary = g_strdup_printf("%s/.%s.XXXXXX", directory, base);
    AUTO_FD fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return err_set(err, code_of_errno(errno), "cannot write %s: %s", path, errno_text(errno));
    if (!write_all(fd, contents, size) || fchmod(fd, (mode_t)mode) != 0 || fsync(fd) != 0 ||
        rename(temporary, path) != 0) {
        int number = errno;
        unlink(temporary);
        return err_set(err, code_of_errno(number), "cannot write %s: %s", path, errno_text(number));
    }
    if (!directory_sync(directory))
        return err_set(err, code_of_errno(errno), "wrote %s, but cannot make its name durable: %s",
                       path, errno_text(errno));
    return true;
}

bool
file_read_bounded(const char *path, size_t most, char **contents, size_t *size, GError **err)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, code_of_errno(errno), "cannot read %s: %s", path, errno_text(errno));
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode))
        return err_set(err, ERR_INVALID, "cannot read %s: it is a directory", path);

    g_autoptr(GByteArray) bytes = g_byte_array_new();
    for (;;) {
        uint8_t chunk[8192];
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(err, code_of_errno(errno), "cannot read %s: %s", path,
                           errno_text(errno));
        if (got == 0)
            break;
        if (bytes->len + (size_t)got > most)
            return err_set(err, ERR_INVALID, "%s is larger than the %zu bytes allowed", path, most);
        g_byte_array_append(bytes, chunk, (guint)got);
    }
    if (size != NULL)
        *size = bytes->len;
    g_byte_array_append(bytes, (const uint8_t *)"", 1);
    *contents = (char *)g_byte_array_free(g_steal_pointer(&bytes), FALSE);
    return true;
}
