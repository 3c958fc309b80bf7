/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-quota.c: quotas and limits of volumes, snapshots and their gigabytes
 *
 * What Cinder knows beside these (backups, groups) does not exist here: its quota is 0, and cannot
 * be raised. Quotas are kept per project, not per type of volume. */
#include <stddef.h>
#include <string.h>

#include "api/volume-priv.h"

#define QUOTA_MAX INT64_C(0x7FFFFFFF)

static const struct QuotaResource {
    const char *name;
    ptrdiff_t limit, used; /* offsets; used -1: nothing is counted */
} resources[] = {
    {"volumes", offsetof(Quota, volumes), offsetof(QuotaUsage, volumes)},
    {"snapshots", offsetof(Quota, snapshots), offsetof(QuotaUsage, snapshots)},
    {"gigabytes", offsetof(Quota, gigabytes), offsetof(QuotaUsage, gigabytes)},
    {"per_volume_gigabytes", offsetof(Quota, per_volume_gigabytes), -1},
};
static const char *const absent[] = {"backups", "backup_gigabytes", "groups"};
static const char *const per_type[] = {"volumes", "snapshots", "gigabytes"};

static int64_t *
limit_of(Quota *quota, const struct QuotaResource *resource)
{
    return (int64_t *)(void *)((char *)quota + resource->limit);
}

static int64_t
used_of(const QuotaUsage *usage, const struct QuotaResource *resource)
{
    return resource->used < 0
               ? 0
               : *(const int64_t *)(const void *)((const char *)usage + resource->used);
}

static json_t *
quota_value(const QuotaUsage *usage, int64_t limit, int64_t used)
{
    return usage ? json_pack("{s:I,s:I,s:i}", "limit", (json_int_t)limit, "in_use",
                             (json_int_t)used, "reserved", 0)
                 : json_integer(limit);
}

/* usage NULL: plain numbers */
static json_t *
view_quota(const char *project, Quota *quota, const QuotaUsage *usage)
{
    json_t *view = json_pack("{s:s}", "id", project);

    for (size_t i = 0; i < G_N_ELEMENTS(resources); i++)
        json_object_set_new(view, resources[i].name,
                            quota_value(usage, *limit_of(quota, &resources[i]),
                                        usage ? used_of(usage, &resources[i]) : 0));
    for (size_t i = 0; i < G_N_ELEMENTS(absent); i++)
        json_object_set_new(view, absent[i], quota_value(usage, 0, 0));
    return view;
}

static bool
quota_is_visible(ApiCall *call, const char *project, GError **err)
{
    return caller_may_see(call->caller, project) ||
           err_set(err, ERR_FORBIDDEN,
                   "Policy doesn't allow volume_extension:quotas:show to be performed: only "
                   "administrators see the quotas of other projects.");
}

static bool
quota_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *project = api_param(call, "id"), *text = api_query(call, "usage");
    bool with_usage = false;
    QuotaUsage usage;
    Quota quota;

    if (text && !parse_bool(text, &with_usage))
        return err_set(err, ERR_INVALID, "Invalid value '%s' of usage: true or false.", text);
    if (!quota_is_visible(call, project, err) || !api_quota_get(tx, project, &quota, err) ||
        !api_quota_usage(tx, project, &usage, err))
        return false;
    *(json_t **)opaque =
        json_pack("{s:o}", "quota_set", view_quota(project, &quota, with_usage ? &usage : NULL));
    return true;
}

void
volume_quota_show(ApiCall *call)
{
    api_answer_read(call, quota_show, 200);
}

static void
defaults_reply(ApiCall *call, const char *key)
{
    Quota quota = quota_defaults;

    api_reply(call, 200, json_pack("{s:o}", key, view_quota(api_param(call, "id"), &quota, NULL)));
}

void
volume_quota_defaults(ApiCall *call)
{
    defaults_reply(call, "quota_set");
}

void
volume_quota_class(ApiCall *call)
{
    defaults_reply(call, "quota_class_set");
}

void
volume_quota_class_update(ApiCall *call)
{
    api_fault(
        call, 400,
        "The default quotas are fixed. Set the quota of each project that needs another one.");
}

/* ---- change -----------------------------------------------------------------------------------
 */

static const struct QuotaResource *
resource_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(resources); i++) {
        if (strcmp(resources[i].name, name) == 0)
            return &resources[i];
    }
    return NULL;
}

static bool
is_of_a_type(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(per_type); i++) {
        size_t length = strlen(per_type[i]);

        if (strncmp(name, per_type[i], length) == 0 && name[length] == '_')
            return true;
    }
    return false;
}

