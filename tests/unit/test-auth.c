/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-auth.c: log-in, tokens and what makes them void, on a real store */
#include <string.h>

#include "auth/auth-priv.h"
#include "store-place.h"

#define PASSWORD "correct horse"

typedef struct Fixture {
    Place place;
    Auth *auth;
} Fixture;

static void
fixture_open(Fixture *fixture, gconstpointer data)
{
    const AuthSettings settings = {.token_lifetime_s = data ? 0 : 3600, .attempts_per_minute = 3};
    g_autoptr(GError) error = NULL;

    place_make(&fixture->place, NULL);
    fixture->auth = auth_new(fixture->place.store, &settings);
    auth_bootstrap(fixture->auth, PASSWORD, &error);
    g_assert_no_error(error);
}

static void
fixture_close(Fixture *fixture, gconstpointer data)
{
    auth_free(fixture->auth);
    place_remove(&fixture->place, NULL);
}

static Caller *
login(Fixture *fixture, const char *user, const char *password, char **token, GError **err)
{
    const AuthRequest request = {.user_name = user,
                                 .password = password,
                                 .user_domain = "Default",
                                 .project_name = "admin",
                                 .project_domain = "default",
                                 .remote = "192.0.2.1"};

    return auth_issue(fixture->auth, &request, token, err);
}

static char *
must_login(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    char *token = NULL;
    g_autoptr(Caller) caller = login(fixture, "admin", PASSWORD, &token, &error);

    g_assert_no_error(error);
    g_assert_true(caller->is_admin && caller->is_member && !caller->is_reader_only);
    return token;
}

static void
assert_valid(Fixture *fixture, const char *token)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Caller) caller = auth_validate(fixture->auth, token, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(caller->user_name, ==, "admin");
}

static void
assert_void(Fixture *fixture, const char *token)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(auth_validate(fixture->auth, token, &error));
    g_assert_true(err_is(error, ERR_FORBIDDEN));
}

/* ---- rows changed behind the token -------------------------------------------------------------
 */

static User *
admin_user(StoreTx *tx)
{
    const StoreCond where[] = {{.column = "name", .op = STORE_EQ, .text = "admin"}, {NULL}};

    return store_find(tx, &USER, where, NULL);
}

static bool
disable_user(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(User) user = admin_user(tx);

    user->enabled = false;
    return store_update(tx, &USER, user, err);
}

static bool
change_password(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(User) user = admin_user(tx);

    user->password_changed_at = clock_realtime();
    return store_update(tx, &USER, user, err);
}

static bool
disable_project(StoreTx *tx, void *opaque, GError **err)
{
    const StoreCond where[] = {{.column = "name", .op = STORE_EQ, .text = "admin"}, {NULL}};
    g_autoptr(Project) project = store_find(tx, &PROJECT, where, err);

    project->enabled = false;
    return store_update(tx, &PROJECT, project, err);
}

static bool
remove_roles(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(User) user = admin_user(tx);
    const StoreCond where[] = {{.column = "user_id", .op = STORE_EQ, .text = user->id}, {NULL}};

    return store_delete_where(tx, &ASSIGNMENT, where, err);
}

static bool
delete_tokens(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(User) user = admin_user(tx);

    return auth_delete_tokens(tx, user->id, err);
}

static bool
count_tokens(StoreTx *tx, void *opaque, GError **err)
{
    *(int64_t *)opaque = store_count(tx, &TOKEN, NULL, err);
    return true;
}

static bool
token_is_stored(StoreTx *tx, void *opaque, GError **err)
{
    const char *token = opaque;
    g_autoptr(GPtrArray) rows = store_list(tx, &TOKEN, NULL, err);

    for (size_t i = 0; i < rows->len; i++) {
        const Token *row = g_ptr_array_index(rows, i);
        g_assert_cmpstr(row->id, !=, token);
        g_assert_cmpuint(strlen(row->id), ==, 64);
    }
    return true;
}

/* ---- tests -------------------------------------------------------------------------------------
 */

static void
test_password(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *hash = auth_password_hash(PASSWORD, &error);
    g_autofree char *again = auth_password_hash(PASSWORD, NULL);
    g_autofree char *longest = g_strnfill(513, 'x');

    g_assert_no_error(error);
    g_assert_true(g_str_has_prefix(hash, "$y$"));
    g_assert_cmpstr(hash, !=, again);
    g_assert_true(auth_password_verify(PASSWORD, hash));
    g_assert_false(auth_password_verify("correct horsf", hash));
    g_assert_false(auth_password_verify("", hash));
    g_assert_false(auth_password_verify(PASSWORD, NULL));
    g_assert_false(auth_password_verify(PASSWORD, "*"));
    g_assert_null(auth_password_hash("", &error));
    g_assert_true(err_is(error, ERR_INVALID));
    g_assert_null(auth_password_hash(longest, NULL));
}

