/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rados-client.c: a client of the Ceph cluster, its errors, and putting an end to another one */
#include "store/rados-client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* An entry must outlast the process that it is against, however long that was stopped: its number
 * is never used again. The cluster drops it after this. */
#define FENCE_SECONDS (30 * 86400)
#define LOCKERS_MAX   4096

bool
rados_client_failed(int code, const char *doing, GError **err)
{
    switch (-code) {
    case ETIMEDOUT:
        return err_set(err, ERR_UNREACHABLE,
                       "%s: the Ceph cluster does not answer. Look at \"ceph status\" and at the "
                       "network to the monitors and OSDs",
                       doing);
    case ESHUTDOWN:
        return err_set(err, ERR_FENCED, "%s: this client is on the cluster's blocklist", doing);
    case EACCES:
    case EPERM:
        return err_set(err, ERR_INVALID,
                       "%s: the cluster refuses it (%s): the user needs mon 'profile "
                       "simple-rados-client-with-blocklist' and osd 'allow rwx pool=POOL'; see "
                       "\"ceph auth get\"",
                       doing, errno_text(-code));
    default:
        return err_set(err, ERR_BACKEND, "%s: %s", doing, errno_text(-code));
    }
}

rados_t
rados_client_new(const StoreConfig *config, int osd_seconds, GError **err)
{
    g_autofree char *name = g_strconcat("client.", config->user, NULL);
    char mon[16], osd[16];
    const char *options[][2] = {{"client_mount_timeout", mon},
                                {"rados_mon_op_timeout", mon},
                                {"rados_osd_op_timeout", osd},
                                {"log_to_stderr", "false"},
                                {"err_to_stderr", "false"}};
    rados_t cluster = NULL;
    int code = rados_create2(&cluster, "ceph", name, 0);

    if (code < 0) {
        rados_client_failed(code, "making a client of the Ceph cluster", err);
        return NULL;
    }
    snprintf(mon, sizeof mon, "%d", RADOS_MON_SECONDS);
    snprintf(osd, sizeof osd, "%d", osd_seconds);
    code = rados_conf_read_file(cluster, config->conf);
    if (code < 0) {
        err_set(err, ERR_INVALID, "[storage] conf = %s cannot be read: %s", config->conf,
                errno_text(-code));
        rados_shutdown(cluster);
        return NULL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(options) && code == 0; i++)
        code = rados_conf_set(cluster, options[i][0], options[i][1]);
    if (code < 0) {
        rados_client_failed(code, "configuring a client of the Ceph cluster", err);
        rados_shutdown(cluster);
        return NULL;
    }
    return cluster;
}

bool
rados_client_connect(rados_t cluster, const StoreConfig *config, GError **err)
{
    int code = rados_connect(cluster);

    if (code == 0)
        return true;
    if (code == -ENOENT || code == -EACCES || code == -EPERM || code == -EINVAL || code == -ENOTSUP)
        return err_set(err, ERR_INVALID,
                       "Ceph does not let client.%s in (%s): check the keyring that %s names for "
                       "it, and 'ceph auth get client.%s'",
                       config->user, errno_text(-code), config->conf, config->user);
    return err_set(err, ERR_UNREACHABLE,
                   "cannot connect to the Ceph cluster of %s: %s. Look at \"ceph status\" and at "
                   "the network to the monitors",
                   config->conf, errno_text(-code));
}

char *
rados_client_address(rados_t cluster, GError **err)
{
    char *addresses = NULL;
    int code = rados_getaddrs(cluster, &addresses);

    if (code < 0) {
        rados_client_failed(code, "asking for our own address", err);
        return NULL;
    }
    char *address = g_strdup(addresses);
    rados_buffer_free(addresses);
    return address;
}

/* Whether the list, as the monitors print it, has the address as a whole word. */
static bool
list_has(const char *list, const char *address)
{
    size_t length = strlen(address);

    for (const char *at = strstr(list, address); at; at = strstr(at + 1, address))
        if ((at == list || !g_ascii_isalnum(at[-1])) && !g_ascii_isdigit(at[length]))
            return true;
    return false;
}

