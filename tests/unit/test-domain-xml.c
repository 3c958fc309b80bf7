/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-domain-xml.c: the domain XML against golden files, and the readers of what nodes say
 *
 * The golden files are in DOMAIN_GOLDEN; with GODWIT_GOLDEN_UPDATE set they are written anew. */
#include "host/domain-xml.h"

#include <string.h>

#define CPU                                                                     \
    "<cpu mode='custom' match='exact'><model fallback='forbid'>Nehalem</model>" \
    "<feature policy='require' name='aes'/></cpu>"

static void
golden_check(const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(DOMAIN_GOLDEN, name, NULL);
    g_autofree char *expected = NULL;
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    g_autoptr(GError) error = NULL;
    if (g_getenv("GODWIT_GOLDEN_UPDATE"))
        g_file_set_contents(path, line, -1, NULL);
    if (!g_file_get_contents(path, &expected, NULL, &error)) {
        g_test_message("%s", error->message);
        g_test_fail();
        return;
    }
    g_assert_cmpstr(line, ==, expected);
}

static void
test_full(void)
{
    DiskSpec disks[] = {
        {.source = "/var/lib/godwit/disks/1.img", .format = "raw", .serial = "3f0e1a"},
        {.source = "/var/lib/godwit/disks/1.config", .format = "raw", .is_cdrom = true},
        {.source = "/var/lib/godwit/disks/2.qcow2", .format = "qcow2"},
        {.source = "/var/lib/godwit/disks/3.img", .format = "raw", .read_only = true},
    };
    NicSpec nics[] = {
        {.mac_address = "fa:16:3e:00:00:01",
         .bridge = "br0",
         .port_id = "8f1d0dc6-9f0e-4f7e-8d76-0b6a0d2f9d11",
         .mtu = 1450},
        {.mac_address = "fa:16:3e:00:00:02", .bridge = "br1"},
    };
    ServerSpec spec = {.uuid = "0d5a5c5e-92c8-4f5c-8a3e-6a7f1f5f3b10",
                       .domain_name = "instance-0000002a",
                       .title = "web <1> & \"friends\" 'ä'",
                       .virt_type = "kvm",
                       .machine = "pc-i440fx-7.2",
                       .cpu_xml = CPU,
                       .vcpus = 4,
                       .ram_mb = 8192,
                       .console_path = "/var/lib/godwit/console/1.log",
                       .disks = disks,
                       .n_disks = G_N_ELEMENTS(disks),
                       .nics = nics,
                       .n_nics = G_N_ELEMENTS(nics)};
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = domain_xml_build(&spec, &error);
    g_assert_no_error(error);
    golden_check("domain-full.xml", xml);

    g_autoptr(DomainXml) read = domain_xml_read(xml, &error);
    g_assert_no_error(error);
    g_assert_true(read->ours);
    g_assert_cmpstr(read->machine, ==, "pc-i440fx-7.2");
    g_autoptr(CpuXml) cpu = cpu_xml_read(read->cpu, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(cpu->model, ==, "Nehalem");
    g_assert_cmpstr(g_hash_table_lookup(cpu->features, "aes"), ==, "require");
}

static ServerSpec
least(DiskSpec *disk)
{
    *disk = (DiskSpec){.source = "/d/disk.img", .format = "raw"};
    return (ServerSpec){.uuid = "0d5a5c5e-92c8-4f5c-8a3e-6a7f1f5f3b10",
                        .domain_name = "instance-00000001",
                        .virt_type = "qemu",
                        .machine = "pc",
                        .vcpus = 1,
                        .ram_mb = 256,
                        .disks = disk,
                        .n_disks = 1};
}

static void
test_least(void)
{
    DiskSpec disk;
    ServerSpec spec = least(&disk);
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = domain_xml_build(&spec, &error);
    g_assert_no_error(error);
    golden_check("domain-least.xml", xml);
    spec.cpu_xml = (char *)""; /* cpu_mode = none */
    g_autofree char *same = domain_xml_build(&spec, &error);
    g_assert_cmpstr(same, ==, xml);
}

static char *monitors[] = {(char *)"192.0.2.7:3300", (char *)"[2001:db8::7]:3300", NULL};
static RbdAccess rbd = {monitors, (char *)"godwit", (char *)"5a0f4a3e-0c53-4b0c-9a53-60b2a4c6de01"};

static void
test_rbd(void)
{
    DiskSpec disks[] = {
        {.source = "instances/3f0e_disk", .format = "raw", .rbd = &rbd},
        {.source = "instances/3f0e_disk.config", .format = "raw", .is_cdrom = true, .rbd = &rbd},
        {.source = "images/3f0e", .format = "raw", .read_only = true, .rbd = &rbd},
    };
    ServerSpec spec = least(disks);
    disks[0] =
        (DiskSpec){.source = (char *)"instances/3f0e_disk", .format = (char *)"raw", .rbd = &rbd};
    spec.n_disks = 2;
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = domain_xml_build(&spec, &error);
    g_assert_no_error(error);
    golden_check("domain-rbd.xml", xml);

    g_autofree char *probe = probe_xml_build(spec.uuid, "qemu", &disks[2], &error);
    g_assert_no_error(error);
    golden_check("domain-probe.xml", probe);
    g_autoptr(DomainXml) read = domain_xml_read(probe, &error);
    g_assert_no_error(error);
    g_assert_false(read->ours);
    g_autofree char *secret = secret_xml_build(rbd.secret_uuid, "godwit <client>");
    golden_check("secret.xml", secret);
}

#define VOLUME "c1d8c2ab-3a4c-4a0e-9d0e-0a8e6f1b7d0"

/* Boot from a volume, with more of them: names that were given, and the next free ones. */
static void
test_volumes(void)
{
    DiskSpec disks[] = {
        {.source = "volumes/volume-1",
         .format = "raw",
         .target = "vda",
         .serial = VOLUME "1",
         .rbd = &rbd},
        {.source = "volumes/volume-2", .format = "raw", .serial = VOLUME "2", .rbd = &rbd},
        {.source = "volumes/volume-3",
         .format = "raw",
         .target = "vdb",
         .serial = VOLUME "3",
         .read_only = true,
         .rbd = &rbd},
        {.source = "volumes/volume-4",
         .format = "raw",
         .target = "vdaa",
         .serial = VOLUME "4",
         .rbd = &rbd},
        {.source = "instances/3f0e_disk.config", .format = "raw", .is_cdrom = true, .rbd = &rbd},
    };
    DiskSpec unused;
    ServerSpec spec = least(&unused);
    spec.disks = disks;
    spec.n_disks = G_N_ELEMENTS(disks);
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = domain_xml_build(&spec, &error);
    g_assert_no_error(error);
    golden_check("domain-volumes.xml", xml);

    g_autoptr(GPtrArray) read = disk_xml_read(xml, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(read->len, ==, 5);
    g_assert_cmpstr(disk_xml_find(read, VOLUME "2", NULL)->target, ==, "vdc");
    g_assert_cmpstr(disk_xml_find(read, NULL, "vdb")->serial, ==, VOLUME "3");
    g_assert_cmpstr(disk_xml_find(read, NULL, "hda")->serial, ==, NULL);
    g_assert_null(disk_xml_find(read, VOLUME "5", NULL));
    g_assert_null(disk_xml_find(NULL, VOLUME "1", NULL));
    g_autofree char *next = disk_xml_target_free(read, NULL);
    g_assert_cmpstr(next, ==, "vdd");

    g_autofree char *one = disk_xml_build(&disks[1], "vdc", &error);
    g_assert_no_error(error);
    g_assert_true(g_str_has_prefix(one, "<disk type=\"network\" device=\"disk\">\n"));
    g_assert_nonnull(strstr(one, "<serial>" VOLUME "2</serial>"));

    spec.machine = (char *)"q35";
    g_autofree char *q35 = domain_xml_build(&spec, &error);
    g_assert_no_error(error);
    golden_check("domain-q35.xml", q35);
}

static void
test_many_disks(void)
{
    DiskSpec disks[DISKS_MOST + 2], unused;
    for (size_t i = 0; i < G_N_ELEMENTS(disks); i++)
        disks[i] = (DiskSpec){
            .source = (char *)"/d/disk.img", .format = (char *)"raw", .is_cdrom = i == 3};
    ServerSpec spec = least(&unused);
    spec.disks = disks;
    spec.n_disks = DISKS_MOST + 1;
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = domain_xml_build(&spec, &error);
    g_assert_no_error(error);
    g_autoptr(GPtrArray) read = disk_xml_read(xml, &error);
    g_assert_nonnull(disk_xml_find(read, NULL, "vdz"));
    g_autofree char *next = disk_xml_target_free(NULL, read);
    g_assert_cmpstr(next, ==, "vdaa");
    spec.n_disks++;
    g_assert_null(domain_xml_build(&spec, &error));
    g_assert_true(err_is(error, ERR_INVALID));
}

/* Whatever a field holds, it stays text: the document has the same elements. */
static void
test_hostile_text(void)
{
    DiskSpec disk;
    ServerSpec spec = least(&disk);
    spec.title = (char *)"</title><os><type>exe</type></os>";
    disk.source = (char *)"/d/'/><source file=\"/etc/shadow\"/>";
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = domain_xml_build(&spec, &error);
    g_assert_no_error(error);
    golden_check("domain-hostile.xml", xml);
    g_autoptr(xmlDoc) doc = xml_parse(xml, "domain", "test", &error);
    g_assert_no_error(error);
    const xmlNode *root = xmlDocGetRootElement(doc);
    g_autofree char *title = xml_text(xml_child(root, "title"));
    g_assert_cmpstr(title, ==, spec.title);
    const xmlNode *source = xml_child(xml_child(xml_child(root, "devices"), "disk"), "source");
    g_autofree char *file = xml_attribute(source, "file");
    g_assert_cmpstr(file, ==, disk.source);
    g_assert_null(xml_next(source));
}

static void
assert_refused(const ServerSpec *spec, const char *names)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = domain_xml_build(spec, &error);
    g_assert_null(xml);
    g_assert_true(err_is(error, ERR_INVALID));
    g_assert_nonnull(strstr(error->message, names));
}

static void
test_refused(void)
{
    DiskSpec disk;
    NicSpec nic = {.mac_address = (char *)"fa:16:3e:00:00:01", .bridge = (char *)"br0"};
    ServerSpec spec = least(&disk);
    spec.uuid = (char *)"no";
    assert_refused(&spec, "UUID");
    spec = least(&disk);
    spec.title = (char *)"a\nb";
    assert_refused(&spec, "title");
    spec = least(&disk);
    spec.virt_type = (char *)"xen";
    assert_refused(&spec, "virt_type");
    spec = least(&disk);
    spec.vcpus = 0;
    assert_refused(&spec, "vCPUs");
    spec = least(&disk);
    disk.source = (char *)"relative.img";
    assert_refused(&spec, "absolute");
    static const char *const targets[] = {"vd", "vdA", "sda", "vdaaa", "vda'/>", "", "/dev/vda"};
    for (size_t i = 0; i < G_N_ELEMENTS(targets); i++) {
        spec = least(&disk);
        disk.target = (char *)targets[i];
        assert_refused(&spec, "cannot be called");
    }
    DiskSpec twins[2];
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2; k++)
            twins[k] = (DiskSpec){.source = (char *)"/d/disk.img",
                                  .format = (char *)"raw",
                                  .target = i == 0 ? (char *)"vdb" : NULL,
                                  .serial = i == 1 ? (char *)VOLUME "1" : NULL};
        spec = least(&disk);
        spec.disks = twins;
        spec.n_disks = 2;
        assert_refused(&spec, i == 0 ? "called vdb" : "serial " VOLUME);
    }
    spec = least(&disk);
    disk.format = (char *)"vmdk";
    assert_refused(&spec, "raw or qcow2");
    disk.format = (char *)"raw";
    disk.rbd = &rbd;
    static const char *const names[] = {"instances",           "/image", "instances/",
                                        "instances/a:conf=/x", "a/b/c",  "instances/a@snap"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        disk.source = (char *)names[i];
        assert_refused(&spec, "POOL/IMAGE");
    }
    RbdAccess none = rbd;
    none.monitors = (char *[]){NULL};
    disk.source = (char *)"instances/a";
    disk.rbd = &none;
    assert_refused(&spec, "monitor");
    spec = least(&disk);
    spec.nics = &nic;
    spec.n_nics = 1;
    nic.mac_address = (char *)"fa:16:3e:00:00:0g";
    assert_refused(&spec, "MAC");
    nic.mac_address = (char *)"fa:16:3e:00:00:01";
    nic.mtu = 20;
    assert_refused(&spec, "MTU");
    spec = least(&disk);
    spec.cpu_xml = (char *)"<cpu><unclosed></cpu>";
    assert_refused(&spec, "well-formed");
    spec.cpu_xml = (char *)"<devices/>";
    assert_refused(&spec, "<cpu>");
}

