/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-prepare-ssh.c: scripts and files on a node, with a stand-in for ssh that runs them here
 *
 * What real ssh and real machines add is tried by the bare suite; here is what must hold of our own
 * part: quoting, all or nothing, what is said when it fails, files replaced in one step and put
 * back. */
#include "prepare/prepare-priv.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

static const char stand_in[] =
    "#!/bin/sh\n"
    "printf '%s\\n' \"$*\" >>\"$STAND_IN_LOG\"\n"
    "while [ \"$1\" != -- ]; do shift; done\n"
    "host=$2\n"
    "shift 2\n"
    "case $host in\n"
    "refused) echo 'ssh: connect to host refused port 22: Connection refused' >&2; exit 255 ;;\n"
    "denied) echo 'root@denied: Permission denied (publickey).' >&2; exit 255 ;;\n"
    "chatty) echo 'Welcome!' ;;\n"
    "cut) head -c 60 | sh; exit 255 ;;\n"
    "esac\n"
    "[ $# = 0 ] || exec sh -c \"$*\"\n";

typedef struct World {
    char *dir, *log, *backup, *owner;
    NodeTarget *target;
    SshOptions options;
    NodeSsh *ssh;
} World;

static char *
world_path(const World *world, const char *name)
{
    return g_build_filename(world->dir, name, NULL);
}

static void
program_write(const World *world, const char *name, const char *text)
{
    g_autofree char *path = world_path(world, name);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    g_assert_cmpint(g_chmod(path, 0755), ==, 0);
}

static void
world_open(World *world, const void *opaque)
{
    g_autoptr(GError) error = NULL;

    world->dir = g_dir_make_tmp("godwit-prepare-XXXXXX", &error);
    g_assert_no_error(error);
    world->log = world_path(world, "log");
    world->backup = world_path(world, "backup");
    world->owner = g_strdup_printf("%d:%d", (int)getuid(), (int)getgid());
    program_write(world, "ssh", stand_in);
    program_write(world, "id", "#!/bin/sh\necho ${STAND_IN_UID:-0}\n");
    program_write(
        world, "sudo",
        "#!/bin/sh\n[ \"$STAND_IN_SUDO\" = yes ] || { echo 'sudo: a "
        "password is required' >&2; exit 1; }\nshift; unset SSH_CONNECTION\nexec \"$@\"\n");
    g_autofree char *path = g_strconcat(world->dir, ":/usr/sbin:/usr/bin:/sbin:/bin", NULL);
    g_setenv("PATH", path, true);
    g_setenv("STAND_IN_LOG", world->log, true);
    g_unsetenv("STAND_IN_UID");
    g_unsetenv("STAND_IN_SUDO");
    world->options = (SshOptions){.cancel_fd = -1, .backup_dir = world->backup};
    world->target = node_target_parse("root@host1:2222", &error);
    world->ssh = ssh_open(world->target, &world->options, &error);
    g_assert_no_error(error);
}

static void
world_close(World *world, const void *opaque)
{
    const char *const argv[] = {"rm", "-rf", world->dir, NULL};

    ssh_close(world->ssh);
    node_target_free(world->target);
    g_assert_true(process_run(argv, clock_monotonic() + 20 * USEC_PER_SEC, NULL, NULL));
    g_free(world->dir);
    g_free(world->log);
    g_free(world->backup);
    g_free(world->owner);
}

static NodeSsh *
open_other(const World *world, NodeTarget **target, const char *text, GError **err)
{
    *target = node_target_parse(text, NULL);
    g_assert_nonnull(*target);
    return ssh_open(*target, &world->options, err);
}

