/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nova-cpu.c: the best CPU that every node can give to guests, in the words of a nova.conf
 *
 * Each node says what its hypervisor would give a guest (host-model). One node then computes what
 * they have in common and expands all of them to features, which tells who lacks what; libvirt
 * knows the models, not we. A release of Nova that can only add features to a model, or not even
 * that, needs a model that every node has as a whole: of those the one with the most features is
 * taken. */
#include "prepare/prepare-priv.h"

#include <string.h>

#define ASK_SECONDS     60
#define COMPUTE_SECONDS 180
#define NAMES_SHOWN     24

static const char ask_script[] =
    "set -u; LC_ALL=C; export LC_ALL\n"
    "command -v virsh >/dev/null || { echo 'virsh is not installed: is the node prepared?' >&2; "
    "exit 1; }\n"
    "type=$1\n"
    "if [ -z \"$type\" ]; then\n"
    "  if virsh -c qemu:///system domcapabilities --virttype kvm >/dev/null 2>&1\n"
    "  then type=kvm; else type=qemu; fi\n"
    "fi\n"
    "echo \"$type\"\n"
    "answer=$(virsh -c qemu:///system domcapabilities --virttype \"$type\") || exit 1\n"
    "printf '%s\\n' \"$answer\" | head -c 1048577";

/* The common CPU as it is, and expanded; then every CPU expanded. */
static const char compute_script[] =
    "set -eu; LC_ALL=C; export LC_ALL\n"
    "type=$1; shift\n"
    "dir=$(mktemp -d)\n"
    "trap 'rm -rf \"$dir\"' EXIT\n"
    "trap 'exit 1' HUP INT TERM\n"
    "baseline() { virsh -q -c qemu:///system hypervisor-cpu-baseline --virttype \"$type\" \"$@\"; "
    "}\n"
    "for cpu; do printf '%s\\n' \"$cpu\" >>\"$dir/all\"; done\n"
    "baseline --migratable \"$dir/all\" >\"$dir/common\"\n"
    "cat \"$dir/common\"\n"
    "baseline --features \"$dir/common\"\n"
    "for cpu; do printf '%s\\n' \"$cpu\" >\"$dir/one\"; baseline --features \"$dir/one\"; done";

/* Models, expanded; one that cannot be is told as a CPU without anything. */
static const char expand_script[] =
    "set -eu; LC_ALL=C; export LC_ALL\n"
    "type=$1; shift\n"
    "dir=$(mktemp -d)\n"
    "trap 'rm -rf \"$dir\"' EXIT\n"
    "trap 'exit 1' HUP INT TERM\n"
    "for cpu; do printf '%s\\n' \"$cpu\" >\"$dir/one\"\n"
    "  virsh -q -c qemu:///system hypervisor-cpu-baseline --virttype \"$type\" --features "
    "\"$dir/one\" >\"$dir/out\" 2>/dev/null || echo '<cpu/>' >\"$dir/out\"\n"
    "  cat \"$dir/out\"\n"
    "done";

typedef struct AskedNode {
    const NodeTarget *target;
    const NovaCpuOptions *options;
    NodeSsh *ssh;
    char *virt_type;
    GPtrArray *cpus;    /* ScannedCpu *, one */
    GHashTable *usable; /* models that it has as a whole */
    char *xml;          /* of the CPU, our own */
    GHashTable *features;
    GError *error;
} AskedNode;

typedef struct Asked {
    AskedNode *nodes;
    unsigned n;
    const NovaCpuOptions *options;
    const char *virt_type;
    NovaCpu *result;
} Asked;

/* ---- asking every node ------------------------------------------------------------------------
 */

static bool
answer_read(AskedNode *node, char *answer, GError **err)
{
    char *xml = strchr(answer, '\n');

    if (xml == NULL)
        return err_set(err, ERR_INVALID, "%s: it said nothing about its CPU", node->target->text);
    *xml++ = '\0';
    if (!g_str_equal(answer, "kvm") && !g_str_equal(answer, "qemu"))
        return err_set(err, ERR_INVALID, "%s: it answers something else than it was asked",
                       node->target->text);
    node->virt_type = g_strdup(answer);
    node->cpus = cpu_scan(xml, node->usable, err);
    if (node->cpus == NULL) {
        g_prefix_error(err, "%s: ", node->target->text);
        return false;
    }
    if (node->options->cpu_model != NULL)
        return true;
    const ScannedCpu *cpu = node->cpus->len == 1 ? g_ptr_array_index(node->cpus, 0) : NULL;
    if (cpu == NULL || cpu->model == NULL)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: its hypervisor (%s) does not say which CPU it can give; name a model "
                       "with --cpu-model",
                       node->target->text, node->virt_type);
    node->xml = cpu_render(cpu);
    return true;
}

