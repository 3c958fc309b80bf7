/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume-world.h: a storage of any driver for the tests of volumes, and shorthands for its calls */
#pragma once

#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/block-rbd-priv.h"

#define IMAGE   "1c5b1f2e-4a60-4f0e-8f0f-3b7d1d9f6b01"
#define ONE     "1c5b1f2e-4a60-4f0e-8f0f-3b7d1d9f6c01"
#define TWO     "1c5b1f2e-4a60-4f0e-8f0f-3b7d1d9f6c02"
#define THREE   "1c5b1f2e-4a60-4f0e-8f0f-3b7d1d9f6c03"
#define SNAP    "1c5b1f2e-4a60-4f0e-8f0f-3b7d1d9f6d01"
#define SNAP2   "1c5b1f2e-4a60-4f0e-8f0f-3b7d1d9f6d02"
#define MISSING "1c5b1f2e-4a60-4f0e-8f0f-3b7d1d9f6dff"
#define MIB     (INT64_C(1) << 20)
#define SECONDS 3600

/* block-dir-priv.h has another struct Block than block-rbd-priv.h */
bool dir_is_open(const char *path);
bool dir_qcow2_size(const char *path, int64_t *size, GError **err);

static const char *ceph_conf; /* NULL: no cluster to test on */

typedef struct Fixture {
    const BlockOps *ops;
    char *path;
    Block *block;
} Fixture;

static inline BlockSettings
fixture_settings(const Fixture *fixture)
{
    return (BlockSettings){.path = fixture->path,
                           .conf = ceph_conf,
                           .user = "godwit",
                           .images_pool = "images",
                           .servers_pool = "instances",
                           .volumes_pool = "volumes",
                           .console_path = "/var/log/libvirt/godwit"};
}

static inline bool
run(const char *const argv[], char **output)
{
    return process_run(argv, clock_monotonic() + 30 * USEC_PER_SEC, output, NULL);
}

static inline bool
is_rbd(const Fixture *fixture)
{
    return fixture->ops == &block_rbd_ops;
}

static inline bool
is_fake(const Fixture *fixture)
{
    return fixture->ops == &block_fake_ops;
}

/* ---- what is in the storage --------------------------------------------------------------------
 */

static inline char *
source_of(Fixture *fixture, const char *volume_id)
{
    char *path = NULL;
    g_autofree char *format = NULL;

    g_assert_true(fixture->ops->volume_source(fixture->block, volume_id, &path, &format, NULL));
    g_assert_cmpstr(format, ==, is_rbd(fixture) ? "raw" : "qcow2");
    return path;
}

static inline rbd_image_t
image_of(Fixture *fixture, const char *volume_id)
{
    g_autofree char *name = g_strconcat(RBD_VOLUME_PREFIX, volume_id, NULL);
    g_autoptr(RbdLink) link = rbd_link(fixture->block, NULL);
    g_autoptr(GError) error = NULL;
    rbd_image_t image = rbd_image_open(link, BLOCK_FOR_VOLUMES, name, NULL, false, &error);

    g_assert_no_error(error);
    return image;
}

static inline void
qemu_io(const char *path, const char *verb, int byte, int64_t offset)
{
    g_autofree char *command =
        g_strdup_printf("%s -P %d %" G_GINT64_FORMAT " 64k", verb, byte, offset);
    const char *const argv[] = {"qemu-io", "-f", "qcow2", "-c", command, path, NULL};
    g_autofree char *output = NULL;

    g_assert_true(run(argv, &output));
    if (strstr(output, "fail"))
        g_error("%s %s: %s", command, path, output);
}

/* 64 KiB of one byte. The fake has no data. */
static inline void
put(Fixture *fixture, const char *volume_id, int64_t offset, int byte)
{
    g_autofree char *path = source_of(fixture, volume_id);
    g_autofree char *data = g_malloc(65536);
    rbd_image_t image;

    if (is_fake(fixture))
        return;
    if (!is_rbd(fixture)) {
        qemu_io(path, "write", byte, offset);
        return;
    }
    memset(data, byte, 65536);
    image = image_of(fixture, volume_id);
    g_assert_cmpint(rbd_write(image, (uint64_t)offset, 65536, data), ==, 65536);
    rbd_close(image);
}

static inline void
assert_holds(Fixture *fixture, const char *volume_id, int64_t offset, int byte)
{
    g_autofree char *path = source_of(fixture, volume_id);
    g_autofree char *data = g_malloc(65536);
    rbd_image_t image;

    if (is_fake(fixture))
        return;
    if (!is_rbd(fixture)) {
        qemu_io(path, "read", byte, offset);
        return;
    }
    image = image_of(fixture, volume_id);
    g_assert_cmpint(rbd_read(image, (uint64_t)offset, 65536, data), ==, 65536);
    rbd_close(image);
    for (int i = 0; i < 65536; i++)
        g_assert_cmpint((unsigned char)data[i], ==, byte);
}

static inline int64_t
size_of(Fixture *fixture, const char *volume_id)
{
    g_autofree char *path = source_of(fixture, volume_id);
    const char *const argv[] = {"qemu-img", "info", "--output=json", path, NULL};
    g_autofree char *output = NULL;
    struct stat found;
    rbd_image_t image;
    uint64_t size = 0;
    json_t *info;

    if (is_rbd(fixture)) {
        image = image_of(fixture, volume_id);
        g_assert_cmpint(rbd_get_size(image, &size), ==, 0);
        rbd_close(image);
    } else if (is_fake(fixture)) {
        g_assert_cmpint(stat(path, &found), ==, 0);
        size = (uint64_t)found.st_size;
    } else {
        g_assert_true(run(argv, &output));
        info = json_loads(output, 0, NULL);
        size = (uint64_t)json_integer_value(json_object_get(info, "virtual-size"));
        json_decref(info);
    }
    return (int64_t)size;
}

