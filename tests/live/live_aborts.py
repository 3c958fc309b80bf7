# SPDX-License-Identifier: LGPL-2.1-or-later
"""live_aborts: a guest that dirties memory faster than the link carries it, and all that can be done about that: abort, the
queue, forcing by pause and by post-copy, time-outs, auto-converge, bandwidth, parallel connections, downtime."""
import contextlib
import os
import re
import time

from livelab import HOSTS, MIB, controller_restart, lab, need, ok, places, runs_once, say, state_dir, virsh, wait

NEVER = {"rate": "200mbit", "dirty": (80, 64), "sent_mib": 8}  # a move that does not end by itself


@contextlib.contextmanager
def settings(world, libvirt="", moves=""):
    """godwitd runs with these lines in its sections [libvirt] and [moves]."""
    config = os.path.join(state_dir(), "godwit", "godwit.conf")
    with open(config, encoding="utf-8") as f:
        text = f.read()

    def restart(content):
        with open(config, "w", encoding="utf-8") as f:
            f.write(content)
        controller_restart()
        need(world.all_up(), "godwitd is started with other settings and reaches all nodes")
    restart(text.replace("[libvirt]\n", f"[libvirt]\n{libvirt}\n") + f"\n[moves]\n{moves}\n")
    try:
        yield
    finally:
        restart(text)


def abort(world, guest, number):
    """Status and message of the answer, and how long it took, in ms."""
    began = time.monotonic()
    code, _, body = world.cloud.compute("DELETE", f"/servers/{guest.id}/migrations/{number}")
    return code, str(body), 1000 * (time.monotonic() - began)


def force(world, guest, number):
    code, _, body = world.cloud.compute("POST", f"/servers/{guest.id}/migrations/{number}/action", {"force_complete": None})
    return code, str(body)


def check_goes_on(guest, before, host):
    """The same boot of it runs on, there only."""
    ok(wait(lambda: places(guest) == ([host], {}), 15, 0.3), f"{guest.name} runs on {host} and is nowhere else", places(guest))
    after = guest.ask("status")
    ok(after["boot_seq"] == before["boot_seq"] and after["tick"] > before["tick"] and after["errors"] == 0,
       "its counter is unbroken and its data whole", (before, after))


def quicken(*guests):
    """Nothing holds their moves up any more."""
    for guest in guests:
        guest.dirty(0)
    for host in HOSTS:
        lab("link", host, "off")


def status_of(world, number):
    return world.cloud.migration(number)["status"]


def test_abort(world):
    """two moves run, the most that is permitted, and a third waits: aborted in mid-transfer, in the queue, and afterwards; one is forced by a pause"""
    first, second, third = world.guests_on("host1", "host1", "host1")
    before = {g.id: g.ask("status") for g in (first, second, third)}
    numbers = world.slow_moves((first, "host2"), (second, "host3"), **NEVER)
    waiting = third.move("host2")
    view = wait(lambda: (v := world.cloud.migration(waiting))["status"] == "queued" and v, 5)
    ok(view and view["queue_position"] == 0 and third.view()["status"] == "MIGRATING", "a third one waits in the queue", view)
    rows = world.cloud.get(f"/compute/v2.1/servers/{third.id}/migrations")["migrations"]
    ok([r["status"] for r in rows] == ["queued"], "Nova's list shows it as queued", rows)
    code, answer, took = abort(world, third, waiting)
    ok(code == 202 and took < 1000, f"an abort of the one that waits is answered in {took:.0f} ms", answer)
    record = world.cloud.ended(waiting, 5)
    ok(record["status"] == "cancelled" and not record["started_at"] and third.wait_state("ACTIVE", 3, "host1"),
       "it is cancelled, its guest was not touched", record)

    again = third.move("host2")
    need(wait(lambda: status_of(world, again) == "queued", 5), "asked for again, it waits again")
    code, answer, took = abort(world, first, numbers[0])
    asked = time.monotonic()
    ok(code == 202 and took < 1000, f"with two moves running and one waiting, an abort is answered in {took:.0f} ms", answer)
    ok(first.wait_state("ACTIVE", 10, "host1"), f"the server is ACTIVE on its source {1000 * (time.monotonic() - asked):.0f} ms after that",
       first.view())
    record = world.cloud.ended(numbers[0], 10)
    ok(record["status"] == "cancelled" and record["reason"], f"its record is cancelled: {record['reason']}", record)
    first.dirty(0)
    check_goes_on(first, before[first.id], "host1")
    code, answer, _ = abort(world, first, numbers[0])
    ok(code in (400, 404, 409), f"a move that is over is not aborted: {code}", answer)
    ok(wait(lambda: status_of(world, again) != "queued", 5), "the place that is free is taken by the one that waited")

    code, answer = force(world, second, numbers[1])
    ok(code == 202, "the other one is forced to its end", answer)
    record = world.cloud.ended(numbers[1], 30)
    ok(record["status"] == "completed" and record["forced"] == "pause", f"by a pause of {record['downtime_ms']} ms", record)
    check_goes_on(second, before[second.id], "host3")
    code, answer = force(world, second, numbers[1])
    ok(code in (400, 404, 409), f"a move that is over is not forced: {code}", answer)
    quicken(first, second, third)
    record = world.cloud.ended(again, 30)
    ok(record["status"] == "completed" and third.is_state("ACTIVE", "host2"), "the last one arrives", record)


