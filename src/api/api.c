/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api.c: the frame around every handler: route tables, caller, policy, microversion, body, reply
 *
 * A request passes, in this order: may this process answer (lease), request id, token → caller,
 * microversion, the row of the route table that serves it, policy, body. Whoever refuses replies
 * with the service's own fault. What is left reaches the handler with everything in its ApiCall.
 * The ApiCall lives in the request's context slot and ends with it. */
#include <stdlib.h>
#include <string.h>

#include "api/api-priv.h"

#define COMPUTE_ROOT       "/compute/v2.1"
#define COMPUTE_PLAIN_ROOT "/compute/v2" /* the same routes without microversions */

typedef struct ApiGroup { /* the rows of one method and pattern */
    char *pattern;
    GPtrArray *rows;   /* const ApiRoute * */
    HttpStream stream; /* wrapped, if the rows stream */
} ApiGroup;

struct Api {
    ApiConfig config;
    ApiStanding *standing;
    int64_t started_at;
    GPtrArray *groups;
    GArray *routes; /* HttpRoute, ended by an empty one */
    const HttpRoute *tables[1];
};

static const ApiRoute *const api_tables[] = {
    api_root_routes,          api_identity_routes, api_compute_routes, api_compute_catalog_routes,
    api_compute_admin_routes, api_image_routes,    api_network_routes, api_volume_routes,
    api_godwit_routes,
};

static const struct {
    const char *prefix;
    ApiService service;
} api_roots[] = {
    {"/identity", API_IDENTITY}, {"/compute", API_COMPUTE}, {"/image", API_IMAGE},
    {"/volume", API_VOLUME},     {"/network", API_NETWORK}, {"/godwit", API_GODWIT},
};

/* For requests that no route serves: their fault has the form of the service that they meant. */
static ApiRoute unrouted[] = {
    [API_IDENTITY] = {.service = API_IDENTITY}, [API_COMPUTE] = {.service = API_COMPUTE},
    [API_IMAGE] = {.service = API_IMAGE},       [API_VOLUME] = {.service = API_VOLUME},
    [API_NETWORK] = {.service = API_NETWORK},   [API_GODWIT] = {.service = API_GODWIT},
    [API_ROOT] = {.service = API_ROOT},
};

static void
call_free(void *data)
{
    ApiCall *call = data;

    if (!call)
        return;
    caller_free(call->caller);
    json_decref(call->body);
    g_free(call->request_id);
    g_free(call);
}

static ApiCall *
call_new(Api *api, HttpRequest *request, HttpResponse *response, const ApiRoute *route)
{
    ApiCall *call = g_new0(ApiCall, 1);
    g_autofree char *id = uuid_new();

    call->api = api;
    call->request = request;
    call->response = response;
    call->route = route;
    call->request_id = g_strdup_printf("req-%s", id);
    http_request_set_context(request, call, call_free);
    api_header(call, "x-openstack-request-id", call->request_id);
    if (route->service == API_COMPUTE) {
        api_header(call, "x-compute-request-id", call->request_id);
        api_header(call, "Vary", "OpenStack-API-Version, X-OpenStack-Nova-API-Version");
    } else if (route->service == API_VOLUME) {
        api_header(call, "Vary", "OpenStack-API-Version");
    } else if (route->service == API_IDENTITY) {
        api_header(call, "Vary", "X-Auth-Token");
    }
    return call;
}

/* ---- microversion -----------------------------------------------------------------------------
 */

typedef struct ApiVersions { /* of a service that has microversions */
    ApiService service;
    const char *name; /* as the header calls it */
    int major, least, most;
} ApiVersions;

static const ApiVersions api_versions[] = {
    {API_COMPUTE, "compute", 2, 1, API_MICROVERSION_MAX},
    {API_VOLUME, "volume", 3, 0, API_VOLUME_MICROVERSION_MAX},
};

static const ApiVersions *
versions_of(ApiService service)
{
    for (size_t i = 0; i < G_N_ELEMENTS(api_versions); i++) {
        if (api_versions[i].service == service)
            return &api_versions[i];
    }
    return NULL;
}

/* The version that a header asks a service for: NULL if it says nothing to it. The value may name
 * several services, "compute 2.30, volume 3.60"; those of others are none of its business. */
