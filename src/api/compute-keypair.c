/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute-keypair.c: key pairs: import, make, list, show, delete
 *
 * A pair belongs to a user, not to a project. A private key exists only in the answer that made it:
 * ssh-keygen writes it into a directory of its own, which is gone before the answer leaves. */
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/compute-priv.h"

#define PUBLIC_KEY_MAX 16384

static const char *const list_names[] = {"user_id", "limit", "marker", NULL};
static const char *const one_names[] = {"user_id", NULL};
static const char *const type_words[] = {"ssh", "x509", NULL};

static json_t *
view_keypair(ApiCall *call, const Keypair *keypair, bool with_user)
{
    json_t *view = json_pack("{s:s,s:s,s:s}", "name", keypair->name, "public_key",
                             keypair->public_key, "fingerprint", keypair->fingerprint);

    if (with_user)
        json_object_set_new(view, "user_id", json_string(keypair->user_id));
    if (api_microversion_at_least(call, 2))
        json_object_set_new(view, "type", json_string(keypair->type));
    return view;
}

/* Whose pairs: the caller's, or from 2.10 on those of the user that an administrator names. NULL:
 * replied. */
static const char *
keypair_user(ApiCall *call, const char *named)
{
    if (!named || !api_microversion_at_least(call, 10) || strcmp(named, call->caller->user_id) == 0)
        return call->caller->user_id;
    if (call->caller->is_admin)
        return named;
    api_fault(call, 403,
              "Policy doesn't allow os_compute_api:os-keypairs to be performed for "
              "another user: only administrators may.");
    return NULL;
}

/* ---- reading
 * ---------------------------------------------------------------------------------------- */

typedef struct KeypairList {
    const char *user_id, *marker;
    int64_t limit;
    GPtrArray *rows;
    bool more;
} KeypairList;

static const char *
keypair_key(const void *record)
{
    return ((const Keypair *)record)->name;
}

static bool
keypairs_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    KeypairList *list = opaque;
    StoreCond where[] = {{"user_id", STORE_EQ, list->user_id, 0}, {0}};
    StoreQuery query = {.where = where, .order_by = "name"};
    (void)call;

    list->rows = store_list(tx, &KEYPAIR, &query, err);
    return list->rows &&
           page_cut(list->rows, keypair_key, list->marker, list->limit, &list->more, err);
}

void
compute_keypairs_list(ApiCall *call)
{
    KeypairList list = {.limit = API_PAGE_MAX};

    if (api_microversion_at_least(call, 75) && !query_accept(call, list_names))
        return;
    list.user_id = keypair_user(call, api_query(call, "user_id"));
    if (!list.user_id)
        return;
    if (api_microversion_at_least(call, 35) && !api_paging(call, &list.limit, &list.marker))
        return;
    if (api_read(call, keypairs_run, &list)) {
        json_t *rows = json_array();
        for (guint i = 0; i < list.rows->len; i++)
            json_array_append_new(rows, json_pack("{s:o}", "keypair",
                                                  view_keypair(call, list.rows->pdata[i], false)));
        json_t *body = json_pack("{s:o}", "keypairs", rows);
        if (api_microversion_at_least(call, 35) && list.more && list.rows->len > 0)
            json_object_set_new(body, "keypairs_links",
                                page_next(call, "/compute/v2.1/os-keypairs",
                                          keypair_key(list.rows->pdata[list.rows->len - 1])));
        api_reply(call, 200, body);
    }
    g_clear_pointer(&list.rows, g_ptr_array_unref);
}

typedef struct KeypairOne {
    const char *user_id;
    Keypair *keypair;
    bool remove;
} KeypairOne;

static bool
keypair_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    KeypairOne *one = opaque;
    const char *name = api_param(call, "name");
    g_autofree char *id = g_strdup_printf("%s:%s", one->user_id, name);
    GError *error = NULL;

    one->keypair = store_get(tx, &KEYPAIR, id, &error);
    if (!one->keypair) {
        if (!err_is(error, ERR_NOT_FOUND)) {
            g_propagate_error(err, error);
            return false;
        }
        g_clear_error(&error);
        return err_set(err, ERR_NOT_FOUND, "Keypair %s not found for user %s", name, one->user_id);
    }
    return !one->remove || store_delete(tx, &KEYPAIR, id, err);
}

