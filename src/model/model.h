/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* model.h: servers, hosts, networks, moves as plain values; the tables and the arithmetic that
 * decide about them.
 *
 * Nothing here does I/O, takes a lock or reads a clock: what is now comes in as an argument. Times
 * are CLOCK_REALTIME microseconds, 0 = never. Sizes carry their unit in the name. A text field may
 * be NULL where its comment says so; JSON text fields hold compact JSON and are never NULL once
 * stored ("{}", "[]"). */
#pragma once

#include "base/base.h"

/* ---- records ------------------------------------------------------------------------------------
 *
 * A record is a flat struct whose fields are char *, int64_t, bool or an enum. Its RecordType lists
 * them; copying, freeing and storing all work from that one list. The first field is the key: char
 * *id, or int64_t id given by the store. */
typedef enum FieldType {
    FIELD_TEXT,
    FIELD_INT,
    FIELD_BOOL,
    FIELD_ENUM
} FieldType;

typedef struct Field {
    const char *name; /* column name */
    FieldType type;
    size_t offset;
    const char *const *names; /* FIELD_ENUM: value → stored name, ended by NULL */
} Field;

typedef struct RecordType {
    const char *table;
    size_t size;
    const Field *fields;
    size_t n_fields;
} RecordType;

void *record_new(const RecordType *type);
void *record_copy(const RecordType *type, const void *record);
void record_free(const RecordType *type, void *record);
const Field *record_field(const RecordType *type, const char *name);
/* Replace a text field of a record: frees the old value, copies the new one (NULL allowed). */
void text_set(char **field, const char *value);

