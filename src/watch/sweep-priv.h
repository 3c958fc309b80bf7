/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sweep-priv.h: one look at a node, as its parts share it */
#pragma once

#include "watch/sweep.h"

typedef struct Sweep {
    Store *store;
    TaskEngine *tasks;
    Hosts *hosts;
    char *host, *uri, *virt_type;
    HostFacts *facts;
    GPtrArray *domains; /* DomainInfo *, as listed before anything was compared */
    GError *storage_error;
    int64_t disk_gb, disk_free_gb;
    bool is_new;      /* the node has just been connected */
    bool was_visible; /* the storage, at the last sweep */
    bool is_other;    /* not, or not for sure, the machine that the record means */
    bool submitted;
} Sweep;

DomainInfo *sweep_find_domain(const Sweep *sweep, const char *uuid); /* NULL: not there */
/* The row of the host as it was asked; NULL: it was removed, or is reached by another URI since,
 * and what was heard over the former connection says nothing about it. */
Host *sweep_host_row(StoreTx *tx, const Sweep *sweep);

/* sweep-domains.c, a StoreFn over a Sweep: where the node's domains and the record differ,
 * reconciliation is asked for */
bool sweep_compare_domains(StoreTx *tx, void *opaque, GError **err);
