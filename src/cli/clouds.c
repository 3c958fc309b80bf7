/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* clouds.c: where the API is and who is calling: --os-* options, else OS_* variables, else
 * clouds.yaml */
#include "cli/cli.h"

#include <string.h>
#include <unistd.h>
#include <yaml.h>

#define YAML_MAX (1024 * 1024)

/* yaml: the key in clouds.yaml; in_auth: below "auth". secret: no option of that name exists. */
static const struct {
    const char *name;
    bool in_auth, secret;
} keys[N_CLOUD_KEYS] = {
    [CLOUD_AUTH_URL] = {"auth_url", true, false},
    [CLOUD_USERNAME] = {"username", true, false},
    [CLOUD_USER_ID] = {"user_id", true, false},
    [CLOUD_PASSWORD] = {"password", true, true},
    [CLOUD_TOKEN] = {"token", true, true},
    [CLOUD_PROJECT_NAME] = {"project_name", true, false},
    [CLOUD_PROJECT_ID] = {"project_id", true, false},
    [CLOUD_USER_DOMAIN_NAME] = {"user_domain_name", true, false},
    [CLOUD_USER_DOMAIN_ID] = {"user_domain_id", true, false},
    [CLOUD_PROJECT_DOMAIN_NAME] = {"project_domain_name", true, false},
    [CLOUD_PROJECT_DOMAIN_ID] = {"project_domain_id", true, false},
    [CLOUD_REGION_NAME] = {"region_name", false, false},
    [CLOUD_CACERT] = {"cacert", false, false},
    [CLOUD_INTERFACE] = {"interface", false, false},
};

const CliOption cloud_options[] = {
    {"os-cloud", CLI_TEXT, "NAME", "entry of clouds.yaml to use"},
    {"os-auth-url", CLI_TEXT, "URL", "identity endpoint"},
    {"os-username", CLI_TEXT, "NAME", "user"},
    {"os-user-id", CLI_TEXT, "ID", "user, by id"},
    {"os-project-name", CLI_TEXT, "NAME", "project"},
    {"os-project-id", CLI_TEXT, "ID", "project, by id"},
    {"os-user-domain-name", CLI_TEXT, "NAME", "domain of the user (Default)"},
    {"os-user-domain-id", CLI_TEXT, "ID", "domain of the user, by id"},
    {"os-project-domain-name", CLI_TEXT, "NAME", "domain of the project (Default)"},
    {"os-project-domain-id", CLI_TEXT, "ID", "domain of the project, by id"},
    {"os-region-name", CLI_TEXT, "NAME", "region to take endpoints from"},
    {"os-cacert", CLI_TEXT, "FILE", "CA certificate that signed the API's"},
    {"os-interface", CLI_TEXT, "KIND", "endpoints to use: public, internal, admin"},
    {0},
};

void
cloud_config_free(CloudConfig *config)
{
    if (!config)
        return;
    for (unsigned i = 0; i < N_CLOUD_KEYS; i++) {
        if (config->values[i] && keys[i].secret)
            explicit_bzero(config->values[i], strlen(config->values[i]));
        g_free(config->values[i]);
    }
    g_free(config);
}

/* ---- clouds.yaml ------------------------------------------------------------------------------
 */

static yaml_node_t *
yaml_member(yaml_document_t *document, yaml_node_t *mapping, const char *name)
{
    if (!mapping || mapping->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = yaml_document_get_node(document, pair->key);

        if (key && key->type == YAML_SCALAR_NODE && key->data.scalar.length == strlen(name) &&
            memcmp(key->data.scalar.value, name, strlen(name)) == 0)
            return yaml_document_get_node(document, pair->value);
    }
    return NULL;
}

static char *
yaml_text(yaml_document_t *document, yaml_node_t *mapping, const char *name)
{
    yaml_node_t *node = yaml_member(document, mapping, name);

    return node && node->type == YAML_SCALAR_NODE && node->data.scalar.length > 0
               ? g_strndup((const char *)node->data.scalar.value, node->data.scalar.length)
               : NULL;
}

static bool
cloud_take(CloudConfig *config, yaml_document_t *document, yaml_node_t *cloud, const char *path,
           GError **err)
{
    yaml_node_t *auth = yaml_member(document, cloud, "auth");
    g_autofree char *verify = yaml_text(document, cloud, "verify");
    g_autofree char *type = yaml_text(document, cloud, "auth_type");
    bool wanted = true;

    if (verify && parse_bool(verify, &wanted) && !wanted)
        return err_set(err, ERR_INVALID,
                       "%s says \"verify: false\": certificates are always checked here; take that "
                       "line out and name the CA's file with \"cacert:\"",
                       path);
    if (type && !strstr(type, "password") && !strstr(type, "token"))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s asks for auth_type %s: only password and token are known here", path,
                       type);
    for (unsigned i = 0; i < N_CLOUD_KEYS; i++) {
        char *value = yaml_text(document, keys[i].in_auth ? auth : cloud, keys[i].name);

        if (value) {
            g_free(config->values[i]);
            config->values[i] = value;
        }
    }
    return true;
}

