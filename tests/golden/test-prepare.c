/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-prepare.c: what becomes of configuration files, and what is rendered: prepare/NAME.expected
 *
 * NAME.conf gets libvirtd's settings for TLS and then those for TCP, NAME.qemu.conf gets QEMU's. A
 * second time must change nothing. The distribution's own files are edited too where they are
 * installed unchanged; only the difference is kept here.
 * With GODWIT_UPDATE_GOLDEN=1 the expected files are written anew, to be read before they are kept.
 */
#include "prepare/prepare-priv.h"

#include <string.h>

static const NodeSettings tls = {
    .transport = TRANSPORT_TLS,
    .listen_address = "192.0.2.11",
    .qemu_user = "libvirt-qemu",
    .qemu_group = "kvm",
    .dynamic_ownership = true,
    .moves = 10,
};

static const NodeSettings tcp = {
    .transport = TRANSPORT_TCP,
    .mode = DAEMON_LISTEN,
    .qemu_user = "nova",
    .qemu_group = "nova",
    .moves = 40,
};

static void
golden_compare(const char *name, const char *outcome)
{
    g_autofree char *path = g_strconcat(PREPARE_CORPUS, "/", name, ".expected", NULL);
    g_autofree char *expected = NULL;
    g_autoptr(GError) error = NULL;

    if (g_getenv("GODWIT_UPDATE_GOLDEN")) {
        g_file_set_contents(path, outcome, -1, &error);
        g_assert_no_error(error);
        return;
    }
    g_file_get_contents(path, &expected, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(outcome, ==, expected);
}

static ConfSetting *
settings_make(const NodeSettings *settings, bool qemu)
{
    g_autoptr(GError) error = NULL;
    ConfSetting *made =
        qemu ? settings_qemu(settings, &error) : settings_libvirtd(settings, &error);
    g_assert_no_error(error);
    return made;
}

/* The edited text, and into out what the operator is shown. */
static char *
edited(GString *out, const char *text, const NodeSettings *settings, bool qemu)
{
    ConfSetting *made = settings_make(settings, qemu);
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    char *after = conf_edit(text, made, notices, &error);

    if (after == NULL) {
        g_assert_cmpint(err_code(error), ==, ERR_INVALID);
        g_string_append_printf(out, "error %s\n", error->message);
        settings_free(made);
        return NULL;
    }
    for (unsigned i = 0; i < notices->len; i++)
        g_string_append_printf(out, "notice %s\n", (const char *)g_ptr_array_index(notices, i));
    g_autofree char *diff = text_diff(qemu ? "qemu.conf" : "libvirtd.conf", text, after, 0);
    g_string_append(out, diff);

    /* What was asked for holds now, and the next time there is nothing to do. */
    g_autofree char *again = conf_edit(after, made, notices, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(again, ==, after);
    for (const ConfSetting *setting = made; setting->key != NULL; setting++) {
        bool has = false, known = false;
        for (const ConfKey *key = qemu ? conf_keys_qemu : conf_keys_libvirtd; key->key; key++)
            known = known ||
                    (g_str_equal(key->key, setting->key) && (key->unset || setting->value != NULL));
        g_assert_true(known);
        g_autofree char *found = NULL;
        g_assert_true(conf_has(after, setting, &has, &found, &error));
        g_assert_true(has);
    }
    settings_free(made);
    return after;
}

/* However often it was prepared, undo gives the original back to the byte, and if somebody added
 * lines meanwhile, the original with these. */
static void
assert_reverts(const char *original, const char *first, const char *second, bool qemu)
{
    static const char top[] = "# by hand, on top\n",
                      bottom[] = "\nmax_queued_clients = 77 # ours\n";
    const ConfKey *keys = qemu ? conf_keys_qemu : conf_keys_libvirtd;
    g_autoptr(GString) ignored = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *third = edited(ignored, second, &tls, qemu);
    g_autofree char *fourth = edited(ignored, third, &tcp, qemu);
    const char *const later[] = {original, first, second, third, fourth};

    for (size_t i = 0; i < G_N_ELEMENTS(later); i++) {
        g_autofree char *back = conf_revert(later[i], original, keys, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(back, ==, original);
        g_autofree char *by_hand = g_strconcat(top, later[i], bottom, NULL);
        g_autofree char *between = edited(ignored, by_hand, i % 2 ? &tls : &tcp, qemu);
        g_autofree char *kept = conf_revert(between, original, keys, &error);
        g_assert_no_error(error);
        bool open = i > 0 && *original != '\0' && !g_str_has_suffix(original, "\n") &&
                    !g_str_has_suffix(later[i], original);
        g_autofree char *wanted = g_strconcat(top, original, open ? "\n" : "", bottom, NULL);
        g_assert_cmpstr(kept, ==, wanted);
    }
}

static void
test_file(const void *opaque)
{
    const char *name = opaque;
    g_autofree char *path = g_strconcat(PREPARE_CORPUS, "/", name, ".conf", NULL);
    g_autofree char *text = NULL, *first = NULL, *second = NULL;
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    bool qemu = g_str_has_suffix(name, ".qemu");

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    first = edited(out, text, &tls, qemu);
    if (first != NULL)
        second = edited(out, first, &tcp, qemu);
    if (second != NULL)
        assert_reverts(text, first, second, qemu);
    golden_compare(name, out->str);
}

typedef struct Original {
    const char *name, *path, *sha256;
    bool qemu;
} Original;

/* As Debian 12 installs them (libvirt 9.0.0). */
static const Original originals[] = {
    {"original-libvirtd", "/etc/libvirt/libvirtd.conf",
     "f1847ed7ff439a6ff0c1d087b1af09de87a4a4b1d75ed35b1dfcb6cb577c9039", false},
    {"original-qemu", "/etc/libvirt/qemu.conf",
     "ac767b9f1e568506730231e27785a7b21bace6a881f1fb7ca8b319643a753460", true},
};

static void
test_original(const void *opaque)
{
    const Original *original = opaque;
    g_autofree char *text = NULL, *first = NULL, *second = NULL;
    g_autoptr(GString) out = g_string_new(NULL);

    if (!g_file_get_contents(original->path, &text, NULL, NULL)) {
        g_test_skip("libvirt is not installed here");
        return;
    }
    g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    if (!g_str_equal(sum, original->sha256)) {
        g_test_skip("the file is not as Debian 12 installs it");
        return;
    }
    first = edited(out, text, &tls, original->qemu);
    second = edited(out, first, &tcp, original->qemu);
    assert_reverts(text, first, second, original->qemu);
    golden_compare(original->name, out->str);
}

static void
test_units(void)
{
    NodeSettings v6 = tls, modular = tls, any = tcp;
    v6.listen_address = "2001:db8::11";
    modular.mode = DAEMON_MODULAR;
    any.mode = DAEMON_SOCKET;
    g_autofree char *tls_socket = render_socket(&modular);
    g_autofree char *v6_socket = render_socket(&v6);
    g_autofree char *tcp_socket = render_socket(&any);
    g_autofree char *service = render_service_listen("/usr/sbin/libvirtd");
    g_autofree char *firewall = render_firewall_unit("/usr/sbin/nft", "/etc/nftables.d/godwit.nft");
    g_autoptr(GString) out = g_string_new(NULL);

    for (int mode = 0; mode < N_DAEMON_MODES; mode++) {
        const DaemonUnits *units = &daemon_units[mode];
        g_autofree char *serving = g_strjoinv(" ", (char **)units->serving);
        g_autofree char *masked = g_strjoinv(" ", (char **)units->masked);
        g_string_append_printf(out,
                               "mode %d: %s (%s) reads %s; serve: %s; sockets: %s %s; masked: %s\n",
                               mode, units->listener, units->server, units->conf, serving,
                               units->tls_socket ? units->tls_socket : "-",
                               units->tcp_socket ? units->tcp_socket : "-", masked);
    }
    g_string_append_printf(out, "\n%s\n%s\n%s\n%s\n%s", tls_socket, v6_socket, tcp_socket, service,
                           firewall);
    golden_compare("units", out->str);
}

static void
test_firewall(void)
{
    static const char *const addresses[] = {"192.0.2.12", "2001:db8::12", "192.0.2.1", "192.0.2.12",
                                            NULL};
    static const char *const none[] = {NULL};
    static const char *const hostile[] = {"192.0.2.12 } ; flush ruleset", NULL};
    NodeSettings ssh = tls;
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) out = g_string_new(NULL);

    ssh.transport = TRANSPORT_SSH;
    g_autofree char *rules = render_firewall(&tls, addresses, &error);
    g_assert_no_error(error);
    g_autofree char *nobody = render_firewall(&tcp, none, &error);
    g_assert_no_error(error);
    g_autofree char *through_ssh = render_firewall(&ssh, addresses, &error);
    g_assert_no_error(error);
    g_string_append_printf(out, "%s\n%s\n%s", rules, nobody, through_ssh);
    golden_compare("firewall", out->str);
    g_assert_null(render_firewall(&tls, hostile, &error));
    g_assert_cmpint(err_code(error), ==, ERR_INVALID);
}

#define KEY_1 "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO0000000000000000000000000000000000000000001"
#define KEY_2 "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO0000000000000000000000000000000000000000002"

static void
test_mesh(void)
{
    static const char *const names_1[] = {"host1", "192.0.2.11", NULL};
    static const char *const names_2[] = {"host2", "192.0.2.12", "2001:db8::12", NULL};
    static const char *const host_keys[] = {KEY_1, KEY_2, NULL};
    MeshKey keys[] = {{names_1, host_keys, KEY_1}, {names_2, host_keys + 1, KEY_2}};
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *known = render_known_hosts(keys, 2, &error);
    g_autofree char *allowed = render_authorized_keys(keys, 2, &error);
    g_autofree char *config = render_ssh_config(keys, 2, "nova");

    g_assert_no_error(error);
    g_string_append_printf(out, "%s\n%s\n%s", known, allowed, config);
    golden_compare("mesh", out->str);

    static const char *const hostile[] = {
        "",
        "ssh-ed25519",
        KEY_1 " comment",
        ("command=\"reboot\" " KEY_1),
        "ssh-ed25519 AAAA\nssh-rsa AAAA",
        "ssh-dss AAAAC3NzaC1lZDI1NTE5AAAAIO00000000000000000000000",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(hostile); i++) {
        keys[1].user_key = hostile[i];
        g_assert_null(render_authorized_keys(keys, 2, &error));
        g_assert_cmpint(err_code(error), ==, ERR_INVALID);
        g_clear_error(&error);
    }
}

int
main(int argc, char **argv)
{
    GDir *dir;
    const char *name;

    g_test_init(&argc, &argv, NULL);
    dir = g_dir_open(PREPARE_CORPUS, 0, NULL);
    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        if (!g_str_has_suffix(name, ".conf"))
            continue;
        g_autofree char *base = g_strndup(name, strlen(name) - strlen(".conf"));
        g_autofree char *test = g_strconcat("/prepare/conf/", base, NULL);
        g_test_add_data_func(test, g_intern_string(base), test_file);
    }
    g_dir_close(dir);
    for (size_t i = 0; i < G_N_ELEMENTS(originals); i++) {
        g_autofree char *test = g_strconcat("/prepare/conf/", originals[i].name, NULL);
        g_test_add_data_func(test, &originals[i], test_original);
    }
    g_test_add_func("/prepare/render/units", test_units);
    g_test_add_func("/prepare/render/firewall", test_firewall);
    g_test_add_func("/prepare/render/mesh", test_mesh);
    return g_test_run();
}
