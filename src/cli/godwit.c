/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit.c: the godwit command: finds the command in the tables, reads its arguments, runs it
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. */
#include "cli/cli.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

enum {
    EXIT_USAGE = 2,
    EXIT_INTERRUPTED = 130
};

static const CliCommand *const nouns[] = {
    status_commands, task_commands,      host_commands,    rescue_commands,
    server_commands, power_commands,     move_commands,    migration_commands,
    volume_commands, snapshot_commands,  storage_commands, image_commands,
    flavor_commands, network_commands,   keypair_commands, cpu_commands,
    state_commands,  prepare_commands,   certs_commands,   prepare_tree_commands,
    doctor_commands, nova_conf_commands,
};

#define COMMAND_WORDS_MAX 3 /* "volume type list" */

static const CliOption global_options[] = {
    {"json", CLI_FLAG, NULL, "print JSON instead of tables"},
    {"help", CLI_FLAG, NULL, "say how it is used"},
    {"version", CLI_FLAG, NULL, "print the version"},
    {0},
};

static char *
words_join(char *const *words, unsigned n)
{
    GString *out = g_string_new(words[0]);

    for (unsigned i = 1; i < n; i++)
        g_string_append_printf(out, " %s", words[i]);
    return g_string_free(out, FALSE);
}

/* The command that the first words name, NULL if there is none; *n tells how many words it has. */
static const CliCommand *
command_find(char *const *words, unsigned n_words, unsigned *n)
{
    for (*n = MIN(n_words, COMMAND_WORDS_MAX); *n > 0; (*n)--) {
        g_autofree char *name = words_join(words, *n);

        for (size_t i = 0; i < G_N_ELEMENTS(nouns); i++) {
            for (const CliCommand *command = nouns[i]; command->name; command++) {
                if (g_str_equal(command->name, name))
                    return command;
            }
        }
    }
    return NULL;
}

static void
print_options(FILE *out, const char *title, const CliOption *options)
{
    if (!options || !options->name)
        return;
    fprintf(out, "\n%s:\n", title);
    for (const CliOption *option = options; option->name; option++) {
        g_autofree char *left = g_strconcat("--", option->name, option->value ? " " : "",
                                            option->value ? option->value : "", NULL);
        fprintf(out, "  %-34s %s%s\n", left, option->help, option->required ? " (required)" : "");
    }
}

static void
print_command_help(FILE *out, const CliCommand *command)
{
    fprintf(out, "usage: godwit %s [options]%s%s\n\n%s\n", command->name,
            *command->words ? " " : "", command->words, command->help);
    print_options(out, "options", command->options);
    print_options(out, "for every command", global_options);
    fprintf(out, "  %-34s %s\n", "--os-...", "where the API is and who is calling: godwit help");
}

/* All commands, or those that begin with a noun; false if there is none. */
static bool
print_commands(FILE *out, const char *noun)
{
    bool any = false;

    for (size_t i = 0; i < G_N_ELEMENTS(nouns); i++) {
        for (const CliCommand *command = nouns[i]; command->name; command++) {
            size_t length = noun ? strlen(noun) : 0;
            g_autofree char *left = g_strconcat(command->name, " ", command->words, NULL);

            if (noun && (strncmp(command->name, noun, length) != 0 ||
                         (command->name[length] != ' ' && command->name[length] != '\0')))
                continue;
            fprintf(out, "  %-36s %s\n", left, command->help);
            any = true;
        }
    }
    return any;
}

static void
print_help(FILE *out)
{
    fputs("usage: godwit [options] COMMAND [options]\n\ncommands:\n", out);
    print_commands(out, NULL);
    fputs("  version                              print the version\n"
          "  help [COMMAND]                       say how it is used\n",
          out);
    print_options(out, "for every command", global_options);
    print_options(out,
                  "where the API is and who is calling (else OS_* variables, else clouds.yaml)",
                  cloud_options);
    fputs("\nThe password comes from OS_PASSWORD or clouds.yaml. Names and ids are taken alike.\n"
          "godwit COMMAND --help tells the options of a command.\n",
          out);
}

static int
help_on(char *const *words, unsigned n_words)
{
    unsigned n;
    const CliCommand *command = command_find(words, n_words, &n);

    if (n_words == 0) {
        print_help(stdout);
    } else if (command) {
        print_command_help(stdout, command);
    } else if (!print_commands(stdout, words[0])) {
        fprintf(stderr, "godwit: there is no command \"%s\"; see godwit help\n", words[0]);
        return EXIT_USAGE;
    }
    return EXIT_SUCCESS;
}

