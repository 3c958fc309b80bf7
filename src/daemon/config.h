/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* config.h: godwitd's configuration file, read whole and checked before anything is started */
#pragma once

#include "store/store.h"

typedef struct Config {
    char *state_dir;
    char *state; /* path of the SQLite file, or rados:POOL/NAMESPACE/NAME */
    /* of a state on RADOS: the cephx user, without "client."; see store.h */
    char *state_user;
    int64_t lease_duration_s;
    char *listen_address;
    uint16_t listen_port;
    char *url; /* what clients are told, without a trailing slash */
    char *region;
    LogLevel log_level;
    bool plain_http; /* loopback only */
    char *storage_driver, *storage_path;
    /* of driver rbd */
    char *ceph_conf, *ceph_user, *images_pool, *instances_pool, *volumes_pool, *console_path;
    double cpu_ratio, ram_ratio;
    int64_t reserved_ram_mb;
    int64_t token_lifetime_s;
    int64_t shutdown_timeout_s;
    int64_t moves_out, moves_in, moves_total;
    int64_t resize_confirm_window_s;
    bool resize_same_host, resume_guests;
    char *fence_command; /* NULL: none */
    int64_t fence_timeout_s;
    LibvirtSettings *libvirt;
    GPtrArray
        *notices; /* char *: things that a person may want to know, in the order of the file */
} Config;

/* ERR_INVALID names file, line or key, and the remedy. */
Config *config_load(const char *path, GError **err);
void config_free(Config *config);
/* How the state is opened; the strings are config's. */
StoreConfig config_store(const Config *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Config, config_free)
