/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-misc.c: attachments, the storage as Cinder's operators look at it, and what does not exist
 * here but clients ask for */
#include <string.h>

#include "api/volume-priv.h"
#include "task/query.h"

/* ---- attachments (microversion 3.27) ----------------------------------------------------------
 */

static const char *
attachment_status(const Attachment *attachment)
{
    switch (attachment->state) {
    case ATTACHMENT_RESERVED:
        return "attaching";
    case ATTACHMENT_ATTACHED:
        return "attached";
    case ATTACHMENT_DETACHING:
        return "detaching";
    }
    return "error";
}

static json_t *
view_attachment(const Attachment *attachment, bool detail)
{
    json_t *view = json_pack("{s:s,s:s,s:s,s:s}", "id", attachment->id, "status",
                             attachment_status(attachment), "instance", attachment->server_id,
                             "volume_id", attachment->volume_id);

    if (detail) {
        json_object_set_new(view, "attached_at", volume_time(attachment->attached_at));
        json_object_set_new(view, "detached_at", json_null());
        json_object_set_new(view, "attach_mode", json_string(attachment->read_only ? "ro" : "rw"));
        json_object_set_new(view, "connection_info", json_object());
    }
    return view;
}

static bool
attachment_is_visible(StoreTx *tx, ApiCall *call, const Attachment *attachment, bool all)
{
    g_autoptr(Volume) volume = store_get(tx, &VOLUME, attachment->volume_id, NULL);

    return volume && (all || g_strcmp0(volume->project_id, call->caller->project_id) == 0);
}

static bool
attachments_read(StoreTx *tx, ApiCall *call, bool detail, json_t **out, GError **err)
{
    const char *everybody = api_query(call, "all_tenants"), *volume = api_query(call, "volume_id");
    const char *server = api_query(call, "instance_id"), *status = api_query(call, "status");
    StoreQuery query = {.order_by = "created_at"};
    g_autoptr(GPtrArray) attachments = NULL;
    bool all = false;
    json_t *rows;

    if (everybody && *everybody && !parse_bool(everybody, &all))
        return err_set(err, ERR_INVALID, "Invalid value '%s' of all_tenants: true or false.",
                       everybody);
    attachments = store_list(tx, &ATTACHMENT, &query, err);
    if (!attachments)
        return false;
    rows = json_array();
    for (guint i = 0; i < attachments->len; i++) {
        const Attachment *attachment = attachments->pdata[i];

        if ((!volume || strcmp(volume, attachment->volume_id) == 0) &&
            (!server || strcmp(server, attachment->server_id) == 0) &&
            (!status || strcmp(status, attachment_status(attachment)) == 0) &&
            attachment_is_visible(tx, call, attachment, all && call->caller->is_admin))
            json_array_append_new(rows, view_attachment(attachment, detail));
    }
    *out = json_pack("{s:o}", "attachments", rows);
    return true;
}

static bool
attachments_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    return attachments_read(tx, call, false, opaque, err);
}

static bool
attachments_detail(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    return attachments_read(tx, call, true, opaque, err);
}

void
volume_attachments_list(ApiCall *call)
{
    api_answer_read(call, attachments_list, 200);
}

void
volume_attachments_detail(ApiCall *call)
{
    api_answer_read(call, attachments_detail, 200);
}

static bool
attachment_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *id = api_param(call, "id");
    g_autoptr(Attachment) attachment = store_get(tx, &ATTACHMENT, id, NULL);

    if (!attachment || !attachment_is_visible(tx, call, attachment, call->caller->is_admin))
        return err_set(err, ERR_NOT_FOUND,
                       "Volume attachment could not be found with filter: "
                       "attachment_id = %s.",
                       id);
    *(json_t **)opaque = json_pack("{s:o}", "attachment", view_attachment(attachment, true));
    return true;
}

void
volume_attachment_show(ApiCall *call)
{
    api_answer_read(call, attachment_show, 200);
}

void
volume_attachment_refuse(ApiCall *call)
{
    api_fault(call, 400,
              "A volume is attached and detached by its server: POST and DELETE "
              "…/servers/SERVER/os-volume_attachments of the compute service.");
}

/* ---- the storage ------------------------------------------------------------------------------
 */

