/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rbd-fence.c: who has a disk open, and shutting clients out of the cluster
 *
 * Whoever opens an image for writing watches it, so the list of watchers names the clients. It
 * proves nothing when it is empty: a node that is cut off loses its watch and may come back. An
 * entry in the blocklist does prove something, once the OSDs must know it: our own next operation
 * carries the epoch of the map that has it, and an OSD does nothing for us before it has that map,
 * too. */

#include "block-rbd-priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define WATCHERS_FIRST 16
#define WATCHERS_MOST  65536
#define SECONDS_MOST   (INT64_C(10) * 366 * 86400)
#define ADDRESSES_MOST 1024
#define THREADS_MOST   16
#define MAP_SECONDS    15
#define RENEW_PARTS    10 /* an entry is prolonged when less than 9 tenths are left */

/* ---- clients -----------------------------------------------------------------------------------
 */

/* Absent: an empty list. NULL with *err. */
static GPtrArray *
watchers(RbdLink *link, BlockPurpose pool, const char *name, GError **err)
{
    GPtrArray *clients;
    rbd_image_t image = NULL;
    size_t room = WATCHERS_FIRST, n;
    g_autofree rbd_image_watcher_t *list = NULL;
    int code = rbd_open_read_only(link->io[pool], name, &image, NULL);

    if (code < 0 && code != -ENOENT) {
        rbd_failed(link, pool, name, "open", code, err);
        return NULL;
    }
    clients = g_ptr_array_new_with_free_func((GDestroyNotify)block_client_free);
    if (code == -ENOENT)
        return clients;
    do {
        g_free(list);
        list = g_new0(rbd_image_watcher_t, room);
        n = room;
        code = rbd_watchers_list(image, list, &n);
        room *= 4;
    } while (code == -ERANGE && room <= WATCHERS_MOST);
    for (size_t i = 0; code >= 0 && i < n; i++) {
        BlockClient *client = g_new0(BlockClient, 1);

        client->address = g_strdup(list[i].addr);
        client->is_own = rbd_id_is_own(link->block, (uint64_t)list[i].id);
        g_ptr_array_add(clients, client);
    }
    if (code >= 0)
        rbd_watchers_list_cleanup(list, n);
    rbd_close(image);
    if (code >= 0)
        return clients;
    rbd_failed(link, pool, name, "list the clients of", code, err);
    g_ptr_array_unref(clients);
    return NULL;
}

GPtrArray *
rbd_clients(Block *block, const char *source, GError **err)
{
    BlockPurpose pool = BLOCK_FOR_SERVERS;
    const char *name = NULL;
    g_autoptr(RbdLink) link =
        rbd_source_parse(block, source, &pool, &name, err) ? rbd_link(block, err) : NULL;

    return link ? watchers(link, pool, name, err) : NULL;
}

bool
rbd_refuse_open(RbdLink *link, BlockPurpose pool, const char *image, GError **err)
{
    g_autoptr(GPtrArray) clients = watchers(link, pool, image, err);
    g_autoptr(GString) text = g_string_new(NULL);

    if (!clients)
        return false;
    if (clients->len == 0)
        return true;
    for (guint i = 0; i < clients->len; i++) {
        const BlockClient *client = g_ptr_array_index(clients, i);

        g_string_append_printf(text, "%s%s%s", i ? ", " : "", client->address,
                               client->is_own ? " (this controller)" : "");
    }
    return err_set(
        err, ERR_CONFLICT,
        "the disk %s/%s cannot be deleted: %s still has it open; stop who runs there, or "
        "see 'rbd status %s/%s'",
        link->block->pools[pool], image, text->str, link->block->pools[pool], image);
}

/* ---- fencing -----------------------------------------------------------------------------------
 */

/* IP:PORT/NONCE of one client, and of one that is not us. An address without a nonce would be the
 * whole machine, with whatever else of Ceph runs there. */
