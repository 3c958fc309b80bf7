/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-nova-conf.c: godwit prepare nova-conf: what prepared nodes mean for somebody's nova.conf
 *
 * The file is the operator's, on this machine. It is changed only on --in-place, in one rename that
 * keeps its mode and owner, and what was there first is kept beside it. */
#include "cli/cli.h"
#include "prepare/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKUP_SUFFIX ".godwit-backup"

/* ---- files ------------------------------------------------------------------------------------
 */

static bool
descriptor_write(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t wrote = write(fd, text, size);

        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return false;
        text += wrote;
        size -= (size_t)wrote;
    }
    return true;
}

/* Replace path by text, with the mode and owner of like. replace: false if it must not be there. */
static bool
file_put(const char *path, const char *text, const struct stat *like, bool replace, GError **err)
{
    g_autofree char *temporary = g_strconcat(path, ".XXXXXX", NULL);
    AUTO_FD fd = g_mkstemp_full(temporary, O_RDWR | O_CLOEXEC, 0600);
    const char *what = "write";
    struct stat now;

    if (fd < 0)
        return err_set(err, ERR_BACKEND, "cannot make a file beside %s: %s", path,
                       errno_text(errno));

    bool ok = descriptor_write(fd, text, strlen(text));

    if (ok && fstat(fd, &now) == 0 && (now.st_uid != like->st_uid || now.st_gid != like->st_gid)) {
        what = "keep the owner and group of";
        ok = fchown(fd, like->st_uid, like->st_gid) == 0;
    }
    ok = ok && fchmod(fd, like->st_mode & 07777) == 0 && fsync(fd) == 0;
    if (ok && replace)
        ok = rename(temporary, path) == 0;
    else if (ok)
        ok = link(temporary, path) == 0;

    int number = errno;

    if (!ok || !replace)
        unlink(temporary);
    return ok || err_set(err, ERR_BACKEND, "cannot %s %s: %s; it is as it was", what, path,
                         errno_text(number));
}

static bool
file_get(const char *path, char **text, struct stat *status, GError **err)
{
    size_t size;

    if (stat(path, status) != 0)
        return err_set(err, ERR_NOT_FOUND, "cannot read %s: %s", path, errno_text(errno));
    if (!S_ISREG(status->st_mode))
        return err_set(err, ERR_INVALID, "%s is not a file", path);
    if (!file_read_bounded(path, NOVA_CONF_MAX, text, &size, err))
        return false;
    return strlen(*text) == size ||
           err_set(err, ERR_INVALID, "%s is not a text: is it a nova.conf?", path);
}

/* ---- the parts of the command -----------------------------------------------------------------
 */

typedef struct Editing {
    Cli *cli;
    NovaSettings settings;
    NovaCpu *cpu;
    GPtrArray *notes; /* const char *, NULL-ended */
} Editing;

static bool
release_read(Editing *editing, GError **err)
{
    const CliArgs *args = editing->cli->args;
    const char *name = args_text(args, "release");
    g_autoptr(GError) error = NULL;

    if (name && args_flag(args, "classic"))
        return usage_error(err, "--release and --classic exclude each other");
    editing->settings.release = name                         ? nova_release_find(name, &error)
                                : args_flag(args, "classic") ? nova_release_classic()
                                                             : nova_release_newest();
    return !error || usage_error(err, "--release: %s", error->message);
}

