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
    bool stopped_before;
    VmState after;
    int running_after;
    bool no_server_before, no_server_after;
    FakeFault fault;                             /* of every node, from the preparation on */
    void (*prepare)(Rig *rig, char **server_id); /* what it needs beside its server, or instead */
    void (*run)(Rig *rig, const char *server_id);
    Volumes volumes_before, volumes_after;
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
     .stopped_before = true,
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
    {.name = "live-migrate", .kind = "server-live-migrate", .after = VM_ACTIVE, .running_after = 1},
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
    if (trial->operation->stopped_before) {
        rig_action(rig, id, "os-stop", NULL, NULL);
        wait_idle(rig);
    }
    if (trial->operation->prepare)
        trial->operation->prepare(rig, &id);
    if (id)
        g_file_set_contents(trial->id_file, id, -1, NULL);
    for (int node = 1; node <= HOSTS; node++)
        host_fake_set_fault(trial->world, node, trial->operation->fault);
    rig_stop(rig);
}

static void
operate(void *opaque)
{
    Trial *trial = opaque;
    Rig *rig = rig_start(trial->dir, trial->world, HOSTS);
    g_autofree char *id = server_id_of(trial);

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
    Rig *rig = rig_start(trial->dir, trial->world, HOSTS);

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

static void
check_server(const Trial *trial, Rig *rig, const Server *server, bool accepted)
{
    const Operation *operation = trial->operation;
    bool before = !accepted;
    VmState want = before ? (operation->stopped_before ? VM_STOPPED : VM_ACTIVE) : operation->after;
    int want_running = before ? !operation->stopped_before : operation->running_after;
    int running = host_fake_running_count(trial->world, server->id);
    bool disk = false;

    if (server->vm_state != want)
        complain(operation, trial->k, "vm_state %s, not %s (%s)", vm_state_names[server->vm_state],
                 vm_state_names[want], server->fault_message ? server->fault_message : "");
    if (server->task_state != TASK_NONE)
        complain(operation, trial->k, "task_state stays %s", task_state_names[server->task_state]);
    if (running != want_running)
        complain(operation, trial->k, "runs on %d nodes, not %d", running, want_running);
    if (server->uncertainty)
        complain(operation, trial->k, "uncertain: %s", server->uncertainty);
    storage_disk_exists(&rig->storage, server->id, &disk, NULL);
    if (disk != has_own_disk(server))
        complain(operation, trial->k, "its disk is %s", disk ? "still there" : "gone");
    if (running == 1 && server->host) {
        g_autoptr(DomainInfo) info = host_domain_probe(rig->hosts, server->host, server->id,
                                                       clock_monotonic() + USEC_PER_SEC, NULL);

        if (!info || info->state != DOMAIN_RUNNING)
            complain(operation, trial->k, "does not run on its host %s", server->host);
        else if (!info->persistent)
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

static void
check(void *opaque)
{
    Trial *trial = opaque;
    Rig *rig = rig_start(trial->dir, trial->world, HOSTS);
    const StoreCond of_kind[] = {{"kind", STORE_EQ, trial->operation->kind, 0}, {NULL}};
    const StoreCond open[] = {{"status", STORE_EQ, NULL, TASK_OPEN}, {NULL}};
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
    if (left->len)
        complain(trial->operation, trial->k, "%u tasks stay open", left->len);
    if (servers->len == 0 && accepted->len > 0 && !trial->operation->no_server_after)
        complain(trial->operation, trial->k, "an accepted server vanished");
    if (disks->len != alive) /* each has a config drive at least */
        complain(trial->operation, trial->k, "%u servers have disks, %u are there", disks->len,
                 alive);
    if (host_fake_domain_count(trial->world) != (int)alive)
        complain(trial->operation, trial->k, "%d domains for %u servers",
                 host_fake_domain_count(trial->world), alive);
    for (guint i = 0; i < migrations->len; i++) {
        const Migration *migration = g_ptr_array_index(migrations, i);

        if (!migration_status_is_final(migration->status))
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
    int bad = 0;

    log_set_level(g_getenv("CRASH_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
    printf("1..%zu\n", G_N_ELEMENTS(operations));
    for (size_t i = 0; i < G_N_ELEMENTS(operations); i++) {
        const Operation *operation = &operations[i];
        int least = least_points(points_file, operation->name);
        uint64_t k = first;

        if (only && strcmp(only, operation->name) != 0) {
            printf("ok %zu - %s # SKIP not asked for\n", i + 1, operation->name);
            continue;
        }
        failures = 0;
        while (k < K_MAX && try_point(operation, k) && !(argc > 3))
            k++;
        if (!(argc > 3) && (int)k - 1 < least)
            complain(operation, k, "only %d fault points, there were %d", (int)k - 1, least);
        printf("%s %zu - %s survives a kill at each of %d points\n", failures ? "not ok" : "ok",
               i + 1, operation->name, (int)k - 1);
        fflush(stdout);
        bad += failures > 0;
    }
    return bad ? 1 : 0;
}
