/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host-calls.c: the operations of HostOps, typed, over host_call.
 *
 * A call that is left behind at its deadline outlives its caller, so arguments are copied and
 * results land in a Call that the caller and the job hold together; only after a success does the
 * caller take results out of it. */
#include "host/host.h"

#include <stdatomic.h>
#include <string.h>

typedef struct Call {
    atomic_uint refs;
    /* arguments */
    char *text; /* uuid, path or CPU */
    char *virt_type, *machine, *usage, *serial;
    ServerSpec *spec;
    LibvirtSettings *settings;
    char **host_names, **hypervisor_cpus;
    size_t n;
    int64_t number, most;
    bool flag;
    bool confidential; /* contents are overwritten before they are freed */
    DiskSpec disk;
    /* results, and of file_write the contents */
    HostFacts *facts;
    GPtrArray *domains, *serials;
    DomainInfo *info;
    JobStats stats;
    char *first, *second;
    GString *contents;
    int64_t total, free_bytes;
} Call;

/* Only what cpu_choose reads. */
static LibvirtSettings *
settings_copy(const LibvirtSettings *settings)
{
    LibvirtSettings *copy = g_new0(LibvirtSettings, 1);
    copy->virt_type = g_strdup(settings->virt_type);
    copy->cpu_mode = settings->cpu_mode;
    copy->cpu_models = g_strdupv(settings->cpu_models);
    copy->cpu_extra_flags = g_strdupv(settings->cpu_extra_flags);
    return copy;
}

static char **
texts_copy(const char *const *texts, size_t n)
{
    char **copy = g_new0(char *, n + 1);
    for (size_t i = 0; i < n; i++)
        copy[i] = g_strdup(texts[i]);
    return copy;
}

/* An empty entry (a node whose CPU is not known yet) would end a list of strings early: free by
 * count. */
static void
texts_free(char **texts, size_t n)
{
    for (size_t i = 0; texts != NULL && i < n; i++)
        g_free(texts[i]);
    g_free(texts);
}

static void
call_unref(void *opaque)
{
    Call *call = opaque;
    if (call == NULL || atomic_fetch_sub(&call->refs, 1) > 1)
        return;
    g_free(call->text);
    g_free(call->virt_type);
    g_free(call->machine);
    g_free(call->usage);
    g_free(call->serial);
    server_spec_free(call->spec);
    if (call->settings != NULL) {
        g_free(call->settings->virt_type);
        g_strfreev(call->settings->cpu_models);
        g_strfreev(call->settings->cpu_extra_flags);
        g_free(call->settings);
    }
    texts_free(call->host_names, call->n);
    texts_free(call->hypervisor_cpus, call->n);
    host_facts_free(call->facts);
    if (call->domains != NULL)
        g_ptr_array_unref(call->domains);
    if (call->serials != NULL)
        g_ptr_array_unref(call->serials);
    domain_info_free(call->info);
    g_free(call->first);
    g_free(call->second);
    if (call->contents != NULL && call->confidential)
        explicit_bzero(call->contents->str, call->contents->len);
    disk_spec_clear(&call->disk);
    if (call->contents != NULL)
        g_string_free(call->contents, TRUE);
    g_free(call);
}
typedef Call CallRef;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CallRef, call_unref)

static Call *
call_new(const char *text)
{
    Call *call = g_new0(Call, 1);
    atomic_init(&call->refs, 1);
    call->text = g_strdup(text);
    return call;
}

static bool
call_run(Hosts *hosts, const char *host, HostLane lane, const char *name, HostCall fn, Call *call,
         int64_t deadline_us, GError **err)
{
    atomic_fetch_add(&call->refs, 1);
    return host_call(hosts, host, lane, name, fn, call, call_unref, deadline_us, err);
}

/* ---- control lane -----------------------------------------------------------------------------
 */

static bool
run_facts(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    call->facts = ops->facts(conn, call->virt_type, err);
    return call->facts != NULL;
}

HostFacts *
host_facts(Hosts *hosts, const char *host, int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(NULL);
    call->virt_type = g_strdup(hosts_virt_type(hosts));
    if (!call_run(hosts, host, HOST_CONTROL, "facts", run_facts, call, deadline_us, err))
        return NULL;
    return g_steal_pointer(&call->facts);
}

static bool
run_domains(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    call->domains = ops->domains(conn, err);
    return call->domains != NULL;
}

