/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-ceph.c: where a node finds the Ceph cluster
 *
 * The address of the monitors only. Keys never come by this way: QEMU gets them from libvirt's
 * secrets, guest by guest. A file that belongs to another cluster may serve somebody's guests, so
 * it is never replaced. */
#include "prepare/prepare-node.h"

#include <string.h>

#define SCRIPT_SECONDS 30
#define CEPH_CONF      "/etc/ceph/ceph.conf"
#define TEXT_MAX       65536

char *
ceph_conf_value(const char *text, const char *key)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **line = lines; *line != NULL; line++) {
        char *value = strchr(*line, '=');
        if (value == NULL)
            continue;
        *value++ = '\0';
        g_strstrip(*line);
        g_strdelimit(*line, " -", '_'); /* Ceph takes these for the same */
        if (g_ascii_strcasecmp(*line, key) != 0)
            continue;
        value[strcspn(value, "#;")] = '\0';
        g_strstrip(value);
        return g_strdup(value);
    }
    return NULL;
}

bool
ceph_conf_check(const char *text, GError **err)
{
    g_autofree char *fsid = ceph_conf_value(text, "fsid"), *key = ceph_conf_value(text, "key");

    if (strlen(text) > TEXT_MAX || !g_utf8_validate(text, -1, NULL))
        return err_set(err, ERR_INVALID,
                       "the file for " CEPH_CONF " is not a text of at most %d "
                       "bytes",
                       TEXT_MAX);
    if (key != NULL)
        return err_set(err, ERR_INVALID,
                       "the file for " CEPH_CONF " holds a key; every user of the nodes could read "
                       "it. Take it out: libvirt gets the key from the controller");
    if (fsid == NULL || !uuid_is_valid(fsid))
        return err_set(err, ERR_INVALID,
                       "the file for " CEPH_CONF " does not name its cluster: it needs the line "
                       "\"fsid = …\" that \"ceph config generate-minimal-conf\" prints");
    return true;
}

/* $1 backup directory, $2 path: did Godwit write the file as it is? */
static const char ours_script[] =
    "path=$(readlink -m -- \"$2\")\n"
    "sum=$(sha256sum <\"$path\" 2>/dev/null | cut -d' ' -f1)\n"
    "! grep -qxF \"$sum  $path\" \"$1/written\" 2>/dev/null || echo ours";

bool
step_ceph_look(PrepareNode *node, GError **err)
{
    const char *wanted = node->run->options->ceph_conf;
    const char *const args[] = {ssh_backup_dir(node->ssh), CEPH_CONF, NULL};
    g_autoptr(NodeFile) file = NULL;
    g_autofree char *answer = NULL;

    if (wanted == NULL)
        return true;
    if (!(file = node_file_read(node->ssh, CEPH_CONF, err)) ||
        !ssh_script(node->ssh, ours_script, args, SCRIPT_SECONDS, &answer, err))
        return false;
    if (file->text == NULL || *answer != '\0')
        return true;
    g_autofree char *is = ceph_conf_value(file->text, "fsid");
    g_autofree char *be = ceph_conf_value(wanted, "fsid");
    if (is != NULL && g_ascii_strcasecmp(is, be) == 0)
        return true;
    bool clean = is != NULL && text_is_clean(is, 64, false);
    return err_set(err, ERR_CONFLICT,
                   "%s: " CEPH_CONF " there belongs to another cluster (fsid %s, not %s), whose "
                   "guests may need it. If nobody does, move it away there (mv " CEPH_CONF
                   " " CEPH_CONF ".old) and run the same again; else leave this file out",
                   node->target->text, clean ? is : "none", be);
}

bool
step_ceph(PrepareNode *node, GError **err)
{
    const char *wanted = node->run->options->ceph_conf;
    g_autofree char *text = NULL;
    bool changed;

    if (wanted == NULL)
        return true;
    text = g_strconcat(wanted, g_str_has_suffix(wanted, "\n") ? "" : "\n", NULL);
    if (!node_file_make(node, "ceph", CEPH_CONF, NULL, text, "0644", "root:root", &changed, err))
        return false;
    if (!changed)
        node_step(node, "ceph", STEP_SAME, NULL);
    return true;
}
