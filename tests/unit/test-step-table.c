/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-step-table.c: the table of nodes that are being prepared, as a text for a screen of some
 * size; and what host prepare derives from the nodes that a controller knows */
#include "cli/prepare-controller.h"
#include "cli/step-table.h"

#include <string.h>

#define SECOND USEC_PER_SEC

static const char *const three[] = {"host1", "host2.example.org", "host3"};

static unsigned
lines_of(const char *text)
{
    unsigned n = 0;

    for (const char *p = text; *p; p++)
        n += *p == '\n';
    return n;
}

static unsigned
widest_of(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    unsigned widest = 0;

    for (unsigned i = 0; lines[i]; i++)
        widest = MAX(widest, (unsigned)g_utf8_strlen(lines[i], -1));
    return widest;
}

static void
test_rows(void)
{
    g_autoptr(StepTable) table = step_table_new("HOST", three, 3);

    step_table_event(table, 0, "packages", STEP_RUNNING, NULL, 10 * SECOND);
    step_table_event(table, 1, "firewall", STEP_RUNNING, NULL, 10 * SECOND);
    step_table_event(table, 1, "firewall", STEP_CHANGED,
                     "--- /etc/godwit/node.nft\n+++ /etc/godwit/node.nft\n@@ -0,0 +1 @@\n+x\n",
                     12 * SECOND);
    g_autofree char *text = step_table_render(table, 80, 24, 75 * SECOND);

    g_assert_cmpstr(text, ==,
                    "HOST               STEP           STATE     TIME    DETAIL\n"
                    "host1              packages       ...       1:05\n"
                    "host2.example.org  firewall       changed   2 s     /etc/godwit/node.nft\n"
                    "host3              -              waits\n");
}

/* A notice is no end of a step, and the next step begins its own time. */
static void
test_states(void)
{
    g_autoptr(StepTable) table = step_table_new("HOST", three, 1);

    step_table_event(table, 0, "libvirt", STEP_RUNNING, NULL, 0);
    step_table_event(table, 0, "libvirt", STEP_RUNNING, "a notice", SECOND);
    g_autofree char *noticed = step_table_render(table, 80, 24, 2 * SECOND);
    g_assert_nonnull(strstr(noticed, "host1  libvirt        ...       2 s     a notice\n"));
    step_table_event(table, 0, "libvirt", STEP_SAME, NULL, 3 * SECOND);
    g_autofree char *ended = step_table_render(table, 80, 24, 60 * SECOND);
    g_assert_nonnull(strstr(ended, "host1  libvirt        ok        3 s\n"));
    step_table_event(table, 0, "qemu", STEP_RUNNING, NULL, 60 * SECOND);
    step_table_event(table, 0, "qemu", STEP_FAILED, "no\nsuch", 61 * SECOND);
    g_autofree char *failed = step_table_render(table, 80, 24, 90 * SECOND);
    g_assert_nonnull(strstr(failed, "host1  qemu           FAILED    1 s     no\n"));
}

static void
test_narrow(void)
{
    g_autoptr(StepTable) table = step_table_new("HOST", three, 3);

    step_table_event(table, 1, "certificates", STEP_RUNNING, "something long that does not fit", 0);
    for (unsigned width = 1; width < 120; width++) {
        g_autofree char *text = step_table_render(table, width, 24, 0);

        g_assert_cmpuint(lines_of(text), ==, 4);
        g_assert_cmpuint(widest_of(text), <, MAX(width, 20));
    }
    g_autofree char *text = step_table_render(table, 40, 24, 0);
    g_assert_nonnull(strstr(text, "\nhost2.example  certificates   ...\n"));
    step_table_event(table, 0, "connect", STEP_FAILED, "is it switched on?", 0);
    g_autofree char *tiny = step_table_render(table, 30, 24, 0);
    g_assert_cmpstr(tiny, ==,
                    "HOST        STEP\n"
                    "host1       FAILED\n"
                    "host2.exam  certificates\n"
                    "host3       waits\n");
}

