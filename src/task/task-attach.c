/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-attach.c: put a volume into a server, and take it out again
 *
 *   attach:  look ─► attach ─► clients        detach:  detach ─► clients
 *
 * look asks the node and touches nothing: a node that does not answer ends the task there, and the
 * volume is available again. From attach on the guest may have the disk; once it has, the volume is
 * in use, and what is left to do (who has it open now) nobody waits for. Whether it has is asked of
 * the guest, by the disk's serial, which is the volume's id. Taking back detaches; only when that
 * is confirmed is the volume let go. If the node went away in the middle, nobody knows: the volume
 * then stays with the server, in use, and the reason says so; to detach it works again as soon as
 * the node answers, whether or not the guest ever had it. In the same way a detachment that fails
 * leaves the volume attached.
 *
 * Invariant: a volume is available only when no guest has it. */
#include <string.h>

#include "task/disk-clients.h"
#include "task/task-priv.h"

/* ---- what both share
 * -------------------------------------------------------------------------------- */

/* The server's domain, or NULL. A server without a host has none: *none. */
static DomainInfo *
look_at_domain(TaskRun *run, bool *none, GError **err)
{
    *none = run->server->host == NULL;
    if (*none)
        return NULL;
    return host_domain_probe(run_hosts(run), run->server->host, run->server_id, DEADLINE_CONTROL,
                             err);
}

static bool
has_disk(TaskRun *run, bool *has, GError **err)
{
    bool none;
    g_autoptr(DomainInfo) info = look_at_domain(run, &none, err);
    g_autoptr(GPtrArray) serials = NULL;

    *has = false;
    if (!info || info->state == DOMAIN_ABSENT)
        return none || info;
    serials =
        host_disk_serials(run_hosts(run), run->server->host, run->server_id, DEADLINE_CONTROL, err);
    *has = serials && g_ptr_array_find_with_equal_func(serials, run->volume_id, g_str_equal, NULL);
    return serials != NULL;
}

static bool
observe(TaskRun *run, GError **err)
{
    return !run->server->host ||
           part_observe_volume_clients(run, run->server->host, run->volume_id, err);
}

static Attachment *
read_attachment(TaskRun *run, StoreTx *tx, GError **err)
{
    const StoreCond where[] = {{"volume_id", STORE_EQ, run->volume_id, 0},
                               {"server_id", STORE_EQ, run->server_id, 0},
                               {NULL}};

    return store_find(tx, &ATTACHMENT, where, err);
}

static void
set_in_use(TaskRun *run, Volume *volume)
{
    volume->status = VOLUME_IN_USE;
    text_set(&volume->fault_message, run_state_text(run, "reason"));
}

static void
set_available(TaskRun *run, Volume *volume)
{
    volume->status = VOLUME_AVAILABLE;
    text_set(&volume->fault_message, run_state_text(run, "reason"));
}

static bool
keep(TaskRun *run, StoreTx *tx, GError **err)
{
    g_autoptr(Attachment) row = read_attachment(run, tx, err);

    if (!row)
        return false;
    if (!row->attached_at)
        row->attached_at = clock_realtime();
    row->state = ATTACHMENT_ATTACHED;
    return store_update(tx, &ATTACHMENT, row, err) && run_update_volume(run, tx, set_in_use, err);
}

static bool
let_go(TaskRun *run, StoreTx *tx, GError **err)
{
    g_autoptr(Attachment) row = read_attachment(run, tx, err);

    return row && store_delete(tx, &ATTACHMENT, row->id, err) &&
           run_update_volume(run, tx, set_available, err);
}

static bool
take_from_guest(TaskRun *run, GError **err)
{
    return !run->server->host || host_disk_detach(run_hosts(run), run->server->host, run->server_id,
                                                  run->volume_id, DEADLINE_WORK, err);
}

/* ---- attach
 * ----------------------------------------------------------------------------------------- */

static bool
look(TaskRun *run, GError **err)
{
    bool none;
    g_autoptr(DomainInfo) info = look_at_domain(run, &none, err);

    return none || info;
}

/* From the intent of the next step on, the guest may have the disk. */
static bool
commit_look(TaskRun *run, StoreTx *tx, GError **err)
{
    run_set_state_int(run, "may_have_it", 1);
    return true;
}

