/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-block-volume.c: volumes and snapshots: one contract for all storage drivers, and what only
 * files have. See test-block-ceph.c for the cluster that driver rbd needs. */

#include "volume-world.h"

/* ---- the contract ------------------------------------------------------------------------------
 */

static void
test_empty(Fixture *fixture, const void *ops)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(is_listed(fixture, BLOCK_FOR_VOLUMES, ONE));
    g_assert_true(
        fixture->ops->volume_create(fixture->block, ONE, NULL, 8 * MIB, NULL, NULL, &error));
    create(fixture, ONE, BLOCK_EMPTY, NULL, NULL, 8 * MIB);
    g_assert_true(is_listed(fixture, BLOCK_FOR_VOLUMES, ONE));
    g_assert_false(is_listed(fixture, BLOCK_FOR_SERVERS, ONE));
    g_assert_cmpint(size_of(fixture, ONE), ==, 8 * MIB);
    put(fixture, ONE, 5 * MIB, 'a');
    g_assert_true(fixture->ops->volume_extend(fixture->block, ONE, 16 * MIB, &error));
    g_assert_true(fixture->ops->volume_extend(fixture->block, ONE, 16 * MIB, &error));
    g_assert_true(fixture->ops->volume_extend(fixture->block, ONE, 2 * MIB, &error));
    g_assert_cmpint(size_of(fixture, ONE), ==, 16 * MIB);
    assert_holds(fixture, ONE, 5 * MIB, 'a');
    destroy(fixture, ONE);
    destroy(fixture, ONE);
    g_assert_false(is_listed(fixture, BLOCK_FOR_VOLUMES, ONE));
    assert_fails(fixture->ops->volume_extend(fixture->block, ONE, MIB, &error), &error,
                 ERR_NOT_FOUND, ONE);
}

static void
test_bad(Fixture *fixture, const void *ops)
{
    static const BlockVolumeSource missing[] = {
        {.origin = BLOCK_IMAGE, .id = MISSING},
        {.origin = BLOCK_SNAPSHOT, .id = MISSING, .volume_id = TWO},
        {.origin = BLOCK_SNAPSHOT, .id = MISSING, .volume_id = MISSING},
        {.origin = BLOCK_VOLUME, .id = MISSING},
    };
    static const BlockVolumeSource wrong[] = {
        {.origin = BLOCK_IMAGE, .id = "../x"},
        {.origin = BLOCK_SNAPSHOT, .id = SNAP, .volume_id = "a/b"},
        {.origin = BLOCK_VOLUME, .id = ""},
    };
    static const int64_t sizes[] = {0, -1, INT64_MAX, (INT64_C(64) << 40) + 1};
    const BlockOps *call = fixture->ops;
    g_autoptr(GError) error = NULL;

    create(fixture, TWO, BLOCK_EMPTY, NULL, NULL, MIB);
    for (size_t i = 0; i < G_N_ELEMENTS(missing); i++) {
        assert_fails(call->volume_create(fixture->block, ONE, &missing[i], MIB, NULL, NULL, &error),
                     &error, ERR_NOT_FOUND, MISSING);
        g_assert_false(is_listed(fixture, BLOCK_FOR_VOLUMES, ONE));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
        assert_fails(call->volume_create(fixture->block, ONE, &wrong[i], MIB, NULL, NULL, &error),
                     &error, ERR_INVALID, "id");
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        assert_fails(call->volume_create(fixture->block, ONE, NULL, sizes[i], NULL, NULL, &error),
                     &error, ERR_INVALID, "bytes");
        assert_fails(call->volume_extend(fixture->block, TWO, sizes[i], &error), &error,
                     ERR_INVALID, "bytes");
    }
    assert_fails(call->volume_delete(fixture->block, "..", &error), &error, ERR_INVALID, "id");
    assert_fails(call->snapshot_create(fixture->block, ONE, SNAP, &error), &error, ERR_NOT_FOUND,
                 ONE);
    assert_fails(call->snapshot_create(fixture->block, TWO, "..", &error), &error, ERR_INVALID,
                 "id");
    assert_fails(call->flatten(fixture->block, "/etc/passwd", NULL, NULL, &error), &error,
                 ERR_INVALID, "/etc/passwd");
    assert_fails(call->flatten(fixture->block, "volumes/../x", NULL, NULL, &error), &error,
                 ERR_INVALID, "volumes/../x");
}

