/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt-migrate.c: moving a domain, watching the move, steering it, stopping it */
#include "host/host-libvirt-priv.h"

#include <string.h>

/* QEMU counts bandwidth in bytes in a signed 64-bit number; libvirt refuses more MiB/s than fit,
 * and this is "no limit" */
#define BANDWIDTH_NO_LIMIT (INT64_MAX / (1024 * 1024))

/* ---- statistics ------------------------------------------------------------------------- */
static int64_t
stat_of(virTypedParameterPtr params, int n, const char *name)
{
    unsigned long long value = 0;
    if (virTypedParamsGetULLong(params, n, name, &value) != 1)
        return -1;
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

void
libvirt_stats_read(virTypedParameterPtr params, int n, JobStats *stats)
{
    stats->elapsed_ms = stat_of(params, n, VIR_DOMAIN_JOB_TIME_ELAPSED);
    stats->downtime_ms = stat_of(params, n, VIR_DOMAIN_JOB_DOWNTIME);
    stats->setup_ms = stat_of(params, n, VIR_DOMAIN_JOB_SETUP_TIME);
    stats->memory_total = stat_of(params, n, VIR_DOMAIN_JOB_MEMORY_TOTAL);
    stats->memory_processed = stat_of(params, n, VIR_DOMAIN_JOB_MEMORY_PROCESSED);
    stats->memory_remaining = stat_of(params, n, VIR_DOMAIN_JOB_MEMORY_REMAINING);
    stats->memory_bps = stat_of(params, n, VIR_DOMAIN_JOB_MEMORY_BPS);
    stats->iteration = stat_of(params, n, VIR_DOMAIN_JOB_MEMORY_ITERATION);
    stats->page_size = stat_of(params, n, VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE);
    stats->disk_total = stat_of(params, n, VIR_DOMAIN_JOB_DISK_TOTAL);
    stats->disk_processed = stat_of(params, n, VIR_DOMAIN_JOB_DISK_PROCESSED);
    stats->disk_remaining = stat_of(params, n, VIR_DOMAIN_JOB_DISK_REMAINING);
    stats->postcopy = stat_of(params, n, VIR_DOMAIN_JOB_MEMORY_POSTCOPY_REQS) > 0;
    int64_t dirty_pages = stat_of(params, n, VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE);
    if (dirty_pages < 0 || stats->page_size < 1 ||
        __builtin_mul_overflow(dirty_pages, stats->page_size, &stats->dirty_bps))
        stats->dirty_bps = -1;
    int throttle;
    stats->auto_converge_throttle = -1;
    if (virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE, &throttle) == 1)
        stats->auto_converge_throttle = throttle;
    virResetLastError(); /* a parameter of another type than expected is "not said" */
}

/* libvirt refuses the statistics of a domain that comes in, with a code that depends on its
 * version; of another active domain it never does. */
static bool
job_kind_of_refusal(virDomainPtr domain, LibvirtJob *kind)
{
    int code = libvirt_last_code();
    if (code != VIR_ERR_OPERATION_UNSUPPORTED && code != VIR_ERR_OPERATION_INVALID)
        return false;
    int active = virDomainIsActive(domain);
    *kind = active > 0 ? LIBVIRT_JOB_IN : LIBVIRT_JOB_NONE;
    return active >= 0;
}

bool
libvirt_job_kind(virDomainPtr domain, LibvirtJob *kind)
{
    int type, n = 0;
    virTypedParameterPtr params = NULL;
    if (virDomainGetJobStats(domain, &type, &params, &n, 0) < 0)
        return job_kind_of_refusal(domain, kind);
    int operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
    virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_OPERATION, &operation);
    virTypedParamsFree(params, n);
    if (type != VIR_DOMAIN_JOB_BOUNDED && type != VIR_DOMAIN_JOB_UNBOUNDED)
        *kind = LIBVIRT_JOB_NONE;
    else if (operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)
        *kind = LIBVIRT_JOB_OUT;
    else if (operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)
        *kind = LIBVIRT_JOB_IN;
    else
        *kind = LIBVIRT_JOB_OTHER;
    return true;
}

