/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* query.h: the synchronous node reads that a request may do, each with a deadline and a cap */
#pragma once

#include "task/task.h"

/* The server's console log, the parts of all nodes it ran on in order, at most the last `lines`
 * lines (0: 1,000) and 1 MiB. Deadline 5 s. ERR_UNREACHABLE names the node. */
char *query_console_log(TaskEngine *engine, const Server *server, int64_t lines, GError **err);
/* For `godwit cpu compare`: can host's hypervisor give this <cpu> or named model? ERR_UNSUPPORTED
 * names the features. */
bool
query_cpu_compare(TaskEngine *engine, const char *host, const char *model_or_xml, GError **err);
/* The baseline over all hosts that are up, and for people what limits it. */
char *query_cpu_baseline(TaskEngine *engine, char **limit, GError **err);
/* The <cpu> of a running server as its guest sees it. */
char *query_server_cpu(TaskEngine *engine, const Server *server, GError **err);

/* The pools or directories of the storage; elements BlockPool *, with their free function. Deadline
 * of the storage itself. */
GPtrArray *query_storage_pools(TaskEngine *engine, GError **err);
const char *query_storage_driver(TaskEngine *engine); /* "rbd", "dir" */
/* What a client of the storage's Ceph cluster must have in its ceph.conf: where the cluster is, and
 * no key. ERR_UNSUPPORTED if the disks are not on Ceph. Deadline of the storage itself. */
char *query_ceph_conf(TaskEngine *engine, GError **err);
/* Read the storage's key again and give it to every node that is connected. *report: for each node
 * (element char *) "host1: ok" or "host1: why not". Running guests keep the key that they have. */
bool query_storage_rotate_key(TaskEngine *engine, GPtrArray **report, GError **err);
