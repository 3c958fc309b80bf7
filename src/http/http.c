/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* http.c: the listener: connections, limits, bodies, answers
 *
 * libmicrohttpd gives each connection a thread; everything about one request happens on that
 * thread. What it does not give are deadlines for a whole header or body: a client that sends one
 * byte now and then would never be idle. The reaper thread sees to that: each connection carries a
 * deadline, INT64_MAX while our own code works on it, and one that has passed it is shut down,
 * which its thread then notices as the end of the stream.
 *
 * An answer can be queued before the body has been read (the connection then ends) or after all of
 * it. A refusal waits for a small body, so that a client that sends first and reads later sees it;
 * a large one, and one announced with "Expect: 100-continue", is refused without being read. */
#include "http/http-priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER_MEMORY   (32 * 1024) /* per connection: request line and headers, read buffer */
#define READ_INCREMENT  (16 * 1024)
#define THREAD_STACK    (256 * 1024)
#define BODY_TOLERATED  4096u
#define DRAIN_MAX       (1024u * 1024)
#define LEAST_BODY_RATE 4096 /* bytes per second, on average, after the first idle time-out */
#define STOP_WAIT_US    (10 * USEC_PER_SEC)
#define FD_BLOCK        (64 * 1024)
#define LARGE_ANSWER    (128u * 1024)
#define TRIM_DELAY_US   USEC_PER_SEC

typedef struct Connection {
    HttpServer *server;
    int fd;
    _Atomic int64_t deadline_us; /* monotonic */
} Connection;

struct HttpServer {
    struct MHD_Daemon *daemon;
    HttpRouter *router;
    void (*on_error)(HttpRequest *, HttpResponse *, int, const char *, void *);
    bool (*may_answer)(void *);
    void (*on_done)(HttpRequest *, int, int64_t, void *);
    void *context;
    bool tls;
    uint16_t port;
    unsigned idle_s;
    char *last_log;  /* what libmicrohttpd said last while it started */
    bool is_started; /* both under lock */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    GHashTable *connections; /* of Connection, under lock */
    unsigned n_requests;     /* begun and not ended, under lock */
    bool stopping;           /* under lock */
    int64_t trim_at;         /* monotonic; INT64_MAX: nothing to give back; under lock */
    pthread_t reaper;
};

/* ---- connections and their deadlines ----------------------------------------------------------
 */

static Connection *
connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

static void
connection_set_deadline(struct MHD_Connection *connection, int64_t deadline_us)
{
    Connection *own = connection_of(connection);

    if (own)
        atomic_store(&own->deadline_us, deadline_us);
}

static int64_t
idle_us(const HttpServer *server)
{
    return server->idle_s * USEC_PER_SEC;
}

static void
on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
              enum MHD_ConnectionNotificationCode code)
{
    HttpServer *server = cls;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        Connection *own = g_new0(Connection, 1);

        own->server = server;
        own->fd = info ? info->connect_fd : -1;
        atomic_store(&own->deadline_us, clock_monotonic() + idle_us(server));
        *socket_context = own;
        WITH_MUTEX(&server->lock);
        g_hash_table_add(server->connections, own);
        if (g_hash_table_size(server->connections) == 1)
            pthread_cond_broadcast(&server->changed);
    } else if (*socket_context) {
        /* Called before the socket is closed: from here on the reaper does not know its number. */
        WITH_MUTEX(&server->lock);
        g_hash_table_remove(server->connections, *socket_context);
        *socket_context = NULL;
    }
}

/* What a large answer was made from has been freed, but stays in the arena of its connection's
 * thread, in holes that the allocator gives back only when told: without this, a client that lists
 * everything eight times at once leaves the process three times as large. At most once a second, so
 * that answers in quick succession use the same pages again. */
static void
trim_memory(HttpServer *server)
{
    server->trim_at = INT64_MAX;
    pthread_mutex_unlock(&server->lock);
    malloc_trim(0);
    pthread_mutex_lock(&server->lock);
}

static void
reaper_run(void *opaque)
{
    HttpServer *server = opaque;

    WITH_MUTEX(&server->lock);
    while (!server->stopping) {
        int64_t now = clock_monotonic();
        GHashTableIter iter;
        gpointer key;

        if (server->trim_at <= now)
            trim_memory(server);

        int64_t next = server->trim_at;

        g_hash_table_iter_init(&iter, server->connections);
        while (g_hash_table_iter_next(&iter, &key, NULL)) {
            Connection *own = key;

            if (atomic_load(&own->deadline_us) <= now) {
                shutdown(own->fd, SHUT_RDWR);
                atomic_store(&own->deadline_us, INT64_MAX);
            }
            /* Deadlines move all the time; looking now and then is cheaper than being told. */
            next = MIN(next, now + idle_us(server) / 4);
        }
        cond_wait_until(&server->changed, &server->lock, next);
    }
}

