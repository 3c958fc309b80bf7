/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-table.c: a table with a row for each node that is being prepared
 *
 * A row shows the step that its node is at, or was at last: between two parts a node waits for the
 * others. */
#include "cli/step-table.h"

#include <string.h>

enum {
    WIDTH_LEAST = 20,
    HOST_WIDTH_MOST = 28,
    STEP_WIDTH = 13,
    STATE_WIDTH = 8,
    TIME_WIDTH = 6,
    GAP = 2,
};

typedef struct StepRow {
    const char *host;
    char *step, *detail; /* NULL: not begun, nothing to say */
    StepState state;
    int64_t begun, ended; /* of the step; ended only while it is not running */
} StepRow;

struct StepTable {
    const char *head;
    StepRow *rows;
    unsigned n;
};

StepTable *
step_table_new(const char *head, const char *const *hosts, unsigned n)
{
    StepTable *table = g_new0(StepTable, 1);

    table->head = head;
    table->rows = g_new0(StepRow, n);
    table->n = n;
    for (unsigned i = 0; i < n; i++)
        table->rows[i].host = hosts[i];
    return table;
}

void
step_table_free(StepTable *table)
{
    if (!table)
        return;
    for (unsigned i = 0; i < table->n; i++) {
        g_free(table->rows[i].step);
        g_free(table->rows[i].detail);
    }
    g_free(table->rows);
    g_free(table);
}

/* "--- old\n+++ /etc/x\n@@…" → "/etc/x" */
char *
step_detail_line(const char *detail)
{
    const char *file = detail && g_str_has_prefix(detail, "--- ") ? strstr(detail, "\n+++ ") : NULL;

    if (!detail)
        return NULL;
    return file ? g_strndup(file + 5, strcspn(file + 5, "\n\t"))
                : g_strndup(detail, strcspn(detail, "\n"));
}

void
step_table_event(StepTable *table, unsigned node, const char *step, StepState state,
                 const char *detail, int64_t now)
{
    StepRow *row = &table->rows[node];
    bool is_new = g_strcmp0(row->step, step) != 0;

    if (is_new) {
        g_free(row->step);
        row->step = g_strdup(step);
        row->begun = now;
    }
    /* A notice does not end the change that it speaks of, nor does a later file a former one. */
    if (is_new || state != STEP_RUNNING)
        row->state = state;
    row->ended = now;
    g_free(row->detail);
    row->detail = step_detail_line(detail);
}

static bool
row_is_at_work(const StepRow *row)
{
    return row->step && row->state == STEP_RUNNING;
}

/* ---- text -------------------------------------------------------------------------------------
 */

static unsigned
char_width(gunichar c)
{
    return g_unichar_iszerowidth(c) ? 0 : g_unichar_iswide(c) ? 2 : 1;
}

/* The text in at most width columns, filled up to them if fill; what is no visible character
 * becomes "?": a node's words must not move the cursor. */
static void
cell_append(GString *out, const char *text, unsigned width, bool fill)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    unsigned used = 0;

    for (const char *p = valid; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);

        c = g_unichar_isprint(c) ? c : c == '\t' ? ' ' : '?';
        if (used + char_width(c) > width)
            break;
        used += char_width(c);
        g_string_append_unichar(out, c);
    }
    for (; fill && used < width; used++)
        g_string_append_c(out, ' ');
}

static char *
elapsed_text(int64_t us)
{
    int64_t seconds = us > 0 ? us / USEC_PER_SEC : 0;

    return seconds < 60 ? g_strdup_printf("%" PRId64 " s", seconds)
                        : g_strdup_printf("%" PRId64 ":%02" PRId64, seconds / 60, seconds % 60);
}

static unsigned
host_width(const StepTable *table, unsigned width)
{
    unsigned widest = (unsigned)strlen(table->head),
             most = MIN((unsigned)HOST_WIDTH_MOST, width / 3);

    for (unsigned i = 0; i < table->n; i++)
        widest = MAX(widest, (unsigned)strlen(table->rows[i].host));
    return MIN(widest, MAX(most, (unsigned)strlen(table->head)));
}

/* The columns from the left as far as there is room for them, each whole; where there is none for
 * step and state, the one that says more. */
