/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt-facts.c: what a node is and what guests can get there */
#include "host/host-libvirt-priv.h"

#include "host/domain-xml.h"
#include <string.h>

/* libvirtd's max_client_requests as shipped; it cannot be read over the connection that it limits
 */
#define MAX_CLIENT_REQUESTS 5

const char *
libvirt_uri_encryption(const char *uri)
{
    g_autofree char *scheme = g_uri_parse_scheme(uri);
    const char *plus = scheme ? strchr(scheme, '+') : NULL;
    const char *transport = plus ? plus + 1 : "";
    if (strcmp(transport, "ssh") == 0 || strcmp(transport, "libssh") == 0 ||
        strcmp(transport, "libssh2") == 0)
        return "ssh";
    if (strcmp(transport, "tls") == 0)
        return "tls";
    if (strcmp(transport, "unix") == 0)
        return "local";
    /* no transport: libvirt takes TLS for a URI with a host, the local socket for one without */
    if (!*transport && scheme)
        return g_str_has_prefix(uri + strlen(scheme), ":///") ? "local" : "tls";
    return "plaintext";
}

/* The hypervisor's own answer for guests of virt_type. */
static DomainCapsXml *
domain_caps(HostConn *conn, const char *virt_type, GError **err)
{
    char *xml = virConnectGetDomainCapabilities(conn->vir, NULL, NULL, NULL, virt_type, 0);
    if (!xml) {
        libvirt_error_set(conn, err, "read what %s guests can have", virt_type);
        return NULL;
    }
    DomainCapsXml *caps = domain_caps_xml_read(xml, err);
    free(xml);
    return caps;
}

static bool
read_hypervisor(HostConn *conn, const char *virt_type, HostFacts *facts, GError **err)
{
    g_autoptr(DomainCapsXml) caps = NULL;
    const char *usable = "qemu";
    if (g_strcmp0(virt_type, "kvm") == 0) {
        /* libvirt starts a QEMU with KVM to learn this: that /dev/kvm is there would prove nothing
         */
        g_autoptr(GError) error = NULL;
        caps = domain_caps(conn, "kvm", &error);
        if (caps)
            usable = "kvm";
        else if (err_is(error, ERR_UNREACHABLE)) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
    }
    if (!caps)
        caps = domain_caps(conn, "qemu", err);
    if (!caps)
        return false;
    facts->virt_type = g_strdup(usable);
    facts->hypervisor_cpu = g_steal_pointer(&caps->hypervisor_cpu);
    facts->cpu_models = g_steal_pointer(&caps->cpu_models);
    return true;
}

static bool
read_node(HostConn *conn, HostFacts *facts, GError **err)
{
    virNodeInfo info;
    unsigned long libvirt_version, qemu_version;
    char *hostname = virConnectGetHostname(conn->vir);
    facts->hostname = g_strdup(hostname);
    free(hostname);
    if (!facts->hostname)
        return libvirt_error_set(conn, err, "read its host name");
    if (virNodeGetInfo(conn->vir, &info) < 0)
        return libvirt_error_set(conn, err, "read its CPUs and memory");
    if (virConnectGetLibVersion(conn->vir, &libvirt_version) < 0 ||
        virConnectGetVersion(conn->vir, &qemu_version) < 0)
        return libvirt_error_set(conn, err, "read its versions");
    facts->vcpus = info.cpus;
    facts->memory_mb = (int64_t)(info.memory / 1024);
    facts->libvirt_version = (int64_t)libvirt_version;
    facts->qemu_version = (int64_t)qemu_version;
    char *xml = virConnectGetCapabilities(conn->vir);
    if (!xml)
        return libvirt_error_set(conn, err, "read its capabilities");
    g_autoptr(CapsXml) caps = caps_xml_read(xml, err);
    free(xml);
    if (!caps)
        return false;
    facts->libvirt_uuid = g_steal_pointer(&caps->host_uuid);
    facts->cpu_info = g_steal_pointer(&caps->cpu_info);
    return true;
}

HostFacts *
libvirt_facts(HostConn *conn, const char *virt_type, GError **err)
{
    g_autoptr(HostFacts) facts = g_new0(HostFacts, 1);
    if (!read_node(conn, facts, err) || !read_hypervisor(conn, virt_type, facts, err))
        return NULL;
    facts->max_client_requests = MAX_CLIENT_REQUESTS;
    facts->encryption = g_strdup(libvirt_uri_encryption(conn->uri));
    return g_steal_pointer(&facts);
}
