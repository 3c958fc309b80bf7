# SPDX-License-Identifier: LGPL-2.1-or-later
"""live_rescue: a node is taken for dead while its QEMU runs on, and its server is evacuated. On a real Ceph cluster.

The guest keeps a ring of numbered, checksummed records on its disk, each with a random number of its boot, written past every
cache, and prints on its console which one was acknowledged last (lab/guest). So afterwards the disk itself says who wrote when:
the records of the old boot must end before the first one of the new boot, and what the old one was told is written must be there.
"""
import json
import os
import random
import re
import statistics
import struct
import tempfile
import time

import livelab
from live_ceph import ceph, disk_of
from livelab import Broken, domains, lab, need, ok, run, say, virsh, wait

BLOCK = 4096
DATA_START_MIB, DATA_MIB = 41, 23  # of the guest's image: lab/guest/build
MAGIC = 0x474f445749543031
EVACUATED = ("done", "completed", "error", "failed", "cancelled")


# ---- what the disk says ---------------------------------------------------------------------------------------------

def checksum(words):
    h = 0xcbf29ce484222325
    for i, word in enumerate(words):
        h = (h ^ (0 if i == 1 else word)) * 0x100000001b3 & 0xffffffffffffffff
        h ^= h >> 29
    return h


def records(guest, after):
    """Number → (boot, time in ns) of the valid records behind number after, as they are on the disk now."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        copy = os.path.join(scratch, "data")
        run("qemu-img", "dd", "-f", "raw", "-O", "raw", "bs=1M", f"skip={DATA_START_MIB}", f"count={DATA_START_MIB + DATA_MIB}",
            f"if=rbd:{disk_of(guest)}:conf={os.environ['CEPH_CONF']}:id=admin", f"of={copy}", timeout=120)
        with open(copy, "rb") as f:
            f.seek(BLOCK)
            while len(block := f.read(BLOCK)) == BLOCK:
                magic, _, number = struct.unpack_from("<3Q", block)
                if magic != MAGIC or number <= after:
                    continue
                words = struct.unpack("<512Q", block)
                if words[1] == checksum(words):
                    found[number] = (words[5], words[3])
    return found


def console_path(guest, host):
    return re.search(r"<log file='([^']+)'|<source path='([^']+)'", virsh(host, "dumpxml", guest.domain))


def acknowledged(host, path, boot):
    """The highest number that the guest of this boot printed on its console there."""
    text = lab("exec", host, "tail", "-c", "2000000", path)
    return max((int(n) for n in re.findall(rf"^tick \d+ \S+ seq (\d+) boot {boot}\s*$", text, re.M)), default=0)


def ticks(host, path, boot):
    text = lab("exec", host, "tail", "-c", "20000", path)
    return max((int(n) for n in re.findall(rf"^tick (\d+) \S+ seq \d+ boot {boot}\s*$", text, re.M)), default=0)


def judge(found, old, new, acked):
    """What is wrong with the records of these two boots; empty: nothing."""
    old, new = int(old, 16), int(new, 16)
    first = min((n for n, (boot, _) in found.items() if boot == new), default=None)
    if first is None:
        return ["the new guest has written nothing"]
    begin = found[first][1]
    late = sorted(n for n, (boot, at) in found.items() if boot == old and (n > first or at > begin))
    lost = [n for n in range(min(found), acked + 1) if n not in found or (n < first and found[n][0] == new)]
    wrong = []
    if late:
        wrong.append(f"{len(late)} records of the old guest lie behind the first one of the new ({first}): {late[:5]} …")
    if lost or acked >= first:
        wrong.append(f"acknowledged to the old guest up to {acked}, but the new one begins at {first}; not there: {lost[:5]}")
    return wrong


# ---- a round --------------------------------------------------------------------------------------------------------

def force_down(world, host, down):
    service = world.cloud.get(f"/compute/v2.1/os-services?host={host}&binary=nova-compute")["services"][0]["id"]
    code, _, answer = world.cloud.compute("PUT", f"/os-services/{service}", {"forced_down": down})
    if code != 200:
        raise Broken(f"forced_down {down} of {host}: {code} {answer}")


def fences(world, host):
    return [f["address"] for f in world.cloud.get(f"/godwit/v1/fences?host={host}")["fences"]]


def blocklist():
    text = ceph("osd", "blocklist", "ls", "--format", "json")  # and a line for people behind it
    return {entry["addr"] for entry in json.JSONDecoder().raw_decode(text)[0]}


def boots(host, path):
    """Of the guests that have written on this console."""
    return set(re.findall(r" boot ([0-9a-f]{16})\s*$", lab("exec", host, "tail", "-c", "2000000", path, check=False), re.M))


def new_boot(host, path, old, seconds=240):
    """The boot of the guest that has come up there and has written some records; by its console, since two with one address may
    live."""
    def other():
        text = lab("exec", host, "tail", "-c", "20000", path, check=False)
        lines = re.findall(r"^tick \d+ \S+ seq (\d+) boot ([0-9a-f]{16})\s*$", text, re.M)
        boot = lines[-1][1] if lines else None
        if not boot or boot in old or not int(boot, 16):
            return None
        numbers = [int(number) for number, of in lines if of == boot]
        return boot if numbers[-1] > numbers[0] + 5 else None
    return wait(other, seconds, 0.3)


def evacuate(guest, dest=None):
    code, headers, answer = guest.action({"evacuate": {"host": dest} if dest else {}})
    if code not in (200, 202):
        raise Broken(f"evacuate {guest.name}: {code} {answer}")
    return int(headers["X-Godwit-Migration"])


def take_away(world, host, whole, force, figures):
    """Cut the node off, by force or not, until Godwit takes it for down."""
    lab("partition", host, *([] if whole else ["--from", "controller,peers"]))
    cut = time.monotonic()
    if force:
        time.sleep(random.uniform(0, 2))
        force_down(world, host, True)
    else:
        need(wait(lambda: world.cloud.host(host)["state"] == "down", 90, 0.1), f"{host} is seen to be down",
             world.cloud.host(host))
        figures.setdefault("detection", []).append(time.monotonic() - cut)
    return cut


def rescue_round(world, guest, number, whole, force, figures):
    """One round; leaves the guest on another node and everything healed. True: all as it must be."""
    source = guest.host()
    try:
        return cut_and_rescue(world, guest, source, number, whole, force, figures)
    except Exception:
        lab("heal", source)
        force_down(world, source, False)
        raise


def cut_and_rescue(world, guest, source, number, whole, force, figures):
    path = next(p for p in console_path(guest, source).groups() if p)
    before = guest.ask("status", seconds=120)
    old = before["boot"]
    say(f"round {number}: {source} is cut off {'from everything' if whole else 'but not from Ceph'}, "
        f"{'forced down' if force else 'seen to be down'}")
    known = set().union(*(boots(host, path) for host in livelab.HOSTS))
    cut = take_away(world, source, whole, force, figures)
    asked = time.monotonic()
    move = world.cloud.migration(evacuate(guest))
    while move["status"] not in EVACUATED:
        move = world.cloud.migration(move["id"], move["updated_at"], 5000)
        if time.monotonic() - asked > 120:
            break
    active = time.monotonic()
    if not ok(move["status"] == "done", f"round {number}: evacuated to {move['dest_host']} {active - asked:.2f} s after the request",
              json.dumps(move)):
        raise Broken(move["reason"])
    alive = domains(source).get(guest.domain) == "running"
    tick = ticks(source, path, old)
    moving_on = wait(lambda: ticks(source, path, old) > tick, 5, 0.2)
    ok(alive and moving_on, f"round {number}: meanwhile the old guest runs on", domains(source))
    seen = new_boot(move["dest_host"], path, known)
    need(seen, f"round {number}: the new guest writes", guest.view())
    listed = fences(world, source)
    in_force = blocklist()
    lab("heal", source)
    healed = time.monotonic()
    if force:
        force_down(world, source, False)
    gone = wait(lambda: world.cloud.migration(move["id"])["status"] == "completed", 90, 0.2)
    figures.setdefault("clean-up after the heal", []).append(time.monotonic() - healed)
    there = {host: domains(host).get(guest.domain) for host in (source, move["dest_host"])}
    good = ok(gone and there == {source: None, move["dest_host"]: "running"},
              f"round {number}: after the heal exactly one guest runs, nothing is left of the old one", (there, move))
    status = guest.ask("status", seconds=120)
    acked = acknowledged(source, path, old)
    found = records(guest, max(0, before["seq"] - 20))
    wrong = judge(found, old, status["boot"], acked)
    good &= ok(not wrong, f"round {number}: {acked} was acknowledged before the fence, {status['boot_seq']} found by the new guest; "
               f"{len(found)} records looked at", "\n".join(wrong))
    good &= ok(status["boot"] == seen and status["errors"] == 0, f"round {number}: the new guest finds no error in its data", status)
    good &= ok(listed and set(listed) <= in_force, f"round {number}: {len(listed)} clients were in the blocklist", (listed, in_force))
    good &= ok(not fences(world, source) and not set(listed) & blocklist(), f"round {number}: and are out of it now",
               (fences(world, source), blocklist()))
    phases = move["phases"]
    figures.setdefault("fence", []).append((phases.get("power-off", 0) + phases.get("fencing", 0)) / 1e6)
    figures.setdefault("start", []).append(phases.get("start", 0) / 1e6)
    figures.setdefault("request to ACTIVE", []).append(active - asked)
    figures.setdefault("cut to ACTIVE", []).append(active - cut)
    guest.booted()
    return good


def tell(figures):
    for name, values in figures.items():
        say(f"{name}: median {statistics.median(values):.2f} s, {min(values):.2f} to {max(values):.2f}, n {len(values)}")


def test_rescue(world):
    """a node is cut off, its server evacuated, and it comes back: two rounds of `rescue`"""
    figures = {}
    guest = world.guest("host1")
    code, _, answer = guest.action({"evacuate": {}})
    ok(code == 400 and "up" in answer, f"a server of a node that is up is not evacuated: {code}", answer)
    for number, whole in ((1, False), (2, True)):
        rescue_round(world, guest, number, whole, True, figures)
    tell(figures)


TESTS = {"rescue": test_rescue}
