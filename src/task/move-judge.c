/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move-judge.c: from what two nodes say about one guest to what that means
 *
 * Once the destination runs, the source must never run again; the source is never destroyed before
 * the destination was seen running; a node that does not answer is not evidence. The destination
 * can only run after the source was stopped for the switch, so a source that runs and never was
 * stopped proves that the destination does not. A guest that was handed over by post-copy runs on
 * the destination and needs the source: both stay until the source is gone by itself. */
#include "task/task-priv.h"

const char *const seen_names[] = {"unreachable",        "gone",     "running",   "moving",
                                  "stopped-for-switch", "incoming", "post-copy", NULL};
const char *const move_verdict_names[] = {
    "in-flight", "switched", "switched-stop-source", "rolled-back", "resume-source", "nowhere",
    "wait",      NULL};

Seen
seen_of(const DomainInfo *info, bool is_source)
{
    if (is_source && info->postcopy)
        return SEEN_POSTCOPY;
    switch (info->state) {
    case DOMAIN_ABSENT:
    case DOMAIN_SHUTOFF:
    case DOMAIN_CRASHED:
        return SEEN_GONE;
    case DOMAIN_PAUSED_INCOMING:
        return SEEN_INCOMING;
    case DOMAIN_PAUSED_MIGRATED:
        return is_source ? SEEN_STOPPED_FOR_SWITCH : SEEN_INCOMING;
    case DOMAIN_RUNNING:
    case DOMAIN_PAUSED:
    case DOMAIN_PAUSED_POSTCOPY_FAILED:
        return is_source && info->job_active ? SEEN_MOVING : SEEN_RUNNING;
    }
    return SEEN_GONE;
}

MoveVerdict
move_judge(Seen source, Seen dest, SwitchBegan began)
{
    if (dest == SEEN_RUNNING || dest == SEEN_MOVING) {
        switch (source) {
        case SEEN_GONE:
            return MOVE_SWITCHED;
        case SEEN_RUNNING:
        case SEEN_STOPPED_FOR_SWITCH:
        case SEEN_INCOMING:
        case SEEN_MOVING:
            return MOVE_SWITCHED_STOP_SOURCE;
        case SEEN_POSTCOPY:
            return MOVE_IN_FLIGHT; /* the guest would not survive the end of its source */
        case SEEN_UNREACHABLE:
            return MOVE_WAIT;
        }
    }
    switch (source) {
    case SEEN_MOVING:
        return MOVE_IN_FLIGHT;
    case SEEN_RUNNING:
        if (dest == SEEN_UNREACHABLE)
            return began == SWITCH_NOT_BEGUN ? MOVE_ROLLED_BACK : MOVE_WAIT;
        return dest == SEEN_INCOMING ? MOVE_IN_FLIGHT : MOVE_ROLLED_BACK;
    case SEEN_STOPPED_FOR_SWITCH:
        if (dest == SEEN_INCOMING)
            return MOVE_IN_FLIGHT;
        return dest == SEEN_GONE ? MOVE_RESUME_SOURCE : MOVE_WAIT;
    case SEEN_POSTCOPY: /* it ran on the destination: it never runs here again */
        if (dest == SEEN_INCOMING)
            return MOVE_IN_FLIGHT;
        return dest == SEEN_GONE ? MOVE_NOWHERE : MOVE_WAIT;
    case SEEN_GONE:
        if (dest == SEEN_GONE)
            return MOVE_NOWHERE;
        return dest == SEEN_INCOMING ? MOVE_IN_FLIGHT : MOVE_WAIT;
    case SEEN_INCOMING:
    case SEEN_UNREACHABLE:
        return MOVE_WAIT;
    }
    return MOVE_WAIT;
}

MoveFinal
move_judge_at_deadline(Seen source, Seen dest, SwitchBegan began)
{
    bool dest_runs = dest == SEEN_RUNNING || dest == SEEN_MOVING;

    if (dest_runs)
        return (MoveFinal){.on_dest = true, .uncertain = source == SEEN_UNREACHABLE};
    if (source == SEEN_GONE ||
        source == SEEN_POSTCOPY) /* handed over to a node that does not answer */
        return (MoveFinal){.on_dest = dest != SEEN_GONE, .uncertain = dest == SEEN_UNREACHABLE};
    /* The source has it, or nobody can say; the destination may have it too once the switch may
     * have begun. */
    return (MoveFinal){.on_dest = false,
                       .uncertain = dest == SEEN_UNREACHABLE && began != SWITCH_NOT_BEGUN};
}
