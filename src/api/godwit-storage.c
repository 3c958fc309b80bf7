/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-storage.c: the storage in Godwit's own API: pools, key, orphans, flatten
 *
 * The pools are asked for while the caller waits, each call bounded by the storage's own deadline;
 * so are the new key and the sweep. A flatten copies for as long as it takes: it is a task. */
#include <string.h>

#include "api/godwit-priv.h"
#include "task/query.h"

/* ---- pools ------------------------------------------------------------------------------------
 */

static const char *
purpose_name(BlockPurpose purpose)
{
    switch (purpose) {
    case BLOCK_FOR_IMAGES:
        return "images";
    case BLOCK_FOR_SERVERS:
        return "instances";
    case BLOCK_FOR_VOLUMES:
        return "volumes";
    case BLOCK_PURPOSES:
        break;
    }
    return "unknown";
}

static json_t *
view_pool(ApiCall *call, const BlockPool *pool)
{
    return json_pack("{s:s,s:o,s:s,s:I,s:I,s:I,s:I,s:o}", "purpose", purpose_name(pool->purpose),
                     "name", json_text_or_null(pool->name), "driver",
                     query_storage_driver(api_config(call->api)->tasks), "total_bytes",
                     (json_int_t)pool->total, "used_bytes", (json_int_t)pool->used, "free_bytes",
                     (json_int_t)pool->free_bytes, "things", (json_int_t)pool->things, "trouble",
                     json_text_or_null(pool->trouble));
}

/* NULL: the fault has been replied. */
static GPtrArray *
storage_pools(ApiCall *call)
{
    GError *error = NULL;
    GPtrArray *pools = query_storage_pools(api_config(call->api)->tasks, &error);

    if (!pools)
        api_fail(call, error);
    return pools;
}

void
godwit_storage_list(ApiCall *call)
{
    g_autoptr(GPtrArray) pools = storage_pools(call);
    int64_t swept_at, foreign = task_last_foreign(&swept_at);
    json_t *rows;

    if (!pools)
        return;
    rows = json_array();
    for (guint i = 0; i < pools->len; i++)
        json_array_append_new(rows, view_pool(call, g_ptr_array_index(pools, i)));
    api_reply(call, 200,
              json_pack("{s:{s:s,s:o,s:{s:I,s:I}}}", "storage", "driver",
                        query_storage_driver(api_config(call->api)->tasks), "pools", rows,
                        "orphans", "foreign", (json_int_t)foreign, "swept_at",
                        (json_int_t)swept_at));
}

/* By purpose, or by the name of the pool: an operator knows both. */
void
godwit_storage_show(ApiCall *call)
{
    const char *wanted = api_param(call, "purpose");
    g_autoptr(GPtrArray) pools = storage_pools(call);

    if (!pools)
        return;
    for (guint i = 0; i < pools->len; i++) {
        const BlockPool *pool = g_ptr_array_index(pools, i);

        if (strcmp(purpose_name(pool->purpose), wanted) == 0 ||
            g_strcmp0(pool->name, wanted) == 0) {
            api_reply(call, 200, json_pack("{s:o}", "pool", view_pool(call, pool)));
            return;
        }
    }
    api_fault(call, 404,
              "There is no storage \"%s\": the pools are for images, instances and volumes.",
              wanted);
}

/* For the nodes, whose own tools may want it; a key is never in it. */
void
godwit_ceph_conf_show(ApiCall *call)
{
    GError *error = NULL;
    g_autofree char *text = query_ceph_conf(api_config(call->api)->tasks, &error);

    if (!text)
        api_fail(call, error);
    else
        api_reply(call, 200, json_pack("{s:{s:s}}", "ceph_conf", "text", text));
}

/* ---- key --------------------------------------------------------------------------------------
 */

/* "host1: ok" or "host1: why not"; a node's name has no colon. */
static json_t *
view_node_report(const char *line)
{
    const char *colon = strstr(line, ": ");
    g_autofree char *host = colon ? g_strndup(line, (size_t)(colon - line)) : g_strdup(line);
    const char *outcome = colon ? colon + 2 : "";
    bool has_key = strcmp(outcome, "ok") == 0;

    return json_pack("{s:s,s:b,s:o}", "host", host, "ok", (int)has_key, "reason",
                     json_text_or_null(has_key ? NULL : outcome));
}

/* A node that could not be reached is no failure of the whole: it is listed with its reason, and
 * gets the key when it connects. */
void
godwit_storage_rotate_key(ApiCall *call)
{
    g_autoptr(GPtrArray) report = NULL;
    GError *error = NULL;
    json_t *nodes;

    if (!query_storage_rotate_key(api_config(call->api)->tasks, &report, &error)) {
        api_fail(call, error);
        return;
    }
    nodes = json_array();
    for (guint i = 0; report && i < report->len; i++)
        json_array_append_new(nodes, view_node_report(g_ptr_array_index(report, i)));
    api_reply(call, 200, json_pack("{s:{s:o}}", "rotation", "nodes", nodes));
}

/* ---- orphans ----------------------------------------------------------------------------------
 */

void
godwit_storage_sweep(ApiCall *call)
{
    OrphanReport report = {0};
    GError *error = NULL;
    json_t *names;

    if (!task_sweep_orphans(api_config(call->api)->tasks, &report, &error)) {
        orphan_report_clear(&report);
        api_fail(call, error);
        return;
    }
    names = json_array();
    for (guint i = 0; report.foreign_names && i < report.foreign_names->len; i++)
        json_array_append_new(names, json_string(g_ptr_array_index(report.foreign_names, i)));
    api_reply(call, 200,
              json_pack("{s:{s:I,s:I,s:o}}", "sweep", "removed", (json_int_t)report.removed,
                        "foreign", (json_int_t)report.foreign, "foreign_names", names));
    orphan_report_clear(&report);
}

/* ---- flatten ----------------------------------------------------------------------------------
 */

typedef struct FlattenRequest {
    bool is_volume;
    int64_t task_id;
} FlattenRequest;

static bool
flatten_submit(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    FlattenRequest *flatten = opaque;
    const char *id = api_param(call, "id");
    const TaskRequest request = {
        .request_id = call->request_id,
        .user_id = call->caller->user_id,
        .project_id = call->caller->project_id,
    };
    g_autoptr(Server) server = NULL;
    g_autoptr(Volume) volume = NULL;

    if (flatten->is_volume) {
        volume = store_get(tx, &VOLUME, id, NULL);
        if (!volume)
            return err_set(err, ERR_NOT_FOUND, "Volume %s could not be found.", id);
    } else {
        server = api_server_get(tx, call, id, err);
        if (!server)
            return false;
    }
    return task_submit_flatten(tx, server, volume, &request, &flatten->task_id, err);
}

static void
flatten(ApiCall *call, bool is_volume)
{
    FlattenRequest request = {.is_volume = is_volume};

    if (!api_write(call, flatten_submit, &request))
        return;
    api_wake(call);
    api_reply(call, 202, json_pack("{s:{s:I}}", "task", "id", (json_int_t)request.task_id));
}

void
godwit_server_flatten(ApiCall *call)
{
    flatten(call, false);
}

void
godwit_volume_flatten(ApiCall *call)
{
    flatten(call, true);
}
