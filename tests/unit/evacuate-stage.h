/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* evacuate-stage.h: a server on a node that is going to die, a storage and nodes that can be looked
 * at, and meddled with, while they work */
#pragma once

#include <string.h>

#include "rig/rig.h"
#include "task/fence.h"
#include "task/runner.h"

#define NODES 3

typedef struct Stage {
    char *dir;
    HostDriver *world;
    Rig *rig;
    char *id, *disk; /* a server on host1, and its root disk */
} Stage;

#define CLIENT "10.0.0.1:0/4711"

/* ---- a storage that can be looked at while it works -----------------------------------------
 */

static BlockOps ops; /* of the stage under test; copied from the fake's */
static Stage *stage_now;
static int fence_calls, unfence_calls;
static char *late_client; /* opens the disk while the others are being fenced */
static bool fence_fails;

static inline GPtrArray *
rows_of(const RecordType *type, const char *column, const char *value)
{
    const StoreCond where[] = {{column, STORE_EQ, value, 0}, {NULL}};

    return rig_rows(stage_now->rig, type, where);
}

/* Written down before, and nothing of the server runs elsewhere yet. */
static inline bool
watched_fence(Block *block, const char *const *addresses, int64_t seconds, GError **err)
{
    fence_calls++;
    if (stage_now->rig) {
        for (size_t i = 0; addresses[i]; i++) {
            g_autoptr(GPtrArray) rows = rows_of(&FENCE, "address", addresses[i]);

            g_assert_cmpuint(rows->len, ==, 1);
        }
        g_assert_cmpint(seconds, >, 20 * 86400);
    }
    if (fence_fails)
        return err_set(err, ERR_BACKEND, "the monitors have no quorum");
    if (late_client) {
        block_fake_set_client(block, stage_now->disk, late_client);
        g_clear_pointer(&late_client, g_free);
    }
    return block_fake_ops.fence(block, addresses, seconds, err);
}

/* Only when nothing of the old guest is left. */
static inline bool
watched_unfence(Block *block, const char *const *addresses, GError **err)
{
    unfence_calls++;
    if (!fence_fails)
        g_assert_cmpint(host_fake_running_count(stage_now->world, stage_now->id), <=, 1);
    return block_fake_ops.unfence(block, addresses, err);
}

static inline bool
no_fence(Block *block, const char *const *addresses, int64_t seconds, GError **err)
{
    return err_set(err, ERR_UNSUPPORTED, "no fence here");
}

/* ---- nodes on which something happens just then ----------------------------------------------
 */

static HostOps host_ops;       /* copied from the fake's */
static void (*on_probe)(void); /* called once */
static bool start_lies;        /* once: the guest comes up, and an error is told */

static inline DomainInfo *
watched_probe(HostConn *conn, const char *uuid, GError **err)
{
    DomainInfo *info = host_fake_ops.domain_probe(conn, uuid, err);
    void (*hook)(void) = on_probe;

    on_probe = NULL;
    if (hook)
        hook();
    return info;
}

static inline bool
watched_start(HostConn *conn, const ServerSpec *spec, char **machine, char **cpu, GError **err)
{
    bool lies = start_lies;

    if (!host_fake_ops.domain_start(conn, spec, lies ? NULL : machine, lies ? NULL : cpu, err))
        return false;
    start_lies = false;
    return !lies || err_set(err, ERR_BACKEND, "its XML cannot be read");
}

/* ---- the stage -------------------------------------------------------------------------------
 */

static inline bool
insert_client(StoreTx *tx, void *opaque, GError **err)
{
    return store_insert(tx, &DISK_CLIENT, opaque, err);
}

/* As a start records it; the cluster lists it, too. */
static inline void
add_client(Stage *stage, const char *server_id, const char *source, const char *address)
{
    DiskClient row = {.server_id = (char *)server_id,
                      .source = (char *)source,
                      .host = (char *)"host1",
                      .address = (char *)address,
                      .created_at = clock_realtime()};

    g_assert_true(store_write(stage->rig->store, insert_client, &row, NULL));
    block_fake_set_client(stage->rig->storage.block, source, address);
}

static inline char *
disk_of(Stage *stage, const char *server_id)
{
    g_autofree char *format = NULL;
    char *source = NULL;

    g_assert_true(storage_disk_source(&stage->rig->storage, server_id, &source, &format, NULL));
    return source;
}

static inline void
set_up(Stage *stage, gconstpointer data)
{
    bool shared_directory = data != NULL;

    ops = block_fake_ops;
    ops.fence = watched_fence;
    ops.unfence = watched_unfence;
    if (shared_directory) {
        ops.can_fence = false;
        ops.fence = no_fence;
    }
    rig_block_ops = &ops;
    host_ops = host_fake_ops;
    host_ops.domain_probe = watched_probe;
    host_ops.domain_start = watched_start;
    rig_host_ops = &host_ops;
    on_probe = NULL;
    start_lies = false;
    stage_now = stage;
    fence_calls = unfence_calls = 0;
    fence_fails = false;
    stage->dir = rig_make_dir(NODES);
    stage->world = host_fake_world_new(NODES + 1); /* one that no record has */
    stage->rig = rig_start(stage->dir, stage->world, NODES);
    stage->id = rig_create_server(stage->rig, "s", "host1", NULL);
    g_assert_true(rig_wait_idle(stage->rig, 10));
    stage->disk = disk_of(stage, stage->id);
    if (!shared_directory)
        add_client(stage, stage->id, stage->disk, CLIENT);
}

