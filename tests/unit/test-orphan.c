/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-orphan.c: what deleted ones left behind is removed, what was never ours is not; and the copy
 * that makes a disk independent, which gives way, is cancelled, and goes on after a crash */
#include <string.h>

#include "rig/rig.h"
#include "task/runner.h"

typedef struct Fixture {
    char *dir;
    HostDriver *world;
    Rig *rig;
} Fixture;

static int piece_us; /* a copy's pace; 0: the fake's own, which is at once */

static void
set_up(Fixture *f, gconstpointer data)
{
    __atomic_store_n(&piece_us, 0, __ATOMIC_RELAXED);
    f->dir = rig_make_dir(1);
    f->world = host_fake_world_new(1);
    f->rig = rig_start(f->dir, f->world, 1);
}

static void
tear_down(Fixture *f, gconstpointer data)
{
    rig_stop(f->rig);
    host_fake_world_free(f->world);
    rig_remove_dir(f->dir);
}

/* ---- orphans ----------------------------------------------------------------------------------
 */

static bool
disk_is_there(Fixture *f, const char *id)
{
    bool exists = false;

    g_assert_true(storage_disk_exists(&f->rig->storage, id, &exists, NULL));
    return exists;
}

static bool
thing_is_there(Fixture *f, BlockPurpose purpose, const char *id)
{
    g_autoptr(GPtrArray) ids = storage_things(&f->rig->storage, purpose, NULL);

    return g_ptr_array_find_with_equal_func(ids, id, g_str_equal, NULL);
}

static void
make_disk(Fixture *f, const char *id)
{
    g_autoptr(GPtrArray) images = storage_things(&f->rig->storage, BLOCK_FOR_IMAGES, NULL);

    g_assert_cmpuint(images->len, ==, 1);
    g_assert_true(
        storage_disk_create(&f->rig->storage, id, g_ptr_array_index(images, 0), 1 << 30, NULL));
}

static bool
insert_task(StoreTx *tx, void *opaque, GError **err)
{
    return store_insert(tx, &TASK, opaque, err);
}

/* A task about a volume that ended long ago, or, open, of a kind that no engine runs. */
static void
add_task(Fixture *f, const char *volume_id, TaskStatus status)
{
    Task task = {.kind = (char *)"test-nothing",
                 .server_id = (char *)"",
                 .volume_id = (char *)volume_id,
                 .status = status,
                 .mark = status == TASK_OPEN ? TASK_MARK_INTENT : TASK_MARK_DONE,
                 .params = (char *)"{}",
                 .state = (char *)"{}",
                 .request_id = (char *)"r",
                 .user_id = (char *)"u",
                 .project_id = (char *)"p",
                 .created_at = 1,
                 .updated_at = 1};

    g_assert_true(store_write(f->rig->store, insert_task, &task, NULL));
}

static void
test_servers(Fixture *f, gconstpointer data)
{
    g_autofree char *alive = rig_create_server(f->rig, "alive", "host1", NULL);
    g_autofree char *deleted = rig_create_server(f->rig, "deleted", "host1", NULL);
    g_autofree char *foreign = uuid_new();
    g_autofree char *foreign_name = g_strdup_printf("instances/%s", foreign);
    OrphanReport report = {0};
    g_autoptr(GError) error = NULL;

    g_assert_true(rig_wait_idle(f->rig, 10));
    g_assert_true(rig_action(f->rig, deleted, "delete", NULL, NULL));
    g_assert_true(rig_wait_idle(f->rig, 10));
    g_assert_false(disk_is_there(f, deleted));
    make_disk(f, deleted); /* as if the removal had been lost */
    make_disk(f, foreign);

    g_assert_true(task_sweep_orphans(f->rig->tasks, &report, &error));
    g_assert_no_error(error);
    g_assert_cmpint(report.removed, ==, 1);
    g_assert_cmpint(report.foreign, ==, 1);
    g_assert_cmpstr(g_ptr_array_index(report.foreign_names, 0), ==, foreign_name);
    orphan_report_clear(&report);
    g_assert_true(disk_is_there(f, alive));
    g_assert_false(disk_is_there(f, deleted));
    g_assert_true(disk_is_there(f, foreign));
}

static void
test_volumes(Fixture *f, gconstpointer data)
{
    g_autofree char *ours = uuid_new(), *busy = uuid_new(), *foreign = uuid_new();
    OrphanReport report = {0};
    const char *all[] = {ours, busy, foreign};

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        g_assert_true(
            storage_volume_create(&f->rig->storage, all[i], NULL, 1 << 30, NULL, NULL, NULL));
    add_task(f, ours, TASK_SUCCEEDED);
    add_task(f, busy, TASK_SUCCEEDED);
    add_task(f, busy, TASK_OPEN);
    g_assert_true(task_sweep_orphans(f->rig->tasks, &report, NULL));
    g_assert_cmpint(report.removed, ==, 1);
    g_assert_cmpint(report.foreign, ==, 1);
    orphan_report_clear(&report);
    g_assert_false(thing_is_there(f, BLOCK_FOR_VOLUMES, ours));
    g_assert_true(thing_is_there(f, BLOCK_FOR_VOLUMES, busy));
    g_assert_true(thing_is_there(f, BLOCK_FOR_VOLUMES, foreign));
}

