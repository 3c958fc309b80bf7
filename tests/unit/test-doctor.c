/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-doctor.c: what the doctor makes of facts, and whom it asks about whom */
#include "prepare/doctor-priv.h"

#include <string.h>

static const char healthy[] =
    "system=Debian GNU/Linux 12\nprepared=yes\nhostname=host%u\naddresses=10.0.0.%u,fd00::%u\n"
    "address=10.0.0.%u\ndaemon=libvirtd\nlisten.socket=libvirtd-tls.socket\n"
    "listen.service=libvirtd.service\nconf.listen_tls=1\nconf.listen_tcp=0\nport.16514=*:16514\n"
    "cert.days=800\ncert.names=DNS:host%u,IPAddress:10.0.0.%u,IPAddress:FD00:0:0:0:0:0:0:%u\n"
    "cert.verify=yes\ncert.key=yes\nqcert.dir=/etc/pki/qemu\nqcert.days=800\n"
    "qcert.names=DNS:host%u,IPAddress:10.0.0.%u,IPAddress:FD00:0:0:0:0:0:0:%u\n"
    "qcert.verify=yes\nqcert.key=yes\nqcert.readable=yes\n"
    "firewall=yes\nfirewall.unit=yes\nfirewall.peers=10.0.0.1,10.0.0.2,10.0.0.9\n"
    "firewall.ports=16514,49152-49215\nuserfaultfd=sysctl\nkvm=yes\n"
    "disk=/var/lib/libvirt:90000,/var/log/libvirt:8000,\nlibvirt=9.0.0\nqemu=7.2.22\n"
    "machine.pc=pc-i440fx-7.2\nmachine.q35=pc-q35-7.2\nmachines=pc,pc-i440fx-7.2,pc-q35-7.2,q35,\n"
    "virt=kvm\ncpu.model=EPYC\ncpu.vendor=AMD\ncpu.features=aes,avx,avx2,\n"
    "qemu.user=libvirt-qemu\nqemu.group=libvirt-qemu\nqemu.uid=64055\nqemu.gid=64055\n"
    "qemu.dynamic_ownership=1\nqemu.migrate_tls_force=1\nqemu.migrate_tls_x509_verify=1\n"
    "qemu.migration_port_min=49152\nqemu.migration_port_max=49215\nmtu=1500\nmtu.dev=br0\n"
    "hugepages=1048576:0/0,2048:0/0,\nmemory.kib=1000000\nmemlock=65536\nsysresource=yes\n"
    "sync=yes\nsync.by=chrony\ncontainer=none\novercommit=0\nwindow_scaling=1\n"
    "clock=1000000000\nasked=1000000000\nanswered=1000000000\n";

static const char well[] = "reach host1 yes address\nresolve host1 host1 10.0.0.1\n"
                           "reach host1 yes host1\nmtu host1 1500 yes yes\nplain host1 no\n"
                           "stranger host1 no\n";

static GHashTable *
facts_of(unsigned i, const char *more)
{
    g_autofree char *base = g_strdup_printf(healthy, i, i, i, i, i, i, i, i, i, i);
    g_autofree char *all = g_strconcat(base, more, NULL);
    return doctor_facts_parse(all);
}

typedef struct Case {
    const char *facts; /* of host2, after the healthy ones: the last of a key counts */
    const char *drift, *peers, *speed;
    const char *check;
    CheckStatus status;
    const char *evidence; /* part of it */
    const char *command;  /* part of it; NULL: there must be none */
} Case;

static GPtrArray *
judged(const Case *c, const DoctorOptions *options)
{
    g_autoptr(NodeTarget) one = node_target_parse("host1", NULL);
    g_autoptr(NodeTarget) two = node_target_parse("host2", NULL);
    g_autoptr(GHashTable) facts1 = facts_of(1, "");
    g_autoptr(GHashTable) facts2 = facts_of(2, c->facts);
    DoctorNode nodes[] = {
        {.name = "host1",
         .target = one,
         .facts = facts1,
         .peers = (char *)"reach host2 yes address\nresolve host2 host2 10.0.0.2,fd00::2\n"
                          "mtu host2 1500 yes yes\nplain host2 no\nstranger host2 no\n"},
        {.name = "host2",
         .target = two,
         .facts = facts2,
         .drift = (char *)c->drift,
         .peers = (char *)(c->peers ? c->peers : well),
         .speed = (char *)c->speed},
    };
    GPtrArray *checks = g_ptr_array_new_with_free_func(check_free);

    doctor_judge(nodes, 2, options, checks);
    return checks;
}

