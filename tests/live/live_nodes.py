# SPDX-License-Identifier: LGPL-2.1-or-later
"""live_nodes: nodes come, go, are rebooted, removed and renamed; what is done on them by hand is recorded at once, or as
soon as somebody looks again, and nothing that is not a server's is touched."""
import contextlib
import os
import re
import time
import uuid

from live_hosts import define
from livelab import cli, domains, lab, need, ok, places, say, state_dir, virsh, wait

EVENT_S = 1.0  # from the end of the command to the API's answer
FOREIGN = """<domain type='{type}'><name>stranger</name><uuid>{uuid}</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><on_poweroff>destroy</on_poweroff></domain>"""


# ---- by hand ------------------------------------------------------------------------------------------------------

def seen_after(guest, status, seconds=5):
    """Seconds until the API says so, looking all the time; None: not in time."""
    t0 = time.monotonic()
    return time.monotonic() - t0 if wait(lambda: guest.is_state(status), seconds, 0.005) else None


def by_hand(guest, host, *steps):
    """Steps of (virsh command, status that follows); how long each took to show."""
    times = []
    for command, status in steps:
        virsh(host, command, guest.domain)
        took = seen_after(guest, status)
        times.append(took)
        if took is None or took > EVENT_S:
            ok(False, f"virsh {command}: {status} within {EVENT_S} s", (took, guest.view()))
    return times


def why_off(world, guest):
    return world.cloud.get("/godwit/v1/servers/" + guest.id)["server"]["fault_message"]


def role(world, host, number):
    found = [d for d in world.cloud.get(f"/godwit/v1/hosts/{host}/domains")["domains"] if d["uuid"] == number]
    return (found[0]["role"], found[0]["state"]) if found else None


@contextlib.contextmanager
def stranger_on(host, name, number):
    define(host, FOREIGN.format(type=os.environ["GODWIT_LAB_VIRT_TYPE"], uuid=number).replace("stranger", name))
    virsh(host, "start", name)
    try:
        yield
    finally:
        virsh(host, "destroy", name, check=False)
        virsh(host, "undefine", name, check=False)


def check_by_hand(world, guest):
    times = by_hand(guest, "host1", ("suspend", "PAUSED"), ("resume", "ACTIVE"), ("managedsave", "SUSPENDED"),
                    ("start", "ACTIVE"), ("destroy", "SHUTOFF"))
    good = sorted(t for t in times if t is not None)
    ok(len(good) == len(times), f"virsh to API: median {good[len(good) // 2] * 1000:.0f} ms, most {good[-1] * 1000:.0f} ms, "
       f"n {len(good)}", times)
    virsh("host1", "undefine", guest.domain)
    ok(guest.domain not in domains("host1") and wait(lambda: why_off(world, guest), 2, 0.02) and guest.is_state("SHUTOFF"),
       f"virsh undefine: SHUTOFF: {why_off(world, guest)}", guest.view())
    missing = world.cloud.get("/godwit/v1/hosts/host1/domains")["missing"]
    ok(not missing, "a server that is off misses no domain", missing)
    guest.action({"os-start": None})
    ok(guest.wait_state("ACTIVE", 30, "host1") and places(guest) == (["host1"], {}) and not why_off(world, guest),
       "os-start defines it again and starts it", places(guest))


def check_strangers(world, guest):
    number = str(uuid.uuid4())
    with stranger_on("host3", "stranger", number), stranger_on("host3", "copy", guest.id):
        world.restart_libvirtd("host3")
        ok(wait(lambda: world.cloud.host("host3")["foreign_domains"] == 1, 3), "a host counts foreign domains",
           world.cloud.host("host3"))
        ok(role(world, "host3", number) == ("foreign", "running"), "one is listed as such", role(world, "host3", number))
        ok(role(world, "host3", guest.id) == ("unmarked", "running"),
           "one with a server's id that is not Godwit's as well", role(world, "host3", guest.id))
        ok(role(world, "host1", guest.id) == ("server", "running"), "and told from the server's own",
           role(world, "host1", guest.id))
        ok(guest.is_state("ACTIVE", "host1"), "the server stays where it is", guest.view())
        ok(world.cloud.compute("GET", "/servers/" + number)[0] == 404, "a foreign domain is no server")
        found = domains("host3")
        ok(found.get("stranger") == "running" and found.get("copy") == "running", "both run on untouched", found)


