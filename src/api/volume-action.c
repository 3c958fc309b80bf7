/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-action.c: POST …/action of volumes and snapshots
 *
 * One table says which actions there are, who may ask for them and what the answer is. An action of
 * Cinder's that Godwit does not offer is refused with the reason, and with the way that there is.
 */
#include <string.h>

#include "api/volume-priv.h"

typedef struct ActionCall {
    const struct VolumeAction *action;
    const json_t *given; /* the action's value; NULL if it is null */
    json_t *answer;
} ActionCall;

typedef struct VolumeAction {
    const char *name;
    bool (*run)(StoreTx *tx, ApiCall *call, Volume *volume, ActionCall *action, GError **err);
    int status;
    bool for_admin;
    const char *refusal; /* instead of run */
} VolumeAction;

/* ---- volumes ----------------------------------------------------------------------------------
 */

static bool
action_extend(StoreTx *tx, ApiCall *call, Volume *volume, ActionCall *action, GError **err)
{
    int64_t size = 0;
    QuotaUsage more = {0};
    g_autofree char *params = NULL;

    if (!json_get_int(action->given, "new_size", 1, VOLUME_SIZE_MAX, &size, err))
        return false;
    if (size == 0)
        return err_set(err, ERR_INVALID, "'new_size' is missing.");
    if (volume->status == VOLUME_IN_USE && !api_microversion_at_least(call, 42))
        return err_set(err, ERR_INVALID,
                       "Invalid volume: Volume status must be available to extend, but current "
                       "status is: in-use. (From microversion 3.42 on, it may be in use.)");
    if (size <= volume->size_gb)
        return err_set(err, ERR_INVALID,
                       "Invalid input received: New size for extend must be greater than current "
                       "size. (current: %" PRId64 ", extended: %" PRId64 ").",
                       volume->size_gb, size);
    more.gigabytes = size - volume->size_gb;
    more.largest_gigabytes = size;
    params = g_strdup_printf("{\"size_gb\":%" PRId64 "}", size);
    return api_quota_permits(tx, volume->project_id, &more, err) &&
           volume_submit(tx, call, "extend", volume, params, err);
}

static bool
save_volume(StoreTx *tx, Volume *volume, GError **err)
{
    volume->updated_at = clock_realtime();
    return store_update(tx, &VOLUME, volume, err);
}

static bool
need_bool(const json_t *given, const char *key, bool *value, GError **err)
{
    if (!json_object_get(given, key))
        return err_set(err, ERR_INVALID, "'%s' is missing.", key);
    return json_get_bool(given, key, value, err);
}

static bool
action_set_bootable(StoreTx *tx, ApiCall *call, Volume *volume, ActionCall *action, GError **err)
{
    (void)call;
    return need_bool(action->given, "bootable", &volume->bootable, err) &&
           save_volume(tx, volume, err);
}

static bool
action_read_only(StoreTx *tx, ApiCall *call, Volume *volume, ActionCall *action, GError **err)
{
    (void)call;
    if (!need_bool(action->given, "readonly", &volume->read_only, err))
        return false;
    if (volume->status != VOLUME_AVAILABLE)
        return err_set(err, ERR_INVALID,
                       "Invalid volume: Volume %s status must be available to update readonly "
                       "flag, but current status is: %s.",
                       volume->id, volume_status_names[volume->status]);
    return save_volume(tx, volume, err);
}

static int64_t
attachment_count(StoreTx *tx, const Volume *volume, GError **err)
{
    StoreCond where[] = {{"volume_id", STORE_EQ, volume->id, 0}, {0}};

    return store_count(tx, &ATTACHMENT, where, err);
}

bool
volume_force_status(StoreTx *tx, Volume *volume, GError **err)
{
    int64_t attachments = attachment_count(tx, volume, err);

    if (attachments > 0)
        return err_set(err, ERR_INVALID,
                       "Invalid volume: Volume %s is attached to a server: detach it first.",
                       volume->id);
    if (attachments < 0 || !volume_is_idle(tx, volume->id, err))
        return false;
    volume->status = VOLUME_ERROR;
    return true;
}

