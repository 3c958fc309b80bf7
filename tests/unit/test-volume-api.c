/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-volume-api.c: what the block storage service accepts, what it refuses and how, and what it
 * shows at which microversion
 *
 * No task runs: a volume that has been asked for stays "creating" until the test moves it on. */
#include "compute-world.h"

#define ALPINE "11111111-2222-4333-8444-555555555555" /* 1 MiB */
#define LARGE  "11111111-2222-4333-8444-666666666666" /* 5 GiB */
#define QUEUED "11111111-2222-4333-8444-888888888888"
#define NOBODY "00000000-0000-4000-8000-000000000000"

static char *project, *admin_token;

static char *v3(const char *format, ...) G_GNUC_PRINTF(1, 2);
static char *
v3(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *rest = g_strdup_vprintf(format, args);
    va_end(args);
    return g_strdup_printf("/volume/v3/%s/%s", project, rest);
}

#define ASK(method, minor, body, status, message, ...)       \
    do {                                                     \
        g_autofree char *path_ = v3(__VA_ARGS__);            \
        refuse(method, path_, minor, body, status, message); \
    } while (0)

static json_t *
fetch(int minor, const char *path)
{
    g_autofree char *whole = v3("%s", path);

    return get(whole, minor);
}

/* ---- moving rows on -------------------------------------------------------------------------- */

typedef struct Move {
    const char *id;
    int status;
} Move;

static bool
move_volume(StoreTx *tx, void *opaque, GError **err)
{
    const Move *move = opaque;
    g_autoptr(Volume) volume = store_get(tx, &VOLUME, move->id, err);
    StoreCond where[] = {{"volume_id", STORE_EQ, move->id, 0}, {0}};

    if (!volume)
        return false;
    volume->status = (VolumeStatus)move->status;
    return store_update(tx, &VOLUME, volume, err) && store_delete_where(tx, &TASK, where, err);
}

static void
volume_becomes(const char *id, VolumeStatus status)
{
    Move move = {id, (int)status};
    GError *error = NULL;

    g_assert_true(store_write(store, move_volume, &move, &error));
    g_assert_no_error(error);
}

static bool
move_snapshot(StoreTx *tx, void *opaque, GError **err)
{
    const Move *move = opaque;
    g_autoptr(Snapshot) snapshot = store_get(tx, &SNAPSHOT, move->id, err);

    if (!snapshot)
        return false;
    snapshot->status = (SnapshotStatus)move->status;
    return store_update(tx, &SNAPSHOT, snapshot, err);
}

static void
snapshot_becomes(const char *id, SnapshotStatus status)
{
    Move move = {id, (int)status};
    GError *error = NULL;

    g_assert_true(store_write(store, move_snapshot, &move, &error));
    g_assert_no_error(error);
}

static bool
remove_all(StoreTx *tx, void *opaque, GError **err)
{
    StoreCond any[] = {{"id", STORE_NE, "", 0}, {0}};
    StoreCond tasks[] = {{"id", STORE_GT, NULL, 0}, {0}};
    (void)opaque;

    return store_delete_where(tx, &TASK, tasks, err) &&
           store_delete_where(tx, &ATTACHMENT, any, err) &&
           store_delete_where(tx, &SNAPSHOT, any, err) &&
           store_delete_where(tx, &VOLUME, any, err) && store_delete_where(tx, &QUOTA, any, err);
}

static void
clean_slate(void)
{
    GError *error = NULL;

    g_assert_true(store_write(store, remove_all, NULL, &error));
    g_assert_no_error(error);
}

static char *
created_id(const char *collection, const char *kind, const char *body)
{
    g_autofree char *path = v3("%s", collection);
    json_t *answer = NULL;
    int status = ask("POST", path, 0, body, &answer);
    char *id;

    if (status != 202)
        g_error("POST %s %s: %d %s", path, body, status, answer ? json_dumps(answer, 0) : "");
    id = g_strdup(json_string_value(json_object_get(json_object_get(answer, kind), "id")));
    json_decref(answer);
    return id;
}

/* A volume that is there. */
static char *
make_volume(const char *name)
{
    g_autofree char *body = g_strdup_printf(
        "{\"volume\":{\"name\":\"%s\",\"size\":1,\"metadata\":{\"n\":\"%s\"}}}", name, name);
    char *id = created_id("volumes", "volume", body);

    volume_becomes(id, VOLUME_AVAILABLE);
    return id;
}

static const char *
member(const json_t *view, const char *key)
{
    return json_string_value(json_object_get(view, key));
}

/* ---- create ---------------------------------------------------------------------------------- */

static void
test_create_bodies(void)
{
    static const struct {
        const char *body;
        int status;
        const char *message;
    } cases[] = {
        {"{}", 400, "volume"},
        {"{\"volume\":null}", 400, "volume"},
        {"{\"volume\":[]}", 400, "volume"},
        {"{\"volume\":{}}", 400, "size"},
        {"{\"volume\":{\"size\":0}}", 400, "size"},
        {"{\"volume\":{\"size\":-1}}", 400, "size"},
        {"{\"volume\":{\"size\":\"ten\"}}", 400, "size"},
        {"{\"volume\":{\"size\":1.5}}", 400, "size"},
        {"{\"volume\":{\"size\":2147483648}}", 400, "size"},
        {"{\"volume\":{\"size\":1,\"name\":7}}", 400, "name"},
        {"{\"volume\":{\"size\":1,\"name\":\"a\\nb\"}}", 400, "control"},
        {"{\"volume\":{\"size\":1,\"colour\":1}}", 400, "colour"},
        {"{\"volume\":{\"size\":1,\"metadata\":{\"a\":1}}}", 400, "metadata"},
        {"{\"volume\":{\"size\":1,\"metadata\":{\"\":\"x\"}}}", 400, "metadata"},
        {"{\"volume\":{\"size\":1,\"multiattach\":true}}", 400, "multiattach"},
        {"{\"volume\":{\"size\":1,\"availability_zone\":\"mars\"}}", 400, "mars"},
        {"{\"volume\":{\"size\":1,\"volume_type\":\"gold\"}}", 404, "gold"},
        {"{\"volume\":{\"size\":1,\"imageRef\":\"" NOBODY "\"}}", 400, NOBODY},
        {"{\"volume\":{\"size\":1,\"imageRef\":\"" QUEUED "\"}}", 400, "not active"},
        {"{\"volume\":{\"size\":4,\"imageRef\":\"" LARGE "\"}}", 400, "larger than volume size"},
        {"{\"volume\":{\"imageRef\":\"" LARGE "\"}}", 400, "size"},
        {"{\"volume\":{\"size\":1,\"snapshot_id\":\"" NOBODY "\"}}", 404, NOBODY},
        {"{\"volume\":{\"size\":1,\"source_volid\":\"" NOBODY "\"}}", 404, NOBODY},
        {"{\"volume\":{\"size\":1,\"backup_id\":\"" NOBODY "\"}}", 404, "Backup"},
        {"{\"volume\":{\"size\":1,\"consistencygroup_id\":\"x\"}}", 404, "ConsistencyGroup"},
        {"{\"volume\":{\"size\":1,\"imageRef\":\"" ALPINE "\",\"source_volid\":\"" NOBODY "\"}}",
         400, "only one"},
        {"{\"volume\":{\"size\":5,\"imageRef\":\"" LARGE "\"}}", 202, "\"bootable\":\"true\""},
        {"{\"volume\":{\"size\":\"1\"}}", 202, "\"bootable\":\"false\""},
        {"{\"volume\":{\"size\":1,\"volume_type\":\"__DEFAULT__\"}}", 202, "__DEFAULT__"},
        {"{\"volume\":{\"size\":1,\"name\":null,\"imageRef\":null,\"snapshot_id\":null,"
         "\"source_volid\":null,\"volume_type\":null,\"availability_zone\":null,"
         "\"consistencygroup_id\":null,\"backup_id\":null,\"description\":null,\"metadata\":{}}}",
         202, "creating"},
    };

    clean_slate();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        ASK("POST", 0, cases[i].body, cases[i].status, cases[i].message, "volumes");
    ASK("POST", 0, "[]", 400, NULL, "volumes");

    /* Two may have one name. */
    g_autofree char *one = make_volume("same"), *two = make_volume("same");
    g_assert_cmpstr(one, !=, two);
    clean_slate();
}

