/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* process.c: run a program by its argument vector, with a deadline and bounded output
 *
 * The child is the leader of a process group of its own, so that ending it ends what it started.
 * One poll waits for the pipes, for the child's pidfd and for whoever may call it off. The call
 * ends when the child has ended: a grandchild that still holds a pipe open does not hold us.
 *
 * Input goes through a socket pair, where a child that ends without reading it all costs an error
 * and not a signal. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX_BYTES (4 * 1024 * 1024)
/* Of stderr only the end is kept: the reason stands there. */
#define COMPLAINT_KEPT_BYTES 4096

enum {
    WAIT_CHILD,
    WAIT_CANCEL,
    WAIT_OUTPUT,
    WAIT_ERRORS,
    WAIT_INPUT,
    N_WAITS
};

typedef struct Run {
    const ProcessTalk *what;
    pid_t pid;
    size_t sent;
    GString *output, *complaint;
    bool overflow, cancelled;
} Run;

/* Our ends and the child's. */
typedef struct Pipes {
    int input, output, errors;
    int child_input, child_output, child_errors;
} Pipes;

static void
fd_forget(int *fd)
{
    fd_close(fd);
    *fd = -1;
}

static void
pipes_close_child(Pipes *pipes)
{
    fd_forget(&pipes->child_input);
    fd_forget(&pipes->child_output);
    fd_forget(&pipes->child_errors);
}

static void
pipes_close(Pipes *pipes)
{
    pipes_close_child(pipes);
    fd_forget(&pipes->input);
    fd_forget(&pipes->output);
    fd_forget(&pipes->errors);
}

static bool
pipe_make(int *ours, int *theirs)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    *ours = ends[0];
    *theirs = ends[1];
    return fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0;
}

static bool
input_make(Pipes *pipes, bool is_given)
{
    int ends[2];

    if (!is_given) {
        pipes->child_input = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return pipes->child_input >= 0;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return false;
    pipes->input = ends[0];
    pipes->child_input = ends[1];
    return true;
}

static int
child_spawn(Run *run, const Pipes *pipes)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes->child_input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipes->child_output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipes->child_errors, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    /* posix_spawn takes char *const[] for historical reasons and changes nothing. */
    int rc = posix_spawnp(&run->pid, run->what->argv[0], &actions, &attr,
                          (char *const *)run->what->argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* false: no more of it is wanted. */
static bool
output_take(Run *run, const char *data, size_t size)
{
    if (run->what->on_output != NULL) {
        run->cancelled = run->cancelled || !run->what->on_output(run->what->opaque, data, size);
        return !run->cancelled;
    }
    run->overflow = run->output->len + size > OUTPUT_MAX_BYTES;
    if (!run->overflow)
        g_string_append_len(run->output, data, (gssize)size);
    return !run->overflow;
}

static void
complaint_take(Run *run, const char *data, size_t size)
{
    g_string_append_len(run->complaint, data, (gssize)size);
    if (run->complaint->len > COMPLAINT_KEPT_BYTES)
        g_string_erase(run->complaint, 0, (gssize)(run->complaint->len - COMPLAINT_KEPT_BYTES));
}

/* Take what is there now; false at the end of the stream. Not more than twice what a pipe holds:
 * a child that writes without end must not keep us from its deadline. */
static bool
stream_drain(Run *run, int fd, bool is_complaint)
{
    char chunk[16384];

    for (int i = 0; i < 8; i++) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got <= 0)
            return got < 0 && (errno == EAGAIN || errno == EINTR);
        if (is_complaint)
            complaint_take(run, chunk, (size_t)got);
        else if (!output_take(run, chunk, (size_t)got))
            return false;
    }
    return true;
}

/* Give what is taken; false when there is no more to give. */
static bool
input_feed(Run *run, int fd)
{
    while (run->sent < run->what->input_size) {
        ssize_t done = send(fd, run->what->input + run->sent, run->what->input_size - run->sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno == EAGAIN;
        run->sent += (size_t)done;
    }
    return false;
}

static int
poll_timeout_ms(int64_t deadline_us)
{
    if (deadline_us == INT64_MAX)
        return -1;
    int64_t left_ms = (deadline_us - clock_monotonic() + USEC_PER_MSEC - 1) / USEC_PER_MSEC;
    return (int)CLAMP(left_ms, 0, INT_MAX);
}

/* Until the child has ended. false: it must be ended, because its deadline passed, it says too
 * much, or nobody wants it any more. */
static bool
child_follow(Run *run, int pidfd, Pipes *pipes)
{
    /* A descriptor below zero is left out by poll. */
    struct pollfd fds[N_WAITS] = {
        [WAIT_CHILD] = {.fd = pidfd, .events = POLLIN},
        [WAIT_CANCEL] = {.fd = run->what->cancel_fd, .events = POLLIN},
        [WAIT_OUTPUT] = {.fd = pipes->output, .events = POLLIN},
        [WAIT_ERRORS] = {.fd = pipes->errors, .events = POLLIN},
        [WAIT_INPUT] = {.fd = pipes->input, .events = POLLOUT},
    };
    int64_t deadline_us = run->what->deadline_us;

    for (;;) {
        int ready = poll(fds, N_WAITS, poll_timeout_ms(deadline_us));
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready < 0)
            g_error("poll: %s", errno_text(errno));
        if (fds[WAIT_INPUT].revents != 0 && !input_feed(run, pipes->input)) {
            fd_forget(&pipes->input);
            fds[WAIT_INPUT].fd = -1;
        }
        for (int i = WAIT_OUTPUT; i <= WAIT_ERRORS; i++) {
            if (fds[i].fd >= 0 && !stream_drain(run, fds[i].fd, i == WAIT_ERRORS))
                fds[i].fd = -1;
        }
        if (run->overflow || run->cancelled)
            return false;
        if (fds[WAIT_CHILD].revents != 0)
            return true;
        run->cancelled = fds[WAIT_CANCEL].revents != 0;
        if (run->cancelled || (deadline_us != INT64_MAX && clock_monotonic() >= deadline_us))
            return false;
    }
}