static bool
action_force_delete(StoreTx *tx, ApiCall *call, Volume *volume, ActionCall *action, GError **err)
{
    (void)action;
    return volume_force_status(tx, volume, err) &&
           volume_submit(tx, call, "delete", volume, NULL, err);
}

static int
name_index(const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return -1;
}

/* Only into a status in which a volume rests, and only where the rows agree with it: a status that
 * an operation sets would never end, and "available" for a volume that a guest has open would let a
 * second writer in. */
static bool
action_reset_status(StoreTx *tx, ApiCall *call, Volume *volume, ActionCall *action, GError **err)
{
    const unsigned resting = 1u << VOLUME_AVAILABLE | 1u << VOLUME_IN_USE | 1u << VOLUME_ERROR |
                             1u << VOLUME_ERROR_DELETING | 1u << VOLUME_ERROR_EXTENDING;
    const char *text, *attach_status, *migration_status;
    int64_t attachments;
    int status;
    (void)call;

    if (!json_get_text(action->given, "status", VOLUME_TEXT_MAX, &text, err) ||
        !json_get_text(action->given, "attach_status", VOLUME_TEXT_MAX, &attach_status, err) ||
        !json_get_text(action->given, "migration_status", VOLUME_TEXT_MAX, &migration_status, err))
        return false;
    attachments = attachment_count(tx, volume, err);
    if (attachments < 0)
        return false;
    if (!text && !attach_status && !migration_status)
        return err_set(err, ERR_INVALID,
                       "Must specify 'status', 'attach_status' or 'migration_status' for update.");
    if (attach_status && strcmp(attach_status, attachments > 0 ? "attached" : "detached") != 0)
        return err_set(err, ERR_INVALID,
                       "Invalid volume: Volume %s is %s: 'attach_status' says what is, and cannot "
                       "be set to %s. Attach or detach the volume by its server.",
                       volume->id, attachments > 0 ? "attached" : "detached", attach_status);
    if (migration_status && strcmp(migration_status, "none") != 0)
        return err_set(err, ERR_INVALID,
                       "'migration_status' can only be none: volumes are not migrated here.");
    if (!text)
        return true;
    status = name_index(volume_status_names, text);
    if (status < 0 || !(resting & 1u << status))
        return err_set(err, ERR_INVALID,
                       "Invalid input for field/attribute status. Value: %.64s. It must be one of "
                       "available, in-use, error, error_deleting, error_extending.",
                       text);
    if ((status == VOLUME_IN_USE) != (attachments > 0) &&
        (status == VOLUME_IN_USE || status == VOLUME_AVAILABLE))
        return err_set(err, ERR_INVALID,
                       "Invalid volume: Volume %s is %s a server: its status cannot be %s.",
                       volume->id, attachments > 0 ? "attached to" : "not attached to", text);
    if (!volume_is_idle(tx, volume->id, err))
        return false;
    volume->status = (VolumeStatus)status;
    return save_volume(tx, volume, err);
}

static bool
image_metadata_answer(StoreTx *tx, Volume *volume, json_t *metadata, ActionCall *action,
                      GError **err)
{
    g_free(volume->image_metadata);
    volume->image_metadata = json_to_text(metadata);
    action->answer = json_pack("{s:O}", "metadata", metadata);
    return save_volume(tx, volume, err);
}

static bool
action_set_image_metadata(StoreTx *tx, ApiCall *call, Volume *volume, ActionCall *action,
                          GError **err)
{
    json_auto_t *metadata = json_parse_stored(volume->image_metadata, JSON_OBJECT);
    const json_t *given;
    (void)call;

    if (!json_need_object(action->given, "metadata", &given, err) ||
        !volume_check_texts("metadata", given, err))
        return false;
    json_object_update(metadata, (json_t *)given);
    return volume_check_texts("metadata", metadata, err) &&
           image_metadata_answer(tx, volume, metadata, action, err);
}

