/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* auto-confirm.h: a resize that nobody confirms or reverts is confirmed after a while */
#pragma once

#include "task/task.h"

typedef struct AutoConfirm AutoConfirm;

/* NULL where TaskSettings.resize_confirm_window_s is 0: never. */
AutoConfirm *auto_confirm_start(TaskEngine *engine);
/* Joins its thread, which never waits long, and frees. NULL: ok. */
void auto_confirm_stop(AutoConfirm *timer);
