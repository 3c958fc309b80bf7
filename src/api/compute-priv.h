/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-priv.h: what the files of the compute service share: body tables, list helpers, views,
 * handlers */
#pragma once

#include "api/api-priv.h"

/* ---- request bodies ----------------------------------------------------------------------------
 *
 * What a body may hold, by microversion, is data: a table of members per object. A member that no
 * row of the wanted microversion names is refused, as Nova refuses it. Rows for one key may repeat
 * with disjoint ranges. */
typedef enum BodyType {
    BODY_ANY,  /* anything, null included */
    BODY_NULL, /* nothing but null */
    BODY_TEXT, /* string of least … most bytes */
    BODY_TEXT_OR_NULL,
    BODY_CLEAN_OR_NULL, /* string without control characters, of at most `most` bytes, or null */
    BODY_NAME,          /* 1 … 255 printable bytes that do not begin or end with a blank */
    BODY_BOOL,          /* true, false or a string that Nova takes for one */
    BODY_BOOL_OR_AUTO,
    BODY_INT, /* least … most; a string of digits will do */
    BODY_INT_OR_NULL,
    BODY_UUID,
    BODY_UUID_OR_NULL,
    BODY_UUID_OR_EMPTY,
    BODY_REF,  /* a string or an integer that names something */
    BODY_HOST, /* [A-Za-z0-9._-], 1 … 255 */
    BODY_HOST_OR_NULL,
    BODY_HOSTNAME, /* one label, 2 … 63 */
    BODY_FQDN,     /* labels of 1 … 63 with dots between them, 255 in all */
    BODY_IP,
    BODY_IPV4,
    BODY_IPV6,
    BODY_WORD,     /* one of words */
    BODY_METADATA, /* object of strings, keys and values of at most 255 */
    BODY_TAG,      /* 1 … 60, neither comma nor slash */
    BODY_OBJECT,   /* members describes it */
    BODY_OBJECT_OR_NULL,
    BODY_OPEN_OBJECT, /* an object of anything */
    BODY_ARRAY,       /* members[0] describes each item; at most `most` items if that is not 0 */
    BODY_NETWORKS,    /* "auto", "none", or an array of which members[0] describes each item */
} BodyType;

typedef struct BodyMember {
    const char *key; /* NULL ends the table */
    BodyType type;
    bool required;
    int since, until; /* first and last microversion that knows it; 0: no limit */
    int64_t least, most;
    const char *const *words;
    const struct BodyMember *members;
} BodyMember;

#define BODY_INT_MAX 0x7FFFFFFF

/* ERR_INVALID names the member's path and what is wrong with it. */
bool body_check(const json_t *object, const char *path, const BodyMember *members, int microversion,
                GError **err);
/* body_check of the whole body of call; false: replied 400. */
bool body_accept(ApiCall *call, const BodyMember *members);
/* Readers for members that body_check has let pass; absent or null gives the default. */
bool body_bool(const json_t *object, const char *key, bool value);
int64_t body_int(const json_t *object, const char *key, int64_t value);
const char *body_text(const json_t *object, const char *key); /* NULL if absent, null or not text */
char *body_ref(const json_t *object, const char *key); /* text or number as text; caller frees */

/* The query may hold only the names given (NULL-ended). false: replied 400. */
bool query_accept(ApiCall *call, const char *const *names);
bool query_bool(ApiCall *call, const char *name, bool value);
/* Time of a query parameter; 0 if absent. false: replied 400. */
bool query_time(ApiCall *call, const char *name, int64_t *when);

/* A client's pattern against a text as SQL's REGEXP does it: found anywhere, case ignored. A
 * pattern that is no regular expression, too long or too costly is taken literally. */
typedef struct Matcher Matcher;
Matcher *matcher_new(const char *pattern);
void matcher_free(Matcher *matcher);
bool matcher_matches(const Matcher *matcher, const char *text);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Matcher, matcher_free)

/* ---- lists ------------------------------------------------------------------------------------
 */
#define API_PAGE_MAX 1000

