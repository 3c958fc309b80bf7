/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-host-domains.c: everything that a node's libvirt knows, and what it is to Godwit */
#include "api/godwit-priv.h"
#include "task/host-domains.h"

/* In one answer. What nobody expects comes first, so it is never what is left out. */
#define DOMAINS_MOST 5000

static json_t *
view_expected(DomainRole role)
{
    return role == ROLE_FOREIGN ? json_null() : json_boolean(domain_role_is_expected(role));
}

static json_t *
view_domain(const HostDomain *domain)
{
    const Server *server = domain->server;

    return json_pack("{s:s,s:o,s:s,s:b,s:b,s:b,s:s,s:o,s:o,s:o,s:o}", "uuid", domain->uuid, "name",
                     json_text_or_null(domain->name), "state", domain->state, "ours",
                     (int)domain->ours, "persistent", (int)domain->persistent, "saved",
                     (int)domain->saved, "role", domain_role_names[domain->role], "expected",
                     view_expected(domain->role), "server_id",
                     json_text_or_null(server ? server->id : NULL), "server_name",
                     json_text_or_null(server ? server->name : NULL), "server_host",
                     json_text_or_null(server ? server->host : NULL));
}

static json_t *
view_domains(const HostDomains *found)
{
    json_t *rows = json_array(), *missing = json_array();
    guint shown = MIN(found->domains->len, DOMAINS_MOST);

    for (guint i = 0; i < shown; i++)
        json_array_append_new(rows, view_domain(g_ptr_array_index(found->domains, i)));
    for (guint i = 0; i < found->missing->len; i++) {
        const Server *server = g_ptr_array_index(found->missing, i);

        json_array_append_new(missing, json_pack("{s:s,s:s,s:s}", "server_id", server->id,
                                                 "server_name", server->name, "vm_state",
                                                 vm_state_names[server->vm_state]));
    }
    return json_pack("{s:o,s:o,s:I,s:I,s:I}", "domains", rows, "missing", missing, "foreign",
                     (json_int_t)found->foreign, "unexpected", (json_int_t)found->unexpected,
                     "left_out", (json_int_t)(found->domains->len - shown));
}

static bool
host_is_known(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    const char *name = api_param(call, "name");
    const StoreCond where[] = {{"name", STORE_EQ, name, 0}, {0}};
    int64_t hosts = store_count(tx, &HOST, where, err);

    if (hosts == 0)
        return err_set(err, ERR_NOT_FOUND,
                       "Host %s is not known; `godwit host list` shows those that are.", name);
    return hosts > 0;
}

void
godwit_host_domains(ApiCall *call)
{
    g_autoptr(HostDomains) found = NULL;
    GError *error = NULL;

    if (!api_read(call, host_is_known, NULL))
        return;
    found = query_host_domains(api_config(call->api)->tasks, api_param(call, "name"), &error);
    if (found)
        api_reply(call, 200, view_domains(found));
    else
        api_fail(call, error);
}
