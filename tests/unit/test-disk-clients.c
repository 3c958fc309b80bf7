/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-disk-clients.c: every class of client that can have a server's disk open before a start */
#include <string.h>

#include "rig/rig.h"
#include "task/disk-clients.h"
#include "task/runner.h"
#include "task/take-over.h"

#define NODES 2

typedef struct Fixture {
    char *dir;
    HostDriver *world;
    Rig *rig;
    char *id, *disk; /* a server, made on host1, and its root disk */
    TaskRun *run;    /* of a start of it */
} Fixture;

static TaskRun *
run_make(Rig *rig, const char *server_id)
{
    TaskRun *run = g_new0(TaskRun, 1);

    run->engine = rig->tasks;
    run->server_id = g_strdup(server_id);
    run->server = rig_server(rig, server_id);
    run->task = g_new0(Task, 1);
    run->task->server_id = g_strdup(server_id);
    run->state = json_object();
    return run;
}

static void
run_unmake(TaskRun *run)
{
    g_free(run->server_id);
    server_free(run->server);
    task_free(run->task);
    json_decref(run->state);
    g_free(run);
}

static bool
forget_all(StoreTx *tx, void *opaque, GError **err)
{
    return part_forget_clients(tx, opaque, err);
}

static void
set_up(Fixture *f, gconstpointer data)
{
    g_autofree char *format = NULL;

    f->dir = rig_make_dir(NODES);
    f->world = host_fake_world_new(NODES);
    f->rig = rig_start(f->dir, f->world, NODES);
    f->id = rig_create_server(f->rig, "s", "host1", NULL);
    g_assert_true(rig_wait_idle(f->rig, 10));
    g_assert_true(storage_disk_source(&f->rig->storage, f->id, &f->disk, &format, NULL));
    f->run = run_make(f->rig, f->id);
    g_assert_true(store_write(f->rig->store, forget_all, f->id, NULL));
}

static void
tear_down(Fixture *f, gconstpointer data)
{
    run_unmake(f->run);
    rig_stop(f->rig);
    host_fake_world_free(f->world);
    rig_remove_dir(f->dir);
    g_free(f->id);
    g_free(f->disk);
}

static bool
insert_row(StoreTx *tx, void *opaque, GError **err)
{
    return store_insert(tx, &DISK_CLIENT, opaque, err);
}

static void
record(Fixture *f, const char *server_id, const char *source, const char *host, const char *address)
{
    DiskClient row = {.server_id = (char *)server_id,
                      .source = (char *)source,
                      .host = (char *)host,
                      .address = (char *)address,
                      .created_at = 1};

    g_assert_true(store_write(f->rig->store, insert_row, &row, NULL));
}

static void
set_client(Fixture *f, const char *address)
{
    block_fake_set_client(f->rig->storage.block, f->disk, address);
}

static bool
is_fenced(Fixture *f, const char *address)
{
    return block_fake_is_fenced(f->rig->storage.block, address);
}

/* As kill -9 of its QEMU: off, and what it had open stays open. */
static void
kill_guest(Fixture *f)
{
    g_assert_true(host_domain_destroy(f->rig->hosts, "host1", f->id, DEADLINE_CONTROL, NULL));
}

static void
cut(Fixture *f, int node)
{
    g_autofree char *name = g_strdup_printf("host%d", node);

    host_fake_set_fault(f->world, node, FAKE_NODE_CUT);
    for (int i = 0; i < 1000 && hosts_is_connected(f->rig->hosts, name); i++)
        g_usleep(5000);
    g_assert_false(hosts_is_connected(f->rig->hosts, name));
}

static void
assert_clears(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    bool ok = part_clear_disk_clients(f->run, &error);

    g_assert_no_error(error);
    g_assert_true(ok);
}

