/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-compute-volumes.c: volumes in servers, as the compute service takes and shows them: attach,
 * detach, boot from volume, the quota of new volumes */
#include "compute-world.h"

#define V_ONE      "22222222-2222-4333-8444-000000000001"
#define V_TWO      "22222222-2222-4333-8444-000000000002"
#define V_BOOT     "22222222-2222-4333-8444-000000000003"
#define V_USED     "22222222-2222-4333-8444-000000000004"
#define V_FOREIGN  "22222222-2222-4333-8444-000000000005"
#define V_DATA     "22222222-2222-4333-8444-000000000006"
#define V_SPARE    "22222222-2222-4333-8444-000000000007"
#define V_NONE     "22222222-2222-4333-8444-00000000dead"
#define SNAP_BOOT  "33333333-2222-4333-8444-000000000001"
#define SNAP_DATA  "33333333-2222-4333-8444-000000000002"
#define SNAP_HALF  "33333333-2222-4333-8444-000000000003"
#define IMAGE_5GB  "11111111-2222-4333-8444-666666666666"
#define IMAGE_RAM  "11111111-2222-4333-8444-777777777777"
#define IMAGE_WAIT "11111111-2222-4333-8444-888888888888"

/* Bodies for new servers */
#define HEAD   "{\"server\":{\"name\":\"x\",\"flavorRef\":\"1\",\"networks\":\"none\","
#define MAP(m) HEAD "\"block_device_mapping_v2\":[" m "]}}"
#define ROOT                                                                               \
    "{\"source_type\":\"image\",\"destination_type\":\"local\",\"boot_index\":0,\"uuid\":" \
    "\"" IMAGE_ID "\"}"
#define IS(source, id) "{\"source_type\":\"" source "\",\"uuid\":\"" id "\","
#define VOLUME(id)     IS("volume", id) "\"destination_type\":\"volume\"}"
#define BOOTS(source, id, more) \
    IS(source, id) "\"destination_type\":\"volume\",\"boot_index\":\"0\"" more "}"

static char *attachments_path; /* of the first server */

/* ---- rows --------------------------------------------------------------------------------------
 */

static bool
fill_volumes(StoreTx *tx, void *opaque, GError **err)
{
    static const struct {
        const char *id;
        VolumeStatus status;
        bool bootable, foreign;
    } rows[] = {
        {V_ONE, VOLUME_AVAILABLE, false, false},   {V_TWO, VOLUME_AVAILABLE, false, false},
        {V_BOOT, VOLUME_AVAILABLE, true, false},   {V_USED, VOLUME_IN_USE, false, false},
        {V_FOREIGN, VOLUME_AVAILABLE, true, true}, {V_DATA, VOLUME_AVAILABLE, false, false},
        {V_SPARE, VOLUME_AVAILABLE, false, false},
    };
    static const struct {
        const char *id, *volume_id;
        SnapshotStatus status;
    } snapshots[] = {
        {SNAP_BOOT, V_BOOT, SNAPSHOT_AVAILABLE},
        {SNAP_DATA, V_ONE, SNAPSHOT_AVAILABLE},
        {SNAP_HALF, V_BOOT, SNAPSHOT_CREATING},
    };
    g_autoptr(Server) server = store_get(tx, &SERVER, opaque, err);

    if (!server)
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Volume volume = {.id = (char *)rows[i].id,
                         .name = (char *)"v",
                         .project_id = rows[i].foreign ? (char *)"another" : server->project_id,
                         .user_id = server->user_id,
                         .status = rows[i].status,
                         .size_gb = 2,
                         .volume_type = (char *)"__DEFAULT__",
                         .bootable = rows[i].bootable,
                         .image_metadata = (char *)"{\"image_name\":\"guest\"}",
                         .metadata = (char *)"{}",
                         .created_at = (int64_t)i + 1};
        if (!store_insert(tx, &VOLUME, &volume, err))
            return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(snapshots); i++) {
        Snapshot snapshot = {.id = (char *)snapshots[i].id,
                             .name = (char *)"s",
                             .volume_id = (char *)snapshots[i].volume_id,
                             .project_id = server->project_id,
                             .user_id = server->user_id,
                             .status = snapshots[i].status,
                             .size_gb = 2,
                             .metadata = (char *)"{}"};
        if (!store_insert(tx, &SNAPSHOT, &snapshot, err))
            return false;
    }
    VolumeType fast = {.id = (char *)"44444444-2222-4333-8444-000000000001",
                       .name = (char *)"fast",
                       .is_public = true,
                       .extra_specs = (char *)"{}"};
    return store_insert(tx, &VOLUME_TYPE, &fast, err);
}

typedef struct Change {
    const char *id;
    VolumeStatus volume_status;
    AttachmentState attachment_state;
    VmState vm_state;
    bool locked;
    int64_t volumes, gigabytes; /* quota */
} Change;

