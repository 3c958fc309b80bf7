/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* prepare-run.c: takes all nodes through the steps, at the same time */
#include "prepare/prepare-node.h"

#include <poll.h>
#include <string.h>

static const NodeStep look_steps[] = {
    {"connect", step_connect},
    {"system", step_system},
    {"ceph", step_ceph_look},
    {"packages", step_packages},
    {NULL},
};

static const NodeStep key_steps[] = {
    {"keys", step_keys},
    {NULL},
};

static const NodeStep change_steps[] = {
    {"ceph", step_ceph},         {"ssh-mesh", step_mesh},   {"certificates", step_certificates},
    {"firewall", step_firewall}, {"libvirt", step_libvirt}, {"qemu", step_qemu},
    {"units", step_units},       {"restart", step_restart}, {NULL},
};

static const NodeStep verify_steps[] = {
    {"ssh-check", step_mesh_check},
    {"verify", step_verify},
    {NULL},
};

static const NodeStep undo_steps[] = {
    {"connect", step_connect},
    {"system", step_system},
    {"undo", step_undo},
    {NULL},
};

typedef struct Part {
    PrepareNode *node;
    const NodeStep *steps;
} Part;

void
node_step(PrepareNode *node, const char *step, StepState state, const char *detail)
{
    const PrepareEvents *events = node->run->events;
    WITH_MUTEX(&node->run->mutex);
    events->on_step(events->opaque, node->index, step, state, detail);
}

NodeSettings
node_settings(const PrepareNode *node)
{
    const PrepareOptions *options = node->run->options;
    return (NodeSettings){
        .transport = options->transport,
        .mode = node->mode,
        .listen_address = options->listen_address,
        .qemu_user = options->user != NULL ? options->user : node->distro->qemu_user,
        .qemu_group = options->group != NULL ? options->group : node->distro->qemu_group,
        .dynamic_ownership = !options->static_ownership,
        .moves = options->moves,
    };
}

GPtrArray *
node_names(const PrepareNode *node)
{
    GPtrArray *names = g_ptr_array_new();
    unsigned where;

    g_ptr_array_add(names, node->target->host);
    if (node->hostname != NULL && !g_str_equal(node->hostname, node->target->host))
        g_ptr_array_add(names, node->hostname);
    for (unsigned i = 0; i < node->addresses->len; i++) {
        char *address = g_ptr_array_index(node->addresses, i);
        if (!g_ptr_array_find_with_equal_func(names, address, g_str_equal, &where))
            g_ptr_array_add(names, address);
    }
    return names;
}

static bool
called_off(const PrepareRun *run, GError **err)
{
    struct pollfd cancel = {.fd = run->options->cancel_fd, .events = POLLIN};
    return poll(&cancel, 1, 0) > 0 && !err_set(err, ERR_CANCELLED, "called off");
}

static void
part_run(void *opaque)
{
    const Part *part = opaque;
    PrepareNode *node = part->node;

    for (const NodeStep *step = part->steps; step->name != NULL && node->error == NULL; step++) {
        node_step(node, step->name, STEP_RUNNING, NULL);
        if (step->fn(node, &node->error))
            continue;
        g_autofree char *told = g_strdup_printf(
            "%s%s", node->error->message,
            node->changed ? "\nwhat was changed stays: run the same again when that "
                            "is mended, or with --undo"
                          : "");
        node_step(node, step->name, STEP_FAILED, told);
    }
}

/* A step that changes things runs to its end: it is called off between two steps, and then, as when
 * it fails, all that this run changed on this node is put back. */
static void
change_run(void *opaque)
{
    const Part *part = opaque;
    PrepareNode *node = part->node;
    bool writes = !node->run->options->dry_run;

    ssh_shield(node->ssh, writes);
    node->changed = writes;
    for (const NodeStep *step = part->steps; step->name != NULL && node->error == NULL; step++) {
        node_step(node, step->name, STEP_RUNNING, NULL);
        if (!called_off(node->run, &node->error) &&
            (!writes || node_lock_hold(node, &node->error)) && step->fn(node, &node->error))
            continue;
        g_autofree char *after = writes ? node_put_back(node) : g_strdup("nothing was changed");
        g_autofree char *told = g_strdup_printf("%s\n%s", node->error->message, after);
        node_step(node, step->name, STEP_FAILED, told);
        node->changed = false;
    }
    ssh_shield(node->ssh, false);
}

/* false if any node failed so far */
static bool
nodes_run(PrepareRun *run, const NodeStep *steps)
{
    ThreadFn fn = steps == change_steps ? change_run : part_run;
    g_autofree Part *parts = g_new0(Part, run->n);
    g_autofree pthread_t *threads = g_new0(pthread_t, run->n);
    bool good = true;

    for (unsigned i = 0; i < run->n; i++) {
        parts[i] = (Part){.node = &run->nodes[i], .steps = steps};
        threads[i] = thread_start("prepare", fn, &parts[i]);
    }
    for (unsigned i = 0; i < run->n; i++) {
        pthread_join(threads[i], NULL);
        good = good && run->nodes[i].error == NULL;
    }
    return good;
}