/* Has the source handed the guest over, with memory still to come? */
static bool
is_in_postcopy(virDomainPtr domain)
{
    int state, reason;
    return virDomainGetState(domain, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED &&
           (reason == VIR_DOMAIN_PAUSED_POSTCOPY || reason == VIR_DOMAIN_PAUSED_POSTCOPY_FAILED);
}

bool
libvirt_job_stats(HostConn *conn, const char *uuid, bool completed, JobStats *stats, GError **err)
{
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, NULL, err);
    if (!domain)
        return false;
    int type, n = 0;
    virTypedParameterPtr params = NULL;
    const unsigned flags =
        completed ? VIR_DOMAIN_JOB_STATS_COMPLETED | VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED : 0;
    if (virDomainGetJobStats(domain, &type, &params, &n, flags) < 0)
        return libvirt_error_set(conn, err, "read the migration statistics of domain %s", uuid);
    *stats = (JobStats){0};
    libvirt_stats_read(params, n, stats);
    virTypedParamsFree(params, n);
    stats->active = type == VIR_DOMAIN_JOB_BOUNDED || type == VIR_DOMAIN_JOB_UNBOUNDED;
    stats->completed = type == VIR_DOMAIN_JOB_COMPLETED;
    stats->failed = type == VIR_DOMAIN_JOB_FAILED || type == VIR_DOMAIN_JOB_CANCELLED;
    if (stats->active && !stats->postcopy)
        stats->postcopy = is_in_postcopy(domain);
    return true;
}

/* ---- steering --------------------------------------------------------------------------- */
bool
libvirt_job_abort(HostConn *conn, const char *uuid, GError **err)
{
    bool absent;
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, &absent, err);
    if (!domain)
        return absent;
    /* On the destination the abort would wait for half a minute before it is refused, so look
     * first. */
    LibvirtJob job;
    if (libvirt_job_kind(domain, &job)) {
        if (job == LIBVIRT_JOB_IN)
            return err_set(err, ERR_CONFLICT,
                           "%s: domain %s is coming in; a migration is aborted on its source",
                           conn->host, uuid);
        if (job != LIBVIRT_JOB_OUT || virDomainAbortJob(domain) == 0)
            return true;
    }
    g_autoptr(GError) error = NULL;
    int code = libvirt_last_code();
    libvirt_error_set(conn, &error, "abort the migration of domain %s", uuid);
    if (code == VIR_ERR_NO_DOMAIN)
        return true;
    /* "it has just ended" and "it cannot be aborted any more" (post-copy) carry the same code: only
     * the first is fine */
    if (code == VIR_ERR_OPERATION_INVALID && libvirt_job_kind(domain, &job) &&
        job == LIBVIRT_JOB_NONE)
        return true;
    g_propagate_error(err, g_steal_pointer(&error));
    return false;
}

bool
libvirt_set_downtime(HostConn *conn, const char *uuid, int64_t ms, GError **err)
{
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, NULL, err);
    if (!domain)
        return false;
    if (ms < 1 || virDomainMigrateSetMaxDowntime(domain, (unsigned long long)ms, 0) < 0)
        return ms < 1 ? err_set(err, ERR_INVALID, "a downtime limit must be at least 1 ms")
                      : libvirt_error_set(conn, err,
                                          "set the downtime limit of domain %s to %" PRId64 " ms",
                                          uuid, ms);
    return true;
}

bool
libvirt_set_bandwidth(HostConn *conn, const char *uuid, int64_t mib_s, GError **err)
{
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, NULL, err);
    if (!domain)
        return false;
    unsigned long limit =
        (unsigned long)(mib_s > 0 ? MIN(mib_s, BANDWIDTH_NO_LIMIT) : BANDWIDTH_NO_LIMIT);
    if (virDomainMigrateSetMaxSpeed(domain, limit, 0) < 0)
        return libvirt_error_set(conn, err, "set the migration bandwidth of domain %s", uuid);
    return true;
}

bool
libvirt_migrate_postcopy(HostConn *conn, const char *uuid, GError **err)
{
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, NULL, err);
    if (!domain)
        return false;
    LibvirtJob job;
    if (!libvirt_job_kind(domain, &job))
        return libvirt_error_set(conn, err, "read the migration of domain %s", uuid);
    if (job != LIBVIRT_JOB_OUT)
        return err_set(err, ERR_CONFLICT, "%s: domain %s is not being moved away", conn->host,
                       uuid);
    if (is_in_postcopy(domain) || virDomainMigrateStartPostCopy(domain, 0) == 0)
        return true;
    return libvirt_error_set(conn, err, "let the move of domain %s end by post-copy", uuid);
}

