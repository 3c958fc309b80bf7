/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-disks.c: the disks that a new server is asked for: block_device_mapping_v2 and its
 * predecessor
 *
 * A server has at most one disk of its own, made from an image; every other disk is a volume: one
 * that is there, or one that is made for it from an image, a snapshot or nothing. The mapping is
 * read in three steps: its form alone (create_disks_read), then what it names, with sizes, states
 * and the quota (create_disks_find), then the rows of each server (create_disks_reserve). The last
 * two are inside the transaction that makes the servers. */
#include <string.h>

#include "api/compute-priv.h"
#include "api/volume-priv.h"

#define GIB         (INT64_C(1024) * 1024 * 1024)
#define ROOT_DEVICE "vda"
#define BAD         "Block Device Mapping is Invalid: "

typedef enum DiskSource {
    FROM_VOLUME,
    FROM_IMAGE,
    FROM_SNAPSHOT,
    FROM_BLANK
} DiskSource;
static const char *const source_words[] = {"volume", "image", "snapshot", "blank", NULL};
static const char *const destination_words[] = {"local", "volume", NULL};

typedef struct CreateVolume {
    DiskSource source;
    const char *id;  /* of the source; NULL: blank */
    int64_t size_gb; /* 0: not given */
    bool boots;
    bool delete_on_termination;
    const char *tag, *device, *type; /* NULL: none, any, the default */
    Volume *volume; /* found: the one that is there, or what the new ones will be like (no id) */
} CreateVolume;

/* ---- what a body may hold -----------------------------------------------------------------------
 */

#define LEGACY_MEMBERS                                                                      \
    {.key = "virtual_name", .type = BODY_TEXT, .most = 255},                                \
        {.key = "volume_id", .type = BODY_UUID}, {.key = "snapshot_id", .type = BODY_UUID}, \
        {.key = "volume_size", .type = BODY_INT, .least = 0, .most = BODY_INT_MAX},         \
        {.key = "device_name", .type = BODY_TEXT, .least = 1, .most = 255},                 \
        {.key = "delete_on_termination", .type = BODY_BOOL},                                \
        {.key = "no_device", .type = BODY_ANY},                                             \
    {                                                                                       \
        .key = "connection_info", .type = BODY_TEXT                                         \
    }

const BodyMember create_legacy_disk_members[] = {LEGACY_MEMBERS, {0}};

const BodyMember create_disk_members[] = {
    LEGACY_MEMBERS,
    {.key = "source_type", .type = BODY_WORD, .words = source_words},
    {.key = "uuid", .type = BODY_TEXT, .least = 1, .most = 255},
    {.key = "image_id", .type = BODY_UUID},
    {.key = "destination_type", .type = BODY_WORD, .words = destination_words},
    {.key = "guest_format", .type = BODY_TEXT, .most = 255},
    {.key = "device_type", .type = BODY_TEXT, .most = 255},
    {.key = "disk_bus", .type = BODY_TEXT, .most = 255},
    {.key = "boot_index", .type = BODY_INT_OR_NULL, .least = -BODY_INT_MAX, .most = BODY_INT_MAX},
    {.key = "tag", .type = BODY_TAG, .since = 32, .until = 32},
    {.key = "tag", .type = BODY_TAG, .since = 42},
    {.key = "volume_type", .type = BODY_TEXT_OR_NULL, .since = 67, .most = 255},
    {0},
};

/* ---- reading -----------------------------------------------------------------------------------
 */

static void
create_volume_free(CreateVolume *wanted)
{
    volume_free(wanted->volume);
    g_free(wanted);
}

void
create_disks_clear(CreateDisks *disks)
{
    g_clear_pointer(&disks->volumes, g_ptr_array_unref);
}

static CreateVolume *
disks_add(CreateDisks *disks, DiskSource source, const char *id, const json_t *item)
{
    CreateVolume *wanted = g_new0(CreateVolume, 1);

    wanted->source = source;
    wanted->id = id;
    wanted->size_gb = body_int(item, "volume_size", 0);
    wanted->delete_on_termination = body_bool(item, "delete_on_termination", false);
    wanted->tag = body_text(item, "tag");
    wanted->type = body_text(item, "volume_type");
    g_ptr_array_add(disks->volumes, wanted);
    return wanted;
}

