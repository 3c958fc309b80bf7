/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rbd-access.c: how a hypervisor reaches disks on a Ceph cluster, as a value */
#include "model/model.h"

RbdAccess *
rbd_access_copy(const RbdAccess *access)
{
    RbdAccess *copy;

    if (!access)
        return NULL;
    copy = g_new0(RbdAccess, 1);
    copy->fsid = g_strdup(access->fsid);
    copy->monitors = g_strdupv(access->monitors);
    copy->user = g_strdup(access->user);
    copy->secret_uuid = g_strdup(access->secret_uuid);
    return copy;
}

void
rbd_access_free(RbdAccess *access)
{
    if (!access)
        return;
    g_free(access->fsid);
    g_strfreev(access->monitors);
    g_free(access->user);
    g_free(access->secret_uuid);
    g_free(access);
}
