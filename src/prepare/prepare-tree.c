/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* prepare-tree.c: the configuration files of a compute node, below a directory instead of on a
 * machine
 *
 * The same editing and rendering as on a node, for trees that become nodes: images, chroots, the
 * lab. Files are reached by openat2 with RESOLVE_BENEATH only, so that no symbolic link in the tree
 * leads a write out of it, whoever made the tree. */
#include "prepare/prepare-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILE_MAX_BYTES (1024 * 1024)

typedef struct Tree {
    const char *root; /* for messages */
    int fd;
    const PrepareOptions *options;
    const PrepareEvents *events;
} Tree;

static int
open_beneath(int fd, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, fd, path, &how, sizeof how);
}

static bool
tree_error(const Tree *tree, const char *path, const char *what, GError **err)
{
    int number = errno;

    if (number == EXDEV || number == ELOOP)
        return err_set(
            err, ERR_FORBIDDEN,
            "%s%s: a symbolic link there leads out of %s; nothing was written through it",
            tree->root, path, tree->root);
    return err_set(err, number == ENOENT ? ERR_NOT_FOUND : ERR_BACKEND, "%s %s%s: %s", what,
                   tree->root, path, g_strerror(number));
}

/* *text gets NULL if there is no such file. */
static bool
tree_read(const Tree *tree, const char *path, char **text, struct stat *status, GError **err)
{
    g_autofree char *buffer = NULL;
    size_t size = 0;
    ssize_t got = 0;

    *text = NULL;
    AUTO_FD fd = open_beneath(tree->fd, path + 1, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return true;
    if (fd < 0 || fstat(fd, status) != 0)
        return tree_error(tree, path, "cannot read", err);
    if (!S_ISREG(status->st_mode) || status->st_size > FILE_MAX_BYTES)
        return err_set(err, ERR_INVALID, "%s%s is not a file of at most %d bytes", tree->root, path,
                       FILE_MAX_BYTES);
    buffer = g_malloc(FILE_MAX_BYTES + 1);
    while (size < FILE_MAX_BYTES && (got = read(fd, buffer + size, FILE_MAX_BYTES - size)) > 0)
        size += (size_t)got;
    if (got < 0)
        return tree_error(tree, path, "cannot read", err);
    buffer[size] = '\0';
    if (strlen(buffer) != size)
        return err_set(err, ERR_INVALID, "%s%s is not a text: it contains zero bytes", tree->root,
                       path);
    *text = g_steal_pointer(&buffer);
    return true;
}

/* The directory of path, made where it is missing. Each part is opened from the root of the tree
 * again: a link may lead to elsewhere in the tree, though not out of it. */
static int
tree_open_parent(const Tree *tree, const char *path, GError **err)
{
    int at = open_beneath(tree->fd, ".", O_RDONLY | O_DIRECTORY);

    for (const char *slash = strchr(path + 1, '/'); slash != NULL && at >= 0;
         slash = strchr(slash + 1, '/')) {
        g_autofree char *dir = g_strndup(path + 1, (size_t)(slash - path - 1));
        g_autofree char *name = g_path_get_basename(dir);
        bool there = mkdirat(at, name, 0755) == 0 || errno == EEXIST;

        close(at);
        at = there ? open_beneath(tree->fd, dir, O_RDONLY | O_DIRECTORY) : -1;
    }
    if (at < 0)
        tree_error(tree, path, "cannot make the directory of", err);
    return at;
}

static bool
write_all(int fd, const char *text)
{
    size_t size = strlen(text);

    while (size > 0) {
        ssize_t put = write(fd, text, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        text += put;
        size -= (size_t)put;
    }
    return fsync(fd) == 0;
}

/* In one rename; like: what was there, or NULL. */
static bool
tree_write(const Tree *tree, const char *path, const char *text, const struct stat *like,
           GError **err)
{
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *fresh = g_strdup_printf(".%s.godwit-%d", name, (int)getpid());
    struct stat status;
    AUTO_FD dir = tree_open_parent(tree, path, err);

    if (dir < 0)
        return false;
    if (fstatat(dir, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(status.st_mode))
        return err_set(err, ERR_INVALID,
                       "%s%s is a symbolic link; below a directory only files themselves are "
                       "written",
                       tree->root, path);
    AUTO_FD fd = openat(dir, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return tree_error(tree, path, "cannot write", err);
    if (write_all(fd, text) && fchmod(fd, like != NULL ? like->st_mode & 07777 : 0644) == 0 &&
        (like == NULL || geteuid() != 0 || fchown(fd, like->st_uid, like->st_gid) == 0) &&
        renameat(dir, fresh, dir, name) == 0)
        return true;
    tree_error(tree, path, "cannot write", err);
    unlinkat(dir, fresh, 0);
    return false;
}

/* Make the file be text; old is what it is. */
static bool
tree_make(const Tree *tree, const char *step, const char *path, const char *old,
          const struct stat *like, const char *text, GError **err)
{
    g_autofree char *diff = text_diff(path, old, text, 3);

    if (*diff != '\0' && !tree->options->dry_run && !tree_write(tree, path, text, like, err))
        return false;
    tree->events->on_step(tree->events->opaque, 0, step, *diff != '\0' ? STEP_CHANGED : STEP_SAME,
                          *diff != '\0' ? diff : path);
    return true;
}

static bool
tree_make_rendered(const Tree *tree, const char *step, const char *path, const char *text,
                   GError **err)
{
    g_autofree char *old = NULL;
    struct stat status;

    return tree_read(tree, path, &old, &status, err) &&
           tree_make(tree, step, path, old, old != NULL ? &status : NULL, text, err);
}

/* Takes settings. */
static bool
tree_make_conf(const Tree *tree, const char *step, const char *path, ConfSetting *settings,
               GError **err)
{
    g_autofree char *old = NULL, *text = NULL;
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    struct stat status;

    if (settings == NULL)
        return false;
    bool good = tree_read(tree, path, &old, &status, err);
    if (good) {
        text = conf_edit(old != NULL ? old : "", settings, notices, err);
        if (text == NULL)
            g_prefix_error(err, "%s%s: ", tree->root, path);
    }
    settings_free(settings);
    for (unsigned i = 0; text != NULL && i < notices->len; i++)
        tree->events->on_step(tree->events->opaque, 0, step, STEP_RUNNING, notices->pdata[i]);
    return text != NULL &&
           tree_make(tree, step, path, old, old != NULL ? &status : NULL, text, err);
}

/* What the tree is of; NULL without an error if it does not say so. */
static bool
tree_distro(const Tree *tree, const Distro **distro, GError **err)
{
    static const char *const paths[] = {"/etc/os-release", "/usr/lib/os-release"};
    struct stat status;

    *distro = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_autofree char *text = NULL;
        /* An absolute link, as some distributions have it, counts as none: the other path is it. */
        if (!tree_read(tree, paths[i], &text, &status, NULL) || text == NULL)
            continue;
        *distro = distro_find(text, err);
        if (*distro == NULL)
            g_prefix_error(err, "%s: ", tree->root);
        return *distro != NULL;
    }
    return true;
}

static bool
tree_make_units(const Tree *tree, const NodeSettings *settings, const Distro *distro, GError **err)
{
    const PrepareOptions *options = tree->options;
    g_autoptr(GPtrArray) allowed = g_ptr_array_new();
    const char *const *const lists[] = {options->controllers, options->peers};
    g_autofree char *unit_text = NULL, *firewall_unit = NULL;

    if (settings->mode == DAEMON_LISTEN && distro == NULL)
        return err_set(err, ERR_INVALID,
                       "%s has no os-release, which says where libvirtd is; that is needed for "
                       "--listen with --units",
                       tree->root);
    g_autofree char *unit_path =
        unit_drop_in(settings, distro != NULL ? distro->libvirtd : NULL, &unit_text);
    if (unit_path != NULL && !tree_make_rendered(tree, "units", unit_path, unit_text, err))
        return false;
    if (!options->firewall)
        return true;
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        for (const char *const *address = lists[i]; address != NULL && *address != NULL; address++)
            g_ptr_array_add(allowed, (void *)*address);
    }
    g_ptr_array_add(allowed, NULL);
    g_autofree char *rules = render_firewall(settings, (const char *const *)allowed->pdata, err);
    firewall_unit = render_firewall_unit(NODE_NFT, NODE_RULES_PATH);
    return rules != NULL && tree_make_rendered(tree, "firewall", NODE_RULES_PATH, rules, err) &&
           tree_make_rendered(tree, "firewall", NODE_RULES_UNIT_PATH, firewall_unit, err);
}

static bool
tree_fill(const Tree *tree, bool units, GError **err)
{
    const PrepareOptions *options = tree->options;
    const Distro *distro;

    if (!tree_distro(tree, &distro, err))
        return false;
    if (distro == NULL && (options->user == NULL || options->group == NULL))
        return err_set(err, ERR_INVALID,
                       "%s has no os-release, which says whom QEMU runs as; say --user and --group",
                       tree->root);
    NodeSettings settings = {
        .transport = options->transport,
        .mode = options->listen                     ? DAEMON_LISTEN
                : distro != NULL && distro->modular ? DAEMON_MODULAR
                                                    : DAEMON_SOCKET,
        .listen_address = options->listen_address,
        .qemu_user = options->user != NULL ? options->user : distro->qemu_user,
        .qemu_group = options->group != NULL ? options->group : distro->qemu_group,
        .dynamic_ownership = !options->static_ownership,
        .moves = options->moves,
    };
    return tree_make_conf(tree, "libvirt", daemon_units[settings.mode].conf,
                          settings_libvirtd(&settings, err), err) &&
           tree_make_conf(tree, "qemu", NODE_QEMU_CONF, settings_qemu(&settings, err), err) &&
           (!units || tree_make_units(tree, &settings, distro, err));
}

bool
prepare_tree(const char *root, const PrepareOptions *options, bool units,
             const PrepareEvents *events, GError **err)
{
    g_autofree char *clean = NULL;
    Tree tree = {.options = options, .events = events};

    if (!g_path_is_absolute(root))
        return err_set(err, ERR_INVALID, "\"%.200s\" is not an absolute path", root);
    clean = g_canonicalize_filename(root, "/");
    if (options->transport == TRANSPORT_TCP && !(units && options->firewall) &&
        !options->plaintext_accepted)
        return err_set(
            err, ERR_INVALID,
            "transport tcp has no encryption and no authentication, and no firewall rules "
            "are written: let them be (--units), or say --i-know-it-is-plaintext");
    if (g_str_equal(clean, "/"))
        return err_set(err, ERR_INVALID,
                       "the root of this very machine is prepared by host prepare, which also "
                       "restarts what must be");
    tree.root = clean;
    AUTO_FD fd = open(clean, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_NOT_FOUND, "%s: %s", clean, g_strerror(errno));
    tree.fd = fd;
    return tree_fill(&tree, units, err);
}
