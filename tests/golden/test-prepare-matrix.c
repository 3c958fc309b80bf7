/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-prepare-matrix.c: what every distribution gets, for every way to listen and every transport
 *
 * One listing, prepare-matrix.expected: what is installed, which units serve and which are masked,
 * what goes into which file. That of the modular daemons and of the Red Hat family has been run on
 * no machine here, so it is at least read. Files that differ in nothing are told once, by
 * reference. With GODWIT_UPDATE_GOLDEN=1 the listing is written anew, to be read before it is kept.
 */
#include "prepare/prepare-priv.h"

#include <string.h>

static const struct {
    const char *name, *os_release;
} systems[] = {
    {"Debian 12", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n"},
    {"Ubuntu 24.04", "NAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n"},
    {"Linux Mint", "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"},
    {"Rocky Linux 9", "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"},
    {"CentOS Stream 9", "NAME=\"CentOS Stream\"\nID=\"centos\"\nID_LIKE=\"rhel fedora\"\n"},
    {"Oracle Linux 9", "NAME=\"Oracle Linux Server\"\nID=\"ol\"\nID_LIKE=\"fedora\"\n"},
    {"openSUSE", "NAME=\"openSUSE Leap\"\nID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n"},
};

static const char *const mode_names[] = {
    [DAEMON_SOCKET] = "sockets of systemd",
    [DAEMON_LISTEN] = "libvirtd --listen",
    [DAEMON_MODULAR] = "modular daemons",
};

typedef struct Listing {
    GString *out;
    GHashTable *told; /* text → the number it was told under */
} Listing;

static void
words_tell(Listing *listing, const char *what, const char *const *words)
{
    g_autofree char *joined = g_strjoinv(" ", (char **)words);
    g_string_append_printf(listing->out, "  %s: %s\n", what, *joined ? joined : "-");
}

static void
text_tell(Listing *listing, const char *path, const char *text)
{
    unsigned number = GPOINTER_TO_UINT(g_hash_table_lookup(listing->told, text));

    if (number > 0) {
        g_string_append_printf(listing->out, "  %s: as text %u\n", path, number);
        return;
    }
    number = g_hash_table_size(listing->told) + 1;
    g_hash_table_insert(listing->told, g_strdup(text), GUINT_TO_POINTER(number));
    g_string_append_printf(listing->out, "  %s: text %u\n", path, number);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (**line != '\0')
            g_string_append_printf(listing->out, "    | %s\n", *line);
    }
}

static void
settings_tell(Listing *listing, const char *path, ConfSetting *settings)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (const ConfSetting *setting = settings; setting->key != NULL; setting++)
        g_string_append_printf(text, "%s %s\n", setting->key,
                               setting->value != NULL ? setting->value : "(not set)");
    text_tell(listing, path, text->str);
    settings_free(settings);
}

/* What must hold whatever the distribution, so that no golden file can be written that lacks it. */
static void
safety_assert(const NodeSettings *settings, const char *drop_in, const char *rules)
{
    const DaemonUnits *units = &daemon_units[settings->mode];

    if (settings->transport == TRANSPORT_SSH)
        g_assert_null(drop_in);
    else
        g_assert_nonnull(drop_in);
    if (settings->mode != DAEMON_LISTEN && drop_in != NULL) {
        /* the vendor's own address is reset first */
        const char *reset = strstr(drop_in, "ListenStream=\n");
        g_assert_nonnull(reset);
        g_assert_nonnull(strstr(reset + 1, "ListenStream=192.0.2.11:"));
        g_assert_null(strstr(drop_in, "0.0.0.0"));
    }
    if (settings->mode == DAEMON_LISTEN)
        g_assert_true(g_strv_contains(units->masked, "libvirtd.socket"));
    g_assert_nonnull(units->serving[0]);
    g_assert_cmpstr(units->serving[0], ==, units->listener);
    g_assert_nonnull(strstr(rules, "192.0.2.12"));
}

