/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt-save.c: a domain's memory kept on its node while it is off, and brought back
 *
 * libvirt calls this a managed save: one image per domain, in a directory of its own. Left to
 * itself, libvirt goes on from such an image on any start, and boots where the image is missing or
 * incomplete. Here each is a call of its own: domain_start always boots (and so drops the image),
 * domain_restore never does. */
#include "host/host-libvirt-priv.h"

bool
libvirt_is_saved(virDomainPtr domain, bool *saved)
{
    int has = virDomainHasManagedSaveImage(domain, 0);
    *saved = has > 0;
    return has >= 0;
}

/* A call failed with libvirt's last error: true if the domain is off and saved all the same. */
static bool
is_saved_now(HostConn *conn, virDomainPtr domain, const char *uuid, GError **err)
{
    g_autoptr(GError) error = NULL;
    bool saved;
    libvirt_error_set(conn, &error, "save the memory of domain %s", uuid);
    if (virDomainIsActive(domain) == 0 && libvirt_is_saved(domain, &saved) && saved)
        return true;
    g_propagate_error(err, g_steal_pointer(&error));
    return false;
}

bool
libvirt_domain_save(HostConn *conn, const char *uuid, GError **err)
{
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, NULL, err);
    if (!domain)
        return false;
    /* A second call behind one that is under way waits for it, and then finds the domain off. */
    return virDomainManagedSave(domain, 0) == 0 || is_saved_now(conn, domain, uuid, err);
}

bool
libvirt_domain_restore(HostConn *conn, const char *uuid, GError **err)
{
    g_autoptr(virDomain) domain = libvirt_domain_find(conn, uuid, NULL, err);
    if (!domain)
        return false;
    int active = virDomainIsActive(domain);
    if (active > 0)
        return true;
    bool saved;
    if (active < 0 || !libvirt_is_saved(domain, &saved))
        return libvirt_error_set(conn, err, "read the state of domain %s", uuid);
    if (!saved)
        return err_set(err, ERR_NOT_FOUND, "%s: no memory of domain %s is kept", conn->host, uuid);
    /* An image that was not written to its end would be thrown away and the domain booted: have
     * libvirt open it first, which it refuses then. One that was saved while paused would come back
     * as if a move had left it paused: note in the image that it runs. */
    char *xml = virDomainManagedSaveGetXMLDesc(domain, VIR_DOMAIN_SAVE_IMAGE_XML_SECURE);
    bool ok = xml && virDomainManagedSaveDefineXML(domain, xml, VIR_DOMAIN_SAVE_RUNNING) == 0 &&
              virDomainCreate(domain) == 0;
    if (!ok)
        libvirt_error_set(conn, err, "bring back the saved memory of domain %s", uuid);
    free(xml);
    return ok;
}