#define RECORD_DECLARE(Type, TYPE, prefix)         \
    extern const RecordType TYPE;                  \
    static inline void prefix##_free(Type *record) \
    {                                              \
        record_free(&TYPE, record);                \
    }                                              \
    G_DEFINE_AUTOPTR_CLEANUP_FUNC(Type, prefix##_free)

/* ---- identity ---------------------------------------------------------------------------------
 */
typedef struct Project {
    char *id; /* uuid without dashes, as Keystone's */
    char *name;
    char *description;
    bool enabled;
    int64_t created_at;
} Project;
RECORD_DECLARE(Project, PROJECT, project)

typedef struct User {
    char *id; /* uuid without dashes */
    char *name;
    char *password_hash;      /* yescrypt, "$y$…"; NULL: cannot log in by password */
    char *default_project_id; /* may be NULL */
    char *email;              /* may be NULL */
    char *description;        /* may be NULL */
    bool enabled;
    int64_t created_at;
    int64_t password_changed_at; /* tokens issued before it are void */
} User;
RECORD_DECLARE(User, USER, user)

typedef struct Role {
    char *id;
    char *name; /* "admin", "manager", "member", "reader" are made at init */
    int64_t created_at;
} Role;
RECORD_DECLARE(Role, ROLE, role)

typedef struct Assignment {
    char *id; /* "USER:PROJECT:ROLE" */
    char *user_id;
    char *project_id;
    char *role_id;
} Assignment;
RECORD_DECLARE(Assignment, ASSIGNMENT, assignment)

typedef struct Token {
    char *id; /* SHA-256 of the token in hex: the token itself is kept nowhere */
    char *user_id;
    char *project_id; /* NULL: unscoped */
    char *audit_id;
    char *methods; /* JSON array */
    int64_t issued_at;
    int64_t expires_at;
} Token;
RECORD_DECLARE(Token, TOKEN, token)

/* ---- hosts ------------------------------------------------------------------------------------
 */
typedef enum HostState {
    HOST_UNKNOWN,
    HOST_UP,
    HOST_DOWN
} HostState;
extern const char *const host_state_names[];

typedef struct Host {
    char *id;         /* uuid: hypervisor id; also the seed of the service id */
    char *name;       /* unique; what the clients call host and hypervisor_hostname */
    char *service_id; /* uuid of its nova-compute service row */
    int64_t number;   /* small number for microversions below 2.53 */
    char *uri;        /* libvirt URI that the controller opens */
    char *address; /* numeric IP of the node, shown as host_ip and used for %s of live_migration_uri
                    */
    char *migration_address; /* may be NULL: address */
    bool enabled;
    char *disabled_reason; /* may be NULL */
    bool forced_down;
    HostState state;    /* as last observed by watch */
    char *state_reason; /* may be NULL; why it is down, for people */
    int64_t state_changed_at;
    /* facts, as last read over libvirt; zero or NULL until first seen */
    int64_t vcpus;
    int64_t memory_mb;
    int64_t disk_gb;
    int64_t disk_free_gb;
    char *cpu_info;          /* JSON object: arch, model, vendor, topology, features */
    char *hypervisor_cpu;    /* XML of the CPU that this hypervisor can give (domain capabilities,
                                host-model) */
    char *cpu_models;        /* JSON array of usable named models */
    char *virt_type;         /* "kvm" or "qemu": what guests run with here */
    char *libvirt_uuid;      /* the node's own host UUID: two hosts must not be one node */
    int64_t libvirt_version; /* major * 1000000 + minor * 1000 + micro, as libvirt counts */
    int64_t qemu_version;
    int64_t max_client_requests; /* of the node's libvirtd; 5 unless read */
    char *encryption;        /* "plaintext", "tls", "ssh": the controller's channel to the node */
    bool storage_visible;    /* shown by the nonce since the last connect */
    char *storage_reason;    /* may be NULL; why not visible */
    int64_t foreign_domains; /* that are not Godwit's, as of facts_at */
    int64_t started_at;      /* node's boot or first seen; 0 unknown */
    int64_t facts_at;
    int64_t created_at;
    int64_t updated_at;
} Host;
RECORD_DECLARE(Host, HOST, host)

/* ---- flavors, images, key pairs ---------------------------------------------------------------
 */
typedef struct Flavor {
    char *id; /* any text the operator gives, a uuid by default */
    char *name;
    int64_t vcpus;
    int64_t ram_mb;
    int64_t disk_gb;
    int64_t ephemeral_gb;
    int64_t swap_mb;
    bool is_public;
    char *extra_specs; /* JSON object of strings */
    char *description; /* may be NULL */
    int64_t created_at;
} Flavor;
RECORD_DECLARE(Flavor, FLAVOR, flavor)

typedef enum ImageStatus {
    IMAGE_QUEUED,
    IMAGE_SAVING,
    IMAGE_ACTIVE,
    IMAGE_KILLED,
    IMAGE_DELETED
} ImageStatus;
extern const char *const image_status_names[];

typedef struct Image {
    char *id;
    char *name; /* may be NULL */
    ImageStatus status;
    char *disk_format;      /* "raw", "qcow2" as uploaded; may be NULL while queued */
    char *container_format; /* "bare"; may be NULL while queued */
    char *visibility;       /* "public", "private", "shared", "community" */
    char *owner;            /* project id */
    int64_t size;           /* bytes as uploaded; 0 while queued */
    int64_t virtual_size;   /* bytes the guest sees; 0 while queued */
    char *checksum;         /* MD5 hex of the upload; may be NULL */
    char *sha512;           /* may be NULL */
    int64_t min_disk_gb;
    int64_t min_ram_mb;
    bool is_protected;
    bool is_hidden;
    char *properties; /* JSON object of strings */
    char *tags;       /* JSON array */
    int64_t created_at;
    int64_t updated_at;
} Image;
RECORD_DECLARE(Image, IMAGE, image)

typedef struct Keypair {
    char *id; /* "USER_ID:NAME" */
    char *user_id;
    char *name;
    char *type; /* "ssh" or "x509" */
    char *public_key;
    char *fingerprint;
    int64_t created_at;
} Keypair;
RECORD_DECLARE(Keypair, KEYPAIR, keypair)

/* ---- networks ---------------------------------------------------------------------------------
 */
typedef struct Network {
    char *id;
    char *name;
    char *project_id;
    char *bridge; /* name of the bridge that carries it on every node */
    int64_t mtu;
    bool shared;
    bool admin_state_up;
    char *description;
    int64_t created_at;
    int64_t updated_at;
} Network;
RECORD_DECLARE(Network, NETWORK, network)

typedef struct Subnet {
    char *id;
    char *name;
    char *network_id;
    char *project_id;
    char *cidr;       /* IPv4, "10.88.0.0/24" */
    char *gateway_ip; /* may be NULL: none */
    char *pool_start;
    char *pool_end;
    char *dns_nameservers; /* JSON array */
    char *host_routes;     /* JSON array */
    bool enable_dhcp;
    char *description;
    int64_t created_at;
    int64_t updated_at;
} Subnet;
RECORD_DECLARE(Subnet, SUBNET, subnet)

typedef struct Port {
    char *id;
    char *name;
    char *network_id;
    char *subnet_id; /* may be NULL: no address */
    char *project_id;
    char *mac_address;  /* lower case, fa:16:3e:… */
    char *ip_address;   /* may be NULL */
    char *device_id;    /* server id, or "" */
    char *device_owner; /* "compute:nova", or "" */
    char *description;
    bool admin_state_up;
    int64_t position; /* order of the network cards of one server */
    bool auto_delete; /* made with the server, goes with the server */
    int64_t created_at;
    int64_t updated_at;
} Port;
RECORD_DECLARE(Port, PORT, port)

/* ---- servers ----------------------------------------------------------------------------------
 */
typedef enum VmState {
    VM_BUILDING,
    VM_ACTIVE,
    VM_PAUSED,
    VM_SUSPENDED,
    VM_STOPPED,
    VM_RESIZED,
    VM_ERROR,
    VM_DELETED,
} VmState;
extern const char *const vm_state_names[];

typedef enum TaskState { /* what is being done to the server right now; TASK_NONE is null in the API
                          */
    TASK_NONE,
    TASK_SCHEDULING,
    TASK_SPAWNING,
    TASK_POWERING_ON,
    TASK_POWERING_OFF,
    TASK_REBOOTING,
    TASK_REBOOTING_HARD,
    TASK_DELETING,
    TASK_MIGRATING,
    TASK_RESIZE_PREP,
    TASK_RESIZE_MIGRATING,
    TASK_RESIZE_MIGRATED,
    TASK_RESIZE_FINISH,
    TASK_RESIZE_CONFIRMING,
    TASK_RESIZE_REVERTING,
    TASK_PAUSING,
    TASK_UNPAUSING,
    TASK_SUSPENDING,
    TASK_RESUMING,
    TASK_REBUILDING, /* evacuation, as Nova names it */
} TaskState;
extern const char *const task_state_names[]; /* "", "scheduling", "spawning", "powering-on", … */

typedef enum PowerState {
    POWER_UNKNOWN,
    POWER_RUNNING,
    POWER_PAUSED,
    POWER_SHUTDOWN,
    POWER_CRASHED,
    POWER_SUSPENDED
} PowerState;
extern const char *const power_state_names[];
int power_state_number(PowerState state); /* Nova's: 0 1 3 4 6 7 */

typedef struct Server {
    char *id;
    char *name;
    char *hostname;
    char *description; /* may be NULL */
    char *project_id;
    char *user_id;
    VmState vm_state;
    TaskState task_state;
    PowerState power_state;
    char *host;              /* name of the host whose resources it holds; NULL while not placed */
    char *availability_zone; /* asked for; may be NULL */
    /* flavor as it was at creation: a later change of the flavor does not touch the server */
    char *flavor_id;
    char *flavor_name;
    int64_t vcpus;
    int64_t ram_mb;
    int64_t disk_gb;
    int64_t ephemeral_gb;
    int64_t swap_mb;
    char *extra_specs;     /* JSON object */
    char *image_id;        /* "": it boots from a volume */
    char *key_name;        /* may be NULL */
    char *user_data;       /* base64 as given; may be NULL */
    bool config_drive;     /* asked for by the client; Godwit makes one always */
    char *metadata;        /* JSON object of strings */
    char *tags;            /* JSON array of strings */
    char *security_groups; /* JSON array of names */
    char *reservation_id;
    int64_t launch_index;
    int64_t number; /* instance_name is "instance-%08x" of it; libvirt's domain name */
    bool locked;
    char *locked_reason; /* may be NULL */
    char *cpu_xml;       /* <cpu> given to the domain at its last start; NULL before */
    char *machine; /* machine type pinned at the first start, e.g. "pc-i440fx-7.2"; NULL before */
    char *console_parts; /* JSON array of host names in the order the console log was written on
                            them */
    int64_t fault_code;  /* 0: none */
    char *fault_message; /* may be NULL */
    int64_t fault_at;
    int64_t launched_at;
    int64_t terminated_at;
    int64_t created_at;
    int64_t updated_at;
    char *uncertainty; /* NULL, or what is not known ("may run on two nodes: host1, host2") */
    char *locked_by;   /* NULL; "admin": only an administrator may unlock it; "owner" */
} Server;
RECORD_DECLARE(Server, SERVER, server)

/* "instance-0000002a"; caller frees */
char *server_domain_name(const Server *server);
/* The API's status word ("ACTIVE", "MIGRATING", "VERIFY_RESIZE", …) of a pair of states */
const char *server_status(VmState vm_state, TaskState task_state);

/* ---- migrations -------------------------------------------------------------------------------
 */
typedef enum MigrationStatus {
    MIGRATION_ACCEPTED,
    MIGRATION_QUEUED,
    MIGRATION_PREPARING,
    MIGRATION_RUNNING,
    MIGRATION_POST_MIGRATING,
    MIGRATION_COMPLETED,
    MIGRATION_ERROR,
    MIGRATION_FAILED,
    MIGRATION_CANCELLED,
    /* cold migration and resize */
    MIGRATION_PRE_MIGRATING, /* evacuation, too: accepted, the node is being fenced */
    MIGRATION_MIGRATING,
    MIGRATION_FINISHED, /* to be confirmed or reverted: resources of both nodes are held */
    MIGRATION_CONFIRMING,
    MIGRATION_CONFIRMED,
    MIGRATION_REVERTING,
    MIGRATION_REVERTED,
    /* evacuation: the server runs elsewhere. MIGRATION_COMPLETED when what was left of it on the
     * node has been seen to be gone. */
    MIGRATION_DONE,
} MigrationStatus;
extern const char *const migration_status_names[];
bool migration_status_is_final(MigrationStatus status);

/* What somebody asked of a live migration under way; kept with it, so that it outlives a restart.
 */
typedef enum MigrationWish {
    WISH_NONE,
    WISH_ABORT,
    WISH_FORCE_COMPLETE,
} MigrationWish;
extern const char *const migration_wish_names[];

typedef struct Migration {
    int64_t id;
    char *uuid;
    char *server_id;
    char *project_id;
    char *user_id;
    char *type; /* "live-migration", "migration" (cold), "resize", "evacuation" */
    MigrationStatus status;
    char *phase; /* queue select check reserve prepare transfer pause post-copy switch commit
                    cleanup done; of other types their own */
    char *source_host;
    char *dest_host;  /* NULL until chosen */
    bool dest_given;  /* by the caller: no other host is tried */
    char *flavor_id;  /* before */
    char *reason;     /* NULL, or why it failed */
    char *error_code; /* NULL, or err_code_name() of the reason */
    char *encryption; /* NULL until known: "plaintext", "tls", … of the memory stream */
    char *flags;      /* NULL until known: flag names in effect, "LIVE,PEER2PEER,…" */
    /* progress: bytes as libvirt reports them, read at most once a second */
    int64_t memory_total;
    int64_t memory_processed;
    int64_t memory_remaining;
    int64_t memory_bps; /* bytes per second on the wire */
    int64_t dirty_bps;  /* bytes per second made dirty */
    int64_t iterations;
    int64_t disk_total;
    int64_t disk_processed;
    int64_t disk_remaining;
    int64_t downtime_limit_ms; /* in force */
    int64_t eta_ms;            /* predicted remaining time; -1: does not converge; 0: unknown */
    /* outcome: microseconds unless named otherwise */
    int64_t downtime_ms; /* as libvirt reports it; -1 unknown */
    int64_t total_ms;    /* libvirt's total time; -1 unknown */
    char *phases;        /* JSON object: phase → microseconds it took */
    int64_t predicted_ms;
    int64_t predicted_downtime_ms;
    int64_t resumed_at; /* destination's Resumed seen */
    int64_t active_at;  /* server ACTIVE on the destination, committed */
    int64_t created_at;
    int64_t started_at; /* transfer's start */
    int64_t ended_at;
    int64_t updated_at;
    MigrationWish wish;
    int64_t priority; /* the higher the sooner out of the queue; 0 is usual */
    char *attempts;   /* NULL: none; JSON array of {"host", "at" (realtime µs), "error_code",
                         "reason"}:   hosts that were tried before dest_host, in order */
    /* resize, cold migration: what is reserved on the source until confirmed, and on the
     * destination; 0 in others, which count with the server's own figures */
    int64_t old_vcpus, old_ram_mb, new_vcpus, new_ram_mb;
    char *old_flavor, *new_flavor; /* server_flavor_format; NULL: not a resize */
    VmState old_vm_state;          /* resize, cold migration, evacuation: as it was when accepted */
    char *
        fence; /* evacuation: JSON object, what made sure that the former node cannot write; NULL */
} Migration;
RECORD_DECLARE(Migration, MIGRATION, migration)

/* The flavor that is embedded in a server, as a JSON object, and back into it. Caller frees. */
char *server_flavor_format(const Server *server);
char *flavor_format(const Flavor *flavor);                                /* of the same form */
bool server_flavor_apply(Server *server, const char *text, GError **err); /* ERR_BUG: not of it */

/* ---- fences -------------------------------------------------------------------------------------
 * A client of the cluster that is shut out because its node is taken for dead. It stays so (the
 * sweep asserts it again before it expires) until the node is back and its guests were seen to be
 * gone; then the entry is lifted and the row deleted. */
typedef struct Fence {
    int64_t id;
    char *host;
    char *address;      /* "192.0.2.7:0/3710147553" */
    char *server_id;    /* whose disk it had open when it was fenced; may be "" */
    int64_t expires_at; /* 0: asked for, not known to be in force yet */
    int64_t created_at;
} Fence;
RECORD_DECLARE(Fence, FENCE, fence)

/* ---- volumes ------------------------------------------------------------------------------------
 */
typedef enum VolumeStatus { /* the words of the block storage API */
    VOLUME_CREATING,
    VOLUME_DOWNLOADING, /* an image is being copied into it */
    VOLUME_AVAILABLE,
    VOLUME_RESERVED, /* for an attachment that has been accepted */
    VOLUME_ATTACHING,
    VOLUME_IN_USE,
    VOLUME_DETACHING,
    VOLUME_EXTENDING,
    VOLUME_DELETING,
    VOLUME_ERROR,
    VOLUME_ERROR_DELETING,
    VOLUME_ERROR_EXTENDING,
} VolumeStatus;
extern const char *const volume_status_names[];

typedef struct Volume {
    char *id;
    char *name;        /* may be empty; not unique, as Cinder's */
    char *description; /* may be NULL */
    char *project_id;
    char *user_id;
    VolumeStatus status;
    int64_t size_gb;
    char *volume_type;        /* name of a VolumeType */
    bool bootable;            /* made from an image, or said so */
    bool read_only;           /* attached so from now on */
    char *image_id;           /* made from it; may be NULL */
    char *image_metadata;     /* JSON object, of that image as it was; {} */
    char *snapshot_id;        /* made from it; may be NULL */
    char *source_volume_id;   /* made from it; may be NULL */
    char *metadata;           /* JSON object of strings */
    char *availability_zone;  /* may be NULL */
    int64_t progress_percent; /* of a long copy under way; 0 … 100 */
    char *fault_message;      /* may be NULL; why it is in error */
    int64_t created_at;
    int64_t updated_at;
} Volume;
RECORD_DECLARE(Volume, VOLUME, volume)

typedef enum SnapshotStatus {
    SNAPSHOT_CREATING,
    SNAPSHOT_AVAILABLE,
    SNAPSHOT_DELETING,
    SNAPSHOT_ERROR,
    SNAPSHOT_ERROR_DELETING
} SnapshotStatus;
extern const char *const snapshot_status_names[];

typedef struct Snapshot {
    char *id;
    char *name;
    char *description; /* may be NULL */
    char *volume_id;
    char *project_id;
    char *user_id;
    SnapshotStatus status;
    int64_t size_gb;     /* of the volume when it was made */
    char *metadata;      /* JSON object of strings */
    char *fault_message; /* may be NULL */
    int64_t created_at;
    int64_t updated_at;
} Snapshot;
RECORD_DECLARE(Snapshot, SNAPSHOT, snapshot)

typedef struct VolumeType {
    char *id;
    char *name;        /* unique; "__DEFAULT__" is made at init */
    char *description; /* may be NULL */
    bool is_public;
    char *extra_specs; /* JSON object of strings */
    int64_t created_at;
    int64_t updated_at;
} VolumeType;
RECORD_DECLARE(VolumeType, VOLUME_TYPE, volume_type)

/* A volume in a server. There from the moment the request is accepted until the guest has let go:
 * what a domain is built from, and what keeps the volume from being used twice (volume_id is
 * unique). */
typedef enum AttachmentState {
    ATTACHMENT_RESERVED, /* accepted; the guest may or may not have it */
    ATTACHMENT_ATTACHED,
    ATTACHMENT_DETACHING
} AttachmentState;
extern const char *const attachment_state_names[];

typedef struct Attachment {
    char *id;
    char *volume_id;
    char *server_id;
    AttachmentState state;
    char *device;       /* "vda", "vdb", …: unique in the server; shown as /dev/vdb */
    int64_t boot_index; /* 0: the server boots from it; -1: not */
    bool delete_on_termination;
    bool read_only;
    char *tag; /* may be NULL */
    int64_t attached_at;
    int64_t created_at;
} Attachment;
RECORD_DECLARE(Attachment, ATTACHMENT, attachment)

/* Of one project; -1: no limit. A project without a row has the defaults (quota_defaults). */
typedef struct Quota {
    char *id; /* project id */
    int64_t volumes;
    int64_t snapshots;
    int64_t gigabytes; /* of volumes and snapshots together */
    int64_t per_volume_gigabytes;
} Quota;
RECORD_DECLARE(Quota, QUOTA, quota)
extern const Quota quota_defaults; /* Cinder's: 10 volumes, 10 snapshots, 1000 GB, -1 */

typedef struct QuotaUsage {
    int64_t volumes, snapshots, gigabytes;
    int64_t largest_gigabytes; /* of a request: its largest volume */
} QuotaUsage;
/* May a project that has used get more? ERR_QUOTA names the limit, in Cinder's words. */
bool quota_check(const Quota *quota, const QuotaUsage *used, const QuotaUsage *more, GError **err);

/* A client of the cluster that has, or had, one disk of a server open: QEMU on a node. Recorded
 * after each start, attach and move, so that it can be told from a stranger, and be fenced. */
typedef struct DiskClient {
    int64_t id;
    char *server_id;
    char *source;  /* POOL/IMAGE */
    char *host;    /* name of the node it runs on */
    char *address; /* "192.0.2.7:0/3710147553", as the cluster's watcher lists have it */
    int64_t created_at;
} DiskClient;
RECORD_DECLARE(DiskClient, DISK_CLIENT, disk_client)

/* ---- tasks, actions ---------------------------------------------------------------------------
 */
typedef enum TaskStatus {
    TASK_OPEN,
    TASK_SUCCEEDED,
    TASK_FAILED
} TaskStatus;
extern const char *const task_status_names[];

/* Where inside a phase a task stands. INTENT is committed before anything outside is touched. */
typedef enum TaskMark {
    TASK_MARK_NONE,
    TASK_MARK_INTENT,
    TASK_MARK_DONE,
    TASK_MARK_UNDO
} TaskMark;
extern const char *const task_mark_names[];

typedef struct Task {
    int64_t id;
    char *kind;           /* "server-create", "server-live-migrate", "volume-create", … */
    char *server_id;      /* "": none, it is about a volume alone */
    char *volume_id;      /* NULL: none */
    int64_t migration_id; /* 0: none */
    TaskStatus status;
    int64_t phase; /* index into the kind's steps */
    TaskMark mark;
    char *params; /* JSON object, fixed at submission */
    char *state;  /* JSON object, what the steps found out */
    char *host;   /* node the task acts on first; may be NULL */
    char *request_id;
    char *user_id;
    char *project_id;
    int64_t deadline_at; /* realtime µs; 0: none */
    char *error_code;    /* of the failure that is being undone, or of the end */
    char *error_message;
    int64_t epoch;
    int64_t created_at;
    int64_t updated_at;
    int64_t ended_at;
} Task;
RECORD_DECLARE(Task, TASK, task)

typedef struct Action { /* instance action: one accepted request against a server */
    int64_t id;
    char *request_id;
    char *server_id;
    char *project_id;
    char *user_id;
    char *action;  /* "create", "live-migration", "reboot", … */
    char *message; /* NULL, or why it failed */
    int64_t started_at;
    int64_t updated_at;
} Action;
RECORD_DECLARE(Action, ACTION, action)

typedef struct ActionEvent {
    int64_t id;
    int64_t action_id;
    char *event;   /* "compute_live_migration", … or a phase name */
    char *host;    /* may be NULL */
    char *result;  /* "Success", "Error"; NULL while it runs */
    char *details; /* NULL, or the reason */
    int64_t started_at;
    int64_t finished_at;
} ActionEvent;
RECORD_DECLARE(ActionEvent, ACTION_EVENT, action_event)

/* ---- permitted actions ------------------------------------------------------------------------
 * What may be done to a server in which state: one table gives the 409 and the documentation. */
typedef struct ActionRule {
    const char *action;       /* the API's key: "os-migrateLive", "os-start", "delete", … */
    const char *title;        /* as instance-actions names it: "live-migration" */
    unsigned vm_states;       /* bit set of 1u << VmState */
    TaskState task_state;     /* set in the same transaction that accepts the request */
    const char *task_kind;    /* NULL: no task */
    bool interrupts;          /* accepted also while another task runs (delete, evacuate) */
    bool settles_uncertainty; /* accepted also while it is not certain where the server runs */
    bool refused_when_locked;
} ActionRule;
extern const ActionRule action_rules[]; /* ended by action == NULL */
const ActionRule *action_rule_find(const char *action);
/* ERR_CONFLICT with Nova's wording ("Cannot 'os-start' instance ID while it is in vm_state active")
 */
bool action_rule_permits(const ActionRule *rule, const Server *server, bool caller_is_admin,
                         GError **err);

typedef struct VolumeRule {
    const char
        *action; /* "create", "delete", "extend", "snapshot", "attach", "detach", "clone", … */
    unsigned statuses;         /* bit set of 1u << VolumeStatus */
    VolumeStatus status_while; /* set in the transaction that accepts the request */
    const char *task_kind;     /* NULL: no task of the volume's own */
    bool refused_with_snapshots;
} VolumeRule;
extern const VolumeRule volume_rules[]; /* ended by action == NULL */
const VolumeRule *volume_rule_find(const char *action);
/* ERR_CONFLICT in Cinder's words ("Invalid volume: Volume status must be available or … to …, but
 * current status is: in-use."). */
bool volume_rule_permits(const VolumeRule *rule, const Volume *volume, GError **err);
/* "vda", … "vdz", "vdaa", …: the first name that is not in taken (ended by NULL). Caller frees. */
char *device_name_next(const char *const *taken);
/* "vdb" of "vdb" or "/dev/vdb"; NULL: it is no name that a disk can have. Caller frees. */
char *device_name_parse(const char *text);

/* ---- migration flags --------------------------------------------------------------------------
 * Our own bits; host-libvirt.c maps them to VIR_MIGRATE_*. */
typedef enum MigrateFlag {
    MIGRATE_LIVE = 1 << 0,
    MIGRATE_PEER2PEER = 1 << 1,
    MIGRATE_TUNNELLED = 1 << 2,
    MIGRATE_PERSIST_DEST = 1 << 3,
    MIGRATE_UNDEFINE_SOURCE = 1 << 4,
    MIGRATE_NON_SHARED_DISK = 1 << 5,
    MIGRATE_NON_SHARED_INC = 1 << 6,
    MIGRATE_UNSAFE = 1 << 7,
    MIGRATE_COMPRESSED = 1 << 8,
    MIGRATE_AUTO_CONVERGE = 1 << 9,
    MIGRATE_POSTCOPY = 1 << 10,
    MIGRATE_TLS = 1 << 11,
    MIGRATE_PARALLEL = 1 << 12,
    MIGRATE_ZEROCOPY = 1 << 13,
} MigrateFlag;

/* "VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER" (names with or without the prefix, blanks allowed) →
 * bits. ERR_INVALID names the unknown word; a known libvirt flag that Godwit cannot honour says
 * why. */
bool migrate_flags_parse(const char *list, unsigned *flags, GError **err);
char *migrate_flags_format(unsigned flags); /* "LIVE,PEER2PEER" */

typedef struct MigrateContext { /* what a combination of flags is judged against */
    int64_t source_libvirt, source_qemu, dest_libvirt,
        dest_qemu;        /* 0: not known yet, version rules are left out */
    bool has_migrate_uri; /* live_migration_inbound_addr or a migrate URI is configured */
} MigrateContext;
/* The table flag × flag × least version. ERR_INVALID or ERR_UNSUPPORTED names both flags, or flag
 * and version. */
bool migrate_flags_check(unsigned flags, const MigrateContext *context, GError **err);
/* Of the memory stream: "plaintext", "tls" or "ssh", from channel scheme × flags. */
const char *migrate_encryption(const char *uri_scheme, unsigned flags);

/* ---- [libvirt] settings -----------------------------------------------------------------------
 */
typedef enum CpuMode {
    CPU_MODE_BASELINE,
    CPU_MODE_CUSTOM,
    CPU_MODE_HOST_MODEL,
    CPU_MODE_HOST_PASSTHROUGH,
    CPU_MODE_NONE
} CpuMode;
extern const char *const cpu_mode_names[];

typedef struct LibvirtSettings {
    char *virt_type; /* "kvm" or "qemu" */
    CpuMode cpu_mode;
    char **cpu_models;      /* NULL-ended, first usable wins; empty unless custom */
    char **cpu_extra_flags; /* NULL-ended, "pcid", "+aes", "-mpx" */
    unsigned
        migrate_flags;   /* effective: defaults or live_migration_flag, then the boolean options */
    char *migration_uri; /* with one %s; NULL: as the destination is registered */
    bool native_tls_off; /* live_migration_with_native_tls = false was said, not just left out */
    char *inbound_addr;  /* may be NULL */
    int64_t downtime_ms; /* ceiling */
    int64_t downtime_initial_ms;          /* Godwit's own: 30 */
    int64_t bandwidth_mib_s;              /* 0: no limit */
    int64_t completion_timeout_s_per_gib; /* 0: none */
    bool timeout_force_complete;          /* live_migration_timeout_action = force_complete */
    int64_t parallel_connections;
    bool require_encryption;
} LibvirtSettings;
LibvirtSettings *libvirt_settings_new(void); /* the documented defaults */
void libvirt_settings_free(LibvirtSettings *settings);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LibvirtSettings, libvirt_settings_free)

