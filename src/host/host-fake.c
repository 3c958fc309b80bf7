/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host-fake.c: the fake hypervisor driver, for determinism: HostOps over the shared world of
 * fake-world.c
 *
 * One pump thread per process and world reads the world's events and hands them to the connections
 * that are open in this process; it sleeps until something is due or happens. Callbacks are made
 * under the pump's mutex, so after close none comes. Files are real files under the path given. */
#include "host/fake-world.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SHUTDOWN_US (2 * USEC_PER_MSEC)
enum {
    EVENTS_AT_ONCE = 128
};

struct HostDriver {
    FakeWorld *world;
    pthread_mutex_t mutex; /* guards what follows; taken before the world's */
    unsigned refs;         /* the owner, each connection, the pump */
    GPtrArray *conns;
    bool pumping;
    uint64_t next_event;
};

struct HostConn {
    HostDriver *driver;
    int node;
    char *host;
    HostEventFn on_event;
    void (*on_closed)(const char *why, void *opaque);
    void *opaque;
    int64_t outage;       /* of the node, at open */
    uint64_t first_event; /* events before it are not this connection's */
    bool closed;          /* on_closed was called */
};

/* ---- the driver's state -----------------------------------------------------------------------
 */

HostDriver *
host_fake_world_new(int n_nodes)
{
    HostDriver *driver = g_new0(HostDriver, 1);
    driver->world = fake_world_map(n_nodes);
    driver->refs = 1;
    driver->conns = g_ptr_array_new();
    pthread_mutex_init(&driver->mutex, NULL);
    return driver;
}

/* With the driver's mutex, which it gives back. */
static void
driver_unref_unlock(HostDriver *driver)
{
    bool last = --driver->refs == 0;
    pthread_mutex_unlock(&driver->mutex);
    if (!last)
        return;
    fake_world_unmap(driver->world);
    g_ptr_array_unref(driver->conns);
    pthread_mutex_destroy(&driver->mutex);
    g_free(driver);
}

void
host_fake_world_free(HostDriver *driver)
{
    if (driver == NULL)
        return;
    pthread_mutex_lock(&driver->mutex);
    driver_unref_unlock(driver);
}

void
host_fake_set_fault(HostDriver *driver, int node, FakeFault fault)
{
    g_assert(node >= 1 && node <= driver->world->head.n_nodes);
    fake_world_lock(driver->world, NULL);
    fake_node_fault(driver->world, node, fault);
    fake_world_unlock(driver->world);
}

void
host_fake_set_timing(HostDriver *driver, int64_t transfer_us, int64_t teardown_us)
{
    fake_world_lock(driver->world, NULL);
    FakeHead *head = &driver->world->head;
    fake_world_touch(driver->world, head, sizeof *head);
    head->transfer_us = MAX(transfer_us, 1);
    head->teardown_us = MAX(teardown_us, 0);
    fake_world_unlock(driver->world);
}

int
host_fake_running_count(HostDriver *driver, const char *uuid)
{
    int count = 0;
    fake_world_lock(driver->world, NULL);
    for (int node = 1; node <= driver->world->head.n_nodes; node++) {
        const FakeDomain *domain = fake_domain_find(driver->world, node, uuid);
        if (domain != NULL && (domain->state == DOMAIN_RUNNING || domain->state == DOMAIN_PAUSED))
            count++;
    }
    fake_world_unlock(driver->world);
    return count;
}

int
host_fake_domain_count(HostDriver *driver)
{
    int count = 0;
    fake_world_lock(driver->world, NULL);
    for (int i = 0; i < driver->world->head.domains_used; i++)
        if (driver->world->domains[i].node != 0)
            count++;
    fake_world_unlock(driver->world);
    return count;
}

/* ---- connections and the pump -----------------------------------------------------------------
 */

static bool
conn_is_alive(const HostConn *conn)
{
    const FakeWorld *world = conn->driver->world;
    return fake_node_is_reachable(world, conn->node) &&
           world->head.outages[conn->node] == conn->outage;
}

static HostEvent *
event_make(const FakeEvent *from, const char *host)
{
    HostEvent *event = g_new0(HostEvent, 1);
    event->kind = from->kind;
    event->host = g_strdup(host);
    event->uuid = g_strdup(from->uuid);
    event->change = from->change;
    event->number = from->number;
    event->stats = from->stats;
    event->at = from->at;
    return event;
}

