/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-undo.c: a node as it was: before this run, where that failed, or before Godwit first came */
#include "prepare/prepare-node.h"

#include <string.h>

#define SCRIPT_SECONDS 60

/* $1 user, $2 shell: only if nobody gave him another one since */
static const char shell_script[] =
    "[ \"$(getent passwd \"$1\" | cut -d: -f7)\" != /bin/sh ] || usermod -s \"$2\" \"$1\"";

static void
problem_add(GString *problems, GError **error)
{
    if (*error != NULL)
        g_string_append_printf(problems, "%s%s", problems->len > 0 ? "; " : "", (*error)->message);
    g_clear_error(error);
}

static void
files_put_back(PrepareNode *node, GString *problems)
{
    g_autoptr(GError) error = NULL;

    for (unsigned i = node->writes->len; i > 0; i--) {
        if (!node_file_put_back(node->ssh, g_ptr_array_index(node->writes, i - 1), &error))
            problem_add(problems, &error);
    }
}

static void
daemons_put_back(PrepareNode *node, GString *problems)
{
    g_autoptr(GError) error = NULL;
    const char *const shell[] = {node->mesh_user, node->shell_before, NULL};

    if (node->units_before != NULL)
        units_restore(node, node->units_before, &error);
    else if (node->reloaded)
        certificates_reload(node, &error);
    else if (node->writes->len > 0)
        ssh_script(node->ssh, "systemctl daemon-reload", NULL, SCRIPT_SECONDS, NULL, &error);
    problem_add(problems, &error);
    if (node->shell_before != NULL)
        ssh_script(node->ssh, shell_script, shell, SCRIPT_SECONDS, NULL, &error);
    problem_add(problems, &error);
}

/* What was noted beside the files goes with the last of them. */
static bool
backups_tidy(PrepareNode *node, GError **err)
{
    static const char tidy[] = "[ -s \"$1/written\" ] || rm -rf -- \"$1\"";
    const char *const args[] = {ssh_backup_dir(node->ssh), NULL};
    return ssh_script(node->ssh, tidy, args, SCRIPT_SECONDS, NULL, err);
}

static char *
paths_of(const PrepareNode *node)
{
    GString *paths = g_string_new(NULL);
    for (unsigned i = 0; i < node->writes->len; i++) {
        const NodeWrite *write = g_ptr_array_index(node->writes, i);
        g_string_append_printf(paths, " %s", write->path);
    }
    return g_string_free(paths, FALSE);
}

char *
node_put_back(PrepareNode *node)
{
    g_autoptr(GString) problems = g_string_new(NULL);
    g_autoptr(GError) error = NULL;

    if (node->writes->len == 0 && !node->firewall_loaded && node->units_before == NULL &&
        !node->reloaded && node->shell_before == NULL && !node->keys_kept)
        return g_strdup("nothing was changed there: works as before");
    ssh_shield(node->ssh, true);
    if (!ssh_script(node->ssh, "true", NULL, SCRIPT_SECONDS, NULL, &error)) {
        g_autofree char *paths = paths_of(node);
        return g_strdup_printf(
            "NOT put back, as it cannot be reached any more. When it can, run the same again, or "
            "\"godwit host prepare --undo %s\" for what was there before Godwit; changed so far:%s",
            node->target->text, paths);
    }
    /* Whoever took our lock over is at work there now. */
    if (!node->locked && !node_lock(node, &error)) {
        g_autofree char *paths = paths_of(node);
        return g_strdup_printf("NOT put back: %s. Changed so far:%s", error->message, paths);
    }
    firewall_put_back_begin(node, &error);
    problem_add(problems, &error);
    if (node->keys_kept)
        client_keys_put_back(node, &error);
    problem_add(problems, &error);
    files_put_back(node, problems);
    size_t so_far = problems->len;
    daemons_put_back(node, problems);
    /* A plaintext listener that could not be stopped stays behind the rules. */
    if (problems->len == so_far)
        firewall_put_back_end(node, &error);
    else if (node->firewall_loaded)
        g_string_append(problems, "; until then the new firewall rules stay in force");
    problem_add(problems, &error);
    if (problems->len == 0 && !backups_tidy(node, &error))
        problem_add(problems, &error);
    return problems->len == 0
               ? g_strdup("put back: works as before")
               : g_strdup_printf("put back, but not as a whole: %s. Mend that there and run the "
                                 "same again, or \"godwit host prepare --undo %s\"",
                                 problems->str, node->target->text);
}

/* ---- before Godwit first came ------------------------------------------------------------------
 */

/* $1 backup directory: gives shells back and says so; prints what is known of the units. */
static const char undo_script[] =
    "set -u\n"
    "dir=$1\n"
    "if [ -e \"$dir/shells\" ]; then\n"
    "  while read -r user shell; do\n"
    "    [ \"$(getent passwd \"$user\" | cut -d: -f7)\" = /bin/sh ] || continue\n"
    "    usermod -s \"$shell\" \"$user\" >&2 || exit 1\n"
    "  done <\"$dir/shells\"\n"
    "  rm -f -- \"$dir/shells\"\n"
    "fi\n"
    "[ ! -e \"$dir/units\" ] || cat \"$dir/units\"";

/* Files without which the daemons run as before: no restart was ever begun. */
static const char calm_script[] = "systemctl daemon-reload";

bool
step_undo(PrepareNode *node, GError **err)
{
    const char *const args[] = {ssh_backup_dir(node->ssh), NULL};
    g_autofree char *report = NULL, *units = NULL, *there = NULL;

    ssh_shield(node->ssh, true);
    if (!ssh_script(node->ssh, "[ ! -e \"$1/written\" ] || echo yes", args, SCRIPT_SECONDS, &there,
                    err))
        return false;
    if (*there == '\0') {
        node_step(node, "undo", STEP_SAME, "nothing of Godwit's is here");
        return true;
    }
    if (!ssh_script(node->ssh, undo_script, args, SCRIPT_SECONDS, &units, err) ||
        !firewall_disable(node, err) || !client_keys_put_back(node, err) ||
        !node_files_undo(node->ssh, &report, err))
        return false;
    if (!(*units != '\0' ? units_restore(node, units, err)
                         : ssh_script(node->ssh, calm_script, NULL, SCRIPT_SECONDS, NULL, err))) {
        g_prefix_error(err, "the files are back, but the daemons do not run as before: ");
        return false;
    }
    /* Not before: until now a plaintext listener may have been there. */
    if (!firewall_remove(node, err))
        return false;
    node->changed = true;
    g_strchomp(report);
    node_step(node, "undo", STEP_CHANGED, *report != '\0' ? report : "the daemons run as before");
    return backups_tidy(node, err);
}
