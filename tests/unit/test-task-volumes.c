/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-task-volumes.c: volumes and snapshots through the engine: made, grown, deleted, put into
 * servers and taken out, and what is left of each when it fails */
#include <string.h>

#include "rig/rig.h"

#define HOSTS 2

typedef struct Stage {
    char *dir;
    HostDriver *world;
    Rig *rig;
    char *server; /* on host1; made by with_server */
} Stage;

static const RigVolume empty_volume = {.size_gb = 1};

static void
stage_open(Stage *stage, const void *unused)
{
    stage->dir = rig_make_dir(HOSTS);
    stage->world = host_fake_world_new(HOSTS);
    host_fake_set_timing(stage->world, 50 * USEC_PER_MSEC, 20 * USEC_PER_MSEC);
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
}

static void
stage_close(Stage *stage, const void *unused)
{
    rig_stop(stage->rig);
    host_fake_world_free(stage->world);
    rig_remove_dir(stage->dir);
    g_free(stage->server);
}

static void
settle(Stage *stage)
{
    g_assert_true(rig_wait_idle(stage->rig, 30));
}

static void
with_server(Stage *stage)
{
    stage->server = rig_create_server(stage->rig, "s", "host1", NULL);
    settle(stage);
}

static char *
make_volume(Stage *stage, const RigVolume *spec)
{
    char *id = rig_create_volume(stage->rig, spec, NULL);

    settle(stage);
    return id;
}

static void
assert_volume(Stage *stage, const char *id, VolumeStatus status)
{
    g_autoptr(Volume) volume = rig_volume(stage->rig, id);

    g_assert_nonnull(volume);
    g_assert_cmpstr(volume_status_names[volume->status], ==, volume_status_names[status]);
}

static void
assert_things(Stage *stage, BlockPurpose purpose, guint count)
{
    g_autoptr(GPtrArray) things =
        stage->rig->storage.ops->things(stage->rig->storage.block, purpose, NULL);

    g_assert_cmpuint(things->len, ==, count);
}

static guint
count_attachments(Stage *stage)
{
    g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &ATTACHMENT, NULL);

    return rows->len;
}

