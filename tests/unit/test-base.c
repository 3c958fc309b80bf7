/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-base.c: errors, log, clock, threads, mailbox, fault points, text, files, processes */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- errors ---------------------------------------------------------------------------------- */
static void
test_error(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(err_set(&error, ERR_BUSY, "node %s has %d calls under way", "host1", 4));
    g_assert_cmpstr(error->message, ==, "node host1 has 4 calls under way");
    g_assert_true(err_is(error, ERR_BUSY));
    g_assert_false(err_is(error, ERR_TIMEOUT));
    g_assert_true(err_is_retriable(error));
    g_assert_true(err_outcome_known(error));
    g_assert_false(err_set(NULL, ERR_BUG, "nobody listens"));
    g_assert_false(err_is(NULL, ERR_BUSY));

    g_autoptr(GError) timeout = NULL;
    err_set(&timeout, ERR_TIMEOUT, "x");
    g_assert_false(err_outcome_known(timeout));
    g_autoptr(GError) foreign = g_error_new_literal(G_FILE_ERROR, G_FILE_ERROR_NOENT, "x");
    g_assert_cmpint(err_code(foreign), ==, ERR_BACKEND);

    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    for (int code = ERR_NOT_FOUND; code <= ERR_BUG; code++)
        g_assert_true(g_hash_table_add(names, (void *)err_code_name((ErrCode)code)));
    g_assert_cmpstr(err_code_name(ERR_NOT_FOUND), ==, "not-found");
}

/* ---- log ------------------------------------------------------------------------------------- */
/* What fn writes to stderr */
static char *
stderr_of(ThreadFn fn, void *opaque)
{
    g_autofree char *path = g_strdup_printf("%s/godwit-log-%d", g_get_tmp_dir(), (int)getpid());
    AUTO_FD file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    AUTO_FD saved = dup(STDERR_FILENO);
    g_assert_cmpint(dup2(file, STDERR_FILENO), ==, STDERR_FILENO);
    fn(opaque);
    dup2(saved, STDERR_FILENO);
    char *text = NULL;
    g_autoptr(GError) error = NULL;
    file_read_bounded(path, 16 << 20, &text, NULL, &error);
    g_assert_no_error(error);
    unlink(path);
    return text;
}

static void
log_a_few(void *opaque)
{
    log_event(LOG_LEVEL_DEBUG, "base", "not shown", NULL);
    log_event(LOG_LEVEL_INFO, "store", "opened", "path", "/var/lib/godwit/state.db", "epoch", "7",
              "left-out", NULL, NULL);
    log_event(LOG_LEVEL_WARNING, "api", "odd name", "name",
              "a\n2026-11-23T00:00:00.000000Z error x \"forged\"", "empty", "", "bytes",
              "\xff\x01é", NULL);
}

