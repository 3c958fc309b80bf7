/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* identity-roles.c: roles of the identity API, and who has which on what */
#include <string.h>

#include "api/identity-priv.h"

json_t *
view_role(ApiCall *call, const Role *role)
{
    return json_pack("{s:s,s:s,s:n,s:n,s:{},s:o}", "id", role->id, "name", role->name, "domain_id",
                     "description", "options", "links", identity_self(call, "roles", role->id));
}

static bool
roles_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(GPtrArray) roles = identity_rows(tx, call, &ROLE, err);
    json_t *rows;

    if (!roles)
        return false;
    rows = json_array();
    for (size_t i = 0; i < roles->len; i++)
        json_array_append_new(rows, view_role(call, g_ptr_array_index(roles, i)));
    *(json_t **)opaque = identity_list(call, "roles", rows);
    return true;
}

void
identity_roles_list(ApiCall *call)
{
    api_answer_read(call, roles_list, 200);
}

static bool
role_create(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const json_t *body = identity_body(call, "role", err);
    g_autoptr(Role) role = record_new(&ROLE);
    const char *name;

    if (!body || !json_need_name(body, "name", 255, &name, err) ||
        !identity_name_is_free(tx, &ROLE, name, NULL, err))
        return false;
    role->id = auth_id_new();
    role->name = g_strdup(name);
    role->created_at = clock_realtime();
    if (!store_insert(tx, &ROLE, role, err))
        return false;
    *(json_t **)opaque = json_pack("{s:o}", "role", view_role(call, role));
    return true;
}

void
identity_role_create(ApiCall *call)
{
    identity_answer_write(call, role_create, 201);
}

static bool
role_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Role) role = identity_get(tx, &ROLE, api_param(call, "id"), err);

    if (!role)
        return false;
    *(json_t **)opaque = json_pack("{s:o}", "role", view_role(call, role));
    return true;
}

void
identity_role_show(ApiCall *call)
{
    api_answer_read(call, role_show, 200);
}

/* The policies go by these names: without them nobody could do anything. */
static bool
role_is_changeable(const Role *role, GError **err)
{
    static const char *const fixed[] = {"admin", "manager", "member", "reader"};

    for (size_t i = 0; i < G_N_ELEMENTS(fixed); i++)
        if (strcmp(role->name, fixed[i]) == 0)
            return err_set(err, ERR_FORBIDDEN, "The role %s is part of the rules and stays.",
                           role->name);
    return true;
}

static bool
role_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Role) role = identity_get(tx, &ROLE, api_param(call, "id"), err);
    const json_t *body = role ? identity_body(call, "role", err) : NULL;
    const char *name;

    if (!body || !json_get_name(body, "name", 255, &name, err))
        return false;
    if (name && strcmp(name, role->name) != 0) {
        if (!*name)
            return err_set(err, ERR_INVALID, "'name' must not be empty.");
        if (!role_is_changeable(role, err) ||
            !identity_name_is_free(tx, &ROLE, name, role->id, err))
            return false;
        text_set(&role->name, name);
        if (!store_update(tx, &ROLE, role, err))
            return false;
    }
    *(json_t **)opaque = json_pack("{s:o}", "role", view_role(call, role));
    return true;
}

void
identity_role_update(ApiCall *call)
{
    identity_answer_write(call, role_update, 200);
}

static bool
role_delete(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Role) role = identity_get(tx, &ROLE, api_param(call, "id"), err);

    return role && role_is_changeable(role, err) &&
           identity_delete_where(tx, &ASSIGNMENT, "role_id", role->id, err) &&
           store_delete(tx, &ROLE, role->id, err);
}

void
identity_role_delete(ApiCall *call)
{
    identity_answer_write(call, role_delete, 204);
}

/* ---- grants -----------------------------------------------------------------------------------
 */

/* The user, project and role of the path must exist. NULL with ERR_NOT_FOUND otherwise. */
static Assignment *
grant_of_path(StoreTx *tx, ApiCall *call, bool with_role, GError **err)
{
    const char *project_id = api_param(call, "project");
    const char *user_id = api_param(call, "user");
    const char *role_id = with_role ? api_param(call, "role") : "";
    g_autoptr(Project) project = identity_get(tx, &PROJECT, project_id, err);
    g_autoptr(User) user = project ? identity_get(tx, &USER, user_id, err) : NULL;
    g_autoptr(Role) role = user && with_role ? identity_get(tx, &ROLE, role_id, err) : NULL;
    Assignment *grant;

    if (!user || (with_role && !role))
        return NULL;
    grant = record_new(&ASSIGNMENT);
    grant->id = g_strdup_printf("%s:%s:%s", user_id, project_id, role_id);
    grant->user_id = g_strdup(user_id);
    grant->project_id = g_strdup(project_id);
    grant->role_id = g_strdup(role_id);
    return grant;
}

