/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* server-volumes.c: the volumes that are in a server: which, as which disks, made with it, given
 * back after it
 *
 * An attachment's row is there from the moment the request is accepted until it is known that no
 * guest has the volume. Whoever removes the row says in the same transaction what becomes of the
 * volume, so that neither is ever without the other. */
#include <string.h>

#include "task/disk-clients.h"
#include "task/task-priv.h"

void
server_volume_free(ServerVolume *entry)
{
    if (!entry)
        return;
    attachment_free(entry->attachment);
    volume_free(entry->volume);
    g_free(entry);
}

/* The one that it boots from first, then vdb … vdz, vdaa. */
static int
compare_devices(gconstpointer a, gconstpointer b)
{
    const Attachment *one = (*(ServerVolume *const *)a)->attachment,
                     *two = (*(ServerVolume *const *)b)->attachment;
    size_t length_one = strlen(one->device), length_two = strlen(two->device);

    if ((one->boot_index == 0) != (two->boot_index == 0))
        return one->boot_index == 0 ? -1 : 1;
    if (length_one != length_two)
        return length_one < length_two ? -1 : 1;
    return strcmp(one->device, two->device);
}

static GPtrArray *
read_volumes(StoreTx *tx, const char *server_id, GError **err)
{
    const StoreCond where[] = {{"server_id", STORE_EQ, server_id, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = store_list(tx, &ATTACHMENT, &(StoreQuery){.where = where}, err);
    g_autoptr(GPtrArray) entries =
        g_ptr_array_new_with_free_func((GDestroyNotify)server_volume_free);

    if (!rows)
        return NULL;
    for (guint i = 0; i < rows->len; i++) {
        const Attachment *row = g_ptr_array_index(rows, i);
        Volume *volume = store_get(tx, &VOLUME, row->volume_id, err);
        ServerVolume *entry;

        if (!volume)
            return NULL;
        entry = g_new0(ServerVolume, 1);
        entry->attachment = record_copy(&ATTACHMENT, row);
        entry->volume = volume;
        g_ptr_array_add(entries, entry);
    }
    g_ptr_array_sort(entries, compare_devices);
    return g_steal_pointer(&entries);
}

typedef struct VolumesRead {
    const char *server_id;
    GPtrArray *entries;
} VolumesRead;

static bool
read_into(StoreTx *tx, void *opaque, GError **err)
{
    VolumesRead *read = opaque;

    return (read->entries = read_volumes(tx, read->server_id, err)) != NULL;
}

GPtrArray *
part_server_volumes(TaskRun *run, GError **err)
{
    VolumesRead read = {run->server_id, NULL};

    return store_read(run_store(run), read_into, &read, err) ? read.entries : NULL;
}

bool
part_volume_disk(TaskRun *run, const ServerVolume *entry, DiskSpec *disk, GError **err)
{
    const Storage *storage = run_storage(run);

    *disk = (DiskSpec){.target = g_strdup(entry->attachment->device),
                       .serial = g_strdup(entry->volume->id),
                       .read_only = entry->attachment->read_only};
    if (storage_volume_source(storage, entry->volume->id, &disk->source, &disk->format, err) &&
        storage_access(storage, &disk->rbd, err))
        return true;
    disk_spec_clear(disk);
    return false;
}

/* ---- making a volume's data --------------------------------------------------------------------
 */

#define PROGRESS_INTERVAL_US USEC_PER_SEC

typedef struct Progress {
    TaskRun *run;
    const Volume *volume;
    int64_t percent, written_at;
} Progress;

static bool
write_progress(StoreTx *tx, void *opaque, GError **err)
{
    const Progress *progress = opaque;
    g_autoptr(Volume) row = store_get(tx, &VOLUME, progress->volume->id, err);

    if (!row)
        return false;
    row->progress_percent = progress->percent;
    if (row->status == VOLUME_CREATING && row->image_id)
        row->status = VOLUME_DOWNLOADING;
    row->updated_at = clock_realtime();
    return store_update(tx, &VOLUME, row, err);
}

static bool
on_progress(int64_t done, int64_t total, void *opaque)
{
    Progress *progress = opaque;
    int64_t now = clock_monotonic();

    if (run_is_stopping(progress->run) ||
        __atomic_load_n(&progress->run->cancelled, __ATOMIC_RELAXED))
        return false;
    if (total > 0 && now - progress->written_at >= PROGRESS_INTERVAL_US) {
        progress->percent = CLAMP(done * 100 / total, 0, 99);
        progress->written_at = now;
        store_write(run_store(progress->run), write_progress, progress, NULL); /* for people only */
    }
    return true;
}

typedef struct SnapshotRead {
    const char *id;
    Snapshot *snapshot;
} SnapshotRead;

static bool
read_snapshot(StoreTx *tx, void *opaque, GError **err)
{
    SnapshotRead *read = opaque;

    return (read->snapshot = store_get(tx, &SNAPSHOT, read->id, err)) != NULL;
}

/* The nearest ancestor counts: a volume made from a snapshot may carry its image's id as well. */
static bool
find_source(TaskRun *run, const Volume *volume, BlockVolumeSource *source, Snapshot **snapshot,
            GError **err)
{
    if (volume->snapshot_id) {
        SnapshotRead read = {volume->snapshot_id, NULL};

        if (!store_read(run_store(run), read_snapshot, &read, err))
            return false;
        *snapshot = read.snapshot;
        *source = (BlockVolumeSource){BLOCK_SNAPSHOT, volume->snapshot_id, (*snapshot)->volume_id};
    } else if (volume->source_volume_id) {
        *source = (BlockVolumeSource){BLOCK_VOLUME, volume->source_volume_id, NULL};
    } else if (volume->image_id) {
        *source = (BlockVolumeSource){BLOCK_IMAGE, volume->image_id, NULL};
    } else {
        *source = (BlockVolumeSource){BLOCK_EMPTY, NULL, NULL};
    }
    return true;
}

bool
part_make_volume(TaskRun *run, const Volume *volume, GError **err)
{
    Progress progress = {run, volume, 0, clock_monotonic()};
    BlockVolumeSource source;
    g_autoptr(Snapshot) snapshot = NULL;

    return find_source(run, volume, &source, &snapshot, err) &&
           storage_volume_create(run_storage(run), volume->id, &source, volume->size_gb << 30,
                                 on_progress, &progress, err);
}

/* ---- volumes made together with their server ---------------------------------------------------
 */

#define MADE_KEY "made_volumes"

static bool
is_unmade(const Volume *volume)
{
    return volume->status == VOLUME_CREATING || volume->status == VOLUME_DOWNLOADING;
}

static bool
was_made_here(TaskRun *run, const char *volume_id)
{
    json_t *made = json_object_get(run->state, MADE_KEY), *id;
    size_t i;

    json_array_foreach(made, i,
                       id) if (g_strcmp0(json_string_value(id), volume_id) == 0) return true;
    return false;
}

bool
part_make_volumes(TaskRun *run, GError **err)
{
    g_autoptr(GPtrArray) entries = part_server_volumes(run, err);

    for (guint i = 0; entries && i < entries->len; i++) {
        const Volume *volume = ((ServerVolume *)g_ptr_array_index(entries, i))->volume;

        if (is_unmade(volume) && !part_make_volume(run, volume, err)) {
            g_prefix_error(err, "volume %s: ", volume->id);
            return false;
        }
    }
    return entries != NULL;
}

bool
part_commit_volumes(TaskRun *run, StoreTx *tx, GError **err)
{
    g_autoptr(GPtrArray) entries = read_volumes(tx, run->server_id, err);
    json_t *made = json_array();

    json_object_set_new(run->state, MADE_KEY, made);
    for (guint i = 0; entries && i < entries->len; i++) {
        Volume *volume = ((ServerVolume *)g_ptr_array_index(entries, i))->volume;

        if (!is_unmade(volume))
            continue;
        json_array_append_new(made, json_string(volume->id));
        volume->status = VOLUME_ATTACHING;
        volume->progress_percent = 100;
        volume->updated_at = clock_realtime();
        if (!store_update(tx, &VOLUME, volume, err))
            return false;
    }
    return entries != NULL;
}

bool
part_keep_volumes(TaskRun *run, StoreTx *tx, GError **err)
{
    g_autoptr(GPtrArray) entries = read_volumes(tx, run->server_id, err);
    int64_t now = clock_realtime();

    for (guint i = 0; entries && i < entries->len; i++) {
        ServerVolume *entry = g_ptr_array_index(entries, i);

        if (entry->attachment->state == ATTACHMENT_ATTACHED)
            continue;
        entry->attachment->state = ATTACHMENT_ATTACHED;
        entry->attachment->attached_at = now;
        if (is_unmade(entry->volume)) {
            entry->volume->status = VOLUME_ERROR;
            text_set(&entry->volume->fault_message, "its server's creation failed before it");
        } else {
            entry->volume->status = VOLUME_IN_USE;
        }
        entry->volume->updated_at = now;
        if (!store_update(tx, &ATTACHMENT, entry->attachment, err) ||
            !store_update(tx, &VOLUME, entry->volume, err))
            return false;
    }
    return entries != NULL;
}

/* ---- giving back -------------------------------------------------------------------------------
 */

static bool
has_snapshots(StoreTx *tx, const Volume *volume, bool *has, GError **err)
{
    const StoreCond where[] = {{"volume_id", STORE_EQ, volume->id, 0}, {NULL}};
    int64_t count = store_count(tx, &SNAPSHOT, where, err);

    *has = count > 0;
    return count >= 0;
}

static bool
release(TaskRun *run, StoreTx *tx, ServerVolume *entry, bool remove, GError **err)
{
    Volume *volume = entry->volume;
    TaskRequest request = {.request_id = run->task->request_id,
                           .user_id = run->task->user_id,
                           .project_id = run->task->project_id};
    bool kept_by_snapshots;

    if (!store_delete(tx, &ATTACHMENT, entry->attachment->id, err) ||
        !has_snapshots(tx, volume, &kept_by_snapshots, err))
        return false;
    remove = remove && !kept_by_snapshots;
    if (is_unmade(volume)) {
        volume->status = VOLUME_ERROR;
        text_set(&volume->fault_message, "its server's creation failed before it");
    } else if (volume->status != VOLUME_ERROR && (volume->status != VOLUME_EXTENDING || remove)) {
        /* An extension that waits behind this task says itself what comes after it. */
        volume->status = VOLUME_AVAILABLE;
    }
    volume->updated_at = clock_realtime();
    if (remove)
        return task_submit_volume(tx, "delete", volume, &request, NULL, err);
    return store_update(tx, &VOLUME, volume, err);
}

bool
part_release_volumes(TaskRun *run, StoreTx *tx, bool create_failed, GError **err)
{
    g_autoptr(GPtrArray) entries = read_volumes(tx, run->task->server_id, err);

    for (guint i = 0; entries && i < entries->len; i++) {
        ServerVolume *entry = g_ptr_array_index(entries, i);
        bool remove = create_failed
                          ? is_unmade(entry->volume) || was_made_here(run, entry->volume->id)
                          : entry->attachment->delete_on_termination;

        if (!release(run, tx, entry, remove, err))
            return false;
    }
    return entries != NULL;
}

/* ---- does the guest have what it should? -------------------------------------------------------
 */

static bool
give_missing(TaskRun *run, const char *host, const ServerVolume *entry, GError **err)
{
    g_auto(DiskSpec) disk = {0};

    log_event(LOG_LEVEL_WARNING, "task", "a guest lacks a volume of its server, giving it",
              "server", run->server_id, "volume", entry->volume->id, "host", host, NULL);
    return part_clear_volume_clients(run, entry->volume->id, err) &&
           part_volume_disk(run, entry, &disk, err) &&
           host_disk_attach(run_hosts(run), host, run->server_id, &disk, DEADLINE_WORK, err);
}

void
part_settle_volumes(TaskRun *run, const char *host)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) entries = part_server_volumes(run, &error);
    g_autoptr(GPtrArray) serials =
        entries ? host_disk_serials(run_hosts(run), host, run->server_id, DEADLINE_CONTROL, &error)
                : NULL;

    for (guint i = 0; serials && !error && i < entries->len; i++) {
        const ServerVolume *entry = g_ptr_array_index(entries, i);
        guint at;

        if (g_ptr_array_find_with_equal_func(serials, entry->volume->id, g_str_equal, &at))
            g_ptr_array_remove_index(serials, at);
        else if (entry->attachment->state == ATTACHMENT_ATTACHED) /* else its task is about to */
            give_missing(run, host, entry, &error);
    }
    for (guint i = 0; serials && !error && i < serials->len; i++) {
        const char *serial = g_ptr_array_index(serials, i);

        if (!uuid_is_valid(serial)) /* no volume of ours */
            continue;
        log_event(LOG_LEVEL_WARNING, "task", "a guest has a volume that its server has not, taking",
                  "server", run->server_id, "volume", serial, "host", host, NULL);
        host_disk_detach(run_hosts(run), host, run->server_id, serial, DEADLINE_WORK, &error);
    }
    if (error)
        log_event(LOG_LEVEL_WARNING, "task", "cannot settle the volumes of a guest; see its server",
                  "server", run->server_id, "host", host, "reason", error->message, NULL);
}
