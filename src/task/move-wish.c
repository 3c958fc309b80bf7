/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move-wish.c: what somebody asks of a live migration: that it stop, or that it end soon
 *
 * The wish is a field of the row, written in the request's transaction: it outlives a restart, and
 * the task reads it before each step and whenever it is told to. What can no longer come true is
 * refused here, with the reason; what is refused here never reaches a node. */
#include <string.h>

#include "task/task-priv.h"

static bool
refuse_type(const Migration *migration, GError **err)
{
    return err_set(err, ERR_INVALID,
                   "migration %" PRId64 " of server %s is of type %s: only a live migration can be "
                   "aborted or forced to its end%s",
                   migration->id, migration->server_id, migration->type,
                   strcmp(migration->type, "evacuation") == 0
                       ? ""
                       : "; take this one back with revertResize when it has finished");
}

/* Nothing is left that could be stopped or hurried. */
static bool
refuse_over(const Migration *migration, MigrationWish wish, GError **err)
{
    const char *what = wish == WISH_ABORT ? "aborted" : "forced to its end";

    if (migration->status == MIGRATION_POST_MIGRATING)
        return err_set(err, ERR_CONFLICT,
                       "migration %" PRId64
                       " cannot be %s: server %s runs on %s already, only what "
                       "is left on %s is being cleared away; to have it back on %s, move it again",
                       migration->id, what, migration->server_id, migration->dest_host,
                       migration->source_host, migration->source_host);
    return err_set(err, ERR_CONFLICT,
                   "migration %" PRId64 " of server %s cannot be %s: it is over, its status is %s",
                   migration->id, migration->server_id, what,
                   migration_status_names[migration->status]);
}

static bool
may_abort(const Migration *migration, GError **err)
{
    if (g_strcmp0(migration->phase, "post-copy") == 0)
        return err_set(err, ERR_CONFLICT,
                       "migration %" PRId64 " cannot be aborted: server %s has been handed over to "
                       "%s by post-copy and its memory is on both nodes now, so that only the end "
                       "of the move can bring it together; wait for that, and move it back to %s",
                       migration->id, migration->server_id, migration->dest_host,
                       migration->source_host);
    return true;
}

static bool
may_force(const Migration *migration, GError **err)
{
    if (migration->wish == WISH_ABORT)
        return err_set(err, ERR_CONFLICT,
                       "migration %" PRId64
                       " of server %s is being aborted: it cannot be forced to "
                       "its end any more; ask for a new move",
                       migration->id, migration->server_id);
    if (migration->status != MIGRATION_RUNNING)
        return err_set(err, ERR_CONFLICT,
                       "migration %" PRId64 " of server %s is not running yet (%s): only a move "
                       "whose guest is being sent can be forced to its end; ask again when its "
                       "status is running%s",
                       migration->id, migration->server_id,
                       migration_status_names[migration->status],
                       migration->status == MIGRATION_QUEUED
                           ? ", or have it sooner by asking for it with a higher priority"
                           : "");
    return true;
}

bool
task_submit_move_wish(StoreTx *tx, Migration *migration, MigrationWish wish, GError **err)
{
    if (strcmp(migration->type, "live-migration") != 0)
        return refuse_type(migration, err);
    if (migration_status_is_final(migration->status) ||
        migration->status == MIGRATION_POST_MIGRATING)
        return refuse_over(migration, wish, err);
    if (migration->wish == wish)
        return true;
    if (wish == WISH_ABORT ? !may_abort(migration, err) : !may_force(migration, err))
        return false;
    migration->wish = wish;
    migration->updated_at = clock_realtime();
    return store_update(tx, &MIGRATION, migration, err);
}
