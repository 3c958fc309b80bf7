/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* storage-query.c: the storage as it is now, and a new key for the nodes
 *
 * The key is read again by the driver, proves itself by a new connection, and only then goes to the
 * nodes, a few at a time. A node that is not connected gets it when it is: each connect begins with
 * the proof of visibility, which defines the secret anew (visibility.c). */
#include <string.h>

#include "task/query.h"
#include "task/runner.h"
#include "task/take-over.h"

#define KEY_DEADLINE (clock_monotonic() + 10 * USEC_PER_SEC)
#define AT_ONCE      16

GPtrArray *
query_storage_pools(TaskEngine *engine, GError **err)
{
    return storage_pools(engine_storage(engine), err);
}

const char *
query_storage_driver(TaskEngine *engine)
{
    return engine_storage(engine)->ops->name;
}

char *
query_ceph_conf(TaskEngine *engine, GError **err)
{
    g_autoptr(RbdAccess) access = NULL;
    g_autofree char *monitors = NULL;

    if (!storage_access(engine_storage(engine), &access, err))
        return NULL;
    if (!access) {
        err_set(err, ERR_UNSUPPORTED,
                "The disks of this controller are not on Ceph (its storage driver is %s): there is "
                "no configuration of a cluster to give away.",
                query_storage_driver(engine));
        return NULL;
    }
    monitors = g_strjoinv(",", access->monitors);
    if (!access->fsid || !uuid_is_valid(access->fsid) || !text_is_clean(monitors, 4096, false)) {
        err_set(err, ERR_BACKEND, "the monitors describe their cluster in a way that fits no file");
        return NULL;
    }
    return g_strdup_printf("[global]\nfsid = %s\nmon_host = %s\n", access->fsid, monitors);
}

/* ---- the key -----------------------------------------------------------------------------------
 */

typedef struct KeyGift { /* to one node */
    Hosts *hosts;
    const char *host;
    const BlockSecret *secret;
    char *line; /* out */
} KeyGift;

static void
give_key(void *opaque)
{
    KeyGift *gift = opaque;
    g_autoptr(GError) error = NULL;

    if (!hosts_is_connected(gift->hosts, gift->host))
        gift->line = g_strdup_printf("%s: not connected; it gets the key when it is", gift->host);
    else if (host_secret_define(gift->hosts, gift->host, gift->secret->uuid, gift->secret->usage,
                                gift->secret->value, gift->secret->size, KEY_DEADLINE, &error))
        gift->line = g_strdup_printf("%s: ok", gift->host);
    else
        gift->line = g_strdup_printf("%s: %s", gift->host, error->message);
}

static bool
read_hosts(StoreTx *tx, void *opaque, GError **err)
{
    return (*(GPtrArray **)opaque =
                store_list(tx, &HOST, &(StoreQuery){.order_by = "name"}, err)) != NULL;
}

static void
give_key_to_all(TaskEngine *engine, const GPtrArray *rows, const BlockSecret *secret,
                GPtrArray *report)
{
    KeyGift gifts[AT_ONCE];
    pthread_t threads[AT_ONCE];

    for (guint at = 0; at < rows->len; at += AT_ONCE) {
        guint n = MIN(AT_ONCE, rows->len - at);

        for (guint i = 0; i < n; i++) {
            const Host *row = g_ptr_array_index(rows, at + i);

            gifts[i] = (KeyGift){engine_hosts(engine), row->name, secret, NULL};
            threads[i] = thread_start("key", give_key, &gifts[i]);
        }
        for (guint i = 0; i < n; i++) {
            pthread_join(threads[i], NULL);
            g_ptr_array_add(report, gifts[i].line);
        }
    }
}

bool
query_storage_rotate_key(TaskEngine *engine, GPtrArray **report, GError **err)
{
    const Storage *storage = engine_storage(engine);
    g_autoptr(GPtrArray) rows = NULL;
    g_auto(BlockSecret) secret = {0};

    *report = NULL;
    if (!storage_reload_secret(storage, err) || !storage_secret(storage, &secret, err) ||
        !store_read(engine_store(engine), read_hosts, &rows, err))
        return false;
    if (!secret.uuid)
        return err_set(err, ERR_UNSUPPORTED,
                       "the storage driver %s has no key: its disks are files", storage->ops->name);
    /* The new connection has an address of its own; if it cannot be written down now, the next
     * sweep does it. */
    task_take_over_storage(engine, NULL);
    *report = g_ptr_array_new_with_free_func(g_free);
    give_key_to_all(engine, rows, &secret, *report);
    return true;
}
