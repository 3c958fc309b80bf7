/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-godwit-api.c: storage, disks and tasks in Godwit's own API, over HTTP, on a real store and
 * the fake storage; who may ask for what
 *
 * The engine is not started: a flatten that has been asked for stays a row. */
#include "compute-world.h"

#include "block/block.h"

#define SERVER_ID "5a1e0000-0000-4000-8000-000000000001"
#define VOLUME_ID "5a1e0000-0000-4000-8000-000000000002"
#define BROKEN_ID "5a1e0000-0000-4000-8000-000000000003"
#define SNAP_ID   "5a1e0000-0000-4000-8000-000000000004"
#define NOBODY    "5a1e0000-0000-4000-8000-0000000000ff"

static char *admin_token, *reader_token, *project_id;
static Storage storage = {.ops = &block_fake_ops};

/* ---- the world ---------------------------------------------------------------------------------
 */

static bool
add_volume(StoreTx *tx, const char *id, const char *project, VolumeStatus status, int64_t percent,
           const char *fault, GError **err)
{
    Volume volume = {.id = (char *)id,
                     .name = (char *)"data",
                     .project_id = (char *)project,
                     .user_id = (char *)"u",
                     .status = status,
                     .size_gb = 4,
                     .volume_type = (char *)"__DEFAULT__",
                     .image_metadata = (char *)"{}",
                     .metadata = (char *)"{}",
                     .progress_percent = percent,
                     .fault_message = (char *)fault,
                     .created_at = 1,
                     .updated_at = 2};

    return store_insert(tx, &VOLUME, &volume, err);
}

static bool
add_server(StoreTx *tx, GError **err)
{
    Server server = {.id = (char *)SERVER_ID,
                     .name = (char *)"web1",
                     .hostname = (char *)"web1",
                     .project_id = project_id,
                     .user_id = (char *)"u",
                     .vm_state = VM_ACTIVE,
                     .power_state = POWER_RUNNING,
                     .host = (char *)"host1",
                     .flavor_id = (char *)"1",
                     .flavor_name = (char *)"tiny",
                     .vcpus = 1,
                     .ram_mb = 256,
                     .disk_gb = 1,
                     .extra_specs = (char *)"{}",
                     .image_id = (char *)IMAGE_ID,
                     .metadata = (char *)"{}",
                     .tags = (char *)"[]",
                     .security_groups = (char *)"[]",
                     .reservation_id = (char *)"r-1",
                     .number = 1,
                     .console_parts = (char *)"[]",
                     .created_at = 1,
                     .updated_at = 1};
    Attachment attachment = {.id = (char *)NOBODY,
                             .volume_id = (char *)VOLUME_ID,
                             .server_id = (char *)SERVER_ID,
                             .state = ATTACHMENT_ATTACHED,
                             .device = (char *)"vdb",
                             .boot_index = -1,
                             .created_at = 1};
    DiskClient client = {.server_id = (char *)SERVER_ID,
                         .source = (char *)"volumes/volume-" VOLUME_ID,
                         .host = (char *)"host1",
                         .address = (char *)"192.0.2.7:0/3710147553",
                         .created_at = 3};

    return store_insert(tx, &SERVER, &server, err) &&
           store_insert(tx, &ATTACHMENT, &attachment, err) &&
           store_insert(tx, &DISK_CLIENT, &client, err);
}

static bool
add_rows(StoreTx *tx, void *opaque, GError **err)
{
    Snapshot snapshot = {.id = (char *)SNAP_ID,
                         .name = (char *)"before",
                         .volume_id = (char *)VOLUME_ID,
                         .project_id = (char *)"somebody-else",
                         .user_id = (char *)"u",
                         .status = SNAPSHOT_ERROR,
                         .size_gb = 4,
                         .metadata = (char *)"{}",
                         .fault_message = (char *)"the pool is full",
                         .created_at = 1,
                         .updated_at = 1};

    return add_volume(tx, VOLUME_ID, project_id, VOLUME_IN_USE, 40, NULL, err) &&
           add_volume(tx, BROKEN_ID, "somebody-else", VOLUME_ERROR, 0, "the image is gone", err) &&
           add_server(tx, err) && store_insert(tx, &SNAPSHOT, &snapshot, err);
}

