/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-move-judge.c: every answer that two nodes can give about one guest, against the rules that
 * must hold for all of them */
#include "task/task-priv.h"

static const int all_seen = SEEN_POSTCOPY + 1, all_began = SWITCH_NOT_KNOWN + 1;

static bool
runs(Seen seen)
{
    return seen == SEEN_RUNNING || seen == SEEN_MOVING;
}

static void
test_rules_hold_for_all(void)
{
    int seen_verdicts = 0;

    for (int s = 0; s < all_seen; s++)
        for (int d = 0; d < all_seen; d++)
            for (int b = 0; b < all_began; b++) {
                Seen source = s, dest = d;
                MoveVerdict verdict = move_judge(source, dest, b);

                seen_verdicts |= 1 << verdict;
                if (verdict == MOVE_SWITCHED || verdict == MOVE_SWITCHED_STOP_SOURCE)
                    g_assert_true(runs(dest)); /* the source is never given up before the
                                                  destination was seen running */
                if (runs(dest) && source == SEEN_POSTCOPY)
                    g_assert_cmpint(verdict, ==, MOVE_IN_FLIGHT); /* it needs what is there */
                else if (runs(dest) && source != SEEN_UNREACHABLE && source != SEEN_GONE)
                    g_assert_cmpint(
                        verdict, ==,
                        MOVE_SWITCHED_STOP_SOURCE); /* nothing of it stays on the source */
                if (source == SEEN_POSTCOPY)        /* never to run there again */
                    g_assert_true(verdict != MOVE_ROLLED_BACK && verdict != MOVE_RESUME_SOURCE);
                if (verdict == MOVE_RESUME_SOURCE) {
                    g_assert_cmpint(source, ==, SEEN_STOPPED_FOR_SWITCH);
                    g_assert_cmpint(dest, ==, SEEN_GONE); /* seen gone, not merely silent */
                }
                if (verdict == MOVE_ROLLED_BACK) {
                    g_assert_cmpint(source, ==, SEEN_RUNNING);
                    /* A destination that is off, or paused for a switch on its own side, has
                     * nothing of it that runs. */
                    g_assert_true(dest == SEEN_GONE || dest == SEEN_STOPPED_FOR_SWITCH ||
                                  dest == SEEN_POSTCOPY || /* no answer about a destination */
                                  (dest == SEEN_UNREACHABLE && b == SWITCH_NOT_BEGUN));
                }
                if (verdict == MOVE_NOWHERE)
                    g_assert_true((source == SEEN_GONE || source == SEEN_POSTCOPY) &&
                                  dest == SEEN_GONE);
                if (source == SEEN_UNREACHABLE)
                    g_assert_cmpint(verdict, ==, MOVE_WAIT); /* silence is no evidence */
            }
    for (int v = MOVE_IN_FLIGHT; v <= MOVE_WAIT; v++)
        g_assert_true(seen_verdicts & 1 << v); /* each verdict is reached */
}

static void
test_after_the_deadline(void)
{
    MoveFinal final = move_judge_at_deadline(SEEN_UNREACHABLE, SEEN_RUNNING, SWITCH_BEGAN);

    g_assert_true(final.on_dest &&
                  final.uncertain); /* it runs there; what the silent source does is not known */
    final = move_judge_at_deadline(SEEN_RUNNING, SEEN_UNREACHABLE, SWITCH_BEGAN);
    g_assert_true(!final.on_dest && final.uncertain); /* may run on two nodes */
    final = move_judge_at_deadline(SEEN_RUNNING, SEEN_UNREACHABLE, SWITCH_NOT_BEGUN);
    g_assert_true(!final.on_dest &&
                  !final.uncertain); /* the destination cannot have been started */
    final = move_judge_at_deadline(SEEN_GONE, SEEN_UNREACHABLE, SWITCH_BEGAN);
    g_assert_true(final.on_dest &&
                  final.uncertain); /* handed over to a node that does not answer */
    final = move_judge_at_deadline(SEEN_POSTCOPY, SEEN_UNREACHABLE, SWITCH_BEGAN);
    g_assert_true(final.on_dest && final.uncertain); /* if it runs, then there */
    final = move_judge_at_deadline(SEEN_UNREACHABLE, SEEN_GONE, SWITCH_NOT_KNOWN);
    g_assert_true(!final.on_dest && !final.uncertain); /* only the source can have it */
    for (int d = 0; d < all_seen; d++)
        for (int b = 0; b < all_began; b++)
            if (!runs(d) && d != SEEN_UNREACHABLE)
                g_assert_false(move_judge_at_deadline(SEEN_RUNNING, d, b).uncertain);
}

