/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz-nova-conf.c: a configuration file of any content */

#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(LibvirtSettings) settings = libvirt_settings_new();
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    bool ok = libvirt_settings_parse(text, settings, notices, &error);

    g_assert_true(ok == (error == NULL));
    if (!ok) {
        g_assert_true(err_is(error, ERR_INVALID));
        return 0;
    }
    /* what is accepted is fit to be used as it is */
    g_assert_cmpint(settings->downtime_initial_ms, <=, settings->downtime_ms);
    g_assert_cmpint(settings->parallel_connections, >=, 1);
    g_assert_true(migrate_flags_check(
        settings->migrate_flags,
        &(MigrateContext){.has_migrate_uri = settings->inbound_addr != NULL}, NULL));
    g_assert_true(!settings->migration_uri || strstr(settings->migration_uri, "%s"));
    return 0;
}
