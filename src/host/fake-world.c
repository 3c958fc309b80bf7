/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fake-world.c: nodes, domains, moves and their events in memory that processes share
 *
 * Nothing runs in this world by itself: whoever locks it first brings it up to the present
 * (advance), one due transition at a time. So a move goes on while its client is dead, and looks to
 * the next one as if it had never stopped.
 *
 * A process may be killed anywhere. The mutex is robust, and every change is announced first
 * (fake_world_touch), which keeps the old bytes in a journal; whoever gets the mutex of a dead
 * owner puts them back. A transition is therefore whole or not at all. */
#include "host/fake-world.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A source left paused by a destination that it cannot hear resumes after libvirt's keepalive
 * limit: 27 s, with 1.4 s of teardown. */
#define RESUME_TEARDOWNS 20
#define ITERATIONS       3 /* while the guest runs */
#define PAUSE_MOST_US    (30 * USEC_PER_MSEC)
#define PASS_LEAST_US    (5 * USEC_PER_MSEC) /* of a move that never converges */
#define MEMORY_BYTES     (INT64_C(256) << 20)

/* ---- lock, journal, bell ----------------------------------------------------------------------
 */

FakeWorld *
fake_world_map(int n_nodes)
{
    g_assert(n_nodes >= 1 && n_nodes <= FAKE_NODES_MOST);
    FakeWorld *world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (world == MAP_FAILED)
        g_error("cannot map the fake world: %s", errno_text(errno));
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&world->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    world->head.n_nodes = n_nodes;
    world->head.transfer_us = 20 * USEC_PER_MSEC;
    world->head.teardown_us = 10 * USEC_PER_MSEC;
    return world;
}

void
fake_world_unmap(FakeWorld *world)
{
    pthread_mutex_destroy(&world->mutex);
    munmap(world, sizeof *world);
}

/* The journal is read by another process after this one was killed: its order in memory is the
 * program's. */
static void
keep_order(void)
{
    __sync_synchronize();
}

void
fake_world_touch(FakeWorld *world, void *at, size_t size)
{
    g_assert(world->n_journal < FAKE_JOURNAL_MOST && size <= sizeof world->journal[0].before);
    FakeJournalEntry *entry = &world->journal[world->n_journal];
    entry->at = at;
    entry->size = size;
    memcpy(entry->before, at, size);
    keep_order();
    world->n_journal++;
    keep_order();
}

static void
commit(FakeWorld *world)
{
    keep_order();
    world->n_journal = 0;
    keep_order();
}

static void
roll_back(FakeWorld *world)
{
    while (world->n_journal > 0) {
        const FakeJournalEntry *entry = &world->journal[world->n_journal - 1];
        memcpy(entry->at, entry->before, entry->size);
        keep_order();
        world->n_journal--;
        keep_order();
    }
    world->ring = true;
}

void
fake_world_ring(FakeWorld *world)
{
    world->ring = true;
}

static int64_t advance(FakeWorld *world, int64_t now);

void
fake_world_lock(FakeWorld *world, int64_t *due)
{
    int status = pthread_mutex_lock(&world->mutex);
    if (status == EOWNERDEAD) {
        roll_back(world);
        status = pthread_mutex_consistent(&world->mutex);
    }
    if (status != 0)
        g_error("cannot lock the fake world: %s", errno_text(status));
    int64_t next = advance(world, clock_monotonic());
    if (due != NULL)
        *due = next;
}

