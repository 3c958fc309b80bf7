/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* process.c: run a program by its argument vector, with a deadline and bounded output
 *
 * The child is the leader of a process group of its own, so that ending it ends what it started.
 * One poll waits for both pipes and for the child's pidfd. The call ends when the child has ended:
 * a grandchild that still holds a pipe open does not hold us. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX_BYTES (4 * 1024 * 1024)
/* Of stderr only the end is kept: the reason stands there. */
#define STDERR_KEPT_BYTES 2048

typedef struct Run {
    const char *program;
    pid_t pid;
    int pidfd, out, errors;
    GString *text, *complaint;
    ProcessOutputFn on_output; /* NULL: stdout is kept in text */
    void *opaque;
    bool overflow, cancelled;
} Run;

static bool
pipe_make(int *read_end, int *write_end, GError **err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set(err, ERR_BACKEND, "cannot make a pipe: %s", errno_text(errno));
    *read_end = ends[0];
    *write_end = ends[1];
    return fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0 ||
           err_set(err, ERR_BACKEND, "cannot set up a pipe: %s", errno_text(errno));
}

static int
child_spawn(pid_t *pid, const char *const argv[], int out, int errors)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    /* posix_spawn takes char *const[] for historical reasons and changes nothing. */
    int rc = posix_spawnp(pid, argv[0], &actions, &attr, (char *const *)argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* Take what is there now; false at the end of the stream. */
static bool
pipe_drain(Run *run, int fd)
{
    char chunk[16384];
    for (;;) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN;
        if (got == 0)
            return false;
        if (fd == run->errors) {
            g_string_append_len(run->complaint, chunk, got);
            if (run->complaint->len > STDERR_KEPT_BYTES)
                g_string_erase(run->complaint, 0,
                               (gssize)(run->complaint->len - STDERR_KEPT_BYTES));
        } else if (run->on_output) {
            run->cancelled = run->cancelled || !run->on_output(run->opaque, chunk, (size_t)got);
            if (run->cancelled)
                return false;
        } else if (run->text->len + (size_t)got > OUTPUT_MAX_BYTES) {
            run->overflow = true;
            return false;
        } else {
            g_string_append_len(run->text, chunk, got);
        }
    }
}

static int
poll_timeout_ms(int64_t deadline_us)
{
    if (deadline_us == INT64_MAX)
        return -1;
    int64_t left_ms = (deadline_us - clock_monotonic() + USEC_PER_MSEC - 1) / USEC_PER_MSEC;
    return (int)CLAMP(left_ms, 0, INT_MAX);
}

/* Until the child has ended. false: the deadline passed, it says too much, or nobody wants it any
 * more. */
static bool
child_follow(Run *run, int64_t deadline_us)
{
    struct pollfd fds[] = {
        {.fd = run->pidfd, .events = POLLIN},
        {.fd = run->out, .events = POLLIN},
        {.fd = run->errors, .events = POLLIN},
    };
    for (;;) {
        int ready = poll(fds, G_N_ELEMENTS(fds), poll_timeout_ms(deadline_us));
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready < 0)
            g_error("poll: %s", errno_text(errno));
        for (size_t i = 1; i < G_N_ELEMENTS(fds); i++) {
            /* A descriptor below zero is left out by poll. */
            if (fds[i].fd >= 0 && !pipe_drain(run, fds[i].fd))
                fds[i].fd = -1;
        }
        if (run->overflow || run->cancelled)
            return false;
        if (fds[0].revents != 0)
            return true;
        if (deadline_us != INT64_MAX && clock_monotonic() >= deadline_us)
            return false;
    }
}

static bool
child_judge(const Run *run, const siginfo_t *end, GError **err)
{
    if (end->si_code == CLD_EXITED && end->si_status == 0)
        return true;
    g_autofree char *complaint =
        g_utf8_make_valid(run->complaint->str, (gssize)run->complaint->len);
    g_strstrip(complaint);
    const char *colon = *complaint != '\0' ? ": " : "";
    if (end->si_code == CLD_EXITED)
        return err_set(err, ERR_BACKEND, "%s ended with status %d%s%s", run->program,
                       end->si_status, colon, complaint);
    return err_set(err, ERR_BACKEND, "%s was ended by signal %d (%s)%s%s", run->program,
                   end->si_status, strsignal(end->si_status), colon, complaint);
}

static bool
child_run(Run *run, int64_t deadline_us, GError **err)
{
    bool ended = child_follow(run, deadline_us);
    if (!ended)
        kill(-run->pid, SIGKILL);
    siginfo_t end = {0};
    while (waitid(P_PID, (id_t)run->pid, &end, WEXITED) != 0) {
        if (errno != EINTR)
            return err_set(err, ERR_BUG, "waitid for %s: %s", run->program, errno_text(errno));
    }
    if (run->overflow)
        return err_set(err, ERR_BACKEND, "%s was ended: it wrote more than %d MiB", run->program,
                       OUTPUT_MAX_BYTES / (1024 * 1024));
    if (run->cancelled)
        return err_set(err, ERR_CANCELLED, "%s was ended before it was done", run->program);
    if (!ended)
        return err_set(err, ERR_TIMEOUT, "%s was ended: it did not finish before its deadline",
                       run->program);
    return child_judge(run, &end, err);
}

static bool
run_to_the_end(Run *run, const char *const argv[], int64_t deadline_us, GError **err)
{
    AUTO_FD out = -1, out_child = -1, errors = -1, errors_child = -1, pidfd = -1;
    if (!pipe_make(&out, &out_child, err) || !pipe_make(&errors, &errors_child, err))
        return false;

    run->program = argv[0];
    run->out = out;
    run->errors = errors;
    int rc = child_spawn(&run->pid, argv, out_child, errors_child);
    if (rc == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "cannot run %s: it is not installed, or not in PATH",
                       argv[0]);
    if (rc != 0)
        return err_set(err, ERR_BACKEND, "cannot run %s: %s", argv[0], errno_text(rc));
    fd_close(&out_child);
    out_child = -1;
    fd_close(&errors_child);
    errors_child = -1;

    /* The child is ours to reap, so its number cannot have been given to another process yet. */
    pidfd = pidfd_open(run->pid, 0);
    if (pidfd < 0)
        g_error("pidfd_open: %s", errno_text(errno));
    run->pidfd = pidfd;
    return child_run(run, deadline_us, err);
}

bool
process_run(const char *const argv[], int64_t deadline_us, char **output, GError **err)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GString) complaint = g_string_new(NULL);
    Run run = {.text = text, .complaint = complaint};

    if (output != NULL)
        *output = NULL;
    if (!run_to_the_end(&run, argv, deadline_us, err))
        return false;
    if (output != NULL)
        *output = g_string_free(g_steal_pointer(&text), FALSE);
    return true;
}

bool
process_run_watched(const char *const argv[], int64_t deadline_us, ProcessOutputFn on_output,
                    void *opaque, GError **err)
{
    g_autoptr(GString) complaint = g_string_new(NULL);
    Run run = {.complaint = complaint, .on_output = on_output, .opaque = opaque};

    return run_to_the_end(&run, argv, deadline_us, err);
}
