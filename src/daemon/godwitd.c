/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwitd.c: wires the parts together, in the order in which they need each other, and takes them
 * down in the reverse
 *
 * The main thread runs the main loop (libvirt's events and signals) and nothing that blocks. The
 * listener is up first: it says "starting" or "standby" (503 for everything but /healthz) while a
 * thread of its own, the opener, waits for the state (lease, cluster) and wires the rest. Then the
 * same listener serves.
 *
 *   listener up -> opener: store (lease, fence) -> storage, nodes, tasks, watch -> active
 *
 * With the state on RADOS every call to a node, every call to the storage and every answer asks
 * store_may_act first, and the process ends itself when the lease cannot be renewed. */
#include <errno.h>
#include <glib-unix.h>
#include <locale.h>
#include <malloc.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "api/api.h"
#include "block/block.h"
#include "daemon/config.h"
#include "daemon/init.h"
#include "host/host.h"
#include "pki/pki.h"
#include "task/image.h"
#include "watch/watch.h"

#define SWEEP_INTERVAL_S 60

/* glibc's own value. Set, it no longer grows with what was freed once, and with it what each
 * thread's arena keeps at its end: megabytes, after a large answer. */
#define MALLOC_MAP_ABOVE (128 * 1024)
/* Environment: SIGUSR2 then ends godwitd at the k-th fault point from there. For tests; unset,
 * SIGUSR2 means nothing. */
#define FAULT_ON_SIGNAL "GODWIT_FAULT_ON_SIGNAL"

/* What cannot be reached yet is tried again after this. */
#define RETRY_US (2 * USEC_PER_SEC)

/* How long a stop waits for tasks, and then for what ends soon because nodes are let go of. */
#define STOP_TASKS_US (10 * USEC_PER_SEC)
#define STOP_REST_US  (3 * USEC_PER_SEC)

typedef struct Daemon {
    Config *config;
    GMainLoop *loop;
    pthread_t opener;
    bool has_opener;
    atomic_bool stopping;
    pthread_mutex_t stop_mutex; /* with the condition: ends the opener's pauses */
    pthread_cond_t stop_changed;
    int housekeepers;   /* threads; under stop_mutex */
    bool is_active;     /* main thread: the opener is done */
    bool is_announced;  /* opener: systemd knows that we are up */
    char *wait_reason;  /* opener: what was logged last */
    GError *open_error; /* of the opener, for the main thread when it has ended the loop */
    Store *store;
    Auth *auth;
    Storage storage;
    Hosts *hosts;
    TaskSettings task_settings;
    TaskEngine *tasks;
    Watch *watch;
    Api *api;
    HttpServer *http;
} Daemon;

static void
on_host_event(HostEvent *event, void *opaque)
{
    watch_host_event(event, ((Daemon *)opaque)->watch);
}

static void
on_hosts_changed(void *opaque)
{
    watch_hosts_changed(((Daemon *)opaque)->watch);
}

static bool
may_act(void *opaque)
{
    return store_may_act(((Daemon *)opaque)->store);
}

/* Stopped for long and continued: whoever has taken over must not meet us. Before any other thread
 * of ours does much. */
static Store *_Atomic leased_store;

static void
on_continue(int signal_number)
{
    int saved = errno;
    Store *store = atomic_load(&leased_store);

    if (store)
        store_check_lease(store);
    errno = saved;
}

static void
stop_opener(Daemon *daemon)
{
    WITH_MUTEX(&daemon->stop_mutex);
    atomic_store(&daemon->stopping, true);
    pthread_cond_broadcast(&daemon->stop_changed);
}

static void
pause_opener(Daemon *daemon, int64_t pause_us)
{
    int64_t until = clock_monotonic() + pause_us;

    WITH_MUTEX(&daemon->stop_mutex);
    while (!atomic_load(&daemon->stopping) &&
           cond_wait_until(&daemon->stop_changed, &daemon->stop_mutex, until))
        ;
}

static int
on_stop_signal(gpointer opaque)
{
    Daemon *daemon = opaque;

    stop_opener(daemon);
    log_event(LOG_LEVEL_INFO, "daemon", "stopping", NULL);
    sd_notify(0, "STOPPING=1");
    g_main_loop_quit(daemon->loop);
    return G_SOURCE_REMOVE;
}

/* Whoever takes the lease over shuts out what the storage driver of ours may still have on its way.
 * It connects anew after a change of its key, hence once more each time. */
static bool
record_storage_clients(void *opaque, GError **err)
{
    Daemon *daemon = opaque;
    g_autoptr(GPtrArray) clients = NULL;

    if (!store_has_lease(daemon->store))
        return true;
    clients = storage_own_clients(&daemon->storage, err);
    for (unsigned i = 0; clients && i < clients->len; i++)
        if (!store_record_client(daemon->store, g_ptr_array_index(clients, i), err))
            return false;
    return clients != NULL;
}

static void
sweep_in_background(void *opaque)
{
    Daemon *daemon = opaque;
    g_autoptr(GError) error = NULL;

    if (!auth_sweep(daemon->auth, &error))
        log_event(LOG_LEVEL_WARNING, "daemon", "cannot remove expired tokens", "reason",
                  error->message, NULL);
    g_clear_error(&error);
    if (!record_storage_clients(daemon, &error))
        log_event(LOG_LEVEL_WARNING, "daemon", "cannot record the storage's own clients", "reason",
                  error->message, NULL);
    WITH_MUTEX(&daemon->stop_mutex);
    daemon->housekeepers--;
    pthread_cond_broadcast(&daemon->stop_changed);
}

/* For the crash suite on real nodes: count the fault points of one operation, not those of the
 * start. */
static int
on_fault_signal(gpointer opaque)
{
    int64_t k = 0;

    if (parse_int64(g_getenv(FAULT_ON_SIGNAL), 1, INT64_MAX, &k))
        fault_arm((uint64_t)k);
    log_event(LOG_LEVEL_NOTICE, "daemon", "fault armed", NULL);
    return G_SOURCE_CONTINUE;
}

static int
on_sweep_time(gpointer opaque)
{
    Daemon *daemon = opaque;

    sd_notify(0, "WATCHDOG=1");
    if (!daemon->is_active)
        return G_SOURCE_CONTINUE;
    watch_sweep(daemon->watch);
    WITH_MUTEX(&daemon->stop_mutex);
    if (daemon->housekeepers > 0)
        return G_SOURCE_CONTINUE; /* the storage is slow to answer */
    daemon->housekeepers++;
    thread_start_detached("housekeeping", sweep_in_background, daemon);
    return G_SOURCE_CONTINUE;
}

/* ---- up
 * --------------------------------------------------------------------------------------------- */

static bool
open_storage(Daemon *daemon, GError **err)
{
    static const BlockOps *const drivers[] = {&block_dir_ops, &block_rbd_ops};
    const Config *config = daemon->config;
    const BlockSettings settings = {.path = config->storage_path,
                                    .conf = config->ceph_conf,
                                    .user = config->ceph_user,
                                    .images_pool = config->images_pool,
                                    .servers_pool = config->instances_pool,
                                    .volumes_pool = config->volumes_pool,
                                    .console_path = config->console_path};

    storage_set_transaction_check(store_inside_transaction);
    storage_set_may_act(may_act, daemon);
    storage_set_on_reconnect(record_storage_clients, daemon);
    for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++)
        if (strcmp(config->storage_driver, drivers[i]->name) == 0) {
            daemon->storage.ops = drivers[i];
            daemon->storage.block = drivers[i]->open(&settings, err);
            return daemon->storage.block != NULL;
        }
    return err_set(err, ERR_INVALID, "[storage] driver = %s is not known; known are dir and rbd",
                   config->storage_driver);
}

