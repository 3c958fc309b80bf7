/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host-uri.c: libvirt URIs of nodes: which the controller may open, and what they are to other
 * nodes
 *
 * libvirt's client runs a program of its user's choice for some of them: the transport ext, and the
 * parameters command, netcat, proxy and socket. Others leave the check of keys out. Whoever may
 * register a node must not gain the controller by it, so the grammar is a list of what is allowed;
 * libvirt ends a parameter at '&' as well as at ';' and decodes %XX, neither of which gets through.
 */
#include "model/model.h"

#include <string.h>

#define DIGITS  "0123456789"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static const struct {
    const char *prefix, *transport;
    bool with_user;
    const char *parameters[3]; /* ended by NULL */
} transports[] = {
    {"qemu+tls://", "tls", false, {"pkipath"}},
    {"qemu+ssh://", "ssh", true, {"keyfile", "no_tty"}},
    {"qemu+libssh://", "ssh", true, {"keyfile", "known_hosts"}},
    {"qemu+tcp://", "tcp", false, {NULL}},
};

/* The rest after as many of these characters as there are; NULL if there is none, or if what begins
 * could be taken for an option. */
static const char *
skip_name(const char *text, const char *allowed)
{
    size_t length = strspn(text, allowed);

    return length > 0 && length <= 255 && g_ascii_isalnum(text[0]) ? text + length : NULL;
}

static const char *
skip_host(const char *text)
{
    const char *end;

    if (*text != '[')
        return skip_name(text, LETTERS DIGITS ".-");
    end = text + 1 + strspn(text + 1, DIGITS "abcdefABCDEF:.");
    return *end == ']' && end - text > 2 ? end + 1 : NULL;
}

/* USER@HOST:PORT/system; what is behind it, or NULL */
static const char *
skip_place(const char *text, bool with_user)
{
    const char *at = with_user ? skip_name(text, LETTERS DIGITS "._-") : NULL;
    int64_t port;

    text = skip_host(at && *at == '@' ? at + 1 : text);
    if (text && *text == ':') {
        size_t length = strspn(text + 1, DIGITS);
        g_autofree char *number = g_strndup(text + 1, length);

        if (!parse_int64(number, 1, 65535, &port))
            return NULL;
        text += 1 + length;
    }
    return text && g_str_has_prefix(text, "/system") ? text + strlen("/system") : NULL;
}

static bool
parameter_is_allowed(const char *pair, const char *const *allowed)
{
    g_auto(GStrv) words = g_strsplit(pair, "=", 2);

    if (!words[0] || !words[1] || !g_strv_contains(allowed, words[0]))
        return false;
    if (strcmp(words[0], "no_tty") == 0)
        return strcmp(words[1], "1") == 0;
    return words[1][0] == '/' && strlen(words[1]) < 512 &&
           words[1][strspn(words[1], LETTERS DIGITS "/._+-,@~")] == '\0';
}

const char *
host_uri_transport(const char *uri, GError **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(transports); i++) {
        const char *rest =
            g_str_has_prefix(uri, transports[i].prefix)
                ? skip_place(uri + strlen(transports[i].prefix), transports[i].with_user)
                : NULL;
        g_auto(GStrv) pairs = NULL;

        if (!rest || (*rest && *rest != '?'))
            continue;
        pairs = g_strsplit(*rest ? rest + 1 : "", "&", 8);
        for (char **pair = pairs; *pair; pair++)
            if (!parameter_is_allowed(*pair, transports[i].parameters)) {
                g_autofree char *names = g_strjoinv(", ", (char **)transports[i].parameters);

                err_set(err, ERR_INVALID,
                        "'uri' may not carry '%.64s': with %s it may carry %s, nothing else.",
                        *pair, transports[i].prefix, *names ? names : "no parameters");
                return NULL;
            }
        return transports[i].transport;
    }
    err_set(err, ERR_INVALID,
            "'uri' must be qemu+tls://HOST/system, qemu+ssh://[USER@]HOST/system, "
            "qemu+libssh://[USER@]HOST/system or qemu+tcp://HOST/system.");
    return NULL;
}

char *
host_uri_fill(const char *template, const char *address)
{
    g_autofree char *host =
        strchr(address, ':') ? g_strdup_printf("[%s]", address) : g_strdup(address);
    GString *uri = g_string_new(template);

    g_string_replace(uri, "%s", host, 1);
    return g_string_free(uri, FALSE);
}

char *
host_uri_for_peers(const char *uri, const char *address)
{
    g_autofree char *scheme = migrate_scheme(uri), *template = NULL;
    const char *place = strstr(uri, "://"), *at, *port;
    g_autofree char *authority = place ? g_strndup(place + 3, strcspn(place + 3, "/?")) : NULL;

    if (!authority)
        return g_strdup(uri);
    at = strrchr(authority, '@');
    port = skip_host(at ? at + 1 : authority);
    if (!port || *port != ':')
        port = "";
    /* Between nodes it is always the ssh program, as root: what `godwit host prepare` makes keys
     * for. The places of the controller's own keys mean nothing there. */
    if (g_str_has_suffix(scheme, "ssh"))
        template = g_strdup_printf("qemu+ssh://root@%%s%s/system?no_tty=1", port);
    else
        template = g_strdup_printf("%s://%%s%s/system", scheme, port);
    return host_uri_fill(template, address);
}