static void
run_open(PrepareRun *run, const NodeTarget *const *targets)
{
    run->nodes = g_new0(PrepareNode, run->n);
    run->owner = uuid_new();
    pthread_mutex_init(&run->mutex, NULL);
    for (unsigned i = 0; i < run->n; i++) {
        run->nodes[i].run = run;
        run->nodes[i].index = i;
        run->nodes[i].target = targets[i];
        run->nodes[i].writes = g_ptr_array_new_with_free_func(node_write_free);
        run->nodes[i].addresses = g_ptr_array_new_with_free_func(g_free);
    }
}

static void
node_close(PrepareNode *node)
{
    node_unlock(node);
    ssh_close(node->ssh);
    g_free(node->hostname);
    g_free(node->mesh_home);
    g_free(node->mesh_group);
    g_free(node->mesh_key);
    g_free(node->mesh_no_shell);
    g_free(node->units_before);
    g_free(node->shell_before);
    g_clear_pointer(&node->host_keys, g_ptr_array_unref);
    g_ptr_array_unref(node->addresses);
    g_ptr_array_unref(node->writes);
    g_clear_error(&node->error);
}

static void
name_add(GString *names, const PrepareNode *node)
{
    g_string_append_printf(names, "%s%s", names->len ? ", " : "", node->target->text);
}

/* What became of each node, where not all went well. */
static bool
run_close(PrepareRun *run, LockKeeper *keeper, bool good, const char *done, GError **err)
{
    g_autoptr(GString) failed = g_string_new(NULL), changed = g_string_new(NULL),
                       untouched = g_string_new(NULL);

    if (keeper != NULL)
        lock_keeper_stop(keeper);
    for (unsigned i = 0; i < run->n; i++) {
        PrepareNode *node = &run->nodes[i];
        name_add(node->error != NULL ? failed : node->changed ? changed : untouched, node);
        node_close(node);
    }
    pthread_mutex_destroy(&run->mutex);
    g_free(run->nodes);
    g_free(run->owner);
    return good || err_set(err, ERR_BACKEND, "failed on: %s%s%s%s%s", failed->str,
                           changed->len ? done : "", changed->str,
                           untouched->len ? "; nothing was changed on: " : "", untouched->str);
}

static bool
targets_check(const NodeTarget *const *targets, unsigned n, GError **err)
{
    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (g_ascii_strcasecmp(targets[i]->host, targets[k]->host) == 0)
                return err_set(err, ERR_INVALID, "\"%s\" is named twice", targets[i]->host);
        }
    }
    return true;
}

static bool
options_check(const PrepareOptions *options, GError **err)
{
    if (options->transport == TRANSPORT_SSH && options->mesh_user != NULL &&
        !g_str_equal(options->mesh_user, "root"))
        return err_set(
            err, ERR_INVALID,
            "transport ssh joins the nodes as root; --ssh-mesh cannot name another user");
    if (options->transport == TRANSPORT_TCP && !options->firewall && !options->plaintext_accepted)
        return err_set(err, ERR_INVALID,
                       "transport tcp has no encryption and no authentication: whoever reaches the "
                       "port owns the node and its guests. Let the firewall be set up, or say "
                       "--i-know-it-is-plaintext");
    if (options->transport != TRANSPORT_TCP && options->ca == NULL)
        return err_set(err, ERR_BUG, "an encrypted transport without a CA");
    return options->ceph_conf == NULL || ceph_conf_check(options->ceph_conf, err);
}

bool
prepare_hosts(const NodeTarget *const *targets, unsigned n, const PrepareOptions *options,
              const PrepareEvents *events, GError **err)
{
    PrepareRun run = {.options = options, .events = events, .n = n};

    if (!targets_check(targets, n, err) || !options_check(options, err))
        return false;
    run_open(&run, targets);
    LockKeeper *keeper = options->dry_run ? NULL : lock_keeper_start(&run);
    bool good = nodes_run(&run, look_steps) && nodes_run(&run, key_steps) &&
                nodes_run(&run, change_steps) &&
                (options->dry_run || nodes_run(&run, verify_steps));
    return run_close(&run, keeper, good,
                     "; prepared, but not yet checked from every other node: ", err);
}

bool
prepare_undo(const NodeTarget *const *targets, unsigned n, const PrepareOptions *options,
             const PrepareEvents *events, GError **err)
{
    PrepareRun run = {.options = options, .events = events, .n = n};

    if (!targets_check(targets, n, err))
        return false;
    if (options->dry_run)
        return err_set(err, ERR_INVALID,
                       "--undo has no dry run: godwit doctor --drift shows what "
                       "is no longer as it was written");
    run_open(&run, targets);
    LockKeeper *keeper = lock_keeper_start(&run);
    return run_close(&run, keeper, nodes_run(&run, undo_steps), "; put back: ", err);
}
