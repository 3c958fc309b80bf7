/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* conf-edit.c: sets keys in libvirt's configuration files and leaves everything else as it is
 *
 * The file is read once (conf-scan.c), which yields where each statement and its value begin and
 * end. The changes are then cut into the original text, so that what is not asked for survives to
 * the byte: foreign keys, comments, order, line ends.
 *
 * libvirt obeys the first of several settings of one key and says nothing about the others. Here
 * the first is the one that is changed, and the others are turned into comments, because a
 * setting that looks as if it held is worse than none. */
#include "prepare/conf-scan.h"

#include <string.h>

void
edit_free(void *opaque)
{
    Edit *edit = opaque;
    g_free(edit->insert);
    g_free(edit);
}

bool
conf_is_commented(const char *line, const char *key, bool with_space)
{
    if (*line++ != '#')
        return false;
    if (with_space != is_blank(*line))
        return false;
    while (is_blank(*line))
        line++;
    size_t length = strlen(key);
    if (strncmp(line, key, length) != 0)
        return false;
    line += length;
    while (is_blank(*line))
        line++;
    return *line == '=';
}

/* The end of a commented default: a list may go on over more comment lines. */
static size_t
commented_end(const char *text, size_t at)
{
    size_t end = line_next(text, at);
    size_t equals = at + strcspn(text + at, "=");
    const char *value = text + equals + 1 + strspn(text + equals + 1, " \t");

    if (*value != '[' || memchr(value, ']', (size_t)(text + end - value)) != NULL)
        return end;
    for (size_t next = end; text[next] == '#'; next = line_next(text, next)) {
        size_t next_end = line_next(text, next);
        if (memchr(text + next, ']', next_end - next) != NULL)
            return next_end;
    }
    return end;
}

bool
conf_inside_statement(const GPtrArray *statements, size_t at)
{
    for (unsigned i = 0; i < statements->len; i++) {
        const Statement *statement = g_ptr_array_index(statements, i);
        if (at >= statement->lines.start && at < statement->lines.end)
            return true;
    }
    return false;
}

size_t
conf_place_of(const char *text, const GPtrArray *statements, const char *key)
{
    for (int with_space = 0; with_space <= 1; with_space++) {
        size_t place = SIZE_MAX;
        for (size_t at = 0; text[at] != '\0'; at = line_next(text, at)) {
            if (conf_is_commented(text + at, key, with_space) &&
                !conf_inside_statement(statements, at))
                place = commented_end(text, at);
        }
        if (place != SIZE_MAX)
            return place;
    }
    return strlen(text);
}

void
edit_add(GPtrArray *edits, size_t at, size_t remove, char *insert)
{
    Edit edit = {.at = at, .remove = remove, .insert = insert, .order = edits->len};
    g_ptr_array_add(edits, g_memdup2(&edit, sizeof edit));
}

