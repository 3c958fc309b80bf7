/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step-certificates.c: a node's certificates
 *
 * Two key pairs, both made on the node, whose keys never leave it. libvirt's is read by root alone
 * and carries a name that libvirtd's allow-list knows; QEMU's is readable by QEMU's group, so it
 * must not open libvirtd: its name is another ("qemu-…"), and a guest that breaks out of QEMU gains
 * no way into the other nodes. */
#include "prepare/prepare-node.h"

#include <string.h>

#define SCRIPT_SECONDS 60
#define RENEW_SECONDS  "2592000" /* 30 days before the end */

typedef struct KeyPair {
    const char *role, *key, *certificate;
    const char *client_key,
        *client_certificate; /* copies under the other names that are looked for */
    const char *ca;
} KeyPair;

static const KeyPair pairs[] = {
    {"libvirt", "/etc/pki/libvirt/private/serverkey.pem", "/etc/pki/libvirt/servercert.pem",
     "/etc/pki/libvirt/private/clientkey.pem", "/etc/pki/libvirt/clientcert.pem",
     "/etc/pki/CA/cacert.pem"},
    {"qemu", "/etc/pki/qemu/server-key.pem", "/etc/pki/qemu/server-cert.pem",
     "/etc/pki/qemu/client-key.pem", "/etc/pki/qemu/client-cert.pem", "/etc/pki/qemu/ca-cert.pem"},
};

/* $1 key, $2 certificate, $3 ca, $4 and $5 their copies for clients, then the names: what is the
 * matter with the certificate, the days that are left, and the name that it lacks. Changes nothing.
 */
static const char look_script[] =
    "key=$1 certificate=$2 ca=$3 client_key=$4 client_certificate=$5; shift 5\n"
    "[ -s \"$key\" ] && command -v openssl >/dev/null || { echo no-key; exit 0; }\n"
    "[ -s \"$certificate\" ] || { echo no-certificate; exit 0; }\n"
    "end=$(openssl x509 -in \"$certificate\" -noout -enddate 2>/dev/null | cut -d= -f2)\n"
    "[ -n \"$end\" ] || { echo unreadable; exit 0; }\n"
    "days=$((($(date -d \"$end\" +%s) - $(date +%s)) / 86400))\n"
    "if ! openssl x509 -in \"$certificate\" -noout -checkend " RENEW_SECONDS " >/dev/null; then\n"
    "  echo \"ending $days\"; exit 0\n"
    "fi\n"
    "openssl verify -CAfile \"$ca\" \"$certificate\" >/dev/null 2>&1 ||\n"
    "  { echo \"other-ca $days\"; exit 0; }\n"
    "[ \"$(openssl x509 -in \"$certificate\" -noout -pubkey)\" = \"$(openssl pkey -in \"$key\" "
    "-pubout)\" ] ||\n"
    "  { echo \"other-key $days\"; exit 0; }\n"
    "for name in \"$@\"; do\n"
    "  case $name in *:* | *[!0-9.]*) how=-checkhost ;; *) how=-checkip ;; esac\n"
    "  case $name in *:*) how=-checkip ;; esac\n"
    "  openssl x509 -in \"$certificate\" -noout $how \"$name\" | grep -q 'does match' ||\n"
    "    { echo \"lacks $days $name\"; exit 0; }\n"
    "done\n"
    "cmp -s \"$key\" \"$client_key\" && cmp -s \"$certificate\" \"$client_certificate\" ||\n"
    "  { echo \"copies $days\"; exit 0; }\n"
    "echo \"good $days\"";

/* $1 key, $2 group: makes the key if there is none, and a request. */
static const char request_script[] =
    "set -eu\n"
    "key=$1 group=$2\n"
    "mkdir -p -m 755 /etc/pki /etc/pki/CA /etc/pki/libvirt\n"
    "mkdir -p -m 700 /etc/pki/libvirt/private\n"
    "mkdir -p -m 750 /etc/pki/qemu\n"
    "chgrp \"$group\" /etc/pki/qemu\n"
    "if [ ! -s \"$key\" ]; then\n"
    "  umask 077\n"
    "  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out \"$key.new\" "
    "2>/dev/null\n"
    "  case $key in /etc/pki/qemu/*) chgrp \"$group\" \"$key.new\"; chmod 0640 \"$key.new\" ;; "
    "esac\n"
    "  mv -f \"$key.new\" \"$key\"\n"
    "fi\n"
    "openssl req -new -key \"$key\" -subj /CN=node";

