/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* conf-revert.c: takes Godwit's settings out of a text again and leaves later hand edits in
 *
 * Only the keys that Godwit sets are looked at. Each gets what the original had: its value, in the
 * line where the key stands now; its line, where that was made a comment; or no line. Nothing else
 * is touched, so what somebody added between two runs, or since, stays. Where nobody did, the
 * result is the original to the byte. */
#include "prepare/conf-scan.h"

#include <string.h>

typedef struct Revert {
    const char *now, *original;
    GPtrArray *now_statements, *original_statements;
    GPtrArray *edits;
} Revert;

static size_t
line_length(const char *text, size_t at)
{
    return line_next(text, at) - at;
}

/* So many whole lines of text before end are equal to the one at line. */
static unsigned
lines_like(const char *text, size_t end, const char *line, size_t length)
{
    unsigned n = 0;
    for (size_t at = 0; at < end && text[at] != '\0'; at = line_next(text, at))
        n += line_length(text, at) == length && strncmp(text + at, line, length) == 0;
    return n;
}

static bool
is_taken(const Revert *revert, size_t at)
{
    for (unsigned i = 0; i < revert->edits->len; i++) {
        const Edit *edit = g_ptr_array_index(revert->edits, i);
        if (edit->at == at && edit->remove > 0)
            return true;
    }
    return false;
}

/* The statement of the original with mark before each of its lines, without the last line end. */
static char *
marked_text(const char *original, const Statement *statement, const char *mark)
{
    GString *out = g_string_new(NULL);

    for (size_t at = statement->lines.start; at < statement->lines.end;
         at = line_next(original, at)) {
        g_string_append(out, mark);
        g_string_append_len(out, original + at, (gssize)line_length(original, at));
    }
    while (out->len > 0 && is_line_end(out->str[out->len - 1]))
        g_string_truncate(out, out->len - 1);
    return g_string_free(out, FALSE);
}

/* Where a statement of the original was made a comment, the mark is taken away. */
static bool
unmark(Revert *revert, const Statement *statement, const char *mark)
{
    g_autofree char *marked = marked_text(revert->original, statement, mark);
    size_t length = strlen(marked), first_line = strcspn(marked, "\r\n");
    /* The same comment may have stood there before: those come first in both texts. */
    unsigned skip = 0;

    for (size_t at = 0; at < statement->lines.start; at = line_next(revert->original, at)) {
        const char *line = revert->original + at;
        skip += strncmp(line, marked, first_line) == 0 &&
                (line[first_line] == '\0' || is_line_end(line[first_line]));
    }
    for (size_t at = 0; revert->now[at] != '\0'; at = line_next(revert->now, at)) {
        const char *line = revert->now + at;
        if (strncmp(line, marked, length) != 0 ||
            (line[length] != '\0' && !is_line_end(line[length])) || is_taken(revert, at) ||
            conf_inside_statement(revert->now_statements, at))
            continue;
        if (skip > 0) {
            skip--;
            continue;
        }
        for (size_t part = at; part < at + length; part = line_next(revert->now, part))
            edit_add(revert->edits, part, strlen(mark), g_strdup(""));
        return true;
    }
    return false;
}

static bool
unmark_any(Revert *revert, const Statement *statement, const ConfKey *key)
{
    return unmark(revert, statement, DUPLICATE_COMMENT) ||
           (key->unset && unmark(revert, statement, "#"));
}

/* Comments that Godwit made of lines that the original did not have. *place: where the last was. */
static void
comments_remove(Revert *revert, const ConfKey *key, Edit **place)
{
    const size_t mark = strlen(DUPLICATE_COMMENT);
    const char *now = revert->now;
    bool inside = false; /* a list that goes on over several lines */

    *place = NULL;
    for (size_t at = 0; now[at] != '\0'; at = line_next(now, at)) {
        size_t length = line_length(now, at);
        bool duplicate = strncmp(now + at, DUPLICATE_COMMENT, mark) == 0;
        const char *rest = now + at + mark + (duplicate ? strspn(now + at + mark, " \t") : 0);
        size_t word = duplicate ? strcspn(rest, "= \t\r\n") : 0;
        bool statement = duplicate && rest[word + strspn(rest + word, " \t")] == '=';
        bool ours =
            duplicate &&
            (statement ? word == strlen(key->key) && strncmp(rest, key->key, word) == 0 : inside);
        inside = ours;
        ours = ours || (key->unset && conf_is_commented(now + at, key->key, false));
        if (!ours || is_taken(revert, at) || conf_inside_statement(revert->now_statements, at) ||
            lines_like(now, at, now + at, length) <
                lines_like(revert->original, SIZE_MAX, now + at, length))
            continue;
        edit_add(revert->edits, at, length, g_strdup(""));
        *place = g_ptr_array_index(revert->edits, revert->edits->len - 1);
    }
}

