/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hosts.c: the set of nodes: two connections each, their threads, deadlines, reconnects and the
 * fault points.
 *
 * A node that is connected has a session: a control lane and a work lane, each a queue of jobs and
 * the threads that run them. The control lane has one thread and one connection, which also brings
 * the events; each work thread has a connection of its own, and the last one stays. So no
 * connection ever carries two calls at once: libvirt's client before 10.4 may crash the process
 * when a connection is lost that does (CVE-2024-4418: a thread's event source outlives its stack).
 *
 * A session is opened by the node's connector thread, and ends as a whole: when any of its
 * connections is lost, nothing new enters, queued jobs are answered at once, running ones have a
 * second to return by themselves, and the connector opens the next session. A connection is closed
 * by the thread that leaves it last, so never under a call.
 *
 * A call whose caller stopped waiting stays on its thread ("hung"). On the control lane that ends
 * the session, so that an abort never stands behind a query that does not answer: the next session
 * has a connection of its own. On the work lane it does not: the node's libvirtd still counts the
 * request.
 *
 * Locks: node->delivery, then hosts->mutex; neither is held during a driver call. delivery is held
 * while an event is handed on: it keeps CONNECTED before a session's events, and nothing after
 * hosts_remove. hosts->mutex guards all the rest. */
#include "host/host.h"

#include <string.h>

enum {
    QUEUE_LIMIT = 1000,
    WORK_LIMIT_DEFAULT = 4, /* libvirtd's max_client_requests is 5 unless configured */
    WORK_LIMIT_MOST = 64,
    HUNG_MOST =
        16, /* per node, over all its sessions: then hanging calls no longer end a session */
};
#define THREAD_IDLE_US (30 * USEC_PER_SEC)
/* a control call for which somebody waited so long in vain ends the session */
#define CONTROL_PATIENCE_US USEC_PER_SEC
#define LOSS_GRACE_US       USEC_PER_SEC
#define FREE_WAIT_US        (5 * USEC_PER_SEC)
#define BACKOFF_LEAST_US    (USEC_PER_SEC / 2)
#define BACKOFF_MOST_US     (30 * USEC_PER_SEC)

typedef struct Node Node;
typedef struct Session Session;

typedef struct Job {
    unsigned refs; /* the lane's, and the waiting caller's */
    char *call_name;
    HostCall fn;
    void *opaque;
    GDestroyNotify opaque_free;
    HostMoveEnd on_end; /* a move: nobody waits */
    void *end_opaque;
    char *uuid;
    bool started, done, abandoned, ok;
    GError *error;
    pthread_cond_t changed;
} Job;

typedef struct Lane {
    Session *session;
    HostLane kind;
    HostConn *conn; /* the control lane's; work threads have their own */
    GQueue queued;
    GQueue running;
    int64_t threads;
    int64_t hung; /* of the running jobs: abandoned */
    pthread_cond_t work;
} Lane;

struct Session {
    Node *node;
    Lane lanes[2];
    bool lost;
    bool retired; /* the connector is through with it: close as soon as no thread is left */
    bool closing; /* its control connection is being closed */
    char *why;
    int64_t opened_at, lost_at;
};

struct Node {
    Hosts *hosts;
    unsigned refs; /* the table's, the connector's, each session's */
    char *name;
    char *uri;
    Session *session;
    bool removed;
    bool attended;  /* a connector thread runs */
    bool announced; /* DISCONNECTED was handed on, with this reason */
    char *reason;   /* why it is not connected */
    int64_t backoff_us, retry_at;
    int64_t work_limit, hung;
    pthread_cond_t wake;
    pthread_mutex_t delivery;
};

struct Hosts {
    HostsConfig config;
    char *virt_type;
    pthread_mutex_t mutex;
    pthread_cond_t quiet;
    GHashTable *nodes;  /* name → Node */
    int64_t threads;    /* our threads and the callers inside host_call: each may still touch this
                           struct */
    int64_t moves_left; /* threads in a move that was given up: not waited for */
    bool closing, released;
};

/* ---- life of the parts ------------------------------------------------------------------------
 */

static Job *
job_new(const char *call_name, HostCall fn, void *opaque, GDestroyNotify opaque_free)
{
    Job *job = g_new0(Job, 1);
    job->refs = 1;
    job->call_name = g_strdup(call_name);
    job->fn = fn;
    job->opaque = opaque;
    job->opaque_free = opaque_free;
    cond_init_monotonic(&job->changed);
    return job;
}

static void
job_unref(Job *job)
{
    if (--job->refs > 0)
        return;
    pthread_cond_destroy(&job->changed);
    g_clear_error(&job->error);
    g_free(job->call_name);
    g_free(job->uuid);
    g_free(job);
}

static void
job_free_opaque(Job *job)
{
    if (job->opaque_free != NULL)
        job->opaque_free(job->opaque);
    job->opaque = NULL;
}

static void
node_unref(Node *node)
{
    if (--node->refs > 0)
        return;
    pthread_cond_destroy(&node->wake);
    pthread_mutex_destroy(&node->delivery);
    g_free(node->name);
    g_free(node->uri);
    g_free(node->reason);
    g_free(node);
}

static Session *
session_new(Node *node)
{
    Session *session = g_new0(Session, 1);
    session->node = node;
    node->refs++;
    for (int i = 0; i < 2; i++) {
        Lane *lane = &session->lanes[i];
        lane->session = session;
        lane->kind = i == 0 ? HOST_CONTROL : HOST_WORK;
        cond_init_monotonic(&lane->work);
    }
    return session;
}

static void
session_free(Session *session)
{
    for (int i = 0; i < 2; i++)
        pthread_cond_destroy(&session->lanes[i].work);
    node_unref(session->node);
    g_free(session->why);
    g_free(session);
}

/* Close what no thread uses any more. Gives the lock away meanwhile; session may be gone
 * afterwards. */
static void
session_settle(Session *session)
{
    Hosts *hosts = session->node->hosts;
    if (!session->retired)
        return;
    Lane *control = &session->lanes[HOST_CONTROL];
    if (control->threads == 0 && control->conn != NULL) {
        HostConn *conn = g_steal_pointer(&control->conn);
        session->closing = true;
        pthread_mutex_unlock(&hosts->mutex);
        hosts->config.ops->close(conn);
        pthread_mutex_lock(&hosts->mutex);
        session->closing = false;
    }
    if (!session->closing && control->conn == NULL && control->threads == 0 &&
        session->lanes[HOST_WORK].threads == 0)
        session_free(session);
}

static void
hosts_destroy(Hosts *hosts)
{
    g_hash_table_destroy(hosts->nodes);
    pthread_cond_destroy(&hosts->quiet);
    pthread_mutex_destroy(&hosts->mutex);
    g_free(hosts->virt_type);
    g_free(hosts);
}

/* A thread of ours, or a caller, is about to leave: after this it must not touch hosts. */
static void
hosts_leave(Hosts *hosts)
{
    hosts->threads--;
    pthread_cond_broadcast(&hosts->quiet);
    bool last = hosts->threads == 0 && hosts->released;
    pthread_mutex_unlock(&hosts->mutex);
    if (last)
        hosts_destroy(hosts);
}

/* ---- lanes ------------------------------------------------------------------------------------
 */

static void lane_thread(void *opaque);
static void connector_thread(void *opaque);
static void session_closed(const char *why, void *opaque);

static int64_t
lane_allowed(const Lane *lane)
{
    if (lane->kind == HOST_WORK)
        return lane->session->node->work_limit;
    return 1;
}

static void
lane_start_thread(Lane *lane)
{
    lane->threads++;
    lane->session->node->hosts->threads++;
    thread_start_detached(lane->kind == HOST_WORK ? "host-work" : "host-control", lane_thread,
                          lane);
}

/* Let there be threads for what is queued, as far as the lane may have them. */
static void
lane_staff(Lane *lane)
{
    while (lane->queued.length > lane->threads - lane->running.length &&
           lane->threads < lane_allowed(lane))
        lane_start_thread(lane);
}

static void
node_attend(Node *node)
{
    if (node->attended) {
        pthread_cond_signal(&node->wake);
        return;
    }
    node->attended = true;
    node->refs++;
    node->hosts->threads++;
    thread_start_detached("host-connect", connector_thread, node);
}

static void
job_fail_unreachable(Job *job, const Node *node, const char *why)
{
    job->done = true;
    job->ok = false;
    err_set(&job->error, ERR_UNREACHABLE, "%s is not connected: %s", node->name, why);
    pthread_cond_signal(&job->changed);
}

/* Nothing enters the session from now on. Its moves are left to the connector, which may call their
 * on_end. */
static void
session_lose(Session *session, const char *why)
{
    Node *node = session->node;
    if (session->lost)
        return;
    session->lost = true;
    session->lost_at = clock_monotonic();
    session->why = g_strdup(why != NULL ? why : "the connection was closed");
    if (node->session != session)
        return; /* still being opened: the connector looks at lost */

    for (int i = 0; i < 2; i++) {
        Lane *lane = &session->lanes[i];
        GQueue moves = G_QUEUE_INIT;
        Job *job;
        while ((job = g_queue_pop_head(&lane->queued)) != NULL) {
            if (job->on_end != NULL) {
                g_queue_push_tail(&moves, job);
                continue;
            }
            job_fail_unreachable(job, node, session->why);
            job_unref(job);
        }
        lane->queued = moves;
        for (GList *item = lane->running.head; item != NULL; item = item->next)
            pthread_cond_signal(&((Job *)item->data)->changed);
        pthread_cond_broadcast(&lane->work);
    }
    g_free(node->reason);
    node->reason = g_strdup(session->why);
    node_attend(node);
}

static bool
may_act(const Hosts *hosts, const char *host, const char *call_name, GError **err)
{
    if (hosts->config.may_act == NULL || hosts->config.may_act(hosts->config.opaque))
        return true;
    return err_set(err, ERR_FENCED,
                   "%s on %s was not sent: this process no longer holds the lease, another "
                   "controller acts",
                   call_name, host);
}

/* Run one job that was taken from the queue on conn; without one, its answer is refusal. Gives the
 * lock away meanwhile. */
static void
job_run(Lane *lane, HostConn *conn, const GError *refusal, Job *job)
{
    Session *session = lane->session;
    Node *node = session->node;
    Hosts *hosts = node->hosts;

    job->started = true;
    g_queue_push_tail(&lane->running, job);
    pthread_mutex_unlock(&hosts->mutex);

    g_autofree char *before = g_strdup_printf("host.%s.before", job->call_name);
    g_autofree char *after = g_strdup_printf("host.%s.after", job->call_name);
    GError *error = NULL;
    bool ok = may_act(hosts, node->name, job->call_name, &error);
    if (ok && conn == NULL) {
        ok = false;
        error = g_error_copy(refusal);
    } else if (ok) {
        fault_point(before);
        ok = job->fn(hosts->config.ops, conn, job->opaque, &error);
        fault_point(after);
    }
    if (ok)
        g_clear_error(&error);
    else if (error == NULL)
        err_set(&error, ERR_BUG, "%s on %s failed without saying why", job->call_name, node->name);
    job_free_opaque(job);

    pthread_mutex_lock(&hosts->mutex);
    g_queue_remove(&lane->running, job);
    if (session->lost) {
        /* What a call says that was under way when the connection broke, says nothing about its
         * effect. */
        if (error != NULL && err_is(error, ERR_BACKEND))
            error->code = ERR_UNREACHABLE;
        pthread_cond_signal(&node->wake);
    }
    if (job->abandoned) {
        lane->hung--;
        node->hung--;
        if (job->on_end != NULL)
            hosts->moves_left--;
        g_clear_error(&error);
    } else if (job->on_end != NULL) {
        job->done = true;
        pthread_mutex_unlock(&hosts->mutex);
        job->on_end(node->name, job->uuid, error, job->end_opaque);
        pthread_mutex_lock(&hosts->mutex);
    } else {
        job->done = true;
        job->ok = ok;
        job->error = error;
        pthread_cond_signal(&job->changed);
    }
    job_unref(job);
}

/* Wait for work. False: the thread is not needed any more. */
static bool
lane_wait(Lane *lane)
{
    Session *session = lane->session;
    Hosts *hosts = session->node->hosts;
    bool in_time = true;

    while (lane->queued.length == 0 && !session->lost && in_time) {
        bool stays = lane->kind == HOST_WORK && lane->threads == 1;
        in_time = cond_wait_until(&lane->work, &hosts->mutex,
                                  stays ? INT64_MAX : clock_monotonic() + THREAD_IDLE_US);
    }
    return !session->lost && lane->queued.length > 0;
}

static HostConn *
conn_open(const Node *node, HostEventFn on_event, Session *session, GError **err)
{
    const HostsConfig *config = &node->hosts->config;

    if (!may_act(node->hosts, node->name, "connect", err))
        return NULL;
    return config->ops->open(config->driver, node->name, node->uri, on_event, session_closed,
                             session, err);
}

/* A work thread's own connection. Gives the lock away meanwhile. */
static HostConn *
work_conn_open(Session *session, GError **err)
{
    const Node *node = session->node;
    Hosts *hosts = node->hosts;

    pthread_mutex_unlock(&hosts->mutex);
    HostConn *conn = conn_open(node, NULL, session, err);
    pthread_mutex_lock(&hosts->mutex);
    return conn;
}

static void
lane_thread(void *opaque)
{
    Lane *lane = opaque;
    Session *session = lane->session;
    Hosts *hosts = session->node->hosts;
    g_autoptr(GError) refusal = NULL;
    HostConn *own = NULL;

    pthread_mutex_lock(&hosts->mutex);
    if (lane->kind == HOST_WORK && !session->lost)
        own = work_conn_open(session, &refusal);
    while (lane_wait(lane)) {
        job_run(lane, lane->kind == HOST_WORK ? own : lane->conn, refusal,
                g_queue_pop_head(&lane->queued));
        if (lane->threads > lane_allowed(lane) || refusal != NULL)
            break; /* too many of us, or the next one may have more luck with its connection */
    }
    if (own != NULL) {
        pthread_mutex_unlock(&hosts->mutex);
        hosts->config.ops->close(own);
        pthread_mutex_lock(&hosts->mutex);
    }
    lane->threads--;
    if (!session->lost)
        lane_staff(lane);
    session_settle(session);
    hosts_leave(hosts);
}

/* ---- events -----------------------------------------------------------------------------------
 */

static HostEvent *
connection_event(const Node *node, HostEventKind kind, const char *text)
{
    HostEvent *event = g_new0(HostEvent, 1);
    event->kind = kind;
    event->host = g_strdup(node->name);
    event->text = g_strdup(text);
    event->at = clock_monotonic();
    return event;
}

static void
hand_on(const Hosts *hosts, HostEvent *event)
{
    if (hosts->config.on_event != NULL)
        hosts->config.on_event(event, hosts->config.opaque);
    else
        host_event_free(event);
}

/* From the driver. What comes before CONNECTED or after the loss is left out: watch reads all
 * domains at CONNECTED. */
static void
session_event(HostEvent *event, void *opaque)
{
    Session *session = opaque;
    Node *node = session->node;
    Hosts *hosts = node->hosts;

    WITH_MUTEX(&node->delivery);
    pthread_mutex_lock(&hosts->mutex);
    bool current = node->session == session && !session->lost && !node->removed;
    pthread_mutex_unlock(&hosts->mutex);
    if (current)
        hand_on(hosts, event);
    else
        host_event_free(event);
}

static void
session_closed(const char *why, void *opaque)
{
    Session *session = opaque;
    WITH_MUTEX(&session->node->hosts->mutex);
    session_lose(session, why);
}

/* Hand on that the node is not connected, if that or its reason is news. Gives the lock away
 * meanwhile. */
static void
announce_loss(Node *node, const char *why)
{
    Hosts *hosts = node->hosts;
    g_autofree char *text = g_strdup(why);

    pthread_mutex_unlock(&hosts->mutex);
    pthread_mutex_lock(&node->delivery);
    pthread_mutex_lock(&hosts->mutex);
    bool news = !node->removed && (!node->announced || g_strcmp0(node->reason, text) != 0);
    node->announced = true;
    g_free(node->reason);
    node->reason = g_strdup(text);
    pthread_mutex_unlock(&hosts->mutex);
    if (news)
        hand_on(hosts, connection_event(node, HOST_EVENT_DISCONNECTED, text));
    pthread_mutex_unlock(&node->delivery);
    pthread_mutex_lock(&hosts->mutex);
}

/* ---- the connector ----------------------------------------------------------------------------
 */

static void
schedule_retry(Node *node)
{
    uint16_t dice = 0;
    if (!random_bytes(&dice, sizeof dice, NULL))
        dice = UINT16_MAX;
    int64_t half = node->backoff_us / 2;
    node->retry_at = clock_monotonic() + half + half * dice / UINT16_MAX;
    node->backoff_us = MIN(node->backoff_us * 2, BACKOFF_MOST_US);
}

/* Answer the moves that are still queued or running in a lost session. Gives the lock away
 * meanwhile. */
static void
end_moves(Session *session)
{
    Node *node = session->node;
    Hosts *hosts = node->hosts;
    Lane *lane = &session->lanes[HOST_WORK];
    GQueue ended = G_QUEUE_INIT;
    Job *job;

    while ((job = g_queue_pop_head(&lane->queued)) != NULL)
        g_queue_push_tail(&ended, job);
    for (GList *item = lane->running.head; item != NULL; item = item->next) {
        job = item->data;
        if (job->on_end == NULL || job->abandoned || job->done)
            continue;
        job->abandoned = true;
        job->refs++;
        lane->hung++;
        node->hung++;
        hosts->moves_left++;
        g_queue_push_tail(&ended, job);
    }
    while ((job = g_queue_pop_head(&ended)) != NULL) {
        GError *error = NULL;
        err_set(&error, ERR_UNREACHABLE,
                job->started ? "the move was started, then the connection to %s was lost: %s"
                             : "the move was not started: %s is not connected: %s",
                node->name, session->why);
        bool started = job->started;
        pthread_mutex_unlock(&hosts->mutex);
        job->on_end(node->name, job->uuid, error, job->end_opaque);
        if (!started)
            job_free_opaque(job);
        pthread_mutex_lock(&hosts->mutex);
        job_unref(job);
    }
}

/* Jobs in a lost session whose callers may still hope for the driver's own answer. */
static bool
session_is_awaited(const Session *session)
{
    for (int i = 0; i < 2; i++)
        for (GList *item = session->lanes[i].running.head; item != NULL; item = item->next) {
            const Job *job = item->data;
            if (!job->abandoned && (job->on_end == NULL || !session->node->removed))
                return true;
        }
    return false;
}

/* The node's session is lost, or the node was removed: part with the session. */
static void
node_part(Node *node)
{
    Hosts *hosts = node->hosts;
    Session *session = node->session;

    if (!node->removed)
        announce_loss(node, session->why);
    int64_t until = session->lost_at + LOSS_GRACE_US;
    while (session_is_awaited(session) && clock_monotonic() < until)
        cond_wait_until(&node->wake, &hosts->mutex, until);
    end_moves(session);

    if (clock_monotonic() - session->opened_at > BACKOFF_MOST_US)
        node->backoff_us = BACKOFF_LEAST_US;
    schedule_retry(node);
    node->session = NULL;
    session->retired = true;
    session_settle(session);
}

/* One attempt. Gives the lock away meanwhile. */
static void
node_connect(Node *node)
{
    Hosts *hosts = node->hosts;
    const HostOps *ops = hosts->config.ops;
    Session *session = session_new(node);
    HostConn *control;
    g_autoptr(GError) error = NULL;

    pthread_mutex_unlock(&hosts->mutex);
    control = conn_open(node, session_event, session, &error);

    pthread_mutex_lock(&node->delivery);
    pthread_mutex_lock(&hosts->mutex);
    bool up = control != NULL && !session->lost && !node->removed;
    if (up) {
        session->lanes[HOST_CONTROL].conn = control;
        session->opened_at = clock_monotonic();
        node->session = session;
        node->announced = false;
        lane_start_thread(
            &session->lanes[HOST_WORK]); /* its connection is there when it is needed */
    }
    g_autofree char *why = g_strdup(session->why != NULL ? session->why
                                    : error != NULL      ? error->message
                                                         : "removed");
    pthread_mutex_unlock(&hosts->mutex);
    if (up)
        hand_on(hosts, connection_event(node, HOST_EVENT_CONNECTED, NULL));
    pthread_mutex_unlock(&node->delivery);

    if (!up) {
        if (control != NULL)
            ops->close(control);
    }
    pthread_mutex_lock(&hosts->mutex);
    if (up)
        return;
    session_free(session);
    if (!node->removed) {
        announce_loss(node, why);
        schedule_retry(node);
    }
}

static void
connector_thread(void *opaque)
{
    Node *node = opaque;
    Hosts *hosts = node->hosts;

    pthread_mutex_lock(&hosts->mutex);
    for (;;) {
        if (node->session != NULL) {
            if (!node->session->lost)
                break;
            node_part(node);
        } else if (node->removed) {
            break;
        } else if (node->retry_at > clock_monotonic()) {
            cond_wait_until(&node->wake, &hosts->mutex, node->retry_at);
        } else {
            node_connect(node);
        }
    }
    node->attended = false;
    node_unref(node);
    hosts_leave(hosts);
}

/* ---- the set ----------------------------------------------------------------------------------
 */

Hosts *
hosts_new(const HostsConfig *config)
{
    Hosts *hosts = g_new0(Hosts, 1);
    hosts->config = *config;
    hosts->virt_type = g_strdup(config->virt_type != NULL ? config->virt_type : "");
    hosts->config.virt_type = hosts->virt_type;
    pthread_mutex_init(&hosts->mutex, NULL);
    cond_init_monotonic(&hosts->quiet);
    hosts->nodes = g_hash_table_new(g_str_hash, g_str_equal);
    return hosts;
}

const char *
hosts_virt_type(const Hosts *hosts)
{
    return hosts->virt_type;
}

/* Take node out of the table. When this returns, no event of it is under way or will come. */
static void
node_drop(Hosts *hosts, Node *node)
{
    WITH_MUTEX(&node->delivery);
    WITH_MUTEX(&hosts->mutex);
    if (node->removed)
        return;
    node->removed = true;
    g_hash_table_remove(hosts->nodes, node->name);
    if (node->session != NULL)
        session_lose(node->session,
                     hosts->closing ? "the controller shuts down" : "the node was removed");
    node_attend(node); /* lets go of the node's last threads and connections */
    node->refs--;      /* the table's; the connector and our caller hold the node */
}

static Node *
node_find(Hosts *hosts, const char *name)
{
    WITH_MUTEX(&hosts->mutex);
    Node *node = g_hash_table_lookup(hosts->nodes, name);
    if (node != NULL)
        node->refs++;
    return node;
}

static void
node_release(Hosts *hosts, Node *node)
{
    WITH_MUTEX(&hosts->mutex);
    node_unref(node);
}

void
hosts_stop(Hosts *hosts)
{
    pthread_mutex_lock(&hosts->mutex);
    hosts->closing = true;
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    GHashTableIter iter;
    void *value;
    g_hash_table_iter_init(&iter, hosts->nodes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        ((Node *)value)->refs++;
        g_ptr_array_add(nodes, value);
    }
    pthread_mutex_unlock(&hosts->mutex);
    for (unsigned i = 0; i < nodes->len; i++) {
        node_drop(hosts, nodes->pdata[i]);
        node_release(hosts, nodes->pdata[i]);
    }

    pthread_mutex_lock(&hosts->mutex);
    int64_t until = clock_monotonic() + FREE_WAIT_US;
    while (hosts->threads > hosts->moves_left &&
           cond_wait_until(&hosts->quiet, &hosts->mutex, until)) {
    }
    pthread_mutex_unlock(&hosts->mutex);
}

void
hosts_free(Hosts *hosts)
{
    if (hosts == NULL)
        return;
    hosts_stop(hosts);
    pthread_mutex_lock(&hosts->mutex);
    hosts->released = true;
    bool last = hosts->threads == 0;
    pthread_mutex_unlock(&hosts->mutex);
    if (last)
        hosts_destroy(hosts); /* else the thread that leaves last does it */
}

void
hosts_add(Hosts *hosts, const char *name, const char *uri)
{
    Node *old = node_find(hosts, name);
    if (old != NULL) {
        bool same = strcmp(old->uri, uri) == 0;
        if (!same)
            node_drop(hosts, old);
        node_release(hosts, old);
        if (same)
            return;
    }
    WITH_MUTEX(&hosts->mutex);
    if (hosts->closing || g_hash_table_contains(hosts->nodes, name))
        return;
    Node *node = g_new0(Node, 1);
    node->hosts = hosts;
    node->refs = 1;
    node->name = g_strdup(name);
    node->uri = g_strdup(uri);
    node->reason = g_strdup("the first connection is being opened");
    node->backoff_us = BACKOFF_LEAST_US;
    node->work_limit = WORK_LIMIT_DEFAULT;
    cond_init_monotonic(&node->wake);
    pthread_mutex_init(&node->delivery, NULL);
    g_hash_table_insert(hosts->nodes, node->name, node);
    node_attend(node);
}

void
hosts_remove(Hosts *hosts, const char *name)
{
    Node *node = node_find(hosts, name);
    if (node == NULL)
        return;
    node_drop(hosts, node);
    node_release(hosts, node);
}

bool
hosts_is_connected(Hosts *hosts, const char *name)
{
    WITH_MUTEX(&hosts->mutex);
    const Node *node = name ? g_hash_table_lookup(hosts->nodes, name) : NULL;
    return node != NULL && node->session != NULL && !node->session->lost;
}

void
hosts_set_work_limit(Hosts *hosts, const char *name, int64_t limit)
{
    WITH_MUTEX(&hosts->mutex);
    Node *node = g_hash_table_lookup(hosts->nodes, name);
    if (node == NULL)
        return;
    node->work_limit = CLAMP(limit, 1, WORK_LIMIT_MOST);
    if (node->session != NULL && !node->session->lost)
        lane_staff(&node->session->lanes[HOST_WORK]);
}

/* ---- calls ------------------------------------------------------------------------------------
 */

/* Queue job on the node's lane, or say why not. Called with the lock. */
static bool
enqueue(Hosts *hosts, const char *host, HostLane kind, Job *job, Lane **lane_out, GError **err)
{
    const Node *node = host ? g_hash_table_lookup(hosts->nodes, host) : NULL;
    if (host == NULL)
        return err_set(err, ERR_BUG, "%s was asked of no node", job->call_name);
    if (node == NULL)
        return err_set(err, ERR_UNREACHABLE, "no node named %s is registered", host);
    if (node->session == NULL || node->session->lost)
        return err_set(err, ERR_UNREACHABLE, "%s is not connected: %s", host, node->reason);
    Lane *lane = &node->session->lanes[kind];
    if (lane->queued.length >= QUEUE_LIMIT)
        return err_set(err, ERR_BUSY,
                       "%s was not sent: %d calls already wait for %s; try again later",
                       job->call_name, QUEUE_LIMIT, host);
    job->refs++;
    g_queue_push_tail(&lane->queued, job);
    pthread_cond_signal(&lane->work);
    lane_staff(lane);
    *lane_out = lane;
    return true;
}

static bool
call_is_permitted(const Hosts *hosts, const char *host, const char *call_name, GError **err)
{
    if (hosts->config.inside_transaction != NULL && hosts->config.inside_transaction())
        return err_set(err, ERR_BUG, "%s on %s was called inside a store transaction", call_name,
                       host);
    return may_act(hosts, host, call_name, err);
}

/* The control lane has one thread: what stands on it stands in the way of every abort. */
static void
lose_if_stuck(Lane *lane, int64_t waited_us)
{
    Session *session = lane->session;

    if (lane->kind == HOST_CONTROL && !session->lost && waited_us >= CONTROL_PATIENCE_US &&
        session->node->hung < HUNG_MOST)
        session_lose(session, "it is connected but does not answer in time");
}

/* The caller stops waiting. Called with the lock. */
static void
abandon(Job *job, Lane *lane, const char *host, int64_t waited_us, GError **err)
{
    const Session *session = lane->session;
    double waited = (double)waited_us / USEC_PER_SEC;

    if (!job->started) {
        g_queue_remove(&lane->queued, job);
        job_unref(job);
        err_set(err, ERR_TIMEOUT, "%s waited %.1f s behind other calls on %s and was not started",
                job->call_name, waited, host);
        lose_if_stuck(lane, waited_us);
        return;
    }
    job->abandoned = true;
    lane->hung++;
    session->node->hung++;
    if (session->lost) {
        err_set(err, ERR_UNREACHABLE, "the connection to %s was lost during %s: %s", host,
                job->call_name, session->why);
        return;
    }
    err_set(err, ERR_TIMEOUT, "%s got no answer from %s within %.1f s; it may still have effect",
            job->call_name, host, waited);
    lose_if_stuck(lane, waited_us);
}

bool
host_call(Hosts *hosts, const char *host, HostLane kind, const char *call_name, HostCall fn,
          void *opaque, GDestroyNotify opaque_free, int64_t deadline_us, GError **err)
{
    Job *job = job_new(call_name, fn, opaque, opaque_free);
    Lane *lane = NULL;
    int64_t begun = clock_monotonic();
    bool permitted = call_is_permitted(hosts, host, call_name, err);

    pthread_mutex_lock(&hosts->mutex);
    hosts->threads++;
    bool ok = permitted && enqueue(hosts, host, kind, job, &lane, err);
    if (ok) {
        /* Until the job is done or abandoned it is in the lane, and the lane stays. */
        while (!job->done) {
            int64_t until = deadline_us;
            if (lane->session->lost)
                until = MIN(until, lane->session->lost_at + LOSS_GRACE_US);
            if (clock_monotonic() >= until)
                break;
            cond_wait_until(&job->changed, &hosts->mutex, until);
        }
        ok = job->done && job->ok;
        if (!job->done)
            abandon(job, lane, host, clock_monotonic() - begun, err);
        else if (!ok)
            g_propagate_error(err, g_steal_pointer(&job->error));
    }
    if (!job->started) {
        pthread_mutex_unlock(&hosts->mutex);
        job_free_opaque(job);
        pthread_mutex_lock(&hosts->mutex);
    }
    job_unref(job);
    hosts_leave(hosts);
    return ok;
}

static bool
call_migrate(const HostOps *ops, HostConn *conn, void *opaque, GError **err)
{
    return ops->migrate(conn, opaque, err);
}

static void
move_spec_destroy(void *spec)
{
    move_spec_free(spec);
}

bool
host_migrate_start(Hosts *hosts, const char *host, const MoveSpec *spec, HostMoveEnd on_end,
                   void *opaque, GError **err)
{
    if (!call_is_permitted(hosts, host, "migrate", err))
        return false;
    Job *job = job_new("migrate", call_migrate, move_spec_copy(spec), move_spec_destroy);
    job->on_end = on_end;
    job->end_opaque = opaque;
    job->uuid = g_strdup(spec->uuid);

    Lane *lane = NULL;
    WITH_MUTEX(&hosts->mutex);
    bool ok = enqueue(hosts, host, HOST_WORK, job, &lane, err);
    if (!ok)
        job_free_opaque(job);
    job_unref(job);
    return ok;
}