static bool
address_check(Block *block, const char *address, GError **err)
{
    g_auto(GStrv) ends = g_strsplit(address, "/", 3);
    char *colon = ends[0] && ends[1] && !ends[2] ? strrchr(ends[0], ':') : NULL;
    unsigned char binary[sizeof(struct in6_addr)];
    bool ok = false;
    int64_t port, nonce;

    if (colon) {
        size_t length = (size_t)(colon - ends[0]);
        bool v6 = length > 2 && ends[0][0] == '[' && colon[-1] == ']';
        g_autofree char *ip = v6 ? g_strndup(ends[0] + 1, length - 2) : g_strndup(ends[0], length);

        ok = inet_pton(v6 ? AF_INET6 : AF_INET, ip, binary) == 1 &&
             parse_int64(colon + 1, 0, 65535, &port) && parse_int64(ends[1], 1, UINT32_MAX, &nonce);
    }
    if (!ok)
        return err_set(err, ERR_INVALID,
                       "'%.64s' is not the address of a Ceph client (IP:PORT/NONCE)", address);
    if (rbd_address_is_own(block, address))
        return err_set(err, ERR_INVALID, "%s is this controller's own Ceph client: not fenced",
                       address);
    return true;
}

static bool
addresses_check(Block *block, const char *const *addresses, GError **err)
{
    for (size_t i = 0; addresses[i]; i++) {
        if (i >= ADDRESSES_MOST)
            return err_set(err, ERR_INVALID, "more than %d clients at once", ADDRESSES_MOST);
        if (!address_check(block, addresses[i], err))
            return false;
    }
    return true;
}

/* When each entry ends, in seconds since 1970. Keys: addresses. NULL with *err. */
static GHashTable *
blocklist(RbdLink *link, GError **err)
{
    json_t *answer = NULL, *entry;
    GHashTable *list;
    size_t i;

    if (!rbd_mon_run(link, json_pack("{ss}", "prefix", "osd blocklist ls"), &answer, err))
        return NULL;
    list = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    json_array_foreach(answer, i, entry)
    {
        const char *address = json_string_value(json_object_get(entry, "addr"));
        const char *until = json_string_value(json_object_get(entry, "until"));
        g_autoptr(GDateTime) time = until ? g_date_time_new_from_iso8601(until, NULL) : NULL;
        int64_t *end = g_new0(int64_t, 1);

        *end = time ? g_date_time_to_unix(time) : 0;
        if (address)
            g_hash_table_replace(list, g_strdup(address), g_steal_pointer(&end));
        g_free(end);
    }
    json_decref(answer);
    return list;
}

static bool
lasts(GHashTable *list, const char *address, int64_t until)
{
    const int64_t *end = g_hash_table_lookup(list, address);

    return end && *end >= until;
}

/* Monitors gather what comes within a second or so into one new map: so all are asked at once. */
typedef struct Change {
    RbdLink *link;
    GPtrArray *addresses;
    int64_t seconds;      /* 0: take them out */
    pthread_mutex_t lock; /* guards the rest */
    guint next;
    GError *error; /* the first one */
} Change;

static json_t *
change_command(const char *address, int64_t seconds)
{
    json_t *command = json_pack("{ss, ss, ss}", "prefix", "osd blocklist", "blocklistop",
                                seconds ? "add" : "rm", "addr", address);

    if (seconds)
        json_object_set_new(command, "expire", json_real((double)seconds));
    return command;
}

static void
change_some(void *opaque)
{
    Change *change = opaque;

    for (;;) {
        const char *address = NULL;
        GError *error = NULL;

        pthread_mutex_lock(&change->lock);
        if (!change->error && change->next < change->addresses->len)
            address = g_ptr_array_index(change->addresses, change->next++);
        pthread_mutex_unlock(&change->lock);
        if (!address)
            return;
        if (rbd_mon_run(change->link, change_command(address, change->seconds), NULL, &error))
            continue;
        pthread_mutex_lock(&change->lock);
        if (!change->error)
            change->error = g_steal_pointer(&error);
        pthread_mutex_unlock(&change->lock);
        g_clear_error(&error);
    }
}

