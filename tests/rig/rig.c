/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rig.c: a whole controller without HTTP on the fake drivers */
#include "rig/rig.h"

#include <stdio.h>
#include <string.h>

#define IMAGE_ID "11111111-2222-4333-8444-555555555555"

static void
must(bool ok, GError *error, const char *what)
{
    if (!ok)
        g_error("%s: %s", what, error ? error->message : "failed");
}

static bool
insert_world(StoreTx *tx, void *opaque, GError **err)
{
    int n_hosts = *(int *)opaque;
    Image image = {.id = (char *)IMAGE_ID,
                   .name = (char *)"guest",
                   .status = IMAGE_ACTIVE,
                   .disk_format = (char *)"raw",
                   .container_format = (char *)"bare",
                   .visibility = (char *)"public",
                   .owner = (char *)"p",
                   .size = 1 << 20,
                   .virtual_size = 1 << 20,
                   .properties = (char *)"{}",
                   .tags = (char *)"[]",
                   .created_at = 1,
                   .updated_at = 1};

    if (!store_insert(tx, &IMAGE, &image, err))
        return false;
    for (int i = 1; i <= n_hosts; i++) {
        g_autofree char *id = uuid_new(), *service = uuid_new(),
                        *name = g_strdup_printf("host%d", i);
        g_autofree char *uri = g_strdup_printf("fake+tcp://%s/system", name),
                        *address = g_strdup_printf("10.0.0.%d", i);
        Host host = {.id = id,
                     .name = name,
                     .service_id = service,
                     .number = i,
                     .uri = uri,
                     .address = address,
                     .enabled = true,
                     .encryption = (char *)"plaintext",
                     .created_at = 1,
                     .updated_at = 1};

        if (!store_insert(tx, &HOST, &host, err))
            return false;
    }
    return true;
}

static void
make_fake_image(const char *storage)
{
    g_autoptr(GError) error = NULL;
    Block *block = block_fake_ops.open(&(BlockSettings){.path = storage}, &error);
    BlockImageInfo info = {0};
    BlockUpload *upload;

    must(block, error, "block open");
    upload = block_fake_ops.upload_begin(block, IMAGE_ID, "raw", 1 << 20, &error);
    must(upload, error, "upload begin");
    must(block_fake_ops.upload_write(upload, "data", 4, &error), error, "upload write");
    must(block_fake_ops.upload_commit(upload, 1 << 30, &info, &error), error, "upload commit");
    block_image_info_clear(&info);
    block_fake_ops.close(block);
}

char *
rig_make_dir(int n_hosts)
{
    g_autoptr(GError) error = NULL;
    char *dir = g_dir_make_tmp("godwit-rig-XXXXXX", &error);
    g_autofree char *db = NULL, *storage = NULL;
    Store *store;

    must(dir, error, "temporary directory");
    db = g_build_filename(dir, "godwit.db", NULL);
    storage = g_build_filename(dir, "storage", NULL);
    g_mkdir_with_parents(storage, 0700);
    store = store_open(db, &error);
    must(store, error, "store");
    must(store_write(store, insert_world, &n_hosts, &error), error, "hosts");
    store_close(store);
    make_fake_image(storage);
    return dir;
}

void
rig_remove_dir(char *dir)
{
    const char *argv[] = {"rm", "-rf", "--", dir, NULL};

    process_run(argv, clock_monotonic() + 10 * USEC_PER_SEC, NULL, NULL);
    g_free(dir);
}

static void
on_event(HostEvent *event, void *opaque)
{
    watch_host_event(event, ((Rig *)opaque)->watch);
}

static bool
all_hosts_up(Rig *rig, int n_hosts)
{
    const StoreCond where[] = {
        {"state", STORE_EQ, NULL, HOST_UP}, {"storage_visible", STORE_EQ, NULL, 1}, {NULL}};
    g_autoptr(GPtrArray) rows = rig_rows(rig, &HOST, where);

    return (int)rows->len == n_hosts;
}