static void
change(StoreFn fn, Change what)
{
    GError *error = NULL;

    store_write(store, fn, &what, &error);
    g_assert_no_error(error);
}

/* What the task of an attachment does at its end. */
static bool
set_volume(StoreTx *tx, void *opaque, GError **err)
{
    const Change *what = opaque;
    StoreCond where[] = {{"volume_id", STORE_EQ, what->id, 0}, {0}};
    g_autoptr(Volume) volume = store_get(tx, &VOLUME, what->id, err);
    g_autoptr(Attachment) attachment = store_find(tx, &ATTACHMENT, where, NULL);

    if (!volume)
        return false;
    volume->status = what->volume_status;
    if (attachment)
        attachment->state = what->attachment_state;
    return store_update(tx, &VOLUME, volume, err) &&
           (!attachment || store_update(tx, &ATTACHMENT, attachment, err));
}

static bool
set_server(StoreTx *tx, void *opaque, GError **err)
{
    const Change *what = opaque;
    g_autoptr(Server) server = store_get(tx, &SERVER, what->id, err);

    if (!server)
        return false;
    server->vm_state = what->vm_state;
    server->locked = what->locked;
    return store_update(tx, &SERVER, server, err);
}

static bool
set_quota(StoreTx *tx, void *opaque, GError **err)
{
    const Change *what = opaque;
    g_autoptr(Server) server = store_get(tx, &SERVER, server_id, err);
    Quota quota = quota_defaults;

    if (!server)
        return false;
    store_delete(tx, &QUOTA, server->project_id, NULL);
    quota.id = server->project_id;
    quota.volumes = what->volumes;
    quota.gigabytes = what->gigabytes;
    return store_insert(tx, &QUOTA, &quota, err);
}

typedef struct Counts {
    int64_t servers, volumes, attachments, tasks;
} Counts;

static bool
count_rows(StoreTx *tx, void *opaque, GError **err)
{
    Counts *counts = opaque;

    counts->servers = store_count(tx, &SERVER, NULL, err);
    counts->volumes = store_count(tx, &VOLUME, NULL, err);
    counts->attachments = store_count(tx, &ATTACHMENT, NULL, err);
    counts->tasks = store_count(tx, &TASK, NULL, err);
    return true;
}

static Counts
counts_now(void)
{
    Counts counts = {0};
    GError *error = NULL;

    store_read(store, count_rows, &counts, &error);
    g_assert_no_error(error);
    return counts;
}

/* The attachments of a server with their volumes, by device. */
typedef struct Held {
    const char *server_id;
    GPtrArray *attachments, *volumes;
} Held;

static bool
read_held(StoreTx *tx, void *opaque, GError **err)
{
    Held *held = opaque;
    StoreCond where[] = {{"server_id", STORE_EQ, held->server_id, 0}, {0}};
    StoreQuery query = {.where = where, .order_by = "device"};

    held->attachments = store_list(tx, &ATTACHMENT, &query, err);
    held->volumes = g_ptr_array_new_with_free_func((GDestroyNotify)volume_free);
    for (guint i = 0; held->attachments && i < held->attachments->len; i++) {
        const Attachment *attachment = held->attachments->pdata[i];
        Volume *volume = store_get(tx, &VOLUME, attachment->volume_id, err);
        if (!volume)
            return false;
        g_ptr_array_add(held->volumes, volume);
    }
    return held->attachments != NULL;
}

static Held
held_by(const char *id)
{
    Held held = {.server_id = id};
    GError *error = NULL;

    store_read(store, read_held, &held, &error);
    g_assert_no_error(error);
    return held;
}

static void
held_clear(Held *held)
{
    g_ptr_array_unref(held->attachments);
    g_ptr_array_unref(held->volumes);
}

static char *
attachment_path(const char *volume_id)
{
    return g_strdup_printf("%s/%s", attachments_path, volume_id);
}

static void
attach(const char *more, const char *volume_id, int microversion, int status, const char *message)
{
    g_autofree char *body =
        g_strdup_printf("{\"volumeAttachment\":{\"volumeId\":\"%s\"%s}}", volume_id, more);

    refuse("POST", attachments_path, microversion, body, status, message);
}

/* ---- attach, show, detach ----------------------------------------------------------------------
 */

