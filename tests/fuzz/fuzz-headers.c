/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz-headers.c: raw bytes as HTTP requests through a real listener on loopback; every begun
 * upload must end once, and whatever is answered must be HTTP */
#include "http/http.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static _Atomic int n_begun, n_ended;

static void
echo_header(const char *name, const char *value, void *opaque)
{
    http_response_header(opaque, "X-Query", value);
}

static void
handler(HttpRequest *request, HttpResponse *response, void *context)
{
    static const char *const names[] = {"X-Auth-Token", "OpenStack-API-Version", "Content-Type",
                                        "Cookie", "Host"};
    size_t size;
    const char *body = http_request_body(request, &size);

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        const char *value = http_request_header(request, names[i]);
        if (value) {
            g_assert_true(g_utf8_validate(value, -1, NULL));
            http_response_header(response, "X-Echo", value);
        }
    }
    http_request_query_each(request, echo_header, response);
    http_response_body(response, g_memdup2(body, size), size);
}

static void *
begin(HttpRequest *request, HttpResponse *response, void *context)
{
    if (!http_request_header(request, "X-Auth-Token")) {
        http_response_status(response, 401);
        return NULL;
    }
    n_begun++;
    return &n_begun;
}

static bool
chunk(void *state, const void *data, size_t size, HttpResponse *response)
{
    if (size > 0 && *(const char *)data == '!') {
        http_response_status(response, 409);
        return false;
    }
    return true;
}

static void
end(void *state, bool complete, HttpRequest *request, HttpResponse *response)
{
    n_ended++;
    if (complete)
        http_response_status(response, 204);
}

static const HttpStream stream = {begin, chunk, end};
static const HttpRoute table[] = {
    {.method = "GET", .pattern = "/a/{id}", .handler = handler},
    {.method = "POST", .pattern = "/a", .handler = handler, .body_max = 65536},
    {.method = "PUT", .pattern = "/up", .stream = &stream},
    {0},
};
static const HttpRoute *const tables[] = {table};

static HttpServer *
server_start(void)
{
    HttpConfig config = {.address = "127.0.0.1", .idle_timeout_s = 1};
    g_autoptr(GError) error = NULL;

    log_set_level(LOG_LEVEL_ERROR + 1);

    HttpServer *server = http_server_start(&config, tables, 1, &error);

    g_assert_no_error(error);
    return server;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static HttpServer *server;

    if (!server)
        server = server_start();

    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_server_port(server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger reset = {1, 0}; /* no TIME_WAIT: the ports of a long run are bounded */
    struct timeval patience = {3, 0};
    char reply[4096];
    size_t got = 0;
    ssize_t n;
    AUTO_FD fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return 0;
    if (send(fd, data, size, MSG_NOSIGNAL) < 0)
        return 0;
    shutdown(fd, SHUT_WR);
    while (got < sizeof(reply) && (n = recv(fd, reply + got, sizeof(reply) - got, 0)) > 0)
        got += (size_t)n;
    g_assert_true(got == 0 || memcmp(reply, "HTTP/1.", MIN(got, 7)) == 0);

    int64_t deadline = clock_monotonic() + 3 * USEC_PER_SEC;

    while (n_begun != n_ended && clock_monotonic() < deadline)
        g_usleep(200);
    g_assert_cmpint(n_begun, ==, n_ended);
    return 0;
}