static void
test_from_image(Fixture *fixture, const void *ops)
{
    g_autoptr(GError) error = NULL;

    upload_image(fixture);
    create(fixture, ONE, BLOCK_IMAGE, IMAGE, NULL, 9 * MIB);
    create(fixture, ONE, BLOCK_IMAGE, IMAGE, NULL, 9 * MIB);
    g_assert_cmpint(size_of(fixture, ONE), ==, 9 * MIB);
    assert_holds(fixture, ONE, 2 * MIB, 'g');
    assert_holds(fixture, ONE, 8 * MIB, 0);
    put(fixture, ONE, 2 * MIB, 'w');
    /* smaller than the image: never less than that */
    create(fixture, TWO, BLOCK_IMAGE, IMAGE, NULL, MIB);
    g_assert_cmpint(size_of(fixture, TWO), ==, 4 * MIB);
    assert_holds(fixture, TWO, 2 * MIB, 'g');
    if (is_rbd(fixture)) {
        assert_fails(fixture->ops->image_delete(fixture->block, IMAGE, &error), &error,
                     ERR_CONFLICT, "stem");
        return;
    }
    g_assert_true(fixture->ops->image_delete(fixture->block, IMAGE, &error));
    assert_holds(fixture, ONE, 2 * MIB, 'w');
    assert_holds(fixture, TWO, 2 * MIB, 'g');
}

static void
test_snapshots(Fixture *fixture, const void *ops)
{
    g_autoptr(GError) error = NULL;

    create(fixture, ONE, BLOCK_EMPTY, NULL, NULL, 8 * MIB);
    put(fixture, ONE, MIB, 'a');
    snapshot(fixture, ONE, SNAP);
    snapshot(fixture, ONE, SNAP);
    put(fixture, ONE, MIB, 'b');
    create(fixture, TWO, BLOCK_SNAPSHOT, SNAP, ONE, 12 * MIB);
    create(fixture, TWO, BLOCK_SNAPSHOT, SNAP, ONE, 12 * MIB);
    g_assert_cmpint(size_of(fixture, TWO), ==, 12 * MIB);
    assert_holds(fixture, TWO, MIB, 'a');
    assert_holds(fixture, ONE, MIB, 'b');
    assert_fails(fixture->ops->volume_delete(fixture->block, ONE, &error), &error, ERR_CONFLICT,
                 SNAP);
    g_assert_true(is_listed(fixture, BLOCK_FOR_VOLUMES, ONE));
    /* the snapshot and the volume go before what stems from them */
    snapshot_destroy(fixture, ONE, SNAP);
    snapshot_destroy(fixture, ONE, SNAP);
    snapshot_destroy(fixture, MISSING, SNAP);
    destroy(fixture, ONE);
    g_assert_false(is_listed(fixture, BLOCK_FOR_VOLUMES, ONE));
    assert_holds(fixture, TWO, MIB, 'a');
    if (is_rbd(fixture))
        g_assert_cmpuint(trash_count(fixture), ==, 1);
    destroy(fixture, TWO);
    assert_no_trash(fixture);
}

