/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-sniff.c: what the bytes of an uploaded image really are
 *
 * An image is written by a stranger and opened by QEMU on every node. A qcow2 header can name other
 * files (a backing file, an external data file), which QEMU would then read with its own rights and
 * hand to the guest: such an image is refused before any QEMU tool sees it. A file that is claimed
 * to be raw but begins like another format is refused as well: whoever probed it later would be led
 * astray. All numbers of the header are bounded here, so that a small file cannot demand a large
 * table. */

#include "block-priv.h"

#include <string.h>

#define QCOW2_MAGIC           0x514649fbu
#define CLUSTER_BITS_LEAST    9
#define CLUSTER_BITS_MOST     21
#define L1_BYTES_MOST         (INT64_C(32) << 20) /* QEMU's own bound */
#define REFCOUNT_BYTES_MOST   (INT64_C(8) << 20)  /* QEMU's own bound */
#define SNAPSHOTS_MOST        1024
#define HEADER_V2_BYTES       72
#define HEADER_V3_BYTES       104
#define EXTENSION_END         0u
#define EXTENSION_DATA_FILE   0x44415441u
#define EXTENSION_ENCRYPTION  0x0537be77u
#define INCOMPATIBLE_DIRTY    (1u << 0)
#define INCOMPATIBLE_CORRUPT  (1u << 1)
#define INCOMPATIBLE_DATA     (1u << 2)
#define INCOMPATIBLE_COMPRESS (1u << 3)
#define INCOMPATIBLE_EXTL2    (1u << 4)

static const struct {
    const char *format;
    size_t offset;
    const char *magic;
    size_t length;
} foreign[] = {
    {"qcow", 0, "QFI\xfb", 4}, /* any version but those of qcow2 */
    {"qed", 0, "QED\0", 4},
    {"vmdk", 0, "KDMV", 4},
    {"vmdk", 0, "COWD", 4},
    {"vmdk", 0, "SESPARSE", 8},
    {"vmdk", 0, "# Disk DescriptorFile", 21},
    {"vhdx", 0, "vhdxfile", 8},
    {"vpc", 0, "conectix", 8},
    {"vdi", 64, "\x7f\x10\xda\xbe", 4},
    {"luks", 0, "LUKS\xba\xbe", 6},
    {"parallels", 0, "WithoutFreeSpace", 16},
    {"parallels", 0, "WithouFreSpacExt", 16},
    {"bochs", 0, "Bochs Virtual HD Image", 22},
};

static uint32_t
be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t
be64(const uint8_t *at)
{
    return (uint64_t)be32(at) << 32 | be32(at + 4);
}

const char *
block_sniff_format(const uint8_t *data, size_t size)
{
    if (size >= 8 && be32(data) == QCOW2_MAGIC && (be32(data + 4) == 2 || be32(data + 4) == 3))
        return "qcow2";
    for (size_t i = 0; i < G_N_ELEMENTS(foreign); i++)
        if (size >= foreign[i].offset + foreign[i].length &&
            memcmp(data + foreign[i].offset, foreign[i].magic, foreign[i].length) == 0)
            return foreign[i].format;
    return "raw";
}

/* A table of bytes bytes at offset, cluster-aligned and inside the file. */
static bool
table_check(const char *what, uint64_t offset, uint64_t bytes, uint64_t cluster, uint64_t file_size,
            GError **err)
{
    if (offset == 0 || offset % cluster != 0 || offset > file_size || bytes > file_size - offset)
        return err_set(err, ERR_INVALID,
                       "the qcow2 image is damaged: its %s does not lie inside the file; make it "
                       "anew with 'qemu-img convert -O qcow2'",
                       what);
    return true;
}

static bool
features_check(uint64_t features, GError **err)
{
    if (features & INCOMPATIBLE_DATA)
        return err_set(err, ERR_INVALID,
                       "the qcow2 image keeps its data in another file; convert it to a complete "
                       "one with 'qemu-img convert -O qcow2'");
    if (features & (INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT))
        return err_set(err, ERR_INVALID,
                       "the qcow2 image was not closed properly or is marked corrupt; repair it "
                       "with 'qemu-img check -r all'");
    if (features & ~(uint64_t)(INCOMPATIBLE_COMPRESS | INCOMPATIBLE_EXTL2))
        return err_set(err, ERR_INVALID,
                       "the qcow2 image uses features that are not known (0x%" G_GINT64_MODIFIER
                       "x); convert it with 'qemu-img convert -O qcow2'",
                       (guint64)features);
    return true;
}

