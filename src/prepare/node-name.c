/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* node-name.c: which machine is meant, and nothing but a machine */
#include "prepare/prepare.h"

#include <arpa/inet.h>
#include <string.h>

#define HOST_MAX 253 /* of a DNS name */
#define USER_MAX 64

const char *const transport_names[N_TRANSPORTS] = {
    [TRANSPORT_TLS] = "tls",
    [TRANSPORT_SSH] = "ssh",
    [TRANSPORT_TCP] = "tcp",
};

bool
transport_parse(const char *name, PrepareTransport *transport)
{
    for (int t = 0; t < N_TRANSPORTS; t++) {
        if (g_str_equal(transport_names[t], name)) {
            *transport = (PrepareTransport)t;
            return true;
        }
    }
    return false;
}

/* Letters, digits and some signs, the first of them a letter or digit (users may begin with _). */
static bool
word_is_plain(const char *word, size_t most, const char *signs, bool underscore_first)
{
    size_t length = strlen(word);
    if (length == 0 || length > most)
        return false;
    if (!g_ascii_isalnum(*word) && !(underscore_first && *word == '_'))
        return false;
    for (const char *p = word; *p != '\0'; p++) {
        if (!g_ascii_isalnum(*p) && strchr(signs, *p) == NULL)
            return false;
    }
    return true;
}

static bool
is_ipv6(const char *text)
{
    struct in6_addr address;
    return inet_pton(AF_INET6, text, &address) == 1;
}

/* "host", "host:port", "[v6]", "[v6]:port", "v6" */
static bool
host_port_parse(const char *text, NodeTarget *target)
{
    const char *colon = strrchr(text, ':');
    int64_t port = 0;

    if (*text == '[') {
        const char *close = strchr(text, ']');
        if (close == NULL)
            return false;
        target->host = g_strndup(text + 1, (gsize)(close - text - 1));
        if (!is_ipv6(target->host))
            return false;
        if (close[1] == '\0')
            return true;
        if (close[1] != ':' || !parse_int64(close + 2, 1, 65535, &port))
            return false;
    } else if (is_ipv6(text)) {
        target->host = g_strdup(text);
    } else {
        target->host = colon != NULL ? g_strndup(text, (gsize)(colon - text)) : g_strdup(text);
        if (colon != NULL && !parse_int64(colon + 1, 1, 65535, &port))
            return false;
        if (!word_is_plain(target->host, HOST_MAX, ".-_", false))
            return false;
    }
    target->port = (unsigned)port;
    return true;
}

NodeTarget *
node_target_parse(const char *text, GError **err)
{
    g_autoptr(NodeTarget) target = g_new0(NodeTarget, 1);
    const char *at = strrchr(text, '@');
    bool good = text_is_clean(text, HOST_MAX + USER_MAX + 16, false);

    target->text = g_strdup(text);
    if (good && at != NULL) {
        target->user = g_strndup(text, (gsize)(at - text));
        good = word_is_plain(target->user, USER_MAX, "._-", true);
    }
    if (!good || !host_port_parse(at != NULL ? at + 1 : text, target)) {
        g_autofree char *shown = g_strescape(text, NULL);
        err_set(err, ERR_INVALID,
                "\"%.300s\" does not name a machine; it takes [user@]host[:port], a name of "
                "letters, digits, dots and dashes or an address (IPv6 in brackets)",
                shown);
        return NULL;
    }
    return g_steal_pointer(&target);
}

void
node_target_free(NodeTarget *target)
{
    if (target == NULL)
        return;
    g_free(target->text);
    g_free(target->user);
    g_free(target->host);
    g_free(target);
}
