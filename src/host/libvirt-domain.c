/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt-domain.c: domains of one node: what state they are in, starting and stopping them */
#include "host/host-libvirt-priv.h"

#include "host/domain-xml.h"
#include <string.h>

virDomainPtr
libvirt_domain_find(HostConn *conn, const char *uuid, bool *absent, GError **err)
{
    if (absent)
        *absent = false;
    if (!uuid_is_valid(uuid)) {
        err_set(err, ERR_INVALID, "'%.64s' is not the UUID of a domain", uuid);
        return NULL;
    }
    virDomainPtr domain = virDomainLookupByUUIDString(conn->vir, uuid);
    if (domain)
        return domain;
    if (absent && libvirt_last_code() == VIR_ERR_NO_DOMAIN)
        *absent = true;
    else
        libvirt_error_set(conn, err, "find domain %s", uuid);
    return NULL;
}

/* ---- state ------------------------------------------------------------------------------ */
static bool
state_is_active(int state)
{
    return state != VIR_DOMAIN_SHUTOFF && state != VIR_DOMAIN_CRASHED;
}

static DomainState
state_of_paused(int reason, LibvirtJob job)
{
    if (reason == VIR_DOMAIN_PAUSED_POSTCOPY_FAILED)
        return DOMAIN_PAUSED_POSTCOPY_FAILED;
    if (job == LIBVIRT_JOB_IN)
        return DOMAIN_PAUSED_INCOMING;
    if (reason == VIR_DOMAIN_PAUSED_MIGRATION || reason == VIR_DOMAIN_PAUSED_POSTCOPY)
        return DOMAIN_PAUSED_MIGRATED;
    return DOMAIN_PAUSED;
}

static DomainState
state_of(int state, int reason, LibvirtJob job)
{
    switch (state) {
    case VIR_DOMAIN_PAUSED:
        return state_of_paused(reason, job);
    case VIR_DOMAIN_PMSUSPENDED:
        return DOMAIN_PAUSED;
#if LIBVIR_VERSION_NUMBER >= 8005000
    case VIR_DOMAIN_RUNNING: /* up to the first page that it lacks */
        return reason == VIR_DOMAIN_RUNNING_POSTCOPY_FAILED ? DOMAIN_PAUSED_POSTCOPY_FAILED
                                                            : DOMAIN_RUNNING;
#endif
    case VIR_DOMAIN_SHUTOFF:
        return DOMAIN_SHUTOFF;
    case VIR_DOMAIN_CRASHED:
        return DOMAIN_CRASHED;
    default: /* running, blocked, shutting down: it may touch its disks */
        return DOMAIN_RUNNING;
    }
}

typedef enum Probe {
    PROBE_OK,
    PROBE_ABSENT,
    PROBE_FAILED
} Probe;

/* State and job come from two calls. A pair read while the state changed can be a lie of the worst
 * kind (a destination that has just begun to run would look like a source that was left paused), so
 * read until the state is the same before and after. */
static Probe
probe_state(virDomainPtr domain, DomainInfo *info)
{
    int state, reason, before_state, before_reason;
    LibvirtJob job;
    int tries = 0;
    if (virDomainGetState(domain, &state, &reason, 0) < 0)
        return libvirt_last_code() == VIR_ERR_NO_DOMAIN ? PROBE_ABSENT : PROBE_FAILED;
    do {
        before_state = state;
        before_reason = reason;
        job = LIBVIRT_JOB_NONE;
        if ((state_is_active(state) && !libvirt_job_kind(domain, &job)) ||
            virDomainGetState(domain, &state, &reason, 0) < 0)
            return libvirt_last_code() == VIR_ERR_NO_DOMAIN ? PROBE_ABSENT : PROBE_FAILED;
    } while ((state != before_state || reason != before_reason) && ++tries < 5);
    info->state = state_of(state, reason, job);
    info->job_active = job == LIBVIRT_JOB_OUT || job == LIBVIRT_JOB_IN;
    info->postcopy =
        state == VIR_DOMAIN_PAUSED && job != LIBVIRT_JOB_IN &&
        (reason == VIR_DOMAIN_PAUSED_POSTCOPY || reason == VIR_DOMAIN_PAUSED_POSTCOPY_FAILED);
    info->never_ran = state == VIR_DOMAIN_SHUTOFF && reason == VIR_DOMAIN_SHUTOFF_UNKNOWN;
    return PROBE_OK;
}

static Probe
probe_domain(virDomainPtr domain, DomainInfo *info)
{
    Probe probe = probe_state(domain, info);
    if (probe != PROBE_OK)
        return probe;
    info->name = g_strdup(virDomainGetName(domain));
    int persistent = virDomainIsPersistent(domain);
    if (persistent < 0)
        return libvirt_last_code() == VIR_ERR_NO_DOMAIN ? PROBE_ABSENT : PROBE_FAILED;
    info->persistent = persistent == 1;
    bool off = info->state == DOMAIN_SHUTOFF || info->state == DOMAIN_CRASHED;
    if (off && !libvirt_is_saved(domain, &info->saved))
        return libvirt_last_code() == VIR_ERR_NO_DOMAIN ? PROBE_ABSENT : PROBE_FAILED;
    char *metadata =
        virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, XML_DOMAIN_NAMESPACE, 0);
    info->ours = metadata != NULL;
    free(metadata);
    if (info->ours || libvirt_last_code() == VIR_ERR_NO_DOMAIN_METADATA)
        return PROBE_OK;
    return libvirt_last_code() == VIR_ERR_NO_DOMAIN ? PROBE_ABSENT : PROBE_FAILED;
}

