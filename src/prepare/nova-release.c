/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nova-release.c: Nova's releases, and which of them reads which option about moves and CPUs
 *
 * Taken from the option definitions of the first release of each series: nova/conf/libvirt.py since
 * Newton, nova/virt/libvirt/driver.py before (tags 2014.1 … 12.0.0 … 33.0.0 of openstack/nova).
 * What is worth knowing beside the names, from the code that uses them:
 *
 *   live_migration_uri         deprecated in 15; where it is set, live_migration_scheme is ignored
 *   live_migration_flag        deprecated and overridden in 13, gone in 14
 *   live_migration_tunnelled   deprecated in 23; QEMU's own TLS (19) does better what it was for
 *   cpu_models                 cpu_model is its deprecated name, which is still read
 *   cpu_model_extra_flags      any flag since 18; before, in late 15.x to 17.x, a few by name;
 *                              "-flag" since 23
 */
#include "prepare/prepare-priv.h"

#include <string.h>

const NovaRelease nova_releases[] = {
    {9, "Icehouse", "2014.1"},   {10, "Juno", "2014.2"},   {11, "Kilo", "2015.1"},
    {12, "Liberty", "12.0"},     {13, "Mitaka", "13.0"},   {14, "Newton", "14.0"},
    {15, "Ocata", "15.0"},       {16, "Pike", "16.0"},     {17, "Queens", "17.0"},
    {18, "Rocky", "18.0"},       {19, "Stein", "19.0"},    {20, "Train", "20.0"},
    {21, "Ussuri", "21.0"},      {22, "Victoria", "22.0"}, {23, "Wallaby", "23.0"},
    {24, "Xena", "24.0"},        {25, "Yoga", "25.0"},     {26, "Zed", "26.0"},
    {27, "Antelope", "2023.1"},  {28, "Bobcat", "2023.2"}, {29, "Caracal", "2024.1"},
    {30, "Dalmatian", "2024.2"}, {31, "Epoxy", "2025.1"},  {32, "Flamingo", "2025.2"},
    {33, "Gazpacho", "2026.1"},  {0, NULL, NULL},
};

#define SCHEME "live_migration_scheme and live_migration_inbound_addr"

const NovaOption nova_options[] = {
    {"virt_type", 9, 0, false, NULL},
    {"cpu_mode", 9, 0, false, NULL},
    {"cpu_model", 9, 0, false, NULL},
    {"cpu_models", 20, 0, false, "cpu_model"},
    {"cpu_model_extra_flags", 15, 0, false, NULL},
    {"live_migration_flag", 9, 12, false, "live_migration_tunnelled"},
    {"block_migration_flag", 9, 12, false, "live_migration_tunnelled"},
    {"live_migration_uri", 9, 0, false, SCHEME},
    {"live_migration_scheme", 15, 0, false, "live_migration_uri"},
    {"live_migration_inbound_addr", 13, 0, false, "live_migration_uri"},
    {"live_migration_tunnelled", 13, 0, true, "live_migration_flag"},
    {"live_migration_with_native_tls", 19, 0, true, "live_migration_tunnelled"},
    {"live_migration_permit_post_copy", 14, 0, true, NULL},
    {"live_migration_permit_auto_converge", 14, 0, true, "live_migration_flag"},
    {"live_migration_completion_timeout", 12, 0, false, NULL},
    {"live_migration_progress_timeout", 12, 18, false, "live_migration_completion_timeout"},
    {"live_migration_timeout_action", 19, 0, false, NULL},
    {"live_migration_parallel_connections", 33, 0, false, NULL},
    {NULL, 0, 0, false, NULL},
};

const NovaOption *
nova_option_find(const char *key)
{
    for (const NovaOption *option = nova_options; option->key != NULL; option++) {
        if (g_str_equal(option->key, key))
            return option;
    }
    return NULL;
}

bool
nova_uses(const NovaRelease *release, const char *key)
{
    const NovaOption *option = nova_option_find(key);
    return option == NULL || (release->number >= option->first &&
                              (option->last == 0 || release->number <= option->last));
}

const NovaRelease *
nova_release_find(const char *name, GError **err)
{
    g_autoptr(GString) known = g_string_new(NULL);
    int64_t number = 0;

    if (!parse_int64(name, 1, 999, &number))
        number = 0;
    for (const NovaRelease *release = nova_releases; release->series != NULL; release++) {
        if (g_ascii_strcasecmp(release->series, name) == 0 || g_str_equal(release->version, name) ||
            release->number == number)
            return release;
        g_string_append_printf(known, "%s%s", known->len ? ", " : "", release->series);
    }
    g_autofree char *shown = g_strescape(name, NULL);
    err_set(err, ERR_INVALID,
            "\"%.60s\" is no release of Nova that is known here; it takes a series, a version or "
            "Nova's number (caracal, 2024.1 or 29) of: %s",
            shown, known->str);
    return NULL;
}

const NovaRelease *
nova_release_newest(void)
{
    const NovaRelease *release = nova_releases;
    while (release[1].series != NULL)
        release++;
    return release;
}

const NovaRelease *
nova_release_classic(void)
{
    const NovaRelease *release = nova_releases;
    while (nova_uses(release + 1, "live_migration_flag"))
        release++;
    return release;
}
