/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-power.c: start, stop, reboot, pause, unpause, suspend, resume: actions that need no more
 * than their name
 *
 * What the state forbids is decided in the transaction that accepts the request. */
#include <string.h>

#include "api/compute-priv.h"

static const char *const reboot_words[] = {"SOFT", "Soft", "soft", "HARD", "Hard", "hard", NULL};

static const BodyMember reboot_members[] = {
    {.key = "type", .type = BODY_WORD, .required = true, .words = reboot_words},
    {0},
};

static const BodyMember start_body[] = {{.key = "os-start", .type = BODY_ANY}, {0}};
static const BodyMember stop_body[] = {{.key = "os-stop", .type = BODY_ANY}, {0}};
static const BodyMember reboot_body[] = {
    {.key = "reboot", .type = BODY_OBJECT, .members = reboot_members}, {0}};
static const BodyMember pause_body[] = {{.key = "pause", .type = BODY_ANY}, {0}};
static const BodyMember unpause_body[] = {{.key = "unpause", .type = BODY_ANY}, {0}};
static const BodyMember suspend_body[] = {{.key = "suspend", .type = BODY_ANY}, {0}};
static const BodyMember resume_body[] = {{.key = "resume", .type = BODY_ANY}, {0}};

static bool
power_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *action = opaque;
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    TaskRequest request = compute_task_request(call);
    int64_t task_id;

    return server &&
           task_submit(tx, action, server, call->caller->is_admin, &request, &task_id, err);
}

static void
power_submit(ApiCall *call, const char *action)
{
    if (!api_write(call, power_run, (void *)action))
        return;
    api_wake(call);
    api_reply_empty(call, 202);
}

/* The action's key is its name in the rules, too. */
static void
action_power(ApiCall *call, const json_t *arguments)
{
    (void)arguments;
    power_submit(call, json_object_iter_key(json_object_iter(call->body)));
}

static void
action_reboot(ApiCall *call, const json_t *arguments)
{
    bool hard = g_ascii_strcasecmp(body_text(arguments, "type"), "hard") == 0;

    power_submit(call, hard ? "reboot-hard" : "reboot-soft");
}

const ComputeAction compute_power_actions[] = {
    {"os-start", start_body, action_power},  {"os-stop", stop_body, action_power},
    {"reboot", reboot_body, action_reboot},  {"pause", pause_body, action_power},
    {"unpause", unpause_body, action_power}, {"suspend", suspend_body, action_power},
    {"resume", resume_body, action_power},   {0},
};
