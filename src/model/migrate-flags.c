/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate-flags.c: names of the migration flags, and which of them go together on which versions
 *
 * Three tables: the flags that Godwit honours, the flags of libvirt that it does not (each with the
 * reason, since they come in by pasted configuration), and the rules. A rule is {flags that must
 * all be set, flag that must or must not be set beside them, least version}. They are judged when
 * the configuration is read, where versions are not known and version rules are left out, and again
 * for each move with the two nodes' versions. */

#include "model/model.h"

#define VERSION(major, minor, micro) ((major)*INT64_C(1000000) + (minor)*INT64_C(1000) + (micro))

static const struct {
    const char *name;
    unsigned flag;
} known[] = {
    {"LIVE", MIGRATE_LIVE},
    {"PEER2PEER", MIGRATE_PEER2PEER},
    {"TUNNELLED", MIGRATE_TUNNELLED},
    {"PERSIST_DEST", MIGRATE_PERSIST_DEST},
    {"UNDEFINE_SOURCE", MIGRATE_UNDEFINE_SOURCE},
    {"NON_SHARED_DISK", MIGRATE_NON_SHARED_DISK},
    {"NON_SHARED_INC", MIGRATE_NON_SHARED_INC},
    {"UNSAFE", MIGRATE_UNSAFE},
    {"COMPRESSED", MIGRATE_COMPRESSED},
    {"AUTO_CONVERGE", MIGRATE_AUTO_CONVERGE},
    {"POSTCOPY", MIGRATE_POSTCOPY},
    {"TLS", MIGRATE_TLS},
    {"PARALLEL", MIGRATE_PARALLEL},
    {"ZEROCOPY", MIGRATE_ZEROCOPY},
};

static const struct {
    const char *name;
    const char *why;
} refused[] = {
    {"PAUSED", "the guest would arrive paused and nobody would resume it"},
    {"CHANGE_PROTECTION", "Godwit itself keeps other changes away from a guest that moves"},
    {"OFFLINE", "only running guests move this way"},
    {"ABORT_ON_ERROR", "it is about the copying of disks, and a pause of the guest by an I/O error "
                       "must stay visible"},
    {"RDMA_PIN_ALL", "moves over RDMA are not supported"},
    {"POSTCOPY_RESUME", "it belongs to the repair of one broken move, not to a configuration"},
    {"NON_SHARED_SYNCHRONOUS_WRITES", "it is about the copying of disks, and disks are shared"},
};

static const char *
flag_name(unsigned flag)
{
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        if (known[i].flag == flag)
            return known[i].name;
    return "?";
}

static bool
flag_parse(const char *word, unsigned *flags, GError **err)
{
    const char *prefix = "VIR_MIGRATE_";
    const char *name = word;

    if (g_ascii_strncasecmp(name, prefix, strlen(prefix)) == 0)
        name += strlen(prefix);
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (g_ascii_strcasecmp(name, known[i].name) == 0) {
            *flags |= known[i].flag;
            return true;
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++)
        if (g_ascii_strcasecmp(name, refused[i].name) == 0)
            return err_set(err, ERR_INVALID,
                           "the migration flag VIR_MIGRATE_%s cannot be used: %s; leave it out",
                           refused[i].name, refused[i].why);
    return err_set(err, ERR_INVALID,
                   "'%.64s' is not a migration flag; flags are written like VIR_MIGRATE_LIVE and "
                   "separated by commas",
                   word);
}

bool
migrate_flags_parse(const char *list, unsigned *flags, GError **err)
{
    g_auto(GStrv) words = g_strsplit(list, ",", 65);
    unsigned result = 0;

    if (g_strv_length(words) > 64)
        return err_set(err, ERR_INVALID, "the list of migration flags has more than 64 words");
    for (char **word = words; *word; word++) {
        g_strstrip(*word);
        /* "LIVE, PEER2PEER," and an empty list are both seen in the wild */
        if (**word && !flag_parse(*word, &result, err))
            return false;
    }
    *flags = result;
    return true;
}

char *
migrate_flags_format(unsigned flags)
{
    GString *text = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        if (flags & known[i].flag)
            g_string_append_printf(text, "%s%s", text->len ? "," : "", known[i].name);
    return g_string_free(text, FALSE);
}

typedef enum RuleKind {
    RULE_NEEDS,
    RULE_EXCLUDES
} RuleKind;

typedef struct PairRule {
    unsigned flag;
    RuleKind kind;
    unsigned other;
    const char *why;
} PairRule;