static void
test_quoting(World *world, const void *opaque)
{
    const char *const args[] = {"a b", "$(id)", "it's", "", "-n", "line\nbreak", "`x`\\", NULL};
    g_autoptr(GError) error = NULL;
    g_autofree char *output = NULL, *log = NULL;

    ssh_script(world->ssh, "cat; printf '<%s>' \"$@\"", args, 20, &output, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(output, ==, "<a b><$(id)><it's><><-n><line\nbreak><`x`\\>");
    g_assert_true(g_file_get_contents(world->log, &log, NULL, NULL));
    g_assert_nonnull(strstr(log, " -l root -p 2222 -- host1 sh\n"));
    g_assert_nonnull(strstr(log, "BatchMode=yes"));
    g_assert_null(strstr(log, "a b"));
}

static void
test_failures(World *world, const void *opaque)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(
        ssh_script(world->ssh, "echo first >&2; echo second >&2; exit 7", NULL, 20, NULL, &error));
    g_assert_true(err_is(error, ERR_BACKEND));
    g_assert_cmpstr(error->message, ==, "root@host1:2222: first; second (exit status 7)");
    g_clear_error(&error);

    g_assert_false(
        ssh_script(world->ssh, "printf 'a\\033[2Jb\\377' >&2; exit 1", NULL, 20, NULL, &error));
    g_assert_true(text_is_clean(error->message, 1000, false));
    g_clear_error(&error);

    int64_t before = clock_monotonic();
    g_assert_false(ssh_script(world->ssh, "sleep 30", NULL, 1, NULL, &error));
    g_assert_true(err_is(error, ERR_TIMEOUT));
    g_assert_cmpint(clock_monotonic() - before, <, 10 * USEC_PER_SEC);
    g_clear_error(&error);

    g_assert_false(ssh_script(world->ssh, "head -c 6000000 /dev/zero", NULL, 20, NULL, &error));
    g_assert_true(err_is(error, ERR_BACKEND));
}

static void
test_unreachable(World *world, const void *opaque)
{
    static const struct {
        const char *target, *says;
        ErrCode code;
    } cases[] = {
        {"refused", "no ssh server listens there", ERR_UNREACHABLE},
        {"root@denied", "load your key", ERR_FORBIDDEN},
        {"chatty", "must not write to standard output", ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(NodeTarget) target = NULL;
        g_assert_null(open_other(world, &target, cases[i].target, &error));
        g_assert_cmpint(err_code(error), ==, cases[i].code);
        g_assert_nonnull(strstr(error->message, cases[i].says));
        g_assert_nonnull(strstr(error->message, cases[i].target));
    }
}

/* A connection that breaks in the middle of a script has run nothing of it. */
static void
test_cut(World *world, const void *opaque)
{
    g_autofree char *mark = world_path(world, "mark");
    const char *const args[] = {mark, NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(NodeTarget) target = node_target_parse("cut", NULL);
    NodeTarget host1 = *world->target;

    *world->target = *target;
    g_assert_false(ssh_script(world->ssh, ": >\"$1\"\n: and then much more that never arrives",
                              args, 20, NULL, &error));
    *world->target = host1;
    g_assert_true(err_is(error, ERR_UNREACHABLE));
    g_assert_false(g_file_test(mark, G_FILE_TEST_EXISTS));
}

static void
test_sudo(World *world, const void *opaque)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(NodeTarget) target = NULL, again = NULL;
    g_autofree char *log = NULL, *output = NULL;

    g_setenv("STAND_IN_UID", "1000", true);
    g_setenv("SSH_CONNECTION", "192.0.2.9 50000 192.0.2.1 22", true);
    g_assert_null(open_other(world, &target, "me@host2", &error));
    g_assert_true(err_is(error, ERR_FORBIDDEN));
    g_assert_nonnull(strstr(error->message, "a password is required"));
    g_clear_error(&error);

    g_setenv("STAND_IN_SUDO", "yes", true);
    g_autoptr(NodeSsh) ssh = open_other(world, &again, "me@host2", &error);
    g_assert_no_error(error);
    g_assert_true(ssh_script(ssh, "set -u; echo $SSH_CONNECTION", NULL, 20, &output, &error));
    g_assert_cmpstr(output, ==, "192.0.2.9 50000 192.0.2.1 22\n");
    g_unsetenv("SSH_CONNECTION");
    g_assert_true(g_file_get_contents(world->log, &log, NULL, NULL));
    g_assert_true(g_str_has_suffix(log, " -- host2 sudo -n sh\n"));
}

static void
cancel_later(void *opaque)
{
    const struct timespec moment = {.tv_nsec = 300 * 1000 * 1000};
    uint64_t one = 1;

    nanosleep(&moment, NULL);
    g_assert_cmpint(write(*(int *)opaque, &one, sizeof one), ==, sizeof one);
}

static void
test_cancel(World *world, const void *opaque)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    g_autoptr(GError) error = NULL;
    g_autoptr(NodeTarget) target = NULL;
    int64_t before = clock_monotonic();

    world->options.cancel_fd = fd;
    g_autoptr(NodeSsh) ssh = open_other(world, &target, "host1", &error);
    g_assert_no_error(error);
    pthread_t thread = thread_start("cancel", cancel_later, &fd);
    g_assert_false(ssh_script(ssh, "sleep 30", NULL, 60, NULL, &error));
    pthread_join(thread, NULL);
    g_assert_true(err_is(error, ERR_CANCELLED));
    g_assert_cmpint(clock_monotonic() - before, <, 10 * USEC_PER_SEC);
    close(fd);
}

