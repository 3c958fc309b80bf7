/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-wish.c: a live migration under way is to stop (DELETE), or to end now (force_complete)
 *
 * The answer only says that the wish is kept; the move's record says what became of it. What is
 * refused, and with which status, is Nova's: 409 if the server does not move at all, 404 and 400
 * (for force_complete 400 both) if this migration is not the server's, or is past it. */
#include <string.h>

#include "api/compute-priv.h"

static const BodyMember force_body[] = {
    {.key = "force_complete", .type = BODY_NULL, .required = true},
    {0},
};

static bool
is_locked_for(const ApiCall *call, const Server *server)
{
    return server->locked && !call->caller->is_admin;
}

bool
compute_wish_submit(StoreTx *tx, ApiCall *call, const Server *server, Migration *move,
                    MigrationWish wish, GError **err)
{
    bool abort = wish == WISH_ABORT;

    if (is_locked_for(call, server))
        return err_set(err, ERR_CONFLICT, "Instance %s is locked", server->id);
    return task_submit_move_wish(tx, move, wish, err) &&
           compute_action_record(
               tx, call, server, abort ? "live_migration_cancel" : "live_migration_force_complete",
               abort ? "compute_live_migration_abort" : "compute_live_migration_force_complete",
               err);
}

/* Below 2.65 only what runs can be aborted: clients of that age do not expect that others can. */
static bool
wish_is_timely(const ApiCall *call, MigrationWish wish, const Migration *move, GError **err)
{
    bool waits = move->status == MIGRATION_ACCEPTED || move->status == MIGRATION_QUEUED ||
                 move->status == MIGRATION_PREPARING;

    if (wish != WISH_ABORT || !waits || api_microversion_at_least(call, 65))
        return true;
    return err_set(err, ERR_INVALID,
                   "Migration %" PRId64
                   " state of instance %s is %s. Cannot abort live migration while the migration "
                   "is in this state at microversion 2.%d: from 2.65 on it can be aborted, too.",
                   move->id, move->server_id, migration_status_names[move->status],
                   call->microversion);
}

static bool
wish_server_check(MigrationWish wish, const Server *server, GError **err)
{
    return server->task_state == TASK_MIGRATING ||
           err_set(err, ERR_CONFLICT,
                   "Cannot '%s' instance %s while it is in task_state %s: no live migration of it "
                   "is under way. How its last one ended is in 'nova migration-list "
                   "--instance-uuid %s'.",
                   wish == WISH_ABORT ? "abort live migration" : "force_complete", server->id,
                   server->task_state == TASK_NONE ? "None" : task_state_names[server->task_state],
                   server->id);
}

static Migration *
wish_find(StoreTx *tx, const ApiCall *call, MigrationWish wish, const Server *server, GError **err)
{
    const char *wanted = api_param(call, "migration");
    GError *error = NULL;
    int64_t id;
    g_autoptr(Migration) move =
        parse_int64(wanted, 1, INT64_MAX, &id) ? store_get_int(tx, &MIGRATION, id, &error) : NULL;

    if (move && strcmp(move->server_id, server->id) == 0)
        return g_steal_pointer(&move);
    if (error && !err_is(error, ERR_NOT_FOUND)) {
        g_propagate_error(err, error);
        return NULL;
    }
    g_clear_error(&error);
    err_set(err, wish == WISH_ABORT ? ERR_NOT_FOUND : ERR_INVALID,
            "Migration %s not found for instance %s. Those under way are in 'nova "
            "server-migration-list %s'.",
            wanted, server->id, server->id);
    return NULL;
}

static bool
wish_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    MigrationWish wish = *(const MigrationWish *)opaque;
    g_autoptr(Server) server = api_server_get(tx, call, api_param(call, "id"), err);
    g_autoptr(Migration) move = NULL;
    GError *error = NULL;

    if (!server || !wish_server_check(wish, server, err))
        return false;
    move = wish_find(tx, call, wish, server, err);
    if (!move || !wish_is_timely(call, wish, move, err))
        return false;
    if (compute_wish_submit(tx, call, server, move, wish, &error))
        return true;
    /* It has switched, or cannot go back: a state of the migration, and those are 400; a lock is
     * the server's. */
    if (err_is(error, ERR_CONFLICT) && !is_locked_for(call, server)) {
        err_set(err, ERR_INVALID, "%s", error->message);
        g_clear_error(&error);
    } else {
        g_propagate_error(err, error);
    }
    return false;
}

static void
wish_answer(ApiCall *call, MigrationWish wish, const char *rule)
{
    if (!compute_manager_needed(call, rule) || !api_write(call, wish_run, &wish))
        return;
    log_event(LOG_LEVEL_NOTICE, "api", "a live migration is to end", "wish",
              migration_wish_names[wish], "migration", api_param(call, "migration"), "server",
              api_param(call, "id"), "user", call->caller->user_name, "request_id",
              call->request_id, NULL);
    api_tell(call, api_param(call, "id"));
    api_reply_empty(call, 202);
}

void
compute_server_migration_abort(ApiCall *call)
{
    wish_answer(call, WISH_ABORT, "servers:migrations:delete");
}

void
compute_server_migration_action(ApiCall *call)
{
    if (body_accept(call, force_body))
        wish_answer(call, WISH_FORCE_COMPLETE, "servers:migrations:force_complete");
}
