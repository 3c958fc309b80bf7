/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-create.c: making servers
 *
 * Everything that can be known to be wrong is refused before anything is written: the form of the
 * body by its table, the flavor, image, volumes, key pair, host and networks in the transaction.
 * That one transaction then holds the servers, their ports, volumes and tasks, so that a request is
 * accepted whole or leaves nothing behind. */
#include <string.h>

#include "api/compute-priv.h"

#define GIB (INT64_C(1024) * 1024 * 1024)

/* ---- what a body may hold -----------------------------------------------------------------------
 */

static const char *const disk_config_words[] = {"AUTO", "MANUAL", NULL};

static const BodyMember network_members[] = {
    {.key = "uuid", .type = BODY_UUID},
    {.key = "port", .type = BODY_UUID_OR_NULL},
    {.key = "fixed_ip", .type = BODY_IP},
    {.key = "tag", .type = BODY_TAG, .since = 32, .until = 36},
    {.key = "tag", .type = BODY_TAG, .since = 42},
    {0},
};
static const BodyMember network_item[] = {
    {.key = "network", .type = BODY_OBJECT, .members = network_members}, {0}};

static const BodyMember group_members[] = {{.key = "name", .type = BODY_NAME}, {0}};
static const BodyMember group_item[] = {
    {.key = "group", .type = BODY_OBJECT, .members = group_members}, {0}};

static const BodyMember disk_item[] = {
    {.key = "disk", .type = BODY_OBJECT, .members = create_disk_members}, {0}};
static const BodyMember legacy_disk_item[] = {
    {.key = "disk", .type = BODY_OBJECT, .members = create_legacy_disk_members}, {0}};
static const BodyMember any_item[] = {{.key = "item", .type = BODY_OPEN_OBJECT}, {0}};
static const BodyMember tag_item[] = {{.key = "tag", .type = BODY_TAG}, {0}};

static const BodyMember server_members[] = {
    {.key = "name", .type = BODY_NAME, .required = true},
    {.key = "flavorRef", .type = BODY_REF, .required = true},
    {.key = "imageRef", .type = BODY_UUID_OR_EMPTY},
    {.key = "adminPass", .type = BODY_TEXT},
    {.key = "metadata", .type = BODY_METADATA},
    {.key = "networks",
     .type = BODY_ARRAY,
     .until = 36,
     .most = COMPUTE_NETWORKS_MAX,
     .members = network_item},
    {.key = "networks",
     .type = BODY_NETWORKS,
     .required = true,
     .since = 37,
     .most = COMPUTE_NETWORKS_MAX,
     .members = network_item},
    {.key = "OS-DCF:diskConfig", .type = BODY_WORD, .words = disk_config_words},
    {.key = "accessIPv4", .type = BODY_IPV4},
    {.key = "accessIPv6", .type = BODY_IPV6},
    {.key = "personality", .type = BODY_ARRAY, .until = 56, .members = any_item},
    {.key = "availability_zone", .type = BODY_NAME},
    {.key = "block_device_mapping",
     .type = BODY_ARRAY,
     .most = COMPUTE_DISKS_MAX,
     .members = legacy_disk_item},
    {.key = "block_device_mapping_v2",
     .type = BODY_ARRAY,
     .most = COMPUTE_DISKS_MAX,
     .members = disk_item},
    {.key = "config_drive", .type = BODY_BOOL},
    {.key = "key_name", .type = BODY_NAME},
    {.key = "min_count", .type = BODY_INT, .least = 1, .most = BODY_INT_MAX},
    {.key = "max_count", .type = BODY_INT, .least = 1, .most = BODY_INT_MAX},
    {.key = "return_reservation_id", .type = BODY_BOOL},
    {.key = "security_groups", .type = BODY_ARRAY, .most = 64, .members = group_item},
    {.key = "user_data", .type = BODY_TEXT, .most = COMPUTE_USER_DATA_MAX},
    {.key = "description", .type = BODY_CLEAN_OR_NULL, .since = 19, .most = 255},
    {.key = "tags", .type = BODY_ARRAY, .since = 52, .most = COMPUTE_TAGS_MAX, .members = tag_item},
    {.key = "trusted_image_certificates", .type = BODY_ANY, .since = 63},
    {.key = "host", .type = BODY_HOST, .since = 74},
    {.key = "hypervisor_hostname", .type = BODY_HOST, .since = 74},
    {.key = "hostname", .type = BODY_HOSTNAME, .since = 90, .until = 93},
    {.key = "hostname", .type = BODY_FQDN, .since = 94},
    {0},
};

