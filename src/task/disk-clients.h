/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disk-clients.h: one writer per disk, beyond a server's start (task-priv.h has that) */
#pragma once

#include "task/task-priv.h"

/* As part_clear_disk_clients, for one volume, before a running guest gets it. That guest must not
 * have it yet: its client would be refused. */
bool part_clear_volume_clients(TaskRun *run, const char *volume_id, GError **err);
/* As part_observe_clients, for one volume: part_record_clients then leaves what is recorded for the
 * server's other disks. */
bool
part_observe_volume_clients(TaskRun *run, const char *host, const char *volume_id, GError **err);
/* Who has, or had when it was last looked at, one of the server's disks open: what is recorded and
 * what is listed now. Elements DiskClient *; host "": not recorded. *unknown: sources (char *) of
 * disks that can be written to and of which no client on host is known. */
GPtrArray *part_known_clients(TaskRun *run, const char *host, GPtrArray **unknown, GError **err);
/* Of a QEMU that is gone, when the next was being started and never recorded. */
bool part_client_is_past(const DiskClient *client);
/* Who has one of the server's disks open now, but for this process: elements char *, each once. */
GPtrArray *part_list_clients(TaskRun *run, GError **err);
/* The server is gone, and with it whoever had its disks open. */
bool part_forget_clients(StoreTx *tx, const char *server_id, GError **err);
