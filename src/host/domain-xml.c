/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* domain-xml.c: a server's domain as libvirt XML, and the little that is read back from one */
#include "host/domain-xml.h"

#include <libxml/parser.h>
#include <string.h>

#define TITLE_MOST 1024

/* ---- the tree --------------------------------------------------------------------------- */
void
xml_init(void)
{
    LIBXML_TEST_VERSION
    xmlInitParser();
}

xmlDoc *
xml_parse(const char *text, const char *root, const char *what, GError **err)
{
    size_t size = strnlen(text, XML_MOST + 1);
    if (size > XML_MOST) {
        err_set(err, ERR_INVALID, "%s is longer than %zu bytes", what, XML_MOST);
        return NULL;
    }
    g_autoptr(xmlDoc) doc = xmlReadMemory(text, (int)size, NULL, NULL,
                                          XML_PARSE_NONET | XML_PARSE_NOBLANKS | XML_PARSE_NOERROR |
                                              XML_PARSE_NOWARNING);
    if (!doc) {
        err_set(err, ERR_INVALID, "%s is not well-formed XML", what);
        return NULL;
    }
    /* without a document type there are no entities to expand */
    if (doc->intSubset || doc->extSubset) {
        err_set(err, ERR_INVALID, "%s has a document type, which is not accepted", what);
        return NULL;
    }
    const xmlNode *element = xmlDocGetRootElement(doc);
    if (!element || strcmp((const char *)element->name, root) != 0) {
        err_set(err, ERR_INVALID, "%s does not begin with a <%s> element", what, root);
        return NULL;
    }
    return g_steal_pointer(&doc);
}

static xmlNode *
xml_find(xmlNode *node, const char *name)
{
    for (; node; node = node->next) {
        if (node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0)
            return node;
    }
    return NULL;
}

xmlNode *
xml_child(const xmlNode *node, const char *name)
{
    return node ? xml_find(node->children, name) : NULL;
}

xmlNode *
xml_next(const xmlNode *node)
{
    return xml_find(node->next, (const char *)node->name);
}

static char *
xml_take(xmlChar *text)
{
    char *copy = g_strdup((const char *)text);
    xmlFree(text);
    return copy;
}

char *
xml_attribute(const xmlNode *node, const char *name)
{
    return node ? xml_take(xmlGetNoNsProp((xmlNode *)node, (const xmlChar *)name)) : NULL;
}

char *
xml_text(const xmlNode *node)
{
    return node ? xml_take(xmlNodeGetContent(node)) : NULL;
}

char *
xml_dump(xmlNode *node)
{
    xmlBuffer *buffer = xmlBufferCreate();
    xmlNodeDump(buffer, node->doc, node, 0, 1);
    char *text = g_strdup((const char *)xmlBufferContent(buffer));
    xmlBufferFree(buffer);
    return text;
}

xmlDoc *
xml_new(const char *root)
{
    xmlDoc *doc = xmlNewDoc((const xmlChar *)"1.0");
    xmlDocSetRootElement(doc, xmlNewDocNode(doc, NULL, (const xmlChar *)root, NULL));
    return doc;
}

xmlNode *
xml_add(xmlNode *parent, const char *name, const char *text)
{
    return xmlNewTextChild(parent, NULL, (const xmlChar *)name, (const xmlChar *)text);
}

void
xml_set(xmlNode *node, const char *name, const char *value)
{
    xmlSetProp(node, (const xmlChar *)name, (const xmlChar *)value);
}

xmlNode *
xml_add_with(xmlNode *parent, const char *name, ...)
{
    xmlNode *node = xml_add(parent, name, NULL);
    va_list list;
    va_start(list, name);
    const char *key;
    while ((key = va_arg(list, const char *)))
        xml_set(node, key, va_arg(list, const char *));
    va_end(list);
    return node;
}

static void
xml_add_number(xmlNode *parent, const char *name, int64_t number, const char *unit)
{
    g_autofree char *text = g_strdup_printf("%" PRId64, number);
    xmlNode *node = xml_add(parent, name, text);
    if (unit)
        xml_set(node, "unit", unit);
}

/* ---- what may be in a spec -------------------------------------------------------------- */
bool
xml_spec_text(const char *field, const char *value, size_t most, GError **err)
{
    if (value && text_is_clean(value, most, false))
        return true;
    return err_set(
        err, ERR_INVALID,
        "a domain's %s must be 1 to %zu bytes of printable UTF-8 without control characters", field,
        most);
}

bool
xml_spec_path(const char *field, const char *value, GError **err)
{
    if (!xml_spec_text(field, value, XML_PATH_MOST, err))
        return false;
    if (!g_path_is_absolute(value))
        return err_set(err, ERR_INVALID, "a domain's %s must be an absolute path: %s", field,
                       value);
    return true;
}

