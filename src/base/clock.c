/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* clock.c: the two clocks, and times as text */
#include "base/base.h"

#include <time.h>

static int64_t
clock_read(clockid_t id)
{
    struct timespec now;
    if (clock_gettime(id, &now) != 0)
        g_error("clock_gettime failed for clock %d", (int)id);
    return (int64_t)now.tv_sec * USEC_PER_SEC + now.tv_nsec / 1000;
}

int64_t
clock_monotonic(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

int64_t
clock_realtime(void)
{
    return clock_read(CLOCK_REALTIME);
}

struct timespec
clock_timespec(int64_t monotonic_us)
{
    return (struct timespec){.tv_sec = (time_t)(monotonic_us / USEC_PER_SEC),
                             .tv_nsec = (long)(monotonic_us % USEC_PER_SEC) * 1000};
}

char *
clock_format(int64_t realtime_us, bool with_micros)
{
    int64_t micros = realtime_us % USEC_PER_SEC;
    if (micros < 0)
        micros += USEC_PER_SEC;
    time_t seconds = (time_t)((realtime_us - micros) / USEC_PER_SEC);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL)
        return g_strdup("1970-01-01T00:00:00Z");
    g_autoptr(GString) text = g_string_sized_new(32);
    g_string_append_printf(text, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1,
                           tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (with_micros)
        g_string_append_printf(text, ".%06d", (int)micros);
    g_string_append_c(text, 'Z');
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* Read exactly digits decimal digits at *p and move behind them. */
static bool
take_digits(const char **p, int digits, int least, int most, int *value)
{
    int number = 0;
    for (int i = 0; i < digits; i++) {
        if (!g_ascii_isdigit((*p)[i]))
            return false;
        number = number * 10 + g_ascii_digit_value((*p)[i]);
    }
    *p += digits;
    *value = number;
    return number >= least && number <= most;
}

static bool
take_char(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

static bool
take_date(const char **p, struct tm *tm)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    if (!take_digits(p, 4, 1, 9999, &year) || !take_char(p, '-') ||
        !take_digits(p, 2, 1, 12, &month) || !take_char(p, '-') || !take_digits(p, 2, 1, 31, &day))
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > days[month - 1] + (month == 2 && leap ? 1 : 0))
        return false;
    tm->tm_year = year - 1900;
    tm->tm_mon = month - 1;
    tm->tm_mday = day;
    return true;
}

static bool
take_fraction(const char **p, int64_t *micros)
{
    int64_t unit = USEC_PER_SEC / 10;
    if (!g_ascii_isdigit(**p))
        return false;
    for (; g_ascii_isdigit(**p); (*p)++) {
        *micros += g_ascii_digit_value(**p) * unit;
        unit /= 10;
    }
    return true;
}

/* "Z", "+02:00", "+0200", "+02" or nothing, which means UTC */
static bool
take_offset(const char **p, int64_t *offset_s)
{
    if (**p == '\0' || take_char(p, 'Z') || take_char(p, 'z'))
        return true;
    int sign = **p == '-' ? -1 : 1;
    int hours, minutes = 0;
    if (!take_char(p, '+') && !take_char(p, '-'))
        return false;
    if (!take_digits(p, 2, 0, 23, &hours))
        return false;
    bool colon = take_char(p, ':');
    if ((colon || **p != '\0') && !take_digits(p, 2, 0, 59, &minutes))
        return false;
    *offset_s = sign * (hours * INT64_C(3600) + minutes * INT64_C(60));
    return true;
}

bool
clock_parse(const char *iso8601, int64_t *realtime_us)
{
    struct tm tm = {0};
    int64_t micros = 0, offset_s = 0;
    const char *p = iso8601;
    if (p == NULL || !take_date(&p, &tm))
        return false;
    if (take_char(&p, 'T') || take_char(&p, 't') || take_char(&p, ' ')) {
        if (!take_digits(&p, 2, 0, 23, &tm.tm_hour) || !take_char(&p, ':') ||
            !take_digits(&p, 2, 0, 59, &tm.tm_min))
            return false;
        if (take_char(&p, ':')) {
            if (!take_digits(&p, 2, 0, 59, &tm.tm_sec))
                return false;
            if ((take_char(&p, '.') || take_char(&p, ',')) && !take_fraction(&p, &micros))
                return false;
        }
        if (!take_offset(&p, &offset_s))
            return false;
    }
    if (*p != '\0')
        return false;
    *realtime_us = ((int64_t)timegm(&tm) - offset_s) * USEC_PER_SEC + micros;
    return true;
}