def test_queue(world):
    """one move at a time: first in, first out; forced by post-copy, which cannot be aborted; a time-out forces the next"""
    first, second, third = world.guests_on("host1", "host1", "host1")
    before = {g.id: g.ask("status") for g in (first, second, third)}
    with settings(world, "live_migration_permit_post_copy = true\nlive_migration_completion_timeout = 4\n"
                  "live_migration_timeout_action = force_complete", "max_outgoing_per_host = 1"):
        numbers = [world.slow_move(first, "host2", **NEVER)]
        second.dirty(*NEVER["dirty"])
        lab("link", "host3", NEVER["rate"])
        numbers += [second.move("host3"), third.move("host2")]
        views = wait(lambda: (v := [world.cloud.migration(n) for n in numbers])[2]["status"] == "queued" and v, 5)
        ok(views and [v["status"] for v in views] == ["running", "queued", "queued"] and [v["queue_position"] for v in views] == [None, 0, 1],
           "one runs, two wait, in the order in which they were asked for", views)
        code, answer = force(world, first, numbers[0])
        ok(code == 202, "the first is forced", answer)
        handed = wait(lambda: world.cloud.migration(numbers[0])["phase"] == "post-copy", 5, 0.02)
        code, answer, _ = abort(world, first, numbers[0])
        ok(handed and code in (400, 409) and "post-copy" in answer, f"post-copy cannot be aborted: {code}", answer)
        record = world.cloud.ended(numbers[0], 30)
        ok(record["status"] == "completed" and record["forced"] == "post-copy" and "POSTCOPY" in record["flags"].split(","),
           f"it ends by post-copy; it stood still for {record['downtime_ms']} ms", record)
        first.dirty(0)
        check_goes_on(first, before[first.id], "host2")
        view = world.cloud.follow(numbers[1], lambda v: v["forced"], 30)
        ok(view["forced"] == "post-copy" and status_of(world, numbers[2]) == "queued",
           f"the second is forced by its time-out, {(view['updated_at'] - view['started_at']) / 1e6:.1f} s after its start; the third waits", view)
        quicken(first, second, third)
        ended = [world.cloud.ended(n, 30) for n in numbers]
        ok([r["status"] for r in ended] == ["completed"] * 3, "all arrive", ended)
        ok(ended[0]["ended_at"] <= ended[1]["started_at"] and ended[1]["ended_at"] <= ended[2]["started_at"],
           "none began before the one before it had ended", [(r["started_at"], r["ended_at"]) for r in ended])
        for guest, host in ((second, "host3"), (third, "host2")):
            check_goes_on(guest, before[guest.id], host)


def sent(domain, host):
    """MiB that have been sent, by libvirt's own count."""
    found = re.search(r"Memory processed:\s+([0-9.]+) (\w+)", virsh(host, "domjobinfo", domain))
    return float(found[1]) * {"B": 1 / MIB, "KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[found[2]] if found else 0.0


def test_limits(world):
    """bandwidth, parallel connections, downtime and auto-converge are in effect; then the time-out aborts"""
    guest = world.guest("host1")
    before = guest.ask("status")
    limit = 40
    with settings(world, f"live_migration_bandwidth = {limit}\nlive_migration_parallel_connections = 3\nlive_migration_downtime = 100\n"
                  "live_migration_permit_auto_converge = true\nlive_migration_completion_timeout = 5\nlive_migration_timeout_action = abort"):
        number = world.slow_move(guest, "host2", rate="1gbit", dirty=(120, 64), sent_mib=4)
        asked, at = sent(guest.domain, "host1"), time.monotonic()
        time.sleep(1.5)
        rate = (sent(guest.domain, "host1") - asked) / (time.monotonic() - at)
        ok(0.3 * limit < rate < 1.25 * limit, f"{rate:.1f} MiB/s cross, {limit} are permitted, the link carries three times as much")
        streams = [line for line in lab("exec", "host1", "ss", "-Htn", "state", "established", "dst", "10.88.0.2").splitlines()
                   if re.search(r":49[12]\d\d\s*$", line)]
        ok(len(streams) == 4, "three connections carry it, beside the one that steers", "\n".join(streams))
        ceiling = int(re.search(r"\d+", virsh("host1", "migrate-getmaxdowntime", guest.domain))[0])
        ok(ceiling <= 100, f"QEMU may stop the guest for {ceiling} ms, 100 is the most")
        throttled = wait(lambda: re.search(r"Auto converge throttle:\s+(\d+)", virsh("host1", "domjobinfo", guest.domain, check=False)), 10, 0.2)
        record = world.cloud.ended(number, 20)
        ok({"PARALLEL", "AUTO_CONVERGE"} <= set(record["flags"].split(",")), "the record names both flags", record["flags"])
        say(f"auto-converge slowed the guest by {throttled[1] if throttled else 'nothing seen'} %")
        took = (record["ended_at"] - record["started_at"]) / 1e6
        ok(record["status"] in ("failed", "error", "cancelled") and "completion_timeout" in (record["reason"] or "") and 9 < took < 15,
           f"after {took:.1f} s its time-out of 10 s aborts it: {record['reason']}", record)
        ok(guest.wait_state("ACTIVE", 5, "host1") and runs_once(guest) == ["host1"], "the guest runs where it was", places(guest))
        quicken(guest)
        check_goes_on(guest, before, "host1")


TESTS = {"abort": test_abort, "queue": test_queue, "limits": test_limits}
