/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unasked.c: what happens to a server although nobody asked for it, told as the actions of users
 * are */
#include "task/unasked.h"

static char *
request_id_new(void)
{
    g_autofree char *uuid = uuid_new();

    return g_strconcat("req-", uuid, NULL);
}

bool
unasked_start(StoreTx *tx, Server *server, GError **err)
{
    const ActionRule *rule = action_rule_find("os-start");
    g_autofree char *request_id = request_id_new();
    const TaskRequest request = {
        .request_id = request_id, .user_id = "", .project_id = server->project_id};

    return !action_rule_permits(rule, server, true, NULL) ||
           task_submit(tx, rule->action, server, true, &request, NULL, err);
}

bool
unasked_stop_note(StoreTx *tx, const Server *server, const char *why, GError **err)
{
    int64_t now = clock_realtime();
    g_autofree char *request_id = request_id_new();
    Action action = {
        .request_id = request_id,
        .server_id = server->id,
        .project_id = server->project_id,
        .user_id = (char *)"",
        .action = (char *)"stop",
        .message = (char *)why,
        .started_at = now,
        .updated_at = now,
    };
    ActionEvent event = {
        .event = (char *)"compute_stop_instance",
        .host = server->host,
        .result = (char *)"Error",
        .details = (char *)why,
        .started_at = now,
        .finished_at = now,
    };

    if (!store_insert(tx, &ACTION, &action, err))
        return false;
    event.action_id = action.id;
    return store_insert(tx, &ACTION_EVENT, &event, err);
}
