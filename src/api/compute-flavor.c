/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-flavor.c: flavors and their extra specs */
#include <string.h>

#include "api/compute-priv.h"

static const char *const query_names[] = {"limit",   "marker",   "is_public", "minRam",
                                          "minDisk", "sort_key", "sort_dir",  NULL};

json_t *
view_flavor(ApiCall *call, const Flavor *flavor, bool detail)
{
    json_t *view = json_pack("{s:s,s:s,s:o}", "id", flavor->id, "name", flavor->name, "links",
                             view_links(call, "flavors", flavor->id));

    if (api_microversion_at_least(call, 55))
        json_object_set_new(view, "description", json_text_or_null(flavor->description));
    if (!detail)
        return view;
    json_object_set_new(view, "ram", json_integer(flavor->ram_mb));
    json_object_set_new(view, "disk", json_integer(flavor->disk_gb));
    json_object_set_new(view, "vcpus", json_integer(flavor->vcpus));
    json_object_set_new(view, "swap",
                        flavor->swap_mb == 0 && !api_microversion_at_least(call, 75)
                            ? json_string("")
                            : json_integer(flavor->swap_mb));
    json_object_set_new(view, "OS-FLV-EXT-DATA:ephemeral", json_integer(flavor->ephemeral_gb));
    json_object_set_new(view, "OS-FLV-DISABLED:disabled", json_false());
    json_object_set_new(view, "os-flavor-access:is_public", json_boolean(flavor->is_public));
    json_object_set_new(view, "rxtx_factor", json_real(1.0));
    if (api_microversion_at_least(call, 61))
        json_object_set_new(view, "extra_specs",
                            json_parse_stored(flavor->extra_specs, JSON_OBJECT));
    return view;
}

static Flavor *
flavor_get(StoreTx *tx, ApiCall *call, GError **err)
{
    const char *id = api_param(call, "id");
    GError *error = NULL;
    g_autoptr(Flavor) flavor = store_get(tx, &FLAVOR, id, &error);

    if (!flavor && !err_is(error, ERR_NOT_FOUND)) {
        g_propagate_error(err, error);
        return NULL;
    }
    g_clear_error(&error);
    if (!flavor || (!flavor->is_public && !call->caller->is_admin)) {
        err_set(err, ERR_NOT_FOUND, "Flavor %s could not be found.", id);
        return NULL;
    }
    return g_steal_pointer(&flavor);
}

/* ---- lists
 * ---------------------------------------------------------------------------------------- */

typedef struct FlavorList {
    int64_t limit, min_ram, min_disk;
    const char *marker, *sort_key;
    bool descending, detail, more;
    int is_public; /* -1: any */
    GPtrArray *rows;
} FlavorList;

static const struct {
    const char *key, *column;
} sort_columns[] = {
    {"flavorid", "id"},
    {"id", "id"},
    {"name", "name"},
    {"memory_mb", "ram_mb"},
    {"vcpus", "vcpus"},
    {"root_gb", "disk_gb"},
    {"swap", "swap_mb"},
    {"ephemeral_gb", "ephemeral_gb"},
    {"created_at", "created_at"},
    {"updated_at", "created_at"},
    {"description", "description"},
    {"is_public", "is_public"},
    {"disabled", "id"},
    {"rxtx_factor", "id"},
    {"vcpu_weight", "id"},
};

static const char *
flavor_key(const void *record)
{
    return ((const Flavor *)record)->id;
}

static bool
flavors_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    FlavorList *list = opaque;
    StoreCond where[5] = {{0}};
    size_t n = 0;
    StoreQuery query = {.where = where, .order_by = list->sort_key, .descending = list->descending};
    (void)call;

    if (list->is_public >= 0)
        where[n++] = (StoreCond){"is_public", STORE_EQ, NULL, list->is_public};
    if (list->min_ram > 0)
        where[n++] = (StoreCond){"ram_mb", STORE_GE, NULL, list->min_ram};
    if (list->min_disk > 0)
        where[n++] = (StoreCond){"disk_gb", STORE_GE, NULL, list->min_disk};
    list->rows = store_list(tx, &FLAVOR, &query, err);
    return list->rows &&
           page_cut(list->rows, flavor_key, list->marker, list->limit, &list->more, err);
}

static bool
query_number(ApiCall *call, const char *name, int64_t *value)
{
    const char *text = api_query(call, name);

    if (!text || parse_int64(text, INT64_MIN, INT64_MAX, value))
        return true;
    api_fault(call, 400, "Invalid %s filter [%s]", name, text);
    return false;
}

