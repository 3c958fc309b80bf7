/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-dir.c: storage in a directory that the controller and every node mount at the same path
 *
 *   PATH/images/ID.img          an image as it was uploaded, raw or qcow2; never written again
 *   PATH/instances/ID/disk      a server's root disk: qcow2, its backing file is the image
 *   PATH/instances/ID/config.iso
 *   PATH/instances/ID/console.log   appended to by whichever node runs the server
 *   PATH/volumes/ID/            a volume and its snapshots: dir-volume.c
 *   PATH/tmp/                   uploads on their way; each is locked while it is written
 *   PATH/nonce/                 for the proof that a node sees this very directory
 *
 * Whatever becomes visible is complete: files are written under another name, synchronised and
 * renamed. What a crash leaves under PATH/tmp is swept at open; an upload under way is told from a
 * left one by its lock. Formats are never probed from data that a guest can write: disks are always
 * qcow2 of our making, and a raw image that begins like another format was refused when it was
 * uploaded. */

#include "block-dir-priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SPACE_LEAST       (INT64_C(64) << 20) /* kept free for what is there already */
#define SPACE_CHECK_EVERY (INT64_C(16) << 20)
#define DIR_DISK_MOST     (INT64_C(64) << 40)
#define QEMU_IMG_MEMORY   (INT64_C(1) << 30)

struct BlockUpload {
    Block *block;
    char *image_id;
    char *temporary;
    int fd;
    int64_t next_space_check;
    BlockIntake intake;
};

bool
dir_failed(GError **err, int number, const char *verb, const char *path)
{
    ErrCode code = ERR_BACKEND;

    if (number == ENOENT)
        code = ERR_NOT_FOUND;
    else if (number == ENOSPC || number == EDQUOT)
        code = ERR_QUOTA;
    else if (number == ESTALE || number == EHOSTDOWN || number == ENOTCONN)
        code = ERR_UNREACHABLE;
    return err_set(err, code, "cannot %s %s: %s", verb, path, errno_text(number));
}

char *
dir_image_path(Block *block, const char *image_id)
{
    return g_strdup_printf("%s/images/%s.img", block->path, image_id);
}

char *
dir_thing_path(Block *block, const char *kind, const char *id, const char *name)
{
    return g_strdup_printf("%s/%s/%s%s%s", block->path, kind, id, *name ? "/" : "", name);
}

bool
dir_sync_fd(Block *block, int fd, const char *path, GError **err)
{
    if (block->durable && fsync(fd) != 0)
        return dir_failed(err, errno, "write to storage:", path);
    return true;
}

bool
dir_sync(Block *block, const char *path, GError **err)
{
    AUTO_FD fd = -1;

    if (!block->durable)
        return true;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return dir_failed(err, errno, "open", path);
    return dir_sync_fd(block, fd, path, err);
}

bool
dir_exists(const char *path, bool *exists, GError **err)
{
    struct stat found;

    if (lstat(path, &found) == 0) {
        *exists = true;
        return true;
    }
    *exists = false;
    return errno == ENOENT || dir_failed(err, errno, "look at", path);
}

bool
dir_make(const char *path, mode_t mode, GError **err)
{
    if (mkdir(path, mode) == 0) {
        /* mkdir is subject to umask; nodes' QEMU must be able to pass through. */
        if (chmod(path, mode) != 0)
            return dir_failed(err, errno, "set the mode of", path);
        return true;
    }
    return errno == EEXIST || dir_failed(err, errno, "make the directory", path);
}

/* ---- opening -----------------------------------------------------------------------------------
 */

/* Remove uploads that nobody writes any more. What cannot be removed is left for the next time. */
static void
sweep(const char *directory)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        AUTO_FD fd = -1;

        if (entry->d_name[0] == '.')
            continue;
        fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
}