/* What a node says cannot act on the terminal. */
static void
test_hostile(void)
{
    g_autoptr(StepTable) table = step_table_new("HOST", three, 1);

    step_table_event(table, 0, "system", STEP_FAILED, "a\033[2Jb\rc\xff\x07", 0);
    g_autofree char *text = step_table_render(table, 80, 24, 0);
    g_assert_null(strchr(text, '\033'));
    g_assert_null(strchr(text, '\r'));
    g_assert_null(strchr(text, '\x07'));
    g_assert_true(g_utf8_validate(text, -1, NULL));
    g_assert_nonnull(strstr(text, "a?[2Jb?c"));
}

static void
test_many(void)
{
    char names[200][16];
    const char *hosts[200];

    for (unsigned i = 0; i < 200; i++) {
        snprintf(names[i], sizeof names[i], "node%03u", i);
        hosts[i] = names[i];
    }
    g_autoptr(StepTable) table = step_table_new("HOST", hosts, 200);
    for (unsigned i = 0; i < 100; i++)
        step_table_event(table, i, "connect", STEP_SAME, NULL, 0);
    for (unsigned i = 50; i < 60; i++)
        step_table_event(table, i, "packages", STEP_RUNNING, NULL, 0);
    step_table_event(table, 199, "connect", STEP_RUNNING, NULL, 0);
    step_table_event(table, 199, "connect", STEP_FAILED, "is it switched on?", 0);

    g_autofree char *text = step_table_render(table, 80, 24, 0);
    g_assert_cmpuint(lines_of(text), ==, 13);
    g_assert_nonnull(strstr(text, "\nnode055  packages"));
    g_assert_nonnull(strstr(text, "\nnode199  connect        FAILED"));
    g_assert_nonnull(strstr(text, "\nand 189 more: 0 failed, 0 at work, 189 wait or are done\n"));

    g_autofree char *low = step_table_render(table, 80, 8, 0);
    g_assert_cmpuint(lines_of(low), ==, 7);
    g_assert_nonnull(strstr(low, "node199"));
    g_assert_nonnull(strstr(low, "\nand 195 more: 0 failed, 6 at work, 189 wait or are done\n"));
    g_autofree char *tiny = step_table_render(table, 80, 1, 0);
    g_assert_cmpuint(lines_of(tiny), ==, 3);
    g_autofree char *high = step_table_render(table, 80, 202, 0);
    g_assert_cmpuint(lines_of(high), ==, 201);
    g_assert_null(strstr(high, "more:"));
}

static void
test_wrapped(void)
{
    g_assert_cmpuint(step_table_rows("", 80), ==, 0);
    g_assert_cmpuint(step_table_rows("a\n\nb\n", 80), ==, 3);
    g_assert_cmpuint(step_table_rows("12345\n1234\n123456789\n", 4), ==, 2 + 1 + 3);
}

/* ---- the nodes that a controller knows --------------------------------------------------------
 */

static NodeTarget *
target(const char *text)
{
    g_autoptr(GError) error = NULL;
    NodeTarget *parsed = node_target_parse(text, &error);

    g_assert_no_error(error);
    return parsed;
}

static void
test_peers(void)
{
    g_autoptr(json_t) hosts =
        json_pack("[{s:s,s:s,s:s},{s:s,s:s,s:s},{s:s,s:s,s:s},{s:s,s:s,s:s}]", "name", "host1",
                  "address", "192.0.2.1", "migration_address", "192.0.2.1", "name", "host2",
                  "address", "192.0.2.2", "migration_address", "198.51.100.2", "name", "host3",
                  "address", "2001:db8::3", "migration_address", "2001:db8::3", "name", "host4",
                  "address", "not an address; accept", "migration_address", "192.0.2.4");
    g_autoptr(NodeTarget) one = target("root@HOST1");
    g_autoptr(NodeTarget) three_by_address = target("[2001:db8::3]:2222");
    const NodeTarget *const targets[] = {one, three_by_address};
    g_autoptr(GPtrArray) peers = g_ptr_array_new_with_free_func(g_free);
    prepare_peers(hosts, targets, 2, peers);
    g_ptr_array_add(peers, NULL);
    g_autofree char *list = g_strjoinv(" ", (char **)peers->pdata);
    const char *addresses[] = {"10.0.0.1", "192.0.2.2", NULL};
    FoundNode found = {.addresses = (char **)addresses}, nothing = {0};
    g_autoptr(NodeTarget) alias = target("root@rack7");

    g_assert_cmpstr(list, ==, "192.0.2.2 198.51.100.2 192.0.2.4");
    g_assert_cmpstr(json_text_at(prepare_node_row(hosts, one, &nothing), "name"), ==, "host1");
    g_assert_cmpstr(json_text_at(prepare_node_row(hosts, alias, &found), "name"), ==, "host2");
    g_assert_null(prepare_node_row(hosts, alias, &nothing));
    g_assert_null(prepare_node_row(NULL, alias, &found));
}

