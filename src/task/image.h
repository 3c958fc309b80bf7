/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* image.h: an image's data on its way in and out, for callers that must not know the storage driver
 */
#pragma once

#include "task/task.h"

typedef struct ImageUpload ImageUpload;

/* The image row must be queued; it becomes saving. ERR_CONFLICT otherwise, ERR_BUSY if too many
 * uploads run (8). Blocks on storage. */
ImageUpload *
image_upload_begin(TaskEngine *engine, const char *image_id, int64_t max_bytes, GError **err);
bool image_upload_write(ImageUpload *upload, const void *data, size_t size, GError **err);
/* Sizes, checksums and status active are committed with the data; on failure the row is queued
 * again and nothing is left. Frees upload. */
bool image_upload_commit(ImageUpload *upload, GError **err);
void image_upload_abort(ImageUpload *upload);
/* Descriptor of an active image's data; *size is its length. -1 with *err. */
int image_download_open(TaskEngine *engine, const char *image_id, uint64_t *size, GError **err);
/* Row and data. ERR_CONFLICT while protected or while a server's disk stems from it. */
bool image_remove(TaskEngine *engine, const char *image_id, GError **err);
/* At start: uploads that a former godwitd did not end are queued again. */
bool image_sweep(TaskEngine *engine, GError **err);
