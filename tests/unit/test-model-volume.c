/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-model-volume.c: what may be done to a volume in which status; the names of disks */
#include <string.h>

#include "model/model.h"

static bool
permits(const char *action, VolumeStatus status, GError **err)
{
    Volume volume = {.id = (char *)"6e3c4dfa-9fd7-4e9a-a25b-3b6f0d3e7a11", .status = status};

    return volume_rule_permits(volume_rule_find(action), &volume, err);
}

static void
assert_only_in(const char *action, unsigned statuses)
{
    for (int status = 0; volume_status_names[status]; status++) {
        g_autoptr(GError) error = NULL;
        bool permitted = permits(action, (VolumeStatus)status, &error);

        g_test_message("%s while %s", action, volume_status_names[status]);
        g_assert_cmpint(permitted, ==, (statuses >> status & 1) != 0);
        if (!permitted)
            g_assert_true(err_is(error, ERR_CONFLICT));
    }
}

static void
test_rules(void)
{
    const unsigned available = 1u << VOLUME_AVAILABLE, in_use = 1u << VOLUME_IN_USE;

    assert_only_in("attach", available);
    assert_only_in("detach", in_use);
    assert_only_in("snapshot", available);
    assert_only_in("snapshot-in-use", available | in_use);
    assert_only_in("clone", available | in_use);
    assert_only_in("extend", available | in_use | 1u << VOLUME_ERROR_EXTENDING);
    assert_only_in("delete", available | 1u << VOLUME_ERROR | 1u << VOLUME_ERROR_DELETING |
                                 1u << VOLUME_ERROR_EXTENDING);
    g_assert_null(volume_rule_find("paint"));
}

/* What keeps two requests apart: the status while one is done permits no other, not even itself.
 * Only the row of a volume that is being made is there before its task. */
static void
test_rules_exclude(void)
{
    for (const VolumeRule *rule = volume_rules; rule->action; rule++) {
        bool takes_it = rule->task_kind || strcmp(rule->action, "attach") == 0 ||
                        strcmp(rule->action, "detach") == 0;

        for (const VolumeRule *other = volume_rules; takes_it && other->action; other++)
            if (strcmp(rule->action, "create") != 0)
                g_assert_cmpuint(other->statuses & 1u << rule->status_while, ==, 0);
    }
}

static void
test_message(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(permits("extend", VOLUME_DELETING, &error));
    g_assert_cmpstr(error->message, ==,
                    "Invalid volume: Volume status must be available or in-use or error_extending "
                    "to extend, but current status is: deleting.");
}

static void
test_device_names(void)
{
    g_autofree char *first = device_name_next(NULL);
    g_autofree char *gap = device_name_next((const char *const[]){"vda", "vdc", NULL});
    g_autoptr(GPtrArray) taken = g_ptr_array_new_with_free_func(g_free);

    g_assert_cmpstr(first, ==, "vda");
    g_assert_cmpstr(gap, ==, "vdb");
    g_ptr_array_add(taken, NULL);
    for (int i = 0; i < 26 + 26 * 26; i++) {
        char *name = device_name_next((const char *const *)taken->pdata);
        g_autofree char *parsed = device_name_parse(name);

        g_assert_nonnull(name);
        g_assert_cmpstr(parsed, ==, name);
        g_ptr_array_insert(taken, (int)taken->len - 1, name);
    }
    g_assert_cmpstr(g_ptr_array_index(taken, 25), ==, "vdz");
    g_assert_cmpstr(g_ptr_array_index(taken, 26), ==, "vdaa");
    g_assert_cmpstr(g_ptr_array_index(taken, 26 + 675), ==, "vdzz");
    g_assert_null(device_name_next((const char *const *)taken->pdata));
}

static void
test_device_parse(void)
{
    static const char *const bad[] = {"",          "vd",    "/dev/", "/dev/vd",    "sda",
                                      "vdA",       "vdaaa", "vdb1",  "vdb ",       "dev/vdb",
                                      "/dev//vdb", "xvdb",  "vd\n",  "/dev/../vdb"};
    g_autofree char *plain = device_name_parse("vdb"), *path = device_name_parse("/dev/vdab");

    g_assert_cmpstr(plain, ==, "vdb");
    g_assert_cmpstr(path, ==, "vdab");
    g_assert_null(device_name_parse(NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_null(device_name_parse(bad[i]));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/volume/rules", test_rules);
    g_test_add_func("/volume/rules-exclude", test_rules_exclude);
    g_test_add_func("/volume/message", test_message);
    g_test_add_func("/volume/device-names", test_device_names);
    g_test_add_func("/volume/device-parse", test_device_parse);
    return g_test_run();
}
