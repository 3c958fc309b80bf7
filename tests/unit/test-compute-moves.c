/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-compute-moves.c: migrate, resize, confirm, revert, evacuate, pause, suspend, lock, the state
 * by hand, abort and force-complete: who may, in which state, at which microversion, and how each
 * is answered */
#include "compute-world.h"

#define SMALL "2"    /* a flavor with more of everything */
#define LESS  "less" /* with no disk of its own */
#define BIG   "big"  /* that no host can hold */

static char *admin_token, *member_token, *manager_token, *reader_token, *action_path;

/* ---- the server, put into a state by hand ------------------------------------------------------
 */

typedef struct Put {
    VmState vm;
    TaskState task;
    const char *host;
    HostState host1; /* what becomes of it */
    bool locked;
} Put;

static bool
put_hosts(StoreTx *tx, HostState host1, GError **err)
{
    static const char *const names[] = {"host1", "host2", "host3"};

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        StoreCond where[] = {{"name", STORE_EQ, names[i], 0}, {0}};
        g_autoptr(Host) host = store_find(tx, &HOST, where, err);

        if (!host)
            return false;
        host->state = i == 0 ? host1 : HOST_UP;
        host->forced_down = false;
        host->enabled = true;
        if (!store_update(tx, &HOST, host, err))
            return false;
    }
    return true;
}

static bool
put_run(StoreTx *tx, void *opaque, GError **err)
{
    static const StoreCond all[] = {{"id", STORE_GT, NULL, 0}, {0}};
    const Put *put = opaque;
    g_autoptr(Server) server = store_get(tx, &SERVER, server_id, err);

    if (!server)
        return false;
    server->vm_state = put->vm;
    server->task_state = put->task;
    text_set(&server->host, put->host);
    server->locked = put->locked;
    text_set(&server->locked_by, put->locked ? "owner" : NULL);
    text_set(&server->locked_reason, NULL);
    return store_update(tx, &SERVER, server, err) && store_delete_where(tx, &MIGRATION, all, err) &&
           store_delete_where(tx, &TASK, all, err) && store_delete_where(tx, &ACTION, all, err) &&
           store_delete_where(tx, &ACTION_EVENT, all, err) && put_hosts(tx, put->host1, err);
}

static void
put(Put how)
{
    GError *error = NULL;

    if (!how.host)
        how.host = "host1";
    if (how.host1 == HOST_UNKNOWN)
        how.host1 = HOST_UP;
    g_assert_true(store_write(store, put_run, &how, &error));
    g_assert_no_error(error);
}

#define PUT(...) put((Put){__VA_ARGS__})

/* ---- what became of it --------------------------------------------------------------------------
 */

static void
act(int microversion, const char *body, int status, const char *message)
{
    refuse("POST", action_path, microversion, body, status, message);
}

/* Status and task state as the API shows them; "" for null. */
static void
expect_state(const char *status, const char *task)
{
    g_autofree char *path = g_strconcat("/compute/v2.1/servers/", server_id, NULL);
    json_t *answer = get(path, 92), *server = json_object_get(answer, "server");
    const char *found = json_string_value(json_object_get(server, "OS-EXT-STS:task_state"));

    g_assert_cmpstr(json_string_value(json_object_get(server, "status")), ==, status);
    g_assert_cmpstr(found ? found : "", ==, task);
    json_decref(answer);
}

/* The newest instance action is this one. */
static void
expect_action(const char *title)
{
    g_autofree char *path =
        g_strdup_printf("/compute/v2.1/servers/%s/os-instance-actions", server_id);
    json_t *answer = get(path, 92);
    const json_t *row = json_array_get(json_object_get(answer, "instanceActions"), 0);

    g_assert_cmpstr(json_string_value(json_object_get(row, "action")), ==, title);
    json_decref(answer);
}

/* The newest row of os-migrations; caller frees. */
static json_t *
migration_row(void)
{
    json_t *answer = get("/compute/v2.1/os-migrations", 92);
    json_t *row = json_incref(json_array_get(json_object_get(answer, "migrations"), 0));

    json_decref(answer);
    return row;
}

