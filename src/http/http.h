/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* http.h: listener, TLS, limits, router. Knows nothing of OpenStack. Each connection has a thread
 * of its own (bounded number), so a handler may block on the store or on a node with a deadline. */
#pragma once

#include "base/base.h"

typedef struct HttpServer HttpServer;
typedef struct HttpRequest HttpRequest;
typedef struct HttpResponse HttpResponse;

typedef void (*HttpHandler)(HttpRequest *request, HttpResponse *response, void *context);
/* A streamed body (image upload). begin returns per-request state or fills the response and returns
 * NULL; chunk returns false after filling the response (the rest of the body is then discarded);
 * end is called once, complete=false if the client broke off or chunk refused (then the response
 * stands already). */
typedef struct HttpStream {
    void *(*begin)(HttpRequest *request, HttpResponse *response, void *context);
    bool (*chunk)(void *state, const void *data, size_t size, HttpResponse *response);
    void (*end)(void *state, bool complete, HttpRequest *request, HttpResponse *response);
} HttpStream;

typedef struct HttpRoute {
    const char *method;       /* "GET", …; HEAD is served by GET */
    const char *pattern;      /* "/compute/v2.1/servers/{id}/action"; "{name}" matches one segment,
                                 "{name...}" the rest */
    HttpHandler handler;      /* whole body in memory, at most body_max bytes (413 above) */
    const HttpStream *stream; /* instead of handler */
    size_t body_max;          /* 0: no body expected, at most 4 KiB tolerated */
    const void *data;         /* for the handler's owner: http_request_route_data */
} HttpRoute;

typedef struct HttpConfig {
    const char *address; /* numeric IP */
    uint16_t port;
    const char *cert_pem, *key_pem; /* contents; both NULL: plain HTTP, accepted on loopback only */
    unsigned max_connections;       /* 0: 256 */
    unsigned max_per_address;       /* 0: 128 */
    unsigned idle_timeout_s;        /* 0: 30 */
    /* 404, 405, 413, 400 before any handler: fills the body in the caller's style. */
    void (*on_error)(HttpRequest *request, HttpResponse *response, int status, const char *message,
                     void *context);
    /* Asked just before each answer is handed to the connection: false drops the connection
     * instead, and the client knows no outcome. NULL: always. */
    bool (*may_answer)(void *context);
    /* Called for every finished request (access log, counters); status 0: the client broke off
     * before the answer. May be NULL. */
    void (*on_done)(HttpRequest *request, int status, int64_t duration_us, void *context);
    void *context;
} HttpConfig;

/* routes: array ended by method == NULL; must outlive the server. ERR_INVALID for two routes that
 * clash. */
HttpServer *http_server_start(const HttpConfig *config, const HttpRoute *const *tables,
                              size_t n_tables, GError **err);
/* Refuses new connections, lets running handlers end (at most 10 s), joins. */
void http_server_stop(HttpServer *server);
uint16_t http_server_port(const HttpServer *server); /* of interest if port 0 was asked for */

const char *http_request_method(const HttpRequest *request);
const char *http_request_path(const HttpRequest *request); /* decoded, without query */
/* A "{name}" of the pattern, decoded; NULL if there is none. */
const char *http_request_param(const HttpRequest *request, const char *name);
/* The first value; NULL if absent. */
const char *http_request_query(const HttpRequest *request, const char *name);
/* All query pairs in order: calls fn for each. */
void http_request_query_each(const HttpRequest *request,
                             void (*fn)(const char *name, const char *value, void *opaque),
                             void *opaque);
const char *http_request_header(const HttpRequest *request, const char *name);
const char *http_request_body(const HttpRequest *request, size_t *size); /* NUL-terminated copy */
const char *http_request_remote(const HttpRequest *request);             /* "10.88.0.1" */
const char *http_request_scheme(const HttpRequest *request);             /* "https" or "http" */
const void *http_request_route_data(const HttpRequest *request);
/* A slot for the owner of the handlers (the API's call context); freed with the request. */
void http_request_set_context(HttpRequest *request, void *context, GDestroyNotify context_free);
void *http_request_context(const HttpRequest *request);

void http_response_status(HttpResponse *response, int status);
void
http_response_header(HttpResponse *response, const char *name,
                     const char *value); /* control characters: logged, and the answer is a 500 */
void
http_response_body(HttpResponse *response, char *body, size_t size);  /* takes body (g_malloc'ed) */
void http_response_fd(HttpResponse *response, int fd, uint64_t size); /* takes fd */
bool http_response_is_set(const HttpResponse *response);

/* The router alone, for tests and fuzzing. */
typedef struct HttpRouter HttpRouter;
typedef struct HttpMatch {
    const HttpRoute *route; /* NULL: see status */
    int status;             /* 200, 400, 404, 405 */
    char *allow;            /* with 405: the methods that exist */
    char **names, **values; /* captured, NULL-ended */
} HttpMatch;
HttpRouter *http_router_new(const HttpRoute *const *tables, size_t n_tables, GError **err);
void http_router_free(HttpRouter *router);
void http_router_match(const HttpRouter *router, const char *method, const char *raw_path,
                       HttpMatch *match);
void http_match_clear(HttpMatch *match);
