/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* http-priv.h: what the files of http/ share */
#pragma once

#include "http/http.h"

#define HTTP_PATH_MAX     4096u /* bytes of an undecoded path */
#define HTTP_SEGMENTS_MAX 32u
#define HTTP_QUERY_MAX    128u /* pairs */

/* ---- http-uri.c ---- */

/* Percent-decode n bytes. NULL unless the result is UTF-8 without NUL and without control
 * characters (a query may have them: pass is_query, which also reads '+' as a space). */
char *http_percent_decode(const char *text, size_t n, bool is_query);
/* The decoded segments of an absolute path, NULL-ended; "/" has none; one trailing slash is
 * dropped. NULL if the path is malformed: empty, "." or ".." segments, "%2F", control characters,
 * bad UTF-8. */
char **http_path_split(const char *raw_path);
/* Pairs as name, value, name, value, …; false if malformed or too many. raw may be NULL. */
bool http_query_parse(const char *raw, GPtrArray *pairs);

/* ---- http-request.c ---- */

struct HttpResponse {
    int status;         /* 0: nothing set */
    GPtrArray *headers; /* name, value, … */
    char *body;
    size_t body_size;
    int fd;
    uint64_t fd_size;
    bool is_refused; /* a header could not be sent: the answer will be a 500 */
};

struct MHD_Connection;

struct HttpRequest {
    struct MHD_Connection *connection; /* NULL in tests of the parser */
    HttpServer *server;
    int64_t started_us;
    char *target; /* path and query as they came */
    char *method;
    char *path;
    char *remote;
    bool tls;
    GPtrArray *query;
    HttpMatch match;
    GString *body;
    void *context;
    GDestroyNotify context_free;
    HttpResponse response;

    bool begun;       /* the headers have been judged */
    bool discard;     /* the answer is known; what still comes of the body is dropped */
    bool discard_all; /* … however much it is: the upload had been accepted */
    bool answered;    /* the answer is queued */
    bool stream_open; /* begin() has been called, end() not yet */
    void *stream_state;
    uint64_t received;  /* bytes of body so far */
    int64_t body_since; /* monotonic µs */
};

HttpRequest *http_request_new(const char *target);
void http_request_free(HttpRequest *request);
/* Split target into path and query. false: 400. */
bool http_request_parse_target(HttpRequest *request, char **raw_path);
void http_response_clear(HttpResponse *response);
