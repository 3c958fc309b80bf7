/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* network-address.c: IPv4 networks, addresses and MAC addresses as text and as numbers */
#include <arpa/inet.h>
#include <string.h>

#include "api/network-priv.h"

bool
ipv4_parse(const char *text, uint32_t *address)
{
    struct in_addr raw;

    if (!text || inet_pton(AF_INET, text, &raw) != 1)
        return false;
    *address = ntohl(raw.s_addr);
    return true;
}

char *
ipv4_format(uint32_t address)
{
    return g_strdup_printf("%u.%u.%u.%u", address >> 24, (address >> 16) & 255,
                           (address >> 8) & 255, address & 255);
}

bool
cidr_parse(const char *text, Cidr *cidr, GError **err)
{
    const char *slash = strchr(text, '/');
    g_autofree char *host = slash ? g_strndup(text, (size_t)(slash - text)) : NULL;
    int64_t prefix;
    uint32_t address, mask;

    if (!slash || !ipv4_parse(host, &address) || !parse_int64(slash + 1, 0, 32, &prefix))
        return err_set(err, ERR_INVALID, "'%.64s' is not an IPv4 network such as 10.88.0.0/24.",
                       text);
    if (prefix < 8 || prefix > 30)
        return err_set(err, ERR_INVALID, "'%.64s': the prefix must have 8 to 30 bits.", text);
    mask = UINT32_MAX << (32 - prefix);
    cidr->first = address & mask;
    cidr->last = cidr->first | ~mask;
    cidr->prefix = (int)prefix;
    if (cidr->first >> 24 == 0 || cidr->first >> 24 == 127 || cidr->first >> 24 >= 224)
        return err_set(err, ERR_INVALID,
                       "'%.64s' is not a network that guests can have addresses in.", text);
    return true;
}

char *
cidr_format(const Cidr *cidr)
{
    g_autofree char *first = ipv4_format(cidr->first);

    return g_strdup_printf("%s/%d", first, cidr->prefix);
}

bool
cidr_has_host(const Cidr *cidr, uint32_t address)
{
    return address > cidr->first && address < cidr->last;
}

bool
cidr_overlaps(const Cidr *a, const Cidr *b)
{
    return a->first <= b->last && b->first <= a->last;
}

char *
mac_canonical(const char *text)
{
    g_autofree char *lower = g_ascii_strdown(text, -1);
    bool is_zero = true;

    if (strlen(lower) != 17)
        return NULL;
    for (int i = 0; i < 17; i++) {
        if (i % 3 == 2 ? lower[i] != ':' : !g_ascii_isxdigit(lower[i]))
            return NULL;
        is_zero &= lower[i] == '0' || lower[i] == ':';
    }
    /* the lowest bit of the first byte marks a group address */
    if (is_zero || (g_ascii_xdigit_value(lower[1]) & 1))
        return NULL;
    return g_steal_pointer(&lower);
}
