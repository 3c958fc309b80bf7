/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* http-request.c: what a handler sees of a request and says in a response */
#include "http/http-priv.h"

#include <microhttpd.h>
#include <string.h>
#include <unistd.h>

HttpRequest *
http_request_new(const char *target)
{
    HttpRequest *request = g_new0(HttpRequest, 1);

    request->started_us = clock_monotonic();
    request->target = g_strdup(target);
    request->query = g_ptr_array_new_with_free_func(g_free);
    request->response.fd = -1;
    return request;
}

void
http_request_free(HttpRequest *request)
{
    if (!request)
        return;
    if (request->context_free)
        request->context_free(request->context);
    http_match_clear(&request->match);
    http_response_clear(&request->response);
    g_ptr_array_unref(request->query);
    if (request->body)
        g_string_free(request->body, TRUE);
    g_free(request->target);
    g_free(request->method);
    g_free(request->path);
    g_free(request->remote);
    g_free(request);
}

bool
http_request_parse_target(HttpRequest *request, char **raw_path)
{
    const char *question = strchr(request->target, '?');
    size_t length = question ? (size_t)(question - request->target) : strlen(request->target);
    g_autofree char *raw = g_strndup(request->target, length);
    g_auto(GStrv) segments = http_path_split(raw);
    bool ok = segments && http_query_parse(question ? question + 1 : NULL, request->query);

    if (segments) {
        g_autofree char *joined = g_strjoinv("/", segments);
        request->path = g_strconcat("/", joined, NULL);
    } else {
        request->path = g_strdup("/");
    }
    *raw_path = g_steal_pointer(&raw);
    return ok;
}

const char *
http_request_method(const HttpRequest *request)
{
    return request->method;
}

const char *
http_request_path(const HttpRequest *request)
{
    return request->path;
}

const char *
http_request_param(const HttpRequest *request, const char *name)
{
    for (unsigned i = 0; request->match.names && request->match.names[i]; i++) {
        if (g_str_equal(request->match.names[i], name))
            return request->match.values[i];
    }
    return NULL;
}

const char *
http_request_query(const HttpRequest *request, const char *name)
{
    for (unsigned i = 0; i + 1 < request->query->len; i += 2) {
        if (g_str_equal(request->query->pdata[i], name))
            return request->query->pdata[i + 1];
    }
    return NULL;
}

void
http_request_query_each(const HttpRequest *request,
                        void (*fn)(const char *name, const char *value, void *opaque), void *opaque)
{
    for (unsigned i = 0; i + 1 < request->query->len; i += 2)
        fn(request->query->pdata[i], request->query->pdata[i + 1], opaque);
}

const char *
http_request_header(const HttpRequest *request, const char *name)
{
    const char *value = request->connection ? MHD_lookup_connection_value(request->connection,
                                                                          MHD_HEADER_KIND, name)
                                            : NULL;

    /* Callers put header values into JSON and into the store: what is not text is not there. */
    return value && g_utf8_validate(value, -1, NULL) ? value : NULL;
}

const char *
http_request_body(const HttpRequest *request, size_t *size)
{
    if (size)
        *size = request->body ? request->body->len : 0;
    return request->body ? request->body->str : "";
}

const char *
http_request_remote(const HttpRequest *request)
{
    return request->remote;
}

const char *
http_request_scheme(const HttpRequest *request)
{
    return request->tls ? "https" : "http";
}

const void *
http_request_route_data(const HttpRequest *request)
{
    return request->match.route ? request->match.route->data : NULL;
}

void
http_request_set_context(HttpRequest *request, void *context, GDestroyNotify context_free)
{
    if (request->context_free)
        request->context_free(request->context);
    request->context = context;
    request->context_free = context_free;
}

void *
http_request_context(const HttpRequest *request)
{
    return request->context;
}

static void
response_drop_body(HttpResponse *response)
{
    g_clear_pointer(&response->body, g_free);
    response->body_size = 0;
    if (response->fd >= 0)
        close(response->fd);
    response->fd = -1;
    response->fd_size = 0;
}

void
http_response_clear(HttpResponse *response)
{
    response_drop_body(response);
    g_clear_pointer(&response->headers, g_ptr_array_unref);
    response->status = 0;
    response->is_refused = false;
}

void
http_response_status(HttpResponse *response, int status)
{
    response->status = status;
}

static bool
header_is_safe(const char *name, const char *value)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "abcdefghijklmnopqrstuvwxyz";

    if (!*name || name[strspn(name, token)])
        return false;
    for (const unsigned char *c = (const unsigned char *)value; *c; c++) {
        if ((*c < 0x20 && *c != '\t') || *c == 0x7f)
            return false;
    }
    return true;
}

void
http_response_header(HttpResponse *response, const char *name, const char *value)
{
    if (!header_is_safe(name, value)) {
        /* Never sent, and never a reason to end the process: the value may have come from outside.
         */
        log_event(LOG_LEVEL_ERROR, "http", "response header refused: not a single line of text",
                  "name", name, "value", value, NULL);
        response->is_refused = true;
        return;
    }
    if (!response->headers)
        response->headers = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(response->headers, g_strdup(name));
    g_ptr_array_add(response->headers, g_strdup(value));
}

void
http_response_body(HttpResponse *response, char *body, size_t size)
{
    response_drop_body(response);
    response->body = body;
    response->body_size = size;
    if (response->status == 0)
        response->status = 200;
}

void
http_response_fd(HttpResponse *response, int fd, uint64_t size)
{
    response_drop_body(response);
    response->fd = fd;
    response->fd_size = size;
    if (response->status == 0)
        response->status = 200;
}

bool
http_response_is_set(const HttpResponse *response)
{
    return response->status != 0;
}