/* Our own code runs between enter and leave: neither deadline applies to it. */
static void
enter(HttpRequest *request)
{
    connection_set_deadline(request->connection, INT64_MAX);
    MHD_set_connection_option(request->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
}

static void
leave(HttpRequest *request)
{
    MHD_set_connection_option(request->connection, MHD_CONNECTION_OPTION_TIMEOUT,
                              request->server->idle_s);
}

/* ---- answers ----------------------------------------------------------------------------------
 */

/* A file goes out in large blocks: with TLS each block is a read and a record of its own. */
static ssize_t
fd_read(void *cls, uint64_t offset, char *buffer, size_t size)
{
    int fd = GPOINTER_TO_INT(cls);
    ssize_t n = pread(fd, buffer, size, (off_t)offset);

    /* A stream has no offsets; it is asked for in order. */
    if (n < 0 && errno == ESPIPE)
        do
            n = read(fd, buffer, size);
        while (n < 0 && errno == EINTR);
    /* A file that has become shorter cannot be mended: break off, so that the client sees it. */
    return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void
fd_free(void *cls)
{
    close(GPOINTER_TO_INT(cls));
}

static bool
status_has_body(int status)
{
    return status >= 200 && status != 204 && status != 205 && status != 304;
}

static void
fill_error(HttpRequest *request, int status, const char *message)
{
    HttpServer *server = request->server;
    HttpResponse *response = &request->response;

    http_response_clear(response);
    if (server->on_error)
        server->on_error(request, response, status, message, server->context);
    if (!http_response_is_set(response)) {
        http_response_header(response, "Content-Type", "text/plain; charset=utf-8");
        http_response_body(response, g_strconcat(message, "\n", NULL), strlen(message) + 1);
        http_response_status(response, status);
    }
    if (request->match.allow)
        http_response_header(response, "Allow", request->match.allow);
}

static enum MHD_Result
answer(HttpRequest *request)
{
    HttpResponse *response = &request->response;
    struct MHD_Response *out = NULL;

    if (response->is_refused || !http_response_is_set(response))
        fill_error(request, 500, "The server made no valid answer. Its log says why.");
    if (!status_has_body(response->status)) {
        out = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    } else if (response->fd >= 0) {
        out = MHD_create_response_from_callback(response->fd_size, FD_BLOCK, fd_read,
                                                GINT_TO_POINTER(response->fd), fd_free);
        if (out)
            response->fd = -1;
    } else {
        out = MHD_create_response_from_buffer_with_free_callback(response->body_size,
                                                                 response->body, g_free);
        if (out)
            response->body = NULL;
    }
    if (!out)
        return MHD_NO;
    for (unsigned i = 0; response->headers && i < response->headers->len; i += 2)
        MHD_add_response_header(out, response->headers->pdata[i], response->headers->pdata[i + 1]);

    bool stopping;
    {
        WITH_MUTEX(&request->server->lock);
        stopping = request->server->stopping;
    }
    if (stopping)
        MHD_add_response_header(out, "Connection", "close");

    enum MHD_Result result = MHD_NO;
    if (!request->server->may_answer || request->server->may_answer(request->server->context))
        result = MHD_queue_response(request->connection, (unsigned)response->status, out);

    request->answered = result == MHD_YES;
    MHD_destroy_response(out);
    return result;
}

/* ---- requests ---------------------------------------------------------------------------------
 */

static char *
remote_text(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    char text[INET6_ADDRSTRLEN] = "";

    if (info && info->client_addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)info->client_addr;
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
    } else if (info && info->client_addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)info->client_addr;
        inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
    }
    return g_strdup(g_str_has_prefix(text, "::ffff:") && strchr(text, '.') ? text + 7 : text);
}

typedef struct BodyHeaders {
    unsigned n_length, n_encoding;
    bool bad;
    uint64_t length;
    bool expects; /* "Expect: 100-continue" */
} BodyHeaders;

