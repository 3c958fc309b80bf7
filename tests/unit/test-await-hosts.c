/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-await-hosts.c: tasks that are taken up before their nodes have shown themselves */
#include <string.h>

#include "rig/rig.h"

#define HOSTS 2
/* Far below what a wait would take that ends by its bound. */
#define SOON_S 5

/* ---- nodes whose connections take as long as the test wants ------------------------------------
 */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool held[HOSTS + 1];
} gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
static HostOps gated_ops;

static void
gate_set(int node, bool held)
{
    WITH_MUTEX(&gate.mutex);
    gate.held[node] = held;
    pthread_cond_broadcast(&gate.changed);
}

static HostConn *
gated_open(HostDriver *driver, const char *host, const char *uri, HostEventFn on_event,
           void (*on_closed)(const char *why, void *opaque), void *opaque, GError **err)
{
    pthread_mutex_lock(&gate.mutex);
    while (gate.held[host[strlen("host")] - '0'])
        pthread_cond_wait(&gate.changed, &gate.mutex);
    pthread_mutex_unlock(&gate.mutex);
    return host_fake_ops.open(driver, host, uri, on_event, on_closed, opaque, err);
}

/* ---- a controller that starts with open tasks --------------------------------------------------
 */
typedef struct Stage {
    char *dir;
    HostDriver *world;
    Rig *rig;
} Stage;

static void
stage_open(Stage *stage, const void *unused)
{
    gated_ops = host_fake_ops;
    gated_ops.open = gated_open;
    rig_host_ops = &gated_ops;
    stage->dir = rig_make_dir(HOSTS);
    stage->world = host_fake_world_new(HOSTS);
    stage->rig = rig_start(stage->dir, stage->world, HOSTS);
}

static void
open_all(void)
{
    for (int node = 1; node <= HOSTS; node++)
        gate_set(node, false);
}

static void
stage_close(Stage *stage, const void *unused)
{
    open_all();
    rig_stop(stage->rig);
    host_fake_world_free(stage->world);
    rig_remove_dir(stage->dir);
}

/* What is asked for from now on stays open until the next start. */
static void
stop_tasks(Stage *stage)
{
    task_engine_stop(stage->rig->tasks, clock_monotonic() + 5 * USEC_PER_SEC);
}

/* The next process: it takes up the open tasks at once, with no node connected yet. */
static void
start_again(Stage *stage)
{
    rig_stop(stage->rig);
    for (int node = 1; node <= HOSTS; node++)
        gate_set(node, true);
    stage->rig = rig_start(stage->dir, stage->world, 0);
}

static void
assert_waits(Stage *stage, const char *server_id, VmState state)
{
    g_autoptr(Server) server = NULL;

    g_assert_false(rig_wait_idle(stage->rig, 1));
    server = rig_server(stage->rig, server_id);
    g_assert_cmpstr(vm_state_names[server->vm_state], ==, vm_state_names[state]);
    g_assert_cmpint(host_fake_running_count(stage->world, server_id), ==, 0);
}

static void
assert_becomes(Stage *stage, const char *server_id, VmState state, const char *host)
{
    g_autoptr(Server) server = NULL;

    g_assert_true(rig_wait_idle(stage->rig, SOON_S));
    server = rig_server(stage->rig, server_id);
    g_assert_cmpstr(server->fault_message, ==, NULL);
    g_assert_cmpstr(vm_state_names[server->vm_state], ==, vm_state_names[state]);
    if (host)
        g_assert_cmpstr(server->host, ==, host);
    g_assert_cmpint(host_fake_running_count(stage->world, server_id), ==, state == VM_ACTIVE);
}

static void
test_create(Stage *stage, const void *unused)
{
    stop_tasks(stage);
    g_autofree char *free_one = rig_create_server(stage->rig, "a", NULL, NULL),
                    *bound_one = rig_create_server(stage->rig, "b", "host2", NULL);

    start_again(stage);
    assert_waits(stage, free_one, VM_BUILDING);
    gate_set(1, false);
    /* One of two nodes: enough for nobody yet. A request that comes now waits as well. */
    g_autofree char *new_one = rig_create_server(stage->rig, "c", NULL, NULL);
    assert_waits(stage, free_one, VM_BUILDING);
    assert_waits(stage, bound_one, VM_BUILDING);
    gate_set(2, false);
    assert_becomes(stage, free_one, VM_ACTIVE, NULL);
    assert_becomes(stage, bound_one, VM_ACTIVE, "host2");
    assert_becomes(stage, new_one, VM_ACTIVE, NULL);
}

static void
test_start(Stage *stage, const void *unused)
{
    g_autofree char *server = rig_create_server(stage->rig, "a", "host1", NULL);

    g_assert_true(rig_wait_idle(stage->rig, SOON_S));
    g_assert_true(rig_action(stage->rig, server, "os-stop", NULL, NULL));
    assert_becomes(stage, server, VM_STOPPED, "host1");
    stop_tasks(stage);
    g_assert_true(rig_action(stage->rig, server, "os-start", NULL, NULL));
    start_again(stage);
    assert_waits(stage, server, VM_STOPPED);
    open_all();
    assert_becomes(stage, server, VM_ACTIVE, "host1");
}

/* One node that hangs keeps nothing up that does not need it. */
static void
test_stop_needs_its_own_node(Stage *stage, const void *unused)
{
    g_autofree char *server = rig_create_server(stage->rig, "a", "host1", NULL);

    g_assert_true(rig_wait_idle(stage->rig, SOON_S));
    stop_tasks(stage);
    g_assert_true(rig_action(stage->rig, server, "os-stop", NULL, NULL));
    start_again(stage);
    gate_set(1, false);
    assert_becomes(stage, server, VM_STOPPED, "host1");
}

static void
test_delete_ends_the_wait(Stage *stage, const void *unused)
{
    stop_tasks(stage);
    g_autofree char *server = rig_create_server(stage->rig, "a", NULL, NULL);

    start_again(stage);
    assert_waits(stage, server, VM_BUILDING);
    g_assert_true(rig_action(stage->rig, server, "delete", NULL, NULL));
    g_assert_true(rig_wait_idle(stage->rig, SOON_S));
}

/* A node that is down is known. */
static void
test_down_is_known(Stage *stage, const void *unused)
{
    stop_tasks(stage);
    g_autofree char *server = rig_create_server(stage->rig, "a", NULL, NULL);

    host_fake_set_fault(stage->world, 2, FAKE_NODE_DOWN);
    start_again(stage);
    open_all();
    assert_becomes(stage, server, VM_ACTIVE, "host1");
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Stage *, const void *);
    } tests[] = {
        {"/await-hosts/create", test_create},
        {"/await-hosts/start", test_start},
        {"/await-hosts/stop-needs-its-own-node", test_stop_needs_its_own_node},
        {"/await-hosts/delete-ends-the-wait", test_delete_ends_the_wait},
        {"/await-hosts/down-is-known", test_down_is_known},
    };

    g_test_init(&argc, &argv, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Stage, NULL, stage_open, tests[i].fn, stage_close);
    return g_test_run();
}
