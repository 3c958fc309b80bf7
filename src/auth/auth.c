/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* auth.c: log-in, tokens, and what a token says about its bearer
 *
 * A token is "gw" and 32 random bytes; the store has only its SHA-256. It is void when it has
 * expired, was revoked, when its user or project is disabled or gone, when the user has no role
 * left on the project, or when it was issued before the user's last change of password. All of that
 * is read from the store, at most 30 s ago, and at once after a change made through this process.
 */
#include <string.h>

#include "auth/auth-priv.h"

#define TOKEN_PREFIX     "gw"
#define TOKEN_LENGTH_MAX 128

struct Auth {
    Store *store;
    AuthSettings settings;
    TokenCache *cache;
    LoginLimit *limit;
};

Auth *
auth_new(Store *store, const AuthSettings *settings)
{
    Auth *auth = g_new0(Auth, 1);

    auth->store = store;
    auth->settings = *settings;
    auth->cache = token_cache_new();
    auth->limit = login_limit_new(settings->attempts_per_minute);
    return auth;
}

void
auth_free(Auth *auth)
{
    if (!auth)
        return;
    token_cache_free(auth->cache);
    login_limit_free(auth->limit);
    g_free(auth);
}

void
auth_cache_clear(Auth *auth)
{
    token_cache_clear(auth->cache);
}

void
caller_free(Caller *caller)
{
    if (!caller)
        return;
    g_free(caller->token_id);
    g_free(caller->user_id);
    g_free(caller->user_name);
    g_free(caller->project_id);
    g_free(caller->project_name);
    g_strfreev(caller->roles);
    g_strfreev(caller->role_ids);
    g_free(caller->audit_id);
    g_free(caller->methods);
    g_free(caller);
}

Caller *
caller_copy(const Caller *caller)
{
    Caller *copy = g_new(Caller, 1);

    *copy = *caller;
    copy->token_id = g_strdup(caller->token_id);
    copy->user_id = g_strdup(caller->user_id);
    copy->user_name = g_strdup(caller->user_name);
    copy->project_id = g_strdup(caller->project_id);
    copy->project_name = g_strdup(caller->project_name);
    copy->roles = g_strdupv(caller->roles);
    copy->role_ids = g_strdupv(caller->role_ids);
    copy->audit_id = g_strdup(caller->audit_id);
    copy->methods = g_strdup(caller->methods);
    return copy;
}

/* The one answer to every failure: it must not tell which part was wrong. */
static bool
auth_refuse(GError **err)
{
    return err_set(err, ERR_FORBIDDEN, "The request you have made requires authentication.");
}

/* A failed look-up means "refused"; a failing store is passed on as it is. */
static bool
auth_refuse_missing(GError *error, GError **err)
{
    if (err_is(error, ERR_NOT_FOUND) || err_is(error, ERR_CONFLICT)) {
        g_error_free(error);
        return auth_refuse(err);
    }
    g_propagate_error(err, error);
    return false;
}

/* ---- the caller behind a token ----------------------------------------------------------------
 */

static bool
caller_read_roles(StoreTx *tx, Caller *caller, GError **err)
{
    const StoreCond where[] = {
        {.column = "user_id", .op = STORE_EQ, .text = caller->user_id},
        {.column = "project_id", .op = STORE_EQ, .text = caller->project_id},
        {.column = NULL},
    };
    const StoreQuery query = {.where = where};
    g_autoptr(GPtrArray) assignments = store_list(tx, &ASSIGNMENT, &query, err);
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();
    g_autoptr(GStrvBuilder) ids = g_strv_builder_new();
    bool is_reader = false;

    if (!assignments)
        return false;
    for (size_t i = 0; i < assignments->len; i++) {
        const Assignment *assignment = g_ptr_array_index(assignments, i);
        g_autoptr(Role) role = store_get(tx, &ROLE, assignment->role_id, err);

        if (!role)
            return false;
        g_strv_builder_add(names, role->name);
        g_strv_builder_add(ids, role->id);
        caller->is_admin |= strcmp(role->name, "admin") == 0;
        caller->is_member |= strcmp(role->name, "admin") == 0 ||
                             strcmp(role->name, "manager") == 0 ||
                             strcmp(role->name, "member") == 0;
        is_reader |= strcmp(role->name, "reader") == 0;
    }
    caller->is_reader_only = is_reader && !caller->is_member;
    caller->roles = g_strv_builder_end(names);
    caller->role_ids = g_strv_builder_end(ids);
    return true;
}

/* token's user and project as they are now; NULL with ERR_FORBIDDEN if they do not carry it any
 * more */