static void
test_create_from(void)
{
    clean_slate();
    g_autofree char *image =
        created_id("volumes", "volume",
                   "{\"volume\":{\"size\":2,\"imageRef\":\"" ALPINE "\",\"name\":\"root\"}}");
    g_autofree char *clone_body = g_strdup_printf("{\"volume\":{\"source_volid\":\"%s\"}}", image);
    g_autofree char *small_body =
        g_strdup_printf("{\"volume\":{\"source_volid\":\"%s\",\"size\":1}}", image);
    g_autofree char *snapshot_body =
        g_strdup_printf("{\"snapshot\":{\"volume_id\":\"%s\",\"name\":\"s\"}}", image);

    ASK("POST", 0, clone_body, 400, "current status is: creating", "volumes");
    volume_becomes(image, VOLUME_AVAILABLE);
    ASK("POST", 0, small_body, 400, "cannot be smaller", "volumes");
    ASK("POST", 0, clone_body, 202, "\"size\":2", "volumes");

    g_autofree char *snapshot = created_id("snapshots", "snapshot", snapshot_body);
    g_autofree char *from_body = g_strdup_printf("{\"volume\":{\"snapshot_id\":\"%s\"}}", snapshot);
    g_autofree char *too_small =
        g_strdup_printf("{\"volume\":{\"snapshot_id\":\"%s\",\"size\":1}}", snapshot);
    ASK("POST", 0, from_body, 400, "Invalid snapshot", "volumes");
    snapshot_becomes(snapshot, SNAPSHOT_AVAILABLE);
    ASK("POST", 0, too_small, 400, "cannot be smaller", "volumes");
    g_autofree char *made = created_id("volumes", "volume", from_body);

    /* What was made of the image is bootable in turn, and knows the image. */
    g_autofree char *path = g_strdup_printf("volumes/%s", made);
    json_t *answer = fetch(0, path);
    const json_t *view = json_object_get(answer, "volume");
    g_assert_cmpstr(member(view, "bootable"), ==, "true");
    g_assert_cmpstr(member(view, "snapshot_id"), ==, snapshot);
    g_assert_cmpstr(member(json_object_get(view, "volume_image_metadata"), "image_id"), ==, ALPINE);
    json_decref(answer);
    clean_slate();
}

/* ---- views ----------------------------------------------------------------------------------- */

static const Key detail_keys[] = {
    {"id", 0, 0},
    {"status", 0, 0},
    {"size", 0, 0},
    {"availability_zone", 0, 0},
    {"created_at", 0, 0},
    {"updated_at", 0, 0},
    {"attachments", 0, 0},
    {"name", 0, 0},
    {"description", 0, 0},
    {"volume_type", 0, 0},
    {"snapshot_id", 0, 0},
    {"source_volid", 0, 0},
    {"metadata", 0, 0},
    {"links", 0, 0},
    {"user_id", 0, 0},
    {"bootable", 0, 0},
    {"encrypted", 0, 0},
    {"replication_status", 0, 0},
    {"consistencygroup_id", 0, 0},
    {"multiattach", 0, 0},
    {"migration_status", 0, 0},
    {"os-vol-tenant-attr:tenant_id", 0, 0},
    {"os-vol-host-attr:host", 0, 0},
    {"os-vol-mig-status-attr:migstat", 0, 0},
    {"os-vol-mig-status-attr:name_id", 0, 0},
    {"group_id", 13, 0},
    {"provider_id", 21, 0},
    {"service_uuid", 48, 0},
    {"shared_targets", 48, 0},
    {"cluster_name", 61, 0},
    {"volume_type_id", 63, 0},
    {"consumes_quota", 65, 0},
    {0},
};

static const Key snapshot_keys[] = {
    {"id", 0, 0},
    {"name", 0, 0},
    {"description", 0, 0},
    {"volume_id", 0, 0},
    {"status", 0, 0},
    {"size", 0, 0},
    {"metadata", 0, 0},
    {"created_at", 0, 0},
    {"updated_at", 0, 0},
    {"os-extended-snapshot-attributes:project_id", 0, 0},
    {"os-extended-snapshot-attributes:progress", 0, 0},
    {"group_snapshot_id", 14, 0},
    {"user_id", 41, 0},
    {"consumes_quota", 65, 0},
    {0},
};

