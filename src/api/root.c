/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* root.c: version documents of every service, the service catalog
 *
 * None of these need a token: clients read them to find out how to log in and which microversions
 * there are. A self link carries the service's prefix, because its path is what clients go on with.
 */
#include <string.h>

#include "api/api-priv.h"

static json_t *
self_links(const ApiCall *call, const char *path)
{
    g_autofree char *url = api_url(call->api, "%s", path);

    return json_pack("[{s:s,s:s}]", "rel", "self", "href", url);
}

/* One entry of a list of versions. version and min_version may be NULL: a service without
 * microversions. */
static json_t *
version_entry(const ApiCall *call, const char *id, const char *status, const char *path,
              const char *version, const char *min_version, const char *updated)
{
    json_t *entry = json_pack("{s:s,s:s,s:s,s:o}", "id", id, "status", status, "updated", updated,
                              "links", self_links(call, path));

    if (version) {
        json_object_set_new(entry, "version", json_string(version));
        json_object_set_new(entry, "min_version", json_string(min_version));
    }
    return entry;
}

static json_t *
media_types(const char *type)
{
    return json_pack("[{s:s,s:s}]", "base", "application/json", "type", type);
}

/* ---- identity ---------------------------------------------------------------------------------
 */

static json_t *
identity_version(const ApiCall *call)
{
    json_t *entry =
        version_entry(call, "v3.14", "stable", "/identity/v3/", NULL, NULL, "2020-04-07T00:00:00Z");

    json_object_set_new(entry, "media-types",
                        media_types("application/vnd.openstack.identity-v3+json"));
    return entry;
}

static void
identity_versions(ApiCall *call)
{
    api_reply(call, 300, json_pack("{s:{s:[o]}}", "versions", "values", identity_version(call)));
}

static void
identity_v3(ApiCall *call)
{
    api_reply(call, 200, json_pack("{s:o}", "version", identity_version(call)));
}

/* ---- compute ----------------------------------------------------------------------------------
 */

static json_t *
compute_version(const ApiCall *call, bool plain)
{
    g_autofree char *most = g_strdup_printf("2.%d", API_MICROVERSION_MAX);

    return plain ? version_entry(call, "v2.0", "SUPPORTED", "/compute/v2/", "", "",
                                 "2011-01-21T11:33:21Z")
                 : version_entry(call, "v2.1", "CURRENT", "/compute/v2.1/", most, "2.1",
                                 "2013-07-23T11:33:21Z");
}

static void
compute_versions(ApiCall *call)
{
    api_reply(call, 200,
              json_pack("{s:[o,o]}", "versions", compute_version(call, true),
                        compute_version(call, false)));
}

static void
compute_version_document(ApiCall *call)
{
    bool plain = !strstr(call->route->pattern, "v2.1");
    json_t *version = compute_version(call, plain);
    g_autofree char *type =
        g_strdup_printf("application/vnd.openstack.compute+json;version=%s", plain ? "2" : "2.1");

    json_object_set_new(version, "media-types", media_types(type));
    api_reply(call, 200, json_pack("{s:o}", "version", version));
}

/* ---- image, volume, network, our own ----------------------------------------------------------
 */

static void
image_versions(ApiCall *call)
{
    static const char *const ids[] = {"v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"};
    json_t *versions = json_array();

    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++)
        json_array_append_new(versions, json_pack("{s:s,s:s,s:o}", "id", ids[i], "status",
                                                  i == 0 ? "CURRENT" : "SUPPORTED", "links",
                                                  self_links(call, "/image/v2/")));
    api_reply(call, 200, json_pack("{s:o}", "versions", versions));
}

static void
volume_versions(ApiCall *call)
{
    g_autofree char *most = g_strdup_printf("3.%d", API_VOLUME_MICROVERSION_MAX);
    json_t *entry =
        version_entry(call, "v3.0", "CURRENT", "/volume/v3/", most, "3.0", "2022-03-30T00:00:00Z");

    json_object_set_new(entry, "media-types",
                        media_types("application/vnd.openstack.volume+json;version=3"));
    api_reply(call, strcmp(call->route->pattern, "/volume") == 0 ? 300 : 200,
              json_pack("{s:[o]}", "versions", entry));
}

static void
network_versions(ApiCall *call)
{
    api_reply(call, 200,
              json_pack("{s:[{s:s,s:s,s:o}]}", "versions", "id", "v2.0", "status", "CURRENT",
                        "links", self_links(call, "/network/v2.0/")));
}

static void
network_resources(ApiCall *call)
{
    static const char *const names[] = {"networks", "subnets", "ports", "security-groups",
                                        "extensions"};
    json_t *resources = json_array();

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_strdup_printf("/network/v2.0/%s", names[i]);
        json_array_append_new(resources, json_pack("{s:s,s:s,s:o}", "name", names[i], "collection",
                                                   names[i], "links", self_links(call, path)));
    }
    api_reply(call, 200, json_pack("{s:o}", "resources", resources));
}