static void
expect_no_migration(void)
{
    refuse("GET", "/compute/v2.1/os-migrations", 92, NULL, 200, "\"migrations\":[]");
}

typedef struct Step { /* of the newest migration */
    MigrationStatus status;
    bool over;
} Step;

static int64_t newest;

static bool
step_run(StoreTx *tx, void *opaque, GError **err)
{
    const Step *step = opaque;
    StoreQuery query = {.order_by = "id", .descending = true, .limit = 1};
    g_autoptr(GPtrArray) rows = store_list(tx, &MIGRATION, &query, err);

    if (!rows)
        return false;
    Migration *move = g_ptr_array_index(rows, 0);
    move->status = step->status;
    move->ended_at = step->over ? clock_realtime() : 0;
    newest = move->id;
    return store_update(tx, &MIGRATION, move, err);
}

static void
step_to(MigrationStatus status, bool over)
{
    Step step = {status, over};
    GError *error = NULL;

    g_assert_true(store_write(store, step_run, &step, &error));
    g_assert_no_error(error);
}

static void
setup(void)
{
    test_create();
    refuse("POST", "/compute/v2.1/flavors", 1,
           "{\"flavor\":{\"name\":\"small\",\"id\":\"" SMALL
           "\",\"ram\":512,\"vcpus\":2,\"disk\":2}}",
           200, NULL);
    refuse("POST", "/compute/v2.1/flavors", 1,
           "{\"flavor\":{\"name\":\"less\",\"id\":\"" LESS
           "\",\"ram\":512,\"vcpus\":2,\"disk\":0}}",
           200, NULL);
    refuse("POST", "/compute/v2.1/flavors", 1,
           "{\"flavor\":{\"name\":\"big\",\"id\":\"" BIG
           "\",\"ram\":999999,\"vcpus\":2,\"disk\":2}}",
           200, NULL);
    admin_token = token;
    member_token = world_user("member", "member");
    manager_token = world_user("manager", "manager");
    reader_token = world_user("reader", "reader");
    token = admin_token;
    action_path = g_strdup_printf("/compute/v2.1/servers/%s/action", server_id);
}

/* ---- pause, suspend -----------------------------------------------------------------------------
 */