static void
test_from_volume(Fixture *fixture, const void *ops)
{
    create(fixture, ONE, BLOCK_EMPTY, NULL, NULL, 8 * MIB);
    put(fixture, ONE, MIB, 'a');
    create(fixture, TWO, BLOCK_VOLUME, ONE, NULL, 8 * MIB);
    create(fixture, TWO, BLOCK_VOLUME, ONE, NULL, 8 * MIB);
    put(fixture, ONE, MIB, 'b');
    put(fixture, TWO, 2 * MIB, 'c');
    assert_holds(fixture, TWO, MIB, 'a');
    assert_holds(fixture, ONE, 2 * MIB, 0);
    create(fixture, THREE, BLOCK_VOLUME, TWO, NULL, 8 * MIB);
    destroy(fixture, ONE);
    destroy(fixture, TWO);
    assert_holds(fixture, THREE, MIB, 'a');
    assert_holds(fixture, THREE, 2 * MIB, 'c');
    destroy(fixture, THREE);
    assert_no_trash(fixture);
}

/* One stems from the next, and all but the last are deleted, in the order in which they were made.
 */
static void
test_chain(Fixture *fixture, const void *ops)
{
    upload_image(fixture);
    create(fixture, ONE, BLOCK_IMAGE, IMAGE, NULL, 8 * MIB);
    snapshot(fixture, ONE, SNAP);
    create(fixture, TWO, BLOCK_SNAPSHOT, SNAP, ONE, 8 * MIB);
    put(fixture, TWO, MIB, 'b');
    snapshot(fixture, TWO, SNAP2);
    create(fixture, THREE, BLOCK_SNAPSHOT, SNAP2, TWO, 8 * MIB);
    snapshot_destroy(fixture, ONE, SNAP);
    destroy(fixture, ONE);
    snapshot_destroy(fixture, TWO, SNAP2);
    destroy(fixture, TWO);
    assert_holds(fixture, THREE, MIB, 'b');
    assert_holds(fixture, THREE, 2 * MIB, 'g');
    destroy(fixture, THREE);
    assert_no_trash(fixture);
}

static bool
count_progress(int64_t done, int64_t total, void *opaque)
{
    int *calls = opaque;

    g_assert_cmpint(done, >=, 0);
    g_assert_cmpint(done, <=, total);
    ++*calls;
    return true;
}

static void
test_flatten(Fixture *fixture, const void *ops)
{
    g_autofree char *source = source_of(fixture, TWO);
    g_autoptr(GError) error = NULL;
    int calls = 0;

    assert_fails(fixture->ops->flatten(fixture->block, source, NULL, NULL, &error), &error,
                 ERR_NOT_FOUND, TWO);
    create(fixture, ONE, BLOCK_EMPTY, NULL, NULL, 32 * MIB);
    put(fixture, ONE, MIB, 'a');
    put(fixture, ONE, 30 * MIB, 'z');
    snapshot(fixture, ONE, SNAP);
    create(fixture, TWO, BLOCK_SNAPSHOT, SNAP, ONE, 32 * MIB);
    snapshot_destroy(fixture, ONE, SNAP);
    destroy(fixture, ONE);
    g_assert_true(fixture->ops->flatten(fixture->block, source, count_progress, &calls, &error));
    g_assert_no_error(error);
    if (!is_rbd(fixture) && !is_fake(fixture))
        g_assert_cmpint(calls, ==, 0); /* a copy holds all its data already */
    else
        g_assert_cmpint(calls, >, 0);
    assert_no_trash(fixture); /* nothing stems from ONE any more */
    assert_holds(fixture, TWO, MIB, 'a');
    assert_holds(fixture, TWO, 30 * MIB, 'z');
    g_assert_true(fixture->ops->flatten(fixture->block, source, NULL, NULL, &error));
}

static void
test_pools(Fixture *fixture, const void *ops)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) pools = NULL;
    const BlockPool *pool;

    upload_image(fixture);
    create(fixture, ONE, BLOCK_EMPTY, NULL, NULL, MIB);
    pools = fixture->ops->pools(fixture->block, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(pools->len, ==, BLOCK_PURPOSES);
    for (guint i = 0; i < pools->len; i++) {
        pool = g_ptr_array_index(pools, i);
        g_assert_cmpint(pool->purpose, ==, i);
        g_assert_true(g_str_has_suffix(pool->name, block_purpose_names[i]));
        g_assert_cmpint(pool->free_bytes, >, 0);
        g_assert_cmpint(pool->total, ==, pool->used + pool->free_bytes);
        g_assert_null(pool->trouble);
        g_assert_cmpint(pool->things, >=, i == BLOCK_FOR_SERVERS ? 0 : 1);
    }
}

