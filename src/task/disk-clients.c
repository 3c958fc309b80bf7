/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disk-clients.c: one writer per disk: who has a server's disks open, and may that be?
 *
 * Ceph lets any number of clients write to one image; its exclusive lock merely goes back and forth
 * between them. So before a start each disk's clients are listed, and whoever is there is judged:
 *
 *   this process                    no guest: let it be
 *   shut out by an evacuation       cannot write: let it be (task/fence.c)
 *   recorded, of a guest on a node  its QEMU is proven gone by that node: fenced at once;
 *                                   else refused: it runs, or the node does not answer
 *   not recorded, from the address  a start whose outcome was never recorded, if that node answers
 *   of a node of ours               and runs neither this server nor a guest that is not ours:
 *                                   fenced; else refused
 *   anybody else                    refused, by name
 *
 * A QEMU that was killed leaves its watch behind until the OSD's time-out, some 24 s. Nothing waits
 * for that: a client that is fenced is gone from the list at once, and could not write any more if
 * it lived after all. That is why fencing an unrecorded client of a node is safe for the data: the
 * disk belongs to this server alone, and what is shut out cannot be a second writer. What the proof
 * adds is that no living guest loses its disk. A tool that a person runs by hand on a node against
 * the disk of a stopped server looks the same, and is shut out, too; on any other machine it is
 * refused by name.
 *
 * An entry of the blocklist names one process (address and nonce), not a machine: the next QEMU has
 * a nonce of its own, so no entry has to be lifted, and each expires by itself.
 *
 * Files have no clients: there all lists are empty, and nothing of this happens. */
#include "task/disk-clients.h"

#include <string.h>

#define FENCE_SECONDS                                                           \
    (INT64_C(24) * 3600) /* a process proven gone cannot come back; the rest is \
                            for a proof that was wrong */
#define ROUNDS       3
#define CLIENTS_MOST 64 /* of all disks of a server; one each is what there should be */
#define NODES_MOST   8  /* that share one address */
#define OF_THE_PAST  0  /* created_at of a client whose QEMU is gone, while the next is started */

/* ---- the disks of a server and their clients ---------------------------------------------------
 */

typedef struct Disk {
    char *source;
    char *volume_id; /* NULL: the root disk */
    bool is_read_only;
} Disk;

static void
disk_free(gpointer data)
{
    Disk *disk = data;

    g_free(disk->source);
    g_free(disk->volume_id);
    g_free(disk);
}

static Disk *
add_disk(GPtrArray *disks, char *source, const char *volume_id)
{
    Disk *disk = g_new0(Disk, 1);

    disk->source = source;
    disk->volume_id = g_strdup(volume_id);
    g_ptr_array_add(disks, disk);
    return disk;
}

/* The config drive is one of them: QEMU opens it as it does the others, and it is written anew
 * before each start. */
static GPtrArray *
server_disks(TaskRun *run, GError **err)
{
    const Storage *storage = run_storage(run);
    g_autoptr(GPtrArray) disks = g_ptr_array_new_with_free_func(disk_free);
    g_autoptr(GPtrArray) volumes = part_server_volumes(run, err);
    char *source;

    if (!volumes)
        return NULL;
    if (*run->server->image_id) {
        g_autofree char *format = NULL;

        if (!storage_disk_source(storage, run->server_id, &source, &format, err))
            return NULL;
        add_disk(disks, source, NULL);
    }
    for (guint i = 0; i < volumes->len; i++) {
        const ServerVolume *entry = g_ptr_array_index(volumes, i);
        g_autofree char *format = NULL;

        if (!storage_volume_source(storage, entry->volume->id, &source, &format, err))
            return NULL;
        add_disk(disks, source, entry->volume->id);
    }
    if (!storage_config_drive_source(storage, run->server_id, &source, err))
        return NULL;
    add_disk(disks, source, NULL)->is_read_only = true;
    return g_steal_pointer(&disks);
}

static GPtrArray *
volume_disks(TaskRun *run, const char *volume_id, GError **err)
{
    g_autoptr(GPtrArray) disks = g_ptr_array_new_with_free_func(disk_free);
    g_autofree char *format = NULL;
    char *source = NULL;

    if (!storage_volume_source(run_storage(run), volume_id, &source, &format, err))
        return NULL;
    add_disk(disks, source, volume_id);
    return g_steal_pointer(&disks);
}

