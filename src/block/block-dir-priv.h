/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-dir-priv.h: what the files of the drivers for a directory and for tests share. Every slot
 * of their BlockOps that is not in block-dir.c is declared here. */
#pragma once

#include "block/block-priv.h"

#define DIR_DISK_MOST (INT64_C(64) << 40)

struct Block {
    char *path;
    bool durable; /* false: the fake, which runs no tools and does not wait for the medium */
};

/* ---- block-dir.c ---- */
/* Errors of the file system, translated here and nowhere else in this driver. Returns false. */
bool dir_failed(GError **err, int number, const char *verb, const char *path);
char *dir_image_path(Block *block, const char *image_id);
/* PATH/<kind>/ID/<name>; kind: "instances" or "volumes"; name "": the directory. */
char *dir_thing_path(Block *block, const char *kind, const char *id, const char *name);
bool dir_sync_fd(Block *block, int fd, const char *path, GError **err);
/* A rename or unlink is durable once its directory is. */
bool dir_sync(Block *block, const char *path, GError **err);
bool dir_exists(const char *path, bool *exists, GError **err);
bool dir_make(const char *path, mode_t mode, GError **err);
bool dir_space_check(Block *block, GError **err);
/* Format and virtual size of an image that was judged when it was uploaded. */
bool dir_image_read(Block *block, const char *image_id, const char **format, int64_t *virtual_size,
                    GError **err);
/* Give a file that was made as "<path>.new" its mode, bring it to the medium and name it path. */
bool dir_publish(Block *block, const char *path, GError **err);
/* Remove a thing's directory with all that is in it. Absent: ok. */
bool dir_remove(Block *block, const char *kind, const char *id, GError **err);
bool dir_capacity(Block *block, BlockCapacity *capacity, GError **err);

/* ---- dir-disk.c ---- */
bool dir_disk_exists(Block *block, const char *server_id, bool *exists, GError **err);
bool dir_disk_create(Block *block, const char *server_id, const char *image_id, int64_t size,
                     GError **err);
bool dir_disk_extend(Block *block, const char *server_id, int64_t size, GError **err);
bool dir_disk_delete(Block *block, const char *server_id, GError **err);
bool dir_disk_source(Block *block, const char *server_id, char **path, char **format, GError **err);
bool dir_config_drive_store(Block *block, const char *server_id, const void *iso, size_t size,
                            GError **err);
bool dir_config_drive_source(Block *block, const char *server_id, char **path, GError **err);
GPtrArray *dir_things(Block *block, BlockPurpose purpose, GError **err);
GPtrArray *dir_pools(Block *block, GError **err);

/* ---- dir-volume.c ---- */
/* Let a disk, as the driver makes them, have at least size bytes. */
bool dir_grow(Block *block, const char *path, int64_t size, GError **err);
bool dir_volume_create(Block *block, const char *volume_id, const BlockVolumeSource *source,
                       int64_t size, BlockProgressFn progress, void *opaque, GError **err);
bool dir_volume_delete(Block *block, const char *volume_id, GError **err);
bool dir_volume_extend(Block *block, const char *volume_id, int64_t size, GError **err);
bool
dir_volume_source(Block *block, const char *volume_id, char **path, char **format, GError **err);
bool
dir_snapshot_create(Block *block, const char *volume_id, const char *snapshot_id, GError **err);
bool
dir_snapshot_delete(Block *block, const char *volume_id, const char *snapshot_id, GError **err);
bool
dir_flatten(Block *block, const char *source, BlockProgressFn progress, void *opaque, GError **err);

/* ---- dir-copy.c: qemu-img at work ---- */
/* A new qcow2 file of size bytes; over backing, unless that is NULL. */
bool dir_qcow2_make(const char *path, const char *backing, const char *format, int64_t size,
                    GError **err);
/* All that a disk shows, backing files and all, into the new qcow2 file to. Nobody may write from
 * meanwhile: ERR_UNSUPPORTED if somebody could. */
bool dir_qcow2_copy(const char *from, const char *format, const char *to, BlockProgressFn progress,
                    void *opaque, GError **err);
bool dir_qcow2_resize(const char *path, int64_t size, GError **err);
bool dir_qcow2_size(const char *path, int64_t *size, GError **err);
/* QEMU keeps locks on a file that it has open. What cannot be told counts as not open: then the
 * tools' own locks are the second line. */
bool dir_is_open(const char *path);

/* ---- fake-client.c ---- */
GPtrArray *dir_clients(Block *block, const char *source, GError **err);
bool dir_fence(Block *block, const char *const *addresses, int64_t seconds, GError **err);
bool dir_unfence(Block *block, const char *const *addresses, GError **err);
GPtrArray *fake_clients(Block *block, const char *source, GError **err);
bool fake_fence(Block *block, const char *const *addresses, int64_t seconds, GError **err);
/* ERR_CONFLICT naming a client of the fake's that has it open. */
bool dir_refuse_open(Block *block, const char *source, GError **err);
bool fake_unfence(Block *block, const char *const *addresses, GError **err);
