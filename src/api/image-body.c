/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* image-body.c: what clients may say about an image: its attributes, its free properties, JSON
 * patch
 *
 * Create and patch come down to the same thing: set one member. A table says which members are
 * ours, which of them a client may set, and by which function; everything else is a free property,
 * a string. */
#include <string.h>

#include "api/image-priv.h"

#define PROPERTY_KEY_MAX   255
#define PROPERTY_VALUE_MAX 4096

typedef bool (*MemberSet)(ApiCall *call, Image *image, const char *key, const json_t *value,
                          GError **err);

static const char *
value_text(const json_t *value)
{
    return json_is_string(value) ? json_string_value(value) : NULL;
}

static bool
set_name(ApiCall *call, Image *image, const char *key, const json_t *value, GError **err)
{
    const char *text = value_text(value);

    if (!json_is_null(value) && (!text || !text_is_clean(text, 255, true)))
        return err_set(err, ERR_INVALID,
                       "'name' must be a string of at most 255 bytes without control characters.");
    text_set(&image->name, text);
    return true;
}

static bool
format_is_open(const Image *image, const char *key, GError **err)
{
    return image->status == IMAGE_QUEUED ||
           err_set(err, ERR_FORBIDDEN, "'%s' can be changed only while the image has no data.",
                   key);
}

static bool
set_disk_format(ApiCall *call, Image *image, const char *key, const json_t *value, GError **err)
{
    const char *text = value_text(value);

    if (!format_is_open(image, key, err))
        return false;
    if (!json_is_null(value) && (!text || (strcmp(text, "raw") != 0 && strcmp(text, "qcow2") != 0)))
        return err_set(
            err, ERR_INVALID,
            "'disk_format' must be raw or qcow2: convert the image with qemu-img first.");
    text_set(&image->disk_format, text);
    return true;
}

static bool
set_container_format(ApiCall *call, Image *image, const char *key, const json_t *value,
                     GError **err)
{
    const char *text = value_text(value);

    if (!format_is_open(image, key, err))
        return false;
    if (!json_is_null(value) && (!text || strcmp(text, "bare") != 0))
        return err_set(err, ERR_INVALID, "'container_format' must be bare.");
    text_set(&image->container_format, text);
    return true;
}

static bool
set_visibility(ApiCall *call, Image *image, const char *key, const json_t *value, GError **err)
{
    static const char *const known[] = {"public", "private", "shared", "community", NULL};
    const char *text = value_text(value);

    if (!text || !g_strv_contains(known, text))
        return err_set(err, ERR_INVALID,
                       "'visibility' must be public, private, shared or community.");
    if (strcmp(text, "public") == 0 && !call->caller->is_admin &&
        g_strcmp0(image->visibility, "public") != 0)
        return err_set(err, ERR_FORBIDDEN, "Only an administrator can make an image public.");
    text_set(&image->visibility, text);
    return true;
}

static bool
set_owner(ApiCall *call, Image *image, const char *key, const json_t *value, GError **err)
{
    const char *text = value_text(value);

    if (!text || !text_is_clean(text, 64, false))
        return err_set(err, ERR_INVALID, "'owner' must be the id of a project.");
    if (!call->caller->is_admin && strcmp(text, image->owner) != 0)
        return err_set(err, ERR_FORBIDDEN, "Only an administrator can change an image's owner.");
    text_set(&image->owner, text);
    return true;
}

static bool
set_number(const json_t *value, const char *key, int64_t *number, GError **err)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > INT32_MAX)
        return err_set(err, ERR_INVALID, "'%s' must be a whole number from 0 to %d.", key,
                       INT32_MAX);
    *number = json_integer_value(value);
    return true;
}

static bool
set_min_disk(ApiCall *call, Image *image, const char *key, const json_t *value, GError **err)
{
    return set_number(value, key, &image->min_disk_gb, err);
}

static bool
set_min_ram(ApiCall *call, Image *image, const char *key, const json_t *value, GError **err)
{
    return set_number(value, key, &image->min_ram_mb, err);
}

static bool
set_flag(const json_t *value, const char *key, bool *flag, GError **err)
{
    if (!json_is_boolean(value))
        return err_set(err, ERR_INVALID, "'%s' must be true or false.", key);
    *flag = json_is_true(value);
    return true;
}

static bool
set_protected(ApiCall *call, Image *image, const char *key, const json_t *value, GError **err)
{
    return set_flag(value, key, &image->is_protected, err);
}

static bool
set_hidden(ApiCall *call, Image *image, const char *key, const json_t *value, GError **err)
{
    return set_flag(value, key, &image->is_hidden, err);
}

static bool
set_tags(ApiCall *call, Image *image, const char *key, const json_t *value, GError **err)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    json_auto_t *tags = json_array();
    json_t *tag;
    size_t i;

    if (!json_is_array(value) || json_array_size(value) > IMAGE_TAGS_MAX)
        return err_set(err, ERR_INVALID, "'tags' must be an array of at most %d strings.",
                       IMAGE_TAGS_MAX);
    json_array_foreach((json_t *)value, i, tag)
    {
        const char *text = value_text(tag);

        if (!text || !text_is_clean(text, 255, false))
            return err_set(err, ERR_INVALID,
                           "A tag must be a string of 1 to 255 bytes without control characters.");
        if (g_hash_table_add(seen, (char *)text))
            json_array_append(tags, tag);
    }
    g_free(image->tags);
    image->tags = json_to_text(tags);
    return true;
}