static TaskEngine *
make_engine(GError **error)
{
    static LibvirtSettings *settings;
    BlockSettings block_settings = {.path = dir};

    settings = libvirt_settings_new();
    storage.block = storage.ops->open(&block_settings, error);
    g_assert_no_error(*error);
    TaskSettings task_settings = {.libvirt = settings, .worker_limit = 1};
    return task_engine_new(store, NULL, &storage, &task_settings);
}

static void
make_reader(void)
{
    g_autofree char *path = NULL;
    json_t *answer = NULL;
    const char *role = NULL, *user;
    json_t *row;
    size_t i;

    g_assert_cmpint(ask("POST", "/identity/v3/users", 0,
                        "{\"user\":{\"name\":\"reader\",\"password\":\"secret-of-the-reader\"}}",
                        &answer),
                    ==, 201);
    user = json_string_value(json_object_get(json_object_get(answer, "user"), "id"));
    json_t *roles = get("/identity/v3/roles", 0);
    json_array_foreach(json_object_get(roles, "roles"), i, row)
    {
        if (g_str_equal(json_string_value(json_object_get(row, "name")), "reader"))
            role = json_string_value(json_object_get(row, "id"));
    }
    path = g_strdup_printf("/identity/v3/projects/%s/users/%s/roles/%s", project_id, user, role);
    g_assert_cmpint(ask("PUT", path, 0, NULL, NULL), ==, 204);
    json_decref(answer);
    json_decref(roles);
    reader_token = login("reader", "secret-of-the-reader");
}

static void
find_project(void)
{
    json_t *answer = get("/identity/v3/projects?name=admin", 0);

    project_id = g_strdup(json_string_value(
        json_object_get(json_array_get(json_object_get(answer, "projects"), 0), "id")));
    g_assert_nonnull(project_id);
    json_decref(answer);
}

static void
begin(void)
{
    GError *error = NULL;
    AuthSettings auth_settings = {.token_lifetime_s = 3600, .attempts_per_minute = 10};
    static LibvirtSettings *settings;
    size_t n_tables;

    g_assert_nonnull(g_mkdtemp(dir));
    g_autofree char *path = g_build_filename(dir, "state.db", NULL);
    store = store_open(path, &error);
    g_assert_no_error(error);
    Auth *auth = auth_new(store, &auth_settings);
    g_assert_true(auth_bootstrap(auth, "secret-of-the-test", &error));
    g_assert_true(store_write(store, fill, NULL, &error));
    settings = libvirt_settings_new();
    ApiConfig config = {.store = store,
                        .auth = auth,
                        .tasks = make_engine(&error),
                        .libvirt = settings,
                        .public_url = "https://cloud.example:8774",
                        .region = "RegionOne",
                        .cpu_ratio = 16,
                        .ram_ratio = 1.5};
    Api *api = api_new(&config);
    HttpConfig http = {
        .address = "127.0.0.1", .on_error = api_on_error, .on_done = api_on_done, .context = api};
    const HttpRoute *const *tables = api_routes(api, &n_tables);
    HttpServer *server = http_server_start(&http, tables, n_tables, &error);
    g_assert_no_error(error);
    base_url = g_strdup_printf("http://127.0.0.1:%u", http_server_port(server));
    token = admin_token = login("admin", "secret-of-the-test");
    find_project();
    make_reader();
    token = admin_token;
    g_assert_true(store_write(store, add_rows, NULL, &error));
    g_assert_no_error(error);
}

/* ---- shorthands -------------------------------------------------------------------------------
 */

/* The value under "a/b/0" as compact JSON. */
static char *
pick(const json_t *answer, const char *path)
{
    g_auto(GStrv) keys = g_strsplit(path, "/", -1);

    for (size_t i = 0; keys[i]; i++)
        answer = json_is_array(answer) ? json_array_get(answer, (size_t)atoi(keys[i]))
                                       : json_object_get(answer, keys[i]);
    return answer ? json_dumps(answer, JSON_ENCODE_ANY | JSON_COMPACT) : g_strdup("absent");
}

