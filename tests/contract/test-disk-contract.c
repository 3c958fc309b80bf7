/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-disk-contract.c: what a hypervisor driver owes where disks come and go
 *
 * Arguments as of test-host-contract, and for libvirt besides
 *   --guest IMAGE,CONFIG-DRIVE,ADDRESS,MAC   a guest of lab/guest on the bridge br0, which lets go
 * of disks and is asked what it sees (needs --dir)
 *   --rbd POOL/PREFIX,USER,KEY-FILE,MONITOR… eight images of 16 MiB to try the same with
 * What needs a guest that listens is left out without one; the fake has one. A guest of bare
 * firmware never lets go. */
#include "contract.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK_SIZE ((int64_t)16 << 20)
#define ASK_PORT  7777

enum {
    MANY = 8
};

/* ---- disks ------------------------------------------------------------------------------------
 */

typedef struct Disk {
    DiskSpec spec;
    bool is_file;
} Disk;

static void
file_grow(const char *path, int64_t size)
{
    AUTO_FD fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fchmod(fd, 0666), ==, 0);
    g_assert_cmpint(ftruncate(fd, size), ==, 0);
}

static void
secret_set(const char *key)
{
    gsize size;
    g_autofree guchar *value = g_base64_decode(key, &size);
    for (int i = 0; i < rig.n; i++) {
        g_autoptr(GError) error = NULL;
        host_secret_define(rig.hosts, rig.names[i], rig.rbd->secret_uuid, "godwit contract ceph",
                           value, size, soon(), &error);
        g_assert_no_error(error);
    }
}

/* The number tells images on Ceph apart; every file is new. */
static Disk
disk_new(bool on_ceph, int number)
{
    Disk disk = {.is_file = !on_ceph};
    disk.spec.serial = uuid_new();
    disk.spec.format = g_strdup("raw");
    if (on_ceph) {
        secret_set(rig.rbd_key);
        disk.spec.source = g_strdup_printf("%s%d", rig.rbd_prefix, number);
        disk.spec.rbd = rbd_access_copy(rig.rbd);
    } else {
        disk.spec.source = g_strdup_printf("%s/contract-%s", rig.dir, disk.spec.serial);
        file_grow(disk.spec.source, DISK_SIZE);
    }
    return disk;
}

static void
disk_end(Disk *disk)
{
    if (disk->is_file)
        unlink(disk->spec.source);
    disk_spec_clear(&disk->spec);
}

static bool
attach(int node, const Guest *guest, const DiskSpec *spec, GError **err)
{
    return host_disk_attach(rig.hosts, rig.names[node], guest->uuid, spec, soon(), err);
}

static void
need_attach(int node, const Guest *guest, const Disk *disk)
{
    g_autoptr(GError) error = NULL;
    attach(node, guest, &disk->spec, &error);
    g_assert_no_error(error);
}

static void
need_detach(int node, const Guest *guest, const Disk *disk)
{
    g_autoptr(GError) error = NULL;
    host_disk_detach(rig.hosts, rig.names[node], guest->uuid, disk->spec.serial, soon(), &error);
    g_assert_no_error(error);
}

/* Is it in the guest, or if that is off, in the definition? */
static bool
has_disk(int node, const Guest *guest, const Disk *disk)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) serials =
        host_disk_serials(rig.hosts, rig.names[node], guest->uuid, soon(), &error);
    g_assert_no_error(error);
    unsigned found = 0;
    for (unsigned i = 0; i < serials->len; i++)
        found += strcmp(serials->pdata[i], disk->spec.serial) == 0;
    g_assert_cmpuint(found, <=, 1);
    return found == 1;
}

static void
need_off(int node, const Guest *guest)
{
    g_autoptr(GError) error = NULL;
    host_domain_destroy(rig.hosts, rig.names[node], guest->uuid, soon(), &error);
    g_assert_no_error(error);
    assert_state(node, guest, DOMAIN_SHUTOFF);
}

