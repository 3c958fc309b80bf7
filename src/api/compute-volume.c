/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-volume.c: …/servers/ID/os-volume_attachments: the volumes of a server
 *
 * A request is judged in the order in which Nova judges it: the server and its state, then the
 * volume. What Nova calls a bad request although it is a conflict of states (a volume that is not
 * available, or attached already) is one here too, because clients tell the two apart. The rows and
 * the task that makes them true are task/'s. */
#include <string.h>

#include "api/compute-priv.h"
#include "api/volume-priv.h"

static const BodyMember attach_members[] = {
    {.key = "volumeId", .type = BODY_UUID, .required = true},
    {.key = "device", .type = BODY_TEXT_OR_NULL, .most = 255},
    {.key = "tag", .type = BODY_TAG, .since = 49},
    {.key = "delete_on_termination", .type = BODY_BOOL, .since = 79},
    {0},
};
static const BodyMember attach_body[] = {
    {.key = "volumeAttachment", .type = BODY_OBJECT, .required = true, .members = attach_members},
    {0},
};

static const BodyMember update_members[] = {
    {.key = "volumeId", .type = BODY_UUID, .required = true},
    {.key = "id", .type = BODY_UUID, .since = 85},
    {.key = "serverId", .type = BODY_UUID, .since = 85},
    {.key = "device", .type = BODY_TEXT_OR_NULL, .since = 85, .most = 255},
    {.key = "tag", .type = BODY_TEXT_OR_NULL, .since = 85, .most = 255},
    {.key = "delete_on_termination", .type = BODY_BOOL, .since = 85},
    {0},
};
static const BodyMember update_body[] = {
    {.key = "volumeAttachment", .type = BODY_OBJECT, .required = true, .members = update_members},
    {0},
};

/* ---- views -------------------------------------------------------------------------------------
 */

static json_t *
attachment_view(ApiCall *call, const Attachment *attachment)
{
    g_autofree char *device = g_strconcat("/dev/", attachment->device, NULL);
    json_t *view = json_pack("{s:s,s:s,s:s}", "volumeId", attachment->volume_id, "serverId",
                             attachment->server_id, "device", device);

    if (!api_microversion_at_least(call, 89))
        json_object_set_new(view, "id", json_string(attachment->volume_id));
    if (api_microversion_at_least(call, 70))
        json_object_set_new(view, "tag", json_text_or_null(attachment->tag));
    if (api_microversion_at_least(call, 79))
        json_object_set_new(view, "delete_on_termination",
                            json_boolean(attachment->delete_on_termination));
    if (api_microversion_at_least(call, 89)) {
        json_object_set_new(view, "attachment_id", json_string(attachment->id));
        json_object_set_new(view, "bdm_uuid", json_string(attachment->id));
    }
    return view;
}

int
attachment_compare(const void *a, const void *b)
{
    const Attachment *x = *(Attachment *const *)a, *y = *(Attachment *const *)b;
    size_t x_length = strlen(x->device), y_length = strlen(y->device);

    return x_length != y_length ? (x_length < y_length ? -1 : 1) : strcmp(x->device, y->device);
}

/* ---- finding -----------------------------------------------------------------------------------
 */

/* The attachment that the path names; ERR_NOT_FOUND in Nova's words. */
static Attachment *
attachment_get(StoreTx *tx, const Server *server, const char *volume_id, GError **err)
{
    StoreCond where[] = {
        {"volume_id", STORE_EQ, volume_id, 0}, {"server_id", STORE_EQ, server->id, 0}, {0}};
    GError *error = NULL;
    Attachment *attachment = store_find(tx, &ATTACHMENT, where, &error);

    if (attachment)
        return attachment;
    if (err_is(error, ERR_NOT_FOUND)) {
        g_clear_error(&error);
        err_set(err, ERR_NOT_FOUND, "Instance %s is not attached to volume %s", server->id,
                volume_id);
        return NULL;
    }
    g_propagate_error(err, error);
    return NULL;
}

/* ---- list, show --------------------------------------------------------------------------------
 */

static bool
attachments_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    GPtrArray **rows = opaque;
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);

    if (!server)
        return false;
    StoreCond where[] = {{"server_id", STORE_EQ, server->id, 0}, {0}};
    StoreQuery query = {.where = where};
    *rows = store_list(tx, &ATTACHMENT, &query, err);
    if (!*rows)
        return false;
    g_ptr_array_sort(*rows, attachment_compare);
    return true;
}

