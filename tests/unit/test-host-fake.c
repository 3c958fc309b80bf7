/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-host-fake.c: what only the fake promises: its faults, moves that outlive their client, a
 * world that survives SIGKILL */
#include "host/host.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define UUID "6d1f0a52-52c5-4f0e-9a34-5f1f0a8be001"

typedef struct Watch {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    GPtrArray *events;
    int closed;
} Watch;

static void
watch_event(HostEvent *event, void *opaque)
{
    Watch *watch = opaque;
    WITH_MUTEX(&watch->mutex);
    g_ptr_array_add(watch->events, event);
    pthread_cond_broadcast(&watch->changed);
}

static void
watch_closed(const char *why, void *opaque)
{
    Watch *watch = opaque;
    WITH_MUTEX(&watch->mutex);
    watch->closed++;
    pthread_cond_broadcast(&watch->changed);
}

static void
event_destroy(void *event)
{
    host_event_free(event);
}

static void
watch_init(Watch *watch)
{
    *watch = (Watch){.mutex = PTHREAD_MUTEX_INITIALIZER};
    cond_init_monotonic(&watch->changed);
    watch->events = g_ptr_array_new_with_free_func(event_destroy);
}

static int64_t
soon(void)
{
    return clock_monotonic() + 20 * USEC_PER_SEC;
}

static void
need_change(Watch *watch, const char *host, DomainChange change)
{
    int64_t deadline = soon();
    WITH_MUTEX(&watch->mutex);
    for (;;) {
        for (unsigned i = 0; i < watch->events->len; i++) {
            const HostEvent *event = watch->events->pdata[i];
            if (event->kind == HOST_EVENT_DOMAIN && event->change == change &&
                strcmp(event->host, host) == 0)
                return;
        }
        if (!cond_wait_until(&watch->changed, &watch->mutex, deadline))
            g_error("%s: no event %s came", host, domain_change_names[change]);
    }
}

static HostConn *
open_node(HostDriver *world, int node, Watch *watch)
{
    g_autofree char *name = g_strdup_printf("host%d", node);
    g_autofree char *uri = g_strdup_printf("fake://host%d/system", node);
    g_autoptr(GError) error = NULL;
    HostConn *conn = host_fake_ops.open(world, name, uri, watch_event, watch_closed, watch, &error);
    g_assert_no_error(error);
    return conn;
}

static void
start_on(HostConn *conn)
{
    ServerSpec spec = {.uuid = (char *)UUID,
                       .domain_name = (char *)"instance-00000001",
                       .virt_type = (char *)"qemu",
                       .machine = (char *)"pc",
                       .vcpus = 1,
                       .ram_mb = 64};
    g_autoptr(GError) error = NULL;
    host_fake_ops.domain_start(conn, &spec, NULL, NULL, &error);
    g_assert_no_error(error);
}

static bool
migrate_to_2(HostConn *conn, GError **err)
{
    MoveSpec spec = {.uuid = (char *)UUID,
                     .dest_uri = (char *)"qemu+tcp://192.0.2.2/system",
                     .flags = MIGRATE_LIVE | MIGRATE_PEER2PEER | MIGRATE_PERSIST_DEST |
                              MIGRATE_UNDEFINE_SOURCE};
    return host_fake_ops.migrate(conn, &spec, err);
}

static DomainState
state_on(HostConn *conn)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainInfo) info = host_fake_ops.domain_probe(conn, UUID, &error);
    g_assert_no_error(error);
    return info->state;
}

typedef struct Pair { /* a world of two nodes with a guest on the first */
    HostDriver *world;
    Watch watch;
    HostConn *first, *second;
} Pair;

static void
pair_begin(Pair *pair)
{
    pair->world = host_fake_world_new(2);
    host_fake_set_timing(pair->world, 20 * USEC_PER_MSEC, 5 * USEC_PER_MSEC);
    watch_init(&pair->watch);
    pair->first = open_node(pair->world, 1, &pair->watch);
    pair->second = open_node(pair->world, 2, &pair->watch);
    start_on(pair->first);
}

static void
pair_end(Pair *pair)
{
    if (pair->first != NULL)
        host_fake_ops.close(pair->first);
    if (pair->second != NULL)
        host_fake_ops.close(pair->second);
    host_fake_world_free(pair->world);
    g_ptr_array_unref(pair->watch.events);
    pthread_cond_destroy(&pair->watch.changed);
}

