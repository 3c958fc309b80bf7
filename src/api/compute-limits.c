/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-limits.c: limits and quotas, and the lists that are empty here because there is nothing
 * of the kind
 *
 * No quota is set on servers, cores and memory: -1 says so. What has a fixed bound says that bound.
 */
#include <string.h>

#include "api/compute-priv.h"

enum {
    UNLIMITED = -1
};

static const char *const limits_names[] = {"tenant_id", "reserved", NULL};

typedef struct Usage {
    const char *project_id;
    int64_t servers, cores, ram_mb;
} Usage;

static bool
usage_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    Usage *usage = opaque;
    StoreCond where[] = {{"project_id", STORE_EQ, usage->project_id, 0},
                         {"vm_state", STORE_NE, NULL, VM_DELETED},
                         {0}};
    StoreQuery query = {.where = where};
    g_autoptr(GPtrArray) servers = store_list(tx, &SERVER, &query, err);
    (void)call;

    if (!servers)
        return false;
    usage->servers = servers->len;
    for (guint i = 0; i < servers->len; i++) {
        usage->cores += ((Server *)servers->pdata[i])->vcpus;
        usage->ram_mb += ((Server *)servers->pdata[i])->ram_mb;
    }
    return true;
}

void
compute_limits(ApiCall *call)
{
    const char *tenant = api_query(call, "tenant_id");
    Usage usage = {.project_id = tenant ? tenant : call->caller->project_id};

    if (api_microversion_at_least(call, 75) && !query_accept(call, limits_names))
        return;
    if (!caller_may_see(call->caller, usage.project_id)) {
        api_fault(call, 403,
                  "Policy doesn't allow os_compute_api:limits:other_project to be "
                  "performed: only administrators see the limits of other projects.");
        return;
    }
    if (!api_read(call, usage_run, &usage))
        return;
    const struct {
        const char *key;
        int64_t value;
        int until;
    } rows[] = {
        {"maxTotalInstances", UNLIMITED, 0},
        {"maxTotalCores", UNLIMITED, 0},
        {"maxTotalRAMSize", UNLIMITED, 0},
        {"maxTotalKeypairs", COMPUTE_KEYPAIRS_MAX, 0},
        {"maxServerMeta", COMPUTE_METADATA_MAX, 0},
        {"maxServerGroups", 0, 0},
        {"maxServerGroupMembers", 0, 0},
        {"totalInstancesUsed", usage.servers, 0},
        {"totalCoresUsed", usage.cores, 0},
        {"totalRAMUsed", usage.ram_mb, 0},
        {"totalServerGroupsUsed", 0, 0},
        {"maxPersonality", 0, 56},
        {"maxPersonalitySize", 0, 56},
        {"maxImageMeta", COMPUTE_METADATA_MAX, 38},
        {"maxSecurityGroups", 0, 35},
        {"maxSecurityGroupRules", 0, 35},
        {"maxTotalFloatingIps", 0, 35},
        {"totalFloatingIpsUsed", 0, 35},
        {"totalSecurityGroupsUsed", 0, 35},
    };
    json_t *absolute = json_object();
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].until == 0 || call->microversion <= rows[i].until)
            json_object_set_new(absolute, rows[i].key, json_integer(rows[i].value));
    }
    api_reply(call, 200, json_pack("{s:{s:[],s:o}}", "limits", "rate", "absolute", absolute));
}

static void
quota_reply(ApiCall *call, const Usage *usage, bool detail)
{
    const struct {
        const char *key;
        int64_t limit, used;
        int until;
    } rows[] = {
        {"instances", UNLIMITED, usage->servers, 0},
        {"cores", UNLIMITED, usage->cores, 0},
        {"ram", UNLIMITED, usage->ram_mb, 0},
        {"key_pairs", COMPUTE_KEYPAIRS_MAX, 0, 0},
        {"metadata_items", COMPUTE_METADATA_MAX, 0, 0},
        {"server_groups", 0, 0, 0},
        {"server_group_members", 0, 0, 0},
        {"injected_files", 0, 0, 56},
        {"injected_file_content_bytes", 0, 0, 56},
        {"injected_file_path_bytes", 0, 0, 56},
        {"fixed_ips", UNLIMITED, 0, 35},
        {"floating_ips", 0, 0, 35},
        {"security_groups", 0, 0, 35},
        {"security_group_rules", 0, 0, 35},
    };
    json_t *view = json_pack("{s:s}", "id", usage->project_id);

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].until > 0 && call->microversion > rows[i].until)
            continue;
        json_object_set_new(view, rows[i].key,
                            detail ? json_pack("{s:I,s:I,s:i}", "limit", (json_int_t)rows[i].limit,
                                               "in_use", (json_int_t)rows[i].used, "reserved", 0)
                                   : json_integer(rows[i].limit));
    }
    api_reply(call, 200, json_pack("{s:o}", "quota_set", view));
}

static void
quota_answer(ApiCall *call, bool detail)
{
    Usage usage = {.project_id = api_param(call, "id")};

    if (!caller_may_see(call->caller, usage.project_id)) {
        api_fault(call, 403,
                  "Policy doesn't allow os_compute_api:os-quota-sets:show to be "
                  "performed: only administrators see the quotas of other projects.");
        return;
    }
    if (!detail || api_read(call, usage_run, &usage))
        quota_reply(call, &usage, detail);
}

void
compute_quota_show(ApiCall *call)
{
    quota_answer(call, false);
}

void
compute_quota_detail(ApiCall *call)
{
    quota_answer(call, true);
}

void
compute_quota_defaults(ApiCall *call)
{
    Usage usage = {.project_id = api_param(call, "id")};

    quota_reply(call, &usage, false);
}

/* ---- nothing of the kind
 * ------------------------------------------------------------------------------- */

void
compute_aggregates(ApiCall *call)
{
    api_reply(call, 200, json_pack("{s:[]}", "aggregates"));
}

void
compute_server_groups(ApiCall *call)
{
    api_reply(call, 200, json_pack("{s:[]}", "server_groups"));
}

void
compute_extensions(ApiCall *call)
{
    api_reply(call, 200, json_pack("{s:[]}", "extensions"));
}

void
compute_extension_show(ApiCall *call)
{
    api_fault(call, 404, "The extension %s is not there: all of the API is in its microversions.",
              api_param(call, "alias"));
}