static bool
grants_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Assignment) path = grant_of_path(tx, call, false, err);
    const StoreCond where[] = {
        {.column = "user_id", .op = STORE_EQ, .text = api_param(call, "user")},
        {.column = "project_id", .op = STORE_EQ, .text = api_param(call, "project")},
        {.column = NULL},
    };
    const StoreQuery query = {.where = where};
    g_autoptr(GPtrArray) grants = path ? store_list(tx, &ASSIGNMENT, &query, err) : NULL;
    json_auto_t *rows = json_array();

    if (!grants)
        return false;
    for (size_t i = 0; i < grants->len; i++) {
        const Assignment *grant = g_ptr_array_index(grants, i);
        g_autoptr(Role) role = identity_get(tx, &ROLE, grant->role_id, err);

        if (!role)
            return false;
        json_array_append_new(rows, view_role(call, role));
    }
    *(json_t **)opaque = identity_list(call, "roles", g_steal_pointer(&rows));
    return true;
}

void
identity_grants_list(ApiCall *call)
{
    api_answer_read(call, grants_list, 200);
}

static bool
grant_missing(const Assignment *grant, GError **err)
{
    return err_set(err, ERR_NOT_FOUND,
                   "Could not find role assignment with role: %s, user: %s, project: %s.",
                   grant->role_id, grant->user_id, grant->project_id);
}

static bool
grant_check(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Assignment) grant = grant_of_path(tx, call, true, err);
    g_autoptr(Assignment) known = grant ? store_get(tx, &ASSIGNMENT, grant->id, NULL) : NULL;

    return grant && (known || grant_missing(grant, err));
}

void
identity_grant_check(ApiCall *call)
{
    api_answer_read(call, grant_check, 204);
}

static bool
grant_add(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Assignment) grant = grant_of_path(tx, call, true, err);
    g_autoptr(Assignment) known = grant ? store_get(tx, &ASSIGNMENT, grant->id, NULL) : NULL;

    return grant && (known || store_insert(tx, &ASSIGNMENT, grant, err));
}

void
identity_grant_add(ApiCall *call)
{
    identity_answer_write(call, grant_add, 204);
}

static bool
grant_remove(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Assignment) grant = grant_of_path(tx, call, true, err);
    g_autoptr(Assignment) known = grant ? store_get(tx, &ASSIGNMENT, grant->id, NULL) : NULL;

    if (!grant)
        return false;
    if (!known)
        return grant_missing(grant, err);
    return store_delete(tx, &ASSIGNMENT, grant->id, err);
}

void
identity_grant_remove(ApiCall *call)
{
    identity_answer_write(call, grant_remove, 204);
}

/* ---- role_assignments -------------------------------------------------------------------------
 */

static bool
view_assignment(StoreTx *tx, ApiCall *call, const Assignment *grant, bool with_names, json_t *rows,
                GError **err)
{
    g_autoptr(User) user = NULL;
    g_autoptr(Project) project = NULL;
    g_autoptr(Role) role = NULL;
    g_autofree char *url = api_url(call->api, "/identity/v3/projects/%s/users/%s/roles/%s",
                                   grant->project_id, grant->user_id, grant->role_id);

    if (with_names) {
        user = identity_get(tx, &USER, grant->user_id, err);
        project = user ? identity_get(tx, &PROJECT, grant->project_id, err) : NULL;
        role = project ? identity_get(tx, &ROLE, grant->role_id, err) : NULL;
        if (!role)
            return false;
    }
    json_array_append_new(
        rows, json_pack("{s:o,s:o,s:{s:o},s:{s:s}}", "user",
                        view_reference(grant->user_id, user ? user->name : NULL, true), "role",
                        view_reference(grant->role_id, role ? role->name : NULL, false), "scope",
                        "project",
                        view_reference(grant->project_id, project ? project->name : NULL, true),
                        "links", "assignment", url));
    return true;
}

static bool
role_assignments(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    static const char *const filters[][2] = {
        {"user.id", "user_id"},
        {"role.id", "role_id"},
        {"scope.project.id", "project_id"},
    };
    static const char *const elsewhere[] = {"group.id", "scope.domain.id", "scope.system"};
    StoreCond where[G_N_ELEMENTS(filters) + 1] = {{.column = NULL}};
    const StoreQuery query = {.where = where};
    g_autoptr(GPtrArray) grants = NULL;
    const char *names = api_query(call, "include_names");
    json_auto_t *rows = json_array();
    bool with_names = false, none = false;
    size_t n = 0;

    /* "?include_names" without a value means true, as does any value but a clear no */
    if (names && !parse_bool(names, &with_names))
        with_names = true;
    for (size_t i = 0; i < G_N_ELEMENTS(filters); i++) {
        const char *value = api_query(call, filters[i][0]);
        if (value)
            where[n++] = (StoreCond){.column = filters[i][1], .op = STORE_EQ, .text = value};
    }
    for (size_t i = 0; i < G_N_ELEMENTS(elsewhere); i++)
        none |= api_query(call, elsewhere[i]) != NULL;
    grants = store_list(tx, &ASSIGNMENT, &query, err);
    if (!grants)
        return false;
    for (size_t i = 0; !none && i < grants->len; i++)
        if (!view_assignment(tx, call, g_ptr_array_index(grants, i), with_names, rows, err))
            return false;
    *(json_t **)opaque = identity_list(call, "role_assignments", g_steal_pointer(&rows));
    return true;
}

void
identity_role_assignments(ApiCall *call)
{
    api_answer_read(call, role_assignments, 200);
}
