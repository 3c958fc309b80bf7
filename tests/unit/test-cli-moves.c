/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-cli-moves.c: what the godwit command sends for moves, resizes, rescues and power, and what
 * it makes of the answers: against an API that answers from a table */
#include "cli/cli.h"
#include "http/http.h"

#include <glib/gstdio.h>
#include <string.h>

#define S1 "22222222-2222-4222-8222-222222222222"

/* ---- an API that answers from a table ---------------------------------------------------------
 */

typedef struct Answer {
    const char *request; /* "GET /godwit/v1/migrations/7"; an array of answers ends with NULL */
    int status;
    const char *body;
} Answer;

static HttpServer *api;
static const Answer *script; /* of several for one request each is given once, the last for ever */
static GHashTable *n_asked;
static GString *seen; /* all but GET: "METHOD path body\n" */

static const Answer common[] = {
    {"GET /compute/v2.1/servers/detail?name=^web1$", 200,
     "{\"servers\": [{\"id\": \"" S1 "\", \"name\": \"web1\"}]}"},
    {"GET /compute/v2.1/flavors/detail?is_public=None", 200,
     "{\"flavors\": [{\"id\": \"f2\", \"name\": \"small\"}, {\"id\": \"f1\", \"name\": "
     "\"tiny\"}]}"},
    {0},
};

static const Answer no_servers = {"", 200, "{\"servers\": []}"};

static const Answer *
answer_find(const Answer *answers, const char *request)
{
    unsigned n = GPOINTER_TO_UINT(g_hash_table_lookup(n_asked, request));
    const Answer *found = NULL;

    for (const Answer *answer = answers; answer && answer->request; answer++) {
        if (!g_str_equal(answer->request, request))
            continue;
        found = answer;
        if (n-- == 0)
            break;
    }
    return found;
}

static void
query_append(const char *name, const char *value, void *opaque)
{
    GString *text = opaque;

    g_string_append_printf(text, "%s%s=%s", text->len ? "&" : "?", name, value);
}

static void
answer(HttpRequest *request, HttpResponse *response, void *context)
{
    const char *method = http_request_method(request);
    g_autoptr(GString) query = g_string_new(NULL);
    g_autofree char *asked = NULL;

    http_request_query_each(request, query_append, query);
    asked = g_strdup_printf("%s %s%s", method, http_request_path(request), query->str);

    const Answer *found = answer_find(script, asked);
    size_t size = 0;
    const char *body = http_request_body(request, &size);

    if (!g_str_equal(method, "GET"))
        g_string_append_printf(seen, "%s %.*s\n", asked, (int)size, body ? body : "");
    if (!found)
        found = answer_find(common, asked);
    if (!found && g_str_has_prefix(asked, "GET /compute/v2.1/servers/detail"))
        found = &no_servers;
    g_hash_table_replace(
        n_asked, g_strdup(asked),
        GUINT_TO_POINTER(GPOINTER_TO_UINT(g_hash_table_lookup(n_asked, asked)) + 1));

    g_autofree char *missing = g_strdup_printf(
        "{\"itemNotFound\": {\"message\": \"the table has no %s\"}}", found ? "" : asked);
    const char *text = found ? found->body : missing;

    http_response_header(response, "Content-Type", "application/json");
    if (text)
        http_response_body(response, g_strdup(text), strlen(text));
    http_response_status(response, found ? found->status : 404);
}

static void
login(HttpRequest *request, HttpResponse *response, void *context)
{
    unsigned port = http_server_port(api);
    char *text = g_strdup_printf(
        "{\"token\": {\"catalog\": [{\"type\": \"compute\", \"endpoints\": [{\"interface\": "
        "\"public\", \"region\": \"RegionOne\", \"url\": \"http://127.0.0.1:%u/compute/v2.1\"}]}]}"
        "}",
        port);

    http_response_header(response, "Content-Type", "application/json");
    http_response_header(response, "X-Subject-Token", "T");
    http_response_body(response, text, strlen(text));
    http_response_status(response, 201);
}

