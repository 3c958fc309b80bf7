/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-block-ceph.c: what only Ceph has: clients, fences, the trash, half made clones
 *
 * A cluster is needed: GODWIT_TEST_CEPH_CONF names its configuration file, the user is
 * client.godwit, the pools are "images", "instances" and "volumes". Only what has the ids of
 * volume-world.h is touched there, and removed again. What needs the cluster's administrator (a
 * pool without a tag) is skipped where the "ceph" tool may not do it. */

#include "volume-world.h"

/* ---- what only Ceph has ------------------------------------------------------------------------
 */

/* What a crash in the middle of a clone leaves looks like an empty image. */
static void
test_rbd_half_made(Fixture *fixture, const void *ops)
{
    g_autoptr(RbdLink) link = rbd_link(fixture->block, NULL);
    g_autoptr(GError) error = NULL;

    upload_image(fixture);
    g_assert_true(rbd_image_make(link, BLOCK_FOR_VOLUMES, RBD_VOLUME_PREFIX ONE, 4 * MIB, &error));
    create(fixture, ONE, BLOCK_IMAGE, IMAGE, NULL, 8 * MIB);
    assert_holds(fixture, ONE, 2 * MIB, 'g');
    /* and one that is complete is left alone */
    put(fixture, ONE, 2 * MIB, 'x');
    create(fixture, ONE, BLOCK_IMAGE, IMAGE, NULL, 8 * MIB);
    assert_holds(fixture, ONE, 2 * MIB, 'x');
}

static int
snapshot_count(Fixture *fixture, const char *id)
{
    rbd_image_t image = image_of(fixture, id);
    rbd_snap_info_t list[16];
    int room = 16, n = rbd_snap_list(image, list, &room);

    g_assert_cmpint(n, >=, 0);
    rbd_snap_list_end(list);
    rbd_close(image);
    return n;
}

/* A crash after the helping snapshot was made, then a retry, or then nobody wants it any more. */
static void
test_rbd_helper(Fixture *fixture, const void *ops)
{
    g_autoptr(RbdLink) link = rbd_link(fixture->block, NULL);
    rbd_image_t image;

    for (int retry = 0; retry < 2; retry++) {
        create(fixture, ONE, BLOCK_EMPTY, NULL, NULL, 8 * MIB);
        g_assert_cmpint(
            rbd_pool_metadata_set(link->io[BLOCK_FOR_VOLUMES], "godwit.clone." TWO, "volume-" ONE),
            ==, 0);
        image = image_of(fixture, ONE);
        g_assert_cmpint(rbd_snap_create(image, "clone-" TWO), ==, 0);
        rbd_close(image);
        g_assert_cmpint(snapshot_count(fixture, ONE), ==, 1);
        if (retry)
            create(fixture, TWO, BLOCK_VOLUME, ONE, NULL, 8 * MIB);
        destroy(fixture, TWO);
        g_assert_cmpint(snapshot_count(fixture, ONE), ==, 0);
        destroy(fixture, ONE);
    }
}

/* What another program, or a person, put into the trash stays there, whatever it is called. */
static void
test_rbd_trash_of_others(Fixture *fixture, const void *ops)
{
    g_autoptr(RbdLink) link = rbd_link(fixture->block, NULL);
    rados_ioctx_t io = link->io[BLOCK_FOR_VOLUMES];
    rbd_image_t image;
    char id[128];

    create(fixture, ONE, BLOCK_EMPTY, NULL, NULL, 8 * MIB);
    image = image_of(fixture, ONE);
    g_assert_cmpint(rbd_get_id(image, id, sizeof id), ==, 0);
    rbd_close(image);
    g_assert_cmpint(rbd_trash_move(io, RBD_VOLUME_PREFIX ONE, 0), ==, 0);
    rbd_trash_sweep(link);
    g_assert_cmpuint(trash_count(fixture), ==, 1);
    g_assert_cmpint(rbd_trash_restore(io, id, RBD_VOLUME_PREFIX ONE), ==, 0);
    destroy(fixture, ONE);
    assert_no_trash(fixture);
}

/* A process of its own that has the volume open until it is killed. */
static pid_t
holder_start(Fixture *fixture, const char *name)
{
    BlockSettings settings = fixture_settings(fixture);
    g_autofree char *conf =
        g_strdup_printf("json:{\"driver\":\"raw\",\"file\":{\"driver\":\"rbd\","
                        "\"pool\":\"%s\",\"image\":\"%s\",\"conf\":\"%s\","
                        "\"user\":\"%s\"}}",
                        settings.volumes_pool, name, settings.conf, settings.user);
    char *argv[] = {"qemu-io", "-c", "write 0 4k", "-c", "sleep 100000", conf, NULL};
    GPid pid;

    g_assert_true(
        g_spawn_async(NULL, argv, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_DO_NOT_REAP_CHILD,
                      NULL, NULL, &pid, NULL));
    return pid;
}