static void
node_ask(void *opaque)
{
    AskedNode *node = opaque;
    SshOptions options = {.config = node->options->ssh_config,
                          .cancel_fd = node->options->cancel_fd};
    const char *wanted = node->options->virt_type;
    const char *args[] = {wanted != NULL ? wanted : "", NULL};
    g_autofree char *answer = NULL;

    node->ssh = ssh_open(node->target, &options, &node->error);
    if (node->ssh != NULL &&
        ssh_script(node->ssh, ask_script, args, ASK_SECONDS, &answer, &node->error))
        answer_read(node, answer, &node->error);
}

static bool
nodes_ask(Asked *asked, GError **err)
{
    g_autofree pthread_t *threads = g_new0(pthread_t, asked->n);
    g_autoptr(GString) failed = g_string_new(NULL);
    ErrCode code = ERR_BACKEND;

    for (unsigned i = 0; i < asked->n; i++)
        threads[i] = thread_start("nova-cpu", node_ask, &asked->nodes[i]);
    for (unsigned i = 0; i < asked->n; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < asked->n; i++) {
        if (asked->nodes[i].error == NULL)
            continue;
        code = err_code(asked->nodes[i].error);
        g_string_append_printf(failed, "%s%s", failed->len ? "\n" : "",
                               asked->nodes[i].error->message);
    }
    return failed->len == 0 || err_set(err, code, "%s", failed->str);
}

static bool
type_find(Asked *asked, GError **err)
{
    const AskedNode *first = &asked->nodes[0];

    for (unsigned i = 1; i < asked->n; i++) {
        const AskedNode *node = &asked->nodes[i];
        if (g_str_equal(first->virt_type, node->virt_type))
            continue;
        bool first_has = g_str_equal(first->virt_type, "kvm");
        return err_set(
            err, ERR_CONFLICT,
            "%s has KVM and %s has not (or its QEMU may not use it): a guest cannot move "
            "from one to the other; switch virtualization on in its firmware, load the "
            "kvm modules there, or name those nodes in a call of their own",
            (first_has ? first : node)->target->text, (first_has ? node : first)->target->text);
    }
    asked->virt_type = first->virt_type;
    return true;
}

static bool
vendors_error(GError **err, const char *who)
{
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: they have no model in common, and a guest cannot move from one to the "
                   "other; make a host aggregate of each kind and call this for each of them",
                   who);
}

static bool
vendor_check(const Asked *asked, GError **err)
{
    const ScannedCpu *first = g_ptr_array_index(asked->nodes[0].cpus, 0);

    for (unsigned i = 1; i < asked->n; i++) {
        const ScannedCpu *cpu = g_ptr_array_index(asked->nodes[i].cpus, 0);
        if (first->vendor == NULL || cpu->vendor == NULL || g_str_equal(first->vendor, cpu->vendor))
            continue;
        g_autofree char *who =
            g_strdup_printf("%s has a CPU of %s and %s one of %s", asked->nodes[0].target->text,
                            first->vendor, asked->nodes[i].target->text, cpu->vendor);
        return vendors_error(err, who);
    }
    return true;
}

/* The model that somebody named. */
static bool
named_check(const Asked *asked, GError **err)
{
    const char *model = asked->options->cpu_model;

    for (unsigned i = 0; i < asked->n; i++) {
        const AskedNode *node = &asked->nodes[i];
        if (!g_hash_table_contains(node->usable, model))
            return err_set(
                err, ERR_UNSUPPORTED,
                "%s: its hypervisor (%s) does not know the CPU model %.64s, or lacks some "
                "of its features; leave --cpu-model out to have one computed",
                node->target->text, node->virt_type, model);
    }
    asked->result->model = g_strdup(model);
    return true;
}

