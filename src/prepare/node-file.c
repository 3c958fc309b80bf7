/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* node-file.c: files on a node: read, replaced in one step, put back
 *
 * Below the backup directory lies, for every file that Godwit ever wrote, what was there before the
 * first time: DIR/etc/libvirt/qemu.conf, or DIR/etc/….absent where there was nothing. DIR/written
 * has the checksum of what was written last, in the format of sha256sum, so that undo and drift can
 * tell our file from one that somebody changed. What was put back is forgotten: the directory goes
 * with its last file. */
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
    "touch -- \"$5/written\"\n"
    "while read -r s p; do [ \"$p\" != \"$path\" ] || echo \"$s\"; done <\"$5/written\"\n"
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
    "{ while read -r s p; do [ \"$p\" = \"$path\" ] || echo \"$s  $p\"; done <\"$written\"\n"
    "  echo \"$(sum \"$new\")  $path\"; } >\"$written.new\"\n"
    "mv -f -- \"$new\" \"$path\"\n"
    "trap - EXIT\n"
    "mv -f -- \"$written.new\" \"$written\"\n"
    "if command -v restorecon >/dev/null 2>&1; then restorecon -- \"$path\" || true; fi";

/* $1 backup directory: "CHECKSUM KIND PATH" for every file that was written */
static const char list_script[] =
    "set -eu\n"
    "dir=$1\n"
    "[ -e \"$dir/written\" ] || exit 0\n"
    "while read -r sum path; do\n"
    "  if [ -e \"$dir$path\" ]; then echo \"$sum was $path\"\n"
    "  elif [ -e \"$dir$path.absent\" ]; then echo \"$sum absent $path\"; fi\n"
    "done <\"$dir/written\"";

/* $1 backup directory, $2 path, $3 what to do first: original, remove or nothing, $4 checksum that
 * the file has now. The file is then forgotten, and the directory with the last, unless $5 is
 * "keep". */
static const char forget_script[] =
    "set -eu\n"
    "dir=$1\n"
    "path=$(readlink -m -- \"$2\")\n"
    "sum() { if [ -e \"$1\" ]; then sha256sum <\"$1\" | cut -d' ' -f1; else echo absent; fi; }\n"
    "[ \"$(sum \"$path\")\" = \"$4\" ] || exit 75\n"
    "case $3 in\n"
    "original)\n"
    "  cp -p -- \"$dir$path\" \"$path.godwit-undo\"; mv -f -- \"$path.godwit-undo\" \"$path\"\n"
    "  ! command -v restorecon >/dev/null 2>&1 || restorecon -- \"$path\" || true ;;\n"
    "remove)\n"
    "  rm -f -- \"$path\"\n"
    "  case $path in\n"
    "  /etc/godwit/* | /etc/systemd/system/*.d/*)\n"
    "    rmdir -- \"$(dirname -- \"$path\")\" 2>/dev/null || true ;;\n"
    "  esac ;;\n"
    "esac\n"
    "[ \"$5\" != keep ] || exit 0\n"
    "while read -r s p; do [ \"$p\" = \"$path\" ] || echo \"$s  $p\"; done <\"$dir/written\" "
    ">\"$dir/written.new\"\n"
    "mv -f -- \"$dir/written.new\" \"$dir/written\"\n"
    "rm -f -- \"$dir$path\" \"$dir$path.absent\"\n"
    "[ -s \"$dir/written\" ] || [ -e \"$dir/units\" ] || rm -rf -- \"$dir\"";

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

static bool
changed_meanwhile(const NodeSsh *ssh, const char *path, const GError *error, GError **err)
{
    return g_str_has_suffix(error->message, "(exit status 75)") &&
           !err_set(err, ERR_CONFLICT,
                    "%s: %s was changed by somebody else in this very moment; nothing was "
                    "written, run it again",
                    ssh_name(ssh), path);
}

bool
node_file_write(NodeSsh *ssh, const NodeFile *file, const char *text, const char *mode,
                const char *owner, char **earlier, GError **err)
{
    const char *const args[] = {file->path, file->sha256, mode, owner, ssh_backup_dir(ssh), NULL};
    g_autoptr(GString) script = g_string_new(write_script_head);
    size_t size = strlen(text);
    g_autofree char *answer = NULL;
    g_autoptr(GError) error = NULL;

    for (size_t at = 0; at < size; at += 57) {
        g_autofree char *line =
            g_base64_encode((const unsigned char *)text + at, MIN(size - at, (size_t)57));
        g_string_append_printf(script, "%s\n", line);
    }
    g_string_append(script, write_script_tail);
    bool done = ssh_script(ssh, script->str, args, FILE_SECONDS, &answer, &error);
    explicit_bzero(script->str, script->len);
    if (done) {
        if (earlier != NULL)
            *earlier = g_steal_pointer(&answer);
        return true;
    }
    if (changed_meanwhile(ssh, file->path, error, err))
        return false;
    g_propagate_prefixed_error(err, g_steal_pointer(&error), "writing %s: ", file->path);
    return false;
}

