/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt-attach.c: giving disks to a domain and taking them away, whether it runs or not
 *
 * A disk is in two places: in the definition, and in the guest if it runs. It is found by its
 * serial in both, so that a call that a crash cut in half is completed by the next one, and one
 * that was done is not done again.
 *
 * Taking away is a request to the guest, which may be slow or not listen (one that has not booted
 * yet does not). Only when libvirt says that the device is gone does the disk leave the definition:
 * as long as the guest may write to it, both still name it. The event is asked for on the
 * connection that the call came on, for the length of the call; the loop delivers it, and the call
 * waits for it or for the end of the connection. */
#include "host/host-libvirt-priv.h"

#include "host/domain-xml.h"
#include <string.h>

/* A guest that listens needs some 0.1 s, a busy one under emulation a few seconds. It is asked
 * twice: the first request may have come before it had booted. */
#define REMOVAL_US    (10 * USEC_PER_SEC)
#define REMOVAL_TRIES 2

typedef struct Disks {
    virDomainPtr domain;
    bool active, persistent;
    GPtrArray *live, *defined; /* DiskXml; NULL: has no such half */
} Disks;

static void
disks_clear(Disks *disks)
{
    if (disks->domain)
        virDomainFree(disks->domain);
    if (disks->live)
        g_ptr_array_unref(disks->live);
    if (disks->defined)
        g_ptr_array_unref(disks->defined);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Disks, disks_clear)

static GPtrArray *
read_disks(HostConn *conn, virDomainPtr domain, unsigned flags, GError **err)
{
    const char *name = virDomainGetName(domain); /* before: it forgets the last error */
    char *xml = virDomainGetXMLDesc(domain, flags);
    if (!xml) {
        libvirt_error_set(conn, err, "read the XML of domain %s", name);
        return NULL;
    }
    GPtrArray *disks = disk_xml_read(xml, err);
    free(xml);
    return disks;
}

static bool
refresh(HostConn *conn, Disks *disks, GError **err)
{
    const char *name = virDomainGetName(disks->domain);
    int active = virDomainIsActive(disks->domain);
    int persistent = active < 0 ? -1 : virDomainIsPersistent(disks->domain);
    if (persistent < 0)
        return libvirt_error_set(conn, err, "read the state of domain %s", name);
    disks->active = active == 1;
    disks->persistent = persistent == 1;
    g_clear_pointer(&disks->live, g_ptr_array_unref);
    g_clear_pointer(&disks->defined, g_ptr_array_unref);
    if (disks->active && !(disks->live = read_disks(conn, disks->domain, 0, err)))
        return false;
    return !disks->persistent ||
           (disks->defined = read_disks(conn, disks->domain, VIR_DOMAIN_XML_INACTIVE, err));
}

/* A disk that changes while its guest moves would be on one node and not on the other. */
static bool
is_not_moving(HostConn *conn, const Disks *disks, const char *uuid, GError **err)
{
    LibvirtJob job = LIBVIRT_JOB_NONE;
    if (disks->active && !libvirt_job_kind(disks->domain, &job))
        return libvirt_error_set(conn, err, "read the state of domain %s", uuid);
    return (job != LIBVIRT_JOB_IN && job != LIBVIRT_JOB_OUT) ||
           err_set(err, ERR_BUSY,
                   "%s: domain %s is being migrated; its disks stay as they are until that has "
                   "ended",
                   conn->host, uuid);
}

/* The guest in the saved memory has the disks that it had: what the definition says meanwhile does
 * not reach it. */
static bool
is_not_saved(HostConn *conn, const Disks *disks, const char *uuid, GError **err)
{
    bool saved = false;
    if (!disks->active && !libvirt_is_saved(disks->domain, &saved))
        return libvirt_error_set(conn, err, "read the state of domain %s", uuid);
    return !saved || err_set(err, ERR_CONFLICT,
                             "%s: the memory of domain %s is saved, and its disks with it; resume "
                             "or reboot the server first",
                             conn->host, uuid);
}

