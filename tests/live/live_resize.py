# SPDX-License-Identifier: LGPL-2.1-or-later
"""live_resize: cold migration, resize, and how each ends, on real nodes: what libvirt and the guest see of it."""
import json
import re

from livelab import HOSTS, Broken, cli, domains, lab, need, ok, places, virsh, wait

GIB = 1 << 30


def flavor(name, vcpus, ram, disk):
    """Its id; made if it is not there."""
    done = cli("flavor", "show", name, check=False)
    if done.returncode != 0:
        cli("flavor", "create", name, "--vcpus", str(vcpus), "--ram", str(ram), "--disk", str(disk))
    return name


def flavor_id(world, name):
    return next(f["id"] for f in world.cloud.get("/compute/v2.1/flavors")["flavors"] if f["name"] == name)


def asked(guest, body, status, seconds=60):
    """Accepted, and come to that status; the migration's record."""
    code, headers, answer = guest.action(body)
    if code not in (202, 204):
        raise Broken(f"{body} of {guest.name}: {code} {answer}")
    if not guest.wait_state(status, seconds):
        raise Broken(f"{body} of {guest.name}: {json.dumps(guest.view())} {guest.cloud.migrations()[-1:]}")
    return int(headers.get("X-Godwit-Migration") or 0)


def sizes(guest, host):
    """vCPUs, MiB of RAM, bytes of the disk, as the domain has them."""
    xml = virsh(host, "dumpxml", guest.domain)
    disk = re.search(r"Capacity:\s+(\d+)", virsh(host, "domblkinfo", guest.domain, "vda"))
    return (int(re.search(r"<vcpu[^>]*>(\d+)<", xml).group(1)),
            int(re.search(r"<memory unit='KiB'>(\d+)<", xml).group(1)) // 1024, int(disk.group(1)) if disk else None)


def held(world):
    """MB of RAM that are promised on each host."""
    return {host: world.cloud.host(host)["ram_mb_used"] for host in HOSTS}


def goes_on(guest, before):
    """It was started anew, on the disk that it had: nothing it wrote is lost."""
    after = guest.booted()
    ok(after["boot_seq"] >= before["seq"] and after["errors"] == 0, "the guest was started and has all its data",
       (before, after))
    return after


def resize_up(world, guest, source):
    """Returns its new host."""
    before, load = guest.ask("status"), held(world)
    number = asked(guest, {"resize": {"flavorRef": flavor_id(world, "live-large")}}, "VERIFY_RESIZE")
    record, dest = world.cloud.migration(number), guest.host()
    ok(record["status"] == "finished" and not record["ended_at"] and record["type"] == "resize" and
       (record["source_host"], record["dest_host"]) == (source, dest) and dest != source,
       f"VERIFY_RESIZE, from {source} to {dest}", record)
    ok(sizes(guest, dest) == (2, 320, 2 * GIB), "vCPUs, RAM and disk are the new flavor's", sizes(guest, dest))
    ok(places(guest) == ([dest], {source: "shut off"}), "it runs there, and is kept, off, where it was", places(guest))
    now = held(world)
    ok((now[source] - load[source], now[dest] - load[dest]) == (0, 320), "both hosts hold room for it", (load, now))
    goes_on(guest, before)
    inside = [disk["size"] for disk in guest.disks().values()]
    ok(2 * GIB in inside, "the guest sees the larger disk", inside)
    code, _, answer = guest.action({"os-stop": None})
    ok(code == 409 and "resized" in answer, "what does not go with it is refused", answer)
    return dest


def test_resize(world):
    """up, confirmed; a cold migration, reverted; one of a stopped server, confirmed"""
    flavor("live-large", 2, 320, 2)
    guest = world.new_guest("host1")
    guest.dirty(4, 8)
    try:
        dest = resize_up(world, guest, "host1")
        asked(guest, {"confirmResize": None}, "ACTIVE")
        ok(wait(lambda: places(guest) == ([dest], {}), 5), "confirmed: gone from host1", places(guest))

        before = guest.ask("status")
        number = asked(guest, {"migrate": None}, "VERIFY_RESIZE")
        other = guest.host()
        need(other != dest and places(guest) == ([other], {dest: "shut off"}), f"cold migration to {other}", places(guest))
        before = goes_on(guest, before)
        asked(guest, {"revertResize": None}, "ACTIVE")
        ok(guest.host() == dest and wait(lambda: places(guest) == ([dest], {}), 5), f"reverted: on {dest} alone", places(guest))
        ok(world.cloud.migration(number)["status"] == "reverted", "the record says reverted", world.cloud.migration(number))
        goes_on(guest, before)

        guest.stop()
        asked(guest, {"migrate": {"host": "host1"}}, "VERIFY_RESIZE")
        ok(guest.host() == "host1" and places(guest) == ([], {"host1": "shut off", dest: "shut off"}),
           "a stopped server stays off", places(guest))
        asked(guest, {"confirmResize": None}, "SHUTOFF")
        ok(wait(lambda: places(guest) == ([], {"host1": "shut off"}), 5), "confirmed: SHUTOFF on host1 alone", places(guest))
    finally:
        world.forget(guest)
    ok(not any(guest.domain in domains(host) for host in HOSTS), "deleted, nothing is left of it")


def test_resize_rbd(world):
    """a resize with the disk in a pool, reverted, and its deletion in between"""
    flavor("live-large", 2, 320, 2)
    guest = world.new_guest("host1")
    guest.dirty(4, 8)
    try:
        before = guest.ask("status")
        dest = resize_up(world, guest, "host1")
        image = json.loads(lab("ceph", "rbd", "info", f"instances/{guest.id}_disk", "--format", "json"))
        ok(image["size"] == 2 * GIB, "the image has grown", image)
        watchers = json.loads(lab("ceph", "rbd", "status", f"instances/{guest.id}_disk", "--format", "json"))["watchers"]
        address = world.cloud.host(dest)["address"]
        ok(len(watchers) == 1 and watchers[0]["address"].startswith(address + ":"), f"{dest} alone has it open", watchers)
        before = guest.ask("status")
        asked(guest, {"revertResize": None}, "ACTIVE")
        ok(guest.host() == "host1" and sizes(guest, "host1") == (1, 256, 2 * GIB),
           "reverted: former host and flavor; the disk stays larger", sizes(guest, "host1"))
        goes_on(guest, before)
        asked(guest, {"migrate": None}, "VERIFY_RESIZE")
    finally:
        world.forget(guest)
    left = json.loads(lab("ceph", "rbd", "ls", "instances", "--format", "json"))
    ok(not [name for name in left if name.startswith(guest.id)] and
       not any(guest.domain in domains(host) for host in HOSTS),
       "deleted while it waited to be confirmed: no disk and no domain is left", left)


TESTS = {"resize": test_resize}
CEPH_TESTS = {"resize": test_resize_rbd}
