/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move-tls.c: why a move's memory could not be encrypted: on which node what is missing
 *
 * libvirt passes on what QEMU says ("Unable to access credentials /etc/pki/qemu/ca-cert.pem") and
 * not which of the two QEMUs it was, so both nodes are asked for the files that their side needs. A
 * move that was to be encrypted fails; none is tried again without.
 *
 * That a move which runs is encrypted rests on libvirt having taken VIR_MIGRATE_TLS: it gives both
 * QEMUs their credentials before the stream is opened or refuses the call, and either QEMU breaks
 * off a stream that does not begin with a handshake. Its API has nothing that would tell it of a
 * stream under way. On nodes that were prepared for TLS or ssh, migrate_tls_force makes libvirt
 * itself refuse a move without the flag. */
#include <string.h>

#include "task/move.h"

#define CERTIFICATES    "/etc/pki/qemu" /* libvirt's default, and what prepare sets up */
#define CERTIFICATE_MAX 65536

static bool
is_about_tls(const char *message)
{
    static const char *const words[] = {"TLS", "ertificate", "credentials", "x509", "gnutls"};

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        if (strstr(message, words[i]))
            return true;
    return false;
}

/* "…access credentials /etc/pki/qemu/ca-cert.pem: No such…" → "/etc/pki/qemu" */
static char *
certificate_directory(const char *message)
{
    const char *path = strstr(message, "credentials /");
    g_autofree char *file = NULL;

    if (!path)
        return g_strdup(CERTIFICATES);
    path += strlen("credentials ");
    file = g_strndup(path, strcspn(path, ": "));
    return g_path_get_dirname(file);
}

/* Adds "host1 has no /etc/pki/qemu/ca-cert.pem". Returns whether the node lacks something. */
static bool
find_missing(TaskRun *run, const char *host, const char *directory, const char *own_certificate,
             GString *missing)
{
    const char *const files[] = {"ca-cert.pem", own_certificate};
    bool found = false;

    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(directory, files[i], NULL);
        g_autoptr(GString) contents = g_string_new(NULL);
        g_autoptr(GError) error = NULL;

        if (host_file_read(run_hosts(run), host, path, 0, CERTIFICATE_MAX, contents,
                           DEADLINE_CONTROL, &error) ||
            !err_is(error, ERR_NOT_FOUND))
            continue;
        g_string_append_printf(missing, found ? " and no %s" : "; %s has no %s",
                               found ? path : host, path);
        found = true;
    }
    return found;
}

void
move_explain_tls(TaskRun *run, Move *move)
{
    const char *from = move->migration->source_host, *to = move->migration->dest_host;
    g_autoptr(GString) text = NULL;
    g_autofree char *directory = NULL;
    ErrCode code;
    bool here, there;

    if (!move->call_error || !is_about_tls(move->call_error->message) ||
        !((unsigned)run_state_int(run, "flags", 0) & MIGRATE_TLS))
        return;
    text = g_string_new(move->call_error->message);
    directory = certificate_directory(move->call_error->message);
    there = find_missing(run, to, directory, "server-cert.pem", text);
    here = find_missing(run, from, directory, "client-cert.pem", text);
    g_string_append_printf(text, "; nothing was sent unencrypted. See `godwit doctor %s %s`", from,
                           to);
    if (here != there)
        g_string_append_printf(text, "; `godwit host prepare %s` sets up TLS on it",
                               here ? from : to);
    else
        g_string_append_printf(text, "; `godwit host prepare %s %s` sets up TLS on both", from, to);
    code = err_code(move->call_error);
    g_clear_error(&move->call_error);
    err_set(&move->call_error, code, "%s", text->str);
}
