/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host-domains.c: what the domains of a node are to Godwit: one judgement for the sweep, which acts
 * on it, and for people, who are shown it */
#include "task/host-domains.h"

#include <stdatomic.h>
#include <string.h>

#include "host/host.h"
#include "task/runner.h"

/* As long as the sweep waits: a control call that is given up ends the node's session. */
#define QUERY_DEADLINE (clock_monotonic() + 30 * USEC_PER_SEC)
/* A node answers one of them at a time, and an abort of a move stands in the same queue. */
#define QUERIES_MOST 4

const char *const domain_role_names[] = {"server",  "resize-source", "move",    "stray", "deleted",
                                         "unknown", "unmarked",      "foreign", "probe", NULL};

static bool
is_off(const DomainInfo *info)
{
    return info->state == DOMAIN_SHUTOFF || info->state == DOMAIN_CRASHED;
}

static DomainRole
judge(StoreTx *tx, const char *host, const DomainInfo *info, const Server *server)
{
    if (!server && g_str_has_prefix(info->name ? info->name : "", PROBE_PREFIX))
        return ROLE_PROBE;
    if (!server)
        return info->ours ? ROLE_UNKNOWN : ROLE_FOREIGN;
    if (!info->ours)
        return ROLE_UNMARKED;
    if (server->vm_state == VM_DELETED)
        return ROLE_DELETED;
    if (g_strcmp0(server->host, host) == 0)
        return ROLE_SERVER;
    if (server->task_state != TASK_NONE)
        return ROLE_MOVE;
    return is_off(info) && task_resize_holds(tx, server->id, host) ? ROLE_RESIZE : ROLE_STRAY;
}

DomainRole
domain_role(StoreTx *tx, const char *host, const DomainInfo *info, Server **server)
{
    g_autoptr(Server) found = store_get(tx, &SERVER, info->uuid, NULL);
    DomainRole role = judge(tx, host, info, found);

    if (server)
        *server = g_steal_pointer(&found);
    return role;
}

bool
domain_role_is_expected(DomainRole role)
{
    switch (role) {
    case ROLE_SERVER:
    case ROLE_RESIZE:
    case ROLE_MOVE:
    case ROLE_PROBE:
        return true;
    case ROLE_STRAY:
    case ROLE_DELETED:
    case ROLE_UNKNOWN:
    case ROLE_UNMARKED:
    case ROLE_FOREIGN:
        return false;
    }
    return false;
}

/* ---- states
 * ----------------------------------------------------------------------------------------------
 */

bool
domain_observe(const DomainInfo *info, VmState *vm_state, PowerState *power_state)
{
    VmState vm = VM_STOPPED;
    PowerState power = POWER_SHUTDOWN;

    switch (info->state) {
    case DOMAIN_RUNNING:
        vm = VM_ACTIVE;
        power = POWER_RUNNING;
        break;
    case DOMAIN_PAUSED:
    case DOMAIN_PAUSED_POSTCOPY_FAILED:
        vm = VM_PAUSED;
        power = POWER_PAUSED;
        break;
    case DOMAIN_SHUTOFF:
        vm = info->saved ? VM_SUSPENDED : VM_STOPPED;
        power = info->saved ? POWER_SUSPENDED : POWER_SHUTDOWN;
        break;
    case DOMAIN_CRASHED:
        power = POWER_CRASHED;
        break;
    case DOMAIN_ABSENT:
        break;
    case DOMAIN_PAUSED_INCOMING:
    case DOMAIN_PAUSED_MIGRATED:
        return false;
    }
    *vm_state = vm;
    *power_state = power;
    return true;
}

bool
domain_differs(const Server *server, const DomainInfo *info)
{
    const DomainInfo absent = {.state = DOMAIN_ABSENT};
    VmState vm;
    PowerState power;
    bool is_clear = domain_observe(info ? info : &absent, &vm, &power);

    switch (server->vm_state) {
    case VM_ACTIVE:
    case VM_PAUSED:
    case VM_SUSPENDED:
    case VM_STOPPED:
        return !is_clear || vm != server->vm_state;
    case VM_RESIZED:
        return !is_clear || power != server->power_state;
    case VM_BUILDING:
    case VM_ERROR: /* whoever reads why should find it */
    case VM_DELETED:
        return false;
    }
    return false;
}