/* $1 key, $2 its copy, $3 backup directory: a key of somebody else's in that place is kept. */
static const char copy_script[] =
    "set -eu\n"
    "kept=$3$2\n"
    "if [ -e \"$2\" ] && [ ! -e \"$kept\" ] && ! cmp -s -- \"$1\" \"$2\"; then\n"
    "  (umask 077; mkdir -p -- \"$(dirname -- \"$kept\")\")\n"
    "  cp -p -- \"$2\" \"$kept.new\"; mv -f -- \"$kept.new\" \"$kept\"; echo kept\n"
    "fi\n"
    "cp -p -- \"$1\" \"$2.new\"; mv -f -- \"$2.new\" \"$2\"";

/* $1 backup directory, then pairs of key and copy: what was kept takes the copy's place, unless
 * that is no copy any more. */
static const char keys_back_script[] =
    "set -eu\n"
    "dir=$1; shift\n"
    "while [ $# -ge 2 ]; do\n"
    "  if [ -e \"$dir$2\" ] && { [ ! -e \"$2\" ] || cmp -s -- \"$1\" \"$2\"; }; then\n"
    "    cp -p -- \"$dir$2\" \"$2.godwit-undo\"; mv -f -- \"$2.godwit-undo\" \"$2\"\n"
    "    rm -f -- \"$dir$2\"\n"
    "  fi\n"
    "  shift 2\n"
    "done";

/* What was found, in words: what is, would be or was done about it. */
static const struct {
    const char *found, *would, *done;
} verdicts[] = {
    {"good", "good, ends in %d days", "good, ends in %d days"},
    {"no-key", "would make a key and have it signed for %s", "a key was made and signed for %s"},
    {"no-certificate", "would have its key signed for %s", "its key was signed for %s"},
    {"unreadable", "would be signed anew, it cannot be read", "signed anew, it could not be read"},
    {"ending", "would be renewed: ends in %d days", "renewed, %d days before its end"},
    {"other-ca", "would be signed anew: it is of another CA", "signed anew, it was of another CA"},
    {"other-key", "would be signed anew: it is of another key",
     "signed anew, it was of another key"},
    {"copies", "good, ends in %d days, but would be copied again for clients",
     "good, ends in %d days, copied again for clients"},
    {"lacks", "would be signed anew: lacks the name %s", "signed anew, it lacked the name %s"},
};

/* answer: "FOUND DAYS NAME"; said gets "ROLE: …". false if the node says something else. */
static bool
verdict_tell(GString *said, const char *role, const char *answer, GPtrArray *names, bool done,
             bool *good)
{
    g_auto(GStrv) words = g_strsplit_set(answer, " \n", 4);
    unsigned n = g_strv_length(words), where;
    int64_t days = 0;

    *good = n > 0 && g_str_equal(words[0], "good");
    if (n > 1 && *words[1] != '\0' && !parse_int64(words[1], -100000, 100000, &days))
        return false;
    for (size_t i = 0; n > 0 && i < G_N_ELEMENTS(verdicts); i++) {
        const char *form = done ? verdicts[i].done : verdicts[i].would;
        const char *percent = strchr(form, '%');
        if (!g_str_equal(words[0], verdicts[i].found))
            continue;
        g_string_append_printf(said, "%s%s: ", said->len > 0 ? "; " : "", role);
        if (percent == NULL) {
            g_string_append(said, form);
            return true;
        }
        g_string_append_len(said, form, percent - form);
        if (percent[1] == 'd')
            g_string_append_printf(said, "%" PRId64, days);
        else if (n > 2 && g_ptr_array_find_with_equal_func(names, words[2], g_str_equal, &where))
            g_string_append(said, words[2]);
        else
            for (unsigned k = 0; k < names->len; k++)
                g_string_append_printf(said, "%s%s", k > 0 ? ", " : "",
                                       (const char *)g_ptr_array_index(names, k));
        g_string_append(said, percent + 2);
        return true;
    }
    return false;
}

/* Under the names by which clients look for them. */
static bool
pair_copy(PrepareNode *node, const KeyPair *pair, const char *certificate, GError **err)
{
    const char *const copies[] = {pair->key, pair->client_key, ssh_backup_dir(node->ssh), NULL};
    g_autofree char *answer = NULL;
    bool changed;

    if (!node_file_make(node, NULL, pair->client_certificate, NULL, certificate, "0644",
                        "root:root", &changed, err) ||
        !ssh_script(node->ssh, copy_script, copies, SCRIPT_SECONDS, &answer, err))
        return false;
    node->keys_kept = node->keys_kept || *answer != '\0';
    return true;
}

