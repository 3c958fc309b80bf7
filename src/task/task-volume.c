/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-volume.c: create, delete, extend a volume
 *
 *   create:  make                     row: creating ─► available │ error
 *   delete:  remove                   row: deleting ─► gone │ as it was │ error_deleting
 *   extend:  grow ─► tell             row: extending ─► as it was │ error_extending
 *
 * The storage's calls are idempotent under the volume's id, so that each step may simply run again.
 * grow never shrinks, and is never taken back: what failed after it leaves a larger volume, whose
 * guest sees the old size until its next start. */
#include "task/disk-clients.h"
#include "task/task-flatten.h"
#include "task/task-priv.h"

static VolumeStatus
status_before(TaskRun *run)
{
    return (VolumeStatus)run_state_int(run, "was", VOLUME_AVAILABLE);
}

/* ---- create
 * ----------------------------------------------------------------------------------------- */

static bool
make(TaskRun *run, GError **err)
{
    return part_make_volume(run, run->volume, err);
}

static bool
unmake(TaskRun *run, GError **err)
{
    return storage_volume_delete(run_storage(run), run->volume_id, err);
}

static void
set_available(TaskRun *run, Volume *volume)
{
    volume->status = VOLUME_AVAILABLE;
    volume->progress_percent = 100;
    text_set(&volume->fault_message, NULL);
}

static bool
create_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_volume(run, tx, set_available, err);
}

static void
set_error(TaskRun *run, Volume *volume)
{
    volume->status = VOLUME_ERROR;
    volume->progress_percent = 0;
    text_set(&volume->fault_message, run_state_text(run, "reason"));
}

static bool
create_failed(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    run_set_state_text(run, "reason", reason->message);
    return run_update_volume(run, tx, set_error, err);
}

static const TaskStep create_steps[] = {{"make", NULL, make, NULL, unmake}};
const TaskKind task_volume_create = {"volume-create",   create_steps,     1,
                                     60 * USEC_PER_SEC, create_succeeded, create_failed};

/* ---- delete
 * ----------------------------------------------------------------------------------------- */

/* Their deletion was accepted before the volume's, and may have failed since. */
static bool
has_no_snapshots(TaskRun *run, StoreTx *tx, GError **err)
{
    const StoreCond where[] = {{"volume_id", STORE_EQ, run->volume_id, 0}, {NULL}};
    int64_t snapshots = store_count(tx, &SNAPSHOT, where, err);

    if (snapshots > 0)
        return err_set(err, ERR_CONFLICT,
                       "%" PRId64 " of its snapshots could not be deleted; see their reasons",
                       snapshots);
    return snapshots == 0;
}

static bool
remove_volume(TaskRun *run, GError **err)
{
    g_autofree char *source = NULL, *format = NULL;

    if (!run_read(run, has_no_snapshots, err) ||
        !storage_volume_source(run_storage(run), run->volume_id, &source, &format, err))
        return false;
    flatten_await(source, FLATTEN_AWAIT);
    /* A QEMU that was killed just before it would have let go must not hold it until the OSDs'
     * time-out. */
    return part_clear_volume_clients(run, run->volume_id, err) &&
           storage_volume_delete(run_storage(run), run->volume_id, err);
}

static bool
delete_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return store_delete(tx, &VOLUME, run->volume_id, err);
}

static void
set_undeleted(TaskRun *run, Volume *volume)
{
    bool untouched = run_state_int(run, "untouched", 0) != 0;

    volume->status = untouched ? status_before(run) : VOLUME_ERROR_DELETING;
    text_set(&volume->fault_message, run_state_text(run, "reason"));
}

/* A conflict is found before anything is removed: the volume is as good as it was. */
static bool
delete_failed(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    g_autofree char *text =
        g_strdup_printf("not deleted: %s; delete it again when that is mended", reason->message);

    run_set_state_text(run, "reason", text);
    run_set_state_int(run, "untouched", err_is(reason, ERR_CONFLICT));
    return run_update_volume(run, tx, set_undeleted, err);
}