/* All that one can set is what there is anyway: 0 backups, no limit per type. */
static bool
check_fixed(const json_t *body, const char *name, GError **err)
{
    int64_t only = is_of_a_type(name) ? -1 : 0, value = only;

    if (!is_of_a_type(name) && strcmp(name, "backups") != 0 &&
        strcmp(name, "backup_gigabytes") != 0 && strcmp(name, "groups") != 0)
        return err_set(err, ERR_INVALID, "Bad key(s) in quota set: %.64s", name);
    if (!json_get_int(body, name, -1, QUOTA_MAX, &value, err))
        return false;
    if (value == only)
        return true;
    return err_set(err, ERR_INVALID,
                   only == 0
                       ? "The quota '%.64s' is 0: there are none here."
                       : "The quota '%.64s' is -1: quotas are kept per project, not per type.",
                   name);
}

static bool
quota_read(const json_t *body, Quota *quota, bool *is_changed, GError **err)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)body, name, value)
    {
        const struct QuotaResource *resource = resource_find(name);

        if (strcmp(name, "tenant_id") == 0 || strcmp(name, "force") == 0)
            continue;
        if (!resource) {
            if (!check_fixed(body, name, err))
                return false;
        } else if (!json_get_int(body, name, -1, QUOTA_MAX, limit_of(quota, resource), err)) {
            return false;
        }
        *is_changed = true;
    }
    return true;
}

static bool
quota_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *id = api_param(call, "id");
    g_autoptr(Project) project = store_get(tx, &PROJECT, id, NULL);
    g_autoptr(Quota) own = NULL;
    const json_t *body;
    json_t *view;
    Quota quota;
    bool is_changed = false;

    if (!project)
        return err_set(err, ERR_NOT_FOUND, "Project %s could not be found.", id);
    if (!json_need_object(call->body, "quota_set", &body, err) ||
        !api_quota_get(tx, id, &quota, err) || !quota_read(body, &quota, &is_changed, err))
        return false;
    if (!is_changed)
        return err_set(err, ERR_INVALID, "'quota_set' names no quota.");
    quota.id = (char *)id;
    own = store_get(tx, &QUOTA, id, NULL);
    if (!(own ? store_update(tx, &QUOTA, &quota, err) : store_insert(tx, &QUOTA, &quota, err)))
        return false;
    view = view_quota(id, &quota, NULL);
    json_object_del(view, "id"); /* Cinder's answer has none here */
    *(json_t **)opaque = json_pack("{s:o}", "quota_set", view);
    return true;
}

void
volume_quota_update(ApiCall *call)
{
    api_answer_write(call, quota_update, 200);
}

static bool
quota_delete(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    StoreCond where[] = {{"id", STORE_EQ, api_param(call, "id"), 0}, {0}};
    (void)opaque;

    return store_delete_where(tx, &QUOTA, where, err);
}

void
volume_quota_delete(ApiCall *call)
{
    api_answer_write(call, quota_delete, 200);
}

/* ---- limits -----------------------------------------------------------------------------------
 */

static bool
limits_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *asked = api_microversion_at_least(call, 39) ? api_query(call, "project_id") : NULL;
    const char *project = asked ? asked : call->caller->project_id;
    QuotaUsage usage;
    Quota quota;
    json_t *absolute;

    if (!quota_is_visible(call, project, err) || !api_quota_get(tx, project, &quota, err) ||
        !api_quota_usage(tx, project, &usage, err))
        return false;
    absolute = json_pack(
        "{s:I,s:I,s:I,s:i,s:i,s:I,s:I,s:I,s:i,s:i}", "maxTotalVolumes", (json_int_t)quota.volumes,
        "maxTotalVolumeGigabytes", (json_int_t)quota.gigabytes, "maxTotalSnapshots",
        (json_int_t)quota.snapshots, "maxTotalBackups", 0, "maxTotalBackupGigabytes", 0,
        "totalVolumesUsed", (json_int_t)usage.volumes, "totalGigabytesUsed",
        (json_int_t)usage.gigabytes, "totalSnapshotsUsed", (json_int_t)usage.snapshots,
        "totalBackupsUsed", 0, "totalBackupGigabytesUsed", 0);
    *(json_t **)opaque = json_pack("{s:{s:[],s:o}}", "limits", "rate", "absolute", absolute);
    return true;
}

void
volume_limits(ApiCall *call)
{
    api_answer_read(call, limits_show, 200);
}
