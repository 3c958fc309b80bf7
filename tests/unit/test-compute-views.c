/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-compute-views.c: the answers of the compute service have exactly the keys of each
 * microversion, 2.1 to 2.95 */
#include "compute-world.h"

static void
test_server_keys(void)
{
    static const Key keys[] = {{"id"},
                               {"name"},
                               {"status"},
                               {"tenant_id"},
                               {"user_id"},
                               {"metadata"},
                               {"hostId"},
                               {"image"},
                               {"flavor"},
                               {"created"},
                               {"updated"},
                               {"addresses"},
                               {"accessIPv4"},
                               {"accessIPv6"},
                               {"links"},
                               {"OS-DCF:diskConfig"},
                               {"progress"},
                               {"OS-EXT-AZ:availability_zone"},
                               {"config_drive"},
                               {"key_name"},
                               {"OS-SRV-USG:launched_at"},
                               {"OS-SRV-USG:terminated_at"},
                               {"security_groups"},
                               {"OS-EXT-STS:task_state"},
                               {"OS-EXT-STS:vm_state"},
                               {"OS-EXT-STS:power_state"},
                               {"os-extended-volumes:volumes_attached"},
                               {"OS-EXT-SRV-ATTR:host"},
                               {"OS-EXT-SRV-ATTR:hypervisor_hostname"},
                               {"OS-EXT-SRV-ATTR:instance_name"},
                               {"OS-EXT-SRV-ATTR:hostname", 3},
                               {"OS-EXT-SRV-ATTR:reservation_id", 3},
                               {"OS-EXT-SRV-ATTR:launch_index", 3},
                               {"OS-EXT-SRV-ATTR:kernel_id", 3},
                               {"OS-EXT-SRV-ATTR:ramdisk_id", 3},
                               {"OS-EXT-SRV-ATTR:root_device_name", 3},
                               {"OS-EXT-SRV-ATTR:user_data", 3},
                               {"locked", 9},
                               {"host_status", 16},
                               {"description", 19},
                               {"tags", 26},
                               {"trusted_image_certificates", 63},
                               {"locked_reason", 73},
                               {"server_groups", 71},
                               {0}};
    static const Key detail_less[] = {{"server_groups", 71}, {0}};
    static const Key old_flavor[] = {{"id", 0, 46},       {"links", 0, 46},
                                     {"vcpus", 47},       {"ram", 47},
                                     {"disk", 47},        {"ephemeral", 47},
                                     {"swap", 47},        {"original_name", 47},
                                     {"extra_specs", 47}, {0}};
    g_autofree char *path = g_strconcat("/compute/v2.1/servers/", server_id, NULL);

    for (int v = 1; v <= 95; v++) {
        json_t *answer = get(path, v);
        json_t *server = json_object_get(answer, "server");
        expect_keys(server, keys, v, "server");
        expect_keys(json_object_get(server, "flavor"), old_flavor, v, "flavor in server");
        g_assert_true(json_is_null(json_object_get(server, "OS-EXT-STS:task_state")));
        g_assert_cmpint(json_integer_value(json_object_get(server, "OS-EXT-STS:power_state")), ==,
                        1);
        json_decref(answer);

        answer = get("/compute/v2.1/servers/detail", v);
        server = json_array_get(json_object_get(answer, "servers"), 0);
        g_assert_null(json_object_get(server, detail_less[0].name));
        json_object_set_new(server, "server_groups", json_array());
        if (v < 71)
            json_object_del(server, "server_groups");
        expect_keys(server, keys, v, "server in detail");
        json_decref(answer);
    }
}

