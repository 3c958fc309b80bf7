/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lease-guard.c: until when this process may act
 *
 * A renewal counts from the moment before it was sent, and lasts shorter than the lock that the
 * cluster holds for us: whatever happens to us (stopped, cut off, stuck in a library), our own
 * clock says "over" before anybody else can own the lease. The watchdog looks at nothing but that
 * time and ends the process; it takes no lock that another thread holds for long, and allocates
 * nothing.
 *
 * What a process that was stopped and continued can still do: a thread that had passed the check
 * and was stopped before its system call makes that one call. An answer sent so tells what was true
 * when it was checked, as one that was long on its way; a call to a node is one step of a task, and
 * the new owner probes every open step before it goes on; a write to the cluster comes from a
 * blocklisted client. Everything that begins after the continuation is refused by the check. */
#include "store/lease.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WATCH_SLICE_US (200 * USEC_PER_MSEC)
/* systemd and scripts can tell it from a failure: somebody else is at work. */
#define EXIT_LEASE_LOST 75

struct LeaseGuard {
    int64_t valid_us;
    int64_t (*clock)(void);
    LeaseLostFn lost;
    void *opaque;
    _Atomic int64_t valid_until; /* 0: not held */
    atomic_bool is_lost, is_released;
    bool is_watched;
    pthread_t watchdog;
    pthread_mutex_t mutex; /* with the condition: only for the watchdog's end */
    pthread_cond_t released;
};

int64_t
lease_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * USEC_PER_SEC + now.tv_nsec / 1000;
}

static void
say(const char *text)
{
    size_t length = strlen(text);

    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, text, length);

        if (written <= 0)
            return;
        text += written;
        length -= (size_t)written;
    }
}

/* Async-signal-safe. */
static void
lost_by_default(const char *why, void *opaque)
{
    say("error lease this controller ends at once, another one may act: ");
    say(why);
    say("\n");
    _exit(EXIT_LEASE_LOST);
}

LeaseGuard *
lease_guard_new(int64_t valid_us, LeaseLostFn lost, void *opaque, int64_t (*clock)(void))
{
    LeaseGuard *guard = g_new0(LeaseGuard, 1);

    guard->valid_us = valid_us;
    guard->lost = lost != NULL ? lost : lost_by_default;
    guard->opaque = opaque;
    guard->clock = clock != NULL ? clock : lease_clock;
    pthread_mutex_init(&guard->mutex, NULL);
    cond_init_monotonic(&guard->released);
    return guard;
}

void
lease_guard_renewed(LeaseGuard *guard, int64_t sent_us)
{
    int64_t until = sent_us + guard->valid_us;

    if (until > atomic_load(&guard->valid_until))
        atomic_store(&guard->valid_until, until);
}

bool
lease_guard_valid(const LeaseGuard *guard)
{
    return !atomic_load(&guard->is_lost) && !atomic_load(&guard->is_released) &&
           guard->clock() < atomic_load(&guard->valid_until);
}

void
lease_guard_lose(LeaseGuard *guard, const char *why)
{
    if (!atomic_load(&guard->is_released) && !atomic_exchange(&guard->is_lost, true))
        guard->lost(why, guard->opaque);
}

void
lease_guard_check(LeaseGuard *guard)
{
    if (guard->clock() >= atomic_load(&guard->valid_until))
        lease_guard_lose(guard, "the lease could not be renewed in time (cluster not reachable, or "
                                "this process was stopped)");
}

/* In slices: the time to wait for moves on with each renewal, and a condition's clock stands still
 * while the machine sleeps. */
static bool
watchdog_wait(LeaseGuard *guard)
{
    int64_t left = atomic_load(&guard->valid_until) - guard->clock();
    int64_t until = clock_monotonic() + CLAMP(left, 0, WATCH_SLICE_US);

    WITH_MUTEX(&guard->mutex);
    while (!atomic_load(&guard->is_released) &&
           cond_wait_until(&guard->released, &guard->mutex, until))
        ;
    return !atomic_load(&guard->is_released);
}

static void
watchdog_main(void *opaque)
{
    LeaseGuard *guard = opaque;

    while (!atomic_load(&guard->is_lost) && watchdog_wait(guard))
        lease_guard_check(guard);
}

void
lease_guard_watch(LeaseGuard *guard)
{
    guard->is_watched = true;
    guard->watchdog = thread_start("lease-watchdog", watchdog_main, guard);
}

void
lease_guard_release(LeaseGuard *guard)
{
    WITH_MUTEX(&guard->mutex);
    atomic_store(&guard->is_released, true);
    pthread_cond_broadcast(&guard->released);
}

void
lease_guard_free(LeaseGuard *guard)
{
    if (guard == NULL)
        return;
    lease_guard_release(guard);
    if (guard->is_watched)
        pthread_join(guard->watchdog, NULL);
    pthread_cond_destroy(&guard->released);
    pthread_mutex_destroy(&guard->mutex);
    g_free(guard);
}
