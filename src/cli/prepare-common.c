/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* prepare-common.c: what the commands share that go to nodes over ssh */
#include "cli/cli.h"
#include "prepare/prepare.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ACCOUNT_MAX 32 /* as useradd has it */

static int cancel_fd = -1;
static volatile sig_atomic_t is_interrupted;

/* Only what a signal handler may do. */
static void
on_interrupt(int number)
{
    uint64_t one = 1;
    int saved = errno;
    ssize_t ignored = write(cancel_fd, &one, sizeof one);
    (void)ignored;
    is_interrupted = 1;
    errno = saved;
}

bool
cli_is_interrupted(void)
{
    return is_interrupted;
}

int
cli_interrupt_fd(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    if (cancel_fd < 0) {
        cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (cancel_fd >= 0)
            sigaction(SIGINT, &action, NULL);
    }
    return cancel_fd;
}

bool
cli_account_check(const CliArgs *args, const char *option, GError **err)
{
    const char *name = args_text(args, option);
    size_t length = name ? strlen(name) : 0;

    if (!name ||
        (length >= 1 && length <= ACCOUNT_MAX && (g_ascii_isalnum(*name) || *name == '_') &&
         strspn(name, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._-") == length))
        return true;

    g_autofree char *shown = g_strescape(name, NULL);

    return usage_error(err, "--%s takes the name of a user or group on the nodes, not \"%.100s\"",
                       option, shown);
}

char *
cli_text_clean(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *out = g_string_new(NULL);

    for (const char *p = valid; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);

        g_string_append_unichar(out, c == '\n' || c == '\t' || g_unichar_isprint(c) ? c : '?');
    }
    return g_string_free(out, FALSE);
}

bool
cli_client_ensure(Cli *cli, GError **err)
{
    if (!cli->client) {
        CloudConfig *config = cloud_config_load(cli->args, err);

        if (config)
            cli->client = client_new(config);
    }
    return cli->client != NULL;
}

NodeTarget **
cli_targets_parse(const GPtrArray *words, unsigned *n, GError **err)
{
    NodeTarget **targets = g_new0(NodeTarget *, words->len + 1);

    for (unsigned i = 0; i < words->len; i++) {
        targets[i] = node_target_parse(g_ptr_array_index(words, i), err);
        if (!targets[i]) {
            cli_targets_free(targets);
            return NULL;
        }
    }
    *n = words->len;
    return targets;
}

void
cli_targets_free(NodeTarget **targets)
{
    for (NodeTarget **target = targets; target && *target; target++)
        node_target_free(*target);
    g_free(targets);
}