static void
assert_contents(const char *path, const char *expected)
{
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, expected);
}

static void
file_replace(World *world, const char *path, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(NodeFile) file = node_file_read(world->ssh, path, &error);
    g_assert_no_error(error);
    node_file_write(world->ssh, file, text, "0640", world->owner, NULL, &error);
    g_assert_no_error(error);
}

static void
test_files(World *world, const void *opaque)
{
    g_autofree char *old_path = world_path(world, "old.conf"), *link = world_path(world, "link");
    g_autofree char *fresh = world_path(world, "deep/er/fresh it's.conf");
    g_autofree char *kept = g_strconcat(world->backup, old_path, NULL);
    g_autofree char *long_text = g_strnfill(300000, 'x');
    g_autofree char *report = NULL, *drift = NULL, *nothing = NULL;
    g_autoptr(GError) error = NULL;
    GStatBuf status;

    g_assert_true(g_file_set_contents(old_path, "# theirs\nno end", -1, NULL));
    g_assert_cmpint(g_chmod(old_path, 0604), ==, 0);
    g_assert_cmpint(symlink("old.conf", link), ==, 0);

    g_autoptr(NodeFile) file = node_file_read(world->ssh, old_path, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(file->text, ==, "# theirs\nno end");
    file_replace(world, link, "# ours\n");
    file_replace(world, old_path, long_text);
    file_replace(world, fresh, "");
    file_replace(world, fresh, "$(reboot)\nEND_OF_CONTENTS\n");
    assert_contents(old_path, long_text);
    assert_contents(fresh, "$(reboot)\nEND_OF_CONTENTS\n");
    assert_contents(kept, "# theirs\nno end");
    g_assert_true(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
    g_assert_cmpint(g_stat(old_path, &status), ==, 0);
    g_assert_cmphex(status.st_mode & 07777, ==, 0604);
    g_assert_cmpint(g_stat(fresh, &status), ==, 0);
    g_assert_cmphex(status.st_mode & 07777, ==, 0640);

    /* What was read is no longer what is there. */
    g_assert_false(node_file_write(world->ssh, file, "late\n", "0640", world->owner, NULL, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_clear_error(&error);
    assert_contents(old_path, long_text);

    g_assert_true(node_files_drift(world->ssh, &nothing, &error));
    g_assert_cmpstr(nothing, ==, "");
    g_assert_true(g_file_set_contents(old_path, "edited by hand\n", -1, NULL));
    g_assert_true(node_files_drift(world->ssh, &drift, &error));
    g_assert_true(g_str_has_prefix(drift, "changed ") && g_str_has_suffix(drift, "old.conf\n"));

    g_assert_true(node_files_undo(world->ssh, &report, &error));
    g_assert_no_error(error);
    g_assert_nonnull(strstr(report, "left "));
    g_assert_nonnull(strstr(report, "removed "));
    assert_contents(old_path, "edited by hand\n");
    g_assert_false(g_file_test(fresh, G_FILE_TEST_EXISTS));
    assert_contents(kept, "# theirs\nno end");
}

static void
test_undo(World *world, const void *opaque)
{
    g_autofree char *path = world_path(world, "a.conf"), *report = NULL, *again = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_true(g_file_set_contents(path, "before\n", -1, NULL));
    file_replace(world, path, "after\n");
    g_assert_true(node_files_undo(world->ssh, &report, &error));
    g_assert_true(g_str_has_prefix(report, "restored "));
    assert_contents(path, "before\n");
    g_assert_false(g_file_test(world->backup, G_FILE_TEST_EXISTS));
    g_assert_true(node_files_undo(world->ssh, &again, &error));
    g_assert_cmpstr(again, ==, "");
}

/* One write is taken back by itself: to what was there, and to what Godwit had written before. */
static void
test_put_back(World *world, const void *opaque)
{
    g_autofree char *path = world_path(world, "a.conf"), *fresh = world_path(world, "b.conf");
    g_autofree char *earlier = NULL, *report = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_true(g_file_set_contents(path, "before\n", -1, NULL));
    file_replace(world, path, "first\n");
    for (int round = 0; round < 2; round++) {
        g_autoptr(NodeFile) file = node_file_read(world->ssh, path, &error);
        g_clear_pointer(&earlier, g_free);
        node_file_write(world->ssh, file, "second\n", "0640", world->owner, &earlier, &error);
        g_assert_no_error(error);
        g_assert_cmpint(strlen(earlier), ==, 65);
        NodeWrite write = {.path = path, .old_text = file->text};
        write.sha256 = g_compute_checksum_for_string(G_CHECKSUM_SHA256, "second\n", -1);
        if (round == 0) {
            g_assert_true(node_file_put_back(world->ssh, &write, &error));
            assert_contents(path, "first\n");
        } else {
            g_assert_true(g_file_set_contents(path, "by hand\n", -1, NULL));
            g_assert_false(node_file_put_back(world->ssh, &write, &error));
            g_assert_true(err_is(error, ERR_CONFLICT));
            g_clear_error(&error);
            assert_contents(path, "by hand\n");
            g_assert_true(g_file_set_contents(path, "second\n", -1, NULL));
        }
        g_free(write.sha256);
    }
    g_autoptr(NodeFile) absent = node_file_read(world->ssh, fresh, &error);
    g_clear_pointer(&earlier, g_free);
    node_file_write(world->ssh, absent, "new\n", "0640", world->owner, &earlier, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(earlier, ==, "");
    NodeWrite made = {.path = fresh, .first = true};
    made.sha256 = g_compute_checksum_for_string(G_CHECKSUM_SHA256, "new\n", -1);
    g_assert_true(node_file_put_back(world->ssh, &made, &error));
    g_free(made.sha256);
    g_assert_false(g_file_test(fresh, G_FILE_TEST_EXISTS));

    g_assert_true(node_files_undo(world->ssh, &report, &error));
    g_assert_true(g_str_has_prefix(report, "restored ") && g_str_has_suffix(report, "a.conf\n"));
    assert_contents(path, "before\n");
    g_assert_false(g_file_test(world->backup, G_FILE_TEST_EXISTS));
}

/* Of a file that others write too, undo takes Godwit's part out of what is there now. */
static void
test_undo_shared(World *world, const void *opaque)
{
    static const char hosts[] = "host9 ssh-ed25519 AAAA\n";
    g_autofree char *dir = world_path(world, ".ssh"), *report = NULL, *again = NULL;
    g_autofree char *known = world_path(world, ".ssh/known_hosts");
    g_autofree char *config = world_path(world, ".ssh/config");
    g_autofree char *allowed = world_path(world, ".ssh/authorized_keys");
    g_autoptr(GError) error = NULL;
    g_autofree char *with = block_edit(hosts, "host1 ssh-ed25519 BBBB\n", false, &error);
    g_autofree char *later = g_strconcat(with, "host8 ssh-ed25519 CCCC\n", NULL);
    g_autofree char *wanted = g_strconcat(hosts, "host8 ssh-ed25519 CCCC\n", NULL);
    g_autofree char *only = block_edit("", "Host host1\n", true, &error);

    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
    g_assert_true(g_file_set_contents(known, hosts, -1, NULL));
    file_replace(world, known, with);
    file_replace(world, config, only);
    file_replace(world, allowed, only);
    g_assert_true(g_file_set_contents(known, later, -1, NULL));
    g_autofree char *open = g_strndup(only, strcspn(only, "\n") + 1);
    g_assert_true(g_file_set_contents(allowed, open, -1, NULL));

    g_assert_true(node_files_undo(world->ssh, &report, &error));
    g_assert_no_error(error);
    g_assert_nonnull(strstr(report, "changed by hand, "));
    g_assert_nonnull(strstr(report, "left "));
    g_assert_nonnull(strstr(report, "do not pair up"));
    assert_contents(known, wanted);
    assert_contents(allowed, open);
    g_assert_false(g_file_test(config, G_FILE_TEST_EXISTS));

    /* What was left can be undone once it is mended; the rest is not touched again. */
    g_assert_true(g_file_set_contents(allowed, only, -1, NULL));
    g_assert_true(node_files_undo(world->ssh, &again, &error));
    g_assert_true(g_str_has_prefix(again, "removed ") && g_str_has_suffix(again, "_keys\n"));
    assert_contents(known, wanted);
    g_assert_false(g_file_test(world->backup, G_FILE_TEST_EXISTS));
}

static void
test_unreadable(World *world, const void *opaque)
{
    g_autofree char *binary = world_path(world, "binary"), *large = world_path(world, "large");
    g_autofree char *text = g_strnfill(1024 * 1024 + 1, 'x');
    g_autoptr(GError) error = NULL;

    g_assert_true(g_file_set_contents(binary, "a\0b", 3, NULL));
    g_assert_true(g_file_set_contents(large, text, -1, NULL));
    g_assert_null(node_file_read(world->ssh, binary, &error));
    g_assert_true(err_is(error, ERR_INVALID));
    g_clear_error(&error);
    g_assert_null(node_file_read(world->ssh, large, &error));
    g_assert_true(err_is(error, ERR_BACKEND));
    g_clear_error(&error);
    g_assert_null(node_file_read(world->ssh, world->dir, &error));
    g_assert_nonnull(strstr(error->message, "is not a file"));
}

#define CASE(name, fn) g_test_add(name, World, NULL, world_open, fn, world_close)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    CASE("/prepare/ssh/quoting", test_quoting);
    CASE("/prepare/ssh/failures", test_failures);
    CASE("/prepare/ssh/unreachable", test_unreachable);
    CASE("/prepare/ssh/cut", test_cut);
    CASE("/prepare/ssh/sudo", test_sudo);
    CASE("/prepare/ssh/cancel", test_cancel);
    CASE("/prepare/files/replace", test_files);
    CASE("/prepare/files/undo", test_undo);
    CASE("/prepare/files/put-back", test_put_back);
    CASE("/prepare/files/undo-shared", test_undo_shared);
    CASE("/prepare/files/unreadable", test_unreadable);
    return g_test_run();
}
