/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-prepare-nova.c: nova.conf for prepared nodes: hostile answers and files, the CPU that nodes
 * have in common, and what happens to the operator's file
 *
 * ssh is a stand-in that runs the scripts here, virsh one that answers from files: what they are
 * asked and what is made of the answers is tried here, what real ones answer by hand and on bare
 * machines. */
#include "cli/cli.h"
#include "prepare/prepare-priv.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char ssh_stand_in[] = "#!/bin/sh\n"
                                   "while [ \"$1\" != -- ]; do shift; done\n"
                                   "WORLD_HOST=$2; export WORLD_HOST\n"
                                   "shift 2\n"
                                   "[ $# = 0 ] || exec sh -c \"$*\"\n";

/* A baseline has the model Small if any of the CPUs has; expanded, a model has its own features and
 * those that were said. */
static const char virsh_stand_in[] =
    "#!/bin/sh\n"
    "while [ $# -gt 1 ]; do\n"
    "  case $1 in domcapabilities) what=caps ;; --features) what=expand ;;\n"
    "  hypervisor-cpu-baseline) what=baseline ;; --virttype) type=$2 ;; esac\n"
    "  shift\n"
    "done\n"
    "case $what in\n"
    "caps) [ \"$1\" != kvm ] || [ -e \"$WORLD/$WORLD_HOST.kvm\" ] || exit 1\n"
    "  cat \"$WORLD/$WORLD_HOST.xml\" ;;\n"
    "*) ls \"$(dirname \"$1\")\" >>\"$WORLD/seen\"; dirname \"$1\" >>\"$WORLD/dirs\"\n"
    "  if grep -q Foreign \"$1\"; then echo 'error: CPU vendors do not match' >&2; exit 1; fi\n"
    "  if grep -q Broken \"$1\"; then echo 'error: no such thing' >&2; exit 1; fi\n"
    "  model=Big; ! grep -q '>Small<' \"$1\" || model=Small\n"
    "  ! grep -q '>Tiny<' \"$1\" || model=Tiny\n"
    "  echo \"<cpu mode='custom'><model fallback='forbid'>$model</model>\"\n"
    "  [ -e \"$WORLD/takes\" ] && [ $model = Small ] &&\n"
    "    echo \"<feature policy='disable' name='hle'/>\"\n"
    "  grep '<feature' \"$1\" | grep -v hle | sort -u\n"
    "  if [ $what = expand ]; then echo \"<feature policy='require' name='sse2'/>\"\n"
    "    [ $model = Tiny ] || echo \"<feature policy='require' name='avx'/>\"\n"
    "    [ $model != Big ] || echo \"<feature policy='require' name='avx512f'/>\"; fi\n"
    "  echo '</cpu>' ;;\n"
    "esac\n";

#define CAPS(model, features)                                                             \
    "<domainCapabilities>\n  <path>/usr/bin/qemu</path>\n  <cpu>\n"                       \
    "    <mode name='host-passthrough' supported='no'/>\n"                                \
    "    <mode name='host-model' supported='yes'>\n      <model fallback='forbid'>" model \
    "</model>\n      <vendor>Intel</vendor>\n" features "    </mode>\n"                   \
    "    <mode name='custom' supported='yes'>\n"                                          \
    "      <model usable='yes' vendor='unknown'>Tiny</model>\n"                           \
    "      <model usable='no' vendor='unknown'>Huge</model>\n    </mode>\n  </cpu>\n"     \
    "</domainCapabilities>\n"

typedef struct World {
    char *dir, *file;
    NodeTarget *targets[3];
} World;

static char *
world_path(const World *world, const char *name)
{
    return g_build_filename(world->dir, name, NULL);
}

static void
world_write(const World *world, const char *name, const char *text)
{
    g_autofree char *path = world_path(world, name);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    g_assert_cmpint(g_chmod(path, 0755), ==, 0);
}

static void
world_open(World *world, const void *opaque)
{
    g_autoptr(GError) error = NULL;

    world->dir = g_dir_make_tmp("godwit-nova-XXXXXX", &error);
    g_assert_no_error(error);
    world_write(world, "ssh", ssh_stand_in);
    world_write(world, "virsh", virsh_stand_in);
    world_write(world, "id", "#!/bin/sh\necho 0\n");
    world_write(world, "host1.xml", CAPS("Big", "<feature policy='require' name='umip'/>\n"));
    world_write(world, "host2.xml", CAPS("Small", ""));
    g_autofree char *path = g_strconcat(world->dir, ":/usr/sbin:/usr/bin:/sbin:/bin", NULL);
    g_setenv("PATH", path, true);
    g_setenv("WORLD", world->dir, true);
    world->file = world_path(world, "nova.conf");
    world->targets[0] = node_target_parse("root@host1", NULL);
    world->targets[1] = node_target_parse("host2", NULL);
}

