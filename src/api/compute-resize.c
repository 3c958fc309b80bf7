/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-resize.c: migrate, resize, confirmResize, revertResize: to another size, or to another
 * node while it is off
 *
 * Both are one operation: a cold migration is a resize to the same flavor that must leave the node.
 * Which node takes it is judged where the request is accepted, so that what cannot be is refused at
 * once. */
#include <string.h>

#include "api/compute-priv.h"

static const char *const disk_config_words[] = {"AUTO", "MANUAL", NULL};

static const BodyMember migrate_members[] = {
    {.key = "host", .type = BODY_HOST_OR_NULL},
    {0},
};
static const BodyMember resize_members[] = {
    {.key = "flavorRef", .type = BODY_REF, .required = true},
    {.key = "OS-DCF:diskConfig", .type = BODY_WORD, .words = disk_config_words},
    {0},
};

static const BodyMember migrate_body[] = {
    {.key = "migrate", .type = BODY_ANY, .until = 55},
    {.key = "migrate", .type = BODY_OBJECT_OR_NULL, .since = 56, .members = migrate_members},
    {0},
};
static const BodyMember resize_body[] = {
    {.key = "resize", .type = BODY_OBJECT, .members = resize_members}, {0}};
static const BodyMember confirm_body[] = {{.key = "confirmResize", .type = BODY_ANY}, {0}};
static const BodyMember revert_body[] = {{.key = "revertResize", .type = BODY_ANY}, {0}};

/* ---- to another size or node --------------------------------------------------------------------
 */

/* What a resize starts with is a graceful power-off: a node that is down cannot do it. */
static bool
source_is_up(StoreTx *tx, const Server *server, GError **err)
{
    GError *error = NULL;
    g_autoptr(Host) host = server->host ? host_find(tx, server->host, &error) : NULL;

    if (error) {
        g_propagate_error(err, error);
        return false;
    }
    if (!host)
        return err_set(err, ERR_CONFLICT, "Instance %s is on no host: there is nothing to move.",
                       server->id);
    return host_is_up(host) ||
           err_set(err, ERR_CONFLICT,
                   "Service is unavailable at this time: host %s, where instance %s is, is %s. "
                   "Bring it up again; if it is dead, 'nova evacuate' starts the instance "
                   "elsewhere.",
                   host->name, server->id,
                   host->forced_down ? "forced down" : host_state_names[host->state]);
}

static Flavor *
resize_flavor(StoreTx *tx, ApiCall *call, const char *id, GError **err)
{
    static const char unknown[] =
        "Flavor %s could not be found. 'openstack flavor list --all' shows those that there are.";
    GError *error = NULL;
    g_autoptr(Flavor) flavor = store_get(tx, &FLAVOR, id, &error);

    if (!flavor)
        create_reference_fail(error, err, unknown, id);
    else if (!flavor->is_public && !call->caller->is_admin)
        err_set(err, ERR_INVALID, unknown, id);
    else
        return g_steal_pointer(&flavor);
    return NULL;
}

/* What was asked of the flavor when the server was created holds for the next one, too; for its
 * disk it does so by itself, as that never shrinks. An image that was deleted since asks for
 * nothing. */
static bool
flavor_suits_image(StoreTx *tx, const Server *server, const Flavor *flavor, GError **err)
{
    GError *error = NULL;
    g_autoptr(Image) image =
        *server->image_id ? store_get(tx, &IMAGE, server->image_id, &error) : NULL;

    if (error && !err_is(error, ERR_NOT_FOUND)) {
        g_propagate_error(err, error);
        return false;
    }
    g_clear_error(&error);
    return !image || flavor->ram_mb >= image->min_ram_mb ||
           err_set(err, ERR_INVALID,
                   "Flavor's memory is too small for requested image: flavor %s has %" PRId64
                   " MB, image %s of instance %s needs %" PRId64 " MB.",
                   flavor->name, flavor->ram_mb, image->id, server->id, image->min_ram_mb);
}

bool
compute_resize_submit(StoreTx *tx, ApiCall *call, ComputeResize *resize, GError **err)
{
    bool is_admin = call->caller->is_admin;
    const ActionRule *rule = action_rule_find(resize->flavor ? "resize" : "migrate");
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    TaskRequest request = compute_task_request(call);
    g_autoptr(Flavor) flavor = NULL;

    if (!server || !action_rule_permits(rule, server, is_admin, err) ||
        !source_is_up(tx, server, err))
        return false;
    if (resize->flavor) {
        flavor = resize_flavor(tx, call, resize->flavor, err);
        if (!flavor || !flavor_suits_image(tx, server, flavor, err))
            return false;
    }
    return task_submit_resize(tx, server, flavor, resize->host, is_admin, &request,
                              &resize->migration_id, err);
}

static bool
resize_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    return compute_resize_submit(tx, call, opaque, err);
}

static void
resize_answer(ApiCall *call, ComputeResize *resize)
{
    if (!api_write(call, resize_run, resize))
        return;
    api_wake(call);
    compute_migration_header(call, resize->migration_id);
    api_reply_empty(call, 202);
}

static void
action_migrate(ApiCall *call, const json_t *arguments)
{
    ComputeResize resize = {.host = body_text(arguments, "host")};

    if (!compute_manager_needed(call, "os-migrate-server:migrate") ||
        (resize.host && !compute_admin_needed(call, "os-migrate-server:migrate:host")))
        return;
    if (resize.host && !api_microversion_at_least(call, 56)) {
        api_fault(call, 400,
                  "A host can be chosen for 'migrate' from microversion 2.56 on; the request is at "
                  "2.%d. Raise --os-compute-api-version, or leave the host out.",
                  call->microversion);
        return;
    }
    resize_answer(call, &resize);
}

static void
action_resize(ApiCall *call, const json_t *arguments)
{
    g_autofree char *text = body_ref(arguments, "flavorRef");
    char *slash = strrchr(text, '/'); /* a link to the flavor will do as well */
    ComputeResize resize = {.flavor = slash && slash[1] ? slash + 1 : text};

    resize_answer(call, &resize);
}

/* ---- and what comes after -----------------------------------------------------------------------
 */

static bool
end_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *action = opaque;
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    TaskRequest request = compute_task_request(call);

    return server &&
           task_submit_end_resize(tx, action, server, call->caller->is_admin, &request, err);
}

static void
end_submit(ApiCall *call, const char *action, int status)
{
    if (!api_write(call, end_run, (void *)action))
        return;
    api_wake(call);
    api_reply_empty(call, status);
}

static void
action_confirm(ApiCall *call, const json_t *arguments)
{
    (void)arguments;
    end_submit(call, "confirmResize", 204);
}

static void
action_revert(ApiCall *call, const json_t *arguments)
{
    (void)arguments;
    end_submit(call, "revertResize", 202);
}

const ComputeAction compute_resize_actions[] = {
    {"migrate", migrate_body, action_migrate},
    {"resize", resize_body, action_resize},
    {"confirmResize", confirm_body, action_confirm},
    {"revertResize", revert_body, action_revert},
    {0},
};
