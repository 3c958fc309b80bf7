/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* process-talk.c: run a program that is given something to read, and that may be called off
 *
 * As process_run, but its standard input is one end of a socket pair, into which the input is sent
 * as fast as it is read (a program that ends without reading it all is no error), and its exit
 * status is a result. A readable cancel_fd ends it and all that it started. */
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

#define OUTPUT_MAX_BYTES    (4 * 1024 * 1024)
#define COMPLAINT_MAX_BYTES 4096

enum {
    WAIT_CHILD,
    WAIT_CANCEL,
    WAIT_OUTPUT,
    WAIT_ERRORS,
    WAIT_INPUT,
    N_WAITS
};

typedef struct Talk {
    const ProcessTalk *what;
    pid_t pid;
    size_t sent;
    GString *output, *complaint;
    bool overflow, cancelled;
} Talk;

static void
fd_forget(int *fd)
{
    fd_close(fd);
    *fd = -1;
}

static int
talk_spawn(Talk *talk, int input, int output, int errors)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawnp(&talk->pid, talk->what->argv[0], &actions, &attr,
                          (char *const *)talk->what->argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* Take what is there; false at the end of the stream. */
static bool
stream_drain(Talk *talk, int fd, bool is_complaint)
{
    char chunk[16384];
    for (;;) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        if (!is_complaint && talk->output->len + (size_t)got > OUTPUT_MAX_BYTES) {
            talk->overflow = true;
            return false;
        }
        g_string_append_len(is_complaint ? talk->complaint : talk->output, chunk, got);
        if (is_complaint && talk->complaint->len > COMPLAINT_MAX_BYTES)
            g_string_erase(talk->complaint, 0,
                           (gssize)(talk->complaint->len - COMPLAINT_MAX_BYTES));
    }
}

/* Give what is taken; false when there is no more to give. */
static bool
input_feed(Talk *talk, int fd)
{
    while (talk->sent < talk->what->input_size) {
        ssize_t done = send(fd, talk->what->input + talk->sent, talk->what->input_size - talk->sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno == EAGAIN;
        talk->sent += (size_t)done;
    }
    return false;
}

static int
wait_ms(int64_t deadline_us)
{
    if (deadline_us == INT64_MAX)
        return -1;
    int64_t left = (deadline_us - clock_monotonic() + USEC_PER_MSEC - 1) / USEC_PER_MSEC;
    return (int)CLAMP(left, 0, INT_MAX);
}

/* Until the child has ended; false: it must be ended. */
static bool
talk_follow(Talk *talk, struct pollfd fds[N_WAITS])
{
    for (;;) {
        int ready = poll(fds, N_WAITS, wait_ms(talk->what->deadline_us));
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready < 0)
            g_error("poll: %s", errno_text(errno));
        if (fds[WAIT_INPUT].revents != 0 && !input_feed(talk, fds[WAIT_INPUT].fd))
            fd_forget(&fds[WAIT_INPUT].fd);
        for (int i = WAIT_OUTPUT; i <= WAIT_ERRORS; i++) {
            if (fds[i].fd >= 0 && !stream_drain(talk, fds[i].fd, i == WAIT_ERRORS))
                fds[i].fd = -1;
        }
        if (talk->overflow)
            return false;
        if (fds[WAIT_CHILD].revents != 0)
            return true;
        if (fds[WAIT_CANCEL].revents != 0) {
            talk->cancelled = true;
            return false;
        }
        if (talk->what->deadline_us != INT64_MAX && clock_monotonic() >= talk->what->deadline_us)
            return false;
    }
}

static bool
talk_judge(const Talk *talk, bool ended, int *status, GError **err)
{
    const char *program = talk->what->argv[0];
    siginfo_t end = {0};

    while (waitid(P_PID, (id_t)talk->pid, &end, WEXITED) != 0) {
        if (errno != EINTR)
            return err_set(err, ERR_BUG, "waitid for %s: %s", program, errno_text(errno));
    }
    if (talk->overflow)
        return err_set(err, ERR_BACKEND, "%s was ended: it wrote more than %d MiB", program,
                       OUTPUT_MAX_BYTES / (1024 * 1024));
    if (talk->cancelled)
        return err_set(err, ERR_CANCELLED, "%s was called off", program);
    if (!ended)
        return err_set(err, ERR_TIMEOUT, "%s was ended: it did not finish before its deadline",
                       program);
    if (end.si_code != CLD_EXITED)
        return err_set(err, ERR_BACKEND, "%s was ended by signal %d", program, end.si_status);
    *status = end.si_status;
    return true;
}

bool
process_talk(const ProcessTalk *what, int *status, GString *output, GString *complaint,
             GError **err)
{
    Talk talk = {.what = what, .output = output, .complaint = complaint};
    int input[2] = {-1, -1}, out[2] = {-1, -1}, errors[2] = {-1, -1};
    bool good = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, input) == 0 &&
                pipe2(out, O_CLOEXEC) == 0 && pipe2(errors, O_CLOEXEC) == 0 &&
                fcntl(out[0], F_SETFL, O_NONBLOCK) == 0 &&
                fcntl(errors[0], F_SETFL, O_NONBLOCK) == 0;

    if (!good)
        err_set(err, ERR_BACKEND, "cannot make pipes for %s: %s", what->argv[0], errno_text(errno));
    if (good) {
        int rc = talk_spawn(&talk, input[1], out[1], errors[1]);
        good = rc == 0 ||
               err_set(err, rc == ENOENT ? ERR_NOT_FOUND : ERR_BACKEND, "cannot run %s: %s",
                       what->argv[0],
                       rc == ENOENT ? "it is not installed, or not in PATH" : errno_text(rc));
    }
    fd_forget(&input[1]);
    fd_forget(&out[1]);
    fd_forget(&errors[1]);
    if (good) {
        struct pollfd fds[N_WAITS] = {
            [WAIT_CHILD] = {.fd = pidfd_open(talk.pid, 0), .events = POLLIN},
            [WAIT_CANCEL] = {.fd = what->cancel_fd, .events = POLLIN},
            [WAIT_OUTPUT] = {.fd = out[0], .events = POLLIN},
            [WAIT_ERRORS] = {.fd = errors[0], .events = POLLIN},
            [WAIT_INPUT] = {.fd = input[0], .events = POLLOUT},
        };
        if (fds[WAIT_CHILD].fd < 0)
            g_error("pidfd_open: %s", errno_text(errno));
        bool ended = talk_follow(&talk, fds);
        if (!ended)
            kill(-talk.pid, SIGKILL);
        input[0] = fds[WAIT_INPUT].fd;
        fd_close(&fds[WAIT_CHILD].fd);
        good = talk_judge(&talk, ended, status, err);
    }
    fd_forget(&input[0]);
    fd_forget(&out[0]);
    fd_forget(&errors[0]);
    return good;
}
