/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host-domains.h: what the domains of a node are to Godwit, and what they say of a server */
#pragma once

#include "task/task.h"

typedef struct DomainInfo DomainInfo; /* of host.h, which callers of the query need not see */

/* What a domain on a node is, by the record. Only those of a server are ever acted on, and never
 * one that does not carry Godwit's mark. */
typedef enum DomainRole {
    ROLE_SERVER,   /* a server's, and the record has the server here */
    ROLE_RESIZE,   /* off, kept for a resize that is neither confirmed nor reverted */
    ROLE_MOVE,     /* a server's that is elsewhere, while a task is at work on it */
    ROLE_STRAY,    /* a server's that is elsewhere */
    ROLE_DELETED,  /* its server was deleted */
    ROLE_UNKNOWN,  /* Godwit's mark, and no server has its id */
    ROLE_UNMARKED, /* a server's id, without Godwit's mark: made by hand */
    ROLE_FOREIGN,  /* neither */
    ROLE_PROBE,    /* Godwit's own, for moments (PROBE_PREFIX) */
} DomainRole;
extern const char *const domain_role_names[];

/* *server (may be NULL): the server that has its id, or NULL; caller frees. */
DomainRole domain_role(StoreTx *tx, const char *host, const DomainInfo *info, Server **server);
bool domain_role_is_expected(DomainRole role);

/* What a domain's state says of its server that no task works on. false: nothing for sure, it is
 * part of a move. */
bool domain_observe(const DomainInfo *info, VmState *vm_state, PowerState *power_state);
/* Does it differ from the record of server, which is placed there? info NULL: no such domain. */
bool domain_differs(const Server *server, const DomainInfo *info);

typedef struct HostDomain {
    char *uuid, *name;
    const char *state; /* as domain_state_names */
    bool ours;         /* carries Godwit's mark */
    bool persistent, saved;
    DomainRole role;
    Server *server; /* NULL: none has its id */
} HostDomain;
typedef struct HostDomains {
    GPtrArray *domains; /* HostDomain *, what nobody expects first, then by name */
    GPtrArray *missing; /* Server *: recorded there with a guest, and there is no domain */
    int64_t foreign, unexpected;
} HostDomains;
void host_domains_free(HostDomains *domains);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HostDomains, host_domains_free)

/* All domains of a node, asked now. For requests: blocks up to 30 s, only a few at a time are
 * served (else ERR_BUSY). ERR_UNREACHABLE: the node is not connected. */
HostDomains *query_host_domains(TaskEngine *engine, const char *host, GError **err);
