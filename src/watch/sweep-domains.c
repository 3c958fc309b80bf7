/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sweep-domains.c: what runs on a node against what the record says
 *
 * The list was read a while ago, and events may have been recorded since: what differs is not
 * written down here but looked at again by a reconciliation task, one for each server, asked for
 * in the order of the servers' numbers. */
#include <string.h>

#include "task/host-domains.h"
#include "watch/sweep-priv.h"

DomainInfo *
sweep_find_domain(const Sweep *sweep, const char *uuid)
{
    for (guint i = 0; i < sweep->domains->len; i++) {
        DomainInfo *info = g_ptr_array_index(sweep->domains, i);

        if (strcmp(info->uuid, uuid) == 0)
            return info;
    }
    return NULL;
}

static bool
submit(StoreTx *tx, Sweep *sweep, const char *server_id, const char *host, GError **err)
{
    sweep->submitted = true;
    return task_submit_reconcile(tx, server_id, host, err);
}

static bool
judge_domain(StoreTx *tx, Sweep *sweep, const DomainInfo *info, int64_t *foreign, GError **err)
{
    switch (domain_role(tx, sweep->host, info, NULL)) {
    case ROLE_STRAY:
    case ROLE_DELETED:
        return submit(tx, sweep, info->uuid, sweep->host, err);
    case ROLE_FOREIGN:
        (*foreign)++;
        return true;
    case ROLE_UNKNOWN:
        if (sweep->is_new)
            log_event(LOG_LEVEL_WARNING, "watch",
                      "a domain carries Godwit's mark but no server has its id; it is left alone",
                      "host", sweep->host, "domain", info->name, "uuid", info->uuid, NULL);
        return true;
    case ROLE_UNMARKED:
        if (sweep->is_new)
            log_event(LOG_LEVEL_WARNING, "watch",
                      "a domain has a server's id but not Godwit's mark; it is left alone", "host",
                      sweep->host, "domain", info->name, "uuid", info->uuid, NULL);
        return true;
    case ROLE_SERVER:
    case ROLE_RESIZE:
    case ROLE_MOVE:
    case ROLE_PROBE:
        return true;
    }
    return true;
}

static bool
judge_domains(StoreTx *tx, Sweep *sweep, Host *host, GError **err)
{
    int64_t foreign = 0;

    for (guint i = 0; i < sweep->domains->len; i++)
        if (!judge_domain(tx, sweep, g_ptr_array_index(sweep->domains, i), &foreign, err))
            return false;
    if (host->foreign_domains == foreign)
        return true;
    host->foreign_domains = foreign;
    return store_update(tx, &HOST, host, err);
}

static bool
judge_servers(StoreTx *tx, Sweep *sweep, GError **err)
{
    const StoreCond where[] = {
        {"host", STORE_EQ, sweep->host, 0}, {"vm_state", STORE_NE, NULL, VM_DELETED}, {NULL}};
    const StoreQuery query = {.where = where, .order_by = "number"};
    g_autoptr(GPtrArray) here = store_list(tx, &SERVER, &query, err);

    for (guint i = 0; here && i < here->len; i++) {
        const Server *server = g_ptr_array_index(here, i);

        if (server->task_state == TASK_NONE &&
            domain_differs(server, sweep_find_domain(sweep, server->id)) &&
            !submit(tx, sweep, server->id, sweep->host, err))
            return false;
    }
    return here != NULL;
}

static bool
judge_doubts(StoreTx *tx, Sweep *sweep, GError **err)
{
    const StoreCond where[] = {
        {"uncertainty", STORE_NOT_NULL, NULL, 0}, {"vm_state", STORE_NE, NULL, VM_DELETED}, {NULL}};
    g_autoptr(GPtrArray) doubts = store_list(tx, &SERVER, &(StoreQuery){.where = where}, err);

    for (guint i = 0; doubts && i < doubts->len; i++)
        if (!submit(tx, sweep, ((Server *)g_ptr_array_index(doubts, i))->id, NULL, err))
            return false;
    return doubts != NULL;
}

bool
sweep_compare_domains(StoreTx *tx, void *opaque, GError **err)
{
    Sweep *sweep = opaque;
    g_autoptr(Host) host = sweep_host_row(tx, sweep);

    if (!host || sweep->is_other)
        return true;
    return judge_domains(tx, sweep, host, err) && judge_servers(tx, sweep, err) &&
           judge_doubts(tx, sweep, err);
}