/* The last finished instance action of the server that is called so. */
static char *
action_message(Stage *stage, const char *title)
{
    const StoreCond where[] = {
        {"server_id", STORE_EQ, stage->server, 0}, {"action", STORE_EQ, title, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &ACTION, where);

    g_assert_cmpuint(rows->len, >, 0);
    return g_strdup(((Action *)g_ptr_array_index(rows, rows->len - 1))->message);
}

/* ---- volumes alone
 * --------------------------------------------------------------------------------- */

static void
test_sources(Stage *stage, const void *unused)
{
    g_autofree char *empty = make_volume(stage, &empty_volume);
    g_autofree char *image = make_volume(stage, &(RigVolume){.image_id = rig_image_id});
    g_autofree char *snapshot = rig_create_snapshot(stage->rig, image, false, NULL);

    settle(stage);
    g_autofree char *of_snapshot = make_volume(stage, &(RigVolume){.snapshot_id = snapshot});
    g_autofree char *of_volume = make_volume(stage, &(RigVolume){.source_volume_id = empty});
    g_autoptr(Snapshot) row = rig_snapshot(stage->rig, snapshot);

    g_assert_cmpint(row->status, ==, SNAPSHOT_AVAILABLE);
    assert_volume(stage, empty, VOLUME_AVAILABLE);
    assert_volume(stage, image, VOLUME_AVAILABLE);
    assert_volume(stage, of_snapshot, VOLUME_AVAILABLE);
    assert_volume(stage, of_volume, VOLUME_AVAILABLE);
    assert_things(stage, BLOCK_FOR_VOLUMES, 4);
}

static void
test_create_fails(Stage *stage, const void *unused)
{
    g_autofree char *id =
        make_volume(stage, &(RigVolume){.image_id = "99999999-2222-4333-8444-555555555555"});
    g_autoptr(Volume) volume = rig_volume(stage->rig, id);

    assert_volume(stage, id, VOLUME_ERROR);
    g_assert_nonnull(volume->fault_message);
    assert_things(stage, BLOCK_FOR_VOLUMES, 0);
    rig_volume_action(stage->rig, id, "delete", NULL, NULL);
    settle(stage);
    g_assert_null(rig_volume(stage->rig, id));
}

static void
test_delete(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume);
    g_autofree char *snapshot = rig_create_snapshot(stage->rig, id, false, NULL);
    g_autoptr(GError) error = NULL;

    settle(stage);
    g_assert_false(rig_volume_action(stage->rig, id, "delete", NULL, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_assert_nonnull(strstr(error->message, "1 dependent snapshots"));
    assert_volume(stage, id, VOLUME_AVAILABLE);

    rig_delete_snapshot(stage->rig, snapshot, NULL);
    settle(stage);
    g_assert_null(rig_snapshot(stage->rig, snapshot));
    rig_volume_action(stage->rig, id, "delete", NULL, NULL);
    settle(stage);
    g_assert_null(rig_volume(stage->rig, id));
    assert_things(stage, BLOCK_FOR_VOLUMES, 0);
}

/* Somebody has it open: nothing was touched, so it is as available as before. */
static void
test_delete_of_open_volume(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume);
    g_autofree char *source = NULL, *format = NULL;

    g_assert_true(storage_volume_source(&stage->rig->storage, id, &source, &format, NULL));
    block_fake_set_client(stage->rig->storage.block, source, "192.0.2.9:0/77");
    rig_volume_action(stage->rig, id, "delete", NULL, NULL);
    settle(stage);
    g_autoptr(Volume) volume = rig_volume(stage->rig, id);
    assert_volume(stage, id, VOLUME_AVAILABLE);
    g_assert_nonnull(strstr(volume->fault_message, "192.0.2.9:0/77"));

    block_fake_set_client(stage->rig->storage.block, source, NULL);
    rig_volume_action(stage->rig, id, "delete", NULL, NULL);
    settle(stage);
    g_assert_null(rig_volume(stage->rig, id));
}

static void
test_extend(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume);

    rig_volume_action(stage->rig, id, "extend", "{\"size_gb\":3}", NULL);
    settle(stage);
    g_autoptr(Volume) volume = rig_volume(stage->rig, id);
    assert_volume(stage, id, VOLUME_AVAILABLE);
    g_assert_cmpint(volume->size_gb, ==, 3);

    rig_volume_action(stage->rig, id, "extend", "{\"size_gb\":2}", NULL);
    settle(stage);
    g_autoptr(Volume) refused = rig_volume(stage->rig, id);
    assert_volume(stage, id, VOLUME_ERROR_EXTENDING);
    g_assert_cmpint(refused->size_gb, ==, 3);
}

/* Tasks on one volume keep the order of their acceptance. */
static void
test_order(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume);
    g_autofree char *G_GNUC_UNUSED first = rig_create_snapshot(stage->rig, id, false, NULL);
    g_autofree char *G_GNUC_UNUSED second = rig_create_snapshot(stage->rig, id, false, NULL);

    rig_volume_action(stage->rig, id, "extend", "{\"size_gb\":2}", NULL);
    settle(stage);
    g_autoptr(GPtrArray) tasks = rig_rows(stage->rig, &TASK, NULL);
    int64_t before = 0;

    for (guint i = 0; i < tasks->len; i++) { /* by id */
        const Task *task = g_ptr_array_index(tasks, i);

        g_assert_cmpint(task->status, ==, TASK_SUCCEEDED);
        g_assert_cmpint(task->ended_at, >=, before);
        before = task->ended_at;
    }
}

/* ---- in servers
 * ------------------------------------------------------------------------------------ */