static Block *
block_dir_open_as(const char *path, bool durable, GError **err)
{
    static const struct {
        const char *name;
        mode_t mode;
    } parts[] = {
        {"images", 0711}, {"instances", 0711}, {"volumes", 0711}, {"nonce", 0755}, {"tmp", 0700}};
    g_autofree char *clean = path ? g_strdup(path) : NULL;
    g_autofree char *temporary = NULL;
    struct stat found;
    Block *block;

    if (!clean || clean[0] != '/' || !text_is_clean(clean, 512, false)) {
        err_set(err, ERR_INVALID, "the storage path '%.64s' is not an absolute path",
                path ? path : "");
        return NULL;
    }
    for (size_t end = strlen(clean); end > 1 && clean[end - 1] == '/'; end--)
        clean[end - 1] = '\0';
    /* Not made here: where a mount is missing, a new empty directory would hide that. */
    if (stat(clean, &found) != 0 || !S_ISDIR(found.st_mode)) {
        err_set(err, ERR_NOT_FOUND,
                "the storage directory %s does not exist; mount it there, or make it if it is new",
                clean);
        return NULL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *part = g_strdup_printf("%s/%s", clean, parts[i].name);

        if (!dir_make(part, parts[i].mode, err))
            return NULL;
    }
    temporary = g_strdup_printf("%s/tmp", clean);
    sweep(temporary);

    block = g_new0(Block, 1);
    block->path = g_steal_pointer(&clean);
    block->durable = durable;
    return block;
}

static Block *
block_dir_open(const BlockSettings *settings, GError **err)
{
    return block_dir_open_as(settings->path, true, err);
}

static Block *
block_fake_open(const BlockSettings *settings, GError **err)
{
    return block_dir_open_as(settings->path, false, err);
}

static void
block_dir_close(Block *block)
{
    if (!block)
        return;
    g_free(block->path);
    g_free(block);
}

bool
dir_capacity(Block *block, BlockCapacity *capacity, GError **err)
{
    struct statvfs space;

    if (statvfs(block->path, &space) != 0)
        return dir_failed(err, errno, "read the free space of", block->path);
    capacity->total = (int64_t)space.f_blocks * (int64_t)space.f_frsize;
    capacity->free_bytes = (int64_t)space.f_bavail * (int64_t)space.f_frsize;
    return true;
}

bool
dir_space_check(Block *block, GError **err)
{
    BlockCapacity capacity = {0};

    if (!dir_capacity(block, &capacity, err))
        return false;
    if (capacity.free_bytes >= SPACE_LEAST)
        return true;
    return err_set(err, ERR_QUOTA,
                   "the storage %s has only %" G_GINT64_FORMAT
                   " MiB left; delete images or servers, or make it larger",
                   block->path, capacity.free_bytes >> 20);
}

/* ---- images ------------------------------------------------------------------------------------
 */

static void
upload_free(BlockUpload *upload)
{
    fd_close(&upload->fd);
    block_intake_clear(&upload->intake);
    g_free(upload->temporary);
    g_free(upload->image_id);
    g_free(upload);
}

static void
block_dir_upload_abort(BlockUpload *upload)
{
    if (!upload)
        return;
    unlink(upload->temporary);
    upload_free(upload);
}

static BlockUpload *
block_dir_upload_begin(Block *block, const char *image_id, const char *claimed, int64_t max_bytes,
                       GError **err)
{
    g_autofree char *unique = uuid_new();
    g_autofree char *temporary = NULL;
    BlockUpload *upload;
    BlockIntake intake;

    if (!block_id_check(image_id, err) || !dir_space_check(block, err) ||
        !block_intake_begin(&intake, claimed, max_bytes, err))
        return NULL;
    temporary = g_strdup_printf("%s/tmp/%s", block->path, unique);
    upload = g_new0(BlockUpload, 1);
    upload->block = block;
    upload->image_id = g_strdup(image_id);
    upload->intake = intake;
    upload->next_space_check = SPACE_CHECK_EVERY;
    upload->fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    upload->temporary = g_steal_pointer(&temporary);
    if (upload->fd >= 0 && flock(upload->fd, LOCK_EX | LOCK_NB) == 0)
        return upload;
    dir_failed(err, errno, "make", upload->temporary);
    upload_free(upload);
    return NULL;
}

static bool
write_fully(int fd, const void *data, size_t size, const char *path, GError **err)
{
    const uint8_t *at = data;

    while (size > 0) {
        ssize_t written = write(fd, at, size);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return dir_failed(err, errno, "write", path);
        at += written;
        size -= (size_t)written;
    }
    return true;
}

