/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* init.c: what must be there before the first start */
#include "daemon/init.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pki/pki.h"

char *
init_pki_dir(const Config *config)
{
    return g_build_filename(config->state_dir, "pki", NULL);
}

/* "https://name:port" → "name" */
static char *
url_host(const char *url)
{
    const char *start = strstr(url, "://");
    size_t length;

    start = start ? start + 3 : url;
    if (*start == '[')
        return g_strndup(start + 1, strcspn(start + 1, "]"));
    length = strcspn(start, ":/");
    return g_strndup(start, length);
}

bool
init_certificate(const Config *config, GError **err)
{
    g_autofree char *dir = init_pki_dir(config), *host = url_host(config->url);
    const char *names[] = {host,        config->listen_address, "localhost",
                           "127.0.0.1", g_get_host_name(),      NULL};
    PkiSubject subject = {.common_name = host, .names = names, .server = true};

    return pki_ca_ensure(dir, err) && pki_certificate_ensure(dir, "server", &subject, err);
}

static bool
write_clouds(const Config *config, const char *password, GError **err)
{
    g_autofree char *path = g_build_filename(config->state_dir, "clouds.yaml", NULL);
    g_autofree char *ca = g_build_filename(config->state_dir, "pki", "ca.pem", NULL);
    /* The password is URL-safe base64: it needs no quoting in YAML beyond this. */
    g_autofree char *text = g_strdup_printf("clouds:\n"
                                            "  godwit:\n"
                                            "    auth:\n"
                                            "      auth_url: %s/identity\n"
                                            "      username: admin\n"
                                            "      password: \"%s\"\n"
                                            "      project_name: admin\n"
                                            "      user_domain_name: Default\n"
                                            "      project_domain_name: Default\n"
                                            "    region_name: %s\n"
                                            "    identity_api_version: 3\n"
                                            "    cacert: %s\n",
                                            config->url, password, config->region, ca);

    return file_write_atomically(path, text, strlen(text), 0600, err);
}

static bool
make_administrator(const Config *config, Store *store, GError **err)
{
    g_autofree char *path = g_build_filename(config->state_dir, "admin-password", NULL);
    g_autofree char *password = NULL, *line = NULL;
    AuthSettings settings = {.token_lifetime_s = config->token_lifetime_s,
                             .attempts_per_minute = 10};
    Auth *auth;
    bool ok;

    if (access(path, F_OK) == 0)
        return true;
    password = auth_password_generate();
    line = g_strconcat(password, "\n", NULL);
    auth = auth_new(store, &settings);
    ok = auth_bootstrap(auth, password, err) && write_clouds(config, password, err) &&
         file_write_atomically(path, line, strlen(line), 0600, err);
    auth_free(auth);
    return ok;
}

bool
init_run(const Config *config, GError **err)
{
    g_autoptr(Store) store = NULL;

    if (g_mkdir_with_parents(config->state_dir, 0700) != 0)
        return err_set(err, ERR_BACKEND, "cannot make %s: %s", config->state_dir,
                       errno_text(errno));
    if (!init_certificate(config, err))
        return false;
    store = store_open(config->state, err);
    if (!store || !make_administrator(config, store, err))
        return false;
    printf("state          %s\n"
           "certificates   %s/pki (clients trust %s/pki/ca.pem)\n"
           "administrator  user admin, project admin, password in %s/admin-password\n"
           "clients        OS_CLIENT_CONFIG_FILE=%s/clouds.yaml OS_CLOUD=godwit\n"
           "next           start godwitd, then: godwit host add NAME --uri qemu+tls://NAME/system "
           "--address IP\n",
           config->state, config->state_dir, config->state_dir, config->state_dir,
           config->state_dir);
    return true;
}
