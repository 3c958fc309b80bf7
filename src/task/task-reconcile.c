/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-reconcile.c: brings the record of one server and what the nodes say together
 *
 * Submitted by watch when a node shows what the record does not expect, or when a server's
 * whereabouts are uncertain and its nodes answer again. It asks every node that may have the guest:
 * the server's host, the two of its last move, and the one that made somebody ask. Exactly one copy
 * may run: after a move that broke off, the destination's if it runs, since the source can only
 * have been resumed later, from an older state. A copy on a node from which the server was
 * evacuated is never the guest. Only copies that carry Godwit's mark are touched, and only on nodes
 * that are up: what answers in the name of a node that is not may be another machine, or one that
 * has a second name. The copy that stays is then given the volumes that the server has.
 *
 * A guest that was lost with its node (it is off, and the node's libvirt has never seen it run) is
 * started again if the configuration says so: this task only asks for that, in the transaction in
 * which it ends, and only if no node that is up has the guest running. */
#include <string.h>

#include "task/fence.h"
#include "task/host-domains.h"
#include "task/unasked.h"

#define NODES            4
#define TEARDOWN_WAIT_US (10 * USEC_PER_SEC)

typedef struct Copy {
    const char *node;
    DomainInfo *info; /* NULL: not asked, or no answer */
    Seen seen;
    bool is_up;
    bool is_stale; /* the server was evacuated from there */
    bool is_held;  /* a resize keeps its definition, off */
} Copy;

typedef struct Reconcile {
    Migration *last; /* NULL: never moved */
    Copy copies[NODES];
    size_t n_copies;
    GPtrArray *others; /* char *: nodes that are up, beyond those */
    bool home_sees_storage, home_is_forced_down;
} Reconcile;

/* ---- whom to ask
 * -----------------------------------------------------------------------------------------
 */

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

    for (size_t i = 0; i < plan->n_copies; i++)
        domain_info_free(plan->copies[i].info);
    g_clear_pointer(&plan->others, g_ptr_array_unref);
    migration_free(plan->last);
    g_free(plan);
}

static Copy *
find_copy(Reconcile *plan, const char *node)
{
    for (size_t i = 0; i < plan->n_copies; i++)
        if (g_strcmp0(plan->copies[i].node, node) == 0)
            return &plan->copies[i];
    return NULL;
}

static void
add_node(Reconcile *plan, const char *name)
{
    if (name && !find_copy(plan, name) && plan->n_copies < NODES)
        plan->copies[plan->n_copies++] = (Copy){.node = name, .seen = SEEN_UNREACHABLE};
}

static bool
read_nodes(StoreTx *tx, void *opaque, GError **err)
{
    TaskRun *run = opaque;
    Reconcile *plan = run->data;
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, NULL, err);

    for (guint i = 0; hosts && i < hosts->len; i++) {
        const Host *host = g_ptr_array_index(hosts, i);
        Copy *copy = find_copy(plan, host->name);

        if (copy)
            copy->is_up = host->state == HOST_UP;
        else if (host->state == HOST_UP)
            g_ptr_array_add(plan->others, g_strdup(host->name));
        if (g_strcmp0(run->server->host, host->name) == 0) {
            plan->home_sees_storage = host->storage_visible;
            plan->home_is_forced_down = host->forced_down;
        }
    }
    for (size_t i = 0; hosts && i < plan->n_copies; i++) {
        Copy *copy = &plan->copies[i];

        copy->is_held = task_resize_holds(tx, run->task->server_id, copy->node);
        if (!fence_is_stale_copy(tx, run->task->server_id, copy->node, &copy->is_stale, err))
            return false;
    }
    return hosts != NULL;
}

static bool
make_plan(TaskRun *run, GError **err)
{
    Reconcile *plan = g_new0(Reconcile, 1);

    if (run->data)
        reconcile_free(run->data);
    run->data = plan;
    run->data_free = reconcile_free;
    plan->others = g_ptr_array_new_with_free_func(g_free);
    if (!store_read(run_store(run), read_last_migration, run, err))
        return false;
    add_node(plan, run->server->host);
    add_node(plan, run->task->host);
    if (plan->last) {
        add_node(plan, plan->last->dest_host);
        add_node(plan, plan->last->source_host);
    }
    return store_read(run_store(run), read_nodes, run, err);
}

static DomainInfo *
probe(TaskRun *run, const char *node, GError **err)
{
    return host_domain_probe(run_hosts(run), node, run->server_id, DEADLINE_CONTROL, err);
}

