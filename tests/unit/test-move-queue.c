/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-move-queue.c: which of many live migrations may be under way, decided on paper and by a
 * whole controller */
#include "task/move-queue.h"

#include <string.h>

#include "rig/rig.h"

/* ---- the decision -------------------------------------------------------------------------
 */

static size_t
fits_all(const QueueMove *move, bool *fits, void *opaque)
{
    const int *n = opaque;

    for (int i = 0; i < *n; i++)
        fits[i] = g_strcmp0(move->source, (const char *[]){"a", "b", "c"}[i]) != 0;
    return (size_t)*n - 1;
}

static size_t
fits_none(const QueueMove *move, bool *fits, void *opaque)
{
    return 0;
}

static int
started(const QueueMove *moves, size_t n)
{
    int all = 0;

    for (size_t i = 0; i < n; i++)
        all += moves[i].start;
    return all;
}

static void
test_order(void)
{
    QueueHost hosts[] = {{.name = "a", .out_most = 1}, {.name = "b"}};
    QueueMove moves[] = {{.id = 1, .source = "a", .dest = "b", .ready = true},
                         {.id = 2, .source = "a", .dest = "b", .ready = true, .priority = 5},
                         {.id = 3, .source = "a", .dest = "b", .ready = true, .priority = 5}};

    move_queue_choose(moves, 3, hosts, 2, 0, fits_none, NULL);
    g_assert_true(!moves[0].start && moves[1].start && !moves[2].start);
    moves[1].ready = false; /* something of its server is still before it */
    move_queue_choose(moves, 3, hosts, 2, 0, fits_none, NULL);
    g_assert_true(!moves[0].start && !moves[1].start && moves[2].start);
    moves[2].under_way = true;
    move_queue_choose(moves, 3, hosts, 2, 0, fits_none, NULL);
    g_assert_cmpint(started(moves, 3), ==, 0);
}

static void
test_limits(void)
{
    QueueHost hosts[] = {{.name = "a", .out_most = 2, .in_most = 1},
                         {.name = "b", .out_most = 2, .in_most = 1},
                         {.name = "c", .out_most = 2, .in_most = 1}};
    QueueMove moves[] = {{.id = 1, .source = "a", .dest = "b", .ready = true},
                         {.id = 2, .source = "c", .dest = "b", .ready = true}, /* b is full */
                         {.id = 3, .source = "c", .dest = "a", .ready = true},
                         {.id = 4, .source = "gone", .dest = "gone too", .ready = true}};

    move_queue_choose(moves, 4, hosts, 3, 0, fits_none, NULL);
    g_assert_true(moves[0].start && !moves[1].start && moves[2].start && moves[3].start);
    g_assert_true(hosts[0].out == 1 && hosts[0].in == 1 && hosts[1].in == 1 && hosts[2].out == 1);
    move_queue_choose(moves, 4, hosts, 3, 2, fits_none, NULL);
    g_assert_true(moves[0].start && !moves[1].start && moves[2].start && !moves[3].start);
}

/* Without a destination: as many as there are places, whichever they take. */
static void
test_undecided(void)
{
    int n = 3;
    QueueHost hosts[] = {
        {.name = "a", .in_most = 1}, {.name = "b", .in_most = 1}, {.name = "c", .in_most = 1}};
    QueueMove moves[4] = {0};

    for (int i = 0; i < 4; i++)
        moves[i] = (QueueMove){.id = i + 1, .source = "a", .ready = true};
    move_queue_choose(moves, 4, hosts, 3, 0, fits_all, &n);
    g_assert_true(moves[0].start && moves[1].start && !moves[2].start && !moves[3].start);
    moves[0].under_way = moves[1].under_way = true;
    moves[0].dest = "b"; /* one has chosen: one place is left, and one is looking for it */
    move_queue_choose(moves, 4, hosts, 3, 0, fits_all, &n);
    g_assert_cmpint(started(moves, 4), ==, 0);
    move_queue_choose(moves, 4, hosts, 3, 0, fits_none, NULL);
    g_assert_cmpint(started(moves, 4), ==, 2); /* to end with the reason */
    hosts[2].in_most = 0;
    move_queue_choose(moves, 4, hosts, 3, 0, fits_all, &n);
    g_assert_cmpint(started(moves, 4), ==, 2);
}

/* ---- a controller -------------------------------------------------------------------------
 */

#define HOSTS 3

typedef struct Stage {
    char *dir;
    HostDriver *world;
    Rig *rig;
} Stage;

static TaskSettings limits;