static const BodyMember create_body[] = {
    {.key = "server", .type = BODY_OBJECT, .required = true, .members = server_members},
    {.key = "os:scheduler_hints", .type = BODY_OPEN_OBJECT},
    {.key = "OS-SCH-HNT:scheduler_hints", .type = BODY_OPEN_OBJECT},
    {0},
};

/* ---- the request --------------------------------------------------------------------------------
 */

typedef struct CreateRequest {
    const json_t *wanted;
    int64_t count;
    char *host; /* named by an administrator; NULL: any */
    char *flavor_ref;
    CreateDisks disks;
    char *reservation_id;
    char *security_groups; /* JSON array of names, sorted out */
    char *tags;            /* JSON array without repetitions */
    /* read in the transaction */
    Flavor *flavor;
    Image *image;        /* of its own disk; NULL: it boots from a volume */
    GPtrArray *networks; /* Network *, one per card; NULL where a port is given */
    char *first_id;
} CreateRequest;

static void
create_request_clear(CreateRequest *create)
{
    g_free(create->host);
    g_free(create->flavor_ref);
    g_free(create->reservation_id);
    g_free(create->security_groups);
    g_free(create->tags);
    g_free(create->first_id);
    create_disks_clear(&create->disks);
    g_clear_pointer(&create->flavor, flavor_free);
    g_clear_pointer(&create->image, image_free);
    g_clear_pointer(&create->networks, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CreateRequest, create_request_clear)

static bool
text_is_base64(const char *text)
{
    size_t digits = 0, pads = 0;

    for (const char *c = text; *c; c++) {
        if (*c == '\n' || *c == '\r')
            continue;
        if (*c == '=')
            pads++;
        else if (pads > 0 || !(g_ascii_isalnum(*c) || *c == '+' || *c == '/'))
            return false;
        else
            digits++;
    }
    return pads <= 2 && (digits + pads) % 4 == 0;
}

/* "ZONE", "ZONE:HOST" or "ZONE:HOST:NODE"; the one zone is "nova". */
static bool
create_read_zone(ApiCall *call, CreateRequest *create)
{
    const char *zone = body_text(create->wanted, "availability_zone");
    const char *host = body_text(create->wanted, "host");
    const char *node = body_text(create->wanted, "hypervisor_hostname");
    g_auto(GStrv) parts = g_strsplit(zone ? zone : "", ":", 4);
    guint n = g_strv_length(parts);

    if (n > 3) {
        api_fault(call, 400, "Unable to parse availability_zone '%s': give ZONE or ZONE:HOST.",
                  zone);
        return false;
    }
    if (n > 0 && *parts[0] && strcmp(parts[0], "nova") != 0) {
        api_fault(call, 400,
                  "The requested availability zone '%s' is not available: this cloud has the one "
                  "zone 'nova'.",
                  parts[0]);
        return false;
    }
    const char *forced = n > 1 && *parts[1] ? parts[1] : n > 2 && *parts[2] ? parts[2] : NULL;
    if (forced && (host || node)) {
        api_fault(call, 400,
                  "One mechanism with host and/or hypervisor_hostname and another mechanism with "
                  "zone:host:node are mutually exclusive.");
        return false;
    }
    if ((n > 2 && *parts[1] && *parts[2] && strcmp(parts[1], parts[2]) != 0) ||
        (host && node && strcmp(host, node) != 0)) {
        api_fault(call, 400, "Compute host %s could not be found: it has no node of another name.",
                  host ? host : parts[1]);
        return false;
    }
    create->host = g_strdup(forced ? forced : host ? host : node);
    if (create->host && !call->caller->is_admin) {
        api_fault(call, 403,
                  "Policy doesn't allow os_compute_api:servers:create:forced_host to be "
                  "performed: only administrators choose the host.");
        return false;
    }
    return true;
}

static bool
create_read_disks(ApiCall *call, CreateRequest *create)
{
    GError *error = NULL;

    if (create_disks_read(create->wanted, create->count, &create->disks, &error))
        return true;
    api_fail(call, error);
    return false;
}

static bool
create_read_count(ApiCall *call, CreateRequest *create)
{
    int64_t min = body_int(create->wanted, "min_count", 1);
    int64_t max = body_int(create->wanted, "max_count", min);

    if (min > max) {
        api_fault(call, 400, "min_count must be <= max_count");
        return false;
    }
    if (min > COMPUTE_CREATE_COUNT_MAX) {
        api_fault(call, 403,
                  "Quota exceeded for instances: requested %" PRId64 ", but one request makes at "
                  "most %d.",
                  min, COMPUTE_CREATE_COUNT_MAX);
        return false;
    }
    create->count = MIN(max, COMPUTE_CREATE_COUNT_MAX);
    return true;
}

/* [{"name": X}, …] → ["X", …]; tags lose what is there twice. */
static char *
create_names(const json_t *list, const char *member, const char *fallback)
{
    json_t *names = json_array();
    const json_t *item;
    size_t i, j;

    json_array_foreach((json_t *)list, i, item)
    {
        const char *name = member ? body_text(item, member) : json_string_value(item);
        bool seen = !name;
        const json_t *before;

        json_array_foreach(names, j, before) seen =
            seen || strcmp(json_string_value(before), name) == 0;
        if (!seen)
            json_array_append_new(names, json_string(name));
    }
    if (json_array_size(names) == 0 && fallback)
        json_array_append_new(names, json_string(fallback));
    char *text = json_to_text(names);
    json_decref(names);
    return text;
}

static bool
create_read_networks(ApiCall *call, CreateRequest *create)
{
    const json_t *networks = json_object_get(create->wanted, "networks");
    const json_t *item, *other;
    size_t i, j;

    if (!json_is_array(networks))
        return true;
    json_array_foreach((json_t *)networks, i, item)
    {
        const char *port = body_text(item, "port"), *fixed_ip = body_text(item, "fixed_ip");

        if (!port && !body_text(item, "uuid")) {
            api_fault(call, 400, "Bad network format: missing uuid in networks[%zu].", i);
            return false;
        }
        if (port && fixed_ip) {
            api_fault(call, 400,
                      "Specified Fixed IP '%s' cannot be used with port '%s': the two cannot be "
                      "specified together.",
                      fixed_ip, port);
            return false;
        }
        if ((port || fixed_ip) && create->count > 1) {
            api_fault(call, 400,
                      "Invalid input received: one port or fixed IP cannot be given to %" PRId64
                      " servers; leave it out or ask for one server.",
                      create->count);
            return false;
        }
        json_array_foreach((json_t *)networks, j, other)
        {
            if (j < i && port && g_strcmp0(body_text(other, "port"), port) == 0) {
                api_fault(call, 400,
                          "Port ID '%s' was specified twice: you cannot attach a port multiple "
                          "times.",
                          port);
                return false;
            }
        }
    }
    return true;
}

static bool
create_read(ApiCall *call, CreateRequest *create)
{
    const char *user_data;
    char *slash;

    create->wanted = json_object_get(call->body, "server");
    if (!create_read_count(call, create) || !create_read_zone(call, create) ||
        !create_read_disks(call, create) || !create_read_networks(call, create))
        return false;
    create->flavor_ref = body_ref(create->wanted, "flavorRef");
    slash = strrchr(create->flavor_ref, '/'); /* a link to the flavor will do as well */
    if (slash)
        memmove(create->flavor_ref, slash + 1, strlen(slash));
    user_data = body_text(create->wanted, "user_data");
    if (user_data && !text_is_base64(user_data)) {
        api_fault(call, 400, "Invalid input for field/attribute server.user_data: is not base64.");
        return false;
    }
    if (json_array_size(json_object_get(create->wanted, "personality")) > 0) {
        api_fault(call, 400,
                  "Files cannot be injected: personality is not offered by this cloud, "
                  "use user_data.");
        return false;
    }
    if (json_array_size(json_object_get(create->wanted, "trusted_image_certificates")) > 0) {
        api_fault(call, 400,
                  "Image signatures are not checked by this cloud: leave "
                  "trusted_image_certificates out.");
        return false;
    }
    if (json_object_size(json_object_get(create->wanted, "metadata")) > COMPUTE_METADATA_MAX) {
        api_fault(call, 403, "Maximum number of metadata items exceeds %d", COMPUTE_METADATA_MAX);
        return false;
    }
    if (body_text(create->wanted, "hostname") && create->count > 1) {
        api_fault(call, 400, "One hostname cannot be given to several servers.");
        return false;
    }
    g_autofree char *token = random_token(6);
    g_autofree char *low = g_ascii_strdown(token, -1);
    g_strcanon(low, "abcdefghijklmnopqrstuvwxyz0123456789", 'x');
    create->reservation_id = g_strdup_printf("r-%s", low);
    create->security_groups =
        create_names(json_object_get(create->wanted, "security_groups"), "name", "default");
    create->tags = create_names(json_object_get(create->wanted, "tags"), NULL, NULL);
    return true;
}

/* ---- inside the transaction ---------------------------------------------------------------------
 */

static bool
create_check_size(const Image *image, const Flavor *flavor, GError **err)
{
    if (flavor->disk_gb == 0) /* the disk takes the image's own size */
        return true;
    if (flavor->disk_gb < image->min_disk_gb)
        return err_set(err, ERR_INVALID,
                       "Flavor's disk is too small for requested image: flavor %s has %" PRId64
                       " GB, image %s asks for at least %" PRId64 " GB.",
                       flavor->name, flavor->disk_gb, image->id, image->min_disk_gb);
    if (image->virtual_size > flavor->disk_gb * GIB)
        return err_set(err, ERR_INVALID,
                       "Flavor's disk is too small for requested image. Flavor disk is %" PRId64
                       " bytes, image is %" PRId64 " bytes.",
                       flavor->disk_gb * GIB, image->virtual_size);
    return true;
}

static bool
create_find_parts(StoreTx *tx, ApiCall *call, CreateRequest *create, GError **err)
{
    const char *key_name = body_text(create->wanted, "key_name");
    GError *error = NULL;

    create->flavor = store_get(tx, &FLAVOR, create->flavor_ref, &error);
    if (!create->flavor)
        return create_reference_fail(error, err, "Flavor %s could not be found.",
                                     create->flavor_ref);
    if (!create->flavor->is_public && !call->caller->is_admin)
        return err_set(err, ERR_INVALID, "Flavor %s could not be found.", create->flavor_ref);
    if (*create->disks.image_ref) {
        create->image = create_image_get(tx, call, create->disks.image_ref, create->flavor, err);
        if (!create->image || !create_check_size(create->image, create->flavor, err))
            return false;
    }
    if (!create_disks_find(tx, call, create->flavor, create->count, &create->disks, err))
        return false;
    if (key_name) {
        g_autofree char *id = g_strdup_printf("%s:%s", call->caller->user_id, key_name);
        g_autoptr(Keypair) keypair = store_get(tx, &KEYPAIR, id, &error);
        if (!keypair)
            return create_reference_fail(
                error, err, "Invalid key_name provided: you have no key pair '%s'.", key_name);
    }
    if (create->host) {
        g_autoptr(Host) host = host_find(tx, create->host, err);
        if (!host)
            return *err ? false
                        : err_set(err, ERR_INVALID, "Compute host %s could not be found.",
                                  create->host);
    }
    return true;
}

static bool
create_find_networks(StoreTx *tx, ApiCall *call, CreateRequest *create, GError **err)
{
    const json_t *networks = json_object_get(create->wanted, "networks");
    const char *word = json_string_value(networks);
    const json_t *item;
    size_t i;
    GError *error = NULL;

    create->networks = g_ptr_array_new_with_free_func((GDestroyNotify)network_free);
    if (word && strcmp(word, "none") == 0)
        return true;
    json_array_foreach((json_t *)networks, i, item)
    {
        const char *id = body_text(item, "uuid");
        Network *network = NULL;

        if (!body_text(item, "port")) {
            network = api_network_get(tx, call, id, &error);
            if (!network)
                return create_reference_fail(error, err, "Network %s could not be found.", id);
        }
        g_ptr_array_add(create->networks, network);
    }
    if (json_array_size(networks) > 0)
        return true;
    /* "auto", or nothing said: the only network there is */
    g_clear_pointer(&create->networks, g_ptr_array_unref);
    create->networks = api_network_list_usable(tx, call->caller->project_id, err);
    if (!create->networks)
        return false;
    if (create->networks->len > 1)
        return err_set(err, ERR_CONFLICT,
                       "Multiple possible networks found, use a Network ID to be more specific.");
    return true;
}

static bool
port_take(StoreTx *tx, ApiCall *call, const char *port_id, const Server *server, int64_t position,
          GError **err)
{
    GError *error = NULL;
    g_autoptr(Port) port = store_get(tx, &PORT, port_id, &error);

    if (!port)
        return create_reference_fail(error, err, "Port %s could not be found.", port_id);
    if (!caller_may_see(call->caller, port->project_id))
        return err_set(err, ERR_INVALID, "Port %s could not be found.", port_id);
    if (port->device_id && *port->device_id)
        return err_set(err, ERR_CONFLICT, "Port %s is still in use by %s.", port_id,
                       port->device_id);
    text_set(&port->device_id, server->id);
    text_set(&port->device_owner, "compute:nova");
    port->position = position;
    port->auto_delete = false;
    port->updated_at = clock_realtime();
    return store_update(tx, &PORT, port, err);
}

static bool
create_ports(StoreTx *tx, ApiCall *call, const CreateRequest *create, const Server *server,
             GError **err)
{
    const json_t *networks = json_object_get(create->wanted, "networks");

    for (guint i = 0; i < create->networks->len; i++) {
        const json_t *item = json_array_get(networks, i);
        const Network *network = create->networks->pdata[i];
        PortRequest request = {.project_id = server->project_id,
                               .fixed_ip = body_text(item, "fixed_ip"),
                               .device_id = server->id,
                               .device_owner = "compute:nova",
                               .position = i,
                               .auto_delete = true};
        g_autoptr(Port) port = NULL;
        GError *error = NULL;

        if (!network) {
            if (!port_take(tx, call, body_text(item, "port"), server, i, err))
                return false;
            continue;
        }
        if (!api_port_create(tx, network, &request, &port, &error)) {
            bool asked = request.fixed_ip && err_is(error, ERR_CONFLICT);
            if (!asked) {
                g_propagate_error(err, error);
                return false;
            }
            /* Nova calls an address that is taken a bad request, not a conflict. */
            err_set(err, ERR_INVALID, "%s", error->message);
            g_clear_error(&error);
            return false;
        }
    }
    return true;
}

/* A label that DNS takes: lower case, '-' for blanks and underscores, nothing else. */
static char *
hostname_from_name(const char *name, const char *id)
{
    g_autoptr(GString) label = g_string_new(NULL);

    for (const char *c = name; *c && label->len < 63; c++) {
        if (g_ascii_isalnum(*c))
            g_string_append_c(label, g_ascii_tolower(*c));
        else if ((*c == ' ' || *c == '_' || *c == '-' || *c == '.') && label->len > 0)
            g_string_append_c(label, '-');
    }
    while (label->len > 0 && label->str[label->len - 1] == '-')
        g_string_truncate(label, label->len - 1);
    return label->len > 0 ? g_strdup(label->str) : g_strdup_printf("server-%s", id);
}

static Server *
server_from_request(ApiCall *call, const CreateRequest *create, int64_t index, int64_t now)
{
    const json_t *wanted = create->wanted;
    const Flavor *flavor = create->flavor;
    const json_t *metadata = json_object_get(wanted, "metadata");
    const char *name = body_text(wanted, "name");
    Server *server = record_new(&SERVER);

    server->id = uuid_new();
    server->name =
        create->count > 1 ? g_strdup_printf("%s-%" PRId64, name, index + 1) : g_strdup(name);
    server->hostname = body_text(wanted, "hostname") ? g_strdup(body_text(wanted, "hostname"))
                                                     : hostname_from_name(server->name, server->id);
    /* Before there was a description, the name stood for it. */
    server->description = g_strdup(
        api_microversion_at_least(call, 19) ? body_text(wanted, "description") : server->name);
    server->project_id = g_strdup(call->caller->project_id);
    server->user_id = g_strdup(call->caller->user_id);
    server->vm_state = VM_BUILDING;
    server->task_state = TASK_NONE;
    server->power_state = POWER_UNKNOWN;
    if (body_text(wanted, "availability_zone"))
        server->availability_zone = g_strdup("nova");
    server->flavor_id = g_strdup(flavor->id);
    server->flavor_name = g_strdup(flavor->name);
    server->vcpus = flavor->vcpus;
    server->ram_mb = flavor->ram_mb;
    server->disk_gb = flavor->disk_gb;
    server->ephemeral_gb = flavor->ephemeral_gb;
    server->swap_mb = flavor->swap_mb;
    server->extra_specs = g_strdup(flavor->extra_specs ? flavor->extra_specs : "{}");
    server->image_id = g_strdup(create->disks.image_ref);
    server->key_name = g_strdup(body_text(wanted, "key_name"));
    server->user_data = g_strdup(body_text(wanted, "user_data"));
    server->config_drive = body_bool(wanted, "config_drive", false);
    server->metadata = metadata ? json_to_text(metadata) : g_strdup("{}");
    server->tags = g_strdup(create->tags);
    server->security_groups = g_strdup(create->security_groups);
    server->reservation_id = g_strdup(create->reservation_id);
    server->launch_index = index;
    server->console_parts = g_strdup("[]");
    server->created_at = now + index; /* distinct: lists are ordered by it */
    server->updated_at = now + index;
    return server;
}

static bool
create_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    CreateRequest *create = opaque;
    TaskRequest request = compute_task_request(call);
    int64_t now = clock_realtime();

    if (!create_find_parts(tx, call, create, err) || !create_find_networks(tx, call, create, err))
        return false;
    request.host = create->host;
    for (int64_t i = 0; i < create->count; i++) {
        g_autoptr(Server) server = server_from_request(call, create, i, now);
        int64_t task_id;

        if (!store_next_number(tx, "server", &server->number, err) ||
            !store_insert(tx, &SERVER, server, err) ||
            !create_ports(tx, call, create, server, err) ||
            !create_disks_reserve(tx, server, &create->disks, err) ||
            !task_submit(tx, "create", server, call->caller->is_admin, &request, &task_id, err))
            return false;
        if (i == 0)
            create->first_id = g_strdup(server->id);
    }
    return true;
}

void
compute_server_create(ApiCall *call)
{
    g_auto(CreateRequest) create = {0};

    if (!body_accept(call, create_body) || !create_read(call, &create) ||
        !api_write(call, create_run, &create))
        return;
    api_wake(call);
    if (body_bool(create.wanted, "return_reservation_id", false)) {
        api_reply(call, 202, json_pack("{s:s}", "reservation_id", create.reservation_id));
        return;
    }
    const json_t *groups = json_object_get(create.wanted, "security_groups");
    const char *given = body_text(create.wanted, "adminPass");
    g_autofree char *password = given ? g_strdup(given) : random_token(9);
    g_autofree char *url = api_url(call->api, "/compute/v2.1/servers/%s", create.first_id);
    api_header(call, "Location", url);
    api_reply(call, 202,
              json_pack("{s:{s:s,s:o,s:s,s:s,s:o}}", "server", "id", create.first_id, "links",
                        view_links(call, "servers", create.first_id), "adminPass", password,
                        "OS-DCF:diskConfig", "MANUAL", "security_groups",
                        groups ? json_deep_copy(groups) : json_pack("[{s:s}]", "name", "default")));
}
