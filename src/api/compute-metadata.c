/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-metadata.c: metadata and tags of servers */
#include <string.h>

#include "api/compute-priv.h"

/* One change (or reading) of a server's metadata or tags: what the transaction needs and what it
 * found. */
typedef struct NoteChange {
    const char *key; /* of a single item; NULL: all */
    enum {
        NOTE_READ,
        NOTE_MERGE,
        NOTE_REPLACE,
        NOTE_REMOVE
    } how;
    const json_t *given;
    json_t *result; /* the whole after the change */
    bool is_new;    /* the item was not there before */
} NoteChange;

static void
note_change_clear(NoteChange *change)
{
    json_decref(change->result);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(NoteChange, note_change_clear)

static bool
server_save_note(StoreTx *tx, Server *server, char **field, const json_t *value, GError **err)
{
    g_free(*field);
    *field = json_to_text(value);
    server->updated_at = clock_realtime();
    return store_update(tx, &SERVER, server, err);
}

/* ---- metadata ----------------------------------------------------------------------------------
 */

static bool
metadata_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    NoteChange *change = opaque;
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);

    if (!server)
        return false;
    change->result = json_parse_stored(server->metadata, JSON_OBJECT);
    if (change->key && change->how != NOTE_MERGE && !json_object_get(change->result, change->key))
        return err_set(err, ERR_NOT_FOUND, "Metadata item was not found");
    switch (change->how) {
    case NOTE_READ:
        return true;
    case NOTE_MERGE:
        json_object_update(change->result, (json_t *)change->given);
        break;
    case NOTE_REPLACE:
        json_object_clear(change->result);
        json_object_update(change->result, (json_t *)change->given);
        break;
    case NOTE_REMOVE:
        json_object_del(change->result, change->key);
        break;
    }
    if (server->locked && !call->caller->is_admin)
        return err_set(err, ERR_CONFLICT, "Instance %s is locked", server->id);
    if (json_object_size(change->result) > COMPUTE_METADATA_MAX)
        return err_set(err, ERR_QUOTA,
                       "Maximum number of metadata items exceeds %d for the server %s",
                       COMPUTE_METADATA_MAX, server->id);
    return server_save_note(tx, server, &server->metadata, change->result, err);
}

static const BodyMember metadata_body[] = {
    {.key = "metadata", .type = BODY_METADATA, .required = true},
    {0},
};

static const BodyMember meta_body[] = {
    {.key = "meta", .type = BODY_METADATA, .required = true},
    {0},
};

void
compute_metadata_list(ApiCall *call)
{
    g_auto(NoteChange) change = {.how = NOTE_READ};

    if (api_read(call, metadata_run, &change))
        api_reply(call, 200, json_pack("{s:O}", "metadata", change.result));
}

static void
metadata_write(ApiCall *call, int how)
{
    g_auto(NoteChange) change = {.how = how};

    if (!body_accept(call, metadata_body))
        return;
    change.given = json_object_get(call->body, "metadata");
    if (api_write(call, metadata_run, &change))
        api_reply(call, 200, json_pack("{s:O}", "metadata", change.result));
}

void
compute_metadata_create(ApiCall *call)
{
    metadata_write(call, NOTE_MERGE);
}

void
compute_metadata_replace(ApiCall *call)
{
    metadata_write(call, NOTE_REPLACE);
}

void
compute_metadata_show(ApiCall *call)
{
    const char *key = api_param(call, "key");
    g_auto(NoteChange) change = {.how = NOTE_READ, .key = key};

    if (api_read(call, metadata_run, &change))
        api_reply(call, 200,
                  json_pack("{s:{s:O}}", "meta", key, json_object_get(change.result, key)));
}

void
compute_metadata_set(ApiCall *call)
{
    const char *key = api_param(call, "key");
    g_auto(NoteChange) change = {.how = NOTE_MERGE, .key = key};

    if (!body_accept(call, meta_body))
        return;
    change.given = json_object_get(call->body, "meta");
    if (json_object_size(change.given) != 1 || !json_object_get(change.given, key)) {
        api_fault(call, 400, "Request body and URI mismatch: 'meta' must hold '%s' and no more.",
                  key);
        return;
    }
    if (api_write(call, metadata_run, &change))
        api_reply(call, 200, json_pack("{s:O}", "meta", change.given));
}

void
compute_metadata_delete(ApiCall *call)
{
    g_auto(NoteChange) change = {.how = NOTE_REMOVE, .key = api_param(call, "key")};

    if (api_write(call, metadata_run, &change))
        api_reply_empty(call, 204);
}

/* ---- tags --------------------------------------------------------------------------------------
 */