#define ROUTES(verb)                                                                           \
    {.method = verb, .pattern = "/{api}/{version}/{a}", .handler = answer, .body_max = 65536}, \
        {.method = verb,                                                                       \
         .pattern = "/{api}/{version}/{a}/{b}",                                                \
         .handler = answer,                                                                    \
         .body_max = 65536},                                                                   \
        {.method = verb,                                                                       \
         .pattern = "/{api}/{version}/{a}/{b}/{c}",                                            \
         .handler = answer,                                                                    \
         .body_max = 65536},                                                                   \
    {                                                                                          \
        .method = verb, .pattern = "/{api}/{version}/{a}/{b}/{c}/{d}", .handler = answer,      \
        .body_max = 65536                                                                      \
    }

static const HttpRoute api_routes[] = {
    {.method = "POST", .pattern = "/identity/v3/auth/tokens", .handler = login, .body_max = 65536},
    ROUTES("GET"),
    ROUTES("POST"),
    ROUTES("PUT"),
    ROUTES("DELETE"),
    {0},
};
static const HttpRoute *const api_tables[] = {api_routes};

/* ---- running commands -------------------------------------------------------------------------
 */

static CloudConfig *
config(void)
{
    CloudConfig *new = g_new0(CloudConfig, 1);

    new->values[CLOUD_AUTH_URL] =
        g_strdup_printf("http://127.0.0.1:%u/identity/", http_server_port(api));
    new->values[CLOUD_USERNAME] = g_strdup("admin");
    new->values[CLOUD_PASSWORD] = g_strdup("secret");
    new->values[CLOUD_PROJECT_NAME] = g_strdup("admin");
    return new;
}

/* Words are separated by "|". */
static bool
run(const Answer *answers, const char *name, const char *line, char **output, GError **err)
{
    static const CliCommand *const nouns[] = {move_commands, migration_commands, power_commands,
                                              rescue_commands, host_commands};
    static const CliOption json_option[] = {{"json", CLI_FLAG, NULL, ""}, {0}};
    g_auto(GStrv) argv = g_strsplit(line, "|", -1);
    g_autoptr(CliArgs) args = args_new();
    const CliCommand *command = NULL;
    unsigned used;
    size_t size;

    for (size_t i = 0; i < G_N_ELEMENTS(nouns); i++) {
        for (const CliCommand *c = nouns[i]; c->name; c++) {
            if (g_str_equal(c->name, name))
                command = c;
        }
    }
    g_assert_nonnull(command);

    const CliOption *const all[] = {command->options ? command->options : json_option, json_option,
                                    NULL};

    script = answers;
    g_hash_table_remove_all(n_asked);
    g_string_truncate(seen, 0);
    if (!args_parse(args, argv, *line ? g_strv_length(argv) : 0, all, false, &used, err)) {
        *output = NULL;
        return false;
    }

    Cli cli = {.args = args,
               .json = args_flag(args, "json"),
               .client = client_new(config()),
               .out = open_memstream(output, &size)};
    bool ok = command->run(&cli, err);

    fclose(cli.out);
    client_free(cli.client);
    return ok;
}

static void
assert_says(const Answer *answers, const char *name, const char *line, const char *text)
{
    g_autoptr(GError) error = NULL;
    char *output = NULL;

    if (!run(answers, name, line, &output, &error))
        g_error("%s %s: %s", name, line, error->message);
    if (!strstr(output, text))
        g_error("%s %s: %s", name, line, output);
    free(output);
}

static void
assert_fails(const Answer *answers, const char *name, const char *line, bool is_usage,
             const char *text)
{
    g_autoptr(GError) error = NULL;
    char *output = NULL;

    g_assert_false(run(answers, name, line, &output, &error));
    g_assert_nonnull(error);
    if (!strstr(error->message, text) || is_usage_error(error) != is_usage)
        g_error("%s %s: %s", name, line, error->message);
    free(output);
}

#define assert_seen(text) g_assert_cmpstr(seen->str, ==, text)

#define ACTION            "POST /compute/v2.1/servers/" S1 "/action"

/* ---- moves ------------------------------------------------------------------------------------
 */