static DomainInfo *
info_absent(const char *uuid)
{
    DomainInfo *info = g_new0(DomainInfo, 1);
    info->uuid = g_strdup(uuid);
    info->state = DOMAIN_ABSENT;
    return info;
}

DomainInfo *
libvirt_domain_probe(HostConn *conn, const char *uuid, GError **err)
{
    bool absent;
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, &absent, err);
    if (!domain)
        return absent ? info_absent(uuid) : NULL;
    g_autoptr(DomainInfo) info = info_absent(uuid);
    switch (probe_domain(domain, info)) {
    case PROBE_OK:
        return g_steal_pointer(&info);
    case PROBE_ABSENT:
        return info_absent(uuid);
    case PROBE_FAILED:
        break;
    }
    libvirt_error_set(conn, err, "read the state of domain %s", uuid);
    return NULL;
}

GPtrArray *
libvirt_domains(HostConn *conn, GError **err)
{
    virDomainPtr *list = NULL;
    int n = virConnectListAllDomains(conn->vir, &list, 0);
    if (n < 0) {
        libvirt_error_set(conn, err, "list the domains");
        return NULL;
    }
    bool ok =
        n <= LIBVIRT_DOMAINS_MOST ||
        err_set(err, ERR_UNSUPPORTED, "%s: it has %d domains, and at most %d are looked after",
                conn->host, n, LIBVIRT_DOMAINS_MOST);
    g_autoptr(GPtrArray) infos = g_ptr_array_new_with_free_func((GDestroyNotify)domain_info_free);
    for (int i = 0; i < n; i++) {
        char uuid[VIR_UUID_STRING_BUFLEN];
        if (ok && virDomainGetUUIDString(list[i], uuid) == 0) {
            DomainInfo *info = info_absent(uuid);
            Probe probe = probe_domain(list[i], info);
            if (probe == PROBE_FAILED)
                ok = libvirt_error_set(conn, err, "read the state of domain %s", uuid);
            if (probe == PROBE_OK)
                g_ptr_array_add(infos, info);
            else
                domain_info_free(info);
        }
        virDomainFree(list[i]);
    }
    free(list);
    return ok ? g_steal_pointer(&infos) : NULL;
}

/* ---- run, stop -------------------------------------------------------------------------- */
bool
libvirt_pause(HostConn *conn, const char *uuid, GError **err)
{
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, NULL, err);
    if (!domain)
        return false;
    if (virDomainSuspend(domain) < 0)
        return libvirt_error_set(conn, err, "pause domain %s", uuid);
    return true;
}

bool
libvirt_resume(HostConn *conn, const char *uuid, GError **err)
{
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, NULL, err);
    if (!domain)
        return false;
    DomainInfo info = {0};
    Probe probe = probe_state(domain, &info);
    if (probe != PROBE_OK)
        return libvirt_error_set(conn, err, "read the state of domain %s", uuid);
    if (info.state == DOMAIN_RUNNING)
        return true;
    /* while a move holds it paused, only the move may decide where it runs */
    if (info.job_active && info.state != DOMAIN_PAUSED)
        return err_set(err, ERR_CONFLICT,
                       "%s: domain %s is paused by a migration that is under way; wait for its end",
                       conn->host, uuid);
    if (virDomainResume(domain) < 0)
        return libvirt_error_set(conn, err, "resume domain %s", uuid);
    return true;
}

/* A call failed: true if the domain is off or gone, which is what was wanted; else false with *err.
 */
static bool
is_off(HostConn *conn, virDomainPtr domain, const char *uuid, const char *what, GError **err)
{
    int code = libvirt_last_code();
    g_autoptr(GError) error = NULL;
    libvirt_error_set(conn, &error, "%s domain %s", what, uuid);
    if (code == VIR_ERR_NO_DOMAIN)
        return true;
    if (code == VIR_ERR_OPERATION_INVALID) {
        int active = virDomainIsActive(domain);
        if (active == 0 || (active < 0 && libvirt_last_code() == VIR_ERR_NO_DOMAIN))
            return true;
    }
    g_propagate_error(err, g_steal_pointer(&error));
    return false;
}

bool
libvirt_domain_shutdown(HostConn *conn, const char *uuid, GError **err)
{
    bool absent;
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, &absent, err);
    if (!domain)
        return absent;
    return virDomainShutdownFlags(domain, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) == 0 ||
           is_off(conn, domain, uuid, "shut down", err);
}

bool
libvirt_domain_reboot(HostConn *conn, const char *uuid, GError **err)
{
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, NULL, err);
    if (!domain)
        return false;
    if (virDomainReboot(domain, VIR_DOMAIN_REBOOT_ACPI_POWER_BTN) < 0)
        return libvirt_error_set(conn, err, "ask domain %s to reboot", uuid);
    return true;
}

