/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pki.c: the certificate authority and what it signs
 *
 * EC P-256 throughout. A key is written before its certificate: a crash in between leaves a pair
 * that does not match, which the next call sees and replaces; a CA certificate whose key is gone is
 * never replaced, since every node trusts it. */
#include "pki/pki.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509-ext.h>
#include <gnutls/x509.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define CA_DAYS    3653
#define LEAF_DAYS  825
#define RENEW_DAYS 30
#define DAY_S      86400
#define CLOCK_SKEW_S \
    3600 /* nodes whose clocks are a little behind take a new certificate as well */
#define PEM_MAX (64 * 1024)

typedef struct gnutls_x509_crt_int Crt;
typedef struct gnutls_x509_privkey_int Key;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Crt, gnutls_x509_crt_deinit)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Key, gnutls_x509_privkey_deinit)

static bool
tls_ok(int code, const char *what, GError **err)
{
    return code >= 0 || err_set(err, ERR_BACKEND, "%s: %s", what, gnutls_strerror(code));
}

static char *
pem_path(const char *dir, const char *name, const char *suffix)
{
    return g_strdup_printf("%s/%s%s.pem", dir, name, suffix);
}

static bool
file_exists(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0;
}

/* ---- PEM in and out ---------------------------------------------------------------------------
 */

static gnutls_x509_crt_t
crt_parse(const char *pem, size_t size, const char *what, GError **err)
{
    g_autoptr(Crt) crt = NULL;
    gnutls_datum_t datum = {(void *)pem, (unsigned)size};

    if (!tls_ok(gnutls_x509_crt_init(&crt), what, err) ||
        !tls_ok(gnutls_x509_crt_import(crt, &datum, GNUTLS_X509_FMT_PEM), what, err))
        return NULL;
    return g_steal_pointer(&crt);
}

static gnutls_x509_crt_t
crt_load(const char *path, GError **err)
{
    g_autofree char *pem = NULL;
    size_t size;

    if (!file_read_bounded(path, PEM_MAX, &pem, &size, err))
        return NULL;
    return crt_parse(pem, size, path, err);
}

static gnutls_x509_privkey_t
key_load(const char *path, GError **err)
{
    g_autofree char *pem = NULL;
    size_t size;
    g_autoptr(Key) key = NULL;

    if (!file_read_bounded(path, PEM_MAX, &pem, &size, err))
        return NULL;

    gnutls_datum_t datum = {(void *)pem, (unsigned)size};
    bool ok = tls_ok(gnutls_x509_privkey_init(&key), path, err) &&
              tls_ok(gnutls_x509_privkey_import(key, &datum, GNUTLS_X509_FMT_PEM), path, err);

    explicit_bzero(pem, size);
    return ok ? g_steal_pointer(&key) : NULL;
}

static gnutls_x509_privkey_t
key_make(const char *path, GError **err)
{
    g_autoptr(Key) key = NULL;
    gnutls_datum_t pem = {NULL, 0};

    if (!tls_ok(gnutls_x509_privkey_init(&key), path, err) ||
        !tls_ok(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                             GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                path, err) ||
        !tls_ok(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem), path, err))
        return NULL;

    bool ok = file_write_atomically(path, pem.data, pem.size, 0600, err);

    explicit_bzero(pem.data, pem.size);
    gnutls_free(pem.data);
    return ok ? g_steal_pointer(&key) : NULL;
}

static char *
crt_pem(gnutls_x509_crt_t crt, GError **err)
{
    gnutls_datum_t pem = {NULL, 0};

    if (!tls_ok(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem), "certificate", err))
        return NULL;

    char *text = g_strndup((const char *)pem.data, pem.size);

    gnutls_free(pem.data);
    return text;
}

static bool
crt_save(gnutls_x509_crt_t crt, const char *path, GError **err)
{
    g_autofree char *pem = crt_pem(crt, err);

    return pem && file_write_atomically(path, pem, strlen(pem), 0644, err);
}

/* ---- what every certificate has ---------------------------------------------------------------
 */

