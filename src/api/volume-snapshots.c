/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-snapshots.c: snapshots of volumes */
#include "api/volume-priv.h"

Snapshot *
snapshot_get(StoreTx *tx, ApiCall *call, const char *id, GError **err)
{
    g_autoptr(Snapshot) snapshot = store_get(tx, &SNAPSHOT, id, NULL);

    if (snapshot && caller_may_see(call->caller, snapshot->project_id))
        return g_steal_pointer(&snapshot);
    err_set(err, ERR_NOT_FOUND, "Snapshot %s could not be found.", id);
    return NULL;
}

static json_t *
snapshot_row(StoreTx *tx, ApiCall *call, const void *record, bool detail, GError **err)
{
    (void)tx;
    (void)err;
    return view_snapshot(call, record, detail ? VIEW_DETAIL : VIEW_SUMMARY);
}

static const struct ListFilter snapshot_filters[] = {
    {"id", "id"},
    {"name", "name"},
    {"display_name", "name"},
    {"description", "description"},
    {"status", "status"},
    {"volume_id", "volume_id"},
    {"user_id", "user_id"},
    {"size", "size_gb"},
    {"group_snapshot_id", NULL},
    {"cgsnapshot_id", NULL},
    {0},
};
static const char *const snapshot_json_filters[] = {"metadata", "metadata", NULL};
static const ListKind snapshot_list_kind = {
    .type = &SNAPSHOT,
    .collection = "snapshots",
    .noun = "Snapshot",
    .filters = snapshot_filters,
    .json_filters = snapshot_json_filters,
    .view = snapshot_row,
};

void
volume_snapshots_list(ApiCall *call)
{
    volume_list(call, &snapshot_list_kind, false);
}

void
volume_snapshots_detail(ApiCall *call)
{
    volume_list(call, &snapshot_list_kind, true);
}

static bool
snapshot_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Snapshot) snapshot = snapshot_get(tx, call, api_param(call, "id"), err);

    if (snapshot)
        *(json_t **)opaque =
            json_pack("{s:o}", "snapshot", view_snapshot(call, snapshot, VIEW_DETAIL));
    return snapshot != NULL;
}

void
volume_snapshot_show(ApiCall *call)
{
    api_answer_read(call, snapshot_show, 200);
}

/* From 3.66 on a volume in use is no reason to ask for force, and force: false makes no sense. */
static bool
read_force(ApiCall *call, const json_t *body, bool *force, GError **err)
{
    const json_t *given = json_object_get(body, "force");

    *force = false;
    if (!json_get_bool(body, "force", force, err))
        return false;
    if (!api_microversion_at_least(call, 66))
        return true;
    if (given && !*force)
        return err_set(err, ERR_INVALID,
                       "Invalid value for the 'force' parameter: from microversion 3.66 on it can "
                       "only be true, and is not needed.");
    *force = true;
    return true;
}

static bool
snapshot_create(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Snapshot) snapshot = record_new(&SNAPSHOT);
    g_autoptr(Volume) volume = NULL;
    const json_t *body, *metadata;
    const char *volume_id;
    bool force;
    QuotaUsage more = {.snapshots = 1};

    snapshot->id = uuid_new();
    snapshot->name = g_strdup("");
    if (!json_need_object(call->body, "snapshot", &body, err) ||
        !json_only_keys(body, err, "volume_id", "name", "display_name", "description",
                        "display_description", "force", "metadata", NULL) ||
        !json_need_text(body, "volume_id", VOLUME_TEXT_MAX, &volume_id, err) ||
        !volume_read_names(body, &snapshot->name, &snapshot->description, err) ||
        !volume_read_texts(body, "metadata", &metadata, err) ||
        !read_force(call, body, &force, err))
        return false;
    volume = volume_get(tx, call, volume_id, err);
    if (!volume)
        return false;
    snapshot->metadata = metadata ? json_to_text(metadata) : g_strdup("{}");
    snapshot->volume_id = g_strdup(volume->id);
    snapshot->project_id = g_strdup(volume->project_id);
    snapshot->user_id = g_strdup(call->caller->user_id);
    snapshot->status = SNAPSHOT_CREATING;
    snapshot->size_gb = more.gigabytes = volume->size_gb;
    snapshot->created_at = snapshot->updated_at = clock_realtime();
    if (!api_quota_permits(tx, snapshot->project_id, &more, err) ||
        !store_insert(tx, &SNAPSHOT, snapshot, err) ||
        !snapshot_submit(tx, call, "snapshot-create", volume, snapshot, force, err))
        return false;
    *(json_t **)opaque =
        json_pack("{s:o}", "snapshot", view_snapshot(call, snapshot, VIEW_CREATED));
    return true;
}

void
volume_snapshot_create(ApiCall *call)
{
    api_answer_write(call, snapshot_create, 202);
    api_wake(call);
}

static bool
snapshot_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Snapshot) snapshot = snapshot_get(tx, call, api_param(call, "id"), err);
    const json_t *body;

    if (!snapshot || !json_need_object(call->body, "snapshot", &body, err))
        return false;
    if (json_object_size(body) == 0)
        return err_set(err, ERR_INVALID, "'snapshot' is empty: name or description is expected.");
    if (!json_only_keys(body, err, "name", "description", "display_name", "display_description",
                        NULL) ||
        !volume_read_names(body, &snapshot->name, &snapshot->description, err))
        return false;
    snapshot->updated_at = clock_realtime();
    if (!store_update(tx, &SNAPSHOT, snapshot, err))
        return false;
    *(json_t **)opaque =
        json_pack("{s:o}", "snapshot", view_snapshot(call, snapshot, VIEW_CREATED));
    return true;
}

void
volume_snapshot_update(ApiCall *call)
{
    api_answer_write(call, snapshot_update, 200);
}

static bool
snapshot_delete(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Snapshot) snapshot = snapshot_get(tx, call, api_param(call, "id"), err);
    g_autoptr(Volume) volume = snapshot ? store_get(tx, &VOLUME, snapshot->volume_id, err) : NULL;
    (void)opaque;

    return volume && snapshot_submit(tx, call, "snapshot-delete", volume, snapshot, false, err);
}

void
volume_snapshot_delete(ApiCall *call)
{
    api_answer_write(call, snapshot_delete, 202);
    api_wake(call);
}