/* ---- the move --------------------------------------------------------------------------- */
static const struct {
    MigrateFlag ours;
    unsigned vir;
} flag_table[] = {
    {MIGRATE_LIVE, VIR_MIGRATE_LIVE},
    {MIGRATE_PEER2PEER, VIR_MIGRATE_PEER2PEER},
    {MIGRATE_TUNNELLED, VIR_MIGRATE_TUNNELLED},
    {MIGRATE_PERSIST_DEST, VIR_MIGRATE_PERSIST_DEST},
    {MIGRATE_UNDEFINE_SOURCE, VIR_MIGRATE_UNDEFINE_SOURCE},
    {MIGRATE_NON_SHARED_DISK, VIR_MIGRATE_NON_SHARED_DISK},
    {MIGRATE_NON_SHARED_INC, VIR_MIGRATE_NON_SHARED_INC},
    {MIGRATE_UNSAFE, VIR_MIGRATE_UNSAFE},
    {MIGRATE_COMPRESSED, VIR_MIGRATE_COMPRESSED},
    {MIGRATE_AUTO_CONVERGE, VIR_MIGRATE_AUTO_CONVERGE},
    {MIGRATE_POSTCOPY, VIR_MIGRATE_POSTCOPY},
    {MIGRATE_TLS, VIR_MIGRATE_TLS},
    {MIGRATE_PARALLEL, VIR_MIGRATE_PARALLEL},
    {MIGRATE_ZEROCOPY, VIR_MIGRATE_ZEROCOPY},
};

static bool
flags_map(unsigned flags, unsigned *vir, GError **err)
{
    *vir = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(flag_table); i++) {
        if (flags & flag_table[i].ours)
            *vir |= flag_table[i].vir;
        flags &= ~(unsigned)flag_table[i].ours;
    }
    if (flags)
        return err_set(err, ERR_BUG, "migration flags 0x%x have no counterpart in libvirt", flags);
    if (!(*vir & VIR_MIGRATE_PEER2PEER))
        return err_set(
            err, ERR_INVALID,
            "a move needs VIR_MIGRATE_PEER2PEER: without it, it would end with this process");
    return true;
}

bool
libvirt_migrate(HostConn *conn, const MoveSpec *spec, GError **err)
{
    unsigned flags;
    if (!flags_map(spec->flags, &flags, err))
        return false;
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, spec->uuid, NULL, err);
    if (!domain)
        return false;
    /* libvirt would let a second call wait behind the first, and start it when that one was
     * aborted. */
    LibvirtJob job;
    if (libvirt_job_kind(domain, &job) && job != LIBVIRT_JOB_NONE)
        return err_set(err, ERR_CONFLICT, "%s: domain %s is being moved already", conn->host,
                       spec->uuid);
    virTypedParameterPtr params = NULL;
    int n = 0, room = 0;
    bool ok = true;
    if (spec->migrate_uri)
        ok = virTypedParamsAddString(&params, &n, &room, VIR_MIGRATE_PARAM_URI,
                                     spec->migrate_uri) == 0;
    if (ok && spec->bandwidth_mib_s > 0)
        ok = virTypedParamsAddULLong(&params, &n, &room, VIR_MIGRATE_PARAM_BANDWIDTH,
                                     (unsigned long long)spec->bandwidth_mib_s) == 0;
    if (ok && spec->bandwidth_mib_s > 0 && (flags & VIR_MIGRATE_POSTCOPY))
        ok = virTypedParamsAddULLong(&params, &n, &room, VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY,
                                     (unsigned long long)spec->bandwidth_mib_s) == 0;
    if (ok && (flags & VIR_MIGRATE_PARALLEL) && spec->parallel_connections > 0)
        ok = virTypedParamsAddInt(&params, &n, &room, VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS,
                                  (int)MIN(spec->parallel_connections, 255)) == 0;
    /* Before the transfer: QEMU decides with it at the end of the very first pass. */
    if (ok && spec->downtime_ms > 0)
        ok = virDomainMigrateSetMaxDowntime(domain, (unsigned long long)spec->downtime_ms, 0) == 0;
    ok = ok && virDomainMigrateToURI3(domain, spec->dest_uri, params, (unsigned)n, flags) == 0;
    if (!ok)
        libvirt_error_set(conn, err, "move domain %s to %s", spec->uuid, spec->dest_uri);
    virTypedParamsFree(params, n);
    return ok;
}
