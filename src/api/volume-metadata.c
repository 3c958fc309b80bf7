/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-metadata.c: metadata of volumes and snapshots, and the checks of every object of texts */
#include <string.h>

#include "api/volume-priv.h"

bool
volume_check_texts(const char *what, const json_t *texts, GError **err)
{
    const char *key;
    json_t *value;

    if (json_object_size(texts) > VOLUME_METADATA_MAX)
        return err_set(err, ERR_INVALID, "'%s' has more than %d items.", what, VOLUME_METADATA_MAX);
    json_object_foreach((json_t *)texts, key, value)
    {
        if (!text_is_clean(key, VOLUME_TEXT_MAX, false))
            return err_set(err, ERR_INVALID,
                           "Invalid metadata: a key of '%s' is empty, longer than %d bytes, or "
                           "contains control characters.",
                           what, VOLUME_TEXT_MAX);
        if (!json_is_string(value))
            return err_set(err, ERR_INVALID, "Invalid metadata: '%s' of '%s' must be a string.",
                           key, what);
        if (json_string_length(value) > VOLUME_TEXT_MAX)
            return err_set(err, ERR_INVALID,
                           "Invalid metadata: '%s' of '%s' is longer than %d bytes.", key, what,
                           VOLUME_TEXT_MAX);
    }
    return true;
}

bool
volume_read_texts(const json_t *object, const char *key, const json_t **texts, GError **err)
{
    return json_get_object(object, key, texts, err) &&
           (!*texts || volume_check_texts(key, *texts, err));
}

typedef struct MetadataChange {
    const char *key; /* of a single item; NULL: all */
    enum {
        METADATA_READ,
        METADATA_MERGE,
        METADATA_REPLACE,
        METADATA_REMOVE
    } how;
    const json_t *given;
    json_t *result; /* the whole after the change */
} MetadataChange;

static void
metadata_change_clear(MetadataChange *change)
{
    json_decref(change->result);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(MetadataChange, metadata_change_clear)

static bool
metadata_apply(MetadataChange *change, GError **err)
{
    if (change->key && change->how != METADATA_MERGE &&
        !json_object_get(change->result, change->key))
        return err_set(err, ERR_NOT_FOUND, "Metadata key %s could not be found.", change->key);
    switch (change->how) {
    case METADATA_READ:
        return true;
    case METADATA_REPLACE:
        json_object_clear(change->result);
        json_object_update(change->result, (json_t *)change->given);
        break;
    case METADATA_MERGE:
        json_object_update(change->result, (json_t *)change->given);
        break;
    case METADATA_REMOVE:
        json_object_del(change->result, change->key);
        break;
    }
    return volume_check_texts("metadata", change->result, err);
}

static bool
metadata_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    MetadataChange *change = opaque;
    const char *id = api_param(call, "id");
    bool of_snapshot = strstr(call->route->pattern, "/snapshots/") != NULL;
    g_autoptr(Snapshot) snapshot = of_snapshot ? snapshot_get(tx, call, id, err) : NULL;
    g_autoptr(Volume) volume = of_snapshot ? NULL : volume_get(tx, call, id, err);
    char **field;

    if (!volume && !snapshot)
        return false;
    field = snapshot ? &snapshot->metadata : &volume->metadata;
    change->result = json_parse_stored(*field, JSON_OBJECT);
    if (!metadata_apply(change, err))
        return false;
    if (change->how == METADATA_READ)
        return true;
    g_free(*field);
    *field = json_to_text(change->result);
    if (snapshot) {
        snapshot->updated_at = clock_realtime();
        return store_update(tx, &SNAPSHOT, snapshot, err);
    }
    volume->updated_at = clock_realtime();
    return store_update(tx, &VOLUME, volume, err);
}

void
volume_metadata_list(ApiCall *call)
{
    g_auto(MetadataChange) change = {.how = METADATA_READ};

    if (api_read(call, metadata_run, &change))
        api_reply(call, 200, json_pack("{s:O}", "metadata", change.result));
}

static void
metadata_write(ApiCall *call, int how)
{
    g_auto(MetadataChange) change = {.how = how};
    GError *error = NULL;

    if (!json_need_object(call->body, "metadata", &change.given, &error) ||
        !volume_check_texts("metadata", change.given, &error)) {
        api_fail(call, error);
        return;
    }
    if (api_write(call, metadata_run, &change))
        api_reply(call, 200, json_pack("{s:O}", "metadata", change.result));
}

void
volume_metadata_merge(ApiCall *call)
{
    metadata_write(call, METADATA_MERGE);
}

void
volume_metadata_replace(ApiCall *call)
{
    metadata_write(call, METADATA_REPLACE);
}

void
volume_metadata_show(ApiCall *call)
{
    const char *key = api_param(call, "key");
    g_auto(MetadataChange) change = {.how = METADATA_READ, .key = key};

    if (api_read(call, metadata_run, &change))
        api_reply(call, 200,
                  json_pack("{s:{s:O}}", "meta", key, json_object_get(change.result, key)));
}

void
volume_metadata_set(ApiCall *call)
{
    const char *key = api_param(call, "key");
    g_auto(MetadataChange) change = {.how = METADATA_MERGE, .key = key};
    GError *error = NULL;

    if (!json_need_object(call->body, "meta", &change.given, &error) ||
        !volume_check_texts("meta", change.given, &error)) {
        api_fail(call, error);
        return;
    }
    if (json_object_size(change.given) != 1 || !json_object_get(change.given, key)) {
        api_fault(call, 400, "Request body and URI mismatch: 'meta' must hold '%s' and no more.",
                  key);
        return;
    }
    if (api_write(call, metadata_run, &change))
        api_reply(call, 200, json_pack("{s:O}", "meta", change.given));
}

void
volume_metadata_delete(ApiCall *call)
{
    g_auto(MetadataChange) change = {.how = METADATA_REMOVE, .key = api_param(call, "key")};

    if (api_write(call, metadata_run, &change))
        api_reply_empty(call, 200);
}
