/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt-knock.c: does anybody answer at a node's port?
 *
 * libvirt opens its connection with the kernel's own patience: an attempt that begins while a node
 * is cut off goes on for two minutes, and waits longer before each packet, so that a node which is
 * back is not seen for a minute and more. We therefore ask first with a bound of our own. Only for
 * transports whose place is written in the URI; where ssh goes is a matter of its configuration. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/host-libvirt-priv.h"

#define KNOCK_US (5 * USEC_PER_SEC)

/* "qemu+tls://[2001:db8::1]:16514/system" → host and port; false: not of these transports */
static bool
place_of(const char *uri, char **host, char **port)
{
    const char *const usual[][2] = {{"qemu+tls://", "16514"}, {"qemu+tcp://", "16509"}};

    for (size_t i = 0; i < G_N_ELEMENTS(usual); i++) {
        const char *name = uri + strlen(usual[i][0]), *end;

        if (!g_str_has_prefix(uri, usual[i][0]))
            continue;
        end = *name == '[' ? strchr(name, ']') : name + strcspn(name, ":/");
        if (!end)
            return false;
        *host = *name == '[' ? g_strndup(name + 1, (gsize)(end - name - 1))
                             : g_strndup(name, (gsize)(end - name));
        end += *end == ']';
        *port = *end == ':' ? g_strndup(end + 1, strcspn(end + 1, "/?")) : g_strdup(usual[i][1]);
        return **host != 0;
    }
    return false;
}

/* 0, or why not, as an errno */
static int
knock_at(const struct addrinfo *place, int64_t deadline)
{
    int fd = socket(place->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
    socklen_t size = sizeof error;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};

    if (fd < 0)
        return errno;
    if (connect(fd, place->ai_addr, place->ai_addrlen) < 0) {
        error = errno;
        while (error == EINPROGRESS || error == EINTR) {
            int64_t left = deadline - clock_monotonic();
            int ready = left > 0 ? poll(&wait, 1, (int)(left / USEC_PER_MSEC) + 1) : 0;

            if (ready > 0)
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
            else
                error = ready == 0 ? ETIMEDOUT : errno;
        }
    }
    close(fd);
    return error;
}

bool
libvirt_knock(const char *uri, GError **err)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM};
    g_autofree char *host = NULL, *port = NULL;
    int64_t deadline = clock_monotonic() + KNOCK_US;
    struct addrinfo *places = NULL;
    int error;

    if (!place_of(uri, &host, &port))
        return true;
    error = getaddrinfo(host, port, &wanted, &places);
    if (error)
        return err_set(err, ERR_UNREACHABLE, "cannot connect to %s: the name %s is not known (%s)",
                       uri, host, gai_strerror(error));
    error = ETIMEDOUT;
    for (const struct addrinfo *place = places; place && error; place = place->ai_next)
        error = knock_at(place, deadline);
    freeaddrinfo(places);
    return error == 0 || err_set(err, ERR_UNREACHABLE, "cannot connect to %s: port %s: %s", uri,
                                 port, g_strerror(error));
}