static enum MHD_Result
body_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    BodyHeaders *headers = cls;
    int64_t length;

    if (!value)
        value = "";
    if (g_ascii_strcasecmp(name, "Content-Length") == 0) {
        headers->n_length++;
        if (!parse_int64(value, 0, INT64_MAX, &length))
            headers->bad = true;
        else
            headers->length = (uint64_t)length;
    } else if (g_ascii_strcasecmp(name, "Transfer-Encoding") == 0) {
        headers->n_encoding++;
        if (g_ascii_strcasecmp(value, "chunked") != 0)
            headers->bad = true;
    } else if (g_ascii_strcasecmp(name, "Expect") == 0) {
        headers->expects = g_ascii_strcasecmp(value, "100-continue") == 0;
    }
    return MHD_YES;
}

static size_t
body_most(const HttpRoute *route)
{
    return MAX(route->body_max, BODY_TOLERATED);
}

static void
refuse(HttpRequest *request, int status, const char *message)
{
    fill_error(request, status, message);
    request->discard = true;
}

static void
refuse_too_large(HttpRequest *request)
{
    g_autofree char *message =
        g_strdup_printf("The request body is too large: at most %zu bytes are taken here.",
                        body_most(request->match.route));

    refuse(request, 413, message);
}

/* Route and headers decide whether the body is wanted at all. */
static void
request_judge(HttpRequest *request, const BodyHeaders *headers)
{
    g_autofree char *raw_path = NULL;
    bool target_ok = http_request_parse_target(request, &raw_path);

    if (headers->bad || headers->n_length > 1 || headers->n_encoding > 1 ||
        (headers->n_length && headers->n_encoding)) {
        refuse(request, 400,
               "The length of the request body is not clear: send either one "
               "Content-Length or Transfer-Encoding: chunked.");
        return;
    }
    if (!target_ok) {
        refuse(request, 400,
               "The path or the query is malformed: empty, \".\" and \"..\" segments, "
               "encoded slashes, control characters and text that is not UTF-8 are "
               "not accepted.");
        return;
    }
    http_router_match(request->server->router, request->method, raw_path, &request->match);
    if (request->match.status == 400) {
        refuse(request, 400, "The path is malformed.");
    } else if (request->match.status == 404) {
        refuse(request, 404, "There is nothing at this path.");
    } else if (request->match.status == 405) {
        g_autofree char *message = g_strdup_printf("The method %s is not served here, only: %s.",
                                                   request->method, request->match.allow);
        refuse(request, 405, message);
    } else if (request->match.route->stream) {
        const HttpStream *stream = request->match.route->stream;

        enter(request);
        request->stream_state =
            stream->begin(request, &request->response, request->server->context);
        leave(request);
        request->stream_open = request->stream_state != NULL;
        request->discard = !request->stream_open;
    } else if (headers->length > body_most(request->match.route)) {
        refuse_too_large(request);
    }
}

static void
set_body_deadline(HttpRequest *request)
{
    int64_t grace = (int64_t)(request->received / LEAST_BODY_RATE) * USEC_PER_SEC;

    connection_set_deadline(request->connection,
                            request->body_since + idle_us(request->server) + grace);
}

static enum MHD_Result
request_begin(HttpRequest *request, struct MHD_Connection *connection, const char *method)
{
    HttpServer *server = request->server;
    BodyHeaders headers = {0};

    request->begun = true;
    request->connection = connection;
    request->method = g_strdup(method);
    request->remote = remote_text(connection);
    request->tls = server->tls;
    {
        WITH_MUTEX(&server->lock);
        server->n_requests++;
    }
    MHD_get_connection_values(connection, MHD_HEADER_KIND, body_header, &headers);
    request_judge(request, &headers);
    request->body_since = clock_monotonic();
    set_body_deadline(request);
    if (request->discard &&
        (headers.bad || headers.n_length > 1 || (headers.n_length && headers.n_encoding) ||
         headers.length > DRAIN_MAX || (headers.expects && (headers.length || headers.n_encoding))))
        return answer(request);
    if (!request->discard && !request->stream_open)
        request->body =
            g_string_sized_new(MIN(headers.length + 1, body_most(request->match.route)));
    return MHD_YES;
}

