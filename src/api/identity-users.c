/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* identity-users.c: users of the identity API and their passwords
 *
 * A password is hashed before the transaction begins: it takes tens of milliseconds, and the writer
 * thread is everybody's. */
#include <string.h>

#include "api/identity-priv.h"

#define PASSWORD_BYTES 4096

typedef struct UserChange {
    json_t *out;
    char *hash; /* of a new password; NULL: none given */
} UserChange;

json_t *
view_user(ApiCall *call, const User *user)
{
    json_t *view =
        json_pack("{s:s,s:s,s:s,s:b,s:n,s:{},s:o}", "id", user->id, "name", user->name, "domain_id",
                  API_DOMAIN_ID, "enabled", (int)user->enabled, "password_expires_at", "options",
                  "links", identity_self(call, "users", user->id));

    if (user->default_project_id)
        json_object_set_new(view, "default_project_id", json_string(user->default_project_id));
    if (user->email)
        json_object_set_new(view, "email", json_string(user->email));
    if (user->description)
        json_object_set_new(view, "description", json_string(user->description));
    return view;
}

static bool
users_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(GPtrArray) users = identity_rows(tx, call, &USER, err);
    json_t *rows;

    if (!users)
        return false;
    rows = json_array();
    for (size_t i = 0; i < users->len; i++)
        json_array_append_new(rows, view_user(call, g_ptr_array_index(users, i)));
    *(json_t **)opaque = identity_list(call, "users", rows);
    return true;
}

void
identity_users_list(ApiCall *call)
{
    api_answer_read(call, users_list, 200);
}

static bool
user_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *id = api_param(call, "id");
    g_autoptr(User) user = NULL;

    if (!call->caller->is_admin && !caller_is_user(call, id))
        return err_set(err, ERR_FORBIDDEN, "You are not authorized to look at other users.");
    user = identity_get(tx, &USER, id, err);
    if (!user)
        return false;
    *(json_t **)opaque = json_pack("{s:o}", "user", view_user(call, user));
    return true;
}

void
identity_user_show(ApiCall *call)
{
    api_answer_read(call, user_show, 200);
}

/* Members that create and update share. */
static bool
user_read_body(StoreTx *tx, const json_t *body, User *user, GError **err)
{
    const char *project_id, *email, *description;

    if (!json_get_text(body, "default_project_id", 64, &project_id, err) ||
        !json_get_name(body, "email", 255, &email, err) ||
        !json_get_text(body, "description", 4096, &description, err) ||
        !json_get_bool(body, "enabled", &user->enabled, err))
        return false;
    if (project_id) {
        g_autoptr(Project) project = identity_get(tx, &PROJECT, project_id, err);

        if (!project)
            return false;
    }
    if (json_object_get(body, "default_project_id"))
        text_set(&user->default_project_id, project_id);
    if (json_object_get(body, "email"))
        text_set(&user->email, email);
    if (json_object_get(body, "description"))
        text_set(&user->description, description);
    return true;
}

/* Hash the password of the body's user, if there is one. false: replied. */
static bool
user_hash_password(ApiCall *call, UserChange *change)
{
    GError *error = NULL;
    const json_t *body;
    const char *password = NULL;

    if (json_need_object(call->body, "user", &body, &error) &&
        json_get_text(body, "password", PASSWORD_BYTES, &password, &error) && password)
        change->hash = auth_password_hash(password, &error);
    if (error)
        api_fail(call, error);
    return !error;
}

static void
user_answer(ApiCall *call, ApiTxFn fn, int status, UserChange *change)
{
    bool done = api_write(call, fn, change);

    auth_cache_clear(api_config(call->api)->auth);
    g_free(change->hash);
    if (!done)
        json_decref(change->out);
    else if (change->out)
        api_reply(call, status, change->out);
    else
        api_reply_empty(call, status);
}

