/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-store.c: the store on a real file: records, queries, misuse, crashes, lease, damage */
#include "store-place.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- records --------------------------------------------------------------------------------- */
static const RecordType *const types[] = {
    &PROJECT, &USER,   &ROLE, &ASSIGNMENT, &TOKEN,     &HOST, &FLAVOR, &IMAGE,        &KEYPAIR,
    &NETWORK, &SUBNET, &PORT, &SERVER,     &MIGRATION, &TASK, &ACTION, &ACTION_EVENT,
};

/* Every field gets a value of its own; "user_id" is "user.id" wherever it stands, so that
 * references hold. */
static void *
record_filled(const RecordType *type)
{
    char *record = record_new(type);
    for (size_t i = 0; i < type->n_fields; i++) {
        const Field *field = &type->fields[i];
        void *at = record + field->offset;
        size_t stem = strlen(field->name) - (g_str_has_suffix(field->name, "_id") ? 3 : 0);
        switch (field->type) {
        case FIELD_TEXT:
            if (stem != strlen(field->name))
                *(char **)at = g_strdup_printf("%.*s.id", (int)stem, field->name);
            else
                *(char **)at = g_strdup_printf("%s.%s", type->table, field->name);
            break;
        case FIELD_INT:
            *(int64_t *)at = i == 0                                  ? 0
                             : strcmp(field->name, "action_id") == 0 ? 1
                                                                     : INT64_MAX - (int64_t)i;
            break;
        case FIELD_BOOL:
            *(bool *)at = i % 2 == 0;
            break;
        case FIELD_ENUM:
            *(unsigned *)at = 1;
            break;
        }
    }
    return record;
}

static void
assert_records_equal(const RecordType *type, const void *a, const void *b)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        const Field *field = &type->fields[i];
        const char *left = (const char *)a + field->offset,
                   *right = (const char *)b + field->offset;
        switch (field->type) {
        case FIELD_TEXT:
            g_assert_cmpstr(*(char *const *)left, ==, *(char *const *)right);
            break;
        case FIELD_INT:
            g_assert_cmpint(*(const int64_t *)left, ==, *(const int64_t *)right);
            break;
        case FIELD_BOOL:
            g_assert_cmpint(*(const bool *)left, ==, *(const bool *)right);
            break;
        case FIELD_ENUM:
            g_assert_cmpuint(*(const unsigned *)left, ==, *(const unsigned *)right);
            break;
        }
    }
}

static void *
get_by_record(StoreTx *tx, const RecordType *type, const void *record, GError **err)
{
    if (type->fields[0].type == FIELD_INT)
        return store_get_int(tx, type, *(const int64_t *)record, err);
    return store_get(tx, type, *(char *const *)record, err);
}

static bool
all_types_insert(StoreTx *tx, void *opaque, GError **err)
{
    void **records = opaque;
    for (size_t t = 0; t < G_N_ELEMENTS(types); t++) {
        records[t] = record_filled(types[t]);
        if (!store_insert(tx, types[t], records[t], err))
            return false;
        if (types[t]->fields[0].type == FIELD_INT)
            g_assert_cmpint(*(int64_t *)records[t], ==, 1);
    }
    return true;
}

static bool
all_types_compare(StoreTx *tx, void *opaque, GError **err)
{
    void **records = opaque;
    for (size_t t = 0; t < G_N_ELEMENTS(types); t++) {
        void *read = get_by_record(tx, types[t], records[t], err);
        if (read == NULL)
            return false;
        assert_records_equal(types[t], records[t], read);
        record_free(types[t], read);
        g_autoptr(GPtrArray) list = store_list(tx, types[t], NULL, err);
        if (list == NULL)
            return false;
        g_assert_cmpuint(list->len, ==, 1);
        assert_records_equal(types[t], records[t], g_ptr_array_index(list, 0));
    }
    return true;
}

/* Booleans turned round, enums at their next value, texts longer */
static bool
all_types_update(StoreTx *tx, void *opaque, GError **err)
{
    void **records = opaque;
    for (size_t t = 0; t < G_N_ELEMENTS(types); t++) {
        for (size_t i = 1; i < types[t]->n_fields; i++) {
            const Field *field = &types[t]->fields[i];
            void *at = (char *)records[t] + field->offset;
            if (field->type == FIELD_BOOL)
                *(bool *)at = !*(bool *)at;
            else if (field->type == FIELD_ENUM)
                *(unsigned *)at = 2;
            else if (field->type == FIELD_TEXT && !g_str_has_suffix(field->name, "_id"))
                text_set(at, "Grüße, \"'; DROP TABLE server; --");
        }
        if (!store_update(tx, types[t], records[t], err))
            return false;
    }
    return true;
}