static void
test_attach_refused(void)
{
    Counts before = counts_now();

    refuse("POST", attachments_path, 1, "{}", 400, "volumeAttachment");
    refuse("POST", attachments_path, 1, "{\"volumeAttachment\":{}}", 400, "volumeId");
    attach("", "nonsense", 1, 400, "volumeId");
    attach(",\"tag\":\"t\"", V_ONE, 48, 400, "tag");
    attach(",\"tag\":\"a,b\"", V_ONE, 49, 400, "tag");
    attach(",\"delete_on_termination\":true", V_ONE, 78, 400, "delete_on_termination");
    attach(",\"surprise\":1", V_ONE, 89, 400, "surprise");
    attach(",\"device\":\"/dev/\"", V_ONE, 1, 400, "invalid");
    attach(",\"device\":\"/dev/v b\"", V_ONE, 1, 400, "invalid");
    attach(",\"device\":\"../vdb\"", V_ONE, 1, 400, "invalid");
    attach(",\"device\":\"xyz\"", V_ONE, 1, 400, "invalid");
    attach(",\"device\":\"vdB\"", V_ONE, 1, 400, "invalid");
    attach(",\"device\":\"/dev/vdaaa\"", V_ONE, 1, 400, "invalid");
    attach(",\"device\":\"/dev/sd\"", V_ONE, 1, 400, "invalid");
    attach(",\"device\":\"/dev/vda\"", V_ONE, 1, 409, "in use");
    attach("", V_NONE, 1, 404, V_NONE);
    attach("", V_USED, 1, 400, "Invalid volume: ");
    attach("", V_FOREIGN, 1, 400, "another project");
    change(set_server, (Change){.id = server_id, .vm_state = VM_ERROR});
    attach("", V_ONE, 1, 409, "vm_state error");
    change(set_server, (Change){.id = server_id, .vm_state = VM_ACTIVE});
    refuse("POST", "/compute/v2.1/servers/no-server/os-volume_attachments", 1,
           "{\"volumeAttachment\":{\"volumeId\":\"" V_ONE "\"}}", 404, "no-server");

    Counts after = counts_now();
    g_assert_cmpmem(&before, sizeof before, &after, sizeof after);
}

static void
test_attach(void)
{
    static const Key created[] = {{"id"},     {"volumeId"}, {"serverId"},
                                  {"device"}, {"tag", 70},  {"delete_on_termination", 79},
                                  {0}};
    static const Key shown[] = {{"id", 0, 88},
                                {"volumeId"},
                                {"serverId"},
                                {"device"},
                                {"tag", 70},
                                {"delete_on_termination", 79},
                                {"attachment_id", 89},
                                {"bdm_uuid", 89},
                                {0}};
    static const int microversions[] = {1, 2, 69, 70, 78, 79, 88, 89, 92};
    g_autofree char *path = attachment_path(V_ONE);
    json_t *answer = NULL;

    g_assert_cmpint(ask("POST", attachments_path, 1,
                        "{\"volumeAttachment\":{\"volumeId\":\"" V_ONE "\",\"device\":null}}",
                        &answer),
                    ==, 200);
    json_t *one = json_object_get(answer, "volumeAttachment");
    expect_keys(one, created, 1, "attach");
    g_assert_cmpstr(json_string_value(json_object_get(one, "device")), ==, "/dev/vdb");
    g_assert_cmpstr(json_string_value(json_object_get(one, "serverId")), ==, server_id);
    json_decref(answer);
    g_assert_cmpint(ask("POST", attachments_path, 92,
                        "{\"volumeAttachment\":{\"volumeId\":\"" V_TWO
                        "\",\"device\":\"/dev/vdz\",\"tag\":\"db\","
                        "\"delete_on_termination\":true}}",
                        &answer),
                    ==, 200);
    one = json_object_get(answer, "volumeAttachment");
    expect_keys(one, created, 92, "attach");
    g_assert_cmpstr(json_string_value(json_object_get(one, "device")), ==, "/dev/vdz");
    json_decref(answer);
    /* A name of another bus is no mistake, and not granted. */
    attach(",\"device\":\"/dev/sdq\"", V_DATA, 1, 200, "\"/dev/vdc\"");

    for (size_t i = 0; i < G_N_ELEMENTS(microversions); i++) {
        answer = get(path, microversions[i]);
        expect_keys(json_object_get(answer, "volumeAttachment"), shown, microversions[i], "show");
        json_decref(answer);
        answer = get(attachments_path, microversions[i]);
        json_t *list = json_object_get(answer, "volumeAttachments");
        g_assert_cmpuint(json_array_size(list), ==, 3);
        expect_keys(json_array_get(list, 0), shown, microversions[i], "list");
        json_decref(answer);
    }
    answer = get(attachments_path, 92);
    one = json_array_get(json_object_get(answer, "volumeAttachments"), 2);
    g_assert_cmpstr(json_string_value(json_object_get(one, "volumeId")), ==, V_TWO);
    g_assert_cmpstr(json_string_value(json_object_get(one, "tag")), ==, "db");
    g_assert_true(json_is_true(json_object_get(one, "delete_on_termination")));
    json_decref(answer);

    Held held = held_by(server_id);
    const Volume *volume = held.volumes->pdata[0];
    const Attachment *attachment = held.attachments->pdata[0];
    g_assert_cmpint(volume->status, ==, VOLUME_ATTACHING);
    g_assert_cmpint(attachment->state, ==, ATTACHMENT_RESERVED);
    g_assert_cmpint(attachment->boot_index, ==, -1);
    held_clear(&held);
    attach("", V_ONE, 1, 400, "already attached");
    change(set_volume, (Change){.id = V_ONE,
                                .volume_status = VOLUME_IN_USE,
                                .attachment_state = ATTACHMENT_ATTACHED});
    attach("", V_ONE, 1, 400, "already attached");
}