/* ---- attach ----------------------------------------------------------------------------- */
static bool
target_is_free(HostConn *conn, const GPtrArray *disks, const char *uuid, const char *serial,
               const char *target, GError **err)
{
    const DiskXml *other = disk_xml_find(disks, NULL, target);
    return !other || (serial && g_strcmp0(other->serial, serial) == 0) ||
           err_set(err, ERR_CONFLICT, "%s: domain %s has another disk (%s) as %s", conn->host, uuid,
                   other->serial ? other->serial : "without a serial", target);
}

bool
libvirt_disk_attach(HostConn *conn, const char *uuid, const DiskSpec *disk, GError **err)
{
    if (!disk->serial || disk->is_cdrom)
        return err_set(err, ERR_INVALID,
                       "a disk that is attached needs a serial and is no CD-ROM: %s", disk->source);
    g_auto(Disks) disks = {.domain = libvirt_domain_find(conn, uuid, NULL, err)};
    if (!disks.domain || !refresh(conn, &disks, err))
        return false;
    const DiskXml *live = disk_xml_find(disks.live, disk->serial, NULL);
    const DiskXml *defined = disk_xml_find(disks.defined, disk->serial, NULL);
    bool to_live = disks.active && !live;
    bool to_defined = disks.persistent && !defined;
    if (!to_live && !to_defined)
        return true;
    if (!is_not_moving(conn, &disks, uuid, err) || !is_not_saved(conn, &disks, uuid, err))
        return false;
    /* the half that is there has a name already, and has it for good */
    const char *known = live ? live->target : defined ? defined->target : disk->target;
    g_autofree char *target =
        known ? g_strdup(known) : disk_xml_target_free(disks.live, disks.defined);
    if (!target_is_free(conn, disks.live, uuid, disk->serial, target, err) ||
        !target_is_free(conn, disks.defined, uuid, disk->serial, target, err))
        return false;
    g_autofree char *xml = disk_xml_build(disk, target, err);
    if (!xml)
        return false;
    unsigned flags =
        (to_live ? VIR_DOMAIN_AFFECT_LIVE : 0) | (to_defined ? VIR_DOMAIN_AFFECT_CONFIG : 0);
    if (virDomainAttachDeviceFlags(disks.domain, xml, flags) < 0)
        return libvirt_error_set(conn, err, "attach disk %s as %s to domain %s", disk->source,
                                 target, uuid);
    return true;
}

/* ---- detach ----------------------------------------------------------------------------- */
/* What a call waits for, shared with its callbacks: one of them may be at work until libvirt has
 * let go of it, which may be after the call. */
typedef struct Removal {
    int refs; /* atomic */
    HostConn *conn;
    char *alias;            /* guarded by conn->lock; of the device that is to go */
    LibvirtRemoval outcome; /* guarded by conn->lock */
} Removal;

static Removal *
removal_new(HostConn *conn)
{
    Removal *removal = g_new0(Removal, 1);
    *removal = (Removal){.refs = 1, .conn = libvirt_conn_ref(conn)};
    return removal;
}

static void
removal_unref(void *opaque)
{
    Removal *removal = opaque;
    if (__atomic_sub_fetch(&removal->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    libvirt_conn_unref(removal->conn);
    g_free(removal->alias);
    g_free(removal);
}

/* alias NULL: of whatever device */
static void
on_removal(Removal *removal, const char *alias, LibvirtRemoval outcome)
{
    WITH_MUTEX(&removal->conn->lock);
    if (alias && g_strcmp0(removal->alias, alias) != 0)
        return;
    removal->outcome = outcome;
    pthread_cond_broadcast(&removal->conn->changed);
}

static void
on_removed(virConnectPtr vir, virDomainPtr domain, const char *alias, void *opaque)
{
    on_removal(opaque, alias, LIBVIRT_REMOVED);
}

static void
on_removal_failed(virConnectPtr vir, virDomainPtr domain, const char *alias, void *opaque)
{
    on_removal(opaque, alias, LIBVIRT_REMOVAL_REFUSED);
}

/* A guest that is gone has let go of everything. */
static int
on_life(virConnectPtr vir, virDomainPtr domain, int event, int detail, void *opaque)
{
    if (event == VIR_DOMAIN_EVENT_STOPPED || event == VIR_DOMAIN_EVENT_CRASHED)
        on_removal(opaque, NULL, LIBVIRT_REMOVED);
    return 0;
}

static const struct {
    int id;
    virConnectDomainEventGenericCallback fn;
} removal_events[] = {
    {VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_removed)},
    {VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, VIR_DOMAIN_EVENT_CALLBACK(on_removal_failed)},
    {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_life)},
};

