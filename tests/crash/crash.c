/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* crash.c: kills the controller at the k-th fault point of each operation, for every k, and looks
 * what the next one makes of it
 *
 * The fault points sit in the store's commit and in the driver-call wrappers, so that no operation
 * can leave them out. For each operation and k = 1, 2, …: one process prepares the world, a second
 * submits the operation and is killed at its k-th point, a third takes over; then the invariants
 * are checked. The enumeration ends at the first k at which nothing fires any more. The number of
 * points is compared with tests/crash/points: fewer than that means that a point was lost. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash-moves.h"
#include "crash-nodes.h"
#include "rig/rig.h"

#define HOSTS 3
#define K_MAX 400

typedef struct Volumes { /* how many there are, and in which state */
    int rows, in_use, snapshots, gigabytes;
} Volumes;

typedef struct Operation {
    const char *name;
    const char *kind;   /* task kind that it submits */
    const char *action; /* NULL: by run, or migrate */
    const char *params;
    const char *action_before; /* brings it from ACTIVE … */
    VmState before;            /* … to here; of no meaning without */
    VmState after;
    int running_after;
    bool no_server_before, no_server_after;
    FakeFault fault;                             /* of every node, from the preparation on */
    void (*prepare)(Rig *rig, char **server_id); /* what it needs beside its server, or instead */
    void (*run)(Rig *rig, const char *server_id);
    Volumes volumes_before, volumes_after;
    uint64_t as_before; /* the first so many points are another operation's, too: passed over */
    /* evacuation */
    bool resumes;                     /* host1 is rebooted, and what ran there is started again */
    bool cut_before, cut_after;       /* host1 is cut off, its guests run on */
    void (*settled)(Rig *rig);        /* waits for what no task does */
    int stale_after, fences_after;    /* domains on host1, and fences of it */
    int fault_node;                   /* 0: every one */
    bool resized_before, holds_after; /* a finished resize, that is: a domain more, and held */
    const char *flavor_after;         /* NULL: the one that it was created with */
} Operation;

/* ---- the operations on volumes
 * ---------------------------------------------------------------------------------- */

static const RigVolume from_image = {.image_id = "11111111-2222-4333-8444-555555555555"};

static void
wait_idle(Rig *rig)
{
    if (!rig_wait_idle(rig, 20))
        g_error("the preparation did not end");
}

static char *
only_volume(Rig *rig)
{
    g_autoptr(GPtrArray) rows = rig_rows(rig, &VOLUME, NULL);

    g_assert_cmpuint(rows->len, ==, 1);
    return g_strdup(((Volume *)g_ptr_array_index(rows, 0))->id);
}

static void
run_create(Rig *rig, const char *server_id)
{
    g_free(rig_create_server(rig, "s", "host1", NULL));
}

static void
prepare_volume(Rig *rig, char **server_id)
{
    g_free(rig_create_volume(rig, &from_image, NULL));
    wait_idle(rig);
}

static void
prepare_attached(Rig *rig, char **server_id)
{
    g_autofree char *id = rig_create_volume(rig, &from_image, NULL);

    wait_idle(rig);
    rig_attach(rig, *server_id, id, NULL, NULL);
    wait_idle(rig);
}

static void
prepare_snapshot(Rig *rig, char **server_id)
{
    g_autofree char *id = rig_create_volume(rig, &from_image, NULL);

    wait_idle(rig);
    g_free(rig_create_snapshot(rig, id, false, NULL));
    wait_idle(rig);
}

static void
prepare_booted(Rig *rig, char **server_id)
{
    g_autofree char *other = rig_create_volume(rig, &from_image, NULL);

    wait_idle(rig);
    *server_id = rig_boot_from_volume(rig, &from_image, true, (const char *const[]){other, NULL},
                                      false, NULL);
    wait_idle(rig);
}

static void
run_volume_create(Rig *rig, const char *server_id)
{
    g_free(rig_create_volume(rig, &from_image, NULL));
}

static void
run_volume_delete(Rig *rig, const char *server_id)
{
    g_autofree char *id = only_volume(rig);

    rig_volume_action(rig, id, "delete", NULL, NULL);
}

static void
run_volume_extend(Rig *rig, const char *server_id)
{
    g_autofree char *id = only_volume(rig);

    rig_volume_action(rig, id, "extend", "{\"size_gb\":2}", NULL);
}

