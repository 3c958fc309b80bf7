/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-world.h: the compute service over HTTP, on a real store: keys and bodies at every
 * microversion
 *
 * No task runs here: what is asked for stays asked for, and that is what is looked at. */
#pragma once

#include <curl/curl.h>
#include <jansson.h>
#include <string.h>

#include "api/api.h"
#include "block/block.h"

typedef struct Key { /* a member of an answer and the microversions that have it */
    const char *name;
    int since, until;
} Key;

static Store *store;
static char *base_url, *token, *server_id;
static char dir[] = "/tmp/godwit-test-XXXXXX";

/* ---- asking
 * ---------------------------------------------------------------------------------------- */

static inline size_t
collect(char *data, size_t size, size_t n, void *opaque)
{
    g_string_append_len(opaque, data, (gssize)(size * n));
    return size * n;
}

static char *wanted_header, *found_header;

static inline size_t
collect_header(char *data, size_t size, size_t n, void *opaque)
{
    g_autofree char *line = g_strndup(data, size * n);
    (void)opaque;

    if (wanted_header && g_ascii_strncasecmp(line, wanted_header, strlen(wanted_header)) == 0) {
        g_free(found_header);
        found_header = g_strstrip(g_strdup(line + strlen(wanted_header) + 1));
    }
    return size * n;
}

static inline int
ask(const char *method, const char *path, int microversion, const char *body, json_t **answer)
{
    CURL *curl = curl_easy_init();
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *url = g_strconcat(base_url, path, NULL);
    g_autofree char *auth = g_strconcat("X-Auth-Token: ", token ? token : "", NULL);
    g_autofree char *version =
        g_strdup_printf(g_str_has_prefix(path, "/volume") ? "OpenStack-API-Version: volume 3.%d"
                                                          : "X-OpenStack-Nova-API-Version: 2.%d",
                        microversion);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    long status = 0;

    headers = curl_slist_append(headers, auth);
    if (microversion > 0)
        headers = curl_slist_append(headers, version);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, text);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, collect_header);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
    if (body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    g_assert_cmpint(curl_easy_perform(curl), ==, CURLE_OK);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    if (answer)
        *answer = json_loads(text->str, 0, NULL);
    return (int)status;
}

static inline json_t *
get(const char *path, int microversion)
{
    json_t *answer = NULL;
    int status = ask("GET", path, microversion, NULL, &answer);

    if (status != 200) {
        g_autofree char *text = answer ? json_dumps(answer, 0) : NULL;
        g_error("GET %s at 2.%d: %d %s", path, microversion, status, text);
    }
    return answer;
}

/* One attempt that must end with status and, if message is given, name it. */
static inline void
refuse(const char *method, const char *path, int microversion, const char *body, int status,
       const char *message)
{
    json_t *answer = NULL;
    int got = ask(method, path, microversion, body, &answer);
    g_autofree char *text = answer ? json_dumps(answer, JSON_COMPACT) : g_strdup("");

    if (got != status || (message && !strstr(text, message)))
        g_error("%s %s at 2.%d with %.300s: got %d %s, expected %d with '%s'", method, path,
                microversion, body ? body : "", got, text, status, message ? message : "");
    json_decref(answer);
}

/* The object has exactly the keys of the table that this microversion has. */
static inline void
expect_keys(const json_t *object, const Key *keys, int microversion, const char *what)
{
    size_t expected = 0;
    const char *name;
    json_t *value;

    g_assert_true(json_is_object(object));
    for (const Key *key = keys; key->name; key++) {
        bool there = (key->since == 0 || microversion >= key->since) &&
                     (key->until == 0 || microversion <= key->until);
        expected += there;
        if (there != (json_object_get(object, key->name) != NULL))
            g_error("%s at 2.%d: '%s' is %s", what, microversion, key->name,
                    there ? "missing" : "there");
    }
    if (json_object_size(object) != expected) {
        json_object_foreach((json_t *)object, name, value)
        {
            bool known = false;
            for (const Key *key = keys; key->name; key++)
                known |= strcmp(key->name, name) == 0;
            if (!known)
                g_error("%s at 2.%d: '%s' is unknown", what, microversion, name);
        }
    }
}

/* ---- the world
 * ---------------------------------------------------------------------------------------- */

