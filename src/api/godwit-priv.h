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

/* godwit-host-domains.c */
void godwit_host_domains(ApiCall *call);

/* godwit-certificates.c */
void godwit_ca_show(ApiCall *call);
void godwit_certificate_create(ApiCall *call);

/* godwit-moves.c */
void godwit_migrations_list(ApiCall *call);
void godwit_migration_show(ApiCall *call);
void godwit_migration_abort(ApiCall *call);
void godwit_migration_force(ApiCall *call);
void godwit_server_move(ApiCall *call);
void godwit_server_resize(ApiCall *call);
json_t *godwit_migration_view(StoreTx *tx, const ApiCall *call, const Migration *move);

/* godwit-rescue.c */
void godwit_server_evacuate(ApiCall *call);
void godwit_host_rescue(ApiCall *call);
void godwit_fences_list(ApiCall *call);

/* godwit-storage.c */
void godwit_storage_list(ApiCall *call);
void godwit_storage_show(ApiCall *call);
void godwit_storage_rotate_key(ApiCall *call);
void godwit_storage_sweep(ApiCall *call);
void godwit_ceph_conf_show(ApiCall *call);
void godwit_server_flatten(ApiCall *call);
void godwit_volume_flatten(ApiCall *call);

/* godwit-disks.c */
void godwit_server_show(ApiCall *call);
void godwit_volume_show(ApiCall *call);
void godwit_snapshot_show(ApiCall *call);

/* godwit-tasks.c */
void godwit_tasks_list(ApiCall *call);
void godwit_task_show(ApiCall *call);

/* godwit-state.c */
void godwit_state_backup(ApiCall *call);
