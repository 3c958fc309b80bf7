/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fake-disk.c: the disks of the fake's domains, and what else concerns disks
 *
 * As with libvirt, a disk is in the definition, in the guest, or in both; a guest begins with what
 * the definition has, and both halves go with it when it moves. They hold no data: where a test
 * wants some, it is in the files themselves. */
#include "host/domain-xml.h"
#include "host/fake-world.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static bool
slot_is_free(const FakeDisk *disk)
{
    return !disk->defined && !disk->live;
}

static FakeDisk *
find_serial(FakeDomain *domain, const char *serial)
{
    for (int i = 0; i < FAKE_DISKS_MOST; i++) {
        FakeDisk *disk = &domain->disks[i];
        if (!slot_is_free(disk) && strcmp(disk->serial, serial) == 0)
            return disk;
    }
    return NULL;
}

static FakeDisk *
find_target(FakeDomain *domain, const char *target)
{
    for (int i = 0; i < FAKE_DISKS_MOST; i++) {
        FakeDisk *disk = &domain->disks[i];
        if (!slot_is_free(disk) && strcmp(disk->target, target) == 0)
            return disk;
    }
    return NULL;
}

static FakeDisk *
find_free(FakeDomain *domain)
{
    for (int i = 0; i < FAKE_DISKS_MOST; i++) {
        if (slot_is_free(&domain->disks[i]))
            return &domain->disks[i];
    }
    return NULL;
}

bool
fake_disks_check(const ServerSpec *spec, GError **err)
{
    return disk_xml_check(spec->disks, spec->n_disks, err);
}

/* The fake's CD-ROM has a target of its own and, as with libvirt, no serial. */
static void
target_choose(FakeDomain *domain, const DiskSpec *disk, char target[8])
{
    if (disk->target) {
        g_strlcpy(target, disk->target, 8);
        return;
    }
    for (int i = 0; i < FAKE_DISKS_MOST; i++) {
        g_snprintf(target, 8, disk->is_cdrom ? "hd%c" : "vd%c", 'a' + i);
        if (!find_target(domain, target))
            return;
    }
}

void
fake_disks_define(FakeDomain *domain, const ServerSpec *spec)
{
    for (int i = 0; i < FAKE_DISKS_MOST; i++)
        domain->disks[i].defined = false;
    for (int named = 1; named >= 0; named--) { /* the names that were asked for come first */
        for (size_t i = 0; i < spec->n_disks; i++) {
            const DiskSpec *disk = &spec->disks[i];
            FakeDisk *slot = disk->serial ? find_serial(domain, disk->serial) : NULL;
            if ((disk->target != NULL) != (named == 1))
                continue;
            char target[8] = "";
            target_choose(domain, disk, target);
            if (!slot)
                slot = find_target(domain, target);
            if (!slot)
                slot = find_free(domain);
            if (!slot)
                continue; /* a running guest that has other disks fills the table */
            if (!slot->live) {
                *slot = (FakeDisk){0};
                g_strlcpy(slot->target, target, sizeof slot->target);
                g_strlcpy(slot->serial, disk->serial ? disk->serial : "", sizeof slot->serial);
            }
            slot->defined = true;
        }
    }
}

void
fake_disks_start(FakeDomain *domain)
{
    for (int i = 0; i < FAKE_DISKS_MOST; i++)
        domain->disks[i].live = domain->disks[i].defined;
}

void
fake_disks_stop(FakeDomain *domain)
{
    for (int i = 0; i < FAKE_DISKS_MOST; i++)
        domain->disks[i].live = false;
}

void
fake_disks_move(FakeDomain *to, const FakeDomain *from)
{
    memcpy(to->disks, from->disks, sizeof to->disks);
}

/* ---- the operations -----------------------------------------------------------------------
 */

static bool
runs(const FakeDomain *domain)
{
    return domain->state != DOMAIN_SHUTOFF;
}

static bool
is_not_moving(const FakeDomain *domain, GError **err)
{
    return domain->move == 0 || err_set(err, ERR_BUSY, "domain %s is being migrated", domain->uuid);
}

static bool
is_not_saved(const FakeDomain *domain, GError **err)
{
    return runs(domain) || !domain->saved ||
           err_set(err, ERR_CONFLICT, "the memory of domain %s is saved; resume it first",
                   domain->uuid);
}

