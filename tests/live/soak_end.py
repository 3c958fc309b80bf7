# SPDX-License-Identifier: LGPL-2.1-or-later
"""soak_end: what must hold when a soak is over: nothing under way, everything where its record says, nothing left behind."""
import re
import statistics
import time

from livelab import HOSTS, controller_log, domains, is_on, lab, ok, say, virsh, wait
from soak_load import OPTIONAL, controller_ends, guest_ask, is_final

QUIET_S = 240
GROWTH = 1.10
SAMPLES_LEAST = 15
EXPECTED = {"ACTIVE": "running", "PAUSED": "paused", "SHUTOFF": "shut off", "SUSPENDED": "shut off", "VERIFY_RESIZE": "running"}
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
KINDS = {
    "answers": "every request was answered in time, none by 5xx but while godwitd was away",
    "hangs": "no operation, task state, node or client hung",
    "data": "the guests found no error in their data, and no record or volume lost what was acknowledged",
    "restarts": "no guest was started anew that nobody asked to",
    "errors": "nothing failed to be made but beneath a fault",
    "ends": "godwitd never ended by itself",
    "lab": "every fault could be made and healed, and no thread broke off",
}


def servers_of(soak):
    return soak.cloud.get("/compute/v2.1/servers/detail?all_tenants=1")["servers"]


def state_of(view):
    return f"{view['name']}: {view['status']}, task_state {view['OS-EXT-STS:task_state']}, {view['OS-EXT-SRV-ATTR:host']}"


def unsettled(soak):
    """What is still under way."""
    found = [state_of(v) for v in servers_of(soak) if v["OS-EXT-STS:task_state"] is not None or v["status"] not in (*EXPECTED, "ERROR")]
    found += [f"task {t['id']} {t['kind']} of {t['server_id']}" for t in soak.cloud.open_tasks()]
    waiting = {v["id"] for v in servers_of(soak) if v["status"] == "VERIFY_RESIZE"}
    found += [f"migration {m['id']} ({m.get('type')}) {m['status']}" for m in soak.cloud.migrations()
              if not is_final(m) and not (m["status"] == "finished" and m["server_id"] in waiting)]
    return found


def misplaced(soak):
    """Servers that are not exactly where their record says, in its state; domains that are no server's."""
    there = {host: domains(host) for host in HOSTS}
    views = servers_of(soak)
    wrong = []
    for view in views:
        home, name = view["OS-EXT-SRV-ATTR:host"], view["OS-EXT-SRV-ATTR:instance_name"]
        here = {host: found[name] for host, found in there.items() if name in found}
        wanted = EXPECTED.get(view["status"])
        if view["status"] == "VERIFY_RESIZE":  # its source may keep the definition, never the guest
            here = {host: state for host, state in here.items() if host == home or state != "shut off"}
        if view["status"] == "ERROR" and all(state == "shut off" for state in here.values()) and len(here) <= 1:
            continue
        if here != {home: wanted}:
            wrong.append(f"{state_of(view)}; on the nodes: {here}")
    known = {view["OS-EXT-SRV-ATTR:instance_name"] for view in views}
    wrong += [f"{name} ({state}) on {host} is no server's" for host, found in there.items() for name, state in found.items()
              if name not in known]
    return wrong


def strays(soak):
    """Images in the pools that have no record, and records without their image."""
    servers = {v["id"] for v in servers_of(soak)}
    volumes = {v["id"] for v in soak.cloud.get(f"/volume/v3/{soak.project}/volumes/detail?all_tenants=1")["volumes"]}
    images = {i["id"] for i in soak.cloud.get("/image/v2/images")["images"]}
    found = []
    for pool, known in (("instances", servers), ("volumes", volumes), ("images", images)):
        names = lab("ceph", "rbd", "ls", pool).split()
        owners = {m[0] if (m := re.search(UUID, name)) else name for name in names}
        found += [f"{pool}/{name} has no record" for name in names if not (m := re.search(UUID, name)) or m[0] not in known]
        found += [f"{pool}: {number} has no image" for number in sorted(known - owners)]
        if trash := lab("ceph", "rbd", "trash", "ls", "--all", pool):
            found.append(f"{pool}: in the trash: {trash}")
    return found


