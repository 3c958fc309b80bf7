/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* progress.c: a move or a copy in words: one line while it runs, a summary when it has ended */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#define BAR_WIDTH 20

static void
bar_append(GString *out, int64_t done, int64_t total)
{
    unsigned filled = (unsigned)(done * BAR_WIDTH / total);

    g_string_append_c(out, '[');
    for (unsigned i = 0; i < BAR_WIDTH; i++)
        g_string_append_c(out, i < filled ? '#' : '.');
    g_string_append_printf(out, "] %3d%%", (int)(done * 100 / total));
}

static void
rate_append(GPtrArray *parts, const char *prefix, int64_t bps)
{
    g_autofree char *rate = bytes_text(bps);

    if (bps > 0)
        g_ptr_array_add(parts, g_strdup_printf("%s%s/s", prefix, rate));
}

/* What does not fit is left out from the end, a part at a time. */
static char *
parts_join(const GPtrArray *parts, unsigned width)
{
    GString *line = g_string_new(NULL);

    for (unsigned i = 0; i < parts->len; i++) {
        const char *part = parts->pdata[i];

        if (i > 0 && line->len + strlen(part) + 2 > width)
            break;
        g_string_append_printf(line, "%s%s", i ? "  " : "", part);
    }
    return g_string_free(line, FALSE);
}

char *
progress_line(const json_t *migration, unsigned width)
{
    int64_t total = json_int_at(migration, "memory_total");
    int64_t left = CLAMP(json_int_at(migration, "memory_remaining"), 0, MAX(total, 0));
    int64_t iterations = json_int_at(migration, "iterations");
    int64_t limit_ms = json_int_at(migration, "downtime_limit_ms");
    int64_t eta_ms = json_int_at(migration, "eta_ms");
    const char *dest = json_text_at(migration, "dest_host");
    const char *phase = json_text_at(migration, "phase");
    g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(parts,
                    g_strdup_printf("%-8s %s -> %s", *phase ? phase : "queued",
                                    json_text_at(migration, "source_host"), *dest ? dest : "?"));
    if (g_str_equal(json_text_at(migration, "encryption"), "plaintext"))
        g_ptr_array_add(parts, g_strdup("PLAINTEXT"));
    if (total > 0) {
        GString *bar = g_string_new(NULL);
        g_autofree char *done_text = bytes_text(total - left);
        g_autofree char *total_text = bytes_text(total);

        bar_append(bar, total - left, total);
        g_ptr_array_add(parts, g_string_free(bar, FALSE));
        g_ptr_array_add(parts, g_strdup_printf("%s of %s", done_text, total_text));
    }
    rate_append(parts, "", json_int_at(migration, "memory_bps"));
    rate_append(parts, "dirty ", json_int_at(migration, "dirty_bps"));
    if (iterations > 0)
        g_ptr_array_add(parts, g_strdup_printf("iteration %" PRId64, iterations));
    if (limit_ms > 0)
        g_ptr_array_add(parts, g_strdup_printf("limit %" PRId64 " ms", limit_ms));
    if (eta_ms > 0) {
        g_autofree char *eta = duration_text(eta_ms * USEC_PER_MSEC);
        g_ptr_array_add(parts, g_strdup_printf("ETA %s", eta));
    } else if (eta_ms < 0) {
        g_ptr_array_add(parts, g_strdup("ETA none: does not converge"));
    }

    return parts_join(parts, width);
}

char *
progress_task_line(const json_t *task, unsigned width)
{
    int64_t total = json_int_at(task, "total");
    int64_t done = CLAMP(json_int_at(task, "done"), 0, MAX(total, 0));
    g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(parts, g_strdup_printf("%-14s %s", json_text_at(task, "kind"),
                                           json_text_at(task, "status")));
    if (total > 0) {
        GString *bar = g_string_new(NULL);
        g_autofree char *done_text = bytes_text(done);
        g_autofree char *total_text = bytes_text(total);

        bar_append(bar, done, total);
        g_ptr_array_add(parts, g_string_free(bar, FALSE));
        g_ptr_array_add(parts, g_strdup_printf("%s of %s", done_text, total_text));
    }
    return parts_join(parts, width);
}

char *
progress_volume_line(const json_t *volume, unsigned width)
{
    int64_t percent = json_int_at(volume, "progress_percent");
    const char *name = json_text_at(volume, "name");
    g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(g_free);
    GString *bar;

    if (percent <= 0 || percent >= 100)
        return NULL;
    g_ptr_array_add(parts,
                    g_strdup_printf("volume %s %s", *name ? name : json_text_at(volume, "id"),
                                    json_text_at(volume, "status")));
    bar = g_string_new(NULL);
    bar_append(bar, percent, 100);
    g_ptr_array_add(parts, g_string_free(bar, FALSE));
    return parts_join(parts, width);
}

static void
summary_append(GString *out, const char *name, const char *value)
{
    g_string_append_printf(out, "  %-18s %s\n", name, value);
}

char *
progress_summary(const json_t *migration)
{
    static const char *const phases[] = {"select",   "check",  "reserve", "prepare",
                                         "transfer", "switch", "commit",  "cleanup"};
    GString *out = g_string_new(NULL);
    int64_t created = json_int_at(migration, "created_at");
    int64_t ended = json_int_at(migration, "ended_at");
    int64_t active = json_int_at(migration, "active_at");
    int64_t downtime_ms = json_is_integer(json_at(migration, "downtime_ms"))
                              ? json_int_at(migration, "downtime_ms")
                              : -1;
    int64_t predicted_ms = json_int_at(migration, "predicted_ms");
    const char *name = json_text_at(migration, "server_name");
    const char *encryption = json_text_at(migration, "encryption");
    const json_t *times = json_at(migration, "phases");
    g_autofree char *total = duration_text(ended ? ended - created : -1);
    g_autofree char *until_active = duration_text(active ? active - created : -1);
    g_autofree char *downtime = duration_text(downtime_ms < 0 ? -1 : downtime_ms * USEC_PER_MSEC);
    g_autofree char *moved = bytes_text(json_int_at(migration, "memory_processed"));

    g_string_append_printf(out, "%s runs on %s now (came from %s)\n",
                           *name ? name : json_text_at(migration, "server_id"),
                           json_text_at(migration, "dest_host"),
                           json_text_at(migration, "source_host"));
    summary_append(out, "total time", total);
    summary_append(out, "until active", until_active);
    summary_append(out, "downtime", downtime);
    if (predicted_ms > 0) {
        g_autofree char *time = duration_text(predicted_ms * USEC_PER_MSEC);
        g_autofree char *pause =
            duration_text(json_int_at(migration, "predicted_downtime_ms") * USEC_PER_MSEC);
        g_autofree char *both = g_strdup_printf("%s, downtime %s", time, pause);
        summary_append(out, "predicted", both);
    }
    summary_append(out, "memory moved", moved);
    summary_append(out, "encryption",
                   g_str_equal(encryption, "plaintext")
                       ? "plaintext (the guest's memory crossed the network unencrypted)"
                   : *encryption ? encryption
                                 : "-");
    for (size_t i = 0; i < G_N_ELEMENTS(phases); i++) {
        const json_t *value = json_object_get(times, phases[i]);

        if (value) {
            g_autofree char *time = duration_text(json_integer_value(value));
            g_autofree char *label = g_strdup_printf("phase %s", phases[i]);
            summary_append(out, label, time);
        }
    }
    return g_string_free(out, FALSE);
}