static void
run_snapshot_create(Rig *rig, const char *server_id)
{
    g_autofree char *id = only_volume(rig);

    g_free(rig_create_snapshot(rig, id, true, NULL));
}

static void
run_snapshot_delete(Rig *rig, const char *server_id)
{
    g_autoptr(GPtrArray) rows = rig_rows(rig, &SNAPSHOT, NULL);

    rig_delete_snapshot(rig, ((Snapshot *)g_ptr_array_index(rows, 0))->id, NULL);
}

static void
run_attach(Rig *rig, const char *server_id)
{
    g_autofree char *id = only_volume(rig);

    rig_attach(rig, server_id, id, NULL, NULL);
}

static void
run_detach(Rig *rig, const char *server_id)
{
    g_autofree char *id = only_volume(rig);

    rig_detach(rig, server_id, id, NULL);
}

static void
run_boot(Rig *rig, const char *server_id)
{
    g_autofree char *other = only_volume(rig);

    g_free(rig_boot_from_volume(rig, &from_image, true, (const char *const[]){other, NULL}, false,
                                NULL));
}

/* ---- evacuation
 * ---------------------------------------------------------------------------------- */

#define OLD_CLIENT "10.0.0.1:0/4711"

static bool
insert_client(StoreTx *tx, void *opaque, GError **err)
{
    return store_insert(tx, &DISK_CLIENT, opaque, err);
}

static void
await_row(Rig *rig, const RecordType *type, const StoreCond *where, const char *what)
{
    for (int i = 0; i < 2000; i++) {
        g_autoptr(GPtrArray) rows = rig_rows(rig, type, where);

        if (rows->len)
            return;
        if (i % 100 == 99)
            watch_sweep(rig->watch);
        g_usleep(5000);
    }
    g_error("%s did not come about", what);
}

static void
await_down(Rig *rig)
{
    const StoreCond down[] = {
        {"name", STORE_EQ, "host1", 0}, {"state", STORE_EQ, NULL, HOST_DOWN}, {NULL}};

    await_row(rig, &HOST, down, "host1 down");
}

static void
await_completed(Rig *rig)
{
    const StoreCond completed[] = {{"status", STORE_EQ, NULL, MIGRATION_COMPLETED}, {NULL}};

    await_row(rig, &MIGRATION, completed, "the end of the evacuation");
}

/* The guest has its disk open, as a start records it. */
static void
prepare_client(Rig *rig, char **server_id)
{
    g_autofree char *source = NULL, *format = NULL;
    DiskClient row = {.server_id = *server_id,
                      .host = (char *)"host1",
                      .address = (char *)OLD_CLIENT,
                      .created_at = clock_realtime()};

    g_assert_true(storage_disk_source(&rig->storage, *server_id, &source, &format, NULL));
    row.source = source;
    g_assert_true(store_write(rig->store, insert_client, &row, NULL));
    block_fake_set_client(rig->storage.block, source, OLD_CLIENT);
    host_fake_set_fault(rig->world, 1, FAKE_NODE_CUT);
    await_down(rig);
}

static void
run_evacuate(Rig *rig, const char *server_id)
{
    rig_evacuate(rig, server_id, &(EvacuateRequest){0}, NULL);
}

static void
prepare_evacuated(Rig *rig, char **server_id)
{
    prepare_client(rig, server_id);
    run_evacuate(rig, *server_id);
    wait_idle(rig);
}

static void
run_heal(Rig *rig, const char *server_id)
{
    host_fake_set_fault(rig->world, 1, FAKE_FAULT_NONE);
    await_completed(rig);
}

/* ---- the operations around a resize
 * -------------------------------------------------------------------------------------- */

static const Flavor small = {.id = (char *)"small",
                             .name = (char *)"m1.small",
                             .vcpus = 2,
                             .ram_mb = 512,
                             .disk_gb = 2,
                             .extra_specs = (char *)"{}"};

static void
run_resize(Rig *rig, const char *server_id)
{
    rig_resize(rig, server_id, &small, "host2", NULL);
}

static void
run_cold_migrate(Rig *rig, const char *server_id)
{
    rig_resize(rig, server_id, NULL, "host2", NULL);
}

