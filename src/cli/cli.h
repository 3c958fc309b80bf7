/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli.h: what the files of the godwit command share: arguments, configuration, the client, output
 */
#pragma once

#include "base/base.h"

#include <jansson.h>
#include <stdio.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_t, json_decref)

/* ---- arguments (args.c) -----------------------------------------------------------------------
 */

/* A call that is wrong as it is written: exit code 2, with a hint at --help. Always false. */
bool usage_error(GError **err, const char *format, ...) G_GNUC_PRINTF(2, 3);
bool is_usage_error(const GError *error);

typedef enum CliOptionKind {
    CLI_FLAG,
    CLI_TEXT,
    CLI_LIST
} CliOptionKind;

typedef struct CliOption {
    const char *name; /* without the dashes; an array of options ends with NULL */
    CliOptionKind kind;
    const char *value; /* how the help names its value */
    const char *help;
    bool required;
} CliOption;

typedef struct CliArgs {
    GPtrArray *words;    /* positional */
    GHashTable *options; /* name → GPtrArray of char * (empty for a flag) */
} CliArgs;

CliArgs *args_new(void);
void args_free(CliArgs *args);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CliArgs, args_free)
/* Take the options of either table and the words from argv. A word that is not an option ends the
 * parsing if stop_at_word; *used tells how far it went. */
bool args_parse(CliArgs *args, char *const *argv, unsigned argc, const CliOption *const tables[],
                bool stop_at_word, unsigned *used, GError **err);

const char *args_word(const CliArgs *args, unsigned n); /* NULL if there are not so many */
bool args_flag(const CliArgs *args, const char *name);
const char *args_text(const CliArgs *args, const char *name);      /* the last one given, or NULL */
const GPtrArray *args_list(const CliArgs *args, const char *name); /* NULL if never given */
/* A whole number in [least, most]; *value is left alone if the option was not given. */
bool args_int(const CliArgs *args, const char *name, int64_t least, int64_t most, int64_t *value,
              GError **err);

/* ---- configuration (clouds.c) ------------------------------------------------------------------
 * From --os-* options, else OS_* variables, else clouds.yaml (and secure.yaml). */
typedef enum CloudKey {
    CLOUD_AUTH_URL,
    CLOUD_USERNAME,
    CLOUD_USER_ID,
    CLOUD_PASSWORD,
    CLOUD_TOKEN,
    CLOUD_PROJECT_NAME,
    CLOUD_PROJECT_ID,
    CLOUD_USER_DOMAIN_NAME,
    CLOUD_USER_DOMAIN_ID,
    CLOUD_PROJECT_DOMAIN_NAME,
    CLOUD_PROJECT_DOMAIN_ID,
    CLOUD_REGION_NAME,
    CLOUD_CACERT,
    CLOUD_INTERFACE,
    N_CLOUD_KEYS,
} CloudKey;

typedef struct CloudConfig {
    char *values[N_CLOUD_KEYS];
} CloudConfig;

extern const CliOption cloud_options[];
CloudConfig *cloud_config_load(const CliArgs *options, GError **err);
void cloud_config_free(CloudConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CloudConfig, cloud_config_free)

/* ---- the client (client.c) --------------------------------------------------------------------
 */

typedef enum ClientService {
    SERVICE_COMPUTE, /* paths begin after /v2.1 */
    SERVICE_IMAGE,   /* after /v2 */
    SERVICE_NETWORK, /* after /v2.0 */
    SERVICE_VOLUME,  /* after /v3/PROJECT_ID */
    SERVICE_GODWIT,  /* after /godwit/v1 */
} ClientService;

typedef struct Client Client;
Client *client_new(CloudConfig *config); /* takes config */
void client_free(Client *client);
const char *client_auth_url(const Client *client);

/* One call; gets a token first, and a new one if the old one has expired. *reply (may be NULL) gets
 * the JSON body, or NULL if there is none. An answer of 400 and above is an error with the server's
 * own message. */
bool client_call(Client *client, ClientService service, const char *method, const char *path,
                 json_t *body, json_t **reply, GError **err);
/* The X-Godwit-Migration header of the last answer; NULL if it had none. */
const char *client_last_migration(const Client *client);
bool client_upload(Client *client, ClientService service, const char *path, const char *file,
                   GError **err);
