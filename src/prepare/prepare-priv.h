/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* prepare-priv.h: what the files of prepare share: editing texts, rendering files, distributions */
#pragma once

#include "prepare/prepare.h"

/* ---- texts that others wrote (conf-edit.c, block-edit.c, text-diff.c): pure --------------------
 */

typedef struct ConfSetting {
    const char *key;   /* a table of settings ends with NULL */
    const char *value; /* as the file writes it ("16509" with its quotes); NULL: not set at all */
} ConfSetting;

/* The text of one of libvirt's configuration files with these settings made; equal to the byte if
 * they hold already. notices (may be NULL) gets a char * per thing that the operator should know. A
 * file that libvirt could not read is ERR_INVALID naming the line. */
char *conf_edit(const char *text, const ConfSetting *settings, GPtrArray *notices, GError **err);
/* Does the setting hold? *found gets its value as written, NULL if there is none. */
bool conf_has(const char *text, const ConfSetting *setting, bool *has, char **found, GError **err);
/* The keys that Godwit sets; a table ends with a NULL key. unset: sometimes it makes a comment of
 * that key instead. */
typedef struct ConfKey {
    const char *key;
    bool unset;
} ConfKey;
extern const ConfKey conf_keys_libvirtd[], conf_keys_qemu[];

/* The other way round (conf-revert.c): those keys as the original has them, all else as it is now.
 * The original to the byte if nothing else was changed. */
char *conf_revert(const char *now, const char *original, const ConfKey *keys, GError **err);
/* Does Godwit keep settings or a block in a file that belongs to somebody else? If so, that text
 * without them; original "" if there was no file. */
bool file_is_shared(const char *path);
char *file_revert(const char *path, const char *now, const char *original, GError **err);

/* A string in the syntax of these files; ERR_INVALID if they cannot hold it. */
char *conf_quote(const char *value, GError **err);

/* The text with block (whole lines; NULL: none) between Godwit's marker lines: in the place of the
 * former block, else at the end. Markers that do not pair up are ERR_CONFLICT. */
char *block_edit(const char *text, const char *block, bool on_top, GError **err);

/* ---- distributions (distro.c) -----------------------------------------------------------------
 */

typedef struct Distro {
    const char *name;                 /* for people */
    const char *const *ids;           /* of os-release, NULL-ended */
    const char *const *packages;      /* what every compute node needs */
    const char *const *ceph_packages; /* disks on Ceph need these too */
    /* Scripts for sh. refresh: the list of what there is. present: one line per package of "$@"
     * that is installed. install: "$@", asking nothing and keeping configuration files. */
    const char *refresh, *present, *install;
    const char *manager;                /* the program that these run, for people */
    const char *qemu_user, *qemu_group; /* whom QEMU runs as */
    const char *libvirtd;               /* path of the monolithic daemon */
    bool modular;                       /* virtqemud and virtproxyd serve by default */
} Distro;

/* The entry for the text of /etc/os-release: by ID, else by ID_LIKE; NULL with ERR_UNSUPPORTED that
 * names what was found and what is known. */
const Distro *distro_find(const char *os_release, GError **err);
/* One key's value from os-release, unquoted; NULL if it is not there. */
char *os_release_value(const char *os_release, const char *key);

/* ---- daemons (daemon-units.c) ------------------------------------------------------------------
 * How libvirt listens on a node: one way per node, and every other one switched off. */
typedef enum DaemonMode {
    DAEMON_SOCKET,  /* libvirtd, systemd listens for it; listen_tcp and listen_addr mean nothing */
    DAEMON_LISTEN,  /* libvirtd --listen, its sockets masked */
    DAEMON_MODULAR, /* virtproxyd, systemd listens for it; virtqemud does the work */
    N_DAEMON_MODES,
} DaemonMode;

typedef struct DaemonUnits {
    const char *listener;                /* the service that owns the remote listener */
    const char *server;                  /* as virt-admin calls it */
    const char *conf;                    /* its configuration file */
    const char *const *serving;          /* services that a changed setting concerns, it first */
    const char *tls_socket, *tcp_socket; /* NULL: no sockets in this mode */
    const char *const *masked;           /* units that must not start */
} DaemonUnits;

extern const DaemonUnits daemon_units[N_DAEMON_MODES];

/* ---- rendering (render.c): pure; every result is a whole file and ends with a line end ---------
 */