/* Cut list (of records whose key text key_of gives) to the page after marker. ERR_INVALID if marker
 * is not in it. *more: there are rows after the page. */
bool page_cut(GPtrArray *list, const char *(*key_of)(const void *record), const char *marker,
              int64_t limit, bool *more, GError **err);
/* [{"rel": "next", "href": PATH?the call's query with marker}] */
json_t *page_next(ApiCall *call, const char *path, const char *marker);

/* ---- limits that stand for quotas --------------------------------------------------------------
 */
enum {
    COMPUTE_METADATA_MAX = 128,
    COMPUTE_TAGS_MAX = 50,
    COMPUTE_KEYPAIRS_MAX = 100,
    COMPUTE_CREATE_COUNT_MAX = 100, /* servers of one request */
    COMPUTE_NETWORKS_MAX = 16,      /* network cards of one server */
    COMPUTE_DISKS_MAX = 64,         /* entries of a block device mapping */
    COMPUTE_USER_DATA_MAX = 65535,
    COMPUTE_BODY_MAX = 256 * 1024,
};

/* ---- views -------------------------------------------------------------------------------------
 */
json_t *view_links(ApiCall *call, const char *collection, const char *id); /* self and bookmark */
json_t *view_bookmark(ApiCall *call, const char *collection, const char *id);
json_t *
view_time_micros(int64_t realtime_us); /* "….000000" or null: the form of Nova's older views */

/* What the views of a page of servers need beside the servers, read in a fixed number of
 * statements. */
typedef struct ServerContext {
    GPtrArray *hosts;  /* Host *; NULL if the caller may not see them */
    GHashTable *ports; /* server id → GPtrArray of Port *, in order */
    GPtrArray *port_rows;
    GHashTable *networks; /* id → Network * */
    GPtrArray *network_rows;
    GPtrArray *moves;        /* Migration * under way, if a server of the page moves */
    GHashTable *attachments; /* server id → GPtrArray of Attachment *, in order */
    GPtrArray *attachment_rows;
} ServerContext;
void server_context_free(ServerContext *context);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ServerContext, server_context_free)
ServerContext *
server_context_read(StoreTx *tx, ApiCall *call, const GPtrArray *servers, GError **err);

typedef enum ServerViewKind {
    SERVER_VIEW_DETAIL, /* a row of a detailed list */
    SERVER_VIEW_SHOW,   /* one server: server_groups too */
    SERVER_VIEW_UPDATE, /* answer of PUT: the small form below 2.75 */
} ServerViewKind;
json_t *
view_server(ApiCall *call, const Server *server, const ServerContext *context, ServerViewKind kind);
json_t *view_server_brief(ApiCall *call, const Server *server);
json_t *view_server_addresses(const Server *server, const ServerContext *context, bool extended);

bool host_is_up(const Host *host); /* as os-services and os-hypervisors say it */
json_t *view_hypervisor(ApiCall *call, const HostLoad *load, bool detail);
json_t *view_hypervisor_uptime(ApiCall *call, const HostLoad *load);
json_t *view_hypervisor_statistics(const HostLoad *loads, size_t n_loads);
json_t *view_service(ApiCall *call, const Host *host);
json_t *view_server_migration(ApiCall *call, const Migration *migration);

/* ---- actions of servers ------------------------------------------------------------------------
 *
 * One row for each key of POST …/servers/ID/action, in the table of the file that answers it, ended
 * by name == NULL. */
typedef struct ComputeAction {
    const char *name;
    const BodyMember *body;
    void (*run)(ApiCall *call, const json_t *arguments); /* the body has passed */
} ComputeAction;
extern const ComputeAction compute_power_actions[];
extern const ComputeAction compute_move_actions[];
extern const ComputeAction compute_resize_actions[];
extern const ComputeAction compute_evacuate_actions[];
extern const ComputeAction compute_lock_actions[];

typedef struct ComputeMove {
    const char *host; /* NULL: to be chosen */
    int64_t priority;
    int64_t migration_id; /* out */
} ComputeMove;
/* A live migration of the server that the path names. ERR_CONFLICT: its state; ERR_INVALID: the
 * host. Who may ask is judged before. */
