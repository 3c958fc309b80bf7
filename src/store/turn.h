/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* turn.h: inside of store/: one at a time, in the order in which they came */
#pragma once

#include "base/base.h"

typedef struct Turn {
    pthread_mutex_t mutex;
    GQueue waiting; /* Waiter * on the stacks of those who wait */
    bool is_taken;
} Turn;

void turn_init(Turn *turn);
void turn_clear(Turn *turn);
/* Wait for one's turn until the deadline (monotonic µs; INT64_MAX: none). false: it passed. */
bool turn_take(Turn *turn, int64_t deadline_us);
void turn_give(Turn *turn);
