/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* prepare.h: turns Linux machines into compute nodes, over the operator's own ssh */
#pragma once

#include "base/base.h"

/* ---- which machine ------------------------------------------------------------------------------
 * "[user@]host[:port]"; an IPv6 address stands in brackets. The host may be an alias of the
 * operator's ssh configuration. Everything that could be taken for an option or for a word of a
 * shell is refused here, once, before anything is run: "-oProxyCommand=…", "$(reboot)", a line
 * break. */
typedef struct NodeTarget {
    char *text;    /* as given, for messages */
    char *user;    /* NULL: whom ssh chooses */
    char *host;    /* without brackets */
    unsigned port; /* 0: what ssh chooses */
} NodeTarget;

NodeTarget *node_target_parse(const char *text, GError **err);
void node_target_free(NodeTarget *target);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NodeTarget, node_target_free)

/* ---- how nodes talk to each other -------------------------------------------------------------
 */
typedef enum PrepareTransport {
    TRANSPORT_TLS, /* 16514, mutual certificates, QEMU's stream encrypted too */
    TRANSPORT_SSH, /* libvirt through ssh, QEMU's stream encrypted by TLS */
    TRANSPORT_TCP, /* 16509, no authentication, plaintext: the firewall is all there is */
    N_TRANSPORTS,
} PrepareTransport;

extern const char *const transport_names[N_TRANSPORTS];
bool transport_parse(const char *name, PrepareTransport *transport);

/* ---- preparing (prepare-run.c) ------------------------------------------------------------------
 *
 * All nodes at once, each in a thread of its own, in four parts; a part begins when every node has
 * ended the one before:
 *
 *   look     connect, system, packages, addresses
 *   keys     ssh keys, where asked for
 *   change   certificates, firewall, configuration, units, restart, listening
 *   verify   every node is reached from every other one
 *
 * If looking fails on one node, nothing is changed on any, apart from packages that are installed
 * by then. What holds already is left alone, and said to be. */
typedef enum StepState {
    STEP_RUNNING,
    STEP_SAME,    /* it held already */
    STEP_CHANGED, /* or, in a dry run: would be changed */
    STEP_FAILED,
} StepState;

typedef struct PrepareEvents {
    /* Never two at a time. detail may be several lines (a difference); NULL: nothing to add. */
    void (*on_step)(void *opaque, unsigned node, const char *step, StepState state,
                    const char *detail);
    /* Sign a request made on a node; role: "libvirt" or "qemu". names: DNS names and addresses,
     * NULL-ended. *certificate: PEM, yours. */
    bool (*sign)(void *opaque, const char *role, const char *host, const char *csr,
                 const char *const *names, char **certificate, GError **err);
    void *opaque;
} PrepareEvents;

typedef struct PrepareOptions {
    PrepareTransport transport;
    bool listen;                    /* libvirtd --listen instead of systemd's sockets */
    bool ceph;                      /* disks on Ceph: its packages too */
    bool plaintext_accepted;        /* tcp without a firewall */
    bool firewall;                  /* Godwit's own table; false leaves the node's firewall alone */
    bool dry_run;                   /* look and show, change nothing */
    bool static_ownership;          /* dynamic_ownership = 0 */
    const char *listen_address;     /* numeric; NULL: all */
    const char *user, *group;       /* whom QEMU runs as; NULL: the distribution's */
    unsigned moves;                 /* at one time, that a node shall carry */
    const char *const *controllers; /* numeric addresses, NULL-ended */
    const char *const *peers;       /* the same of compute nodes that are not named now; or NULL */
    const char *ceph_conf;          /* for /etc/ceph/ceph.conf; NULL: that file is left alone */
    const char *mesh_user;          /* may run commands on every other node by ssh; NULL: nobody */
    bool mesh_shell;                /* give that user a shell if he has none */
    const char *ca;                 /* PEM; NULL with transports that need none */
    const char *ssh_config;         /* ssh -F; NULL: the operator's */
    int cancel_fd;                  /* readable: stop; -1: never */
} PrepareOptions;

/* true if every node is prepared and verified. Otherwise *err says which are not; what failed on
 * each was told to on_step. Idempotent. Blocks, for minutes when packages are installed. */
bool prepare_hosts(const NodeTarget *const *targets, unsigned n, const PrepareOptions *options,
                   const PrepareEvents *events, GError **err);
/* Put the files back, and the daemons with them; packages stay, and so do certificates. */
bool prepare_undo(const NodeTarget *const *targets, unsigned n, const PrepareOptions *options,
                  const PrepareEvents *events, GError **err);

/* ---- the doctor (doctor.c, doctor-judge.c)
 * -------------------------------------------------------
 *
 * What ssh sees of every prerequisite of a move, node by node and between nodes. Changes nothing.
 */
typedef enum CheckStatus {
    CHECK_PASS,
    CHECK_WARN, /* moves work, or most of them; somebody should look */
    CHECK_FAIL, /* moves fail */
} CheckStatus;

extern const char *const check_status_names[]; /* "PASS", … */

typedef struct Check {
    const char *name; /* "clock" */
    CheckStatus status;
    char *host;
    char *evidence; /* what was seen */
    char *remedy;   /* NULL if there is nothing to do */
} Check;

/* GPtrArray of Check *, in the order of nodes. A node that cannot be looked at is a check that
 * failed. drift_only: compare with what prepare wrote, nothing else. Blocks. */
GPtrArray *doctor_run(const NodeTarget *const *targets, unsigned n, const char *ssh_config,
                      int cancel_fd, bool drift_only, GError **err);