static char *
microversion_of_header(const char *header, const char *service)
{
    g_auto(GStrv) parts = g_strsplit(header, ",", 16);

    for (size_t i = 0; parts[i]; i++) {
        const char *text = g_strstrip(parts[i]);
        size_t word = strcspn(text, " \t");

        if (word == strlen(service) && g_ascii_strncasecmp(text, service, word) == 0)
            return g_strstrip(g_strdup(text + word));
    }
    return NULL;
}

/* -1: replied */
static int
microversion_negotiate(ApiCall *call, const ApiVersions *versions)
{
    const char *header = http_request_header(call->request, "OpenStack-API-Version");
    const char *legacy = http_request_header(call->request, "X-OpenStack-Nova-API-Version");
    g_autofree char *wanted = header ? microversion_of_header(header, versions->name) : NULL;
    int64_t major = 0, minor = 0;
    char *dot;

    if (g_str_has_prefix(http_request_path(call->request), COMPUTE_PLAIN_ROOT "/"))
        return 1;
    if (!wanted && legacy && versions->service == API_COMPUTE)
        wanted = g_strstrip(g_strdup(legacy));
    if (!wanted)
        return versions->least;
    if (g_ascii_strcasecmp(wanted, "latest") == 0)
        return versions->most;
    dot = strchr(wanted, '.');
    if (dot)
        *dot = '\0';
    if (!dot || !parse_int64(wanted, 1, 9999, &major) || !parse_int64(dot + 1, 0, 9999, &minor) ||
        wanted[0] == '0' || (dot[1] == '0' && dot[2])) {
        api_fault(call, 400,
                  "The microversion in the request header is malformed: %d.%d … %d.%d or 'latest' "
                  "is expected.",
                  versions->major, versions->least, versions->major, versions->most);
        return -1;
    }
    if (major != versions->major || minor < versions->least || minor > versions->most) {
        api_fault(call, 406,
                  "Version %d.%d is not supported by the API. Minimum is %d.%d and maximum is "
                  "%d.%d.",
                  (int)major, (int)minor, versions->major, versions->least, versions->major,
                  versions->most);
        return -1;
    }
    return (int)minor;
}

bool
api_microversion_at_least(const ApiCall *call, int minor)
{
    return call->microversion >= minor;
}

static const ApiRoute *
group_row(const ApiGroup *group, int microversion)
{
    for (size_t i = 0; i < group->rows->len; i++) {
        const ApiRoute *row = g_ptr_array_index(group->rows, i);

        if ((!row->least || microversion >= row->least) &&
            (!row->most || microversion <= row->most))
            return row;
    }
    return NULL;
}

/* ---- caller and policy ------------------------------------------------------------------------
 */

static bool
call_authenticate(ApiCall *call)
{
    const char *token = http_request_header(call->request, "X-Auth-Token");
    GError *error = NULL;

    if (token)
        call->caller = auth_validate(call->api->config.auth, token, &error);
    if (call->caller)
        return true;
    if (error && !err_is(error, ERR_FORBIDDEN)) {
        api_fail(call, error);
        return false;
    }
    g_clear_error(&error);
    api_fault(call, 401, "The request you have made requires authentication.");
    return false;
}

static bool
call_is_permitted(ApiCall *call)
{
    const Caller *caller = call->caller;

    switch (call->route->policy) {
    case API_PUBLIC:
    case API_ANYBODY:
        return true;
    case API_READER:
        if (caller->project_id)
            return true;
        break;
    case API_MEMBER:
        if (caller->project_id && caller->is_member)
            return true;
        break;
    case API_ADMIN:
        if (caller->is_admin)
            return true;
        api_fault(call, 403,
                  "This is for administrators: your roles on project %s do not allow it.",
                  caller->project_name ? caller->project_name : "(none)");
        return false;
    }
    if (!caller->project_id)
        api_fault(call, 403, "The token is not for a project: name one when you log in.");
    else
        api_fault(call, 403, "Your roles on project %s let you look, not change.",
                  caller->project_name);
    return false;
}

