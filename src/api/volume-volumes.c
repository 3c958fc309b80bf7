/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-volumes.c: volumes: lists, show, update, delete; what all changes of a volume share */
#include <string.h>

#include "api/volume-priv.h"

Volume *
volume_get(StoreTx *tx, ApiCall *call, const char *id, GError **err)
{
    g_autoptr(Volume) volume = store_get(tx, &VOLUME, id, NULL);

    if (volume && caller_may_see(call->caller, volume->project_id))
        return g_steal_pointer(&volume);
    err_set(err, ERR_NOT_FOUND, "Volume %s could not be found.", id);
    return NULL;
}

bool
volume_read_names(const json_t *body, char **name, char **description, GError **err)
{
    const char *new_name, *new_description;

    if (!json_get_name(body, "name", VOLUME_TEXT_MAX, &new_name, err) ||
        (!new_name && !json_get_name(body, "display_name", VOLUME_TEXT_MAX, &new_name, err)) ||
        !json_get_text(body, "description", VOLUME_TEXT_MAX, &new_description, err) ||
        (!new_description &&
         !json_get_text(body, "display_description", VOLUME_TEXT_MAX, &new_description, err)))
        return false;
    if (new_name)
        text_set(name, new_name);
    if (new_description)
        text_set(description, new_description);
    return true;
}

TaskRequest
volume_task_request(ApiCall *call, const char *project_id)
{
    return (TaskRequest){
        .request_id = call->request_id, .user_id = call->caller->user_id, .project_id = project_id};
}

/* Cinder answers what a status forbids with 400, Nova with 409; model and task speak Nova's. */
static bool
status_is_bad_request(bool done, GError **err)
{
    if (!done && err && *err && err_is(*err, ERR_CONFLICT))
        (*err)->code = ERR_INVALID;
    return done;
}

bool
volume_submit(StoreTx *tx, ApiCall *call, const char *action, Volume *volume, const char *params,
              GError **err)
{
    TaskRequest request = volume_task_request(call, volume->project_id);
    int64_t task_id;

    request.params = params;
    return status_is_bad_request(task_submit_volume(tx, action, volume, &request, &task_id, err),
                                 err);
}

bool
snapshot_submit(StoreTx *tx, ApiCall *call, const char *action, Volume *volume, Snapshot *snapshot,
                bool force, GError **err)
{
    TaskRequest request = volume_task_request(call, snapshot->project_id);
    int64_t task_id;

    return status_is_bad_request(
        task_submit_snapshot(tx, action, volume, snapshot, force, &request, &task_id, err), err);
}

bool
volume_is_idle(StoreTx *tx, const char *volume_id, GError **err)
{
    StoreCond where[] = {
        {"volume_id", STORE_EQ, volume_id, 0}, {"status", STORE_EQ, NULL, TASK_OPEN}, {0}};
    int64_t open = store_count(tx, &TASK, where, err);

    if (open > 0)
        return err_set(
            err, ERR_INVALID,
            "Invalid volume: an operation on volume %s is under way, and sets the status "
            "itself when it ends.",
            volume_id);
    return open == 0;
}

/* ---- lists ------------------------------------------------------------------------------------
 */

static json_t *
volume_row(StoreTx *tx, ApiCall *call, const void *record, bool detail, GError **err)
{
    return view_volume(tx, call, record, detail ? VIEW_DETAIL : VIEW_SUMMARY, err);
}

static const struct ListFilter volume_filters[] = {
    {"id", "id"},
    {"name", "name"},
    {"display_name", "name"},
    {"description", "description"},
    {"status", "status"},
    {"bootable", "bootable"},
    {"availability_zone", "availability_zone"},
    {"size", "size_gb"},
    {"volume_type", "volume_type"},
    {"user_id", "user_id"},
    {"snapshot_id", "snapshot_id"},
    {"source_volid", "source_volume_id"},
    {"group_id", NULL},
    {"consistencygroup_id", NULL},
    {"migration_status", NULL},
    {0},
};
static const char *const volume_json_filters[] = {"metadata", "metadata", "glance_metadata",
                                                  "image_metadata", NULL};
static const ListKind volume_list_kind = {
    .type = &VOLUME,
    .collection = "volumes",
    .noun = "Volume",
    .filters = volume_filters,
    .json_filters = volume_json_filters,
    .view = volume_row,
};

void
volume_volumes_list(ApiCall *call)
{
    volume_list(call, &volume_list_kind, false);
}

void
volume_volumes_detail(ApiCall *call)
{
    volume_list(call, &volume_list_kind, true);
}

static void
summary_add_metadata(json_t *all, const Volume *volume)
{
    json_auto_t *metadata = json_parse_stored(volume->metadata, JSON_OBJECT);
    const char *key;
    json_t *value, *values, *known;
    size_t i;

    json_object_foreach(metadata, key, value)
    {
        bool found = false;

        values = json_object_get(all, key);
        if (!values) {
            values = json_array();
            json_object_set_new(all, key, values);
        }
        json_array_foreach(values, i, known) found = found || json_equal(known, value);
        if (!found)
            json_array_append(values, value);
    }
}

