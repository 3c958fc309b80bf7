/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fake-client.c: who has a disk open, where no cluster says so
 *
 * A directory cannot tell, so its driver names nobody and fences nobody. For the fake a test sets
 * it: PATH/clients/NAME holds the addresses for one source, one a line, and PATH/fenced those that
 * are shut out. */

#include "block-dir-priv.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over reading and writing back a file */

/* ---- driver dir --------------------------------------------------------------------------------
 */

GPtrArray *
dir_clients(Block *block, const char *source, GError **err)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)block_client_free);
}

static bool
cannot_fence(GError **err)
{
    return err_set(err, ERR_UNSUPPORTED,
                   "storage driver dir cannot shut a node out of a directory: make sure by other "
                   "means that the node is off (power, IPMI), then say so");
}

bool
dir_fence(Block *block, const char *const *addresses, int64_t seconds, GError **err)
{
    return cannot_fence(err);
}

bool
dir_unfence(Block *block, const char *const *addresses, GError **err)
{
    return cannot_fence(err);
}

/* ---- the fake ----------------------------------------------------------------------------------
 */

static char *
file_of(Block *block, const char *source)
{
    g_autofree char *name = g_compute_checksum_for_string(G_CHECKSUM_SHA256, source, -1);

    return g_strdup_printf("%s/clients/%s", block->path, name);
}

static char *
fenced_file(Block *block)
{
    return g_strdup_printf("%s/fenced", block->path);
}

/* Its lines; without the file: none. */
static GPtrArray *
lines_read(const char *path)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *text = NULL;

    if (g_file_get_contents(path, &text, NULL, NULL)) {
        g_auto(GStrv) all = g_strsplit(text, "\n", -1);

        for (size_t i = 0; all[i]; i++)
            if (*all[i])
                g_ptr_array_add(lines, g_strdup(all[i]));
    }
    return lines;
}

static bool
lines_write(const char *path, GPtrArray *lines, GError **err)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint i = 0; i < lines->len; i++)
        g_string_append_printf(text, "%s\n", (const char *)g_ptr_array_index(lines, i));
    return file_write_atomically(path, text->str, text->len, 0600, err);
}

static bool
line_find(GPtrArray *lines, const char *line, guint *at)
{
    return g_ptr_array_find_with_equal_func(lines, line, g_str_equal, at);
}

/* Take the addresses out of a file, or see to it that they are in it. */
static bool
file_edit(const char *path, const char *const *addresses, bool wanted, GError **err)
{
    g_autoptr(GPtrArray) lines = lines_read(path);

    for (size_t i = 0; addresses[i]; i++) {
        guint at;
        bool there = line_find(lines, addresses[i], &at);

        if (there && !wanted)
            g_ptr_array_remove_index(lines, at);
        else if (!there && wanted)
            g_ptr_array_add(lines, g_strdup(addresses[i]));
    }
    return lines_write(path, lines, err);
}

void
block_fake_set_client(Block *block, const char *source, const char *address)
{
    g_autofree char *directory = g_strdup_printf("%s/clients", block->path);
    g_autofree char *path = file_of(block, source);
    g_autoptr(GError) error = NULL;
    WITH_MUTEX(&lock);

    if (!address)
        unlink(path);
    else if (!dir_make(directory, 0700, &error) ||
             !file_edit(path, (const char *[]){address, NULL}, true, &error))
        g_error("the fake cannot note a client: %s", error->message);
}

bool
block_fake_is_fenced(Block *block, const char *address)
{
    g_autofree char *path = fenced_file(block);
    WITH_MUTEX(&lock);
    g_autoptr(GPtrArray) lines = lines_read(path);

    return line_find(lines, address, NULL);
}

GPtrArray *
fake_clients(Block *block, const char *source, GError **err)
{
    GPtrArray *clients = dir_clients(block, source, err);
    g_autofree char *path = file_of(block, source);
    WITH_MUTEX(&lock);
    g_autoptr(GPtrArray) lines = lines_read(path);

    for (guint i = 0; i < lines->len; i++) {
        BlockClient *client = g_new0(BlockClient, 1);

        client->address = g_strdup(g_ptr_array_index(lines, i));
        g_ptr_array_add(clients, client);
    }
    return clients;
}

bool
fake_fence(Block *block, const char *const *addresses, int64_t seconds, GError **err)
{
    g_autofree char *directory = g_strdup_printf("%s/clients", block->path);
    g_autofree char *fenced = fenced_file(block);
    GDir *dir = g_dir_open(directory, 0, NULL);
    const char *name;
    bool ok;
    WITH_MUTEX(&lock);

    ok = file_edit(fenced, addresses, true, err);
    while (ok && dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(directory, name, NULL);

        ok = file_edit(path, addresses, false, err);
    }
    if (dir)
        g_dir_close(dir);
    return ok;
}

bool
fake_unfence(Block *block, const char *const *addresses, GError **err)
{
    g_autofree char *fenced = fenced_file(block);
    WITH_MUTEX(&lock);

    return file_edit(fenced, addresses, false, err);
}

bool
dir_refuse_open(Block *block, const char *source, GError **err)
{
    g_autoptr(GPtrArray) clients = NULL;

    if (block->durable)
        return true;
    clients = fake_clients(block, source, err);
    if (clients->len == 0)
        return true;
    return err_set(err, ERR_CONFLICT, "the disk %s cannot be deleted: %s still has it open", source,
                   ((BlockClient *)g_ptr_array_index(clients, 0))->address);
}
