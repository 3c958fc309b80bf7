/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rbd-own.c: the addresses of this process in the cluster */

#include "block-rbd-priv.h"

#include <string.h>

/* librados writes a list of one entry per protocol, "[v2:192.0.2.7:0/12,v1:192.0.2.7:0/12]", or one
 * entry alone; watchers and the blocklist have the entry without its protocol. */
static char *
first_address(const char *list)
{
    static const char *const protocols[] = {"v2:", "v1:", "any:"};
    const char *at = NULL, *slash;

    for (size_t i = 0; !at && i < G_N_ELEMENTS(protocols); i++)
        if ((at = strstr(list, protocols[i])))
            at += strlen(protocols[i]);
    if (!at)
        at = list;
    slash = strchr(at, '/');
    return slash ? g_strndup(at, (gsize)(slash - at) + 1 + strspn(slash + 1, "0123456789")) : NULL;
}

GPtrArray *
rbd_own_clients(Block *block, GError **err)
{
    g_autoptr(RbdLink) link = rbd_link(block, err);
    GPtrArray *addresses;

    if (!link)
        return NULL;
    addresses = g_ptr_array_new_with_free_func(g_free);
    WITH_MUTEX(&block->lock);
    for (guint i = 0; i < block->links->len; i++) {
        const RbdLink *each = g_ptr_array_index(block->links, i);
        char *address = each->addresses ? first_address(each->addresses) : NULL;

        if (address)
            g_ptr_array_add(addresses, address);
    }
    return addresses;
}