static void
test_power(void)
{
    static const struct {
        const char *action;
        VmState from, wrong;
        const char *status, *task;
    } table[] = {
        {"pause", VM_ACTIVE, VM_PAUSED, "ACTIVE", "pausing"},
        {"unpause", VM_PAUSED, VM_ACTIVE, "PAUSED", "unpausing"},
        {"suspend", VM_ACTIVE, VM_SUSPENDED, "ACTIVE", "suspending"},
        {"resume", VM_SUSPENDED, VM_ACTIVE, "SUSPENDED", "resuming"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autofree char *body = g_strdup_printf("{\"%s\":null}", table[i].action);
        g_autofree char *said = g_strdup_printf("Cannot '%s'", table[i].action);

        token = member_token; /* the project's own affair */
        PUT(table[i].wrong);
        act(1, body, 409, said);
        PUT(table[i].from, TASK_MIGRATING);
        act(1, body, 409, "migrating");
        PUT(table[i].from, .locked = true);
        act(1, body, 409, "locked");
        token = reader_token;
        PUT(table[i].from);
        act(1, body, 403, NULL);
        token = member_token;
        act(1, body, 202, NULL);
        act(1, body, 409, table[i].task);
        token = admin_token;
        expect_state(table[i].status, table[i].task);
        expect_action(table[i].action);
    }
}

/* ---- lock ---------------------------------------------------------------------------------------
 */

static void
expect_lock(int microversion, const char *text)
{
    g_autofree char *path = g_strconcat("/compute/v2.1/servers/", server_id, NULL);

    refuse("GET", path, microversion, NULL, 200, text);
}

static void
test_lock(void)
{
    PUT(VM_ACTIVE);
    act(72, "{\"lock\":{\"locked_reason\":\"x\"}}", 202, NULL); /* not looked at there */
    expect_lock(73, "\"locked_reason\":null");
    act(72, "{\"unlock\":null}", 202, NULL);
    act(73, "{\"lock\":{\"locked_reason\":\"\"}}", 400, "locked_reason");
    act(73, "{\"lock\":{\"reason\":\"x\"}}", 400, "reason");
    act(73, "{\"lock\":7}", 400, "lock");
    token = reader_token;
    act(73, "{\"lock\":null}", 403, NULL);

    /* the owner's: he and the administrator lift it */
    token = member_token;
    act(73, "{\"lock\":{\"locked_reason\":\"hands off\"}}", 202, NULL);
    expect_lock(8, "\"status\":\"ACTIVE\"");
    expect_lock(9, "\"locked\":true");
    expect_lock(73, "\"locked_reason\":\"hands off\"");
    expect_action("lock");
    act(1, "{\"os-stop\":null}", 409, "is locked");
    act(73, "{\"unlock\":null}", 202, NULL);
    expect_lock(73, "\"locked_reason\":null");
    expect_action("unlock");
    act(1, "{\"lock\":null}", 202, NULL);
    token = admin_token;
    act(1, "{\"os-stop\":null}", 202, NULL); /* a lock does not hold an administrator */
    PUT(VM_ACTIVE, .locked = true);
    act(1, "{\"unlock\":null}", 202, NULL);
    expect_lock(9, "\"locked\":false");

    /* the administrator's, also one that takes over the owner's */
    token = member_token;
    act(73, "{\"lock\":null}", 202, NULL);
    token = admin_token;
    act(73, "{\"lock\":{\"locked_reason\":\"audit\"}}", 202, NULL);
    token = member_token;
    act(73, "{\"lock\":{\"locked_reason\":\"mine\"}}", 202, NULL);
    expect_lock(73, "\"locked_reason\":\"audit\"");
    act(73, "{\"unlock\":null}", 403, "audit");
    token = manager_token;
    act(73, "{\"unlock\":null}", 403, "administrator");
    token = admin_token;
    act(73, "{\"unlock\":null}", 202, NULL);
    expect_lock(73, "\"locked\":false");
}

/* ---- the state by hand --------------------------------------------------------------------------
 */

static bool
add_task(StoreTx *tx, void *kind, GError **err)
{
    Task task = {.kind = kind,
                 .server_id = server_id,
                 .status = TASK_OPEN,
                 .params = (char *)"{}",
                 .state = (char *)"{}",
                 .request_id = (char *)"",
                 .user_id = (char *)"",
                 .project_id = (char *)"",
                 .created_at = 1,
                 .updated_at = 1};

    return store_insert(tx, &TASK, &task, err);
}

static void
test_reset_state(void)
{
    static const char error_body[] = "{\"os-resetState\":{\"state\":\"error\"}}";
    static const char active_body[] = "{\"os-resetState\":{\"state\":\"active\"}}";
    GError *error = NULL;

    PUT(VM_ACTIVE);
    act(1, "{\"os-resetState\":{\"state\":\"stopped\"}}", 400, "state");
    act(1, "{\"os-resetState\":{}}", 400, "state");
    act(1, "{\"os-resetState\":null}", 400, "os-resetState");
    token = manager_token;
    act(1, error_body, 403, "administrators");
    token = admin_token;
    act(1, error_body, 202, NULL);
    expect_state("ERROR", "");
    act(1, active_body, 202, NULL);
    expect_state("ACTIVE", "");
    /* what a task left behind */
    PUT(VM_ACTIVE, TASK_POWERING_OFF);
    act(1, active_body, 202, NULL);
    expect_state("ACTIVE", "");
    g_assert_true(store_write(store, add_task, (void *)"server-reconcile", &error));
    act(1, error_body, 202, NULL);
    /* what a task still works on */
    g_assert_true(store_write(store, add_task, (void *)"server-stop", &error));
    act(1, active_body, 409, "server-stop");
    expect_state("ERROR", "");
    PUT(VM_RESIZED);
    act(1, active_body, 409, "resize-confirm");
    g_assert_no_error(error);
}

/* ---- resize, cold migration ---------------------------------------------------------------------
 */

static bool
set_min_ram(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Image) image = store_get(tx, &IMAGE, IMAGE_ID, err);

    if (!image)
        return false;
    image->min_ram_mb = *(const int64_t *)opaque;
    return store_update(tx, &IMAGE, image, err);
}