static void
test_reload(Fixture *fixture, const void *ops)
{
    g_autoptr(GError) error = NULL;

    create(fixture, ONE, BLOCK_EMPTY, NULL, NULL, MIB);
    g_assert_true(fixture->ops->reload_secret(fixture->block, &error));
    g_assert_no_error(error);
    g_assert_true(is_listed(fixture, BLOCK_FOR_VOLUMES, ONE));
    destroy(fixture, ONE);
}

static bool
note_reconnect(void *opaque, GError **err)
{
    return ++*(int *)opaque != 2 || err_set(err, ERR_BUSY, "cannot be written down now");
}

/* Whoever keeps a list of our connections hears of a new one before the call returns. */
static void
test_reconnect_is_told(Fixture *fixture, const void *ops)
{
    const Storage storage = {.ops = fixture->ops, .block = fixture->block};
    g_autoptr(GError) error = NULL;
    int told = 0;

    storage_set_on_reconnect(note_reconnect, &told);
    g_assert_true(storage_reload_secret(&storage, &error));
    g_assert_cmpint(told, ==, 1);
    assert_fails(storage_reload_secret(&storage, &error), &error, ERR_BUSY, "written down");
    storage_set_on_reconnect(NULL, NULL);
    g_assert_true(storage_reload_secret(&storage, &error));
    g_assert_cmpint(told, ==, 2);
}

static bool
refuse(void *opaque)
{
    ++*(int *)opaque;
    return false;
}

/* Without the lease nothing is touched. */
static void
test_may_act(Fixture *fixture, const void *ops)
{
    const Storage storage = {.ops = fixture->ops, .block = fixture->block};
    g_autoptr(GError) error = NULL;
    int asked = 0;

    storage_set_may_act(refuse, &asked);
    assert_fails(storage_volume_create(&storage, ONE, NULL, MIB, NULL, NULL, &error), &error,
                 ERR_FENCED, "lease");
    assert_fails(storage_clients(&storage, "volumes/x", &error) != NULL, &error, ERR_FENCED,
                 "lease");
    storage_set_may_act(NULL, NULL);
    g_assert_cmpint(asked, ==, 2);
    g_assert_false(is_listed(fixture, BLOCK_FOR_VOLUMES, ONE));
    g_assert_true(storage_volume_create(&storage, ONE, NULL, MIB, NULL, NULL, &error));
}

/* Killed before and after each effect: the same call then succeeds. */
static void
test_faults(Fixture *fixture, const void *ops)
{
    const Storage storage = {.ops = fixture->ops, .block = fixture->block};
    g_autoptr(GError) error = NULL;

    for (uint64_t k = 1; k <= 2; k++) {
        pid_t child = fork();
        int status;

        if (child == 0) {
            fault_arm(k);
            storage_volume_create(&storage, ONE, NULL, MIB, NULL, NULL, NULL);
            _exit(0);
        }
        g_assert_cmpint(waitpid(child, &status, 0), ==, child);
        g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        g_assert_cmpint(is_listed(fixture, BLOCK_FOR_VOLUMES, ONE), ==, k == 2);
    }
    g_assert_true(storage_volume_create(&storage, ONE, NULL, MIB, NULL, NULL, &error));
    g_assert_true(storage_volume_delete(&storage, ONE, &error));
}

/* ---- the fake's clients ------------------------------------------------------------------------
 */

