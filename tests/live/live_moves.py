# SPDX-License-Identifier: LGPL-2.1-or-later
"""live_moves: moves that work, and moves that are refused."""
import contextlib
import os
import re
import time

from livelab import (HOSTS, Ping, cli, controller_log, controller_restart, domains, lab, need, ok, places, runs_once,
                     state_dir, virsh, wait)

PHASES = ("select", "check", "reserve", "prepare", "transfer", "switch", "commit", "cleanup")


def check_record(view, source, dest):
    ok(view["status"] == "completed" and (view["source_host"], view["dest_host"]) == (source, dest) and
       not view["reason"], f"the record says completed, {source} to {dest}", view)
    ok(all(view["phases"].get(p, -1) >= 0 for p in PHASES) and view["phases"]["transfer"] > 0, "every phase is timed",
       view["phases"])
    total = view["ended_at"] - view["created_at"]
    ok(abs(total - sum(view["phases"].values())) < 0.05 * total + 20000, "the phases add up to the whole", view)
    ok(view["downtime_ms"] >= 0 and view["total_ms"] > 0 and view["memory_processed"] > 0,
       f"downtime {view['downtime_ms']} ms, total {view['total_ms']} ms and bytes are libvirt's", view)
    times = [view[key] for key in ("created_at", "started_at", "resumed_at", "active_at", "ended_at")]
    ok(0 < times[0] and times == sorted(times), "its moments follow each other", times)
    ok(view["encryption"] == "plaintext", "it says that the channel is plaintext", view["encryption"])
    flags = view["flags"].split(",")
    ok({"LIVE", "PEER2PEER", "PERSIST_DEST", "UNDEFINE_SOURCE"} <= set(flags), "it names the flags in effect", flags)


def test_move(world):
    """a move to a given host, then one to a host that is chosen"""
    guest = world.guest("host1")
    guest.dirty(10, 32)
    before = guest.ask("status")
    ping = Ping(guest.address)
    number = guest.move("host2")
    under_way = world.cloud.follow(number, lambda v: v["phase"] == "transfer", 20)
    ok(under_way["phase"] == "transfer" and under_way["status"] == "running", "the record shows the transfer", under_way)
    switched = world.cloud.follow(number, lambda v: v["active_at"], 30)
    view = guest.view()
    ok(switched["status"] == "post-migrating" and view["status"] == "ACTIVE" and view["OS-EXT-STS:task_state"] is None and
       view["OS-EXT-SRV-ATTR:host"] == "host2", "ACTIVE on host2 before the record is completed", (switched, view))
    record = world.cloud.ended(number)
    gap, answers = ping.gap()
    after = guest.ask("status")
    check_record(record, "host1", "host2")
    ok(answers > 20 and gap < 2500, f"the longest silence of ping was {gap:.0f} ms", f"{answers} answers")
    ok(after["boot_seq"] == before["boot_seq"] and after["tick"] > before["tick"] and after["seq"] > before["seq"] and
       after["errors"] == 0, "counter and data go on", (before, after))
    ok(places(guest) == (["host2"], {}), "it runs on host2 and is gone from host1", places(guest))
    ok(re.search(r"^Persistent:\s+yes", virsh("host2", "dominfo", guest.domain), re.M), "it is persistent on host2")

    actions = world.cloud.get(f"/compute/v2.1/servers/{guest.id}/os-instance-actions")["instanceActions"]
    action = next(a for a in actions if a["action"] == "live-migration")
    events = world.cloud.get(f"/compute/v2.1/servers/{guest.id}/os-instance-actions/{action['request_id']}")
    events = events["instanceAction"]["events"]
    ok(action["message"] is None and [e["result"] for e in events if e["event"] == "compute_live_migration"] == ["Success"],
       "the instance action has its event, Success", events)

    number = guest.move(None)
    record = world.cloud.ended(number)
    ok(record["status"] == "completed" and record["dest_host"] in ("host1", "host3") and
       runs_once(guest) == [record["dest_host"]], "without a host, another one is chosen", record)
    rows = world.cloud.get(f"/compute/v2.1/os-migrations?instance_uuid={guest.id}")["migrations"]
    ok([r["status"] for r in rows if r["id"] in (number, number - 1)] == ["completed", "completed"] and
       all(r["migration_type"] == "live-migration" for r in rows), "os-migrations shows both", rows)


@contextlib.contextmanager
def configured(world, line, without="nothing"):
    """godwitd runs with one more line in its [libvirt] section, and without those of another option."""
    config = os.path.join(state_dir(), "godwit", "godwit.conf")
    with open(config, encoding="utf-8") as f:
        text = f.read()
    try:
        with open(config, "w", encoding="utf-8") as f:
            f.write(re.sub(rf"^{without}\b.*\n", "", text, flags=re.M).replace("[libvirt]\n", f"[libvirt]\n{line}\n"))
        controller_restart()
        need(world.all_up(), f"godwitd starts with {line.split('=')[0].strip()} and reaches all nodes")
        yield
    finally:
        with open(config, "w", encoding="utf-8") as f:
            f.write(text)
        controller_restart()


