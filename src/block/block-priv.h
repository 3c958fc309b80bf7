/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-priv.h: shared between the drivers that keep their things in a directory */
#pragma once

#include "block/block.h"

/* ---- block-sniff.c: what the bytes of an upload really are ----------------------------------- */

/* How much of an image's beginning the checks want to see. */
#define BLOCK_SNIFF_BYTES 65536

/* "qcow2", "raw", or the name of another disk format that QEMU would recognise ("vmdk", …). */
const char *block_sniff_format(const uint8_t *data, size_t size);
/* Is this the beginning of a qcow2 file of file_size bytes that needs no other file and is sane?
 * data holds at least MIN(file_size, BLOCK_SNIFF_BYTES) bytes. ERR_INVALID says what is wrong with
 * it. */
bool block_qcow2_check(const uint8_t *data, size_t size, int64_t file_size, int64_t max_virtual,
                       int64_t *virtual_size, GError **err);

/* ---- block-dir.c -------------------------------------------------------------------------------
 */

/* durable: fsync everything, ask qemu-img for a second opinion on images and let it make disks; the
 * fake does neither. */
Block *block_dir_open_as(const char *path, bool durable, GError **err);
