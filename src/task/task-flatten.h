/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* task-flatten.h: copies that outlive their task */
#pragma once

#include "base/base.h"

/* Wait until no flatten of this disk is at work in this process: before it is removed. One that was
 * left to a guest's QEMU stops at the latest half a minute after that. */
#define FLATTEN_AWAIT (clock_monotonic() + 45 * USEC_PER_SEC)
void flatten_await(const char *source, int64_t deadline);