static Caller *
caller_read(StoreTx *tx, const Token *token, int64_t now, GError **err)
{
    g_autoptr(Caller) caller = g_new0(Caller, 1);
    g_autoptr(User) user = NULL;
    GError *error = NULL;

    user = store_get(tx, &USER, token->user_id, &error);
    if (!user) {
        auth_refuse_missing(error, err);
        return NULL;
    }
    if (!user->enabled || token->expires_at <= now ||
        token->issued_at < user->password_changed_at) {
        auth_refuse(err);
        return NULL;
    }
    caller->token_id = g_strdup(token->id);
    caller->user_id = g_strdup(user->id);
    caller->user_name = g_strdup(user->name);
    caller->issued_at = token->issued_at;
    caller->expires_at = token->expires_at;
    caller->audit_id = g_strdup(token->audit_id);
    caller->methods = g_strdup(token->methods);
    if (token->project_id) {
        g_autoptr(Project) project = store_get(tx, &PROJECT, token->project_id, &error);

        if (!project) {
            auth_refuse_missing(error, err);
            return NULL;
        }
        caller->project_id = g_strdup(project->id);
        caller->project_name = g_strdup(project->name);
        if (!caller_read_roles(tx, caller, err))
            return NULL;
        if (!project->enabled || !caller->roles[0]) {
            auth_refuse(err);
            return NULL;
        }
    } else {
        caller->roles = g_new0(char *, 1);
        caller->role_ids = g_new0(char *, 1);
    }
    return g_steal_pointer(&caller);
}

typedef struct Validation {
    const char *id;
    int64_t now;
    Caller *caller;
} Validation;

static bool
auth_validate_read(StoreTx *tx, void *opaque, GError **err)
{
    Validation *validation = opaque;
    GError *error = NULL;
    g_autoptr(Token) token = store_get(tx, &TOKEN, validation->id, &error);

    if (!token)
        return auth_refuse_missing(error, err);
    validation->caller = caller_read(tx, token, validation->now, err);
    return validation->caller != NULL;
}

static char *
token_hash(const char *token)
{
    return g_compute_checksum_for_string(G_CHECKSUM_SHA256, token, -1);
}

static bool
token_is_well_formed(const char *token)
{
    return token && g_str_has_prefix(token, TOKEN_PREFIX) &&
           strnlen(token, TOKEN_LENGTH_MAX + 1) <= TOKEN_LENGTH_MAX;
}

Caller *
auth_validate(Auth *auth, const char *token, GError **err)
{
    g_autofree char *id = NULL;
    Validation validation = {.now = clock_realtime()};
    uint64_t generation = token_cache_generation(auth->cache);
    Caller *caller;

    if (!token_is_well_formed(token)) {
        auth_refuse(err);
        return NULL;
    }
    id = token_hash(token);
    caller = token_cache_find(auth->cache, id, validation.now);
    if (caller)
        return caller;
    validation.id = id;
    if (!store_read(auth->store, auth_validate_read, &validation, err)) {
        caller_free(validation.caller);
        return NULL;
    }
    token_cache_add(auth->cache, generation, validation.caller, validation.now);
    return validation.caller;
}

/* ---- log-in -----------------------------------------------------------------------------------
 */

static bool
domain_is_ours(const char *domain)
{
    return !domain || g_ascii_strcasecmp(domain, "default") == 0;
}

typedef struct Issue {
    const AuthRequest *request;
    User *user;
    Token *token;
    Caller *caller;
    int64_t now;
} Issue;

static bool
auth_find_user(StoreTx *tx, void *opaque, GError **err)
{
    Issue *issue = opaque;
    const AuthRequest *request = issue->request;
    const StoreCond by_name[] = {
        {.column = "name", .op = STORE_EQ, .text = request->user_name},
        {.column = NULL},
    };
    GError *error = NULL;

    if (request->user_id)
        issue->user = store_get(tx, &USER, request->user_id, &error);
    else if (request->user_name && domain_is_ours(request->user_domain))
        issue->user = store_find(tx, &USER, by_name, &error);
    if (error && !err_is(error, ERR_NOT_FOUND)) {
        g_propagate_error(err, error);
        return false;
    }
    g_clear_error(&error);
    return true; /* an unknown user is found out after as much work as a wrong password */
}

static bool
user_has_role(StoreTx *tx, const char *user_id, const char *project_id)
{
    const StoreCond where[] = {
        {.column = "user_id", .op = STORE_EQ, .text = user_id},
        {.column = "project_id", .op = STORE_EQ, .text = project_id},
        {.column = NULL},
    };
    g_autoptr(Project) project = store_get(tx, &PROJECT, project_id, NULL);

    return project && project->enabled && store_count(tx, &ASSIGNMENT, where, NULL) > 0;
}

