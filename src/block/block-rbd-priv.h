/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-rbd-priv.h: what the files of the driver for Ceph share. Every slot of block_rbd_ops that
 * is not in block-rbd.c is declared here. */
#pragma once

#include "block/block-priv.h"

#include <rados/librados.h>
#include <rbd/librbd.h>

#define RBD_FEATURES_WANTED                                                       \
    (RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK | RBD_FEATURE_OBJECT_MAP | \
     RBD_FEATURE_FAST_DIFF)
#define RBD_BASE_SNAP "base" /* of an image, protected: what disks are cloned from */

typedef enum RbdPool {
    RBD_POOL_IMAGES,
    RBD_POOL_SERVERS,
    RBD_POOLS
} RbdPool;

struct Block {
    char *conf, *user, *console_path;
    char *pools[RBD_POOLS];
    pthread_mutex_t lock; /* guards all below; once connected, the handles do not change */
    pthread_cond_t idle;
    bool connected;
    rados_t cluster;
    rados_ioctx_t io[RBD_POOLS];
    char *secret_uuid;  /* stems from the cluster's fsid and the user */
    unsigned downloads; /* threads that hold an image open */
};

/* ---- block-rbd.c ---- */
/* Connect if that was not done yet. Every call begins with it. */
bool rbd_ready(Block *block, GError **err);
/* Set *err from a negative errno: "cannot <verb> POOL/IMAGE: …; <remedy>". Returns false. */
bool
rbd_failed(Block *block, RbdPool pool, const char *image, const char *verb, int code, GError **err);
rbd_image_t rbd_image_open(Block *block, RbdPool pool, const char *image, const char *snap,
                           bool read_only, GError **err);
bool rbd_image_make(Block *block, RbdPool pool, const char *image, uint64_t size, GError **err);
/* The whole buffer at offset; whole zeroed pieces of it are left out: the image must be new. */
bool
rbd_image_write(rbd_image_t image, uint64_t offset, const uint8_t *data, size_t size, int *code);
/* Remove with its base snapshot, if it has one. Absent: ok. */
bool rbd_image_remove(Block *block, RbdPool pool, const char *image, GError **err);
/* Names of the images in a pool; NULL with *err. */
GPtrArray *rbd_image_names(Block *block, RbdPool pool, GError **err);
bool rbd_capacity(Block *block, BlockCapacity *capacity, GError **err);
bool rbd_space_check(Block *block, RbdPool pool, GError **err);

/* ---- rbd-image.c ---- */
BlockUpload *rbd_upload_begin(Block *block, const char *image_id, const char *claimed,
                              int64_t max_bytes, GError **err);
bool rbd_upload_write(BlockUpload *upload, const void *data, size_t size, GError **err);
bool
rbd_upload_commit(BlockUpload *upload, int64_t max_virtual, BlockImageInfo *info, GError **err);
void rbd_upload_abort(BlockUpload *upload);
int rbd_download_open(Block *block, const char *image_id, GError **err);
bool rbd_image_exists(Block *block, const char *image_id, bool *exists, GError **err);
bool rbd_image_delete(Block *block, const char *image_id, GError **err);
bool rbd_sweep_images(Block *block); /* false: the OSDs do not answer */

/* ---- rbd-disk.c ---- */
bool rbd_disk_create(Block *block, const char *server_id, const char *image_id, int64_t size,
                     GError **err);
bool rbd_disk_exists(Block *block, const char *server_id, bool *exists, GError **err);
bool rbd_disk_delete(Block *block, const char *server_id, GError **err);
bool rbd_disk_source(Block *block, const char *server_id, char **path, char **format, GError **err);
bool rbd_config_drive_store(Block *block, const char *server_id, const void *iso, size_t size,
                            GError **err);
bool rbd_config_drive_source(Block *block, const char *server_id, char **path, GError **err);
GPtrArray *rbd_disks(Block *block, GError **err);
bool rbd_nonce_make(Block *block, char **source, int64_t *size, GError **err);
void rbd_nonce_remove(Block *block, const char *source);
void rbd_sweep_nonces(Block *block);
