/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-change.c: a node's configuration and units */
#include "prepare/prepare-node.h"

#include <string.h>

#define SCRIPT_SECONDS 60

/* What is written is remembered, also where it is not known whether it was: a connection may end
 * between the writing and the answer. */
static bool
file_write(PrepareNode *node, const char *path, const NodeFile *file, const char *text,
           const char *mode, const char *owner, GError **err)
{
    NodeWrite *write = g_new0(NodeWrite, 1);
    g_autofree char *earlier = NULL;
    bool written = node_file_write(node->ssh, file, text, mode, owner, &earlier, err);

    write->path = g_strdup(path);
    write->old_text = g_strdup(file->text);
    write->sha256 = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    write->first = written && *earlier == '\0';
    g_ptr_array_add(node->writes, write);
    return written;
}

bool
node_file_make(PrepareNode *node, const char *step, const char *path, const NodeFile *file,
               const char *text, const char *mode, const char *owner, bool *changed, GError **err)
{
    g_autoptr(NodeFile) read = NULL;

    *changed = false;
    if (file == NULL) {
        file = read = node_file_read(node->ssh, path, err);
        if (read == NULL)
            return false;
    }
    g_autofree char *diff = text_diff(path, file->text, text, 3);
    if (*diff == '\0')
        return true;
    if (!node->run->options->dry_run && !file_write(node, path, file, text, mode, owner, err))
        return false;
    *changed = true;
    if (step != NULL)
        node_step(node, step, STEP_CHANGED, diff);
    return true;
}

/* Set keys in one of libvirt's files; one that is not there yet (a dry run before the packages are
 * installed) is taken for empty. */
static bool
conf_make(PrepareNode *node, const char *step, const char *path, const ConfSetting *settings,
          bool *changed, GError **err)
{
    g_autoptr(NodeFile) file = node_file_read(node->ssh, path, err);
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);

    if (file == NULL)
        return false;
    g_autofree char *text = conf_edit(file->text != NULL ? file->text : "", settings, notices, err);
    if (text == NULL) {
        g_prefix_error(err, "%s: %s: ", ssh_name(node->ssh), path);
        return false;
    }
    for (unsigned i = 0; i < notices->len; i++) {
        g_autofree char *notice =
            g_strdup_printf("%s: %s", path, (const char *)g_ptr_array_index(notices, i));
        node_step(node, step, STEP_RUNNING, notice);
    }
    if (!node_file_make(node, step, path, file, text, "0644", "root:root", changed, err))
        return false;
    if (!*changed)
        node_step(node, step, STEP_SAME, NULL);
    node->restart = node->restart || *changed;
    return true;
}

bool
step_libvirt(PrepareNode *node, GError **err)
{
    NodeSettings settings = node_settings(node);
    ConfSetting *wanted = settings_libvirtd(&settings, err);
    bool changed;
    bool good = wanted != NULL &&
                conf_make(node, "libvirt", daemon_units[node->mode].conf, wanted, &changed, err);
    settings_free(wanted);
    return good;
}

/* QEMU's user must exist before a file names it: libvirtd would not start. */
static bool
qemu_user_check(PrepareNode *node, const NodeSettings *settings, GError **err)
{
    static const char body[] =
        "getent passwd \"$1\" >/dev/null || { echo \"there is no user $1\" >&2; exit 1; }\n"
        "getent group \"$2\" >/dev/null || { echo \"there is no group $2\" >&2; exit 1; }";
    const char *const args[] = {settings->qemu_user, settings->qemu_group, NULL};
    return node->run->options->dry_run ||
           ssh_script(node->ssh, body, args, SCRIPT_SECONDS, NULL, err);
}

bool
step_qemu(PrepareNode *node, GError **err)
{
    NodeSettings settings = node_settings(node);
    bool changed;

    if (!qemu_user_check(node, &settings, err))
        return false;
    ConfSetting *wanted = settings_qemu(&settings, err);
    bool good = wanted != NULL && conf_make(node, "qemu", NODE_QEMU_CONF, wanted, &changed, err);
    settings_free(wanted);
    return good;
}

/* libvirtd does not start with --listen when systemd listens for it: an earlier drop-in is emptied.
 */
static bool
listen_reset(PrepareNode *node, const char *listener, bool *reset, GError **err)
{
    g_autofree char *path = g_strdup_printf("/etc/systemd/system/%s.d/godwit.conf", listener);
    g_autoptr(NodeFile) file = NULL;

    *reset = false;
    if (node->mode == DAEMON_LISTEN)
        return true;
    file = node_file_read(node->ssh, path, err);
    return file != NULL &&
           (file->text == NULL || *file->text == '\0' ||
            node_file_make(node, "units", path, file, "", "0644", "root:root", reset, err));
}

bool
step_units(PrepareNode *node, GError **err)
{
    NodeSettings settings = node_settings(node);
    const DaemonUnits *units = &daemon_units[node->mode];
    g_autofree char *text = NULL;
    g_autofree char *path = unit_drop_in(&settings, node->distro->libvirtd, &text);
    bool changed, reset;

    if (!listen_reset(node, units->listener, &reset, err))
        return false;
    if (path == NULL) {
        node_step(node, "units", STEP_SAME, "no listener: libvirt is reached through ssh");
        node->restart = node->restart || reset;
        return true;
    }
    if (!node_file_make(node, "units", path, NULL, text, "0644", "root:root", &changed, err))
        return false;
    if (!changed && !reset)
        node_step(node, "units", STEP_SAME, NULL);
    node->restart = node->restart || changed || reset;
    return true;
}