static void
run_confirm_resize(Rig *rig, const char *server_id)
{
    rig_end_resize(rig, server_id, "confirmResize", NULL);
}

static void
run_revert_resize(Rig *rig, const char *server_id)
{
    rig_end_resize(rig, server_id, "revertResize", NULL);
}

static void
prepare_resized(Rig *rig, char **server_id)
{
    run_resize(rig, *server_id);
    wait_idle(rig);
}

static const Operation operations[] = {
    {.name = "create",
     .kind = "server-create",
     .after = VM_ACTIVE,
     .running_after = 1,
     .no_server_before = true,
     .run = run_create},
    {.name = "stop", .kind = "server-stop", .action = "os-stop", .after = VM_STOPPED},
    {.name = "start",
     .kind = "server-start",
     .action = "os-start",
     .action_before = "os-stop",
     .before = VM_STOPPED,
     .after = VM_ACTIVE,
     .running_after = 1},
    {.name = "reboot-soft",
     .kind = "server-reboot",
     .action = "reboot-soft",
     .params = "{\"soft\":true}",
     .after = VM_ACTIVE,
     .running_after = 1},
    {.name = "reboot-hard",
     .kind = "server-reboot",
     .action = "reboot-hard",
     .after = VM_ACTIVE,
     .running_after = 1},
    {.name = "pause",
     .kind = "server-pause",
     .action = "pause",
     .after = VM_PAUSED,
     .running_after = 1},
    {.name = "unpause",
     .kind = "server-unpause",
     .action = "unpause",
     .action_before = "pause",
     .before = VM_PAUSED,
     .after = VM_ACTIVE,
     .running_after = 1},
    {.name = "suspend", .kind = "server-suspend", .action = "suspend", .after = VM_SUSPENDED},
    {.name = "resume",
     .kind = "server-resume",
     .action = "resume",
     .action_before = "suspend",
     .before = VM_SUSPENDED,
     .after = VM_ACTIVE,
     .running_after = 1},
    {.name = "suspend-fails",
     .kind = "server-suspend",
     .action = "suspend",
     .fault = FAKE_SAVE_FAILS,
     .after = VM_ACTIVE,
     .running_after = 1},
    {.name = "resume-fails",
     .kind = "server-resume",
     .action = "resume",
     .action_before = "suspend",
     .before = VM_SUSPENDED,
     .fault = FAKE_START_FAILS,
     .after = VM_SUSPENDED},
    {.name = "delete-suspended",
     .kind = "server-delete",
     .action = "delete",
     .action_before = "suspend",
     .before = VM_SUSPENDED,
     .after = VM_DELETED},
    {.name = "live-migrate", .kind = "server-live-migrate", .after = VM_ACTIVE, .running_after = 1},
    {.name = "live-migrate-abort",
     .kind = "server-live-migrate",
     .after = VM_ACTIVE,
     .running_after = 1,
     .run = crash_run_abort,
     .as_before = 16},
    {.name = "live-migrate-pause",
     .kind = "server-live-migrate",
     .after = VM_ACTIVE,
     .running_after = 1,
     .run = crash_run_pause,
     .as_before = 16},
    {.name = "live-migrate-post-copy",
     .kind = "server-live-migrate",
     .after = VM_ACTIVE,
     .running_after = 1,
     .run = crash_run_post_copy,
     .as_before = 16},
    {.name = "live-migrate-retry",
     .kind = "server-live-migrate",
     .after = VM_ACTIVE,
     .running_after = 1,
     .run = crash_run_retry},
    {.name = "delete", .kind = "server-delete", .action = "delete", .after = VM_DELETED},
    {.name = "volume-create",
     .kind = "volume-create",
     .no_server_before = true,
     .no_server_after = true,
     .run = run_volume_create,
     .volumes_after = {1, 0, 0, 1}},
    {.name = "volume-delete",
     .kind = "volume-delete",
     .no_server_before = true,
     .no_server_after = true,
     .prepare = prepare_volume,
     .run = run_volume_delete,
     .volumes_before = {1, 0, 0, 1}},
    {.name = "volume-extend",
     .kind = "volume-extend",
     .after = VM_ACTIVE,
     .running_after = 1,
     .prepare = prepare_attached,
     .run = run_volume_extend,
     .volumes_before = {1, 1, 0, 1},
     .volumes_after = {1, 1, 0, 2}},
    {.name = "snapshot-create",
     .kind = "snapshot-create",
     .after = VM_ACTIVE,
     .running_after = 1,
     .prepare = prepare_attached,
     .run = run_snapshot_create,
     .volumes_before = {1, 1, 0, 1},
     .volumes_after = {1, 1, 1, 1}},
    {.name = "snapshot-delete",
     .kind = "snapshot-delete",
     .no_server_before = true,
     .no_server_after = true,
     .prepare = prepare_snapshot,
     .run = run_snapshot_delete,
     .volumes_before = {1, 0, 1, 1},
     .volumes_after = {1, 0, 0, 1}},
    {.name = "volume-attach",
     .kind = "volume-attach",
     .after = VM_ACTIVE,
     .running_after = 1,
     .prepare = prepare_volume,
     .run = run_attach,
     .volumes_before = {1, 0, 0, 1},
     .volumes_after = {1, 1, 0, 1}},
    {.name = "volume-detach",
     .kind = "volume-detach",
     .after = VM_ACTIVE,
     .running_after = 1,
     .prepare = prepare_attached,
     .run = run_detach,
     .volumes_before = {1, 1, 0, 1},
     .volumes_after = {1, 0, 0, 1}},
    {.name = "boot-from-volume",
     .kind = "server-create",
     .after = VM_ACTIVE,
     .running_after = 1,
     .no_server_before = true,
     .prepare = prepare_volume,
     .run = run_boot,
     .volumes_before = {1, 0, 0, 1},
     .volumes_after = {2, 2, 0, 2}},
    {.name = "boot-fails",
     .kind = "server-create",
     .after = VM_ERROR,
     .no_server_before = true,
     .prepare = prepare_volume,
     .run = run_boot,
     .fault = FAKE_START_FAILS,
     .volumes_before = {1, 0, 0, 1},
     .volumes_after = {1, 0, 0, 1}},
    {.name = "attach-fails",
     .kind = "volume-attach",
     .after = VM_ACTIVE,
     .running_after = 1,
     .prepare = prepare_volume,
     .run = run_attach,
     .fault = FAKE_ATTACH_FAILS,
     .volumes_before = {1, 0, 0, 1},
     .volumes_after = {1, 0, 0, 1}},
    {.name = "delete-with-volumes",
     .kind = "server-delete",
     .action = "delete",
     .after = VM_DELETED,
     .no_server_before = true,
     .prepare = prepare_booted,
     .volumes_before = {2, 2, 0, 2},
     .volumes_after = {1, 0, 0, 1}},
    {.name = "evacuate",
     .kind = "server-evacuate",
     .after = VM_ACTIVE,
     .running_after = 2, /* the old one runs on, shut out */
     .prepare = prepare_client,
     .run = run_evacuate,
     .cut_before = true,
     .cut_after = true,
     .stale_after = 1,
     .fences_after = 1},
    {.name = "node-returns",
     .kind = "server-evacuate",
     .after = VM_ACTIVE,
     .running_after = 1,
     .prepare = prepare_evacuated,
     .run = run_heal,
     .settled = await_completed,
     .cut_before = true},
    {.name = "resize",
     .kind = "server-resize",
     .after = VM_RESIZED,
     .running_after = 1,
     .run = run_resize,
     .holds_after = true,
     .flavor_after = "small"},
    {.name = "resize-fails",
     .kind = "server-resize",
     .after = VM_ACTIVE,
     .running_after = 1,
     .run = run_resize,
     .fault = FAKE_START_FAILS,
     .fault_node = 2},
    {.name = "cold-migrate",
     .kind = "server-resize",
     .action_before = "os-stop",
     .before = VM_STOPPED,
     .after = VM_RESIZED,
     .run = run_cold_migrate,
     .holds_after = true},
    {.name = "confirm-resize",
     .kind = "server-confirm-resize",
     .after = VM_ACTIVE,
     .running_after = 1,
     .prepare = prepare_resized,
     .run = run_confirm_resize,
     .resized_before = true,
     .flavor_after = "small"},
    {.name = "revert-resize",
     .kind = "server-revert-resize",
     .after = VM_ACTIVE,
     .running_after = 1,
     .prepare = prepare_resized,
     .run = run_revert_resize,
     .resized_before = true},
    {.name = "revert-fails",
     .kind = "server-revert-resize",
     .after = VM_RESIZED,
     .running_after = 1,
     .prepare = prepare_resized,
     .run = run_revert_resize,
     .fault = FAKE_START_FAILS,
     .fault_node = 1,
     .resized_before = true,
     .holds_after = true,
     .flavor_after = "small"},
    {.name = "reboot-node",
     .kind = "server-start",
     .after = VM_ACTIVE,
     .running_after = 1,
     .run = crash_run_reboot,
     .settled = crash_await_running,
     .resumes = true},
    {.name = "delete-resized",
     .kind = "server-delete",
     .action = "delete",
     .after = VM_DELETED,
     .prepare = prepare_resized,
     .resized_before = true,
     .flavor_after = "small"},
};