typedef struct Client { /* somebody who is not this process */
    const Disk *disk;   /* borrowed */
    char *address;
    DiskClient *record; /* NULL: not recorded */
    bool is_fenced;     /* by an evacuation, as the records say */
    GPtrArray *nodes;   /* names of our nodes that its address belongs to; not recorded only */
} Client;

static void
client_free(gpointer data)
{
    Client *client = data;

    g_free(client->address);
    disk_client_free(client->record);
    g_clear_pointer(&client->nodes, g_ptr_array_unref);
    g_free(client);
}

/* "192.0.2.7" of "192.0.2.7:0/3710147553"; NULL: it is no address. */
static char *
address_ip(const char *address)
{
    const char *slash = strrchr(address, '/');
    const char *colon = slash ? g_strrstr_len(address, slash - address, ":") : NULL;
    g_autofree char *ip = NULL;

    if (!colon)
        return NULL;
    if (address[0] == '[' && colon - address > 2 && colon[-1] == ']')
        ip = g_strndup(address + 1, (gsize)(colon - address - 2));
    else
        ip = g_strndup(address, (gsize)(colon - address));
    return g_hostname_is_ip_address(ip) ? g_steal_pointer(&ip) : NULL;
}

static bool
list_clients(TaskRun *run, const GPtrArray *disks, GPtrArray *clients, GError **err)
{
    for (guint i = 0; i < disks->len; i++) {
        const Disk *disk = g_ptr_array_index(disks, i);
        g_autoptr(GPtrArray) found = storage_clients(run_storage(run), disk->source, err);

        if (!found)
            return false;
        for (guint k = 0; k < found->len; k++) {
            const BlockClient *listed = g_ptr_array_index(found, k);
            Client *client;

            if (listed->is_own)
                continue;
            if (clients->len == CLIENTS_MOST)
                return err_set(err, ERR_CONFLICT,
                               "the disks of server %s are open %d times and more; see 'rbd status "
                               "%s'",
                               run->server_id, CLIENTS_MOST, disk->source);
            client = g_new0(Client, 1);
            client->disk = disk;
            client->address = g_strdup(listed->address);
            g_ptr_array_add(clients, client);
        }
    }
    return true;
}

/* ---- what the records know of them -------------------------------------------------------------
 */

static void
add_node(GPtrArray *nodes, const char *name)
{
    if (nodes->len < NODES_MOST &&
        !g_ptr_array_find_with_equal_func(nodes, name, g_str_equal, NULL))
        g_ptr_array_add(nodes, g_strdup(name));
}

/* The nodes with this address. A network for storage gives a node one that its row does not have,
 * but the clients recorded on it do. */
static bool
read_nodes(StoreTx *tx, const GPtrArray *hosts, Client *client, GError **err)
{
    g_autofree char *ip = address_ip(client->address);
    g_autofree char *pattern = NULL;
    g_autoptr(GPtrArray) rows = NULL;

    client->nodes = g_ptr_array_new_with_free_func(g_free);
    if (!ip)
        return true;
    for (guint i = 0; i < hosts->len; i++) {
        const Host *host = g_ptr_array_index(hosts, i);

        if (g_strcmp0(host->address, ip) == 0 || g_strcmp0(host->migration_address, ip) == 0)
            add_node(client->nodes, host->name);
    }
    pattern = g_strdup_printf(strchr(ip, ':') ? "[%s]:%%" : "%s:%%", ip);
    const StoreCond where[] = {{"address", STORE_LIKE, pattern, 0}, {NULL}};
    rows = store_list(tx, &DISK_CLIENT, &(StoreQuery){.where = where, .limit = NODES_MOST}, err);
    for (guint i = 0; rows && i < rows->len; i++)
        add_node(client->nodes, ((DiskClient *)g_ptr_array_index(rows, i))->host);
    return rows != NULL;
}

typedef struct Lookup {
    GPtrArray *clients;
    const char *server_id;
    GPtrArray *moves; /* out: Migration, not ended */
} Lookup;