static virDomainPtr
define(HostConn *conn, const ServerSpec *spec, GError **err)
{
    g_autofree char *xml = domain_xml_build(spec, err);
    if (!xml)
        return NULL;
    virDomainPtr domain = virDomainDefineXMLFlags(conn->vir, xml, 0);
    if (!domain)
        libvirt_error_set(conn, err, "define domain %s", spec->uuid);
    return domain;
}

bool
libvirt_domain_define(HostConn *conn, const ServerSpec *spec, GError **err)
{
    g_autoptr(virDomain) domain = define(conn, spec, err);
    return domain != NULL;
}

static DomainXml *
read_xml(HostConn *conn, virDomainPtr domain, GError **err)
{
    const char *name = virDomainGetName(domain); /* before: it forgets the last error */
    char *xml = virDomainGetXMLDesc(domain, 0);
    if (!xml) {
        libvirt_error_set(conn, err, "read the XML of domain %s", name);
        return NULL;
    }
    DomainXml *read = domain_xml_read(xml, err);
    free(xml);
    return read;
}

/* false with no error: it does not run, so start it */
static bool
runs_already(HostConn *conn, const char *uuid, virDomainPtr *domain, GError **err)
{
    bool absent;
    g_autoptr(virDomain) found = libvirt_domain_find(conn, uuid, &absent, err);
    if (!found)
        return false;
    DomainInfo info = {0};
    switch (probe_state(found, &info)) {
    case PROBE_ABSENT:
        return false;
    case PROBE_FAILED:
        return libvirt_error_set(conn, err, "read the state of domain %s", uuid);
    case PROBE_OK:
        break;
    }
    if (info.state == DOMAIN_SHUTOFF || info.state == DOMAIN_CRASHED)
        return false;
    if (info.state != DOMAIN_RUNNING && info.state != DOMAIN_PAUSED)
        return err_set(err, ERR_CONFLICT,
                       "%s: domain %s is here as part of a migration; wait for its end", conn->host,
                       uuid);
    *domain = g_steal_pointer(&found);
    return true;
}

bool
libvirt_domain_start(HostConn *conn, const ServerSpec *spec, char **machine_out, char **cpu_out,
                     GError **err)
{
    g_autoptr(virDomain) domain = NULL;
    g_autoptr(GError) error = NULL;
    if (!runs_already(conn, spec->uuid, &domain, &error)) {
        if (error) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
        domain = define(conn, spec, err);
        if (!domain)
            return false;
        /* by default libvirt would go on from saved memory, whatever the disks hold by now */
        if (virDomainCreateWithFlags(domain, VIR_DOMAIN_START_FORCE_BOOT) < 0)
            return libvirt_error_set(conn, err, "start domain %s (%s)", spec->uuid,
                                     spec->domain_name);
    }
    if (!machine_out && !cpu_out)
        return true;
    g_autoptr(DomainXml) xml = read_xml(conn, domain, err);
    if (!xml)
        return false;
    if (machine_out)
        *machine_out = g_steal_pointer(&xml->machine);
    if (cpu_out)
        *cpu_out = g_steal_pointer(&xml->cpu);
    return true;
}

bool
libvirt_domain_destroy(HostConn *conn, const char *uuid, GError **err)
{
    bool absent;
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, &absent, err);
    if (!domain)
        return absent;
    return virDomainDestroyFlags(domain, VIR_DOMAIN_DESTROY_DEFAULT) == 0 ||
           is_off(conn, domain, uuid, "power off", err);
}

bool
libvirt_domain_undefine(HostConn *conn, const char *uuid, GError **err)
{
    bool absent;
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, &absent, err);
    if (!domain)
        return absent;
    /* libvirt would make a running domain transient instead of refusing */
    int active = virDomainIsActive(domain);
    if (active > 0)
        return err_set(err, ERR_CONFLICT,
                       "%s: domain %s runs; power it off before its definition is removed",
                       conn->host, uuid);
    const unsigned flags = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
                           VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                           VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_NVRAM;
    if ((active < 0 || virDomainUndefineFlags(domain, flags) < 0) &&
        libvirt_last_code() != VIR_ERR_NO_DOMAIN)
        return libvirt_error_set(conn, err, "remove the definition of domain %s", uuid);
    return true;
}

char *
libvirt_domain_cpu(HostConn *conn, const char *uuid, GError **err)
{
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, NULL, err);
    if (!domain)
        return NULL;
    if (virDomainIsActive(domain) == 0) {
        err_set(err, ERR_CONFLICT, "%s: domain %s does not run, so it has no live CPU", conn->host,
                uuid);
        return NULL;
    }
    g_autoptr(DomainXml) xml = read_xml(conn, domain, err);
    if (xml && !xml->cpu)
        err_set(err, ERR_UNSUPPORTED, "%s: libvirt says nothing about the CPU of domain %s",
                conn->host, uuid);
    return xml ? g_steal_pointer(&xml->cpu) : NULL;
}
