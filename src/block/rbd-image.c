/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rbd-image.c: images on Ceph: uploads, downloads, deletion
 *
 * An upload goes straight into an RBD image of another name. A raw one becomes the image by a
 * snapshot and a rename. A qcow2 is checked, converted by qemu-img from that RBD image into a
 * second one, and kept for downloads, so that a client gets back the bytes that it sent. */

#include "block-rbd-priv.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES     ((size_t)4 << 20) /* one object of an image */
#define ROOM_FIRST       (INT64_C(64) << 20)
#define ROOM_STEP        (INT64_C(16) << 30)
#define CONVERT_SECONDS  3600
#define QEMU_OSD_SECONDS "30"
#define QEMU_IMG_MEMORY  (INT64_C(8) << 30) /* librbd maps much that it never uses */
#define SIZE_KEY         "godwit.size"
#define PART_SUFFIX      ".part"
#define ORIGINAL_SUFFIX  ".qcow2"

struct BlockUpload {
    RbdLink *link;
    char *image_id, *part;
    rbd_image_t image; /* NULL: closed */
    int64_t room;      /* its size for now */
    int64_t at;        /* where the buffer goes */
    uint8_t *buffer;
    size_t filled;
    BlockIntake intake;
};

/* ---- upload ------------------------------------------------------------------------------------
 */

static void
part_close(BlockUpload *upload)
{
    if (upload->image)
        rbd_close(upload->image);
    upload->image = NULL;
}

static void
upload_free(BlockUpload *upload)
{
    part_close(upload);
    block_intake_clear(&upload->intake);
    rbd_link_drop(upload->link);
    g_free(upload->buffer);
    g_free(upload->part);
    g_free(upload->image_id);
    g_free(upload);
}

void
rbd_upload_abort(BlockUpload *upload)
{
    if (!upload)
        return;
    part_close(upload);
    rbd_image_remove(upload->link, BLOCK_FOR_IMAGES, upload->part, NULL); /* else the sweep does */
    upload_free(upload);
}

static char *
part_name(const char *image_id)
{
    g_autofree char *unique = uuid_new();

    return g_strdup_printf("%s.%s" PART_SUFFIX, image_id, unique);
}

BlockUpload *
rbd_upload_begin(Block *block, const char *image_id, const char *claimed, int64_t max_bytes,
                 GError **err)
{
    g_autoptr(RbdLink) link = block_id_check(image_id, err) ? rbd_link(block, err) : NULL;
    BlockUpload *upload;
    BlockIntake intake;

    if (!link || !rbd_space_check(link, BLOCK_FOR_IMAGES, err) ||
        !block_intake_begin(&intake, claimed, max_bytes, err))
        return NULL;
    upload = g_new0(BlockUpload, 1);
    upload->link = rbd_link_hold(link);
    upload->intake = intake;
    upload->image_id = g_strdup(image_id);
    upload->part = part_name(image_id);
    upload->room = ROOM_FIRST;
    upload->buffer = g_malloc(BUFFER_BYTES);
    if (rbd_image_make(link, BLOCK_FOR_IMAGES, upload->part, ROOM_FIRST, err)) {
        upload->image = rbd_image_open(link, BLOCK_FOR_IMAGES, upload->part, NULL, false, err);
        if (upload->image) {
            rbd_flush(upload->image); /* from the first flush on, librbd's cache writes back */
            return upload;
        }
    }
    rbd_upload_abort(upload);
    return NULL;
}

static bool
part_failed(BlockUpload *upload, const char *verb, int code, GError **err)
{
    return rbd_failed(upload->link, BLOCK_FOR_IMAGES, upload->part, verb, code, err);
}

static bool
buffer_flush(BlockUpload *upload, GError **err)
{
    int64_t end = upload->at + (int64_t)upload->filled;
    int code = 0;

    if (upload->filled == 0)
        return true;
    if (end > upload->room) {
        upload->room += MIN(MAX(upload->room, end - upload->room), ROOM_STEP);
        code = rbd_resize(upload->image, (uint64_t)upload->room);
        if (code < 0)
            return part_failed(upload, "enlarge", code, err);
    }
    if (!rbd_image_write(upload->image, (uint64_t)upload->at, upload->buffer, upload->filled,
                         &code))
        return part_failed(upload, "write", code, err);
    upload->at = end;
    upload->filled = 0;
    return true;
}