static const PairRule pair_rules[] = {
    {MIGRATE_TUNNELLED, RULE_NEEDS, MIGRATE_PEER2PEER,
     "the tunnel is the connection between the two libvirt daemons, which only a peer-to-peer move "
     "opens"},
    {MIGRATE_TUNNELLED, RULE_EXCLUDES, MIGRATE_POSTCOPY,
     "the tunnel has no way back, and post-copy asks the source for pages"},
    {MIGRATE_TUNNELLED, RULE_EXCLUDES, MIGRATE_PARALLEL, "the tunnel is a single stream"},
    {MIGRATE_TUNNELLED, RULE_EXCLUDES, MIGRATE_TLS,
     "TLS belongs to the direct stream of QEMU; a tunnel is encrypted by its libvirt connection"},
    {MIGRATE_TUNNELLED, RULE_EXCLUDES, MIGRATE_ZEROCOPY,
     "the tunnel is read and copied by the libvirt daemon"},
    {MIGRATE_TUNNELLED, RULE_EXCLUDES, MIGRATE_NON_SHARED_DISK,
     "disks are copied beside the tunnel, not through it"},
    {MIGRATE_TUNNELLED, RULE_EXCLUDES, MIGRATE_NON_SHARED_INC,
     "disks are copied beside the tunnel, not through it"},
    {MIGRATE_ZEROCOPY, RULE_NEEDS, MIGRATE_PARALLEL,
     "QEMU sends without copying only on its parallel connections"},
    {MIGRATE_ZEROCOPY, RULE_EXCLUDES, MIGRATE_TLS, "encrypting is copying"},
    {MIGRATE_ZEROCOPY, RULE_EXCLUDES, MIGRATE_COMPRESSED, "compressing is copying"},
    {MIGRATE_NON_SHARED_DISK, RULE_EXCLUDES, MIGRATE_NON_SHARED_INC,
     "one copies whole disks, the other only what differs from their image"},
};

typedef struct VersionRule {
    unsigned flags; /* all of them set */
    int64_t libvirt, qemu;
    const char *why;
} VersionRule;

/* Sources: libvirt's and QEMU's release notes; the last row was seen (DESIGN §4): the guest was
 * gone from both nodes. */
static const VersionRule version_rules[] = {
    {MIGRATE_POSTCOPY, VERSION(1, 3, 3), VERSION(2, 5, 0), "post-copy came with them"},
    {MIGRATE_AUTO_CONVERGE, VERSION(1, 2, 3), VERSION(1, 6, 0), "auto-converge came with them"},
    {MIGRATE_TLS, VERSION(3, 2, 0), VERSION(2, 7, 0), "TLS of the memory stream came with them"},
    {MIGRATE_PARALLEL, VERSION(5, 2, 0), VERSION(4, 0, 0), "parallel connections came with them"},
    {MIGRATE_ZEROCOPY, VERSION(8, 5, 0), VERSION(7, 1, 0), "zero-copy came with them"},
    {MIGRATE_PARALLEL | MIGRATE_POSTCOPY, 0, VERSION(10, 1, 0),
     "on earlier versions the move can report success and leave the guest on no node"},
};

static char *
version_format(int64_t version)
{
    return g_strdup_printf("%" G_GINT64_FORMAT ".%" G_GINT64_FORMAT ".%" G_GINT64_FORMAT,
                           version / 1000000, version / 1000 % 1000, version % 1000);
}

static bool
version_suffices(const VersionRule *rule, const char *program, int64_t least, const char *node,
                 int64_t version, GError **err)
{
    g_autofree char *names = NULL;
    g_autofree char *wanted = NULL;
    g_autofree char *present = NULL;

    if (version == 0 || version >= least)
        return true;
    names = migrate_flags_format(rule->flags);
    g_strdelimit(names, ",", '+');
    wanted = version_format(least);
    present = version_format(version);
    return err_set(err, ERR_UNSUPPORTED,
                   "migration flag %s needs %s %s or later, and the %s node has %s: %s", names,
                   program, wanted, node, present, rule->why);
}

