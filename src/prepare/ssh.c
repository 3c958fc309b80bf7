/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ssh.c: runs scripts as root on a node, through the operator's own ssh
 *
 * What ssh is told to run is always the same word or two ("sh", or "sudo -n sh"), which no login
 * shell can misread. The script comes on standard input as the body of a function that is called in
 * the last line: a connection that breaks half-way has run nothing. Arguments are quoted by one
 * function and set in that last line; nothing from outside is ever pasted into a script. The
 * script's own standard input is empty, so that no program in it eats the rest of it.
 *
 * The first call opens a master connection whose socket lies in a private directory; the others go
 * through it. */
#include "prepare/prepare-priv.h"

#include <glib/gstdio.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_SECONDS 45
#define SSH_FAILED      255 /* ssh's own exit status when it is ssh that failed */

/* Silence of 40 s ends a connection: a node whose login waits for a service that does not answer is
 * silent for 25 s. */

struct NodeSsh {
    const NodeTarget *target;
    SshOptions options;
    char *dir, *socket;
    bool sudo;
    char *connection; /* SSH_CONNECTION, which sudo would take away; NULL: no sudo */
    atomic_bool shielded;
};

static void
argv_add(GPtrArray *argv, const char *word)
{
    g_ptr_array_add(argv, g_strdup(word));
}

static GPtrArray *
ssh_argv(const NodeSsh *ssh)
{
    static const char *const always[] = {
        "-T",
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=10",
        "-o",
        "ServerAliveInterval=10",
        "-o",
        "ServerAliveCountMax=4",
        "-o",
        "ControlMaster=auto",
        "-o",
        "ControlPersist=60",
        "-o",
        "ForwardAgent=no",
        "-o",
        "ForwardX11=no",
        "-o",
        "RequestTTY=no",
        "-o",
        "LogLevel=ERROR",
    };
    GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);

    argv_add(argv, "ssh");
    if (ssh->options.config != NULL) {
        argv_add(argv, "-F");
        argv_add(argv, ssh->options.config);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(always); i++)
        argv_add(argv, always[i]);
    argv_add(argv, "-o");
    g_ptr_array_add(argv, g_strconcat("ControlPath=", ssh->socket, NULL));
    if (ssh->target->user != NULL) {
        argv_add(argv, "-l");
        argv_add(argv, ssh->target->user);
    }
    if (ssh->target->port != 0) {
        argv_add(argv, "-p");
        g_ptr_array_add(argv, g_strdup_printf("%u", ssh->target->port));
    }
    return argv;
}

static char *
script_text(const NodeSsh *ssh, const char *body, const char *const *args)
{
    GString *text = g_string_new(NULL);

    if (ssh->connection != NULL) {
        g_autofree char *quoted = g_shell_quote(ssh->connection);
        g_string_append_printf(text, "SSH_CONNECTION=%s\n", quoted);
    }
    g_string_append(text, "main() {\n");
    g_string_append_printf(text, "%s\n}\nmain", body);
    for (; args != NULL && *args != NULL; args++) {
        g_autofree char *quoted = g_shell_quote(*args);
        g_string_append_printf(text, " %s", quoted);
    }
    g_string_append(text, " </dev/null\n");
    return g_string_free(text, FALSE);
}

/* The end of what was said on stderr, as one clean line. */
static char *
complaint_line(const GString *complaint)
{
    g_autofree char *text = g_utf8_make_valid(complaint->str, (gssize)complaint->len);
    g_autofree char *stripped = g_strdup(g_strstrip(text));
    size_t size = strlen(stripped);
    const char *from = size > 600 ? stripped + size - 600 : stripped;

    while ((*from & 0xc0) == 0x80)
        from++;
    GString *line = g_string_new(NULL);
    for (const char *p = from; *p != '\0'; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (c == '\n')
            g_string_append(line, "; ");
        else if (!g_unichar_iscntrl(c))
            g_string_append_unichar(line, c);
    }
    return g_string_free(line, FALSE);
}

