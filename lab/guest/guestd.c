/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guestd.c: the test guest's one program.
 *
 * It is process 1 once init has loaded the modules. It ticks on the console, keeps records on the
 * disk (guest-record.c), dirties memory at a given rate, and answers one-line commands on UDP port
 * 7777, each with one line:
 * - status: the counters as JSON
 * - dirty MIB_S [SIZE_MIB]: dirty that much memory a second within a working set of that size; then
 *   as status
 * - write-burst: 256 records at once; then as status
 * - disks: name, serial and size of every disk, as JSON
 * - disk-write SERIAL SEED MIB, disk-check SERIAL: checksummed data on a disk (guest-disk.c)
 * - poweroff, reboot: "ok", and then it does so
 *
 * The power button powers it off. */

#include "guestd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PORT       7777
#define TICK_MS    200
#define DIRTY_MS   20
#define PAGE       4096
#define BUTTONS    8
#define DIRTY_SIZE 64 /* MiB, unless told otherwise */

GuestCounters guest_counters = {.dirty_mib = DIRTY_SIZE};

static uint64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t
guest_uptime_ms(void)
{
    return now_ms();
}

void
guest_sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

static void
say(const char *format, va_list args)
{
    char line[256];
    int n = vsnprintf(line, sizeof(line) - 1, format, args);

    if (n > (int)sizeof(line) - 2) {
        n = (int)sizeof(line) - 2;
    }
    line[n] = '\n';
    /* One write, so that lines of several threads do not mix. A console that takes nothing is no
     * error. */
    if (write(STDOUT_FILENO, line, (size_t)n + 1) < 0) {
        return;
    }
}

void
guest_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
}

void
guest_error(const char *format, ...)
{
    char text[220];
    va_list args;

    guest_counters.errors++;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    guest_say("ERROR %s", text);
}

void
guest_thread(void *(*body)(void *), void *opaque)
{
    pthread_t t;

    if (pthread_create(&t, NULL, body, opaque) != 0) {
        guest_error("cannot start a thread");
        return;
    }
    pthread_detach(t);
}

static void *
tick_main(void *unused)
{
    uint64_t next = now_ms();

    (void)unused;
    for (;;) {
        uint64_t now = now_ms();
        /* The record that was acknowledged last stands beside it: what is on the console must be on
         * the disk. */
        guest_say("tick %llu %llu.%02llu seq %llu boot %016llx",
                  (unsigned long long)++guest_counters.tick, (unsigned long long)now / 1000,
                  (unsigned long long)now % 1000 / 10, (unsigned long long)guest_counters.seq,
                  (unsigned long long)guest_counters.boot);
        next += TICK_MS;
        /* After a pause it goes on at its pace and does not catch up. */
        if (next + TICK_MS < now) {
            next = now + TICK_MS;
        }
        now = now_ms();
        guest_sleep_ms(next > now ? (unsigned)(next - now) : 0);
    }
    return NULL;
}

/* Memory that neither compresses away nor looks like a page of zeros. */
static unsigned char *
dirty_area(size_t bytes)
{
    uint64_t x = 0x9e3779b97f4a7c15ULL;
    uint64_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (p == MAP_FAILED) {
        return NULL;
    }
    for (size_t i = 0; i < bytes / sizeof(*p); i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = x;
    }
    return (unsigned char *)p;
}

static size_t
dirty_limit(uint64_t mib)
{
    struct sysinfo info;
    uint64_t half;

    sysinfo(&info);
    half = (uint64_t)info.totalram * info.mem_unit / 2;
    if (mib == 0) {
        mib = 1;
    }
    return (size_t)(mib > half >> 20 ? half & ~(uint64_t)(PAGE - 1) : mib << 20);
}

/* Writes a changing value into one cache line of so many pages a second, in turn through the
 * working set. */
static void *
dirty_main(void *unused)
{
    unsigned char *area = NULL;
    size_t bytes = 0, at = 0;
    uint64_t value = 0, owed = 0, last = now_ms();

    (void)unused;
    for (;;) {
        uint64_t rate = guest_counters.dirty_mib_s, now = now_ms(), past = now - last;
        size_t want = dirty_limit(guest_counters.dirty_mib);
        last = now;
        if (rate > 0 && want != bytes) {
            if (area) {
                munmap(area, bytes);
            }
            area = dirty_area(want);
            bytes = area ? want : 0;
            at = 0;
            owed = 0;
            last = now_ms();
        } else if (rate > 0 && area) {
            /* In thousandths of a page; a pause is not made up for. */
            owed += rate * 256 * (past > 5 * DIRTY_MS ? 5 * DIRTY_MS : past);
            for (; owed >= 1000; owed -= 1000) {
                memcpy(area + at, &value, sizeof(value));
                value++;
                at = at + PAGE < bytes ? at + PAGE : 0;
            }
        }
        guest_sleep_ms(rate > 0 ? DIRTY_MS : 5 * DIRTY_MS);
    }
    return NULL;
}

