/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* predict.c: how long a move takes, whether it ends, and how long a pause it may ask for
 *
 * Pre-copy sends R bytes in R/L seconds while the guest dirties D bytes a second: the next pass has
 * R·D/L to send. With r = D/L the passes are a geometric series, which falls below what the
 * downtime limit T can carry (T·L) if r < 1. Its length and sum have closed forms, so a prediction
 * costs the same for a thousand passes as for one. */

#include <math.h>

#include "model/model.h"

/* A move that would need more passes or more time than this does not end for any practical purpose.
 */
#define MOST_PASSES 100000.0
#define MOST_MS     (10.0 * 365 * 86400 * 1000)

static int64_t
whole_ms(double ms)
{
    return (int64_t)ceil(ms - 1e-6);
}

MovePrediction
predict_move(int64_t remaining, int64_t link_bps, int64_t dirty_bps, int64_t downtime_limit_ms)
{
    MovePrediction prediction = {.total_ms = -1, .downtime_ms = -1};
    double limit = (double)MAX(downtime_limit_ms, 0);
    double first, ratio, passes, total, pause;

    if (remaining < 0 || link_bps <= 0)
        return prediction;
    first = (double)remaining * 1000.0 / (double)link_bps;
    ratio = (double)MAX(dirty_bps, 0) / (double)link_bps;
    /* Without a converging pass the guest must wait for all that is left. */
    if (first < MOST_MS)
        prediction.downtime_ms = whole_ms(first);

    if (first <= limit)
        passes = 0;
    else if (ratio <= 0)
        passes = 1;
    else if (ratio >= 1 || limit <= 0)
        return prediction;
    else
        passes = ceil(log(limit / first) / log(ratio) - 1e-9);
    if (!(passes <= MOST_PASSES))
        return prediction;

    pause = first * pow(ratio, passes);
    if (passes == 0)
        total = first;
    else
        total = first * (1 - pow(ratio, passes + 1)) / (1 - ratio);
    if (!(total < MOST_MS))
        return prediction;

    prediction.converges = true;
    prediction.iterations = (int64_t)passes;
    prediction.downtime_ms = MIN(whole_ms(pause), MAX(downtime_limit_ms, 0));
    prediction.total_ms = whole_ms(total);
    return prediction;
}

/* The pause is as long as the limit lets QEMU believe it may be, so a limit higher than needed is
 * paid by every guest. It is raised only after the first whole pass (what remains before that says
 * nothing about the guest), at most to what the rest demands with a tenth to spare, and at most
 * doubled at a time: a guest that is converging by itself ends before the limit is high, and one
 * that is not reaches the ceiling within a few passes. */
int64_t
downtime_next_limit(int64_t current_ms, int64_t ceiling_ms, int64_t iteration, int64_t remaining,
                    int64_t link_bps)
{
    double needed;

    if (iteration < 2 || link_bps <= 0 || remaining <= 0 || current_ms >= ceiling_ms)
        return current_ms;
    needed = ceil((double)remaining * 1100.0 / (double)link_bps);
    needed = MIN(needed, (double)MAX(current_ms, 1) * 2);
    needed = MIN(needed, (double)ceiling_ms);
    return MAX(current_ms, (int64_t)needed);
}