static bool
attach(FakeWorld *world, FakeDomain *domain, const DiskSpec *disk, GError **err)
{
    FakeDisk *slot = find_serial(domain, disk->serial);
    if (slot && slot->live == runs(domain) && slot->defined == domain->persistent)
        return true;
    if (!is_not_moving(domain, err) || !is_not_saved(domain, err))
        return false;
    if (world->head.faults[domain->node] == FAKE_ATTACH_FAILS)
        return err_set(err, ERR_BACKEND,
                       "internal error: unable to execute QEMU command 'blockdev-add' (fault of "
                       "the fake)");
    if (!slot) {
        char target[8];
        target_choose(domain, disk, target);
        if (find_target(domain, target))
            return err_set(err, ERR_CONFLICT, "domain %s has another disk as %s", domain->uuid,
                           target);
        slot = find_free(domain);
        if (!slot)
            return err_set(err, ERR_BACKEND, "No more available PCI slots");
        fake_world_touch(world, domain, sizeof *domain);
        *slot = (FakeDisk){0};
        g_strlcpy(slot->target, target, sizeof slot->target);
        g_strlcpy(slot->serial, disk->serial, sizeof slot->serial);
    } else {
        fake_world_touch(world, domain, sizeof *domain);
    }
    slot->live = runs(domain);
    slot->defined = domain->persistent;
    return true;
}

bool
fake_disk_attach(HostConn *conn, const char *uuid, const DiskSpec *disk, GError **err)
{
    if (!disk->serial || disk->is_cdrom)
        return err_set(err, ERR_INVALID,
                       "a disk that is attached needs a serial and is no CD-ROM: %s", disk->source);
    if (!disk_xml_check(disk, 1, err))
        return false;
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *domain = fake_need_domain(conn, world, uuid, err);
    if (domain == NULL)
        return false;
    return fake_leave(world, attach(world, domain, disk, err));
}

static bool
detach(FakeWorld *world, FakeDomain *domain, const char *serial, GError **err)
{
    FakeDisk *slot = find_serial(domain, serial);
    if (!slot)
        return true;
    if (!is_not_saved(domain, err))
        return false;
    if (slot->live) {
        if (!is_not_moving(domain, err))
            return false;
        if (world->head.faults[domain->node] == FAKE_DISK_STAYS)
            return err_set(err, ERR_TIMEOUT,
                           "the guest of domain %s does not let go of /dev/%s (fault of the fake)",
                           domain->uuid, slot->target);
    }
    fake_world_touch(world, domain, sizeof *domain);
    *slot = (FakeDisk){0};
    return true;
}

bool
fake_disk_detach(HostConn *conn, const char *uuid, const char *serial, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *domain = fake_domain_find(world, fake_conn_node(conn), uuid);
    return fake_leave(world, domain == NULL || detach(world, domain, serial, err));
}

GPtrArray *
fake_disk_serials(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return NULL;
    const FakeDomain *domain = fake_need_domain(conn, world, uuid, err);
    if (domain == NULL)
        return NULL;
    GPtrArray *serials = g_ptr_array_new_with_free_func(g_free);
    for (int i = 0; i < FAKE_DISKS_MOST; i++) {
        const FakeDisk *disk = &domain->disks[i];
        if (*disk->serial && (runs(domain) ? disk->live : disk->defined))
            g_ptr_array_add(serials, g_strdup(disk->serial));
    }
    fake_world_unlock(world);
    return serials;
}

static bool
resize(FakeWorld *world, FakeDomain *domain, const char *serial, int64_t size, GError **err)
{
    if (!runs(domain))
        return true;
    FakeDisk *slot = find_serial(domain, serial);
    if (!slot || !slot->live)
        return err_set(err, ERR_NOT_FOUND, "the guest of domain %s has no disk %s", domain->uuid,
                       serial);
    if (size <= 0 || size < slot->size)
        return err_set(err, ERR_INVALID, "disk %s of domain %s cannot shrink to %" PRId64,
                       slot->target, domain->uuid, size);
    fake_world_touch(world, domain, sizeof *domain);
    slot->size = size;
    return true;
}

bool
fake_disk_resize(HostConn *conn, const char *uuid, const char *serial, int64_t size, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *domain = fake_need_domain(conn, world, uuid, err);
    if (domain == NULL)
        return false;
    return fake_leave(world, resize(world, domain, serial, size, err));
}

/* ---- network disks: the fake's disks are files -------------------------------------------------
 */

static bool
conn_works(HostConn *conn, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    return world != NULL && fake_leave(world, true);
}

bool
fake_secret_define(HostConn *conn, const char *uuid, const char *usage, const void *value,
                   size_t size, GError **err)
{
    if (!uuid_is_valid(uuid) || !text_is_clean(usage, 255, false) || size == 0 || size > 4096)
        return err_set(err, ERR_INVALID,
                       "a secret needs a UUID, a name and a value of at most 4096 bytes");
    return conn_works(conn, err);
}

bool
fake_disk_probe(HostConn *conn, const char *uuid, const char *virt_type, const DiskSpec *disk,
                int64_t *capacity, GError **err)
{
    struct stat found;
    if (!conn_works(conn, err))
        return false;
    if (disk->rbd)
        return err_set(err, ERR_UNSUPPORTED, "the fake has no Ceph");
    if (stat(disk->source, &found) != 0)
        return err_set(err, ERR_BACKEND, "cannot open disk %s: %s", disk->source,
                       errno_text(errno));
    *capacity = found.st_size;
    return true;
}