static bool
block_dir_upload_write(BlockUpload *upload, const void *data, size_t size, GError **err)
{
    if (size == 0)
        return true;
    if (!block_intake_fits(&upload->intake, size, err))
        return false;
    if (upload->intake.size >= upload->next_space_check) {
        if (!dir_space_check(upload->block, err))
            return false;
        upload->next_space_check = upload->intake.size + SPACE_CHECK_EVERY;
    }
    if (!write_fully(upload->fd, data, size, upload->temporary, err))
        return false;
    block_intake_add(&upload->intake, data, size);
    return true;
}

static bool
upload_judge(BlockUpload *upload, int64_t max_virtual, const char **format, int64_t *virtual_size,
             GError **err)
{
    const char *const name[] = {"-f", "qcow2", "--", upload->temporary, NULL};

    if (!block_intake_judge(&upload->intake, max_virtual, format, virtual_size, err))
        return false;
    return strcmp(*format, "qcow2") != 0 || !upload->block->durable ||
           block_qemu_img_agrees(name, QEMU_IMG_MEMORY, *virtual_size, err);
}

static bool
upload_publish(BlockUpload *upload, GError **err)
{
    Block *block = upload->block;
    g_autofree char *final = dir_image_path(block, upload->image_id);
    g_autofree char *directory = g_strdup_printf("%s/images", block->path);

    if (fchmod(upload->fd, 0644) != 0)
        return dir_failed(err, errno, "set the mode of", upload->temporary);
    if (!dir_sync_fd(block, upload->fd, upload->temporary, err))
        return false;
    /* link, not rename: an image that is there already may be the backing file of running guests */
    if (link(upload->temporary, final) != 0) {
        if (errno == EEXIST)
            return err_set(err, ERR_CONFLICT, "image %s has data already", upload->image_id);
        return dir_failed(err, errno, "make", final);
    }
    unlink(upload->temporary);
    return dir_sync(block, directory, err);
}

static bool
block_dir_upload_commit(BlockUpload *upload, int64_t max_virtual, BlockImageInfo *info,
                        GError **err)
{
    const char *format;
    int64_t virtual_size = 0;

    if (!upload_judge(upload, max_virtual, &format, &virtual_size, err) ||
        !upload_publish(upload, err)) {
        block_dir_upload_abort(upload);
        return false;
    }
    block_intake_info(&upload->intake, format, virtual_size, info);
    upload_free(upload);
    return true;
}

static int
block_dir_image_open(Block *block, const char *image_id, GError **err)
{
    g_autofree char *path = NULL;
    int fd;

    if (!block_id_check(image_id, err))
        return -1;
    path = dir_image_path(block, image_id);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        dir_failed(err, errno, "open the image", path);
    return fd;
}

static bool
block_dir_image_exists(Block *block, const char *image_id, bool *exists, GError **err)
{
    g_autofree char *path = NULL;

    if (!block_id_check(image_id, err))
        return false;
    path = dir_image_path(block, image_id);
    return dir_exists(path, exists, err);
}

static bool
block_dir_image_delete(Block *block, const char *image_id, GError **err)
{
    g_autofree char *path = NULL;

    if (!block_id_check(image_id, err))
        return false;
    path = dir_image_path(block, image_id);
    if (unlink(path) != 0 && errno != ENOENT)
        return dir_failed(err, errno, "delete", path);
    return true;
}

bool
dir_image_read(Block *block, const char *image_id, const char **format, int64_t *virtual_size,
               GError **err)
{
    g_autofree uint8_t *head = g_malloc(BLOCK_SNIFF_BYTES);
    struct stat found;
    ssize_t size;
    AUTO_FD fd = block_dir_image_open(block, image_id, err);

    if (fd < 0)
        return false;
    size = pread(fd, head, BLOCK_SNIFF_BYTES, 0);
    if (size < 0 || fstat(fd, &found) != 0)
        return dir_failed(err, errno, "read the image", image_id);
    *format = block_sniff_format(head, (size_t)size);
    if (strcmp(*format, "qcow2") == 0)
        return block_qcow2_check(head, (size_t)size, found.st_size, DIR_DISK_MOST, virtual_size,
                                 err);
    *virtual_size = ((int64_t)found.st_size + 511) / 512 * 512;
    return true;
}

/* ---- what disks and volumes have in common -----------------------------------------------------
 */