def test_classic(world):
    """the classic four flags: UNDEFINE_SOURCE, PEER2PEER, LIVE, TUNNELLED"""
    guest = world.guest("host1")
    with configured(world, "live_migration_flag=VIR_MIGRATE_UNDEFINE_SOURCE,VIR_MIGRATE_PEER2PEER,VIR_MIGRATE_LIVE,"
                    "VIR_MIGRATE_TUNNELLED"):
        record = world.cloud.ended(guest.move("host2"))
        check_record(record, "host1", "host2")
        ok("TUNNELLED" in record["flags"].split(","), "the move was tunnelled", record["flags"])
    ok(re.search(r"^Persistent:\s+yes", virsh("host2", "dominfo", guest.domain), re.M), "persistent on the destination")
    ok(guest.domain not in domains("host1"), "gone from the source", domains("host1"))
    need(world.all_up(), "all nodes are up")
    before = guest.ask("status")
    t0 = time.monotonic()
    guest.ask("poweroff")
    ok(guest.wait_state("SHUTOFF", 10) and time.monotonic() - t0 < 3,
       f"power off inside the guest: SHUTOFF after {time.monotonic() - t0:.1f} s")
    ok(domains("host2").get(guest.domain) == "shut off", "still defined on host2", domains("host2"))
    after = guest.start()
    ok(after["boot_seq"] >= before["seq"] and after["errors"] == 0, "started again, it goes on with the data on its disk",
       (before, after))


def test_plaintext(world):
    """the lab's nodes are reached over tcp: marked wherever one looks, refused where encryption is required"""
    guest = world.guest("host1")
    mark = len(controller_log())
    number = guest.move("host2")
    world.cloud.ended(number)
    for command in (("status",), ("host", "list"), ("host", "show", "host1"), ("migration", "list"),
                    ("migration", "show", str(number)), ("migration", "show", "--follow", str(number))):
        said = cli(*command).stdout
        ok("plaintext" in said, f"godwit {' '.join(command)} says plaintext", said)
    status = world.cloud.get("/godwit/v1/status")["status"]
    ok((status["node_encryption"], status["memory_encryption"], status["plaintext_hosts"]) ==
       ("plaintext", "plaintext", list(HOSTS)), "the API names the nodes", status)
    ok(re.search(r"warning.*PLAINTEXT: a move begins", controller_log()[mark:]), "so does the log, as a warning",
       controller_log()[mark:])
    with configured(world, "live_migration_require_encryption = true", without="live_migration_uri"):
        record = world.cloud.ended(guest.move("host1"))
        ok((record["status"], record["error_code"], record["phase"]) == ("failed", "forbidden", "check") and
           all(w in record["reason"] for w in ("plaintext", "require_encryption", "godwit host prepare")),
           "require_encryption: refused before anything moves, with the cure", record)
        ok(runs_once(guest) == ["host2"] and guest.is_state("ACTIVE", "host2"), "the guest runs on", places(guest))
        said = cli("host", "list").stdout
        ok("refused" in said and "plaintext" in said, "godwit host list says that moves are refused", said)


def test_reached_anew(world):
    """a node's libvirt URI is changed while a server moves off it, and back"""
    guest = world.guest("host1")
    uri = world.cloud.host("host1")["uri"]
    number = world.slow_move(guest, "host2")
    try:
        said = cli("host", "set", "host1", "--uri", uri.replace("/system", ":16509/system"), "--wait").stdout
        ok(":16509" in said and "state up" in said, "connected again by the new URI", said)
        record = world.cloud.ended(number)
        ok(record["status"] == "completed" and runs_once(guest) == ["host2"], "the move went on to its end", record)
    finally:
        cli("host", "set", "host1", "--uri", uri, "--wait")


def test_many(world):
    """two servers cross each other; then four go the same way"""
    first, second = world.guests_on("host1", "host2")
    crossing = [first.move("host2"), second.move("host1")]
    ended = [world.cloud.ended(n) for n in crossing]
    ok([m["status"] for m in ended] == ["completed"] * 2 and runs_once(first) == ["host2"] and runs_once(second) == ["host1"],
       "two servers cross", ended)
    four = world.guests_on("host1", "host1", "host1", "host1")
    numbers = [g.move("host3") for g in four]
    ended = [world.cloud.ended(n, 120) for n in numbers]
    ok([m["status"] for m in ended] == ["completed"] * 4, "four at once", ended)
    ok([runs_once(g) for g in four] == [["host3"]] * 4, "all four run on host3", [runs_once(g) for g in four])


def refused(guest, host, status, *words):
    code, _, answer = guest.action({"os-migrateLive": {"host": host, "block_migration": "auto"}})
    ok(code == status and all(w in answer for w in words), f"to {host}: {status}, names {', '.join(words)}",
       f"{code} {answer}")


