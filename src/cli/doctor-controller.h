/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-controller.h: the controller's half of the doctor */
#pragma once

#include "cli/cli.h"
#include "prepare/prepare.h"

/* Checks of what GET /hosts and GET /cpu/baseline (NULL: not known) of Godwit's API answered; now:
 * realtime µs; names: of the checks that are wanted, NULL: all. */
void doctor_judge_controller(const json_t *hosts, const json_t *baseline, int64_t now,
                             const char *const *names, GPtrArray *checks);
void doctor_controller_failed(const GError *error, const char *const *names, GPtrArray *checks);