static enum MHD_Result
request_take(HttpRequest *request, const char *data, size_t size)
{
    request->received += size;
    if (request->answered)
        return MHD_YES;
    if (request->discard) {
        if (request->received > DRAIN_MAX && !request->discard_all)
            return MHD_NO;
    } else if (request->stream_open) {
        const HttpStream *stream = request->match.route->stream;

        enter(request);
        if (!stream->chunk(request->stream_state, data, size, &request->response)) {
            request->stream_open = false;
            request->discard = request->discard_all = true;
            stream->end(request->stream_state, false, request, &request->response);
        }
        leave(request);
    } else if (size > body_most(request->match.route) - request->body->len) {
        g_string_set_size(request->body, 0);
        refuse_too_large(request);
    } else {
        g_string_append_len(request->body, data, (gssize)size);
    }
    set_body_deadline(request);
    return MHD_YES;
}

static enum MHD_Result
request_finish(HttpRequest *request)
{
    const HttpRoute *route = request->match.route;

    if (request->answered)
        return MHD_YES;
    enter(request);
    if (!request->discard) {
        if (request->stream_open) {
            request->stream_open = false;
            route->stream->end(request->stream_state, true, request, &request->response);
        } else {
            route->handler(request, &request->response, request->server->context);
        }
    }
    enum MHD_Result result = answer(request);
    leave(request);
    return result;
}

static void *
on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    HttpRequest *request = http_request_new(uri);

    request->server = cls;
    request->connection = connection;
    return request;
}

/* Paths and queries are decoded by us, strictly: libmicrohttpd leaves them alone. */
static size_t
on_unescape(void *cls, struct MHD_Connection *connection, char *text)
{
    return strlen(text);
}

static enum MHD_Result
on_access(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
          const char *version, const char *data, size_t *size, void **request_slot)
{
    HttpRequest *request = *request_slot;

    if (!request)
        return MHD_NO;
    if (!request->begun)
        return request_begin(request, connection, method);
    if (*size > 0) {
        size_t n = *size;
        *size = 0;
        return request_take(request, data, n);
    }
    return request_finish(request);
}

static void
on_completed(void *cls, struct MHD_Connection *connection, void **request_slot,
             enum MHD_RequestTerminationCode code)
{
    HttpServer *server = cls;
    HttpRequest *request = *request_slot;
    Connection *own = connection_of(connection);

    *request_slot = NULL;
    if (own)
        atomic_store(&own->deadline_us, clock_monotonic() + idle_us(server));
    if (!request)
        return;
    if (request->stream_open)
        request->match.route->stream->end(request->stream_state, false, request,
                                          &request->response);
    if (request->begun) {
        if (server->on_done)
            server->on_done(request, request->answered ? request->response.status : 0,
                            clock_monotonic() - request->started_us, server->context);
        WITH_MUTEX(&server->lock);
        server->n_requests--;
        if (request->response.body_size >= LARGE_ANSWER && server->trim_at == INT64_MAX) {
            server->trim_at = clock_monotonic() + TRIM_DELAY_US;
            pthread_cond_broadcast(&server->changed);
        }
        if (server->stopping)
            pthread_cond_broadcast(&server->changed);
    }
    http_request_free(request);
}

/* ---- start and stop ---------------------------------------------------------------------------
 */

static void
on_log(void *cls, const char *format, va_list arguments)
{
    HttpServer *server = cls;
    g_autofree char *text = g_strchomp(g_strdup_vprintf(format, arguments));

    WITH_MUTEX(&server->lock);
    if (server->is_started) {
        log_event(LOG_LEVEL_DEBUG, "http", text, NULL);
    } else {
        g_free(server->last_log);
        server->last_log = g_steal_pointer(&text);
    }
}

static bool
address_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 ==
               127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

/* Listening socket on the numeric address; *port becomes the real one. -1 with *err. */
static int
listen_on(const HttpConfig *config, uint16_t *port, bool *is_ipv6, GError **err)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    g_autofree char *service = g_strdup_printf("%u", config->port);

    if (!config->address || getaddrinfo(config->address, service, &hints, &found) != 0) {
        err_set(err, ERR_INVALID, "cannot listen on \"%s\": not a numeric IP address",
                config->address ? config->address : "");
        return -1;
    }

    AUTO_FD fd = -1;
    int one = 1;
    struct sockaddr_storage bound = {0};
    socklen_t bound_size = sizeof(bound);

    if (!config->cert_pem && !address_is_loopback(found->ai_addr)) {
        freeaddrinfo(found);
        err_set(err, ERR_INVALID,
                "plain HTTP on %s is refused: passwords and tokens would cross the network "
                "unencrypted; give a certificate, or listen on 127.0.0.1",
                config->address);
        return -1;
    }
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 512) < 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &bound_size) < 0) {
        int saved = errno;
        freeaddrinfo(found);
        err_set(err, ERR_BACKEND, "cannot listen on %s port %u: %s%s", config->address,
                config->port, errno_text(saved),
                saved == EADDRINUSE ? "; another program (another godwitd?) has it" : "");
        return -1;
    }
    *is_ipv6 = found->ai_family == AF_INET6;
    *port = ntohs(*is_ipv6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                           : ((struct sockaddr_in *)&bound)->sin_port);
    freeaddrinfo(found);

    int result = fd;
    fd = -1;
    return result;
}