static bool
flavor_list_read(ApiCall *call, FlavorList *list)
{
    const char *is_public = api_query(call, "is_public");
    const char *key = api_query(call, "sort_key"), *dir = api_query(call, "sort_dir");
    bool value = true;
    size_t row = 0;

    if (api_microversion_at_least(call, 75) && !query_accept(call, query_names))
        return false;
    list->is_public = 1;
    if (call->caller->is_admin && is_public) {
        if (g_ascii_strcasecmp(is_public, "none") == 0) {
            list->is_public = -1;
        } else if (parse_bool(is_public, &value)) {
            list->is_public = value;
        } else {
            api_fault(call, 400, "Invalid is_public filter [%s]", is_public);
            return false;
        }
    }
    while (key && row < G_N_ELEMENTS(sort_columns) && strcmp(sort_columns[row].key, key) != 0)
        row++;
    if (row == G_N_ELEMENTS(sort_columns) ||
        (dir && strcmp(dir, "asc") != 0 && strcmp(dir, "desc") != 0)) {
        api_fault(call, 400, "Invalid input for query parameters sort_key, sort_dir.");
        return false;
    }
    list->sort_key = sort_columns[row].column;
    list->descending = dir && strcmp(dir, "desc") == 0;
    return query_number(call, "minRam", &list->min_ram) &&
           query_number(call, "minDisk", &list->min_disk) &&
           api_paging(call, &list->limit, &list->marker);
}

static void
flavors_list(ApiCall *call, bool detail)
{
    FlavorList list = {.detail = detail};

    if (!flavor_list_read(call, &list))
        return;
    if (api_read(call, flavors_run, &list)) {
        json_t *rows = json_array();
        for (guint i = 0; i < list.rows->len; i++)
            json_array_append_new(rows, view_flavor(call, list.rows->pdata[i], detail));
        json_t *body = json_pack("{s:o}", "flavors", rows);
        if (list.more && list.rows->len > 0)
            json_object_set_new(
                body, "flavors_links",
                page_next(call, detail ? "/compute/v2.1/flavors/detail" : "/compute/v2.1/flavors",
                          flavor_key(list.rows->pdata[list.rows->len - 1])));
        api_reply(call, 200, body);
    }
    g_clear_pointer(&list.rows, g_ptr_array_unref);
}

void
compute_flavors_list(ApiCall *call)
{
    flavors_list(call, false);
}

void
compute_flavors_detail(ApiCall *call)
{
    flavors_list(call, true);
}

static bool
flavor_show_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    json_t **body = opaque;
    g_autoptr(Flavor) flavor = flavor_get(tx, call, err);

    if (!flavor)
        return false;
    *body = json_pack("{s:o}", "flavor", view_flavor(call, flavor, true));
    return true;
}

void
compute_flavor_show(ApiCall *call)
{
    api_answer_read(call, flavor_show_run, 200);
}

/* ---- making and removing
 * --------------------------------------------------------------------------- */

static const BodyMember create_members[] = {
    {.key = "name", .type = BODY_NAME, .required = true},
    {.key = "id", .type = BODY_ANY},
    {.key = "ram", .type = BODY_INT, .required = true, .least = 1, .most = BODY_INT_MAX},
    {.key = "vcpus", .type = BODY_INT, .required = true, .least = 1, .most = BODY_INT_MAX},
    {.key = "disk", .type = BODY_INT, .required = true, .most = BODY_INT_MAX},
    {.key = "OS-FLV-EXT-DATA:ephemeral", .type = BODY_INT, .most = BODY_INT_MAX},
    {.key = "swap", .type = BODY_INT, .most = BODY_INT_MAX},
    {.key = "rxtx_factor", .type = BODY_ANY},
    {.key = "os-flavor-access:is_public", .type = BODY_BOOL},
    {.key = "description", .type = BODY_CLEAN_OR_NULL, .since = 55, .most = 65535},
    {0},
};
static const BodyMember create_body[] = {
    {.key = "flavor", .type = BODY_OBJECT, .required = true, .members = create_members}, {0}};

/* Letters, digits, blank, '.', '_', '-'; no blank at either end. "auto" and null ask for a UUID. */
static bool
flavor_id_read(ApiCall *call, const json_t *wanted, char **id)
{
    const json_t *given = json_object_get(wanted, "id");
    g_autofree char *text = body_ref(wanted, "id");

    *id = NULL;
    if (!given || json_is_null(given)) {
        *id = uuid_new();
        return true;
    }
    if (text && strcmp(text, "auto") == 0) {
        *id = uuid_new();
        return true;
    }
    bool valid =
        text && *text && strlen(text) <= 255 && *text != ' ' && text[strlen(text) - 1] != ' ';
    for (const char *c = text; valid && *c; c++)
        valid = g_ascii_isalnum(*c) || strchr(" ._-", *c);
    if (!valid) {
        api_fault(call, 400,
                  "Invalid input for field/attribute flavor.id: must be 1 to 255 letters, digits, "
                  "blanks, '.', '_', '-', without a blank at either end.");
        return false;
    }
    *id = g_steal_pointer(&text);
    return true;
}