static inline bool
fill(StoreTx *tx, void *opaque, GError **err)
{
    (void)opaque;
    for (int i = 1; i <= 3; i++) {
        g_autofree char *name = g_strdup_printf("host%d", i), *id = uuid_new(), *sid = uuid_new();
        g_autofree char *uri = g_strdup_printf("qemu+tcp://%s/system", name);
        Host host = {.id = id,
                     .name = name,
                     .service_id = sid,
                     .number = i,
                     .uri = uri,
                     .address = (char *)"10.88.0.1",
                     .enabled = true,
                     .state = HOST_UP,
                     .vcpus = 2,
                     .memory_mb = 4096,
                     .disk_gb = 50,
                     .disk_free_gb = 40,
                     .cpu_info = (char *)"{\"arch\":\"x86_64\"}",
                     .cpu_models = (char *)"[]",
                     .virt_type = (char *)"qemu",
                     .qemu_version = 7002000,
                     .encryption = (char *)"plaintext",
                     .storage_visible = true,
                     .started_at = clock_realtime() - 3600 * USEC_PER_SEC,
                     .facts_at = clock_realtime(),
                     .created_at = clock_realtime()};
        if (!store_insert(tx, &HOST, &host, err))
            return false;
    }
    Image image = {.id = (char *)"11111111-2222-4333-8444-555555555555",
                   .name = (char *)"guest",
                   .status = IMAGE_ACTIVE,
                   .disk_format = (char *)"qcow2",
                   .container_format = (char *)"bare",
                   .visibility = (char *)"public",
                   .owner = (char *)"nobody",
                   .size = 1,
                   .virtual_size = 1 << 20,
                   .properties = (char *)"{}",
                   .tags = (char *)"[]",
                   .created_at = 1};
    Image large = image;
    large.id = (char *)"11111111-2222-4333-8444-666666666666";
    large.virtual_size = INT64_C(5) << 30;
    Image hungry = image;
    hungry.id = (char *)"11111111-2222-4333-8444-777777777777";
    hungry.min_ram_mb = 4096;
    Image queued = image;
    queued.id = (char *)"11111111-2222-4333-8444-888888888888";
    queued.status = IMAGE_QUEUED;
    return store_insert(tx, &IMAGE, &image, err) && store_insert(tx, &IMAGE, &large, err) &&
           store_insert(tx, &IMAGE, &hungry, err) && store_insert(tx, &IMAGE, &queued, err);
}

#define IMAGE_ID "11111111-2222-4333-8444-555555555555"

/* A token of the user in project admin. */
static inline char *
login(const char *user, const char *password)
{
    g_autofree char *body = g_strdup_printf(
        "{\"auth\":{\"identity\":{\"methods\":[\"password\"],\"password\":{\"user\":{\"name\":\"%"
        "s\","
        "\"domain\":{\"name\":\"Default\"},\"password\":\"%s\"}}},\"scope\":{\"project\":{"
        "\"name\":\"admin\",\"domain\":{\"name\":\"Default\"}}}}}",
        user, password);

    g_free(wanted_header);
    wanted_header = g_strdup("X-Subject-Token");
    g_clear_pointer(&found_header, g_free);
    g_assert_cmpint(ask("POST", "/identity/v3/auth/tokens", 0, body, NULL), ==, 201);
    g_assert_nonnull(found_header);
    return g_steal_pointer(&found_header);
}

/* An engine that is not started: what is asked for stays a row. */
static inline TaskEngine *
world_engine(LibvirtSettings *settings)
{
    static Storage storage = {.ops = &block_fake_ops};
    static TaskSettings task_settings = {.cpu_ratio = 16, .ram_ratio = 1.5, .worker_limit = 1};
    BlockSettings block_settings = {.path = dir};
    GError *error = NULL;

    task_settings.libvirt = settings;
    storage.block = storage.ops->open(&block_settings, &error);
    g_assert_no_error(error);
    return task_engine_new(store, NULL, &storage, &task_settings);
}