static bool
options_read(Editing *editing, GError **err)
{
    const CliArgs *args = editing->cli->args;
    NovaSettings *settings = &editing->settings;
    const char *transport = args_text(args, "transport");

    if (transport && !transport_parse(transport, &settings->transport))
        return usage_error(err, "--transport takes tls, ssh or tcp, not \"%s\"", transport);
    if (args_flag(args, "in-place") && !args_text(args, "edit"))
        return usage_error(err, "--in-place needs --edit FILE");
    if (args_flag(args, "in-place") && !args_text(args, "release") && !args_flag(args, "classic"))
        return usage_error(err, "--in-place needs --release NAME or --classic: an option that "
                                "this Nova does not know would be passed over, and the memory "
                                "might travel as plaintext");
    if (args_flag(args, "in-place") && args_text(args, "output"))
        return usage_error(err, "--in-place and --output exclude each other");
    settings->ssh_user = args_text(args, "ssh-user");
    settings->inbound_address = args_text(args, "inbound-address");
    settings->virt_type = args_text(args, "virt-type");
    settings->cpu_model = args_text(args, "cpu-model");
    settings->post_copy = args_flag(args, "post-copy");
    settings->auto_converge = args_flag(args, "auto-converge");
    if (settings->virt_type && !g_str_equal(settings->virt_type, "kvm") &&
        !g_str_equal(settings->virt_type, "qemu"))
        return usage_error(err, "--virt-type takes kvm or qemu, not \"%s\"", settings->virt_type);
    return release_read(editing, err);
}

/* What only the nodes know. */
static bool
nodes_look(Editing *editing, GError **err)
{
    const CliArgs *args = editing->cli->args;
    NovaSettings *settings = &editing->settings;
    NovaCpuOptions options = {
        .ssh_config = args_text(args, "ssh-config"),
        .virt_type = settings->virt_type,
        .release = settings->release,
        .cpu_model = settings->cpu_model,
    };
    unsigned n = 0;

    if (args->words->len == 0) {
        if (!settings->cpu_model)
            g_ptr_array_add(editing->notes,
                            (void *)"CPU: nothing is said of it, because no node was named: name "
                                    "them all, or --cpu-model");
        return true;
    }

    NodeTarget **targets = cli_targets_parse(args->words, &n, err);

    if (!targets)
        return false;
    options.cancel_fd = cli_interrupt_fd();
    editing->cpu = nova_cpu_find((const NodeTarget *const *)targets, n, &options, err);
    cli_targets_free(targets);
    if (!editing->cpu)
        return false;
    settings->virt_type = editing->cpu->virt_type;
    settings->cpu_model = editing->cpu->model;
    settings->cpu_flags = (const char *const *)editing->cpu->flags; /* NULL if it was named */
    for (unsigned i = 0; i < editing->cpu->notes->len; i++)
        g_ptr_array_add(editing->notes, g_ptr_array_index(editing->cpu->notes, i));
    return true;
}

static bool
output_write(const char *path, const char *text, const struct stat *like, GError **err)
{
    struct stat there;

    /* Not what is there already, if it is no file: /dev/stdout, a terminal. */
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a file", path);
    return file_put(path, text, like, true, err);
}

static bool
section_print(Editing *editing, GError **err)
{
    const char *output = args_text(editing->cli->args, "output");
    struct stat like = {.st_mode = 0644, .st_uid = geteuid(), .st_gid = getegid()};

    g_ptr_array_add(editing->notes, NULL);
    editing->settings.notes = (const char *const *)editing->notes->pdata;

    g_autofree char *section = nova_conf_section(&editing->settings, err);

    if (!section)
        return false;
    if (output)
        return output_write(output, section, &like, err);
    if (editing->cli->json) {
        g_autoptr(json_t) object = json_pack("{s:s}", "section", section);

        cli_print_object(editing->cli, object);
        return true;
    }
    fputs(section, editing->cli->out);
    return true;
}

/* The one who was there before Godwit stays the backup, however often this is called. */
static bool
in_place_write(Editing *editing, const char *path, const char *before, const char *after,
               const struct stat *status, GError **err)
{
    g_autofree char *backup = g_strconcat(path, BACKUP_SUFFIX, NULL);
    g_autofree char *now = NULL;
    struct stat again;

    if (!g_file_test(backup, G_FILE_TEST_EXISTS) && !file_put(backup, before, status, false, err))
        return false;
    if (!file_get(path, &now, &again, err))
        return false;
    if (!g_str_equal(now, before) || again.st_ino != status->st_ino)
        return err_set(
            err, ERR_CONFLICT,
            "%s was changed by somebody else meanwhile; it is as they left it: try again", path);
    if (!file_put(path, after, status, true, err))
        return false;
    cli_say(editing->cli, "%s is changed; what was there is in %s", path, backup);
    return true;
}

