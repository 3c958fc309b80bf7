/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-body.c: request bodies and queries of the compute service against tables of what they may
 * hold */
#include <arpa/inet.h>
#include <string.h>

#include "api/compute-priv.h"

#define TAG_MAX      60
#define PATTERN_MAX  255
#define REGEX_EFFORT 10000 /* backtracking steps that one match may take */

static const char *const bool_words[] = {
    "True",  "TRUE",  "true", "1",   "ON",  "On",  "on", "YES", "Yes", "yes", "False",
    "FALSE", "false", "0",    "OFF", "Off", "off", "NO", "No",  "no",  NULL,
};

static bool
body_is_bool(const json_t *value)
{
    return json_is_boolean(value) ||
           (json_is_string(value) && g_strv_contains(bool_words, json_string_value(value)));
}

static bool
text_fits(const char *text, size_t least, size_t most, const char *extra)
{
    size_t length = strlen(text);

    if (length < least || length > most)
        return false;
    for (const char *c = text; *c; c++) {
        if (!g_ascii_isalnum(*c) && !strchr(extra, *c))
            return false;
    }
    return true;
}

static bool
text_is_address(const char *text, int family)
{
    struct in6_addr address;

    return inet_pton(family, text, &address) == 1;
}

static bool
text_is_hostname(const char *text)
{
    return text_fits(text, 2, 63, "-") && text[0] != '-' && text[strlen(text) - 1] != '-';
}

static bool
text_is_fqdn(const char *text)
{
    g_auto(GStrv) labels = NULL;

    if (!text_fits(text, 1, 255, "-."))
        return false;
    labels = g_strsplit(text, ".", -1);
    for (size_t i = 0; labels[i]; i++) {
        size_t length = strlen(labels[i]);

        if (length < 1 || length > 63 || labels[i][0] == '-' || labels[i][length - 1] == '-')
            return false;
    }
    return true;
}

static bool
text_is_name(const char *text)
{
    return text_is_clean(text, 255, false) && !g_ascii_isspace(text[0]) &&
           !g_ascii_isspace(text[strlen(text) - 1]);
}

static bool
body_metadata_ok(const json_t *value, const char **why)
{
    const char *key;
    const json_t *item;

    *why = "must be an object of strings";
    if (!json_is_object(value))
        return false;
    json_object_foreach((json_t *)value, key, item)
    {
        if (!text_fits(key, 1, 255, "-_:. ")) {
            *why = "has a key that is empty, longer than 255 or holds other characters than "
                   "letters, digits, '-', '_', ':', '.' and blank";
            return false;
        }
        if (!json_is_string(item) || json_string_length(item) > 255) {
            *why = "has a value that is not a string of at most 255 bytes";
            return false;
        }
    }
    return true;
}

static bool
body_int_ok(const json_t *value, int64_t least, int64_t most)
{
    int64_t number;

    if (json_is_integer(value)) {
        number = json_integer_value(value);
        return number >= least && number <= most;
    }
    return json_is_string(value) && parse_int64(json_string_value(value), least, most, &number);
}

static bool body_value_check(const json_t *value, const char *path, const BodyMember *member,
                             int microversion, GError **err);

static bool
body_array_check(const json_t *value, const char *path, const BodyMember *member, int microversion,
                 GError **err)
{
    size_t i;
    const json_t *item;

    if (!json_is_array(value))
        return err_set(err, ERR_INVALID, "Invalid input for field/attribute %s: must be an array.",
                       path);
    if (member->most > 0 && json_array_size(value) > (size_t)member->most)
        return err_set(err, ERR_INVALID,
                       "Invalid input for field/attribute %s: has %zu items, at most %" PRId64
                       " are allowed.",
                       path, json_array_size(value), member->most);
    json_array_foreach(value, i, item)
    {
        g_autofree char *item_path = g_strdup_printf("%s[%zu]", path, i);
        if (!body_value_check(item, item_path, &member->members[0], microversion, err))
            return false;
    }
    return true;
}

