/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-host-uri.c: which libvirt URIs the controller opens, and what nodes make of them */

#include "model/model.h"

static void
test_good(void)
{
    static const char *const cases[][2] = {
        {"qemu+tls://host1/system", "tls"},
        {"qemu+tls://10.0.0.1:16515/system?pkipath=/var/lib/godwit/pki/libvirt", "tls"},
        {"qemu+tls://[2001:db8::1]/system", "tls"},
        {"qemu+ssh://host1.example/system", "ssh"},
        {"qemu+ssh://root@10.0.0.1:2222/system?keyfile=/var/lib/godwit/.ssh/id_ed25519&no_tty=1",
         "ssh"},
        {"qemu+libssh://root@host1/system?known_hosts=/etc/godwit/hosts&keyfile=/k", "ssh"},
        {"qemu+tcp://[::1]:16509/system", "tcp"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_cmpstr(host_uri_transport(cases[i][0], &error), ==, cases[i][1]);
        g_assert_no_error(error);
    }
}

static void
test_hostile(void)
{
    static const char *const cases[] = {
        "",
        "qemu",
        "qemu:///system",
        "qemu://host1/system",
        "qemu+unix:///system",
        "qemu+ext://host1/system?command=/bin/evil",
        "test:///default",
        "qemu+tls://host1/session",
        "qemu+tls://host1/system/",
        "qemu+tls://host1/system#x",
        "qemu+tls:///system",
        "qemu+tls://host1:0/system",
        "qemu+tls://host1:/system",
        "qemu+tls://host1:65536/system",
        "qemu+tls://[host1]/system",
        "qemu+tls://[]/system",
        "qemu+tls://ho st/system",
        "qemu+tls://host1%2fx/system",
        "qemu+tls://root@host1/system",
        "qemu+ssh://-oProxyCommand=x/system",
        "qemu+ssh://-oProxyCommand=x@host1/system",
        "qemu+ssh://root@-host1/system",
        "qemu+ssh://root:secret@host1/system",
        "qemu+ssh://host1/system?command=/bin/evil",
        "qemu+ssh://host1/system?netcat=/bin/evil",
        "qemu+ssh://host1/system?socket=/run/evil",
        "qemu+ssh://host1/system?proxy=netcat",
        "qemu+ssh://host1/system?no_verify=1",
        "qemu+ssh://host1/system?no_sanity=1",
        "qemu+ssh://host1/system?known_hosts=/k",
        "qemu+ssh://host1/system?no_tty=0",
        "qemu+ssh://host1/system?keyfile=/k&command=/bin/evil",
        "qemu+ssh://host1/system?keyfile=/k;command=/bin/evil",
        "qemu+ssh://host1/system?keyfile=/k%26command=/bin/evil",
        "qemu+ssh://host1/system?%63ommand=/bin/evil",
        "qemu+ssh://host1/system?keyfile=-oProxyCommand=x",
        "qemu+ssh://host1/system?keyfile=k",
        "qemu+ssh://host1/system?keyfile",
        "qemu+ssh://host1/system?keyfile=/k\n",
        "qemu+ssh://host1/system?&",
        "qemu+libssh://host1/system?known_hosts_verify=ignore",
        "qemu+tls://host1/system?pkipath=relative",
        "qemu+tls://host1/system?tls_priority=NULL",
        "qemu+tcp://host1/system?pkipath=/p",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;

        g_test_message("%s", cases[i]);
        g_assert_null(host_uri_transport(cases[i], &error));
        g_assert_true(err_is(error, ERR_INVALID));
    }
}

static void
test_peers(void)
{
    static const char *const cases[][3] = {
        {"qemu+tls://host1/system?pkipath=/p", "10.0.0.1", "qemu+tls://10.0.0.1/system"},
        {"qemu+tls://host1:16515/system", "10.0.0.1", "qemu+tls://10.0.0.1:16515/system"},
        {"qemu+tls://[::2]:16515/system", "2001:db8::1", "qemu+tls://[2001:db8::1]:16515/system"},
        {"qemu+tcp://host1/system", "10.0.0.1", "qemu+tcp://10.0.0.1/system"},
        {"qemu+ssh://godwit@host1:2222/system?keyfile=/k", "10.0.0.1",
         "qemu+ssh://root@10.0.0.1:2222/system?no_tty=1"},
        {"qemu+libssh://host1/system", "10.0.0.1", "qemu+ssh://root@10.0.0.1/system?no_tty=1"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *uri = host_uri_for_peers(cases[i][0], cases[i][1]);

        g_assert_cmpstr(uri, ==, cases[i][2]);
    }
}

static void
test_fill(void)
{
    g_autofree char *four = host_uri_fill("tcp://%s", "10.0.0.1"),
                    *six = host_uri_fill("qemu+tls://%s/system", "::1");

    g_assert_cmpstr(four, ==, "tcp://10.0.0.1");
    g_assert_cmpstr(six, ==, "qemu+tls://[::1]/system");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/host-uri/good", test_good);
    g_test_add_func("/model/host-uri/hostile", test_hostile);
    g_test_add_func("/model/host-uri/peers", test_peers);
    g_test_add_func("/model/host-uri/fill", test_fill);
    return g_test_run();
}
