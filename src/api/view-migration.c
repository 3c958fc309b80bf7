/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* view-migration.c: a move as a row of os-migrations and as a move under way of one server
 *
 * os-migrations shows every move; servers/ID/migrations only those under way, and with bytes.
 * Source and destination are shown to whoever may list them: both lists are for administrators and
 * managers. */
#include <string.h>

#include "api/compute-priv.h"

static json_t *
migration_common(const Migration *migration)
{
    return json_pack("{s:I,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "id", (json_int_t)migration->id,
                     "status", migration_status_names[migration->status], "source_compute",
                     json_text_or_null(migration->source_host), "source_node",
                     json_text_or_null(migration->source_host), "dest_compute",
                     json_text_or_null(migration->dest_host), "dest_node",
                     json_text_or_null(migration->dest_host), "dest_host", json_null(),
                     "created_at", view_time_micros(migration->created_at), "updated_at",
                     view_time_micros(migration->updated_at));
}

static void
migration_owner(ApiCall *call, const Migration *migration, json_t *view)
{
    if (api_microversion_at_least(call, 59))
        json_object_set_new(view, "uuid", json_string(migration->uuid));
    if (api_microversion_at_least(call, 80)) {
        json_object_set_new(view, "user_id", json_text_or_null(migration->user_id));
        json_object_set_new(view, "project_id", json_text_or_null(migration->project_id));
    }
}

/* Nova shows its database's number of a flavor. There is none here: the id itself where it is a
 * number, else one that is made of it. Two flavors differ, one is always the same. */
static json_t *
flavor_number(const char *id)
{
    int64_t number;

    if (!id || !*id)
        return json_null();
    return json_integer(
        parse_int64(id, 0, INT32_MAX, &number) ? number : (json_int_t)(g_str_hash(id) & INT32_MAX));
}

/* What a resize goes to; all else keeps its flavor. */
static json_t *
new_flavor_number(const Migration *migration)
{
    json_auto_t *flavor = json_parse_stored(migration->new_flavor, JSON_OBJECT);
    const char *id = json_string_value(json_object_get(flavor, "id"));

    return flavor_number(id ? id : migration->flavor_id);
}

json_t *
view_migration(ApiCall *call, const Migration *migration, const Server *server)
{
    json_t *view = migration_common(migration);
    bool live = strcmp(migration->type, "live-migration") == 0;
    (void)server;

    json_object_set_new(view, "instance_uuid", json_string(migration->server_id));
    json_object_set_new(view, "old_instance_type_id", flavor_number(migration->flavor_id));
    json_object_set_new(view, "new_instance_type_id", new_flavor_number(migration));
    if (api_microversion_at_least(call, 23)) {
        json_object_set_new(view, "migration_type", json_string(migration->type));
        if (live && migration->status != MIGRATION_ACCEPTED &&
            !migration_status_is_final(migration->status)) {
            g_autofree char *collection =
                g_strdup_printf("servers/%s/migrations", migration->server_id);
            g_autofree char *id = g_strdup_printf("%" PRId64, migration->id);
            json_object_set_new(view, "links", view_links(call, collection, id));
        }
    }
    migration_owner(call, migration, view);
    return view;
}

json_t *
view_server_migration(ApiCall *call, const Migration *migration)
{
    json_t *view = migration_common(migration);
    const struct {
        const char *key;
        int64_t value;
    } bytes[] = {
        {"memory_total_bytes", migration->memory_total},
        {"memory_processed_bytes", migration->memory_processed},
        {"memory_remaining_bytes", migration->memory_remaining},
        {"disk_total_bytes", migration->disk_total},
        {"disk_processed_bytes", migration->disk_processed},
        {"disk_remaining_bytes", migration->disk_remaining},
    };

    json_object_set_new(view, "server_uuid", json_string(migration->server_id));
    for (size_t i = 0; i < G_N_ELEMENTS(bytes); i++)
        json_object_set_new(view, bytes[i].key, json_integer(bytes[i].value));
    migration_owner(call, migration, view);
    return view;
}
