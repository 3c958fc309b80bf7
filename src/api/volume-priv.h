/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-priv.h: what the files of the block storage service share */
#pragma once

#include "api/api-priv.h"

#define VOLUME_TEXT_MAX     255 /* bytes of a name, a description, a metadata key or value */
#define VOLUME_METADATA_MAX 128 /* items */
#define VOLUME_SIZE_MAX     INT64_C(0x7FFFFFFF) /* GB; as Cinder's */
#define VOLUME_ZONE         "nova"
#define VOLUME_TYPE_DEFAULT "__DEFAULT__"

/* ---- volume-view.c ----------------------------------------------------------------------------
 */
/* As Cinder writes times: with microseconds, without a zone. null for 0. */
json_t *volume_time(int64_t realtime_us);
json_t *volume_links(ApiCall *call, const char *collection, const char *id);
/* "godwit@rbd", with pool "godwit@rbd#volumes": what Cinder calls host. Caller frees. */
char *volume_backend(ApiCall *call, bool with_pool);

typedef enum ViewKind {
    VIEW_SUMMARY, /* a row of a plain list */
    VIEW_CREATED, /* the answer to create and update */
    VIEW_DETAIL,
} ViewKind;
json_t *view_volume(StoreTx *tx, ApiCall *call, const Volume *volume, ViewKind kind, GError **err);
json_t *view_snapshot(ApiCall *call, const Snapshot *snapshot, ViewKind kind);
json_t *view_volume_type(ApiCall *call, const VolumeType *type);

/* ---- volume-list.c ----------------------------------------------------------------------------
 * A list of the caller's records, or, for an administrator who asks for all_tenants, of
 * everybody's: filters, order, pages. */
typedef struct ListKind {
    const RecordType *type;
    const char *collection; /* "volumes": key of the answer and last part of the path */
    const char *noun;       /* "Volume", for errors */
    /* name in the query and column; a NULL column: no record passes, since nothing here has one.
     * Ended by NULL. */
    const struct ListFilter {
        const char *name, *column;
    } * filters;
    const char *const *json_filters; /* pairs of name and column of a JSON object; ended by NULL */
    json_t *(*view)(StoreTx *tx, ApiCall *call, const void *record, bool detail, GError **err);
} ListKind;
void volume_list(ApiCall *call, const ListKind *kind, bool detail);

/* ---- volume-metadata.c ------------------------------------------------------------------------
 * The JSON object of texts that volumes and snapshots have, and types as extra_specs. */
bool volume_read_texts(const json_t *object, const char *key, const json_t **texts, GError **err);
bool volume_check_texts(const char *what, const json_t *texts, GError **err);

/* ---- volume-volumes.c, volume-snapshots.c, volume-types.c --------------------------------------
 * What the caller may see, or ERR_NOT_FOUND. */
Volume *volume_get(StoreTx *tx, ApiCall *call, const char *id, GError **err);
Snapshot *snapshot_get(StoreTx *tx, ApiCall *call, const char *id, GError **err);
/* What a volume made from image remembers of it: a JSON object of texts, as Cinder's. Caller frees.
 */
char *volume_image_metadata(const Image *image);
/* By id or name. */
VolumeType *volume_type_get(StoreTx *tx, ApiCall *call, const char *id_or_name, GError **err);
/* name and description as given; untouched if absent. */
bool volume_read_names(const json_t *body, char **name, char **description, GError **err);
TaskRequest volume_task_request(ApiCall *call, const char *project_id);
/* task_submit_volume; what a volume's status forbids is a bad request (400) in this service. */
bool volume_submit(StoreTx *tx, ApiCall *call, const char *action, Volume *volume,
                   const char *params, GError **err);
bool snapshot_submit(StoreTx *tx, ApiCall *call, const char *action, Volume *volume,
                     Snapshot *snapshot, bool force, GError **err);
/* Make volume one that may be deleted whatever its status: ERR_INVALID if it is attached, or a task
 * is at work on it. The row is not written. */
bool volume_force_status(StoreTx *tx, Volume *volume, GError **err);
/* ERR_INVALID while a task is at work on the volume. */
bool volume_is_idle(StoreTx *tx, const char *volume_id, GError **err);

/* ---- handlers -------------------------------------------------------------------------------- */
void volume_volumes_list(ApiCall *call);
void volume_volumes_detail(ApiCall *call);
void volume_volumes_summary(ApiCall *call);
void volume_volume_create(ApiCall *call);
void volume_volume_show(ApiCall *call);
void volume_volume_update(ApiCall *call);
void volume_volume_delete(ApiCall *call);
void volume_volume_action(ApiCall *call);
void volume_volume_encryption(ApiCall *call);
void volume_snapshots_list(ApiCall *call);
void volume_snapshots_detail(ApiCall *call);
void volume_snapshot_create(ApiCall *call);
void volume_snapshot_show(ApiCall *call);
void volume_snapshot_update(ApiCall *call);
void volume_snapshot_delete(ApiCall *call);
void volume_snapshot_action(ApiCall *call);
/* metadata of a volume, or of a snapshot: by the path */
void volume_metadata_list(ApiCall *call);
void volume_metadata_merge(ApiCall *call);
void volume_metadata_replace(ApiCall *call);
void volume_metadata_show(ApiCall *call);
void volume_metadata_set(ApiCall *call);
void volume_metadata_delete(ApiCall *call);
void volume_types_list(ApiCall *call);
void volume_type_create(ApiCall *call);
void volume_type_show(ApiCall *call);
void volume_type_update(ApiCall *call);
void volume_type_delete(ApiCall *call);
void volume_type_action(ApiCall *call);
void volume_type_access(ApiCall *call);
void volume_type_encryption(ApiCall *call);
void volume_specs_list(ApiCall *call);
void volume_specs_merge(ApiCall *call);
void volume_specs_show(ApiCall *call);
void volume_specs_set(ApiCall *call);
void volume_specs_delete(ApiCall *call);
void volume_quota_show(ApiCall *call);
void volume_quota_update(ApiCall *call);
void volume_quota_delete(ApiCall *call);
void volume_quota_defaults(ApiCall *call);
void volume_quota_class(ApiCall *call);
void volume_quota_class_update(ApiCall *call);
void volume_limits(ApiCall *call);
void volume_attachments_list(ApiCall *call);
void volume_attachments_detail(ApiCall *call);
void volume_attachment_show(ApiCall *call);
void volume_attachment_refuse(ApiCall *call);
void volume_zones(ApiCall *call);
void volume_services(ApiCall *call);
void volume_service_refuse(ApiCall *call);
void volume_pools(ApiCall *call);
void volume_capabilities(ApiCall *call);
void volume_extensions(ApiCall *call);
void volume_nothing(ApiCall *call);       /* an empty list, named by the path */
void volume_nothing_there(ApiCall *call); /* 404: there are none of the kind */
void volume_nothing_made(ApiCall *call);  /* 400: none can be made */