/* Does every node answer that was to be asked? */
static bool
look(TaskRun *run, Reconcile *plan)
{
    bool all_answer = true;

    for (size_t i = 0; i < plan->n_copies; i++) {
        Copy *copy = &plan->copies[i];

        if (copy->is_up) /* else its next sweep asks again */
            copy->info = probe(run, copy->node, NULL);
        copy->seen = copy->info ? seen_of(copy->info, true) : SEEN_UNREACHABLE;
        all_answer = all_answer && copy->info;
    }
    return all_answer;
}

/* ---- the copies
 * ------------------------------------------------------------------------------------------
 */

/* Godwit's own; where the record has the server, its id is enough. */
static bool
is_ours(TaskRun *run, const Copy *copy)
{
    return copy->info && (copy->info->ours || g_strcmp0(copy->node, run->server->host) == 0);
}

/* What a resize keeps is not the guest, even if somebody starts it: the record would then say one
 * host and the resize, which is still to be confirmed or reverted, the other. */
static bool
is_kept_elsewhere(TaskRun *run, const Copy *copy)
{
    return copy->is_held && g_strcmp0(copy->node, run->server->host) != 0;
}

/* Half of a guest that post-copy broke in two runs nowhere. */
static bool
is_half(const Copy *copy)
{
    return copy->info->state == DOMAIN_PAUSED_POSTCOPY_FAILED;
}

/* Which copy is the guest? NULL: none runs. */
static Copy *
choose_copy(TaskRun *run, Reconcile *plan)
{
    Copy *found = NULL;

    for (size_t i = 0; i < plan->n_copies; i++) {
        Copy *copy = &plan->copies[i];

        if ((copy->seen != SEEN_RUNNING && copy->seen != SEEN_MOVING) || is_half(copy) ||
            copy->is_stale || is_kept_elsewhere(run, copy) || !is_ours(run, copy))
            continue;
        if (!found || (plan->last && g_strcmp0(copy->node, plan->last->dest_host) == 0 &&
                       run->server->uncertainty))
            found = copy;
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
        g_autoptr(DomainInfo) info = probe(run, node, NULL);

        seen = info ? seen_of(info, true) : SEEN_UNREACHABLE;
    }
    return seen;
}

static bool
remove_copy(TaskRun *run, const Copy *copy, const char *keeper, GError **err)
{
    Seen seen = copy->seen;

    if (!run->server->uncertainty && !copy->is_stale)
        seen = wait_for_teardown(run, copy->node, seen);
    if (seen == SEEN_UNREACHABLE)
        return true; /* its next connect asks again */
    if (seen != SEEN_GONE)
        log_event(LOG_LEVEL_WARNING, "task", "stopping a second copy of a server", "server",
                  run->server->id, "on", copy->node, "runs-on", keeper, NULL);
    if (!host_domain_destroy(run_hosts(run), copy->node, run->server->id, DEADLINE_CONTROL, err))
        return false;
    return copy->is_held ||
           host_domain_undefine(run_hosts(run), copy->node, run->server->id, DEADLINE_CONTROL, err);
}

static bool
may_remove(const Copy *copy)
{
    return copy->info && copy->info->ours && copy->info->state != DOMAIN_ABSENT &&
           !copy->info->postcopy && !(copy->is_held && copy->seen == SEEN_GONE);
}

static bool
remove_others(TaskRun *run, Reconcile *plan, const Copy *keeper, GError **err)
{
    for (size_t i = 0; i < plan->n_copies; i++) {
        const Copy *copy = &plan->copies[i];

        if (copy != keeper && may_remove(copy) && !remove_copy(run, copy, keeper->node, err))
            return false;
    }
    return true;
}

/* ---- it runs
 * ---------------------------------------------------------------------------------------------
 */

static void
remember(TaskRun *run, VmState vm_state, PowerState power_state)
{
    run_set_state_int(run, "vm", vm_state);
    run_set_state_int(run, "power", power_state);
}

static bool
settle_running(TaskRun *run, Reconcile *plan, const Copy *keeper, GError **err)
{
    VmState vm = VM_ACTIVE;
    PowerState power = POWER_RUNNING;

    domain_observe(keeper->info, &vm, &power);
    remember(run, vm, power);
    run_set_state_text(run, "keeper", keeper->node);
    if (!remove_others(run, plan, keeper, err))
        return false;
    if (keeper->info->ours)
        part_settle_volumes(run, keeper->node);
    return part_observe_clients(run, keeper->node, err);
}

/* ---- it is off
 * -------------------------------------------------------------------------------------------
 */

typedef enum Elsewhere {
    ELSEWHERE_NOTHING,
    ELSEWHERE_UNMARKED, /* somebody's copy runs: nobody touches it, nor starts another */
    ELSEWHERE_UNCLEAR,  /* a copy of ours runs, which the next sweep there reports, or no answer */
} Elsewhere;

