/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-cli.c: the godwit command below main(): arguments, configuration, output, and the client
 * against a small API */
#include "cli/cli.h"
#include "http/http.h"

#include <glib/gstdio.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* ---- arguments --------------------------------------------------------------------------------
 */

static const CliOption options[] = {
    {"wait", CLI_FLAG, NULL, ""},
    {"host", CLI_TEXT, "HOST", ""},
    {"network", CLI_LIST, "NET", ""},
    {"mtu", CLI_TEXT, "N", ""},
    {0},
};
static const CliOption *const tables[] = {options, NULL};

static CliArgs *
parse(const char *line, GError **err)
{
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    CliArgs *args = args_new();
    unsigned used;

    if (!args_parse(args, argv, *line ? g_strv_length(argv) : 0, tables, false, &used, err)) {
        args_free(args);
        return NULL;
    }
    return args;
}

static void
test_args(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CliArgs) args =
        parse("web1 --host=h2 --network a --wait --network b --mtu 1400 -- --x", &error);
    int64_t mtu = 1500;

    g_assert_no_error(error);
    g_assert_cmpstr(args_word(args, 0), ==, "web1");
    g_assert_cmpstr(args_word(args, 1), ==, "--x");
    g_assert_null(args_word(args, 2));
    g_assert_cmpstr(args_text(args, "host"), ==, "h2");
    g_assert_true(args_flag(args, "wait"));
    g_assert_cmpuint(args_list(args, "network")->len, ==, 2);
    g_assert_true(args_int(args, "mtu", 576, 65535, &mtu, &error));
    g_assert_cmpint(mtu, ==, 1400);
    g_assert_false(args_int(args, "mtu", 9000, 65535, &mtu, &error));
    g_assert_true(is_usage_error(error));
    g_clear_error(&error);

    static const char *const wrong[] = {"--nothing",         "--host",          "--wait=1",    "-x",
                                        "--host a --host b", "--os-password x", "--os-token=x"};
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_assert_null(parse(wrong[i], &error));
        g_assert_true(is_usage_error(error));
        g_clear_error(&error);
    }
}

/* ---- configuration ----------------------------------------------------------------------------
 */

static char *scratch;

