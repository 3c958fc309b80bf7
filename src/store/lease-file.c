/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lease-file.c: one godwitd per state file
 *
 * An open-file-description lock on PATH.lock: it ends with the process however that ends, is not
 * lost when some other descriptor of the file is closed, and holds against a second store in the
 * same process too. The pid in the file is for people only. The file stays: removing it would let
 * two processes lock two files of the same name. */
#include "store/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool
lease_refused(int fd, const char *path, GError **err)
{
    char holder[32] = "";
    ssize_t size = pread(fd, holder, sizeof holder - 1, 0);
    int64_t pid;
    if (size > 0 && parse_int64(g_strchomp(holder), 1, INT32_MAX, &pid))
        return err_set(err, ERR_BUSY,
                       "%s is in use by process %" PRId64
                       ": one godwitd at a time. Stop that one, or give this one "
                       "another state file",
                       path, pid);
    return err_set(err, ERR_BUSY,
                   "%s is in use by another process (see \"lslocks\"): one godwitd at a time",
                   path);
}

int
lease_file_open(const char *path, GError **err)
{
    g_autofree char *lock_path = g_strconcat(path, ".lock", NULL);
    AUTO_FD fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        err_set(err, ERR_BACKEND,
                "cannot make the lock file %s: %s. The directory must exist and belong to "
                "godwitd's user",
                lock_path, errno_text(errno));
        return -1;
    }
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        if (errno == EAGAIN || errno == EACCES)
            lease_refused(fd, path, err);
        else
            err_set(err, ERR_BACKEND, "cannot lock %s: %s. Its file system must support locks",
                    lock_path, errno_text(errno));
        return -1;
    }
    char pid[32];
    int size = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)size, 0) != size) {
        err_set(err, ERR_BACKEND, "cannot write %s: %s", lock_path, errno_text(errno));
        return -1;
    }
    int held = fd;
    fd = -1;
    return held;
}

void
lease_file_close(int fd)
{
    fd_close(&fd);
}
