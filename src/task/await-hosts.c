/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* await-hosts.c: just after the start, nodes have not shown yet whether they are there
 *
 * Every node is unknown until this process has been connected to it and has taken stock of it. A
 * task that is taken up before that would find no place for a server, no common CPU, nobody who
 * can say whether a disk is in use, and end in an error that a second later nobody understands. So
 * for a bounded time after the start a task waits, each for what it needs: the node of its server
 * in any case; all of them, but not as long, where it chooses among nodes or asks them all. A node
 * that is known to be down is waited for by nobody.
 *
 * A move whose transfer may have begun does not wait here: it waits for both of its nodes itself,
 * and meanwhile the guest moves. Volumes without a server need no node. */
#include "task/await-hosts.h"

#include "task/task-priv.h"

/* After the start, for a node without which the task cannot do anything. */
#define NEEDED_WAIT_US (30 * USEC_PER_SEC)
/* The same for the others: one that hangs must not keep every server from being made. */
#define OTHERS_WAIT_US (8 * USEC_PER_SEC)
/* Should the news of a node be lost. */
#define LOOK_US USEC_PER_SEC

typedef struct Outlook {
    TaskRun *run;
    bool has_place;   /* a node for the server is known, or nothing can be known by waiting */
    bool has_unknown; /* some node that may be used has not shown itself */
} Outlook;

static bool
needs_all(const TaskKind *kind)
{
    return kind == &task_server_create || kind == &task_server_start ||
           kind == &task_server_reboot || kind == &task_server_reconcile ||
           kind == &task_server_resize || kind == &task_server_confirm_resize ||
           kind == &task_server_revert_resize || kind == &task_server_evacuate ||
           kind == &task_volume_attach || kind == &task_server_live_migrate;
}

/* The server is nowhere yet: is there a place among the nodes that are known? */
static bool
finds_place(TaskRun *run, StoreTx *tx)
{
    g_autofree char *host = NULL;

    return part_find_place(run, tx, &host, NULL);
}

static bool
look_out(StoreTx *tx, void *opaque, GError **err)
{
    Outlook *outlook = opaque;
    TaskRun *run = outlook->run;
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, NULL, err);

    if (!hosts)
        return false;
    server_free(run->server);
    run->server = store_get(tx, &SERVER, run->server_id, NULL);
    outlook->has_place = true;
    outlook->has_unknown = false;
    for (guint i = 0; i < hosts->len; i++) {
        const Host *host = g_ptr_array_index(hosts, i);

        if (host->state != HOST_UNKNOWN)
            continue;
        outlook->has_unknown |= !host->forced_down;
        if (run->server && !host->forced_down && g_strcmp0(run->server->host, host->name) == 0)
            outlook->has_place = false;
    }
    if (run->server && !run->server->host && run->kind == &task_server_create &&
        outlook->has_unknown)
        outlook->has_place = finds_place(run, tx);
    return true;
}

static bool
is_moving(const TaskRun *run)
{
    return run->kind == &task_server_live_migrate &&
           (run->task->mark != TASK_MARK_INTENT || run->task->phase > run->kind->cancel_through);
}

void
run_await_hosts(TaskRun *run, int64_t started_at)
{
    Outlook outlook = {.run = run};

    if (!*run->server_id || is_moving(run))
        return;
    while (!run_is_stopping(run) && !__atomic_load_n(&run->cancelled, __ATOMIC_RELAXED)) {
        int64_t now = clock_monotonic(), until = started_at;

        if (now >= started_at + NEEDED_WAIT_US ||
            !store_read(run_store(run), look_out, &outlook, NULL))
            return;
        if (!outlook.has_place)
            until += NEEDED_WAIT_US;
        else if (outlook.has_unknown && needs_all(run->kind))
            until += OTHERS_WAIT_US;
        if (now >= until)
            return;
        g_autoptr(RunMessage) message = run_receive(run, MIN(until, now + LOOK_US), NULL);
        if (message && message->kind == RUN_WISH)
            return; /* maybe it is not to begin at all */
    }
}