static bool
summary_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *everybody = api_query(call, "all_tenants");
    StoreCond where[] = {{"project_id", STORE_EQ, call->caller->project_id, 0}, {0}};
    bool all = false;
    StoreQuery query = {0};
    g_autoptr(GPtrArray) volumes = NULL;
    json_auto_t *metadata = json_object();
    int64_t gigabytes = 0;
    json_t *summary;

    if (everybody && *everybody && !parse_bool(everybody, &all))
        return err_set(err, ERR_INVALID, "Invalid value '%s' of all_tenants: true or false.",
                       everybody);
    if (!all || !call->caller->is_admin)
        query.where = where;
    volumes = store_list(tx, &VOLUME, &query, err);
    if (!volumes)
        return false;
    for (guint i = 0; i < volumes->len; i++) {
        gigabytes += ((const Volume *)volumes->pdata[i])->size_gb;
        summary_add_metadata(metadata, volumes->pdata[i]);
    }
    summary = json_pack("{s:I,s:I}", "total_size", (json_int_t)gigabytes, "total_count",
                        (json_int_t)volumes->len);
    if (api_microversion_at_least(call, 36))
        json_object_set(summary, "metadata", metadata);
    *(json_t **)opaque = json_pack("{s:o}", "volume-summary", summary);
    return true;
}

void
volume_volumes_summary(ApiCall *call)
{
    api_answer_read(call, summary_run, 200);
}

/* ---- one volume -------------------------------------------------------------------------------
 */

static bool
volume_out(StoreTx *tx, ApiCall *call, const Volume *volume, ViewKind kind, json_t **out,
           GError **err)
{
    json_t *view = view_volume(tx, call, volume, kind, err);

    if (view)
        *out = json_pack("{s:o}", "volume", view);
    return view != NULL;
}

static bool
volume_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Volume) volume = volume_get(tx, call, api_param(call, "id"), err);

    return volume && volume_out(tx, call, volume, VIEW_DETAIL, opaque, err);
}

void
volume_volume_show(ApiCall *call)
{
    api_answer_read(call, volume_show, 200);
}

static bool
volume_encryption(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Volume) volume = volume_get(tx, call, api_param(call, "id"), err);

    if (volume)
        *(json_t **)opaque = json_pack("{s:n}", "encryption_key_id");
    return volume != NULL;
}

void
volume_volume_encryption(ApiCall *call)
{
    api_answer_read(call, volume_encryption, 200);
}

static bool
volume_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Volume) volume = volume_get(tx, call, api_param(call, "id"), err);
    const json_t *body, *metadata;

    if (!volume || !json_need_object(call->body, "volume", &body, err))
        return false;
    if (json_object_size(body) == 0)
        return err_set(err, ERR_INVALID,
                       "'volume' is empty: name, description or metadata is expected.");
    if (!json_only_keys(body, err, "name", "description", "display_name", "display_description",
                        "metadata", NULL) ||
        !volume_read_names(body, &volume->name, &volume->description, err) ||
        !volume_read_texts(body, "metadata", &metadata, err))
        return false;
    if (metadata) {
        g_free(volume->metadata);
        volume->metadata = json_to_text(metadata);
    }
    volume->updated_at = clock_realtime();
    return store_update(tx, &VOLUME, volume, err) &&
           volume_out(tx, call, volume, VIEW_CREATED, opaque, err);
}

void
volume_volume_update(ApiCall *call)
{
    api_answer_write(call, volume_update, 200);
}

static bool
query_flag(ApiCall *call, const char *name, bool *on, GError **err)
{
    const char *text = api_query(call, name);

    *on = false;
    return !text || parse_bool(text, on) ||
           err_set(err, ERR_INVALID, "Invalid value '%s' of %s: true or false.", text, name);
}

static bool
delete_snapshots(StoreTx *tx, ApiCall *call, Volume *volume, GError **err)
{
    StoreCond where[] = {{"volume_id", STORE_EQ, volume->id, 0}, {0}};
    StoreQuery query = {.where = where, .order_by = "created_at"};
    g_autoptr(GPtrArray) snapshots = store_list(tx, &SNAPSHOT, &query, err);

    for (guint i = 0; snapshots && i < snapshots->len; i++) {
        Snapshot *snapshot = snapshots->pdata[i];

        if (snapshot->status != SNAPSHOT_DELETING &&
            !snapshot_submit(tx, call, "snapshot-delete", volume, snapshot, false, err))
            return false;
    }
    return snapshots != NULL;
}

static bool
volume_delete(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Volume) volume = volume_get(tx, call, api_param(call, "id"), err);
    bool cascade, force;
    (void)opaque;

    if (!volume || !query_flag(call, "cascade", &cascade, err) ||
        !query_flag(call, "force", &force, err))
        return false;
    if (force && !call->caller->is_admin)
        return err_set(err, ERR_FORBIDDEN,
                       "Policy doesn't allow volume_extension:volume_admin_actions:force_delete to "
                       "be performed: only administrators force a deletion.");
    if (force && !volume_force_status(tx, volume, err))
        return false;
    return (!cascade || delete_snapshots(tx, call, volume, err)) &&
           volume_submit(tx, call, "delete", volume, NULL, err);
}

void
volume_volume_delete(ApiCall *call)
{
    if (!api_write(call, volume_delete, NULL))
        return;
    api_wake(call);
    api_reply_empty(call, 202);
}