/* ---- what they have in common -----------------------------------------------------------------
 */

static GPtrArray *
cpus_ask(const Asked *asked, const char *script, GPtrArray *xmls, GError **err)
{
    g_autofree char *answer = NULL;
    g_autoptr(GError) error = NULL;
    const AskedNode *node = &asked->nodes[0];

    g_ptr_array_insert(xmls, 0, (void *)asked->virt_type);
    g_ptr_array_add(xmls, NULL);
    if (!ssh_script(node->ssh, script, (const char *const *)xmls->pdata, COMPUTE_SECONDS, &answer,
                    &error)) {
        if (strstr(error->message, "vendors do not match") != NULL)
            vendors_error(err, "the nodes' CPUs are of different vendors");
        else
            g_propagate_error(err, g_steal_pointer(&error));
        return NULL;
    }
    GPtrArray *cpus = cpu_scan(answer, NULL, err);
    if (cpus == NULL)
        g_prefix_error(err, "%s: ", node->target->text);
    return cpus;
}

/* Every feature that a CPU has, those of its model included. The node that expanded it marks as
 * disabled what it lacks itself; that counts only if the CPU itself says so too. */
static GHashTable *
features_of(const ScannedCpu *given, const ScannedCpu *expanded)
{
    GHashTable *set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GHashTableIter iter;
    gpointer name, policy;

    g_hash_table_iter_init(&iter, expanded->features);
    while (g_hash_table_iter_next(&iter, &name, &policy)) {
        if (!g_str_equal(policy, "disable") ||
            g_strcmp0(g_hash_table_lookup(given->features, name), "disable") != 0)
            g_hash_table_add(set, g_strdup(name));
    }
    return set;
}

/* What of wanted is not in have: "avx, avx2"; NULL: nothing. */
static char *
words_missing(GHashTable *wanted, GHashTable *have)
{
    unsigned n, missing = 0;
    g_autofree const char **words = cpu_words_sorted(wanted, &n);
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < n; i++) {
        if (!g_hash_table_contains(have, words[i]) && missing++ < NAMES_SHOWN)
            g_string_append_printf(text, "%s%s", text->len ? ", " : "", words[i]);
    }
    if (missing > NAMES_SHOWN)
        g_string_append_printf(text, " and %u more", missing - NAMES_SHOWN);
    return g_string_free(text, missing == 0);
}

static void note(Asked *asked, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void
note(Asked *asked, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_ptr_array_add(asked->result->notes, g_strdup_vprintf(format, arguments));
    va_end(arguments);
}

static void
limits_note(Asked *asked, const char *model)
{
    g_autoptr(GHashTable) all = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTableIter iter;
    gpointer name;
    bool limited = false;

    for (unsigned i = 0; i < asked->n; i++) {
        g_hash_table_iter_init(&iter, asked->nodes[i].features);
        while (g_hash_table_iter_next(&iter, &name, NULL))
            g_hash_table_add(all, name);
    }
    note(asked, "CPU: computed for %u node%s by libvirt on %s (%s): %s", asked->n,
         asked->n == 1 ? "" : "s", asked->nodes[0].target->host, asked->virt_type, model);
    for (unsigned i = 0; i < asked->n; i++) {
        const AskedNode *node = &asked->nodes[i];
        const ScannedCpu *cpu = g_ptr_array_index(node->cpus, 0);
        g_autofree char *missing = words_missing(all, node->features);
        if (missing != NULL)
            note(asked, "CPU: limited by %s (%s), which lacks %s", node->target->host, cpu->model,
                 missing);
        limited |= missing != NULL;
    }
    if (!limited && asked->n > 1)
        note(asked, "CPU: no node limits the others");
}

/* Features beyond the model; only those to be added if that is all that the release can say. */
static char **
flags_of(GHashTable *wanted, GHashTable *of_model, const NovaRelease *release)
{
    g_autoptr(GPtrArray) flags = g_ptr_array_new_with_free_func(g_free);
    unsigned n;
    g_autofree const char **words = cpu_words_sorted(wanted, &n);

    for (unsigned i = 0; i < n && release->number >= NOVA_CPU_FLAGS; i++) {
        if (!g_hash_table_contains(of_model, words[i]))
            g_ptr_array_add(flags, g_strdup(words[i]));
    }
    g_autofree const char **lacking = cpu_words_sorted(of_model, &n);
    for (unsigned i = 0; i < n && release->number >= NOVA_CPU_MINUS_FLAGS; i++) {
        if (!g_hash_table_contains(wanted, lacking[i]))
            g_ptr_array_add(flags, g_strconcat("-", lacking[i], NULL));
    }
    g_ptr_array_add(flags, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&flags), FALSE);
}

