/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* network-priv.h: what the files of the network service share */
#pragma once

#include "api/api-priv.h"

/* ---- IPv4 arithmetic: addresses in host byte order
 * ----------------------------------------------- */
typedef struct Cidr {
    uint32_t first; /* the network's own address */
    uint32_t last;  /* broadcast */
    int prefix;
} Cidr;
bool ipv4_parse(const char *text, uint32_t *address);
char *ipv4_format(uint32_t address);
/* Host bits may be set, they are cleared; prefix 8 … 30. ERR_INVALID. */
bool cidr_parse(const char *text, Cidr *cidr, GError **err);
char *cidr_format(const Cidr *cidr);
bool cidr_has_host(const Cidr *cidr, uint32_t address); /* neither first nor last */
bool cidr_overlaps(const Cidr *a, const Cidr *b);
/* Lower case with colons, unicast, not all zero; NULL otherwise. Caller frees. */
char *mac_canonical(const char *text);

/* ---- lists, bodies --------------------------------------------------------------------------- */
/* Reply {collection: rows}, cut down to what the query's filters, marker and limit leave. Takes
 * rows. */
void network_reply_list(ApiCall *call, const char *collection, json_t *rows);
/* Owner of what is made: the caller's project, or the body's if he is an administrator. NULL with
 * *err. */
const char *network_owner(ApiCall *call, const json_t *body, GError **err);
/* name, description and admin_state_up (may be NULL) as given; untouched if absent. */
bool network_read_common(const json_t *body, char **name, char **description, bool *admin_state_up,
                         GError **err);
/* Every row of type whose column is value. */
GPtrArray *network_rows(StoreTx *tx, const RecordType *type, const char *column, const char *value,
                        GError **err);
bool network_is_changeable(ApiCall *call, const char *kind, const char *id, const char *project_id,
                           GError **err);

/* ---- handlers -------------------------------------------------------------------------------- */
void network_networks_list(ApiCall *call);
void network_network_create(ApiCall *call);
void network_network_show(ApiCall *call);
void network_network_update(ApiCall *call);
void network_network_delete(ApiCall *call);
void network_subnets_list(ApiCall *call);
void network_subnet_create(ApiCall *call);
void network_subnet_show(ApiCall *call);
void network_subnet_update(ApiCall *call);
void network_subnet_delete(ApiCall *call);
void network_ports_list(ApiCall *call);
void network_port_create(ApiCall *call);
void network_port_show(ApiCall *call);
void network_port_update(ApiCall *call);
void network_port_delete(ApiCall *call);
void network_quota_show(ApiCall *call);
void network_quota_details(ApiCall *call);