static const struct {
    const char *key;
    MemberSet set; /* NULL: read-only */
} attributes[] = {
    {"name", set_name},
    {"disk_format", set_disk_format},
    {"container_format", set_container_format},
    {"visibility", set_visibility},
    {"owner", set_owner},
    {"min_disk", set_min_disk},
    {"min_ram", set_min_ram},
    {"protected", set_protected},
    {"os_hidden", set_hidden},
    {"tags", set_tags},
    {"id", NULL},
    {"status", NULL},
    {"size", NULL},
    {"virtual_size", NULL},
    {"checksum", NULL},
    {"os_hash_algo", NULL},
    {"os_hash_value", NULL},
    {"created_at", NULL},
    {"updated_at", NULL},
    {"self", NULL},
    {"file", NULL},
    {"schema", NULL},
    {"first", NULL},
    {"next", NULL},
    {"location", NULL},
    {"locations", NULL},
    {"direct_url", NULL},
    {"deleted", NULL},
    {"deleted_at", NULL},
    {"stores", NULL},
};

bool
image_is_attribute(const char *key)
{
    for (size_t i = 0; i < G_N_ELEMENTS(attributes); i++)
        if (strcmp(attributes[i].key, key) == 0)
            return true;
    return false;
}

static bool
set_property(json_t *properties, const char *key, const json_t *value, GError **err)
{
    if (!text_is_clean(key, PROPERTY_KEY_MAX, false))
        return err_set(err, ERR_INVALID,
                       "A property's name must have 1 to %d bytes and no control characters.",
                       PROPERTY_KEY_MAX);
    if (!json_is_string(value) || json_string_length(value) > PROPERTY_VALUE_MAX)
        return err_set(err, ERR_INVALID, "The property '%s' must be a string of at most %d bytes.",
                       key, PROPERTY_VALUE_MAX);
    json_object_set(properties, key, (json_t *)value);
    return json_object_size(properties) <= IMAGE_PROPERTIES_MAX ||
           err_set(err, ERR_QUOTA, "An image has at most %d properties.", IMAGE_PROPERTIES_MAX);
}

bool
image_set_member(ApiCall *call, Image *image, json_t *properties, const char *key,
                 const json_t *value, GError **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(attributes); i++) {
        if (strcmp(attributes[i].key, key) != 0)
            continue;
        if (!attributes[i].set)
            return err_set(err, ERR_FORBIDDEN, "Attribute '%s' is read-only.", key);
        return attributes[i].set(call, image, key, value, err);
    }
    return set_property(properties, key, value, err);
}

/* ---- JSON patch -------------------------------------------------------------------------------
 */

/* "/a~1b" → "a/b"; NULL unless it names one member of the image */
static char *
patch_key(const char *path)
{
    g_autoptr(GString) key = g_string_new(NULL);

    if (*path++ != '/' || !*path)
        return NULL;
    for (; *path; path++) {
        if (*path == '/')
            return NULL;
        if (*path != '~')
            g_string_append_c(key, *path);
        else if (path[1] == '0' || path[1] == '1')
            g_string_append_c(key, *++path == '0' ? '~' : '/');
        else
            return NULL;
    }
    return g_string_free(g_steal_pointer(&key), FALSE);
}

static bool
patch_apply_one(ApiCall *call, Image *image, json_t *properties, const json_t *step, GError **err)
{
    const char *op, *path;
    const json_t *value = json_object_get(step, "value");
    g_autofree char *key = NULL;
    bool known;

    if (!json_is_object(step))
        return err_set(err, ERR_INVALID, "Each step of the patch must be an object.");
    if (!json_need_text(step, "op", 16, &op, err) ||
        !json_need_text(step, "path", 2 * PROPERTY_KEY_MAX, &path, err))
        return false;
    key = patch_key(path);
    if (!key)
        return err_set(err, ERR_INVALID,
                       "'path' must be a slash and the name of one member of the image.");
    known = image_is_attribute(key) || json_object_get(properties, key);
    if (strcmp(op, "remove") == 0) {
        if (image_is_attribute(key))
            return err_set(err, ERR_FORBIDDEN, "Attribute '%s' may not be removed.", key);
        return json_object_del(properties, key) == 0 ||
               err_set(err, ERR_CONFLICT, "Property %s does not exist.", key);
    }
    if (strcmp(op, "add") != 0 && strcmp(op, "replace") != 0)
        return err_set(err, ERR_INVALID, "'op' must be add, replace or remove, not '%s'.", op);
    if (!value)
        return err_set(err, ERR_INVALID, "'value' is missing.");
    if (strcmp(op, "replace") == 0 && !known)
        return err_set(err, ERR_CONFLICT, "Property %s does not exist.", key);
    return image_set_member(call, image, properties, key, value, err);
}

bool
image_apply_patch(ApiCall *call, Image *image, json_t *properties, const json_t *patch,
                  GError **err)
{
    json_t *step;
    size_t i;

    json_array_foreach((json_t *)patch, i, step)
    {
        if (!patch_apply_one(call, image, properties, step, err))
            return false;
    }
    return true;
}
