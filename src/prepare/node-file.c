/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* node-file.c: files on a node: read, replaced in one step, put back
 *
 * Below the backup directory lies, for every file that Godwit ever wrote, what was there before the
 * first time: DIR/etc/libvirt/qemu.conf, or DIR/etc/….absent where there was nothing. DIR/written
 * has the checksum of what was written last, in the format of sha256sum, so that undo and drift can
 * tell our file from one that somebody changed. */
#include "prepare/prepare-priv.h"

#include <string.h>

#define FILE_MAX_BYTES (1024 * 1024)
#define FILE_SECONDS   30

static const char read_script[] =
    "set -eu\n"
    "if [ ! -e \"$1\" ]; then echo absent; exit 0; fi\n"
    "if [ ! -f \"$1\" ]; then echo \"$1 is not a file\" >&2; exit 1; fi\n"
    "if [ \"$(stat -L -c %s -- \"$1\")\" -gt \"$2\" ]; then\n"
    "  echo \"$1 is larger than $2 bytes\" >&2; exit 1\n"
    "fi\n"
    "sha256sum <\"$1\" | cut -d' ' -f1\n"
    "base64 <\"$1\"";

/* $1 path, $2 checksum as read, $3 mode, $4 owner, $5 backup directory */
static const char write_script_head[] =
    "set -eu\n"
    "umask 077\n"
    "path=$(readlink -m -- \"$1\")\n"
    "sum() { if [ -e \"$1\" ]; then sha256sum <\"$1\" | cut -d' ' -f1; else echo absent; fi; }\n"
    "if [ \"$(sum \"$path\")\" != \"$2\" ]; then exit 75; fi\n"
    "backup=$5$path\n"
    "dir=$(dirname -- \"$path\")\n"
    "if [ ! -e \"$backup\" ] && [ ! -e \"$backup.absent\" ]; then\n"
    "  mkdir -p -- \"$(dirname -- \"$backup\")\"\n"
    "  if [ -e \"$path\" ]; then\n"
    "    cp -p -- \"$path\" \"$backup.new\"; mv -f -- \"$backup.new\" \"$backup\"\n"
    "  else\n"
    "    : >\"$backup.absent\"\n"
    "  fi\n"
    "fi\n"
    "(umask 022; mkdir -p -- \"$dir\")\n"
    "new=$(mktemp -- \"$dir/.godwit.XXXXXX\")\n"
    "trap 'rm -f -- \"$new\"' EXIT\n"
    "base64 -d >\"$new\" <<'END_OF_CONTENTS'\n";
static const char write_script_tail[] =
    "END_OF_CONTENTS\n"
    "if [ -e \"$path\" ]; then\n"
    "  chown --reference=\"$path\" -- \"$new\"; chmod --reference=\"$path\" -- \"$new\"\n"
    "else\n"
    "  chown -- \"$4\" \"$new\"; chmod -- \"$3\" \"$new\"\n"
    "fi\n"
    "sync -- \"$new\"\n"
    "written=$5/written\n"
    "touch -- \"$written\"\n"
    "{ while read -r s p; do [ \"$p\" = \"$path\" ] || echo \"$s  $p\"; done <\"$written\"\n"
    "  echo \"$(sum \"$new\")  $path\"; } >\"$written.new\"\n"
    "mv -f -- \"$new\" \"$path\"\n"
    "trap - EXIT\n"
    "mv -f -- \"$written.new\" \"$written\"\n"
    "if command -v restorecon >/dev/null 2>&1; then restorecon -- \"$path\" || true; fi";

static const char undo_script[] =
    "set -eu\n"
    "dir=$1\n"
    "left=0\n"
    "if [ ! -d \"$dir\" ]; then exit 0; fi\n"
    "cd -- \"$dir\"\n"
    "while read -r sum path; do\n"
    "  if [ -e \"$path\" ] && [ \"$(sha256sum <\"$path\" | cut -d' ' -f1)\" != \"$sum\" ]; then\n"
    "    echo \"left $path\"; left=1; continue\n"
    "  fi\n"
    "  if [ -e \".$path\" ]; then\n"
    "    cp -p -- \".$path\" \"$path.godwit-undo\"; mv -f -- \"$path.godwit-undo\" \"$path\"\n"
    "    echo \"restored $path\"\n"
    "  elif [ -e \".$path.absent\" ]; then\n"
    "    rm -f -- \"$path\"; echo \"removed $path\"\n"
    "  fi\n"
    "done <written\n"
    "if [ $left = 0 ]; then cd /; rm -rf -- \"$dir\"; fi";