void
fake_world_unlock(FakeWorld *world)
{
    commit(world);
    bool ring = world->ring;
    world->ring = false;
    pthread_mutex_unlock(&world->mutex);
    if (!ring)
        return;
    atomic_fetch_add(&world->bell, 1);
    syscall(SYS_futex, &world->bell, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void
fake_world_wait(FakeWorld *world, unsigned bell, int64_t until)
{
    int64_t now = clock_monotonic();
    int64_t us = CLAMP(until - now, 0, USEC_PER_SEC);
    if (us == 0)
        return;
    struct timespec limit = {us / USEC_PER_SEC, us % USEC_PER_SEC * 1000};
    syscall(SYS_futex, &world->bell, FUTEX_WAIT, bell, &limit, NULL, 0);
}

/* ---- events -----------------------------------------------------------------------------------
 */

static FakeEvent *
event_add(FakeWorld *world, HostEventKind kind, int node, const char *uuid)
{
    FakeEvent *event = &world->events[world->head.events % FAKE_EVENTS_MOST];
    memset(event, 0, sizeof *event);
    event->kind = kind;
    event->node = node;
    g_strlcpy(event->uuid, uuid, sizeof event->uuid);
    event->at = clock_monotonic();
    fake_world_touch(world, &world->head.events, sizeof world->head.events);
    world->head.events++;
    world->ring = true;
    return event;
}

void
fake_domain_event(FakeWorld *world, const FakeDomain *domain, DomainChange change)
{
    event_add(world, HOST_EVENT_DOMAIN, domain->node, domain->uuid)->change = change;
}

/* ---- domains ----------------------------------------------------------------------------------
 */

bool
fake_node_is_reachable(const FakeWorld *world, int node)
{
    return world->head.faults[node] != FAKE_NODE_DOWN && world->head.faults[node] != FAKE_NODE_CUT;
}

FakeDomain *
fake_domain_find(FakeWorld *world, int node, const char *uuid)
{
    for (int i = 0; i < world->head.domains_used; i++) {
        FakeDomain *domain = &world->domains[i];
        if (domain->node == node && strcmp(domain->uuid, uuid) == 0)
            return domain;
    }
    return NULL;
}

FakeDomain *
fake_domain_add(FakeWorld *world, int node, const char *uuid)
{
    int i = 0;
    while (i < world->head.domains_used && world->domains[i].node != 0)
        i++;
    if (i == FAKE_DOMAINS_MOST)
        return NULL;
    FakeDomain *domain = &world->domains[i];
    fake_world_touch(world, domain, sizeof *domain);
    if (i == world->head.domains_used) {
        fake_world_touch(world, &world->head.domains_used, sizeof world->head.domains_used);
        world->head.domains_used++;
    }
    memset(domain, 0, sizeof *domain);
    domain->node = node;
    g_strlcpy(domain->uuid, uuid, sizeof domain->uuid);
    domain->state = DOMAIN_SHUTOFF;
    return domain;
}

void
fake_domain_shut_down_at(FakeWorld *world, FakeDomain *domain, int64_t at)
{
    if ((domain->shutdown_at != 0) == (at != 0))
        return;
    fake_world_touch(world, domain, sizeof *domain);
    fake_world_touch(world, &world->head.shutdowns_open, sizeof world->head.shutdowns_open);
    domain->shutdown_at = at;
    world->head.shutdowns_open += at != 0 ? 1 : -1;
    world->ring = true;
}

void
fake_domain_set_state(FakeWorld *world, FakeDomain *domain, DomainState state)
{
    fake_world_touch(world, domain, sizeof *domain);
    domain->state = state;
    domain->ran |= state != DOMAIN_SHUTOFF;
}

void
fake_domain_remove(FakeWorld *world, FakeDomain *domain)
{
    fake_domain_shut_down_at(world, domain, 0);
    fake_world_touch(world, domain, sizeof *domain);
    domain->node = 0;
}

void
fake_domain_off(FakeWorld *world, FakeDomain *domain)
{
    if (!domain->persistent) {
        fake_domain_remove(world, domain);
        return;
    }
    fake_domain_shut_down_at(world, domain, 0);
    fake_domain_set_state(world, domain, DOMAIN_SHUTOFF);
    domain->postcopy_lost = false;
    fake_disks_stop(domain);
}

/* ---- moves ------------------------------------------------------------------------------------
 */

FakeMove *
fake_move_of(FakeWorld *world, const FakeDomain *domain)
{
    return domain->move > 0 ? &world->moves[domain->move - 1] : NULL;
}

static int64_t
move_at(const FakeMove *move, int64_t after_us)
{
    return move->started_at + after_us;
}

/* When move's next transition is due. */
static int64_t
move_due(const FakeMove *move)
{
    int64_t at;
    switch (move->phase) {
    case FAKE_MOVE_TRANSFER:
        at = move_at(move, move->transfer_us - move->pause_us);
        if (move->fault == FAKE_MIGRATE_NEVER_CONVERGES)
            return move_at(move, MAX(move->transfer_us / (ITERATIONS + 1), PASS_LEAST_US) *
                                     move->iteration);
        if (move->iteration < ITERATIONS)
            at = MIN(at, move_at(move, move->transfer_us * move->iteration / (ITERATIONS + 1)));
        if (move->fault == FAKE_MIGRATE_FAILS || move->fault == FAKE_MIGRATE_NO_TLS)
            at = MIN(at, move_at(move, move->transfer_us / 2));
        return at;
    case FAKE_MOVE_SWITCH:
    case FAKE_MOVE_POSTCOPY:
        return move_at(move, move->transfer_us);
    case FAKE_MOVE_TEARDOWN:
        return move_at(move,
                       move->transfer_us +
                           move->teardown_us *
                               (move->fault == FAKE_MIGRATE_RUNS_TWICE ? RESUME_TEARDOWNS : 1));
    case FAKE_MOVE_FREE:
    case FAKE_MOVE_ENDED:
        break;
    }
    return INT64_MAX;
}

static void
move_end(FakeWorld *world, FakeMove *move, int code, const char *message)
{
    int nodes[2] = {move->source, move->dest};
    for (int i = 0; i < 2; i++) {
        FakeDomain *domain = fake_domain_find(world, nodes[i], move->uuid);
        if (domain == NULL || fake_move_of(world, domain) != move)
            continue;
        fake_world_touch(world, domain, sizeof *domain);
        domain->move = 0;
    }
    fake_world_touch(world, move, sizeof *move);
    fake_world_touch(world, &world->head.moves_open, sizeof world->head.moves_open);
    move->phase = FAKE_MOVE_ENDED;
    move->code = code;
    move->ended_at = clock_monotonic();
    g_strlcpy(move->message, message, sizeof move->message);
    world->head.moves_open--;
    world->ring = true;
}

/* Back to the source: the destination's half goes, the source runs on. */
static void
move_roll_back(FakeWorld *world, FakeMove *move, int code, const char *message)
{
    FakeDomain *source = fake_domain_find(world, move->source, move->uuid);
    FakeDomain *dest = fake_domain_find(world, move->dest, move->uuid);
    if (dest != NULL && dest->state == DOMAIN_PAUSED_INCOMING) {
        fake_domain_event(world, dest, DOMAIN_STOPPED_FAILED);
        fake_domain_off(world, dest);
    }
    if (source != NULL && source->state == DOMAIN_PAUSED_MIGRATED) {
        fake_domain_set_state(world, source, move->paused ? DOMAIN_PAUSED : DOMAIN_RUNNING);
        if (!move->paused)
            fake_domain_event(world, source, DOMAIN_RESUMED_MIGRATED);
    }
    move_end(world, move, code, message);
}

void
fake_move_abort(FakeWorld *world, FakeMove *move)
{
    if (move->phase == FAKE_MOVE_TRANSFER || move->phase == FAKE_MOVE_SWITCH)
        move_roll_back(world, move, ERR_CANCELLED, "the migration was cancelled by the client");
}

void
fake_move_stats(const FakeMove *move, int64_t now, JobStats *stats)
{
    bool over = move->phase == FAKE_MOVE_TEARDOWN || move->phase == FAKE_MOVE_ENDED;
    bool endless = move->fault == FAKE_MIGRATE_NEVER_CONVERGES && !over;
    int64_t elapsed = over      ? move->transfer_us
                      : endless ? MAX(now - move->started_at, 0)
                                : CLAMP(now - move->started_at, 0, move->transfer_us);
    *stats = (JobStats){
        .active = move->phase != FAKE_MOVE_ENDED,
        .completed = move->phase == FAKE_MOVE_ENDED && move->code == 0,
        .failed = move->phase == FAKE_MOVE_ENDED && move->code != 0,
        .elapsed_ms = elapsed / USEC_PER_MSEC,
        .downtime_ms = over ? move->pause_us / USEC_PER_MSEC : move->downtime_limit_ms,
        .setup_ms = 1,
        .memory_total = MEMORY_BYTES,
        .memory_processed = MEMORY_BYTES * elapsed / MAX(move->transfer_us, 1),
        .memory_bps = MEMORY_BYTES * 1000 / MAX(move->transfer_us / 1000, 1),
        .dirty_bps = INT64_C(1) << 20,
        .iteration = move->iteration,
        .page_size = 4096,
        .auto_converge_throttle = -1,
        .postcopy = move->postcopy,
    };
    stats->memory_remaining = MAX(stats->memory_total - stats->memory_processed, 0);
    if (endless) { /* what is sent is written again meanwhile */
        stats->memory_remaining = stats->memory_total / 4;
        stats->dirty_bps = stats->memory_bps * 2;
    }
}

void
fake_move_hurry(FakeWorld *world, FakeMove *move)
{
    if (move->phase != FAKE_MOVE_TRANSFER || move->fault != FAKE_MIGRATE_NEVER_CONVERGES)
        return;
    fake_world_touch(world, move, sizeof *move);
    move->fault = FAKE_FAULT_NONE;
    move->transfer_us = clock_monotonic() - move->started_at + move->pause_us;
    world->ring = true;
}

void
fake_move_postcopy(FakeWorld *world, FakeMove *move)
{
    FakeDomain *source = fake_domain_find(world, move->source, move->uuid);
    FakeDomain *dest = fake_domain_find(world, move->dest, move->uuid);
    fake_world_touch(world, move, sizeof *move);
    move->paused = source->state == DOMAIN_PAUSED;
    move->postcopy = true;
    move->phase = FAKE_MOVE_POSTCOPY;
    move->transfer_us = clock_monotonic() - move->started_at + move->transfer_us / 4;
    fake_domain_set_state(world, source, DOMAIN_PAUSED_MIGRATED);
    if (!move->paused)
        fake_domain_event(world, source, DOMAIN_SUSPENDED_MIGRATED);
    fake_domain_event(world, source, DOMAIN_SUSPENDED_POSTCOPY);
    fake_domain_set_state(world, dest, move->paused ? DOMAIN_PAUSED : DOMAIN_RUNNING);
    if (!move->paused)
        fake_domain_event(world, dest, DOMAIN_RESUMED_POSTCOPY);
    world->ring = true;
}

/* One half of a move is gone while the other lacks memory, or has the only copy of some: neither
 * can run on. */
static void
postcopy_break(FakeWorld *world, FakeMove *move, int left, int code, const char *message)
{
    FakeDomain *domain = fake_domain_find(world, left, move->uuid);
    if (domain != NULL) {
        fake_domain_set_state(world, domain, DOMAIN_PAUSED_POSTCOPY_FAILED);
        domain->postcopy_lost = left == move->source;
        fake_domain_event(world, domain, DOMAIN_SUSPENDED_POSTCOPY);
    }
    move_end(world, move, code, message);
}

static void
send_iteration(FakeWorld *world, FakeMove *move)
{
    fake_world_touch(world, move, sizeof *move);
    move->iteration++;
    event_add(world, HOST_EVENT_ITERATION, move->source, move->uuid)->number = move->iteration;
}

/* The switch is over: the guest is on the destination. */
static void
move_arrive(FakeWorld *world, FakeMove *move)
{
    FakeDomain *dest = fake_domain_find(world, move->dest, move->uuid);
    fake_world_touch(world, move, sizeof *move);
    move->phase = FAKE_MOVE_TEARDOWN;
    fake_domain_set_state(world, dest, move->paused ? DOMAIN_PAUSED : DOMAIN_RUNNING);
    if (move->flags & MIGRATE_PERSIST_DEST && !dest->persistent) {
        dest->persistent = true;
        fake_domain_event(world, dest, DOMAIN_DEFINED);
    }
    fake_domain_event(world, dest, move->paused ? DOMAIN_SUSPENDED : DOMAIN_RESUMED_MIGRATED);
    if (move->fault == FAKE_MIGRATE_LOST)
        fake_domain_remove(world, dest);
}

/* libvirt drops the source's definition without an Undefined event. */
static void
move_depart(FakeWorld *world, FakeMove *move)
{
    FakeDomain *source = fake_domain_find(world, move->source, move->uuid);
    bool undefine = source->persistent && move->flags & MIGRATE_UNDEFINE_SOURCE;
    fake_domain_event(world, source, DOMAIN_STOPPED_MIGRATED);
    move_end(world, move, 0, "");
    FakeEvent *event = event_add(world, HOST_EVENT_JOB_COMPLETED, move->source, move->uuid);
    fake_move_stats(move, move->ended_at, &event->stats);
    if (undefine)
        fake_domain_remove(world, source);
    else
        fake_domain_off(world, source);
}

static void
move_step(FakeWorld *world, FakeMove *move, int64_t now)
{
    FakeDomain *source = fake_domain_find(world, move->source, move->uuid);
    switch (move->phase) {
    case FAKE_MOVE_TRANSFER:
        if (move->fault == FAKE_MIGRATE_FAILS && now >= move_at(move, move->transfer_us / 2)) {
            move_roll_back(world, move, ERR_BACKEND,
                           "internal error: the migration stream broke (fault of the fake)");
        } else if (move->fault == FAKE_MIGRATE_NO_TLS &&
                   now >= move_at(move, move->transfer_us / 2)) {
            move_roll_back(
                world, move, ERR_BACKEND,
                "internal error: unable to execute QEMU command 'object-add': Unable to "
                "access credentials /etc/pki/qemu-of-the-fake/ca-cert.pem: No such file");
        } else if (move->fault != FAKE_MIGRATE_NEVER_CONVERGES &&
                   now >= move_at(move, move->transfer_us - move->pause_us)) {
            fake_world_touch(world, move, sizeof *move);
            move->phase = FAKE_MOVE_SWITCH;
            move->paused = source->state == DOMAIN_PAUSED;
            fake_domain_set_state(world, source, DOMAIN_PAUSED_MIGRATED);
            if (!move->paused)
                fake_domain_event(world, source, DOMAIN_SUSPENDED_MIGRATED);
            send_iteration(world, move); /* the last one, of what was left at the stop */
        } else {
            send_iteration(world, move);
        }
        break;
    case FAKE_MOVE_SWITCH:
    case FAKE_MOVE_POSTCOPY:
        move_arrive(world, move);
        break;
    case FAKE_MOVE_TEARDOWN:
        if (move->fault == FAKE_MIGRATE_RUNS_TWICE)
            move_roll_back(world, move, ERR_BACKEND,
                           "the destination did not answer within its keepalive limit");
        else
            move_depart(world, move);
        break;
    case FAKE_MOVE_FREE:
    case FAKE_MOVE_ENDED:
        break;
    }
}

FakeMove *
fake_move_start(FakeWorld *world, FakeDomain *source, int dest, const MoveSpec *spec, GError **err)
{
    /* A slot that was never used, else the one that ended first. */
    FakeMove *move = NULL;
    for (int i = 0; i < FAKE_MOVES_MOST; i++) {
        FakeMove *slot = &world->moves[i];
        if (slot->phase == FAKE_MOVE_FREE ||
            (slot->phase == FAKE_MOVE_ENDED && (move == NULL || slot->id < move->id)))
            move = slot;
        if (slot->phase == FAKE_MOVE_FREE)
            break;
    }
    FakeDomain *incoming = fake_domain_find(world, dest, source->uuid);
    bool fresh = incoming == NULL;
    if (fresh)
        incoming = fake_domain_add(world, dest, source->uuid);
    if (move == NULL || incoming == NULL) {
        err_set(err, ERR_BUSY, "the fake world is full");
        return NULL;
    }

    int number = (int)(move - world->moves) + 1;
    FakeFault fault = world->head.faults[source->node];
    if (fault < FAKE_MIGRATE_FAILS || fault > FAKE_MIGRATE_NEVER_CONVERGES)
        fault = world->head.faults[dest];
    fake_world_touch(world, move, sizeof *move);
    fake_world_touch(world, &world->head, sizeof world->head);
    *move = (FakeMove){
        .phase = FAKE_MOVE_TRANSFER,
        .id = ++world->head.moves,
        .source = source->node,
        .dest = dest,
        .flags = spec->flags,
        .fault = fault,
        .started_at = clock_monotonic(),
        .transfer_us = world->head.transfer_us,
        .teardown_us = world->head.teardown_us,
        .pause_us = MIN(world->head.transfer_us / 10, PAUSE_MOST_US),
        .downtime_limit_ms = spec->downtime_ms,
        .bandwidth_mib_s = spec->bandwidth_mib_s,
    };
    g_strlcpy(move->uuid, source->uuid, sizeof move->uuid);
    world->head.moves_open++;
    fake_world_touch(world, source, sizeof *source);
    source->move = number;
    fake_world_touch(world, incoming, sizeof *incoming);
    if (fresh)
        g_strlcpy(incoming->name, source->name, sizeof incoming->name);
    g_strlcpy(incoming->machine, source->machine, sizeof incoming->machine);
    g_strlcpy(incoming->cpu, source->cpu, sizeof incoming->cpu);
    fake_disks_move(incoming, source);
    incoming->move = number;
    incoming->state = DOMAIN_PAUSED_INCOMING;
    incoming->ran = true;
    fake_domain_event(world, incoming, DOMAIN_STARTED_INCOMING);
    send_iteration(world, move);
    return move;
}

FakeMove *
fake_move_completed(FakeWorld *world, int node, const char *uuid)
{
    FakeMove *last = NULL;
    for (int i = 0; i < FAKE_MOVES_MOST && world->moves[i].phase != FAKE_MOVE_FREE; i++) {
        FakeMove *move = &world->moves[i];
        if (move->phase == FAKE_MOVE_ENDED && move->code == 0 &&
            (move->source == node || move->dest == node) && strcmp(move->uuid, uuid) == 0 &&
            (last == NULL || last->id < move->id))
            last = move;
    }
    return last;
}

void
fake_domain_destroy(FakeWorld *world, FakeDomain *domain)
{
    FakeMove *move = fake_move_of(world, domain);
    bool is_source = move != NULL && move->source == domain->node;
    bool switched = move != NULL && move->phase == FAKE_MOVE_TEARDOWN;

    if (domain->state == DOMAIN_SHUTOFF)
        return;
    fake_domain_event(world, domain, DOMAIN_STOPPED_DESTROYED);
    fake_domain_off(world, domain);
    /* Once switched, the death of either half leaves the other as it is. */
    if (move != NULL && is_source && switched)
        move_end(world, move, ERR_BACKEND, "the domain was destroyed on the source");
    else if (move != NULL && move->phase == FAKE_MOVE_POSTCOPY)
        postcopy_break(world, move, is_source ? move->dest : move->source, ERR_BACKEND,
                       "the domain was destroyed during post-copy");
    else if (move != NULL && !switched)
        move_roll_back(world, move, ERR_BACKEND, "the domain was destroyed during the migration");
}

/* ---- time and faults --------------------------------------------------------------------------
 */

/* Do what is due, each transition whole. Returns when the next is due. */
static int64_t
advance(FakeWorld *world, int64_t now)
{
    for (;;) {
        int64_t next = INT64_MAX;
        FakeMove *move = NULL;
        FakeDomain *domain = NULL;
        for (int i = 0; world->head.moves_open > 0 && i < FAKE_MOVES_MOST; i++) {
            if (world->moves[i].phase == FAKE_MOVE_FREE)
                break;
            int64_t due = move_due(&world->moves[i]);
            if (due < next) {
                next = due;
                move = &world->moves[i];
            }
        }
        for (int i = 0; world->head.shutdowns_open > 0 && i < world->head.domains_used; i++) {
            FakeDomain *candidate = &world->domains[i];
            if (candidate->node != 0 && candidate->shutdown_at != 0 &&
                candidate->shutdown_at < next) {
                next = candidate->shutdown_at;
                domain = candidate;
            }
        }
        if (next > now)
            return next;
        if (domain != NULL && domain->state == DOMAIN_RUNNING && domain->move == 0) {
            fake_domain_event(world, domain, DOMAIN_STOPPED_SHUTDOWN);
            fake_domain_off(world, domain);
        } else if (domain != NULL) {
            fake_domain_shut_down_at(world, domain, 0); /* paused or moving: the guest missed it */
        } else {
            move_step(world, move, now);
        }
        commit(world);
    }
}

/* Power off without warning: nobody is told, and what runs between this node and others ends as it
 * must. */
static void
node_die(FakeWorld *world, int node)
{
    for (int i = 0; i < world->head.domains_used; i++) {
        FakeDomain *domain = &world->domains[i];
        if (domain->node != node)
            continue;
        fake_world_touch(world, domain, sizeof *domain);
        domain->ran = false;
        if (domain->state == DOMAIN_SHUTOFF)
            continue;
        FakeMove *move = fake_move_of(world, domain);
        bool is_source = move != NULL && move->source == node;
        bool switched = move != NULL && move->phase == FAKE_MOVE_TEARDOWN;
        fake_domain_off(world, domain);
        domain->ran = false;
        if (is_source && switched)
            move_end(world, move, ERR_UNREACHABLE, "the source died after the switch");
        else if (move != NULL && move->phase == FAKE_MOVE_POSTCOPY)
            postcopy_break(world, move, is_source ? move->dest : move->source,
                           is_source ? ERR_UNREACHABLE : ERR_BACKEND,
                           "a node died during post-copy");
        else if (move != NULL && !switched)
            move_roll_back(world, move, is_source ? ERR_UNREACHABLE : ERR_BACKEND,
                           is_source ? "the source died" : "the destination died");
        commit(world);
    }
}

void
fake_node_fault(FakeWorld *world, int node, FakeFault fault)
{
    bool was_reachable = fake_node_is_reachable(world, node);
    fake_world_touch(world, &world->head, sizeof world->head);
    world->head.faults[node] = fault;
    if (was_reachable && !fake_node_is_reachable(world, node))
        world->head.outages[node]++;
    world->ring = true;
    commit(world);
    if (fault == FAKE_NODE_DOWN)
        node_die(world, node);
}