def reservations(soak):
    """Where what a node is said to hold is not the sum of its servers."""
    sums = {host: [0, 0, 0] for host in HOSTS}
    for view in servers_of(soak):
        host = view["OS-EXT-SRV-ATTR:host"]
        if host:
            for i, amount in enumerate((1, view["flavor"]["vcpus"], view["flavor"]["ram"])):
                sums[host][i] += amount
    wrong = []
    for host in HOSTS:
        view = soak.cloud.host(host)
        held = [view["servers"], view["vcpus_used"], view["ram_mb_used"]]
        if held != sums[host]:
            wrong.append(f"{host} holds servers, vCPUs, MB {held}; its servers have {sums[host]}")
    return wrong


def attachments(soak, leave):
    """A volume is in use by exactly the one server that has it, in its record and, but for those to leave, in both its definitions."""
    wrong, had = [], {}
    for view in servers_of(soak):
        rows = soak.cloud.get(f"/compute/v2.1/servers/{view['id']}/os-volume_attachments")["volumeAttachments"]
        ids = {row["volumeId"] for row in rows}
        for number in ids:
            had.setdefault(number, []).append(view["name"])
        host, name = view["OS-EXT-SRV-ATTR:host"], view["OS-EXT-SRV-ATTR:instance_name"]
        for inactive in ([], ["--inactive"]):
            xml = virsh(host, "dumpxml", *inactive, name, check=False)
            defined = {m for m in re.findall(UUID, "".join(re.findall(r"<source protocol=.*", xml)))} - {view["id"]}
            if xml and defined - leave != ids - leave:
                wrong.append(f"{view['name']} on {host} {inactive}: defined with {sorted(defined)}, attached are {sorted(ids)}")
    for volume in soak.cloud.get(f"/volume/v3/{soak.project}/volumes/detail?all_tenants=1")["volumes"]:
        users = had.pop(volume["id"], [])
        if (volume["status"] == "in-use") != bool(users) or len(users) > 1 or volume["status"] not in ("in-use", "available"):
            wrong.append(f"volume {volume['id']} is {volume['status']}, attached to {users}")
    return wrong + [f"attached without a record: {number} to {users}" for number, users in had.items()]


def detach_again(soak):
    """A guest that was paused or booting did not let go of a disk in time. QEMU goes on asking it, and the disk may have gone
    since, while its record says in-use, as the answer did: the advice is to detach it again, and that must work."""
    wrong = []
    for volume in [v for v in soak.volumes.values() if v.stuck]:
        view = soak.volume_settle(volume, "detach", 60)
        user = next((a["server_id"] for a in (view or {}).get("attachments", [])), None)
        if not user:
            continue
        code, _, answer = soak.compute(soak.servers.get(user), "detach", "DELETE", f"/servers/{user}/os-volume_attachments/{volume.id}")
        view = soak.volume_settle(volume, "detach", 90)
        say(f"volume {volume.id} was detached again: {code}, {view and view['status']}")
        if code != 202 or not view or view["status"] != "available":
            wrong.append(f"volume {volume.id} of {user}: {code} {answer} {view and view['status']}")
    return wrong


def wake(soak):
    """Every server running, whatever it was."""
    steps = {"VERIFY_RESIZE": "confirm", "PAUSED": "unpause", "SUSPENDED": "resume", "SHUTOFF": "start", "ERROR": "reboot-hard"}
    bodies = {"confirm": {"confirmResize": None}, "unpause": {"unpause": None}, "resume": {"resume": None},
              "start": {"os-start": None}, "reboot-hard": {"reboot": {"type": "HARD"}}}
    trouble = []
    for server in list(soak.servers.values()):
        server.may_restart = True
        for _ in range(4):
            view = soak.settle(server, "waking it", 120)
            if not view or view["status"] == "ACTIVE":
                break
            step = steps.get(view["status"])
            code, _, answer = soak.compute(server, step, "POST", f"/servers/{server.id}/action", bodies[step]) if step else (0, None, None)
            soak.ledger.note(server.id, f"waking it: {step}: {code} {answer}")
            if code not in (202, 204):
                trouble.append(f"{state_of(view)}: {step}: {code} {answer}")
                break
        else:
            trouble.append(f"{state_of(view)}: not ACTIVE after four steps")
    return trouble