static void
power(int how)
{
    sync();
    reboot(how);
    guest_error("reboot: %s", strerror(errno));
}

static int
status_text(char *buf, size_t size)
{
    GuestCounters *c = &guest_counters;

    return snprintf(buf, size,
                    "{\"tick\":%llu,\"seq\":%llu,\"verified\":%llu,\"errors\":%llu,"
                    "\"dirty_mib_s\":%llu,\"boot_seq\":%llu,\"uptime_ms\":%llu,"
                    "\"boot\":\"%016llx\"}\n",
                    (unsigned long long)c->tick, (unsigned long long)c->seq,
                    (unsigned long long)c->verified, (unsigned long long)c->errors,
                    (unsigned long long)c->dirty_mib_s, (unsigned long long)c->boot_seq,
                    (unsigned long long)guest_uptime_ms(), (unsigned long long)c->boot);
}

/* Answers one datagram; what the command asks for besides (power) is done after the answer. */
static void
answer(int fd)
{
    static char reply[8192]; /* one answer at a time */
    char line[GUEST_LINE];
    struct sockaddr_in peer;
    socklen_t length = sizeof(peer);
    unsigned long long rate, size;
    int how = -1, n, fields;
    ssize_t got =
        recvfrom(fd, line, sizeof(line) - 1, MSG_DONTWAIT, (struct sockaddr *)&peer, &length);

    if (got < 0) {
        return;
    }
    line[got] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    n = snprintf(reply, sizeof(reply), "ok\n");
    if (strcmp(line, "poweroff") == 0) {
        how = RB_POWER_OFF;
    } else if (strcmp(line, "reboot") == 0) {
        how = RB_AUTOBOOT;
    } else if (strcmp(line, "status") == 0) {
        n = status_text(reply, sizeof(reply));
    } else if (strcmp(line, "disks") == 0) {
        n = disks_text(reply, sizeof(reply));
    } else if (strncmp(line, "disk-", 5) == 0) {
        disk_command(fd, &peer, line);
        return;
    } else if (strcmp(line, "write-burst") == 0) {
        n = record_burst(256) ? status_text(reply, sizeof(reply))
                              : snprintf(reply, sizeof(reply), "error: not written\n");
    } else if ((fields = sscanf(line, "dirty %llu %llu", &rate, &size)) >= 1) {
        if (fields == 2) {
            guest_counters.dirty_mib = size;
        }
        guest_counters.dirty_mib_s = rate;
        n = status_text(reply, sizeof(reply));
    } else {
        n = snprintf(reply, sizeof(reply), "error: unknown command\n");
    }
    sendto(fd, reply, (size_t)n, 0, (struct sockaddr *)&peer, length);
    if (how >= 0) {
        /* The answer is still in the card's queue. */
        guest_sleep_ms(50);
        power(how);
    }
}

static void
button_read(int fd)
{
    struct input_event e;

    while (read(fd, &e, sizeof(e)) == (ssize_t)sizeof(e)) {
        if (e.type == EV_KEY && e.code == KEY_POWER && e.value == 1) {
            guest_say("power button");
            power(RB_POWER_OFF);
        }
    }
}

static nfds_t
open_inputs(struct pollfd *fds)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    nfds_t n = 0;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0) {
        guest_error("udp port %d: %s", PORT, strerror(errno));
    }
    fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
    for (int i = 0; i < BUTTONS; i++) {
        char path[32];
        snprintf(path, sizeof(path), "/dev/input/event%d", i);
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0) {
            fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
        }
    }
    return n;
}

int
main(void)
{
    struct pollfd fds[1 + BUTTONS];
    nfds_t n;

    guest_thread(tick_main, NULL);
    config_apply();
    guest_thread(dirty_main, NULL);
    record_start();
    n = open_inputs(fds);
    guest_say("ready");
    for (;;) {
        if (poll(fds, n, 1000) > 0) {
            for (nfds_t i = 0; i < n; i++) {
                if (fds[i].revents && i == 0) {
                    answer(fds[i].fd);
                } else if (fds[i].revents) {
                    button_read(fds[i].fd);
                }
            }
        }
        /* It is process 1: whoever lost its parent is its child. */
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
}
