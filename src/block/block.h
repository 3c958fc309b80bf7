/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block.h: the storage seam: images, server disks, config drives. Drivers: block-rbd.c (pools of a
 * Ceph cluster), block-dir.c (a directory at the same path on the controller and on every node);
 * the fake keeps names only.
 *
 * All calls block on storage; all are safe from any thread. Ids are validated uuids: no path is
 * ever built from other text. */
#pragma once

#include "base/base.h"
#include "model/model.h"

typedef struct Block Block;             /* an opened driver */
typedef struct BlockUpload BlockUpload; /* an image on its way in */

typedef struct BlockImageInfo {
    char *format; /* "raw" or "qcow2" as found in the data, never as claimed */
    int64_t size, virtual_size;
    char *md5, *sha512; /* hex, of the bytes uploaded */
} BlockImageInfo;
void block_image_info_clear(BlockImageInfo *info);

typedef struct BlockCapacity {
    int64_t total, free_bytes;
} BlockCapacity;

/* What an operator configures. A driver looks at its own part only. */
typedef struct BlockSettings {
    const char *path;         /* dir: the directory; fake: one for its name files, so that it
                                 outlives a killed process */
    const char *conf;         /* rbd: the cluster's configuration file */
    const char *user;         /* rbd: the cephx user without "client.", which nodes are, too */
    const char *images_pool;  /* rbd */
    const char *servers_pool; /* rbd: server disks and config drives */
    const char *volumes_pool; /* rbd */
    const char *console_path; /* rbd: directory on each node for console logs */
} BlockSettings;

/* What a node must know to open a disk: the same secret on all nodes, under the same id. */
typedef struct BlockSecret {
    char *uuid;  /* NULL: nothing, the disks are files */
    char *usage; /* names it for people */
    void *value;
    size_t size;
} BlockSecret;
void block_secret_clear(BlockSecret *secret); /* overwrites the value */
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(BlockSecret, block_secret_clear)

/* What a new volume holds at first. */
typedef enum BlockOrigin {
    BLOCK_EMPTY,
    BLOCK_IMAGE,    /* id: an image's */
    BLOCK_SNAPSHOT, /* id: a snapshot's, volume_id: of this volume */
    BLOCK_VOLUME    /* id: another volume's, as it is now */
} BlockOrigin;
typedef struct BlockVolumeSource {
    BlockOrigin origin;
    const char *id, *volume_id; /* NULL where the origin needs none */
} BlockVolumeSource;

/* BlockPurpose and BlockPool are model.h's: the API shows them. */
extern const char *const block_purpose_names[]; /* "images", "instances", "volumes" */
void block_pool_free(BlockPool *pool);

/* Somebody who has a disk open for writing. */
typedef struct BlockClient {
    char *address; /* "192.0.2.7:0/3710147553" */
    bool is_own;   /* this process */
} BlockClient;
void block_client_free(BlockClient *client);

/* Of a long copy: done of total bytes. Returning false stops the copy (ERR_CANCELLED). */
typedef bool (*BlockProgressFn)(int64_t done, int64_t total, void *opaque);

