/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-compute-api.c: what the compute service accepts, what it refuses and how, at which
 * microversion */
#include "compute-world.h"

static void
test_create_bodies(void)
{
    static const char head[] =
        "{\"server\":{\"name\":\"x\",\"imageRef\":\"" IMAGE_ID "\",\"flavorRef\":\"1\"";
    static const struct {
        const char *more; /* appended to head */
        int microversion, status;
        const char *message;
    } cases[] = {
        {"", 37, 400, "networks"},
        {",\"networks\":\"some\"", 37, 400, "networks"},
        {",\"networks\":\"none\"", 36, 400, "networks"},
        {",\"networks\":[{\"uuid\":\"nonsense\"}]", 37, 400, "UUID"},
        {",\"networks\":[{\"uuid\":\"11111111-2222-4333-8444-000000000000\"}]", 37, 400,
         "could not be found"},
        {",\"networks\":[{\"uuid\":\"11111111-2222-4333-8444-000000000000\",\"x\":1}]", 37, 400,
         "'x'"},
        {",\"networks\":[{\"fixed_ip\":\"10.0.0.1\"}]", 37, 400, "missing uuid"},
        {",\"networks\":\"none\",\"description\":\"d\"", 37, 202, NULL},
        {",\"description\":\"d\"", 18, 400, "description"},
        {",\"networks\":\"none\",\"tags\":[\"a\",\"b\"]", 52, 202, NULL},
        {",\"networks\":\"none\",\"tags\":[\"a\",\"b\"]", 51, 400, "tags"},
        {",\"networks\":\"none\",\"tags\":[\"a,b\"]", 52, 400, "tags[0]"},
        {",\"networks\":\"none\",\"personality\":[]", 57, 400, "personality"},
        {",\"networks\":\"none\",\"personality\":[]", 56, 202, NULL},
        {",\"networks\":\"none\",\"host\":\"host1\"", 74, 202, NULL},
        {",\"networks\":\"none\",\"host\":\"host1\"", 73, 400, "host"},
        {",\"networks\":\"none\",\"host\":\"mars\"", 74, 400, "mars"},
        {",\"networks\":\"none\",\"hostname\":\"h-1\"", 90, 202, NULL},
        {",\"networks\":\"none\",\"hostname\":\"h-1\"", 89, 400, "hostname"},
        {",\"networks\":\"none\",\"hostname\":\"-\"", 90, 400, "hostname"},
        {",\"networks\":\"none\",\"hostname\":\"h-1.example.org\"", 93, 400, "hostname"},
        {",\"networks\":\"none\",\"hostname\":\"h-1.example.org\"", 94, 202, NULL},
        {",\"networks\":\"none\",\"hostname\":\"h..org\"", 94, 400, "hostname"},
        {",\"networks\":\"none\",\"hostname\":\".\"", 94, 400, "hostname"},
        {",\"networks\":\"none\",\"hostname\":\"a_b.org\"", 94, 400, "hostname"},
        {",\"networks\":\"none\",\"availability_zone\":\"nova:host2\"", 37, 202, NULL},
        {",\"networks\":\"none\",\"availability_zone\":\"mars\"", 37, 400, "mars"},
        {",\"networks\":\"none\",\"min_count\":3,\"max_count\":2", 37, 400, "min_count"},
        {",\"networks\":\"none\",\"min_count\":0", 37, 400, "min_count"},
        {",\"networks\":\"none\",\"min_count\":1000", 37, 403, "Quota"},
        {",\"networks\":\"none\",\"max_count\":2", 37, 202, NULL},
        {",\"networks\":\"none\",\"user_data\":\"%%%\"", 37, 400, "base64"},
        {",\"networks\":\"none\",\"user_data\":\"aGVsbG8=\"", 37, 202, NULL},
        {",\"networks\":\"none\",\"key_name\":\"nokey\"", 37, 400, "nokey"},
        {",\"networks\":\"none\",\"metadata\":{\"a\":1}", 37, 400, "metadata"},
        {",\"networks\":\"none\",\"config_drive\":\"maybe\"", 37, 400, "config_drive"},
        {",\"networks\":\"none\",\"surprise\":1", 37, 400, "surprise"},
        {",\"networks\":\"none\",\"block_device_mapping_v2\":[{\"source_type\":\"volume\","
         "\"destination_type\":\"volume\",\"uuid\":\"v\",\"boot_index\":\"0\"}]",
         37, 400, "Boot sequence"},
        {",\"networks\":\"none\",\"block_device_mapping_v2\":[{\"source_type\":\"image\","
         "\"destination_type\":\"local\",\"uuid\":\"" IMAGE_ID "\",\"boot_index\":0}]",
         37, 202, NULL},
        {",\"networks\":\"none\",\"return_reservation_id\":true", 37, 202, "reservation_id"},
    };
    static const struct {
        const char *body;
        const char *message;
    } wrong[] = {
        {"{}", "server"},
        {"[]", NULL},
        {"nonsense", NULL},
        {"{\"server\":null}", "server"},
        {"{\"server\":{\"name\":\"\",\"imageRef\":\"" IMAGE_ID "\",\"flavorRef\":\"1\"}}", "name"},
        {"{\"server\":{\"name\":\" x\",\"imageRef\":\"" IMAGE_ID "\",\"flavorRef\":\"1\"}}",
         "name"},
        {"{\"server\":{\"name\":\"x\",\"imageRef\":\"\",\"flavorRef\":\"1\"}}", "imageRef"},
        {"{\"server\":{\"name\":\"x\",\"flavorRef\":\"1\"}}", "imageRef"},
        {"{\"server\":{\"name\":\"x\",\"imageRef\":\"" IMAGE_ID "\"}}", "flavorRef"},
        {"{\"server\":{\"name\":\"x\",\"imageRef\":\"" IMAGE_ID "\",\"flavorRef\":\"99\"}}",
         "Flavor 99"},
        {"{\"server\":{\"name\":\"x\",\"imageRef\":\"" IMAGE_ID "\",\"flavorRef\":\"1\"},\"x\":1}",
         "'x'"},
        {"{\"server\":{\"name\":\"x\",\"imageRef\":\"11111111-2222-4333-8444-666666666666\","
         "\"flavorRef\":\"1\"}}",
         "disk is too small"},
        {"{\"server\":{\"name\":\"x\",\"imageRef\":\"11111111-2222-4333-8444-777777777777\","
         "\"flavorRef\":\"1\"}}",
         "memory is too small"},
        {"{\"server\":{\"name\":\"x\",\"imageRef\":\"11111111-2222-4333-8444-888888888888\","
         "\"flavorRef\":\"1\"}}",
         "not active"},
        {"{\"server\":{\"name\":\"x\",\"imageRef\":\"11111111-2222-4333-8444-999999999999\","
         "\"flavorRef\":\"1\"}}",
         "image"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *body = g_strconcat(head, cases[i].more, "}}", NULL);
        refuse("POST", "/compute/v2.1/servers", cases[i].microversion, body, cases[i].status,
               cases[i].message);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
        refuse("POST", "/compute/v2.1/servers", 1, wrong[i].body, 400, wrong[i].message);
}

static void
test_lists(void)
{
    g_autofree char *marker_path =
        g_strconcat("/compute/v2.1/servers?limit=1&marker=", server_id, NULL);
    json_t *answer = get("/compute/v2.1/servers?limit=2", 1);
    json_t *link;
    int pages = 0, rows = 0;

    g_assert_cmpuint(json_array_size(json_object_get(answer, "servers")), ==, 2);
    g_assert_nonnull(json_object_get(answer, "servers_links"));
    json_decref(answer);
    /* Page after page finds each server once. */
    g_autofree char *path = g_strdup("/compute/v2.1/servers?limit=3");
    while (path) {
        answer = get(path, 1);
        rows += (int)json_array_size(json_object_get(answer, "servers"));
        link = json_array_get(json_object_get(answer, "servers_links"), 0);
        g_free(path);
        path = NULL;
        if (link) {
            const char *href = json_string_value(json_object_get(link, "href"));
            g_assert_true(g_str_has_prefix(href, "https://cloud.example:8774/compute/"));
            path = g_strdup(href + strlen("https://cloud.example:8774"));
        }
        json_decref(answer);
        g_assert_cmpint(pages++, <, 20);
    }
    answer = get("/compute/v2.1/servers", 1);
    g_assert_cmpint(rows, ==, (int)json_array_size(json_object_get(answer, "servers")));
    json_decref(answer);
    refuse("GET", marker_path, 1, NULL, 200, "servers");
    refuse("GET", "/compute/v2.1/servers?marker=nobody", 1, NULL, 400, "nobody");
    refuse("GET", "/compute/v2.1/servers?limit=-1", 1, NULL, 400, "limit");
    refuse("GET", "/compute/v2.1/servers?name=%5Eone%24", 1, NULL, 200, server_id);
    refuse("GET", "/compute/v2.1/servers?name=(((", 1, NULL, 200, "[]");
    refuse("GET", "/compute/v2.1/servers?status=ACTIVE", 1, NULL, 200, server_id);
    refuse("GET", "/compute/v2.1/servers?status=SHUTOFF", 1, NULL, 200, "[]");
    refuse("GET", "/compute/v2.1/servers?status=NOISE", 1, NULL, 200, "[]");
    refuse("GET", "/compute/v2.1/servers?status=NOISE", 38, NULL, 400, "status");
    refuse("GET", "/compute/v2.1/servers?host=host1", 1, NULL, 200, server_id);
    refuse("GET", "/compute/v2.1/servers?host=host9", 1, NULL, 200, "[]");
    refuse("GET", "/compute/v2.1/servers?all_tenants=1&flavor=1", 1, NULL, 200, server_id);
    refuse("GET", "/compute/v2.1/servers?flavor=9", 1, NULL, 200, "[]");
    refuse("GET", "/compute/v2.1/servers?changes-since=2020-01-01T00:00:00Z", 1, NULL, 200,
           server_id);
    refuse("GET", "/compute/v2.1/servers?changes-since=yesterday", 1, NULL, 400, "yesterday");
    refuse("GET", "/compute/v2.1/servers?noise=1", 74, NULL, 200, server_id);
    refuse("GET", "/compute/v2.1/servers?noise=1", 75, NULL, 400, "noise");
    refuse("GET", "/compute/v2.1/servers?sort_key=display_name&sort_dir=asc", 1, NULL, 200, "one");
    refuse("GET", "/compute/v2.1/servers?sort_key=noise", 1, NULL, 400, "noise");
    refuse("GET", "/compute/v2.1/servers/no-such-server", 1, NULL, 404, "no-such-server");
}

static void
test_change(void)
{
    g_autofree char *path = g_strconcat("/compute/v2.1/servers/", server_id, NULL);
    g_autofree char *metadata = g_strconcat(path, "/metadata", NULL);
    g_autofree char *item = g_strconcat(path, "/metadata/k", NULL);
    g_autofree char *tags = g_strconcat(path, "/tags", NULL);
    g_autofree char *tag = g_strconcat(path, "/tags/red", NULL);

    refuse("PUT", path, 1, "{\"server\":{\"name\":\"two\"}}", 200, "\"two\"");
    refuse("PUT", path, 18, "{\"server\":{\"description\":\"d\"}}", 400, "description");
    refuse("PUT", path, 19, "{\"server\":{\"description\":null}}", 200, "\"description\":null");
    refuse("PUT", path, 89, "{\"server\":{\"hostname\":\"hh\"}}", 400, "hostname");
    refuse("PUT", path, 90, "{\"server\":{\"hostname\":\"hh\"}}", 200, "\"hh\"");
    refuse("PUT", path, 93, "{\"server\":{\"hostname\":\"hh.example\"}}", 400, "hostname");
    refuse("PUT", path, 94, "{\"server\":{\"hostname\":\"hh.example\"}}", 200, "hh.example");
    refuse("GET", path, 96, NULL, 406, "2.95");
    refuse("PUT", path, 74, "{\"server\":{}}", 200, "locked_reason");
    refuse("PUT", path, 75, "{\"server\":{}}", 200, "OS-EXT-STS:vm_state");
    refuse("POST", metadata, 1, "{\"metadata\":{\"k\":\"v\"}}", 200, "\"k\":\"v\"");
    refuse("PUT", item, 1, "{\"meta\":{\"k\":\"w\"}}", 200, "\"w\"");
    refuse("PUT", item, 1, "{\"meta\":{\"other\":\"w\"}}", 400, "URI mismatch");
    refuse("GET", item, 1, NULL, 200, "\"w\"");
    refuse("PUT", metadata, 1, "{\"metadata\":{\"z\":\"1\"}}", 200, "{\"metadata\":{\"z\":\"1\"}}");
    refuse("DELETE", item, 1, NULL, 404, "Metadata item");
    refuse("POST", metadata, 1, "{\"metadata\":{\"k\":7}}", 400, "not a string");
    refuse("GET", tags, 25, NULL, 404, NULL);
    refuse("PUT", tag, 26, NULL, 201, NULL);
    refuse("PUT", tag, 26, NULL, 204, NULL);
    refuse("GET", tag, 26, NULL, 204, NULL);
    refuse("PUT", tags, 26, "{\"tags\":[\"a\",\"a\",\"b\"]}", 200, "[\"a\",\"b\"]");
    refuse("GET", tag, 26, NULL, 404, "red");
    refuse("DELETE", tags, 26, NULL, 204, NULL);
}

static void
test_services(void)
{
    json_t *answer = get("/compute/v2.1/os-services?host=host3&binary=nova-compute", 53);
    json_t *row = json_array_get(json_object_get(answer, "services"), 0);
    g_autofree char *path = g_strconcat("/compute/v2.1/os-services/",
                                        json_string_value(json_object_get(row, "id")), NULL);

    refuse("PUT", path, 53, "{}", 400, "No updates");
    refuse("PUT", path, 53, "{\"status\":\"off\"}", 400, "status");
    refuse("PUT", path, 53, "{\"status\":\"disabled\",\"disabled_reason\":\"tea\"}", 200, "tea");
    refuse("PUT", path, 53, "{\"status\":\"enabled\",\"disabled_reason\":\"tea\"}", 400, "invalid");
    refuse("GET", "/compute/v2.1/os-availability-zone/detail", 1, NULL, 200, "host2");
    refuse("PUT", path, 53, "{\"status\":\"enabled\",\"forced_down\":true}", 200, "\"down\"");
    refuse("PUT", path, 53, "{\"forced_down\":false}", 200, "\"up\"");
    refuse("PUT", "/compute/v2.1/os-services/disable", 1,
           "{\"host\":\"host3\",\"binary\":\"nova-compute\"}", 200, "disabled");
    refuse("PUT", "/compute/v2.1/os-services/enable", 1,
           "{\"host\":\"host3\",\"binary\":\"nova-compute\"}", 200, "enabled");
    refuse("PUT", "/compute/v2.1/os-services/disable-log-reason", 1,
           "{\"host\":\"host3\",\"binary\":\"nova-compute\"}", 400, "reason");
    refuse("PUT", "/compute/v2.1/os-services/force-down", 10,
           "{\"host\":\"host3\",\"binary\":\"nova-compute\"}", 404, NULL);
    refuse("PUT", "/compute/v2.1/os-services/force-down", 11,
           "{\"host\":\"host3\",\"binary\":\"nova-compute\",\"forced_down\":false}", 200,
           "forced_down");
    refuse("PUT", "/compute/v2.1/os-services/enable", 52,
           "{\"host\":\"mars\",\"binary\":\"nova-compute\"}", 404, "mars");
    refuse("PUT", "/compute/v2.1/os-services/enable", 53, "{\"status\":\"enabled\"}", 400, "uuid");
    json_decref(answer);
}

static void
test_keypairs(void)
{
    static const char key[] =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGdvZHdpdC1nb2R3aXQtZ29kd2l0LWdvZHdpdC1n a@b";
    g_autofree char *body =
        g_strdup_printf("{\"keypair\":{\"name\":\"k1\",\"public_key\":\"%s\"}}", key);

    refuse("POST", "/compute/v2.1/os-keypairs", 92, body, 201, "\"type\":\"ssh\"");
    refuse("POST", "/compute/v2.1/os-keypairs", 92, body, 409, "already exists");
    refuse("POST", "/compute/v2.1/os-keypairs", 92, "{\"keypair\":{\"name\":\"k2\"}}", 400,
           "public_key");
    refuse("POST", "/compute/v2.1/os-keypairs", 1,
           "{\"keypair\":{\"name\":\"k2\",\"public_key\":\"ssh-rsa nonsense\"}}", 400,
           "fingerprint");
    refuse("POST", "/compute/v2.1/os-keypairs", 1,
           "{\"keypair\":{\"name\":\"k2\",\"type\":\"ssh\"}}", 400, "type");
    refuse("GET", "/compute/v2.1/os-keypairs", 35, NULL, 200, "k1");
    refuse("GET", "/compute/v2.1/os-keypairs/k1", 1, NULL, 200, "created_at");
    refuse("DELETE", "/compute/v2.1/os-keypairs/k1", 1, NULL, 202, NULL);
    refuse("DELETE", "/compute/v2.1/os-keypairs/k1", 2, NULL, 404, "k1");
}

typedef struct HostFlaw {
    bool storage_visible;
    int64_t memory_mb;
    HostState state;
} HostFlaw;

static bool
set_host2(StoreTx *tx, void *opaque, GError **err)
{
    const HostFlaw *flaw = opaque;
    StoreCond where[] = {{"name", STORE_EQ, "host2", 0}, {0}};
    g_autoptr(Host) host = store_find(tx, &HOST, where, err);

    if (!host)
        return false;
    host->storage_visible = flaw->storage_visible;
    host->memory_mb = flaw->memory_mb;
    host->state = flaw->state;
    return store_update(tx, &HOST, host, err);
}

/* What the store knows of a host is said at once, whatever the microversion. */
static void
refuse_moves(const char *path)
{
    static HostFlaw flaws[] = {
        {false, 4096, HOST_UP}, {true, 16, HOST_UP}, {true, 4096, HOST_DOWN}};
    static HostFlaw good = {true, 4096, HOST_UP};
    GError *error = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(flaws); i++) {
        g_assert_true(store_write(store, set_host2, &flaws[i], &error));
        for (int v = 25; v <= 92; v += 67)
            refuse("POST", path, v,
                   "{\"os-migrateLive\":{\"host\":\"host2\",\"block_migration\":\"auto\"}}", 400,
                   "host2");
    }
    g_assert_true(store_write(store, set_host2, &good, &error));
    g_assert_no_error(error);
}

static void
test_actions(void)
{
    g_autofree char *path = g_strdup_printf("/compute/v2.1/servers/%s/action", server_id);

    refuse("POST", path, 1, "{}", 400, "exactly one");
    refuse("POST", path, 1, "{\"os-start\":null,\"os-stop\":null}", 400, "exactly one");
    refuse("POST", path, 1, "{\"fly\":null}", 400, "no such action");
    refuse("POST", path, 1, "{\"shelve\":null}", 400, "not supported by this cloud yet");
    refuse("POST", path, 1, "{\"os-start\":null}", 409, "conflictingRequest");
    refuse("POST", path, 1, "{\"reboot\":{\"type\":\"WARM\"}}", 400, "type");
    refuse("POST", path, 1, "{\"reboot\":{}}", 400, "type");
    refuse("POST", path, 25,
           "{\"os-migrateLive\":{\"host\":\"mars\",\"block_migration\":\"auto\"}}", 400,
           "could not be found");
    refuse("POST", path, 25,
           "{\"os-migrateLive\":{\"host\":\"host1\",\"block_migration\":\"auto\"}}", 400,
           "current host");
    refuse("POST", path, 24,
           "{\"os-migrateLive\":{\"host\":\"host2\",\"block_migration\":\"auto\"}}", 400, "");
    refuse("POST", path, 25,
           "{\"os-migrateLive\":{\"host\":\"host2\",\"block_migration\":false,\"disk_over_commit\":"
           "false}}",
           400, "disk_over_commit");
    refuse("POST", path, 25,
           "{\"os-migrateLive\":{\"host\":\"host2\",\"block_migration\":\"auto\",\"force\":true}}",
           400, "force");
    refuse("POST", path, 68,
           "{\"os-migrateLive\":{\"host\":\"host2\",\"block_migration\":\"auto\",\"force\":true}}",
           400, "force");
    refuse("POST", path, 30,
           "{\"os-migrateLive\":{\"host\":null,\"block_migration\":\"auto\",\"force\":true}}", 400,
           "non-provided");
    refuse("POST", path, 25, "{\"os-migrateLive\":{\"host\":\"host2\",\"block_migration\":true}}",
           400, "Block migration");
    refuse("POST", path, 25, "{\"os-migrateLive\":{\"host\":7,\"block_migration\":\"auto\"}}", 400,
           "host");
    refuse("PUT", "/compute/v2.1/os-services/disable", 1,
           "{\"host\":\"host2\",\"binary\":\"nova-compute\"}", 200, "disabled");
    refuse("POST", path, 25,
           "{\"os-migrateLive\":{\"host\":\"host2\",\"block_migration\":\"auto\"}}", 400,
           "disabled");
    refuse("PUT", "/compute/v2.1/os-services/enable", 1,
           "{\"host\":\"host2\",\"binary\":\"nova-compute\"}", 200, "enabled");
    refuse_moves(path);
    /* Nothing of all that has changed anything. */
    refuse("GET", "/compute/v2.1/os-migrations", 92, NULL, 200, "\"migrations\":[]");

    start_move();
    refuse("POST", path, 30,
           "{\"os-migrateLive\":{\"host\":\"host3\",\"block_migration\":\"auto\"}}", 409,
           "migrating");
}

static void
test_delete(void)
{
    g_autofree char *path = g_strconcat("/compute/v2.1/servers/", server_id, NULL);

    refuse("DELETE", path, 1, NULL, 204, NULL);
    refuse("DELETE", path, 1, NULL, 204, NULL);
    refuse("GET", path, 1, NULL, 200, "deleting");
}

static char *
make_network(const char *name, const char *bridge, const char *cidr)
{
    g_autofree char *body = g_strdup_printf(
        "{\"network\":{\"name\":\"%s\",\"provider:physical_network\":\"%s\"}}", name, bridge);
    g_autofree char *subnet = NULL;
    json_t *answer = NULL;
    char *id;

    g_assert_cmpint(ask("POST", "/network/v2.0/networks", 0, body, &answer), ==, 201);
    id = g_strdup(json_string_value(json_object_get(json_object_get(answer, "network"), "id")));
    json_decref(answer);
    subnet = g_strdup_printf(
        "{\"subnet\":{\"network_id\":\"%s\",\"ip_version\":4,\"cidr\":\"%s\"}}", id, cidr);
    refuse("POST", "/network/v2.0/subnets", 0, subnet, 201, NULL);
    return id;
}

static void
test_networks(void)
{
    static const char plain[] =
        "{\"server\":{\"name\":\"net\",\"imageRef\":\"" IMAGE_ID "\",\"flavorRef\":\"1\"}}";
    g_autofree char *network = make_network("lab", "br0", "10.7.0.0/24");
    g_autofree char *fixed = g_strdup_printf(
        "{\"server\":{\"name\":\"net\",\"imageRef\":\"" IMAGE_ID
        "\",\"flavorRef\":\"1\",\"networks\":[{\"uuid\":\"%s\",\"fixed_ip\":\"10.7.0.77\"}]}}",
        network);
    g_autofree char *outside = g_strdup_printf(
        "{\"server\":{\"name\":\"net\",\"imageRef\":\"" IMAGE_ID
        "\",\"flavorRef\":\"1\",\"networks\":[{\"uuid\":\"%s\",\"fixed_ip\":\"10.8.0.77\"}]}}",
        network);
    g_autofree char *other = NULL, *id = NULL, *path = NULL, *interfaces = NULL;
    json_t *answer = NULL;
    GError *error = NULL;

    g_assert_cmpint(ask("POST", "/compute/v2.1/servers", 37, fixed, &answer), ==, 202);
    id = g_strdup(json_string_value(json_object_get(json_object_get(answer, "server"), "id")));
    json_decref(answer);
    path = g_strconcat("/compute/v2.1/servers/", id, NULL);
    interfaces = g_strconcat(path, "/os-interface", NULL);
    refuse("GET", path, 1, NULL, 200, "\"addresses\":{}"); /* not while it is being built */
    g_assert_true(store_write(store, make_active, id, &error));
    refuse("GET", path, 1, NULL, 200, "\"addr\":\"10.7.0.77\"");
    refuse("GET", "/compute/v2.1/servers/detail", 1, NULL, 200, "\"addr\":\"10.7.0.77\"");
    refuse("GET", "/compute/v2.1/servers?ip=10.7.0.77", 1, NULL, 200, id);
    refuse("GET", "/compute/v2.1/servers?ip=10.9", 1, NULL, 200, "[]");
    refuse("GET", interfaces, 69, NULL, 200, "10.7.0.77");
    refuse("GET", interfaces, 70, NULL, 200, "\"tag\":null");
    refuse("POST", "/compute/v2.1/servers", 37, fixed, 400, "10.7.0.77");
    refuse("POST", "/compute/v2.1/servers", 37, outside, 400, "10.8.0.77");
    /* Without a word about networks the only one is taken; of two none can be guessed. */
    refuse("POST", "/compute/v2.1/servers", 36, plain, 202, NULL);
    other = make_network("other", "br1", "10.9.0.0/24");
    refuse("POST", "/compute/v2.1/servers", 36, plain, 409, "Multiple possible networks");
}

static void
test_keypair_made(void)
{
    json_t *answer = NULL;
    g_autofree char *tool = g_find_program_in_path("ssh-keygen");

    if (!tool) {
        g_test_skip("ssh-keygen is not installed");
        return;
    }
    g_assert_cmpint(
        ask("POST", "/compute/v2.1/os-keypairs", 91, "{\"keypair\":{\"name\":\"made\"}}", &answer),
        ==, 201);
    const json_t *pair = json_object_get(answer, "keypair");
    g_assert_true(
        g_str_has_prefix(json_string_value(json_object_get(pair, "private_key")), "-----BEGIN"));
    g_assert_true(
        g_str_has_prefix(json_string_value(json_object_get(pair, "public_key")), "ssh-rsa "));
    g_assert_cmpuint(json_string_length(json_object_get(pair, "fingerprint")), ==, 47);
    json_decref(answer);
}

int
main(int argc, char **argv)
{
    int failed;

    g_test_init(&argc, &argv, NULL);
    log_set_level(LOG_LEVEL_WARNING);
    curl_global_init(CURL_GLOBAL_ALL);
    world_begin();
    g_test_add_func("/compute/create", test_create);
    g_test_add_func("/compute/create-bodies", test_create_bodies);
    g_test_add_func("/compute/lists", test_lists);
    g_test_add_func("/compute/change", test_change);
    g_test_add_func("/compute/services", test_services);
    g_test_add_func("/compute/keypairs", test_keypairs);
    g_test_add_func("/compute/keypair-made", test_keypair_made);
    g_test_add_func("/compute/actions", test_actions);
    g_test_add_func("/compute/delete", test_delete);
    g_test_add_func("/compute/networks", test_networks);
    failed = g_test_run();
    world_end();
    return failed;
}