static bool
read_records(StoreTx *tx, void *opaque, GError **err)
{
    Lookup *lookup = opaque;
    const StoreCond of_server[] = {{"server_id", STORE_EQ, lookup->server_id, 0}, {NULL}};
    g_autoptr(GPtrArray) hosts = store_list(tx, &HOST, NULL, err);

    if (!hosts)
        return false;
    for (guint i = 0; i < lookup->clients->len; i++) {
        Client *client = g_ptr_array_index(lookup->clients, i);
        const StoreCond same[] = {{"source", STORE_EQ, client->disk->source, 0},
                                  {"address", STORE_EQ, client->address, 0},
                                  {NULL}};

        const StoreCond fenced[] = {{"address", STORE_EQ, client->address, 0},
                                    {"expires_at", STORE_GT, NULL, clock_realtime()},
                                    {NULL}};

        client->is_fenced = store_count(tx, &FENCE, fenced, NULL) > 0;
        client->record = store_find(tx, &DISK_CLIENT, same, NULL);
        if (!client->record && !read_nodes(tx, hosts, client, err))
            return false;
    }
    lookup->moves = store_list(
        tx, &MIGRATION,
        &(StoreQuery){.where = of_server, .order_by = "id", .descending = true, .limit = 4}, err);
    return lookup->moves != NULL;
}

/* ---- judging -----------------------------------------------------------------------------------
 */

static bool
is_gone(const DomainInfo *info)
{
    return info->state == DOMAIN_ABSENT || info->state == DOMAIN_SHUTOFF ||
           info->state == DOMAIN_CRASHED;
}

static bool
no_answer(const char *host, const Client *client, const char *why, GError **err)
{
    return err_set(err, ERR_CONFLICT,
                   "the disk %s is still open on %s (%s), and %s does not answer (%s): the guest "
                   "may run there, so it is not started a second time; bring %s back, or make sure "
                   "that it is off and run 'ceph osd blocklist add %s'",
                   client->disk->source, host, client->address, host, why, host, client->address);
}

/* Does the guest have the volume, by its serial? */
static bool
guest_has_volume(TaskRun *run, const DiskClient *record, const char *volume_id, bool *has,
                 GError **err)
{
    g_autoptr(GPtrArray) serials =
        host_disk_serials(run_hosts(run), record->host, record->server_id, DEADLINE_CONTROL, err);

    *has = serials && g_ptr_array_find_with_equal_func(serials, volume_id, g_str_equal, NULL);
    return serials != NULL;
}

/* true: its QEMU is gone, or has let go. */
static bool
judge_recorded(TaskRun *run, const Client *client, const Lookup *lookup, GError **err)
{
    const DiskClient *record = client->record;
    const char *host = record->host;
    g_autoptr(DomainInfo) info = NULL;
    g_autoptr(GError) error = NULL;

    for (guint i = 0; i < lookup->moves->len; i++) {
        const Migration *move = g_ptr_array_index(lookup->moves, i);

        if (strcmp(move->type, "live-migration") == 0 && !migration_status_is_final(move->status) &&
            (g_strcmp0(move->source_host, host) == 0 || g_strcmp0(move->dest_host, host) == 0))
            return err_set(err, ERR_CONFLICT,
                           "server %s is being moved (migration %" PRId64
                           "), and %s has the disk %s open (%s); wait for the end of the move",
                           run->server_id, move->id, host, client->disk->source, client->address);
    }
    if (!hosts_is_connected(run_hosts(run), host))
        return no_answer(host, client, "not connected", err);
    info = host_domain_probe(run_hosts(run), host, record->server_id, DEADLINE_CONTROL, &error);
    if (!info)
        return no_answer(host, client, error->message, err);
    if (is_gone(info))
        return true;
    if (client->disk->volume_id) {
        bool has = true;

        if (!guest_has_volume(run, record, client->disk->volume_id, &has, &error))
            return no_answer(host, client, error->message, err);
        if (!has)
            return true;
    }
    return err_set(err, ERR_CONFLICT,
                   "server %s is %s on %s and has the disk %s open (%s); no second writer is "
                   "started; see 'godwit server show %s'",
                   record->server_id, domain_state_names[info->state], host, client->disk->source,
                   client->address, record->server_id);
}