static const char drift_script[] =
    "set -eu\n"
    "if [ ! -e \"$1/written\" ]; then exit 0; fi\n"
    "while read -r sum path; do\n"
    "  if [ ! -e \"$path\" ]; then echo \"missing $path\"\n"
    "  elif [ \"$(sha256sum <\"$path\" | cut -d' ' -f1)\" != \"$sum\" ]; then\n"
    "    echo \"changed $path\"; fi\n"
    "done <\"$1/written\"";

/* The answer to read_script: a checksum, then base64. */
static bool
contents_parse(NodeFile *file, const char *answer, GError **err)
{
    const char *end = strchr(answer, '\n');
    size_t size = 0;

    if (g_str_equal(answer, "absent\n")) {
        file->sha256 = g_strdup("absent");
        return true;
    }
    if (end == NULL || end - answer != 64)
        return err_set(err, ERR_BACKEND, "%s could not be read: the node's answer makes no sense",
                       file->path);
    file->sha256 = g_strndup(answer, 64);
    unsigned char *bytes = g_base64_decode(end + 1, &size);
    g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, bytes, size);
    file->text = g_strndup((const char *)bytes, size);
    g_free(bytes);
    if (!g_str_equal(sum, file->sha256))
        return err_set(err, ERR_BACKEND, "%s came over damaged", file->path);
    if (strlen(file->text) != size)
        return err_set(err, ERR_INVALID, "%s is not a text: it contains zero bytes", file->path);
    return true;
}

NodeFile *
node_file_read(NodeSsh *ssh, const char *path, GError **err)
{
    g_autofree char *most = g_strdup_printf("%d", FILE_MAX_BYTES);
    const char *const args[] = {path, most, NULL};
    g_autofree char *answer = NULL;
    g_autoptr(NodeFile) file = g_new0(NodeFile, 1);

    file->path = g_strdup(path);
    if (!ssh_script(ssh, read_script, args, FILE_SECONDS, &answer, err))
        return NULL;
    if (!contents_parse(file, answer, err)) {
        g_prefix_error(err, "%s: ", ssh_name(ssh));
        return NULL;
    }
    return g_steal_pointer(&file);
}

void
node_file_free(NodeFile *file)
{
    if (file == NULL)
        return;
    g_free(file->path);
    g_free(file->text);
    g_free(file->sha256);
    g_free(file);
}

bool
node_file_write(NodeSsh *ssh, const NodeFile *file, const char *text, const char *mode,
                const char *owner, GError **err)
{
    const char *const args[] = {file->path, file->sha256, mode, owner, ssh_backup_dir(ssh), NULL};
    g_autoptr(GString) script = g_string_new(write_script_head);
    size_t size = strlen(text);
    g_autoptr(GError) error = NULL;

    for (size_t at = 0; at < size; at += 57) {
        g_autofree char *line =
            g_base64_encode((const unsigned char *)text + at, MIN(size - at, (size_t)57));
        g_string_append_printf(script, "%s\n", line);
    }
    g_string_append(script, write_script_tail);
    bool done = ssh_script(ssh, script->str, args, FILE_SECONDS, NULL, &error);
    explicit_bzero(script->str, script->len);
    if (done)
        return true;
    if (g_str_has_suffix(error->message, "(exit status 75)"))
        return err_set(err, ERR_CONFLICT,
                       "%s: %s was changed by somebody else in this very moment; nothing was "
                       "written, run it again",
                       ssh_name(ssh), file->path);
    g_propagate_prefixed_error(err, g_steal_pointer(&error), "writing %s: ", file->path);
    return false;
}

bool
node_files_undo(NodeSsh *ssh, char **report, GError **err)
{
    const char *const args[] = {ssh_backup_dir(ssh), NULL};
    return ssh_script(ssh, undo_script, args, FILE_SECONDS, report, err);
}

bool
node_files_drift(NodeSsh *ssh, char **report, GError **err)
{
    const char *const args[] = {ssh_backup_dir(ssh), NULL};
    return ssh_script(ssh, drift_script, args, FILE_SECONDS, report, err);
}
