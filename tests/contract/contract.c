/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* contract.c: the rig of the contract tests: nodes of the fake or of libvirt, through Hosts */
#include "contract.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ContractRig rig = {.mutex = PTHREAD_MUTEX_INITIALIZER};

int64_t
soon(void)
{
    return clock_monotonic() + 30 * USEC_PER_SEC;
}

/* ---- events -----------------------------------------------------------------------------------
 */

static void
keep_event(HostEvent *event, void *opaque)
{
    WITH_MUTEX(&rig.mutex);
    g_ptr_array_add(rig.events, event);
    pthread_cond_broadcast(&rig.changed);
}

static int
find_event(const char *host, const char *uuid, HostEventKind kind, DomainChange change,
           unsigned from)
{
    for (unsigned i = from; i < rig.events->len; i++) {
        const HostEvent *event = rig.events->pdata[i];
        if (event->kind == kind && strcmp(event->host, host) == 0 &&
            g_strcmp0(event->uuid, uuid) == 0 &&
            (kind != HOST_EVENT_DOMAIN || event->change == change))
            return (int)i;
    }
    return -1;
}

unsigned
need_event_from(const char *host, const char *uuid, HostEventKind kind, DomainChange change,
                unsigned from)
{
    int64_t deadline = soon();
    WITH_MUTEX(&rig.mutex);
    int index;
    while ((index = find_event(host, uuid, kind, change, from)) < 0)
        if (!cond_wait_until(&rig.changed, &rig.mutex, deadline))
            g_error("%s: no event %d/%s of %s came", host, (int)kind,
                    kind == HOST_EVENT_DOMAIN ? domain_change_names[change] : "-", uuid);
    return (unsigned)index;
}

unsigned
need_change(const char *host, const char *uuid, DomainChange change)
{
    return need_event_from(host, uuid, HOST_EVENT_DOMAIN, change, 0);
}

bool
had_change(const char *host, const char *uuid, DomainChange change)
{
    WITH_MUTEX(&rig.mutex);
    return find_event(host, uuid, HOST_EVENT_DOMAIN, change, 0) >= 0;
}

/* ---- guests -----------------------------------------------------------------------------------
 */

Guest
guest_new(void)
{
    ServerSpec *spec = g_new0(ServerSpec, 1);
    spec->uuid = uuid_new();
    spec->domain_name = g_strdup_printf("contract-%.8s", spec->uuid);
    spec->title = g_strdup("contract test");
    spec->virt_type = g_strdup("qemu");
    spec->machine = g_strdup("pc");
    spec->vcpus = 1;
    spec->ram_mb = 32;
    return (Guest){spec, spec->uuid};
}

void
guest_start(const Guest *guest, int node)
{
    g_autoptr(GError) error = NULL;
    host_domain_start(rig.hosts, rig.names[node], guest->spec, NULL, NULL, soon(), &error);
    g_assert_no_error(error);
}

Guest
guest_new_big(void)
{
    Guest guest = guest_new();
    guest.spec->ram_mb = 1024;
    return guest;
}

void
guest_end(Guest *guest)
{
    for (int i = 0; i < rig.n; i++) {
        g_autoptr(GError) error = NULL;
        host_domain_destroy(rig.hosts, rig.names[i], guest->uuid, soon(), &error);
        g_assert_no_error(error);
        host_domain_undefine(rig.hosts, rig.names[i], guest->uuid, soon(), &error);
        g_assert_no_error(error);
    }
    server_spec_free(guest->spec);
}