#define MOVE(type, status, more)                                                                   \
    "{\"migration\": {\"id\": 7, \"server_id\": \"" S1 "\", \"server_name\": \"web1\", \"type\": " \
    "\"" type "\", \"status\": \"" status "\", \"phase\": \"done\", \"source_host\": \"host1\", "  \
    "\"dest_host\": \"host2\", \"created_at\": 1000000, \"ended_at\": 3000000, \"updated_at\": "   \
    "5" more "}}"
#define NEWEST                                                                                 \
    {                                                                                          \
        "GET /godwit/v1/migrations?limit=1&server=" S1, 200, "{\"migrations\": [{\"id\": 7}]}" \
    }
#define FLAVORS                                                                               \
    ", \"new_flavor\": {\"id\": \"f2\", \"name\": \"small\", \"vcpus\": 2, \"ram_mb\": 512, " \
    "\"disk_gb\": 1}, \"phases\": {\"start\": 250000, \"select\": 9000}"

static void
test_cold(void)
{
    static const Answer finished[] = {
        {ACTION, 202, NULL},
        NEWEST,
        {"GET /godwit/v1/migrations/7", 200, MOVE("migration", "migrating", "")},
        {"GET /godwit/v1/migrations/7?since=5&wait_ms=1000", 200,
         MOVE("migration", "finished", "")},
        {0},
    };
    static const Answer failed[] = {
        {ACTION, 202, NULL},
        NEWEST,
        {"GET /godwit/v1/migrations/7", 200,
         MOVE("migration", "error", ", \"reason\": \"the guest did not stop\\u001b[31m\"")},
        {0},
    };
    static const Answer refused[] = {
        {ACTION, 409, "{\"conflictingRequest\": {\"message\": \"it is locked\"}}"}, {0}};

    assert_says(finished, "server migrate", "web1|host2", "web1 is on host2 now (came from host1)");
    assert_seen(ACTION " {\"migrate\":{\"host\":\"host2\"}}\n");
    assert_says(finished, "server migrate", "web1", "godwit server resize-confirm web1");
    assert_seen(ACTION " {\"migrate\":null}\n");
    assert_says(finished, "server migrate", "web1|--no-wait", "migration show --follow 7");
    assert_fails(failed, "server migrate", "web1", false, "the guest did not stop");
    assert_fails(refused, "server migrate", "web1|--host|host2", false,
                 "server web1 is not moved to host2: it is locked");
    assert_fails(NULL, "server migrate", "web1|host2|--host|host3", true, "twice");
    assert_fails(NULL, "server migrate", "web1|--host|", true, "--host is empty");
    assert_fails(NULL, "server migrate", "web1|--priority|5", true, "--live");
    assert_fails(NULL, "server migrate", "web1|--live|--priority|101", true, "--priority");
    assert_fails(NULL, "server migrate", "web9", false, "there is no server \"web9\"");
    assert_seen("");
}

static void
test_live(void)
{
    static const Answer queued[] = {
        {"POST /godwit/v1/servers/" S1 "/move", 202, MOVE("live-migration", "queued", "")},
        NEWEST,
        {"GET /godwit/v1/migrations/7", 200,
         MOVE("live-migration", "completed",
              ", \"forced\": \"pause\", \"attempts\": [{\"host\": \"host3\", \"at\": 1, "
              "\"error_code\": \"unsupported\", \"reason\": \"it lacks avx\"}], \"downtime_ms\": "
              "20")},
        {0},
    };

    assert_says(queued, "server migrate", "web1|--live|--priority|5", "runs on host2 now");
    assert_seen("POST /godwit/v1/servers/" S1 "/move {\"priority\":5}\n");
    assert_says(queued, "server migrate", "web1|host2|--live|--priority|0",
                "tried host3        it lacks avx\n");
    assert_seen("POST /godwit/v1/servers/" S1 "/move {\"host\":\"host2\",\"priority\":0}\n");
    assert_says(queued, "migration show", "--follow|7", "forced             the guest was paused");
}

