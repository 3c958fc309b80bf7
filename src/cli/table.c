/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* table.c: JSON as tables for people */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

const json_t *
json_at(const json_t *object, const char *key)
{
    const char *slash = strchr(key, '/');

    if (!slash)
        return json_object_get(object, key);

    g_autofree char *first = g_strndup(key, (size_t)(slash - key));

    return json_at(json_object_get(object, first), slash + 1);
}

const char *
json_text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_at(object, key));

    return text ? text : "";
}

int64_t
json_int_at(const json_t *object, const char *key)
{
    return json_integer_value(json_at(object, key));
}

char *
bytes_text(int64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes / 1024;
    unsigned unit = 0;

    if (bytes < 1024)
        return g_strdup_printf("%" PRId64 " B", bytes);
    while (value >= 1024 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        unit++;
    }
    return g_strdup_printf("%.1f %s", value, units[unit]);
}

char *
duration_text(int64_t us)
{
    if (us < 0)
        return g_strdup("-");
    if (us < 10 * USEC_PER_MSEC)
        return g_strdup_printf("%.1f ms", (double)us / USEC_PER_MSEC);
    if (us < USEC_PER_SEC)
        return g_strdup_printf("%" PRId64 " ms", us / USEC_PER_MSEC);
    if (us < 100 * USEC_PER_SEC)
        return g_strdup_printf("%.2f s", (double)us / USEC_PER_SEC);
    return g_strdup_printf("%" PRId64 " min %" PRId64 " s", us / USEC_PER_SEC / 60,
                           us / USEC_PER_SEC % 60);
}

/* Text from outside must not be able to move the cursor or change colours. */
static char *
printable(const char *text)
{
    GString *out = g_string_new(NULL);

    for (const char *c = text; *c; c = g_utf8_next_char(c)) {
        gunichar u = g_utf8_get_char(c);

        if (g_unichar_isprint(u))
            g_string_append_unichar(out, u);
        else
            g_string_append_c(out, u == '\n' || u == '\t' ? ' ' : '?');
    }
    return g_string_free(out, FALSE);
}

static char *
addresses_text(const json_t *addresses)
{
    GString *out = g_string_new(NULL);
    const char *network;
    json_t *list, *address;
    size_t i;

    json_object_foreach((json_t *)addresses, network, list)
    {
        g_string_append_printf(out, "%s%s=", out->len ? "; " : "", network);
        json_array_foreach(list, i, address)
            g_string_append_printf(out, "%s%s", i ? "," : "", json_text_at(address, "addr"));
    }
    return g_string_free(out, FALSE);
}

/* The server's name, if whoever made the rows looked it up. */
static char *
attached_text(const json_t *attachments)
{
    GString *out = g_string_new(NULL);
    json_t *attachment;
    size_t i;

    json_array_foreach((json_t *)attachments, i, attachment)
    {
        const char *name = json_text_at(attachment, "server_name");

        g_string_append_printf(out, "%s%s %s", i ? "; " : "",
                               *name ? name : json_text_at(attachment, "server_id"),
                               json_text_at(attachment, "device"));
    }
    if (out->len == 0)
        g_string_append_c(out, '-');
    return g_string_free(out, FALSE);
}

static char *
list_text(const json_t *list)
{
    GString *out = g_string_new(NULL);
    json_t *item;
    size_t i;

    json_array_foreach((json_t *)list, i, item)
    {
        g_autofree char *text = cell_text(item, CELL_TEXT);
        g_string_append_printf(out, "%s%s", i ? ", " : "", text);
    }
    return g_string_free(out, FALSE);
}

char *
cell_text(const json_t *value, CellFormat format)
{
    g_autofree char *raw = NULL;

    if (!value || json_is_null(value))
        return g_strdup("-");
    if (format == CELL_BYTES && json_is_integer(value))
        return bytes_text(json_integer_value(value));
    if (format == CELL_TIME && json_is_integer(value))
        return json_integer_value(value) ? clock_format(json_integer_value(value), false)
                                         : g_strdup("-");
    if (format == CELL_ADDRESSES && json_is_object(value))
        raw = addresses_text(value);
    else if (format == CELL_ATTACHED && json_is_array(value))
        raw = attached_text(value);
    else if (json_is_string(value))
        raw = g_strdup(json_string_value(value));
    else if (json_is_boolean(value))
        return g_strdup(json_is_true(value) ? "yes" : "no");
    else if (json_is_array(value))
        raw = list_text(value);
    else {
        char *dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        raw = g_strdup(dumped ? dumped : "?");
        free(dumped);
    }
    return printable(raw);
}

static unsigned
text_width(const char *text)
{
    unsigned width = 0;

    for (const char *c = text; *c; c = g_utf8_next_char(c)) {
        gunichar u = g_utf8_get_char(c);
        width += g_unichar_iszerowidth(u) ? 0 : g_unichar_iswide(u) ? 2 : 1;
    }
    return width;
}

static void
line_append(GString *out, const char *const *cells, const unsigned *widths, unsigned n)
{
    size_t begin = out->len;

    for (unsigned i = 0; i < n; i++) {
        unsigned width = text_width(cells[i]);

        g_string_append(out, cells[i]);
        for (unsigned k = width; i + 1 < n && k < widths[i] + 2; k++)
            g_string_append_c(out, ' ');
    }
    while (out->len > begin && out->str[out->len - 1] == ' ')
        g_string_truncate(out, out->len - 1);
    g_string_append_c(out, '\n');
}

char *
table_format(const json_t *rows, const Column *columns)
{
    unsigned n = 0;
    g_autoptr(GPtrArray) cells = g_ptr_array_new_with_free_func(g_free);
    GString *out = g_string_new(NULL);
    json_t *row;
    size_t i;

    for (const Column *column = columns; column->title; column++, n++)
        g_ptr_array_add(cells, g_ascii_strup(column->title, -1));
    json_array_foreach((json_t *)rows, i, row)
    {
        for (const Column *column = columns; column->title; column++)
            g_ptr_array_add(cells, cell_text(json_at(row, column->key), column->format));
    }

    g_autofree unsigned *widths = g_new0(unsigned, n);

    for (unsigned k = 0; k < cells->len; k++)
        widths[k % n] = MAX(widths[k % n], text_width(cells->pdata[k]));
    for (unsigned k = 0; k < cells->len; k += n)
        line_append(out, (const char *const *)cells->pdata + k, widths, n);
    return g_string_free(out, FALSE);
}

/* The ends of names tell what our own API's numbers are. */
static CellFormat
field_format(const char *key)
{
    if (g_str_has_suffix(key, "_at"))
        return CELL_TIME;
    if (g_str_has_suffix(key, "_bytes"))
        return CELL_BYTES;
    if (g_str_equal(key, "addresses"))
        return CELL_ADDRESSES;
    if (g_str_equal(key, "attachments"))
        return CELL_ATTACHED;
    if (g_str_has_prefix(key, "memory_") && !g_str_has_suffix(key, "_mb") &&
        !g_str_has_suffix(key, "_mb_used"))
        return CELL_BYTES;
    return CELL_TEXT;
}

char *
fields_format(const json_t *object)
{
    GString *out = g_string_new(NULL);
    unsigned widths[2] = {0, 0};
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value) widths[0] = MAX(widths[0], text_width(key));
    json_object_foreach((json_t *)object, key, value)
    {
        g_autofree char *name = printable(key);
        g_autofree char *text = cell_text(value, field_format(key));
        const char *const cells[] = {name, text};

        if (!g_str_equal(key, "links"))
            line_append(out, cells, widths, 2);
    }
    return g_string_free(out, FALSE);
}
