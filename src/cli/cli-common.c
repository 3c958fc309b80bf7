/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-common.c: what most commands do: look up by name or id, print, delete */
#include "cli/cli.h"

#include <string.h>

#define PAGE 1000

const Noun noun_server = {"server",  SERVICE_COMPUTE, "/servers/detail",
                          "servers", "/servers",      "server"};
const Noun noun_image = {"image", SERVICE_IMAGE, "/images", "images", "/images", NULL};
const Noun noun_flavor = {"flavor",  SERVICE_COMPUTE, "/flavors/detail",
                          "flavors", "/flavors",      "flavor"};
const Noun noun_network = {"network",  SERVICE_NETWORK, "/networks",
                           "networks", "/networks",     "network"};
const Noun noun_volume = {"volume",  SERVICE_VOLUME, "/volumes/detail",
                          "volumes", "/volumes",     "volume"};
const Noun noun_snapshot = {"snapshot",  SERVICE_VOLUME, "/snapshots/detail",
                            "snapshots", "/snapshots",   "snapshot"};
const Noun noun_subnet = {"subnet", SERVICE_NETWORK, "/subnets", "subnets", "/subnets", "subnet"};

void
cli_print_object(Cli *cli, const json_t *object)
{
    if (cli->json) {
        json_dumpf(object, cli->out, JSON_INDENT(2) | JSON_ENCODE_ANY);
        fputc('\n', cli->out);
    } else {
        g_autofree char *text = fields_format(object);
        fputs(text, cli->out);
    }
}

void
cli_print_list(Cli *cli, const json_t *rows, const Column *columns)
{
    if (cli->json) {
        json_dumpf(rows, cli->out, JSON_INDENT(2));
        fputc('\n', cli->out);
    } else {
        g_autofree char *text = table_format(rows, columns);
        fputs(text, cli->out);
    }
}

void
cli_say(Cli *cli, const char *format, ...)
{
    va_list arguments;

    if (cli->json)
        return;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *clean = cli_text_clean(text);

    fprintf(cli->out, "%s\n", clean);
}

static json_t *
take_member(json_t *reply, const char *path, const char *key, GError **err)
{
    json_t *member = key ? json_object_get(reply, key) : reply;

    if (!member) {
        err_set(err, ERR_BACKEND, "the answer to %s has no \"%s\"", path, key ? key : "body");
        return NULL;
    }
    return json_incref(member);
}

json_t *
cli_get(Cli *cli, ClientService service, const char *path, const char *key, GError **err)
{
    g_autoptr(json_t) reply = NULL;

    if (!client_call(cli->client, service, "GET", path, NULL, &reply, err))
        return NULL;
    return take_member(reply, path, key, err);
}

bool
cli_post(Cli *cli, ClientService service, const char *path, json_t *body, const char *key,
         json_t **object, GError **err)
{
    g_autoptr(json_t) reply = NULL;

    if (!client_call(cli->client, service, "POST", path, body, &reply, err))
        return false;
    *object = take_member(reply, path, key, err);
    return *object != NULL;
}

static bool
is_named(const json_t *object, const char *name_or_id)
{
    return g_str_equal(json_text_at(object, "id"), name_or_id) ||
           g_str_equal(json_text_at(object, "name"), name_or_id);
}

/* The one object of rows with that name; NULL with *err if there is none, or more than one. */
static json_t *
pick(const Noun *noun, const json_t *rows, const char *name, GError **err)
{
    json_t *found = NULL, *row;
    g_autoptr(GString) ids = g_string_new(NULL);
    unsigned n = 0;
    size_t i;

    json_array_foreach((json_t *)rows, i, row)
    {
        if (!is_named(row, name))
            continue;
        g_string_append_printf(ids, "%s%s", n ? ", " : "", json_text_at(row, "id"));
        found = row;
        n++;
    }
    if (n == 1)
        return json_incref(found);
    if (n == 0)
        err_set(err, ERR_NOT_FOUND, "there is no %s \"%s\": see godwit %s list", noun->name, name,
                noun->name);
    else
        err_set(err, ERR_CONFLICT, "%u %ss have the name \"%s\": use one of the ids %s", n,
                noun->name, name, ids->str);
    return NULL;
}

