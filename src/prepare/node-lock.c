/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* node-lock.c: one at a time prepares a node
 *
 * A directory on the node's /run, which a reboot empties. It names its owner and is touched from
 * here while we live, also while we only wait for other nodes. */
#include "prepare/prepare-node.h"

#define LOCK         "/run/godwit-prepare"
#define LOCK_SECONDS 20
#define TOUCH_USEC   (30 * USEC_PER_SEC)

/* find counts whole minutes: older than three. */
#define STALE_MINUTES "+2"

struct LockKeeper {
    PrepareRun *run;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop;
};

/* $1 owner */
static const char lock_script[] =
    "lock=" LOCK "\n"
    "stale=$(find \"$lock\" -maxdepth 0 -mmin " STALE_MINUTES " 2>/dev/null)\n"
    "[ -z \"$stale\" ] || rm -rf \"$lock\"\n"
    "if mkdir -m 700 \"$lock\" 2>/dev/null; then date >\"$lock/since\"; echo \"$1\" "
    ">\"$lock/owner\"\n"
    "elif [ ! -d \"$lock\" ]; then echo \"cannot make $lock: is /run writable?\" >&2; exit 1\n"
    "elif [ \"$(cat \"$lock/owner\" 2>/dev/null)\" = \"$1\" ]; then\n"
    "  echo \"this machine is named twice in this command, by different names\" >&2; exit 1\n"
    "else echo \"somebody else prepares this node, since $(cat \"$lock/since\" 2>/dev/null); wait, "
    "or "
    "try again in three minutes if that was called off: a lock that nobody holds is taken over "
    "then\" >&2; exit 1; fi";

static const char hold_script[] =
    "[ \"$(cat " LOCK "/owner 2>/dev/null)\" = \"$1\" ] && touch " LOCK
    " && echo held || echo lost";

static const char unlock_script[] =
    "[ \"$(cat " LOCK "/owner 2>/dev/null)\" != \"$1\" ] || rm -rf " LOCK;

bool
node_lock(PrepareNode *node, GError **err)
{
    const char *const args[] = {node->run->owner, NULL};

    node->locked = ssh_script(node->ssh, lock_script, args, LOCK_SECONDS, NULL, err);
    return node->locked;
}

bool
node_lock_hold(PrepareNode *node, GError **err)
{
    const char *const args[] = {node->run->owner, NULL};
    g_autofree char *answer = NULL;

    if (!ssh_script(node->ssh, hold_script, args, LOCK_SECONDS, &answer, err))
        return false;
    if (g_str_equal(answer, "held\n"))
        return true;
    node->locked = false;
    return err_set(err, ERR_CONFLICT,
                   "%s: this run was silent for minutes, and its lock there was taken over or "
                   "removed; see who else prepares this node, then run it again",
                   node->target->text);
}

/* Whoever prepares next need not wait until the lock is found to be stale. */
void
node_unlock(PrepareNode *node)
{
    const char *const args[] = {node->run->owner, NULL};

    if (!node->locked)
        return;
    ssh_shield(node->ssh, true);
    ssh_script(node->ssh, unlock_script, args, LOCK_SECONDS, NULL, NULL);
    node->locked = false;
}

/* One that does not answer is the business of the step that is at work there. */
static void
keeper_run(void *opaque)
{
    LockKeeper *keeper = opaque;
    PrepareRun *run = keeper->run;
    const char *const args[] = {run->owner, NULL};
    WITH_MUTEX(&keeper->mutex);

    while (!keeper->stop) {
        if (cond_wait_until(&keeper->wake, &keeper->mutex, clock_monotonic() + TOUCH_USEC))
            continue;
        pthread_mutex_unlock(&keeper->mutex);
        for (unsigned i = 0; i < run->n; i++) {
            if (run->nodes[i].locked)
                ssh_script(run->nodes[i].ssh, hold_script, args, LOCK_SECONDS, NULL, NULL);
        }
        pthread_mutex_lock(&keeper->mutex);
    }
}

LockKeeper *
lock_keeper_start(PrepareRun *run)
{
    LockKeeper *keeper = g_new0(LockKeeper, 1);

    keeper->run = run;
    pthread_mutex_init(&keeper->mutex, NULL);
    cond_init_monotonic(&keeper->wake);
    keeper->thread = thread_start("prepare-lock", keeper_run, keeper);
    return keeper;
}

void
lock_keeper_stop(LockKeeper *keeper)
{
    pthread_mutex_lock(&keeper->mutex);
    keeper->stop = true;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&keeper->mutex);
    pthread_join(keeper->thread, NULL);
    pthread_cond_destroy(&keeper->wake);
    pthread_mutex_destroy(&keeper->mutex);
    g_free(keeper);
}