static void
set_limits(TaskSettings *settings)
{
    settings->moves_out = limits.moves_out;
    settings->moves_in = limits.moves_in;
    settings->moves_total = limits.moves_total;
}

static void
stage_open(Stage *stage, int64_t out, int64_t in, int64_t total)
{
    limits = (TaskSettings){.moves_out = out, .moves_in = in, .moves_total = total};
    rig_adjust = set_limits;
    stage->dir = rig_make_dir(HOSTS);
    stage->world = host_fake_world_new(HOSTS);
    host_fake_set_timing(stage->world, 60 * USEC_PER_MSEC, 10 * USEC_PER_MSEC);
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
}

static void
stage_close(Stage *stage)
{
    rig_stop(stage->rig);
    host_fake_world_free(stage->world);
    rig_remove_dir(stage->dir);
    rig_adjust = NULL;
}

static GPtrArray *
create_servers(Stage *stage, int n)
{
    GPtrArray *ids = g_ptr_array_new_with_free_func(g_free);

    for (int i = 0; i < n; i++) {
        g_autofree char *host = g_strdup_printf("host%d", i % HOSTS + 1);

        g_ptr_array_add(ids, rig_create_server(stage->rig, "s", host, NULL));
    }
    g_assert_true(rig_wait_idle(stage->rig, 30));
    return ids;
}

static bool
is_under_way(const Migration *row)
{
    return !migration_status_is_final(row->status) && row->status != MIGRATION_ACCEPTED &&
           row->status != MIGRATION_QUEUED;
}

/* At no time are more under way than may be; out and in: of one host. */
static void
assert_within(const GPtrArray *rows, int64_t out, int64_t in, int64_t total)
{
    int64_t all = 0;

    for (int host = 1; host <= HOSTS; host++) {
        g_autofree char *name = g_strdup_printf("host%d", host);
        int64_t from = 0, to = 0;

        for (guint i = 0; i < rows->len; i++) {
            const Migration *row = g_ptr_array_index(rows, i);

            from += is_under_way(row) && g_strcmp0(row->source_host, name) == 0;
            to += is_under_way(row) && g_strcmp0(row->dest_host, name) == 0;
        }
        g_assert_cmpint(from, <=, out);
        g_assert_cmpint(to, <=, in);
        all += from;
    }
    g_assert_cmpint(all, <=, total);
}

/* Every one of 30 gets there, within the limits, and the urgent ones begin first. */
static void
test_thirty(const void *data)
{
    bool given = data != NULL;
    Stage stage;
    g_autoptr(GPtrArray) ids = NULL;
    int64_t urgent_from = 0, last_urgent = 0, first_usual = INT64_MAX;
    bool saw_queue = false;

    stage_open(&stage, 2, 1, 3);
    ids = create_servers(&stage, 30);
    for (guint i = 0; i < ids->len; i++) {
        g_autofree char *dest = given ? g_strdup_printf("host%d", (int)(i + 1) % HOSTS + 1) : NULL;
        int64_t id =
            rig_migrate_with_priority(stage.rig, g_ptr_array_index(ids, i), dest, i >= 21 ? 7 : 0);

        urgent_from = i == 21 ? id : urgent_from;
    }
    for (uint64_t seen = 0; task_engine_open_count(stage.rig->tasks) > 0;) {
        g_autoptr(GPtrArray) rows = rig_rows(stage.rig, &MIGRATION, NULL);

        assert_within(rows, 2, 1, 3);
        for (guint i = 0; i < rows->len; i++)
            saw_queue |= ((Migration *)g_ptr_array_index(rows, i))->status == MIGRATION_QUEUED;
        seen = store_wait_change(stage.rig->store, seen, clock_monotonic() + 20 * USEC_PER_MSEC);
    }
    g_autoptr(GPtrArray) rows = rig_rows(stage.rig, &MIGRATION, NULL);
    g_assert_cmpuint(rows->len, ==, 30);
    for (guint i = 0; i < rows->len; i++) {
        const Migration *row = g_ptr_array_index(rows, i);

        g_assert_cmpstr(row->reason, ==, NULL);
        g_assert_cmpint(row->status, ==, MIGRATION_COMPLETED);
        g_assert_nonnull(strstr(row->phases, "\"queue\""));
        if (row->id >= urgent_from)
            last_urgent = MAX(last_urgent, row->started_at);
        else if (row->id > 21 - 6) /* not those that began before an urgent one was there */
            first_usual = MIN(first_usual, row->started_at);
    }
    g_assert_true(saw_queue);
    if (given) /* without, they wait for different hosts */
        g_assert_cmpint(last_urgent, <=, first_usual);
    stage_close(&stage);
}

