/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disk-xml.c: the disks of a domain as libvirt XML, and read back from it
 *
 * A disk's target is its name on the node ("vdb"); a guest usually, but not always, calls it the
 * same. What both sides find it by is its serial, of which virtio shows the guest the first 20
 * bytes. The config drive is a CD-ROM: it takes no name from the volumes. On an i440fx it is the
 * chipset's own, which takes no slot either; on a Q35 it is one of virtio-scsi, because kernels for
 * clouds often cannot drive the chipset's.
 *
 * Disks are virtio-blk: one PCI function each, taken away only once the guest has agreed. The
 * i440fx has all its slots hot-pluggable; a Q35 guest gets as many root ports as it may have disks.
 */
#include "host/domain-xml.h"

#include <string.h>

enum {
    CDROMS_MOST = 4,
    ROOT_PORTS = 32 /* disks, network cards and the rest of a Q35 guest */
};

/* ---- what may be in a spec -------------------------------------------------------------- */
/* "pool/image", of characters that mean nothing to librbd's parser of names */
static bool
rbd_name_is_valid(const char *name)
{
    static const char allowed[] = G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_.-";
    size_t pool = strspn(name, allowed);
    size_t image = name[pool] == '/' ? strspn(name + pool + 1, allowed) : 0;
    return pool > 0 && image > 0 && name[pool + 1 + image] == '\0';
}

static bool
rbd_check(const DiskSpec *disk, GError **err)
{
    const RbdAccess *rbd = disk->rbd;
    if (!disk->source || strlen(disk->source) > XML_PATH_MOST || !rbd_name_is_valid(disk->source))
        return err_set(err, ERR_INVALID, "a disk on Ceph is named POOL/IMAGE, not '%.200s'",
                       disk->source ? disk->source : "");
    if (!xml_spec_text("Ceph user", rbd->user, XML_NAME_MOST, err))
        return false;
    if (!rbd->secret_uuid || !uuid_is_valid(rbd->secret_uuid))
        return err_set(err, ERR_INVALID, "disk %s needs the UUID of a secret", disk->source);
    if (!rbd->monitors || !rbd->monitors[0])
        return err_set(err, ERR_INVALID, "disk %s needs a monitor", disk->source);
    return true;
}

/* "vda" … "vdz", "vdaa" … "vdzz" */
static bool
target_is_valid(const char *target)
{
    static const char letters[] = G_CSET_a_2_z;
    size_t length = strlen(target);
    return g_str_has_prefix(target, "vd") && (length == 3 || length == 4) &&
           strspn(target + 2, letters) == length - 2;
}

static bool
one_check(const DiskSpec *disk, GError **err)
{
    if (!(disk->rbd ? rbd_check(disk, err) : xml_spec_path("disk", disk->source, err)) ||
        (disk->serial && !xml_spec_text("disk serial", disk->serial, XML_NAME_MOST, err)))
        return false;
    if (disk->target && (disk->is_cdrom || !target_is_valid(disk->target)))
        return err_set(err, ERR_INVALID, "disk %s cannot be called '%.64s': vda, vdb, … are names",
                       disk->source, disk->target);
    return (disk->format &&
            (strcmp(disk->format, "raw") == 0 || strcmp(disk->format, "qcow2") == 0)) ||
           err_set(err, ERR_INVALID, "the format of disk %s must be raw or qcow2", disk->source);
}

bool
disk_xml_check(const DiskSpec *disks, size_t n, GError **err)
{
    size_t cdroms = 0;
    for (size_t i = 0; i < n; i++) {
        if (!one_check(&disks[i], err))
            return false;
        cdroms += disks[i].is_cdrom;
        for (size_t k = 0; k < i; k++) {
            if (disks[i].target && g_strcmp0(disks[i].target, disks[k].target) == 0)
                return err_set(err, ERR_INVALID, "two disks of a domain are called %s",
                               disks[i].target);
            if (disks[i].serial && g_strcmp0(disks[i].serial, disks[k].serial) == 0)
                return err_set(err, ERR_INVALID, "two disks of a domain have the serial %s",
                               disks[i].serial);
        }
    }
    if (n - cdroms > DISKS_MOST || cdroms > CDROMS_MOST)
        return err_set(err, ERR_INVALID, "a domain cannot have more than %d disks and %d CD-ROMs",
                       DISKS_MOST, CDROMS_MOST);
    return true;
}

/* ---- builder ---------------------------------------------------------------------------- */
/* "192.0.2.1:3300" or "[2001:db8::1]:3300" */
static void
add_monitor(xmlNode *source, const char *address)
{
    const char *colon = strrchr(address, ':');
    bool brackets = *address == '[' && colon && colon > address && colon[-1] == ']';
    g_autofree char *name = colon ? g_strndup(address + (brackets ? 1 : 0),
                                              (gsize)(colon - address) - (brackets ? 2 : 0))
                                  : g_strdup(address);
    xmlNode *host = xml_add_with(source, "host", "name", name, NULL);
    if (colon)
        xml_set(host, "port", colon + 1);
}

static void
add_rbd_source(xmlNode *node, const DiskSpec *disk)
{
    xmlNode *auth = xml_add_with(node, "auth", "username", disk->rbd->user, NULL);
    xml_add_with(auth, "secret", "type", "ceph", "uuid", disk->rbd->secret_uuid, NULL);
    xmlNode *source = xml_add_with(node, "source", "protocol", "rbd", "name", disk->source, NULL);
    for (size_t i = 0; disk->rbd->monitors[i]; i++)
        add_monitor(source, disk->rbd->monitors[i]);
}