static void
test_resize(void)
{
    static const Answer finished[] = {
        {ACTION, 202, NULL},
        {"POST /godwit/v1/servers/" S1 "/resize", 202, MOVE("resize", "pre-migrating", "")},
        NEWEST,
        {"GET /godwit/v1/migrations/7", 200, MOVE("resize", "finished", FLAVORS)},
        {0},
    };
    static const Answer reverted[] = {
        {"GET /godwit/v1/migrations/7", 200, MOVE("resize", "reverted", FLAVORS)}, {0}};

    assert_says(finished, "server resize", "web1|small|--wait",
                "web1 is on host2 now with flavor small (came from host1)\n");
    assert_seen(ACTION " {\"resize\":{\"flavorRef\":\"f2\"}}\n");
    assert_says(finished, "server resize", "web1|small|--wait",
                "  phase select       9.0 ms\n  phase start        250 ms\n");
    assert_says(finished, "server resize", "web1|f2", "resize 7 of server web1 has begun");
    assert_says(finished, "server resize", "web1|small|--host|host2", "has begun");
    assert_seen("POST /godwit/v1/servers/" S1 "/resize {\"flavor\":\"f2\",\"host\":\"host2\"}\n");
    assert_fails(NULL, "server resize", "web1|huge", false, "there is no flavor \"huge\"");
    assert_fails(NULL, "server resize", "web1|", true, "the name of a flavor is empty");
    assert_seen("");
    assert_says(reverted, "migration show", "--follow|7", "web1 is on host1 again");
    assert_says(finished, "migration show", "7", "small (vCPUs: 2, 512 MiB, 1 GiB disk)\n");
}

#define SERVER(status, task)                                  \
    "{\"server\": {\"id\": \"" S1 "\", \"status\": \"" status \
    "\", \"OS-EXT-STS:task_state\": " task "}}"
#define LOOK "GET /compute/v2.1/servers/" S1

static void
test_end_resize(void)
{
    static const Answer well[] = {
        {ACTION, 202, NULL},
        {LOOK, 200, SERVER("VERIFY_RESIZE", "\"resize_confirming\"")},
        {LOOK, 200, SERVER("ACTIVE", "null")},
        {0},
    };
    static const Answer ill[] = {
        {ACTION, 202, NULL},
        {LOOK, 200, SERVER("VERIFY_RESIZE", "null")},
        {LOOK "/os-instance-actions", 200,
         "{\"instanceActions\": [{\"request_id\": \"req-1\"}, {\"request_id\": \"req-0\"}]}"},
        {LOOK "/os-instance-actions/req-1", 200,
         "{\"instanceAction\": {\"events\": [{\"result\": \"Success\", \"details\": null}, "
         "{\"result\": \"Error\", \"details\": \"host1 does not answer\"}]}}"},
        {0},
    };

    assert_says(well, "server resize-confirm", "web1", "server web1 is being confirmed");
    assert_seen(ACTION " {\"confirmResize\":null}\n");
    assert_says(well, "server resize-confirm", "web1|--wait", "server web1 is ACTIVE\n");
    assert_says(well, "server resize-revert", "web1|--wait", "server web1 is ACTIVE\n");
    assert_seen(ACTION " {\"revertResize\":null}\n");
    assert_fails(ill, "server resize-revert", "web1|--wait", false,
                 "server web1 was not reverted: server web1 is VERIFY_RESIZE now: host1 does not "
                 "answer");
}

/* ---- steering ---------------------------------------------------------------------------------
 */

