/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-list.c: lists of volumes and snapshots: filters, order, pages
 *
 * The statement picks the project's rows; filters and order are applied here, since Cinder's names,
 * patterns and JSON members do not map onto columns one to one. The order is total (the id is the
 * last key), so a page continues exactly after its marker. */
#include <string.h>

#include "api/volume-priv.h"

#define SORT_KEYS_MAX 8

typedef struct SortKey {
    const Field *field;
    bool descending;
} SortKey;

typedef struct TimeBound { /* "gt:TIME" and the like, from microversion 3.60 on */
    const Field *field;
    char op[4];
    int64_t at;
} TimeBound;

typedef struct TextMatch {
    const Field *field;
    char *text;
    bool is_part;
} TextMatch;

typedef struct JsonMatch {
    const Field *field;
    json_t *members;
} JsonMatch;

typedef struct ListRequest {
    const ListKind *kind;
    bool detail, with_count;
    const char *project; /* NULL: all */
    bool nothing;        /* a filter that no row passes */
    int64_t limit, offset;
    const char *marker;
    SortKey sort[SORT_KEYS_MAX];
    size_t n_sort;
    GArray *texts, *times, *members;
    json_t *answer;
} ListRequest;

static void
text_match_clear(void *data)
{
    g_free(((TextMatch *)data)->text);
}

static void
json_match_clear(void *data)
{
    json_decref(((JsonMatch *)data)->members);
}

static void
list_request_clear(ListRequest *list)
{
    g_array_unref(list->texts);
    g_array_unref(list->times);
    g_array_unref(list->members);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ListRequest, list_request_clear)

/* ---- what the query asks for ------------------------------------------------------------------
 */

/* Cinder's clients send a dictionary as JSON or as Python writes it: {'k': 'v'}. */
static json_t *
dictionary_parse(const char *text)
{
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    g_autoptr(GString) converted = NULL;

    if (!object && !strchr(text, '"')) {
        converted = g_string_new(text);
        g_string_replace(converted, "u'", "'", 0);
        g_string_replace(converted, "'", "\"", 0);
        object = json_loads(converted->str, JSON_REJECT_DUPLICATES, NULL);
    }
    if (json_is_object(object))
        return object;
    json_decref(object);
    return NULL;
}

static bool
list_read_json(ApiCall *call, ListRequest *list)
{
    for (const char *const *pair = list->kind->json_filters; *pair; pair += 2) {
        const char *text = api_query(call, pair[0]);
        JsonMatch match;

        if (!text)
            continue;
        match.field = record_field(list->kind->type, pair[1]);
        match.members = dictionary_parse(text);
        if (!match.members) {
            api_fault(call, 400, "The filter '%s' must be an object of texts.", pair[0]);
            return false;
        }
        g_array_append_val(list->members, match);
    }
    return true;
}

static bool
list_read_texts(ApiCall *call, ListRequest *list)
{
    for (const struct ListFilter *filter = list->kind->filters; filter->name; filter++) {
        g_autofree char *part_name = g_strconcat(filter->name, "~", NULL);
        const char *text = api_query(call, filter->name);
        const char *part = api_microversion_at_least(call, 31) ? api_query(call, part_name) : NULL;

        for (int i = 0; i < 2; i++) {
            const char *wanted = i == 0 ? text : part;
            TextMatch match = {.is_part = i == 1};
            bool on;

            if (!wanted)
                continue;
            if (!filter->column) {
                list->nothing = true;
                continue;
            }
            match.field = record_field(list->kind->type, filter->column);
            if (match.field->type == FIELD_BOOL && !parse_bool(wanted, &on)) {
                api_fault(call, 400, "Invalid value '%s' of the filter '%s': true or false.",
                          wanted, filter->name);
                return false;
            }
            match.text = g_strdup(wanted);
            g_array_append_val(list->texts, match);
        }
    }
    return true;
}