static void
need_define(int node, const ServerSpec *spec)
{
    g_autoptr(GError) error = NULL;
    host_domain_define(rig.hosts, rig.names[node], spec, soon(), &error);
    g_assert_no_error(error);
}

static void
need_move(const Guest *guest, int from, int to)
{
    MoveWait wait;
    move_start(guest, from, rig.uris[to], false, &wait);
    move_wait(&wait);
    g_assert_no_error(wait.error);
    assert_state(from, guest, DOMAIN_ABSENT);
    assert_state(to, guest, DOMAIN_RUNNING);
}

/* ---- a guest that listens ---------------------------------------------------------------------
 */

static bool
have_listener(void)
{
    return rig.world != NULL || rig.guest != NULL;
}

/* What the guest says, or NULL if it does not. The fake's has nothing to say: "". */
static char *
ask_once(const char *question, int64_t wait_us)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(ASK_PORT)};
    char answer[8192];
    AUTO_FD fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(inet_pton(AF_INET, rig.guest[2], &to.sin_addr), ==, 1);
    struct timeval limit = {0, 500 * USEC_PER_MSEC};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    connect(fd, (struct sockaddr *)&to, sizeof to);
    for (int64_t end = clock_monotonic() + wait_us; clock_monotonic() < end;) {
        send(fd, question, strlen(question), 0);
        ssize_t got = recv(fd, answer, sizeof answer, 0);
        if (got > 0)
            return g_strndup(answer, (gsize)got);
        usleep(got < 0 && errno == EAGAIN ? 0 : 100 * USEC_PER_MSEC);
    }
    return NULL;
}

static char *ask(const char *format, ...) G_GNUC_PRINTF(1, 2);

static char *
ask(const char *format, ...)
{
    if (rig.guest == NULL)
        return g_strdup("");
    va_list list;
    va_start(list, format);
    g_autofree char *question = g_strdup_vprintf(format, list);
    va_end(list);
    char *answer = ask_once(question, 60 * USEC_PER_SEC);
    if (answer == NULL)
        g_error("the guest does not answer '%s'", question);
    g_strchomp(answer);
    g_test_message("%s: %s", question, answer);
    return answer;
}

/* The guest sees it by its serial, of which virtio shows 20 bytes; it may take a moment. */
static void
need_seen(const Disk *disk, bool seen, int64_t size)
{
    g_autofree char *wanted =
        g_strdup_printf("\"serial\":\"%.20s\",\"size\":%" PRId64 "}", disk->spec.serial, size);
    for (int i = 0; rig.guest != NULL; i++) {
        g_autofree char *answer = ask("disks");
        if ((strstr(answer, wanted) != NULL) == seen)
            return;
        g_assert_cmpint(i, <, 50);
        usleep(100 * USEC_PER_MSEC);
    }
}

static void
need_written(const Disk *disk, int seed)
{
    g_autofree char *answer = ask("disk-write %s %d 4", disk->spec.serial, seed);
    g_assert_false(g_str_has_prefix(answer, "error"));
}

static void
need_read(const Disk *disk, int seed)
{
    g_autofree char *wanted = g_strdup_printf("\"seed\":%d,\"mib\":4", seed);
    g_autofree char *answer = ask("disk-check %s", disk->spec.serial);
    g_assert_true(rig.guest == NULL || strstr(answer, wanted) != NULL);
}