/* ---- readers ---------------------------------------------------------------------------- */
static void
test_entities(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainXml) domain = domain_xml_read(
        "<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain><os><type "
        "machine='pc'>&x;</type></os></domain>",
        &error);
    g_assert_null(domain);
    g_assert_true(err_is(error, ERR_INVALID));
    g_assert_nonnull(strstr(error->message, "document type"));
}

static void
test_size(void)
{
    g_autofree char *text = g_malloc(XML_MOST + 2);
    memset(text, ' ', XML_MOST + 1);
    text[XML_MOST + 1] = '\0';
    memcpy(text, "<domain/>", 9);
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainXml) domain = domain_xml_read(text, &error);
    g_assert_null(domain);
    g_assert_true(err_is(error, ERR_INVALID));
}

static void
test_foreign(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainXml) domain = domain_xml_read(
        "<domain><metadata><server xmlns='https://example.org/x'/></metadata><os/></domain>",
        &error);
    g_assert_no_error(error);
    g_assert_false(domain->ours);
    g_assert_null(domain->machine);
    g_assert_null(domain->cpu);
}

static void
test_cpu(void)
{
    g_autoptr(GError) error = NULL;
    const char *const flags[] = {"pcid", "+aes", "-mpx", "-aes", NULL};
    g_autofree char *text = cpu_xml_build("custom", "Nehalem", flags, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(text, ==,
                    "<cpu mode=\"custom\" match=\"exact\">\n"
                    "  <model fallback=\"forbid\">Nehalem</model>\n"
                    "  <feature policy=\"require\" name=\"pcid\"/>\n"
                    "  <feature policy=\"disable\" name=\"aes\"/>\n"
                    "  <feature policy=\"disable\" name=\"mpx\"/>\n"
                    "</cpu>");
    const char *const bad[] = {"+a b", NULL};
    g_autofree char *none = cpu_xml_with_flags(text, bad, &error);
    g_assert_null(none);
    g_assert_true(err_is(error, ERR_INVALID));
    g_clear_error(&error);
    g_autofree char *model = cpu_xml_build("custom", "x'/>", NULL, &error);
    g_assert_null(model);
    g_assert_true(err_is(error, ERR_INVALID));
}

static void
test_caps(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CapsXml) caps =
        caps_xml_read("<capabilities><host><uuid>0d5a5c5e-92c8-4f5c-8a3e-6a7f1f5f3b10</"
                      "uuid><cpu><arch>x86_64</arch><model>EPYC</model>"
                      "<vendor>AMD</vendor><topology sockets='1' dies='1' cores='2' "
                      "threads='4'/><feature name='avx'/></cpu></host>"
                      "</capabilities>",
                      &error);
    g_assert_no_error(error);
    g_assert_cmpstr(caps->cpu_info, ==,
                    "{\"arch\":\"x86_64\",\"features\":[\"avx\"],\"model\":\"EPYC\",\"topology\":{"
                    "\"cores\":2,\"dies\":1,"
                    "\"sockets\":1,\"threads\":4},\"vendor\":\"AMD\"}");
    g_autoptr(CapsXml) none = caps_xml_read("<capabilities><host/></capabilities>", &error);
    g_assert_null(none);
    g_assert_true(err_is(error, ERR_INVALID));
}

