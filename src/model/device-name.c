/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* device-name.c: the names by which a server's disks are known: vda … vdz, vdaa … vdzz
 *
 * A name is a number written with 26 digits that start at a: vda is 0, vdz 25, vdaa 26. */
#include <string.h>

#include "model/model.h"

#define PREFIX "vd"
#define LIMIT  (26 + 26 * 26) /* vdzz; a guest's bus ends long before */

static char *
name_of(int number)
{
    if (number < 26)
        return g_strdup_printf(PREFIX "%c", 'a' + number);
    return g_strdup_printf(PREFIX "%c%c", 'a' + number / 26 - 1, 'a' + number % 26);
}

char *
device_name_next(const char *const *taken)
{
    for (int number = 0; number < LIMIT; number++) {
        g_autofree char *name = name_of(number);

        if (!taken || !g_strv_contains(taken, name))
            return g_steal_pointer(&name);
    }
    return NULL;
}

char *
device_name_parse(const char *text)
{
    size_t letters;

    if (!text)
        return NULL;
    if (g_str_has_prefix(text, "/dev/"))
        text += strlen("/dev/");
    if (!g_str_has_prefix(text, PREFIX))
        return NULL;
    letters = strspn(text + strlen(PREFIX), "abcdefghijklmnopqrstuvwxyz");
    if (letters < 1 || letters > 2 || text[strlen(PREFIX) + letters] != '\0')
        return NULL;
    return g_strdup(text);
}
