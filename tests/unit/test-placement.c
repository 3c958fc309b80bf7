/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-placement.c: the cases of placement/NAME.json
 *
 * A file is {"hosts": {name: {…}}, "cases": [{"why", "request": {…}, "order": [names that fit, best
 * first], "reasons": {name: text}, "error": text}]}. What a host or a request does not say has the
 * value of a healthy, empty host that fits. */

#include <jansson.h>

#include "model/model.h"

#define HOSTS_MOST 64

static int64_t
number_of(json_t *object, const char *key, int64_t otherwise)
{
    json_t *value = json_object_get(object, key);

    return value ? (int64_t)json_integer_value(value) : otherwise;
}

static bool
truth_of(json_t *object, const char *key, bool otherwise)
{
    json_t *value = json_object_get(object, key);

    return value ? json_is_true(value) : otherwise;
}

static const char *
text_of(json_t *object, const char *key, const char *otherwise)
{
    json_t *value = json_object_get(object, key);

    return value ? json_string_value(value) : otherwise;
}

static double
ratio_of(json_t *object, const char *key, double otherwise)
{
    json_t *value = json_object_get(object, key);

    return value ? json_number_value(value) : otherwise;
}

static HostState
state_of(const char *name)
{
    for (int state = 0; host_state_names[state]; state++)
        if (strcmp(host_state_names[state], name) == 0)
            return (HostState)state;
    g_error("'%s' is not a state of a host", name);
}

static void
hosts_read(json_t *file, Host *hosts, HostLoad *loads, size_t *n)
{
    const char *name;
    json_t *entry;

    json_object_foreach(json_object_get(file, "hosts"), name, entry)
    {
        Host *host = &hosts[*n];

        g_assert_cmpuint(*n, <, HOSTS_MOST);
        host->name = (char *)name;
        host->enabled = truth_of(entry, "enabled", true);
        host->disabled_reason = (char *)text_of(entry, "disabled_reason", NULL);
        host->forced_down = truth_of(entry, "forced_down", false);
        host->state = state_of(text_of(entry, "state", "up"));
        host->state_reason = (char *)text_of(entry, "state_reason", NULL);
        host->vcpus = number_of(entry, "vcpus", 8);
        host->memory_mb = number_of(entry, "memory_mb", 16384);
        host->virt_type = (char *)text_of(entry, "virt_type", "kvm");
        host->storage_visible = truth_of(entry, "storage_visible", true);
        host->storage_reason = (char *)text_of(entry, "storage_reason", NULL);
        loads[*n] = (HostLoad){.host = host,
                               .vcpus_used = number_of(entry, "vcpus_used", 0),
                               .ram_mb_used = number_of(entry, "ram_mb_used", 0),
                               .servers = number_of(entry, "servers", 0)};
        (*n)++;
    }
}

static PlacementRequest
request_read(json_t *entry)
{
    return (PlacementRequest){.vcpus = number_of(entry, "vcpus", 1),
                              .ram_mb = number_of(entry, "ram_mb", 512),
                              .only_host = text_of(entry, "only_host", NULL),
                              .exclude_host = text_of(entry, "exclude_host", NULL),
                              .needs_storage = truth_of(entry, "needs_storage", true),
                              .ignore_disabled = truth_of(entry, "ignore_disabled", false),
                              .cpu_ratio = ratio_of(entry, "cpu_ratio", 1),
                              .ram_ratio = ratio_of(entry, "ram_ratio", 1),
                              .reserved_ram_mb = number_of(entry, "reserved_ram_mb", 0),
                              .virt_type = text_of(entry, "virt_type", NULL)};
}

static void
reasons_check(json_t *expected, GPtrArray *verdicts)
{
    for (unsigned i = 0; i < verdicts->len; i++) {
        const PlacementVerdict *verdict = g_ptr_array_index(verdicts, i);
        const char *wanted = text_of(expected, verdict->host->name, NULL);

        if (wanted)
            g_assert_cmpstr(verdict->reason, ==, wanted);
    }
}

