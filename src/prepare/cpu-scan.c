/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cpu-scan.c: reads the CPUs out of what a node's libvirt answered
 *
 * A node may be in anybody's hands, so its answer is not parsed as XML in general but held against
 * what libvirt writes: elements, attributes in quotes, text; no declarations, entities'
 * definitions, comments or processing instructions; everything bounded. Of what is found only names
 * that are plain words are kept. What is sent on to a node is written anew from those. */
#include "prepare/prepare-priv.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX    16
#define CPUS_MAX     1024
#define FEATURES_MAX 1024
#define USABLE_MAX   1024
#define WORD_MAX     64

typedef struct Attribute {
    const char *name, *value;
    size_t name_length, value_length;
} Attribute;

#define ATTRIBUTES_MAX 16

typedef struct Element {
    const char *name;
    size_t length;
    Attribute attributes[ATTRIBUTES_MAX];
    unsigned n_attributes;
} Element;

typedef struct CpuScan {
    const char *at;
    Element open[DEPTH_MAX];
    unsigned depth;
    const char *text; /* since the last tag */

    GPtrArray *cpus;
    GHashTable *usable; /* may be NULL */
    ScannedCpu *cpu;    /* that is being read */
    unsigned cpu_depth;
} CpuScan;

static void
cpu_free(void *opaque)
{
    ScannedCpu *cpu = opaque;
    g_free(cpu->model);
    g_free(cpu->vendor);
    g_hash_table_unref(cpu->features);
    g_free(cpu);
}

