/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api-priv.h: what the services of api/ share: the call, the reply, policies, views */
#pragma once

#include <jansson.h>

#include "api/api.h"

typedef enum ApiService {
    API_IDENTITY,
    API_COMPUTE,
    API_IMAGE,
    API_VOLUME,
    API_NETWORK,
    API_GODWIT,
    API_ROOT
} ApiService;

typedef enum ApiPolicy {
    API_PUBLIC,  /* no token needed */
    API_ANYBODY, /* any valid token, scoped or not */
    API_READER,  /* any role on a project */
    API_MEMBER,  /* may change things of his project */
    API_ADMIN,
} ApiPolicy;

typedef struct ApiCall {
    Api *api;
    HttpRequest *request;
    HttpResponse *response;
    const struct ApiRoute *route;
    Caller *caller;   /* NULL on public routes */
    int microversion; /* compute: N of 2.N, 1 … 95; volume: N of 3.N, 0 … 66; else 0 */
    char *request_id; /* "req-UUID" */
    json_t *body;     /* parsed; NULL if the request had none */
} ApiCall;

typedef void (*ApiHandler)(ApiCall *call);

typedef enum ApiRouteFlags {
    API_BODY_NONE = 0,
    API_BODY_JSON = 1 << 0, /* an object is required */
    API_BODY_JSON_OPTIONAL = 1 << 1,
    API_BODY_JSON_ARRAY = 1 << 2, /* an array is required (JSON patch) */
} ApiRouteFlags;

#define API_MICROVERSION_MAX        95
#define API_VOLUME_MICROVERSION_MAX 66
#define API_BODY_MAX                ((size_t)256 * 1024) /* of any JSON body */
/* Nova's id of the only domain, zone and region that exist */
#define API_DOMAIN_ID   "default"
#define API_DOMAIN_NAME "Default"

/* Several rows may have the same method and pattern if their microversion ranges do not overlap:
 * the one that fits is called, 404 if none does. With stream, begin finds its call by
 * http_request_context and the caller is already judged. */
typedef struct ApiRoute {
    const char *method, *pattern; /* full path, as HttpRoute */
    ApiHandler handler;
    ApiPolicy policy;
    unsigned flags;
    int least, most; /* microversions on which it exists; 0: no limit */
    ApiService service;
    const HttpStream *stream;
} ApiRoute;

/* Each service file exports its table, ended by method == NULL; api.c joins them into HttpRoutes.
 */
extern const ApiRoute api_identity_routes[];
extern const ApiRoute api_compute_routes[];         /* servers and their actions */
extern const ApiRoute api_compute_catalog_routes[]; /* flavors, key pairs, zones, limits …; version
                                                       documents are in api_root_routes */
extern const ApiRoute
    api_compute_admin_routes[]; /* hypervisors, services, migrations, aggregates … */
extern const ApiRoute api_image_routes[];
extern const ApiRoute api_network_routes[];
extern const ApiRoute api_volume_routes[];
extern const ApiRoute api_godwit_routes[];
extern const ApiRoute api_root_routes[];

const ApiConfig *api_config(const Api *api);
int64_t api_started_at(const Api *api); /* monotonic µs */
const char *
api_param(const ApiCall *call,
          const char *name); /* a "{name}" of the pattern; never NULL for a name that is in it */
const char *api_query(const ApiCall *call, const char *name);        /* NULL if absent */
void api_header(ApiCall *call, const char *name, const char *value); /* of the answer */
void api_wake(ApiCall *call);                        /* after the commit that submitted a task */
void api_tell(ApiCall *call, const char *server_id); /* after the commit that kept a wish */
/* The service catalog that goes into a token; project_id NULL: unscoped. */
json_t *api_catalog(const Api *api, const char *project_id);

void api_reply(ApiCall *call, int status, json_t *body); /* takes body */
void api_reply_empty(ApiCall *call, int status);
/* Fault in the service's own form; takes error. ErrCode → HTTP status in this one place (fault.c).
 */
void api_fail(ApiCall *call, GError *error);
void api_fault(ApiCall *call, int status, const char *format, ...) G_GNUC_PRINTF(3, 4);
json_t *api_fault_body(ApiService service, int status, const char *message);

/* store_read / store_write for handlers: fn gets the call; on error the fault is already replied
 * and false comes back. */
typedef bool (*ApiTxFn)(StoreTx *tx, ApiCall *call, void *opaque, GError **err);
bool api_read(ApiCall *call, ApiTxFn fn, void *opaque);
bool api_write(ApiCall *call, ApiTxFn fn, void *opaque);
/* For the many handlers that are one transaction: fn's opaque is a json_t ** for the body, which is
 * replied with status; a body left NULL replies without one. */
void api_answer_read(ApiCall *call, ApiTxFn fn, int status);
void api_answer_write(ApiCall *call, ApiTxFn fn, int status);

/* ---- bodies -----------------------------------------------------------------------------------
 * Strict readers for request bodies: a wrong type is ERR_INVALID with the path of the member.
 * Absent members give the default. */
bool json_get_text(const json_t *object, const char *key, size_t max, const char **text,
                   GError **err); /* absent or null: NULL */