static int
edit_compare(const void *left, const void *right)
{
    const Edit *a = *(Edit *const *)left, *b = *(Edit *const *)right;
    if (a->at != b->at)
        return a->at < b->at ? -1 : 1;
    if ((a->remove == 0) != (b->remove == 0))
        return a->remove == 0 ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static void
comment_out(GPtrArray *edits, const char *text, const Statement *statement, const char *mark)
{
    for (size_t at = statement->lines.start; at < statement->lines.end; at = line_next(text, at))
        edit_add(edits, at, 0, g_strdup(mark));
}

static void
notice_add(GPtrArray *notices, char *notice)
{
    if (notices != NULL)
        g_ptr_array_add(notices, notice);
    else
        g_free(notice);
}

/* Every active setting of the key but keep becomes a comment. */
static void
others_comment_out(GPtrArray *edits, const char *text, const GPtrArray *statements, const char *key,
                   const Statement *keep, GPtrArray *notices)
{
    for (unsigned i = 0; i < statements->len; i++) {
        const Statement *statement = g_ptr_array_index(statements, i);
        if (statement == keep || !g_str_equal(statement->key, key))
            continue;
        comment_out(edits, text, statement, keep != NULL ? DUPLICATE_COMMENT : "#");
        if (keep != NULL)
            notice_add(notices,
                       g_strdup_printf("line %u: a second \"%s\", which libvirt never looked at "
                                       "(line %u came first), is now a comment",
                                       statement->line, key, keep->line));
    }
}

static void
setting_insert(GPtrArray *edits, const char *text, size_t at, const ConfSetting *setting)
{
    const char *end_of_line = strstr(text, "\r\n") != NULL ? "\r\n" : "\n";
    bool open = at > 0 && !is_line_end(text[at - 1]);
    /* A last line without an end gets one, once. */
    if (open && edits->len > 0) {
        for (unsigned i = 0; i < edits->len; i++) {
            const Edit *edit = g_ptr_array_index(edits, i);
            open = open && !(edit->at == at && edit->remove == 0);
        }
    }
    edit_add(edits, at, 0,
             g_strdup_printf("%s%s = %s%s", open ? end_of_line : "", setting->key, setting->value,
                             end_of_line));
}

char *
edits_apply(const char *text, GPtrArray *edits)
{
    GString *out = g_string_new(NULL);
    size_t at = 0;

    g_ptr_array_sort(edits, edit_compare);
    for (unsigned i = 0; i < edits->len; i++) {
        const Edit *edit = g_ptr_array_index(edits, i);
        g_string_append_len(out, text + at, (gssize)(edit->at - at));
        g_string_append(out, edit->insert);
        at = edit->at + edit->remove;
    }
    g_string_append(out, text + at);
    return g_string_free(out, FALSE);
}

char *
conf_edit(const char *text, const ConfSetting *settings, GPtrArray *notices, GError **err)
{
    g_autoptr(GPtrArray) statements = statements_of(text, err);
    g_autoptr(GPtrArray) edits = g_ptr_array_new_with_free_func(edit_free);

    if (statements == NULL)
        return NULL;
    for (const ConfSetting *setting = settings; setting->key != NULL; setting++) {
        Statement *first = statement_find(statements, setting->key);
        if (setting->value == NULL) {
            others_comment_out(edits, text, statements, setting->key, NULL, notices);
            continue;
        }
        g_autofree char *wanted = canonical_of(setting->value, err);
        if (wanted == NULL)
            return NULL;
        if (first == NULL) {
            setting_insert(edits, text, conf_place_of(text, statements, setting->key), setting);
            continue;
        }
        if (!g_str_equal(first->canonical, wanted))
            edit_add(edits, first->value.start, first->value.end - first->value.start,
                     g_strdup(setting->value));
        others_comment_out(edits, text, statements, setting->key, first, notices);
    }
    return edits_apply(text, edits);
}

bool
conf_has(const char *text, const ConfSetting *setting, bool *has, char **found, GError **err)
{
    g_autoptr(GPtrArray) statements = statements_of(text, err);
    if (statements == NULL)
        return false;
    const Statement *first = statement_find(statements, setting->key);
    g_autofree char *wanted = setting->value != NULL ? canonical_of(setting->value, err) : NULL;

    if (setting->value != NULL && wanted == NULL)
        return false;
    *has = first == NULL ? wanted == NULL : wanted != NULL && g_str_equal(first->canonical, wanted);
    *found = first == NULL
                 ? NULL
                 : g_strndup(text + first->value.start, first->value.end - first->value.start);
    return true;
}

char *
conf_quote(const char *value, GError **err)
{
    if (!text_is_clean(value, 4096, true)) {
        err_set(err, ERR_INVALID, "a value for libvirt's configuration is not plain text");
        return NULL;
    }
    if (strchr(value, '"') == NULL)
        return g_strdup_printf("\"%s\"", value);
    if (strchr(value, '\'') == NULL)
        return g_strdup_printf("'%s'", value);
    err_set(err, ERR_INVALID, "libvirt's configuration cannot hold both kinds of quotes in: %s",
            value);
    return NULL;
}