/* One round: hand on at most EVENTS_AT_ONCE events and the losses of connections. With the driver's
 * mutex. Returns when to look again. */
static int64_t
pump_round(HostDriver *driver)
{
    FakeWorld *world = driver->world;
    FakeEvent batch[EVENTS_AT_ONCE];
    unsigned n = 0;
    int64_t due;

    fake_world_lock(world, &due);
    uint64_t first = driver->next_event;
    bool overrun = world->head.events - first > FAKE_EVENTS_MOST;
    if (overrun)
        first = world->head.events;
    while (n < EVENTS_AT_ONCE && first + n < world->head.events) {
        batch[n] = world->events[(first + n) % FAKE_EVENTS_MOST];
        n++;
    }
    driver->next_event = first + n;
    if (driver->next_event < world->head.events)
        due = 0;
    g_autofree bool *lost = g_new(bool, driver->conns->len);
    for (unsigned i = 0; i < driver->conns->len; i++)
        lost[i] = overrun || !conn_is_alive(driver->conns->pdata[i]);
    fake_world_unlock(world);

    /* In the order of the world, also between nodes. */
    for (unsigned e = 0; e < n; e++)
        for (unsigned i = 0; i < driver->conns->len; i++) {
            const HostConn *conn = driver->conns->pdata[i];
            if (conn->on_event != NULL && !conn->closed && batch[e].node == conn->node &&
                first + e >= conn->first_event)
                conn->on_event(event_make(&batch[e], conn->host), conn->opaque);
        }
    for (unsigned i = 0; i < driver->conns->len; i++) {
        HostConn *conn = driver->conns->pdata[i];
        if (!lost[i] || conn->closed)
            continue;
        conn->closed = true;
        conn->on_closed(overrun ? "events were lost" : "the node does not answer", conn->opaque);
    }
    return due;
}

static void
pump_thread(void *opaque)
{
    HostDriver *driver = opaque;
    pthread_mutex_lock(&driver->mutex);
    while (driver->conns->len > 0) {
        unsigned bell = atomic_load(&driver->world->bell);
        int64_t due = pump_round(driver);
        pthread_mutex_unlock(&driver->mutex);
        fake_world_wait(driver->world, bell, due);
        pthread_mutex_lock(&driver->mutex);
    }
    driver->pumping = false;
    driver_unref_unlock(driver);
}

/* The node that a URI means: the number at the end of its host part. 0: none of this world. */
static int
uri_node(const FakeWorld *world, const char *uri)
{
    const char *host = strstr(uri, "://");
    host = host != NULL ? host + 3 : uri;
    size_t length = strcspn(host, "/:?");
    size_t digits = length;
    while (digits > 0 && g_ascii_isdigit(host[digits - 1]))
        digits--;
    g_autofree char *text = g_strndup(host + digits, length - digits);
    int64_t number;
    return parse_int64(text, 1, world->head.n_nodes, &number) ? (int)number : 0;
}

static HostConn *
fake_open(HostDriver *driver, const char *host, const char *uri, HostEventFn on_event,
          void (*on_closed)(const char *why, void *opaque), void *opaque, GError **err)
{
    FakeWorld *world = driver->world;
    int node = uri_node(world, uri);
    if (node == 0) {
        err_set(err, ERR_UNREACHABLE, "cannot connect to %s: there is no such node", uri);
        return NULL;
    }
    HostConn *conn = g_new0(HostConn, 1);
    *conn = (HostConn){.driver = driver,
                       .node = node,
                       .on_event = on_event,
                       .on_closed = on_closed,
                       .opaque = opaque};
    WITH_MUTEX(&driver->mutex);
    fake_world_lock(world, NULL);
    bool reachable = fake_node_is_reachable(world, node);
    conn->outage = world->head.outages[node];
    conn->first_event = world->head.events;
    if (!driver->pumping)
        driver->next_event = world->head.events;
    fake_world_ring(world);
    fake_world_unlock(world);
    if (!reachable) {
        g_free(conn);
        err_set(err, ERR_UNREACHABLE, "cannot connect to %s: no route to host", uri);
        return NULL;
    }
    conn->host = g_strdup(host);
    driver->refs++;
    g_ptr_array_add(driver->conns, conn);
    if (!driver->pumping) {
        driver->pumping = true;
        driver->refs++;
        thread_start_detached("fake-pump", pump_thread, driver);
    }
    return conn;
}

