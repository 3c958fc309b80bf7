/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz-nova-edit.c: somebody's nova.conf of any content, edited for an old and for a new release */

#include "prepare/prepare.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
edit_twice(const char *text, const NovaSettings *settings)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *after = nova_conf_edit(text, settings, NULL, &error);

    if (after == NULL) {
        g_assert_true(err_is(error, ERR_INVALID));
        return;
    }
    /* It can be read again, and nothing is left to do. */
    g_autofree char *again = nova_conf_edit(after, settings, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(again, ==, after);
    g_assert_nonnull(strstr(after, "live_migration_"));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const flags[] = {"umip", "-svm", NULL};
    g_autofree char *text = g_strndup((const char *)data, size);
    NovaSettings newest = {.release = nova_release_newest(),
                           .virt_type = "kvm",
                           .cpu_model = "EPYC",
                           .cpu_flags = flags};
    NovaSettings classic = {.release = nova_release_classic(), .transport = TRANSPORT_TCP};

    edit_twice(text, &newest);
    edit_twice(text, &classic);
    return 0;
}
