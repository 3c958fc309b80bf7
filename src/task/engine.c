/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* engine.c: finds open tasks and runs each on a thread of its own
 *
 * One scheduler thread looks at the open rows whenever it is woken. A task may run when no older
 * open task of its server or of its volume is there: the operations on one thing follow each other
 * in the order in which they were accepted, and one that is about a server and a volume (attach,
 * detach) waits for both. A task's thread owns its TaskRun; others only drop messages into the
 * inbox. What must survive is in the row, everything in TaskRun can be had again from it. */
#include <string.h>

#include "task/auto-confirm.h"
#include "task/await-hosts.h"
#include "task/move-queue.h"
#include "task/runner.h"
#include "task/take-over.h"

struct TaskEngine {
    Store *store;
    Hosts *hosts;
    Storage storage;
    TaskSettings settings;

    pthread_mutex_t mutex;
    pthread_cond_t changed; /* woken, a run ended, or stopping */
    GHashTable *runs;       /* TaskRun *, borrowed from their threads */
    GHashTable *busy;       /* id of a server or a volume → the TaskRun * that is at work on it */
    GHashTable *begun; /* ids of open tasks that a thread of ours has had before: to be probed, as
                          after a crash */
    int helpers;       /* threads of tasks that are not runs: readings, aborts */
    bool woken, stopping, scheduler_on;
    int64_t started_at; /* set before there are runs */
    AutoConfirm *auto_confirm;
    pthread_t scheduler;
};

TaskEngine *
task_engine_new(Store *store, Hosts *hosts, const Storage *storage, const TaskSettings *settings)
{
    TaskEngine *engine = g_new0(TaskEngine, 1);

    engine->store = store;
    engine->hosts = hosts;
    engine->storage = *storage;
    engine->settings = *settings;
    engine->runs = g_hash_table_new(NULL, NULL);
    engine->busy = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    engine->begun = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    pthread_mutex_init(&engine->mutex, NULL);
    cond_init_monotonic(&engine->changed);
    return engine;
}

void
task_engine_free(TaskEngine *engine)
{
    if (!engine)
        return;
    task_engine_stop(engine, clock_monotonic() + 10 * USEC_PER_SEC);
    g_hash_table_unref(engine->runs);
    g_hash_table_unref(engine->busy);
    g_hash_table_unref(engine->begun);
    pthread_cond_destroy(&engine->changed);
    pthread_mutex_destroy(&engine->mutex);
    g_free(engine);
}

/* ---- a task's thread
 * ------------------------------------------------------------------------------ */

static TaskRun *
run_new(TaskEngine *engine, Task *task, bool taken_up)
{
    TaskRun *run = g_new0(TaskRun, 1);

    run->engine = engine;
    run->id = task->id;
    run->server_id = g_strdup(task->server_id);
    run->volume_id = g_strdup(task->volume_id);
    run->task = task;
    run->kind = task_kind_find(task->kind);
    run->taken_up = taken_up;
    run->inbox = mailbox_new(4096, (GDestroyNotify)run_message_free);
    run->params = json_loads(task->params ? task->params : "{}", 0, NULL);
    if (!json_is_object(run->params)) {
        json_decref(run->params);
        run->params = json_object();
    }
    run->state = json_loads(task->state ? task->state : "{}", 0, NULL);
    if (!json_is_object(run->state)) {
        json_decref(run->state);
        run->state = json_object();
    }
    return run;
}

static void
run_free(TaskRun *run)
{
    if (run->data && run->data_free)
        run->data_free(run->data);
    mailbox_free(run->inbox);
    json_decref(run->state);
    json_decref(run->params);
    server_free(run->server);
    volume_free(run->volume);
    task_free(run->task);
    g_free(run->server_id);
    g_free(run->volume_id);
    g_free(run);
}

#define KEYS_MAX 2