/* Somebody has it open: left for the next sweep, and no error. */
static void
test_held(Fixture *f, gconstpointer data)
{
    g_autofree char *id = uuid_new(), *source = NULL, *format = NULL;
    OrphanReport report = {0};

    g_assert_true(storage_volume_create(&f->rig->storage, id, NULL, 1 << 30, NULL, NULL, NULL));
    g_assert_true(storage_volume_source(&f->rig->storage, id, &source, &format, NULL));
    add_task(f, id, TASK_SUCCEEDED);
    block_fake_set_client(f->rig->storage.block, source, "10.0.0.9:0/1");
    g_assert_true(task_sweep_orphans(f->rig->tasks, &report, NULL));
    g_assert_cmpint(report.removed, ==, 0);
    orphan_report_clear(&report);
    block_fake_set_client(f->rig->storage.block, source, NULL);
    g_assert_true(task_sweep_orphans(f->rig->tasks, &report, NULL));
    g_assert_cmpint(report.removed, ==, 1);
    orphan_report_clear(&report);
}

/* ---- flatten ----------------------------------------------------------------------------------
 */

#define PIECES 1000

static int pieces_done; /* what is copied stays copied */
static int copies;      /* calls of the driver */
static bool heedless;   /* a guest's QEMU copies: nobody can call it back */

static bool
slow_flatten(Block *block, const char *source, BlockProgressFn progress, void *opaque, GError **err)
{
    if (!__atomic_load_n(&piece_us, __ATOMIC_RELAXED))
        return block_fake_ops.flatten(block, source, progress, opaque, err);
    __atomic_fetch_add(&copies, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&pieces_done, __ATOMIC_RELAXED) < PIECES) {
        int done = __atomic_add_fetch(&pieces_done, 1, __ATOMIC_RELAXED);

        g_usleep((gulong)__atomic_load_n(&piece_us, __ATOMIC_RELAXED));
        if (!progress(done, PIECES, opaque) && !__atomic_load_n(&heedless, __ATOMIC_RELAXED))
            return err_set(err, ERR_CANCELLED, "flattening %s was stopped", source);
    }
    return true;
}

static void
slow_down(int us)
{
    __atomic_store_n(&pieces_done, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&copies, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&piece_us, us, __ATOMIC_RELAXED);
}

typedef struct Submission {
    const char *server_id;
    int64_t task_id;
} Submission;

static bool
submit(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    g_autoptr(Server) server = store_get(tx, &SERVER, submission->server_id, err);
    TaskRequest request = {.request_id = "req-f", .user_id = "u", .project_id = "p"};

    return server && task_submit_flatten(tx, server, NULL, &request, &submission->task_id, err);
}

static int64_t
flatten(Fixture *f, const char *server_id, GError **err)
{
    Submission submission = {server_id, 0};

    if (!store_write(f->rig->store, submit, &submission, err))
        return 0;
    task_engine_wake(f->rig->tasks);
    return submission.task_id;
}

static Task *
task_of(Fixture *f, int64_t id)
{
    const StoreCond where[] = {{"id", STORE_EQ, NULL, id}, {NULL}};
    g_autoptr(GPtrArray) rows = rig_rows(f->rig, &TASK, where);

    g_assert_cmpuint(rows->len, ==, 1);
    return record_copy(&TASK, g_ptr_array_index(rows, 0));
}

static void
wait_copying(void)
{
    for (int i = 0; i < 1000 && __atomic_load_n(&pieces_done, __ATOMIC_RELAXED) < 3; i++)
        g_usleep(5000);
    g_assert_cmpint(__atomic_load_n(&pieces_done, __ATOMIC_RELAXED), >=, 3);
}

static void
test_flatten(Fixture *f, gconstpointer data)
{
    g_autofree char *id = rig_create_server(f->rig, "s", "host1", NULL);
    g_autoptr(Task) task = NULL;
    g_autoptr(GError) error = NULL;
    int64_t n;

    g_assert_true(rig_wait_idle(f->rig, 10));
    slow_down(100);
    n = flatten(f, id, NULL);
    g_assert_cmpint(flatten(f, id, &error), ==, 0); /* is being flattened already */
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_assert_true(rig_wait_idle(f->rig, 20));
    task = task_of(f, n);
    g_assert_cmpint(task->status, ==, TASK_SUCCEEDED);
    g_assert_nonnull(strstr(task->state, "\"done\":1000"));
    g_assert_nonnull(strstr(task->state, "\"total\":1000"));
}

