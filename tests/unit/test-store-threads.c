/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-store-threads.c: many threads on one store: snapshots, group commit, the change notice,
 * speed
 *
 * With -m perf the speed is measured over enough writes to be worth quoting. */
#include "store-place.h"

#include <stdatomic.h>

/* ---- concurrency ----------------------------------------------------------------------------- */
#define THREADS 8
#define ROUNDS  50

typedef struct Worker {
    Store *store;
    int index, round;
    bool fail;
} Worker;

static bool
worker_write(StoreTx *tx, void *opaque, GError **err)
{
    const Worker *worker = opaque;
    g_autofree char *id = g_strdup_printf("p-%d-%d", worker->index, worker->round);
    /* Two rows in one transaction: a reader must see both or neither. */
    g_autofree char *twin = g_strconcat(id, "-twin", NULL);
    if (!project_insert(tx, id, err) || !project_insert(tx, twin, err))
        return false;
    return !worker->fail || err_set(err, ERR_QUOTA, "not this one");
}

static bool
worker_read(StoreTx *tx, void *opaque, GError **err)
{
    const Worker *worker = opaque;
    int64_t count = store_count(tx, &PROJECT, NULL, err);
    g_assert_cmpint(count % 2, ==, 0);
    g_autofree char *id = g_strdup_printf("p-%d-%d", worker->index, worker->round);
    g_autoptr(GError) error = NULL;
    g_autoptr(Project) mine = store_get(tx, &PROJECT, id, &error);
    g_assert_cmpint(mine != NULL, ==, !worker->fail);
    g_autoptr(GPtrArray) all = store_list(tx, &PROJECT, NULL, err);
    g_assert_cmpint(all->len, ==, count); /* one snapshot */
    return true;
}

static void
worker_main(void *opaque)
{
    Worker *worker = opaque;
    for (worker->round = 0; worker->round < ROUNDS; worker->round++) {
        g_autoptr(GError) error = NULL;
        worker->fail = worker->round % 5 == 3;
        g_assert_cmpint(store_write(worker->store, worker_write, worker, &error), ==,
                        !worker->fail);
        if (worker->fail)
            g_assert_true(err_is(error, ERR_QUOTA));
        must_read(worker->store, worker_read, worker);
    }
}

static bool
workers_count(StoreTx *tx, void *opaque, GError **err)
{
    g_assert_cmpint(store_count(tx, &PROJECT, NULL, err), ==, THREADS * ROUNDS * 4 / 5 * 2);
    return true;
}

