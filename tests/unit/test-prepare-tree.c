/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-prepare-tree.c: the files of a compute node below a directory */
#include "prepare/prepare-priv.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Told {
    unsigned changed, same;
} Told;

static void
on_step(void *opaque, unsigned node, const char *step, StepState state, const char *detail)
{
    Told *told = opaque;

    told->changed += state == STEP_CHANGED;
    told->same += state == STEP_SAME;
}

static char *root;

static char *
below(const char *path)
{
    return g_build_filename(root, path, NULL);
}

static void
put(const char *path, const char *text)
{
    g_autofree char *file = below(path), *dir = g_path_get_dirname(file);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
    g_assert_true(g_file_set_contents(file, text, -1, NULL));
}

static char *
get(const char *path)
{
    g_autofree char *file = below(path);
    char *text = NULL;

    g_file_get_contents(file, &text, NULL, NULL);
    return text;
}

static void
remove_all(const char *path)
{
    GDir *dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        remove_all(child);
    }
    if (dir != NULL)
        g_dir_close(dir);
    g_remove(path);
}

static Told
run(const PrepareOptions *options, bool units, ErrCode code, const char *says)
{
    Told told = {0};
    PrepareEvents events = {.on_step = on_step, .opaque = &told};
    g_autoptr(GError) error = NULL;
    bool good = prepare_tree(root, options, units, &events, &error);

    if (says == NULL) {
        g_assert_no_error(error);
        g_assert_true(good);
    } else {
        g_assert_false(good);
        g_assert_true(err_is(error, code));
        if (strstr(error->message, says) == NULL)
            g_error("\"%s\" does not say \"%s\"", error->message, says);
    }
    return told;
}

static const char *const some[] = {"10.0.0.2", NULL};
static const PrepareOptions plain = {.moves = 4, .firewall = true, .peers = some, .cancel_fd = -1};

static void
fresh(void)
{
    remove_all(root);
    g_assert_cmpint(g_mkdir(root, 0755), ==, 0);
}

/* What is written is what the texts' own functions make; a second run changes nothing. */
static void
test_same_as_on_a_node(void)
{
    fresh();
    put("/usr/lib/os-release", "ID=debian\n");
    put("/etc/libvirt/qemu.conf", "# ours\nmax_files = 7\n");
    Told told = run(&plain, true, 0, NULL);
    g_assert_cmpuint(told.changed, ==, 5);
    told = run(&plain, true, 0, NULL);
    g_assert_cmpuint(told.changed, ==, 0);
    g_assert_cmpuint(told.same, ==, 5);

    NodeSettings settings = {.mode = DAEMON_SOCKET,
                             .qemu_user = "libvirt-qemu",
                             .qemu_group = "libvirt-qemu",
                             .dynamic_ownership = true,
                             .moves = 4};
    ConfSetting *wanted = settings_qemu(&settings, NULL);
    g_autofree char *qemu = conf_edit("# ours\nmax_files = 7\n", wanted, NULL, NULL);
    g_autofree char *rules = render_firewall(&settings, some, NULL);
    g_autofree char *socket = render_socket(&settings);
    g_autofree char *is_qemu = get("/etc/libvirt/qemu.conf");
    g_autofree char *is_rules = get("/etc/godwit/node.nft");
    g_autofree char *is_socket = get("/etc/systemd/system/libvirtd-tls.socket.d/godwit.conf");

    g_assert_cmpstr(is_qemu, ==, qemu);
    g_assert_cmpstr(is_rules, ==, rules);
    g_assert_cmpstr(is_socket, ==, socket);
    settings_free(wanted);
}

static void
test_dry_run(void)
{
    PrepareOptions options = plain;
    g_autofree char *etc = below("/etc");

    fresh();
    options.user = options.group = "root";
    options.dry_run = true;
    g_assert_cmpuint(run(&options, true, 0, NULL).changed, ==, 5);
    g_assert_false(g_file_test(etc, G_FILE_TEST_EXISTS));
}

