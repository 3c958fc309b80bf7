/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* caps-xml.c: XML about nodes: CPUs, capabilities, domain capabilities, storage pools */
#include "host/domain-xml.h"

#include <jansson.h>
#include <string.h>

#define FEATURES_MOST 2048
#define MODELS_MOST   2048

/* ---- CPUs ------------------------------------------------------------------------------- */
void
cpu_xml_free(CpuXml *cpu)
{
    if (!cpu)
        return;
    g_free(cpu->mode);
    g_free(cpu->model);
    g_free(cpu->vendor);
    g_hash_table_unref(cpu->features);
    g_free(cpu);
}

bool
cpu_name_is_valid(const char *name)
{
    size_t length = strnlen(name, 65);
    if (length == 0 || length > 64)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (!g_ascii_isalnum(name[i]) && !strchr("._-", name[i]))
            return false;
    }
    return true;
}

CpuXml *
cpu_xml_read(const char *text, GError **err)
{
    g_autoptr(xmlDoc) doc = xml_parse(text, "cpu", "the CPU's XML", err);
    if (!doc)
        return NULL;
    const xmlNode *root = xmlDocGetRootElement(doc);
    g_autoptr(CpuXml) cpu = g_new0(CpuXml, 1);
    cpu->features = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    cpu->mode = xml_attribute(root, "mode");
    cpu->model = xml_text(xml_child(root, "model"));
    cpu->vendor = xml_text(xml_child(root, "vendor"));
    for (const xmlNode *node = xml_child(root, "feature"); node; node = xml_next(node)) {
        g_autofree char *name = xml_attribute(node, "name");
        char *policy = xml_attribute(node, "policy");
        if (!name || !cpu_name_is_valid(name) || g_hash_table_contains(cpu->features, name) ||
            g_hash_table_size(cpu->features) >= FEATURES_MOST) {
            g_free(policy);
            err_set(err, ERR_INVALID,
                    "the CPU's XML has a feature without a valid name, one feature twice, or more "
                    "than %d",
                    FEATURES_MOST);
            return NULL;
        }
        g_hash_table_replace(cpu->features, g_steal_pointer(&name),
                             policy ? policy : g_strdup("require"));
    }
    return g_steal_pointer(&cpu);
}

static bool
cpu_add_flags(xmlNode *cpu, const char *const *flags, GError **err)
{
    for (size_t i = 0; flags && flags[i]; i++) {
        const char *name = flags[i] + (flags[i][0] == '+' || flags[i][0] == '-');
        if (!cpu_name_is_valid(name))
            return err_set(err, ERR_INVALID, "'%s' is not a CPU flag; write name, +name or -name",
                           flags[i]);
        xmlNode *feature = xml_child(cpu, "feature");
        while (feature) {
            g_autofree char *there = xml_attribute(feature, "name");
            if (there && strcmp(there, name) == 0)
                break;
            feature = xml_next(feature);
        }
        if (!feature)
            feature = xml_add(cpu, "feature", NULL);
        xml_set(feature, "policy", flags[i][0] == '-' ? "disable" : "require");
        xml_set(feature, "name", name);
    }
    return true;
}

char *
cpu_xml_build(const char *mode, const char *model, const char *const *flags, GError **err)
{
    g_autoptr(xmlDoc) doc = xml_new("cpu");
    xmlNode *cpu = xmlDocGetRootElement(doc);
    xml_set(cpu, "mode", mode);
    if (model) {
        if (!cpu_name_is_valid(model)) {
            err_set(err, ERR_INVALID, "'%.64s' cannot be the name of a CPU model", model);
            return NULL;
        }
        xml_set(cpu, "match", "exact");
        xml_set(xml_add(cpu, "model", model), "fallback", "forbid");
    }
    return cpu_add_flags(cpu, flags, err) ? xml_dump(cpu) : NULL;
}

char *
cpu_xml_with_flags(const char *cpu, const char *const *flags, GError **err)
{
    g_autoptr(xmlDoc) doc = xml_parse(cpu, "cpu", "the CPU's XML", err);
    if (!doc)
        return NULL;
    xmlNode *root = xmlDocGetRootElement(doc);
    return cpu_add_flags(root, flags, err) ? xml_dump(root) : NULL;
}

/* ---- capabilities ----------------------------------------------------------------------- */
static char *
json_text(json_t *value)
{
    char *dumped = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
    char *text = g_strdup(dumped ? dumped : "{}");
    free(dumped);
    json_decref(value);
    return text;
}

/* json_string() refuses what is not UTF-8; libxml2 only gives UTF-8 */
static void
json_set_text(json_t *object, const char *key, const xmlNode *node)
{
    g_autofree char *text = xml_text(node);
    json_object_set_new(object, key, json_string(text ? text : ""));
}

static char *
cpu_info_json(const xmlNode *cpu)
{
    json_t *info = json_object(), *topology = json_object(), *features = json_array();
    json_set_text(info, "arch", xml_child(cpu, "arch"));
    json_set_text(info, "model", xml_child(cpu, "model"));
    json_set_text(info, "vendor", xml_child(cpu, "vendor"));
    static const char *const parts[] = {"sockets", "dies", "cores", "threads"};
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *text = xml_attribute(xml_child(cpu, "topology"), parts[i]);
        int64_t number = 1;
        if (text && parse_int64(text, 1, 1 << 20, &number))
            json_object_set_new(topology, parts[i], json_integer(number));
    }
    for (const xmlNode *node = xml_child(cpu, "feature"); node; node = xml_next(node)) {
        g_autofree char *name = xml_attribute(node, "name");
        if (name && cpu_name_is_valid(name) && json_array_size(features) < FEATURES_MOST)
            json_array_append_new(features, json_string(name));
    }
    json_object_set_new(info, "topology", topology);
    json_object_set_new(info, "features", features);
    return json_text(info);
}