static void
test_fake_clients(Fixture *fixture, const void *ops)
{
    static const char *const both[] = {"192.0.2.7:0/11", "192.0.2.8:0/12", NULL};
    g_autofree char *source = source_of(fixture, ONE);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) two = NULL, none = NULL;
    Block *again;

    create(fixture, ONE, BLOCK_EMPTY, NULL, NULL, MIB);
    block_fake_set_client(fixture->block, source, both[0]);
    block_fake_set_client(fixture->block, source, both[1]);
    block_fake_set_client(fixture->block, source, both[1]);
    again = fixture->ops->open(&(BlockSettings){.path = fixture->path}, &error);
    two = fixture->ops->clients(again, source, &error);
    g_assert_cmpuint(two->len, ==, 2);
    g_assert_cmpstr(((BlockClient *)g_ptr_array_index(two, 0))->address, ==, both[0]);
    fixture->ops->close(again);
    assert_fails(fixture->ops->volume_delete(fixture->block, ONE, &error), &error, ERR_CONFLICT,
                 both[0]);
    g_assert_true(fixture->ops->fence(fixture->block, both, SECONDS, &error));
    g_assert_true(fixture->ops->fence(fixture->block, both, SECONDS, &error));
    g_assert_true(block_fake_is_fenced(fixture->block, both[1]));
    none = fixture->ops->clients(fixture->block, source, &error);
    g_assert_cmpuint(none->len, ==, 0);
    destroy(fixture, ONE);
    g_assert_true(fixture->ops->unfence(fixture->block, both, &error));
    g_assert_false(block_fake_is_fenced(fixture->block, both[1]));
    block_fake_set_client(fixture->block, source, both[0]);
    block_fake_set_client(fixture->block, source, NULL);
    g_clear_pointer(&none, g_ptr_array_unref);
    none = fixture->ops->clients(fixture->block, source, &error);
    g_assert_cmpuint(none->len, ==, 0);
}

/* ---- what only the directory has ---------------------------------------------------------------
 */

static bool
stop_copy(int64_t done, int64_t total, void *opaque)
{
    return false;
}

static void
test_dir_copy(Fixture *fixture, const void *ops)
{
    const BlockVolumeSource source = {.origin = BLOCK_VOLUME, .id = ONE};
    g_autoptr(GError) error = NULL;
    int calls = 0;

    create(fixture, ONE, BLOCK_EMPTY, NULL, NULL, 64 * MIB);
    for (int i = 0; i < 60; i++)
        put(fixture, ONE, i * MIB, 1 + i);
    assert_fails(fixture->ops->volume_create(fixture->block, TWO, &source, 64 * MIB, stop_copy,
                                             NULL, &error),
                 &error, ERR_CANCELLED, "");
    g_assert_false(is_listed(fixture, BLOCK_FOR_VOLUMES, TWO));
    g_assert_true(fixture->ops->volume_create(fixture->block, TWO, &source, 64 * MIB,
                                              count_progress, &calls, &error));
    g_assert_cmpint(calls, >, 0);
    assert_holds(fixture, TWO, 59 * MIB, 60);
}

/* A disk over its image becomes one that needs no other file. */
static void
test_dir_flatten(Fixture *fixture, const void *ops)
{
    g_autofree char *source = source_of(fixture, ONE);
    g_autofree char *base = g_build_filename(fixture->path, "volumes", ONE, "base", NULL);
    const char *const argv[] = {"qemu-img", "info", source, NULL};
    g_autofree char *output = NULL;
    g_autoptr(GError) error = NULL;
    int calls = 0;

    upload_image(fixture);
    create(fixture, ONE, BLOCK_IMAGE, IMAGE, NULL, 8 * MIB);
    g_assert_true(g_file_test(base, G_FILE_TEST_EXISTS));
    g_assert_true(fixture->ops->flatten(fixture->block, source, count_progress, &calls, &error));
    g_assert_no_error(error);
    g_assert_cmpint(calls, >, 0);
    g_assert_false(g_file_test(base, G_FILE_TEST_EXISTS));
    g_assert_true(run(argv, &output));
    g_assert_null(strstr(output, "backing"));
    assert_holds(fixture, ONE, 2 * MIB, 'g');
}

