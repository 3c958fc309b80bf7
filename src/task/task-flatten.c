/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-flatten.c: let a disk hold all its data itself: one long copy, in the background
 *
 * Copying what is there already is no work, so the step is idempotent: a crash, or whatever else
 * ends the copy early, costs nothing, and the next flatten goes on where this one stopped. That is
 * why it gives way: the tasks of one server or volume follow each other, and nobody shall wait for
 * hours behind a copy that can be made at any time. Once a second it writes how far it is, and
 * looks whether another task waits; then it ends, and says so.
 *
 * The driver's call runs on a thread of its own, because it does not always stop when it is told:
 * while a guest holds the disk's lock it is the guest's QEMU that copies, and nobody can call that
 * back. Such a copy is left to itself: it goes on in the guest, or stops when that ends. Until then
 * the disk is open here, too, so whoever removes the disk waits for it (flatten_await). */
#include "task/task-flatten.h"

#include <stdatomic.h>
#include <string.h>

#include "task/task-priv.h"

#define REPORT_US USEC_PER_SEC
#define GRACE_US  (3 * USEC_PER_SEC) /* for a copy of our own to stop */

/* ---- copies ------------------------------------------------------------------------------------
 * Shared by the task and the copy's thread; the last one frees it. A copy that was left to itself
 * outlives the task, and the engine: its thread uses nothing but what is here. */

typedef struct Copy {
    Storage storage;
    char *source;
    atomic_bool stop;
    /* guarded by copies_mutex */
    int holders;
    bool ended, ok;
    GError *error;
    int64_t done, total;
} Copy;

static pthread_mutex_t copies_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t copies_changed;
static pthread_once_t copies_once = PTHREAD_ONCE_INIT;
static GPtrArray *copies; /* Copy *, those at work */

static void
copies_init(void)
{
    cond_init_monotonic(&copies_changed);
    copies = g_ptr_array_new();
}

static void
copy_drop(Copy *copy)
{
    bool last;

    pthread_mutex_lock(&copies_mutex);
    last = --copy->holders == 0;
    pthread_mutex_unlock(&copies_mutex);
    if (!last)
        return;
    g_clear_error(&copy->error);
    g_free(copy->source);
    g_free(copy);
}

static bool
copy_went_on(int64_t done, int64_t total, void *opaque)
{
    Copy *copy = opaque;

    pthread_mutex_lock(&copies_mutex);
    copy->done = done;
    copy->total = total;
    pthread_mutex_unlock(&copies_mutex);
    return !atomic_load(&copy->stop);
}

static void
copy_thread(void *opaque)
{
    Copy *copy = opaque;
    GError *error = NULL;
    bool ok = storage_flatten(&copy->storage, copy->source, copy_went_on, copy, &error);

    pthread_mutex_lock(&copies_mutex);
    copy->ended = true;
    copy->ok = ok;
    copy->error = error;
    g_ptr_array_remove(copies, copy);
    pthread_cond_broadcast(&copies_changed);
    pthread_mutex_unlock(&copies_mutex);
    copy_drop(copy);
}

/* Takes source. */
static Copy *
copy_start(const Storage *storage, char *source)
{
    Copy *copy = g_new0(Copy, 1);

    pthread_once(&copies_once, copies_init);
    copy->storage = *storage;
    copy->source = source;
    copy->holders = 2;
    pthread_mutex_lock(&copies_mutex);
    g_ptr_array_add(copies, copy);
    pthread_mutex_unlock(&copies_mutex);
    thread_start_detached("flatten", copy_thread, copy);
    return copy;
}

/* Has it ended? Waits for that, at most until deadline. */
static bool
copy_wait(Copy *copy, int64_t deadline)
{
    WITH_MUTEX(&copies_mutex);

    while (!copy->ended && cond_wait_until(&copies_changed, &copies_mutex, deadline))
        ;
    return copy->ended;
}

static bool
is_at_work(const char *source)
{
    for (guint i = 0; i < copies->len; i++)
        if (strcmp(((Copy *)g_ptr_array_index(copies, i))->source, source) == 0)
            return true;
    return false;
}

void
flatten_await(const char *source, int64_t deadline)
{
    pthread_once(&copies_once, copies_init);
    WITH_MUTEX(&copies_mutex);
    while (is_at_work(source) && cond_wait_until(&copies_changed, &copies_mutex, deadline))
        ;
}