static void
test_views(void)
{
    static const int versions[] = {0, 12, 13, 21, 47, 48, 60, 61, 63, 65, 66};

    clean_slate();
    g_autofree char *volume = make_volume("view");
    g_autofree char *body = g_strdup_printf("{\"snapshot\":{\"volume_id\":\"%s\"}}", volume);
    g_autofree char *snapshot = created_id("snapshots", "snapshot", body);
    g_autofree char *volume_path = g_strdup_printf("volumes/%s", volume);
    g_autofree char *snapshot_path = g_strdup_printf("snapshots/%s", snapshot);

    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
        json_t *answer = fetch(versions[i], volume_path);
        expect_keys(json_object_get(answer, "volume"), detail_keys, versions[i], "volume");
        json_decref(answer);
        answer = fetch(versions[i], "volumes/detail");
        expect_keys(json_array_get(json_object_get(answer, "volumes"), 0), detail_keys, versions[i],
                    "volumes/detail");
        json_decref(answer);
        answer = fetch(versions[i], snapshot_path);
        expect_keys(json_object_get(answer, "snapshot"), snapshot_keys, versions[i], "snapshot");
        json_decref(answer);
    }
    static const Key summary[] = {{"id", 0, 0}, {"name", 0, 0}, {"links", 0, 0}, {0}};
    json_t *answer = fetch(0, "volumes");
    const json_t *row = json_array_get(json_object_get(answer, "volumes"), 0);
    expect_keys(row, summary, 0, "volumes");
    g_autofree char *self = v3("volumes/%s", volume);
    g_assert_true(
        g_str_has_suffix(member(json_array_get(json_object_get(row, "links"), 0), "href"), self));
    json_decref(answer);
    ASK("GET", 0, NULL, 200, "\"encryption_key_id\":null", "volumes/%s/encryption", volume);
    clean_slate();
}

/* ---- lists ----------------------------------------------------------------------------------- */

static size_t
rows_of(const char *path, int minor)
{
    json_t *answer = fetch(minor, path);
    size_t rows = json_array_size(json_object_get(answer, "volumes"));

    json_decref(answer);
    return rows;
}

static void
test_lists(void)
{
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
    int pages = 0;

    clean_slate();
    for (int i = 0; i < 5; i++) {
        g_autofree char *name = g_strdup_printf("v%d", i);
        g_ptr_array_add(ids, make_volume(name));
    }
    volume_becomes(g_ptr_array_index(ids, 0), VOLUME_ERROR);
    g_assert_cmpuint(rows_of("volumes", 0), ==, 5);
    g_assert_cmpuint(rows_of("volumes?name=v3", 0), ==, 1);
    g_assert_cmpuint(rows_of("volumes?name=v", 0), ==, 0);
    g_assert_cmpuint(rows_of("volumes?name~=v", 31), ==, 5);
    g_assert_cmpuint(rows_of("volumes?status=error", 0), ==, 1);
    g_assert_cmpuint(rows_of("volumes?status=noise", 0), ==, 0);
    g_assert_cmpuint(rows_of("volumes?bootable=false", 0), ==, 5);
    g_assert_cmpuint(rows_of("volumes?bootable=true", 0), ==, 0);
    g_assert_cmpuint(rows_of("volumes?metadata=%7B%22n%22:%22v2%22%7D", 0), ==, 1);
    g_assert_cmpuint(rows_of("volumes?metadata=%7B%27n%27:%27v2%27%7D", 0), ==, 1);
    g_assert_cmpuint(rows_of("volumes?metadata=%7Bu%27n%27:u%27none%27%7D", 0), ==, 0);
    g_assert_cmpuint(rows_of("volumes?availability_zone=nova", 0), ==, 5);
    g_assert_cmpuint(rows_of("volumes?group_id=x", 0), ==, 0);
    g_assert_cmpuint(rows_of("volumes?all_tenants=1", 0), ==, 5);
    g_assert_cmpuint(rows_of("volumes?all_tenants=1&project_id=nobody", 0), ==, 0);
    g_assert_cmpuint(rows_of("volumes?created_at=gt:2020-01-01T00:00:00Z", 60), ==, 5);
    g_assert_cmpuint(rows_of("volumes?created_at=lt:2020-01-01T00:00:00Z", 60), ==, 0);
    g_assert_cmpuint(rows_of("volumes?offset=4", 0), ==, 1);

    /* Page after page finds each volume once, in the order asked for. */
    g_autofree char *path = v3("volumes?limit=2&sort=name:asc");
    int found = 0;
    while (path) {
        json_t *answer = get(path, 0), *row;
        size_t i;

        json_array_foreach(json_object_get(answer, "volumes"), i, row)
        {
            g_autofree char *name = g_strdup_printf("v%d", found++);
            g_assert_cmpstr(member(row, "name"), ==, name);
        }
        const json_t *link = json_array_get(json_object_get(answer, "volumes_links"), 0);
        g_free(path);
        path = link ? g_strdup(member(link, "href") + strlen("https://cloud.example:8774")) : NULL;
        json_decref(answer);
        g_assert_cmpint(pages++, <, 5);
    }
    g_assert_cmpint(found, ==, 5);
    g_assert_cmpint(pages, ==, 3);

    json_t *answer = fetch(45, "volumes?limit=1&with_count=true");
    g_assert_cmpint(json_integer_value(json_object_get(answer, "count")), ==, 5);
    json_decref(answer);
    ASK("GET", 0, NULL, 404, NOBODY, "volumes?marker=" NOBODY);
    ASK("GET", 0, NULL, 400, "limit", "volumes?limit=-1");
    ASK("GET", 0, NULL, 400, "offset", "volumes?offset=x");
    ASK("GET", 0, NULL, 400, "sort keys", "volumes?sort=colour");
    ASK("GET", 0, NULL, 400, "direction", "volumes?sort=name:up");
    ASK("GET", 0, NULL, 400, "both", "volumes?sort=name&sort_key=name");
    ASK("GET", 0, NULL, 400, "bootable", "volumes?bootable=maybe");
    ASK("GET", 0, NULL, 400, "metadata", "volumes?metadata=x");
    ASK("GET", 0, NULL, 400, "all_tenants", "volumes?all_tenants=some");
    ASK("GET", 60, NULL, 400, "created_at", "volumes?created_at=g:2020-01-01T00:00:00Z");
    ASK("GET", 12, NULL, 200, "\"total_size\":5", "volumes/summary");
    ASK("GET", 36, NULL, 200, "\"n\":[", "volumes/summary");
    ASK("GET", 11, NULL, 404, NULL, "volumes/summary");
    clean_slate();
}

/* ---- one volume ------------------------------------------------------------------------------ */

