/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* crash-nodes.h: a node that is rebooted, for crash.c */
#pragma once

#include "rig/rig.h"

/* rig_adjust: what ran on a node that is rebooted is started again */
void crash_resume_guests(TaskSettings *settings);
/* host1 is off for a moment. Returns when the server runs again. */
void crash_run_reboot(Rig *rig, const char *server_id);
/* The only server runs, as its record says. */
void crash_await_running(Rig *rig);
