/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-hosts.c: the set of nodes: deadlines, lanes, abandoned calls, reconnects, refusals and the
 * end; over the fake */
#include "host/host.h"

#include <string.h>

#define UUID "6d1f0a52-52c5-4f0e-9a34-5f1f0a8be002"

typedef struct Rig {
    HostDriver *world;
    Hosts *hosts;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    GPtrArray *events;
    bool open;   /* the gate that blocked calls wait for */
    int entered; /* calls that reached the gate */
    int freed;   /* opaques freed */
    int moves_ended;
    GError *move_error;
    bool fenced;
} Rig;

static Rig rig;
static _Thread_local bool in_transaction;

static void
keep_event(HostEvent *event, void *opaque)
{
    WITH_MUTEX(&rig.mutex);
    g_ptr_array_add(rig.events, event);
    pthread_cond_broadcast(&rig.changed);
}

static bool
rig_may_act(void *opaque)
{
    WITH_MUTEX(&rig.mutex);
    return !rig.fenced;
}

static bool
rig_inside_transaction(void)
{
    return in_transaction;
}

static int64_t
after_ms(int64_t ms)
{
    return clock_monotonic() + ms * USEC_PER_MSEC;
}

/* The n-th event of its kind from host; waits for it. */
static const HostEvent *
need_event(const char *host, HostEventKind kind, int n)
{
    int64_t deadline = after_ms(20000);
    WITH_MUTEX(&rig.mutex);
    for (;;) {
        int left = n;
        for (unsigned i = 0; i < rig.events->len; i++) {
            const HostEvent *event = rig.events->pdata[i];
            if (event->kind == kind && strcmp(event->host, host) == 0 && --left == 0)
                return event;
        }
        if (!cond_wait_until(&rig.changed, &rig.mutex, deadline))
            g_error("%s: event %d did not come %d times", host, (int)kind, n);
    }
}

static void
need_count(const int *counter, int count)
{
    int64_t deadline = after_ms(20000);
    WITH_MUTEX(&rig.mutex);
    while (*counter < count)
        if (!cond_wait_until(&rig.changed, &rig.mutex, deadline))
            g_error("counted %d, not %d", *counter, count);
}

static void
event_destroy(void *event)
{
    host_event_free(event);
}

static void
rig_begin(void)
{
    rig = (Rig){.mutex = PTHREAD_MUTEX_INITIALIZER, .world = host_fake_world_new(2)};
    cond_init_monotonic(&rig.changed);
    rig.events = g_ptr_array_new_with_free_func(event_destroy);
    HostsConfig config = {.ops = &host_fake_ops,
                          .driver = rig.world,
                          .on_event = keep_event,
                          .may_act = rig_may_act,
                          .inside_transaction = rig_inside_transaction};
    rig.hosts = hosts_new(&config);
    hosts_add(rig.hosts, "host1", "fake://host1/system");
    hosts_add(rig.hosts, "host2", "fake://host2/system");
    need_event("host1", HOST_EVENT_CONNECTED, 1);
    need_event("host2", HOST_EVENT_CONNECTED, 1);
}

static void
gate_open(void)
{
    WITH_MUTEX(&rig.mutex);
    rig.open = true;
    pthread_cond_broadcast(&rig.changed);
}

static void
rig_end(void)
{
    gate_open();
    hosts_free(rig.hosts);
    host_fake_world_free(rig.world);
    g_ptr_array_unref(rig.events);
    g_clear_error(&rig.move_error);
    pthread_cond_destroy(&rig.changed);
}

static void
count_move(const char *host, const char *uuid, GError *error, void *opaque)
{
    g_assert_cmpstr(host, ==, "host1");
    g_assert_cmpstr(uuid, ==, UUID);
    WITH_MUTEX(&rig.mutex);
    rig.moves_ended++;
    g_clear_error(&rig.move_error);
    rig.move_error = error;
    pthread_cond_broadcast(&rig.changed);
}

/* ---- calls ------------------------------------------------------------------------------------
 */

static void
count_free(void *opaque)
{
    WITH_MUTEX(&rig.mutex);
    rig.freed++;
    pthread_cond_broadcast(&rig.changed);
}

static bool
call_nothing(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    g_assert_nonnull(conn);
    g_assert_true(ops == &host_fake_ops);
    return true;
}

