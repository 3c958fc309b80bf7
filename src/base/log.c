/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* log.c: one line per event on stderr
 *
 * A line is built whole and handed over in one write(2): lines of several threads, and of a child
 * that shares the descriptor, never mix. Everything that is not plainly harmless is escaped, so
 * that no value can forge a line or a field. */
#include "base/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* A value longer than this is cut: a line must not become a way to fill the disk. */
#define VALUE_MAX_BYTES 4096

static _Atomic int least_level = LOG_LEVEL_INFO;

static const char *const level_names[] = {"debug", "info", "notice", "warning", "error"};

void
log_set_level(LogLevel least)
{
    atomic_store_explicit(&least_level, (int)least, memory_order_relaxed);
}

bool
log_level_parse(const char *name, LogLevel *level)
{
    for (size_t i = 0; i < G_N_ELEMENTS(level_names); i++) {
        if (g_ascii_strcasecmp(name, level_names[i]) == 0) {
            *level = (LogLevel)i;
            return true;
        }
    }
    return false;
}

static bool
log_value_is_plain(const char *value)
{
    if (*value == '\0')
        return false;
    for (const char *p = value; *p != '\0'; p++) {
        if (!g_ascii_isalnum(*p) && strchr("_-./:@%+,", *p) == NULL)
            return false;
    }
    return true;
}

static void
log_append_quoted(GString *line, const char *value)
{
    const char *p = value;
    const char *end = value + strnlen(value, VALUE_MAX_BYTES);
    g_string_append_c(line, '"');
    while (p < end) {
        gunichar c = g_utf8_get_char_validated(p, end - p);
        if (c == (gunichar)-1 || c == (gunichar)-2) {
            g_string_append_printf(line, "\\x%02x", (unsigned char)*p);
            p++;
            continue;
        }
        if (c == '"' || c == '\\')
            g_string_append_printf(line, "\\%c", (char)c);
        else if (c == '\n')
            g_string_append(line, "\\n");
        else if (!g_unichar_isprint(c))
            g_string_append_printf(line, "\\u{%x}", c);
        else
            g_string_append_unichar(line, c);
        p = g_utf8_next_char(p);
    }
    g_string_append(line, *end == '\0' ? "\"" : "…\"");
}

static void
log_append_value(GString *line, const char *value)
{
    if (strnlen(value, VALUE_MAX_BYTES + 1) <= VALUE_MAX_BYTES && log_value_is_plain(value))
        g_string_append(line, value);
    else
        log_append_quoted(line, value);
}

void
log_event(LogLevel level, const char *module, const char *message, ...)
{
    if ((int)level < atomic_load_explicit(&least_level, memory_order_relaxed))
        return;
    g_autofree char *now = clock_format(clock_realtime(), true);
    g_autoptr(GString) line = g_string_sized_new(256);
    g_string_append_printf(line, "%s %-7s %-6s ", now, level_names[level], module);
    log_append_quoted(line, message);

    va_list fields;
    va_start(fields, message);
    const char *key;
    while ((key = va_arg(fields, const char *)) != NULL) {
        const char *value = va_arg(fields, const char *);
        if (value == NULL)
            continue;
        g_string_append_printf(line, " %s=", key);
        log_append_value(line, value);
    }
    va_end(fields);
    g_string_append_c(line, '\n');

    /* A log that cannot be written is nobody's reason to fail: only an interrupted call is
     * repeated. */
    while (write(STDERR_FILENO, line->str, line->len) < 0 && errno == EINTR)
        ;
}
