/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-http.c: the listener by real sockets: bodies, limits, deadlines, TLS */
#include "http/http.h"
#include "pki/pki.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_MAX 10000

/* ---- the server under test --------------------------------------------------------------------
 */

typedef struct StreamLog {
    _Atomic int begun, ended_complete, ended_broken;
    _Atomic uint64_t bytes;
} StreamLog;

static StreamLog stream_log;
static _Atomic int n_done, last_status, in_handler;
static _Atomic int64_t sleep_us;
static char *cert_dir;

static void
text_handler(HttpRequest *request, HttpResponse *response, void *context)
{
    http_response_header(response, "Content-Type", "text/plain");
    http_response_body(response, g_strdup("hello\n"), 6);
}

static void
echo_handler(HttpRequest *request, HttpResponse *response, void *context)
{
    size_t size;
    const char *body = http_request_body(request, &size);

    http_response_header(response, "X-Remote", http_request_remote(request));
    http_response_header(response, "X-Scheme", http_request_scheme(request));
    http_response_body(response, g_memdup2(body, size), size);
    http_response_status(response, 201);
}

static void
sleep_handler(HttpRequest *request, HttpResponse *response, void *context)
{
    in_handler++;
    g_usleep((gulong)sleep_us);
    in_handler--;
    text_handler(request, response, context);
}

static void
empty_handler(HttpRequest *request, HttpResponse *response, void *context)
{
    http_response_status(response, 204);
}

static void
inject_handler(HttpRequest *request, HttpResponse *response, void *context)
{
    http_response_header(response, "X-Name", http_request_query(request, "name"));
    text_handler(request, response, context);
}

static void
silent_handler(HttpRequest *request, HttpResponse *response, void *context)
{
}

static void
file_handler(HttpRequest *request, HttpResponse *response, void *context)
{
    char path[] = "/tmp/godwit-test-XXXXXX";
    int fd = mkstemp(path);
    size_t size = 3 * 1024 * 1024 + 17;
    g_autofree char *data = g_malloc(size);

    unlink(path);
    for (size_t i = 0; i < size; i++)
        data[i] = (char)(i * 7);
    g_assert_cmpint(write(fd, data, size), ==, (gssize)size);
    http_response_fd(response, fd, size);
}

static void *
upload_begin(HttpRequest *request, HttpResponse *response, void *context)
{
    if (!http_request_header(request, "X-Auth-Token")) {
        http_response_body(response, g_strdup("no\n"), 3);
        http_response_status(response, 401);
        return NULL;
    }
    stream_log.begun++;
    stream_log.bytes = 0;
    return &stream_log;
}

static bool
upload_chunk(void *state, const void *data, size_t size, HttpResponse *response)
{
    StreamLog *log = state;

    if (memmem(data, size, "POISON", 6)) {
        http_response_body(response, g_strdup("poison\n"), 7);
        http_response_status(response, 409);
        return false;
    }
    log->bytes += size;
    return true;
}

static void
upload_end(void *state, bool complete, HttpRequest *request, HttpResponse *response)
{
    StreamLog *log = state;

    if (complete) {
        log->ended_complete++;
        http_response_status(response, 204);
    } else {
        log->ended_broken++;
    }
}

static const HttpStream upload = {upload_begin, upload_chunk, upload_end};

static const HttpRoute routes[] = {
    {.method = "GET", .pattern = "/text", .handler = text_handler},
    {.method = "POST", .pattern = "/echo", .handler = echo_handler, .body_max = BODY_MAX},
    {.method = "GET", .pattern = "/sleep", .handler = sleep_handler},
    {.method = "GET", .pattern = "/empty", .handler = empty_handler},
    {.method = "GET", .pattern = "/inject", .handler = inject_handler},
    {.method = "GET", .pattern = "/silent", .handler = silent_handler},
    {.method = "GET", .pattern = "/file", .handler = file_handler},
    {.method = "PUT", .pattern = "/upload", .stream = &upload},
    {0},
};
static const HttpRoute *const tables[] = {routes};

static void
on_error(HttpRequest *request, HttpResponse *response, int status, const char *message,
         void *context)
{
    char *body = g_strdup_printf("{\"code\": %d}", status);

    http_response_header(response, "Content-Type", "application/json");
    http_response_body(response, body, strlen(body));
    http_response_status(response, status);
}