static int
listen_to(Removal *removal, virDomainPtr domain, int event, virConnectDomainEventGenericCallback fn)
{
    __atomic_add_fetch(&removal->refs, 1, __ATOMIC_RELAXED);
    int id = virConnectDomainEventRegisterAny(removal->conn->vir, domain, event, fn, removal,
                                              removal_unref);
    if (id < 0)
        removal_unref(removal); /* libvirt does not call the free function of what it refused */
    return id;
}

static void
removal_expect(Removal *removal, const char *alias)
{
    WITH_MUTEX(&removal->conn->lock);
    text_set(&removal->alias, alias);
    removal->outcome = LIBVIRT_REMOVAL_AWAITED;
}

/* Until the event came, the connection was lost or the time is over. */
static LibvirtRemoval
removal_wait(Removal *removal)
{
    HostConn *conn = removal->conn;
    int64_t deadline = clock_monotonic() + REMOVAL_US;
    WITH_MUTEX(&conn->lock);
    while (removal->outcome == LIBVIRT_REMOVAL_AWAITED && !conn->lost &&
           cond_wait_until(&conn->changed, &conn->lock, deadline))
        ;
    return removal->outcome == LIBVIRT_REMOVAL_AWAITED && conn->lost ? LIBVIRT_REMOVAL_UNKNOWN
                                                                     : removal->outcome;
}

/* Ask the guest until it has let go. false without *err: it did not. */
static bool
ask_guest(Removal *removal, Disks *disks, const char *uuid, const char *serial, GError **err)
{
    HostConn *conn = removal->conn;
    for (int i = 0; i < REMOVAL_TRIES; i++) {
        const DiskXml *live = disk_xml_find(disks->live, serial, NULL);
        if (!live)
            return true;
        removal_expect(removal, live->alias);
        /* A request that the first one has left standing is refused by QEMU before 8.0, but the
         * guest may still follow it. */
        if (virDomainDetachDeviceAlias(disks->domain, live->alias, VIR_DOMAIN_AFFECT_LIVE) < 0 &&
            i == 0 && libvirt_last_code() != VIR_ERR_DEVICE_MISSING) {
            g_autoptr(GError) error = NULL;
            libvirt_error_set(conn, &error, "detach disk %s (%s) from domain %s", live->target,
                              serial, uuid);
            if (refresh(conn, disks, NULL) && !disk_xml_find(disks->live, serial, NULL))
                return true; /* it went, or the guest did, meanwhile */
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
        LibvirtRemoval outcome = removal_wait(removal);
        if (outcome == LIBVIRT_REMOVAL_UNKNOWN)
            return err_set(err, ERR_UNREACHABLE,
                           "%s: the connection was lost while the guest of domain %s was asked to "
                           "let go of disk %s; it may still do so",
                           conn->host, uuid, serial);
        if (!refresh(conn, disks, err))
            return false;
        if (outcome == LIBVIRT_REMOVAL_REFUSED && disk_xml_find(disks->live, serial, NULL))
            break;
    }
    return !disk_xml_find(disks->live, serial, NULL);
}

static bool
detach_live(HostConn *conn, Disks *disks, const char *uuid, const char *serial, GError **err)
{
    const DiskXml *live = disk_xml_find(disks->live, serial, NULL);
    if (!live)
        return true;
    g_autofree char *target = g_strdup(live->target);
    if (!live->alias)
        return err_set(err, ERR_BACKEND, "%s: libvirt gives no alias for disk %s of domain %s",
                       conn->host, target, uuid);
    if (!is_not_moving(conn, disks, uuid, err))
        return false;
    Removal *removal = removal_new(conn);
    int ids[G_N_ELEMENTS(removal_events)];
    bool ok = true;
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
        ids[i] =
            ok ? listen_to(removal, disks->domain, removal_events[i].id, removal_events[i].fn) : -1;
        ok = ids[i] >= 0;
    }
    g_autoptr(GError) error = NULL;
    ok = ok ? ask_guest(removal, disks, uuid, serial, &error)
            : libvirt_error_set(conn, &error, "listen to domain %s", uuid);
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
        if (ids[i] >= 0)
            virConnectDomainEventDeregisterAny(conn->vir, ids[i]);
    }
    removal_unref(removal);
    if (error)
        g_propagate_error(err, g_steal_pointer(&error));
    else if (!ok)
        err_set(err, ERR_TIMEOUT,
                "%s: the guest of domain %s does not let go of /dev/%s (disk %s), and still has "
                "it; unmount it in the guest, or wait until the guest has booted, and detach it "
                "again, or power the server off first",
                conn->host, uuid, target, serial);
    return ok;
}