/* By way of a temporary file beside it; nothing is left of a download that broke off. */
bool client_download(Client *client, ClientService service, const char *path, const char *file,
                     GError **err);
/* Ctrl-C from now on ends the call under way with ERR_CANCELLED instead of the process. */
void client_catch_interrupt(void);
bool client_is_interrupted(void);
char *client_escape(const char *text); /* for a path segment or a query value */

/* ---- output (table.c, progress.c) -------------------------------------------------------------
 */

typedef enum CellFormat {
    CELL_TEXT,      /* whatever it is, readably */
    CELL_BYTES,     /* bytes → "1.5 GiB" */
    CELL_TIME,      /* realtime µs → "2026-11-23T03:45:29Z" */
    CELL_ADDRESSES, /* a server's addresses → "lab=10.88.1.5" */
    CELL_ATTACHED,  /* a volume's attachments → "web1 /dev/vdb" */
} CellFormat;

typedef struct Column {
    const char *title; /* an array of columns ends with NULL */
    const char *key;   /* "/" goes into an object */
    CellFormat format;
} Column;

char *cell_text(const json_t *value, CellFormat format);
const json_t *json_at(const json_t *object, const char *key);    /* "/" goes into an object */
const char *json_text_at(const json_t *object, const char *key); /* "" if it is no string */
int64_t json_int_at(const json_t *object, const char *key);      /* 0 if it is no number */
char *table_format(const json_t *rows, const Column *columns);
char *fields_format(const json_t *object);

char *bytes_text(int64_t bytes);
char *duration_text(int64_t us);
/* One line on a move under way, at most width columns. */
char *progress_line(const json_t *migration, unsigned width);
/* What there is to say about one that ended well; several lines. */
char *progress_summary(const json_t *migration);
/* One line on a task, or on a volume, that copies; NULL while a volume has nothing to count. */
char *progress_task_line(const json_t *task, unsigned width);
char *progress_volume_line(const json_t *volume, unsigned width);

/* ---- commands ---------------------------------------------------------------------------------
 */

typedef struct Cli {
    const CliArgs *args;
    bool json;
    Client *client;
    FILE *out;
    int exit_status; /* of a failure; 0: the usual one */
} Cli;

typedef struct CliCommand {
    const char *name;         /* "server migrate" */
    const char *words;        /* how the help names the positional arguments */
    unsigned least, most;     /* number of those */
    const CliOption *options; /* may be NULL */
    bool (*run)(Cli *cli, GError **err);
    const char *help;
    bool is_local; /* runs without an API: its Cli has no client */
} CliCommand;

/* One table per noun, ended by name == NULL. */
extern const CliCommand server_commands[], power_commands[], move_commands[], migration_commands[],
    host_commands[], rescue_commands[], image_commands[], flavor_commands[], network_commands[],
    keypair_commands[], cpu_commands[], status_commands[], storage_commands[], volume_commands[],
    snapshot_commands[], task_commands[], state_commands[], prepare_commands[], certs_commands[],
    prepare_tree_commands[], doctor_commands[], nova_conf_commands[];

