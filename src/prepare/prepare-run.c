/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* prepare-run.c: takes all nodes through the steps, at the same time */
#include "prepare/prepare-node.h"

#include <string.h>

static const NodeStep look_steps[] = {
    {"connect", step_connect},
    {"system", step_system},
    {"packages", step_packages},
    {NULL},
};

static const NodeStep key_steps[] = {
    {"keys", step_keys},
    {NULL},
};

static const NodeStep change_steps[] = {
    {"ssh-mesh", step_mesh},     {"certificates", step_certificates},
    {"firewall", step_firewall}, {"libvirt", step_libvirt},
    {"qemu", step_qemu},         {"units", step_units},
    {"restart", step_restart},   {NULL},
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

static void
part_run(void *opaque)
{
    const Part *part = opaque;
    PrepareNode *node = part->node;

    for (const NodeStep *step = part->steps; step->name != NULL && node->error == NULL; step++) {
        node_step(node, step->name, STEP_RUNNING, NULL);
        if (!step->fn(node, &node->error))
            node_step(node, step->name, STEP_FAILED, node->error->message);
    }
}

/* false if any node failed so far */
static bool
nodes_run(PrepareRun *run, const NodeStep *steps)
{
    g_autofree Part *parts = g_new0(Part, run->n);
    g_autofree pthread_t *threads = g_new0(pthread_t, run->n);
    bool good = true;

    for (unsigned i = 0; i < run->n; i++) {
        parts[i] = (Part){.node = &run->nodes[i], .steps = steps};
        threads[i] = thread_start("prepare", part_run, &parts[i]);
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
    pthread_mutex_init(&run->mutex, NULL);
    for (unsigned i = 0; i < run->n; i++) {
        run->nodes[i].run = run;
        run->nodes[i].index = i;
        run->nodes[i].target = targets[i];
        run->nodes[i].addresses = g_ptr_array_new_with_free_func(g_free);
    }
}

/* Whoever prepares next need not wait until the lock is found to be stale. */
static void
node_unlock(PrepareNode *node)
{
    if (node->locked) {
        ssh_shield(node->ssh);
        ssh_script(node->ssh, "rm -rf /run/godwit-prepare", NULL, 20, NULL, NULL);
    }
}

static bool
run_close(PrepareRun *run, bool good, GError **err)
{
    g_autoptr(GString) failed = g_string_new(NULL);

    for (unsigned i = 0; i < run->n; i++) {
        PrepareNode *node = &run->nodes[i];
        if (node->error != NULL)
            g_string_append_printf(failed, "%s%s", failed->len ? ", " : "", node->target->text);
        node_unlock(node);
        ssh_close(node->ssh);
        g_free(node->hostname);
        g_free(node->mesh_home);
        g_free(node->mesh_group);
        g_free(node->mesh_key);
        g_clear_pointer(&node->host_keys, g_ptr_array_unref);
        g_ptr_array_unref(node->addresses);
        g_clear_error(&node->error);
    }
    pthread_mutex_destroy(&run->mutex);
    g_free(run->nodes);
    return good || err_set(err, ERR_BACKEND, "failed on: %s", failed->str);
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
    return true;
}

bool
prepare_hosts(const NodeTarget *const *targets, unsigned n, const PrepareOptions *options,
              const PrepareEvents *events, GError **err)
{
    PrepareRun run = {.options = options, .events = events, .n = n};

    if (!targets_check(targets, n, err) || !options_check(options, err))
        return false;
    run_open(&run, targets);
    bool good = nodes_run(&run, look_steps) && nodes_run(&run, key_steps) &&
                nodes_run(&run, change_steps) &&
                (options->dry_run || nodes_run(&run, verify_steps));
    return run_close(&run, good, err);
}

bool
prepare_undo(const NodeTarget *const *targets, unsigned n, const PrepareOptions *options,
             const PrepareEvents *events, GError **err)
{
    PrepareRun run = {.options = options, .events = events, .n = n};

    if (!targets_check(targets, n, err))
        return false;
    run_open(&run, targets);
    return run_close(&run, nodes_run(&run, undo_steps), err);
}