/* ---- progress ----------------------------------------------------------------------------------
 */

typedef struct Flatten {
    TaskRun *run;
    Copy *copy;
    int64_t done, total; /* as of the last report */
    char *waiting;       /* kind of the task that it gives way to */
} Flatten;

static int64_t
percent(const Flatten *flatten)
{
    return flatten->total > 0 ? flatten->done * 100 / flatten->total : 0;
}

/* The first other open task about the same thing. */
static bool
find_waiting(Flatten *flatten, StoreTx *tx, const char *column, const char *id, GError **err)
{
    const StoreCond where[] = {{column, STORE_EQ, id, 0},
                               {"status", STORE_EQ, NULL, TASK_OPEN},
                               {"id", STORE_GT, NULL, flatten->run->id},
                               {NULL}};
    g_autoptr(GPtrArray) rows =
        store_list(tx, &TASK, &(StoreQuery){.where = where, .limit = 1}, err);

    if (rows && rows->len > 0)
        text_set(&flatten->waiting, ((Task *)g_ptr_array_index(rows, 0))->kind);
    return rows != NULL;
}

static bool
write_progress(StoreTx *tx, void *opaque, GError **err)
{
    Flatten *flatten = opaque;
    TaskRun *run = flatten->run;
    g_autoptr(Task) row = store_get_int(tx, &TASK, run->id, err);

    if (!row)
        return false;
    g_free(row->state);
    row->state = json_dumps(run->state, JSON_COMPACT | JSON_SORT_KEYS);
    row->updated_at = clock_realtime();
    if (!store_update(tx, &TASK, row, err))
        return false;
    if (!run->volume_id)
        return find_waiting(flatten, tx, "server_id", run->server_id, err);

    g_autoptr(Volume) volume = store_get(tx, &VOLUME, run->volume_id, err);
    if (!volume)
        return false;
    volume->progress_percent = percent(flatten);
    return store_update(tx, &VOLUME, volume, err) &&
           find_waiting(flatten, tx, "volume_id", run->volume_id, err);
}

static void
take_progress(Flatten *flatten)
{
    pthread_mutex_lock(&copies_mutex);
    flatten->done = flatten->copy->done;
    flatten->total = flatten->copy->total;
    pthread_mutex_unlock(&copies_mutex);
    if (flatten->total == 0)
        return;
    run_set_state_int(flatten->run, "done", flatten->done);
    run_set_state_int(flatten->run, "total", flatten->total);
}

static bool
is_to_stop(const Flatten *flatten)
{
    return flatten->waiting || run_is_stopping(flatten->run) ||
           __atomic_load_n(&flatten->run->cancelled, __ATOMIC_RELAXED);
}

/* Until it has ended (true), or was told to stop and does not. */
static bool
attend(Flatten *flatten)
{
    while (!copy_wait(flatten->copy, clock_monotonic() + REPORT_US)) {
        take_progress(flatten);
        /* What cannot be written is not worth the end of the copy. */
        store_write(run_store(flatten->run), write_progress, flatten, NULL);
        if (is_to_stop(flatten)) {
            atomic_store(&flatten->copy->stop, true);
            return copy_wait(flatten->copy, clock_monotonic() + GRACE_US);
        }
    }
    return true;
}

/* ---- the step ----------------------------------------------------------------------------------
 */

static bool
source_of(TaskRun *run, char **source, GError **err)
{
    g_autofree char *format = NULL;

    if (run->volume_id)
        return storage_volume_source(run_storage(run), run->volume_id, source, &format, err);
    return storage_disk_source(run_storage(run), run->server_id, source, &format, err);
}

static bool
has_stopped(const Flatten *flatten, bool ended, GError **err)
{
    const char *left = ended ? "what is copied stays copied"
                             : "the guest's QEMU goes on with it for as long as it runs";

    if (flatten->waiting)
        return err_set(err, ERR_CANCELLED,
                       "it gave way to another operation (%s) at %" PRId64
                       " %%; %s: ask for it again when that has ended",
                       flatten->waiting, percent(flatten), left);
    return err_set(err, ERR_CANCELLED, "it was stopped at %" PRId64 " %%; %s", percent(flatten),
                   left);
}

