/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* thread.c: threads with a bounded stack, and waiting with a deadline on the monotonic clock */
#include "base/base.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* Dozens of threads per controller: the default of 8 MiB each would be address space for nothing,
 * while libvirt's and SQLite's calls stay far below this. Sanitizers make frames several times as
 * large. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES (1024 * 1024)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STACK_BYTES (1024 * 1024)
#endif
#endif
#ifndef STACK_BYTES
#define STACK_BYTES (256 * 1024)
#endif

typedef struct ThreadStart {
    ThreadFn fn;
    void *opaque;
    char name[16]; /* the kernel's limit, with the terminator */
} ThreadStart;

static void *
thread_main(void *opaque)
{
    ThreadStart start = *(ThreadStart *)opaque;
    g_free(opaque);
    pthread_setname_np(pthread_self(), start.name);
    start.fn(start.opaque);
    return NULL;
}

static pthread_t
thread_make(const char *name, ThreadFn fn, void *opaque, int detach_state)
{
    ThreadStart *start = g_new0(ThreadStart, 1);
    start->fn = fn;
    start->opaque = opaque;
    g_strlcpy(start->name, name, sizeof start->name);

    /* Signals are the main thread's business; those a thread raises by its own fault stay
     * deliverable. */
    sigset_t blocked;
    sigfillset(&blocked);
    static const int own_faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    for (size_t i = 0; i < G_N_ELEMENTS(own_faults); i++)
        sigdelset(&blocked, own_faults[i]);

    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, detach_state);
    pthread_attr_setsigmask_np(&attr, &blocked);
    int rc = pthread_create(&thread, &attr, thread_main, start);
    pthread_attr_destroy(&attr);
    if (rc != 0)
        g_error("cannot start thread \"%s\": %s; raise the limit of tasks (TasksMax, ulimit -u)",
                name, errno_text(rc));
    return thread;
}

pthread_t
thread_start(const char *name, ThreadFn fn, void *opaque)
{
    return thread_make(name, fn, opaque, PTHREAD_CREATE_JOINABLE);
}

void
thread_start_detached(const char *name, ThreadFn fn, void *opaque)
{
    thread_make(name, fn, opaque, PTHREAD_CREATE_DETACHED);
}

void
cond_init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

bool
cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline_us)
{
    if (deadline_us == INT64_MAX) {
        pthread_cond_wait(cond, mutex);
        return true;
    }
    struct timespec deadline = clock_timespec(MAX(deadline_us, 0));
    return pthread_cond_timedwait(cond, mutex, &deadline) != ETIMEDOUT;
}