static int failures;

static void
complain(const Operation *operation, uint64_t k, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    printf("# %s k=%" G_GUINT64_FORMAT ": ", operation->name, k);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    failures++;
}

/* Run fn in a process of its own; its wait status. */
static int
in_child(void (*fn)(void *opaque), void *opaque)
{
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        alarm(60);
        fn(opaque);
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return status;
}

typedef struct Trial {
    const Operation *operation;
    const char *dir;
    HostDriver *world;
    char id_file[256];
    uint64_t k;
} Trial;

static char *
server_id_of(const Trial *trial)
{
    char *id = NULL;

    return g_file_get_contents(trial->id_file, &id, NULL, NULL) ? id : NULL;
}

static void
prepare(void *opaque)
{
    Trial *trial = opaque;
    Rig *rig = rig_start(trial->dir, trial->world, HOSTS);
    g_autofree char *id = NULL;

    if (!trial->operation->no_server_before) {
        id = rig_create_server(rig, "s", "host1", NULL);
        wait_idle(rig);
    }
    if (trial->operation->action_before) {
        rig_action(rig, id, trial->operation->action_before, NULL, NULL);
        wait_idle(rig);
    }
    if (trial->operation->prepare)
        trial->operation->prepare(rig, &id);
    if (id)
        g_file_set_contents(trial->id_file, id, -1, NULL);
    for (int node = trial->operation->cut_before ? 2 : 1; node <= HOSTS; node++)
        if (trial->operation->fault_node == 0 || trial->operation->fault_node == node)
            host_fake_set_fault(trial->world, node, trial->operation->fault);
    rig_stop(rig);
}

