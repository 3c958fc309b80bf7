/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-godwit-certificates.c: the CA in Godwit's own API, over HTTP, with a real CA and requests
 * that openssl made: who may ask, what is refused, what a certificate says, and what a log says */
#include "compute-world.h"

#include "block/block.h"
#include "pki/pki.h"

#include <fcntl.h>
#include <unistd.h>

static char *admin_token, *reader_token, *request, *key_line;
static Storage storage = {.ops = &block_fake_ops};

/* ---- the world ---------------------------------------------------------------------------------
 */

/* A NULL-ended command with its output as text; it must succeed. */
static char *
run(const char *const *argv)
{
    g_autoptr(GError) error = NULL;
    char *output = NULL;
    int status = 0;

    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL,
                               G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL,
                               &output, NULL, &status, &error));
    g_assert_no_error(error);
    g_assert_cmpint(status, ==, 0);
    return output;
}

static char *
in_dir(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static char *
read_file(const char *name)
{
    g_autofree char *path = in_dir(name);
    char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

/* The request says that it is for the controller; nobody may believe it. */
static void
make_request(void)
{
    g_autofree char *key = in_dir("node-key.pem"), *csr = in_dir("node.csr"), *key_text = NULL;
    const char *const make_key[] = {"openssl", "genpkey",  "-algorithm",
                                    "EC",      "-pkeyopt", "ec_paramgen_curve:P-256",
                                    "-out",    key,        NULL};
    const char *const make_csr[] = {"openssl",
                                    "req",
                                    "-new",
                                    "-key",
                                    key,
                                    "-subj",
                                    "/CN=libvirt-controller",
                                    "-addext",
                                    "subjectAltName=DNS:evil.example,IP:192.0.2.66",
                                    "-out",
                                    csr,
                                    NULL};

    g_free(run(make_key));
    g_free(run(make_csr));
    request = read_file("node.csr");
    key_text = read_file("node-key.pem");
    g_auto(GStrv) lines = g_strsplit(key_text, "\n", 3);
    key_line = g_strdup(lines[1]);
}

static void
make_reader(void)
{
    static const char create[] =
        "{\"user\":{\"name\":\"reader\",\"password\":\"secret-of-the-reader\"}}";
    json_t *answer = NULL, *row;
    const char *role = NULL, *user, *project;
    size_t i;

    g_assert_cmpint(ask("POST", "/identity/v3/users", 0, create, &answer), ==, 201);
    user = json_string_value(json_object_get(json_object_get(answer, "user"), "id"));
    json_t *roles = get("/identity/v3/roles", 0);
    json_t *projects = get("/identity/v3/projects?name=admin", 0);
    json_array_foreach(json_object_get(roles, "roles"), i, row)
    {
        if (g_str_equal(json_string_value(json_object_get(row, "name")), "member"))
            role = json_string_value(json_object_get(row, "id"));
    }
    project = json_string_value(
        json_object_get(json_array_get(json_object_get(projects, "projects"), 0), "id"));
    g_autofree char *path =
        g_strdup_printf("/identity/v3/projects/%s/users/%s/roles/%s", project, user, role);
    g_assert_cmpint(ask("PUT", path, 0, NULL, NULL), ==, 204);
    json_decref(answer);
    json_decref(roles);
    json_decref(projects);
    reader_token = login("reader", "secret-of-the-reader");
}

static void
begin(void)
{
    GError *error = NULL;
    AuthSettings auth_settings = {.token_lifetime_s = 3600, .attempts_per_minute = 10};
    const char *names[] = {"127.0.0.1", NULL};
    PkiSubject server_subject = {.common_name = "controller", .names = names, .server = true};
    static LibvirtSettings *settings;
    size_t n_tables;

    g_assert_nonnull(g_mkdtemp(dir));
    g_autofree char *path = in_dir("state.db"), *pki = in_dir("pki");
    store = store_open(path, &error);
    g_assert_no_error(error);
    Auth *auth = auth_new(store, &auth_settings);
    g_assert_true(auth_bootstrap(auth, "secret-of-the-test", &error));
    g_assert_true(pki_ca_ensure(pki, &error));
    g_assert_true(pki_certificate_ensure(pki, "server", &server_subject, &error));
    g_assert_no_error(error);
    settings = libvirt_settings_new();
    BlockSettings block_settings = {.path = dir};
    storage.block = storage.ops->open(&block_settings, &error);
    g_assert_no_error(error);
    TaskSettings task_settings = {.libvirt = settings, .worker_limit = 1};
    ApiConfig config = {.store = store,
                        .auth = auth,
                        .tasks = task_engine_new(store, NULL, &storage, &task_settings),
                        .libvirt = settings,
                        .pki_dir = pki,
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
    make_reader();
    token = admin_token;
    make_request();
}

/* ---- shorthands -------------------------------------------------------------------------------
 */

static char *
body_of(const char *role, const char *host, const char *csr, json_t *names)
{
    json_t *body = json_pack("{s:{s:s,s:s,s:s,s:o}}", "certificate", "role", role, "host", host,
                             "request", csr, "names", names);
    char *text = json_dumps(body, 0);

    json_decref(body);
    return text;
}

static void
refuse_body(char *body, int status, const char *message)
{
    refuse("POST", "/godwit/v1/certificates", 0, body, status, message);
    free(body);
}

static json_t *
good_names(void)
{
    return json_pack("[s,s,s]", "host1", "192.0.2.1", "2001:db8::1");
}

/* ---- cases ------------------------------------------------------------------------------------
 */

/* The certificate says what the administrator asked for, and nothing of what the request did. */
static void
test_signed(void)
{
    static const char *const roles[] = {"libvirt", "qemu"};

    for (size_t i = 0; i < G_N_ELEMENTS(roles); i++) {
        char *body = body_of(roles[i], "host1", request, good_names());
        json_t *answer = NULL;
        g_assert_cmpint(ask("POST", "/godwit/v1/certificates", 0, body, &answer), ==, 201);
        free(body);
        const json_t *row = json_object_get(answer, "certificate");
        const char *pem = json_string_value(json_object_get(row, "certificate"));
        g_autofree char *name = g_strdup_printf("%s-host1", roles[i]);
        g_autofree char *path = in_dir("node.pem"), *ca = in_dir("pki/ca.pem");
        const char *const verify[] = {"openssl", "verify", "-CAfile", ca, path, NULL};
        const char *const show[] = {"openssl",  "x509",
                                    "-in",      path,
                                    "-noout",   "-subject",
                                    "-nameopt", "RFC2253",
                                    "-ext",     "subjectAltName,extendedKeyUsage,basicConstraints",
                                    NULL};

        g_assert_cmpstr(json_string_value(json_object_get(row, "name")), ==, name);
        g_assert_cmpint(json_integer_value(json_object_get(row, "expires_at")), >,
                        clock_realtime() + INT64_C(700) * 86400 * USEC_PER_SEC);
        g_assert_true(g_file_set_contents(path, pem, -1, NULL));
        g_free(run(verify));
        g_autofree char *text = run(show);
        g_autofree char *subject = g_strdup_printf("subject=CN=%s\n", name);
        g_assert_true(g_str_has_prefix(text, subject));
        g_assert_nonnull(strstr(text, "DNS:host1, IP Address:192.0.2.1, IP Address:2001:DB8"));
        g_assert_nonnull(strstr(text, "CA:FALSE"));
        g_assert_nonnull(strstr(text, "TLS Web Server Authentication"));
        g_assert_nonnull(strstr(text, "TLS Web Client Authentication"));
        g_assert_null(strstr(text, "evil"));
        g_assert_null(strstr(text, "192.0.2.66"));
        json_decref(answer);
    }
}

static void
test_names(void)
{
    static const char *const hostile[] = {
        "*",
        "*.example.org",
        "host1,DNS:other",
        "host1\nother",
        "",
        "-oProxyCommand=x",
        ".example.org",
        "$(reboot)",
        "a b",
        "h\xc3\xb6st",
        "URI:http://x",
        "192.0.2.1/24",
        "fe80::1%eth0",
        "../x",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(hostile); i++) {
        refuse_body(body_of("libvirt", "host1", request, json_pack("[s,s]", "host1", hostile[i])),
                    400, "'names'");
        refuse_body(body_of("libvirt", hostile[i], request, good_names()), 400, "'host'");
    }
    g_autofree char *long_name = g_strnfill(254, 'a');
    refuse_body(body_of("libvirt", "host1", request, json_pack("[s]", long_name)), 400, "'names'");
    refuse_body(body_of("libvirt", "host1", request, json_pack("[i]", 1)), 400, "'names'");
    refuse_body(body_of("libvirt", "host1", request, json_array()), 400, "'names'");
    json_t *many = json_array();
    for (unsigned i = 0; i < 65; i++) {
        g_autofree char *name = g_strdup_printf("host%u", i);
        json_array_append_new(many, json_string(name));
    }
    refuse_body(body_of("libvirt", "host1", request, many), 400, "names");
}

static void
test_role_and_request(void)
{
    g_autofree char *key = in_dir("weak-key.pem"), *csr = in_dir("weak.csr");
    const char *const weak[] = {"openssl", "req",     "-new", "-newkey", "rsa:1024",
                                "-nodes",  "-keyout", key,    "-subj",   "/CN=x",
                                "-out",    csr,       NULL};
    g_free(run(weak));
    g_autofree char *weak_request = read_file("weak.csr");
    g_autofree char *ca = read_file("pki/ca.pem");
    g_autofree char *other = g_strdup(request);
    char *middle = other + strlen(other) / 2;

    *middle = *middle == 'A' ? 'B' : 'A';
    refuse_body(body_of("ca", "host1", request, good_names()), 400, "'role'");
    refuse_body(body_of("libvirt-", "host1", request, good_names()), 400, "'role'");
    refuse_body(body_of("", "host1", request, good_names()), 400, "role");
    refuse_body(body_of("libvirt", "host1", "", good_names()), 400, "request");
    refuse_body(body_of("libvirt", "host1", "hello", good_names()), 400, "PKCS#10");
    refuse_body(body_of("libvirt", "host1", ca, good_names()), 400, "PKCS#10");
    refuse_body(body_of("libvirt", "host1", weak_request, good_names()), 400, "too weak");
    refuse_body(body_of("libvirt", "host1", other, good_names()), 400, "request");
    g_autofree char *large = g_strnfill(16385, 'A');
    refuse_body(body_of("libvirt", "host1", large, good_names()), 400, "request");
    refuse("POST", "/godwit/v1/certificates", 0, "{\"certificate\":{\"role\":\"libvirt\"}}", 400,
           "host");
    refuse("POST", "/godwit/v1/certificates", 0, "{\"certificate\":{\"days\":99999}}", 400, "days");
}

static void
test_policy(void)
{
    token = reader_token;
    refuse_body(body_of("libvirt", "host1", request, good_names()), 403, NULL);
    refuse("GET", "/godwit/v1/ceph-conf", 0, NULL, 403, NULL);
    json_t *answer = get("/godwit/v1/ca", 0);
    const json_t *ca = json_object_get(answer, "ca");
    g_assert_nonnull(json_object_get(ca, "certificate"));
    g_assert_null(json_object_get(ca, "pkipath"));
    g_assert_null(json_object_get(ca, "certificates"));
    json_decref(answer);
    token = NULL;
    refuse_body(body_of("libvirt", "host1", request, good_names()), 401, NULL);
    refuse("GET", "/godwit/v1/ca", 0, NULL, 401, NULL);
    token = admin_token;
}

static void
test_ca(void)
{
    json_t *answer = get("/godwit/v1/ca", 0);
    const json_t *ca = json_object_get(answer, "ca");
    const json_t *rows = json_object_get(ca, "certificates");
    const char *pem = json_string_value(json_object_get(ca, "certificate"));
    int64_t now = clock_realtime();
    g_autofree char *pkipath = in_dir("pki/libvirt");

    g_assert_null(strstr(pem, "PRIVATE"));
    g_assert_cmpint(json_integer_value(json_object_get(ca, "expires_at")), >, now);
    g_assert_cmpuint(json_array_size(rows), ==, 1); /* this world made no other */
    g_assert_cmpstr(json_string_value(json_object_get(json_array_get(rows, 0), "name")), ==,
                    "server");
    g_assert_cmpint(json_integer_value(json_object_get(json_array_get(rows, 0), "expires_at")), >,
                    now);
    g_assert_cmpstr(json_string_value(json_object_get(ca, "pkipath")), ==, pkipath);
    json_decref(answer);
}

/* The disks of this world are files. */
static void
test_ceph_conf(void)
{
    refuse("GET", "/godwit/v1/ceph-conf", 0, NULL, 400, "not on Ceph");
}

/* All that is logged, at the most talkative level, while a key is sent where none belongs. */
static void
test_log(void)
{
    g_autofree char *path = in_dir("log"), *key = read_file("node-key.pem");
    g_autofree char *ca_key = read_file("pki/ca-key.pem");
    g_auto(GStrv) ca_lines = g_strsplit(ca_key, "\n", 3);
    int log = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600), kept = dup(STDERR_FILENO);

    g_assert_cmpint(log, >=, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    g_assert_cmpint(dup2(log, STDERR_FILENO), >=, 0);
    refuse_body(body_of("libvirt", "host1", key, good_names()), 400, "PKCS#10");
    char *body = body_of("libvirt", "host1", request, good_names());
    int status = ask("POST", "/godwit/v1/certificates", 0, body, NULL);
    log_event(LOG_LEVEL_INFO, "test", "the end of this test", NULL);
    dup2(kept, STDERR_FILENO);
    log_set_level(LOG_LEVEL_ERROR);
    close(log);
    close(kept);
    free(body);
    g_assert_cmpint(status, ==, 201);
    g_autofree char *text = read_file("log");
    g_assert_nonnull(strstr(text, "the end of this test"));
    g_assert_null(strstr(text, "PRIVATE KEY"));
    g_assert_null(strstr(text, key_line));
    g_assert_null(strstr(text, ca_lines[1]));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *openssl = g_find_program_in_path("openssl");
    if (!openssl) {
        puts("1..0 # SKIP openssl, which makes the requests, is not installed");
        return 0;
    }
    log_set_level(LOG_LEVEL_ERROR);
    begin();
    g_test_add_func("/godwit-certificates/signed", test_signed);
    g_test_add_func("/godwit-certificates/names", test_names);
    g_test_add_func("/godwit-certificates/role-and-request", test_role_and_request);
    g_test_add_func("/godwit-certificates/policy", test_policy);
    g_test_add_func("/godwit-certificates/ca", test_ca);
    g_test_add_func("/godwit-certificates/ceph-conf", test_ceph_conf);
    g_test_add_func("/godwit-certificates/log", test_log);
    int failed = g_test_run();
    world_end();
    return failed;
}
