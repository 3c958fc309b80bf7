/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dir-copy.c: qcow2 files of our own making, made, copied and enlarged by qemu-img
 *
 * A file that a guest has open is left alone: QEMU holds locks on it, which qemu-img respects, and
 * which can be asked for. All paths are built from ids, so none looks like an option or a protocol.
 */

#include "block-dir-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define QEMU_IMG_SECONDS 60
#define COPY_SECONDS     (6 * 3600)
/* Where QEMU keeps its locks in a file: what it does from the first, what it lets others do from
 * the second (docs/devel of QEMU, raw files). */
#define QEMU_LOCKS_FROM 100
#define QEMU_LOCKS_ROOM 200

static bool
tool_failed(const GError *error, const char *verb, const char *path, GError **err)
{
    ErrCode code = err_code(error);

    if (code == ERR_NOT_FOUND)
        return err_set(err, ERR_BACKEND, "%s; install qemu-utils on the controller",
                       error->message);
    if (strstr(error->message, "\" lock"))
        return err_set(err, ERR_UNSUPPORTED,
                       "cannot %s %s while it is open: with driver dir, stop the server or detach "
                       "the volume first",
                       verb, path);
    if (strstr(error->message, errno_text(ENOSPC)))
        code = ERR_QUOTA;
    return err_set(err, code, "cannot %s %s: %s", verb, path, error->message);
}

static bool
tool_run(const char *const argv[], const char *verb, const char *path, GError **err)
{
    g_autoptr(GError) error = NULL;

    return process_run(argv, clock_monotonic() + QEMU_IMG_SECONDS * USEC_PER_SEC, NULL, &error) ||
           tool_failed(error, verb, path, err);
}

bool
dir_qcow2_make(const char *path, const char *backing, const char *format, int64_t size,
               GError **err)
{
    g_autofree char *bytes = g_strdup_printf("%" G_GINT64_FORMAT, size);
    const char *const over[] = {"qemu-img", "create", "-q", "-f", "qcow2", "-F", format,
                                "-b",       backing,  "--", path, bytes,   NULL};
    const char *const empty[] = {"qemu-img", "create", "-q",  "-f", "qcow2",
                                 "--",       path,     bytes, NULL};

    return tool_run(backing ? over : empty, "make the disk", path, err);
}

bool
dir_qcow2_resize(const char *path, int64_t size, GError **err)
{
    g_autofree char *bytes = g_strdup_printf("%" G_GINT64_FORMAT, size);
    const char *const argv[] = {"qemu-img", "resize", "-q", "-f", "qcow2", "--", path, bytes, NULL};

    return tool_run(argv, "enlarge", path, err);
}

bool
dir_qcow2_size(const char *path, int64_t *size, GError **err)
{
    uint8_t head[32];
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return dir_failed(err, errno, "open", path);
    if (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head || memcmp(head, "QFI\xfb", 4) != 0)
        return err_set(err, ERR_BACKEND, "%s is not the qcow2 file that it was made as", path);
    *size = 0;
    for (int i = 24; i < 32; i++)
        *size = (*size << 8) | head[i];
    return true;
}

bool
dir_is_open(const char *path)
{
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = QEMU_LOCKS_FROM,
                         .l_len = QEMU_LOCKS_ROOM};
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* ---- copies ------------------------------------------------------------------------------------
 */

typedef struct Copy {
    BlockProgressFn progress; /* NULL: nobody listens */
    void *opaque;
    int64_t total;
    char tail[32]; /* a number may come in two pieces */
} Copy;

/* qemu-img writes "    (12.34/100%)" and a carriage return, again and again. */
static bool
copy_said(void *opaque, const char *data, size_t size)
{
    Copy *copy = opaque;
    size_t kept = strlen(copy->tail);
    g_autofree char *text = g_malloc(kept + size + 1);
    const char *open, *end;

    memcpy(text, copy->tail, kept);
    memcpy(text + kept, data, size);
    text[kept + size] = '\0';
    end = g_strrstr(text, "/100%");
    g_strlcpy(copy->tail, text + (kept + size - MIN(kept + size, sizeof copy->tail - 1)),
              sizeof copy->tail);
    if (!end || !copy->progress)
        return true;
    for (open = end; open > text && *open != '('; open--)
        continue;
    return copy->progress(
        (int64_t)(CLAMP(g_ascii_strtod(open + 1, NULL), 0, 100) / 100 * (double)copy->total),
        copy->total, copy->opaque);
}

bool
dir_qcow2_copy(const char *from, const char *format, const char *to, BlockProgressFn progress,
               void *opaque, GError **err)
{
    const char *const argv[] = {"qemu-img", "convert", "-p", "-f", format, "-O",
                                "qcow2",    "--",      from, to,   NULL};
    Copy copy = {.progress = progress, .opaque = opaque};
    g_autoptr(GError) error = NULL;
    int64_t deadline = clock_monotonic() + COPY_SECONDS * USEC_PER_SEC;

    if (strcmp(format, "qcow2") == 0 && !dir_qcow2_size(from, &copy.total, err))
        return false;
    if (process_run_watched(argv, deadline, copy_said, &copy, &error))
        return true;
    unlink(to);
    return tool_failed(error, "copy", from, err);
}
