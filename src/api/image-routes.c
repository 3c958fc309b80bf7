/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* image-routes.c: the image API v2: routes, views, everything but the data itself */
#include <string.h>

#include "api/image-priv.h"
#include "task/image.h"

static json_t *
size_or_null(const Image *image, int64_t size)
{
    return image->status == IMAGE_ACTIVE ? json_integer(size) : json_null();
}

json_t *
view_image(const Image *image)
{
    json_t *view = json_parse_stored(image->properties, JSON_OBJECT);
    g_autofree char *self = g_strdup_printf("/v2/images/%s", image->id);
    g_autofree char *file = g_strdup_printf("%s/file", self);
    json_auto_t *ours = json_pack(
        "{s:s,s:o,s:s,s:s,s:b,s:b,s:s,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:s,s:s,s:s}",
        "id", image->id, "name", json_text_or_null(image->name), "status",
        image_status_names[image->status], "visibility", image->visibility, "protected",
        (int)image->is_protected, "os_hidden", (int)image->is_hidden, "owner", image->owner, "size",
        size_or_null(image, image->size), "virtual_size", size_or_null(image, image->virtual_size),
        "checksum", json_text_or_null(image->checksum), "os_hash_algo",
        json_text_or_null(image->sha512 ? "sha512" : NULL), "os_hash_value",
        json_text_or_null(image->sha512), "min_disk", (json_int_t)image->min_disk_gb, "min_ram",
        (json_int_t)image->min_ram_mb, "disk_format", json_text_or_null(image->disk_format),
        "container_format", json_text_or_null(image->container_format), "tags",
        json_parse_stored(image->tags, JSON_ARRAY), "created_at", api_time(image->created_at),
        "updated_at", api_time(image->updated_at), "self", self, "file", file, "schema",
        "/v2/schemas/image");

    json_object_update(view, ours);
    return view;
}

bool
caller_may_see_image(const Caller *caller, const Image *image)
{
    return strcmp(image->visibility, "public") == 0 ||
           strcmp(image->visibility, "community") == 0 || caller_may_see(caller, image->owner);
}

Image *
image_get(StoreTx *tx, ApiCall *call, const char *id, GError **err)
{
    g_autoptr(Image) image = store_get(tx, &IMAGE, id, NULL);

    if (image && caller_may_see_image(call->caller, image))
        return g_steal_pointer(&image);
    err_set(err, ERR_NOT_FOUND, "No image found with ID %s.", id);
    return NULL;
}

Image *
image_get_changeable(StoreTx *tx, ApiCall *call, GError **err)
{
    const char *id = api_param(call, "id");
    g_autoptr(Image) image = image_get(tx, call, id, err);

    if (!image || caller_may_see(call->caller, image->owner))
        return g_steal_pointer(&image);
    err_set(err, ERR_FORBIDDEN, "Image %s belongs to another project.", id);
    return NULL;
}

/* ---- create, show, update, delete --------------------------------------------------------------
 */

static bool
image_create(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Image) image = record_new(&IMAGE);
    json_auto_t *properties = json_object();
    const char *id, *key;
    json_t *value;

    if (!json_get_text(call->body, "id", 64, &id, err))
        return false;
    if (id && !uuid_is_valid(id))
        return err_set(err, ERR_INVALID, "'id' must be a UUID.");
    image->id = id ? g_ascii_strdown(id, -1) : uuid_new();
    image->status = IMAGE_QUEUED;
    image->owner = g_strdup(call->caller->project_id);
    image->visibility = g_strdup("shared");
    image->tags = g_strdup("[]");
    image->created_at = image->updated_at = clock_realtime();
    json_object_foreach(call->body, key, value)
    {
        if (strcmp(key, "id") != 0 && !image_set_member(call, image, properties, key, value, err))
            return false;
    }
    image->properties = json_to_text(properties);
    if (!store_insert(tx, &IMAGE, image, err))
        return false;
    *(json_t **)opaque = view_image(image);
    return true;
}

static void
images_create(ApiCall *call)
{
    api_answer_write(call, image_create, 201);
}

static bool
image_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Image) image = image_get(tx, call, api_param(call, "id"), err);

    if (!image)
        return false;
    *(json_t **)opaque = view_image(image);
    return true;
}

static void
images_show(ApiCall *call)
{
    api_answer_read(call, image_show, 200);
}

static bool
image_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Image) image = image_get_changeable(tx, call, err);
    json_auto_t *properties = NULL;

    if (!image)
        return false;
    properties = json_parse_stored(image->properties, JSON_OBJECT);
    if (!image_apply_patch(call, image, properties, call->body, err))
        return false;
    g_free(image->properties);
    image->properties = json_to_text(properties);
    image->updated_at = clock_realtime();
    if (!store_update(tx, &IMAGE, image, err))
        return false;
    *(json_t **)opaque = view_image(image);
    return true;
}

static void
images_update(ApiCall *call)
{
    const char *type = http_request_header(call->request, "Content-Type");

    if (!type || !g_str_has_prefix(type, "application/openstack-images-v2.1-json-patch")) {
        api_fault(call, 415,
                  "The body's type must be "
                  "application/openstack-images-v2.1-json-patch.");
        return;
    }
    api_answer_write(call, image_update, 200);
}

