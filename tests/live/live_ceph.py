# SPDX-License-Identifier: LGPL-2.1-or-later
"""live_ceph: instances and volumes on a real Ceph cluster, and what can happen to it. Tests of `run --ceph`.

The pools hold one copy on two OSDs: with one of them gone about half of all data cannot be reached, so guests stand still at
their next write there, and must go on when it is back. After every test the guests' records are read back (invariants).
"""
import contextlib
import json
import os
import subprocess
import time
import uuid

from livelab import (Broken, FINAL, cli, controller_log, controller_restart, domains, lab, need, ok, places, runs_once, say,
                     virsh, wait)

GIB = 1 << 30


def ceph(*argv, **more):
    return lab("ceph", *argv, **more)


def disk_of(guest):
    return f"instances/{guest.id}_disk"


def disk_clients(image):
    """Addresses of those who have the image open, as the cluster has it."""
    found = json.loads(ceph("rbd", "status", image, "--format", "json"))
    return [w["address"] for w in found["watchers"]]


def keeps_writing(guest, seconds=20):
    """Does the guest get records onto its disk?"""
    before = guest.ask("status", seconds=10)["seq"]
    return wait(lambda: guest.ask("status", seconds=10)["seq"] > before + 2, seconds, 0.3)


def volume_api(world, method, path, body=None):
    project = world.cloud.project
    return world.cloud.ask(method, f"/volume/v3/{project}{path}", body)


class Volume:
    def __init__(self, world, size=1, **more):
        self.world, self.name = world, f"vol-{uuid.uuid4().hex[:8]}"
        code, _, body = volume_api(world, "POST", "/volumes", {"volume": {"name": self.name, "size": size, **more}})
        if code != 202:
            raise Broken(f"volume create: {code} {body}")
        self.id = body["volume"]["id"]
        self.serial = self.id[:20]  # as much of it as virtio-blk shows

    def view(self):
        code, _, body = volume_api(self.world, "GET", f"/volumes/{self.id}")
        return body["volume"] if code == 200 else {"status": "gone", "code": code, "body": body}

    def wait_status(self, status, seconds=30):
        return wait(lambda: self.view()["status"] == status, seconds, 0.05)

    def ready(self):
        if not self.wait_status("available"):
            raise Broken(f"{self.name}: {self.view()}")
        return self

    def attach(self, guest):
        return self.world.cloud.compute("POST", f"/servers/{guest.id}/os-volume_attachments",
                                        {"volumeAttachment": {"volumeId": self.id}})

    def attached(self, guest):
        code, _, body = self.attach(guest)
        if code != 200 or not self.wait_status("in-use"):
            raise Broken(f"attaching {self.name} to {guest.name}: {code} {body} {self.view()}")
        return self

    def seen_by(self, guest):
        """The running guest has it; it takes a moment to look at it."""
        need(wait(lambda: self.serial in guest.disks(), 15, 0.2), f"{guest.name} sees the volume", guest.disks())
        return self

    def detach(self, guest):
        return self.world.cloud.compute("DELETE", f"/servers/{guest.id}/os-volume_attachments/{self.id}")

    def detached(self, guest, seconds=40):
        code, _, body = self.detach(guest)
        if code != 202 or not self.wait_status("available", seconds):
            raise Broken(f"detaching {self.name} from {guest.name}: {code} {body} {self.view()}")
        return self

    def delete(self):
        return volume_api(self.world, "DELETE", f"/volumes/{self.id}")

    def deleted(self):
        code, _, body = self.delete()
        if code != 202 or not wait(lambda: self.view()["status"] == "gone", 30, 0.1):
            raise Broken(f"deleting {self.name}: {code} {body} {self.view()}")


def images_in(pool):
    return set(ceph("rbd", "ls", pool).split())


# ---- volumes -------------------------------------------------------------------------------------------------------