static bool
disk_read_device(CreateVolume *wanted, const json_t *item, GError **err)
{
    g_autofree char *name = NULL;

    /* The disk that a server boots from is its first: there is no choice. */
    if (wanted->boots)
        return true;
    if (!compute_device_read(body_text(item, "device_name"), &wanted->device, err))
        return false;
    name = device_name_parse(wanted->device);
    return g_strcmp0(name, ROOT_DEVICE) != 0 ||
           err_set(err, ERR_INVALID,
                   BAD "/dev/%s is the disk that the server boots from; leave device_name out, or "
                       "name another.",
                   ROOT_DEVICE);
}

typedef struct MappingRead {
    CreateDisks *disks;
    const char *own_image; /* of the server's own disk, as the mapping names it */
    GArray *boot_indexes;  /* int64_t */
} MappingRead;

static bool
mapping_read_local(MappingRead *read, DiskSource source, const char *id, int64_t boot_index,
                   GError **err)
{
    if (source == FROM_BLANK)
        return err_set(err, ERR_INVALID,
                       BAD "swap and ephemeral disks are not offered by this cloud: ask for an "
                           "empty volume, with destination_type volume.");
    if (source != FROM_IMAGE || boot_index != 0)
        return err_set(err, ERR_INVALID,
                       BAD "only the image that the server boots from can be a local disk, with "
                           "boot_index 0; for a %s the destination_type is volume.",
                       source_words[source]);
    if (!uuid_is_valid(id))
        return err_set(err, ERR_INVALID, BAD "'%s' is no id of an image.", id);
    read->own_image = id;
    return true;
}

static bool
mapping_read_item(MappingRead *read, const json_t *item, GError **err)
{
    const char *source_word = body_text(item, "source_type");
    const char *destination = body_text(item, "destination_type");
    const char *id = body_text(item, "uuid");
    int64_t boot_index = body_int(item, "boot_index", -1);
    DiskSource source = FROM_VOLUME;
    CreateVolume *wanted;

    if (body_bool(item, "no_device", false)) /* takes away what an image would bring along */
        return true;
    if (!source_word)
        return err_set(err, ERR_INVALID, BAD "source_type is missing.");
    while (strcmp(source_words[source], source_word) != 0)
        source++;
    if (!id && source != FROM_BLANK) {
        g_autofree char *key = g_strconcat(source_word, "_id", NULL);
        id = body_text(item, key);
        if (!id)
            return err_set(err, ERR_INVALID, BAD "the uuid of the %s is missing.", source_word);
    }
    if (boot_index >= 0)
        g_array_append_val(read->boot_indexes, boot_index);
    if (destination ? strcmp(destination, "local") == 0
                    : source == FROM_IMAGE || source == FROM_BLANK)
        return mapping_read_local(read, source, id, boot_index, err);
    wanted = disks_add(read->disks, source, source == FROM_BLANK ? NULL : id, item);
    wanted->boots = boot_index == 0;
    return disk_read_device(wanted, item, err);
}

/* The form before 2013: what boots is told by the name of the root device. */
static bool
mapping_read_legacy(MappingRead *read, const json_t *item, bool has_image, GError **err)
{
    const char *volume_id = body_text(item, "volume_id");
    const char *snapshot_id = body_text(item, "snapshot_id");
    g_autofree char *device = device_name_parse(body_text(item, "device_name"));
    const int64_t first = 0;
    CreateVolume *wanted;

    if (body_bool(item, "no_device", false))
        return true;
    if (body_text(item, "virtual_name") && *body_text(item, "virtual_name"))
        return mapping_read_local(read, FROM_BLANK, NULL, -1, err);
    if (!volume_id && !snapshot_id)
        return err_set(err, ERR_INVALID, BAD "it names neither a volume nor a snapshot.");
    wanted = snapshot_id ? disks_add(read->disks, FROM_SNAPSHOT, snapshot_id, item)
                         : disks_add(read->disks, FROM_VOLUME, volume_id, item);
    wanted->boots = !has_image && g_strcmp0(device, ROOT_DEVICE) == 0;
    if (wanted->boots)
        g_array_append_val(read->boot_indexes, first);
    return disk_read_device(wanted, item, err);
}

/* Boot indexes are places in a row: 0, 1, 2 … without a gap, and nobody shares one. Only the first
 * is booted from. */
