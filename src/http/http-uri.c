/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* http-uri.c: percent-decoding, paths and queries
 *
 * A path has one meaning only. Whatever could be read in two ways by us and by something in front
 * of us (empty and dot segments, an encoded slash, NUL) is refused instead of being cleaned up. */
#include "http/http-priv.h"

#include <string.h>

char *
http_percent_decode(const char *text, size_t n, bool is_query)
{
    g_autoptr(GString) out = g_string_sized_new(n);

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '%') {
            if (i + 2 >= n || !g_ascii_isxdigit(text[i + 1]) || !g_ascii_isxdigit(text[i + 2]))
                return NULL;
            c = (unsigned char)(g_ascii_xdigit_value(text[i + 1]) << 4 |
                                g_ascii_xdigit_value(text[i + 2]));
            i += 2;
        } else if (c == '+' && is_query) {
            c = ' ';
        }
        if (c == 0 || (!is_query && (c < 0x20 || c == 0x7f)))
            return NULL;
        g_string_append_c(out, (char)c);
    }
    if (!g_utf8_validate(out->str, (gssize)out->len, NULL))
        return NULL;
    return g_string_free(g_steal_pointer(&out), FALSE);
}

char **
http_path_split(const char *raw_path)
{
    size_t length = strlen(raw_path);

    if (raw_path[0] != '/' || length > HTTP_PATH_MAX || strpbrk(raw_path, "?#"))
        return NULL;
    if (length > 1 && raw_path[length - 1] == '/' && raw_path[--length - 1] == '/')
        return NULL;

    g_autoptr(GPtrArray) segments = g_ptr_array_new_with_free_func(g_free);

    for (size_t i = 1; i < length;) {
        const char *slash = memchr(raw_path + i, '/', length - i);
        size_t end = slash ? (size_t)(slash - raw_path) : length;
        g_autofree char *segment = http_percent_decode(raw_path + i, end - i, false);

        if (!segment || !*segment || strchr(segment, '/') || g_str_equal(segment, ".") ||
            g_str_equal(segment, "..") || segments->len == HTTP_SEGMENTS_MAX)
            return NULL;
        g_ptr_array_add(segments, g_steal_pointer(&segment));
        i = end + 1;
    }
    g_ptr_array_add(segments, NULL);
    return (char **)g_ptr_array_steal(segments, NULL);
}

bool
http_query_parse(const char *raw, GPtrArray *pairs)
{
    while (raw && *raw) {
        const char *end = strchrnul(raw, '&');

        if (end > raw) {
            const char *equals = memchr(raw, '=', (size_t)(end - raw));
            const char *name_end = equals ? equals : end;
            const char *value_start = equals ? equals + 1 : end;
            g_autofree char *name = http_percent_decode(raw, (size_t)(name_end - raw), true);
            g_autofree char *value =
                http_percent_decode(value_start, (size_t)(end - value_start), true);

            if (!name || !value || pairs->len / 2 == HTTP_QUERY_MAX)
                return false;
            g_ptr_array_add(pairs, g_steal_pointer(&name));
            g_ptr_array_add(pairs, g_steal_pointer(&value));
        }
        raw = *end ? end + 1 : end;
    }
    return true;
}
