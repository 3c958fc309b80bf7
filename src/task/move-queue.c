/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move-queue.c: which of the live migrations that were asked for may be under way
 *
 * A move that waits is a row and nothing else: no thread and no place among the workers. Each time
 * the scheduler looks at the open tasks (a request came, a task ended, a move chose its host) it
 * has the queue decided anew, from the store alone. A move counts on its source and on its
 * destination from its admission until its record is closed, clean-up included: that long libvirt
 * is busy with it.
 *
 * Where no destination was named, the move needs a place on some host that it fits. Which one is
 * known when it has reserved it; until then it is counted against the free places of all that it
 * could take. The host that it then reserves must have a place at that very moment
 * (move_queue_has_place), or it goes back to the queue; so the limit is never passed. */
#include "task/move-queue.h"

#include <string.h>

#include "task/move.h"

#define CLIENT_REQUESTS_DEFAULT 5 /* of a libvirtd that did not say */

/* ---- the decision -------------------------------------------------------------------------
 */

static QueueHost *
find_host(QueueHost *hosts, size_t n_hosts, const char *name)
{
    for (size_t i = 0; name && i < n_hosts; i++)
        if (strcmp(hosts[i].name, name) == 0)
            return &hosts[i];
    return NULL;
}

static bool
has_room(int64_t used, int64_t most)
{
    return most <= 0 || used < most;
}

