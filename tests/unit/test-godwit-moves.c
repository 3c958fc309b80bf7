/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-godwit-moves.c: moves in Godwit's own API: what is shown of them, the queue, wishes, the
 * rescue of a node's servers, fences; who may ask for what */
#include "compute-world.h"

#define NOBODY "5a1e0000-0000-4000-8000-0000000000ff"

static char *admin_token, *other_id;

/* ---- rows, put by hand --------------------------------------------------------------------------
 */

typedef struct Row { /* of one migration */
    const char *type;
    MigrationStatus status;
    int64_t priority;
    const char *phases, *attempts, *old_flavor, *new_flavor, *fence;
    MigrationWish wish;
    bool over;
    int64_t id; /* out */
} Row;

static bool
row_insert(StoreTx *tx, void *opaque, GError **err)
{
    Row *row = opaque;
    g_autofree char *uuid = uuid_new();
    Migration move = {.uuid = uuid,
                      .server_id = server_id,
                      .project_id = (char *)"somebody",
                      .user_id = (char *)"u",
                      .type = (char *)(row->type ? row->type : "live-migration"),
                      .status = row->status,
                      .phase = (char *)"select",
                      .source_host = (char *)"host1",
                      .flavor_id = (char *)"1",
                      .phases = (char *)(row->phases ? row->phases : "{}"),
                      .priority = row->priority,
                      .attempts = (char *)row->attempts,
                      .old_flavor = (char *)row->old_flavor,
                      .new_flavor = (char *)row->new_flavor,
                      .old_vm_state = VM_STOPPED,
                      .fence = (char *)row->fence,
                      .wish = row->wish,
                      .ended_at = row->over ? 5 : 0,
                      .created_at = 1,
                      .updated_at = 1};

    if (!store_insert(tx, &MIGRATION, &move, err))
        return false;
    row->id = move.id;
    return true;
}

static void
must_write(StoreFn fn, void *opaque)
{
    GError *error = NULL;

    if (!store_write(store, fn, opaque, &error))
        g_error("%s", error->message);
}

static bool
clean_run(StoreTx *tx, void *opaque, GError **err)
{
    static const StoreCond all[] = {{"id", STORE_GT, NULL, 0}, {0}};

    (void)opaque;
    return store_delete_where(tx, &MIGRATION, all, err) &&
           store_delete_where(tx, &TASK, all, err) && store_delete_where(tx, &ACTION, all, err);
}

typedef struct State { /* of both servers and of host1 */
    VmState one, other;
    HostState host1;
} State;

static bool
state_run(StoreTx *tx, void *opaque, GError **err)
{
    const State *state = opaque;
    StoreCond where[] = {{"name", STORE_EQ, "host1", 0}, {0}};
    g_autoptr(Host) host = store_find(tx, &HOST, where, err);
    g_autoptr(Server) one = store_get(tx, &SERVER, server_id, err);
    g_autoptr(Server) other = store_get(tx, &SERVER, other_id, err);

    if (!host || !one || !other)
        return false;
    host->state = state->host1;
    one->vm_state = state->one;
    other->vm_state = state->other;
    one->task_state = other->task_state = TASK_NONE;
    text_set(&one->host, "host1");
    text_set(&other->host, "host1");
    return store_update(tx, &HOST, host, err) && store_update(tx, &SERVER, one, err) &&
           store_update(tx, &SERVER, other, err) && clean_run(tx, NULL, err);
}

static void
put(VmState one, VmState other, HostState host1)
{
    State state = {one, other, host1};

    token = admin_token;
    must_write(state_run, &state);
}

static json_t *
shown(int64_t id)
{
    g_autofree char *path = g_strdup_printf("/godwit/v1/migrations/%" PRId64, id);
    json_t *answer = get(path, 0);
    json_t *move = json_incref(json_object_get(answer, "migration"));

    json_decref(answer);
    return move;
}

/* The value of a member as compact JSON. */
static void
expect(const json_t *object, const char *key, const char *value)
{
    g_autofree char *found = NULL;
    const json_t *member = json_object_get(object, key);

    g_assert_nonnull(member);
    found = json_dumps(member, JSON_ENCODE_ANY | JSON_COMPACT);
    if (strcmp(found, value) != 0)
        g_error("%s is %s, not %s", key, found, value);
}

static void
setup(void)
{
    json_t *answer = NULL;

    test_create();
    g_assert_cmpint(ask("POST", "/compute/v2.1/servers", 37, create_text, &answer), ==, 202);
    other_id =
        g_strdup(json_string_value(json_object_get(json_object_get(answer, "server"), "id")));
    json_decref(answer);
    must_write(make_active, other_id);
    admin_token = token;
}

/* ---- what is shown ------------------------------------------------------------------------------
 */