static void
on_done(HttpRequest *request, int status, int64_t duration_us, void *context)
{
    g_assert_nonnull(http_request_method(request));
    g_assert_nonnull(http_request_path(request));
    last_status = status;
    n_done++;
}

static HttpServer *
start(HttpConfig config)
{
    g_autoptr(GError) error = NULL;

    config.address = config.address ? config.address : "127.0.0.1";
    config.on_error = on_error;
    config.on_done = on_done;

    HttpServer *server = http_server_start(&config, tables, 1, &error);

    g_assert_no_error(error);
    g_assert_cmpint(http_server_port(server), >, 0);
    return server;
}

/* ---- a client that can be impolite ------------------------------------------------------------
 */

static int
dial(const HttpServer *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_server_port(server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    return fd;
}

static void
say(int fd, const char *text)
{
    size_t size = strlen(text);

    g_assert_cmpint(send(fd, text, size, MSG_NOSIGNAL), ==, (gssize)size);
}

/* What comes until the other side closes, or nothing comes for a while. */
static char *
hear(int fd, int patience_ms)
{
    GString *text = g_string_new(NULL);
    char buffer[4096];
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    while (poll(&poll_fd, 1, patience_ms) > 0) {
        ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
        if (n <= 0)
            break;
        g_string_append_len(text, buffer, n);
    }
    return g_string_free(text, FALSE);
}

static bool
is_whole_reply(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strstr(text, "\r\nContent-Length: ");

    return end && length && length < end &&
           strlen(end + 4) >= g_ascii_strtoull(length + 18, NULL, 10);
}

/* One request, one reply; whatever else comes within a moment belongs to it as well. */
static char *
exchange(const HttpServer *server, const char *text)
{
    AUTO_FD fd = dial(server);
    g_autoptr(GString) reply = g_string_new(NULL);
    char buffer[4096];
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    say(fd, text);
    while (poll(&poll_fd, 1, is_whole_reply(reply->str) ? 20 : 500) > 0) {
        ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
        if (n <= 0)
            break;
        g_string_append_len(reply, buffer, n);
    }
    return g_string_free(g_steal_pointer(&reply), FALSE);
}

static unsigned
count(const char *text, const char *what)
{
    unsigned n = 0;

    while ((text = strstr(text, what))) {
        n++;
        text += strlen(what);
    }
    return n;
}

#define HOST "Host: x\r\n"

/* ---- tests ------------------------------------------------------------------------------------
 */

static void
test_basics(void)
{
    HttpServer *server = start((HttpConfig){0});
    static const struct {
        const char *request;
        const char *wanted[4];
        const char *unwanted;
    } exchanges[] = {
        {"GET /text HTTP/1.1\r\n" HOST "\r\n",
         {"HTTP/1.1 200", "Content-Length: 6", "\r\n\r\nhello\n"},
         NULL},
        {"HEAD /text HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 200", "Content-Length: 6"}, "hello"},
        {"GET /text/ HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 200"}, NULL},
        {"GET /text HTTP/1.0\r\n\r\n", {" 200 ", "hello"}, NULL},
        {"GET /empty HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 204"}, "Content-Length: "},
        {"GET /none HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 404", "{\"code\": 404}"}, NULL},
        {"DELETE /text HTTP/1.1\r\n" HOST "\r\n",
         {"HTTP/1.1 405", "Allow: GET, HEAD", "405}"},
         NULL},
        {"GET /text%2Fx HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 400", "{\"code\": 400}"}, NULL},
        {"GET /text%00 HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 400"}, NULL},
        {"GET //text HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 400"}, NULL},
        {"GET /../text HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 400"}, NULL},
        {"GET /text?a=%ff HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 400"}, NULL},
        {"GET http://x/text HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 400"}, NULL},
        {"GET /text HTTP/1.1\r\n\r\n", {"HTTP/1.1 400"}, NULL}, /* no Host */
        {"GET /silent HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 500", "{\"code\": 500}"}, NULL},
        {"GET /inject?name=ok HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 200", "X-Name: ok"}, NULL},
        {"GET /inject?name=a%0d%0aSet-Cookie:1 HTTP/1.1\r\n" HOST "\r\n",
         {"HTTP/1.1 500"},
         "Set-Cookie"},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nbody",
         {"HTTP/1.1 201", "X-Remote: 127.0.0.1", "X-Scheme: http\r\n", "\r\n\r\nbody"},
         NULL},
        {"POST /echo HTTP/1.1\r\n" HOST
         "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
         {"HTTP/1.1 201", "\r\n\r\nabcde"},
         NULL},
        {"POST /echo HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 201", "Content-Length: 0"}, NULL},
        /* a body length that could be read in two ways */
        {"POST /echo HTTP/1.1\r\n" HOST
         "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         {"HTTP/1.1 400"},
         NULL},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
         {"HTTP/1.1 400"},
         NULL},
        {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", {"HTTP/1.1 400"}, NULL},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", {"HTTP/1.1 400"}, NULL},
        /* too large, said or found out */
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 10001\r\nExpect: 100-continue\r\n\r\n",
         {"HTTP/1.1 413", "{\"code\": 413}"},
         "100 Continue"},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999\r\n\r\n",
         {"HTTP/1.1 413"},
         NULL},
        {"GET /text HTTP/1.1\r\n" HOST "Content-Length: 5000\r\nExpect: 100-continue\r\n\r\n",
         {"HTTP/1.1 413"},
         NULL},
        {"nonsense\r\n\r\n", {NULL}, "200 OK"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(exchanges); i++) {
        g_autofree char *reply = exchange(server, exchanges[i].request);

        g_test_message("exchange %zu -> %.12s", i, reply);
        for (unsigned k = 0; k < 4 && exchanges[i].wanted[k]; k++)
            g_assert_nonnull(strstr(reply, exchanges[i].wanted[k]));
        if (exchanges[i].unwanted)
            g_assert_null(strstr(reply, exchanges[i].unwanted));
    }
    http_server_stop(server);
}

