/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* identity.c: Keystone v3: routes, tokens, the one domain, and what the other identity files share
 */
#include <string.h>

#include "api/identity-priv.h"

#define NAME_MAX_BYTES 255
#define TOKEN_TEXT_MAX 128
#define PASSWORD_BYTES 4096 /* read; how long a password may be is auth's to say */

/* ---- shared -----------------------------------------------------------------------------------
 */

json_t *
identity_self(ApiCall *call, const char *collection, const char *id)
{
    g_autofree char *url = api_url(call->api, "/identity/v3/%s/%s", collection, id);

    return json_pack("{s:s}", "self", url);
}

json_t *
identity_list(ApiCall *call, const char *collection, json_t *rows)
{
    g_autofree char *url = api_url(call->api, "%s", http_request_path(call->request));

    return json_pack("{s:o,s:{s:s,s:n,s:n}}", collection, rows, "links", "self", url, "previous",
                     "next");
}

json_t *
view_reference(const char *id, const char *name, bool has_domain)
{
    json_t *reference = json_pack("{s:s}", "id", id);

    if (name)
        json_object_set_new(reference, "name", json_string(name));
    if (name && has_domain)
        json_object_set_new(reference, "domain",
                            json_pack("{s:s,s:s}", "id", API_DOMAIN_ID, "name", API_DOMAIN_NAME));
    return reference;
}

void
identity_answer_write(ApiCall *call, ApiTxFn fn, int status)
{
    api_answer_write(call, fn, status);
    auth_cache_clear(api_config(call->api)->auth);
}

GPtrArray *
identity_rows(StoreTx *tx, ApiCall *call, const RecordType *type, GError **err)
{
    const char *name = api_query(call, "name");
    const char *enabled = api_query(call, "enabled");
    const char *domain = api_query(call, "domain_id");
    StoreCond where[3] = {{.column = NULL}};
    const StoreQuery query = {.where = where, .order_by = "name"};
    size_t n = 0;
    bool flag;

    if (name)
        where[n++] = (StoreCond){.column = "name", .op = STORE_EQ, .text = name};
    if (enabled && record_field(type, "enabled") && parse_bool(enabled, &flag))
        where[n++] = (StoreCond){.column = "enabled", .op = STORE_EQ, .num = flag};
    where[n].column = NULL;
    if (domain && strcmp(domain, API_DOMAIN_ID) != 0)
        return g_ptr_array_new();
    return store_list(tx, type, &query, err);
}

bool
identity_name_is_free(StoreTx *tx, const RecordType *type, const char *name, const char *id,
                      GError **err)
{
    const StoreCond where[] = {
        {.column = "name", .op = STORE_EQ, .text = name},
        {.column = "id", .op = STORE_NE, .text = id ? id : ""},
        {.column = NULL},
    };
    int64_t count = store_count(tx, type, where, err);

    if (count > 0)
        return err_set(err, ERR_CONFLICT,
                       "Conflict occurred attempting to store %s - the name '%s' "
                       "is taken.",
                       type->table, name);
    return count == 0;
}

void *
identity_get(StoreTx *tx, const RecordType *type, const char *id, GError **err)
{
    GError *error = NULL;
    void *record = store_get(tx, type, id, &error);

    if (record)
        return record;
    if (err_is(error, ERR_NOT_FOUND)) {
        const char *kind = type == &PROJECT ? "project" : type == &USER ? "user" : "role";

        g_clear_error(&error);
        err_set(err, ERR_NOT_FOUND, "Could not find %s: %s.", kind, id);
    } else {
        g_propagate_error(err, error);
    }
    return NULL;
}

const json_t *
identity_body(ApiCall *call, const char *key, GError **err)
{
    const json_t *object;
    const char *domain;

    if (!json_need_object(call->body, key, &object, err) ||
        !json_get_text(object, "domain_id", 64, &domain, err))
        return NULL;
    if (domain && strcmp(domain, API_DOMAIN_ID) != 0) {
        err_set(err, ERR_NOT_FOUND, "Could not find domain: %s. There is one: %s.", domain,
                API_DOMAIN_ID);
        return NULL;
    }
    return object;
}

