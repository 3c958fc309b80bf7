/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-controller.c: the controller's half of the doctor: what it knows of the nodes, as checks.
 *
 * Pure: answers of Godwit's API in, checks out. */
#include "cli/doctor-controller.h"

#include <string.h>

#define FACTS_OLD_US (10 * 60 * USEC_PER_SEC)

static void
add(GPtrArray *checks, const char *const *names, const char *name, CheckStatus status,
    const char *host, char *evidence, const char *remedy)
{
    g_autofree char *clean = g_utf8_make_valid(evidence, -1);

    g_free(evidence);
    if (!names || g_strv_contains(names, name))
        g_ptr_array_add(checks,
                        check_new(name, status, host, g_steal_pointer(&clean), remedy, NULL));
}

static const char *
or_text(const char *text, const char *otherwise)
{
    return *text ? text : otherwise;
}

static void
judge_state(const json_t *host, int64_t now, const char *const *names, GPtrArray *checks)
{
    const char *name = json_text_at(host, "name"), *state = json_text_at(host, "state");
    const char *reason = json_text_at(host, "state_reason");
    int64_t age = now - json_int_at(host, "facts_at");
    bool up = g_str_equal(state, "up"), enabled = json_is_true(json_at(host, "enabled"));

    if (!up)
        add(checks, names, "host-state", CHECK_FAIL, name,
            g_strdup_printf("the controller holds it for %s%s%s", or_text(state, "unknown"),
                            *reason ? ": " : "", reason),
            "look at its listener, certificate and firewall (is the controller let in?); the "
            "controller tries again and again");
    else if (json_is_true(json_at(host, "forced_down")))
        add(checks, names, "host-state", CHECK_WARN, name, g_strdup("forced down by an operator"),
            "take that back when it is repaired: openstack compute service set --up");
    else if (!enabled)
        add(checks, names, "host-state", CHECK_WARN, name,
            g_strdup_printf("disabled: %s",
                            or_text(json_text_at(host, "disabled_reason"), "no reason given")),
            "no server is moved here; godwit host enable takes that back");
    else if (json_int_at(host, "facts_at") > 0 && age > FACTS_OLD_US)
        add(checks, names, "host-state", CHECK_WARN, name,
            g_strdup_printf("up, but last looked at %d minutes ago",
                            (int)MIN(age / (60 * USEC_PER_SEC), INT64_C(1000000))),
            "see godwitd's log for what keeps it from looking");
    else
        add(checks, names, "host-state", CHECK_PASS, name,
            g_strdup_printf("up; libvirt %s, QEMU %s",
                            or_text(json_text_at(host, "libvirt_version"), "?"),
                            or_text(json_text_at(host, "qemu_version"), "?")),
            NULL);
}

static void
judge_storage(const json_t *host, const char *const *names, GPtrArray *checks)
{
    const char *name = json_text_at(host, "name"), *reason = json_text_at(host, "storage_reason");

    if (json_is_true(json_at(host, "storage_visible")))
        add(checks, names, "host-storage", CHECK_PASS, name,
            g_strdup("it sees the storage that the controller writes to"), NULL);
    else
        add(checks, names, "host-storage", CHECK_FAIL, name,
            g_strdup_printf("the storage is not seen: %s", or_text(reason, "not tried yet")),
            "servers can neither start here nor move here; with Ceph: godwit host prepare --ceph, "
            "then see whether the node reaches the monitors");
}

static void
judge_encryption(const json_t *host, const char *const *names, GPtrArray *checks)
{
    const char *name = json_text_at(host, "name"), *encryption = json_text_at(host, "encryption");
    const char *memory = json_text_at(host, "memory_encryption");
    bool plain = g_str_equal(encryption, "plaintext") || g_str_equal(memory, "plaintext");

    add(checks, names, "host-encryption", plain ? CHECK_WARN : CHECK_PASS, name,
        g_strdup_printf("%schannel: %s%s%s", plain ? "PLAINTEXT: " : "",
                        or_text(encryption, "unknown"), *memory ? "; memory in moves: " : "",
                        memory),
        "godwit host prepare sets up TLS; then godwit host set NAME --uri qemu+tls://…, and "
        "live_migration_with_native_tls = true in godwit.conf");
}

void
doctor_judge_controller(const json_t *hosts, const json_t *baseline, int64_t now,
                        const char *const *names, GPtrArray *checks)
{
    size_t i;
    const json_t *host;

    add(checks, names, "controller", CHECK_PASS, "*",
        g_strdup_printf("it answers, and knows %zu hosts", json_array_size(hosts)), NULL);
    json_array_foreach(hosts, i, host)
    {
        if (!*json_text_at(host, "name"))
            continue;
        judge_state(host, now, names, checks);
        judge_storage(host, names, checks);
        judge_encryption(host, names, checks);
    }
    if (baseline) {
        const char *limit = json_text_at(baseline, "limit");

        add(checks, names, "host-cpu", *limit ? CHECK_WARN : CHECK_PASS, "*",
            g_strdup_printf("the CPU that all hosts can give is %s%s%s",
                            or_text(json_text_at(baseline, "model"), "not known yet"),
                            *limit ? "; limited by " : "; no host limits it", limit),
            "new servers get no more than this; see godwit cpu baseline");
    }
}

void
doctor_controller_failed(const GError *error, const char *const *names, GPtrArray *checks)
{
    add(checks, names, "controller", CHECK_FAIL, "*",
        g_strdup_printf("it does not answer: %s", error->message),
        "is godwitd running, and are OS_AUTH_URL and the password right? --no-controller leaves it "
        "out");
}
