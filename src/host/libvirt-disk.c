/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt-disk.c: what a node needs to open a network disk, and whether it can */
#include "host/host-libvirt-priv.h"

#include "host/domain-xml.h"
#include <stdlib.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(virSecret, virSecretFree)

bool
libvirt_secret_define(HostConn *conn, const char *uuid, const char *usage, const void *value,
                      size_t size, GError **err)
{
    g_autofree char *xml = NULL;
    if (!uuid_is_valid(uuid) || !text_is_clean(usage, 255, false) || size == 0 || size > 4096)
        return err_set(err, ERR_INVALID,
                       "a secret needs a UUID, a name and a value of at most 4096 bytes");
    xml = secret_xml_build(uuid, usage);
    g_autoptr(virSecret) secret = virSecretDefineXML(conn->vir, xml, 0);
    if (!secret || virSecretSetValue(secret, value, size, 0) < 0)
        return libvirt_error_set(conn, err, "store the secret of '%s'", usage);
    return true;
}

/* The guest never runs; libvirt ends it with this connection, whatever happens to us. QEMU opens
 * its disks before it is asked anything, so the answer to the question is the proof. */
bool
libvirt_disk_probe(HostConn *conn, const char *uuid, const char *virt_type, const DiskSpec *disk,
                   int64_t *capacity, GError **err)
{
    g_autofree char *xml = probe_xml_build(uuid, virt_type, disk, err);
    virDomainBlockInfo info = {0};
    if (!xml)
        return false;
    g_autoptr(virDomain) domain =
        virDomainCreateXML(conn->vir, xml, VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_AUTODESTROY);
    if (!domain)
        return libvirt_error_set(conn, err, "open disk %s", disk->source);
    bool ok = virDomainGetBlockInfo(domain, "vda", &info, 0) == 0 ||
              libvirt_error_set(conn, err, "read the size of disk %s", disk->source);
    if (virDomainDestroy(domain) < 0 && libvirt_last_code() != VIR_ERR_NO_DOMAIN && ok)
        ok = libvirt_error_set(conn, err, "remove the guest that looked at disk %s", disk->source);
    *capacity = (int64_t)MIN(info.capacity, (unsigned long long)INT64_MAX);
    return ok;
}