bool
migrate_flags_check(unsigned flags, const MigrateContext *context, GError **err)
{
    if (!(flags & MIGRATE_LIVE))
        return err_set(err, ERR_INVALID,
                       "the migration flags lack LIVE: the guest would stand still for the whole "
                       "move; add VIR_MIGRATE_LIVE");
    if (!(flags & MIGRATE_PEER2PEER))
        return err_set(err, ERR_INVALID,
                       "the migration flags lack PEER2PEER: the move would die with the controller "
                       "that started it; add VIR_MIGRATE_PEER2PEER");

    for (size_t i = 0; i < G_N_ELEMENTS(pair_rules); i++) {
        const PairRule *rule = &pair_rules[i];
        bool other = flags & rule->other;

        if (!(flags & rule->flag))
            continue;
        if (rule->kind == RULE_NEEDS && !other)
            return err_set(err, ERR_INVALID, "migration flag %s needs %s: %s",
                           flag_name(rule->flag), flag_name(rule->other), rule->why);
        if (rule->kind == RULE_EXCLUDES && other)
            return err_set(err, ERR_INVALID,
                           "migration flags %s and %s exclude each other: %s; remove one of them",
                           flag_name(rule->flag), flag_name(rule->other), rule->why);
    }
    if ((flags & MIGRATE_TUNNELLED) && context->has_migrate_uri)
        return err_set(err, ERR_INVALID,
                       "migration flag TUNNELLED excludes an address for the memory stream "
                       "(live_migration_inbound_addr, or a host's migration address): tunnelled "
                       "memory takes the libvirt connection; remove one of them");

    for (size_t i = 0; i < G_N_ELEMENTS(version_rules); i++) {
        const VersionRule *rule = &version_rules[i];

        if ((flags & rule->flags) != rule->flags)
            continue;
        if (!version_suffices(rule, "libvirt", rule->libvirt, "source", context->source_libvirt,
                              err) ||
            !version_suffices(rule, "libvirt", rule->libvirt, "destination", context->dest_libvirt,
                              err) ||
            !version_suffices(rule, "QEMU", rule->qemu, "source", context->source_qemu, err) ||
            !version_suffices(rule, "QEMU", rule->qemu, "destination", context->dest_qemu, err))
            return false;
    }
    return true;
}

const char *
migrate_encryption(const char *uri_scheme, unsigned flags)
{
    const char *plus = uri_scheme ? strchr(uri_scheme, '+') : NULL;
    const char *transport = plus ? plus + 1 : uri_scheme;

    if (flags & MIGRATE_TLS)
        return "tls";
    if (!(flags & MIGRATE_TUNNELLED) || !transport)
        return "plaintext"; /* QEMU's own TCP stream beside the channel, however safe that is */
    if (strcmp(transport, "tls") == 0 || (!plus && strcmp(transport, "qemu") == 0))
        return "tls"; /* a remote qemu:// without transport means TLS to libvirt */
    if (strcmp(transport, "ssh") == 0 || strcmp(transport, "libssh") == 0 ||
        strcmp(transport, "libssh2") == 0)
        return "ssh";
    return "plaintext";
}

char *
migrate_scheme(const char *uri)
{
    return g_strndup(uri, strcspn(uri, ":"));
}

static bool
is_encrypted(const char *encryption)
{
    return encryption && (strcmp(encryption, "tls") == 0 || strcmp(encryption, "ssh") == 0);
}

bool
migrate_encrypt(const LibvirtSettings *settings, const MigrateWire *wire, unsigned *flags,
                const char **encryption, GError **err)
{
    bool expected = is_encrypted(wire->source) || is_encrypted(wire->dest) ||
                    is_encrypted(migrate_encryption(wire->scheme, MIGRATE_TUNNELLED));

    if (expected && !settings->native_tls_off && !(*flags & MIGRATE_TUNNELLED))
        *flags |= MIGRATE_TLS;
    *encryption = migrate_encryption(wire->scheme, *flags);
    if (is_encrypted(*encryption))
        return true;
    if (settings->require_encryption)
        return err_set(err, ERR_FORBIDDEN,
                       "the guest's memory would cross the network as plaintext, and "
                       "live_migration_require_encryption is set; set up TLS on both nodes with "
                       "`godwit host prepare`, and register them with qemu+tls://");
    if (expected && !settings->native_tls_off)
        return err_set(err, ERR_FORBIDDEN,
                       "the nodes are encrypted, but the guest's memory would cross the network as "
                       "plaintext through the tunnel of a %s connection; remove "
                       "VIR_MIGRATE_TUNNELLED or change live_migration_uri",
                       wire->scheme);
    return true;
}

const char *
migrate_encryption_at(const LibvirtSettings *settings, const Host *host)
{
    g_autofree char *scheme =
        migrate_scheme(settings->migration_uri ? settings->migration_uri : host->uri);
    const MigrateWire wire = {scheme, host->encryption, host->encryption};
    unsigned flags = settings->migrate_flags;
    const char *encryption;

    return migrate_encrypt(settings, &wire, &flags, &encryption, NULL) ? encryption : "refused";
}