GPtrArray *
host_domains(Hosts *hosts, const char *host, int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(NULL);
    if (!call_run(hosts, host, HOST_CONTROL, "domains", run_domains, call, deadline_us, err))
        return NULL;
    return g_steal_pointer(&call->domains);
}

static bool
run_domain_probe(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    call->info = ops->domain_probe(conn, call->text, err);
    return call->info != NULL;
}

DomainInfo *
host_domain_probe(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                  GError **err)
{
    g_autoptr(CallRef) call = call_new(uuid);
    if (!call_run(hosts, host, HOST_CONTROL, "domain-probe", run_domain_probe, call, deadline_us,
                  err))
        return NULL;
    return g_steal_pointer(&call->info);
}

static bool
run_job_stats(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    return ops->job_stats(conn, call->text, call->flag, &call->stats, err);
}

bool
host_job_stats(Hosts *hosts, const char *host, const char *uuid, bool completed, JobStats *stats,
               int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(uuid);
    call->flag = completed;
    if (!call_run(hosts, host, HOST_CONTROL, "job-stats", run_job_stats, call, deadline_us, err))
        return false;
    *stats = call->stats;
    return true;
}

/* The calls that take a uuid, and some a number, and give nothing but success. */
#define CALL_UUID(slot)                                                                    \
    static bool run_##slot(const HostOps *ops, HostConn *conn, void *opaque, GError **err) \
    {                                                                                      \
        return ops->slot(conn, ((Call *)opaque)->text, err);                               \
    }
#define CALL_UUID_NUMBER(slot)                                                             \
    static bool run_##slot(const HostOps *ops, HostConn *conn, void *opaque, GError **err) \
    {                                                                                      \
        return ops->slot(conn, ((Call *)opaque)->text, ((Call *)opaque)->number, err);     \
    }
CALL_UUID(job_abort)
CALL_UUID_NUMBER(set_downtime)
CALL_UUID_NUMBER(set_bandwidth)
CALL_UUID(migrate_postcopy)
CALL_UUID(pause)
CALL_UUID(resume)
CALL_UUID(domain_shutdown)
CALL_UUID(domain_reboot)
CALL_UUID(domain_destroy)
CALL_UUID(domain_undefine)
CALL_UUID(domain_save)
CALL_UUID(domain_restore)

static bool
call_simple(Hosts *hosts, const char *host, HostLane lane, const char *name, HostCall fn,
            const char *text, int64_t number, int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(text);
    call->number = number;
    return call_run(hosts, host, lane, name, fn, call, deadline_us, err);
}

bool
host_job_abort(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us, GError **err)
{
    return call_simple(hosts, host, HOST_CONTROL, "job-abort", run_job_abort, uuid, 0, deadline_us,
                       err);
}

bool
host_set_downtime(Hosts *hosts, const char *host, const char *uuid, int64_t ms, int64_t deadline_us,
                  GError **err)
{
    return call_simple(hosts, host, HOST_CONTROL, "set-downtime", run_set_downtime, uuid, ms,
                       deadline_us, err);
}

bool
host_set_bandwidth(Hosts *hosts, const char *host, const char *uuid, int64_t mib_s,
                   int64_t deadline_us, GError **err)
{
    return call_simple(hosts, host, HOST_CONTROL, "set-bandwidth", run_set_bandwidth, uuid, mib_s,
                       deadline_us, err);
}

bool
host_migrate_postcopy(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                      GError **err)
{
    return call_simple(hosts, host, HOST_CONTROL, "migrate-postcopy", run_migrate_postcopy, uuid, 0,
                       deadline_us, err);
}

bool
host_domain_pause(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                  GError **err)
{
    return call_simple(hosts, host, HOST_CONTROL, "domain-pause", run_pause, uuid, 0, deadline_us,
                       err);
}

bool
host_domain_resume(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                   GError **err)
{
    return call_simple(hosts, host, HOST_CONTROL, "domain-resume", run_resume, uuid, 0, deadline_us,
                       err);
}

bool
host_domain_shutdown(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                     GError **err)
{
    return call_simple(hosts, host, HOST_CONTROL, "domain-shutdown", run_domain_shutdown, uuid, 0,
                       deadline_us, err);
}

bool
host_domain_reboot(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                   GError **err)
{
    return call_simple(hosts, host, HOST_CONTROL, "domain-reboot", run_domain_reboot, uuid, 0,
                       deadline_us, err);
}

/* On the control lane: when a link is cut, migrate calls may fill the work lane just when their
 * sources must be destroyed. */