/* Running on node 0, and up. */
static Guest
listener_start(void)
{
    Guest guest = guest_new();
    if (rig.guest != NULL) {
        g_autofree char *image = NULL;
        gsize size;
        g_autoptr(GError) error = NULL;
        g_file_get_contents(rig.guest[0], &image, &size, &error);
        g_assert_no_error(error);
        ServerSpec *spec = guest.spec;
        spec->ram_mb = 256;
        spec->disks = g_new0(DiskSpec, 2);
        spec->n_disks = 2;
        spec->disks[0] = (DiskSpec){.source = g_strdup_printf("%s/%s.img", rig.dir, spec->uuid),
                                    .format = g_strdup("raw")};
        g_assert_true(g_file_set_contents(spec->disks[0].source, image, (gssize)size, &error));
        file_grow(spec->disks[0].source, (int64_t)size);
        spec->disks[1] = (DiskSpec){
            .source = g_strdup(rig.guest[1]), .format = g_strdup("raw"), .is_cdrom = true};
        spec->nics = g_new0(NicSpec, 1);
        spec->n_nics = 1;
        spec->nics[0] = (NicSpec){.mac_address = g_strdup(rig.guest[3]), .bridge = g_strdup("br0")};
    }
    guest_start(&guest, 0);
    g_autofree char *G_GNUC_UNUSED answer = ask("status");
    return guest;
}

static void
listener_end(Guest *guest)
{
    if (guest->spec->n_disks > 0)
        unlink(guest->spec->disks[0].source);
    guest_end(guest);
}

/* ---- the contract -----------------------------------------------------------------------------
 */