static void
wait_for_status(Rig *rig, int64_t id, MigrationStatus status)
{
    for (uint64_t seen = 0;;) {
        g_autoptr(Migration) row = rig_migration(rig, id);

        if (row->status == status)
            return;
        g_assert_false(migration_status_is_final(row->status));
        seen = store_wait_change(rig->store, seen, clock_monotonic() + 20 * USEC_PER_MSEC);
    }
}

/* Until the fake has taken the move up, with the timing of now. */
static void
wait_for_job(Rig *rig, const char *host, const char *server_id)
{
    for (;;) {
        g_autoptr(DomainInfo) info =
            host_domain_probe(rig->hosts, host, server_id, clock_monotonic() + USEC_PER_SEC, NULL);

        if (info && info->job_active)
            return;
        g_usleep(5 * USEC_PER_MSEC);
    }
}

/* A move that waits for a full node keeps nobody from moving between others; it begins when the
 * node has a place again. */
static void
test_saturated(void)
{
    Stage stage;
    g_autoptr(GPtrArray) ids = NULL;
    int64_t first, second, other;

    stage_open(&stage, 0, 1, 0);
    ids = create_servers(&stage, 3);
    host_fake_set_timing(stage.world, 10 * USEC_PER_SEC, 10 * USEC_PER_MSEC);
    first = rig_migrate(stage.rig, g_ptr_array_index(ids, 0), "host2", NULL);
    wait_for_job(stage.rig, "host1", g_ptr_array_index(ids, 0));
    host_fake_set_timing(stage.world, 50 * USEC_PER_MSEC, 10 * USEC_PER_MSEC);
    second = rig_migrate(stage.rig, g_ptr_array_index(ids, 2), "host2", NULL);
    wait_for_status(stage.rig, second, MIGRATION_QUEUED);
    other = rig_migrate(stage.rig, g_ptr_array_index(ids, 1), "host3", NULL);
    wait_for_status(stage.rig, other, MIGRATION_COMPLETED);
    g_autoptr(Migration) waiting = rig_migration(stage.rig, second);
    g_assert_cmpint(waiting->status, ==, MIGRATION_QUEUED);
    g_assert_cmpstr(waiting->phase, ==, "queue");
    rig_wish(stage.rig, first, WISH_ABORT, NULL);
    wait_for_status(stage.rig, first, MIGRATION_CANCELLED);
    wait_for_status(stage.rig, second, MIGRATION_COMPLETED);
    g_assert_true(rig_wait_idle(stage.rig, 10));
    stage_close(&stage);
}

/* Not told where to, and the only host that fits is full: it waits, without a thread, and can be
 * aborted, or goes there when it can. */
static void
test_no_place(void)
{
    Stage stage;
    g_autoptr(GPtrArray) ids = NULL;
    int64_t first, second, third;

    stage_open(&stage, 0, 1, 0);
    ids = create_servers(&stage, 4);
    host_fake_set_fault(stage.world, 3, FAKE_CPU_INCOMPATIBLE); /* seen only when it is asked */
    host_fake_set_timing(stage.world, 10 * USEC_PER_SEC, 10 * USEC_PER_MSEC);
    first = rig_migrate(stage.rig, g_ptr_array_index(ids, 0), "host2", NULL);
    wait_for_job(stage.rig, "host1", g_ptr_array_index(ids, 0));
    host_fake_set_timing(stage.world, 50 * USEC_PER_MSEC, 10 * USEC_PER_MSEC);
    second = rig_migrate(stage.rig, g_ptr_array_index(ids, 3), NULL, NULL);
    for (uint64_t seen = 0;;) { /* host3 was asked, and refused it */
        g_autoptr(Migration) row = rig_migration(stage.rig, second);

        if (row->status == MIGRATION_QUEUED && row->attempts)
            break;
        g_assert_false(migration_status_is_final(row->status));
        seen = store_wait_change(stage.rig->store, seen, clock_monotonic() + 20 * USEC_PER_MSEC);
    }
    third = rig_migrate(stage.rig, g_ptr_array_index(ids, 2), "host2", NULL);
    wait_for_status(stage.rig, third, MIGRATION_QUEUED);
    rig_wish(stage.rig, third, WISH_ABORT, NULL);
    wait_for_status(stage.rig, third, MIGRATION_CANCELLED);
    rig_wish(stage.rig, first, WISH_ABORT, NULL);
    wait_for_status(stage.rig, second, MIGRATION_COMPLETED);
    g_autoptr(Migration) row = rig_migration(stage.rig, second);
    g_assert_cmpstr(row->dest_host, ==, "host2");
    g_assert_nonnull(strstr(row->attempts, "host3"));
    g_assert_true(rig_wait_idle(stage.rig, 10));
    stage_close(&stage);
}

