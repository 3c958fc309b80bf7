/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cpu-libvirt.c: which CPU a new guest gets, and whether a node's hypervisor can give one
 *
 * Only hypervisors are asked, never the physical CPUs: what QEMU can give a guest differs from what
 * the machine has, in both directions under TCG. A node is represented by its hypervisor CPU (what
 * host-model would be there), so one connected node can judge for all: libvirt expands model names
 * to features, and the rest is set arithmetic on names. */
#include "host/host-libvirt-priv.h"

#include "host/domain-xml.h"
#include <string.h>

#define NODES_MOST    4096
#define NAMES_SHOWN   24
#define FEATURES_TEXT "features: "

/* ---- comparing with the connected node -------------------------------------------------- */
static bool
is_model_name(const char *cpu)
{
    return cpu_name_is_valid(cpu);
}

static bool
compare(HostConn *conn, const char *cpu_xml, const char *what, const char *virt_type,
        const char *machine, GError **err)
{
    virResetLastError();
    int result = virConnectCompareHypervisorCPU(conn->vir, NULL, NULL, machine, virt_type, cpu_xml,
                                                VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE);
    if (result == VIR_CPU_COMPARE_IDENTICAL || result == VIR_CPU_COMPARE_SUPERSET)
        return true;
    const virError *error = virGetLastError();
    const char *message = error && error->message ? error->message : "";
    if (result == VIR_CPU_COMPARE_INCOMPATIBLE || libvirt_last_code() == VIR_ERR_CPU_INCOMPATIBLE) {
        const char *names = strstr(message, "required " FEATURES_TEXT);
        if (names)
            return err_set(err, ERR_UNSUPPORTED,
                           "%s: its hypervisor (%s) cannot give %s; missing features: %s",
                           conn->host, virt_type, what, strchr(names, ':') + 2);
        return err_set(err, ERR_UNSUPPORTED, "%s: its hypervisor (%s) cannot give %s: %s",
                       conn->host, virt_type, what,
                       *message ? message : "libvirt names no feature");
    }
    if (strstr(message, "Unknown CPU model") || strstr(message, "Unknown CPU feature"))
        return err_set(err, ERR_UNSUPPORTED, "%s: its libvirt does not know %s: %s", conn->host,
                       what, message);
    return libvirt_error_set(conn, err, "compare %s with its hypervisor's CPU", what);
}

bool
libvirt_cpu_compare(HostConn *conn, const char *cpu_xml, const char *virt_type, const char *machine,
                    GError **err)
{
    if (is_model_name(cpu_xml)) {
        g_autofree char *built = cpu_xml_build("custom", cpu_xml, NULL, err);
        g_autofree char *what = g_strdup_printf("CPU model %s", cpu_xml);
        return built && compare(conn, built, what, virt_type, machine, err);
    }
    g_autoptr(CpuXml) cpu = cpu_xml_read(cpu_xml, err);
    if (!cpu)
        return false;
    g_autofree char *what = cpu->model ? g_strdup_printf("the CPU %s of the guest", cpu->model)
                                       : g_strdup("the CPU of the guest");
    return compare(conn, cpu_xml, what, virt_type, machine, err);
}

/* ---- feature sets ----------------------------------------------------------------------- */
static char *
baseline(HostConn *conn, const char *virt_type, const char **xmls, unsigned n, unsigned flags,
         const char *what, GError **err)
{
    char *xml =
        virConnectBaselineHypervisorCPU(conn->vir, NULL, NULL, NULL, virt_type, xmls, n, flags);
    if (!xml) {
        const virError *error = virGetLastError();
        if (error && error->code == VIR_ERR_OPERATION_FAILED &&
            strstr(error->message, "vendors do not match"))
            err_set(err, ERR_UNSUPPORTED,
                    "%s: the nodes' CPUs are of different vendors; set cpu_mode = custom and a "
                    "cpu_model that "
                    "'godwit cpu models' shows as usable everywhere",
                    conn->host);
        else
            libvirt_error_set(conn, err, "%s", what);
        return NULL;
    }
    char *copy = g_strdup(xml);
    free(xml);
    return copy;
}

/* Every feature that a CPU has, those of its model included. Expansion marks what this very node
 * lacks as disabled: unless the CPU itself disables it, another node's CPU has it all the same. */