static void
lines_remove(Revert *revert, const char *key)
{
    for (unsigned i = 0; i < revert->now_statements->len; i++) {
        const Statement *statement = g_ptr_array_index(revert->now_statements, i);
        if (g_str_equal(statement->key, key))
            edit_add(revert->edits, statement->lines.start,
                     statement->lines.end - statement->lines.start, g_strdup(""));
    }
}

/* The original's line where there is none now; in the place of what Godwit made a comment of. */
static void
line_insert(Revert *revert, const Statement *was, Edit *place)
{
    size_t at = conf_place_of(revert->now, revert->now_statements, was->key);
    bool open = at > 0 && !is_line_end(revert->now[at - 1]);
    const char *end = strstr(revert->now, "\r\n") != NULL ? "\r\n" : "\n";
    GString *line = g_string_new(open && place == NULL ? end : NULL);

    g_string_append_len(line, revert->original + was->lines.start,
                        (gssize)(was->lines.end - was->lines.start));
    if (!is_line_end(line->str[line->len - 1]))
        g_string_append(line, end);
    if (place == NULL) {
        edit_add(revert->edits, at, 0, g_string_free(line, FALSE));
        return;
    }
    g_free(place->insert);
    place->insert = g_string_free(line, FALSE);
}

static void
key_revert(Revert *revert, const ConfKey *key)
{
    const Statement *was = statement_find(revert->original_statements, key->key);
    const Statement *is = statement_find(revert->now_statements, key->key);
    bool back = false;
    Edit *place;

    for (unsigned i = 0; i < revert->original_statements->len; i++) {
        const Statement *statement = g_ptr_array_index(revert->original_statements, i);
        if (g_str_equal(statement->key, key->key) && unmark_any(revert, statement, key))
            back = back || statement == was;
    }
    comments_remove(revert, key, &place);
    if (was == NULL || back)
        lines_remove(revert, key->key);
    else if (is == NULL)
        line_insert(revert, was, place);
    else
        edit_add(revert->edits, is->value.start, is->value.end - is->value.start,
                 g_strndup(revert->original + was->value.start, was->value.end - was->value.start));
}

/* A last line that had no end got one when something was put behind it. */
static char *
end_as_before(char *text, const char *original)
{
    size_t length = strlen(original), more;

    if (!g_str_has_prefix(text, original))
        return text;
    more = strlen(text) - length;
    if (more > 0 && strspn(text + length, "\r\n") == more && more <= 2)
        text[length] = '\0';
    return text;
}

char *
conf_revert(const char *now, const char *original, const ConfKey *keys, GError **err)
{
    g_autoptr(GPtrArray) now_statements = statements_of(now, err);
    g_autoptr(GPtrArray) original_statements =
        now_statements != NULL ? statements_of(original, err) : NULL;
    g_autoptr(GPtrArray) edits = g_ptr_array_new_with_free_func(edit_free);
    Revert revert = {now, original, now_statements, original_statements, edits};

    if (original_statements == NULL)
        return NULL;
    for (const ConfKey *key = keys; key->key != NULL; key++)
        key_revert(&revert, key);
    return end_as_before(edits_apply(now, edits), original);
}

/* ---- by path -----------------------------------------------------------------------------------
 */

static bool
is_ssh_file(const char *path)
{
    return g_str_has_suffix(path, "/.ssh/known_hosts") ||
           g_str_has_suffix(path, "/.ssh/authorized_keys") ||
           g_str_has_suffix(path, "/.ssh/config");
}

static const ConfKey *
keys_of(const char *path)
{
    return g_str_equal(path, "/etc/libvirt/qemu.conf")         ? conf_keys_qemu
           : g_str_equal(path, "/etc/libvirt/libvirtd.conf")   ? conf_keys_libvirtd
           : g_str_equal(path, "/etc/libvirt/virtproxyd.conf") ? conf_keys_libvirtd
                                                               : NULL;
}

bool
file_is_shared(const char *path)
{
    return keys_of(path) != NULL || is_ssh_file(path);
}

char *
file_revert(const char *path, const char *now, const char *original, GError **err)
{
    const ConfKey *keys = keys_of(path);
    char *text;

    if (keys != NULL)
        return conf_revert(now, original, keys, err);
    text = block_edit(now, NULL, false, err);
    return text != NULL ? end_as_before(text, original) : NULL;
}
