# SPDX-License-Identifier: LGPL-2.1-or-later
"""live_power: pause, unpause, suspend, resume. The guest counts: it stands still, goes on where it was, and does not boot."""
import re
import time

from livelab import need, ok, places, virsh


def act(guest, status, action, seconds=30, host=None):
    """Accepted, and done."""
    code, _, answer = guest.action(action)
    need(code == 202 and guest.wait_state(status, seconds, host), f"{next(iter(action))}: the server is {status}",
         f"{code} {answer} {guest.view()}")


def refused(guest, *actions):
    answers = {next(iter(action)): guest.action(action)[0] for action in actions}
    ok(set(answers.values()) == {409}, f"{', '.join(answers)}: refused with 409", answers)


def last_tick(guest):
    """As it stands on the console."""
    _, _, answer = guest.action({"os-getConsoleOutput": {"length": 5}})
    return max((int(tick) for tick in re.findall(r"tick (\d+) ", answer)), default=0)


def goes_on(guest, before, span):
    """The same boot, and it counted no further than in a few seconds of its own."""
    after = guest.ask("status", seconds=30)
    ok(after["boot_seq"] == before["boot_seq"] and after["uptime_ms"] >= before["uptime_ms"] and
       before["tick"] <= after["tick"] <= before["tick"] + span * 5, f"the guest goes on where it was: tick {before['tick']} → {after['tick']}, "
       f"up for {before['uptime_ms'] / 1000:.1f} → {after['uptime_ms'] / 1000:.1f} s", (before, after))


def test_pause(world):
    """a guest is paused, moved while it is, and goes on"""
    guest = world.guest("host1")
    before = guest.ask("status")
    act(guest, "PAUSED", {"pause": None})
    ok(guest.view()["OS-EXT-STS:power_state"] == 3 and virsh("host1", "domstate", guest.domain).strip() == "paused",
       "power state 3, and paused for libvirt")
    tick = last_tick(guest)
    refused(guest, {"pause": None}, {"suspend": None}, {"resume": None}, {"os-start": None}, {"reboot": {"type": "SOFT"}})
    time.sleep(1)
    ok(tick > 0 and last_tick(guest) == tick, f"the guest's counter stands still at {tick}", last_tick(guest))
    record = guest.moved("host2")
    ok(guest.wait_state("PAUSED", 5, "host2") and places(guest) == ([], {"host2": "paused"}),
       f"live-migrated, it is paused on host2: {record['total_ms']} ms", (guest.view(), places(guest)))
    ok(last_tick(guest) == tick, "and has not run meanwhile", last_tick(guest))
    act(guest, "ACTIVE", {"unpause": None}, host="host2")
    goes_on(guest, before, 4)
    refused(guest, {"unpause": None})


def kept(guest, host):
    """Does libvirt keep its memory there?"""
    return bool(re.search(r"^Managed save:\s+yes", virsh(host, "dominfo", guest.domain), re.M))


def test_suspend(world):
    """a guest is suspended, by Godwit and by hand, and resumed; a hard reboot drops its memory"""
    guest = world.guest("host1")
    before = guest.ask("status")
    act(guest, "SUSPENDED", {"suspend": None})
    ok(places(guest) == ([], {"host1": "shut off"}) and kept(guest, "host1"), "no QEMU runs, and its memory is kept on host1",
       places(guest))
    refused(guest, {"os-start": None}, {"suspend": None}, {"pause": None}, {"os-migrateLive": {"host": None, "block_migration": "auto"}})
    act(guest, "ACTIVE", {"resume": None}, host="host1")
    ok(places(guest) == (["host1"], {}) and not kept(guest, "host1"), "it runs on host1, and nothing is kept", places(guest))
    goes_on(guest, before, 6)

    virsh("host1", "managedsave", guest.domain)
    ok(guest.wait_state("SUSPENDED", 2, "host1"), "saved with virsh, it is SUSPENDED", guest.view())
    act(guest, "ACTIVE", {"resume": None}, host="host1")
    goes_on(guest, before, 12)

    act(guest, "SUSPENDED", {"suspend": None})
    act(guest, "ACTIVE", {"reboot": {"type": "HARD"}}, seconds=60, host="host1")
    old = guest.boot
    after = guest.booted()
    ok(after["boot_seq"] != old and not kept(guest, "host1"),
       f"a hard reboot boots it, up for {after['uptime_ms'] / 1000:.1f} s, and the memory is gone", after)


TESTS = {"pause": test_pause, "suspend": test_suspend}
