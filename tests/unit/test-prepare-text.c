/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-prepare-text.c: names of machines, distributions, blocks and differences */
#include "prepare/prepare-priv.h"

#include <string.h>

static void
test_targets(void)
{
    static const struct {
        const char *text, *user, *host;
        unsigned port;
    } good[] = {
        {"host1", NULL, "host1", 0},
        {"root@host1.example.org:2222", "root", "host1.example.org", 2222},
        {"_svc-1@192.0.2.11", "_svc-1", "192.0.2.11", 0},
        {"root@[2001:db8::1]:22", "root", "2001:db8::1", 22},
        {"[2001:db8::1]", NULL, "2001:db8::1", 0},
        {"2001:db8::1", NULL, "2001:db8::1", 0},
        {"rack_3-node-7", NULL, "rack_3-node-7", 0},
    };
    static const char *const hostile[] = {
        "",
        "@",
        "root@",
        "@host1",
        "-oProxyCommand=reboot",
        "root@-oProxyCommand=reboot",
        "-l@host1",
        "$(reboot)",
        "`reboot`",
        "host1;reboot",
        "host1 reboot",
        "host1\nhost2",
        "host1\n",
        "host1\t",
        "host1:0",
        "host1:65536",
        "host1:",
        "host1:22x",
        "host1:-1",
        "[::1",
        "[::1]x",
        "[::1]:",
        "[host1]",
        "host1/..",
        "ho'st",
        "ho\"st",
        "ho\\st",
        "ho%st",
        "ho*st",
        "ho{a,b}st",
        "~root",
        "host1#",
        "h\xc3\xb6st",
        "\xff\xfe",
        ".",
        "..",
        "a@b@c d",
        "fe80::1%eth0",
    };
    g_autoptr(GError) error = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(NodeTarget) target = node_target_parse(good[i].text, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(target->user, ==, good[i].user);
        g_assert_cmpstr(target->host, ==, good[i].host);
        g_assert_cmpuint(target->port, ==, good[i].port);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(hostile); i++) {
        g_assert_null(node_target_parse(hostile[i], &error));
        g_assert_cmpint(err_code(error), ==, ERR_INVALID);
        g_assert_true(text_is_clean(error->message, 2000, false));
        g_clear_error(&error);
    }

    g_autofree char *longest = g_strnfill(254, 'a');
    g_assert_null(node_target_parse(longest, NULL));
}

static void
test_transports(void)
{
    PrepareTransport transport;

    g_assert_true(transport_parse("ssh", &transport) && transport == TRANSPORT_SSH);
    g_assert_false(transport_parse("TLS", &transport));
    g_assert_false(transport_parse("", &transport));
}

static void
test_distros(void)
{
    static const struct {
        const char *os_release, *name;
    } known[] = {
        {"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n", "Debian"},
        {"NAME=Ubuntu\nID=ubuntu\nID_LIKE=debian\n", "Ubuntu"},
        {"ID='rocky'\nID_LIKE=\"rhel centos fedora\"\n", "Red Hat family"},
        {"ID=ownspin\nID_LIKE=\"unknown debian\"", "Debian"},
    };
    g_autoptr(GError) error = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        const Distro *distro = distro_find(known[i].os_release, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(distro->name, ==, known[i].name);
        g_assert_nonnull(distro->packages[0]);
    }
    g_assert_null(distro_find("ID=plan9\nPRETTY_NAME=\"Plan 9\"\n", &error));
    g_assert_true(err_is(error, ERR_UNSUPPORTED));
    g_assert_nonnull(strstr(error->message, "Plan 9"));
    g_clear_error(&error);
    g_assert_null(distro_find("", &error));
    g_assert_true(err_is(error, ERR_UNSUPPORTED));
}

static void
test_quotes(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *plain = conf_quote("16509", &error);
    g_autofree char *quoted = conf_quote("a \"b\"", &error);

    g_assert_cmpstr(plain, ==, "\"16509\"");
    g_assert_cmpstr(quoted, ==, "'a \"b\"'");
    g_assert_null(conf_quote("'\"", NULL));
    g_assert_null(conf_quote("a\nlisten_tcp = 1", &error));
    g_assert_true(err_is(error, ERR_INVALID));
}

