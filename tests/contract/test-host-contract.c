/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-host-contract.c: what a hypervisor driver owes, asserted through Hosts against any HostOps
 *
 *   test-host-contract                                 the fake
 *   test-host-contract --libvirt URI1 URI2 [URI3 …] [--dir PATH]
 *                                                      real nodes that can reach each other by
 * these URIs; PATH is a directory that all of them share (default: files are tried per node)
 *
 * Guests here are a bare firmware of 32 MiB: they run, move and stop, but do not listen to a power
 * button. */
#include "contract.h"

#include <string.h>
#include <unistd.h>

/* ---- the contract -----------------------------------------------------------------------------
 */

static void
test_facts(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (int i = 0; i < rig.n; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(HostFacts) facts = host_facts(rig.hosts, rig.names[i], soon(), &error);
        g_assert_no_error(error);
        g_assert_cmpint(facts->vcpus, >=, 1);
        g_assert_cmpint(facts->memory_mb, >=, 64);
        g_assert_cmpint(facts->libvirt_version, >=, 9000000);
        g_assert_cmpint(facts->qemu_version, >=, 7000000);
        g_assert_cmpint(facts->max_client_requests, >=, 1);
        g_assert_cmpstr(facts->virt_type, ==, "qemu");
        g_assert_true(uuid_is_valid(facts->libvirt_uuid));
        g_assert_nonnull(strstr(facts->hypervisor_cpu, "<cpu"));
        g_assert_cmpint(facts->cpu_models[0], ==, '[');
        g_assert_nonnull(strstr(facts->cpu_models, "\"kvm64\""));
        g_assert_cmpint(facts->cpu_info[0], ==, '{');
        g_assert_cmpstr(facts->encryption, ==, "plaintext");
        g_assert_true(g_hash_table_add(seen, g_strdup(facts->libvirt_uuid)));
    }
}