void
volume_zones(ApiCall *call)
{
    api_reply(call, 200,
              json_pack("{s:[{s:s,s:{s:b}}]}", "availabilityZoneInfo", "zoneName", VOLUME_ZONE,
                        "zoneState", "available", 1));
}

/* This process is all of Cinder's services; that it answers says that it is up. */
void
volume_services(ApiCall *call)
{
    static const char *const binaries[] = {"cinder-scheduler", "cinder-volume"};
    const char *binary = api_query(call, "binary"), *host = api_query(call, "host");
    g_autofree char *backend = volume_backend(call, false);
    json_t *rows = json_array();

    for (size_t i = 0; i < G_N_ELEMENTS(binaries); i++) {
        bool is_volume = strcmp(binaries[i], "cinder-volume") == 0;
        const char *name = is_volume ? backend : "godwit";
        json_t *row;

        if ((binary && strcmp(binary, binaries[i]) != 0) || (host && strcmp(host, name) != 0))
            continue;
        row = json_pack("{s:s,s:s,s:s,s:s,s:s,s:n,s:o}", "binary", binaries[i], "host", name,
                        "zone", VOLUME_ZONE, "status", "enabled", "state", "up", "disabled_reason",
                        "updated_at", volume_time(clock_realtime()));
        if (is_volume) {
            json_object_set_new(row, "replication_status", json_string("disabled"));
            json_object_set_new(row, "active_backend_id", json_null());
            json_object_set_new(row, "frozen", json_false());
            if (api_microversion_at_least(call, 49))
                json_object_set_new(row, "backend_state", json_string("up"));
        }
        if (api_microversion_at_least(call, 7))
            json_object_set_new(row, "cluster", json_null());
        json_array_append_new(rows, row);
    }
    api_reply(call, 200, json_pack("{s:o}", "services", rows));
}

void
volume_service_refuse(ApiCall *call)
{
    api_fault(call, 400,
              "The volume services are this godwitd itself: they cannot be enabled or disabled one "
              "by one.");
}

static double
gigabytes(int64_t bytes)
{
    return (double)(bytes >> 20) / 1024;
}

static const char *
storage_protocol(const char *driver)
{
    return strcmp(driver, "rbd") == 0 ? "ceph" : "file";
}

static json_t *
view_pool(const char *name, const char *driver, const BlockPool *pool)
{
    return json_pack("{s:s,s:{s:s,s:s,s:s,s:s,s:f,s:f,s:f,s:i,s:b,s:b,s:b,s:o,s:o}}", "name", name,
                     "capabilities", "volume_backend_name", driver, "vendor_name", "Godwit",
                     "driver_version", GODWIT_VERSION, "storage_protocol", storage_protocol(driver),
                     "total_capacity_gb", gigabytes(pool->total), "free_capacity_gb",
                     gigabytes(pool->free_bytes), "allocated_capacity_gb", gigabytes(pool->used),
                     "reserved_percentage", 0, "QoS_support", 0, "multiattach", 0,
                     "thin_provisioning_support", 1, "updated", volume_time(clock_realtime()),
                     "timestamp", volume_time(clock_realtime()));
}

void
volume_pools(ApiCall *call)
{
    const char *text = api_query(call, "detail");
    TaskEngine *tasks = api_config(call->api)->tasks;
    g_autofree char *name = volume_backend(call, true);
    g_autoptr(GPtrArray) pools = NULL;
    GError *error = NULL;
    json_t *rows = NULL;
    bool detail = false;

    if (text && !parse_bool(text, &detail)) {
        api_fault(call, 400, "Invalid value '%s' of detail: true or false.", text);
        return;
    }
    if (!detail) {
        api_reply(call, 200, json_pack("{s:[{s:s}]}", "pools", "name", name));
        return;
    }
    pools = query_storage_pools(tasks, &error);
    if (!pools) {
        api_fail(call, error);
        return;
    }
    rows = json_array();
    for (guint i = 0; i < pools->len; i++) {
        const BlockPool *pool = pools->pdata[i];

        if (pool->purpose == BLOCK_FOR_VOLUMES)
            json_array_append_new(rows, view_pool(name, query_storage_driver(tasks), pool));
    }
    api_reply(call, 200, json_pack("{s:o}", "pools", rows));
}

