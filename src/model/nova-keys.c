/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nova-keys.c: which groups and keys Nova's configuration knows, and what Godwit does with them
 *
 * The [libvirt] table covers Nova Zed and, where the names are free, what came before (until Kilo)
 * and after, so that a section of any age can be pasted. A key that is merely accepted carries the
 * sentence for the operator. */

#include "model-priv.h"

#define ON_STORAGE "the storage driver of [storage] decides where disks and images are"
#define NO_BACKEND "volumes come with a storage driver of Godwit, which needs no settings per node"
#define NO_INJECT \
    "nothing is written into guest disks; keys and user data reach the guest by config drive"
#define NO_DEVICE "devices of this kind are not offered"
#define NO_STEPS                                                           \
    "the downtime limit grows with what each iteration leaves over, from " \
    "live_migration_downtime_initial up to live_migration_downtime"
#define NO_RESCUE "the rescue image is named by each rescue request"
#define NO_CACHE  "there is no image cache on the nodes"
#define NO_TPM    "emulated TPMs are not offered"
#define NO_PIN    "host CPUs are not switched on and off"

const NovaKey nova_libvirt_keys[] = {
    /* honoured */
    {"virt_type", NOVA_KEY_HONOURED, NULL},
    {"type", NOVA_KEY_HONOURED, NULL},
    {"cpu_mode", NOVA_KEY_HONOURED, NULL},
    {"cpu_model", NOVA_KEY_HONOURED, NULL},
    {"cpu_models", NOVA_KEY_HONOURED, NULL},
    {"cpu_model_extra_flags", NOVA_KEY_HONOURED, NULL},
    {"live_migration_flag", NOVA_KEY_HONOURED, NULL},
    {"live_migration_uri", NOVA_KEY_HONOURED, NULL},
    {"live_migration_scheme", NOVA_KEY_HONOURED, NULL},
    {"live_migration_inbound_addr", NOVA_KEY_HONOURED, NULL},
    {"live_migration_tunnelled", NOVA_KEY_HONOURED, NULL},
    {"live_migration_with_native_tls", NOVA_KEY_HONOURED, NULL},
    {"live_migration_permit_post_copy", NOVA_KEY_HONOURED, NULL},
    {"live_migration_permit_auto_converge", NOVA_KEY_HONOURED, NULL},
    {"live_migration_bandwidth", NOVA_KEY_HONOURED, NULL},
    {"live_migration_downtime", NOVA_KEY_HONOURED, NULL},
    {"live_migration_completion_timeout", NOVA_KEY_HONOURED, NULL},
    {"live_migration_timeout_action", NOVA_KEY_HONOURED, NULL},
    {"live_migration_parallel_connections", NOVA_KEY_HONOURED, NULL},
    /* honoured, Godwit's own */
    {"live_migration_downtime_initial", NOVA_KEY_HONOURED, NULL},
    {"live_migration_require_encryption", NOVA_KEY_HONOURED, NULL},
    /* live migration, accepted */
    {"live_migration_downtime_steps", NOVA_KEY_NOTICED, NO_STEPS},
    {"live_migration_downtime_delay", NOVA_KEY_NOTICED, NO_STEPS},
    {"live_migration_progress_timeout", NOVA_KEY_NOTICED,
     "live_migration_completion_timeout alone ends a move"},
    {"live_migration_retry_count", NOVA_KEY_NOTICED,
     "the destination is checked before a move starts"},
    {"live_migration_wait_for_vif_plug", NOVA_KEY_NOTICED,
     "the bridge is checked on the destination before a move starts, and nothing is plugged later"},
    {"block_migration_flag", NOVA_KEY_NOTICED,
     "disks are on storage that all nodes share and are not copied"},
    {"migration_inbound_addr", NOVA_KEY_NOTICED,
     "each node's address is set with 'godwit host add'"},
    {"connection_uri", NOVA_KEY_NOTICED, "each node's URI is set with 'godwit host add'"},
    {"wait_soft_reboot_seconds", NOVA_KEY_NOTICED,
     "the soft reboot's own deadline applies, then the server is rebooted hard"},
    /* disks and images */
    {"images_type", NOVA_KEY_NOTICED, ON_STORAGE},
    {"images_volume_group", NOVA_KEY_NOTICED, ON_STORAGE},
    {"images_rbd_pool", NOVA_KEY_NOTICED, ON_STORAGE},
    {"images_rbd_ceph_conf", NOVA_KEY_NOTICED, ON_STORAGE},
    {"images_rbd_glance_store_name", NOVA_KEY_NOTICED, ON_STORAGE},
    {"images_rbd_glance_copy_poll_interval", NOVA_KEY_NOTICED, ON_STORAGE},
    {"images_rbd_glance_copy_timeout", NOVA_KEY_NOTICED, ON_STORAGE},
    {"rbd_user", NOVA_KEY_NOTICED, ON_STORAGE ", and with which Ceph user they are opened"},
    {"rbd_secret_uuid", NOVA_KEY_NOTICED, ON_STORAGE ", and with which secret they are opened"},
    {"rbd_connect_timeout", NOVA_KEY_NOTICED, ON_STORAGE},
    {"rbd_destroy_volume_retry_interval", NOVA_KEY_NOTICED, ON_STORAGE},
    {"rbd_destroy_volume_retries", NOVA_KEY_NOTICED, ON_STORAGE},
    {"sparse_logical_volumes", NOVA_KEY_NOTICED, ON_STORAGE},
    {"hw_disk_discard", NOVA_KEY_NOTICED, "discard is always passed to the storage"},
    {"disk_cachemodes", NOVA_KEY_NOTICED,
     "the cache mode that is safe to move with the storage driver in use is set for each disk"},
    {"disk_prefix", NOVA_KEY_NOTICED, "disks are virtio disks: vda, vdb, …"},
    {"snapshot_image_format", NOVA_KEY_NOTICED, ON_STORAGE},
    {"snapshot_compression", NOVA_KEY_NOTICED, ON_STORAGE},
    {"snapshots_directory", NOVA_KEY_NOTICED, ON_STORAGE},
    {"volume_clear", NOVA_KEY_NOTICED, "deleted disks are files or RBD images, which are freed"},
    {"volume_clear_size", NOVA_KEY_NOTICED,
     "deleted disks are files or RBD images, which are freed"},
    {"volume_drivers", NOVA_KEY_NOTICED, NO_BACKEND},
    {"volume_use_multipath", NOVA_KEY_NOTICED, NO_BACKEND},
    {"volume_enforce_multipath", NOVA_KEY_NOTICED, NO_BACKEND},
    {"iscsi_use_multipath", NOVA_KEY_NOTICED, NO_BACKEND},
    {"num_volume_scan_tries", NOVA_KEY_NOTICED, NO_BACKEND},
    {"num_iscsi_scan_tries", NOVA_KEY_NOTICED, NO_BACKEND},
    {"iscsi_iface", NOVA_KEY_NOTICED, NO_BACKEND},
    {"iscsi_transport", NOVA_KEY_NOTICED, NO_BACKEND},
    {"num_aoe_discover_tries", NOVA_KEY_NOTICED, NO_BACKEND},
    {"num_nvme_discover_tries", NOVA_KEY_NOTICED, NO_BACKEND},
    {"num_iser_scan_tries", NOVA_KEY_NOTICED, NO_BACKEND},
    {"iser_use_multipath", NOVA_KEY_NOTICED, NO_BACKEND},
    {"nfs_mount_point_base", NOVA_KEY_NOTICED, NO_BACKEND},
    {"nfs_mount_options", NOVA_KEY_NOTICED, NO_BACKEND},
    {"smbfs_mount_point_base", NOVA_KEY_NOTICED, NO_BACKEND},
    {"smbfs_mount_options", NOVA_KEY_NOTICED, NO_BACKEND},
    {"quobyte_mount_point_base", NOVA_KEY_NOTICED, NO_BACKEND},
    {"quobyte_client_cfg", NOVA_KEY_NOTICED, NO_BACKEND},
    {"glusterfs_mount_point_base", NOVA_KEY_NOTICED, NO_BACKEND},
    {"qemu_allowed_storage_drivers", NOVA_KEY_NOTICED, NO_BACKEND},
    {"scality_sofs_config", NOVA_KEY_NOTICED, NO_BACKEND},
    {"scality_sofs_mount_point", NOVA_KEY_NOTICED, NO_BACKEND},
    {"remote_filesystem_transport", NOVA_KEY_NOTICED, "no disk is copied between nodes by ssh"},
    {"vzstorage_mount_point_base", NOVA_KEY_NOTICED, NO_BACKEND},
    {"vzstorage_mount_user", NOVA_KEY_NOTICED, NO_BACKEND},
    {"vzstorage_mount_group", NOVA_KEY_NOTICED, NO_BACKEND},
    {"vzstorage_mount_perms", NOVA_KEY_NOTICED, NO_BACKEND},
    {"vzstorage_log_path", NOVA_KEY_NOTICED, NO_BACKEND},
    {"vzstorage_cache_path", NOVA_KEY_NOTICED, NO_BACKEND},
    {"vzstorage_mount_opts", NOVA_KEY_NOTICED, NO_BACKEND},
    {"use_default_aio_mode_for_volumes", NOVA_KEY_NOTICED, NO_BACKEND},
    {"image_info_filename_pattern", NOVA_KEY_NOTICED, NO_CACHE},
    {"checksum_base_images", NOVA_KEY_NOTICED, NO_CACHE},
    {"checksum_interval_seconds", NOVA_KEY_NOTICED, NO_CACHE},
    {"remove_unused_kernels", NOVA_KEY_NOTICED, NO_CACHE},
    {"remove_unused_resized_minimum_age_seconds", NOVA_KEY_NOTICED, NO_CACHE},
    /* the guest */
    {"inject_password", NOVA_KEY_NOTICED, NO_INJECT},
    {"inject_key", NOVA_KEY_NOTICED, NO_INJECT},
    {"inject_partition", NOVA_KEY_NOTICED, NO_INJECT},
    {"rescue_image_id", NOVA_KEY_NOTICED, NO_RESCUE},
    {"rescue_kernel_id", NOVA_KEY_NOTICED, NO_RESCUE},
    {"rescue_ramdisk_id", NOVA_KEY_NOTICED, NO_RESCUE},
    {"hw_machine_type", NOVA_KEY_NOTICED,
     "the machine type is the node's default at the first start and is kept from then on"},
    {"sysinfo_serial", NOVA_KEY_NOTICED,
     "the serial number shown to a guest is the server's id, which a move does not change"},
    {"rng_dev_path", NOVA_KEY_NOTICED, "guests get their entropy from the node's /dev/urandom"},
    {"use_usb_tablet", NOVA_KEY_NOTICED, NO_DEVICE},
    {"use_virtio_for_bridges", NOVA_KEY_NOTICED, "network cards are always virtio cards"},
    {"vif_driver", NOVA_KEY_NOTICED, "network cards are attached to a bridge of the node"},
    {"rx_queue_size", NOVA_KEY_NOTICED, "network cards have the hypervisor's queue sizes"},
    {"tx_queue_size", NOVA_KEY_NOTICED, "network cards have the hypervisor's queue sizes"},
    {"max_queues", NOVA_KEY_NOTICED, "network cards have one queue pair"},
    {"num_pcie_ports", NOVA_KEY_NOTICED, "libvirt adds ports as devices need them"},
    {"mem_stats_period_seconds", NOVA_KEY_NOTICED, "memory statistics are read when asked for"},
    {"enabled_perf_events", NOVA_KEY_NOTICED, NO_DEVICE},
    {"uid_maps", NOVA_KEY_NOTICED, "only KVM and QEMU guests are run, not containers"},
    {"gid_maps", NOVA_KEY_NOTICED, "only KVM and QEMU guests are run, not containers"},
    {"xen_hvmloader_path", NOVA_KEY_NOTICED, "only KVM and QEMU guests are run"},
    {"realtime_scheduler_priority", NOVA_KEY_NOTICED, "real-time guests are not offered"},
    {"file_backed_memory", NOVA_KEY_NOTICED, "guest memory is anonymous memory"},
    {"num_memory_encrypted_guests", NOVA_KEY_NOTICED,
     "guests with encrypted memory are not offered: they cannot be moved"},
    {"device_detach_attempts", NOVA_KEY_NOTICED, "a detach follows libvirt's own events"},
    {"device_detach_timeout", NOVA_KEY_NOTICED, "a detach follows libvirt's own events"},
    {"pmem_namespaces", NOVA_KEY_NOTICED, NO_DEVICE},
    {"swtpm_enabled", NOVA_KEY_NOTICED, NO_TPM},
    {"swtpm_user", NOVA_KEY_NOTICED, NO_TPM},
    {"swtpm_group", NOVA_KEY_NOTICED, NO_TPM},
    {"supported_tpm_secret_security", NOVA_KEY_NOTICED, NO_TPM},
    {"default_tpm_secret_security", NOVA_KEY_NOTICED, NO_TPM},
    {"cpu_power_management", NOVA_KEY_NOTICED, NO_PIN},
    {"cpu_power_management_strategy", NOVA_KEY_NOTICED, NO_PIN},
    {"cpu_power_governor_low", NOVA_KEY_NOTICED, NO_PIN},
    {"cpu_power_governor_high", NOVA_KEY_NOTICED, NO_PIN},
    {"tb_cache_size", NOVA_KEY_NOTICED, "QEMU's own translation cache size is used"},
    {NULL, NOVA_KEY_NOTICED, NULL},
};

