/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guest-disk.c: the disks that the guest has, and checksummed data on them.
 *
 * A disk that was written begins with a block that says how much follows and from which seed; each
 * block after it follows from the seed and its number, and carries its own checksum. Everything
 * goes past the guest's cache, so what is checked is what the storage gives. A command may take
 * long and its datagram comes again meanwhile: each runs once, in a thread of its own. */

#include "guestd.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOBS       8
#define CHUNK      (256 * GUEST_BLOCK)
#define MIB_MOST   65536
#define MAGIC      "GODWIT-LAB-DISK\n"
#define SERIAL_MAX 20 /* of virtio-blk */

typedef struct DiskHead {
    char magic[16];
    uint64_t seed, blocks, sum;
} DiskHead;

typedef struct DiskJob {
    struct sockaddr_in peer;
    char line[GUEST_LINE];
    char reply[256];
    int fd;
    bool running;
} DiskJob;

static struct {
    pthread_mutex_t lock;
    DiskJob jobs[JOBS];
    unsigned next;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- which disks there are ---------------------------------------------------------------- */
static bool
read_word(const char *disk, const char *file, char *buf, size_t size)
{
    char path[320];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/sys/block/%s/%s", disk, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    n = read(fd, buf, size - 1);
    close(fd);
    if (n < 0) {
        return false;
    }
    buf[n] = '\0';
    for (char *p = buf; *p; p++) {
        if (!isgraph((unsigned char)*p) || *p == '"' || *p == '\\') {
            *p = '\0';
            break;
        }
    }
    return true;
}

static bool
is_disk(const char *name)
{
    return strncmp(name, "vd", 2) == 0 || strncmp(name, "sd", 2) == 0;
}

int
disks_text(char *buf, size_t size)
{
    struct dirent **names;
    size_t used = 0;
    int n = scandir("/sys/block", &names, NULL, alphasort);

    used += (size_t)snprintf(buf, size, "[");
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        char serial[64] = "", sectors[32] = "0";
        if (is_disk(name) && read_word(name, "size", sectors, sizeof(sectors)) &&
            used + 160 < size) {
            read_word(name, "serial", serial, sizeof(serial));
            used += (size_t)snprintf(
                buf + used, size - used, "%s{\"name\":\"%.16s\",\"serial\":\"%s\",\"size\":%llu}",
                used > 1 ? "," : "", name, serial, strtoull(sectors, NULL, 10) * 512);
        }
        free(names[i]);
    }
    if (n >= 0) {
        free(names);
    }
    used += (size_t)snprintf(buf + used, size - used, "]\n");
    return (int)used;
}