bool compute_move_submit(StoreTx *tx, ApiCall *call, ComputeMove *move, GError **err);

typedef struct ComputeResize {
    const char *flavor; /* id; NULL: a cold migration */
    const char *host;   /* NULL: to be chosen */
    int64_t migration_id;
} ComputeResize;
bool compute_resize_submit(StoreTx *tx, ApiCall *call, ComputeResize *resize, GError **err);

typedef struct ComputeEvacuate {
    const char *server_id;
    EvacuateRequest request;
    int64_t migration_id;
} ComputeEvacuate;
/* ERR_INVALID: the server's node works, as Nova has it, or it is the destination; ERR_NOT_FOUND:
 * there is no such host; ERR_CONFLICT: the server's state, or nothing can fence the node. */
bool compute_evacuate_submit(StoreTx *tx, ApiCall *call, ComputeEvacuate *evacuate, GError **err);

/* Somebody wishes something of a live migration under way. ERR_CONFLICT: the server is locked, or
 * the move is past that. After the commit: api_tell. */
bool compute_wish_submit(StoreTx *tx, ApiCall *call, const Server *server, Migration *move,
                         MigrationWish wish, GError **err);

/* Something was done to server at once, without a task: as an instance action that is over. */
bool compute_action_record(StoreTx *tx, ApiCall *call, const Server *server, const char *title,
                           const char *event, GError **err);
/* X-Godwit-Migration of the answer */
void compute_migration_header(ApiCall *call, int64_t migration_id);

/* ---- checks ------------------------------------------------------------------------------------
 */
/* The policy named ("os-evacuate"): false: replied 403. */
bool compute_manager_needed(ApiCall *call, const char *rule);
bool compute_admin_needed(ApiCall *call, const char *rule);
/* Admin or manager: whoever may move servers of his project. */
bool caller_is_manager(const Caller *caller);
/* A task request of this call. */
TaskRequest compute_task_request(ApiCall *call);
/* Hosts and their loads; free loads with g_free. */
bool host_loads_read(StoreTx *tx, GPtrArray **hosts, HostLoad **loads, GError **err);
Host *host_find(StoreTx *tx, const char *name, GError **err); /* NULL without error if unknown */

/* ---- volumes of servers ------------------------------------------------------------------------
 */
/* May it be put into a server? ERR_INVALID, in Nova's words; server NULL: one that is being made.
 */
bool compute_volume_is_free(StoreTx *tx, const Server *server, const Volume *volume, GError **err);
/* What a client wishes a disk to be called. *device: text, or NULL if there is no wish or it is one
 * that is not granted. ERR_INVALID: it is no name at all. */
bool compute_device_read(const char *text, const char **device, GError **err);
/* Order of a server's attachments: by device, vdz before vdaa; for g_ptr_array_sort. */
int attachment_compare(const void *a, const void *b);

/* The disks that a body for a new server asks for (compute-disks.c). */
typedef struct CreateDisks {
    const char *image_ref; /* image of the server's own disk; "": it boots from a volume */
    GPtrArray *volumes;    /* CreateVolume *, known to compute-disks.c alone */
} CreateDisks;
void create_disks_clear(CreateDisks *disks);
extern const BodyMember create_disk_members[];        /* an item of block_device_mapping_v2 */
extern const BodyMember create_legacy_disk_members[]; /* an item of block_device_mapping */
/* Read the server object of a body that its table has let pass, for count servers. ERR_INVALID. */
bool create_disks_read(const json_t *wanted, int64_t count, CreateDisks *disks, GError **err);
/* Look up what the disks are made of, and see that it fits: sizes, states, quota. ERR_INVALID,
 * ERR_QUOTA. */
bool create_disks_find(StoreTx *tx, ApiCall *call, const Flavor *flavor, int64_t count,
                       CreateDisks *disks, GError **err);