static void
operate(void *opaque)
{
    Trial *trial = opaque;
    Rig *rig = rig_start(trial->dir, trial->world, HOSTS - trial->operation->cut_before);
    g_autofree char *id = server_id_of(trial);

    if (trial->operation->cut_before)
        await_down(rig);
    fault_arm(trial->k);
    if (trial->operation->run)
        trial->operation->run(rig, id);
    else if (trial->operation->action)
        rig_action(rig, id, trial->operation->action, trial->operation->params, NULL);
    else
        rig_migrate(rig, id, "host2", NULL);
    if (!rig_wait_idle(rig, 30))
        g_error("tasks stayed open");
    fault_arm(0);
    rig_stop(rig);
}

static void
recover(void *opaque)
{
    Trial *trial = opaque;
    Rig *rig = rig_start(trial->dir, trial->world, HOSTS - trial->operation->cut_after);

    if (!rig_wait_idle(rig, 30)) {
        g_autoptr(GPtrArray) tasks = rig_rows(rig, &TASK, NULL);

        for (guint i = 0; i < tasks->len; i++) {
            const Task *task = g_ptr_array_index(tasks, i);

            fprintf(stderr, "open: %s %s phase %" PRId64 " %s %s\n", task->kind,
                    task_status_names[task->status], task->phase, task_mark_names[task->mark],
                    task->error_message ? task->error_message : "");
        }
        _exit(3);
    }
    if (trial->operation->settled) {
        trial->operation->settled(rig);
        wait_idle(rig);
    }
    rig_stop(rig);
}

/* ---- invariants
 * ------------------------------------------------------------------------------------------------
 */

static bool
has_own_disk(const Server *server)
{
    return server->vm_state != VM_DELETED && *server->image_id;
}

/* With a resize that waits for somebody's decision the former domain stays. */
static bool
holds(const Operation *operation, bool accepted)
{
    return accepted ? operation->holds_after : operation->resized_before;
}