static bool
auth_choose_project(StoreTx *tx, Issue *issue, GError **err)
{
    const AuthRequest *request = issue->request;
    GError *error = NULL;

    if (request->unscoped)
        return true;
    if (request->project_id) {
        issue->token->project_id = g_strdup(request->project_id);
    } else if (request->project_name) {
        const StoreCond by_name[] = {
            {.column = "name", .op = STORE_EQ, .text = request->project_name},
            {.column = NULL},
        };
        g_autoptr(Project) project = NULL;

        if (!domain_is_ours(request->project_domain))
            return auth_refuse(err);
        project = store_find(tx, &PROJECT, by_name, &error);
        if (!project)
            return auth_refuse_missing(error, err);
        issue->token->project_id = g_strdup(project->id);
    } else if (!request->token && issue->user->default_project_id &&
               user_has_role(tx, issue->user->id, issue->user->default_project_id)) {
        issue->token->project_id = g_strdup(issue->user->default_project_id);
    }
    return true;
}

static bool
auth_write_token(StoreTx *tx, void *opaque, GError **err)
{
    Issue *issue = opaque;

    if (!auth_choose_project(tx, issue, err))
        return false;
    /* judged inside of the same transaction: what was checked is what the token stands for */
    issue->caller = caller_read(tx, issue->token, issue->now, err);
    return issue->caller && store_insert(tx, &TOKEN, issue->token, err);
}

static bool
auth_check_password(Auth *auth, Issue *issue, GError **err)
{
    const AuthRequest *request = issue->request;
    const char *name = request->user_name ? request->user_name : request->user_id;
    const char *remote = request->remote ? request->remote : "";
    int64_t now = clock_monotonic();
    bool permitted, right = false;

    if (!name || !request->password)
        return auth_refuse(err);
    if (!store_read(auth->store, auth_find_user, issue, err))
        return false;
    /* user names and ids of one user count together */
    if (issue->user)
        name = issue->user->name;
    password_slot_take();
    permitted = login_limit_permits(auth->limit, "user", name, now) &&
                login_limit_permits(auth->limit, "address", remote, now);
    if (permitted) {
        right = password_verify_in_slot(request->password,
                                        issue->user ? issue->user->password_hash : NULL) &&
                issue->user->enabled;
        if (!right) {
            login_limit_failed(auth->limit, "user", name, now);
            login_limit_failed(auth->limit, "address", remote, now);
        }
    }
    password_slot_release();
    if (!permitted)
        return err_set(err, ERR_BUSY,
                       "Too many failed log-ins for this user or from this address. Wait a minute, "
                       "then try again.");
    if (!right)
        return auth_refuse(err);
    login_limit_reset(auth->limit, "user", name);
    return true;
}

static bool
auth_issue_run(Auth *auth, Issue *issue, GError **err)
{
    const AuthRequest *request = issue->request;
    Token *token = issue->token;

    if (request->token) {
        g_autoptr(Caller) former = auth_validate(auth, request->token, err);

        if (!former)
            return false;
        token->user_id = g_strdup(former->user_id);
        /* a token bought with a token lives no longer than the first one */
        token->issued_at = issue->now;
        token->expires_at = former->expires_at;
        token->methods = g_strdup(strstr(former->methods, "password") ? "[\"password\",\"token\"]"
                                                                      : "[\"token\"]");
    } else {
        if (!auth_check_password(auth, issue, err))
            return false;
        token->user_id = g_strdup(issue->user->id);
        token->issued_at = issue->now;
        token->expires_at = issue->now + auth->settings.token_lifetime_s * USEC_PER_SEC;
        token->methods = g_strdup("[\"password\"]");
    }
    return store_write(auth->store, auth_write_token, issue, err);
}

Caller *
auth_issue(Auth *auth, const AuthRequest *request, char **token, GError **err)
{
    g_autofree char *random = random_token(32);
    g_autofree char *clear = g_strconcat(TOKEN_PREFIX, random, NULL);
    g_autoptr(Token) row = record_new(&TOKEN);
    Issue issue = {.request = request, .token = row, .now = clock_realtime()};

    *token = NULL;
    row->id = token_hash(clear);
    row->audit_id = random_token(16);
    if (auth_issue_run(auth, &issue, err)) {
        *token = g_steal_pointer(&clear);
    } else {
        caller_free(issue.caller);
        issue.caller = NULL;
    }
    user_free(issue.user);
    return issue.caller;
}

bool
auth_check(Auth *auth, const char *user_id, const char *password, const char *remote, GError **err)
{
    const AuthRequest request = {.user_id = user_id, .password = password, .remote = remote};
    Issue issue = {.request = &request, .now = clock_realtime()};
    bool right = auth_check_password(auth, &issue, err);

    user_free(issue.user);
    return right;
}