const NovaKey *
nova_libvirt_key_find(const char *name)
{
    for (const NovaKey *key = nova_libvirt_keys; key->name; key++)
        if (strcmp(key->name, name) == 0)
            return key;
    return NULL;
}

#define NEAREST_LENGTH 64

/* Levenshtein's distance, one row at a time. */
static unsigned
edit_distance(const char *from, const char *to)
{
    unsigned row[NEAREST_LENGTH + 1];
    size_t width = strlen(to);

    for (unsigned j = 0; j <= width; j++)
        row[j] = j;
    for (unsigned i = 1; from[i - 1]; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (unsigned j = 1; j <= width; j++) {
            unsigned above = row[j];
            unsigned replaced = diagonal + (from[i - 1] != to[j - 1]);

            row[j] = MIN(MIN(above, row[j - 1]) + 1, replaced);
            diagonal = above;
        }
    }
    return row[width];
}

const char *
nova_libvirt_key_nearest(const char *name)
{
    const char *nearest = NULL;
    size_t length = strlen(name);
    unsigned best = length / 3 + 1;

    if (length > NEAREST_LENGTH)
        return NULL;
    for (const NovaKey *key = nova_libvirt_keys; key->name; key++) {
        unsigned distance;

        g_assert(strlen(key->name) <= NEAREST_LENGTH);
        distance = edit_distance(name, key->name);
        if (distance < best) {
            best = distance;
            nearest = key->name;
        }
    }
    return nearest;
}