static void
test_view(void)
{
    Row live = {.phases = "{\"select\":5,\"transfer\":9,\"post-copy\":3}",
                .status = MIGRATION_RUNNING,
                .wish = WISH_FORCE_COMPLETE,
                .attempts = "[{\"host\":\"host2\",\"at\":7,\"error_code\":\"conflict\",\"reason\":"
                            "\"no room\"}]"};
    Row resize = {.type = "resize",
                  .status = MIGRATION_FINISHED,
                  .old_flavor = "{\"id\":\"1\",\"name\":\"tiny\"}",
                  .new_flavor = "{\"id\":\"2\",\"name\":\"small\"}"};
    Row rescue = {.type = "evacuation",
                  .status = MIGRATION_DONE,
                  .over = true,
                  .fence = "{\"how\":\"blocklist\"}"};
    Row paused = {.phases = "{\"pause\":3}", .status = MIGRATION_COMPLETED, .over = true};
    json_t *view;

    put(VM_ACTIVE, VM_ACTIVE, HOST_UP);
    must_write(row_insert, &live);
    must_write(row_insert, &resize);
    must_write(row_insert, &rescue);
    must_write(row_insert, &paused);
    view = shown(live.id);
    expect(view, "type", "\"live-migration\"");
    expect(view, "wish", "\"force-complete\"");
    expect(view, "forced", "\"post-copy\"");
    expect(view, "queue_position", "null");
    expect(view, "priority", "0");
    expect(view, "dest_given", "false");
    expect(view, "old_flavor", "null");
    expect(view, "old_vm_state", "null");
    expect(view, "fence", "null");
    expect(view, "attempts",
           "[{\"host\":\"host2\",\"at\":7,\"error_code\":\"conflict\",\"reason\":\"no room\"}]");
    json_decref(view);
    view = shown(resize.id);
    expect(view, "type", "\"resize\"");
    expect(view, "wish", "null");
    expect(view, "forced", "null");
    expect(view, "attempts", "[]");
    expect(view, "old_flavor", "{\"id\":\"1\",\"name\":\"tiny\"}");
    expect(view, "new_flavor", "{\"id\":\"2\",\"name\":\"small\"}");
    expect(view, "old_vm_state", "\"stopped\"");
    json_decref(view);
    view = shown(rescue.id);
    expect(view, "fence", "{\"how\":\"blocklist\"}");
    json_decref(view);
    view = shown(paused.id);
    expect(view, "forced", "\"pause\"");
    json_decref(view);

    refuse("GET", "/godwit/v1/migrations?type=resize", 0, NULL, 200, "\"finished\"");
    refuse("GET", "/godwit/v1/migrations?type=nothing", 0, NULL, 200, "[]");
    refuse("GET", "/godwit/v1/migrations?open=1&type=evacuation", 0, NULL, 200, "[]");
    refuse("GET", "/godwit/v1/migrations?open=perhaps", 0, NULL, 400, "open");
}

