/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-nova-conf.c: what becomes of pasted nova.conf files: nova-conf/NAME.conf → NAME.expected
 *
 * With GODWIT_UPDATE_GOLDEN=1 the expected files are written anew, to be read before they are kept.
 */

#include <glib/gstdio.h>

#include "model/model.h"

static char *
joined(char **words)
{
    return g_strjoinv(",", words);
}

static void
settings_print(GString *out, const LibvirtSettings *settings)
{
    g_autofree char *models = joined(settings->cpu_models);
    g_autofree char *extra = joined(settings->cpu_extra_flags);
    g_autofree char *flags = migrate_flags_format(settings->migrate_flags);
    const char *uri = settings->migration_uri ? settings->migration_uri : "auto";
    /* between nodes that are prepared for TLS, if it is them who say how they are reached */
    g_autofree char *scheme = migrate_scheme(settings->migration_uri ? uri : "qemu+tls:");
    unsigned effective = settings->migrate_flags;
    const char *encryption;

    g_string_append_printf(out, "virt_type %s\n", settings->virt_type);
    g_string_append_printf(out, "cpu_mode %s\n", cpu_mode_names[settings->cpu_mode]);
    g_string_append_printf(out, "cpu_models %s\n", models);
    g_string_append_printf(out, "cpu_extra_flags %s\n", extra);
    g_string_append_printf(out, "flags %s\n", flags);
    g_string_append_printf(out, "uri %s\n", uri);
    g_assert_true(
        migrate_encrypt(settings, &(MigrateWire){.scheme = scheme}, &effective, &encryption, NULL));
    g_string_append_printf(out, "encryption %s%s\n", encryption,
                           effective == settings->migrate_flags ? "" : ", TLS added");
    g_string_append_printf(out, "inbound_addr %s\n",
                           settings->inbound_addr ? settings->inbound_addr : "-");
    g_string_append_printf(out,
                           "downtime %" G_GINT64_FORMAT " from %" G_GINT64_FORMAT
                           "\nbandwidth %" G_GINT64_FORMAT "\ncompletion_timeout %" G_GINT64_FORMAT
                           " then %s\nparallel %" G_GINT64_FORMAT "\nrequire_encryption %s\n",
                           settings->downtime_ms, settings->downtime_initial_ms,
                           settings->bandwidth_mib_s, settings->completion_timeout_s_per_gib,
                           settings->timeout_force_complete ? "force_complete" : "abort",
                           settings->parallel_connections,
                           settings->require_encryption ? "yes" : "no");
}

static char *
outcome_of(const char *text)
{
    g_autoptr(LibvirtSettings) settings = libvirt_settings_new();
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    GString *out = g_string_new(NULL);

    if (libvirt_settings_parse(text, settings, notices, &error))
        settings_print(out, settings);
    else
        g_string_append_printf(out, "error %s: %s\n", err_code_name(err_code(error)),
                               error->message);
    for (unsigned i = 0; i < notices->len; i++)
        g_string_append_printf(out, "notice %s\n", (const char *)g_ptr_array_index(notices, i));
    return g_string_free(out, FALSE);
}

static void
test_file(const void *opaque)
{
    const char *path = opaque;
    g_autofree char *base = g_strndup(path, strlen(path) - strlen(".conf"));
    g_autofree char *expected_path = g_strconcat(base, ".expected", NULL);
    g_autofree char *text = NULL;
    g_autofree char *expected = NULL;
    g_autofree char *outcome = NULL;
    g_autoptr(GError) error = NULL;

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    outcome = outcome_of(text);
    if (g_getenv("GODWIT_UPDATE_GOLDEN")) {
        g_file_set_contents(expected_path, outcome, -1, &error);
        g_assert_no_error(error);
        return;
    }
    g_file_get_contents(expected_path, &expected, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(outcome, ==, expected);
}

static bool
count_foreign_group(void *opaque, const char *group, const char *key, const char *value,
                    unsigned line, GError **err)
{
    unsigned *lines = opaque;

    (*lines)++;
    return config_group_is_novas(group) ||
           err_set(err, ERR_INVALID, "line %u: [%s] is nobody's", line, group);
}

/* Every group of the whole sample is one of Nova's, so that the daemon can pass over it. */
static void
test_groups(void)
{
    g_autofree char *path = g_build_filename(NOVA_CONF_CORPUS, "zed-whole.conf", NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    unsigned lines = 0;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    config_scan(text, count_foreign_group, &lines, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(lines, >, 50);
    g_assert_true(config_group_is_novas("default"));
    g_assert_true(config_group_is_novas("mdev_nvidia-35"));
    g_assert_false(config_group_is_novas("godwit"));
    g_assert_false(config_group_is_novas("storage"));
    g_assert_false(config_group_is_novas("identity"));
    g_assert_false(config_group_is_novas(""));
    g_assert_true(config_key_is_novas_placement("auth_url"));
    g_assert_false(config_key_is_novas_placement("ram_allocation_ratio"));
}

static void
test_defaults(void)
{
    g_autofree char *empty = outcome_of("");
    g_autofree char *other = outcome_of("[DEFAULT]\nlive_migration_flag = nonsense\n");

    g_assert_nonnull(strstr(empty, "cpu_mode baseline\n"));
    g_assert_nonnull(strstr(empty, "flags LIVE,PEER2PEER\nuri auto\nencryption tls, TLS added\n"));
    g_assert_nonnull(strstr(empty, "downtime 500 from 30\n"));
    g_assert_nonnull(strstr(empty, "completion_timeout 800 then abort\n"));
    g_assert_cmpstr(empty, ==, other);
}

int
main(int argc, char **argv)
{
    GDir *dir;
    const char *name;

    g_test_init(&argc, &argv, NULL);
    dir = g_dir_open(NOVA_CONF_CORPUS, 0, NULL);
    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *test = NULL;

        if (!g_str_has_suffix(name, ".conf"))
            continue;
        test = g_strdup_printf("/nova-conf/%.*s", (int)(strlen(name) - strlen(".conf")), name);
        g_test_add_data_func_full(test, g_build_filename(NOVA_CONF_CORPUS, name, NULL), test_file,
                                  g_free);
    }
    g_dir_close(dir);
    g_test_add_func("/nova-conf/groups", test_groups);
    g_test_add_func("/nova-conf/defaults", test_defaults);
    return g_test_run();
}