static void
test_attach_and_detach(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume);
    g_autoptr(GError) twice = NULL, in_use = NULL;

    with_server(stage);
    rig_attach(stage->rig, stage->server, id, NULL, NULL);
    g_autoptr(Attachment) reserved = rig_attachment(stage->rig, id);
    g_assert_cmpstr(reserved->device, ==, "vdb");
    g_assert_false(rig_attach(stage->rig, stage->server, id, NULL, &twice));
    g_assert_true(err_is(twice, ERR_CONFLICT));
    settle(stage);

    g_autoptr(Attachment) attached = rig_attachment(stage->rig, id);
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_autofree char *message = action_message(stage, "attach_volume");
    assert_volume(stage, id, VOLUME_IN_USE);
    g_assert_cmpint(attached->state, ==, ATTACHMENT_ATTACHED);
    g_assert_cmpint(attached->attached_at, >, 0);
    g_assert_cmpint(server->task_state, ==, TASK_NONE);
    g_assert_null(message);
    g_assert_true(rig_guest_has(stage->rig, "host1", stage->server, id));
    g_assert_false(rig_volume_action(stage->rig, id, "delete", NULL, &in_use));
    g_assert_true(err_is(in_use, ERR_CONFLICT));

    rig_volume_action(stage->rig, id, "extend", "{\"size_gb\":2}", NULL);
    settle(stage);
    g_autoptr(Volume) grown = rig_volume(stage->rig, id);
    assert_volume(stage, id, VOLUME_IN_USE);
    g_assert_cmpint(grown->size_gb, ==, 2);
    g_assert_null(grown->fault_message);

    rig_detach(stage->rig, stage->server, id, NULL);
    settle(stage);
    assert_volume(stage, id, VOLUME_AVAILABLE);
    g_assert_null(rig_attachment(stage->rig, id));
    g_assert_false(rig_guest_has(stage->rig, "host1", stage->server, id));
}

static void
test_devices(Stage *stage, const void *unused)
{
    g_autofree char *one = make_volume(stage, &empty_volume),
                    *two = make_volume(stage, &empty_volume);
    static const char *const refused[] = {"/dev/vda", "vdc", "sdb", "vd", "/dev/vdaaa", "vdB"};

    with_server(stage);
    rig_attach(stage->rig, stage->server, one, "/dev/vdc", NULL);
    settle(stage);
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(rig_attach(stage->rig, stage->server, two, refused[i], &error));
    }
    assert_volume(stage, two, VOLUME_AVAILABLE);
    rig_attach(stage->rig, stage->server, two, NULL, NULL);
    settle(stage);
    g_autoptr(Attachment) attached = rig_attachment(stage->rig, two);
    g_assert_cmpstr(attached->device, ==, "vdb");
}

static void
test_stopped_server(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume);

    with_server(stage);
    rig_action(stage->rig, stage->server, "os-stop", NULL, NULL);
    settle(stage);
    rig_attach(stage->rig, stage->server, id, NULL, NULL);
    settle(stage);
    assert_volume(stage, id, VOLUME_IN_USE);
    rig_action(stage->rig, stage->server, "os-start", NULL, NULL);
    settle(stage);
    g_assert_true(rig_guest_has(stage->rig, "host1", stage->server, id));
    rig_action(stage->rig, stage->server, "reboot-hard", NULL, NULL);
    settle(stage);
    g_assert_true(rig_guest_has(stage->rig, "host1", stage->server, id));
    rig_action(stage->rig, stage->server, "os-stop", NULL, NULL);
    settle(stage);
    rig_detach(stage->rig, stage->server, id, NULL);
    settle(stage);
    assert_volume(stage, id, VOLUME_AVAILABLE);
    rig_action(stage->rig, stage->server, "os-start", NULL, NULL);
    settle(stage);
    g_assert_false(rig_guest_has(stage->rig, "host1", stage->server, id));
}

static void
test_attach_fails(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume);

    with_server(stage);
    host_fake_set_fault(stage->world, 1, FAKE_ATTACH_FAILS);
    rig_attach(stage->rig, stage->server, id, NULL, NULL);
    settle(stage);
    g_autofree char *message = action_message(stage, "attach_volume");
    assert_volume(stage, id, VOLUME_AVAILABLE);
    g_assert_cmpuint(count_attachments(stage), ==, 0);
    g_assert_nonnull(strstr(message, "blockdev-add"));
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_assert_cmpint(server->vm_state, ==, VM_ACTIVE);
    g_assert_cmpint(server->task_state, ==, TASK_NONE);
}

/* Somebody unknown has the volume open: no second writer. */
static void
test_attach_of_open_volume(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume);
    g_autofree char *source = NULL, *format = NULL;

    with_server(stage);
    g_assert_true(storage_volume_source(&stage->rig->storage, id, &source, &format, NULL));
    block_fake_set_client(stage->rig->storage.block, source, "192.0.2.9:0/77");
    rig_attach(stage->rig, stage->server, id, NULL, NULL);
    settle(stage);
    g_autofree char *message = action_message(stage, "attach_volume");
    g_assert_nonnull(strstr(message, "192.0.2.9:0/77"));
    assert_volume(stage, id, VOLUME_AVAILABLE);
    g_assert_false(rig_guest_has(stage->rig, "host1", stage->server, id));
}

