/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host.h: the hypervisor seam. HostOps is what a driver gives (host-libvirt.c, host-fake.c); Hosts
 * (hosts.c) keeps the connections to each node, threads, deadlines, reconnects and the fault
 * points, and is what the rest of Godwit calls.
 *
 * No type of libvirt or libxml2 appears here. XML crosses the seam only as opaque text that the
 * driver made. */
#pragma once

#include "base/base.h"
#include "model/model.h"

/* ---- what a domain is made of -----------------------------------------------------------------
 */
typedef struct DiskSpec {
    char *source; /* absolute path of a file, or POOL/IMAGE */
    char *format; /* "raw" or "qcow2" */
    char *target; /* "vda", "vdb", …; NULL: the next free one in the order of the disks */
    char *serial; /* may be NULL; a volume's id, by which a disk is found again */
    bool read_only;
    bool is_cdrom;  /* the config drive */
    RbdAccess *rbd; /* NULL: source is a file */
} DiskSpec;
void disk_spec_copy(DiskSpec *to, const DiskSpec *from); /* to need not be initialised */
void disk_spec_clear(DiskSpec *disk);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(DiskSpec, disk_spec_clear)

typedef struct NicSpec {
    char *mac_address;
    char *bridge;
    char *port_id;
    int64_t mtu; /* 0: the bridge's */
} NicSpec;

typedef struct ServerSpec {
    char *uuid;        /* the server's id is the domain's UUID */
    char *domain_name; /* instance-… */
    char *title;       /* the server's name, for people reading virsh */
    char *virt_type;   /* "kvm" or "qemu" */
    char *machine;     /* "pc", or the pinned "pc-i440fx-7.2" */
    char *cpu_xml;     /* a <cpu> element made by this driver (cpu_choose), or NULL: hypervisor's
                          default */
    int64_t vcpus;
    int64_t ram_mb;
    char *console_path; /* file on the node that the serial console is appended to */
    DiskSpec *disks;    /* first boots */
    size_t n_disks;
    NicSpec *nics;
    size_t n_nics;
} ServerSpec;
ServerSpec *server_spec_copy(const ServerSpec *spec);
void server_spec_free(ServerSpec *spec);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ServerSpec, server_spec_free)

/* ---- what a node reports ----------------------------------------------------------------------
 */
typedef enum DomainState { /* as observed on one node */
    DOMAIN_ABSENT,         /* the node knows no such domain */
    DOMAIN_SHUTOFF,        /* defined, not running */
    DOMAIN_RUNNING,
    DOMAIN_PAUSED,          /* by somebody */
    DOMAIN_PAUSED_INCOMING, /* destination of a move, not resumed yet */
    DOMAIN_PAUSED_MIGRATED, /* source of a move, stopped for the switch or afterwards */
    /* half of a guest: post-copy broke, and its other half is missing */
    DOMAIN_PAUSED_POSTCOPY_FAILED,
    DOMAIN_CRASHED,
} DomainState;
extern const char *const domain_state_names[];

typedef struct DomainInfo {
    char *uuid;
    char *name;
    DomainState state;
    bool persistent;
    bool job_active; /* a migration job runs in or out */
    bool ours;       /* carries Godwit's metadata element */
    bool postcopy;   /* source: handed over by post-copy, its memory is still needed there */
    bool saved;      /* off, with its memory kept on the node (domain_save) */
    /* off, and this libvirtd has not seen it run: it was defined only, or the node was booted
     * since, or libvirtd was started since it went off (one that ran then was seen) */
    bool never_ran;
} DomainInfo;
void domain_info_free(DomainInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainInfo, domain_info_free)

typedef struct HostFacts {
    char *hostname; /* as the node calls itself */
    char *libvirt_uuid;
    int64_t vcpus;
    int64_t memory_mb;
    char *cpu_info;       /* JSON, see model.h */
    char *hypervisor_cpu; /* XML */
    char *cpu_models;     /* JSON array */
    char *virt_type;      /* what is usable: "kvm" if the node's KVM works, else "qemu" */
    int64_t libvirt_version;
    int64_t qemu_version;
    int64_t max_client_requests;
    char *encryption; /* of this channel */
} HostFacts;
void host_facts_free(HostFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HostFacts, host_facts_free)