static const Check *
find(const GPtrArray *checks, const char *host, const char *name)
{
    const Check *best = NULL;

    for (unsigned i = 0; i < checks->len; i++) {
        const Check *check = g_ptr_array_index(checks, i);
        if (g_str_equal(check->host, host) && g_str_equal(check->name, name) &&
            (best == NULL || check->status > best->status))
            best = check;
    }
    return best;
}

static void
test_healthy(void)
{
    const Case c = {.facts = ""};
    const DoctorOptions options = {.cancel_fd = -1};
    g_autoptr(GPtrArray) checks = judged(&c, &options);

    g_assert_cmpuint(checks->len, ==, 2 * 27);
    for (unsigned i = 0; i < checks->len; i++) {
        const Check *check = g_ptr_array_index(checks, i);
        g_test_message("%s %s: %s", check->host, check->name, check->evidence);
        g_assert_cmpint(check->status, ==, CHECK_PASS);
        g_assert_cmpstr(check->evidence, !=, "");
        g_assert_null(check->remedy);
        g_assert_null(check->command);
    }
    for (const CheckName *name = doctor_checks; name->name != NULL; name++) {
        bool everywhere = !name->of_controller && !g_str_equal(name->name, "scope") &&
                          !g_str_equal(name->name, "bandwidth");
        g_assert_true((find(checks, "host2", name->name) != NULL) == everywhere);
    }
}

#define NO_LISTENER "port.16514=\n"

