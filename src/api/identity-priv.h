/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* identity-priv.h: what the files of the identity service share */
#pragma once

#include "api/api-priv.h"

json_t *view_project(ApiCall *call, const Project *project);
json_t *view_user(ApiCall *call, const User *user);
json_t *view_role(ApiCall *call, const Role *role);
/* {"id": …, "name": …, "domain": {…}}; name NULL: without names */
json_t *view_reference(const char *id, const char *name, bool has_domain);
json_t *identity_self(ApiCall *call, const char *collection, const char *id); /* {"self": URL} */
/* {COLLECTION: rows, "links": {…}}; takes rows */
json_t *identity_list(ApiCall *call, const char *collection, json_t *rows);

/* api_answer_write, then what was remembered of identity is forgotten. */
void identity_answer_write(ApiCall *call, ApiTxFn fn, int status);

/* Rows of type that match the query's name and enabled; empty if another domain than ours is asked
 * for. */
GPtrArray *identity_rows(StoreTx *tx, ApiCall *call, const RecordType *type, GError **err);
/* ERR_CONFLICT if another row than id (may be NULL) has this name. */
bool identity_name_is_free(StoreTx *tx, const RecordType *type, const char *name, const char *id,
                           GError **err);
/* ERR_NOT_FOUND as Keystone words it */
void *identity_get(StoreTx *tx, const RecordType *type, const char *id, GError **err);
/* The object of the body under key, its domain_id checked; NULL with *err. */
const json_t *identity_body(ApiCall *call, const char *key, GError **err);
bool identity_delete_where(StoreTx *tx, const RecordType *type, const char *column,
                           const char *value, GError **err);
bool caller_is_user(const ApiCall *call, const char *user_id);

/* handlers of identity-projects.c, identity-users.c and identity-roles.c */
void identity_projects_list(ApiCall *call);
void identity_project_create(ApiCall *call);
void identity_project_show(ApiCall *call);
void identity_project_update(ApiCall *call);
void identity_project_delete(ApiCall *call);
void identity_my_projects(ApiCall *call);   /* /auth/projects */
void identity_user_projects(ApiCall *call); /* /users/{id}/projects */
void identity_users_list(ApiCall *call);
void identity_user_create(ApiCall *call);
void identity_user_show(ApiCall *call);
void identity_user_update(ApiCall *call);
void identity_user_password(ApiCall *call);
void identity_user_delete(ApiCall *call);
void identity_roles_list(ApiCall *call);
void identity_role_create(ApiCall *call);
void identity_role_show(ApiCall *call);
void identity_role_update(ApiCall *call);
void identity_role_delete(ApiCall *call);
void identity_grants_list(ApiCall *call);
void identity_grant_check(ApiCall *call);
void identity_grant_add(ApiCall *call);
void identity_grant_remove(ApiCall *call);
void identity_role_assignments(ApiCall *call);
