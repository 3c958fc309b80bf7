/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz-domain-xml.c: what a node sends as XML through every reader of the libvirt driver, with what
 * must hold of what they give
 *
 * The first byte chooses the reader, the rest is the document. */
#include "host/domain-xml.h"

#include <jansson.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A reader either gives a value or says why not. */
static void
check_error(bool given, GError **error)
{
    g_assert_true(given == !*error);
    g_assert_true(given || err_code(*error) == ERR_INVALID);
    g_clear_error(error);
}

/* What came out of a reader must pass the CPU reader, and survive the builder. */
static void
check_cpu(const char *text)
{
    static const char *const flags[] = {"+aes", "-x2apic", NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(CpuXml) cpu = cpu_xml_read(text, &error);
    check_error(cpu != NULL, &error);
    g_autofree char *flagged = cpu_xml_with_flags(text, flags, &error);
    check_error(flagged != NULL, &error);
    if (!cpu)
        return;
    g_assert_nonnull(flagged);
    g_autoptr(CpuXml) again = cpu_xml_read(flagged, &error);
    if (again)
        g_assert_cmpstr(g_hash_table_lookup(again->features, "x2apic"), ==, "disable");
    g_clear_error(&error);

    DiskSpec disk = {.source = (char *)"/d/x", .format = (char *)"raw"};
    ServerSpec spec = {.uuid = (char *)"0d5a5c5e-92c8-4f5c-8a3e-6a7f1f5f3b10",
                       .domain_name = (char *)"x",
                       .virt_type = (char *)"qemu",
                       .machine = (char *)"pc",
                       .cpu_xml = (char *)text,
                       .vcpus = 1,
                       .ram_mb = 1,
                       .disks = &disk,
                       .n_disks = 1};
    g_autofree char *domain = domain_xml_build(&spec, &error);
    check_error(domain != NULL, &error);
}

static void
check_json(const char *text, bool array)
{
    json_t *value = json_loads(text, 0, NULL);
    g_assert_true(array ? json_is_array(value) : json_is_object(value));
    json_decref(value);
}

static void
read_domain(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainXml) domain = domain_xml_read(text, &error);
    check_error(domain != NULL, &error);
    if (domain && domain->cpu)
        check_cpu(domain->cpu);
    g_autoptr(GPtrArray) disks = disk_xml_read(text, &error);
    check_error(disks != NULL, &error);
    if (disks) {
        g_autofree char *next = disk_xml_target_free(disks, disks);
        g_assert_null(disk_xml_find(disks, NULL, next));
    }
}

static void
read_caps(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CapsXml) caps = caps_xml_read(text, &error);
    check_error(caps != NULL, &error);
    if (caps) {
        g_assert_true(uuid_is_valid(caps->host_uuid));
        check_json(caps->cpu_info, false);
    }
}

static void
read_domain_caps(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainCapsXml) caps = domain_caps_xml_read(text, &error);
    check_error(caps != NULL, &error);
    if (caps)
        check_json(caps->cpu_models, true);
    if (caps && caps->hypervisor_cpu)
        check_cpu(caps->hypervisor_cpu);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(const char *) = {read_domain, check_cpu, read_caps,
                                                    read_domain_caps};
    if (size == 0)
        return 0;
    xml_init();
    g_autofree char *text = g_strndup((const char *)data + 1, size - 1);
    readers[data[0] % G_N_ELEMENTS(readers)](text);
    return 0;
}
