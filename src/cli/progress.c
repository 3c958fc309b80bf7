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
    const char *wish = json_text_at(migration, "wish");
    const json_t *ahead = json_at(migration, "queue_position");
    g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(parts,
                    g_strdup_printf("%-9s %s -> %s", *phase ? phase : "queued",
                                    json_text_at(migration, "source_host"), *dest ? dest : "?"));
    if (json_is_integer(ahead))
        g_ptr_array_add(parts, json_integer_value(ahead) == 0
                                   ? g_strdup("next in the queue")
                                   : g_strdup_printf("%" PRId64 " before it in the queue",
                                                     (int64_t)json_integer_value(ahead)));
    if (*wish)
        g_ptr_array_add(parts, g_strdup_printf("%s asked for", wish));
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

/* "shut out 2 clients of its former node, in 640 ms" */
static char *
fence_text(const json_t *fence)
{
    size_t n = json_array_size(json_at(fence, "addresses"));
    int64_t us = json_int_at(fence, "us/blocklist") + json_int_at(fence, "us/watchers");
    g_autofree char *time = duration_text(us);

    if (n > 0)
        return g_strdup_printf("%zu client%s of its former node shut out, in %s", n,
                               n == 1 ? "" : "s", time);
    if (json_is_true(json_at(fence, "command/done")))
        return g_strdup("by the fence command");
    if (json_is_object(json_at(fence, "override")))
        return g_strdup_printf("an administrator's word: %s",
                               json_text_at(fence, "override/reason"));
    return g_strdup("it had no client");
}

static void
summary_append(GString *out, const char *name, const char *value)
{
    g_string_append_printf(out, "  %-18s %s\n", name, value);
}

static void
phase_append(GString *out, const char *phase, const json_t *time)
{
    g_autofree char *text = duration_text(json_integer_value(time));
    g_autofree char *label = g_strdup_printf("phase %s", phase);

    summary_append(out, label, text);
}

/* "web1 runs on host2 now (came from host1)" */
static void
outcome_append(GString *out, const json_t *migration)
{
    const char *type = json_text_at(migration, "type");
    const char *status = json_text_at(migration, "status");
    const char *given = json_text_at(migration, "server_name");
    const char *name = *given ? given : json_text_at(migration, "server_id");
    const char *source = json_text_at(migration, "source_host");
    const char *dest = json_text_at(migration, "dest_host");
    const char *flavor = json_text_at(migration, "new_flavor/name");

    if (g_str_equal(status, "reverted")) {
        g_string_append_printf(out, "%s is on %s again, as it was before\n", name, source);
    } else if (g_str_equal(type, "resize") || g_str_equal(type, "migration")) {
        g_string_append_printf(out, "%s is on %s now%s%s (came from %s)\n", name, dest,
                               g_str_equal(type, "resize") ? " with flavor " : "",
                               g_str_equal(type, "resize") ? flavor : "", source);
        if (g_str_equal(status, "finished"))
            g_string_append_printf(out,
                                   "  keep it: godwit server resize-confirm %s; back to what it "
                                   "was: godwit server resize-revert %s\n",
                                   name, name);
    } else if (g_str_equal(type, "evacuation")) {
        g_string_append_printf(out, "%s was brought up on %s (its node was %s)\n", name, dest,
                               source);
    } else {
        g_string_append_printf(out, "%s runs on %s now (came from %s)\n", name, dest, source);
    }
}

/* The phases of a live migration in their order, then what others have. */
static void
phases_append(GString *out, const json_t *times)
{
    static const char *const order[] = {"queue",   "select",   "check",     "reserve",
                                        "prepare", "transfer", "post-copy", "switch",
                                        "pause",   "commit",   "cleanup",   NULL};
    const char *key;
    json_t *value;

    for (unsigned i = 0; order[i]; i++) {
        value = json_object_get(times, order[i]);
        if (value)
            phase_append(out, order[i], value);
    }
    json_object_foreach((json_t *)times, key, value)
    {
        if (!g_strv_contains(order, key) && json_is_integer(value))
            phase_append(out, key, value);
    }
}

char *
progress_summary(const json_t *migration)
{
    GString *out = g_string_new(NULL);
    int64_t created = json_int_at(migration, "created_at");
    int64_t ended = json_int_at(migration, "ended_at");
    int64_t active = json_int_at(migration, "active_at");
    int64_t moved_bytes = json_int_at(migration, "memory_processed");
    int64_t downtime_ms = json_is_integer(json_at(migration, "downtime_ms"))
                              ? json_int_at(migration, "downtime_ms")
                              : -1;
    int64_t predicted_ms = json_int_at(migration, "predicted_ms");
    const char *type = json_text_at(migration, "type");
    bool live = !*type || g_str_equal(type, "live-migration");
    const char *encryption = json_text_at(migration, "encryption");
    const char *forced = json_text_at(migration, "forced");
    g_autofree char *total = duration_text(ended ? ended - created : -1);
    g_autofree char *until_active = duration_text(active ? active - created : -1);
    g_autofree char *downtime = duration_text(downtime_ms < 0 ? -1 : downtime_ms * USEC_PER_MSEC);
    g_autofree char *moved = bytes_text(moved_bytes);
    json_t *attempt;
    size_t i;

    outcome_append(out, migration);
    json_array_foreach((json_t *)json_at(migration, "attempts"), i, attempt)
    {
        g_autofree char *label = g_strdup_printf("tried %s", json_text_at(attempt, "host"));

        summary_append(out, label, json_text_at(attempt, "reason"));
    }
    if (json_is_object(json_at(migration, "fence"))) {
        g_autofree char *fence = fence_text(json_at(migration, "fence"));

        summary_append(out, "fence", fence);
    }
    if (ended)
        summary_append(out, "total time", total);
    summary_append(out, "until active", until_active);
    if (live || downtime_ms > 0)
        summary_append(out, "downtime", downtime);
    if (*forced)
        summary_append(out, "forced",
                       g_str_equal(forced, "pause")
                           ? "the guest was paused until its memory was copied"
                           : "by post-copy");
    if (predicted_ms > 0) {
        g_autofree char *time = duration_text(predicted_ms * USEC_PER_MSEC);
        g_autofree char *pause =
            duration_text(json_int_at(migration, "predicted_downtime_ms") * USEC_PER_MSEC);
        g_autofree char *both = g_strdup_printf("%s, downtime %s", time, pause);
        summary_append(out, "predicted", both);
    }
    if (live) {
        summary_append(out, "memory moved", moved);
        summary_append(out, "encryption",
                       g_str_equal(encryption, "plaintext")
                           ? "plaintext (the guest's memory crossed the network unencrypted)"
                       : *encryption ? encryption
                                     : "-");
    }
    phases_append(out, json_at(migration, "phases"));
    return g_string_free(out, FALSE);
}
