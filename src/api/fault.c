/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault.c: what an error looks like outside: ErrCode → HTTP status, and the body that the clients
 * of each service expect
 *
 * This is the only place that knows both worlds. The clients read one nested object with a member
 * "message"; the name of that object differs from service to service. An answer of 500 and above is
 * logged here, once, because the caller cannot do anything about it and the operator has to. */
#include "api/api-priv.h"

static const struct {
    int status;
    const char *title;   /* reason phrase; Keystone's and Glance's "title" */
    const char *compute; /* Nova's and Cinder's name of the body object */
    const char *network; /* Neutron's "type" */
    ErrCode code;        /* for Godwit's own "name" when no error code is at hand */
} fault_table[] = {
    {400, "Bad Request", "badRequest", "BadRequest", ERR_INVALID},
    {401, "Unauthorized", "unauthorized", "NotAuthenticated", ERR_FORBIDDEN},
    {403, "Forbidden", "forbidden", "PolicyNotAuthorized", ERR_FORBIDDEN},
    {404, "Not Found", "itemNotFound", "HTTPNotFound", ERR_NOT_FOUND},
    {405, "Method Not Allowed", "badMethod", "HTTPMethodNotAllowed", ERR_INVALID},
    {406, "Not Acceptable", "computeFault", "HTTPNotAcceptable", ERR_UNSUPPORTED},
    {408, "Request Timeout", "badRequest", "HTTPRequestTimeout", ERR_TIMEOUT},
    {409, "Conflict", "conflictingRequest", "Conflict", ERR_CONFLICT},
    {413, "Request Entity Too Large", "overLimit", "HTTPRequestEntityTooLarge", ERR_INVALID},
    {415, "Unsupported Media Type", "badMediaType", "HTTPUnsupportedMediaType", ERR_INVALID},
    {429, "Too Many Requests", "overLimit", "HTTPTooManyRequests", ERR_BUSY},
    {431, "Request Header Fields Too Large", "badRequest", "BadRequest", ERR_INVALID},
    {500, "Internal Server Error", "computeFault", "HTTPInternalServerError", ERR_BACKEND},
    {501, "Not Implemented", "notImplemented", "HTTPNotImplemented", ERR_UNSUPPORTED},
    {503, "Service Unavailable", "serviceUnavailable", "ServiceUnavailable", ERR_UNREACHABLE},
    {504, "Gateway Timeout", "computeFault", "HTTPGatewayTimeout", ERR_TIMEOUT},
};

static size_t
fault_row(int status)
{
    size_t fallback = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(fault_table); i++) {
        if (fault_table[i].status == status)
            return i;
        if (fault_table[i].status == (status >= 500 ? 500 : 400))
            fallback = i;
    }
    return fallback;
}

static int
fault_status(ErrCode code, ApiService service)
{
    switch (code) {
    case ERR_NOT_FOUND:
        return 404;
    case ERR_CONFLICT:
    case ERR_CANCELLED:
        return 409;
    case ERR_INVALID:
    case ERR_UNSUPPORTED: /* Nova answers a move that a node cannot do with 400, and its clients
                             show the reason */
        return 400;
    case ERR_FORBIDDEN:
        return 403;
    case ERR_QUOTA:
        return service == API_NETWORK ? 409 : service == API_VOLUME ? 413 : 403;
    case ERR_BUSY:
        return service == API_IDENTITY ? 429 : 503;
    case ERR_UNREACHABLE:
    case ERR_FENCED:
        return 503;
    case ERR_TIMEOUT:
        return 504;
    case ERR_BACKEND:
    case ERR_BUG:
        return 500;
    }
    return 500;
}

static json_t *
fault_body_named(ApiService service, int status, const char *name, const char *message)
{
    size_t row = fault_row(status);
    const char *title = fault_table[row].title;

    /* Without a valid token every service answers in Keystone's words: that is what its clients
     * handle. */
    if (status == 401 && service != API_GODWIT)
        service = API_IDENTITY;
    switch (service) {
    case API_COMPUTE:
    case API_VOLUME:
        return json_pack("{s:{s:i,s:s}}", fault_table[row].compute, "code", status, "message",
                         message);
    case API_NETWORK:
        return json_pack("{s:{s:s,s:s,s:s}}", "NeutronError", "type", fault_table[row].network,
                         "message", message, "detail", "");
    case API_GODWIT:
        return json_pack("{s:{s:i,s:s,s:s}}", "error", "code", status, "name", name, "message",
                         message);
    case API_IDENTITY:
    case API_IMAGE:
    case API_ROOT:
        break;
    }
    return json_pack("{s:{s:i,s:s,s:s}}", "error", "code", status, "title", title, "message",
                     message);
}

json_t *
api_fault_body(ApiService service, int status, const char *message)
{
    const char *name =
        status == 401 ? "unauthorized" : err_code_name(fault_table[fault_row(status)].code);
    g_autofree char *clean = g_utf8_make_valid(message, -1);

    return fault_body_named(service, status, name, clean);
}

void
api_fault(ApiCall *call, int status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    if (status == 401) {
        g_autofree char *uri = api_url(call->api, "/identity");
        g_autofree char *challenge = g_strdup_printf("Keystone uri=\"%s\"", uri);
        http_response_header(call->response, "WWW-Authenticate", challenge);
    }
    if (status == 503 || status == 429)
        http_response_header(call->response, "Retry-After", "5");
    api_reply(call, status, api_fault_body(call->route->service, status, message));
}

void
api_fail(ApiCall *call, GError *error)
{
    ErrCode code = error ? err_code(error) : ERR_BUG;
    const char *text = error ? error->message : "a request failed without a reason";
    ApiService service = call->route->service;
    int status = fault_status(code, service);
    g_autofree char *message = NULL;

    if (status == 500) {
        log_event(LOG_LEVEL_ERROR, "api", "request failed", "request_id", call->request_id,
                  "method", http_request_method(call->request), "path",
                  http_request_path(call->request), "code", err_code_name(code), "reason", text,
                  NULL);
        if (code == ERR_BUG || !call->caller || !call->caller->is_admin)
            message = g_strdup_printf("Internal error; its reason is in the log of godwitd under "
                                      "%s.",
                                      call->request_id);
    }
    if (!message)
        message = g_utf8_make_valid(text, -1);
    if (status == 503 || status == 429)
        http_response_header(call->response, "Retry-After", "5");
    api_reply(call, status, fault_body_named(service, status, err_code_name(code), message));
    g_clear_error(&error);
}