static inline void
world_begin(void)
{
    static LibvirtSettings *settings;
    GError *error = NULL;
    g_autofree char *path = NULL;
    AuthSettings auth_settings = {.token_lifetime_s = 3600, .attempts_per_minute = 10};
    size_t n_tables;

    g_assert_nonnull(g_mkdtemp(dir));
    path = g_build_filename(dir, "state.db", NULL);
    store = store_open(path, &error);
    g_assert_no_error(error);
    Auth *auth = auth_new(store, &auth_settings);
    g_assert_true(auth_bootstrap(auth, "secret-of-the-test", &error));
    g_assert_true(store_write(store, fill, NULL, &error));
    g_assert_no_error(error);
    settings = libvirt_settings_new();
    text_set(&settings->virt_type, "qemu");
    ApiConfig config = {.store = store,
                        .auth = auth,
                        .tasks = world_engine(settings),
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

    token = login("admin", "secret-of-the-test");
    g_assert_nonnull(token);
    refuse("POST", "/compute/v2.1/flavors", 61,
           "{\"flavor\":{\"name\":\"tiny\",\"id\":\"1\",\"ram\":256,\"vcpus\":1,\"disk\":1}}", 200,
           "extra_specs");
}

/* A user with one role on project admin, and a token of his. */
static inline char *
world_user(const char *name, const char *role)
{
    g_autofree char *body =
        g_strdup_printf("{\"user\":{\"name\":\"%s\",\"password\":\"secret-of-the-user\"}}", name);
    json_t *users = NULL, *roles = get("/identity/v3/roles", 0),
           *projects = get("/identity/v3/projects?name=admin", 0);
    const char *role_id = NULL;
    json_t *row;
    size_t i;

    g_assert_cmpint(ask("POST", "/identity/v3/users", 0, body, &users), ==, 201);
    json_array_foreach(json_object_get(roles, "roles"), i, row)
    {
        if (g_str_equal(json_string_value(json_object_get(row, "name")), role))
            role_id = json_string_value(json_object_get(row, "id"));
    }
    row = json_array_get(json_object_get(projects, "projects"), 0);
    g_autofree char *path = g_strdup_printf(
        "/identity/v3/projects/%s/users/%s/roles/%s", json_string_value(json_object_get(row, "id")),
        json_string_value(json_object_get(json_object_get(users, "user"), "id")), role_id);
    g_assert_cmpint(ask("PUT", path, 0, NULL, NULL), ==, 204);
    json_decref(users);
    json_decref(roles);
    json_decref(projects);
    return login(name, "secret-of-the-user");
}

/* ---- the first server, on host1 ------------------------------------------------------------ */

static const char create_text[] = "{\"server\":{\"name\":\"one\",\"imageRef\":\"" IMAGE_ID
                                  "\",\"flavorRef\":\"1\",\"networks\":\"none\"}}";

static inline bool
make_active(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Server) server = store_get(tx, &SERVER, opaque, err);

    if (!server)
        return false;
    server->vm_state = VM_ACTIVE;
    server->task_state = TASK_NONE;
    server->power_state = POWER_RUNNING;
    server->launched_at = clock_realtime();
    text_set(&server->host, "host1");
    return store_update(tx, &SERVER, server, err);
}

static inline void
test_create(void)
{
    json_t *answer = NULL, *server;
    const json_t *row;
    GError *error = NULL;

    g_free(wanted_header);
    wanted_header = g_strdup("Location");
    g_assert_cmpint(ask("POST", "/compute/v2.1/servers", 37, create_text, &answer), ==, 202);
    server = json_object_get(answer, "server");
    static const Key keys[] = {
        {"id"}, {"links"}, {"adminPass"}, {"OS-DCF:diskConfig"}, {"security_groups"}, {0}};
    expect_keys(server, keys, 37, "create");
    server_id = g_strdup(json_string_value(json_object_get(server, "id")));
    g_assert_nonnull(found_header);
    g_assert_true(g_str_has_suffix(found_header, server_id));
    json_decref(answer);

    answer = get("/compute/v2.1/servers/detail", 92);
    row = json_array_get(json_object_get(answer, "servers"), 0);
    g_assert_cmpstr(json_string_value(json_object_get(row, "status")), ==, "BUILD");
    g_assert_cmpstr(json_string_value(json_object_get(row, "OS-EXT-STS:task_state")), ==,
                    "scheduling");
    json_decref(answer);
    g_assert_true(store_write(store, make_active, server_id, &error));
    g_assert_no_error(error);
}

static inline void
world_end(void)
{
    const char *const argv[] = {"rm", "-rf", dir, NULL};

    process_run(argv, clock_monotonic() + 10 * USEC_PER_SEC, NULL, NULL);
}

/* Accept a move of the server to host2; it stays under way. */
static inline void
start_move(void)
{
    g_autofree char *path = g_strdup_printf("/compute/v2.1/servers/%s/action", server_id);

    g_free(wanted_header);
    wanted_header = g_strdup("X-Godwit-Migration");
    g_clear_pointer(&found_header, g_free);
    refuse("POST", path, 30,
           "{\"os-migrateLive\":{\"host\":\"host2\",\"block_migration\":\"auto\"}}", 202, NULL);
    g_assert_nonnull(found_header);
}
