/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* image.c: an image's data on its way in and out
 *
 * The row says queued, saving, active; the driver shows nothing before its commit. A godwitd that
 * dies in between leaves a row in saving, which the next start sets back (image_sweep), and data
 * that the driver's own sweep removes. */
#include "task/image.h"

#include "task/runner.h"

#define UPLOADS_MAX 8
#define VIRTUAL_MAX (INT64_C(16) << 40)

struct ImageUpload {
    TaskEngine *engine;
    char *image_id;
    BlockUpload *upload;
    int64_t written, max_bytes;
    BlockImageInfo info;
};

static int uploads_running;

typedef struct StatusChange {
    ImageUpload *upload;
    ImageStatus from, to;
    char *format; /* out: as claimed by the row */
} StatusChange;

static bool
change_status(StoreTx *tx, void *opaque, GError **err)
{
    StatusChange *change = opaque;
    g_autoptr(Image) image = store_get(tx, &IMAGE, change->upload->image_id, err);

    if (!image)
        return false;
    if (image->status != change->from)
        return err_set(err, ERR_CONFLICT, "image %s is %s, not %s: its data can be sent once only",
                       image->id, image_status_names[image->status],
                       image_status_names[change->from]);
    change->format = g_strdup(image->disk_format);
    image->status = change->to;
    image->updated_at = clock_realtime();
    if (change->to == IMAGE_ACTIVE) {
        const BlockImageInfo *info = &change->upload->info;

        image->size = info->size;
        image->virtual_size = info->virtual_size;
        text_set(&image->checksum, info->md5);
        text_set(&image->sha512, info->sha512);
        text_set(&image->disk_format, info->format);
    }
    return store_update(tx, &IMAGE, image, err);
}

static void
upload_free(ImageUpload *upload)
{
    __atomic_fetch_sub(&uploads_running, 1, __ATOMIC_RELAXED);
    block_image_info_clear(&upload->info);
    g_free(upload->image_id);
    g_free(upload);
}

static void
back_to_queued(ImageUpload *upload)
{
    StatusChange back = {upload, IMAGE_SAVING, IMAGE_QUEUED, NULL};

    store_write(engine_store(upload->engine), change_status, &back,
                NULL); /* else the next start does it */
    g_free(back.format);
}

ImageUpload *
image_upload_begin(TaskEngine *engine, const char *image_id, int64_t max_bytes, GError **err)
{
    ImageUpload *upload;
    StatusChange begin = {NULL, IMAGE_QUEUED, IMAGE_SAVING, NULL};
    const Storage *storage = engine_storage(engine);

    if (__atomic_add_fetch(&uploads_running, 1, __ATOMIC_RELAXED) > UPLOADS_MAX) {
        __atomic_fetch_sub(&uploads_running, 1, __ATOMIC_RELAXED);
        err_set(err, ERR_BUSY, "%d uploads are running already; try again when one has ended",
                UPLOADS_MAX);
        return NULL;
    }
    upload = g_new0(ImageUpload, 1);
    upload->engine = engine;
    upload->image_id = g_strdup(image_id);
    upload->max_bytes = max_bytes;
    begin.upload = upload;
    if (!store_write(engine_store(engine), change_status, &begin, err)) {
        upload_free(upload);
        return NULL;
    }
    upload->upload =
        storage->ops->upload_begin(storage->block, image_id, begin.format, max_bytes, err);
    g_free(begin.format);
    if (!upload->upload) {
        back_to_queued(upload);
        upload_free(upload);
        return NULL;
    }
    return upload;
}

bool
image_upload_write(ImageUpload *upload, const void *data, size_t size, GError **err)
{
    return engine_storage(upload->engine)->ops->upload_write(upload->upload, data, size, err);
}

