/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-rescue.c: a node is dead: its servers are brought up elsewhere, all of them or one; and
 * what of it is shut out of the storage
 *
 * Each server is an evacuation of its own, accepted in a transaction of its own: one that cannot be
 * rescued does not hold up the others, and its reason stands in its row of the answer. What Nova's
 * request has no place for is here: the word of an administrator that the node is off, where
 * nothing else can make sure of it. It is kept in the migration's record. */
#include <string.h>

#include "api/compute-priv.h"
#include "api/godwit-priv.h"

#define OVERRIDE_MAX 255

/* {"dest", "override", "stopped"}, all optional; no body: none. false: replied 400. */
static bool
rescue_read(ApiCall *call, EvacuateRequest *request)
{
    GError *error = NULL;

    if (!call->body ||
        (json_only_keys(call->body, &error, "dest", "override", "stopped", NULL) &&
         json_get_name(call->body, "dest", 255, &request->dest, &error) &&
         json_get_name(call->body, "override", OVERRIDE_MAX, &request->override, &error) &&
         json_get_bool(call->body, "stopped", &request->leave_stopped, &error))) {
        if (!request->override || strspn(request->override, " ") < strlen(request->override))
            return true;
        err_set(&error, ERR_INVALID,
                "'override' must say why it is certain that the node is off: it is kept in the "
                "record.");
    }
    api_fail(call, error);
    return false;
}

/* ---- one server ---------------------------------------------------------------------------------
 */

typedef struct RescueOne {
    ComputeEvacuate evacuate;
    json_t *view; /* of its migration */
} RescueOne;

static bool
rescue_one(StoreTx *tx, ApiCall *call, RescueOne *one, GError **err)
{
    g_autoptr(Migration) move = NULL;

    if (!compute_evacuate_submit(tx, call, &one->evacuate, err))
        return false;
    move = store_get_int(tx, &MIGRATION, one->evacuate.migration_id, err);
    if (!move)
        return false;
    one->view = godwit_migration_view(tx, call, move);
    return true;
}

static bool
rescue_one_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    return rescue_one(tx, call, opaque, err);
}

void
godwit_server_evacuate(ApiCall *call)
{
    RescueOne one = {.evacuate.server_id = api_param(call, "id")};

    if (!rescue_read(call, &one.evacuate.request))
        return;
    if (!api_write(call, rescue_one_run, &one)) {
        json_decref(one.view);
        return;
    }
    api_wake(call);
    api_reply(call, 202, json_pack("{s:o}", "migration", one.view));
}

/* ---- all servers of a node ----------------------------------------------------------------------
 */

typedef struct HostServers {
    const char *host, *dest;
    GPtrArray *servers; /* Server * */
} HostServers;

/* What holds for all of them is said once: no such node, or it is up. */
static bool
host_servers_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    HostServers *found = opaque;
    const char *const names[] = {found->host, found->dest};
    const StoreCond where[] = {
        {"host", STORE_EQ, found->host, 0}, {"vm_state", STORE_NE, NULL, VM_DELETED}, {0}};
    const StoreQuery query = {.where = where, .order_by = "name"};

    (void)call;
    for (size_t i = 0; i < G_N_ELEMENTS(names) && names[i]; i++) {
        GError *error = NULL;
        g_autoptr(Host) host = host_find(tx, names[i], &error);

        if (error) {
            g_propagate_error(err, error);
            return false;
        }
        if (!host)
            return err_set(err, ERR_NOT_FOUND,
                           "Host %s is not known; `godwit host list` shows those that are.",
                           names[i]);
        if (i == 0 && host_is_up(host))
            return err_set(err, ERR_CONFLICT,
                           "Host %s is up: nothing has to be rescued from it. Move its servers "
                           "with 'nova host-evacuate-live'. If it is dead all the same, say so "
                           "first, with 'godwit host forced-down %s'.",
                           host->name, host->name);
    }
    if (g_strcmp0(found->host, found->dest) == 0)
        return err_set(err, ERR_INVALID, "Host %s is the one that is dead: name another as 'dest'.",
                       found->host);
    found->servers = store_list(tx, &SERVER, &query, err);
    return found->servers != NULL;
}

typedef struct RescueTx {
    ApiCall *call;
    RescueOne *one;
} RescueTx;

static bool
rescue_tx_run(StoreTx *tx, void *opaque, GError **err)
{
    RescueTx *run = opaque;

    return rescue_one(tx, run->call, run->one, err);
}

static json_t *
rescue_row(ApiCall *call, const Server *server, const EvacuateRequest *request)
{
    RescueOne one = {.evacuate = {.server_id = server->id, .request = *request}};
    RescueTx run = {call, &one};
    GError *error = NULL;
    json_t *row = json_pack("{s:{s:s,s:s},s:n,s:n}", "server", "id", server->id, "name",
                            server->name ? server->name : "", "migration", "error");

    if (store_write(api_config(call->api)->store, rescue_tx_run, &run, &error)) {
        json_object_set_new(row, "migration", one.view);
    } else {
        json_decref(one.view);
        json_object_set_new(row, "error",
                            json_pack("{s:s,s:s}", "name", err_code_name(err_code(error)),
                                      "message", error->message));
        g_clear_error(&error);
    }
    return row;
}

void
godwit_host_rescue(ApiCall *call)
{
    EvacuateRequest request = {0};
    HostServers found = {.host = api_param(call, "name")};
    json_t *rows;

    if (!rescue_read(call, &request))
        return;
    found.dest = request.dest;
    if (!api_read(call, host_servers_read, &found))
        return;
    log_event(LOG_LEVEL_NOTICE, "api", "the servers of a host are to be rescued", "host",
              found.host, "override", request.override ? request.override : "", "user",
              call->caller->user_name, "request_id", call->request_id, NULL);
    rows = json_array();
    for (guint i = 0; i < found.servers->len; i++)
        json_array_append_new(rows, rescue_row(call, found.servers->pdata[i], &request));
    g_ptr_array_unref(found.servers);
    api_wake(call);
    api_reply(call, 202, json_pack("{s:o}", "rescue", rows));
}

/* ---- fences -------------------------------------------------------------------------------------
 */

static bool
fences_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *host = api_query(call, "host");
    StoreCond where[2] = {{0}};
    const StoreQuery query = {.where = where, .order_by = "id"};
    g_autoptr(GPtrArray) fences = NULL;
    json_t *rows;

    if (host)
        where[0] = (StoreCond){"host", STORE_EQ, host, 0};
    fences = store_list(tx, &FENCE, &query, err);
    if (!fences)
        return false;
    rows = json_array();
    for (guint i = 0; i < fences->len; i++) {
        const Fence *fence = fences->pdata[i];
        g_autoptr(Server) server =
            *fence->server_id ? store_get(tx, &SERVER, fence->server_id, NULL) : NULL;

        json_array_append_new(
            rows,
            json_pack("{s:I,s:s,s:s,s:o,s:o,s:I,s:I}", "id", (json_int_t)fence->id, "host",
                      fence->host, "address", fence->address, "server_id",
                      json_text_or_null(*fence->server_id ? fence->server_id : NULL), "server_name",
                      json_text_or_null(server ? server->name : NULL), "expires_at",
                      (json_int_t)fence->expires_at, "created_at", (json_int_t)fence->created_at));
    }
    *(json_t **)opaque = json_pack("{s:o}", "fences", rows);
    return true;
}

void
godwit_fences_list(ApiCall *call)
{
    api_answer_read(call, fences_read, 200);
}
