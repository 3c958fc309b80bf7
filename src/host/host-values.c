/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host-values.c: copying and freeing the values of host.h, and the names of its enums */
#include "host/host.h"

const char *const domain_state_names[] = {
    [DOMAIN_ABSENT] = "absent",
    [DOMAIN_SHUTOFF] = "shutoff",
    [DOMAIN_RUNNING] = "running",
    [DOMAIN_PAUSED] = "paused",
    [DOMAIN_PAUSED_INCOMING] = "paused-incoming",
    [DOMAIN_PAUSED_MIGRATED] = "paused-migrated",
    [DOMAIN_PAUSED_POSTCOPY_FAILED] = "paused-postcopy-failed",
    [DOMAIN_CRASHED] = "crashed",
    [DOMAIN_CRASHED + 1] = NULL,
};

const char *const domain_change_names[] = {
    [DOMAIN_DEFINED] = "defined",
    [DOMAIN_UNDEFINED] = "undefined",
    [DOMAIN_STARTED] = "started",
    [DOMAIN_STARTED_INCOMING] = "started-incoming",
    [DOMAIN_SUSPENDED] = "suspended",
    [DOMAIN_SUSPENDED_MIGRATED] = "suspended-migrated",
    [DOMAIN_SUSPENDED_POSTCOPY] = "suspended-postcopy",
    [DOMAIN_RESUMED] = "resumed",
    [DOMAIN_RESUMED_MIGRATED] = "resumed-migrated",
    [DOMAIN_RESUMED_POSTCOPY] = "resumed-postcopy",
    [DOMAIN_STOPPED_SHUTDOWN] = "stopped-shutdown",
    [DOMAIN_STOPPED_DESTROYED] = "stopped-destroyed",
    [DOMAIN_STOPPED_CRASHED] = "stopped-crashed",
    [DOMAIN_STOPPED_MIGRATED] = "stopped-migrated",
    [DOMAIN_STOPPED_FAILED] = "stopped-failed",
    [DOMAIN_STOPPED_SAVED] = "stopped-saved",
    [DOMAIN_REBOOTED] = "rebooted",
    [DOMAIN_REBOOTED + 1] = NULL,
};

void
disk_spec_copy(DiskSpec *to, const DiskSpec *from)
{
    *to = (DiskSpec){.source = g_strdup(from->source),
                     .format = g_strdup(from->format),
                     .target = g_strdup(from->target),
                     .serial = g_strdup(from->serial),
                     .read_only = from->read_only,
                     .is_cdrom = from->is_cdrom,
                     .rbd = rbd_access_copy(from->rbd)};
}

void
disk_spec_clear(DiskSpec *disk)
{
    g_free(disk->source);
    g_free(disk->format);
    g_free(disk->target);
    g_free(disk->serial);
    rbd_access_free(disk->rbd);
    *disk = (DiskSpec){0};
}

ServerSpec *
server_spec_copy(const ServerSpec *spec)
{
    ServerSpec *copy = g_new(ServerSpec, 1);
    *copy = *spec;
    copy->uuid = g_strdup(spec->uuid);
    copy->domain_name = g_strdup(spec->domain_name);
    copy->title = g_strdup(spec->title);
    copy->virt_type = g_strdup(spec->virt_type);
    copy->machine = g_strdup(spec->machine);
    copy->cpu_xml = g_strdup(spec->cpu_xml);
    copy->console_path = g_strdup(spec->console_path);
    copy->disks = g_new0(DiskSpec, spec->n_disks);
    for (size_t i = 0; i < spec->n_disks; i++)
        disk_spec_copy(&copy->disks[i], &spec->disks[i]);
    copy->nics = g_new0(NicSpec, spec->n_nics);
    for (size_t i = 0; i < spec->n_nics; i++) {
        copy->nics[i].mac_address = g_strdup(spec->nics[i].mac_address);
        copy->nics[i].bridge = g_strdup(spec->nics[i].bridge);
        copy->nics[i].port_id = g_strdup(spec->nics[i].port_id);
        copy->nics[i].mtu = spec->nics[i].mtu;
    }
    return copy;
}

void
server_spec_free(ServerSpec *spec)
{
    if (spec == NULL)
        return;
    for (size_t i = 0; i < spec->n_disks; i++)
        disk_spec_clear(&spec->disks[i]);
    for (size_t i = 0; i < spec->n_nics; i++) {
        g_free(spec->nics[i].mac_address);
        g_free(spec->nics[i].bridge);
        g_free(spec->nics[i].port_id);
    }
    g_free(spec->disks);
    g_free(spec->nics);
    g_free(spec->uuid);
    g_free(spec->domain_name);
    g_free(spec->title);
    g_free(spec->virt_type);
    g_free(spec->machine);
    g_free(spec->cpu_xml);
    g_free(spec->console_path);
    g_free(spec);
}

MoveSpec *
move_spec_copy(const MoveSpec *spec)
{
    MoveSpec *copy = g_new(MoveSpec, 1);
    *copy = *spec;
    copy->uuid = g_strdup(spec->uuid);
    copy->dest_uri = g_strdup(spec->dest_uri);
    copy->migrate_uri = g_strdup(spec->migrate_uri);
    return copy;
}

void
move_spec_free(MoveSpec *spec)
{
    if (spec == NULL)
        return;
    g_free(spec->uuid);
    g_free(spec->dest_uri);
    g_free(spec->migrate_uri);
    g_free(spec);
}

void
domain_info_free(DomainInfo *info)
{
    if (info == NULL)
        return;
    g_free(info->uuid);
    g_free(info->name);
    g_free(info);
}

void
host_facts_free(HostFacts *facts)
{
    if (facts == NULL)
        return;
    g_free(facts->hostname);
    g_free(facts->libvirt_uuid);
    g_free(facts->cpu_info);
    g_free(facts->hypervisor_cpu);
    g_free(facts->cpu_models);
    g_free(facts->virt_type);
    g_free(facts->encryption);
    g_free(facts);
}

void
host_event_free(HostEvent *event)
{
    if (event == NULL)
        return;
    g_free(event->host);
    g_free(event->uuid);
    g_free(event->text);
    g_free(event);
}