# ---- the controller, or a libvirtd, is away --------------------------------------------------------------------------

def check_away(world, one, two, **settings):
    """settings: of the godwitd that comes back."""
    lab("controller", "kill")
    virsh("host1", "suspend", one.domain)
    virsh("host1", "destroy", two.domain)
    configure(**settings)
    lab("controller", "start")
    ok(wait(lambda: one.is_state("PAUSED", "host1") and two.is_state("SHUTOFF", "host1"), 10, 0.05),
       "suspended while godwitd was away: PAUSED; destroyed: SHUTOFF", (one.view()["status"], two.view()["status"]))
    before = one.view()
    world.restart_libvirtd("host1")
    ok(one.view() == before, "libvirtd killed and started under a guest: nothing changes", (before, one.view()))
    times = by_hand(one, "host1", ("resume", "ACTIVE"))
    ok(None not in times, "and its events come again")


# ---- reboot ----------------------------------------------------------------------------------------------------------

def configure(resume):
    path = os.path.join(state_dir(), "godwit", "godwit.conf")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    text = re.sub(r"\n\[rescue\]\nresume_guests_state_on_host_boot.*\n", "\n", text)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.rstrip("\n") + f"\n\n[rescue]\nresume_guests_state_on_host_boot = {str(resume).lower()}\n")


def actions(world, guest):
    rows = world.cloud.get(f"/compute/v2.1/servers/{guest.id}/os-instance-actions")["instanceActions"]
    return [(row["action"], row["message"]) for row in rows]


def reboot(world, host):
    facts = world.cloud.host(host)["facts_at"]
    t0 = time.monotonic()
    lab("kill", host)
    lab("boot", host)
    need(wait(lambda: world.cloud.host(host)["facts_at"] > facts and world.cloud.host(host)["state"] == "up", 60, 0.05),
         f"{host} is up again after its reboot", world.cloud.host(host))
    return time.monotonic() - t0


def check_reboot(world, runs, stopped):
    """With the setting: what ran is started again, but for what somebody stopped."""
    took = reboot(world, "host1")
    need(runs.wait_state("ACTIVE", 30, "host1"), f"rebooted, up {took:.0f} s later: the one that ran is started again",
         runs.view())
    runs.booted()
    ok(stopped.is_state("SHUTOFF", "host1") and domains("host1").get(stopped.domain) == "shut off",
       "the one that was stopped stays so", stopped.view())
    told = actions(world, runs)
    ok(told[0] == ("start", None) and told[1][0] == "stop" and "started anew" in (told[1][1] or ""),
       f"its actions tell why: {told[1][1]}", told[:3])


def test_nodes(world):
    """virsh on a node, godwitd and a libvirtd away, a node rebooted: the record follows, and what is foreign stays"""
    one, two = world.guests_on("host1", "host1")
    check_by_hand(world, one)
    check_strangers(world, one)
    try:
        check_away(world, one, two, resume=True)
        check_reboot(world, one, two)
    finally:
        lab("controller", "kill", check=False)
        configure(resume=False)
        lab("controller", "start")
    need(world.all_up(), "all nodes are up")


def test_reboot_off(world):
    """a node is rebooted without the setting: its servers are SHUTOFF, and say why"""
    runs, other = world.guests_on("host1", "host1")
    reboot(world, "host1")
    ok(runs.wait_state("SHUTOFF", 15, "host1") and other.wait_state("SHUTOFF", 15, "host1"), "both are SHUTOFF", runs.view())
    told = actions(world, runs)
    ok(told[0][0] == "stop" and "started anew" in (told[0][1] or ""), f"and the action says why: {told[0][1]}", told[:2])
    runs.start()
    other.start()


# ---- removed, renamed ------------------------------------------------------------------------------------------------

def change(world, host, **what):
    code, _, answer = world.cloud.ask("PUT", f"/godwit/v1/hosts/{host}", {"host": what})
    return code, answer


def up_as(world, name):
    return wait(lambda: world.cloud.ask("GET", f"/godwit/v1/hosts/{name}")[0] == 200 and
                world.cloud.host(name)["state"] == "up", 20, 0.05)