static void
test_guest_keeps_disk(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume);

    with_server(stage);
    rig_attach(stage->rig, stage->server, id, NULL, NULL);
    settle(stage);
    host_fake_set_fault(stage->world, 1, FAKE_DISK_STAYS);
    rig_detach(stage->rig, stage->server, id, NULL);
    settle(stage);
    g_autofree char *message = action_message(stage, "detach_volume");
    g_autoptr(Attachment) attachment = rig_attachment(stage->rig, id);
    assert_volume(stage, id, VOLUME_IN_USE);
    g_assert_cmpint(attachment->state, ==, ATTACHMENT_ATTACHED);
    g_assert_nonnull(strstr(message, "does not let go"));

    host_fake_set_fault(stage->world, 1, FAKE_FAULT_NONE);
    rig_detach(stage->rig, stage->server, id, NULL);
    settle(stage);
    assert_volume(stage, id, VOLUME_AVAILABLE);
}

static void
wait_until_connected(Stage *stage, bool connected)
{
    int64_t deadline = clock_monotonic() + 10 * USEC_PER_SEC;

    while (hosts_is_connected(stage->rig->hosts, "host1") != connected) {
        g_assert_cmpint(clock_monotonic(), <, deadline);
        store_wait_change(stage->rig->store, store_change_count(stage->rig->store),
                          clock_monotonic() + 20 * USEC_PER_MSEC);
    }
}

/* The node is away before anything was sent: attach leaves nothing, detach leaves it attached. */
static void
test_node_away(Stage *stage, const void *unused)
{
    g_autofree char *one = make_volume(stage, &empty_volume),
                    *two = make_volume(stage, &empty_volume);

    with_server(stage);
    rig_attach(stage->rig, stage->server, one, NULL, NULL);
    settle(stage);
    host_fake_set_fault(stage->world, 1, FAKE_NODE_CUT);
    wait_until_connected(stage, false);
    rig_attach(stage->rig, stage->server, two, NULL, NULL);
    settle(stage);
    g_autofree char *message = action_message(stage, "attach_volume");
    assert_volume(stage, two, VOLUME_AVAILABLE);
    g_assert_null(rig_attachment(stage->rig, two));
    g_assert_nonnull(strstr(message, "host1"));

    rig_detach(stage->rig, stage->server, one, NULL);
    host_fake_set_fault(stage->world, 1, FAKE_FAULT_NONE); /* comes back while the task waits */
    settle(stage);
    assert_volume(stage, one, VOLUME_AVAILABLE);
    g_assert_false(rig_guest_has(stage->rig, "host1", stage->server, one));
}

/* ---- boot from volume
 * ------------------------------------------------------------------------------ */

static const RigVolume root_volume = {.image_id = "11111111-2222-4333-8444-555555555555"};