static void
test_threads(Place *place, gconstpointer data)
{
    Worker workers[THREADS];
    pthread_t threads[THREADS];
    uint64_t before = store_change_count(place->store);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (Worker){.store = place->store, .index = i};
        threads[i] = thread_start("worker", worker_main, &workers[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    must_read(place->store, workers_count, NULL);
    uint64_t commits = store_change_count(place->store) - before;
    g_test_message("%d writes in %" PRIu64 " commits", THREADS * ROUNDS, commits);
    g_assert_cmpuint(commits, <, THREADS * ROUNDS);
}

typedef struct Gate {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool entered, open;
} Gate;

/* Keeps the writer busy until the others have queued up behind it. */
static bool
gate_write(StoreTx *tx, void *opaque, GError **err)
{
    Gate *gate = opaque;
    WITH_MUTEX(&gate->mutex);
    gate->entered = true;
    pthread_cond_broadcast(&gate->cond);
    while (!gate->open)
        cond_wait_until(&gate->cond, &gate->mutex, INT64_MAX);
    return project_insert(tx, (void *)"gate", err);
}

typedef struct BatchWrite {
    Store *store;
    Gate *gate;
    char id[16];
    bool duplicate;
} BatchWrite;

static void
gate_main(void *opaque)
{
    BatchWrite *batch = opaque;
    must_write(batch->store, gate_write, batch->gate);
}

static _Atomic int batch_waiting;

static void
batch_main(void *opaque)
{
    BatchWrite *batch = opaque;
    g_autoptr(GError) error = NULL;
    batch_waiting++;
    bool ok = store_write(batch->store, project_insert,
                          batch->duplicate ? (void *)"gate" : (void *)batch->id, &error);
    g_assert_cmpint(ok, ==, !batch->duplicate);
    if (batch->duplicate)
        g_assert_true(err_is(error, ERR_CONFLICT));
}

static void
test_group_commit(Place *place, gconstpointer data)
{
    Gate gate = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    cond_init_monotonic(&gate.cond);
    BatchWrite first = {.store = place->store, .gate = &gate};
    uint64_t before = store_change_count(place->store);
    pthread_t holder = thread_start("holder", gate_main, &first);
    pthread_mutex_lock(&gate.mutex);
    while (!gate.entered)
        cond_wait_until(&gate.cond, &gate.mutex, INT64_MAX);
    pthread_mutex_unlock(&gate.mutex);

    BatchWrite batch[32];
    pthread_t threads[32];
    batch_waiting = 0;
    for (int i = 0; i < 32; i++) {
        batch[i] = (BatchWrite){.store = place->store, .duplicate = i % 8 == 7};
        g_snprintf(batch[i].id, sizeof batch[i].id, "batch-%d", i);
        threads[i] = thread_start("batch", batch_main, &batch[i]);
    }
    while (batch_waiting < 32)
        g_usleep(1000);
    g_usleep(50000); /* from the counter to the queue */
    pthread_mutex_lock(&gate.mutex);
    gate.open = true;
    pthread_cond_broadcast(&gate.cond);
    pthread_mutex_unlock(&gate.mutex);
    pthread_join(holder, NULL);
    for (int i = 0; i < 32; i++)
        pthread_join(threads[i], NULL);

    uint64_t commits = store_change_count(place->store) - before;
    g_test_message("33 writes in %" PRIu64 " commits; the 4 that failed took back only themselves",
                   commits);
    g_assert_cmpuint(commits, <=, 4);
    for (int i = 0; i < 32; i++) {
        g_autoptr(GError) error = NULL;
        g_assert_cmpint(store_read(place->store, project_exists, batch[i].id, &error), ==,
                        i % 8 != 7);
    }
    pthread_cond_destroy(&gate.cond);
}

static void
change_main(void *opaque)
{
    g_usleep(20000);
    must_write(opaque, project_insert, (void *)"news");
}

static bool
nothing_write(StoreTx *tx, void *opaque, GError **err)
{
    return true;
}

static void
test_change_notice(Place *place, gconstpointer data)
{
    uint64_t seen = store_change_count(place->store);
    int64_t start = clock_monotonic();
    g_assert_cmpuint(store_wait_change(place->store, seen, start + 20 * USEC_PER_MSEC), ==, seen);
    g_assert_cmpint(clock_monotonic(), >=, start + 20 * USEC_PER_MSEC);
    pthread_t thread = thread_start("change", change_main, place->store);
    g_assert_cmpuint(store_wait_change(place->store, seen, INT64_MAX), ==, seen + 1);
    pthread_join(thread, NULL);
    must_write(place->store, nothing_write, NULL); /* no commit, no notice */
    g_assert_cmpuint(store_change_count(place->store), ==, seen + 1);
}

/* ---- speed ----------------------------------------------------------------------------------- */
typedef struct Hammer {
    Store *store;
    int writes;
    int64_t number;
} Hammer;

static void
hammer_main(void *opaque)
{
    Hammer *hammer = opaque;
    for (int i = 0; i < hammer->writes; i++)
        must_write(hammer->store, number_take, &hammer->number);
}

static void
hammer_run(Place *place, int n_threads, int writes)
{
    Hammer hammers[32];
    pthread_t threads[32];
    uint64_t before = store_change_count(place->store);
    int64_t start = clock_monotonic();
    for (int i = 0; i < n_threads; i++) {
        hammers[i] = (Hammer){.store = place->store, .writes = writes};
        threads[i] = thread_start("hammer", hammer_main, &hammers[i]);
    }
    for (int i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    double seconds = (double)(clock_monotonic() - start) / 1e6;
    uint64_t commits = store_change_count(place->store) - before;
    g_test_message("%d writers: %.0f writes/s, %.0f commits/s", n_threads,
                   n_threads * writes / seconds, (double)commits / seconds);
}

static void
test_speed(Place *place, gconstpointer data)
{
    hammer_run(place, 1, g_test_perf() ? 2000 : 100);
    hammer_run(place, 32, g_test_perf() ? 500 : 20);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("threads", test_threads);
    ADD("group-commit", test_group_commit);
    ADD("change-notice", test_change_notice);
    ADD("speed", test_speed);
    return g_test_run();
}
