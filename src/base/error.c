/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* error.c: the one table that says what each error code means to a caller */
#include "base/base.h"

#include <string.h>

typedef struct ErrMeaning {
    const char *name;
    bool retriable;     /* the same call, unchanged, may succeed later */
    bool outcome_known; /* the failed call certainly had no lasting effect, or its effect is told */
} ErrMeaning;

static const ErrMeaning meanings[] = {
    [ERR_NOT_FOUND] = {"not-found", false, true},
    [ERR_CONFLICT] = {"conflict", false, true},
    [ERR_INVALID] = {"invalid", false, true},
    [ERR_FORBIDDEN] = {"forbidden", false, true},
    [ERR_QUOTA] = {"quota", false, true},
    [ERR_BUSY] = {"busy", true, true},
    [ERR_UNREACHABLE] = {"unreachable", true, false},
    [ERR_TIMEOUT] = {"timeout", true, false},
    [ERR_UNSUPPORTED] = {"unsupported", false, true},
    [ERR_CANCELLED] = {"cancelled", false, true},
    [ERR_FENCED] = {"fenced", false, true},
    [ERR_BACKEND] = {"backend", false, true},
    [ERR_BUG] = {"bug", false, false},
};

GQuark
err_domain(void)
{
    return g_quark_from_static_string("godwit-error");
}

bool
err_set(GError **err, ErrCode code, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        g_autofree char *message = g_strdup_vprintf(format, args);
        va_end(args);
        g_set_error_literal(err, ERR_DOMAIN, (int)code, message);
    }
    return false;
}

static const ErrMeaning *
err_meaning(ErrCode code)
{
    size_t index = (size_t)code;
    if (index == 0 || index >= G_N_ELEMENTS(meanings))
        return &meanings[ERR_BUG];
    return &meanings[index];
}

const char *
err_code_name(ErrCode code)
{
    return err_meaning(code)->name;
}

ErrCode
err_code(const GError *error)
{
    if (error == NULL)
        return ERR_BUG;
    if (error->domain != ERR_DOMAIN)
        return ERR_BACKEND;
    return (ErrCode)error->code;
}

bool
err_is(const GError *error, ErrCode code)
{
    return error != NULL && err_code(error) == code;
}

bool
err_is_retriable(const GError *error)
{
    return err_meaning(err_code(error))->retriable;
}

bool
err_outcome_known(const GError *error)
{
    return err_meaning(err_code(error))->outcome_known;
}

const char *
errno_text(int number)
{
    static _Thread_local char text[128];

    return strerror_r(number, text, sizeof text); /* the GNU one: may return a constant instead */
}

/* GLib makes the lock inside g_error_new at its first use, in a way that ThreadSanitizer takes for
 * a race: use it before there are threads. */
__attribute__((constructor)) static void
prepare_errors(void)
{
    g_error_free(g_error_new_literal(ERR_DOMAIN, ERR_BUG, ""));
}
