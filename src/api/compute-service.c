/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-service.c: os-services (one nova-compute for each host) and availability zones (the one,
 * "nova")
 *
 * From 2.53 on a service is named by its UUID and the body says what is to be; before, the path
 * says it (enable, disable, disable-log-reason, force-down) and the body names host and binary.
 * Both end in the same three fields of the host. */
#include <string.h>

#include "api/compute-priv.h"

static const char *const list_names[] = {"host", "binary", NULL};
static const char *const status_words[] = {"enabled", "disabled", NULL};

static bool
services_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    json_t **body = opaque;
    const char *name = api_query(call, "host"), *binary = api_query(call, "binary");
    StoreQuery query = {.order_by = "number"};
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, &query, err);
    json_t *rows;

    if (!hosts)
        return false;
    rows = json_array();
    for (guint i = 0; i < hosts->len; i++) {
        const Host *host = hosts->pdata[i];
        if ((!name || !*name || strcmp(name, host->name) == 0) &&
            (!binary || !*binary || strcmp(binary, "nova-compute") == 0))
            json_array_append_new(rows, view_service(call, host));
    }
    *body = json_pack("{s:o}", "services", rows);
    return true;
}

void
compute_services_list(ApiCall *call)
{
    if (!api_microversion_at_least(call, 75) || query_accept(call, list_names))
        api_answer_read(call, services_run, 200);
}

/* ---- changing
 * ---------------------------------------------------------------------------------------- */

typedef struct ServiceChange {
    const char *host, *id; /* either names it */
    bool set_enabled, enabled;
    bool set_forced_down, forced_down;
    const char *reason;
    Host *result;
} ServiceChange;

static bool
service_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    ServiceChange *change = opaque;
    StoreCond where[] = {
        {change->id ? "service_id" : "name", STORE_EQ, change->id ? change->id : change->host, 0},
        {0}};
    GError *error = NULL;
    Host *host = change->result = store_find(tx, &HOST, where, &error);
    (void)call;

    if (!host) {
        if (!err_is(error, ERR_NOT_FOUND)) {
            g_propagate_error(err, error);
            return false;
        }
        g_clear_error(&error);
        return change->id
                   ? err_set(err, ERR_NOT_FOUND, "Service %s could not be found.", change->id)
                   : err_set(err, ERR_NOT_FOUND, "Could not find binary nova-compute on host %s.",
                             change->host);
    }
    if (change->set_enabled) {
        host->enabled = change->enabled;
        text_set(&host->disabled_reason, change->enabled ? NULL : change->reason);
    }
    if (change->set_forced_down)
        host->forced_down = change->forced_down;
    host->updated_at = clock_realtime();
    return store_update(tx, &HOST, host, err);
}

static const BodyMember update_body[] = {
    {.key = "status", .type = BODY_WORD, .words = status_words},
    {.key = "disabled_reason", .type = BODY_TEXT, .least = 1, .most = 255},
    {.key = "forced_down", .type = BODY_BOOL},
    {0},
};

static void
service_update_by_id(ApiCall *call)
{
    ServiceChange change = {.id = api_param(call, "id")};
    const char *status;

    if (!uuid_is_valid(change.id)) {
        api_fault(call, 400, "Invalid uuid %s", change.id);
        return;
    }
    if (!body_accept(call, update_body))
        return;
    status = body_text(call->body, "status");
    change.set_enabled = status != NULL;
    change.enabled = g_strcmp0(status, "enabled") == 0;
    change.reason = body_text(call->body, "disabled_reason");
    change.set_forced_down = json_object_get(call->body, "forced_down") != NULL;
    change.forced_down = body_bool(call->body, "forced_down", false);
    if (change.enabled && change.reason) {
        api_fault(call, 400, "Specifying 'disabled_reason' with status 'enabled' is invalid.");
        return;
    }
    if (!change.set_enabled && !change.set_forced_down) {
        api_fault(call, 400,
                  "No updates were requested. Fields 'status' or 'forced_down' should "
                  "be specified.");
        return;
    }
    if (api_write(call, service_run, &change))
        api_reply(call, 200, json_pack("{s:o}", "service", view_service(call, change.result)));
    g_clear_pointer(&change.result, host_free);
}