typedef struct JobStats { /* of a running or a finished move; bytes, ms; -1 where the hypervisor did
                             not say */
    bool active, completed, failed;
    int64_t elapsed_ms, downtime_ms, setup_ms;
    int64_t memory_total, memory_processed, memory_remaining, memory_bps;
    int64_t dirty_bps, iteration, page_size;
    int64_t disk_total, disk_processed, disk_remaining;
    bool postcopy;
    int64_t auto_converge_throttle;
} JobStats;

typedef struct MoveSpec {
    char *uuid;              /* of the domain */
    char *dest_uri;          /* libvirt URI that the source's libvirtd opens */
    char *migrate_uri;       /* NULL: libvirt chooses; e.g. tcp://10.88.0.3 */
    unsigned flags;          /* MigrateFlag; persistence bits as Godwit wants them */
    int64_t bandwidth_mib_s; /* 0: none */
    int64_t downtime_ms;     /* initial limit, set before the transfer starts */
    int64_t parallel_connections;
} MoveSpec;
MoveSpec *move_spec_copy(const MoveSpec *spec);
void move_spec_free(MoveSpec *spec);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoveSpec, move_spec_free)

/* ---- events -----------------------------------------------------------------------------------
 */
typedef enum HostEventKind {
    HOST_EVENT_CONNECTED,    /* facts are fresh: text is NULL */
    HOST_EVENT_DISCONNECTED, /* text: why */
    HOST_EVENT_DOMAIN,       /* domain lifecycle: change below */
    HOST_EVENT_ITERATION,    /* number: iteration of the pre-copy */
    HOST_EVENT_JOB_COMPLETED /* stats: final statistics of the source's job */
} HostEventKind;

typedef enum DomainChange {
    DOMAIN_DEFINED,
    DOMAIN_UNDEFINED,
    DOMAIN_STARTED,            /* booted */
    DOMAIN_STARTED_INCOMING,   /* QEMU of the destination is there */
    DOMAIN_SUSPENDED,          /* by somebody */
    DOMAIN_SUSPENDED_MIGRATED, /* source: the switch begins */
    DOMAIN_SUSPENDED_POSTCOPY,
    DOMAIN_RESUMED,          /* by somebody */
    DOMAIN_RESUMED_MIGRATED, /* destination: it runs here now; source: rolled back */
    DOMAIN_RESUMED_POSTCOPY,
    DOMAIN_STOPPED_SHUTDOWN, /* the guest powered off */
    DOMAIN_STOPPED_DESTROYED,
    DOMAIN_STOPPED_CRASHED,
    DOMAIN_STOPPED_MIGRATED, /* source: gone to the destination */
    DOMAIN_STOPPED_FAILED,
    DOMAIN_STOPPED_SAVED, /* suspended: its memory is kept on the node */
    DOMAIN_REBOOTED,
} DomainChange;
extern const char *const domain_change_names[];

typedef struct HostEvent {
    HostEventKind kind;
    char *host; /* name */
    char *uuid; /* domain; NULL for connection events */
    DomainChange change;
    int64_t number;
    JobStats stats;
    char *text;
    int64_t at; /* clock_monotonic() when the driver saw it */
} HostEvent;
void host_event_free(HostEvent *event);

/* ---- the driver -------------------------------------------------------------------------------
 */
typedef struct HostConn HostConn; /* one connection of one driver to one node */
typedef struct HostDriver
    HostDriver; /* the driver's own state (the fake's world; NULL for libvirt) */
/* Called on the driver's event thread (libvirt: the main loop); must not block. Takes event. */
typedef void (*HostEventFn)(HostEvent *event, void *opaque);

typedef enum HostLane {
    HOST_CONTROL,
    HOST_WORK
} HostLane;