static void
test_log_format(void)
{
    g_autofree char *text = stderr_of(log_a_few, NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_assert_cmpuint(g_strv_length(lines), ==, 3); /* two lines and the empty rest */
    int64_t when;
    g_assert_cmpint(lines[0][27], ==, ' ');
    lines[0][27] = '\0';
    g_assert_true(clock_parse(lines[0], &when));
    g_assert_cmpint(ABS(when - clock_realtime()), <, 60 * USEC_PER_SEC);
    g_assert_cmpstr(lines[0] + 28, ==,
                    "info    store  \"opened\" path=/var/lib/godwit/state.db epoch=7");
    g_assert_cmpstr(lines[1] + 28, ==,
                    "warning api    \"odd name\" name=\"a\\n2026-11-23T00:00:00.000000Z error x "
                    "\\\"forged\\\"\" "
                    "empty=\"\" bytes=\"\\xff\\u{1}é\"");
}

static void
test_log_level(void)
{
    LogLevel level = LOG_LEVEL_INFO;
    g_assert_true(log_level_parse("WARNING", &level));
    g_assert_cmpint(level, ==, LOG_LEVEL_WARNING);
    g_assert_false(log_level_parse("loud", &level));
}

#define LOG_THREADS 4
#define LOG_LINES   500

static void
log_many(void *opaque)
{
    for (int i = 0; i < LOG_LINES; i++)
        log_event(LOG_LEVEL_INFO, "base", "from a thread", "thread", (const char *)opaque, NULL);
}

static void
log_from_threads(void *opaque)
{
    static char names[LOG_THREADS][2] = {"a", "b", "c", "d"};
    pthread_t threads[LOG_THREADS];
    for (size_t i = 0; i < LOG_THREADS; i++)
        threads[i] = thread_start("log", log_many, names[i]);
    for (size_t i = 0; i < LOG_THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void
test_log_threads(void)
{
    g_autofree char *text = stderr_of(log_from_threads, NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_assert_cmpuint(g_strv_length(lines), ==, LOG_THREADS * LOG_LINES + 1);
    for (size_t i = 0; i < LOG_THREADS * LOG_LINES; i++)
        g_assert_true(g_regex_match_simple(
            "^\\S{27} info    base   \"from a thread\" thread=[a-d]$", lines[i], 0, 0));
}

/* ---- clock ----------------------------------------------------------------------------------- */
static void
test_clock_text(void)
{
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-23T03:45:29Z", INT64_C(1795405529000000)},
        {"2026-11-23T03:45:29", INT64_C(1795405529000000)},
        {"2026-11-23 03:45:29", INT64_C(1795405529000000)},
        {"2026-11-23T03:45:29.5Z", INT64_C(1795405529500000)},
        {"2026-11-23T03:45:29.123456789Z", INT64_C(1795405529123456)},
        {"2026-11-23T05:45:29+02:00", INT64_C(1795405529000000)},
        {"2026-11-22T22:15:29.000001-0530", INT64_C(1795405529000001)},
        {"2026-11-23T05:45:29+02", INT64_C(1795405529000000)},
        {"2026-11-23", INT64_C(1795392000000000)},
        {"2026-11-23T03:45Z", INT64_C(1795405500000000)},
        {"2024-02-29T00:00:00Z", INT64_C(1709164800000000)},
        {"1969-12-31T23:59:59.5Z", -500000},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        int64_t us = 1;
        g_assert_true(clock_parse(good[i].text, &us));
        g_assert_cmpint(us, ==, good[i].us);
    }
    static const char *const bad[] = {
        "",
        "now",
        "2026-11-23T",
        "2026-13-01",
        "2026-02-29",
        "2026-11-31",
        "2026-11-23T24:00:00Z",
        "2026-11-23T03:60:00Z",
        "2026-11-23T03:45:29.Z",
        "2026-11-23T03:45:29+2",
        "2026-11-23T03:45:29Zx",
        "2026-11-23T03:45:29+02:",
        "26-11-23",
        "2026-11-23T03:45:29+99:00",
        " 2026-11-23",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        int64_t us;
        if (clock_parse(bad[i], &us))
            g_error("\"%s\" was accepted", bad[i]);
    }
    g_assert_false(clock_parse(NULL, &(int64_t){0}));

    g_autofree char *plain = clock_format(INT64_C(1795405529123456), false);
    g_autofree char *micros = clock_format(INT64_C(1795405529000042), true);
    g_autofree char *early = clock_format(-500000, true);
    g_assert_cmpstr(plain, ==, "2026-11-23T03:45:29Z");
    g_assert_cmpstr(micros, ==, "2026-11-23T03:45:29.000042Z");
    g_assert_cmpstr(early, ==, "1969-12-31T23:59:59.500000Z");
}

static void
test_cond_deadline(void)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t cond;
    cond_init_monotonic(&cond);
    int64_t start = clock_monotonic();
    {
        WITH_MUTEX(&mutex);
        while (cond_wait_until(&cond, &mutex, start + 20 * USEC_PER_MSEC))
            ;
        g_assert_cmpint(clock_monotonic(), >=, start + 20 * USEC_PER_MSEC);
        g_assert_false(cond_wait_until(&cond, &mutex, 0));
    }
    g_assert_cmpint(pthread_mutex_trylock(&mutex), ==, 0); /* the guard let it go */
    pthread_mutex_unlock(&mutex);
    pthread_cond_destroy(&cond);
}

/* ---- threads --------------------------------------------------------------------------------- */
typedef struct ThreadFacts {
    size_t stack;
    char name[16];
    bool term_blocked, segv_blocked;
} ThreadFacts;

static void
thread_look(void *opaque)
{
    ThreadFacts *facts = opaque;
    pthread_attr_t attr;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstacksize(&attr, &facts->stack);
    pthread_attr_destroy(&attr);
    pthread_getname_np(pthread_self(), facts->name, sizeof facts->name);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    facts->term_blocked = sigismember(&mask, SIGTERM) == 1;
    facts->segv_blocked = sigismember(&mask, SIGSEGV) == 1;
}

static void
test_thread(void)
{
    ThreadFacts facts = {0};
    pthread_join(thread_start("a-name-that-is-too-long", thread_look, &facts), NULL);
    g_assert_cmpuint(facts.stack, <=, 2 * 1024 * 1024);
    g_assert_cmpstr(facts.name, ==, "a-name-that-is-");
    g_assert_true(facts.term_blocked);
    g_assert_false(facts.segv_blocked);
}

/* ---- mailbox --------------------------------------------------------------------------------- */
static bool
fd_is_readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}

static void
test_mailbox_bounds(void)
{
    g_autoptr(Mailbox) box = mailbox_new(2, g_free);
    g_assert_null(mailbox_try_receive(box));
    g_assert_false(fd_is_readable(mailbox_fd(box)));
    g_assert_true(mailbox_send(box, g_strdup("one")));
    g_assert_true(mailbox_send(box, g_strdup("two")));
    g_assert_false(mailbox_send(box, g_strdup("three")));
    g_assert_cmpuint(mailbox_refused(box), ==, 1);
    g_assert_true(fd_is_readable(mailbox_fd(box)));
    g_autofree char *one = mailbox_receive(box, INT64_MAX);
    g_assert_cmpstr(one, ==, "one");
    g_assert_true(fd_is_readable(mailbox_fd(box)));
    mailbox_close(box);
    g_assert_false(mailbox_send(box, g_strdup("late")));
    g_autofree char *two = mailbox_receive(box, INT64_MAX);
    g_assert_cmpstr(two, ==, "two");
    g_assert_null(mailbox_receive(box, INT64_MAX));
    g_assert_true(mailbox_is_closed(box));
    g_assert_true(fd_is_readable(mailbox_fd(box)));
}

static void
test_mailbox_deadline(void)
{
    g_autoptr(Mailbox) box = mailbox_new(1, g_free);
    int64_t deadline = clock_monotonic() + 20 * USEC_PER_MSEC;
    g_assert_null(mailbox_receive(box, deadline));
    g_assert_cmpint(clock_monotonic(), >=, deadline);
    g_assert_true(mailbox_send(box, g_strdup("left for mailbox_free")));
}

#define SENDERS   8
#define SENT_EACH 2000

static void
mailbox_flood(void *opaque)
{
    for (int i = 0; i < SENT_EACH;) {
        if (mailbox_send(opaque, g_memdup2(&i, sizeof i)))
            i++;
        else
            g_usleep(50);
    }
}

static void
test_mailbox_threads(void)
{
    g_autoptr(Mailbox) box = mailbox_new(64, g_free);
    pthread_t senders[SENDERS];
    for (size_t i = 0; i < SENDERS; i++)
        senders[i] = thread_start("sender", mailbox_flood, box);
    int64_t sum = 0;
    for (int i = 0; i < SENDERS * SENT_EACH; i++) {
        /* By turns through poll and through the condition: both ways must see every message. */
        if (i % 2 == 0) {
            struct pollfd poll_fd = {.fd = mailbox_fd(box), .events = POLLIN};
            g_assert_cmpint(poll(&poll_fd, 1, 30000), ==, 1);
        }
        g_autofree int *message = mailbox_receive(box, clock_monotonic() + 30 * USEC_PER_SEC);
        g_assert_nonnull(message);
        sum += *message;
    }
    for (size_t i = 0; i < SENDERS; i++)
        pthread_join(senders[i], NULL);
    g_assert_cmpint(sum, ==, (int64_t)SENDERS * SENT_EACH * (SENT_EACH - 1) / 2);
    g_assert_false(fd_is_readable(mailbox_fd(box)));
}

/* ---- fault points ---------------------------------------------------------------------------- */
static void
test_fault_kills_at_k(void)
{
    int ends[2];
    g_assert_cmpint(pipe(ends), ==, 0);
    pid_t child = fork();
    if (child == 0) {
        fault_point("unarmed");
        fault_arm(3);
        for (char i = 1; i < 10; i++) {
            fault_point("armed");
            if (write(ends[1], &i, 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    close(ends[1]);
    int status;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGKILL);
    char seen[16];
    g_assert_cmpint(read(ends[0], seen, sizeof seen), ==, 2);
    close(ends[0]);
}

static void
test_fault_counts(void)
{
    fault_arm(UINT64_MAX);
    fault_point("a");
    fault_point("b");
    g_assert_cmpuint(fault_passed(), ==, 2);
    fault_arm(0);
    fault_point("c");
    g_assert_cmpuint(fault_passed(), ==, 0);
}

static void
test_fault_environment(void)
{
    g_autofree char *path = g_strdup_printf("%s/godwit-fault-%d", g_get_tmp_dir(), (int)getpid());
    pid_t child = fork();
    if (child == 0) {
        g_setenv("GODWIT_FAULT_AT", "2", TRUE);
        g_setenv("GODWIT_FAULT_LOG", path, TRUE);
        fault_init_from_env();
        fault_point("one");
        fault_point("two");
        fault_point("three");
        _exit(0);
    }
    int status;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFSIGNALED(status));
    g_autofree char *log = NULL;
    g_assert_true(file_read_bounded(path, 100, &log, NULL, NULL));
    g_assert_cmpstr(log, ==, "one\ntwo\n");
    unlink(path);
}

/* ---- identifiers, numbers, text -------------------------------------------------------------- */
static void
test_uuid(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (int i = 0; i < 1000; i++) {
        char *uuid = uuid_new();
        g_assert_true(uuid_is_valid(uuid));
        g_assert_cmpint(uuid[14], ==, '4');
        g_assert_true(g_hash_table_add(seen, uuid));
    }
    g_assert_false(uuid_is_valid(NULL));
    g_assert_false(uuid_is_valid(""));
    g_assert_false(uuid_is_valid("../../../../../../../../../etc/passw"));
    g_assert_false(uuid_is_valid("0A8D2B1C-3456-4789-8abc-0123456789ab"));
    g_assert_false(uuid_is_valid("0a8d2b1c-3456-4789-8abc-0123456789ab "));
    g_assert_false(uuid_is_valid("0a8d2b1c03456-4789-8abc-0123456789ab"));
    g_assert_true(uuid_is_valid("0a8d2b1c-3456-4789-8abc-0123456789ab"));
}

static void
test_random_token(void)
{
    g_autofree char *a = random_token(32);
    g_autofree char *b = random_token(32);
    g_assert_cmpuint(strlen(a), ==, 43);
    g_assert_cmpstr(a, !=, b);
    g_assert_true(g_regex_match_simple("^[A-Za-z0-9_-]{43}$", a, 0, 0));
    for (size_t size = 1; size < 40; size++) {
        g_autofree char *token = random_token(size);
        g_assert_cmpuint(strlen(token), ==, (size * 8 + 5) / 6);
    }
}

static void
test_parse_numbers(void)
{
    int64_t number = 0;
    g_assert_true(parse_int64("42", 0, 100, &number));
    g_assert_cmpint(number, ==, 42);
    g_assert_true(parse_int64("-9223372036854775808", INT64_MIN, INT64_MAX, &number));
    g_assert_cmpint(number, ==, INT64_MIN);
    static const char *const bad[] = {
        "", " 1", "1 ", "+1", "0x10", "1e3", "-", "9223372036854775808", "101", "-1"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        if (parse_int64(bad[i], 0, 100, &number))
            g_error("\"%s\" was accepted", bad[i]);
    }
    bool truth = false;
    g_assert_true(parse_bool("Yes", &truth));
    g_assert_true(truth);
    g_assert_true(parse_bool("off", &truth));
    g_assert_false(truth);
    g_assert_false(parse_bool("2", &truth));
    g_assert_false(parse_bool(NULL, &truth));
}

static void
test_text_is_clean(void)
{
    g_assert_true(text_is_clean("Grüße 🐦", 100, false));
    g_assert_true(text_is_clean("", 100, true));
    g_assert_false(text_is_clean("", 100, false));
    g_assert_false(text_is_clean("abc", 2, false));
    g_assert_true(text_is_clean("abc", 3, false));
    g_assert_false(text_is_clean("a\nb", 100, false));
    g_assert_false(text_is_clean("a\x7f", 100, false));
    g_assert_false(text_is_clean("a\xc2\x85", 100, false));
    g_assert_false(text_is_clean("a\xff", 100, false));
    g_assert_false(text_is_clean("user\u202egpj.exe", 100, false));
    g_assert_false(text_is_clean(NULL, 100, true));
}

/* ---- files and processes --------------------------------------------------------------------- */
static void
test_file(void)
{
    g_autofree char *directory = g_dir_make_tmp("godwit-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(directory, "secret", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_true(file_write_atomically(path, "first", 5, 0600, &error));
    g_assert_true(file_write_atomically(path, "a\0b", 3, 0600, &error));
    struct stat info;
    g_assert_cmpint(stat(path, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 07777, ==, 0600);

    g_autofree char *contents = NULL;
    size_t size = 0;
    g_assert_true(file_read_bounded(path, 3, &contents, &size, &error));
    g_assert_cmpmem(contents, size, "a\0b", 3);
    char *too_much = NULL;
    g_assert_false(file_read_bounded(path, 2, &too_much, NULL, &error));
    g_assert_true(err_is(error, ERR_INVALID));
    g_clear_error(&error);
    unlink(path);
    g_assert_false(file_read_bounded(path, 2, &too_much, NULL, &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
    g_clear_error(&error);
    g_assert_cmpint(rmdir(directory), ==, 0); /* no temporary file was left */
    g_assert_false(file_write_atomically(path, "x", 1, 0600, &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
}

static int64_t
in_seconds(int64_t seconds)
{
    return clock_monotonic() + seconds * USEC_PER_SEC;
}

static void
test_process_output(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *output = NULL;
    g_assert_true(process_run((const char *[]){"printf", "%s|%s", "a b", "$(id)", NULL},
                              in_seconds(20), &output, &error));
    g_assert_cmpstr(output, ==, "a b|$(id)");
    g_assert_true(process_run((const char *[]){"true", NULL}, INT64_MAX, NULL, &error));

    g_autofree char *large = NULL;
    g_assert_true(process_run((const char *[]){"head", "-c", "3000000", "/dev/zero", NULL},
                              in_seconds(20), &large, &error));
    g_autofree char *input = NULL;
    g_assert_true(process_run((const char *[]){"cat", NULL}, in_seconds(20), &input, &error));
    g_assert_cmpstr(input, ==, "");
}

static void
test_process_failures(void)
{
    g_autoptr(GError) error = NULL;
    char *output = NULL;
    g_assert_false(process_run((const char *[]){"sh", "-c", "echo out; echo why >&2; exit 3", NULL},
                               in_seconds(20), &output, &error));
    g_assert_cmpstr(error->message, ==, "sh ended with status 3: why");
    g_assert_null(output);
    g_clear_error(&error);

    g_assert_false(process_run((const char *[]){"godwit-no-such-program", NULL}, in_seconds(20),
                               NULL, &error));
    g_assert_true(err_is(error, ERR_NOT_FOUND));
    g_clear_error(&error);

    g_assert_false(process_run((const char *[]){"sh", "-c", "kill -TERM $$", NULL}, in_seconds(20),
                               NULL, &error));
    g_assert_true(err_is(error, ERR_BACKEND));
    g_assert_nonnull(strstr(error->message, "signal 15"));
    g_clear_error(&error);

    g_assert_false(
        process_run((const char *[]){"cat", "/dev/zero", NULL}, in_seconds(20), &output, &error));
    g_assert_nonnull(strstr(error->message, "more than 4 MiB"));
}

static void
test_process_deadline(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_strdup_printf("%s/godwit-pid-%d", g_get_tmp_dir(), (int)getpid());
    int64_t start = clock_monotonic();
    /* It complains faster than anybody reads. */
    g_assert_false(process_run((const char *[]){"sh", "-c", "exec cat /dev/zero >&2", NULL},
                               start + 300 * USEC_PER_MSEC, NULL, &error));
    g_assert_true(err_is(error, ERR_TIMEOUT));
    g_clear_error(&error);
    start = clock_monotonic();
    /* The grandchild must go too. */
    g_assert_false(
        process_run((const char *[]){"sh", "-c", "sleep 600 & echo $! > \"$0\"; wait", path, NULL},
                    start + 300 * USEC_PER_MSEC, NULL, &error));
    g_assert_true(err_is(error, ERR_TIMEOUT));
    g_assert_cmpint(clock_monotonic() - start, <, 20 * USEC_PER_SEC);
    g_autofree char *text = NULL;
    int64_t grandchild;
    g_assert_true(file_read_bounded(path, 30, &text, NULL, NULL));
    g_assert_true(parse_int64(g_strchomp(text), 2, INT32_MAX, &grandchild));
    unlink(path);
    /* It may stay a zombie until its new parent looks: gone, or dead. */
    g_autofree char *status_path = g_strdup_printf("/proc/%d/stat", (int)grandchild);
    for (int i = 0; i < 100; i++) {
        g_autofree char *status = NULL;
        if (!file_read_bounded(status_path, 4096, &status, NULL, NULL) ||
            strstr(status, ") Z") != NULL)
            return;
        g_usleep(20000);
    }
    g_error("process %d outlived the deadline", (int)grandchild);
}

static void
test_process_background(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *output = NULL;
    int64_t start = clock_monotonic();
    /* Somebody keeps the pipe open after the child's end: the call returns all the same. */
    g_assert_true(process_run((const char *[]){"sh", "-c", "sleep 30 & echo $!", NULL},
                              in_seconds(20), &output, &error));
    g_assert_cmpint(clock_monotonic() - start, <, 15 * USEC_PER_SEC);
    int64_t left;
    g_assert_true(parse_int64(g_strchomp(output), 2, INT32_MAX, &left));
    kill((pid_t)left, SIGKILL);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/error", test_error);
    g_test_add_func("/base/log/format", test_log_format);
    g_test_add_func("/base/log/level", test_log_level);
    g_test_add_func("/base/log/threads", test_log_threads);
    g_test_add_func("/base/clock/text", test_clock_text);
    g_test_add_func("/base/clock/deadline", test_cond_deadline);
    g_test_add_func("/base/thread", test_thread);
    g_test_add_func("/base/mailbox/bounds", test_mailbox_bounds);
    g_test_add_func("/base/mailbox/deadline", test_mailbox_deadline);
    g_test_add_func("/base/mailbox/threads", test_mailbox_threads);
    g_test_add_func("/base/fault/kills", test_fault_kills_at_k);
    g_test_add_func("/base/fault/counts", test_fault_counts);
    g_test_add_func("/base/fault/environment", test_fault_environment);
    g_test_add_func("/base/uuid", test_uuid);
    g_test_add_func("/base/token", test_random_token);
    g_test_add_func("/base/numbers", test_parse_numbers);
    g_test_add_func("/base/text", test_text_is_clean);
    g_test_add_func("/base/file", test_file);
    g_test_add_func("/base/process/output", test_process_output);
    g_test_add_func("/base/process/failures", test_process_failures);
    g_test_add_func("/base/process/deadline", test_process_deadline);
    g_test_add_func("/base/process/background", test_process_background);
    return g_test_run();
}