/* What the image asks for holds for another flavor as it did for the first. */
static void
test_resize_below_image(void)
{
    int64_t most = INT64_C(1) << 40, none = 0;

    token = admin_token;
    PUT(VM_ACTIVE);
    g_assert_true(store_write(store, set_min_ram, &most, NULL));
    act(1, "{\"resize\":{\"flavorRef\":\"" SMALL "\"}}", 400, "memory is too small");
    expect_no_migration();
    g_assert_true(store_write(store, set_min_ram, &none, NULL));
}

static void
test_resize_bodies(void)
{
    PUT(VM_ACTIVE);
    act(1, "{\"resize\":null}", 400, "resize");
    act(1, "{\"resize\":{}}", 400, "flavorRef");
    act(1, "{\"resize\":{\"flavorRef\":\"\"}}", 400, "flavorRef");
    act(1, "{\"resize\":{\"flavorRef\":null}}", 400, "flavorRef");
    act(1, "{\"resize\":{\"flavorRef\":\"" SMALL "\",\"colour\":1}}", 400, "colour");
    act(1, "{\"resize\":{\"flavorRef\":\"" SMALL "\",\"OS-DCF:diskConfig\":\"SOME\"}}", 400,
        "diskConfig");
    act(1, "{\"resize\":{\"flavorRef\":\"no-such\"}}", 400, "Flavor no-such could not be found");
    act(1, "{\"resize\":{\"flavorRef\":1}}", 400, "flavor");
    act(1, "{\"resize\":{\"flavorRef\":\"" LESS "\"}}", 400, "disk");
    act(1, "{\"resize\":{\"flavorRef\":\"" BIG "\"}}", 400, "No valid host");
    act(55, "{\"migrate\":{\"host\":\"host2\"}}", 400, "2.56");
    act(56, "{\"migrate\":7}", 400, "migrate");
    act(56, "{\"migrate\":{\"host\":7}}", 400, "host");
    act(56, "{\"migrate\":{\"colour\":1}}", 400, "colour");
    act(56, "{\"migrate\":{\"host\":\"mars\"}}", 400, "mars");
    act(56, "{\"migrate\":{\"host\":\"host1\"}}", 400, "host1");
    refuse("PUT", "/compute/v2.1/os-services/disable", 1,
           "{\"host\":\"host2\",\"binary\":\"nova-compute\"}", 200, "disabled");
    act(56, "{\"migrate\":{\"host\":\"host2\"}}", 400, "disabled");
    act(1, "{\"confirmResize\":null}", 409, "vm_state active");
    act(1, "{\"revertResize\":null}", 409, "vm_state active");
    PUT(VM_ACTIVE, .host1 = HOST_DOWN);
    act(1, "{\"migrate\":null}", 409, "evacuate");
    act(1, "{\"resize\":{\"flavorRef\":\"" SMALL "\"}}", 409, "evacuate");
    PUT(VM_PAUSED);
    act(1, "{\"migrate\":null}", 409, "paused");
    act(1, "{\"resize\":{\"flavorRef\":\"" SMALL "\"}}", 409, "paused");
    PUT(VM_ACTIVE, .locked = true);
    token = manager_token;
    act(1, "{\"migrate\":null}", 409, "locked");
    act(1, "{\"resize\":{\"flavorRef\":\"" SMALL "\"}}", 409, "locked");
    token = member_token;
    act(1, "{\"migrate\":null}", 403, "manager");
    token = manager_token;
    act(56, "{\"migrate\":{\"host\":\"host2\"}}", 403, "administrators");
    token = reader_token;
    act(1, "{\"resize\":{\"flavorRef\":\"" SMALL "\"}}", 403, NULL);
    token = admin_token;
    expect_no_migration();
}

