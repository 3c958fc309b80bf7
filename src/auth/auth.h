/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* auth.h: who is calling and may they. Built-in identity: users, projects, roles in the store;
 * yescrypt; tokens kept as hashes. */
#pragma once

#include "store/store.h"

typedef struct Auth Auth;

typedef struct Caller { /* the outcome of a valid token */
    char *token_id;     /* hash */
    char *user_id, *user_name;
    char *project_id, *project_name; /* NULL: unscoped */
    char **roles;                    /* names, NULL-ended */
    char **role_ids;                 /* in the same order */
    bool is_admin;                   /* has role admin on its project */
    bool is_reader_only;             /* reader but neither member nor manager nor admin */
    bool is_member;                  /* member, manager or admin */
    int64_t issued_at, expires_at;
    char *audit_id;
    char *methods; /* JSON array */
} Caller;
void caller_free(Caller *caller);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Caller, caller_free)

typedef struct AuthSettings {
    int64_t token_lifetime_s; /* 3600 */
    int64_t
        attempts_per_minute; /* failed log-ins per user name and per address before ERR_BUSY; 10 */
} AuthSettings;

Auth *auth_new(Store *store, const AuthSettings *settings);
void auth_free(Auth *auth);

/* Roles, project "admin", user "admin" with password; idempotent apart from the password, which is
 * set. */
bool auth_bootstrap(Auth *auth, const char *password, GError **err);

typedef struct AuthRequest { /* what POST /v3/auth/tokens asks for; any of a pair may be NULL */
    const char *user_id, *user_name,
        *user_domain;     /* domain: id or name; "default"/"Default" only */
    const char *password; /* method password */
    const char *token;    /* method token: rescope */
    const char *project_id, *project_name,
        *project_domain; /* none: default project, else unscoped */
    bool unscoped;
    const char *remote; /* for the rate limit */
} AuthRequest;

/* ERR_FORBIDDEN with one wording whatever was wrong (no oracle; a wrong user costs as much time as
 * a wrong password). *token: the clear token, once. Blocks (yescrypt, ~50 ms; store). */
Caller *auth_issue(Auth *auth, const AuthRequest *request, char **token, GError **err);
/* Valid, not expired, not revoked, user and project enabled; from a bounded cache that any change
 * of identity empties. ERR_FORBIDDEN. */
Caller *auth_validate(Auth *auth, const char *token, GError **err);
/* Is this the user's password? Counts against the rate limit as a log-in does. ERR_FORBIDDEN,
 * ERR_BUSY. Blocks. */
bool
auth_check(Auth *auth, const char *user_id, const char *password, const char *remote, GError **err);
/* Inside a write transaction: end every session of a user. auth_cache_clear after the commit. */
bool auth_delete_tokens(StoreTx *tx, const char *user_id, GError **err);
/* A new id as Keystone's: uuid without dashes. */
char *auth_id_new(void);
bool auth_revoke(Auth *auth, const char *token, GError **err);
void
auth_cache_clear(Auth *auth); /* call after any change of users, projects, roles, assignments */

char *auth_password_hash(const char *password, GError **err); /* yescrypt; blocks */
bool auth_password_verify(const char *password, const char *hash);
char *auth_password_generate(void);
/* Delete expired tokens; the daemon calls it now and then. */
bool auth_sweep(Auth *auth, GError **err);
