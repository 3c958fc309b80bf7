/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* prepare.h: turns Linux machines into compute nodes, over the operator's own ssh */
#pragma once

#include "base/base.h"

/* ---- which machine ------------------------------------------------------------------------------
 * "[user@]host[:port]"; an IPv6 address stands in brackets. The host may be an alias of the
 * operator's ssh configuration. Everything that could be taken for an option or for a word of a
 * shell is refused here, once, before anything is run: "-oProxyCommand=…", "$(reboot)", a line
 * break. */
typedef struct NodeTarget {
    char *text;    /* as given, for messages */
    char *user;    /* NULL: whom ssh chooses */
    char *host;    /* without brackets */
    unsigned port; /* 0: what ssh chooses */
} NodeTarget;

NodeTarget *node_target_parse(const char *text, GError **err);
void node_target_free(NodeTarget *target);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NodeTarget, node_target_free)

/* ---- how nodes talk to each other -------------------------------------------------------------
 */
typedef enum PrepareTransport {
    TRANSPORT_TLS, /* 16514, mutual certificates, QEMU's stream encrypted too */
    TRANSPORT_SSH, /* libvirt through ssh, QEMU's stream encrypted by TLS */
    TRANSPORT_TCP, /* 16509, no authentication, plaintext: the firewall is all there is */
    N_TRANSPORTS,
} PrepareTransport;

extern const char *const transport_names[N_TRANSPORTS];
bool transport_parse(const char *name, PrepareTransport *transport);