static void
expect_migration(const char *type, const char *status, bool same_flavor)
{
    json_t *row = migration_row();
    const json_t *old = json_object_get(row, "old_instance_type_id"),
                 *new = json_object_get(row, "new_instance_type_id");

    g_assert_cmpstr(json_string_value(json_object_get(row, "migration_type")), ==, type);
    g_assert_cmpstr(json_string_value(json_object_get(row, "status")), ==, status);
    g_assert_true(json_is_integer(old) && json_is_integer(new));
    g_assert_cmpint(json_equal((json_t *)old, (json_t *)new), ==, same_flavor);
    json_decref(row);
}

static void
test_resize(void)
{
    json_t *row;

    token = member_token;
    PUT(VM_STOPPED);
    act(1, "{\"resize\":{\"flavorRef\":\"" SMALL "\",\"OS-DCF:diskConfig\":\"AUTO\"}}", 202, NULL);
    act(1, "{\"resize\":{\"flavorRef\":\"" SMALL "\"}}", 409, "resize_prep");
    act(1, "{\"os-start\":null}", 409, "resize_prep");
    token = admin_token;
    expect_state("RESIZE", "resize_prep");
    expect_action("resize");
    row = migration_row();
    g_assert_cmpint(json_integer_value(json_object_get(row, "old_instance_type_id")), ==, 1);
    g_assert_cmpint(json_integer_value(json_object_get(row, "new_instance_type_id")), ==, 2);
    g_assert_null(json_object_get(row, "links"));
    json_decref(row);
    step_to(MIGRATION_MIGRATING, false);
    expect_migration("resize", "migrating", false);
    refuse("GET", "/compute/v2.1/os-migrations?migration_type=resize", 1, NULL, 200, server_id);
    refuse("GET", "/compute/v2.1/os-migrations?migration_type=migration", 1, NULL, 200, "[]");
    refuse("GET", "/compute/v2.1/os-migrations?status=migrating", 1, NULL, 200, server_id);

    token = manager_token;
    PUT(VM_ACTIVE);
    act(1, "{\"migrate\":null}", 202, NULL);
    token = admin_token;
    expect_state("RESIZE", "resize_prep");
    expect_action("migrate");
    step_to(MIGRATION_FINISHED, false);
    expect_migration("migration", "finished", true);
    PUT(VM_ACTIVE);
    act(56, "{\"migrate\":{\"host\":null}}", 202, NULL);
    PUT(VM_ACTIVE);
    act(92, "{\"migrate\":{\"host\":\"host3\"}}", 202, NULL);
    row = migration_row();
    g_assert_cmpstr(json_string_value(json_object_get(row, "dest_compute")), ==, "host3");
    json_decref(row);
    /* a flavor by its link */
    PUT(VM_ACTIVE);
    act(1, "{\"resize\":{\"flavorRef\":\"http://cloud/compute/flavors/" SMALL "\"}}", 202, NULL);
}

static bool
finish_resize(StoreTx *tx, void *opaque, GError **err)
{
    static const StoreCond all[] = {{"id", STORE_GT, NULL, 0}, {0}};
    StoreQuery query = {.order_by = "id", .descending = true, .limit = 1};
    g_autoptr(GPtrArray) rows = store_list(tx, &MIGRATION, &query, err);
    g_autoptr(Server) server = store_get(tx, &SERVER, server_id, err);

    (void)opaque;
    if (!rows || !server)
        return false;
    Migration *move = g_ptr_array_index(rows, 0);
    move->status = MIGRATION_FINISHED;
    text_set(&move->dest_host, "host2");
    text_set(&server->host, "host2");
    server->vm_state = VM_RESIZED;
    server->task_state = TASK_NONE;
    return store_update(tx, &MIGRATION, move, err) && store_update(tx, &SERVER, server, err) &&
           store_delete_where(tx, &TASK, all, err);
}

static void
resize_finished(void)
{
    GError *error = NULL;

    token = admin_token;
    PUT(VM_ACTIVE);
    act(1, "{\"resize\":{\"flavorRef\":\"" SMALL "\"}}", 202, NULL);
    g_assert_true(store_write(store, finish_resize, NULL, &error));
    g_assert_no_error(error);
}