def test_volumes(world):
    """volumes: attached hot, written, carried along by a live move, detached there, read by another server"""
    guest, other = world.guests_on("host1", "host2")
    first, second = Volume(world).ready(), Volume(world).ready()
    first.attached(guest)
    second.attached(guest)
    ok(wait(lambda: {first.serial, second.serial} <= set(guest.disks()), 15, 0.2), "the running guest sees both",
       guest.disks())
    guest.ask("disk-write", first.serial, "17", "8", seconds=30)
    code, _, body = first.attach(other)
    ok(code in (400, 409), f"a volume in use is not attached twice: {code}", body)
    code, _, body = first.delete()
    ok(code in (400, 409) and first.view()["status"] == "in-use", f"nor deleted: {code}", body)
    guest.moved("host3")
    ok(runs_once(guest) == ["host3"], "the guest moves with its volumes")
    answer = guest.ask("disk-check", first.serial, seconds=30)
    ok(isinstance(answer, dict) and answer["seed"] == 17, "what it wrote is there on the new node", answer)
    xml = virsh("host3", "dumpxml", "--inactive", guest.domain)
    ok(first.id in xml and second.id in xml, "the definition on the new node has both", xml[:2000])
    first.detached(guest)
    ok(wait(lambda: first.serial not in guest.disks(), 10, 0.2), "detached there: the guest has let go", guest.disks())
    first.attached(other)
    first.seen_by(other)
    answer = other.ask("disk-check", first.serial, seconds=30)
    ok(isinstance(answer, dict) and answer["seed"] == 17, "another server reads what was written", answer)
    other.stop()
    first.detached(other)
    second.detached(guest)
    first.attached(other)
    other.start()
    first.seen_by(other)  # attached while it was stopped
    first.detached(other)
    snapshot_and_more(world, first)
    first.deleted()
    second.deleted()
    left = [i for i in images_in("volumes") if first.id in i or second.id in i]
    ok(not left, "nothing of them is left in the pool", left)


def snapshot_and_more(world, volume):
    code, _, body = volume_api(world, "POST", "/snapshots", {"snapshot": {"volume_id": volume.id, "name": "s"}})
    need(code == 202, "a snapshot is accepted", body)
    snapshot = body["snapshot"]["id"]
    need(wait(lambda: volume_api(world, "GET", f"/snapshots/{snapshot}")[2]["snapshot"]["status"] == "available", 20, 0.1),
         "and made")
    code, _, body = volume.delete()
    ok(code in (400, 409), "a volume with snapshots is not deleted", body)
    copy, clone = Volume(world, snapshot_id=snapshot).ready(), Volume(world, source_volid=volume.id).ready()
    code, _, body = volume_api(world, "POST", f"/volumes/{copy.id}/action", {"os-extend": {"new_size": 2}})
    ok(code == 202 and wait(lambda: copy.view()["size"] == 2 and copy.view()["status"] == "available", 20, 0.1),
       "a volume made from it is extended", copy.view())
    volume_api(world, "DELETE", f"/snapshots/{snapshot}")
    ok(wait(lambda: volume_api(world, "GET", f"/snapshots/{snapshot}")[0] == 404, 20, 0.1),
       "the snapshot goes, though a volume stems from it")
    copy.deleted()
    clone.deleted()


def test_volume_boot(world):
    """a server that boots from a volume made of an image, moves, and dies with it"""
    image = world.cloud.get("/image/v2/images?name=guest")["images"][0]["id"]
    flavor = next(f["id"] for f in world.cloud.get("/compute/v2.1/flavors")["flavors"] if f["name"] == "tiny")
    network = world.cloud.get("/network/v2.0/networks?name=lab")["networks"][0]["id"]
    body = {"server": {"name": "boots-from-volume", "flavorRef": flavor, "networks": [{"uuid": network}],
                       "block_device_mapping_v2": [{"boot_index": 0, "uuid": image, "source_type": "image", "volume_size": 1,
                                                    "destination_type": "volume", "delete_on_termination": True}]}}
    code, _, answer = world.cloud.compute("POST", "/servers", body)
    need(code == 202, "accepted", answer)
    made = answer["server"]["id"]
    need(wait(lambda: world.cloud.get(f"/compute/v2.1/servers/{made}")["server"]["status"] != "BUILD", 60, 0.1), "made")
    guest = world.adopt(made)
    need(guest.is_state("ACTIVE"), "ACTIVE", guest.view())
    guest.booted()
    view = guest.view()
    volume = view["os-extended-volumes:volumes_attached"][0]["id"]
    ok(view["image"] == "" and f"{guest.id}_disk" not in images_in("instances"), "it has no disk but its volume", view)
    to = next(h for h in ("host1", "host2", "host3") if h != guest.host())
    guest.moved(to)
    ok(runs_once(guest) == [to] and keeps_writing(guest), "it moves and goes on writing")
    world.forget(guest)
    ok(wait(lambda: not any(volume in i for i in images_in("volumes")), 20, 0.2), "its volume went with it", images_in("volumes"))


