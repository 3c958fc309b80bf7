/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* query.c: the synchronous node reads that a request may do */
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

char *
query_console_log(TaskEngine *engine, const Server *server, int64_t lines, GError **err)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *path = storage_console_path(engine_storage(engine), server->id);

    if (!server->host) {
        err_set(err, ERR_CONFLICT, "server %s is on no host, so it has no console log", server->id);
        return NULL;
    }
    /* Negative offset: the end of the file, which on shared storage holds the parts of all nodes in
     * order. */
    if (!host_file_read(engine_hosts(engine), server->host, path, -CONSOLE_MAX, CONSOLE_MAX, text,
                        QUERY_DEADLINE, err))
        return NULL;
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