typedef struct HostOps {
    const char *name;

    /* Open a connection; blocks up to the transport's own time-out. With on_event the connection
     * also delivers the events of every domain; on_closed is called at most once, when it is lost
     * (also without on_event). Both may already be called before open returns. */
    HostConn *(*open)(HostDriver *driver, const char *host, const char *uri, HostEventFn on_event,
                      void (*on_closed)(const char *why, void *opaque), void *opaque, GError **err);
    /* Called when no other call is under way on conn, and never from a callback. After it has
     * returned neither callback is called again: opaque may be freed. May block shortly. */
    void (*close)(HostConn *conn);

    /* Control lane: none takes over a second on a healthy node; all idempotent. */
    HostFacts *(*facts)(HostConn *conn, const char *virt_type, GError **err);
    GPtrArray *(*domains)(HostConn *conn, GError **err); /* all DomainInfo on the node */
    /* State of one domain; ABSENT is an answer, not an error. */
    DomainInfo *(*domain_probe)(HostConn *conn, const char *uuid, GError **err);
    bool (*job_stats)(HostConn *conn, const char *uuid, bool completed, JobStats *stats,
                      GError **err);
    bool (*job_abort)(HostConn *conn, const char *uuid, GError **err); /* no job: ok */
    bool (*set_downtime)(HostConn *conn, const char *uuid, int64_t ms, GError **err);
    bool (*set_bandwidth)(HostConn *conn, const char *uuid, int64_t mib_s, GError **err);
    /* Let a running move that permits it end by post-copy. ERR_CONFLICT: no such move, or it was
     * not started with MIGRATE_POSTCOPY. Under way already: ok. */
    bool (*migrate_postcopy)(HostConn *conn, const char *uuid, GError **err);
    /* While it moves away: the move has less to do, and where it ends the guest runs. */
    bool (*pause)(HostConn *conn, const char *uuid, GError **err);
    bool (*resume)(HostConn *conn, const char *uuid, GError **err);
    /* Ask the guest to power off; returns at once, the STOPPED event follows. Not running: ok. */
    bool (*domain_shutdown)(HostConn *conn, const char *uuid, GError **err);
    bool (*domain_reboot)(HostConn *conn, const char *uuid, GError **err); /* soft, by ACPI */
    /* Keep the key of a network disk on the node under uuid, replacing an older one. usage names it
     * for people. The value is never logged. */
    bool (*secret_define)(HostConn *conn, const char *uuid, const char *usage, const void *value,
                          size_t size, GError **err);

    /* Work lane. */
    /* Define (replacing an older definition of the same uuid) and start. A domain that runs already
     * is success. Always a boot: memory that was saved is dropped. On failure nothing runs.
     * machine_out, cpu_out (may be NULL): what libvirt made of it, to be pinned. */
    bool (*domain_start)(HostConn *conn, const ServerSpec *spec, char **machine_out, char **cpu_out,
                         GError **err);
    /* Write the guest's memory to the node's disk and stop it; saved already: ok. Paused meanwhile.
     * On failure it runs on. Not running: ERR_CONFLICT. */
    bool (*domain_save)(HostConn *conn, const char *uuid, GError **err);
    /* Go on from there; it runs, also if it was saved while paused. Active already: ok.
     * ERR_NOT_FOUND: nothing is saved, or no such domain (a start would boot). On failure the saved
     * memory stays. */
    bool (*domain_restore)(HostConn *conn, const char *uuid, GError **err);
    bool (*domain_define)(HostConn *conn, const ServerSpec *spec,
                          GError **err); /* define only; idempotent */
    bool (*domain_destroy)(
        HostConn *conn, const char *uuid,
        GError **err); /* power off now; absent or off: ok. Control lane:
                        * when a link is cut, migrate calls may fill the work lane */
    bool (*domain_undefine)(HostConn *conn, const char *uuid,
                            GError **err); /* absent: ok; running: ERR_CONFLICT; saved memory goes
                                              with it */
    /* Move; blocks until libvirt's call returns (hours); stop it by job_abort on the control lane.
     * A return of true is not yet success: see DESIGN "When a move is over". Never repeat without a
     * probe. */
    bool (*migrate)(HostConn *conn, const MoveSpec *spec, GError **err);

    /* Does this node's QEMU open the disk? Asks a paused guest called PROBE_PREFIX + uuid that has
     * nothing else, and removes it; *capacity is the disk's size as QEMU sees it. A disk that never
     * answers blocks the call for long: domain_destroy of uuid ends it. */
    bool (*disk_probe)(HostConn *conn, const char *uuid, const char *virt_type,
                       const DiskSpec *disk, int64_t *capacity, GError **err);

    /* Give the domain a further disk, to its definition and, if it runs, to the guest. One with the
     * same serial is there: ok; in one half only (a crash): the other is added. ERR_CONFLICT: the
     * target is taken, or its memory is saved. ERR_BUSY: it is being migrated. */
    bool (*disk_attach)(HostConn *conn, const char *uuid, const DiskSpec *disk, GError **err);
    /* Take it away again, from the definition and from the guest; returns when the guest has let
     * go. A guest that does not within a bound set by the driver (libvirt: 20 s): ERR_TIMEOUT,
     * outcome known to be "still there", in the definition too; a guest that was asked may still
     * let go later, which the next call completes. ERR_BUSY: it is being migrated. ERR_CONFLICT:
     * its memory is saved, and the guest in it has the disk. Not there, or no such domain: ok. */
    bool (*disk_detach)(HostConn *conn, const char *uuid, const char *serial, GError **err);
    /* Serials of the disks that the guest has (if it runs) or the definition has. Elements char *.
     * Control lane. ERR_NOT_FOUND: no such domain. */
    GPtrArray *(*disk_serials)(HostConn *conn, const char *uuid, GError **err);
    /* Tell a running guest that a disk has grown to size bytes. Not running: ok. ERR_INVALID: it
     * would shrink; ERR_NOT_FOUND: the guest has no such disk. */
    bool (*disk_resize)(HostConn *conn, const char *uuid, const char *serial, int64_t size,
                        GError **err);

    /* CPU */
    /* The <cpu> element for a new domain from the mode, over the hypervisor CPUs of all given nodes
     * (XML texts). limit_out (may be NULL): for people, which node and features set the limit. */
    char *(*cpu_choose)(HostConn *conn, const LibvirtSettings *settings,
                        const char *const *host_names, const char *const *hypervisor_cpus, size_t n,
                        char **limit_out, GError **err);
    /* The <cpu> of the running domain, as the guest sees it now. */
    char *(*domain_cpu)(HostConn *conn, const char *uuid, GError **err);
    /* Can this node's hypervisor give this CPU? ERR_UNSUPPORTED names the missing features. */
    bool (*cpu_compare)(HostConn *conn, const char *cpu_xml, const char *virt_type,
                        const char *machine, GError **err);

    /* Files on the node by libvirt alone (transient dir pool, volume up- and download). A negative
     * offset counts from the end. */
    bool (*file_read)(HostConn *conn, const char *path, int64_t offset, int64_t most,
                      GString *contents, GError **err);
    bool (*file_write)(HostConn *conn, const char *path, const char *contents, size_t size,
                       GError **err);
    bool (*file_delete)(HostConn *conn, const char *path, GError **err);    /* absent: ok */
    bool (*directory_make)(HostConn *conn, const char *path, GError **err); /* there: ok */
    /* Total and free bytes of the file system that path is on, as the node sees it. */
    bool (*file_system)(HostConn *conn, const char *path, int64_t *total, int64_t *free_bytes,
                        GError **err);
} HostOps;

