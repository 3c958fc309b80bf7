/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fake-cpu.c: CPUs of the fake nodes: named models with sets of features, and the arithmetic of
 * libvirt's CPU driver in small
 *
 * Odd nodes are a Westmere, even ones a Nehalem, so that a baseline over two nodes has something to
 * lose. */
#include "host/fake-world.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>

static const char *const feature_names[] = {"sse2",   "cx16",         "ssse3", "sse4.1",
                                            "sse4.2", "popcnt",       "aes",   "avx",
                                            "x2apic", "tsc-deadline", "avx2"};

static const struct {
    const char *name;
    unsigned features; /* bits in the order of feature_names */
} models[] = {
    {"kvm64", 0x003},    {"qemu64", 0x003},      {"Nehalem", 0x03f},
    {"Westmere", 0x07f}, {"SandyBridge", 0x3ff}, {"Haswell", 0x7ff},
};

static int
model_find(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        if (g_strcmp0(models[i].name, name) == 0)
            return (int)i;
    return -1;
}

static unsigned
feature_bit(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(feature_names); i++)
        if (g_strcmp0(feature_names[i], name) == 0)
            return 1u << i;
    return 0;
}

static char *
features_format(unsigned features)
{
    GString *text = g_string_new(NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(feature_names); i++)
        if (features & 1u << i)
            g_string_append_printf(text, "%s%s", text->len > 0 ? ", " : "", feature_names[i]);
    return g_string_free(text, FALSE);
}

static char *
cpu_format(int model, unsigned features)
{
    GString *text = g_string_new("<cpu mode='custom' match='exact' check='full'>");
    g_string_append_printf(text, "<model fallback='forbid'>%s</model>", models[model].name);
    for (unsigned i = 0; i < G_N_ELEMENTS(feature_names); i++) {
        unsigned bit = 1u << i;
        if ((features ^ models[model].features) & bit)
            g_string_append_printf(text, "<feature policy='%s' name='%s'/>",
                                   features & bit ? "require" : "disable", feature_names[i]);
    }
    g_string_append(text, "</cpu>");
    return g_string_free(text, FALSE);
}