static void
test_steer(void)
{
#define OPEN "GET /godwit/v1/migrations?open=1&type=live-migration&limit=1&server=" S1
    static const Answer running[] = {
        {OPEN, 200, "{\"migrations\": [{\"id\": 7, \"server_name\": \"web1\"}]}"},
        {"GET /godwit/v1/migrations/7", 200, MOVE("live-migration", "running", "")},
        {"GET /godwit/v1/migrations/7", 200, MOVE("live-migration", "cancelled", "")},
        {"POST /godwit/v1/migrations/7/abort", 202, MOVE("live-migration", "running", "")},
        {"POST /godwit/v1/migrations/7/force-complete", 202, MOVE("live-migration", "running", "")},
        {0},
    };
    static const Answer late[] = {
        {OPEN, 200, "{\"migrations\": [{\"id\": 7, \"server_name\": \"web1\"}]}"},
        {"POST /godwit/v1/migrations/7/abort", 202, MOVE("live-migration", "running", "")},
        {"GET /godwit/v1/migrations/7", 200, MOVE("live-migration", "completed", "")},
        {0},
    };
    static const Answer over[] = {
        {OPEN, 200, "{\"migrations\": []}"},
        {"GET /godwit/v1/migrations/7", 200, MOVE("live-migration", "completed", "")},
        {"POST /godwit/v1/migrations/7/force-complete", 409,
         "{\"conflict\": {\"message\": \"it has ended (completed)\"}}"},
        {0},
    };

    assert_says(running, "migration abort", "7", "move 7 of server web1 is being aborted");
    assert_seen("POST /godwit/v1/migrations/7/abort \n");
    assert_says(running, "migration abort", "web1", "is being aborted");
    assert_says(running, "migration abort", "7|--wait",
                "move 7 aborted: server web1 runs on host1");
    assert_fails(late, "migration abort", "web1|--wait", false, "was not aborted");
    assert_fails(over, "migration abort", "web1", false, "no live migration of server web1");
    assert_fails(over, "migration force-complete", "7", false,
                 "move 7 of server web1 is not forced: it has ended (completed)");
    assert_says(running, "migration force-complete", "web1", "made to end soon");
    assert_seen("POST /godwit/v1/migrations/7/force-complete \n");
    assert_fails(late, "migration abort", "web1/../../x", false,
                 "there is no server \"web1/../../x\"");
    assert_fails(late, "migration show", "web1", true, "not the number of a move");
    assert_fails(late, "migration show", "0", true, "not the number of a move");
    assert_fails(late, "migration abort", "8", false, "the table has no");
    assert_seen("");
}

static void
test_list(void)
{
    static const Answer list[] = {
        {"GET /godwit/v1/migrations?limit=100", 200,
         "{\"migrations\": [{\"id\": 9, \"server_name\": \"web1\", \"type\": \"live-migration\", "
         "\"status\": \"queued\", \"queue_position\": 0, \"source_host\": \"host1\"}]}"},
        {"GET /godwit/v1/migrations/7", 200,
         MOVE("evacuation", "done",
              ", \"fence\": {\"storage\": \"rbd\", \"addresses\": [\"10.0.0.1:0/7\"], \"us\": "
              "{\"blocklist\": 400000, \"watchers\": 100000}, \"override\": {\"reason\": "
              "\"unplugged\\u001b\", \"by\": \"u1\"}, \"command\": {\"program\": \"/x\", "
              "\"done\": true}}, \"attempts\": "
              "[{\"host\": \"host3\", \"at\": 1795405529000000, \"error_code\": \"busy\", "
              "\"reason\": \"no RAM\"}]")},
        {0},
    };
    g_autofree char *line = NULL;
    g_autoptr(json_t) queued = json_loads("{\"source_host\": \"host1\", \"phase\": \"queue\", "
                                          "\"queue_position\": 2, \"wish\": \"abort\"}",
                                          0, NULL);

    assert_says(list, "migration list", "",
                "9   web1    live-migration  queued  -      0      host1");
    assert_says(list, "migration show", "7",
                "TRIED BEFORE  AT                    ERROR  REASON\n"
                "host3         2026-11-23T03:45:29Z  busy   no RAM\n");
    assert_says(list, "migration show", "7",
                "\nfence of its former node:\n"
                "storage            rbd\n"
                "addresses          10.0.0.1:0/7\n"
                "command            /x: the node is off\n"
                "override           \"unplugged?\", by user u1\n"
                "time of blocklist  400 ms\n"
                "time of watchers   100 ms\n");
    assert_says(list, "migration show", "7|--follow",
                "  fence              1 client of its former node shut out, in 500 ms\n");
    assert_fails(list, "migration list", "--limit|0", true, "--limit");
    line = progress_line(queued, 200);
    g_assert_cmpstr(line, ==, "queue     host1 -> ?  2 before it in the queue  abort asked for");
}

/* ---- power ------------------------------------------------------------------------------------
 */