static void
expect(const json_t *answer, const char *path, const char *value)
{
    g_autofree char *found = pick(answer, path);

    if (strcmp(found, value) != 0)
        g_error("%s is %s, not %s", path, found, value);
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void
test_storage(void)
{
    json_t *answer;
    GError *error = NULL;

    answer = get("/godwit/v1/storage", 0);
    expect(answer, "storage/driver", "\"fake\"");
    expect(answer, "storage/pools/0/purpose", "\"images\"");
    expect(answer, "storage/pools/1/purpose", "\"instances\"");
    expect(answer, "storage/pools/2/purpose", "\"volumes\"");
    expect(answer, "storage/pools/2/things", "0");
    expect(answer, "storage/pools/3", "absent");
    expect(answer, "storage/orphans/swept_at", "0");
    json_decref(answer);
    answer = get("/godwit/v1/storage/volumes", 0);
    expect(answer, "pool/purpose", "\"volumes\"");
    expect(answer, "pool/driver", "\"fake\"");
    json_decref(answer);
    refuse("GET", "/godwit/v1/storage/nothing", 0, NULL, 404, "images, instances and volumes");
    refuse("DELETE", "/godwit/v1/storage/volumes", 0, NULL, 405, NULL);
    refuse("POST", "/godwit/v1/storage/rotate-key", 0, NULL, 400, "has no key");

    /* One that no record knows is counted and named, and stays. */
    const BlockVolumeSource empty = {.origin = BLOCK_EMPTY};
    g_assert_true(storage_volume_create(&storage, NOBODY, &empty, 1 << 20, NULL, NULL, &error));
    g_assert_no_error(error);
    refuse("POST", "/godwit/v1/storage/sweep", 0, NULL, 200,
           "{\"removed\":0,\"foreign\":1,\"foreign_names\":[\"volumes/" NOBODY "\"]}");
    answer = get("/godwit/v1/storage", 0);
    expect(answer, "storage/pools/2/things", "1");
    expect(answer, "storage/orphans/foreign", "1");
    json_decref(answer);
}

static void
test_disks(void)
{
    json_t *answer = get("/godwit/v1/servers/" SERVER_ID, 0);

    expect(answer, "server/name", "\"web1\"");
    expect(answer, "server/host", "\"host1\"");
    expect(answer, "server/volumes/0/volume_id", "\"" VOLUME_ID "\"");
    expect(answer, "server/volumes/0/device", "\"vdb\"");
    expect(answer, "server/volumes/0/state", "\"attached\"");
    expect(answer, "server/volumes/0/size_gb", "4");
    expect(answer, "server/volumes/1", "absent");
    expect(answer, "server/disk_clients/0/address", "\"192.0.2.7:0/3710147553\"");
    expect(answer, "server/disk_clients/0/host", "\"host1\"");
    json_decref(answer);
    refuse("GET", "/godwit/v1/servers/" NOBODY, 0, NULL, 404, "could not be found");

    answer = get("/godwit/v1/volumes/" VOLUME_ID, 0);
    expect(answer, "volume/status", "\"in-use\"");
    expect(answer, "volume/progress_percent", "40");
    expect(answer, "volume/fault_message", "null");
    expect(answer, "volume/attachments/0/server_name", "\"web1\"");
    json_decref(answer);
    answer = get("/godwit/v1/volumes/" BROKEN_ID, 0);
    expect(answer, "volume/fault_message", "\"the image is gone\"");
    expect(answer, "volume/attachments", "[]");
    json_decref(answer);
    answer = get("/godwit/v1/snapshots/" SNAP_ID, 0);
    expect(answer, "snapshot/status", "\"error\"");
    expect(answer, "snapshot/fault_message", "\"the pool is full\"");
    json_decref(answer);
    refuse("GET", "/godwit/v1/volumes/x", 0, NULL, 404, "could not be found");
    refuse("GET", "/godwit/v1/snapshots/x", 0, NULL, 404, "could not be found");
}

#define HOST_BODY(uri) \
    "{\"host\":{\"name\":\"host7\",\"address\":\"10.0.0.7\",\"uri\":\"" uri "\"}}"

/* The hosts of this world were put into the store by hand. */
static bool
use_numbers(StoreTx *tx, void *opaque, GError **err)
{
    int64_t number = 0;

    while (number < 9)
        if (!store_next_number(tx, "host", &number, err))
            return false;
    return true;
}

static void
test_hosts(void)
{
    json_t *answer;

    g_assert_true(store_write(store, use_numbers, NULL, NULL));
    refuse("POST", "/godwit/v1/hosts", 0, HOST_BODY("qemu+ext://h7/system?command=/bin/evil"), 400,
           "'uri' must be");
    refuse("POST", "/godwit/v1/hosts", 0,
           HOST_BODY("qemu+ssh://h7/system?keyfile=/k;command=/bin/evil"), 400, "may not carry");
    refuse("POST", "/godwit/v1/hosts", 0, HOST_BODY("qemu+tcp://h7/system"), 201,
           "\"encryption\":\"plaintext\"");
    answer = get("/godwit/v1/status", 0);
    expect(answer, "status/plaintext_hosts", "[\"host1\",\"host2\",\"host3\",\"host7\"]");
    expect(answer, "status/node_encryption", "\"plaintext\"");
    expect(answer, "status/memory_encryption", "\"plaintext\"");
    expect(answer, "status/encryption_required", "false");
    json_decref(answer);

    /* prepared anew, for TLS */
    refuse("PUT", "/godwit/v1/hosts/host7", 0,
           "{\"host\":{\"uri\":\"qemu+tls://h7/system?netcat=/bin/evil\"}}", 400, "may not carry");
    refuse("PUT", "/godwit/v1/hosts/host7", 0, "{\"host\":{\"address\":\"h7\"}}", 400, "numeric");
    /* by another name, and back */
    refuse("PUT", "/godwit/v1/hosts/host7", 0, "{\"host\":{\"name\":\"-8\"}}", 400, "name");
    refuse("PUT", "/godwit/v1/hosts/host7", 0, "{\"host\":{\"name\":\"host1\"}}", 409, "host1");
    refuse("PUT", "/godwit/v1/hosts/host7", 0, "{\"host\":{\"name\":\"host8\"}}", 200, "host8");
    refuse("GET", "/godwit/v1/hosts/host7", 0, NULL, 404, "not known");
    refuse("PUT", "/godwit/v1/hosts/host8", 0, "{\"host\":{\"name\":\"host7\"}}", 200, "host7");
    refuse("PUT", "/godwit/v1/hosts/host9", 0, "{\"host\":{\"address\":\"10.0.0.9\"}}", 404,
           "not known");
    refuse("PUT", "/godwit/v1/hosts/host7", 0,
           "{\"host\":{\"uri\":\"qemu+tls://h7/system\",\"migration_address\":\"10.1.0.7\"}}", 200,
           "\"memory_encryption\":\"tls\"");
    answer = get("/godwit/v1/hosts/host7", 0);
    expect(answer, "host/encryption", "\"tls\"");
    expect(answer, "host/uri", "\"qemu+tls://h7/system\"");
    expect(answer, "host/address", "\"10.0.0.7\"");
    expect(answer, "host/migration_address", "\"10.1.0.7\"");
    expect(answer, "host/state", "\"unknown\"");
    expect(answer, "host/enabled", "true");
    json_decref(answer);
    answer = get("/godwit/v1/status", 0);
    expect(answer, "status/plaintext_hosts", "[\"host1\",\"host2\",\"host3\"]");
    expect(answer, "status/node_encryption", "\"mixed\"");
    expect(answer, "status/memory_encryption", "\"mixed\"");
    json_decref(answer);
    refuse("DELETE", "/godwit/v1/hosts/host7", 0, NULL, 204, NULL);
}

static bool
set_progress(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Task) task = store_get_int(tx, &TASK, *(int64_t *)opaque, err);

    if (!task)
        return false;
    text_set(&task->state, "{\"done\":1024,\"total\":4096,\"other\":\"x\"}");
    return store_update(tx, &TASK, task, err);
}