bool
host_domain_destroy(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                    GError **err)
{
    return call_simple(hosts, host, HOST_CONTROL, "domain-destroy", run_domain_destroy, uuid, 0,
                       deadline_us, err);
}

/* Reads what is there already; a work thread may be hours away from being free. */
static bool
run_domain_cpu(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    call->first = ops->domain_cpu(conn, call->text, err);
    return call->first != NULL;
}

char *
host_domain_cpu(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(uuid);
    if (!call_run(hosts, host, HOST_CONTROL, "domain-cpu", run_domain_cpu, call, deadline_us, err))
        return NULL;
    return g_steal_pointer(&call->first);
}

static bool
run_secret_define(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    return ops->secret_define(conn, call->text, call->usage, call->contents->str,
                              call->contents->len, err);
}

bool
host_secret_define(Hosts *hosts, const char *host, const char *uuid, const char *usage,
                   const void *value, size_t size, int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(uuid);
    call->usage = g_strdup(usage);
    call->confidential = true;
    call->contents = g_string_new_len(value, (gssize)size);
    return call_run(hosts, host, HOST_CONTROL, "secret-define", run_secret_define, call,
                    deadline_us, err);
}

static bool
run_disk_serials(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    call->serials = ops->disk_serials(conn, call->text, err);
    return call->serials != NULL;
}

GPtrArray *
host_disk_serials(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                  GError **err)
{
    g_autoptr(CallRef) call = call_new(uuid);
    if (!call_run(hosts, host, HOST_CONTROL, "disk-serials", run_disk_serials, call, deadline_us,
                  err))
        return NULL;
    return g_steal_pointer(&call->serials);
}

/* ---- work lane --------------------------------------------------------------------------------
 */

static bool
run_domain_start(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    return ops->domain_start(conn, call->spec, &call->first, &call->second, err);
}

bool
host_domain_start(Hosts *hosts, const char *host, const ServerSpec *spec, char **machine,
                  char **cpu, int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(NULL);
    call->spec = server_spec_copy(spec);
    if (!call_run(hosts, host, HOST_WORK, "domain-start", run_domain_start, call, deadline_us, err))
        return false;
    if (machine != NULL)
        *machine = g_steal_pointer(&call->first);
    if (cpu != NULL)
        *cpu = g_steal_pointer(&call->second);
    return true;
}

static bool
run_domain_define(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    return ops->domain_define(conn, ((Call *)opaque)->spec, err);
}

bool
host_domain_define(Hosts *hosts, const char *host, const ServerSpec *spec, int64_t deadline_us,
                   GError **err)
{
    g_autoptr(CallRef) call = call_new(NULL);
    call->spec = server_spec_copy(spec);
    return call_run(hosts, host, HOST_WORK, "domain-define", run_domain_define, call, deadline_us,
                    err);
}

bool
host_domain_undefine(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                     GError **err)
{
    return call_simple(hosts, host, HOST_WORK, "domain-undefine", run_domain_undefine, uuid, 0,
                       deadline_us, err);
}

bool
host_domain_save(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                 GError **err)
{
    return call_simple(hosts, host, HOST_WORK, "domain-save", run_domain_save, uuid, 0, deadline_us,
                       err);
}

bool
host_domain_restore(Hosts *hosts, const char *host, const char *uuid, int64_t deadline_us,
                    GError **err)
{
    return call_simple(hosts, host, HOST_WORK, "domain-restore", run_domain_restore, uuid, 0,
                       deadline_us, err);
}

static bool
run_cpu_choose(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    call->first =
        ops->cpu_choose(conn, call->settings, (const char *const *)call->host_names,
                        (const char *const *)call->hypervisor_cpus, call->n, &call->second, err);
    return call->first != NULL;
}

char *
host_cpu_choose(Hosts *hosts, const char *host, const LibvirtSettings *settings,
                const char *const *host_names, const char *const *hypervisor_cpus, size_t n,
                char **limit, int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(NULL);
    call->settings = settings_copy(settings);
    call->host_names = texts_copy(host_names, n);
    call->hypervisor_cpus = texts_copy(hypervisor_cpus, n);
    call->n = n;
    if (!call_run(hosts, host, HOST_WORK, "cpu-choose", run_cpu_choose, call, deadline_us, err))
        return NULL;
    if (limit != NULL)
        *limit = g_steal_pointer(&call->second);
    return g_steal_pointer(&call->first);
}