static void
test_power(void)
{
    static const Answer well[] = {
        {ACTION, 202, NULL},
        {LOOK, 200, SERVER("ACTIVE", "\"pausing\"")},
        {LOOK, 200, SERVER("PAUSED", "null")},
        {0},
    };
    static const struct {
        const char *name, *line, *body, *says;
    } table[] = {
        {"server pause", "web1", "{\"pause\":null}", "is being paused"},
        {"server pause", "web1|--wait", "{\"pause\":null}", "server web1 is PAUSED\n"},
        {"server unpause", "web1", "{\"unpause\":null}", "is being unpaused"},
        {"server suspend", "web1", "{\"suspend\":null}", "is being suspended"},
        {"server resume", "web1", "{\"resume\":null}", "is being resumed"},
        {"server start", "web1", "{\"os-start\":null}", "is being started"},
        {"server stop", "web1", "{\"os-stop\":null}", "is being stopped"},
        {"server reboot", "web1|--hard", "{\"reboot\":{\"type\":\"HARD\"}}", "is being reset"},
        {"server lock", "web1", "{\"lock\":null}", "server web1 is locked\n"},
        {"server lock", "web1|--reason|do \"not\" touch",
         "{\"lock\":{\"locked_reason\":\"do \\\"not\\\" touch\"}}", "is locked"},
        {"server unlock", "web1", "{\"unlock\":null}", "server web1 is unlocked\n"},
        {"server reset-state", "web1|active", "{\"os-resetState\":{\"state\":\"active\"}}",
         "is recorded as active"},
        {"server reset-state", "web1|error", "{\"os-resetState\":{\"state\":\"error\"}}",
         "is recorded as in error"},
    };
    g_autofree char *long_reason = g_strnfill(256, 'x');
    g_autofree char *lock = g_strconcat("web1|--reason|", long_reason, NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autofree char *request = g_strdup_printf(ACTION " %s\n", table[i].body);

        assert_says(well, table[i].name, table[i].line, table[i].says);
        assert_seen(request);
    }
    assert_fails(well, "server unpause", "web1|--wait", false, "server web1 is PAUSED now");
    assert_fails(NULL, "server reset-state", "web1|gone", true, "active or error");
    assert_fails(NULL, "server lock", "web1|--reason|", true, "--reason");
    assert_fails(NULL, "server lock", lock, true, "--reason");
    assert_fails(NULL, "server pause", "web1|--force", true, "unknown option");
    assert_seen("");
}

/* ---- rescue -----------------------------------------------------------------------------------
 */

static void
test_evacuate(void)
{
    static const Answer well[] = {
        {ACTION, 200, "{}"},
        {"POST /godwit/v1/servers/" S1 "/evacuate", 202, MOVE("evacuation", "accepted", "")},
        NEWEST,
        {"GET /godwit/v1/migrations/7", 200, MOVE("evacuation", "done", "")},
        {0},
    };
    static const Answer up[] = {
        {ACTION, 409, "{\"conflictingRequest\": {\"message\": \"host1 is up\"}}"}, {0}};

    assert_says(well, "server evacuate", "web1|--wait",
                "web1 was brought up on host2 (its node was host1)\n");
    assert_seen(ACTION " {\"evacuate\":{}}\n");
    assert_says(well, "server evacuate", "web1|host2", "rescue 7 of server web1 has begun");
    assert_seen(ACTION " {\"evacuate\":{\"host\":\"host2\"}}\n");
    assert_says(well, "server evacuate", "web1|--override|plug pulled", "has begun");
    assert_seen("POST /godwit/v1/servers/" S1
                "/evacuate {\"override\":\"plug pulled\",\"stopped\":false}\n");
    assert_fails(up, "server evacuate", "web1", false, "server web1 is not rescued: host1 is up");
    assert_fails(NULL, "server evacuate", "web1|--override| ", true, "--override");
}

#define ROW(id, name, status, more)                                                                \
    "{\"id\": " id ", \"type\": \"evacuation\", \"server_name\": \"" name "\", \"status\": "       \
    "\"" status "\", \"phase\": \"fence\", \"source_host\": \"host1\", \"dest_host\": \"host2\", " \
    "\"created_at\": 1000000, \"ended_at\": 3000000" more "}"
