/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault-point.c: fault points: end this process at the k-th one passed
 *
 * SIGKILL, not exit: nothing of ours may run between the point and the end, just as after a power
 * cut. The end comes before the effect the point stands in front of, since no system call of this
 * thread returns after kill(2). */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic bool watched;     /* armed, or logging: the only thing an idle point reads */
static _Atomic uint64_t kill_at; /* 0: never */
static _Atomic uint64_t passed;
static _Atomic int log_fd = -1;

static void
fault_log(int fd, const char *name)
{
    g_autofree char *line = g_strconcat(name, "\n", NULL);
    if (write(fd, line, strlen(line)) < 0)
        g_error("cannot write the log of fault points: %s", errno_text(errno));
}

void
fault_point(const char *name)
{
    if (!atomic_load_explicit(&watched, memory_order_relaxed))
        return;
    uint64_t count = atomic_fetch_add(&passed, 1) + 1;
    int fd = atomic_load(&log_fd);
    if (fd >= 0)
        fault_log(fd, name);
    if (count == atomic_load(&kill_at)) {
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
}

void
fault_arm(uint64_t k)
{
    atomic_store(&passed, 0);
    atomic_store(&kill_at, k);
    atomic_store(&watched, k > 0 || atomic_load(&log_fd) >= 0);
}

uint64_t
fault_passed(void)
{
    return atomic_load(&passed);
}

void
fault_init_from_env(void)
{
    const char *path = getenv("GODWIT_FAULT_LOG");
    if (path != NULL && *path != '\0') {
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0)
            g_error("GODWIT_FAULT_LOG: cannot open %s: %s", path, errno_text(errno));
        atomic_store(&log_fd, fd);
    }
    const char *at = getenv("GODWIT_FAULT_AT");
    int64_t k = 0;
    if (at != NULL && *at != '\0' && !parse_int64(at, 0, INT64_MAX, &k))
        g_error("GODWIT_FAULT_AT must be a number, not \"%s\"", at);
    fault_arm((uint64_t)k);
}