static bool
start_core(Daemon *daemon, GError **err)
{
    const Config *config = daemon->config;
    AuthSettings auth_settings = {.token_lifetime_s = config->token_lifetime_s,
                                  .attempts_per_minute = 10};
    HostsConfig hosts_config = {.ops = &host_libvirt_ops,
                                .on_event = on_host_event,
                                .opaque = daemon,
                                .inside_transaction = store_inside_transaction,
                                .may_act = may_act,
                                .virt_type = config->libvirt->virt_type};

    if (!open_storage(daemon, err) || !record_storage_clients(daemon, err) ||
        !host_libvirt_init(err))
        return false;
    daemon->auth = auth_new(daemon->store, &auth_settings);
    daemon->hosts = hosts_new(&hosts_config);
    daemon->task_settings =
        (TaskSettings){.libvirt = config->libvirt,
                       .cpu_ratio = config->cpu_ratio,
                       .ram_ratio = config->ram_ratio,
                       .reserved_ram_mb = config->reserved_ram_mb,
                       .shutdown_timeout_s = config->shutdown_timeout_s,
                       .worker_limit = 256,
                       .moves_out = config->moves_out,
                       .moves_in = config->moves_in,
                       .moves_total = config->moves_total,
                       .resize_confirm_window_s = config->resize_confirm_window_s,
                       .resize_same_host = config->resize_same_host,
                       .fence_command = config->fence_command,
                       .fence_timeout_s = config->fence_timeout_s,
                       .resume_guests = config->resume_guests};
    daemon->tasks =
        task_engine_new(daemon->store, daemon->hosts, &daemon->storage, &daemon->task_settings);
    WatchConfig watch_config = {daemon->store, daemon->tasks, daemon->hosts,
                                config->libvirt->virt_type};
    daemon->watch = watch_new(&watch_config);
    return image_sweep(daemon->tasks, err) && watch_start(daemon->watch, err);
}