static bool
call_read_body(ApiCall *call)
{
    unsigned wanted = call->route->flags;
    size_t size = 0;
    const char *text = http_request_body(call->request, &size);
    GError *error = NULL;

    if (!wanted || call->route->stream)
        return true;
    if (size > 0) {
        call->body = json_parse_request(text, size, &error);
        if (!call->body) {
            api_fail(call, error);
            return false;
        }
    }
    if (!call->body && (wanted & API_BODY_JSON_OPTIONAL))
        return true;
    if ((wanted & API_BODY_JSON_ARRAY) ? json_is_array(call->body) : json_is_object(call->body))
        return true;
    api_fault(call, 400, "The body must be a JSON %s.",
              (wanted & API_BODY_JSON_ARRAY) ? "array" : "object");
    return false;
}

/* The paths of block storage name the project of the token. */
static bool
path_is_own_project(ApiCall *call)
{
    if (!call->caller->project_id ||
        strcmp(api_param(call, "project"), call->caller->project_id) == 0)
        return true;
    api_fault(call, 400,
              "Malformed request url: the token is for project %s, the path names another one.",
              call->caller->project_id);
    return false;
}

static ApiCall *
call_open(Api *api, HttpRequest *request, HttpResponse *response, const ApiGroup *group)
{
    const ApiRoute *row = g_ptr_array_index(group->rows, 0);
    ApiCall *call = call_new(api, request, response, row);
    const ApiVersions *versions = versions_of(row->service);

    if (!standing_permits(api->standing, call))
        return NULL;
    if (row->policy != API_PUBLIC && !call_authenticate(call))
        return NULL;
    if (versions && row->policy != API_PUBLIC) {
        g_autofree char *version = NULL;
        g_autofree char *header = NULL;

        call->microversion = microversion_negotiate(call, versions);
        if (call->microversion < 0)
            return NULL;
        version = g_strdup_printf("%d.%d", versions->major, call->microversion);
        header = g_strdup_printf("%s %s", versions->name, version);
        if (versions->service == API_COMPUTE)
            api_header(call, "X-OpenStack-Nova-API-Version", version);
        api_header(call, "OpenStack-API-Version", header);
        row = group_row(group, call->microversion);
        if (!row) {
            api_fault(call, 404, "The resource could not be found in microversion %s.", version);
            return NULL;
        }
        call->route = row;
    }
    if (row->service == API_VOLUME && row->policy != API_PUBLIC && !path_is_own_project(call))
        return NULL;
    return call_is_permitted(call) && call_read_body(call) ? call : NULL;
}

static void
api_handle(HttpRequest *request, HttpResponse *response, void *context)
{
    ApiCall *call = call_open(context, request, response, http_request_route_data(request));

    if (!call)
        return;
    call->route->handler(call);
    if (!http_response_is_set(response))
        api_fail(call, NULL);
}

static void *
api_stream_begin(HttpRequest *request, HttpResponse *response, void *context)
{
    ApiCall *call = call_open(context, request, response, http_request_route_data(request));

    return call ? call->route->stream->begin(request, response, context) : NULL;
}

/* ---- replies ----------------------------------------------------------------------------------
 */

void
api_header(ApiCall *call, const char *name, const char *value)
{
    http_response_header(call->response, name, value);
}

void
api_reply(ApiCall *call, int status, json_t *body)
{
    char *dumped = body ? json_dumps(body, JSON_COMPACT) : NULL;

    json_decref(body);
    http_response_status(call->response, status);
    if (!dumped) /* only text that is not UTF-8 gets here; it must not become an empty success */
        http_response_status(call->response, 500);
    char *text = g_strdup(dumped ? dumped : "{\"error\":{\"code\":500,\"message\":\"Bad text\"}}");
    free(dumped);
    api_header(call, "Content-Type", "application/json");
    http_response_body(call->response, text, strlen(text));
}

void
api_reply_empty(ApiCall *call, int status)
{
    http_response_status(call->response, status);
    if (status != 204 && status != 205)
        api_header(call, "Content-Type", "application/json");
    http_response_body(call->response, g_strdup(""), 0);
}

typedef struct ApiTx {
    ApiCall *call;
    ApiTxFn fn;
    void *opaque;
} ApiTx;

