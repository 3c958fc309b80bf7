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
/* A string in the syntax of these files; ERR_INVALID if they cannot hold it. */
char *conf_quote(const char *value, GError **err);

/* The text with block (whole lines; NULL: none) between Godwit's marker lines: in the place of the
 * former block, else at the end. Markers that do not pair up are ERR_CONFLICT. */
char *block_edit(const char *text, const char *block, bool on_top, GError **err);

/* Unified difference with so many lines of context; "" if they are equal. old_text NULL: no file
 * yet. */
char *text_diff(const char *name, const char *old_text, const char *new_text, unsigned context);

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
    const char *conf;                    /* its configuration file */
    const char *const *serving;          /* services that a changed setting concerns */
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