# ---- one writer ----------------------------------------------------------------------------------------------------

def kill_qemu(guest, host):
    lab("exec", host, "pkill", "-KILL", "-f", f"guest={guest.domain},")


def test_crash(world):
    """QEMU is killed: a hard reboot does not wait for its watch, and the old client is shut out"""
    guest = world.guest("host1")
    before = disk_clients(disk_of(guest))
    kill_qemu(guest, "host1")
    need(wait(lambda: guest.view()["OS-EXT-STS:power_state"] != 1, 10, 0.02), "godwitd sees that it is gone", guest.view())
    ok(disk_clients(disk_of(guest)) == before, "its watch is still there", before)
    started = time.monotonic()
    code, _, answer = guest.action({"reboot": {"type": "HARD"}})
    need(code == 202 and guest.wait_state("ACTIVE", 30, "host1"), "a hard reboot", answer)
    took = time.monotonic() - started
    ok(took < 5, f"ACTIVE {took:.2f} s after the request; the watch alone would have taken 24")
    guest.booted()
    now = disk_clients(disk_of(guest))
    ok(len(now) == 1 and now != before, "another client has the disk now, and only that one", (before, now))
    ok(before[0] in ceph("osd", "blocklist", "ls"), "the old one is on the cluster's blocklist")
    kill_qemu(guest, "host1")
    need(wait(lambda: guest.view()["OS-EXT-STS:power_state"] != 1, 10, 0.02), "killed again")
    started = time.monotonic()
    world.forget(guest)
    ok(not [i for i in images_in("instances") if guest.id in i] and time.monotonic() - started < 10,
       f"deleted {time.monotonic() - started:.2f} s after that")