static bool
call_gate(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    WITH_MUTEX(&rig.mutex);
    rig.entered++;
    pthread_cond_broadcast(&rig.changed);
    while (!rig.open)
        cond_wait_until(&rig.changed, &rig.mutex, INT64_MAX);
    return true;
}

static bool
call_fail(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    return err_set(err, ERR_CONFLICT, "no");
}

static bool
call(HostLane lane, HostCall fn, int64_t ms, GError **err)
{
    return host_call(rig.hosts, "host1", lane, "test", fn, &rig, count_free, after_ms(ms), err);
}

static void
call_gate_thread(void *opaque)
{
    call(opaque == NULL ? HOST_WORK : HOST_CONTROL, call_gate, 20000, NULL);
}

static void
test_call(void)
{
    rig_begin();
    g_autoptr(GError) error = NULL;
    g_assert_true(call(HOST_CONTROL, call_nothing, 1000, &error));
    g_assert_no_error(error);
    g_assert_cmpint(rig.freed, ==, 1);
    g_assert_false(call(HOST_WORK, call_fail, 1000, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_CONFLICT);
    g_assert_cmpint(rig.freed, ==, 2);
    g_assert_false(call(HOST_WORK, call_fail, 1000, NULL));
    rig_end();
}

static void
test_timeout(void)
{
    rig_begin();
    g_autoptr(GError) error = NULL;
    int64_t begun = clock_monotonic();
    g_assert_false(call(HOST_CONTROL, call_gate, 1100, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_TIMEOUT);
    g_assert_cmpint(clock_monotonic() - begun, <, 5 * USEC_PER_SEC);
    g_assert_cmpint(rig.freed, ==, 0); /* still running: still needed */

    /* The hung call does not stand in the way of the next: a new connection is made, and serves. */
    const HostEvent *lost = need_event("host1", HOST_EVENT_DISCONNECTED, 1);
    g_assert_cmpstr(lost->text, ==, "it is connected but does not answer in time");
    need_event("host1", HOST_EVENT_CONNECTED, 2);
    g_clear_error(&error);
    g_assert_true(call(HOST_CONTROL, call_nothing, 5000, &error));
    g_assert_no_error(error);
    g_assert_cmpint(rig.freed, ==, 1);
    gate_open();
    need_count(&rig.freed, 2);
    rig_end();
}

static void
test_timeout_in_queue(void)
{
    rig_begin();
    g_autoptr(GError) error = NULL;
    hosts_set_work_limit(rig.hosts, "host1", 1);
    pthread_t thread = thread_start("blocker", call_gate_thread, NULL);
    need_count(&rig.entered, 1);
    g_assert_false(call(HOST_WORK, call_gate, 30, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_TIMEOUT);
    g_assert_nonnull(strstr(error->message, "not started"));
    g_assert_cmpint(rig.freed, ==, 1);
    /* The control lane is another lane. */
    g_clear_error(&error);
    g_assert_true(call(HOST_CONTROL, call_nothing, 5000, &error));
    gate_open();
    pthread_join(thread, NULL);
    g_assert_cmpint(rig.entered, ==, 1); /* the one that timed out was never run */
    rig_end();
}

static void
test_work_limit(void)
{
    rig_begin();
    pthread_t threads[6];
    hosts_set_work_limit(rig.hosts, "host1", 2);
    for (int i = 0; i < 6; i++)
        threads[i] = thread_start("caller", call_gate_thread, NULL);
    need_count(&rig.entered, 2);
    g_assert_true(call(HOST_CONTROL, call_nothing, 5000, NULL));
    pthread_mutex_lock(&rig.mutex);
    g_assert_cmpint(rig.entered, ==, 2);
    pthread_mutex_unlock(&rig.mutex);
    hosts_set_work_limit(rig.hosts, "host1", 5); /* takes hold at once */
    need_count(&rig.entered, 5);
    gate_open();
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    g_assert_cmpint(rig.entered, ==, 6);
    rig_end();
}

/* A caller in a hurry does not end the session of the others. */
static void
test_short_deadline(void)
{
    rig_begin();
    for (int i = 0; i < 4; i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(call(HOST_CONTROL, call_gate, 20, &error));
        g_assert_error(error, ERR_DOMAIN, ERR_TIMEOUT);
    }
    gate_open();
    g_assert_true(call(HOST_CONTROL, call_nothing, 5000, NULL));
    g_assert_true(hosts_is_connected(rig.hosts, "host1"));
    rig_end();
}

static void
test_refusals(void)
{
    rig_begin();
    g_autoptr(GError) error = NULL;
    in_transaction = true;
    g_assert_false(call(HOST_CONTROL, call_nothing, 1000, &error));
    in_transaction = false;
    g_assert_error(error, ERR_DOMAIN, ERR_BUG);
    g_clear_error(&error);

    pthread_mutex_lock(&rig.mutex);
    rig.fenced = true;
    pthread_mutex_unlock(&rig.mutex);
    g_assert_false(call(HOST_CONTROL, call_nothing, 1000, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_FENCED);
    g_clear_error(&error);
    MoveSpec spec = {.uuid = (char *)UUID, .dest_uri = (char *)"fake://host2/system"};
    g_assert_false(host_migrate_start(rig.hosts, "host1", &spec, NULL, NULL, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_FENCED);
    g_clear_error(&error);
    pthread_mutex_lock(&rig.mutex);
    rig.fenced = false;
    pthread_mutex_unlock(&rig.mutex);

    g_assert_false(host_call(rig.hosts, "host9", HOST_CONTROL, "test", call_nothing, &rig,
                             count_free, after_ms(1000), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_UNREACHABLE);
    g_assert_cmpint(rig.freed, ==, 3);
    rig_end();
}

static void
fenced_while_queued(void *opaque)
{
    GError **error = opaque;
    call(HOST_WORK, call_nothing, 20000, error);
}

static void
test_fenced_in_queue(void)
{
    rig_begin();
    g_autoptr(GError) error = NULL;
    hosts_set_work_limit(rig.hosts, "host1", 1);
    pthread_t blocker = thread_start("blocker", call_gate_thread, NULL);
    need_count(&rig.entered, 1);
    pthread_t queued = thread_start("queued", fenced_while_queued, &error);
    /* Either way it must not run: refused at the door, or again on the thread that was to run it.
     */
    pthread_mutex_lock(&rig.mutex);
    rig.fenced = true;
    pthread_mutex_unlock(&rig.mutex);
    gate_open();
    pthread_join(blocker, NULL);
    pthread_join(queued, NULL);
    g_assert_error(error, ERR_DOMAIN, ERR_FENCED);
    rig_end();
}

static void
set_fenced(bool fenced)
{
    WITH_MUTEX(&rig.mutex);
    rig.fenced = fenced;
}

/* Whoever has lost the lease does not even connect: the log of the node would show it. */
static void
test_fenced_does_not_connect(void)
{
    rig_begin();
    set_fenced(true);
    host_fake_set_fault(rig.world, 1, FAKE_NODE_CUT);
    need_event("host1", HOST_EVENT_DISCONNECTED, 1);
    host_fake_set_fault(rig.world, 1, FAKE_FAULT_NONE);
    g_assert_nonnull(strstr(need_event("host1", HOST_EVENT_DISCONNECTED, 2)->text, "lease"));
    g_assert_false(hosts_is_connected(rig.hosts, "host1"));
    set_fenced(false);
    need_event("host1", HOST_EVENT_CONNECTED, 2);
    rig_end();
}

static void
test_queue_is_bounded(void)
{
    rig_begin();
    hosts_set_work_limit(rig.hosts, "host1", 1);
    pthread_t blocker = thread_start("blocker", call_gate_thread, NULL);
    need_count(&rig.entered, 1);
    MoveSpec spec = {.uuid = (char *)UUID, .dest_uri = (char *)"fake://host2/system"};
    g_autoptr(GError) error = NULL;
    int queued = 0;
    while (queued < 2000 && host_migrate_start(rig.hosts, "host1", &spec, count_move, NULL, &error))
        queued++;
    g_assert_cmpint(queued, ==, 1000);
    g_assert_error(error, ERR_DOMAIN, ERR_BUSY);
    gate_open();
    pthread_join(blocker, NULL);
    need_count(&rig.moves_ended, 1000);
    rig_end();
}

/* ---- connections ------------------------------------------------------------------------------
 */

static void
test_reconnect(void)
{
    rig_begin();
    g_autoptr(GError) error = NULL;
    host_fake_set_fault(rig.world, 1, FAKE_NODE_CUT);
    const HostEvent *lost = need_event("host1", HOST_EVENT_DISCONNECTED, 1);
    g_assert_nonnull(lost->text);
    g_assert_false(hosts_is_connected(rig.hosts, "host1"));
    g_assert_true(hosts_is_connected(rig.hosts, "host2"));
    g_assert_false(call(HOST_CONTROL, call_nothing, 1000, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_UNREACHABLE);
    g_assert_true(g_str_has_prefix(error->message, "host1 is not connected: "));
    /* A new reason is news, the same one again is not. */
    lost = need_event("host1", HOST_EVENT_DISCONNECTED, 2);
    g_assert_nonnull(strstr(lost->text, "cannot connect"));
    host_fake_set_fault(rig.world, 1, FAKE_FAULT_NONE);
    need_event("host1", HOST_EVENT_CONNECTED, 2);
    g_assert_true(hosts_is_connected(rig.hosts, "host1"));
    g_assert_true(call(HOST_CONTROL, call_nothing, 1000, NULL));
    rig_end();
}

static void
lost_while_waiting(void *opaque)
{
    GError **error = opaque;
    call(HOST_WORK, call_gate, 20000, error);
}

static void
test_loss_ends_calls(void)
{
    rig_begin();
    g_autoptr(GError) running = NULL, queued = NULL;
    hosts_set_work_limit(rig.hosts, "host1", 1);
    pthread_t first = thread_start("running", lost_while_waiting, &running);
    need_count(&rig.entered, 1);
    pthread_t second = thread_start("queued", lost_while_waiting, &queued);
    int64_t begun = clock_monotonic();
    host_fake_set_fault(rig.world, 1, FAKE_NODE_CUT);
    pthread_join(first, NULL);
    pthread_join(second, NULL);
    g_assert_cmpint(clock_monotonic() - begun, <, 5 * USEC_PER_SEC);
    g_assert_error(running, ERR_DOMAIN, ERR_UNREACHABLE);
    g_assert_error(queued, ERR_DOMAIN, ERR_UNREACHABLE);
    g_assert_cmpint(rig.freed, ==, 1); /* of the one that never ran */
    /* The node comes back although the old call still hangs. */
    host_fake_set_fault(rig.world, 1, FAKE_FAULT_NONE);
    need_event("host1", HOST_EVENT_CONNECTED, 2);
    g_assert_true(call(HOST_WORK, call_nothing, 5000, NULL));
    gate_open();
    need_count(&rig.freed, 3);
    rig_end();
}

static void
test_remove_and_replace(void)
{
    rig_begin();
    g_autoptr(GError) error = NULL;
    hosts_add(rig.hosts, "host1", "fake://host1/system"); /* no change */
    g_assert_true(hosts_is_connected(rig.hosts, "host1"));
    hosts_add(rig.hosts, "host1", "fake://other2/system");
    need_event("host1", HOST_EVENT_CONNECTED, 2);
    g_autoptr(HostFacts) facts = host_facts(rig.hosts, "host1", after_ms(5000), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(facts->hostname, ==, "host2");
    hosts_remove(rig.hosts, "host1");
    hosts_remove(rig.hosts, "host1");
    g_assert_false(hosts_is_connected(rig.hosts, "host1"));
    g_assert_false(call(HOST_CONTROL, call_nothing, 1000, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_UNREACHABLE);
    rig_end();
}

/* ---- moves ------------------------------------------------------------------------------------
 */

static void
start_moving(int64_t transfer_us)
{
    g_autoptr(GError) error = NULL;
    ServerSpec server = {.uuid = (char *)UUID, .domain_name = (char *)"x", .machine = (char *)"pc"};
    host_fake_set_timing(rig.world, transfer_us, 1000);
    host_domain_start(rig.hosts, "host1", &server, NULL, NULL, after_ms(5000), &error);
    g_assert_no_error(error);
    MoveSpec spec = {.uuid = (char *)UUID, .dest_uri = (char *)"fake://host2/system"};
    host_migrate_start(rig.hosts, "host1", &spec, count_move, NULL, &error);
    g_assert_no_error(error);
    need_event("host1", HOST_EVENT_ITERATION, 1);
}

static void
test_move(void)
{
    rig_begin();
    start_moving(20 * USEC_PER_MSEC);
    need_count(&rig.moves_ended, 1);
    g_assert_no_error(rig.move_error);
    rig_end();
    g_assert_cmpint(rig.moves_ended, ==, 1);
}

static void
test_move_loses_connection(void)
{
    rig_begin();
    start_moving(10 * USEC_PER_SEC);
    host_fake_set_fault(rig.world, 1, FAKE_NODE_CUT);
    need_count(&rig.moves_ended, 1);
    g_assert_error(rig.move_error, ERR_DOMAIN, ERR_UNREACHABLE);
    g_assert_cmpint(host_fake_running_count(rig.world, UUID), ==, 1);
    rig_end();
    g_assert_cmpint(rig.moves_ended, ==, 1);
}

static void
test_free_ends_moves(void)
{
    rig_begin();
    start_moving(2 * USEC_PER_SEC);
    int64_t begun = clock_monotonic();
    hosts_free(rig.hosts);
    g_assert_cmpint(clock_monotonic() - begun, <, USEC_PER_SEC);
    g_assert_cmpint(rig.moves_ended, ==, 1);
    g_assert_error(rig.move_error, ERR_DOMAIN, ERR_UNREACHABLE);
    rig.hosts = NULL;
    rig_end();
    /* The thread inside the call leaves by itself when the call returns. */
    struct timespec while_it_ends = {2, 200 * 1000 * 1000};
    nanosleep(&while_it_ends, NULL);
}

static void
test_free_at_once(void)
{
    for (int i = 0; i < 20; i++) {
        rig_begin();
        if (i % 2 == 0)
            host_fake_set_fault(rig.world, 1, FAKE_NODE_CUT);
        rig_end();
    }
    HostsConfig config = {.ops = &host_fake_ops, .driver = host_fake_world_new(1)};
    Hosts *hosts = hosts_new(&config);
    hosts_add(hosts, "host1", "fake://host1/system");
    hosts_free(hosts);
    host_fake_world_free(config.driver);
}

/* Many threads, both lanes, a node that comes and goes. */
static void
stress_thread(void *opaque)
{
    for (int i = 0; i < 300; i++) {
        g_autoptr(GError) error = NULL;
        bool ok = call(i % 2 == 0 ? HOST_WORK : HOST_CONTROL, call_nothing, i % 7 == 0 ? 0 : 5000,
                       &error);
        g_assert_true(ok || err_is(error, ERR_UNREACHABLE) || err_is(error, ERR_TIMEOUT));
    }
}

static void
test_stress(void)
{
    rig_begin();
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        threads[i] = thread_start("stress", stress_thread, NULL);
    host_fake_set_fault(rig.world, 1, FAKE_NODE_CUT);
    need_event("host1", HOST_EVENT_DISCONNECTED, 1);
    host_fake_set_fault(rig.world, 1, FAKE_FAULT_NONE);
    need_event("host1", HOST_EVENT_CONNECTED, 2);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    need_count(&rig.freed, 8 * 300);
    rig_end();
    g_assert_cmpint(rig.freed, ==, 8 * 300);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hosts/call", test_call);
    g_test_add_func("/hosts/timeout", test_timeout);
    g_test_add_func("/hosts/timeout-in-queue", test_timeout_in_queue);
    g_test_add_func("/hosts/work-limit", test_work_limit);
    g_test_add_func("/hosts/short-deadline", test_short_deadline);
    g_test_add_func("/hosts/refusals", test_refusals);
    g_test_add_func("/hosts/fenced-in-queue", test_fenced_in_queue);
    g_test_add_func("/hosts/fenced-does-not-connect", test_fenced_does_not_connect);
    g_test_add_func("/hosts/queue-is-bounded", test_queue_is_bounded);
    g_test_add_func("/hosts/reconnect", test_reconnect);
    g_test_add_func("/hosts/loss-ends-calls", test_loss_ends_calls);
    g_test_add_func("/hosts/remove-and-replace", test_remove_and_replace);
    g_test_add_func("/hosts/move", test_move);
    g_test_add_func("/hosts/move-loses-connection", test_move_loses_connection);
    g_test_add_func("/hosts/free-ends-moves", test_free_ends_moves);
    g_test_add_func("/hosts/free-at-once", test_free_at_once);
    g_test_add_func("/hosts/stress", test_stress);
    return g_test_run();
}