bool
rbd_upload_write(BlockUpload *upload, const void *data, size_t size, GError **err)
{
    const uint8_t *from = data;
    size_t left = size;

    if (size == 0)
        return true;
    if (!block_intake_fits(&upload->intake, size, err))
        return false;
    while (left > 0) {
        size_t part = MIN(left, BUFFER_BYTES - upload->filled);

        memcpy(upload->buffer + upload->filled, from, part);
        upload->filled += part;
        from += part;
        left -= part;
        if (upload->filled == BUFFER_BYTES && !buffer_flush(upload, err))
            return false;
    }
    block_intake_add(&upload->intake, data, size);
    return true;
}

/* All bytes are on the cluster, and the image ends where they end. */
static bool
part_finish(BlockUpload *upload, GError **err)
{
    g_autofree char *size = g_strdup_printf("%" G_GINT64_FORMAT, upload->intake.size);
    int code;

    if (!buffer_flush(upload, err))
        return false;
    code = rbd_flush(upload->image);
    if (code >= 0)
        code = rbd_resize(upload->image, (uint64_t)(upload->intake.size + 511) / 512 * 512);
    if (code >= 0)
        code = rbd_metadata_set(upload->image, SIZE_KEY, size);
    return code >= 0 || part_failed(upload, "finish", code, err);
}

/* Unlike ours, QEMU's writes wait for ever in a pool that is full, and everything does in a cluster
 * that does not answer: only this form of a name takes a time-out. No part of it has a colon. */
static char *
qemu_name(const RbdLink *link, const char *image)
{
    const Block *block = link->block;

    return g_strdup_printf("rbd:%s/%s:id=%s:conf=%s:rados_osd_op_timeout=" QEMU_OSD_SECONDS,
                           block->pools[BLOCK_FOR_IMAGES], image, block->user, block->conf);
}

static bool
convert(BlockUpload *upload, const char *raw, int64_t virtual_size, GError **err)
{
    RbdLink *link = upload->link;
    g_autofree char *from = qemu_name(link, upload->part);
    g_autofree char *to = qemu_name(link, raw);
    g_autofree char *full = NULL;
    const char *const name[] = {"-f", "qcow2", from, NULL};
    const char *const argv[] = {"qemu-img", "convert", "-n",    "--target-is-zero",
                                "-W",       "-f",      "qcow2", "-O",
                                "raw",      from,      to,      NULL};
    g_autoptr(GError) error = NULL;

    if (!block_qemu_img_agrees(name, QEMU_IMG_MEMORY, virtual_size, err) ||
        !rbd_image_make(link, BLOCK_FOR_IMAGES, raw, (uint64_t)virtual_size, err))
        return false;
    if (process_run(argv, clock_monotonic() + CONVERT_SECONDS * USEC_PER_SEC, NULL, &error))
        return true;
    full = rbd_pool_full(link, BLOCK_FOR_IMAGES);
    if (full)
        return err_set(err, ERR_QUOTA, "cannot convert the image to raw: %s", full);
    return err_set(err, err_is(error, ERR_TIMEOUT) ? ERR_TIMEOUT : ERR_BACKEND,
                   "cannot convert the image to raw: %s", error->message);
}

/* From here on disks can stem from it; the name is still the unfinished one. */
static bool
base_make(RbdLink *link, const char *image, GError **err)
{
    rbd_image_t opened = rbd_image_open(link, BLOCK_FOR_IMAGES, image, NULL, false, err);
    int code;

    if (!opened)
        return false;
    code = rbd_snap_create(opened, RBD_BASE_SNAP);
    if (code >= 0)
        code = rbd_snap_protect(opened, RBD_BASE_SNAP);
    rbd_close(opened);
    return code >= 0 ||
           rbd_failed(link, BLOCK_FOR_IMAGES, image, "make the base snapshot of", code, err);
}

static bool
publish(BlockUpload *upload, const char *part, const char *final, GError **err)
{
    int code;

    code = rbd_rename(upload->link->io[BLOCK_FOR_IMAGES], part, final);
    if (code == -EEXIST)
        return err_set(err, ERR_CONFLICT, "image %s has data already", upload->image_id);
    return code >= 0 || rbd_failed(upload->link, BLOCK_FOR_IMAGES, final, "make", code, err);
}

