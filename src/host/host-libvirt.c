/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host-libvirt.c: the libvirt driver: connections, events, and libvirt's errors in our words
 *
 * libvirt's event loop runs on GLib's default main context, so the thread that iterates it delivers
 * every event and the loss of a connection. Calls come from other threads, each of which sees
 * libvirt's last error of its own.
 *
 * An event may still be on its way while its connection is being closed. Therefore a HostConn is
 * counted: the opener holds it, and so does each callback until libvirt frees it (on the loop,
 * later). `closed`, read and set under the lock that is held during every call upwards, makes sure
 * that nothing is delivered once close() has returned. */
#include "host/host-libvirt-priv.h"

#include "host/domain-xml.h"
#include <string.h>

/* a silent node is lost after 20 s: the interval, count + 1 times */
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT      3

/* ---- errors ----------------------------------------------------------------------------- */
static const struct {
    int vir;
    ErrCode code;
} error_table[] = {
    {VIR_ERR_NO_DOMAIN, ERR_NOT_FOUND},
    {VIR_ERR_NO_DOMAIN_METADATA, ERR_NOT_FOUND},
    {VIR_ERR_NO_STORAGE_POOL, ERR_NOT_FOUND},
    {VIR_ERR_NO_STORAGE_VOL, ERR_NOT_FOUND},
    {VIR_ERR_NO_NETWORK, ERR_NOT_FOUND},
    {VIR_ERR_DEVICE_MISSING, ERR_NOT_FOUND},
    {VIR_ERR_OPERATION_INVALID, ERR_CONFLICT},
    {VIR_ERR_DOM_EXIST, ERR_CONFLICT},
    {VIR_ERR_STORAGE_VOL_EXIST, ERR_CONFLICT},
    {VIR_ERR_RESOURCE_BUSY, ERR_BUSY},
    {VIR_ERR_INVALID_ARG, ERR_INVALID},
    {VIR_ERR_XML_ERROR, ERR_INVALID},
    {VIR_ERR_XML_DETAIL, ERR_INVALID},
    {VIR_ERR_XML_INVALID_SCHEMA, ERR_INVALID},
    {VIR_ERR_MIGRATE_UNSAFE, ERR_INVALID},
    {VIR_ERR_OPERATION_DENIED, ERR_FORBIDDEN},
    {VIR_ERR_ACCESS_DENIED, ERR_FORBIDDEN},
    {VIR_ERR_AUTH_FAILED, ERR_FORBIDDEN},
    {VIR_ERR_AUTH_CANCELLED, ERR_FORBIDDEN},
    {VIR_ERR_AUTH_UNAVAILABLE, ERR_FORBIDDEN},
    {VIR_ERR_NO_CONNECT, ERR_UNREACHABLE},
    {VIR_ERR_INVALID_CONN, ERR_UNREACHABLE},
    {VIR_ERR_RPC, ERR_UNREACHABLE},
    {VIR_ERR_OPERATION_TIMEOUT, ERR_TIMEOUT},
    {VIR_ERR_OPERATION_ABORTED, ERR_CANCELLED},
    {VIR_ERR_CPU_INCOMPATIBLE, ERR_UNSUPPORTED},
    {VIR_ERR_ARGUMENT_UNSUPPORTED, ERR_UNSUPPORTED},
    {VIR_ERR_CONFIG_UNSUPPORTED, ERR_UNSUPPORTED},
    {VIR_ERR_OPERATION_UNSUPPORTED, ERR_UNSUPPORTED},
    {VIR_ERR_NO_SUPPORT, ERR_UNSUPPORTED},
};

ErrCode
libvirt_error_code(const virError *error, bool alive)
{
    if (!error)
        return alive ? ERR_BACKEND : ERR_UNREACHABLE;
    for (size_t i = 0; i < G_N_ELEMENTS(error_table); i++) {
        if (error_table[i].vir == error->code)
            return error_table[i].code;
    }
    /* libvirt reports its own broken connection ("client socket is closed", "End of file …",
     * keepalive) with general codes */
    return alive ? ERR_BACKEND : ERR_UNREACHABLE;
}

int
libvirt_last_code(void)
{
    const virError *error = virGetLastError();
    return error ? error->code : VIR_ERR_OK;
}