#define PROBE_PREFIX "godwit-probe-"

extern const HostOps host_libvirt_ops;
/* Initialise libvirt and its event loop on the default main context; once, before any open. */
bool host_libvirt_init(GError **err);

/* ---- the set of nodes -------------------------------------------------------------------------
 *
 * Every call below blocks the calling thread up to deadline_us (monotonic) and may be made from any
 * thread but the main loop. A node that is not connected answers ERR_UNREACHABLE at once. A call
 * whose deadline passes returns ERR_TIMEOUT and is left to end by itself. Each passes fault points
 * host.NAME.before/after, refuses inside a store transaction (ERR_BUG) and asks `may_act` first
 * (ERR_FENCED). */
typedef struct Hosts Hosts;

typedef struct HostsConfig {
    const HostOps *ops;
    HostDriver *driver;
    HostEventFn on_event; /* called from driver threads; must not block; takes event */
    void *opaque;
    bool (*may_act)(void *opaque); /* NULL: always */
    bool (*inside_transaction)(
        void); /* does the calling thread stand in a store transaction? NULL: never */
    const char *virt_type;
} HostsConfig;

Hosts *hosts_new(const HostsConfig *config);
/* Closes all and waits at most 5 s for calls under way; later calls answer ERR_UNREACHABLE. Moves
 * under way are not waited for (they run on between the nodes): their on_end comes, with
 * ERR_UNREACHABLE, before hosts_stop returns. */
