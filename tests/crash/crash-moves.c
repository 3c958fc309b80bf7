/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* crash-moves.c: live migrations that are steered, or go on to another host, for crash.c */
#include "crash-moves.h"

#include <string.h>

/* Long enough for a wish to find it under way, short enough for whoever takes it up. */
#define STEERED_US (200 * USEC_PER_MSEC)

static void
migrate_and_wish(Rig *rig, const char *server_id, MigrationWish wish)
{
    int64_t id;

    host_fake_set_timing(rig->world, STEERED_US, 10 * USEC_PER_MSEC);
    id = rig_migrate(rig, server_id, "host2", NULL);
    for (uint64_t seen = 0;;) {
        g_autoptr(Migration) row = rig_migration(rig, id);

        if (strcmp(row->phase, "transfer") == 0)
            break;
        seen = store_wait_change(rig->store, seen, clock_monotonic() + 20 * USEC_PER_MSEC);
    }
    rig_wish(rig, id, wish, NULL);
}

void
crash_run_abort(Rig *rig, const char *server_id)
{
    migrate_and_wish(rig, server_id, WISH_ABORT);
}

void
crash_run_pause(Rig *rig, const char *server_id)
{
    migrate_and_wish(rig, server_id, WISH_FORCE_COMPLETE);
}

void
crash_run_post_copy(Rig *rig, const char *server_id)
{
    rig->libvirt->migrate_flags |= MIGRATE_POSTCOPY;
    migrate_and_wish(rig, server_id, WISH_FORCE_COMPLETE);
}

/* No host is named, and with the first the move breaks off. */
void
crash_run_retry(Rig *rig, const char *server_id)
{
    host_fake_set_fault(rig->world, 2, FAKE_MIGRATE_FAILS);
    rig_migrate(rig, server_id, NULL, NULL);
}
