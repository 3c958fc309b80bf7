/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* init.h: what must be there before the first start: state, CA, certificate, administrator */
#pragma once

#include "auth/auth.h"
#include "daemon/config.h"

/* `godwitd init`: makes what is missing, keeps what is there; prints where things are. The
 * administrator's password is generated and written to STATE_DIR/admin-password (0600) and
 * STATE_DIR/clouds.yaml (0600), never printed. */
bool init_run(const Config *config, GError **err);
/* The server's certificate for the configured addresses; renewed when it has less than 30 days. */
bool init_certificate(const Config *config, GError **err);
char *init_pki_dir(const Config *config);
