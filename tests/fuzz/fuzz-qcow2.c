/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz-qcow2.c: the beginning of an uploaded image, as a stranger may make it */

#include "block/block-priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int64_t most = INT64_C(1) << 40;
    g_autoptr(GError) error = NULL;
    int64_t virtual_size = -1;
    size_t seen = MIN(size, BLOCK_SNIFF_BYTES);
    bool ok;

    g_assert_nonnull(block_sniff_format(data, seen));
    ok = block_qcow2_check(data, seen, (int64_t)size, most, &virtual_size, &error);
    g_assert_true(ok == (error == NULL));
    if (ok) {
        g_assert_cmpint(virtual_size, >, 0);
        g_assert_cmpint(virtual_size, <=, most);
        g_assert_cmpstr(block_sniff_format(data, seen), ==, "qcow2");
        /* what is accepted names no other file */
        for (size_t i = 8; i < 20; i++)
            g_assert_cmpuint(data[i], ==, 0);
    } else {
        g_assert_true(err_is(error, ERR_INVALID));
    }
    return 0;
}
