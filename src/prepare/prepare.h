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
 * by then. If changing fails on one, or is called off (which counts between two steps), what this
 * run changed on that node is put back, and the step's last line says so or says what remains; the
 * others go on to the end of that part. What holds already is left alone, and said to be. */
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
    /* What a node calls itself (NULL: nothing) and its numeric addresses, the one that ssh reached
     * first, NULL-ended; once it is known. NULL: nobody wants to know. */
    void (*on_node)(void *opaque, unsigned node, const char *hostname,
                    const char *const *addresses);
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
/* Put back what was there before Godwit first came: files, units, a shell that was given. Of files
 * that others write too, Godwit's settings only: what was changed there by hand stays. Packages and
 * private keys stay; a client's key that ours took the place of comes back. */
bool prepare_undo(const NodeTarget *const *targets, unsigned n, const PrepareOptions *options,
                  const PrepareEvents *events, GError **err);

/* ---- the doctor (doctor*.c) --------------------------------------------------------------------
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
    const char *name; /* "clock"; of doctor_checks */
    CheckStatus status;
    char *host;     /* "*": all of them */
    char *evidence; /* what was seen */
    char *remedy;   /* NULL if there is nothing to do */
    char *command;  /* the remedy as a command for that host's root; NULL: it is not one */
} Check;

typedef struct CheckName {
    const char *name;
    const char *about;
    bool of_controller; /* not seen by ssh: the controller tells */
} CheckName;

extern const CheckName doctor_checks[]; /* ends with a NULL name */

typedef struct DoctorHost {
    const NodeTarget *target; /* for ssh */
    const char *name;         /* for people, and by which the others may ask for it */
    const char *address;      /* numeric, by which the others reach it; NULL: what it says itself */
} DoctorHost;

typedef struct DoctorOptions {
    const char *ssh_config;
    int cancel_fd;                  /* readable: stop; -1: never */
    bool drift_only;                /* compare with what prepare wrote, nothing else */
    bool bandwidth;                 /* measure it, which loads the network for seconds */
    bool ceph;                      /* disks are on Ceph, whatever the nodes look like */
    const char *const *names;       /* of checks to make, NULL-ended; NULL: all */
    const char *const *controllers; /* numeric addresses that firewalls must let in; or NULL */
} DoctorOptions;

/* GPtrArray of Check *, in the order of nodes. A node that cannot be looked at is a check that
 * failed. NULL with ERR_CANCELLED only. Blocks: nodes are asked at the same time, 32 at most, and
 * each about its next 16 peers at most. */
GPtrArray *
doctor_run(const DoctorHost *hosts, unsigned n, const DoctorOptions *options, GError **err);
/* For checks that others add; takes evidence, copies the rest. */
Check *check_new(const char *name, CheckStatus status, const char *host, char *evidence,
                 const char *remedy, const char *command);
void check_free(void *check);

/* ---- the files alone, below a directory (prepare-tree.c) ---------------------------------------
 *
 * Write or edit what prepare_hosts would on a node, in a tree: an image, a chroot. The daemon's
 * configuration and QEMU's; with units the listener's drop-in too, and, unless options->firewall is
 * false, the firewall's rules for options->controllers and peers. Certificates, ssh and Ceph's
 * configuration are not files alike on all nodes, and not written. What the tree's os-release says
 * counts for it.
 *
 * root is absolute; a symbolic link that leads out of it is ERR_FORBIDDEN. options->dry_run writes
 * nothing. on_step is told each file, as node 0. No backup is made. Idempotent. */
bool prepare_tree(const char *root, const PrepareOptions *options, bool units,
                  const PrepareEvents *events, GError **err);

/* ---- for people who run Nova (nova-release.c, nova-conf.c, nova-cpu.c) --------------------------
 *
 * The [libvirt] section of nova.conf that fits nodes as prepare sets them up. */
typedef struct NovaRelease {
    unsigned number; /* of Nova: 20 is Train; before 12 the letter of the alphabet */
    const char *series, *version;
} NovaRelease;

extern const NovaRelease nova_releases[]; /* oldest first; ended by series == NULL */
/* By series, version or number ("train", "2024.1", "29"); ERR_INVALID names those there are. */
const NovaRelease *nova_release_find(const char *name, GError **err);
const NovaRelease *nova_release_newest(void);
const NovaRelease *nova_release_classic(void); /* the last with live_migration_flag alone */