static void
test_off(void)
{
    Guest guest = guest_new();
    Disk first = disk_new(false, 0), second = disk_new(false, 1);
    g_autoptr(GError) error = NULL;

    g_assert_false(attach(0, &guest, &first.spec, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&error);
    need_detach(0, &guest, &first);
    g_assert_null(host_disk_serials(rig.hosts, rig.names[0], guest.uuid, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&error);

    need_define(0, guest.spec);
    g_assert_false(has_disk(0, &guest, &first));
    first.spec.target = g_strdup("vdc");
    for (int i = 0; i < 2; i++) {
        need_attach(0, &guest, &first);
        g_assert_true(has_disk(0, &guest, &first));
    }
    second.spec.target = g_strdup("vdc");
    g_assert_false(attach(0, &guest, &second.spec, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_CONFLICT);
    g_assert_nonnull(strstr(error->message, "vdc"));
    g_clear_error(&error);
    g_clear_pointer(&second.spec.target, g_free);
    second.spec.read_only = true;
    need_attach(0, &guest, &second);
    g_assert_true(has_disk(0, &guest, &first) && has_disk(0, &guest, &second));
    host_disk_resize(rig.hosts, rig.names[0], guest.uuid, first.spec.serial, DISK_SIZE, soon(),
                     &error);
    g_assert_no_error(error);
    for (int i = 0; i < 2; i++) {
        need_detach(0, &guest, &first);
        g_assert_false(has_disk(0, &guest, &first));
        g_assert_true(has_disk(0, &guest, &second));
    }

    DiskSpec odd = first.spec;
    odd.serial = NULL;
    g_assert_false(attach(0, &guest, &odd, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_INVALID);
    g_clear_error(&error);
    odd = first.spec;
    odd.target = (char *)"sda";
    g_assert_false(attach(0, &guest, &odd, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_INVALID);
    g_clear_error(&error);
    odd.target = NULL;
    odd.is_cdrom = true;
    g_assert_false(attach(0, &guest, &odd, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_INVALID);
    guest_end(&guest);
    disk_end(&first);
    disk_end(&second);
}

static void
check_many(const void *on_ceph)
{
    Guest guest = guest_new();
    Disk disks[MANY];
    guest_start(&guest, 0);
    for (int i = 0; i < MANY; i++) {
        disks[i] = disk_new(on_ceph != NULL, i);
        need_attach(0, &guest, &disks[i]);
    }
    for (int i = 0; i < MANY; i++) {
        need_attach(0, &guest, &disks[i]);
        g_assert_true(has_disk(0, &guest, &disks[i]));
    }
    need_off(0, &guest);
    for (int i = 0; i < MANY; i++) {
        g_assert_true(has_disk(0, &guest, &disks[i]));
        need_detach(0, &guest, &disks[i]);
        g_assert_false(has_disk(0, &guest, &disks[i]));
        disk_end(&disks[i]);
    }
    guest_end(&guest);
}

/* What a crash may leave: one half of an attachment. */
static void
test_halves(void)
{
    Guest guest = guest_new();
    Disk disk = disk_new(false, 0);
    g_autoptr(ServerSpec) with = server_spec_copy(guest.spec);
    g_free(with->disks);
    with->disks = g_new0(DiskSpec, 1);
    with->n_disks = 1;
    disk_spec_copy(&with->disks[0], &disk.spec);

    guest_start(&guest, 0);
    need_define(0, with); /* the definition has it, the guest does not */
    g_assert_false(has_disk(0, &guest, &disk));
    need_detach(0, &guest, &disk);
    need_off(0, &guest);
    g_assert_false(has_disk(0, &guest, &disk));

    guest_start(&guest, 0);
    need_define(0, with);
    need_attach(0, &guest, &disk);
    g_assert_true(has_disk(0, &guest, &disk));

    need_define(0, guest.spec); /* the guest has it, the definition does not */
    g_assert_true(has_disk(0, &guest, &disk));
    need_attach(0, &guest, &disk);
    need_off(0, &guest);
    g_assert_true(has_disk(0, &guest, &disk));
    guest_end(&guest);
    disk_end(&disk);
}

/* A guest that does not let go keeps the disk, wholly. */
static void
test_stays(void)
{
    Guest guest = guest_new();
    Disk disk = disk_new(false, 0);
    g_autoptr(GError) error = NULL;
    guest_start(&guest, 0);
    need_attach(0, &guest, &disk);
    if (rig.world != NULL)
        host_fake_set_fault(rig.world, 1, FAKE_DISK_STAYS);
    g_assert_false(
        host_disk_detach(rig.hosts, rig.names[0], guest.uuid, disk.spec.serial, soon(), &error));
    if (rig.world != NULL)
        host_fake_set_fault(rig.world, 1, FAKE_FAULT_NONE);
    g_assert_error(error, ERR_DOMAIN, ERR_TIMEOUT);
    g_assert_nonnull(strstr(error->message, "does not let go of /dev/vd"));
    g_test_message("%s", error->message);
    g_assert_true(has_disk(0, &guest, &disk));
    need_off(0, &guest);
    g_assert_true(has_disk(0, &guest, &disk));
    need_detach(0, &guest, &disk);
    g_assert_false(has_disk(0, &guest, &disk));
    guest_end(&guest);
    disk_end(&disk);
}

static void
check_in_guest(const void *on_ceph)
{
    if (!have_listener()) {
        g_test_skip("needs a guest that listens (--guest)");
        return;
    }
    Guest guest = listener_start();
    Disk disks[MANY];
    for (int i = 0; i < MANY; i++) {
        disks[i] = disk_new(on_ceph != NULL, i);
        need_attach(0, &guest, &disks[i]);
    }
    for (int i = 0; i < MANY; i++) {
        need_seen(&disks[i], true, DISK_SIZE);
        need_written(&disks[i], 100 + i);
    }
    for (int i = 0; i < MANY; i += 2) {
        need_detach(0, &guest, &disks[i]);
        g_assert_false(has_disk(0, &guest, &disks[i]));
        need_seen(&disks[i], false, DISK_SIZE);
    }
    for (int i = 0; i < MANY; i++) {
        need_attach(0, &guest, &disks[i]);
        need_seen(&disks[i], true, DISK_SIZE);
        need_read(&disks[i], 100 + i);
    }
    for (int i = 0; i < MANY; i++)
        need_detach(0, &guest, &disks[i]);
    need_off(0, &guest);
    for (int i = 0; i < MANY; i++) {
        g_assert_false(has_disk(0, &guest, &disks[i]));
        disk_end(&disks[i]);
    }
    listener_end(&guest);
}

/* It lets go once it has booted: the request of a user who is too quick is not lost. */
static void
test_booting(void)
{
    if (!have_listener()) {
        g_test_skip("needs a guest that listens (--guest)");
        return;
    }
    Guest guest = listener_start();
    Disk disk = disk_new(false, 0);
    need_off(0, &guest);
    guest_start(&guest, 0);
    need_attach(0, &guest, &disk);
    need_detach(0, &guest, &disk);
    g_assert_false(has_disk(0, &guest, &disk));
    need_off(0, &guest);
    g_assert_false(has_disk(0, &guest, &disk));
    listener_end(&guest);
    disk_end(&disk);
}

/* What was attached goes along, in the guest and in the definition, and can be detached there. */
static void
check_move(const void *on_ceph)
{
    Guest guest = listener_start();
    Disk disks[3];
    for (int i = 0; i < 3; i++) {
        disks[i] = disk_new(on_ceph != NULL, i);
        need_attach(0, &guest, &disks[i]);
        need_seen(&disks[i], true, DISK_SIZE);
        need_written(&disks[i], 200 + i);
    }
    need_move(&guest, 0, 1);
    for (int i = 0; i < 3; i++) {
        g_assert_true(has_disk(1, &guest, &disks[i]));
        need_read(&disks[i], 200 + i);
        need_written(&disks[i], 300 + i);
    }
    if (have_listener()) {
        need_detach(1, &guest, &disks[0]);
        need_seen(&disks[0], false, DISK_SIZE);
        need_attach(1, &guest, &disks[0]);
        need_seen(&disks[0], true, DISK_SIZE);
        need_read(&disks[0], 300);
        need_detach(1, &guest, &disks[1]);
    }
    need_move(&guest, 1, 0);
    need_read(&disks[0], 300);
    need_read(&disks[2], 302);
    g_assert_true(has_disk(0, &guest, &disks[0]) && has_disk(0, &guest, &disks[2]));
    g_assert_true(has_disk(0, &guest, &disks[1]) == !have_listener());
    need_off(0, &guest);
    g_assert_true(has_disk(0, &guest, &disks[0]) && has_disk(0, &guest, &disks[2]));
    g_assert_true(has_disk(0, &guest, &disks[1]) == !have_listener());
    listener_end(&guest);
    for (int i = 0; i < 3; i++)
        disk_end(&disks[i]);
}

/* While a guest moves its disks stay as they are. */
static void
test_while_moving(void)
{
    Guest guest = guest_new_big();
    Disk there = disk_new(false, 0), late = disk_new(false, 1);
    g_autoptr(GError) attached = NULL, detached = NULL, error = NULL;
    MoveWait wait;
    guest_start(&guest, 0);
    need_attach(0, &guest, &there);
    move_start(&guest, 0, rig.uris[1], true, &wait);
    need_event_from(rig.names[0], guest.uuid, HOST_EVENT_ITERATION, 0, 0);
    attach(0, &guest, &late.spec, &attached);
    host_disk_detach(rig.hosts, rig.names[0], guest.uuid, there.spec.serial, soon(), &detached);
    host_job_abort(rig.hosts, rig.names[0], guest.uuid, soon(), &error);
    g_assert_no_error(error);
    move_wait(&wait);
    if (wait.error == NULL) { /* a QEMU that emulates sometimes hears all of it too late */
        g_assert_null(rig.world);
        g_test_skip("the move ended before the calls were heard");
    } else {
        g_assert_error(attached, ERR_DOMAIN, ERR_BUSY);
        g_assert_error(detached, ERR_DOMAIN, ERR_BUSY);
        g_clear_error(&wait.error);
        g_assert_true(has_disk(0, &guest, &there));
        g_assert_false(has_disk(0, &guest, &late));
        need_attach(0, &guest, &late);
    }
    guest_end(&guest);
    disk_end(&there);
    disk_end(&late);
}

static bool
resize(const Guest *guest, const Disk *disk, int64_t size, GError **err)
{
    return host_disk_resize(rig.hosts, rig.names[0], guest->uuid, disk->spec.serial, size, soon(),
                            err);
}

/* The image on Ceph is not grown by anybody before: the guest's QEMU does it itself. */
static void
check_resize(const void *on_ceph)
{
    Guest guest = listener_start();
    Disk disk = disk_new(on_ceph != NULL, 7), other = disk_new(on_ceph != NULL, 0);
    g_autoptr(GError) error = NULL;
    need_attach(0, &guest, &disk);
    need_seen(&disk, true, DISK_SIZE);
    need_written(&disk, 7);
    if (disk.is_file)
        file_grow(disk.spec.source, 3 * DISK_SIZE);
    for (int i = 0; i < 2; i++) {
        resize(&guest, &disk, 3 * DISK_SIZE, &error);
        g_assert_no_error(error);
        need_seen(&disk, true, 3 * DISK_SIZE);
    }
    need_read(&disk, 7);
    g_assert_false(resize(&guest, &disk, DISK_SIZE, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_INVALID);
    g_clear_error(&error);
    g_assert_false(resize(&guest, &other, 3 * DISK_SIZE, &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    need_read(&disk, 7);
    listener_end(&guest);
    disk_end(&disk);
    disk_end(&other);
}

static bool
can_open(const Disk *disk, GError **err)
{
    int64_t capacity = 0;
    g_autofree char *uuid = uuid_new();
    return host_disk_probe(rig.hosts, rig.names[0], uuid, &disk->spec, &capacity, soon(), err);
}

/* A key that is set again under the same name is the one that later starts use; a guest that runs
 * goes on. */
static void
test_ceph_secret(void)
{
    Guest guest = guest_new();
    Disk first = disk_new(true, 0), second = disk_new(true, 1);
    g_autoptr(GError) error = NULL;
    guest_start(&guest, 0);
    need_attach(0, &guest, &first);
    secret_set("QVFDd3JvbmdrZXl3cm9uZ2tleXdyb25na2V5");
    g_assert_false(can_open(&second, &error));
    g_test_message("%s", error->message);
    g_assert_null(strstr(error->message, rig.rbd_key));
    g_clear_error(&error);
    g_assert_false(attach(0, &guest, &second.spec, &error));
    g_assert_false(has_disk(0, &guest, &second));
    g_clear_error(&error);
    assert_state(0, &guest, DOMAIN_RUNNING);
    secret_set(rig.rbd_key);
    can_open(&second, &error);
    g_assert_no_error(error);
    need_attach(0, &guest, &second);
    need_off(0, &guest);
    g_assert_true(has_disk(0, &guest, &first) && has_disk(0, &guest, &second));
    guest_end(&guest);
    disk_end(&first);
    disk_end(&second);
}

static void
test_skipped(void)
{
    g_test_skip("needs a directory that all nodes share (--dir)");
}

/* ---- running it -------------------------------------------------------------------------------
 */

/* On files and, if there is one, on Ceph, which the test's data says by not being NULL. */
static void
add(const char *name, GTestDataFunc check)
{
    for (int on_ceph = 0; on_ceph <= (rig.rbd != NULL); on_ceph++) {
        g_autofree char *path = g_strconcat("/disk-contract/", on_ceph ? "ceph-" : "", name, NULL);
        g_test_add_data_func(path, on_ceph ? rig.rbd : NULL, check);
    }
}

static void
add_tests(void)
{
    if (rig.dir == NULL) {
        g_test_add_func("/disk-contract/off", test_skipped);
        return;
    }
    if (rig.rbd != NULL)
        g_test_add_func("/disk-contract/ceph-secret", test_ceph_secret);
    g_test_add_func("/disk-contract/off", test_off);
    g_test_add_func("/disk-contract/halves", test_halves);
    g_test_add_func("/disk-contract/stays", test_stays);
    g_test_add_func("/disk-contract/booting", test_booting);
    g_test_add_func("/disk-contract/while-moving", test_while_moving);
    add("many", check_many);
    add("in-guest", check_in_guest);
    add("move", check_move);
    add("resize", check_resize);
}

int
main(int argc, char **argv)
{
    return contract_main(argc, argv, add_tests);
}