/* Read the [libvirt] group. notices (may be NULL) collects char *: known to Nova, not needed here,
 * with line, key and what replaces it. Unknown to both, or a bad value: ERR_INVALID naming line,
 * key and remedy. text is the whole file, for line numbers. */
bool libvirt_settings_parse(const char *text, LibvirtSettings *settings, GPtrArray *notices,
                            GError **err);

/* ---- encryption of a move -----------------------------------------------------------------------
 */
typedef struct MigrateWire {   /* what a move's memory would pass over */
    const char *scheme;        /* of the URI that the source opens, like "qemu+tls" */
    const char *source, *dest; /* Host.encryption of both; NULL: not known */
} MigrateWire;
/* Decide how the memory of a move travels: "tls", "ssh" or "plaintext". Where either node or the
 * URI is encrypted, memory is too: MIGRATE_TLS is added to *flags unless a tunnel does it.
 * Plaintext is left for nodes that are both plaintext, and for who set native TLS to false.
 * ERR_FORBIDDEN: plaintext, although encryption is required or the nodes have it. */
bool migrate_encrypt(const LibvirtSettings *settings, const MigrateWire *wire, unsigned *flags,
                     const char **encryption, GError **err);
char *migrate_scheme(const char *uri); /* "qemu+tls" of "qemu+tls://host1/system" */
/* "plaintext", "tls" or "ssh" of a move between nodes like this one; "refused": none is made. */
const char *migrate_encryption_at(const LibvirtSettings *settings, const Host *host);