static void
test_round_trip(Place *place, gconstpointer data)
{
    void *records[G_N_ELEMENTS(types)];
    must_write(place->store, all_types_insert, records);
    must_read(place->store, all_types_compare, records);
    must_write(place->store, all_types_update, records);
    store_close(place->store);
    place_open(place);
    must_read(place->store, all_types_compare, records);
    for (size_t t = 0; t < G_N_ELEMENTS(types); t++)
        record_free(types[t], records[t]);
}

static Server *
server_made(int number, const char *host, VmState state)
{
    Server *server = record_filled(&SERVER);
    g_free(server->id);
    server->id = g_strdup_printf("server-%02d", number);
    text_set(&server->host, host);
    server->number = number;
    server->vm_state = state;
    server->vcpus = 2;
    server->ram_mb = 512;
    return server;
}

/* ---- queries --------------------------------------------------------------------------------- */
static bool
query_fill(StoreTx *tx, void *opaque, GError **err)
{
    for (int i = 0; i < 20; i++) {
        g_autoptr(Server) server = server_made(i,
                                               i % 4 == 0   ? NULL
                                               : i % 4 == 1 ? "host1"
                                                            : "host2",
                                               i < 15 ? VM_ACTIVE : VM_DELETED);
        server->created_at = 100 - i / 2;
        if (!store_insert(tx, &SERVER, server, err))
            return false;
    }
    return true;
}

static char *
ids_of(StoreTx *tx, const StoreQuery *query)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) list = store_list(tx, &SERVER, query, &error);
    g_assert_no_error(error);
    g_autoptr(GString) ids = g_string_new(NULL);
    for (size_t i = 0; i < list->len; i++)
        g_string_append_printf(ids, "%s ", ((Server *)g_ptr_array_index(list, i))->id + 7);
    return g_string_free(g_steal_pointer(&ids), FALSE);
}

static void
assert_ids(StoreTx *tx, StoreCond first, StoreCond second, const char *expected)
{
    StoreCond where[] = {first, second, {0}};
    g_autofree char *ids = ids_of(tx, &(StoreQuery){.where = where});
    g_assert_cmpstr(ids, ==, expected);
}

