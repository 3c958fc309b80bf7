/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guestd.h: what the parts of the test guest's one program share. */

#ifndef GUESTD_H
#define GUESTD_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_BLOCK 4096
#define GUEST_LINE  128 /* of a command */
/* The first block of the data partition; the records follow it. Written when the image is built. */
#define GUEST_DATA_MAGIC "GODWIT-LAB-DATA\n"

typedef struct GuestCounters {
    _Atomic uint64_t tick;     /* ticks printed since this boot */
    _Atomic uint64_t seq;      /* number of the newest record on the disk */
    _Atomic uint64_t boot_seq; /* number of the newest record that this boot found */
    _Atomic uint64_t boot;     /* a random number for each boot; 0 without a data partition */
    _Atomic uint64_t verified; /* records read back and found right since this boot */
    _Atomic uint64_t errors;   /* everything that was not as it must be since this boot */
    _Atomic uint64_t dirty_mib_s;
    _Atomic uint64_t dirty_mib; /* working set */
} GuestCounters;

extern GuestCounters guest_counters;

/* Milliseconds since boot, time in which the guest stood still included or not as its clock has it.
 */
uint64_t guest_uptime_ms(void);
void guest_sleep_ms(unsigned ms);

/* guest_say: one line on the console. guest_error: the same, and counted as an error. */
void guest_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void guest_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* guest_thread: a detached thread, or the end of the program. */
void guest_thread(void *(*body)(void *), void *opaque);

/* Finds the config drive, sets addresses and routes from it, and the dirty rate from its "meta". */
void config_apply(void);

/* Finds the data partition and starts writing and verifying; without one, says so and does neither.
 */
void record_start(void);
/* Writes count records at once. False without a data partition or if a write failed. */
bool record_burst(unsigned count);

/* The disks as a JSON array and a newline; returns its length. */
int disks_text(char *buf, size_t size);
/* Runs a command that begins with "disk-" and answers peer through fd; when it comes again from the
 * same port while it runs, or later, it is not run again. */
void disk_command(int fd, const struct sockaddr_in *peer, const char *line);

/* JSON text, read by position: every function takes and returns a pointer to the start of a value,
 * or NULL. */
const char *json_member(const char *object, const char *name);
const char *json_element(const char *array, unsigned index);
/* Copies a string value (or the text of a number) without its quotes; false if it is neither or
 * does not fit. */
bool json_text(const char *value, char *buf, size_t size);

#endif