/* The models that every node has as a whole. */
static GHashTable *
usable_everywhere(const Asked *asked)
{
    GHashTable *models = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTableIter iter;
    gpointer name;

    g_hash_table_iter_init(&iter, asked->nodes[0].usable);
    while (g_hash_table_iter_next(&iter, &name, NULL)) {
        bool everywhere = true;
        for (unsigned i = 1; i < asked->n && everywhere; i++)
            everywhere = g_hash_table_contains(asked->nodes[i].usable, name);
        if (everywhere)
            g_hash_table_add(models, name);
    }
    return models;
}

static unsigned
common_count(GHashTable *a, GHashTable *b)
{
    GHashTableIter iter;
    gpointer name;
    unsigned n = 0;

    g_hash_table_iter_init(&iter, a);
    while (g_hash_table_iter_next(&iter, &name, NULL))
        n += g_hash_table_contains(b, name);
    return n;
}

/* The whole model with the most features; *features gets them. */
static bool
whole_model_find(Asked *asked, GHashTable *common, GHashTable **features, GError **err)
{
    g_autoptr(GHashTable) models = usable_everywhere(asked);
    unsigned n, best = 0;
    g_autofree const char **names = cpu_words_sorted(models, &n);
    g_autoptr(GPtrArray) xmls = g_ptr_array_new(), owned = g_ptr_array_new_with_free_func(g_free);

    for (unsigned i = 0; i < n; i++) {
        char *xml = g_strdup_printf("<cpu mode='custom' match='exact'>\n"
                                    "  <model fallback='forbid'>%s</model>\n</cpu>",
                                    names[i]);
        g_ptr_array_add(owned, xml);
        g_ptr_array_add(xmls, xml);
    }
    g_autoptr(GPtrArray) cpus = cpus_ask(asked, expand_script, xmls, err);
    if (cpus == NULL)
        return false;
    for (unsigned i = 0; i < MIN(n, cpus->len); i++) {
        const ScannedCpu *cpu = g_ptr_array_index(cpus, i);
        unsigned count = common_count(cpu->features, common);
        if (cpu->model == NULL || count <= best)
            continue;
        best = count;
        g_clear_pointer(features, g_hash_table_unref);
        *features = features_of(cpu, cpu);
        g_free(asked->result->model);
        asked->result->model = g_strdup(names[i]);
    }
    return best > 0 ||
           err_set(err, ERR_UNSUPPORTED,
                   "the nodes have no CPU model in common that they have as a whole, and Nova %s "
                   "cannot take features away from one; name a model with --cpu-model",
                   asked->options->release->series);
}

static bool
takes_away(const ScannedCpu *cpu)
{
    GHashTableIter iter;
    gpointer name, policy;

    g_hash_table_iter_init(&iter, cpu->features);
    while (g_hash_table_iter_next(&iter, &name, &policy)) {
        if (g_str_equal(policy, "disable") || g_str_equal(policy, "forbid"))
            return true;
    }
    return false;
}

/* What the model alone has, and what all nodes have. */
static char **
flags_given(const ScannedCpu *cpu)
{
    g_autoptr(GHashTable) plus = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) minus = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTableIter iter;
    gpointer name, policy;
    static const NovaRelease able = {.number = NOVA_CPU_MINUS_FLAGS};

    g_hash_table_iter_init(&iter, cpu->features);
    while (g_hash_table_iter_next(&iter, &name, &policy)) {
        bool off = g_str_equal(policy, "disable") || g_str_equal(policy, "forbid");
        g_hash_table_add(off ? minus : plus, name);
    }
    return flags_of(plus, minus, &able);
}