bool
libvirt_disk_detach(HostConn *conn, const char *uuid, const char *serial, GError **err)
{
    bool absent;
    g_auto(Disks) disks = {.domain = libvirt_domain_find(conn, uuid, &absent, err)};
    if (!disks.domain)
        return absent;
    if (!refresh(conn, &disks, err) || !detach_live(conn, &disks, uuid, serial, err))
        return false;
    const DiskXml *defined = disk_xml_find(disks.defined, serial, NULL);
    if (defined && !is_not_saved(conn, &disks, uuid, err))
        return false;
    if (defined &&
        virDomainDetachDeviceFlags(disks.domain, defined->text, VIR_DOMAIN_AFFECT_CONFIG) < 0)
        return libvirt_error_set(conn, err, "remove disk %s (%s) from the definition of domain %s",
                                 defined->target, serial, uuid);
    return true;
}

/* ---- what is there ---------------------------------------------------------------------- */
GPtrArray *
libvirt_disk_serials(HostConn *conn, const char *uuid, GError **err)
{
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, NULL, err);
    if (!domain)
        return NULL;
    /* of a domain that runs, this is what the guest has; else the definition */
    g_autoptr(GPtrArray) disks = read_disks(conn, domain, 0, err);
    if (!disks)
        return NULL;
    GPtrArray *serials = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < disks->len; i++) {
        const DiskXml *disk = disks->pdata[i];
        if (disk->serial)
            g_ptr_array_add(serials, g_strdup(disk->serial));
    }
    return serials;
}

bool
libvirt_disk_resize(HostConn *conn, const char *uuid, const char *serial, int64_t size,
                    GError **err)
{
    g_auto(Disks) disks = {.domain = libvirt_domain_find(conn, uuid, NULL, err)};
    if (!disks.domain || !refresh(conn, &disks, err))
        return false;
    if (!disks.active)
        return true;
    const DiskXml *disk = disk_xml_find(disks.live, serial, NULL);
    if (!disk)
        return err_set(err, ERR_NOT_FOUND, "%s: the guest of domain %s has no disk %s", conn->host,
                       uuid, serial);
    virDomainBlockInfo info = {0};
    if (virDomainGetBlockInfo(disks.domain, disk->target, &info, 0) < 0)
        return libvirt_error_set(conn, err, "read the size of disk %s (%s) of domain %s",
                                 disk->target, serial, uuid);
    /* QEMU would cut off what is behind the new end */
    if (size <= 0 || (unsigned long long)size < info.capacity)
        return err_set(err, ERR_INVALID,
                       "%s: disk %s (%s) of domain %s has %llu bytes and cannot shrink to %" PRId64,
                       conn->host, disk->target, serial, uuid, info.capacity, size);
    if (virDomainBlockResize(disks.domain, disk->target, (unsigned long long)size,
                             VIR_DOMAIN_BLOCK_RESIZE_BYTES) < 0)
        return libvirt_error_set(conn, err, "tell domain %s the new size of disk %s (%s)", uuid,
                                 disk->target, serial);
    return true;
}
