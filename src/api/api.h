/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api.h: the REST APIs: identity v3, compute v2.1, image v2, network v2, and Godwit's own v1 */
#pragma once

#include "auth/auth.h"
#include "http/http.h"
#include "task/task.h"

typedef struct Api Api;

typedef struct ApiConfig {
    /* All NULL: until api_activate every request but /healthz is answered with 503. */
    Store *store;
    Auth *auth;
    TaskEngine *tasks;
    const LibvirtSettings *libvirt;
    const char *public_url; /* "https://10.88.0.254:8774", without a trailing slash */
    const char *region;     /* "RegionOne" */
    const char *scratch;    /* directory for a copy of the state on its way out; NULL: no copies */
    const char *pki_dir;    /* of Godwit's CA */
    double cpu_ratio, ram_ratio;
    int64_t reserved_ram_mb;
    /* A host row was made, changed or removed: connect or drop it. */
    void (*on_hosts_changed)(void *opaque);
    /* May this process still answer (lease)? NULL: always. */
    bool (*may_answer)(void *opaque);
    void *opaque;
} ApiConfig;

Api *api_new(const ApiConfig *config); /* strings are copied */
/* Why it does not serve yet: active is the address of the controller that does ("standby"), or NULL
 * ("starting"), and reason is a sentence. */
void api_wait(Api *api, const char *active, const char *reason);
/* From now on it serves. Once. */
void api_activate(Api *api, Store *store, Auth *auth, TaskEngine *tasks);
void api_free(Api *api);
/* Route tables for http_server_start, and the count. */
const HttpRoute *const *api_routes(Api *api, size_t *n_tables);
/* For HttpConfig.on_error and .on_done; context is the Api. */
void api_on_error(HttpRequest *request, HttpResponse *response, int status, const char *message,
                  void *api);
/* For HttpConfig.may_answer: one that waits may say so, an active one must have the lease. */
bool api_may_answer(void *api);
void api_on_done(HttpRequest *request, int status, int64_t duration_us, void *api);