static void
test_queue(void)
{
    Row rows[] = {
        {.status = MIGRATION_QUEUED},
        {.status = MIGRATION_QUEUED, .priority = 9},
        {.status = MIGRATION_QUEUED},
        {.status = MIGRATION_QUEUED, .priority = -1},
        {.status = MIGRATION_RUNNING, .priority = 9},
    };
    static const char *const positions[] = {"1", "0", "2", "3", "null"};

    put(VM_ACTIVE, VM_ACTIVE, HOST_UP);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        must_write(row_insert, &rows[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        json_t *view = shown(rows[i].id);

        expect(view, "queue_position", positions[i]);
        json_decref(view);
    }
}

/* ---- what is asked ------------------------------------------------------------------------------
 */

static void
test_move(void)
{
    g_autofree char *path = g_strdup_printf("/godwit/v1/servers/%s/move", server_id);
    g_autofree char *resize = g_strdup_printf("/godwit/v1/servers/%s/resize", server_id);

    put(VM_ACTIVE, VM_ACTIVE, HOST_UP);
    refuse("POST", path, 0, "{\"priority\":101}", 400, "priority");
    refuse("POST", path, 0, "{\"priority\":\"high\"}", 400, "priority");
    refuse("POST", path, 0, "{\"colour\":1}", 400, "colour");
    refuse("POST", path, 0, "{\"host\":\"mars\"}", 400, "mars");
    refuse("POST", path, 0, "{\"host\":\"host1\"}", 400, "current host");
    refuse("POST", "/godwit/v1/servers/" NOBODY "/move", 0, "{}", 404, NOBODY);
    refuse("POST", path, 0, "{\"host\":\"host2\",\"priority\":7}", 202, "\"priority\":7");
    refuse("POST", path, 0, NULL, 409, "migrating");
    put(VM_ACTIVE, VM_ACTIVE, HOST_UP);
    refuse("POST", path, 0, NULL, 202, "\"priority\":0");
    put(VM_ACTIVE, VM_ACTIVE, HOST_UP);
    refuse("POST", resize, 0, "{\"flavor\":\"no-such\"}", 400, "no-such");
    refuse("POST", resize, 0, "{\"flavor\":7}", 400, "flavor");
    refuse("POST", resize, 0, "{\"size\":\"1\"}", 400, "size");
    refuse("POST", resize, 0, "{\"flavor\":\"1\"}", 400, "flavor");
    refuse("POST", resize, 0, "{\"host\":\"host3\"}", 202, "\"dest_host\":\"host3\"");
    refuse("POST", resize, 0, "{\"host\":\"host3\"}", 409, "resize_prep");
}

static void
test_wishes(void)
{
    Row queued = {.status = MIGRATION_QUEUED}, over = {.status = MIGRATION_COMPLETED, .over = true},
        resize = {.type = "resize", .status = MIGRATION_MIGRATING};
    g_autofree char *abort = NULL, *force = NULL, *late = NULL, *wrong = NULL;

    put(VM_ACTIVE, VM_ACTIVE, HOST_UP);
    must_write(row_insert, &queued);
    must_write(row_insert, &over);
    must_write(row_insert, &resize);
    abort = g_strdup_printf("/godwit/v1/migrations/%" PRId64 "/abort", queued.id);
    force = g_strdup_printf("/godwit/v1/migrations/%" PRId64 "/force-complete", queued.id);
    late = g_strdup_printf("/godwit/v1/migrations/%" PRId64 "/abort", over.id);
    wrong = g_strdup_printf("/godwit/v1/migrations/%" PRId64 "/abort", resize.id);
    refuse("POST", force, 0, NULL, 409, "queued");
    refuse("POST", abort, 0, NULL, 202, "\"wish\":\"abort\"");
    refuse("POST", late, 0, NULL, 409, "over");
    refuse("POST", wrong, 0, NULL, 400, "resize");
    refuse("POST", "/godwit/v1/migrations/999999/abort", 0, NULL, 404, "999999");
    refuse("POST", "/godwit/v1/migrations/x/abort", 0, NULL, 404, "x");
}

/* ---- a dead node --------------------------------------------------------------------------------
 */

static void
test_rescue(void)
{
    json_t *answer = NULL, *rows, *row;
    size_t i, n_moves = 0, n_errors = 0;

    put(VM_ACTIVE, VM_ACTIVE, HOST_UP);
    refuse("POST", "/godwit/v1/hosts/host1/rescue", 0, NULL, 409, "is up");
    refuse("POST", "/godwit/v1/hosts/mars/rescue", 0, NULL, 404, "mars");
    put(VM_ACTIVE, VM_RESIZED, HOST_DOWN);
    refuse("POST", "/godwit/v1/hosts/host1/rescue", 0, "{\"dest\":\"mars\"}", 404, "mars");
    refuse("POST", "/godwit/v1/hosts/host1/rescue", 0, "{\"dest\":\"host1\"}", 400, "host1");
    refuse("POST", "/godwit/v1/hosts/host1/rescue", 0, "{\"dest\":7}", 400, "dest");
    refuse("POST", "/godwit/v1/hosts/host1/rescue", 0, "{\"override\":\" \"}", 400, "override");
    refuse("POST", "/godwit/v1/hosts/host1/rescue", 0, "{\"colour\":1}", 400, "colour");
    g_assert_cmpint(ask("POST", "/godwit/v1/hosts/host1/rescue", 0,
                        "{\"dest\":\"host2\",\"override\":null,\"stopped\":true}", &answer),
                    ==, 202);
    rows = json_object_get(answer, "rescue");
    g_assert_cmpuint(json_array_size(rows), ==, 2);
    json_array_foreach(rows, i, row)
    {
        const json_t *move = json_object_get(row, "migration"),
                     *error = json_object_get(row, "error");
        const char *id = json_string_value(json_object_get(json_object_get(row, "server"), "id"));

        n_moves += json_is_object(move);
        n_errors += json_is_object(error);
        g_assert_cmpint(json_is_object(move), ==, json_is_null(error));
        g_assert_cmpstr(id, ==, json_is_object(move) ? server_id : other_id);
        if (json_is_object(error))
            expect(error, "name", "\"conflict\"");
        else
            expect(move, "type", "\"evacuation\"");
    }
    g_assert_cmpuint(n_moves, ==, 1);
    g_assert_cmpuint(n_errors, ==, 1);
    json_decref(answer);
    refuse("GET", "/godwit/v1/migrations?type=evacuation", 0, NULL, 200, server_id);
    /* a node without servers */
    refuse("PUT", "/compute/v2.1/os-services/force-down", 11,
           "{\"host\":\"host3\",\"binary\":\"nova-compute\",\"forced_down\":true}", 200, NULL);
    refuse("POST", "/godwit/v1/hosts/host3/rescue", 0, NULL, 202, "{\"rescue\":[]}");
}

static void
test_evacuate(void)
{
    g_autofree char *path = g_strdup_printf("/godwit/v1/servers/%s/evacuate", server_id);

    put(VM_ACTIVE, VM_ACTIVE, HOST_UP);
    refuse("POST", path, 0, NULL, 400, "still in use");
    put(VM_ACTIVE, VM_ACTIVE, HOST_DOWN);
    refuse("POST", path, 0, "{\"dest\":\"host1\"}", 400, "same");
    refuse("POST", path, 0, "{\"override\":\"\"}", 400, "override");
    refuse("POST", path, 0, "{\"override\":\"the plug is in my hand\"}", 202, "\"evacuation\"");
}

static bool
fences_insert(StoreTx *tx, void *opaque, GError **err)
{
    Fence known = {.host = (char *)"host1",
                   .address = (char *)"192.0.2.7:0/3710147553",
                   .server_id = server_id,
                   .expires_at = 90,
                   .created_at = 4};
    Fence bare = {.host = (char *)"host2",
                  .address = (char *)"192.0.2.8:0/1",
                  .server_id = (char *)"",
                  .expires_at = 91,
                  .created_at = 5};

    (void)opaque;
    return store_insert(tx, &FENCE, &known, err) && store_insert(tx, &FENCE, &bare, err);
}

static void
test_fences(void)
{
    json_t *answer;
    const json_t *row;

    refuse("GET", "/godwit/v1/fences", 0, NULL, 200, "{\"fences\":[]}");
    must_write(fences_insert, NULL);
    answer = get("/godwit/v1/fences", 0);
    g_assert_cmpuint(json_array_size(json_object_get(answer, "fences")), ==, 2);
    row = json_array_get(json_object_get(answer, "fences"), 0);
    expect(row, "host", "\"host1\"");
    expect(row, "address", "\"192.0.2.7:0/3710147553\"");
    expect(row, "server_name", "\"one\"");
    expect(row, "expires_at", "90");
    row = json_array_get(json_object_get(answer, "fences"), 1);
    expect(row, "server_id", "null");
    expect(row, "server_name", "null");
    json_decref(answer);
    answer = get("/godwit/v1/fences?host=host2", 0);
    g_assert_cmpuint(json_array_size(json_object_get(answer, "fences")), ==, 1);
    json_decref(answer);
}

/* ---- who may ------------------------------------------------------------------------------------
 */

static void
test_policy(void)
{
    static const char *const admins[][2] = {
        {"GET", "fences"},
        {"POST", "hosts/host1/rescue"},
        {"POST", "servers/" NOBODY "/move"},
        {"POST", "servers/" NOBODY "/resize"},
        {"POST", "servers/" NOBODY "/evacuate"},
    };
    g_autofree char *manager = world_user("manager", "manager"),
                    *member = world_user("member", "member");
    Row queued = {.status = MIGRATION_QUEUED};
    g_autofree char *abort = NULL;

    put(VM_ACTIVE, VM_ACTIVE, HOST_UP);
    must_write(row_insert, &queued);
    abort = g_strdup_printf("/godwit/v1/migrations/%" PRId64 "/abort", queued.id);
    token = manager;
    for (size_t i = 0; i < G_N_ELEMENTS(admins); i++) {
        g_autofree char *path = g_strconcat("/godwit/v1/", admins[i][1], NULL);
        refuse(admins[i][0], path, 0, NULL, 403, NULL);
    }
    refuse("POST", abort, 0, NULL, 404, NULL); /* another project's */
    token = member;
    refuse("POST", abort, 0, NULL, 403, "manager");
    token = admin_token;
}

int
main(int argc, char **argv)
{
    int failed;

    g_test_init(&argc, &argv, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    curl_global_init(CURL_GLOBAL_ALL);
    world_begin();
    setup();
    g_test_add_func("/godwit-moves/view", test_view);
    g_test_add_func("/godwit-moves/queue", test_queue);
    g_test_add_func("/godwit-moves/move", test_move);
    g_test_add_func("/godwit-moves/wishes", test_wishes);
    g_test_add_func("/godwit-moves/rescue", test_rescue);
    g_test_add_func("/godwit-moves/evacuate", test_evacuate);
    g_test_add_func("/godwit-moves/fences", test_fences);
    g_test_add_func("/godwit-moves/policy", test_policy);
    failed = g_test_run();
    world_end();
    return failed;
}