static void
test_end_resize(void)
{
    resize_finished();
    expect_state("VERIFY_RESIZE", "");
    refuse("GET", "/compute/v2.1/servers?status=VERIFY_RESIZE", 38, NULL, 200, server_id);
    refuse("GET", "/compute/v2.1/servers?status=ACTIVE", 38, NULL, 200, "[]");
    refuse("GET", "/compute/v2.1/os-migrations?status=finished", 92, NULL, 200, "\"resize\"");
    act(25, "{\"os-migrateLive\":{\"host\":null,\"block_migration\":\"auto\"}}", 409, "resized");
    act(1, "{\"os-stop\":null}", 409, "resized");
    token = reader_token;
    act(1, "{\"confirmResize\":null}", 403, NULL);
    token = member_token;
    act(1, "{\"confirmResize\":null}", 204, NULL);
    act(1, "{\"confirmResize\":null}", 409, "task_state");
    act(1, "{\"revertResize\":null}", 409, "task_state");
    token = admin_token;
    expect_action("confirmResize");
    resize_finished();
    token = member_token;
    act(1, "{\"revertResize\":null}", 202, NULL);
    token = admin_token;
    expect_state("REVERT_RESIZE", "resize_reverting");
    refuse("GET", "/compute/v2.1/servers?status=REVERT_RESIZE", 38, NULL, 200, server_id);
    expect_action("revertResize");
}

/* ---- evacuate -----------------------------------------------------------------------------------
 */

static void
test_evacuate_refused(void)
{
    PUT(VM_ACTIVE);
    act(14, "{\"evacuate\":null}", 400, "evacuate");
    act(14, "{\"evacuate\":{}}", 400, "still in use");
    act(14, "{\"evacuate\":{\"host\":\"mars\"}}", 404, "mars");
    act(14, "{\"evacuate\":{\"host\":\"host1\"}}", 400, "same");
    PUT(VM_ACTIVE, .host1 = HOST_DOWN);
    act(13, "{\"evacuate\":{}}", 400, "onSharedStorage");
    act(14, "{\"evacuate\":{\"onSharedStorage\":true}}", 400, "onSharedStorage");
    act(28, "{\"evacuate\":{\"force\":true,\"host\":\"host2\"}}", 400, "force");
    act(68, "{\"evacuate\":{\"force\":true,\"host\":\"host2\"}}", 400, "force");
    act(29, "{\"evacuate\":{\"force\":true}}", 400, "non-provided");
    act(29, "{\"evacuate\":{\"host\":7}}", 400, "host");
    act(13, "{\"evacuate\":{\"onSharedStorage\":true,\"adminPass\":\"x\"}}", 400, "existing disk");
    act(14, "{\"evacuate\":{\"adminPass\":\"x\"}}", 400, "existing disk");
    act(14, "{\"evacuate\":{\"colour\":\"x\"}}", 400, "colour");
    act(14, "{\"evacuate\":{\"host\":\"host1\"}}", 400, "same");
    for (int i = 0; i < 3; i++) {
        token = i == 0 ? reader_token : i == 1 ? member_token : manager_token;
        act(14, "{\"evacuate\":{}}", 403, NULL);
    }
    token = admin_token;
    PUT(VM_RESIZED, .host1 = HOST_DOWN);
    act(14, "{\"evacuate\":{}}", 409, "resized: confirm the resize first");
    expect_no_migration();
}

static void
test_evacuate(void)
{
    static const struct {
        int microversion;
        const char *body, *answer;
    } table[] = {
        {1, "{\"evacuate\":{\"onSharedStorage\":true}}", "{\"adminPass\":null}"},
        {13, "{\"evacuate\":{\"onSharedStorage\":\"False\",\"host\":\"host2\"}}", "adminPass"},
        {14, "{\"evacuate\":{}}", ""},
        {29, "{\"evacuate\":{\"host\":\"host3\",\"force\":false}}", ""},
        {67, "{\"evacuate\":{\"host\":\"host3\",\"force\":true}}", ""},
        {92, "{\"evacuate\":{\"host\":null}}", ""},
        {95, "{\"evacuate\":{}}", ""},
    };

    token = admin_token;
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        PUT(VM_ACTIVE, .host1 = HOST_DOWN);
        act(table[i].microversion, table[i].body, 200, table[i].answer);
        expect_state("REBUILD", "rebuilding");
        expect_action("evacuate");
        expect_migration("evacuation", "accepted", true);
        act(14, "{\"evacuate\":{}}", 409, NULL); /* two at once */
    }
}