static bool
action_unset_image_metadata(StoreTx *tx, ApiCall *call, Volume *volume, ActionCall *action,
                            GError **err)
{
    json_auto_t *metadata = json_parse_stored(volume->image_metadata, JSON_OBJECT);
    const char *key;
    (void)call;

    if (!json_need_text(action->given, "key", VOLUME_TEXT_MAX, &key, err))
        return false;
    if (json_object_del(metadata, key) != 0)
        return err_set(err, ERR_NOT_FOUND, "Metadata item %s was not found.", key);
    if (!image_metadata_answer(tx, volume, metadata, action, err))
        return false;
    json_decref(action->answer); /* Cinder answers without a body */
    action->answer = NULL;
    return true;
}

static bool
action_show_image_metadata(StoreTx *tx, ApiCall *call, Volume *volume, ActionCall *action,
                           GError **err)
{
    (void)tx;
    (void)call;
    (void)err;
    action->answer =
        json_pack("{s:o}", "metadata", json_parse_stored(volume->image_metadata, JSON_OBJECT));
    return true;
}

#define BY_THE_SERVER                                                                           \
    "A volume is attached and detached by its server, so that there is one record of it: POST " \
    "and DELETE …/servers/SERVER/os-volume_attachments of the compute service."

static const VolumeAction volume_actions[] = {
    {.name = "os-extend", .run = action_extend, .status = 202},
    {.name = "os-set_bootable", .run = action_set_bootable, .status = 200},
    {.name = "os-update_readonly_flag", .run = action_read_only, .status = 202},
    {.name = "os-reset_status", .run = action_reset_status, .status = 202, .for_admin = true},
    {.name = "os-force_delete", .run = action_force_delete, .status = 202, .for_admin = true},
    {.name = "os-set_image_metadata", .run = action_set_image_metadata, .status = 200},
    {.name = "os-unset_image_metadata", .run = action_unset_image_metadata, .status = 200},
    {.name = "os-show_image_metadata", .run = action_show_image_metadata, .status = 200},
    {.name = "os-attach", .refusal = BY_THE_SERVER},
    {.name = "os-detach", .refusal = BY_THE_SERVER},
    {.name = "os-force_detach", .refusal = BY_THE_SERVER},
    {.name = "os-reserve", .refusal = BY_THE_SERVER},
    {.name = "os-unreserve", .refusal = BY_THE_SERVER},
    {.name = "os-begin_detaching", .refusal = BY_THE_SERVER},
    {.name = "os-roll_detaching", .refusal = BY_THE_SERVER},
    {.name = "os-initialize_connection", .refusal = BY_THE_SERVER},
    {.name = "os-terminate_connection", .refusal = BY_THE_SERVER},
    {.name = "os-volume_upload_image",
     .refusal = "No image is made of a volume here. Make a new volume of it or of its snapshot, or "
                "upload the image to the image service."},
    {.name = "os-retype",
     .refusal =
         "The type of a volume stays. All types lie on the same storage; make a new volume of "
         "the other type with this one as its source."},
    {.name = "os-migrate_volume", .refusal = "There is one storage: a volume has nowhere to go."},
    {.name = "os-migrate_volume_completion",
     .refusal = "There is one storage: a volume has nowhere to go."},
    {.name = "os-unmanage",
     .refusal =
         "A volume cannot be kept in the storage without its record: it would be swept as an "
         "orphan."},
    {.name = "revert",
     .refusal = "A volume is not reverted in place. Make a new volume from the snapshot."},
    {.name = "os-reimage",
     .refusal = "A volume is not written anew in place. Make a new volume from the image."},
    {0},
};

/* ---- snapshots --------------------------------------------------------------------------------
 */

