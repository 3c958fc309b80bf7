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

typedef struct Operation {
    const char *name;
    const char *kind;   /* task kind that it submits */
    const char *action; /* NULL: create or migrate */
    const char *params;
    bool stopped_before;
    VmState after;
    int running_after;
} Operation;

static const Operation operations[] = {
    {"create", "server-create", NULL, NULL, false, VM_ACTIVE, 1},
    {"stop", "server-stop", "os-stop", NULL, false, VM_STOPPED, 0},
    {"start", "server-start", "os-start", NULL, true, VM_ACTIVE, 1},
    {"reboot-soft", "server-reboot", "reboot-soft", "{\"soft\":true}", false, VM_ACTIVE, 1},
    {"reboot-hard", "server-reboot", "reboot-hard", NULL, false, VM_ACTIVE, 1},
    {"live-migrate", "server-live-migrate", NULL, NULL, false, VM_ACTIVE, 1},
    {"delete", "server-delete", "delete", NULL, false, VM_DELETED, 0},
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

static bool
is_create(const Trial *trial)
{
    return strcmp(trial->operation->name, "create") == 0;
}

static void
prepare(void *opaque)
{
    Trial *trial = opaque;
    Rig *rig = rig_start(trial->dir, trial->world, HOSTS);

    if (!is_create(trial)) {
        g_autofree char *id = rig_create_server(rig, "s", "host1", NULL);

        if (!rig_wait_idle(rig, 20))
            g_error("the server did not come up");
        if (trial->operation->stopped_before) {
            rig_action(rig, id, "os-stop", NULL, NULL);
            if (!rig_wait_idle(rig, 20))
                g_error("the server did not stop");
        }
        g_file_set_contents(trial->id_file, id, -1, NULL);
    }
    rig_stop(rig);
}

static void
operate(void *opaque)
{
    Trial *trial = opaque;
    Rig *rig = rig_start(trial->dir, trial->world, HOSTS);
    g_autofree char *id = server_id_of(trial);

    fault_arm(trial->k);
    if (is_create(trial))
        g_free(rig_create_server(rig, "s", "host1", NULL));
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

static void
check_server(const Trial *trial, Rig *rig, const Server *server, bool accepted)
{
    const Operation *operation = trial->operation;
    bool before = !accepted && !is_create(trial);
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
    if (disk != (server->vm_state != VM_DELETED))
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
check(void *opaque)
{
    Trial *trial = opaque;
    Rig *rig = rig_start(trial->dir, trial->world, HOSTS);
    const StoreCond of_kind[] = {{"kind", STORE_EQ, trial->operation->kind, 0}, {NULL}};
    const StoreCond open[] = {{"status", STORE_EQ, NULL, TASK_OPEN}, {NULL}};
    g_autoptr(GPtrArray) servers = rig_rows(rig, &SERVER, NULL), left = rig_rows(rig, &TASK, open);
    g_autoptr(GPtrArray) accepted = rig_rows(rig, &TASK, of_kind),
                         migrations = rig_rows(rig, &MIGRATION, NULL);
    g_autoptr(GPtrArray) disks = block_fake_ops.disks(rig->storage.block, NULL);
    guint alive = 0;

    for (guint i = 0; i < servers->len; i++) {
        const Server *server = g_ptr_array_index(servers, i);

        alive += server->vm_state != VM_DELETED;
        check_server(trial, rig, server, accepted->len > 0);
    }
    if (left->len)
        complain(trial->operation, trial->k, "%u tasks stay open", left->len);
    if (servers->len == 0 && accepted->len > 0)
        complain(trial->operation, trial->k, "an accepted server vanished");
    if (disks->len != alive)
        complain(trial->operation, trial->k, "%u disks for %u servers", disks->len, alive);
    if (host_fake_domain_count(trial->world) != (int)alive)
        complain(trial->operation, trial->k, "%d domains for %u servers",
                 host_fake_domain_count(trial->world), alive);
    for (guint i = 0; i < migrations->len; i++) {
        const Migration *migration = g_ptr_array_index(migrations, i);

        if (!migration_status_is_final(migration->status))
            complain(trial->operation, trial->k, "migration stays %s",
                     migration_status_names[migration->status]);
    }
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