static void
test_host_keys(void)
{
    static const Key detail[] = {{"id"},
                                 {"hypervisor_hostname"},
                                 {"state"},
                                 {"status"},
                                 {"hypervisor_type"},
                                 {"hypervisor_version"},
                                 {"host_ip"},
                                 {"service"},
                                 {"vcpus", 0, 87},
                                 {"vcpus_used", 0, 87},
                                 {"memory_mb", 0, 87},
                                 {"memory_mb_used", 0, 87},
                                 {"free_ram_mb", 0, 87},
                                 {"local_gb", 0, 87},
                                 {"local_gb_used", 0, 87},
                                 {"free_disk_gb", 0, 87},
                                 {"disk_available_least", 0, 87},
                                 {"running_vms", 0, 87},
                                 {"current_workload", 0, 87},
                                 {"cpu_info", 0, 87},
                                 {"uptime", 88},
                                 {0}};
    static const Key service[] = {
        {"binary"},          {"host"},  {"id"},         {"zone"},
        {"status"},          {"state"}, {"updated_at"}, {"disabled_reason"},
        {"forced_down", 11}, {0}};

    for (int v = 1; v <= 95; v++) {
        json_t *answer = get("/compute/v2.1/os-hypervisors/detail", v);
        json_t *row = json_array_get(json_object_get(answer, "hypervisors"), 0);
        expect_keys(row, detail, v, "hypervisor");
        g_assert_true(v < 53 ? json_is_integer(json_object_get(row, "id"))
                             : json_is_string(json_object_get(row, "id")));
        if (v < 88) {
            g_assert_true(v < 28 ? json_is_string(json_object_get(row, "cpu_info"))
                                 : json_is_object(json_object_get(row, "cpu_info")));
            g_assert_cmpint(json_integer_value(json_object_get(row, "running_vms")), ==, 1);
            g_assert_cmpint(json_integer_value(json_object_get(row, "free_ram_mb")), ==,
                            4096 - 256);
        }
        json_decref(answer);
        answer = get("/compute/v2.1/os-services", v);
        row = json_array_get(json_object_get(answer, "services"), 0);
        expect_keys(row, service, v, "service");
        g_assert_true(v < 53 ? json_is_integer(json_object_get(row, "id"))
                             : json_is_string(json_object_get(row, "id")));
        json_decref(answer);
        refuse("GET", "/compute/v2.1/os-hypervisors/statistics", v, NULL, v < 88 ? 200 : 404, "");
        refuse("GET", "/compute/v2.1/os-hypervisors/host1/servers", v, NULL, v < 53 ? 200 : 404,
               v < 53 ? server_id : NULL);
        refuse("GET", "/compute/v2.1/os-hypervisors/host/search", v, NULL, v < 53 ? 200 : 404,
               v < 53 ? "host3" : NULL);
        refuse("GET",
               "/compute/v2.1/os-hypervisors?hypervisor_hostname_pattern=host1&with_servers="
               "True",
               v, NULL, 200, v >= 53 ? server_id : NULL);
    }
    refuse("GET", "/compute/v2.1/os-hypervisors?hypervisor_hostname_pattern=mars", 53, NULL, 404,
           "mars");
    refuse("GET", "/compute/v2.1/os-hypervisors?foo=1", 53, NULL, 400, "foo");
    refuse("GET", "/compute/v2.1/os-hypervisors?limit=1", 33, NULL, 200, "hypervisors_links");
    refuse("GET", "/compute/v2.1/os-hypervisors?limit=2&marker=1", 33, NULL, 200, "host3");
    refuse("GET", "/compute/v2.1/os-hypervisors/host1", 92, NULL, 404, "host1");
}

static void
test_small_keys(void)
{
    static const Key flavor[] = {{"id"},
                                 {"name"},
                                 {"links"},
                                 {"ram"},
                                 {"disk"},
                                 {"vcpus"},
                                 {"swap"},
                                 {"OS-FLV-EXT-DATA:ephemeral"},
                                 {"OS-FLV-DISABLED:disabled"},
                                 {"os-flavor-access:is_public"},
                                 {"rxtx_factor"},
                                 {"description", 55},
                                 {"extra_specs", 61},
                                 {0}};
    static const Key limits[] = {{"maxTotalInstances"},
                                 {"maxTotalCores"},
                                 {"maxTotalRAMSize"},
                                 {"maxTotalKeypairs"},
                                 {"maxServerMeta"},
                                 {"maxServerGroups"},
                                 {"maxServerGroupMembers"},
                                 {"totalInstancesUsed"},
                                 {"totalCoresUsed"},
                                 {"totalRAMUsed"},
                                 {"totalServerGroupsUsed"},
                                 {"maxPersonality", 0, 56},
                                 {"maxPersonalitySize", 0, 56},
                                 {"maxImageMeta", 0, 38},
                                 {"maxSecurityGroups", 0, 35},
                                 {"maxSecurityGroupRules", 0, 35},
                                 {"maxTotalFloatingIps", 0, 35},
                                 {"totalFloatingIpsUsed", 0, 35},
                                 {"totalSecurityGroupsUsed", 0, 35},
                                 {0}};
    static const Key action[] = {{"action"},  {"instance_uuid"},  {"request_id"},
                                 {"user_id"}, {"project_id"},     {"start_time"},
                                 {"message"}, {"updated_at", 58}, {0}};
    g_autofree char *actions =
        g_strdup_printf("/compute/v2.1/servers/%s/os-instance-actions", server_id);

    for (int v = 1; v <= 95; v++) {
        json_t *answer = get("/compute/v2.1/flavors/1", v);
        json_t *row = json_object_get(answer, "flavor");
        expect_keys(row, flavor, v, "flavor");
        g_assert_true(v < 75 ? json_is_string(json_object_get(row, "swap"))
                             : json_is_integer(json_object_get(row, "swap")));
        json_decref(answer);
        answer = get("/compute/v2.1/limits", v);
        expect_keys(json_object_get(json_object_get(answer, "limits"), "absolute"), limits, v,
                    "limits");
        json_decref(answer);
        answer = get(actions, v);
        expect_keys(json_array_get(json_object_get(answer, "instanceActions"), 0), action, v,
                    "action");
        json_decref(answer);
    }
}

