/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client.c: the API's client: token, catalog, calls, uploads and downloads
 *
 * One libcurl handle, so one connection, is used for everything. Certificates are always checked. A
 * call that is answered with 401 is tried once more with a new token. */
#include "cli/cli.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPLY_MAX         (64u * 1024 * 1024)
#define MICROVERSION      "2.92"
#define VOLUME_VERSION    "3.66" /* a volume in use can be extended, and snapshots made of it */
#define CONNECT_TIMEOUT_S 15L
#define CALL_TIMEOUT_S    120L
#define TRANSFER_IDLE_S   60L

struct Client {
    CURL *curl;
    CloudConfig *config;
    char *token;
    json_t *catalog;
    char error[CURL_ERROR_SIZE];

    /* of the call under way */
    GString *reply;
    FILE *sink;   /* a download goes here instead; errors still go to reply */
    FILE *source; /* an upload comes from here */
    char *subject_token;
    char *migration;
};

static volatile sig_atomic_t interrupted;

static void
on_interrupt(int number)
{
    interrupted = 1;
}

void
client_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool
client_is_interrupted(void)
{
    return interrupted != 0;
}

/* ---- libcurl's callbacks ----------------------------------------------------------------------
 */

static size_t
on_data(char *data, size_t size, size_t n, void *opaque)
{
    Client *client = opaque;
    size_t bytes = size * n;
    long status = 0;

    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (client->sink && status < 300)
        return fwrite(data, 1, bytes, client->sink);
    if (client->reply->len + bytes > REPLY_MAX)
        return 0;
    g_string_append_len(client->reply, data, (gssize)bytes);
    return bytes;
}

static void
take_header(const char *line, size_t size, const char *name, char **slot)
{
    size_t length = strlen(name);

    if (size > length && line[length] == ':' && g_ascii_strncasecmp(line, name, length) == 0) {
        g_free(*slot);
        *slot = g_strstrip(g_strndup(line + length + 1, size - length - 1));
    }
}

static size_t
on_header(char *line, size_t size, size_t n, void *opaque)
{
    Client *client = opaque;

    take_header(line, size * n, "X-Subject-Token", &client->subject_token);
    take_header(line, size * n, "X-Godwit-Migration", &client->migration);
    return size * n;
}

static size_t
on_upload(char *buffer, size_t size, size_t n, void *opaque)
{
    Client *client = opaque;
    size_t got = fread(buffer, size, n, client->source);

    return got == 0 && ferror(client->source) ? CURL_READFUNC_ABORT : got;
}

static int
on_progress(void *opaque, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
            curl_off_t up)
{
    return interrupted;
}

/* ---- one exchange -----------------------------------------------------------------------------
 */

static bool
curl_failed(Client *client, CURLcode code, const char *url, GError **err)
{
    const char *detail = client->error[0] ? client->error : curl_easy_strerror(code);

    if (code == CURLE_ABORTED_BY_CALLBACK && interrupted)
        return err_set(err, ERR_CANCELLED, "interrupted");
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_set(err, ERR_TIMEOUT, "no answer from %s in time: %s", url, detail);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
        code == CURLE_SSL_ISSUER_ERROR)
        return err_set(err, ERR_FORBIDDEN,
                       "the certificate of %s is not trusted: %s. If the API uses Godwit's own CA, "
                       "name the file of that CA with OS_CACERT or --os-cacert",
                       url, detail);
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
        code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR ||
        code == CURLE_SSL_CONNECT_ERROR)
        return err_set(err, ERR_UNREACHABLE,
                       "cannot talk to %s: %s. Check that godwitd runs there and that OS_AUTH_URL "
                       "is right",
                       url, detail);
    return err_set(err, ERR_BACKEND, "the request to %s failed: %s", url, detail);
}

static ErrCode
status_code(long status)
{
    switch (status) {
    case 400:
        return ERR_INVALID;
    case 401:
    case 403:
        return ERR_FORBIDDEN;
    case 404:
        return ERR_NOT_FOUND;
    case 409:
        return ERR_CONFLICT;
    case 413:
        return ERR_QUOTA;
    case 429:
    case 503:
        return ERR_BUSY;
    case 501:
        return ERR_UNSUPPORTED;
    default:
        return ERR_BACKEND;
    }
}