void
caps_xml_free(CapsXml *caps)
{
    if (!caps)
        return;
    g_free(caps->host_uuid);
    g_free(caps->cpu_info);
    g_free(caps);
}

CapsXml *
caps_xml_read(const char *text, GError **err)
{
    g_autoptr(xmlDoc) doc = xml_parse(text, "capabilities", "the node's capabilities", err);
    if (!doc)
        return NULL;
    const xmlNode *host = xml_child(xmlDocGetRootElement(doc), "host");
    g_autofree char *uuid = xml_text(xml_child(host, "uuid"));
    if (!uuid || !uuid_is_valid(uuid)) {
        err_set(err, ERR_INVALID,
                "the node's capabilities carry no host UUID; set host_uuid in its libvirtd.conf");
        return NULL;
    }
    CapsXml *caps = g_new0(CapsXml, 1);
    caps->host_uuid = g_steal_pointer(&uuid);
    caps->cpu_info = cpu_info_json(xml_child(host, "cpu"));
    return caps;
}

/* ---- domain capabilities ---------------------------------------------------------------- */
void
domain_caps_xml_free(DomainCapsXml *caps)
{
    if (!caps)
        return;
    g_free(caps->hypervisor_cpu);
    g_free(caps->cpu_models);
    g_free(caps);
}

/* <mode name='host-model'> holds the children of a <cpu>; as mode custom the baseline and compare
 * calls take it */
static char *
hypervisor_cpu_of(const xmlNode *mode)
{
    g_autofree char *supported = xml_attribute(mode, "supported");
    if (g_strcmp0(supported, "yes") != 0 || !xml_child(mode, "model"))
        return NULL;
    g_autoptr(xmlDoc) doc = xml_new("cpu");
    xmlNode *cpu = xmlDocGetRootElement(doc);
    xml_set(cpu, "mode", "custom");
    xml_set(cpu, "match", "exact");
    for (xmlNode *node = mode->children; node; node = node->next) {
        const char *name = (const char *)node->name;
        if (node->type == XML_ELEMENT_NODE &&
            (strcmp(name, "model") == 0 || strcmp(name, "vendor") == 0 ||
             strcmp(name, "feature") == 0))
            xmlAddChild(cpu, xmlDocCopyNode(node, doc, 1));
    }
    return xml_dump(cpu);
}

static json_t *
usable_models_of(const xmlNode *mode)
{
    json_t *models = json_array();
    for (const xmlNode *node = xml_child(mode, "model"); node; node = xml_next(node)) {
        g_autofree char *usable = xml_attribute(node, "usable");
        g_autofree char *name = xml_text(node);
        if (g_strcmp0(usable, "yes") == 0 && name && cpu_name_is_valid(name) &&
            json_array_size(models) < MODELS_MOST)
            json_array_append_new(models, json_string(name));
    }
    return models;
}

DomainCapsXml *
domain_caps_xml_read(const char *text, GError **err)
{
    g_autoptr(xmlDoc) doc =
        xml_parse(text, "domainCapabilities", "the hypervisor's capabilities", err);
    if (!doc)
        return NULL;
    DomainCapsXml *caps = g_new0(DomainCapsXml, 1);
    const xmlNode *custom = NULL;
    const xmlNode *cpu = xml_child(xmlDocGetRootElement(doc), "cpu");
    for (const xmlNode *mode = xml_child(cpu, "mode"); mode; mode = xml_next(mode)) {
        g_autofree char *name = xml_attribute(mode, "name");
        if (g_strcmp0(name, "host-model") == 0 && !caps->hypervisor_cpu)
            caps->hypervisor_cpu = hypervisor_cpu_of(mode);
        else if (g_strcmp0(name, "custom") == 0)
            custom = mode;
    }
    caps->cpu_models = json_text(usable_models_of(custom));
    return caps;
}

/* ---- storage pools ---------------------------------------------------------------------- */
char *
pool_xml_build(const char *name, const char *directory)
{
    g_autoptr(xmlDoc) doc = xml_new("pool");
    xmlNode *pool = xmlDocGetRootElement(doc);
    xml_set(pool, "type", "dir");
    xml_add(pool, "name", name);
    xml_add(xml_add(pool, "target", NULL), "path", directory);
    return xml_dump(pool);
}

char *
volume_xml_build(const char *name, uint64_t size)
{
    g_autoptr(xmlDoc) doc = xml_new("volume");
    xmlNode *volume = xmlDocGetRootElement(doc);
    xml_add(volume, "name", name);
    g_autofree char *bytes = g_strdup_printf("%" PRIu64, size);
    xml_set(xml_add(volume, "capacity", bytes), "unit", "bytes");
    xmlNode *target = xml_add(volume, "target", NULL);
    xml_set(xml_add(target, "format", NULL), "type", "raw");
    xml_add(xml_add(target, "permissions", NULL), "mode", "0644");
    return xml_dump(volume);
}