bool
identity_delete_where(StoreTx *tx, const RecordType *type, const char *column, const char *value,
                      GError **err)
{
    const StoreCond where[] = {
        {.column = column, .op = STORE_EQ, .text = value},
        {.column = NULL},
    };

    return store_delete_where(tx, type, where, err);
}

bool
caller_is_user(const ApiCall *call, const char *user_id)
{
    return strcmp(call->caller->user_id, user_id) == 0;
}

/* ---- tokens -----------------------------------------------------------------------------------
 */

static json_t *
token_time(int64_t realtime_us)
{
    g_autofree char *text = clock_format(realtime_us - realtime_us % USEC_PER_SEC, true);
    bool has_zone = g_str_has_suffix(text, "Z");
    g_autofree char *zoned = g_strconcat(text, has_zone ? "" : "Z", NULL);

    return json_string(zoned);
}

static json_t *
view_token(ApiCall *call, const Caller *caller, bool with_catalog)
{
    json_t *user = view_reference(caller->user_id, caller->user_name, true);
    json_t *token = json_pack(
        "{s:o,s:[s],s:o,s:o,s:o}", "methods", json_parse_stored(caller->methods, JSON_ARRAY),
        "audit_ids", caller->audit_id ? caller->audit_id : "", "issued_at",
        token_time(caller->issued_at), "expires_at", token_time(caller->expires_at), "user", user);

    json_object_set_new(user, "password_expires_at", json_null());
    if (caller->project_id) {
        json_t *roles = json_array();

        for (size_t i = 0; caller->roles[i]; i++)
            json_array_append_new(roles,
                                  view_reference(caller->role_ids[i], caller->roles[i], false));
        json_object_set_new(token, "project",
                            view_reference(caller->project_id, caller->project_name, true));
        json_object_set_new(token, "is_domain", json_false());
        json_object_set_new(token, "roles", roles);
        if (with_catalog)
            json_object_set_new(token, "catalog", api_catalog(call->api, caller->project_id));
    }
    return json_pack("{s:o}", "token", token);
}

static bool
read_domain(const json_t *object, const char **domain, GError **err)
{
    const json_t *inner;

    if (!json_get_object(object, "domain", &inner, err))
        return false;
    return !inner || (json_get_text(inner, "id", NAME_MAX_BYTES, domain, err) &&
                      (*domain || json_get_text(inner, "name", NAME_MAX_BYTES, domain, err)));
}

static bool
read_identity(const json_t *auth, AuthRequest *request, GError **err)
{
    const json_t *identity, *methods, *method, *inner;

    if (!json_need_object(auth, "identity", &identity, err) ||
        !json_get_array(identity, "methods", 8, &methods, err))
        return false;
    if (json_array_size(methods) != 1 || !json_is_string(json_array_get(methods, 0)))
        return err_set(err, ERR_INVALID, "'methods' must name one of 'password' and 'token'.");
    const char *name = json_string_value(json_array_get(methods, 0));
    if (strcmp(name, "password") == 0)
        return json_need_object(identity, "password", &method, err) &&
               json_need_object(method, "user", &inner, err) &&
               json_get_text(inner, "id", NAME_MAX_BYTES, &request->user_id, err) &&
               json_get_text(inner, "name", NAME_MAX_BYTES, &request->user_name, err) &&
               json_need_text(inner, "password", PASSWORD_BYTES, &request->password, err) &&
               read_domain(inner, &request->user_domain, err);
    if (strcmp(name, "token") == 0)
        return json_need_object(identity, "token", &inner, err) &&
               json_need_text(inner, "id", TOKEN_TEXT_MAX, &request->token, err);
    /* unknown methods are refused as a wrong password is, that is how clients tell "not offered
     * here" */
    return err_set(err, ERR_FORBIDDEN, "The authentication method '%.64s' is not offered here.",
                   name);
}