static const TaskStep delete_steps[] = {{"remove", NULL, remove_volume, NULL, NULL}};
const TaskKind task_volume_delete = {"volume-delete",   delete_steps,     1,
                                     60 * USEC_PER_SEC, delete_succeeded, delete_failed};

/* ---- extend
 * ----------------------------------------------------------------------------------------- */

static int64_t
wanted_gb(TaskRun *run)
{
    return json_integer_value(json_object_get(run->params, "size_gb"));
}

static bool
grow(TaskRun *run, GError **err)
{
    if (wanted_gb(run) < run->volume->size_gb)
        return err_set(err, ERR_INVALID,
                       "volume %s has %" PRId64 " GB already and cannot shrink to %" PRId64,
                       run->volume_id, run->volume->size_gb, wanted_gb(run));
    return storage_volume_extend(run_storage(run), run->volume_id, wanted_gb(run) << 30, err);
}

static void
set_size(TaskRun *run, Volume *volume)
{
    volume->size_gb = wanted_gb(run);
}

static bool
commit_grow(TaskRun *run, StoreTx *tx, GError **err)
{
    run_set_state_int(run, "grown", 1);
    return run_update_volume(run, tx, set_size, err);
}

static bool
tell(TaskRun *run, GError **err)
{
    g_autoptr(DomainInfo) info = NULL;

    if (!run->server || !run->server->host)
        return true;
    info =
        host_domain_probe(run_hosts(run), run->server->host, run->server_id, DEADLINE_CONTROL, err);
    if (!info)
        return false;
    if (info->state == DOMAIN_ABSENT || info->state == DOMAIN_SHUTOFF)
        return true;
    return host_disk_resize(run_hosts(run), run->server->host, run->server_id, run->volume_id,
                            wanted_gb(run) << 30, DEADLINE_WORK, err);
}

/* Its server may have been deleted while the extension waited: what counts is who has it now. */
static bool
look_who_has_it(TaskRun *run, StoreTx *tx, GError **err)
{
    const StoreCond where[] = {{"volume_id", STORE_EQ, run->volume_id, 0}, {NULL}};
    int64_t attachments = store_count(tx, &ATTACHMENT, where, err);

    run_set_state_int(run, "attached", attachments);
    return attachments >= 0;
}

/* Whoever changed the status meanwhile (its server's deletion asks for its own) knows better. */
static void
set_after_extension(TaskRun *run, Volume *volume, VolumeStatus unattached, const char *reason)
{
    if (volume->status == VOLUME_EXTENDING)
        volume->status = run_state_int(run, "attached", 0) > 0 ? VOLUME_IN_USE : unattached;
    text_set(&volume->fault_message, reason);
}

static void
set_extended(TaskRun *run, Volume *volume)
{
    set_after_extension(run, volume, VOLUME_AVAILABLE, NULL);
}

static bool
extend_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return look_who_has_it(run, tx, err) && run_update_volume(run, tx, set_extended, err);
}

/* A volume in a server stays in use: its guest goes on with it. */
static void
set_unextended(TaskRun *run, Volume *volume)
{
    set_after_extension(run, volume,
                        run_state_int(run, "grown", 0) ? VOLUME_AVAILABLE : VOLUME_ERROR_EXTENDING,
                        run_state_text(run, "reason"));
}

static bool
extend_failed(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    bool grown = run_state_int(run, "grown", 0) != 0;
    g_autofree char *text = g_strdup_printf(
        grown ? "it is larger now, but its guest could not be told: %s; the guest sees it after "
                "its next start"
              : "not extended: %s",
        reason->message);

    run_set_state_text(run, "reason", text);
    return look_who_has_it(run, tx, err) && run_update_volume(run, tx, set_unextended, err);
}

static const TaskStep extend_steps[] = {
    {"grow", NULL, grow, commit_grow, NULL},
    {"tell", NULL, tell, NULL, NULL},
};
const TaskKind task_volume_extend = {"volume-extend",   extend_steps,     2,
                                     60 * USEC_PER_SEC, extend_succeeded, extend_failed};
