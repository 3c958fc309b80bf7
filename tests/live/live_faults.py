# SPDX-License-Identifier: LGPL-2.1-or-later
"""live_faults: what breaks in the middle of a move. The guest runs on one node, or its state says what is known."""
import time

from livelab import domains, lab, need, ok, places, runs_once, say, wait

KEEPALIVE_S = 30  # libvirt's: five times five seconds, and what it takes to notice


def check_stayed(world, guest, number, source, *words, seconds=120):
    """The move failed, says why, and the guest runs where it was."""
    record = world.cloud.ended(number, seconds)
    ok(record["status"] in ("error", "failed") and all(w in (record["reason"] or "") for w in words),
       f"the record says why: {record['reason']}", record)
    ok(guest.wait_state("ACTIVE", 5, source), f"the server is ACTIVE on {source}", guest.view())
    ok(runs_once(guest, [source]) == [source], f"the guest runs on {source}")
    return record


def check_arrived(world, guest, number, dest, seconds=60):
    """The move was completed, the source's copy is gone."""
    record = world.cloud.ended(number, seconds)
    ok(record["status"] == "completed" and record["active_at"] > 0, f"the record says completed: {record['reason']}", record)
    ok(guest.wait_state("ACTIVE", 5, dest), f"the server is ACTIVE on {dest}", guest.view())
    ok(wait(lambda: places(guest) == ([dest], {}), 5), f"the guest runs on {dest} and nowhere else", places(guest))
    return record


def quick_move(world, guest, to):
    """A transfer of about three seconds. In the first five nothing passes between the two libvirtds, so that replies that
    are lost from now on are missed only after the switch: the request that makes it still goes through."""
    return world.slow_move(guest, to, rate="300mbit", dirty=(1, 4), sent_mib=1)


def test_dest_libvirtd(world):
    """the destination's libvirtd dies in mid-transfer"""
    guest = world.guest("host1")
    number = world.slow_move(guest, "host2")
    lab("libvirtd", "host2", "kill")
    check_stayed(world, guest, number, "host1", "host2")
    lab("libvirtd", "host2", "start")
    need(world.all_up(), "host2 is up again")
    world.mend()
    ok(wait(lambda: guest.domain not in domains("host2"), 15), "nothing of it is left on host2", domains("host2"))
    record = guest.moved("host2")
    ok(runs_once(guest) == ["host2"], "a later move works", record)


def test_source_libvirtd(world):
    """the source's libvirtd dies in mid-transfer"""
    guest = world.guest("host1")
    number = world.slow_move(guest, "host2")
    lab("libvirtd", "host1", "kill")
    time.sleep(3)
    lab("libvirtd", "host1", "start")
    record = world.cloud.ended(number)
    ok(record["status"] == "completed" or record["reason"], f"the record is final: {record['status']}, {record['reason']}",
       record)
    home = guest.host()
    ok(guest.wait_state("ACTIVE", 10) and wait(lambda: places(guest) == ([home], {}), 15),
       f"exactly one guest, on {home}", places(guest))


def test_power(world):
    """one node is powered off in mid-transfer: the destination of one move and the source of another"""
    coming, going = world.guests_on("host1", "host2")
    numbers = world.slow_moves((coming, "host2"), (going, "host3"))
    lab("kill", "host2")
    check_stayed(world, coming, numbers[0], "host1", "host2")
    record = world.cloud.ended(numbers[1], 120)
    ok(record["status"] in ("error", "failed") and "host2" in record["reason"],
       f"the record of the one that it had says why: {record['reason']}", record)
    ok(world.settled(), "no task is open while the node is off", world.cloud.open_tasks())
    ok(runs_once(going, ["host1", "host3"]) == [], "that one runs nowhere else", places(going, ["host1", "host3"]))
    view = going.view()
    say(f"while host2 is off: {view['status']} on {view['OS-EXT-SRV-ATTR:host']}, host_status {view['host_status']}, "
        f"doubt {going.doubt()}")
    ok(view["host_status"] in ("DOWN", "UNKNOWN"), "its host_status says that its node is not there", view)
    lab("boot", "host2")
    need(world.all_up(), "host2 is up again")
    ok(going.wait_state("SHUTOFF", 15, "host2"), "the record follows: SHUTOFF on host2", going.view())
    ok(going.doubt() is None, "nothing is in doubt any more", going.doubt())
    world.mend()
    seen = going.start()
    ok(seen["errors"] == 0 and runs_once(going) == ["host2"], "and it starts there", seen)
    ok(domains("host3").get(going.domain) is None and domains("host2").get(coming.domain) is None,
       "nothing of a move is left", (domains("host2"), domains("host3")))


