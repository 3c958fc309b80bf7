/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fake-world.h: the world behind the fake hypervisor driver; used by the fake's files only */
#pragma once

#include "host/host.h"

#include <stdatomic.h>

enum { /* the world is mapped whole, but only touched pages cost memory */
    FAKE_NODES_MOST = 64,
    FAKE_DOMAINS_MOST = 1024, /* a domain that moves counts on both nodes */
    FAKE_MOVES_MOST = 256,
    FAKE_EVENTS_MOST = 4096,
    FAKE_CPU_MOST = 4096,
    FAKE_JOURNAL_MOST = 32,
    FAKE_DISKS_MOST = 30, /* of one domain */
};

typedef struct FakeDisk {
    char target[8];
    char serial[64]; /* "": none */
    bool defined;    /* in the definition */
    bool live;       /* the guest has it; neither: free slot */
    int64_t size;    /* that the guest was told of; 0: never */
} FakeDisk;

typedef struct FakeDomain { /* one domain on one node */
    int node;               /* 1 …; 0: free slot */
    char uuid[40];
    char name[128];
    char machine[64];
    char cpu[FAKE_CPU_MOST];
    DomainState state;
    bool persistent;
    bool saved;          /* off, its memory is kept; so it stays when the node dies */
    bool ran;            /* since the node was booted */
    bool postcopy_lost;  /* source of a post-copy that broke off */
    int64_t shutdown_at; /* when the guest powers off; 0: never */
    int move;            /* its number + 1 while it takes part in one */
    FakeDisk disks[FAKE_DISKS_MOST];
} FakeDomain;

typedef enum FakeMovePhase {
    FAKE_MOVE_FREE,
    FAKE_MOVE_TRANSFER,
    FAKE_MOVE_SWITCH,   /* source paused, destination not yet resumed */
    FAKE_MOVE_POSTCOPY, /* destination runs, source has memory that it lacks */
    FAKE_MOVE_TEARDOWN, /* destination runs, source not yet gone */
    FAKE_MOVE_ENDED,
} FakeMovePhase;

typedef struct FakeMove {
    FakeMovePhase phase;
    int64_t id; /* slots are used again, ids are not */
    char uuid[40];
    int source, dest;
    unsigned flags;
    FakeFault fault;
    bool paused; /* the guest was paused by somebody at the switch */
    bool postcopy;
    int64_t started_at, transfer_us, teardown_us, pause_us;
    int64_t iteration, downtime_limit_ms, bandwidth_mib_s;
    int64_t ended_at;
    int code; /* ErrCode of the migrate call; 0: it returned success */
    char message[160];
} FakeMove;

typedef struct FakeEvent {
    HostEventKind kind;
    int node;
    char uuid[40];
    DomainChange change;
    int64_t number;
    JobStats stats;
    int64_t at;
} FakeEvent;

typedef struct FakeHead { /* the small part of the state */
    int n_nodes;
    FakeFault faults[FAKE_NODES_MOST + 1];
    int64_t outages[FAKE_NODES_MOST + 1]; /* a connection does not outlive one */
    int64_t transfer_us, teardown_us;
    uint64_t events; /* ever sent; event e is in slot e % FAKE_EVENTS_MOST */
    int64_t moves;   /* ever started */
    int moves_open, shutdowns_open;
    int domains_used; /* slots ever used */
} FakeHead;

typedef struct FakeJournalEntry {
    void *at;
    size_t size;
    char before[sizeof(FakeDomain)];
} FakeJournalEntry;

typedef struct FakeWorld {
    pthread_mutex_t mutex;
    atomic_uint bell; /* futex: rings when something happened */
    bool ring;        /* at unlock */
    int n_journal;
    FakeJournalEntry journal[FAKE_JOURNAL_MOST];
    FakeHead head;
    FakeMove moves[FAKE_MOVES_MOST];
    FakeEvent events[FAKE_EVENTS_MOST];
    FakeDomain domains[FAKE_DOMAINS_MOST];
} FakeWorld;

FakeWorld *fake_world_map(int n_nodes);
void fake_world_unmap(FakeWorld *world);

/* Lock, and bring the world up to now. *due (may be NULL): when something will happen next by
 * itself. */
void fake_world_lock(FakeWorld *world, int64_t *due);
void fake_world_unlock(FakeWorld *world);
/* Wait for the bell to have rung since it was read, at most until (monotonic µs) and at most a
 * second. */
