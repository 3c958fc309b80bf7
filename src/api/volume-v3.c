/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-v3.c: as much of the block storage API as other commands touch: there are no volumes, and
 * clients get told so */
#include "api/api-priv.h"

static void
volumes_none(ApiCall *call)
{
    api_reply(call, 200, json_pack("{s:[]}", "volumes"));
}

static void
snapshots_none(ApiCall *call)
{
    api_reply(call, 200, json_pack("{s:[]}", "snapshots"));
}

static void
volume_missing(ApiCall *call)
{
    api_fault(call, 404, "Volume %s could not be found.", api_param(call, "id"));
}

static void
volume_refuse(ApiCall *call)
{
    api_fault(call, 403,
              "This Godwit keeps no volumes: its servers have the disks of their flavors.");
}

static void
volume_limits(ApiCall *call)
{
    static const char *const names[] = {
        "maxTotalVolumes",          "maxTotalVolumeGigabytes", "maxTotalSnapshots",
        "maxTotalBackups",          "maxTotalBackupGigabytes", "totalVolumesUsed",
        "totalGigabytesUsed",       "totalSnapshotsUsed",      "totalBackupsUsed",
        "totalBackupGigabytesUsed",
    };
    json_t *absolute = json_object();

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        json_object_set_new(absolute, names[i], json_integer(0));
    api_reply(call, 200, json_pack("{s:{s:[],s:o}}", "limits", "rate", "absolute", absolute));
}

static void
volume_zones(ApiCall *call)
{
    api_reply(call, 200,
              json_pack("{s:[{s:s,s:{s:b}}]}", "availabilityZoneInfo", "zoneName", "nova",
                        "zoneState", "available", 1));
}

#define V3(verb, path, fn, body)                                                \
    {                                                                           \
        .method = verb, .pattern = "/volume/v3/{project}/" path, .handler = fn, \
        .policy = API_READER, .flags = body, .service = API_VOLUME              \
    }

const ApiRoute api_volume_routes[] = {
    V3("GET", "volumes", volumes_none, API_BODY_NONE),
    V3("POST", "volumes", volume_refuse, API_BODY_JSON),
    V3("GET", "volumes/detail", volumes_none, API_BODY_NONE),
    V3("GET", "volumes/{id}", volume_missing, API_BODY_NONE),
    V3("GET", "snapshots", snapshots_none, API_BODY_NONE),
    V3("GET", "snapshots/detail", snapshots_none, API_BODY_NONE),
    V3("GET", "limits", volume_limits, API_BODY_NONE),
    V3("GET", "os-availability-zone", volume_zones, API_BODY_NONE),
    {.method = NULL},
};