/* Each API wraps its message in an object of its own name; Neutron's may be a string. */
static const char *
fault_message(const json_t *body)
{
    const char *key;
    json_t *value;

    if (json_is_string(json_object_get(body, "message")))
        return json_string_value(json_object_get(body, "message"));
    json_object_foreach((json_t *)body, key, value)
    {
        if (json_is_string(json_object_get(value, "message")))
            return json_string_value(json_object_get(value, "message"));
        if (json_is_string(value))
            return json_string_value(value);
    }
    return NULL;
}

static bool
http_failed(long status, const char *method, const char *url, const GString *reply, GError **err)
{
    g_autoptr(json_t) body = json_loadb(reply->str, reply->len, 0, NULL);
    const char *message = body ? fault_message(body) : NULL;

    if (message)
        return err_set(err, status_code(status), "%s", message);
    return err_set(err, status_code(status), "%s %s was answered with HTTP status %ld", method, url,
                   status);
}

/* headers are taken. *status 0: no answer. */
static bool
exchange(Client *client, const char *method, const char *url, struct curl_slist *headers,
         const char *body, long *status, GError **err)
{
    CURL *curl = client->curl;
    const char *ca = client->config->values[CLOUD_CACERT];
    bool transfer = client->sink || client->source;

    curl_easy_reset(curl);
    client->error[0] = '\0';
    g_string_truncate(client->reply, 0);
    g_clear_pointer(&client->migration, g_free);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->error);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "godwit/" GODWIT_VERSION);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, client);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, client);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    if (ca)
        curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
    if (transfer) {
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, TRANSFER_IDLE_S);
    } else {
        curl_easy_setopt(curl, CURLOPT_TIMEOUT, CALL_TIMEOUT_S);
    }
    if (client->source) {
        struct stat file;

        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_upload);
        curl_easy_setopt(curl, CURLOPT_READDATA, client);
        if (fstat(fileno(client->source), &file) == 0 && S_ISREG(file.st_mode))
            curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)file.st_size);
    } else if (body) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
        curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, body);
    }

    CURLcode code = curl_easy_perform(curl);

    curl_slist_free_all(headers);
    *status = 0;
    if (code != CURLE_OK)
        return curl_failed(client, code, url, err);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    return true;
}

/* ---- token and catalog ------------------------------------------------------------------------
 */

static json_t *
named(const char *name, const char *id, const char *domain_name, const char *domain_id)
{
    json_t *object = json_object();

    if (id) {
        json_object_set_new(object, "id", json_string(id));
        return object;
    }
    json_object_set_new(object, "name", json_string(name));
    json_object_set_new(object, "domain",
                        domain_id     ? json_pack("{s:s}", "id", domain_id)
                        : domain_name ? json_pack("{s:s}", "name", domain_name)
                                      : json_pack("{s:s}", "id", "default"));
    return object;
}

static json_t *
auth_body(const CloudConfig *config)
{
    char *const *v = config->values;
    json_t *identity, *auth;

    if (v[CLOUD_PASSWORD]) {
        json_t *user = named(v[CLOUD_USERNAME], v[CLOUD_USER_ID], v[CLOUD_USER_DOMAIN_NAME],
                             v[CLOUD_USER_DOMAIN_ID]);

        json_object_set_new(user, "password", json_string(v[CLOUD_PASSWORD]));
        identity = json_pack("{s:[s],s:{s:o}}", "methods", "password", "password", "user", user);
    } else {
        identity = json_pack("{s:[s],s:{s:s}}", "methods", "token", "token", "id", v[CLOUD_TOKEN]);
    }
    auth = json_pack("{s:o}", "identity", identity);
    if (v[CLOUD_PROJECT_NAME] || v[CLOUD_PROJECT_ID])
        json_object_set_new(
            auth, "scope",
            json_pack("{s:o}", "project",
                      named(v[CLOUD_PROJECT_NAME], v[CLOUD_PROJECT_ID],
                            v[CLOUD_PROJECT_DOMAIN_NAME], v[CLOUD_PROJECT_DOMAIN_ID])));
    return json_pack("{s:o}", "auth", auth);
}

static char *
without_slash(const char *url)
{
    char *copy = g_strdup(url);

    for (size_t n = strlen(copy); n > 0 && copy[n - 1] == '/'; n--)
        copy[n - 1] = '\0';
    return copy;
}

