/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* quota-usage.c: what a project has of volumes and snapshots, and whether it may get more
 *
 * The rows are counted in the transaction that adds to them, instead of a count being kept beside
 * them: nothing can drift, and two requests at once cannot both take the last of a quota. */
#include "api/api-priv.h"

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
    for (guint i = 0; i < volumes->len; i++)
        usage->gigabytes += ((const Volume *)volumes->pdata[i])->size_gb;
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