static bool
snapshot_reset_status(StoreTx *tx, Snapshot *snapshot, const json_t *given, GError **err)
{
    const unsigned resting =
        1u << SNAPSHOT_AVAILABLE | 1u << SNAPSHOT_ERROR | 1u << SNAPSHOT_ERROR_DELETING;
    const char *text;
    int status;

    if (!json_need_text(given, "status", VOLUME_TEXT_MAX, &text, err))
        return false;
    status = name_index(snapshot_status_names, text);
    if (status < 0 || !(resting & 1u << status))
        return err_set(err, ERR_INVALID,
                       "Invalid input for field/attribute status. Value: %.64s. It must be one of "
                       "available, error, error_deleting.",
                       text);
    if (!volume_is_idle(tx, snapshot->volume_id, err))
        return false;
    snapshot->status = (SnapshotStatus)status;
    snapshot->updated_at = clock_realtime();
    return store_update(tx, &SNAPSHOT, snapshot, err);
}

static bool
snapshot_force_delete(StoreTx *tx, ApiCall *call, Snapshot *snapshot, GError **err)
{
    g_autoptr(Volume) volume = store_get(tx, &VOLUME, snapshot->volume_id, err);

    if (!volume || !volume_is_idle(tx, snapshot->volume_id, err))
        return false;
    snapshot->status = SNAPSHOT_ERROR;
    return snapshot_submit(tx, call, "snapshot-delete", volume, snapshot, true, err);
}

static bool
snapshot_action_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    ActionCall *action = opaque;
    g_autoptr(Snapshot) snapshot = snapshot_get(tx, call, api_param(call, "id"), err);

    if (!snapshot)
        return false;
    return strcmp(action->action->name, "os-reset_status") == 0
               ? snapshot_reset_status(tx, snapshot, action->given, err)
               : snapshot_force_delete(tx, call, snapshot, err);
}

static const VolumeAction snapshot_actions[] = {
    {.name = "os-reset_status", .status = 202, .for_admin = true},
    {.name = "os-force_delete", .status = 202, .for_admin = true},
    {.name = "os-update_snapshot_status",
     .refusal = "A snapshot's status is set by the operation that makes it."},
    {.name = "os-unmanage",
     .refusal = "A snapshot cannot be kept in the storage without its record."},
    {0},
};

/* ---- both -------------------------------------------------------------------------------------
 */

static bool
volume_action_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    ActionCall *action = opaque;
    g_autoptr(Volume) volume = volume_get(tx, call, api_param(call, "id"), err);

    return volume && action->action->run(tx, call, volume, action, err);
}

static const VolumeAction *
action_find(ApiCall *call, const VolumeAction *actions, ActionCall *found)
{
    void *first = json_object_iter(call->body);
    const char *name = first ? json_object_iter_key(first) : "";
    const json_t *value = first ? json_object_iter_value(first) : NULL;

    if (json_object_size(call->body) != 1) {
        api_fault(call, 400, "The body must hold exactly one action.");
        return NULL;
    }
    for (; actions->name && strcmp(actions->name, name) != 0;)
        actions++;
    if (!actions->name) {
        api_fault(call, 400, "There is no such action: %.64s", name);
        return NULL;
    }
    if (actions->refusal) {
        api_fault(call, 400, "%s is not offered. %s", name, actions->refusal);
        return NULL;
    }
    if (actions->for_admin && !call->caller->is_admin) {
        api_fault(call, 403, "Policy doesn't allow %s to be performed: it is for administrators.",
                  name);
        return NULL;
    }
    if (!json_is_object(value) && !json_is_null(value)) {
        api_fault(call, 400, "'%s' must be an object.", name);
        return NULL;
    }
    found->action = actions;
    found->given = json_is_null(value) ? NULL : value;
    return actions;
}

static void
action_answer(ApiCall *call, const VolumeAction *actions, ApiTxFn run)
{
    ActionCall action = {0};

    if (!action_find(call, actions, &action))
        return;
    if (!api_write(call, run, &action)) {
        json_decref(action.answer);
        return;
    }
    api_wake(call);
    if (action.answer)
        api_reply(call, action.action->status, action.answer);
    else
        api_reply_empty(call, action.action->status);
}

void
volume_volume_action(ApiCall *call)
{
    action_answer(call, volume_actions, volume_action_run);
}

void
volume_snapshot_action(ApiCall *call)
{
    action_answer(call, snapshot_actions, snapshot_action_run);
}