static bool
foreign(const Client *client, GError **err)
{
    g_autofree char *ip = address_ip(client->address);

    return err_set(err, ERR_CONFLICT,
                   "somebody else has the disk %s open: %s; no second writer is started; find it "
                   "with 'rbd status %s', on %s with 'ss -tnp', and close it there, or shut it out "
                   "with 'ceph osd blocklist add %s'",
                   client->disk->source, client->address, client->disk->source,
                   ip ? ip : "that machine", client->address);
}

/* Nobody on the node can be its owner: neither this server nor a guest that is not ours runs there.
 */
static bool
node_has_no_owner(TaskRun *run, const char *host, const Client *client, GError **err)
{
    g_autoptr(GPtrArray) domains = NULL;
    g_autoptr(GError) error = NULL;

    if (!hosts_is_connected(run_hosts(run), host))
        return no_answer(host, client, "not connected", err);
    domains = host_domains(run_hosts(run), host, DEADLINE_CONTROL, &error);
    if (!domains)
        return no_answer(host, client, error->message, err);
    for (guint i = 0; i < domains->len; i++) {
        const DomainInfo *info = g_ptr_array_index(domains, i);
        bool same = strcmp(info->uuid, run->server_id) == 0;

        if (is_gone(info) || g_str_has_prefix(info->name, PROBE_PREFIX) || (info->ours && !same))
            continue;
        return err_set(err, ERR_CONFLICT,
                       "the disk %s is open on %s (%s), where %s %s is %s; no second writer is "
                       "started",
                       client->disk->source, host, client->address,
                       same ? "this very server," : "a guest that is not ours,", info->name,
                       domain_state_names[info->state]);
    }
    return true;
}

static bool
judge(TaskRun *run, const Client *client, const Lookup *lookup, GError **err)
{
    if (client->record)
        return judge_recorded(run, client, lookup, err);
    if (client->nodes->len == 0)
        return foreign(client, err);
    for (guint i = 0; i < client->nodes->len; i++)
        if (!node_has_no_owner(run, g_ptr_array_index(client->nodes, i), client, err))
            return false;
    return true;
}

/* ---- clearing ----------------------------------------------------------------------------------
 */

/* Fenced ones may still be listed for a moment; they cannot write. */
static void
leave_out_fenced(GPtrArray *clients, GHashTable *fenced)
{
    for (guint i = clients->len; i-- > 0;)
        if (g_hash_table_contains(fenced, ((Client *)g_ptr_array_index(clients, i))->address))
            g_ptr_array_remove_index(clients, i);
}

static void
tell_fenced(TaskRun *run, const GPtrArray *clients, int64_t took_us)
{
    g_autofree char *took = g_strdup_printf("%" PRId64, took_us);

    for (guint i = 0; i < clients->len; i++) {
        const Client *client = g_ptr_array_index(clients, i);

        if (client->is_fenced)
            continue;
        log_event(LOG_LEVEL_NOTICE, "task", "shut out a client whose QEMU is gone", "server",
                  run->server_id, "disk", client->disk->source, "client", client->address, "host",
                  client->record ? client->record->host : g_ptr_array_index(client->nodes, 0),
                  "recorded", client->record ? "yes" : "no", "us", took, NULL);
    }
}

static bool
judge_and_fence(TaskRun *run, GPtrArray *clients, GHashTable *fenced, GError **err)
{
    Lookup lookup = {clients, run->server_id, NULL};
    g_autoptr(GPtrArray) moves = NULL, addresses = g_ptr_array_new();
    int64_t began = clock_monotonic();

    if (!store_read(run_store(run), read_records, &lookup, err))
        return false;
    moves = lookup.moves;
    for (guint i = 0; i < clients->len; i++) { /* all are judged before the first is touched */
        Client *client = g_ptr_array_index(clients, i);

        if (!client->is_fenced && !judge(run, client, &lookup, err))
            return false;
        if (g_hash_table_add(fenced, g_strdup(client->address)) && !client->is_fenced)
            g_ptr_array_add(addresses, client->address);
    }
    if (addresses->len == 0)
        return true;
    g_ptr_array_add(addresses, NULL);
    if (!storage_fence(run_storage(run), (const char *const *)addresses->pdata, FENCE_SECONDS, err))
        return false;
    tell_fenced(run, clients, clock_monotonic() - began);
    return true;
}

