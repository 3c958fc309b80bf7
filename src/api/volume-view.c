/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-view.c: volumes, snapshots and types as Cinder's clients read them, at each microversion
 */
#include <string.h>

#include "api/volume-priv.h"
#include "task/query.h"

json_t *
volume_time(int64_t realtime_us)
{
    g_autofree char *text = realtime_us ? clock_format(realtime_us, true) : NULL;

    if (text && g_str_has_suffix(text, "Z")) /* clients in Go read no zone here */
        text[strlen(text) - 1] = '\0';
    return json_text_or_null(text);
}

json_t *
volume_links(ApiCall *call, const char *collection, const char *id)
{
    const char *project = api_param(call, "project");
    g_autofree char *self = api_url(call->api, "/volume/v3/%s/%s/%s", project, collection, id);
    g_autofree char *bookmark = api_url(call->api, "/volume/%s/%s/%s", project, collection, id);

    return json_pack("[{s:s,s:s},{s:s,s:s}]", "rel", "self", "href", self, "rel", "bookmark",
                     "href", bookmark);
}

char *
volume_backend(ApiCall *call, bool with_pool)
{
    TaskEngine *tasks = api_config(call->api)->tasks;

    return g_strdup_printf("godwit@%s%s", tasks ? query_storage_driver(tasks) : "none",
                           with_pool ? "#volumes" : "");
}

/* What a guest has, or is letting go of; an attachment that is only reserved is none yet. */
static bool
view_attachments(StoreTx *tx, ApiCall *call, const Volume *volume, json_t **view, GError **err)
{
    StoreCond where[] = {{"volume_id", STORE_EQ, volume->id, 0}, {0}};
    StoreQuery query = {.where = where};
    g_autoptr(GPtrArray) attachments = store_list(tx, &ATTACHMENT, &query, err);

    *view = NULL;
    if (!attachments)
        return false;
    *view = json_array();
    for (guint i = 0; i < attachments->len; i++) {
        const Attachment *attachment = attachments->pdata[i];
        g_autoptr(Server) server = NULL;
        g_autofree char *device = g_strconcat("/dev/", attachment->device, NULL);

        if (attachment->state == ATTACHMENT_RESERVED)
            continue;
        if (call->caller->is_admin)
            server = store_get(tx, &SERVER, attachment->server_id, NULL);
        json_array_append_new(
            *view,
            json_pack("{s:s,s:s,s:s,s:s,s:o,s:s,s:o}", "id", volume->id, "attachment_id",
                      attachment->id, "volume_id", volume->id, "server_id", attachment->server_id,
                      "host_name", json_text_or_null(server ? server->host : NULL), "device",
                      device, "attached_at", volume_time(attachment->attached_at)));
    }
    return true;
}

static void
view_newer_members(StoreTx *tx, ApiCall *call, const Volume *volume, json_t *view)
{
    if (api_microversion_at_least(call, 13))
        json_object_set_new(view, "group_id", json_null());
    if (api_microversion_at_least(call, 21) && call->caller->is_admin)
        json_object_set_new(view, "provider_id", json_null());
    if (api_microversion_at_least(call, 48)) {
        json_object_set_new(view, "service_uuid", json_null());
        json_object_set_new(view, "shared_targets", json_false());
    }
    if (api_microversion_at_least(call, 61) && call->caller->is_admin)
        json_object_set_new(view, "cluster_name", json_null());
    if (api_microversion_at_least(call, 63)) {
        StoreCond where[] = {{"name", STORE_EQ, volume->volume_type, 0}, {0}};
        g_autoptr(VolumeType) type = store_find(tx, &VOLUME_TYPE, where, NULL);

        json_object_set_new(view, "volume_type_id", json_text_or_null(type ? type->id : NULL));
    }
    if (api_microversion_at_least(call, 65))
        json_object_set_new(view, "consumes_quota", json_true());
}