static bool
read_scope(const json_t *auth, AuthRequest *request, GError **err)
{
    const json_t *value = json_object_get(auth, "scope");
    const json_t *project;

    if (json_is_string(value) && strcmp(json_string_value(value), "unscoped") == 0) {
        request->unscoped = true;
        return true;
    }
    if (!json_get_object(auth, "scope", &value, err))
        return false;
    if (!value)
        return true;
    if (!json_get_object(value, "project", &project, err))
        return false;
    if (!project)
        return err_set(err, ERR_FORBIDDEN,
                       "Only a project can be the scope of a token here: roles on a domain or on "
                       "the system do not exist.");
    return json_get_text(project, "id", NAME_MAX_BYTES, &request->project_id, err) &&
           json_get_text(project, "name", NAME_MAX_BYTES, &request->project_name, err) &&
           (request->project_id || request->project_name ||
            err_set(err, ERR_INVALID, "'project' must have an id or a name.")) &&
           read_domain(project, &request->project_domain, err);
}

static bool
read_auth(ApiCall *call, AuthRequest *request, GError **err)
{
    const json_t *auth;

    return json_need_object(call->body, "auth", &auth, err) && read_identity(auth, request, err) &&
           read_scope(auth, request, err);
}

static bool
query_nocatalog(ApiCall *call)
{
    return api_query(call, "nocatalog") != NULL;
}

/* Who is refused gets 401 here, never 403: the request has no caller yet. */
static void
token_fail(ApiCall *call, GError *error)
{
    if (err_is(error, ERR_FORBIDDEN)) {
        api_fault(call, 401, "%s", error->message);
        g_error_free(error);
    } else {
        api_fail(call, error);
    }
}

static void
token_issue(ApiCall *call)
{
    AuthRequest request = {.remote = http_request_remote(call->request)};
    g_autoptr(Caller) caller = NULL;
    g_autofree char *token = NULL;
    GError *error = NULL;

    if (read_auth(call, &request, &error))
        caller = auth_issue(api_config(call->api)->auth, &request, &token, &error);
    if (!caller) {
        token_fail(call, error);
        return;
    }
    api_header(call, "X-Subject-Token", token);
    api_reply(call, 201, view_token(call, caller, !query_nocatalog(call)));
}

/* The token that the request is about; one's own, or any for an administrator. NULL: replied. */
static Caller *
token_subject(ApiCall *call, const char **token)
{
    g_autoptr(Caller) subject = NULL;
    GError *error = NULL;

    *token = http_request_header(call->request, "X-Subject-Token");
    if (!*token) {
        api_fault(call, 400, "The header X-Subject-Token is missing: it names the token meant.");
        return NULL;
    }
    subject = auth_validate(api_config(call->api)->auth, *token, &error);
    if (!subject && err_is(error, ERR_FORBIDDEN)) {
        g_error_free(error);
        api_fault(call, 404,
                  "Could not find that token: it has expired, was revoked or never was.");
        return NULL;
    }
    if (!subject) {
        api_fail(call, error);
        return NULL;
    }
    if (!call->caller->is_admin && !caller_is_user(call, subject->user_id)) {
        api_fault(call, 403, "You are not authorized to look at or end the tokens of others.");
        return NULL;
    }
    return g_steal_pointer(&subject);
}

static void
token_show(ApiCall *call)
{
    const char *token;
    g_autoptr(Caller) subject = token_subject(call, &token);

    if (!subject)
        return;
    api_header(call, "X-Subject-Token", token);
    api_reply(call, 200, view_token(call, subject, !query_nocatalog(call)));
}