static bool
cpu_choose(Asked *asked, const ScannedCpu *common, GHashTable *features, GError **err)
{
    const NovaRelease *release = asked->options->release;
    NovaCpu *result = asked->result;
    g_autoptr(GHashTable) of_model = NULL;

    if (release->number >= NOVA_CPU_MINUS_FLAGS ||
        (release->number >= NOVA_CPU_FLAGS && !takes_away(common))) {
        result->model = g_strdup(common->model);
        result->flags = flags_given(common);
        return true;
    }
    if (!whole_model_find(asked, features, &of_model, err))
        return false;
    result->flags = flags_of(features, of_model, release);
    if (takes_away(common))
        note(asked,
             "CPU: all nodes could give %s less some features, which Nova %s cannot say; %s is the "
             "largest model that all have as a whole",
             common->model, release->series, result->model);
    if (release->number < NOVA_CPU_FLAGS) {
        g_autofree char *missing = words_missing(features, of_model);
        if (missing != NULL)
            note(asked, "CPU: all nodes have too, but Nova %s cannot say it: %s", release->series,
                 missing);
    }
    return true;
}

static bool
cpu_compute(Asked *asked, GError **err)
{
    g_autoptr(GHashTable) place = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GPtrArray) xmls = g_ptr_array_new();

    for (unsigned i = 0; i < asked->n; i++) {
        if (!g_hash_table_contains(place, asked->nodes[i].xml)) {
            g_hash_table_insert(place, asked->nodes[i].xml, GUINT_TO_POINTER(xmls->len));
            g_ptr_array_add(xmls, asked->nodes[i].xml);
        }
    }
    unsigned different = xmls->len;
    g_autoptr(GPtrArray) cpus = cpus_ask(asked, compute_script, xmls, err);
    if (cpus == NULL)
        return false;
    const ScannedCpu *common = cpus->len == different + 2 ? g_ptr_array_index(cpus, 0) : NULL;
    if (common == NULL || common->model == NULL)
        return err_set(err, ERR_BACKEND,
                       "%s: its libvirt found no CPU that all nodes can give; name a model with "
                       "--cpu-model",
                       asked->nodes[0].target->text);
    for (unsigned i = 0; i < asked->n; i++) {
        AskedNode *node = &asked->nodes[i];
        unsigned at = GPOINTER_TO_UINT(g_hash_table_lookup(place, node->xml));
        node->features =
            features_of(g_ptr_array_index(node->cpus, 0), g_ptr_array_index(cpus, at + 2));
    }
    g_autoptr(GHashTable) features = features_of(common, g_ptr_array_index(cpus, 1));
    limits_note(asked, common->model);
    return cpu_choose(asked, common, features, err);
}

static void
asked_clear(Asked *asked)
{
    for (unsigned i = 0; i < asked->n; i++) {
        AskedNode *node = &asked->nodes[i];
        ssh_close(node->ssh);
        g_free(node->virt_type);
        g_free(node->xml);
        g_clear_pointer(&node->cpus, g_ptr_array_unref);
        g_clear_pointer(&node->features, g_hash_table_unref);
        g_hash_table_unref(node->usable);
        g_clear_error(&node->error);
    }
    g_free(asked->nodes);
}

void
nova_cpu_free(NovaCpu *cpu)
{
    if (cpu == NULL)
        return;
    g_free(cpu->virt_type);
    g_free(cpu->model);
    g_strfreev(cpu->flags);
    g_ptr_array_unref(cpu->notes);
    g_free(cpu);
}

NovaCpu *
nova_cpu_find(const NodeTarget *const *targets, unsigned n, const NovaCpuOptions *options,
              GError **err)
{
    g_autoptr(NovaCpu) result = g_new0(NovaCpu, 1);
    Asked asked = {.n = n, .options = options, .result = result};

    result->notes = g_ptr_array_new_with_free_func(g_free);
    asked.nodes = g_new0(AskedNode, n);
    for (unsigned i = 0; i < n; i++) {
        asked.nodes[i].target = targets[i];
        asked.nodes[i].options = options;
        asked.nodes[i].usable = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    }
    bool good =
        nodes_ask(&asked, err) && type_find(&asked, err) &&
        (options->cpu_model != NULL ? named_check(&asked, err)
                                    : vendor_check(&asked, err) && cpu_compute(&asked, err));
    if (good)
        result->virt_type = g_strdup(asked.virt_type);
    asked_clear(&asked);
    return good ? g_steal_pointer(&result) : NULL;
}
