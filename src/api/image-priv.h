/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* image-priv.h: what the files of the image service share */
#pragma once

#include "api/api-priv.h"

#define IMAGE_SIZE_MAX       (INT64_C(1) << 40) /* bytes; Glance's own default limit */
#define IMAGE_PROPERTIES_MAX 128
#define IMAGE_TAGS_MAX       128

json_t *view_image(const Image *image);
/* ERR_NOT_FOUND unless the caller may see it */
Image *image_get(StoreTx *tx, ApiCall *call, const char *id, GError **err);
/* … and ERR_FORBIDDEN unless he may change it */
Image *image_get_changeable(StoreTx *tx, ApiCall *call, GError **err);

/* image-body.c */
/* One attribute or property of an image, as create and patch set it. value: JSON null unsets. */
bool image_set_member(ApiCall *call, Image *image, json_t *properties, const char *key,
                      const json_t *value, GError **err);
bool image_is_attribute(const char *key); /* of ours, not a free property */
/* Apply the array of the call's body. */
bool image_apply_patch(ApiCall *call, Image *image, json_t *properties, const json_t *patch,
                       GError **err);

/* image-schema.c */
void image_schema_image(ApiCall *call);
void image_schema_images(ApiCall *call);
/* image-transfer.c */
extern const HttpStream image_upload_stream;
void image_download(ApiCall *call);
