/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-types.c: volume types and their extra specs
 *
 * A type is a name that the operator gives to a class of volumes; all of them lie in the one pool.
 * Volumes hold their type by name, so a type that is renamed takes its volumes along. One that is
 * not public is the administrator's: there are no access lists. */
#include <string.h>

#include "api/volume-priv.h"

static bool
type_is_visible(ApiCall *call, const VolumeType *type)
{
    return type->is_public || call->caller->is_admin;
}

VolumeType *
volume_type_get(StoreTx *tx, ApiCall *call, const char *id_or_name, GError **err)
{
    g_autoptr(VolumeType) type = store_get(tx, &VOLUME_TYPE, id_or_name, NULL);

    if (!type) {
        StoreCond where[] = {{"name", STORE_EQ, id_or_name, 0}, {0}};
        type = store_find(tx, &VOLUME_TYPE, where, NULL);
    }
    if (type && type_is_visible(call, type))
        return g_steal_pointer(&type);
    err_set(err, ERR_NOT_FOUND, "Volume type %s could not be found.", id_or_name);
    return NULL;
}

/* By id alone: clients try a name as an id first, and take a 404 as the reason to look for it. */
static VolumeType *
type_of_path(StoreTx *tx, ApiCall *call, GError **err)
{
    const char *id = api_param(call, "id");
    g_autoptr(VolumeType) type = NULL;

    if (strcmp(id, "default") == 0)
        return volume_type_get(tx, call, VOLUME_TYPE_DEFAULT, err);
    type = store_get(tx, &VOLUME_TYPE, id, NULL);
    if (type && type_is_visible(call, type))
        return g_steal_pointer(&type);
    err_set(err, ERR_NOT_FOUND, "Volume type %s could not be found.", id);
    return NULL;
}

static bool
type_out(ApiCall *call, const VolumeType *type, json_t **out)
{
    *out = json_pack("{s:o}", "volume_type", view_volume_type(call, type));
    return true;
}

/* ---- lists, show ------------------------------------------------------------------------------
 */

static bool
types_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *wanted = api_query(call, "is_public"), *name = api_query(call, "name");
    StoreQuery query = {.order_by = "created_at", .descending = true};
    g_autoptr(GPtrArray) types = NULL;
    bool only_public = true, any = !call->caller->is_admin;
    json_t *rows;

    if (call->caller->is_admin && wanted) {
        any = g_ascii_strcasecmp(wanted, "none") == 0;
        if (!any && !parse_bool(wanted, &only_public))
            return err_set(err, ERR_INVALID, "Invalid is_public filter [%s]", wanted);
    }
    types = store_list(tx, &VOLUME_TYPE, &query, err);
    if (!types)
        return false;
    rows = json_array();
    for (guint i = 0; i < types->len; i++) {
        const VolumeType *type = types->pdata[i];

        if (type_is_visible(call, type) && (any || type->is_public == only_public) &&
            (!name || strcmp(name, type->name) == 0))
            json_array_append_new(rows, view_volume_type(call, type));
    }
    *(json_t **)opaque = json_pack("{s:o}", "volume_types", rows);
    return true;
}

void
volume_types_list(ApiCall *call)
{
    api_answer_read(call, types_list, 200);
}

static bool
type_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(VolumeType) type = type_of_path(tx, call, err);

    return type && type_out(call, type, opaque);
}

void
volume_type_show(ApiCall *call)
{
    api_answer_read(call, type_show, 200);
}

/* ---- create, update, delete -------------------------------------------------------------------
 */

static bool
type_name_is_free(StoreTx *tx, const VolumeType *type, GError **err)
{
    StoreCond where[] = {{"name", STORE_EQ, type->name, 0}, {"id", STORE_NE, type->id, 0}, {0}};
    int64_t found = store_count(tx, &VOLUME_TYPE, where, err);

    if (found > 0)
        return err_set(err, ERR_CONFLICT, "Volume Type %s already exists.", type->name);
    return found == 0;
}