/* What to do about it, by what ssh said. */
static const char *
remedy_for(const char *complaint)
{
    static const struct {
        const char *said, *remedy;
    } table[] = {
        {"has changed and you have requested strict checking",
         "the machine answers with another key than your known_hosts has: find out why before you "
         "remove the old entry"},
        {"Host key verification failed",
         "its key is not in your known_hosts: connect once by hand and check the fingerprint"},
        {"Permission denied",
         "ssh could not log in without asking: load your key into the agent, or install it there"},
        {"Could not resolve hostname",
         "the name has no address here: check it, or give an address"},
        {"Connection refused", "no ssh server listens there: is it the right port?"},
        {"No route to host", "the network does not reach it: is it switched on?"},
        {"timed out", "it does not answer: is it switched on, and does a firewall let ssh pass?"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (strstr(complaint, table[i].said) != NULL)
            return table[i].remedy;
    }
    return "try by hand: ssh to it and see what it says";
}

static bool
script_run(NodeSsh *ssh, const char *body, const char *const *args, int seconds, int *status,
           GString *output, char **complaint, GError **err)
{
    g_autoptr(GPtrArray) argv = ssh_argv(ssh);
    g_autofree char *text = script_text(ssh, body, args);
    g_autoptr(GString) errors = g_string_new(NULL);

    argv_add(argv, "--");
    argv_add(argv, ssh->target->host);
    argv_add(argv, ssh->sudo ? "sudo -n sh" : "sh");
    g_ptr_array_add(argv, NULL);
    ProcessTalk talk = {
        .argv = (const char *const *)argv->pdata,
        .input = text,
        .input_size = strlen(text),
        .cancel_fd = ssh->shielded ? -1 : ssh->options.cancel_fd,
        .deadline_us = clock_monotonic() + seconds * USEC_PER_SEC,
    };
    bool ran = process_talk(&talk, status, output, errors, err);

    explicit_bzero(text, strlen(text));
    *complaint = complaint_line(errors);
    if (!ran) {
        g_prefix_error(err, "%s: ", ssh->target->text);
        return false;
    }
    if (*status == SSH_FAILED)
        return err_set(err,
                       strstr(*complaint, "Permission denied") ? ERR_FORBIDDEN : ERR_UNREACHABLE,
                       "%s cannot be reached by ssh: %s; %s", ssh->target->text,
                       **complaint ? *complaint : "it said nothing", remedy_for(*complaint));
    return true;
}

bool
ssh_script(NodeSsh *ssh, const char *body, const char *const *args, int seconds, char **output,
           GError **err)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *complaint = NULL;
    int status;

    if (!script_run(ssh, body, args, seconds, &status, text, &complaint, err))
        return false;
    if (status != 0)
        return err_set(err, ERR_BACKEND, "%s: %s (exit status %d)", ssh->target->text,
                       *complaint ? complaint : "a command failed and said nothing", status);
    if (output != NULL)
        *output = g_string_free(g_steal_pointer(&text), FALSE);
    return true;
}

/* Who are we there, and may we become root without being asked? */
static bool
root_find(NodeSsh *ssh, GError **err)
{
    static const char body[] = "if [ \"$(id -u)\" = 0 ]; then echo root\n"
                               "elif sudo -n true; then echo \"sudo=${SSH_CONNECTION:-}\"\n"
                               "else echo neither; id -un; fi";
    g_autoptr(GString) output = g_string_new(NULL);
    g_autofree char *complaint = NULL;
    int status;

    if (!script_run(ssh, body, NULL, CONNECT_SECONDS, &status, output, &complaint, err))
        return false;
    if (g_str_equal(output->str, "root\n"))
        return true;
    if (g_str_has_prefix(output->str, "sudo=") &&
        text_is_clean(g_strchomp(output->str), 200, false)) {
        ssh->sudo = true;
        ssh->connection = g_strdup(output->str + strlen("sudo="));
        return true;
    }
    if (g_str_has_prefix(output->str, "neither\n"))
        return err_set(err, ERR_FORBIDDEN,
                       "%s: the user there is not root and sudo would ask or refuse (%s); log in "
                       "as root, or let the user run sudo without a password",
                       ssh->target->text, *complaint ? complaint : "it said nothing");
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: no usable shell there: asked who we are, it said \"%.60s\" %s; a login "
                   "script must not write to standard output",
                   ssh->target->text, text_is_clean(output->str, 60, true) ? output->str : "…",
                   complaint);
}

NodeSsh *
ssh_open(const NodeTarget *target, const SshOptions *options, GError **err)
{
    g_autoptr(NodeSsh) ssh = g_new0(NodeSsh, 1);

    ssh->target = target;
    ssh->options = *options;
    ssh->dir = g_strdup_printf("%s/godwit-XXXXXX", g_get_tmp_dir());
    /* The kernel allows a socket's name 107 bytes, and ssh first adds 17 to it. */
    if (strlen(ssh->dir) > 80) {
        g_free(ssh->dir);
        ssh->dir = g_strdup("/tmp/godwit-XXXXXX");
    }
    if (g_mkdtemp(ssh->dir) == NULL) {
        err_set(err, ERR_BACKEND, "cannot make %s for ssh's socket", ssh->dir);
        g_clear_pointer(&ssh->dir, g_free);
        return NULL;
    }
    ssh->socket = g_build_filename(ssh->dir, "s", NULL);
    if (!root_find(ssh, err))
        return NULL;
    return g_steal_pointer(&ssh);
}

void
ssh_close(NodeSsh *ssh)
{
    if (ssh == NULL)
        return;
    if (ssh->socket != NULL && g_file_test(ssh->socket, G_FILE_TEST_EXISTS)) {
        g_autoptr(GPtrArray) argv = ssh_argv(ssh);
        argv_add(argv, "-O");
        argv_add(argv, "exit");
        argv_add(argv, "--");
        argv_add(argv, ssh->target->host);
        g_ptr_array_add(argv, NULL);
        process_run((const char *const *)argv->pdata, clock_monotonic() + 5 * USEC_PER_SEC, NULL,
                    NULL);
        unlink(ssh->socket);
    }
    if (ssh->dir != NULL)
        g_rmdir(ssh->dir);
    g_free(ssh->connection);
    g_free(ssh->socket);
    g_free(ssh->dir);
    g_free(ssh);
}

void
ssh_shield(NodeSsh *ssh, bool on)
{
    ssh->shielded = on;
}

const char *
ssh_backup_dir(const NodeSsh *ssh)
{
    return ssh->options.backup_dir != NULL ? ssh->options.backup_dir : "/var/backups/godwit";
}

const char *
ssh_name(const NodeSsh *ssh)
{
    return ssh->target->text;
}
