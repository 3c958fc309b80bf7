/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-router.c: paths, queries and the choice of a route */
#include "http/http-priv.h"

static void
handler(HttpRequest *request, HttpResponse *response, void *context)
{
}

#define ROUTE(m, p)                                                    \
    {                                                                  \
        .method = (m), .pattern = (p), .handler = handler, .data = (p) \
    }

static const HttpRoute table[] = {
    ROUTE("GET", "/"),
    ROUTE("GET", "/v2.1/servers"),
    ROUTE("POST", "/v2.1/servers"),
    ROUTE("GET", "/v2.1/servers/detail"),
    ROUTE("GET", "/v2.1/servers/{id}"),
    ROUTE("DELETE", "/v2.1/servers/{id}"),
    ROUTE("POST", "/v2.1/servers/{id}/action"),
    ROUTE("GET", "/v2.1/servers/{server}/migrations/{migration}"),
    ROUTE("GET", "/v2.1/{rest...}"),
    ROUTE("PUT", "/files/{id}/{path...}"),
    {0},
};
static const HttpRoute *const tables[] = {table};

typedef struct Case {
    const char *method, *path;
    int status;
    const char *pattern;  /* of the route found */
    const char *captured; /* "name=value;…" */
    const char *allow;
} Case;

static const Case cases[] = {
    {"GET", "/", 200, "/", "", NULL},
    {"GET", "/v2.1/servers", 200, "/v2.1/servers", "", NULL},
    {"GET", "/v2.1/servers/", 200, "/v2.1/servers", "", NULL},
    {"HEAD", "/v2.1/servers", 200, "/v2.1/servers", "", NULL},
    {"GET", "/v2.1/servers/detail", 200, "/v2.1/servers/detail", "", NULL},
    {"GET", "/v2.1/servers/abc", 200, "/v2.1/servers/{id}", "id=abc;", NULL},
    {"GET", "/v2.1/servers/a%20b%C3%A4", 200, "/v2.1/servers/{id}", "id=a bä;", NULL},
    /* a literal that leads nowhere is left again */
    {"DELETE", "/v2.1/servers/detail", 200, "/v2.1/servers/{id}", "id=detail;", NULL},
    {"POST", "/v2.1/servers/detail/action", 200, "/v2.1/servers/{id}/action", "id=detail;", NULL},
    {"GET", "/v2.1/servers/a/migrations/7", 200, "/v2.1/servers/{server}/migrations/{migration}",
     "server=a;migration=7;", NULL},
    {"GET", "/v2.1/x/y/z", 200, "/v2.1/{rest...}", "rest=x/y/z;", NULL},
    {"GET", "/v2.1/servers/a/b", 200, "/v2.1/{rest...}", "rest=servers/a/b;", NULL},
    {"PUT", "/files/7/a/b", 200, "/files/{id}/{path...}", "id=7;path=a/b;", NULL},
    {"PUT", "/files/7", 404, NULL, NULL, NULL},
    {"GET", "/nothing", 404, NULL, NULL, NULL},
    {"GET", "/v2.1", 404, NULL, NULL, NULL},
    {"PATCH", "/v2.1/servers", 405, NULL, NULL, "GET, HEAD, POST"},
    {"PATCH", "/v2.1/servers/x", 405, NULL, NULL, "DELETE, GET, HEAD"},
    {"get", "/v2.1/servers/x", 405, NULL, NULL, "DELETE, GET, HEAD"},
    {"GET", "", 400, NULL, NULL, NULL},
    {"GET", "v2.1", 400, NULL, NULL, NULL},
    {"GET", "*", 400, NULL, NULL, NULL},
    {"GET", "//", 400, NULL, NULL, NULL},
    {"GET", "//v2.1/servers", 400, NULL, NULL, NULL},
    {"GET", "/v2.1//servers", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/servers//", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/./servers", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/../servers", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/%2e%2e/servers", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/servers/a%2Fb", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/servers/a%2fb", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/servers/a%00", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/servers/a%0d%0aX:1", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/servers/%ff", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/servers/%c0%af", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/servers/%zz", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/servers/%4", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/servers/%", 400, NULL, NULL, NULL},
    {"GET", "/v2.1/servers?x=1", 400, NULL, NULL, NULL},
};

static void
test_cases(void)
{
    g_autoptr(GError) error = NULL;
    HttpRouter *router = http_router_new(tables, 1, &error);

    g_assert_no_error(error);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const Case *c = &cases[i];
        HttpMatch match;
        g_autoptr(GString) captured = g_string_new(NULL);

        g_test_message("%s %s", c->method, c->path);
        http_router_match(router, c->method, c->path, &match);
        g_assert_cmpint(match.status, ==, c->status);
        g_assert_cmpstr(match.route ? match.route->data : NULL, ==, c->pattern);
        g_assert_cmpstr(match.allow, ==, c->allow);
        for (unsigned k = 0; match.names && match.names[k]; k++)
            g_string_append_printf(captured, "%s=%s;", match.names[k], match.values[k]);
        g_assert_cmpstr(match.names ? captured->str : NULL, ==, c->captured);
        http_match_clear(&match);
    }
    http_router_free(router);
}

