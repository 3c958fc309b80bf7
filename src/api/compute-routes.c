/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-routes.c: the paths of the compute service, who may use them, and the microversions that
 * have them */
#include "api/compute-priv.h"

#define C "/compute/v2.1"
#define ROUTE(method, path, handler, policy, flags, least, most)               \
    {                                                                          \
        method, C path, handler, policy, flags, least, most, API_COMPUTE, NULL \
    }
#define GET(path, handler, policy)  ROUTE("GET", path, handler, policy, API_BODY_NONE, 0, 0)
#define POST(path, handler, policy) ROUTE("POST", path, handler, policy, API_BODY_JSON, 0, 0)
#define PUT(path, handler, policy)  ROUTE("PUT", path, handler, policy, API_BODY_JSON, 0, 0)
#define DEL(path, handler, policy)  ROUTE("DELETE", path, handler, policy, API_BODY_NONE, 0, 0)

const ApiRoute api_compute_routes[] = {
    GET("/servers", compute_servers_list, API_READER),
    POST("/servers", compute_server_create, API_MEMBER),
    GET("/servers/detail", compute_servers_detail, API_READER),
    GET("/servers/{id}", compute_server_show, API_READER),
    PUT("/servers/{id}", compute_server_update, API_MEMBER),
    DEL("/servers/{id}", compute_server_delete, API_MEMBER),
    POST("/servers/{id}/action", compute_server_action, API_MEMBER),

    GET("/servers/{id}/metadata", compute_metadata_list, API_READER),
    POST("/servers/{id}/metadata", compute_metadata_create, API_MEMBER),
    PUT("/servers/{id}/metadata", compute_metadata_replace, API_MEMBER),
    GET("/servers/{id}/metadata/{key}", compute_metadata_show, API_READER),
    PUT("/servers/{id}/metadata/{key}", compute_metadata_set, API_MEMBER),
    DEL("/servers/{id}/metadata/{key}", compute_metadata_delete, API_MEMBER),

    ROUTE("GET", "/servers/{id}/tags", compute_tags_list, API_READER, API_BODY_NONE, 26, 0),
    ROUTE("PUT", "/servers/{id}/tags", compute_tags_replace, API_MEMBER, API_BODY_JSON, 26, 0),
    ROUTE("DELETE", "/servers/{id}/tags", compute_tags_clear, API_MEMBER, API_BODY_NONE, 26, 0),
    ROUTE("GET", "/servers/{id}/tags/{tag}", compute_tag_check, API_READER, API_BODY_NONE, 26, 0),
    ROUTE("PUT", "/servers/{id}/tags/{tag}", compute_tag_add, API_MEMBER, API_BODY_JSON_OPTIONAL,
          26, 0),
    ROUTE("DELETE", "/servers/{id}/tags/{tag}", compute_tag_delete, API_MEMBER, API_BODY_NONE, 26,
          0),

    GET("/servers/{id}/ips", compute_server_ips, API_READER),
    GET("/servers/{id}/ips/{network}", compute_server_ips_network, API_READER),
    GET("/servers/{id}/os-interface", compute_server_interfaces, API_READER),
    GET("/servers/{id}/os-interface/{port}", compute_server_interface, API_READER),
    GET("/servers/{id}/os-volume_attachments", compute_attachments_list, API_READER),
    POST("/servers/{id}/os-volume_attachments", compute_attachment_create, API_MEMBER),
    GET("/servers/{id}/os-volume_attachments/{volume}", compute_attachment_show, API_READER),
    PUT("/servers/{id}/os-volume_attachments/{volume}", compute_attachment_update, API_MEMBER),
    DEL("/servers/{id}/os-volume_attachments/{volume}", compute_attachment_delete, API_MEMBER),
    GET("/servers/{id}/os-security-groups", compute_server_security_groups, API_READER),
    GET("/servers/{id}/os-instance-actions", compute_actions_list, API_READER),
    GET("/servers/{id}/os-instance-actions/{request}", compute_action_show, API_READER),
    ROUTE("GET", "/servers/{id}/migrations", compute_server_migrations, API_READER, API_BODY_NONE,
          23, 0),
    ROUTE("GET", "/servers/{id}/migrations/{migration}", compute_server_migration, API_READER,
          API_BODY_NONE, 23, 0),
    ROUTE("DELETE", "/servers/{id}/migrations/{migration}", compute_server_migration_abort,
          API_MEMBER, API_BODY_NONE, 24, 0),
    ROUTE("POST", "/servers/{id}/migrations/{migration}/action", compute_server_migration_action,
          API_MEMBER, API_BODY_JSON, 22, 0),
    {0},
};