/* *found tells whether the file has that cloud; a file that cannot be read or parsed is an error.
 */
static bool
cloud_file_read(CloudConfig *config, const char *path, const char *name, bool *found, GError **err)
{
    g_autofree char *text = NULL;
    size_t size;
    yaml_parser_t parser;
    yaml_document_t document;

    if (!file_read_bounded(path, YAML_MAX, &text, &size, err))
        return false;
    if (!yaml_parser_initialize(&parser))
        return err_set(err, ERR_BACKEND, "cannot read %s: no memory", path);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    if (!yaml_parser_load(&parser, &document)) {
        err_set(err, ERR_INVALID, "%s line %zu: %s", path, parser.problem_mark.line + 1,
                parser.problem ? parser.problem : "not YAML");
        yaml_parser_delete(&parser);
        return false;
    }

    yaml_node_t *clouds = yaml_member(&document, yaml_document_get_root_node(&document), "clouds");
    yaml_node_t *cloud = yaml_member(&document, clouds, name);
    bool ok = !cloud || cloud_take(config, &document, cloud, path, err);

    *found = cloud != NULL;
    yaml_document_delete(&document);
    yaml_parser_delete(&parser);
    return ok;
}

/* The first FILE of ., ~/.config/openstack, /etc/openstack; NULL if there is none. */
static char *
cloud_file_find(const char *file)
{
    g_autofree char *home = g_build_filename(g_get_user_config_dir(), "openstack", NULL);
    const char *const dirs[] = {".", home, "/etc/openstack"};

    for (size_t i = 0; i < G_N_ELEMENTS(dirs); i++) {
        char *path = g_build_filename(dirs[i], file, NULL);

        if (access(path, F_OK) == 0)
            return path;
        g_free(path);
    }
    return NULL;
}

static bool
cloud_read(CloudConfig *config, const char *name, GError **err)
{
    const char *given = g_getenv("OS_CLIENT_CONFIG_FILE");
    g_autofree char *path = given ? g_strdup(given) : cloud_file_find("clouds.yaml");
    g_autofree char *secure = cloud_file_find("secure.yaml");
    bool found = false, ignored;

    if (!path)
        return err_set(err, ERR_NOT_FOUND,
                       "there is no clouds.yaml to find the cloud \"%s\" in: looked in the current "
                       "directory, ~/.config/openstack and /etc/openstack",
                       name);
    if (!cloud_file_read(config, path, name, &found, err))
        return false;
    if (!found)
        return err_set(err, ERR_NOT_FOUND, "%s has no cloud \"%s\"", path, name);
    return !secure || given || cloud_file_read(config, secure, name, &ignored, err);
}

/* ---- all sources ------------------------------------------------------------------------------
 */

static bool
cloud_config_check(const CloudConfig *config, GError **err)
{
    char *const *v = config->values;

    if (!v[CLOUD_AUTH_URL])
        return err_set(err, ERR_INVALID,
                       "where the API is, is not known: set OS_AUTH_URL (with OS_USERNAME, "
                       "OS_PASSWORD, OS_PROJECT_NAME), or OS_CLOUD with a clouds.yaml");
    if (!g_str_has_prefix(v[CLOUD_AUTH_URL], "https://") &&
        !g_str_has_prefix(v[CLOUD_AUTH_URL], "http://"))
        return err_set(err, ERR_INVALID, "OS_AUTH_URL is \"%s\": it must begin with https://",
                       v[CLOUD_AUTH_URL]);
    if (v[CLOUD_TOKEN] && !v[CLOUD_PASSWORD])
        return true;
    if (!v[CLOUD_USERNAME] && !v[CLOUD_USER_ID])
        return err_set(err, ERR_INVALID, "the user is not known: set OS_USERNAME");
    if (!v[CLOUD_PASSWORD])
        return err_set(err, ERR_INVALID,
                       "there is no password: set OS_PASSWORD, or put it into "
                       "clouds.yaml");
    return true;
}

CloudConfig *
cloud_config_load(const CliArgs *options, GError **err)
{
    g_autoptr(CloudConfig) config = g_new0(CloudConfig, 1);
    const char *cloud = args_text(options, "os-cloud");

    if (!cloud)
        cloud = g_getenv("OS_CLOUD");
    if (cloud && *cloud && !cloud_read(config, cloud, err))
        return NULL;
    for (unsigned i = 0; i < N_CLOUD_KEYS; i++) {
        g_autofree char *option = g_strdelimit(g_strconcat("os-", keys[i].name, NULL), "_", '-');
        g_autofree char *upper = g_ascii_strup(keys[i].name, -1);
        g_autofree char *variable = g_strconcat("OS_", upper, NULL);
        const char *value = args_text(options, option);

        if (!value)
            value = g_getenv(variable);
        if (value && *value) {
            g_free(config->values[i]);
            config->values[i] = g_strdup(value);
        }
    }
    return cloud_config_check(config, err) ? g_steal_pointer(&config) : NULL;
}
