/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* server-parts.c: what several operations on a server have in common */
#include <string.h>

#include "task/task-priv.h"

#define SHUTDOWN_AGAIN_US (10 * USEC_PER_SEC)

/* ---- placement
 * ------------------------------------------------------------------------------------ */

bool
part_choose_host(TaskRun *run, StoreTx *tx, const PlacementRequest *request, char **host,
                 GError **err)
{
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, NULL, err);
    g_autofree HostLoad *loads = NULL;

    if (!hosts)
        return false;
    loads = g_new0(HostLoad, hosts->len + 1);
    if (!store_host_loads(tx, hosts, loads, err))
        return false;
    *host = placement_choose(request, loads, hosts->len, err);
    return *host != NULL;
}

static void
set_host(TaskRun *run, Server *server)
{
    text_set(&server->host, run_state_text(run, "host"));
    server->task_state = TASK_SPAWNING;
}

bool
part_find_place(TaskRun *run, StoreTx *tx, char **host, GError **err)
{
    const TaskSettings *settings = run_settings(run);
    const PlacementRequest request = {
        .vcpus = run->server->vcpus,
        .ram_mb = run->server->ram_mb,
        .only_host = run->task->host,
        .needs_storage = true,
        .cpu_ratio = settings->cpu_ratio,
        .ram_ratio = settings->ram_ratio,
        .reserved_ram_mb = settings->reserved_ram_mb,
    };

    return part_choose_host(run, tx, &request, host, err);
}

bool
part_place(TaskRun *run, StoreTx *tx, GError **err)
{
    g_autofree char *host = NULL;

    if (!part_find_place(run, tx, &host, err))
        return false;
    run_set_state_text(run, "host", host);
    return run_update_server(run, tx, set_host, err);
}

/* ---- ports and bridges
 * ------------------------------------------------------------------------------ */

typedef struct ServerNet { /* the server's ports with their networks and subnets, same index */
    TaskRun *run;
    GPtrArray *ports, *networks, *subnets;
    Keypair *keypair; /* NULL: none */
} ServerNet;

static void
server_net_clear(ServerNet *net)
{
    g_clear_pointer(&net->ports, g_ptr_array_unref);
    g_clear_pointer(&net->networks, g_ptr_array_unref);
    g_clear_pointer(&net->subnets, g_ptr_array_unref);
    keypair_free(net->keypair);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ServerNet, server_net_clear)

static void
subnet_free_or_null(gpointer subnet)
{
    subnet_free(subnet);
}

static bool
read_server_net(StoreTx *tx, void *opaque, GError **err)
{
    ServerNet *net = opaque;
    const Server *server = net->run->server;
    const StoreCond where[] = {{"device_id", STORE_EQ, server->id, 0}, {NULL}};

    net->ports = store_list(tx, &PORT, &(StoreQuery){.where = where, .order_by = "position"}, err);
    if (!net->ports)
        return false;
    net->networks = g_ptr_array_new_with_free_func((GDestroyNotify)network_free);
    net->subnets = g_ptr_array_new_with_free_func(subnet_free_or_null);
    for (guint i = 0; i < net->ports->len; i++) {
        const Port *port = g_ptr_array_index(net->ports, i);
        Network *network = store_get(tx, &NETWORK, port->network_id, err);
        Subnet *subnet = NULL;

        if (!network)
            return false;
        g_ptr_array_add(net->networks, network);
        if (port->subnet_id && !(subnet = store_get(tx, &SUBNET, port->subnet_id, err)))
            return false;
        g_ptr_array_add(net->subnets, subnet);
    }
    if (server->key_name) {
        g_autofree char *id = g_strdup_printf("%s:%s", server->user_id, server->key_name);

        net->keypair =
            store_get(tx, &KEYPAIR, id, NULL); /* deleted since: the server goes without */
    }
    return true;
}

