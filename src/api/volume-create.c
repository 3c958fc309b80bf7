/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-create.c: a new volume: empty, or from an image, a snapshot or another volume
 *
 * Clients send every member, most of them null. What a member names is looked up in the transaction
 * that makes the volume, and so is the quota: nothing can change in between. */
#include <string.h>

#include "api/volume-priv.h"

typedef struct VolumeCreate {
    const json_t *body, *metadata;
    int64_t size; /* 0: that of the source */
    const char *image_id, *snapshot_id, *source_id, *type;
    json_t *answer;
} VolumeCreate;

/* ---- the body ---------------------------------------------------------------------------------
 */

/* An id that is given must be one: a member that is null or "" is not given. */
static bool
read_id(const json_t *body, const char *key, const char **id, GError **err)
{
    if (!json_get_text(body, key, VOLUME_TEXT_MAX, id, err))
        return false;
    if (*id && !**id)
        *id = NULL;
    return true;
}

/* Members for things that do not exist here: none of that id can be found. */
static bool
refuse_unknown_things(const json_t *body, GError **err)
{
    static const char *const things[][2] = {
        {"consistencygroup_id", "ConsistencyGroup"},
        {"group_id", "Group"},
        {"backup_id", "Backup"},
        {"source_replica", "Volume"},
    };
    const char *id;

    for (size_t i = 0; i < G_N_ELEMENTS(things); i++) {
        if (!read_id(body, things[i][0], &id, err))
            return false;
        if (id)
            return err_set(err, ERR_NOT_FOUND, "%s %s could not be found.", things[i][1], id);
    }
    return true;
}

static bool
read_zone(const json_t *body, GError **err)
{
    const char *zone;

    if (!read_id(body, "availability_zone", &zone, err))
        return false;
    return !zone || strcmp(zone, VOLUME_ZONE) == 0 ||
           err_set(err, ERR_INVALID,
                   "Invalid input received: Availability zone '%s' is invalid. There is one: %s.",
                   zone, VOLUME_ZONE);
}

static bool
create_read(ApiCall *call, VolumeCreate *create, GError **err)
{
    bool multiattach = false;
    int sources;

    if (!json_need_object(call->body, "volume", &create->body, err) ||
        !json_only_keys(create->body, err, "name", "display_name", "description",
                        "display_description", "size", "imageRef", "image_id", "snapshot_id",
                        "source_volid", "source_replica", "volume_type", "metadata",
                        "availability_zone", "consistencygroup_id", "group_id", "backup_id",
                        "multiattach", "scheduler_hints", "OS-SCH-HNT:scheduler_hints", "user_id",
                        "project_id", "status", "attach_status", NULL) ||
        !json_get_int(create->body, "size", 1, VOLUME_SIZE_MAX, &create->size, err) ||
        !read_id(create->body, "imageRef", &create->image_id, err) ||
        (!create->image_id && !read_id(create->body, "image_id", &create->image_id, err)) ||
        !read_id(create->body, "snapshot_id", &create->snapshot_id, err) ||
        !read_id(create->body, "source_volid", &create->source_id, err) ||
        !read_id(create->body, "volume_type", &create->type, err) ||
        !volume_read_texts(create->body, "metadata", &create->metadata, err) ||
        !json_get_bool(create->body, "multiattach", &multiattach, err) ||
        !refuse_unknown_things(create->body, err) || !read_zone(create->body, err))
        return false;
    sources =
        (create->image_id != NULL) + (create->snapshot_id != NULL) + (create->source_id != NULL);
    if (sources > 1)
        return err_set(err, ERR_INVALID,
                       "May specify only one of snapshot, imageRef or source volume.");
    if (create->size == 0 && !create->snapshot_id && !create->source_id)
        return err_set(err, ERR_INVALID,
                       "Invalid input received: 'size' is missing: the volume's size in GB.");
    if (multiattach)
        return err_set(err, ERR_INVALID,
                       "Invalid input received: a volume is attached to one server at a time here: "
                       "'multiattach' must be false.");
    return true;
}

/* ---- where its data comes from ----------------------------------------------------------------
 */

char *
volume_image_metadata(const Image *image)
{
    json_auto_t *metadata = json_parse_stored(image->properties, JSON_OBJECT);
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {
        {"size", image->size}, {"min_disk", image->min_disk_gb}, {"min_ram", image->min_ram_mb}};
    const struct {
        const char *key, *value;
    } texts[] = {{"image_id", image->id},
                 {"image_name", image->name},
                 {"checksum", image->checksum},
                 {"container_format", image->container_format},
                 {"disk_format", image->disk_format}};

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        if (texts[i].value)
            json_object_set_new(metadata, texts[i].key, json_string(texts[i].value));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        g_autofree char *text = g_strdup_printf("%" PRId64, numbers[i].value);
        json_object_set_new(metadata, numbers[i].key, json_string(text));
    }
    return json_to_text(metadata);
}

