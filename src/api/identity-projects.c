/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* identity-projects.c: projects of the identity API */
#include <string.h>

#include "api/identity-priv.h"

#define DESCRIPTION_MAX 4096

json_t *
view_project(ApiCall *call, const Project *project)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:b,s:[],s:{},s:o}", "id", project->id, "name",
                     project->name, "description", project->description, "domain_id", API_DOMAIN_ID,
                     "parent_id", API_DOMAIN_ID, "enabled", (int)project->enabled, "is_domain", 0,
                     "tags", "options", "links", identity_self(call, "projects", project->id));
}

static bool
projects_list(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(GPtrArray) projects = identity_rows(tx, call, &PROJECT, err);
    const char *is_domain = api_query(call, "is_domain");
    bool wants_domains = false;
    json_t *rows;

    if (!projects)
        return false;
    if (is_domain && !parse_bool(is_domain, &wants_domains))
        return err_set(err, ERR_INVALID, "The query's is_domain must be true or false.");
    rows = json_array();
    for (size_t i = 0; !wants_domains && i < projects->len; i++)
        json_array_append_new(rows, view_project(call, g_ptr_array_index(projects, i)));
    *(json_t **)opaque = identity_list(call, "projects", rows);
    return true;
}

void
identity_projects_list(ApiCall *call)
{
    api_answer_read(call, projects_list, 200);
}

static bool
project_read_body(const json_t *body, Project *project, GError **err)
{
    const char *description;

    if (!json_get_text(body, "description", DESCRIPTION_MAX, &description, err) ||
        !json_get_bool(body, "enabled", &project->enabled, err))
        return false;
    if (json_object_get(body, "description"))
        text_set(&project->description, description ? description : "");
    return true;
}

static bool
project_create(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const json_t *body = identity_body(call, "project", err);
    g_autoptr(Project) project = record_new(&PROJECT);
    const char *name;

    project->id = auth_id_new();
    project->description = g_strdup("");
    project->enabled = true;
    project->created_at = clock_realtime();
    if (!body || !json_need_name(body, "name", 64, &name, err) ||
        !project_read_body(body, project, err) ||
        !identity_name_is_free(tx, &PROJECT, name, NULL, err))
        return false;
    project->name = g_strdup(name);
    if (!store_insert(tx, &PROJECT, project, err))
        return false;
    *(json_t **)opaque = json_pack("{s:o}", "project", view_project(call, project));
    return true;
}

void
identity_project_create(ApiCall *call)
{
    identity_answer_write(call, project_create, 201);
}

static bool
project_show(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *id = api_param(call, "id");
    const Caller *caller = call->caller;
    g_autoptr(Project) project = NULL;

    /* others learn nothing, not even whether it exists */
    if (!caller->is_admin && (!caller->project_id || strcmp(caller->project_id, id) != 0))
        return err_set(err, ERR_FORBIDDEN, "You are not authorized to look at other projects.");
    project = identity_get(tx, &PROJECT, id, err);
    if (!project)
        return false;
    *(json_t **)opaque = json_pack("{s:o}", "project", view_project(call, project));
    return true;
}

void
identity_project_show(ApiCall *call)
{
    api_answer_read(call, project_show, 200);
}

static bool
project_update(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Project) project = identity_get(tx, &PROJECT, api_param(call, "id"), err);
    const json_t *body = project ? identity_body(call, "project", err) : NULL;
    const char *name;

    if (!body || !json_get_name(body, "name", 64, &name, err) ||
        !project_read_body(body, project, err))
        return false;
    if (name && !*name)
        return err_set(err, ERR_INVALID, "'name' must not be empty.");
    if (name && !identity_name_is_free(tx, &PROJECT, name, project->id, err))
        return false;
    if (name)
        text_set(&project->name, name);
    if (!store_update(tx, &PROJECT, project, err))
        return false;
    if (!project->enabled && !identity_delete_where(tx, &TOKEN, "project_id", project->id, err))
        return false;
    *(json_t **)opaque = json_pack("{s:o}", "project", view_project(call, project));
    return true;
}

void
identity_project_update(ApiCall *call)
{
    identity_answer_write(call, project_update, 200);
}

/* What is left would belong to nobody, and go on holding its room. */
static bool
has_none_left(StoreTx *tx, const RecordType *type, const StoreCond *where, const char *what,
              const Project *project, GError **err)
{
    int64_t left = store_count(tx, type, where, err);

    if (left > 0)
        return err_set(err, ERR_CONFLICT,
                       "Project %s still has %" G_GINT64_FORMAT " %s: delete them first.",
                       project->name, left, what);
    return left == 0;
}

static bool
project_delete(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *id = api_param(call, "id");
    g_autoptr(Project) project = identity_get(tx, &PROJECT, id, err);
    const StoreCond live[] = {
        {.column = "project_id", .op = STORE_EQ, .text = id},
        {.column = "vm_state", .op = STORE_NE, .num = VM_DELETED},
        {.column = NULL},
    };
    const StoreCond owned[] = {
        {.column = "project_id", .op = STORE_EQ, .text = id},
        {.column = NULL},
    };

    /* Snapshots need not be asked about: each has its volume, of the same project. */
    if (!project || !has_none_left(tx, &SERVER, live, "servers", project, err) ||
        !has_none_left(tx, &VOLUME, owned, "volumes", project, err))
        return false;
    return identity_delete_where(tx, &ASSIGNMENT, "project_id", id, err) &&
           identity_delete_where(tx, &TOKEN, "project_id", id, err) &&
           store_delete(tx, &PROJECT, id, err);
}

void
identity_project_delete(ApiCall *call)
{
    identity_answer_write(call, project_delete, 204);
}

/* Projects on which user_id has a role, and that he could log in to. */
static bool
projects_of_user(StoreTx *tx, ApiCall *call, const char *user_id, json_t **out, GError **err)
{
    const StoreCond where[] = {
        {.column = "user_id", .op = STORE_EQ, .text = user_id},
        {.column = NULL},
    };
    const StoreQuery query = {.where = where, .order_by = "project_id"};
    g_autoptr(GPtrArray) assignments = store_list(tx, &ASSIGNMENT, &query, err);
    const char *last = "";
    json_auto_t *rows = json_array();

    if (!assignments)
        return false;
    for (size_t i = 0; i < assignments->len; i++) {
        const Assignment *assignment = g_ptr_array_index(assignments, i);
        g_autoptr(Project) project = NULL;

        if (strcmp(assignment->project_id, last) == 0)
            continue;
        last = assignment->project_id;
        project = store_get(tx, &PROJECT, assignment->project_id, err);
        if (!project)
            return false;
        if (project->enabled)
            json_array_append_new(rows, view_project(call, project));
    }
    *out = identity_list(call, "projects", g_steal_pointer(&rows));
    return true;
}

static bool
my_projects(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    return projects_of_user(tx, call, call->caller->user_id, opaque, err);
}

void
identity_my_projects(ApiCall *call)
{
    api_answer_read(call, my_projects, 200);
}

static bool
user_projects(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *id = api_param(call, "id");
    g_autoptr(User) user = NULL;

    if (!call->caller->is_admin && !caller_is_user(call, id))
        return err_set(err, ERR_FORBIDDEN, "You are not authorized to look at other users.");
    user = identity_get(tx, &USER, id, err);
    return user && projects_of_user(tx, call, id, opaque, err);
}

void
identity_user_projects(ApiCall *call)
{
    api_answer_read(call, user_projects, 200);
}