typedef struct BlockOps {
    const char *name;
    bool console_is_shared; /* all nodes append to the same file */
    bool can_fence;         /* clients, fence and unfence do something */
    /* Fails for what is wrong with the settings. A cluster that does not answer is no reason to
     * fail: each call tries again to connect, and answers ERR_UNREACHABLE until then. */
    Block *(*open)(const BlockSettings *settings, GError **err);
    void (*close)(Block *block);
    bool (*capacity)(Block *block, BlockCapacity *capacity, GError **err);

    /* Upload: begin, write*, then commit or abort. Nothing is visible before commit; an abort, or a
     * crash, leaves nothing (a sweep at open removes what a crash left). claimed_format: what the
     * client says; commit compares: a qcow2 with a backing file, an external data file, or a
     * virtual size over max_virtual is ERR_INVALID (it is an attack). */
    BlockUpload *(*upload_begin)(Block *block, const char *image_id, const char *claimed_format,
                                 int64_t max_bytes, GError **err);
    bool (*upload_write)(BlockUpload *upload, const void *data, size_t size, GError **err);
    bool (*upload_commit)(BlockUpload *upload, int64_t max_virtual, BlockImageInfo *info,
                          GError **err); /* frees upload */
    void (*upload_abort)(BlockUpload *upload);
    /* A readable descriptor of the image as uploaded, for download. */
    int (*image_open)(Block *block, const char *image_id, GError **err);
    bool (*image_exists)(Block *block, const char *image_id, bool *exists, GError **err);
    bool (*image_delete)(Block *block, const char *image_id, GError **err); /* absent: ok */

    /* A server's root disk, a copy-on-write child of the image, of at least size bytes. Existing:
     * ok (idempotent). */
    bool (*disk_create)(Block *block, const char *server_id, const char *image_id, int64_t size,
                        GError **err);
    bool (*disk_exists)(Block *block, const char *server_id, bool *exists, GError **err);
    /* Let it have at least size bytes; larger already: ok, nothing ever shrinks. Its QEMU is off
     * (dir: ERR_CONFLICT while one has it open). ERR_NOT_FOUND: there is no such disk. */
    bool (*disk_extend)(Block *block, const char *server_id, int64_t size, GError **err);
    bool (*disk_delete)(Block *block, const char *server_id,
                        GError **err); /* with the config drive; absent: ok */
    /* What the hypervisor is told. Caller frees. */
    bool (*disk_source)(Block *block, const char *server_id, char **path, char **format,
                        GError **err);

    /* Store an ISO image beside the disk, replacing an older one. */
    bool (*config_drive_store)(Block *block, const char *server_id, const void *iso, size_t size,
                               GError **err);
    bool (*config_drive_source)(Block *block, const char *server_id, char **path, GError **err);

    /* Ids of the servers, or of the volumes or images, that have something here: for the orphan
     * sweep. Elements char *. */
    GPtrArray *(*things)(Block *block, BlockPurpose purpose, GError **err);

    /* Volumes. All but delete: a volume that is there as asked for is success. source may be NULL:
     * empty. A volume is copy-on-write wherever the driver can. progress may be NULL. */
    bool (*volume_create)(Block *block, const char *volume_id, const BlockVolumeSource *source,
                          int64_t size, BlockProgressFn progress, void *opaque, GError **err);
    /* Absent: ok. ERR_CONFLICT: somebody has it open (named), or it has snapshots. Does not wait.
     * That other volumes stem from it or from its snapshots is no hindrance. */
    bool (*volume_delete)(Block *block, const char *volume_id, GError **err);
    bool (*volume_extend)(Block *block, const char *volume_id, int64_t size, GError **err);
    bool (*volume_source)(Block *block, const char *volume_id, char **path, char **format,
                          GError **err);
    /* At one instant, whether or not the volume is in use (rbd); dir: ERR_UNSUPPORTED while it is
     * open. */
    bool (*snapshot_create)(Block *block, const char *volume_id, const char *snapshot_id,
                            GError **err);
    bool (*snapshot_delete)(Block *block, const char *volume_id, const char *snapshot_id,
                            GError **err); /* absent: ok */
    /* Let a disk hold all its data itself (source as disk_source and volume_source give it); works
     * under a running guest. Nothing to do: ok. */
    bool (*flatten)(Block *block, const char *source, BlockProgressFn progress, void *opaque,
                    GError **err);

    /* Who has this disk open for writing. Elements BlockClient *. A driver that cannot know answers
     * an empty list. A disk that is absent: empty. */
    GPtrArray *(*clients)(Block *block, const char *source, GError **err);
    /* Shut these clients (addresses, ended by NULL) out of the cluster for seconds: done, read
     * back, and the epoch of it waited for. Idempotent; a further call prolongs. ERR_UNSUPPORTED:
     * this driver cannot. */
    bool (*fence)(Block *block, const char *const *addresses, int64_t seconds, GError **err);
    bool (*unfence)(Block *block, const char *const *addresses, GError **err);

    /* The addresses under which the cluster knows this process, as clients lists them: to be
     * written down, so that who comes after us can shut us out. Elements char *; a change of the
     * key adds one. NULL: this driver has none. */
    GPtrArray *(*own_clients)(Block *block, GError **err);

    /* Elements BlockPool *, in the order of BlockPurpose. */
    GPtrArray *(*pools)(Block *block, GError **err);
    /* Read the key again, from where open read it, and connect anew with it: after a change of the
     * key in the cluster. Nothing to do: ok. */
    bool (*reload_secret)(Block *block, GError **err);

    /* How a hypervisor reaches the sources: by a cluster's monitors as they are now, or, *access
     * NULL, as files. Caller frees. */
    bool (*access)(Block *block, RbdAccess **access, GError **err);
    bool (*secret)(Block *block, BlockSecret *secret, GError **err);

    /* For the proof that a node sees this storage: a directory that controller and nodes have in
     * common, in which a nonce is written on one side and read on the other. Caller frees. NULL: it
     * is no file system; then there are disks whose name and size are random, and a node that tells
     * the size of one has opened it (libvirt reads no bytes of a network disk for us). What could
     * not be removed is swept at the next open. */
    char *(*nonce_directory)(Block *block);
    bool (*nonce_make)(Block *block, char **source, int64_t *size, GError **err);
    void (*nonce_remove)(Block *block, const char *source);
    /* Where servers' console logs live on the node. Caller frees. */
    char *(*console_path)(Block *block, const char *server_id);
} BlockOps;