/* With as many moves as a node may have, and one more, under way: an abort is answered at once. */
static void
test_abort_at_the_limit(void)
{
    Stage stage;
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
    int64_t moves[6], begun;

    stage_open(&stage, 0, 0, 0);
    for (int i = 0; i < 6; i++)
        g_ptr_array_add(ids, rig_create_server(stage.rig, "s", "host1", NULL));
    g_assert_true(rig_wait_idle(stage.rig, 30));
    host_fake_set_timing(stage.world, 60 * USEC_PER_SEC, 10 * USEC_PER_MSEC);
    for (int i = 0; i < 5; i++)
        moves[i] = rig_migrate(stage.rig, g_ptr_array_index(ids, (guint)i), "host2", NULL);
    for (int i = 0; i < 4; i++) /* max_client_requests of the fake is 5, one less is what may be */
        wait_for_status(stage.rig, moves[i], MIGRATION_RUNNING);
    wait_for_status(stage.rig, moves[4], MIGRATION_QUEUED);
    begun = clock_monotonic();
    rig_wish(stage.rig, moves[0], WISH_ABORT, NULL);
    wait_for_status(stage.rig, moves[0], MIGRATION_CANCELLED);
    g_assert_cmpint(clock_monotonic() - begun, <, USEC_PER_SEC);
    wait_for_status(stage.rig, moves[4], MIGRATION_RUNNING);
    for (int i = 1; i < 5; i++)
        rig_wish(stage.rig, moves[i], WISH_ABORT, NULL);
    for (int i = 1; i < 5; i++)
        wait_for_status(stage.rig, moves[i], MIGRATION_CANCELLED);
    g_assert_true(rig_wait_idle(stage.rig, 10));
    for (guint i = 0; i < 5; i++)
        g_assert_cmpint(host_fake_running_count(stage.world, g_ptr_array_index(ids, i)), ==, 1);
    stage_close(&stage);
}

/* What waited is still in its place after a restart, and what was deleted meanwhile is not. */
static void
test_restart(void)
{
    Stage stage;
    g_autoptr(GPtrArray) ids = NULL;
    int64_t first, second, deleted;

    stage_open(&stage, 1, 1, 1);
    ids = create_servers(&stage, 9);
    host_fake_set_timing(stage.world, 2 * USEC_PER_SEC, 10 * USEC_PER_MSEC);
    first = rig_migrate(stage.rig, g_ptr_array_index(ids, 0), "host2", NULL);
    wait_for_job(stage.rig, "host1", g_ptr_array_index(ids, 0));
    deleted = rig_migrate(stage.rig, g_ptr_array_index(ids, 6), "host2", NULL);
    second = rig_migrate(stage.rig, g_ptr_array_index(ids, 3), NULL, NULL);
    wait_for_status(stage.rig, second, MIGRATION_QUEUED);
    wait_for_status(stage.rig, deleted, MIGRATION_QUEUED);
    rig_action(stage.rig, g_ptr_array_index(ids, 6), "delete", NULL, NULL);
    wait_for_status(stage.rig, deleted, MIGRATION_CANCELLED);
    rig_stop(stage.rig);
    host_fake_set_timing(stage.world, 50 * USEC_PER_MSEC, 10 * USEC_PER_MSEC);
    stage.rig = rig_start(stage.dir, stage.world, HOSTS);
    g_assert_true(rig_wait_idle(stage.rig, 20));
    g_autoptr(Migration) one = rig_migration(stage.rig, first),
                         two = rig_migration(stage.rig, second);
    g_assert_cmpint(one->status, ==, MIGRATION_COMPLETED);
    g_assert_cmpint(two->status, ==, MIGRATION_COMPLETED);
    g_assert_cmpint(two->started_at, >, one->active_at);
    stage_close(&stage);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    log_set_level(g_getenv("TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
    g_test_add_func("/move-queue/order", test_order);
    g_test_add_func("/move-queue/limits", test_limits);
    g_test_add_func("/move-queue/undecided", test_undecided);
    g_test_add_data_func("/move-queue/thirty", NULL, test_thirty);
    g_test_add_data_func("/move-queue/thirty-to-given-hosts", "", test_thirty);
    g_test_add_func("/move-queue/saturated", test_saturated);
    g_test_add_func("/move-queue/no-place", test_no_place);
    g_test_add_func("/move-queue/abort-at-the-limit", test_abort_at_the_limit);
    g_test_add_func("/move-queue/restart", test_restart);
    return g_test_run();
}
