/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* take-over.c: a godwitd shuts out the one before it from the storage
 *
 * A godwitd that is killed while it has a disk open leaves its watch behind until the OSDs'
 * time-out, and one that lost its lease may still be at work. Whoever holds the store's lease knows
 * that all others are to be kept out: so the addresses under which the cluster knows a godwitd are
 * a row of the store, written before it opens its first disk, and the next one fences those that
 * are not its own. A process that ended in good order is fenced, too: that costs an entry which
 * expires. */
#include "task/take-over.h"

#include <jansson.h>
#include <string.h>

#include "task/runner.h"

#define KEY           "storage-clients" /* JSON array of addresses */
#define FENCE_SECONDS (INT64_C(24) * 3600)
#define MOST          32

typedef struct TakeOver {
    const GPtrArray *own;
    GPtrArray *former; /* out: recorded and not own */
    bool complete;     /* out: all of own are recorded */
    bool forget;       /* in: the former ones are fenced */
} TakeOver;

static bool
has(const GPtrArray *list, const char *address)
{
    return g_ptr_array_find_with_equal_func((GPtrArray *)list, address, g_str_equal, NULL);
}

static bool
read_former(StoreTx *tx, void *opaque, GError **err)
{
    TakeOver *over = opaque;
    g_autofree char *text = store_meta_get(tx, KEY, NULL);
    json_t *list = text ? json_loads(text, 0, NULL) : NULL, *entry;
    guint found = 0;
    size_t i;

    g_ptr_array_set_size(over->former, 0);
    json_array_foreach(list, i, entry)
    {
        const char *address = json_string_value(entry);

        if (!address)
            continue;
        if (has(over->own, address))
            found++;
        else
            g_ptr_array_add(over->former, g_strdup(address));
    }
    json_decref(list);
    over->complete = found == over->own->len;
    return true;
}

/* The newest come last; a list that grows without end is one that nobody could fence. */
static bool
write_down(StoreTx *tx, void *opaque, GError **err)
{
    TakeOver *over = opaque;
    json_t *list = json_array();
    g_autofree char *text = NULL;

    if (!over->forget) {
        if (!read_former(tx, over, err))
            return false;
        for (guint i = 0; i < over->former->len; i++)
            json_array_append_new(list, json_string(g_ptr_array_index(over->former, i)));
    }
    for (guint i = 0; i < over->own->len; i++)
        json_array_append_new(list, json_string(g_ptr_array_index(over->own, i)));
    while (json_array_size(list) > MOST)
        json_array_remove(list, 0);
    text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    return store_meta_set(tx, KEY, text, err);
}

static bool
fence_former(TaskEngine *engine, TakeOver *over, GError **err)
{
    g_autoptr(GPtrArray) addresses = g_ptr_array_new();

    for (guint i = 0; i < over->former->len; i++)
        g_ptr_array_add(addresses, g_ptr_array_index(over->former, i));
    g_ptr_array_add(addresses, NULL);
    if (!storage_fence(engine_storage(engine), (const char *const *)addresses->pdata, FENCE_SECONDS,
                       err))
        return false;
    log_event(LOG_LEVEL_INFO, "task", "shut a former godwitd out of the storage", "client",
              addresses->pdata[0], NULL);
    over->forget = true;
    return store_write(engine_store(engine), write_down, over, err);
}

bool
task_take_over_storage(TaskEngine *engine, GError **err)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    g_autoptr(GPtrArray) own = storage_own_clients(engine_storage(engine), err);
    g_autoptr(GPtrArray) former = g_ptr_array_new_with_free_func(g_free);
    TakeOver over = {.own = own, .former = former};

    if (!own)
        return false;
    if (own->len == 0)
        return true;
    WITH_MUTEX(&one_at_a_time);
    if (!store_read(engine_store(engine), read_former, &over, err) ||
        (!over.complete && !store_write(engine_store(engine), write_down, &over, err)))
        return false;
    return former->len == 0 || fence_former(engine, &over, err);
}