static GHashTable *
features_of(HostConn *conn, const char *virt_type, const char *cpu_xml, GError **err)
{
    g_autoptr(CpuXml) given = cpu_xml_read(cpu_xml, err);
    if (!given)
        return NULL;
    g_autofree char *xml =
        baseline(conn, virt_type, &cpu_xml, 1, VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES,
                 "list the features of a CPU", err);
    if (!xml)
        return NULL;
    g_autoptr(CpuXml) expanded = cpu_xml_read(xml, err);
    if (!expanded)
        return NULL;
    GHashTable *set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GHashTableIter iter;
    gpointer name, policy;
    g_hash_table_iter_init(&iter, expanded->features);
    while (g_hash_table_iter_next(&iter, &name, &policy)) {
        const char *own = g_hash_table_lookup(given->features, name);
        if (strcmp(policy, "disable") != 0 || !own || strcmp(own, "disable") != 0)
            g_hash_table_add(set, g_strdup(name));
    }
    return set;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What is in wanted and not in have: "avx, avx2", sorted and cut after NAMES_SHOWN; NULL: nothing
 */
static char *
names_missing(GHashTable *wanted, GHashTable *have)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    GHashTableIter iter;
    gpointer name;
    g_hash_table_iter_init(&iter, wanted);
    while (g_hash_table_iter_next(&iter, &name, NULL)) {
        if (!g_hash_table_contains(have, name))
            g_ptr_array_add(names, name);
    }
    if (names->len == 0)
        return NULL;
    g_ptr_array_sort(names, compare_names);
    GString *text = g_string_new(NULL);
    for (unsigned i = 0; i < names->len && i < NAMES_SHOWN; i++)
        g_string_append_printf(text, "%s%s", i ? ", " : "", (const char *)names->pdata[i]);
    if (names->len > NAMES_SHOWN)
        g_string_append_printf(text, " and %u more", names->len - NAMES_SHOWN);
    return g_string_free(text, FALSE);
}

/* ---- the nodes -------------------------------------------------------------------------- */
typedef struct Nodes {
    const char *const *names;
    const char *const *cpus;
    size_t n;
    GPtrArray *features; /* GHashTable * per node; equal CPUs share one */
} Nodes;

static bool
nodes_expand(HostConn *conn, const char *virt_type, Nodes *nodes, GError **err)
{
    nodes->features = g_ptr_array_new_with_free_func((GDestroyNotify)g_hash_table_unref);
    g_autoptr(GHashTable) known = g_hash_table_new(g_str_hash, g_str_equal);
    for (size_t i = 0; i < nodes->n; i++) {
        GHashTable *set = g_hash_table_lookup(known, nodes->cpus[i]);
        if (set)
            g_hash_table_ref(set);
        else
            set = features_of(conn, virt_type, nodes->cpus[i], err);
        if (!set) {
            g_prefix_error(err, "CPU of %s: ", nodes->names[i]);
            return false;
        }
        g_hash_table_insert(known, (char *)nodes->cpus[i], set);
        g_ptr_array_add(nodes->features, set);
    }
    return true;
}

/* Who takes what away: for people. */
static char *
nodes_limit(const Nodes *nodes, const char *model)
{
    g_autoptr(GHashTable) all = g_hash_table_new(g_str_hash, g_str_equal);
    for (size_t i = 0; i < nodes->n; i++) {
        GHashTableIter iter;
        gpointer name;
        g_hash_table_iter_init(&iter, nodes->features->pdata[i]);
        while (g_hash_table_iter_next(&iter, &name, NULL))
            g_hash_table_add(all, name);
    }
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < nodes->n; i++) {
        g_autofree char *missing = names_missing(all, nodes->features->pdata[i]);
        if (missing)
            g_string_append_printf(text, "%s%s lacks %s", text->len ? "; " : "", nodes->names[i],
                                   missing);
    }
    if (text->len == 0) {
        if (nodes->n == 1)
            g_string_printf(text, "%s is the only node: all that its hypervisor can give",
                            nodes->names[0]);
        else
            g_string_printf(text,
                            "no node limits the others: the hypervisors of all %zu nodes can give "
                            "the same features",
                            nodes->n);
    }
    g_string_append_printf(text, " (model %s)", model ? model : "none");
    return g_string_free(text, FALSE);
}

/* ---- choosing --------------------------------------------------------------------------- */
static char *
choose_baseline(HostConn *conn, const LibvirtSettings *settings, Nodes *nodes, char **limit_out,
                GError **err)
{
    g_autoptr(GHashTable) known = g_hash_table_new(g_str_hash, g_str_equal);
    g_autofree const char **xmls = g_new(const char *, nodes->n);
    unsigned n = 0;
    for (size_t i = 0; i < nodes->n; i++) {
        if (g_hash_table_add(known, (char *)nodes->cpus[i]))
            xmls[n++] = nodes->cpus[i];
    }
    g_autofree char *common =
        baseline(conn, settings->virt_type, xmls, n, VIR_CONNECT_BASELINE_CPU_MIGRATABLE,
                 "compute the CPU that all nodes can give", err);
    if (!common)
        return NULL;
    g_autofree char *chosen =
        cpu_xml_with_flags(common, (const char *const *)settings->cpu_extra_flags, err);
    if (!chosen ||
        !compare(conn, chosen, "the common CPU of all nodes", settings->virt_type, NULL, err))
        return NULL;
    if (limit_out) {
        g_autoptr(CpuXml) cpu = cpu_xml_read(chosen, err);
        if (!cpu || !nodes_expand(conn, settings->virt_type, nodes, err))
            return NULL;
        *limit_out = nodes_limit(nodes, cpu->model);
    }
    return g_steal_pointer(&chosen);
}