/* A copy that a person moved by hand may run on any node. */
static Elsewhere
look_elsewhere(TaskRun *run, const Reconcile *plan)
{
    Elsewhere found = ELSEWHERE_NOTHING;

    for (guint i = 0; i < plan->others->len; i++) {
        g_autoptr(DomainInfo) info = probe(run, g_ptr_array_index(plan->others, i), NULL);

        if (!info || (info->ours && seen_of(info, true) != SEEN_GONE))
            return ELSEWHERE_UNCLEAR;
        if (seen_of(info, true) != SEEN_GONE)
            found = ELSEWHERE_UNMARKED;
    }
    return found;
}

/* Why a guest is off that nobody stopped; NULL: it powered itself off, or somebody did it. */
static const char *
why_off(VmState before, const DomainInfo *info)
{
    bool had_guest = before == VM_ACTIVE || before == VM_PAUSED;

    if (had_guest && info->never_ran)
        return "was lost when the node was started anew; os-start boots it";
    if ((had_guest || before == VM_SUSPENDED) && info->state == DOMAIN_ABSENT)
        return "is gone with its definition, which was removed by hand; os-start defines it again "
               "and boots it";
    if (before == VM_SUSPENDED)
        return "lost the memory that was saved when it was suspended, by hand or with the node; "
               "os-start boots it";
    return NULL;
}

/* The guest was lost with its node and is to run again. *wait: not yet. */
static bool
is_to_resume(TaskRun *run, const Reconcile *plan, const Copy *home, bool *wait)
{
    bool lost = run_settings(run)->resume_guests && run->server->vm_state == VM_ACTIVE &&
                run->server->task_state == TASK_NONE && home->info->never_ran && !home->info->saved;
    Elsewhere elsewhere = lost ? look_elsewhere(run, plan) : ELSEWHERE_NOTHING;

    *wait = lost && (!plan->home_sees_storage || elsewhere == ELSEWHERE_UNCLEAR);
    return lost && !*wait && !plan->home_is_forced_down && elsewhere == ELSEWHERE_NOTHING;
}

static bool
settle_off(TaskRun *run, Reconcile *plan, const Copy *home, GError **err)
{
    VmState vm = VM_STOPPED;
    PowerState power = POWER_SHUTDOWN;
    bool wait;

    domain_observe(home->info, &vm, &power);
    if (is_to_resume(run, plan, home, &wait))
        run_set_state_text(run, "resume", "yes");
    else if (wait) /* the next sweep asks again */
        return true;
    remember(run, vm, power);
    if (vm == VM_STOPPED)
        run_set_state_text(run, "why", why_off(run->server->vm_state, home->info));
    /* What a resize that was confirmed while its source was away has left there. */
    for (size_t i = 0; i < plan->n_copies; i++) {
        const Copy *copy = &plan->copies[i];

        if (copy != home && copy->seen == SEEN_GONE && may_remove(copy) && !copy->info->saved &&
            run->server->task_state == TASK_NONE && !remove_copy(run, copy, "no node", err))
            return false;
    }
    return true;
}

/* Memory that post-copy left behind for a guest that is on no node: nobody has any use for it, and
 * its QEMU has the disks open. */
static bool
remove_leavings(TaskRun *run, const Reconcile *plan, const Copy *home, GError **err)
{
    const Copy *left = NULL;

    for (size_t i = 0; i < plan->n_copies; i++) {
        const Copy *copy = &plan->copies[i];

        if (copy == home || copy->seen == SEEN_GONE)
            continue;
        if (left || copy->seen != SEEN_POSTCOPY || !copy->info->ours)
            return true;
        left = copy;
    }
    return !left || remove_copy(run, left, "no node", err);
}

static bool
settle_stopped(TaskRun *run, Reconcile *plan, bool all_answer, GError **err)
{
    Copy *home = find_copy(plan, run->server->host);

    for (size_t i = 0; i < plan->n_copies; i++) { /* evacuated, and stopped since */
        const Copy *copy = &plan->copies[i];

        if (copy->is_stale && may_remove(copy) && !remove_copy(run, copy, "no node", err))
            return false;
    }
    if (!home || !home->info)
        return true;
    if (home->seen == SEEN_GONE && all_answer && !remove_leavings(run, plan, home, err))
        return false;
    if (home->seen == SEEN_GONE && (all_answer || !run->server->uncertainty))
        return settle_off(run, plan, home, err);
    if (home->seen == SEEN_STOPPED_FOR_SWITCH && all_answer && !home->info->postcopy)
        /* for a switch that never came, and nobody else has it */
        return host_domain_resume(run_hosts(run), home->node, run->server->id, DEADLINE_CONTROL,
                                  err);
    return true;
}