static void
test_what_a_state_means(void)
{
    const struct {
        DomainState state;
        bool job, is_source;
        Seen seen;
        bool postcopy;
    } cases[] = {
        {DOMAIN_ABSENT, false, true, SEEN_GONE},
        {DOMAIN_SHUTOFF, false, false, SEEN_GONE},
        {DOMAIN_RUNNING, true, true, SEEN_MOVING},
        {DOMAIN_RUNNING, false, true, SEEN_RUNNING},
        {DOMAIN_RUNNING, true, false, SEEN_RUNNING},
        {DOMAIN_PAUSED, false, true, SEEN_RUNNING},
        {DOMAIN_PAUSED_INCOMING, true, false, SEEN_INCOMING},
        {DOMAIN_PAUSED_MIGRATED, true, true, SEEN_STOPPED_FOR_SWITCH},
        {DOMAIN_PAUSED_MIGRATED, true, false, SEEN_INCOMING},
        {DOMAIN_CRASHED, false, true, SEEN_GONE},
        {DOMAIN_PAUSED_MIGRATED, true, true, SEEN_POSTCOPY, true},
        {DOMAIN_PAUSED_POSTCOPY_FAILED, true, true, SEEN_POSTCOPY, true},
        {DOMAIN_PAUSED_POSTCOPY_FAILED, true, false, SEEN_RUNNING},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        DomainInfo info = {
            .state = cases[i].state, .job_active = cases[i].job, .postcopy = cases[i].postcopy};

        g_assert_cmpint(seen_of(&info, cases[i].is_source), ==, cases[i].seen);
    }
}

/* The picture in task-priv.h, drawn again from the other side: every edge that exists, and nothing
 * else. */
static void
test_edges(void)
{
    const int64_t n = 4;
    int allowed = 0;

    for (int64_t from = -1; from <= n; from++)
        for (int64_t to = -1; to <= n; to++)
            for (int m = TASK_MARK_NONE; m <= TASK_MARK_UNDO; m++)
                for (int k = TASK_MARK_NONE; k <= TASK_MARK_UNDO; k++)
                    allowed += task_edge_allowed(from, m, to, k, n);
    g_assert_cmpint(allowed, ==,
                    3 /* forwards */ + 4 /* turning back */ + 3 /* back */ + 2 /* ends */ +
                        1 /* again */);
    g_assert_true(task_edge_allowed(0, TASK_MARK_UNDO, 0, TASK_MARK_INTENT, n));
    g_assert_false(task_edge_allowed(1, TASK_MARK_UNDO, 1, TASK_MARK_INTENT, n));
    g_assert_true(task_edge_allowed(0, TASK_MARK_INTENT, 1, TASK_MARK_INTENT, n));
    g_assert_true(task_edge_allowed(3, TASK_MARK_INTENT, 3, TASK_MARK_DONE, n));
    g_assert_false(task_edge_allowed(2, TASK_MARK_INTENT, 2, TASK_MARK_DONE, n));
    g_assert_false(task_edge_allowed(0, TASK_MARK_INTENT, 2, TASK_MARK_INTENT, n));
    g_assert_false(task_edge_allowed(1, TASK_MARK_UNDO, 1, TASK_MARK_DONE, n));
    g_assert_false(task_edge_allowed(1, TASK_MARK_UNDO, 2, TASK_MARK_INTENT, n));
    g_assert_false(task_edge_allowed(1, TASK_MARK_DONE, 1, TASK_MARK_INTENT, n));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/move-judge/rules-hold-for-all-answers", test_rules_hold_for_all);
    g_test_add_func("/move-judge/after-the-deadline", test_after_the_deadline);
    g_test_add_func("/move-judge/what-a-state-means", test_what_a_state_means);
    g_test_add_func("/task/edges", test_edges);
    return g_test_run();
}