/* Fills the element node. */
static void
write_disk(xmlNode *node, const DiskSpec *disk, const char *target, const char *bus)
{
    xml_set(node, "type", disk->rbd ? "network" : "file");
    xml_set(node, "device", disk->is_cdrom ? "cdrom" : "disk");
    /* no host cache: what the guest was told is on the storage when another node opens it */
    xmlNode *driver =
        xml_add_with(node, "driver", "name", "qemu", "type", disk->format, "cache", "none", NULL);
    if (!disk->read_only && !disk->is_cdrom)
        xml_set(driver, "discard", "unmap");
    if (disk->rbd)
        add_rbd_source(node, disk);
    else
        xml_add_with(node, "source", "file", disk->source, NULL);
    xml_add_with(node, "target", "dev", target, "bus", bus, NULL);
    if (disk->read_only || disk->is_cdrom)
        xml_add(node, "readonly", NULL);
    if (disk->serial)
        xml_add(node, "serial", disk->serial);
}

/* The n-th name: vda, …, vdz, vdaa, … */
static char *
target_name(unsigned n)
{
    if (n < 26)
        return g_strdup_printf("vd%c", 'a' + (int)n);
    return g_strdup_printf("vd%c%c", 'a' + (int)(n / 26 - 1), 'a' + (int)(n % 26));
}

static char *
target_next(GHashTable *taken)
{
    for (unsigned i = 0;; i++) {
        g_autofree char *name = target_name(i);
        if (!g_hash_table_contains(taken, name))
            return g_steal_pointer(&name);
    }
}

static bool
machine_is_q35(const char *machine)
{
    return strcmp(machine, "q35") == 0 || g_str_has_prefix(machine, "pc-q35-");
}

void
disk_xml_add(xmlNode *devices, const char *machine, const DiskSpec *disks, size_t n)
{
    bool q35 = machine_is_q35(machine);
    g_autoptr(GHashTable) taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (size_t i = 0; i < n; i++) {
        if (disks[i].target)
            g_hash_table_add(taken, g_strdup(disks[i].target));
    }
    int cdroms = 0;
    bool boots = false;
    for (size_t i = 0; i < n; i++) {
        const DiskSpec *disk = &disks[i];
        g_autofree char *target = disk->is_cdrom
                                      ? g_strdup_printf("%s%c", q35 ? "sd" : "hd", 'a' + cdroms++)
                                  : disk->target ? g_strdup(disk->target)
                                                 : target_next(taken);
        g_hash_table_add(taken, g_strdup(target));
        xmlNode *node = xml_add(devices, "disk", NULL);
        write_disk(node, disk, target, !disk->is_cdrom ? "virtio" : q35 ? "scsi" : "ide");
        if (!boots && !disk->is_cdrom) {
            xml_add_with(node, "boot", "order", "1", NULL);
            boots = true;
        }
    }
    if (!q35)
        return;
    if (cdroms > 0)
        xml_add_with(devices, "controller", "type", "scsi", "index", "0", "model", "virtio-scsi",
                     NULL);
    xml_add_with(devices, "controller", "type", "pci", "index", "0", "model", "pcie-root", NULL);
    for (int i = 1; i <= ROOT_PORTS; i++) {
        g_autofree char *index = g_strdup_printf("%d", i);
        xml_add_with(devices, "controller", "type", "pci", "index", index, "model",
                     "pcie-root-port", NULL);
    }
}

char *
disk_xml_build(const DiskSpec *disk, const char *target, GError **err)
{
    if (!disk_xml_check(disk, 1, err))
        return NULL;
    g_autoptr(xmlDoc) doc = xml_new("disk");
    xmlNode *node = xmlDocGetRootElement(doc);
    write_disk(node, disk, target, "virtio");
    return xml_dump(node);
}

/* ---- reader ----------------------------------------------------------------------------- */
static void
disk_xml_free(void *opaque)
{
    DiskXml *disk = opaque;
    g_free(disk->target);
    g_free(disk->serial);
    g_free(disk->alias);
    g_free(disk->text);
    g_free(disk);
}

GPtrArray *
disk_xml_read(const char *text, GError **err)
{
    g_autoptr(xmlDoc) doc = xml_parse(text, "domain", "the domain's XML", err);
    if (!doc)
        return NULL;
    GPtrArray *disks = g_ptr_array_new_with_free_func(disk_xml_free);
    const xmlNode *devices = xml_child(xmlDocGetRootElement(doc), "devices");
    for (xmlNode *node = xml_child(devices, "disk"); node; node = xml_next(node)) {
        DiskXml *disk = g_new0(DiskXml, 1);
        disk->target = xml_attribute(xml_child(node, "target"), "dev");
        disk->serial = xml_text(xml_child(node, "serial"));
        disk->alias = xml_attribute(xml_child(node, "alias"), "name");
        disk->text = xml_dump(node);
        g_ptr_array_add(disks, disk);
    }
    return disks;
}

const DiskXml *
disk_xml_find(const GPtrArray *disks, const char *serial, const char *target)
{
    for (guint i = 0; disks && i < disks->len; i++) {
        const DiskXml *disk = disks->pdata[i];
        if ((serial && g_strcmp0(disk->serial, serial) == 0) ||
            (target && g_strcmp0(disk->target, target) == 0))
            return disk;
    }
    return NULL;
}

char *
disk_xml_target_free(const GPtrArray *live, const GPtrArray *defined)
{
    g_autoptr(GHashTable) taken = g_hash_table_new(g_str_hash, g_str_equal);
    const GPtrArray *lists[] = {live, defined};
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        for (guint k = 0; lists[i] && k < lists[i]->len; k++) {
            DiskXml *disk = lists[i]->pdata[k];
            if (disk->target)
                g_hash_table_add(taken, disk->target);
        }
    }
    return target_next(taken);
}
