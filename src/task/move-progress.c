/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move-progress.c: statistics of a running move, for people, and the downtime limit, for the guest
 *
 * Off the task's thread: in the moment of the switch a node may take its time to answer, and that
 * is just when the task must hear the destination's "resumed" at once. The end of a move is never
 * concluded from here. */
#include "task/move.h"

typedef struct Reading {
    TaskEngine *engine;
    Store *store;
    Hosts *hosts;
    char *host, *uuid;
    int64_t task_id, migration_id, iteration, limit_ms, ceiling_ms;
    JobStats stats;
} Reading;

static void
reading_free(Reading *reading)
{
    g_free(reading->host);
    g_free(reading->uuid);
    g_free(reading);
}

static bool
write_progress(StoreTx *tx, void *opaque, GError **err)
{
    Reading *reading = opaque;
    const JobStats *stats = &reading->stats;
    g_autoptr(Migration) row = store_get_int(tx, &MIGRATION, reading->migration_id, err);
    MovePrediction rest;

    if (!row)
        return false;
    if (row->status != MIGRATION_RUNNING)
        return true; /* it ended while we asked */
    row->memory_total = MAX(stats->memory_total, 0);
    row->memory_processed = MAX(stats->memory_processed, 0);
    row->memory_remaining = MAX(stats->memory_remaining, 0);
    row->memory_bps = MAX(stats->memory_bps, 0);
    row->dirty_bps = MAX(stats->dirty_bps, 0);
    row->iterations = MAX(stats->iteration, row->iterations);
    row->disk_total = MAX(stats->disk_total, 0);
    row->disk_processed = MAX(stats->disk_processed, 0);
    row->disk_remaining = MAX(stats->disk_remaining, 0);
    row->downtime_limit_ms = reading->limit_ms;
    if (row->memory_bps > 0) {
        rest =
            predict_move(row->memory_remaining, row->memory_bps, row->dirty_bps, reading->limit_ms);
        row->eta_ms = rest.converges ? rest.total_ms : -1;
        if (!row->predicted_ms && rest.converges) {
            row->predicted_ms = MAX(stats->elapsed_ms, 0) + rest.total_ms;
            row->predicted_downtime_ms = rest.downtime_ms;
        }
    }
    row->updated_at = clock_realtime();
    return store_update(tx, &MIGRATION, row, err);
}

static void
read_progress_thread(void *opaque)
{
    Reading *reading = opaque;
    RunMessage *message = g_new0(RunMessage, 1);
    int64_t deadline = DEADLINE_CONTROL;

    message->kind = RUN_PROGRESS;
    if (host_job_stats(reading->hosts, reading->host, reading->uuid, false, &reading->stats,
                       deadline, &message->error)) {
        message->job_active = reading->stats.active;
        if (reading->stats.active)
            message->memory_processed = reading->stats.memory_processed;
        if (reading->stats.active && reading->iteration >= 0) {
            int64_t next =
                downtime_next_limit(reading->limit_ms, reading->ceiling_ms, reading->iteration,
                                    reading->stats.memory_remaining, reading->stats.memory_bps);

            /* A limit that cannot be set any more is no loss: the move is over, or goes on with the
             * old one. */
            if (next > reading->limit_ms && host_set_downtime(reading->hosts, reading->host,
                                                              reading->uuid, next, deadline, NULL))
                reading->limit_ms = next;
        }
        if (reading->stats.active)
            store_write(reading->store, write_progress, reading, NULL); /* only for show */
    }
    message->downtime_limit_ms = reading->limit_ms;
    engine_post(reading->engine, reading->uuid, reading->task_id, message);
    reading_free(reading);
}

void
move_read_progress(TaskRun *run, Move *move, int64_t iteration)
{
    Reading *reading;

    if (move->progress_busy)
        return;
    move->progress_busy = true;
    reading = g_new0(Reading, 1);
    reading->engine = run->engine;
    reading->store = run_store(run);
    reading->hosts = run_hosts(run);
    reading->host = g_strdup(move->migration->source_host);
    reading->uuid = g_strdup(run->task->server_id);
    reading->task_id = run->task->id;
    reading->migration_id = move->migration->id;
    reading->iteration = iteration;
    reading->limit_ms = move->downtime_limit_ms;
    reading->ceiling_ms = run_settings(run)->libvirt->downtime_ms;
    engine_start_helper(run->engine, "progress", read_progress_thread, reading);
}