static bool
clear_disks(TaskRun *run, const GPtrArray *disks,
            bool (*is_its_own)(TaskRun *run, bool *, GError **), GError **err)
{
    g_autoptr(GHashTable) fenced = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (int round = 0; round < ROUNDS; round++) {
        g_autoptr(GPtrArray) clients = g_ptr_array_new_with_free_func(client_free);
        bool own = false;

        if (!list_clients(run, disks, clients, err))
            return false;
        leave_out_fenced(clients, fenced);
        if (clients->len == 0)
            return true;
        if (is_its_own && !is_its_own(run, &own, err))
            return false;
        if (own)
            return true;
        if (!judge_and_fence(run, clients, fenced, err))
            return false;
    }
    return err_set(err, ERR_CONFLICT,
                   "the disks of server %s are opened anew by somebody each time he is shut out; "
                   "see 'ceph osd blocklist ls'",
                   run->server_id);
}

/* A start that is taken up again finds the guest that it made: its clients are the guest's, and the
 * start will do nothing. */
static bool
guest_is_there(TaskRun *run, bool *there, GError **err)
{
    g_autoptr(DomainInfo) info =
        host_domain_probe(run_hosts(run), run->server->host, run->server_id, DEADLINE_CONTROL, err);

    *there = info && !is_gone(info);
    return info != NULL;
}

bool
part_clear_disk_clients(TaskRun *run, GError **err)
{
    g_autoptr(GPtrArray) disks = server_disks(run, err);

    return disks && clear_disks(run, disks, run->server->host ? guest_is_there : NULL, err);
}

bool
part_clear_volume_clients(TaskRun *run, const char *volume_id, GError **err)
{
    g_autoptr(GPtrArray) disks = volume_disks(run, volume_id, err);

    return disks && clear_disks(run, disks, NULL, err);
}

typedef struct Recorded {
    const char *server_id;
    GPtrArray *rows; /* out: DiskClient */
} Recorded;

static bool
read_recorded(StoreTx *tx, void *opaque, GError **err)
{
    Recorded *recorded = opaque;
    const StoreCond of_server[] = {{"server_id", STORE_EQ, recorded->server_id, 0}, {NULL}};

    recorded->rows = store_list(tx, &DISK_CLIENT, &(StoreQuery){.where = of_server}, err);
    return recorded->rows != NULL;
}

static bool
is_in(const GPtrArray *rows, const char *source, const char *address)
{
    for (guint i = 0; i < rows->len; i++) {
        const DiskClient *row = g_ptr_array_index(rows, i);

        if (strcmp(row->source, source) == 0 && strcmp(row->address, address) == 0)
            return true;
    }
    return false;
}

/* Of the QEMU that host may have now: recorded there and not of the past, or listed only. */
static bool
is_known(const GPtrArray *rows, const char *source, const char *host)
{
    for (guint i = 0; i < rows->len; i++) {
        const DiskClient *row = g_ptr_array_index(rows, i);

        if (strcmp(row->source, source) == 0 &&
            (!*row->host || (!part_client_is_past(row) && strcmp(row->host, host) == 0)))
            return true;
    }
    return false;
}

static void
add_listed(GPtrArray *rows, const char *server_id, const Client *client)
{
    DiskClient row = {.server_id = (char *)server_id,
                      .source = client->disk->source,
                      .host = (char *)"",
                      .address = client->address};

    g_ptr_array_add(rows, record_copy(&DISK_CLIENT, &row));
}

