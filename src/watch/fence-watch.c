/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fence-watch.c: fences are kept up while a node is away, and lifted when it is back */
#include "watch/fence-watch.h"

#include <stdatomic.h>
#include <string.h>

#include "task/fence.h"
#include "watch/sweep.h"

struct FenceWatch {
    TaskEngine *tasks;
    atomic_bool at_work;
    GPtrArray *said; /* names of removed nodes that were told of; only the thread touches it */
    char *trouble;   /* told last */
};

FenceWatch *
fence_watch_new(TaskEngine *tasks)
{
    FenceWatch *watch = g_new0(FenceWatch, 1);

    watch->tasks = tasks;
    watch->said = g_ptr_array_new_with_free_func(g_free);
    return watch;
}

void
fence_watch_free(FenceWatch *watch)
{
    if (!watch)
        return;
    g_ptr_array_unref(watch->said);
    g_free(watch->trouble);
    g_free(watch);
}

void
fence_watch_connected(TaskEngine *tasks, const char *host)
{
    g_autoptr(GError) error = NULL;

    /* It is on: in its next outage the fence command has to be called again. */
    if (fence_command_forget(tasks, host, &error) && fence_lift_host(tasks, host, &error))
        return;
    log_event(LOG_LEVEL_WARNING, "watch",
              "cannot clear up after the evacuation of a host; its fences stay, and the next sweep "
              "tries again",
              "host", host, "reason", error->message, NULL);
}

static void
tell_left(FenceWatch *watch, const GPtrArray *names)
{
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);

        if (g_ptr_array_find_with_equal_func(watch->said, name, g_str_equal, NULL))
            continue;
        g_ptr_array_add(watch->said, g_strdup(name));
        log_event(LOG_LEVEL_NOTICE, "watch",
                  "a host was removed from the records while clients of it are fenced: they stay "
                  "so until the entries run out; see 'ceph osd blocklist ls'",
                  "host", name, NULL);
    }
}

static void
fence_thread(void *opaque)
{
    FenceWatch *watch = opaque;
    g_autoptr(GPtrArray) left = NULL;
    g_autoptr(GError) error = NULL;

    if (fence_assert_all(watch->tasks, &left, &error)) {
        tell_left(watch, left);
        g_clear_pointer(&watch->trouble, g_free);
    } else if (g_strcmp0(watch->trouble, error->message) != 0) {
        text_set(&watch->trouble, error->message);
        log_event(LOG_LEVEL_WARNING, "watch",
                  "cannot see whether the fences are in force; the next sweep tries again",
                  "reason", error->message, NULL);
    }
    atomic_store(&watch->at_work, false);
}

void
fence_watch_start(FenceWatch *watch)
{
    if (!atomic_exchange(&watch->at_work, true))
        sweep_start_thread("fences", fence_thread, watch);
}
