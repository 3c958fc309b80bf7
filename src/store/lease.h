/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lease.h: inside of store/: who may act. A lock file for a state file, an object of its own for a
 * state on RADOS */
#pragma once

#include "store/store.h"

/* lease-file.c: PATH.lock, held until lease_file_close or the end of the process. -1 on error. */
int lease_file_open(const char *path, GError **err);
void lease_file_close(int fd);

/* ---- state-uri.c ---- */
typedef struct StateUri {
    char *pool, *space, *name; /* "rados:POOL/NAMESPACE/NAME" */
} StateUri;
bool state_uri_parse(const char *text, StateUri *uri, GError **err);
void state_uri_clear(StateUri *uri);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(StateUri, state_uri_clear)

/* ---- lease-guard.c: until when this process may act ----
 *
 * The owner's own clock decides, never an answer that may come late. All of it may be called from
 * any thread, lease_guard_check from a signal handler too. */
typedef struct LeaseGuard LeaseGuard;
/* The lease is gone; why is one line. Does not return in godwitd. */
typedef void (*LeaseLostFn)(const char *why, void *opaque);
/* CLOCK_BOOTTIME in microseconds: it goes on while the machine sleeps. */
int64_t lease_clock(void);

/* valid_us: how long one acknowledged renewal lets us act, counted from before it was sent.
 * lost NULL: write the reason to stderr with write(2), and _exit. clock NULL: lease_clock. */
LeaseGuard *
lease_guard_new(int64_t valid_us, LeaseLostFn lost, void *opaque, int64_t (*clock)(void));
/* A renewal that was sent at sent_us was acknowledged. Never shortens. Without effect once lost. */
void lease_guard_renewed(LeaseGuard *guard, int64_t sent_us);
bool lease_guard_valid(const LeaseGuard *guard);
/* Calls lost if the time is over. Async-signal-safe as far as lost is (the default is). */
void lease_guard_check(LeaseGuard *guard);
/* The lease is known to be gone, or its holder unable to work. */
void lease_guard_lose(LeaseGuard *guard, const char *why);
/* A thread that calls lost when the time is over, whatever others wait for. After the first
 * renewal. */
void lease_guard_watch(LeaseGuard *guard);
/* Gives up on purpose: no longer valid, and lost is not called any more. */
void lease_guard_release(LeaseGuard *guard);
void lease_guard_free(LeaseGuard *guard);

/* ---- lease-rados.c ---- */
typedef struct LeaseRados LeaseRados;

/* Blocks until this process owns the lease and every client of former owners is blocklisted, read
 * back, and known by our own map: from the return on, nothing of theirs reaches the database.
 * Renewed by a thread of its own from then on. Reports to config->on_wait. */
LeaseRados *lease_rados_take(const StoreConfig *config, const StateUri *uri, GError **err);
/* Write our client's address down, so that who comes next blocklists it. Before its first use. */
bool lease_rados_record_client(LeaseRados *lease, const char *address, GError **err);
/* Blocklists the clients of former owners, as far as it is not done. After all of ours are
 * recorded. */
bool lease_rados_fence(LeaseRados *lease, GError **err);
/* The epoch, for people and for the next owner. */
bool lease_rados_announce(LeaseRados *lease, int64_t epoch, GError **err);
LeaseGuard *lease_rados_guard(LeaseRados *lease);
/* Strikes our clients out (they must be closed), lets go of the lease and wakes those who wait. */
void lease_rados_close(LeaseRados *lease);