/* Make the new volumes of server and put all of them into it. */
bool
create_disks_reserve(StoreTx *tx, const Server *server, const CreateDisks *disks, GError **err);
/* The image, if the caller may use it, and a server of this flavor may boot from it (NULL: it need
 * not). ERR_INVALID. */
Image *
create_image_get(StoreTx *tx, ApiCall *call, const char *id, const Flavor *flavor, GError **err);
/* An error about something that a body names: not found becomes ERR_INVALID with text. Takes error.
 */
bool
create_reference_fail(GError *error, GError **err, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* ---- handlers, by file -------------------------------------------------------------------------
 */
void compute_servers_list(ApiCall *call);
void compute_servers_detail(ApiCall *call);
void compute_server_show(ApiCall *call);
void compute_server_create(ApiCall *call);
void compute_server_update(ApiCall *call);
void compute_server_delete(ApiCall *call);
void compute_server_ips(ApiCall *call);
void compute_server_ips_network(ApiCall *call);
void compute_server_interfaces(ApiCall *call);
void compute_server_interface(ApiCall *call);
void compute_server_security_groups(ApiCall *call);

void compute_attachments_list(ApiCall *call);
void compute_attachment_show(ApiCall *call);
void compute_attachment_create(ApiCall *call);
void compute_attachment_update(ApiCall *call);
void compute_attachment_delete(ApiCall *call);

void compute_server_action(ApiCall *call);

void compute_metadata_list(ApiCall *call);
void compute_metadata_create(ApiCall *call);
void compute_metadata_replace(ApiCall *call);
void compute_metadata_show(ApiCall *call);
void compute_metadata_set(ApiCall *call);
void compute_metadata_delete(ApiCall *call);
void compute_tags_list(ApiCall *call);
void compute_tags_replace(ApiCall *call);
void compute_tags_clear(ApiCall *call);
void compute_tag_check(ApiCall *call);
void compute_tag_add(ApiCall *call);
void compute_tag_delete(ApiCall *call);

void compute_server_migrations(ApiCall *call);
void compute_server_migration(ApiCall *call);
void compute_server_migration_abort(ApiCall *call);
void compute_server_migration_action(ApiCall *call);
void compute_migrations(ApiCall *call);
void compute_actions_list(ApiCall *call);
void compute_action_show(ApiCall *call);

void compute_flavors_list(ApiCall *call);
void compute_flavors_detail(ApiCall *call);
void compute_flavor_show(ApiCall *call);
void compute_flavor_create(ApiCall *call);
void compute_flavor_update(ApiCall *call);
void compute_flavor_delete(ApiCall *call);
void compute_flavor_access(ApiCall *call);
void compute_specs_list(ApiCall *call);
void compute_specs_create(ApiCall *call);
void compute_spec_show(ApiCall *call);
void compute_spec_set(ApiCall *call);
void compute_spec_delete(ApiCall *call);

void compute_keypairs_list(ApiCall *call);
void compute_keypair_create(ApiCall *call);
void compute_keypair_show(ApiCall *call);
void compute_keypair_delete(ApiCall *call);

void compute_hypervisors_list(ApiCall *call);
void compute_hypervisors_detail(ApiCall *call);
void compute_hypervisors_statistics(ApiCall *call);
void compute_hypervisor_show(ApiCall *call);
void compute_hypervisor_uptime(ApiCall *call);
void compute_hypervisors_search(ApiCall *call);
void compute_hypervisors_servers(ApiCall *call);

void compute_services_list(ApiCall *call);
void compute_service_update(ApiCall *call);
void compute_service_delete(ApiCall *call); /* compute-service-delete.c */
void compute_zones_list(ApiCall *call);
void compute_zones_detail(ApiCall *call);

void compute_limits(ApiCall *call);
void compute_quota_show(ApiCall *call);
void compute_quota_detail(ApiCall *call);
void compute_quota_defaults(ApiCall *call);
void compute_aggregates(ApiCall *call);
void compute_server_groups(ApiCall *call);
void compute_extensions(ApiCall *call);
void compute_extension_show(ApiCall *call);