/* offset and limit of a list that is never long; offset has no other user in this service. */
static bool
attachments_page(ApiCall *call, int64_t *first, int64_t *limit)
{
    const char *offset = api_query(call, "offset"), *marker;

    *first = 0;
    if (offset && !parse_int64(offset, 0, BODY_INT_MAX, first)) {
        api_fault(call, 400, "Invalid input for query parameter offset: '%s' is no number from 0.",
                  offset);
        return false;
    }
    return api_paging(call, limit, &marker);
}

void
compute_attachments_list(ApiCall *call)
{
    static const char *const names[] = {"limit", "offset", NULL};
    g_autoptr(GPtrArray) rows = NULL;
    int64_t first, limit;

    if ((api_microversion_at_least(call, 75) && !query_accept(call, names)) ||
        !attachments_page(call, &first, &limit) || !api_read(call, attachments_list, &rows))
        return;
    json_t *list = json_array();
    for (int64_t i = first; i < rows->len && i - first < limit; i++)
        json_array_append_new(list, attachment_view(call, rows->pdata[i]));
    api_reply(call, 200, json_pack("{s:o}", "volumeAttachments", list));
}

static bool
attachment_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    json_t **answer = opaque;
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    g_autoptr(Attachment) attachment =
        server ? attachment_get(tx, server, api_param(call, "volume"), err) : NULL;

    if (!attachment)
        return false;
    *answer = json_pack("{s:o}", "volumeAttachment", attachment_view(call, attachment));
    return true;
}

void
compute_attachment_show(ApiCall *call)
{
    api_answer_read(call, attachment_show, 200);
}

/* ---- attach ------------------------------------------------------------------------------------
 */

typedef struct AttachCall {
    const char *volume_id;
    AttachRequest wanted;
    Attachment *attachment;
} AttachCall;

/* A volume that cannot be attached is a bad request to Nova. */
bool
compute_volume_is_free(StoreTx *tx, const Server *server, const Volume *volume, GError **err)
{
    if (server) {
        StoreCond where[] = {
            {"volume_id", STORE_EQ, volume->id, 0}, {"server_id", STORE_EQ, server->id, 0}, {0}};
        int64_t here = store_count(tx, &ATTACHMENT, where, err);

        if (here < 0)
            return false;
        if (here > 0)
            return err_set(err, ERR_INVALID, "Invalid volume: volume %s already attached",
                           volume->id);
    }
    if (volume->status != VOLUME_AVAILABLE)
        return err_set(err, ERR_INVALID,
                       "Invalid volume: volume '%s' status must be 'available'. Currently in '%s' "
                       "status. A volume can be in one server at a time.",
                       volume->id, volume_status_names[volume->status]);
    return true;
}

static bool
attach_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    AttachCall *attach = opaque;
    bool is_admin = call->caller->is_admin;
    TaskRequest request = compute_task_request(call);
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    g_autoptr(Volume) volume = NULL;

    if (!server || !action_rule_permits(action_rule_find("attach-volume"), server, is_admin, err))
        return false;
    volume = volume_get(tx, call, attach->volume_id, err);
    if (!volume || !compute_volume_is_free(tx, server, volume, err))
        return false;
    /* An administrator sees both; whoever owns the server would not see what is in it. */
    if (strcmp(volume->project_id, server->project_id) != 0)
        return err_set(err, ERR_INVALID,
                       "Invalid volume: volume %s belongs to another project than server %s.",
                       volume->id, server->id);
    return task_submit_attach(tx, server, volume, &attach->wanted, is_admin, &request,
                              &attach->attachment, err);
}

/* sdb, xvdb, hdb: names on other buses than ours are a wish that is not granted, as in Nova with
 * its libvirt driver, and no mistake. */
static bool
is_name_elsewhere(const char *text)
{
    static const char *const prefixes[] = {"sd", "xvd", "hd"};

    if (g_str_has_prefix(text, "/dev/"))
        text += strlen("/dev/");
    for (size_t i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        const char *rest = text + strlen(prefixes[i]);

        if (g_str_has_prefix(text, prefixes[i]) && g_ascii_islower(rest[0]) &&
            (rest[1] == '\0' || (g_ascii_islower(rest[1]) && rest[2] == '\0')))
            return true;
    }
    return false;
}

bool
compute_device_read(const char *text, const char **device, GError **err)
{
    g_autofree char *parsed = device_name_parse(text);

    *device = NULL;
    if (!text)
        return true;
    if (!parsed && !is_name_elsewhere(text))
        return err_set(err, ERR_INVALID,
                       "The supplied device path (%s) is invalid: leave it out, or give one as "
                       "/dev/vdb.",
                       text);
    if (parsed)
        *device = text;
    return true;
}