/* ---- the step
 * --------------------------------------------------------------------------------------------
 */

/* Deleted while a copy was out of reach. */
static bool
remove_deleted(TaskRun *run, GError **err)
{
    g_autoptr(DomainInfo) info = run->task->host ? probe(run, run->task->host, err) : NULL;
    const Copy copy = {.node = run->task->host, .info = info, .seen = SEEN_RUNNING};

    if (!run->task->host)
        return true;
    return info && (!may_remove(&copy) || remove_copy(run, &copy, "no node: it was deleted", err));
}

static bool
reconcile(TaskRun *run, GError **err)
{
    Reconcile *plan;
    Copy *keeper;
    bool all_answer;

    if (run->server->vm_state == VM_DELETED)
        return remove_deleted(run, err);
    if (!make_plan(run, err))
        return false;
    plan = run->data;
    all_answer = look(run, plan);
    run_set_state_text(run, "settled", all_answer ? "yes" : NULL);
    run_set_state_text(run, "keeper", NULL);
    run_set_state_text(run, "resume", NULL);
    run_set_state_text(run, "why", NULL);
    run_set_state_int(run, "vm", -1);
    keeper = choose_copy(run, plan);
    return keeper ? settle_running(run, plan, keeper, err)
                  : settle_stopped(run, plan, all_answer, err);
}

/* ---- the record
 * ------------------------------------------------------------------------------------------
 */

static void
record_running(TaskRun *run, Server *server)
{
    text_set(&server->host, run_state_text(run, "keeper"));
    part_console_add(server, server->host);
    if (server->task_state != TASK_NONE)
        return;
    server->power_state = (PowerState)run_state_int(run, "power", POWER_RUNNING);
    if (server->vm_state == VM_RESIZED)
        return;
    server->vm_state = (VmState)run_state_int(run, "vm", VM_ACTIVE);
    server->fault_code = 0;
    text_set(&server->fault_message, NULL);
}

static void
record_off(TaskRun *run, Server *server)
{
    const char *why = run_state_text(run, "why");

    if (server->task_state != TASK_NONE)
        return;
    server->power_state = (PowerState)run_state_int(run, "power", POWER_SHUTDOWN);
    if (server->vm_state == VM_RESIZED || server->vm_state == VM_ERROR)
        return;
    server->vm_state = (VmState)run_state_int(run, "vm", VM_STOPPED);
    if (why) {
        g_autofree char *message = g_strdup_printf("the guest on %s %s", server->host, why);

        server->fault_code = 500;
        text_set(&server->fault_message, message);
        server->fault_at = clock_realtime();
    }
}

/* An event was recorded since the nodes were asked: it is as new, or newer, and its like will
 * follow if it is not. */
static bool
is_overtaken(const TaskRun *run, const Server *server)
{
    return server->vm_state != run->server->vm_state ||
           server->power_state != run->server->power_state;
}

static void
record(TaskRun *run, Server *server)
{
    if (server->vm_state == VM_DELETED)
        return;
    if (run_state_text(run, "settled"))
        text_set(&server->uncertainty, NULL);
    if (is_overtaken(run, server))
        return;
    if (run_state_text(run, "keeper"))
        record_running(run, server);
    else if (run_state_int(run, "vm", -1) >= 0)
        record_off(run, server);
}

static bool
succeed(TaskRun *run, StoreTx *tx, GError **err)
{
    VmState before = run->server->vm_state;

    if (!run_update_server(run, tx, record, err) || !part_record_clients(run, tx, err))
        return false;
    if (run->server->vm_state != VM_STOPPED || before == VM_STOPPED)
        return true;
    if (run_state_text(run, "why") &&
        !unasked_stop_note(tx, run->server, run->server->fault_message, err))
        return false;
    return !run_state_text(run, "resume") || unasked_start(tx, run->server, err);
}

static bool
fail(TaskRun *run, StoreTx *tx, const GError *reason, GError **err)
{
    return true; /* nothing was claimed; the next connect asks again */
}

static const TaskStep steps[] = {{"reconcile", NULL, reconcile, NULL, NULL}};
const TaskKind task_server_reconcile = {"server-reconcile", steps,   1,
                                        20 * USEC_PER_SEC,  succeed, fail};

/* One that is at work may have looked already: the next looks at what came since. */
#define OPEN_MOST 2

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

    return open >= OPEN_MOST || (open >= 0 && store_insert(tx, &TASK, &task, err));
}