void
compute_keypair_show(ApiCall *call)
{
    KeypairOne one = {0};

    if (api_microversion_at_least(call, 75) && !query_accept(call, one_names))
        return;
    one.user_id = keypair_user(call, api_query(call, "user_id"));
    if (!one.user_id)
        return;
    if (api_read(call, keypair_run, &one)) {
        json_t *view = view_keypair(call, one.keypair, true);
        json_object_set_new(view, "created_at", view_time_micros(one.keypair->created_at));
        json_object_set_new(view, "deleted", json_false());
        json_object_set_new(view, "deleted_at", json_null());
        json_object_set_new(view, "updated_at", json_null());
        /* Clients want a number; nothing can be asked for by it. */
        json_object_set_new(view, "id", json_integer(g_str_hash(one.keypair->id) & BODY_INT_MAX));
        api_reply(call, 200, json_pack("{s:o}", "keypair", view));
    }
    g_clear_pointer(&one.keypair, keypair_free);
}

void
compute_keypair_delete(ApiCall *call)
{
    KeypairOne one = {.remove = true};

    if (api_microversion_at_least(call, 75) && !query_accept(call, one_names))
        return;
    one.user_id = keypair_user(call, api_query(call, "user_id"));
    if (!one.user_id)
        return;
    if (api_write(call, keypair_run, &one))
        api_reply_empty(call, api_microversion_at_least(call, 2) ? 204 : 202);
    g_clear_pointer(&one.keypair, keypair_free);
}

/* ---- making
 * ----------------------------------------------------------------------------------------- */

static const BodyMember create_members[] = {
    {.key = "name", .type = BODY_NAME, .required = true},
    {.key = "public_key", .type = BODY_TEXT, .until = 91, .most = PUBLIC_KEY_MAX},
    {.key = "public_key",
     .type = BODY_TEXT,
     .required = true,
     .since = 92,
     .least = 1,
     .most = PUBLIC_KEY_MAX},
    {.key = "type", .type = BODY_WORD, .since = 2, .words = type_words},
    {.key = "user_id", .type = BODY_TEXT, .since = 10, .least = 1, .most = 255},
    {0},
};
static const BodyMember create_body[] = {
    {.key = "keypair", .type = BODY_OBJECT, .required = true, .members = create_members}, {0}};

/* "aa:bb:…": the MD5 of the key's blob, as Nova and ssh-keygen -E md5 show it. NULL if text is no
 * public key of ssh. */
static char *
public_key_fingerprint(const char *text)
{
    g_auto(GStrv) words = g_strsplit_set(text, " \t", 3);
    gsize size = 0;
    g_autofree unsigned char *blob = NULL;

    if (!words[0] || !words[1] || strpbrk(text, "\r\n"))
        return NULL;
    if (!g_str_has_prefix(words[0], "ssh-") && !g_str_has_prefix(words[0], "ecdsa-") &&
        !g_str_has_prefix(words[0], "sk-"))
        return NULL;
    blob = g_base64_decode(words[1], &size);
    /* The blob begins with its own type name, length first. */
    size_t type_size = strlen(words[0]);
    if (size < 4 + type_size || blob[0] != 0 || blob[1] != 0 || blob[2] != 0 ||
        blob[3] != type_size || memcmp(blob + 4, words[0], type_size) != 0)
        return NULL;
    g_autofree char *digest = g_compute_checksum_for_data(G_CHECKSUM_MD5, blob, size);
    GString *shown = g_string_new(NULL);
    for (size_t i = 0; i < 32; i += 2)
        g_string_append_printf(shown, "%s%.2s", i > 0 ? ":" : "", digest + i);
    return g_string_free(shown, FALSE);
}