static int
compare_moves(const void *left, const void *right)
{
    const QueueMove *a = *(const QueueMove *const *)left, *b = *(const QueueMove *const *)right;

    if (a->priority != b->priority)
        return a->priority > b->priority ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

typedef struct Choice {
    QueueHost *hosts;
    size_t n_hosts;
    bool *fits;
    int64_t under_way, undecided; /* undecided: of those, the ones without a destination */
    QueueFitsFn fn;
    void *opaque;
} Choice;

/* Is a place left for one that may go to any host that it fits, when all that are undecided have
 * taken theirs? */
static bool
finds_place(Choice *choice, const QueueMove *move)
{
    int64_t places = 0;

    memset(choice->fits, 0, choice->n_hosts * sizeof *choice->fits);
    if (choice->fn(move, choice->fits, choice->opaque) == 0)
        return true;
    for (size_t i = 0; i < choice->n_hosts; i++) {
        const QueueHost *host = &choice->hosts[i];

        if (!choice->fits[i])
            continue;
        if (host->in_most <= 0)
            return true;
        places += MAX(host->in_most - host->in, 0);
    }
    return places > choice->undecided;
}

static void
count_in(Choice *choice, const QueueMove *move)
{
    QueueHost *source = find_host(choice->hosts, choice->n_hosts, move->source);
    QueueHost *dest = find_host(choice->hosts, choice->n_hosts, move->dest);

    choice->under_way++;
    if (source)
        source->out++;
    if (dest)
        dest->in++;
    choice->undecided += !move->dest;
}

static bool
may_start(Choice *choice, const QueueMove *move)
{
    const QueueHost *source = find_host(choice->hosts, choice->n_hosts, move->source);
    const QueueHost *dest = find_host(choice->hosts, choice->n_hosts, move->dest);

    if (source && !has_room(source->out, source->out_most))
        return false;
    if (move->dest)
        return !dest || has_room(dest->in, dest->in_most);
    return finds_place(choice, move);
}

void
move_queue_choose(QueueMove *moves, size_t n_moves, QueueHost *hosts, size_t n_hosts, int64_t total,
                  QueueFitsFn fits, void *opaque)
{
    g_autoptr(GPtrArray) waiting = g_ptr_array_new();
    g_autofree bool *fit = g_new0(bool, n_hosts + 1);
    Choice choice = {hosts, n_hosts, fit, 0, 0, fits, opaque};

    for (size_t i = 0; i < n_hosts; i++)
        hosts[i].out = hosts[i].in = 0;
    for (size_t i = 0; i < n_moves; i++) {
        moves[i].start = false;
        if (moves[i].under_way)
            count_in(&choice, &moves[i]);
        else if (moves[i].ready)
            g_ptr_array_add(waiting, &moves[i]);
    }
    g_ptr_array_sort(waiting, compare_moves);
    for (guint i = 0; i < waiting->len && has_room(choice.under_way, total); i++) {
        QueueMove *move = g_ptr_array_index(waiting, i);

        if (!may_start(&choice, move))
            continue;
        move->start = true;
        count_in(&choice, move);
    }
}

/* ---- its application ----------------------------------------------------------------------
 */

static int64_t
out_limit(const TaskSettings *settings, const Host *host)
{
    int64_t requests =
        host->max_client_requests > 0 ? host->max_client_requests : CLIENT_REQUESTS_DEFAULT;
    int64_t served = MAX(1, requests - 1); /* as many long calls does the node's work lane take */

    return settings->moves_out > 0 ? MIN(settings->moves_out, served) : served;
}

static bool
is_under_way(const Migration *row)
{
    return row->status != MIGRATION_ACCEPTED && row->status != MIGRATION_QUEUED;
}

/* Every live migration that is not over. */
static GPtrArray *
list_open(StoreTx *tx, GError **err)
{
    static const MigrationStatus open[] = {MIGRATION_ACCEPTED, MIGRATION_QUEUED,
                                           MIGRATION_PREPARING, MIGRATION_RUNNING,
                                           MIGRATION_POST_MIGRATING};
    g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func((GDestroyNotify)migration_free);

    for (size_t i = 0; i < G_N_ELEMENTS(open); i++) {
        const StoreCond where[] = {
            {"status", STORE_EQ, NULL, open[i]}, {"type", STORE_EQ, "live-migration", 0}, {NULL}};
        GPtrArray *some = store_list(tx, &MIGRATION, &(StoreQuery){.where = where}, err);

        if (!some)
            return NULL;
        g_ptr_array_extend_and_steal(rows, some);
    }
    return g_steal_pointer(&rows);
}

typedef struct Admission {
    const TaskSettings *settings;
    GHashTable *ready, *held;
    bool write;   /* else only see whether there is something to write */
    bool changes; /* out */
    StoreTx *tx;
    GPtrArray *rows, *hosts; /* Migration, Host */
    HostLoad *loads;         /* NULL until somebody asks; of hosts, same index */
    QueueMove *moves;        /* of rows, same index */
} Admission;

static void
admission_clear(Admission *admission)
{
    g_clear_pointer(&admission->rows, g_ptr_array_unref);
    g_clear_pointer(&admission->hosts, g_ptr_array_unref);
    g_clear_pointer(&admission->loads, g_free);
    g_clear_pointer(&admission->moves, g_free);
}

/* The same that select judges by: the store's facts, without the hosts that were tried before. */
static size_t
fits_where(const QueueMove *move, bool *fits, void *opaque)
{
    Admission *admission = opaque;
    const Migration *row = g_ptr_array_index(admission->rows, move - admission->moves);
    g_autoptr(Server) server = store_get(admission->tx, &SERVER, row->server_id, NULL);
    g_autoptr(GPtrArray) verdicts = NULL;
    PlacementRequest request;
    size_t n = 0;

    if (!server)
        return 0;
    if (!admission->loads) {
        admission->loads = g_new0(HostLoad, admission->hosts->len + 1);
        if (!store_host_loads(admission->tx, admission->hosts, admission->loads, NULL))
            return 0;
    }
    request = move_placement(admission->settings, server, row);
    verdicts = placement_judge(&request, admission->loads, admission->hosts->len);
    for (guint i = 0; i < verdicts->len; i++) {
        const PlacementVerdict *verdict = g_ptr_array_index(verdicts, i);

        if (verdict->reason || move_attempts_have(row->attempts, verdict->host->name))
            continue;
        for (guint k = 0; k < admission->hosts->len; k++)
            if (g_ptr_array_index(admission->hosts, k) == verdict->host)
                fits[k] = true;
        n++;
    }
    return n;
}

static bool
record_decision(Admission *admission, Migration *row, const QueueMove *move, GError **err)
{
    MigrationStatus status = move->start ? MIGRATION_PREPARING : MIGRATION_QUEUED;

    if (row->status == status)
        return true;
    admission->changes = true;
    if (!admission->write)
        return true;
    row->status = status;
    text_set(&row->phase, move->start ? "select" : "queue");
    row->updated_at = clock_realtime();
    return store_update(admission->tx, &MIGRATION, row, err);
}

static bool
decide(StoreTx *tx, Admission *admission, GError **err)
{
    g_autofree QueueHost *hosts = NULL;

    admission->tx = tx;
    admission->rows = list_open(tx, err);
    admission->hosts = admission->rows ? store_list(tx, &HOST, NULL, err) : NULL;
    if (!admission->hosts)
        return false;
    hosts = g_new0(QueueHost, admission->hosts->len + 1);
    for (guint i = 0; i < admission->hosts->len; i++) {
        const Host *host = g_ptr_array_index(admission->hosts, i);

        hosts[i] = (QueueHost){.name = host->name,
                               .out_most = out_limit(admission->settings, host),
                               .in_most = admission->settings->moves_in};
    }
    admission->moves = g_new0(QueueMove, admission->rows->len + 1);
    for (guint i = 0; i < admission->rows->len; i++) {
        const Migration *row = g_ptr_array_index(admission->rows, i);

        admission->moves[i] = (QueueMove){
            .id = row->id,
            .priority = row->priority,
            .source = row->source_host,
            .dest = row->dest_host,
            .under_way = is_under_way(row),
            .ready = row->wish != WISH_ABORT && g_hash_table_contains(admission->ready, &row->id)};
    }
    move_queue_choose(admission->moves, admission->rows->len, hosts, admission->hosts->len,
                      admission->settings->moves_total, fits_where, admission);
    for (guint i = 0; i < admission->rows->len; i++) {
        Migration *row = g_ptr_array_index(admission->rows, i);
        const QueueMove *move = &admission->moves[i];

        if (!move->ready || move->under_way)
            continue;
        if (!record_decision(admission, row, move, err))
            return false;
        if (!move->start)
            g_hash_table_add(admission->held, g_hash_table_lookup(admission->ready, &row->id));
    }
    return true;
}

static bool
decide_and_clear(StoreTx *tx, void *opaque, GError **err)
{
    Admission *admission = opaque;
    bool ok;

    g_hash_table_remove_all(admission->held);
    ok = decide(tx, admission, err);
    admission_clear(admission);
    return ok;
}

bool
move_queue_admit(Store *store, const TaskSettings *settings, GHashTable *ready, GHashTable *held,
                 GError **err)
{
    Admission admission = {.settings = settings, .ready = ready, .held = held};

    if (g_hash_table_size(ready) == 0)
        return true;
    if (!store_read(store, decide_and_clear, &admission, err))
        return false;
    if (!admission.changes)
        return true;
    admission.write = true;
    return store_write(store, decide_and_clear, &admission, err);
}

bool
move_queue_has_place(StoreTx *tx, const TaskSettings *settings, const char *host,
                     int64_t migration_id, bool *has_place, GError **err)
{
    g_autoptr(GPtrArray) rows = NULL;
    int64_t in = 0;

    *has_place = true;
    if (settings->moves_in <= 0)
        return true;
    rows = list_open(tx, err);
    if (!rows)
        return false;
    for (guint i = 0; i < rows->len; i++) {
        const Migration *row = g_ptr_array_index(rows, i);

        in += row->id != migration_id && is_under_way(row) && g_strcmp0(row->dest_host, host) == 0;
    }
    *has_place = in < settings->moves_in;
    return true;
}
