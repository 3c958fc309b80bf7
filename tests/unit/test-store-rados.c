/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-store-rados.c: the store on a real Ceph cluster, and who may have it: hand-over, death, a
 * stopped owner, a copy
 *
 * Needs GODWIT_TEST_CEPH_CONF (and GODWIT_TEST_CEPH_POOL, default godwit-state; user
 * client.godwit). The former owners are processes of their own: this program with arguments. */
#include "store/store.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *conf, *pool;

static StoreConfig
config_of(const char *state)
{
    return (StoreConfig){
        .state = state, .conf = conf, .user = "godwit-state", .url = "https://parent.example"};
}

/* A state of its own for each case. */
static char *
state_new(void)
{
    g_autofree char *id = uuid_new();

    return g_strdup_printf("rados:%s/test/t-%.8s", pool, id);
}

static bool
project_add(StoreTx *tx, void *opaque, GError **err)
{
    Project project = {.id = opaque, .name = opaque, .description = "", .enabled = true};

    return store_insert(tx, &PROJECT, &project, err);
}

static bool
projects_count(StoreTx *tx, void *opaque, GError **err)
{
    *(int64_t *)opaque = store_count(tx, &PROJECT, NULL, err);
    return *(int64_t *)opaque >= 0;
}

static int64_t
count(Store *store)
{
    int64_t n = -1;
    GError *error = NULL;

    store_read(store, projects_count, &n, &error);
    g_assert_no_error(error);
    return n;
}

static void
add(Store *store, const char *id)
{
    GError *error = NULL;

    store_write(store, project_add, (void *)id, &error);
    g_assert_no_error(error);
}

/* ---- the other process ------------------------------------------------------------------------
 */
/* Opens the state, then writes for ever; says how many writes were acknowledged, a line each. */
static int
owner_main(const char *state)
{
    StoreConfig config = config_of(state);
    GError *error = NULL;

    config.url = "https://child.example";
    Store *store = store_open_with(&config, &error);
    if (!store) {
        printf("failed %s\n", error->message);
        return 1;
    }
    for (int i = 0;; i++) {
        g_autofree char *id = g_strdup_printf("c%d", i);

        add(store, id);
        printf("%d\n", i + 1);
        fflush(stdout);
        g_usleep(2000);
    }
}

typedef struct Owner {
    pid_t pid;
    FILE *says;
} Owner;