/* The features of a <cpu> element; host-model and host-passthrough are what the node has. */
static bool
cpu_parse(const char *xml, unsigned of_node, unsigned *features, GError **err)
{
    xmlDoc *doc = xml == NULL
                      ? NULL
                      : xmlReadMemory(xml, (int)strlen(xml), NULL, NULL,
                                      XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    const xmlNode *root = doc != NULL ? xmlDocGetRootElement(doc) : NULL;
    bool ok = root != NULL;
    if (!ok)
        err_set(err, ERR_INVALID, "this is no CPU element: %s", xml != NULL ? xml : "nothing");

    *features = of_node;
    for (const xmlNode *node = ok ? root->children : NULL; ok && node != NULL; node = node->next) {
        if (xmlStrcmp(node->name, BAD_CAST "model") == 0) {
            xmlChar *name = xmlNodeGetContent(node);
            int model = model_find((const char *)name);
            if (model < 0)
                ok = err_set(err, ERR_INVALID, "unknown CPU model %s", (const char *)name);
            else
                *features = models[model].features;
            xmlFree(name);
        } else if (xmlStrcmp(node->name, BAD_CAST "feature") == 0) {
            xmlChar *name = xmlGetProp(node, BAD_CAST "name");
            xmlChar *policy = xmlGetProp(node, BAD_CAST "policy");
            unsigned bit = feature_bit((const char *)name);
            if (xmlStrcmp(policy, BAD_CAST "disable") == 0)
                *features &= ~bit;
            else
                *features |= bit;
            xmlFree(name);
            xmlFree(policy);
        }
    }
    xmlFreeDoc(doc);
    return ok;
}

static int
node_model(int node)
{
    return model_find(node % 2 == 1 ? "Westmere" : "Nehalem");
}

char *
fake_cpu_of_node(int node)
{
    int model = node_model(node);
    return cpu_format(model, models[model].features);
}

char *
fake_cpu_models(int node)
{
    unsigned has = models[node_model(node)].features;
    GString *text = g_string_new("[");
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        if ((models[i].features & ~has) == 0)
            g_string_append_printf(text, "%s\"%s\"", text->len > 1 ? "," : "", models[i].name);
    g_string_append_c(text, ']');
    return g_string_free(text, FALSE);
}

bool
fake_cpu_compare(int node, const char *cpu_xml, GError **err)
{
    unsigned has = models[node_model(node)].features, wants;
    if (!cpu_parse(cpu_xml, has, &wants, err))
        return false;
    if ((wants & ~has) == 0)
        return true;
    g_autofree char *missing = features_format(wants & ~has);
    return err_set(err, ERR_UNSUPPORTED,
                   "the hypervisor of host%d cannot give this CPU; missing features: %s", node,
                   missing);
}

/* The richest named model within features. */
static int
model_within(unsigned features)
{
    int best = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        if ((models[i].features & ~features) == 0)
            best = (int)i;
    return best;
}

static char *
choose_custom(const LibvirtSettings *settings, const char *const *host_names, const unsigned *has,
              size_t n, GError **err)
{
    unsigned flags_on = 0, flags_off = 0;
    for (char **flag = settings->cpu_extra_flags; flag != NULL && *flag != NULL; flag++) {
        const char *name = *flag + (**flag == '+' || **flag == '-');
        *(**flag == '-' ? &flags_off : &flags_on) |= feature_bit(name);
    }
    g_autoptr(GString) why = g_string_new(NULL);
    for (char **name = settings->cpu_models; name != NULL && *name != NULL; name++) {
        int model = model_find(*name);
        if (model < 0) {
            g_string_append_printf(why, "; %s is unknown", *name);
            continue;
        }
        unsigned wants = (models[model].features | flags_on) & ~flags_off;
        size_t i = 0;
        while (i < n && (wants & ~has[i]) == 0)
            i++;
        if (i == n)
            return cpu_format(model, wants);
        g_autofree char *missing = features_format(wants & ~has[i]);
        g_string_append_printf(why, "; %s: %s lacks %s", *name, host_names[i], missing);
    }
    err_set(err, ERR_UNSUPPORTED, "no configured CPU model is usable on all nodes%s", why->str);
    return NULL;
}

char *
fake_cpu_choose(const LibvirtSettings *settings, const char *const *host_names,
                const char *const *cpus, size_t n, char **limit_out, GError **err)
{
    if (settings->cpu_mode == CPU_MODE_NONE)
        return g_strdup("");
    if (settings->cpu_mode == CPU_MODE_HOST_MODEL)
        return g_strdup("<cpu mode='host-model'/>");
    if (settings->cpu_mode == CPU_MODE_HOST_PASSTHROUGH)
        return g_strdup("<cpu mode='host-passthrough'/>");

    g_autofree unsigned *has = g_new0(unsigned, n + 1);
    unsigned common = ~0u, all = 0;
    for (size_t i = 0; i < n; i++) {
        if (!cpu_parse(cpus[i], 0, &has[i], err))
            return NULL;
        common &= has[i];
        all |= has[i];
    }
    if (n == 0) {
        err_set(err, ERR_INVALID, "no node's CPU is known yet");
        return NULL;
    }
    if (settings->cpu_mode == CPU_MODE_CUSTOM)
        return choose_custom(settings, host_names, has, n, err);
    if (limit_out != NULL) {
        GString *limit = g_string_new(NULL);
        for (size_t i = 0; i < n; i++) {
            if ((all & ~has[i]) == 0)
                continue;
            g_autofree char *missing = features_format(all & ~has[i]);
            g_string_append_printf(limit, "%s%s lacks %s", limit->len > 0 ? "; " : "",
                                   host_names[i], missing);
        }
        *limit_out = g_string_free(limit, FALSE);
    }
    return cpu_format(model_within(common), common);
}