static void
write_file(const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(scratch, name, NULL);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void
clear_environment(void)
{
    g_auto(GStrv) names = g_listenv();

    for (unsigned i = 0; names[i]; i++) {
        if (g_str_has_prefix(names[i], "OS_"))
            g_unsetenv(names[i]);
    }
}

static CloudConfig *
load(const char *line, GError **err)
{
    const CliOption *const cloud_tables[] = {cloud_options, NULL};
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    g_autoptr(CliArgs) args = args_new();
    unsigned used;

    g_assert_true(
        args_parse(args, argv, *line ? g_strv_length(argv) : 0, cloud_tables, false, &used, NULL));
    return cloud_config_load(args, err);
}

static void
test_clouds(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *old = g_get_current_dir();

    clear_environment();
    g_assert_cmpint(chdir(scratch), ==, 0);
    g_assert_null(load("", &error));
    g_assert_nonnull(strstr(error->message, "OS_AUTH_URL"));
    g_clear_error(&error);

    g_setenv("OS_AUTH_URL", "https://a/identity", true);
    g_setenv("OS_USERNAME", "admin", true);
    g_assert_null(load("", &error));
    g_assert_nonnull(strstr(error->message, "OS_PASSWORD"));
    g_clear_error(&error);

    g_setenv("OS_PASSWORD", "secret", true);
    g_setenv("OS_REGION_NAME", "", true); /* empty is as good as unset */
    {
        g_autoptr(CloudConfig) config = load("--os-username operator", &error);
        g_assert_no_error(error);
        g_assert_cmpstr(config->values[CLOUD_USERNAME], ==, "operator");
        g_assert_cmpstr(config->values[CLOUD_PASSWORD], ==, "secret");
        g_assert_null(config->values[CLOUD_REGION_NAME]);
    }

    clear_environment();
    g_assert_null(load("--os-cloud lab", &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
    g_clear_error(&error);
    write_file("clouds.yaml", "clouds:\n"
                              "  lab:\n"
                              "    auth: {auth_url: 'https://b/identity', username: admin,\n"
                              "           project_name: admin, user_domain_name: Default}\n"
                              "    region_name: RegionOne\n"
                              "    cacert: /etc/ca.pem\n"
                              "    identity_api_version: 3\n"
                              "  loose:\n"
                              "    verify: false\n"
                              "    auth: {auth_url: https://c, username: x, password: y}\n");
    write_file("secure.yaml", "clouds: {lab: {auth: {password: \"p w\"}}}\n");
    g_setenv("OS_CLOUD", "lab", true);
    {
        g_autoptr(CloudConfig) config = load("", &error);
        g_assert_no_error(error);
        g_assert_cmpstr(config->values[CLOUD_AUTH_URL], ==, "https://b/identity");
        g_assert_cmpstr(config->values[CLOUD_PASSWORD], ==, "p w");
        g_assert_cmpstr(config->values[CLOUD_REGION_NAME], ==, "RegionOne");
        g_assert_cmpstr(config->values[CLOUD_CACERT], ==, "/etc/ca.pem");
    }
    g_setenv("OS_PROJECT_NAME", "other", true); /* the environment goes before the file */
    {
        g_autoptr(CloudConfig) config = load("", &error);
        g_assert_cmpstr(config->values[CLOUD_PROJECT_NAME], ==, "other");
    }
    g_assert_null(load("--os-cloud loose", &error));
    g_assert_nonnull(strstr(error->message, "verify"));
    g_clear_error(&error);
    g_assert_null(load("--os-cloud none", &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
    g_clear_error(&error);
    write_file("clouds.yaml", "clouds: [lab: {\n");
    g_assert_null(load("--os-cloud lab", &error));
    g_assert_nonnull(strstr(error->message, "line"));
    g_clear_error(&error);
    write_file("clouds.yaml", "just text\n");
    g_assert_null(load("--os-cloud lab", &error));
    clear_environment();
    g_assert_cmpint(chdir(old), ==, 0);
}

/* ---- output -----------------------------------------------------------------------------------
 */

static json_t *
json(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);

    g_assert_nonnull(value);
    return value;
}

static void
test_table(void)
{
    static const Column columns[] = {
        {"name", "name"}, {"size", "size", CELL_BYTES}, {"sub", "a/b"}, {"on", "on"}, {0}};
    g_autoptr(json_t) rows =
        json("[{\"name\": \"ä\", \"size\": 1536, \"a\": {\"b\": [1, \"x\"]}, \"on\": true},"
             " {\"name\": \"evil\\u001b[31m\\n\", \"size\": null, \"on\": false}]");
    g_autofree char *text = table_format(rows, columns);
    g_autoptr(json_t) none = json("[]");
    g_autofree char *empty = table_format(none, columns);

    g_assert_cmpstr(text, ==,
                    "NAME        SIZE     SUB   ON\n"
                    "ä           1.5 KiB  1, x  yes\n"
                    "evil?[31m   -        -     no\n");
    g_assert_cmpstr(empty, ==, "NAME  SIZE  SUB  ON\n");
}

static void
test_fields(void)
{
    g_autoptr(json_t) object = json("{\"id\": 7, \"created_at\": 1795405529000000, \"ended_at\": "
                                    "0, \"memory_total\": 268435456,"
                                    " \"memory_mb\": 512, \"addresses\": {\"lab\": [{\"addr\": "
                                    "\"10.0.0.5\"}]}, \"links\": []}");
    g_autofree char *text = fields_format(object);

    g_assert_cmpstr(text, ==,
                    "id            7\n"
                    "created_at    2026-11-23T03:45:29Z\n"
                    "ended_at      -\n"
                    "memory_total  256.0 MiB\n"
                    "memory_mb     512\n"
                    "addresses     lab=10.0.0.5\n");
}

static const char *const move_json =
    "{\"id\": 7, \"server_name\": \"web1\", \"status\": \"running\", \"phase\": \"transfer\","
    " \"source_host\": \"host1\", \"dest_host\": \"host3\", \"memory_total\": 268435456,"
    " \"memory_remaining\": 134217728, \"memory_processed\": 150994944, \"memory_bps\": 94371840,"
    " \"dirty_bps\": 41943040, \"iterations\": 3, \"downtime_limit_ms\": 30, \"eta_ms\": 1500,"
    " \"downtime_ms\": 28, \"encryption\": \"plaintext\", \"created_at\": 1000000,"
    " \"active_at\": 2250000, \"ended_at\": 3810000, \"predicted_ms\": 1200,"
    " \"predicted_downtime_ms\": 25, \"phases\": {\"check\": 4200, \"transfer\": 1100000}}";

static void
test_progress(void)
{
    g_autoptr(json_t) move = json(move_json);
    g_autofree char *wide = progress_line(move, 200);
    g_autofree char *narrow = progress_line(move, 60);
    g_autofree char *summary = progress_summary(move);
    g_autoptr(json_t) early =
        json("{\"source_host\": \"host1\", \"dest_host\": null, \"phase\": null}");
    g_autofree char *early_line = progress_line(early, 80);
    g_autoptr(json_t) odd =
        json("{\"memory_total\": 100, \"memory_remaining\": 900, \"eta_ms\": -1}");
    g_autofree char *odd_line = progress_line(odd, 200);

    g_assert_cmpstr(wide, ==,
                    "transfer  host1 -> host3  PLAINTEXT  [##########..........]  50%  "
                    "128.0 MiB of 256.0 MiB  90.0 MiB/s  dirty 40.0 MiB/s  iteration 3  limit 30 "
                    "ms  ETA 1.50 s");
    g_assert_cmpuint(strlen(narrow), <=, 60);
    g_assert_true(g_str_has_prefix(wide, narrow));
    g_assert_cmpstr(early_line, ==, "queued    host1 -> ?");
    g_assert_nonnull(strstr(odd_line, "  0%"));
    g_assert_nonnull(strstr(odd_line, "does not converge"));

    g_assert_nonnull(strstr(summary, "web1 runs on host3 now (came from host1)\n"));
    g_assert_nonnull(strstr(summary, "total time         2.81 s\n"));
    g_assert_nonnull(strstr(summary, "until active       1.25 s\n"));
    g_assert_nonnull(strstr(summary, "downtime           28 ms\n"));
    g_assert_nonnull(strstr(summary, "predicted          1.20 s, downtime 25 ms\n"));
    g_assert_nonnull(strstr(summary, "encryption         plaintext ("));
    g_assert_nonnull(strstr(summary, "phase check        4.2 ms\n"));
    g_assert_nonnull(strstr(summary, "phase transfer     1.10 s\n"));
}

/* ---- a small API ------------------------------------------------------------------------------
 */

static HttpServer *api;
static _Atomic int n_logins, n_polls;
static _Atomic bool token_expired;
static char *seen_body, *seen_version;
static GString *uploaded;

static void
reply(HttpResponse *response, int status, char *text)
{
    http_response_header(response, "Content-Type", "application/json");
    http_response_body(response, text, strlen(text));
    http_response_status(response, status);
}

static bool
is_authorised(HttpRequest *request, HttpResponse *response)
{
    if (!token_expired && g_strcmp0(http_request_header(request, "X-Auth-Token"), "T") == 0)
        return true;
    token_expired = false;
    reply(response, 401, g_strdup("{\"error\": {\"message\": \"who?\"}}"));
    return false;
}

static void
login(HttpRequest *request, HttpResponse *response, void *context)
{
    g_autoptr(json_t) body = json(http_request_body(request, NULL));
    unsigned port = http_server_port(api);

    n_logins++;
    if (g_strcmp0(json_text_at(body, "auth/identity/password/user/password"), "secret") != 0) {
        reply(response, 401, g_strdup("{\"error\": {\"message\": \"no\"}}"));
        return;
    }
    g_assert_cmpstr(json_text_at(body, "auth/scope/project/name"), ==, "admin");
    http_response_header(response, "X-Subject-Token", "T");
    reply(response, 201,
          g_strdup_printf(
              "{\"token\": {\"catalog\": ["
              "{\"type\": \"compute\", \"endpoints\": [{\"interface\": \"public\", "
              "\"region\": \"RegionOne\", \"url\": \"http://127.0.0.1:%u/compute/v2.1\"}]},"
              "{\"type\": \"image\", \"endpoints\": [{\"interface\": \"public\", "
              "\"region\": \"RegionOne\", \"url\": \"http://127.0.0.1:%u/image/\"}]},"
              "{\"type\": \"block-storage\", \"endpoints\": [{\"interface\": \"public\", "
              "\"region\": \"RegionOne\", \"url\": \"http://127.0.0.1:%u/volume/v3/p1\"}]}]}}",
              port, port, port));
}

static void
servers(HttpRequest *request, HttpResponse *response, void *context)
{
    const char *name = http_request_query(request, "name");

    if (!is_authorised(request, response))
        return;
    g_free(seen_version);
    seen_version = g_strdup(http_request_header(request, "OpenStack-API-Version"));
    reply(response, 200,
          g_strdup(g_strcmp0(name, "^twin$") == 0
                       ? "{\"servers\": [{\"id\": \"a\", \"name\": \"twin\"}, {\"id\": \"b\", "
                         "\"name\": \"twin\"}]}"
                   : g_strcmp0(name, "^web\\.1$") == 0
                       ? "{\"servers\": [{\"id\": \"s1\", \"name\": \"web.1\"}]}"
                       : "{\"servers\": []}"));
}

static void
action(HttpRequest *request, HttpResponse *response, void *context)
{
    g_free(seen_body);
    seen_body = g_strdup(http_request_body(request, NULL));
    if (strstr(seen_body, "host9")) {
        reply(response, 409,
              g_strdup("{\"conflictingRequest\": {\"code\": 409, \"message\": \"host9 is "
                       "down: its connection was refused\"}}"));
        return;
    }
    http_response_header(response, "X-Godwit-Migration", strstr(seen_body, "host8") ? "8" : "7");
    http_response_status(response, 202);
}

static void
migration(HttpRequest *request, HttpResponse *response, void *context)
{
    bool fails = g_str_equal(http_request_param(request, "id"), "8");
    int n = n_polls++;
    g_autoptr(json_t) move = json(move_json);

    if (!is_authorised(request, response))
        return;
    if (n > 0)
        g_assert_cmpstr(http_request_query(request, "since"), !=, NULL);
    json_object_set_new(move, "updated_at", json_integer(n + 1));
    if (n >= 3)
        json_object_set_new(move, "status", json_string(fails ? "failed" : "completed"));
    if (fails)
        json_object_set_new(move, "reason", json_string("the link broke"));

    g_autoptr(json_t) body = json_pack("{s:O}", "migration", move);
    char *text = json_dumps(body, 0);

    reply(response, 200, g_strdup(text));
    free(text);
}

static void
image_create(HttpRequest *request, HttpResponse *response, void *context)
{
    g_free(seen_body);
    seen_body = g_strdup(http_request_body(request, NULL));
    reply(response, 201, g_strdup("{\"id\": \"i1\", \"status\": \"queued\"}"));
}

static void
image_show(HttpRequest *request, HttpResponse *response, void *context)
{
    reply(response, 200, g_strdup("{\"id\": \"i1\", \"name\": \"guest\", \"status\": \"active\"}"));
}

static void
image_list(HttpRequest *request, HttpResponse *response, void *context)
{
    reply(response, 200, g_strdup("{\"images\": [{\"id\": \"i1\", \"name\": \"guest\"}]}"));
}

static void
image_data(HttpRequest *request, HttpResponse *response, void *context)
{
    http_response_body(response, g_memdup2(uploaded->str, uploaded->len), uploaded->len);
}

/* ---- volumes ----------------------------------------------------------------------------------
 * One volume "data", v1; another state of it is seen with each look. */
#define V1 "11111111-1111-4111-8111-111111111111"
#define S1 "22222222-2222-4222-8222-222222222222"

static const char *const *volume_states; /* ended by NULL: it is gone; the last but one stays */
static const char *volume_fault;
static unsigned n_volume_looks;
static char *seen_path;

static void
keep_request(HttpRequest *request)
{
    size_t size;
    const char *body = http_request_body(request, &size);

    g_free(seen_body);
    seen_body = g_strndup(body ? body : "", body ? size : 0);
    g_free(seen_path);
    seen_path = g_strdup_printf("%s %s", http_request_method(request), http_request_path(request));
}

static void
volume_list(HttpRequest *request, HttpResponse *response, void *context)
{
    const char *name = http_request_query(request, "name");

    if (!is_authorised(request, response))
        return;
    reply(response, 200,
          g_strdup(g_strcmp0(name, "twin") == 0
                       ? "{\"volumes\": [{\"id\": \"a\", \"name\": \"twin\"}, {\"id\": \"b\", "
                         "\"name\": \"twin\"}]}"
                   : !name || g_strcmp0(name, "data") == 0
                       ? "{\"volumes\": [{\"id\": \"" V1 "\", \"name\": \"data\", \"status\": "
                         "\"in-use\", \"size\": 4, \"volume_type\": \"__DEFAULT__\", \"bootable\": "
                         "\"false\", \"attachments\": [{\"server_id\": \"" S1
                         "\", \"device\": \"/dev/vdb\"}]}]}"
                       : "{\"volumes\": []}"));
}

static void
volume_call(HttpRequest *request, HttpResponse *response, void *context)
{
    keep_request(request);
    reply(response, 202,
          g_strdup("{\"volume\": {\"id\": \"" V1 "\", \"name\": \"data\", \"status\": "
                   "\"creating\"}, \"snapshot\": {\"id\": \"" S1 "\", \"status\": \"creating\"}, "
                   "\"volumeAttachment\": {\"device\": \"/dev/vdc\"}, \"task\": {\"id\": 5}}"));
}

static void
volume_look(HttpRequest *request, HttpResponse *response, void *context)
{
    const char *state = volume_states[n_volume_looks];

    if (!state) {
        reply(response, 404, g_strdup("{\"error\": {\"message\": \"Volume is not there.\"}}"));
        return;
    }
    if (volume_states[n_volume_looks + 1] || g_str_has_prefix(state, "deleting"))
        n_volume_looks++;
    reply(response, 200,
          g_strdup_printf("{\"volume\": {\"id\": \"" V1
                          "\", \"name\": \"data\", \"status\": \"%s\", \"size_gb\": 4, "
                          "\"progress_percent\": 40, \"fault_message\": %s, \"updated_at\": 1}}",
                          state, volume_fault ? volume_fault : "null"));
}

static void
snapshot_look(HttpRequest *request, HttpResponse *response, void *context)
{
    reply(response, 200,
          g_strdup("{\"snapshot\": {\"id\": \"" S1 "\", \"status\": \"error\", "
                   "\"fault_message\": \"the pool is full\"}}"));
}

static void
task_look(HttpRequest *request, HttpResponse *response, void *context)
{
    bool fails = g_str_equal(http_request_param(request, "id"), "6");
    bool is_over = n_polls++ > 0;

    reply(
        response, 200,
        g_strdup_printf("{\"task\": {\"id\": 5, \"kind\": \"volume-flatten\", \"status\": \"%s\", "
                        "\"done\": 1073741824, \"total\": 4294967296, \"ended_at\": %d, "
                        "\"error_message\": %s}}",
                        !is_over ? "open"
                        : fails  ? "failed"
                                 : "succeeded",
                        is_over, fails ? "\"the pool is full\"" : "null"));
}

static void
storage(HttpRequest *request, HttpResponse *response, void *context)
{
    reply(response, 200,
          g_strdup("{\"storage\": {\"driver\": \"rbd\", \"pools\": [{\"purpose\": \"images\", "
                   "\"name\": \"images\", \"driver\": \"rbd\", \"things\": 2, \"used_bytes\": "
                   "1073741824, \"free_bytes\": 3221225472, \"total_bytes\": 4294967296, "
                   "\"trouble\": null}], \"orphans\": {\"foreign\": 2, \"swept_at\": "
                   "1795405529000000}}}"));
}

static void
storage_call(HttpRequest *request, HttpResponse *response, void *context)
{
    keep_request(request);
    reply(response, 200,
          g_strdup("{\"rotation\": {\"nodes\": [{\"host\": \"host1\", \"ok\": true, \"reason\": "
                   "null}, {\"host\": \"host2\", \"ok\": false, \"reason\": \"down\"}]}, "
                   "\"sweep\": {\"removed\": 3, \"foreign\": 1, \"foreign_names\": "
                   "[\"volumes/mine\"]}}"));
}

static void *
upload_begin(HttpRequest *request, HttpResponse *response, void *context)
{
    if (!is_authorised(request, response))
        return NULL;
    g_string_truncate(uploaded, 0);
    return uploaded;
}

static bool
upload_chunk(void *state, const void *data, size_t size, HttpResponse *response)
{
    g_string_append_len(state, data, (gssize)size);
    return true;
}

static void
upload_end(void *state, bool complete, HttpRequest *request, HttpResponse *response)
{
    if (complete)
        http_response_status(response, 204);
}

static const HttpStream upload = {upload_begin, upload_chunk, upload_end};
static const HttpRoute api_routes[] = {
    {.method = "POST", .pattern = "/identity/v3/auth/tokens", .handler = login, .body_max = 65536},
    {.method = "GET", .pattern = "/compute/v2.1/servers/detail", .handler = servers},
    {.method = "POST", .pattern = "/compute/v2.1/servers/{id}/action", .handler = action},
    {.method = "GET", .pattern = "/godwit/v1/migrations/{id}", .handler = migration},
    {.method = "GET", .pattern = "/godwit/v1/volumes/{id}", .handler = volume_look},
    {.method = "POST", .pattern = "/godwit/v1/volumes/{id}/flatten", .handler = volume_call},
    {.method = "GET", .pattern = "/godwit/v1/snapshots/{id}", .handler = snapshot_look},
    {.method = "GET", .pattern = "/godwit/v1/tasks/{id}", .handler = task_look},
    {.method = "GET", .pattern = "/godwit/v1/storage", .handler = storage},
    {.method = "POST", .pattern = "/godwit/v1/storage/{what}", .handler = storage_call},
    {.method = "GET", .pattern = "/volume/v3/p1/volumes/detail", .handler = volume_list},
    {.method = "POST", .pattern = "/volume/v3/p1/volumes", .handler = volume_call},
    {.method = "POST", .pattern = "/volume/v3/p1/volumes/{id}/action", .handler = volume_call},
    {.method = "DELETE", .pattern = "/volume/v3/p1/volumes/{id}", .handler = volume_call},
    {.method = "POST", .pattern = "/volume/v3/p1/snapshots", .handler = volume_call},
    {.method = "GET", .pattern = "/compute/v2.1/servers", .handler = servers},
    {.method = "POST", .pattern = "/compute/v2.1/servers", .handler = volume_call},
    {.method = "POST",
     .pattern = "/compute/v2.1/servers/{id}/os-volume_attachments",
     .handler = volume_call},
    {.method = "DELETE",
     .pattern = "/compute/v2.1/servers/{id}/os-volume_attachments/{volume}",
     .handler = volume_call},
    {.method = "POST", .pattern = "/image/v2/images", .handler = image_create},
    {.method = "GET", .pattern = "/image/v2/images", .handler = image_list},
    {.method = "GET", .pattern = "/image/v2/images/{id}", .handler = image_show},
    {.method = "PUT", .pattern = "/image/v2/images/{id}/file", .stream = &upload},
    {.method = "GET", .pattern = "/image/v2/images/{id}/file", .handler = image_data},
    {0},
};
static const HttpRoute *const api_tables[] = {api_routes};

static CloudConfig *
config_for(const char *password, unsigned port)
{
    CloudConfig *config = g_new0(CloudConfig, 1);

    config->values[CLOUD_AUTH_URL] = g_strdup_printf("http://127.0.0.1:%u/identity/", port);
    config->values[CLOUD_USERNAME] = g_strdup("admin");
    config->values[CLOUD_PASSWORD] = g_strdup(password);
    config->values[CLOUD_PROJECT_NAME] = g_strdup("admin");
    config->values[CLOUD_REGION_NAME] = g_strdup("RegionOne");
    return config;
}

/* Run one command as main() would; its output and its error come back as text. */
static bool
run(const char *name, const char *line, char **output, GError **err)
{
    static const CliCommand *const nouns[] = {
        migration_commands, move_commands,     image_commands,   server_commands,
        volume_commands,    snapshot_commands, storage_commands, task_commands};
    static const CliOption json_option[] = {{"json", CLI_FLAG, NULL, ""}, {0}};
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    g_autoptr(CliArgs) args = args_new();
    const CliCommand *command = NULL;
    unsigned used;
    size_t size;

    for (size_t i = 0; i < G_N_ELEMENTS(nouns); i++) {
        for (const CliCommand *c = nouns[i]; c->name; c++) {
            if (g_str_equal(c->name, name))
                command = c;
        }
    }
    g_assert_nonnull(command);

    const CliOption *const all[] = {command->options ? command->options : json_option, json_option,
                                    NULL};

    g_assert_true(args_parse(args, argv, g_strv_length(argv), all, false, &used, err));

    Cli cli = {.args = args,
               .json = args_flag(args, "json"),
               .client = client_new(config_for("secret", http_server_port(api))),
               .out = open_memstream(output, &size)};
    bool ok = command->run(&cli, err);

    fclose(cli.out);
    client_free(cli.client);
    return ok;
}

static void
test_client(void)
{
    g_autoptr(GError) error = NULL;
    Client *client = client_new(config_for("wrong", http_server_port(api)));
    Cli cli = {.client = client};

    g_assert_null(cli_find(&cli, &noun_server, "web.1", &error));
    g_assert_true(err_is(error, ERR_FORBIDDEN));
    g_assert_nonnull(strstr(error->message, "OS_PASSWORD"));
    g_clear_error(&error);
    client_free(client);

    cli.client = client = client_new(config_for("secret", http_server_port(api)));
    n_logins = 0;
    {
        g_autoptr(json_t) server = cli_find(&cli, &noun_server, "web.1", &error);
        g_assert_no_error(error);
        g_assert_cmpstr(json_text_at(server, "id"), ==, "s1");
        g_assert_cmpstr(seen_version, ==, "compute 2.92");
    }
    token_expired = true;
    {
        g_autoptr(json_t) server = cli_find(&cli, &noun_server, "web.1", &error);
        g_assert_no_error(error);
        g_assert_nonnull(server);
    }
    g_assert_cmpint(n_logins, ==, 2);
    g_assert_null(cli_find(&cli, &noun_server, "twin", &error));
    g_assert_nonnull(strstr(error->message, "a, b"));
    g_clear_error(&error);
    g_assert_null(cli_find(&cli, &noun_server, "none", &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
    g_clear_error(&error);
    g_assert_null(cli_find(&cli, &noun_network, "lab", &error)); /* not in the catalog */
    g_assert_nonnull(strstr(error->message, "no network endpoint"));
    g_clear_error(&error);
    client_free(client);

    cli.client = client = client_new(config_for("secret", 1));
    g_assert_null(cli_find(&cli, &noun_server, "web.1", &error));
    g_assert_true(err_is(error, ERR_UNREACHABLE));
    client_free(client);
}

static void
test_migrate(void)
{
    g_autoptr(GError) error = NULL;
    char *output = NULL;

    n_polls = 0;
    g_assert_true(run("server migrate", "--live --host host3 web.1", &output, &error));
    g_assert_no_error(error);
    g_assert_cmpint(n_polls, ==, 4);
    g_assert_cmpstr(seen_body, ==,
                    "{\"os-migrateLive\":{\"host\":\"host3\",\"block_migration\":\"auto\"}}");
    g_assert_nonnull(strstr(output, "runs on host3 now"));
    g_clear_pointer(&output, free);

    g_assert_true(run("server migrate", "--live --no-wait web.1", &output, &error));
    g_assert_cmpstr(seen_body, ==,
                    "{\"os-migrateLive\":{\"host\":null,\"block_migration\":\"auto\"}}");
    g_assert_nonnull(strstr(output, "migration show --follow 7"));
    g_clear_pointer(&output, free);

    n_polls = 0;
    g_assert_true(run("migration show", "--follow --json 7", &output, &error));
    g_autoptr(json_t) parsed = json(output);
    g_assert_cmpstr(json_text_at(parsed, "status"), ==, "completed");
    g_clear_pointer(&output, free);

    n_polls = 0;
    g_assert_false(run("server migrate", "--live --host host8 web.1", &output, &error));
    g_assert_nonnull(strstr(error->message, "the link broke"));
    g_clear_error(&error);
    g_clear_pointer(&output, free);

    g_assert_false(run("server migrate", "--live --host host9 web.1", &output, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_assert_nonnull(strstr(error->message, "connection was refused"));
    g_clear_error(&error);
    g_clear_pointer(&output, free);
}

/* Runs what must fail; the error must say word. */
static void
assert_fails(const char *name, const char *line, bool is_usage, const char *word)
{
    g_autoptr(GError) error = NULL;
    char *output = NULL;

    g_assert_false(run(name, line, &output, &error));
    g_assert_nonnull(error);
    if (!strstr(error->message, word) || is_usage_error(error) != is_usage)
        g_error("%s %s: %s", name, line, error->message);
    free(output);
}

static char *
run_well(const char *name, const char *line)
{
    g_autoptr(GError) error = NULL;
    char *output = NULL;
    bool ok = run(name, line, &output, &error);

    g_assert_no_error(error);
    g_assert_true(ok);
    return output;
}

static void
assert_says(const char *name, const char *line, const char *text)
{
    char *output = run_well(name, line);

    if (!strstr(output, text))
        g_error("%s %s: %s", name, line, output);
    free(output);
}

static void
see_states(const char *const *states, const char *fault)
{
    volume_states = states;
    volume_fault = fault;
    n_volume_looks = 0;
}

static void
test_volume(void)
{
    static const char *const well[] = {"creating", "downloading", "available", NULL};
    static const char *const ill[] = {"creating", "error", NULL};

    see_states(well, NULL);
    assert_says("volume create", "data --size 4 --property a=b", "is being created: " V1);
    g_assert_cmpstr(seen_body, ==,
                    "{\"volume\":{\"name\":\"data\",\"size\":4,\"metadata\":{\"a\":\"b\"}}}");
    assert_says("volume create", "data --source data", "is being created");
    g_assert_cmpstr(seen_body, ==,
                    "{\"volume\":{\"name\":\"data\",\"metadata\":{},\"source_volid\":\"" V1 "\"}}");
    assert_says("volume list", "", "4    __DEFAULT__  false     " S1 " /dev/vdb\n");

    assert_fails("volume create", "data", true, "--size");
    assert_fails("volume create", "data --image guest", true, "--size");
    assert_fails("volume create", "data --size 0", true, "--size");
    assert_fails("volume create", "data --size 4G", true, "--size");
    assert_fails("volume create", "data --size 4 --property a", true, "KEY=VALUE");
    assert_fails("volume create", "data --size 4 --image guest --source data", true, "both");
    assert_fails("volume create", "data --source nothing", false, "there is no volume");
    assert_fails("volume create", "data --source=", true, "is empty");
    assert_fails("volume delete", "twin", false, "use one of the ids a, b");
    assert_fails("volume extend", "data --size x", true, "--size");

    see_states(ill, "\"the image is gone\"");
    assert_fails("volume extend", "data --size 9 --wait", false, "the image is gone");
    g_assert_cmpstr(seen_body, ==, "{\"os-extend\":{\"new_size\":9}}");
    see_states(ill, NULL);
    assert_fails("volume create", "data --size 4 --wait", false, "no reason is recorded");
}

static void
test_volume_delete(void)
{
    static const char *const goes[] = {"deleting", "deleting", NULL};
    static const char *const stays[] = {"deleting", "error_deleting", NULL};

    assert_says("volume delete", "--cascade data", "is being deleted");
    g_assert_cmpstr(seen_path, ==, "DELETE /volume/v3/p1/volumes/" V1);
    see_states(goes, NULL);
    assert_says("volume delete", "--wait data", "volume data deleted");
    see_states(stays, "\"it has watchers\"");
    assert_fails("volume delete", "--wait data", false, "it has watchers");
}

static void
test_volume_attach(void)
{
    static const char *const well[] = {"attaching", "in-use", NULL};
    static const char *const refused[] = {"attaching", "available", NULL};
    static const char *const let_go[] = {"detaching", "available", NULL};

    see_states(well, NULL);
    assert_says("volume attach", "data web.1 --device vdc --wait --delete-on-termination",
                "server web.1 has volume data as /dev/vdc");
    g_assert_cmpstr(seen_path, ==, "POST /compute/v2.1/servers/s1/os-volume_attachments");
    g_assert_cmpstr(seen_body, ==,
                    "{\"volumeAttachment\":{\"volumeId\":\"" V1 "\",\"device\":\"vdc\","
                    "\"delete_on_termination\":true}}");
    see_states(refused, "\"not attached: the guest does not answer\"");
    assert_fails("volume attach", "data web.1 --wait", false, "the guest does not answer");
    see_states(refused, NULL);
    assert_fails("volume attach", "data web.1 --wait", false, "could not be attached");
    see_states(well, "\"the guest may have it\"");
    assert_fails("volume attach", "data web.1 --wait", false, "the guest may have it");
    assert_fails("volume attach", "web.1 data", false, "there is no volume \"web.1\"");
    assert_fails("volume attach", "data web2", false, "there is no server \"web2\"");

    see_states(let_go, NULL);
    assert_says("volume detach", "data --wait", "volume data is free");
    g_assert_cmpstr(seen_path, ==, "DELETE /compute/v2.1/servers/" S1 "/os-volume_attachments/" V1);
    assert_says("snapshot create", "before --volume data", "is being made: " S1);
    g_assert_nonnull(strstr(seen_body, "\"volume_id\":\"" V1 "\""));
    assert_fails("snapshot create", "before --volume data --wait", false, "the pool is full");
}

static void
test_boot_volume(void)
{
    assert_fails("server create", "web --flavor f", true, "either --image or --volume");
    assert_fails("server create", "web --flavor f --image guest --volume data", true, "either");
    assert_fails("server create", "web --flavor f --volume data --boot-from-volume 4", true,
                 "not with --volume");
    assert_fails("server create", "web --flavor f --image guest --boot-from-volume big", true,
                 "--boot-from-volume");
    assert_fails("server create", "web --flavor f --image guest --delete-volume", true,
                 "--delete-volume");
    assert_fails("server create", "web --flavor f --volume nothing", false, "there is no volume");
    assert_fails("server create", "web --flavor f --image guest --attach nothing", false,
                 "there is no volume");
}

static void
test_storage(void)
{
    assert_says("storage list", "",
                "FOR     NAME    DRIVER  THINGS  USED     FREE     TOTAL    TROUBLE\n"
                "images  images  rbd     2       1.0 GiB  3.0 GiB  4.0 GiB  -\n");
    assert_says("storage list", "", "Not made by this Godwit: 2 (counted 2026-11-23T");
    assert_says("storage sweep", "",
                "3 removed, 1 that Godwit did not make left alone\n  volumes/");
    g_assert_cmpstr(seen_path, ==, "POST /godwit/v1/storage/sweep");
    assert_fails("storage rotate-key", "", false, "1 of 2 nodes did not get the key");
    g_assert_cmpstr(seen_path, ==, "POST /godwit/v1/storage/rotate-key");
}

static void
test_task(void)
{
    n_polls = 0;
    assert_says("volume flatten", "data", "godwit task show --follow 5");
    n_polls = 0;
    assert_says("volume flatten", "data --wait", "volume data holds all its data itself now");
    n_polls = 0;
    assert_fails("task show", "--follow 6", false, "the pool is full");
    assert_fails("task show", "six", true, "not the number of a task");

    g_autoptr(json_t) task = json("{\"kind\": \"volume-flatten\", \"status\": \"open\", \"done\": "
                                  "1073741824, \"total\": 4294967296}");
    g_autoptr(json_t) volume =
        json("{\"id\": \"" V1 "\", \"name\": \"\", \"status\": \"downloading\", "
             "\"progress_percent\": 99}");
    g_autofree char *line = progress_task_line(task, 200);
    g_autofree char *volume_line = progress_volume_line(volume, 200);

    g_assert_cmpstr(line, ==,
                    "volume-flatten open  [#####...............]  25%  1.0 GiB of 4.0 GiB");
    g_assert_cmpstr(volume_line, ==, "volume " V1 " downloading  [###################.]  99%");
    json_object_set_new(volume, "progress_percent", json_integer(100));
    g_assert_null(progress_volume_line(volume, 200));
}

static void
test_image(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *file = g_build_filename(scratch, "disk.img", NULL);
    g_autofree char *copy = g_build_filename(scratch, "copy.img", NULL);
    g_autofree char *create = g_strdup_printf("guest --file %s", file);
    g_autofree char *save = g_strdup_printf("guest --file %s", copy);
    g_autofree char *content = g_strnfill(3000000, 'd');
    g_autofree char *back = NULL;
    char *output = NULL;

    memcpy(content, "QFI\xfb", 4);
    g_assert_true(g_file_set_contents(file, content, 3000000, NULL));
    g_assert_true(run("image create", create, &output, &error));
    g_assert_no_error(error);
    g_assert_nonnull(strstr(seen_body, "\"disk_format\":\"qcow2\""));
    g_assert_cmpuint(uploaded->len, ==, 3000000);
    g_clear_pointer(&output, free);

    g_assert_true(run("image save", save, &output, &error));
    g_assert_no_error(error);
    g_assert_true(g_file_get_contents(copy, &back, NULL, NULL));
    g_assert_cmpmem(back, strlen(back), content, strlen(content));
    g_clear_pointer(&output, free);

    /* nothing is left of a download that failed */
    g_unlink(copy);
    g_assert_false(run("image save", "none --file /nonexistent/dir/x", &output, &error));
    g_assert_false(g_file_test(copy, G_FILE_TEST_EXISTS));
    g_clear_pointer(&output, free);
}

int
main(int argc, char **argv)
{
    HttpConfig config = {.address = "127.0.0.1"};

    g_test_init(&argc, &argv, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    g_setenv("no_proxy", "*", true);
    scratch = g_dir_make_tmp("godwit-cli-XXXXXX", NULL);
    g_setenv("HOME", scratch, true);
    g_setenv("XDG_CONFIG_HOME", scratch, true);
    uploaded = g_string_new(NULL);
    api = http_server_start(&config, api_tables, 1, NULL);

    g_test_add_func("/cli/args", test_args);
    g_test_add_func("/cli/clouds", test_clouds);
    g_test_add_func("/cli/table", test_table);
    g_test_add_func("/cli/fields", test_fields);
    g_test_add_func("/cli/progress", test_progress);
    g_test_add_func("/cli/client", test_client);
    g_test_add_func("/cli/migrate", test_migrate);
    g_test_add_func("/cli/image", test_image);
    g_test_add_func("/cli/volume", test_volume);
    g_test_add_func("/cli/volume-delete", test_volume_delete);
    g_test_add_func("/cli/volume-attach", test_volume_attach);
    g_test_add_func("/cli/boot-volume", test_boot_volume);
    g_test_add_func("/cli/storage", test_storage);
    g_test_add_func("/cli/task", test_task);

    int result = g_test_run();
    const char *const rm[] = {"rm", "-r", scratch, NULL};

    http_server_stop(api);
    process_run(rm, clock_monotonic() + 10 * USEC_PER_SEC, NULL, NULL);
    g_string_free(uploaded, TRUE);
    g_free(seen_body);
    g_free(seen_path);
    g_free(seen_version);
    g_free(scratch);
    return result;
}