/* The things that a task is about, by id: at most KEYS_MAX. */
static size_t
task_keys(const Task *task, const char *keys[KEYS_MAX])
{
    size_t n = 0;

    if (task->server_id && *task->server_id)
        keys[n++] = task->server_id;
    if (task->volume_id && *task->volume_id)
        keys[n++] = task->volume_id;
    return n;
}

static bool
read_own_row(StoreTx *tx, void *opaque, GError **err)
{
    Task **row = opaque;
    int64_t id = (*row)->id;

    return (*row = store_get_int(tx, &TASK, id, err)) != NULL;
}

/* The scheduler may have read the row when the task's former run was about to end, and have looked
 * for that run when it was gone. What such a row says is over. */
static bool
is_current(TaskRun *run)
{
    Task *now = run->task;
    bool same;

    if (!store_read(run->engine->store, read_own_row, &now, NULL))
        return true; /* the store's trouble is met again soon */
    same = now->status == TASK_OPEN && now->updated_at == run->task->updated_at;
    run->task->status = now->status;
    task_free(now);
    return same;
}

static void
run_thread(void *opaque)
{
    TaskRun *run = opaque;
    TaskEngine *engine = run->engine;
    const char *keys[KEYS_MAX];

    if (is_current(run)) {
        run_await_hosts(run, engine->started_at);
        runner_run(run);
    }

    pthread_mutex_lock(&engine->mutex);
    for (size_t n = task_keys(run->task, keys); n > 0; n--)
        g_hash_table_remove(engine->busy, keys[n - 1]);
    g_hash_table_remove(engine->runs, run);
    if (run->task->status != TASK_OPEN)
        g_hash_table_remove(engine->begun, &run->id);
    engine->woken = true;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->mutex);
    run_free(run);
}

/* ---- the scheduler
 * -------------------------------------------------------------------------------- */

static bool
read_open_tasks(StoreTx *tx, void *opaque, GError **err)
{
    GPtrArray **tasks = opaque;
    const StoreCond where[] = {{"status", STORE_EQ, NULL, TASK_OPEN}, {NULL}};

    *tasks = store_list(tx, &TASK, &(StoreQuery){.where = where}, err);
    return *tasks != NULL;
}

static bool
is_evacuation(const Task *task)
{
    return strcmp(task->kind, "server-evacuate") == 0;
}

static void
cancel_run(TaskRun *run, const Task *interrupts)
{
    RunMessage *message;

    if (run->cancelled)
        return;
    run->evacuated = is_evacuation(interrupts);
    __atomic_store_n(&run->cancelled, true, __ATOMIC_RELEASE);
    message = g_new0(RunMessage, 1);
    message->kind = RUN_CANCEL;
    mailbox_send(run->inbox, message);
}

/* interrupts: the task that waits for the end of this one; NULL: none. */
static void
start_run(TaskEngine *engine, const Task *task, const Task *interrupts, bool found_at_start)
{
    bool first_time = g_hash_table_add(engine->begun, g_memdup2(&task->id, sizeof task->id));
    TaskRun *run = run_new(engine, record_copy(&TASK, task), found_at_start || !first_time);
    const char *keys[KEYS_MAX];

    if (interrupts)
        cancel_run(run, interrupts);
    g_hash_table_add(engine->runs, run);
    for (size_t n = task_keys(task, keys); n > 0; n--)
        g_hash_table_insert(engine->busy, g_strdup(keys[n - 1]), run);
    thread_start_detached("task", run_thread, run);
}

/* What does not wait for the end of what is under way on its subject, but ends it. */
static bool
does_interrupt(const Task *task)
{
    return strcmp(task->kind, "server-delete") == 0 || strcmp(task->kind, "volume-delete") == 0 ||
           is_evacuation(task);
}

static int64_t
first_id_after(GPtrArray *tasks)
{
    return tasks->len ? ((Task *)g_ptr_array_index(tasks, tasks->len - 1))->id + 1 : 0;
}

/* Is nothing else at work on what the task is about, and nothing older in front of it? seen: the
 * keys of the tasks before it. */