Rig *
rig_start(const char *dir, HostDriver *world, int n_hosts)
{
    g_autoptr(GError) error = NULL;
    Rig *rig = g_new0(Rig, 1);
    g_autofree char *db = g_build_filename(dir, "godwit.db", NULL),
                    *storage = g_build_filename(dir, "storage", NULL);
    int64_t deadline = clock_monotonic() + 10 * USEC_PER_SEC;
    HostsConfig config = {.ops = &host_fake_ops,
                          .driver = world,
                          .on_event = on_event,
                          .opaque = rig,
                          .inside_transaction = store_inside_transaction,
                          .virt_type = "qemu"};
    uint64_t seen;

    rig->dir = g_strdup(dir);
    rig->world = world;
    rig->store = store_open(db, &error);
    must(rig->store, error, "store");
    rig->storage.ops = &block_fake_ops;
    rig->storage.block = block_fake_ops.open(&(BlockSettings){.path = storage}, &error);
    must(rig->storage.block, error, "storage");
    storage_set_transaction_check(store_inside_transaction);
    rig->libvirt = libvirt_settings_new();
    text_set(&rig->libvirt->virt_type, "qemu");
    text_set(&rig->libvirt->migration_uri, "fake+tcp://%s/system");
    rig->settings = (TaskSettings){.libvirt = rig->libvirt,
                                   .cpu_ratio = 16,
                                   .ram_ratio = 1.5,
                                   .reserved_ram_mb = 0,
                                   .shutdown_timeout_s = 2,
                                   .unreachable_wait_us = 2 * USEC_PER_SEC,
                                   .worker_limit = 64};
    rig->hosts = hosts_new(&config);
    rig->tasks = task_engine_new(rig->store, rig->hosts, &rig->storage, &rig->settings);
    WatchConfig watch = {rig->store, rig->tasks, rig->hosts, "qemu"};
    rig->watch = watch_new(&watch);
    must(watch_start(rig->watch, &error), error, "watch");
    seen = store_change_count(rig->store);
    while (n_hosts > 0 && !all_hosts_up(rig, n_hosts)) {
        if (clock_monotonic() > deadline)
            g_error("the fake hosts did not come up in 10 s");
        seen = store_wait_change(rig->store, seen, clock_monotonic() + USEC_PER_SEC);
    }
    must(task_engine_start(rig->tasks, &error), error, "tasks");
    return rig;
}

void
rig_stop(Rig *rig)
{
    task_engine_stop(rig->tasks, clock_monotonic() + 5 * USEC_PER_SEC);
    hosts_stop(rig->hosts);
    watch_stop(rig->watch);
    watch_free(rig->watch);
    task_engine_free(rig->tasks);
    hosts_free(rig->hosts);
    rig->storage.ops->close(rig->storage.block);
    store_close(rig->store);
    libvirt_settings_free(rig->libvirt);
    g_free(rig->dir);
    g_free(rig);
}

/* ---- requests
 * ------------------------------------------------------------------------------------------- */

typedef struct Submission {
    const char *name, *host, *server_id, *action, *params;
    char *new_id;
    int64_t migration_id;
} Submission;

static TaskRequest
request_of(const Submission *submission)
{
    static unsigned number;
    static char id[64];

    snprintf(id, sizeof id, "req-%d-%u", (int)clock_monotonic(), ++number);
    return (TaskRequest){.request_id = id,
                         .user_id = "u",
                         .project_id = "p",
                         .host = submission->host,
                         .params = submission->params};
}

static bool
submit_create(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    g_autofree char *id = uuid_new();
    TaskRequest request = request_of(submission);
    int64_t number, task;
    Server server = {.id = id,
                     .name = (char *)submission->name,
                     .hostname = (char *)submission->name,
                     .project_id = (char *)"p",
                     .user_id = (char *)"u",
                     .vm_state = VM_BUILDING,
                     .flavor_id = (char *)"f",
                     .flavor_name = (char *)"tiny",
                     .vcpus = 1,
                     .ram_mb = 256,
                     .disk_gb = 1,
                     .extra_specs = (char *)"{}",
                     .image_id = (char *)IMAGE_ID,
                     .metadata = (char *)"{}",
                     .tags = (char *)"[]",
                     .security_groups = (char *)"[]",
                     .reservation_id = (char *)"r-1",
                     .console_parts = (char *)"[]",
                     .created_at = 1,
                     .updated_at = 1};

    if (!store_next_number(tx, "server", &number, err))
        return false;
    server.number = number;
    if (!store_insert(tx, &SERVER, &server, err) ||
        !task_submit(tx, "create", &server, true, &request, &task, err))
        return false;
    submission->new_id = g_steal_pointer(&id);
    return true;
}

