/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fake-memory.c: the memory of the fake's domains: kept while they are off, and post-copy */
#include "host/fake-world.h"

bool
fake_migrate_postcopy(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    const FakeDomain *domain = fake_need_domain(conn, world, uuid, err);
    if (domain == NULL)
        return false;
    FakeMove *move = fake_move_of(world, domain);
    if (move == NULL || move->source != domain->node)
        return fake_leave(world,
                          err_set(err, ERR_CONFLICT, "domain %s is not being moved away", uuid));
    if (!(move->flags & MIGRATE_POSTCOPY))
        return fake_leave(world, err_set(err, ERR_CONFLICT,
                                         "the move of domain %s does not permit post-copy", uuid));
    if (move->phase == FAKE_MOVE_TRANSFER)
        fake_move_postcopy(world, move);
    return fake_leave(world, true);
}

bool
fake_domain_save(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *domain = fake_need_domain(conn, world, uuid, err);
    if (domain == NULL)
        return false;
    if (domain->state == DOMAIN_SHUTOFF)
        return fake_leave(world, domain->saved ||
                                     err_set(err, ERR_CONFLICT, "domain %s does not run", uuid));
    if (domain->move > 0)
        return fake_leave(world, err_set(err, ERR_BUSY, "domain %s is being migrated", uuid));
    if (world->head.faults[domain->node] == FAKE_SAVE_FAILS)
        return fake_leave(world, err_set(err, ERR_BACKEND,
                                         "cannot write the memory of domain %s: No space left on "
                                         "device (fault of the fake)",
                                         uuid));
    fake_world_touch(world, domain, sizeof *domain);
    domain->saved = domain->persistent;
    if (domain->state == DOMAIN_RUNNING)
        fake_domain_event(world, domain, DOMAIN_SUSPENDED);
    fake_domain_event(world, domain, DOMAIN_STOPPED_SAVED);
    fake_domain_off(world, domain);
    return fake_leave(world, true);
}

bool
fake_domain_restore(HostConn *conn, const char *uuid, GError **err)
{
    FakeWorld *world = fake_enter(conn, err);
    if (world == NULL)
        return false;
    FakeDomain *domain = fake_need_domain(conn, world, uuid, err);
    if (domain == NULL)
        return false;
    if (domain->state != DOMAIN_SHUTOFF)
        return fake_leave(world, true);
    if (!domain->saved)
        return fake_leave(world,
                          err_set(err, ERR_NOT_FOUND, "no memory of domain %s is kept", uuid));
    if (world->head.faults[domain->node] == FAKE_START_FAILS)
        return fake_leave(world, err_set(err, ERR_BACKEND,
                                         "internal error: process exited while connecting to "
                                         "monitor (fault of the fake)"));
    fake_domain_set_state(world, domain, DOMAIN_RUNNING);
    domain->saved = false;
    fake_disks_start(domain);
    fake_domain_event(world, domain, DOMAIN_STARTED);
    fake_domain_event(world, domain, DOMAIN_RESUMED);
    return fake_leave(world, true);
}