/* ---- abort, force-complete ----------------------------------------------------------------------
 */

static void
test_wishes(void)
{
    static const char force[] = "{\"force_complete\":null}";
    g_autofree char *list = g_strdup_printf("/compute/v2.1/servers/%s/migrations", server_id);
    g_autofree char *one = NULL, *one_action = NULL, *other = g_strconcat(list, "/999999", NULL),
                    *other_action = g_strconcat(other, "/action", NULL);

    PUT(VM_ACTIVE);
    start_move();
    step_to(MIGRATION_QUEUED, false);
    one = g_strdup_printf("%s/%" PRId64, list, newest);
    one_action = g_strconcat(one, "/action", NULL);
    refuse("GET", list, 23, NULL, 200, "queued");
    refuse("GET", one, 23, NULL, 200, "queued");
    refuse("DELETE", one, 23, NULL, 404, NULL);
    refuse("DELETE", one, 24, NULL, 400, "2.65");
    refuse("DELETE", other, 24, NULL, 404, "999999");
    refuse("POST", one_action, 21, force, 404, NULL);
    refuse("POST", one_action, 22, force, 400, "queued");
    refuse("POST", other_action, 22, force, 400, "999999");
    refuse("POST", one_action, 22, "{\"force_complete\":{}}", 400, "force_complete");
    refuse("POST", one_action, 22, "{}", 400, "force_complete");
    refuse("POST", one_action, 22, "{\"fly\":null}", 400, "fly");
    token = member_token;
    refuse("DELETE", one, 65, NULL, 403, "manager");
    refuse("POST", one_action, 22, force, 403, "manager");
    token = admin_token;
    act(1, "{\"lock\":null}", 202, NULL);
    token = manager_token;
    refuse("DELETE", one, 65, NULL, 409, "locked");
    refuse("POST", one_action, 22, force, 409, "locked");
    token = admin_token;
    act(1, "{\"unlock\":null}", 202, NULL);
    token = manager_token;
    refuse("DELETE", one, 65, NULL, 202, NULL);
    expect_action("live_migration_cancel");
    token = admin_token;
    refuse("DELETE", one, 65, NULL, 202, NULL); /* again: it is wished already */

    PUT(VM_ACTIVE);
    start_move();
    step_to(MIGRATION_RUNNING, false);
    g_free(one);
    g_free(one_action);
    one = g_strdup_printf("%s/%" PRId64, list, newest);
    one_action = g_strconcat(one, "/action", NULL);
    refuse("POST", one_action, 22, force, 202, NULL);
    expect_action("live_migration_force_complete");
    refuse("DELETE", one, 24, NULL, 202, NULL);
    step_to(MIGRATION_POST_MIGRATING, false);
    refuse("DELETE", one, 92, NULL, 400, "already");
    step_to(MIGRATION_COMPLETED, true);
    refuse("DELETE", one, 92, NULL, 400, "over");
    PUT(VM_ACTIVE);
    refuse("DELETE", one, 92, NULL, 409, "no live migration");
    refuse("POST", one_action, 92, force, 409, "no live migration");
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
    g_test_add_func("/compute-moves/power", test_power);
    g_test_add_func("/compute-moves/lock", test_lock);
    g_test_add_func("/compute-moves/reset-state", test_reset_state);
    g_test_add_func("/compute-moves/resize-bodies", test_resize_bodies);
    g_test_add_func("/compute-moves/resize-below-image", test_resize_below_image);
    g_test_add_func("/compute-moves/resize", test_resize);
    g_test_add_func("/compute-moves/end-resize", test_end_resize);
    g_test_add_func("/compute-moves/evacuate-refused", test_evacuate_refused);
    g_test_add_func("/compute-moves/evacuate", test_evacuate);
    g_test_add_func("/compute-moves/wishes", test_wishes);
    failed = g_test_run();
    world_end();
    return failed;
}