static bool
body_value_check(const json_t *value, const char *path, const BodyMember *member, int microversion,
                 GError **err)
{
    const char *text = json_string_value(value); /* NULL unless it is a string */
    const char *why = NULL;

    /* A NUL inside would hide the rest of the string from every check. */
    if (text && strlen(text) != json_string_length(value))
        return err_set(err, ERR_INVALID, "Invalid input for field/attribute %s: holds a NUL.",
                       path);
    switch (member->type) {
    case BODY_ANY:
        return true;
    case BODY_NULL:
        if (!json_is_null(value))
            why = "must be null";
        break;
    case BODY_TEXT_OR_NULL:
        if (json_is_null(value))
            return true;
        /* fall through */
    case BODY_TEXT:
        if (!text)
            why = "must be a string";
        else if (strlen(text) < (size_t)member->least)
            why = "is too short";
        else if (member->most > 0 && strlen(text) > (size_t)member->most)
            why = "is too long";
        break;
    case BODY_CLEAN_OR_NULL:
        if (!json_is_null(value) && (!text || !text_is_clean(text, (size_t)member->most, true)))
            why = "must be null or a string without control characters, and not too long";
        break;
    case BODY_NAME:
        if (!text || !text_is_name(text))
            why = "must be 1 to 255 printable characters, without blanks at either end";
        break;
    case BODY_BOOL_OR_AUTO:
        if (text && strcmp(text, "auto") == 0)
            return true;
        if (!body_is_bool(value))
            why = "must be \"auto\", true or false";
        break;
    case BODY_BOOL:
        if (!body_is_bool(value))
            why = "must be true or false";
        break;
    case BODY_INT_OR_NULL:
        if (json_is_null(value))
            return true;
        /* fall through */
    case BODY_INT:
        if (!body_int_ok(value, member->least, member->most))
            return err_set(err, ERR_INVALID,
                           "Invalid input for field/attribute %s: must be a whole number from "
                           "%" PRId64 " to %" PRId64 ".",
                           path, member->least, member->most);
        break;
    case BODY_UUID_OR_NULL:
        if (json_is_null(value))
            return true;
        /* fall through */
    case BODY_UUID:
        if (!text || !uuid_is_valid(text))
            why = "is not a UUID";
        break;
    case BODY_UUID_OR_EMPTY:
        if (!text || (*text && !uuid_is_valid(text)))
            why = "is not a UUID";
        break;
    case BODY_REF:
        if (!json_is_integer(value) && (!text || !text_is_clean(text, 255, false)))
            why = "must name something by a string or a number";
        break;
    case BODY_HOST_OR_NULL:
        if (json_is_null(value))
            return true;
        /* fall through */
    case BODY_HOST:
        if (!text || !text_fits(text, 1, 255, "-._"))
            why = "must be the name of a host: 1 to 255 letters, digits, '-', '.', '_'";
        break;
    case BODY_HOSTNAME:
        if (!text || !text_is_hostname(text))
            why = "must be a host name of 2 to 63 letters, digits and '-'";
        break;
    case BODY_FQDN:
        if (!text || !text_is_fqdn(text))
            why = "must be a host name: labels of 1 to 63 letters, digits and '-', with dots "
                  "between them";
        break;
    case BODY_IP:
        if (!text || (!text_is_address(text, AF_INET) && !text_is_address(text, AF_INET6)))
            why = "is not an IP address";
        break;
    case BODY_IPV4:
        if (!text || !text_is_address(text, AF_INET))
            why = "is not an IPv4 address";
        break;
    case BODY_IPV6:
        if (!text || !text_is_address(text, AF_INET6))
            why = "is not an IPv6 address";
        break;
    case BODY_WORD:
        if (!text || !g_strv_contains(member->words, text)) {
            g_autofree char *words = g_strjoinv(", ", (char **)member->words);
            return err_set(err, ERR_INVALID,
                           "Invalid input for field/attribute %s: must be one of %s.", path, words);
        }
        break;
    case BODY_METADATA:
        if (body_metadata_ok(value, &why))
            why = NULL;
        break;
    case BODY_TAG:
        if (!text || !text_is_clean(text, TAG_MAX, false) || strpbrk(text, ",/"))
            why = "is no tag: 1 to 60 characters, neither ',' nor '/'";
        break;
    case BODY_OBJECT_OR_NULL:
        if (json_is_null(value))
            return true;
        /* fall through */
    case BODY_OBJECT:
        if (json_is_object(value))
            return body_check(value, path, member->members, microversion, err);
        why = "must be an object";
        break;
    case BODY_OPEN_OBJECT:
        if (!json_is_object(value))
            why = "must be an object";
        break;
    case BODY_NETWORKS:
        if (text && (strcmp(text, "auto") == 0 || strcmp(text, "none") == 0))
            return true;
        if (text) {
            why = "must be \"auto\", \"none\" or an array";
            break;
        }
        /* fall through */
    case BODY_ARRAY:
        return body_array_check(value, path, member, microversion, err);
    }
    if (why)
        return err_set(err, ERR_INVALID, "Invalid input for field/attribute %s: %s.", path, why);
    return true;
}