static bool
is_first(TaskEngine *engine, const Task *task, GHashTable *seen)
{
    const char *keys[KEYS_MAX];
    bool first = true;

    for (size_t n = task_keys(task, keys); n > 0; n--) /* who waits keeps its place, too */
        if (!g_hash_table_add(seen, (gpointer)keys[n - 1]) ||
            g_hash_table_contains(engine->busy, keys[n - 1]))
            first = false;
    return first;
}

/* Ids of the live migrations that could begin now, if they are given a place. */
static GHashTable *
list_ready_moves(TaskEngine *engine, GPtrArray *tasks)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTable *ready = g_hash_table_new(g_int64_hash, g_int64_equal);

    WITH_MUTEX(&engine->mutex);
    for (guint i = 0; i < tasks->len; i++) {
        Task *task = g_ptr_array_index(tasks, i);

        if (is_first(engine, task, seen) && strcmp(task->kind, task_server_live_migrate.name) == 0)
            g_hash_table_add(ready, &task->migration_id);
    }
    return ready;
}

/* What interrupts, by the thing that it is about; and tell what is at work there. */
static GHashTable *
interrupt_runs(TaskEngine *engine, GPtrArray *tasks)
{
    GHashTable *interrupted = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < tasks->len; i++) {
        Task *task = g_ptr_array_index(tasks, i);
        const char *keys[KEYS_MAX];

        for (size_t n = does_interrupt(task) ? task_keys(task, keys) : 0; n > 0; n--) {
            TaskRun *running = g_hash_table_lookup(engine->busy, keys[n - 1]);

            g_hash_table_insert(interrupted, (gpointer)keys[n - 1], task);
            /* A snapshot that is being deleted is out of the way of its volume's deletion only when
             * that has ended. */
            if (running && running->id != task->id && running->kind != &task_snapshot_delete)
                cancel_run(running, task);
        }
    }
    return interrupted;
}

/* What waits for the end of task, and interrupts it; NULL: nothing. */
static const Task *
find_interruption(GHashTable *interrupted, const Task *task)
{
    const char *keys[KEYS_MAX];
    const Task *found = NULL;

    if (strcmp(task->kind, task_snapshot_delete.name) == 0) /* as above */
        return NULL;
    for (size_t n = task_keys(task, keys); n > 0 && !found; n--) {
        found = g_hash_table_lookup(interrupted, keys[n - 1]);
        if (found == task)
            found = NULL;
    }
    return found;
}

/* held: migrations that wait in the queue; what interrupts them ends them there. */
static void
start_what_may_run(TaskEngine *engine, GPtrArray *tasks, GHashTable *held, int64_t first_new)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal), interrupted = NULL;

    WITH_MUTEX(&engine->mutex);
    interrupted = interrupt_runs(engine, tasks);
    for (guint i = 0; i < tasks->len && !engine->stopping; i++) {
        const Task *task = g_ptr_array_index(tasks, i),
                   *interrupts = find_interruption(interrupted, task);

        if (!is_first(engine, task, seen))
            continue;
        if (!interrupts && task->migration_id && g_hash_table_contains(held, &task->migration_id))
            continue;
        if ((int64_t)g_hash_table_size(engine->runs) >= engine->settings.worker_limit)
            break;
        start_run(engine, task, interrupts, task->id < first_new);
    }
}

/* One look at the open tasks. */
static bool
schedule(TaskEngine *engine, int64_t *first_new, GError **err)
{
    g_autoptr(GPtrArray) tasks = NULL;
    g_autoptr(GHashTable) ready = NULL, held = g_hash_table_new(g_int64_hash, g_int64_equal);

    if (!store_read(engine->store, read_open_tasks, &tasks, err))
        return false;
    if (*first_new < 0)
        *first_new = first_id_after(tasks);
    ready = list_ready_moves(engine, tasks);
    if (!move_queue_admit(engine->store, &engine->settings, ready, held, err))
        return false;
    start_what_may_run(engine, tasks, held, *first_new);
    return true;
}