static char *
wait_for_client(Fixture *fixture, const char *source)
{
    int64_t deadline = clock_monotonic() + 20 * USEC_PER_SEC;

    for (;;) {
        g_autoptr(GPtrArray) clients = fixture->ops->clients(fixture->block, source, NULL);

        g_assert_nonnull(clients);
        if (clients->len == 1)
            return g_strdup(((BlockClient *)g_ptr_array_index(clients, 0))->address);
        g_assert_cmpint(clock_monotonic(), <, deadline);
    }
}

static void
say_time(const char *what, int64_t since)
{
    g_test_message("%s: %.1f ms", what, (double)(clock_monotonic() - since) / 1000);
}

static void
test_rbd_fence(Fixture *fixture, const void *ops)
{
    g_autofree char *source = source_of(fixture, ONE);
    g_autofree char *address = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) own = NULL, none = NULL;
    const char *list[] = {NULL, NULL};
    rbd_image_t image;
    int64_t start;
    pid_t pid;

    create(fixture, ONE, BLOCK_EMPTY, NULL, NULL, 8 * MIB);
    image = image_of(fixture, ONE);
    own = fixture->ops->clients(fixture->block, source, &error);
    g_assert_cmpuint(own->len, ==, 1);
    g_assert_true(((BlockClient *)g_ptr_array_index(own, 0))->is_own);
    list[0] = ((BlockClient *)g_ptr_array_index(own, 0))->address;
    assert_fails(fixture->ops->fence(fixture->block, list, SECONDS, &error), &error, ERR_INVALID,
                 "own");
    rbd_close(image);

    pid = holder_start(fixture, RBD_VOLUME_PREFIX ONE);
    address = wait_for_client(fixture, source);
    list[0] = address;
    start = clock_monotonic();
    assert_fails(fixture->ops->volume_delete(fixture->block, ONE, &error), &error, ERR_CONFLICT,
                 address);
    say_time("delete of an open volume refused", start);
    start = clock_monotonic();
    snapshot(fixture, ONE, SNAP); /* the holder of the lock makes it */
    say_time("snapshot of an open volume", start);
    snapshot_destroy(fixture, ONE, SNAP);
    g_assert_true(fixture->ops->volume_extend(fixture->block, ONE, 16 * MIB, &error));

    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    start = clock_monotonic();
    assert_fails(fixture->ops->volume_delete(fixture->block, ONE, &error), &error, ERR_CONFLICT,
                 address);
    g_assert_cmpint(clock_monotonic() - start, <, USEC_PER_SEC);
    say_time("delete after kill -9 refused", start);
    start = clock_monotonic();
    g_assert_true(fixture->ops->fence(fixture->block, list, SECONDS, &error));
    g_assert_no_error(error);
    say_time("fence", start);
    none = fixture->ops->clients(fixture->block, source, &error);
    g_assert_cmpuint(none->len, ==, 0);
    destroy(fixture, ONE);
    say_time("fence, clients, delete", start);
    g_assert_cmpint(clock_monotonic() - start, <, 3 * USEC_PER_SEC);
    start = clock_monotonic();
    g_assert_true(fixture->ops->fence(fixture->block, list, SECONDS, &error));
    say_time("fence of one that is fenced", start);
    g_assert_true(fixture->ops->unfence(fixture->block, list, &error));
    g_assert_no_error(error);
    g_assert_true(fixture->ops->unfence(fixture->block, list, &error));
}

static void
test_rbd_addresses(Fixture *fixture, const void *ops)
{
    static const char *const bad[] = {"",
                                      "192.0.2.7",
                                      "192.0.2.7:0",
                                      "192.0.2.7:0/0",
                                      "192.0.2.7:70000/1",
                                      "192.0.2.7:0/99999999999",
                                      "192.0.2.7:0/1/2",
                                      "192.0.2.700:0/1",
                                      "192.0.2.7:0/1\", \"expire\": 0",
                                      "fd00::1:0/1",
                                      "[192.0.2.7]:0/1"};
    static const char *const good[] = {"192.0.2.7:0/1", "[fd00::1]:0/4294967295", NULL};
    g_autoptr(GError) error = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        assert_fails(
            fixture->ops->fence(fixture->block, (const char *[]){bad[i], NULL}, SECONDS, &error),
            &error, ERR_INVALID, "address");
    g_assert_true(fixture->ops->fence(fixture->block, good, SECONDS, &error));
    g_assert_no_error(error);
    g_assert_true(fixture->ops->unfence(fixture->block, good, &error));
    g_assert_no_error(error);
    assert_fails(fixture->ops->clients(fixture->block, "elsewhere/x", &error) != NULL, &error,
                 ERR_INVALID, "elsewhere/x");
    g_ptr_array_unref(fixture->ops->clients(fixture->block, "volumes/absent", &error));
}