void hosts_stop(Hosts *hosts);
void hosts_free(Hosts *hosts); /* stops first, unless that was done */
/* Keep name connected to uri from now on (reconnect with back-off 0.5 s … 30 s, jittered). Same
 * name: replaces. */
void hosts_add(Hosts *hosts, const char *name, const char *uri);
/* Forget name: queued calls end with ERR_UNREACHABLE, no more events of it come, its threads end by
 * themselves. */
void hosts_remove(Hosts *hosts, const char *name);
bool hosts_is_connected(Hosts *hosts, const char *name);
/* Work calls in flight at most, per node: max_client_requests − 1, at least 1. */
void hosts_set_work_limit(Hosts *hosts, const char *name, int64_t limit);

const char *hosts_virt_type(const Hosts *hosts); /* of the configuration; "" if none */

typedef bool (*HostCall)(const HostOps *ops, HostConn *conn, void *opaque, GError **err);
/* Run fn on a thread of the node's lane. On ERR_TIMEOUT fn may still be running: opaque is then
 * freed by opaque_free when it ends; in every other case before host_call returns. call_name names
 * the fault points. */
bool host_call(Hosts *hosts, const char *host, HostLane lane, const char *call_name, HostCall fn,
               void *opaque, GDestroyNotify opaque_free, int64_t deadline_us, GError **err);

/* The operations, typed, over host_call. Semantics as in HostOps. */
HostFacts *host_facts(Hosts *hosts, const char *host, int64_t deadline_us, GError **err);
GPtrArray *host_domains(Hosts *hosts, const char *host, int64_t deadline_us, GError **err);
DomainInfo *host_domain_probe(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                              GError **err);
bool host_job_stats(Hosts *hosts, const char *host, const char *uuid, bool completed,
                    JobStats *stats, int64_t deadline_us, GError **err);
bool
host_job_abort(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us, GError **err);
bool host_set_downtime(Hosts *hosts, const char *host, const char *uuid, int64_t ms,
                       int64_t deadline_us, GError **err);
bool host_set_bandwidth(Hosts *hosts, const char *host, const char *uuid, int64_t mib_s,
                        int64_t deadline_us, GError **err);
bool host_migrate_postcopy(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                           GError **err);
bool host_domain_save(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                      GError **err);
bool host_domain_restore(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                         GError **err);
bool host_domain_pause(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                       GError **err);
bool host_domain_resume(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                        GError **err);
bool host_domain_shutdown(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                          GError **err);
bool host_domain_reboot(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                        GError **err);
bool host_domain_start(Hosts *hosts, const char *host, const ServerSpec *spec, char **machine,
                       char **cpu, int64_t deadline_us, GError **err);
bool host_domain_define(Hosts *hosts, const char *host, const ServerSpec *spec, int64_t deadline_us,
                        GError **err);
bool host_domain_destroy(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                         GError **err);
bool host_domain_undefine(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                          GError **err);
bool host_secret_define(Hosts *hosts, const char *host, const char *uuid, const char *usage,
                        const void *value, size_t size, int64_t deadline_us, GError **err);
bool host_disk_probe(Hosts *hosts, const char *host, const char *uuid, const DiskSpec *disk,
                     int64_t *capacity, int64_t deadline_us, GError **err);
bool host_disk_attach(Hosts *hosts, const char *host, const char *uuid, const DiskSpec *disk,
                      int64_t deadline_us, GError **err);
bool host_disk_detach(Hosts *hosts, const char *host, const char *uuid, const char *serial,
                      int64_t deadline_us, GError **err);
GPtrArray *host_disk_serials(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                             GError **err);
bool host_disk_resize(Hosts *hosts, const char *host, const char *uuid, const char *serial,
                      int64_t size, int64_t deadline_us, GError **err);
