/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* record.c: the field lists of all records, and what works from them: new, copy, free; the names of
 * stored enums
 *
 * The lists are the only place where a struct's layout is spelled out. That a field is listed under
 * its right type is checked by the compiler (AT); that none is missing is checked by the
 * record test, and that the store's tables agree is checked at each opening of the store. */
#include "model/model.h"

#include <string.h>

/* ---- names of stored enums --------------------------------------------------------------------
 * What is stored must be read again by later versions: a name, once released, is never changed.
 * Where the OpenStack APIs have a word for the same thing, it is that word. */
const char *const host_state_names[] = {
    [HOST_UNKNOWN] = "unknown", [HOST_UP] = "up", [HOST_DOWN] = "down", NULL};

const char *const image_status_names[] = {
    [IMAGE_QUEUED] = "queued", [IMAGE_SAVING] = "saving",   [IMAGE_ACTIVE] = "active",
    [IMAGE_KILLED] = "killed", [IMAGE_DELETED] = "deleted", NULL};

const char *const vm_state_names[] = {
    [VM_BUILDING] = "building",   [VM_ACTIVE] = "active",   [VM_PAUSED] = "paused",
    [VM_SUSPENDED] = "suspended", [VM_STOPPED] = "stopped", [VM_RESIZED] = "resized",
    [VM_ERROR] = "error",         [VM_DELETED] = "deleted", NULL};

const char *const task_state_names[] = {[TASK_NONE] = "",
                                        [TASK_SCHEDULING] = "scheduling",
                                        [TASK_SPAWNING] = "spawning",
                                        [TASK_POWERING_ON] = "powering-on",
                                        [TASK_POWERING_OFF] = "powering-off",
                                        [TASK_REBOOTING] = "rebooting",
                                        [TASK_REBOOTING_HARD] = "rebooting_hard",
                                        [TASK_DELETING] = "deleting",
                                        [TASK_MIGRATING] = "migrating",
                                        [TASK_RESIZE_PREP] = "resize_prep",
                                        [TASK_RESIZE_MIGRATING] = "resize_migrating",
                                        [TASK_RESIZE_MIGRATED] = "resize_migrated",
                                        [TASK_RESIZE_FINISH] = "resize_finish",
                                        [TASK_RESIZE_CONFIRMING] = "resize_confirming",
                                        [TASK_RESIZE_REVERTING] = "resize_reverting",
                                        [TASK_PAUSING] = "pausing",
                                        [TASK_UNPAUSING] = "unpausing",
                                        [TASK_SUSPENDING] = "suspending",
                                        [TASK_RESUMING] = "resuming",
                                        [TASK_REBUILDING] = "rebuilding",
                                        NULL};

const char *const power_state_names[] = {[POWER_UNKNOWN] = "unknown",
                                         [POWER_RUNNING] = "running",
                                         [POWER_PAUSED] = "paused",
                                         [POWER_SHUTDOWN] = "shutdown",
                                         [POWER_CRASHED] = "crashed",
                                         [POWER_SUSPENDED] = "suspended",
                                         NULL};

const char *const migration_status_names[] = {[MIGRATION_ACCEPTED] = "accepted",
                                              [MIGRATION_QUEUED] = "queued",
                                              [MIGRATION_PREPARING] = "preparing",
                                              [MIGRATION_RUNNING] = "running",
                                              [MIGRATION_POST_MIGRATING] = "post-migrating",
                                              [MIGRATION_COMPLETED] = "completed",
                                              [MIGRATION_ERROR] = "error",
                                              [MIGRATION_FAILED] = "failed",
                                              [MIGRATION_CANCELLED] = "cancelled",
                                              [MIGRATION_PRE_MIGRATING] = "pre-migrating",
                                              [MIGRATION_MIGRATING] = "migrating",
                                              [MIGRATION_FINISHED] = "finished",
                                              [MIGRATION_CONFIRMING] = "confirming",
                                              [MIGRATION_CONFIRMED] = "confirmed",
                                              [MIGRATION_REVERTING] = "reverting",
                                              [MIGRATION_REVERTED] = "reverted",
                                              [MIGRATION_DONE] = "done",
                                              NULL};

