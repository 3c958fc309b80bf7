/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rbd-mon.c: what the cluster's monitors are asked: space, pools, their own addresses */

#include "block-rbd-priv.h"

#include <errno.h>
#include <string.h>

#define SPACE_LEAST (INT64_C(64) << 20) /* kept free for what is there already */

bool
rbd_mon_run(RbdLink *link, json_t *command, json_t **answer, GError **err)
{
    const char *prefix = json_string_value(json_object_get(command, "prefix"));
    g_autofree char *what = g_strdup_printf("the Ceph cluster does not do '%s'", prefix);
    g_autofree char *message = NULL;
    const char *commands[] = {NULL, NULL};
    char *text, *out = NULL, *status = NULL;
    size_t size = 0, status_size = 0;
    int code;

    json_object_set_new(command, "format", json_string("json"));
    text = json_dumps(command, JSON_COMPACT);
    commands[0] = text;
    code = rados_mon_command(link->cluster, commands, 1, "", 0, &out, &size, &status, &status_size);
    /* 'osd blocklist ls' answers with two documents, the second for ranges of addresses */
    if (code >= 0 && answer)
        *answer = json_loadb(out, size, JSON_DISABLE_EOF_CHECK, NULL);
    if (code < 0 && status_size > 0)
        message = g_strdup_printf("%s (%.*s)", what, (int)MIN(status_size, 255), status);
    rados_buffer_free(out);
    rados_buffer_free(status);
    free(text);
    json_decref(command);
    if (code < 0)
        return rbd_cluster_failed(code, err, message ? message : what);
    return !answer || *answer || err_set(err, ERR_BACKEND, "%s: the answer is not JSON", what);
}

/* ---- space -------------------------------------------------------------------------------------
 */

/* The entry of a pool in the answers of 'df' and 'osd dump'. */
static json_t *
pool_entry(json_t *answer, const char *key, const char *name)
{
    json_t *pool;
    size_t i;

    json_array_foreach(json_object_get(answer, "pools"), i, pool)
    {
        if (g_strcmp0(json_string_value(json_object_get(pool, key)), name) == 0)
            return pool;
    }
    return NULL;
}

/* Replication is counted: used is what was stored, free what may still be stored; a quota may leave
 * less than the OSDs do. */
static void
space_read(json_t *entry, int64_t *used, int64_t *free_bytes)
{
    json_t *stats = json_object_get(entry, "stats");
    int64_t quota = json_integer_value(json_object_get(stats, "quota_bytes"));

    *used = json_integer_value(json_object_get(stats, "stored"));
    *free_bytes = json_integer_value(json_object_get(stats, "max_avail"));
    if (quota > 0)
        *free_bytes = MIN(*free_bytes, MAX(quota - *used, 0));
}

static json_t *
df(RbdLink *link, GError **err)
{
    json_t *answer = NULL;

    rbd_mon_run(link, json_pack("{ss, ss}", "prefix", "df", "detail", "detail"), &answer, err);
    return answer;
}

/* Of the pool of servers: what disks may still grow to. */
bool
rbd_capacity(Block *block, BlockCapacity *capacity, GError **err)
{
    g_autoptr(RbdLink) link = rbd_link(block, err);
    const char *name = block->pools[BLOCK_FOR_SERVERS];
    json_t *answer = link ? df(link, err) : NULL;
    json_t *entry = pool_entry(answer, "name", name);
    int64_t used = 0;

    if (!answer)
        return false;
    if (entry)
        space_read(entry, &used, &capacity->free_bytes);
    capacity->total = used + capacity->free_bytes;
    json_decref(answer);
    return entry ||
           err_set(err, ERR_NOT_FOUND, "the Ceph cluster does not list the pool '%s'", name);
}

bool
rbd_space_check(RbdLink *link, BlockPurpose pool, GError **err)
{
    struct rados_cluster_stat_t all;
    int code = rados_cluster_stat(link->cluster, &all);

    if (code < 0)
        return rbd_failed(link, pool, "", "read the free space for", code, err);
    if (all.kb_avail >= SPACE_LEAST >> 10)
        return true;
    return err_set(err, ERR_QUOTA,
                   "the Ceph cluster has only %" PRIu64
                   " MiB left; delete images, servers or volumes, or add OSDs",
                   all.kb_avail >> 10);
}

/* ---- pools -------------------------------------------------------------------------------------
 */

static char *
full_trouble(const BlockPool *pool, json_t *space, json_t *dump)
{
    json_t *stats = json_object_get(pool_entry(space, "name", pool->name), "stats");
    const char *flags = json_string_value(
        json_object_get(pool_entry(dump, "pool_name", pool->name), "flags_names"));
    g_auto(GStrv) list = g_strsplit(flags ? flags : "", ",", -1);
    bool is_full = g_strv_contains((const char *const *)list, "full") || pool->free_bytes == 0;
    int64_t quota = json_integer_value(json_object_get(stats, "quota_bytes"));

    if (!is_full)
        return NULL;
    if (g_strv_contains((const char *const *)list, "full_quota") || (quota && pool->used >= quota))
        return g_strdup_printf("the pool '%s' has reached its quota: delete something, or raise it "
                               "with 'ceph osd pool set-quota %s max_bytes BYTES'",
                               pool->name, pool->name);
    return g_strdup_printf("the pool '%s' is full: delete something, or add OSDs; see 'ceph health "
                           "detail'",
                           pool->name);
}

