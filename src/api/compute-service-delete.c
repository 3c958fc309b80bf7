/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-service-delete.c: a nova-compute service goes, and with it its host: they are one row */
#include "api/compute-priv.h"
#include "task/host-change.h"

static bool
service_delete_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *id = api_param(call, "id");
    int64_t number = 0;
    bool by_uuid = api_microversion_at_least(call, 53);
    const StoreCond by_id[] = {{"service_id", STORE_EQ, id, 0}, {0}};
    StoreCond by_number[] = {{"number", STORE_EQ, NULL, 0}, {0}};
    g_autoptr(Host) host = NULL;

    if (by_uuid ? !uuid_is_valid(id) : !parse_int64(id, 1, INT64_MAX, &number))
        return err_set(err, ERR_INVALID, "Invalid %s %s", by_uuid ? "uuid" : "service id", id);
    by_number[0].num = number;
    host = store_find(tx, &HOST, by_uuid ? by_id : by_number, NULL);
    if (!host)
        return err_set(err, ERR_NOT_FOUND, "Service %s not found.", id);
    return task_host_remove(tx, host, false, err);
}

void
compute_service_delete(ApiCall *call)
{
    const ApiConfig *config = api_config(call->api);

    if (!api_write(call, service_delete_run, NULL))
        return;
    if (config->on_hosts_changed)
        config->on_hosts_changed(config->opaque);
    api_reply_empty(call, 204);
}