static bool
list_read_times(ApiCall *call, ListRequest *list)
{
    static const char *const names[] = {"created_at", "updated_at"};
    static const char *const time_ops[] = {"eq", "neq", "gt", "gte", "lt", "lte", NULL};

    for (size_t i = 0; i < G_N_ELEMENTS(names) && api_microversion_at_least(call, 60); i++) {
        const char *text = api_query(call, names[i]);
        g_auto(GStrv) bounds = text ? g_strsplit(text, ",", 8) : NULL;

        for (size_t j = 0; bounds && bounds[j]; j++) {
            TimeBound bound = {.field = record_field(list->kind->type, names[i]), .op = "eq"};
            const char *time = bounds[j];
            size_t word = strspn(time, "abcdefghijklmnopqrstuvwxyz");

            if (word > 0 && word < sizeof bound.op && time[word] == ':') {
                memcpy(bound.op, time, word);
                bound.op[word] = '\0';
                time += word + 1;
            }
            if (!g_strv_contains(time_ops, bound.op) || !clock_parse(time, &bound.at)) {
                api_fault(call, 400,
                          "The filter '%s' must be times, each with one of gt, gte, lt, lte, eq, "
                          "neq and a colon before it.",
                          names[i]);
                return false;
            }
            g_array_append_val(list->times, bound);
        }
    }
    return true;
}

static bool
list_add_sort(ApiCall *call, ListRequest *list, const char *key, const char *direction)
{
    static const char *const renamed[][2] = {
        {"display_name", "name"}, {"display_description", "description"},
        {"size", "size_gb"},      {"volume_size", "size_gb"},
        {"host", "id"},           {"volume_type_id", "volume_type"},
    };
    const char *column = key;
    SortKey *sort;

    for (size_t i = 0; i < G_N_ELEMENTS(renamed); i++) {
        if (strcmp(renamed[i][0], key) == 0)
            column = renamed[i][1];
    }
    if (list->n_sort == SORT_KEYS_MAX - 1 || !record_field(list->kind->type, column)) {
        api_fault(call, 400, "Invalid input received: Invalid sort keys: %s", key);
        return false;
    }
    if (direction && strcmp(direction, "asc") != 0 && strcmp(direction, "desc") != 0) {
        api_fault(call, 400,
                  "Invalid input received: Invalid sort direction '%s': must be asc or desc.",
                  direction);
        return false;
    }
    sort = &list->sort[list->n_sort++];
    sort->field = record_field(list->kind->type, column);
    sort->descending = !direction || strcmp(direction, "desc") == 0;
    return true;
}

static bool
list_read_sort(ApiCall *call, ListRequest *list)
{
    const char *text = api_query(call, "sort");
    g_auto(GStrv) keys = text ? g_strsplit(text, ",", SORT_KEYS_MAX + 1) : NULL;

    if (text && (api_query(call, "sort_key") || api_query(call, "sort_dir"))) {
        api_fault(call, 400,
                  "The query has both 'sort' and 'sort_key' or 'sort_dir': one of them.");
        return false;
    }
    for (size_t i = 0; keys && keys[i]; i++) {
        char *direction = strchr(keys[i], ':');

        if (direction)
            *direction++ = '\0';
        if (!list_add_sort(call, list, g_strstrip(keys[i]), direction))
            return false;
    }
    if (!text &&
        !list_add_sort(call, list,
                       api_query(call, "sort_key") ? api_query(call, "sort_key") : "created_at",
                       api_query(call, "sort_dir")))
        return false;
    list->sort[list->n_sort].field = &list->kind->type->fields[0];
    list->sort[list->n_sort].descending = list->sort[list->n_sort - 1].descending;
    list->n_sort++;
    return true;
}