static void
world_close(World *world, const void *opaque)
{
    const char *const argv[] = {"rm", "-rf", world->dir, NULL};

    g_assert_true(process_run(argv, clock_monotonic() + 20 * USEC_PER_SEC, NULL, NULL));
    node_target_free(world->targets[0]);
    node_target_free(world->targets[1]);
    g_free(world->dir);
    g_free(world->file);
}

static NovaCpu *
cpu_find(World *world, const char *release, unsigned n, GError **err)
{
    NovaCpuOptions options = {.cancel_fd = -1, .release = nova_release_find(release, NULL)};
    return nova_cpu_find((const NodeTarget *const *)world->targets, n, &options, err);
}

static char *
notes_join(const NovaCpu *cpu)
{
    GString *text = g_string_new(NULL);
    for (unsigned i = 0; i < cpu->notes->len; i++)
        g_string_append_printf(text, "%s\n", (const char *)g_ptr_array_index(cpu->notes, i));
    return g_string_free(text, FALSE);
}

/* ---- the CPU ----------------------------------------------------------------------------------
 */

static void
test_common(World *world, const void *opaque)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(NovaCpu) cpu = cpu_find(world, "gazpacho", 2, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(cpu->virt_type, ==, "qemu");
    g_assert_cmpstr(cpu->model, ==, "Small");
    g_autofree char *flags = g_strjoinv(",", cpu->flags);
    g_assert_cmpstr(flags, ==, "umip");
    g_autofree char *notes = notes_join(cpu);
    g_assert_cmpstr(notes, ==,
                    "CPU: computed for 2 nodes by libvirt on host1 (qemu): Small\n"
                    "CPU: limited by host2 (Small), which lacks avx512f, umip\n");

    /* Nothing is left of the files there. */
    g_autofree char *dirs_path = world_path(world, "dirs"), *text = NULL;
    g_assert_true(g_file_get_contents(dirs_path, &text, NULL, NULL));
    g_auto(GStrv) dirs = g_strsplit(g_strchomp(text), "\n", -1);
    g_assert_cmpuint(g_strv_length(dirs), >=, 4);
    for (char **dir = dirs; *dir != NULL; dir++)
        g_assert_false(g_file_test(*dir, G_FILE_TEST_EXISTS));
}