def check_guests(soak):
    silent = []
    for server in list(soak.servers.values()):
        view = soak.view(server)
        if not view:
            continue
        soak.identify(server, view)
        answer = wait(lambda s=server: guest_ask(s.address, "status", 2), 40, 0.5)
        if not answer:
            silent.append(f"{state_of(view)}: it does not answer at {server.address}")
            for row in soak.ledger.timeline(server.id):
                say(f"    {row[:260]}")
            continue
        soak.look(server)
    first = {s.id: s.seq for s in soak.servers.values()}

    def going_on():
        for server in soak.servers.values():
            soak.look(server)
        return all(s.seq > first[s.id] + 2 for s in soak.servers.values())
    ok(not silent, "every guest answers", "\n".join(silent))
    ok(wait(going_on, 30, 0.5), "and writes on", [(s.name, first[s.id], s.seq) for s in soak.servers.values()])


def check_volumes(soak):
    """Each volume whose content is known is read back by a guest."""
    wrong, read = [], 0
    servers = list(soak.servers.values())
    for volume in list(soak.volumes.values()):
        if volume.seed is None or not servers:
            continue
        view = soak.volume_settle(volume, "reading it back", 60)
        if view and view["status"] == "available":
            server = servers[read % len(servers)]
            soak.compute(server, "attach", "POST", f"/servers/{server.id}/os-volume_attachments", {"volumeAttachment": {"volumeId": volume.id}})
            view = soak.volume_settle(volume, "attach", 60)
        user = next((a["server_id"] for a in (view or {}).get("attachments", [])), None)
        server = soak.servers.get(user)
        if not server:
            wrong.append(f"volume {volume.id} cannot be read back: {view}")
            continue
        answer = wait(lambda s=server, v=volume: (a := guest_ask(s.address, f"disk-check {v.serial}", 20)) and "no disk" not in a and a, 40, 0.5)
        soak.judge_volume(server, volume, answer)
        read += 1
        if not answer or not answer.startswith("{"):
            wrong.append(f"volume {volume.id} in {server.name}: {answer}")
    ok(not wrong, f"{read} volumes were read back", "\n".join(wrong))


def check_memory(soak):
    soak.sample()
    longest = max((rows for _, rows in soak.samples), key=len, default=[])
    fifth = len(longest) // 5
    for i, what in enumerate(("kB resident", "descriptors")):
        say(f"godwitd's longest life, {what}: {' '.join(str(row[i]) for row in longest)}")
    if len(longest) < SAMPLES_LEAST:
        say(f"godwitd's memory is not judged: its longest life has {len(longest)} samples of the {SAMPLES_LEAST} wanted")
        return
    for i, (name, unit, slack) in enumerate((("resident memory", "kB", 1024), ("open descriptors", "", 4))):
        early = statistics.median(row[i] for row in longest[fifth:2 * fifth])
        late = statistics.median(row[i] for row in longest[-fifth:])
        ok(late <= early * GROWTH + slack, f"godwitd's {name} did not grow over {10 * len(longest)} s: {early:.0f} {unit} then {late:.0f}",
           [row[i] for row in longest])


def check_ends(soak):
    ends = controller_ends()[soak.ends_before:]
    ok(len(ends) == soak.kills, f"godwitd ended {soak.kills} times, each time by our hand", "\n".join(ends))
    bugs = [line for line in controller_log().splitlines() if re.search(r"\b(code|error_code)=bug\b|Sanitizer", line)]
    ok(not bugs, "no message of godwitd speaks of a bug", "\n".join(bugs[-8:]))


def empty(soak):
    """Delete all of it; what is left then."""
    for server in servers_of(soak):
        soak.cloud.compute("DELETE", "/servers/" + server["id"])
    if not wait(lambda: not servers_of(soak), 120, 0.5):
        return [f"not deleted: {state_of(v)}" for v in servers_of(soak)]
    listing = f"/volume/v3/{soak.project}/volumes/detail?all_tenants=1"
    for volume in soak.cloud.get(listing)["volumes"]:
        if not wait(lambda v=volume: soak.cloud.ask("DELETE", f"/volume/v3/{soak.project}/volumes/{v['id']}")[0] in (202, 404), 30, 0.5):
            return [f"not deleted: {volume}"]
    wait(lambda: not soak.cloud.get(listing)["volumes"], 60, 0.5)
    wait(lambda: not strays(soak) and not soak.cloud.open_tasks(), 30, 0.5)
    left = strays(soak) + misplaced(soak) + reservations(soak)
    left += [f"task {t}" for t in soak.cloud.open_tasks()]
    left += [f"port {p['id']} of {p['device_id']}" for p in soak.cloud.get("/network/v2.0/ports")["ports"] if p.get("device_id")]
    for host in HOSTS:
        left += [f"{host}: {file}" for file in
                 lab("exec", host, "find", "/var/lib/libvirt/qemu/save", "-type", "f", check=False).split()]
    return left


