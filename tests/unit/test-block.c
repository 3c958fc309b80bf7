/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-block.c: one contract for all storage drivers, hostile images, and the config drive
 *
 * The driver for Ceph needs a cluster: GODWIT_TEST_CEPH_CONF names its configuration file, the user
 * is client.godwit, the pools are "images" and "instances". Only what has the ids below is touched
 * there, and removed again. */

#include <errno.h>
#include <glib/gstdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/block-rbd-priv.h"

#define IMAGE  "0c5b1f2e-4a60-4f0e-8f0f-3b7d1d9f6a01"
#define OTHER  "0c5b1f2e-4a60-4f0e-8f0f-3b7d1d9f6a02"
#define SERVER "9f0de7a4-0d3b-4c1c-9a48-7a2a52a8c511"
#define MIB    (1024 * 1024)
#define GIB    (INT64_C(1024) * MIB)

static bool have_qemu_img;
static const char *ceph_conf; /* NULL: no cluster to test on */

static void
remove_tree(const char *path)
{
    const char *const argv[] = {"rm", "-rf", "--", path, NULL};

    g_assert_true(process_run(argv, clock_monotonic() + 10 * USEC_PER_SEC, NULL, NULL));
}

typedef struct Fixture {
    const BlockOps *ops;
    char *path;
    Block *block;
} Fixture;

static BlockSettings
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

static void
fixture_set_up(Fixture *fixture, const void *ops)
{
    g_autoptr(GError) error = NULL;
    BlockSettings settings;

    fixture->ops = ops;
    fixture->path = g_dir_make_tmp("godwit-block-XXXXXX", NULL);
    settings = fixture_settings(fixture);
    fixture->block = fixture->ops->open(&settings, &error);
    g_assert_no_error(error);
    g_assert_nonnull(fixture->block);
}

static void
fixture_tear_down(Fixture *fixture, const void *ops)
{
    fixture->ops->disk_delete(fixture->block, SERVER, NULL);
    fixture->ops->image_delete(fixture->block, IMAGE, NULL);
    fixture->ops->image_delete(fixture->block, OTHER, NULL);
    fixture->ops->close(fixture->block);
    remove_tree(fixture->path);
    g_free(fixture->path);
}

static bool
is_rbd(const Fixture *fixture)
{
    return fixture->ops == &block_rbd_ops;
}

/* The fake never runs QEMU's tools; the directory driver needs them for qcow2. */
static bool
needs_qemu_img(Fixture *fixture)
{
    if (fixture->ops == &block_fake_ops || have_qemu_img)
        return true;
    g_test_skip("qemu-img is not installed");
    return false;
}

static bool
upload(Fixture *fixture, const char *id, const char *claimed, const void *data, size_t size,
       BlockImageInfo *info, GError **err)
{
    BlockUpload *upload = fixture->ops->upload_begin(fixture->block, id, claimed, 64 * MIB, err);

    if (!upload)
        return false;
    for (size_t at = 0; at < size; at += 10000) {
        size_t part = MIN(size - at, 10000);

        if (!fixture->ops->upload_write(upload, (const char *)data + at, part, err)) {
            fixture->ops->upload_abort(upload);
            return false;
        }
    }
    return fixture->ops->upload_commit(upload, 10 * GIB, info, err);
}

static void
upload_raw(Fixture *fixture, const char *id, size_t size)
{
    g_autofree char *data = g_malloc0(size);
    g_autoptr(GError) error = NULL;
    BlockImageInfo info = {0};

    g_assert_true(upload(fixture, id, "raw", data, size, &info, &error));
    g_assert_no_error(error);
    block_image_info_clear(&info);
}

static unsigned
files_under(Fixture *fixture, const char *name)
{
    g_autofree char *path = g_build_filename(fixture->path, name, NULL);
    GDir *dir = g_dir_open(path, 0, NULL);
    unsigned count = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir))
        count++;
    g_dir_close(dir);
    return count;
}

/* Uploads that are not images (yet). */
static unsigned
unfinished(Fixture *fixture)
{
    g_autoptr(GPtrArray) names = NULL;
    unsigned count = 0;

    if (!is_rbd(fixture))
        return files_under(fixture, "tmp");
    names = rbd_image_names(fixture->block->link, BLOCK_FOR_IMAGES, NULL);
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);

        count += g_str_has_prefix(name, IMAGE ".") || g_str_has_prefix(name, OTHER ".");
    }
    return count;
}

static void
assert_exists(Fixture *fixture, bool (*call)(Block *, const char *, bool *, GError **),
              const char *id, bool wanted)
{
    g_autoptr(GError) error = NULL;
    bool exists = !wanted;

    g_assert_true(call(fixture->block, id, &exists, &error));
    g_assert_no_error(error);
    g_assert_cmpint(exists, ==, wanted);
}