/* ": " and what it said last, or nothing */
static char *
complaint_text(const GString *complaint)
{
    g_autofree char *text = g_utf8_make_valid(complaint->str, (gssize)complaint->len);

    g_strstrip(text);
    return *text != '\0' ? g_strconcat(": ", text, NULL) : g_strdup("");
}

static bool
child_judge(const Run *run, bool ended, int *status, GError **err)
{
    const char *program = run->what->argv[0];
    siginfo_t end = {0};

    while (waitid(P_PID, (id_t)run->pid, &end, WEXITED) != 0) {
        if (errno != EINTR)
            return err_set(err, ERR_BUG, "waitid for %s: %s", program, errno_text(errno));
    }
    if (run->overflow)
        return err_set(err, ERR_BACKEND, "%s was ended: it wrote more than %d MiB", program,
                       OUTPUT_MAX_BYTES / (1024 * 1024));
    if (run->cancelled)
        return err_set(err, ERR_CANCELLED, "%s was called off before it was done", program);
    if (!ended)
        return err_set(err, ERR_TIMEOUT, "%s was ended: it did not finish before its deadline",
                       program);
    if (end.si_code != CLD_EXITED) {
        g_autofree char *said = complaint_text(run->complaint);
        return err_set(err, ERR_BACKEND, "%s was ended by signal %d (%s)%s", program, end.si_status,
                       strsignal(end.si_status), said);
    }
    *status = end.si_status;
    return true;
}

static bool
child_run(Run *run, Pipes *pipes, int *status, GError **err)
{
    int rc = child_spawn(run, pipes);

    pipes_close_child(pipes);
    if (rc != 0)
        return err_set(err, rc == ENOENT ? ERR_NOT_FOUND : ERR_BACKEND, "cannot run %s: %s",
                       run->what->argv[0],
                       rc == ENOENT ? "it is not installed, or not in PATH" : errno_text(rc));
    /* The child is ours to reap, so its number cannot have been given to another process yet. */
    AUTO_FD pidfd = pidfd_open(run->pid, 0);
    if (pidfd < 0)
        g_error("pidfd_open: %s", errno_text(errno));
    bool ended = child_follow(run, pidfd, pipes);
    if (!ended)
        kill(-run->pid, SIGKILL);
    return child_judge(run, ended, status, err);
}

bool
process_talk(const ProcessTalk *what, int *status, GString *output, GString *complaint,
             GError **err)
{
    Run run = {.what = what, .output = output, .complaint = complaint};
    Pipes pipes = {-1, -1, -1, -1, -1, -1};
    bool good;

    if (input_make(&pipes, what->input != NULL) && pipe_make(&pipes.output, &pipes.child_output) &&
        pipe_make(&pipes.errors, &pipes.child_errors))
        good = child_run(&run, &pipes, status, err);
    else
        good = err_set(err, ERR_BACKEND, "cannot make pipes for %s: %s", what->argv[0],
                       errno_text(errno));
    pipes_close(&pipes);
    return good;
}

/* Any other end than exit status 0 is an error. */
static bool
talk_to_success(const ProcessTalk *what, GString *output, GError **err)
{
    g_autoptr(GString) complaint = g_string_new(NULL);
    int status = 0;

    if (!process_talk(what, &status, output, complaint, err))
        return false;
    g_autofree char *said = complaint_text(complaint);
    return status == 0 ||
           err_set(err, ERR_BACKEND, "%s ended with status %d%s", what->argv[0], status, said);
}

bool
process_run(const char *const argv[], int64_t deadline_us, char **output, GError **err)
{
    g_autoptr(GString) text = g_string_new(NULL);
    ProcessTalk what = {.argv = argv, .cancel_fd = -1, .deadline_us = deadline_us};

    if (output != NULL)
        *output = NULL;
    if (!talk_to_success(&what, text, err))
        return false;
    if (output != NULL)
        *output = g_string_free(g_steal_pointer(&text), FALSE);
    return true;
}

bool
process_run_watched(const char *const argv[], int64_t deadline_us, ProcessOutputFn on_output,
                    void *opaque, GError **err)
{
    ProcessTalk what = {.argv = argv,
                        .cancel_fd = -1,
                        .deadline_us = deadline_us,
                        .on_output = on_output,
                        .opaque = opaque};

    return talk_to_success(&what, NULL, err);
}
