/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* json-body.c: reading JSON that somebody else wrote
 *
 * jansson refuses malformed UTF-8, NUL characters and numbers out of range. What it does not do is
 * bound the depth to something small, so that is measured before anything is built. */
#include <stdarg.h>
#include <string.h>

#include "api/api-priv.h"

#define JSON_DEPTH_MAX 32

static bool
json_depth_is_bounded(const char *text, size_t size)
{
    bool in_string = false;
    int depth = 0;

    for (size_t i = 0; i < size; i++) {
        char c = text[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX)
                return false;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return true;
}

json_t *
json_parse_request(const char *text, size_t size, GError **err)
{
    json_error_t problem;
    json_t *json;

    if (!json_depth_is_bounded(text, size)) {
        err_set(err, ERR_INVALID, "The body is nested more than %d levels deep.", JSON_DEPTH_MAX);
        return NULL;
    }
    json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
    if (!json) {
        g_autofree char *clean = g_utf8_make_valid(problem.text, -1);
        err_set(err, ERR_INVALID, "The body is not valid JSON (line %d, column %d: %s).",
                problem.line, problem.column, clean);
    }
    return json;
}

static const char *
json_type_word(json_type type)
{
    switch (type) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "something else";
}

/* The member, or NULL if it is absent or null: most clients send null for "not given". */
static const json_t *
json_member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_null(value) ? NULL : value;
}

bool
json_get_text(const json_t *object, const char *key, size_t max, const char **text, GError **err)
{
    const json_t *value = json_member(object, key);

    *text = NULL;
    if (!value)
        return true;
    if (!json_is_string(value))
        return err_set(err, ERR_INVALID, "'%s' must be a string, not %s.", key,
                       json_type_word(json_typeof(value)));
    if (json_string_length(value) > max)
        return err_set(err, ERR_INVALID, "'%s' is longer than %zu bytes.", key, max);
    *text = json_string_value(value);
    return true;
}

bool
json_need_text(const json_t *object, const char *key, size_t max, const char **text, GError **err)
{
    if (!json_get_text(object, key, max, text, err))
        return false;
    if (!*text)
        return err_set(err, ERR_INVALID, "'%s' is missing.", key);
    if (!**text)
        return err_set(err, ERR_INVALID, "'%s' must not be empty.", key);
    return true;
}

bool
json_get_name(const json_t *object, const char *key, size_t max, const char **text, GError **err)
{
    if (!json_get_text(object, key, max, text, err))
        return false;
    if (*text && !text_is_clean(*text, max, true))
        return err_set(err, ERR_INVALID, "'%s' contains control characters.", key);
    return true;
}

bool
json_need_name(const json_t *object, const char *key, size_t max, const char **text, GError **err)
{
    if (!json_need_text(object, key, max, text, err))
        return false;
    if (!text_is_clean(*text, max, false))
        return err_set(err, ERR_INVALID, "'%s' contains control characters.", key);
    return true;
}

bool
json_get_int(const json_t *object, const char *key, int64_t least, int64_t most, int64_t *value,
             GError **err)
{
    const json_t *member = json_member(object, key);
    int64_t number;

    if (!member)
        return true;
    if (json_is_integer(member)) {
        number = json_integer_value(member);
    } else if (!json_is_string(member) ||
               !parse_int64(json_string_value(member), INT64_MIN, INT64_MAX, &number)) {
        return err_set(err, ERR_INVALID, "'%s' must be a whole number, not %s.", key,
                       json_type_word(json_typeof(member)));
    }
    if (number < least || number > most)
        return err_set(err, ERR_INVALID,
                       "'%s' must lie between %" G_GINT64_FORMAT " and %" G_GINT64_FORMAT ".", key,
                       least, most);
    *value = number;
    return true;
}

bool
json_get_bool(const json_t *object, const char *key, bool *value, GError **err)
{
    const json_t *member = json_member(object, key);

    if (!member)
        return true;
    if (json_is_boolean(member)) {
        *value = json_is_true(member);
        return true;
    }
    if (json_is_integer(member) &&
        (json_integer_value(member) == 0 || json_integer_value(member) == 1)) {
        *value = json_integer_value(member) == 1;
        return true;
    }
    if (json_is_string(member) && parse_bool(json_string_value(member), value))
        return true;
    return err_set(err, ERR_INVALID, "'%s' must be true or false.", key);
}

static bool
json_get_container(const json_t *object, const char *key, json_type type, const json_t **value,
                   GError **err)
{
    const json_t *member = json_member(object, key);

    *value = NULL;
    if (member && json_typeof(member) != type)
        return err_set(err, ERR_INVALID, "'%s' must be %s, not %s.", key, json_type_word(type),
                       json_type_word(json_typeof(member)));
    *value = member;
    return true;
}

bool
json_get_object(const json_t *object, const char *key, const json_t **value, GError **err)
{
    return json_get_container(object, key, JSON_OBJECT, value, err);
}

bool
json_need_object(const json_t *object, const char *key, const json_t **value, GError **err)
{
    if (!json_get_object(object, key, value, err))
        return false;
    return *value || err_set(err, ERR_INVALID, "'%s' is missing: an object is expected.", key);
}

bool
json_get_array(const json_t *object, const char *key, size_t max, const json_t **value,
               GError **err)
{
    if (!json_get_container(object, key, JSON_ARRAY, value, err))
        return false;
    if (json_array_size(*value) <= max)
        return true;
    *value = NULL;
    return err_set(err, ERR_INVALID, "'%s' has more than %zu elements.", key, max);
}

bool
json_only_keys(const json_t *object, GError **err, ...)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value)
    {
        bool known = false;
        const char *allowed;
        va_list keys;

        va_start(keys, err);
        while (!known && (allowed = va_arg(keys, const char *)))
            known = strcmp(key, allowed) == 0;
        va_end(keys);
        if (!known)
            return err_set(err, ERR_INVALID, "'%.64s' is not known here.", key);
    }
    return true;
}

json_t *
json_text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

json_t *
json_parse_stored(const char *text, json_type type)
{
    json_t *json = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;

    if (json && json_typeof(json) == type)
        return json;
    json_decref(json);
    return type == JSON_ARRAY    ? json_array()
           : type == JSON_STRING ? json_string("")
                                 : json_object();
}

char *
json_to_text(const json_t *json)
{
    char *dumped = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    char *text = g_strdup(dumped ? dumped : "null");

    free(dumped);
    return text;
}