const char *const migration_wish_names[] = {
    [WISH_NONE] = "", [WISH_ABORT] = "abort", [WISH_FORCE_COMPLETE] = "force-complete", NULL};

const char *const volume_status_names[] = {[VOLUME_CREATING] = "creating",
                                           [VOLUME_DOWNLOADING] = "downloading",
                                           [VOLUME_AVAILABLE] = "available",
                                           [VOLUME_RESERVED] = "reserved",
                                           [VOLUME_ATTACHING] = "attaching",
                                           [VOLUME_IN_USE] = "in-use",
                                           [VOLUME_DETACHING] = "detaching",
                                           [VOLUME_EXTENDING] = "extending",
                                           [VOLUME_DELETING] = "deleting",
                                           [VOLUME_ERROR] = "error",
                                           [VOLUME_ERROR_DELETING] = "error_deleting",
                                           [VOLUME_ERROR_EXTENDING] = "error_extending",
                                           NULL};

const char *const snapshot_status_names[] = {[SNAPSHOT_CREATING] = "creating",
                                             [SNAPSHOT_AVAILABLE] = "available",
                                             [SNAPSHOT_DELETING] = "deleting",
                                             [SNAPSHOT_ERROR] = "error",
                                             [SNAPSHOT_ERROR_DELETING] = "error_deleting",
                                             NULL};

const char *const attachment_state_names[] = {[ATTACHMENT_RESERVED] = "reserved",
                                              [ATTACHMENT_ATTACHED] = "attached",
                                              [ATTACHMENT_DETACHING] = "detaching",
                                              NULL};

const char *const task_status_names[] = {
    [TASK_OPEN] = "open", [TASK_SUCCEEDED] = "succeeded", [TASK_FAILED] = "failed", NULL};

const char *const task_mark_names[] = {[TASK_MARK_NONE] = "none",
                                       [TASK_MARK_INTENT] = "intent",
                                       [TASK_MARK_DONE] = "done",
                                       [TASK_MARK_UNDO] = "undo",
                                       NULL};

/* ---- field lists ----------------------------------------------------------------------------- */
/* The offset of a field, refused by the compiler if the field is not of that type */
#define AT(Struct, field, Type)                                                                 \
    (offsetof(Struct, field) + 0 * sizeof(char[_Generic(((Struct *)0)->field, Type : 1, default \
                                                        : -1)]))
#define TEXT(Struct, field) .name = #field, .type = FIELD_TEXT, .offset = AT(Struct, field, char *)
#define INT(Struct, field)  .name = #field, .type = FIELD_INT, .offset = AT(Struct, field, int64_t)
#define BOOL(Struct, field) .name = #field, .type = FIELD_BOOL, .offset = AT(Struct, field, bool)
#define ENUM(Struct, field, list) \
    .name = #field, .type = FIELD_ENUM, .offset = AT(Struct, field, unsigned), .names = list

#define RECORD(Struct, TYPE, table_name, list) \
    const RecordType TYPE = {table_name, sizeof(Struct), list, G_N_ELEMENTS(list)}

static const Field project_fields[] = {
    {TEXT(Project, id)},      {TEXT(Project, name)},      {TEXT(Project, description)},
    {BOOL(Project, enabled)}, {INT(Project, created_at)},
};
RECORD(Project, PROJECT, "project", project_fields);

static const Field user_fields[] = {
    {TEXT(User, id)},
    {TEXT(User, name)},
    {TEXT(User, password_hash)},
    {TEXT(User, default_project_id)},
    {TEXT(User, email)},
    {TEXT(User, description)},
    {BOOL(User, enabled)},
    {INT(User, created_at)},
    {INT(User, password_changed_at)},
};
RECORD(User, USER, "user", user_fields);

static const Field role_fields[] = {
    {TEXT(Role, id)},
    {TEXT(Role, name)},
    {INT(Role, created_at)},
};
RECORD(Role, ROLE, "role", role_fields);

static const Field assignment_fields[] = {
    {TEXT(Assignment, id)},
    {TEXT(Assignment, user_id)},
    {TEXT(Assignment, project_id)},
    {TEXT(Assignment, role_id)},
};
RECORD(Assignment, ASSIGNMENT, "assignment", assignment_fields);