static bool
boot_indexes_check(const GArray *indexes, GError **err)
{
    for (guint place = 0; place < indexes->len; place++) {
        guint found = 0;

        for (guint i = 0; i < indexes->len; i++)
            found += g_array_index(indexes, int64_t, i) == place;
        if (found != 1)
            return err_set(err, ERR_INVALID,
                           BAD "Boot sequence is not valid: %s has boot_index %u; one disk has 0, "
                               "the others follow without a gap, or have none.",
                           found == 0 ? "no disk" : "more than one disk", place);
    }
    return true;
}

static const CreateVolume *
disks_boot_volume(const CreateDisks *disks)
{
    for (guint i = 0; i < disks->volumes->len; i++) {
        const CreateVolume *wanted = disks->volumes->pdata[i];
        if (wanted->boots)
            return wanted;
    }
    return NULL;
}

static bool
disks_choose_root(MappingRead *read, const char *image_ref, GError **err)
{
    CreateDisks *disks = read->disks;
    const int64_t first = 0;

    if (read->own_image && *image_ref && strcmp(read->own_image, image_ref) != 0)
        return err_set(err, ERR_INVALID, BAD "its image is not imageRef.");
    disks->image_ref = read->own_image ? read->own_image : image_ref;
    /* imageRef alone says as much as an entry of the mapping. */
    if (!read->own_image && *image_ref)
        g_array_append_val(read->boot_indexes, first);
    if (!boot_indexes_check(read->boot_indexes, err))
        return false;
    if (!*disks->image_ref && !disks_boot_volume(disks))
        return err_set(err, ERR_INVALID,
                       "Invalid imageRef provided: name the image to boot from, or a volume with "
                       "boot_index 0 in block_device_mapping_v2.");
    return true;
}

static bool
disks_check_shared(const CreateDisks *disks, int64_t count, GError **err)
{
    for (guint i = 0; i < disks->volumes->len; i++) {
        const CreateVolume *wanted = disks->volumes->pdata[i];

        if (wanted->source != FROM_VOLUME)
            continue;
        if (count > 1)
            return err_set(err, ERR_INVALID,
                           BAD "volume %s cannot be attached to %" PRId64
                               " servers: a volume can be in one server at a time.",
                           wanted->id, count);
        for (guint j = 0; j < i; j++) {
            const CreateVolume *other = disks->volumes->pdata[j];
            if (other->source == FROM_VOLUME && strcmp(other->id, wanted->id) == 0)
                return err_set(err, ERR_INVALID, BAD "volume %s is named twice.", wanted->id);
        }
    }
    return true;
}

bool
create_disks_read(const json_t *wanted, int64_t count, CreateDisks *disks, GError **err)
{
    const json_t *mapping = json_object_get(wanted, "block_device_mapping_v2");
    const json_t *legacy = json_object_get(wanted, "block_device_mapping");
    const char *image_ref = body_text(wanted, "imageRef");
    g_autoptr(GArray) boot_indexes = g_array_new(FALSE, FALSE, sizeof(int64_t));
    MappingRead read = {.disks = disks, .boot_indexes = boot_indexes};
    const json_t *item;
    size_t i;

    disks->volumes = g_ptr_array_new_with_free_func((GDestroyNotify)create_volume_free);
    if (!image_ref)
        image_ref = "";
    if (json_array_size(mapping) > 0 && json_array_size(legacy) > 0)
        return err_set(err, ERR_INVALID,
                       BAD "block_device_mapping and block_device_mapping_v2 cannot be used "
                           "together.");
    json_array_foreach((json_t *)mapping, i, item)
    {
        if (!mapping_read_item(&read, item, err))
            return false;
    }
    json_array_foreach((json_t *)legacy, i, item)
    {
        if (!mapping_read_legacy(&read, item, *image_ref != '\0', err))
            return false;
    }
    return disks_choose_root(&read, image_ref, err) && disks_check_shared(disks, count, err);
}

/* ---- finding -----------------------------------------------------------------------------------
 */

bool
create_reference_fail(GError *error, GError **err, const char *format, ...)
{
    va_list args;

    if (!err_is(error, ERR_NOT_FOUND)) {
        g_propagate_error(err, error);
        return false;
    }
    g_clear_error(&error);
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    return err_set(err, ERR_INVALID, "%s", text);
}