bool
auth_delete_tokens(StoreTx *tx, const char *user_id, GError **err)
{
    const StoreCond where[] = {
        {.column = "user_id", .op = STORE_EQ, .text = user_id},
        {.column = NULL},
    };

    return store_delete_where(tx, &TOKEN, where, err);
}

/* ---- revocation, sweep, bootstrap -------------------------------------------------------------
 */

static bool
auth_delete_token(StoreTx *tx, void *opaque, GError **err)
{
    return store_delete(tx, &TOKEN, opaque, err);
}

bool
auth_revoke(Auth *auth, const char *token, GError **err)
{
    g_autofree char *id = NULL;
    bool done;

    if (!token_is_well_formed(token))
        return err_set(err, ERR_NOT_FOUND, "Could not find that token.");
    id = token_hash(token);
    done = store_write(auth->store, auth_delete_token, id, err);
    auth_cache_clear(auth);
    return done;
}

static bool
auth_delete_expired(StoreTx *tx, void *opaque, GError **err)
{
    const StoreCond where[] = {
        {.column = "expires_at", .op = STORE_LE, .num = *(const int64_t *)opaque},
        {.column = NULL},
    };

    return store_delete_where(tx, &TOKEN, where, err);
}

bool
auth_sweep(Auth *auth, GError **err)
{
    int64_t now = clock_realtime();

    return store_write(auth->store, auth_delete_expired, &now, err);
}

char *
auth_id_new(void)
{
    g_autofree char *uuid = uuid_new();
    g_auto(GStrv) parts = g_strsplit(uuid, "-", -1);

    return g_strjoinv("", parts);
}

/* The record of that name, or a new one with id and name filled in and *is_new set. NULL with *err.
 */
static void *
bootstrap_find(StoreTx *tx, const RecordType *type, const char *name, bool *is_new, GError **err)
{
    const StoreCond by_name[] = {
        {.column = "name", .op = STORE_EQ, .text = name},
        {.column = NULL},
    };
    GError *error = NULL;
    void *record = store_find(tx, type, by_name, &error);

    *is_new = false;
    if (record)
        return record;
    if (!err_is(error, ERR_NOT_FOUND)) {
        g_propagate_error(err, error);
        return NULL;
    }
    g_clear_error(&error);
    *is_new = true;
    record = record_new(type);
    *(char **)((char *)record + record_field(type, "id")->offset) = auth_id_new();
    *(char **)((char *)record + record_field(type, "name")->offset) = g_strdup(name);
    *(int64_t *)((char *)record + record_field(type, "created_at")->offset) = clock_realtime();
    return record;
}

static bool
auth_bootstrap_write(StoreTx *tx, void *opaque, GError **err)
{
    static const char *const role_names[] = {"reader", "member", "manager", "admin"};
    g_autofree char *admin_role = NULL;
    g_autoptr(Project) project = NULL;
    g_autoptr(User) user = NULL;
    g_autoptr(Assignment) assignment = NULL;
    g_autoptr(Assignment) known = NULL;
    bool is_new;

    for (size_t i = 0; i < G_N_ELEMENTS(role_names); i++) {
        g_autoptr(Role) role = bootstrap_find(tx, &ROLE, role_names[i], &is_new, err);

        if (!role || (is_new && !store_insert(tx, &ROLE, role, err)))
            return false;
        text_set(&admin_role, role->id); /* the last one is admin */
    }
    project = bootstrap_find(tx, &PROJECT, "admin", &is_new, err);
    if (!project)
        return false;
    if (is_new) {
        project->enabled = true;
        text_set(&project->description, "Made at the first start");
        if (!store_insert(tx, &PROJECT, project, err))
            return false;
    }
    user = bootstrap_find(tx, &USER, "admin", &is_new, err);
    if (!user)
        return false;
    user->enabled = true;
    user->password_changed_at = clock_realtime();
    text_set(&user->password_hash, opaque);
    text_set(&user->default_project_id, project->id);
    if (!(is_new ? store_insert(tx, &USER, user, err) : store_update(tx, &USER, user, err)))
        return false;
    assignment = record_new(&ASSIGNMENT);
    assignment->id = g_strdup_printf("%s:%s:%s", user->id, project->id, admin_role);
    assignment->user_id = g_strdup(user->id);
    assignment->project_id = g_strdup(project->id);
    assignment->role_id = g_strdup(admin_role);
    known = store_get(tx, &ASSIGNMENT, assignment->id, NULL);
    return known || store_insert(tx, &ASSIGNMENT, assignment, err);
}

bool
auth_bootstrap(Auth *auth, const char *password, GError **err)
{
    g_autofree char *hash = auth_password_hash(password, err);
    bool done = hash && store_write(auth->store, auth_bootstrap_write, hash, err);

    auth_cache_clear(auth);
    return done;
}