bool
libvirt_error_set(HostConn *conn, GError **err, const char *format, ...)
{
    const virError *error = virGetLastError();
    g_autofree char *text =
        g_strdup(error && error->message ? error->message : "libvirt gave no reason");
    /* asking whether the connection stands may replace the last error: decide from a copy */
    virError copy = error ? *error : (virError){.code = VIR_ERR_OK};
    bool alive = conn->vir && virConnectIsAlive(conn->vir) == 1;
    va_list list;
    va_start(list, format);
    g_autofree char *what = g_strdup_vprintf(format, list);
    va_end(list);
    return err_set(err, libvirt_error_code(&copy, alive), "%s: cannot %s: %s", conn->host, what,
                   text);
}

static void
quiet(void *opaque, virErrorPtr error)
{
}

/* ---- events ----------------------------------------------------------------------------- */
HostConn *
libvirt_conn_ref(HostConn *conn)
{
    __atomic_add_fetch(&conn->refs, 1, __ATOMIC_RELAXED);
    return conn;
}

void
libvirt_conn_unref(void *opaque)
{
    HostConn *conn = opaque;
    if (__atomic_sub_fetch(&conn->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    pthread_mutex_destroy(&conn->lock);
    pthread_cond_destroy(&conn->changed);
    g_free(conn->host);
    g_free(conn->uri);
    g_free(conn);
}

static void
deliver(HostConn *conn, HostEvent *event)
{
    {
        WITH_MUTEX(&conn->lock);
        if (!conn->closed) {
            conn->on_event(event, conn->opaque);
            return;
        }
    }
    host_event_free(event);
}

static HostEvent *
event_new(HostConn *conn, virDomainPtr domain, HostEventKind kind)
{
    HostEvent *event = g_new0(HostEvent, 1);
    event->at = clock_monotonic();
    event->kind = kind;
    event->host = g_strdup(conn->host);
    char uuid[VIR_UUID_STRING_BUFLEN];
    if (virDomainGetUUIDString(domain, uuid) == 0)
        event->uuid = g_strdup(uuid);
    return event;
}

/* libvirt's (event, detail) → what changed; detail -1 stands for every other one. Not listed: of no
 * interest (the guest's own SHUTDOWN is followed by STOPPED). */
static const struct {
    int event, detail;
    DomainChange change;
    const char *text;
} lifecycle_table[] = {
    {VIR_DOMAIN_EVENT_DEFINED, -1, DOMAIN_DEFINED, NULL},
    {VIR_DOMAIN_EVENT_UNDEFINED, -1, DOMAIN_UNDEFINED, NULL},
    {VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED, DOMAIN_STARTED_INCOMING, NULL},
    {VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_RESTORED, DOMAIN_STARTED, "restored"},
    {VIR_DOMAIN_EVENT_STARTED, -1, DOMAIN_STARTED, NULL},
    {VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED, DOMAIN_SUSPENDED_MIGRATED,
     NULL},
    {VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY, DOMAIN_SUSPENDED_POSTCOPY,
     NULL},
    {VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED,
     DOMAIN_SUSPENDED_POSTCOPY, "post-copy failed"},
    {VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_IOERROR, DOMAIN_SUSPENDED,
     "disk I/O error"},
    {VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG, DOMAIN_SUSPENDED, "watchdog"},
    {VIR_DOMAIN_EVENT_SUSPENDED, -1, DOMAIN_SUSPENDED, NULL},
    {VIR_DOMAIN_EVENT_PMSUSPENDED, -1, DOMAIN_SUSPENDED, "suspended by the guest"},
    {VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED, DOMAIN_RESUMED_MIGRATED, NULL},
    {VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_POSTCOPY, DOMAIN_RESUMED_POSTCOPY, NULL},
    {VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_POSTCOPY_FAILED, DOMAIN_RESUMED_POSTCOPY,
     "post-copy failed"},
    {VIR_DOMAIN_EVENT_RESUMED, -1, DOMAIN_RESUMED, NULL},
    {VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, DOMAIN_STOPPED_SHUTDOWN, NULL},
    {VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_CRASHED, DOMAIN_STOPPED_CRASHED, NULL},
    {VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED, DOMAIN_STOPPED_MIGRATED, NULL},
    {VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_FAILED, DOMAIN_STOPPED_FAILED, NULL},
    {VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_SAVED, DOMAIN_STOPPED_SAVED, NULL},
    {VIR_DOMAIN_EVENT_STOPPED, -1, DOMAIN_STOPPED_DESTROYED, NULL},
    {VIR_DOMAIN_EVENT_CRASHED, -1, DOMAIN_STOPPED_CRASHED, "guest panicked"},
};

static int
on_lifecycle(virConnectPtr vir, virDomainPtr domain, int what, int detail, void *opaque)
{
    for (size_t i = 0; i < G_N_ELEMENTS(lifecycle_table); i++) {
        if (lifecycle_table[i].event != what ||
            (lifecycle_table[i].detail != -1 && lifecycle_table[i].detail != detail))
            continue;
        HostEvent *event = event_new(opaque, domain, HOST_EVENT_DOMAIN);
        event->change = lifecycle_table[i].change;
        event->text = g_strdup(lifecycle_table[i].text);
        deliver(opaque, event);
        break;
    }
    return 0;
}

static void
on_reboot(virConnectPtr vir, virDomainPtr domain, void *opaque)
{
    HostEvent *event = event_new(opaque, domain, HOST_EVENT_DOMAIN);
    event->change = DOMAIN_REBOOTED;
    deliver(opaque, event);
}

static void
on_iteration(virConnectPtr vir, virDomainPtr domain, int iteration, void *opaque)
{
    HostEvent *event = event_new(opaque, domain, HOST_EVENT_ITERATION);
    event->number = iteration;
    deliver(opaque, event);
}

static void
on_job_completed(virConnectPtr vir, virDomainPtr domain, virTypedParameterPtr params, int n,
                 void *opaque)
{
    HostEvent *event = event_new(opaque, domain, HOST_EVENT_JOB_COMPLETED);
    libvirt_stats_read(params, n, &event->stats);
    int success = 1;
    virTypedParamsGetBoolean(params, n, VIR_DOMAIN_JOB_SUCCESS, &success);
    event->stats.completed = success != 0;
    event->stats.failed = !success;
    const char *message = NULL;
    if (virTypedParamsGetString(params, n, VIR_DOMAIN_JOB_ERRMSG, &message) == 1)
        event->text = g_strdup(message);
    deliver(opaque, event);
}

static void
on_connection_closed(virConnectPtr vir, int reason, void *opaque)
{
    HostConn *conn = opaque;
    const char *why = reason == VIR_CONNECT_CLOSE_REASON_KEEPALIVE
                          ? "it did not answer libvirt's keepalive"
                      : reason == VIR_CONNECT_CLOSE_REASON_EOF    ? "it closed the connection"
                      : reason == VIR_CONNECT_CLOSE_REASON_CLIENT ? "the connection was closed here"
                                                                  : "the connection broke";
    WITH_MUTEX(&conn->lock);
    if (conn->closed || conn->lost)
        return;
    conn->lost = true;
    pthread_cond_broadcast(&conn->changed);
    if (conn->on_closed)
        conn->on_closed(why, conn->opaque);
}

/* ---- connections ------------------------------------------------------------------------ */
static void
conn_close(HostConn *conn)
{
    if (!conn)
        return;
    {
        WITH_MUTEX(&conn->lock);
        conn->closed = true;
    }
    for (int i = 0; i < LIBVIRT_EVENTS; i++) {
        if (conn->events[i] >= 0)
            virConnectDomainEventDeregisterAny(conn->vir, conn->events[i]);
    }
    if (conn->close_registered)
        virConnectUnregisterCloseCallback(conn->vir, on_connection_closed);
    if (conn->vir)
        virConnectClose(conn->vir);
    conn->vir = NULL;
    libvirt_conn_unref(conn);
}

static bool
conn_register(HostConn *conn)
{
    static const struct {
        int id;
        virConnectDomainEventGenericCallback fn;
    } wanted[LIBVIRT_EVENTS] = {
        {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle)},
        {VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(on_reboot)},
        {VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, VIR_DOMAIN_EVENT_CALLBACK(on_iteration)},
        {VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job_completed)},
    };
    if (virConnectRegisterCloseCallback(conn->vir, on_connection_closed, libvirt_conn_ref(conn),
                                        libvirt_conn_unref) < 0) {
        libvirt_conn_unref(conn); /* libvirt does not call the free function of what it refused */
        return false;
    }
    conn->close_registered = true;
    for (int i = 0; conn->on_event && i < LIBVIRT_EVENTS; i++) {
        conn->events[i] =
            virConnectDomainEventRegisterAny(conn->vir, NULL, wanted[i].id, wanted[i].fn,
                                             libvirt_conn_ref(conn), libvirt_conn_unref);
        if (conn->events[i] < 0) {
            libvirt_conn_unref(conn);
            return false;
        }
    }
    return virConnectIsAlive(conn->vir) == 1;
}

