/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* args.c: options and words of a command line, by tables */
#include "cli/cli.h"

#include <string.h>

static GQuark
usage_domain(void)
{
    return g_quark_from_static_string("godwit-usage");
}

bool
usage_error(GError **err, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(err, usage_domain(), 0, text);
    return false;
}

bool
is_usage_error(const GError *error)
{
    return error && error->domain == usage_domain();
}

static void
values_free(void *values)
{
    g_ptr_array_unref(values);
}

CliArgs *
args_new(void)
{
    CliArgs *args = g_new0(CliArgs, 1);

    args->words = g_ptr_array_new_with_free_func(g_free);
    args->options = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, values_free);
    return args;
}

void
args_free(CliArgs *args)
{
    if (!args)
        return;
    g_ptr_array_unref(args->words);
    g_hash_table_unref(args->options);
    g_free(args);
}

static const CliOption *
option_find(const CliOption *const tables[], const char *name)
{
    for (unsigned t = 0; tables[t]; t++) {
        for (const CliOption *option = tables[t]; option->name; option++) {
            if (g_str_equal(option->name, name))
                return option;
        }
    }
    return NULL;
}

static bool
args_add(CliArgs *args, const CliOption *option, const char *value, GError **err)
{
    GPtrArray *values = g_hash_table_lookup(args->options, option->name);

    if (values && option->kind == CLI_TEXT)
        return usage_error(err, "--%s is given twice", option->name);
    if (!values) {
        values = g_ptr_array_new_with_free_func(g_free);
        g_hash_table_insert(args->options, g_strdup(option->name), values);
    }
    if (value)
        g_ptr_array_add(values, g_strdup(value));
    return true;
}

bool
args_parse(CliArgs *args, char *const *argv, unsigned argc, const CliOption *const tables[],
           bool stop_at_word, unsigned *used, GError **err)
{
    bool words_only = false;
    unsigned i = 0;

    for (; i < argc; i++) {
        const char *arg = argv[i];

        if (words_only || arg[0] != '-' || !arg[1]) {
            if (stop_at_word)
                break;
            g_ptr_array_add(args->words, g_strdup(arg));
            continue;
        }
        if (g_str_equal(arg, "--")) {
            words_only = true;
            continue;
        }
        if (g_str_equal(arg, "-h"))
            arg = "--help";
        if (arg[1] != '-')
            return usage_error(err, "unknown option %s", arg);

        const char *equals = strchr(arg, '=');
        g_autofree char *name =
            equals ? g_strndup(arg + 2, (size_t)(equals - arg - 2)) : g_strdup(arg + 2);
        const CliOption *option = option_find(tables, name);
        const char *value = equals ? equals + 1 : NULL;

        if (g_str_equal(name, "os-password") || g_str_equal(name, "os-token"))
            return usage_error(err,
                               "--%s is not taken: everybody on this machine could read it in the "
                               "list of processes; set %s or use clouds.yaml",
                               name, g_str_equal(name, "os-token") ? "OS_TOKEN" : "OS_PASSWORD");
        if (!option)
            return usage_error(err, "unknown option --%s", name);
        if (option->kind == CLI_FLAG && value)
            return usage_error(err, "--%s takes no value", name);
        if (option->kind != CLI_FLAG && !value) {
            if (i + 1 == argc)
                return usage_error(err, "--%s needs a value: %s", name, option->value);
            value = argv[++i];
        }
        if (!args_add(args, option, value, err))
            return false;
    }
    *used = i;
    return true;
}

const char *
args_word(const CliArgs *args, unsigned n)
{
    return n < args->words->len ? args->words->pdata[n] : NULL;
}

bool
args_flag(const CliArgs *args, const char *name)
{
    return g_hash_table_contains(args->options, name);
}

const GPtrArray *
args_list(const CliArgs *args, const char *name)
{
    return g_hash_table_lookup(args->options, name);
}

const char *
args_text(const CliArgs *args, const char *name)
{
    const GPtrArray *values = args_list(args, name);

    return values && values->len ? values->pdata[values->len - 1] : NULL;
}

bool
args_int(const CliArgs *args, const char *name, int64_t least, int64_t most, int64_t *value,
         GError **err)
{
    const char *text = args_text(args, name);

    return !text || parse_int64(text, least, most, value) ||
           usage_error(err,
                       "--%s: \"%s\" is not a whole number between %" G_GINT64_FORMAT
                       " and %" G_GINT64_FORMAT,
                       name, text, least, most);
}
