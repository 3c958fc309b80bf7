/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* state-uri.c: where the state is: a path, or rados:POOL/NAMESPACE/NAME */
#include "store/lease.h"

#include <string.h>

#define PREFIX   "rados:"
#define PART_MAX 100

bool
store_is_on_rados(const char *text)
{
    return g_str_has_prefix(text, PREFIX);
}

/* The parts become names of objects and part of a URI of SQLite's: nothing in them may need
 * quoting. */
static bool
part_is_good(const char *part)
{
    size_t length = strlen(part);

    return length > 0 && length <= PART_MAX && part[0] != '.' &&
           strspn(part, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_.-") == length;
}

bool
state_uri_parse(const char *text, StateUri *uri, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(text + strlen(PREFIX), "/", 4);

    if (g_strv_length(parts) != 3 || !part_is_good(parts[0]) || !part_is_good(parts[1]) ||
        !part_is_good(parts[2]))
        return err_set(err, ERR_INVALID,
                       "state = %s: expected rados:POOL/NAMESPACE/NAME, each of letters, digits, "
                       "_ . and -, for example rados:godwit-state/main/godwit",
                       text);
    *uri = (StateUri){g_strdup(parts[0]), g_strdup(parts[1]), g_strdup(parts[2])};
    return true;
}

void
state_uri_clear(StateUri *uri)
{
    g_free(uri->pool);
    g_free(uri->space);
    g_free(uri->name);
    *uri = (StateUri){0};
}
