/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* standing.c: does this controller serve, or wait? /healthz, and what every other path answers
 * while it waits
 *
 *   {"status": "active"}                             200
 *   {"status": "standby", "active": URL, "reason"}   200: as well as a waiting one can be
 *   {"status": "starting", "reason"}                 503: state or storage cannot be used yet
 *
 * While it waits there is no store, and so no token can be checked: nobody is asked for one. */
#include "api/api-priv.h"

#include <stdatomic.h>

struct ApiStanding {
    atomic_bool is_active; /* set once, after all that the handlers use */
    pthread_mutex_t mutex; /* what follows */
    char *active;          /* NULL: unknown */
    char *reason;
};

ApiStanding *
standing_new(bool active)
{
    ApiStanding *standing = g_new0(ApiStanding, 1);

    atomic_init(&standing->is_active, active);
    pthread_mutex_init(&standing->mutex, NULL);
    standing->reason = g_strdup("it is starting");
    return standing;
}

void
standing_free(ApiStanding *standing)
{
    if (!standing)
        return;
    pthread_mutex_destroy(&standing->mutex);
    g_free(standing->active);
    g_free(standing->reason);
    g_free(standing);
}

void
standing_wait(ApiStanding *standing, const char *active, const char *reason)
{
    WITH_MUTEX(&standing->mutex);
    g_free(standing->active);
    standing->active = g_strdup(active);
    g_free(standing->reason);
    standing->reason = g_strdup(reason);
}

void
standing_activate(ApiStanding *standing)
{
    atomic_store(&standing->is_active, true);
}

bool
api_may_answer(void *api)
{
    const ApiConfig *config = api_config(api);

    return !atomic_load(&api_standing(api)->is_active) || !config->may_answer ||
           config->may_answer(config->opaque);
}

/* Copies, so that nothing is sent under the lock. */
static void
standing_read(ApiStanding *standing, char **active, char **reason)
{
    WITH_MUTEX(&standing->mutex);
    *active = g_strdup(standing->active);
    *reason = g_strdup(standing->reason);
}

bool
standing_permits(ApiStanding *standing, ApiCall *call)
{
    g_autofree char *active = NULL, *reason = NULL;

    if (atomic_load(&standing->is_active)) {
        if (api_may_answer(call->api))
            return true;
        api_fault(call, 503, "This controller no longer has the lease; another one takes over.");
        return false;
    }
    if (call->route->handler == standing_health)
        return true;
    standing_read(standing, &active, &reason);
    if (active) {
        api_header(call, "Location", active);
        api_fault(call, 503, "This controller stands by; the active one is at %s", active);
    } else {
        api_fault(call, 503, "This controller does not serve yet: %s", reason);
    }
    return false;
}

void
standing_health(ApiCall *call)
{
    ApiStanding *standing = api_standing(call->api);
    g_autofree char *active = NULL, *reason = NULL;

    if (atomic_load(&standing->is_active)) {
        api_reply(call, 200, json_pack("{s:s}", "status", "active"));
        return;
    }
    standing_read(standing, &active, &reason);
    if (active) {
        api_reply(
            call, 200,
            json_pack("{s:s,s:s,s:s}", "status", "standby", "active", active, "reason", reason));
        return;
    }
    api_header(call, "Retry-After", "5");
    api_reply(call, 503, json_pack("{s:s,s:s}", "status", "starting", "reason", reason));
}
