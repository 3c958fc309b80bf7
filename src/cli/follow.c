/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* follow.c: stay with something that godwitd does until it has ended
 *
 * What is followed belongs to godwitd, not to this command: Ctrl-C ends the watching only, and a
 * controller that is away (restarted, or its place taken by another) is waited for. */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define POLL_MS       1000
#define POLL_PLAIN_MS 250
#define PLAIN_LINE_US (5 * USEC_PER_SEC)
#define GONE_WAIT_US  (120 * USEC_PER_SEC) /* a controller that is restarted is back by then */

typedef struct Display {
    bool quiet; /* --json: no progress at all */
    bool is_tty;
    bool line_open;
    char *phase;
    int64_t shown_us;
} Display;

static unsigned
terminal_width(FILE *stream)
{
    struct winsize size = {0};

    return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col - 1u
                                                                             : 79u;
}

static void
display_end(Display *display)
{
    if (display->line_open)
        fputc('\n', stderr);
    display->line_open = false;
    g_clear_pointer(&display->phase, g_free);
}

/* On a terminal the line is redrawn; elsewhere a new one is written when the phase changes, or at
 * times. */
static void
display_progress(Display *display, const Follow *follow, const json_t *object)
{
    int64_t now = clock_monotonic();
    g_autofree char *phase = cell_text(json_at(object, follow->phase_key), CELL_TEXT);
    bool is_new = g_strcmp0(phase, display->phase) != 0;

    if (display->quiet || !follow->line ||
        (!display->is_tty && !is_new && now - display->shown_us < PLAIN_LINE_US))
        return;

    g_autofree char *line =
        follow->line(object, display->is_tty ? terminal_width(stderr) : UINT_MAX);

    if (!line)
        return;

    g_autofree char *clean = cli_text_clean(line);

    if (display->is_tty)
        fprintf(stderr, "\r%s\033[K", clean);
    else
        fprintf(stderr, "%s\n", clean);
    fflush(stderr);
    display->line_open = display->is_tty;
    display->shown_us = now;
    g_free(display->phase);
    display->phase = g_steal_pointer(&phase);
}

bool
cli_controller_away(const Follow *follow, bool quiet, int64_t *since, GError **error, GError **err)
{
    int64_t now = clock_monotonic();

    if (!err_is(*error, ERR_UNREACHABLE) && !err_is(*error, ERR_TIMEOUT) &&
        !err_is(*error, ERR_BUSY)) {
        g_propagate_error(err, g_steal_pointer(error));
        return false;
    }
    if (*since == 0) {
        if (!quiet)
            fprintf(stderr, "godwitd does not answer; %s; waiting for godwitd to come back ...\n",
                    follow->meanwhile);
        *since = now;
    } else if (now - *since > GONE_WAIT_US) {
        g_propagate_prefixed_error(
            err, g_steal_pointer(error),
            "how %s ended is not known, godwitd has not answered for %d s; see %s: ", follow->what,
            (int)(GONE_WAIT_US / USEC_PER_SEC), follow->again);
        return false;
    }
    g_clear_error(error);
    g_usleep(500 * USEC_PER_MSEC);
    return true;
}

static char *
next_path(const Follow *follow, int64_t updated)
{
    return follow->long_poll && updated >= 0
               ? g_strdup_printf("%s?since=%" PRId64 "&wait_ms=%d", follow->path, updated, POLL_MS)
               : g_strdup(follow->path);
}

json_t *
cli_follow(Cli *cli, const Follow *follow, GError **err)
{
    Display display = {.quiet = cli->json, .is_tty = isatty(STDERR_FILENO)};
    ClientService service = follow->of_compute ? SERVICE_COMPUTE : SERVICE_GODWIT;
    int64_t gone_since = 0, updated = -1;

    client_catch_interrupt();
    for (;;) {
        g_autofree char *path = next_path(follow, updated);
        g_autoptr(GError) error = NULL;
        g_autoptr(json_t) object =
            client_is_interrupted() ? NULL : cli_get(cli, service, path, follow->key, &error);

        if (client_is_interrupted()) {
            display_end(&display);
            err_set(err, ERR_CANCELLED, "stopped watching; %s itself goes on. See how it fares: %s",
                    follow->what, follow->again);
            return NULL;
        }
        if (!object && follow->until_gone && err_is(error, ERR_NOT_FOUND)) {
            display_end(&display);
            return json_null();
        }
        if (!object) {
            display_end(&display);
            if (cli_controller_away(follow, display.quiet, &gone_since, &error, err))
                continue;
            return NULL;
        }
        gone_since = 0;
        updated = json_int_at(object, "updated_at");
        display_progress(&display, follow, object);
        if (follow->is_over(object)) {
            display_end(&display);
            return g_steal_pointer(&object);
        }
        if (!follow->long_poll)
            g_usleep(POLL_PLAIN_MS * USEC_PER_MSEC);
    }
}