/* Once per change: what is waited for, in the log, for systemd, and for who asks /healthz. */
static bool
on_wait(const char *active, const char *reason, void *opaque)
{
    Daemon *daemon = opaque;
    const Config *config = daemon->config;
    /* Our own address: the process before us, whose lease has to run out. Nobody serves there. */
    const char *other = active && strcmp(active, config->url) != 0 ? active : NULL;

    if (g_strcmp0(reason, daemon->wait_reason) != 0) {
        g_autofree char *status = g_strconcat("STATUS=", reason, NULL);

        text_set(&daemon->wait_reason, reason);
        api_wait(daemon->api, other, reason);
        sd_notify(0, status);
        log_event(LOG_LEVEL_NOTICE, "daemon", other ? "standing by" : "waiting", "active", other,
                  "reason", reason, NULL);
    }
    /* A standby is up as far as systemd is concerned. */
    if (!daemon->is_announced)
        sd_notify(0, "READY=1");
    daemon->is_announced = true;
    return !atomic_load(&daemon->stopping);
}

/* Until it is open, or cannot be by waiting. */
static bool
open_state(Daemon *daemon, GError **err)
{
    StoreConfig store_config = config_store(daemon->config);

    store_config.on_wait = on_wait;
    store_config.opaque = daemon;
    for (;;) {
        g_autoptr(GError) error = NULL;

        daemon->store = store_open_with(&store_config, &error);
        if (daemon->store) {
            atomic_store(&leased_store, daemon->store);
            return true;
        }
        if (!err_is(error, ERR_UNREACHABLE) || !on_wait(NULL, error->message, daemon)) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
        pause_opener(daemon, RETRY_US);
    }
}

static int
on_opened(gpointer opaque)
{
    Daemon *daemon = opaque;

    if (daemon->open_error) {
        g_main_loop_quit(daemon->loop);
        return G_SOURCE_REMOVE;
    }
    daemon->is_active = true;
    api_activate(daemon->api, daemon->store, daemon->auth, daemon->tasks);
    log_event(LOG_LEVEL_INFO, "daemon", "ready", "url", daemon->config->url, NULL);
    sd_notify(0, "READY=1\nSTATUS=active");
    return G_SOURCE_REMOVE;
}

/* Requests are served, and their tasks written down, before the first task runs. */
static void
opener_main(void *opaque)
{
    Daemon *daemon = opaque;
    GError *error = NULL;
    bool ok = open_state(daemon, &error) && start_core(daemon, &error);

    daemon->open_error = error;
    g_idle_add(on_opened, daemon);
    if (!ok)
        return;
    task_engine_start(daemon->tasks, NULL);
}

static bool
start_http(Daemon *daemon, GError **err)
{
    const Config *config = daemon->config;
    g_autofree char *dir = init_pki_dir(config),
                    *cert_path = g_build_filename(dir, "server.pem", NULL);
    g_autofree char *key_path = g_build_filename(dir, "server-key.pem", NULL), *cert = NULL,
                    *key = NULL;
    ApiConfig api_config = {.libvirt = config->libvirt,
                            .scratch = config->state_dir,
                            .may_answer = may_act,
                            .public_url = config->url,
                            .region = config->region,
                            .pki_dir = dir,
                            .cpu_ratio = config->cpu_ratio,
                            .ram_ratio = config->ram_ratio,
                            .reserved_ram_mb = config->reserved_ram_mb,
                            .on_hosts_changed = on_hosts_changed,
                            .opaque = daemon};
    HttpConfig http_config = {.address = config->listen_address,
                              .port = config->listen_port,
                              .on_error = api_on_error,
                              .may_answer = api_may_answer,
                              .on_done = api_on_done};
    const HttpRoute *const *tables;
    size_t n_tables, size;

    if (!config->plain_http) {
        if (!init_certificate(config, err) ||
            !file_read_bounded(cert_path, 1 << 16, &cert, &size, err) ||
            !file_read_bounded(key_path, 1 << 16, &key, &size, err))
            return false;
    }
    daemon->api = api_new(&api_config);
    tables = api_routes(daemon->api, &n_tables);
    http_config.cert_pem = cert;
    http_config.key_pem = key;
    http_config.context = daemon->api;
    daemon->http = http_server_start(&http_config, tables, n_tables, err);
    return daemon->http != NULL;
}

