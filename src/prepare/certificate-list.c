/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* certificate-list.c: the certificates of nodes, and whether they serve
 *
 * A node tells what openssl says of its files; what that means is judged here, by our clock, since
 * a node whose clock is wrong would call a certificate good that its peers refuse. */
#include "prepare/prepare-priv.h"

#include <stdio.h>
#include <string.h>

#define SCRIPT_SECONDS 60
#define SOON_DAYS      30
#define DAY_US         (INT64_C(86400) * USEC_PER_SEC)
#define FIELD_MAX      4096

/* Triples of name, certificate and key ("-": a CA, which has none here); a line per certificate,
 * fields apart by tabs. The CA that vouches for a certificate is the last one before it. */
static const char list_script[] =
    "export LC_ALL=C\n"
    "command -v openssl >/dev/null || { echo 'openssl is not installed there' >&2; exit 1; }\n"
    "while [ $# -ge 3 ]; do\n"
    "  name=$1 file=$2 key=$3; shift 3\n"
    "  [ \"$key\" != - ] || ca=$file\n"
    "  if [ ! -e \"$file\" ]; then printf '%s\\t%s\\tmissing\\n' \"$name\" \"$file\"; continue; "
    "fi\n"
    "  subject=$(openssl x509 -in \"$file\" -noout -subject -nameopt RFC2253 2>/dev/null) ||\n"
    "    { printf '%s\\t%s\\tunreadable\\n' \"$name\" \"$file\"; continue; }\n"
    "  begins=$(openssl x509 -in \"$file\" -noout -startdate | sed 's/^notBefore=//')\n"
    "  ends=$(openssl x509 -in \"$file\" -noout -enddate | sed 's/^notAfter=//')\n"
    "  names=$(openssl x509 -in \"$file\" -noout -ext subjectAltName 2>/dev/null |\n"
    "    sed -n 's/IP Address://g; s/DNS://g; s/^ *//; 2p' | tr -d '\\t')\n"
    "  fits=yes signed=yes\n"
    "  if [ \"$key\" != - ]; then\n"
    "    [ \"$(openssl x509 -in \"$file\" -noout -pubkey)\" = \\\n"
    "      \"$(openssl pkey -in \"$key\" -pubout 2>/dev/null)\" ] || fits=no\n"
    "  fi\n"
    "  openssl verify -no_check_time -CAfile \"$ca\" \"$file\" >/dev/null 2>&1 || signed=no\n"
    "  printf '%s\\t%s\\tread\\t%s\\t%s\\t%s\\t%s\\t%s\\t%s\\n' \"$name\" \"$file\" \"$begins\" "
    "\"$ends\" $fits \\\n"
    "    $signed \"$(printf %s \"${subject#subject=}\" | tr -d '\\t\\n')\" \"$names\"\n"
    "done";

static const char *const list_args[] = {
    "libvirt CA",
    "/etc/pki/CA/cacert.pem",
    "-",
    "libvirt server",
    "/etc/pki/libvirt/servercert.pem",
    "/etc/pki/libvirt/private/serverkey.pem",
    "libvirt client",
    "/etc/pki/libvirt/clientcert.pem",
    "/etc/pki/libvirt/private/clientkey.pem",
    "QEMU CA",
    "/etc/pki/qemu/ca-cert.pem",
    "-",
    "QEMU server",
    "/etc/pki/qemu/server-cert.pem",
    "/etc/pki/qemu/server-key.pem",
    "QEMU client",
    "/etc/pki/qemu/client-cert.pem",
    "/etc/pki/qemu/client-key.pem",
    NULL,
};

const char *const certificate_state_names[] = {
    [CERTIFICATE_GOOD] = "good",
    [CERTIFICATE_ENDS_SOON] = "ends soon",
    [CERTIFICATE_NOT_YET] = "not valid yet",
    [CERTIFICATE_ENDED] = "ended",
    [CERTIFICATE_MISSING] = "missing",
    [CERTIFICATE_UNREADABLE] = "unreadable",
    [CERTIFICATE_WRONG_KEY] = "does not fit its key",
    [CERTIFICATE_UNSIGNED] = "not signed by the CA",
};

/* "Nov 23 11:24:32 2028 GMT", as openssl writes it; -1: it is none. */
int64_t
certificate_date_parse(const char *text)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm = {0};
    char month[4], zone[4];
    const char *at;

    if (sscanf(text, "%3[A-Za-z] %2d %2d:%2d:%2d %5d %3[A-Z]", month, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &tm.tm_year, zone) != 7 ||
        strlen(month) != 3 || !g_str_equal(zone, "GMT"))
        return -1;
    at = strstr(months, month);
    if (at == NULL || (at - months) % 3 != 0 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
        tm.tm_year < 1950 || tm.tm_year > 9999)
        return -1;
    tm.tm_mon = (int)(at - months) / 3;
    tm.tm_year -= 1900;
    return (int64_t)timegm(&tm) * USEC_PER_SEC;
}