GPtrArray *
part_known_clients(TaskRun *run, const char *host, GPtrArray **unknown, GError **err)
{
    Recorded recorded = {run->server_id, NULL};
    g_autoptr(GPtrArray) disks = server_disks(run, err), rows = NULL,
                         clients = g_ptr_array_new_with_free_func(client_free);

    if (!disks || !list_clients(run, disks, clients, err) ||
        !store_read(run_store(run), read_recorded, &recorded, err))
        return NULL;
    rows = recorded.rows;
    for (guint i = 0; i < clients->len; i++) {
        const Client *client = g_ptr_array_index(clients, i);

        if (!is_in(rows, client->disk->source, client->address))
            add_listed(rows, run->server_id, client);
    }
    *unknown = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < disks->len; i++) {
        const Disk *disk = g_ptr_array_index(disks, i);

        if (!disk->is_read_only && !is_known(rows, disk->source, host))
            g_ptr_array_add(*unknown, g_strdup(disk->source));
    }
    return g_steal_pointer(&rows);
}

bool
part_client_is_past(const DiskClient *client)
{
    return *client->host && client->created_at == OF_THE_PAST;
}

GPtrArray *
part_list_clients(TaskRun *run, GError **err)
{
    g_autoptr(GPtrArray) disks = server_disks(run, err),
                         clients = g_ptr_array_new_with_free_func(client_free),
                         addresses = g_ptr_array_new_with_free_func(g_free);

    if (!disks || !list_clients(run, disks, clients, err))
        return NULL;
    for (guint i = 0; i < clients->len; i++) {
        const Client *client = g_ptr_array_index(clients, i);

        if (!g_ptr_array_find_with_equal_func(addresses, client->address, g_str_equal, NULL))
            g_ptr_array_add(addresses, g_strdup(client->address));
    }
    return g_steal_pointer(&addresses);
}

/* ---- recording ---------------------------------------------------------------------------------
 * What was seen waits in the task's state, {"source", "address"} each, until it is committed with
 * the step. */

#define SEEN_KEY   "clients"
#define SOURCE_KEY "clients_source" /* of the one disk that was looked at; absent: all of them */

/* disks NULL: they could not be named, for the reason in *error. */
static bool
observe_disks(TaskRun *run, const char *host, GPtrArray *disks, GError *reason, GError **err)
{
    g_autoptr(GPtrArray) clients = g_ptr_array_new_with_free_func(client_free);
    g_autoptr(GError) error = reason;
    json_t *seen;

    json_object_del(run->state, SEEN_KEY);
    if (!disks || !list_clients(run, disks, clients, &error)) {
        if (err_is(error, ERR_FENCED)) {
            g_propagate_error(err, g_steal_pointer(&error));
            return false;
        }
        /* The guest runs: a list that cannot be had is no reason to take that back. Without a
         * record its clients are judged by their address. */
        log_event(LOG_LEVEL_WARNING, "task", "cannot see who has the server's disks open", "server",
                  run->server_id, "reason", error->message, NULL);
        json_object_set_new(run->state, SEEN_KEY, json_array()); /* older ones are gone */
        return true;
    }
    seen = json_array();
    for (guint i = 0; i < clients->len; i++) {
        const Client *client = g_ptr_array_index(clients, i);

        json_array_append_new(seen, json_pack("{s:s, s:s, s:s}", "source", client->disk->source,
                                              "address", client->address, "host", host));
    }
    json_object_set_new(run->state, SEEN_KEY, seen);
    return true;
}

bool
part_observe_clients(TaskRun *run, const char *host, GError **err)
{
    GError *error = NULL;
    g_autoptr(GPtrArray) disks = server_disks(run, &error);

    json_object_del(run->state, SOURCE_KEY);
    return observe_disks(run, host, disks, error, err);
}

bool
part_observe_volume_clients(TaskRun *run, const char *host, const char *volume_id, GError **err)
{
    GError *error = NULL;
    g_autoptr(GPtrArray) disks = volume_disks(run, volume_id, &error);

    if (disks)
        json_object_set_new(run->state, SOURCE_KEY,
                            json_string(((Disk *)g_ptr_array_index(disks, 0))->source));
    return observe_disks(run, host, disks, error, err);
}

/* A client that is known keeps the host it is known on: after a move the source's may still be
 * there. */
