/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-certificates.c: Godwit's CA, for who prepares nodes: its certificate, and signatures
 *
 * The key pairs are made on the nodes. What a certificate says comes from the administrator's
 * request, never from the node's: its name begins with the role, because libvirtd lets in by name
 * ("libvirt-…"), and QEMU's certificates ("qemu-…"), whose keys QEMU can read, must not open it. */
#include "api/godwit-priv.h"
#include "pki/pki.h"

#define REQUEST_MAX_BYTES 16384
#define NAMES_MAX         64
#define COMMON_NAME_MAX   64 /* X.520 */

void
godwit_ca_show(ApiCall *call)
{
    g_autofree char *path = g_build_filename(api_config(call->api)->pki_dir, "ca.pem", NULL);
    g_autofree char *pem = NULL;
    GError *error = NULL;

    if (!file_read_bounded(path, 1 << 16, &pem, NULL, &error)) {
        api_fail(call, error);
        return;
    }
    api_reply(call, 200, json_pack("{s:{s:s}}", "ca", "certificate", pem));
}

static bool
role_is_known(const char *role, GError **err)
{
    return g_str_equal(role, "libvirt") || g_str_equal(role, "qemu") ||
           err_set(err, ERR_INVALID, "'role' must be \"libvirt\" or \"qemu\".");
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
        if (!json_is_string(name) || !text_is_clean(json_string_value(name), 253, false))
            return err_set(err, ERR_INVALID, "'names' must be DNS names and addresses.");
        g_ptr_array_add(names, (void *)json_string_value(name));
    }
    if (names->len == 0)
        return err_set(err, ERR_INVALID, "'names' must have at least one name.");
    g_ptr_array_add(names, NULL);
    return true;
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
        !json_need_name(body, "host", 253, &host, &error) ||
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
