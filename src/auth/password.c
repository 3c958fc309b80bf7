/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* password.c: yescrypt hashes by libxcrypt */
#include <crypt.h>
#include <pthread.h>
#include <string.h>

#include "auth/auth-priv.h"

#define PASSWORD_MAX   512 /* bytes: crypt_r refuses longer ones as well */
#define PASSWORD_SLOTS 2

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    int taken;
} slots = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

static pthread_once_t decoy_once = PTHREAD_ONCE_INIT;
static char decoy[CRYPT_OUTPUT_SIZE]; /* a hash that belongs to nobody */

void
password_slot_take(void)
{
    pthread_mutex_lock(&slots.mutex);
    while (slots.taken >= PASSWORD_SLOTS)
        pthread_cond_wait(&slots.freed, &slots.mutex);
    slots.taken++;
    pthread_mutex_unlock(&slots.mutex);
}

void
password_slot_release(void)
{
    pthread_mutex_lock(&slots.mutex);
    slots.taken--;
    pthread_cond_signal(&slots.freed);
    pthread_mutex_unlock(&slots.mutex);
}

/* crypt_data is too large for the stack of a thread, and holds what must not lie around afterwards.
 */
static char *
password_crypt(const char *password, const char *setting)
{
    struct crypt_data *data = g_new0(struct crypt_data, 1);
    const char *result = crypt_r(password, setting, data);
    char *hash = result && result[0] != '*' ? g_strdup(result) : NULL;

    explicit_bzero(data, sizeof(*data));
    g_free(data);
    return hash;
}

static char *
password_hash_in_slot(const char *password, GError **err)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    char *hash = NULL;

    /* no cost given: libxcrypt's default for yescrypt; no salt given: it takes one from the kernel
     */
    if (crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof(setting)))
        hash = password_crypt(password, setting);
    if (!hash)
        err_set(err, ERR_BACKEND,
                "The password could not be hashed: this libcrypt does not know yescrypt.");
    return hash;
}

static void
decoy_make(void)
{
    g_autofree char *password = auth_password_generate();
    g_autofree char *hash = password_hash_in_slot(password, NULL);

    if (hash)
        g_strlcpy(decoy, hash, sizeof(decoy));
}

bool
password_verify_in_slot(const char *password, const char *hash)
{
    g_autofree char *mine = NULL;
    bool too_long = strlen(password) > PASSWORD_MAX;
    unsigned char difference = 0;
    size_t length;

    pthread_once(&decoy_once, decoy_make);
    mine = password_crypt(too_long ? "" : password, hash ? hash : decoy);
    if (!mine || !hash || too_long)
        return false;
    length = strlen(hash);
    if (strlen(mine) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        difference |= (unsigned char)(mine[i] ^ hash[i]);
    return difference == 0;
}

bool
auth_password_verify(const char *password, const char *hash)
{
    bool same;

    password_slot_take();
    same = password_verify_in_slot(password, hash);
    password_slot_release();
    return same;
}

char *
auth_password_hash(const char *password, GError **err)
{
    char *hash;

    if (!*password || strlen(password) > PASSWORD_MAX) {
        err_set(err, ERR_INVALID, "A password must have 1 to %d bytes.", PASSWORD_MAX);
        return NULL;
    }
    password_slot_take();
    hash = password_hash_in_slot(password, err);
    password_slot_release();
    return hash;
}

char *
auth_password_generate(void)
{
    return random_token(18);
}
