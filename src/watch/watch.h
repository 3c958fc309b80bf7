/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* watch.h: records what is: host events and sweeps → store; passes events on to the tasks that wait
 * for them */
#pragma once

#include "host/host.h"
#include "task/task.h"

typedef struct Watch Watch;

typedef struct WatchConfig {
    Store *store;
    TaskEngine *tasks;
    Hosts *hosts;
    const char *virt_type;
} WatchConfig;

Watch *watch_new(const WatchConfig *config);
/* Connect the hosts of the store and record from now on. */
bool watch_start(Watch *watch, GError **err);
void watch_stop(Watch *watch);
void watch_free(Watch *watch);

/* For HostsConfig.on_event: called on a driver's thread, never blocks; takes event. opaque: Watch
 * *. */
void watch_host_event(HostEvent *event, void *opaque);
/* Rows of hosts came, went or changed. Never blocks. */
void watch_hosts_changed(Watch *watch);
/* Take stock of every connected node, and of the storage, again. Never blocks. */
void watch_sweep(Watch *watch);
