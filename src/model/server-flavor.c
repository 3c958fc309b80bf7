/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* server-flavor.c: the flavor that is embedded in a server, as text: what a resize goes to, and
 * what its revert brings back */
#include <jansson.h>

#include "model/model.h"

char *
flavor_format(const Flavor *flavor)
{
    json_t *specs = json_loads(flavor->extra_specs ? flavor->extra_specs : "{}", 0, NULL);
    json_t *object = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "id", flavor->id, "name", flavor->name, "vcpus",
        (json_int_t)flavor->vcpus, "ram_mb", (json_int_t)flavor->ram_mb, "disk_gb",
        (json_int_t)flavor->disk_gb, "ephemeral_gb", (json_int_t)flavor->ephemeral_gb, "swap_mb",
        (json_int_t)flavor->swap_mb, "extra_specs", specs ? specs : json_object());
    char *text = json_dumps(object, JSON_COMPACT);

    json_decref(object);
    return text;
}

char *
server_flavor_format(const Server *server)
{
    const Flavor flavor = {
        .id = server->flavor_id,
        .name = server->flavor_name,
        .vcpus = server->vcpus,
        .ram_mb = server->ram_mb,
        .disk_gb = server->disk_gb,
        .ephemeral_gb = server->ephemeral_gb,
        .swap_mb = server->swap_mb,
        .extra_specs = server->extra_specs,
    };

    return flavor_format(&flavor);
}

bool
server_flavor_apply(Server *server, const char *text, GError **err)
{
    json_t *object = json_loads(text ? text : "", 0, NULL), *specs = NULL;
    const char *id, *name;
    json_int_t vcpus, ram_mb, disk_gb, ephemeral_gb, swap_mb;
    bool ok =
        json_unpack(object, "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "id", &id, "name", &name,
                    "vcpus", &vcpus, "ram_mb", &ram_mb, "disk_gb", &disk_gb, "ephemeral_gb",
                    &ephemeral_gb, "swap_mb", &swap_mb, "extra_specs", &specs) == 0;

    if (ok) {
        g_autofree char *spec_text = json_dumps(specs, JSON_COMPACT);

        text_set(&server->flavor_id, id);
        text_set(&server->flavor_name, name);
        server->vcpus = vcpus;
        server->ram_mb = ram_mb;
        server->disk_gb = disk_gb;
        server->ephemeral_gb = ephemeral_gb;
        server->swap_mb = swap_mb;
        text_set(&server->extra_specs, spec_text);
    }
    json_decref(object);
    return ok || err_set(err, ERR_BUG, "the record of a resize of server %s has no flavor in it",
                         server->id);
}