static bool
extensions_check(const uint8_t *data, size_t end, size_t at, GError **err)
{
    while (at + 8 <= end) {
        uint32_t type = be32(data + at);
        uint64_t length = be32(data + at + 4);

        if (type == EXTENSION_END)
            return true;
        if (type == EXTENSION_DATA_FILE)
            return features_check(INCOMPATIBLE_DATA, err);
        if (type == EXTENSION_ENCRYPTION)
            return err_set(err, ERR_INVALID, "the qcow2 image is encrypted; upload it decrypted");
        length = (length + 7) & ~UINT64_C(7);
        if (length > end - at - 8)
            return err_set(err, ERR_INVALID,
                           "the qcow2 image is damaged: a header extension ends outside of its "
                           "header");
        at += 8 + length;
    }
    return true;
}

bool
block_qcow2_check(const uint8_t *data, size_t size, int64_t file_size, int64_t max_virtual,
                  int64_t *virtual_size, GError **err)
{
    uint64_t features = 0, cluster, bytes, file = (uint64_t)file_size;
    uint32_t version, bits, header_length = HEADER_V2_BYTES, refcount_order = 4, l1_size;

    if (size < HEADER_V2_BYTES || be32(data) != QCOW2_MAGIC)
        return err_set(err, ERR_INVALID, "the data is not a qcow2 image");
    version = be32(data + 4);
    if (version != 2 && version != 3)
        return err_set(err, ERR_INVALID, "the qcow2 image has version %u; 2 and 3 are supported",
                       version);
    if (be64(data + 8) != 0 || be32(data + 16) != 0)
        return err_set(err, ERR_INVALID,
                       "the qcow2 image has a backing file; convert it to a complete one with "
                       "'qemu-img convert -O qcow2'");
    if (be32(data + 32) != 0)
        return err_set(err, ERR_INVALID, "the qcow2 image is encrypted; upload it decrypted");
    bits = be32(data + 20);
    if (bits < CLUSTER_BITS_LEAST || bits > CLUSTER_BITS_MOST)
        return err_set(err, ERR_INVALID, "the qcow2 image is damaged: its clusters have 2^%u bytes",
                       bits);
    cluster = UINT64_C(1) << bits;

    if (version == 3) {
        if (size < HEADER_V3_BYTES)
            return err_set(err, ERR_INVALID, "the qcow2 image ends inside its header");
        features = be64(data + 72);
        refcount_order = be32(data + 96);
        header_length = be32(data + 100);
        if (header_length < HEADER_V3_BYTES || header_length > cluster || header_length > size ||
            refcount_order > 6)
            return err_set(err, ERR_INVALID, "the qcow2 image is damaged: its header is not sane");
    }
    if (!features_check(features, err) ||
        !extensions_check(data, MIN(size, cluster), header_length, err))
        return false;

    bytes = be64(data + 24);
    if (bytes == 0)
        return err_set(err, ERR_INVALID, "the qcow2 image has a virtual size of 0");
    if (max_virtual < 0 || bytes > (uint64_t)max_virtual)
        return err_set(err, ERR_INVALID,
                       "the qcow2 image has a virtual size of %" G_GUINT64_FORMAT
                       " bytes, and at most %" G_GINT64_FORMAT " are allowed",
                       (guint64)bytes, max_virtual);

    /* One L1 entry covers a cluster full of L2 entries, of 8 bytes each, or 16 when they are
     * extended. */
    uint64_t per_entry = cluster * (cluster / ((features & INCOMPATIBLE_EXTL2) ? 16 : 8));
    uint64_t wanted = bytes / per_entry + (bytes % per_entry != 0);

    l1_size = be32(data + 36);
    if (l1_size < wanted || (uint64_t)l1_size * 8 > L1_BYTES_MOST)
        return err_set(err, ERR_INVALID,
                       "the qcow2 image is damaged: its L1 table does not fit its size");
    uint64_t refcount_bytes = (uint64_t)be32(data + 56) * cluster;

    if (refcount_bytes == 0 || refcount_bytes > REFCOUNT_BYTES_MOST)
        return err_set(err, ERR_INVALID,
                       "the qcow2 image is damaged: its refcount table is not sane");
    if (!table_check("L1 table", be64(data + 40), (uint64_t)l1_size * 8, cluster, file, err) ||
        !table_check("refcount table", be64(data + 48), refcount_bytes, cluster, file, err))
        return false;
    if (be32(data + 60) > SNAPSHOTS_MOST)
        return err_set(err, ERR_INVALID, "the qcow2 image has more than %d snapshots",
                       SNAPSHOTS_MOST);
    if (be32(data + 60) > 0 &&
        !table_check("snapshot table", be64(data + 64), 40, cluster, file, err))
        return false;
    *virtual_size = (int64_t)bytes;
    return true;
}