static bool
client_login(Client *client, GError **err)
{
    g_autofree char *base = without_slash(client->config->values[CLOUD_AUTH_URL]);
    g_autofree char *url =
        g_strconcat(base, g_str_has_suffix(base, "/v3") ? "" : "/v3", "/auth/tokens", NULL);
    g_autoptr(json_t) body = auth_body(client->config);
    char *text = json_dumps(body, JSON_COMPACT);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    FILE *sink = g_steal_pointer(&client->sink), *source = g_steal_pointer(&client->source);
    long status;

    g_clear_pointer(&client->subject_token, g_free);
    headers = curl_slist_append(headers, "Expect:");

    bool ok = text && exchange(client, "POST", url, headers, text, &status, err);

    client->sink = sink;
    client->source = source;
    if (text) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
    if (!ok)
        return false;
    if (status == 401)
        return err_set(
            err, ERR_FORBIDDEN,
            "%s does not accept user name and password of \"%s\" (project \"%s\"): check "
            "OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME",
            url,
            client->config->values[CLOUD_USERNAME] ? client->config->values[CLOUD_USERNAME]
                                                   : "the token's owner",
            client->config->values[CLOUD_PROJECT_NAME] ? client->config->values[CLOUD_PROJECT_NAME]
                                                       : "none");
    if (status != 200 && status != 201)
        return http_failed(status, "POST", url, client->reply, err);

    g_autoptr(json_t) reply = json_loadb(client->reply->str, client->reply->len, 0, NULL);

    if (!client->subject_token || !reply)
        return err_set(err, ERR_BACKEND, "%s answered, but not like an identity service", url);
    g_free(client->token);
    client->token = g_steal_pointer(&client->subject_token);
    json_decref(client->catalog);
    client->catalog = json_incref(json_object_get(json_object_get(reply, "token"), "catalog"));
    return true;
}

static const char *
catalog_url(const Client *client, const char *type)
{
    const char *region = client->config->values[CLOUD_REGION_NAME];
    const char *interface = client->config->values[CLOUD_INTERFACE];
    json_t *service, *endpoint;
    size_t i, k;

    json_array_foreach(client->catalog, i, service)
    {
        if (!g_str_equal(json_text_at(service, "type"), type))
            continue;
        json_array_foreach(json_object_get(service, "endpoints"), k, endpoint)
        {
            if (g_str_equal(json_text_at(endpoint, "interface"),
                            interface ? interface : "public") &&
                (!region || g_str_equal(json_text_at(endpoint, "region"), region)))
                return json_text_at(endpoint, "url");
        }
    }
    return NULL;
}

/* The URL that a service's paths are appended to. */
static char *
service_url(Client *client, ClientService service, GError **err)
{
    static const struct {
        const char *type, *version;
    } services[] = {
        [SERVICE_COMPUTE] = {"compute", "/v2.1"},    [SERVICE_IMAGE] = {"image", "/v2"},
        [SERVICE_NETWORK] = {"network", "/v2.0"},    [SERVICE_VOLUME] = {"volumev3", "/v3"},
        [SERVICE_GODWIT] = {"godwit", "/godwit/v1"},
    };
    const char *url = catalog_url(client, services[service].type);

    if (!url && service == SERVICE_VOLUME) /* its newer name */
        url = catalog_url(client, "block-storage");
    if (!url && service == SERVICE_GODWIT) {
        /* Godwit's own API stands beside the compute API on the same port. */
        const char *compute = catalog_url(client, "compute");
        const char *path = compute ? strstr(compute, "://") : NULL;

        path = path ? strchr(path + 3, '/') : NULL;
        if (path)
            return g_strdup_printf("%.*s%s", (int)(path - compute), compute,
                                   services[service].version);
    }
    if (!url) {
        err_set(err, ERR_NOT_FOUND,
                "the catalog of %s has no %s endpoint%s%s: check OS_REGION_NAME "
                "and that the user has a project (OS_PROJECT_NAME)",
                client->config->values[CLOUD_AUTH_URL], services[service].type,
                client->config->values[CLOUD_REGION_NAME] ? " in region " : "",
                client->config->values[CLOUD_REGION_NAME]
                    ? client->config->values[CLOUD_REGION_NAME]
                    : "");
        return NULL;
    }

    g_autofree char *base = without_slash(url);
    bool has_version = g_str_has_suffix(base, services[service].version) ||
                       (service == SERVICE_COMPUTE && strstr(base, "/v2.1/")) ||
                       (service == SERVICE_VOLUME && strstr(base, "/v3/"));

    return g_strconcat(base, has_version ? "" : services[service].version, NULL);
}

/* ---- calls ------------------------------------------------------------------------------------
 */

