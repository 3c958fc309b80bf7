/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt-settings.c: the [libvirt] section, in the words of nova.conf
 *
 * Each honoured key has one function in a table; all keys are read first and what depends on
 * several of them (CPU model against mode, flags against booleans, encryption against both) is
 * judged afterwards, so that their order does not matter. A key of Nova's that Godwit does without
 * is a notice; one that neither knows is an error, since it is a slip of the pen. */

#include "model-priv.h"

#define MOST_CPU_MODELS 32
#define MOST_CPU_FLAGS  64
#define DEFAULT_FLAGS   (MIGRATE_LIVE | MIGRATE_PEER2PEER)
#define DEFAULT_INITIAL 30

const char *const cpu_mode_names[] = {
    [CPU_MODE_BASELINE] = "baseline",
    [CPU_MODE_CUSTOM] = "custom",
    [CPU_MODE_HOST_MODEL] = "host-model",
    [CPU_MODE_HOST_PASSTHROUGH] = "host-passthrough",
    [CPU_MODE_NONE] = "none",
    NULL,
};

typedef enum Choice {
    CHOICE_UNSET,
    CHOICE_NO,
    CHOICE_YES
} Choice;

typedef struct Reading {
    LibvirtSettings *settings;
    GPtrArray *notices; /* may be NULL */
    char *scheme;
    bool mode_given, initial_given, parallel_given;
    Choice tunnelled, native_tls, post_copy, auto_converge;
    unsigned flags_line, models_line;
} Reading;

typedef struct KeyLine { /* what an error about a value names */
    const char *key, *value;
    unsigned line;
} KeyLine;

LibvirtSettings *
libvirt_settings_new(void)
{
    LibvirtSettings *settings = g_new0(LibvirtSettings, 1);

    settings->virt_type = g_strdup("kvm");
    settings->cpu_mode = CPU_MODE_BASELINE;
    settings->cpu_models = g_new0(char *, 1);
    settings->cpu_extra_flags = g_new0(char *, 1);
    settings->migrate_flags = DEFAULT_FLAGS;
    settings->downtime_ms = 500;
    settings->downtime_initial_ms = DEFAULT_INITIAL;
    settings->completion_timeout_s_per_gib = 800;
    settings->parallel_connections = 1;
    return settings;
}

void
libvirt_settings_free(LibvirtSettings *settings)
{
    if (!settings)
        return;
    g_free(settings->virt_type);
    g_strfreev(settings->cpu_models);
    g_strfreev(settings->cpu_extra_flags);
    g_free(settings->migration_uri);
    g_free(settings->inbound_addr);
    g_free(settings);
}