static bool
query_check(StoreTx *tx, void *opaque, GError **err)
{
    static const StoreCond none = {0};
    assert_ids(tx, (StoreCond){"host", STORE_EQ, "host1", 0}, none, "01 05 09 13 17 ");
    assert_ids(tx, (StoreCond){"host", STORE_EQ, "host1", 0},
               (StoreCond){"vm_state", STORE_NE, NULL, VM_DELETED}, "01 05 09 13 ");
    assert_ids(tx, (StoreCond){"host", STORE_EQ, "host1", 0},
               (StoreCond){"vm_state", STORE_EQ, "deleted", 0}, "17 ");
    assert_ids(tx, (StoreCond){"host", STORE_IS_NULL, NULL, 0}, none, "00 04 08 12 16 ");
    assert_ids(tx, (StoreCond){"host", STORE_NE, "host2", 0},
               (StoreCond){"number", STORE_LT, NULL, 6}, "00 01 04 05 ");
    assert_ids(tx, (StoreCond){"host", STORE_NOT_NULL, NULL, 0},
               (StoreCond){"number", STORE_GE, NULL, 17}, "17 18 19 ");
    assert_ids(tx, (StoreCond){"number", STORE_GT, NULL, 3},
               (StoreCond){"number", STORE_LE, NULL, 5}, "04 05 ");
    assert_ids(tx, (StoreCond){"id", STORE_LIKE, "server-1%", 0},
               (StoreCond){"number", STORE_LT, NULL, 12}, "10 11 ");
    assert_ids(tx, (StoreCond){"id", STORE_LIKE, "server\\_1%", 0}, none, "");
    assert_ids(tx, (StoreCond){"host", STORE_EQ, "x' OR '1'='1", 0}, none, "");

    /* Pages of an order with ties hold every row once. */
    g_autoptr(GString) pages = g_string_new(NULL);
    for (int offset = 0; offset < 20; offset += 3) {
        g_autofree char *page = ids_of(
            tx, &(StoreQuery){
                    .order_by = "created_at", .descending = true, .limit = 3, .offset = offset});
        g_string_append(pages, page);
    }
    g_assert_cmpstr(pages->str, ==, "01 00 03 02 05 04 07 06 09 08 11 10 13 12 15 14 17 16 19 18 ");

    StoreCond deleted[] = {{"vm_state", STORE_EQ, NULL, VM_DELETED}, {0}};
    g_assert_cmpint(store_count(tx, &SERVER, deleted, err), ==, 5);
    g_assert_cmpint(store_count(tx, &SERVER, NULL, err), ==, 20);

    g_autoptr(GError) error = NULL;
    g_assert_null(store_find(tx, &SERVER, deleted, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_clear_error(&error);
    StoreCond absent[] = {{"number", STORE_EQ, NULL, 99}, {0}};
    g_assert_null(store_find(tx, &SERVER, absent, &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
    g_assert_cmpstr(error->message, ==, "no server with number 99");
    StoreCond one[] = {{"number", STORE_EQ, NULL, 7}, {0}};
    g_autoptr(Server) server = store_find(tx, &SERVER, one, err);
    g_assert_cmpstr(server->id, ==, "server-07");
    return true;
}

static void
test_queries(Place *place, gconstpointer data)
{
    must_write(place->store, query_fill, NULL);
    must_read(place->store, query_check, NULL);
}

static void
refuse(StoreTx *tx, StoreCond cond)
{
    g_autoptr(GError) error = NULL;
    StoreCond where[] = {cond, {0}};
    g_assert_null(store_list(tx, &SERVER, &(StoreQuery){.where = where}, &error));
    g_assert_true(err_is(error, ERR_BUG));
    g_clear_error(&error);
    g_assert_cmpint(store_count(tx, &SERVER, where, &error), ==, -1);
    g_assert_true(err_is(error, ERR_BUG));
}

static bool
misuse_read(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(GError) error = NULL;
    refuse(tx, (StoreCond){"no_such_column", STORE_EQ, "x", 0});
    refuse(tx, (StoreCond){"id\" = id --", STORE_EQ, "x", 0});
    refuse(tx, (StoreCond){"host", STORE_EQ, NULL, 0});
    refuse(tx, (StoreCond){"vcpus", STORE_EQ, "1", 0});
    refuse(tx, (StoreCond){"vm_state", STORE_LT, NULL, VM_ERROR});
    refuse(tx, (StoreCond){"vm_state", STORE_EQ, NULL, 99});
    g_assert_null(store_list(tx, &SERVER, &(StoreQuery){.order_by = "1; --"}, &error));
    g_assert_true(err_is(error, ERR_BUG));
    g_clear_error(&error);
    g_autoptr(Project) project = project_made("p", 0);
    g_assert_false(store_insert(tx, &PROJECT, project, &error));
    g_assert_true(err_is(error, ERR_BUG));
    g_clear_error(&error);
    g_assert_false(store_meta_set(tx, "a", "b", &error));
    g_assert_true(err_is(error, ERR_BUG));
    g_clear_error(&error);
    g_assert_true(store_inside_transaction());
    g_assert_false(store_read(opaque, project_exists, (void *)"x", &error));
    g_assert_true(err_is(error, ERR_BUG));
    g_clear_error(&error);
    g_assert_false(store_write(opaque, project_insert, (void *)"x", &error));
    g_assert_true(err_is(error, ERR_BUG));
    return true;
}

static bool
misuse_write(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(store_delete_where(tx, &SERVER, NULL, &error));
    g_assert_true(err_is(error, ERR_BUG));
    g_clear_error(&error);
    g_autoptr(Server) server = server_made(1, NULL, (VmState)99);
    g_assert_false(store_insert(tx, &SERVER, server, &error));
    g_assert_true(err_is(error, ERR_BUG));
    g_clear_error(&error);
    g_autoptr(Project) project = project_made("p", 0);
    text_set(&project->description, NULL);
    g_assert_false(store_insert(tx, &PROJECT, project, &error));
    g_assert_true(err_is(error, ERR_BUG));
    g_assert_nonnull(strstr(error->message, "project.description"));
    return true;
}

static bool
misuse_silent_failure(StoreTx *tx, void *opaque, GError **err)
{
    return false;
}

static void
test_misuse(Place *place, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    must_read(place->store, misuse_read, place->store);
    must_write(place->store, misuse_write, NULL);
    g_assert_false(store_write(place->store, misuse_silent_failure, NULL, &error));
    g_assert_true(err_is(error, ERR_BUG));
    g_assert_false(store_inside_transaction());
}

/* ---- keys ------------------------------------------------------------------------------------ */
static bool
keys_check(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Keypair) keypair = record_filled(&KEYPAIR);
    g_assert_true(store_insert(tx, &KEYPAIR, keypair, err));
    text_set(&keypair->id, "another");
    g_assert_false(store_insert(tx, &KEYPAIR, keypair, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_assert_cmpstr(error->message, ==,
                    "a keypair with user_id \"user.id\" and name \"keypair.name\" exists already");
    g_clear_error(&error);

    g_autoptr(Project) project = project_made("p", 0);
    g_assert_true(store_insert(tx, &PROJECT, project, err));
    g_assert_false(store_insert(tx, &PROJECT, project, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_clear_error(&error);

    g_assert_true(store_delete(tx, &PROJECT, "p", err));
    g_assert_false(store_delete(tx, &PROJECT, "p", &error));
    g_assert_cmpstr(error->message, ==, "project p not found");
    g_assert_true(err_is(error, ERR_NOT_FOUND));
    g_clear_error(&error);
    g_assert_false(store_update(tx, &PROJECT, project, &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
    g_clear_error(&error);
    g_assert_null(store_get(tx, &PROJECT, NULL, &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
    g_clear_error(&error);

    /* A number given away is not given again. */
    g_autoptr(Action) action = record_filled(&ACTION);
    g_assert_true(store_insert(tx, &ACTION, action, err));
    int64_t first = action->id;
    g_autoptr(ActionEvent) event = record_filled(&ACTION_EVENT);
    event->action_id = first;
    g_assert_true(store_insert(tx, &ACTION_EVENT, event, err));
    g_assert_true(store_delete_int(tx, &ACTION, first, err));
    g_assert_cmpint(store_count(tx, &ACTION_EVENT, NULL, err), ==, 0);
    action->id = 0;
    g_assert_true(store_insert(tx, &ACTION, action, err));
    g_assert_cmpint(action->id, ==, first + 1);

    g_autoptr(Subnet) subnet = record_filled(&SUBNET);
    g_assert_false(store_insert(tx, &SUBNET, subnet, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    return true;
}

static void
test_keys(Place *place, gconstpointer data)
{
    must_write(place->store, keys_check, NULL);
}

/* ---- sequences, meta, loads ------------------------------------------------------------------ */
static bool
meta_check(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(store_meta_get(tx, "ca-serial", &error));
    g_assert_no_error(error);
    g_assert_true(store_meta_set(tx, "ca-serial", "1", err));
    g_assert_true(store_meta_set(tx, "ca-serial", "2", err));
    g_autofree char *value = store_meta_get(tx, "ca-serial", err);
    g_assert_cmpstr(value, ==, "2");
    int64_t other = 0;
    g_assert_true(store_next_number(tx, "host", &other, err));
    g_assert_cmpint(other, ==, 1);
    return true;
}

static void
test_numbers(Place *place, gconstpointer data)
{
    for (int64_t expected = 1; expected <= 5; expected++) {
        int64_t number = 0;
        must_write(place->store, number_take, &number);
        g_assert_cmpint(number, ==, expected);
    }
    must_write(place->store, meta_check, NULL);
    g_assert_cmpint(store_epoch(place->store), ==, 1);
    store_close(place->store);
    place_open(place);
    g_assert_cmpint(store_epoch(place->store), ==, 2);
    int64_t number = 0;
    must_write(place->store, number_take, &number);
    g_assert_cmpint(number, ==, 6);
}

static bool
migration_add(StoreTx *tx, const char *server, const char *dest, MigrationStatus status,
              GError **err)
{
    g_autoptr(Migration) migration = record_filled(&MIGRATION);
    g_free(migration->uuid);
    migration->uuid = uuid_new();
    text_set(&migration->server_id, server);
    text_set(&migration->dest_host, dest);
    migration->status = status;
    migration->old_vcpus = migration->old_ram_mb = migration->new_vcpus = migration->new_ram_mb = 0;
    return store_insert(tx, &MIGRATION, migration, err);
}

static bool
loads_check(StoreTx *tx, void *opaque, GError **err)
{
    /* host1: 01 05 09 13 and the deleted 17; host2: 02 03 06 07 10 11 14 and two deleted */
    if (!migration_add(tx, "server-01", "host2", MIGRATION_RUNNING, err) ||
        !migration_add(tx, "server-02", "host2", MIGRATION_POST_MIGRATING,
                       err) || /* there already */
        !migration_add(tx, "server-05", "host3", MIGRATION_COMPLETED, err) ||
        !migration_add(tx, "server-09", NULL, MIGRATION_ACCEPTED, err) ||
        !migration_add(tx, "server-17", "host3", MIGRATION_QUEUED, err) || /* deleted */
        !migration_add(tx, "server-13", "host3", MIGRATION_PREPARING, err))
        return false;
    g_autoptr(GPtrArray) hosts = g_ptr_array_new();
    Host list[3] = {
        {.name = (char *)"host3"}, {.name = (char *)"host1"}, {.name = (char *)"host2"}};
    for (size_t i = 0; i < G_N_ELEMENTS(list); i++)
        g_ptr_array_add(hosts, &list[i]);
    HostLoad loads[3];
    if (!store_host_loads(tx, hosts, loads, err))
        return false;
    static const int64_t servers[] = {1, 4, 8};
    for (size_t i = 0; i < G_N_ELEMENTS(list); i++) {
        g_assert_true(loads[i].host == &list[i]);
        g_assert_cmpint(loads[i].servers, ==, servers[i]);
        g_assert_cmpint(loads[i].vcpus_used, ==, 2 * servers[i]);
        g_assert_cmpint(loads[i].ram_mb_used, ==, 512 * servers[i]);
    }
    return true;
}

typedef struct Resize { /* one server with 2 vCPUs and 512 MB, and its resize */
    const char *host, *source, *dest;
    int64_t old_vcpus, old_ram_mb, new_vcpus, new_ram_mb;
    MigrationStatus status;
    int64_t held[2][3]; /* on host1, on host2: servers, vCPUs, MB */
} Resize;

static bool
resize_check(StoreTx *tx, void *opaque, GError **err)
{
    const Resize *resize = opaque;
    g_autoptr(Server) server = record_filled(&SERVER);
    g_autoptr(Migration) migration = record_filled(&MIGRATION);
    g_autoptr(GPtrArray) hosts = g_ptr_array_new();
    Host list[2] = {{.name = (char *)"host1"}, {.name = (char *)"host2"}};
    HostLoad loads[2];

    const StoreCond moves[] = {{"id", STORE_GT, NULL, 0}, {NULL}},
                    servers[] = {{"id", STORE_NE, "", 0}, {NULL}};

    if (!store_delete_where(tx, &MIGRATION, moves, err) ||
        !store_delete_where(tx, &SERVER, servers, err))
        return false;
    text_set(&server->host, resize->host);
    server->vm_state = VM_ACTIVE;
    server->vcpus = 2;
    server->ram_mb = 512;
    text_set(&migration->server_id, server->id);
    text_set(&migration->source_host, resize->source);
    text_set(&migration->dest_host, resize->dest);
    migration->status = resize->status;
    migration->old_vcpus = resize->old_vcpus;
    migration->old_ram_mb = resize->old_ram_mb;
    migration->new_vcpus = resize->new_vcpus;
    migration->new_ram_mb = resize->new_ram_mb;
    for (size_t i = 0; i < 2; i++)
        g_ptr_array_add(hosts, &list[i]);
    if (!store_insert(tx, &SERVER, server, err) || !store_insert(tx, &MIGRATION, migration, err) ||
        !store_host_loads(tx, hosts, loads, err))
        return false;
    for (size_t i = 0; i < 2; i++) {
        g_assert_cmpint(loads[i].servers, ==, resize->held[i][0]);
        g_assert_cmpint(loads[i].vcpus_used, ==, resize->held[i][1]);
        g_assert_cmpint(loads[i].ram_mb_used, ==, resize->held[i][2]);
    }
    return true;
}

/* Until it is confirmed, neither the way forward nor the way back may be taken by others. */
static void
test_resize_loads(Place *place, gconstpointer data)
{
    static const Resize table[] = {
        /* up, not switched yet; then switched, the server has its new size */
        {"host1",
         "host1",
         "host2",
         2,
         512,
         4,
         1024,
         MIGRATION_MIGRATING,
         {{1, 2, 512}, {1, 4, 1024}}},
        {"host2", "host1", "host2", 4, 256, 2, 512, MIGRATION_FINISHED, {{1, 4, 256}, {1, 2, 512}}},
        {"host2", "host1", "host2", 4, 256, 2, 512, MIGRATION_CONFIRMED, {{0, 0, 0}, {1, 2, 512}}},
        {"host1", "host1", "host2", 2, 512, 4, 1024, MIGRATION_REVERTED, {{1, 2, 512}, {0, 0, 0}}},
        /* on one host: the larger of both */
        {"host1", "host1", "host1", 2, 512, 4, 256, MIGRATION_MIGRATING, {{1, 4, 512}, {0, 0, 0}}},
        {"host1", "host1", "host1", 1, 1024, 2, 512, MIGRATION_FINISHED, {{1, 2, 1024}, {0, 0, 0}}},
        /* no destination yet */
        {"host1", "host1", NULL, 2, 512, 4, 1024, MIGRATION_ACCEPTED, {{1, 2, 512}, {0, 0, 0}}},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
        must_write(place->store, resize_check, (void *)&table[i]);
}

static void
test_loads(Place *place, gconstpointer data)
{
    must_write(place->store, query_fill, NULL);
    must_write(place->store, loads_check, NULL);
}

/* ---- crashes, lease, damage ------------------------------------------------------------------ */
/* In a child: open, write a row, and be killed at the k-th fault point of that write. */
static void
crash_at(const char *path, uint64_t k, const char *id)
{
    pid_t child = fork();
    if (child == 0) {
        Store *store = store_open(path, NULL);
        if (store == NULL)
            _exit(1);
        fault_arm(k);
        store_write(store, project_insert, (void *)id, NULL);
        _exit(0);
    }
    int status;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGKILL);
}

static void
test_crash(Place *place, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    store_close(place->store);
    place->store = NULL;
    crash_at(place->path, 1, "before");
    crash_at(place->path, 2, "after");
    place_open(place);
    g_assert_cmpint(store_epoch(place->store), ==, 4);
    g_assert_false(store_read(place->store, project_exists, (void *)"before", &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
    must_read(place->store, project_exists, (void *)"after");
}

static void
test_lease(Place *place, gconstpointer data)
{
    pid_t child = fork();
    if (child == 0) {
        g_autoptr(GError) error = NULL;
        g_autofree char *parent = g_strdup_printf("process %d:", (int)getppid());
        Store *store = store_open(place->path, &error);
        _exit(store == NULL && err_is(error, ERR_BUSY) && strstr(error->message, parent) != NULL
                  ? 0
                  : 1);
    }
    int status;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);

    g_autoptr(GError) error = NULL;
    g_assert_null(store_open(place->path, &error));
    g_assert_true(err_is(error, ERR_BUSY));
    must_write(place->store, project_insert, (void *)"still ours");
}

static void
test_modes(Place *place, gconstpointer data)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *file = g_strconcat(place->path, suffixes[i], NULL);
        struct stat info;
        g_assert_cmpint(stat(file, &info), ==, 0);
        g_assert_cmpint(info.st_mode & 07777, ==, 0600);
    }
    store_close(place->store);
    g_assert_cmpint(chmod(place->path, 0644), ==, 0);
    place_open(place);
    struct stat info;
    g_assert_cmpint(stat(place->path, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 07777, ==, 0600);
}

/* As an operator would, with godwitd stopped */
static void
by_hand(Place *place, const char *sql)
{
    store_close(place->store);
    place->store = NULL;
    sqlite3 *db = NULL;
    g_assert_cmpint(sqlite3_open(place->path, &db), ==, SQLITE_OK);
    g_assert_cmpint(sqlite3_exec(db, sql, NULL, NULL, NULL), ==, SQLITE_OK);
    sqlite3_close(db);
}

static bool
servers_list(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(GPtrArray) servers = store_list(tx, &SERVER, NULL, err);
    return servers != NULL;
}

static void
test_unknown_enum(Place *place, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    must_write(place->store, query_fill, NULL);
    by_hand(place, "UPDATE server SET vm_state = 'dreaming' WHERE id = 'server-03'");
    place_open(place);
    g_assert_false(store_read(place->store, servers_list, NULL, &error));
    g_assert_true(err_is(error, ERR_BACKEND));
    g_assert_nonnull(strstr(error->message, "table server, column vm_state, row server-03"));
    g_assert_nonnull(strstr(error->message, "\"dreaming\""));
}

static void
assert_open_fails(Place *place, ErrCode code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(store_open(place->path, &error));
    g_test_message("%s", error->message);
    g_assert_cmpint(err_code(error), ==, code);
    g_assert_nonnull(strstr(error->message, words));
}

static void
test_foreign_files(Place *place, gconstpointer data)
{
    by_hand(place, "ALTER TABLE server RENAME COLUMN hostname TO nodename");
    assert_open_fails(place, ERR_BUG, "nodename");
    by_hand(place,
            "ALTER TABLE server RENAME COLUMN nodename TO hostname; PRAGMA user_version = 99");
    assert_open_fails(place, ERR_UNSUPPORTED, "99");
    by_hand(place, "PRAGMA user_version = 0; PRAGMA application_id = 0");
    assert_open_fails(place, ERR_INVALID, "not a state file");
    g_autoptr(GError) error = NULL;
    g_assert_true(file_write_atomically(
        place->path, "This is no database, whatever its name says. It is text.....", 60, 0600,
        &error));
    assert_open_fails(place, ERR_BACKEND, "is damaged");
    g_assert_null(store_open("/nonexistent/state.db", &error));
    g_assert_true(err_is(error, ERR_BACKEND));
}

/* ---- a file of an older release
 * -------------------------------------------------------------- */
/* Takes back what step 2 of the schema added: what is left is a file as the first release made it.
 */
static const char to_step_1[] = "DROP TABLE fence;"
                                "DROP INDEX migration_by_source;"
                                "ALTER TABLE migration DROP COLUMN wish;"
                                "ALTER TABLE migration DROP COLUMN priority;"
                                "ALTER TABLE migration DROP COLUMN attempts;"
                                "ALTER TABLE migration DROP COLUMN old_vcpus;"
                                "ALTER TABLE migration DROP COLUMN old_ram_mb;"
                                "ALTER TABLE migration DROP COLUMN new_vcpus;"
                                "ALTER TABLE migration DROP COLUMN new_ram_mb;"
                                "ALTER TABLE migration DROP COLUMN old_flavor;"
                                "ALTER TABLE migration DROP COLUMN new_flavor;"
                                "ALTER TABLE migration DROP COLUMN old_vm_state;"
                                "ALTER TABLE migration DROP COLUMN fence;"
                                "ALTER TABLE server DROP COLUMN locked_by;"
                                "ALTER TABLE host DROP COLUMN foreign_domains;"
                                "PRAGMA user_version = 1;";

static bool
old_rows_fill(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Host) host = record_filled(&HOST);
    text_set(&host->name, "host2");
    return query_fill(tx, opaque, err) && store_insert(tx, &HOST, host, err) &&
           migration_add(tx, "server-01", "host2", MIGRATION_RUNNING, err);
}

static bool
old_rows_check(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Server) server = store_get(tx, &SERVER, "server-01", err);
    g_autoptr(Migration) migration = store_get_int(tx, &MIGRATION, 1, err);
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, NULL, err);
    g_autoptr(Migration) filled = record_filled(&MIGRATION);
    HostLoad load;

    g_assert_cmpint(store_count(tx, &SERVER, NULL, err), ==, 20);
    g_assert_cmpstr(server->host, ==, "host1");
    g_assert_null(server->locked_by);
    g_assert_cmpint(migration->status, ==, MIGRATION_RUNNING);
    g_assert_cmpstr(migration->phase, ==, filled->phase);
    g_assert_cmpint(migration->updated_at, ==, filled->updated_at);
    g_assert_cmpint(migration->wish, ==, WISH_NONE);
    g_assert_cmpint(migration->priority, ==, 0);
    g_assert_null(migration->attempts);
    g_assert_cmpint(migration->old_vcpus + migration->old_ram_mb + migration->new_vcpus +
                        migration->new_ram_mb,
                    ==, 0);
    g_assert_null(migration->old_flavor);
    g_assert_null(migration->new_flavor);
    g_assert_cmpint(migration->old_vm_state, ==, VM_ACTIVE);
    g_assert_null(migration->fence);
    g_assert_cmpuint(hosts->len, ==, 1);
    g_assert_cmpint(((Host *)hosts->pdata[0])->foreign_domains, ==, 0);
    /* the seven that are there, and the one that was on its way there when it was upgraded */
    g_assert_true(store_host_loads(tx, hosts, &load, err));
    g_assert_cmpint(load.servers, ==, 8);
    return true;
}

static bool
fence_insert(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Fence) fence = record_filled(&FENCE);
    return store_insert(tx, &FENCE, fence, err);
}

static void
test_upgrade(Place *place, gconstpointer data)
{
    must_write(place->store, old_rows_fill, NULL);
    by_hand(place, to_step_1);
    for (int i = 0; i < 2; i++) { /* upgraded; and as it is from then on */
        place_open(place);
        must_read(place->store, old_rows_check, NULL);
        if (i == 0)
            must_write(place->store, fence_insert, NULL);
        store_close(place->store);
        place->store = NULL;
    }
}

/* One that is cut short leaves the file as it was. */
static void
test_upgrade_fails(Place *place, gconstpointer data)
{
    must_write(place->store, old_rows_fill, NULL);
    by_hand(place, to_step_1);
    by_hand(place, "CREATE TABLE fence (id INTEGER)"); /* in the way of the last statements */
    assert_open_fails(place, ERR_BUG, "schema step 2");
    by_hand(place, "DROP TABLE fence");
    place_open(place);
    must_read(place->store, old_rows_check, NULL);
}

static bool
fill_up(StoreTx *tx, void *opaque, GError **err)
{
    g_autofree char *large = g_strnfill(8 << 20, 'x');
    return store_meta_set(tx, "large", large, err);
}

/* A limit on the file's size stands in for a full disk: the writer gets an error in the midst of
 * its transaction or commit. */
static void
test_disk_full(Place *place, gconstpointer data)
{
    store_close(place->store);
    place->store = NULL;
    pid_t child = fork();
    if (child == 0) {
        g_autofree char *path = g_strconcat(place->path, "-full", NULL);
        Store *store = store_open(path, NULL);
        if (store == NULL)
            _exit(1);
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit limit = {.rlim_cur = 2 << 20, .rlim_max = 2 << 20};
        setrlimit(RLIMIT_FSIZE, &limit);
        g_autoptr(GError) error = NULL;
        if (store_write(store, fill_up, NULL, &error) || !err_is(error, ERR_BACKEND) ||
            strstr(error->message, path) == NULL)
            _exit(2);
        fprintf(stderr, "# %s\n", error->message);
        g_clear_error(&error);
        /* Small writes go on, and nothing of the failed one is there. */
        if (!store_write(store, project_insert, (void *)"small", &error))
            _exit(3);
        if (!store_read(store, project_exists, (void *)"small", &error))
            _exit(4);
        store_close(store);
        static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
        for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
            g_autofree char *file = g_strconcat(path, suffixes[i], NULL);
            unlink(file);
        }
        _exit(0);
    }
    int status;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

/* ---- a failure that a function takes for "not there" ------------------------------------------
 */
static bool
read_and_shrug(StoreTx *tx, void *opaque, GError **err)
{
    g_autoptr(Quota) G_GNUC_UNUSED quota = store_get(tx, &QUOTA, "project", NULL);
    return true;
}

static bool
count_projects(StoreTx *tx, void *opaque, GError **err)
{
    return store_count(tx, &PROJECT, NULL, err) == 0;
}

static void
test_hidden_failure(Place *place, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    sqlite3 *other;
    must_read(place->store, read_and_shrug, NULL); /* not there, and that is an answer */
    g_assert_cmpint(sqlite3_open(place->path, &other), ==, SQLITE_OK);
    g_assert_cmpint(sqlite3_exec(other, "DROP TABLE quota", NULL, NULL, NULL), ==, SQLITE_OK);
    sqlite3_close(other);
    g_assert_false(store_read(place->store, read_and_shrug, NULL, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_BUG);
    g_clear_error(&error);
    g_assert_false(store_write(place->store, read_and_shrug, NULL, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_BUG);
    g_clear_error(&error);
    must_read(place->store, count_projects, NULL); /* the next one is not blamed for it */
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("round-trip", test_round_trip);
    ADD("queries", test_queries);
    ADD("misuse", test_misuse);
    ADD("keys", test_keys);
    ADD("numbers", test_numbers);
    ADD("loads", test_loads);
    ADD("resize-loads", test_resize_loads);
    ADD("crash", test_crash);
    ADD("lease", test_lease);
    ADD("modes", test_modes);
    ADD("unknown-enum", test_unknown_enum);
    ADD("foreign-files", test_foreign_files);
    ADD("upgrade", test_upgrade);
    ADD("upgrade-fails", test_upgrade_fails);
    ADD("disk-full", test_disk_full);
    ADD("hidden-failure", test_hidden_failure);
    return g_test_run();
}
