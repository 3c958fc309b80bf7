/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guest-record.c: numbered, checksummed records on the disk, written and read back all the time.
 *
 * The data partition is one head block and then a ring of slots; record N lies in slot N mod slots.
 * Every record goes straight to the disk (O_DIRECT, O_DSYNC), so what was reported as written must
 * be there after a crash. A boot goes on after the highest valid record; all that the ring still
 * has to hold before it must be there. The checksums of the records of this boot are kept in
 * memory: a second writer on the same disk would write valid records too, but others. */

#include "guestd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define RECORD_MAGIC 0x474f445749543031ULL
#define SLOTS_MAX    8192
#define WRITE_MS     100
#define VERIFY_MS    20

typedef struct Record {
    uint64_t magic;
    uint64_t checksum; /* over the block with this field 0 */
    uint64_t seq;
    uint64_t time_ns; /* of the real-time clock */
    uint64_t uptime_ms;
    uint64_t boot; /* a random number for each boot */
    uint64_t fill[GUEST_BLOCK / 8 - 6];
} Record;

_Static_assert(sizeof(Record) == GUEST_BLOCK, "a record is one block");

static struct {
    int fd;
    uint64_t slots;
    uint64_t boot;
    uint64_t *written; /* checksum of the record in each slot, 0 if this boot did not write it */
    pthread_mutex_t lock;
} ring = {.fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t
record_checksum(const Record *r)
{
    const uint64_t *w = (const uint64_t *)r;
    uint64_t h = 0xcbf29ce484222325ULL;

    for (size_t i = 0; i < GUEST_BLOCK / 8; i++) {
        h = (h ^ (i == 1 ? 0 : w[i])) * 0x100000001b3ULL;
        h ^= h >> 29;
    }
    return h;
}

static off_t
slot_offset(uint64_t seq)
{
    return (off_t)((1 + seq % ring.slots) * GUEST_BLOCK);
}

static bool
record_read(uint64_t seq, Record *r)
{
    return pread(ring.fd, r, GUEST_BLOCK, slot_offset(seq)) == GUEST_BLOCK;
}

static bool
record_valid(const Record *r)
{
    return r->magic == RECORD_MAGIC && r->seq > 0 && r->checksum == record_checksum(r);
}

static void *
block_alloc(void)
{
    void *p = NULL;

    if (posix_memalign(&p, GUEST_BLOCK, GUEST_BLOCK) != 0) {
        guest_error("out of memory");
    }
    return p;
}

/* Called with the lock held. */
static bool
record_write(Record *r)
{
    uint64_t seq = guest_counters.seq + 1;
    struct timespec now;
    uint64_t x = seq * 0x9e3779b97f4a7c15ULL ^ ring.boot;

    clock_gettime(CLOCK_REALTIME, &now);
    r->magic = RECORD_MAGIC;
    r->seq = seq;
    r->time_ns = (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
    r->uptime_ms = guest_uptime_ms();
    r->boot = ring.boot;
    for (size_t i = 0; i < sizeof(r->fill) / sizeof(r->fill[0]); i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        r->fill[i] = x;
    }
    r->checksum = record_checksum(r);
    if (pwrite(ring.fd, r, GUEST_BLOCK, slot_offset(seq)) != GUEST_BLOCK) {
        guest_error("record %llu: write: %s", (unsigned long long)seq, strerror(errno));
        return false;
    }
    ring.written[seq % ring.slots] = r->checksum;
    guest_counters.seq = seq;
    return true;
}

bool
record_burst(unsigned count)
{
    Record *r = ring.fd >= 0 ? block_alloc() : NULL;
    bool ok = r != NULL;

    pthread_mutex_lock(&ring.lock);
    for (unsigned i = 0; ok && i < count; i++) {
        ok = record_write(r);
    }
    pthread_mutex_unlock(&ring.lock);
    free(r);
    return ok;
}

static void *
writer_main(void *unused)
{
    (void)unused;
    for (;;) {
        record_burst(1);
        guest_sleep_ms(WRITE_MS);
    }
    return NULL;
}

/* The oldest record that must still be there: a torn write may have cost the slot after the newest.
 */
static uint64_t
oldest_expected(uint64_t newest)
{
    return newest >= ring.slots ? newest - ring.slots + 2 : 1;
}

static void
verify_one(uint64_t seq, Record *r)
{
    uint64_t known;

    /* Under the lock the slot cannot be overwritten between the check of its number and the read.
     */
    pthread_mutex_lock(&ring.lock);
    if (seq < oldest_expected(guest_counters.seq)) {
        pthread_mutex_unlock(&ring.lock);
        return;
    }
    known = ring.written[seq % ring.slots];
    if (!record_read(seq, r)) {
        guest_error("record %llu: read: %s", (unsigned long long)seq, strerror(errno));
    } else if (!record_valid(r) || r->seq != seq) {
        guest_error("record %llu: not there or damaged (found %llu)", (unsigned long long)seq,
                    (unsigned long long)r->seq);
    } else if (known && known != r->checksum) {
        guest_error("record %llu: another writer's", (unsigned long long)seq);
    } else {
        guest_counters.verified++;
    }
    pthread_mutex_unlock(&ring.lock);
}

static void *
verifier_main(void *unused)
{
    Record *r = block_alloc();
    uint64_t seq = 0;

    (void)unused;
    while (r) {
        uint64_t newest = guest_counters.seq;
        uint64_t oldest = oldest_expected(newest);
        if (newest > 0) {
            seq = seq + 1 < oldest || seq >= newest ? oldest : seq + 1;
            verify_one(seq, r);
        }
        guest_sleep_ms(VERIFY_MS);
    }
    return NULL;
}

/* The highest valid record, 0 if there is none. Reads in large pieces: the boot waits for it. */
static uint64_t
find_newest(void)
{
    const size_t piece = 256;
    char *buf = NULL;
    uint64_t newest = 0;

    if (posix_memalign((void **)&buf, GUEST_BLOCK, piece * GUEST_BLOCK) != 0) {
        return 0;
    }
    for (uint64_t slot = 0; slot < ring.slots; slot += piece) {
        size_t n = ring.slots - slot < piece ? (size_t)(ring.slots - slot) : piece;
        ssize_t got = pread(ring.fd, buf, n * GUEST_BLOCK, slot_offset(slot));
        if (got != (ssize_t)(n * GUEST_BLOCK)) {
            guest_error("data partition: read: %s", strerror(errno));
            break;
        }
        for (size_t i = 0; i < n; i++) {
            const Record *r = (const Record *)(buf + i * GUEST_BLOCK);
            if (r->magic == RECORD_MAGIC && r->seq > newest && record_valid(r)) {
                newest = r->seq;
            }
        }
        /* Slots are filled in order: where the first ones are empty, all are. */
        if (newest == 0 && slot > 0) {
            break;
        }
    }
    free(buf);
    return newest;
}

static bool
open_data(const char *dev)
{
    char *head = block_alloc();
    int fd = open(dev, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
    off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    bool ok = head && size > 2 * GUEST_BLOCK && pread(fd, head, GUEST_BLOCK, 0) == GUEST_BLOCK &&
              memcmp(head, GUEST_DATA_MAGIC, strlen(GUEST_DATA_MAGIC)) == 0;

    if (ok) {
        ring.fd = fd;
        ring.slots = (uint64_t)size / GUEST_BLOCK - 1;
        ring.slots = ring.slots > SLOTS_MAX ? SLOTS_MAX : ring.slots;
    } else if (fd >= 0) {
        close(fd);
    }
    free(head);
    return ok;
}

void
record_start(void)
{
    char dev[] = "/dev/vda2";

    while (dev[7] <= 'z' && !open_data(dev)) {
        dev[7]++;
    }
    if (ring.fd < 0) {
        guest_say("no data partition: nothing is written");
        return;
    }
    ring.written = calloc(ring.slots, sizeof(uint64_t));
    /* It only has to differ from boot to boot; good randomness would be waited for. */
    if (!ring.written || getrandom(&ring.boot, sizeof(ring.boot), GRND_INSECURE) < 0) {
        guest_error("data partition: cannot prepare");
        return;
    }
    guest_counters.boot = ring.boot;
    guest_counters.boot_seq = guest_counters.seq = find_newest();
    guest_say("%s: %llu slots, newest record %llu", dev, (unsigned long long)ring.slots,
              (unsigned long long)guest_counters.seq);
    guest_thread(writer_main, NULL);
    guest_thread(verifier_main, NULL);
}