static void
case_check(json_t *entry, const HostLoad *loads, size_t n)
{
    PlacementRequest request = request_read(json_object_get(entry, "request"));
    g_autoptr(GPtrArray) verdicts = placement_judge(&request, loads, n);
    g_autoptr(GString) order = g_string_new(NULL);
    g_autoptr(GString) wanted = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *chosen = placement_choose(&request, loads, n, &error);
    json_t *list = json_object_get(entry, "order"), *item;
    size_t at;

    g_test_message("%s", text_of(entry, "why", "?"));
    g_assert_cmpuint(verdicts->len, ==, n);
    for (unsigned i = 0; i < verdicts->len; i++) {
        const PlacementVerdict *verdict = g_ptr_array_index(verdicts, i);

        if (!verdict->reason)
            g_string_append_printf(order, "%s ", verdict->host->name);
    }
    json_array_foreach(list, at, item)
        g_string_append_printf(wanted, "%s ", json_string_value(item));
    g_assert_cmpstr(order->str, ==, wanted->str);
    g_assert_cmpstr(chosen, ==, json_string_value(json_array_get(list, 0)));
    reasons_check(json_object_get(entry, "reasons"), verdicts);
    if (!chosen) {
        g_assert_true(err_is(error, ERR_CONFLICT));
        g_assert_cmpstr(error->message, ==, text_of(entry, "error", error->message));
    }
}

static void
test_file(const void *opaque)
{
    Host hosts[HOSTS_MOST] = {0};
    HostLoad loads[HOSTS_MOST] = {0};
    json_error_t where;
    json_t *file = json_load_file(opaque, 0, &where), *entry;
    size_t n = 0, at;

    if (!file)
        g_error("%s:%d: %s", (const char *)opaque, where.line, where.text);
    hosts_read(file, hosts, loads, &n);
    g_assert_cmpuint(json_array_size(json_object_get(file, "cases")), >, 0);
    json_array_foreach(json_object_get(file, "cases"), at, entry) case_check(entry, loads, n);
    json_decref(file);
}

/* Whatever the load, the first host is one that fits, and no host that fits has less free RAM than
 * a later one. */
static void
test_properties(void)
{
    for (int round = 0; round < 2000; round++) {
        Host hosts[8] = {0};
        HostLoad loads[8];
        char names[8][3];
        PlacementRequest request = {.vcpus = 1 + g_test_rand_int_range(0, 4),
                                    .ram_mb = g_test_rand_int_range(1, 8192),
                                    .cpu_ratio = 2,
                                    .ram_ratio = 1.5};
        g_autoptr(GPtrArray) verdicts = NULL;
        double last = G_MAXDOUBLE;
        bool refused = false;

        for (int i = 0; i < 8; i++) {
            g_snprintf(names[i], sizeof names[i], "h%d", i);
            hosts[i] = (Host){.name = names[i],
                              .enabled = g_test_rand_int_range(0, 5) > 0,
                              .state = g_test_rand_int_range(0, 5) > 0 ? HOST_UP : HOST_DOWN,
                              .vcpus = g_test_rand_int_range(1, 9),
                              .memory_mb = g_test_rand_int_range(0, 16384)};
            loads[i] = (HostLoad){.host = &hosts[i],
                                  .vcpus_used = g_test_rand_int_range(0, 16),
                                  .ram_mb_used = g_test_rand_int_range(0, 16384)};
        }
        verdicts = placement_judge(&request, loads, 8);
        for (unsigned i = 0; i < verdicts->len; i++) {
            const PlacementVerdict *verdict = g_ptr_array_index(verdicts, i);
            const HostLoad *load = &loads[verdict->host - hosts];
            double left = (double)verdict->host->memory_mb * 1.5 - (double)load->ram_mb_used;

            refused |= verdict->reason != NULL;
            if (verdict->reason)
                continue;
            g_assert_false(refused);
            g_assert_true(verdict->host->enabled && verdict->host->state == HOST_UP);
            g_assert_cmpfloat(left, >=, (double)request.ram_mb);
            g_assert_cmpfloat(left, <=, last);
            last = left;
        }
    }
}

int
main(int argc, char **argv)
{
    GDir *dir;
    const char *name;
    unsigned files = 0;

    g_test_init(&argc, &argv, NULL);
    dir = g_dir_open(PLACEMENT_CORPUS, 0, NULL);
    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *test = NULL;

        if (!g_str_has_suffix(name, ".json"))
            continue;
        test = g_strdup_printf("/placement/corpus/%s", name);
        g_test_add_data_func_full(test, g_build_filename(PLACEMENT_CORPUS, name, NULL), test_file,
                                  g_free);
        files++;
    }
    g_dir_close(dir);
    g_assert_cmpuint(files, >, 0);
    g_test_add_func("/placement/properties", test_properties);
    return g_test_run();
}
