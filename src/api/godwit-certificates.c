/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-certificates.c: Godwit's CA, for who prepares nodes: its certificate, and signatures
 *
 * The key pairs are made on the nodes. What a certificate says comes from the administrator's
 * request, never from the node's: its name begins with the role, because libvirtd lets in by name
 * ("libvirt-…"), and QEMU's certificates ("qemu-…"), whose keys QEMU can read, must not open it. */
#include <arpa/inet.h>
#include <string.h>

#include "api/godwit-priv.h"
#include "pki/pki.h"

#define REQUEST_MAX_BYTES 16384
#define NAMES_MAX         64
#define COMMON_NAME_MAX   64 /* X.520 */
#define PEM_MAX_BYTES     (1 << 16)

/* One of the controller's own, as a row; NULL if it is not there. */
static json_t *
view_certificate(const char *dir, const char *name)
{
    g_autofree char *file = g_strconcat(name, ".pem", NULL), *pem = NULL;
    g_autofree char *path = g_build_filename(dir, file, NULL);

    if (!file_read_bounded(path, PEM_MAX_BYTES, &pem, NULL, NULL))
        return NULL;
    return json_pack("{s:s,s:I}", "name", name, "expires_at",
                     (json_int_t)pki_certificate_expiry(pem, NULL));
}

/* Where things lie on the controller, and what it shows to whom, is for administrators. */
void
godwit_ca_show(ApiCall *call)
{
    static const char *const own[] = {"server", "libvirt-controller"};
    const char *dir = api_config(call->api)->pki_dir;
    g_autofree char *path = g_build_filename(dir, "ca.pem", NULL);
    g_autofree char *pem = NULL, *pkipath = g_build_filename(dir, "libvirt", NULL);
    GError *error = NULL;
    json_t *ca, *rows;

    if (!file_read_bounded(path, PEM_MAX_BYTES, &pem, NULL, &error)) {
        api_fail(call, error);
        return;
    }
    ca = json_pack("{s:s,s:I}", "certificate", pem, "expires_at",
                   (json_int_t)pki_certificate_expiry(pem, NULL));
    if (call->caller->is_admin) {
        rows = json_array();
        for (size_t i = 0; i < G_N_ELEMENTS(own); i++) {
            json_t *row = view_certificate(dir, own[i]);

            if (row)
                json_array_append_new(rows, row);
        }
        json_object_set_new(ca, "certificates", rows);
        json_object_set_new(ca, "pkipath", json_string(pkipath));
    }
    api_reply(call, 200, json_pack("{s:o}", "ca", ca));
}

static bool
role_is_known(const char *role, GError **err)
{
    return g_str_equal(role, "libvirt") || g_str_equal(role, "qemu") ||
           err_set(err, ERR_INVALID, "'role' must be \"libvirt\" or \"qemu\".");
}

/* A numeric address, or a name of letters, digits, dots and dashes: no wildcard, which would stand
 * for hosts that nobody named, and nothing that another reader could take for two names. */
static bool
name_is_host(const char *name)
{
    struct in6_addr raw;
    size_t length = strlen(name);

    if (inet_pton(AF_INET, name, &raw) == 1 || inet_pton(AF_INET6, name, &raw) == 1)
        return true;
    return length >= 1 && length <= 253 && g_ascii_isalnum(*name) &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_") ==
               length;
}

/* The names as a NULL-ended array of what the body holds. */
static bool
names_read(const json_t *body, GPtrArray *names, GError **err)
{
    const json_t *array;
    size_t i;
    json_t *name;

    if (!json_get_array(body, "names", NAMES_MAX, &array, err))
        return false;
    json_array_foreach(array, i, name)
    {
        if (!json_is_string(name) || !name_is_host(json_string_value(name)))
            return err_set(err, ERR_INVALID, "'names' must be DNS names and addresses.");
        g_ptr_array_add(names, (void *)json_string_value(name));
    }
    if (names->len == 0)
        return err_set(err, ERR_INVALID, "'names' must have at least one name.");
    g_ptr_array_add(names, NULL);
    return true;
}

static bool
host_is_name(const char *host, GError **err)
{
    return name_is_host(host) ||
           err_set(err, ERR_INVALID, "'host' must be a DNS name or an address.");
}

void
godwit_certificate_create(ApiCall *call)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autofree char *common_name = NULL, *certificate = NULL;
    const char *role, *host, *request;
    const json_t *body;
    GError *error = NULL;

    if (!json_need_object(call->body, "certificate", &body, &error) ||
        !json_only_keys(body, &error, "role", "host", "request", "names", NULL) ||
        !json_need_name(body, "role", 16, &role, &error) || !role_is_known(role, &error) ||
        !json_need_name(body, "host", 253, &host, &error) || !host_is_name(host, &error) ||
        !json_need_text(body, "request", REQUEST_MAX_BYTES, &request, &error) ||
        !names_read(body, names, &error)) {
        api_fail(call, error);
        return;
    }
    common_name = g_strdup_printf("%s-%.*s", role, COMMON_NAME_MAX - 8, host);

    PkiSubject subject = {.common_name = common_name,
                          .names = (const char *const *)names->pdata,
                          .server = true,
                          .client = true};

    certificate = pki_sign_request(api_config(call->api)->pki_dir, request, &subject, &error);
    if (!certificate) {
        api_fail(call, error);
        return;
    }
    api_reply(call, 201,
              json_pack("{s:{s:s,s:s,s:I}}", "certificate", "name", common_name, "certificate",
                        certificate, "expires_at",
                        (json_int_t)pki_certificate_expiry(certificate, NULL)));
}