static struct curl_slist *
call_headers(const Client *client, ClientService service, bool has_json)
{
    g_autofree char *token = g_strconcat("X-Auth-Token: ", client->token, NULL);
    struct curl_slist *headers = curl_slist_append(NULL, token);

    headers = curl_slist_append(headers, "Accept: application/json");
    if (service == SERVICE_COMPUTE)
        headers = curl_slist_append(headers, "OpenStack-API-Version: compute " MICROVERSION);
    if (service == SERVICE_VOLUME)
        headers = curl_slist_append(headers, "OpenStack-API-Version: volume " VOLUME_VERSION);
    if (client->source)
        headers = curl_slist_append(headers, "Content-Type: application/octet-stream");
    else if (has_json)
        headers = curl_slist_append(headers, "Content-Type: application/json");
    return headers;
}

static bool
client_exchange(Client *client, ClientService service, const char *method, const char *path,
                const char *body, GError **err)
{
    for (unsigned attempt = 0;; attempt++) {
        bool fresh = !client->token;
        long status;

        if (!client->token && !client_login(client, err))
            return false;

        g_autofree char *base = service_url(client, service, err);
        g_autofree char *url = base ? g_strconcat(base, path, NULL) : NULL;

        if (!url || !exchange(client, method, url, call_headers(client, service, body != NULL),
                              body, &status, err))
            return false;
        if (status < 300)
            return true;
        if (status != 401 || fresh || attempt > 0)
            return http_failed(status, method, url, client->reply, err);
        g_clear_pointer(&client->token, g_free);
        if (client->source)
            rewind(client->source);
    }
}

bool
client_call(Client *client, ClientService service, const char *method, const char *path,
            json_t *body, json_t **reply, GError **err)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    bool ok = client_exchange(client, service, method, path, text, err);

    free(text);
    if (reply)
        *reply = NULL;
    if (!ok || !reply || client->reply->len == 0)
        return ok;

    json_error_t error;

    *reply = json_loadb(client->reply->str, client->reply->len, JSON_DECODE_ANY, &error);
    return *reply ||
           err_set(err, ERR_BACKEND, "%s %s was answered with something that is not JSON: %s",
                   method, path, error.text);
}

bool
client_upload(Client *client, ClientService service, const char *path, const char *file,
              GError **err)
{
    FILE *source = fopen(file, "re");

    if (!source)
        return err_set(err, ERR_NOT_FOUND, "cannot read %s: %s", file, errno_text(errno));
    client->source = source;

    bool ok = client_exchange(client, service, "PUT", path, NULL, err);

    client->source = NULL;
    fclose(source);
    return ok;
}

bool
client_download(Client *client, ClientService service, const char *path, const char *file,
                GError **err)
{
    g_autofree char *part = g_strconcat(file, ".part-XXXXXX", NULL);
    int fd = mkostemp(part, O_CLOEXEC);
    FILE *sink = fd >= 0 ? fdopen(fd, "w") : NULL;

    if (!sink)
        return err_set(err, ERR_BACKEND, "cannot write %s: %s", part, errno_text(errno));
    client->sink = sink;

    bool ok = client_exchange(client, service, "GET", path, NULL, err);
    mode_t mask = umask(0);

    umask(mask);
    client->sink = NULL;
    if (ok && (fchmod(fd, 0666 & ~mask) < 0 || fflush(sink) != 0 || fsync(fd) < 0 ||
               rename(part, file) < 0))
        ok = err_set(err, ERR_BACKEND, "cannot write %s: %s", file, errno_text(errno));
    fclose(sink);
    if (!ok)
        unlink(part);
    return ok;
}

const char *
client_last_migration(const Client *client)
{
    return client->migration;
}

const char *
client_auth_url(const Client *client)
{
    return client->config->values[CLOUD_AUTH_URL];
}

char *
client_escape(const char *text)
{
    return g_uri_escape_string(text, NULL, false);
}

Client *
client_new(CloudConfig *config)
{
    Client *client = g_new0(Client, 1);

    curl_global_init(CURL_GLOBAL_DEFAULT);
    client->curl = curl_easy_init();
    if (!client->curl)
        g_error("libcurl cannot be initialised");
    client->config = config;
    client->reply = g_string_new(NULL);
    return client;
}

void
client_free(Client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->curl);
    cloud_config_free(client->config);
    json_decref(client->catalog);
    g_string_free(client->reply, TRUE);
    g_free(client->subject_token);
    g_free(client->migration);
    g_free(client->token);
    g_free(client);
}
