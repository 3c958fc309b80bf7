/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-instance-action.c: what was asked of a server, and how it ended
 *
 * The history outlives the server: from 2.21 on it can be read after the delete, by whoever could
 * see the server. */
#include <string.h>

#include "api/compute-priv.h"

static const char *const names_58[] = {"limit", "marker", "changes-since", NULL};
static const char *const names_66[] = {"limit", "marker", "changes-since", "changes-before", NULL};

typedef struct ActionList {
    int64_t limit, changed_since, changed_before;
    const char *marker;
    GPtrArray *rows;   /* Action * */
    GPtrArray *events; /* ActionEvent * of the one action shown; else NULL */
    bool more;
} ActionList;

static void
action_list_clear(ActionList *list)
{
    g_clear_pointer(&list->rows, g_ptr_array_unref);
    g_clear_pointer(&list->events, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ActionList, action_list_clear)

static const char *
action_key(const void *record)
{
    return ((const Action *)record)->request_id;
}

static json_t *
view_action(ApiCall *call, const Action *action)
{
    json_t *view = json_pack(
        "{s:s,s:s,s:o,s:o,s:o,s:o,s:o}", "action", action->action, "instance_uuid",
        action->server_id, "request_id", json_text_or_null(action->request_id), "user_id",
        json_text_or_null(action->user_id), "project_id", json_text_or_null(action->project_id),
        "start_time", view_time_micros(action->started_at), "message",
        json_text_or_null(action->message));

    if (api_microversion_at_least(call, 58))
        json_object_set_new(view, "updated_at", view_time_micros(action->updated_at));
    return view;
}

static json_t *
view_event(ApiCall *call, const Action *action, const ActionEvent *event)
{
    bool is_admin = call->caller->is_admin;
    json_t *view =
        json_pack("{s:s,s:o,s:o,s:o}", "event", event->event, "start_time",
                  view_time_micros(event->started_at), "finish_time",
                  view_time_micros(event->finished_at), "result", json_text_or_null(event->result));

    if (is_admin)
        json_object_set_new(view, "traceback", json_null());
    if (api_microversion_at_least(call, 62)) {
        g_autofree char *host_id =
            api_host_id(action->project_id ? action->project_id : "", event->host);
        json_object_set_new(view, "hostId", json_string(host_id));
        if (is_admin)
            json_object_set_new(view, "host", json_text_or_null(event->host));
    }
    if (api_microversion_at_least(call, 84))
        json_object_set_new(view, "details", json_text_or_null(event->details));
    return view;
}

/* The actions of the server of the call that request_id (NULL: any) names. A server that is gone is
 * known by them. */
static bool
actions_find(StoreTx *tx, ApiCall *call, const char *request_id, ActionList *list, GError **err)
{
    const char *id = api_param(call, "id");
    GError *error = NULL;
    g_autoptr(Server) server = api_server_get(tx, call, id, &error);
    StoreCond where[6] = {{"server_id", STORE_EQ, id, 0}};
    size_t n = 1;
    StoreQuery query = {.where = where, .order_by = "id", .descending = true};

    if (!server && !(api_microversion_at_least(call, 21) && err_is(error, ERR_NOT_FOUND))) {
        g_propagate_error(err, error);
        return false;
    }
    if (!server && !call->caller->is_admin)
        where[n++] = (StoreCond){"project_id", STORE_EQ, call->caller->project_id, 0};
    if (request_id)
        where[n++] = (StoreCond){"request_id", STORE_EQ, request_id, 0};
    if (list->changed_since)
        where[n++] = (StoreCond){"updated_at", STORE_GE, NULL, list->changed_since};
    if (list->changed_before)
        where[n++] = (StoreCond){"updated_at", STORE_LE, NULL, list->changed_before};
    list->rows = store_list(tx, &ACTION, &query, err);
    if (!list->rows || (!server && list->rows->len == 0)) {
        if (list->rows)
            g_propagate_error(err, error);
        else
            g_clear_error(&error);
        return false;
    }
    g_clear_error(&error);
    return true;
}

static bool
actions_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    ActionList *list = opaque;

    return actions_find(tx, call, NULL, list, err) &&
           page_cut(list->rows, action_key, list->marker, list->limit, &list->more, err);
}

void
compute_actions_list(ApiCall *call)
{
    g_auto(ActionList) list = {.limit = API_PAGE_MAX};
    bool paged = api_microversion_at_least(call, 58);

    if (paged && (!query_accept(call, api_microversion_at_least(call, 66) ? names_66 : names_58) ||
                  !api_paging(call, &list.limit, &list.marker) ||
                  !query_time(call, "changes-since", &list.changed_since)))
        return;
    if (api_microversion_at_least(call, 66)) {
        if (!query_time(call, "changes-before", &list.changed_before))
            return;
        if (list.changed_before && list.changed_before < list.changed_since) {
            api_fault(call, 400,
                      "The value of changes-since must be less than or equal to changes-before.");
            return;
        }
    }
    if (!api_read(call, actions_run, &list))
        return;
    json_t *rows = json_array();
    for (guint i = 0; i < list.rows->len; i++)
        json_array_append_new(rows, view_action(call, list.rows->pdata[i]));
    json_t *body = json_pack("{s:o}", "instanceActions", rows);
    if (paged && list.more && list.rows->len > 0) {
        g_autofree char *path =
            g_strdup_printf("/compute/v2.1/servers/%s/os-instance-actions", api_param(call, "id"));
        json_object_set_new(
            body, "links", page_next(call, path, action_key(list.rows->pdata[list.rows->len - 1])));
    }
    api_reply(call, 200, body);
}

static bool
action_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    ActionList *list = opaque;
    const char *request_id = api_param(call, "request");

    if (!actions_find(tx, call, request_id, list, err))
        return false;
    if (list->rows->len == 0)
        return err_set(err, ERR_NOT_FOUND, "Action %s not found", request_id);
    StoreCond where[] = {{"action_id", STORE_EQ, NULL, ((Action *)list->rows->pdata[0])->id}, {0}};
    StoreQuery query = {.where = where, .order_by = "id", .descending = true};
    list->events = store_list(tx, &ACTION_EVENT, &query, err);
    return list->events != NULL;
}

void
compute_action_show(ApiCall *call)
{
    g_auto(ActionList) list = {0};

    if (!api_read(call, action_run, &list))
        return;
    const Action *action = list.rows->pdata[0];
    json_t *view = view_action(call, action);
    if (call->caller->is_admin || api_microversion_at_least(call, 51)) {
        json_t *events = json_array();
        for (guint i = 0; i < list.events->len; i++)
            json_array_append_new(events, view_event(call, action, list.events->pdata[i]));
        json_object_set_new(view, "events", events);
    }
    api_reply(call, 200, json_pack("{s:o}", "instanceAction", view));
}