static bool
keypair_generate(char **private_key, char **public_key, GError **err)
{
    g_autofree char *dir = g_strdup_printf("%s/godwit-key-XXXXXX", g_get_tmp_dir());
    g_autofree char *path = NULL, *public_path = NULL;
    size_t size;
    bool done;

    if (!g_mkdtemp(dir)) /* mode 0700 */
        return err_set(err, ERR_BACKEND, "cannot make a directory for a new key in %s",
                       g_get_tmp_dir());
    path = g_build_filename(dir, "key", NULL);
    public_path = g_strconcat(path, ".pub", NULL);
    const char *const argv[] = {"ssh-keygen", "-q",  "-t", "rsa", "-b", "2048",
                                "-m",         "PEM", "-N", "",    "-C", "Generated-by-Godwit",
                                "-f",         path,  NULL};
    done = process_run(argv, clock_monotonic() + 20 * USEC_PER_SEC, NULL, err) &&
           file_read_bounded(path, PUBLIC_KEY_MAX, private_key, &size, err) &&
           file_read_bounded(public_path, PUBLIC_KEY_MAX, public_key, &size, err);
    unlink(path);
    unlink(public_path);
    rmdir(dir);
    if (done)
        g_strchomp(*public_key);
    return done;
}

static bool
name_is_allowed(ApiCall *call, const char *name)
{
    const char *extra = api_microversion_at_least(call, 92) ? "_- @." : "_- ";

    for (const char *c = name; *c; c++) {
        if (!g_ascii_isalnum(*c) && !strchr(extra, *c))
            return false;
    }
    return true;
}

static bool
keypair_create_run(StoreTx *tx, ApiCall *call, void *opaque, GError **err)
{
    Keypair *keypair = opaque;
    StoreCond where[] = {{"user_id", STORE_EQ, keypair->user_id, 0}, {0}};
    int64_t count = store_count(tx, &KEYPAIR, where, err);
    GError *error = NULL;
    (void)call;

    if (count < 0)
        return false;
    if (count >= COMPUTE_KEYPAIRS_MAX)
        return err_set(err, ERR_QUOTA, "Quota exceeded, too many key pairs: at most %d per user.",
                       COMPUTE_KEYPAIRS_MAX);
    if (store_insert(tx, &KEYPAIR, keypair, &error))
        return true;
    if (!err_is(error, ERR_CONFLICT)) {
        g_propagate_error(err, error);
        return false;
    }
    g_clear_error(&error);
    return err_set(err, ERR_CONFLICT, "Key pair '%s' already exists.", keypair->name);
}

void
compute_keypair_create(ApiCall *call)
{
    g_autoptr(Keypair) keypair = NULL;
    g_autofree char *private_key = NULL;
    const json_t *wanted;
    const char *user_id;
    GError *error = NULL;

    if (!body_accept(call, create_body))
        return;
    wanted = json_object_get(call->body, "keypair");
    user_id = keypair_user(call, body_text(wanted, "user_id"));
    if (!user_id)
        return;
    if (!name_is_allowed(call, body_text(wanted, "name"))) {
        api_fault(call, 400,
                  "Invalid input for field/attribute keypair.name: letters, digits, blanks, '_' "
                  "and '-' only (from 2.92 on also '@' and '.').");
        return;
    }
    if (g_strcmp0(body_text(wanted, "type"), "x509") == 0) {
        api_fault(call, 400,
                  "Keypair data is invalid: key pairs of type x509 are not supported by "
                  "this cloud; use type ssh.");
        return;
    }
    keypair = record_new(&KEYPAIR);
    keypair->name = g_strdup(body_text(wanted, "name"));
    keypair->user_id = g_strdup(user_id);
    keypair->id = g_strdup_printf("%s:%s", user_id, keypair->name);
    keypair->type = g_strdup("ssh");
    keypair->created_at = clock_realtime();
    if (body_text(wanted, "public_key")) {
        keypair->public_key = g_strstrip(g_strdup(body_text(wanted, "public_key")));
    } else if (!keypair_generate(&private_key, &keypair->public_key, &error)) {
        api_fail(call, error);
        return;
    }
    keypair->fingerprint = public_key_fingerprint(keypair->public_key);
    if (!keypair->fingerprint) {
        api_fault(call, 400,
                  "Keypair data is invalid: failed to generate fingerprint, public_key "
                  "is not one line as in ~/.ssh/id_ed25519.pub.");
        return;
    }
    if (!api_write(call, keypair_create_run, keypair))
        return;
    json_t *view = view_keypair(call, keypair, true);
    if (private_key)
        json_object_set_new(view, "private_key", json_string(private_key));
    api_reply(call, api_microversion_at_least(call, 2) ? 201 : 200,
              json_pack("{s:o}", "keypair", view));
}
