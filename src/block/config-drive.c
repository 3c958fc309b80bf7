/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* config-drive.c: the small ISO that tells a guest who it is
 *
 * The image is made by libisofs and read out of its burn source into memory. libisofs keeps global
 * state and runs a writer thread of its own for each image, so that one image is made at a time. */

#include "block/block.h"

/* Without it the header wants libburn for the one struct that both have. */
#define LIBISOFS_WITHOUT_LIBBURN
#include <libisofs/libisofs.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES (16 * 1024 * 1024)
#define MOST_FILES 64
#define MOST_DEPTH 8
#define SECTOR     2048

static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

static bool
iso_failed(int code, const char *what, GError **err)
{
    return err_set(err, ERR_BACKEND, "cannot make the config drive: %s: %s", what,
                   iso_error_to_msg(code));
}

static bool
component_is_valid(const char *name)
{
    size_t length = strspn(name, G_CSET_A_2_Z G_CSET_a_2_z "0123456789._-");

    return length > 0 && length <= 64 && name[length] == '\0' && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

/* The directory name inside parent, made if it is not there. */
static IsoDir *
directory_enter(IsoDir *parent, const char *name, GError **err)
{
    IsoNode *node = NULL;
    IsoDir *dir = NULL;
    int code = iso_dir_get_node(parent, name, &node);

    if (code == 1 && iso_node_get_type(node) == LIBISO_DIR)
        return (IsoDir *)node;
    if (code == 1) {
        err_set(err, ERR_BUG, "config drive: %s is a file and a directory", name);
        return NULL;
    }
    code = iso_tree_add_new_dir(parent, name, &dir);
    if (code < 0) {
        iso_failed(code, name, err);
        return NULL;
    }
    iso_node_set_permissions((IsoNode *)dir, 0555);
    return dir;
}

static bool
file_add(IsoDir *root, const ConfigDriveFile *file, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(file->path, "/", MOST_DEPTH + 1);
    unsigned depth = g_strv_length(parts);
    IsoDir *dir = root;
    IsoStream *stream = NULL;
    IsoFile *node = NULL;
    unsigned char *copy;
    int code;

    if (depth == 0 || depth > MOST_DEPTH)
        return err_set(err, ERR_BUG, "config drive: '%.200s' is not a path", file->path);
    for (unsigned i = 0; i < depth; i++)
        if (!component_is_valid(parts[i]))
            return err_set(err, ERR_BUG, "config drive: '%.200s' is not a path", file->path);
    for (unsigned i = 0; i + 1 < depth; i++) {
        dir = directory_enter(dir, parts[i], err);
        if (!dir)
            return false;
    }

    copy = malloc(MAX(file->size, 1)); /* libisofs frees it with free() */
    if (!copy)
        abort();
    if (file->size)
        memcpy(copy, file->data, file->size);
    code = iso_memory_stream_new(copy, file->size, &stream);
    if (code < 0) {
        free(copy);
        return iso_failed(code, file->path, err);
    }
    code = iso_tree_add_new_file(dir, parts[depth - 1], stream, &node);
    if (code < 0) {
        iso_stream_unref(stream);
        return iso_failed(code, file->path, err);
    }
    iso_node_set_permissions((IsoNode *)node, 0444);
    return true;
}

static bool
source_read(struct burn_source *source, GByteArray *bytes, GError **err)
{
    unsigned char sector[SECTOR];
    int got;

    /* Newer sources have the call for secondary readers only, older ones the other. */
    while ((got = source->read ? source->read(source, sector, SECTOR)
                               : source->read_xt(source, sector, SECTOR)) > 0) {
        g_byte_array_append(bytes, sector, (guint)got);
        if (bytes->len > 2 * MOST_BYTES)
            return err_set(err, ERR_BUG, "the config drive grows without end");
    }
    if (got < 0)
        return err_set(err, ERR_BACKEND, "cannot make the config drive: libisofs ended early");
    return true;
}

static bool
image_write(IsoImage *image, GByteArray *bytes, GError **err)
{
    IsoWriteOpts *options = NULL;
    struct burn_source *source = NULL;
    int code = iso_write_opts_new(&options, 0);
    bool ok;

    if (code < 0)
        return iso_failed(code, "options", err);
    iso_write_opts_set_iso_level(options, 3);
    /* the label is looked for in small letters, which the strict standard has not */
    iso_write_opts_set_relaxed_vol_atts(options, 1);
    iso_write_opts_set_rockridge(options, 1);
    iso_write_opts_set_joliet(options, 1);
    iso_write_opts_set_joliet_longer_paths(options, 1);
    /* names as they are, without ";1" and closing dots, in both trees */
    iso_write_opts_set_omit_version_numbers(options, 3);
    iso_write_opts_set_no_force_dots(options, 3);
    code = iso_image_create_burn_source(image, options, &source);
    iso_write_opts_free(options);
    if (code < 0)
        return iso_failed(code, "image", err);
    ok = source_read(source, bytes, err);
    if (!ok && source->version >= 1)
        source->cancel(source);
    source->free_data(source);
    free(source);
    return ok;
}

bool
config_drive_build(const ConfigDriveFile *files, size_t n_files, void **iso, size_t *size,
                   GError **err)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    IsoImage *image = NULL;
    size_t total = 0;
    int code;
    bool ok;

    for (size_t i = 0; i < n_files; i++)
        total = files[i].size > MOST_BYTES ? MOST_BYTES + 1 : total + files[i].size;
    if (n_files > MOST_FILES || total > MOST_BYTES)
        return err_set(err, ERR_INVALID,
                       "the config drive would be larger than %d MiB or %d files; make the user "
                       "data smaller",
                       MOST_BYTES >> 20, MOST_FILES);

    WITH_MUTEX(&making);
    code = iso_init();
    if (code < 0)
        return iso_failed(code, "libisofs", err);
    iso_set_msgs_severities("NEVER", "NEVER", "");
    code = iso_image_new("config-2", &image);
    if (code < 0) {
        iso_finish();
        return iso_failed(code, "image", err);
    }
    iso_image_set_publisher_id(image, "GODWIT");
    ok = true;
    for (size_t i = 0; ok && i < n_files; i++)
        ok = file_add(iso_image_get_root(image), &files[i], err);
    ok = ok && image_write(image, bytes, err);
    iso_image_unref(image);
    iso_finish();
    if (!ok)
        return false;
    *size = bytes->len;
    *iso = g_byte_array_free(g_steal_pointer(&bytes), FALSE);
    return true;
}
