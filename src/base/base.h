/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base.h: what every part of Godwit stands on: errors, log, clock, mailbox, fault points, small
 * helpers */
#pragma once

#include <glib.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

/* ---- errors -------------------------------------------------------------------------------------
 *
 * One GError domain, one closed set of codes. Foreign worlds (libvirt, SQLite, errno) are
 * translated once, in the module that owns the foreign library. What a code means to a caller
 * stands in one table (error.c): may the same call be tried again, and is the outcome of the failed
 * call known?
 */
typedef enum ErrCode {
    ERR_NOT_FOUND = 1, /* the object named does not exist */
    ERR_CONFLICT,      /* the object's state forbids it now */
    ERR_INVALID,       /* the request can never succeed as it is */
    ERR_FORBIDDEN,     /* the caller may not */
    ERR_QUOTA,         /* a limit set by the operator is reached */
    ERR_BUSY,          /* too much at once; later it may work */
    ERR_UNREACHABLE, /* the other side cannot be talked to; a call under way may have had effect */
    ERR_TIMEOUT,     /* the deadline passed; the call may have had effect */
    ERR_UNSUPPORTED, /* this libvirt, QEMU or storage cannot do it */
    ERR_CANCELLED,   /* somebody asked to stop it */
    ERR_FENCED,      /* this process lost its lease and must not act */
    ERR_BACKEND,     /* libvirt, SQLite, the file system … failed and said why */
    ERR_BUG,         /* a promise of our own code does not hold */
} ErrCode;

#define ERR_DOMAIN (err_domain())
GQuark err_domain(void);

/* Set *err (if err is not NULL) to code with a formatted message. Always returns false, so that
 * "return err_set(...)" reads well. */
bool err_set(GError **err, ErrCode code, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* What an errno means; valid until the thread's next call. Unlike g_strerror it takes no lock. */
const char *errno_text(int number);

const char *err_code_name(ErrCode code); /* "not-found", … */
ErrCode err_code(const GError *error);   /* ERR_BACKEND for errors of a foreign domain */
bool err_is(const GError *error, ErrCode code);
bool err_is_retriable(const GError *error);  /* the same call may succeed later */
bool err_outcome_known(const GError *error); /* false: the call may have had effect all the same */

/* ---- log ----------------------------------------------------------------------------------------
 *
 * One line per event on stderr: time, level, module, message, then key=value pairs. Values are
 * quoted and escaped, so that nothing that comes from outside can forge a line. Thread-safe. */
typedef enum LogLevel {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_ERROR
} LogLevel;

void log_set_level(LogLevel least);
bool log_level_parse(const char *name, LogLevel *level);
/* Fields come as key, value pairs of const char *, ended by NULL; a NULL value is left out. */
void log_event(LogLevel level, const char *module, const char *message, ...) G_GNUC_NULL_TERMINATED;

/* ---- clock --------------------------------------------------------------------------------------
 * Microseconds throughout. CLOCK_MONOTONIC for waiting, CLOCK_REALTIME for what is stored and
 * shown. */
#define USEC_PER_SEC  INT64_C(1000000)
#define USEC_PER_MSEC INT64_C(1000)

int64_t clock_monotonic(void);
int64_t clock_realtime(void);
/* "2026-11-23T03:45:29Z"; with_micros adds ".000000" before an absent zone suffix as Nova's old
 * views do */
char *clock_format(int64_t realtime_us, bool with_micros);
bool clock_parse(const char *iso8601, int64_t *realtime_us);
/* CLOCK_MONOTONIC as timespec for pthread_cond_timedwait on a condition made by cond_init_monotonic
 */
struct timespec clock_timespec(int64_t monotonic_us);

void cond_init_monotonic(pthread_cond_t *cond);
/* Wait on cond until deadline (monotonic µs; INT64_MAX: no limit). false: the deadline passed. */
bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline_us);

/* A named, joinable or detached thread with a bounded stack (256 KiB); aborts if none can be made.
 */
typedef void (*ThreadFn)(void *opaque);
pthread_t thread_start(const char *name, ThreadFn fn, void *opaque);
void thread_start_detached(const char *name, ThreadFn fn, void *opaque);

typedef pthread_mutex_t *MutexGuard;
static inline void
mutex_guard_end(MutexGuard *guard)
{
    pthread_mutex_unlock(*guard);
}
/* Hold mutex until the scope ends. */
#define WITH_MUTEX(mutex)                                                                    \
    __attribute__((cleanup(mutex_guard_end), unused)) MutexGuard G_PASTE(guard_, __LINE__) = \
        (pthread_mutex_lock(mutex), (mutex))