bool
dir_publish(Block *block, const char *path, GError **err)
{
    g_autofree char *unfinished = g_strconcat(path, ".new", NULL);
    g_autofree char *directory = g_path_get_dirname(path);
    g_autofree char *parent = g_path_get_dirname(directory);
    AUTO_FD fd = open(unfinished, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);

    if (fd < 0 || fchmod(fd, 0660) != 0)
        return dir_failed(err, errno, "set the mode of", unfinished);
    if (!dir_sync_fd(block, fd, unfinished, err))
        return false;
    if (rename(unfinished, path) != 0)
        return dir_failed(err, errno, "make", path);
    return dir_sync(block, directory, err) && dir_sync(block, parent, err);
}

bool
dir_remove(Block *block, const char *kind, const char *id, GError **err)
{
    g_autofree char *directory = dir_thing_path(block, kind, id, "");
    g_autofree char *parent = g_strdup_printf("%s/%s", block->path, kind);
    DIR *dir = opendir(directory);
    struct dirent *entry;
    int failed = 0;

    if (!dir)
        return errno == ENOENT || dir_failed(err, errno, "open", directory);
    while ((entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(dirfd(dir), entry->d_name, 0) != 0 && errno != ENOENT)
            failed = errno;
    closedir(dir);
    if (failed || (rmdir(directory) != 0 && errno != ENOENT))
        return dir_failed(err, failed ? failed : errno, "delete", directory);
    return dir_sync(block, parent, err);
}

/* ---- the rest ----------------------------------------------------------------------------------
 */

static bool
block_dir_access(Block *block, RbdAccess **access, GError **err)
{
    *access = NULL;
    return true;
}

static bool
block_dir_secret(Block *block, BlockSecret *secret, GError **err)
{
    *secret = (BlockSecret){0};
    return true;
}

static char *
block_dir_nonce_directory(Block *block)
{
    return g_strdup_printf("%s/nonce", block->path);
}

static char *
block_dir_console_path(Block *block, const char *server_id)
{
    return uuid_is_valid(server_id) ? dir_thing_path(block, "instances", server_id, "console.log")
                                    : NULL;
}

static bool
block_dir_reload_secret(Block *block, GError **err)
{
    return true; /* there is none */
}

#define BLOCK_DIR_CALLS                                                                         \
    .close = block_dir_close, .capacity = dir_capacity, .upload_begin = block_dir_upload_begin, \
    .upload_write = block_dir_upload_write, .upload_commit = block_dir_upload_commit,           \
    .upload_abort = block_dir_upload_abort, .image_open = block_dir_image_open,                 \
    .image_exists = block_dir_image_exists, .image_delete = block_dir_image_delete,             \
    .disk_create = dir_disk_create, .disk_exists = dir_disk_exists,                             \
    .disk_extend = dir_disk_extend, .disk_delete = dir_disk_delete,                             \
    .disk_source = dir_disk_source, .config_drive_store = dir_config_drive_store,               \
    .config_drive_source = dir_config_drive_source, .things = dir_things,                       \
    .volume_create = dir_volume_create, .volume_delete = dir_volume_delete,                     \
    .volume_extend = dir_volume_extend, .volume_source = dir_volume_source,                     \
    .snapshot_create = dir_snapshot_create, .snapshot_delete = dir_snapshot_delete,             \
    .flatten = dir_flatten, .pools = dir_pools, .reload_secret = block_dir_reload_secret,       \
    .access = block_dir_access, .secret = block_dir_secret,                                     \
    .nonce_directory = block_dir_nonce_directory, .console_path = block_dir_console_path

const BlockOps block_dir_ops = {.name = "dir",
                                .console_is_shared = true,
                                .open = block_dir_open,
                                .clients = dir_clients,
                                .fence = dir_fence,
                                .unfence = dir_unfence,
                                BLOCK_DIR_CALLS};

/* The fake is the same code without QEMU's tools and without waiting for the medium: its disks are
 * empty files whose names are all that matters, and they outlive a killed process, which is what
 * the crash suite looks at. Who has them open is what a test says. */
const BlockOps block_fake_ops = {.name = "fake",
                                 .console_is_shared = true,
                                 .can_fence = true,
                                 .open = block_fake_open,
                                 .clients = fake_clients,
                                 .fence = fake_fence,
                                 .unfence = fake_unfence,
                                 BLOCK_DIR_CALLS};
