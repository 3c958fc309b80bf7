/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host-libvirt-priv.h: what the files of the libvirt driver share. Every slot of host_libvirt_ops
 * is declared here. */
#pragma once

#include "host/host.h"
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#define LIBVIRT_DOMAINS_MOST 10000
#define LIBVIRT_FILE_MOST    ((int64_t)16 * 1024 * 1024) /* of one file_read or file_write */

enum {
    LIBVIRT_EVENTS = 4
};

typedef enum LibvirtRemoval {
    LIBVIRT_REMOVAL_AWAITED,
    LIBVIRT_REMOVED,
    LIBVIRT_REMOVAL_REFUSED,
    LIBVIRT_REMOVAL_UNKNOWN /* the connection was lost */
} LibvirtRemoval;

struct HostConn {
    int refs; /* atomic: the opener, and each callback registered with libvirt until libvirt lets go
                 of it */
    char *host;
    char *uri;
    virConnectPtr vir;
    HostEventFn on_event; /* may be NULL */
    void (*on_closed)(const char *why, void *opaque);
    void *opaque;
    pthread_mutex_t
        lock;    /* held while on_event and on_closed run, so that close() waits for them */
    bool closed; /* guarded by lock: no more calls upwards */
    bool lost;   /* guarded by lock: on_closed was called */
    pthread_cond_t changed;     /* with lock: lost or a removal's outcome changed */
    int events[LIBVIRT_EVENTS]; /* callback ids, -1: none */
    bool close_registered;
};

G_DEFINE_AUTOPTR_CLEANUP_FUNC(virDomain, virDomainFree)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virStream, virStreamFree)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virStoragePool, virStoragePoolFree)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virStorageVol, virStorageVolFree)

/* ---- errors (host-libvirt.c) ---- */
/* What libvirt's last error of this thread means. alive: does the connection it came over still
 * stand? */
ErrCode libvirt_error_code(const virError *error, bool alive);
/* Set *err from libvirt's last error: "HOST: cannot <format>: <libvirt's text>". Returns false. */
bool libvirt_error_set(HostConn *conn, GError **err, const char *format, ...) G_GNUC_PRINTF(3, 4);
int libvirt_last_code(void); /* VIR_ERR_*, VIR_ERR_OK if none */

/* ---- connecting (libvirt-knock.c) ---- */
/* Does somebody take a connection at the URI's place? At most 5 s. true also for a transport that
 * does not say where it goes. ERR_UNREACHABLE. */
bool libvirt_knock(const char *uri, GError **err);

/* ---- domains (libvirt-domain.c) ---- */
/* NULL with ERR_NOT_FOUND, or, if absent is not NULL, with *absent = true and no error. */
virDomainPtr libvirt_domain_find(HostConn *conn, const char *uuid, bool *absent, GError **err);
HostConn *libvirt_conn_ref(HostConn *conn);
void libvirt_conn_unref(void *conn);

GPtrArray *libvirt_domains(HostConn *conn, GError **err);
DomainInfo *libvirt_domain_probe(HostConn *conn, const char *uuid, GError **err);
bool libvirt_pause(HostConn *conn, const char *uuid, GError **err);
bool libvirt_resume(HostConn *conn, const char *uuid, GError **err);
bool libvirt_domain_shutdown(HostConn *conn, const char *uuid, GError **err);
bool libvirt_domain_reboot(HostConn *conn, const char *uuid, GError **err);
bool libvirt_domain_start(HostConn *conn, const ServerSpec *spec, char **machine_out,
                          char **cpu_out, GError **err);
bool libvirt_domain_define(HostConn *conn, const ServerSpec *spec, GError **err);
bool libvirt_domain_destroy(HostConn *conn, const char *uuid, GError **err);
bool libvirt_domain_undefine(HostConn *conn, const char *uuid, GError **err);
char *libvirt_domain_cpu(HostConn *conn, const char *uuid, GError **err);

/* ---- saved memory (libvirt-save.c) ---- */
/* Is the memory of a domain that is off kept on the node? false: libvirt's last error tells why it
 * is not known. */
bool libvirt_is_saved(virDomainPtr domain, bool *saved);
bool libvirt_domain_save(HostConn *conn, const char *uuid, GError **err);
bool libvirt_domain_restore(HostConn *conn, const char *uuid, GError **err);

/* ---- network disks (libvirt-disk.c) ---- */
bool libvirt_secret_define(HostConn *conn, const char *uuid, const char *usage, const void *value,
                           size_t size, GError **err);
bool libvirt_disk_probe(HostConn *conn, const char *uuid, const char *virt_type,
                        const DiskSpec *disk, int64_t *capacity, GError **err);

/* ---- disks of a domain (libvirt-attach.c) ---- */
bool libvirt_disk_attach(HostConn *conn, const char *uuid, const DiskSpec *disk, GError **err);
bool libvirt_disk_detach(HostConn *conn, const char *uuid, const char *serial, GError **err);
GPtrArray *libvirt_disk_serials(HostConn *conn, const char *uuid, GError **err);
bool libvirt_disk_resize(HostConn *conn, const char *uuid, const char *serial, int64_t size,
                         GError **err);

/* ---- moves (libvirt-migrate.c) ---- */
typedef enum LibvirtJob {
    LIBVIRT_JOB_NONE,
    LIBVIRT_JOB_OUT,
    LIBVIRT_JOB_IN,
    LIBVIRT_JOB_OTHER
} LibvirtJob;
/* What job does an active domain have? false: libvirt's last error is set and tells why not. */
bool libvirt_job_kind(virDomainPtr domain, LibvirtJob *kind);
void libvirt_stats_read(virTypedParameterPtr params, int n, JobStats *stats);
bool
libvirt_job_stats(HostConn *conn, const char *uuid, bool completed, JobStats *stats, GError **err);
bool libvirt_job_abort(HostConn *conn, const char *uuid, GError **err);
bool libvirt_set_downtime(HostConn *conn, const char *uuid, int64_t ms, GError **err);
bool libvirt_set_bandwidth(HostConn *conn, const char *uuid, int64_t mib_s, GError **err);
bool libvirt_migrate_postcopy(HostConn *conn, const char *uuid, GError **err);
bool libvirt_migrate(HostConn *conn, const MoveSpec *spec, GError **err);

/* ---- the node (libvirt-facts.c, cpu-libvirt.c) ---- */
HostFacts *libvirt_facts(HostConn *conn, const char *virt_type, GError **err);
const char *libvirt_uri_encryption(const char *uri);
char *
libvirt_cpu_choose(HostConn *conn, const LibvirtSettings *settings, const char *const *host_names,
                   const char *const *hypervisor_cpus, size_t n, char **limit_out, GError **err);
bool libvirt_cpu_compare(HostConn *conn, const char *cpu_xml, const char *virt_type,
                         const char *machine, GError **err);

/* ---- files (libvirt-file.c) ---- */
bool libvirt_file_read(HostConn *conn, const char *path, int64_t offset, int64_t most,
                       GString *contents, GError **err);
bool libvirt_file_write(HostConn *conn, const char *path, const char *contents, size_t size,
                        GError **err);
bool libvirt_file_delete(HostConn *conn, const char *path, GError **err);
bool libvirt_directory_make(HostConn *conn, const char *path, GError **err);
bool libvirt_file_system(HostConn *conn, const char *path, int64_t *total, int64_t *free_bytes,
                         GError **err);
