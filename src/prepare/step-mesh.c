/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-mesh.c: one user of every node may run commands as the same user on every other node
 *
 * What cold moves of some systems and libvirt's ssh transport rest on. Each node makes its own key;
 * public keys and host keys were read over the operator's connections, whose host keys ssh checked,
 * so known_hosts says what he trusts, and checking stays on. Godwit's lines stand in marked blocks
 * of the user's files; the keys are good for commands only (restrict). */
#include "prepare/prepare-node.h"

#include <string.h>

#define SCRIPT_SECONDS 60

/* $1 user, $2 "shell" if one may be given to him, $3 "look" if nothing may be made: home=, key=,
 * group= and host= lines, and noshell= with the shell that is none */
static const char keys_script[] =
    "set -eu\n"
    "user=$1\n"
    "entry=$(getent passwd \"$user\") || { echo \"there is no user $user\" >&2; exit 1; }\n"
    "home=$(printf '%s' \"$entry\" | cut -d: -f6); shell=$(printf '%s' \"$entry\" | cut -d: -f7)\n"
    "case $shell in\n"
    "*/nologin | */false)\n"
    "  if [ \"$2\" != shell ]; then\n"
    "    echo \"the user $user has no shell ($shell), so ssh cannot run anything; say --mesh-shell "
    "to "
    "give him /bin/sh\" >&2; exit 1\n"
    "  fi\n"
    "  echo \"noshell=$shell\" ;;\n"
    "esac\n"
    "[ -d \"$home\" ] || { echo \"$user has no home directory ($home)\" >&2; exit 1; }\n"
    "group=$(id -gn \"$user\")\n"
    "[ \"$user\" = root ] ||\n"
    "  for f in .ssh .ssh/known_hosts .ssh/authorized_keys .ssh/config; do\n"
    "    [ ! -L \"$home/$f\" ] || {\n"
    "      echo \"$home/$f is a symbolic link: root would write wherever $user lets it lead; put a "
    "file "
    "or directory of his own there\" >&2; exit 1; }\n"
    "  done\n"
    "if [ \"$3\" != look ]; then\n"
    "  [ -d \"$home/.ssh\" ] || install -d -m 700 -o \"$user\" -g \"$group\" \"$home/.ssh\"\n"
    "  if [ ! -s \"$home/.ssh/id_godwit.pub\" ]; then\n"
    "    rm -f \"$home/.ssh/id_godwit\"\n"
    "    ssh-keygen -q -t ed25519 -N '' -C godwit -f \"$home/.ssh/id_godwit\"\n"
    "    chown \"$user:$group\" \"$home/.ssh/id_godwit\" \"$home/.ssh/id_godwit.pub\"\n"
    "  fi\n"
    "fi\n"
    "echo \"home=$home\"; echo \"group=$group\"\n"
    "[ ! -s \"$home/.ssh/id_godwit.pub\" ] ||\n"
    "  echo \"key=$(cut -d' ' -f1,2 \"$home/.ssh/id_godwit.pub\")\"\n"
    "for f in /etc/ssh/ssh_host_*_key.pub; do echo \"host=$(cut -d' ' -f1,2 \"$f\")\"; done";

static const char *
mesh_user(const PrepareNode *node)
{
    const PrepareOptions *options = node->run->options;
    return options->transport == TRANSPORT_SSH ? "root" : options->mesh_user;
}

static void
keys_parse(PrepareNode *node, const char *answer)
{
    g_auto(GStrv) lines = g_strsplit(answer, "\n", 50);

    node->host_keys = g_ptr_array_new_with_free_func(g_free);
    for (char **line = lines; *line != NULL; line++) {
        if (g_str_has_prefix(*line, "home="))
            node->mesh_home = g_strdup(*line + strlen("home="));
        else if (g_str_has_prefix(*line, "group="))
            node->mesh_group = g_strdup(*line + strlen("group="));
        else if (g_str_has_prefix(*line, "noshell="))
            node->mesh_no_shell = g_strdup(*line + strlen("noshell="));
        else if (g_str_has_prefix(*line, "key="))
            node->mesh_key = g_strdup(*line + strlen("key="));
        else if (g_str_has_prefix(*line, "host=ssh-ed25519 ") ||
                 g_str_has_prefix(*line, "host=ecdsa-") || g_str_has_prefix(*line, "host=ssh-rsa "))
            g_ptr_array_add(node->host_keys, g_strdup(*line + strlen("host=")));
    }
    g_ptr_array_add(node->host_keys, NULL);
}

bool
step_keys(PrepareNode *node, GError **err)
{
    const char *user = mesh_user(node);
    bool dry = node->run->options->dry_run;
    const char *const args[] = {user, node->run->options->mesh_shell ? "shell" : "",
                                dry ? "look" : "", NULL};
    g_autofree char *answer = NULL;

    if (user == NULL)
        return true;
    if (!ssh_script(node->ssh, keys_script, args, SCRIPT_SECONDS, &answer, err))
        return false;
    keys_parse(node, answer);
    node->mesh_user = user;
    if (node->mesh_home == NULL || *node->mesh_home != '/' || node->mesh_group == NULL ||
        (node->mesh_key == NULL && !dry) || node->host_keys->len < 2)
        return err_set(err, ERR_BACKEND, "%s: its answer about ssh keys makes no sense",
                       node->target->text);
    return true;
}

