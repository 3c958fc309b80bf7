/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-doctor.c: what the doctor makes of facts */
#include "prepare/doctor-priv.h"

#include <string.h>

static const char healthy[] =
    "system=Debian GNU/Linux 12\nprepared=yes\nport.16514=*:16514\ncertificate.days=800\n"
    "firewall=yes\nuserfaultfd=yes\nkvm=yes\ndisk.mib=90000\nlibvirt=9.0.0\nqemu=7.2.0\n"
    "qemu.user=libvirt-qemu:libvirt-qemu 64055:64055, dynamic_ownership 1\nports=49152-49215\n"
    "mtu=1500\nclock=1000000000\nasked=1000000000\nanswered=1000000000\n";

/* Two nodes, the second with other lines added to its facts (the last of a key counts). */
static GPtrArray *
judged(const char *more, const char *drift, const char *reach)
{
    g_autoptr(NodeTarget) one = node_target_parse("host1", NULL);
    g_autoptr(NodeTarget) two = node_target_parse("host2", NULL);
    g_autofree char *second = g_strconcat(healthy, more, NULL);
    g_autoptr(GHashTable) facts1 = doctor_facts_parse(healthy);
    g_autoptr(GHashTable) facts2 = doctor_facts_parse(second);
    DoctorNode nodes[] = {
        {.target = one, .facts = facts1, .reach = (char *)"host2 yes name\n"},
        {.target = two, .facts = facts2, .drift = (char *)drift, .reach = (char *)reach},
    };
    GPtrArray *checks = g_ptr_array_new_with_free_func(check_free);

    doctor_judge(nodes, 2, false, checks);
    return checks;
}

static const Check *
find(const GPtrArray *checks, const char *name)
{
    for (unsigned i = 0; i < checks->len; i++) {
        const Check *check = g_ptr_array_index(checks, i);
        if (g_str_equal(check->host, "host2") && g_str_equal(check->name, name))
            return check;
    }
    g_assert_not_reached();
}

static void
test_healthy(void)
{
    g_autoptr(GPtrArray) checks = judged("", "", "host1 yes name\n");

    g_assert_cmpuint(checks->len, ==, 30);
    for (unsigned i = 0; i < checks->len; i++) {
        const Check *check = g_ptr_array_index(checks, i);
        g_assert_cmpint(check->status, ==, CHECK_PASS);
        g_assert_cmpstr(check->evidence, !=, "");
        g_assert_null(check->remedy);
    }
}

static void
test_each(void)
{
    static const struct {
        const char *facts, *drift, *reach, *check;
        CheckStatus status;
    } cases[] = {
        {"port.16509=*:16509\n", "", "", "listener", CHECK_WARN},
        {"certificate.days=29\n", "", "", "certificate", CHECK_WARN},
        {"certificate.days=-1\n", "", "", "certificate", CHECK_FAIL},
        {"certificate.days=nonsense\n", "", "", "certificate", CHECK_FAIL},
        {"firewall=\n", "", "", "firewall", CHECK_WARN},
        {"userfaultfd=\n", "", "", "post-copy", CHECK_WARN},
        {"disk.mib=10\n", "", "", "disk", CHECK_WARN},
        {"kvm=\n", "", "", "kvm", CHECK_WARN},
        {"libvirt=10.0.0\n", "", "", "libvirt", CHECK_WARN},
        {"qemu=8.2.0\n", "", "", "qemu", CHECK_WARN},
        {"qemu.user=nova:nova 1001:1001, dynamic_ownership 0\n", "", "", "qemu-user", CHECK_FAIL},
        {"ports=49152-49311\n", "", "", "ports", CHECK_WARN},
        {"mtu=9000\n", "", "", "mtu", CHECK_WARN},
        {"clock=1000400000\n", "", "", "clock", CHECK_PASS},
        {"clock=1000600000\n", "", "", "clock", CHECK_WARN},
        {"clock=1000600000\nanswered=1001000000\n", "", "", "clock", CHECK_PASS},
        {"clock=900000000\n", "", "", "clock", CHECK_FAIL},
        {"", "changed /etc/libvirt/qemu.conf\n", "", "drift", CHECK_WARN},
        {"", "", "host1 no it said: nothing\n", "reach", CHECK_FAIL},
        {"", "", "host1 yes address\n", "reach", CHECK_WARN},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GPtrArray) checks = judged(cases[i].facts, cases[i].drift, cases[i].reach);
        const Check *check = find(checks, cases[i].check);
        g_assert_cmpint(check->status, ==, cases[i].status);
        g_assert_true((check->remedy != NULL) == (check->status != CHECK_PASS));
    }
}

static void
test_unreachable(void)
{
    g_autoptr(NodeTarget) target = node_target_parse("host2", NULL);
    g_autoptr(GPtrArray) checks = g_ptr_array_new_with_free_func(check_free);
    DoctorNode node = {.target = target};

    err_set(&node.error, ERR_UNREACHABLE, "it does not answer");
    doctor_judge(&node, 1, false, checks);
    g_assert_cmpuint(checks->len, ==, 1);
    g_assert_cmpint(find(checks, "ssh")->status, ==, CHECK_FAIL);
    g_clear_error(&node.error);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/doctor/healthy", test_healthy);
    g_test_add_func("/doctor/each", test_each);
    g_test_add_func("/doctor/unreachable", test_unreachable);
    return g_test_run();
}