static void
fake_close(HostConn *conn)
{
    HostDriver *driver = conn->driver;
    pthread_mutex_lock(&driver->mutex);
    g_ptr_array_remove(driver->conns, conn);
    fake_world_lock(driver->world, NULL);
    fake_world_ring(driver->world);
    fake_world_unlock(driver->world);
    driver_unref_unlock(driver);
    g_free(conn->host);
    g_free(conn);
}

FakeWorld *
fake_enter(HostConn *conn, GError **err)
{
    FakeWorld *world = conn->driver->world;
    fake_world_lock(world, NULL);
    if (conn_is_alive(conn))
        return world;
    fake_world_unlock(world);
    err_set(err, ERR_UNREACHABLE, "the connection to %s is closed: the node does not answer",
            conn->host);
    return NULL;
}

bool
fake_leave(FakeWorld *world, bool result)
{
    fake_world_unlock(world);
    return result;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static HostFacts *
fake_facts(HostConn *conn, const char *virt_type, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return NULL;
    fake_world_unlock(world);
    HostFacts *facts = g_new0(HostFacts, 1);
    facts->hostname = g_strdup_printf("host%d", conn->node);
    facts->libvirt_uuid = g_strdup_printf("f00d0000-0000-4000-8000-%012d", conn->node);
    facts->vcpus = 32;
    facts->memory_mb = 65536;
    facts->cpu_info = g_strdup_printf("{\"arch\":\"x86_64\",\"model\":\"%s\",\"vendor\":\"Intel\","
                                      "\"topology\":{\"sockets\":1,\"cores\":32,\"threads\":1},"
                                      "\"features\":[]}",
                                      conn->node % 2 == 1 ? "Westmere" : "Nehalem");
    facts->hypervisor_cpu = fake_cpu_of_node(conn->node);
    facts->cpu_models = fake_cpu_models(conn->node);
    facts->virt_type = g_strdup(virt_type != NULL && *virt_type != '\0' ? virt_type : "qemu");
    facts->libvirt_version = 9000000;
    facts->qemu_version = 7002000;
    facts->max_client_requests = 5;
    facts->encryption = g_strdup("plaintext");
    return facts;
}

static DomainInfo *
info_make(FakeWorld *world, const FakeDomain *domain)
{
    DomainInfo *info = g_new0(DomainInfo, 1);
    info->uuid = g_strdup(domain->uuid);
    info->name = g_strdup(domain->name);
    info->state = domain->state;
    info->persistent = domain->persistent;
    info->job_active = domain->move > 0;
    info->ours = true;
    const FakeMove *move = fake_move_of(world, domain);
    info->postcopy = domain->postcopy_lost || (move != NULL && move->phase == FAKE_MOVE_POSTCOPY &&
                                               move->source == domain->node);
    info->saved = domain->state == DOMAIN_SHUTOFF && domain->saved;
    info->never_ran = domain->state == DOMAIN_SHUTOFF && !domain->ran;
    return info;
}

static void
info_destroy(void *info)
{
    domain_info_free(info);
}

static GPtrArray *
fake_domains(HostConn *conn, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return NULL;
    GPtrArray *infos = g_ptr_array_new_with_free_func(info_destroy);
    for (int i = 0; i < world->head.domains_used; i++)
        if (world->domains[i].node == conn->node)
            g_ptr_array_add(infos, info_make(world, &world->domains[i]));
    fake_world_unlock(world);
    return infos;
}

static DomainInfo *
fake_domain_probe(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return NULL;
    FakeDomain absent = {.state = DOMAIN_ABSENT};
    g_strlcpy(absent.uuid, uuid, sizeof absent.uuid);
    const FakeDomain *domain = fake_domain_find(world, conn->node, uuid);
    DomainInfo *info = info_make(world, domain != NULL ? domain : &absent);
    if (domain == NULL) {
        info->ours = false;
        g_clear_pointer(&info->name, g_free);
    }
    fake_world_unlock(world);
    return info;
}

FakeDomain *
fake_need_domain(HostConn *conn, FakeWorld *world, const char *uuid, GError **err)
{
    FakeDomain *domain = fake_domain_find(world, conn->node, uuid);
    if (domain == NULL) {
        fake_world_unlock(world);
        err_set(err, ERR_NOT_FOUND, "%s knows no domain %s", conn->host, uuid);
    }
    return domain;
}

static bool
fake_job_stats(HostConn *conn, const char *uuid, bool completed, JobStats *stats, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    const FakeDomain *domain = fake_need_domain(conn, world, uuid, err);
    if (domain == NULL)
        return false;
    const FakeMove *move =
        completed ? fake_move_completed(world, conn->node, uuid) : fake_move_of(world, domain);
    *stats = (JobStats){
        .elapsed_ms = -1, .downtime_ms = -1, .setup_ms = -1, .auto_converge_throttle = -1};
    if (move != NULL)
        fake_move_stats(move, clock_monotonic(), stats);
    return fake_leave(world, true);
}

static char *
fake_domain_cpu(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return NULL;
    const FakeDomain *domain = fake_need_domain(conn, world, uuid, err);
    if (domain == NULL)
        return NULL;
    char *cpu = NULL;
    if (domain->state == DOMAIN_SHUTOFF)
        err_set(err, ERR_CONFLICT, "domain %s is not running on %s", uuid, conn->host);
    else
        cpu = g_strdup(domain->cpu);
    fake_world_unlock(world);
    return cpu;
}

/* ---- steering ---------------------------------------------------------------------------------
 */

/* The domain with its QEMU running, or an error with the world unlocked. */
static FakeDomain *
need_running(HostConn *conn, FakeWorld *world, const char *uuid, GError **err)
{
    FakeDomain *domain = fake_need_domain(conn, world, uuid, err);
    if (domain == NULL || domain->state != DOMAIN_SHUTOFF)
        return domain;
    fake_world_unlock(world);
    err_set(err, ERR_CONFLICT, "domain %s is not running on %s", uuid, conn->host);
    return NULL;
}

static bool
fake_job_abort(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *domain = fake_domain_find(world, conn->node, uuid);
    FakeMove *move = domain != NULL ? fake_move_of(world, domain) : NULL;
    if (move == NULL)
        return fake_leave(world, true);
    if (move->dest == conn->node && move->phase != FAKE_MOVE_TEARDOWN)
        return fake_leave(
            world, err_set(err, ERR_CONFLICT, "an incoming migration is aborted on its source"));
    if (move->phase == FAKE_MOVE_POSTCOPY)
        return fake_leave(world,
                          err_set(err, ERR_CONFLICT, "a migration in post-copy cannot be aborted"));
    fake_move_abort(world, move);
    return fake_leave(world, true);
}

static bool
fake_set_downtime(HostConn *conn, const char *uuid, int64_t ms, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    const FakeDomain *domain = need_running(conn, world, uuid, err);
    if (domain == NULL)
        return false;
    FakeMove *move = fake_move_of(world, domain);
    if (move != NULL) {
        fake_world_touch(world, move, sizeof *move);
        move->downtime_limit_ms = ms;
    }
    return fake_leave(world, true);
}

static bool
fake_set_bandwidth(HostConn *conn, const char *uuid, int64_t mib_s, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    const FakeDomain *domain = need_running(conn, world, uuid, err);
    if (domain == NULL)
        return false;
    FakeMove *move = fake_move_of(world, domain);
    if (move != NULL) {
        fake_world_touch(world, move, sizeof *move);
        move->bandwidth_mib_s = mib_s;
    }
    return fake_leave(world, true);
}

static bool
fake_pause(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *domain = need_running(conn, world, uuid, err);
    if (domain == NULL)
        return false;
    FakeMove *move = fake_move_of(world, domain);
    if (domain->state == DOMAIN_RUNNING && move != NULL && move->source == conn->node) {
        /* As libvirt does: it hastens the move, and the guest runs on when that is over. */
        fake_domain_set_state(world, domain, DOMAIN_PAUSED_MIGRATED);
        fake_domain_event(world, domain, DOMAIN_SUSPENDED_MIGRATED);
        fake_move_hurry(world, move);
    } else if (domain->state == DOMAIN_RUNNING) {
        fake_domain_set_state(world, domain, DOMAIN_PAUSED);
        fake_domain_event(world, domain, DOMAIN_SUSPENDED);
    }
    return fake_leave(world, true);
}

static bool
fake_resume(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *domain = need_running(conn, world, uuid, err);
    if (domain == NULL)
        return false;
    if (domain->state == DOMAIN_PAUSED_INCOMING || domain->state == DOMAIN_PAUSED_MIGRATED)
        return fake_leave(world,
                          err_set(err, ERR_CONFLICT, "domain %s on %s is paused by a migration",
                                  uuid, conn->host));
    if (domain->state == DOMAIN_PAUSED) {
        fake_domain_set_state(world, domain, DOMAIN_RUNNING);
        fake_domain_event(world, domain, DOMAIN_RESUMED);
    }
    return fake_leave(world, true);
}

static bool
fake_domain_shutdown(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *domain = fake_domain_find(world, conn->node, uuid);
    if (domain != NULL && domain->state == DOMAIN_RUNNING)
        fake_domain_shut_down_at(world, domain, clock_monotonic() + SHUTDOWN_US);
    return fake_leave(world, true);
}

static bool
fake_domain_reboot(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    const FakeDomain *domain = need_running(conn, world, uuid, err);
    if (domain == NULL)
        return false;
    if (domain->state == DOMAIN_RUNNING)
        fake_domain_event(world, domain, DOMAIN_REBOOTED);
    return fake_leave(world, true);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static FakeDomain *
define(HostConn *conn, FakeWorld *world, const ServerSpec *spec, GError **err)
{
    if (!fake_disks_check(spec, err))
        return NULL;
    FakeDomain *domain = fake_domain_find(world, conn->node, spec->uuid);
    if (domain == NULL)
        domain = fake_domain_add(world, conn->node, spec->uuid);
    if (domain == NULL) {
        err_set(err, ERR_BUSY, "the fake world is full");
        return NULL;
    }
    fake_world_touch(world, domain, sizeof *domain);
    domain->persistent = true;
    if (domain->state == DOMAIN_SHUTOFF) {
        g_strlcpy(domain->name, spec->domain_name, sizeof domain->name);
        g_strlcpy(domain->machine,
                  g_strcmp0(spec->machine, "pc") == 0 ? "pc-i440fx-7.2" : spec->machine,
                  sizeof domain->machine);
        g_strlcpy(domain->cpu,
                  spec->cpu_xml != NULL && *spec->cpu_xml != '\0'
                      ? spec->cpu_xml
                      : "<cpu mode='custom'><model fallback='forbid'>qemu64</model></cpu>",
                  sizeof domain->cpu);
    }
    fake_disks_define(domain, spec);
    fake_domain_event(world, domain, DOMAIN_DEFINED);
    return domain;
}

static bool
fake_domain_define(HostConn *conn, const ServerSpec *spec, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    return fake_leave(world, define(conn, world, spec, err) != NULL);
}

static bool
fake_domain_start(HostConn *conn, const ServerSpec *spec, char **machine_out, char **cpu_out,
                  GError **err)
{
    if (spec->cpu_xml != NULL && strlen(spec->cpu_xml) >= FAKE_CPU_MOST)
        return err_set(err, ERR_INVALID, "the CPU element is longer than %d bytes", FAKE_CPU_MOST);
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *domain = fake_domain_find(world, conn->node, spec->uuid);
    if (domain != NULL &&
        (domain->state == DOMAIN_PAUSED_INCOMING || domain->state == DOMAIN_PAUSED_MIGRATED))
        return fake_leave(world,
                          err_set(err, ERR_CONFLICT, "domain %s on %s takes part in a migration",
                                  spec->uuid, conn->host));
    if (domain == NULL || domain->state == DOMAIN_SHUTOFF) {
        domain = define(conn, world, spec, err);
        if (domain == NULL)
            return fake_leave(world, false);
        if (world->head.faults[conn->node] == FAKE_START_FAILS)
            return fake_leave(world,
                              err_set(err, ERR_BACKEND,
                                      "internal error: process exited while connecting to monitor "
                                      "(fault of the fake)"));
        if (world->head.faults[conn->node] == FAKE_CPU_INCOMPATIBLE)
            return fake_leave(world, err_set(err, ERR_UNSUPPORTED,
                                             "guest CPU does not match the host's: "
                                             "missing features: avx (fault of the fake)"));
        fake_domain_set_state(world, domain, DOMAIN_RUNNING);
        domain->saved = false; /* a boot */
        fake_disks_start(domain);
        fake_domain_event(world, domain,
                          DOMAIN_RESUMED); /* so does libvirt: it starts QEMU paused */
        fake_domain_event(world, domain, DOMAIN_STARTED);
    }
    if (machine_out != NULL)
        *machine_out = g_strdup(domain->machine);
    if (cpu_out != NULL)
        *cpu_out = g_strdup(domain->cpu);
    return fake_leave(world, true);
}

static bool
fake_destroy(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *domain = fake_domain_find(world, conn->node, uuid);
    if (domain != NULL)
        fake_domain_destroy(world, domain);
    return fake_leave(world, true);
}

static bool
fake_domain_undefine(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *domain = fake_domain_find(world, conn->node, uuid);
    if (domain == NULL)
        return fake_leave(world, true);
    if (domain->state != DOMAIN_SHUTOFF)
        return fake_leave(world,
                          err_set(err, ERR_CONFLICT, "domain %s runs on %s", uuid, conn->host));
    fake_domain_event(world, domain, DOMAIN_UNDEFINED);
    fake_domain_remove(world, domain);
    return fake_leave(world, true);
}

/* ---- moving -----------------------------------------------------------------------------------
 */

static FakeMove *
start_move(HostConn *conn, FakeWorld *world, FakeDomain *source, const MoveSpec *spec, GError **err)
{
    int dest = uri_node(world, spec->dest_uri);
    if (dest == 0 || world->head.faults[dest] == FAKE_NODE_DOWN) {
        /* It is the source that cannot reach it: this call is answered, and nothing happened. */
        err_set(err, ERR_BACKEND, "%s cannot connect to %s", conn->host, spec->dest_uri);
        return NULL;
    }
    if (dest == conn->node) {
        err_set(err, ERR_INVALID, "%s cannot move domain %s to itself", conn->host, spec->uuid);
        return NULL;
    }
    const FakeDomain *there = fake_domain_find(world, dest, spec->uuid);
    if (source->move > 0 || source->state == DOMAIN_PAUSED_INCOMING) {
        err_set(err, ERR_CONFLICT, "domain %s is being moved already", spec->uuid);
        return NULL;
    }
    if (there != NULL && there->state != DOMAIN_SHUTOFF) {
        err_set(err, ERR_CONFLICT, "domain %s runs on the destination already", spec->uuid);
        return NULL;
    }
    if (world->head.faults[dest] == FAKE_CPU_INCOMPATIBLE) {
        err_set(err, ERR_UNSUPPORTED,
                "guest CPU does not match the destination's: missing features: avx (fault of the "
                "fake)");
        return NULL;
    }
    if (!fake_cpu_compare(dest, source->cpu, err))
        return NULL;
    return fake_move_start(world, source, dest, spec, err);
}

static bool
fake_migrate(HostConn *conn, const MoveSpec *spec, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *source = need_running(conn, world, spec->uuid, err);
    if (source == NULL)
        return false;
    const FakeMove *move = start_move(conn, world, source, spec, err);
    int64_t id = move != NULL ? move->id : 0;
    fake_world_ring(world);
    fake_world_unlock(world);

    bool ok = false;
    while (move != NULL) {
        unsigned bell = atomic_load(&world->bell);
        int64_t due;
        fake_world_lock(world, &due);
        bool alive = conn_is_alive(conn);
        bool known =
            move->id == id; /* else its slot serves another move by now: it ended long ago */
        FakeMove now = *move;
        fake_world_unlock(world);
        if (known && now.phase == FAKE_MOVE_ENDED) {
            ok = now.code == 0 || err_set(err, (ErrCode)now.code, "%s", now.message);
            break;
        }
        if (!alive || !known) {
            ok = err_set(err, ERR_UNREACHABLE,
                         "the connection to %s is closed; the migration may run on", conn->host);
            break;
        }
        fake_world_wait(world, bell, due);
    }
    return ok;
}

/* ---- CPU --------------------------------------------------------------------------------------
 */

static char *
fake_choose(HostConn *conn, const LibvirtSettings *settings, const char *const *host_names,
            const char *const *hypervisor_cpus, size_t n, char **limit_out, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return NULL;
    fake_world_unlock(world);
    return fake_cpu_choose(settings, host_names, hypervisor_cpus, n, limit_out, err);
}

static bool
fake_compare(HostConn *conn, const char *cpu_xml, const char *virt_type, const char *machine,
             GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    bool refused = world->head.faults[conn->node] == FAKE_CPU_INCOMPATIBLE;
    fake_world_unlock(world);
    if (refused)
        return err_set(
            err, ERR_UNSUPPORTED,
            "the hypervisor of %s cannot give this CPU; missing features: avx (fault of the fake)",
            conn->host);
    return fake_cpu_compare(conn->node, cpu_xml, err);
}

/* ---- files ------------------------------------------------------------------------------------
 */

int
fake_conn_node(const HostConn *conn)
{
    return conn->node;
}

static bool
files_enter(HostConn *conn, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    return world != NULL && fake_leave(world, true);
}

static bool
fail_errno(GError **err, const char *what, const char *path)
{
    return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_BACKEND, "cannot %s %s: %s", what,
                   path, errno_text(errno));
}

static bool
fake_file_read(HostConn *conn, const char *path, int64_t offset, int64_t most, GString *contents,
               GError **err)
{
    if (!files_enter(conn, err))
        return false;
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(err, "read", path);
    if (offset < 0)
        offset = MAX(0, (int64_t)lseek(fd, 0, SEEK_END) + offset);
    char buffer[8192];
    while (most > 0) {
        ssize_t got = pread(fd, buffer, (size_t)MIN(most, (int64_t)sizeof buffer), offset);
        if (got < 0)
            return fail_errno(err, "read", path);
        if (got == 0)
            break;
        g_string_append_len(contents, buffer, got);
        offset += got;
        most -= got;
    }
    return true;
}

static bool
fake_file_write(HostConn *conn, const char *path, const char *contents, size_t size, GError **err)
{
    return files_enter(conn, err) && file_write_atomically(path, contents, size, 0644, err);
}

static bool
fake_file_delete(HostConn *conn, const char *path, GError **err)
{
    if (!files_enter(conn, err))
        return false;
    return unlink(path) == 0 || errno == ENOENT || fail_errno(err, "delete", path);
}

static bool
fake_file_system(HostConn *conn, const char *path, int64_t *total, int64_t *free_bytes,
                 GError **err)
{
    struct statvfs stats;
    g_autofree char *directory = g_path_get_dirname(path);
    if (!files_enter(conn, err))
        return false;
    if (statvfs(directory, &stats) != 0)
        return fail_errno(err, "look at", directory);
    *total = (int64_t)(stats.f_blocks * stats.f_frsize);
    *free_bytes = (int64_t)(stats.f_bavail * stats.f_frsize);
    return true;
}

static bool
fake_directory_make(HostConn *conn, const char *path, GError **err)
{
    if (!files_enter(conn, err))
        return false;
    return mkdir(path, 0711) == 0 || errno == EEXIST || fail_errno(err, "make", path);
}

const HostOps host_fake_ops = {
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .facts = fake_facts,
    .domains = fake_domains,
    .domain_probe = fake_domain_probe,
    .job_stats = fake_job_stats,
    .job_abort = fake_job_abort,
    .set_downtime = fake_set_downtime,
    .set_bandwidth = fake_set_bandwidth,
    .migrate_postcopy = fake_migrate_postcopy,
    .pause = fake_pause,
    .resume = fake_resume,
    .domain_shutdown = fake_domain_shutdown,
    .domain_reboot = fake_domain_reboot,
    .domain_start = fake_domain_start,
    .domain_save = fake_domain_save,
    .domain_restore = fake_domain_restore,
    .domain_define = fake_domain_define,
    .domain_destroy = fake_destroy,
    .domain_undefine = fake_domain_undefine,
    .migrate = fake_migrate,
    .cpu_choose = fake_choose,
    .domain_cpu = fake_domain_cpu,
    .cpu_compare = fake_compare,
    .file_read = fake_file_read,
    .file_write = fake_file_write,
    .file_delete = fake_file_delete,
    .secret_define = fake_secret_define,
    .disk_probe = fake_disk_probe,
    .disk_attach = fake_disk_attach,
    .disk_detach = fake_disk_detach,
    .disk_serials = fake_disk_serials,
    .disk_resize = fake_disk_resize,
    .directory_make = fake_directory_make,
    .file_system = fake_file_system,
};