static bool
rxtx_ok(const json_t *value)
{
    char *end = NULL;

    if (!value)
        return true;
    if (json_is_number(value))
        return json_number_value(value) > 0;
    return json_is_string(value) && g_ascii_strtod(json_string_value(value), &end) > 0 && !*end;
}

static bool
flavor_create_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    Flavor *flavor = opaque;
    StoreCond where[] = {{"name", STORE_EQ, flavor->name, 0}, {0}};
    int64_t same = store_count(tx, &FLAVOR, where, err);
    GError *error = NULL;
    (void)call;

    if (same < 0)
        return false;
    if (same > 0)
        return err_set(err, ERR_CONFLICT, "Flavor with name %s already exists.", flavor->name);
    if (store_insert(tx, &FLAVOR, flavor, &error))
        return true;
    if (!err_is(error, ERR_CONFLICT)) {
        g_propagate_error(err, error);
        return false;
    }
    g_clear_error(&error);
    return err_set(err, ERR_CONFLICT, "Flavor with ID %s already exists.", flavor->id);
}

void
compute_flavor_create(ApiCall *call)
{
    g_autoptr(Flavor) flavor = NULL;
    g_autofree char *id = NULL;
    const json_t *wanted;

    if (!body_accept(call, create_body))
        return;
    wanted = json_object_get(call->body, "flavor");
    if (!rxtx_ok(json_object_get(wanted, "rxtx_factor"))) {
        api_fault(call, 400,
                  "Invalid input for field/attribute flavor.rxtx_factor: must be a "
                  "number above 0.");
        return;
    }
    if (!flavor_id_read(call, wanted, &id))
        return;
    flavor = record_new(&FLAVOR);
    flavor->id = g_steal_pointer(&id);
    flavor->name = g_strdup(body_text(wanted, "name"));
    flavor->ram_mb = body_int(wanted, "ram", 0);
    flavor->vcpus = body_int(wanted, "vcpus", 0);
    flavor->disk_gb = body_int(wanted, "disk", 0);
    flavor->ephemeral_gb = body_int(wanted, "OS-FLV-EXT-DATA:ephemeral", 0);
    flavor->swap_mb = body_int(wanted, "swap", 0);
    flavor->is_public = body_bool(wanted, "os-flavor-access:is_public", true);
    flavor->description = g_strdup(body_text(wanted, "description"));
    flavor->extra_specs = g_strdup("{}");
    flavor->created_at = clock_realtime();
    if (api_write(call, flavor_create_run, flavor))
        api_reply(call, 200, json_pack("{s:o}", "flavor", view_flavor(call, flavor, true)));
}

static const BodyMember update_members[] = {
    {.key = "description", .type = BODY_CLEAN_OR_NULL, .required = true, .most = 65535}, {0}};
static const BodyMember update_body[] = {
    {.key = "flavor", .type = BODY_OBJECT, .required = true, .members = update_members}, {0}};

static bool
flavor_update_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    json_t **body = opaque;
    g_autoptr(Flavor) flavor = flavor_get(tx, call, err);

    if (!flavor)
        return false;
    text_set(&flavor->description, body_text(json_object_get(call->body, "flavor"), "description"));
    if (!store_update(tx, &FLAVOR, flavor, err))
        return false;
    *body = json_pack("{s:o}", "flavor", view_flavor(call, flavor, true));
    return true;
}

void
compute_flavor_update(ApiCall *call)
{
    if (body_accept(call, update_body))
        api_answer_write(call, flavor_update_run, 200);
}

static bool
flavor_delete_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Flavor) flavor = flavor_get(tx, call, err);
    (void)opaque;

    return flavor && store_delete(tx, &FLAVOR, flavor->id, err);
}

void
compute_flavor_delete(ApiCall *call)
{
    if (api_write(call, flavor_delete_run, NULL))
        api_reply_empty(call, 202);
}

static bool
flavor_access_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    json_t **body = opaque;
    g_autoptr(Flavor) flavor = flavor_get(tx, call, err);

    if (!flavor)
        return false;
    if (flavor->is_public)
        return err_set(err, ERR_NOT_FOUND, "Access list not available for public flavors.");
    *body = json_pack("{s:[]}", "flavor_access");
    return true;
}