static const Case cases[] = {
    {"", "changed /etc/libvirt/qemu.conf\n", NULL, NULL, "drift", CHECK_WARN, "qemu.conf", NULL},
    {"libvirt=8.0.0\n", NULL, NULL, NULL, "libvirt", CHECK_WARN, "from host1 to host2", NULL},
    {"libvirt=10.0.0\n", NULL, NULL, NULL, "libvirt", CHECK_PASS, "10.0.0", NULL},
    {"libvirt=\n", NULL, NULL, NULL, "libvirt", CHECK_FAIL, "", NULL},
    {"libvirt=9.0.$(reboot)\n", NULL, NULL, NULL, "libvirt", CHECK_FAIL, "", NULL},
    {"qemu=7.2.3\n", NULL, NULL, NULL, "qemu", CHECK_WARN, "7.2.22 on host1", NULL},
    {"qemu=\n", NULL, NULL, NULL, "qemu", CHECK_FAIL, "", NULL},
    {"machine.pc=pc-i440fx-8.2\n", NULL, NULL, NULL, "machine-types", CHECK_WARN,
     "pc-i440fx-8.2 on host1", NULL},
    {"machine.pc=\nmachine.q35=\nmachines=\n", NULL, NULL, NULL, "machine-types", CHECK_WARN, "",
     NULL},
    {"cpu.features=aes,avx,\n", NULL, NULL, NULL, "cpu", CHECK_WARN,
     "host2 limits the common CPU (EPYC): it lacks avx2, which host1 has", NULL},
    {"cpu.features=aes,avx,avx2,avx512f,\n", NULL, NULL, NULL, "cpu", CHECK_PASS, "", NULL},
    {"cpu.vendor=Intel\n", NULL, NULL, NULL, "cpu", CHECK_FAIL, "AMD on host1", NULL},
    {"cpu.features=\n", NULL, NULL, NULL, "cpu", CHECK_WARN, "", NULL},
    {NO_LISTENER, NULL, NULL, NULL, "listener", CHECK_FAIL, "",
     "systemctl start libvirtd-tls.socket"},
    {NO_LISTENER "listen.socket=x; reboot\n", NULL, NULL, NULL, "listener", CHECK_FAIL, "",
     "systemctl restart libvirtd.service"},
    {NO_LISTENER "prepared=no\n", NULL, NULL, NULL, "listener", CHECK_FAIL, "", NULL},
    {NO_LISTENER "conf.listen_tls=0\n", NULL, NULL, NULL, "listener", CHECK_PASS, "ssh", NULL},
    {"port.16509=*:16509\n", NULL, NULL, NULL, "listener", CHECK_WARN, "PLAINTEXT", NULL},
    {"", NULL, "reach host1 no it said: nothing\n", NULL, "reach", CHECK_FAIL, "it said: nothing",
     NULL},
    {"", NULL, "reach host1 no\n", NULL, "reach", CHECK_FAIL, "nothing", NULL},
    {"", NULL, "", NULL, "reach", CHECK_WARN, "", NULL},
    {"cert.days=29\n", NULL, NULL, NULL, "certificate", CHECK_WARN, "29 days", NULL},
    {"cert.days=-1\n", NULL, NULL, NULL, "certificate", CHECK_FAIL, "ended", NULL},
    {"cert.days=nonsense\n", NULL, NULL, NULL, "certificate", CHECK_FAIL, "none", NULL},
    {"cert.verify=\n", NULL, NULL, NULL, "certificate", CHECK_FAIL, "CA", NULL},
    {"cert.key=\n", NULL, NULL, NULL, "certificate", CHECK_FAIL, "key", NULL},
    {"cert.names=DNS:host2,IPAddress:10.0.0.3\n", NULL, NULL, NULL, "certificate", CHECK_FAIL,
     "10.0.0.2", NULL},
    {"cert.names=DNS:other,IPAddress:10.0.0.2\n", NULL, NULL, NULL, "certificate", CHECK_FAIL,
     "host2", NULL},
    {"cert.names=DNS:HOST2,IPAddress:10.0.0.2\n", NULL, NULL, NULL, "certificate", CHECK_WARN,
     "fd00::2", NULL},
    {"port.16514=\nport.16509=*:16509\nconf.listen_tls=0\ncert.days=\n", NULL, NULL, NULL,
     "certificate", CHECK_PASS, "none is needed", NULL},
    {"qcert.days=\n", NULL, NULL, NULL, "qemu-tls", CHECK_FAIL, "none", NULL},
    {"qcert.readable=\nqcert.dir=/tmp/$(reboot)\n", NULL, NULL, NULL, "qemu-tls", CHECK_FAIL,
     "cannot read", NULL},
    {"qcert.readable=\nqcert.dir=/etc/pki/qemu\n", NULL, NULL, NULL, "qemu-tls", CHECK_FAIL, "",
     "chmod 0640"},
    {"qemu.migrate_tls_force=\n", NULL, NULL, NULL, "qemu-tls", CHECK_WARN, "plaintext", NULL},
    {"port.16514=\nport.16509=*:16509\nqemu.migrate_tls_force=\n", NULL, NULL, NULL, "qemu-tls",
     CHECK_WARN, "PLAINTEXT", NULL},
    {"firewall=\n", NULL, NULL, NULL, "firewall", CHECK_WARN, "",
     "systemctl restart godwit-firewall.service"},
    {"firewall=\nfirewall.unit=\nfirewall.drops=1\n", NULL, NULL, NULL, "firewall", CHECK_WARN,
     "drop", NULL},
    {"firewall.peers=10.0.0.11,10.0.0.9\n", NULL, NULL, NULL, "firewall", CHECK_FAIL,
     "host1 (10.0.0.1)", "systemctl restart"},
    {"firewall.peers=10.0.0.1\n", NULL, NULL, NULL, "firewall", CHECK_FAIL, "controller 10.0.0.9",
     "systemctl restart"},
    {"qemu.uid=1001\n", NULL, NULL, NULL, "qemu-user", CHECK_FAIL, "64055:64055 on host1", NULL},
    {"qemu.gid=\n", NULL, NULL, NULL, "qemu-user", CHECK_FAIL, "does not have", NULL},
    {"qemu.user=\n", NULL, NULL, NULL, "qemu-user", CHECK_WARN, "", NULL},
    {"qemu.dynamic_ownership=0\n", NULL, NULL, NULL, "qemu-conf", CHECK_WARN,
     "dynamic_ownership is 0 here, 1 on host1", NULL},
    {"qemu.migration_address=10.0.0.7\n", NULL, NULL, NULL, "qemu-conf", CHECK_FAIL, "10.0.0.7",
     NULL},
    {"qemu.migration_address=10.0.0.2\n", NULL, NULL, NULL, "qemu-conf", CHECK_PASS, "", NULL},
    {"qemu.migration_port_max=49311\n", NULL, NULL, NULL, "ports", CHECK_WARN, "49215 on host1",
     NULL},
    {"qemu.migration_port_max=49100\n", NULL, NULL, NULL, "ports", CHECK_FAIL, "", NULL},
    {"qemu.migration_port_max=99999999\n", NULL, NULL, NULL, "ports", CHECK_FAIL, "", NULL},
    {"ceph.conf=yes\n", NULL, NULL, NULL, "storage", CHECK_FAIL, "RBD", NULL},
    {"ceph.conf=yes\nrbd=/x/block-rbd.so\n", NULL, NULL, NULL, "storage", CHECK_PASS, "", NULL},
    {"", NULL, "resolve host1 host1\n", NULL, "names", CHECK_WARN, "not known",
     "echo '10.0.0.1 host1' >> /etc/hosts"},
    {"", NULL, "resolve host1 h1;reboot\n", NULL, "names", CHECK_WARN, "not known", NULL},
    {"", NULL, "resolve host1 host1 10.0.0.7\n", NULL, "names", CHECK_FAIL, "10.0.0.7", NULL},
    {"", NULL, "resolve host1 host1 10.0.0.1,127.0.1.1\n", NULL, "names", CHECK_FAIL, "", NULL},
    {"clock=1000400000\n", NULL, NULL, NULL, "clock", CHECK_PASS, "", NULL},
    {"clock=1000600000\n", NULL, NULL, NULL, "clock", CHECK_WARN, "600 ms", "chronyc makestep"},
    {"clock=999400000\nsync.by=\n", NULL, NULL, NULL, "clock", CHECK_WARN, "-600 ms", NULL},
    {"clock=1000600000\nanswered=1001000000\n", NULL, NULL, NULL, "clock", CHECK_PASS, "", NULL},
    {"clock=900000000\n", NULL, NULL, NULL, "clock", CHECK_FAIL, "", "chronyc"},
    {"clock=\n", NULL, NULL, NULL, "clock", CHECK_WARN, "", NULL},
    {"clock=9223372036854775807\n", NULL, NULL, NULL, "clock", CHECK_FAIL, "", "chronyc"},
    {"sync=no\nsync.by=\n", NULL, NULL, NULL, "time-source", CHECK_WARN, "no time service",
     "timedatectl"},
    {"sync=no\n", NULL, NULL, NULL, "time-source", CHECK_WARN, "chrony runs", NULL},
    {"sync=no\ncontainer=lxc\n", NULL, NULL, NULL, "time-source", CHECK_PASS, "lxc", NULL},
    {"mtu=9000\n", NULL, NULL, NULL, "mtu", CHECK_WARN, "9000 here, 1500",
     "ip link set dev br0 mtu 1500"},
    {"mtu=9000\nmtu.dev=br0;reboot\n", NULL, NULL, NULL, "mtu", CHECK_WARN, "9000", NULL},
    {"mtu=9000\n", NULL, "mtu host1 9000 yes no\n", NULL, "mtu", CHECK_FAIL, "9000 bytes",
     "ip link set dev br0 mtu 1500"},
    {"", NULL, "mtu host1 1500 no no\n", NULL, "mtu", CHECK_WARN, "no ping", NULL},
    {"", NULL, "mtu host1 1500 unknown unknown\n", NULL, "mtu", CHECK_WARN, "neither", NULL},
    {"", NULL, NULL, "speed host1 yes 67108864 60000\n", "bandwidth", CHECK_PASS, "8.95 Gbit/s",
     NULL},
    {"", NULL, NULL, "speed host1 yes 6710886 2000000\n", "bandwidth", CHECK_WARN, "0.03 Gbit/s",
     NULL},
    {"", NULL, NULL, "speed host1 yes 0 0\n", "bandwidth", CHECK_FAIL, "", NULL},
    {"", NULL, NULL, "speed host1 no host2: port 49215 refused\n", "bandwidth", CHECK_FAIL,
     "49215 refused", NULL},
    {"userfaultfd=none\n", NULL, NULL, NULL, "post-copy", CHECK_WARN, "",
     "vm.unprivileged_userfaultfd"},
    {"userfaultfd=device\n", NULL, NULL, NULL, "post-copy", CHECK_WARN, "for root", "sysctl.d"},
    {"userfaultfd=device\nqemu.uid=0\n", NULL, NULL, NULL, "post-copy", CHECK_PASS, "", NULL},
    {"sysresource=\n", NULL, NULL, NULL, "locked-memory", CHECK_WARN, "64 KiB", "LimitMEMLOCK"},
    {"sysresource=\nmemlock=unlimited\n", NULL, NULL, NULL, "locked-memory", CHECK_PASS, "", NULL},
    {"sysresource=\nmemlock=\n", NULL, NULL, NULL, "locked-memory", CHECK_WARN, "not running",
     "systemctl start libvirtd.service"},
    {"disk=/var/lib/libvirt:10,\n", NULL, NULL, NULL, "disk", CHECK_FAIL, "10 MiB", NULL},
    {"disk=/var/lib/libvirt:9000,/var/log/libvirt:500,\n", NULL, NULL, NULL, "disk", CHECK_WARN,
     "/var/log/libvirt", NULL},
    {"disk=x,y:z\n", NULL, NULL, NULL, "disk", CHECK_WARN, "", NULL},
    {"overcommit=2\n", NULL, NULL, NULL, "sysctl", CHECK_WARN, "overcommit", "vm/overcommit"},
    {"window_scaling=0\n", NULL, NULL, NULL, "sysctl", CHECK_WARN, "window", "tcp_window_scaling"},
    {"kvm=\nvendor=GenuineIntel\n", NULL, NULL, NULL, "kvm", CHECK_WARN, "", "kvm_intel"},
    {"kvm=\nvendor=AuthenticAMD\n", NULL, NULL, NULL, "kvm", CHECK_WARN, "", "kvm_amd"},
    {"kvm=\nvendor=x\n", NULL, NULL, NULL, "kvm", CHECK_WARN, "", NULL},
};