static bool
body_member_known(const BodyMember *member, int microversion)
{
    return (member->since == 0 || microversion >= member->since) &&
           (member->until == 0 || microversion <= member->until);
}

bool
body_check(const json_t *object, const char *path, const BodyMember *members, int microversion,
           GError **err)
{
    const char *key;
    const json_t *value;
    const char *dot = *path ? "." : "";

    if (!json_is_object(object))
        return err_set(err, ERR_INVALID, "Invalid input for field/attribute %s: must be an object.",
                       *path ? path : "body");
    json_object_foreach((json_t *)object, key, value)
    {
        const BodyMember *known = NULL;

        for (const BodyMember *m = members; m->key && !known; m++) {
            if (strcmp(m->key, key) == 0 && body_member_known(m, microversion))
                known = m;
        }
        if (!known)
            return err_set(err, ERR_INVALID,
                           "Additional properties are not allowed ('%s' was unexpected in %s at "
                           "microversion 2.%d).",
                           key, *path ? path : "the body", microversion);
        g_autofree char *member_path = g_strconcat(path, dot, key, NULL);
        if (!body_value_check(value, member_path, known, microversion, err))
            return false;
    }
    for (const BodyMember *m = members; m->key; m++) {
        if (m->required && body_member_known(m, microversion) && !json_object_get(object, m->key))
            return err_set(err, ERR_INVALID, "'%s' is a required property of %s.", m->key,
                           *path ? path : "the body");
    }
    return true;
}

bool
body_accept(ApiCall *call, const BodyMember *members)
{
    GError *error = NULL;

    if (body_check(call->body, "", members, call->microversion, &error))
        return true;
    api_fail(call, error);
    return false;
}

bool
body_bool(const json_t *object, const char *key, bool value)
{
    const json_t *member = json_object_get(object, key);

    if (json_is_boolean(member))
        return json_is_true(member);
    if (json_is_string(member))
        parse_bool(json_string_value(member), &value);
    return value;
}

int64_t
body_int(const json_t *object, const char *key, int64_t value)
{
    const json_t *member = json_object_get(object, key);

    if (json_is_integer(member))
        return json_integer_value(member);
    if (json_is_string(member))
        parse_int64(json_string_value(member), INT64_MIN, INT64_MAX, &value);
    return value;
}

const char *
body_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

char *
body_ref(const json_t *object, const char *key)
{
    const json_t *member = json_object_get(object, key);

    if (json_is_integer(member))
        return g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(member));
    return g_strdup(json_string_value(member));
}

/* ---- queries -----------------------------------------------------------------------------------
 */

typedef struct QueryCheck {
    const char *const *names;
    char *unknown;
} QueryCheck;

static void
query_check_one(const char *name, const char *value, void *opaque)
{
    QueryCheck *check = opaque;

    if (!check->unknown && !g_strv_contains(check->names, name))
        check->unknown = g_strdup(name);
}