static void
test_expect_continue(void)
{
    HttpServer *server = start((HttpConfig){0});
    AUTO_FD fd = dial(server);

    say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    g_autofree char *interim = hear(fd, 200);
    g_assert_cmpstr(interim, ==, "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, "body");
    g_autofree char *reply = hear(fd, 200);
    g_assert_nonnull(strstr(reply, "HTTP/1.1 201"));
    http_server_stop(server);
}

static void
test_keep_alive_and_pipelining(void)
{
    HttpServer *server = start((HttpConfig){0});
    AUTO_FD fd = dial(server);
    int done_before = n_done;

    for (unsigned i = 0; i < 5; i++) {
        say(fd, "GET /text HTTP/1.1\r\n" HOST "\r\n");
        g_autofree char *reply = hear(fd, 100);
        g_assert_cmpuint(count(reply, "hello\n"), ==, 1);
    }
    say(fd, "GET /text HTTP/1.1\r\n" HOST "\r\n"
            "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"
            "GET /none HTTP/1.1\r\n" HOST "\r\n"
            "GET /text HTTP/1.1\r\n" HOST "\r\n");
    g_autofree char *replies = hear(fd, 300);
    g_assert_cmpuint(count(replies, "HTTP/1.1 "), ==, 4);
    g_assert_cmpuint(count(replies, "hello\n"), ==, 2);
    g_assert_cmpuint(count(replies, "abc"), ==, 1);

    /* an ordinary refusal does not end the connection */
    say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 10001\r\n\r\n");
    g_autofree char *body = g_strnfill(10001, 'x');
    say(fd, body);
    say(fd, "GET /text HTTP/1.1\r\n" HOST "\r\n");
    g_autofree char *both = hear(fd, 300);
    g_assert_nonnull(strstr(both, "HTTP/1.1 413"));
    g_assert_nonnull(strstr(both, "hello\n"));
    http_server_stop(server);
    g_assert_cmpint(n_done - done_before, ==, 11);
}

static void
test_oversized(void)
{
    HttpServer *server = start((HttpConfig){0});
    g_autofree char *long_text = g_strnfill(60000, 'x');
    g_autofree char *url = g_strdup_printf("GET /%s HTTP/1.1\r\n" HOST "\r\n", long_text);
    g_autofree char *header =
        g_strdup_printf("GET /text HTTP/1.1\r\n" HOST "X: %s\r\n\r\n", long_text);
    g_autoptr(GString) many = g_string_new("GET /text HTTP/1.1\r\n" HOST);
    g_autoptr(GString) chunks =
        g_string_new("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    g_autofree char *kilo = g_strnfill(1024, 'y');

    g_autofree char *reply1 = exchange(server, url);
    g_assert_true(!*reply1 || strstr(reply1, "HTTP/1.1 414"));
    g_autofree char *reply2 = exchange(server, header);
    g_assert_true(!*reply2 || strstr(reply2, "HTTP/1.1 431"));
    for (unsigned i = 0; i < 2000; i++)
        g_string_append_printf(many, "X-%u: abcdefghijklmnop\r\n", i);
    g_string_append(many, "\r\n");
    g_autofree char *reply3 = exchange(server, many->str);
    g_assert_true(!*reply3 || strstr(reply3, "HTTP/1.1 431"));
    for (unsigned i = 0; i < 20; i++)
        g_string_append_printf(chunks, "400\r\n%s\r\n", kilo);
    g_string_append(chunks, "0\r\n\r\n");
    g_autofree char *reply4 = exchange(server, chunks->str);
    g_assert_nonnull(strstr(reply4, "HTTP/1.1 413"));

    g_autofree char *after = exchange(server, "GET /text HTTP/1.1\r\n" HOST "\r\n");
    g_assert_nonnull(strstr(after, "hello"));
    http_server_stop(server);
}

static void
wait_for(_Atomic int *value, int wanted)
{
    int64_t deadline = clock_monotonic() + 5 * USEC_PER_SEC;

    while (*value != wanted && clock_monotonic() < deadline)
        g_usleep(5000);
    g_assert_cmpint(*value, ==, wanted);
}

static void
test_streams(void)
{
    HttpServer *server = start((HttpConfig){0});

    stream_log = (StreamLog){0};
    g_autofree char *ok = exchange(server, "PUT /upload HTTP/1.1\r\n" HOST
                                           "X-Auth-Token: t\r\nContent-Length: 6\r\n\r\nimages");
    g_assert_nonnull(strstr(ok, "HTTP/1.1 204"));
    g_assert_cmpint(stream_log.ended_complete, ==, 1);
    g_assert_cmpuint(stream_log.bytes, ==, 6);

    g_autofree char *empty = exchange(server, "PUT /upload HTTP/1.1\r\n" HOST
                                              "X-Auth-Token: t\r\nContent-Length: 0\r\n\r\n");
    g_assert_nonnull(strstr(empty, "HTTP/1.1 204"));
    g_assert_cmpint(stream_log.ended_complete, ==, 2);

    /* not allowed: refused before a byte is read, with and without Expect */
    g_autofree char *refused =
        exchange(server, "PUT /upload HTTP/1.1\r\n" HOST
                         "Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n");
    g_assert_nonnull(strstr(refused, "HTTP/1.1 401"));
    g_assert_null(strstr(refused, "100 Continue"));
    g_autofree char *refused2 =
        exchange(server, "PUT /upload HTTP/1.1\r\n" HOST "Content-Length: 99999999999\r\n\r\n");
    g_assert_nonnull(strstr(refused2, "HTTP/1.1 401"));
    g_assert_cmpint(stream_log.begun, ==, 2);

    /* refused on the way: the rest is dropped, end() comes once */
    g_autofree char *poisoned =
        exchange(server, "PUT /upload HTTP/1.1\r\n" HOST
                         "X-Auth-Token: t\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "6\r\nPOISON\r\n3\r\nabc\r\n0\r\n\r\n");
    g_assert_nonnull(strstr(poisoned, "HTTP/1.1 409"));
    g_assert_cmpint(stream_log.ended_broken, ==, 1);

    /* broken off by the client: by length, by chunk, by reset */
    for (int i = 0; i < 3; i++) {
        int fd = dial(server);
        say(fd, i == 1 ? "PUT /upload HTTP/1.1\r\n" HOST
                         "X-Auth-Token: t\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n"
                       : "PUT /upload HTTP/1.1\r\n" HOST
                         "X-Auth-Token: t\r\nContent-Length: 100\r\n\r\nabcdef");
        g_usleep(50000);
        if (i == 2) {
            struct linger reset = {1, 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        }
        close(fd);
        wait_for(&stream_log.ended_broken, 2 + i);
    }
    g_assert_cmpint(stream_log.ended_complete, ==, 2);
    wait_for(&last_status, 0);
    http_server_stop(server);
}

/* Bytes that trickle in keep no connection open. */
static void
test_slow_clients(void)
{
    HttpServer *server = start((HttpConfig){.idle_timeout_s = 1});
    static const char *const starts[] = {
        "",
        "GET /text HTTP/1.1\r\n" HOST,
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n",
        "PUT /upload HTTP/1.1\r\n" HOST "X-Auth-Token: t\r\nContent-Length: 1000\r\n\r\n",
    };
    int fds[G_N_ELEMENTS(starts)];
    bool open[G_N_ELEMENTS(starts)];
    int64_t begin = clock_monotonic();
    size_t n_open = G_N_ELEMENTS(starts);

    stream_log = (StreamLog){0};
    for (size_t i = 0; i < G_N_ELEMENTS(starts); i++) {
        fds[i] = dial(server);
        open[i] = true;
        say(fds[i], starts[i]);
    }
    while (n_open && clock_monotonic() - begin < 5 * USEC_PER_SEC) {
        g_usleep(100000);
        for (size_t i = 0; i < G_N_ELEMENTS(starts); i++) {
            char byte;
            if (!open[i])
                continue;
            if (send(fds[i], "x", 1, MSG_NOSIGNAL) != 1 ||
                (recv(fds[i], &byte, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN)) {
                open[i] = false;
                n_open--;
            }
            errno = 0;
        }
    }
    g_assert_cmpuint(n_open, ==, 0);
    g_assert_cmpint(clock_monotonic() - begin, <, 4 * USEC_PER_SEC);
    g_assert_cmpint(clock_monotonic() - begin, >, USEC_PER_SEC / 2);
    wait_for(&stream_log.ended_broken, 1);
    for (size_t i = 0; i < G_N_ELEMENTS(starts); i++)
        close(fds[i]);

    /* a handler may take longer than that */
    sleep_us = 2500 * USEC_PER_MSEC;
    AUTO_FD fd = dial(server);
    say(fd, "GET /sleep HTTP/1.1\r\n" HOST "\r\n");
    g_autofree char *reply = hear(fd, 3500);
    g_assert_nonnull(strstr(reply, "hello"));
    http_server_stop(server);
}

static void
test_limits(void)
{
    HttpServer *server =
        start((HttpConfig){.max_connections = 40, .max_per_address = 40, .idle_timeout_s = 2});
    int fds[300];
    static const char text_request[] = "GET /text HTTP/1.1\r\n" HOST "\r\n";
    unsigned answered = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = dial(server);
        send(fds[i], text_request, strlen(text_request), MSG_NOSIGNAL);
    }
    g_usleep(500000);
    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
        char buffer[512];
        if (recv(fds[i], buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
            answered++;
    }
    g_assert_cmpuint(answered, >=, 1);
    g_assert_cmpuint(answered, <=, 40);
    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);

    /* and it serves again when they have gone */
    int64_t deadline = clock_monotonic() + 10 * USEC_PER_SEC;
    bool served = false;
    while (!served && clock_monotonic() < deadline) {
        g_autofree char *reply = exchange(server, "GET /text HTTP/1.1\r\n" HOST "\r\n");
        served = strstr(reply, "hello") != NULL;
    }
    g_assert_true(served);
    http_server_stop(server);
}

static void
test_stop(void)
{
    HttpServer *server = start((HttpConfig){0});
    AUTO_FD idle = dial(server);
    AUTO_FD busy = dial(server);
    uint16_t port = http_server_port(server);

    sleep_us = 500 * USEC_PER_MSEC;
    say(idle, "GET /text HTTP/1.1\r\n" HOST "\r\n");
    g_autofree char *first = hear(idle, 100);
    g_assert_nonnull(strstr(first, "hello"));
    say(busy, "GET /sleep HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&in_handler, 1);

    int64_t begin = clock_monotonic();
    http_server_stop(server);
    g_assert_cmpint(clock_monotonic() - begin, <, 3 * USEC_PER_SEC);
    g_autofree char *reply = hear(busy, 100);
    g_assert_nonnull(strstr(reply, "hello"));

    /* the port is free at once */
    HttpServer *again = start((HttpConfig){.port = port});
    g_autoptr(GError) error = NULL;
    HttpConfig config = {.address = "127.0.0.1", .port = port};
    g_assert_null(http_server_start(&config, tables, 1, &error));
    g_assert_nonnull(strstr(error->message, "another program"));
    http_server_stop(again);
}

static void
test_refused_configurations(void)
{
    static const HttpConfig configs[] = {
        {.address = "0.0.0.0"},
        {.address = "::"},
        {.address = "localhost"},
        {.address = "127.0.0.1", .cert_pem = "x"},
        {.address = "127.0.0.1", .key_pem = "x"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(configs); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(http_server_start(&configs[i], tables, 1, &error));
        g_assert_true(err_is(error, ERR_INVALID));
    }

    g_autoptr(GError) error = NULL;
    HttpConfig bad = {.address = "127.0.0.1", .cert_pem = "x", .key_pem = "y"};
    g_assert_null(http_server_start(&bad, tables, 1, &error));
    g_assert_true(err_is(error, ERR_BACKEND));
}

/* ---- TLS, with libcurl ------------------------------------------------------------------------
 */

static char *
pem(const char *name)
{
    g_autofree char *path = g_build_filename(cert_dir, name, NULL);
    char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

static HttpServer *
start_tls(HttpConfig config)
{
    g_autofree char *cert = pem("api.pem");
    g_autofree char *key = pem("api-key.pem");

    config.cert_pem = cert;
    config.key_pem = key;
    return start(config);
}

static size_t
append(char *data, size_t size, size_t n, void *opaque)
{
    g_string_append_len(opaque, data, (gssize)(size * n));
    return size * n;
}

static CURL *
curl_for(const HttpServer *server, const char *host, const char *path, const char *ca,
         GString *body)
{
    CURL *curl = curl_easy_init();
    g_autofree char *url = g_strdup_printf("https://%s:%u%s", host, http_server_port(server), path);
    g_autofree char *ca_path = g_build_filename(cert_dir, ca, NULL);

    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CAINFO, ca_path);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    return curl;
}

static void
test_tls(void)
{
    HttpServer *server = start_tls((HttpConfig){0});
    g_autoptr(GString) body = g_string_new(NULL);
    CURL *curl = curl_for(server, "127.0.0.1", "/text", "ca.pem", body);

    g_assert_cmpint(curl_easy_perform(curl), ==, CURLE_OK);
    g_assert_cmpstr(body->str, ==, "hello\n");

    /* TLS 1.1 is not spoken */
    curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION,
                     (long)CURL_SSLVERSION_TLSv1_0 | CURL_SSLVERSION_MAX_TLSv1_1);
    g_assert_cmpint(curl_easy_perform(curl), !=, CURLE_OK);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION,
                     (long)CURL_SSLVERSION_TLSv1_2 | CURL_SSLVERSION_MAX_TLSv1_2);
    g_assert_cmpint(curl_easy_perform(curl), ==, CURLE_OK);
    curl_easy_cleanup(curl);

    curl = curl_for(server, "127.0.0.1", "/text", "other-ca.pem", body);
    g_assert_cmpint(curl_easy_perform(curl), ==, CURLE_PEER_FAILED_VERIFICATION);
    curl_easy_cleanup(curl);
    curl =
        curl_for(server, "localhost", "/text", "ca.pem", body); /* not a name of the certificate */
    curl_easy_setopt(curl, CURLOPT_IPRESOLVE, (long)CURL_IPRESOLVE_V4);
    g_assert_cmpint(curl_easy_perform(curl), ==, CURLE_PEER_FAILED_VERIFICATION);
    curl_easy_cleanup(curl);

    /* plain text to the TLS port harms nobody */
    g_autofree char *plain = exchange(server, "GET /text HTTP/1.1\r\n" HOST "\r\n");
    g_assert_null(strstr(plain, "hello"));

    g_string_truncate(body, 0);
    curl = curl_for(server, "127.0.0.1", "/file", "ca.pem", body);
    g_assert_cmpint(curl_easy_perform(curl), ==, CURLE_OK);
    g_assert_cmpuint(body->len, ==, 3 * 1024 * 1024 + 17);
    for (size_t i = 0; i < body->len; i++)
        g_assert_cmpint(body->str[i], ==, (char)(i * 7));
    curl_easy_cleanup(curl);
    http_server_stop(server);
}

/* A slow handshake holds a connection no longer than a slow header does. */
static void
test_tls_slow_handshake(void)
{
    HttpServer *server = start_tls((HttpConfig){.idle_timeout_s = 1});
    AUTO_FD fd = dial(server);
    int64_t begin = clock_monotonic();
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    g_assert_cmpint(send(fd, "\x16\x03\x01", 3, MSG_NOSIGNAL), ==, 3);
    g_assert_cmpint(poll(&poll_fd, 1, 5000), ==, 1);
    g_assert_cmpint(clock_monotonic() - begin, <, 3 * USEC_PER_SEC);
    http_server_stop(server);
}

static _Atomic int throughput_left;

static void
throughput_client(void *opaque)
{
    const HttpServer *server = opaque;
    g_autoptr(GString) body = g_string_new(NULL);
    CURL *curl = curl_for(server, "127.0.0.1", "/text", "ca.pem", body);

    while (throughput_left-- > 0) {
        g_string_truncate(body, 0);
        g_assert_cmpint(curl_easy_perform(curl), ==, CURLE_OK);
    }
    curl_easy_cleanup(curl);
}

static void
test_throughput(void)
{
    HttpServer *server = start_tls((HttpConfig){0});
    pthread_t threads[8];
    int n = g_test_slow() ? 40000 : 4000;
    int64_t begin = clock_monotonic();

    throughput_left = n;
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = thread_start("client", throughput_client, server);
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        pthread_join(threads[i], NULL);

    double seconds = (double)(clock_monotonic() - begin) / USEC_PER_SEC;
    g_test_message("%d requests on 8 TLS connections in %.2f s: %.0f per second", n, seconds,
                   n / seconds);
    g_assert_cmpfloat(n / seconds, >, 200);
    http_server_stop(server);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    log_set_level(LOG_LEVEL_ERROR);

    g_autoptr(GError) error = NULL;
    const char *const names[] = {"127.0.0.1", "godwit.example", NULL};
    PkiSubject subject = {.common_name = "godwit.example", .names = names, .server = true};

    cert_dir = g_dir_make_tmp("godwit-http-XXXXXX", &error);
    g_assert_no_error(error);
    g_autofree char *other = g_build_filename(cert_dir, "other", NULL);
    g_autofree char *other_ca = g_build_filename(other, "ca.pem", NULL);
    g_autofree char *other_copy = g_build_filename(cert_dir, "other-ca.pem", NULL);
    g_autofree char *other_pem = NULL;
    pki_ca_ensure(cert_dir, &error);
    g_assert_no_error(error);
    pki_certificate_ensure(cert_dir, "api", &subject, &error);
    g_assert_no_error(error);
    g_assert_true(pki_ca_ensure(other, NULL));
    g_assert_true(g_file_get_contents(other_ca, &other_pem, NULL, NULL));
    g_assert_true(g_file_set_contents(other_copy, other_pem, -1, NULL));

    g_test_add_func("/http/basics", test_basics);
    g_test_add_func("/http/expect-continue", test_expect_continue);
    g_test_add_func("/http/keep-alive", test_keep_alive_and_pipelining);
    g_test_add_func("/http/oversized", test_oversized);
    g_test_add_func("/http/streams", test_streams);
    g_test_add_func("/http/slow-clients", test_slow_clients);
    g_test_add_func("/http/limits", test_limits);
    g_test_add_func("/http/stop", test_stop);
    g_test_add_func("/http/refused-configurations", test_refused_configurations);
    g_test_add_func("/http/tls", test_tls);
    g_test_add_func("/http/tls-slow-handshake", test_tls_slow_handshake);
    g_test_add_func("/http/throughput", test_throughput);

    int result = g_test_run();
    const char *const remove[] = {"rm", "-r", cert_dir, NULL};

    process_run(remove, clock_monotonic() + 10 * USEC_PER_SEC, NULL, NULL);
    g_free(cert_dir);
    curl_global_cleanup();
    return result;
}
