/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-table.h: nodes that are being prepared, or servers that are being rescued, as a table that
 * is drawn again and again */
#pragma once

#include "prepare/prepare.h"

#include <stdio.h>

/* ---- what there is to show (step-table.c): pure ------------------------------------------------
 * Times are monotonic µs, given by the caller. */
typedef struct StepTable StepTable;

/* head: what stands above the names, "HOST". */
StepTable *step_table_new(const char *head, const char *const *hosts, unsigned n);
void step_table_free(StepTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StepTable, step_table_free)

/* An event as PrepareEvents has it; detail: what it says of it, NULL: nothing. */
void step_table_event(StepTable *table, unsigned node, const char *step, StepState state,
                      const char *detail, int64_t now);

/* Lines for a screen of that size, each narrower than it and ended by a line end, fewer than it has
 * rows: where not all nodes fit, those that failed, then those at work, and a line on the rest. */
char *step_table_render(const StepTable *table, unsigned width, unsigned height, int64_t now);

/* The rows that this text takes on a screen of that width, its lines being wrapped. */
unsigned step_table_rows(const char *text, unsigned width);

/* What an event says in one line: of a difference only the file's name. Caller frees; may be NULL.
 */
char *step_detail_line(const char *detail);

/* ---- on a terminal (step-live.c) ---------------------------------------------------------------
 */
typedef struct StepLive StepLive;

/* NULL if out is no terminal that can move its cursor. The table is drawn anew on each event, and
 * once a second for the sake of its times, by a thread of its own. The cursor always stands below
 * the table: whatever ends this process leaves the terminal as it should be. */
StepLive *step_live_new(FILE *out, const char *head, const char *const *hosts, unsigned n);
void step_live_event(StepLive *live, unsigned node, const char *step, StepState state,
                     const char *detail);
/* A line, or several, that stay above the table. */
void step_live_above(StepLive *live, const char *text);
/* Draw the table a last time, leave it there, end the thread. NULL: nothing. */
void step_live_end(StepLive *live);