static bool
crt_begin(gnutls_x509_crt_t crt, const char *common_name, time_t until, GError **err)
{
    unsigned char serial[16];

    if (!random_bytes(serial, sizeof(serial), err))
        return false;
    serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x40); /* positive, and of constant length */
    return tls_ok(gnutls_x509_crt_set_version(crt, 3), "certificate", err) &&
           tls_ok(gnutls_x509_crt_set_serial(crt, serial, sizeof(serial)), "serial", err) &&
           tls_ok(gnutls_x509_crt_set_activation_time(crt, time(NULL) - CLOCK_SKEW_S), "time",
                  err) &&
           tls_ok(gnutls_x509_crt_set_expiration_time(crt, until), "time", err) &&
           tls_ok(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, common_name,
                                                (unsigned)strlen(common_name)),
                  common_name, err);
}

static bool
crt_set_subject_key_id(gnutls_x509_crt_t crt, GError **err)
{
    unsigned char id[32];
    size_t size = sizeof(id);

    return tls_ok(gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA1, id, &size), "key id",
                  err) &&
           tls_ok(gnutls_x509_crt_set_subject_key_id(crt, id, size), "key id", err);
}

/* ---- the CA -----------------------------------------------------------------------------------
 */

typedef struct Ca {
    gnutls_x509_crt_t crt;
    gnutls_x509_privkey_t key;
} Ca;

static void
ca_clear(Ca *ca)
{
    g_clear_pointer(&ca->crt, gnutls_x509_crt_deinit);
    g_clear_pointer(&ca->key, gnutls_x509_privkey_deinit);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Ca, ca_clear)

static bool
key_matches(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key)
{
    unsigned char a[32], b[32];
    size_t a_size = sizeof(a), b_size = sizeof(b);

    return gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, a, &a_size) == 0 &&
           gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, b, &b_size) == 0 &&
           a_size == b_size && memcmp(a, b, a_size) == 0;
}

static bool
ca_load(const char *dir, Ca *ca, GError **err)
{
    g_autofree char *crt_path = pem_path(dir, "ca", "");
    g_autofree char *key_path = pem_path(dir, "ca", "-key");

    ca->crt = crt_load(crt_path, err);
    ca->key = ca->crt ? key_load(key_path, err) : NULL;
    if (!ca->key)
        return false;
    if (!key_matches(ca->crt, ca->key))
        return err_set(
            err, ERR_CONFLICT,
            "%s is not the key of the CA certificate %s: restore the pair from a backup; "
            "a new CA would be unknown to every node and client",
            key_path, crt_path);
    if (gnutls_x509_crt_get_expiration_time(ca->crt) < time(NULL))
        return err_set(err, ERR_CONFLICT, "the CA certificate %s has expired", crt_path);
    return true;
}

static bool
ca_make(const char *crt_path, const char *key_path, GError **err)
{
    g_autoptr(Crt) crt = NULL;
    g_autoptr(Key) key = key_make(key_path, err);
    unsigned char tag[4];
    char name[64];

    if (!key || !random_bytes(tag, sizeof(tag), err))
        return false;
    /* Two installations must not have CAs of one name: a client that trusts both would mix them up.
     */
    g_snprintf(name, sizeof(name), "Godwit CA %02x%02x%02x%02x", tag[0], tag[1], tag[2], tag[3]);
    return tls_ok(gnutls_x509_crt_init(&crt), "certificate", err) &&
           crt_begin(crt, name, time(NULL) + (time_t)CA_DAYS * DAY_S, err) &&
           tls_ok(gnutls_x509_crt_set_key(crt, key), "key", err) &&
           tls_ok(gnutls_x509_crt_set_basic_constraints(crt, 1, 0), "constraints", err) &&
           tls_ok(
               gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN),
               "key usage", err) &&
           crt_set_subject_key_id(crt, err) &&
           tls_ok(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), "signature", err) &&
           crt_save(crt, crt_path, err);
}

bool
pki_ca_ensure(const char *dir, GError **err)
{
    g_autofree char *crt_path = pem_path(dir, "ca", "");
    g_autofree char *key_path = pem_path(dir, "ca", "-key");

    if (g_mkdir_with_parents(dir, 0700) < 0)
        return err_set(err, ERR_BACKEND, "cannot make the directory %s for certificates: %s", dir,
                       errno_text(errno));
    if (!file_exists(crt_path))
        return ca_make(crt_path, key_path, err);
    if (!file_exists(key_path))
        return err_set(err, ERR_CONFLICT,
                       "the CA certificate %s is there, but its key %s is gone: restore it from a "
                       "backup; a new CA would be unknown to every node and client",
                       crt_path, key_path);

    g_auto(Ca) ca = {0};
    return ca_load(dir, &ca, err);
}