static void
test_same(World *world, const void *opaque)
{
    g_autoptr(GError) error = NULL;

    world_write(world, "host2.xml", CAPS("Big", "<feature policy='require' name='umip'/>\n"));
    world_write(world, "host1.kvm", "");
    world_write(world, "host2.kvm", "");
    g_autoptr(NovaCpu) cpu = cpu_find(world, "gazpacho", 2, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(cpu->virt_type, ==, "kvm");
    g_assert_cmpstr(cpu->model, ==, "Big");
    g_autofree char *notes = notes_join(cpu);
    g_assert_nonnull(strstr(notes, "no node limits the others"));
}

/* Features are taken away from the common model: only newer releases can say that. */
static void
test_takes_away(World *world, const void *opaque)
{
    g_autoptr(GError) error = NULL;

    world_write(world, "takes", "");
    g_autoptr(NovaCpu) newer = cpu_find(world, "wallaby", 2, &error);
    g_assert_no_error(error);
    g_autofree char *flags = g_strjoinv(",", newer->flags);
    g_assert_cmpstr(newer->model, ==, "Small");
    g_assert_cmpstr(flags, ==, "umip,-hle");

    g_autoptr(NovaCpu) train = cpu_find(world, "train", 2, &error);
    g_assert_no_error(error);
    g_autofree char *train_flags = g_strjoinv(",", train->flags);
    g_assert_cmpstr(train->model, ==, "Tiny");
    g_assert_cmpstr(train_flags, ==, "avx,umip");

    g_autoptr(NovaCpu) old = cpu_find(world, "liberty", 2, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(old->model, ==, "Tiny");
    g_assert_null(old->flags[0]);
    g_autofree char *notes = notes_join(old);
    g_assert_nonnull(strstr(notes, "Nova Liberty cannot say it: avx, umip"));
}

static void
expect_error(World *world, ErrCode code, const char *part)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(NovaCpu) cpu = cpu_find(world, "gazpacho", 2, &error);

    g_assert_null(cpu);
    g_assert_cmpstr(err_code_name(err_code(error)), ==, err_code_name(code));
    if (strstr(error->message, part) == NULL)
        g_error("\"%s\" is not in: %s", part, error->message);
}

static void
test_refused(World *world, const void *opaque)
{
    world_write(world, "host2.kvm", "");
    expect_error(world, ERR_CONFLICT, "host2 has KVM and root@host1 has not");
    world_write(world, "host1.kvm", "");
    world_write(world, "host2.xml",
                "<domainCapabilities><cpu><mode name='host-model' supported='no'/></cpu>"
                "</domainCapabilities>");
    expect_error(world, ERR_UNSUPPORTED, "name a model with --cpu-model");
    world_write(world, "host2.xml",
                "<domainCapabilities><cpu><mode name='host-model' supported='yes'>"
                "<model>EPYC</model><vendor>AMD</vendor></mode></cpu></domainCapabilities>");
    expect_error(world, ERR_UNSUPPORTED, "have no model in common");
    world_write(world, "host2.xml", CAPS("Foreign", ""));
    expect_error(world, ERR_UNSUPPORTED, "have no model in common");
    world_write(world, "host2.xml", CAPS("Broken", ""));
    expect_error(world, ERR_BACKEND, "no such thing");
    world_write(world, "host2.xml", CAPS("x\n[DEFAULT]", ""));
    expect_error(world, ERR_INVALID, "no plain word");
    world_write(world, "host2.xml", "<domainCapabilities><cpu>");
    expect_error(world, ERR_INVALID, "host2: libvirt's answer about the CPU is not understood");
}

static void
test_named(World *world, const void *opaque)
{
    NovaCpuOptions options = {.cancel_fd = -1, .release = nova_release_newest()};
    g_autoptr(GError) error = NULL;

    options.cpu_model = "Tiny";
    g_autoptr(NovaCpu) cpu =
        nova_cpu_find((const NodeTarget *const *)world->targets, 2, &options, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(cpu->model, ==, "Tiny");
    g_assert_null(cpu->flags);
    options.cpu_model = "Huge";
    g_assert_null(nova_cpu_find((const NodeTarget *const *)world->targets, 2, &options, &error));
    g_assert_true(err_is(error, ERR_UNSUPPORTED));
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static void
test_scan_hostile(void)
{
    static const char *const hostile[] = {
        "<?xml version='1.0'?><cpu/>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><cpu/>",
        "<cpu><!-- a --></cpu>",
        "<cpu><model>a</model>",
        "<cpu></model></cpu>",
        "<cpu><model>a</cpu></model>",
        "</cpu>",
        "text",
        "<cpu/>text",
        "<",
        "<cpu",
        "<cpu a",
        "<cpu a=",
        "<cpu a='",
        "<cpu a='<'/>",
        "<cpu a=b/>",
        "<cpu /x>",
        "< cpu/>",
        "<cpu><model></model></cpu>",
        "<cpu><model>a b</model></cpu>",
        "<cpu><model>&lt;</model></cpu>",
        "<cpu><model>../../x</model></cpu>",
        "<cpu><model>x\n[DEFAULT]</model></cpu>",
        "<cpu><vendor>'; reboot'</vendor></cpu>",
        "<cpu><feature policy='require'/></cpu>",
        "<cpu><feature name='a' policy='obey'/></cpu>",
        "<cpu><feature name='a&quot;' policy='require'/></cpu>",
        "<cpu><feature name=\"a'/><b c='\" policy='require'/></cpu>",
        "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>",
        "<c a='' b='' c='' d='' e='' f='' g='' h='' i='' j='' k='' l='' m='' n='' o='' p='' q=''/>",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(hostile); i++) {
        g_autoptr(GError) error = NULL;
        if (cpu_scan(hostile[i], NULL, &error) != NULL)
            g_error("taken: %s", hostile[i]);
        g_assert_true(err_is(error, ERR_INVALID));
    }
    g_autoptr(GString) large = g_string_new("<cpu>");
    while (large->len <= CPU_SCAN_MAX)
        g_string_append(large, "                                                            ");
    g_string_append(large, "</cpu>");
    g_assert_null(cpu_scan(large->str, NULL, NULL));
    g_string_assign(large, "<cpu>");
    for (unsigned i = 0; i < 2000; i++)
        g_string_append_printf(large, "<feature name='f%u'/>", i);
    g_string_append(large, "</cpu>");
    g_assert_null(cpu_scan(large->str, NULL, NULL));
}

/* Cut anywhere and with any byte replaced it is refused or understood, never more. */
static void
test_scan_bytes(void)
{
    static const char text[] = "<cpu mode='custom'>\n <model fallback='forbid'>Big-1.0</model>\n "
                               "<feature policy='disable' name='a'/></cpu>\n";
    for (size_t cut = 0; cut < strlen(text); cut++) {
        g_autofree char *part = g_strndup(text, cut);
        g_autoptr(GPtrArray) cpus = cpu_scan(part, NULL, NULL);
        g_assert_true(cut == 0 || cut + 1 == strlen(text) || cpus == NULL);
        for (int byte = 1; byte < 256; byte++) {
            g_autofree char *bent = g_strdup(text);
            bent[cut] = (char)byte;
            g_autoptr(GPtrArray) bent_cpus = cpu_scan(bent, NULL, NULL);
            for (unsigned i = 0; bent_cpus != NULL && i < bent_cpus->len; i++) {
                const ScannedCpu *cpu = g_ptr_array_index(bent_cpus, i);
                g_assert_true(cpu->model == NULL || cpu_word_is_valid(cpu->model));
            }
        }
    }
    g_autoptr(GPtrArray) cpus = cpu_scan(text, NULL, NULL);
    g_autofree char *again = cpu_render(g_ptr_array_index(cpus, 0));
    g_assert_cmpstr(
        again, ==,
        "<cpu mode='custom' match='exact'>\n  <model fallback='forbid'>Big-1.0</model>\n"
        "  <feature policy='disable' name='a'/>\n</cpu>");
}

/* ---- settings ---------------------------------------------------------------------------------
 */

static void
expect_refused(NovaSettings settings, ErrCode code)
{
    g_autoptr(GError) error = NULL;
    if (settings.release == NULL)
        settings.release = nova_release_newest();
    g_autofree char *section = nova_conf_section(&settings, &error);
    g_assert_null(section);
    g_assert_cmpstr(err_code_name(err_code(error)), ==, err_code_name(code));
    g_clear_error(&error);
    g_assert_null(nova_conf_edit("[libvirt]\n", &settings, NULL, &error));
    g_assert_cmpstr(err_code_name(err_code(error)), ==, err_code_name(code));
}

static void
test_settings(void)
{
    static const char *const bad_flags[] = {"a\nb", NULL}, *const minus[] = {"-a", NULL};
    const NovaRelease *queens = nova_release_find("Queens", NULL);

    expect_refused((NovaSettings){.cpu_model = "x\n[DEFAULT]"}, ERR_INVALID);
    expect_refused((NovaSettings){.cpu_model = ""}, ERR_INVALID);
    expect_refused((NovaSettings){.cpu_model = "$my_ip"}, ERR_INVALID);
    expect_refused((NovaSettings){.cpu_model = "a", .cpu_flags = bad_flags}, ERR_INVALID);
    expect_refused((NovaSettings){.cpu_model = "a",
                                  .cpu_flags = minus,
                                  .release = nova_release_find("train", NULL)},
                   ERR_UNSUPPORTED);
    expect_refused((NovaSettings){.virt_type = "lxc"}, ERR_INVALID);
    expect_refused((NovaSettings){.ssh_user = "nova"}, ERR_INVALID);
    expect_refused((NovaSettings){.transport = TRANSPORT_SSH, .ssh_user = "a@b"}, ERR_INVALID);
    expect_refused((NovaSettings){.transport = TRANSPORT_SSH, .ssh_user = "%s"}, ERR_INVALID);
    expect_refused((NovaSettings){.inbound_address = "a b"}, ERR_INVALID);
    expect_refused((NovaSettings){.inbound_address = "$admin_pass"}, ERR_INVALID);
    expect_refused((NovaSettings){.inbound_address = "-x"}, ERR_INVALID);
    expect_refused((NovaSettings){.inbound_address = "a", .release = nova_release_classic()},
                   ERR_UNSUPPORTED);
    expect_refused((NovaSettings){.post_copy = true, .release = queens}, ERR_UNSUPPORTED);
    expect_refused((NovaSettings){.post_copy = true, .release = nova_release_classic()},
                   ERR_UNSUPPORTED);
}

static void
test_releases(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_cmpstr(nova_release_classic()->series, ==, "Liberty");
    g_assert_cmpstr(nova_release_find("TRAIN", NULL)->version, ==, "20.0");
    g_assert_cmpstr(nova_release_find("2024.1", NULL)->series, ==, "Caracal");
    g_assert_cmpstr(nova_release_find("29", NULL)->series, ==, "Caracal");
    for (const NovaRelease *release = nova_releases; release[1].series != NULL; release++)
        g_assert_cmpuint(release[1].number, ==, release->number + 1);
    g_assert_null(nova_release_find("x\n[DEFAULT]", &error));
    g_assert_null(strchr(error->message, '\n'));
}

static void
test_edit_large(void)
{
    NovaSettings settings = {.release = nova_release_newest()};
    g_autoptr(GString) text = g_string_new("[libvirt]\n");
    g_autoptr(GError) error = NULL;

    while (text->len < NOVA_CONF_MAX - 64)
        g_string_append(text, "# a comment as long as a line is, more or less\n");
    g_autofree char *after = nova_conf_edit(text->str, &settings, NULL, &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(after, "[libvirt]\nlive_migration_scheme = tls\n"));
    g_string_append(text, "# a comment as long as a line is, more or less\n");
    g_string_append(text, "# a comment as long as a line is, more or less\n");
    g_assert_null(nova_conf_edit(text->str, &settings, NULL, &error));
    g_assert_true(err_is(error, ERR_INVALID));
}

/* ---- the command ------------------------------------------------------------------------------
 */

static bool
command(const char *line, char **output, GError **err)
{
    const CliOption *const tables[] = {nova_conf_commands[0].options, NULL};
    g_autoptr(CliArgs) args = args_new();
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    size_t size;
    unsigned used;
    Cli cli = {.args = args, .out = open_memstream(output, &size)};
    bool ok = args_parse(args, words, g_strv_length(words), tables, false, &used, err) &&
              nova_conf_commands[0].run(&cli, err);

    fclose(cli.out);
    return ok;
}

static void
test_print(World *world, const void *opaque)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *output = NULL, *again = NULL;

    g_assert_true(command("root@host1 host2 --release caracal", &output, &error));
    g_assert_no_error(error);
    g_assert_nonnull(strstr(output, "\n[libvirt]\nvirt_type = qemu\ncpu_mode = custom\n"
                                    "cpu_models = Small\ncpu_model_extra_flags = umip\n"
                                    "live_migration_scheme = tls\n"));
    g_assert_true(command("--classic --transport tcp", &again, &error));
    g_assert_nonnull(strstr(again, "# PLAINTEXT"));
    g_assert_nonnull(strstr(again, "# CPU: nothing is said of it"));
    g_assert_null(strstr(again, "cpu_mode"));
}

static void
test_wrong(World *world, const void *opaque)
{
    static const char *const lines[] = {
        "--release nosuch",       "--release train --classic",
        "--transport udp",        "--in-place --release train",
        "--edit FILE --in-place", "--edit FILE --in-place --classic --output /tmp/x",
        "--virt-type xen",        "--edit",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *output = NULL;
        g_assert_false(command(lines[i], &output, &error));
        g_assert_true(is_usage_error(error));
    }
    static const char *const failing[] = {
        "--edit /nonexistent/nova.conf", "--edit /dev/null", "--edit /proc",
        "-- -oProxyCommand=x",           "-- $(reboot)",     "--output /dev/null"};
    for (size_t i = 0; i < G_N_ELEMENTS(failing); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *output = NULL;
        g_assert_false(command(failing[i], &output, &error));
        g_assert_false(is_usage_error(error));
    }
}

static char *
contents(const char *path)
{
    char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

static void
test_in_place(World *world, const void *opaque)
{
    static const char before[] = "[DEFAULT]\nmy_ip = 1\n[libvirt]\nimages_type = rbd\n";
    g_autofree char *link = world_path(world, "link");
    g_autofree char *backup = g_strconcat(world->file, ".godwit-backup", NULL);
    g_autofree char *look = g_strdup_printf("--edit %s", link);
    g_autofree char *edit = g_strdup_printf("--edit %s --in-place --release train", link);
    g_autofree char *other = g_strdup_printf("--edit %s --in-place --classic", link);
    g_autofree char *output = NULL, *first = NULL, *again = NULL, *second = NULL, *last = NULL;
    g_autoptr(GError) error = NULL;
    struct stat status;

    g_assert_true(g_file_set_contents(world->file, before, -1, NULL));
    g_assert_cmpint(g_chmod(world->file, 0640), ==, 0);
    g_assert_cmpint(symlink(world->file, link), ==, 0);

    /* Looking changes nothing. */
    g_assert_true(command(look, &output, &error));
    g_assert_nonnull(strstr(output, "\n+live_migration_scheme = tls\n"));
    first = contents(world->file);
    g_assert_cmpstr(first, ==, before);
    g_assert_false(g_file_test(backup, G_FILE_TEST_EXISTS));

    g_assert_true(command(edit, &again, &error));
    g_assert_no_error(error);
    second = contents(world->file);
    g_assert_cmpstr(second, ==,
                    "[DEFAULT]\nmy_ip = 1\n[libvirt]\nimages_type = rbd\n"
                    "live_migration_scheme = tls\nlive_migration_with_native_tls = true\n");
    g_assert_true(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
    for (int i = 0; i < 2; i++) {
        g_assert_cmpint(stat(i == 0 ? world->file : backup, &status), ==, 0);
        g_assert_cmpint(status.st_mode & 07777, ==, 0640);
    }
    g_autofree char *kept = contents(backup);
    g_assert_cmpstr(kept, ==, before);

    /* The second time nothing is to be done, and the first text stays the backup. */
    g_autofree char *third = NULL;
    g_assert_true(command(edit, &third, &error));
    g_assert_nonnull(strstr(third, "nothing has to be changed"));
    g_autofree char *fourth = NULL;
    g_assert_true(command(other, &fourth, &error));
    last = contents(backup);
    g_assert_cmpstr(last, ==, before);
}

static void
test_output(World *world, const void *opaque)
{
    g_autofree char *out = world_path(world, "out.conf");
    g_autofree char *line = g_strdup_printf("--edit %s --output %s", world->file, out);
    g_autofree char *output = NULL, *again = NULL;
    g_autoptr(GError) error = NULL;
    struct stat status;

    g_assert_true(g_file_set_contents(world->file, "[libvirt]\n", -1, NULL));
    g_assert_cmpint(g_chmod(world->file, 0600), ==, 0);
    g_assert_true(command(line, &output, &error));
    g_assert_cmpstr(output, ==, "");
    g_autofree char *text = contents(out), *source = contents(world->file);
    g_assert_cmpstr(
        text, ==,
        "[libvirt]\nlive_migration_scheme = tls\nlive_migration_with_native_tls = true\n");
    g_assert_cmpstr(source, ==, "[libvirt]\n");
    g_assert_cmpint(stat(out, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 07777, ==, 0600);

    /* Onto itself: that is --in-place, which wants a release and keeps a copy. */
    g_autofree char *itself = g_strdup_printf("--edit %s --output %s", world->file, world->file);
    g_autofree char *none = NULL, *still = NULL;
    g_assert_false(command(itself, &none, &error));
    g_assert_true(is_usage_error(error));
    g_clear_error(&error);
    still = contents(world->file);
    g_assert_cmpstr(still, ==, "[libvirt]\n");

    /* Not a text: neither read nor touched. */
    g_assert_true(g_file_set_contents(world->file, "[libvirt]\n\0\n", 12, NULL));
    g_assert_false(command(line, &again, &error));
    g_assert_true(err_is(error, ERR_INVALID));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define WORLD_TEST(path, function) \
    g_test_add("/prepare-nova/" path, World, NULL, world_open, function, world_close)
    WORLD_TEST("cpu/common", test_common);
    WORLD_TEST("cpu/same", test_same);
    WORLD_TEST("cpu/takes-away", test_takes_away);
    WORLD_TEST("cpu/refused", test_refused);
    WORLD_TEST("cpu/named", test_named);
    WORLD_TEST("print", test_print);
    WORLD_TEST("wrong", test_wrong);
    WORLD_TEST("in-place", test_in_place);
    WORLD_TEST("output", test_output);
    g_test_add_func("/prepare-nova/scan/hostile", test_scan_hostile);
    g_test_add_func("/prepare-nova/scan/bytes", test_scan_bytes);
    g_test_add_func("/prepare-nova/settings", test_settings);
    g_test_add_func("/prepare-nova/releases", test_releases);
    g_test_add_func("/prepare-nova/edit-large", test_edit_large);
    return g_test_run();
}