static void
combination_tell(Listing *listing, const Distro *distro, const NodeSettings *settings)
{
    static const char *const peers[] = {"192.0.2.12", "192.0.2.1", NULL};
    const DaemonUnits *units = &daemon_units[settings->mode];
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    g_autofree char *path = unit_drop_in(settings, distro->libvirtd, &text);
    g_autofree char *rules = render_firewall(settings, peers, &error);

    g_assert_no_error(error);
    g_string_append_printf(listing->out, "\n-- %s, %s, %s: port %u, moves on %u-%u\n", distro->name,
                           mode_names[settings->mode], transport_names[settings->transport],
                           settings_port(settings), (unsigned)MIGRATION_PORT_FIRST,
                           settings_migration_port_last(settings));
    g_string_append_printf(listing->out, "  listens: %s\n", units->listener);
    words_tell(listing, "serve", units->serving);
    words_tell(listing, "masked", units->masked);
    settings_tell(listing, units->conf, settings_libvirtd(settings, &error));
    g_assert_no_error(error);
    settings_tell(listing, NODE_QEMU_CONF, settings_qemu(settings, &error));
    g_assert_no_error(error);
    if (path != NULL)
        text_tell(listing, path, text);
    text_tell(listing, NODE_RULES_PATH, rules);
    safety_assert(settings, text, rules);
}

static void
distro_tell(Listing *listing, const Distro *distro)
{
    g_string_append_printf(listing->out, "\n==== %s (%s; %s)\n", distro->name, distro->manager,
                           distro->modular ? "modular daemons" : "libvirtd");
    words_tell(listing, "os-release", distro->ids);
    words_tell(listing, "packages", distro->packages);
    words_tell(listing, "for Ceph", distro->ceph_packages);
    text_tell(listing, "refresh", distro->refresh);
    text_tell(listing, "present", distro->present);
    text_tell(listing, "install", distro->install);
    for (int mode = 0; mode < N_DAEMON_MODES; mode++) {
        for (int transport = 0; transport < N_TRANSPORTS; transport++) {
            NodeSettings settings = {
                .transport = (PrepareTransport)transport,
                .mode = (DaemonMode)mode,
                .listen_address = "192.0.2.11",
                .qemu_user = distro->qemu_user,
                .qemu_group = distro->qemu_group,
                .dynamic_ownership = true,
                .moves = 4,
            };
            combination_tell(listing, distro, &settings);
        }
    }
}

static void
golden_compare(const char *outcome)
{
    g_autofree char *expected = NULL;
    g_autoptr(GError) error = NULL;

    if (g_getenv("GODWIT_UPDATE_GOLDEN")) {
        g_file_set_contents(PREPARE_MATRIX, outcome, -1, &error);
        g_assert_no_error(error);
        return;
    }
    g_file_get_contents(PREPARE_MATRIX, &expected, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(outcome, ==, expected);
}

static void
test_matrix(void)
{
    g_autoptr(GHashTable) told = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GString) out = g_string_new("which entry of the table a system gets\n");
    g_autoptr(GPtrArray) distros = g_ptr_array_new();
    Listing listing = {.out = out, .told = told};
    unsigned where;

    for (size_t i = 0; i < G_N_ELEMENTS(systems); i++) {
        g_autoptr(GError) error = NULL;
        const Distro *distro = distro_find(systems[i].os_release, &error);

        g_string_append_printf(out, "  %s: %s\n", systems[i].name,
                               distro != NULL ? distro->name : error->message);
        if (distro != NULL && !g_ptr_array_find(distros, distro, &where))
            g_ptr_array_add(distros, (void *)distro);
    }
    for (unsigned i = 0; i < distros->len; i++)
        distro_tell(&listing, g_ptr_array_index(distros, i));
    golden_compare(out->str);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/prepare/matrix", test_matrix);
    return g_test_run();
}