/* ---- libvirt URIs of nodes (host-uri.c) ---------------------------------------------------------
 */
/* Judge a URI that the controller is to open: "tcp", "tls" or "ssh". ERR_INVALID: another transport
 * or a parameter that is not among those that say where keys are; some of libvirt's run programs on
 * the controller, others leave checks out. */
const char *host_uri_transport(const char *uri, GError **err);
/* The URI by which the libvirt of another node opens the one that is registered with uri. */
char *host_uri_for_peers(const char *uri, const char *address);
/* template with address, in brackets if it is an IPv6 address, in place of %s */
char *host_uri_fill(const char *template, const char *address);

/* ---- disks on a Ceph cluster
 * --------------------------------------------------------------------- What a hypervisor must be
 * told to open an image, beside its name. */
typedef struct RbdAccess {
    char **monitors;   /* "192.0.2.1:3300", "[2001:db8::1]:3300"; ended by NULL */
    char *user;        /* cephx, without "client." */
    char *secret_uuid; /* of the secret that holds its key on the node */
    char *fsid;        /* of the cluster */
} RbdAccess;
RbdAccess *rbd_access_copy(const RbdAccess *access); /* NULL: NULL */
void rbd_access_free(RbdAccess *access);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RbdAccess, rbd_access_free)

/* ---- the storage as it describes itself ---------------------------------------------------------
 */
