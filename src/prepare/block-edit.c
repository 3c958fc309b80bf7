/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-edit.c: keeps one marked block of lines in a file that belongs to somebody else
 *
 * For files that have no keys to set, such as authorized_keys: what stands between the two marker
 * lines is ours, all else is not. */
#include "prepare/prepare-priv.h"

#include <string.h>

#define MARK_BEGIN "# BEGIN godwit: written by godwit host prepare, changes here are lost\n"
#define MARK_END   "# END godwit\n"

/* The first line that equals mark at or after from, or NULL. A last line may lack its end. */
static const char *
line_find(const char *from, const char *mark)
{
    size_t length = strlen(mark) - 1;
    for (const char *line = from; line != NULL && *line != '\0';) {
        if (strncmp(line, mark, length) == 0 && (line[length] == '\n' || line[length] == '\0'))
            return line;
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return NULL;
}

static const char *
line_after(const char *line)
{
    const char *end = strchr(line, '\n');
    return end != NULL ? end + 1 : line + strlen(line);
}

char *
block_edit(const char *text, const char *block, bool on_top, GError **err)
{
    const char *begin = line_find(text, MARK_BEGIN);
    const char *end = line_find(begin != NULL ? begin : text, MARK_END);

    if ((begin != NULL) != (end != NULL) ||
        (begin != NULL && line_find(line_after(begin), MARK_BEGIN) != NULL)) {
        err_set(err, ERR_CONFLICT,
                "the lines that mark Godwit's part of the file do not pair up; remove \"%.*s\" and "
                "\"%.*s\" and what is Godwit's between them, then try again",
                (int)strlen("# BEGIN godwit"), MARK_BEGIN, (int)strlen("# END godwit"), MARK_END);
        return NULL;
    }
    const char *head_end = begin != NULL ? begin : on_top ? text : text + strlen(text);
    GString *out = g_string_new_len(text, head_end - text);

    if (block != NULL) {
        if (out->len > 0 && out->str[out->len - 1] != '\n')
            g_string_append_c(out, '\n');
        g_string_append_printf(out, MARK_BEGIN "%s" MARK_END, block);
    }
    g_string_append(out, end != NULL ? line_after(end) : head_end);
    return g_string_free(out, FALSE);
}
