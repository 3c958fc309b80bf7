/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli-image.c: godwit image */
#include "cli/cli.h"

#include <string.h>
#include <sys/stat.h>

static const Column columns[] = {
    {"id", "id"},
    {"name", "name"},
    {"status", "status"},
    {"format", "disk_format"},
    {"size", "size", CELL_BYTES},
    {"visibility", "visibility"},
    {0},
};

/* qcow2 files say so in their first four bytes; anything else is taken as it is. */
static const char *
file_format(const char *file)
{
    FILE *stream = fopen(file, "re");
    char magic[4] = "";
    size_t n = stream ? fread(magic, 1, sizeof(magic), stream) : 0;

    if (stream)
        fclose(stream);
    return n == 4 && memcmp(magic, "QFI\xfb", 4) == 0 ? "qcow2" : "raw";
}

/* The image service takes no bytes for no upload, and would leave an image without data. */
static bool
file_is_empty(const char *file)
{
    struct stat found;

    return stat(file, &found) == 0 && found.st_size == 0;
}

static bool
image_create(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    const char *file = args_text(cli->args, "file");
    const char *format = args_text(cli->args, "disk-format");
    g_autoptr(json_t) image = NULL;

    if (format && !g_str_equal(format, "raw") && !g_str_equal(format, "qcow2"))
        return usage_error(err, "--disk-format is raw or qcow2, not \"%s\"", format);
    if (!g_file_test(file, G_FILE_TEST_IS_REGULAR))
        return err_set(err, ERR_NOT_FOUND, "%s is not a file", file);
    if (file_is_empty(file))
        return err_set(err, ERR_INVALID, "%s is empty: there is nothing to make an image of", file);

    g_autoptr(json_t) body = json_pack(
        "{s:s,s:s,s:s,s:s*}", "name", name, "disk_format", format ? format : file_format(file),
        "container_format", "bare", "visibility", args_flag(cli->args, "public") ? "public" : NULL);

    if (!cli_post(cli, SERVICE_IMAGE, "/images", body, NULL, &image, err))
        return false;

    g_autofree char *path = g_strconcat("/images/", json_text_at(image, "id"), NULL);
    g_autofree char *data_path = g_strconcat(path, "/file", NULL);

    if (!client_upload(cli->client, SERVICE_IMAGE, data_path, file, err)) {
        /* An image without data helps nobody; that the upload failed is what matters. */
        client_call(cli->client, SERVICE_IMAGE, "DELETE", path, NULL, NULL, NULL);
        g_prefix_error(err, "cannot upload %s as image %s: ", file, name);
        return false;
    }

    g_autoptr(json_t) done = cli_get(cli, SERVICE_IMAGE, path, NULL, err);

    if (!done)
        return false;
    if (cli->json)
        cli_print_object(cli, done);
    cli_say(cli, "image %s created: %s", name, json_text_at(done, "id"));
    return true;
}

static bool
image_list(Cli *cli, GError **err)
{
    g_autoptr(json_t) images = cli_get(cli, SERVICE_IMAGE, "/images?limit=1000", "images", err);

    if (images)
        cli_print_list(cli, images, columns);
    return images != NULL;
}

static bool
image_show(Cli *cli, GError **err)
{
    g_autoptr(json_t) image = cli_find(cli, &noun_image, args_word(cli->args, 0), err);

    if (image)
        cli_print_object(cli, image);
    return image != NULL;
}

static bool
image_delete(Cli *cli, GError **err)
{
    return cli_delete_all(cli, &noun_image, err);
}

static bool
image_save(Cli *cli, GError **err)
{
    const char *name = args_word(cli->args, 0);
    const char *file = args_text(cli->args, "file");
    g_autofree char *path = cli_find_path(cli, &noun_image, name, err);
    g_autofree char *data_path = path ? g_strconcat(path, "/file", NULL) : NULL;

    if (!path || !client_download(cli->client, SERVICE_IMAGE, data_path, file, err)) {
        g_prefix_error(err, "cannot save image %s: ", name);
        return false;
    }
    cli_say(cli, "image %s saved as %s", name, file);
    return true;
}

static const CliOption create_options[] = {
    {"file", CLI_TEXT, "FILE", "the image's data", true},
    {"disk-format", CLI_TEXT, "raw|qcow2", "what the file is (looked up in the file)"},
    {"public", CLI_FLAG, NULL, "for all projects"},
    {0},
};
static const CliOption save_options[] = {{"file", CLI_TEXT, "FILE", "where to put the data", true},
                                         {0}};

const CliCommand image_commands[] = {
    {"image create", "NAME", 1, 1, create_options, image_create, "upload an image"},
    {"image list", "", 0, 0, NULL, image_list, "list the images"},
    {"image show", "IMAGE", 1, 1, NULL, image_show, "show an image"},
    {"image delete", "IMAGE...", 1, 100, NULL, image_delete, "delete images"},
    {"image save", "IMAGE", 1, 1, save_options, image_save, "download an image"},
    {0},
};