static void
token_revoke(ApiCall *call)
{
    const char *token;
    g_autoptr(Caller) subject = token_subject(call, &token);
    GError *error = NULL;

    if (!subject)
        return;
    if (auth_revoke(api_config(call->api)->auth, token, &error))
        api_reply_empty(call, 204);
    else
        api_fail(call, error);
}

static void
auth_catalog(ApiCall *call)
{
    g_autofree char *url = api_url(call->api, "/identity/v3/auth/catalog");

    if (!call->caller->project_id) {
        api_fault(call, 403, "A token without a project has no catalog.");
        return;
    }
    api_reply(call, 200,
              json_pack("{s:o,s:{s:s,s:n,s:n}}", "catalog",
                        api_catalog(call->api, call->caller->project_id), "links", "self", url,
                        "previous", "next"));
}

/* ---- the one domain ---------------------------------------------------------------------------
 */

static json_t *
view_domain(ApiCall *call)
{
    return json_pack("{s:s,s:s,s:s,s:b,s:[],s:{},s:o}", "id", API_DOMAIN_ID, "name",
                     API_DOMAIN_NAME, "description", "The default domain", "enabled", 1, "tags",
                     "options", "links", identity_self(call, "domains", API_DOMAIN_ID));
}

static void
domains_list(ApiCall *call)
{
    const char *name = api_query(call, "name");
    json_t *rows = json_array();

    if (!name || strcmp(name, API_DOMAIN_NAME) == 0)
        json_array_append_new(rows, view_domain(call));
    api_reply(call, 200, identity_list(call, "domains", rows));
}

static void
domain_show(ApiCall *call)
{
    const char *id = api_param(call, "id");

    if (strcmp(id, API_DOMAIN_ID) == 0)
        api_reply(call, 200, json_pack("{s:o}", "domain", view_domain(call)));
    else
        api_fault(call, 404, "Could not find domain: %s.", id);
}

static void
domain_create(ApiCall *call)
{
    api_fault(call, 403, "Godwit has one domain, %s; use projects to keep tenants apart.",
              API_DOMAIN_NAME);
}

/* Groups do not exist; that there are none is an answer that clients handle. */
static void
groups_list(ApiCall *call)
{
    api_reply(call, 200, identity_list(call, "groups", json_array()));
}

/* ---- services and endpoints, as the catalog has them
 * --------------------------------------------- */

static void
services_list(ApiCall *call)
{
    json_auto_t *catalog = api_catalog(call->api, call->caller->project_id);
    json_t *rows = json_array(), *entry;
    const char *type = api_query(call, "type");
    size_t i;

    json_array_foreach(catalog, i, entry)
    {
        json_t *id = json_object_get(entry, "id");

        if (type && strcmp(type, json_string_value(json_object_get(entry, "type"))) != 0)
            continue;
        json_array_append_new(rows,
                              json_pack("{s:O,s:O,s:O,s:b,s:o}", "id", id, "type",
                                        json_object_get(entry, "type"), "name",
                                        json_object_get(entry, "name"), "enabled", 1, "links",
                                        identity_self(call, "services", json_string_value(id))));
    }
    api_reply(call, 200, identity_list(call, "services", rows));
}

static void
endpoints_list(ApiCall *call)
{
    json_auto_t *catalog = api_catalog(call->api, call->caller->project_id);
    json_t *rows = json_array(), *entry, *endpoint;
    size_t i, j;

    json_array_foreach(catalog, i, entry)
    {
        json_array_foreach(json_object_get(entry, "endpoints"), j, endpoint)
        {
            json_t *row = json_copy(endpoint);

            json_object_set(row, "service_id", json_object_get(entry, "id"));
            json_object_set_new(row, "enabled", json_true());
            json_array_append_new(rows, row);
        }
    }
    api_reply(call, 200, identity_list(call, "endpoints", rows));
}

/* ---- routes -----------------------------------------------------------------------------------
 */