void
volume_capabilities(ApiCall *call)
{
    const char *host = api_param(call, "id");
    g_autofree char *backend = volume_backend(call, false), *pool = volume_backend(call, true);
    const char *driver = strchr(backend, '@') + 1;
    g_autofree char *namespace = g_strconcat("OS::Storage::Capabilities::", backend, NULL);

    if (strcmp(host, backend) != 0 && strcmp(host, pool) != 0) {
        api_fault(call, 404, "Service %s could not be found: there is %s.", host, backend);
        return;
    }
    api_reply(call, 200,
              json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:n,s:n,s:n,s:[],s:{}}", "namespace", namespace,
                        "vendor_name", "Godwit", "volume_backend_name", driver, "pool_name",
                        "volumes", "driver_version", GODWIT_VERSION, "storage_protocol",
                        storage_protocol(driver), "display_name", "description", "visibility",
                        "replication_targets", "properties"));
}

/* What clients look for before they offer a command. */
void
volume_extensions(ApiCall *call)
{
    static const struct {
        const char *alias, *name;
    } extensions[] = {
        {"os-extended-snapshot-attributes", "ExtendedSnapshotAttributes"},
        {"os-quota-sets", "Quotas"},
        {"os-quota-class-sets", "QuotaClasses"},
        {"os-services", "Services"},
        {"os-types-extra-specs", "TypesExtraSpecs"},
        {"os-types-manage", "TypesManage"},
        {"os-vol-host-attr", "VolumeHostAttribute"},
        {"os-vol-image-meta", "VolumeImageMetadata"},
        {"os-vol-mig-status-attr", "VolumeMigStatusAttribute"},
        {"os-vol-tenant-attr", "VolumeTenantAttribute"},
        {"os-volume-actions", "VolumeActions"},
        {"os-volume-type-access", "VolumeTypeAccess"},
        {"os-admin-actions", "AdminActions"},
        {"os-availability-zone", "AvailabilityZones"},
        {"os-used-limits", "UsedLimits"},
        {"scheduler-stats", "Scheduler_stats"},
        {"capabilities", "Capabilities"},
    };
    json_t *rows = json_array();

    for (size_t i = 0; i < G_N_ELEMENTS(extensions); i++)
        json_array_append_new(rows, json_pack("{s:s,s:s,s:s,s:s,s:[]}", "alias",
                                              extensions[i].alias, "name", extensions[i].name,
                                              "description", extensions[i].name, "updated",
                                              "2023-08-31T00:00:00+00:00", "links"));
    api_reply(call, 200, json_pack("{s:o}", "extensions", rows));
}

/* ---- nothing of the kind ----------------------------------------------------------------------
 */

static const struct {
    const char *path, *collection, *noun;
} nothing[] = {
    {"backups", "backups", "Backup"},
    {"messages", "messages", "Message"},
    {"groups", "groups", "Group"},
    {"group_snapshots", "group_snapshots", "GroupSnapshot"},
    {"group_types", "group_types", "Group type"},
    {"consistencygroups", "consistencygroups", "ConsistencyGroup"},
    {"cgsnapshots", "cgsnapshots", "CgSnapshot"},
    {"os-volume-transfer", "transfers", "Transfer"},
    {"volume-transfers", "transfers", "Transfer"},
    {"qos-specs", "qos_specs", "QoS specs"},
    {"clusters", "clusters", "Cluster"},
    {"resource_filters", "resource_filters", "Resource filter"},
    {"default-types", "default_types", "Default volume type of project"},
};

static size_t
nothing_index(ApiCall *call)
{
    g_auto(GStrv) parts = g_strsplit(call->route->pattern, "/", 7);
    size_t i = 0;

    /* "", "volume", "v3", "{project}", the collection */
    while (i < G_N_ELEMENTS(nothing) - 1 && strcmp(nothing[i].path, parts[4]) != 0)
        i++;
    return i;
}

void
volume_nothing(ApiCall *call)
{
    api_reply(call, 200, json_pack("{s:[]}", nothing[nothing_index(call)].collection));
}

void
volume_nothing_there(ApiCall *call)
{
    api_fault(call, 404, "%s %s could not be found.", nothing[nothing_index(call)].noun,
              api_param(call, "id"));
}

void
volume_nothing_made(ApiCall *call)
{
    api_fault(call, 400, "%s: there are none here, and none can be made.",
              nothing[nothing_index(call)].noun);
}