static void
check_flavor(const Trial *trial, const Server *server, bool accepted)
{
    const Operation *operation = trial->operation;
    const char *want = accepted                    ? operation->flavor_after
                       : operation->resized_before ? "small"
                                                   : NULL;
    bool is_small = g_strcmp0(want, "small") == 0;

    if (g_strcmp0(server->flavor_id, want ? want : "f") != 0 ||
        server->ram_mb != (is_small ? 512 : 256))
        complain(operation, trial->k, "has flavor %s with %" PRId64 " MB, not %s",
                 server->flavor_id, server->ram_mb, want ? want : "f");
}

static void
check_server(const Trial *trial, Rig *rig, const Server *server, bool accepted)
{
    const Operation *operation = trial->operation;
    VmState before = operation->resized_before  ? VM_RESIZED
                     : operation->action_before ? operation->before
                                                : VM_ACTIVE;
    VmState want = accepted ? operation->after : before;
    int want_running = accepted
                           ? operation->running_after
                           : before == VM_ACTIVE || before == VM_PAUSED || before == VM_RESIZED;
    int running = host_fake_running_count(trial->world, server->id);
    bool disk = false;

    if (server->vm_state != want)
        complain(operation, trial->k, "vm_state %s, not %s (%s)", vm_state_names[server->vm_state],
                 vm_state_names[want], server->fault_message ? server->fault_message : "");
    if (server->task_state != TASK_NONE)
        complain(operation, trial->k, "task_state stays %s", task_state_names[server->task_state]);
    if (running != want_running)
        complain(operation, trial->k, "runs on %d nodes, not %d", running, want_running);
    check_flavor(trial, server, accepted);
    if (server->uncertainty)
        complain(operation, trial->k, "uncertain: %s", server->uncertainty);
    storage_disk_exists(&rig->storage, server->id, &disk, NULL);
    if (disk != has_own_disk(server))
        complain(operation, trial->k, "its disk is %s", disk ? "still there" : "gone");
    if (server->vm_state != VM_DELETED && server->host &&
        !(operation->cut_after && strcmp(server->host, "host1") == 0)) {
        g_autoptr(DomainInfo) info = host_domain_probe(rig->hosts, server->host, server->id,
                                                       clock_monotonic() + USEC_PER_SEC, NULL);

        if (!info ||
            (running == 1 && info->state != (want == VM_PAUSED ? DOMAIN_PAUSED : DOMAIN_RUNNING)))
            complain(operation, trial->k, "does not run on its host %s as it should", server->host);
        else if (info->saved != (want == VM_SUSPENDED))
            complain(operation, trial->k, "its memory is %skept", info->saved ? "" : "not ");
        else if (running == 1 && !info->persistent)
            complain(operation, trial->k, "is not persistent on its host");
    }
}

static void
check_attachment(const Trial *trial, Rig *rig, const Volume *volume, const Attachment *attachment)
{
    const Operation *operation = trial->operation;
    g_autoptr(Server) server = rig_server(rig, attachment->server_id);

    if (attachment->state != ATTACHMENT_ATTACHED)
        complain(operation, trial->k, "attachment stays %s",
                 attachment_state_names[attachment->state]);
    if (!server || server->vm_state == VM_DELETED)
        complain(operation, trial->k, "attached to a server that is gone");
    else if (!rig_guest_has(rig, server->host, server->id, volume->id))
        complain(operation, trial->k, "its guest does not have the volume");
}

/* No orphan, nothing half done, and a volume is in use exactly if a server has it. */
static void
check_volume(const Trial *trial, Rig *rig, const Volume *volume, const GPtrArray *things)
{
    const Operation *operation = trial->operation;
    g_autoptr(Attachment) attachment = rig_attachment(rig, volume->id);
    VolumeStatus want = attachment ? VOLUME_IN_USE : VOLUME_AVAILABLE;

    if (volume->status != want)
        complain(operation, trial->k, "volume is %s, not %s (%s)",
                 volume_status_names[volume->status], volume_status_names[want],
                 volume->fault_message ? volume->fault_message : "");
    if (!g_ptr_array_find_with_equal_func((GPtrArray *)things, volume->id, g_str_equal, NULL))
        complain(operation, trial->k, "volume has no data");
    if (attachment) {
        check_attachment(trial, rig, volume, attachment);
        return;
    }
    g_autoptr(GPtrArray) servers = rig_rows(rig, &SERVER, NULL);
    for (guint i = 0; i < servers->len; i++) {
        const Server *server = g_ptr_array_index(servers, i);

        if (server->host && rig_guest_has(rig, server->host, server->id, volume->id))
            complain(operation, trial->k, "a guest has a volume that is available");
    }
}