static void
test_pages(void)
{
    g_autofree char *limited = g_strconcat(attachments_path, "?limit=1&offset=1", NULL);
    g_autofree char *wrong = g_strconcat(attachments_path, "?offset=x", NULL);
    g_autofree char *unknown = g_strconcat(attachments_path, "?noise=1", NULL);
    json_t *answer = get(limited, 1), *list = json_object_get(answer, "volumeAttachments");

    g_assert_cmpuint(json_array_size(list), ==, 1);
    g_assert_cmpstr(json_string_value(json_object_get(json_array_get(list, 0), "device")), ==,
                    "/dev/vdc");
    json_decref(answer);
    refuse("GET", wrong, 1, NULL, 400, "offset");
    refuse("GET", unknown, 74, NULL, 200, V_ONE);
    refuse("GET", unknown, 75, NULL, 400, "noise");
}

static void
test_update(void)
{
    static const char swap[] = "{\"volumeAttachment\":{\"volumeId\":\"" V_BOOT "\"}}";
    static const char keep[] =
        "{\"volumeAttachment\":{\"volumeId\":\"" V_ONE "\",\"delete_on_termination\":true}}";
    g_autofree char *path = attachment_path(V_ONE), *none = attachment_path(V_BOOT);

    refuse("PUT", path, 84, keep, 400, "delete_on_termination");
    refuse("PUT", path, 84, swap, 409, "Detach");
    refuse("PUT", path, 85, swap, 409, "Detach");
    refuse("PUT", none, 85, swap, 404, "is not attached");
    refuse("PUT", path, 85, "{\"volumeAttachment\":{}}", 400, "volumeId");
    refuse("PUT", path, 85,
           "{\"volumeAttachment\":{\"volumeId\":\"" V_ONE "\",\"device\":\"/dev/vdx\"}}", 400,
           "device");
    refuse("PUT", path, 85, "{\"volumeAttachment\":{\"volumeId\":\"" V_ONE "\",\"tag\":\"x\"}}",
           400, "tag");
    refuse("PUT", path, 85,
           "{\"volumeAttachment\":{\"volumeId\":\"" V_ONE "\",\"id\":\"" V_TWO "\"}}", 400,
           "id property");
    refuse("GET", path, 79, NULL, 200, "\"delete_on_termination\":false");
    refuse("PUT", path, 85, keep, 202, NULL);
    refuse("GET", path, 79, NULL, 200, "\"delete_on_termination\":true");
}

static void
test_server_view(void)
{
    static const int microversions[] = {1, 2, 3, 92};
    g_autofree char *path = g_strconcat("/compute/v2.1/servers/", server_id, NULL);
    static const Key keys[] = {{"id"}, {"delete_on_termination", 3}, {0}};

    for (size_t i = 0; i < G_N_ELEMENTS(microversions); i++) {
        json_t *answer = get(path, microversions[i]);
        const json_t *server = json_object_get(answer, "server");
        const json_t *volumes = json_object_get(server, "os-extended-volumes:volumes_attached");

        g_assert_cmpuint(json_array_size(volumes), ==, 3);
        expect_keys(json_array_get(volumes, 0), keys, microversions[i], "volumes_attached");
        g_assert_cmpstr(json_string_value(json_object_get(json_array_get(volumes, 0), "id")), ==,
                        V_ONE);
        json_decref(answer);
    }
}

static void
test_detach(void)
{
    g_autofree char *path = attachment_path(V_ONE), *unknown = attachment_path(V_NONE);
    g_autofree char *elsewhere = attachment_path(V_BOOT), *busy = attachment_path(V_TWO);

    refuse("DELETE", unknown, 1, NULL, 404, V_NONE);
    refuse("DELETE", elsewhere, 1, NULL, 404, "is not attached");
    refuse("DELETE", busy, 1, NULL, 400, "attaching");
    change(set_server, (Change){.id = server_id, .vm_state = VM_ERROR});
    refuse("DELETE", path, 1, NULL, 409, "vm_state error");
    change(set_server, (Change){.id = server_id, .vm_state = VM_ACTIVE});
    refuse("DELETE", path, 1, NULL, 202, NULL);
    refuse("DELETE", path, 1, NULL, 400, "detaching");
    refuse("GET", path, 1, NULL, 200, V_ONE);
    Held held = held_by(server_id);
    const Volume *volume = held.volumes->pdata[0];
    const Attachment *attachment = held.attachments->pdata[0];
    g_assert_cmpint(volume->status, ==, VOLUME_DETACHING);
    g_assert_cmpint(attachment->state, ==, ATTACHMENT_DETACHING);
    held_clear(&held);
}