static bool
flatten_disk(TaskRun *run, GError **err)
{
    Flatten flatten = {.run = run};
    g_autofree char *waiting = NULL;
    char *source = NULL;
    bool ended, ok;

    if (!source_of(run, &source, err))
        return false;
    flatten.copy = copy_start(run_storage(run), source);
    ended = attend(&flatten);
    waiting = flatten.waiting;
    take_progress(&flatten);
    ok = ended && flatten.copy->ok;
    if (ok && run_state_int(run, "total", 0) > 0) /* also what others copied meanwhile */
        run_set_state_int(run, "done", run_state_int(run, "total", 0));
    if (!ok && (!ended || err_is(flatten.copy->error, ERR_CANCELLED)))
        has_stopped(&flatten, ended, err);
    else if (!ok)
        g_propagate_error(err, g_steal_pointer(&flatten.copy->error));
    copy_drop(flatten.copy);
    return ok;
}

static void
set_done(TaskRun *run, Volume *volume)
{
    volume->progress_percent = 100;
}

static bool
succeed(TaskRun *run, StoreTx *tx, GError **err)
{
    return !run->volume_id || run_update_volume(run, tx, set_done, err);
}

/* The disk is as good as before. */
static bool
fail(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    return true;
}

static const TaskStep steps[] = {{"flatten", NULL, flatten_disk, NULL, NULL}};
const TaskKind task_server_flatten = {
    .name = "server-flatten",
    .steps = steps,
    .n_steps = G_N_ELEMENTS(steps),
    .unreachable_wait_us = 60 * USEC_PER_SEC,
    .succeed = succeed,
    .fail = fail,
};
const TaskKind task_volume_flatten = {
    .name = "volume-flatten",
    .steps = steps,
    .n_steps = G_N_ELEMENTS(steps),
    .unreachable_wait_us = 60 * USEC_PER_SEC,
    .succeed = succeed,
    .fail = fail,
};

/* ---- submission --------------------------------------------------------------------------------
 */

static bool
may_flatten(const Server *server, const Volume *volume, GError **err)
{
    if (volume)
        return volume->status == VOLUME_AVAILABLE || volume->status == VOLUME_IN_USE ||
               err_set(err, ERR_CONFLICT,
                       "volume %s is %s: only one that is available or in-use can be flattened",
                       volume->id, volume_status_names[volume->status]);
    if (server->vm_state == VM_DELETED || server->vm_state == VM_BUILDING ||
        server->task_state != TASK_NONE)
        return err_set(err, ERR_CONFLICT,
                       "server %s is %s (%s): wait until that has ended, then flatten its disk",
                       server->id, vm_state_names[server->vm_state],
                       task_state_names[server->task_state]);
    if (!*server->image_id)
        return err_set(err, ERR_CONFLICT,
                       "server %s boots from a volume and has no disk of its own: flatten the "
                       "volume",
                       server->id);
    return true;
}

bool
task_submit_flatten(StoreTx *tx, Server *server, Volume *volume, const TaskRequest *request,
                    int64_t *task_id, GError **err)
{
    const TaskKind *kind = volume ? &task_volume_flatten : &task_server_flatten;
    const StoreCond same[] = {
        {volume ? "volume_id" : "server_id", STORE_EQ, volume ? volume->id : server->id, 0},
        {"kind", STORE_EQ, kind->name, 0},
        {"status", STORE_EQ, NULL, TASK_OPEN},
        {NULL}};
    int64_t now = clock_realtime(), open;
    Task task = {
        .kind = (char *)kind->name,
        .server_id = (char *)(volume ? "" : server->id),
        .volume_id = volume ? volume->id : NULL,
        .status = TASK_OPEN,
        .mark = TASK_MARK_INTENT,
        .params = (char *)"{}",
        .state = (char *)"{}",
        .request_id = (char *)request->request_id,
        .user_id = (char *)request->user_id,
        .project_id = (char *)request->project_id,
        .created_at = now,
        .updated_at = now,
    };

    if (!may_flatten(server, volume, err))
        return false;
    open = store_count(tx, &TASK, same, err);
    if (open > 0)
        return err_set(err, ERR_CONFLICT,
                       "%s %s is being flattened already; see 'godwit task list'",
                       volume ? "volume" : "server", volume ? volume->id : server->id);
    if (open < 0 || !store_insert(tx, &TASK, &task, err))
        return false;
    if (task_id)
        *task_id = task.id;
    return true;
}