static bool
take_image(StoreTx *tx, ApiCall *call, const VolumeCreate *create, Volume *volume, GError **err)
{
    const int64_t gigabyte = INT64_C(1) << 30;
    g_autoptr(Image) image = store_get(tx, &IMAGE, create->image_id, NULL);
    int64_t least;

    if (!image || !caller_may_see_image(call->caller, image))
        return err_set(err, ERR_INVALID,
                       "Invalid image identifier or unable to access requested image: %s",
                       create->image_id);
    if (image->status != IMAGE_ACTIVE)
        return err_set(err, ERR_INVALID,
                       "Invalid input received: Image %s is not active, its status is %s.",
                       image->id, image_status_names[image->status]);
    least = image->virtual_size / gigabyte + (image->virtual_size % gigabyte > 0);
    if (create->size < least)
        return err_set(err, ERR_INVALID,
                       "Invalid input received: Size of specified image %" PRId64
                       "GB is larger than volume size %" PRId64 "GB.",
                       least, create->size);
    if (create->size < image->min_disk_gb)
        return err_set(err, ERR_INVALID,
                       "Invalid input received: Volume size %" PRId64
                       "GB cannot be smaller than the image minDisk size %" PRId64 "GB.",
                       create->size, image->min_disk_gb);
    volume->bootable = true;
    text_set(&volume->image_id, image->id);
    g_free(volume->image_metadata);
    volume->image_metadata = volume_image_metadata(image);
    return true;
}

static bool
fit_size(const VolumeCreate *create, Volume *volume, int64_t least, const char *what, GError **err)
{
    if (create->size != 0 && create->size < least)
        return err_set(err, ERR_INVALID,
                       "Invalid input received: Volume size '%" PRId64
                       "'GB cannot be smaller than the %s size '%" PRId64
                       "'GB. They must be >= the %s size.",
                       create->size, what, least, what);
    volume->size_gb = MAX(create->size, least);
    return true;
}

/* What a copy has of the volume that its data was written to. */
static void
inherit(Volume *volume, const Volume *origin)
{
    volume->bootable = origin->bootable;
    text_set(&volume->image_metadata, origin->image_metadata);
    text_set(&volume->volume_type, origin->volume_type);
}

static bool
take_snapshot(StoreTx *tx, ApiCall *call, const VolumeCreate *create, Volume *volume, GError **err)
{
    g_autoptr(Snapshot) snapshot = snapshot_get(tx, call, create->snapshot_id, err);
    g_autoptr(Volume) origin = snapshot ? store_get(tx, &VOLUME, snapshot->volume_id, err) : NULL;

    if (!origin)
        return false;
    if (snapshot->status != SNAPSHOT_AVAILABLE)
        return err_set(err, ERR_INVALID,
                       "Invalid snapshot: Originating snapshot status must be available, but "
                       "current status is: %s.",
                       snapshot_status_names[snapshot->status]);
    inherit(volume, origin);
    text_set(&volume->snapshot_id, snapshot->id);
    return fit_size(create, volume, snapshot->size_gb, "snapshot", err);
}

static bool
take_volume(StoreTx *tx, ApiCall *call, const VolumeCreate *create, Volume *volume, GError **err)
{
    g_autoptr(Volume) origin = volume_get(tx, call, create->source_id, err);

    if (!origin)
        return false;
    if (!volume_rule_permits(volume_rule_find("clone"), origin, err)) {
        if (err && *err)
            (*err)->code = ERR_INVALID;
        return false;
    }
    inherit(volume, origin);
    text_set(&volume->source_volume_id, origin->id);
    return fit_size(create, volume, origin->size_gb, "original volume", err);
}

static bool
take_source(StoreTx *tx, ApiCall *call, const VolumeCreate *create, Volume *volume, GError **err)
{
    if (create->snapshot_id)
        return take_snapshot(tx, call, create, volume, err);
    if (create->source_id)
        return take_volume(tx, call, create, volume, err);
    return !create->image_id || take_image(tx, call, create, volume, err);
}

/* ---- the transaction --------------------------------------------------------------------------
 */

static bool
create_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    VolumeCreate *create = opaque;
    g_autoptr(Volume) volume = record_new(&VOLUME);
    QuotaUsage more = {.volumes = 1};
    json_t *view;

    volume->id = uuid_new();
    volume->name = g_strdup("");
    volume->project_id = g_strdup(call->caller->project_id);
    volume->user_id = g_strdup(call->caller->user_id);
    volume->status = VOLUME_CREATING;
    volume->size_gb = create->size;
    volume->volume_type = g_strdup(VOLUME_TYPE_DEFAULT);
    volume->image_metadata = g_strdup("{}");
    volume->metadata = create->metadata ? json_to_text(create->metadata) : g_strdup("{}");
    volume->availability_zone = g_strdup(VOLUME_ZONE);
    volume->created_at = volume->updated_at = clock_realtime();
    if (!volume_read_names(create->body, &volume->name, &volume->description, err) ||
        !take_source(tx, call, create, volume, err))
        return false;
    if (create->type) {
        g_autoptr(VolumeType) type = volume_type_get(tx, call, create->type, err);

        if (!type)
            return false;
        text_set(&volume->volume_type, type->name);
    }
    more.gigabytes = more.largest_gigabytes = volume->size_gb;
    if (!api_quota_permits(tx, volume->project_id, &more, err) ||
        !store_insert(tx, &VOLUME, volume, err) ||
        !volume_submit(tx, call, "create", volume, NULL, err))
        return false;
    view = view_volume(tx, call, volume, VIEW_CREATED, err);
    if (view)
        create->answer = json_pack("{s:o}", "volume", view);
    return view != NULL;
}

void
volume_volume_create(ApiCall *call)
{
    VolumeCreate create = {0};
    GError *error = NULL;

    if (!create_read(call, &create, &error)) {
        api_fail(call, error);
        return;
    }
    if (!api_write(call, create_run, &create)) {
        json_decref(create.answer);
        return;
    }
    api_wake(call);
    api_reply(call, 202, create.answer);
}