/* Groups of Nova itself and of the libraries that it reads its configuration with. */
static const char *const nova_groups[] = {
    "DEFAULT",
    "api",
    "api_database",
    "barbican",
    "barbican_service_user",
    "cache",
    "cells",
    "cinder",
    "compute",
    "conductor",
    "conductor_database",
    "console",
    "consoleauth",
    "cors",
    "crypto",
    "cyborg",
    "database",
    "devices",
    "ephemeral_storage_encryption",
    "filter_scheduler",
    "glance",
    "guestfs",
    "healthcheck",
    "hyperv",
    "image_cache",
    "image_file_url",
    "ironic",
    "key_manager",
    "keymgr",
    "keystone",
    "keystone_authtoken",
    "libvirt",
    "manila",
    "matchmaker_redis",
    "metrics",
    "mks",
    "neutron",
    "neutron_tunnel",
    "notifications",
    "nova_sys_admin",
    "os_brick",
    "os_vif_linux_bridge",
    "os_vif_noop",
    "os_vif_ovs",
    "osapi_v21",
    "osapi_v3",
    "oslo_concurrency",
    "oslo_limit",
    "oslo_messaging_amqp",
    "oslo_messaging_kafka",
    "oslo_messaging_metrics",
    "oslo_messaging_notifications",
    "oslo_messaging_qpid",
    "oslo_messaging_rabbit",
    "oslo_messaging_zmq",
    "oslo_middleware",
    "oslo_policy",
    "oslo_reports",
    "oslo_versionedobjects",
    "pci",
    "placement",
    "placement_database",
    "powervm",
    "privsep",
    "privsep_osbrick",
    "profiler",
    "quota",
    "rdp",
    "remote_debug",
    "scheduler",
    "serial_console",
    "service_user",
    "spice",
    "ssl",
    "trusted_computing",
    "upgrade_levels",
    "vault",
    "vendordata_dynamic_auth",
    "vif_plug_linux_bridge_privileged",
    "vif_plug_ovs_privileged",
    "vmware",
    "vnc",
    "workarounds",
    "wsgi",
    "xenserver",
    "zookeeper",
    "zvm",
    NULL,
};