bool
part_check_bridges(TaskRun *run, const char *host, GError **err)
{
    g_auto(ServerNet) net = {.run = run};

    if (!store_read(run_store(run), read_server_net, &net, err))
        return false;
    for (guint i = 0; i < net.networks->len; i++) {
        const Network *network = g_ptr_array_index(net.networks, i);
        /* Only a bridge has this directory; libvirt reads it for us as it would any other. */
        g_autofree char *path = g_strdup_printf("/sys/class/net/%s/brif/ports", network->bridge);
        g_autoptr(GError) error = NULL;
        int64_t total, free_bytes;

        if (host_file_system(run_hosts(run), host, path, &total, &free_bytes, DEADLINE_CONTROL,
                             &error))
            continue;
        if (err_code(error) == ERR_UNREACHABLE || err_code(error) == ERR_TIMEOUT) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
        return err_set(err, ERR_CONFLICT,
                       "%s has no bridge %s, which network %s needs (%s); make the bridge there or "
                       "choose another host",
                       host, network->bridge, network->name, error->message);
    }
    return true;
}

/* ---- disk and config drive
 * ------------------------------------------------------------------------------ */

bool
part_make_disk(TaskRun *run, GError **err)
{
    if (!*run->server->image_id) /* it boots from a volume */
        return true;
    return storage_disk_create(run_storage(run), run->server->id, run->server->image_id,
                               run->server->disk_gb << 30, err);
}

static json_t *
meta_data(const Server *server, const Keypair *keypair)
{
    json_t *meta = server->metadata ? json_loads(server->metadata, 0, NULL) : NULL;
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:o, s:[]}", "uuid", server->id, "name",
                  server->name, "hostname", server->hostname ? server->hostname : server->name,
                  "availability_zone", "nova", "launch_index", (json_int_t)server->launch_index,
                  "project_id", server->project_id, "meta", meta ? meta : json_object(), "devices");

    if (keypair) {
        json_object_set_new(root, "public_keys",
                            json_pack("{s:s}", keypair->name, keypair->public_key));
        json_object_set_new(root, "keys",
                            json_pack("[{s:s, s:s, s:s}]", "name", keypair->name, "type",
                                      keypair->type, "data", keypair->public_key));
    }
    return root;
}

static char *
netmask_of(const char *cidr)
{
    const char *slash = cidr ? strchr(cidr, '/') : NULL;
    int64_t bits = 0;
    uint32_t mask;

    if (!slash || !parse_int64(slash + 1, 0, 32, &bits))
        bits = 32;
    mask = bits == 0 ? 0 : UINT32_MAX << (32 - bits);
    return g_strdup_printf("%u.%u.%u.%u", mask >> 24, mask >> 16 & 255, mask >> 8 & 255,
                           mask & 255);
}

static json_t *
network_data_entry(const Port *port, const Network *network, const Subnet *subnet, guint i)
{
    g_autofree char *id = g_strdup_printf("network%u", i), *link = g_strdup_printf("tap%u", i);
    g_autofree char *netmask = netmask_of(subnet->cidr);
    json_t *routes = json_array();
    json_t *dns = json_loads(subnet->dns_nameservers ? subnet->dns_nameservers : "[]", 0, NULL);
    json_t *services = json_array(), *address;
    size_t k;

    if (subnet->gateway_ip)
        json_array_append_new(routes, json_pack("{s:s, s:s, s:s}", "network", "0.0.0.0", "netmask",
                                                "0.0.0.0", "gateway", subnet->gateway_ip));
    json_array_foreach(dns, k, address)
        json_array_append_new(services, json_pack("{s:s, s:O}", "type", "dns", "address", address));
    json_decref(dns);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "id", id, "type", "ipv4", "link",
                     link, "network_id", network->id, "ip_address", port->ip_address, "netmask",
                     netmask, "routes", routes, "services", services);
}

static json_t *
network_data(const ServerNet *net)
{
    json_t *links = json_array(), *networks = json_array();

    for (guint i = 0; i < net->ports->len; i++) {
        const Port *port = g_ptr_array_index(net->ports, i);
        const Network *network = g_ptr_array_index(net->networks, i);
        const Subnet *subnet = g_ptr_array_index(net->subnets, i);
        g_autofree char *link = g_strdup_printf("tap%u", i);

        json_array_append_new(links,
                              json_pack("{s:s, s:s, s:s, s:s, s:I}", "id", link, "vif_id", port->id,
                                        "type", "bridge", "ethernet_mac_address", port->mac_address,
                                        "mtu", (json_int_t)(network->mtu ? network->mtu : 1500)));
        if (subnet && port->ip_address)
            json_array_append_new(networks, network_data_entry(port, network, subnet, i));
    }
    return json_pack("{s:o, s:o, s:[]}", "links", links, "networks", networks, "services");
}

