/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migration-phases.c: how long each phase of a migration took: kept in the run's state, and from
 * there in the record, so that a restart loses none of it */
#include "task/task-priv.h"

void
phase_add_time(TaskRun *run, const char *phase, int64_t us)
{
    json_t *phases = json_object_get(run->state, "phases");

    if (!phases)
        json_object_set_new(run->state, "phases", phases = json_object());
    json_object_set_new(
        phases, phase,
        json_integer(MAX(us, 0) + json_integer_value(json_object_get(phases, phase))));
}

void
phase_enter(TaskRun *run, const char *first, const char *phase)
{
    const char *last = run_state_text(run, "phase");
    int64_t now = clock_realtime();

    phase_add_time(run, last ? last : first,
                   now - run_state_int(run, "phase_since", run->task->created_at));
    run_set_state_text(run, "phase", phase);
    run_set_state_int(run, "phase_since", now);
}

void
phase_record(TaskRun *run, Migration *row)
{
    json_t *phases = json_object_get(run->state, "phases");

    row->updated_at = clock_realtime();
    if (run_state_text(run, "phase"))
        text_set(&row->phase, run_state_text(run, "phase"));
    if (phases) {
        g_free(row->phases);
        row->phases = json_dumps(phases, JSON_COMPACT);
    }
}
