/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* turn.c: one at a time, in the order in which they came. A mutex lets a busy thread take it again
 * and again: the writer would starve the readers of a shared connection. */
#include "store/turn.h"

typedef struct Waiter {
    pthread_cond_t granted;
    bool has_turn;
} Waiter;

void
turn_init(Turn *turn)
{
    pthread_mutex_init(&turn->mutex, NULL);
    g_queue_init(&turn->waiting);
    turn->is_taken = false;
}

void
turn_clear(Turn *turn)
{
    pthread_mutex_destroy(&turn->mutex);
}

bool
turn_take(Turn *turn, int64_t deadline_us)
{
    WITH_MUTEX(&turn->mutex);
    if (!turn->is_taken) {
        turn->is_taken = true;
        return true;
    }
    Waiter self = {.has_turn = false};
    cond_init_monotonic(&self.granted);
    g_queue_push_tail(&turn->waiting, &self);
    while (!self.has_turn && cond_wait_until(&self.granted, &turn->mutex, deadline_us))
        ;
    if (!self.has_turn)
        g_queue_remove(&turn->waiting, &self);
    pthread_cond_destroy(&self.granted);
    return self.has_turn;
}

/* The turn goes from hand to hand: it is free only when nobody waits. */
void
turn_give(Turn *turn)
{
    WITH_MUTEX(&turn->mutex);
    Waiter *next = g_queue_pop_head(&turn->waiting);
    if (next == NULL) {
        turn->is_taken = false;
        return;
    }
    next->has_turn = true;
    pthread_cond_signal(&next->granted);
}
