/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rig.h: a whole controller without HTTP on the fake drivers, with a real store in a directory of
 * its own */
#pragma once

#include "block/block.h"
#include "host/host.h"
#include "task/task.h"
#include "watch/watch.h"

typedef struct Rig {
    char *dir; /* store and storage live here and outlive the process */
    HostDriver *world;
    Store *store;
    Storage storage;
    Hosts *hosts;
    LibvirtSettings *libvirt;
    TaskSettings settings;
    TaskEngine *tasks;
    Watch *watch;
} Rig;

/* Fresh directory and rows for n hosts, image, flavor-like server defaults; nothing runs yet. */
char *rig_make_dir(int n_hosts);
void rig_remove_dir(char *dir);

/* The driver of hosts that the next rig_start uses; NULL: host_fake_ops. */
extern const HostOps *rig_host_ops;
/* The driver of storage that the next rig_start uses; NULL: block_fake_ops. */
extern const BlockOps *rig_block_ops;

/* Changes the settings of the next rig_start; NULL: nothing. */
extern void (*rig_adjust)(TaskSettings *settings);

/* Start a controller over dir and world; waits until all hosts are up (aborts after 10 s). */
Rig *rig_start(const char *dir, HostDriver *world, int n_hosts);
/* Orderly end. */
void rig_stop(Rig *rig);

/* Submit: returns the server's id (create) or runs the action on it. Abort the test on refusal
 * unless err is given. */
char *rig_create_server(Rig *rig, const char *name, const char *host, GError **err);
bool
rig_action(Rig *rig, const char *server_id, const char *action, const char *params, GError **err);
int64_t rig_migrate(Rig *rig, const char *server_id, const char *dest,
                    GError **err); /* migration id, 0 if refused */
int64_t
rig_migrate_with_priority(Rig *rig, const char *server_id, const char *dest, int64_t priority);
/* Abort it, or force it to its end. */
bool rig_wish(Rig *rig, int64_t migration_id, MigrationWish wish, GError **err);
/* evacuate->engine is filled in; migration id, 0 if refused */
int64_t
rig_evacuate(Rig *rig, const char *server_id, const EvacuateRequest *evacuate, GError **err);

/* Resize, or with flavor NULL a cold migration: migration id, 0 if refused. And its end,
 * "confirmResize" or "revertResize". */
int64_t
rig_resize(Rig *rig, const char *server_id, const Flavor *flavor, const char *dest, GError **err);
bool rig_end_resize(Rig *rig, const char *server_id, const char *action, GError **err);

/* Volumes. Each aborts the test on refusal unless err is given. */
typedef struct RigVolume {
    const char *image_id, *snapshot_id, *source_volume_id; /* all NULL: empty */
    int64_t size_gb;                                       /* 0: 1 */
} RigVolume;
extern const char *const rig_image_id;
char *rig_create_volume(Rig *rig, const RigVolume *spec, GError **err);
/* "delete", "extend" (params {"size_gb": N}) */
bool rig_volume_action(Rig *rig, const char *volume_id, const char *action, const char *params,
                       GError **err);
char *rig_create_snapshot(Rig *rig, const char *volume_id, bool force, GError **err);
bool rig_delete_snapshot(Rig *rig, const char *snapshot_id, GError **err);
bool rig_attach(Rig *rig, const char *server_id, const char *volume_id, const char *device,
                GError **err);
bool rig_detach(Rig *rig, const char *server_id, const char *volume_id, GError **err);
/* A server that boots from a volume made with it from root's source, with existing volumes (ended
 * by NULL) beside it. delete_root: the root goes with the server; so do the others with
 * delete_others.
 */
char *rig_boot_from_volume(Rig *rig, const RigVolume *root, bool delete_root,
                           const char *const *others, bool delete_others, GError **err);

/* Wait until no task is open; false after deadline_s. */
bool rig_wait_idle(Rig *rig, int deadline_s);
Server *rig_server(Rig *rig, const char *server_id);
Migration *rig_migration(Rig *rig, int64_t id);
Volume *rig_volume(Rig *rig, const char *volume_id); /* NULL: there is none */
Snapshot *rig_snapshot(Rig *rig, const char *snapshot_id);
Attachment *rig_attachment(Rig *rig, const char *volume_id); /* NULL: in no server */
/* Does the domain on host have the volume? False also if there is no domain. */
bool rig_guest_has(Rig *rig, const char *host, const char *server_id, const char *volume_id);
/* Rows of a type that match; caller frees. */
GPtrArray *rig_rows(Rig *rig, const RecordType *type, const StoreCond *where);
