/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* crash-moves.h: operations on live migrations */
#pragma once

#include "rig/rig.h"

/* A move of the server from host1 to host2 that is, under way, aborted, or forced to its end. */
void crash_run_abort(Rig *rig, const char *server_id);
void crash_run_pause(Rig *rig, const char *server_id);
void crash_run_post_copy(Rig *rig, const char *server_id);
/* No host is named, and with the first the move breaks off. */
void crash_run_retry(Rig *rig, const char *server_id);
