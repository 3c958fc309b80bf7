/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* orphan-watch.c: the sweep of the storage, in the background, told of once */
#include "watch/orphan-watch.h"

#include <stdatomic.h>

#include "task/take-over.h"
#include "watch/sweep.h"

struct OrphanWatch {
    TaskEngine *tasks;
    atomic_bool at_work;
    char *said; /* of the last sweep; only the one at work touches it */
};

OrphanWatch *
orphan_watch_new(TaskEngine *tasks)
{
    OrphanWatch *watch = g_new0(OrphanWatch, 1);

    watch->tasks = tasks;
    return watch;
}

void
orphan_watch_free(OrphanWatch *watch)
{
    if (!watch)
        return;
    g_free(watch->said);
    g_free(watch);
}

/* count, names and reason may be NULL. */
static void
tell(OrphanWatch *watch, LogLevel level, const char *message, const char *count, const char *names,
     const char *reason)
{
    g_autofree char *text = g_strconcat(message, "|", count ? count : reason, "|", names, NULL);

    if (g_strcmp0(text, watch->said) == 0)
        return;
    g_free(watch->said);
    watch->said = g_steal_pointer(&text);
    log_event(level, "watch", message, "count", count, "names", names, "reason", reason, NULL);
}

static char *
first_names(const GPtrArray *names)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < MIN(names->len, 5); i++)
        g_string_append_printf(text, "%s%s", i ? " " : "", (char *)g_ptr_array_index(names, i));
    if (names->len > 5)
        g_string_append(text, " …");
    return g_string_free(text, FALSE);
}

static void
tell_report(OrphanWatch *watch, const OrphanReport *report)
{
    g_autofree char *foreign = g_strdup_printf("%" PRId64, report->foreign);
    g_autofree char *names = first_names(report->foreign_names);

    if (report->foreign > 0)
        tell(watch, LOG_LEVEL_NOTICE,
             "the storage holds what no record knows; it may be somebody else's and is left alone",
             foreign, names, NULL);
    else
        g_clear_pointer(&watch->said, g_free);
}

static void
orphan_thread(void *opaque)
{
    OrphanWatch *watch = opaque;
    OrphanReport report = {0};
    g_autoptr(GError) error = NULL;

    if (task_take_over_storage(watch->tasks, &error) &&
        task_sweep_orphans(watch->tasks, &report, &error))
        tell_report(watch, &report);
    else if (!err_is(error, ERR_BUSY) && !err_is(error, ERR_FENCED))
        tell(watch, LOG_LEVEL_WARNING, "cannot look for what deleted ones left in the storage",
             NULL, NULL, error->message);
    orphan_report_clear(&report);
    atomic_store(&watch->at_work, false);
}

void
orphan_watch_start(OrphanWatch *watch)
{
    if (!atomic_exchange(&watch->at_work, true))
        sweep_start_thread("orphans", orphan_thread, watch);
}