static bool
submit_action(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    g_autoptr(Server) server = store_get(tx, &SERVER, submission->server_id, err);
    TaskRequest request = request_of(submission);

    return server && task_submit(tx, submission->action, server, true, &request, NULL, err);
}

static bool
submit_migration(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    g_autoptr(Server) server = store_get(tx, &SERVER, submission->server_id, err);
    TaskRequest request = request_of(submission);

    return server && task_submit_live_migration(tx, server, submission->host, true, &request,
                                                &submission->migration_id, err);
}

static void
submit(Rig *rig, StoreFn fn, Submission *submission, GError **err)
{
    g_autoptr(GError) error = NULL;

    if (!store_write(rig->store, fn, submission, &error)) {
        if (!err)
            g_error("refused: %s", error->message);
        g_propagate_error(err, g_steal_pointer(&error));
        return;
    }
    task_engine_wake(rig->tasks);
}

char *
rig_create_server(Rig *rig, const char *name, const char *host, GError **err)
{
    Submission submission = {.name = name, .host = host};

    submit(rig, submit_create, &submission, err);
    return submission.new_id;
}

bool
rig_action(Rig *rig, const char *server_id, const char *action, const char *params, GError **err)
{
    Submission submission = {.server_id = server_id, .action = action, .params = params};
    g_autoptr(GError) error = NULL;

    submit(rig, submit_action, &submission, err ? &error : NULL);
    if (!error)
        return true;
    g_propagate_error(err, g_steal_pointer(&error));
    return false;
}

int64_t
rig_migrate(Rig *rig, const char *server_id, const char *dest, GError **err)
{
    Submission submission = {.server_id = server_id, .host = dest};

    submit(rig, submit_migration, &submission, err);
    return submission.migration_id;
}

/* ---- observation
 * --------------------------------------------------------------------------------------------- */

bool
rig_wait_idle(Rig *rig, int deadline_s)
{
    int64_t deadline = clock_monotonic() + deadline_s * USEC_PER_SEC;

    for (;;) {
        uint64_t seen = store_change_count(rig->store);

        if (task_engine_open_count(rig->tasks) == 0)
            return true;
        if (clock_monotonic() > deadline)
            return false;
        store_wait_change(rig->store, seen, MIN(deadline, clock_monotonic() + 20 * USEC_PER_MSEC));
    }
}

typedef struct Rows {
    const RecordType *type;
    const StoreCond *where;
    GPtrArray *rows;
} Rows;

static bool
read_rows(StoreTx *tx, void *opaque, GError **err)
{
    Rows *rows = opaque;

    return (rows->rows = store_list(tx, rows->type, &(StoreQuery){.where = rows->where}, err)) !=
           NULL;
}

GPtrArray *
rig_rows(Rig *rig, const RecordType *type, const StoreCond *where)
{
    Rows rows = {type, where, NULL};
    g_autoptr(GError) error = NULL;

    must(store_read(rig->store, read_rows, &rows, &error), error, "read");
    return rows.rows;
}

Server *
rig_server(Rig *rig, const char *server_id)
{
    const StoreCond where[] = {{"id", STORE_EQ, server_id, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = rig_rows(rig, &SERVER, where);

    return rows->len ? record_copy(&SERVER, g_ptr_array_index(rows, 0)) : NULL;
}

Migration *
rig_migration(Rig *rig, int64_t id)
{
    const StoreCond where[] = {{"id", STORE_EQ, NULL, id}, {NULL}};
    g_autoptr(GPtrArray) rows = rig_rows(rig, &MIGRATION, where);

    return rows->len ? record_copy(&MIGRATION, g_ptr_array_index(rows, 0)) : NULL;
}