static void
test_each(void)
{
    static const char *const controllers[] = {"10.0.0.9", NULL};
    const DoctorOptions options = {.cancel_fd = -1, .bandwidth = true, .controllers = controllers};

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const Case *c = &cases[i];
        g_autoptr(GPtrArray) checks = judged(c, &options);
        const Check *check = find(checks, "host2", c->check);

        g_assert_nonnull(check);
        g_test_message("%zu %s %s: %s [%s]", i, check->name, check_status_names[check->status],
                       check->evidence, check->command);
        g_assert_cmpint(check->status, ==, c->status);
        g_assert_nonnull(strstr(check->evidence, c->evidence));
        g_assert_true((check->remedy != NULL) == (check->status != CHECK_PASS));
        g_assert_true((check->command != NULL) == (c->command != NULL));
        if (c->command != NULL)
            g_assert_nonnull(strstr(check->command, c->command));
    }
}

/* nft has one spelling of an IPv6 address, people have several. */
static void
test_spelling(void)
{
    static const char *const controllers[] = {"10.0.0.9", "FD00:0::9", NULL};
    const DoctorOptions options = {.cancel_fd = -1, .controllers = controllers};
    const Case with = {.facts = "firewall.peers=10.0.0.1,10.0.0.2,10.0.0.9,fd00::9\n"},
               without = {.facts = "firewall.peers=10.0.0.1,10.0.0.2,10.0.0.9,fd00::8\n"};
    g_autoptr(GPtrArray) good = judged(&with, &options), bad = judged(&without, &options);

    g_assert_cmpint(find(good, "host2", "firewall")->status, ==, CHECK_PASS);
    g_assert_cmpint(find(bad, "host2", "firewall")->status, ==, CHECK_FAIL);
}