static bool
file_edit(Editing *editing, GError **err)
{
    const CliArgs *args = editing->cli->args;
    const char *output = args_text(args, "output");
    g_autofree char *path = realpath(args_text(args, "edit"), NULL);
    g_autofree char *before = NULL;
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    struct stat status, there;

    if (!path)
        return err_set(err, ERR_NOT_FOUND, "cannot read %s: %s", args_text(args, "edit"),
                       errno_text(errno));
    if (!file_get(path, &before, &status, err))
        return false;
    /* That would be --in-place without a copy, and without a release. */
    if (output && stat(output, &there) == 0 && there.st_dev == status.st_dev &&
        there.st_ino == status.st_ino)
        return usage_error(err, "--output is the file that --edit reads: say --in-place");

    g_autofree char *after = nova_conf_edit(before, &editing->settings, notices, err);

    if (!after) {
        g_prefix_error(err, "%s: ", path);
        return false;
    }
    fprintf(stderr, "for Nova %s (%s) and nodes with transport %s\n",
            editing->settings.release->series, editing->settings.release->version,
            transport_names[editing->settings.transport]);
    for (unsigned i = 0; i < editing->notes->len; i++)
        fprintf(stderr, "%s\n", (const char *)g_ptr_array_index(editing->notes, i));
    for (unsigned i = 0; i < notices->len; i++)
        fprintf(stderr, "%s: %s\n", path, (const char *)g_ptr_array_index(notices, i));

    g_autofree char *diff = text_diff(path, before, after, 3);

    if (output)
        return output_write(output, after, &status, err);
    if (!*diff)
        cli_say(editing->cli, "%s: nothing has to be changed", path);
    if (editing->cli->json) {
        g_autoptr(json_t) object = json_pack("{s:s,s:s}", "file", path, "diff", diff);

        cli_print_object(editing->cli, object);
    } else {
        fputs(diff, editing->cli->out);
    }
    return !*diff || !args_flag(args, "in-place") ||
           in_place_write(editing, path, before, after, &status, err);
}

static bool
prepare_nova_conf(Cli *cli, GError **err)
{
    Editing editing = {.cli = cli, .notes = g_ptr_array_new()};
    bool ok =
        options_read(&editing, err) && nodes_look(&editing, err) &&
        (args_text(cli->args, "edit") ? file_edit(&editing, err) : section_print(&editing, err));

    g_ptr_array_unref(editing.notes);
    nova_cpu_free(editing.cpu);
    return ok;
}

static const CliOption nova_conf_options[] = {
    {"transport", CLI_TEXT, "tls|ssh|tcp", "what the nodes were prepared with (tls)"},
    {"release", CLI_TEXT, "NAME", "Nova's: caracal, 2024.1, 29 (the newest known)"},
    {"classic", CLI_FLAG, NULL, "live_migration_flag and its like, until Liberty"},
    {"edit", CLI_TEXT, "FILE", "show what would change in this nova.conf"},
    {"in-place", CLI_FLAG, NULL, "change it (for a named release), and keep FILE" BACKUP_SUFFIX},
    {"output", CLI_TEXT, "FILE", "write the section, or the edited file, there"},
    {"cpu-model", CLI_TEXT, "NAME", "this model, instead of computing one"},
    {"virt-type", CLI_TEXT, "kvm|qemu", "instead of what the nodes have"},
    {"inbound-address", CLI_TEXT, "ADDRESS",
     "live_migration_inbound_addr: for one node, or $my_ip"},
    {"ssh-user", CLI_TEXT, "NAME", "transport ssh: log in as (whom Nova runs as)"},
    {"post-copy", CLI_FLAG, NULL, "permit post-copy"},
    {"auto-converge", CLI_FLAG, NULL, "permit auto-converge"},
    {"ssh-config", CLI_TEXT, "FILE", "as ssh -F"},
    {0},
};

const CliCommand nova_conf_commands[] = {
    {"prepare nova-conf", "[[USER@]HOST...]", 0, 200, nova_conf_options, prepare_nova_conf,
     "the [libvirt] section of a nova.conf for prepared nodes", true},
    {0},
};