static void
scheduler_thread(void *opaque)
{
    TaskEngine *engine = opaque;
    int64_t first_new =
        -1; /* tasks below this id were there when we started: a former run may have begun them */
    int64_t pause_until = 0;

    /* Before anything is taken up: disks that a killed godwitd had open must not seem in use. A
     * cluster that does not answer is met again by the sweep. */
    task_take_over_storage(engine, NULL);
    for (;;) {
        g_autoptr(GError) error = NULL;

        pthread_mutex_lock(&engine->mutex);
        while (!engine->stopping && (!engine->woken || clock_monotonic() < pause_until))
            cond_wait_until(&engine->changed, &engine->mutex,
                            engine->woken ? pause_until : INT64_MAX);
        engine->woken = false;
        if (engine->stopping) {
            pthread_mutex_unlock(&engine->mutex);
            return;
        }
        pthread_mutex_unlock(&engine->mutex);

        if (!schedule(engine, &first_new, &error)) {
            log_event(LOG_LEVEL_ERROR, "task",
                      "cannot see which tasks may run, will look again in a second", "reason",
                      error->message, NULL);
            pause_until = clock_monotonic() + USEC_PER_SEC;
            task_engine_wake(engine);
        }
    }
}

bool
task_engine_start(TaskEngine *engine, GError **err)
{
    pthread_mutex_lock(&engine->mutex); /* a node that is there already may wake us */
    engine->stopping = false;
    engine->scheduler_on = true;
    engine->woken = true;
    engine->started_at = clock_monotonic();
    pthread_mutex_unlock(&engine->mutex);
    engine->scheduler = thread_start("tasks", scheduler_thread, engine);
    engine->auto_confirm = auto_confirm_start(engine);
    return true;
}

bool
task_engine_stop(TaskEngine *engine, int64_t deadline_us)
{
    GHashTableIter iter;
    gpointer run;
    bool idle, join;

    pthread_mutex_lock(&engine->mutex);
    engine->stopping = true;
    g_hash_table_iter_init(&iter, engine->runs);
    while (g_hash_table_iter_next(&iter, &run, NULL))
        mailbox_close(((TaskRun *)run)->inbox);
    pthread_cond_broadcast(&engine->changed);
    while (g_hash_table_size(engine->runs) > 0 || engine->helpers > 0)
        if (!cond_wait_until(&engine->changed, &engine->mutex, deadline_us))
            break;
    idle = g_hash_table_size(engine->runs) == 0 && engine->helpers == 0;
    join = engine->scheduler_on;
    engine->scheduler_on = false;
    pthread_mutex_unlock(&engine->mutex);
    if (join)
        pthread_join(engine->scheduler, NULL);
    auto_confirm_stop(g_steal_pointer(&engine->auto_confirm));
    return idle;
}

void
task_engine_wake(TaskEngine *engine)
{
    WITH_MUTEX(&engine->mutex);
    engine->woken = true;
    pthread_cond_broadcast(&engine->changed);
}

void
task_engine_tell(TaskEngine *engine, const char *server_id)
{
    TaskRun *run;

    WITH_MUTEX(&engine->mutex);
    run = g_hash_table_lookup(engine->busy, server_id);
    if (run && run->kind == &task_server_live_migrate) {
        RunMessage *message = g_new0(RunMessage, 1);

        message->kind = RUN_WISH;
        mailbox_send(run->inbox, message);
    }
    engine->woken = true;
    pthread_cond_broadcast(&engine->changed);
}

static bool
count_open_tasks(StoreTx *tx, void *opaque, GError **err)
{
    const StoreCond where[] = {{"status", STORE_EQ, NULL, TASK_OPEN}, {NULL}};

    return (*(int64_t *)opaque = store_count(tx, &TASK, where, err)) >= 0;
}

