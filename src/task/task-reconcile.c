/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-reconcile.c: brings the record of one server and what the nodes say together
 *
 * Submitted by watch when a node that was away shows a domain that the record does not expect
 * there, or when a server's whereabouts are uncertain and its nodes answer again. It asks every
 * node that may have the guest: the server's host, the two of its last move, and the one that made
 * somebody ask. Exactly one copy may run: after a move that broke off, the destination's if it
 * runs, since the source can only have been resumed later, from an older state. Only copies that
 * carry Godwit's mark are touched, and only on nodes that are up: what answers in the name of a
 * node that is not may be another machine, or one that has a second name. The copy that stays is
 * then given the volumes that the server has. */
#include <string.h>

#include "task/task-priv.h"

#define NODES            4
#define TEARDOWN_WAIT_US (10 * USEC_PER_SEC)

typedef struct Reconcile {
    Migration *last; /* NULL: never moved */
    const char *nodes[NODES];
    bool is_up[NODES];
    size_t n_nodes;
} Reconcile;

static bool
read_last_migration(StoreTx *tx, void *opaque, GError **err)
{
    TaskRun *run = opaque;
    Reconcile *plan = run->data;
    const StoreCond where[] = {{"server_id", STORE_EQ, run->task->server_id, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = store_list(
        tx, &MIGRATION, &(StoreQuery){.where = where, .descending = true, .limit = 1}, err);

    if (rows && rows->len > 0)
        plan->last = record_copy(&MIGRATION, g_ptr_array_index(rows, 0));
    return rows != NULL;
}

static void
reconcile_free(gpointer data)
{
    Reconcile *plan = data;

    migration_free(plan->last);
    g_free(plan);
}

static void
add_node(Reconcile *plan, const char *name)
{
    for (size_t i = 0; i < plan->n_nodes; i++)
        if (g_strcmp0(plan->nodes[i], name) == 0)
            return;
    if (name && plan->n_nodes < NODES)
        plan->nodes[plan->n_nodes++] = name;
}

static bool
read_nodes(StoreTx *tx, void *opaque, GError **err)
{
    Reconcile *plan = opaque;

    for (size_t i = 0; i < plan->n_nodes; i++) {
        const StoreCond where[] = {{"name", STORE_EQ, plan->nodes[i], 0}, {NULL}};
        g_autoptr(Host) host = store_find(tx, &HOST, where, NULL);

        plan->is_up[i] = host && host->state == HOST_UP;
    }
    return true;
}

static bool
make_plan(TaskRun *run, GError **err)
{
    Reconcile *plan = g_new0(Reconcile, 1);

    if (run->data)
        reconcile_free(run->data);
    run->data = plan;
    run->data_free = reconcile_free;
    if (!store_read(run_store(run), read_last_migration, run, err))
        return false;
    add_node(plan, run->server->host);
    add_node(plan, run->task->host);
    if (plan->last) {
        add_node(plan, plan->last->dest_host);
        add_node(plan, plan->last->source_host);
    }
    return store_read(run_store(run), read_nodes, plan, err);
}

/* Which copy is the guest? -1: none runs. */
static int
choose_copy(TaskRun *run, const Reconcile *plan, const Seen *seen)
{
    int found = -1;

    for (size_t i = 0; i < plan->n_nodes; i++) {
        if (seen[i] != SEEN_RUNNING && seen[i] != SEEN_MOVING)
            continue;
        if (found < 0)
            found = (int)i;
        else if (plan->last && g_strcmp0(plan->nodes[i], plan->last->dest_host) == 0 &&
                 run->server->uncertainty)
            found = (int)i;
    }
    return found;
}

/* A move made by hand is still being wound up on its source; whoever made it is waiting for just
 * that. */
static Seen
wait_for_teardown(TaskRun *run, const char *node, Seen seen)
{
    int64_t deadline = clock_monotonic() + TEARDOWN_WAIT_US;

    while (seen == SEEN_STOPPED_FOR_SWITCH && clock_monotonic() < deadline &&
           !run_is_stopping(run)) {
        run_message_free(run_receive(run, MIN(deadline, clock_monotonic() + USEC_PER_SEC), NULL));
        g_autoptr(DomainInfo) info =
            host_domain_probe(run_hosts(run), node, run->server->id, DEADLINE_CONTROL, NULL);

        seen = info ? seen_of(info, true) : SEEN_UNREACHABLE;
    }
    return seen;
}

static bool
remove_copy(TaskRun *run, const char *node, const char *keeper, Seen seen, GError **err)
{
    if (!run->server->uncertainty)
        seen = wait_for_teardown(run, node, seen);
    if (seen == SEEN_UNREACHABLE)
        return true; /* its next connect asks again */
    if (seen != SEEN_GONE)
        log_event(LOG_LEVEL_WARNING, "task", "stopping a second copy of a server", "server",
                  run->server->id, "on", node, "runs-on", keeper, NULL);
    return host_domain_destroy(run_hosts(run), node, run->server->id, DEADLINE_CONTROL, err) &&
           host_domain_undefine(run_hosts(run), node, run->server->id, DEADLINE_CONTROL, err);
}

static bool
reconcile(TaskRun *run, GError **err)
{
    Seen seen[NODES];
    bool ours[NODES];
    bool all_answer = true;
    Reconcile *plan;
    int keeper;

    if (run->server->vm_state == VM_DELETED) /* deleted while a copy was out of reach */
        return !run->task->host ||
               remove_copy(run, run->task->host, "no node: it was deleted", SEEN_RUNNING, err);
    if (!make_plan(run, err))
        return false;
    plan = run->data;
    for (size_t i = 0; i < plan->n_nodes; i++) {
        g_autoptr(DomainInfo) info = NULL;

        if (plan->is_up[i]) /* else its next sweep asks again */
            info = host_domain_probe(run_hosts(run), plan->nodes[i], run->server->id,
                                     DEADLINE_CONTROL, NULL);
        seen[i] = info ? seen_of(info, true) : SEEN_UNREACHABLE;
        ours[i] = info && (info->ours || info->state == DOMAIN_ABSENT);
        all_answer = all_answer && info;
    }
    keeper = choose_copy(run, plan, seen);
    run_set_state_text(run, "settled", all_answer ? "yes" : NULL);
    if (keeper < 0) {
        bool known_off = g_strcmp0(plan->nodes[0], run->server->host) == 0 && seen[0] == SEEN_GONE;

        run_set_state_text(run, "found", known_off && all_answer ? "off" : NULL);
        if (seen[0] == SEEN_STOPPED_FOR_SWITCH &&
            all_answer) /* stopped for a switch that never came, and nobody else has it */
            return host_domain_resume(run_hosts(run), plan->nodes[0], run->server->id,
                                      DEADLINE_CONTROL, err);
        return true;
    }
    run_set_state_text(run, "found", "running");
    run_set_state_text(run, "keeper", plan->nodes[keeper]);
    for (size_t i = 0; i < plan->n_nodes; i++)
        if ((int)i != keeper && seen[i] != SEEN_UNREACHABLE && ours[i] &&
            !remove_copy(run, plan->nodes[i], plan->nodes[keeper], seen[i], err))
            return false;
    if (ours[keeper])
        part_settle_volumes(run, plan->nodes[keeper]);
    return part_observe_clients(run, plan->nodes[keeper], err);
}

static void
record(TaskRun *run, Server *server)
{
    const char *found = run_state_text(run, "found");

    if (server->vm_state == VM_DELETED)
        return;
    if (run_state_text(run, "settled"))
        text_set(&server->uncertainty, NULL);
    if (g_strcmp0(found, "running") == 0) {
        text_set(&server->host, run_state_text(run, "keeper"));
        part_console_add(server, server->host);
        if (server->task_state == TASK_NONE && server->vm_state != VM_PAUSED) {
            server->vm_state = VM_ACTIVE;
            server->power_state = POWER_RUNNING;
            server->fault_code = 0;
            text_set(&server->fault_message, NULL);
        }
    } else if (g_strcmp0(found, "off") == 0 && server->task_state == TASK_NONE &&
               server->vm_state != VM_ERROR) {
        server->vm_state = VM_STOPPED;
        server->power_state = POWER_SHUTDOWN;
    }
}

static bool
succeed(TaskRun *run, StoreTx *tx, GError **err)
{
    return run_update_server(run, tx, record, err) && part_record_clients(run, tx, err);
}

static bool
fail(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    return true; /* nothing was claimed; the next connect asks again */
}

static const TaskStep steps[] = {{"reconcile", NULL, reconcile, NULL, NULL}};
const TaskKind task_server_reconcile = {"server-reconcile", steps,   1,
                                        20 * USEC_PER_SEC,  succeed, fail};

bool
task_submit_reconcile(StoreTx *tx, const char *server_id, const char *host, GError **err)
{
    const StoreCond same[] = {{"status", STORE_EQ, NULL, TASK_OPEN},
                              {"server_id", STORE_EQ, server_id, 0},
                              {"kind", STORE_EQ, task_server_reconcile.name, 0},
                              {NULL}};
    int64_t now = clock_realtime(), open = store_count(tx, &TASK, same, err);
    Task task = {
        .kind = (char *)task_server_reconcile.name,
        .server_id = (char *)server_id,
        .status = TASK_OPEN,
        .mark = TASK_MARK_INTENT,
        .params = (char *)"{}",
        .state = (char *)"{}",
        .host = (char *)host,
        .request_id = (char *)"", /* nobody asked for it */
        .user_id = (char *)"",
        .project_id = (char *)"",
        .created_at = now,
        .updated_at = now,
    };

    return open > 0 || (open == 0 && store_insert(tx, &TASK, &task, err));
}