static void
test_migrate_fails(void)
{
    Pair pair;
    g_autoptr(GError) error = NULL;
    pair_begin(&pair);
    host_fake_set_fault(pair.world, 2, FAKE_MIGRATE_FAILS);
    g_assert_false(migrate_to_2(pair.first, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_BACKEND);
    g_assert_cmpint(state_on(pair.first), ==, DOMAIN_RUNNING);
    g_assert_cmpint(state_on(pair.second), ==, DOMAIN_ABSENT);
    g_assert_cmpint(host_fake_running_count(pair.world, UUID), ==, 1);
    pair_end(&pair);
}

static void
test_migrate_runs_twice(void)
{
    Pair pair;
    g_autoptr(GError) error = NULL;
    pair_begin(&pair);
    host_fake_set_fault(pair.world, 1, FAKE_MIGRATE_RUNS_TWICE);
    g_assert_false(migrate_to_2(pair.first, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_BACKEND);
    need_change(&pair.watch, "host2", DOMAIN_RESUMED_MIGRATED);
    need_change(&pair.watch, "host1", DOMAIN_RESUMED_MIGRATED);
    g_assert_cmpint(host_fake_running_count(pair.world, UUID), ==, 2);
    pair_end(&pair);
}

static void
destroy_source_in_time(void *opaque)
{
    Pair *pair = opaque;
    need_change(&pair->watch, "host2", DOMAIN_RESUMED_MIGRATED);
    g_assert_cmpint(state_on(pair->first), ==, DOMAIN_PAUSED_MIGRATED);
    host_fake_ops.domain_destroy(pair->first, UUID, NULL);
}

static void
test_migrate_runs_once(void)
{
    Pair pair;
    g_autoptr(GError) error = NULL;
    pair_begin(&pair);
    host_fake_set_timing(pair.world, 20 * USEC_PER_MSEC, USEC_PER_SEC);
    host_fake_set_fault(pair.world, 1, FAKE_MIGRATE_RUNS_TWICE);
    pthread_t thread = thread_start("destroyer", destroy_source_in_time, &pair);
    g_assert_false(migrate_to_2(pair.first, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_BACKEND);
    pthread_join(thread, NULL);
    g_assert_cmpint(host_fake_running_count(pair.world, UUID), ==, 1);
    g_assert_cmpint(state_on(pair.second), ==, DOMAIN_RUNNING);
    pair_end(&pair);
}

static void
test_migrate_lost(void)
{
    Pair pair;
    g_autoptr(GError) error = NULL;
    pair_begin(&pair);
    host_fake_set_fault(pair.world, 2, FAKE_MIGRATE_LOST);
    g_assert_true(migrate_to_2(pair.first, &error));
    need_change(&pair.watch, "host2", DOMAIN_RESUMED_MIGRATED);
    g_assert_cmpint(host_fake_running_count(pair.world, UUID), ==, 0);
    g_assert_cmpint(state_on(pair.second), ==, DOMAIN_ABSENT);
    pair_end(&pair);
}

static void
test_start_fails(void)
{
    Pair pair;
    g_autoptr(GError) error = NULL;
    pair_begin(&pair);
    host_fake_set_fault(pair.world, 2, FAKE_START_FAILS);
    ServerSpec spec = {.uuid = (char *)UUID, .domain_name = (char *)"x", .machine = (char *)"pc"};
    g_assert_false(host_fake_ops.domain_start(pair.second, &spec, NULL, NULL, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_BACKEND);
    g_assert_cmpint(host_fake_running_count(pair.world, UUID), ==, 1);
    host_fake_set_fault(pair.world, 2, FAKE_FAULT_NONE);
    /* Started by mistake on a second node, it runs twice, and the fake says so. */
    start_on(pair.second);
    g_assert_cmpint(host_fake_running_count(pair.world, UUID), ==, 2);
    pair_end(&pair);
}

static void
need_closed(Watch *watch, int count)
{
    int64_t deadline = soon();
    WITH_MUTEX(&watch->mutex);
    while (watch->closed < count)
        if (!cond_wait_until(&watch->changed, &watch->mutex, deadline))
            g_error("no connection was lost");
}

static void
test_node_cut(void)
{
    Pair pair;
    g_autoptr(GError) error = NULL;
    pair_begin(&pair);
    host_fake_set_fault(pair.world, 1, FAKE_NODE_CUT);
    need_closed(&pair.watch, 1);
    g_assert_null(host_fake_ops.domain_probe(pair.first, UUID, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_UNREACHABLE);
    g_clear_error(&error);
    g_assert_null(host_fake_ops.open(pair.world, "host1", "fake://host1/", NULL, watch_closed,
                                     &pair.watch, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_UNREACHABLE);
    g_clear_error(&error);
    g_assert_cmpint(host_fake_running_count(pair.world, UUID), ==, 1);

    host_fake_set_fault(pair.world, 1, FAKE_FAULT_NONE);
    g_assert_null(host_fake_ops.domain_probe(pair.first, UUID, &error)); /* lost for good */
    host_fake_ops.close(pair.first);
    pair.first = open_node(pair.world, 1, &pair.watch);
    g_assert_cmpint(state_on(pair.first), ==, DOMAIN_RUNNING);
    g_assert_cmpint(pair.watch.closed, ==, 1);
    pair_end(&pair);
}

static void
test_node_down(void)
{
    Pair pair;
    pair_begin(&pair);
    host_fake_set_fault(pair.world, 1, FAKE_NODE_DOWN);
    need_closed(&pair.watch, 1);
    g_assert_cmpint(host_fake_running_count(pair.world, UUID), ==, 0);
    host_fake_set_fault(pair.world, 1, FAKE_FAULT_NONE);
    host_fake_ops.close(pair.first);
    pair.first = open_node(pair.world, 1, &pair.watch);
    g_assert_cmpint(state_on(pair.first), ==, DOMAIN_SHUTOFF);
    pair_end(&pair);
}

static void
destination_dies(void *opaque)
{
    Pair *pair = opaque;
    need_change(&pair->watch, "host2", DOMAIN_STARTED_INCOMING);
    host_fake_set_fault(pair->world, 2, FAKE_NODE_DOWN);
}

static void
test_destination_dies(void)
{
    Pair pair;
    g_autoptr(GError) error = NULL;
    pair_begin(&pair);
    host_fake_set_timing(pair.world, 10 * USEC_PER_SEC, USEC_PER_SEC);
    pthread_t thread = thread_start("killer", destination_dies, &pair);
    g_assert_false(migrate_to_2(pair.first, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_BACKEND);
    pthread_join(thread, NULL);
    g_assert_cmpint(state_on(pair.first), ==, DOMAIN_RUNNING);
    pair_end(&pair);
}

/* A move that has handed its guest over, with memory still to come, when the destination's node
 * dies: neither half can run. */
static void
postcopy_then_dies(void *opaque)
{
    Pair *pair = opaque;
    g_autoptr(GError) error = NULL;
    need_change(&pair->watch, "host2", DOMAIN_STARTED_INCOMING);
    HostConn *conn = open_node(pair->world, 1, &pair->watch);
    host_fake_ops.migrate_postcopy(conn, UUID, &error);
    g_assert_no_error(error);
    need_change(&pair->watch, "host2", DOMAIN_RESUMED_POSTCOPY);
    g_autoptr(DomainInfo) info = host_fake_ops.domain_probe(conn, UUID, NULL);
    g_assert_true(info->postcopy && info->job_active);
    JobStats stats;
    g_assert_true(host_fake_ops.job_stats(conn, UUID, false, &stats, NULL) && stats.postcopy);
    g_assert_false(host_fake_ops.job_abort(conn, UUID, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_CONFLICT);
    host_fake_set_fault(pair->world, 2, FAKE_NODE_DOWN);
    host_fake_ops.close(conn);
}

static void
test_postcopy_breaks(void)
{
    Pair pair;
    g_autoptr(GError) error = NULL;
    pair_begin(&pair);
    host_fake_set_timing(pair.world, 10 * USEC_PER_SEC, USEC_PER_SEC);
    pthread_t thread = thread_start("killer", postcopy_then_dies, &pair);
    MoveSpec spec = {.uuid = (char *)UUID,
                     .dest_uri = (char *)"qemu+tcp://192.0.2.2/system",
                     .flags = MIGRATE_LIVE | MIGRATE_PEER2PEER | MIGRATE_POSTCOPY};
    g_assert_false(host_fake_ops.migrate(pair.first, &spec, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_BACKEND);
    pthread_join(thread, NULL);
    g_assert_cmpint(state_on(pair.first), ==, DOMAIN_PAUSED_POSTCOPY_FAILED);
    g_assert_cmpint(host_fake_running_count(pair.world, UUID), ==, 0);
    pair_end(&pair);
}

/* Saved memory outlives its node's power failure, and a failed attempt to save. */
static void
test_saved(void)
{
    Pair pair;
    g_autoptr(GError) error = NULL;
    pair_begin(&pair);
    host_fake_set_fault(pair.world, 1, FAKE_SAVE_FAILS);
    g_assert_false(host_fake_ops.domain_save(pair.first, UUID, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_BACKEND);
    g_assert_cmpint(state_on(pair.first), ==, DOMAIN_RUNNING);
    host_fake_set_fault(pair.world, 1, FAKE_FAULT_NONE);
    g_assert_true(host_fake_ops.domain_save(pair.first, UUID, NULL));
    host_fake_set_fault(pair.world, 1, FAKE_NODE_DOWN);
    host_fake_set_fault(pair.world, 1, FAKE_FAULT_NONE);
    host_fake_ops.close(pair.first);
    pair.first = open_node(pair.world, 1, &pair.watch);
    g_autoptr(DomainInfo) info = host_fake_ops.domain_probe(pair.first, UUID, NULL);
    g_assert_true(info->saved && info->never_ran);
    g_assert_true(host_fake_ops.domain_restore(pair.first, UUID, NULL));
    g_assert_cmpint(host_fake_running_count(pair.world, UUID), ==, 1);
    pair_end(&pair);
}

static DiskSpec
disk_of(const char *serial)
{
    return (DiskSpec){
        .source = (char *)"/d/volume", .format = (char *)"raw", .serial = (char *)serial};
}

static unsigned
disk_count(HostConn *conn)
{
    g_autoptr(GPtrArray) serials = host_fake_ops.disk_serials(conn, UUID, NULL);
    return serials->len;
}

static void
test_disk_faults(void)
{
    Pair pair;
    g_autoptr(GError) error = NULL;
    const DiskSpec disk = disk_of("one"), other = disk_of("other");
    pair_begin(&pair);
    g_assert_true(host_fake_ops.disk_attach(pair.first, UUID, &disk, &error));
    host_fake_set_fault(pair.world, 1, FAKE_ATTACH_FAILS);
    g_assert_true(host_fake_ops.disk_attach(pair.first, UUID, &disk, &error)); /* nothing to do */
    g_assert_false(host_fake_ops.disk_attach(pair.first, UUID, &other, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_BACKEND);
    g_clear_error(&error);
    host_fake_set_fault(pair.world, 1, FAKE_DISK_STAYS);
    g_assert_false(host_fake_ops.disk_detach(pair.first, UUID, "one", &error));
    g_assert_error(error, ERR_DOMAIN, ERR_TIMEOUT);
    g_assert_cmpuint(disk_count(pair.first), ==, 1);
    host_fake_set_fault(pair.world, 1, FAKE_FAULT_NONE);

    /* A node that loses its power has what its definition has. */
    host_fake_set_fault(pair.world, 1, FAKE_NODE_DOWN);
    need_closed(&pair.watch, 1);
    host_fake_set_fault(pair.world, 1, FAKE_FAULT_NONE);
    host_fake_ops.close(pair.first);
    pair.first = open_node(pair.world, 1, &pair.watch);
    g_assert_cmpuint(disk_count(pair.first), ==, 1);
    g_assert_true(host_fake_ops.disk_detach(pair.first, UUID, "one", NULL));
    g_assert_cmpuint(disk_count(pair.first), ==, 0);
    pair_end(&pair);
}

/* ---- other processes --------------------------------------------------------------------------
 */

static void
test_move_outlives_client(void)
{
    HostDriver *world = host_fake_world_new(2);
    host_fake_set_timing(world, 200 * USEC_PER_MSEC, 5 * USEC_PER_MSEC);
    pid_t child = fork();
    if (child == 0) {
        Watch watch;
        watch_init(&watch);
        HostConn *conn = open_node(world, 1, &watch);
        start_on(conn);
        migrate_to_2(conn, NULL);
        _exit(1);
    }
    int64_t deadline = soon();
    while (host_fake_domain_count(world) < 2 && clock_monotonic() < deadline)
        sched_yield();
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);

    Watch watch;
    watch_init(&watch);
    HostConn *first = open_node(world, 1, &watch), *second = open_node(world, 2, &watch);
    JobStats stats;
    g_assert_true(host_fake_ops.job_stats(first, UUID, false, &stats, NULL));
    g_assert_true(stats.active);
    need_change(&watch, "host2", DOMAIN_RESUMED_MIGRATED);
    need_change(&watch, "host1", DOMAIN_STOPPED_MIGRATED);
    g_assert_cmpint(state_on(first), ==, DOMAIN_ABSENT);
    g_assert_cmpint(state_on(second), ==, DOMAIN_RUNNING);
    host_fake_ops.close(first);
    host_fake_ops.close(second);
    host_fake_world_free(world);
    g_ptr_array_unref(watch.events);
}

/* An attachment is there wholly or not at all, whenever its client is killed. */
static void
test_killed_attaching(void)
{
    HostDriver *world = host_fake_world_new(1);
    const DiskSpec disk = disk_of("one");
    for (int round = 0; round < 40; round++) {
        pid_t child = fork();
        if (child == 0) {
            Watch watch;
            watch_init(&watch);
            HostConn *conn = open_node(world, 1, &watch);
            for (;;) {
                start_on(conn);
                host_fake_ops.disk_attach(conn, UUID, &disk, NULL);
                host_fake_ops.disk_detach(conn, UUID, "one", NULL);
            }
        }
        usleep((useconds_t)(1000 + round * 173));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        Watch watch;
        watch_init(&watch);
        HostConn *conn = open_node(world, 1, &watch);
        start_on(conn);
        unsigned live = disk_count(conn);
        host_fake_ops.domain_destroy(conn, UUID, NULL);
        g_assert_cmpuint(disk_count(conn), ==, live);
        start_on(conn);
        host_fake_ops.close(conn);
        g_ptr_array_unref(watch.events);
    }
    host_fake_world_free(world);
}

/* Kill a busy process at many odd moments: the world is never left locked or torn. */
static void
test_killed_anywhere(void)
{
    HostDriver *world = host_fake_world_new(2);
    host_fake_set_timing(world, 200, 100);
    for (int round = 0; round < 40; round++) {
        pid_t child = fork();
        if (child == 0) {
            Watch watch;
            watch_init(&watch);
            HostConn *first = open_node(world, 1, &watch), *second = open_node(world, 2, &watch);
            for (;;) {
                host_fake_ops.domain_destroy(second, UUID, NULL);
                host_fake_ops.domain_undefine(second, UUID, NULL);
                if (state_on(first) == DOMAIN_SHUTOFF || state_on(first) == DOMAIN_ABSENT)
                    start_on(first);
                migrate_to_2(first, NULL);
            }
        }
        usleep((useconds_t)(1000 + round * 173));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        g_assert_cmpint(host_fake_running_count(world, UUID), <=, 1);
        g_assert_cmpint(host_fake_domain_count(world), <=, 2);
    }
    /* What was under way ends by itself; then everything still works. */
    int64_t deadline = soon();
    Watch watch;
    watch_init(&watch);
    HostConn *first = open_node(world, 1, &watch), *second = open_node(world, 2, &watch);
    while (state_on(first) == DOMAIN_PAUSED_MIGRATED && clock_monotonic() < deadline)
        sched_yield();
    host_fake_ops.domain_destroy(first, UUID, NULL);
    host_fake_ops.domain_destroy(second, UUID, NULL);
    start_on(first);
    g_autoptr(GError) error = NULL;
    migrate_to_2(first, &error);
    g_assert_no_error(error);
    g_assert_cmpint(host_fake_running_count(world, UUID), ==, 1);
    host_fake_ops.close(first);
    host_fake_ops.close(second);
    host_fake_world_free(world);
    g_ptr_array_unref(watch.events);
}

#if defined(__SANITIZE_THREAD__)
/* A forked child here starts threads; that is safe, for what it inherits is only the world's
 * memory. */
const char *__tsan_default_options(void);

const char *
__tsan_default_options(void)
{
    return "die_after_fork=0";
}
#endif

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fake/migrate-fails", test_migrate_fails);
    g_test_add_func("/fake/migrate-runs-twice", test_migrate_runs_twice);
    g_test_add_func("/fake/migrate-runs-once", test_migrate_runs_once);
    g_test_add_func("/fake/migrate-lost", test_migrate_lost);
    g_test_add_func("/fake/start-fails", test_start_fails);
    g_test_add_func("/fake/node-cut", test_node_cut);
    g_test_add_func("/fake/node-down", test_node_down);
    g_test_add_func("/fake/destination-dies", test_destination_dies);
    g_test_add_func("/fake/postcopy-breaks", test_postcopy_breaks);
    g_test_add_func("/fake/saved", test_saved);
    g_test_add_func("/fake/move-outlives-client", test_move_outlives_client);
    g_test_add_func("/fake/disk-faults", test_disk_faults);
    g_test_add_func("/fake/killed-attaching", test_killed_attaching);
    g_test_add_func("/fake/killed-anywhere", test_killed_anywhere);
    return g_test_run();
}
