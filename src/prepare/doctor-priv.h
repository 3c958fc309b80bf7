/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-priv.h: what was seen of a node, and the judgement of it */
#pragma once

#include "prepare/prepare-priv.h"

typedef struct DoctorNode {
    const NodeTarget *target;
    GHashTable *facts; /* "key" → "value", as the node's shell printed them; NULL: not looked at */
    char *drift;       /* lines of node_files_drift */
    char *reach;       /* lines "HOST yes name", "HOST yes address" or "HOST no REASON" */
    GError *error;
} DoctorNode;

/* Pure: the checks of all nodes. The facts "asked" and "answered" are our clock (µs) before and
 * after the node told its own ("clock"). */
void doctor_judge(const DoctorNode *nodes, unsigned n, bool drift_only, GPtrArray *checks);
GHashTable *doctor_facts_parse(const char *answer);
void check_free(void *check);