void fake_world_wait(FakeWorld *world, unsigned bell, int64_t until);

/* All below: with the lock. Announce a change of what lies at `at`, so that a process killed in
 * mid-change leaves no half. */
void fake_world_touch(FakeWorld *world, void *at, size_t size);
void fake_world_ring(FakeWorld *world);
bool fake_node_is_reachable(const FakeWorld *world, int node);

FakeDomain *fake_domain_find(FakeWorld *world, int node, const char *uuid);
FakeDomain *fake_domain_add(FakeWorld *world, int node, const char *uuid); /* NULL: full */
void fake_domain_event(FakeWorld *world, const FakeDomain *domain, DomainChange change);
void fake_domain_set_state(FakeWorld *world, FakeDomain *domain, DomainState state);
void fake_domain_shut_down_at(FakeWorld *world, FakeDomain *domain, int64_t at);
/* It runs no more: shut off if persistent, else gone. */
void fake_domain_off(FakeWorld *world, FakeDomain *domain);
void fake_domain_remove(FakeWorld *world, FakeDomain *domain);
/* As domain_destroy: ends a move that it takes part in as the real one would. */
void fake_domain_destroy(FakeWorld *world, FakeDomain *domain);

FakeMove *
fake_move_start(FakeWorld *world, FakeDomain *source, int dest, const MoveSpec *spec, GError **err);
FakeMove *fake_move_of(FakeWorld *world, const FakeDomain *domain); /* NULL: none under way */
/* The last one that ended well and had node as source or destination; NULL: none */
FakeMove *fake_move_completed(FakeWorld *world, int node, const char *uuid);
/* What ends a move that never converges. */
void fake_move_hurry(FakeWorld *world, FakeMove *move);
void fake_move_postcopy(FakeWorld *world, FakeMove *move); /* out of its transfer */
void fake_move_abort(FakeWorld *world, FakeMove *move);
void fake_move_stats(const FakeMove *move, int64_t now, JobStats *stats);
void fake_node_fault(FakeWorld *world, int node, FakeFault fault);

/* fake-disk.c; all with the lock and domain touched */
bool fake_disks_check(const ServerSpec *spec, GError **err);
void fake_disks_define(FakeDomain *domain, const ServerSpec *spec); /* as checked */
void fake_disks_start(FakeDomain *domain); /* the guest gets what the definition has */
void fake_disks_stop(FakeDomain *domain);
/* What the destination of a move has: the source's, as libvirt sends both. */
void fake_disks_move(FakeDomain *to, const FakeDomain *from);
bool fake_disk_attach(HostConn *conn, const char *uuid, const DiskSpec *disk, GError **err);
bool fake_disk_detach(HostConn *conn, const char *uuid, const char *serial, GError **err);
GPtrArray *fake_disk_serials(HostConn *conn, const char *uuid, GError **err);
bool
fake_disk_resize(HostConn *conn, const char *uuid, const char *serial, int64_t size, GError **err);
bool fake_disk_probe(HostConn *conn, const char *uuid, const char *virt_type, const DiskSpec *disk,
                     int64_t *capacity, GError **err);
bool fake_secret_define(HostConn *conn, const char *uuid, const char *usage, const void *value,
                        size_t size, GError **err);

/* fake-memory.c */
bool fake_migrate_postcopy(HostConn *conn, const char *uuid, GError **err);
bool fake_domain_save(HostConn *conn, const char *uuid, GError **err);
bool fake_domain_restore(HostConn *conn, const char *uuid, GError **err);

/* host-fake.c */
/* Begin a call: the world locked and present, the connection alive; else NULL with *err. */
FakeWorld *fake_enter(HostConn *conn, GError **err);
bool fake_leave(FakeWorld *world, bool result); /* unlocks; result */
/* The domain on the connection's node, touched by nobody yet; or NULL with the world unlocked and
 * ERR_NOT_FOUND. */
FakeDomain *fake_need_domain(HostConn *conn, FakeWorld *world, const char *uuid, GError **err);
int fake_conn_node(const HostConn *conn);

/* fake-cpu.c */
char *fake_cpu_of_node(int node);
char *fake_cpu_models(int node); /* JSON array */
char *fake_cpu_choose(const LibvirtSettings *settings, const char *const *host_names,
                      const char *const *cpus, size_t n, char **limit_out, GError **err);
bool fake_cpu_compare(int node, const char *cpu_xml, GError **err);
