/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* prepare-node.h: one node on its way to being prepared, and the steps of it */
#pragma once

#include "prepare/prepare-priv.h"

typedef struct PrepareRun PrepareRun;

typedef struct PrepareNode {
    PrepareRun *run;
    unsigned index;
    const NodeTarget *target;
    NodeSsh *ssh;
    _Atomic bool locked; /* by us; the keeper of locks looks at it too */

    /* what was found */
    const Distro *distro;
    DaemonMode mode;
    char *hostname;
    GPtrArray *addresses; /* char *, numeric; the first is the one that ssh reached */

    const char *mesh_user;                   /* whom the nodes share */
    char *mesh_home, *mesh_group, *mesh_key; /* of that user */
    char *mesh_no_shell;                     /* what he has instead of a shell; NULL: he has one */
    GPtrArray *host_keys;                    /* "type base64", and a NULL */

    bool restart; /* something was changed that the daemons must take up */
    bool reload;  /* certificates were */

    /* what this run changed, should it have to be put back */
    GPtrArray *writes; /* NodeWrite *, in their order */
    bool firewall_loaded, had_rules, had_rules_unit;
    char *units_before; /* lines "UNIT ENABLED ACTIVE"; NULL: units were not touched */
    bool reloaded;
    bool keys_kept;     /* somebody's client key was replaced; it lies beside the backups */
    char *shell_before; /* of the mesh's user; NULL: it was not touched */
    bool changed;       /* part change was begun */

    GError *error;
} PrepareNode;

struct PrepareRun {
    const PrepareOptions *options;
    const PrepareEvents *events;
    PrepareNode *nodes;
    unsigned n;
    char *owner;           /* what our locks on the nodes say */
    pthread_mutex_t mutex; /* of events */
};

void node_step(PrepareNode *node, const char *step, StepState state, const char *detail);
NodeSettings node_settings(const PrepareNode *node);
/* By whatever name or address somebody may ask for this node; borrowed strings. */
GPtrArray *node_names(const PrepareNode *node);

/* Each tells its state through node_step, except that the caller tells of a failure. */
typedef bool (*NodeStepFn)(PrepareNode *node, GError **err);

typedef struct NodeStep {
    const char *name;
    NodeStepFn fn;
} NodeStep;

bool step_connect(PrepareNode *node, GError **err);
bool step_system(PrepareNode *node, GError **err);
bool step_packages(PrepareNode *node, GError **err);
bool step_keys(PrepareNode *node, GError **err);
bool step_mesh(PrepareNode *node, GError **err);
bool step_mesh_check(PrepareNode *node, GError **err);
bool step_certificates(PrepareNode *node, GError **err);
bool step_firewall(PrepareNode *node, GError **err);
bool step_libvirt(PrepareNode *node, GError **err);
bool step_qemu(PrepareNode *node, GError **err);
bool step_units(PrepareNode *node, GError **err);
bool step_restart(PrepareNode *node, GError **err);
bool step_verify(PrepareNode *node, GError **err);
bool step_undo(PrepareNode *node, GError **err);

/* Is it a file that we may hand to every node? */
bool ceph_conf_check(const char *text, GError **err);
bool step_ceph_look(PrepareNode *node, GError **err);
bool step_ceph(PrepareNode *node, GError **err);

/* ---- the lock of a node (node-lock.c) ----------------------------------------------------------
 *
 * Two who prepare a node at once would undo each other's work. A lock that nobody refreshes any
 * more is taken over after three minutes. */
bool node_lock(PrepareNode *node, GError **err);
/* Refresh it; ERR_CONFLICT if somebody else took it over. */
bool node_lock_hold(PrepareNode *node, GError **err);
void node_unlock(PrepareNode *node);

/* A thread that refreshes all locks until it is stopped. */
typedef struct LockKeeper LockKeeper;
LockKeeper *lock_keeper_start(PrepareRun *run);
void lock_keeper_stop(LockKeeper *keeper);

/* ---- keys of clients (step-certificates.c) -----------------------------------------------------
 *
 * Those that somebody had before Godwit's took their place, unless ours was replaced since. They
 * never leave the node. */
bool client_keys_put_back(PrepareNode *node, GError **err);

/* ---- the daemons' units (step-restart.c) ------------------------------------------------------
 */

/* As node->units_before has them, and the daemons running with the files that are there now. */
bool units_restore(PrepareNode *node, const char *units, GError **err);
bool certificates_reload(PrepareNode *node, GError **err);

/* Firewall as before this run (step-firewall.c), in two halves: before the files, and after the
 * daemons, so that no plaintext listener is ever there without its rules. */
bool firewall_put_back_begin(PrepareNode *node, GError **err);
bool firewall_put_back_end(PrepareNode *node, GError **err);
/* The same for undo, whether there is something or not: the unit, before its file goes, and the
 * table. */
bool firewall_disable(PrepareNode *node, GError **err);
bool firewall_remove(PrepareNode *node, GError **err);

/* ---- putting back (step-undo.c) ----------------------------------------------------------------
 *
 * What this run changed on this node. What became of it, as the last line of what the operator is
 * told. */
char *node_put_back(PrepareNode *node);

/* Make the file at path be text, unless it is. file may be NULL: it is read. step NULL: the caller
 * tells of it. *changed tells. */
bool
node_file_make(PrepareNode *node, const char *step, const char *path, const NodeFile *file,
               const char *text, const char *mode, const char *owner, bool *changed, GError **err);
