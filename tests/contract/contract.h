/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* contract.h: the nodes, guests and moves that the contract tests share */
#pragma once

#include "host/host.h"

enum {
    NODES_MOST = 8
};

typedef struct ContractRig {
    const HostOps *ops;
    HostDriver *world; /* NULL on libvirt */
    Hosts *hosts;
    int n;
    char *names[NODES_MOST];
    char *uris[NODES_MOST];
    const char *dead_uri;
    char *dir; /* shared by all nodes and this machine; NULL: none */
    /* A guest that listens, for libvirt (lab/guest): its disk image, the config drive that gives it
     * its address, the address, the card's MAC address. NULL: none */
    char **guest;
    /* Eight images POOL/NAME0 … POOL/NAME7 of 16 MiB or more; NULL: no Ceph */
    char *rbd_prefix;
    char *rbd_key;
    RbdAccess *rbd;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    GPtrArray *events; /* every HostEvent, in order of arrival */
} ContractRig;
extern ContractRig rig;

/* The whole of main(): arguments, nodes, and add_tests on a thread beside the main loop. */
int contract_main(int argc, char **argv, void (*add_tests)(void));

int64_t soon(void);

/* The place of an event in the order of arrival, at or after from; waits for it. */
unsigned need_event_from(const char *host, const char *uuid, HostEventKind kind,
                         DomainChange change, unsigned from);
unsigned need_change(const char *host, const char *uuid, DomainChange change);
bool had_change(const char *host, const char *uuid, DomainChange change);

typedef struct Guest {
    ServerSpec *spec;
    const char *uuid;
} Guest;
Guest guest_new(void);
/* One whose move can be made to last: even its untouched pages take seconds at 1 MiB/s, though they
 * cost no memory. */
Guest guest_new_big(void);
void guest_start(const Guest *guest, int node);
void guest_end(Guest *guest); /* leaves nothing of it on any node */
DomainInfo *probe(int node, const Guest *guest);
void assert_state(int node, const Guest *guest, DomainState state);

typedef struct MoveWait {
    bool ended;
    GError *error;
} MoveWait;
void move_ended(const char *host, const char *uuid, GError *error, void *opaque);
void move_start(const Guest *guest, int from, const char *dest_uri, bool slowly, MoveWait *wait);
void move_wait(MoveWait *wait);