static void
test_mode_is_kept(void)
{
    g_autofree char *path = below("/etc/libvirt/qemu.conf");
    struct stat status;

    fresh();
    put("/etc/os-release", "ID=ubuntu\n");
    put("/etc/libvirt/qemu.conf", "");
    g_assert_cmpint(g_chmod(path, 0640), ==, 0);
    run(&plain, false, 0, NULL);
    g_assert_cmpint(stat(path, &status), ==, 0);
    g_assert_cmpuint(status.st_mode & 07777, ==, 0640);
}

/* No link leads a write out of the tree: absolute, upwards, of a directory or of the file itself.
 */
static void
test_links(void)
{
    static const struct {
        const char *link, *to, *says;
    } cases[] = {
        {"/etc/systemd", "/tmp", "leads out"},
        {"/etc/systemd", "../../..", "leads out"},
        {"/etc/libvirt", "/etc/libvirt", "leads out"},
        {"/etc/libvirt/qemu.conf", "../../../x", "leads out"},
        {"/etc/libvirt/qemu.conf", "other.conf", "is a symbolic link"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *link = below(cases[i].link), *dir = g_path_get_dirname(link);

        fresh();
        put("/etc/os-release", "ID=debian\n");
        g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
        g_assert_cmpint(symlink(cases[i].to, link), ==, 0);
        run(&plain, true, i < 4 ? ERR_FORBIDDEN : ERR_INVALID, cases[i].says);
    }
    /* One that stays inside is followed. */
    g_autofree char *inside = below("/etc/systemd"), *there = below("/srv");
    fresh();
    put("/etc/os-release", "ID=debian\n");
    g_assert_cmpint(g_mkdir(there, 0755), ==, 0);
    g_assert_cmpint(symlink("../srv", inside), ==, 0);
    run(&plain, true, 0, NULL);
    g_autofree char *text = get("/srv/system/libvirtd-tls.socket.d/godwit.conf");
    g_assert_nonnull(text);
}

static void
test_refused(void)
{
    PrepareOptions options = plain;
    char *keep = root;

    fresh();
    run(&plain, false, ERR_INVALID, "--user and --group");
    put("/etc/os-release", "ID=slackware\n");
    run(&plain, false, ERR_UNSUPPORTED, "slackware");
    put("/etc/os-release", "ID=debian\n");
    options.transport = TRANSPORT_TCP;
    run(&options, false, ERR_INVALID, "--i-know-it-is-plaintext");
    options.firewall = false;
    run(&options, true, ERR_INVALID, "--i-know-it-is-plaintext");
    options.plaintext_accepted = true;
    run(&options, false, 0, NULL);
    put("/etc/libvirt/libvirtd.conf", "this is no setting\n");
    run(&plain, false, ERR_INVALID, "/etc/libvirt/libvirtd.conf: line 1");
    root = (char *)"relative";
    run(&plain, false, ERR_INVALID, "absolute");
    root = (char *)"/tmp/..";
    run(&plain, false, ERR_INVALID, "host prepare");
    root = (char *)"/nowhere/at/all";
    run(&plain, false, ERR_NOT_FOUND, "/nowhere/at/all");
    root = keep;
}

static void
test_modular(void)
{
    fresh();
    put("/etc/os-release", "ID=rocky\n");
    run(&plain, true, 0, NULL);
    g_autofree char *conf = get("/etc/libvirt/virtproxyd.conf");
    g_autofree char *drop = get("/etc/systemd/system/virtproxyd-tls.socket.d/godwit.conf");
    g_assert_nonnull(conf);
    g_assert_nonnull(drop);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    root = g_dir_make_tmp("godwit-tree-XXXXXX", NULL);
    g_test_add_func("/prepare-tree/same-as-on-a-node", test_same_as_on_a_node);
    g_test_add_func("/prepare-tree/dry-run", test_dry_run);
    g_test_add_func("/prepare-tree/mode-is-kept", test_mode_is_kept);
    g_test_add_func("/prepare-tree/links", test_links);
    g_test_add_func("/prepare-tree/refused", test_refused);
    g_test_add_func("/prepare-tree/modular", test_modular);
    int rc = g_test_run();
    remove_all(root);
    g_free(root);
    return rc;
}