#define ACCEPTED(name, id)                                                              \
    "{\"server\": {\"id\": \"x\", \"name\": \"" name "\"}, \"migration\": {\"id\": " id \
    "}, \"error\": null}"
#define MOVES "GET /godwit/v1/migrations?limit=1000"

static void
test_rescue(void)
{
    static const Answer well[] = {
        {"POST /godwit/v1/hosts/host1/rescue", 202,
         "{\"rescue\": [" ACCEPTED("web1", "7") ", " ACCEPTED("web2", "8") "]}"},
        {MOVES, 200,
         "{\"migrations\": [" ROW("8", "web2", "pre-migrating", "") ", " ROW("7", "web1",
                                                                             "accepted", "") "]}"},
        {MOVES, 200, "{\"migrations\": [" ROW("8", "web2", "done", "") "]}"},
        {"GET /godwit/v1/migrations/7", 200, "{\"migration\": " ROW("7", "web1", "done", "") "}"},
        {0},
    };
    static const Answer partly[] = {
        {"POST /godwit/v1/hosts/host1/rescue", 202,
         "{\"rescue\": [" ACCEPTED(
             "web1", "7") ", {\"server\": {\"id\": \"y\", \"name\": \"web\\u001b[2Jx\"}, "
                          "\"migration\": null, "
                          "\"error\": {\"name\": \"conflict\", \"message\": \"it is locked\"}}]}"},
        {MOVES, 200,
         "{\"migrations\": [" ROW("7", "web1", "error", ", \"reason\": \"no RAM\\u001b[1m\"") "]}"},
        {0},
    };
    static const Answer none[] = {{"POST /godwit/v1/hosts/host1/rescue", 202, "{\"rescue\": []}"},
                                  {0}};
    static const Answer up[] = {
        {"POST /godwit/v1/hosts/host1/rescue", 409,
         "{\"conflict\": {\"message\": \"host1 is up\"}}"},
        {0},
    };
    g_autoptr(GError) error = NULL;
    char *output = NULL;

    assert_says(well, "host rescue", "host1|--wait",
                "SERVER  MOVE  STATUS  TO     TIME    REASON\n"
                "web1    7     done    host2  2.00 s  -\n"
                "web2    8     done    host2  2.00 s  -\n");
    assert_seen("POST /godwit/v1/hosts/host1/rescue {\"stopped\":false}\n");
    assert_says(well, "host rescue", "host1|--to|host3|--override|off|--stopped",
                "web1    7     accepted");
    assert_seen("POST /godwit/v1/hosts/host1/rescue "
                "{\"dest\":\"host3\",\"override\":\"off\",\"stopped\":true}\n");
    assert_says(none, "host rescue", "host1", "host host1 has no servers");
    assert_fails(up, "host rescue", "host1", false, "host host1 is not rescued: host1 is up");
    assert_fails(NULL, "host rescue", "host1|--to|host1", true, "--to host1");
    assert_fails(NULL, "host rescue", "host1|--override|", true, "--override");
    assert_fails(NULL, "host rescue", "x?y&z", false, "/godwit/v1/hosts/x?y&z/rescue");

    g_assert_false(run(partly, "host rescue", "host1|--wait", &output, &error));
    g_assert_nonnull(strstr(error->message, "2 of 2 servers of host host1 were not rescued"));
    g_assert_nonnull(strstr(output, "web1      7     error    host2  2.00 s  no RAM?[1m\n"));
    g_assert_nonnull(strstr(output, "web?[2Jx  -     refused  -      -       it is locked\n"));
    g_clear_error(&error);
    g_clear_pointer(&output, free);
    g_assert_false(run(partly, "host rescue", "host1", &output, &error));
    g_assert_nonnull(strstr(error->message, "1 of 2 servers of host host1 cannot be rescued"));
    free(output);
}

