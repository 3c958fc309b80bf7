/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-certificate-list.c: what a node says of its certificates, and what that means */
#include "prepare/prepare-priv.h"

#include <string.h>

#define DAY (INT64_C(86400) * USEC_PER_SEC)

static void
test_dates(void)
{
    static const struct {
        const char *text, *iso; /* NULL: none */
    } dates[] = {
        {"Nov 23 11:24:32 2028 GMT", "2028-11-23T11:24:32Z"},
        {"Feb  1 00:00:00 2027 GMT", "2027-02-01T00:00:00Z"},
        {"Jan 19 03:14:08 2038 GMT", "2038-01-19T03:14:08Z"},
        {"Dec 31 23:59:59 9999 GMT", "9999-12-31T23:59:59Z"},
        {"Nov 23 11:24:32 2028 CET", NULL},
        {"ovD 23 11:24:32 2028 GMT", NULL},
        {"Nov 99 11:24:32 2028 GMT", NULL},
        {"2028-11-23 11:24:32Z", NULL},
        {"", NULL},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(dates); i++) {
        int64_t expected = -1;

        if (dates[i].iso)
            g_assert_true(clock_parse(dates[i].iso, &expected));
        g_assert_cmpint(certificate_date_parse(dates[i].text), ==, expected);
    }
}

static void
test_judge(void)
{
    int64_t now = 1000 * DAY;

    g_assert_cmpint(certificate_judge(0, now + 31 * DAY, now), ==, CERTIFICATE_GOOD);
    g_assert_cmpint(certificate_judge(0, now + 30 * DAY, now), ==, CERTIFICATE_ENDS_SOON);
    g_assert_cmpint(certificate_judge(0, now, now), ==, CERTIFICATE_ENDED);
    g_assert_cmpint(certificate_judge(now + 1, now + 90 * DAY, now), ==, CERTIFICATE_NOT_YET);
}

static GPtrArray *
parse(const char *answer, bool *ok)
{
    GPtrArray *rows = g_ptr_array_new_with_free_func(node_certificate_free);
    g_autoptr(GError) error = NULL;
    int64_t now = 0;

    g_assert_true(clock_parse("2026-11-23T12:00:00Z", &now));
    *ok = certificate_lines_parse("host1", answer, now, rows, &error);
    g_assert_true(*ok == (error == NULL));
    return rows;
}

#define LINE(begins, ends, fits, signed)                                                 \
    "libvirt server\t/etc/pki/libvirt/servercert.pem\tread\t" begins "\t" ends "\t" fits \
    "\t" signed "\tCN=libvirt-host1\thost1, 192.0.2.1\n"
#define PAST   "Nov 23 11:00:00 2025 GMT"
#define LATER  "Nov 23 11:00:00 2028 GMT"
#define DECEMB "Dec  3 11:00:00 2026 GMT"

static void
test_lines(void)
{
    static const struct {
        const char *line;
        CertificateState state;
    } lines[] = {
        {LINE(PAST, LATER, "yes", "yes"), CERTIFICATE_GOOD},
        {LINE(PAST, DECEMB, "yes", "yes"), CERTIFICATE_ENDS_SOON},
        {LINE(PAST, PAST, "no", "no"), CERTIFICATE_ENDED},
        {LINE(LATER, LATER, "yes", "yes"), CERTIFICATE_NOT_YET},
        {LINE(PAST, DECEMB, "no", "yes"), CERTIFICATE_WRONG_KEY},
        {LINE(PAST, LATER, "yes", "no"), CERTIFICATE_UNSIGNED},
        {LINE(PAST, "one day", "yes", "yes"), CERTIFICATE_UNREADABLE},
        {"QEMU CA\t/etc/pki/qemu/ca-cert.pem\tmissing\n", CERTIFICATE_MISSING},
        {"QEMU CA\t/etc/pki/qemu/ca-cert.pem\tunreadable\n", CERTIFICATE_UNREADABLE},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        bool ok;
        g_autoptr(GPtrArray) rows = parse(lines[i].line, &ok);

        g_assert_true(ok);
        g_assert_cmpuint(rows->len, ==, 1);
        g_assert_cmpint(((NodeCertificate *)rows->pdata[0])->state, ==, lines[i].state);
    }
    bool ok;
    g_autoptr(GPtrArray) rows = parse(lines[0].line, &ok);
    const NodeCertificate *row = rows->pdata[0];
    g_assert_cmpstr(row->host, ==, "host1");
    g_assert_cmpstr(row->name, ==, "libvirt server");
    g_assert_cmpstr(row->subject, ==, "CN=libvirt-host1");
    g_assert_cmpstr(row->names, ==, "host1, 192.0.2.1");
}

/* A node may say what it likes. */
static void
test_hostile(void)
{
    static const char *const answers[] = {
        "hello\n",
        "a\tb\tread\tc\n",
        "a\033[2J\tb\tmissing\n",
        "\t\tmissing\n",
        "a\tb\tread\tx\ty\tyes\tyes\tCN=\x07\tz\n",
        "a\tb\tread\tx\ty\tyes\tyes\tCN=x\tz\tmore\tand\tmore\n",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(answers); i++) {
        bool ok;
        g_autoptr(GPtrArray) rows = parse(answers[i], &ok);

        g_assert_false(ok);
        g_assert_cmpuint(rows->len, ==, 0);
    }
    bool ok;
    g_autoptr(GPtrArray) empty = parse("", &ok);
    g_assert_true(ok);
    g_assert_cmpuint(empty->len, ==, 0);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/certificate-list/dates", test_dates);
    g_test_add_func("/certificate-list/judge", test_judge);
    g_test_add_func("/certificate-list/lines", test_lines);
    g_test_add_func("/certificate-list/hostile", test_hostile);
    return g_test_run();
}
