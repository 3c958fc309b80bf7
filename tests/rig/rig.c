/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rig.c: a whole controller without HTTP on the fake drivers */
#include "rig/rig.h"

#include <stdio.h>
#include <string.h>

#define IMAGE_ID "11111111-2222-4333-8444-555555555555"
const char *const rig_image_id = IMAGE_ID;

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

const HostOps *rig_host_ops;
const BlockOps *rig_block_ops;
void (*rig_adjust)(TaskSettings *settings);

Rig *
rig_start(const char *dir, HostDriver *world, int n_hosts)
{
    g_autoptr(GError) error = NULL;
    Rig *rig = g_new0(Rig, 1);
    g_autofree char *db = g_build_filename(dir, "godwit.db", NULL),
                    *storage = g_build_filename(dir, "storage", NULL);
    int64_t deadline = clock_monotonic() + 10 * USEC_PER_SEC;
    HostsConfig config = {.ops = rig_host_ops ? rig_host_ops : &host_fake_ops,
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
    rig->storage.ops = rig_block_ops ? rig_block_ops : &block_fake_ops;
    rig->storage.block = rig->storage.ops->open(&(BlockSettings){.path = storage}, &error);
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
    if (rig_adjust)
        rig_adjust(&rig->settings);
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
    const char *name, *host, *server_id, *action, *params, *volume_id, *snapshot_id, *device;
    const RigVolume *spec;
    const char *const *others;
    bool force, delete_root, delete_others;
    EvacuateRequest evacuate;
    char *new_id;
    int64_t migration_id, priority;
    MigrationWish wish;
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
                         .priority = submission->priority,
                         .params = submission->params};
}