static const Field token_fields[] = {
    {TEXT(Token, id)},        {TEXT(Token, user_id)}, {TEXT(Token, project_id)},
    {TEXT(Token, audit_id)},  {TEXT(Token, methods)}, {INT(Token, issued_at)},
    {INT(Token, expires_at)},
};
RECORD(Token, TOKEN, "token", token_fields);

static const Field host_fields[] = {
    {TEXT(Host, id)},
    {TEXT(Host, name)},
    {TEXT(Host, service_id)},
    {INT(Host, number)},
    {TEXT(Host, uri)},
    {TEXT(Host, address)},
    {TEXT(Host, migration_address)},
    {BOOL(Host, enabled)},
    {TEXT(Host, disabled_reason)},
    {BOOL(Host, forced_down)},
    {ENUM(Host, state, host_state_names)},
    {TEXT(Host, state_reason)},
    {INT(Host, state_changed_at)},
    {INT(Host, vcpus)},
    {INT(Host, memory_mb)},
    {INT(Host, disk_gb)},
    {INT(Host, disk_free_gb)},
    {TEXT(Host, cpu_info)},
    {TEXT(Host, hypervisor_cpu)},
    {TEXT(Host, cpu_models)},
    {TEXT(Host, virt_type)},
    {TEXT(Host, libvirt_uuid)},
    {INT(Host, libvirt_version)},
    {INT(Host, qemu_version)},
    {INT(Host, max_client_requests)},
    {TEXT(Host, encryption)},
    {BOOL(Host, storage_visible)},
    {TEXT(Host, storage_reason)},
    {INT(Host, foreign_domains)},
    {INT(Host, started_at)},
    {INT(Host, facts_at)},
    {INT(Host, created_at)},
    {INT(Host, updated_at)},
};
RECORD(Host, HOST, "host", host_fields);

static const Field flavor_fields[] = {
    {TEXT(Flavor, id)},          {TEXT(Flavor, name)},      {INT(Flavor, vcpus)},
    {INT(Flavor, ram_mb)},       {INT(Flavor, disk_gb)},    {INT(Flavor, ephemeral_gb)},
    {INT(Flavor, swap_mb)},      {BOOL(Flavor, is_public)}, {TEXT(Flavor, extra_specs)},
    {TEXT(Flavor, description)}, {INT(Flavor, created_at)},
};
RECORD(Flavor, FLAVOR, "flavor", flavor_fields);

static const Field image_fields[] = {
    {TEXT(Image, id)},
    {TEXT(Image, name)},
    {ENUM(Image, status, image_status_names)},
    {TEXT(Image, disk_format)},
    {TEXT(Image, container_format)},
    {TEXT(Image, visibility)},
    {TEXT(Image, owner)},
    {INT(Image, size)},
    {INT(Image, virtual_size)},
    {TEXT(Image, checksum)},
    {TEXT(Image, sha512)},
    {INT(Image, min_disk_gb)},
    {INT(Image, min_ram_mb)},
    {BOOL(Image, is_protected)},
    {BOOL(Image, is_hidden)},
    {TEXT(Image, properties)},
    {TEXT(Image, tags)},
    {INT(Image, created_at)},
    {INT(Image, updated_at)},
};
RECORD(Image, IMAGE, "image", image_fields);

static const Field keypair_fields[] = {
    {TEXT(Keypair, id)},        {TEXT(Keypair, user_id)},    {TEXT(Keypair, name)},
    {TEXT(Keypair, type)},      {TEXT(Keypair, public_key)}, {TEXT(Keypair, fingerprint)},
    {INT(Keypair, created_at)},
};
RECORD(Keypair, KEYPAIR, "keypair", keypair_fields);

static const Field network_fields[] = {
    {TEXT(Network, id)},
    {TEXT(Network, name)},
    {TEXT(Network, project_id)},
    {TEXT(Network, bridge)},
    {INT(Network, mtu)},
    {BOOL(Network, shared)},
    {BOOL(Network, admin_state_up)},
    {TEXT(Network, description)},
    {INT(Network, created_at)},
    {INT(Network, updated_at)},
};
RECORD(Network, NETWORK, "network", network_fields);

