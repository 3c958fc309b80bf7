/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* config.c: reads the configuration file, line by line. Each group of Godwit's own is a table of
 * keys; [libvirt] belongs to model/libvirt-settings.c; groups that only Nova knows are passed over
 * with a notice, so that a nova.conf can be pasted in. */
#include "daemon/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_MAX (1 << 20)
/* of pools, as the driver takes them */
#define NAME_CHARS G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_.-"

typedef enum KeyType {
    KEY_TEXT,
    KEY_INT,
    KEY_DOUBLE,
    KEY_BOOL,
    KEY_LISTEN,
    KEY_LOG_LEVEL,
    KEY_IGNORED
} KeyType;

typedef struct Key {
    const char *group, *name;
    KeyType type;
    size_t offset;
    double least, most;
} Key;

#define AT(member) offsetof(Config, member)

static const Key keys[] = {
    {"godwit", "state_dir", KEY_TEXT, AT(state_dir)},
    {"godwit", "state", KEY_TEXT, AT(state)},
    {"godwit", "state_user", KEY_TEXT, AT(state_user)},
    {"godwit", "lease_duration", KEY_INT, AT(lease_duration_s), 3, 60},
    {"godwit", "listen", KEY_LISTEN, 0},
    {"godwit", "url", KEY_TEXT, AT(url)},
    {"godwit", "region", KEY_TEXT, AT(region)},
    {"godwit", "log_level", KEY_LOG_LEVEL, 0},
    {"godwit", "plain_http", KEY_BOOL, AT(plain_http)},
    {"godwit", "shutdown_timeout", KEY_INT, AT(shutdown_timeout_s), 0, 3600},
    {"storage", "driver", KEY_TEXT, AT(storage_driver)},
    {"storage", "path", KEY_TEXT, AT(storage_path)},
    {"storage", "conf", KEY_TEXT, AT(ceph_conf)},
    {"storage", "user", KEY_TEXT, AT(ceph_user)},
    {"storage", "images_pool", KEY_TEXT, AT(images_pool)},
    {"storage", "instances_pool", KEY_TEXT, AT(instances_pool)},
    {"storage", "volumes_pool", KEY_TEXT, AT(volumes_pool)},
    {"storage", "console_path", KEY_TEXT, AT(console_path)},
    {"placement", "cpu_allocation_ratio", KEY_DOUBLE, AT(cpu_ratio), 0.1, 1000},
    {"placement", "ram_allocation_ratio", KEY_DOUBLE, AT(ram_ratio), 0.1, 100},
    {"placement", "reserved_host_memory_mb", KEY_INT, AT(reserved_ram_mb), 0, 1 << 30},
    {"moves", "max_outgoing_per_host", KEY_INT, AT(moves_out), 0, 1000},
    {"moves", "max_incoming_per_host", KEY_INT, AT(moves_in), 0, 1000},
    {"moves", "max_total", KEY_INT, AT(moves_total), 0, 10000},
    {"moves", "resize_confirm_window", KEY_INT, AT(resize_confirm_window_s), 0, 30 * 86400},
    {"moves", "allow_resize_to_same_host", KEY_BOOL, AT(resize_same_host)},
    {"rescue", "fence_command", KEY_TEXT, AT(fence_command)},
    {"rescue", "fence_timeout", KEY_INT, AT(fence_timeout_s), 1, 3600},
    {"rescue", "resume_guests_state_on_host_boot", KEY_BOOL, AT(resume_guests)},
    {"identity", "token_lifetime", KEY_INT, AT(token_lifetime_s), 60, 30 * 86400},
};

void
config_free(Config *config)
{
    if (!config)
        return;
    g_free(config->state_dir);
    g_free(config->state);
    g_free(config->state_user);
    g_free(config->listen_address);
    g_free(config->url);
    g_free(config->region);
    g_free(config->storage_driver);
    g_free(config->storage_path);
    g_free(config->ceph_conf);
    g_free(config->ceph_user);
    g_free(config->images_pool);
    g_free(config->instances_pool);
    g_free(config->volumes_pool);
    g_free(config->console_path);
    g_free(config->fence_command);
    libvirt_settings_free(config->libvirt);
    g_clear_pointer(&config->notices, g_ptr_array_unref);
    g_free(config);
}