/* Groups whose names end in a name of the operator's: [mdev_nvidia-35], [neutron_physnet_public] */
static const char *const nova_group_prefixes[] = {"mdev_", "vgpu_", "neutron_physnet_",
                                                  "cell:", NULL};

/* What a section of keystoneauth settings holds; Nova's [placement] is one. */
static const char *const keystoneauth_keys[] = {
    "auth_section",
    "auth_strategy",
    "auth_type",
    "auth_plugin",
    "auth_url",
    "auth_uri",
    "cafile",
    "certfile",
    "collect_timing",
    "connect_retries",
    "connect_retry_delay",
    "default_domain_id",
    "default_domain_name",
    "domain_id",
    "domain_name",
    "endpoint_override",
    "insecure",
    "keyfile",
    "max_version",
    "min_version",
    "os_interface",
    "os_region_name",
    "password",
    "project_domain_id",
    "project_domain_name",
    "project_id",
    "project_name",
    "randomize_allocation_candidates",
    "region_name",
    "retriable_status_codes",
    "service_name",
    "service_type",
    "split_loggers",
    "status_code_retries",
    "status_code_retry_delay",
    "system_scope",
    "tenant_id",
    "tenant_name",
    "timeout",
    "trust_id",
    "user_domain_id",
    "user_domain_name",
    "user_id",
    "username",
    "valid_interfaces",
    "version",
    "incomplete_consumer_project_id",
    "policy_file",
    "limit_project",
    "allocation_conflict_retry_count",
    NULL,
};

bool
config_group_is_novas(const char *group)
{
    for (const char *const *known = nova_groups; *known; known++)
        if (g_ascii_strcasecmp(*known, group) == 0)
            return true;
    for (const char *const *prefix = nova_group_prefixes; *prefix; prefix++)
        if (g_ascii_strncasecmp(*prefix, group, strlen(*prefix)) == 0)
            return true;
    return false;
}

bool
config_key_is_novas_placement(const char *key)
{
    return g_strv_contains(keystoneauth_keys, key);
}
