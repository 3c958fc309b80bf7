/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-pki.c: the CA and its certificates, checked with openssl where it is installed */
#include "pki/pki.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *const server_names[] = {"godwit.example", "10.88.0.254", "fd00::1", NULL};

static char *
read_text(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

static unsigned
file_mode(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    struct stat status;

    g_assert_cmpint(stat(path, &status), ==, 0);
    return status.st_mode & 07777;
}

static char *
openssl(const char *const argv[])
{
    g_autofree char *program = g_find_program_in_path("openssl");
    g_autoptr(GError) error = NULL;
    char *output = NULL;

    if (!program)
        return NULL;
    process_run(argv, clock_monotonic() + 20 * USEC_PER_SEC, &output, &error);
    g_assert_no_error(error);
    return output;
}

static char *
scratch(void)
{
    g_autoptr(GError) error = NULL;
    char *dir = g_dir_make_tmp("godwit-pki-XXXXXX", &error);

    g_assert_no_error(error);
    return dir;
}

static void
scratch_remove(const char *dir)
{
    const char *const argv[] = {"rm", "-r", dir, NULL};

    g_assert_true(process_run(argv, clock_monotonic() + 20 * USEC_PER_SEC, NULL, NULL));
}

static void
test_ensure(void)
{
    g_autofree char *dir = scratch();
    g_autofree char *pki = g_build_filename(dir, "pki", NULL);
    g_autoptr(GError) error = NULL;
    PkiSubject subject = {.common_name = "godwit.example", .names = server_names, .server = true};

    g_assert_true(pki_ca_ensure(pki, &error));
    g_assert_no_error(error);
    g_assert_cmphex(file_mode(pki, "."), ==, 0700);
    g_assert_cmphex(file_mode(pki, "ca-key.pem"), ==, 0600);

    g_autofree char *ca = read_text(pki, "ca.pem");
    g_assert_true(pki_ca_ensure(pki, &error));
    g_autofree char *ca_again = read_text(pki, "ca.pem");
    g_assert_cmpstr(ca, ==, ca_again);

    g_assert_true(pki_certificate_ensure(pki, "api", &subject, &error));
    g_assert_no_error(error);
    g_assert_cmphex(file_mode(pki, "api-key.pem"), ==, 0600);

    g_autofree char *first = read_text(pki, "api.pem");
    int64_t left = pki_certificate_expiry(first, &error) - clock_realtime();
    g_assert_cmpint(left / USEC_PER_SEC, >, 824 * 86400);
    g_assert_cmpint(left / USEC_PER_SEC, <=, 825 * 86400);

    g_assert_true(pki_certificate_ensure(pki, "api", &subject, &error));
    g_autofree char *second = read_text(pki, "api.pem");
    g_assert_cmpstr(first, ==, second);

    /* fewer names are covered, one more is not */
    const char *const fewer[] = {"10.88.0.254", NULL};
    subject.names = fewer;
    g_assert_true(pki_certificate_ensure(pki, "api", &subject, &error));
    g_autofree char *third = read_text(pki, "api.pem");
    g_assert_cmpstr(first, ==, third);

    const char *const other[] = {"10.88.0.254", "other.example", NULL};
    subject.names = other;
    g_assert_true(pki_certificate_ensure(pki, "api", &subject, &error));
    g_autofree char *fourth = read_text(pki, "api.pem");
    g_assert_cmpstr(first, !=, fourth);

    /* a client certificate is not had by a server's */
    subject.client = true;
    g_assert_true(pki_certificate_ensure(pki, "api", &subject, &error));
    g_autofree char *fifth = read_text(pki, "api.pem");
    g_assert_cmpstr(fourth, !=, fifth);

    /* one that ends soon is renewed */
    subject.days = 20;
    g_assert_true(pki_certificate_ensure(pki, "short", &subject, &error));
    g_autofree char *short1 = read_text(pki, "short.pem");
    g_assert_true(pki_certificate_ensure(pki, "short", &subject, &error));
    g_autofree char *short2 = read_text(pki, "short.pem");
    g_assert_cmpstr(short1, !=, short2);

    /* a key that does not belong to its certificate is replaced with it */
    subject.days = 0;
    g_autofree char *stray = read_text(pki, "short-key.pem");
    g_autofree char *key_path = g_build_filename(pki, "api-key.pem", NULL);
    g_assert_true(g_file_set_contents(key_path, stray, -1, NULL));
    g_assert_true(pki_certificate_ensure(pki, "api", &subject, &error));
    g_autofree char *sixth = read_text(pki, "api.pem");
    g_assert_cmpstr(fifth, !=, sixth);
    g_assert_cmphex(file_mode(pki, "api-key.pem"), ==, 0600);
    scratch_remove(dir);
}

static void
test_openssl_agrees(void)
{
    g_autofree char *dir = scratch();
    g_autoptr(GError) error = NULL;
    PkiSubject subject = {
        .common_name = "host1", .names = server_names, .server = true, .client = true};
    g_autofree char *ca = g_build_filename(dir, "ca.pem", NULL);
    g_autofree char *crt = g_build_filename(dir, "host1.pem", NULL);

    g_assert_true(pki_ca_ensure(dir, &error));
    g_assert_true(pki_certificate_ensure(dir, "host1", &subject, &error));
    g_assert_no_error(error);

    const char *const verify[] = {
        "openssl", "verify",     "-x509_strict", "-purpose",         "sslserver",      "-CAfile",
        ca,        "-verify_ip", "10.88.0.254",  "-verify_hostname", "godwit.example", crt,
        NULL};
    const char *const print[] = {"openssl", "x509", "-in", crt, "-noout", "-text", NULL};
    const char *const print_ca[] = {"openssl", "x509", "-in", ca, "-noout", "-text", NULL};
    g_autofree char *verdict = openssl(verify);

    if (!verdict) {
        g_test_skip("openssl is not installed");
    } else {
        g_autofree char *text = openssl(print);
        g_autofree char *ca_text = openssl(print_ca);

        g_assert_nonnull(strstr(verdict, ": OK"));
        g_assert_nonnull(strstr(text, "NIST CURVE: P-256"));
        g_assert_nonnull(strstr(text, "DNS:godwit.example, IP Address:10.88.0.254, "
                                      "IP Address:FD00:0:0:0:0:0:0:1"));
        g_assert_nonnull(
            strstr(text, "TLS Web Server Authentication, TLS Web Client Authentication"));
        g_assert_nonnull(strstr(text, "CA:FALSE"));
        g_assert_nonnull(strstr(ca_text, "CA:TRUE, pathlen:0"));
        g_assert_nonnull(strstr(ca_text, "Certificate Sign, CRL Sign"));
    }
    scratch_remove(dir);
}

static void
test_sign_request(void)
{
    g_autofree char *dir = scratch();
    g_autoptr(GError) error = NULL;
    const char *const names[] = {"host2", "10.88.0.2", NULL};
    PkiSubject subject = {.common_name = "host2", .names = names, .server = true};
    g_autofree char *key = g_build_filename(dir, "csr-key.pem", NULL);
    g_autofree char *csr = g_build_filename(dir, "csr.pem", NULL);
    /* the request asks for more than it shall get */
    const char *const make[] = {"openssl",
                                "req",
                                "-new",
                                "-newkey",
                                "ec",
                                "-pkeyopt",
                                "ec_paramgen_curve:P-256",
                                "-nodes",
                                "-keyout",
                                key,
                                "-out",
                                csr,
                                "-subj",
                                "/CN=evil",
                                "-addext",
                                "subjectAltName=DNS:evil.example",
                                "-addext",
                                "basicConstraints=CA:TRUE",
                                NULL};
    const char *const weak[] = {"openssl", "req",      "-new", "-newkey", "rsa:1024",
                                "-nodes",  "-keyout",  key,    "-out",    csr,
                                "-subj",   "/CN=weak", NULL};
    g_autofree char *made = openssl(make);

    g_assert_true(pki_ca_ensure(dir, &error));
    if (!made) {
        g_test_skip("openssl is not installed");
        scratch_remove(dir);
        return;
    }

    g_autofree char *request = read_text(dir, "csr.pem");
    g_autofree char *pem = pki_sign_request(dir, request, &subject, &error);
    g_assert_no_error(error);

    g_autofree char *crt = g_build_filename(dir, "signed.pem", NULL);
    g_assert_true(g_file_set_contents(crt, pem, -1, NULL));
    const char *const print[] = {"openssl", "x509", "-in", crt, "-noout", "-text", NULL};
    g_autofree char *text = openssl(print);
    g_assert_nonnull(strstr(text, "DNS:host2, IP Address:10.88.0.2"));
    g_assert_null(strstr(text, "evil"));
    g_assert_null(strstr(text, "CA:TRUE"));

    g_free(openssl(weak));
    g_autofree char *weak_request = read_text(dir, "csr.pem");
    g_assert_null(pki_sign_request(dir, weak_request, &subject, &error));
    g_assert_true(err_is(error, ERR_INVALID));
    g_clear_error(&error);

    g_assert_null(pki_sign_request(dir, "not a request", &subject, &error));
    g_assert_true(err_is(error, ERR_INVALID));
    scratch_remove(dir);
}

static void
test_broken_ca(void)
{
    g_autofree char *dir = scratch();
    g_autoptr(GError) error = NULL;
    g_autofree char *key = g_build_filename(dir, "ca-key.pem", NULL);
    PkiSubject subject = {.common_name = "x", .server = true};

    g_assert_false(pki_certificate_ensure(dir, "x", &subject, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);

    g_assert_true(pki_ca_ensure(dir, &error));
    g_autofree char *before = read_text(dir, "ca.pem");
    g_assert_cmpint(g_unlink(key), ==, 0);
    g_assert_false(pki_ca_ensure(dir, &error));
    g_assert_true(err_is(error, ERR_CONFLICT));
    g_clear_error(&error);
    g_autofree char *after = read_text(dir, "ca.pem");
    g_assert_cmpstr(before, ==, after);

    g_assert_false(pki_certificate_ensure(dir, "../x", &subject, &error));
    g_assert_true(err_is(error, ERR_INVALID));
    g_clear_error(&error);
    g_assert_cmpint(pki_certificate_expiry("nonsense", &error), ==, -1);
    scratch_remove(dir);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pki/ensure", test_ensure);
    g_test_add_func("/pki/openssl-agrees", test_openssl_agrees);
    g_test_add_func("/pki/sign-request", test_sign_request);
    g_test_add_func("/pki/broken-ca", test_broken_ca);
    return g_test_run();
}