static Config *
config_new(void)
{
    Config *config = g_new0(Config, 1);

    config->state_dir = g_strdup("/var/lib/godwit");
    config->listen_address = g_strdup("127.0.0.1");
    config->state_user = g_strdup("godwit-state");
    config->lease_duration_s = 5;
    config->listen_port = 8774;
    config->region = g_strdup("RegionOne");
    config->log_level = LOG_LEVEL_INFO;
    config->storage_driver = g_strdup("dir");
    config->storage_path = g_strdup("/var/lib/godwit/storage");
    config->ceph_conf = g_strdup("/etc/ceph/ceph.conf");
    config->ceph_user = g_strdup("godwit");
    config->images_pool = g_strdup("images");
    config->instances_pool = g_strdup("instances");
    config->volumes_pool = g_strdup("volumes");
    config->console_path = g_strdup("/var/log/libvirt/godwit");
    config->cpu_ratio = 16.0;
    config->ram_ratio = 1.5;
    config->reserved_ram_mb = 512;
    config->token_lifetime_s = 3600;
    config->shutdown_timeout_s = 60;
    config->moves_out = config->moves_in = 2;
    config->moves_total = 10;
    config->fence_timeout_s = 60;
    config->libvirt = libvirt_settings_new();
    config->notices = g_ptr_array_new_with_free_func(g_free);
    return config;
}

/* "10.0.0.1:8774" or "[::1]:8774" */
static bool
parse_listen(Config *config, const char *value)
{
    const char *colon = strrchr(value, ':');
    g_autofree char *address = NULL;
    unsigned char binary[sizeof(struct in6_addr)];
    int64_t port;

    if (!colon || !parse_int64(colon + 1, 1, 65535, &port))
        return false;
    address = *value == '[' && colon > value && colon[-1] == ']'
                  ? g_strndup(value + 1, (gsize)(colon - value - 2))
                  : g_strndup(value, (gsize)(colon - value));
    if (inet_pton(AF_INET, address, binary) != 1 && inet_pton(AF_INET6, address, binary) != 1)
        return false;
    config->listen_port = (uint16_t)port;
    g_free(config->listen_address);
    config->listen_address = g_steal_pointer(&address);
    return true;
}

static bool
set_key(Config *config, const Key *key, const char *value, const char *path, GError **err)
{
    void *field = (char *)config + key->offset;
    int64_t number;
    bool ok = true;
    char *end;

    switch (key->type) {
    case KEY_TEXT:
        ok = text_is_clean(value, 4096, false);
        if (ok)
            text_set(field, value);
        break;
    case KEY_INT:
        ok = parse_int64(value, (int64_t)key->least, (int64_t)key->most, &number);
        if (ok)
            *(int64_t *)field = number;
        break;
    case KEY_DOUBLE: {
        double real = g_ascii_strtod(value, &end);

        ok = end != value && *end == '\0' && real >= key->least && real <= key->most;
        if (ok)
            *(double *)field = real;
        break;
    }
    case KEY_BOOL:
        ok = parse_bool(value, field);
        break;
    case KEY_LISTEN:
        ok = parse_listen(config, value);
        break;
    case KEY_LOG_LEVEL:
        ok = log_level_parse(value, &config->log_level);
        break;
    case KEY_IGNORED:
        break;
    }
    if (ok)
        return true;
    if (key->type == KEY_INT || key->type == KEY_DOUBLE)
        return err_set(err, ERR_INVALID, "%s: [%s] %s = %s: must be a number from %g to %g", path,
                       key->group, key->name, value, key->least, key->most);
    return err_set(err, ERR_INVALID, "%s: [%s] %s = %s is not %s", path, key->group, key->name,
                   value,
                   key->type == KEY_BOOL        ? "true or false"
                   : key->type == KEY_LISTEN    ? "ADDRESS:PORT with a numeric address"
                   : key->type == KEY_LOG_LEVEL ? "debug, info, notice, warning or error"
                                                : "clean text");
}

static const Key *
find_key(const char *group, const char *name, bool *own_group)
{
    const Key *found = NULL;

    *own_group = false;
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (g_ascii_strcasecmp(keys[i].group, group) != 0)
            continue;
        *own_group = true;
        if (strcmp(keys[i].name, name) == 0)
            found = &keys[i];
    }
    return found;
}

typedef struct Reading {
    Config *config;
    const char *path;
    GHashTable *noticed; /* groups of Nova's that a notice was given for */
} Reading;