void
compute_attachment_create(ApiCall *call)
{
    g_autoptr(Attachment) attachment = NULL;
    AttachCall attach = {.wanted = {.boot_index = -1}};
    GError *error = NULL;

    if (!body_accept(call, attach_body))
        return;
    const json_t *wanted = json_object_get(call->body, "volumeAttachment");
    attach.volume_id = body_text(wanted, "volumeId");
    attach.wanted.tag = body_text(wanted, "tag");
    attach.wanted.delete_on_termination = body_bool(wanted, "delete_on_termination", false);
    if (!compute_device_read(body_text(wanted, "device"), &attach.wanted.device, &error)) {
        api_fail(call, error);
        return;
    }
    if (!api_write(call, attach_run, &attach))
        return;
    attachment = attach.attachment;
    api_wake(call);
    /* The one view that keeps "id" at 2.89, and does not get the keys that came with it. */
    g_autofree char *device = g_strconcat("/dev/", attachment->device, NULL);
    json_t *view =
        json_pack("{s:s,s:s,s:s,s:s}", "id", attachment->volume_id, "volumeId",
                  attachment->volume_id, "serverId", attachment->server_id, "device", device);
    if (api_microversion_at_least(call, 70))
        json_object_set_new(view, "tag", json_text_or_null(attachment->tag));
    if (api_microversion_at_least(call, 79))
        json_object_set_new(view, "delete_on_termination",
                            json_boolean(attachment->delete_on_termination));
    api_reply(call, 200, json_pack("{s:o}", "volumeAttachment", view));
}

/* ---- change ------------------------------------------------------------------------------------
 */

/* What may be given and must be as it is. */
static bool
update_check_same(const json_t *wanted, const char *key, const char *is, GError **err)
{
    if (!json_object_get(wanted, key) || g_strcmp0(body_text(wanted, key), is) == 0)
        return true;
    return err_set(err, ERR_INVALID, "The %s property is not mutable", key);
}

static bool
update_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const json_t *wanted = json_object_get(call->body, "volumeAttachment");
    const char *volume_id = api_param(call, "volume");
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    g_autoptr(Attachment) attachment = server ? attachment_get(tx, server, volume_id, err) : NULL;
    g_autofree char *device = NULL;
    (void)opaque;

    if (!attachment)
        return false;
    if (!api_microversion_at_least(call, 85) ||
        strcmp(body_text(wanted, "volumeId"), volume_id) != 0)
        return err_set(err, ERR_CONFLICT,
                       "volume %s is not migrating: one volume is not put in the place of another "
                       "while a server has it. Detach it, and attach the other.",
                       volume_id);
    device = g_strconcat("/dev/", attachment->device, NULL);
    if (!update_check_same(wanted, "id", attachment->volume_id, err) ||
        !update_check_same(wanted, "serverId", server->id, err) ||
        !update_check_same(wanted, "device", device, err) ||
        !update_check_same(wanted, "tag", attachment->tag, err))
        return false;
    attachment->delete_on_termination =
        body_bool(wanted, "delete_on_termination", attachment->delete_on_termination);
    return store_update(tx, &ATTACHMENT, attachment, err);
}

void
compute_attachment_update(ApiCall *call)
{
    if (body_accept(call, update_body) && api_write(call, update_run, NULL))
        api_reply_empty(call, 202);
}

/* ---- detach ------------------------------------------------------------------------------------
 */

static bool
detach_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *volume_id = api_param(call, "volume");
    bool is_admin = call->caller->is_admin;
    TaskRequest request = compute_task_request(call);
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    g_autoptr(Volume) volume = NULL;
    g_autoptr(Attachment) attachment = NULL;
    (void)opaque;

    if (!server)
        return false;
    volume = volume_get(tx, call, volume_id, err);
    if (!volume)
        return false;
    attachment = attachment_get(tx, server, volume_id, err);
    if (!attachment)
        return false;
    if (attachment->boot_index == 0)
        return err_set(err, ERR_INVALID, "Cannot detach a root device volume");
    if (!action_rule_permits(action_rule_find("detach-volume"), server, is_admin, err))
        return false;
    if (volume->status != VOLUME_IN_USE)
        return err_set(err, ERR_INVALID,
                       "Invalid volume: Unable to detach volume %s. Volume status must be 'in-use' "
                       "to detach, but current status is: %s.",
                       volume->id, volume_status_names[volume->status]);
    return task_submit_detach(tx, server, attachment, is_admin, &request, err);
}

void
compute_attachment_delete(ApiCall *call)
{
    if (!api_write(call, detach_run, NULL))
        return;
    api_wake(call);
    api_reply_empty(call, 202);
}
