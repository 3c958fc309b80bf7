/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-nova-edit.c: what becomes of a nova.conf, and the sections for every release
 *
 * nova-edit/NAME.conf is edited with each of the settings below; the notices and the differences
 * are in NAME.expected, and a second time must change nothing. With GODWIT_UPDATE_GOLDEN=1 the
 * expected files are written anew, to be read before they are kept. */
#include "prepare/prepare-priv.h"

#include <string.h>

static const char *const flags[] = {"umip", "-svm", NULL};
static const char *const plus_flags[] = {"umip", NULL};
static const char *const none[] = {NULL};

/* By name, since settings hold a release, which is found at run time. */
typedef struct Case {
    const char *title, *release;
    NovaSettings settings;
} Case;

static const Case cases[] = {
    {"newest, TLS, a computed model",
     "gazpacho",
     {.transport = TRANSPORT_TLS, .virt_type = "kvm", .cpu_model = "EPYC", .cpu_flags = flags}},
    {"Train, ssh as nova, post-copy, a model without more",
     "train",
     {.transport = TRANSPORT_SSH,
      .ssh_user = "nova",
      .post_copy = true,
      .inbound_address = "$my_ip",
      .cpu_model = "Westmere",
      .cpu_flags = none}},
    {"Queens, TLS", "17", {.transport = TRANSPORT_TLS, .cpu_model = "Westmere"}},
    {"Liberty, TCP",
     "liberty",
     {.transport = TRANSPORT_TCP, .virt_type = "qemu", .auto_converge = true}},
    {"newest, TCP, nothing of CPUs", "2026.1", {.transport = TRANSPORT_TCP}},
};

static void
golden_compare(const char *name, const char *outcome)
{
    g_autofree char *path = g_strconcat(NOVA_EDIT_CORPUS, "/", name, ".expected", NULL);
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

static NovaSettings
case_settings(const Case *one)
{
    NovaSettings settings = one->settings;
    g_autoptr(GError) error = NULL;

    settings.release = nova_release_find(one->release, &error);
    g_assert_no_error(error);
    return settings;
}

static void
edit_show(GString *out, const char *text, const Case *one)
{
    NovaSettings settings = case_settings(one);
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    g_autofree char *after = nova_conf_edit(text, &settings, notices, &error);

    g_string_append_printf(out, "== %s\n", one->title);
    if (after == NULL) {
        g_string_append_printf(out, "error %s: %s\n", err_code_name(err_code(error)),
                               error->message);
        return;
    }
    for (unsigned i = 0; i < notices->len; i++)
        g_string_append_printf(out, "notice %s\n", (const char *)g_ptr_array_index(notices, i));
    g_autofree char *diff = text_diff("nova.conf", text, after, 0);
    g_string_append(out, diff);

    g_autoptr(GPtrArray) again_notices = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *again = nova_conf_edit(after, &settings, again_notices, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(again, ==, after);
    g_assert_cmpuint(again_notices->len, ==, 0);
    if (strstr(text, "\r\n") != NULL) {
        for (const char *p = strchr(after, '\n'); p != NULL; p = strchr(p + 1, '\n'))
            g_assert_true(p > after && p[-1] == '\r');
    }
    if (*text != '\0' && !g_str_has_suffix(text, "\n"))
        g_assert_false(g_str_has_suffix(after, "\n"));
}

static void
test_file(const void *opaque)
{
    const char *name = opaque;
    g_autofree char *path = g_strconcat(NOVA_EDIT_CORPUS, "/", name, ".conf", NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) out = g_string_new(NULL);

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        edit_show(out, text, &cases[i]);
        /* What cannot be read cannot be read with any settings. */
        if (g_str_has_prefix(name, "bad-"))
            break;
    }
    golden_compare(name, out->str);
}

/* What went through one release's hands goes through the next one's: the upgrade of a cloud. */
static void
test_upgrade(void)
{
    static const char *const path[] = {"juno", "mitaka", "ocata", "train", "gazpacho"};
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = g_strdup("[libvirt]\nvirt_type = kvm\nimages_type = rbd\n");

    for (size_t i = 0; i < G_N_ELEMENTS(path); i++) {
        NovaSettings settings = {.transport = TRANSPORT_TLS, .cpu_model = "Westmere"};
        settings.release = nova_release_find(path[i], &error);
        g_autofree char *after = nova_conf_edit(text, &settings, NULL, &error);
        g_assert_no_error(error);
        g_string_append_printf(out, "== %s\n%s", path[i], after);
        g_free(text);
        text = g_steal_pointer(&after);
    }
    golden_compare("upgrade", out->str);
}

/* Every release with every transport; those that say the same are told once. */
static void
test_sections(void)
{
    static const char *const notes[] = {"CPU: computed for 2 nodes", "x\n[DEFAULT]", NULL};
    g_autoptr(GString) out = g_string_new(NULL);

    for (int transport = 0; transport < N_TRANSPORTS; transport++) {
        g_autofree char *before = NULL;
        for (const NovaRelease *release = nova_releases; release->series != NULL; release++) {
            NovaSettings settings = {
                .release = release,
                .transport = (PrepareTransport)transport,
                .virt_type = "kvm",
                .cpu_model = "Westmere",
                .cpu_flags = release->number < NOVA_CPU_MINUS_FLAGS ? plus_flags : flags,
                .auto_converge = release->number != 13, /* it has neither flag nor option */
                .notes = notes,
            };
            g_autoptr(GError) error = NULL;
            g_autofree char *section = nova_conf_section(&settings, &error);
            g_assert_no_error(error);
            g_assert_null(strstr(section, "[DEFAULT]"));
            const char *body = strchr(section, '\n') + 1;
            g_string_append_printf(out, "== %s, Nova %s\n", transport_names[transport],
                                   release->series);
            if (g_strcmp0(body, before) != 0)
                g_string_append(out, body);
            g_free(before);
            before = g_strdup(body);
        }
    }
    golden_compare("sections", out->str);
}

int
main(int argc, char **argv)
{
    g_autoptr(GDir) dir = g_dir_open(NOVA_EDIT_CORPUS, 0, NULL);
    const char *file;

    g_test_init(&argc, &argv, NULL);
    g_assert_nonnull(dir);
    while ((file = g_dir_read_name(dir)) != NULL) {
        if (!g_str_has_suffix(file, ".conf"))
            continue;
        char *name = g_strndup(file, strlen(file) - strlen(".conf"));
        g_autofree char *path = g_strconcat("/nova-edit/", name, NULL);
        g_test_add_data_func_full(path, name, test_file, g_free);
    }
    g_test_add_func("/nova-edit/upgrade", test_upgrade);
    g_test_add_func("/nova-edit/sections", test_sections);
    return g_test_run();
}