enum {
    LIBVIRT_TLS_PORT = 16514, /* libvirt's registered ports */
    LIBVIRT_TCP_PORT = 16509,
    MIGRATION_PORT_FIRST = 49152, /* libvirt's default range begins here and has 64 ports */
    MIGRATION_PORTS_LEAST = 64,
};

typedef struct NodeSettings {
    PrepareTransport transport;
    DaemonMode mode;
    const char *listen_address; /* numeric; NULL: all */
    const char *qemu_user, *qemu_group;
    bool dynamic_ownership;
    unsigned moves; /* at one time, in and out, that the node shall carry */
} NodeSettings;

unsigned settings_port(const NodeSettings *settings); /* of the listener; 0: none (ssh) */
unsigned settings_migration_port_last(const NodeSettings *settings);

/* Settings for conf_edit, ended by a NULL key; free with settings_free. */
ConfSetting *settings_libvirtd(const NodeSettings *settings, GError **err);
ConfSetting *settings_qemu(const NodeSettings *settings, GError **err);
void settings_free(ConfSetting *settings);

/* Drop-in of the socket unit: the vendor's ListenStream is reset, ours is the only one. */
char *render_socket(const NodeSettings *settings);
/* Drop-in of libvirtd.service in mode DAEMON_LISTEN. */
char *render_service_listen(const char *libvirtd);

/* Rules for nft -f: one table of Godwit's own, made anew in one step. addresses: numeric, of the
 * other nodes and of controllers. */
char *render_firewall(const NodeSettings *settings, const char *const *addresses, GError **err);
/* The addresses that such rules let through; NULL-ended, free with g_strfreev. */
char **firewall_addresses(const char *rules);
/* The unit that loads them before libvirt listens. */
char *render_firewall_unit(const char *nft, const char *rules_path);

typedef struct MeshKey {
    const char *const *names;     /* by which this host is reached: names and addresses */
    const char *const *host_keys; /* "ssh-ed25519 AAAA…" */
    const char *user_key;
} MeshKey;

/* Lines for known_hosts, authorized_keys and ssh's config; ERR_INVALID if a key is not one line of
 * type and base64. */
char *render_known_hosts(const MeshKey *keys, unsigned n, GError **err);
char *render_authorized_keys(const MeshKey *keys, unsigned n, GError **err);
char *render_ssh_config(const MeshKey *keys, unsigned n, const char *user);

/* ---- a node, through ssh (ssh.c) ---------------------------------------------------------------
 *
 * The operator's own ssh with his configuration, agent and jump hosts; never a question on the
 * terminal. One connection per node, which the scripts share; they may run at the same time. */
typedef struct SshOptions {
    const char *config;     /* ssh -F; NULL: the operator's */
    const char *backup_dir; /* on the node; NULL: /var/backups/godwit */
    int cancel_fd;          /* readable: scripts are called off with ERR_CANCELLED; -1: none */
} SshOptions;

typedef struct NodeSsh NodeSsh;

/* Connect and become root, by sudo where need be. Blocks for 45 s at most. ERR_UNREACHABLE and
 * ERR_FORBIDDEN say what ssh or sudo said and what to do. */
NodeSsh *ssh_open(const NodeTarget *target, const SshOptions *options, GError **err);
void ssh_close(NodeSsh *ssh);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NodeSsh, ssh_close)

/* While it is on nothing is called off: a script that changes things is not left half-way, nor is
 * tidying up after Ctrl-C. */
void ssh_shield(NodeSsh *ssh, bool on);

/* Run body with sh as root, args as its "$@". Nothing of it runs unless all of it arrived. *output
 * (may be NULL) gets stdout. Another exit status than 0 is ERR_BACKEND with the end of stderr. */
bool ssh_script(NodeSsh *ssh, const char *body, const char *const *args, int seconds, char **output,
                GError **err);

const char *ssh_backup_dir(const NodeSsh *ssh);
const char *ssh_name(const NodeSsh *ssh); /* the target, as given */

/* ---- files on a node (node-file.c) -------------------------------------------------------------
 */

typedef struct NodeFile {
    char *path;
    char *text;   /* NULL: there is no such file */
    char *sha256; /* "absent" */
} NodeFile;

NodeFile *node_file_read(NodeSsh *ssh, const char *path, GError **err);
void node_file_free(NodeFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NodeFile, node_file_free)

/* Replace the file that was read by text, in one rename; a symbolic link stays one. Mode and owner
 * stay as they are; those given ("0640", "root:libvirt-qemu") are for a file that is new. What was
 * there before Godwit first wrote is kept for undo. *earlier (may be NULL) gets a line with the
 * checksum of Godwit's last write, or "" if this was the first. ERR_CONFLICT if the file was
 * changed since it was read. */
