/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* orphan.c: what lies in the storage without a record
 *
 * A crash between the end of a record and the removal of what it stood for leaves a disk behind.
 * Only what the records prove to have been ours is removed:
 *
 *   a server's disk      the server's row says that it is deleted, and no task of it is open
 *   a volume             it has no row, but a task was once about it, and none is open
 *
 * Everything else is counted and left alone, whatever its name looks like: Nova, Cinder and Glance
 * call their disks the same, and a pool may be shared with them or with another Godwit. */
#include <stdatomic.h>
#include <string.h>

#include "task/runner.h"

#define BATCH        256 /* ids judged in one transaction */
#define REMOVAL_MOST 64  /* in one sweep; the next one goes on */
#define NAMES_MOST   100

static _Atomic int64_t last_foreign, last_swept_at;

int64_t
task_last_foreign(int64_t *swept_at)
{
    *swept_at = atomic_load(&last_swept_at);
    return atomic_load(&last_foreign);
}

void
orphan_report_clear(OrphanReport *report)
{
    g_clear_pointer(&report->foreign_names, g_ptr_array_unref);
    *report = (OrphanReport){0};
}

typedef enum Verdict {
    THING_IN_USE,
    THING_ORPHAN,
    THING_FOREIGN
} Verdict;

typedef struct Judging {
    BlockPurpose purpose;
    const GPtrArray *ids; /* char * */
    guint first, n;
    Verdict verdicts[BATCH];
} Judging;

static bool
count_tasks(StoreTx *tx, const char *column, const char *id, int64_t *any, int64_t *open,
            GError **err)
{
    const StoreCond all[] = {{column, STORE_EQ, id, 0}, {NULL}};
    const StoreCond still_open[] = {
        {column, STORE_EQ, id, 0}, {"status", STORE_EQ, NULL, TASK_OPEN}, {NULL}};

    *any = store_count(tx, &TASK, all, err);
    *open = *any > 0 ? store_count(tx, &TASK, still_open, err) : 0;
    return *any >= 0 && *open >= 0;
}

static bool
judge_server(StoreTx *tx, const char *id, Verdict *verdict, GError **err)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Server) server = store_get(tx, &SERVER, id, &error);
    int64_t any, open;

    if (!server) {
        *verdict = THING_FOREIGN;
        if (err_is(error, ERR_NOT_FOUND))
            return true;
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    if (!count_tasks(tx, "server_id", id, &any, &open, err))
        return false;
    *verdict = server->vm_state == VM_DELETED && open == 0 ? THING_ORPHAN : THING_IN_USE;
    return true;
}

static bool
judge_row(StoreTx *tx, const RecordType *type, const char *id, bool *there, GError **err)
{
    const StoreCond same[] = {{"id", STORE_EQ, id, 0}, {NULL}};
    int64_t n = store_count(tx, type, same, err);

    *there = n > 0;
    return n >= 0;
}

static bool
judge_volume(StoreTx *tx, const char *id, Verdict *verdict, GError **err)
{
    bool there;
    int64_t any, open;

    if (!judge_row(tx, &VOLUME, id, &there, err) ||
        !count_tasks(tx, "volume_id", id, &any, &open, err))
        return false;
    if (there || open > 0)
        *verdict = THING_IN_USE;
    else
        *verdict = any > 0 ? THING_ORPHAN : THING_FOREIGN;
    return true;
}

static bool
judge_image(StoreTx *tx, const char *id, Verdict *verdict, GError **err)
{
    bool there;

    if (!judge_row(tx, &IMAGE, id, &there, err))
        return false;
    *verdict = there ? THING_IN_USE : THING_FOREIGN;
    return true;
}

static bool
judge_batch(StoreTx *tx, void *opaque, GError **err)
{
    Judging *judging = opaque;
    bool ok = true;

    for (guint i = 0; i < judging->n && ok; i++) {
        const char *id = g_ptr_array_index(judging->ids, judging->first + i);
        Verdict *verdict = &judging->verdicts[i];

        switch (judging->purpose) {
        case BLOCK_FOR_SERVERS:
            ok = judge_server(tx, id, verdict, err);
            break;
        case BLOCK_FOR_VOLUMES:
            ok = judge_volume(tx, id, verdict, err);
            break;
        case BLOCK_FOR_IMAGES:
        case BLOCK_PURPOSES:
            ok = judge_image(tx, id, verdict, err);
            break;
        }
    }
    return ok;
}

/* One that cannot be removed now (somebody has it open) is met again by the next sweep. */
static bool
remove_orphan(const Storage *storage, BlockPurpose purpose, const char *id, OrphanReport *report,
              GError **err)
{
    g_autoptr(GError) error = NULL;
    bool ok = purpose == BLOCK_FOR_SERVERS ? storage_disk_delete(storage, id, &error)
                                           : storage_volume_delete(storage, id, &error);

    if (ok) {
        report->removed++;
        log_event(LOG_LEVEL_NOTICE, "task", "removed what a deleted one had left in the storage",
                  purpose == BLOCK_FOR_SERVERS ? "server" : "volume", id, NULL);
        return true;
    }
    if (err_is(error, ERR_CONFLICT) || err_is(error, ERR_BUSY)) {
        log_event(LOG_LEVEL_DEBUG, "task", "an orphan cannot be removed yet",
                  purpose == BLOCK_FOR_SERVERS ? "server" : "volume", id, "reason", error->message,
                  NULL);
        return true;
    }
    g_propagate_error(err, g_steal_pointer(&error));
    return false;
}

static void
count_foreign(OrphanReport *report, BlockPurpose purpose, const char *id)
{
    report->foreign++;
    if (report->foreign_names->len < NAMES_MOST)
        g_ptr_array_add(report->foreign_names,
                        g_strdup_printf("%s/%s", block_purpose_names[purpose], id));
}

static bool
sweep_purpose(TaskEngine *engine, BlockPurpose purpose, OrphanReport *report, GError **err)
{
    const Storage *storage = engine_storage(engine);
    g_autoptr(GPtrArray) ids = storage_things(storage, purpose, err);
    g_autofree Judging *judging = g_new0(Judging, 1);

    if (!ids)
        return false;
    judging->purpose = purpose;
    judging->ids = ids;
    for (guint at = 0; at < ids->len; at += BATCH) {
        judging->first = at;
        judging->n = MIN(BATCH, ids->len - at);
        if (!store_read(engine_store(engine), judge_batch, judging, err))
            return false;
        for (guint i = 0; i < judging->n; i++) {
            const char *id = g_ptr_array_index(ids, at + i);

            if (judging->verdicts[i] == THING_FOREIGN)
                count_foreign(report, purpose, id);
            else if (judging->verdicts[i] == THING_ORPHAN && report->removed < REMOVAL_MOST &&
                     !remove_orphan(storage, purpose, id, report, err))
                return false;
        }
    }
    return true;
}

bool
task_sweep_orphans(TaskEngine *engine, OrphanReport *report, GError **err)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    bool ok = true;

    *report =
        (OrphanReport){.foreign_names = g_ptr_array_new_with_free_func((GDestroyNotify)g_free)};
    if (pthread_mutex_trylock(&one_at_a_time) != 0)
        return err_set(err, ERR_BUSY, "a sweep for orphans is running already");
    for (int purpose = 0; ok && purpose < BLOCK_PURPOSES; purpose++)
        ok = sweep_purpose(engine, (BlockPurpose)purpose, report, err);
    if (ok) {
        atomic_store(&last_foreign, report->foreign);
        atomic_store(&last_swept_at, clock_realtime());
    }
    pthread_mutex_unlock(&one_at_a_time);
    return ok;
}