/* ---- for people
 * ------------------------------------------------------------------------------------------
 */

static void
host_domain_free(void *data)
{
    HostDomain *domain = data;

    g_free(domain->uuid);
    g_free(domain->name);
    server_free(domain->server);
    g_free(domain);
}

void
host_domains_free(HostDomains *domains)
{
    if (!domains)
        return;
    g_clear_pointer(&domains->domains, g_ptr_array_unref);
    g_clear_pointer(&domains->missing, g_ptr_array_unref);
    g_free(domains);
}

static bool
is_unexpected(const HostDomain *domain)
{
    return domain->role != ROLE_FOREIGN && !domain_role_is_expected(domain->role);
}

static int
compare(const void *a, const void *b)
{
    const HostDomain *x = *(HostDomain *const *)a, *y = *(HostDomain *const *)b;
    int order = (int)is_unexpected(y) - (int)is_unexpected(x);

    return order ? order : g_strcmp0(x->name, y->name);
}

typedef struct Judged {
    const char *host;
    GPtrArray *infos;
    HostDomains *result;
} Judged;

static bool
has_domain(const HostDomains *domains, const char *uuid)
{
    for (guint i = 0; i < domains->domains->len; i++)
        if (strcmp(((HostDomain *)g_ptr_array_index(domains->domains, i))->uuid, uuid) == 0)
            return true;
    return false;
}

static bool
read_missing(StoreTx *tx, const Judged *judged, GError **err)
{
    const StoreCond where[] = {
        {"host", STORE_EQ, judged->host, 0}, {"vm_state", STORE_NE, NULL, VM_DELETED}, {NULL}};
    g_autoptr(GPtrArray) servers = store_list(tx, &SERVER, &(StoreQuery){.where = where}, err);

    for (guint i = 0; servers && i < servers->len; i++) {
        const Server *server = g_ptr_array_index(servers, i);

        if (server->task_state == TASK_NONE && domain_differs(server, NULL) &&
            !has_domain(judged->result, server->id))
            g_ptr_array_add(judged->result->missing, record_copy(&SERVER, server));
    }
    return servers != NULL;
}

static bool
judge_all(StoreTx *tx, void *opaque, GError **err)
{
    Judged *judged = opaque;
    HostDomains *result = judged->result;

    for (guint i = 0; i < judged->infos->len; i++) {
        const DomainInfo *info = g_ptr_array_index(judged->infos, i);
        HostDomain *domain = g_new0(HostDomain, 1);

        domain->uuid = g_strdup(info->uuid);
        domain->name = g_strdup(info->name);
        domain->state = domain_state_names[info->state];
        domain->ours = info->ours;
        domain->persistent = info->persistent;
        domain->saved = info->saved;
        domain->role = domain_role(tx, judged->host, info, &domain->server);
        result->foreign += domain->role == ROLE_FOREIGN;
        result->unexpected += is_unexpected(domain);
        g_ptr_array_add(result->domains, domain);
    }
    g_ptr_array_sort(result->domains, compare);
    return read_missing(tx, judged, err);
}

static HostDomains *
ask(TaskEngine *engine, const char *host, GError **err)
{
    g_autoptr(GPtrArray) infos = host_domains(engine_hosts(engine), host, QUERY_DEADLINE, err);
    g_autoptr(HostDomains) result = NULL;

    if (!infos)
        return NULL;
    result = g_new0(HostDomains, 1);
    result->domains = g_ptr_array_new_with_free_func(host_domain_free);
    result->missing = g_ptr_array_new_with_free_func((GDestroyNotify)server_free);
    if (!store_read(engine_store(engine), judge_all, &(Judged){host, infos, result}, err))
        return NULL;
    return g_steal_pointer(&result);
}

HostDomains *
query_host_domains(TaskEngine *engine, const char *host, GError **err)
{
    static atomic_int asked;
    HostDomains *result = NULL;

    if (atomic_fetch_add(&asked, 1) < QUERIES_MOST)
        result = ask(engine, host, err);
    else
        err_set(err, ERR_BUSY,
                "%d requests for the domains of nodes are being answered: try again in a moment",
                QUERIES_MOST);
    atomic_fetch_sub(&asked, 1);
    return result;
}
