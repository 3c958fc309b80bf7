/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fence-command.c: the operator's own program that makes sure that a node is off
 *
 * It is called once per node and outage, not once per server: whoever comes while it runs waits for
 * its end and takes its result, whoever comes later finds in the store that it has succeeded. That
 * holds until stock is taken of the node again, or another godwitd is at work: that one cannot know
 * what happened before it started, and asking a machine that is off to be off does no harm. */
#include <string.h>

#include "task/fence.h"
#include "task/runner.h"

#define OUTPUT_MOST 500 /* bytes of it that are kept */

typedef struct Call { /* one that is under way */
    char *host;
    bool ended;
    GError *error;    /* NULL: success */
    unsigned waiting; /* who will read it */
} Call;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static GPtrArray *calls; /* Call *, under way; NULL: none yet */

/* ---- what is remembered ------------------------------------------------------------------------
 */

typedef struct Memory {
    const char *host;
    const char *value;
    char *found;
} Memory;

static char *
key_of(const char *host)
{
    return g_strconcat("fence-command:", host, NULL);
}

static bool
read_memory(StoreTx *tx, void *opaque, GError **err)
{
    Memory *memory = opaque;
    g_autofree char *key = key_of(memory->host);

    memory->found = store_meta_get(tx, key, NULL);
    return true;
}

static bool
write_memory(StoreTx *tx, void *opaque, GError **err)
{
    Memory *memory = opaque;
    g_autofree char *key = key_of(memory->host);

    return store_meta_set(tx, key, memory->value, err);
}

static bool
was_called(Store *store, const char *host, const char *value)
{
    Memory memory = {.host = host};
    bool same =
        store_read(store, read_memory, &memory, NULL) && g_strcmp0(memory.found, value) == 0;

    g_free(memory.found);
    return same;
}

bool
fence_command_forget(TaskEngine *engine, const char *host, GError **err)
{
    Memory memory = {.host = host, .value = ""};
    bool ok = store_read(engine_store(engine), read_memory, &memory, err);
    bool is_set = ok && memory.found && *memory.found;

    g_free(memory.found);
    return ok && (!is_set || store_write(engine_store(engine), write_memory, &memory, err));
}

/* ---- the call ----------------------------------------------------------------------------------
 */

/* What it said, for a log line and a record. */
static char *
last_words(const GString *output, const GString *complaint)
{
    const GString *text = complaint->len ? complaint : output;
    const char *start = text->str + (text->len > OUTPUT_MOST ? text->len - OUTPUT_MOST : 0);
    char *words = g_utf8_make_valid(start, -1);

    g_strstrip(words);
    for (char *c = words; *c; c++)
        if (g_ascii_iscntrl(*c))
            *c = ' ';
    return words;
}

static bool
call_program(TaskRun *run, const Host *host, GError **err)
{
    const TaskSettings *settings = run_settings(run);
    const char *address = host->address ? host->address : "";
    const char *const argv[] = {settings->fence_command, host->name, address, NULL};
    g_autoptr(GString) output = g_string_new(NULL), complaint = g_string_new(NULL);
    g_autofree char *words = NULL;
    g_autoptr(GError) error = NULL;
    ProcessTalk talk = {.argv = argv,
                        .cancel_fd = -1,
                        .deadline_us =
                            clock_monotonic() + MAX(settings->fence_timeout_s, 1) * USEC_PER_SEC};
    int status = -1;
    bool ran;

    if (!store_may_act(run_store(run)))
        return err_set(err, ERR_FENCED, "%s is not called: this controller does not hold the lease",
                       argv[0]);
    log_event(LOG_LEVEL_NOTICE, "task", "calling the fence command", "host", host->name, "command",
              argv[0], NULL);
    fault_point("fence.command.before");
    ran = process_talk(&talk, &status, output, complaint, &error);
    fault_point("fence.command.after");
    words = last_words(output, complaint);
    log_event(ran && status == 0 ? LOG_LEVEL_NOTICE : LOG_LEVEL_WARNING, "task",
              ran && status == 0 ? "the fence command says that the node is off"
                                 : "the fence command failed",
              "host", host->name, "command", argv[0], "output", *words ? words : NULL, "reason",
              error ? error->message : NULL, NULL);
    if (ran && status == 0)
        return true;
    /* Its outcome is known well enough: the node is not known to be off. */
    if (!ran)
        return err_set(err, ERR_BACKEND,
                       "%s may still be running: the fence command could not say otherwise (%s); "
                       "look after the node or the command, and evacuate again",
                       host->name, error->message);
    return err_set(err, ERR_BACKEND,
                   "%s may still be running: the fence command %s ended with status %d%s%s; look "
                   "after the node or the command, and evacuate again",
                   host->name, argv[0], status, *words ? ": " : "", words);
}

static void
call_release(Call *call)
{
    if (--call->waiting > 0)
        return;
    g_clear_error(&call->error);
    g_free(call->host);
    g_free(call);
}

static Call *
find_call(const char *host)
{
    for (guint i = 0; calls && i < calls->len; i++) {
        Call *call = g_ptr_array_index(calls, i);

        if (strcmp(call->host, host) == 0)
            return call;
    }
    return NULL;
}

static bool
take_result(Call *call, GError **err)
{
    bool ok = !call->error;

    if (call->error)
        g_propagate_error(err, g_error_copy(call->error));
    call_release(call);
    return ok;
}

/* Make the call, or wait for the one that is under way: its result. err is never NULL here. */
static bool
call_or_wait(TaskRun *run, const Host *host, bool *made, GError **err)
{
    g_autofree char *value = g_strdup_printf("%" PRId64, store_epoch(run_store(run)));
    Memory memory = {.host = host->name, .value = value};
    Call *call;
    GError *error = NULL;
    WITH_MUTEX(&mutex);

    call = find_call(host->name);
    if (call) {
        call->waiting++;
        while (!call->ended)
            pthread_cond_wait(&changed, &mutex);
        return take_result(call, err);
    }
    if (was_called(run_store(run), host->name, value))
        return true;
    call = g_new0(Call, 1);
    call->host = g_strdup(host->name);
    call->waiting = 1;
    if (!calls)
        calls = g_ptr_array_new();
    g_ptr_array_add(calls, call);
    pthread_mutex_unlock(&mutex);
    *made = true;
    if (call_program(run, host, &error))
        store_write(run_store(run), write_memory, &memory, &error);
    pthread_mutex_lock(&mutex);
    g_ptr_array_remove(calls, call);
    call->error = error;
    call->ended = true;
    pthread_cond_broadcast(&changed);
    return take_result(call, err);
}

bool
fence_command_run(TaskRun *run, const Host *host, GError **err)
{
    const char *command = run_settings(run)->fence_command;
    int64_t began = clock_monotonic();
    bool made = false;
    json_t *report;

    if (!command || !*command)
        return true;
    report = json_pack("{s:s, s:b}", "program", command, "done", 0);
    json_object_set_new(fence_report(run), "command", report);
    if (!call_or_wait(run, host, &made, err)) {
        json_object_set_new(report, "error", json_string((*err)->message));
        return false;
    }
    json_object_set_new(report, "done", json_true());
    json_object_set_new(report, "called", json_boolean(made));
    fence_report_time(run, "command", began);
    return true;
}