bool
part_make_config_drive(TaskRun *run, GError **err)
{
    g_auto(ServerNet) net = {.run = run};
    json_t *document;
    g_autofree char *meta_text = NULL, *network_text = NULL;
    g_autofree void *iso = NULL;
    g_autofree unsigned char *user_data = NULL;
    gsize user_size = 0;
    size_t size, n = 0;
    ConfigDriveFile files[8];

    if (!store_read(run_store(run), read_server_net, &net, err))
        return false;
    document = meta_data(run->server, net.keypair);
    meta_text = json_dumps(document, JSON_COMPACT);
    json_decref(document);
    document = network_data(&net);
    network_text = json_dumps(document, JSON_COMPACT);
    json_decref(document);
    if (run->server->user_data)
        user_data = g_base64_decode(run->server->user_data, &user_size);

    static const char *const versions[] = {"latest", "2018-08-27"};
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    for (size_t v = 0; v < G_N_ELEMENTS(versions); v++) {
        char *meta_path = g_strdup_printf("openstack/%s/meta_data.json", versions[v]);
        char *network_path = g_strdup_printf("openstack/%s/network_data.json", versions[v]);
        char *user_path = g_strdup_printf("openstack/%s/user_data", versions[v]);
        char *vendor_path = g_strdup_printf("openstack/%s/vendor_data.json", versions[v]);

        g_ptr_array_add(paths, meta_path);
        g_ptr_array_add(paths, network_path);
        g_ptr_array_add(paths, user_path);
        g_ptr_array_add(paths, vendor_path);
        files[n++] = (ConfigDriveFile){meta_path, meta_text, strlen(meta_text)};
        files[n++] = (ConfigDriveFile){network_path, network_text, strlen(network_text)};
        files[n++] = (ConfigDriveFile){vendor_path, "{}", 2};
        if (user_data)
            files[n++] = (ConfigDriveFile){user_path, user_data, user_size};
    }
    return config_drive_build(files, n, &iso, &size, err) &&
           storage_config_drive_store(run_storage(run), run->server->id, iso, size, err);
}

/* ---- the domain
 * ------------------------------------------------------------------------------------------- */

/* The disk that it boots from, the volumes in the order of their devices, the config drive. */
static bool
add_disks(TaskRun *run, ServerSpec *spec, GError **err)
{
    const Storage *storage = run_storage(run);
    const Server *server = run->server;
    g_autoptr(GPtrArray) volumes = part_server_volumes(run, err);
    DiskSpec *disk;

    if (!volumes)
        return false;
    spec->disks = g_new0(DiskSpec, volumes->len + 2);
    if (*server->image_id) {
        disk = &spec->disks[spec->n_disks++];
        disk->target = g_strdup("vda");
        if (!storage_disk_source(storage, server->id, &disk->source, &disk->format, err) ||
            !storage_access(storage, &disk->rbd, err))
            return false;
    }
    for (guint i = 0; i < volumes->len; i++)
        if (!part_volume_disk(run, g_ptr_array_index(volumes, i), &spec->disks[spec->n_disks++],
                              err))
            return false;
    disk = &spec->disks[spec->n_disks++];
    disk->is_cdrom = true;
    disk->format = g_strdup("raw");
    return storage_config_drive_source(storage, server->id, &disk->source, err) &&
           storage_access(storage, &disk->rbd, err);
}

