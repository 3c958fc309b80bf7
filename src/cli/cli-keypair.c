/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-keypair.c: godwit keypair */
#include "cli/cli.h"

#define KEY_MAX 16384

static char *
keypair_path(const char *name)
{
    g_autofree char *escaped = client_escape(name);

    return g_strconcat("/os-keypairs/", escaped, NULL);
}

static bool
keypair_create(Cli *cli, GError **err)
{
    const char *file = args_text(cli->args, "public-key");
    g_autofree char *key = NULL;
    g_autoptr(json_t) keypair = NULL;

    if (!file_read_bounded(file, KEY_MAX, &key, NULL, err))
        return false;

    g_autoptr(json_t) body =
        json_pack("{s:{s:s,s:s,s:s}}", "keypair", "name", args_word(cli->args, 0), "type", "ssh",
                  "public_key", g_strstrip(key));

    if (!body)
        return err_set(err, ERR_INVALID, "%s is not a public key in OpenSSH's format", file);
    if (!cli_post(cli, SERVICE_COMPUTE, "/os-keypairs", body, "keypair", &keypair, err))
        return false;
    if (cli->json)
        cli_print_object(cli, keypair);
    cli_say(cli, "keypair %s created: %s", json_text_at(keypair, "name"),
            json_text_at(keypair, "fingerprint"));
    return true;
}

static bool
keypair_list(Cli *cli, GError **err)
{
    static const Column columns[] = {
        {"name", "name"}, {"type", "type"}, {"fingerprint", "fingerprint"}, {0}};
    g_autoptr(json_t) wrapped = cli_get(cli, SERVICE_COMPUTE, "/os-keypairs", "keypairs", err);
    g_autoptr(json_t) rows = json_array();
    json_t *item;
    size_t i;

    if (!wrapped)
        return false;
    json_array_foreach(wrapped, i, item) json_array_append(rows, json_object_get(item, "keypair"));
    cli_print_list(cli, rows, columns);
    return true;
}

static bool
keypair_show(Cli *cli, GError **err)
{
    g_autofree char *path = keypair_path(args_word(cli->args, 0));
    g_autoptr(json_t) keypair = cli_get(cli, SERVICE_COMPUTE, path, "keypair", err);

    if (keypair)
        cli_print_object(cli, keypair);
    return keypair != NULL;
}

static bool
keypair_delete(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    g_autofree char *path = keypair_path(name);

    if (!client_call(cli->client, SERVICE_COMPUTE, "DELETE", path, NULL, NULL, err))
        return false;
    cli_say(cli, "keypair %s deleted", name);
    return true;
}

static const CliOption create_options[] = {
    {"public-key", CLI_TEXT, "FILE", "public key, e.g. ~/.ssh/id_ed25519.pub", true}, {0}};

const CliCommand keypair_commands[] = {
    {"keypair create", "NAME", 1, 1, create_options, keypair_create, "register a public ssh key"},
    {"keypair list", "", 0, 0, NULL, keypair_list, "list the keys"},
    {"keypair show", "NAME", 1, 1, NULL, keypair_show, "show a key"},
    {"keypair delete", "NAME", 1, 1, NULL, keypair_delete, "delete a key"},
    {0},
};