/* ---- mailbox ------------------------------------------------------------------------------------
 *
 * Many senders, one receiver. Bounded: a full box refuses (false) and counts. The receiver either
 * waits in mailbox_receive or polls the eventfd of mailbox_fd (readable while messages are there,
 * or once the box is closed). What was sent before mailbox_close is still received; mailbox_free
 * frees what is left, when no other thread uses the box. */
typedef struct Mailbox Mailbox;

Mailbox *mailbox_new(size_t limit, GDestroyNotify message_free);
void mailbox_free(Mailbox *box);
bool mailbox_send(Mailbox *box, void *message);           /* takes message; frees it if refused */
void *mailbox_receive(Mailbox *box, int64_t deadline_us); /* NULL: deadline passed or closed */
void *mailbox_try_receive(Mailbox *box);
void mailbox_close(Mailbox *box); /* wakes the receiver; later sends are refused */
bool mailbox_is_closed(Mailbox *box);
int mailbox_fd(Mailbox *box);
uint64_t mailbox_refused(Mailbox *box); /* messages refused so far: full or closed */

/* ---- fault points -------------------------------------------------------------------------------
 *
 * The crash suite ends the process at the k-th point passed. Points sit in the store's commit and
 * in the driver-call wrapper only, so that no operation can leave them out. Unarmed they cost one
 * atomic read. */
void fault_point(const char *name);
void fault_arm(uint64_t k);  /* SIGKILL ourselves at the k-th point from now on; 0 disarms */
uint64_t fault_passed(void); /* points passed since fault_arm */
/* Called once, first thing in main: GODWIT_FAULT_AT=K arms at K, GODWIT_FAULT_LOG=PATH appends the
 * name of every point passed to PATH, one a line. Without either the points stay unarmed. A bad K
 * or PATH ends the program: a crash test that silently tests nothing is worse than none. */
void fault_init_from_env(void);

/* ---- identifiers, numbers, text -------------------------------------------------------------- */
char *uuid_new(void); /* random, lower case, with dashes */
bool uuid_is_valid(
    const char *text); /* just that form: so one uuid has one spelling in paths and keys */
bool random_bytes(void *buffer, size_t size, GError **err);
char *random_token(size_t bytes); /* URL-safe base64 without padding */
bool parse_int64(const char *text, int64_t least, int64_t most,
                 int64_t *value); /* whole string, decimal */
bool parse_bool(const char *text,
                bool *value); /* true/false/1/0/yes/no/on/off/t/f/y/n, as oslo.config */
/* Printable UTF-8 without control characters, at most max bytes, not empty unless allow_empty */
bool text_is_clean(const char *text, size_t max, bool allow_empty);

/* ---- files and processes --------------------------------------------------------------------- */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Mailbox, mailbox_free)
static inline void
fd_close(int *fd)
{
    extern int close(int);
    if (*fd >= 0)
        close(*fd);
}
#define AUTO_FD __attribute__((cleanup(fd_close))) int

/* Write contents to path by way of a temporary file, fsync and rename; mode e.g. 0600. */
bool file_write_atomically(const char *path, const void *contents, size_t size, unsigned mode,
                           GError **err);
bool file_read_bounded(const char *path, size_t most, char **contents, size_t *size, GError **err);

/* Run argv (argv[0] is searched in PATH), no shell, stdin /dev/null, own process group, killed at
 * the deadline. output (may be NULL) gets stdout, at most 4 MiB. A non-zero exit is ERR_BACKEND
 * with the end of its stderr. Blocks. */
bool process_run(const char *const argv[], int64_t deadline_us, char **output, GError **err);
/* The same, but stdout is handed over as it comes, in pieces that know nothing of lines. The
 * program is ended (ERR_CANCELLED) once on_output returns false. */
typedef bool (*ProcessOutputFn)(void *opaque, const char *data, size_t size);
bool process_run_watched(const char *const argv[], int64_t deadline_us, ProcessOutputFn on_output,
                         void *opaque, GError **err);

typedef struct ProcessTalk {
    const char *const *argv; /* as process_run */
    const char *input;       /* for its standard input, which then ends; NULL: it reads nothing */
    size_t input_size;
    int cancel_fd; /* readable: end it, ERR_CANCELLED; -1: none */
    int64_t deadline_us;
    ProcessOutputFn on_output; /* gets stdout; NULL: output does */
    void *opaque;
} ProcessTalk;

/* Run it, feed it, wait for it. *status is its exit status, which is not judged here; output gets
 * stdout (at most 4 MiB), complaint the end of stderr; both also when it was ended. Blocks. */
bool process_talk(const ProcessTalk *talk, int *status, GString *output, GString *complaint,
                  GError **err);