bool
json_need_text(const json_t *object, const char *key, size_t max, const char **text, GError **err);
/* As above, and printable UTF-8 without control characters: for names. need: neither absent nor
 * empty. */
bool
json_get_name(const json_t *object, const char *key, size_t max, const char **text, GError **err);
bool
json_need_name(const json_t *object, const char *key, size_t max, const char **text, GError **err);
bool json_get_object(const json_t *object, const char *key, const json_t **value,
                     GError **err); /* absent or null: NULL */
bool json_need_object(const json_t *object, const char *key, const json_t **value, GError **err);
bool json_get_array(const json_t *object, const char *key, size_t max, const json_t **value,
                    GError **err);
/* ERR_INVALID unless every key of object is among the const char * given, ended by NULL. */
bool json_only_keys(const json_t *object, GError **err, ...) G_GNUC_NULL_TERMINATED;
bool json_get_int(const json_t *object, const char *key, int64_t least, int64_t most,
                  int64_t *value, GError **err); /* accepts "12" */
bool json_get_bool(const json_t *object, const char *key, bool *value,
                   GError **err); /* accepts "true", 1 */
json_t *json_text_or_null(const char *text);
json_t *
json_parse_stored(const char *text,
                  json_type type); /* stored JSON; an empty value of that type if unreadable */
char *json_to_text(const json_t *json);
/* An object or an array. Depth ≤ 32, size bounded by the route; duplicate keys refused. */
json_t *json_parse_request(const char *text, size_t size, GError **err);

/* ---- links, times, paging ---------------------------------------------------------------------
 */
char *api_url(const Api *api, const char *format, ...) G_GNUC_PRINTF(2, 3); /* public_url + path */
json_t *api_time(int64_t realtime_us); /* "2026-11-23T03:45:29Z" or null for 0 */
/* limit and marker of the query; limit capped at 1000. false: replied 400. */
bool api_paging(ApiCall *call, int64_t *limit, const char **marker);

bool api_microversion_at_least(const ApiCall *call, int minor);
bool caller_may_see(const Caller *caller, const char *project_id);

/* Public and community images, those of the caller's project; an administrator sees all. */
bool caller_may_see_image(const Caller *caller, const Image *image);

/* ---- networks, for server create and delete
 * ------------------------------------------------------ Make a port on network with a free MAC
 * address and, if the network has a subnet, an address of its pool: fixed_ip, or the next free one
 * if NULL. With device_id it is a server's card ("compute:nova"). ERR_CONFLICT: address in use, or
 * none left; ERR_INVALID: fixed_ip is outside of the subnet. name may be NULL. */
typedef struct PortRequest {
    const char *project_id, *name, *description;
    const char *fixed_ip, *subnet_id;     /* NULL: choose */
    const char *mac_address;              /* NULL: choose */
    const char *device_id, *device_owner; /* NULL: none */
    bool no_address;
    int64_t position;
    bool auto_delete;
} PortRequest;
bool api_port_create(StoreTx *tx, const Network *network, const PortRequest *request, Port **port,
                     GError **err);
/* Networks of the call's own project and shared ones; an administrator sees all. ERR_NOT_FOUND
 * otherwise. */
Network *api_network_get(StoreTx *tx, ApiCall *call, const char *id, GError **err);
/* For server create without an explicit network: the networks that belong to the project or are
 * shared. */
GPtrArray *api_network_list_usable(StoreTx *tx, const char *project_id, GError **err);

/* ---- standing.c: does this controller serve, or wait? -------------------------------------------
 */
typedef struct ApiStanding ApiStanding;
ApiStanding *standing_new(bool active);
void standing_free(ApiStanding *standing);
void standing_wait(ApiStanding *standing, const char *active, const char *reason);
void standing_activate(ApiStanding *standing);
/* May the call go on? Else it is replied: 503 with the address of the active one. */
bool standing_permits(ApiStanding *standing, ApiCall *call);
void standing_health(ApiCall *call); /* GET /healthz */
ApiStanding *api_standing(const Api *api);

/* ---- quotas of volumes, also for servers that are made with new ones ---------------------------
 *
 * A project without a row of its own has quota_defaults. quota->id is left NULL. */
bool api_quota_get(StoreTx *tx, const char *project_id, Quota *quota, GError **err);
/* Counted from the rows of every status: largest_gigabytes is 0. */
bool api_quota_usage(StoreTx *tx, const char *project_id, QuotaUsage *usage, GError **err);
/* Before the rows of more are inserted, in the same transaction. ERR_QUOTA names the limit. */
bool api_quota_permits(StoreTx *tx, const char *project_id, const QuotaUsage *more, GError **err);

/* ---- shared between compute files -------------------------------------------------------------
 */
Server *api_server_get(StoreTx *tx, ApiCall *call, const char *id,
                       GError **err); /* 404 unless visible to the caller */
json_t *view_flavor(ApiCall *call, const Flavor *flavor, bool detail);
json_t *view_migration(ApiCall *call, const Migration *migration, const Server *server);
char *api_host_id(
    const char *project_id,
    const char *host); /* hostId: 56 hex digits of a digest of project + host; "" without host */