static bool
type_create(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(VolumeType) type = record_new(&VOLUME_TYPE);
    const json_t *body, *specs;
    const char *name, *description;

    type->id = uuid_new();
    type->is_public = true;
    type->created_at = type->updated_at = clock_realtime();
    if (!json_need_object(call->body, "volume_type", &body, err) ||
        !json_need_name(body, "name", VOLUME_TEXT_MAX, &name, err) ||
        !json_get_text(body, "description", VOLUME_TEXT_MAX, &description, err) ||
        !json_get_bool(body, "os-volume-type-access:is_public", &type->is_public, err) ||
        !volume_read_texts(body, "extra_specs", &specs, err))
        return false;
    type->name = g_strstrip(g_strdup(name));
    if (!*type->name)
        return err_set(err, ERR_INVALID, "'name' must not be empty.");
    type->description = g_strdup(description);
    type->extra_specs = specs ? json_to_text(specs) : g_strdup("{}");
    return type_name_is_free(tx, type, err) && store_insert(tx, &VOLUME_TYPE, type, err) &&
           type_out(call, type, opaque);
}

void
volume_type_create(ApiCall *call)
{
    api_answer_write(call, type_create, 200);
}

static bool
type_rename(StoreTx *tx, VolumeType *type, const char *name, GError **err)
{
    StoreCond where[] = {{"volume_type", STORE_EQ, type->name, 0}, {0}};
    StoreQuery query = {.where = where};
    g_autoptr(GPtrArray) volumes = NULL;

    if (strcmp(name, type->name) == 0)
        return true;
    if (strcmp(type->name, VOLUME_TYPE_DEFAULT) == 0)
        return err_set(err, ERR_INVALID,
                       "The type %s is what a volume gets without a type, and keeps its name.",
                       type->name);
    volumes = store_list(tx, &VOLUME, &query, err);
    if (!volumes)
        return false;
    for (guint i = 0; i < volumes->len; i++) {
        Volume *volume = volumes->pdata[i];

        text_set(&volume->volume_type, name);
        if (!store_update(tx, &VOLUME, volume, err))
            return false;
    }
    text_set(&type->name, name);
    return type_name_is_free(tx, type, err);
}

static bool
type_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(VolumeType) type = type_of_path(tx, call, err);
    const json_t *body;
    const char *name, *description;
    g_autofree char *stripped = NULL;

    if (!type || !json_need_object(call->body, "volume_type", &body, err) ||
        !json_get_name(body, "name", VOLUME_TEXT_MAX, &name, err) ||
        !json_get_text(body, "description", VOLUME_TEXT_MAX, &description, err))
        return false;
    if (!name && !description && !json_is_boolean(json_object_get(body, "is_public")))
        return err_set(
            err, ERR_INVALID,
            "Specify volume type name, description, is_public or a combination thereof.");
    stripped = name ? g_strstrip(g_strdup(name)) : NULL;
    if (stripped && !*stripped)
        return err_set(err, ERR_INVALID, "Volume type name can not be empty.");
    if (!json_get_bool(body, "is_public", &type->is_public, err) ||
        (stripped && !type_rename(tx, type, stripped, err)))
        return false;
    if (description)
        text_set(&type->description, description);
    type->updated_at = clock_realtime();
    return store_update(tx, &VOLUME_TYPE, type, err) && type_out(call, type, opaque);
}

void
volume_type_update(ApiCall *call)
{
    api_answer_write(call, type_update, 200);
}

static bool
type_delete(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(VolumeType) type = type_of_path(tx, call, err);
    StoreCond where[] = {{"volume_type", STORE_EQ, type ? type->name : "", 0}, {0}};
    int64_t volumes;
    (void)opaque;

    if (!type)
        return false;
    if (strcmp(type->name, VOLUME_TYPE_DEFAULT) == 0)
        return err_set(err, ERR_INVALID,
                       "The volume type %s is the default volume type and cannot be deleted.",
                       type->name);
    volumes = store_count(tx, &VOLUME, where, err);
    if (volumes > 0)
        return err_set(err, ERR_INVALID,
                       "Target volume type is still in use: %" PRId64 " volumes are of it.",
                       volumes);
    return volumes == 0 && store_delete(tx, &VOLUME_TYPE, type->id, err);
}