static bool
fence_is_listed(rados_t cluster, const GPtrArray *addresses, GError **err)
{
    const char *command[] = {"{\"prefix\": \"osd blocklist ls\", \"format\": \"json\"}"};
    char *text = NULL, *status = NULL;
    size_t size = 0, status_size = 0;
    int code = rados_mon_command(cluster, command, 1, "", 0, &text, &size, &status, &status_size);

    rados_buffer_free(status);
    if (code < 0)
        return rados_client_failed(code, "reading the cluster's blocklist back", err);
    g_autofree char *list = g_strndup(text, size);
    rados_buffer_free(text);
    for (unsigned i = 0; i < addresses->len; i++)
        if (!list_has(list, g_ptr_array_index(addresses, i)))
            return err_set(err, ERR_BACKEND,
                           "%s was put on the cluster's blocklist, and is not there",
                           (char *)g_ptr_array_index(addresses, i));
    return true;
}

typedef struct Entry {
    rados_t cluster;
    char *address;
    int code;
} Entry;

static void
entry_make(void *opaque)
{
    Entry *entry = opaque;

    entry->code = rados_blocklist_add(entry->cluster, entry->address, FENCE_SECONDS);
}

/* The monitors commit once a second: together all entries take as long as one. */
static bool
entries_make(rados_t cluster, const GPtrArray *addresses, GError **err)
{
    g_autofree Entry *entries = g_new0(Entry, addresses->len);
    g_autofree pthread_t *threads = g_new0(pthread_t, addresses->len);
    int code = 0;

    for (unsigned i = 0; i < addresses->len; i++) {
        entries[i] = (Entry){cluster, g_ptr_array_index(addresses, i), 0};
        threads[i] = thread_start("fence", entry_make, &entries[i]);
    }
    for (unsigned i = 0; i < addresses->len; i++) {
        pthread_join(threads[i], NULL);
        code = entries[i].code < 0 ? entries[i].code : code;
    }
    return code == 0 || rados_client_failed(code, "blocklisting the former controller", err);
}

bool
rados_fence(rados_t cluster, const GPtrArray *addresses, GError **err)
{
    if (addresses->len == 0)
        return true;
    if (!entries_make(cluster, addresses, err) || !fence_is_listed(cluster, addresses, err))
        return false;
    int code = rados_wait_for_latest_osdmap(cluster);
    return code == 0 || rados_client_failed(code, "waiting for the cluster's map", err);
}

/* Lists of lockers may have the protocol in front: "v1:192.0.2.7:0/37". */
static const char *
address_bare(const char *address)
{
    return address[0] == 'v' && g_ascii_isdigit(address[1]) && address[2] == ':' ? address + 3
                                                                                 : address;
}

static bool
lists_address(const GPtrArray *addresses, const char *address)
{
    for (unsigned i = 0; i < addresses->len; i++)
        if (strcmp(g_ptr_array_index(addresses, i), address) == 0)
            return true;
    return false;
}

bool
rados_locks_break(rados_ioctx_t io, const char *object, const char *lock,
                  const GPtrArray *addresses, char **other, GError **err)
{
    int exclusive = 0;
    char tag[LOCKERS_MAX], clients[LOCKERS_MAX], cookies[LOCKERS_MAX], where[LOCKERS_MAX];
    size_t tag_size = sizeof tag, clients_size = sizeof clients, cookies_size = sizeof cookies,
           where_size = sizeof where;
    ssize_t n = rados_list_lockers(io, object, lock, &exclusive, tag, &tag_size, clients,
                                   &clients_size, cookies, &cookies_size, where, &where_size);

    if (n == -ENOENT)
        return true;
    if (n < 0)
        return rados_client_failed((int)n, "reading who has the database locked", err);
    const char *client = clients, *cookie = cookies, *address = where;
    for (ssize_t i = 0; i < n; i++) {
        if (lists_address(addresses, address_bare(address))) {
            int code = rados_break_lock(io, object, lock, client, cookie);

            if (code < 0 && code != -ENOENT)
                return rados_client_failed(code, "taking the database's lock over", err);
        } else if (!*other) {
            *other = g_strdup(address_bare(address));
        }
        client += strlen(client) + 1;
        cookie += strlen(cookie) + 1;
        address += strlen(address) + 1;
    }
    return true;
}