/* A run that names fewer nodes than an earlier one shuts the others out: not in silence. */
static void
dropped_tell(PrepareNode *node, const char *old_text, const char *block)
{
    g_auto(GStrv) old = g_strsplit_set(old_text, " \n", -1), now = g_strsplit_set(block, " \n", -1);
    g_autoptr(GString) dropped = g_string_new(NULL);

    for (char **word = old; *word != NULL; word++) {
        if (g_str_has_prefix(*word, "godwit:") && strlen(*word) > strlen("godwit:") &&
            text_is_clean(*word, 300, false) && !g_strv_contains((const char *const *)now, *word))
            g_string_append_printf(dropped, " %s", *word + strlen("godwit:"));
    }
    if (dropped->len == 0)
        return;
    g_autofree char *notice = g_strdup_printf(
        "no longer let in by ssh, as they are not nodes of this run:%s; to keep them, name all "
        "nodes of the mesh",
        dropped->str);
    node_step(node, "ssh-mesh", STEP_RUNNING, notice);
}

static bool
block_make(PrepareNode *node, const char *name, const char *block, bool on_top, bool *changed,
           GError **err)
{
    g_autofree char *path = g_strdup_printf("%s/.ssh/%s", node->mesh_home, name);
    g_autofree char *owner = g_strdup_printf("%s:%s", mesh_user(node), node->mesh_group);
    g_autoptr(NodeFile) file = node_file_read(node->ssh, path, err);

    if (file == NULL)
        return false;
    g_autofree char *text = block_edit(file->text != NULL ? file->text : "", block, on_top, err);
    if (text == NULL) {
        g_prefix_error(err, "%s: %s: ", node->target->text, path);
        return false;
    }
    if (file->text != NULL)
        dropped_tell(node, file->text, block);
    return node_file_make(node, "ssh-mesh", path, file, text, "0600", owner, changed, err);
}

/* $1 backup directory, $2 user, $3 his shell so far, which undo gives back */
static const char shell_script[] =
    "set -eu\n"
    "umask 077; mkdir -p -- \"$1\"; touch -- \"$1/shells\"\n"
    "grep -q \"^$2 \" \"$1/shells\" || echo \"$2 $3\" >>\"$1/shells\"\n"
    "usermod -s /bin/sh \"$2\"";

static bool
shell_give(PrepareNode *node, GError **err)
{
    const char *const args[] = {ssh_backup_dir(node->ssh), node->mesh_user, node->mesh_no_shell,
                                NULL};
    g_autofree char *detail = g_strdup_printf("%s has the shell /bin/sh now, instead of %s",
                                              node->mesh_user, node->mesh_no_shell);

    if (node->run->options->dry_run) {
        node_step(node, "ssh-mesh", STEP_CHANGED, detail);
        return true;
    }
    node->shell_before = g_strdup(node->mesh_no_shell);
    if (!ssh_script(node->ssh, shell_script, args, SCRIPT_SECONDS, NULL, err))
        return false;
    node_step(node, "ssh-mesh", STEP_CHANGED, detail);
    return true;
}

bool
step_mesh(PrepareNode *node, GError **err)
{
    const PrepareRun *run = node->run;
    const char *user = mesh_user(node);
    g_autofree MeshKey *keys = NULL;
    g_autoptr(GPtrArray) names = NULL;
    bool changed[3] = {false, false, false};

    if (user == NULL)
        return true;
    for (unsigned i = 0; i < run->n; i++) {
        if (run->nodes[i].mesh_key == NULL) {
            node_step(node, "ssh-mesh", STEP_CHANGED,
                      "would make keys, and let them in on every other node");
            return true;
        }
    }
    keys = g_new0(MeshKey, run->n);
    names = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    for (unsigned i = 0; i < run->n; i++) {
        GPtrArray *own = node_names(&run->nodes[i]);
        g_ptr_array_add(own, NULL);
        g_ptr_array_add(names, own);
        keys[i].names = (const char *const *)own->pdata;
        keys[i].host_keys = (const char *const *)run->nodes[i].host_keys->pdata;
        keys[i].user_key = run->nodes[i].mesh_key;
    }
    if (node->mesh_no_shell != NULL && !shell_give(node, err))
        return false;
    g_autofree char *known = render_known_hosts(keys, run->n, err);
    g_autofree char *allowed = known != NULL ? render_authorized_keys(keys, run->n, err) : NULL;
    g_autofree char *config = render_ssh_config(keys, run->n, user);

    if (allowed == NULL || !block_make(node, "known_hosts", known, false, &changed[0], err) ||
        !block_make(node, "authorized_keys", allowed, false, &changed[1], err) ||
        !block_make(node, "config", config, true, &changed[2], err))
        return false;
    if (!changed[0] && !changed[1] && !changed[2] && node->shell_before == NULL)
        node_step(node, "ssh-mesh", STEP_SAME, NULL);
    return true;
}

/* $1 user, then names and addresses of the others */
static const char check_script[] =
    "set -u\n"
    "user=$1; shift\n"
    "for host in \"$@\"; do\n"
    "  runuser -u \"$user\" -- ssh -o ConnectTimeout=10 \"$host\" true </dev/null ||\n"
    "    { echo \"$user cannot run ssh $host\" >&2; exit 1; }\n"
    "done";

bool
step_mesh_check(PrepareNode *node, GError **err)
{
    const PrepareRun *run = node->run;
    const char *user = mesh_user(node);
    g_autoptr(GPtrArray) args = g_ptr_array_new();

    if (user == NULL)
        return true;
    g_ptr_array_add(args, (void *)user);
    for (unsigned i = 0; i < run->n; i++) {
        if (i != node->index)
            g_ptr_array_add(args, g_ptr_array_index(run->nodes[i].addresses, 0));
    }
    g_ptr_array_add(args, NULL);
    if (!ssh_script(node->ssh, check_script, (const char *const *)args->pdata,
                    SCRIPT_SECONDS + 15 * (int)run->n, NULL, err))
        return false;
    g_autofree char *detail = g_strdup_printf("%s runs commands on every other node", user);
    node_step(node, "ssh-check", STEP_SAME, detail);
    return true;
}