static void
test_registration(void)
{
    static const struct {
        const char *target, *hostname, *name;
    } names[] = {
        {"root@host1", "other", "host1"},    {"192.0.2.1", "host1", "host1"},
        {"[2001:db8::1]", "host1", "host1"}, {"192.0.2.1", NULL, NULL},
        {"192.0.2.1", "localhost", NULL},    {"192.0.2.1", "192.0.2.1", NULL},
        {"my_alias", "host1", "host1"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(NodeTarget) node = target(names[i].target);
        g_autofree char *name = prepare_node_name(node, names[i].hostname);
        g_assert_cmpstr(name, ==, names[i].name);
    }
    g_autofree char *tls = prepare_node_uri(TRANSPORT_TLS, "192.0.2.1", 22, "/var/lib/x/pki");
    g_autofree char *ssh = prepare_node_uri(TRANSPORT_SSH, "2001:db8::1", 2222, "");
    g_autofree char *tcp = prepare_node_uri(TRANSPORT_TCP, "192.0.2.1", 0, "");
    g_assert_cmpstr(tls, ==, "qemu+tls://192.0.2.1/system?pkipath=/var/lib/x/pki");
    g_assert_cmpstr(ssh, ==, "qemu+ssh://root@[2001:db8::1]:2222/system?no_tty=1");
    g_assert_cmpstr(tcp, ==, "qemu+tcp://192.0.2.1/system");
    g_assert_true(prepare_uri_serves(tls, TRANSPORT_TLS));
    g_assert_true(prepare_uri_serves("qemu+libssh://root@host1/system", TRANSPORT_SSH));
    g_assert_false(prepare_uri_serves(tcp, TRANSPORT_TLS));
    g_assert_false(prepare_uri_serves(ssh, TRANSPORT_TCP));
}

static void
test_again(void)
{
    static const CliOption options[] = {
        {"transport", CLI_TEXT},
        {"controller", CLI_LIST},
        {"dry-run", CLI_FLAG},
        {"register", CLI_FLAG},
        {"listen", CLI_FLAG},
        {"ssh-config", CLI_TEXT},
        {0},
    };
    static const CliOption *const tables[] = {options, NULL};
    char *argv[] = {(char *)"--transport",  (char *)"tcp",        (char *)"--dry-run",
                    (char *)"--controller", (char *)"192.0.2.9",  (char *)"--listen",
                    (char *)"--controller", (char *)"192.0.2.10", (char *)"--ssh-config",
                    (char *)"my config",    (char *)"host1"};
    g_autoptr(GError) error = NULL;
    g_autoptr(CliArgs) args = args_new();
    unsigned used;

    g_assert_true(args_parse(args, argv, G_N_ELEMENTS(argv), tables, false, &used, &error));
    g_autofree char *again = prepare_options_again(args, options);
    g_assert_cmpstr(again, ==,
                    " --transport tcp --controller 192.0.2.9 --controller 192.0.2.10 --listen "
                    "--ssh-config 'my config'");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/step-table/rows", test_rows);
    g_test_add_func("/step-table/states", test_states);
    g_test_add_func("/step-table/narrow", test_narrow);
    g_test_add_func("/step-table/hostile", test_hostile);
    g_test_add_func("/step-table/many", test_many);
    g_test_add_func("/step-table/wrapped", test_wrapped);
    g_test_add_func("/prepare-controller/peers", test_peers);
    g_test_add_func("/prepare-controller/registration", test_registration);
    g_test_add_func("/prepare-controller/again", test_again);
    return g_test_run();
}