/* The id of the first row of a list of the identity service. */
static char *
first_id(const char *path, const char *key)
{
    json_t *answer = get(path, 0);
    char *id = g_strdup(
        json_string_value(json_object_get(json_array_get(json_object_get(answer, key), 0), "id")));

    g_assert_nonnull(id);
    json_decref(answer);
    return id;
}

/* What a member of the project may do, and what a lock forbids him. */
static void
test_member(void)
{
    g_autofree char *path = attachment_path(V_TWO);
    g_autofree char *admin = token, *member = NULL;

    refuse("POST", "/identity/v3/users", 0,
           "{\"user\":{\"name\":\"mia\",\"password\":\"secret-of-mia\"}}", 201, "mia");
    g_autofree char *user = first_id("/identity/v3/users?name=mia", "users");
    g_autofree char *project = first_id("/identity/v3/projects?name=admin", "projects");
    g_autofree char *role = first_id("/identity/v3/roles?name=member", "roles");
    g_autofree char *grant =
        g_strdup_printf("/identity/v3/projects/%s/users/%s/roles/%s", project, user, role);
    refuse("PUT", grant, 0, NULL, 204, NULL);
    token = NULL;
    member = token = login("mia", "secret-of-mia");

    refuse("GET", path, 1, NULL, 200, V_TWO);
    attach("", V_FOREIGN, 1, 404, V_FOREIGN);
    change(set_server, (Change){.id = server_id, .vm_state = VM_ACTIVE, .locked = true});
    attach("", V_SPARE, 1, 409, "locked");
    change(set_volume, (Change){.id = V_TWO,
                                .volume_status = VOLUME_IN_USE,
                                .attachment_state = ATTACHMENT_ATTACHED});
    refuse("DELETE", path, 1, NULL, 409, "locked");
    change(set_server, (Change){.id = server_id, .vm_state = VM_ACTIVE});
    refuse("POST", "/compute/v2.1/servers", 37, MAP(BOOTS("volume", V_FOREIGN, "")), 400,
           V_FOREIGN);
    refuse("DELETE", path, 1, NULL, 202, NULL);
    token = g_steal_pointer(&admin);
}

/* ---- servers with volumes from the start -------------------------------------------------------
 */