static void
check_volumes(const Trial *trial, Rig *rig, bool accepted)
{
    const Operation *operation = trial->operation;
    const Volumes *want = accepted ? &operation->volumes_after : &operation->volumes_before;
    g_autoptr(GPtrArray) volumes = rig_rows(rig, &VOLUME, NULL),
                         attachments = rig_rows(rig, &ATTACHMENT, NULL),
                         snapshots = rig_rows(rig, &SNAPSHOT, NULL);
    g_autoptr(GPtrArray) things =
        block_fake_ops.things(rig->storage.block, BLOCK_FOR_VOLUMES, NULL);
    Volumes found = {(int)volumes->len, (int)attachments->len, (int)snapshots->len, 0};

    for (guint i = 0; i < volumes->len; i++) {
        const Volume *volume = g_ptr_array_index(volumes, i);

        found.gigabytes += (int)volume->size_gb;
        check_volume(trial, rig, volume, things);
    }
    for (guint i = 0; i < snapshots->len; i++) {
        const Snapshot *snapshot = g_ptr_array_index(snapshots, i);

        if (snapshot->status != SNAPSHOT_AVAILABLE)
            complain(operation, trial->k, "snapshot stays %s",
                     snapshot_status_names[snapshot->status]);
    }
    if (memcmp(&found, want, sizeof found) != 0)
        complain(operation, trial->k,
                 "%d volumes (%d GB), %d attached, %d snapshots; not %d (%d GB), %d, %d",
                 found.rows, found.gigabytes, found.in_use, found.snapshots, want->rows,
                 want->gigabytes, want->in_use, want->snapshots);
    if (things->len != volumes->len)
        complain(operation, trial->k, "%u volumes in the storage for %u rows", things->len,
                 volumes->len);
}

/* Shut out exactly as long as something of it may be left on its node. */
static void
check_fences(const Trial *trial, Rig *rig, bool accepted)
{
    const Operation *operation = trial->operation;
    int want = accepted ? operation->fences_after : 0;
    g_autoptr(GPtrArray) fences = rig_rows(rig, &FENCE, NULL);

    if ((int)fences->len != want)
        complain(operation, trial->k, "%u fences, not %d", fences->len, want);
    if (block_fake_is_fenced(rig->storage.block, OLD_CLIENT) != (want > 0))
        complain(operation, trial->k, "the old client is %sfenced", want ? "not " : "still ");
    for (guint i = 0; i < fences->len; i++)
        if (!((Fence *)g_ptr_array_index(fences, i))->expires_at)
            complain(operation, trial->k, "a fence is not known to be in force");
}