static bool
publish_qcow2(BlockUpload *upload, int64_t virtual_size, GError **err)
{
    RbdLink *link = upload->link;
    g_autofree char *raw = part_name(upload->image_id);
    g_autofree char *original = g_strconcat(upload->image_id, ORIGINAL_SUFFIX, NULL);
    bool exists;

    if (!rbd_image_exists(link->block, upload->image_id, &exists, err))
        return false;
    if (exists)
        return err_set(err, ERR_CONFLICT, "image %s has data already", upload->image_id);
    if (convert(upload, raw, virtual_size, err) && base_make(link, raw, err)) {
        part_close(upload);
        /* without its image it is the rest of an upload that died between the two renames */
        if (rbd_image_remove(link, BLOCK_FOR_IMAGES, original, err) &&
            publish(upload, upload->part, original, err)) {
            if (publish(upload, raw, upload->image_id, err))
                return true;
            rbd_image_remove(link, BLOCK_FOR_IMAGES, original, NULL);
        }
    }
    rbd_image_remove(link, BLOCK_FOR_IMAGES, raw, NULL);
    return false;
}

bool
rbd_upload_commit(BlockUpload *upload, int64_t max_virtual, BlockImageInfo *info, GError **err)
{
    const char *format;
    int64_t virtual_size = 0;
    bool ok = block_intake_judge(&upload->intake, max_virtual, &format, &virtual_size, err) &&
              part_finish(upload, err);

    if (ok && strcmp(format, "qcow2") == 0) {
        ok = publish_qcow2(upload, virtual_size, err);
    } else if (ok) {
        part_close(upload);
        ok = base_make(upload->link, upload->part, err) &&
             publish(upload, upload->part, upload->image_id, err);
    }
    if (!ok) {
        rbd_upload_abort(upload);
        return false;
    }
    block_intake_info(&upload->intake, format, virtual_size, info);
    upload_free(upload);
    return true;
}

/* ---- download ----------------------------------------------------------------------------------
 */

typedef struct Download {
    RbdLink *link;
    rbd_image_t image;
    int64_t size;
    int fd;
} Download;

/* Ends when all is sent or the receiver has gone. A failed read closes the socket early: the
 * receiver knows the size and sees that it is short. */
static void
download_thread(void *opaque)
{
    Download *download = opaque;
    g_autofree char *buffer = g_malloc(BUFFER_BYTES);
    bool ok = true;

    for (int64_t at = 0; ok && at < download->size;) {
        size_t wanted = (size_t)MIN((int64_t)BUFFER_BYTES, download->size - at);
        ssize_t got = rbd_read(download->image, (uint64_t)at, wanted, buffer);

        ok = got > 0;
        for (ssize_t sent = 0; ok && sent < got;) {
            ssize_t n = send(download->fd, buffer + sent, (size_t)(got - sent), MSG_NOSIGNAL);

            ok = n > 0 || (n < 0 && errno == EINTR);
            sent += MAX(n, 0);
        }
        at += MAX(got, 0);
    }
    rbd_close(download->image);
    close(download->fd);
    rbd_link_drop(download->link);
    g_free(download);
}

/* The bytes as they were uploaded. */
static rbd_image_t
original_open(RbdLink *link, const char *image_id, GError **err)
{
    g_autofree char *original = g_strconcat(image_id, ORIGINAL_SUFFIX, NULL);
    g_autoptr(GError) error = NULL;
    /* Only an image that was published has an original that counts. */
    rbd_image_t image = rbd_image_open(link, BLOCK_FOR_IMAGES, image_id, RBD_BASE_SNAP, true, err);
    rbd_image_t as_sent;

    if (!image)
        return NULL;
    as_sent = rbd_image_open(link, BLOCK_FOR_IMAGES, original, NULL, true, &error);
    if (as_sent) {
        rbd_close(image);
        return as_sent;
    }
    if (err_is(error, ERR_NOT_FOUND))
        return image;
    rbd_close(image);
    g_propagate_error(err, g_steal_pointer(&error));
    return NULL;
}