static void
test_dir_open(Fixture *fixture, const void *ops)
{
    const BlockVolumeSource source = {.origin = BLOCK_VOLUME, .id = ONE};
    g_autofree char *path = source_of(fixture, ONE);
    char *argv[] = {"qemu-io", "-f", "qcow2", path, NULL};
    static const char *const nobody[] = {"192.0.2.7:0/11", NULL};
    g_autoptr(GPtrArray) clients = NULL;
    g_autoptr(GError) error = NULL;
    Block *block = fixture->block;
    int64_t deadline = clock_monotonic() + 10 * USEC_PER_SEC;
    GPid pid;
    int in;

    create(fixture, ONE, BLOCK_EMPTY, NULL, NULL, 8 * MIB);
    snapshot(fixture, ONE, SNAP);
    snapshot_destroy(fixture, ONE, SNAP);
    g_assert_true(g_spawn_async_with_pipes(NULL, argv, NULL,
                                           G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL |
                                               G_SPAWN_DO_NOT_REAP_CHILD,
                                           NULL, NULL, &pid, &in, NULL, NULL, NULL));
    while (!dir_is_open(path))
        g_assert_cmpint(clock_monotonic(), <, deadline);
    assert_fails(fixture->ops->snapshot_create(block, ONE, SNAP2, &error), &error, ERR_UNSUPPORTED,
                 "detach");
    assert_fails(fixture->ops->volume_create(block, TWO, &source, 8 * MIB, NULL, NULL, &error),
                 &error, ERR_UNSUPPORTED, "detach");
    g_assert_false(is_listed(fixture, BLOCK_FOR_VOLUMES, TWO));
    assert_fails(fixture->ops->volume_extend(block, ONE, 9 * MIB, &error), &error, ERR_UNSUPPORTED,
                 "detach");
    assert_fails(fixture->ops->volume_delete(block, ONE, &error), &error, ERR_CONFLICT, ONE);
    close(in);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    clients = fixture->ops->clients(block, path, &error);
    g_assert_cmpuint(clients->len, ==, 0);
    assert_fails(fixture->ops->fence(block, nobody, SECONDS, &error), &error, ERR_UNSUPPORTED,
                 "power");
    snapshot(fixture, ONE, SNAP);
}

/* ---- server disks that grow --------------------------------------------------------------------
 */

/* As the storage has it, without a look at the data. */
static int64_t
disk_size_of(Fixture *fixture, const char *server_id)
{
    g_autofree char *path = NULL, *format = NULL;
    struct stat found;
    int64_t size = 0;

    g_assert_true(fixture->ops->disk_source(fixture->block, server_id, &path, &format, NULL));
    if (is_rbd(fixture)) {
        g_autofree char *name = g_strconcat(server_id, "_disk", NULL);
        g_autoptr(RbdLink) link = rbd_link(fixture->block, NULL);
        rbd_image_t image = rbd_image_open(link, BLOCK_FOR_SERVERS, name, NULL, true, NULL);
        uint64_t bytes = 0;

        g_assert_cmpint(rbd_get_size(image, &bytes), ==, 0);
        rbd_close(image);
        return (int64_t)bytes;
    }
    if (is_fake(fixture)) {
        g_assert_cmpint(stat(path, &found), ==, 0);
        return found.st_size;
    }
    g_assert_true(dir_qcow2_size(path, &size, NULL));
    return size;
}

