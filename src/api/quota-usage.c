/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* quota-usage.c: what a project has of volumes and snapshots, and whether it may get more
 *
 * The rows are counted in the transaction that adds to them, instead of a count being kept beside
 * them: nothing can drift, and two requests at once cannot both take the last of a quota. */
#include <string.h>

#include "api/api-priv.h"

/* An extension counts from the request on; the row has the new size only when it is done. */
static bool
size_after_extension(StoreTx *tx, const Volume *volume, int64_t *size_gb, GError **err)
{
    StoreCond where[] = {
        {"volume_id", STORE_EQ, volume->id, 0}, {"status", STORE_EQ, NULL, TASK_OPEN}, {0}};
    g_autoptr(GPtrArray) tasks = store_list(tx, &TASK, &(StoreQuery){.where = where}, err);

    *size_gb = volume->size_gb;
    for (guint i = 0; tasks && i < tasks->len; i++) {
        const Task *task = tasks->pdata[i];
        json_auto_t *params = json_parse_stored(task->params, JSON_OBJECT);

        if (strcmp(task->kind, "volume-extend") == 0)
            *size_gb = MAX(*size_gb, json_integer_value(json_object_get(params, "size_gb")));
    }
    return tasks != NULL;
}

bool
api_quota_get(StoreTx *tx, const char *project_id, Quota *quota, GError **err)
{
    GError *error = NULL;
    g_autoptr(Quota) own = store_get(tx, &QUOTA, project_id, &error);

    if (!own && !err_is(error, ERR_NOT_FOUND)) {
        g_propagate_error(err, error);
        return false;
    }
    g_clear_error(&error);
    *quota = own ? *own : quota_defaults;
    quota->id = NULL;
    return true;
}

bool
api_quota_usage(StoreTx *tx, const char *project_id, QuotaUsage *usage, GError **err)
{
    StoreCond where[] = {{"project_id", STORE_EQ, project_id, 0}, {0}};
    StoreQuery query = {.where = where};
    g_autoptr(GPtrArray) volumes = NULL, snapshots = NULL;

    *usage = (QuotaUsage){0};
    volumes = store_list(tx, &VOLUME, &query, err);
    if (!volumes)
        return false;
    snapshots = store_list(tx, &SNAPSHOT, &query, err);
    if (!snapshots)
        return false;
    for (guint i = 0; i < volumes->len; i++) {
        const Volume *volume = volumes->pdata[i];
        int64_t size_gb = volume->size_gb;

        if (volume->status == VOLUME_EXTENDING && !size_after_extension(tx, volume, &size_gb, err))
            return false;
        usage->gigabytes += size_gb;
    }
    for (guint i = 0; i < snapshots->len; i++)
        usage->gigabytes += ((const Snapshot *)snapshots->pdata[i])->size_gb;
    usage->volumes = volumes->len;
    usage->snapshots = snapshots->len;
    return true;
}

bool
api_quota_permits(StoreTx *tx, const char *project_id, const QuotaUsage *more, GError **err)
{
    Quota quota;
    QuotaUsage used;

    return api_quota_get(tx, project_id, &quota, err) &&
           api_quota_usage(tx, project_id, &used, err) && quota_check(&quota, &used, more, err);
}
