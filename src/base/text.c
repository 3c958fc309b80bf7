/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* text.c: identifiers, random values, numbers and text that came from outside */
#include "base/base.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

bool
random_bytes(void *buffer, size_t size, GError **err)
{
    uint8_t *p = buffer;
    while (size > 0) {
        ssize_t got = getrandom(p, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(err, ERR_BACKEND, "the kernel gives no random bytes: %s",
                           errno_text(errno));
        p += got;
        size -= (size_t)got;
    }
    return true;
}

/* For identifiers and tokens, where going on without randomness would be worse than ending. */
static void
random_fill(void *buffer, size_t size)
{
    g_autoptr(GError) error = NULL;
    if (!random_bytes(buffer, size, &error))
        g_error("%s", error->message);
}

char *
uuid_new(void)
{
    uint8_t b[16];
    random_fill(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    return g_strdup_printf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                           b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
                           b[12], b[13], b[14], b[15]);
}

bool
uuid_is_valid(const char *text)
{
    static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    if (text == NULL || strnlen(text, sizeof shape) != sizeof shape - 1)
        return false;
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        bool hex = g_ascii_isdigit(text[i]) || (text[i] >= 'a' && text[i] <= 'f');
        if (shape[i] == '-' ? text[i] != '-' : !hex)
            return false;
    }
    return true;
}

char *
random_token(size_t bytes)
{
    g_autofree uint8_t *raw = g_malloc(bytes);
    random_fill(raw, bytes);
    char *text = g_base64_encode(raw, bytes);
    char *end = text;
    for (char *p = text; *p != '\0' && *p != '='; p++) {
        if (*p == '+')
            *p = '-';
        else if (*p == '/')
            *p = '_';
        end = p + 1;
    }
    *end = '\0';
    explicit_bzero(raw, bytes);
    return text;
}

bool
parse_int64(const char *text, int64_t least, int64_t most, int64_t *value)
{
    if (text == NULL)
        return false;
    const char *digits = text[0] == '-' ? text + 1 : text;
    if (!g_ascii_isdigit(*digits))
        return false;
    char *end;
    errno = 0;
    int64_t number = g_ascii_strtoll(text, &end, 10);
    /* No other errno means anything: its first use makes a locale, and a thread that waits for
     * another to make it comes back with EAGAIN. */
    if (errno == ERANGE || *end != '\0' || number < least || number > most)
        return false;
    *value = number;
    return true;
}

bool
parse_bool(const char *text, bool *value)
{
    static const char *const yes[] = {"true", "1", "yes", "on", "t", "y", NULL};
    static const char *const no[] = {"false", "0", "no", "off", "f", "n", NULL};
    if (text == NULL)
        return false;
    for (size_t i = 0; yes[i] != NULL; i++) {
        if (g_ascii_strcasecmp(text, yes[i]) == 0) {
            *value = true;
            return true;
        }
        if (g_ascii_strcasecmp(text, no[i]) == 0) {
            *value = false;
            return true;
        }
    }
    return false;
}

/* Besides the controls proper, what breaks a line or turns the direction of the text around it: a
 * name must look the same wherever it is shown. */
static bool
char_is_control(gunichar c)
{
    return g_unichar_iscntrl(c) || c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

bool
text_is_clean(const char *text, size_t max, bool allow_empty)
{
    if (text == NULL)
        return false;
    size_t size = strnlen(text, max + 1);
    if (size > max || !g_utf8_validate_len(text, size, NULL))
        return false;
    if (size == 0)
        return allow_empty;
    for (const char *p = text; *p != '\0'; p = g_utf8_next_char(p)) {
        if (char_is_control(g_utf8_get_char(p)))
            return false;
    }
    return true;
}