static char *
root_of(Stage *stage)
{
    const StoreCond where[] = {{"boot_index", STORE_EQ, NULL, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &ATTACHMENT, where);

    g_assert_cmpuint(rows->len, ==, 1);
    return g_strdup(((Attachment *)g_ptr_array_index(rows, 0))->volume_id);
}

static void
test_boot_from_volume(Stage *stage, const void *unused)
{
    g_autofree char *other = make_volume(stage, &empty_volume);
    g_autoptr(GError) error = NULL;

    stage->server = rig_boot_from_volume(stage->rig, &root_volume, true,
                                         (const char *const[]){other, NULL}, false, NULL);
    settle(stage);
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_autofree char *root = root_of(stage);
    g_autoptr(Attachment) attachment = rig_attachment(stage->rig, root);

    g_assert_cmpint(server->vm_state, ==, VM_ACTIVE);
    g_assert_cmpstr(attachment->device, ==, "vda");
    assert_volume(stage, root, VOLUME_IN_USE);
    assert_volume(stage, other, VOLUME_IN_USE);
    g_assert_true(rig_guest_has(stage->rig, server->host, stage->server, root));
    g_assert_true(rig_guest_has(stage->rig, server->host, stage->server, other));
    bool disk = true;
    g_assert_true(storage_disk_exists(&stage->rig->storage, stage->server, &disk, NULL));
    g_assert_false(disk);
    g_assert_false(rig_detach(stage->rig, stage->server, root, &error));
    g_assert_true(err_is(error, ERR_INVALID));

    rig_action(stage->rig, stage->server, "delete", NULL, NULL);
    settle(stage);
    g_assert_null(rig_volume(stage->rig, root)); /* it went with the server */
    assert_volume(stage, other, VOLUME_AVAILABLE);
    g_assert_cmpuint(count_attachments(stage), ==, 0);
    assert_things(stage, BLOCK_FOR_VOLUMES, 1);
    assert_things(stage, BLOCK_FOR_SERVERS, 0);
}

static void
test_boot_fails(Stage *stage, const void *unused)
{
    g_autofree char *other = make_volume(stage, &empty_volume);

    host_fake_set_fault(stage->world, 1, FAKE_START_FAILS);
    host_fake_set_fault(stage->world, 2, FAKE_START_FAILS);
    /* delete_on_termination is about the end of a server; this one never began. */
    stage->server = rig_boot_from_volume(stage->rig, &root_volume, false,
                                         (const char *const[]){other, NULL}, true, NULL);
    settle(stage);
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_assert_cmpint(server->vm_state, ==, VM_ERROR);
    g_assert_null(server->host);
    g_assert_cmpuint(count_attachments(stage), ==, 0);
    assert_volume(stage, other, VOLUME_AVAILABLE);
    assert_things(stage, BLOCK_FOR_VOLUMES, 1);
    rig_action(stage->rig, stage->server, "delete", NULL, NULL);
    settle(stage);
}

/* Wherever the creation stands when the deletion comes, nothing of it is left. */
static void
test_delete_during_boot(Stage *stage, const void *unused)
{
    g_autofree char *other = make_volume(stage, &empty_volume);

    for (int i = 0; i < 8; i++) {
        g_autofree char *id = rig_boot_from_volume(stage->rig, &root_volume, true,
                                                   (const char *const[]){other, NULL}, false, NULL);

        store_wait_change(stage->rig->store, store_change_count(stage->rig->store),
                          clock_monotonic() + i * 2 * USEC_PER_MSEC);
        rig_action(stage->rig, id, "delete", NULL, NULL);
        settle(stage);
        g_autoptr(Server) server = rig_server(stage->rig, id);
        g_assert_cmpint(server->vm_state, ==, VM_DELETED);
        assert_volume(stage, other, VOLUME_AVAILABLE);
        g_assert_cmpuint(count_attachments(stage), ==, 0);
        assert_things(stage, BLOCK_FOR_VOLUMES, 1);
        assert_things(stage, BLOCK_FOR_SERVERS, 0);
        g_assert_cmpint(host_fake_domain_count(stage->world), ==, 0);
    }
}

/* A snapshot keeps its volume, whatever the server's creator wanted. */
static void
test_delete_keeps_what_has_snapshots(Stage *stage, const void *unused)
{
    stage->server = rig_boot_from_volume(stage->rig, &root_volume, true, NULL, false, NULL);
    settle(stage);
    g_autofree char *root = root_of(stage);
    g_autofree char *G_GNUC_UNUSED snapshot = rig_create_snapshot(stage->rig, root, true, NULL);
    settle(stage);
    rig_action(stage->rig, stage->server, "delete", NULL, NULL);
    settle(stage);
    assert_volume(stage, root, VOLUME_AVAILABLE);
    g_assert_cmpuint(count_attachments(stage), ==, 0);
}

/* ---- together with other operations
 * -------------------------------------------------------------- */

static void
test_move(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume),
                    *late = make_volume(stage, &empty_volume);
    g_autoptr(GError) error = NULL;

    with_server(stage);
    rig_attach(stage->rig, stage->server, id, NULL, NULL);
    settle(stage);
    host_fake_set_timing(stage->world, 500 * USEC_PER_MSEC, USEC_PER_SEC);
    rig_migrate(stage->rig, stage->server, "host2", NULL);
    g_assert_false(rig_attach(stage->rig, stage->server, late, NULL, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    assert_volume(stage, late, VOLUME_AVAILABLE);
    for (;;) { /* accepted as soon as it is ACTIVE over there, done after the clean-up */
        uint64_t seen = store_change_count(stage->rig->store);
        g_autoptr(Server) server = rig_server(stage->rig, stage->server);

        if (server->task_state == TASK_NONE)
            break;
        store_wait_change(stage->rig->store, seen, clock_monotonic() + USEC_PER_SEC);
    }
    g_assert_cmpint(task_engine_open_count(stage->rig->tasks), >, 0);
    rig_attach(stage->rig, stage->server, late, NULL, NULL);
    settle(stage);
    g_assert_true(rig_guest_has(stage->rig, "host2", stage->server, id));
    g_assert_true(rig_guest_has(stage->rig, "host2", stage->server, late));
    assert_volume(stage, late, VOLUME_IN_USE);
}

static void
test_delete_behind_attach(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume);

    with_server(stage);
    rig_attach(stage->rig, stage->server, id, NULL, NULL);
    rig_action(stage->rig, stage->server, "delete", NULL, NULL);
    settle(stage);
    g_autoptr(Server) server = rig_server(stage->rig, stage->server);
    g_assert_cmpint(server->vm_state, ==, VM_DELETED);
    assert_volume(stage, id, VOLUME_AVAILABLE);
    g_assert_cmpuint(count_attachments(stage), ==, 0);
}

static bool
ask_for_a_look(StoreTx *tx, void *opaque, GError **err)
{
    return task_submit_reconcile(tx, opaque, "host1", err);
}

/* What somebody took from the guest by hand comes back, what he gave it goes. */
static void
test_reconcile(Stage *stage, const void *unused)
{
    g_autofree char *ours = make_volume(stage, &empty_volume),
                    *foreign = make_volume(stage, &empty_volume);
    DiskSpec disk = {.source = (char *)"/somewhere/else",
                     .format = (char *)"raw",
                     .target = (char *)"vdz",
                     .serial = foreign};
    int64_t deadline = clock_monotonic() + 10 * USEC_PER_SEC;

    with_server(stage);
    rig_attach(stage->rig, stage->server, ours, NULL, NULL);
    settle(stage);
    g_assert_true(
        host_disk_detach(stage->rig->hosts, "host1", stage->server, ours, deadline, NULL));
    g_assert_true(
        host_disk_attach(stage->rig->hosts, "host1", stage->server, &disk, deadline, NULL));
    g_assert_true(store_write(stage->rig->store, ask_for_a_look, stage->server, NULL));
    task_engine_wake(stage->rig->tasks);
    settle(stage);
    g_assert_true(rig_guest_has(stage->rig, "host1", stage->server, ours));
    g_assert_false(rig_guest_has(stage->rig, "host1", stage->server, foreign));
}

/* What somebody else has open is not given back to a guest that lost it. */
static void
test_reconcile_of_open_volume(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume), *format = NULL, *source = NULL;
    int64_t deadline = clock_monotonic() + 10 * USEC_PER_SEC;

    with_server(stage);
    rig_attach(stage->rig, stage->server, id, NULL, NULL);
    settle(stage);
    g_assert_true(host_disk_detach(stage->rig->hosts, "host1", stage->server, id, deadline, NULL));
    g_assert_true(storage_volume_source(&stage->rig->storage, id, &source, &format, NULL));
    block_fake_set_client(stage->rig->storage.block, source, "192.0.2.99:0/4711");
    g_assert_true(store_write(stage->rig->store, ask_for_a_look, stage->server, NULL));
    task_engine_wake(stage->rig->tasks);
    settle(stage);
    g_assert_false(rig_guest_has(stage->rig, "host1", stage->server, id));
    assert_volume(stage, id, VOLUME_IN_USE);
}