typedef struct NovaSettings {
    const NovaRelease *release;
    PrepareTransport transport;
    const char *ssh_user;          /* NULL: whom Nova runs as */
    const char *inbound_address;   /* address, name or "$my_ip"; NULL: left alone */
    bool post_copy, auto_converge; /* permit it; false: left alone */
    const char *virt_type;         /* "kvm", "qemu"; NULL: left alone */
    const char *cpu_model;         /* NULL: what is said of CPUs is left alone */
    const char *const *cpu_flags;  /* as Nova writes them, NULL-ended; NULL: left alone */
    const char *const *notes;      /* comments for nova_conf_section; NULL: none */
} NovaSettings;

enum {
    NOVA_CONF_MAX = 1024 * 1024
};

/* The section alone. ERR_INVALID, ERR_UNSUPPORTED: what was asked for cannot be said in that
 * release, or is not a value at all. */
char *nova_conf_section(const NovaSettings *settings, GError **err);
/* The text of a nova.conf with these settings made; equal to the byte if they hold already.
 * Settings that the release does not read, or that contradict the new ones, become comments.
 * notices (may be NULL) gets a char * for each. A text that Nova could not read is ERR_INVALID
 * naming the line. */
char *
nova_conf_edit(const char *text, const NovaSettings *settings, GPtrArray *notices, GError **err);

typedef struct NovaCpu {
    char *virt_type;
    char *model;
    char **flags;     /* what the nodes have in common beyond the model, as the release writes it */
    GPtrArray *notes; /* char *: who limits it */
} NovaCpu;

typedef struct NovaCpuOptions {
    const char *ssh_config;     /* ssh -F; NULL: the operator's */
    int cancel_fd;              /* readable: stop; -1: never */
    const char *virt_type;      /* NULL: kvm if all nodes have it, qemu if none has */
    const NovaRelease *release; /* what it can say of CPUs */
    const char *cpu_model;      /* every node must have it; NULL: compute one */
} NovaCpuOptions;

/* The best CPU that every node's hypervisor can give, or the named one. Looks only. Blocks, for a
 * minute at most per node and all nodes at once. Free with nova_cpu_free. */
NovaCpu *nova_cpu_find(const NodeTarget *const *targets, unsigned n, const NovaCpuOptions *options,
                       GError **err);
void nova_cpu_free(NovaCpu *cpu);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NovaCpu, nova_cpu_free)

/* ---- the certificates of nodes (certificate-list.c) ---------------------------------------------
 */
typedef enum CertificateState {
    CERTIFICATE_GOOD,
    CERTIFICATE_ENDS_SOON, /* within 30 days */
    CERTIFICATE_NOT_YET,   /* by our clock */
    CERTIFICATE_ENDED,
    CERTIFICATE_MISSING,
    CERTIFICATE_UNREADABLE,
    CERTIFICATE_WRONG_KEY, /* the key beside it is another one's, or gone */
    CERTIFICATE_UNSIGNED,  /* by the CA beside it */
} CertificateState;

extern const char *const certificate_state_names[]; /* "good", "ends soon", … */

typedef struct NodeCertificate {
    char *host;    /* as the target has it */
    char *name;    /* "libvirt server" */
    char *path;    /* on the node */
    char *subject; /* "CN=libvirt-host1"; "" if it could not be read */
    char *names;   /* "host1, 192.0.2.1" */
    int64_t ends;  /* realtime µs; -1: not known */
    CertificateState state;
} NodeCertificate;

/* By its times alone. */
CertificateState certificate_judge(int64_t begins, int64_t ends, int64_t now);

/* GPtrArray of NodeCertificate *: of each node libvirt's and QEMU's CA, server and client
 * certificate. A node that cannot be asked adds a line (char *) to failures. Blocks. */
GPtrArray *certificate_list(const NodeTarget *const *targets, unsigned n, const char *ssh_config,
                            int cancel_fd, GPtrArray *failures);

/* ---- differences (text-diff.c)
 * ------------------------------------------------------------------- */

/* Unified difference with so many lines of context; "" if they are equal. old_text NULL: no file
 * yet. */
char *text_diff(const char *name, const char *old_text, const char *new_text, unsigned context);
