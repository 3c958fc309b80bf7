/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* login-limit.c: how often somebody may get a password wrong */
#include <pthread.h>
#include <string.h>

#include "auth/auth-priv.h"

#define LIMIT_ENTRIES 1024
#define LIMIT_WINDOW  (60 * USEC_PER_SEC)

typedef struct LimitEntry {
    int64_t since; /* first failure of the window */
    int64_t failures;
} LimitEntry;

struct LoginLimit {
    pthread_mutex_t mutex;
    int64_t attempts;
    GHashTable *entries; /* "kind:key" → LimitEntry */
};

LoginLimit *
login_limit_new(int64_t attempts_per_minute)
{
    LoginLimit *limit = g_new0(LoginLimit, 1);

    pthread_mutex_init(&limit->mutex, NULL);
    limit->attempts = attempts_per_minute;
    limit->entries = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return limit;
}

void
login_limit_free(LoginLimit *limit)
{
    if (!limit)
        return;
    g_hash_table_unref(limit->entries);
    pthread_mutex_destroy(&limit->mutex);
    g_free(limit);
}

bool
login_limit_permits(LoginLimit *limit, const char *kind, const char *key, int64_t now_us)
{
    g_autofree char *name = g_strdup_printf("%s:%.256s", kind, key);
    WITH_MUTEX(&limit->mutex);
    const LimitEntry *entry = g_hash_table_lookup(limit->entries, name);

    return !entry || now_us - entry->since >= LIMIT_WINDOW || entry->failures < limit->attempts;
}

static void
limit_make_room(LoginLimit *limit, int64_t now_us)
{
    GHashTableIter iter;
    void *name, *value;
    const char *oldest = NULL;
    int64_t since = INT64_MAX;

    if (g_hash_table_size(limit->entries) < LIMIT_ENTRIES)
        return;
    g_hash_table_iter_init(&iter, limit->entries);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        const LimitEntry *entry = value;

        if (now_us - entry->since >= LIMIT_WINDOW) {
            g_hash_table_iter_remove(&iter);
        } else if (entry->since < since) {
            since = entry->since;
            oldest = name;
        }
    }
    if (oldest && g_hash_table_size(limit->entries) >= LIMIT_ENTRIES)
        g_hash_table_remove(limit->entries, oldest);
}

void
login_limit_failed(LoginLimit *limit, const char *kind, const char *key, int64_t now_us)
{
    g_autofree char *name = g_strdup_printf("%s:%.256s", kind, key);
    WITH_MUTEX(&limit->mutex);
    LimitEntry *entry = g_hash_table_lookup(limit->entries, name);

    if (!entry) {
        limit_make_room(limit, now_us);
        entry = g_new0(LimitEntry, 1);
        entry->since = now_us;
        g_hash_table_insert(limit->entries, g_steal_pointer(&name), entry);
    } else if (now_us - entry->since >= LIMIT_WINDOW) {
        entry->since = now_us;
        entry->failures = 0;
    }
    entry->failures++;
}

void
login_limit_reset(LoginLimit *limit, const char *kind, const char *key)
{
    g_autofree char *name = g_strdup_printf("%s:%.256s", kind, key);
    WITH_MUTEX(&limit->mutex);

    g_hash_table_remove(limit->entries, name);
}
