/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-doctor-controller.c: what the doctor makes of the controller's answers */
#include "cli/doctor-controller.h"

#include <string.h>

#define NOW (INT64_C(1000000) * USEC_PER_SEC)

static const char healthy[] =
    "{\"name\": \"host1\", \"state\": \"up\", \"enabled\": true, \"forced_down\": false,"
    " \"facts_at\": 999999000000, \"libvirt_version\": \"9.0.0\", \"qemu_version\": \"7.2.22\","
    " \"storage_visible\": true, \"encryption\": \"tls\", \"memory_encryption\": \"tls\"}";

/* One host, with these members changed. */
static GPtrArray *
judged(const char *changes, const char *baseline_text, const char *const *names)
{
    g_autoptr(json_t) host = json_loads(healthy, 0, NULL);
    g_autoptr(json_t) other = json_loads(changes, 0, NULL);
    g_autoptr(json_t) baseline = baseline_text ? json_loads(baseline_text, 0, NULL) : NULL;
    g_autoptr(json_t) hosts = json_array();
    GPtrArray *checks = g_ptr_array_new_with_free_func(check_free);

    g_assert_nonnull(other);
    json_object_update(host, other);
    json_array_append(hosts, host);
    doctor_judge_controller(hosts, baseline, NOW, names, checks);
    return checks;
}

static const Check *
find(const GPtrArray *checks, const char *name)
{
    for (unsigned i = 0; i < checks->len; i++) {
        const Check *check = g_ptr_array_index(checks, i);
        if (g_str_equal(check->name, name))
            return check;
    }
    return NULL;
}

static void
test_healthy(void)
{
    g_autoptr(GPtrArray) checks = judged("{}", "{\"model\": \"EPYC\", \"limit\": null}", NULL);

    g_assert_cmpuint(checks->len, ==, 5);
    for (unsigned i = 0; i < checks->len; i++) {
        const Check *check = g_ptr_array_index(checks, i);
        g_assert_cmpint(check->status, ==, CHECK_PASS);
        g_assert_null(check->remedy);
    }
}

static void
test_each(void)
{
    static const struct {
        const char *changes, *check;
        CheckStatus status;
        const char *evidence;
    } cases[] = {
        {"{\"state\": \"down\", \"state_reason\": \"no route\"}", "host-state", CHECK_FAIL,
         "no route"},
        {"{\"state\": null}", "host-state", CHECK_FAIL, "unknown"},
        {"{\"forced_down\": true}", "host-state", CHECK_WARN, "forced down"},
        {"{\"enabled\": false, \"disabled_reason\": \"new disks\"}", "host-state", CHECK_WARN,
         "new disks"},
        {"{\"facts_at\": 990000000000}", "host-state", CHECK_WARN, "166 minutes"},
        {"{\"facts_at\": \"yesterday\"}", "host-state", CHECK_PASS, "up"},
        {"{\"storage_visible\": false, \"storage_reason\": \"no pool\"}", "host-storage",
         CHECK_FAIL, "no pool"},
        {"{\"storage_visible\": \"yes\"}", "host-storage", CHECK_FAIL, "not tried"},
        {"{\"encryption\": \"plaintext\"}", "host-encryption", CHECK_WARN, "PLAINTEXT"},
        {"{\"memory_encryption\": \"plaintext\"}", "host-encryption", CHECK_WARN, "PLAINTEXT"},
        {"{\"encryption\": 7}", "host-encryption", CHECK_PASS, "unknown"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GPtrArray) checks = judged(cases[i].changes, NULL, NULL);
        const Check *check = find(checks, cases[i].check);
        g_assert_cmpint(check->status, ==, cases[i].status);
        g_assert_nonnull(strstr(check->evidence, cases[i].evidence));
        g_assert_true((check->remedy != NULL) == (check->status != CHECK_PASS));
    }
}

static void
test_limit(void)
{
    static const char *const names[] = {"host-cpu", NULL};
    g_autoptr(GPtrArray) checks =
        judged("{}", "{\"model\": \"EPYC\", \"limit\": \"host3: avx512f\"}", names);

    g_assert_cmpuint(checks->len, ==, 1);
    g_assert_cmpint(find(checks, "host-cpu")->status, ==, CHECK_WARN);
    g_assert_nonnull(strstr(find(checks, "host-cpu")->evidence, "host3: avx512f"));
}

static void
test_failed(void)
{
    g_autoptr(GPtrArray) checks = g_ptr_array_new_with_free_func(check_free);
    g_autoptr(GError) error = NULL;

    err_set(&error, ERR_UNREACHABLE, "connection refused");
    doctor_controller_failed(error, NULL, checks);
    g_assert_cmpint(find(checks, "controller")->status, ==, CHECK_FAIL);
}

/* Answers of something that is no Godwit. */
static void
test_odd(void)
{
    static const char *const odd[] = {"[]", "[1, \"x\", null, {}]", "{}", "\"hosts\""};

    for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
        g_autoptr(json_t) hosts = json_loads(odd[i], JSON_DECODE_ANY, NULL);
        g_autoptr(GPtrArray) checks = g_ptr_array_new_with_free_func(check_free);
        doctor_judge_controller(hosts, hosts, NOW, NULL, checks);
        g_assert_nonnull(find(checks, "controller"));
        g_assert_null(find(checks, "host-state"));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/doctor-controller/healthy", test_healthy);
    g_test_add_func("/doctor-controller/each", test_each);
    g_test_add_func("/doctor-controller/limit", test_limit);
    g_test_add_func("/doctor-controller/failed", test_failed);
    g_test_add_func("/doctor-controller/odd", test_odd);
    return g_test_run();
}