static bool
list_read(ApiCall *call, ListRequest *list)
{
    const char *everybody = api_query(call, "all_tenants"), *offset = api_query(call, "offset");
    const char *count = api_query(call, "with_count");
    bool all = false;

    if (!api_paging(call, &list->limit, &list->marker))
        return false;
    if (offset && !parse_int64(offset, 0, INT32_MAX, &list->offset)) {
        api_fault(call, 400, "The query's offset must be a whole number that is not negative.");
        return false;
    }
    if (count && api_microversion_at_least(call, 45) && !parse_bool(count, &list->with_count)) {
        api_fault(call, 400, "Invalid value '%s' of with_count: true or false.", count);
        return false;
    }
    if (everybody && *everybody && !parse_bool(everybody, &all)) {
        api_fault(call, 400, "Invalid value '%s' of all_tenants: true or false.", everybody);
        return false;
    }
    /* Clients ask for all_tenants in everybody's name: who may not sees his own. */
    all = all && call->caller->is_admin;
    list->project = all ? api_query(call, "project_id") : call->caller->project_id;
    return list_read_sort(call, list) && list_read_texts(call, list) &&
           list_read_times(call, list) && list_read_json(call, list);
}

/* ---- rows -------------------------------------------------------------------------------------
 */

static const char *
field_text(const void *record, const Field *field)
{
    const void *at = (const char *)record + field->offset;

    return field->type == FIELD_ENUM ? field->names[*(const int *)at] : *(const char *const *)at;
}

static int64_t
field_number(const void *record, const Field *field)
{
    const void *at = (const char *)record + field->offset;

    return field->type == FIELD_BOOL ? *(const bool *)at : *(const int64_t *)at;
}

static bool
field_is_number(const Field *field)
{
    return field->type == FIELD_INT || field->type == FIELD_BOOL;
}

static bool
text_matches(const TextMatch *match, const void *record)
{
    int64_t number = 0;
    bool on = false;
    const char *text;

    if (match->field->type == FIELD_BOOL)
        return parse_bool(match->text, &on) && on == (field_number(record, match->field) != 0);
    if (match->field->type == FIELD_INT)
        return parse_int64(match->text, INT64_MIN, INT64_MAX, &number) &&
               number == field_number(record, match->field);
    text = field_text(record, match->field);
    if (!text)
        return false;
    return match->is_part ? strstr(text, match->text) != NULL : strcmp(text, match->text) == 0;
}

static bool
time_matches(const TimeBound *bound, const void *record)
{
    int64_t at = field_number(record, bound->field);

    if (strcmp(bound->op, "neq") == 0)
        return at != bound->at;
    return (bound->op[0] == 'g' && at > bound->at) || (bound->op[0] == 'l' && at < bound->at) ||
           ((bound->op[0] == 'e' || bound->op[2] == 'e') && at == bound->at);
}

static bool
json_matches(const JsonMatch *match, const void *record)
{
    json_auto_t *object = json_parse_stored(field_text(record, match->field), JSON_OBJECT);
    const char *key;
    json_t *value;

    json_object_foreach(match->members, key, value)
    {
        if (!json_equal(json_object_get(object, key), value))
            return false;
    }
    return true;
}

static bool
list_admits(const ListRequest *list, const void *record)
{
    for (guint i = 0; i < list->texts->len; i++) {
        if (!text_matches(&g_array_index(list->texts, TextMatch, i), record))
            return false;
    }
    for (guint i = 0; i < list->times->len; i++) {
        if (!time_matches(&g_array_index(list->times, TimeBound, i), record))
            return false;
    }
    for (guint i = 0; i < list->members->len; i++) {
        if (!json_matches(&g_array_index(list->members, JsonMatch, i), record))
            return false;
    }
    return true;
}

static int
record_compare(const void *a, const void *b, void *opaque)
{
    const void *left = *(const void *const *)a, *right = *(const void *const *)b;
    const ListRequest *list = opaque;

    for (size_t i = 0; i < list->n_sort; i++) {
        const Field *field = list->sort[i].field;
        int order;

        if (field_is_number(field)) {
            int64_t x = field_number(left, field), y = field_number(right, field);
            order = (x > y) - (x < y);
        } else {
            order = g_strcmp0(field_text(left, field), field_text(right, field));
        }
        if (order != 0)
            return list->sort[i].descending ? -order : order;
    }
    return 0;
}