static void
test_hosts(void)
{
    static const Answer answers[] = {
        {"GET /compute/v2.1/os-services?binary=nova-compute&host=host1", 200,
         "{\"services\": [{\"id\": \"u1\", \"host\": \"host1\"}]}"},
        {"GET /compute/v2.1/os-services?binary=nova-compute&host=host9", 200, "{\"services\": []}"},
        {"PUT /compute/v2.1/os-services/u1", 200, "{\"service\": {}}"},
        {"PUT /godwit/v1/hosts/host1", 200, "{\"host\": {\"name\": \"h1\"}}"},
        {"DELETE /godwit/v1/hosts/host1?force=true", 204, NULL},
        {"GET /godwit/v1/hosts/host1", 200,
         "{\"host\": {\"name\": \"host1\", \"foreign_domains\": 1}}"},
        {"GET /godwit/v1/fences?host=host1", 200,
         "{\"fences\": [{\"host\": \"host1\", \"address\": \"10.0.0.1:0/7\", \"server_name\": "
         "\"web1\", \"created_at\": 1795405529000000, \"expires_at\": 0}]}"},
        {"GET /godwit/v1/fences", 200, "{\"fences\": []}"},
        {"GET /godwit/v1/hosts/host1/domains", 200,
         "{\"domains\": [{\"name\": \"old\\u0007vm\", \"uuid\": \"u\", \"state\": \"running\", "
         "\"ours\": false, \"role\": \"foreign\", \"expected\": null}], \"foreign\": 1, "
         "\"unexpected\": 0, \"missing\": [{\"server_id\": \"" S1 "\", \"server_name\": \"web1\", "
         "\"vm_state\": \"active\"}]}"},
        {0},
    };

    assert_says(answers, "host forced-down", "host1", "forced-down --unset host1");
    assert_seen("PUT /compute/v2.1/os-services/u1 {\"forced_down\":true}\n");
    assert_says(answers, "host forced-down", "--unset|host1", "no longer forced down: its state");
    assert_seen("PUT /compute/v2.1/os-services/u1 {\"forced_down\":false}\n");
    assert_fails(answers, "host forced-down", "host9", false, "there is no host \"host9\"");
    assert_says(answers, "host rename", "host1|h1", "host host1 is called h1 now");
    assert_seen("PUT /godwit/v1/hosts/host1 {\"host\":{\"name\":\"h1\"}}\n");
    assert_says(answers, "host remove", "--force|host1", "host host1 removed");
    assert_says(answers, "host show", "host1",
                "FENCED CLIENT  DISK OF  SINCE                 UNTIL\n"
                "10.0.0.1:0/7   web1     2026-11-23T03:45:29Z  -\n");
    assert_says(answers, "fence list", "", "HOST  CLIENT  DISK OF  SINCE  UNTIL\n");
    assert_says(answers, "fence list", "--host|host1", "host1  10.0.0.1:0/7");
    assert_says(answers, "host domains", "host1",
                "old?vm  u     running  no    foreign  -         -       -\n");
    assert_says(answers, "host domains", "host1", "MISSING SERVER");
    assert_fails(answers, "host domains", "host9", false, "the table has no");
}

int
main(int argc, char **argv)
{
    HttpConfig http = {.address = "127.0.0.1"};

    g_test_init(&argc, &argv, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    g_setenv("no_proxy", "*", true);
    n_asked = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    seen = g_string_new(NULL);
    api = http_server_start(&http, api_tables, 1, NULL);

    g_test_add_func("/cli-moves/cold", test_cold);
    g_test_add_func("/cli-moves/live", test_live);
    g_test_add_func("/cli-moves/resize", test_resize);
    g_test_add_func("/cli-moves/end-resize", test_end_resize);
    g_test_add_func("/cli-moves/steer", test_steer);
    g_test_add_func("/cli-moves/list", test_list);
    g_test_add_func("/cli-moves/power", test_power);
    g_test_add_func("/cli-moves/evacuate", test_evacuate);
    g_test_add_func("/cli-moves/rescue", test_rescue);
    g_test_add_func("/cli-moves/hosts", test_hosts);

    int result = g_test_run();

    http_server_stop(api);
    g_hash_table_unref(n_asked);
    g_string_free(seen, TRUE);
    return result;
}
