/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-model-predict.c: prediction of a move, and the growth of its downtime limit */

#include "model/model.h"

#define MIB INT64_C(1048576)

static void
test_prediction(void)
{
    /* 1000 MiB at 100 MiB/s while 50 MiB/s become dirty: 10 + 5 + 2.5 + … s until at most 0.5 s is
     * left */
    MovePrediction move = predict_move(1000 * MIB, 100 * MIB, 50 * MIB, 500);

    g_assert_true(move.converges);
    g_assert_cmpint(move.iterations, ==, 5);
    g_assert_cmpint(move.downtime_ms, ==, 313);
    g_assert_cmpint(move.total_ms, ==, 19688);

    move = predict_move(1000 * MIB, 100 * MIB, 0, 30); /* idle */
    g_assert_true(move.converges);
    g_assert_cmpint(move.iterations, ==, 1);
    g_assert_cmpint(move.downtime_ms, ==, 0);
    g_assert_cmpint(move.total_ms, ==, 10000);

    move = predict_move(MIB, 100 * MIB, 200 * MIB, 30); /* small enough at once */
    g_assert_true(move.converges);
    g_assert_cmpint(move.iterations, ==, 0);
    g_assert_cmpint(move.downtime_ms, ==, 10);

    move = predict_move(1000 * MIB, 100 * MIB, 100 * MIB, 500); /* dirties as fast as the link */
    g_assert_false(move.converges);
    g_assert_cmpint(move.total_ms, ==, -1);
    g_assert_cmpint(move.downtime_ms, ==, 10000);
}

static void
test_prediction_edges(void)
{
    g_assert_false(predict_move(1000, 0, 0, 500).converges);
    g_assert_cmpint(predict_move(1000, 0, 0, 500).downtime_ms, ==, -1);
    g_assert_false(predict_move(-1, 1000, 0, 500).converges);
    g_assert_true(predict_move(0, 1000, 5000, 0).converges);
    g_assert_false(predict_move(1000, 1000, 999, 0).converges);
    g_assert_false(predict_move(INT64_MAX, 1, INT64_MAX, INT64_MAX).converges);
    g_assert_false(predict_move(INT64_MAX, 1, 0, 500).converges);
    g_assert_true(predict_move(1000, INT64_MAX, INT64_MAX, 1).converges);
    g_assert_true(predict_move(1000, 1000, -5, -5).total_ms == 1000);
}

static int64_t
random_below(int64_t most)
{
    return (int64_t)(g_test_rand_double() * (double)most);
}

/* More to send, a dirtier guest or a lower limit never makes a move shorter; a pause never exceeds
 * its limit. */
static void
test_prediction_properties(void)
{
    for (int i = 0; i < 20000; i++) {
        int64_t remaining = random_below(64 * 1024 * MIB), link = 1 + random_below(4096 * MIB);
        int64_t dirty = random_below(link + link / 4), limit = random_below(2000);
        MovePrediction base = predict_move(remaining, link, dirty, limit);
        MovePrediction more =
            predict_move(remaining + random_below(MIB * 1024), link, dirty, limit);
        MovePrediction dirtier = predict_move(remaining, link, dirty + random_below(link), limit);
        MovePrediction looser = predict_move(remaining, link, dirty, limit + random_below(500));

        if (!base.converges) {
            g_assert_cmpint(base.total_ms, ==, -1);
            g_assert_false(dirtier.converges);
            continue;
        }
        g_assert_cmpint(base.downtime_ms, <=, limit);
        g_assert_cmpint(base.downtime_ms, >=, 0);
        g_assert_cmpint(base.total_ms, >=, base.downtime_ms);
        g_assert_true(looser.converges);
        g_assert_cmpint(looser.total_ms, <=, base.total_ms + 1);
        if (more.converges)
            g_assert_cmpint(more.total_ms + 1, >=, base.total_ms);
        else
            g_assert_true(dirty >= link || limit == 0 || dirty > link - link / 1000);
        if (dirtier.converges)
            g_assert_cmpint(dirtier.total_ms + 1, >=, base.total_ms);
    }
}

static void
test_downtime(void)
{
    /* 100 MiB/s: 1 MiB takes 10 ms */
    g_assert_cmpint(downtime_next_limit(30, 500, 0, 100 * MIB, 100 * MIB), ==, 30);
    g_assert_cmpint(downtime_next_limit(30, 500, 1, 100 * MIB, 100 * MIB), ==, 30);
    g_assert_cmpint(downtime_next_limit(30, 500, 2, 1 * MIB, 100 * MIB), ==, 30);
    g_assert_cmpint(downtime_next_limit(30, 500, 2, 4 * MIB, 100 * MIB), ==, 44);
    g_assert_cmpint(downtime_next_limit(30, 500, 2, 100 * MIB, 100 * MIB), ==, 60);
    g_assert_cmpint(downtime_next_limit(400, 500, 9, 100 * MIB, 100 * MIB), ==, 500);
    g_assert_cmpint(downtime_next_limit(500, 500, 9, 100 * MIB, 100 * MIB), ==, 500);
    g_assert_cmpint(downtime_next_limit(30, 500, 5, 100 * MIB, 0), ==, 30);
    g_assert_cmpint(downtime_next_limit(30, 500, 5, INT64_MAX, 1), ==, 60);
    g_assert_cmpint(downtime_next_limit(900, 500, 5, INT64_MAX, 1), ==, 900);
}

/* Never shrinks, never above the ceiling, at most doubles, never beyond what the rest demands,
 * grows with the rest. */
static void
test_downtime_properties(void)
{
    for (int i = 0; i < 20000; i++) {
        int64_t ceiling = 1 + random_below(2000), current = 1 + random_below(ceiling);
        int64_t remaining = random_below(4096 * MIB), link = 1 + random_below(1024 * MIB);
        int64_t iteration = random_below(12);
        int64_t next = downtime_next_limit(current, ceiling, iteration, remaining, link);
        int64_t more = downtime_next_limit(current, ceiling, iteration, remaining * 2, link);

        g_assert_cmpint(next, >=, current);
        g_assert_cmpint(next, <=, ceiling);
        g_assert_cmpint(next, <=, current * 2);
        g_assert_cmpint(more, >=, next);
        if (next > current)
            g_assert_cmpfloat((double)next, <=, (double)remaining * 1100.0 / (double)link + 1);
    }
}

/* A guest that never converges is given the ceiling within a few iterations. */
static void
test_downtime_reaches_ceiling(void)
{
    int64_t limit = 30, iteration;

    for (iteration = 1; limit < 500; iteration++) {
        g_assert_cmpint(iteration, <, 8);
        limit = downtime_next_limit(limit, 500, iteration, 1024 * MIB, 100 * MIB);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/predict/cases", test_prediction);
    g_test_add_func("/model/predict/edges", test_prediction_edges);
    g_test_add_func("/model/predict/properties", test_prediction_properties);
    g_test_add_func("/model/downtime/cases", test_downtime);
    g_test_add_func("/model/downtime/properties", test_downtime_properties);
    g_test_add_func("/model/downtime/reaches-ceiling", test_downtime_reaches_ceiling);
    return g_test_run();
}
