/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-priv.h: shared between the drivers */
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

/* ---- block-intake.c: the bytes of an upload ----------------------------------------------------
 */

bool block_id_check(const char *id, GError **err);
#define BLOCK_VOLUME_MOST (INT64_C(64) << 40)
/* Are all the ids ids, and is it a size that a volume can have? */
bool block_volume_check(const char *volume_id, const BlockVolumeSource *source, int64_t size,
                        GError **err);

typedef struct BlockIntake {
    char *claimed; /* NULL: nothing was said */
    int64_t size, most;
    GChecksum *md5, *sha512;
    GByteArray *head; /* the first BLOCK_SNIFF_BYTES */
} BlockIntake;
bool block_intake_begin(BlockIntake *intake, const char *claimed, int64_t most, GError **err);
/* May size more bytes come? Asked before they are written; add counts them afterwards. */
bool block_intake_fits(const BlockIntake *intake, size_t size, GError **err);
void block_intake_add(BlockIntake *intake, const void *data, size_t size);
/* All bytes are in: are they an image that we take, and what they were said to be? *format is
 * "raw" or "qcow2". */
bool block_intake_judge(const BlockIntake *intake, int64_t max_virtual, const char **format,
                        int64_t *virtual_size, GError **err);
void block_intake_info(const BlockIntake *intake, const char *format, int64_t virtual_size,
                       BlockImageInfo *info);
void block_intake_clear(BlockIntake *intake);
/* Does QEMU's own reading of a qcow2 agree with ours? name: the last arguments of qemu-img, ended
 * by NULL; memory: address space it may use. ERR_INVALID if not. Only after block_intake_judge:
 * before that the header may name other files. */
bool
block_qemu_img_agrees(const char *const name[], int64_t memory, int64_t virtual_size, GError **err);
