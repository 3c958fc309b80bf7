/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* auto-confirm.c: a resize that nobody confirms or reverts is confirmed after a while
 *
 * The deadlines are the migrations' rows, so that they outlive a restart. A resize that ends after
 * a look at them is due a whole window after that at the earliest: so the thread sleeps until the
 * first deadline, or one window, whichever is sooner, and nobody need wake it. One whose
 * confirmation was refused or has failed is tried again later. */
#include "task/auto-confirm.h"

#include <string.h>

#include "task/resize.h"
#include "task/runner.h"

#define RETRY_US (60 * USEC_PER_SEC)
#define PAUSE_US (5 * USEC_PER_SEC) /* while the store cannot */

struct AutoConfirm {
    TaskEngine *engine;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stopping;
};

typedef struct Look {
    int64_t window_us;
    int64_t next_us; /* out: until something is due */
    int confirmed;
} Look;

static bool
confirm_one(StoreTx *tx, const Migration *migration, GError **err)
{
    g_autofree char *unique = uuid_new();
    g_autofree char *request_id = g_strconcat("req-", unique, NULL);
    g_autoptr(Server) server = store_get(tx, &SERVER, migration->server_id, err);
    const TaskRequest request = {
        .request_id = request_id,
        .user_id = migration->user_id,
        .project_id = migration->project_id,
    };

    return server && task_submit_end_resize(tx, "confirmResize", server, true, &request, err);
}

/* When it is due, realtime: one that could not be confirmed has been touched since it finished. */
static int64_t
due_at(const Migration *migration, int64_t window_us)
{
    int64_t due = migration->active_at + window_us;

    return migration->updated_at > migration->active_at + USEC_PER_SEC
               ? MAX(due, migration->updated_at + RETRY_US)
               : due;
}

static bool
look(StoreTx *tx, void *opaque, GError **err)
{
    Look *look = opaque;
    const StoreCond where[] = {{"status", STORE_EQ, NULL, MIGRATION_FINISHED}, {NULL}};
    g_autoptr(GPtrArray) rows = store_list(tx, &MIGRATION, &(StoreQuery){.where = where}, err);
    int64_t now = clock_realtime();

    look->next_us = look->window_us;
    look->confirmed = 0;
    for (guint i = 0; rows && i < rows->len; i++) {
        Migration *row = g_ptr_array_index(rows, i);
        int64_t left = due_at(row, look->window_us) - now;
        g_autoptr(GError) error = NULL;

        if (left > 0) {
            look->next_us = MIN(look->next_us, left);
            continue;
        }
        if (confirm_one(tx, row, &error)) {
            look->confirmed++;
            continue;
        }
        if (!err_is(error, ERR_CONFLICT) && !err_is(error, ERR_NOT_FOUND)) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
        row->updated_at = now; /* something else is being done to the server */
        look->next_us = MIN(look->next_us, RETRY_US);
        if (!store_update(tx, &MIGRATION, row, err))
            return false;
    }
    return rows != NULL;
}

static void
timer_thread(void *opaque)
{
    AutoConfirm *timer = opaque;
    Look state = {.window_us =
                      engine_settings(timer->engine)->resize_confirm_window_s * USEC_PER_SEC};

    pthread_mutex_lock(&timer->mutex);
    while (!timer->stopping) {
        g_autoptr(GError) error = NULL;
        int64_t until;

        pthread_mutex_unlock(&timer->mutex);
        if (!store_write(engine_store(timer->engine), look, &state, &error)) {
            log_event(LOG_LEVEL_ERROR, "task",
                      "cannot look for resizes to confirm, will look again", "reason",
                      error->message, NULL);
            state.next_us = PAUSE_US;
        } else if (state.confirmed > 0) {
            log_event(LOG_LEVEL_INFO, "task", "confirming resizes whose time is over", NULL);
            task_engine_wake(timer->engine);
        }
        until = clock_monotonic() + state.next_us;
        pthread_mutex_lock(&timer->mutex);
        while (!timer->stopping && cond_wait_until(&timer->changed, &timer->mutex, until))
            ;
    }
    pthread_mutex_unlock(&timer->mutex);
}

AutoConfirm *
auto_confirm_start(TaskEngine *engine)
{
    AutoConfirm *timer;

    if (engine_settings(engine)->resize_confirm_window_s <= 0)
        return NULL;
    timer = g_new0(AutoConfirm, 1);
    timer->engine = engine;
    pthread_mutex_init(&timer->mutex, NULL);
    cond_init_monotonic(&timer->changed);
    timer->thread = thread_start("auto-confirm", timer_thread, timer);
    return timer;
}

void
auto_confirm_stop(AutoConfirm *timer)
{
    if (!timer)
        return;
    pthread_mutex_lock(&timer->mutex);
    timer->stopping = true;
    pthread_cond_broadcast(&timer->changed);
    pthread_mutex_unlock(&timer->mutex);
    pthread_join(timer->thread, NULL);
    pthread_cond_destroy(&timer->changed);
    pthread_mutex_destroy(&timer->mutex);
    g_free(timer);
}