static bool
image_check_changeable(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Image) image = image_get_changeable(tx, call, err);

    if (!image)
        return false;
    return !image->is_protected ||
           err_set(err, ERR_FORBIDDEN, "Image %s is protected and cannot be deleted.", image->id);
}

static void
images_delete(ApiCall *call)
{
    GError *error = NULL;

    if (!api_read(call, image_check_changeable, NULL))
        return;
    if (image_remove(api_config(call->api)->tasks, api_param(call, "id"), &error))
        api_reply_empty(call, 204);
    else
        api_fail(call, error);
}

/* ---- tags, members ----------------------------------------------------------------------------
 */

static bool
image_change_tag(StoreTx *tx, ApiCall *call, bool add, GError **err)
{
    g_autoptr(Image) image = image_get_changeable(tx, call, err);
    const char *tag = api_param(call, "tag");
    json_auto_t *tags = NULL;
    json_t *entry;
    size_t i, at = SIZE_MAX;

    if (!image)
        return false;
    tags = json_parse_stored(image->tags, JSON_ARRAY);
    json_array_foreach(tags, i, entry)
    {
        if (g_strcmp0(json_string_value(entry), tag) == 0)
            at = i;
    }
    if (!add) {
        if (at == SIZE_MAX)
            return err_set(err, ERR_NOT_FOUND, "Image %s does not have the tag %s.", image->id,
                           tag);
        json_array_remove(tags, at);
    } else if (at == SIZE_MAX) {
        if (!text_is_clean(tag, 255, false))
            return err_set(err, ERR_INVALID, "A tag must have 1 to 255 bytes.");
        if (json_array_size(tags) >= IMAGE_TAGS_MAX)
            return err_set(err, ERR_QUOTA, "An image has at most %d tags.", IMAGE_TAGS_MAX);
        json_array_append_new(tags, json_string(tag));
    }
    g_free(image->tags);
    image->tags = json_to_text(tags);
    image->updated_at = clock_realtime();
    return store_update(tx, &IMAGE, image, err);
}

static bool
image_add_tag(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    return image_change_tag(tx, call, true, err);
}

static bool
image_remove_tag(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    return image_change_tag(tx, call, false, err);
}

static void
images_tag_add(ApiCall *call)
{
    api_answer_write(call, image_add_tag, 204);
}

static void
images_tag_remove(ApiCall *call)
{
    api_answer_write(call, image_remove_tag, 204);
}

/* Images are not shared with single projects here: the list is there for clients, and empty. */
static bool
image_members(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Image) image = image_get(tx, call, api_param(call, "id"), err);

    if (!image)
        return false;
    *(json_t **)opaque = json_pack("{s:[],s:s}", "members", "schema", "/v2/schemas/members");
    return true;
}

static void
images_members(ApiCall *call)
{
    api_answer_read(call, image_members, 200);
}

/* ---- list -------------------------------------------------------------------------------------
 */

typedef struct ImageFilter {
    ApiCall *call;
    json_t *view;
    bool matches;
} ImageFilter;

static const char *const list_words[] = {
    "limit", "marker", "sort", "sort_key", "sort_dir", "member_status", "os_hidden", "tag", NULL};

/* A query pair that is not about paging must equal the member of that name. */
static void
image_filter_pair(const char *name, const char *value, void *opaque)
{
    ImageFilter *filter = opaque;
    const json_t *member = json_object_get(filter->view, name);
    bool flag;

    if (!filter->matches || g_strv_contains(list_words, name))
        return;
    if (strcmp(name, "visibility") == 0 && strcmp(value, "all") == 0)
        return;
    if (json_is_string(member))
        filter->matches = strcmp(json_string_value(member), value) == 0;
    else if (json_is_boolean(member))
        filter->matches = parse_bool(value, &flag) && flag == json_is_true(member);
    else if (json_is_integer(member)) {
        int64_t number;
        filter->matches = parse_int64(value, INT64_MIN, INT64_MAX, &number) &&
                          number == json_integer_value(member);
    } else
        filter->matches = g_str_has_prefix(name, "size_") || strcmp(name, "changes-since") == 0;
}

static void
image_filter_tag(const char *name, const char *value, void *opaque)
{
    ImageFilter *filter = opaque;
    json_t *tag;
    size_t i;

    if (strcmp(name, "tag") != 0 || !filter->matches)
        return;
    json_array_foreach(json_object_get(filter->view, "tags"), i, tag)
    {
        if (g_strcmp0(json_string_value(tag), value) == 0)
            return;
    }
    filter->matches = false;
}

