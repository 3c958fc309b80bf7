/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-live.c: the table of steps on a terminal, drawn over itself
 *
 * Nothing is switched on that would have to be switched off again: the cursor is moved up over the
 * former table, which is overwritten, and stands below the new one when all is written. */
#include "cli/step-table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct StepLive {
    FILE *out;
    StepTable *table;
    char *drawn; /* what stands there now */
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    pthread_t ticker;
    bool is_over;
};

/* Asked each time: it may have been resized. */
static void
screen_size(FILE *out, unsigned *width, unsigned *height)
{
    struct winsize size = {0};
    int64_t columns = 80, lines = 24;
    const char *columns_set = getenv("COLUMNS"), *lines_set = getenv("LINES");

    if (columns_set)
        parse_int64(columns_set, 1, 10000, &columns);
    if (lines_set)
        parse_int64(lines_set, 1, 10000, &lines);
    ioctl(fileno(out), TIOCGWINSZ, &size);
    *width = size.ws_col ? size.ws_col : (unsigned)columns;
    *height = size.ws_row ? size.ws_row : (unsigned)lines;
}

/* With the mutex held. All at once, so that no half-drawn table is seen. */
static void
draw(StepLive *live, const char *above)
{
    GString *text = g_string_new(NULL);
    unsigned width, height, rows;

    screen_size(live->out, &width, &height);
    rows = live->drawn ? step_table_rows(live->drawn, width) : 0;
    if (rows > 0)
        g_string_append_printf(text, "\r\033[%uA\033[J", MIN(rows, height - 1));
    g_string_append(text, above);
    g_free(live->drawn);
    live->drawn = step_table_render(live->table, width, height, clock_monotonic());
    g_string_append(text, live->drawn);
    fwrite(text->str, 1, text->len, live->out);
    fflush(live->out);
    g_string_free(text, TRUE);
}

static void
tick(void *opaque)
{
    StepLive *live = opaque;
    WITH_MUTEX(&live->mutex);

    while (!live->is_over) {
        if (!cond_wait_until(&live->cond, &live->mutex, clock_monotonic() + USEC_PER_SEC))
            draw(live, "");
    }
}

StepLive *
step_live_new(FILE *out, const char *head, const char *const *hosts, unsigned n)
{
    const char *term = getenv("TERM");
    StepLive *live;

    if (!isatty(fileno(out)) || !term || !*term || g_str_equal(term, "dumb"))
        return NULL;
    live = g_new0(StepLive, 1);
    live->out = out;
    live->table = step_table_new(head, hosts, n);
    pthread_mutex_init(&live->mutex, NULL);
    cond_init_monotonic(&live->cond);
    draw(live, "");
    live->ticker = thread_start("step-live", tick, live);
    return live;
}

void
step_live_event(StepLive *live, unsigned node, const char *step, StepState state,
                const char *detail)
{
    WITH_MUTEX(&live->mutex);

    step_table_event(live->table, node, step, state, detail, clock_monotonic());
    draw(live, "");
}

void
step_live_above(StepLive *live, const char *text)
{
    WITH_MUTEX(&live->mutex);

    draw(live, text);
}

void
step_live_end(StepLive *live)
{
    if (!live)
        return;
    pthread_mutex_lock(&live->mutex);
    live->is_over = true;
    draw(live, "");
    pthread_cond_signal(&live->cond);
    pthread_mutex_unlock(&live->mutex);
    pthread_join(live->ticker, NULL);
    pthread_cond_destroy(&live->cond);
    pthread_mutex_destroy(&live->mutex);
    step_table_free(live->table);
    g_free(live->drawn);
    g_free(live);
}