/* What a peer found out is about the one it asked. */
static void
test_about_peer(void)
{
    const Case c = {.facts = "hugepages=2048:512/512,\nrbd=/x/block-rbd.so\n",
                    .peers = "plain host1 yes\nstranger host1 yes\n"};
    const DoctorOptions options = {.cancel_fd = -1};
    g_autoptr(GPtrArray) checks = judged(&c, &options);

    g_assert_cmpint(find(checks, "host1", "plaintext")->status, ==, CHECK_WARN);
    g_assert_cmpint(find(checks, "host1", "authentication")->status, ==, CHECK_FAIL);
    g_assert_cmpint(find(checks, "host2", "plaintext")->status, ==, CHECK_PASS);
    g_assert_cmpint(find(checks, "host1", "huge-pages")->status, ==, CHECK_WARN);
    g_assert_cmpint(find(checks, "host2", "huge-pages")->status, ==, CHECK_PASS);
    g_assert_cmpint(find(checks, "host1", "storage")->status, ==, CHECK_FAIL);
    g_assert_cmpint(find(checks, "host2", "storage")->status, ==, CHECK_PASS);
}

/* A node that says anything at all breaks nothing, and gets nothing into a command. */
static void
test_hostile(void)
{
    static const char *const values[] = {
        "$(reboot)", "';reboot;'", "-1",     "9223372036854775807",  "-9223372036854775808",
        ",,,:,/",    "a:b/c,d:e",  "%s%n%n", "\xc3\xa9\xe2\x82\xac", "1:2:3:4,5"};
    g_autoptr(GHashTable) keys = facts_of(1, "");
    g_autofree char *junk = g_strnfill(20000, ',');
    const DoctorOptions options = {.cancel_fd = -1, .bandwidth = true, .ceph = true};

    for (size_t v = 0; v < G_N_ELEMENTS(values); v++) {
        g_autoptr(GString) facts = g_string_new("kvm=\n=x\nBAD KEY=1\nnul=\x01\n");
        GHashTableIter iter;
        void *key;
        g_hash_table_iter_init(&iter, keys);
        while (g_hash_table_iter_next(&iter, &key, NULL))
            g_string_append_printf(facts, "%s=%s\n", (char *)key, values[v]);
        g_string_append_printf(facts, "disk=%s\n", junk);
        g_autofree char *peers = g_strdup_printf(
            "reach\nreach host1\nreach host1 %s\nresolve host1 %s %s\nresolve host1 %s\n"
            "mtu host1 %s yes no\nmtu host1 %s\nplain nobody yes\nplain host1 %s\n%s\n",
            values[v], values[v], values[v], values[v], values[v], values[v], values[v], junk);
        g_autofree char *speed =
            g_strdup_printf("speed host1 yes %s %s\nspeed host1 no\nspeed\n", values[v], values[v]);
        const Case c = {.facts = facts->str, .drift = values[v], .peers = peers, .speed = speed};
        g_autoptr(GPtrArray) checks = judged(&c, &options);
        for (unsigned i = 0; i < checks->len; i++) {
            const Check *check = g_ptr_array_index(checks, i);
            g_assert_true(g_utf8_validate(check->evidence, -1, NULL));
            g_assert_cmpuint(strlen(check->evidence), <, 720);
            if (check->command != NULL)
                g_assert_null(strstr(check->command, "reboot"));
        }
    }
}