void
volume_type_delete(ApiCall *call)
{
    api_answer_write(call, type_delete, 202);
}

/* ---- what types have elsewhere ----------------------------------------------------------------
 */

void
volume_type_action(ApiCall *call)
{
    api_fault(call, 400,
              "There are no access lists: a volume type is public, or the administrator's alone. "
              "Make it public instead.");
}

static bool
type_access(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(VolumeType) type = type_of_path(tx, call, err);

    if (!type)
        return false;
    if (type->is_public)
        return err_set(err, ERR_NOT_FOUND, "Access list not available for public volume types.");
    *(json_t **)opaque = json_pack("{s:[]}", "volume_type_access");
    return true;
}

void
volume_type_access(ApiCall *call)
{
    api_answer_read(call, type_access, 200);
}

static bool
type_encryption(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(VolumeType) type = type_of_path(tx, call, err);

    if (type)
        *(json_t **)opaque = json_object();
    return type != NULL;
}

void
volume_type_encryption(ApiCall *call)
{
    api_answer_read(call, type_encryption, 200);
}

/* ---- extra specs ------------------------------------------------------------------------------
 */

typedef struct SpecsChange {
    const char *key; /* NULL: all */
    const json_t *given;
    bool remove;
    json_t *result;
} SpecsChange;

static void
specs_change_clear(SpecsChange *change)
{
    json_decref(change->result);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SpecsChange, specs_change_clear)

static bool
specs_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    SpecsChange *change = opaque;
    g_autoptr(VolumeType) type = type_of_path(tx, call, err);

    if (!type)
        return false;
    change->result = json_parse_stored(type->extra_specs, JSON_OBJECT);
    if (change->key && !change->given && !json_object_get(change->result, change->key))
        return err_set(err, ERR_NOT_FOUND, "Volume Type %s has no extra specs with key %s.",
                       type->id, change->key);
    if (!change->given && !change->remove)
        return true;
    if (change->remove)
        json_object_del(change->result, change->key);
    else
        json_object_update(change->result, (json_t *)change->given);
    if (!volume_check_texts("extra_specs", change->result, err))
        return false;
    g_free(type->extra_specs);
    type->extra_specs = json_to_text(change->result);
    type->updated_at = clock_realtime();
    return store_update(tx, &VOLUME_TYPE, type, err);
}

void
volume_specs_list(ApiCall *call)
{
    g_auto(SpecsChange) change = {0};

    if (api_read(call, specs_run, &change))
        api_reply(call, 200, json_pack("{s:O}", "extra_specs", change.result));
}

void
volume_specs_merge(ApiCall *call)
{
    g_auto(SpecsChange) change = {0};
    GError *error = NULL;

    if (!json_need_object(call->body, "extra_specs", &change.given, &error) ||
        !volume_check_texts("extra_specs", change.given, &error)) {
        api_fail(call, error);
        return;
    }
    if (api_write(call, specs_run, &change))
        api_reply(call, 200, json_pack("{s:O}", "extra_specs", change.given));
}

void
volume_specs_show(ApiCall *call)
{
    const char *key = api_param(call, "key");
    g_auto(SpecsChange) change = {.key = key};

    if (api_read(call, specs_run, &change))
        api_reply(call, 200, json_pack("{s:O}", key, json_object_get(change.result, key)));
}

void
volume_specs_set(ApiCall *call)
{
    const char *key = api_param(call, "key");
    g_auto(SpecsChange) change = {.key = key, .given = call->body};
    GError *error = NULL;

    if (json_object_size(call->body) != 1 || !json_object_get(call->body, key)) {
        api_fault(call, 400, "Request body and URI mismatch: the body must hold '%s' and no more.",
                  key);
        return;
    }
    if (!volume_check_texts("extra_specs", change.given, &error)) {
        api_fail(call, error);
        return;
    }
    if (api_write(call, specs_run, &change))
        api_reply(call, 200, json_incref(call->body));
}

void
volume_specs_delete(ApiCall *call)
{
    g_auto(SpecsChange) change = {.key = api_param(call, "key"), .remove = true};

    if (api_write(call, specs_run, &change))
        api_reply_empty(call, 202);
}