/* Which kind of thing a disk in the storage is, for lists and sweeps. */
typedef enum BlockPurpose {
    BLOCK_FOR_IMAGES,
    BLOCK_FOR_SERVERS,
    BLOCK_FOR_VOLUMES,
    BLOCK_PURPOSES
} BlockPurpose;

/* One pool (rbd) or directory (dir), as the storage itself describes it. */
typedef struct BlockPool {
    BlockPurpose purpose;
    char *name;    /* the pool's, or the directory's path */
    int64_t total; /* bytes that it could hold: used plus what is still free for it */
    int64_t used;  /* bytes stored */
    int64_t free_bytes;
    int64_t things; /* images, disks or volumes in it */
    char *trouble;  /* NULL, or what is wrong with it and the remedy */
} BlockPool;

/* ---- configuration files ----------------------------------------------------------------------
 * Walk a file's "key = value" lines in order, with the grammar of nova.conf (config-scan.c). fn
 * stops the walk by returning false with *err set. ERR_INVALID names the line that is none. */
typedef bool (*ConfigLineFn)(void *opaque, const char *group, const char *key, const char *value,
                             unsigned line, GError **err);
bool config_scan(const char *text, ConfigLineFn fn, void *opaque, GError **err);
/* A whole nova.conf may be pasted in: is this one of the groups that Nova or its libraries read? */
bool config_group_is_novas(const char *group);
/* [placement] is a group of Nova's and of ours: is key one that Nova's has (auth_url, region_name,
 * …)? */