static void
test_moves(void)
{
    static const Key row[] = {{"id"},
                              {"status"},
                              {"source_compute"},
                              {"source_node"},
                              {"dest_compute"},
                              {"dest_node"},
                              {"dest_host"},
                              {"created_at"},
                              {"updated_at"},
                              {"instance_uuid"},
                              {"old_instance_type_id"},
                              {"new_instance_type_id"},
                              {"migration_type", 23},
                              {"uuid", 59},
                              {"user_id", 80},
                              {"project_id", 80},
                              {0}};
    static const Key live[] = {{"id"},
                               {"status"},
                               {"source_compute"},
                               {"source_node"},
                               {"dest_compute"},
                               {"dest_node"},
                               {"dest_host"},
                               {"created_at"},
                               {"updated_at"},
                               {"server_uuid"},
                               {"memory_total_bytes"},
                               {"memory_processed_bytes"},
                               {"memory_remaining_bytes"},
                               {"disk_total_bytes"},
                               {"disk_processed_bytes"},
                               {"disk_remaining_bytes"},
                               {"uuid", 59},
                               {"user_id", 80},
                               {"project_id", 80},
                               {0}};
    g_autofree char *path = g_strdup_printf("/compute/v2.1/servers/%s/migrations", server_id);
    g_autofree char *show = g_strconcat("/compute/v2.1/servers/", server_id, NULL);

    start_move();
    refuse("GET", show, 1, NULL, 200, "\"MIGRATING\"");
    refuse("GET", "/compute/v2.1/servers?status=MIGRATING", 1, NULL, 200, server_id);
    for (int v = 1; v <= 95; v++) {
        json_t *answer = get("/compute/v2.1/os-migrations", v);
        expect_keys(json_array_get(json_object_get(answer, "migrations"), 0), row, v, "migration");
        json_decref(answer);
        if (v < 23) {
            refuse("GET", path, v, NULL, 404, NULL);
            continue;
        }
        answer = get(path, v);
        expect_keys(json_array_get(json_object_get(answer, "migrations"), 0), live, v,
                    "server migration");
        json_decref(answer);
    }
    refuse("GET", "/compute/v2.1/os-migrations?host=host2", 1, NULL, 200, server_id);
    refuse("GET", "/compute/v2.1/os-migrations?host=host3", 1, NULL, 200, "[]");
    refuse("GET", "/compute/v2.1/os-migrations?status=accepted", 1, NULL, 200, server_id);
    refuse("GET", "/compute/v2.1/os-migrations?status=done", 1, NULL, 200, "[]");
    refuse("GET", "/compute/v2.1/os-migrations?noise=1", 59, NULL, 400, "noise");
}

int
main(int argc, char **argv)
{
    int failed;

    g_test_init(&argc, &argv, NULL);
    log_set_level(LOG_LEVEL_WARNING);
    curl_global_init(CURL_GLOBAL_ALL);
    world_begin();
    g_test_add_func("/compute-views/create", test_create);
    g_test_add_func("/compute-views/server", test_server_keys);
    g_test_add_func("/compute-views/host", test_host_keys);
    g_test_add_func("/compute-views/small", test_small_keys);
    g_test_add_func("/compute-views/move", test_moves);
    failed = g_test_run();
    world_end();
    return failed;
}