static bool
api_tx_run(StoreTx *tx, void *opaque, GError **err)
{
    ApiTx *run = opaque;

    return run->fn(tx, run->call, run->opaque, err);
}

bool
api_read(ApiCall *call, ApiTxFn fn, void *opaque)
{
    ApiTx run = {call, fn, opaque};
    GError *error = NULL;

    if (store_read(call->api->config.store, api_tx_run, &run, &error))
        return true;
    api_fail(call, error);
    return false;
}

bool
api_write(ApiCall *call, ApiTxFn fn, void *opaque)
{
    ApiTx run = {call, fn, opaque};
    GError *error = NULL;

    if (store_write(call->api->config.store, api_tx_run, &run, &error))
        return true;
    api_fail(call, error);
    return false;
}

static void
api_answer(ApiCall *call, bool done, int status, json_t *body)
{
    if (!done)
        json_decref(body);
    else if (body)
        api_reply(call, status, body);
    else
        api_reply_empty(call, status);
}

void
api_answer_read(ApiCall *call, ApiTxFn fn, int status)
{
    json_t *body = NULL;
    bool done = api_read(call, fn, &body);

    api_answer(call, done, status, body);
}

void
api_answer_write(ApiCall *call, ApiTxFn fn, int status)
{
    json_t *body = NULL;
    bool done = api_write(call, fn, &body);

    api_answer(call, done, status, body);
}

void
api_wake(ApiCall *call)
{
    if (call->api->config.tasks)
        task_engine_wake(call->api->config.tasks);
}

void
api_tell(ApiCall *call, const char *server_id)
{
    if (call->api->config.tasks)
        task_engine_tell(call->api->config.tasks, server_id);
}

/* ---- what handlers ask for --------------------------------------------------------------------
 */

const ApiConfig *
api_config(const Api *api)
{
    return &api->config;
}

int64_t
api_started_at(const Api *api)
{
    return api->started_at;
}

const char *
api_param(const ApiCall *call, const char *name)
{
    const char *value = http_request_param(call->request, name);

    return value ? value : "";
}

const char *
api_query(const ApiCall *call, const char *name)
{
    return http_request_query(call->request, name);
}

char *
api_url(const Api *api, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *path = g_strdup_vprintf(format, args);
    va_end(args);
    return g_strconcat(api->config.public_url, path, NULL);
}

json_t *
api_time(int64_t realtime_us)
{
    g_autofree char *text = realtime_us ? clock_format(realtime_us, false) : NULL;

    return json_text_or_null(text);
}

bool
api_paging(ApiCall *call, int64_t *limit, const char **marker)
{
    const char *text = api_query(call, "limit");

    *limit = 1000;
    *marker = api_query(call, "marker");
    if (*marker && !**marker)
        *marker = NULL;
    if (!text)
        return true;
    if (!parse_int64(text, 0, INT64_MAX, limit)) {
        api_fault(call, 400, "The query's limit must be a whole number that is not negative.");
        return false;
    }
    if (*limit == 0 || *limit > 1000)
        *limit = 1000;
    return true;
}

bool
caller_may_see(const Caller *caller, const char *project_id)
{
    return caller && (caller->is_admin || (caller->project_id && project_id &&
                                           strcmp(caller->project_id, project_id) == 0));
}

/* ---- making, ending, what the listener calls ---------------------------------------------------
 */

static void
group_free(void *data)
{
    ApiGroup *group = data;

    g_ptr_array_unref(group->rows);
    g_free(group->pattern);
    g_free(group);
}

static void
api_add_route(Api *api, GHashTable *known, const ApiRoute *row, const char *pattern)
{
    g_autofree char *key = g_strdup_printf("%s %s", row->method, pattern);
    ApiGroup *group = g_hash_table_lookup(known, key);

    if (group) {
        g_ptr_array_add(group->rows, (void *)row);
        return;
    }
    group = g_new0(ApiGroup, 1);
    group->rows = g_ptr_array_new();
    g_ptr_array_add(group->rows, (void *)row);
    group->pattern = g_strdup(pattern);
    g_ptr_array_add(api->groups, group);
    g_hash_table_insert(known, g_steal_pointer(&key), group);

    HttpRoute route = {
        .method = row->method,
        .pattern = group->pattern,
        .body_max = row->flags ? API_BODY_MAX : 0,
        .data = group,
    };
    if (row->stream) {
        group->stream = *row->stream;
        group->stream.begin = api_stream_begin;
        route.stream = &group->stream;
    } else {
        route.handler = api_handle;
    }
    g_array_append_val(api->routes, route);
}

