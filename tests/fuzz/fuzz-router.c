/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz-router.c: "METHOD path?query" through the decoder and the router, with what must hold of
 * every match */
#include "http/http-priv.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
handler(HttpRequest *request, HttpResponse *response, void *context)
{
}

static const HttpRoute table[] = {
    {.method = "GET", .pattern = "/", .handler = handler},
    {.method = "GET", .pattern = "/compute/v2.1/servers", .handler = handler},
    {.method = "GET", .pattern = "/compute/v2.1/servers/detail", .handler = handler},
    {.method = "GET", .pattern = "/compute/v2.1/servers/{id}", .handler = handler},
    {.method = "POST", .pattern = "/compute/v2.1/servers/{id}/action", .handler = handler},
    {.method = "DELETE", .pattern = "/compute/v2.1/{a}/{b}/{c}/{d}", .handler = handler},
    {.method = "PUT", .pattern = "/image/v2/images/{id}/file", .handler = handler},
    {.method = "GET", .pattern = "/identity/{rest...}", .handler = handler},
    {0},
};
static const HttpRoute *const tables[] = {table};

static void
check(const HttpMatch *match, const char *path)
{
    g_assert_true(!match->route == (match->status != 200));
    g_assert_true(!match->allow == (match->status != 405));
    for (unsigned i = 0; match->values && match->values[i]; i++) {
        const char *value = match->values[i];

        g_assert_true(*value && g_utf8_validate(value, -1, NULL));
        g_assert_true(g_str_equal(match->names[i], "rest") || !strchr(value, '/'));
        g_assert_false(g_str_equal(value, "..") || g_str_equal(value, "."));
        g_assert_cmpuint(strlen(value), <=, strlen(path));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static HttpRouter *router;
    g_autofree char *text = g_strndup((const char *)data, size);
    char *space = strchr(text, ' ');

    if (!router)
        router = http_router_new(tables, 1, NULL);
    if (!space)
        return 0;
    *space = '\0';

    HttpRequest *request = http_request_new(space + 1);
    g_autofree char *raw_path = NULL;
    bool ok = http_request_parse_target(request, &raw_path);
    HttpMatch match;

    http_router_match(router, text, raw_path, &match);
    g_assert_true(!ok || match.status != 400);
    check(&match, raw_path);
    http_match_clear(&match);
    http_request_free(request);
    return 0;
}