static const Field subnet_fields[] = {
    {TEXT(Subnet, id)},          {TEXT(Subnet, name)},        {TEXT(Subnet, network_id)},
    {TEXT(Subnet, project_id)},  {TEXT(Subnet, cidr)},        {TEXT(Subnet, gateway_ip)},
    {TEXT(Subnet, pool_start)},  {TEXT(Subnet, pool_end)},    {TEXT(Subnet, dns_nameservers)},
    {TEXT(Subnet, host_routes)}, {BOOL(Subnet, enable_dhcp)}, {TEXT(Subnet, description)},
    {INT(Subnet, created_at)},   {INT(Subnet, updated_at)},
};
RECORD(Subnet, SUBNET, "subnet", subnet_fields);

static const Field port_fields[] = {
    {TEXT(Port, id)},          {TEXT(Port, name)},           {TEXT(Port, network_id)},
    {TEXT(Port, subnet_id)},   {TEXT(Port, project_id)},     {TEXT(Port, mac_address)},
    {TEXT(Port, ip_address)},  {TEXT(Port, device_id)},      {TEXT(Port, device_owner)},
    {TEXT(Port, description)}, {BOOL(Port, admin_state_up)}, {INT(Port, position)},
    {BOOL(Port, auto_delete)}, {INT(Port, created_at)},      {INT(Port, updated_at)},
};
RECORD(Port, PORT, "port", port_fields);

static const Field server_fields[] = {
    {TEXT(Server, id)},
    {TEXT(Server, name)},
    {TEXT(Server, hostname)},
    {TEXT(Server, description)},
    {TEXT(Server, project_id)},
    {TEXT(Server, user_id)},
    {ENUM(Server, vm_state, vm_state_names)},
    {ENUM(Server, task_state, task_state_names)},
    {ENUM(Server, power_state, power_state_names)},
    {TEXT(Server, host)},
    {TEXT(Server, availability_zone)},
    {TEXT(Server, flavor_id)},
    {TEXT(Server, flavor_name)},
    {INT(Server, vcpus)},
    {INT(Server, ram_mb)},
    {INT(Server, disk_gb)},
    {INT(Server, ephemeral_gb)},
    {INT(Server, swap_mb)},
    {TEXT(Server, extra_specs)},
    {TEXT(Server, image_id)},
    {TEXT(Server, key_name)},
    {TEXT(Server, user_data)},
    {BOOL(Server, config_drive)},
    {TEXT(Server, metadata)},
    {TEXT(Server, tags)},
    {TEXT(Server, security_groups)},
    {TEXT(Server, reservation_id)},
    {INT(Server, launch_index)},
    {INT(Server, number)},
    {BOOL(Server, locked)},
    {TEXT(Server, locked_reason)},
    {TEXT(Server, cpu_xml)},
    {TEXT(Server, machine)},
    {TEXT(Server, console_parts)},
    {INT(Server, fault_code)},
    {TEXT(Server, fault_message)},
    {INT(Server, fault_at)},
    {INT(Server, launched_at)},
    {INT(Server, terminated_at)},
    {INT(Server, created_at)},
    {INT(Server, updated_at)},
    {TEXT(Server, uncertainty)},
    {TEXT(Server, locked_by)},
};
RECORD(Server, SERVER, "server", server_fields);