void
compute_flavor_access(ApiCall *call)
{
    api_answer_read(call, flavor_access_run, 200);
}

/* ---- extra specs
 * ------------------------------------------------------------------------------------ */

typedef struct SpecChange {
    const char *key; /* NULL: all */
    bool remove;
    const json_t *given; /* to merge; NULL: read or remove */
    json_t *result;      /* the whole */
} SpecChange;

static bool
specs_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    SpecChange *change = opaque;
    g_autoptr(Flavor) flavor = flavor_get(tx, call, err);

    if (!flavor)
        return false;
    change->result = json_parse_stored(flavor->extra_specs, JSON_OBJECT);
    if (change->key && !change->given && !json_object_get(change->result, change->key))
        return err_set(err, ERR_NOT_FOUND, "Flavor %s has no extra specs with key %s.", flavor->id,
                       change->key);
    if (!change->given && !change->remove)
        return true;
    if (change->remove)
        json_object_del(change->result, change->key);
    else
        json_object_update(change->result, (json_t *)change->given);
    if (json_object_size(change->result) > COMPUTE_METADATA_MAX)
        return err_set(err, ERR_INVALID, "A flavor holds at most %d extra specs.",
                       COMPUTE_METADATA_MAX);
    g_free(flavor->extra_specs);
    flavor->extra_specs = json_to_text(change->result);
    return store_update(tx, &FLAVOR, flavor, err);
}

/* Values may come as numbers and are kept as text. */
static json_t *
specs_as_text(const json_t *specs)
{
    json_t *texts = json_object();
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)specs, key, value)
    {
        char number[64];

        if (json_is_integer(value)) {
            g_snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
            json_object_set_new(texts, key, json_string(number));
        } else if (json_is_real(value)) {
            g_ascii_dtostr(number, sizeof number, json_real_value(value));
            json_object_set_new(texts, key, json_string(number));
        } else {
            json_object_set(texts, key, value);
        }
    }
    return texts;
}

static const BodyMember specs_body[] = {
    {.key = "extra_specs", .type = BODY_METADATA, .required = true}, {0}};

/* Check {"extra_specs": specs} where specs has its numbers turned into text. NULL: replied 400. */
static json_t *
specs_accept(ApiCall *call, const json_t *specs)
{
    json_t *texts = json_is_object(specs) ? specs_as_text(specs) : json_null();
    json_t *probe = json_pack("{s:O}", "extra_specs", texts);
    GError *error = NULL;
    bool valid = body_check(probe, "", specs_body, call->microversion, &error);

    json_decref(probe);
    if (valid)
        return texts;
    json_decref(texts);
    api_fail(call, error);
    return NULL;
}

void
compute_specs_list(ApiCall *call)
{
    SpecChange change = {0};

    if (api_read(call, specs_run, &change))
        api_reply(call, 200, json_pack("{s:O}", "extra_specs", change.result));
    json_decref(change.result);
}

void
compute_specs_create(ApiCall *call)
{
    SpecChange change = {0};
    json_t *texts;

    if (json_object_size(call->body) != 1) {
        api_fault(call, 400, "The body must hold 'extra_specs' and no more.");
        return;
    }
    texts = specs_accept(call, json_object_get(call->body, "extra_specs"));
    if (!texts)
        return;
    change.given = texts;
    if (api_write(call, specs_run, &change))
        api_reply(call, 200, json_pack("{s:O}", "extra_specs", texts));
    json_decref(change.result);
    json_decref(texts);
}

void
compute_spec_show(ApiCall *call)
{
    const char *key = api_param(call, "key");
    SpecChange change = {.key = key};

    if (api_read(call, specs_run, &change))
        api_reply(call, 200, json_pack("{s:O}", key, json_object_get(change.result, key)));
    json_decref(change.result);
}

void
compute_spec_set(ApiCall *call)
{
    const char *key = api_param(call, "key");
    SpecChange change = {.key = key};
    json_t *texts;

    if (json_object_size(call->body) != 1 || !json_object_get(call->body, key)) {
        api_fault(call, 400, "Request body and URI mismatch: the body must hold '%s' and no more.",
                  key);
        return;
    }
    texts = specs_accept(call, call->body);
    if (!texts)
        return;
    change.given = texts;
    if (api_write(call, specs_run, &change))
        api_reply(call, 200, json_incref(texts));
    json_decref(change.result);
    json_decref(texts);
}

void
compute_spec_delete(ApiCall *call)
{
    SpecChange change = {.key = api_param(call, "key"), .remove = true};

    if (api_write(call, specs_run, &change))
        api_reply_empty(call, 200);
    json_decref(change.result);
}