static size_t
tag_index(const json_t *tags, const char *tag)
{
    size_t i;
    const json_t *item;

    json_array_foreach((json_t *)tags, i, item)
    {
        if (strcmp(json_string_value(item), tag) == 0)
            return i;
    }
    return SIZE_MAX;
}

static bool
tags_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    NoteChange *change = opaque;
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    size_t i, found = SIZE_MAX;
    json_t *item;

    if (!server)
        return false;
    change->result = json_parse_stored(server->tags, JSON_ARRAY);
    if (change->key)
        found = tag_index(change->result, change->key);
    if (change->key && found == SIZE_MAX && change->how != NOTE_MERGE)
        return err_set(err, ERR_NOT_FOUND, "Server %s has no tag '%s'", server->id, change->key);
    if (change->how == NOTE_READ)
        return true;
    if (server->vm_state != VM_ACTIVE && server->vm_state != VM_PAUSED &&
        server->vm_state != VM_SUSPENDED && server->vm_state != VM_STOPPED)
        return err_set(err, ERR_CONFLICT,
                       "Cannot 'update tags' instance %s while it is in vm_state %s", server->id,
                       vm_state_names[server->vm_state]);
    switch (change->how) {
    case NOTE_READ:
        break;
    case NOTE_MERGE:
        change->is_new = found == SIZE_MAX;
        if (change->is_new)
            json_array_append_new(change->result, json_string(change->key));
        break;
    case NOTE_REPLACE:
        json_array_clear(change->result);
        json_array_foreach((json_t *)change->given, i, item)
        {
            if (tag_index(change->result, json_string_value(item)) == SIZE_MAX)
                json_array_append(change->result, item);
        }
        break;
    case NOTE_REMOVE:
        if (change->key)
            json_array_remove(change->result, found);
        else
            json_array_clear(change->result);
        break;
    }
    if (json_array_size(change->result) > COMPUTE_TAGS_MAX)
        return err_set(err, ERR_INVALID, "The number of tags exceeded the per-server limit %d",
                       COMPUTE_TAGS_MAX);
    return server_save_note(tx, server, &server->tags, change->result, err);
}

static const BodyMember tag_item[] = {{.key = "tag", .type = BODY_TAG}, {0}};

static const BodyMember tags_body[] = {
    {.key = "tags",
     .type = BODY_ARRAY,
     .required = true,
     .most = COMPUTE_TAGS_MAX,
     .members = tag_item},
    {0},
};

void
compute_tags_list(ApiCall *call)
{
    g_auto(NoteChange) change = {.how = NOTE_READ};

    if (api_read(call, tags_run, &change))
        api_reply(call, 200, json_pack("{s:O}", "tags", change.result));
}

void
compute_tags_replace(ApiCall *call)
{
    g_auto(NoteChange) change = {.how = NOTE_REPLACE};

    if (!body_accept(call, tags_body))
        return;
    change.given = json_object_get(call->body, "tags");
    if (api_write(call, tags_run, &change))
        api_reply(call, 200, json_pack("{s:O}", "tags", change.result));
}

void
compute_tags_clear(ApiCall *call)
{
    g_auto(NoteChange) change = {.how = NOTE_REMOVE};

    if (api_write(call, tags_run, &change))
        api_reply_empty(call, 204);
}

void
compute_tag_check(ApiCall *call)
{
    g_auto(NoteChange) change = {.how = NOTE_READ, .key = api_param(call, "tag")};

    if (api_read(call, tags_run, &change))
        api_reply_empty(call, 204);
}

void
compute_tag_add(ApiCall *call)
{
    const char *tag = api_param(call, "tag");
    g_auto(NoteChange) change = {.how = NOTE_MERGE, .key = tag};
    json_t *probe = json_pack("{s:[s]}", "tags", tag);
    GError *error = NULL;
    bool valid = body_check(probe, "", tags_body, call->microversion, &error);

    json_decref(probe);
    if (!valid) {
        g_clear_error(&error);
        api_fault(call, 400,
                  "Tag '%s' is invalid. It must be a non empty string of at most 60 characters "
                  "without '/' and ','.",
                  tag);
        return;
    }
    if (!api_write(call, tags_run, &change))
        return;
    if (change.is_new) {
        g_autofree char *safe = g_uri_escape_string(tag, NULL, false);
        g_autofree char *url =
            api_url(call->api, "/compute/v2.1/servers/%s/tags/%s", api_param(call, "id"), safe);
        api_header(call, "Location", url);
    }
    api_reply_empty(call, change.is_new ? 201 : 204);
}

void
compute_tag_delete(ApiCall *call)
{
    g_auto(NoteChange) change = {.how = NOTE_REMOVE, .key = api_param(call, "tag")};

    if (api_write(call, tags_run, &change))
        api_reply_empty(call, 204);
}