/* Can every node give cpu? The connected one is asked; of the others the features are compared. */
static bool
usable_everywhere(HostConn *conn, const char *virt_type, const Nodes *nodes, const char *model,
                  const char *cpu, GError **err)
{
    g_autofree char *what = g_strdup_printf("CPU model %s", model);
    if (!compare(conn, cpu, what, virt_type, NULL, err))
        return false;
    g_autoptr(GHashTable) wanted = features_of(conn, virt_type, cpu, err);
    if (!wanted)
        return false;
    for (size_t i = 0; i < nodes->n; i++) {
        if (strcmp(nodes->names[i], conn->host) == 0)
            continue;
        g_autofree char *missing = names_missing(wanted, nodes->features->pdata[i]);
        if (missing)
            return err_set(err, ERR_UNSUPPORTED,
                           "%s: its hypervisor (%s) cannot give %s; missing features: %s",
                           nodes->names[i], virt_type, what, missing);
    }
    return true;
}

static char *
choose_custom(HostConn *conn, const LibvirtSettings *settings, Nodes *nodes, char **limit_out,
              GError **err)
{
    if (!settings->cpu_models || !settings->cpu_models[0]) {
        err_set(
            err, ERR_INVALID,
            "cpu_mode = custom needs cpu_model; 'godwit cpu models' lists what the nodes can give");
        return NULL;
    }
    if (!nodes_expand(conn, settings->virt_type, nodes, err))
        return NULL;
    g_autoptr(GString) refused = g_string_new(NULL);
    for (size_t i = 0; settings->cpu_models[i]; i++) {
        const char *model = settings->cpu_models[i];
        g_autoptr(GError) why = NULL;
        g_autofree char *cpu =
            cpu_xml_build("custom", model, (const char *const *)settings->cpu_extra_flags, err);
        if (!cpu)
            return NULL;
        if (usable_everywhere(conn, settings->virt_type, nodes, model, cpu, &why)) {
            if (limit_out)
                *limit_out = g_strdup_printf("%s%smodel %s by configuration", refused->str,
                                             refused->len ? "; " : "", model);
            return g_steal_pointer(&cpu);
        }
        if (!err_is(why, ERR_UNSUPPORTED)) {
            g_propagate_error(err, g_steal_pointer(&why));
            return NULL;
        }
        g_string_append_printf(refused, "%s%s", refused->len ? "; " : "", why->message);
    }
    err_set(err, ERR_UNSUPPORTED,
            "%s. Set cpu_model to one that 'godwit cpu models' shows as usable everywhere",
            refused->str);
    return NULL;
}

static char *
choose_mode(const LibvirtSettings *settings, const char *mode, const char *limit, char **limit_out,
            GError **err)
{
    char *cpu = cpu_xml_build(mode, NULL, (const char *const *)settings->cpu_extra_flags, err);
    if (cpu && limit_out)
        *limit_out = g_strdup(limit);
    return cpu;
}

static char *
choose(HostConn *conn, const LibvirtSettings *settings, Nodes *nodes, char **limit_out,
       GError **err)
{
    switch (settings->cpu_mode) {
    case CPU_MODE_BASELINE:
        return choose_baseline(conn, settings, nodes, limit_out, err);
    case CPU_MODE_CUSTOM:
        return choose_custom(conn, settings, nodes, limit_out, err);
    case CPU_MODE_HOST_MODEL:
        return choose_mode(settings, "host-model",
                           "the node that a server starts on sets the limit", limit_out, err);
    case CPU_MODE_HOST_PASSTHROUGH:
        return choose_mode(settings, "host-passthrough",
                           "the node that a server starts on sets the limit; moves need "
                           "nodes with the same CPU",
                           limit_out, err);
    case CPU_MODE_NONE:
        if (limit_out)
            *limit_out = g_strdup("the hypervisor's default CPU");
        return g_strdup("");
    }
    err_set(err, ERR_BUG, "unknown CPU mode %d", (int)settings->cpu_mode);
    return NULL;
}

char *
libvirt_cpu_choose(HostConn *conn, const LibvirtSettings *settings, const char *const *host_names,
                   const char *const *hypervisor_cpus, size_t n, char **limit_out, GError **err)
{
    bool needs_nodes =
        settings->cpu_mode == CPU_MODE_BASELINE || settings->cpu_mode == CPU_MODE_CUSTOM;
    if (limit_out)
        *limit_out = NULL;
    if (needs_nodes && (n == 0 || n > NODES_MOST)) {
        err_set(err, ERR_INVALID, "a common CPU can be found for 1 to %d nodes, not for %zu",
                NODES_MOST, n);
        return NULL;
    }
    for (size_t i = 0; needs_nodes && i < n; i++) {
        if (!hypervisor_cpus[i]) {
            err_set(err, ERR_UNSUPPORTED,
                    "%s: its hypervisor does not say which CPU it can give; set cpu_mode = none",
                    host_names[i]);
            return NULL;
        }
    }
    Nodes nodes = {.names = host_names, .cpus = hypervisor_cpus, .n = n};
    char *cpu = choose(conn, settings, &nodes, limit_out, err);
    if (nodes.features)
        g_ptr_array_unref(nodes.features);
    if (!cpu && limit_out)
        g_clear_pointer(limit_out, g_free);
    return cpu;
}