static bool
read_line(void *opaque, const char *group, const char *name, const char *value, unsigned line,
          GError **err)
{
    Reading *reading = opaque;
    bool own_group;
    const Key *key = find_key(group, name, &own_group);

    if (g_ascii_strcasecmp(group, "libvirt") == 0) /* judged as a whole by libvirt_settings_parse */
        return true;
    if (key)
        return set_key(reading->config, key, value, reading->path, err);
    if (own_group) {
        if (g_ascii_strcasecmp(group, "placement") == 0 && config_key_is_novas_placement(name))
            return true;
        return err_set(err, ERR_INVALID, "%s:%u: [%s] has no key '%s'; see godwit.conf.example",
                       reading->path, line, group, name);
    }
    if (!config_group_is_novas(group))
        return err_set(err, ERR_INVALID, "%s:%u: unknown group [%s]; see godwit.conf.example",
                       reading->path, line, group);
    if (g_hash_table_add(reading->noticed, g_strdup(group)))
        g_ptr_array_add(
            reading->config->notices,
            g_strdup_printf("line %u: [%s] is Nova's and not needed here", line, group));
    return true;
}

/* What can be known of [storage] without touching it. A file that is not there yet is no error: it
 * may come with a mount, or after the first start. */
static bool
check_storage(Config *config, const char *path, GError **err)
{
    const char *const pools[][2] = {{"images_pool", config->images_pool},
                                    {"instances_pool", config->instances_pool},
                                    {"volumes_pool", config->volumes_pool}};

    if (strcmp(config->storage_driver, "dir") == 0)
        return *config->storage_path == '/' ||
               err_set(err, ERR_INVALID, "%s: [storage] path = %s is not an absolute path", path,
                       config->storage_path);
    if (strcmp(config->storage_driver, "rbd") != 0)
        return err_set(err, ERR_INVALID,
                       "%s: [storage] driver = %s is not known; known are dir and rbd", path,
                       config->storage_driver);
    for (size_t i = 0; i < G_N_ELEMENTS(pools); i++) {
        if (*pools[i][1] == '\0' || pools[i][1][strspn(pools[i][1], NAME_CHARS)] != '\0')
            return err_set(err, ERR_INVALID,
                           "%s: [storage] %s = %s: a pool's name has letters, digits, and _ . - "
                           "here",
                           path, pools[i][0], pools[i][1]);
    }
    if (g_str_has_prefix(config->ceph_user, "client."))
        return err_set(err, ERR_INVALID,
                       "%s: [storage] user = %s: give the name without \"client.\"", path,
                       config->ceph_user);
    if (access(config->ceph_conf, R_OK) != 0)
        g_ptr_array_add(config->notices,
                        g_strdup_printf("[storage] conf = %s cannot be read (%s): there is no "
                                        "storage until it can",
                                        config->ceph_conf, errno_text(errno)));
    return true;
}

Config *
config_load(const char *path, GError **err)
{
    g_autoptr(Config) config = config_new();
    g_autoptr(GHashTable) noticed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    Reading reading = {config, path, noticed};
    g_autofree char *text = NULL;
    size_t size;

    if (!file_read_bounded(path, CONFIG_MAX, &text, &size, err))
        return NULL;
    if (!config_scan(text, read_line, &reading, err) ||
        !libvirt_settings_parse(text, config->libvirt, config->notices, err)) {
        if (err && *err && !g_str_has_prefix((*err)->message, path))
            g_prefix_error(err, "%s: ", path);
        return NULL;
    }
    if (!config->state)
        config->state = g_build_filename(config->state_dir, "godwit.db", NULL);
    if (!config->url)
        config->url = g_strdup_printf(
            strchr(config->listen_address, ':') ? "%s://[%s]:%u" : "%s://%s:%u",
            config->plain_http ? "http" : "https", config->listen_address, config->listen_port);
    while (g_str_has_suffix(config->url, "/"))
        config->url[strlen(config->url) - 1] = '\0';
    if (config->plain_http && !g_str_has_prefix(config->listen_address, "127.") &&
        strcmp(config->listen_address, "::1") != 0) {
        err_set(err, ERR_INVALID,
                "%s: [godwit] plain_http is for loopback only, and listen = %s is not: passwords "
                "would cross the network in clear",
                path, config->listen_address);
        return NULL;
    }
    if (!g_str_has_prefix(config->url, config->plain_http ? "http://" : "https://")) {
        err_set(
            err, ERR_INVALID,
            "%s: [godwit] url = %s does not begin with %s, which is what is served; see plain_http",
            path, config->url, config->plain_http ? "http://" : "https://");
        return NULL;
    }
    if (!check_storage(config, path, err))
        return NULL;
    return g_steal_pointer(&config);
}

StoreConfig
config_store(const Config *config)
{
    return (StoreConfig){.state = config->state,
                         .conf = config->ceph_conf,
                         .user = config->state_user,
                         .url = config->url,
                         .lease_us = config->lease_duration_s * USEC_PER_SEC};
}