#define V3(verb, path, fn, who, body)                                                  \
    {                                                                                  \
        .method = verb, .pattern = "/identity/v3/" path, .handler = fn, .policy = who, \
        .flags = body, .service = API_IDENTITY                                         \
    }
#define GRANT "projects/{project}/users/{user}/roles"

const ApiRoute api_identity_routes[] = {
    V3("POST", "auth/tokens", token_issue, API_PUBLIC, API_BODY_JSON),
    V3("GET", "auth/tokens", token_show, API_ANYBODY, API_BODY_NONE),
    V3("DELETE", "auth/tokens", token_revoke, API_ANYBODY, API_BODY_NONE),
    V3("GET", "auth/catalog", auth_catalog, API_ANYBODY, API_BODY_NONE),
    V3("GET", "auth/projects", identity_my_projects, API_ANYBODY, API_BODY_NONE),
    V3("GET", "auth/domains", domains_list, API_ANYBODY, API_BODY_NONE),
    V3("GET", "domains", domains_list, API_ANYBODY, API_BODY_NONE),
    V3("POST", "domains", domain_create, API_ADMIN, API_BODY_JSON_OPTIONAL),
    V3("GET", "domains/{id}", domain_show, API_ANYBODY, API_BODY_NONE),
    V3("GET", "groups", groups_list, API_ADMIN, API_BODY_NONE),
    V3("GET", "services", services_list, API_ADMIN, API_BODY_NONE),
    V3("GET", "endpoints", endpoints_list, API_ADMIN, API_BODY_NONE),
    V3("GET", "projects", identity_projects_list, API_ADMIN, API_BODY_NONE),
    V3("POST", "projects", identity_project_create, API_ADMIN, API_BODY_JSON),
    V3("GET", "projects/{id}", identity_project_show, API_ANYBODY, API_BODY_NONE),
    V3("PATCH", "projects/{id}", identity_project_update, API_ADMIN, API_BODY_JSON),
    V3("DELETE", "projects/{id}", identity_project_delete, API_ADMIN, API_BODY_NONE),
    V3("GET", "users", identity_users_list, API_ADMIN, API_BODY_NONE),
    V3("POST", "users", identity_user_create, API_ADMIN, API_BODY_JSON),
    V3("GET", "users/{id}", identity_user_show, API_ANYBODY, API_BODY_NONE),
    V3("PATCH", "users/{id}", identity_user_update, API_ADMIN, API_BODY_JSON),
    V3("DELETE", "users/{id}", identity_user_delete, API_ADMIN, API_BODY_NONE),
    V3("POST", "users/{id}/password", identity_user_password, API_ANYBODY, API_BODY_JSON),
    V3("GET", "users/{id}/projects", identity_user_projects, API_ANYBODY, API_BODY_NONE),
    V3("GET", "users/{id}/groups", groups_list, API_ANYBODY, API_BODY_NONE),
    V3("GET", "roles", identity_roles_list, API_ADMIN, API_BODY_NONE),
    V3("POST", "roles", identity_role_create, API_ADMIN, API_BODY_JSON),
    V3("GET", "roles/{id}", identity_role_show, API_ADMIN, API_BODY_NONE),
    V3("PATCH", "roles/{id}", identity_role_update, API_ADMIN, API_BODY_JSON),
    V3("DELETE", "roles/{id}", identity_role_delete, API_ADMIN, API_BODY_NONE),
    V3("GET", "role_assignments", identity_role_assignments, API_ADMIN, API_BODY_NONE),
    V3("GET", GRANT, identity_grants_list, API_ADMIN, API_BODY_NONE),
    V3("GET", GRANT "/{role}", identity_grant_check, API_ADMIN, API_BODY_NONE),
    V3("PUT", GRANT "/{role}", identity_grant_add, API_ADMIN, API_BODY_NONE),
    V3("DELETE", GRANT "/{role}", identity_grant_remove, API_ADMIN, API_BODY_NONE),
    {.method = NULL},
};