static void
test_update(void)
{
    clean_slate();
    g_autofree char *id = make_volume("u");

    ASK("PUT", 0, "{\"volume\":{\"name\":\"new\",\"description\":\"d\"}}", 200, "\"name\":\"new\"",
        "volumes/%s", id);
    ASK("PUT", 0, "{\"volume\":{\"metadata\":{\"k\":\"v\"}}}", 200, "{\"k\":\"v\"}", "volumes/%s",
        id);
    ASK("PUT", 0, "{\"volume\":{}}", 400, "empty", "volumes/%s", id);
    ASK("PUT", 0, "{\"volume\":{\"size\":9}}", 400, "size", "volumes/%s", id);
    ASK("PUT", 0, "{\"volume\":{\"name\":\"x\"}}", 404, NOBODY, "volumes/" NOBODY);

    ASK("POST", 0, "{\"metadata\":{\"a\":\"1\",\"b\":\"2\"}}", 200, "\"k\":\"v\"",
        "volumes/%s/metadata", id);
    ASK("PUT", 0, "{\"meta\":{\"a\":\"3\"}}", 200, "{\"a\":\"3\"}", "volumes/%s/metadata/a", id);
    ASK("PUT", 0, "{\"meta\":{\"b\":\"3\"}}", 400, "mismatch", "volumes/%s/metadata/a", id);
    ASK("GET", 0, NULL, 200, "{\"meta\":{\"a\":\"3\"}}", "volumes/%s/metadata/a", id);
    ASK("GET", 0, NULL, 404, "could not be found", "volumes/%s/metadata/z", id);
    ASK("DELETE", 0, NULL, 200, NULL, "volumes/%s/metadata/a", id);
    ASK("DELETE", 0, NULL, 404, NULL, "volumes/%s/metadata/a", id);
    ASK("PUT", 0, "{\"metadata\":{\"c\":\"4\"}}", 200, "{\"metadata\":{\"c\":\"4\"}}",
        "volumes/%s/metadata", id);
    ASK("POST", 0, "{\"metadata\":{\"c\":4}}", 400, "string", "volumes/%s/metadata", id);
    ASK("POST", 0, "{\"metadata\":null}", 400, "metadata", "volumes/%s/metadata", id);
    ASK("GET", 0, NULL, 200, "{\"metadata\":{\"c\":\"4\"}}", "volumes/%s/metadata", id);

    ASK("DELETE", 0, NULL, 202, NULL, "volumes/%s", id);
    ASK("DELETE", 0, NULL, 400, "Invalid volume: Volume status must be", "volumes/%s", id);
    ASK("GET", 0, NULL, 200, "\"status\":\"deleting\"", "volumes/%s", id);
    ASK("DELETE", 0, NULL, 404, NOBODY, "volumes/" NOBODY);
    clean_slate();
}

static bool
attach_row(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Volume) volume = store_get(tx, &VOLUME, opaque, err);
    g_autoptr(Server) known = store_get(tx, &SERVER, server_id, err);
    Attachment attachment = {.id = (char *)"77777777-2222-4333-8444-555555555555",
                             .volume_id = opaque,
                             .server_id = server_id,
                             .state = ATTACHMENT_ATTACHED,
                             .device = (char *)"vdb",
                             .boot_index = -1,
                             .attached_at = 1700000000 * USEC_PER_SEC,
                             .created_at = 1};

    if (!volume || !known)
        return false;
    volume->status = VOLUME_IN_USE;
    return store_update(tx, &VOLUME, volume, err) &&
           store_insert(tx, &ATTACHMENT, &attachment, err);
}

static void
test_in_use(void)
{
    GError *error = NULL;

    clean_slate();
    g_autofree char *id = make_volume("used");
    g_autofree char *path = g_strdup_printf("volumes/%s", id);
    g_autofree char *body = g_strdup_printf("{\"snapshot\":{\"volume_id\":\"%s\"}}", id);
    g_autofree char *forced =
        g_strdup_printf("{\"snapshot\":{\"volume_id\":\"%s\",\"force\":true}}", id);
    g_autofree char *unforced =
        g_strdup_printf("{\"snapshot\":{\"volume_id\":\"%s\",\"force\":false}}", id);

    g_assert_true(store_write(store, attach_row, id, &error));
    g_assert_no_error(error);
    json_t *answer = fetch(0, path);
    const json_t *row =
        json_array_get(json_object_get(json_object_get(answer, "volume"), "attachments"), 0);
    static const Key keys[] = {
        {"id", 0, 0},        {"attachment_id", 0, 0}, {"volume_id", 0, 0},   {"server_id", 0, 0},
        {"host_name", 0, 0}, {"device", 0, 0},        {"attached_at", 0, 0}, {0}};
    expect_keys(row, keys, 0, "attachment");
    g_assert_cmpstr(member(row, "device"), ==, "/dev/vdb");
    g_assert_cmpstr(member(row, "attached_at"), ==, "2023-11-14T22:13:20.000000");
    g_assert_cmpstr(member(row, "host_name"), ==, "host1");
    g_assert_cmpstr(member(row, "server_id"), ==, server_id);
    json_decref(answer);

    ASK("DELETE", 0, NULL, 400, "current status is: in-use", "volumes/%s", id);
    ASK("DELETE", 23, NULL, 400, "attached", "volumes/%s?force=true", id);
    ASK("POST", 0, "{\"os-force_delete\":{}}", 400, "attached", "volumes/%s/action", id);
    ASK("POST", 0, "{\"os-reset_status\":{\"status\":\"available\"}}", 400, "attached to",
        "volumes/%s/action", id);
    ASK("POST", 0, "{\"os-reset_status\":{\"attach_status\":\"detached\"}}", 400, "attached",
        "volumes/%s/action", id);
    ASK("POST", 0, "{\"os-update_readonly_flag\":{\"readonly\":true}}", 400, "in-use",
        "volumes/%s/action", id);
    ASK("POST", 41, "{\"os-extend\":{\"new_size\":2}}", 400, "3.42", "volumes/%s/action", id);
    ASK("POST", 0, body, 400, "current status is: in-use", "snapshots");
    ASK("POST", 66, unforced, 400, "force", "snapshots");
    ASK("POST", 0, forced, 202, "creating", "snapshots");
    ASK("POST", 66, body, 202, "creating", "snapshots");
    ASK("GET", 26, NULL, 404, NULL, "attachments");
    ASK("GET", 27, NULL, 200, "\"status\":\"attached\"", "attachments");
    ASK("GET", 27, NULL, 200, "attach_mode", "attachments/detail?volume_id=%s", id);
    ASK("GET", 27, NULL, 200, "[]", "attachments?instance_id=" NOBODY);
    ASK("GET", 27, NULL, 200, "attached_at", "attachments/77777777-2222-4333-8444-555555555555");
    ASK("GET", 27, NULL, 404, NOBODY, "attachments/" NOBODY);
    ASK("POST", 27, "{}", 400, "os-volume_attachments", "attachments");
    ASK("POST", 42, "{\"os-extend\":{\"new_size\":2}}", 202, NULL, "volumes/%s/action", id);
    clean_slate();
}