bool
client_keys_put_back(PrepareNode *node, GError **err)
{
    g_autoptr(GPtrArray) args = g_ptr_array_new();

    g_ptr_array_add(args, (void *)ssh_backup_dir(node->ssh));
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        g_ptr_array_add(args, (void *)pairs[i].key);
        g_ptr_array_add(args, (void *)pairs[i].client_key);
    }
    g_ptr_array_add(args, NULL);
    return ssh_script(node->ssh, keys_back_script, (const char *const *)args->pdata, SCRIPT_SECONDS,
                      NULL, err);
}

static bool
pair_sign(PrepareNode *node, const KeyPair *pair, GPtrArray *names, GError **err)
{
    const PrepareEvents *events = node->run->events;
    NodeSettings settings = node_settings(node);
    const char *const key[] = {pair->key, settings.qemu_group, NULL};
    g_autoptr(GPtrArray) ended = g_ptr_array_new();
    g_autofree char *request = NULL, *certificate = NULL;
    bool changed, good;

    if (!ssh_script(node->ssh, request_script, key, SCRIPT_SECONDS, &request, err))
        return false;
    for (unsigned i = 0; i < names->len; i++)
        g_ptr_array_add(ended, g_ptr_array_index(names, i));
    g_ptr_array_add(ended, NULL);
    pthread_mutex_lock(&node->run->mutex);
    good = events->sign(events->opaque, pair->role, node->target->host, request,
                        (const char *const *)ended->pdata, &certificate, err);
    pthread_mutex_unlock(&node->run->mutex);
    if (!good) {
        g_prefix_error(err, "%s: the certificate was not signed: ", node->target->text);
        return false;
    }
    return node_file_make(node, NULL, pair->certificate, NULL, certificate, "0644", "root:root",
                          &changed, err) &&
           pair_copy(node, pair, certificate, err);
}

static bool
pair_make(PrepareNode *node, const KeyPair *pair, GPtrArray *names, GString *said, GError **err)
{
    const PrepareOptions *options = node->run->options;
    g_autoptr(GPtrArray) args = g_ptr_array_new();
    g_autofree char *answer = NULL;
    bool ca_changed = false, good;

    /* A dry run may not know the CA. */
    if (*options->ca != '\0' && !node_file_make(node, "certificates", pair->ca, NULL, options->ca,
                                                "0644", "root:root", &ca_changed, err))
        return false;
    g_ptr_array_add(args, (void *)pair->key);
    g_ptr_array_add(args, (void *)pair->certificate);
    g_ptr_array_add(args, (void *)pair->ca);
    g_ptr_array_add(args, (void *)pair->client_key);
    g_ptr_array_add(args, (void *)pair->client_certificate);
    for (unsigned i = 0; i < names->len; i++)
        g_ptr_array_add(args, g_ptr_array_index(names, i));
    g_ptr_array_add(args, NULL);
    if (!ssh_script(node->ssh, look_script, (const char *const *)args->pdata, SCRIPT_SECONDS,
                    &answer, err))
        return false;
    if (!verdict_tell(said, pair->role, answer, names, !options->dry_run, &good))
        return err_set(err, ERR_BACKEND, "%s: what it says of %s makes no sense",
                       node->target->text, pair->certificate);
    node->reload = node->reload || ca_changed || !good;
    if (good || options->dry_run)
        return true;
    if (!g_str_has_prefix(answer, "copies "))
        return pair_sign(node, pair, names, err);
    g_autoptr(NodeFile) file = node_file_read(node->ssh, pair->certificate, err);
    return file != NULL && pair_copy(node, pair, file->text != NULL ? file->text : "", err);
}

bool
step_certificates(PrepareNode *node, GError **err)
{
    g_autoptr(GPtrArray) names = node_names(node);
    g_autoptr(GString) said = g_string_new(NULL);

    if (node->run->options->transport == TRANSPORT_TCP) {
        node_step(node, "certificates", STEP_SAME, "none: this transport is plaintext");
        return true;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        if (!pair_make(node, &pairs[i], names, said, err))
            return false;
    }
    node_step(node, "certificates", node->reload ? STEP_CHANGED : STEP_SAME, said->str);
    return true;
}