static void
test_disk_extend(Fixture *fixture, const void *ops)
{
    const BlockOps *call = fixture->ops;
    static const int64_t bad[] = {-1, INT64_MAX, (INT64_C(64) << 40) + 1};
    g_autoptr(GError) error = NULL;

    call->disk_delete(fixture->block, ONE, NULL);
    assert_fails(call->disk_extend(fixture->block, ONE, 8 * MIB, &error), &error, ERR_NOT_FOUND,
                 ONE);
    upload_image(fixture);
    g_assert_true(call->disk_create(fixture->block, ONE, IMAGE, 8 * MIB, &error));
    g_assert_true(call->disk_extend(fixture->block, ONE, 16 * MIB, &error));
    g_assert_true(call->disk_extend(fixture->block, ONE, 16 * MIB, &error));
    g_assert_true(call->disk_extend(fixture->block, ONE, 2 * MIB, &error)); /* never shrinks */
    g_assert_no_error(error);
    g_assert_cmpint(disk_size_of(fixture, ONE), ==, 16 * MIB);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        assert_fails(call->disk_extend(fixture->block, ONE, bad[i], &error), &error, ERR_INVALID,
                     "bytes");
    assert_fails(call->disk_extend(fixture->block, "../x", MIB, &error), &error, ERR_INVALID, "");
    if (call == &block_dir_ops) { /* what it showed before is still there, and it can be refused */
        g_autofree char *path = NULL, *format = NULL;
        char *argv[] = {"qemu-io", "-f", "qcow2", NULL, NULL};
        int64_t deadline = clock_monotonic() + 10 * USEC_PER_SEC;
        GPid pid;
        int in;

        g_assert_true(call->disk_source(fixture->block, ONE, &path, &format, NULL));
        qemu_io(path, "read", 'g', 2 * MIB);
        argv[3] = path;
        g_assert_true(g_spawn_async_with_pipes(NULL, argv, NULL,
                                               G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL |
                                                   G_SPAWN_DO_NOT_REAP_CHILD,
                                               NULL, NULL, &pid, &in, NULL, NULL, NULL));
        while (!dir_is_open(path))
            g_assert_cmpint(clock_monotonic(), <, deadline);
        assert_fails(call->disk_extend(fixture->block, ONE, 32 * MIB, &error), &error, ERR_CONFLICT,
                     "still has it open");
        close(in);
        g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
        g_assert_true(call->disk_extend(fixture->block, ONE, 32 * MIB, &error));
    }
    g_assert_true(call->disk_delete(fixture->block, ONE, &error));
    g_assert_no_error(error);
}

int
main(int argc, char **argv)
{
    typedef void (*Test)(Fixture *, const void *);
    static const struct {
        const char *name;
        Test test;
    } contract[] = {{"empty", test_empty},
                    {"bad", test_bad},
                    {"from-image", test_from_image},
                    {"snapshots", test_snapshots},
                    {"from-volume", test_from_volume},
                    {"chain", test_chain},
                    {"flatten", test_flatten},
                    {"disk-extend", test_disk_extend},
                    {"pools", test_pools},
                    {"reload", test_reload},
                    {"may-act", test_may_act},
                    {"reconnect-is-told", test_reconnect_is_told}},
      only_dir[] = {{"faults", test_faults},
                    {"copy", test_dir_copy},
                    {"flatten-image", test_dir_flatten},
                    {"open", test_dir_open}},
      only_fake[] = {{"faults", test_faults}, {"clients", test_fake_clients}};
    g_autofree char *tool = g_find_program_in_path("qemu-io");

    ceph_conf = g_getenv("GODWIT_TEST_CEPH_CONF");
    g_test_init(&argc, &argv, NULL);
#define ADD(ops, list)                                                                             \
    for (size_t i = 0; i < G_N_ELEMENTS(list); i++) {                                              \
        g_autofree char *path = g_strdup_printf("/block-volume/%s/%s", (ops)->name, list[i].name); \
        g_test_add(path, Fixture, ops, fixture_set_up, list[i].test, fixture_tear_down);           \
    }
    ADD(&block_fake_ops, contract)
    ADD(&block_fake_ops, only_fake)
    if (tool) {
        ADD(&block_dir_ops, contract)
        ADD(&block_dir_ops, only_dir)
    }
    if (tool && ceph_conf) {
        ADD(&block_rbd_ops, contract)
    }
#undef ADD
    return g_test_run();
}