static void
line_append(GString *out, const char *const cells[5], const char *only, unsigned host,
            unsigned width)
{
    const unsigned widths[] = {host, STEP_WIDTH, STATE_WIDTH, TIME_WIDTH};
    GString *line = g_string_new(NULL);
    unsigned used = 0;

    if (host + STEP_WIDTH + STATE_WIDTH + 2 * GAP >= width) {
        cell_append(line, cells[0], host, true);
        g_string_append(line, "  ");
        cell_append(line, only, width - 1 - host - GAP, false);
        used = width;
    }
    for (unsigned i = 0; i < 4 && used + widths[i] < width; i++) {
        cell_append(line, cells[i], widths[i], true);
        g_string_append(line, "  ");
        used += widths[i] + GAP;
    }
    if (used + 8 < width)
        cell_append(line, cells[4], width - 1 - used, false);
    g_string_truncate(line, strlen(g_strchomp(line->str)));
    g_string_append_printf(out, "%s\n", line->str);
    g_string_free(line, TRUE);
}

static void
row_append(GString *out, const StepRow *row, unsigned host, unsigned width, int64_t now)
{
    static const char *const words[] = {
        [STEP_RUNNING] = "...",
        [STEP_SAME] = "ok",
        [STEP_CHANGED] = "changed",
        [STEP_FAILED] = "FAILED",
    };
    g_autofree char *time =
        row->step ? elapsed_text((row_is_at_work(row) ? now : row->ended) - row->begun)
                  : g_strdup("");
    const char *const cells[] = {row->host, row->step ? row->step : "-",
                                 row->step ? words[row->state] : "waits", time,
                                 row->detail ? row->detail : ""};

    line_append(out, cells, row_is_at_work(row) ? row->step : cells[2], host, width);
}

static void
rest_append(GString *out, const StepTable *table, const bool *shown, unsigned width)
{
    unsigned failed = 0, at_work = 0, at_rest = 0;
    g_autofree char *text = NULL;

    for (unsigned i = 0; i < table->n; i++) {
        if (shown[i])
            continue;
        if (table->rows[i].step && table->rows[i].state == STEP_FAILED)
            failed++;
        else if (row_is_at_work(&table->rows[i]))
            at_work++;
        else
            at_rest++;
    }
    text = g_strdup_printf("and %u more: %u failed, %u at work, %u wait or are done",
                           failed + at_work + at_rest, failed, at_work, at_rest);
    cell_append(out, text, width - 1, false);
    g_string_append_c(out, '\n');
}

/* Marks as many rows as there is room for: those that failed, those at work, the rest. */
static void
rows_choose(const StepTable *table, unsigned room, bool *shown)
{
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < table->n && room > 0; i++) {
            const StepRow *row = &table->rows[i];
            bool wanted = round == 0   ? row->step && row->state == STEP_FAILED
                          : round == 1 ? row_is_at_work(row)
                                       : room >= table->n;

            if (wanted && !shown[i]) {
                shown[i] = true;
                room--;
            }
        }
    }
}

char *
step_table_render(const StepTable *table, unsigned width, unsigned height, int64_t now)
{
    const char *const head[] = {table->head, "STEP", "STATE", "TIME", "DETAIL"};
    GString *out = g_string_new(NULL);
    g_autofree bool *shown = g_new0(bool, table->n);
    bool all;

    width = MAX(width, (unsigned)WIDTH_LEAST);
    height = MAX(height, 4);
    all = table->n + 2 <= height; /* its head, and the line that the cursor stands on */
    if (all)
        memset(shown, true, table->n * sizeof *shown);
    else
        rows_choose(table, height - 3, shown);

    unsigned host = host_width(table, width);

    line_append(out, head, head[1], host, width);
    for (unsigned i = 0; i < table->n; i++) {
        if (shown[i])
            row_append(out, &table->rows[i], host, width, now);
    }
    if (!all)
        rest_append(out, table, shown, width);
    return g_string_free(out, FALSE);
}

unsigned
step_table_rows(const char *text, unsigned width)
{
    unsigned rows = 0, used = 0;

    for (const char *p = text; *p; p = g_utf8_next_char(p)) {
        if (*p == '\n') {
            rows += used == 0 ? 1 : (used + width - 1) / width;
            used = 0;
        } else {
            used += char_width(g_utf8_get_char(p));
        }
    }
    return rows;
}