static void
test_login(Fixture *fixture, gconstpointer data)
{
    g_autofree char *token = must_login(fixture);
    g_autofree char *other = must_login(fixture);

    g_assert_true(g_str_has_prefix(token, "gw"));
    g_assert_cmpuint(strlen(token), ==, 45); /* 32 bytes in base64, and the prefix */
    g_assert_cmpstr(token, !=, other);
    assert_valid(fixture, token);
    assert_valid(fixture, token); /* from the cache */
    must_read(fixture->place.store, token_is_stored, token);
    assert_void(fixture, "");
    assert_void(fixture, "gw");
    assert_void(fixture, "gwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
}

static void
test_one_wording(Fixture *fixture, gconstpointer data)
{
    const AuthRequest requests[] = {
        {.user_name = "admin", .password = "wrong", .remote = "a"},
        {.user_name = "nobody", .password = PASSWORD, .remote = "b"},
        {.user_id = "nobody", .password = PASSWORD, .remote = "c"},
        {.user_name = "admin", .user_domain = "other", .password = PASSWORD, .remote = "d"},
        {.user_name = "admin", .password = PASSWORD, .project_name = "none", .remote = "e"},
        {.user_name = "admin", .password = PASSWORD, .project_id = "none", .remote = "e"},
        {.token = "gwnothing"},
    };
    g_autofree char *wording = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
        g_autoptr(GError) error = NULL;
        char *token = NULL;

        g_assert_null(auth_issue(fixture->auth, &requests[i], &token, &error));
        g_assert_null(token);
        g_assert_true(err_is(error, ERR_FORBIDDEN));
        if (wording)
            g_assert_cmpstr(error->message, ==, wording);
        else
            wording = g_strdup(error->message);
    }
}

static void
test_limit(Fixture *fixture, gconstpointer data)
{
    const AuthRequest elsewhere = {
        .user_name = "admin", .password = PASSWORD, .remote = "192.0.2.9"};
    g_autoptr(GError) error = NULL;
    char *token = NULL;

    for (int i = 0; i < 3; i++) {
        g_assert_null(login(fixture, "admin", "wrong", &token, &error));
        g_assert_true(err_is(error, ERR_FORBIDDEN));
        g_clear_error(&error);
    }
    g_assert_null(login(fixture, "admin", PASSWORD, &token, &error));
    g_assert_true(err_is(error, ERR_BUSY));
    g_clear_error(&error);
    /* the user's name counts wherever the attempts come from, the address whatever the name */
    g_assert_null(auth_issue(fixture->auth, &elsewhere, &token, &error));
    g_assert_true(err_is(error, ERR_BUSY));
    g_clear_error(&error);
    g_assert_null(login(fixture, "somebody", PASSWORD, &token, &error));
    g_assert_true(err_is(error, ERR_BUSY));
}

static void
test_limit_window(void)
{
    LoginLimit *limit = login_limit_new(2);
    int64_t now = 1000 * USEC_PER_SEC;

    for (int i = 0; i < 5000; i++) { /* more keys than the table holds */
        g_autofree char *key = g_strdup_printf("user%d", i);
        login_limit_failed(limit, "user", key, now + i);
    }
    login_limit_failed(limit, "user", "x", now + 6000);
    g_assert_true(login_limit_permits(limit, "user", "x", now + 6000));
    login_limit_failed(limit, "user", "x", now + 6000);
    g_assert_false(login_limit_permits(limit, "user", "x", now + 6000));
    g_assert_true(login_limit_permits(limit, "address", "x", now + 6000));
    g_assert_true(login_limit_permits(limit, "user", "x", now + 6000 + 60 * USEC_PER_SEC));
    login_limit_reset(limit, "user", "x");
    g_assert_true(login_limit_permits(limit, "user", "x", now + 6000));
    login_limit_free(limit);
}

static void
test_rescope(Fixture *fixture, gconstpointer data)
{
    g_autofree char *token = must_login(fixture);
    const AuthRequest unscoped = {.token = token, .unscoped = true};
    g_autoptr(GError) error = NULL;
    g_autofree char *second = NULL, *third = NULL;
    g_autoptr(Caller) first_caller = auth_validate(fixture->auth, token, NULL);
    g_autoptr(Caller) caller = auth_issue(fixture->auth, &unscoped, &second, &error);
    const AuthRequest scoped = {.token = second, .project_id = first_caller->project_id};
    g_autoptr(Caller) back = NULL;

    g_assert_no_error(error);
    g_assert_null(caller->project_id);
    g_assert_false(caller->is_admin);
    g_assert_null(caller->roles[0]);
    g_assert_cmpint(caller->expires_at, ==, first_caller->expires_at);
    back = auth_issue(fixture->auth, &scoped, &third, &error);
    g_assert_no_error(error);
    g_assert_true(back->is_admin);
    g_assert_cmpstr(back->roles[0], ==, "admin");
    g_assert_cmpuint(strlen(back->role_ids[0]), ==, 32);
}