bool node_file_write(NodeSsh *ssh, const NodeFile *file, const char *text, const char *mode,
                     const char *owner, char **earlier, GError **err);

/* What one write replaced, so that it can be taken back by itself. */
typedef struct NodeWrite {
    char *path;
    char *old_text; /* NULL: there was no such file */
    char *sha256;   /* of what was written */
    bool first;     /* Godwit had never written it */
} NodeWrite;

void node_write_free(void *opaque);
/* A write that never took place is no error. ERR_CONFLICT if somebody changed the file since. */
bool node_file_put_back(NodeSsh *ssh, const NodeWrite *write, GError **err);

/* Put back what was there before the first write, file by file. Of a file that Godwit shares with
 * others (file_is_shared) its own settings only; one that is Godwit's but was changed since is left
 * alone. *report: a line per file. Nothing to undo is no error; what was left stays to be undone.
 */
bool node_files_undo(NodeSsh *ssh, char **report, GError **err);
/* A line per file that is not as it was written. */
bool node_files_drift(NodeSsh *ssh, char **report, GError **err);

/* ---- Ceph's configuration (step-ceph.c) --------------------------------------------------------
 */

/* The first value of a key in any section, spelled as Ceph lets it be spelled; NULL: none. */
char *ceph_conf_value(const char *text, const char *key);

/* ---- where a node's files are (shared by step-*.c and prepare-tree.c) --------------------------
 */

#define NODE_QEMU_CONF       "/etc/libvirt/qemu.conf"
#define NODE_RULES_PATH      "/etc/godwit/node.nft"
#define NODE_RULES_UNIT      "godwit-firewall.service"
#define NODE_RULES_UNIT_PATH "/etc/systemd/system/" NODE_RULES_UNIT
#define NODE_NFT             "/usr/sbin/nft"

/* The drop-in that makes a unit listen as the settings say (daemon-units.c): its path, and *text;
 * both NULL if nothing listens. libvirtd: path of that program, for DAEMON_LISTEN. */
char *unit_drop_in(const NodeSettings *settings, const char *libvirtd, char **text);

/* ---- CPUs in libvirt's answers (cpu-scan.c): pure ----------------------------------------------
 */

typedef struct ScannedCpu {
    char *model;          /* NULL: none */
    char *vendor;         /* NULL: none */
    GHashTable *features; /* name → policy, both of them checked words */
} ScannedCpu;

enum {
    CPU_SCAN_MAX = 1024 * 1024
};

/* The CPUs of a text that a node sent: the host-model of a <domainCapabilities> if it is supported,
 * and every <cpu>. usable (may be NULL) gets the names of models that are said to be usable. What
 * is not plain XML of that form, or names anything that is no plain word, is ERR_INVALID. */
GPtrArray *cpu_scan(const char *xml, GHashTable *usable, GError **err);
/* Our own XML of a CPU; nothing else of what a node sent is handed on. */
char *cpu_render(const ScannedCpu *cpu);
bool cpu_word_is_valid(const char *word); /* a model or a feature */
/* The keys of a set, borrowed, in order; NULL-ended; free the array alone. */
const char **cpu_words_sorted(GHashTable *set, unsigned *n);

/* ---- Nova's options by release (nova-release.c) ------------------------------------------------
 */

enum {
    NOVA_CPU_FLAGS = 18,       /* since then cpu_model_extra_flags adds features to a model … */
    NOVA_CPU_MINUS_FLAGS = 23, /* … and since then it takes some away */
};

typedef struct NovaOption {
    const char *key;
    unsigned first, last; /* releases for which it is the one to use; last 0: all since */
    bool is_bool;
    const char *instead; /* what to use after the last, or before the first; NULL: nothing */
} NovaOption;

extern const NovaOption nova_options[]; /* ended by key == NULL */
const NovaOption *nova_option_find(const char *key);
bool nova_uses(const NovaRelease *release, const char *key); /* true for options of others */

/* ---- certificates (certificate-list.c): pure ---------------------------------------------------
 */
int64_t certificate_date_parse(const char *text); /* openssl's; realtime µs, -1: none */
void node_certificate_free(void *certificate);
/* The answer of a node, as rows. */
bool certificate_lines_parse(const char *host, const char *answer, int64_t now,
                             GPtrArray *certificates, GError **err);