/* A daemon has nobody to ask for a password: ssh shall fail at once instead of looking for a
 * terminal. */
static char *
uri_without_terminal(const char *uri)
{
    if (!g_str_has_prefix(uri, "qemu+ssh:") || strstr(uri, "no_tty="))
        return g_strdup(uri);
    return g_strconcat(uri, strchr(uri, '?') ? "&" : "?", "no_tty=1", NULL);
}

static HostConn *
conn_open(HostDriver *driver, const char *host, const char *uri, HostEventFn on_event,
          void (*on_closed)(const char *why, void *opaque), void *opaque, GError **err)
{
    HostConn *conn = g_new0(HostConn, 1);
    conn->refs = 1;
    conn->host = g_strdup(host);
    conn->uri = g_strdup(uri);
    conn->on_event = on_event;
    conn->on_closed = on_closed;
    conn->opaque = opaque;
    pthread_mutex_init(&conn->lock, NULL);
    cond_init_monotonic(&conn->changed);
    for (int i = 0; i < LIBVIRT_EVENTS; i++)
        conn->events[i] = -1;
    g_autofree char *opened = uri_without_terminal(uri);
    /* The connections for work follow one that has just been made. */
    if (on_event && !libvirt_knock(uri, err)) {
        conn_close(conn);
        return NULL;
    }
    virResetLastError();
    conn->vir = virConnectOpen(opened);
    /* a transport without keepalive (a local socket) answers 1, which is no error */
    if (!conn->vir ||
        virConnectSetKeepAlive(conn->vir, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT) < 0 ||
        !conn_register(conn)) {
        libvirt_error_set(conn, err, "connect to %s", uri);
        conn_close(conn);
        return NULL;
    }
    return conn;
}

