/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz-cpu-scan.c: whatever a node answers about its CPU */

#include "prepare/prepare-priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(GHashTable) usable = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) cpus = cpu_scan(text, usable, &error);

    if (cpus == NULL) {
        g_assert_true(err_is(error, ERR_INVALID));
        return 0;
    }
    /* What is sent on is our own, and reads as what was found. */
    for (unsigned i = 0; i < cpus->len; i++) {
        const ScannedCpu *cpu = g_ptr_array_index(cpus, i);
        g_autofree char *xml = cpu_render(cpu);
        g_autoptr(GPtrArray) again = cpu_scan(xml, NULL, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(again->len, ==, 1);
        g_autofree char *same = cpu_render(g_ptr_array_index(again, 0));
        g_assert_cmpstr(same, ==, xml);
    }
    return 0;
}
