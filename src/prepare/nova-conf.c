/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nova-conf.c: the [libvirt] section of a nova.conf: written anew, or edited in somebody's file
 *
 * The file is read as oslo.config reads it: [group], "key = value" or "key : value", comments only
 * on lines of their own, and a line that begins with a blank continues the value above it (so it
 * does even if a # follows). Groups may come several times, in any case of letters, and of several
 * values for one key the last holds.
 *
 * What must change is marked line by line and the text put together again, so that everything else
 * survives to the byte. A setting that no longer counts becomes a comment that says so by its first
 * word, because one that looks as if it held is worse than none. */
#include "prepare/prepare-priv.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define MARK_OBSOLETE  "#godwit-obsolete: "
#define MARK_CONFLICT  "#godwit-conflict: "
#define MARK_DUPLICATE "#godwit-duplicate: "

#define FLAGS_CLASSIC \
    "VIR_MIGRATE_UNDEFINE_SOURCE, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_LIVE, VIR_MIGRATE_TUNNELLED"
#define FLAGS_CONVERGE ", VIR_MIGRATE_AUTO_CONVERGE"
#define FLAGS_BLOCK    ", VIR_MIGRATE_NON_SHARED_INC"

/* ---- what is wanted ---------------------------------------------------------------------------
 */

typedef struct Want {
    const char *key;
    char *value;     /* NULL: must not be set */
    const char *why; /* it must not be */
} Want;

static void
want_free(void *opaque)
{
    Want *want = opaque;
    g_free(want->value);
    g_free(want);
}

static void want(GPtrArray *wants, const char *key, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void
want(GPtrArray *wants, const char *key, const char *format, ...)
{
    Want *one = g_new0(Want, 1);
    va_list arguments;

    va_start(arguments, format);
    one->key = key;
    one->value = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_ptr_array_add(wants, one);
}

static void
want_none(GPtrArray *wants, const char *key, const char *why)
{
    Want *one = g_new0(Want, 1);
    one->key = key;
    one->why = why;
    g_ptr_array_add(wants, one);
}

/* Without QEMU's own TLS the memory is encrypted only inside libvirt's channel. */
static bool
is_tunnelled(const NovaSettings *settings)
{
    return !nova_uses(settings->release, "live_migration_with_native_tls") &&
           (settings->transport != TRANSPORT_TCP ||
            nova_uses(settings->release, "live_migration_flag"));
}

static bool
address_is_valid(const char *address)
{
    struct in6_addr binary;
    if (g_str_equal(address, "$my_ip") || inet_pton(AF_INET6, address, &binary) == 1)
        return true;
    g_autoptr(NodeTarget) name = node_target_parse(address, NULL);
    return name != NULL && name->user == NULL && name->port == 0 && *address != '[';
}

static bool
flag_is_valid(const char *flag)
{
    return cpu_word_is_valid(*flag == '-' || *flag == '+' ? flag + 1 : flag);
}

static bool
ways_check(const NovaSettings *settings, GError **err)
{
    const NovaRelease *release = settings->release;

    if (settings->ssh_user != NULL && settings->transport != TRANSPORT_SSH)
        return err_set(err, ERR_INVALID, "a user for ssh has no meaning with transport %s",
                       transport_names[settings->transport]);
    if (settings->inbound_address != NULL && !nova_uses(release, "live_migration_inbound_addr"))
        return err_set(err, ERR_UNSUPPORTED,
                       "Nova %s has no live_migration_inbound_addr (since Mitaka): there the "
                       "host's name leads to the address",
                       release->series);
    if (settings->auto_converge && !nova_uses(release, "live_migration_permit_auto_converge") &&
        !nova_uses(release, "live_migration_flag"))
        return err_set(err, ERR_UNSUPPORTED, "Nova %s cannot permit auto-converge (since Newton)",
                       release->series);
    if (settings->post_copy && !nova_uses(release, "live_migration_permit_post_copy"))
        return err_set(err, ERR_UNSUPPORTED, "Nova %s has no post-copy (since Newton)",
                       release->series);
    if (settings->post_copy && is_tunnelled(settings))
        return err_set(err, ERR_UNSUPPORTED,
                       "post-copy does not go through the tunnel that Nova %s needs for "
                       "encryption; it takes Nova Stein, or transport tcp, which is plaintext",
                       release->series);
    return true;
}

static bool
settings_check(const NovaSettings *settings, GError **err)
{
    if (settings->ssh_user != NULL) {
        g_autofree char *address = g_strconcat(settings->ssh_user, "@host", NULL);
        g_autoptr(NodeTarget) target = node_target_parse(address, NULL);
        if (target == NULL || g_strcmp0(target->user, settings->ssh_user) != 0)
            return err_set(err, ERR_INVALID, "the user for ssh is not the name of a user");
    }
    if (settings->inbound_address != NULL && !address_is_valid(settings->inbound_address))
        return err_set(err, ERR_INVALID,
                       "the address for moves must be an address, a host's name or $my_ip");
    if (settings->virt_type != NULL && !g_str_equal(settings->virt_type, "kvm") &&
        !g_str_equal(settings->virt_type, "qemu"))
        return err_set(err, ERR_INVALID, "virt_type is kvm or qemu");
    if (settings->cpu_model != NULL && !cpu_word_is_valid(settings->cpu_model))
        return err_set(err, ERR_INVALID, "that is no name of a CPU model: letters, digits and ._-");
    for (const char *const *flag = settings->cpu_flags; flag != NULL && *flag != NULL; flag++) {
        if (!flag_is_valid(*flag))
            return err_set(err, ERR_INVALID, "a CPU's feature is not named by a plain word");
        if (**flag == '-' && settings->release->number < NOVA_CPU_MINUS_FLAGS)
            return err_set(err, ERR_UNSUPPORTED, "Nova %s cannot take features away from a model",
                           settings->release->series);
    }
    return ways_check(settings, err);
}

static void
cpu_want(GPtrArray *wants, const NovaSettings *settings)
{
    if (settings->virt_type != NULL)
        want(wants, "virt_type", "%s", settings->virt_type);
    if (settings->cpu_model == NULL)
        return;
    want(wants, "cpu_mode", "custom");
    if (nova_uses(settings->release, "cpu_models")) {
        want(wants, "cpu_models", "%s", settings->cpu_model);
        want_none(wants, "cpu_model", "cpu_models took its place");
    } else {
        want(wants, "cpu_model", "%s", settings->cpu_model);
    }
    if (settings->cpu_flags == NULL || settings->release->number < NOVA_CPU_FLAGS)
        return;
    g_autofree char *flags = g_strjoinv(", ", (char **)settings->cpu_flags);
    if (*flags != '\0')
        want(wants, "cpu_model_extra_flags", "%s", flags);
    else
        want_none(wants, "cpu_model_extra_flags", "the model has what the nodes have in common");
}

static void
channel_want(GPtrArray *wants, const NovaSettings *settings)
{
    const char *transport = transport_names[settings->transport];
    bool has_scheme = nova_uses(settings->release, "live_migration_scheme");

    if (settings->ssh_user != NULL)
        want(wants, "live_migration_uri", "qemu+ssh://%s@%%s/system", settings->ssh_user);
    else if (!has_scheme)
        want(wants, "live_migration_uri", "qemu+%s://%%s/system", transport);
    else
        want(wants, "live_migration_scheme", "%s", transport);
    if (has_scheme && settings->ssh_user != NULL)
        want_none(wants, "live_migration_scheme", "live_migration_uri is set and overrides it");
    else if (has_scheme)
        want_none(wants, "live_migration_uri", "it would override live_migration_scheme");
}

static void
stream_want(GPtrArray *wants, const NovaSettings *settings)
{
    const NovaRelease *release = settings->release;
    bool tunnelled = is_tunnelled(settings);

    if (nova_uses(release, "live_migration_flag")) {
        const char *converge = settings->auto_converge ? FLAGS_CONVERGE : "";
        want(wants, "live_migration_flag", FLAGS_CLASSIC "%s", converge);
        want(wants, "block_migration_flag", FLAGS_CLASSIC "%s" FLAGS_BLOCK, converge);
        return;
    }
    if (nova_uses(release, "live_migration_with_native_tls")) {
        want(wants, "live_migration_with_native_tls", "%s",
             settings->transport == TRANSPORT_TCP ? "false" : "true");
        want_none(wants, "live_migration_tunnelled",
                  settings->transport == TRANSPORT_TCP
                      ? "the tunnel costs speed and encrypts nothing over tcp"
                      : "it excludes live_migration_with_native_tls, which encrypts the memory");
    } else {
        want(wants, "live_migration_tunnelled", "%s", tunnelled ? "true" : "false");
    }
    if (settings->post_copy)
        want(wants, "live_migration_permit_post_copy", "true");
    else if (tunnelled)
        want_none(wants, "live_migration_permit_post_copy",
                  "post-copy does not go through the tunnel");
    if (settings->auto_converge)
        want(wants, "live_migration_permit_auto_converge", "true");
}

static GPtrArray *
wants_of(const NovaSettings *settings, GError **err)
{
    g_autoptr(GPtrArray) wants = g_ptr_array_new_with_free_func(want_free);

    if (!settings_check(settings, err))
        return NULL;
    cpu_want(wants, settings);
    channel_want(wants, settings);
    if (settings->inbound_address != NULL)
        want(wants, "live_migration_inbound_addr", "%s", settings->inbound_address);
    stream_want(wants, settings);
    return g_steal_pointer(&wants);
}

static int
compare_words(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool
values_equal(const char *key, const char *a, const char *b)
{
    const NovaOption *option = nova_option_find(key);
    bool one, other;

    if (option != NULL && option->is_bool && parse_bool(a, &one) && parse_bool(b, &other))
        return one == other;
    /* Lists may have any blanks around their commas, and none of them has a first place. */
    g_auto(GStrv) words = g_strsplit(a, ",", -1), others = g_strsplit(b, ",", -1);
    for (unsigned i = 0; words[i] != NULL; i++)
        g_strstrip(words[i]);
    for (unsigned i = 0; others[i] != NULL; i++)
        g_strstrip(others[i]);
    qsort(words, g_strv_length(words), sizeof *words, compare_words);
    qsort(others, g_strv_length(others), sizeof *others, compare_words);
    return g_strv_equal((const char *const *)words, (const char *const *)others);
}

/* ---- the section alone ------------------------------------------------------------------------
 */

static const char *
transport_remark(const NovaSettings *settings)
{
    if (settings->transport == TRANSPORT_TCP)
        return "# PLAINTEXT: libvirt's channel and the guests' memory are neither encrypted nor\n"
               "# authenticated; only the firewall keeps others out.\n";
    if (is_tunnelled(settings))
        return "# The guests' memory is encrypted inside libvirt's channel; without the tunnel it\n"
               "# would be plaintext.\n";
    return "# The guests' memory is encrypted by QEMU itself (live_migration_with_native_tls).\n";
}

char *
nova_conf_section(const NovaSettings *settings, GError **err)
{
    g_autoptr(GPtrArray) wants = wants_of(settings, err);
    const NovaRelease *release = settings->release;

    if (wants == NULL)
        return NULL;
    GString *out = g_string_new(NULL);
    g_string_append_printf(out, "# For nodes with transport %s and Nova %s (%s%s).\n",
                           transport_names[settings->transport], release->series, release->version,
                           release == nova_release_newest() ? " and later" : "");
    g_string_append(out, transport_remark(settings));
    for (const char *const *note = settings->notes; note != NULL && *note != NULL; note++) {
        if (text_is_clean(*note, 4096, false))
            g_string_append_printf(out, "# %s\n", *note);
    }
    g_string_append(out, "[libvirt]\n");
    for (unsigned i = 0; i < wants->len; i++) {
        const Want *one = g_ptr_array_index(wants, i);
        if (one->value != NULL)
            g_string_append_printf(out, "%s = %s\n", one->key, one->value);
    }
    return g_string_free(out, FALSE);
}

/* ---- reading a file ---------------------------------------------------------------------------
 */

typedef enum LineKind {
    LINE_BLANK,
    LINE_COMMENT,
    LINE_GROUP,
    LINE_PAIR,
    LINE_MORE, /* of the value above */
} LineKind;

typedef struct ConfLine {
    const char *start;
    size_t length, end; /* bytes without its line end, and of that */
    unsigned number;
    LineKind kind;
    bool ours; /* in a group [libvirt], or its header */

    /* of a pair */
    char *key;
    GString *value; /* as oslo.config understands it, but for quotes; line ends in it as \n */
    size_t value_at;
    unsigned lines; /* that it has */

    /* what becomes of it */
    const char *marker;
    char *replaced;
    bool dropped;
    GString *after; /* lines to come behind it, each ended by \n */
} ConfLine;

static void
line_free(void *opaque)
{
    ConfLine *line = opaque;
    g_free(line->key);
    g_free(line->replaced);
    if (line->value != NULL)
        g_string_free(line->value, TRUE);
    if (line->after != NULL)
        g_string_free(line->after, TRUE);
    g_free(line);
}

static bool
line_error(const ConfLine *line, GError **err, const char *what)
{
    return err_set(err, ERR_INVALID,
                   "line %u: %s; Nova does not start with this file as it is: repair that line "
                   "first",
                   line->number, what);
}

/* Length without the white space at the end, as Python sees white space. */
static size_t
stripped_length(const char *text, size_t length)
{
    const char *end = text + length;

    while (end > text) {
        const char *before = g_utf8_find_prev_char(text, end);
        gunichar c = g_utf8_get_char(before);
        if (!g_unichar_isspace(c) && c != 0x85)
            break;
        end = before;
    }
    return (size_t)(end - text);
}

/* What has to be taken off a value before it is compared. */
static char *
value_plain(const ConfLine *pair)
{
    char *value = g_strstrip(g_strdup(pair->value->str));
    size_t length = strlen(value);

    if (pair->lines == 1 && length >= 2 && (*value == '"' || *value == '\'') &&
        value[length - 1] == *value) {
        memmove(value, value + 1, length - 2);
        value[length - 2] = '\0';
    }
    return value;
}

static bool
group_read(ConfLine *line, size_t length, bool *ours, GError **err)
{
    if (line->start[length - 1] != ']')
        return line_error(line, err, "the name of a group does not end with ]");
    if (length <= 2)
        return line_error(line, err, "a group has no name");
    line->kind = LINE_GROUP;
    *ours =
        length == strlen("[libvirt]") && g_ascii_strncasecmp(line->start, "[libvirt]", length) == 0;
    line->ours = *ours;
    return true;
}

static bool
pair_read(ConfLine *line, size_t length, bool in_group, GError **err)
{
    size_t key = 0;

    while (key < length && line->start[key] != '=' && line->start[key] != ':')
        key++;
    if (key == length)
        return line_error(line, err, "it is neither a comment nor of the form key = value");
    if (stripped_length(line->start, key) == 0)
        return line_error(line, err, "a value has no key");
    if (!in_group)
        return line_error(line, err, "a value stands before the first [group]");
    line->kind = LINE_PAIR;
    line->lines = 1;
    line->key = g_strndup(line->start, stripped_length(line->start, key));
    line->value_at = key + 1;
    while (line->value_at < length && g_ascii_isspace(line->start[line->value_at]))
        line->value_at++;
    line->value = g_string_new_len(line->start + line->value_at, (gssize)(length - line->value_at));
    return true;
}

typedef struct Reading {
    GPtrArray *lines;
    ConfLine *pair; /* that a line with a blank in front continues */
    bool in_group, ours;
} Reading;

static bool
line_read(Reading *reading, ConfLine *line, GError **err)
{
    size_t length = stripped_length(line->start, line->length);
    ConfLine *pair = reading->pair;

    line->ours = reading->ours;
    if (length > 0 && (*line->start == ' ' || *line->start == '\t')) {
        if (pair == NULL)
            return line_error(line, err,
                              "it begins with a blank and there is no value to continue");
        line->kind = LINE_MORE;
        pair->lines++;
        g_string_append_c(pair->value, '\n');
        g_string_append_len(pair->value, line->start, (gssize)length);
        return true;
    }
    reading->pair = NULL;
    if (length == 0)
        return true;
    if (*line->start == '#' || *line->start == ';') {
        line->kind = LINE_COMMENT;
        return true;
    }
    if (*line->start == '[') {
        reading->in_group = true;
        return group_read(line, length, &reading->ours, err);
    }
    reading->pair = line;
    return pair_read(line, length, reading->in_group, err);
}

static bool
text_check(const char *text, GError **err)
{
    unsigned line = 1;

    if (strlen(text) > NOVA_CONF_MAX)
        return err_set(err, ERR_INVALID, "the file is larger than 1 MiB: is it a nova.conf?");
    if (!g_utf8_validate(text, -1, NULL))
        return err_set(err, ERR_INVALID, "the file is not UTF-8 text: is it a nova.conf?");
    for (const char *p = text; *p != '\0'; p++) {
        line += *p == '\n';
        if (g_ascii_iscntrl(*p) && *p != '\n' && *p != '\r' && *p != '\t')
            return err_set(err, ERR_INVALID,
                           "line %u holds a control character: is it a nova.conf?", line);
    }
    return true;
}

static GPtrArray *
lines_read(const char *text, GError **err)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(line_free);
    Reading reading = {.lines = lines};

    if (!text_check(text, err))
        return NULL;
    for (unsigned number = 1; *text != '\0'; number++) {
        ConfLine *line = g_new0(ConfLine, 1);
        line->start = text;
        line->length = strcspn(text, "\r\n");
        line->end = g_str_has_prefix(text + line->length, "\r\n") ? 2
                    : text[line->length] != '\0'                  ? 1
                                                                  : 0;
        line->number = number;
        g_ptr_array_add(lines, line);
        if (!line_read(&reading, line, err))
            return NULL;
        text += line->length + line->end;
    }
    return g_steal_pointer(&lines);
}

/* ---- changing it ------------------------------------------------------------------------------
 */

typedef struct Change {
    GPtrArray *lines;
    GPtrArray *notices; /* may be NULL */
    GString *tail;      /* a section that is not there yet */
} Change;

static void
comment_out(Change *change, ConfLine *pair, const char *marker, const char *why)
{
    unsigned index;

    g_ptr_array_find(change->lines, pair, &index);
    for (unsigned i = 0; i < pair->lines; i++)
        ((ConfLine *)g_ptr_array_index(change->lines, index + i))->marker = marker;
    if (change->notices != NULL)
        g_ptr_array_add(change->notices, g_strdup_printf("line %u: %s is a comment now: %s",
                                                         pair->number, pair->key, why));
}

static void
replace(Change *change, ConfLine *pair, const char *value)
{
    bool blank = pair->value_at > 0 && g_ascii_isspace(pair->start[pair->value_at - 1]);
    bool spaced = pair->start[strlen(pair->key)] == ' ';
    unsigned index;

    g_ptr_array_find(change->lines, pair, &index);
    for (unsigned i = 1; i < pair->lines; i++)
        ((ConfLine *)g_ptr_array_index(change->lines, index + i))->dropped = true;
    pair->replaced = g_strdup_printf("%.*s%s%s", (int)pair->value_at, pair->start,
                                     spaced && !blank ? " " : "", value);
}

/* "#key = …" or "# key: …": where a sample file says what the key is for. */
static bool
comment_names(const ConfLine *line, const char *key)
{
    if (line->kind != LINE_COMMENT || line->marker != NULL)
        return false;
    const char *p = line->start + 1, *end = line->start + line->length;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    size_t length = strlen(key);
    if ((size_t)(end - p) <= length || strncmp(p, key, length) != 0)
        return false;
    for (p += length; p < end && (*p == ' ' || *p == '\t'); p++)
        ;
    return p < end && (*p == '=' || *p == ':');
}

static void
insert(Change *change, const Want *one)
{
    ConfLine *place = NULL, *last = NULL;

    for (unsigned i = 0; i < change->lines->len; i++) {
        ConfLine *line = g_ptr_array_index(change->lines, i);
        if (!line->ours)
            continue;
        if (comment_names(line, one->key))
            place = line;
        if (line->kind != LINE_COMMENT && line->kind != LINE_BLANK)
            last = line;
    }
    if (place == NULL)
        place = last;
    if (place == NULL) {
        if (change->tail->len == 0)
            g_string_append(change->tail, "[libvirt]\n");
        g_string_append_printf(change->tail, "%s = %s\n", one->key, one->value);
        return;
    }
    if (place->after == NULL)
        place->after = g_string_new(NULL);
    g_string_append_printf(place->after, "%s = %s\n", one->key, one->value);
}

/* Of several values the last holds. */
static ConfLine *
pair_find(const GPtrArray *lines, const char *key)
{
    ConfLine *found = NULL;

    for (unsigned i = 0; i < lines->len; i++) {
        ConfLine *line = g_ptr_array_index(lines, i);
        if (line->ours && line->kind == LINE_PAIR && g_str_equal(line->key, key))
            found = line;
    }
    return found;
}

static bool
is_harmless(const Want *one, const ConfLine *pair)
{
    const NovaOption *option = nova_option_find(one->key);
    g_autofree char *value = value_plain(pair);
    bool yes;

    return option != NULL && option->is_bool && parse_bool(value, &yes) && !yes;
}

static void
want_make(Change *change, const Want *one)
{
    ConfLine *holds = pair_find(change->lines, one->key);

    if (one->value != NULL && holds == NULL) {
        insert(change, one);
    } else if (one->value != NULL) {
        g_autofree char *value = value_plain(holds);
        if (!values_equal(one->key, value, one->value))
            replace(change, holds, one->value);
    }
    for (unsigned i = 0; i < change->lines->len; i++) {
        ConfLine *line = g_ptr_array_index(change->lines, i);
        if (!line->ours || line->kind != LINE_PAIR || !g_str_equal(line->key, one->key))
            continue;
        if (one->value == NULL && !is_harmless(one, line))
            comment_out(change, line, MARK_CONFLICT, one->why);
        else if (one->value != NULL && line != holds)
            comment_out(change, line, MARK_DUPLICATE, "it is set again further down, which holds");
    }
}

/* What this release has no use for. */
static void
obsolete_comment_out(Change *change, const NovaRelease *release)
{
    for (unsigned i = 0; i < change->lines->len; i++) {
        ConfLine *line = g_ptr_array_index(change->lines, i);
        const NovaOption *option =
            line->ours && line->kind == LINE_PAIR ? nova_option_find(line->key) : NULL;
        if (option == NULL || nova_uses(release, option->key))
            continue;
        g_autofree char *why = g_strdup_printf("Nova %s has no use for it%s%s", release->series,
                                               option->instead != NULL ? "; see " : "",
                                               option->instead != NULL ? option->instead : "");
        comment_out(change, line, MARK_OBSOLETE, why);
    }
}

static void
lines_append(GString *out, const char *lines, const char *line_end)
{
    for (const char *p = lines; *p != '\0'; p++) {
        if (*p == '\n')
            g_string_append(out, line_end);
        else
            g_string_append_c(out, *p);
    }
}

static char *
change_apply(const Change *change)
{
    const GPtrArray *lines = change->lines;
    GString *out = g_string_new(NULL);
    g_autofree char *line_end = g_strdup("\n");
    bool open_end = false; /* the last line has no end, nor shall it get one */

    if (lines->len > 0) {
        const ConfLine *first = g_ptr_array_index(lines, 0);
        const ConfLine *last = g_ptr_array_index(lines, lines->len - 1);
        if (first->end > 0) {
            g_free(line_end);
            line_end = g_strndup(first->start + first->length, first->end);
        }
        open_end = last->end == 0;
    }
    for (unsigned i = 0; i < lines->len; i++) {
        const ConfLine *line = g_ptr_array_index(lines, i);
        if (!line->dropped) {
            g_string_append(out, line->marker != NULL ? line->marker : "");
            if (line->replaced != NULL)
                g_string_append(out, line->replaced);
            else
                g_string_append_len(out, line->start, (gssize)line->length);
            g_string_append_len(out, line->start + line->length, (gssize)line->end);
            if (line->end == 0)
                g_string_append(out, line_end);
        }
        if (line->after != NULL)
            lines_append(out, line->after->str, line_end);
    }
    if (change->tail->len > 0) {
        if (out->len > 0)
            g_string_append(out, line_end);
        lines_append(out, change->tail->str, line_end);
    }
    if (open_end && g_str_has_suffix(out->str, line_end))
        g_string_truncate(out, out->len - strlen(line_end));
    return g_string_free(out, FALSE);
}

char *
nova_conf_edit(const char *text, const NovaSettings *settings, GPtrArray *notices, GError **err)
{
    g_autoptr(GPtrArray) wants = wants_of(settings, err);
    g_autoptr(GPtrArray) lines = wants != NULL ? lines_read(text, err) : NULL;
    g_autoptr(GString) tail = g_string_new(NULL);
    Change change = {.lines = lines, .notices = notices, .tail = tail};

    if (lines == NULL)
        return NULL;
    obsolete_comment_out(&change, settings->release);
    for (unsigned i = 0; i < wants->len; i++)
        want_make(&change, g_ptr_array_index(wants, i));
    return change_apply(&change);
}