static const Field migration_fields[] = {
    {INT(Migration, id)},
    {TEXT(Migration, uuid)},
    {TEXT(Migration, server_id)},
    {TEXT(Migration, project_id)},
    {TEXT(Migration, user_id)},
    {TEXT(Migration, type)},
    {ENUM(Migration, status, migration_status_names)},
    {TEXT(Migration, phase)},
    {TEXT(Migration, source_host)},
    {TEXT(Migration, dest_host)},
    {BOOL(Migration, dest_given)},
    {TEXT(Migration, flavor_id)},
    {TEXT(Migration, reason)},
    {TEXT(Migration, error_code)},
    {TEXT(Migration, encryption)},
    {TEXT(Migration, flags)},
    {INT(Migration, memory_total)},
    {INT(Migration, memory_processed)},
    {INT(Migration, memory_remaining)},
    {INT(Migration, memory_bps)},
    {INT(Migration, dirty_bps)},
    {INT(Migration, iterations)},
    {INT(Migration, disk_total)},
    {INT(Migration, disk_processed)},
    {INT(Migration, disk_remaining)},
    {INT(Migration, downtime_limit_ms)},
    {INT(Migration, eta_ms)},
    {INT(Migration, downtime_ms)},
    {INT(Migration, total_ms)},
    {TEXT(Migration, phases)},
    {INT(Migration, predicted_ms)},
    {INT(Migration, predicted_downtime_ms)},
    {INT(Migration, resumed_at)},
    {INT(Migration, active_at)},
    {INT(Migration, created_at)},
    {INT(Migration, started_at)},
    {INT(Migration, ended_at)},
    {INT(Migration, updated_at)},
    {ENUM(Migration, wish, migration_wish_names)},
    {INT(Migration, priority)},
    {TEXT(Migration, attempts)},
    {INT(Migration, old_vcpus)},
    {INT(Migration, old_ram_mb)},
    {INT(Migration, new_vcpus)},
    {INT(Migration, new_ram_mb)},
    {TEXT(Migration, old_flavor)},
    {TEXT(Migration, new_flavor)},
    {ENUM(Migration, old_vm_state, vm_state_names)},
    {TEXT(Migration, fence)},
};
RECORD(Migration, MIGRATION, "migration", migration_fields);

static const Field fence_fields[] = {
    {INT(Fence, id)},         {TEXT(Fence, host)},      {TEXT(Fence, address)},
    {TEXT(Fence, server_id)}, {INT(Fence, expires_at)}, {INT(Fence, created_at)},
};
RECORD(Fence, FENCE, "fence", fence_fields);

static const Field volume_fields[] = {
    {TEXT(Volume, id)},
    {TEXT(Volume, name)},
    {TEXT(Volume, description)},
    {TEXT(Volume, project_id)},
    {TEXT(Volume, user_id)},
    {ENUM(Volume, status, volume_status_names)},
    {INT(Volume, size_gb)},
    {TEXT(Volume, volume_type)},
    {BOOL(Volume, bootable)},
    {BOOL(Volume, read_only)},
    {TEXT(Volume, image_id)},
    {TEXT(Volume, image_metadata)},
    {TEXT(Volume, snapshot_id)},
    {TEXT(Volume, source_volume_id)},
    {TEXT(Volume, metadata)},
    {TEXT(Volume, availability_zone)},
    {INT(Volume, progress_percent)},
    {TEXT(Volume, fault_message)},
    {INT(Volume, created_at)},
    {INT(Volume, updated_at)},
};
RECORD(Volume, VOLUME, "volume", volume_fields);

static const Field snapshot_fields[] = {
    {TEXT(Snapshot, id)},
    {TEXT(Snapshot, name)},
    {TEXT(Snapshot, description)},
    {TEXT(Snapshot, volume_id)},
    {TEXT(Snapshot, project_id)},
    {TEXT(Snapshot, user_id)},
    {ENUM(Snapshot, status, snapshot_status_names)},
    {INT(Snapshot, size_gb)},
    {TEXT(Snapshot, metadata)},
    {TEXT(Snapshot, fault_message)},
    {INT(Snapshot, created_at)},
    {INT(Snapshot, updated_at)},
};
RECORD(Snapshot, SNAPSHOT, "snapshot", snapshot_fields);

static const Field volume_type_fields[] = {
    {TEXT(VolumeType, id)},        {TEXT(VolumeType, name)},        {TEXT(VolumeType, description)},
    {BOOL(VolumeType, is_public)}, {TEXT(VolumeType, extra_specs)}, {INT(VolumeType, created_at)},
    {INT(VolumeType, updated_at)},
};
RECORD(VolumeType, VOLUME_TYPE, "volume_type", volume_type_fields);