bool config_key_is_novas_placement(const char *key);

/* ---- placement --------------------------------------------------------------------------------
 * Pure choice of a host: filters, each with a reason, then a weight (most free RAM, then fewest
 * servers, then name). */
typedef struct HostLoad {
    const Host *host;
    int64_t vcpus_used, ram_mb_used,
        servers; /* servers placed here and reservations of moves towards it */
} HostLoad;

typedef struct PlacementRequest {
    int64_t vcpus, ram_mb;
    const char *only_host;    /* NULL: any */
    const char *exclude_host; /* NULL: none; the source of a move */
    bool needs_storage;
    bool ignore_disabled; /* an administrator named the host explicitly */
    double cpu_ratio, ram_ratio;
    int64_t reserved_ram_mb; /* kept free per host */
    const char *virt_type;   /* NULL: any */
} PlacementRequest;

typedef struct PlacementVerdict {
    const Host *host;
    char *reason; /* NULL: fits */
} PlacementVerdict;
void placement_verdict_free(PlacementVerdict *verdict);

/* Judge every host; result is ordered: fitting hosts best first, then the others. Elements
 * PlacementVerdict *. */
GPtrArray *placement_judge(const PlacementRequest *request, const HostLoad *loads, size_t n_loads);
/* The best host's name, or NULL with ERR_CONFLICT ("No valid host was found: host1 is down; host2
 * …"). */
char *placement_choose(const PlacementRequest *request, const HostLoad *loads, size_t n_loads,
                       GError **err);
/* May a host that somebody named take a server at all? ERR_INVALID says why not, and what to do. */
bool placement_host_is_open(const Host *host, GError **err);

/* ---- prediction and downtime ------------------------------------------------------------------
 */
typedef struct MovePrediction {
    bool converges;
    int64_t total_ms;    /* -1 unless it converges */
    int64_t downtime_ms; /* least pause that lets it end */
    int64_t iterations;
} MovePrediction;
/* Geometric pre-copy model: remaining bytes, link and dirty rate in bytes/s, downtime limit in ms.
 */
MovePrediction
predict_move(int64_t remaining, int64_t link_bps, int64_t dirty_bps, int64_t downtime_limit_ms);

/* The downtime limit to set at an iteration event: starts low, grows only as far as remaining ÷
 * rate demands, never above the ceiling, never shrinks. Returns the new limit (== current: leave
 * it). */
int64_t downtime_next_limit(int64_t current_ms, int64_t ceiling_ms, int64_t iteration,
                            int64_t remaining, int64_t link_bps);