def test_cut(world):
    """links are cut in mid-transfer and healed later: the destination's, the source's, the one between two nodes"""
    coming, going, between = world.guests_on("host1", "host2", "host1")
    numbers = world.slow_moves((coming, "host2"), (going, "host3"), (between, "host3"), rate="60mbit", sent_mib=2)
    lab("partition", "host3", "--from", "host1")
    lab("partition", "host2")
    check_stayed(world, coming, numbers[0], "host1", "host2")
    check_stayed(world, between, numbers[2], "host1", "host3")
    record = world.cloud.ended(numbers[1], 120)
    ok(record["status"] in ("error", "failed") and "host2" in record["reason"],
       f"the record of the one behind the cut says why: {record['reason']}", record)
    ok(world.settled(), "no task is open while the links are cut", world.cloud.open_tasks())
    ok(runs_once(going) == ["host2"], "that one runs on behind the cut", places(going))
    view = going.view()
    ok(view["OS-EXT-SRV-ATTR:host"] == "host2" and view["host_status"] in ("DOWN", "UNKNOWN"),
       "its record says where, and that the node is not there", view)
    lab("heal", "host2")
    lab("heal", "host3")
    need(world.all_up(), "all nodes are seen again")
    for guest, home in ((coming, "host1"), (going, "host2"), (between, "host1")):
        ok(wait(lambda g=guest, h=home: places(g) == ([h], {}) and g.is_state("ACTIVE", h), 45, 0.3),
           f"healed: it runs on {home}, and nothing of it is left elsewhere", (places(guest), guest.view()))


def test_replies(world):
    """only the destination's replies to the source are lost, and godwitd sees both nodes"""
    guest = world.guest("host1")
    number = quick_move(world, guest, "host2")
    lab("partition", "host2", "--replies-to", "host1")
    cut = time.monotonic()
    need(wait(lambda: runs_once(guest, ["host2"]), 15, 0.05), "the destination runs it")
    ok(domains("host1").get(guest.domain) == "paused", "the source waits for replies that do not come", domains("host1"))
    ok(guest.wait_state("ACTIVE", 5, "host2"), "the server is ACTIVE there", guest.view())
    stopped = wait(lambda: domains("host1").get(guest.domain) in (None, "shut off"), 30)
    ok(stopped and time.monotonic() - cut < KEEPALIVE_S - 5,
       f"godwitd stops the source's copy {time.monotonic() - cut:.0f} s after the cut, before libvirt lets it run again")
    check_arrived(world, guest, number, "host2")
    ok(guest.ask("status")["errors"] == 0, "its data is whole")


def test_replies_blind(world):
    """the same, and godwitd does not see the destination"""
    guest = world.guest("host1")
    number = quick_move(world, guest, "host2")
    lab("partition", "host2", "--replies-to", "host1", "--from", "controller")
    record = world.cloud.ended(number, 150)
    running = runs_once(guest)
    doubt = guest.doubt()
    say(f"record: {record['status']}, {record['reason']}; runs on {running}; doubt: {doubt}")
    ok(world.settled(10), "no task is open", world.cloud.open_tasks())
    home = guest.host()
    ok(doubt and "host1" in doubt and "host2" in doubt or running == [home],
       "the state says what is not known, or where it runs", (running, guest.view()))
    lab("heal", "host2")
    need(world.all_up(), "host2 is seen again")
    ok(wait(lambda: len(runs_once(guest)) == 1 and guest.doubt() is None, 45, 0.3),
       f"healed: one guest, on {runs_once(guest)}, and no doubt", (places(guest), guest.doubt()))
    ok(wait(lambda: places(guest) == ([guest.host()], {}), 15), "it is where its record says", (places(guest), guest.host()))


def test_replies_killed(world):
    """the same as with both in sight, and godwitd is killed in just that window"""
    guest = world.guest("host1")
    number = quick_move(world, guest, "host2")
    lab("partition", "host2", "--replies-to", "host1")
    need(wait(lambda: runs_once(guest, ["host2"]), 40, 0.05), "the destination runs it")
    lab("controller", "kill")
    ok(domains("host1").get(guest.domain) == "paused", "the source waits for replies that do not come", domains("host1"))
    time.sleep(2)
    lab("controller", "start")
    check_arrived(world, guest, number, "host2")


TESTS = {"dest-libvirtd": test_dest_libvirtd, "source-libvirtd": test_source_libvirtd, "power": test_power,
         "cut": test_cut, "replies": test_replies, "replies-blind": test_replies_blind,
         "replies-killed": test_replies_killed}