CertificateState
certificate_judge(int64_t begins, int64_t ends, int64_t now)
{
    return ends <= now                        ? CERTIFICATE_ENDED
           : begins > now                     ? CERTIFICATE_NOT_YET
           : ends - now <= SOON_DAYS * DAY_US ? CERTIFICATE_ENDS_SOON
                                              : CERTIFICATE_GOOD;
}

void
node_certificate_free(void *opaque)
{
    NodeCertificate *certificate = opaque;

    g_free(certificate->host);
    g_free(certificate->name);
    g_free(certificate->path);
    g_free(certificate->subject);
    g_free(certificate->names);
    g_free(certificate);
}

/* What ended is told before what is merely wrong: it needs renewing in any case. */
static CertificateState
line_judge(char **fields, int64_t ends, int64_t now)
{
    CertificateState state = certificate_judge(certificate_date_parse(fields[3]), ends, now);

    if (ends < 0)
        return CERTIFICATE_UNREADABLE;
    if (state == CERTIFICATE_ENDED)
        return state;
    if (!g_str_equal(fields[5], "yes"))
        return CERTIFICATE_WRONG_KEY;
    return g_str_equal(fields[6], "yes") ? state : CERTIFICATE_UNSIGNED;
}

bool
certificate_lines_parse(const char *host, const char *answer, int64_t now, GPtrArray *certificates,
                        GError **err)
{
    g_autofree char *valid = g_utf8_make_valid(answer, -1);
    g_auto(GStrv) lines = g_strsplit(valid, "\n", 64);

    for (unsigned i = 0; lines[i] && *lines[i]; i++) {
        g_auto(GStrv) fields = g_strsplit(lines[i], "\t", 16);
        unsigned n = g_strv_length(fields);
        bool is_read = n == 9 && g_str_equal(fields[2], "read");
        bool is_missing = n == 3 && g_str_equal(fields[2], "missing");

        if ((!is_read && n != 3) || !text_is_clean(fields[0], FIELD_MAX, false) ||
            !text_is_clean(fields[1], FIELD_MAX, false) ||
            (is_read && (!text_is_clean(fields[7], FIELD_MAX, true) ||
                         !text_is_clean(fields[8], FIELD_MAX, true))))
            return err_set(err, ERR_BACKEND, "%s: openssl there answered in a way not understood",
                           host);
        NodeCertificate *certificate = g_new0(NodeCertificate, 1);
        certificate->host = g_strdup(host);
        certificate->name = g_strdup(fields[0]);
        certificate->path = g_strdup(fields[1]);
        certificate->ends = is_read ? certificate_date_parse(fields[4]) : -1;
        certificate->state = is_read      ? line_judge(fields, certificate->ends, now)
                             : is_missing ? CERTIFICATE_MISSING
                                          : CERTIFICATE_UNREADABLE;
        certificate->subject = g_strdup(is_read ? fields[7] : "");
        certificate->names = g_strdup(is_read ? fields[8] : "");
        g_ptr_array_add(certificates, certificate);
    }
    return true;
}

typedef struct Visit {
    const NodeTarget *target;
    const SshOptions *options;
    char *answer;
    GError *error;
} Visit;

static void
visit_run(void *opaque)
{
    Visit *visit = opaque;
    NodeSsh *ssh = ssh_open(visit->target, visit->options, &visit->error);

    if (ssh != NULL)
        ssh_script(ssh, list_script, list_args, SCRIPT_SECONDS, &visit->answer, &visit->error);
    ssh_close(ssh);
}

GPtrArray *
certificate_list(const NodeTarget *const *targets, unsigned n, const char *ssh_config,
                 int cancel_fd, GPtrArray *failures)
{
    SshOptions options = {.config = ssh_config, .cancel_fd = cancel_fd};
    GPtrArray *certificates = g_ptr_array_new_with_free_func(node_certificate_free);
    g_autofree Visit *visits = g_new0(Visit, n);
    g_autofree pthread_t *threads = g_new0(pthread_t, n);

    for (unsigned i = 0; i < n; i++) {
        visits[i] = (Visit){.target = targets[i], .options = &options};
        threads[i] = thread_start("certificates", visit_run, &visits[i]);
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < n; i++) {
        Visit *visit = &visits[i];

        if (visit->error == NULL)
            certificate_lines_parse(visit->target->host, visit->answer, clock_realtime(),
                                    certificates, &visit->error);
        if (visit->error != NULL)
            g_ptr_array_add(failures, g_strdup(visit->error->message));
        g_clear_error(&visit->error);
        g_free(visit->answer);
    }
    return certificates;
}
