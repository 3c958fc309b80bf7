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
    bool locked;

    /* what was found */
    const Distro *distro;
    DaemonMode mode;
    char *hostname;
    GPtrArray *addresses; /* char *, numeric; the first is the one that ssh reached */

    char *mesh_home, *mesh_group, *mesh_key; /* of the user that the nodes share */
    GPtrArray *host_keys;                    /* "type base64", and a NULL */

    bool restart; /* something was changed that the daemons must take up */
    bool reload;  /* certificates were */
    GError *error;
} PrepareNode;

struct PrepareRun {
    const PrepareOptions *options;
    const PrepareEvents *events;
    PrepareNode *nodes;
    unsigned n;
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

/* Make the file at path be text, unless it is. file may be NULL: it is read. *changed tells. */
bool
node_file_make(PrepareNode *node, const char *step, const char *path, const NodeFile *file,
               const char *text, const char *mode, const char *owner, bool *changed, GError **err);