static void
test_flatten(void)
{
    json_t *answer = NULL;
    GError *error = NULL;

    g_assert_cmpint(ask("POST", "/godwit/v1/volumes/" VOLUME_ID "/flatten", 0, NULL, &answer), ==,
                    202);
    int64_t id = json_integer_value(json_object_get(json_object_get(answer, "task"), "id"));
    g_autofree char *path = g_strdup_printf("/godwit/v1/tasks/%" G_GINT64_FORMAT, id);

    g_assert_cmpint(id, >, 0);
    json_decref(answer);
    refuse("POST", "/godwit/v1/volumes/" VOLUME_ID "/flatten", 0, NULL, 409, "already");
    refuse("POST", "/godwit/v1/volumes/" BROKEN_ID "/flatten", 0, NULL, 409, "error");
    refuse("POST", "/godwit/v1/volumes/" NOBODY "/flatten", 0, NULL, 404, "could not be found");
    refuse("POST", "/godwit/v1/servers/" NOBODY "/flatten", 0, NULL, 404, "could not be found");
    refuse("POST", "/godwit/v1/servers/" SERVER_ID "/flatten", 0, NULL, 202, "\"task\"");

    answer = get(path, 0);
    expect(answer, "task/kind", "\"volume-flatten\"");
    expect(answer, "task/volume_id", "\"" VOLUME_ID "\"");
    expect(answer, "task/server_id", "null");
    expect(answer, "task/total", "null");
    json_decref(answer);
    g_assert_true(store_write(store, set_progress, &id, &error));
    answer = get(path, 0);
    expect(answer, "task/done", "1024");
    expect(answer, "task/total", "4096");
    json_decref(answer);

    answer = get("/godwit/v1/tasks?open=1&volume=" VOLUME_ID, 0);
    expect(answer, "tasks/0/volume_id", "\"" VOLUME_ID "\"");
    expect(answer, "tasks/1", "absent");
    json_decref(answer);
    answer = get("/godwit/v1/tasks?server=" SERVER_ID, 0);
    expect(answer, "tasks/0/kind", "\"server-flatten\"");
    json_decref(answer);
    refuse("GET", "/godwit/v1/tasks/0", 0, NULL, 404, "could not be found");
    refuse("GET", "/godwit/v1/tasks/one", 0, NULL, 404, "could not be found");
    refuse("GET", "/godwit/v1/tasks/999999", 0, NULL, 404, "could not be found");
}