static void
test_void_after(Fixture *fixture, gconstpointer data)
{
    static const StoreFn changes[] = {disable_user, disable_project, remove_roles, change_password,
                                      delete_tokens};

    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autofree char *token = must_login(fixture);

        assert_valid(fixture, token);
        must_write(fixture->place.store, changes[i], NULL);
        assert_valid(fixture, token); /* remembered */
        auth_cache_clear(fixture->auth);
        assert_void(fixture, token);
        /* bootstrap heals what was changed, except for a disabled project */
        fixture_close(fixture, NULL);
        fixture_open(fixture, NULL);
    }
}

static void
test_revoke(Fixture *fixture, gconstpointer data)
{
    g_autofree char *token = must_login(fixture);
    g_autofree char *other = must_login(fixture);
    g_autoptr(GError) error = NULL;

    assert_valid(fixture, token);
    auth_revoke(fixture->auth, token, &error);
    g_assert_no_error(error);
    assert_void(fixture, token);
    assert_valid(fixture, other);
    g_assert_false(auth_revoke(fixture->auth, token, &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
}

static void
test_expired(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    char *token = NULL;
    int64_t count = -1;

    /* a lifetime of 0: void at the moment it would be issued, so nothing is */
    g_assert_null(login(fixture, "admin", PASSWORD, &token, &error));
    g_assert_true(err_is(error, ERR_FORBIDDEN));
    must_read(fixture->place.store, count_tokens, &count);
    g_assert_cmpint(count, ==, 0);
}

static bool
age_tokens(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(GPtrArray) rows = store_list(tx, &TOKEN, NULL, err);
    Token *token = g_ptr_array_index(rows, 0);

    token->expires_at = clock_realtime() - 1;
    return store_update(tx, &TOKEN, token, err);
}

static void
test_sweep(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    int64_t count = -1;

    g_free(must_login(fixture));
    g_free(must_login(fixture));
    must_write(fixture->place.store, age_tokens, NULL);
    auth_cache_clear(fixture->auth);
    auth_sweep(fixture->auth, &error);
    g_assert_no_error(error);
    must_read(fixture->place.store, count_tokens, &count);
    g_assert_cmpint(count, ==, 1);
}

static void
test_cache(void)
{
    TokenCache *cache = token_cache_new();
    Caller caller = {.token_id = (char *)"t", .expires_at = 100 * USEC_PER_SEC};
    uint64_t generation = token_cache_generation(cache);
    g_autoptr(Caller) hit = NULL;

    token_cache_add(cache, generation, &caller, 10 * USEC_PER_SEC);
    hit = token_cache_find(cache, "t", 39 * USEC_PER_SEC);
    g_assert_nonnull(hit);
    g_assert_null(token_cache_find(cache, "t", 40 * USEC_PER_SEC));
    token_cache_add(cache, generation, &caller, 90 * USEC_PER_SEC);
    g_assert_null(token_cache_find(cache, "t", 100 * USEC_PER_SEC));
    /* what was read before a change does not get in after it */
    token_cache_clear(cache);
    token_cache_add(cache, generation, &caller, 90 * USEC_PER_SEC);
    g_assert_null(token_cache_find(cache, "t", 91 * USEC_PER_SEC));
    generation = token_cache_generation(cache);
    for (int i = 0; i < 3000; i++) {
        g_autofree char *id = g_strdup_printf("%d", i);
        Caller many = {.token_id = id, .expires_at = INT64_MAX};
        token_cache_add(cache, generation, &many, 90 * USEC_PER_SEC);
    }
    token_cache_free(cache);
}

#define FIXED(name, fn, data) g_test_add(name, Fixture, data, fixture_open, fn, fixture_close)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/auth/password", test_password);
    g_test_add_func("/auth/limit-window", test_limit_window);
    g_test_add_func("/auth/cache", test_cache);
    FIXED("/auth/login", test_login, NULL);
    FIXED("/auth/one-wording", test_one_wording, NULL);
    FIXED("/auth/limit", test_limit, NULL);
    FIXED("/auth/rescope", test_rescope, NULL);
    FIXED("/auth/void-after", test_void_after, NULL);
    FIXED("/auth/revoke", test_revoke, NULL);
    FIXED("/auth/expired", test_expired, "short");
    FIXED("/auth/sweep", test_sweep, NULL);
    return g_test_run();
}