def test_names(world):
    """a host is renamed with servers on it; it is removed only when nothing is on it"""
    guest = world.guest("host3")
    service = [s for s in world.cloud.compute("GET", "/os-services")[2]["services"] if s["host"] == "host3"][0]
    ok(change(world, "host3", name="host1")[0] == 409 and change(world, "host3", name="a b")[0] == 400,
       "a name that is taken, or none: refused")
    t0 = time.monotonic()
    code, answer = change(world, "host3", name="rack-7")
    ok(code == 200 and up_as(world, "rack-7"), f"renamed, and up under its new name after {time.monotonic() - t0:.1f} s", answer)
    try:
        now = [s for s in world.cloud.compute("GET", "/os-services")[2]["services"] if s["host"] == "rack-7"]
        ok(now and now[0]["id"] == service["id"] and world.cloud.ask("GET", "/godwit/v1/hosts/host3")[0] == 404,
           "the service keeps its id, the old name is gone", now)
        ok(guest.is_state("ACTIVE", "rack-7") and "host3" not in str(guest.view()), "the server is on it", guest.view())
        times = by_hand(guest, "host3", ("suspend", "PAUSED"), ("resume", "ACTIVE"))
        ok(None not in times, "its events are recorded")
        code, _, answer = world.cloud.ask("DELETE", "/godwit/v1/hosts/rack-7")
        ok(code == 409 and "1 server" in str(answer) and guest.name in str(answer), f"removing it is refused: {answer}", code)
        code, _, answer = world.cloud.compute("DELETE", "/os-services/" + service["id"])
        ok(code == 409 and guest.name in str(answer), "by the service as well", (code, answer))
    finally:
        change(world, "rack-7", name="host3")
    need(up_as(world, "host3"), "it has its name again")
    guest.moved("host1")
    ok(places(guest) == (["host1"], {}), "the server moves away", places(guest))
    for other in list(world.guests):
        if other.host() == "host3":
            other.place("host1")
    view = world.cloud.host("host3")
    code, _, answer = world.cloud.compute("DELETE", "/os-services/" + service["id"])
    ok(code == 204 and world.cloud.ask("GET", "/godwit/v1/hosts/host3")[0] == 404, "empty, it is removed", (code, answer))
    new = {key: view[key] for key in ("name", "uri", "address", "migration_address")}
    code, _, answer = world.cloud.ask("POST", "/godwit/v1/hosts", {"host": new})
    ok(code == 201 and up_as(world, "host3"), "and comes back as a new one", (code, answer))


# ---- down and up: as long as these take, only when asked for ---------------------------------------------------------

def timed(world, host, state, seconds=90):
    t0 = time.monotonic()
    good = wait(lambda: world.cloud.host(host)["state"] == state, seconds, 0.02)
    return time.monotonic() - t0 if good else None


def service_state(world, host):
    return [s["state"] for s in world.cloud.compute("GET", "/os-services")[2]["services"] if s["host"] == host][0]


def test_down(world):
    """how fast it is seen that a node is down, and up: killed, cut off, its libvirtd killed"""
    guest = world.guest("host2")
    ways = (("libvirtd killed", ("libvirtd", "host2", "kill"), ("libvirtd", "host2", "start")),
            ("network cut", ("partition", "host2"), ("heal", "host2")),
            ("node killed", ("kill", "host2"), ("boot", "host2")))
    for what, fault, repair in ways:
        lab(*fault)
        down = timed(world, "host2", "down")
        host, view = world.cloud.host("host2"), guest.view()
        ok(down is not None and down < 25 and host["state_reason"] and service_state(world, "host2") == "down",
           f"{what}: down after {down or -1:.1f} s: {host['state_reason']}", host)
        ok(view["status"] == "ACTIVE" and view["host_status"] == "UNKNOWN",
           "its server keeps its state, and says that its host is not known", (view["status"], view["host_status"]))
        answer = cli("host", "show", "host2").stdout + cli("host", "list").stdout
        ok("down" in answer, "godwit host says so", answer)
        lab(*repair)
        up = timed(world, "host2", "up")
        ok(up is not None and up < 35 and service_state(world, "host2") == "up", f"repaired: up after {up or -1:.1f} s",
           world.cloud.host("host2"))
        say(f"{what}: down {down or -1:.1f} s, up {up or -1:.1f} s")
    ok(guest.wait_state("SHUTOFF", 15, "host2"), "after the reboot the server is SHUTOFF", guest.view())
    guest.start()


TESTS = {"nodes": test_nodes, "nodes-names": test_names}
NAMED_TESTS = {"nodes-down": test_down, "nodes-reboot-off": test_reboot_off}  # run only when they are named
