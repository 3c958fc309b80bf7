/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-model-migrate-flags.c: names of migration flags, and which go together on which versions */

#include "model/model.h"

#define BASE         (MIGRATE_LIVE | MIGRATE_PEER2PEER)
#define V(a, b, c)   ((a)*INT64_C(1000000) + (b)*INT64_C(1000) + (c))
#define CLASSIC_FOUR (BASE | MIGRATE_UNDEFINE_SOURCE | MIGRATE_TUNNELLED)

static void
test_parse(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    unsigned flags = 0;

    g_assert_true(migrate_flags_parse("VIR_MIGRATE_UNDEFINE_SOURCE,VIR_MIGRATE_PEER2PEER, "
                                      "VIR_MIGRATE_LIVE,VIR_MIGRATE_TUNNELLED",
                                      &flags, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(flags, ==, CLASSIC_FOUR);
    text = migrate_flags_format(flags);
    g_assert_cmpstr(text, ==, "LIVE,PEER2PEER,TUNNELLED,UNDEFINE_SOURCE");

    g_assert_true(migrate_flags_parse("live , vir_migrate_peer2peer,", &flags, &error));
    g_assert_cmpuint(flags, ==, BASE);
    g_assert_true(migrate_flags_parse("", &flags, &error));
    g_assert_cmpuint(flags, ==, 0);
}

static void
test_round_trip(void)
{
    for (unsigned flags = 0; flags < MIGRATE_ZEROCOPY << 1; flags += 7) {
        g_autofree char *text = migrate_flags_format(flags);
        unsigned back = 0;

        g_assert_true(migrate_flags_parse(text, &back, NULL));
        g_assert_cmpuint(back, ==, flags);
    }
}

static void
assert_parse_fails(const char *list, const char *part)
{
    g_autoptr(GError) error = NULL;
    unsigned flags = 77;

    g_assert_false(migrate_flags_parse(list, &flags, &error));
    g_assert_true(err_is(error, ERR_INVALID));
    g_assert_nonnull(strstr(error->message, part));
    g_assert_cmpuint(flags, ==, 77);
}

static void
test_parse_errors(void)
{
    g_autofree char *many = g_strnfill(100, ',');

    assert_parse_fails("VIR_MIGRATE_LIVE,VIR_MIGRATE_FLY", "'VIR_MIGRATE_FLY'");
    assert_parse_fails("LIVE PEER2PEER", "'LIVE PEER2PEER'");
    assert_parse_fails("VIR_MIGRATE_OFFLINE", "only running guests");
    assert_parse_fails("VIR_MIGRATE_RDMA_PIN_ALL", "RDMA");
    assert_parse_fails(many, "more than 64");
}

static void
assert_check(unsigned flags, const MigrateContext *context, ErrCode code, const char *first,
             const char *second)
{
    g_autoptr(GError) error = NULL;
    bool ok = migrate_flags_check(flags, context, &error);

    if (code == 0) {
        g_assert_no_error(error);
        g_assert_true(ok);
        return;
    }
    g_assert_false(ok);
    g_assert_cmpint(err_code(error), ==, code);
    g_assert_nonnull(strstr(error->message, first));
    g_assert_nonnull(strstr(error->message, second));
}

static void
test_pairs(void)
{
    static const MigrateContext any = {0}, uri = {.has_migrate_uri = true};
    static const struct {
        unsigned flags;
        ErrCode code;
        const char *first, *second;
    } cases[] = {
        {BASE, 0, "", ""},
        {CLASSIC_FOUR, 0, "", ""},
        {BASE | MIGRATE_POSTCOPY | MIGRATE_TLS, 0, "", ""},
        {BASE | MIGRATE_PARALLEL | MIGRATE_TLS, 0, "", ""},
        {BASE | MIGRATE_PARALLEL | MIGRATE_ZEROCOPY, 0, "", ""},
        {BASE | MIGRATE_NON_SHARED_INC, 0, "", ""},
        {MIGRATE_PEER2PEER, ERR_INVALID, "LIVE", "stand still"},
        {MIGRATE_LIVE, ERR_INVALID, "PEER2PEER", "controller"},
        {MIGRATE_LIVE | MIGRATE_TUNNELLED, ERR_INVALID, "PEER2PEER", ""},
        {BASE | MIGRATE_TUNNELLED | MIGRATE_POSTCOPY, ERR_INVALID, "TUNNELLED", "POSTCOPY"},
        {BASE | MIGRATE_TUNNELLED | MIGRATE_PARALLEL, ERR_INVALID, "TUNNELLED", "PARALLEL"},
        {BASE | MIGRATE_TUNNELLED | MIGRATE_TLS, ERR_INVALID, "TUNNELLED", "TLS"},
        {BASE | MIGRATE_ZEROCOPY, ERR_INVALID, "ZEROCOPY", "PARALLEL"},
        {BASE | MIGRATE_ZEROCOPY | MIGRATE_PARALLEL | MIGRATE_TLS, ERR_INVALID, "ZEROCOPY", "TLS"},
        {BASE | MIGRATE_ZEROCOPY | MIGRATE_PARALLEL | MIGRATE_COMPRESSED, ERR_INVALID, "ZEROCOPY",
         "COMPRESSED"},
        {BASE | MIGRATE_NON_SHARED_DISK | MIGRATE_NON_SHARED_INC, ERR_INVALID, "NON_SHARED_DISK",
         "NON_SHARED_INC"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_check(cases[i].flags, &any, cases[i].code, cases[i].first, cases[i].second);
    assert_check(BASE, &uri, 0, "", "");
    assert_check(CLASSIC_FOUR, &uri, ERR_INVALID, "TUNNELLED", "live_migration_inbound_addr");
}

static void
test_versions(void)
{
    MigrateContext bookworm = {V(9, 0, 0), V(7, 2, 22), V(9, 0, 0), V(7, 2, 22), false};
    MigrateContext mixed = {V(11, 6, 0), V(10, 1, 0), V(9, 0, 0), V(7, 2, 0), false};
    MigrateContext recent = {V(11, 6, 0), V(10, 1, 0), V(11, 6, 0), V(10, 1, 0), false};
    MigrateContext unknown_dest = {V(9, 0, 0), V(7, 2, 0), 0, 0, false};
    MigrateContext old = {V(8, 0, 0), V(6, 2, 0), V(8, 0, 0), V(6, 2, 0), false};
    unsigned both = BASE | MIGRATE_PARALLEL | MIGRATE_POSTCOPY;
    unsigned zero = BASE | MIGRATE_PARALLEL | MIGRATE_ZEROCOPY;

    assert_check(BASE | MIGRATE_POSTCOPY, &bookworm, 0, "", "");
    assert_check(BASE | MIGRATE_PARALLEL, &bookworm, 0, "", "");
    assert_check(both, &bookworm, ERR_UNSUPPORTED, "PARALLEL", "QEMU 10.1.0 or later");
    assert_check(both, &mixed, ERR_UNSUPPORTED, "POSTCOPY", "destination node has 7.2.0");
    assert_check(both, &recent, 0, "", "");
    assert_check(both, &unknown_dest, ERR_UNSUPPORTED, "PARALLEL", "source node has 7.2.0");
    assert_check(zero, &bookworm, 0, "", "");
    assert_check(zero, &old, ERR_UNSUPPORTED, "ZEROCOPY", "libvirt 8.5.0 or later");
}

static void
test_encryption(void)
{
    g_assert_cmpstr(migrate_encryption("qemu+tcp", BASE), ==, "plaintext");
    g_assert_cmpstr(migrate_encryption("qemu+tcp", CLASSIC_FOUR), ==, "plaintext");
    g_assert_cmpstr(migrate_encryption("qemu+tls", BASE), ==, "plaintext");
    g_assert_cmpstr(migrate_encryption("qemu+tls", CLASSIC_FOUR), ==, "tls");
    g_assert_cmpstr(migrate_encryption("qemu", CLASSIC_FOUR), ==, "tls");
    g_assert_cmpstr(migrate_encryption("tls", CLASSIC_FOUR), ==, "tls");
    g_assert_cmpstr(migrate_encryption("qemu+ssh", CLASSIC_FOUR), ==, "ssh");
    g_assert_cmpstr(migrate_encryption("qemu+ssh", BASE), ==, "plaintext");
    g_assert_cmpstr(migrate_encryption("qemu+tcp", BASE | MIGRATE_TLS), ==, "tls");
    g_assert_cmpstr(migrate_encryption(NULL, CLASSIC_FOUR), ==, "plaintext");
}

static void
test_encrypt(void)
{
    static const struct {
        const char *scheme, *source, *dest;
        unsigned flags;
        bool off, require;
        const char *encryption; /* NULL: refused */
        bool tls_added;
    } cases[] = {
        {"qemu+tls", "tls", "tls", BASE, false, false, "tls", true},
        {"qemu+tls", "tls", "tls", BASE, false, true, "tls", true},
        {"qemu+tls", "tls", "tls", BASE | MIGRATE_TLS, false, true, "tls", false},
        {"qemu+ssh", "ssh", "ssh", BASE, false, true, "tls", true},
        {"qemu+tls", NULL, NULL, BASE, false, false, "tls", true},
        {"qemu+tcp", "plaintext", "plaintext", BASE, false, false, "plaintext", false},
        {"qemu+tcp", "plaintext", "plaintext", BASE | MIGRATE_TLS, false, true, "tls", false},
        {"qemu+tcp", "plaintext", "plaintext", BASE, false, true, NULL, false},
        {"qemu+tcp", NULL, NULL, BASE, false, false, "plaintext", false},
        /* one end that is encrypted is enough to want it */
        {"qemu+tcp", "tls", "plaintext", BASE, false, false, "tls", true},
        {"qemu+tls", "plaintext", "tls", BASE, false, false, "tls", true},
        {"qemu+tcp", "tls", "tls", BASE, false, false, "tls", true},
        /* said outright */
        {"qemu+tls", "tls", "tls", BASE, true, false, "plaintext", false},
        {"qemu+ssh", "ssh", "ssh", BASE, true, true, NULL, false},
        /* the tunnel is what its connection is */
        {"qemu+tls", "tls", "tls", CLASSIC_FOUR, false, true, "tls", false},
        {"qemu+ssh", "ssh", "ssh", CLASSIC_FOUR, true, true, "ssh", false},
        {"qemu+tcp", "plaintext", "plaintext", CLASSIC_FOUR, false, false, "plaintext", false},
        {"qemu+tcp", "plaintext", "plaintext", CLASSIC_FOUR, false, true, NULL, false},
        {"qemu+tcp", "tls", "tls", CLASSIC_FOUR, false, false, NULL, false},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const LibvirtSettings settings = {.native_tls_off = cases[i].off,
                                          .require_encryption = cases[i].require};
        const MigrateWire wire = {cases[i].scheme, cases[i].source, cases[i].dest};
        g_autoptr(GError) error = NULL;
        const char *encryption;
        unsigned flags = cases[i].flags;
        bool ok = migrate_encrypt(&settings, &wire, &flags, &encryption, &error);

        g_test_message("case %zu", i);
        g_assert_true(ok == (cases[i].encryption != NULL));
        g_assert_cmpuint(flags, ==, cases[i].flags | (cases[i].tls_added ? MIGRATE_TLS : 0));
        if (ok) {
            g_assert_cmpstr(encryption, ==, cases[i].encryption);
        } else {
            g_assert_true(err_is(error, ERR_FORBIDDEN));
            g_assert_nonnull(strstr(error->message, "plaintext"));
        }
    }
}

static void
test_encryption_at(void)
{
    LibvirtSettings settings = {.migrate_flags = BASE};
    Host tls = {.uri = (char *)"qemu+tls://10.0.0.1/system", .encryption = (char *)"tls"},
         tcp = {.uri = (char *)"qemu+tcp://10.0.0.2/system", .encryption = (char *)"plaintext"};

    g_assert_cmpstr(migrate_encryption_at(&settings, &tls), ==, "tls");
    g_assert_cmpstr(migrate_encryption_at(&settings, &tcp), ==, "plaintext");
    settings.require_encryption = true;
    g_assert_cmpstr(migrate_encryption_at(&settings, &tls), ==, "tls");
    g_assert_cmpstr(migrate_encryption_at(&settings, &tcp), ==, "refused");
    settings = (LibvirtSettings){.migrate_flags = BASE, .native_tls_off = true};
    g_assert_cmpstr(migrate_encryption_at(&settings, &tls), ==, "plaintext");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/migrate-flags/parse", test_parse);
    g_test_add_func("/model/migrate-flags/round-trip", test_round_trip);
    g_test_add_func("/model/migrate-flags/parse-errors", test_parse_errors);
    g_test_add_func("/model/migrate-flags/pairs", test_pairs);
    g_test_add_func("/model/migrate-flags/versions", test_versions);
    g_test_add_func("/model/migrate-flags/encryption", test_encryption);
    g_test_add_func("/model/migrate-flags/encrypt", test_encrypt);
    g_test_add_func("/model/migrate-flags/encryption-at", test_encryption_at);
    return g_test_run();
}