@contextlib.contextmanager
def stranger(image):
    """Somebody else who has an image open for writing."""
    with subprocess.Popen(["qemu-io", "-f", "raw", f"rbd:{image}:conf={os.environ['CEPH_CONF']}:id=admin"],
                          stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            if not wait(lambda: disk_clients(image), 15, 0.1):
                raise Broken("the stranger does not open the image")
            yield disk_clients(image)[0]
        finally:
            process.kill()


def test_stranger(world):
    """a start is refused while a stranger has the disk open, and names him"""
    guest = world.guest("host1")
    guest.stop()
    with stranger(disk_of(guest)) as address:
        code, _, answer = guest.action({"os-start": None})
        need(code == 202, "a start is accepted", answer)
        ok(wait(lambda: guest.view()["OS-EXT-STS:task_state"] is None, 30, 0.05) and guest.is_state("SHUTOFF"),
           "and refused", guest.view())
        actions = world.cloud.get(f"/compute/v2.1/servers/{guest.id}/os-instance-actions")["instanceActions"]
        ok(address in (actions[0]["message"] or ""), f"its reason names him: {actions[0]['message']}", address)
        ok(runs_once(guest) == [], "nothing runs", places(guest))
    need(wait(lambda: not disk_clients(disk_of(guest)), 60, 0.5), "he is gone")
    guest.start()
    ok(runs_once(guest) == ["host1"], "then it starts")


# ---- the cluster's troubles ----------------------------------------------------------------------------------------

def test_osd(world):
    """an OSD is killed in mid-transfer and under writing guests, and comes back"""
    guest, other = world.guests_on("host1", "host2")
    number = world.slow_move(guest, "host3", rate="200mbit", sent_mib=4)
    ceph("kill-osd", "0")
    time.sleep(6)
    code, _, body = world.cloud.ask("GET", "/healthz")
    ok(code == 200, "godwitd answers", body)
    ceph("start-osd", "0")
    record = world.cloud.ended(number, 120)
    ok(record["status"] in FINAL and (record["status"] == "completed" or record["reason"]),
       f"the move is over: {record['status']}, {record['reason']}", record)
    home = guest.host()
    ok(runs_once(guest) == [home] and keeps_writing(guest, 40), f"the guest runs on {home} only and writes again")
    ok(keeps_writing(other, 40), "so does the other")
    lab("link", "host1", "off")
    lab("link", "host3", "off")
    guest.dirty(0)
    guest.moved("host3" if home == "host1" else "host1")
    ok(keeps_writing(guest), "the next move works")


def test_mon(world):
    """the monitor is gone for a while"""
    guest, stopped = world.guests_on("host1", "host2")
    stopped.stop()
    ceph("kill-mon")
    ok(keeps_writing(guest), "the guests that run go on writing")
    code, _, answer = stopped.action({"os-start": None})
    started = time.monotonic()
    need(code == 202, "a start is accepted", answer)
    time.sleep(8)
    code, _, body = world.cloud.ask("GET", "/compute/v2.1/servers")
    ok(code == 200, "the API answers meanwhile", body)
    ceph("start-mon")
    ok(wait(lambda: stopped.view()["OS-EXT-STS:task_state"] is None, 90, 0.2), "the start ends", stopped.view())
    say(f"it ended {time.monotonic() - started:.1f} s after the request: {stopped.view()['status']}")
    if not stopped.is_state("ACTIVE"):
        actions = world.cloud.get(f"/compute/v2.1/servers/{stopped.id}/os-instance-actions")["instanceActions"]
        ok("Ceph" in (actions[0]["message"] or "") or "cluster" in (actions[0]["message"] or ""),
           f"and says why: {actions[0]['message']}", actions[0])
        stopped.start()
    stopped.booted()
    guest.moved("host3")
    ok(runs_once(guest) == ["host3"], "a move works")


@contextlib.contextmanager
def full_pool(pool):
    """The pool takes no more: what an operator's quota does, and a full cluster too."""
    ceph("osd", "pool", "set-quota", pool, "max_bytes", "4096")
    try:
        if not wait(lambda: "full" in ceph("osd", "pool", "ls", "detail", "--format", "json"), 30, 0.5) or \
                not wait(lambda: f"pool '{pool}' is full" in ceph("health", "detail"), 60, 0.5):
            raise Broken(f"the pool {pool} does not get full: {ceph('health', 'detail')}")
        yield
    finally:
        ceph("osd", "pool", "set-quota", pool, "max_bytes", "0")
        wait(lambda: f"pool '{pool}' is full" not in ceph("health", "detail"), 60, 0.5)


def test_full(world):
    """a pool is full: nothing can be made in it, and nothing is left of the attempt"""
    before = images_in("volumes")
    holder = Volume(world).ready()
    guest = world.guest("host1")
    holder.attached(guest).seen_by(guest)
    guest.ask("disk-write", holder.serial, "3", "2", seconds=30)
    before = images_in("volumes")
    with full_pool("volumes"):
        volume = Volume(world)
        need(wait(lambda: volume.view()["status"] not in ("creating", "downloading"), 60, 0.2), "a volume is not made",
             volume.view())
        reason = json.loads(cli("volume", "show", volume.id, "--json").stdout)["fault_message"] or ""
        ok(volume.view()["status"] == "error" and "quota" in reason, f"and the reason is said: {reason}", volume.view())
        text = cli("storage", "list", check=False).stdout
        ok("has reached its quota" in text, "godwit storage list says so, too", text)
        ok(keeps_writing(guest), "guests whose disks are elsewhere go on")
    volume.deleted()
    ok(images_in("volumes") == before, "nothing of it is left", images_in("volumes") - before)
    again = Volume(world).ready()
    ok(True, "with room again, volumes are made")
    again.deleted()
    holder.detached(guest)
    holder.deleted()


def test_missing(world):
    """the disk of a stopped server is not there any more: the start says so and touches nothing"""
    guest = world.new_guest("host2")
    guest.stop()
    ceph("rbd", "mv", disk_of(guest), disk_of(guest) + ".away")
    code, _, answer = guest.action({"os-start": None})
    need(code == 202 and wait(lambda: guest.view()["OS-EXT-STS:task_state"] is None, 60, 0.1), "a start ends", answer)
    actions = world.cloud.get(f"/compute/v2.1/servers/{guest.id}/os-instance-actions")["instanceActions"]
    ok(guest.is_state("SHUTOFF") and f"{guest.id}_disk" in (actions[0]["message"] or ""),
       f"it names what is missing: {actions[0]['message']}", guest.view())
    ceph("rbd", "mv", disk_of(guest) + ".away", disk_of(guest))
    guest.start()
    ok(keeps_writing(guest), "with the disk back it starts")
    world.forget(guest)


def test_key(world):
    """a node has a wrong key: it says so, is no destination, and gets the right one"""
    guest = world.guest("host1")
    for other in list(world.guests):
        if other.host() == "host3":
            other.place("host1")
    secret = virsh("host3", "secret-list").split()[0]
    virsh("host3", "secret-set-value", secret, "--base64", "QVFDbm90YWtleW5vdGFrZXlub3Rha2V5bm90YWtleQ==", check=False)
    record = world.cloud.ended(guest.move("host3"), 90)
    ok(record["status"] != "completed" and record["reason"] and "host3" in record["reason"],
       f"a move there fails and says why: {record['reason']}", record)
    ok(runs_once(guest) == ["host1"] and keeps_writing(guest), "the guest is where it was")
    done = cli("storage", "rotate-key", check=False)
    ok(done.returncode == 0 and "host3" in done.stdout, "godwit storage rotate-key gives every node the key", done.stdout + done.stderr)
    guest.moved("host3")
    ok(runs_once(guest) == ["host3"], "then the move works")


def test_start_without(world):
    """godwitd starts while the cluster cannot be reached, and goes on by itself when it can"""
    guest = world.guest("host1")
    lab("controller", "kill")
    ceph("kill-mon")
    lab("controller", "start")
    world.cloud = type(world.cloud)()
    code, _, body = world.cloud.ask("GET", "/compute/v2.1/servers/" + guest.id)
    ok(code == 200, "it answers", body)
    volume = Volume(world)
    ceph("start-mon")
    need(wait(lambda: volume.view()["status"] in ("available", "error"), 90, 0.3), "a volume ordered meanwhile ends",
         volume.view())
    say(f"the volume is {volume.view()['status']}")
    need(wait(lambda: all(world.cloud.host(h)["storage_visible"] for h in ("host1", "host2", "host3")), 120, 0.5),
         "by itself it shows that every node reaches the cluster",
         [world.cloud.host(h)["storage_reason"] for h in ("host1", "host2", "host3")])
    volume.deleted()
    guest.moved("host2")
    ok(runs_once(guest) == ["host2"] and keeps_writing(guest), "and moves work")


def test_attach_killed(world):
    """godwitd is killed while volumes come and go; each ends in one of its two states"""
    guest = world.guest("host1")
    volume = Volume(world).ready()
    for pause in (0.02, 0.15, 0.4):
        volume.attach(guest)
        time.sleep(pause)
        controller_restart()
        need(wait(lambda: volume.view()["status"] in ("in-use", "available"), 60, 0.1), "the attachment is settled",
             volume.view())
        has = volume.id in virsh("host1", "dumpxml", guest.domain)
        ok(has == (volume.view()["status"] == "in-use"), f"killed {pause} s after the request: the domain agrees with the record",
           volume.view())
        if volume.view()["status"] == "in-use":
            volume.detach(guest)
            time.sleep(pause)
            controller_restart()
            need(wait(lambda: volume.view()["status"] in ("in-use", "available"), 60, 0.1), "the detachment is settled")
            has = volume.id in virsh("host1", "dumpxml", guest.domain)
            ok(has == (volume.view()["status"] == "in-use"), "and again they agree", volume.view())
            if has:
                volume.detached(guest)
    volume.deleted()


def test_no_orphans(world):
    """what was deleted is gone from the pools"""
    for guest in list(world.guests):
        world.forget(guest)
    servers = {s["id"] for s in world.cloud.get("/compute/v2.1/servers?all_tenants=1")["servers"]}
    left = [i for i in images_in("instances") if i.split("_")[0] not in servers]
    ok(not left, "no disk without its server", left)
    volumes = {v["id"] for v in volume_api(world, "GET", "/volumes?all_tenants=1")[2]["volumes"]}
    left = [i for i in images_in("volumes") if i.removeprefix("volume-") not in volumes]
    ok(not left, "no volume without its record", left)
    ok("panic" not in controller_log() and "BUG" not in controller_log(), "godwitd's log speaks of no bug of its own")
    ok(not [d for h in ("host1", "host2", "host3") for d in domains(h) if d.startswith("godwit-probe")], "no probe is left")


TESTS = {
    "volumes": test_volumes,
    "volume-boot": test_volume_boot,
    "crash": test_crash,
    "stranger": test_stranger,
    "attach-killed": test_attach_killed,
    "osd": test_osd,
    "mon": test_mon,
    "full": test_full,
    "missing": test_missing,
    "key": test_key,
    "start-without": test_start_without,
    "no-orphans": test_no_orphans,
}
