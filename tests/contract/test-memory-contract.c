/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-memory-contract.c: what a hypervisor driver owes where a guest's memory is what matters:
 * kept on the node's disk while the guest is off, dropped, moved while the guest is paused, and
 * moved after the guest (post-copy)
 *
 * Arguments as of test-host-contract. */
#include "contract.h"

#include <string.h>

static const char *
first(void)
{
    return rig.names[0];
}

static void
assert_saved(int node, const Guest *guest, bool saved)
{
    g_autoptr(DomainInfo) info = probe(node, guest);
    g_assert_cmpstr(domain_state_names[info->state], ==, domain_state_names[DOMAIN_SHUTOFF]);
    g_assert_true(info->saved == saved);
}

static void
save(const Guest *guest)
{
    g_autoptr(GError) error = NULL;
    host_domain_save(rig.hosts, first(), guest->uuid, soon(), &error);
    g_assert_no_error(error);
}

static void
restore(const Guest *guest)
{
    g_autoptr(GError) error = NULL;
    host_domain_restore(rig.hosts, first(), guest->uuid, soon(), &error);
    g_assert_no_error(error);
}

static void
refuse_restore(const Guest *guest)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(host_domain_restore(rig.hosts, first(), guest->uuid, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
}

static void
test_save(void)
{
    Guest guest = guest_new();
    g_autoptr(GError) error = NULL;
    refuse_restore(&guest); /* no such domain */
    g_assert_false(host_domain_save(rig.hosts, first(), guest.uuid, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&error);

    guest_start(&guest, 0);
    g_autoptr(DomainInfo) info = probe(0, &guest);
    g_assert_false(info->saved || info->never_ran);
    restore(&guest); /* runs already */
    save(&guest);
    unsigned stopped = need_change(first(), guest.uuid, DOMAIN_STOPPED_SAVED);
    g_assert_false(had_change(first(), guest.uuid, DOMAIN_STOPPED_DESTROYED));
    assert_saved(0, &guest, true);
    save(&guest); /* saved already */
    g_autoptr(GPtrArray) domains = host_domains(rig.hosts, first(), soon(), &error);
    g_assert_no_error(error);
    for (guint i = 0; i < domains->len; i++) {
        const DomainInfo *listed = domains->pdata[i];
        if (strcmp(listed->uuid, guest.uuid) == 0)
            g_assert_true(listed->saved);
    }
    host_domain_destroy(rig.hosts, first(), guest.uuid, soon(), &error); /* off: nothing happens */
    g_assert_no_error(error);
    assert_saved(0, &guest, true);

    restore(&guest);
    unsigned started =
        need_event_from(first(), guest.uuid, HOST_EVENT_DOMAIN, DOMAIN_STARTED, stopped);
    need_event_from(first(), guest.uuid, HOST_EVENT_DOMAIN, DOMAIN_RESUMED, started);
    assert_state(0, &guest, DOMAIN_RUNNING);
    host_domain_destroy(rig.hosts, first(), guest.uuid, soon(), &error);
    g_assert_no_error(error);
    assert_saved(0, &guest, false); /* it was used up */
    refuse_restore(&guest);
    g_assert_false(host_domain_save(rig.hosts, first(), guest.uuid, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_CONFLICT);
    guest_end(&guest);
}

/* A start is a boot, and undefining leaves nothing for a later domain of this name. */
static void
test_saved_dropped(void)
{
    Guest guest = guest_new();
    g_autoptr(GError) error = NULL;
    guest_start(&guest, 0);
    save(&guest);
    guest_start(&guest, 0);
    assert_state(0, &guest, DOMAIN_RUNNING);
    host_domain_destroy(rig.hosts, first(), guest.uuid, soon(), &error);
    g_assert_no_error(error);
    assert_saved(0, &guest, false);

    guest_start(&guest, 0);
    save(&guest);
    host_domain_undefine(rig.hosts, first(), guest.uuid, soon(), &error);
    g_assert_no_error(error);
    assert_state(0, &guest, DOMAIN_ABSENT);
    host_domain_define(rig.hosts, first(), guest.spec, soon(), &error);
    g_assert_no_error(error);
    assert_saved(0, &guest, false);
    g_autoptr(DomainInfo) info = probe(0, &guest);
    g_assert_true(info->never_ran);
    guest_end(&guest);
}

static void
test_save_paused(void)
{
    Guest guest = guest_new();
    g_autoptr(GError) error = NULL;
    guest_start(&guest, 0);
    host_domain_pause(rig.hosts, first(), guest.uuid, soon(), &error);
    g_assert_no_error(error);
    save(&guest);
    restore(&guest);
    assert_state(0, &guest, DOMAIN_RUNNING);
    guest_end(&guest);
}

/* The disks of a guest in saved memory stay as they are. */
static void
test_saved_disks(void)
{
    Guest guest = guest_new();
    g_autoptr(GError) error = NULL;
    DiskSpec disk = {.source = (char *)"/nowhere",
                     .format = (char *)"raw",
                     .serial = (char *)"11111111-2222-4333-8444-555555555555"};
    guest_start(&guest, 0);
    save(&guest);
    g_assert_false(host_disk_attach(rig.hosts, first(), guest.uuid, &disk, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_CONFLICT);
    g_clear_error(&error);
    host_disk_detach(rig.hosts, first(), guest.uuid, disk.serial, soon(), &error);
    g_assert_no_error(error); /* it is not there */
    guest_end(&guest);
}

/* ---- moves ------------------------------------------------------------------------------------
 */

enum {
    ATTEMPTS = 6
};

/* A move that ended before it was asked for something is made again; not on the fake. */
static bool
came_too_late(MoveWait *wait)
{
    WITH_MUTEX(&rig.mutex);
    bool late = wait->ended && wait->error == NULL;
    if (late)
        g_assert_null(rig.world);
    return late;
}

static void
move_start_endless(const Guest *guest, unsigned more_flags, MoveWait *wait)
{
    *wait = (MoveWait){0};
    if (rig.world != NULL) {
        host_fake_set_timing(rig.world, 50 * USEC_PER_MSEC, 20 * USEC_PER_MSEC);
        host_fake_set_fault(rig.world, 1, FAKE_MIGRATE_NEVER_CONVERGES);
    }
    MoveSpec spec = {
        .uuid = (char *)guest->uuid,
        .dest_uri = rig.uris[1],
        .flags = MIGRATE_LIVE | MIGRATE_PEER2PEER | MIGRATE_PERSIST_DEST | MIGRATE_UNDEFINE_SOURCE |
                 MIGRATE_UNSAFE | more_flags,
        .bandwidth_mib_s = 1,
        .downtime_ms = 30,
    };
    g_autoptr(GError) error = NULL;
    host_migrate_start(rig.hosts, first(), &spec, move_ended, wait, &error);
    g_assert_no_error(error);
    need_event_from(first(), guest->uuid, HOST_EVENT_ITERATION, 0, 0);
}

static void
move_end(const Guest *guest, MoveWait *wait)
{
    host_set_bandwidth(rig.hosts, first(), guest->uuid, 0, soon(), NULL);
    move_wait(wait);
    if (rig.world != NULL)
        host_fake_set_fault(rig.world, 1, FAKE_FAULT_NONE);
}

/* Paused on the source in mid-move, the guest runs when it has arrived. */
static bool
try_pause(bool abort)
{
    Guest guest = guest_new_big();
    g_autoptr(GError) paused = NULL, error = NULL;
    MoveWait wait;
    guest_start(&guest, 0);
    move_start_endless(&guest, 0, &wait);
    host_domain_pause(rig.hosts, first(), guest.uuid, soon(), &paused);
    g_autoptr(DomainInfo) info = probe(0, &guest);
    if (abort)
        host_job_abort(rig.hosts, first(), guest.uuid, soon(), &error);
    g_assert_no_error(error);
    move_end(&guest, &wait);
    bool late = abort && came_too_late(&wait);
    if (!late && info->state != DOMAIN_ABSENT && info->job_active) {
        g_assert_no_error(paused);
        g_assert_cmpstr(domain_state_names[info->state], ==,
                        domain_state_names[DOMAIN_PAUSED_MIGRATED]);
        need_change(first(), guest.uuid, DOMAIN_SUSPENDED_MIGRATED);
        g_assert_false(had_change(first(), guest.uuid, DOMAIN_SUSPENDED));
    }
    if (!late && abort) {
        g_assert_error(wait.error, ERR_DOMAIN, ERR_CANCELLED);
        assert_state(0, &guest, DOMAIN_RUNNING);
        assert_state(1, &guest, DOMAIN_ABSENT);
    } else {
        g_assert_no_error(wait.error);
        assert_state(0, &guest, DOMAIN_ABSENT);
        assert_state(1, &guest, DOMAIN_RUNNING);
    }
    g_clear_error(&wait.error);
    guest_end(&guest);
    return !late;
}

static void
test_pause_while_moving(void)
{
    g_assert_true(try_pause(false));
    int attempts = 1;
    while (!try_pause(true))
        g_assert_cmpint(++attempts, <=, ATTEMPTS);
}

static void
test_postcopy_refused(void)
{
    Guest guest = guest_new_big();
    g_autoptr(GError) idle = NULL, error = NULL;
    MoveWait wait;
    g_assert_false(host_migrate_postcopy(rig.hosts, first(), guest.uuid, soon(), &error));
    g_assert_error(error, ERR_DOMAIN, ERR_NOT_FOUND);
    g_clear_error(&error);
    guest_start(&guest, 0);
    g_assert_false(host_migrate_postcopy(rig.hosts, first(), guest.uuid, soon(), &idle));
    g_assert_error(idle, ERR_DOMAIN, ERR_CONFLICT);
    move_start_endless(&guest, 0, &wait);
    /* it does not permit it, or it is over already */
    g_assert_false(host_migrate_postcopy(rig.hosts, first(), guest.uuid, soon(), &error));
    g_test_message("%s", error->message);
    g_assert_true(g_error_matches(error, ERR_DOMAIN, ERR_CONFLICT) ||
                  (rig.world == NULL && g_error_matches(error, ERR_DOMAIN, ERR_NOT_FOUND)));
    host_job_abort(rig.hosts, first(), guest.uuid, soon(), NULL);
    move_end(&guest, &wait);
    g_clear_error(&wait.error);
    guest_end(&guest);
}

/* false: it came too late */
static bool
try_postcopy(void)
{
    Guest guest = guest_new_big();
    g_autoptr(GError) error = NULL, again = NULL, abort = NULL;
    MoveWait wait;
    guest_start(&guest, 0);
    move_start_endless(&guest, MIGRATE_POSTCOPY, &wait);
    /* It begins when the transfer has come round to it; until then an abort is heard. */
    if (host_migrate_postcopy(rig.hosts, first(), guest.uuid, soon(), &error))
        need_change(first(), guest.uuid, DOMAIN_SUSPENDED_POSTCOPY);
    else
        g_test_message("%s", error->message);
    bool was_first = host_migrate_postcopy(rig.hosts, first(), guest.uuid, soon(), &again);
    host_job_abort(rig.hosts, first(), guest.uuid, soon(), &abort);
    g_autoptr(DomainInfo) source = probe(0, &guest);
    move_end(&guest, &wait);
    bool late = error != NULL;
    if (late) {
        g_assert_null(rig.world);
        g_clear_error(&wait.error);
        guest_end(&guest);
        return false;
    }
    g_assert_no_error(wait.error);
    unsigned suspended = need_change(first(), guest.uuid, DOMAIN_SUSPENDED_POSTCOPY);
    unsigned resumed = need_change(rig.names[1], guest.uuid, DOMAIN_RESUMED_POSTCOPY);
    unsigned stopped = need_change(first(), guest.uuid, DOMAIN_STOPPED_MIGRATED);
    unsigned arrived = need_change(rig.names[1], guest.uuid, DOMAIN_RESUMED_MIGRATED);
    g_assert_cmpuint(suspended, <, resumed);
    g_assert_cmpuint(resumed, <, stopped);
    g_assert_cmpuint(resumed, <, arrived);
    g_assert_false(rig.world != NULL && !source->postcopy);
    if (source->postcopy) { /* all was asked in time */
        g_assert_true(source->job_active);
        g_assert_true(was_first);
        g_assert_error(abort, ERR_DOMAIN, ERR_CONFLICT);
        g_assert_cmpstr(domain_state_names[source->state], ==,
                        domain_state_names[DOMAIN_PAUSED_MIGRATED]);
    }
    assert_state(0, &guest, DOMAIN_ABSENT);
    assert_state(1, &guest, DOMAIN_RUNNING);
    guest_end(&guest);
    return true;
}

static void
test_postcopy(void)
{
    int attempts = 1;
    while (!try_postcopy())
        g_assert_cmpint(++attempts, <=, ATTEMPTS);
}

static void
add_tests(void)
{
    g_test_add_func("/memory-contract/save", test_save);
    g_test_add_func("/memory-contract/saved-dropped", test_saved_dropped);
    g_test_add_func("/memory-contract/save-paused", test_save_paused);
    g_test_add_func("/memory-contract/saved-disks", test_saved_disks);
    g_test_add_func("/memory-contract/pause-while-moving", test_pause_while_moving);
    g_test_add_func("/memory-contract/postcopy-refused", test_postcopy_refused);
    g_test_add_func("/memory-contract/postcopy", test_postcopy);
}

int
main(int argc, char **argv)
{
    return contract_main(argc, argv, add_tests);
}