/* ---- down
 * --------------------------------------------------------------------------------------------- */

/* Ceph's libraries keep threads as long as the process lives (libcephsqlite's client cannot be shut
 * down, and a call may be on its way that nobody can call back), and exit(3) destroys the objects
 * with static storage that these threads work with: they then throw, or crash. */
static _Noreturn void
end_process(int status)
{
    fflush(NULL);
#ifdef __SANITIZE_ADDRESS__
    __lsan_do_leak_check();
#endif
    _exit(status);
}

/* What is under way may still have an effect: the lease is kept, so that nobody acts beside it. It
 * runs out by itself after the end. */
static _Noreturn void
leave_at_once(const char *what)
{
    log_event(LOG_LEVEL_WARNING, "daemon", "ends with work under way; the next start takes it up",
              "waited for", what, NULL);
    end_process(0);
}

static bool
housekeeping_ended(Daemon *daemon, int64_t deadline_us)
{
    WITH_MUTEX(&daemon->stop_mutex);
    while (daemon->housekeepers > 0 &&
           cond_wait_until(&daemon->stop_changed, &daemon->stop_mutex, deadline_us))
        ;
    return daemon->housekeepers == 0;
}

static void
stop(Daemon *daemon)
{
    stop_opener(daemon);
    if (daemon->http)
        http_server_stop(daemon->http);
    if (daemon->has_opener)
        pthread_join(daemon->opener, NULL);
    if (daemon->tasks)
        task_engine_stop(daemon->tasks, clock_monotonic() + STOP_TASKS_US);
    if (daemon->hosts)
        hosts_stop(
            daemon->hosts); /* calls under way end, so that nothing waits for a node from here on */
    if (daemon->tasks && !task_engine_stop(daemon->tasks, clock_monotonic() + STOP_REST_US))
        leave_at_once("tasks");
    if (!housekeeping_ended(daemon, clock_monotonic() + STOP_REST_US))
        leave_at_once("housekeeping");
    if (daemon->watch)
        watch_stop(daemon->watch);
    api_free(daemon->api);
    watch_free(daemon->watch);
    task_engine_free(daemon->tasks);
    hosts_free(daemon->hosts);
    auth_free(daemon->auth);
    if (daemon->storage.block)
        daemon->storage.ops->close(daemon->storage.block);
    atomic_store(&leased_store, NULL);
    store_close(daemon->store);
    g_free(daemon->wait_reason);
    g_clear_error(&daemon->open_error);
}

static void
log_settings(const Config *config)
{
    g_autofree char *flags = migrate_flags_format(config->libvirt->migrate_flags);

    for (guint i = 0; i < config->notices->len; i++)
        log_event(LOG_LEVEL_NOTICE, "config", g_ptr_array_index(config->notices, i), NULL);
    log_event(LOG_LEVEL_INFO, "daemon", "starting", "version", GODWIT_VERSION, "state",
              config->state, "storage", config->storage_driver, "virt_type",
              config->libvirt->virt_type, "cpu_mode", cpu_mode_names[config->libvirt->cpu_mode],
              "migration_uri",
              config->libvirt->migration_uri ? config->libvirt->migration_uri : "auto", "flags",
              flags, NULL);
    if (config->libvirt->native_tls_off && !(config->libvirt->migrate_flags & MIGRATE_TUNNELLED))
        log_event(
            LOG_LEVEL_WARNING, "daemon",
            "live_migration_with_native_tls = false: the memory of moving guests is PLAINTEXT "
            "on the wire",
            NULL);
    if (config->libvirt->migration_uri &&
        g_str_has_prefix(config->libvirt->migration_uri, "qemu+tcp:"))
        log_event(LOG_LEVEL_WARNING, "daemon",
                  "the channel between nodes is PLAINTEXT: the memory of moving guests can be read "
                  "on the wire",
                  "migration_uri", config->libvirt->migration_uri, NULL);
}