def check(soak, without):
    """After the clients have ended and every fault is undone."""
    world, ledger = soak.world, soak.ledger
    for host in HOSTS:
        if is_on(host):
            lab("link", host, "off")
    world.mend()
    ok(world.all_up(90), "all nodes are up", [(h, soak.host_state(h), soak.cloud.host(h)["state_reason"]) for h in HOSTS])
    for server in list(soak.servers.values()):
        if server.address:
            guest_ask(server.address, "dirty 0 16", 0.6)
    began = time.monotonic()
    ok(wait(lambda: not unsettled(soak), QUIET_S, 1), f"all is quiet after {time.monotonic() - began:.0f} s", "\n".join(unsettled(soak)))
    ok(wait(lambda: not misplaced(soak), 30, 1), "each server is on one node, in its state; no domain is nobody's", "\n".join(misplaced(soak)))
    lost = [state_of(v) for v in servers_of(soak) if v["status"] == "ERROR"]
    ok(not lost, "no server is left in ERROR", "\n".join(lost))
    ok(wait(lambda: not strays(soak), 30, 1), "every image in the pools has its record, every record its image", "\n".join(strays(soak)))
    secrets = {host: virsh(host, "secret-list").strip().splitlines() for host in HOSTS}
    ok(all(len(rows) == 1 for rows in secrets.values()), "each node has the one secret", secrets)
    wrong = attachments(soak, {v.id for v in soak.volumes.values() if v.stuck})
    ok(not wrong, "each volume is attached as its record says, in the definitions too", "\n".join(wrong))
    ok(wait(lambda: not soak.fences(), 60, 1), "every fence is lifted", soak.fences())

    trouble = wake(soak)
    ok(not trouble, "every server can be made to run", "\n".join(trouble))
    ok(wait(lambda: not unsettled(soak) and not misplaced(soak), 60, 1), "and then each runs once", "\n".join(unsettled(soak) + misplaced(soak)))
    wrong = reservations(soak)
    ok(not wrong, "what a node holds is the sum of its servers", "\n".join(wrong))
    check_guests(soak)
    stuck = detach_again(soak)
    ok(not stuck, "what a guest did not let go of in time is detached when asked again", "\n".join(stuck))
    wrong = attachments(soak, set())
    ok(not wrong, "then the attachments are right everywhere", "\n".join(wrong))
    check_volumes(soak)
    left = empty(soak)
    ok(not left, "all is deleted, and nothing is left of it", "\n".join(left))
    check_memory(soak)
    check_ends(soak)
    for kind, text in KINDS.items():
        ok(not ledger.faults[kind], text, "\n".join(ledger.faults[kind]))
    for name in OPTIONAL:
        if name in without:
            continue
        if name in soak.unsupported:
            ok(False, f"{name} is there", soak.unsupported[name])
        elif not any(what == name and code in (200, 202, 204) for what, code in soak.counts):
            say(f"{name} was never asked for so that it was accepted: too short a run to say anything of it")
    report(soak)


def report(soak):
    """What was asked for, and how it was answered."""
    by = {}
    for (what, code), number in sorted(soak.counts.items(), key=str):
        by.setdefault(what, []).append(f"{number}×{code}")
    say("faults: " + ", ".join(f"{len_}" for len_ in by.pop("fault", ["none"])))
    for what, answers in by.items():
        say(f"{what}: {', '.join(answers)}")
    ends = {}
    for migration in soak.cloud.migrations():
        key = migration.get("type") or "live-migration"
        ends.setdefault(key, {}).setdefault(migration["status"], 0)
        ends[key][migration["status"]] += 1
    say(f"migrations: {ends}")
    reasons = {}
    for migration in soak.cloud.migrations():
        if migration["reason"]:
            text = re.sub(UUID, "…", migration["reason"])[:140]
            reasons[text] = reasons.get(text, 0) + 1
    for text, number in sorted(reasons.items(), key=lambda pair: -pair[1])[:12]:
        say(f"    {number}× {text}")
    say(f"slowest answer: {soak.slowest[0]:.2f} s, {soak.slowest[1]}")
