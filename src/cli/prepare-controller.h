/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* prepare-controller.h: what the controller contributes when nodes are prepared: its CA, the nodes
 * it knows, its own addresses, the Ceph cluster; and what it is told afterwards */
#pragma once

#include "cli/cli.h"
#include "prepare/prepare.h"

/* What became known of a node that is being prepared. */
typedef struct FoundNode {
    char *hostname;   /* NULL: not known */
    char **addresses; /* NULL: not known */
} FoundNode;

typedef struct PrepareController {
    Cli *cli;
    const NodeTarget *const *targets;
    unsigned n;
    const PrepareOptions *options;
    FoundNode *found;               /* n of them */
    json_t *ca;                     /* NULL: no controller was asked */
    json_t *hosts;                  /* registered before; NULL: no controller was asked */
    GPtrArray *controllers, *peers; /* numeric addresses, NULL-ended */
    char *ceph_conf;
} PrepareController;

/* Tells the operator something; opaque is the caller's. */
typedef void (*NoticeFn)(void *opaque, const char *text);

/* Whether to ask is up to the options --no-controller and --undo, and to there being a controller.
 * false with *err if one is configured and does not answer: the firewall must not shut out nodes
 * that only it knows. */
bool
prepare_controller_ask(PrepareController *controller, NoticeFn notice, void *opaque, GError **err);
void prepare_controller_clear(PrepareController *controller);

/* As PrepareEvents has it. */
bool prepare_controller_sign(const PrepareController *controller, const char *role,
                             const char *host, const char *request, const char *const *names,
                             char **certificate, GError **err);

/* After all went well: register the nodes (with --register), or say which commands do; and say
 * which nodes do not let the new ones in yet. command: the options to repeat. */
bool prepare_controller_finish(PrepareController *controller, const CliOption *options,
                               NoticeFn notice, void *opaque, GError **err);

/* ---- parts of it, pure, for the tests ---- */

/* The libvirt URI of a prepared node; pkipath: where the controller has its certificates. Caller
 * frees. */
char *prepare_node_uri(PrepareTransport transport, const char *address, unsigned ssh_port,
                       const char *pkipath);
/* Is it a URI of that transport? Whatever else it says is the operator's choice. */
bool prepare_uri_serves(const char *uri, PrepareTransport transport);
/* The name to register it by: as the operator calls it, or, if that is an address, as it calls
 * itself. NULL if neither is a name that a node may have. Caller frees. */
char *prepare_node_name(const NodeTarget *target, const char *hostname);
/* The row of hosts that this node is; NULL if it is none of them. */
const json_t *
prepare_node_row(const json_t *hosts, const NodeTarget *target, const FoundNode *found);
/* Adds to peers the numeric addresses (char *) of the rows that are none of these nodes. */
void
prepare_peers(const json_t *hosts, const NodeTarget *const *targets, unsigned n, GPtrArray *peers);
/* "--transport tcp --moves 8": the given options again, quoted for a shell, apart from those that
 * only belong to this run. */
char *prepare_options_again(const CliArgs *args, const CliOption *options);