static void
test_long_paths(void)
{
    HttpRouter *router = http_router_new(tables, 1, NULL);
    g_autoptr(GString) path = g_string_new("/v2.1");
    HttpMatch match;

    for (unsigned i = 1; i < HTTP_SEGMENTS_MAX; i++)
        g_string_append(path, "/x");
    http_router_match(router, "GET", path->str, &match);
    g_assert_cmpint(match.status, ==, 200);
    http_match_clear(&match);
    g_string_append(path, "/x");
    http_router_match(router, "GET", path->str, &match);
    g_assert_cmpint(match.status, ==, 400);
    http_match_clear(&match);

    g_string_assign(path, "/v2.1/");
    for (unsigned i = 0; i < HTTP_PATH_MAX; i++)
        g_string_append_c(path, 'x');
    http_router_match(router, "GET", path->str, &match);
    g_assert_cmpint(match.status, ==, 400);
    http_match_clear(&match);
    http_router_free(router);
}

static void
test_bad_tables(void)
{
    static const HttpRoute bad[][3] = {
        {ROUTE("GET", "/a/{x}"), ROUTE("GET", "/a/{y}")},
        {ROUTE("GET", "/a"), ROUTE("GET", "/a")},
        {ROUTE("GET", "a")},
        {ROUTE("GET", "/a//b")},
        {ROUTE("GET", "/a/")},
        {ROUTE("GET", "/{a...}/b")},
        {ROUTE("GET", "/{a/b")},
        {ROUTE("GET", "/{}")},
        {{.method = "GET", .pattern = "/nohandler"}},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        const HttpRoute *const one[] = {bad[i]};

        g_test_message("table %zu", i);
        g_assert_null(http_router_new(one, 1, &error));
        g_assert_true(err_is(error, ERR_INVALID));
    }
}

static void
collect(const char *name, const char *value, void *opaque)
{
    g_string_append_printf(opaque, "%s=%s;", name, value);
}

static void
test_query(void)
{
    static const struct {
        const char *target, *pairs; /* pairs NULL: refused */
    } queries[] = {
        {"/x", ""},
        {"/x?", ""},
        {"/x?a=1&b=2", "a=1;b=2;"},
        {"/x?a=1&a=2&&c", "a=1;a=2;c=;"},
        {"/x?name=%5Eweb%2B+1%24", "name=^web+ 1$;"},
        {"/x?a=b=c", "a=b=c;"},
        {"/x?a=?", "a=?;"},
        {"/x?a=%", NULL},
        {"/x?a=%ff", NULL},
        {"/x?a=%00", NULL},
        {"/x//y?a=1", NULL},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(queries); i++) {
        HttpRequest *request = http_request_new(queries[i].target);
        g_autofree char *raw = NULL;
        g_autoptr(GString) text = g_string_new(NULL);
        bool ok = http_request_parse_target(request, &raw);

        g_test_message("%s", queries[i].target);
        g_assert_cmpint(ok, ==, queries[i].pairs != NULL);
        if (ok) {
            http_request_query_each(request, collect, text);
            g_assert_cmpstr(text->str, ==, queries[i].pairs);
        }
        http_request_free(request);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/router/cases", test_cases);
    g_test_add_func("/router/long-paths", test_long_paths);
    g_test_add_func("/router/bad-tables", test_bad_tables);
    g_test_add_func("/router/query", test_query);
    return g_test_run();
}