/* A server's disk goes at once, too, or names who has it. */
static void
test_rbd_disk_delete(Fixture *fixture, const void *ops)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(RbdLink) link = rbd_link(fixture->block, NULL);
    rbd_image_t image;

    upload_image(fixture);
    g_assert_true(fixture->ops->disk_create(fixture->block, ONE, IMAGE, 8 * MIB, &error));
    g_assert_true(fixture->ops->config_drive_store(fixture->block, ONE, "iso", 3, &error));
    image = rbd_image_open(link, BLOCK_FOR_SERVERS, ONE "_disk", NULL, false, NULL);
    assert_fails(fixture->ops->disk_delete(fixture->block, ONE, &error), &error, ERR_CONFLICT,
                 "this controller");
    rbd_close(image);
    g_assert_true(fixture->ops->disk_delete(fixture->block, ONE, &error));
    g_assert_no_error(error);
}

typedef struct Churn {
    Fixture *fixture;
    atomic_bool stop;
    int rounds;
} Churn;

static void
churn(void *opaque)
{
    Churn *all = opaque;

    while (!atomic_load(&all->stop)) {
        create(all->fixture, ONE, BLOCK_EMPTY, NULL, NULL, MIB);
        destroy(all->fixture, ONE);
        all->rounds++;
    }
}

/* Calls under way end on the connection on which they began. */
static void
test_rbd_reload_under_way(Fixture *fixture, const void *ops)
{
    Churn all = {.fixture = fixture};
    pthread_t thread = thread_start("churn", churn, &all);
    g_autoptr(GError) error = NULL;

    for (int i = 0; i < 5; i++) {
        g_assert_true(fixture->ops->reload_secret(fixture->block, &error));
        g_assert_no_error(error);
    }
    atomic_store(&all.stop, true);
    pthread_join(thread, NULL);
    g_assert_cmpint(all.rounds, >, 0);
    g_assert_cmpuint(fixture->block->links->len, ==, 1);
}

static bool
admin(const char *a, const char *b, const char *c, const char *d, const char *e, const char *f)
{
    const char *const argv[] = {
        "ceph", "--conf", ceph_conf, "--connect-timeout", "10", "osd", "pool", a, b, c, d,
        e,      f,        NULL};

    return run(argv, NULL);
}

/* Each trouble names the pool and what mends it, when the driver opens and in the list of pools. */
static void
test_rbd_untagged(Fixture *fixture, const void *ops)
{
    BlockSettings settings = fixture_settings(fixture);
    g_autoptr(GPtrArray) pools = NULL;
    g_autoptr(GError) error = NULL;
    const BlockPool *pool;

    settings.volumes_pool = "no-such-pool";
    assert_fails(block_rbd_ops.open(&settings, &error) != NULL, &error, ERR_INVALID,
                 "ceph osd pool create no-such-pool");
    if (!admin("create", "godwit-untagged", "1", "1", NULL, NULL)) {
        g_test_skip("the ceph tool may not make pools here");
        return;
    }
    settings.volumes_pool = "godwit-untagged";
    assert_fails(block_rbd_ops.open(&settings, &error) != NULL, &error, ERR_INVALID,
                 "rbd pool init godwit-untagged");
    g_free(fixture->block->pools[BLOCK_FOR_VOLUMES]);
    fixture->block->pools[BLOCK_FOR_VOLUMES] = g_strdup("godwit-untagged");
    g_clear_pointer(&fixture->block->link, rbd_link_drop);
    pools = fixture->ops->pools(fixture->block, &error);
    g_assert_no_error(error);
    pool = g_ptr_array_index(pools, BLOCK_FOR_VOLUMES);
    g_assert_nonnull(strstr(pool->trouble, "rbd pool init godwit-untagged"));
    pool = g_ptr_array_index(pools, BLOCK_FOR_IMAGES);
    g_assert_null(pool->trouble);
    g_free(fixture->block->pools[BLOCK_FOR_VOLUMES]);
    fixture->block->pools[BLOCK_FOR_VOLUMES] = g_strdup("volumes");
}

static void
skip_without_cluster(void)
{
    g_test_skip("GODWIT_TEST_CEPH_CONF names no Ceph cluster, or qemu-io is not installed");
}

int
main(int argc, char **argv)
{
    typedef void (*Test)(Fixture *, const void *);
    static const struct {
        const char *name;
        Test test;
    } tests[] = {{"half-made", test_rbd_half_made},
                 {"helper", test_rbd_helper},
                 {"trash-of-others", test_rbd_trash_of_others},
                 {"fence", test_rbd_fence},
                 {"addresses", test_rbd_addresses},
                 {"disk-delete", test_rbd_disk_delete},
                 {"reload-under-way", test_rbd_reload_under_way},
                 {"untagged", test_rbd_untagged}};
    g_autofree char *tool = g_find_program_in_path("qemu-io");

    ceph_conf = g_getenv("GODWIT_TEST_CEPH_CONF");
    g_test_init(&argc, &argv, NULL);
    if (!tool || !ceph_conf)
        g_test_add_func("/block-ceph", skip_without_cluster);
    for (size_t i = 0; tool && ceph_conf && i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf("/block-ceph/%s", tests[i].name);

        g_test_add(path, Fixture, &block_rbd_ops, fixture_set_up, tests[i].test, fixture_tear_down);
    }
    return g_test_run();
}