static void
test_domain_caps(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainCapsXml) caps = domain_caps_xml_read(
        "<domainCapabilities><cpu><mode name='host-passthrough' supported='no'/>"
        "<mode name='host-model' supported='yes'><model "
        "fallback='forbid'>EPYC</model><vendor>AMD</vendor>"
        "<maxphysaddr mode='passthrough'/><feature policy='disable' name='vme'/></mode>"
        "<mode name='custom' supported='yes'><model usable='yes'>kvm64</model><model "
        "usable='no'>EPYC</model>"
        "<model usable='yes'>486</model></mode></cpu></domainCapabilities>",
        &error);
    g_assert_no_error(error);
    g_assert_cmpstr(caps->cpu_models, ==, "[\"kvm64\",\"486\"]");
    g_assert_cmpstr(caps->hypervisor_cpu, ==,
                    "<cpu mode=\"custom\" match=\"exact\">\n"
                    "  <model fallback=\"forbid\">EPYC</model>\n"
                    "  <vendor>AMD</vendor>\n"
                    "  <feature policy=\"disable\" name=\"vme\"/>\n"
                    "</cpu>");
    g_autoptr(DomainCapsXml) bare = domain_caps_xml_read("<domainCapabilities/>", &error);
    g_assert_no_error(error);
    g_assert_null(bare->hypervisor_cpu);
    g_assert_cmpstr(bare->cpu_models, ==, "[]");
}