static bool
change_all(RbdLink *link, GPtrArray *addresses, int64_t seconds, GError **err)
{
    Change change = {.link = link,
                     .addresses = addresses,
                     .seconds = seconds,
                     .lock = PTHREAD_MUTEX_INITIALIZER};
    guint n = MIN(addresses->len, THREADS_MOST);
    pthread_t threads[THREADS_MOST];

    for (guint i = 1; i < n; i++)
        threads[i] = thread_start("rbd-fence", change_some, &change);
    change_some(&change);
    for (guint i = 1; i < n; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&change.lock);
    if (!change.error)
        return true;
    g_propagate_error(err, change.error);
    return false;
}

/* librados waits for a map for ever, should the monitors go away just now. So a thread waits for
 * it, and is left to itself when the time is up. */
typedef struct MapWait {
    RbdLink *link;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned holders;
    bool ended;
    int code;
} MapWait;

static void
map_wait_drop(MapWait *wait)
{
    bool last;

    pthread_mutex_lock(&wait->lock);
    last = --wait->holders == 0;
    pthread_mutex_unlock(&wait->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&wait->lock);
    pthread_cond_destroy(&wait->changed);
    rbd_link_drop(wait->link);
    g_free(wait);
}

static void
map_wait_thread(void *opaque)
{
    MapWait *wait = opaque;
    int code = rados_wait_for_latest_osdmap(wait->link->cluster);

    pthread_mutex_lock(&wait->lock);
    wait->code = code;
    wait->ended = true;
    pthread_cond_signal(&wait->changed);
    pthread_mutex_unlock(&wait->lock);
    map_wait_drop(wait);
}

static bool
wait_for_map(RbdLink *link, GError **err)
{
    MapWait *wait = g_new0(MapWait, 1);
    int64_t deadline = clock_monotonic() + MAP_SECONDS * USEC_PER_SEC;
    int code;

    wait->link = rbd_link_hold(link);
    wait->holders = 2;
    pthread_mutex_init(&wait->lock, NULL);
    cond_init_monotonic(&wait->changed);
    thread_start_detached("rbd-map", map_wait_thread, wait);
    pthread_mutex_lock(&wait->lock);
    while (!wait->ended && cond_wait_until(&wait->changed, &wait->lock, deadline))
        continue;
    code = wait->ended ? wait->code : -ETIMEDOUT;
    pthread_mutex_unlock(&wait->lock);
    map_wait_drop(wait);
    return code >= 0 || rbd_cluster_failed(code, err, "cannot wait for the map of the OSDs");
}

bool
rbd_fence(Block *block, const char *const *addresses, int64_t seconds, GError **err)
{
    g_autoptr(RbdLink) link = addresses_check(block, addresses, err) ? rbd_link(block, err) : NULL;
    g_autoptr(GHashTable) before = NULL, after = NULL;
    g_autoptr(GPtrArray) missing = g_ptr_array_new();
    int64_t until = clock_realtime() / USEC_PER_SEC + seconds - seconds / RENEW_PARTS;

    if (!link)
        return false;
    if (seconds < 1 || seconds > SECONDS_MOST)
        return err_set(err, ERR_BUG, "fencing for %" G_GINT64_FORMAT " seconds", seconds);
    before = blocklist(link, err);
    if (!before)
        return false;
    for (size_t i = 0; addresses[i]; i++)
        if (!lasts(before, addresses[i], until))
            g_ptr_array_add(missing, (gpointer)addresses[i]);
    if (!change_all(link, missing, seconds, err))
        return false;
    after = blocklist(link, err);
    for (size_t i = 0; after && addresses[i]; i++)
        if (!g_hash_table_contains(after, addresses[i]))
            return err_set(err, ERR_BACKEND,
                           "the Ceph cluster took %s into its blocklist, but does not list it",
                           addresses[i]);
    return after && wait_for_map(link, err);
}

bool
rbd_unfence(Block *block, const char *const *addresses, GError **err)
{
    g_autoptr(RbdLink) link = addresses_check(block, addresses, err) ? rbd_link(block, err) : NULL;
    g_autoptr(GHashTable) list = link ? blocklist(link, err) : NULL;
    g_autoptr(GPtrArray) there = g_ptr_array_new();

    if (!list)
        return false;
    for (size_t i = 0; addresses[i]; i++)
        if (g_hash_table_contains(list, addresses[i]))
            g_ptr_array_add(there, (gpointer)addresses[i]);
    return change_all(link, there, 0, err);
}