char *host_cpu_choose(Hosts *hosts, const char *host, const LibvirtSettings *settings,
                      const char *const *host_names, const char *const *hypervisor_cpus, size_t n,
                      char **limit, int64_t deadline_us, GError **err);
char *host_domain_cpu(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                      GError **err);
bool host_cpu_compare(Hosts *hosts, const char *host, const char *cpu_xml, const char *virt_type,
                      const char *machine, int64_t deadline_us, GError **err);
bool host_file_read(Hosts *hosts, const char *host, const char *path, int64_t offset, int64_t most,
                    GString *contents, int64_t deadline_us, GError **err);
bool host_file_write(Hosts *hosts, const char *host, const char *path, const char *contents,
                     size_t size, int64_t deadline_us, GError **err);
bool host_file_delete(Hosts *hosts, const char *host, const char *path, int64_t deadline_us,
                      GError **err);
bool host_directory_make(Hosts *hosts, const char *host, const char *path, int64_t deadline_us,
                         GError **err);
bool host_file_system(Hosts *hosts, const char *host, const char *path, int64_t *total,
                      int64_t *free_bytes, int64_t deadline_us, GError **err);

/* A move takes hours: it starts here and its end arrives in the callback, on a work thread. spec is
 * copied. Returns false if it could not be started (then on_end is not called). on_end: error NULL
 * = the call returned 0; takes error. Fault points sit around the call as everywhere. */
typedef void (*HostMoveEnd)(const char *host, const char *uuid, GError *error, void *opaque);
bool host_migrate_start(Hosts *hosts, const char *host, const MoveSpec *spec, HostMoveEnd on_end,
                        void *opaque, GError **err);

/* ---- the fake ---------------------------------------------------------------------------------
 */
extern const HostOps host_fake_ops;
/* A world of n nodes "host1" … "hostN" in shared anonymous memory: it outlives any process that
 * inherits it, and a move in it runs on when its client is killed, as real peer-to-peer moves do. A
 * URI means the node whose number ends its host part: "fake://host3/system" and
 * "qemu+tcp://192.0.2.3/system" are node 3. Fork only while no connection is open in the process.
 */
HostDriver *host_fake_world_new(int n_nodes);
void host_fake_world_free(HostDriver *world);
typedef enum FakeFault {
    FAKE_FAULT_NONE,
    FAKE_NODE_DOWN,          /* no connection, its domains die */
    FAKE_NODE_CUT,           /* no connection, its domains run on */
    FAKE_START_FAILS,        /* domain_start and domain_restore answer ERR_BACKEND */
    FAKE_MIGRATE_FAILS,      /* in mid-transfer, rolled back on the source */
    FAKE_MIGRATE_NO_TLS,     /* the same, since QEMU finds no certificates */
    FAKE_MIGRATE_RUNS_TWICE, /* destination resumed, source resumed as well after its time-out */
    FAKE_MIGRATE_LOST,       /* returned 0 and the guest is on no node */
    /* its pre-copy goes round until the guest is paused on the source, post-copy is started, or it
     * is aborted */
    FAKE_MIGRATE_NEVER_CONVERGES,
    FAKE_CPU_INCOMPATIBLE,
    FAKE_DISK_STAYS,   /* a guest does not let go of a disk: disk_detach answers ERR_TIMEOUT */
    FAKE_ATTACH_FAILS, /* disk_attach answers ERR_BACKEND, nothing done */
    FAKE_SAVE_FAILS,   /* domain_save answers ERR_BACKEND, the guest runs on */
} FakeFault;
/* node 1 is "host1". The fault stays until another (or NONE) is set; the migrate faults may sit on
 * source or destination. */
void host_fake_set_fault(HostDriver *world, int node, FakeFault fault);
/* From the start of a transfer to the destination's Resumed, and from there to the source's end.
 * FAKE_MIGRATE_RUNS_TWICE resumes the source 20 teardowns after the switch, which is about the
 * ratio of libvirt's keepalive limit to its teardown. */
void host_fake_set_timing(HostDriver *world, int64_t transfer_us, int64_t teardown_us);
int
host_fake_running_count(HostDriver *world,
                        const char *uuid); /* nodes on which it runs or was paused by somebody */
int host_fake_domain_count(HostDriver *world); /* domains known to any node */