static void
server_free(HttpServer *server)
{
    http_router_free(server->router);
    g_hash_table_unref(server->connections);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    g_free(server->last_log);
    g_free(server);
}

HttpServer *
http_server_start(const HttpConfig *config, const HttpRoute *const *tables, size_t n_tables,
                  GError **err)
{
    HttpServer *server = g_new0(HttpServer, 1);
    AUTO_FD fd = -1;
    bool is_ipv6 = false;

    server->on_error = config->on_error;
    server->may_answer = config->may_answer;
    server->on_done = config->on_done;
    server->context = config->context;
    server->tls = config->cert_pem != NULL;
    server->idle_s = config->idle_timeout_s ? config->idle_timeout_s : 30;
    server->connections = g_hash_table_new_full(NULL, NULL, g_free, NULL);
    server->trim_at = INT64_MAX;
    pthread_mutex_init(&server->lock, NULL);
    cond_init_monotonic(&server->changed);

    if (!config->cert_pem != !config->key_pem) {
        err_set(err, ERR_INVALID, "a certificate needs its key, and a key its certificate");
        server_free(server);
        return NULL;
    }
    server->router = http_router_new(tables, n_tables, err);
    if (!server->router || (fd = listen_on(config, &server->port, &is_ipv6, err)) < 0) {
        server_free(server);
        return NULL;
    }

    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
                     MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG | (is_ipv6 ? MHD_USE_IPv6 : 0) |
                     (server->tls ? MHD_USE_TLS : 0);
    struct MHD_OptionItem tls_options[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)config->cert_pem},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)config->key_pem},
        {MHD_OPTION_HTTPS_PRIORITIES, 0,
         (void *)"SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"},
        {MHD_OPTION_END, 0, NULL},
    };
    struct MHD_OptionItem no_options[] = {{MHD_OPTION_END, 0, NULL}};

    /* The logger comes first: what the options after it find fault with goes through it. */
    server->daemon = MHD_start_daemon(
        flags, server->port, NULL, NULL, on_access, server, MHD_OPTION_EXTERNAL_LOGGER, on_log,
        server, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        config->max_connections ? config->max_connections : 256u,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        config->max_per_address ? config->max_per_address : 128u, MHD_OPTION_CONNECTION_TIMEOUT,
        server->idle_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_MEMORY,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)READ_INCREMENT,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)THREAD_STACK, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, server, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape,
        NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, server, MHD_OPTION_ARRAY, server->tls ? tls_options : no_options,
        MHD_OPTION_END);
    if (!server->daemon) {
        err_set(err, ERR_BACKEND, "the %s listener on %s port %u did not start: %s",
                server->tls ? "HTTPS" : "HTTP", config->address, config->port,
                server->last_log ? server->last_log : "no reason was given");
        server_free(server);
        return NULL;
    }
    fd = -1;
    {
        WITH_MUTEX(&server->lock);
        server->is_started = true;
    }
    server->reaper = thread_start("http-reaper", reaper_run, server);
    return server;
}

void
http_server_stop(HttpServer *server)
{
    if (!server)
        return;

    int listener = MHD_quiesce_daemon(server->daemon);
    int64_t deadline = clock_monotonic() + STOP_WAIT_US;

    if (listener >= 0)
        close(listener);
    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
    pthread_join(server->reaper, NULL);

    pthread_mutex_lock(&server->lock);
    bool in_time = true;
    while (server->n_requests > 0 && in_time)
        in_time = cond_wait_until(&server->changed, &server->lock, deadline);
    pthread_mutex_unlock(&server->lock);

    /* Shuts down what is still connected and joins the connections' threads. */
    MHD_stop_daemon(server->daemon);
    server_free(server);
}

uint16_t
http_server_port(const HttpServer *server)
{
    return server->port;
}