static inline bool
is_listed(Fixture *fixture, BlockPurpose purpose, const char *id)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) ids = fixture->ops->things(fixture->block, purpose, &error);

    g_assert_no_error(error);
    return g_ptr_array_find_with_equal_func(ids, id, g_str_equal, NULL);
}

/* Nothing of a volume is left, not even where only the driver looks. */
static inline void
assert_no_trash(Fixture *fixture)
{
    rbd_trash_image_info_t list[64];
    size_t n = G_N_ELEMENTS(list);
    g_autoptr(RbdLink) link = NULL;

    if (!is_rbd(fixture))
        return;
    link = rbd_link(fixture->block, NULL);
    g_assert_cmpint(rbd_trash_list(link->io[BLOCK_FOR_VOLUMES], list, &n), >=, 0);
    for (size_t i = 0; i < n; i++)
        if (g_str_has_prefix(list[i].name, "volume-1c5b1f2e"))
            g_error("in the trash: %s", list[i].name);
    rbd_trash_list_cleanup(list, n);
}

static inline unsigned
trash_count(Fixture *fixture)
{
    rbd_trash_image_info_t list[64];
    size_t n = G_N_ELEMENTS(list);
    g_autoptr(RbdLink) link = rbd_link(fixture->block, NULL);
    unsigned count = 0;

    g_assert_cmpint(rbd_trash_list(link->io[BLOCK_FOR_VOLUMES], list, &n), >=, 0);
    for (size_t i = 0; i < n; i++)
        count += g_str_has_prefix(list[i].name, "volume-1c5b1f2e");
    rbd_trash_list_cleanup(list, n);
    return count;
}

/* ---- shorthands --------------------------------------------------------------------------------
 */

static inline void
create(Fixture *fixture, const char *id, BlockOrigin origin, const char *from, const char *of,
       int64_t size)
{
    const BlockVolumeSource source = {.origin = origin, .id = from, .volume_id = of};
    g_autoptr(GError) error = NULL;

    fixture->ops->volume_create(fixture->block, id, &source, size, NULL, NULL, &error);
    g_assert_no_error(error);
}

static inline void
destroy(Fixture *fixture, const char *id)
{
    g_autoptr(GError) error = NULL;

    fixture->ops->volume_delete(fixture->block, id, &error);
    g_assert_no_error(error);
}

static inline void
snapshot(Fixture *fixture, const char *id, const char *snapshot_id)
{
    g_autoptr(GError) error = NULL;

    fixture->ops->snapshot_create(fixture->block, id, snapshot_id, &error);
    g_assert_no_error(error);
}

static inline void
snapshot_destroy(Fixture *fixture, const char *id, const char *snapshot_id)
{
    g_autoptr(GError) error = NULL;

    fixture->ops->snapshot_delete(fixture->block, id, snapshot_id, &error);
    g_assert_no_error(error);
}

static inline void
assert_fails(bool ok, GError **error, ErrCode code, const char *part)
{
    g_assert_false(ok);
    if (!err_is(*error, code) || !strstr((*error)->message, part))
        g_error("%s: '%s' does not say '%s'", err_code_name(err_code(*error)), (*error)->message,
                part);
    g_clear_error(error);
}

/* With one MiB of 'g' at 2 MiB. */
static inline void
upload_image(Fixture *fixture)
{
    g_autofree char *data = g_malloc0(4 * MIB);
    g_autoptr(GError) error = NULL;
    BlockImageInfo info = {0};
    BlockUpload *upload =
        fixture->ops->upload_begin(fixture->block, IMAGE, "raw", 64 * MIB, &error);

    g_assert_no_error(error);
    memset(data + 2 * MIB, 'g', MIB);
    g_assert_true(fixture->ops->upload_write(upload, data, 4 * MIB, &error));
    g_assert_true(fixture->ops->upload_commit(upload, 64 * MIB, &info, &error));
    block_image_info_clear(&info);
}

static inline void
clean(Fixture *fixture)
{
    static const char *const volumes[] = {THREE, TWO, ONE};

    for (int again = 0; again < 3; again++)
        for (size_t i = 0; i < G_N_ELEMENTS(volumes); i++) {
            fixture->ops->snapshot_delete(fixture->block, volumes[i], SNAP, NULL);
            fixture->ops->snapshot_delete(fixture->block, volumes[i], SNAP2, NULL);
            fixture->ops->volume_delete(fixture->block, volumes[i], NULL);
        }
    fixture->ops->image_delete(fixture->block, IMAGE, NULL);
}

static inline void
fixture_set_up(Fixture *fixture, const void *ops)
{
    g_autoptr(GError) error = NULL;
    BlockSettings settings;

    fixture->ops = ops;
    fixture->path = g_dir_make_tmp("godwit-volume-XXXXXX", NULL);
    settings = fixture_settings(fixture);
    fixture->block = fixture->ops->open(&settings, &error);
    g_assert_no_error(error);
    clean(fixture);
}

static inline void
fixture_tear_down(Fixture *fixture, const void *ops)
{
    const char *const argv[] = {"rm", "-rf", "--", fixture->path, NULL};

    clean(fixture);
    assert_no_trash(fixture);
    fixture->ops->close(fixture->block);
    g_assert_true(run(argv, NULL));
    g_free(fixture->path);
}