Api *
api_new(const ApiConfig *config)
{
    Api *api = g_new0(Api, 1);
    g_autoptr(GHashTable) known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    api->config = *config;
    api->started_at = clock_monotonic();
    api->config.public_url = g_strdup(config->public_url);
    api->config.region = g_strdup(config->region);
    api->config.scratch = g_strdup(config->scratch);
    api->standing = standing_new(config->store != NULL);
    api->config.pki_dir = g_strdup(config->pki_dir);
    api->groups = g_ptr_array_new_with_free_func(group_free);
    api->routes = g_array_new(TRUE, TRUE, sizeof(HttpRoute));
    for (size_t i = 0; i < G_N_ELEMENTS(api_tables); i++)
        for (const ApiRoute *row = api_tables[i]; row->method; row++) {
            api_add_route(api, known, row, row->pattern);
            if (g_str_has_prefix(row->pattern, COMPUTE_ROOT "/")) {
                g_autofree char *plain =
                    g_strconcat(COMPUTE_PLAIN_ROOT, row->pattern + strlen(COMPUTE_ROOT), NULL);
                api_add_route(api, known, row, plain);
            }
        }
    api->tables[0] = (const HttpRoute *)(void *)api->routes->data;
    return api;
}

void
api_free(Api *api)
{
    if (!api)
        return;
    g_array_unref(api->routes);
    g_ptr_array_unref(api->groups);
    g_free((char *)api->config.public_url);
    g_free((char *)api->config.region);
    g_free((char *)api->config.scratch);
    standing_free(api->standing);
    g_free((char *)api->config.pki_dir);
    g_free(api);
}

void
api_wait(Api *api, const char *active, const char *reason)
{
    standing_wait(api->standing, active, reason);
}

void
api_activate(Api *api, Store *store, Auth *auth, TaskEngine *tasks)
{
    api->config.store = store;
    api->config.auth = auth;
    api->config.tasks = tasks;
    standing_activate(api->standing);
}

ApiStanding *
api_standing(const Api *api)
{
    return api->standing;
}

const HttpRoute *const *
api_routes(Api *api, size_t *n_tables)
{
    *n_tables = G_N_ELEMENTS(api->tables);
    return api->tables;
}

void
api_on_error(HttpRequest *request, HttpResponse *response, int status, const char *message,
             void *context)
{
    const char *path = request ? http_request_path(request) : NULL;
    ApiService service = API_ROOT;

    for (size_t i = 0; path && i < G_N_ELEMENTS(api_roots); i++) {
        size_t length = strlen(api_roots[i].prefix);

        if (strncmp(path, api_roots[i].prefix, length) == 0 &&
            (path[length] == '/' || path[length] == '\0'))
            service = api_roots[i].service;
    }
    if (request) {
        ApiCall *call = http_request_context(request);

        if (!call)
            call = call_new(context, request, response, &unrouted[service]);
        if (standing_permits(call->api->standing, call))
            api_fault(call, status, "%s", message);
    } else {
        json_auto_t *body = api_fault_body(service, status, message);
        char *text = json_to_text(body);

        http_response_status(response, status);
        http_response_header(response, "Content-Type", "application/json");
        http_response_body(response, text, strlen(text));
    }
}

void
api_on_done(HttpRequest *request, int status, int64_t duration_us, void *context)
{
    const ApiCall *call = http_request_context(request);
    g_autofree char *status_text = g_strdup_printf("%d", status);
    g_autofree char *duration = g_strdup_printf("%" G_GINT64_FORMAT, duration_us);

    log_event(status >= 500 ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "api", "request", "method",
              http_request_method(request), "path", http_request_path(request), "status",
              status_text, "us", duration, "remote", http_request_remote(request), "user",
              call && call->caller ? call->caller->user_name : NULL, "request_id",
              call ? call->request_id : NULL, NULL);
}
