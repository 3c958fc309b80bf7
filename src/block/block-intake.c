/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-intake.c: the bytes of an upload on their way in: bound, checksums, and what they are */

#include "block-priv.h"

#include <jansson.h>
#include <string.h>

#define QEMU_IMG_SECONDS 60

bool
block_id_check(const char *id, GError **err)
{
    if (uuid_is_valid(id))
        return true;
    return err_set(err, ERR_INVALID, "'%.64s' is not an id of an image or server", id ? id : "");
}

bool
block_volume_check(const char *volume_id, const BlockVolumeSource *source, int64_t size,
                   GError **err)
{
    if (!block_id_check(volume_id, err) ||
        (source->origin != BLOCK_EMPTY && !block_id_check(source->id, err)) ||
        (source->origin == BLOCK_SNAPSHOT && !block_id_check(source->volume_id, err)))
        return false;
    return (size > 0 && size <= BLOCK_VOLUME_MOST) ||
           err_set(err, ERR_INVALID, "a volume of %" G_GINT64_FORMAT " bytes cannot be made", size);
}

bool
block_intake_begin(BlockIntake *intake, const char *claimed, int64_t most, GError **err)
{
    if (claimed && strcmp(claimed, "raw") != 0 && strcmp(claimed, "qcow2") != 0)
        return err_set(err, ERR_INVALID,
                       "images of the format '%.32s' are not supported; convert it with 'qemu-img "
                       "convert -O qcow2'",
                       claimed);
    *intake = (BlockIntake){.claimed = g_strdup(claimed),
                            .most = most,
                            .md5 = g_checksum_new(G_CHECKSUM_MD5),
                            .sha512 = g_checksum_new(G_CHECKSUM_SHA512),
                            .head = g_byte_array_new()};
    return true;
}

bool
block_intake_fits(const BlockIntake *intake, size_t size, GError **err)
{
    if (size <= (size_t)MAX(intake->most - intake->size, 0))
        return true;
    return err_set(err, ERR_INVALID,
                   "the image is larger than the %" G_GINT64_FORMAT " bytes allowed", intake->most);
}

void
block_intake_add(BlockIntake *intake, const void *data, size_t size)
{
    size_t wanted = BLOCK_SNIFF_BYTES - intake->head->len;

    g_byte_array_append(intake->head, data, (guint)MIN(size, wanted));
    g_checksum_update(intake->md5, data, (gssize)size);
    g_checksum_update(intake->sha512, data, (gssize)size);
    intake->size += (int64_t)size;
}

bool
block_intake_judge(const BlockIntake *intake, int64_t max_virtual, const char **format,
                   int64_t *virtual_size, GError **err)
{
    *format = block_sniff_format(intake->head->data, intake->head->len);
    if (intake->size == 0)
        return err_set(err, ERR_INVALID, "the image is empty");
    if (strcmp(*format, "raw") != 0 && strcmp(*format, "qcow2") != 0)
        return err_set(err, ERR_INVALID,
                       "the data is a %s image, which is not supported; convert it with 'qemu-img "
                       "convert -O qcow2'",
                       *format);
    if (intake->claimed && strcmp(*format, intake->claimed) != 0)
        return err_set(err, ERR_INVALID,
                       "the image is said to be %s, but its data is %s; upload it again with "
                       "disk_format %s",
                       intake->claimed, *format, *format);

    if (strcmp(*format, "qcow2") == 0)
        return block_qcow2_check(intake->head->data, intake->head->len, intake->size, max_virtual,
                                 virtual_size, err);
    /* A disk is whole sectors; QEMU rounds a raw file's length up. */
    *virtual_size = (intake->size + 511) / 512 * 512;
    if (*virtual_size > max_virtual)
        return err_set(err, ERR_INVALID,
                       "the image has %" G_GINT64_FORMAT " bytes, and at most %" G_GINT64_FORMAT
                       " are allowed",
                       intake->size, max_virtual);
    return true;
}

void
block_intake_info(const BlockIntake *intake, const char *format, int64_t virtual_size,
                  BlockImageInfo *info)
{
    info->format = g_strdup(format);
    info->size = intake->size;
    info->virtual_size = virtual_size;
    info->md5 = g_strdup(g_checksum_get_string(intake->md5));
    info->sha512 = g_strdup(g_checksum_get_string(intake->sha512));
}

void
block_intake_clear(BlockIntake *intake)
{
    g_checksum_free(intake->md5);
    g_checksum_free(intake->sha512);
    if (intake->head)
        g_byte_array_unref(intake->head);
    g_free(intake->claimed);
    *intake = (BlockIntake){0};
}

void
block_image_info_clear(BlockImageInfo *info)
{
    g_free(info->format);
    g_free(info->md5);
    g_free(info->sha512);
    *info = (BlockImageInfo){0};
}

/* It runs with little memory and time: its parser meets hostile data. */
bool
block_qemu_img_agrees(const char *const name[], int64_t memory, int64_t virtual_size, GError **err)
{
    g_autofree char *limit = g_strdup_printf("--as=%" G_GINT64_FORMAT, memory);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autofree char *output = NULL;
    g_autoptr(GError) error = NULL;
    json_t *info;
    bool agrees;

    const char *const head[] = {"prlimit", limit, "--cpu=30", "qemu-img", "info", "--output=json"};

    for (size_t i = 0; i < G_N_ELEMENTS(head); i++)
        g_ptr_array_add(argv, (gpointer)head[i]);
    for (size_t i = 0; name[i]; i++)
        g_ptr_array_add(argv, (gpointer)name[i]);
    g_ptr_array_add(argv, NULL);
    if (!process_run((const char *const *)argv->pdata,
                     clock_monotonic() + QEMU_IMG_SECONDS * USEC_PER_SEC, &output, &error)) {
        if (err_is(error, ERR_NOT_FOUND))
            return err_set(err, ERR_BACKEND, "%s; install qemu-utils on the controller",
                           error->message);
        return err_set(err, ERR_INVALID, "QEMU cannot read the image: %s", error->message);
    }
    info = json_loads(output, 0, NULL);
    agrees = info && json_integer_value(json_object_get(info, "virtual-size")) == virtual_size &&
             !json_object_get(info, "backing-filename") &&
             !json_is_true(json_object_get(info, "encrypted"));
    json_decref(info);
    if (!agrees)
        return err_set(err, ERR_INVALID,
                       "QEMU reads the image's header differently; make it anew with 'qemu-img "
                       "convert -O qcow2'");
    return true;
}
