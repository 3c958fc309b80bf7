/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* config-scan.c: reads a configuration file line by line, with line numbers
 *
 * The grammar is that of the services whose files are pasted in: [group], "key = value" or "key :
 * value", a comment is a whole line that begins with # or ;, a line that begins with a blank
 * continues the value above, one pair of quotes around a value is not part of it, and "$name" would
 * be a reference ("$$" is a dollar sign). What follows a value on its line belongs to it. */

#include "model/model.h"

#define MOST_TEXT  (1024 * 1024)
#define MOST_VALUE 8192

typedef struct Scan {
    ConfigLineFn fn;
    void *opaque;
    char *group;
    char *key;      /* NULL: no pair is open */
    GString *value; /* of the open pair */
    unsigned line;  /* of the open pair */
} Scan;

static bool
scan_flush(Scan *scan, GError **err)
{
    g_autofree char *key = g_steal_pointer(&scan->key);
    char *value = scan->value->str;

    if (!key)
        return true;
    g_strstrip(value);
    size_t length = strlen(value);

    if (length >= 2 && (value[0] == '"' || value[0] == '\'') && value[length - 1] == value[0]) {
        value[length - 1] = '\0';
        value++;
    }
    return scan->fn(scan->opaque, scan->group, key, value, scan->line, err);
}

static bool
scan_group(Scan *scan, char *line, unsigned number, GError **err)
{
    char *end = strchr(line, ']');

    if (!scan_flush(scan, err))
        return false;
    if (!end || end == line + 1)
        return err_set(err, ERR_INVALID, "line %u: '%.64s' is not a group; write it as [name]",
                       number, line);
    *end = '\0';
    g_free(scan->group);
    scan->group = g_strdup(g_strstrip(line + 1));
    return true;
}

static bool
scan_pair(Scan *scan, char *line, unsigned number, GError **err)
{
    size_t length = strcspn(line, "=:");

    if (!scan_flush(scan, err))
        return false;
    if (line[length] == '\0' || length == 0)
        return err_set(err, ERR_INVALID, "line %u: '%.64s' is not of the form 'key = value'",
                       number, line);
    if (!scan->group)
        return err_set(err, ERR_INVALID, "line %u: '%.64s' stands before the first [group]", number,
                       line);
    scan->key = g_strndup(line, length);
    g_strstrip(scan->key);
    g_string_assign(scan->value, line + length + 1);
    scan->line = number;
    return true;
}

static bool
scan_line(Scan *scan, char *line, unsigned number, GError **err)
{
    char first = line[0];

    g_strchomp(line);
    if (*line == '\0')
        return scan_flush(scan, err);
    if (first == '#' || first == ';')
        return true;
    if (first == ' ' || first == '\t') {
        if (!scan->key)
            return err_set(err, ERR_INVALID,
                           "line %u begins with a blank but there is no value to continue; remove "
                           "the blank",
                           number);
        g_string_append_printf(scan->value, "\n%s", g_strchug(line));
        if (scan->value->len > MOST_VALUE)
            return err_set(err, ERR_INVALID, "line %u: the value of %s is longer than %d bytes",
                           number, scan->key, MOST_VALUE);
        return true;
    }
    if (first == '[')
        return scan_group(scan, line, number, err);
    return scan_pair(scan, line, number, err);
}

bool
config_scan(const char *text, ConfigLineFn fn, void *opaque, GError **err)
{
    Scan scan = {.fn = fn, .opaque = opaque};
    unsigned number = 0;
    bool ok = true;

    if (strlen(text) > MOST_TEXT)
        return err_set(err, ERR_INVALID, "the configuration is larger than %d bytes", MOST_TEXT);
    if (!g_utf8_validate(text, -1, NULL))
        return err_set(err, ERR_INVALID, "the configuration is not UTF-8 text");

    scan.value = g_string_new(NULL);
    while (ok && *text) {
        size_t length = strcspn(text, "\n");
        g_autofree char *line = g_strndup(text, length);

        number++;
        if (length > MOST_VALUE)
            ok = err_set(err, ERR_INVALID, "line %u is longer than %d bytes", number, MOST_VALUE);
        else
            ok = scan_line(&scan, line, number, err);
        text += length + (text[length] == '\n');
    }
    if (ok)
        ok = scan_flush(&scan, err);
    g_free(scan.group);
    g_free(scan.key);
    g_string_free(scan.value, TRUE);
    return ok;
}