def fill(world, host):
    """Two servers that leave no room for a third of 256 MB; allocated is what counts, they use little of it."""
    view = world.cloud.host(host)
    free = (view["memory_mb"] - 512) * 1.5 - view["ram_mb_used"]
    cli("flavor", "create", "live-huge", "--vcpus", "1", "--ram", str(int((free - 100) // 2)), "--disk", "1")
    return [world.new_guest(host, flavor="live-huge", wait_boot=False) for _ in range(2)]


def test_refused(world):
    """moves that cannot be: refused, and nothing changed"""
    guest = world.guest("host1")
    cloud = world.cloud
    before = {k: v for k, v in guest.view().items() if k != "updated"}
    moves = len(cloud.migrations())

    refused(guest, "host1", 400, "current host", "host1")
    refused(guest, "mars", 400, "mars")
    cloud.ask("PUT", "/godwit/v1/hosts/host2", {"host": {"enabled": False, "disabled_reason": "new fans"}})
    refused(guest, "host2", 400, "disabled", "new fans")
    cloud.ask("PUT", "/godwit/v1/hosts/host2", {"host": {"enabled": True}})
    lab("libvirtd", "host2", "kill")
    ok(wait(lambda: cloud.host("host2")["state"] == "down", 10), "a node without libvirtd is down")
    refused(guest, "host2", 400, "host2", "down")
    lab("libvirtd", "host2", "start")
    need(world.all_up(), "and up again when it is back")

    fillers = fill(world, "host2")
    refused(guest, "host2", 400, "host2", "MB of RAM free, 256 wanted")
    for filler in fillers:
        world.forget(filler)
    cli("flavor", "delete", "live-huge")

    ok({k: v for k, v in guest.view().items() if k != "updated"} == before, "the server is as it was")
    ok(len(cloud.migrations()) == moves, "no record of a move was made")

    number = guest.move("host3")
    refused(guest, "host2", 409, "migrating")
    ok(cloud.ended(number)["status"] == "completed", "the first of two moves at once goes on")
    guest.stop()
    refused(guest, "host1", 409, "stopped")
    guest.start()


def test_bridge(world):
    """a node without the bridge of a server's network"""
    for host in ("host1", "host3"):
        lab("exec", host, "ip", "link", "add", "br9", "type", "bridge")
        lab("exec", host, "ip", "link", "set", "br9", "up")
    cli("network", "create", "live-net9", "--bridge", "br9")
    cli("subnet", "create", "live-sub9", "--network", "live-net9", "--cidr", "10.99.0.0/24")
    guest = world.new_guest("host1", network="live-net9", wait_boot=False)
    try:
        record = world.cloud.ended(guest.move("host2"))
        ok(record["status"] == "failed" and "host2" in record["reason"] and "br9" in record["reason"],
           "the move is refused, with host and bridge", record)
        ok(guest.is_state("ACTIVE", "host1") and runs_once(guest) == ["host1"], "the guest stays as it was")
        record = world.cloud.ended(guest.move(None))
        ok(record["status"] == "completed" and record["dest_host"] == "host3",
           "without a host, the node that has the bridge is chosen", record)
    finally:
        world.forget(guest)
        cli("network", "delete", "live-net9")
        for host in ("host1", "host3"):
            lab("exec", host, "ip", "link", "del", "br9", check=False)


def test_taken_up(world):
    """godwitd killed in mid-transfer and started again takes the move up"""
    guest = world.guest("host1")
    number = world.slow_move(guest, "host2")
    lab("controller", "kill")
    ok(runs_once(guest) == ["host1"] and "Outgoing migration" in virsh("host1", "domjobinfo", guest.domain),
       "without godwitd the transfer runs on between the nodes")
    mark = len(controller_log())
    lab("controller", "start")
    record = world.cloud.ended(number)
    ok(record["status"] == "completed" and record["downtime_ms"] >= 0 and record["ended_at"] > record["active_at"] > 0,
       "the same move is completed", record)
    ok("took up a move that was under way" in controller_log()[mark:], "the log says that it was taken up",
       controller_log()[mark:])
    ok(len([m for m in world.cloud.migrations() if m["server_id"] == guest.id and m["id"] > number]) == 0,
       "there was no second move")
    ok(guest.is_state("ACTIVE", "host2") and places(guest) == (["host2"], {}), "it runs on host2", places(guest))

    for host in HOSTS:
        lab("link", host, "off")
    number = world.slow_move(guest, "host1", rate="200mbit")
    lab("controller", "kill")
    need(wait(lambda: runs_once(guest, ["host1"]) and guest.domain not in domains("host2"), 60, 0.3),
         "the nodes end a move while godwitd is away")
    lab("controller", "start")
    record = world.cloud.ended(number)
    ok(record["status"] == "completed" and guest.is_state("ACTIVE", "host1"), "the next start records it", record)


TESTS = {"move": test_move, "classic": test_classic, "plaintext": test_plaintext,
         "reached-anew": test_reached_anew, "taken-up": test_taken_up, "many": test_many,
         "refused": test_refused, "bridge": test_bridge}