/* A stream may come in pieces. */
static ssize_t
recv_all(int fd, void *buffer, size_t size)
{
    size_t at = 0;

    for (;;) {
        ssize_t n = read(fd, (char *)buffer + at, size - at);

        if (n <= 0)
            return n < 0 ? n : (ssize_t)at;
        at += (size_t)n;
    }
}

static void
test_upload(Fixture *fixture, const void *ops)
{
    static const char text[] = "The quick brown fox jumps over the lazy dog";
    g_autoptr(GError) error = NULL;
    BlockImageInfo info = {0};
    BlockUpload *second;
    char back[64] = {0};
    int fd;

    assert_exists(fixture, fixture->ops->image_exists, IMAGE, false);
    g_assert_true(upload(fixture, IMAGE, NULL, text, strlen(text), &info, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(info.format, ==, "raw");
    g_assert_cmpint(info.size, ==, 43);
    g_assert_cmpint(info.virtual_size, ==, 512);
    g_assert_cmpstr(info.md5, ==, "9e107d9d372bb6826bd81d3542a419d6");
    g_assert_true(g_str_has_prefix(info.sha512, "07e547d9586f6a73f73fbac0435ed769"));
    block_image_info_clear(&info);
    assert_exists(fixture, fixture->ops->image_exists, IMAGE, true);

    fd = fixture->ops->image_open(fixture->block, IMAGE, &error);
    g_assert_no_error(error);
    g_assert_cmpint(recv_all(fd, back, sizeof back), ==, 43);
    g_assert_cmpstr(back, ==, text);
    close(fd);

    /* an image is never replaced: it may be in use */
    g_assert_false(upload(fixture, IMAGE, "raw", "x", 1, &info, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_clear_error(&error);

    second = fixture->ops->upload_begin(fixture->block, OTHER, "raw", 100, &error);
    g_assert_true(fixture->ops->upload_write(second, text, 40, &error));
    g_assert_cmpuint(unfinished(fixture), ==, 1);
    assert_exists(fixture, fixture->ops->image_exists, OTHER, false);
    g_assert_false(fixture->ops->upload_write(second, back, 61, &error));
    g_assert_true(err_is(error, ERR_INVALID));
    g_clear_error(&error);
    fixture->ops->upload_abort(second);
    g_assert_cmpuint(unfinished(fixture), ==, 0);

    g_assert_true(fixture->ops->image_delete(fixture->block, IMAGE, &error));
    g_assert_true(fixture->ops->image_delete(fixture->block, IMAGE, &error));
    assert_exists(fixture, fixture->ops->image_exists, IMAGE, false);
    g_assert_cmpint(fixture->ops->image_open(fixture->block, IMAGE, &error), ==, -1);
    g_assert_true(err_is(error, ERR_NOT_FOUND));
}

static void
test_ids(Fixture *fixture, const void *ops)
{
    static const char *const bad[] = {"", "..", "../../etc/passwd", "0c5b1f2e/../x", NULL};

    for (int i = 0; bad[i]; i++) {
        g_autoptr(GError) error = NULL;
        char *path = NULL;
        bool exists;

        g_assert_null(fixture->ops->upload_begin(fixture->block, bad[i], "raw", 1, &error));
        g_assert_true(err_is(error, ERR_INVALID));
        g_assert_cmpint(fixture->ops->image_open(fixture->block, bad[i], NULL), ==, -1);
        g_assert_false(fixture->ops->image_exists(fixture->block, bad[i], &exists, NULL));
        g_assert_false(fixture->ops->image_delete(fixture->block, bad[i], NULL));
        g_assert_false(fixture->ops->disk_create(fixture->block, bad[i], IMAGE, 1, NULL));
        g_assert_false(fixture->ops->disk_create(fixture->block, SERVER, bad[i], 1, NULL));
        g_assert_false(fixture->ops->disk_delete(fixture->block, bad[i], NULL));
        g_assert_false(fixture->ops->config_drive_store(fixture->block, bad[i], "x", 1, NULL));
        g_assert_false(fixture->ops->config_drive_source(fixture->block, bad[i], &path, NULL));
        g_assert_null(fixture->ops->console_path(fixture->block, bad[i]));
    }
}

static void
assert_refused(Fixture *fixture, const char *claimed, const void *data, size_t size,
               const char *part)
{
    g_autoptr(GError) error = NULL;
    BlockImageInfo info = {0};

    g_assert_false(upload(fixture, IMAGE, claimed, data, size, &info, &error));
    g_assert_true(err_is(error, ERR_INVALID));
    if (!strstr(error->message, part))
        g_error("'%s' does not say '%s'", error->message, part);
    g_assert_cmpuint(unfinished(fixture), ==, 0);
    assert_exists(fixture, fixture->ops->image_exists, IMAGE, false);
}

static void
test_formats(Fixture *fixture, const void *ops)
{
    uint8_t vdi[128] = {0};

    vdi[64] = 0x7f;
    vdi[65] = 0x10;
    vdi[66] = 0xda;
    vdi[67] = 0xbe;
    assert_refused(fixture, "raw", "QFI\xfb\0\0\0\3 and more", 17, "its data is qcow2");
    assert_refused(fixture, "qcow2", "plain data, no header", 21, "its data is raw");
    assert_refused(fixture, "raw", "KDMV is how VMDK begins", 23, "vmdk");
    assert_refused(fixture, NULL, "QFI\xfb\0\0\0\1 version 1", 18, "qcow image");
    assert_refused(fixture, "raw", "LUKS\xba\xbe\0\1", 8, "luks");
    assert_refused(fixture, "raw", vdi, sizeof vdi, "vdi");
    assert_refused(fixture, "vmdk", "KDMV", 4, "qemu-img convert");
    assert_refused(fixture, "qcow2", "QFI\xfb\0\0\0\3", 8, "not a qcow2");
    assert_refused(fixture, "raw", "", 0, "empty");
}

/* An image made by qemu-img with these arguments behind "create -f qcow2". */
static char *
qcow2_made(Fixture *fixture, size_t *size, const char *option, const char *value,
           const char *length)
{
    g_autofree char *path = g_build_filename(fixture->path, "made.qcow2", NULL);
    const char *argv[] = {"qemu-img", "create", "-q",   "-f",  "qcow2",
                          path,       length,   option, value, NULL};
    g_autoptr(GError) error = NULL;
    char *data;

    process_run(argv, clock_monotonic() + 20 * USEC_PER_SEC, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(g_file_get_contents(path, &data, size, NULL));
    g_unlink(path);
    return data;
}

/* What comes back is what was sent, whatever the driver made of it. */
static void
assert_downloads(Fixture *fixture, const char *data, size_t size)
{
    g_autofree char *back = g_malloc(size + 1);
    g_autoptr(GError) error = NULL;
    int fd = fixture->ops->image_open(fixture->block, IMAGE, &error);

    g_assert_no_error(error);
    g_assert_cmpint(recv_all(fd, back, size + 1), ==, (gssize)size);
    g_assert_cmpint(memcmp(back, data, size), ==, 0);
    close(fd);
}

static void
test_qcow2(Fixture *fixture, const void *ops)
{
    static const char *const versions[] = {"compat=0.10", "compat=1.1",
                                           "extended_l2=on,cluster_size=128k",
                                           "compression_type=zstd", NULL};

    if (!have_qemu_img) {
        g_test_skip("qemu-img is not installed");
        return;
    }
    for (int i = 0; versions[i]; i++) {
        g_autoptr(GError) error = NULL;
        BlockImageInfo info = {0};
        size_t size;
        g_autofree char *data = qcow2_made(fixture, &size, "-o", versions[i], "3G");

        g_assert_true(upload(fixture, IMAGE, "qcow2", data, size, &info, &error));
        g_assert_no_error(error);
        g_assert_cmpstr(info.format, ==, "qcow2");
        g_assert_cmpint(info.virtual_size, ==, 3 * GIB);
        g_assert_cmpint(info.size, ==, (int64_t)size);
        block_image_info_clear(&info);
        assert_downloads(fixture, data, size);
        g_assert_true(fixture->ops->image_delete(fixture->block, IMAGE, NULL));
    }
}

static void
poke(char *data, size_t at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        data[at + i] = (char)(value >> (8 * (bytes - 1 - i)));
}

static void
test_qcow2_attacks(Fixture *fixture, const void *ops)
{
    static const struct {
        size_t at;
        uint64_t value;
        unsigned bytes;
        const char *part;
    } cases[] = {
        {8, 512, 8, "backing file"},
        {16, 11, 4, "backing file"},
        {20, 40, 4, "clusters"},
        {24, UINT64_C(1) << 60, 8, "at most"},
        {24, 0, 8, "virtual size of 0"},
        {24, 9 * GIB, 8, "L1 table"},
        {32, 1, 4, "encrypted"},
        {36, 0x7fffffff, 4, "L1 table"},
        {40, UINT64_C(1) << 40, 8, "L1 table"},
        {40, 77, 8, "L1 table"},
        {48, 0, 8, "refcount table"},
        {56, 0xffffffff, 4, "refcount table"},
        {60, 100000, 4, "snapshots"},
        {72, 1, 8, "qemu-img check"},
        {72, 4, 8, "another file"},
        {72, UINT64_C(1) << 40, 8, "not known"},
        {100, 0xffffff, 4, "header"},
        {112, 0x44415441, 4, "another file"},
        {112, 0x0537be77, 4, "encrypted"},
    };
    size_t size;
    g_autofree char *good = NULL;

    if (!have_qemu_img) {
        g_test_skip("qemu-img is not installed");
        return;
    }
    good = qcow2_made(fixture, &size, "-o", "compat=1.1", "16M");
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *data = g_memdup2(good, size);

        poke(data, cases[i].at, cases[i].value, cases[i].bytes);
        assert_refused(fixture, "qcow2", data, size, cases[i].part);
    }
    for (size_t cut = 0; cut < 300; cut += 7) {
        g_autoptr(GError) error = NULL;
        BlockImageInfo info = {0};

        g_assert_false(upload(fixture, IMAGE, "qcow2", good, cut, &info, &error));
        g_assert_true(err_is(error, ERR_INVALID));
    }
}

/* A cluster may have disks that are not ours. */
static unsigned
count_of(GPtrArray *ids, const char *id)
{
    unsigned count = 0;

    for (guint i = 0; i < ids->len; i++)
        count += strcmp(g_ptr_array_index(ids, i), id) == 0;
    return count;
}

static void
test_disk(Fixture *fixture, const void *ops)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    g_autofree char *format = NULL;
    g_autofree char *drive = NULL;
    g_autofree char *contents = NULL;
    g_autoptr(GPtrArray) ids = NULL;
    struct stat before, after;

    if (!needs_qemu_img(fixture))
        return;
    g_assert_false(fixture->ops->disk_create(fixture->block, SERVER, IMAGE, MIB, &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
    g_clear_error(&error);

    upload_raw(fixture, IMAGE, 3 * MIB);
    assert_exists(fixture, fixture->ops->disk_exists, SERVER, false);
    g_assert_true(fixture->ops->disk_create(fixture->block, SERVER, IMAGE, MIB, &error));
    g_assert_no_error(error);
    assert_exists(fixture, fixture->ops->disk_exists, SERVER, true);
    g_assert_true(fixture->ops->disk_source(fixture->block, SERVER, &path, &format, &error));
    if (is_rbd(fixture)) {
        g_assert_cmpstr(format, ==, "raw");
        g_assert_cmpstr(path, ==, "instances/" SERVER "_disk");
    } else {
        g_assert_cmpstr(format, ==, "qcow2");
        g_assert_cmpint(stat(path, &before), ==, 0);
        g_assert_cmpint(before.st_mode & 0777, ==, 0660);
    }

    g_assert_true(fixture->ops->disk_create(fixture->block, SERVER, IMAGE, 9 * MIB, &error));
    if (!is_rbd(fixture)) {
        g_assert_cmpint(stat(path, &after), ==, 0);
        g_assert_cmpint(after.st_ino, ==, before.st_ino);
    }

    g_assert_true(fixture->ops->config_drive_store(fixture->block, SERVER, "first", 5, &error));
    g_assert_true(fixture->ops->config_drive_store(fixture->block, SERVER, "second", 6, &error));
    g_assert_true(fixture->ops->config_drive_source(fixture->block, SERVER, &drive, &error));
    if (is_rbd(fixture)) {
        g_assert_cmpstr(drive, ==, "instances/" SERVER "_disk.config");
    } else {
        g_assert_true(g_file_get_contents(drive, &contents, NULL, NULL));
        g_assert_cmpstr(contents, ==, "second");
    }

    ids = fixture->ops->things(fixture->block, BLOCK_FOR_SERVERS, &error);
    g_assert_cmpuint(count_of(ids, SERVER), ==, 1);

    g_assert_true(fixture->ops->disk_delete(fixture->block, SERVER, &error));
    g_assert_true(fixture->ops->disk_delete(fixture->block, SERVER, &error));
    g_assert_no_error(error);
    assert_exists(fixture, fixture->ops->disk_exists, SERVER, false);
    if (!is_rbd(fixture))
        g_assert_cmpuint(files_under(fixture, "instances"), ==, 0);
}

/* The disk as QEMU's own tool sees it: child of the image, with its format written down. */
static void
test_overlay(Fixture *fixture, const void *ops)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    g_autofree char *format = NULL;
    g_autofree char *output = NULL;
    const char *argv[] = {"qemu-img", "info", "--output=json", NULL, NULL};

    if (!needs_qemu_img(fixture))
        return;
    upload_raw(fixture, IMAGE, 3 * MIB);
    g_assert_true(fixture->ops->disk_create(fixture->block, SERVER, IMAGE, 5 * MIB, &error));
    g_assert_no_error(error);
    g_assert_true(fixture->ops->disk_source(fixture->block, SERVER, &path, &format, &error));
    argv[3] = path;
    g_assert_true(process_run(argv, clock_monotonic() + 20 * USEC_PER_SEC, &output, &error));
    g_assert_nonnull(strstr(output, "\"virtual-size\": 5242880"));
    g_assert_nonnull(strstr(output, "\"backing-filename-format\": \"raw\""));
    g_assert_nonnull(strstr(output, "/images/" IMAGE ".img\""));
}

static void
test_paths(Fixture *fixture, const void *ops)
{
    g_autofree char *nonce = fixture->ops->nonce_directory(fixture->block);
    g_autofree char *console = fixture->ops->console_path(fixture->block, SERVER);
    BlockCapacity capacity = {0};

    if (is_rbd(fixture)) {
        g_assert_null(nonce);
        g_assert_cmpstr(console, ==, "/var/log/libvirt/godwit/" SERVER ".log");
    } else {
        g_assert_true(g_file_test(nonce, G_FILE_TEST_IS_DIR));
        g_assert_true(g_str_has_prefix(console, fixture->path));
        g_assert_true(g_str_has_suffix(console, "/instances/" SERVER "/console.log"));
    }
    g_assert_true(fixture->ops->capacity(fixture->block, &capacity, NULL));
    g_assert_cmpint(capacity.total, >, 0);
    g_assert_cmpint(capacity.free_bytes, <=, capacity.total);
}

/* What a killed process left is swept at the next open; an upload that another one writes is not.
 */
static void
test_sweep(Fixture *fixture, const void *ops)
{
    g_autofree char *left = g_build_filename(fixture->path, "tmp", "left", NULL);
    g_autofree char *begun = g_build_filename(fixture->path, "instances", SERVER, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) ids = NULL;
    BlockUpload *running = fixture->ops->upload_begin(fixture->block, OTHER, "raw", MIB, &error);
    Block *again;

    g_assert_no_error(error);
    g_assert_true(g_file_set_contents(left, "half", 4, NULL));
    g_assert_cmpint(g_mkdir(begun, 0755), ==, 0);
    again = fixture->ops->open(&(BlockSettings){.path = fixture->path}, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(unfinished(fixture), ==, 1);
    g_assert_false(g_file_test(left, G_FILE_TEST_EXISTS));
    /* a disk that was begun and not finished is listed, for the sweep of orphans */
    ids = fixture->ops->things(again, BLOCK_FOR_SERVERS, &error);
    g_assert_cmpuint(ids->len, ==, 1);
    assert_exists(fixture, fixture->ops->disk_exists, SERVER, false);
    fixture->ops->upload_abort(running);
    fixture->ops->close(again);
}

/* ---- what only Ceph has ------------------------------------------------------------------------
 */

/* An upload that another connection writes is left alone; what nobody has open is removed. */
static void
test_rbd_sweep(Fixture *fixture, const void *ops)
{
    BlockSettings settings = fixture_settings(fixture);
    g_autoptr(GError) error = NULL;
    BlockUpload *running = fixture->ops->upload_begin(fixture->block, OTHER, "raw", MIB, &error);
    Block *again;

    g_assert_no_error(error);
    g_assert_true(
        rbd_image_make(fixture->block->link, BLOCK_FOR_IMAGES, IMAGE ".left.part", MIB, NULL));
    g_assert_true(
        rbd_image_make(fixture->block->link, BLOCK_FOR_IMAGES, IMAGE ".qcow2", MIB, NULL));
    g_assert_cmpuint(unfinished(fixture), ==, 3);
    again = fixture->ops->open(&settings, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(unfinished(fixture), ==, 1);
    g_assert_true(fixture->ops->upload_write(running, "x", 1, &error));
    fixture->ops->upload_abort(running);
    g_assert_cmpuint(unfinished(fixture), ==, 0);
    fixture->ops->close(again);
}

static void
assert_reads(Fixture *fixture, const char *name, uint64_t offset, const void *wanted, size_t size)
{
    g_autofree char *back = g_malloc(size);
    g_autoptr(GError) error = NULL;
    rbd_image_t image =
        rbd_image_open(fixture->block->link, BLOCK_FOR_SERVERS, name, NULL, true, &error);

    g_assert_no_error(error);
    g_assert_cmpint(rbd_read(image, offset, size, back), ==, (gssize)size);
    g_assert_cmpint(memcmp(back, wanted, size), ==, 0);
    rbd_close(image);
}

/* A disk is a clone with the image's data, larger, and its image cannot go before it. */
static void
test_rbd_clone(Fixture *fixture, const void *ops)
{
    g_autofree char *data = g_malloc0(9 * MIB);
    g_autoptr(GError) error = NULL;
    BlockImageInfo info = {0};
    rbd_image_t image;
    uint64_t size, features;

    memset(data + 5 * MIB + 777, 'g', 100000);
    g_assert_true(upload(fixture, IMAGE, "raw", data, 9 * MIB, &info, &error));
    block_image_info_clear(&info);
    g_assert_true(fixture->ops->disk_create(fixture->block, SERVER, IMAGE, 20 * MIB, &error));
    g_assert_no_error(error);
    image =
        rbd_image_open(fixture->block->link, BLOCK_FOR_SERVERS, SERVER "_disk", NULL, true, NULL);
    g_assert_cmpint(rbd_get_size(image, &size), ==, 0);
    g_assert_cmpuint(size, ==, 20 * MIB);
    g_assert_cmpint(rbd_get_features(image, &features), ==, 0);
    g_assert_cmpuint(features & RBD_FEATURES_WANTED, ==, RBD_FEATURES_WANTED);
    rbd_close(image);
    assert_reads(fixture, SERVER "_disk", 5 * MIB, data + 5 * MIB, 2 * MIB);

    g_assert_false(fixture->ops->image_delete(fixture->block, IMAGE, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_assert_nonnull(strstr(error->message, SERVER "_disk"));
    g_clear_error(&error);
    assert_exists(fixture, fixture->ops->image_exists, IMAGE, true);
    g_assert_true(fixture->ops->disk_delete(fixture->block, SERVER, &error));
    g_assert_true(fixture->ops->image_delete(fixture->block, IMAGE, &error));
    g_assert_no_error(error);
}

/* The converted data is what the disk shows, not the file's bytes. */
static void
test_rbd_converts(Fixture *fixture, const void *ops)
{
    g_autofree char *raw = g_build_filename(fixture->path, "raw", NULL);
    g_autofree char *made = g_build_filename(fixture->path, "made", NULL);
    const char *const argv[] = {"qemu-img", "convert", "-O", "qcow2", raw, made, NULL};
    g_autofree char *data = g_malloc0(3 * MIB), *packed = NULL;
    g_autoptr(GError) error = NULL;
    BlockImageInfo info = {0};
    size_t size;

    memset(data + MIB, 'q', 4096);
    g_assert_true(g_file_set_contents(raw, data, 3 * MIB, NULL));
    g_assert_true(process_run(argv, clock_monotonic() + 20 * USEC_PER_SEC, NULL, NULL));
    g_assert_true(g_file_get_contents(made, &packed, &size, NULL));
    g_assert_true(upload(fixture, IMAGE, "qcow2", packed, size, &info, &error));
    g_assert_no_error(error);
    block_image_info_clear(&info);
    g_assert_true(fixture->ops->disk_create(fixture->block, SERVER, IMAGE, MIB, &error));
    g_assert_no_error(error);
    assert_reads(fixture, SERVER "_disk", 0, data, 3 * MIB);
}

static void
test_rbd_config_drive(Fixture *fixture, const void *ops)
{
    g_autofree char *first = g_malloc(100000), *second = g_malloc0(512);
    g_autoptr(GError) error = NULL;

    memset(first, 'a', 100000);
    memset(second, 'b', 10);
    g_assert_true(fixture->ops->config_drive_store(fixture->block, SERVER, first, 100000, &error));
    assert_reads(fixture, SERVER "_disk.config", 0, first, 100000);
    g_assert_true(fixture->ops->config_drive_store(fixture->block, SERVER, second, 512, &error));
    g_assert_no_error(error);
    assert_reads(fixture, SERVER "_disk.config", 0, second, 512);
}

static void
test_rbd_access(Fixture *fixture, const void *ops)
{
    g_autoptr(RbdAccess) access = NULL;
    g_auto(BlockSecret) secret = {0};
    g_autoptr(GError) error = NULL;
    g_autofree char *source = NULL;
    int64_t nonce = 0;
    uint64_t size = 0;
    rbd_image_t image;

    g_assert_true(fixture->ops->access(fixture->block, &access, &error));
    g_assert_no_error(error);
    g_assert_nonnull(access->monitors[0]);
    g_assert_nonnull(strchr(access->monitors[0], ':'));
    g_assert_cmpstr(access->user, ==, "godwit");
    g_assert_true(uuid_is_valid(access->secret_uuid));
    g_assert_true(fixture->ops->secret(fixture->block, &secret, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(secret.uuid, ==, access->secret_uuid);
    g_assert_cmpuint(secret.size, ==, 28); /* type, time, length, and a key of 16 bytes */

    g_assert_true(fixture->ops->nonce_make(fixture->block, &source, &nonce, &error));
    g_assert_no_error(error);
    g_assert_true(g_str_has_prefix(source, "instances/nonce-"));
    image = rbd_image_open(fixture->block->link, BLOCK_FOR_SERVERS, source + strlen("instances/"),
                           NULL, true, &error);
    g_assert_no_error(error);
    g_assert_cmpint(rbd_get_size(image, &size), ==, 0);
    g_assert_cmpint((int64_t)size, ==, nonce);
    rbd_close(image);
    fixture->ops->nonce_remove(fixture->block, source);
}

static void
assert_settings_refused(const BlockSettings *settings, const char *part)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(block_rbd_ops.open(settings, &error));
    if (!error || !strstr(error->message, part))
        g_error("'%s' does not say '%s'", error ? error->message : "success", part);
    g_assert_true(err_is(error, ERR_INVALID));
}

static void
test_rbd_settings(Fixture *fixture, const void *ops)
{
    BlockSettings settings = fixture_settings(fixture);

    settings.images_pool = "no-such-pool";
    assert_settings_refused(&settings, "ceph osd pool create no-such-pool");
    settings = fixture_settings(fixture);
    settings.user = "nobody";
    assert_settings_refused(&settings, "client.nobody");
    settings = fixture_settings(fixture);
    settings.conf = "/nonexistent/ceph.conf";
    assert_settings_refused(&settings, "/nonexistent/ceph.conf");
}

/* No cluster is needed for these. */
static void
test_rbd_names(void)
{
    const BlockSettings good = {.conf = "/etc/ceph/ceph.conf",
                                .user = "godwit",
                                .images_pool = "images",
                                .servers_pool = "instances",
                                .volumes_pool = "volumes",
                                .console_path = "/var/log/libvirt/godwit"};
    BlockSettings settings = good;

    settings.images_pool = "a,file.filename=/etc/shadow";
    assert_settings_refused(&settings, "images_pool");
    settings = good;
    settings.servers_pool = "";
    assert_settings_refused(&settings, "instances_pool");
    settings = good;
    settings.volumes_pool = NULL; /* never taken for another one */
    assert_settings_refused(&settings, "volumes_pool");
    settings = good;
    settings.conf = "/etc/a:b";
    assert_settings_refused(&settings, "conf");
    settings = good;
    settings.console_path = "relative";
    assert_settings_refused(&settings, "console_path");
}

static void
test_open_errors(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(block_dir_ops.open(&(BlockSettings){.path = "relative/path"}, &error));
    g_assert_true(err_is(error, ERR_INVALID));
    g_clear_error(&error);
    g_assert_null(block_dir_ops.open(&(BlockSettings){.path = "/nonexistent/godwit"}, &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
    g_assert_nonnull(strstr(error->message, "mount"));
}

/* ---- the wrappers ------------------------------------------------------------------------------
 */

static bool
always(void)
{
    return true;
}

static void
test_storage_transaction(Fixture *fixture, const void *ops)
{
    Storage storage = {.ops = fixture->ops, .block = fixture->block};
    g_autoptr(GError) error = NULL;
    bool exists;

    storage_set_transaction_check(always);
    g_assert_false(storage_disk_exists(&storage, SERVER, &exists, &error));
    g_assert_true(err_is(error, ERR_BUG));
    storage_set_transaction_check(NULL);
    g_clear_error(&error);
    g_assert_true(storage_disk_exists(&storage, SERVER, &exists, &error));
    g_assert_false(exists);
}

/* Killed before, between and after: each time the next process finds a state from which the same
 * call succeeds. */
static void
test_storage_faults(Fixture *fixture, const void *ops)
{
    Storage storage = {.ops = fixture->ops, .block = fixture->block};
    g_autoptr(GError) error = NULL;

    if (!needs_qemu_img(fixture))
        return;
    upload_raw(fixture, IMAGE, MIB);
    for (uint64_t k = 1; k <= 2; k++) {
        pid_t child = fork();
        int status;

        if (child == 0) {
            fault_arm(k);
            storage_disk_create(&storage, SERVER, IMAGE, MIB, NULL);
            _exit(0);
        }
        g_assert_cmpint(waitpid(child, &status, 0), ==, child);
        g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == 9);
        assert_exists(fixture, fixture->ops->disk_exists, SERVER, k == 2);
    }
    g_assert_true(storage_disk_create(&storage, SERVER, IMAGE, MIB, &error));
    g_assert_no_error(error);
    g_assert_true(storage_disk_delete(&storage, SERVER, &error));
}

/* ---- config drive ------------------------------------------------------------------------------
 */

static void
test_config_drive(void)
{
    static const ConfigDriveFile files[] = {
        {"openstack/latest/meta_data.json", "{\"uuid\": \"" SERVER "\"}", 48},
        {"openstack/latest/network_data.json", "{\"links\": []}", 13},
        {"openstack/latest/user_data", "#!/bin/sh\necho hello\n", 21},
        {"openstack/2018-08-27/meta_data.json", "{}", 2},
        {"openstack/latest/empty", "", 0},
    };
    g_autoptr(GError) error = NULL;
    g_autofree void *iso = NULL;
    g_autofree char *path = NULL;
    size_t size = 0;
    const char *bytes;

    g_assert_true(config_drive_build(files, G_N_ELEMENTS(files), &iso, &size, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(size, >, 32768 + 2048);
    g_assert_cmpuint(size % 2048, ==, 0);
    bytes = iso;
    /* primary volume descriptor: sector 16, identifier at 1, volume label at 40 */
    g_assert_cmpint(bytes[32768], ==, 1);
    g_assert_cmpint(memcmp(bytes + 32769, "CD001", 5), ==, 0);
    g_assert_cmpint(memcmp(bytes + 32768 + 40, "config-2 ", 9), ==, 0);
    g_assert_nonnull(memmem(bytes, size, files[0].data, files[0].size));
    g_assert_nonnull(memmem(bytes, size, files[2].data, files[2].size));

    path = g_strdup_printf("%s/godwit-test-%d.iso", g_get_tmp_dir(), (int)getpid());
    g_assert_true(g_file_set_contents(path, iso, (gssize)size, NULL));
    {
        const char *const rock_ridge[] = {"isoinfo", "-R", "-f", "-i", path, NULL};
        const char *const joliet[] = {"isoinfo", "-J", "-f", "-i", path, NULL};
        const char *const trees[] = {"Rock Ridge", "Joliet"};
        const char *const *commands[] = {rock_ridge, joliet};

        for (int i = 0; i < 2; i++) {
            g_autofree char *output = NULL;

            if (!process_run(commands[i], clock_monotonic() + 10 * USEC_PER_SEC, &output, &error)) {
                g_test_message("%s is not checked: %s", trees[i], error->message);
                g_clear_error(&error);
                continue;
            }
            g_assert_nonnull(strstr(output, "/openstack/latest/network_data.json"));
            g_assert_nonnull(strstr(output, "/openstack/2018-08-27/meta_data.json"));
        }
    }
    g_unlink(path);
}

static void
test_config_drive_bounds(void)
{
    static const char *const bad[] = {"",    "/etc/passwd",       "../x", "a/../b", "a//b", "a/b/",
                                      "a b", "1/2/3/4/5/6/7/8/9", NULL};
    g_autofree char *big = g_malloc0(17 * MIB);
    ConfigDriveFile large = {"openstack/latest/user_data", big, 17 * MIB};
    g_autoptr(GError) error = NULL;
    void *iso = NULL;
    size_t size;

    g_assert_false(config_drive_build(&large, 1, &iso, &size, &error));
    g_assert_true(err_is(error, ERR_INVALID));
    for (int i = 0; bad[i]; i++) {
        ConfigDriveFile file = {bad[i], "x", 1};
        g_autoptr(GError) wrong = NULL;

        g_assert_false(config_drive_build(&file, 1, &iso, &size, &wrong));
        g_assert_true(err_is(wrong, ERR_BUG));
    }
    g_assert_null(iso);
}

static void
build_one(void *opaque)
{
    static const ConfigDriveFile file = {"openstack/latest/meta_data.json", "{}", 2};
    int *made = opaque;

    for (int i = 0; i < 5; i++) {
        g_autofree void *iso = NULL;
        size_t size;

        *made += config_drive_build(&file, 1, &iso, &size, NULL);
    }
}

static void
test_config_drive_threads(void)
{
    pthread_t threads[4];
    int made[4] = {0};

    for (int i = 0; i < 4; i++)
        threads[i] = thread_start("drive", build_one, &made[i]);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        g_assert_cmpint(made[i], ==, 5);
    }
}

static void
skip_without_cluster(void)
{
    g_test_skip("no Ceph cluster: GODWIT_TEST_CEPH_CONF is not set");
}

int
main(int argc, char **argv)
{
    typedef void (*Test)(Fixture *, const void *);
    static const struct {
        const char *name;
        Test test;
    } contract[] =
        {
            {"upload", test_upload},
            {"ids", test_ids},
            {"formats", test_formats},
            {"qcow2", test_qcow2},
            {"qcow2-attacks", test_qcow2_attacks},
            {"disk", test_disk},
            {"paths", test_paths},
            {"transaction", test_storage_transaction},
        },
      only_files[] =
          {
              {"sweep", test_sweep},
              {"faults", test_storage_faults},
          },
      only_rbd[] = {
          {"sweep", test_rbd_sweep},       {"clone", test_rbd_clone},
          {"converts", test_rbd_converts}, {"config-drive", test_rbd_config_drive},
          {"access", test_rbd_access},     {"settings", test_rbd_settings},
      };
    const BlockOps *const drivers[] = {&block_dir_ops, &block_fake_ops, &block_rbd_ops};
    g_autofree char *tool = g_find_program_in_path("qemu-img");

    have_qemu_img = tool != NULL;
    ceph_conf = g_getenv("GODWIT_TEST_CEPH_CONF");
    g_test_init(&argc, &argv, NULL);
    for (size_t d = 0; d < G_N_ELEMENTS(drivers); d++) {
        bool rbd = drivers[d] == &block_rbd_ops;

        if (rbd && !ceph_conf) {
            g_test_add_func("/block/rbd", skip_without_cluster);
            continue;
        }
#define ADD(list)                                                                                \
    for (size_t i = 0; i < G_N_ELEMENTS(list); i++) {                                            \
        g_autofree char *path = g_strdup_printf("/block/%s/%s", drivers[d]->name, list[i].name); \
        g_test_add(path, Fixture, drivers[d], fixture_set_up, list[i].test, fixture_tear_down);  \
    }
        ADD(contract)
        if (rbd) {
            ADD(only_rbd)
        } else {
            ADD(only_files)
        }
#undef ADD
    }
    g_test_add("/block/dir/overlay", Fixture, &block_dir_ops, fixture_set_up, test_overlay,
               fixture_tear_down);
    g_test_add_func("/block/dir/open-errors", test_open_errors);
    g_test_add_func("/block/rbd/names", test_rbd_names);
    g_test_add_func("/config-drive/contents", test_config_drive);
    g_test_add_func("/config-drive/bounds", test_config_drive_bounds);
    g_test_add_func("/config-drive/threads", test_config_drive_threads);
    return g_test_run();
}