static bool
insert_server(StoreTx *tx, const char *id, const char *name, const char *image_id, Server **row,
              GError **err)
{
    int64_t number;
    Server server = {.id = (char *)id,
                     .name = (char *)name,
                     .hostname = (char *)name,
                     .project_id = (char *)"p",
                     .user_id = (char *)"u",
                     .vm_state = VM_BUILDING,
                     .flavor_id = (char *)"f",
                     .flavor_name = (char *)"tiny",
                     .vcpus = 1,
                     .ram_mb = 256,
                     .disk_gb = 1,
                     .extra_specs = (char *)"{}",
                     .image_id = (char *)image_id,
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
    if (!store_insert(tx, &SERVER, &server, err))
        return false;
    *row = record_copy(&SERVER, &server);
    return true;
}

static bool
submit_create(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    g_autofree char *id = uuid_new();
    g_autoptr(Server) server = NULL;
    TaskRequest request = request_of(submission);

    if (!insert_server(tx, id, submission->name, IMAGE_ID, &server, err) ||
        !task_submit(tx, "create", server, true, &request, NULL, err))
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

static bool
submit_evacuation(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    g_autoptr(Server) server = store_get(tx, &SERVER, submission->server_id, err);
    TaskRequest request = request_of(submission);

    return server && task_submit_evacuate(tx, server, &submission->evacuate, true, &request,
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

int64_t
rig_evacuate(Rig *rig, const char *server_id, const EvacuateRequest *evacuate, GError **err)
{
    Submission submission = {.server_id = server_id, .evacuate = *evacuate};

    submission.evacuate.engine = rig->tasks;
    submit(rig, submit_evacuation, &submission, err);
    return submission.migration_id;
}

int64_t
rig_migrate_with_priority(Rig *rig, const char *server_id, const char *dest, int64_t priority)
{
    Submission submission = {.server_id = server_id, .host = dest, .priority = priority};

    submit(rig, submit_migration, &submission, NULL);
    return submission.migration_id;
}

static bool
submit_wish(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    g_autoptr(Migration) migration = store_get_int(tx, &MIGRATION, submission->migration_id, err);

    submission->server_id = migration ? g_strdup(migration->server_id) : NULL;
    return migration && task_submit_move_wish(tx, migration, submission->wish, err);
}

bool
rig_wish(Rig *rig, int64_t migration_id, MigrationWish wish, GError **err)
{
    Submission submission = {.migration_id = migration_id, .wish = wish};
    g_autoptr(GError) error = NULL;

    submit(rig, submit_wish, &submission, err ? &error : NULL);
    g_autofree char *server_id = (char *)submission.server_id;
    if (error) {
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    task_engine_tell(rig->tasks, server_id);
    return true;
}

/* ---- resize
 * -------------------------------------------------------------------------------------------- */

typedef struct ResizeSubmission {
    Rig *rig;
    const char *server_id, *dest, *action;
    const Flavor *flavor;
    int64_t migration_id;
} ResizeSubmission;

static bool
submit_resize(StoreTx *tx, void *opaque, GError **err)
{
    ResizeSubmission *resize = opaque;
    const Submission plain = {.host = resize->dest};
    g_autoptr(Server) server = store_get(tx, &SERVER, resize->server_id, err);
    TaskRequest request = request_of(&plain);

    request.settings = &resize->rig->settings;
    if (!server)
        return false;
    if (resize->action)
        return task_submit_end_resize(tx, resize->action, server, true, &request, err);
    return task_submit_resize(tx, server, resize->flavor, resize->dest, true, &request,
                              &resize->migration_id, err);
}

static bool
submit_resize_or_end(ResizeSubmission *resize, GError **err)
{
    g_autoptr(GError) error = NULL;

    if (!store_write(resize->rig->store, submit_resize, resize, &error)) {
        if (!err)
            g_error("refused: %s", error->message);
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    task_engine_wake(resize->rig->tasks);
    return true;
}

int64_t
rig_resize(Rig *rig, const char *server_id, const Flavor *flavor, const char *dest, GError **err)
{
    ResizeSubmission resize = {.rig = rig, .server_id = server_id, .flavor = flavor, .dest = dest};

    return submit_resize_or_end(&resize, err) ? resize.migration_id : 0;
}

bool
rig_end_resize(Rig *rig, const char *server_id, const char *action, GError **err)
{
    ResizeSubmission resize = {.rig = rig, .server_id = server_id, .action = action};

    return submit_resize_or_end(&resize, err);
}

/* ---- volumes
 * ------------------------------------------------------------------------------------------------
 */

static bool
insert_volume(StoreTx *tx, const RigVolume *spec, Volume **row, GError **err)
{
    g_autofree char *id = uuid_new();
    Volume volume = {.id = id,
                     .name = (char *)"v",
                     .project_id = (char *)"p",
                     .user_id = (char *)"u",
                     .status = VOLUME_CREATING,
                     .size_gb = spec->size_gb ? spec->size_gb : 1,
                     .volume_type = (char *)"__DEFAULT__",
                     .image_id = (char *)spec->image_id,
                     .image_metadata = (char *)"{}",
                     .snapshot_id = (char *)spec->snapshot_id,
                     .source_volume_id = (char *)spec->source_volume_id,
                     .metadata = (char *)"{}",
                     .created_at = 1,
                     .updated_at = 1};

    *row = record_copy(&VOLUME, &volume);
    return store_insert(tx, &VOLUME, &volume, err);
}

static bool
submit_create_volume(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    TaskRequest request = request_of(submission);
    g_autoptr(Volume) volume = NULL;

    if (!insert_volume(tx, submission->spec, &volume, err) ||
        !task_submit_volume(tx, "create", volume, &request, NULL, err))
        return false;
    submission->new_id = g_strdup(volume->id);
    return true;
}

static bool
submit_volume_action(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    TaskRequest request = request_of(submission);
    g_autoptr(Volume) volume = store_get(tx, &VOLUME, submission->volume_id, err);

    return volume && task_submit_volume(tx, submission->action, volume, &request, NULL, err);
}

static bool
submit_create_snapshot(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    TaskRequest request = request_of(submission);
    g_autoptr(Volume) volume = store_get(tx, &VOLUME, submission->volume_id, err);
    g_autofree char *id = uuid_new();
    Snapshot snapshot = {.id = id,
                         .name = (char *)"sn",
                         .volume_id = (char *)submission->volume_id,
                         .project_id = (char *)"p",
                         .user_id = (char *)"u",
                         .status = SNAPSHOT_CREATING,
                         .size_gb = volume ? volume->size_gb : 0,
                         .metadata = (char *)"{}",
                         .created_at = 1,
                         .updated_at = 1};
    g_autoptr(Snapshot) row = record_copy(&SNAPSHOT, &snapshot);

    if (!volume || !store_insert(tx, &SNAPSHOT, row, err) ||
        !task_submit_snapshot(tx, "snapshot-create", volume, row, submission->force, &request, NULL,
                              err))
        return false;
    submission->new_id = g_steal_pointer(&id);
    return true;
}

static bool
submit_delete_snapshot(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    TaskRequest request = request_of(submission);
    g_autoptr(Snapshot) snapshot = store_get(tx, &SNAPSHOT, submission->snapshot_id, err);
    g_autoptr(Volume) volume = snapshot ? store_get(tx, &VOLUME, snapshot->volume_id, err) : NULL;

    return volume && task_submit_snapshot(tx, "snapshot-delete", volume, snapshot, false, &request,
                                          NULL, err);
}

static bool
submit_attach(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    TaskRequest request = request_of(submission);
    g_autoptr(Server) server = store_get(tx, &SERVER, submission->server_id, err);
    g_autoptr(Volume) volume = server ? store_get(tx, &VOLUME, submission->volume_id, err) : NULL;
    AttachRequest attach = {.device = submission->device, .boot_index = -1};

    return volume && task_submit_attach(tx, server, volume, &attach, true, &request, NULL, err);
}

static bool
submit_detach(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    TaskRequest request = request_of(submission);
    const StoreCond where[] = {{"volume_id", STORE_EQ, submission->volume_id, 0}, {NULL}};
    g_autoptr(Server) server = store_get(tx, &SERVER, submission->server_id, err);
    g_autoptr(Attachment) attachment = server ? store_find(tx, &ATTACHMENT, where, err) : NULL;

    return attachment && task_submit_detach(tx, server, attachment, true, &request, err);
}

static bool
submit_boot_from_volume(StoreTx *tx, void *opaque, GError **err)
{
    Submission *submission = opaque;
    TaskRequest request = request_of(submission);
    g_autofree char *id = uuid_new();
    g_autoptr(Server) server = NULL;
    g_autoptr(Volume) root = NULL;
    AttachRequest as_root = {.boot_index = 0, .delete_on_termination = submission->delete_root};
    AttachRequest as_other = {.boot_index = -1, .delete_on_termination = submission->delete_others};

    if (!insert_server(tx, id, "s", "", &server, err) ||
        !insert_volume(tx, submission->spec, &root, err) ||
        !task_reserve_volume(tx, server, root, &as_root, NULL, err))
        return false;
    for (const char *const *other = submission->others; other && *other; other++) {
        g_autoptr(Volume) volume = store_get(tx, &VOLUME, *other, err);

        if (!volume || !task_reserve_volume(tx, server, volume, &as_other, NULL, err))
            return false;
    }
    submission->new_id = g_steal_pointer(&id);
    return task_submit(tx, "create", server, true, &request, NULL, err);
}

/* true: accepted */
static bool
try_submit(Rig *rig, StoreFn fn, Submission *submission, GError **err)
{
    g_autoptr(GError) error = NULL;

    submit(rig, fn, submission, err ? &error : NULL);
    if (!error)
        return true;
    g_clear_pointer(&submission->new_id, g_free);
    g_propagate_error(err, g_steal_pointer(&error));
    return false;
}

char *
rig_create_volume(Rig *rig, const RigVolume *spec, GError **err)
{
    Submission submission = {.spec = spec};

    try_submit(rig, submit_create_volume, &submission, err);
    return submission.new_id;
}

bool
rig_volume_action(Rig *rig, const char *volume_id, const char *action, const char *params,
                  GError **err)
{
    Submission submission = {.volume_id = volume_id, .action = action, .params = params};

    return try_submit(rig, submit_volume_action, &submission, err);
}

char *
rig_create_snapshot(Rig *rig, const char *volume_id, bool force, GError **err)
{
    Submission submission = {.volume_id = volume_id, .force = force};

    try_submit(rig, submit_create_snapshot, &submission, err);
    return submission.new_id;
}

bool
rig_delete_snapshot(Rig *rig, const char *snapshot_id, GError **err)
{
    Submission submission = {.snapshot_id = snapshot_id};

    return try_submit(rig, submit_delete_snapshot, &submission, err);
}

bool
rig_attach(Rig *rig, const char *server_id, const char *volume_id, const char *device, GError **err)
{
    Submission submission = {.server_id = server_id, .volume_id = volume_id, .device = device};

    return try_submit(rig, submit_attach, &submission, err);
}

bool
rig_detach(Rig *rig, const char *server_id, const char *volume_id, GError **err)
{
    Submission submission = {.server_id = server_id, .volume_id = volume_id};

    return try_submit(rig, submit_detach, &submission, err);
}

char *
rig_boot_from_volume(Rig *rig, const RigVolume *root, bool delete_root, const char *const *others,
                     bool delete_others, GError **err)
{
    Submission submission = {
        .spec = root, .delete_root = delete_root, .others = others, .delete_others = delete_others};

    try_submit(rig, submit_boot_from_volume, &submission, err);
    return submission.new_id;
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

static void *
find_row(Rig *rig, const RecordType *type, const char *column, const char *value)
{
    const StoreCond where[] = {{column, STORE_EQ, value, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = rig_rows(rig, type, where);

    return rows->len ? record_copy(type, g_ptr_array_index(rows, 0)) : NULL;
}

Volume *
rig_volume(Rig *rig, const char *volume_id)
{
    return find_row(rig, &VOLUME, "id", volume_id);
}

Snapshot *
rig_snapshot(Rig *rig, const char *snapshot_id)
{
    return find_row(rig, &SNAPSHOT, "id", snapshot_id);
}

Attachment *
rig_attachment(Rig *rig, const char *volume_id)
{
    return find_row(rig, &ATTACHMENT, "volume_id", volume_id);
}

bool
rig_guest_has(Rig *rig, const char *host, const char *server_id, const char *volume_id)
{
    g_autoptr(GPtrArray) serials =
        host_disk_serials(rig->hosts, host, server_id, clock_monotonic() + 5 * USEC_PER_SEC, NULL);

    return serials && g_ptr_array_find_with_equal_func(serials, volume_id, g_str_equal, NULL);
}