static void
test_pool(void)
{
    g_autofree char *pool = pool_xml_build("godwit-1", "/d/<x>");
    g_assert_cmpstr(
        pool, ==,
        "<pool type=\"dir\">\n  <name>godwit-1</name>\n  <target>\n    <path>/d/&lt;x&gt;</path>\n"
        "  </target>\n</pool>");
}

int
main(int argc, char **argv)
{
    xml_init();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/domain-xml/full", test_full);
    g_test_add_func("/domain-xml/least", test_least);
    g_test_add_func("/domain-xml/rbd", test_rbd);
    g_test_add_func("/domain-xml/volumes", test_volumes);
    g_test_add_func("/domain-xml/many-disks", test_many_disks);
    g_test_add_func("/domain-xml/hostile-text", test_hostile_text);
    g_test_add_func("/domain-xml/refused", test_refused);
    g_test_add_func("/domain-xml/entities", test_entities);
    g_test_add_func("/domain-xml/size", test_size);
    g_test_add_func("/domain-xml/foreign", test_foreign);
    g_test_add_func("/domain-xml/cpu", test_cpu);
    g_test_add_func("/domain-xml/capabilities", test_caps);
    g_test_add_func("/domain-xml/domain-capabilities", test_domain_caps);
    g_test_add_func("/domain-xml/pool", test_pool);
    return g_test_run();
}