bool
query_accept(ApiCall *call, const char *const *names)
{
    QueryCheck check = {.names = names};
    g_autofree char *unknown = NULL;

    http_request_query_each(call->request, query_check_one, &check);
    unknown = check.unknown;
    if (!unknown)
        return true;
    api_fault(call, 400,
              "Additional properties are not allowed ('%s' was unexpected in the query at "
              "microversion 2.%d).",
              unknown, call->microversion);
    return false;
}

bool
query_bool(ApiCall *call, const char *name, bool value)
{
    const char *text = api_query(call, name);

    if (text && *text)
        parse_bool(text, &value);
    else if (text)
        value = true; /* "?all_tenants" alone asks for it */
    return value;
}

bool
query_time(ApiCall *call, const char *name, int64_t *when)
{
    const char *text = api_query(call, name);

    *when = 0;
    if (!text || clock_parse(text, when))
        return true;
    api_fault(call, 400,
              "Invalid input for query parameter %s: '%s' is not a time as 2026-11-23T03:45:29Z.",
              name, text);
    return false;
}

/* ---- patterns ----------------------------------------------------------------------------------
 */

struct Matcher {
    GRegex *regex; /* NULL: literal */
    char *literal; /* folded */
};

Matcher *
matcher_new(const char *pattern)
{
    Matcher *matcher = g_new0(Matcher, 1);

    /* The verb bounds the backtracking of one match; inside the group the client cannot raise it.
     */
    if (strlen(pattern) <= PATTERN_MAX) {
        g_autofree char *bounded =
            g_strdup_printf("(*LIMIT_MATCH=%d)(?:%s)", REGEX_EFFORT, pattern);
        matcher->regex = g_regex_new(bounded, G_REGEX_CASELESS, 0, NULL);
    }
    if (!matcher->regex)
        matcher->literal = g_utf8_casefold(pattern, -1);
    return matcher;
}

void
matcher_free(Matcher *matcher)
{
    if (!matcher)
        return;
    if (matcher->regex)
        g_regex_unref(matcher->regex);
    g_free(matcher->literal);
    g_free(matcher);
}

bool
matcher_matches(const Matcher *matcher, const char *text)
{
    if (!text)
        return false;
    if (matcher->regex)
        return g_regex_match_full(matcher->regex, text, -1, 0, 0, NULL, NULL);
    g_autofree char *folded = g_utf8_casefold(text, -1);
    return strstr(folded, matcher->literal) != NULL;
}

/* ---- pages -------------------------------------------------------------------------------------
 */

bool
page_cut(GPtrArray *list, const char *(*key_of)(const void *record), const char *marker,
         int64_t limit, bool *more, GError **err)
{
    guint first = 0;

    *more = false;
    if (marker) {
        while (first < list->len && strcmp(key_of(list->pdata[first]), marker) != 0)
            first++;
        if (first == list->len)
            return err_set(err, ERR_INVALID, "marker [%s] not found", marker);
        g_ptr_array_remove_range(list, 0, first + 1);
    }
    if (limit >= 0 && list->len > limit) {
        g_ptr_array_remove_range(list, (guint)limit, list->len - (guint)limit);
        *more = true;
    }
    return true;
}

static void
page_next_pair(const char *name, const char *value, void *opaque)
{
    GString *query = opaque;

    if (strcmp(name, "marker") == 0)
        return;
    g_autofree char *safe_name = g_uri_escape_string(name, NULL, false);
    g_autofree char *safe_value = g_uri_escape_string(value ? value : "", NULL, false);
    g_string_append_printf(query, "%s=%s&", safe_name, safe_value);
}

json_t *
page_next(ApiCall *call, const char *path, const char *marker)
{
    g_autoptr(GString) query = g_string_new(NULL);
    g_autofree char *safe = g_uri_escape_string(marker, NULL, false);
    g_autofree char *url = NULL;

    http_request_query_each(call->request, page_next_pair, query);
    url = api_url(call->api, "%s?%smarker=%s", path, query->str, safe);
    return json_pack("[{s:s,s:s}]", "rel", "next", "href", url);
}