/* Accepted while the server that has it is being deleted: afterwards no server has it. */
static void
test_extend_behind_delete(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume);

    with_server(stage);
    rig_attach(stage->rig, stage->server, id, NULL, NULL);
    settle(stage);
    rig_action(stage->rig, stage->server, "delete", NULL, NULL);
    rig_volume_action(stage->rig, id, "extend", "{\"size_gb\":2}", NULL);
    settle(stage);
    g_autoptr(Volume) volume = rig_volume(stage->rig, id);
    g_assert_cmpint(volume->size_gb, ==, 2);
    assert_volume(stage, id, VOLUME_AVAILABLE);
}

/* The same for one that goes with its server. */
static void
test_extend_behind_delete_of_root(Stage *stage, const void *unused)
{
    stage->server = rig_boot_from_volume(stage->rig, &root_volume, true, NULL, false, NULL);
    settle(stage);
    g_autofree char *root = root_of(stage);
    rig_action(stage->rig, stage->server, "delete", NULL, NULL);
    rig_volume_action(stage->rig, root, "extend", "{\"size_gb\":20}", NULL);
    settle(stage);
    g_assert_null(rig_volume(stage->rig, root));
    assert_things(stage, BLOCK_FOR_VOLUMES, 0);
}

/* As if the deletion of its snapshot, accepted before that of the volume, had failed. */
static bool
delete_with_stuck_snapshot(StoreTx *tx, void *opaque, GError **err)
{
    const TaskRequest request = {.request_id = "req", .user_id = "u", .project_id = "p"};
    g_autoptr(Volume) volume = store_get(tx, &VOLUME, opaque, err);
    g_autoptr(Snapshot) snapshot = record_new(&SNAPSHOT);

    g_assert_nonnull(volume);
    snapshot->id = uuid_new();
    snapshot->name = g_strdup("");
    snapshot->volume_id = g_strdup(volume->id);
    snapshot->project_id = g_strdup(volume->project_id);
    snapshot->user_id = g_strdup(volume->user_id);
    snapshot->metadata = g_strdup("{}");
    snapshot->status = SNAPSHOT_ERROR_DELETING;
    return task_submit_volume(tx, "delete", volume, &request, NULL, err) &&
           store_insert(tx, &SNAPSHOT, snapshot, err);
}