static void
test_flatten_cancelled_by_delete(Fixture *f, gconstpointer data)
{
    g_autofree char *id = rig_create_server(f->rig, "s", "host1", NULL);
    g_autoptr(Server) server = NULL;
    g_autoptr(Task) task = NULL;
    int64_t n;

    g_assert_true(rig_wait_idle(f->rig, 10));
    slow_down(20000);
    n = flatten(f, id, NULL);
    wait_copying();
    g_assert_true(rig_action(f->rig, id, "delete", NULL, NULL));
    g_assert_true(rig_wait_idle(f->rig, 5));
    task = task_of(f, n);
    g_assert_cmpint(task->status, ==, TASK_FAILED);
    g_assert_cmpstr(task->error_code, ==, err_code_name(ERR_CANCELLED));
    server = rig_server(f->rig, id);
    g_assert_cmpint(server->vm_state, ==, VM_DELETED);
    g_assert_false(disk_is_there(f, id));
}

static void
test_flatten_gives_way(Fixture *f, gconstpointer data)
{
    g_autofree char *id = rig_create_server(f->rig, "s", "host1", NULL);
    g_autoptr(Server) server = NULL;
    g_autoptr(Task) task = NULL;
    int64_t n, before;

    g_assert_true(rig_wait_idle(f->rig, 10));
    slow_down(20000);
    n = flatten(f, id, NULL);
    wait_copying();
    before = clock_monotonic();
    g_assert_true(rig_action(f->rig, id, "os-stop", NULL, NULL));
    g_assert_true(rig_wait_idle(f->rig, 10));
    g_assert_cmpint(clock_monotonic() - before, <, 5 * USEC_PER_SEC);
    task = task_of(f, n);
    g_assert_cmpint(task->status, ==, TASK_FAILED);
    g_assert_nonnull(strstr(task->error_message, "server-stop"));
    server = rig_server(f->rig, id);
    g_assert_cmpint(server->vm_state, ==, VM_STOPPED);
}

/* The guest's QEMU does not stop: the stop of the server does not wait for it, its deletion does.
 */
static void
test_flatten_left_alone(Fixture *f, gconstpointer data)
{
    g_autofree char *id = rig_create_server(f->rig, "s", "host1", NULL);
    g_autoptr(Server) server = NULL;
    g_autoptr(Task) task = NULL;
    int64_t n, before;

    g_assert_true(rig_wait_idle(f->rig, 10));
    slow_down(20000);
    __atomic_store_n(&heedless, true, __ATOMIC_RELAXED);
    n = flatten(f, id, NULL);
    wait_copying();
    before = clock_monotonic();
    g_assert_true(rig_action(f->rig, id, "os-stop", NULL, NULL));
    g_assert_true(rig_wait_idle(f->rig, 10));
    g_assert_cmpint(clock_monotonic() - before, <, 8 * USEC_PER_SEC);
    task = task_of(f, n);
    g_assert_nonnull(strstr(task->error_message, "QEMU goes on"));
    g_assert_true(rig_action(f->rig, id, "delete", NULL, NULL));
    g_usleep(200000);
    g_assert_true(disk_is_there(f, id));
    __atomic_store_n(&heedless, false, __ATOMIC_RELAXED); /* it ended with the guest */
    g_assert_true(rig_wait_idle(f->rig, 10));
    g_assert_false(disk_is_there(f, id));
    server = rig_server(f->rig, id);
    g_assert_cmpint(server->vm_state, ==, VM_DELETED);
}

/* godwitd ends in the middle: the next one takes the copy up where it was. */
static void
test_flatten_taken_up(Fixture *f, gconstpointer data)
{
    g_autofree char *id = rig_create_server(f->rig, "s", "host1", NULL);
    g_autoptr(Task) open = NULL, ended = NULL;
    int64_t n;

    g_assert_true(rig_wait_idle(f->rig, 10));
    slow_down(20000);
    n = flatten(f, id, NULL);
    wait_copying();
    task_engine_stop(f->rig->tasks, clock_monotonic() + 5 * USEC_PER_SEC);
    open = task_of(f, n);
    g_assert_cmpint(open->status, ==, TASK_OPEN);
    __atomic_store_n(&piece_us, 1, __ATOMIC_RELAXED);
    g_assert_true(task_engine_start(f->rig->tasks, NULL));
    g_assert_true(rig_wait_idle(f->rig, 10));
    ended = task_of(f, n);
    g_assert_cmpint(ended->status, ==, TASK_SUCCEEDED);
    g_assert_cmpint(copies, ==, 2);
}

#define CASE(path, function) g_test_add(path, Fixture, NULL, set_up, function, tear_down)

int
main(int argc, char **argv)
{
    BlockOps ops = block_fake_ops;

    g_test_init(&argc, &argv, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    /* before any controller runs: its threads read it */
    ops.flatten = slow_flatten;
    rig_block_ops = &ops;
    CASE("/orphan/servers", test_servers);
    CASE("/orphan/volumes", test_volumes);
    CASE("/orphan/held", test_held);
    CASE("/flatten/whole", test_flatten);
    CASE("/flatten/cancelled-by-delete", test_flatten_cancelled_by_delete);
    CASE("/flatten/gives-way", test_flatten_gives_way);
    CASE("/flatten/left-alone", test_flatten_left_alone);
    CASE("/flatten/taken-up", test_flatten_taken_up);
    return g_test_run();
}
