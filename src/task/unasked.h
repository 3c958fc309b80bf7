/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unasked.h: what happens to a server although nobody asked for it, told as the actions of users
 * are */
#pragma once

#include "task/task-priv.h"

/* Start a server that is stopped, as os-start does: with a request id of its own, which begins with
 * "req-". One that is not stopped, or has a task, is left alone. */
bool unasked_start(StoreTx *tx, Server *server, GError **err);
/* The server was found stopped: an instance action that is over, and says why. */
bool unasked_stop_note(StoreTx *tx, const Server *server, const char *why, GError **err);
