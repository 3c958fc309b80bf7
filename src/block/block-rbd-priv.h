/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-rbd-priv.h: what the files of the driver for Ceph share. Every slot of block_rbd_ops that
 * is not in block-rbd.c is declared here. */
#pragma once

#include "block/block-priv.h"

#include <jansson.h>
#include <rados/librados.h>
#include <rbd/librbd.h>

#define RBD_FEATURES_WANTED                                                       \
    (RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK | RBD_FEATURE_OBJECT_MAP | \
     RBD_FEATURE_FAST_DIFF)
#define RBD_VOLUME_PREFIX "volume-"
#define RBD_HELPER_PREFIX "clone-" /* of a snapshot that is there while a volume is copied */
#define RBD_BASE_SNAP     "base"   /* of an image, protected: what disks are cloned from */

/* One connection to the cluster. What was begun on it ends on it, though a newer one has taken its
 * place: so whoever uses it holds it. */
typedef struct RbdLink {
    Block *block;
    unsigned holders; /* guarded by block->lock */
    rados_t cluster;
    rados_ioctx_t io[BLOCK_PURPOSES];
    char *trouble[BLOCK_PURPOSES]; /* why a pool cannot be used */
    char *secret_uuid;             /* stems from the cluster's fsid and the user */
    char *addresses;               /* as the cluster sees us */
} RbdLink;

struct Block {
    char *conf, *user, *console_path;
    char *pools[BLOCK_PURPOSES];
    pthread_mutex_t lock;       /* guards all below */
    pthread_cond_t changed;     /* an attempt to connect has ended, or a link has gone */
    RbdLink *link;              /* NULL: not connected yet */
    GPtrArray *links;           /* all that somebody holds */
    unsigned closing;           /* links that nobody holds any more */
    bool connecting;            /* one thread tries, the others wait for what comes of it */
    uint64_t attempts;          /* that have ended */
    GError *failure;            /* of the last one */
    pthread_mutex_t trash_lock; /* one thread at a time empties the trash */
};

/* ---- rbd-link.c ---- */
/* The connection, made if there is none yet. Every call begins with it. NULL with *err. */
RbdLink *rbd_link(Block *block, GError **err);
void rbd_link_drop(RbdLink *link);
RbdLink *rbd_link_hold(RbdLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RbdLink, rbd_link_drop)
/* Even if a pool is missing or somebody else's: link->trouble says so. */
RbdLink *rbd_link_whatever(Block *block, GError **err);
/* Does a client of this process have that id in the cluster? */
bool rbd_id_is_own(Block *block, uint64_t id);
bool rbd_address_is_own(Block *block, const char *address);
bool rbd_reload_secret(Block *block, GError **err);
bool rbd_secret(Block *block, BlockSecret *secret, GError **err);

/* ---- block-rbd.c ---- */
/* Set *err from a negative errno: "<what>: …; <remedy>". Returns false. */
bool rbd_cluster_failed(int code, GError **err, const char *what);
/* "cannot <verb> POOL/IMAGE: …; <remedy>" */
bool rbd_failed(const RbdLink *link, BlockPurpose pool, const char *image, const char *verb,
                int code, GError **err);
rbd_image_t rbd_image_open(RbdLink *link, BlockPurpose pool, const char *image, const char *snap,
                           bool read_only, GError **err);
bool
rbd_image_make(RbdLink *link, BlockPurpose pool, const char *image, uint64_t size, GError **err);
/* The whole buffer at offset; whole zeroed pieces of it are left out: the image must be new. */
bool
rbd_image_write(rbd_image_t image, uint64_t offset, const uint8_t *data, size_t size, int *code);
bool
rbd_image_grow(RbdLink *link, BlockPurpose pool, const char *image, int64_t size, GError **err);
/* Remove with its base snapshot, if it has one. Absent: ok. */
bool rbd_image_remove(RbdLink *link, BlockPurpose pool, const char *image, GError **err);
/* Names of the images in a pool; NULL with *err. */
GPtrArray *rbd_image_names(RbdLink *link, BlockPurpose pool, GError **err);
/* A clone of at least size bytes; one that is there, complete, is enlarged; one that a crash left
 * half made is made anew. ERR_NOT_FOUND: there is no such parent. */
bool rbd_image_clone(RbdLink *link, BlockPurpose from_pool, const char *from, const char *snap,
                     BlockPurpose to_pool, const char *to, int64_t size, GError **err);
GPtrArray *rbd_things(Block *block, BlockPurpose purpose, GError **err);
GPtrArray *rbd_things_on(RbdLink *link, BlockPurpose purpose, GError **err);
/* The pool and the image of "POOL/IMAGE"; ERR_INVALID: it is none of ours. */
bool rbd_source_parse(Block *block, const char *source, BlockPurpose *pool, const char **image,
                      GError **err);