static bool
user_create(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    UserChange *change = opaque;
    const json_t *body = identity_body(call, "user", err);
    g_autoptr(User) user = record_new(&USER);
    const char *name;

    user->id = auth_id_new();
    user->enabled = true;
    user->created_at = user->password_changed_at = clock_realtime();
    if (!body || !json_need_name(body, "name", 255, &name, err) ||
        !user_read_body(tx, body, user, err) || !identity_name_is_free(tx, &USER, name, NULL, err))
        return false;
    user->name = g_strdup(name);
    user->password_hash = g_steal_pointer(&change->hash);
    if (!store_insert(tx, &USER, user, err))
        return false;
    change->out = json_pack("{s:o}", "user", view_user(call, user));
    return true;
}

void
identity_user_create(ApiCall *call)
{
    UserChange change = {0};

    if (user_hash_password(call, &change))
        user_answer(call, user_create, 201, &change);
}

static bool
user_set_password(StoreTx *tx, User *user, char *hash, GError **err)
{
    g_free(user->password_hash);
    user->password_hash = hash;
    user->password_changed_at = clock_realtime();
    return auth_delete_tokens(tx, user->id, err);
}

static bool
user_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    UserChange *change = opaque;
    g_autoptr(User) user = identity_get(tx, &USER, api_param(call, "id"), err);
    const json_t *body = user ? identity_body(call, "user", err) : NULL;
    const char *name;

    if (!body || !json_get_name(body, "name", 255, &name, err) ||
        !user_read_body(tx, body, user, err))
        return false;
    if (name && !*name)
        return err_set(err, ERR_INVALID, "'name' must not be empty.");
    if (name && !identity_name_is_free(tx, &USER, name, user->id, err))
        return false;
    if (name)
        text_set(&user->name, name);
    if (!user->enabled && caller_is_user(call, user->id))
        return err_set(err, ERR_FORBIDDEN, "You cannot disable yourself.");
    if (change->hash && !user_set_password(tx, user, g_steal_pointer(&change->hash), err))
        return false;
    if (!user->enabled && !auth_delete_tokens(tx, user->id, err))
        return false;
    if (!store_update(tx, &USER, user, err))
        return false;
    change->out = json_pack("{s:o}", "user", view_user(call, user));
    return true;
}

void
identity_user_update(ApiCall *call)
{
    UserChange change = {0};

    if (user_hash_password(call, &change))
        user_answer(call, user_update, 200, &change);
}

static bool
user_change_password(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    UserChange *change = opaque;
    g_autoptr(User) user = identity_get(tx, &USER, api_param(call, "id"), err);

    return user && user_set_password(tx, user, g_steal_pointer(&change->hash), err) &&
           store_update(tx, &USER, user, err);
}

/* One's own password, by knowing the old one. Whoever administrates sets it with PATCH. */
void
identity_user_password(ApiCall *call)
{
    Auth *auth = api_config(call->api)->auth;
    const char *id = api_param(call, "id");
    const char *former, *password;
    UserChange change = {0};
    GError *error = NULL;
    const json_t *body;

    if (!caller_is_user(call, id)) {
        api_fault(call, 403, "With the old password one changes only one's own.");
        return;
    }
    if (json_need_object(call->body, "user", &body, &error) &&
        json_need_text(body, "original_password", PASSWORD_BYTES, &former, &error) &&
        json_need_text(body, "password", PASSWORD_BYTES, &password, &error) &&
        auth_check(auth, id, former, http_request_remote(call->request), &error))
        change.hash = auth_password_hash(password, &error);
    if (change.hash) {
        user_answer(call, user_change_password, 204, &change);
    } else if (err_is(error, ERR_FORBIDDEN)) {
        api_fault(call, 401, "%s", error->message);
        g_error_free(error);
    } else {
        api_fail(call, error);
    }
}

static bool
user_delete(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *id = api_param(call, "id");
    g_autoptr(User) user = identity_get(tx, &USER, id, err);

    if (!user)
        return false;
    if (caller_is_user(call, id))
        return err_set(err, ERR_FORBIDDEN, "You cannot delete yourself.");
    return identity_delete_where(tx, &ASSIGNMENT, "user_id", id, err) &&
           auth_delete_tokens(tx, id, err) &&
           identity_delete_where(tx, &KEYPAIR, "user_id", id, err) &&
           store_delete(tx, &USER, id, err);
}

void
identity_user_delete(ApiCall *call)
{
    identity_answer_write(call, user_delete, 204);
}