static bool
image_is_listed(ApiCall *call, const Image *image, json_t *view)
{
    ImageFilter filter = {call, view, true};
    const char *hidden = api_query(call, "os_hidden");
    const char *visibility = api_query(call, "visibility");
    bool want_hidden = false;

    if (hidden)
        parse_bool(hidden, &want_hidden);
    if (image->is_hidden != want_hidden || !caller_may_see_image(call->caller, image))
        return false;
    /* community images are for whoever asks for them, not for everybody's list */
    if (strcmp(image->visibility, "community") == 0 && !visibility &&
        g_strcmp0(call->caller->project_id, image->owner) != 0)
        return false;
    http_request_query_each(call->request, image_filter_pair, &filter);
    http_request_query_each(call->request, image_filter_tag, &filter);
    return filter.matches;
}

/* "sort=name:asc,…" or sort_key and sort_dir; the first key counts. Newest first otherwise. */
static void
image_list_order(ApiCall *call, StoreQuery *query, char **key)
{
    static const char *const sortable[] = {"name", "created_at", "updated_at",  "status",
                                           "size", "id",         "disk_format", "container_format",
                                           NULL};
    const char *sort = api_query(call, "sort");
    const char *direction = api_query(call, "sort_dir");

    *key = NULL;
    if (sort) {
        g_auto(GStrv) words = g_strsplit_set(sort, ":,", 3);

        *key = g_strdup(words[0]);
        direction = words[0] && words[1] && strchr(sort, ':') && strcmp(words[1], "asc") == 0
                        ? "asc"
                        : "desc";
    } else {
        *key = g_strdup(api_query(call, "sort_key"));
    }
    query->descending = !direction || strcmp(direction, "asc") != 0;
    query->order_by = *key && g_strv_contains(sortable, *key) ? *key : "created_at";
}

static char *
image_next_link(ApiCall *call, const char *marker)
{
    const char *limit = api_query(call, "limit");
    const char *name = api_query(call, "name");
    g_autofree char *escaped = name ? g_uri_escape_string(name, NULL, FALSE) : NULL;

    return g_strdup_printf("/v2/images?limit=%s&marker=%s%s%s", limit ? limit : "1000", marker,
                           escaped ? "&name=" : "", escaped ? escaped : "");
}

static bool
images_list_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    StoreQuery query = {0};
    g_autofree char *order = NULL;
    g_autoptr(GPtrArray) images = NULL;
    json_auto_t *rows = json_array();
    const char *marker;
    const char *last = NULL;
    int64_t limit;
    bool started, more = false;

    /* the paging was checked before the transaction */
    api_paging(call, &limit, &marker);
    started = marker == NULL;
    image_list_order(call, &query, &order);
    images = store_list(tx, &IMAGE, &query, err);
    if (!images)
        return false;
    for (size_t i = 0; i < images->len; i++) {
        const Image *image = g_ptr_array_index(images, i);
        json_auto_t *view = NULL;

        if (!started) {
            started = strcmp(image->id, marker) == 0;
            continue;
        }
        view = view_image(image);
        if (!image_is_listed(call, image, view))
            continue;
        if ((int64_t)json_array_size(rows) >= limit) {
            more = true;
            break;
        }
        json_array_append(rows, view);
        last = image->id;
    }
    if (!started)
        return err_set(err, ERR_INVALID, "The marker %s is not in the list.", marker);
    json_t *body = json_pack("{s:O,s:s,s:s}", "images", rows, "first", "/v2/images", "schema",
                             "/v2/schemas/images");
    if (more) {
        g_autofree char *next = image_next_link(call, last);
        json_object_set_new(body, "next", json_string(next));
    }
    *(json_t **)opaque = body;
    return true;
}

static void
images_list(ApiCall *call)
{
    const char *marker;
    int64_t limit;

    if (api_paging(call, &limit, &marker))
        api_answer_read(call, images_list_read, 200);
}

#define V2(verb, path, fn, who, body)                                                              \
    {                                                                                              \
        .method = verb, .pattern = "/image/v2/" path, .handler = fn, .policy = who, .flags = body, \
        .service = API_IMAGE                                                                       \
    }

const ApiRoute api_image_routes[] = {
    V2("GET", "schemas/image", image_schema_image, API_ANYBODY, API_BODY_NONE),
    V2("GET", "schemas/images", image_schema_images, API_ANYBODY, API_BODY_NONE),
    V2("GET", "images", images_list, API_READER, API_BODY_NONE),
    V2("POST", "images", images_create, API_MEMBER, API_BODY_JSON),
    V2("GET", "images/{id}", images_show, API_READER, API_BODY_NONE),
    V2("PATCH", "images/{id}", images_update, API_MEMBER, API_BODY_JSON_ARRAY),
    V2("DELETE", "images/{id}", images_delete, API_MEMBER, API_BODY_NONE),
    V2("GET", "images/{id}/file", image_download, API_READER, API_BODY_NONE),
    {.method = "PUT",
     .pattern = "/image/v2/images/{id}/file",
     .policy = API_MEMBER,
     .service = API_IMAGE,
     .stream = &image_upload_stream},
    V2("GET", "images/{id}/members", images_members, API_READER, API_BODY_NONE),
    V2("PUT", "images/{id}/tags/{tag}", images_tag_add, API_MEMBER, API_BODY_NONE),
    V2("DELETE", "images/{id}/tags/{tag}", images_tag_remove, API_MEMBER, API_BODY_NONE),
    {.method = NULL},
};