ServerSpec *
part_server_spec(TaskRun *run, const char *host, GError **err)
{
    g_auto(ServerNet) net = {.run = run};
    g_autoptr(ServerSpec) spec = g_new0(ServerSpec, 1);
    const Server *server = run->server;
    const Storage *storage = run_storage(run);

    if (!store_read(run_store(run), read_server_net, &net, err))
        return NULL;
    spec->uuid = g_strdup(server->id);
    spec->domain_name = server_domain_name(server);
    spec->title = g_strdup(server->name);
    spec->virt_type = g_strdup(run_settings(run)->libvirt->virt_type);
    spec->machine = g_strdup(server->machine ? server->machine : "pc");
    spec->vcpus = server->vcpus;
    spec->ram_mb = server->ram_mb;
    spec->console_path = storage_console_path(storage, server->id);
    if (!add_disks(run, spec, err))
        return NULL;
    spec->nics = g_new0(NicSpec, net.ports->len + 1);
    spec->n_nics = net.ports->len;
    for (guint i = 0; i < net.ports->len; i++) {
        const Port *port = g_ptr_array_index(net.ports, i);
        const Network *network = g_ptr_array_index(net.networks, i);

        spec->nics[i] = (NicSpec){.mac_address = g_strdup(port->mac_address),
                                  .bridge = g_strdup(network->bridge),
                                  .port_id = g_strdup(port->id)};
    }
    if (!part_choose_cpu(run, host, &spec->cpu_xml, err))
        return NULL;
    return g_steal_pointer(&spec);
}

/* The newest part is the last; a node that the server comes back to appends to what it has. */
void
part_console_add(Server *server, const char *host)
{
    json_t *parts = server->console_parts ? json_loads(server->console_parts, 0, NULL) : NULL;
    g_autofree char *text = NULL;
    json_t *part;
    size_t i;

    if (!json_is_array(parts)) {
        json_decref(parts);
        parts = json_array();
    }
    json_array_foreach(parts, i, part) if (g_strcmp0(json_string_value(part), host) == 0)
    {
        json_array_remove(parts, i);
        break;
    }
    json_array_append_new(parts, json_string(host));
    text = json_dumps(parts, JSON_COMPACT);
    json_decref(parts);
    text_set(&server->console_parts, text);
}

void
part_console_delete(TaskRun *run)
{
    const Storage *storage = run_storage(run);
    g_autofree char *path = storage_console_path(storage, run->server->id);
    json_t *parts, *part;
    size_t i;

    if (storage->ops->console_is_shared || !run->server->console_parts)
        return;
    parts = json_loads(run->server->console_parts, 0, NULL);
    json_array_foreach(parts, i, part) if (json_is_string(part))
        host_file_delete(run_hosts(run), json_string_value(part), path, DEADLINE_CONTROL, NULL);
    json_decref(parts);
}

static bool
read_hosts_up(StoreTx *tx, void *opaque, GError **err)
{
    const StoreCond where[] = {
        {"state", STORE_EQ, NULL, HOST_UP}, {"hypervisor_cpu", STORE_NOT_NULL, NULL, 0}, {NULL}};

    return (*(GPtrArray **)opaque = store_list(
                tx, &HOST, &(StoreQuery){.where = where, .order_by = "name"}, err)) != NULL;
}

char *
engine_choose_cpu(Store *store, Hosts *hosts, const LibvirtSettings *settings, const char *host,
                  char **limit, GError **err)
{
    g_autoptr(GPtrArray) up = NULL;
    g_autofree const char **names = NULL, **cpus = NULL;

    if (!store_read(store, read_hosts_up, &up, err))
        return NULL;
    names = g_new0(const char *, up->len + 1);
    cpus = g_new0(const char *, up->len + 1);
    for (guint i = 0; i < up->len; i++) {
        const Host *row = g_ptr_array_index(up, i);

        names[i] = row->name;
        cpus[i] = row->hypervisor_cpu;
        if (!host)
            host = row->name;
    }
    if (!host) {
        err_set(err, ERR_CONFLICT,
                "no host is up, so no CPU can be computed; see 'godwit host list'");
        return NULL;
    }
    return host_cpu_choose(hosts, host, settings, names, cpus, up->len, limit, DEADLINE_CONTROL,
                           err);
}

bool
part_choose_cpu(TaskRun *run, const char *host, char **cpu_xml, GError **err)
{
    g_autoptr(GError) error = NULL;

    if (run_settings(run)->libvirt->cpu_mode == CPU_MODE_NONE)
        return true;
    *cpu_xml = engine_choose_cpu(run_store(run), run_hosts(run), run_settings(run)->libvirt, host,
                                 NULL, &error);
    if (error)
        g_propagate_error(err, g_steal_pointer(&error));
    return *cpu_xml != NULL;
}