bool
image_upload_commit(ImageUpload *upload, GError **err)
{
    const Storage *storage = engine_storage(upload->engine);
    StatusChange done = {upload, IMAGE_SAVING, IMAGE_ACTIVE, NULL};
    bool ok = storage->ops->upload_commit(upload->upload, VIRTUAL_MAX, &upload->info, err);

    if (ok && !store_write(engine_store(upload->engine), change_status, &done, err)) {
        storage_image_delete(storage, upload->image_id, NULL);
        ok = false;
    }
    g_free(done.format);
    if (!ok)
        back_to_queued(upload);
    upload_free(upload);
    return ok;
}

void
image_upload_abort(ImageUpload *upload)
{
    engine_storage(upload->engine)->ops->upload_abort(upload->upload);
    back_to_queued(upload);
    upload_free(upload);
}

typedef struct ImageRead {
    const char *id;
    Image *image;
} ImageRead;

static bool
read_image(StoreTx *tx, void *opaque, GError **err)
{
    ImageRead *read = opaque;

    return (read->image = store_get(tx, &IMAGE, read->id, err)) != NULL;
}

int
image_download_open(TaskEngine *engine, const char *image_id, uint64_t *size, GError **err)
{
    ImageRead read = {.id = image_id};
    g_autoptr(Image) image = NULL;
    const Storage *storage = engine_storage(engine);

    if (!store_read(engine_store(engine), read_image, &read, err))
        return -1;
    image = read.image;
    if (image->status != IMAGE_ACTIVE) {
        err_set(err, ERR_CONFLICT, "image %s is %s and has no data", image_id,
                image_status_names[image->status]);
        return -1;
    }
    *size = (uint64_t)image->size;
    return storage->ops->image_open(storage->block, image_id, err);
}

static bool
check_unused(StoreTx *tx, void *opaque, GError **err)
{
    const char *id = opaque;
    g_autoptr(Image) image = store_get(tx, &IMAGE, id, err);
    const StoreCond users[] = {
        {"image_id", STORE_EQ, id, 0}, {"vm_state", STORE_NE, NULL, VM_DELETED}, {NULL}};
    int64_t in_use;

    if (!image)
        return false;
    if (image->is_protected)
        return err_set(err, ERR_FORBIDDEN,
                       "image %s is protected and cannot be deleted; set protected to false first",
                       id);
    in_use = store_count(tx, &SERVER, users, err);
    if (in_use < 0)
        return false;
    if (in_use > 0)
        return err_set(err, ERR_CONFLICT,
                       "image %s is in use: the disks of %" PRId64 " servers stem from it", id,
                       in_use);
    return true;
}

static bool
delete_row(StoreTx *tx, void *opaque, GError **err)
{
    return store_delete(tx, &IMAGE, opaque, err);
}

bool
image_remove(TaskEngine *engine, const char *image_id, GError **err)
{
    /* The data goes first: only the storage knows which volumes stem from it still, and a row
     * without data can be deleted again. */
    if (!store_read(engine_store(engine), check_unused, (void *)image_id, err))
        return false;
    if (!storage_image_delete(engine_storage(engine), image_id, err)) {
        g_prefix_error(err, "not deleted: ");
        return false;
    }
    return store_write(engine_store(engine), delete_row, (void *)image_id, err);
}

static bool
requeue_saving(StoreTx *tx, void *opaque, GError **err)
{
    const StoreCond where[] = {{"status", STORE_EQ, NULL, IMAGE_SAVING}, {NULL}};
    g_autoptr(GPtrArray) images = store_list(tx, &IMAGE, &(StoreQuery){.where = where}, err);

    for (guint i = 0; images && i < images->len; i++) {
        Image *image = g_ptr_array_index(images, i);

        image->status = IMAGE_QUEUED;
        if (!store_update(tx, &IMAGE, image, err))
            return false;
    }
    return images != NULL;
}

bool
image_sweep(TaskEngine *engine, GError **err)
{
    return store_write(engine_store(engine), requeue_saving, NULL, err);
}