json_t *
view_volume(StoreTx *tx, ApiCall *call, const Volume *volume, ViewKind kind, GError **err)
{
    json_t *view, *metadata, *attachments;

    if (kind == VIEW_SUMMARY)
        return json_pack("{s:s,s:s,s:o}", "id", volume->id, "name", volume->name, "links",
                         volume_links(call, "volumes", volume->id));
    if (!view_attachments(tx, call, volume, &attachments, err))
        return NULL;
    metadata = json_parse_stored(volume->metadata, JSON_OBJECT);
    if (volume->read_only) /* where clients look for it */
        json_object_set_new(metadata, "readonly", json_string("True"));
    view = json_pack(
        "{s:s,s:s,s:I,s:o,s:o,s:o,s:o,s:s,s:o,s:s,s:o,s:o,s:o,s:o,s:s,s:s,s:b,s:n,s:n,s:b}", "id",
        volume->id, "status", volume_status_names[volume->status], "size",
        (json_int_t)volume->size_gb, "availability_zone",
        json_string(volume->availability_zone ? volume->availability_zone : VOLUME_ZONE),
        "created_at", volume_time(volume->created_at), "updated_at",
        volume_time(volume->updated_at), "attachments", attachments, "name", volume->name,
        "description", json_text_or_null(volume->description), "volume_type", volume->volume_type,
        "snapshot_id", json_text_or_null(volume->snapshot_id), "source_volid",
        json_text_or_null(volume->source_volume_id), "metadata", metadata, "links",
        volume_links(call, "volumes", volume->id), "user_id", volume->user_id, "bootable",
        volume->bootable ? "true" : "false", "encrypted", 0, "replication_status",
        "consistencygroup_id", "multiattach", 0);
    if (call->caller->is_admin)
        json_object_set_new(view, "migration_status", json_null());
    view_newer_members(tx, call, volume, view);
    if (kind != VIEW_DETAIL)
        return view;

    json_auto_t *image = json_parse_stored(volume->image_metadata, JSON_OBJECT);
    if (json_object_size(image) > 0)
        json_object_set(view, "volume_image_metadata", image);
    json_object_set_new(view, "os-vol-tenant-attr:tenant_id", json_string(volume->project_id));
    if (call->caller->is_admin) {
        g_autofree char *backend = volume_backend(call, true);

        json_object_set_new(view, "os-vol-host-attr:host", json_string(backend));
        json_object_set_new(view, "os-vol-mig-status-attr:migstat", json_null());
        json_object_set_new(view, "os-vol-mig-status-attr:name_id", json_null());
    }
    return view;
}

json_t *
view_snapshot(ApiCall *call, const Snapshot *snapshot, ViewKind kind)
{
    json_t *view = json_pack(
        "{s:s,s:s,s:o,s:s,s:s,s:I,s:o,s:o,s:o}", "id", snapshot->id, "name", snapshot->name,
        "description", json_text_or_null(snapshot->description), "volume_id", snapshot->volume_id,
        "status", snapshot_status_names[snapshot->status], "size", (json_int_t)snapshot->size_gb,
        "metadata", json_parse_stored(snapshot->metadata, JSON_OBJECT), "created_at",
        volume_time(snapshot->created_at), "updated_at", volume_time(snapshot->updated_at));

    if (kind == VIEW_DETAIL) {
        bool is_made = snapshot->status == SNAPSHOT_AVAILABLE;

        json_object_set_new(view, "os-extended-snapshot-attributes:project_id",
                            json_string(snapshot->project_id));
        json_object_set_new(view, "os-extended-snapshot-attributes:progress",
                            json_string(is_made ? "100%" : "0%"));
        if (api_microversion_at_least(call, 14))
            json_object_set_new(view, "group_snapshot_id", json_null());
    }
    if (api_microversion_at_least(call, 41))
        json_object_set_new(view, "user_id", json_string(snapshot->user_id));
    if (api_microversion_at_least(call, 65))
        json_object_set_new(view, "consumes_quota", json_true());
    return view;
}

/* The keys that Cinder shows to everybody; the others are the operator's. */
static bool
spec_is_for_all(const char *key)
{
    return strcmp(key, "multiattach") == 0 || strcmp(key, "RESKEY:availability_zones") == 0 ||
           strcmp(key, "replication_enabled") == 0;
}

json_t *
view_volume_type(ApiCall *call, const VolumeType *type)
{
    json_auto_t *stored = json_parse_stored(type->extra_specs, JSON_OBJECT);
    json_t *specs = json_object(), *view, *value;
    const char *key;

    json_object_foreach(stored, key, value)
    {
        if (call->caller->is_admin || spec_is_for_all(key))
            json_object_set(specs, key, value);
    }
    view = json_pack("{s:s,s:s,s:o,s:b,s:o}", "id", type->id, "name", type->name, "description",
                     json_text_or_null(type->description), "is_public", (int)type->is_public,
                     "extra_specs", specs);
    if (strcmp(call->route->method, "PUT") != 0)
        json_object_set_new(view, "os-volume-type-access:is_public", json_boolean(type->is_public));
    if (call->caller->is_admin && strcmp(call->route->method, "GET") == 0)
        json_object_set_new(view, "qos_specs_id", json_null());
    return view;
}
