/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guest-json.c: reads values out of a JSON text.
 *
 * Nothing is built in memory: a value is the position where its text begins, and looking a member
 * up means walking over the values before it. The texts are a few kilobytes. */

#include "guestd.h"

#include <string.h>

static const char *
skip_space(const char *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') {
        p++;
    }
    return p;
}

/* p is at the opening quote; returns what follows the closing one. */
static const char *
skip_string(const char *p)
{
    for (p++; *p && *p != '"'; p++) {
        if (*p == '\\' && p[1]) {
            p++;
        }
    }
    return *p ? p + 1 : NULL;
}

/* Brackets are counted, not matched: the text comes from a program that writes JSON. */
static const char *
skip_value(const char *p)
{
    int depth = 0;

    p = skip_space(p);
    do {
        if (!*p) {
            return NULL;
        } else if (*p == '"') {
            p = skip_string(p);
            if (!p) {
                return NULL;
            }
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
        } else if (*p == '}' || *p == ']') {
            depth--;
            p++;
        } else if (depth > 0) {
            p++;
        } else {
            while (*p && !strchr(",]} \t\r\n", *p)) {
                p++;
            }
        }
    } while (depth > 0);
    return p;
}

const char *
json_member(const char *object, const char *name)
{
    size_t length = strlen(name);
    const char *p = object ? skip_space(object) : NULL;

    if (!p || *p != '{') {
        return NULL;
    }
    p = skip_space(p + 1);
    while (p && *p == '"') {
        const char *key = p + 1;
        const char *end = skip_string(p);
        if (!end) {
            return NULL;
        }
        p = skip_space(end);
        if (*p != ':') {
            return NULL;
        }
        p = skip_space(p + 1);
        if ((size_t)(end - 1 - key) == length && memcmp(key, name, length) == 0) {
            return p;
        }
        p = skip_value(p);
        if (p) {
            p = skip_space(p);
            p = *p == ',' ? skip_space(p + 1) : NULL;
        }
    }
    return NULL;
}

const char *
json_element(const char *array, unsigned index)
{
    const char *p = array ? skip_space(array) : NULL;

    if (!p || *p != '[') {
        return NULL;
    }
    p = skip_space(p + 1);
    while (p && *p && *p != ']') {
        if (index-- == 0) {
            return p;
        }
        p = skip_value(p);
        if (p) {
            p = skip_space(p);
            p = *p == ',' ? skip_space(p + 1) : NULL;
        }
    }
    return NULL;
}

bool
json_text(const char *value, char *buf, size_t size)
{
    const char *end;

    if (!value) {
        return false;
    }
    value = skip_space(value);
    end = skip_value(value);
    if (!end || *value == '{' || *value == '[') {
        return false;
    }
    if (*value == '"') {
        value++;
        end--;
    }
    if ((size_t)(end - value) >= size || memchr(value, '\\', (size_t)(end - value))) {
        return false;
    }
    memcpy(buf, value, (size_t)(end - value));
    buf[end - value] = '\0';
    return true;
}