static bool
mac_is_valid(const char *text)
{
    if (!text || strlen(text) != 17)
        return false;
    for (int i = 0; i < 17; i++) {
        if (i % 3 == 2 ? text[i] != ':' : !g_ascii_isxdigit(text[i]))
            return false;
    }
    return true;
}

static bool
spec_check(const ServerSpec *spec, GError **err)
{
    if (!spec->uuid || !uuid_is_valid(spec->uuid))
        return err_set(err, ERR_INVALID, "a domain needs a UUID");
    if (!xml_spec_text("name", spec->domain_name, XML_NAME_MOST, err) ||
        !xml_spec_text("machine type", spec->machine, XML_NAME_MOST, err))
        return false;
    if (spec->title && !xml_spec_text("title", spec->title, TITLE_MOST, err))
        return false;
    if (!spec->virt_type ||
        (strcmp(spec->virt_type, "kvm") != 0 && strcmp(spec->virt_type, "qemu") != 0))
        return err_set(err, ERR_INVALID, "a domain's virt_type must be kvm or qemu");
    if (spec->vcpus < 1 || spec->vcpus > 4096 || spec->ram_mb < 1 ||
        spec->ram_mb > INT64_C(1) << 34)
        return err_set(err, ERR_INVALID,
                       "a domain cannot have %" PRId64 " vCPUs and %" PRId64 " MiB of memory",
                       spec->vcpus, spec->ram_mb);
    if (spec->console_path && !xml_spec_path("console path", spec->console_path, err))
        return false;
    if (!disk_xml_check(spec->disks, spec->n_disks, err))
        return false;
    for (size_t i = 0; i < spec->n_nics; i++) {
        const NicSpec *nic = &spec->nics[i];
        if (!mac_is_valid(nic->mac_address))
            return err_set(err, ERR_INVALID, "a network card needs a MAC address");
        if (!xml_spec_text("bridge", nic->bridge, 15, err) ||
            (nic->port_id && !xml_spec_text("port", nic->port_id, XML_NAME_MOST, err)))
            return false;
        if (nic->mtu != 0 && (nic->mtu < 68 || nic->mtu > 65535))
            return err_set(err, ERR_INVALID, "a network card cannot have an MTU of %" PRId64,
                           nic->mtu);
    }
    return true;
}

/* ---- builder ---------------------------------------------------------------------------- */
static void
add_metadata(xmlNode *domain, const ServerSpec *spec)
{
    xmlNode *metadata = xml_add(domain, "metadata", NULL);
    xmlNode *server = xml_add(metadata, "server", NULL);
    xmlNs *ns = xmlNewNs(server, (const xmlChar *)XML_DOMAIN_NAMESPACE, (const xmlChar *)"godwit");
    xmlSetNs(server, ns);
    for (size_t i = 0; i < spec->n_nics; i++) {
        if (!spec->nics[i].port_id)
            continue;
        xmlNode *port = xmlNewTextChild(server, ns, (const xmlChar *)"port", NULL);
        xml_set(port, "id", spec->nics[i].port_id);
        xml_set(port, "mac", spec->nics[i].mac_address);
    }
}

static void
add_nic(xmlNode *devices, const NicSpec *nic)
{
    xmlNode *node = xml_add_with(devices, "interface", "type", "bridge", NULL);
    xml_add_with(node, "mac", "address", nic->mac_address, NULL);
    xml_add_with(node, "source", "bridge", nic->bridge, NULL);
    xml_add_with(node, "model", "type", "virtio", NULL);
    if (nic->mtu) {
        g_autofree char *mtu = g_strdup_printf("%" PRId64, nic->mtu);
        xml_add_with(node, "mtu", "size", mtu, NULL);
    }
}

static void
add_devices(xmlNode *domain, const ServerSpec *spec)
{
    xmlNode *devices = xml_add(domain, "devices", NULL);
    disk_xml_add(devices, spec->machine, spec->disks, spec->n_disks);
    for (size_t i = 0; i < spec->n_nics; i++)
        add_nic(devices, &spec->nics[i]);
    xml_add_with(devices, "controller", "type", "usb", "model", "none", NULL);
    if (spec->console_path) {
        xmlNode *serial = xml_add_with(devices, "serial", "type", "file", NULL);
        xml_add_with(serial, "source", "path", spec->console_path, "append", "on", NULL);
        xml_add_with(serial, "target", "port", "0", NULL);
    }
    xml_add_with(devices, "memballoon", "model", "virtio", NULL);
    xmlNode *rng = xml_add_with(devices, "rng", "model", "virtio", NULL);
    xml_set(xml_add(rng, "backend", "/dev/urandom"), "model", "random");
}

static bool
add_cpu(xmlNode *domain, const char *cpu_xml, GError **err)
{
    if (!cpu_xml || !*cpu_xml)
        return true;
    g_autoptr(xmlDoc) cpu = xml_parse(cpu_xml, "cpu", "the server's CPU", err);
    if (!cpu)
        return false;
    xmlAddChild(domain, xmlDocCopyNode(xmlDocGetRootElement(cpu), domain->doc, 1));
    return true;
}

