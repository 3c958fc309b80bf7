/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* auth-priv.h: what the files of auth/ share */
#pragma once

#include "auth/auth.h"

/* Hashing takes some 16 MiB and one core for tens of milliseconds: only two may run at once, the
 * others wait. Whoever holds a slot calls the _in_slot functions; the public ones take one
 * themselves. */
void password_slot_take(void);
void password_slot_release(void);
/* hash NULL: as much work as a real one, then false */
bool password_verify_in_slot(const char *password, const char *hash);

/* Failed log-ins of the last minute by key (a user name, an address). Bounded: the oldest entry
 * makes room. */
typedef struct LoginLimit LoginLimit;
LoginLimit *login_limit_new(int64_t attempts_per_minute);
void login_limit_free(LoginLimit *limit);
bool login_limit_permits(LoginLimit *limit, const char *kind, const char *key, int64_t now_us);
void login_limit_failed(LoginLimit *limit, const char *kind, const char *key, int64_t now_us);
void login_limit_reset(LoginLimit *limit, const char *kind, const char *key);

/* Outcomes of validation by token hash. Bounded in number and age. */
typedef struct TokenCache TokenCache;
TokenCache *token_cache_new(void);
void token_cache_free(TokenCache *cache);
void token_cache_clear(TokenCache *cache);
/* To be read before the store is, and given to add: what was read before a clear is not kept after
 * it. */
uint64_t token_cache_generation(TokenCache *cache);
Caller *
token_cache_find(TokenCache *cache, const char *id, int64_t now_us); /* a copy; NULL: not there */
void token_cache_add(TokenCache *cache, uint64_t generation, const Caller *caller, int64_t now_us);

Caller *caller_copy(const Caller *caller);