static const Field attachment_fields[] = {
    {TEXT(Attachment, id)},
    {TEXT(Attachment, volume_id)},
    {TEXT(Attachment, server_id)},
    {ENUM(Attachment, state, attachment_state_names)},
    {TEXT(Attachment, device)},
    {INT(Attachment, boot_index)},
    {BOOL(Attachment, delete_on_termination)},
    {BOOL(Attachment, read_only)},
    {TEXT(Attachment, tag)},
    {INT(Attachment, attached_at)},
    {INT(Attachment, created_at)},
};
RECORD(Attachment, ATTACHMENT, "attachment", attachment_fields);

static const Field quota_fields[] = {
    {TEXT(Quota, id)},
    {INT(Quota, volumes)},
    {INT(Quota, snapshots)},
    {INT(Quota, gigabytes)},
    {INT(Quota, per_volume_gigabytes)},
};
RECORD(Quota, QUOTA, "quota", quota_fields);

static const Field disk_client_fields[] = {
    {INT(DiskClient, id)},    {TEXT(DiskClient, server_id)}, {TEXT(DiskClient, source)},
    {TEXT(DiskClient, host)}, {TEXT(DiskClient, address)},   {INT(DiskClient, created_at)},
};
RECORD(DiskClient, DISK_CLIENT, "disk_client", disk_client_fields);

static const Field task_fields[] = {
    {INT(Task, id)},
    {TEXT(Task, kind)},
    {TEXT(Task, server_id)},
    {TEXT(Task, volume_id)},
    {INT(Task, migration_id)},
    {ENUM(Task, status, task_status_names)},
    {INT(Task, phase)},
    {ENUM(Task, mark, task_mark_names)},
    {TEXT(Task, params)},
    {TEXT(Task, state)},
    {TEXT(Task, host)},
    {TEXT(Task, request_id)},
    {TEXT(Task, user_id)},
    {TEXT(Task, project_id)},
    {INT(Task, deadline_at)},
    {TEXT(Task, error_code)},
    {TEXT(Task, error_message)},
    {INT(Task, epoch)},
    {INT(Task, created_at)},
    {INT(Task, updated_at)},
    {INT(Task, ended_at)},
};
RECORD(Task, TASK, "task", task_fields);

static const Field action_fields[] = {
    {INT(Action, id)},          {TEXT(Action, request_id)}, {TEXT(Action, server_id)},
    {TEXT(Action, project_id)}, {TEXT(Action, user_id)},    {TEXT(Action, action)},
    {TEXT(Action, message)},    {INT(Action, started_at)},  {INT(Action, updated_at)},
};
RECORD(Action, ACTION, "action", action_fields);

static const Field action_event_fields[] = {
    {INT(ActionEvent, id)},         {INT(ActionEvent, action_id)},   {TEXT(ActionEvent, event)},
    {TEXT(ActionEvent, host)},      {TEXT(ActionEvent, result)},     {TEXT(ActionEvent, details)},
    {INT(ActionEvent, started_at)}, {INT(ActionEvent, finished_at)},
};
RECORD(ActionEvent, ACTION_EVENT, "action_event", action_event_fields);

/* ---- generic operations ---------------------------------------------------------------------- */
static char **
record_text(const Field *field, void *record)
{
    return (char **)((char *)record + field->offset);
}

void *
record_new(const RecordType *type)
{
    return g_malloc0(type->size);
}

void *
record_copy(const RecordType *type, const void *record)
{
    if (record == NULL)
        return NULL;
    void *copy = g_memdup2(record, type->size);
    for (size_t i = 0; i < type->n_fields; i++) {
        if (type->fields[i].type == FIELD_TEXT) {
            char **text = record_text(&type->fields[i], copy);
            *text = g_strdup(*text);
        }
    }
    return copy;
}

void
record_free(const RecordType *type, void *record)
{
    if (record == NULL)
        return;
    for (size_t i = 0; i < type->n_fields; i++) {
        if (type->fields[i].type == FIELD_TEXT)
            g_free(*record_text(&type->fields[i], record));
    }
    g_free(record);
}

const Field *
record_field(const RecordType *type, const char *name)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        if (strcmp(type->fields[i].name, name) == 0)
            return &type->fields[i];
    }
    return NULL;
}

void
text_set(char **field, const char *value)
{
    /* Copied before the old value goes: value may be that very text. */
    char *copy = g_strdup(value);
    g_free(*field);
    *field = copy;
}
