/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pki.h: Godwit's own certificate authority: makes the CA, signs server and client certificates.
 * Keys are written 0600. Files only. */
#pragma once

#include "base/base.h"

/* Make DIR (0700) with ca.pem, ca-key.pem if they are not there. */
bool pki_ca_ensure(const char *dir, GError **err);

typedef struct PkiSubject {
    const char *common_name;
    const char *const *names; /* SANs: DNS names and numeric IPs, NULL-ended */
    bool server, client;      /* extended key usage */
    int days;                 /* of validity; 0: 825 */
} PkiSubject;

/* Make NAME.pem and NAME-key.pem in dir signed by its CA, unless a pair is there that covers all
 * names and lasts 30 more days. */
bool
pki_certificate_ensure(const char *dir, const char *name, const PkiSubject *subject, GError **err);
/* Sign a PEM CSR made elsewhere; SANs are taken from subject, never from the CSR. Caller frees. */
char *
pki_sign_request(const char *dir, const char *csr_pem, const PkiSubject *subject, GError **err);
/* Realtime µs at which the PEM certificate ends; -1 with *err. */
int64_t pki_certificate_expiry(const char *pem, GError **err);
