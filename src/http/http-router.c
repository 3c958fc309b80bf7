/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* http-router.c: from a method and a path to a route
 *
 * The patterns form a tree of segments. At each node a literal segment is tried first, then
 * "{name}", then "{name...}"; a branch that does not end in a route with the wanted method is left
 * again, so "DELETE /flavors/detail" finds "/flavors/{id}" although "/flavors/detail" exists for
 * GET. Every node is visited at most once per request, whatever the path. */
#include "http/http-priv.h"

#include <string.h>

typedef struct Node Node;
struct Node {
    char *segment;       /* literal; NULL for a captured one and for the root */
    GPtrArray *literals; /* of Node, sorted by segment */
    Node *one;           /* "{name}" */
    Node *rest;          /* "{name...}" */
    GPtrArray *routes;   /* of const HttpRoute, sorted by method */
};

struct HttpRouter {
    Node *root;
};

typedef struct Search {
    const char *method;
    char **segments;
    const char *captured[HTTP_SEGMENTS_MAX];
    unsigned n_captured;
    unsigned rest_from; /* index of the first segment of "{name...}"; UINT_MAX: none */
    GHashTable *allowed;
} Search;

static void
node_free(void *opaque)
{
    Node *node = opaque;

    if (!node)
        return;
    g_ptr_array_unref(node->literals);
    g_ptr_array_unref(node->routes);
    node_free(node->one);
    node_free(node->rest);
    g_free(node->segment);
    g_free(node);
}

static Node *
node_new(const char *segment)
{
    Node *node = g_new0(Node, 1);

    node->segment = g_strdup(segment);
    node->literals = g_ptr_array_new_with_free_func(node_free);
    node->routes = g_ptr_array_new();
    return node;
}

static int
node_compare(const void *a, const void *b)
{
    return strcmp((*(Node *const *)a)->segment, (*(Node *const *)b)->segment);
}

static int
route_compare(const void *a, const void *b)
{
    return strcmp((*(HttpRoute *const *)a)->method, (*(HttpRoute *const *)b)->method);
}

static Node *
node_literal(const Node *node, const char *segment)
{
    const Node key = {.segment = (char *)segment};
    const Node *key_pointer = &key;
    Node **found = node->literals->len ? bsearch(&key_pointer, node->literals->pdata,
                                                 node->literals->len, sizeof(void *), node_compare)
                                       : NULL;

    return found ? *found : NULL;
}

static const HttpRoute *
node_route(const Node *node, const char *method)
{
    for (unsigned i = 0; i < node->routes->len; i++) {
        const HttpRoute *route = node->routes->pdata[i];
        if (g_str_equal(route->method, method))
            return route;
    }
    return NULL;
}

static bool
router_add(Node *root, const HttpRoute *route, GError **err)
{
    g_auto(GStrv) parts = NULL;
    Node *node = root;

    if (!route->pattern || route->pattern[0] != '/' || !route->handler == !route->stream)
        return err_set(err, ERR_INVALID,
                       "route %s %s: the pattern must begin with a slash, and there must be either "
                       "a handler or a stream",
                       route->method, route->pattern ? route->pattern : "(none)");
    parts = g_strsplit(route->pattern + 1, "/", -1);
    for (unsigned i = 0; parts[i] && (i > 0 || parts[1] || *parts[0]); i++) {
        const char *part = parts[i];
        bool is_last = !parts[i + 1];

        if (!*part || i == HTTP_SEGMENTS_MAX)
            return err_set(err, ERR_INVALID, "route %s %s: an empty segment, or too many of them",
                           route->method, route->pattern);
        if (*part != '{') {
            Node *next = node_literal(node, part);
            if (!next) {
                next = node_new(part);
                g_ptr_array_add(node->literals, next);
                g_ptr_array_sort(node->literals, node_compare);
            }
            node = next;
            continue;
        }
        if (!g_str_has_suffix(part, "}") || strlen(part) < 3)
            return err_set(err, ERR_INVALID, "route %s %s: \"%s\" is not closed", route->method,
                           route->pattern, part);

        bool is_rest = g_str_has_suffix(part, "...}");
        Node **slot = is_rest ? &node->rest : &node->one;

        if (is_rest && !is_last)
            return err_set(err, ERR_INVALID, "route %s %s: \"%s\" must come last", route->method,
                           route->pattern, part);
        if (!*slot)
            *slot = node_new(NULL);
        node = *slot;
    }
    if (node_route(node, route->method))
        return err_set(err, ERR_INVALID, "two routes for %s %s: only one of them could ever serve",
                       route->method, route->pattern);
    g_ptr_array_add(node->routes, (void *)route);
    g_ptr_array_sort(node->routes, route_compare);
    return true;
}