char *
rbd_pool_full(RbdLink *link, BlockPurpose purpose)
{
    BlockPool pool = {.name = link->block->pools[purpose]};
    json_t *space = df(link, NULL), *dump = NULL;
    char *trouble = NULL;

    if (space && rbd_mon_run(link, json_pack("{ss}", "prefix", "osd dump"), &dump, NULL)) {
        space_read(pool_entry(space, "name", pool.name), &pool.used, &pool.free_bytes);
        trouble = full_trouble(&pool, space, dump);
    }
    json_decref(space);
    json_decref(dump);
    return trouble;
}

/* What can be said of one pool; whatever cannot be read becomes its trouble. *silence: why the OSDs
 * do not answer, once that is known: they are not asked again. */
static BlockPool *
pool_describe(RbdLink *link, BlockPurpose purpose, json_t *space, json_t *dump, char **silence)
{
    const char *name = link->block->pools[purpose];
    json_t *entry = pool_entry(space, "name", name);
    BlockPool *pool = g_new0(BlockPool, 1);
    g_autoptr(GPtrArray) names = NULL;
    g_autoptr(GError) error = NULL;

    pool->purpose = purpose;
    pool->name = g_strdup(name);
    pool->trouble = g_strdup(link->trouble[purpose]);
    if (entry)
        space_read(entry, &pool->used, &pool->free_bytes);
    pool->total = pool->used + pool->free_bytes;
    if (!pool->trouble && !entry)
        pool->trouble = g_strdup_printf("the Ceph cluster has no pool '%s' any more", name);
    if (!pool->trouble)
        pool->trouble = g_strdup(*silence);
    if (pool->trouble)
        return pool;
    names = rbd_things_on(link, purpose, &error);
    pool->things = names ? names->len : 0;
    pool->trouble = error ? g_strdup(error->message) : full_trouble(pool, space, dump);
    if (err_is(error, ERR_UNREACHABLE))
        *silence = g_strdup(error->message);
    return pool;
}

GPtrArray *
rbd_pools(Block *block, GError **err)
{
    g_autoptr(RbdLink) link = rbd_link_whatever(block, err);
    json_t *space = link ? df(link, err) : NULL, *dump = NULL;
    g_autofree char *silence = NULL;
    GPtrArray *pools = NULL;

    if (space && rbd_mon_run(link, json_pack("{ss}", "prefix", "osd dump"), &dump, err)) {
        pools = g_ptr_array_new_with_free_func((GDestroyNotify)block_pool_free);
        for (int i = 0; i < BLOCK_PURPOSES; i++)
            g_ptr_array_add(pools, pool_describe(link, (BlockPurpose)i, space, dump, &silence));
    }
    json_decref(space);
    json_decref(dump);
    return pools;
}

/* ---- monitors ----------------------------------------------------------------------------------
 */

/* "10.0.0.1:3300" of the newest protocol that a monitor speaks. */
static char *
monitor_address(json_t *monitor)
{
    json_t *list = json_object_get(json_object_get(monitor, "public_addrs"), "addrvec"), *address;
    const char *best = NULL;
    size_t i;

    json_array_foreach(list, i, address)
    {
        const char *type = json_string_value(json_object_get(address, "type"));

        if (!best || g_strcmp0(type, "v2") == 0)
            best = json_string_value(json_object_get(address, "addr"));
    }
    return g_strdup(best);
}

bool
rbd_access(Block *block, RbdAccess **access, GError **err)
{
    g_autoptr(RbdLink) link = rbd_link(block, err);
    g_autoptr(GPtrArray) addresses = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *fsid = NULL;
    json_t *answer = NULL, *monitor;
    size_t i;

    if (!link || !rbd_mon_run(link, json_pack("{ss}", "prefix", "mon dump"), &answer, err))
        return false;
    fsid = g_strdup(json_string_value(json_object_get(answer, "fsid")));
    json_array_foreach(json_object_get(answer, "mons"), i, monitor)
    {
        char *address = monitor_address(monitor);

        if (address)
            g_ptr_array_add(addresses, address);
    }
    json_decref(answer);
    if (addresses->len == 0)
        return err_set(err, ERR_BACKEND, "the Ceph cluster lists no monitors");
    g_ptr_array_add(addresses, NULL);
    *access = g_new0(RbdAccess, 1);
    (*access)->fsid = g_steal_pointer(&fsid);
    (*access)->monitors = (char **)g_ptr_array_free(g_steal_pointer(&addresses), FALSE);
    (*access)->user = g_strdup(block->user);
    (*access)->secret_uuid = g_strdup(link->secret_uuid);
    return true;
}