char *
domain_xml_build(const ServerSpec *spec, GError **err)
{
    if (!spec_check(spec, err))
        return NULL;
    g_autoptr(xmlDoc) doc = xml_new("domain");
    xmlNode *domain = xmlDocGetRootElement(doc);
    xml_set(domain, "type", spec->virt_type);
    xml_add(domain, "uuid", spec->uuid);
    xml_add(domain, "name", spec->domain_name);
    if (spec->title)
        xml_add(domain, "title", spec->title);
    add_metadata(domain, spec);
    xml_add_number(domain, "memory", spec->ram_mb, "MiB");
    xml_add_number(domain, "vcpu", spec->vcpus, NULL);
    xml_set(xml_add(xml_add(domain, "os", NULL), "type", "hvm"), "machine", spec->machine);
    xmlNode *features = xml_add(domain, "features", NULL);
    xml_add(features, "acpi", NULL);
    xml_add(features, "apic", NULL);
    if (!add_cpu(domain, spec->cpu_xml, err))
        return NULL;
    xml_add_with(domain, "clock", "offset", "utc", NULL);
    xml_add(domain, "on_poweroff", "destroy");
    xml_add(domain, "on_reboot", "restart");
    xml_add(domain, "on_crash", "destroy");
    add_devices(domain, spec);
    return xml_dump(domain);
}

char *
probe_xml_build(const char *uuid, const char *virt_type, const DiskSpec *disk, GError **err)
{
    g_autofree char *name = g_strconcat(PROBE_PREFIX, uuid, NULL);
    const ServerSpec spec = {.uuid = (char *)uuid,
                             .domain_name = name,
                             .virt_type = (char *)virt_type,
                             .machine = (char *)"pc",
                             .vcpus = 1,
                             .ram_mb = 32,
                             .disks = (DiskSpec *)disk,
                             .n_disks = 1};
    if (!spec_check(&spec, err))
        return NULL;
    g_autoptr(xmlDoc) doc = xml_new("domain");
    xmlNode *domain = xmlDocGetRootElement(doc);
    xml_set(domain, "type", virt_type);
    xml_add(domain, "uuid", uuid);
    xml_add(domain, "name", name);
    xml_add_number(domain, "memory", spec.ram_mb, "MiB");
    xml_add_number(domain, "vcpu", spec.vcpus, NULL);
    xml_set(xml_add(xml_add(domain, "os", NULL), "type", "hvm"), "machine", spec.machine);
    xmlNode *devices = xml_add(domain, "devices", NULL);
    disk_xml_add(devices, spec.machine, disk, 1);
    xml_add_with(devices, "controller", "type", "usb", "model", "none", NULL);
    xml_add_with(devices, "memballoon", "model", "none", NULL);
    return xml_dump(domain);
}

/* On the node's own disk, readable for root alone: a libvirt that is restarted, or whose secret
 * daemon ends by itself when it is idle, must still have it for a guest that is coming in. */
char *
secret_xml_build(const char *uuid, const char *usage)
{
    g_autoptr(xmlDoc) doc = xml_new("secret");
    xmlNode *secret = xmlDocGetRootElement(doc);
    xml_set(secret, "ephemeral", "no");
    xml_set(secret, "private", "yes");
    xml_add(secret, "uuid", uuid);
    xmlNode *use = xml_add_with(secret, "usage", "type", "ceph", NULL);
    xml_add(use, "name", usage);
    return xml_dump(secret);
}

/* ---- reader ----------------------------------------------------------------------------- */
void
domain_xml_free(DomainXml *domain)
{
    if (!domain)
        return;
    g_free(domain->machine);
    g_free(domain->cpu);
    g_free(domain);
}

static bool
metadata_is_ours(const xmlNode *metadata)
{
    for (const xmlNode *node = xml_child(metadata, "server"); node; node = xml_next(node)) {
        if (node->ns && node->ns->href &&
            strcmp((const char *)node->ns->href, XML_DOMAIN_NAMESPACE) == 0)
            return true;
    }
    return false;
}

DomainXml *
domain_xml_read(const char *text, GError **err)
{
    g_autoptr(xmlDoc) doc = xml_parse(text, "domain", "the domain's XML", err);
    if (!doc)
        return NULL;
    const xmlNode *root = xmlDocGetRootElement(doc);
    DomainXml *domain = g_new0(DomainXml, 1);
    domain->machine = xml_attribute(xml_child(xml_child(root, "os"), "type"), "machine");
    xmlNode *cpu = xml_child(root, "cpu");
    if (cpu)
        domain->cpu = xml_dump(cpu);
    domain->ours = metadata_is_ours(xml_child(root, "metadata"));
    return domain;
}