HttpRouter *
http_router_new(const HttpRoute *const *tables, size_t n_tables, GError **err)
{
    HttpRouter *router = g_new0(HttpRouter, 1);

    router->root = node_new(NULL);
    for (size_t i = 0; i < n_tables; i++) {
        for (const HttpRoute *route = tables[i]; route->method; route++) {
            if (!router_add(router->root, route, err)) {
                http_router_free(router);
                return NULL;
            }
        }
    }
    return router;
}

void
http_router_free(HttpRouter *router)
{
    if (!router)
        return;
    node_free(router->root);
    g_free(router);
}

/* The route that node has for the method; notes what it has otherwise. */
static const HttpRoute *
search_end(Search *search, const Node *node)
{
    const HttpRoute *route = node_route(node, search->method);

    for (unsigned i = 0; !route && i < node->routes->len; i++)
        g_hash_table_add(search->allowed, (void *)((HttpRoute *)node->routes->pdata[i])->method);
    return route;
}

static const HttpRoute *
search_run(Search *search, const Node *node, unsigned depth)
{
    const char *segment = search->segments[depth];
    const HttpRoute *route = NULL;

    if (!segment)
        return search_end(search, node);

    const Node *literal = node_literal(node, segment);
    if (literal)
        route = search_run(search, literal, depth + 1);
    if (!route && node->one) {
        search->captured[search->n_captured++] = segment;
        route = search_run(search, node->one, depth + 1);
        if (!route)
            search->n_captured--;
    }
    if (!route && node->rest) {
        route = search_end(search, node->rest);
        if (route)
            search->rest_from = depth;
    }
    return route;
}

static int
text_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static char *
allowed_text(GHashTable *allowed)
{
    g_autoptr(GList) methods = NULL;
    GString *text = g_string_new(NULL);

    if (g_hash_table_contains(allowed, "GET"))
        g_hash_table_add(allowed, (void *)"HEAD");
    methods = g_list_sort(g_hash_table_get_keys(allowed), text_compare);
    for (GList *i = methods; i; i = i->next)
        g_string_append_printf(text, "%s%s", text->len ? ", " : "", (const char *)i->data);
    return g_string_free(text, FALSE);
}

/* The names stand in the route's pattern, in the order in which the values were captured. */
static void
match_fill(HttpMatch *match, const Search *search)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) values = g_ptr_array_new_with_free_func(g_free);
    const char *at = match->route->pattern;

    while ((at = strchr(at, '{'))) {
        const char *end = strchr(at, '}');
        bool is_rest = g_str_has_prefix(end - 3, "...");
        unsigned n = values->len;

        g_ptr_array_add(names, g_strndup(at + 1, (size_t)(end - at - 1) - (is_rest ? 3 : 0)));
        g_ptr_array_add(values, is_rest ? g_strjoinv("/", search->segments + search->rest_from)
                                        : g_strdup(search->captured[n]));
        at = end;
    }
    g_ptr_array_add(names, NULL);
    g_ptr_array_add(values, NULL);
    match->names = (char **)g_ptr_array_steal(names, NULL);
    match->values = (char **)g_ptr_array_steal(values, NULL);
}

void
http_router_match(const HttpRouter *router, const char *method, const char *raw_path,
                  HttpMatch *match)
{
    g_auto(GStrv) segments = http_path_split(raw_path);
    g_autoptr(GHashTable) allowed = g_hash_table_new(g_str_hash, g_str_equal);

    *match = (HttpMatch){.status = 400};
    if (!segments)
        return;

    Search search = {
        .method = g_str_equal(method, "HEAD") ? "GET" : method,
        .segments = segments,
        .rest_from = UINT_MAX,
        .allowed = allowed,
    };

    match->route = search_run(&search, router->root, 0);
    if (match->route) {
        match->status = 200;
        match_fill(match, &search);
    } else if (g_hash_table_size(allowed) > 0) {
        match->status = 405;
        match->allow = allowed_text(allowed);
    } else {
        match->status = 404;
    }
}

void
http_match_clear(HttpMatch *match)
{
    g_free(match->allow);
    g_strfreev(match->names);
    g_strfreev(match->values);
    *match = (HttpMatch){0};
}