static bool
run_cpu_compare(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    return ops->cpu_compare(conn, call->text, call->virt_type, call->machine, err);
}

bool
host_cpu_compare(Hosts *hosts, const char *host, const char *cpu_xml, const char *virt_type,
                 const char *machine, int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(cpu_xml);
    call->virt_type = g_strdup(virt_type);
    call->machine = g_strdup(machine);
    return call_run(hosts, host, HOST_WORK, "cpu-compare", run_cpu_compare, call, deadline_us, err);
}

static bool
run_file_read(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    return ops->file_read(conn, call->text, call->number, call->most, call->contents, err);
}

bool
host_file_read(Hosts *hosts, const char *host, const char *path, int64_t offset, int64_t most,
               GString *contents, int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(path);
    call->number = offset;
    call->most = most;
    call->contents = g_string_new(NULL);
    if (!call_run(hosts, host, HOST_WORK, "file-read", run_file_read, call, deadline_us, err))
        return false;
    g_string_append_len(contents, call->contents->str, (gssize)call->contents->len);
    return true;
}

static bool
run_file_write(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    return ops->file_write(conn, call->text, call->contents->str, call->contents->len, err);
}

bool
host_file_write(Hosts *hosts, const char *host, const char *path, const char *contents, size_t size,
                int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(path);
    call->contents = g_string_new_len(contents, (gssize)size);
    return call_run(hosts, host, HOST_WORK, "file-write", run_file_write, call, deadline_us, err);
}

CALL_UUID(file_delete)

bool
host_file_delete(Hosts *hosts, const char *host, const char *path, int64_t deadline_us,
                 GError **err)
{
    return call_simple(hosts, host, HOST_WORK, "file-delete", run_file_delete, path, 0, deadline_us,
                       err);
}

CALL_UUID(directory_make)

bool
host_directory_make(Hosts *hosts, const char *host, const char *path, int64_t deadline_us,
                    GError **err)
{
    return call_simple(hosts, host, HOST_WORK, "directory-make", run_directory_make, path, 0,
                       deadline_us, err);
}

static bool
run_disk_probe(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    return ops->disk_probe(conn, call->text, call->virt_type, &call->disk, &call->total, err);
}

bool
host_disk_probe(Hosts *hosts, const char *host, const char *uuid, const DiskSpec *disk,
                int64_t *capacity, int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(uuid);
    call->virt_type = g_strdup(hosts_virt_type(hosts));
    disk_spec_copy(&call->disk, disk);
    if (!call_run(hosts, host, HOST_WORK, "disk-probe", run_disk_probe, call, deadline_us, err))
        return false;
    *capacity = call->total;
    return true;
}

static bool
run_disk_attach(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    return ops->disk_attach(conn, call->text, &call->disk, err);
}

bool
host_disk_attach(Hosts *hosts, const char *host, const char *uuid, const DiskSpec *disk,
                 int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(uuid);
    disk_spec_copy(&call->disk, disk);
    return call_run(hosts, host, HOST_WORK, "disk-attach", run_disk_attach, call, deadline_us, err);
}

static bool
run_disk_detach(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    return ops->disk_detach(conn, call->text, call->serial, err);
}

bool
host_disk_detach(Hosts *hosts, const char *host, const char *uuid, const char *serial,
                 int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(uuid);
    call->serial = g_strdup(serial);
    return call_run(hosts, host, HOST_WORK, "disk-detach", run_disk_detach, call, deadline_us, err);
}

static bool
run_disk_resize(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    return ops->disk_resize(conn, call->text, call->serial, call->number, err);
}

bool
host_disk_resize(Hosts *hosts, const char *host, const char *uuid, const char *serial, int64_t size,
                 int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(uuid);
    call->serial = g_strdup(serial);
    call->number = size;
    return call_run(hosts, host, HOST_WORK, "disk-resize", run_disk_resize, call, deadline_us, err);
}

static bool
run_file_system(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    Call *call = opaque;
    return ops->file_system(conn, call->text, &call->total, &call->free_bytes, err);
}

bool
host_file_system(Hosts *hosts, const char *host, const char *path, int64_t *total,
                 int64_t *free_bytes, int64_t deadline_us, GError **err)
{
    g_autoptr(CallRef) call = call_new(path);
    if (!call_run(hosts, host, HOST_WORK, "file-system", run_file_system, call, deadline_us, err))
        return false;
    *total = call->total;
    *free_bytes = call->free_bytes;
    return true;
}
