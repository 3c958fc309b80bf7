/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* network-quota.c: the quotas of networks, read by clients that show all quotas of a project at
 * once
 *
 * None is kept: -1 says that there is no limit, 0 that there is nothing of the kind. */
#include "api/network-priv.h"

static const struct {
    const char *name;
    const RecordType *counted; /* NULL: there are none */
} quotas[] = {
    {"network", &NETWORK}, {"subnet", &SUBNET},      {"port", &PORT},
    {"floatingip", NULL},  {"rbac_policy", NULL},    {"router", NULL},
    {"subnetpool", NULL},  {"security_group", NULL}, {"security_group_rule", NULL},
};

static bool
quota_read(StoreTx *tx, ApiCall *call, bool detail, json_t **out, GError **err)
{
    const char *project = api_param(call, "project");
    StoreCond where[] = {{"project_id", STORE_EQ, project, 0}, {0}};
    json_auto_t *view = json_object();

    if (!caller_may_see(call->caller, project))
        return err_set(err, ERR_FORBIDDEN, "Only administrators see the quotas of other projects.");
    for (size_t i = 0; i < G_N_ELEMENTS(quotas); i++) {
        int limit = quotas[i].counted ? -1 : 0;
        int64_t used =
            detail && quotas[i].counted ? store_count(tx, quotas[i].counted, where, err) : 0;

        if (used < 0)
            return false;
        json_object_set_new(view, quotas[i].name,
                            detail ? json_pack("{s:i,s:I,s:i}", "limit", limit, "used",
                                               (json_int_t)used, "reserved", 0)
                                   : json_integer(limit));
    }
    *out = json_pack("{s:O}", "quota", view);
    return true;
}

static bool
quota_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    return quota_read(tx, call, false, opaque, err);
}

static bool
quota_details(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    return quota_read(tx, call, true, opaque, err);
}

void
network_quota_show(ApiCall *call)
{
    api_answer_read(call, quota_show, 200);
}

void
network_quota_details(ApiCall *call)
{
    api_answer_read(call, quota_details, 200);
}