static void
next_query_add(const char *name, const char *value, void *opaque)
{
    GString *text = opaque;

    if (strcmp(name, "marker") == 0 || strcmp(name, "offset") == 0)
        return;
    g_string_append_uri_escaped(text, name, NULL, false);
    g_string_append_c(text, '=');
    g_string_append_uri_escaped(text, value, NULL, false);
    g_string_append_c(text, '&');
}

static json_t *
list_next_link(ApiCall *call, const ListRequest *list, const char *last)
{
    g_autoptr(GString) query = g_string_new(NULL);
    g_autofree char *url = NULL;

    http_request_query_each(call->request, next_query_add, query);
    url = api_url(call->api, "/volume/v3/%s/%s%s?%smarker=%s", api_param(call, "project"),
                  list->kind->collection, list->detail ? "/detail" : "", query->str, last);
    return json_pack("[{s:s,s:s}]", "rel", "next", "href", url);
}

/* Index of the first row of the page; -1 with *err if the marker is no row. */
static int64_t
list_page_begin(const ListRequest *list, const GPtrArray *rows, GError **err)
{
    if (!list->marker)
        return list->offset;
    for (guint i = 0; i < rows->len; i++) {
        if (strcmp(field_text(rows->pdata[i], &list->kind->type->fields[0]), list->marker) == 0)
            return (int64_t)i + 1 + list->offset;
    }
    err_set(err, ERR_NOT_FOUND, "%s %s could not be found.", list->kind->noun, list->marker);
    return -1;
}

static bool
list_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    ListRequest *list = opaque;
    StoreCond where[] = {{"project_id", STORE_EQ, list->project, 0}, {0}};
    StoreQuery query = {.where = list->project ? where : NULL};
    g_autoptr(GPtrArray) rows = store_list(tx, list->kind->type, &query, err);
    json_auto_t *views = json_array();
    const char *last = NULL;
    int64_t begin;
    guint kept = 0;

    if (!rows)
        return false;
    for (guint i = 0; i < rows->len; i++) {
        if (!list->nothing && list_admits(list, rows->pdata[i])) {
            void *row = rows->pdata[i];

            rows->pdata[i] = rows->pdata[kept];
            rows->pdata[kept++] = row;
        }
    }
    g_ptr_array_set_size(rows, (int)kept);
    g_ptr_array_sort_with_data(rows, record_compare, list);
    begin = list_page_begin(list, rows, err);
    if (begin < 0)
        return false;
    for (int64_t i = begin; i < rows->len && i < begin + list->limit; i++) {
        json_t *view = list->kind->view(tx, call, rows->pdata[i], list->detail, err);

        if (!view)
            return false;
        json_array_append_new(views, view);
        last = field_text(rows->pdata[i], &list->kind->type->fields[0]);
    }
    list->answer = json_pack("{s:O}", list->kind->collection, views);
    if (last && begin + list->limit < rows->len) {
        g_autofree char *links = g_strconcat(list->kind->collection, "_links", NULL);

        json_object_set_new(list->answer, links, list_next_link(call, list, last));
    }
    if (list->with_count)
        json_object_set_new(list->answer, "count", json_integer(rows->len));
    return true;
}

void
volume_list(ApiCall *call, const ListKind *kind, bool detail)
{
    g_auto(ListRequest) list = {
        .kind = kind,
        .detail = detail,
        .texts = g_array_new(FALSE, FALSE, sizeof(TextMatch)),
        .times = g_array_new(FALSE, FALSE, sizeof(TimeBound)),
        .members = g_array_new(FALSE, FALSE, sizeof(JsonMatch)),
    };

    g_array_set_clear_func(list.texts, text_match_clear);
    g_array_set_clear_func(list.members, json_match_clear);
    if (list_read(call, &list) && api_read(call, list_run, &list))
        api_reply(call, 200, list.answer);
}