static void
test_create_refused(void)
{
    static const struct {
        const char *body;
        int microversion, status;
        const char *message;
    } cases[] = {
        /* the form */
        {MAP("{}"), 37, 400, "source_type"},
        {MAP("{\"source_type\":\"disk\"}"), 37, 400, "source_type"},
        {MAP("{\"source_type\":\"volume\"}"), 37, 400, "uuid of the volume"},
        {MAP(VOLUME(V_BOOT)), 37, 400, "imageRef"},
        {MAP(IS("volume", V_BOOT) "\"boot_index\":\"first\"}"), 37, 400, "boot_index"},
        {MAP(IS("volume", V_BOOT) "\"boot_index\":1}"), 37, 400, "Boot sequence"},
        {MAP(ROOT "," IS("volume", V_BOOT) "\"boot_index\":2}"), 37, 400, "Boot sequence"},
        {MAP(ROOT "," BOOTS("volume", V_BOOT, "")), 37, 400, "Boot sequence"},
        {MAP(BOOTS("volume", V_BOOT, "") "," BOOTS("snapshot", SNAP_BOOT, "")), 37, 400,
         "Boot sequence"},
        {HEAD "\"imageRef\":\"" IMAGE_ID
              "\",\"block_device_mapping_v2\":[" BOOTS("volume", V_BOOT, "") "]}}",
         37, 400, "Boot sequence"},
        {HEAD "\"imageRef\":\"" IMAGE_5GB "\",\"block_device_mapping_v2\":[" ROOT "]}}", 37, 400,
         "imageRef"},
        {MAP(IS("volume", V_BOOT) "\"destination_type\":\"local\",\"boot_index\":0}"), 37, 400,
         "local"},
        {MAP(ROOT ",{\"source_type\":\"blank\",\"guest_format\":\"swap\",\"volume_size\":1,"
                  "\"destination_type\":\"local\"}"),
         37, 400, "swap"},
        {MAP(ROOT ",{\"source_type\":\"blank\",\"destination_type\":\"volume\"}"), 37, 400,
         "volume_size"},
        {MAP("{\"source_type\":\"blank\",\"destination_type\":\"volume\",\"volume_size\":1,"
             "\"boot_index\":0}"),
         37, 400, "empty"},
        {MAP(ROOT "," VOLUME(V_BOOT) "," VOLUME(V_BOOT)), 37, 400, "twice"},
        {HEAD "\"min_count\":2,\"block_device_mapping_v2\":[" BOOTS("volume", V_BOOT, "") "]}}", 37,
         400, "one server at a time"},
        {MAP(ROOT "," IS("volume", V_BOOT) "\"device_name\":\"/dev/vda\"}"), 37, 400, "vda"},
        {MAP(ROOT "," IS("volume", V_BOOT) "\"device_name\":\"v da\"}"), 37, 400, "invalid"},
        {MAP(ROOT "," IS("volume", V_BOOT) "\"device_name\":\"vdb\"}," IS(
             "snapshot", SNAP_BOOT) "\"device_name\":\"/dev/vdb\"}"),
         37, 400, "in use"},
        {MAP(BOOTS("volume", V_BOOT, ",\"tag\":\"t\"")), 41, 400, "tag"},
        {MAP(BOOTS("volume", V_BOOT, ",\"volume_type\":\"fast\"")), 66, 400, "volume_type"},
        {MAP(BOOTS("volume", V_BOOT, ",\"surprise\":1")), 92, 400, "surprise"},
        {HEAD "\"block_device_mapping_v2\":[" ROOT
              "],\"block_device_mapping\":[{\"volume_id\":\"" V_BOOT "\"}]}}",
         37, 400, "together"},
        {HEAD "\"block_device_mapping\":[{\"device_name\":\"vda\"}]}}", 37, 400, "neither"},
        {HEAD "\"block_device_mapping\":[{\"device_name\":\"vdb\",\"volume_id\":\"" V_BOOT "\"}]}}",
         37, 400, "imageRef"},
        {HEAD "\"block_device_mapping\":[{\"virtual_name\":\"swap\"}]}}", 37, 400, "swap"},
        /* what it names */
        {MAP(BOOTS("volume", V_NONE, "")), 37, 400, V_NONE},
        {MAP(BOOTS("volume", V_FOREIGN, "")), 37, 400, "another project"},
        {MAP(BOOTS("volume", V_DATA, "")), 37, 400, "not bootable"},
        {MAP(ROOT "," VOLUME(V_USED)), 37, 400, "Invalid volume"},
        {MAP(BOOTS("snapshot", V_NONE, "")), 37, 400, V_NONE},
        {MAP(BOOTS("snapshot", SNAP_DATA, "")), 37, 400, "not bootable"},
        {MAP(BOOTS("snapshot", SNAP_HALF, "")), 37, 400, "creating"},
        {MAP(BOOTS("snapshot", SNAP_BOOT, ",\"volume_size\":1")), 37, 400, "less than"},
        {MAP(BOOTS("image", IMAGE_ID, "")), 37, 400, "volume_size"},
        {MAP(BOOTS("image", V_NONE, ",\"volume_size\":1")), 37, 400, "image"},
        {MAP(BOOTS("image", IMAGE_WAIT, ",\"volume_size\":1")), 37, 400, "not active"},
        {MAP(BOOTS("image", IMAGE_5GB, ",\"volume_size\":4")), 37, 400, "too small"},
        {MAP(BOOTS("image", IMAGE_RAM, ",\"volume_size\":4")), 37, 400, "memory"},
        {MAP(BOOTS("image", IMAGE_ID, ",\"volume_size\":1,\"volume_type\":\"slow\"")), 67, 400,
         "slow"},
        {MAP(BOOTS("image", IMAGE_ID, ",\"volume_size\":\"1e3\"")), 67, 400, "volume_size"},
        {MAP(BOOTS("image", IMAGE_ID, ",\"volume_size\":-1")), 67, 400, "volume_size"},
        /* the quota: 1000 GB, of which 18 are used; 10 volumes, of which 6 */
        {MAP(BOOTS("image", IMAGE_ID, ",\"volume_size\":983")), 37, 403, "gigabytes"},
        {MAP(BOOTS("image", IMAGE_ID,
                   ",\"volume_size\":500") ","
                                           "{\"source_type\":\"blank\",\"destination_type\":"
                                           "\"volume\",\"volume_size\":483}"),
         37, 403, "gigabytes"},
        {HEAD "\"min_count\":5,\"block_device_mapping_v2\":[" BOOTS(
             "image", IMAGE_ID, ",\"volume_size\":1") "," IS("snapshot",
                                                             SNAP_BOOT) "\"volume_size\":2}]}}",
         37, 403, "volumes"},
    };
    Counts before = counts_now();

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        refuse("POST", "/compute/v2.1/servers", cases[i].microversion, cases[i].body,
               cases[i].status, cases[i].message);
    Counts after = counts_now();
    g_assert_cmpmem(&before, sizeof before, &after, sizeof after);
}