/* ERR_CONFLICT whose text has all of these; nobody was shut out. */
static void
assert_refuses(Fixture *f, const char *address, const char *a, const char *b)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(part_clear_disk_clients(f->run, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_assert_nonnull(strstr(error->message, address));
    g_assert_nonnull(strstr(error->message, f->disk));
    g_assert_nonnull(strstr(error->message, a));
    g_assert_nonnull(strstr(error->message, b));
    g_assert_false(is_fenced(f, address));
}

static void
test_nobody(Fixture *f, gconstpointer data)
{
    kill_guest(f);
    assert_clears(f);
}

static void
test_recorded_and_gone(Fixture *f, gconstpointer data)
{
    record(f, f->id, f->disk, "host1", "192.168.7.1:0/11");
    kill_guest(f);
    set_client(f, "192.168.7.1:0/11");
    assert_clears(f);
    g_assert_true(is_fenced(f, "192.168.7.1:0/11"));
}

/* A start that is taken up: the guest is there, and the client is its own. */
static void
test_guest_is_there(Fixture *f, gconstpointer data)
{
    set_client(f, "10.0.0.1:0/12");
    assert_clears(f);
    g_assert_false(is_fenced(f, "10.0.0.1:0/12"));
}

static void
test_recorded_and_runs_elsewhere(Fixture *f, gconstpointer data)
{
    record(f, f->id, f->disk, "host1", "10.0.0.1:0/13");
    set_client(f, "10.0.0.1:0/13");
    text_set(&f->run->server->host, "host2");
    assert_refuses(f, "10.0.0.1:0/13", "host1", "running");
}

static void
test_recorded_node_is_away(Fixture *f, gconstpointer data)
{
    kill_guest(f);
    record(f, f->id, f->disk, "host2", "10.0.0.2:0/14");
    set_client(f, "10.0.0.2:0/14");
    cut(f, 2);
    assert_refuses(f, "10.0.0.2:0/14", "host2", "does not answer");
}

static bool
insert_move(StoreTx *tx, void *opaque, GError **err)
{
    g_autofree char *uuid = uuid_new();
    Migration row = {.uuid = uuid,
                     .server_id = opaque,
                     .project_id = (char *)"p",
                     .user_id = (char *)"u",
                     .type = (char *)"live-migration",
                     .status = MIGRATION_RUNNING,
                     .phase = (char *)"transfer",
                     .source_host = (char *)"host1",
                     .dest_host = (char *)"host2",
                     .flavor_id = (char *)"f",
                     .phases = (char *)"{}",
                     .created_at = 1,
                     .updated_at = 1};

    return store_insert(tx, &MIGRATION, &row, err);
}

static void
test_peer_of_a_move(Fixture *f, gconstpointer data)
{
    record(f, f->id, f->disk, "host2", "10.0.0.2:0/15");
    kill_guest(f);
    set_client(f, "10.0.0.2:0/15");
    g_assert_true(store_write(f->rig->store, insert_move, f->id, NULL));
    assert_refuses(f, "10.0.0.2:0/15", "host2", "being moved");
}

static void
test_foreign(Fixture *f, gconstpointer data)
{
    kill_guest(f);
    set_client(f, "10.88.0.9:0/16");
    assert_refuses(f, "10.88.0.9:0/16", "somebody else", "no second writer");
}

static void
test_foreign_beside_a_former(Fixture *f, gconstpointer data)
{
    record(f, f->id, f->disk, "host1", "10.0.0.1:0/17");
    kill_guest(f);
    set_client(f, "10.0.0.1:0/17");
    set_client(f, "[fd00::9]:0/18");
    assert_refuses(f, "[fd00::9]:0/18", "somebody else", "on fd00::9");
    g_assert_false(is_fenced(f, "10.0.0.1:0/17")); /* all are judged before the first is touched */
}

/* godwitd was killed between start and commit, then QEMU. */
static void
test_unrecorded_on_our_node(Fixture *f, gconstpointer data)
{
    kill_guest(f);
    set_client(f, "10.0.0.1:0/19");
    assert_clears(f);
    g_assert_true(is_fenced(f, "10.0.0.1:0/19"));
}

/* The node's address in the storage's network is known by other clients of it. */
static void
test_unrecorded_by_learned_address(Fixture *f, gconstpointer data)
{
    record(f, "11111111-0000-4000-8000-000000000000", "servers/other", "host2", "192.168.7.2:0/20");
    kill_guest(f);
    set_client(f, "192.168.7.2:0/21");
    assert_clears(f);
    g_assert_true(is_fenced(f, "192.168.7.2:0/21"));
    g_assert_false(is_fenced(f, "192.168.7.2:0/20"));
}

static void
test_unrecorded_node_is_away(Fixture *f, gconstpointer data)
{
    kill_guest(f);
    set_client(f, "10.0.0.2:0/22");
    cut(f, 2);
    assert_refuses(f, "10.0.0.2:0/22", "host2", "does not answer");
}

static void
test_unrecorded_where_it_runs(Fixture *f, gconstpointer data)
{
    set_client(f, "10.0.0.1:0/23");
    text_set(&f->run->server->host, "host2");
    assert_refuses(f, "10.0.0.1:0/23", "host1", "this very server");
}

static void
test_many(Fixture *f, gconstpointer data)
{
    kill_guest(f);
    for (int i = 0; i < 100; i++) {
        g_autofree char *address = g_strdup_printf("10.0.0.1:0/%d", 1000 + i);

        set_client(f, address);
    }
    g_autoptr(GError) error = NULL;
    g_assert_false(part_clear_disk_clients(f->run, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
}

/* ---- volumes ----------------------------------------------------------------------------------
 */

typedef struct NewVolume {
    char *id;
    const char *server_id; /* NULL: in none */
} NewVolume;

static bool
insert_volume(StoreTx *tx, void *opaque, GError **err)
{
    const NewVolume *new = opaque;
    Volume volume = {.id = new->id,
                     .name = (char *)"v",
                     .project_id = (char *)"p",
                     .user_id = (char *)"u",
                     .status = VOLUME_IN_USE,
                     .size_gb = 1,
                     .volume_type = (char *)"__DEFAULT__",
                     .image_metadata = (char *)"{}",
                     .metadata = (char *)"{}",
                     .created_at = 1,
                     .updated_at = 1};
    Attachment attachment = {.id = new->id,
                             .volume_id = new->id,
                             .server_id = (char *)new->server_id,
                             .state = ATTACHMENT_ATTACHED,
                             .device = (char *)"vdb",
                             .boot_index = -1,
                             .created_at = 1};

    return store_insert(tx, &VOLUME, &volume, err) &&
           (!new->server_id || store_insert(tx, &ATTACHMENT, &attachment, err));
}

static char *
volume_make(Fixture *f, const char *id, const char *server_id)
{
    NewVolume new = {(char *)id, server_id};
    g_autofree char *format = NULL;
    char *source = NULL;

    g_assert_true(storage_volume_create(&f->rig->storage, id, NULL, 1 << 30, NULL, NULL, NULL));
    g_assert_true(storage_volume_source(&f->rig->storage, id, &source, &format, NULL));
    g_assert_true(store_write(f->rig->store, insert_volume, &new, NULL));
    return source;
}

static void
test_volume_of_the_server(Fixture *f, gconstpointer data)
{
    g_autofree char *id = uuid_new(), *source = volume_make(f, id, f->id);
    g_autoptr(GError) error = NULL;

    kill_guest(f);
    block_fake_set_client(f->rig->storage.block, source, "10.88.0.9:0/30");
    g_assert_false(part_clear_disk_clients(f->run, &error));
    g_assert_nonnull(strstr(error->message, source));
    g_assert_nonnull(strstr(error->message, "10.88.0.9:0/30"));
    block_fake_set_client(f->rig->storage.block, source, NULL);
    record(f, f->id, source, "host1", "10.0.0.1:0/31");
    block_fake_set_client(f->rig->storage.block, source, "10.0.0.1:0/31");
    assert_clears(f);
    g_assert_true(is_fenced(f, "10.0.0.1:0/31"));
}

/* The guest that is recorded with the volume runs on, and has let go of it. */
static void
test_volume_was_let_go(Fixture *f, gconstpointer data)
{
    g_autofree char *id = uuid_new(), *source = volume_make(f, id, NULL);
    g_autoptr(GError) error = NULL;

    record(f, f->id, source, "host1", "10.0.0.1:0/32");
    block_fake_set_client(f->rig->storage.block, source, "10.0.0.1:0/32");
    g_assert_true(part_clear_volume_clients(f->run, id, &error));
    g_assert_no_error(error);
    g_assert_true(is_fenced(f, "10.0.0.1:0/32"));
}

static void
test_volume_is_held(Fixture *f, gconstpointer data)
{
    g_autofree char *id = uuid_new(), *source = volume_make(f, id, NULL);
    g_autoptr(GError) error = NULL;
    g_auto(DiskSpec) disk = {.source = g_strdup(source),
                             .format = g_strdup("raw"),
                             .target = g_strdup("vdb"),
                             .serial = g_strdup(id)};

    g_assert_true(host_disk_attach(f->rig->hosts, "host1", f->id, &disk, DEADLINE_CONTROL, &error));
    g_assert_no_error(error);
    record(f, f->id, source, "host1", "10.0.0.1:0/33");
    block_fake_set_client(f->rig->storage.block, source, "10.0.0.1:0/33");
    g_assert_false(part_clear_volume_clients(f->run, id, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_assert_false(is_fenced(f, "10.0.0.1:0/33"));
}

/* ---- recording --------------------------------------------------------------------------------
 */

static bool
write_seen(StoreTx *tx, void *opaque, GError **err)
{
    return part_record_clients(opaque, tx, err);
}

static GPtrArray *
rows_of(Fixture *f)
{
    const StoreCond where[] = {{"server_id", STORE_EQ, f->id, 0}, {NULL}};

    return rig_rows(f->rig, &DISK_CLIENT, where);
}

static void
observe(Fixture *f, const char *host)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(part_observe_clients(f->run, host, &error));
    g_assert_no_error(error);
    g_assert_true(store_write(f->rig->store, write_seen, f->run, &error));
    g_assert_no_error(error);
}

static void
test_recording(Fixture *f, gconstpointer data)
{
    g_autoptr(GPtrArray) first = NULL, second = NULL, third = NULL;
    const DiskClient *row;

    set_client(f, "10.0.0.1:0/40");
    observe(f, "host1");
    first = rows_of(f);
    g_assert_cmpuint(first->len, ==, 1);
    row = g_ptr_array_index(first, 0);
    g_assert_cmpstr(row->host, ==, "host1");
    g_assert_cmpstr(row->address, ==, "10.0.0.1:0/40");
    g_assert_cmpstr(row->source, ==, f->disk);

    set_client(f, "10.0.0.2:0/41"); /* moved; the source is still there for a moment */
    observe(f, "host2");
    second = rows_of(f);
    g_assert_cmpuint(second->len, ==, 2);
    for (guint i = 0; i < 2; i++) {
        row = g_ptr_array_index(second, i);
        g_assert_cmpstr(row->host, ==,
                        strcmp(row->address, "10.0.0.1:0/40") == 0 ? "host1" : "host2");
    }

    set_client(f, NULL);
    set_client(f, "10.0.0.2:0/41");
    observe(f, "host2");
    third = rows_of(f);
    g_assert_cmpuint(third->len, ==, 1);
}

/* The whole way: kill -9 of QEMU, its client stays, a hard reboot brings the guest back at once. */
static void
test_hard_reboot(Fixture *f, gconstpointer data)
{
    int64_t before;
    g_autoptr(Server) server = NULL;

    record(f, f->id, f->disk, "host1", "10.0.0.1:0/50");
    set_client(f, "10.0.0.1:0/50");
    kill_guest(f);
    before = clock_monotonic();
    g_assert_true(rig_action(f->rig, f->id, "reboot-hard", NULL, NULL));
    g_assert_true(rig_wait_idle(f->rig, 10));
    g_assert_cmpint(clock_monotonic() - before, <, USEC_PER_SEC);
    g_assert_cmpint(host_fake_running_count(f->world, f->id), ==, 1);
    g_assert_true(is_fenced(f, "10.0.0.1:0/50"));
    server = rig_server(f->rig, f->id);
    g_assert_cmpint(server->vm_state, ==, VM_ACTIVE);
}

static void
test_start_is_refused(Fixture *f, gconstpointer data)
{
    const StoreCond where[] = {{"server_id", STORE_EQ, f->id, 0}, {NULL}};
    g_autoptr(GPtrArray) actions = NULL;
    bool named = false;

    kill_guest(f);
    set_client(f, "10.88.0.9:0/51");
    g_assert_true(rig_action(f->rig, f->id, "reboot-hard", NULL, NULL));
    g_assert_true(rig_wait_idle(f->rig, 10));
    g_assert_cmpint(host_fake_running_count(f->world, f->id), ==, 0);
    g_assert_false(is_fenced(f, "10.88.0.9:0/51"));
    actions = rig_rows(f->rig, &ACTION, where);
    for (guint i = 0; i < actions->len; i++) {
        const Action *action = g_ptr_array_index(actions, i);

        named = named || (action->message && strstr(action->message, "10.88.0.9:0/51"));
    }
    g_assert_true(named);
}

/* ---- a former godwitd -------------------------------------------------------------------------
 */

static const char *own_now; /* NULL: none, as the fake says */

static GPtrArray *
own_clients(Block *block, GError **err)
{
    const char *now = __atomic_load_n(&own_now, __ATOMIC_ACQUIRE);
    GPtrArray *own = g_ptr_array_new_with_free_func(g_free);

    if (now)
        g_ptr_array_add(own, g_strdup(now));
    return own;
}

static void
take_over_as(Fixture *f, const char *client)
{
    __atomic_store_n(&own_now, client, __ATOMIC_RELEASE);
    g_assert_true(task_take_over_storage(f->rig->tasks, NULL));
}

static void
test_take_over(Fixture *f, gconstpointer data)
{
    take_over_as(f, "10.0.0.100:0/1");
    take_over_as(f, "10.0.0.100:0/1");
    g_assert_false(is_fenced(f, "10.0.0.100:0/1"));
    take_over_as(f, "10.0.0.100:0/2"); /* another process */
    g_assert_true(is_fenced(f, "10.0.0.100:0/1"));
    g_assert_false(is_fenced(f, "10.0.0.100:0/2"));
    take_over_as(f, "10.0.0.100:0/3");
    g_assert_true(is_fenced(f, "10.0.0.100:0/2"));
    __atomic_store_n(&own_now, NULL, __ATOMIC_RELEASE);
}

#define CASE(path, function) \
    g_test_add("/disk-clients/" path, Fixture, NULL, set_up, function, tear_down)

int
main(int argc, char **argv)
{
    BlockOps ops = block_fake_ops;

    g_test_init(&argc, &argv, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    /* before any controller runs: its threads read it */
    ops.own_clients = own_clients;
    rig_block_ops = &ops;
    CASE("nobody", test_nobody);
    CASE("recorded/gone", test_recorded_and_gone);
    CASE("recorded/runs-elsewhere", test_recorded_and_runs_elsewhere);
    CASE("recorded/node-away", test_recorded_node_is_away);
    CASE("recorded/move", test_peer_of_a_move);
    CASE("guest-is-there", test_guest_is_there);
    CASE("foreign", test_foreign);
    CASE("foreign/beside-a-former", test_foreign_beside_a_former);
    CASE("unrecorded/our-node", test_unrecorded_on_our_node);
    CASE("unrecorded/learned-address", test_unrecorded_by_learned_address);
    CASE("unrecorded/node-away", test_unrecorded_node_is_away);
    CASE("unrecorded/runs-there", test_unrecorded_where_it_runs);
    CASE("many", test_many);
    CASE("volume/of-the-server", test_volume_of_the_server);
    CASE("volume/let-go", test_volume_was_let_go);
    CASE("volume/held", test_volume_is_held);
    CASE("recording", test_recording);
    CASE("hard-reboot", test_hard_reboot);
    CASE("start-is-refused", test_start_is_refused);
    CASE("take-over", test_take_over);
    return g_test_run();
}