/* Print what was asked for: as a table, or the raw JSON with --json. */
void cli_print_list(Cli *cli, const json_t *rows, const Column *columns);
void cli_print_object(Cli *cli, const json_t *object);
/* A line for people; nothing with --json. */
void cli_say(Cli *cli, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* GET path and take out the member key; NULL with *err. */
json_t *cli_get(Cli *cli, ClientService service, const char *path, const char *key, GError **err);
bool cli_post(Cli *cli, ClientService service, const char *path, json_t *body, const char *key,
              json_t **object, GError **err);

typedef struct Noun {
    const char *name; /* "server", for messages */
    ClientService service;
    const char *list; /* "/servers/detail" */
    const char *list_key;
    const char *show;     /* "/servers" */
    const char *show_key; /* NULL: the answer is the object itself */
} Noun;
extern const Noun noun_server, noun_image, noun_flavor, noun_network, noun_subnet, noun_volume,
    noun_snapshot;
/* The object with that id or name; ambiguous names are an error that lists the ids. */
json_t *cli_find(Cli *cli, const Noun *noun, const char *name_or_id, GError **err);
/* The same, and its path: "/servers/ID". */
char *cli_find_path(Cli *cli, const Noun *noun, const char *name_or_id, GError **err);
bool cli_delete_all(Cli *cli, const Noun *noun, GError **err); /* all that the words name */

/* Every row of a list that comes in pages. */
json_t *cli_get_all(Cli *cli, const Noun *noun, const char *path, GError **err);
/* The words of --property KEY=VALUE as an object; NULL with *err for one that is none. */
json_t *cli_properties(Cli *cli, GError **err);

/* ---- following (follow.c) ---------------------------------------------------------------------
 */

typedef struct Follow {
    const char *path, *key; /* of Godwit's own API, or of compute's */
    const char *what;       /* "move 7", for messages */
    const char *again;      /* the command that takes the watching up again */
    const char *meanwhile;  /* what goes on while the controller does not answer */
    const char *phase_key;  /* a change of it is worth a line of its own */
    char *(*line)(const json_t *object,
                  unsigned width); /* NULL, or it gives NULL: nothing to show */
    bool (*is_over)(const json_t *object);
    bool of_compute;
    bool long_poll;  /* the API waits for news by itself */
    bool until_gone; /* that it is no longer there is the end: a JSON null comes back */
} Follow;

/* The object as it is at its end; NULL with *err if that cannot be learnt. Blocks. */
json_t *cli_follow(Cli *cli, const Follow *follow, GError **err);
/* After an error of a look: true if the controller is only away and it is worth while to look
 * again, which has been waited for; then *error is cleared, else it goes to *err. *since: 0 as long
 * as it answers. */
bool
cli_controller_away(const Follow *follow, bool quiet, int64_t *since, GError **error, GError **err);
/* Follow a move, a resize or an evacuation to its end and say how it went (cli-migration.c). */
bool cli_follow_migration(Cli *cli, const char *id, GError **err);
/* What there is to say of one that failed. Caller frees. */
char *cli_migration_failure(const json_t *migration);
bool cli_migration_is_over(const json_t *migration);
bool cli_migration_went_well(const json_t *migration);
/* Follow a task to its end (cli-task.c); what: "the copy of volume data". */
bool cli_follow_task(Cli *cli, int64_t id, const char *what, json_t **task, GError **err);
/* POST path/flatten, and the task of it with --wait (cli-task.c). */
bool cli_flatten(Cli *cli, const char *path, const char *what, GError **err);

/* ---- servers (cli-power.c) ---------------------------------------------------------------------
 */

typedef struct ServerDeed {
    const char *participle; /* "paused" */
    const char
        *wanted[4]; /* the statuses that it ends with, NULL-ended; none: it is done at once */
} ServerDeed;
/* The action of body, which is taken, on the server that the first word names; with --wait to its
 * end. */
bool cli_server_act(Cli *cli, const ServerDeed *deed, json_t *body, GError **err);
/* Until no task is at work on the server; *server is what it is like then. An error with its reason
 * if its status is none of wanted, which is NULL-ended. */
bool cli_server_settle(Cli *cli, const char *id, const char *name, const char *const *wanted,
                       json_t **server, GError **err);

/* ---- rescue (cli-rescue.c) ---------------------------------------------------------------------
 */

/* The words of --override, NULL if it was not given. */
bool cli_override_reason(Cli *cli, const char **reason, GError **err);

/* ---- nodes over ssh (prepare-common.c) ---------------------------------------------------------
 */

struct NodeTarget;
/* The words as machines, NULL-ended; NULL with *err for one that does not name any. */
struct NodeTarget **cli_targets_parse(const GPtrArray *words, unsigned *n, GError **err);
void cli_targets_free(struct NodeTarget **targets);
/* The option, if it was given, is the name of a user or group on nodes. */
bool cli_account_check(const CliArgs *args, const char *option, GError **err);
/* Becomes readable on Ctrl-C, which from now on ends nothing by itself; -1: it could not be made.
 */
int cli_interrupt_fd(void);
bool cli_is_interrupted(void); /* by that */
/* A copy of what a node said, or what its files hold, that cannot move the cursor or change
 * colours: lines and tabs stay. */
char *cli_text_clean(const char *text);
/* For commands that are local but need the API for some of their work: makes cli->client. */
bool cli_client_ensure(Cli *cli, GError **err);
