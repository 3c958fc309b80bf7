/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* view-host.c: a compute node as hypervisor and as nova-compute service */
#include <string.h>

#include "api/compute-priv.h"

bool
host_is_up(const Host *host)
{
    return host->state == HOST_UP && !host->forced_down;
}

static const char *
host_status(const Host *host)
{
    return host->enabled ? "enabled" : "disabled";
}

/* As `uptime` would print it, from the node's start; NULL if that is not known. */
static json_t *
host_uptime(const Host *host)
{
    int64_t now = clock_realtime();
    int64_t seconds = (now - host->started_at) / USEC_PER_SEC;

    if (host->started_at == 0 || seconds < 0 || host->state != HOST_UP)
        return json_null();
    g_autofree char *time = clock_format(now, false);
    g_autofree char *clean = g_strndup(time + 11, 8);
    g_autofree char *text =
        g_strdup_printf(" %s up %" PRId64 " days, %2" PRId64 ":%02" PRId64, clean, seconds / 86400,
                        seconds % 86400 / 3600, seconds % 3600 / 60);
    return json_string(text);
}

static json_t *
host_cpu_info(ApiCall *call, const Host *host)
{
    json_t *info = json_parse_stored(host->cpu_info, JSON_OBJECT);

    if (api_microversion_at_least(call, 28))
        return info;
    g_autofree char *text = json_object_size(info) > 0 ? json_to_text(info) : g_strdup("");
    json_decref(info);
    return json_string(text);
}

static void
hypervisor_usage(const HostLoad *load, json_t *view)
{
    const Host *host = load->host;
    int64_t disk_used = MAX(host->disk_gb - host->disk_free_gb, 0);
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {
        {"vcpus", host->vcpus},
        {"vcpus_used", load->vcpus_used},
        {"memory_mb", host->memory_mb},
        {"memory_mb_used", load->ram_mb_used},
        {"free_ram_mb", host->memory_mb - load->ram_mb_used},
        {"local_gb", host->disk_gb},
        {"local_gb_used", disk_used},
        {"free_disk_gb", host->disk_free_gb},
        {"disk_available_least", host->disk_free_gb},
        {"running_vms", load->servers},
        {"current_workload", 0},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        const json_t *sum = json_object_get(view, numbers[i].key);
        json_object_set_new(view, numbers[i].key,
                            json_integer(numbers[i].value + json_integer_value(sum)));
    }
}

json_t *
view_hypervisor(ApiCall *call, const HostLoad *load, bool detail)
{
    const Host *host = load->host;
    bool by_uuid = api_microversion_at_least(call, 53);
    json_t *view = json_pack("{s:o,s:s,s:s,s:s}", "id",
                             by_uuid ? json_string(host->id) : json_integer(host->number),
                             "hypervisor_hostname", host->name, "state",
                             host_is_up(host) ? "up" : "down", "status", host_status(host));

    if (!detail)
        return view;
    json_object_set_new(view, "hypervisor_type", json_string("QEMU"));
    json_object_set_new(view, "hypervisor_version", json_integer(host->qemu_version));
    json_object_set_new(view, "host_ip", json_text_or_null(host->address));
    json_object_set_new(
        view, "service",
        json_pack("{s:o,s:s,s:o}", "id",
                  by_uuid ? json_string(host->service_id) : json_integer(host->number), "host",
                  host->name, "disabled_reason", json_text_or_null(host->disabled_reason)));
    if (api_microversion_at_least(call, 88)) {
        json_object_set_new(view, "uptime", host_uptime(host));
    } else {
        hypervisor_usage(load, view);
        json_object_set_new(view, "cpu_info", host_cpu_info(call, host));
    }
    return view;
}

json_t *
view_hypervisor_uptime(ApiCall *call, const HostLoad *load)
{
    json_t *view = view_hypervisor(call, load, false);

    json_object_set_new(view, "uptime", host_uptime(load->host));
    return view;
}

json_t *
view_hypervisor_statistics(const HostLoad *loads, size_t n_loads)
{
    json_t *sums = json_pack("{s:i}", "count", (int)n_loads);
    Host nothing = {0};
    HostLoad zero = {.host = &nothing};

    hypervisor_usage(&zero, sums);
    for (size_t i = 0; i < n_loads; i++)
        hypervisor_usage(&loads[i], sums);
    return sums;
}

json_t *
view_service(ApiCall *call, const Host *host)
{
    bool by_uuid = api_microversion_at_least(call, 53);
    json_t *view = json_pack(
        "{s:s,s:s,s:o,s:s,s:s,s:s,s:o,s:o}", "binary", "nova-compute", "host", host->name, "id",
        by_uuid ? json_string(host->service_id) : json_integer(host->number), "zone", "nova",
        "status", host_status(host), "state", host_is_up(host) ? "up" : "down", "updated_at",
        view_time_micros(host->facts_at ? host->facts_at : host->updated_at), "disabled_reason",
        json_text_or_null(host->disabled_reason));

    if (api_microversion_at_least(call, 11))
        json_object_set_new(view, "forced_down", json_boolean(host->forced_down));
    return view;
}