static void
test_absent(void)
{
    g_autofree char *uuid = uuid_new();
    const char *host = rig.names[0];
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainInfo) info = host_domain_probe(rig.hosts, host, uuid, soon(), &error);
    g_assert_no_error(error);
    g_assert_cmpint(info->state, ==, DOMAIN_ABSENT);
    g_assert_cmpstr(info->uuid, ==, uuid);
    g_assert_false(info->persistent || info->job_active || info->ours);

    host_domain_destroy(rig.hosts, host, uuid, soon(), &error);
    g_assert_no_error(error);
    host_domain_undefine(rig.hosts, host, uuid, soon(), &error);
    g_assert_no_error(error);
    host_job_abort(rig.hosts, host, uuid, soon(), &error);
    g_assert_no_error(error);
    host_domain_shutdown(rig.hosts, host, uuid, soon(), &error);
    g_assert_no_error(error);

    JobStats stats;
    MoveSpec move = {
        .uuid = uuid, .dest_uri = rig.uris[1], .flags = MIGRATE_LIVE | MIGRATE_PEER2PEER};
    g_assert_false(host_domain_pause(rig.hosts, host, uuid, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_false(host_domain_resume(rig.hosts, host, uuid, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_false(host_domain_reboot(rig.hosts, host, uuid, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_false(host_job_stats(rig.hosts, host, uuid, false, &stats, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_null(host_domain_cpu(rig.hosts, host, uuid, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&error);
    MoveWait wait = {0};
    host_migrate_start(rig.hosts, host, &move, move_ended, &wait, &error);
    g_assert_no_error(error);
    move_wait(&wait);
    g_assert_error(wait.error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&wait.error);
}

static void
test_start_and_destroy(void)
{
    Guest guest = guest_new();
    const char *host = rig.names[0];
    g_autoptr(GError) error = NULL;
    g_autofree char *machine = NULL, *cpu = NULL, *machine_again = NULL, *cpu_again = NULL;

    host_domain_start(rig.hosts, host, guest.spec, &machine, &cpu, soon(), &error);
    g_assert_no_error(error);
    g_assert_true(g_str_has_prefix(machine, "pc-"));
    g_assert_nonnull(strstr(cpu, "<cpu"));
    unsigned defined = need_change(host, guest.uuid, DOMAIN_DEFINED);
    unsigned resumed = need_change(host, guest.uuid, DOMAIN_RESUMED);
    unsigned started = need_change(host, guest.uuid, DOMAIN_STARTED);
    g_assert_cmpuint(defined, <, resumed);
    g_assert_cmpuint(resumed, <, started);

    g_autoptr(DomainInfo) info = probe(0, &guest);
    g_assert_cmpint(info->state, ==, DOMAIN_RUNNING);
    g_assert_true(info->persistent && info->ours && !info->job_active);
    g_assert_cmpstr(info->name, ==, guest.spec->domain_name);

    g_autoptr(GPtrArray) domains = host_domains(rig.hosts, host, soon(), &error);
    g_assert_no_error(error);
    unsigned listed = 0;
    for (unsigned i = 0; i < domains->len; i++)
        listed += strcmp(((DomainInfo *)domains->pdata[i])->uuid, guest.uuid) == 0;
    g_assert_cmpuint(listed, ==, 1);

    /* Running already is success, and starts nothing. */
    host_domain_start(rig.hosts, host, guest.spec, &machine_again, &cpu_again, soon(), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(machine_again, ==, machine);

    g_assert_false(host_domain_undefine(rig.hosts, host, guest.uuid, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_CONFLICT);
    g_clear_error(&error);
    assert_state(0, &guest, DOMAIN_RUNNING);

    host_domain_destroy(rig.hosts, host, guest.uuid, soon(), &error);
    g_assert_no_error(error);
    need_change(host, guest.uuid, DOMAIN_STOPPED_DESTROYED);
    assert_state(0, &guest, DOMAIN_SHUTOFF);
    host_domain_destroy(rig.hosts, host, guest.uuid, soon(), &error);
    g_assert_no_error(error);

    host_domain_undefine(rig.hosts, host, guest.uuid, soon(), &error);
    g_assert_no_error(error);
    need_change(host, guest.uuid, DOMAIN_UNDEFINED);
    assert_state(0, &guest, DOMAIN_ABSENT);
    guest_end(&guest);
}

static void
test_define(void)
{
    Guest guest = guest_new();
    g_autoptr(GError) error = NULL;
    for (int i = 0; i < 2; i++) {
        host_domain_define(rig.hosts, rig.names[1], guest.spec, soon(), &error);
        g_assert_no_error(error);
        g_autoptr(DomainInfo) info = probe(1, &guest);
        g_assert_cmpint(info->state, ==, DOMAIN_SHUTOFF);
        g_assert_true(info->persistent && info->ours);
    }
    assert_state(0, &guest, DOMAIN_ABSENT);
    g_assert_false(had_change(rig.names[1], guest.uuid, DOMAIN_STARTED));
    g_assert_false(host_domain_pause(rig.hosts, rig.names[1], guest.uuid, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_CONFLICT);
    g_clear_error(&error);
    host_domain_shutdown(rig.hosts, rig.names[1], guest.uuid, soon(), &error);
    g_assert_no_error(error);
    /* A definition that is there is replaced and started. */
    guest_start(&guest, 1);
    assert_state(1, &guest, DOMAIN_RUNNING);
    guest_end(&guest);
}

static void
test_pause_and_resume(void)
{
    Guest guest = guest_new();
    const char *host = rig.names[0];
    g_autoptr(GError) error = NULL;
    guest_start(&guest, 0);
    for (int i = 0; i < 2; i++) {
        host_domain_pause(rig.hosts, host, guest.uuid, soon(), &error);
        g_assert_no_error(error);
        assert_state(0, &guest, DOMAIN_PAUSED);
    }
    need_change(host, guest.uuid, DOMAIN_SUSPENDED);
    guest_start(&guest, 0); /* paused is running: nothing happens */
    assert_state(0, &guest, DOMAIN_PAUSED);
    for (int i = 0; i < 2; i++) {
        host_domain_resume(rig.hosts, host, guest.uuid, soon(), &error);
        g_assert_no_error(error);
        assert_state(0, &guest, DOMAIN_RUNNING);
    }
    need_change(host, guest.uuid, DOMAIN_RESUMED);
    guest_end(&guest);
}

static void
test_shutdown(void)
{
    Guest guest = guest_new();
    g_autoptr(GError) error = NULL;
    guest_start(&guest, 0);
    host_domain_reboot(rig.hosts, rig.names[0], guest.uuid, soon(), &error);
    g_assert_no_error(error);
    host_domain_shutdown(rig.hosts, rig.names[0], guest.uuid, soon(), &error);
    g_assert_no_error(error);
    if (rig.world != NULL) {
        need_change(rig.names[0], guest.uuid, DOMAIN_STOPPED_SHUTDOWN);
        assert_state(0, &guest, DOMAIN_SHUTOFF);
    }
    guest_end(&guest);
}

static void
test_move(void)
{
    Guest guest = guest_new();
    const char *source = rig.names[0], *dest = rig.names[1];
    g_autoptr(GError) error = NULL;
    MoveWait wait;
    guest_start(&guest, 0);
    move_start(&guest, 0, rig.uris[1], false, &wait);
    move_wait(&wait);
    g_assert_no_error(wait.error);

    /* When the call has returned there is nothing left to wait for on either node. */
    assert_state(0, &guest, DOMAIN_ABSENT);
    g_autoptr(DomainInfo) info = probe(1, &guest);
    g_assert_cmpint(info->state, ==, DOMAIN_RUNNING);
    g_assert_true(info->persistent && info->ours && !info->job_active);

    unsigned suspended = need_change(source, guest.uuid, DOMAIN_SUSPENDED_MIGRATED);
    unsigned resumed = need_change(dest, guest.uuid, DOMAIN_RESUMED_MIGRATED);
    unsigned stopped = need_change(source, guest.uuid, DOMAIN_STOPPED_MIGRATED);
    unsigned completed = need_event_from(source, guest.uuid, HOST_EVENT_JOB_COMPLETED, 0, 0);
    unsigned incoming = need_change(dest, guest.uuid, DOMAIN_STARTED_INCOMING);
    unsigned iteration = need_event_from(source, guest.uuid, HOST_EVENT_ITERATION, 0, 0);
    g_assert_cmpuint(incoming, <, iteration);
    g_assert_cmpuint(iteration, <, suspended);
    need_change(dest, guest.uuid, DOMAIN_DEFINED);
    g_assert_cmpuint(suspended, <, resumed);
    g_assert_cmpuint(resumed, <, stopped);
    g_assert_false(had_change(source, guest.uuid, DOMAIN_RESUMED_MIGRATED));
    g_assert_false(had_change(dest, guest.uuid, DOMAIN_STARTED));
    const HostEvent *event = rig.events->pdata[completed];
    g_assert_true(event->stats.completed);
    g_assert_cmpint(event->stats.downtime_ms, >=, 0);
    g_assert_cmpint(event->stats.memory_total, >, 0);

    JobStats stats;
    host_job_stats(rig.hosts, dest, guest.uuid, true, &stats, soon(), &error);
    g_assert_no_error(error);
    g_assert_true(stats.completed && !stats.active);
    g_assert_cmpint(stats.elapsed_ms, >=, 0);
    g_assert_cmpint(stats.downtime_ms, >=, 0);
    host_job_stats(rig.hosts, dest, guest.uuid, false, &stats, soon(), &error);
    g_assert_no_error(error);
    g_assert_false(stats.active || stats.completed);

    /* and back */
    move_start(&guest, 1, rig.uris[0], false, &wait);
    move_wait(&wait);
    g_assert_no_error(wait.error);
    assert_state(0, &guest, DOMAIN_RUNNING);
    assert_state(1, &guest, DOMAIN_ABSENT);
    guest_end(&guest);
}

/* A QEMU that emulates its CPU sometimes answers its monitor only when the first pass is over. Then
 * a test of what may be done meanwhile came too late, and is made again; not on the fake. */
enum {
    ATTEMPTS = 6
};

static bool
came_too_late(const MoveWait *wait, const char *what)
{
    WITH_MUTEX(&rig.mutex);
    bool late = wait->ended && wait->error == NULL;
    if (late) {
        g_assert_null(rig.world);
        g_test_message("the move ended before %s was heard", what);
    }
    return late;
}

/* false: it came too late */
static bool
try_abort(void)
{
    Guest guest = guest_new_big();
    const char *source = rig.names[0];
    g_autoptr(GError) error = NULL;
    MoveWait wait;
    JobStats stats;
    guest_start(&guest, 0);
    move_start(&guest, 0, rig.uris[1], true, &wait);
    need_event_from(source, guest.uuid, HOST_EVENT_ITERATION, 0, 0);

    g_autoptr(DomainInfo) info = probe(0, &guest);
    g_autoptr(DomainInfo) incoming = probe(1, &guest);
    bool told = host_job_stats(rig.hosts, source, guest.uuid, false, &stats, soon(), NULL);
    host_job_abort(rig.hosts, source, guest.uuid, soon(), &error);
    g_assert_no_error(error);
    move_wait(&wait);
    if (came_too_late(&wait, "the abort")) {
        guest_end(&guest);
        return false;
    }
    g_assert_cmpint(info->state, ==, DOMAIN_RUNNING);
    g_assert_true(info->job_active);
    g_assert_cmpint(incoming->state, ==, DOMAIN_PAUSED_INCOMING);
    g_assert_true(incoming->job_active);
    g_assert_true(told && stats.active && !stats.completed && !stats.failed);
    g_assert_cmpint(stats.memory_total, >, 0);

    g_assert_error(wait.error, ERR_DOMAIN, ERR_CANCELLED);
    g_clear_error(&wait.error);
    need_change(rig.names[1], guest.uuid, DOMAIN_STOPPED_FAILED);
    assert_state(0, &guest, DOMAIN_RUNNING);
    assert_state(1, &guest, DOMAIN_ABSENT);
    g_assert_false(had_change(rig.names[1], guest.uuid, DOMAIN_RESUMED_MIGRATED));
    host_job_abort(rig.hosts, source, guest.uuid, soon(), &error);
    g_assert_no_error(error);

    /* It can be moved all the same. */
    move_start(&guest, 0, rig.uris[1], false, &wait);
    move_wait(&wait);
    g_assert_no_error(wait.error);
    assert_state(1, &guest, DOMAIN_RUNNING);
    guest_end(&guest);
    return true;
}

static void
test_abort(void)
{
    int attempts = 1;
    while (!try_abort())
        g_assert_cmpint(++attempts, <=, ATTEMPTS);
}

/* false: it came too late */
static bool
try_while_moving(void)
{
    Guest guest = guest_new_big();
    const char *source = rig.names[0];
    g_autoptr(GError) downtime = NULL, bandwidth = NULL, undefine = NULL, error = NULL;
    MoveWait wait, second;
    guest_start(&guest, 0);
    move_start(&guest, 0, rig.uris[1], true, &wait);
    need_event_from(source, guest.uuid, HOST_EVENT_ITERATION, 0, 0);

    host_set_downtime(rig.hosts, source, guest.uuid, 60, soon(), &downtime);
    host_set_bandwidth(rig.hosts, source, guest.uuid, 1, soon(), &bandwidth);
    host_domain_undefine(rig.hosts, source, guest.uuid, soon(), &undefine);
    move_start(&guest, 0, rig.uris[1], true, &second);
    move_wait(&second);
    host_job_abort(rig.hosts, source, guest.uuid, soon(), &error);
    g_assert_no_error(error);
    move_wait(&wait);
    bool late = came_too_late(&wait, "the last call");
    if (!late) {
        g_assert_no_error(downtime);
        g_assert_no_error(bandwidth);
        g_assert_error(undefine, ERR_DOMAIN, ERR_CONFLICT);
        /* Refused at once: one that waits would begin when the first is aborted. */
        g_assert_error(second.error, ERR_DOMAIN, ERR_CONFLICT);
        g_assert_error(wait.error, ERR_DOMAIN, ERR_CANCELLED);
        assert_state(0, &guest, DOMAIN_RUNNING);
        assert_state(1, &guest, DOMAIN_ABSENT);
    }
    g_clear_error(&second.error);
    g_clear_error(&wait.error);
    guest_end(&guest);
    return !late;
}

static void
test_while_moving(void)
{
    int attempts = 1;
    while (!try_while_moving())
        g_assert_cmpint(++attempts, <=, ATTEMPTS);
}

static void
test_move_source_destroyed(void)
{
    Guest guest = guest_new_big();
    g_autoptr(GError) error = NULL;
    MoveWait wait;
    guest_start(&guest, 0);
    move_start(&guest, 0, rig.uris[1], true, &wait);
    need_event_from(rig.names[0], guest.uuid, HOST_EVENT_ITERATION, 0, 0);
    host_domain_destroy(rig.hosts, rig.names[0], guest.uuid, soon(), &error);
    g_assert_no_error(error);
    move_wait(&wait);
    g_assert_nonnull(wait.error);
    g_clear_error(&wait.error);
    assert_state(0, &guest, DOMAIN_SHUTOFF);
    assert_state(1, &guest, DOMAIN_ABSENT);
    guest_end(&guest);
}

static void
test_two_moves(void)
{
    Guest guests[2] = {guest_new(), guest_new()};
    MoveWait waits[2];
    for (int i = 0; i < 2; i++)
        guest_start(&guests[i], 0);
    for (int i = 0; i < 2; i++)
        move_start(&guests[i], 0, rig.uris[1], false, &waits[i]);
    for (int i = 0; i < 2; i++) {
        move_wait(&waits[i]);
        g_assert_no_error(waits[i].error);
        assert_state(0, &guests[i], DOMAIN_ABSENT);
        assert_state(1, &guests[i], DOMAIN_RUNNING);
    }
    for (int i = 0; i < 2; i++)
        guest_end(&guests[i]);
}

static void
test_move_paused(void)
{
    Guest guest = guest_new();
    g_autoptr(GError) error = NULL;
    MoveWait wait;
    guest_start(&guest, 0);
    host_domain_pause(rig.hosts, rig.names[0], guest.uuid, soon(), &error);
    g_assert_no_error(error);
    move_start(&guest, 0, rig.uris[1], false, &wait);
    move_wait(&wait);
    g_assert_no_error(wait.error);
    assert_state(0, &guest, DOMAIN_ABSENT);
    assert_state(1, &guest, DOMAIN_PAUSED);
    host_domain_resume(rig.hosts, rig.names[1], guest.uuid, soon(), &error);
    g_assert_no_error(error);
    assert_state(1, &guest, DOMAIN_RUNNING);
    guest_end(&guest);
}

static void
test_move_refused(void)
{
    Guest guest = guest_new();
    MoveWait wait;
    g_autoptr(GError) error = NULL;
    host_domain_define(rig.hosts, rig.names[0], guest.spec, soon(), &error);
    g_assert_no_error(error);
    move_start(&guest, 0, rig.uris[1], false, &wait); /* not running */
    move_wait(&wait);
    g_assert_error(wait.error, ERR_DOMAIN, ERR_CONFLICT);
    g_clear_error(&wait.error);
    guest_start(&guest, 0);
    move_start(&guest, 0, rig.dead_uri, false, &wait); /* to nobody */
    move_wait(&wait);
    g_assert_error(wait.error, ERR_DOMAIN, ERR_BACKEND);
    g_clear_error(&wait.error);
    g_autoptr(DomainInfo) info = probe(0, &guest);
    g_assert_cmpint(info->state, ==, DOMAIN_RUNNING);
    g_assert_false(info->job_active);
    guest_end(&guest);
}

static void
test_unreachable(void)
{
    g_autoptr(GError) error = NULL;
    hosts_add(rig.hosts, "nowhere", rig.dead_uri);
    unsigned at = need_event_from("nowhere", NULL, HOST_EVENT_DISCONNECTED, 0, 0);
    g_assert_cmpstr(((HostEvent *)rig.events->pdata[at])->text, !=, NULL);
    g_autofree char *uuid = uuid_new();
    g_assert_null(host_domain_probe(rig.hosts, "nowhere", uuid, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_UNREACHABLE);
    g_assert_true(g_str_has_prefix(error->message, "nowhere is not connected: "));
    g_test_message("%s", error->message);
    hosts_remove(rig.hosts, "nowhere");
}

static void
check_file(int writer, int reader, const char *dir)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *nonce = random_token(24);
    g_autofree char *path = g_strdup_printf("%s/.contract-%s", dir, nonce);
    g_autoptr(GString) contents = g_string_new("kept ");
    size_t length = strlen(nonce);
    const char *from = rig.names[writer], *to = rig.names[reader];

    g_assert_false(host_file_read(rig.hosts, to, path, 0, 100, contents, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&error);
    host_file_write(rig.hosts, from, path, nonce, length, soon(), &error);
    g_assert_no_error(error);
    host_file_read(rig.hosts, to, path, 0, 100, contents, soon(), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(contents->str + 5, ==, nonce);
    g_string_truncate(contents, 0);
    host_file_read(rig.hosts, to, path, 4, 3, contents, soon(), &error);
    g_assert_no_error(error);
    g_assert_cmpmem(contents->str, contents->len, nonce + 4, 3);
    g_string_truncate(contents, 0);
    host_file_read(rig.hosts, to, path, 1000, 3, contents, soon(), &error); /* behind the end */
    g_assert_no_error(error);
    g_assert_cmpuint(contents->len, ==, 0);
    host_file_write(rig.hosts, from, path, "x", 1, soon(), &error); /* replaces */
    g_assert_no_error(error);
    host_file_read(rig.hosts, to, path, 0, 100, contents, soon(), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(contents->str, ==, "x");
    for (int i = 0; i < 2; i++) {
        host_file_delete(rig.hosts, from, path, soon(), &error);
        g_assert_no_error(error);
    }
    g_assert_false(host_file_read(rig.hosts, to, path, 0, 100, contents, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&error);

    g_autofree char *made = g_strconcat(path, ".d", NULL);
    g_autofree char *inside = g_strconcat(made, "/file", NULL);
    for (int i = 0; i < 2; i++) {
        host_directory_make(rig.hosts, from, made, soon(), &error);
        g_assert_no_error(error);
    }
    host_file_write(rig.hosts, from, inside, "x", 1, soon(), &error);
    g_assert_no_error(error);
    host_file_delete(rig.hosts, from, inside, soon(), &error);
    g_assert_no_error(error);
    rmdir(made); /* on a node of the lab it goes with the node */

    int64_t total = 0, free_bytes = 0;
    host_file_system(rig.hosts, from, dir, &total, &free_bytes, soon(), &error);
    g_assert_no_error(error);
    g_assert_cmpint(total, >, 0);
    g_assert_cmpint(free_bytes, <=, total);
}

/* What a node needs for a network disk, and the question whether it can open one. */
static void
test_disk_probe(void)
{
    static const char id[] = "5a0f4a3e-0c53-4b0c-9a53-60b2a4c6de01";
    const char *host = rig.names[0];
    g_autoptr(GError) error = NULL;
    for (int i = 0; i < 2; i++) {
        host_secret_define(rig.hosts, host, id, "godwit contract", "value", 5, soon(), &error);
        g_assert_no_error(error);
    }
    g_assert_false(
        host_secret_define(rig.hosts, host, "no-uuid", "godwit contract", "v", 1, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_INVALID);
    g_clear_error(&error);

    g_autofree char *uuid = uuid_new();
    g_autofree char *path =
        g_strdup_printf("%s/godwit-contract-%s", rig.dir ? rig.dir : "/var/tmp", uuid);
    DiskSpec disk = {.source = path, .format = (char *)"raw", .read_only = true};
    int64_t capacity = 0;
    g_assert_false(host_disk_probe(rig.hosts, host, uuid, &disk, &capacity, soon(), &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    g_autofree char *bytes = g_malloc0(70 * 512);
    host_file_write(rig.hosts, host, path, bytes, 70 * 512, soon(), &error);
    g_assert_no_error(error);
    host_disk_probe(rig.hosts, host, uuid, &disk, &capacity, soon(), &error);
    g_assert_no_error(error);
    g_assert_cmpint(capacity, ==, 70 * 512);
    g_autoptr(DomainInfo) info = host_domain_probe(rig.hosts, host, uuid, soon(), &error);
    g_assert_no_error(error);
    g_assert_cmpint(info->state, ==, DOMAIN_ABSENT);
    host_file_delete(rig.hosts, host, path, soon(), &error);
    g_assert_no_error(error);
}

static void
test_files(void)
{
    if (rig.dir == NULL) {
        check_file(0, 0, "/var/tmp");
        return;
    }
    check_file(0, 1, rig.dir);
    check_file(1, 0, rig.dir);
}

static void
test_cpu(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LibvirtSettings) settings = libvirt_settings_new();
    HostFacts *facts[NODES_MOST];
    const char *cpus[NODES_MOST];
    text_set(&settings->virt_type, "qemu");
    for (int i = 0; i < rig.n; i++) {
        facts[i] = host_facts(rig.hosts, rig.names[i], soon(), &error);
        g_assert_no_error(error);
        cpus[i] = facts[i]->hypervisor_cpu;
    }
    g_autofree char *limit = NULL;
    g_autofree char *baseline =
        host_cpu_choose(rig.hosts, rig.names[0], settings, (const char *const *)rig.names, cpus,
                        (size_t)rig.n, &limit, soon(), &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(baseline, "<cpu"));
    g_test_message("limit: %s", limit);
    for (int i = 0; i < rig.n; i++) {
        host_cpu_compare(rig.hosts, rig.names[i], baseline, "qemu", "pc", soon(), &error);
        g_assert_no_error(error);
    }

    /* What TCG (and a fake Westmere) cannot give is refused by name. */
    g_assert_false(
        host_cpu_compare(rig.hosts, rig.names[0],
                         "<cpu mode='custom' match='exact'><model fallback='forbid'>SandyBridge"
                         "</model></cpu>",
                         "qemu", "pc", soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "tsc-deadline"));
    g_test_message("%s", error->message);
    g_clear_error(&error);
    settings->cpu_mode = CPU_MODE_CUSTOM;
    g_strfreev(settings->cpu_models);
    settings->cpu_models = g_strsplit("SandyBridge", ",", -1);
    g_assert_null(host_cpu_choose(rig.hosts, rig.names[0], settings, (const char *const *)rig.names,
                                  cpus, (size_t)rig.n, NULL, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_UNSUPPORTED);
    g_test_message("%s", error->message);
    g_clear_error(&error);

    g_strfreev(settings->cpu_models);
    settings->cpu_models = g_strsplit("SandyBridge,kvm64", ",", -1);
    Guest guest = guest_new();
    guest.spec->cpu_xml =
        host_cpu_choose(rig.hosts, rig.names[0], settings, (const char *const *)rig.names, cpus,
                        (size_t)rig.n, NULL, soon(), &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(guest.spec->cpu_xml, "kvm64"));
    guest_start(&guest, 0);
    g_autofree char *live = host_domain_cpu(rig.hosts, rig.names[0], guest.uuid, soon(), &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(live, "kvm64"));
    host_cpu_compare(rig.hosts, rig.names[1], live, "qemu", "pc", soon(), &error);
    g_assert_no_error(error);
    guest_end(&guest);
    for (int i = 0; i < rig.n; i++)
        host_facts_free(facts[i]);
}

static void
add_tests(void)
{
    g_test_add_func("/contract/facts", test_facts);
    g_test_add_func("/contract/absent", test_absent);
    g_test_add_func("/contract/start-and-destroy", test_start_and_destroy);
    g_test_add_func("/contract/define", test_define);
    g_test_add_func("/contract/pause-and-resume", test_pause_and_resume);
    g_test_add_func("/contract/shutdown", test_shutdown);
    g_test_add_func("/contract/move", test_move);
    g_test_add_func("/contract/abort", test_abort);
    g_test_add_func("/contract/while-moving", test_while_moving);
    g_test_add_func("/contract/move-source-destroyed", test_move_source_destroyed);
    g_test_add_func("/contract/two-moves", test_two_moves);
    g_test_add_func("/contract/move-paused", test_move_paused);
    g_test_add_func("/contract/move-refused", test_move_refused);
    g_test_add_func("/contract/unreachable", test_unreachable);
    g_test_add_func("/contract/files", test_files);
    g_test_add_func("/contract/disk-probe", test_disk_probe);
    g_test_add_func("/contract/cpu", test_cpu);
}

int
main(int argc, char **argv)
{
    return contract_main(argc, argv, add_tests);
}
