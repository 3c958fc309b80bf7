/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* image-schema.c: the JSON schema of an image, true to view_image: glanceclient validates every
 * answer against it */
#include <string.h>

#include "api/image-priv.h"

static const struct {
    const char *key;
    const char *type; /* of JSON schema; a "?" in front: or null */
    bool read_only;
    const char *description;
} members[] = {
    {"id", "string", false, "Identifier of the image, a UUID"},
    {"name", "?string", false, "Name for people"},
    {"status", "string", true, "queued, saving, active, killed or deleted"},
    {"visibility", "string", false, "public, private, shared or community"},
    {"protected", "boolean", false, "If true, the image cannot be deleted"},
    {"os_hidden", "boolean", false, "If true, the image is left out of the default list"},
    {"owner", "?string", false, "Id of the project that owns the image"},
    {"size", "?integer", true, "Bytes as uploaded"},
    {"virtual_size", "?integer", true, "Bytes that a guest sees"},
    {"checksum", "?string", true, "MD5 of the data as uploaded"},
    {"os_hash_algo", "?string", true, "Algorithm of os_hash_value"},
    {"os_hash_value", "?string", true, "Hash of the data as uploaded"},
    {"min_disk", "integer", false, "Least disk of a flavor, in GB"},
    {"min_ram", "integer", false, "Least memory of a flavor, in MB"},
    {"disk_format", "?string", false, "raw or qcow2"},
    {"container_format", "?string", false, "bare"},
    {"tags", "array", false, "Words attached to the image"},
    {"created_at", "string", true, "Time of creation"},
    {"updated_at", "string", true, "Time of the last change"},
    {"self", "string", true, "Path of the image"},
    {"file", "string", true, "Path of the image's data"},
    {"schema", "string", true, "Path of this schema"},
};

static json_t *
schema_image(void)
{
    json_t *properties = json_object();

    for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
        bool nullable = members[i].type[0] == '?';
        json_t *member = json_pack("{s:s}", "description", members[i].description);

        json_object_set_new(member, "type",
                            nullable ? json_pack("[s,s]", "null", members[i].type + 1)
                                     : json_string(members[i].type));
        if (strcmp(members[i].type, "array") == 0)
            json_object_set_new(member, "items", json_pack("{s:s}", "type", "string"));
        if (members[i].read_only)
            json_object_set_new(member, "readOnly", json_true());
        json_object_set_new(properties, members[i].key, member);
    }
    return json_pack("{s:s,s:o,s:{s:s},s:[{s:s,s:s},{s:s,s:s},{s:s,s:s}]}", "name", "image",
                     "properties", properties, "additionalProperties", "type", "string", "links",
                     "href", "{self}", "rel", "self", "href", "{file}", "rel", "enclosure", "href",
                     "{schema}", "rel", "describedby");
}

void
image_schema_image(ApiCall *call)
{
    api_reply(call, 200, schema_image());
}

void
image_schema_images(ApiCall *call)
{
    api_reply(call, 200,
              json_pack("{s:s,s:{s:{s:s,s:o},s:{s:s},s:{s:s},s:{s:s}},s:[{s:s,s:s},{s:s,s:s}]}",
                        "name", "images", "properties", "images", "type", "array", "items",
                        schema_image(), "schema", "type", "string", "next", "type", "string",
                        "first", "type", "string", "links", "href", "{first}", "rel", "first",
                        "href", "{next}", "rel", "next"));
}
