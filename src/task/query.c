/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* query.c: the synchronous node reads that a request may do */
#include <jansson.h>
#include <string.h>

#include "task/query.h"
#include "task/runner.h"

#define QUERY_DEADLINE (clock_monotonic() + 5 * USEC_PER_SEC)
#define CONSOLE_MAX    ((int64_t)1 << 20)

static void
keep_last_lines(GString *text, int64_t lines)
{
    const char *at = text->str + text->len;

    if (text->len && at[-1] == '\n')
        at--;
    while (at > text->str) {
        const char *before = memrchr(text->str, '\n', (size_t)(at - text->str));

        if (!before)
            return;
        if (--lines == 0) {
            g_string_erase(text, 0, before + 1 - text->str);
            return;
        }
        at = before;
    }
}

/* Each node has the part that was written there. One that does not answer, or has lost its part,
 * leaves a line that says so. */
static void
read_parts(TaskEngine *engine, const Server *server, const char *path, GString *text)
{
    json_t *parts = server->console_parts ? json_loads(server->console_parts, 0, NULL) : NULL,
           *part;
    int64_t deadline = QUERY_DEADLINE;
    size_t i;

    json_array_foreach(parts, i, part)
    {
        const char *host = json_string_value(part);
        g_autoptr(GError) error = NULL;

        if (host && !host_file_read(engine_hosts(engine), host, path, -CONSOLE_MAX, CONSOLE_MAX,
                                    text, deadline, &error))
            g_string_append_printf(text, "[the part of this log on %s cannot be read: %s]\n", host,
                                   error->message);
    }
    json_decref(parts);
}

char *
query_console_log(TaskEngine *engine, const Server *server, int64_t lines, GError **err)
{
    const Storage *storage = engine_storage(engine);
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *path = storage_console_path(storage, server->id);

    if (!server->host) {
        err_set(err, ERR_CONFLICT, "server %s is on no host, so it has no console log", server->id);
        return NULL;
    }
    if (!storage->ops->console_is_shared)
        read_parts(engine, server, path, text);
    /* Negative offset: the end of the file, which on shared storage holds the parts of all nodes in
     * order. */
    else if (!host_file_read(engine_hosts(engine), server->host, path, -CONSOLE_MAX, CONSOLE_MAX,
                             text, QUERY_DEADLINE, err))
        return NULL;
    if (text->len > CONSOLE_MAX)
        g_string_erase(text, 0, (gssize)(text->len - CONSOLE_MAX));
    keep_last_lines(text, lines > 0 ? lines : 1000);
    return g_utf8_make_valid(text->str, (gssize)text->len);
}

bool
query_cpu_compare(TaskEngine *engine, const char *host, const char *model_or_xml, GError **err)
{
    return host_cpu_compare(engine_hosts(engine), host, model_or_xml,
                            engine_settings(engine)->libvirt->virt_type, NULL, QUERY_DEADLINE, err);
}

char *
query_cpu_baseline(TaskEngine *engine, char **limit, GError **err)
{
    return engine_choose_cpu(engine_store(engine), engine_hosts(engine),
                             engine_settings(engine)->libvirt, NULL, limit, err);
}

char *
query_server_cpu(TaskEngine *engine, const Server *server, GError **err)
{
    if (!server->host) {
        err_set(err, ERR_CONFLICT, "server %s is on no host", server->id);
        return NULL;
    }
    return host_domain_cpu(engine_hosts(engine), server->host, server->id, QUERY_DEADLINE, err);
}