DomainInfo *
probe(int node, const Guest *guest)
{
    g_autoptr(GError) error = NULL;
    DomainInfo *info = host_domain_probe(rig.hosts, rig.names[node], guest->uuid, soon(), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(info->uuid, ==, guest->uuid);
    return info;
}

void
assert_state(int node, const Guest *guest, DomainState state)
{
    g_autoptr(DomainInfo) info = probe(node, guest);
    g_assert_cmpstr(domain_state_names[info->state], ==, domain_state_names[state]);
}

/* ---- moves ------------------------------------------------------------------------------------
 */

void
move_ended(const char *host, const char *uuid, GError *error, void *opaque)
{
    MoveWait *wait = opaque;
    WITH_MUTEX(&rig.mutex);
    wait->ended = true;
    wait->error = error;
    pthread_cond_broadcast(&rig.changed);
}

void
move_start(const Guest *guest, int from, const char *dest_uri, bool slowly, MoveWait *wait)
{
    *wait = (MoveWait){0};
    if (rig.world != NULL)
        host_fake_set_timing(rig.world, slowly ? 10 * USEC_PER_SEC : 50 * USEC_PER_MSEC,
                             20 * USEC_PER_MSEC);
    MoveSpec spec = {
        .uuid = (char *)guest->uuid,
        .dest_uri = (char *)dest_uri,
        .flags = MIGRATE_LIVE | MIGRATE_PEER2PEER | MIGRATE_PERSIST_DEST | MIGRATE_UNDEFINE_SOURCE |
                 MIGRATE_UNSAFE, /* libvirt does not know that the directory is shared */
        .bandwidth_mib_s = slowly ? 1 : 0,
        .downtime_ms = 30,
    };
    g_autoptr(GError) error = NULL;
    host_migrate_start(rig.hosts, rig.names[from], &spec, move_ended, wait, &error);
    g_assert_no_error(error);
}

void
move_wait(MoveWait *wait)
{
    int64_t deadline = soon() + 30 * USEC_PER_SEC;
    WITH_MUTEX(&rig.mutex);
    while (!wait->ended)
        if (!cond_wait_until(&rig.changed, &rig.mutex, deadline))
            g_error("a move did not end");
}

/* ---- running it -------------------------------------------------------------------------------
 */

static GMainLoop *loop;
static int result;

static gboolean
quit_loop(gpointer opaque)
{
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

/* Beside the main loop, which libvirt's events need. */
static void
run_tests(void *opaque)
{
    HostsConfig config = {
        .ops = rig.ops, .driver = rig.world, .on_event = keep_event, .virt_type = "qemu"};
    rig.hosts = hosts_new(&config);
    for (int i = 0; i < rig.n; i++)
        hosts_add(rig.hosts, rig.names[i], rig.uris[i]);
    for (int i = 0; i < rig.n; i++)
        need_event_from(rig.names[i], NULL, HOST_EVENT_CONNECTED, 0, 0);
    result = g_test_run();
    hosts_free(rig.hosts);
    g_idle_add(quit_loop, NULL);
}

static void
host_event_destroy(void *event)
{
    host_event_free(event);
}

static const char usage[] =
    "usage: %s [--libvirt URI1 URI2 … [--dir PATH] [--guest IMAGE,CONFIG-DRIVE,ADDRESS,MAC]\n"
    "          [--rbd POOL/PREFIX,USER,KEY-FILE,MONITOR…]]";

/* The key is read from a file: a command line is for all to see. */
static void
parse_rbd(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    g_autoptr(GError) error = NULL;
    if (g_strv_length(parts) < 4)
        g_error(usage, "test");
    rig.rbd_prefix = g_strdup(parts[0]);
    rig.rbd = g_new0(RbdAccess, 1);
    rig.rbd->user = g_strdup(parts[1]);
    rig.rbd->secret_uuid = g_strdup("5a0f4a3e-0c53-4b0c-9a53-60b2a4c6de02");
    rig.rbd->monitors = g_strdupv(parts + 3);
    if (!g_file_get_contents(parts[2], &rig.rbd_key, NULL, &error))
        g_error("%s", error->message);
    g_strstrip(rig.rbd_key);
}

static void
contract_parse(int argc, char **argv)
{
    bool libvirt = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--libvirt") == 0)
            libvirt = true;
        else if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc)
            rig.dir = g_strdup(argv[++i]);
        else if (strcmp(argv[i], "--guest") == 0 && i + 1 < argc)
            rig.guest = g_strsplit(argv[++i], ",", -1);
        else if (strcmp(argv[i], "--rbd") == 0 && i + 1 < argc)
            parse_rbd(argv[++i]);
        else if (libvirt && rig.n < NODES_MOST)
            rig.uris[rig.n++] = g_strdup(argv[i]);
        else
            g_error(usage, argv[0]);
    }
    if (rig.guest != NULL && (g_strv_length(rig.guest) != 4 || rig.dir == NULL))
        g_error(usage, argv[0]);
    if (libvirt) {
        g_autoptr(GError) error = NULL;
        rig.ops = &host_libvirt_ops;
        rig.dead_uri = "qemu+tcp://127.0.0.1:1/system";
        if (rig.n < 2 || !host_libvirt_init(&error))
            g_error("needs two nodes and libvirt: %s",
                    error != NULL ? error->message : "one node given");
    } else {
        rig.ops = &host_fake_ops;
        rig.n = 3;
        rig.world = host_fake_world_new(rig.n);
        rig.dead_uri = "fake://nowhere/system";
        rig.dir = g_strdup_printf("%s/godwit-contract-XXXXXX", g_get_tmp_dir());
        g_assert_nonnull(mkdtemp(rig.dir));
        for (int i = 0; i < rig.n; i++)
            rig.uris[i] = g_strdup_printf("fake://host%d/system", i + 1);
    }
    for (int i = 0; i < rig.n; i++)
        rig.names[i] = g_strdup_printf("host%d", i + 1);
}

int
contract_main(int argc, char **argv, void (*add_tests)(void))
{
    g_test_init(&argc, &argv, NULL);
    contract_parse(argc, argv);
    cond_init_monotonic(&rig.changed);
    rig.events = g_ptr_array_new_with_free_func(host_event_destroy);

    add_tests();
    loop = g_main_loop_new(NULL, FALSE);
    thread_start_detached("tests", run_tests, NULL);
    g_main_loop_run(loop);

    g_main_loop_unref(loop);
    g_ptr_array_unref(rig.events);
    host_fake_world_free(rig.world);
    if (rig.world != NULL)
        rmdir(rig.dir);
    g_free(rig.dir);
    g_strfreev(rig.guest);
    g_free(rig.rbd_prefix);
    g_free(rig.rbd_key);
    rbd_access_free(rig.rbd);
    for (int i = 0; i < rig.n; i++) {
        g_free(rig.names[i]);
        g_free(rig.uris[i]);
    }
    return result;
}