static Owner
owner_start(const char *state)
{
    int ends[2];
    posix_spawn_file_actions_t actions;
    Owner owner;
    char *argv[] = {"test-store-rados", "--own", (char *)state, NULL};

    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    g_assert_cmpint(posix_spawn(&owner.pid, "/proc/self/exe", &actions, NULL, argv, environ), ==,
                    0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    owner.says = fdopen(ends[0], "r");
    return owner;
}

/* Read until n writes were acknowledged; 0 at the end. */
static int64_t
owner_read(Owner *owner, int64_t n)
{
    char line[512];
    int64_t last = 0;

    while (last < n && fgets(line, sizeof line, owner->says)) {
        if (!parse_int64(g_strchomp(line), 1, INT64_MAX, &last))
            g_error("the other process: %s", line);
    }
    return last;
}

static int
owner_end(Owner *owner)
{
    int status;

    g_assert_cmpint(waitpid(owner->pid, &status, 0), ==, owner->pid);
    return status;
}

typedef struct Waited {
    int64_t since;
    char *active;
} Waited;

static bool
on_wait(const char *active, const char *reason, void *opaque)
{
    Waited *waited = opaque;

    if (active && !waited->active)
        waited->active = g_strdup(active);
    return clock_monotonic() < waited->since + 30 * USEC_PER_SEC;
}

static Store *
take_over(const char *state, int64_t *took_us)
{
    Waited waited = {.since = clock_monotonic()};
    StoreConfig config = config_of(state);
    GError *error = NULL;

    config.on_wait = on_wait;
    config.opaque = &waited;
    Store *store = store_open_with(&config, &error);
    g_assert_no_error(error);
    *took_us = clock_monotonic() - waited.since;
    g_assert_cmpstr(waited.active, ==, "https://child.example");
    g_free(waited.active);
    return store;
}

/* ---- cases ------------------------------------------------------------------------------------
 */
static void
test_reopen(void)
{
    g_autofree char *state = state_new();
    StoreConfig config = config_of(state);
    GError *error = NULL;
    int64_t epoch = 0;

    for (int i = 0; i < 3; i++) {
        g_autofree char *id = g_strdup_printf("p%d", i);
        int64_t start = clock_monotonic();
        g_autoptr(Store) store = store_open_with(&config, &error);

        g_assert_no_error(error);
        g_test_message("opened in %d ms", (int)((clock_monotonic() - start) / 1000));
        g_assert_cmpint(clock_monotonic() - start, <, 4 * USEC_PER_SEC);
        g_assert_true(store_may_act(store));
        g_assert_cmpint(store_epoch(store), >, epoch);
        epoch = store_epoch(store);
        g_assert_cmpint(count(store), ==, i);
        add(store, id);
        g_assert_cmpint(count(store), ==, i + 1);
    }
}

static void
test_busy(void)
{
    g_autofree char *state = state_new();
    StoreConfig config = config_of(state);
    GError *error = NULL;
    Owner owner = owner_start(state);

    g_assert_cmpint(owner_read(&owner, 1), ==, 1);
    g_assert_null(store_open_with(&config, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_BUSY);
    g_assert_nonnull(strstr(error->message, "https://child.example"));
    g_clear_error(&error);
    kill(owner.pid, SIGKILL);
    owner_end(&owner);
    fclose(owner.says);
}

static void
test_killed(void)
{
    g_autofree char *state = state_new();
    Owner owner = owner_start(state);
    int64_t took;

    g_assert_cmpint(owner_read(&owner, 100), ==, 100);
    kill(owner.pid, SIGKILL);
    owner_end(&owner);
    Store *store = take_over(state, &took);
    int64_t acknowledged = 100 + 0, rest = owner_read(&owner, INT64_MAX);
    if (rest > acknowledged)
        acknowledged = rest;
    g_test_message("kill -9: taken over in %d ms; %d acknowledged, %d there", (int)(took / 1000),
                   (int)acknowledged, (int)count(store));
    g_assert_cmpint(count(store), >=, acknowledged);
    g_assert_cmpint(count(store), <=, acknowledged + 1);
    g_assert_cmpint(took, <, 10 * USEC_PER_SEC);
    fclose(owner.says);
    store_close(store);
}

static void
test_stopped(void)
{
    g_autofree char *state = state_new();
    Owner owner = owner_start(state);
    int64_t took;

    g_assert_cmpint(owner_read(&owner, 20), ==, 20);
    kill(owner.pid, SIGSTOP);
    Store *store = take_over(state, &took);
    int64_t there = count(store);
    g_test_message("SIGSTOP: taken over in %d ms", (int)(took / 1000));
    g_assert_cmpint(took, <, 10 * USEC_PER_SEC);
    add(store, "mine");
    kill(owner.pid, SIGCONT);
    int64_t start = clock_monotonic();
    int status = owner_end(&owner);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 75);
    g_test_message("the former owner ended %d ms after SIGCONT",
                   (int)((clock_monotonic() - start) / 1000));
    g_assert_cmpint(clock_monotonic() - start, <, USEC_PER_SEC);
    /* What it had been promised before is there, and nothing came after. */
    g_assert_cmpint(owner_read(&owner, INT64_MAX), <=, there);
    g_assert_cmpint(count(store), ==, there + 1);
    fclose(owner.says);
    store_close(store);
}

static void
test_unreachable(void)
{
    g_autofree char *dir = g_dir_make_tmp("godwit-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "ceph.conf", NULL);
    g_autofree char *state = state_new();
    StoreConfig config = config_of(state);
    GError *error = NULL;
    /* TEST-NET-1: nobody there */
    const char *text = "[global]\nmon host = 127.0.0.9:1\nauth client required = none\n";

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    config.conf = path;
    config.lease_us = USEC_PER_SEC;
    g_assert_null(store_open_with(&config, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_UNREACHABLE);
    g_test_message("%s", error->message);
    g_clear_error(&error);
    config = config_of("rados:no-such-pool/x/y");
    g_assert_null(store_open_with(&config, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_INVALID);
    g_test_message("%s", error->message);
    g_clear_error(&error);
    remove(path);
    remove(dir);
}

static void
churn_main(void *opaque)
{
    int64_t until_us = clock_monotonic() + 2 * USEC_PER_SEC;

    for (int i = 0; clock_monotonic() < until_us; i++) {
        g_autofree char *id = g_strdup_printf("churn-%d", i);
        add(opaque, id);
    }
}

/* Between all kinds, there and back; a copy in use while it is written. */
static void
test_copies(void)
{
    g_autofree char *dir = g_dir_make_tmp("godwit-test-XXXXXX", NULL);
    g_autofree char *file = g_build_filename(dir, "a.db", NULL);
    g_autofree char *back = g_build_filename(dir, "b.db", NULL);
    g_autofree char *backup = g_build_filename(dir, "c.db", NULL);
    g_autofree char *state = state_new(), *other = state_new();
    StoreConfig on_file = config_of(file), on_rados = config_of(state), on_other = config_of(other),
                on_back = config_of(back), on_backup = config_of(backup);
    GError *error = NULL;
    int64_t tables = 0, rows = 0, epoch;
    struct stat info;

    g_assert_false(store_copy(&on_file, &on_rados, &tables, &rows, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&error);
    Store *store = store_open_with(&on_file, &error);
    g_assert_no_error(error);
    add(store, "one");
    add(store, "two");
    epoch = store_epoch(store);
    g_assert_false(store_copy(&on_file, &on_rados, &tables, &rows, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_BUSY);
    g_clear_error(&error);
    store_close(store);

    g_assert_true(store_copy(&on_file, &on_rados, &tables, &rows, &error));
    g_assert_no_error(error);
    g_assert_cmpint(tables, >, 10);
    g_assert_cmpint(rows, >, 2);
    /* Not over what is there. */
    g_assert_false(store_copy(&on_file, &on_rados, &tables, &rows, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_CONFLICT);
    g_clear_error(&error);
    g_assert_true(store_copy(&on_rados, &on_other, &tables, &rows, &error));
    g_assert_no_error(error);
    g_assert_true(store_copy(&on_other, &on_back, &tables, &rows, &error));
    g_assert_no_error(error);

    store = store_open_with(&on_other, &error);
    g_assert_no_error(error);
    g_assert_cmpint(count(store), ==, 2);
    g_assert_cmpint(store_epoch(store), >, epoch + 1);
    pthread_t churn = thread_start("churn", churn_main, store);
    g_usleep(300 * USEC_PER_MSEC);
    g_assert_true(store_backup(store, backup, &error));
    g_assert_no_error(error);
    int64_t at_backup = count(store);
    pthread_join(churn, NULL);
    g_assert_cmpint(count(store), >, at_backup);
    store_close(store);
    g_assert_cmpint(stat(backup, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 0777, ==, 0600);
    store = store_open_with(&on_backup, &error);
    g_assert_no_error(error);
    g_assert_cmpint(count(store), >, 2);
    g_assert_cmpint(count(store), <=, at_backup);
    store_close(store);
    store = store_open_with(&on_back, &error);
    g_assert_no_error(error);
    g_assert_cmpint(count(store), ==, 2);
    store_close(store);
    const char *argv[] = {"rm", "-r", dir, NULL};
    g_assert_true(process_run(argv, INT64_MAX, NULL, NULL));
}

/* ---- speed: --bench STATE N-WRITERS SECONDS ---------------------------------------------------
 */
typedef struct Bench {
    Store *store;
    int64_t until, n;
    int id;
    bool reads;
} Bench;

static void *
bench_writer(void *opaque)
{
    Bench *bench = opaque;

    while (clock_monotonic() < bench->until) {
        g_autofree char *id =
            g_strdup_printf("b%d-%d-%" PRId64, (int)getpid(), bench->id, bench->n);

        if (bench->reads)
            count(bench->store);
        else
            add(bench->store, id);
        bench->n++;
    }
    return NULL;
}

static int
bench_main(const char *state, int n, int seconds, bool reads)
{
    StoreConfig config = config_of(state);
    GError *error = NULL;
    g_autoptr(Store) store = store_open_with(&config, &error);
    g_autofree Bench *benches = g_new0(Bench, n);
    g_autofree pthread_t *threads = g_new0(pthread_t, n);
    int64_t total = 0;

    if (!store) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    int64_t start = clock_monotonic();
    for (int i = 0; i < n; i++) {
        benches[i] = (Bench){store, start + seconds * USEC_PER_SEC, 0, i, reads};
        pthread_create(&threads[i], NULL, bench_writer, &benches[i]);
    }
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        total += benches[i].n;
    }
    double took = (double)(clock_monotonic() - start) / USEC_PER_SEC;
    printf("%s: %d threads: %.0f %s/s, %.2f ms each\n", state, n, (double)total / took,
           reads ? "reads" : "writes", took * 1000 * n / (double)total);
    return 0;
}

int
main(int argc, char **argv)
{
    conf = g_getenv("GODWIT_TEST_CEPH_CONF");
    pool = g_getenv("GODWIT_TEST_CEPH_POOL");
    if (!pool)
        pool = "godwit-state";
    if (argc == 3 && strcmp(argv[1], "--own") == 0)
        return owner_main(argv[2]);
    if (argc == 5 && (strcmp(argv[1], "--bench") == 0 || strcmp(argv[1], "--reads") == 0))
        return bench_main(argv[2], atoi(argv[3]), atoi(argv[4]), argv[1][2] == 'r');
    if (!conf) {
        printf("1..0 # SKIP no Ceph cluster: GODWIT_TEST_CEPH_CONF is not set\n");
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/store-rados/reopen", test_reopen);
    g_test_add_func("/store-rados/busy", test_busy);
    g_test_add_func("/store-rados/killed", test_killed);
    g_test_add_func("/store-rados/stopped", test_stopped);
    g_test_add_func("/store-rados/copies", test_copies);
    g_test_add_func("/store-rados/unreachable", test_unreachable);
    return g_test_run();
}