static void
test_blocks(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *first = block_edit("foreign", "one\ntwo\n", false, &error);
    g_autofree char *with_more = g_strconcat(first, "later\n", NULL);
    g_autofree char *second = block_edit(with_more, "three\n", false, &error);
    g_autofree char *same = block_edit(second, "three\n", false, &error);
    g_autofree char *gone = block_edit(second, NULL, false, &error);
    g_autofree char *never = block_edit("foreign\n", NULL, false, &error);

    g_assert_no_error(error);
    g_assert_true(g_str_has_prefix(first, "foreign\n# BEGIN godwit"));
    g_assert_nonnull(strstr(first, "\none\ntwo\n# END godwit\n"));
    g_assert_null(strstr(second, "one"));
    g_assert_nonnull(strstr(second, "\nthree\n# END godwit\nlater\n"));
    g_assert_cmpstr(same, ==, second);
    g_assert_cmpstr(gone, ==, "foreign\nlater\n");
    g_assert_cmpstr(never, ==, "foreign\n");

    g_autofree char *top = block_edit("foreign\n", "one\n", true, &error);
    g_autofree char *still = block_edit(top, "one\n", true, &error);
    g_assert_true(g_str_has_prefix(top, "# BEGIN godwit"));
    g_assert_true(g_str_has_suffix(top, "# END godwit\nforeign\n"));
    g_assert_cmpstr(still, ==, top);

    g_autofree char *open = g_strndup(first, (gsize)(strstr(first, "# END") - first));
    g_autofree char *twice = g_strconcat(open, first, NULL);
    g_assert_null(block_edit(open, "x\n", false, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_clear_error(&error);
    g_assert_null(block_edit(twice, "x\n", false, NULL));
    g_assert_null(block_edit("# END godwit\n", "x\n", false, NULL));
}

/* Hand edits of a key that Godwit sets, and files that Godwit made. */
static void
test_revert(void)
{
    static const char path[] = "/etc/libvirt/libvirtd.conf";
    static const ConfSetting set[] = {{"listen_tls", "1"}, {"max_workers", "30"}, {NULL}};
    static const ConfSetting unset[] = {{"listen_addr", NULL}, {NULL}};
    static const char original[] = "max_workers = 20 # enough\nlisten_addr = \"192.0.2.1\"\n"
                                   "max_workers = 21\n";
    g_autoptr(GError) error = NULL;
    g_autofree char *first = conf_edit(original, set, NULL, &error);
    g_autofree char *second = conf_edit(first, unset, NULL, &error);
    g_autofree char *back = file_revert(path, second, original, &error);
    g_autofree char *nothing = file_revert(path, "listen_tls = 1\nmax_workers = 3\n", "", &error);
    g_autofree char *lost = file_revert(path, "# empty by hand\n", original, &error);
    g_autofree char *other =
        file_revert(path, "max_workers = 5 # mine\nx = 1\n", "max_workers = 4\n", &error);

    g_assert_no_error(error);
    g_assert_cmpstr(back, ==, original);
    g_assert_cmpstr(nothing, ==, "");
    g_assert_cmpstr(lost, ==,
                    "# empty by hand\nlisten_addr = \"192.0.2.1\"\nmax_workers = 20 # enough\n");
    g_assert_cmpstr(other, ==, "max_workers = 4 # mine\nx = 1\n");
    g_assert_null(file_revert(path, "listen_tls = \"\n", original, &error));
    g_assert_true(err_is(error, ERR_INVALID));
    g_clear_error(&error);

    g_assert_true(file_is_shared("/var/lib/nova/.ssh/known_hosts"));
    g_assert_false(file_is_shared("/etc/godwit/node.nft"));
    g_autofree char *block = block_edit("no end", "ours\n", false, &error);
    g_autofree char *without = file_revert("/root/.ssh/config", block, "no end", &error);
    g_assert_cmpstr(without, ==, "no end");
}

static void
test_addresses(void)
{
    static const char *const allowed[] = {"192.0.2.12", "2001:db8::12", "192.0.2.1", NULL};
    static const char *const wanted[] = {"192.0.2.1", "192.0.2.12", "2001:db8::12", NULL};
    NodeSettings settings = {.transport = TRANSPORT_TLS, .moves = 4};
    g_autoptr(GError) error = NULL;
    g_autofree char *rules = render_firewall(&settings, allowed, &error);
    g_auto(GStrv) found = firewall_addresses(rules);

    g_assert_cmpuint(g_strv_length(found), ==, 3);
    for (unsigned i = 0; wanted[i] != NULL; i++)
        g_assert_cmpstr(found[i], ==, wanted[i]);
}

static void
test_ceph_conf(void)
{
    static const char text[] =
        "# fsid = no\n[global]\n  fsid=8f3e9a52-1111-4222-8333-0123456789ab ; x\n"
        "mon host = [v2:192.0.2.1:3300]\n";
    g_autofree char *fsid = ceph_conf_value(text, "fsid");
    g_autofree char *mon = ceph_conf_value(text, "mon_host");

    g_assert_cmpstr(fsid, ==, "8f3e9a52-1111-4222-8333-0123456789ab");
    g_assert_cmpstr(mon, ==, "[v2:192.0.2.1:3300]");
    g_assert_null(ceph_conf_value(text, "key"));
}

static void
test_diff_shape(void)
{
    g_autofree char *none = text_diff("f", "a\n", "a\n", 3);
    g_autofree char *fresh = text_diff("/etc/f", NULL, "a\nb\n", 3);
    g_autofree char *middle =
        text_diff("f", "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\nten", 1);

    g_assert_cmpstr(none, ==, "");
    g_assert_cmpstr(fresh, ==, "--- /dev/null\n+++ /etc/f\n@@ -0,0 +1,2 @@\n+a\n+b\n");
    g_assert_cmpstr(middle, ==,
                    "--- f\n+++ f\n@@ -4,3 +4,3 @@\n 4\n-5\n+five\n 6\n@@ -9,1 +9,2 @@\n 9\n+ten\n"
                    "\\ No newline at end of file\n");
}

/* patch(1), where it is installed, must make the new text of the old one. */
static void
test_diff_applies(void)
{
    g_autofree char *patch = g_find_program_in_path("patch");
    g_autoptr(GError) error = NULL;
    if (patch == NULL) {
        g_test_skip("patch is not installed");
        return;
    }
    g_autofree char *dir = g_dir_make_tmp("godwit-diff-XXXXXX", &error);
    g_autofree char *file = g_build_filename(dir, "file", NULL);
    g_autofree char *input = g_build_filename(dir, "diff", NULL);

    for (int round = 0; round < 30; round++) {
        g_autoptr(GString) old_text = g_string_new(NULL), new_text = g_string_new(NULL);
        int n = g_test_rand_int_range(0, 40);
        for (int i = 0; i < n; i++) {
            bool last = i == n - 1;
            int what = g_test_rand_int_range(0, 8);
            const char *end = last && what > 5 ? "" : "\n";
            if (what != 0)
                g_string_append_printf(old_text, "%d%s", i % 7, end);
            if (what != 1)
                g_string_append_printf(new_text, "%d%s", what == 2 ? i + 100 : i % 7, "\n");
            if (what == 3)
                g_string_append_printf(new_text, "%d%s", i % 5, end);
        }
        g_autofree char *diff =
            text_diff("file", old_text->str, new_text->str, (unsigned)g_test_rand_int_range(0, 4));
        g_autofree char *after = NULL;
        const char *const argv[] = {"patch", "-s", "-u", file, input, NULL};

        if (*diff == '\0')
            continue;
        g_assert_true(g_file_set_contents(file, old_text->str, -1, NULL));
        g_assert_true(g_file_set_contents(input, diff, -1, NULL));
        process_run(argv, clock_monotonic() + 20 * USEC_PER_SEC, NULL, &error);
        g_assert_no_error(error);
        if (!g_file_get_contents(file, &after, NULL, NULL))
            after = g_strdup(""); /* patch removes a file that becomes empty */
        g_assert_cmpstr(after, ==, new_text->str);
    }
    const char *const tidy[] = {"rm", "-r", dir, NULL};
    g_assert_true(process_run(tidy, clock_monotonic() + 20 * USEC_PER_SEC, NULL, NULL));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/prepare/targets", test_targets);
    g_test_add_func("/prepare/transports", test_transports);
    g_test_add_func("/prepare/distros", test_distros);
    g_test_add_func("/prepare/quotes", test_quotes);
    g_test_add_func("/prepare/blocks", test_blocks);
    g_test_add_func("/prepare/revert", test_revert);
    g_test_add_func("/prepare/firewall-addresses", test_addresses);
    g_test_add_func("/prepare/ceph-conf", test_ceph_conf);
    g_test_add_func("/prepare/diff/shape", test_diff_shape);
    g_test_add_func("/prepare/diff/applies", test_diff_applies);
    return g_test_run();
}