int
rbd_download_open(Block *block, const char *image_id, GError **err)
{
    g_autoptr(RbdLink) link = block_id_check(image_id, err) ? rbd_link(block, err) : NULL;
    Download *download;
    rbd_image_t image;
    char text[32] = "";
    size_t length = sizeof text;
    int64_t size = 0;
    int ends[2], code;

    if (!link)
        return -1;
    image = original_open(link, image_id, err);
    if (!image)
        return -1;
    code = rbd_metadata_get(image, SIZE_KEY, text, &length);
    if (code < 0 || !parse_int64(text, 1, INT64_MAX, &size) ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        rbd_close(image);
        rbd_failed(link, BLOCK_FOR_IMAGES, image_id, "read", code < 0 ? code : -EIO, err);
        return -1;
    }
    download = g_new0(Download, 1);
    *download =
        (Download){.link = rbd_link_hold(link), .image = image, .size = size, .fd = ends[1]};
    thread_start_detached("rbd-download", download_thread, download);
    return ends[0];
}

/* ---- the rest ----------------------------------------------------------------------------------
 */

bool
rbd_image_exists(Block *block, const char *image_id, bool *exists, GError **err)
{
    g_autoptr(RbdLink) link = block_id_check(image_id, err) ? rbd_link(block, err) : NULL;
    rbd_image_t image = NULL;
    int code;

    *exists = false;
    if (!link)
        return false;
    code = rbd_open_read_only(link->io[BLOCK_FOR_IMAGES], image_id, &image, RBD_BASE_SNAP);
    if (code == -ENOENT)
        return true;
    if (code < 0)
        return rbd_failed(link, BLOCK_FOR_IMAGES, image_id, "look at", code, err);
    rbd_close(image);
    *exists = true;
    return true;
}

/* Disks that stem from the image would lose what they did not write themselves. */
static bool
has_no_children(RbdLink *link, const char *image_id, GError **err)
{
    rbd_linked_image_spec_t children[1] = {{0}};
    size_t n = G_N_ELEMENTS(children);
    rbd_image_t image = NULL;
    bool ok = true;
    int code = rbd_open_read_only(link->io[BLOCK_FOR_IMAGES], image_id, &image, RBD_BASE_SNAP);

    if (code == -ENOENT)
        return true;
    if (code < 0)
        return rbd_failed(link, BLOCK_FOR_IMAGES, image_id, "open", code, err);
    code = rbd_list_children3(image, children, &n);
    if (code == -ERANGE)
        ok = err_set(err, ERR_CONFLICT,
                     "image %s is in use: %zu disks or volumes stem from it; delete or flatten "
                     "them first",
                     image_id, n);
    else if (code < 0)
        ok = rbd_failed(link, BLOCK_FOR_IMAGES, image_id, "list the children of", code, err);
    else if (n > 0)
        ok = err_set(err, ERR_CONFLICT,
                     "image %s is in use: %s/%s stems from it; delete or flatten that first",
                     image_id, children[0].pool_name, children[0].image_name);
    if (code >= 0)
        rbd_linked_image_spec_list_cleanup(children, n);
    rbd_close(image);
    return ok;
}

bool
rbd_image_delete(Block *block, const char *image_id, GError **err)
{
    g_autoptr(RbdLink) link = block_id_check(image_id, err) ? rbd_link(block, err) : NULL;
    g_autofree char *original = NULL;

    if (!link || !has_no_children(link, image_id, err))
        return false;
    original = g_strconcat(image_id, ORIGINAL_SUFFIX, NULL);
    return rbd_image_remove(link, BLOCK_FOR_IMAGES, image_id, err) &&
           rbd_image_remove(link, BLOCK_FOR_IMAGES, original, err);
}

static bool
is_listed(GPtrArray *names, const char *name)
{
    return g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL);
}

/* Remove what uploads left that nobody writes any more. What cannot be removed is left for the next
 * time. */
bool
rbd_sweep_images(RbdLink *link)
{
    g_autoptr(GPtrArray) names = rbd_image_names(link, BLOCK_FOR_IMAGES, NULL);

    for (guint i = 0; names && i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *id = g_strndup(name, 36);
        const char *rest = name + strlen(id);

        if (!uuid_is_valid(id))
            continue;
        if ((*rest == '.' && g_str_has_suffix(rest, PART_SUFFIX)) ||
            (strcmp(rest, ORIGINAL_SUFFIX) == 0 && !is_listed(names, id)))
            rbd_image_remove(link, BLOCK_FOR_IMAGES, name, NULL);
    }
    return names != NULL;
}