/* By its serial, of which the guest sees the first 20 bytes, or by its name. */
static bool
find_disk(const char *wanted, char path[32])
{
    DIR *dir = opendir("/sys/block");
    struct dirent *e;
    bool found = false;

    while (dir && !found && (e = readdir(dir))) {
        char serial[64] = "";
        if (!is_disk(e->d_name)) {
            continue;
        }
        read_word(e->d_name, "serial", serial, sizeof(serial));
        found = strcmp(e->d_name, wanted) == 0 ||
                (*serial && strncmp(serial, wanted, SERIAL_MAX) == 0 &&
                 strlen(serial) == strnlen(wanted, SERIAL_MAX));
        if (found) {
            snprintf(path, 32, "/dev/%.16s", e->d_name);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

/* ---- data --------------------------------------------------------------------------------- */
static uint64_t
mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

static void
fill_block(uint64_t *block, uint64_t seed, uint64_t number)
{
    uint64_t sum = 0, x = mix(seed ^ mix(number));

    for (size_t i = 1; i < GUEST_BLOCK / sizeof(*block); i++) {
        x += 0x9e3779b97f4a7c15ULL;
        block[i] = x ^ x >> 29;
        sum = sum * 31 + block[i];
    }
    block[0] = sum;
}

static uint64_t
head_sum(const DiskHead *head)
{
    return mix(head->seed ^ mix(head->blocks));
}

static const char *
write_data(int fd, unsigned char *buf, uint64_t seed, uint64_t blocks)
{
    DiskHead head = {.magic = MAGIC, .seed = seed, .blocks = blocks};

    for (uint64_t at = 0; at < blocks;) {
        uint64_t n = blocks - at < 256 ? blocks - at : 256;
        for (uint64_t i = 0; i < n; i++) {
            fill_block((uint64_t *)(void *)(buf + i * GUEST_BLOCK), seed, at + i);
        }
        if (pwrite(fd, buf, n * GUEST_BLOCK, (off_t)((at + 1) * GUEST_BLOCK)) !=
            (ssize_t)(n * GUEST_BLOCK)) {
            return "write";
        }
        at += n;
    }
    head.sum = head_sum(&head);
    memset(buf, 0, GUEST_BLOCK);
    memcpy(buf, &head, sizeof(head));
    /* Last, so that a head stands for data that is complete. */
    return fsync(fd) < 0 || pwrite(fd, buf, GUEST_BLOCK, 0) != GUEST_BLOCK || fsync(fd) < 0
               ? "write"
               : NULL;
}

static const char *
check_data(int fd, unsigned char *buf, DiskHead *head, uint64_t *wrong)
{
    static const char magic[] = MAGIC;
    unsigned char expected[GUEST_BLOCK] __attribute__((aligned(8)));

    *wrong = 0;
    if (pread(fd, buf, GUEST_BLOCK, 0) != GUEST_BLOCK) {
        return "read";
    }
    memcpy(head, buf, sizeof(*head));
    if (memcmp(head->magic, magic, sizeof(head->magic)) != 0 || head->sum != head_sum(head)) {
        errno = ENODATA;
        return "find what was written";
    }
    for (uint64_t at = 0; at < head->blocks;) {
        uint64_t n = head->blocks - at < 256 ? head->blocks - at : 256;
        if (pread(fd, buf, n * GUEST_BLOCK, (off_t)((at + 1) * GUEST_BLOCK)) !=
            (ssize_t)(n * GUEST_BLOCK)) {
            return "read";
        }
        for (uint64_t i = 0; i < n; i++) {
            fill_block((uint64_t *)(void *)expected, head->seed, at + i);
            *wrong += memcmp(buf + i * GUEST_BLOCK, expected, GUEST_BLOCK) != 0;
        }
        at += n;
    }
    return NULL;
}

/* ---- commands ----------------------------------------------------------------------------- */
static void
run_command(const char *line, char *reply, size_t size)
{
    char verb[16], wanted[64], path[32];
    unsigned long long seed = 0, mib = 0;
    int fields = sscanf(line, "%15s %63s %llu %llu", verb, wanted, &seed, &mib);
    bool writes = strcmp(verb, "disk-write") == 0;
    unsigned char *buf = aligned_alloc(GUEST_BLOCK, CHUNK);
    const char *failed = NULL;
    uint64_t wrong = 0;
    DiskHead head = {.seed = seed, .blocks = mib * (1048576 / GUEST_BLOCK)};
    int fd = -1;

    if (!buf || (writes ? fields != 4 || mib < 1 || mib > MIB_MOST : fields != 2)) {
        snprintf(reply, size, "error: disk-write SERIAL SEED MIB, disk-check SERIAL\n");
    } else if (!find_disk(wanted, path)) {
        snprintf(reply, size, "error: no disk %s\n", wanted);
    } else if ((fd = open(path, (writes ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC)) < 0) {
        snprintf(reply, size, "error: open %s: %s\n", path, strerror(errno));
    } else if ((failed = writes ? write_data(fd, buf, seed, head.blocks)
                                : check_data(fd, buf, &head, &wrong))) {
        snprintf(reply, size, "error: %s %s: %s\n", failed, path, strerror(errno));
    } else if (wrong > 0) {
        snprintf(reply, size, "error: %llu of %llu blocks of %s are wrong\n",
                 (unsigned long long)wrong, (unsigned long long)head.blocks, path);
    } else {
        snprintf(reply, size, "{\"disk\":\"%s\",\"seed\":%llu,\"mib\":%llu}\n", path,
                 (unsigned long long)head.seed,
                 (unsigned long long)head.blocks * GUEST_BLOCK / 1048576);
    }
    if (fd >= 0) {
        close(fd);
    }
    free(buf);
}

static void *
job_main(void *opaque)
{
    DiskJob *job = opaque;
    char reply[sizeof(job->reply)];

    /* The rest of the job stays as it is while it is running. */
    run_command(job->line, reply, sizeof(reply));
    pthread_mutex_lock(&state.lock);
    memcpy(job->reply, reply, sizeof(reply));
    job->running = false;
    sendto(job->fd, job->reply, strlen(job->reply), 0, (struct sockaddr *)&job->peer,
           sizeof(job->peer));
    pthread_mutex_unlock(&state.lock);
    return NULL;
}

static DiskJob *
find_job(const struct sockaddr_in *peer, const char *line)
{
    for (unsigned i = 0; i < JOBS; i++) {
        DiskJob *job = &state.jobs[i];
        if (job->peer.sin_port == peer->sin_port &&
            job->peer.sin_addr.s_addr == peer->sin_addr.s_addr && strcmp(job->line, line) == 0) {
            return job;
        }
    }
    return NULL;
}

void
disk_command(int fd, const struct sockaddr_in *peer, const char *line)
{
    static const char busy[] = "error: too many commands at once\n";
    const char *now = NULL;
    DiskJob *job;

    pthread_mutex_lock(&state.lock);
    job = find_job(peer, line);
    if (job) {
        now = job->running ? NULL : job->reply;
    } else if (state.jobs[state.next % JOBS].running) {
        now = busy;
    } else {
        job = &state.jobs[state.next++ % JOBS];
        *job = (DiskJob){.peer = *peer, .fd = fd, .running = true};
        snprintf(job->line, sizeof(job->line), "%s", line);
        guest_thread(job_main, job);
    }
    if (now) {
        sendto(fd, now, strlen(now), 0, (const struct sockaddr *)peer, sizeof(*peer));
    }
    pthread_mutex_unlock(&state.lock);
}