Image *
create_image_get(StoreTx *tx, ApiCall *call, const char *id, const Flavor *flavor, GError **err)
{
    static const char unknown[] = "Can not find requested image %s.";
    GError *error = NULL;
    g_autoptr(Image) image = store_get(tx, &IMAGE, id, &error);

    if (!image) {
        create_reference_fail(error, err, unknown, id);
    } else if (!caller_may_see_image(call->caller, image)) {
        err_set(err, ERR_INVALID, unknown, id);
    } else if (image->status != IMAGE_ACTIVE) {
        err_set(err, ERR_INVALID, "Image %s is not active: it is %s.", image->id,
                image_status_names[image->status]);
    } else if (flavor && flavor->ram_mb < image->min_ram_mb) {
        err_set(err, ERR_INVALID,
                "Flavor's memory is too small for requested image: flavor %s has %" PRId64
                " MB, image %s needs %" PRId64 " MB.",
                flavor->name, flavor->ram_mb, image->id, image->min_ram_mb);
    } else {
        return g_steal_pointer(&image);
    }
    return NULL;
}

static bool
volume_find_existing(StoreTx *tx, ApiCall *call, CreateVolume *wanted, GError **err)
{
    GError *error = NULL;

    wanted->volume = volume_get(tx, call, wanted->id, &error);
    if (!wanted->volume)
        return create_reference_fail(error, err, BAD "failed to get volume %s.", wanted->id);
    if (strcmp(wanted->volume->project_id, call->caller->project_id) != 0)
        return err_set(err, ERR_INVALID, BAD "volume %s belongs to another project.", wanted->id);
    if (wanted->boots && !wanted->volume->bootable)
        return err_set(err, ERR_INVALID,
                       "Block Device %s is not bootable. If there is a system on it, say so with "
                       "'openstack volume set --bootable'.",
                       wanted->id);
    return compute_volume_is_free(tx, NULL, wanted->volume, err);
}

static bool
volume_find_image(StoreTx *tx, ApiCall *call, const Flavor *flavor, CreateVolume *wanted,
                  GError **err)
{
    g_autoptr(Image) image =
        create_image_get(tx, call, wanted->id, wanted->boots ? flavor : NULL, err);
    int64_t least_gb;

    if (!image)
        return false;
    if (wanted->size_gb == 0)
        return err_set(err, ERR_INVALID,
                       BAD "volume_size is missing: the new volume from image %s needs one.",
                       image->id);
    least_gb = MAX(image->min_disk_gb, (image->virtual_size + GIB - 1) / GIB);
    if (wanted->size_gb < least_gb)
        return err_set(err, ERR_INVALID,
                       "Volume is too small for requested image. Volume size is %" PRId64
                       " GB, image %s needs %" PRId64 " GB.",
                       wanted->size_gb, image->id, least_gb);
    wanted->volume->bootable = true;
    wanted->volume->image_id = g_strdup(image->id);
    wanted->volume->image_metadata = volume_image_metadata(image);
    return true;
}

static bool
volume_find_snapshot(StoreTx *tx, ApiCall *call, CreateVolume *wanted, GError **err)
{
    GError *error = NULL;
    g_autoptr(Snapshot) snapshot = snapshot_get(tx, call, wanted->id, &error);
    g_autoptr(Volume) parent = NULL;

    if (!snapshot)
        return create_reference_fail(error, err, BAD "failed to get snapshot %s.", wanted->id);
    if (snapshot->status != SNAPSHOT_AVAILABLE)
        return err_set(err, ERR_INVALID,
                       BAD "snapshot %s is %s; a volume can be made from it when it is available.",
                       snapshot->id, snapshot_status_names[snapshot->status]);
    if (wanted->size_gb == 0)
        wanted->size_gb = snapshot->size_gb;
    if (wanted->size_gb < snapshot->size_gb)
        return err_set(err, ERR_INVALID,
                       BAD "volume_size is %" PRId64 " GB, less than the %" PRId64
                           " GB of snapshot %s.",
                       wanted->size_gb, snapshot->size_gb, snapshot->id);
    parent = store_get(tx, &VOLUME, snapshot->volume_id, err);
    if (!parent)
        return false;
    if (wanted->boots && !parent->bootable)
        return err_set(err, ERR_INVALID,
                       "Block Device %s is not bootable: it is a snapshot of volume %s, which is "
                       "not.",
                       snapshot->id, parent->id);
    wanted->volume->bootable = parent->bootable;
    wanted->volume->snapshot_id = g_strdup(snapshot->id);
    wanted->volume->image_metadata = g_strdup(parent->image_metadata);
    text_set(&wanted->volume->volume_type, parent->volume_type);
    return true;
}

