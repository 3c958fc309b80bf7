/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-routes.c: the block storage API v3: its table */
#include "api/volume-priv.h"

#define V3(verb, path, fn, who, body)                                                          \
    {                                                                                          \
        .method = verb, .pattern = "/volume/v3/{project}/" path, .handler = fn, .policy = who, \
        .flags = body, .service = API_VOLUME                                                   \
    }
#define GET(path, fn)          V3("GET", path, fn, API_READER, API_BODY_NONE)
#define GET_ADMIN(path, fn)    V3("GET", path, fn, API_ADMIN, API_BODY_NONE)
#define POST(path, fn)         V3("POST", path, fn, API_MEMBER, API_BODY_JSON)
#define PUT(path, fn)          V3("PUT", path, fn, API_MEMBER, API_BODY_JSON)
#define DELETE(path, fn)       V3("DELETE", path, fn, API_MEMBER, API_BODY_NONE)
#define POST_ADMIN(path, fn)   V3("POST", path, fn, API_ADMIN, API_BODY_JSON)
#define PUT_ADMIN(path, fn)    V3("PUT", path, fn, API_ADMIN, API_BODY_JSON)
#define DELETE_ADMIN(path, fn) V3("DELETE", path, fn, API_ADMIN, API_BODY_NONE)
#define SINCE(verb, path, fn, who, body, minor)                                                \
    {                                                                                          \
        .method = verb, .pattern = "/volume/v3/{project}/" path, .handler = fn, .policy = who, \
        .flags = body, .service = API_VOLUME, .least = minor                                   \
    }
#define METADATA(collection)                                          \
    GET(collection "/{id}/metadata", volume_metadata_list),           \
        POST(collection "/{id}/metadata", volume_metadata_merge),     \
        PUT(collection "/{id}/metadata", volume_metadata_replace),    \
        GET(collection "/{id}/metadata/{key}", volume_metadata_show), \
        PUT(collection "/{id}/metadata/{key}", volume_metadata_set),  \
        DELETE(collection "/{id}/metadata/{key}", volume_metadata_delete)
#define NOTHING(collection, minor)                                                                \
    SINCE("GET", collection, volume_nothing, API_READER, API_BODY_NONE, minor),                   \
        SINCE("POST", collection, volume_nothing_made, API_MEMBER, API_BODY_JSON, minor),         \
        SINCE("GET", collection "/{id}", volume_nothing_there, API_READER, API_BODY_NONE, minor), \
        SINCE("DELETE", collection "/{id}", volume_nothing_there, API_MEMBER, API_BODY_NONE,      \
              minor)
#define NOTHING_DETAIL(collection, minor) \
    NOTHING(collection, minor),           \
        SINCE("GET", collection "/detail", volume_nothing, API_READER, API_BODY_NONE, minor)

const ApiRoute api_volume_routes[] = {
    GET("volumes", volume_volumes_list),
    POST("volumes", volume_volume_create),
    GET("volumes/detail", volume_volumes_detail),
    SINCE("GET", "volumes/summary", volume_volumes_summary, API_READER, API_BODY_NONE, 12),
    GET("volumes/{id}", volume_volume_show),
    PUT("volumes/{id}", volume_volume_update),
    DELETE("volumes/{id}", volume_volume_delete),
    POST("volumes/{id}/action", volume_volume_action),
    GET("volumes/{id}/encryption", volume_volume_encryption),
    METADATA("volumes"),

    GET("snapshots", volume_snapshots_list),
    POST("snapshots", volume_snapshot_create),
    GET("snapshots/detail", volume_snapshots_detail),
    GET("snapshots/{id}", volume_snapshot_show),
    PUT("snapshots/{id}", volume_snapshot_update),
    DELETE("snapshots/{id}", volume_snapshot_delete),
    POST("snapshots/{id}/action", volume_snapshot_action),
    METADATA("snapshots"),

    GET("types", volume_types_list),
    POST_ADMIN("types", volume_type_create),
    GET("types/{id}", volume_type_show),
    PUT_ADMIN("types/{id}", volume_type_update),
    DELETE_ADMIN("types/{id}", volume_type_delete),
    POST_ADMIN("types/{id}/action", volume_type_action),
    GET_ADMIN("types/{id}/os-volume-type-access", volume_type_access),
    GET_ADMIN("types/{id}/encryption", volume_type_encryption),
    GET_ADMIN("types/{id}/extra_specs", volume_specs_list),
    POST_ADMIN("types/{id}/extra_specs", volume_specs_merge),
    GET_ADMIN("types/{id}/extra_specs/{key}", volume_specs_show),
    PUT_ADMIN("types/{id}/extra_specs/{key}", volume_specs_set),
    DELETE_ADMIN("types/{id}/extra_specs/{key}", volume_specs_delete),

    GET("os-quota-sets/{id}", volume_quota_show),
    PUT_ADMIN("os-quota-sets/{id}", volume_quota_update),
    DELETE_ADMIN("os-quota-sets/{id}", volume_quota_delete),
    GET("os-quota-sets/{id}/defaults", volume_quota_defaults),
    GET("os-quota-class-sets/{id}", volume_quota_class),
    PUT_ADMIN("os-quota-class-sets/{id}", volume_quota_class_update),
    GET("limits", volume_limits),

    SINCE("GET", "attachments", volume_attachments_list, API_READER, API_BODY_NONE, 27),
    SINCE("GET", "attachments/detail", volume_attachments_detail, API_READER, API_BODY_NONE, 27),
    SINCE("GET", "attachments/{id}", volume_attachment_show, API_READER, API_BODY_NONE, 27),
    SINCE("POST", "attachments", volume_attachment_refuse, API_MEMBER, API_BODY_JSON, 27),
    SINCE("PUT", "attachments/{id}", volume_attachment_refuse, API_MEMBER, API_BODY_JSON, 27),
    SINCE("DELETE", "attachments/{id}", volume_attachment_refuse, API_MEMBER, API_BODY_NONE, 27),
    SINCE("POST", "attachments/{id}/action", volume_attachment_refuse, API_MEMBER, API_BODY_JSON,
          44),

    GET("os-availability-zone", volume_zones),
    GET_ADMIN("os-services", volume_services),
    PUT_ADMIN("os-services/{action}", volume_service_refuse),
    GET_ADMIN("scheduler-stats/get_pools", volume_pools),
    GET_ADMIN("capabilities/{id}", volume_capabilities),
    GET("extensions", volume_extensions),

    NOTHING_DETAIL("backups", 0),
    NOTHING_DETAIL("consistencygroups", 0),
    NOTHING_DETAIL("cgsnapshots", 0),
    NOTHING_DETAIL("os-volume-transfer", 0),
    NOTHING("qos-specs", 0),
    NOTHING("messages", 3),
    NOTHING_DETAIL("clusters", 7),
    NOTHING("group_types", 11),
    NOTHING_DETAIL("groups", 13),
    NOTHING_DETAIL("group_snapshots", 14),
    SINCE("GET", "resource_filters", volume_nothing, API_READER, API_BODY_NONE, 33),
    NOTHING_DETAIL("volume-transfers", 55),
    SINCE("GET", "default-types", volume_nothing, API_ADMIN, API_BODY_NONE, 62),
    SINCE("GET", "default-types/{id}", volume_nothing_there, API_ADMIN, API_BODY_NONE, 62),
    {.method = NULL},
};
