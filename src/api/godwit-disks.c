/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-disks.c: what Godwit knows of a server's disks and of a volume beyond what the OpenStack
 * APIs have room for */
#include "api/godwit-priv.h"

static GPtrArray *
rows_of_server(StoreTx *tx, const RecordType *type, const char *server_id, const char *order_by,
               GError **err)
{
    const StoreCond where[] = {
        {.column = "server_id", .op = STORE_EQ, .text = server_id},
        {.column = NULL},
    };

    return store_list(tx, type, &(StoreQuery){.where = where, .order_by = order_by}, err);
}

static json_t *
view_attachment(StoreTx *tx, const Attachment *attachment)
{
    g_autoptr(Volume) volume = store_get(tx, &VOLUME, attachment->volume_id, NULL);

    return json_pack("{s:s,s:s,s:s,s:s,s:o,s:I,s:b,s:b}", "volume_id", attachment->volume_id,
                     "name", volume ? volume->name : "", "device", attachment->device, "state",
                     attachment_state_names[attachment->state], "size_gb",
                     volume ? json_integer(volume->size_gb) : json_null(), "boot_index",
                     (json_int_t)attachment->boot_index, "delete_on_termination",
                     (int)attachment->delete_on_termination, "read_only",
                     (int)attachment->read_only);
}

static bool
server_disks_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    g_autoptr(GPtrArray) attachments =
        server ? rows_of_server(tx, &ATTACHMENT, server->id, "device", err) : NULL;
    g_autoptr(GPtrArray) clients =
        attachments ? rows_of_server(tx, &DISK_CLIENT, server->id, "id", err) : NULL;
    json_t *volumes, *rows;

    if (!clients)
        return false;
    volumes = json_array();
    for (guint i = 0; i < attachments->len; i++)
        json_array_append_new(volumes, view_attachment(tx, g_ptr_array_index(attachments, i)));
    rows = json_array();
    for (guint i = 0; i < clients->len; i++) {
        const DiskClient *client = g_ptr_array_index(clients, i);

        json_array_append_new(rows, json_pack("{s:s,s:s,s:s,s:I}", "source", client->source, "host",
                                              client->host, "address", client->address,
                                              "created_at", (json_int_t)client->created_at));
    }
    *(json_t **)opaque =
        json_pack("{s:{s:s,s:s,s:o,s:o,s:o,s:I,s:o,s:o,s:o}}", "server", "id", server->id, "name",
                  server->name, "host", json_text_or_null(server->host), "uncertainty",
                  json_text_or_null(server->uncertainty), "fault_message",
                  json_text_or_null(server->fault_message), "fault_at",
                  (json_int_t)server->fault_at, "locked_by", json_text_or_null(server->locked_by),
                  "volumes", volumes, "disk_clients", rows);
    return true;
}

void
godwit_server_show(ApiCall *call)
{
    api_answer_read(call, server_disks_read, 200);
}

/* ---- a volume ---------------------------------------------------------------------------------
 */

static json_t *
view_holders(StoreTx *tx, const char *volume_id, GError **err)
{
    const StoreCond where[] = {
        {.column = "volume_id", .op = STORE_EQ, .text = volume_id},
        {.column = NULL},
    };
    g_autoptr(GPtrArray) attachments =
        store_list(tx, &ATTACHMENT, &(StoreQuery){.where = where}, err);
    json_t *rows = attachments ? json_array() : NULL;

    for (guint i = 0; attachments && i < attachments->len; i++) {
        const Attachment *attachment = g_ptr_array_index(attachments, i);
        g_autoptr(Server) server = store_get(tx, &SERVER, attachment->server_id, NULL);

        json_array_append_new(
            rows, json_pack("{s:s,s:s,s:s,s:s}", "server_id", attachment->server_id, "server_name",
                            server ? server->name : "", "device", attachment->device, "state",
                            attachment_state_names[attachment->state]));
    }
    return rows;
}

static bool
volume_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *id = api_param(call, "id");
    g_autoptr(Volume) volume = store_get(tx, &VOLUME, id, NULL);
    json_t *holders;

    if (!volume || !caller_may_see(call->caller, volume->project_id))
        return err_set(err, ERR_NOT_FOUND, "Volume %s could not be found.", id);
    holders = view_holders(tx, id, err);
    if (!holders)
        return false;
    *(json_t **)opaque =
        json_pack("{s:{s:s,s:s,s:s,s:s,s:I,s:I,s:o,s:b,s:b,s:o,s:I,s:I}}", "volume", "id",
                  volume->id, "name", volume->name, "project_id", volume->project_id, "status",
                  volume_status_names[volume->status], "size_gb", (json_int_t)volume->size_gb,
                  "progress_percent", (json_int_t)volume->progress_percent, "fault_message",
                  json_text_or_null(volume->fault_message), "bootable", (int)volume->bootable,
                  "read_only", (int)volume->read_only, "attachments", holders, "created_at",
                  (json_int_t)volume->created_at, "updated_at", (json_int_t)volume->updated_at);
    return true;
}

void
godwit_volume_show(ApiCall *call)
{
    api_answer_read(call, volume_read, 200);
}

/* ---- a snapshot -------------------------------------------------------------------------------
 */

static bool
snapshot_read(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *id = api_param(call, "id");
    g_autoptr(Snapshot) snapshot = store_get(tx, &SNAPSHOT, id, NULL);

    if (!snapshot || !caller_may_see(call->caller, snapshot->project_id))
        return err_set(err, ERR_NOT_FOUND, "Snapshot %s could not be found.", id);
    *(json_t **)opaque = json_pack(
        "{s:{s:s,s:s,s:s,s:s,s:s,s:I,s:o,s:I,s:I}}", "snapshot", "id", snapshot->id, "name",
        snapshot->name, "project_id", snapshot->project_id, "volume_id", snapshot->volume_id,
        "status", snapshot_status_names[snapshot->status], "size_gb", (json_int_t)snapshot->size_gb,
        "fault_message", json_text_or_null(snapshot->fault_message), "created_at",
        (json_int_t)snapshot->created_at, "updated_at", (json_int_t)snapshot->updated_at);
    return true;
}

void
godwit_snapshot_show(ApiCall *call)
{
    api_answer_read(call, snapshot_read, 200);
}