/* Put a file back and, unless kept, forget it. */
static bool
file_settle(NodeSsh *ssh, const char *path, const char *first, const char *sha256, bool keep,
            GError **err)
{
    const char *const args[] = {ssh_backup_dir(ssh), path, first, sha256, keep ? "keep" : "", NULL};
    g_autoptr(GError) error = NULL;

    if (ssh_script(ssh, forget_script, args, FILE_SECONDS, NULL, &error))
        return true;
    if (!changed_meanwhile(ssh, path, error, err))
        g_propagate_prefixed_error(err, g_steal_pointer(&error), "putting back %s: ", path);
    return false;
}

static bool
file_forget(NodeSsh *ssh, const char *path, const char *first, const char *sha256, GError **err)
{
    return file_settle(ssh, path, first, sha256, false, err);
}

void
node_write_free(void *opaque)
{
    NodeWrite *write = opaque;
    g_free(write->path);
    g_free(write->old_text);
    g_free(write->sha256);
    g_free(write);
}

bool
node_file_put_back(NodeSsh *ssh, const NodeWrite *write, GError **err)
{
    NodeFile file = {.path = write->path, .sha256 = write->sha256};
    g_autoptr(NodeFile) now = node_file_read(ssh, write->path, err);

    if (now == NULL)
        return false;
    if (!write->first && g_strcmp0(now->text, write->old_text) == 0)
        return true;
    if (write->first)
        return file_forget(ssh, write->path, write->old_text != NULL ? "original" : "remove",
                           write->sha256, err);
    if (write->old_text == NULL)
        return file_settle(ssh, write->path, "remove", write->sha256, true, err);
    return node_file_write(ssh, &file, write->old_text, "0600", "root:root", NULL, err);
}

/* A file that belongs to somebody else: Godwit's settings are taken out of it as it is now. *said:
 * what happened, or why it was left alone. */
static bool
shared_undo(NodeSsh *ssh, const char *path, bool was, const char **said, char **why, GError **err)
{
    g_autofree char *kept = g_strconcat(ssh_backup_dir(ssh), path, NULL);
    g_autoptr(NodeFile) now = node_file_read(ssh, path, err);
    g_autoptr(NodeFile) original = now != NULL ? node_file_read(ssh, kept, err) : NULL;
    g_autoptr(GError) error = NULL;

    if (original == NULL)
        return false;
    const char *before = original->text != NULL ? original->text : "";
    if (now->text == NULL) {
        *said = was ? "restored" : "removed";
        return file_forget(ssh, path, was ? "original" : "nothing", now->sha256, err);
    }
    g_autofree char *text = file_revert(path, now->text, before, &error);
    if (text == NULL) {
        *said = "left";
        *why = g_strdup(error->message);
        return true;
    }
    if (g_str_equal(text, before)) {
        *said = was ? "restored" : "removed";
        return file_forget(ssh, path, was ? "original" : "remove", now->sha256, err);
    }
    g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    *said = "restored, with what was changed by hand,";
    return node_file_write(ssh, now, text, "0600", "root:root", NULL, err) &&
           file_forget(ssh, path, "nothing", sum, err);
}

/* A file that is ours as a whole. */
static bool
own_undo(NodeSsh *ssh, const char *path, const char *sum, bool was, const char **said, char **why,
         GError **err)
{
    g_autoptr(NodeFile) now = node_file_read(ssh, path, err);

    if (now == NULL)
        return false;
    if (now->text != NULL && !g_str_equal(now->sha256, sum)) {
        *said = "left";
        *why = g_strdup("somebody changed it since it was written");
        return true;
    }
    *said = was ? "restored" : "removed";
    return file_forget(ssh, path, was ? "original" : "remove", now->sha256, err);
}

bool
node_files_undo(NodeSsh *ssh, char **report, GError **err)
{
    const char *const args[] = {ssh_backup_dir(ssh), NULL};
    g_autofree char *list = NULL;
    g_autoptr(GString) out = g_string_new(NULL);

    if (!ssh_script(ssh, list_script, args, FILE_SECONDS, &list, err))
        return false;
    g_auto(GStrv) lines = g_strsplit(list, "\n", 1000);
    for (char **line = lines; *line != NULL && **line != '\0'; line++) {
        g_auto(GStrv) words = g_strsplit(*line, " ", 3);
        g_autofree char *why = NULL;
        const char *said = NULL;
        if (g_strv_length(words) != 3 || *words[2] != '/')
            return err_set(err, ERR_BACKEND, "%s: what %s says of its files makes no sense",
                           ssh_name(ssh), ssh_backup_dir(ssh));
        bool was = g_str_equal(words[1], "was");
        if (!(file_is_shared(words[2]) ? shared_undo(ssh, words[2], was, &said, &why, err)
                                       : own_undo(ssh, words[2], words[0], was, &said, &why, err)))
            return false;
        g_string_append_printf(out, "%s %s%s%s\n", said, words[2], why != NULL ? ": " : "",
                               why != NULL ? why : "");
    }
    *report = g_string_free(g_steal_pointer(&out), FALSE);
    return true;
}

bool
node_files_drift(NodeSsh *ssh, char **report, GError **err)
{
    const char *const args[] = {ssh_backup_dir(ssh), NULL};
    return ssh_script(ssh, drift_script, args, FILE_SECONDS, report, err);
}