static void notice(Reading *reading, unsigned line, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void
notice(Reading *reading, unsigned line, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list arguments;

    if (!reading->notices)
        return;
    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    if (line)
        g_ptr_array_add(reading->notices, g_strdup_printf("line %u: %s", line, text));
    else
        g_ptr_array_add(reading->notices, g_steal_pointer(&text));
}

static bool
bad_value(const KeyLine *at, GError **err, const char *remedy)
{
    const char *hint = strstr(at->value, " #") || strstr(at->value, " ;")
                           ? "; a comment must stand on a line of its own"
                           : "";

    return err_set(err, ERR_INVALID, "line %u: [libvirt] %s = '%.100s': %s%s", at->line, at->key,
                   at->value, remedy, hint);
}

/* An empty value and the <None> of sample files mean "not set". */
static bool
is_unset(const KeyLine *at)
{
    return *at->value == '\0' || strcmp(at->value, "<None>") == 0;
}

/* Comma-separated words → NULL-ended vector, each word passing accept. */
static bool
read_list(const KeyLine *at, unsigned most, bool (*accept)(const char *), const char *remedy,
          char ***list, GError **err)
{
    g_auto(GStrv) words = g_strsplit(is_unset(at) ? "" : at->value, ",", (int)most + 1);
    g_autoptr(GPtrArray) result = g_ptr_array_new_with_free_func(g_free);

    if (g_strv_length(words) > most)
        return bad_value(at, err, "the list has too many words");
    for (char **word = words; *word; word++) {
        g_strstrip(*word);
        if (!**word)
            continue;
        if (!accept(*word))
            return bad_value(at, err, remedy);
        g_ptr_array_add(result, g_strdup(*word));
    }
    g_ptr_array_add(result, NULL);
    g_strfreev(*list);
    *list = (char **)g_ptr_array_free(g_steal_pointer(&result), FALSE);
    return true;
}

static bool
read_number(const KeyLine *at, int64_t least, int64_t most, int64_t *value, GError **err)
{
    g_autofree char *remedy = NULL;

    if (parse_int64(at->value, least, most, value))
        return true;
    remedy = g_strdup_printf(
        "a whole number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT " is wanted", least, most);
    return bad_value(at, err, remedy);
}

static bool
read_choice(const KeyLine *at, Choice *choice, GError **err)
{
    bool value;

    if (!parse_bool(at->value, &value))
        return bad_value(at, err, "true or false is wanted");
    *choice = value ? CHOICE_YES : CHOICE_NO;
    return true;
}

static bool
read_virt_type(Reading *reading, const KeyLine *at, GError **err)
{
    if (is_unset(at))
        return true;
    if (strcmp(at->value, "kvm") != 0 && strcmp(at->value, "qemu") != 0)
        return bad_value(at, err, "guests are run with kvm or qemu only");
    text_set(&reading->settings->virt_type, at->value);
    return true;
}

static bool
read_cpu_mode(Reading *reading, const KeyLine *at, GError **err)
{
    if (is_unset(at))
        return true;
    for (int mode = 0; cpu_mode_names[mode]; mode++) {
        if (strcmp(cpu_mode_names[mode], at->value) == 0) {
            reading->settings->cpu_mode = (CpuMode)mode;
            reading->mode_given = true;
            return true;
        }
    }
    return bad_value(at, err, "it must be baseline, custom, host-model, host-passthrough or none");
}

static bool
cpu_model_is_valid(const char *word)
{
    size_t length = strspn(word, G_CSET_A_2_Z G_CSET_a_2_z "0123456789-_.");

    return word[length] == '\0' && length <= 64;
}

static bool
read_cpu_models(Reading *reading, const KeyLine *at, GError **err)
{
    reading->models_line = at->line;
    return read_list(at, MOST_CPU_MODELS, cpu_model_is_valid,
                     "names of CPU models like kvm64 or SandyBridge are wanted, separated by "
                     "commas; 'godwit cpu models' lists those the nodes know",
                     &reading->settings->cpu_models, err);
}

static bool
cpu_flag_is_valid(const char *word)
{
    if (*word == '+' || *word == '-')
        word++;
    return *word && strlen(word) <= 32 && cpu_model_is_valid(word);
}

static bool
read_cpu_flags(Reading *reading, const KeyLine *at, GError **err)
{
    char ***flags = &reading->settings->cpu_extra_flags;

    if (!read_list(at, MOST_CPU_FLAGS, cpu_flag_is_valid,
                   "CPU features like pcid, +aes or -mpx are wanted, separated by commas", flags,
                   err))
        return false;
    for (char **flag = *flags; *flag; flag++) {
        g_autofree char *written = *flag;

        *flag = g_ascii_strdown(written, -1);
    }
    return true;
}

static bool
read_flags(Reading *reading, const KeyLine *at, GError **err)
{
    g_autoptr(GError) error = NULL;
    unsigned flags = 0;

    if (is_unset(at))
        return true;
    if (!migrate_flags_parse(at->value, &flags, &error))
        return bad_value(at, err, error->message);
    reading->settings->migrate_flags = flags;
    reading->flags_line = at->line;
    return true;
}

static bool
read_uri(Reading *reading, const KeyLine *at, GError **err)
{
    static const char *const schemes[] = {"qemu://",     "qemu+tcp://",    "qemu+tls://",
                                          "qemu+ssh://", "qemu+libssh://", "qemu+libssh2://",
                                          NULL};
    const char *place = strstr(at->value, "%s");
    bool known = false;

    if (is_unset(at) || strcmp(at->value, "auto") == 0) {
        text_set(&reading->settings->migration_uri, NULL);
        return true;
    }
    for (int i = 0; schemes[i]; i++)
        known |= g_str_has_prefix(at->value, schemes[i]);
    if (!known)
        return bad_value(at, err,
                         "it must begin with qemu+tls://, qemu+tcp:// or qemu+ssh:// and look like "
                         "qemu+tls://%s/system");
    if (!place || strchr(at->value, '%') != place || strchr(place + 1, '%'))
        return bad_value(at, err,
                         "it must contain %s exactly once, where the destination's address goes");
    if (!text_is_clean(at->value, 512, false) || strpbrk(at->value, " \"'<>\\"))
        return bad_value(at, err, "it is not a URI");
    if (strstr(at->value, "no_verify=1"))
        notice(reading, at->line,
               "no_verify=1 in %s: nodes do not check with whom they speak; remove it once the "
               "nodes know each other's keys",
               at->key);
    text_set(&reading->settings->migration_uri, at->value);
    return true;
}

static bool
read_scheme(Reading *reading, const KeyLine *at, GError **err)
{
    if (is_unset(at))
        return true;
    if (strcmp(at->value, "tcp") != 0 && strcmp(at->value, "tls") != 0 &&
        strcmp(at->value, "ssh") != 0)
        return bad_value(at, err, "it must be tls, tcp or ssh");
    text_set(&reading->scheme, at->value);
    return true;
}

/* nova.conf is a file per node and says here "my own address". Godwit's is one file for all nodes,
 * where one literal address would send every move to the same node; a pattern with %s is what works
 * for all. */
static bool
read_inbound(Reading *reading, const KeyLine *at, GError **err)
{
    const char *place = strstr(at->value, "%s");

    if (is_unset(at))
        return true;
    if (!place) {
        notice(reading, at->line,
               "%s = %.100s is one node's address, and this section is for all nodes: set each "
               "node's with 'godwit host add --migration-address', or write a pattern with %%s for "
               "the host's name",
               at->key, at->value);
        return true;
    }
    if (strchr(at->value, '%') != place || strchr(place + 1, '%') || strlen(at->value) > 253 ||
        at->value[strspn(at->value, G_CSET_A_2_Z G_CSET_a_2_z "0123456789-._%")] != '\0')
        return bad_value(at, err, "a pattern for a host name, like %s-migration, is wanted");
    text_set(&reading->settings->inbound_addr, at->value);
    return true;
}

static bool
read_tunnelled(Reading *reading, const KeyLine *at, GError **err)
{
    return read_choice(at, &reading->tunnelled, err);
}

static bool
read_native_tls(Reading *reading, const KeyLine *at, GError **err)
{
    return read_choice(at, &reading->native_tls, err);
}

static bool
read_post_copy(Reading *reading, const KeyLine *at, GError **err)
{
    return read_choice(at, &reading->post_copy, err);
}

static bool
read_auto_converge(Reading *reading, const KeyLine *at, GError **err)
{
    return read_choice(at, &reading->auto_converge, err);
}

static bool
read_bandwidth(Reading *reading, const KeyLine *at, GError **err)
{
    return read_number(at, 0, 1024 * 1024, &reading->settings->bandwidth_mib_s, err);
}

static bool
read_downtime(Reading *reading, const KeyLine *at, GError **err)
{
    /* QEMU's own limit is 2000 s */
    return read_number(at, 1, 2000 * 1000, &reading->settings->downtime_ms, err);
}

static bool
read_downtime_initial(Reading *reading, const KeyLine *at, GError **err)
{
    reading->initial_given = true;
    return read_number(at, 1, 2000 * 1000, &reading->settings->downtime_initial_ms, err);
}

static bool
read_completion(Reading *reading, const KeyLine *at, GError **err)
{
    return read_number(at, 0, 30 * 86400, &reading->settings->completion_timeout_s_per_gib, err);
}

static bool
read_timeout_action(Reading *reading, const KeyLine *at, GError **err)
{
    if (is_unset(at))
        return true;
    if (strcmp(at->value, "abort") != 0 && strcmp(at->value, "force_complete") != 0)
        return bad_value(at, err, "it must be abort or force_complete");
    reading->settings->timeout_force_complete = strcmp(at->value, "force_complete") == 0;
    return true;
}

static bool
read_parallel(Reading *reading, const KeyLine *at, GError **err)
{
    reading->parallel_given = true;
    return read_number(at, 1, 255, &reading->settings->parallel_connections, err);
}

static bool
read_require_encryption(Reading *reading, const KeyLine *at, GError **err)
{
    Choice choice = CHOICE_UNSET;

    if (!read_choice(at, &choice, err))
        return false;
    reading->settings->require_encryption = choice == CHOICE_YES;
    return true;
}

static const struct {
    const char *key;
    bool (*read)(Reading *reading, const KeyLine *at, GError **err);
} readers[] = {
    {"virt_type", read_virt_type},
    {"type", read_virt_type},
    {"cpu_mode", read_cpu_mode},
    {"cpu_model", read_cpu_models},
    {"cpu_models", read_cpu_models},
    {"cpu_model_extra_flags", read_cpu_flags},
    {"live_migration_flag", read_flags},
    {"live_migration_uri", read_uri},
    {"live_migration_scheme", read_scheme},
    {"live_migration_inbound_addr", read_inbound},
    {"live_migration_tunnelled", read_tunnelled},
    {"live_migration_with_native_tls", read_native_tls},
    {"live_migration_permit_post_copy", read_post_copy},
    {"live_migration_permit_auto_converge", read_auto_converge},
    {"live_migration_bandwidth", read_bandwidth},
    {"live_migration_downtime", read_downtime},
    {"live_migration_downtime_initial", read_downtime_initial},
    {"live_migration_completion_timeout", read_completion},
    {"live_migration_timeout_action", read_timeout_action},
    {"live_migration_parallel_connections", read_parallel},
    {"live_migration_require_encryption", read_require_encryption},
};

static bool
read_key(void *opaque, const char *group, const char *key, const char *value, unsigned line,
         GError **err)
{
    Reading *reading = opaque;
    KeyLine at = {.key = key, .value = value, .line = line};
    const NovaKey *known;

    if (g_ascii_strcasecmp(group, "libvirt") != 0)
        return true;
    known = nova_libvirt_key_find(key);
    if (!known) {
        const char *nearest = nova_libvirt_key_nearest(key);

        return err_set(err, ERR_INVALID,
                       "line %u: [libvirt] %.64s is known neither to Godwit nor to Nova; %s%s%s "
                       "it",
                       line, key, nearest ? "did you mean " : "", nearest ? nearest : "",
                       nearest ? "? Correct or remove" : "correct or remove");
    }
    if (known->use == NOVA_KEY_NOTICED) {
        notice(reading, line, "%s is not needed: %s", key, known->text);
        return true;
    }
    /* $my_ip is what nova.conf calls the node's own address; read_inbound says what to do about it.
     */
    if (strchr(value, '$') && strcmp(key, "live_migration_inbound_addr") != 0)
        return bad_value(&at, err,
                         "references to other options ($name) are not followed; write the value "
                         "itself");
    for (size_t i = 0; i < G_N_ELEMENTS(readers); i++)
        if (strcmp(readers[i].key, key) == 0)
            return readers[i].read(reading, &at, err);
    return err_set(err, ERR_BUG, "[libvirt] %s is said to be honoured and nothing reads it", key);
}

static void
set_flag(unsigned *flags, Choice choice, unsigned flag)
{
    if (choice == CHOICE_YES)
        *flags |= flag;
    else if (choice == CHOICE_NO)
        *flags &= ~flag;
}

/* The list first, then the booleans that took its place in Nova, so that a file with both means
 * what it meant there. */
static void
settle_flags(Reading *reading)
{
    LibvirtSettings *settings = reading->settings;
    unsigned flags = settings->migrate_flags;
    unsigned missing = DEFAULT_FLAGS & ~flags;
    unsigned copying = flags & (MIGRATE_NON_SHARED_DISK | MIGRATE_NON_SHARED_INC);

    if (missing) {
        g_autofree char *names = migrate_flags_format(missing);

        notice(reading, reading->flags_line, "live_migration_flag lacks %s, which is added", names);
        flags |= missing;
    }
    if (copying) {
        g_autofree char *names = migrate_flags_format(copying);

        notice(reading, reading->flags_line,
               "live_migration_flag has %s, which is left out: disks are on storage that all nodes "
               "share",
               names);
        flags &= ~copying;
    }
    set_flag(&flags, reading->tunnelled, MIGRATE_TUNNELLED);
    set_flag(&flags, reading->native_tls, MIGRATE_TLS);
    settings->native_tls_off = reading->native_tls == CHOICE_NO;
    set_flag(&flags, reading->post_copy, MIGRATE_POSTCOPY);
    set_flag(&flags, reading->auto_converge, MIGRATE_AUTO_CONVERGE);
    if (reading->post_copy == CHOICE_YES && reading->auto_converge == CHOICE_YES) {
        notice(reading, 0,
               "live_migration_permit_auto_converge has no effect beside "
               "live_migration_permit_post_copy: post-copy ends a move without slowing the guest");
        flags &= ~(unsigned)MIGRATE_AUTO_CONVERGE;
    }
    if (settings->parallel_connections > 1)
        flags |= MIGRATE_PARALLEL;
    else if (reading->parallel_given)
        flags &= ~(unsigned)MIGRATE_PARALLEL;
    else if (flags & MIGRATE_PARALLEL)
        settings->parallel_connections = 2; /* libvirt's own number */
    settings->migrate_flags = flags;
}

static bool
settle(Reading *reading, GError **err)
{
    LibvirtSettings *settings = reading->settings;
    MigrateContext context = {.has_migrate_uri = settings->inbound_addr != NULL};
    g_autoptr(GError) error = NULL;
    g_autofree char *scheme = NULL;
    const char *encryption;
    unsigned flags;

    if (settings->cpu_mode == CPU_MODE_CUSTOM && !settings->cpu_models[0])
        return err_set(err, ERR_INVALID,
                       "[libvirt] cpu_mode = custom needs cpu_models: name at least one CPU model");
    if (settings->cpu_mode != CPU_MODE_CUSTOM && settings->cpu_models[0])
        return err_set(
            err, ERR_INVALID,
            "line %u: [libvirt] CPU models are named, but cpu_mode is %s%s; set cpu_mode "
            "= custom or remove the models",
            reading->models_line, cpu_mode_names[settings->cpu_mode],
            reading->mode_given ? "" : " by default");

    if (!reading->initial_given)
        settings->downtime_initial_ms = MIN(settings->downtime_initial_ms, settings->downtime_ms);
    if (settings->downtime_initial_ms > settings->downtime_ms)
        return err_set(err, ERR_INVALID,
                       "[libvirt] live_migration_downtime_initial (%" G_GINT64_FORMAT
                       " ms) is above live_migration_downtime (%" G_GINT64_FORMAT
                       " ms), up to which it grows",
                       settings->downtime_initial_ms, settings->downtime_ms);

    if (!settings->migration_uri && reading->scheme)
        settings->migration_uri = g_strdup_printf("qemu+%s://%%s/system", reading->scheme);
    settle_flags(reading);
    if (!migrate_flags_check(settings->migrate_flags, &context, &error))
        return err_set(err, err_code(error), "[libvirt] %s", error->message);

    scheme = migrate_scheme(settings->migration_uri ? settings->migration_uri : "qemu+tls:");
    flags = settings->migrate_flags;
    if (settings->require_encryption &&
        !migrate_encrypt(settings, &(MigrateWire){.scheme = scheme}, &flags, &encryption, NULL))
        return err_set(
            err, ERR_INVALID,
            "[libvirt] live_migration_require_encryption is set, but memory would travel "
            "as plaintext; set live_migration_with_native_tls = true, or leave it and "
            "live_migration_uri out, so that each node's own transport decides");
    return true;
}

bool
libvirt_settings_parse(const char *text, LibvirtSettings *settings, GPtrArray *notices,
                       GError **err)
{
    Reading reading = {.settings = settings, .notices = notices};
    bool ok;

    ok = config_scan(text, read_key, &reading, err) && settle(&reading, err);
    g_free(reading.scheme);
    return ok;
}