/* What is of all projects, or touches the storage, is the administrator's. */
static void
test_policy(void)
{
    static const char *const admins[][2] = {
        {"GET", "storage"},
        {"GET", "storage/volumes"},
        {"POST", "storage/rotate-key"},
        {"POST", "storage/sweep"},
        {"GET", "servers/" SERVER_ID},
        {"POST", "servers/" SERVER_ID "/flatten"},
        {"POST", "volumes/" VOLUME_ID "/flatten"},
        {"GET", "tasks"},
        {"GET", "tasks/1"},
    };

    token = reader_token;
    for (size_t i = 0; i < G_N_ELEMENTS(admins); i++) {
        g_autofree char *path = g_strconcat("/godwit/v1/", admins[i][1], NULL);
        refuse(admins[i][0], path, 0, NULL, 403, NULL);
    }
    json_decref(get("/godwit/v1/volumes/" VOLUME_ID, 0));
    refuse("GET", "/godwit/v1/volumes/" BROKEN_ID, 0, NULL, 404, "could not be found");
    refuse("GET", "/godwit/v1/snapshots/" SNAP_ID, 0, NULL, 404, "could not be found");
    token = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(admins); i++) {
        g_autofree char *path = g_strconcat("/godwit/v1/", admins[i][1], NULL);
        refuse(admins[i][0], path, 0, NULL, 401, NULL);
    }
    token = admin_token;
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    begin();
    g_test_add_func("/godwit-api/storage", test_storage);
    g_test_add_func("/godwit-api/disks", test_disks);
    g_test_add_func("/godwit-api/hosts", test_hosts);
    g_test_add_func("/godwit-api/flatten", test_flatten);
    g_test_add_func("/godwit-api/policy", test_policy);
    int failed = g_test_run();
    world_end();
    return failed;
}
