# SPDX-License-Identifier: LGPL-2.1-or-later
"""live_hosts: what the nodes can give, what they see, and what people do on them by hand."""
import contextlib
import glob
import os
import re
import time
import uuid

from livelab import cli, domains, lab, need, ok, places, runs_once, state_dir, virsh, wait


# ---- CPUs -----------------------------------------------------------------------------------------------------------

def xml_file(text):
    """Below the storage directory every node sees it."""
    path = os.path.join(state_dir(), "storage", f"live-{uuid.uuid4()}.xml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def define(host, text):
    path = xml_file(text)
    try:
        virsh(host, "define", path)
    finally:
        os.unlink(path)


def restart_with_cpu(guest, host, model):
    """Stopped by Godwit; given another CPU and started by hand."""
    guest.stop()
    xml = virsh(host, "dumpxml", "--inactive", guest.domain)
    cpu = (f"<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>{model}</model></cpu>")
    changed, n = re.subn(r"<cpu\b.*?</cpu>|<cpu\b[^>]*/>", cpu, xml, count=1, flags=re.S)
    if n == 0:
        changed = xml.replace("<os>", cpu + "<os>", 1)
    define(host, changed)
    virsh(host, "start", guest.domain)
    seen = guest.wait_state("ACTIVE", 5, host)
    guest.booted()
    return seen


def physical_refuses(host, model):
    path = xml_file(f"<cpu><model>{model}</model></cpu>")
    try:
        return "incompatible" in virsh(host, "cpu-compare", path, check=False)
    finally:
        os.unlink(path)


def foreign_model(host):
    """A model that the hypervisor of that node gives and its physical CPU is not."""
    usable = re.findall(r"<model usable='yes'[^>]*>([^<]+)</model>", virsh(host, "domcapabilities", "--virttype",
                        os.environ["GODWIT_LAB_VIRT_TYPE"]))
    for model in ("Opteron_G1", "Opteron_G2", "phenom", "Opteron_G3", "qemu64", "athlon"):
        if model in usable and physical_refuses(host, model):
            return model
    return None


@contextlib.contextmanager
def weaker_hypervisor(world, host, feature):
    """libvirt on that node believes that its QEMU cannot give the feature: an older QEMU, as far as it knows."""
    kept = {}
    for path in glob.glob(os.path.join(state_dir(), "nodes", host, "var/cache/libvirt/qemu/capabilities/*.xml")):
        with open(path, encoding="utf-8") as f:
            kept[path] = f.read()
        weak = re.sub(rf"(<property name='{re.escape(feature)}' type='boolean' value=)'true'", r"\1'false'", kept[path])
        with open(path, "w", encoding="utf-8") as f:
            f.write(weak)
    world.restart_libvirtd(host)
    try:
        yield
    finally:
        for path, text in kept.items():
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        world.restart_libvirtd(host)


def test_cpu(world):
    """the guest's live CPU decides, against the destination's hypervisor"""
    guest = world.guest("host1")
    if os.environ["GODWIT_LAB_VIRT_TYPE"] != "qemu":
        ok(True, "CPUs that the nodes cannot give # SKIP with KVM they depend on the machine")
        return
    answer = cli("cpu", "compare", "--host", "host2", "--model", "SandyBridge", check=False)
    text = answer.stdout + answer.stderr
    ok(answer.returncode != 0 and "x2apic" in text and "tsc-deadline" in text,
       "cpu compare refuses SandyBridge and names the features", text)
    answer = cli("cpu", "compare", "--host", "host2", "--server", guest.name, check=False)
    ok(answer.returncode == 0, "cpu compare accepts the CPU of a running guest", answer.stdout + answer.stderr)

    # What a guest really got is what counts: libvirt starts it without the two, and then any node can give the rest.
    ok(restart_with_cpu(guest, "host1", "SandyBridge"), "started by hand as SandyBridge, without what TCG lacks: ACTIVE",
       guest.view())
    record = guest.moved("host2")
    ok(runs_once(guest) == ["host2"], "its live CPU fits and it moves, though the model does not", record)
    guest.moved("host1")

    ok(restart_with_cpu(guest, "host1", "Nehalem"), "started by hand as Nehalem: ACTIVE", guest.view())
    with weaker_hypervisor(world, "host2", "sse4.2"):
        record = world.cloud.ended(guest.move("host2"))
        ok(record["status"] == "failed" and "sse4.2" in record["reason"] and "host2" in record["reason"],
           f"host2's hypervisor lacks a feature of it: {record['reason']}", record)
        actions = world.cloud.get(f"/compute/v2.1/servers/{guest.id}/os-instance-actions")["instanceActions"]
        ok("sse4.2" in (actions[0]["message"] or ""), "the instance action says the same", actions[0])
        ok(guest.is_state("ACTIVE", "host1") and places(guest) == (["host1"], {}), "the guest is untouched", guest.view())
        answer = cli("cpu", "compare", "--host", "host2", "--server", guest.name, check=False)
        text = answer.stdout + answer.stderr
        ok(answer.returncode != 0 and "sse4.2" in text, "cpu compare with that server says the same", text)
        record = world.cloud.ended(guest.move(None))
        ok(record["status"] == "completed" and record["dest_host"] == "host3", "a host that is chosen gives it all", record)
        guest.stop()
        guest.start()
        record = guest.moved("host2")
        ok(runs_once(guest) == ["host2"], "a guest without that feature moves to host2", record)

    model = foreign_model("host3")
    if not model:
        ok(True, "a guest that only the hypervisor fits # SKIP the physical CPU here has every model that TCG gives")
        return
    ok(physical_refuses("host3", model), f"host3's physical CPU is no {model}")
    ok(restart_with_cpu(guest, "host2", model), f"started by hand as {model}: ACTIVE", guest.view())
    record = world.cloud.ended(guest.move("host3"))
    ok(record["status"] == "completed" and runs_once(guest) == ["host3"],
       f"a guest with {model} moves: only the hypervisor is asked", record)
    guest.stop()
    guest.start()


# ---- storage ---------------------------------------------------------------------------------------------------------

def test_storage(world):
    """an empty directory of the storage's name is found out"""
    guest = world.guest("host1")
    for other in list(world.guests):
        if other.host() == "host3":
            other.place("host1")
    directory = os.path.join(state_dir(), "storage")
    ok(world.cloud.host("host3")["storage_visible"], "host3 sees the storage")
    lab("exec", "host3", "mount", "-t", "tmpfs", "none", directory)
    try:
        world.restart_libvirtd("host3")
        view = world.cloud.host("host3")
        ok(not view["storage_visible"] and view["storage_reason"] and directory in view["storage_reason"],
           f"it does not see the storage: {view['storage_reason']}", view)
        moves, before = len(world.cloud.migrations()), guest.view()
        code, _, answer = guest.action({"os-migrateLive": {"host": "host3", "block_migration": "auto"}})
        ok(code in (400, 409) and "host3" in answer and "storage" in answer, f"a move there is refused: {answer}", code)
        ok(guest.view() == before and len(world.cloud.migrations()) == moves, "and changes nothing", guest.view())
        record = world.cloud.ended(guest.move(None))
        ok(record["dest_host"] == "host2" and record["status"] == "completed", "the host that is chosen sees it", record)
    finally:
        lab("exec", "host3", "umount", directory)
    world.restart_libvirtd("host3")
    ok(world.cloud.host("host3")["storage_visible"], "with the directory back it sees the storage", world.cloud.host("host3"))
    record = guest.moved("host3")
    ok(runs_once(guest) == ["host3"], "a move there works", record)


# ---- by hand ---------------------------------------------------------------------------------------------------------

def by_hand(guest, what, status, host, seconds=2, **more):
    t0 = time.monotonic()
    good = guest.wait_state(status, seconds, host)
    return ok(good, f"{what}: {status} on {host} after {time.monotonic() - t0:.2f} s", {**more, "view": guest.view()})


def test_by_hand(world):
    """a guest that powers itself off, and one that a person moves, are seen"""
    guest = world.guest("host1")
    virsh("host1", "shutdown", guest.domain)
    need(wait(lambda: domains("host1").get(guest.domain) == "shut off", 20, 0.05), "virsh shutdown: it powers off")
    by_hand(guest, "virsh shutdown", "SHUTOFF", "host1")
    virsh("host1", "start", guest.domain)
    by_hand(guest, "virsh start", "ACTIVE", "host1")
    guest.booted()
    virsh("host1", "migrate", "--live", "--p2p", "--persistent", "--undefinesource", "--unsafe", guest.domain,
          "qemu+tcp://10.88.0.2/system")
    by_hand(guest, "virsh migrate", "ACTIVE", "host2")
    ok(places(guest) == (["host2"], {}), "it runs on host2 and is gone from host1", places(guest))
    record = guest.moved("host1")
    ok(runs_once(guest) == ["host1"], "Godwit moves it back", record)


TESTS = {"cpu": test_cpu, "storage": test_storage, "by-hand": test_by_hand}