bool
cpu_word_is_valid(const char *word)
{
    size_t length = strspn(word, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._-");
    return word[length] == '\0' && length > 0 && length <= WORD_MAX && g_ascii_isalnum(*word);
}

static bool
scan_error(GError **err, const char *what)
{
    return err_set(err, ERR_INVALID, "libvirt's answer about the CPU is not understood: %s", what);
}

static bool
is_name(const Element *element, const char *name)
{
    return element->length == strlen(name) && strncmp(element->name, name, element->length) == 0;
}

/* NULL: there is no such attribute. */
static char *
attribute_get(const Element *element, const char *name)
{
    for (unsigned i = 0; i < element->n_attributes; i++) {
        const Attribute *attribute = &element->attributes[i];
        if (attribute->name_length == strlen(name) &&
            strncmp(attribute->name, name, attribute->name_length) == 0)
            return g_strndup(attribute->value, attribute->value_length);
    }
    return NULL;
}

static bool
attribute_is(const Element *element, const char *name, const char *value)
{
    g_autofree char *found = attribute_get(element, name);
    return g_strcmp0(found, value) == 0;
}

static bool
is_policy(const char *word)
{
    static const char *const policies[] = {"force",   "require", "optional",
                                           "disable", "forbid",  NULL};
    return word != NULL && g_strv_contains(policies, word);
}

static bool
feature_take(CpuScan *scan, const Element *element, GError **err)
{
    g_autofree char *name = attribute_get(element, "name");
    g_autofree char *policy = attribute_get(element, "policy");

    if (name == NULL || !cpu_word_is_valid(name) || (policy != NULL && !is_policy(policy)))
        return scan_error(err, "a feature has no plain name or policy");
    if (g_hash_table_size(scan->cpu->features) >= FEATURES_MAX)
        return scan_error(err, "a CPU has too many features");
    g_hash_table_replace(scan->cpu->features, g_steal_pointer(&name),
                         policy != NULL ? g_steal_pointer(&policy) : g_strdup("require"));
    return true;
}

/* The element that was just opened, at depth >= 1. */
static bool
element_begin(CpuScan *scan, GError **err)
{
    const Element *element = &scan->open[scan->depth - 1];
    bool is_cpu = scan->depth == 1 && is_name(element, "cpu");
    bool is_host_model = scan->depth == 3 && is_name(&scan->open[0], "domainCapabilities") &&
                         is_name(&scan->open[1], "cpu") && is_name(element, "mode") &&
                         attribute_is(element, "name", "host-model") &&
                         attribute_is(element, "supported", "yes");

    if (scan->cpu != NULL && scan->depth == scan->cpu_depth + 1 && is_name(element, "feature"))
        return feature_take(scan, element, err);
    if (scan->cpu != NULL || (!is_cpu && !is_host_model))
        return true;
    if (scan->cpus->len >= CPUS_MAX)
        return scan_error(err, "there are too many CPUs in it");
    scan->cpu = g_new0(ScannedCpu, 1);
    scan->cpu->features = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    scan->cpu_depth = scan->depth;
    g_ptr_array_add(scan->cpus, scan->cpu);
    return true;
}

static bool
word_take(char **word, const char *text, size_t length, GError **err)
{
    g_autofree char *copy = g_strndup(text, length);

    g_strstrip(copy);
    if (!cpu_word_is_valid(copy))
        return scan_error(err, "a CPU's model or vendor is no plain word");
    g_free(*word);
    *word = g_steal_pointer(&copy);
    return true;
}

/* A model of the list of those that could be named. */
static bool
usable_take(CpuScan *scan, const Element *element, size_t length, GError **err)
{
    g_autofree char *model = NULL;

    if (scan->usable == NULL || scan->depth != 4 || !is_name(element, "model") ||
        !is_name(&scan->open[0], "domainCapabilities") || !is_name(&scan->open[1], "cpu") ||
        !is_name(&scan->open[2], "mode") || !attribute_is(&scan->open[2], "name", "custom") ||
        !attribute_is(element, "usable", "yes"))
        return true;
    if (!word_take(&model, scan->text, length, err))
        return false;
    if (g_hash_table_size(scan->usable) >= USABLE_MAX)
        return scan_error(err, "it names too many models");
    g_hash_table_add(scan->usable, g_steal_pointer(&model));
    return true;
}

/* The element ends; length: of the text before its end. */
static bool
element_end(CpuScan *scan, size_t length, GError **err)
{
    const Element *element = &scan->open[scan->depth - 1];
    bool inside = scan->cpu != NULL && scan->depth == scan->cpu_depth + 1;

    if (inside && is_name(element, "model") &&
        !word_take(&scan->cpu->model, scan->text, length, err))
        return false;
    if (inside && is_name(element, "vendor") &&
        !word_take(&scan->cpu->vendor, scan->text, length, err))
        return false;
    if (!usable_take(scan, element, length, err))
        return false;
    if (scan->cpu != NULL && scan->depth == scan->cpu_depth)
        scan->cpu = NULL;
    scan->depth--;
    return true;
}

static size_t
name_length(const char *text)
{
    return g_ascii_isalpha(*text) ? strspn(text, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._-") : 0;
}

static void
skip_space(CpuScan *scan)
{
    while (g_ascii_isspace(*scan->at))
        scan->at++;
}

static bool
attribute_scan(CpuScan *scan, Element *element, GError **err)
{
    if (element->n_attributes == ATTRIBUTES_MAX)
        return scan_error(err, "an element has too many attributes");
    Attribute *attribute = &element->attributes[element->n_attributes++];
    attribute->name = scan->at;
    attribute->name_length = name_length(scan->at);
    scan->at += attribute->name_length;
    if (attribute->name_length == 0 || scan->at[0] != '=' ||
        (scan->at[1] != '\'' && scan->at[1] != '"'))
        return scan_error(err, "an attribute is not of the form name='value'");
    attribute->value = scan->at + 2;
    const char *close = strchr(attribute->value, scan->at[1]);
    if (close == NULL || memchr(attribute->value, '<', (size_t)(close - attribute->value)) != NULL)
        return scan_error(err, "an attribute's value does not end");
    attribute->value_length = (size_t)(close - attribute->value);
    scan->at = close + 1;
    return true;
}

static bool
open_scan(CpuScan *scan, GError **err)
{
    if (scan->depth == DEPTH_MAX)
        return scan_error(err, "it is nested too deeply");
    Element *element = &scan->open[scan->depth];
    *element = (Element){.name = scan->at + 1, .length = name_length(scan->at + 1)};
    if (element->length == 0)
        return scan_error(err, "it holds something else than elements and text");
    scan->at = element->name + element->length;
    for (skip_space(scan); *scan->at != '>' && *scan->at != '/'; skip_space(scan)) {
        if (!attribute_scan(scan, element, err))
            return false;
    }
    bool empty = *scan->at == '/';
    scan->at += empty;
    if (*scan->at != '>')
        return scan_error(err, "an element does not end");
    scan->at++;
    scan->text = scan->at;
    scan->depth++;
    return element_begin(scan, err) && (!empty || element_end(scan, 0, err));
}

static bool
close_scan(CpuScan *scan, GError **err)
{
    size_t text_length = (size_t)(scan->at - scan->text);
    const char *name = scan->at + 2;
    size_t length = name_length(name);

    if (scan->depth == 0 || length == 0 || length != scan->open[scan->depth - 1].length ||
        strncmp(name, scan->open[scan->depth - 1].name, length) != 0 || name[length] != '>')
        return scan_error(err, "an element ends that was not begun");
    if (!element_end(scan, text_length, err))
        return false;
    scan->at = name + length + 1;
    scan->text = scan->at;
    return true;
}

static bool
scan_all(CpuScan *scan, GError **err)
{
    while (*scan->at != '\0') {
        if (*scan->at == '<') {
            if (!(scan->at[1] == '/' ? close_scan(scan, err) : open_scan(scan, err)))
                return false;
            continue;
        }
        if (scan->depth == 0 && !g_ascii_isspace(*scan->at))
            return scan_error(err, "there is text outside of elements");
        scan->at++;
    }
    return scan->depth == 0 || scan_error(err, "it is cut off");
}

GPtrArray *
cpu_scan(const char *xml, GHashTable *usable, GError **err)
{
    g_autoptr(GPtrArray) cpus = g_ptr_array_new_with_free_func(cpu_free);
    CpuScan scan = {.at = xml, .text = xml, .cpus = cpus, .usable = usable};

    if (strlen(xml) > CPU_SCAN_MAX) {
        scan_error(err, "it is larger than 1 MiB");
        return NULL;
    }
    return scan_all(&scan, err) ? g_steal_pointer(&cpus) : NULL;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **
cpu_words_sorted(GHashTable *set, unsigned *n)
{
    const char **words = (const char **)g_hash_table_get_keys_as_array(set, n);
    qsort(words, *n, sizeof *words, compare_names);
    return words;
}

char *
cpu_render(const ScannedCpu *cpu)
{
    GString *out = g_string_new("<cpu mode='custom' match='exact'>\n");
    unsigned n;
    g_autofree const char **names = cpu_words_sorted(cpu->features, &n);

    if (cpu->model != NULL)
        g_string_append_printf(out, "  <model fallback='forbid'>%s</model>\n", cpu->model);
    if (cpu->vendor != NULL)
        g_string_append_printf(out, "  <vendor>%s</vendor>\n", cpu->vendor);
    for (unsigned i = 0; i < n; i++)
        g_string_append_printf(out, "  <feature policy='%s' name='%s'/>\n",
                               (const char *)g_hash_table_lookup(cpu->features, names[i]),
                               names[i]);
    g_string_append(out, "</cpu>");
    return g_string_free(out, FALSE);
}
