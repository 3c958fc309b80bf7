/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-lease.c: until when a process may act, where a state is, and one at a time in order */
#include "store/lease.h"
#include "store/turn.h"

#include <stdatomic.h>
#include <string.h>

/* ---- the guard, on a clock of ours ------------------------------------------------------------
 */
static _Atomic int64_t now;
static atomic_int losses;

static int64_t
test_clock(void)
{
    return atomic_load(&now);
}

static void
on_lost(const char *why, void *opaque)
{
    g_assert_nonnull(why);
    g_assert_true(opaque == &losses);
    atomic_fetch_add(&losses, 1);
}

static LeaseGuard *
guard_new(void)
{
    atomic_store(&now, 100 * USEC_PER_SEC);
    atomic_store(&losses, 0);
    return lease_guard_new(4 * USEC_PER_SEC, on_lost, &losses, test_clock);
}

static void
test_guard_time(void)
{
    LeaseGuard *guard = guard_new();

    g_assert_false(lease_guard_valid(guard));
    lease_guard_renewed(guard, 99 * USEC_PER_SEC);
    g_assert_true(lease_guard_valid(guard));
    atomic_store(&now, 103 * USEC_PER_SEC - 1);
    g_assert_true(lease_guard_valid(guard));
    lease_guard_check(guard);
    g_assert_cmpint(losses, ==, 0);
    /* From before it was sent, and to the microsecond. */
    atomic_store(&now, 103 * USEC_PER_SEC);
    g_assert_false(lease_guard_valid(guard));
    g_assert_cmpint(losses, ==, 0);
    lease_guard_check(guard);
    lease_guard_check(guard);
    g_assert_cmpint(losses, ==, 1);
    /* A renewal acknowledged after that changes nothing. */
    lease_guard_renewed(guard, 103 * USEC_PER_SEC);
    g_assert_false(lease_guard_valid(guard));
    lease_guard_free(guard);
}

static void
test_guard_order(void)
{
    LeaseGuard *guard = guard_new();

    /* An answer to an older renewal comes after that to a newer one. */
    lease_guard_renewed(guard, 100 * USEC_PER_SEC);
    lease_guard_renewed(guard, 98 * USEC_PER_SEC);
    atomic_store(&now, 103 * USEC_PER_SEC);
    g_assert_true(lease_guard_valid(guard));
    lease_guard_lose(guard, "blocklisted");
    g_assert_false(lease_guard_valid(guard));
    g_assert_cmpint(losses, ==, 1);
    lease_guard_free(guard);
}

static void
test_guard_release(void)
{
    LeaseGuard *guard = guard_new();

    lease_guard_renewed(guard, 100 * USEC_PER_SEC);
    lease_guard_release(guard);
    g_assert_false(lease_guard_valid(guard));
    atomic_store(&now, 200 * USEC_PER_SEC);
    lease_guard_check(guard);
    lease_guard_lose(guard, "too late");
    g_assert_cmpint(losses, ==, 0);
    lease_guard_free(guard);
}

static void
test_guard_watchdog(void)
{
    LeaseGuard *guard = guard_new();
    int64_t deadline = clock_monotonic() + 5 * USEC_PER_SEC;

    lease_guard_renewed(guard, 100 * USEC_PER_SEC);
    lease_guard_watch(guard);
    g_usleep(300 * USEC_PER_MSEC);
    g_assert_cmpint(losses, ==, 0);
    /* As if the process had been stopped for a minute: nobody else has to call anything. */
    atomic_store(&now, 160 * USEC_PER_SEC);
    while (atomic_load(&losses) == 0 && clock_monotonic() < deadline)
        g_usleep(10 * USEC_PER_MSEC);
    g_assert_cmpint(losses, ==, 1);
    lease_guard_free(guard);
}

/* ---- where the state is -----------------------------------------------------------------------
 */
static void
test_uri(void)
{
    static const char *const bad[] = {
        "rados:",       "rados:a",       "rados:a/b",    "rados:a/b/",
        "rados:a//c",   "rados:/b/c",    "rados:a/b/c/", "rados:a/b/c/d",
        "rados:a/b/c?", "rados:a/b c/d", "rados:a/../c", "rados:a/b/%2e",
        "rados:*1/b/c", "rados:a:b/c/d", "rados:a/b/.c", "rados:a/b/c\xc3",
    };
    g_auto(StateUri) uri = {0};
    GError *error = NULL;

    g_assert_true(state_uri_parse("rados:godwit-state/main/godwit_1.2", &uri, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(uri.pool, ==, "godwit-state");
    g_assert_cmpstr(uri.space, ==, "main");
    g_assert_cmpstr(uri.name, ==, "godwit_1.2");
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_auto(StateUri) none = {0};

        g_assert_true(store_is_on_rados(bad[i]));
        g_assert_false(state_uri_parse(bad[i], &none, &error));
        g_assert_error(error, ERR_DOMAIN, ERR_INVALID);
        g_clear_error(&error);
    }
    g_assert_false(store_is_on_rados("/var/lib/godwit/rados:x"));
}

/* ---- turns ------------------------------------------------------------------------------------
 */
#define N_WAITERS 8

typedef struct Queue {
    Turn turn;
    int order[N_WAITERS], n_served;
} Queue;

typedef struct Person {
    Queue *queue;
    int number;
} Person;

static void
person_main(void *opaque)
{
    Person *person = opaque;
    Queue *queue = person->queue;

    g_assert_true(turn_take(&queue->turn, INT64_MAX));
    queue->order[queue->n_served++] = person->number;
    turn_give(&queue->turn);
}

static void
test_turn(void)
{
    Queue queue = {.n_served = 0};
    Person people[N_WAITERS];
    pthread_t threads[N_WAITERS];

    turn_init(&queue.turn);
    g_assert_true(turn_take(&queue.turn, INT64_MAX));
    g_assert_false(turn_take(&queue.turn, clock_monotonic() + 20 * USEC_PER_MSEC));
    for (int i = 0; i < N_WAITERS; i++) {
        people[i] = (Person){&queue, i};
        threads[i] = thread_start("person", person_main, &people[i]);
        for (unsigned waiting = 0; waiting <= (unsigned)i;) {
            WITH_MUTEX(&queue.turn.mutex);
            waiting = queue.turn.waiting.length;
        }
    }
    turn_give(&queue.turn);
    for (int i = 0; i < N_WAITERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < N_WAITERS; i++)
        g_assert_cmpint(queue.order[i], ==, i);
    g_assert_true(turn_take(&queue.turn, INT64_MAX));
    turn_clear(&queue.turn);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/lease/guard/time", test_guard_time);
    g_test_add_func("/lease/guard/order", test_guard_order);
    g_test_add_func("/lease/guard/release", test_guard_release);
    g_test_add_func("/lease/guard/watchdog", test_guard_watchdog);
    g_test_add_func("/lease/uri", test_uri);
    g_test_add_func("/lease/turn", test_turn);
    return g_test_run();
}