static bool
args_check(const CliCommand *command, const CliArgs *args, GError **err)
{
    if (args->words->len < command->least)
        return command->least == 1 ? usage_error(err, "%.*s is missing",
                                                 (int)strcspn(command->words, " "), command->words)
                                   : usage_error(err, "%s are expected", command->words);
    /* That of a variable that is not set, most likely: it must not name what has no name. */
    for (unsigned i = 0; args_word(args, i); i++) {
        if (!*args_word(args, i))
            return usage_error(err, "argument %u is empty", i + 1);
    }
    if (args->words->len > command->most)
        return usage_error(err, "\"%s\" is one argument too many", args_word(args, command->most));
    for (const CliOption *option = command->options; option && option->name; option++) {
        if (option->required && !args_list(args, option->name))
            return usage_error(err, "--%s%s%s is missing: %s", option->name,
                               option->value ? " " : "", option->value ? option->value : "",
                               option->help);
    }
    return true;
}

static int
failed(const CliCommand *command, const GError *error, int status)
{
    g_autofree char *message = cli_text_clean(error->message);

    fflush(stdout); /* what the message refers to stands before it */
    if (is_usage_error(error)) {
        fprintf(stderr, "godwit %s: %s\nSee godwit %s --help\n", command->name, message,
                command->name);
        return EXIT_USAGE;
    }
    fprintf(stderr, "godwit %s: %s\n", command->name, message);
    if (client_is_interrupted() || cli_is_interrupted())
        return EXIT_INTERRUPTED;
    return status != 0 ? status : EXIT_FAILURE;
}

static int
command_run(const CliCommand *command, const CliArgs *args)
{
    Cli cli = {.args = args, .json = args_flag(args, "json"), .out = stdout};
    g_autoptr(GError) error = NULL;
    CloudConfig *config = NULL;
    bool ok = args_check(command, args, &error);

    if (ok && command->is_local)
        ok = command->run(&cli, &error);
    else if (ok)
        config = cloud_config_load(args, &error);
    if (config) {
        cli.client = client_new(config);
        ok = command->run(&cli, &error);
    }
    client_free(cli.client);
    if (error)
        return failed(command, error, cli.exit_status);
    if (!ok || fflush(stdout) != 0) {
        fprintf(stderr, "godwit %s: the output could not be written\n", command->name);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
    const CliOption *const before[] = {global_options, cloud_options, NULL};
    g_autoptr(CliArgs) args = args_new();
    g_autoptr(GError) error = NULL;
    unsigned used = 0, n = 0;

    setlocale(LC_CTYPE, "");
    if (!args_parse(args, argv + 1, (unsigned)argc - 1, before, true, &used, &error)) {
        fprintf(stderr, "godwit: %s\nSee godwit help\n", error->message);
        return EXIT_USAGE;
    }

    char *const *rest = argv + 1 + used;
    unsigned n_rest = (unsigned)argc - 1 - used;

    if (args_flag(args, "version") || (n_rest == 1 && g_str_equal(rest[0], "version"))) {
        puts("godwit " GODWIT_VERSION);
        return EXIT_SUCCESS;
    }
    if (n_rest > 0 && g_str_equal(rest[0], "help"))
        return help_on(rest + 1, n_rest - 1);
    if (args_flag(args, "help"))
        return help_on(rest, n_rest);
    if (n_rest == 0) {
        print_help(stderr);
        return EXIT_USAGE;
    }

    const CliCommand *command = command_find(rest, n_rest, &n);

    if (!command && n_rest > 1 && g_str_equal(rest[n_rest - 1], "--help"))
        return help_on(rest, 1);
    if (!command) {
        fprintf(stderr, "godwit: there is no command \"%s%s%s\"\n", rest[0], n_rest > 1 ? " " : "",
                n_rest > 1 ? rest[1] : "");
        if (!print_commands(stderr, rest[0]))
            fputs("See godwit help\n", stderr);
        return EXIT_USAGE;
    }

    static const CliOption none[] = {{0}};
    const CliOption *const all[] = {command->options ? command->options : none, global_options,
                                    cloud_options, NULL};

    if (!args_parse(args, rest + n, n_rest - n, all, false, &used, &error))
        return failed(command, error, 0);
    if (args_flag(args, "help")) {
        print_command_help(stdout, command);
        return EXIT_SUCCESS;
    }
    return command_run(command, args);
}
