/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* conf-scan.c: reads libvirt's configuration files with libvirt's own grammar
 *
 * One statement per line, strings without escapes but with a """ form, lists over several lines,
 * comments anywhere. What comes out says where each statement and its value begin and end, so that
 * the text itself can be cut. */
#include "prepare/conf-scan.h"

#include <string.h>

#define LIST_MAX_ITEMS 1024

typedef struct Scan {
    const char *text;
    size_t at;
    unsigned line;
} Scan;

static void
statement_free(void *opaque)
{
    Statement *statement = opaque;
    g_free(statement->key);
    g_free(statement->canonical);
    g_free(statement);
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

GPtrArray *
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

Statement *
statement_find(const GPtrArray *statements, const char *key)
{
    for (unsigned i = 0; i < statements->len; i++) {
        Statement *statement = g_ptr_array_index(statements, i);
        if (g_str_equal(statement->key, key))
            return statement;
    }
    return NULL;
}

char *
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

size_t
line_next(const char *text, size_t at)
{
    Scan scan = {.text = text, .at = at};
    skip_to_line_end(&scan);
    skip_line_end(&scan);
    return scan.at;
}