static void
test_actions(void)
{
    clean_slate();
    g_autofree char *id = make_volume("act");
    static const struct {
        const char *body;
        int status;
        const char *message;
    } cases[] = {
        {"{}", 400, "exactly one"},
        {"{\"os-extend\":{},\"os-attach\":{}}", 400, "exactly one"},
        {"{\"fly\":{}}", 400, "fly"},
        {"{\"os-extend\":7}", 400, "object"},
        {"{\"os-extend\":{}}", 400, "new_size"},
        {"{\"os-extend\":{\"new_size\":1}}", 400, "greater than current size"},
        {"{\"os-extend\":{\"new_size\":\"x\"}}", 400, "new_size"},
        {"{\"os-extend\":{\"new_size\":5000000000}}", 400, "new_size"},
        {"{\"os-set_bootable\":{}}", 400, "bootable"},
        {"{\"os-set_bootable\":{\"bootable\":\"perhaps\"}}", 400, "bootable"},
        {"{\"os-set_bootable\":{\"bootable\":true}}", 200, NULL},
        {"{\"os-update_readonly_flag\":{\"readonly\":true}}", 202, NULL},
        {"{\"os-set_image_metadata\":{\"metadata\":{\"os\":\"linux\"}}}", 200, "linux"},
        {"{\"os-show_image_metadata\":null}", 200, "linux"},
        {"{\"os-unset_image_metadata\":{\"key\":\"none\"}}", 404, "none"},
        {"{\"os-unset_image_metadata\":{\"key\":\"os\"}}", 200, NULL},
        {"{\"os-attach\":{\"instance_uuid\":\"x\",\"mountpoint\":\"/dev/vdb\"}}", 400,
         "os-volume_attachments"},
        {"{\"os-reserve\":null}", 400, "os-volume_attachments"},
        {"{\"os-retype\":{\"new_type\":\"x\"}}", 400, "type of a volume stays"},
        {"{\"os-volume_upload_image\":{\"image_name\":\"x\"}}", 400, "No image"},
        {"{\"os-reset_status\":{}}", 400, "Must specify"},
        {"{\"os-reset_status\":{\"status\":\"deleting\"}}", 400, "must be one of"},
        {"{\"os-reset_status\":{\"status\":\"in-use\"}}", 400, "not attached"},
        {"{\"os-reset_status\":{\"status\":\"error\"}}", 202, NULL},
        {"{\"os-reset_status\":{\"status\":\"available\",\"attach_status\":\"detached\","
         "\"migration_status\":\"none\"}}",
         202, NULL},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        ASK("POST", 0, cases[i].body, cases[i].status, cases[i].message, "volumes/%s/action", id);
    ASK("GET", 0, NULL, 200, "\"readonly\":\"True\"", "volumes/%s", id);
    ASK("GET", 0, NULL, 200, "\"bootable\":\"true\"", "volumes/%s", id);

    ASK("POST", 0, "{\"os-extend\":{\"new_size\":3}}", 202, NULL, "volumes/%s/action", id);
    ASK("POST", 0, "{\"os-extend\":{\"new_size\":4}}", 400, "current status is: extending",
        "volumes/%s/action", id);
    /* While the task is open nobody sets its status, and nobody forces it away. */
    ASK("POST", 0, "{\"os-reset_status\":{\"status\":\"available\"}}", 400, "under way",
        "volumes/%s/action", id);
    ASK("POST", 0, "{\"os-force_delete\":{}}", 400, "under way", "volumes/%s/action", id);
    volume_becomes(id, VOLUME_EXTENDING);
    ASK("POST", 0, "{\"os-force_delete\":{}}", 202, NULL, "volumes/%s/action", id);
    clean_slate();
}

static void
test_snapshots(void)
{
    clean_slate();
    g_autofree char *volume = make_volume("snap");
    g_autofree char *body = g_strdup_printf(
        "{\"snapshot\":{\"volume_id\":\"%s\",\"name\":\"s1\",\"description\":null,\"force\":false,"
        "\"metadata\":{\"a\":\"b\"}}}",
        volume);
    g_autofree char *id = created_id("snapshots", "snapshot", body);

    ASK("POST", 0, "{\"snapshot\":{}}", 400, "volume_id", "snapshots");
    ASK("POST", 0, "{\"snapshot\":{\"volume_id\":\"" NOBODY "\"}}", 404, NOBODY, "snapshots");
    ASK("GET", 0, NULL, 200, "\"s1\"", "snapshots?volume_id=%s&name=s1&status=creating", volume);
    ASK("GET", 22, NULL, 200, "\"s1\"", "snapshots/detail?metadata=%%7B%%22a%%22:%%22b%%22%%7D");
    ASK("GET", 0, NULL, 200, "[]", "snapshots?status=available");
    ASK("DELETE", 0, NULL, 400, "current status is: creating", "snapshots/%s", id);
    ASK("DELETE", 0, NULL, 400, "dependent snapshots", "volumes/%s", volume);
    snapshot_becomes(id, SNAPSHOT_AVAILABLE);
    ASK("PUT", 0, "{\"snapshot\":{\"name\":\"s2\"}}", 200, "\"s2\"", "snapshots/%s", id);
    ASK("PUT", 0, "{\"snapshot\":{}}", 400, "empty", "snapshots/%s", id);
    ASK("POST", 0, "{\"metadata\":{\"c\":\"d\"}}", 200, "\"a\":\"b\"", "snapshots/%s/metadata", id);
    ASK("DELETE", 0, NULL, 200, NULL, "snapshots/%s/metadata/a", id);
    ASK("GET", 0, NULL, 200, "{\"metadata\":{\"c\":\"d\"}}", "snapshots/%s/metadata", id);
    ASK("POST", 0, "{\"os-reset_status\":{\"status\":\"error\"}}", 400, "under way",
        "snapshots/%s/action", id);
    volume_becomes(volume, VOLUME_AVAILABLE);
    ASK("POST", 0, "{\"os-reset_status\":{\"status\":\"error\"}}", 202, NULL, "snapshots/%s/action",
        id);
    ASK("POST", 0, "{\"os-reset_status\":{\"status\":\"creating\"}}", 400, "must be one of",
        "snapshots/%s/action", id);
    ASK("DELETE", 0, NULL, 202, NULL, "snapshots/%s", id);
    ASK("GET", 0, NULL, 200, "\"deleting\"", "snapshots/%s", id);
    ASK("GET", 0, NULL, 404, NOBODY, "snapshots/" NOBODY);
    clean_slate();
}

static void
test_cascade(void)
{
    clean_slate();
    g_autofree char *volume = make_volume("all");
    g_autofree char *body = g_strdup_printf("{\"snapshot\":{\"volume_id\":\"%s\"}}", volume);
    g_autofree char *one = created_id("snapshots", "snapshot", body);
    g_autofree char *two = created_id("snapshots", "snapshot", body);

    ASK("DELETE", 0, NULL, 400, "cascade", "volumes/%s?cascade=perhaps", volume);
    ASK("DELETE", 0, NULL, 400, "creating", "volumes/%s?cascade=true", volume);
    snapshot_becomes(one, SNAPSHOT_AVAILABLE);
    snapshot_becomes(two, SNAPSHOT_AVAILABLE);
    ASK("DELETE", 0, NULL, 202, NULL, "volumes/%s?cascade=True", volume);
    ASK("GET", 0, NULL, 200, "\"deleting\"", "snapshots/%s", one);
    ASK("GET", 0, NULL, 200, "\"deleting\"", "volumes/%s", volume);
    clean_slate();
}

/* ---- types ----------------------------------------------------------------------------------- */

static void
test_types(void)
{
    g_autofree char *path = v3("types");
    json_t *answer = NULL;
    static const Key keys[] = {{"id", 0, 0},
                               {"name", 0, 0},
                               {"description", 0, 0},
                               {"is_public", 0, 0},
                               {"os-volume-type-access:is_public", 0, 0},
                               {"extra_specs", 0, 0},
                               {0}};

    clean_slate();
    g_assert_cmpint(ask("POST", path, 0,
                        "{\"volume_type\":{\"name\":\"gold\",\"description\":\"d\","
                        "\"os-volume-type-access:is_public\":true,\"extra_specs\":{\"a\":\"b\"}}}",
                        &answer),
                    ==, 200);
    expect_keys(json_object_get(answer, "volume_type"), keys, 0, "type");
    g_autofree char *id = g_strdup(member(json_object_get(answer, "volume_type"), "id"));
    json_decref(answer);

    ASK("POST", 0, "{\"volume_type\":{\"name\":\"gold\"}}", 409, "already exists", "types");
    ASK("POST", 0, "{\"volume_type\":{\"name\":\"\"}}", 400, "name", "types");
    ASK("POST", 0, "{\"volume_type\":{\"name\":\" \"}}", 400, "name", "types");
    ASK("GET", 0, NULL, 200, "__DEFAULT__", "types/default");
    ASK("GET", 0, NULL, 404, "gold", "types/gold");
    ASK("GET", 0, NULL, 200, "\"gold\"", "types/%s", id);
    ASK("GET", 0, NULL, 200, "\"gold\"", "types?is_public=None");
    ASK("GET", 0, NULL, 400, "is_public", "types?is_public=x");
    ASK("GET", 0, NULL, 404, "public", "types/%s/os-volume-type-access", id);
    ASK("GET", 0, NULL, 200, "{}", "types/%s/encryption", id);
    ASK("POST", 0, "{\"addProjectAccess\":{\"project\":\"x\"}}", 400, "access", "types/%s/action",
        id);

    ASK("GET", 0, NULL, 200, "{\"extra_specs\":{\"a\":\"b\"}}", "types/%s/extra_specs", id);
    ASK("POST", 0, "{\"extra_specs\":{\"c\":\"d\"}}", 200, "{\"c\":\"d\"}", "types/%s/extra_specs",
        id);
    ASK("PUT", 0, "{\"c\":\"e\"}", 200, "{\"c\":\"e\"}", "types/%s/extra_specs/c", id);
    ASK("PUT", 0, "{\"x\":\"e\"}", 400, "mismatch", "types/%s/extra_specs/c", id);
    ASK("GET", 0, NULL, 200, "{\"c\":\"e\"}", "types/%s/extra_specs/c", id);
    ASK("DELETE", 0, NULL, 202, NULL, "types/%s/extra_specs/c", id);
    ASK("GET", 0, NULL, 404, "c", "types/%s/extra_specs/c", id);

    g_autofree char *volume =
        created_id("volumes", "volume", "{\"volume\":{\"size\":1,\"volume_type\":\"gold\"}}");
    ASK("DELETE", 0, NULL, 400, "still in use", "types/%s", id);
    ASK("PUT", 0, "{\"volume_type\":{}}", 400, "Specify", "types/%s", id);
    ASK("PUT", 0, "{\"volume_type\":{\"name\":\"__DEFAULT__\"}}", 409, "exists", "types/%s", id);
    ASK("PUT", 0, "{\"volume_type\":{\"name\":\"silver\"}}", 200, "silver", "types/%s", id);
    /* The volume went along. */
    ASK("GET", 63, NULL, 200, id, "volumes/%s", volume);
    ASK("GET", 0, NULL, 200, "\"volume_type\":\"silver\"", "volumes/%s", volume);
    clean_slate();
    ASK("PUT", 0, "{\"volume_type\":{\"is_public\":false}}", 200, "false", "types/%s", id);
    ASK("GET", 0, NULL, 200, "\"volume_type_access\":[]", "types/%s/os-volume-type-access", id);
    ASK("DELETE", 0, NULL, 202, NULL, "types/%s", id);
    ASK("DELETE", 0, NULL, 404, NULL, "types/%s", id);
    ASK("DELETE", 0, NULL, 400, "default", "types/default");
    ASK("PUT", 0, "{\"volume_type\":{\"name\":\"x\"}}", 400, "keeps its name", "types/default");
}

/* ---- quotas ---------------------------------------------------------------------------------- */

static void
test_quotas(void)
{
    clean_slate();
    ASK("GET", 0, NULL, 200, "\"volumes\":10", "os-quota-sets/%s", project);
    ASK("GET", 0, NULL, 200, "\"backups\":0", "os-quota-sets/%s", project);
    ASK("GET", 0, NULL, 200, "\"gigabytes\":1000", "os-quota-sets/%s/defaults", project);
    ASK("GET", 0, NULL, 200, "quota_class_set", "os-quota-class-sets/default");
    ASK("PUT", 0,
        "{\"quota_set\":{\"volumes\":2,\"gigabytes\":5,\"snapshots\":1,"
        "\"per_volume_gigabytes\":3,\"tenant_id\":\"x\"}}",
        200, "\"volumes\":2", "os-quota-sets/%s", project);
    ASK("PUT", 0, "{\"quota_set\":{}}", 400, "no quota", "os-quota-sets/%s", project);
    ASK("PUT", 0, "{\"quota_set\":{\"volumes\":-2}}", 400, "volumes", "os-quota-sets/%s", project);
    ASK("PUT", 0, "{\"quota_set\":{\"volumes\":\"many\"}}", 400, "volumes", "os-quota-sets/%s",
        project);
    ASK("PUT", 0, "{\"quota_set\":{\"colours\":2}}", 400, "colours", "os-quota-sets/%s", project);
    ASK("PUT", 0, "{\"quota_set\":{\"backups\":2}}", 400, "backups", "os-quota-sets/%s", project);
    ASK("PUT", 0, "{\"quota_set\":{\"volumes_gold\":2}}", 400, "per project", "os-quota-sets/%s",
        project);
    ASK("PUT", 0, "{\"quota_set\":{\"volumes\":2}}", 404, "nobody", "os-quota-sets/nobody");

    ASK("POST", 0, "{\"volume\":{\"size\":4}}", 413, "overLimit", "volumes");
    ASK("POST", 0, "{\"volume\":{\"size\":3}}", 202, NULL, "volumes");
    ASK("POST", 0, "{\"volume\":{\"size\":3}}", 413, "gigabytes", "volumes");
    g_autofree char *id = make_volume("last");
    ASK("POST", 0, "{\"volume\":{\"size\":1}}", 413, "'volumes'", "volumes");
    ASK("POST", 0, "{\"os-extend\":{\"new_size\":4}}", 413, NULL, "volumes/%s/action", id);
    ASK("POST", 0, "{\"os-extend\":{\"new_size\":3}}", 413, "gigabytes", "volumes/%s/action", id);
    g_autofree char *body = g_strdup_printf("{\"snapshot\":{\"volume_id\":\"%s\"}}", id);
    ASK("POST", 0, body, 202, NULL, "snapshots");
    ASK("POST", 0, body, 413, "snapshots", "snapshots");
    ASK("GET", 0, NULL, 200, "\"gigabytes\":{\"limit\":5,\"in_use\":5,\"reserved\":0}",
        "os-quota-sets/%s?usage=True", project);
    ASK("GET", 0, NULL, 200, "\"totalVolumesUsed\":2", "limits");
    ASK("GET", 0, NULL, 200, "\"maxTotalVolumeGigabytes\":5", "limits");
    ASK("DELETE", 0, NULL, 200, NULL, "os-quota-sets/%s", project);
    ASK("GET", 0, NULL, 200, "\"volumes\":10", "os-quota-sets/%s", project);
    clean_slate();
}

/* Extensions that are under way count, so that many at once cannot get past the quota. */
static void
test_quota_of_extensions(void)
{
    clean_slate();
    ASK("PUT", 0, "{\"quota_set\":{\"gigabytes\":5}}", 200, NULL, "os-quota-sets/%s", project);
    g_autofree char *one = make_volume("one"), *two = make_volume("two");
    ASK("POST", 0, "{\"os-extend\":{\"new_size\":4}}", 202, NULL, "volumes/%s/action", one);
    ASK("POST", 0, "{\"os-extend\":{\"new_size\":3}}", 413, "gigabytes", "volumes/%s/action", two);
    ASK("POST", 0, "{\"volume\":{\"size\":1}}", 413, "gigabytes", "volumes");
    ASK("DELETE", 0, NULL, 200, NULL, "os-quota-sets/%s", project);
    clean_slate();
}

/* ---- who may what ---------------------------------------------------------------------------- */

static char *
log_in(const char *user, const char *in_project)
{
    g_autofree char *body = g_strdup_printf(
        "{\"auth\":{\"identity\":{\"methods\":[\"password\"],\"password\":{\"user\":{\"name\":\"%"
        "s\""
        ",\"domain\":{\"name\":\"Default\"},\"password\":\"secret-of-the-test\"}}},\"scope\":"
        "{\"project\":{\"name\":\"%s\",\"domain\":{\"name\":\"Default\"}}}}}",
        user, in_project);

    g_free(wanted_header);
    wanted_header = g_strdup("X-Subject-Token");
    g_clear_pointer(&found_header, g_free);
    g_assert_cmpint(ask("POST", "/identity/v3/auth/tokens", 0, body, NULL), ==, 201);
    return g_steal_pointer(&found_header);
}

static char *
identity_make(const char *collection, const char *kind, const char *body)
{
    g_autofree char *path = g_strconcat("/identity/v3/", collection, NULL);
    json_t *answer = NULL;
    char *id;

    g_assert_cmpint(ask("POST", path, 0, body, &answer), ==, 201);
    id = g_strdup(member(json_object_get(answer, kind), "id"));
    json_decref(answer);
    return id;
}

static char *
role_id(const char *name)
{
    g_autofree char *path = g_strconcat("/identity/v3/roles?name=", name, NULL);
    json_t *answer = get(path, 0);
    char *id = g_strdup(member(json_array_get(json_object_get(answer, "roles"), 0), "id"));

    json_decref(answer);
    return id;
}

static void
make_user(const char *name, const char *project_id, const char *role)
{
    g_autofree char *body =
        g_strdup_printf("{\"user\":{\"name\":\"%s\",\"password\":\"secret-of-the-test\"}}", name);
    g_autofree char *user = identity_make("users", "user", body), *role_of = role_id(role);
    g_autofree char *path =
        g_strdup_printf("/identity/v3/projects/%s/users/%s/roles/%s", project_id, user, role_of);

    g_assert_cmpint(ask("PUT", path, 0, NULL, NULL), ==, 204);
}

static void
test_permissions(void)
{
    clean_slate();
    g_autofree char *own = make_volume("mine");
    g_autofree char *body = g_strdup_printf("{\"snapshot\":{\"volume_id\":\"%s\"}}", own);
    g_autofree char *snapshot = created_id("snapshots", "snapshot", body);
    g_autofree char *other =
        identity_make("projects", "project", "{\"project\":{\"name\":\"other\"}}");
    char *admins_project = project;

    make_user("stranger", other, "member");
    make_user("onlooker", admins_project, "reader");
    make_user("colleague", admins_project, "member");
    g_autofree char *stranger = log_in("stranger", "other");
    g_autofree char *onlooker = log_in("onlooker", "admin");
    g_autofree char *colleague = log_in("colleague", "admin");

    token = stranger;
    ASK("GET", 0, NULL, 400, "Malformed request url", "volumes");
    project = other;
    ASK("GET", 0, NULL, 200, "{\"volumes\":[]}", "volumes?all_tenants=1");
    ASK("GET", 0, NULL, 404, own, "volumes/%s", own);
    ASK("DELETE", 0, NULL, 404, own, "volumes/%s", own);
    ASK("PUT", 0, "{\"volume\":{\"name\":\"x\"}}", 404, own, "volumes/%s", own);
    ASK("POST", 0, "{\"os-extend\":{\"new_size\":9}}", 404, own, "volumes/%s/action", own);
    ASK("GET", 0, NULL, 404, own, "volumes/%s/metadata", own);
    ASK("POST", 0, body, 404, own, "snapshots");
    ASK("GET", 0, NULL, 404, snapshot, "snapshots/%s", snapshot);
    g_autofree char *clone = g_strdup_printf("{\"volume\":{\"source_volid\":\"%s\"}}", own);
    ASK("POST", 0, clone, 404, own, "volumes");
    ASK("GET", 0, NULL, 403, NULL, "os-quota-sets/%s", admins_project);
    ASK("PUT", 0, "{\"quota_set\":{\"volumes\":99}}", 403, NULL, "os-quota-sets/%s", other);
    ASK("POST", 0, "{\"volume_type\":{\"name\":\"x\"}}", 403, NULL, "types");
    ASK("GET", 0, NULL, 403, NULL, "os-services");
    ASK("GET", 0, NULL, 403, NULL, "scheduler-stats/get_pools");
    ASK("POST", 0, "{\"volume\":{\"size\":1}}", 202, NULL, "volumes");

    project = admins_project;
    token = onlooker;
    ASK("GET", 0, NULL, 200, own, "volumes/detail");
    ASK("POST", 0, "{\"volume\":{\"size\":1}}", 403, NULL, "volumes");
    ASK("DELETE", 0, NULL, 403, NULL, "volumes/%s", own);
    ASK("POST", 0, body, 403, NULL, "snapshots");
    ASK("POST", 0, "{\"metadata\":{}}", 403, NULL, "volumes/%s/metadata", own);

    token = colleague;
    g_autofree char *path = g_strdup_printf("volumes/%s", own);
    json_t *answer = fetch(0, path);
    const json_t *view = json_object_get(answer, "volume");
    g_assert_nonnull(json_object_get(view, "os-vol-tenant-attr:tenant_id"));
    g_assert_null(json_object_get(view, "os-vol-host-attr:host"));
    g_assert_null(json_object_get(view, "migration_status"));
    json_decref(answer);
    ASK("POST", 0, "{\"os-reset_status\":{\"status\":\"error\"}}", 403, NULL, "volumes/%s/action",
        own);
    ASK("POST", 0, "{\"os-force_delete\":{}}", 403, NULL, "volumes/%s/action", own);
    ASK("DELETE", 23, NULL, 403, NULL, "volumes/%s?force=true", own);
    ASK("POST", 0, "{\"volume\":{\"size\":1}}", 202, NULL, "volumes");

    token = admin_token;
    g_assert_cmpuint(rows_of("volumes", 0), ==, 2);
    g_autofree char *other_path = g_strconcat("/identity/v3/projects/", other, NULL);
    refuse("DELETE", other_path, 0, NULL, 409, "1 volumes");
    clean_slate();
    g_assert_cmpint(ask("DELETE", other_path, 0, NULL, NULL), ==, 204);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void
test_misc(void)
{
    static const char *const empty[] = {
        "backups",     "backups/detail", "messages",        "groups",
        "group_types", "qos-specs",      "group_snapshots", "volume-transfers/detail",
        "cgsnapshots", "clusters",       "default-types",   "os-volume-transfer/detail",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(empty); i++) {
        ASK("GET", 66, NULL, 200, "[]", "%s", empty[i]);
    }
    ASK("GET", 66, NULL, 404, "Backup " NOBODY, "backups/" NOBODY);
    ASK("POST", 66, "{}", 400, "none can be made", "backups");
    ASK("GET", 2, NULL, 404, NULL, "messages");
    ASK("GET", 0, NULL, 200, "cinder-volume", "os-services");
    ASK("GET", 49, NULL, 200, "backend_state", "os-services?binary=cinder-volume");
    ASK("PUT", 0, "{\"host\":\"x\",\"binary\":\"cinder-volume\"}", 400, "godwitd",
        "os-services/disable");
    ASK("GET", 0, NULL, 200, "#volumes", "scheduler-stats/get_pools");
    ASK("GET", 0, NULL, 404, "mars", "capabilities/mars");
    ASK("GET", 0, NULL, 200, "\"zoneName\":\"nova\"", "os-availability-zone");
    ASK("GET", 0, NULL, 200, "os-quota-sets", "extensions");
    ASK("GET", 67, NULL, 406, "3.66", "volumes");
    refuse("GET", "/volume", 0, NULL, 300, "\"version\":\"3.66\"");

    g_free(wanted_header);
    wanted_header = g_strdup("OpenStack-API-Version");
    g_clear_pointer(&found_header, g_free);
    ASK("GET", 60, NULL, 200, NULL, "volumes");
    g_assert_cmpstr(found_header, ==, "volume 3.60");
    ASK("GET", 0, NULL, 200, NULL, "volumes");
    g_assert_cmpstr(found_header, ==, "volume 3.0");
}

static bool
find_project(StoreTx *tx, void *opaque, GError **err)
{
    StoreCond where[] = {{"name", STORE_EQ, "admin", 0}, {0}};
    g_autoptr(Project) found = store_find(tx, &PROJECT, where, err);

    if (found)
        *(char **)opaque = g_strdup(found->id);
    return found != NULL;
}

int
main(int argc, char **argv)
{
    int status;

    log_set_level(LOG_LEVEL_ERROR);
    g_test_init(&argc, &argv, NULL);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    world_begin();
    test_create();
    admin_token = token;
    g_assert_true(store_read(store, find_project, &project, NULL));
    g_test_add_func("/volume/create", test_create_bodies);
    g_test_add_func("/volume/create-from", test_create_from);
    g_test_add_func("/volume/views", test_views);
    g_test_add_func("/volume/lists", test_lists);
    g_test_add_func("/volume/update", test_update);
    g_test_add_func("/volume/in-use", test_in_use);
    g_test_add_func("/volume/actions", test_actions);
    g_test_add_func("/volume/snapshots", test_snapshots);
    g_test_add_func("/volume/cascade", test_cascade);
    g_test_add_func("/volume/types", test_types);
    g_test_add_func("/volume/quotas", test_quotas);
    g_test_add_func("/volume/quota-of-extensions", test_quota_of_extensions);
    g_test_add_func("/volume/permissions", test_permissions);
    g_test_add_func("/volume/misc", test_misc);
    status = g_test_run();
    world_end();
    return status;
}
