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

/* The controller's own way into libvirtd over TLS: qemu+tls://HOST/system?pkipath=DIR/libvirt.
 * libvirt looks there for files of these names. */
static bool
client_certificate(const char *dir, const char *host, GError **err)
{
    static const char *const links[][2] = {{"../ca.pem", "cacert.pem"},
                                           {"../libvirt-controller.pem", "clientcert.pem"},
                                           {"../libvirt-controller-key.pem", "clientkey.pem"}};
    const char *names[] = {host, NULL};
    PkiSubject subject = {.common_name = "libvirt-controller", .names = names, .client = true};
    g_autofree char *libvirt = g_build_filename(dir, "libvirt", NULL);

    if (!pki_certificate_ensure(dir, "libvirt-controller", &subject, err))
        return false;
    if (mkdir(libvirt, 0700) != 0 && errno != EEXIST)
        return err_set(err, ERR_BACKEND, "cannot make %s: %s", libvirt, errno_text(errno));
    for (size_t i = 0; i < G_N_ELEMENTS(links); i++) {
        g_autofree char *link = g_build_filename(libvirt, links[i][1], NULL);
        if (symlink(links[i][0], link) != 0 && errno != EEXIST)
            return err_set(err, ERR_BACKEND, "cannot make %s: %s", link, errno_text(errno));
    }
    return true;
}

bool
init_certificate(const Config *config, GError **err)
{
    g_autofree char *dir = init_pki_dir(config), *host = url_host(config->url);
    const char *names[] = {host,        config->listen_address, "localhost",
                           "127.0.0.1", g_get_host_name(),      NULL};
    PkiSubject subject = {.common_name = host, .names = names, .server = true};

    return pki_ca_ensure(dir, err) && pki_certificate_ensure(dir, "server", &subject, err) &&
           client_certificate(dir, host, err);
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
users_look(StoreTx *tx, void *opaque, GError **err)
{
    int64_t n = store_count(tx, &USER, NULL, err);

    *(bool *)opaque = n > 0;
    return n >= 0;
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

    password = auth_password_generate();
    line = g_strconcat(password, "\n", NULL);
    auth = auth_new(store, &settings);
    ok = auth_bootstrap(auth, password, err) && write_clouds(config, password, err) &&
         file_write_atomically(path, line, strlen(line), 0600, err);
    auth_free(auth);
    return ok;
}

/* A further controller of a state on RADOS: the state has its administrator, and nodes and clients
 * trust the first controller's CA, so this one's certificates must be of the same. */
static bool
join_controllers(const Config *config, GError **err)
{
    g_autofree char *dir = init_pki_dir(config), *ca = g_build_filename(dir, "ca.pem", NULL);
    g_autofree char *key = g_build_filename(dir, "ca-key.pem", NULL);

    if (access(ca, F_OK) != 0 || access(key, F_OK) != 0)
        return err_set(err, ERR_INVALID,
                       "%s belongs to controllers that have a certificate authority already: copy "
                       "pki/ca.pem and pki/ca-key.pem of one of them to %s (directory 0700, files "
                       "0600), then run \"godwitd init\" again",
                       config->state, dir);
    if (!init_certificate(config, err))
        return false;
    printf("state          %s, set up by another controller; its administrator and password stay\n"
           "certificates   %s (of the same authority)\n"
           "next           start godwitd: it stands by while another controller is active\n",
           config->state, dir);
    return true;
}

typedef struct Others {
    const char *own_url;
    bool are_active;
} Others;

/* Another controller serves: no need to wait for it. Our own former process: until its lease runs
 * out. */
static bool
others_look(const char *active, const char *reason, void *opaque)
{
    Others *others = opaque;

    others->are_active = active && strcmp(active, others->own_url) != 0;
    return active && !others->are_active;
}

bool
init_run(const Config *config, GError **err)
{
    g_autofree char *password = g_build_filename(config->state_dir, "admin-password", NULL);
    g_autoptr(GError) error = NULL;
    StoreConfig store_config = config_store(config);
    Others others = {.own_url = config->url};
    bool had_password = access(password, F_OK) == 0, is_set_up = false;

    if (g_mkdir_with_parents(config->state_dir, 0700) != 0)
        return err_set(err, ERR_BACKEND, "cannot make %s: %s", config->state_dir,
                       errno_text(errno));
    store_config.on_wait = others_look;
    store_config.opaque = &others;
    g_autoptr(Store) store = store_open_with(&store_config, &error);
    if (!store && others.are_active)
        return join_controllers(config, err);
    if (!store) {
        g_propagate_error(err, g_steal_pointer(&error));
        return false;
    }
    if (!store_read(store, users_look, &is_set_up, err))
        return false;
    if (is_set_up && !had_password && store_is_on_rados(config->state))
        return join_controllers(config, err);
    if (!init_certificate(config, err) ||
        (!had_password && !make_administrator(config, store, err)))
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