void
part_not_started(TaskRun *run, const GError *error)
{
    g_autoptr(DomainInfo) info = NULL;

    if (!err_outcome_known(error))
        return;
    info = host_domain_probe(run_hosts(run), run->server->host, run->server->id, DEADLINE_CONTROL,
                             NULL);
    if (info && seen_of(info, true) == SEEN_GONE)
        part_expect_no_clients(run);
}

bool
part_start_domain(TaskRun *run, GError **err)
{
    g_autoptr(ServerSpec) spec = part_server_spec(run, run->server->host, err);
    g_autofree char *machine = NULL, *cpu = NULL;
    g_autoptr(GError) error = NULL;

    if (!spec || !part_clear_disk_clients(run, err) || !part_expect_clients(run, err))
        return false;
    if (!host_domain_start(run_hosts(run), run->server->host, spec, &machine, &cpu, DEADLINE_WORK,
                           &error)) {
        part_not_started(run, error);
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    run_set_state_text(run, "machine", machine);
    run_set_state_text(run, "cpu", cpu);
    return part_observe_clients(run, run->server->host, err);
}

StepProbe
part_probe_running(TaskRun *run, GError **err)
{
    g_autoptr(DomainInfo) info = host_domain_probe(run_hosts(run), run->server->host,
                                                   run->server->id, DEADLINE_CONTROL, err);

    if (!info)
        return STEP_UNKNOWN;
    /* "Running" alone is not done: machine and cpu are read back by the start itself, which is
     * idempotent. */
    return STEP_NOT_DONE;
}

StepProbe
part_probe_stopped(TaskRun *run, GError **err)
{
    g_autoptr(DomainInfo) info = host_domain_probe(run_hosts(run), run->server->host,
                                                   run->server->id, DEADLINE_CONTROL, err);

    if (!info)
        return STEP_UNKNOWN;
    return seen_of(info, true) == SEEN_GONE ? STEP_DONE : STEP_NOT_DONE;
}

/* Wait for the STOPPED event of the guest, at most until deadline, and not for the sake of a server
 * that is being deleted. True: it is off. */
static bool
wait_until_off(TaskRun *run, int64_t deadline, GError **err)
{
    for (;;) {
        g_autoptr(RunMessage) message = NULL;
        g_autoptr(DomainInfo) info = host_domain_probe(run_hosts(run), run->server->host,
                                                       run->server->id, DEADLINE_CONTROL, err);

        if (!info)
            return false;
        if (seen_of(info, true) == SEEN_GONE)
            return true;
        if (clock_monotonic() >= deadline || __atomic_load_n(&run->cancelled, __ATOMIC_RELAXED))
            return false;
        /* Every message of this server may be the end; the second is for a lost event. */
        message = run_receive(run, MIN(deadline, clock_monotonic() + USEC_PER_SEC), err);
        if (run_is_stopping(run))
            return false;
    }
}

bool
part_power_off(TaskRun *run, bool graceful, GError **err)
{
    const char *host = run->server->host;
    g_autoptr(GError) error = NULL;

    if (graceful) {
        int64_t deadline = clock_monotonic() + run_settings(run)->shutdown_timeout_s * USEC_PER_SEC;

        /* A guest that is still booting does not hear it: ask again. */
        while (clock_monotonic() < deadline &&
               !__atomic_load_n(&run->cancelled, __ATOMIC_RELAXED)) {
            if (!host_domain_shutdown(run_hosts(run), host, run->server->id, DEADLINE_CONTROL, err))
                return false;
            if (wait_until_off(run, MIN(deadline, clock_monotonic() + SHUTDOWN_AGAIN_US), &error))
                return true;
            if (error) {
                g_propagate_error(err, g_steal_pointer(&error));
                return false;
            }
        }
        log_event(LOG_LEVEL_INFO, "task", "the guest did not power off in time, pulling the plug",
                  "server", run->server->id, "host", host, NULL);
    }
    return host_domain_destroy(run_hosts(run), host, run->server->id, DEADLINE_WORK, err);
}
