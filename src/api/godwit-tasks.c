/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-tasks.c: tasks in Godwit's own API: what is being done, how far it is, how it ended */
#include "api/godwit-priv.h"

/* How far a copy is; both null where there is nothing to count. */
static void
add_progress(json_t *view, const Task *task)
{
    json_auto_t *state = json_parse_stored(task->state, JSON_OBJECT);
    static const char *const keys[] = {"done", "total"};

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        json_t *value = json_object_get(state, keys[i]);

        if (json_is_integer(value))
            json_object_set(view, keys[i], value);
        else
            json_object_set_new(view, keys[i], json_null());
    }
}

static json_t *
view_task(const Task *task)
{
    bool has_server = task->server_id && *task->server_id;
    json_t *view = json_pack(
        "{s:I,s:s,s:o,s:o,s:s,s:I,s:s,s:o,s:o,s:I,s:I,s:I}", "id", (json_int_t)task->id, "kind",
        task->kind, "server_id", json_text_or_null(has_server ? task->server_id : NULL),
        "volume_id", json_text_or_null(task->volume_id), "status", task_status_names[task->status],
        "phase", (json_int_t)task->phase, "mark", task_mark_names[task->mark], "error_code",
        json_text_or_null(task->error_code), "error_message",
        json_text_or_null(task->error_message), "created_at", (json_int_t)task->created_at,
        "updated_at", (json_int_t)task->updated_at, "ended_at", (json_int_t)task->ended_at);

    add_progress(view, task);
    return view;
}

static bool
tasks_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *open_text = api_query(call, "open");
    const char *server = api_query(call, "server");
    const char *volume = api_query(call, "volume");
    StoreCond where[4] = {{.column = NULL}};
    StoreQuery query = {.where = where, .order_by = "id", .descending = true};
    g_autoptr(GPtrArray) tasks = NULL;
    const char *marker;
    bool only_open = false;
    json_t *rows;
    size_t n = 0;

    api_paging(call, &query.limit, &marker); /* checked before */
    if (open_text && !parse_bool(open_text, &only_open))
        return err_set(err, ERR_INVALID, "'open' must be true or false.");
    if (only_open)
        where[n++] = (StoreCond){.column = "status", .op = STORE_EQ, .num = TASK_OPEN};
    if (server)
        where[n++] = (StoreCond){.column = "server_id", .op = STORE_EQ, .text = server};
    if (volume)
        where[n++] = (StoreCond){.column = "volume_id", .op = STORE_EQ, .text = volume};
    tasks = store_list(tx, &TASK, &query, err);
    if (!tasks)
        return false;
    rows = json_array();
    for (size_t i = 0; i < tasks->len; i++)
        json_array_append_new(rows, view_task(g_ptr_array_index(tasks, i)));
    *(json_t **)opaque = json_pack("{s:o}", "tasks", rows);
    return true;
}

void
godwit_tasks_list(ApiCall *call)
{
    const char *marker;
    int64_t limit;

    if (api_paging(call, &limit, &marker))
        api_answer_read(call, tasks_read, 200);
}

static bool
task_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *text = api_param(call, "id");
    int64_t id;
    g_autoptr(Task) task =
        parse_int64(text, 1, INT64_MAX, &id) ? store_get_int(tx, &TASK, id, NULL) : NULL;

    if (!task)
        return err_set(err, ERR_NOT_FOUND, "Task %s could not be found.", text);
    *(json_t **)opaque = json_pack("{s:o}", "task", view_task(task));
    return true;
}

void
godwit_task_show(ApiCall *call)
{
    api_answer_read(call, task_read, 200);
}
