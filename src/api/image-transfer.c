/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* image-transfer.c: an image's data, in and out, as a stream
 *
 * An upload begins with its first byte, not with its headers: clients that were given no file send
 * an empty body all the same, and the image must stay queued then. */
#include "api/image-priv.h"
#include "task/image.h"

typedef struct Transfer {
    ApiCall *call;
    ImageUpload *upload; /* NULL before the first byte and after a failure */
    bool is_refused;     /* replied already */
} Transfer;

static bool
upload_check(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Image) image = image_get_changeable(tx, call, err);

    if (!image)
        return false;
    if (image->status != IMAGE_QUEUED)
        return err_set(err, ERR_CONFLICT, "Image %s is %s: only a queued one takes data.",
                       image->id, image_status_names[image->status]);
    return true;
}

static bool
format_check(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Image) image = image_get_changeable(tx, call, err);

    if (!image)
        return false;
    return (image->disk_format && image->container_format) ||
           err_set(err, ERR_INVALID,
                   "Image %s has no disk_format or no container_format: set both before its data.",
                   image->id);
}

static void *
upload_begin(HttpRequest *request, HttpResponse *response, void *context)
{
    ApiCall *call = http_request_context(request);
    const char *type = http_request_header(request, "Content-Type");
    const char *length = http_request_header(request, "Content-Length");
    Transfer *transfer;
    int64_t size;

    if (!type || !g_str_has_prefix(type, "application/octet-stream")) {
        api_fault(call, 415, "An image's data must come as application/octet-stream.");
        return NULL;
    }
    if (length && !parse_int64(length, 0, IMAGE_SIZE_MAX, &size)) {
        api_fault(call, 413, "An image may have at most %" G_GINT64_FORMAT " bytes.",
                  IMAGE_SIZE_MAX);
        return NULL;
    }
    if (!api_read(call, upload_check, NULL))
        return NULL;
    transfer = g_new0(Transfer, 1);
    transfer->call = call;
    return transfer;
}

static bool
upload_chunk(void *state, const void *data, size_t size, HttpResponse *response)
{
    Transfer *transfer = state;
    ApiCall *call = transfer->call;
    TaskEngine *tasks = api_config(call->api)->tasks;
    GError *error = NULL;

    if (size == 0)
        return true;
    if (!transfer->upload) {
        transfer->is_refused = true;
        if (!api_read(call, format_check, NULL))
            return false;
        transfer->upload = image_upload_begin(tasks, api_param(call, "id"), IMAGE_SIZE_MAX, &error);
        if (!transfer->upload) {
            api_fail(call, error);
            return false;
        }
        transfer->is_refused = false;
    }
    if (image_upload_write(transfer->upload, data, size, &error))
        return true;
    image_upload_abort(transfer->upload);
    transfer->upload = NULL;
    transfer->is_refused = true;
    api_fail(call, error);
    return false;
}

static void
upload_end(void *state, bool complete, HttpRequest *request, HttpResponse *response)
{
    g_autofree Transfer *transfer = state;
    GError *error = NULL;

    if (!complete && transfer->upload)
        image_upload_abort(transfer->upload);
    if (!complete || transfer->is_refused)
        return;
    if (!transfer->upload || image_upload_commit(transfer->upload, &error))
        api_reply_empty(transfer->call, 204);
    else
        api_fail(transfer->call, error);
}

const HttpStream image_upload_stream = {upload_begin, upload_chunk, upload_end};

static bool
download_check(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    Image **image = opaque;

    *image = image_get(tx, call, api_param(call, "id"), err);
    return *image != NULL;
}

void
image_download(ApiCall *call)
{
    g_autoptr(Image) image = NULL;
    GError *error = NULL;
    uint64_t size = 0;
    int fd;

    if (!api_read(call, download_check, &image))
        return;
    if (image->status != IMAGE_ACTIVE) {
        api_reply_empty(call, 204); /* no data yet */
        return;
    }
    fd = image_download_open(api_config(call->api)->tasks, image->id, &size, &error);
    if (fd < 0) {
        api_fail(call, error);
        return;
    }
    api_header(call, "Content-Type", "application/octet-stream");
    if (image->checksum)
        api_header(call, "Content-MD5", image->checksum);
    http_response_status(call->response, 200);
    http_response_fd(call->response, fd, size);
}