static void
godwit_versions(ApiCall *call)
{
    api_reply(call, 200,
              json_pack("{s:[{s:s,s:s,s:s,s:o}]}", "versions", "id", "v1", "status", "CURRENT",
                        "release", GODWIT_VERSION, "links", self_links(call, "/godwit/v1/")));
}

/* ---- root -------------------------------------------------------------------------------------
 */

static void
root_services(ApiCall *call)
{
    static const char *const services[][2] = {
        {"identity", "/identity/v3/"}, {"compute", "/compute/v2.1/"}, {"image", "/image/v2/"},
        {"volume", "/volume/v3/"},     {"network", "/network/v2.0/"}, {"godwit", "/godwit/v1/"},
    };
    json_t *list = json_array();

    for (size_t i = 0; i < G_N_ELEMENTS(services); i++)
        json_array_append_new(list, json_pack("{s:s,s:o}", "type", services[i][0], "links",
                                              self_links(call, services[i][1])));
    api_reply(call, 200, json_pack("{s:o}", "services", list));
}

/* ---- the catalog ------------------------------------------------------------------------------
 */

json_t *
api_catalog(const Api *api, const char *project_id)
{
    static const struct {
        const char *type, *name, *path;
        bool needs_project; /* its URL ends in the project's id */
    } services[] = {
        {"identity", "keystone", "/identity", false},
        {"compute", "nova", "/compute/v2.1", false},
        {"image", "glance", "/image", false}, /* clients append /v2 themselves */
        {"volumev3", "cinderv3", "/volume/v3/", true},
        {"block-storage", "cinder", "/volume/v3/", true},
        {"network", "neutron", "/network", false}, /* clients append /v2.0 themselves */
    };
    static const char *const interfaces[] = {"public", "internal", "admin"};
    const char *region = api_config(api)->region;
    json_t *catalog = json_array();

    for (size_t i = 0; i < G_N_ELEMENTS(services); i++) {
        bool needs_project = services[i].needs_project;
        g_autofree char *id = g_compute_checksum_for_string(G_CHECKSUM_MD5, services[i].type, -1);
        json_t *endpoints;

        if (needs_project && !project_id)
            continue;
        endpoints = json_array();
        for (size_t j = 0; j < G_N_ELEMENTS(interfaces); j++) {
            g_autofree char *url =
                api_url(api, "%s%s", services[i].path, needs_project ? project_id : "");
            g_autofree char *key = g_strconcat(services[i].type, "/", interfaces[j], NULL);
            g_autofree char *endpoint_id = g_compute_checksum_for_string(G_CHECKSUM_MD5, key, -1);

            json_array_append_new(endpoints, json_pack("{s:s,s:s,s:s,s:s,s:s}", "id", endpoint_id,
                                                       "interface", interfaces[j], "region", region,
                                                       "region_id", region, "url", url));
        }
        json_array_append_new(catalog,
                              json_pack("{s:s,s:s,s:s,s:o}", "id", id, "type", services[i].type,
                                        "name", services[i].name, "endpoints", endpoints));
    }
    return catalog;
}

#define PUBLIC_GET(path, fn, kind)                                                             \
    {                                                                                          \
        .method = "GET", .pattern = path, .handler = fn, .policy = API_PUBLIC, .service = kind \
    }

const ApiRoute api_root_routes[] = {
    PUBLIC_GET("/", root_services, API_ROOT),
    PUBLIC_GET("/healthz", standing_health, API_ROOT),
    PUBLIC_GET("/identity", identity_versions, API_IDENTITY),
    PUBLIC_GET("/identity/v3", identity_v3, API_IDENTITY),
    PUBLIC_GET("/compute", compute_versions, API_COMPUTE),
    PUBLIC_GET("/compute/v2.1", compute_version_document, API_COMPUTE),
    PUBLIC_GET("/compute/v2", compute_version_document, API_COMPUTE),
    PUBLIC_GET("/image", image_versions, API_IMAGE),
    PUBLIC_GET("/image/versions", image_versions, API_IMAGE),
    PUBLIC_GET("/image/v2", image_versions, API_IMAGE),
    PUBLIC_GET("/volume", volume_versions, API_VOLUME),
    PUBLIC_GET("/volume/v3", volume_versions, API_VOLUME),
    PUBLIC_GET("/network", network_versions, API_NETWORK),
    PUBLIC_GET("/network/v2.0", network_resources, API_NETWORK),
    PUBLIC_GET("/godwit", godwit_versions, API_GODWIT),
    PUBLIC_GET("/godwit/v1", godwit_versions, API_GODWIT),
    {.method = NULL},
};