static void
test_unreachable(void)
{
    g_autoptr(NodeTarget) target = node_target_parse("host2", NULL);
    g_autoptr(GPtrArray) checks = g_ptr_array_new_with_free_func(check_free);
    static const char *const names[] = {"disk", NULL};
    const DoctorOptions options = {.cancel_fd = -1, .names = names};
    DoctorNode node = {.name = "host2", .target = target};

    err_set(&node.error, ERR_UNREACHABLE, "it does not answer");
    doctor_judge(&node, 1, &options, checks);
    g_assert_cmpuint(checks->len, ==, 1);
    g_assert_cmpint(find(checks, "host2", "ssh")->status, ==, CHECK_FAIL);
    g_clear_error(&node.error);
}

static void
test_chosen(void)
{
    static const char *const names[] = {"clock", "mtu", NULL};
    const DoctorOptions options = {.cancel_fd = -1, .names = names};
    const DoctorOptions drift = {.cancel_fd = -1, .drift_only = true};
    const Case c = {.facts = ""};
    g_autoptr(GPtrArray) checks = judged(&c, &options);
    g_autoptr(GPtrArray) drifted = judged(&c, &drift);

    g_assert_cmpuint(checks->len, ==, 4);
    g_assert_cmpuint(drifted->len, ==, 4); /* ssh and drift, twice */
}