static void
check(void *opaque)
{
    Trial *trial = opaque;
    Rig *rig = rig_start(trial->dir, trial->world, HOSTS - trial->operation->cut_after);
    const StoreCond of_kind[] = {{"kind", STORE_EQ, trial->operation->kind, 0}, {NULL}};
    const StoreCond open[] = {{"status", STORE_EQ, NULL, TASK_OPEN}, {NULL}};
    /* The sweep of this start may look at a server once more. */
    bool idle = rig_wait_idle(rig, 10);
    g_autoptr(GPtrArray) servers = rig_rows(rig, &SERVER, NULL), left = rig_rows(rig, &TASK, open);
    g_autoptr(GPtrArray) accepted = rig_rows(rig, &TASK, of_kind),
                         migrations = rig_rows(rig, &MIGRATION, NULL);
    g_autoptr(GPtrArray) disks = block_fake_ops.things(rig->storage.block, BLOCK_FOR_SERVERS, NULL);
    guint alive = 0;

    for (guint i = 0; i < servers->len; i++) {
        const Server *server = g_ptr_array_index(servers, i);

        /* One whose creation failed has left nothing. */
        alive += server->vm_state != VM_DELETED && server->host;
        check_server(trial, rig, server, accepted->len > 0);
    }
    if (!idle || left->len)
        complain(trial->operation, trial->k, "%u tasks stay open", left->len);
    if (servers->len == 0 && accepted->len > 0 && !trial->operation->no_server_after)
        complain(trial->operation, trial->k, "an accepted server vanished");
    if (disks->len != alive) /* each has a config drive at least */
        complain(trial->operation, trial->k, "%u servers have disks, %u are there", disks->len,
                 alive);
    if (accepted->len > 0)
        alive += (guint)trial->operation->stale_after;
    alive += holds(trial->operation, accepted->len > 0);
    if (host_fake_domain_count(trial->world) != (int)alive)
        complain(trial->operation, trial->k, "%d domains, not %u",
                 host_fake_domain_count(trial->world), alive);
    check_fences(trial, rig, accepted->len > 0);
    for (guint i = 0; i < migrations->len; i++) {
        const Migration *migration = g_ptr_array_index(migrations, i);

        if (holds(trial->operation, accepted->len > 0)
                ? migration->status != MIGRATION_FINISHED
                : !migration_status_is_final(migration->status))
            complain(trial->operation, trial->k, "migration stays %s",
                     migration_status_names[migration->status]);
    }
    check_volumes(trial, rig, accepted->len > 0);
    rig_stop(rig);
    fflush(stdout);
    _exit(failures ? 1 : 0);
}

/* One k. false: nothing fired, the enumeration is over. */
static bool
try_point(const Operation *operation, uint64_t k)
{
    Trial trial = {.operation = operation, .k = k};
    char *dir = rig_make_dir(HOSTS);
    bool fired;
    int status;

    trial.dir = dir;
    trial.world = host_fake_world_new(HOSTS);
    host_fake_set_timing(trial.world, 30 * USEC_PER_MSEC, 10 * USEC_PER_MSEC);
    g_snprintf(trial.id_file, sizeof trial.id_file, "%s/server-id", dir);
    status = in_child(prepare, &trial);
    if (status != 0)
        complain(operation, k, "preparation failed (status %d)", status);
    status = in_child(operate, &trial);
    fired = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!fired && status != 0)
        complain(operation, k, "the operation itself failed (status %d)", status);
    if (operation->resumes) /* it may have been killed before it had booted the node */
        host_fake_set_fault(trial.world, 1, FAKE_FAULT_NONE);
    status = in_child(recover, &trial);
    if (status != 0)
        complain(operation, k, "the next controller did not end the tasks (status %d)", status);
    status = in_child(check, &trial);
    if (status != 0)
        failures++;
    host_fake_world_free(trial.world);
    rig_remove_dir(dir);
    return fired;
}

static int
least_points(const char *file, const char *name)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(file, &text, NULL, NULL))
        return 0;
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        char word[64];
        int points;

        if (sscanf(*line, "%63s %d", word, &points) == 2 && strcmp(word, name) == 0)
            return points;
    }
    return 0;
}

int
main(int argc, char **argv)
{
    const char *points_file = argc > 1 ? argv[1] : "tests/crash/points";
    const char *only = argc > 2 ? argv[2] : NULL;
    uint64_t first = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    unsigned part = 0, parts = 1;
    size_t done = 0;
    int bad = 0;

    if (only && sscanf(only, "%u/%u", &part, &parts) == 2)
        only = NULL;
    log_set_level(g_getenv("CRASH_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
    for (size_t i = 0; i < G_N_ELEMENTS(operations); i++) {
        const Operation *operation = &operations[i];
        int least = least_points(points_file, operation->name);
        uint64_t k = argc > 3 ? first : operation->as_before + 1;

        if (only ? strcmp(only, operation->name) != 0 : i % parts != part)
            continue;
        failures = 0;
        rig_adjust = operation->resumes ? crash_resume_guests : NULL;
        while (k < K_MAX && try_point(operation, k) && !(argc > 3))
            k++;
        if (!(argc > 3) && (int)k - 1 < least)
            complain(operation, k, "only %d fault points, there were %d", (int)k - 1, least);
        printf("%s %zu - %s survives a kill at each of %d points\n", failures ? "not ok" : "ok",
               ++done, operation->name, (int)k - 1);
        fflush(stdout);
        bad += failures > 0;
    }
    printf("1..%zu\n", done);
    return bad ? 1 : 0;
}