static const BodyMember command_body[] = {
    {.key = "host", .type = BODY_HOST, .required = true},
    {.key = "binary", .type = BODY_TEXT, .required = true, .least = 1, .most = 255},
    {.key = "disabled_reason", .type = BODY_TEXT, .least = 1, .most = 255},
    {.key = "forced_down", .type = BODY_BOOL, .since = 11},
    {0},
};

static void
service_command(ApiCall *call)
{
    const char *command = api_param(call, "id");
    bool force = strcmp(command, "force-down") == 0 && api_microversion_at_least(call, 11);
    bool log = strcmp(command, "disable-log-reason") == 0;
    bool enable = strcmp(command, "enable") == 0;
    ServiceChange change = {0};
    const char *binary;

    if (!force && !log && !enable && strcmp(command, "disable") != 0) {
        api_fault(call, 404, "Unknown action");
        return;
    }
    if (!body_accept(call, command_body))
        return;
    change.host = body_text(call->body, "host");
    binary = body_text(call->body, "binary");
    if (strcmp(binary, "nova-compute") != 0) {
        api_fault(call, 400,
                  "Updating a %s service is not supported. Only nova-compute services can be "
                  "updated.",
                  binary);
        return;
    }
    if ((log && !json_object_get(call->body, "disabled_reason")) ||
        (force && !json_object_get(call->body, "forced_down"))) {
        api_fault(call, 400, "Missing %s field", log ? "disabled reason" : "forced_down");
        return;
    }
    change.set_enabled = !force;
    change.enabled = enable;
    change.set_forced_down = force;
    change.forced_down = body_bool(call->body, "forced_down", false);
    change.reason = log ? body_text(call->body, "disabled_reason") : NULL;
    if (api_write(call, service_run, &change)) {
        json_t *view = json_pack("{s:s,s:s}", "host", change.host, "binary", binary);
        if (force)
            json_object_set_new(view, "forced_down", json_boolean(change.forced_down));
        else
            json_object_set_new(view, "status", json_string(enable ? "enabled" : "disabled"));
        if (change.reason)
            json_object_set_new(view, "disabled_reason", json_string(change.reason));
        api_reply(call, 200, json_pack("{s:o}", "service", view));
    }
    g_clear_pointer(&change.result, host_free);
}

void
compute_service_update(ApiCall *call)
{
    if (api_microversion_at_least(call, 53))
        service_update_by_id(call);
    else
        service_command(call);
}

/* ---- availability zones
 * -------------------------------------------------------------------------------- */

static json_t *
zone_view(const GPtrArray *hosts, bool detail)
{
    json_t *names = json_object();
    bool available = false;

    for (guint i = 0; i < hosts->len; i++) {
        const Host *host = hosts->pdata[i];
        if (!host->enabled)
            continue;
        available = true;
        json_object_set_new(
            names, host->name,
            json_pack("{s:{s:b,s:b,s:o}}", "nova-compute", "available", host_is_up(host), "active",
                      1, "updated_at",
                      view_time_micros(host->facts_at ? host->facts_at : host->updated_at)));
    }
    json_t *view = json_pack("{s:[{s:s,s:{s:b},s:O}]}", "availabilityZoneInfo", "zoneName", "nova",
                             "zoneState", "available", available, "hosts",
                             detail && available ? names : json_null());
    json_decref(names);
    return view;
}

static bool
zones_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    GPtrArray **hosts = opaque;
    StoreQuery query = {.order_by = "name"};
    (void)call;

    *hosts = store_list(tx, &HOST, &query, err);
    return *hosts != NULL;
}

static void
zones_reply(ApiCall *call, bool detail)
{
    g_autoptr(GPtrArray) hosts = NULL;

    if (api_read(call, zones_run, &hosts))
        api_reply(call, 200, zone_view(hosts, detail));
}

void
compute_zones_list(ApiCall *call)
{
    zones_reply(call, false);
}

void
compute_zones_detail(ApiCall *call)
{
    zones_reply(call, true);
}