static bool
run(Daemon *daemon, GError **err)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);

    daemon->loop = loop;
    log_settings(daemon->config);
    g_unix_signal_add(SIGTERM, on_stop_signal, daemon);
    g_unix_signal_add(SIGINT, on_stop_signal, daemon);
    if (g_getenv(FAULT_ON_SIGNAL))
        g_unix_signal_add(SIGUSR2, on_fault_signal, NULL);
    g_timeout_add_seconds(SWEEP_INTERVAL_S, on_sweep_time, daemon);
    sigaction(SIGCONT, &(struct sigaction){.sa_handler = on_continue, .sa_flags = SA_RESTART},
              NULL);
    if (!start_http(daemon, err))
        return false;
    daemon->opener = thread_start("opener", opener_main, daemon);
    daemon->has_opener = true;
    g_main_loop_run(loop);
    if (!daemon->open_error || atomic_load(&daemon->stopping))
        return true;
    g_propagate_error(err, g_steal_pointer(&daemon->open_error));
    return false;
}

/* godwitd state copy FROM TO */
static bool
copy_state(const Config *config, const char *from, const char *to, GError **err)
{
    StoreConfig source = config_store(config), target = config_store(config);
    int64_t tables, rows;

    source.state = from;
    target.state = to;
    if (!store_copy(&source, &target, &tables, &rows, err))
        return false;
    printf("%s: %" PRId64 " tables, %" PRId64 " rows copied and verified\n"
           "next   set \"state = %s\" in [godwit] of every controller, then start them; keep %s as "
           "a backup or remove it\n",
           to, tables, rows, to, from);
    return true;
}

int
main(int argc, char **argv)
{
    g_autofree char *config_path = NULL;
    gboolean check = FALSE, version = FALSE;
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &config_path,
         "Configuration file (/etc/godwit/godwit.conf)", "FILE"},
        {"check", 0, 0, G_OPTION_ARG_NONE, &check,
         "Read the configuration, say what was found, and end", NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &version, "Print the version and end", NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(
        "[init | state copy FROM TO] - live migration of KVM instances, with the OpenStack APIs");
    g_autoptr(GError) error = NULL;
    Daemon daemon = {.stop_mutex = PTHREAD_MUTEX_INITIALIZER};
    bool ok = false, init, copy;

    mallopt(M_MMAP_THRESHOLD, MALLOC_MAP_ABOVE);
    setlocale(LC_ALL, "C.UTF-8");
    signal(SIGPIPE, SIG_IGN);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "godwitd: %s\n", error->message);
        return 2;
    }
    init = argc == 2 && strcmp(argv[1], "init") == 0;
    copy = argc == 5 && strcmp(argv[1], "state") == 0 && strcmp(argv[2], "copy") == 0;
    if (argc > 1 && !init && !copy) {
        fprintf(stderr, "godwitd: '%s' is not understood; see godwitd --help\n", argv[1]);
        return 2;
    }
    if (version) {
        printf("godwitd %s\n", GODWIT_VERSION);
        return 0;
    }
    fault_init_from_env();
    cond_init_monotonic(&daemon.stop_changed);
    if (!config_path)
        config_path = g_strdup("/etc/godwit/godwit.conf");
    daemon.config = config_load(config_path, &error);
    if (daemon.config) {
        log_set_level(daemon.config->log_level);
        if (check) {
            for (guint i = 0; i < daemon.config->notices->len; i++)
                printf("%s\n", (char *)g_ptr_array_index(daemon.config->notices, i));
            printf("%s is good\n", config_path);
            ok = true;
        } else {
            ok = init   ? init_run(daemon.config, &error)
                 : copy ? copy_state(daemon.config, argv[3], argv[4], &error)
                        : run(&daemon, &error);
        }
    }
    if (!init && !copy && !check)
        stop(&daemon);
    config_free(daemon.config);
    if (!ok)
        fprintf(stderr, "godwitd: %s\n", error ? error->message : "failed");
    g_clear_error(&error);
    g_clear_pointer(&config_path, g_free);
    g_clear_pointer(&context, g_option_context_free);
    end_process(ok ? 0 : 1);
}