static void
test_delete_behind_stuck_snapshot(Stage *stage, const void *unused)
{
    g_autofree char *id = make_volume(stage, &empty_volume);
    g_autoptr(GError) error = NULL;

    store_write(stage->rig->store, delete_with_stuck_snapshot, id, &error);
    g_assert_no_error(error);
    task_engine_wake(stage->rig->tasks);
    settle(stage);
    g_autoptr(Volume) volume = rig_volume(stage->rig, id);
    assert_volume(stage, id, VOLUME_AVAILABLE);
    g_assert_nonnull(strstr(volume->fault_message, "snapshots"));
    assert_things(stage, BLOCK_FOR_VOLUMES, 1);
    g_autoptr(GPtrArray) snapshots = rig_rows(stage->rig, &SNAPSHOT, NULL);
    rig_delete_snapshot(stage->rig, ((Snapshot *)snapshots->pdata[0])->id, NULL);
    rig_volume_action(stage->rig, id, "delete", NULL, NULL);
    settle(stage);
    g_assert_null(rig_volume(stage->rig, id));
    assert_things(stage, BLOCK_FOR_VOLUMES, 0);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Stage *stage, const void *unused);
    } tests[] = {
        {"/volumes/sources", test_sources},
        {"/volumes/create-fails", test_create_fails},
        {"/volumes/delete", test_delete},
        {"/volumes/delete-of-open-volume", test_delete_of_open_volume},
        {"/volumes/extend", test_extend},
        {"/volumes/order", test_order},
        {"/volumes/attach-and-detach", test_attach_and_detach},
        {"/volumes/devices", test_devices},
        {"/volumes/stopped-server", test_stopped_server},
        {"/volumes/attach-fails", test_attach_fails},
        {"/volumes/attach-of-open-volume", test_attach_of_open_volume},
        {"/volumes/guest-keeps-disk", test_guest_keeps_disk},
        {"/volumes/node-away", test_node_away},
        {"/volumes/boot-from-volume", test_boot_from_volume},
        {"/volumes/boot-fails", test_boot_fails},
        {"/volumes/delete-during-boot", test_delete_during_boot},
        {"/volumes/delete-keeps-what-has-snapshots", test_delete_keeps_what_has_snapshots},
        {"/volumes/move", test_move},
        {"/volumes/delete-behind-attach", test_delete_behind_attach},
        {"/volumes/reconcile", test_reconcile},
        {"/volumes/reconcile-of-open-volume", test_reconcile_of_open_volume},
        {"/volumes/extend-behind-delete", test_extend_behind_delete},
        {"/volumes/extend-behind-delete-of-root", test_extend_behind_delete_of_root},
        {"/volumes/delete-behind-stuck-snapshot", test_delete_behind_stuck_snapshot},
    };

    g_test_init(&argc, &argv, NULL);
    log_set_level(g_getenv("TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Stage, NULL, stage_open, tests[i].fn, stage_close);
    return g_test_run();
}