const ApiRoute api_compute_catalog_routes[] = {
    GET("/flavors", compute_flavors_list, API_READER),
    POST("/flavors", compute_flavor_create, API_ADMIN),
    GET("/flavors/detail", compute_flavors_detail, API_READER),
    GET("/flavors/{id}", compute_flavor_show, API_READER),
    ROUTE("PUT", "/flavors/{id}", compute_flavor_update, API_ADMIN, API_BODY_JSON, 55, 0),
    DEL("/flavors/{id}", compute_flavor_delete, API_ADMIN),
    GET("/flavors/{id}/os-flavor-access", compute_flavor_access, API_ADMIN),
    GET("/flavors/{id}/os-extra_specs", compute_specs_list, API_READER),
    POST("/flavors/{id}/os-extra_specs", compute_specs_create, API_ADMIN),
    GET("/flavors/{id}/os-extra_specs/{key}", compute_spec_show, API_READER),
    PUT("/flavors/{id}/os-extra_specs/{key}", compute_spec_set, API_ADMIN),
    DEL("/flavors/{id}/os-extra_specs/{key}", compute_spec_delete, API_ADMIN),

    GET("/os-keypairs", compute_keypairs_list, API_READER),
    POST("/os-keypairs", compute_keypair_create, API_READER),
    GET("/os-keypairs/{name}", compute_keypair_show, API_READER),
    DEL("/os-keypairs/{name}", compute_keypair_delete, API_READER),

    GET("/os-availability-zone", compute_zones_list, API_READER),
    GET("/os-availability-zone/detail", compute_zones_detail, API_ADMIN),
    GET("/limits", compute_limits, API_READER),
    GET("/os-quota-sets/{id}", compute_quota_show, API_READER),
    GET("/os-quota-sets/{id}/detail", compute_quota_detail, API_READER),
    GET("/os-quota-sets/{id}/defaults", compute_quota_defaults, API_READER),
    GET("/os-server-groups", compute_server_groups, API_READER),
    GET("/extensions", compute_extensions, API_READER),
    GET("/extensions/{alias}", compute_extension_show, API_READER),
    {0},
};

const ApiRoute api_compute_admin_routes[] = {
    GET("/os-hypervisors", compute_hypervisors_list, API_ADMIN),
    GET("/os-hypervisors/detail", compute_hypervisors_detail, API_ADMIN),
    ROUTE("GET", "/os-hypervisors/statistics", compute_hypervisors_statistics, API_ADMIN,
          API_BODY_NONE, 0, 87),
    GET("/os-hypervisors/{id}", compute_hypervisor_show, API_ADMIN),
    ROUTE("GET", "/os-hypervisors/{id}/uptime", compute_hypervisor_uptime, API_ADMIN, API_BODY_NONE,
          0, 87),
    ROUTE("GET", "/os-hypervisors/{id}/search", compute_hypervisors_search, API_ADMIN,
          API_BODY_NONE, 0, 52),
    ROUTE("GET", "/os-hypervisors/{id}/servers", compute_hypervisors_servers, API_ADMIN,
          API_BODY_NONE, 0, 52),

    GET("/os-services", compute_services_list, API_ADMIN),
    PUT("/os-services/{id}", compute_service_update, API_ADMIN),
    DEL("/os-services/{id}", compute_service_delete, API_ADMIN),
    GET("/os-migrations", compute_migrations, API_ADMIN),
    GET("/os-aggregates", compute_aggregates, API_ADMIN),
    {0},
};
