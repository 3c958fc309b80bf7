/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* token-cache.c: what recent validations found, so that a request does not read identity each time
 *
 * An entry is at most 30 s old. Any change of identity empties the cache and raises its generation;
 * a validation that began before that does not get in afterwards. */
#include <pthread.h>

#include "auth/auth-priv.h"

#define CACHE_ENTRIES 1000
#define CACHE_AGE     (30 * USEC_PER_SEC)

typedef struct CacheEntry {
    Caller *caller;
    int64_t until; /* realtime µs */
} CacheEntry;

struct TokenCache {
    pthread_mutex_t mutex;
    uint64_t generation;
    GHashTable *entries; /* token hash → CacheEntry */
};

static void
cache_entry_free(void *data)
{
    CacheEntry *entry = data;

    caller_free(entry->caller);
    g_free(entry);
}

TokenCache *
token_cache_new(void)
{
    TokenCache *cache = g_new0(TokenCache, 1);

    pthread_mutex_init(&cache->mutex, NULL);
    cache->entries = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, cache_entry_free);
    return cache;
}

void
token_cache_free(TokenCache *cache)
{
    if (!cache)
        return;
    g_hash_table_unref(cache->entries);
    pthread_mutex_destroy(&cache->mutex);
    g_free(cache);
}

void
token_cache_clear(TokenCache *cache)
{
    WITH_MUTEX(&cache->mutex);

    cache->generation++;
    g_hash_table_remove_all(cache->entries);
}

uint64_t
token_cache_generation(TokenCache *cache)
{
    WITH_MUTEX(&cache->mutex);

    return cache->generation;
}

Caller *
token_cache_find(TokenCache *cache, const char *id, int64_t now_us)
{
    WITH_MUTEX(&cache->mutex);
    const CacheEntry *entry = g_hash_table_lookup(cache->entries, id);

    /* a clock set back would make an entry live on: then it is not used either */
    if (!entry || now_us >= entry->until || now_us < entry->until - CACHE_AGE)
        return NULL;
    return caller_copy(entry->caller);
}

static gboolean
cache_entry_is_old(void *id, void *data, void *now)
{
    return ((const CacheEntry *)data)->until <= *(const int64_t *)now;
}

void
token_cache_add(TokenCache *cache, uint64_t generation, const Caller *caller, int64_t now_us)
{
    CacheEntry *entry;
    WITH_MUTEX(&cache->mutex);

    if (generation != cache->generation)
        return;
    if (g_hash_table_size(cache->entries) >= CACHE_ENTRIES)
        g_hash_table_foreach_remove(cache->entries, cache_entry_is_old, &now_us);
    if (g_hash_table_size(cache->entries) >= CACHE_ENTRIES)
        g_hash_table_remove_all(cache->entries);
    entry = g_new0(CacheEntry, 1);
    entry->caller = caller_copy(caller);
    entry->until = MIN(now_us + CACHE_AGE, caller->expires_at);
    /* the key lives in the value: the old pair must go before the new one comes */
    g_hash_table_remove(cache->entries, entry->caller->token_id);
    g_hash_table_insert(cache->entries, entry->caller->token_id, entry);
}
