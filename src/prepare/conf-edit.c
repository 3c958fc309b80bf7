/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* conf-edit.c: sets keys in libvirt's configuration files and leaves everything else as it is
 *
 * The file is read once with libvirt's own grammar (one statement per line, strings without escapes
 * but with a """ form, lists over several lines, comments anywhere), which yields where each
 * statement and its value begin and end. The changes are then cut into the original text, so that
 * what is not asked for survives to the byte: foreign keys, comments, order, line ends.
 *
 * libvirt obeys the first of several settings of one key and says nothing about the others. Here
 * the first is the one that is changed, and the others are turned into comments, because a
 * setting that looks as if it held is worse than none. */
#include "prepare/prepare-priv.h"

#include <string.h>

#define LIST_MAX_ITEMS    1024
#define DUPLICATE_COMMENT "#duplicate: "

typedef struct Span {
    size_t start, end;
} Span;

typedef struct Statement {
    char *key;
    char *canonical; /* equal for equal values, however they are written */
    Span value;
    Span lines; /* whole lines, line end included */
    unsigned line;
} Statement;

typedef struct Scan {
    const char *text;
    size_t at;
    unsigned line;
} Scan;

typedef struct Edit {
    size_t at, remove;
    char *insert;
    unsigned order;
} Edit;

static void
statement_free(void *opaque)
{
    Statement *statement = opaque;
    g_free(statement->key);
    g_free(statement->canonical);
    g_free(statement);
}

static void
edit_free(void *opaque)
{
    Edit *edit = opaque;
    g_free(edit->insert);
    g_free(edit);
}

static bool
scan_error(const Scan *scan, GError **err, const char *what)
{
    return err_set(err, ERR_INVALID,
                   "line %u: %s; libvirt does not start with this file as it is: repair that line "
                   "first",
                   scan->line, what);
}

static char
scan_char(const Scan *scan)
{
    return scan->text[scan->at];
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool
is_line_end(char c)
{
    return c == '\n' || c == '\r';
}

static void
skip_blanks(Scan *scan)
{
    while (is_blank(scan_char(scan)))
        scan->at++;
}

static void
skip_to_line_end(Scan *scan)
{
    while (scan_char(scan) != '\0' && !is_line_end(scan_char(scan)))
        scan->at++;
}

/* Over one line end of any kind. */
static void
skip_line_end(Scan *scan)
{
    if (scan_char(scan) == '\r')
        scan->at++;
    if (scan_char(scan) == '\n')
        scan->at++;
    scan->line++;
}

/* Inside a list: blanks, line ends and comments. */
static void
skip_space(Scan *scan)
{
    for (;;) {
        skip_blanks(scan);
        if (scan_char(scan) == '#')
            skip_to_line_end(scan);
        else if (is_line_end(scan_char(scan)))
            skip_line_end(scan);
        else
            return;
    }
}

static bool
scan_string(Scan *scan, GString *canonical, GError **err)
{
    const char *from = scan->text + scan->at;

    if (g_str_has_prefix(from, "\"\"\"")) {
        const char *close = strstr(from + 3, "\"\"\"");
        if (close == NULL)
            return scan_error(scan, err, "a \"\"\" string does not end");
        for (const char *p = from; p < close; p++)
            scan->line += *p == '\n';
        g_string_append_printf(canonical, "s%td:", close - from - 3);
        g_string_append_len(canonical, from + 3, close - from - 3);
        scan->at += (size_t)(close - from) + 3;
        return true;
    }
    size_t length = 1;
    while (from[length] != '\0' && from[length] != *from && !is_line_end(from[length]))
        length++;
    if (from[length] != *from)
        return scan_error(scan, err, "a string does not end on its line");
    g_string_append_printf(canonical, "s%zu:", length - 1);
    g_string_append_len(canonical, from + 1, (gssize)length - 1);
    scan->at += length + 1;
    return true;
}

static bool
scan_number(Scan *scan, GString *canonical, GError **err)
{
    const char *from = scan->text + scan->at;
    size_t sign = *from == '-' || *from == '+' ? 1 : 0;
    size_t length = sign + strspn(from + sign, "0123456789");
    g_autofree char *digits = g_strndup(from + (*from == '+'), length - (*from == '+'));
    int64_t number;

    if (!parse_int64(digits, INT64_MIN, INT64_MAX, &number))
        return scan_error(scan, err, "a value is neither a number, a string nor a list");
    g_string_append_printf(canonical, "i%" PRId64, number);
    scan->at += length;
    return true;
}

static bool
scan_scalar(Scan *scan, GString *canonical, GError **err)
{
    char c = scan_char(scan);
    return c == '"' || c == '\'' ? scan_string(scan, canonical, err)
                                 : scan_number(scan, canonical, err);
}

static bool
scan_list(Scan *scan, GString *canonical, GError **err)
{
    unsigned items = 0;

    scan->at++;
    g_string_append_c(canonical, '[');
    skip_space(scan);
    while (scan_char(scan) != ']') {
        if (items > 0) {
            if (scan_char(scan) != ',')
                return scan_error(scan, err, "a list has no comma where one must be");
            scan->at++;
            skip_space(scan);
        }
        if (++items > LIST_MAX_ITEMS)
            return scan_error(scan, err, "a list is too long");
        if (!scan_scalar(scan, canonical, err))
            return false;
        g_string_append_c(canonical, ',');
        skip_space(scan);
    }
    scan->at++;
    return true;
}

static bool
scan_value(Scan *scan, GString *canonical, GError **err)
{
    return scan_char(scan) == '[' ? scan_list(scan, canonical, err)
                                  : scan_scalar(scan, canonical, err);
}

static size_t
key_length(const char *text)
{
    size_t length = 0;
    if (g_ascii_isalpha(*text)) {
        while (g_ascii_isalnum(text[length]) || (text[length] && strchr("_.-", text[length])))
            length++;
    }
    return length;
}

/* At the first character of a key, on a line that began at line_start. */
static Statement *
scan_statement(Scan *scan, size_t line_start, GError **err)
{
    Statement found = {.lines = {.start = line_start}, .line = scan->line};
    const char *from = scan->text + scan->at;
    size_t length = key_length(from);
    g_autoptr(GString) canonical = g_string_new(NULL);

    scan->at += length;
    skip_blanks(scan);
    if (length == 0 || scan_char(scan) != '=') {
        scan_error(scan, err, "this is neither a comment nor KEY = VALUE");
        return NULL;
    }
    scan->at++;
    skip_blanks(scan);
    found.value.start = scan->at;
    if (!scan_value(scan, canonical, err))
        return NULL;
    found.value.end = scan->at;
    skip_blanks(scan);
    if (scan_char(scan) == '#')
        skip_to_line_end(scan);
    if (scan_char(scan) != '\0' && !is_line_end(scan_char(scan))) {
        scan_error(scan, err, "something stands behind the value");
        return NULL;
    }
    skip_line_end(scan);
    found.lines.end = scan->at;
    found.key = g_strndup(from, length);
    found.canonical = g_string_free(g_steal_pointer(&canonical), FALSE);
    return g_memdup2(&found, sizeof found);
}

static GPtrArray *
statements_of(const char *text, GError **err)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(statement_free);
    Scan scan = {.text = text, .line = 1};

    while (scan_char(&scan) != '\0') {
        size_t line_start = scan.at;
        skip_blanks(&scan);
        if (scan_char(&scan) == '#')
            skip_to_line_end(&scan);
        if (is_line_end(scan_char(&scan))) {
            skip_line_end(&scan);
        } else if (scan_char(&scan) != '\0') {
            Statement *statement = scan_statement(&scan, line_start, err);
            if (statement == NULL)
                return NULL;
            g_ptr_array_add(all, statement);
        }
    }
    return g_steal_pointer(&all);
}

static Statement *
statement_find(const GPtrArray *statements, const char *key)
{
    for (unsigned i = 0; i < statements->len; i++) {
        Statement *statement = g_ptr_array_index(statements, i);
        if (g_str_equal(statement->key, key))
            return statement;
    }
    return NULL;
}

static char *
canonical_of(const char *value, GError **err)
{
    g_autoptr(GString) canonical = g_string_new(NULL);
    Scan scan = {.text = value, .line = 1};

    if (!scan_value(&scan, canonical, err))
        return NULL;
    if (scan_char(&scan) != '\0') {
        err_set(err, ERR_BUG, "\"%s\" is more than one value", value);
        return NULL;
    }
    return g_string_free(g_steal_pointer(&canonical), FALSE);
}

static size_t
line_next(const char *text, size_t at)
{
    Scan scan = {.text = text, .at = at};
    skip_to_line_end(&scan);
    skip_line_end(&scan);
    return scan.at;
}

/* Does the line at this place show key = … in a comment? Those without a space after the # are the
 * defaults of the distribution's file; with one it may as well be prose. */
static bool
is_commented(const char *line, const char *key, bool with_space)
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

static bool
inside_statement(const GPtrArray *statements, size_t at)
{
    for (unsigned i = 0; i < statements->len; i++) {
        const Statement *statement = g_ptr_array_index(statements, i);
        if (at >= statement->lines.start && at < statement->lines.end)
            return true;
    }
    return false;
}

/* Where a key that is not set yet belongs: behind its last commented default, else at the end. */
static size_t
place_of(const char *text, const GPtrArray *statements, const char *key)
{
    for (int with_space = 0; with_space <= 1; with_space++) {
        size_t place = SIZE_MAX;
        for (size_t at = 0; text[at] != '\0'; at = line_next(text, at)) {
            if (is_commented(text + at, key, with_space) && !inside_statement(statements, at))
                place = commented_end(text, at);
        }
        if (place != SIZE_MAX)
            return place;
    }
    return strlen(text);
}

static void
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

static char *
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
            setting_insert(edits, text, place_of(text, statements, setting->key), setting);
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
