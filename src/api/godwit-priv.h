/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-priv.h: handlers of Godwit's own API that stand in files of their own */
#pragma once

#include "api/api-priv.h"

/* godwit-hosts.c */
void godwit_hosts_list(ApiCall *call);
void godwit_host_create(ApiCall *call);
void godwit_host_show(ApiCall *call);
void godwit_host_update(ApiCall *call);
void godwit_host_delete(ApiCall *call);

/* godwit-moves.c */
void godwit_migrations_list(ApiCall *call);
void godwit_migration_show(ApiCall *call);
