/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* store-place.h: a store in a directory of its own for each test, and the simplest rows to put into
 * it */
#pragma once

#include "store/store.h"

#include <glib/gstdio.h>
#include <unistd.h>

typedef struct Place {
    char *directory, *path;
    Store *store;
} Place;

static inline void
place_open(Place *place)
{
    g_autoptr(GError) error = NULL;
    place->store = store_open(place->path, &error);
    g_assert_no_error(error);
}

static inline void
place_make(Place *place, gconstpointer data)
{
    place->directory = g_dir_make_tmp("godwit-store-XXXXXX", NULL);
    place->path = g_build_filename(place->directory, "state.db", NULL);
    place_open(place);
}

static inline void
place_remove(Place *place, gconstpointer data)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    store_close(place->store);
    for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *file = g_strconcat(place->path, suffixes[i], NULL);
        unlink(file);
    }
    g_assert_cmpint(rmdir(place->directory), ==, 0);
    g_free(place->directory);
    g_free(place->path);
}

static inline void
must_write(Store *store, StoreFn fn, void *opaque)
{
    g_autoptr(GError) error = NULL;
    store_write(store, fn, opaque, &error);
    g_assert_no_error(error);
}

static inline void
must_read(Store *store, StoreFn fn, void *opaque)
{
    g_autoptr(GError) error = NULL;
    store_read(store, fn, opaque, &error);
    g_assert_no_error(error);
}

static inline Project *
project_made(const char *id, int64_t created_at)
{
    Project *project = record_new(&PROJECT);
    text_set(&project->id, id);
    project->name = g_strconcat("name of ", id, NULL);
    text_set(&project->description, "");
    project->created_at = created_at;
    return project;
}

static inline bool
project_insert(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Project) project = project_made(opaque, 0);
    return store_insert(tx, &PROJECT, project, err);
}

static inline bool
project_exists(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Project) project = store_get(tx, &PROJECT, opaque, err);
    return project != NULL;
}

static inline bool
number_take(StoreTx *tx, void *opaque, GError **err)
{
    return store_next_number(tx, "server", opaque, err);
}

#define ADD(name, fn) g_test_add("/store/" name, Place, NULL, place_make, fn, place_remove)