/* The id of the server that body makes. */
static char *
make_server(const char *body, int microversion)
{
    json_t *answer = NULL;
    int status = ask("POST", "/compute/v2.1/servers", microversion, body, &answer);

    if (status != 202) {
        g_autofree char *text = answer ? json_dumps(answer, 0) : NULL;
        g_error("%s: %d %s", body, status, text);
    }
    char *id =
        g_strdup(json_string_value(json_object_get(json_object_get(answer, "server"), "id")));
    json_decref(answer);
    return id;
}

static void
expect_held(const Held *held, guint i, const char *device, int64_t boot_index, VolumeStatus status)
{
    g_assert_cmpuint(i, <, held->attachments->len);
    const Attachment *attachment = held->attachments->pdata[i];
    const Volume *volume = held->volumes->pdata[i];

    g_assert_cmpstr(attachment->device, ==, device);
    g_assert_cmpint(attachment->boot_index, ==, boot_index);
    g_assert_cmpint(attachment->state, ==, ATTACHMENT_RESERVED);
    g_assert_cmpint(volume->status, ==, status);
}

static void
test_create_from_volume(void)
{
    g_autofree char *id =
        make_server(MAP(VOLUME(V_SPARE) "," BOOTS(
                        "volume", V_BOOT, ",\"delete_on_termination\":true,\"tag\":\"root\"")),
                    42);
    g_autofree char *path = g_strconcat("/compute/v2.1/servers/", id, NULL);
    g_autofree char *root =
        g_strdup_printf("/compute/v2.1/servers/%s/os-volume_attachments/%s", id, V_BOOT);
    json_t *answer = get(path, 92);
    const json_t *server = json_object_get(answer, "server");

    g_assert_cmpstr(json_string_value(json_object_get(server, "image")), ==, "");
    g_assert_cmpstr(json_string_value(json_object_get(server, "OS-EXT-SRV-ATTR:root_device_name")),
                    ==, "/dev/vda");
    json_decref(answer);
    Held held = held_by(id);
    g_assert_cmpuint(held.attachments->len, ==, 2);
    expect_held(&held, 0, "vda", 0, VOLUME_ATTACHING);
    expect_held(&held, 1, "vdb", -1, VOLUME_ATTACHING);
    const Attachment *first = held.attachments->pdata[0];
    g_assert_cmpstr(first->volume_id, ==, V_BOOT);
    g_assert_cmpstr(first->tag, ==, "root");
    g_assert_true(first->delete_on_termination);
    held_clear(&held);
    change(set_server, (Change){.id = id, .vm_state = VM_STOPPED});
    change(set_volume, (Change){.id = V_BOOT,
                                .volume_status = VOLUME_IN_USE,
                                .attachment_state = ATTACHMENT_ATTACHED});
    refuse("DELETE", root, 1, NULL, 400, "root device");
    /* The one in another server is not for a second. */
    attach("", V_BOOT, 1, 400, "in-use");
    refuse("POST", "/compute/v2.1/servers", 37, MAP(BOOTS("volume", V_BOOT, "")), 400, "in-use");
}

static void
test_create_with_new(void)
{
    g_autofree char *id = make_server(
        MAP("{\"source_type\":\"blank\",\"destination_type\":\"volume\",\"volume_size\":\"3\","
            "\"boot_index\":null,\"volume_type\":\"fast\"},"
            "{\"no_device\":true,\"device_name\":\"vdq\"}," IS(
                "image",
                IMAGE_ID) "\"destination_type\":\"volume\",\"boot_index\":\"0\",\"volume_size\":4}"
                          "," IS("snapshot",
                                 SNAP_BOOT) "\"boot_index\":-1,\"device_name\":\"/dev/vdb\"}"),
        67);
    Held held = held_by(id);

    g_assert_cmpuint(held.attachments->len, ==, 3);
    expect_held(&held, 0, "vda", 0, VOLUME_CREATING);
    expect_held(&held, 1, "vdb", -1, VOLUME_CREATING);
    expect_held(&held, 2, "vdc", -1, VOLUME_CREATING);
    const Volume *image = held.volumes->pdata[0], *snapshot = held.volumes->pdata[1];
    const Volume *blank = held.volumes->pdata[2];
    g_assert_cmpstr(image->image_id, ==, IMAGE_ID);
    g_assert_true(image->bootable);
    g_assert_cmpint(image->size_gb, ==, 4);
    g_assert_nonnull(strstr(image->image_metadata, "\"image_name\":\"guest\""));
    g_assert_cmpstr(snapshot->snapshot_id, ==, SNAP_BOOT);
    g_assert_cmpint(snapshot->size_gb, ==, 2);
    g_assert_true(snapshot->bootable);
    g_assert_cmpint(blank->size_gb, ==, 3);
    g_assert_cmpstr(blank->volume_type, ==, "fast");
    g_assert_null(blank->image_id);
    g_assert_false(blank->bootable);
    held_clear(&held);
}