char *rbd_source(const Block *block, BlockPurpose pool, const char *image);

/* ---- rbd-mon.c: what the monitors are asked ---- */
/* Run a command (taken), {"prefix": …, …}. *answer: what it says; NULL: it says nothing of use. */
bool rbd_mon_run(RbdLink *link, json_t *command, json_t **answer, GError **err);
bool rbd_capacity(Block *block, BlockCapacity *capacity, GError **err);
/* Room for what is there already must remain. */
bool rbd_space_check(RbdLink *link, BlockPurpose pool, GError **err);
/* Why nothing can be written to a pool: it is full. NULL: it is not, or nobody knows. */
char *rbd_pool_full(RbdLink *link, BlockPurpose pool);
bool rbd_access(Block *block, RbdAccess **access, GError **err);
GPtrArray *rbd_pools(Block *block, GError **err);

/* ---- rbd-own.c ---- */
GPtrArray *rbd_own_clients(Block *block, GError **err);

/* ---- rbd-fence.c: who has it open, and out with them ---- */
GPtrArray *rbd_clients(Block *block, const char *source, GError **err);
bool rbd_fence(Block *block, const char *const *addresses, int64_t seconds, GError **err);
bool rbd_unfence(Block *block, const char *const *addresses, GError **err);
/* ERR_CONFLICT naming who has the image open. Absent: ok. */
bool rbd_refuse_open(RbdLink *link, BlockPurpose pool, const char *image, GError **err);

/* ---- rbd-volume.c ---- */
bool rbd_volume_create(Block *block, const char *volume_id, const BlockVolumeSource *source,
                       int64_t size, BlockProgressFn progress, void *opaque, GError **err);
bool rbd_volume_delete(Block *block, const char *volume_id, GError **err);
bool rbd_volume_extend(Block *block, const char *volume_id, int64_t size, GError **err);
bool
rbd_volume_source(Block *block, const char *volume_id, char **path, char **format, GError **err);
bool
rbd_snapshot_create(Block *block, const char *volume_id, const char *snapshot_id, GError **err);
bool
rbd_snapshot_delete(Block *block, const char *volume_id, const char *snapshot_id, GError **err);
bool rbd_flatten_source(Block *block, const char *source, BlockProgressFn progress, void *opaque,
                        GError **err);

/* ---- rbd-trash.c: volumes that are gone for everybody but those that stem from them ---- */
/* The id of an image in a pool. */
typedef struct RbdParent {
    BlockPurpose pool;
    char *id; /* NULL: none that this driver would ever remove */
} RbdParent;
void rbd_parent_clear(RbdParent *parent);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(RbdParent, rbd_parent_clear)
RbdParent rbd_parent_of(RbdLink *link, rbd_image_t image);
/* A child of it has gone. If it is in the trash and that was the last one, remove it, and go on
 * with its own parent. What cannot be removed now is left for the sweep. */
void rbd_trash_purge_from(RbdLink *link, const RbdParent *parent);
void rbd_trash_sweep(RbdLink *link);
/* Put a volume there. id: of its image. Absent: ok. */
bool rbd_trash_put(RbdLink *link, const char *name, const char *id, GError **err);
/* Remove the snapshots that nobody can see and nobody needs. *left: how many remain, *visible: the
 * name of one that people can see, or NULL. */
bool rbd_snapshots_tidy(RbdLink *link, const char *volume, rbd_image_t image, unsigned *left,
                        char **visible, GError **err);

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
bool rbd_sweep_images(RbdLink *link); /* false: the OSDs do not answer */

/* ---- rbd-disk.c ---- */
bool rbd_disk_create(Block *block, const char *server_id, const char *image_id, int64_t size,
                     GError **err);
bool rbd_disk_exists(Block *block, const char *server_id, bool *exists, GError **err);
bool rbd_disk_extend(Block *block, const char *server_id, int64_t size, GError **err);
bool rbd_disk_delete(Block *block, const char *server_id, GError **err);
bool rbd_disk_source(Block *block, const char *server_id, char **path, char **format, GError **err);
bool rbd_config_drive_store(Block *block, const char *server_id, const void *iso, size_t size,
                            GError **err);
bool rbd_config_drive_source(Block *block, const char *server_id, char **path, GError **err);
bool rbd_nonce_make(Block *block, char **source, int64_t *size, GError **err);
void rbd_nonce_remove(Block *block, const char *source);
void rbd_sweep_nonces(RbdLink *link);
