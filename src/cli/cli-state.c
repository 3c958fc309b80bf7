/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-state.c: godwit state: a copy of the controllers' state while they run, and moving it between
 * a file and RADOS while they do not
 *
 * The copy comes over the API. Moving needs the state itself, its cluster and its lease: that is
 * the daemon's program, which this one becomes. */
#include "cli/cli.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
state_backup(Cli *cli, GError **err)
{
    const char *file = args_word(cli->args, 0);

    umask(077); /* it holds password hashes */
    if (!client_download(cli->client, SERVICE_GODWIT, "/state/backup", file, err))
        return false;
    cli_say(cli,
            "%s holds a consistent copy; to go back to it, stop godwitd, copy it to where state "
            "points, start godwitd",
            file);
    return true;
}

static bool
state_copy(Cli *cli, GError **err)
{
    static const char *const places[] = {"godwitd", "../sbin/godwitd", "../daemon/godwitd"};
    const char *config = args_text(cli->args, "config");
    const char *argv[] = {"godwitd",
                          "--config",
                          config ? config : "/etc/godwit/godwit.conf",
                          "state",
                          "copy",
                          args_word(cli->args, 0),
                          args_word(cli->args, 1),
                          NULL};
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = self ? g_path_get_dirname(self) : NULL;

    for (size_t i = 0; dir && i < G_N_ELEMENTS(places); i++) {
        g_autofree char *path = g_build_filename(dir, places[i], NULL);

        if (access(path, X_OK) == 0)
            execv(path, (char *const *)argv);
    }
    execvp(argv[0], (char *const *)argv);
    return err_set(
        err, ERR_NOT_FOUND,
        "cannot run godwitd: %s. Run this on a controller: \"godwitd state copy FROM TO\"",
        errno_text(errno));
}

static const CliOption copy_options[] = {
    {"config", CLI_TEXT, "FILE", "godwitd's configuration (/etc/godwit/godwit.conf)"},
    {0},
};

const CliCommand state_commands[] = {
    {"state backup", "FILE", 1, 1, NULL, state_backup,
     "take a consistent copy of the state while the controllers run"},
    {"state copy", "FROM TO", 2, 2, copy_options, state_copy,
     "on a controller, all of them stopped: move the state (a path or rados:POOL/NAMESPACE/NAME)",
     .is_local = true},
    {0},
};