static bool
volume_find_blank(CreateVolume *wanted, GError **err)
{
    if (wanted->boots)
        return err_set(err, ERR_INVALID,
                       BAD "there is nothing on an empty volume to boot from: its boot_index "
                           "cannot be 0.");
    if (wanted->size_gb == 0)
        return err_set(err, ERR_INVALID, BAD "volume_size is missing: an empty volume needs one.");
    wanted->volume->image_metadata = g_strdup("{}");
    return true;
}

static bool
volume_find(StoreTx *tx, ApiCall *call, const Flavor *flavor, CreateVolume *wanted, GError **err)
{
    bool found = false;
    GError *error = NULL;

    if (wanted->source == FROM_VOLUME)
        return volume_find_existing(tx, call, wanted, err);
    wanted->volume = record_new(&VOLUME);
    wanted->volume->volume_type = g_strdup(VOLUME_TYPE_DEFAULT);
    switch (wanted->source) {
    case FROM_VOLUME:
        break;
    case FROM_IMAGE:
        found = volume_find_image(tx, call, flavor, wanted, err);
        break;
    case FROM_SNAPSHOT:
        found = volume_find_snapshot(tx, call, wanted, err);
        break;
    case FROM_BLANK:
        found = volume_find_blank(wanted, err);
        break;
    }
    if (!found)
        return false;
    if (wanted->type) {
        g_autoptr(VolumeType) type = volume_type_get(tx, call, wanted->type, &error);
        if (!type)
            return create_reference_fail(error, err, BAD "volume type %s could not be found.",
                                         wanted->type);
        text_set(&wanted->volume->volume_type, type->name);
    }
    wanted->volume->name = g_strdup("");
    wanted->volume->project_id = g_strdup(call->caller->project_id);
    wanted->volume->user_id = g_strdup(call->caller->user_id);
    wanted->volume->status = VOLUME_CREATING;
    wanted->volume->size_gb = wanted->size_gb;
    wanted->volume->metadata = g_strdup("{}");
    wanted->volume->availability_zone = g_strdup(VOLUME_ZONE);
    return true;
}

bool
create_disks_find(StoreTx *tx, ApiCall *call, const Flavor *flavor, int64_t count,
                  CreateDisks *disks, GError **err)
{
    QuotaUsage more = {0};

    for (guint i = 0; i < disks->volumes->len; i++) {
        CreateVolume *wanted = disks->volumes->pdata[i];

        if (!volume_find(tx, call, flavor, wanted, err))
            return false;
        if (wanted->source == FROM_VOLUME)
            continue;
        more.volumes += count;
        more.gigabytes += count * wanted->size_gb;
        more.largest_gigabytes = MAX(more.largest_gigabytes, wanted->size_gb);
    }
    return more.volumes == 0 || api_quota_permits(tx, call->caller->project_id, &more, err);
}

/* ---- rows --------------------------------------------------------------------------------------
 */

static bool
volume_reserve(StoreTx *tx, const Server *server, const CreateVolume *wanted, GError **err)
{
    g_autoptr(Volume) volume = record_copy(&VOLUME, wanted->volume);
    AttachRequest request = {.device = wanted->device,
                             .boot_index = wanted->boots ? 0 : -1,
                             .delete_on_termination = wanted->delete_on_termination,
                             .tag = wanted->tag};
    GError *error = NULL;

    if (wanted->source != FROM_VOLUME) {
        volume->id = uuid_new();
        volume->created_at = volume->updated_at = clock_realtime();
        if (!store_insert(tx, &VOLUME, volume, err))
            return false;
    }
    if (task_reserve_volume(tx, server, volume, &request, NULL, &error))
        return true;
    if (!err_is(error, ERR_CONFLICT)) {
        g_propagate_error(err, error);
        return false;
    }
    /* The volume was free a moment ago: two disks want one name, which is the body's fault. */
    err_set(err, ERR_INVALID, BAD "%s", error->message);
    g_clear_error(&error);
    return false;
}

bool
create_disks_reserve(StoreTx *tx, const Server *server, const CreateDisks *disks, GError **err)
{
    /* What it boots from, then those who ask for a name, then those who take what is left. */
    for (int turn = 0; turn < 3; turn++) {
        for (guint i = 0; i < disks->volumes->len; i++) {
            const CreateVolume *wanted = disks->volumes->pdata[i];
            int own_turn = wanted->boots ? 0 : wanted->device ? 1 : 2;

            if (own_turn == turn && !volume_reserve(tx, server, wanted, err))
                return false;
        }
    }
    return true;
}