static inline void
tear_down(Stage *stage, gconstpointer data)
{
    rig_stop(stage->rig);
    stage->rig = NULL;
    host_fake_world_free(stage->world);
    rig_remove_dir(stage->dir);
    g_free(stage->id);
    g_free(stage->disk);
    rig_block_ops = NULL;
    rig_host_ops = NULL;
}

static inline void
wait_host(Stage *stage, const char *name, HostState state)
{
    const StoreCond where[] = {
        {"name", STORE_EQ, name, 0}, {"state", STORE_EQ, NULL, state}, {NULL}};

    for (int i = 0; i < 2000; i++) {
        g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &HOST, where);

        if (rows->len)
            return;
        g_usleep(5000);
    }
    g_error("%s does not become %s", name, host_state_names[state]);
}

static inline void
set_node(Stage *stage, int node, FakeFault fault)
{
    g_autofree char *name = g_strdup_printf("host%d", node);

    host_fake_set_fault(stage->world, node, fault);
    wait_host(stage, name, fault == FAKE_NODE_CUT || fault == FAKE_NODE_DOWN ? HOST_DOWN : HOST_UP);
}

static inline Migration *
evacuate(Stage *stage, const EvacuateRequest *request)
{
    int64_t id = rig_evacuate(stage->rig, stage->id, request, NULL);

    g_assert_true(rig_wait_idle(stage->rig, 20));
    return rig_migration(stage->rig, id);
}

static inline void
assert_refused(Stage *stage, const EvacuateRequest *request, ErrCode code, const char *word)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) moves = NULL;

    g_assert_cmpint(rig_evacuate(stage->rig, stage->id, request, &error), ==, 0);
    g_assert_cmpstr(err_code_name(err_code(error)), ==, err_code_name(code));
    if (!strstr(error->message, word))
        g_error("'%s' does not say '%s'", error->message, word);
    moves = rig_rows(stage->rig, &MIGRATION, NULL);
    g_assert_cmpuint(moves->len, ==, 0);
}

static inline void
assert_server(Stage *stage, VmState state, const char *host, int copies)
{
    g_autoptr(Server) server = rig_server(stage->rig, stage->id);

    g_assert_cmpstr(vm_state_names[server->vm_state], ==, vm_state_names[state]);
    g_assert_cmpint(server->task_state, ==, TASK_NONE);
    if (host)
        g_assert_cmpstr(server->host, ==, host);
    else
        g_assert_cmpstr(server->host, !=, "host1");
    g_assert_null(server->uncertainty);
    g_assert_cmpint(host_fake_running_count(stage->world, stage->id), ==, copies);
}

static inline bool
is_fenced(Stage *stage, const char *address)
{
    return block_fake_is_fenced(stage->rig->storage.block, address);
}

static inline guint
fence_rows(Stage *stage)
{
    g_autoptr(GPtrArray) rows = rig_rows(stage->rig, &FENCE, NULL);

    return rows->len;
}

/* Until the node's return has been dealt with. */
static inline void
wait_status(Stage *stage, int64_t id, MigrationStatus status)
{
    for (int i = 0; i < 1000; i++) {
        g_autoptr(Migration) row = rig_migration(stage->rig, id);

        if (row->status == status)
            return;
        if (i % 40 == 39)
            watch_sweep(stage->rig->watch);
        g_usleep(10000);
    }
    g_error("the evacuation does not become %s", migration_status_names[status]);
}

static const EvacuateRequest anywhere;

/* ---- helpers ---------------------------------------------------------------------------------
 */

static inline bool
force_down(StoreTx *tx, void *opaque, GError **err)
{
    const StoreCond where[] = {{"name", STORE_EQ, opaque, 0}, {NULL}};
    g_autoptr(Host) host = store_find(tx, &HOST, where, err);

    host->forced_down = true;
    return store_update(tx, &HOST, host, err);
}

static inline void
set_command(Stage *stage, const char *body, int64_t timeout_s)
{
    TaskSettings *settings = (TaskSettings *)engine_settings(stage->rig->tasks);
    g_autofree char *path = g_build_filename(stage->dir, "fence", NULL);
    g_autofree char *text =
        g_strdup_printf("#!/bin/sh\necho \"$1 $2\" >>%s/calls\n%s\n", stage->dir, body);

    g_assert_true(file_write_atomically(path, text, strlen(text), 0700, NULL));
    settings->fence_command = g_intern_string(path);
    settings->fence_timeout_s = timeout_s;
}

static inline int
calls(Stage *stage, const char *line)
{
    g_autofree char *path = g_build_filename(stage->dir, "calls", NULL), *text = NULL;
    g_auto(GStrv) lines = NULL;
    int n = 0;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++)
        n += strcmp(*l, line) == 0;
    return n;
}

static inline bool
nearly_over(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(GPtrArray) rows = store_list(tx, &FENCE, NULL, err);

    for (guint i = 0; i < rows->len; i++) {
        Fence *fence = g_ptr_array_index(rows, i);

        fence->expires_at = clock_realtime() + 3600 * USEC_PER_SEC;
        if (!store_update(tx, &FENCE, fence, err))
            return false;
    }
    return true;
}