static void
test_create_with_image_disk(void)
{
    change(set_quota, (Change){.volumes = -1, .gigabytes = -1});
    /* Both of imageRef and the mapping's first entry, as novaclient sends it; and imageRef alone.
     */
    g_autofree char *one = make_server(
        HEAD "\"imageRef\":\"" IMAGE_ID "\",\"block_device_mapping_v2\":[" ROOT ","
             "{\"source_type\":\"blank\",\"destination_type\":\"volume\",\"volume_size\":1}]}}",
        37);
    g_autofree char *two = make_server(
        HEAD "\"imageRef\":\"" IMAGE_ID "\",\"block_device_mapping_v2\":["
             "{\"source_type\":\"blank\",\"destination_type\":\"volume\",\"volume_size\":1,"
             "\"boot_index\":1}]}}",
        37);
    Held held = held_by(one), other = held_by(two);

    expect_held(&held, 0, "vdb", -1, VOLUME_CREATING);
    expect_held(&other, 0, "vdb", -1, VOLUME_CREATING);
    held_clear(&held);
    held_clear(&other);
}

static void
test_create_legacy(void)
{
    change(set_quota, (Change){.volumes = -1, .gigabytes = -1});
    g_autofree char *id =
        make_server(HEAD "\"imageRef\":\"\",\"block_device_mapping\":[{\"device_name\":\"vda\","
                         "\"snapshot_id\":\"" SNAP_BOOT "\",\"volume_size\":\"5\","
                         "\"delete_on_termination\":\"1\"}]}}",
                    37);
    Held held = held_by(id);

    expect_held(&held, 0, "vda", 0, VOLUME_CREATING);
    const Attachment *attachment = held.attachments->pdata[0];
    g_assert_true(attachment->delete_on_termination);
    held_clear(&held);
}

/* As many as the quota leaves, and not one more. */
static void
test_quota(void)
{
    static const char more[] = HEAD "\"imageRef\":\"" IMAGE_ID "\",\"block_device_mapping_v2\":["
                                    "{\"source_type\":\"blank\",\"destination_type\":\"volume\","
                                    "\"volume_size\":1}]}}";
    int64_t used = counts_now().volumes - 1; /* one is another project's */

    change(set_quota, (Change){.volumes = used + 1, .gigabytes = -1});
    g_free(make_server(more, 37));
    refuse("POST", "/compute/v2.1/servers", 37, more, 403, "'volumes'");
    change(set_quota, (Change){.volumes = -1, .gigabytes = 1});
    refuse("POST", "/compute/v2.1/servers", 37, more, 403, "gigabytes");
}

/* A page of more servers than are looked up one by one. */
static void
test_long_list(void)
{
    static const char several[] =
        HEAD "\"imageRef\":\"" IMAGE_ID "\",\"min_count\":12,\"max_count\":12}}";
    json_t *answer, *row;
    size_t i, servers = 0, volumes = 0;

    refuse("POST", "/compute/v2.1/servers", 37, several, 202, NULL);
    answer = get("/compute/v2.1/servers/detail", 92);
    json_array_foreach(json_object_get(answer, "servers"), i, row)
    {
        const char *id = json_string_value(json_object_get(row, "id"));
        Held held = held_by(id);

        servers++;
        volumes += held.attachments->len;
        g_assert_cmpuint(
            json_array_size(json_object_get(row, "os-extended-volumes:volumes_attached")), ==,
            held.attachments->len);
        held_clear(&held);
    }
    g_assert_cmpuint(servers, >, 12);
    g_assert_cmpuint(volumes, ==, (size_t)counts_now().attachments);
    json_decref(answer);
}

int
main(int argc, char **argv)
{
    GError *error = NULL;

    g_test_init(&argc, &argv, NULL);
    world_begin();
    test_create();
    g_assert_true(store_write(store, fill_volumes, server_id, &error));
    attachments_path = g_strdup_printf("/compute/v2.1/servers/%s/os-volume_attachments", server_id);
    g_test_add_func("/volumes/attach-refused", test_attach_refused);
    g_test_add_func("/volumes/create-refused", test_create_refused);
    g_test_add_func("/volumes/attach", test_attach);
    g_test_add_func("/volumes/pages", test_pages);
    g_test_add_func("/volumes/update", test_update);
    g_test_add_func("/volumes/server-view", test_server_view);
    g_test_add_func("/volumes/detach", test_detach);
    g_test_add_func("/volumes/member", test_member);
    g_test_add_func("/volumes/create-with-new", test_create_with_new);
    g_test_add_func("/volumes/create-with-image-disk", test_create_with_image_disk);
    g_test_add_func("/volumes/create-from-volume", test_create_from_volume);
    g_test_add_func("/volumes/create-legacy", test_create_legacy);
    g_test_add_func("/volumes/quota", test_quota);
    g_test_add_func("/volumes/long-list", test_long_list);
    int result = g_test_run();
    world_end();
    return result;
}