bool
host_libvirt_init(GError **err)
{
    xml_init();
    virSetErrorFunc(NULL, quiet); /* by default libvirt prints every error on stderr */
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
        return err_set(err, ERR_BACKEND, "cannot initialise libvirt: %s", virGetLastErrorMessage());
    return true;
}

const HostOps host_libvirt_ops = {
    .name = "libvirt",
    .open = conn_open,
    .close = conn_close,
    .facts = libvirt_facts,
    .domains = libvirt_domains,
    .domain_probe = libvirt_domain_probe,
    .job_stats = libvirt_job_stats,
    .job_abort = libvirt_job_abort,
    .set_downtime = libvirt_set_downtime,
    .set_bandwidth = libvirt_set_bandwidth,
    .migrate_postcopy = libvirt_migrate_postcopy,
    .pause = libvirt_pause,
    .resume = libvirt_resume,
    .domain_shutdown = libvirt_domain_shutdown,
    .domain_reboot = libvirt_domain_reboot,
    .domain_start = libvirt_domain_start,
    .domain_save = libvirt_domain_save,
    .domain_restore = libvirt_domain_restore,
    .domain_define = libvirt_domain_define,
    .domain_destroy = libvirt_domain_destroy,
    .domain_undefine = libvirt_domain_undefine,
    .migrate = libvirt_migrate,
    .cpu_choose = libvirt_cpu_choose,
    .domain_cpu = libvirt_domain_cpu,
    .cpu_compare = libvirt_cpu_compare,
    .file_read = libvirt_file_read,
    .file_write = libvirt_file_write,
    .file_delete = libvirt_file_delete,
    .secret_define = libvirt_secret_define,
    .disk_probe = libvirt_disk_probe,
    .disk_attach = libvirt_disk_attach,
    .disk_detach = libvirt_disk_detach,
    .disk_serials = libvirt_disk_serials,
    .disk_resize = libvirt_disk_resize,
    .directory_make = libvirt_directory_make,
    .file_system = libvirt_file_system,
};