json_t *
cli_find(Cli *cli, const Noun *noun, const char *name_or_id, GError **err)
{
    g_autofree char *escaped = client_escape(name_or_id);

    if (!*name_or_id) {
        usage_error(err, "the name of a %s is empty", noun->name);
        return NULL;
    }
    if (uuid_is_valid(name_or_id)) {
        g_autofree char *path = g_strconcat(noun->show, "/", escaped, NULL);
        g_autoptr(GError) error = NULL;
        json_t *object = cli_get(cli, noun->service, path, noun->show_key, &error);

        if (object || !err_is(error, ERR_NOT_FOUND)) {
            if (!object)
                g_propagate_error(err, g_steal_pointer(&error));
            return object;
        }
    }

    g_autofree char *path = NULL;

    /* Compute takes a name as a regular expression, and flavors have no such filter at all. */
    if (noun == &noun_server) {
        g_autofree char *pattern = g_regex_escape_string(name_or_id, -1);
        g_autofree char *exact = g_strconcat("^", pattern, "$", NULL);
        g_autofree char *query = client_escape(exact);
        path = g_strconcat(noun->list, "?name=", query, NULL);
    } else if (noun == &noun_flavor) {
        path = g_strconcat(noun->list, "?is_public=None", NULL);
    } else {
        path = g_strconcat(noun->list, "?name=", escaped, NULL);
    }

    g_autoptr(json_t) rows = cli_get(cli, noun->service, path, noun->list_key, err);

    return rows ? pick(noun, rows, name_or_id, err) : NULL;
}

char *
cli_find_path(Cli *cli, const Noun *noun, const char *name_or_id, GError **err)
{
    g_autoptr(json_t) object = cli_find(cli, noun, name_or_id, err);
    g_autofree char *id = object ? client_escape(json_text_at(object, "id")) : NULL;

    return id ? g_strconcat(noun->show, "/", id, NULL) : NULL;
}

bool
cli_delete_all(Cli *cli, const Noun *noun, GError **err)
{
    for (unsigned i = 0; args_word(cli->args, i); i++) {
        const char *name = args_word(cli->args, i);
        g_autofree char *path = cli_find_path(cli, noun, name, err);

        if (!path || !client_call(cli->client, noun->service, "DELETE", path, NULL, NULL, err)) {
            g_prefix_error(err, "cannot delete %s %s: ", noun->name, name);
            return false;
        }
        cli_say(cli, "%s %s deleted", noun->name, name);
    }
    return true;
}

json_t *
cli_get_all(Cli *cli, const Noun *noun, const char *path, GError **err)
{
    g_autoptr(json_t) all = json_array();
    g_autofree char *marker = NULL;

    for (;;) {
        g_autofree char *page =
            g_strdup_printf("%s%climit=%d%s%s", path, strchr(path, '?') ? '&' : '?', PAGE,
                            marker ? "&marker=" : "", marker ? marker : "");
        g_autoptr(json_t) rows = cli_get(cli, noun->service, page, noun->list_key, err);

        if (!rows)
            return NULL;
        json_array_extend(all, rows);
        if (json_array_size(rows) < PAGE)
            return g_steal_pointer(&all);
        g_free(marker);
        marker = g_strdup(json_text_at(json_array_get(rows, json_array_size(rows) - 1), "id"));
    }
}

json_t *
cli_properties(Cli *cli, GError **err)
{
    const GPtrArray *pairs = args_list(cli->args, "property");
    g_autoptr(json_t) metadata = json_object();

    for (unsigned i = 0; pairs && i < pairs->len; i++) {
        const char *pair = pairs->pdata[i];
        const char *equals = strchr(pair, '=');
        g_autofree char *key = equals ? g_strndup(pair, (size_t)(equals - pair)) : NULL;

        if (!key || !*key || json_object_set_new(metadata, key, json_string(equals + 1)) < 0) {
            usage_error(err, "--property wants KEY=VALUE, not \"%s\"", pair);
            return NULL;
        }
    }
    return g_steal_pointer(&metadata);
}