/* ---- what it signs ----------------------------------------------------------------------------
 */

static bool
crt_add_name(gnutls_x509_crt_t crt, const char *name, GError **err)
{
    unsigned char address[16];

    if (inet_pton(AF_INET, name, address) == 1)
        return tls_ok(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, address, 4,
                                                           GNUTLS_FSAN_APPEND),
                      name, err);
    if (inet_pton(AF_INET6, name, address) == 1)
        return tls_ok(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, address, 16,
                                                           GNUTLS_FSAN_APPEND),
                      name, err);
    return tls_ok(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, name,
                                                       (unsigned)strlen(name), GNUTLS_FSAN_APPEND),
                  name, err);
}

/* The key usage is not marked critical: libvirt and QEMU want "key encipherment" too if it is,
 * which has no meaning for EC keys. */
static bool
crt_set_leaf_usage(gnutls_x509_crt_t crt, const PkiSubject *subject, GError **err)
{
    gnutls_datum_t der = {NULL, 0};

    if (!tls_ok(gnutls_x509_ext_export_key_usage(GNUTLS_KEY_DIGITAL_SIGNATURE, &der), "key usage",
                err))
        return false;

    bool ok = tls_ok(gnutls_x509_crt_set_extension_by_oid(crt, "2.5.29.15", der.data, der.size, 0),
                     "key usage", err);

    gnutls_free(der.data);
    return ok &&
           (!subject->server ||
            tls_ok(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0),
                   "key purpose", err)) &&
           (!subject->client ||
            tls_ok(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0),
                   "key purpose", err));
}

/* crt has its public key; the rest comes from subject alone. */
static bool
crt_complete(gnutls_x509_crt_t crt, const Ca *ca, const PkiSubject *subject, GError **err)
{
    time_t until = time(NULL) + (time_t)(subject->days > 0 ? subject->days : LEAF_DAYS) * DAY_S;
    time_t ca_until = gnutls_x509_crt_get_expiration_time(ca->crt);
    unsigned char id[32];
    size_t id_size = sizeof(id);

    if (!crt_begin(crt, subject->common_name, MIN(until, ca_until), err) ||
        !tls_ok(gnutls_x509_crt_set_basic_constraints(crt, 0, -1), "constraints", err) ||
        !crt_set_leaf_usage(crt, subject, err))
        return false;
    for (const char *const *name = subject->names; name && *name; name++) {
        if (!text_is_clean(*name, 253, false))
            return err_set(err, ERR_INVALID, "cannot put the name \"%s\" into a certificate",
                           *name);
        if (!crt_add_name(crt, *name, err))
            return false;
    }
    return crt_set_subject_key_id(crt, err) &&
           tls_ok(gnutls_x509_crt_get_subject_key_id(ca->crt, id, &id_size, NULL), "key id", err) &&
           tls_ok(gnutls_x509_crt_set_authority_key_id(crt, id, id_size), "key id", err) &&
           tls_ok(gnutls_x509_crt_sign2(crt, ca->crt, ca->key, GNUTLS_DIG_SHA256, 0), "signature",
                  err);
}

static bool
crt_has_purpose(gnutls_x509_crt_t crt, const char *wanted)
{
    char oid[64];
    size_t size = sizeof(oid);

    for (unsigned i = 0; gnutls_x509_crt_get_key_purpose_oid(crt, i, oid, &size, NULL) == 0; i++) {
        if (g_str_equal(oid, wanted))
            return true;
        size = sizeof(oid);
    }
    return false;
}

/* Is the pair that is there good enough? Anything wrong with it just means no. */
static bool
pair_serves(const char *crt_path, const char *key_path, const Ca *ca, const PkiSubject *subject)
{
    g_autoptr(Crt) crt = crt_load(crt_path, NULL);
    g_autoptr(Key) key = crt ? key_load(key_path, NULL) : NULL;
    unsigned verdict = 0;
    time_t least = time(NULL) + (time_t)RENEW_DAYS * DAY_S;

    if (!key || !key_matches(crt, key) || gnutls_x509_crt_get_expiration_time(crt) < least ||
        gnutls_x509_crt_verify(crt, &ca->crt, 1, 0, &verdict) < 0 || verdict != 0 ||
        (subject->server && !crt_has_purpose(crt, GNUTLS_KP_TLS_WWW_SERVER)) ||
        (subject->client && !crt_has_purpose(crt, GNUTLS_KP_TLS_WWW_CLIENT)))
        return false;
    for (const char *const *name = subject->names; name && *name; name++) {
        if (!gnutls_x509_crt_check_hostname(crt, *name))
            return false;
    }
    return true;
}

