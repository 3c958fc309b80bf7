/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* conf-scan.h: the statements of one of libvirt's configuration files, and where they stand */
#pragma once

#include "prepare/prepare-priv.h"

/* Before a second setting of a key, which libvirt would never look at. */
#define DUPLICATE_COMMENT "#duplicate: "

typedef struct Span {
    size_t start, end; /* bytes of the text */
} Span;

typedef struct Statement {
    char *key;
    char *canonical; /* equal for equal values, however they are written */
    Span value;
    Span lines; /* whole lines, line end included */
    unsigned line;
} Statement;

/* GPtrArray of Statement *, in the order of the text; ERR_INVALID names the line that libvirt could
 * not read. */
GPtrArray *statements_of(const char *text, GError **err);
/* The first of that key, which is the one that libvirt obeys; or NULL. */
Statement *statement_find(const GPtrArray *statements, const char *key);
/* Of one value, as a file writes it. */
char *canonical_of(const char *value, GError **err);
/* Where the line behind this place begins. */
size_t line_next(const char *text, size_t at);

static inline bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static inline bool
is_line_end(char c)
{
    return c == '\n' || c == '\r';
}

/* ---- changes of a text (conf-edit.c) ---------------------------------------------------------*/

typedef struct Edit {
    size_t at, remove; /* bytes of the text as it was */
    char *insert;
    unsigned order; /* of insertions at one place */
} Edit;

void edit_free(void *opaque);
/* edits: GPtrArray of Edit *. insert is taken over. */
void edit_add(GPtrArray *edits, size_t at, size_t remove, char *insert);
/* Removals must not overlap; what is inserted at the place of a removal comes first. */
char *edits_apply(const char *text, GPtrArray *edits);

/* Does this line show key = … in a comment? Those without a space after the # are the defaults of
 * the distribution's file; with one it may as well be prose. */
bool conf_is_commented(const char *line, const char *key, bool with_space);
bool conf_inside_statement(const GPtrArray *statements, size_t at);
/* Where a key that is not set yet belongs: behind its last commented default, else at the end. */
size_t conf_place_of(const char *text, const GPtrArray *statements, const char *key);