static void
test_ring(void)
{
    unsigned peers[DOCTOR_PEERS_MAX], asked[200] = {0};

    g_assert_cmpuint(doctor_peers(0, 1, peers), ==, 0);
    g_assert_cmpuint(doctor_peers(1, 2, peers), ==, 1);
    g_assert_cmpuint(peers[0], ==, 0);
    for (unsigned i = 0; i < 200; i++) {
        g_assert_cmpuint(doctor_peers(i, 200, peers), ==, DOCTOR_PEERS_MAX);
        for (unsigned k = 0; k < DOCTOR_PEERS_MAX; k++) {
            g_assert_cmpuint(peers[k], !=, i);
            asked[peers[k]]++;
        }
    }
    for (unsigned i = 0; i < 200; i++)
        g_assert_cmpuint(asked[i], ==, DOCTOR_PEERS_MAX);
}

/* Nobody is in two pairs of a round; with few nodes every pair meets once, with many the rounds
 * are bounded. */
static void
test_rounds(void)
{
    for (unsigned n = 0; n <= 40; n++) {
        int to[40];
        unsigned met = 0, rounds = 0;
        bool seen[40][40] = {{false}};

        for (; doctor_round(n, rounds, to); rounds++) {
            bool busy[40] = {false};
            for (unsigned i = 0; i < n; i++) {
                if (to[i] < 0)
                    continue;
                g_assert_cmpint(to[i], <, (int)n);
                g_assert_cmpint(to[i], !=, (int)i);
                g_assert_false(busy[i] || busy[to[i]] || seen[i][to[i]]);
                busy[i] = busy[to[i]] = seen[i][to[i]] = true;
                met++;
            }
        }
        g_assert_cmpuint(rounds, <=, 8);
        if (n >= 2 && n <= 9)
            g_assert_cmpuint(met, ==, n * (n - 1) / 2 - (n == 9 ? 4 : 0));
    }
}

static void
test_scope(void)
{
    g_autoptr(NodeTarget) target = node_target_parse("host1", NULL);
    g_autoptr(GPtrArray) checks = g_ptr_array_new_with_free_func(check_free);
    const DoctorOptions options = {.cancel_fd = -1};
    DoctorNode nodes[40];

    for (size_t i = 0; i < G_N_ELEMENTS(nodes); i++)
        nodes[i] = (DoctorNode){.name = "host1", .target = target};
    doctor_judge(nodes, G_N_ELEMENTS(nodes), &options, checks);
    g_assert_nonnull(strstr(find(checks, "*", "scope")->evidence, "40 nodes"));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/doctor/healthy", test_healthy);
    g_test_add_func("/doctor/each", test_each);
    g_test_add_func("/doctor/spelling", test_spelling);
    g_test_add_func("/doctor/about-peer", test_about_peer);
    g_test_add_func("/doctor/hostile", test_hostile);
    g_test_add_func("/doctor/unreachable", test_unreachable);
    g_test_add_func("/doctor/chosen", test_chosen);
    g_test_add_func("/doctor/ring", test_ring);
    g_test_add_func("/doctor/rounds", test_rounds);
    g_test_add_func("/doctor/scope", test_scope);
    return g_test_run();
}