static bool
keep_known_host(const GPtrArray *rows, const char *source, const char *address, const char **host)
{
    for (guint i = 0; i < rows->len; i++) {
        const DiskClient *row = g_ptr_array_index(rows, i);

        if (strcmp(row->source, source) == 0 && strcmp(row->address, address) == 0) {
            *host = row->host;
            return true;
        }
    }
    return false;
}

static bool
insert_client(StoreTx *tx, const char *server_id, const char *source, const char *address,
              const char *host, GError **err)
{
    const StoreCond same[] = {
        {"source", STORE_EQ, source, 0}, {"address", STORE_EQ, address, 0}, {NULL}};
    DiskClient row = {.server_id = (char *)server_id,
                      .source = (char *)source,
                      .host = (char *)host,
                      .address = (char *)address,
                      .created_at = clock_realtime()};

    return store_delete_where(tx, &DISK_CLIENT, same, err) &&
           store_insert(tx, &DISK_CLIENT, &row, err);
}

bool
part_record_clients(TaskRun *run, StoreTx *tx, GError **err)
{
    json_t *seen = json_object_get(run->state, SEEN_KEY), *entry;
    const char *id = run->task->server_id, *only = run_state_text(run, SOURCE_KEY);
    const StoreCond seen_of[] = {
        {"server_id", STORE_EQ, id, 0}, {only ? "source" : NULL, STORE_EQ, only, 0}, {NULL}};
    g_autoptr(GPtrArray) rows = NULL;
    size_t i;

    if (!json_is_array(seen)) /* not seen: what is recorded stays */
        return true;
    rows = store_list(tx, &DISK_CLIENT, &(StoreQuery){.where = seen_of}, err);
    if (!rows || !store_delete_where(tx, &DISK_CLIENT, seen_of, err))
        return false;
    json_array_foreach(seen, i, entry)
    {
        const char *source = json_string_value(json_object_get(entry, "source"));
        const char *address = json_string_value(json_object_get(entry, "address"));
        const char *host = json_string_value(json_object_get(entry, "host"));

        keep_known_host(rows, source, address, &host);
        if (!insert_client(tx, id, source, address, host, err))
            return false;
    }
    return true;
}

typedef struct Past {
    const char *server_id;
    bool is_past; /* to be */
    bool any;     /* out: some are not so yet */
} Past;

static GPtrArray *
list_past(StoreTx *tx, const Past *past, GError **err)
{
    const StoreCond where[] = {
        {"server_id", STORE_EQ, past->server_id, 0},
        {"created_at", past->is_past ? STORE_NE : STORE_EQ, NULL, OF_THE_PAST},
        {NULL}};

    return store_list(tx, &DISK_CLIENT, &(StoreQuery){.where = where}, err);
}

static bool
read_past(StoreTx *tx, void *opaque, GError **err)
{
    Past *past = opaque;
    g_autoptr(GPtrArray) rows = list_past(tx, past, err);

    past->any = rows && rows->len > 0;
    return rows != NULL;
}

static bool
write_past(StoreTx *tx, void *opaque, GError **err)
{
    Past *past = opaque;
    g_autoptr(GPtrArray) rows = list_past(tx, past, err);

    for (guint i = 0; rows && i < rows->len; i++) {
        DiskClient *row = g_ptr_array_index(rows, i);

        row->created_at = past->is_past ? OF_THE_PAST : clock_realtime();
        if (!store_update(tx, &DISK_CLIENT, row, err))
            return false;
    }
    return rows != NULL;
}

static bool
set_past(TaskRun *run, bool is_past, GError **err)
{
    Past past = {run->server_id, is_past, false};

    return store_read(run_store(run), read_past, &past, err) &&
           (!past.any || store_write(run_store(run), write_past, &past, err));
}

bool
part_expect_clients(TaskRun *run, GError **err)
{
    return set_past(run, true, err);
}

void
part_expect_no_clients(TaskRun *run)
{
    set_past(run, false, NULL); /* else an evacuation asks for somebody's word */
}

bool
part_forget_clients(StoreTx *tx, const char *server_id, GError **err)
{
    const StoreCond of_server[] = {{"server_id", STORE_EQ, server_id, 0}, {NULL}};

    return store_delete_where(tx, &DISK_CLIENT, of_server, err);
}