static StepProbe
probe_attach(TaskRun *run, GError **err)
{
    bool has;

    if (!has_disk(run, &has, err))
        return STEP_UNKNOWN;
    return has ? STEP_DONE : STEP_NOT_DONE;
}

static const ServerVolume *
find_entry(const GPtrArray *entries, const char *volume_id)
{
    for (guint i = 0; i < entries->len; i++) {
        const ServerVolume *entry = g_ptr_array_index(entries, i);

        if (strcmp(entry->volume->id, volume_id) == 0)
            return entry;
    }
    return NULL;
}

/* A server without a domain gets the disk with its next start, which defines it with all of them.
 */
static bool
give_to_domain(TaskRun *run, const DiskSpec *disk, GError **err)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainInfo) info = NULL;
    bool none;

    if (host_disk_attach(run_hosts(run), run->server->host, run->server_id, disk, DEADLINE_WORK,
                         &error))
        return true;
    if (err_is(error, ERR_NOT_FOUND)) {
        info = look_at_domain(run, &none, err);
        if (!info || info->state == DOMAIN_ABSENT)
            return info != NULL;
    }
    g_propagate_error(err, g_steal_pointer(&error));
    return false;
}

static bool
give_to_guest(TaskRun *run, GError **err)
{
    g_autoptr(GPtrArray) entries = NULL;
    g_auto(DiskSpec) disk = {0};
    const ServerVolume *entry;

    if (!run->server->host)
        return true;
    if (!part_clear_volume_clients(run, run->volume_id, err))
        return false;
    entries = part_server_volumes(run, err);
    if (!entries)
        return false;
    entry = find_entry(entries, run->volume_id);
    if (!entry)
        return err_set(err, ERR_BUG, "volume %s is attached without a record", run->volume_id);
    return part_volume_disk(run, entry, &disk, err) && give_to_domain(run, &disk, err);
}

static bool
undo_attach(TaskRun *run, GError **err)
{
    if (!take_from_guest(run, err))
        return false;
    run_set_state_int(run, "may_have_it", 0);
    return true;
}

static bool
attach_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return part_finish_action(run, tx, "compute_attach_volume", run->server->host, NULL, err);
}

static bool
attach_failed(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    bool may_have_it = run_state_int(run, "may_have_it", 0) != 0;
    g_autofree char *text =
        may_have_it
            ? g_strdup_printf("%s; the guest may have it, so the volume stays attached to "
                              "server %s: detach it when its host answers",
                              reason->message, run->server_id)
            : g_strdup_printf("not attached to server %s: %s", run->server_id, reason->message);

    run_set_state_text(run, "reason", text);
    return (may_have_it ? keep : let_go)(run, tx, err) &&
           part_finish_action(run, tx, "compute_attach_volume",
                              run->server ? run->server->host : NULL, reason, err);
}

static const TaskStep attach_steps[] = {
    {"look", NULL, look, commit_look, NULL},
    {"attach", probe_attach, give_to_guest, keep, undo_attach},
    {"clients", NULL, observe, part_record_clients, NULL},
};
const TaskKind task_volume_attach = {"volume-attach",   attach_steps,     3,
                                     60 * USEC_PER_SEC, attach_succeeded, attach_failed};

/* ---- detach
 * ----------------------------------------------------------------------------------------- */

static StepProbe
probe_detach(TaskRun *run, GError **err)
{
    bool has;

    if (!has_disk(run, &has, err))
        return STEP_UNKNOWN;
    /* Gone from the guest, but perhaps not from the definition: both are the call's business. */
    return STEP_NOT_DONE;
}

static bool
detach_succeeded(TaskRun *run, StoreTx *tx, GError **err)
{
    return let_go(run, tx, err) &&
           part_finish_action(run, tx, "compute_detach_volume", run->server->host, NULL, err);
}

static bool
detach_failed(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    g_autofree char *text =
        g_strdup_printf("not detached from server %s: %s", run->server_id, reason->message);

    run_set_state_text(run, "reason", text);
    return keep(run, tx, err) &&
           part_finish_action(run, tx, "compute_detach_volume",
                              run->server ? run->server->host : NULL, reason, err);
}

static const TaskStep detach_steps[] = {
    {"detach", probe_detach, take_from_guest, NULL, NULL},
    {"clients", NULL, observe, part_record_clients, NULL},
};
const TaskKind task_volume_detach = {"volume-detach",   detach_steps,     2,
                                     60 * USEC_PER_SEC, detach_succeeded, detach_failed};
