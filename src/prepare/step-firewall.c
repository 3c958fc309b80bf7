/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-firewall.c: libvirt's and QEMU's ports are open to compute nodes and controllers only */
#include "prepare/prepare-node.h"

#include <string.h>

#define SCRIPT_SECONDS  60
#define RULES_PATH      NODE_RULES_PATH
#define RULES_UNIT      NODE_RULES_UNIT
#define RULES_UNIT_PATH NODE_RULES_UNIT_PATH

/* Every address of the nodes that are prepared with this one, and the numeric ones of the rest. */
static GPtrArray *
addresses_allowed(const PrepareNode *node)
{
    GPtrArray *allowed = g_ptr_array_new();
    const PrepareRun *run = node->run;
    const char *const *const lists[] = {run->options->controllers, run->options->peers};

    for (unsigned i = 0; i < run->n; i++) {
        for (unsigned k = 0; i != node->index && k < run->nodes[i].addresses->len; k++)
            g_ptr_array_add(allowed, g_ptr_array_index(run->nodes[i].addresses, k));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        for (const char *const *address = lists[i]; address != NULL && *address != NULL; address++)
            g_ptr_array_add(allowed, (void *)*address);
    }
    g_ptr_array_add(allowed, NULL);
    return allowed;
}

/* Whom the rules on the node let through, and those to come do not: a run that names fewer nodes
 * than an earlier one must not cut the others off in silence. */
static void
dropped_tell(PrepareNode *node, const char *old_rules, GPtrArray *allowed)
{
    g_autoptr(GString) dropped = g_string_new(NULL);
    g_auto(GStrv) old = firewall_addresses(old_rules);

    for (char **address = old; *address != NULL; address++) {
        if (!g_strv_contains((const char *const *)allowed->pdata, *address))
            g_string_append_printf(dropped, " %s", *address);
    }
    if (dropped->len == 0)
        return;
    g_autofree char *notice = g_strdup_printf(
        "no longer let through, as they are neither nodes of this run nor given as peers or "
        "controllers:%s; if they are compute nodes still, name them too (--peer)",
        dropped->str);
    node_step(node, "firewall", STEP_RUNNING, notice);
}

/* The rules that are in force are asked, not only the file: somebody may have flushed them. */
static bool
rules_ask(PrepareNode *node, GError **err)
{
    static const char ask[] = "! nft list table inet godwit_node >/dev/null 2>&1 || echo rules\n"
                              "! systemctl -q is-enabled " RULES_UNIT " 2>/dev/null || echo unit";
    g_autofree char *answer = NULL;

    if (!ssh_script(node->ssh, ask, NULL, SCRIPT_SECONDS, &answer, err))
        return false;
    node->had_rules = g_str_has_prefix(answer, "rules\n");
    node->had_rules_unit = g_str_has_suffix(answer, "unit\n");
    return true;
}

static bool
rules_make(PrepareNode *node, bool *changed, GError **err)
{
    NodeSettings settings = node_settings(node);
    g_autoptr(GPtrArray) allowed = addresses_allowed(node);
    g_autoptr(NodeFile) file = NULL;
    bool rules_changed, unit_changed;
    g_autofree char *rules = render_firewall(&settings, (const char *const *)allowed->pdata, err);
    g_autofree char *unit = render_firewall_unit(NODE_NFT, RULES_PATH);

    file = rules != NULL ? node_file_read(node->ssh, RULES_PATH, err) : NULL;
    if (file == NULL)
        return false;
    if (file->text != NULL)
        dropped_tell(node, file->text, allowed);
    if (!node_file_make(node, "firewall", RULES_PATH, file, rules, "0644", "root:root",
                        &rules_changed, err) ||
        !node_file_make(node, "firewall", RULES_UNIT_PATH, NULL, unit, "0644", "root:root",
                        &unit_changed, err))
        return false;
    *changed = rules_changed || unit_changed;
    return true;
}

bool
step_firewall(PrepareNode *node, GError **err)
{
    static const char load[] =
        "set -e\nsystemctl daemon-reload\nsystemctl -q enable " RULES_UNIT "\n"
        "systemctl restart " RULES_UNIT "\nnft list table inet godwit_node >/dev/null";
    bool changed;

    if (!node->run->options->firewall) {
        node_step(node, "firewall", STEP_SAME, "left alone, as asked");
        return true;
    }
    if (!rules_ask(node, err) || !rules_make(node, &changed, err))
        return false;
    if (!changed && node->had_rules && node->had_rules_unit) {
        node_step(node, "firewall", STEP_SAME, NULL);
        return true;
    }
    if (!changed)
        node_step(node, "firewall", STEP_CHANGED, "the rules were not in force");
    if (node->run->options->dry_run)
        return true;
    node->firewall_loaded = true;
    return ssh_script(node->ssh, load, NULL, SCRIPT_SECONDS, NULL, err);
}

bool
firewall_put_back_begin(PrepareNode *node, GError **err)
{
    static const char disable[] = "systemctl -q disable --now " RULES_UNIT;
    return !node->firewall_loaded || node->had_rules_unit ||
           ssh_script(node->ssh, disable, NULL, SCRIPT_SECONDS, NULL, err);
}

bool
firewall_put_back_end(PrepareNode *node, GError **err)
{
    static const char load[] = "set -e\nsystemctl daemon-reload\nsystemctl restart " RULES_UNIT;
    return !node->firewall_loaded ||
           (node->had_rules || node->had_rules_unit
                ? ssh_script(node->ssh, load, NULL, SCRIPT_SECONDS, NULL, err)
                : firewall_remove(node, err));
}

bool
firewall_disable(PrepareNode *node, GError **err)
{
    static const char disable[] = "systemctl -q disable --now " RULES_UNIT " 2>/dev/null || true";
    return ssh_script(node->ssh, disable, NULL, SCRIPT_SECONDS, NULL, err);
}

bool
firewall_remove(PrepareNode *node, GError **err)
{
    static const char remove[] =
        "systemctl -q disable --now " RULES_UNIT " 2>/dev/null\n"
        "! nft list table inet godwit_node >/dev/null 2>&1 || nft delete table inet godwit_node";
    return ssh_script(node->ssh, remove, NULL, SCRIPT_SECONDS, NULL, err);
}