extern const BlockOps block_dir_ops;
extern const BlockOps block_rbd_ops;
extern const BlockOps block_fake_ops;

typedef struct Storage { /* a driver and its instance travel together; every call passes fault
                            points block.NAME.before/after */
    const BlockOps *ops;
    Block *block;
} Storage;
/* Thin wrappers over the ops that pass the fault points, refuse inside a store transaction
 * (ERR_BUG) and ask first whether this process may still act (ERR_FENCED): storage.c. */
bool storage_disk_create(const Storage *storage, const char *server_id, const char *image_id,
                         int64_t size, GError **err);
bool storage_disk_exists(const Storage *storage, const char *server_id, bool *exists, GError **err);
bool storage_disk_extend(const Storage *storage, const char *server_id, int64_t size, GError **err);
bool storage_disk_delete(const Storage *storage, const char *server_id, GError **err);
bool storage_disk_source(const Storage *storage, const char *server_id, char **path, char **format,
                         GError **err);
bool storage_image_delete(const Storage *storage, const char *image_id, GError **err);
bool storage_config_drive_store(const Storage *storage, const char *server_id, const void *iso,
                                size_t size, GError **err);
bool storage_config_drive_source(const Storage *storage, const char *server_id, char **path,
                                 GError **err);
bool storage_volume_create(const Storage *storage, const char *volume_id,
                           const BlockVolumeSource *source, int64_t size, BlockProgressFn progress,
                           void *opaque, GError **err);
bool storage_volume_delete(const Storage *storage, const char *volume_id, GError **err);
bool
storage_volume_extend(const Storage *storage, const char *volume_id, int64_t size, GError **err);
bool storage_volume_source(const Storage *storage, const char *volume_id, char **path,
                           char **format, GError **err);
bool storage_snapshot_create(const Storage *storage, const char *volume_id, const char *snapshot_id,
                             GError **err);
bool storage_snapshot_delete(const Storage *storage, const char *volume_id, const char *snapshot_id,
                             GError **err);
bool storage_flatten(const Storage *storage, const char *source, BlockProgressFn progress,
                     void *opaque, GError **err);
GPtrArray *storage_clients(const Storage *storage, const char *source, GError **err);
bool
storage_fence(const Storage *storage, const char *const *addresses, int64_t seconds, GError **err);
/* Empty for a driver that has no such thing. */
GPtrArray *storage_own_clients(const Storage *storage, GError **err);
bool storage_unfence(const Storage *storage, const char *const *addresses, GError **err);
GPtrArray *storage_things(const Storage *storage, BlockPurpose purpose, GError **err);
GPtrArray *storage_pools(const Storage *storage, GError **err);
bool storage_reload_secret(const Storage *storage, GError **err);
bool storage_access(const Storage *storage, RbdAccess **access, GError **err);
bool storage_secret(const Storage *storage, BlockSecret *secret, GError **err);
char *storage_console_path(const Storage *storage, const char *server_id);
/* Tells whether the calling thread is inside a store transaction; set once at start (NULL: never).
 */
typedef bool (*StorageInsideFn)(void);
void storage_set_transaction_check(StorageInsideFn inside);
/* May this process still touch the storage? Set once at start (NULL: always). */
void storage_set_may_act(bool (*may_act)(void *opaque), void *opaque);
/* The driver has connected anew, so storage_own_clients has changed. Called by
 * storage_reload_secret before it returns, on its thread; false makes it fail with *err, and it may
 * be called again. Set once at start (NULL: nobody cares). */
typedef bool (*StorageReconnectFn)(void *opaque, GError **err);
void storage_set_on_reconnect(StorageReconnectFn tell, void *opaque);

/* ---- the fake's clients -----------------------------------------------------------------------
 * For tests: block is the fake's. A source is what disk_source or volume_source gives. What is set
 * lives in the fake's directory and outlives the process, as watchers do. */

/* From now on address has source open; NULL: nobody has any more. */
void block_fake_set_client(Block *block, const char *source, const char *address);
/* Is it shut out? fence does that, and takes its entries away; unfence lets it in again. */
bool block_fake_is_fenced(Block *block, const char *address);

/* ---- config drive -----------------------------------------------------------------------------
 * openstack/latest (and 2018-08-27): meta_data.json, network_data.json, user_data,
 * vendor_data.json; ec2-free; volume label config-2; made in memory by libisofs. */
typedef struct ConfigDriveFile {
    const char *path; /* "openstack/latest/meta_data.json" */
    const void *data;
    size_t size;
} ConfigDriveFile;
/* At most 16 MiB. Caller frees *iso with g_free. */
bool config_drive_build(const ConfigDriveFile *files, size_t n_files, void **iso, size_t *size,
                        GError **err);
