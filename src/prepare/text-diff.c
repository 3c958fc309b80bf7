/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* text-diff.c: the difference of two texts in the form that patch(1) reads
 *
 * What is equal at both ends is cut off first; the rest is compared by longest common subsequence,
 * which needs memory for the product of both lengths. Where that is too much, the rest is shown as
 * replaced: right, if long. */
#include "prepare/prepare-priv.h"

#include <string.h>

#define LCS_MAX_CELLS (4 * 1024 * 1024)

typedef struct Lines {
    char **line; /* without their ends */
    size_t n;
    bool open_end; /* the last line has no line end */
} Lines;

typedef enum MarkKind {
    MARK_SAME = ' ',
    MARK_OLD = '-',
    MARK_NEW = '+'
} MarkKind;

typedef struct Mark {
    MarkKind kind;
    size_t old, new; /* lines of either side that lie before this one */
} Mark;

static Lines
lines_of(const char *text)
{
    Lines lines = {.line = g_strsplit(text, "\n", -1)};
    lines.n = g_strv_length(lines.line);
    if (lines.n > 0 && *lines.line[lines.n - 1] == '\0')
        lines.n--;
    else
        lines.open_end = lines.n > 0;
    return lines;
}

static bool
line_equal(const Lines *a, size_t i, const Lines *b, size_t j)
{
    bool a_open = a->open_end && i + 1 == a->n, b_open = b->open_end && j + 1 == b->n;
    return a_open == b_open && g_str_equal(a->line[i], b->line[j]);
}

static void
mark_add(GArray *marks, MarkKind kind, size_t *old, size_t *new)
{
    Mark mark = {.kind = kind, .old = *old, .new = *new};
    g_array_append_val(marks, mark);
    *old += kind != MARK_NEW;
    *new += kind != MARK_OLD;
}

/* Lines [*i, a_end) against [*j, b_end). */
static void
middle_mark(GArray *marks, const Lines *a, size_t *i, size_t a_end, const Lines *b, size_t *j,
            size_t b_end)
{
    size_t rows = a_end - *i, columns = b_end - *j, i0 = *i, j0 = *j;
    g_autofree uint32_t *length = NULL;

    if (rows > 0 && columns > 0 && rows < LCS_MAX_CELLS / (columns + 1) - 1) {
        length = g_new0(uint32_t, (rows + 1) * (columns + 1));
        for (size_t r = rows; r-- > 0;) {
            for (size_t c = columns; c-- > 0;) {
                uint32_t *cell = &length[r * (columns + 1) + c];
                *cell = line_equal(a, i0 + r, b, j0 + c) ? cell[columns + 2] + 1
                                                         : MAX(cell[columns + 1], cell[1]);
            }
        }
    }
    while (length != NULL && *i < a_end && *j < b_end) {
        const uint32_t *cell = &length[(*i - i0) * (columns + 1) + (*j - j0)];
        if (line_equal(a, *i, b, *j))
            mark_add(marks, MARK_SAME, i, j);
        else
            mark_add(marks, cell[columns + 1] >= cell[1] ? MARK_OLD : MARK_NEW, i, j);
    }
    while (*i < a_end)
        mark_add(marks, MARK_OLD, i, j);
    while (*j < b_end)
        mark_add(marks, MARK_NEW, i, j);
}

static GArray *
marks_of(const Lines *a, const Lines *b)
{
    GArray *marks = g_array_new(FALSE, FALSE, sizeof(Mark));
    size_t i = 0, j = 0, tail = 0;

    while (i < a->n && j < b->n && line_equal(a, i, b, j))
        mark_add(marks, MARK_SAME, &i, &j);
    while (tail < a->n - i && tail < b->n - j && line_equal(a, a->n - 1 - tail, b, b->n - 1 - tail))
        tail++;
    middle_mark(marks, a, &i, a->n - tail, b, &j, b->n - tail);
    while (i < a->n)
        mark_add(marks, MARK_SAME, &i, &j);
    return marks;
}

static void
hunk_print(GString *out, const Lines *a, const Lines *b, const GArray *marks, unsigned from,
           unsigned to)
{
    const Mark *first = &g_array_index(marks, Mark, from);
    size_t n_old = 0, n_new = 0;

    for (unsigned m = from; m < to; m++) {
        n_old += g_array_index(marks, Mark, m).kind != MARK_NEW;
        n_new += g_array_index(marks, Mark, m).kind != MARK_OLD;
    }
    g_string_append_printf(out, "@@ -%zu,%zu +%zu,%zu @@\n", first->old + (n_old > 0), n_old,
                           first->new + (n_new > 0), n_new);
    for (unsigned m = from; m < to; m++) {
        const Mark *mark = &g_array_index(marks, Mark, m);
        const Lines *side = mark->kind == MARK_NEW ? b : a;
        size_t number = mark->kind == MARK_NEW ? mark->new : mark->old;
        g_string_append_printf(out, "%c%s\n", (char)mark->kind, side->line[number]);
        if (side->open_end && number + 1 == side->n)
            g_string_append(out, "\\ No newline at end of file\n");
    }
}

char *
text_diff(const char *name, const char *old_text, const char *new_text, unsigned context)
{
    GString *out = g_string_new(NULL);
    if (g_strcmp0(old_text, new_text) == 0)
        return g_string_free(out, FALSE);

    Lines a = lines_of(old_text != NULL ? old_text : ""), b = lines_of(new_text);
    g_autoptr(GArray) marks = marks_of(&a, &b);

    g_string_append_printf(out, "--- %s\n+++ %s\n", old_text != NULL ? name : "/dev/null", name);
    for (unsigned m = 0; m < marks->len; m++) {
        if (g_array_index(marks, Mark, m).kind == MARK_SAME)
            continue;
        unsigned from = m > context ? m - context : 0, last = m;
        /* Changes whose context would touch share a hunk. */
        for (unsigned n = m; n < marks->len && n <= last + 2 * context + 1; n++) {
            if (g_array_index(marks, Mark, n).kind != MARK_SAME)
                last = n;
        }
        unsigned to = MIN(last + context + 1, marks->len);
        hunk_print(out, &a, &b, marks, from, to);
        m = to - 1;
    }
    g_strfreev(a.line);
    g_strfreev(b.line);
    return g_string_free(out, FALSE);
}