int64_t
task_engine_open_count(TaskEngine *engine)
{
    int64_t open = 0, running;

    if (!store_read(engine->store, count_open_tasks, &open, NULL))
        open = 1;
    pthread_mutex_lock(&engine->mutex);
    running = g_hash_table_size(engine->runs);
    pthread_mutex_unlock(&engine->mutex);
    return MAX(open, running);
}

/* ---- helpers ---- threads on behalf of a run that may outlive it, but not the engine
 * ------------------------- */

typedef struct Helper {
    TaskEngine *engine;
    ThreadFn fn;
    void *opaque;
} Helper;

static void
helper_thread(void *opaque)
{
    Helper *helper = opaque;
    TaskEngine *engine = helper->engine;

    helper->fn(helper->opaque);
    g_free(helper);
    WITH_MUTEX(&engine->mutex);
    engine->helpers--;
    pthread_cond_broadcast(&engine->changed);
}

void
engine_start_helper(TaskEngine *engine, const char *name, ThreadFn fn, void *opaque)
{
    Helper *helper = g_new0(Helper, 1);

    *helper = (Helper){engine, fn, opaque};
    pthread_mutex_lock(&engine->mutex);
    engine->helpers++;
    pthread_mutex_unlock(&engine->mutex);
    thread_start_detached(name, helper_thread, helper);
}

/* ---- messages to runs
 * ------------------------------------------------------------------------------ */

static HostEvent *
host_event_copy(const HostEvent *event)
{
    HostEvent *copy = g_memdup2(event, sizeof *event);

    copy->host = g_strdup(event->host);
    copy->uuid = g_strdup(event->uuid);
    copy->text = g_strdup(event->text);
    return copy;
}

static void
post_event(TaskRun *run, const HostEvent *event)
{
    RunMessage *message = g_new0(RunMessage, 1);

    message->kind = RUN_EVENT;
    message->event = host_event_copy(event);
    mailbox_send(run->inbox, message);
}

void
task_engine_host_event(TaskEngine *engine, const HostEvent *event)
{
    GHashTableIter iter;
    gpointer run;

    WITH_MUTEX(&engine->mutex);
    if (event->uuid) {
        run = g_hash_table_lookup(engine->busy, event->uuid);
        if (run)
            post_event(run, event);
        return;
    }
    g_hash_table_iter_init(&iter, engine->runs); /* a node came or went: everybody may care */
    while (g_hash_table_iter_next(&iter, &run, NULL))
        post_event(run, event);
}

void
engine_post(TaskEngine *engine, const char *server_id, int64_t task_id, RunMessage *message)
{
    TaskRun *run;

    WITH_MUTEX(&engine->mutex);
    run = g_hash_table_lookup(engine->busy, server_id);
    if (run && run->id == task_id)
        mailbox_send(run->inbox, message);
    else /* the task gave up on this call long ago */
        run_message_free(message);
}

void
run_message_free(RunMessage *message)
{
    if (!message)
        return;
    if (message->event)
        host_event_free(message->event);
    g_clear_error(&message->error);
    g_free(message);
}

/* ---- what a run may ask its engine for
 * ---------------------------------------------------------------- */

Store *
run_store(TaskRun *run)
{
    return run->engine->store;
}

Hosts *
run_hosts(TaskRun *run)
{
    return run->engine->hosts;
}

const Storage *
run_storage(TaskRun *run)
{
    return &run->engine->storage;
}

const TaskSettings *
run_settings(TaskRun *run)
{
    return &run->engine->settings;
}

bool
run_is_stopping(const TaskRun *run)
{
    return mailbox_is_closed(run->inbox);
}

Store *
engine_store(TaskEngine *engine)
{
    return engine->store;
}

Hosts *
engine_hosts(TaskEngine *engine)
{
    return engine->hosts;
}

const Storage *
engine_storage(TaskEngine *engine)
{
    return &engine->storage;
}

const TaskSettings *
engine_settings(TaskEngine *engine)
{
    return &engine->settings;
}