bool
pki_certificate_ensure(const char *dir, const char *name, const PkiSubject *subject, GError **err)
{
    g_auto(Ca) ca = {0};
    g_autoptr(Crt) crt = NULL;
    g_autoptr(Key) key = NULL;

    if (!text_is_clean(name, 64, false) || strchr(name, '/') || *name == '.' ||
        g_str_equal(name, "ca") || !text_is_clean(subject->common_name, 64, false))
        return err_set(err, ERR_INVALID, "cannot make a certificate named \"%s\" for \"%s\"", name,
                       subject->common_name);

    g_autofree char *crt_path = pem_path(dir, name, "");
    g_autofree char *key_path = pem_path(dir, name, "-key");

    if (!ca_load(dir, &ca, err))
        return false;
    if (pair_serves(crt_path, key_path, &ca, subject))
        return true;
    key = key_make(key_path, err);
    return key && tls_ok(gnutls_x509_crt_init(&crt), crt_path, err) &&
           tls_ok(gnutls_x509_crt_set_key(crt, key), crt_path, err) &&
           crt_complete(crt, &ca, subject, err) && crt_save(crt, crt_path, err);
}

/* The public key of a request that proves to hold the private one; NULL with *err. */
static gnutls_pubkey_t
csr_public_key(const char *csr_pem, GError **err)
{
    gnutls_x509_crq_t request = NULL;
    gnutls_pubkey_t key = NULL;
    gnutls_datum_t datum = {(void *)csr_pem, (unsigned)strnlen(csr_pem, PEM_MAX + 1)};
    unsigned bits = 0;
    bool ok = false;

    if (datum.size > PEM_MAX) {
        err_set(err, ERR_INVALID, "the certificate request is larger than %d bytes", PEM_MAX);
        return NULL;
    }
    if (!tls_ok(gnutls_x509_crq_init(&request), "certificate request", err))
        return NULL;
    if (gnutls_x509_crq_import(request, &datum, GNUTLS_X509_FMT_PEM) < 0) {
        err_set(err, ERR_INVALID, "the certificate request is not a PEM PKCS#10 request");
    } else if (gnutls_x509_crq_verify(request, 0) < 0) {
        err_set(err, ERR_INVALID, "the certificate request is not signed by its own key");
    } else {
        int algorithm = gnutls_x509_crq_get_pk_algorithm(request, &bits);

        if (algorithm < 0 || gnutls_pk_bits_to_sec_param((gnutls_pk_algorithm_t)algorithm, bits) <
                                 GNUTLS_SEC_PARAM_MEDIUM)
            err_set(err, ERR_INVALID,
                    "the key of the certificate request is too weak (%u bits): use EC P-256 or RSA "
                    "with 3072 bits",
                    bits);
        else
            ok = tls_ok(gnutls_pubkey_init(&key), "public key", err) &&
                 tls_ok(gnutls_pubkey_import_x509_crq(key, request, 0), "public key", err);
    }
    gnutls_x509_crq_deinit(request);
    if (!ok && key)
        g_clear_pointer(&key, gnutls_pubkey_deinit);
    return key;
}

char *
pki_sign_request(const char *dir, const char *csr_pem, const PkiSubject *subject, GError **err)
{
    g_auto(Ca) ca = {0};
    g_autoptr(Crt) crt = NULL;
    gnutls_pubkey_t key = csr_public_key(csr_pem, err);
    bool ok = key && ca_load(dir, &ca, err) &&
              tls_ok(gnutls_x509_crt_init(&crt), "certificate", err) &&
              tls_ok(gnutls_x509_crt_set_pubkey(crt, key), "public key", err) &&
              crt_complete(crt, &ca, subject, err);

    if (key)
        gnutls_pubkey_deinit(key);
    return ok ? crt_pem(crt, err) : NULL;
}

int64_t
pki_certificate_expiry(const char *pem, GError **err)
{
    g_autoptr(Crt) crt = crt_parse(pem, strnlen(pem, PEM_MAX), "certificate", err);

    return crt ? (int64_t)gnutls_x509_crt_get_expiration_time(crt) * USEC_PER_SEC : -1;
}
