# SPDX-License-Identifier: LGPL-2.1-or-later
"""soak_load: what the soak does to a cloud: clients that ask for anything, and eyes on the guests.

Every decision comes from the seed; how the threads fall out with each other does not. Whatever must not be is said at once,
with the last things that happened to that server and to the world around it.
"""
import collections
import json
import os
import random
import re
import socket
import threading
import time
import traceback

from livelab import FINAL, HOSTS, Broken, lab, say, state_dir
from soak_faults import Faults

SERVERS_MOST = 5
VOLUMES_MOST = 4
HANG_S = 240      # an operation that lasts longer than this hangs, whatever breaks meanwhile
ANSWER_S = 15     # so does a request; a healthy godwitd answers in milliseconds
CRASHES_MOST = 3  # that often is godwitd started again
STUCK_S = 300     # a task_state that nobody waits for
GUEST_PORT = 7777
SHOWN = 24        # entries of the timeline with a fault
LINK = "400mbit"  # of each node: moves take seconds, so that there is a middle

# What is asked of a server in which status, and how often; one time in six anything is, and refused where it makes no sense.
MOVING = {"abort": 5, "force-complete": 3, "move": 1, "stop": 1, "attach": 1, "detach": 1, "pause": 1, "check": 4}
SUITED = {
    "ACTIVE": {"move": 12, "move-abort": 5, "move-force": 3, "stop": 3, "reboot-hard": 2, "pause": 3, "suspend": 3, "resize": 4,
               "migrate": 3, "attach": 8, "detach": 4, "delete": 1, "dirty": 2, "check": 6},
    "SHUTOFF": {"start": 10, "resize": 2, "migrate": 2, "attach": 2, "detach": 2, "delete": 1, "reboot-hard": 1},
    "PAUSED": {"unpause": 8, "move": 2, "stop": 1, "delete": 1, "attach": 1},
    "SUSPENDED": {"resume": 8, "delete": 1, "detach": 1, "reboot-hard": 1},
    "VERIFY_RESIZE": {"confirm": 6, "revert": 5, "stop": 1, "delete": 1},
    "ERROR": {"reboot-hard": 3, "delete": 3},
    "MIGRATING": MOVING,
}
ANYTHING = sorted({"evacuate"} | {action for suited in SUITED.values() for action in suited})
# The API's words; what may start the guest anew is in RESTARTS.
BODIES = {
    "stop": {"os-stop": None}, "start": {"os-start": None}, "reboot-hard": {"reboot": {"type": "HARD"}},
    "pause": {"pause": None}, "unpause": {"unpause": None}, "suspend": {"suspend": None}, "resume": {"resume": None},
    "confirm": {"confirmResize": None}, "revert": {"revertResize": None}, "migrate": {"migrate": {}},
    "evacuate": {"evacuate": {}},
}
RESTARTS = {"stop", "start", "reboot-hard", "resize", "migrate", "confirm", "revert", "delete", "evacuate"}
OPTIONAL = ("abort", "force-complete", "pause", "unpause", "suspend", "resume", "resize", "migrate", "confirm", "revert", "evacuate")


def guest_ask(address, command, seconds=1.0):
    """One line of a guest by UDP, or None; asks again every half second."""
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.5)
        while time.monotonic() < end:
            try:
                s.connect((address, GUEST_PORT))
                s.send(command.encode())
                return s.recv(8192).decode().strip()
            except OSError:
                time.sleep(0.05)
    return None


def controller_pid():
    try:
        with open(os.path.join(state_dir(), "godwit", "godwitd.pid"), encoding="ascii") as f:
            return int(f.read())
    except (OSError, ValueError):
        return 0


def pid_alive(pid):
    return pid != 0 and os.path.exists(f"/proc/{pid}/status")


def controller_ends():
    """How each godwitd ended, a line each."""
    try:
        with open(os.path.join(state_dir(), "godwit", "controller.exit"), encoding="utf-8") as f:
            return f.read().splitlines()
    except OSError:
        return []


class Ledger:
    """What was done, and what went wrong."""

    def __init__(self):
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.entries = collections.deque(maxlen=20000)
        self.faults = collections.defaultdict(list)

    def at(self):
        return time.monotonic() - self.began

    def note(self, server, text):
        with self.lock:
            self.entries.append((self.at(), server, text))

    def timeline(self, server):
        now = self.at()
        with self.lock:
            rows = [e for e in self.entries if (e[1] == server or e[1] is None and e[0] > now - 180) and "FAULT answers" not in e[2]]
        return [f"{at:7.1f} {'' if who else 'world: '}{text}" for at, who, text in rows[-SHOWN:]]

    def keep(self):
        """GODWIT_LIVE_LOGS: a directory that takes all of it."""
        where = os.environ.get("GODWIT_LIVE_LOGS")
        if where:
            os.makedirs(where, exist_ok=True)
            with open(os.path.join(where, "soak-ledger"), "w", encoding="utf-8") as f:
                f.writelines(f"{at:7.1f} {server or 'world'} {text}\n" for at, server, text in self.entries)

    def fault(self, kind, server, text):
        """Something that must not be; said now and counted in the end."""
        name = server.name if server else "world"
        rows = self.timeline(server.id if server else None)
        with self.lock:
            self.faults[kind].append(f"{self.at():.1f} {name}: {text}")
            first = len(self.faults[kind]) <= 8
        if first:
            say(f"FAULT {kind} at {self.at():.1f} s: {name}: {text}")
            for row in rows:
                say(f"    {row[:260]}")
        self.note(server.id if server else None, f"FAULT {kind}: {text}")


class Tracked:
    """A server, and what is known of its guest."""

    def __init__(self, number, name):
        self.id, self.name = number, name
        self.domain = self.address = None
        self.gone = False
        self.seq = self.boot = self.uptime = self.errors = 0
        self.restarts_open = self.restarts_asked = 0
        self.may_restart = True
        self.busy_since = (None, 0.0)
        self.said_stuck = False


class TrackedVolume:
    def __init__(self, number):
        self.id, self.serial = number, number[:20]
        self.lock = threading.Lock()
        self.stuck = False  # a guest did not let go of it in time; it may do so at any later moment
        self.seed = None    # of what was written and acknowledged; None: not known
        self.gone = False


class Soak(Faults):
    def __init__(self, world, seed, without):
        self.world, self.cloud, self.seed = world, world.cloud, seed
        self.ledger = Ledger()
        self.over = threading.Event()
        self.servers, self.volumes = {}, {}
        self.lock = threading.Lock()
        self.creating = self.made = 0
        self.unsupported = {name: "left out by --without" for name in without}
        self.counts = collections.Counter()
        self.away = []             # when godwitd was not there: [from, to or None]
        self.troubles = []         # the same for every fault
        self.samples = []          # per process of godwitd: [pid, [(kB, fds)…]]
        self.slowest = (0.0, "")
        self.away_lock = threading.RLock()
        self.kills = self.crashes = 0
        self.ends_before = 0
        self.restart_everything = 0
        self.blind = 0             # a stale guest may answer in the name of the one that was started for it
        self.flavors = {}
        self.project = self.cloud.project

    # ---- requests

    def was_away(self, since):
        return any(to is None or to > since for _, to in self.away)

    def in_trouble(self, since):
        """Was anything broken since then, or shortly before?"""
        return any(to is None or to > since - 60 for _, to in self.troubles)

    def ask(self, server, what, method, path, body=None):
        began = time.monotonic()
        try:
            code, headers, answer = self.cloud.ask(method, path, body)
        except (OSError, ValueError) as error:
            self.look_after()
            if not self.was_away(began):
                self.ledger.fault("answers", server, f"{what}: {method} {path}: {error!r} after {time.monotonic() - began:.1f} s")
            return 0, {}, None
        took = time.monotonic() - began
        self.slowest = max(self.slowest, (took, f"{method} {path}"))
        if code >= 500 and not self.was_away(began):
            self.ledger.fault("answers", server, f"{what}: {method} {path} {json.dumps(body)}: {code} {json.dumps(answer)[:400]}")
        elif took > ANSWER_S and not self.was_away(began):
            self.ledger.fault("answers", server, f"{what}: {method} {path}: answered {code} after {took:.1f} s")
        return code, headers, answer

    def look_after(self):
        """If godwitd ended by itself, that is a fault; start it again, a few times."""
        with self.away_lock:
            if self.away and self.away[-1][1] is None or pid_alive(controller_pid()):
                return
            window = [time.monotonic() - ANSWER_S, None]
            self.away.append(window)
            self.crashes += 1
            self.ledger.fault("ends", None, f"godwitd ended by itself: {controller_ends()[-1:]}")
            if self.crashes > CRASHES_MOST:
                self.over.set()
                return
            try:
                lab("controller", "start")
            except Broken as error:
                self.ledger.fault("ends", None, f"and cannot be started: {error}")
                self.over.set()
            window[1] = time.monotonic()

    def compute(self, server, what, method, path, body=None):
        return self.ask(server, what, method, "/compute/v2.1" + path, body)

    def storage(self, what, method, path, body=None):
        return self.ask(None, what, method, f"/volume/v3/{self.project}{path}", body)

    def view(self, server):
        """Its view; None: not known now; {}: there is no such server."""
        code, _, answer = self.compute(server, "show", "GET", "/servers/" + server.id)
        return answer["server"] if code == 200 else {} if code == 404 else None

    def is_refused(self, action, server, code, answer):
        """Notes the answer. A feature that is not there is not asked for again."""
        message = next(iter(answer.values()), {}).get("message", "") if isinstance(answer, dict) and answer else ""
        self.counts[action, code] += 1
        absent = "not supported" in message or code == 405 or code == 404 and "nothing at this path" in message
        if absent and action in OPTIONAL and action not in self.unsupported:
            self.unsupported[action] = f"{code} {message}"
        if server:
            self.ledger.note(server.id, f"{action}: {code} {message[:150]}")
        if code in (200, 202, 204):
            return False
        if code not in (0, 400, 403, 404, 409) and code < 500 and not absent:
            self.ledger.fault("answers", server, f"{action}: {code} {message}")
        return True

    def settle(self, server, what, seconds=HANG_S):
        """Until nothing is done to it any more; its view then, None if it cannot be had."""
        end = time.monotonic() + seconds
        view = None
        while time.monotonic() < end:
            view = self.view(server)
            if view == {}:
                server.gone = True
                return view
            if view and view["OS-EXT-STS:task_state"] is None and view["status"] not in ("BUILD", "MIGRATING"):
                return view
            time.sleep(0.4)
        state = view and (view["status"], view["OS-EXT-STS:task_state"], view["OS-EXT-SRV-ATTR:host"])
        self.ledger.fault("hangs", server, f"{what}: after {seconds:.0f} s it is still {state}")
        return view

    # ---- operations

    def act(self, server, action, body, rng, path="/action", method="POST", patient=0.6):
        """One request about a server; if it is accepted, mostly wait for its end."""
        if action in RESTARTS:
            server.may_restart = True
            server.restarts_open += 1
            server.restarts_asked += 1
        try:
            code, headers, answer = self.compute(server, action, method, f"/servers/{server.id}{path}", body)
            if self.is_refused(action, server, code, answer):
                return None
            if action == "evacuate" and not self.in_trouble(time.monotonic()):
                self.ledger.fault("answers", server, "it was to be evacuated from a node that is up, and that was accepted")
            if rng.random() < patient:
                view = self.settle(server, action)
                if view:
                    fault = (view.get("fault") or {}).get("message", "")
                    self.ledger.note(server.id, f"{action} ended: {view['status']} on {view['OS-EXT-SRV-ATTR:host']} {fault[:200]}")
            return headers
        finally:
            if action in RESTARTS:
                server.restarts_open -= 1

    def create(self, rng):
        with self.lock:
            if len(self.servers) + self.creating >= SERVERS_MOST:
                return
            self.creating += 1
            self.made += 1
            name = f"soak-{self.made}"
        try:
            body = {"name": name, "imageRef": self.image, "flavorRef": self.flavors["tiny"],
                    "networks": [{"uuid": self.network}]}
            if rng.random() < 0.5:
                body["host"] = rng.choice(HOSTS)
            began = time.monotonic()
            code, _, answer = self.compute(None, "create", "POST", "/servers", {"server": body})
            if self.is_refused("create", None, code, answer):
                return
            server = Tracked(answer["server"]["id"], name)
            with self.lock:
                self.servers[server.id] = server
            self.ledger.note(server.id, f"create on {body.get('host')}: {code}")
            view = self.settle(server, "create")
            if view:
                self.identify(server, view)
                fault = (view.get("fault") or {}).get("message", "")
                self.ledger.note(server.id, f"created: {view['status']} on {view['OS-EXT-SRV-ATTR:host']} {fault[:200]}")
                if view["status"] == "ERROR" and not self.in_trouble(began):
                    self.ledger.fault("errors", server, f"create: {fault}")
        finally:
            with self.lock:
                self.creating -= 1

    @staticmethod
    def identify(server, view):
        server.domain = view["OS-EXT-SRV-ATTR:instance_name"]
        server.address = next((a["addr"] for net in view["addresses"].values() for a in net), None)

    def delete(self, server, rng, patient=1.0):
        if self.act(server, "delete", None, rng, path="", method="DELETE", patient=0) is None:
            return
        end = time.monotonic() + HANG_S
        while rng.random() < patient and time.monotonic() < end:
            view = self.view(server)
            if view == {}:
                self.ledger.note(server.id, "gone")
                server.gone = True
                with self.lock:
                    self.servers.pop(server.id, None)
                return
            time.sleep(0.4)
        self.ledger.fault("hangs", server, f"delete: it is still there after {HANG_S} s")

    def move(self, server, rng, patient=0.6):
        host = rng.choice([None, *HOSTS])
        headers = self.act(server, "move", {"os-migrateLive": {"host": host, "block_migration": "auto"}}, rng, patient=patient)
        if headers:
            self.ledger.note(server.id, f"move {headers.get('X-Godwit-Migration')} to {host}")
        return headers and headers.get("X-Godwit-Migration")

    def under_way(self, server):
        code, _, answer = self.compute(server, "migrations", "GET", f"/servers/{server.id}/migrations")
        return answer["migrations"][-1]["id"] if code == 200 and answer["migrations"] else None

    def abort(self, server, rng, number=None):
        number = number or self.under_way(server)
        if number:
            self.act(server, "abort", None, rng, f"/migrations/{number}", "DELETE")

    def force(self, server, rng, number=None):
        number = number or self.under_way(server)
        if number:
            self.act(server, "force-complete", {"force_complete": None}, rng, f"/migrations/{number}/action")

    def move_and(self, server, rng, then):
        """A move that would take long, and what ends it."""
        if server.address:
            guest_ask(server.address, "dirty 40 64")
        number = self.move(server, rng, patient=0)
        if number:
            time.sleep(rng.choice((0, rng.uniform(0, 1), rng.uniform(1, 4))))
            then(server, rng, number)
        if server.address:
            guest_ask(server.address, "dirty 0 16")
        self.settle(server, "move")

    def one(self, server, action, rng):
        """One action on a server."""
        base = {"move-abort": "abort", "move-force": "force-complete"}.get(action, action)
        if base in self.unsupported:
            return
        if action == "move":
            self.move(server, rng)
        elif action == "move-abort":
            self.move_and(server, rng, self.abort)
        elif action == "move-force":
            self.move_and(server, rng, self.force)
        elif action == "abort":
            self.abort(server, rng)
        elif action == "force-complete":
            self.force(server, rng)
        elif action == "delete":
            self.delete(server, rng)
        elif action == "resize":
            flavor = rng.choice(sorted(self.flavors))
            self.act(server, f"{action}", {"resize": {"flavorRef": self.flavors[flavor]}}, rng)
        elif action == "attach":
            self.attach(server, rng)
        elif action == "detach":
            self.detach(server, rng)
        elif action == "check":
            self.check_volume(server, rng)
        elif action == "dirty":
            if server.address:
                guest_ask(server.address, f"dirty {rng.choice((0, 4, 10))} 24")
        else:
            self.act(server, action, BODIES[action], rng)

    # ---- volumes

    def volume_view(self, volume):
        code, _, answer = self.storage("volume", "GET", f"/volumes/{volume.id}")
        return answer["volume"] if code == 200 else {} if code == 404 else None

    def volume_settle(self, volume, what, seconds=HANG_S):
        end = time.monotonic() + seconds
        view = None
        while time.monotonic() < end:
            view = self.volume_view(volume)
            if view == {} or view and view["status"] in ("available", "in-use", "error"):
                return view
            time.sleep(0.4)
        self.ledger.fault("hangs", None, f"{what} of volume {volume.id}: after {seconds:.0f} s it is {view and view['status']}")
        return view

    def create_volume(self):
        with self.lock:
            if len(self.volumes) >= VOLUMES_MOST:
                return
        code, _, answer = self.storage("volume-create", "POST", "/volumes", {"volume": {"size": 1, "name": "soak"}})
        self.counts["volume-create", code] += 1
        if code != 202:
            return
        volume = TrackedVolume(answer["volume"]["id"])
        with self.lock:
            self.volumes[volume.id] = volume
        began = time.monotonic()
        view = self.volume_settle(volume, "create")
        if view and view["status"] == "error" and not self.in_trouble(began):
            self.ledger.fault("errors", None, f"volume {volume.id} could not be made: {view}")

    def some_volume(self, rng):
        with self.lock:
            there = [v for v in self.volumes.values() if not v.gone]
        return rng.choice(there) if there else None

    def attach(self, server, rng):
        volume = self.some_volume(rng)
        if not volume:
            return
        code, _, answer = self.compute(server, "attach", "POST", f"/servers/{server.id}/os-volume_attachments",
                                       {"volumeAttachment": {"volumeId": volume.id}})
        self.ledger.note(server.id, f"attach {volume.serial}")
        if not self.is_refused("attach", server, code, answer):
            view = self.volume_settle(volume, "attach")
            self.ledger.note(server.id, f"attach {volume.serial} ended: {view and view['status']}")
            if view and view["status"] == "in-use":
                self.check_volume(server, rng, volume)

    def detach(self, server, rng):
        code, _, answer = self.compute(server, "attachments", "GET", f"/servers/{server.id}/os-volume_attachments")
        if code != 200 or not answer["volumeAttachments"]:
            return
        volume = self.volumes.get(rng.choice(answer["volumeAttachments"])["volumeId"])
        if volume:
            code, _, answer = self.compute(server, "detach", "DELETE", f"/servers/{server.id}/os-volume_attachments/{volume.id}")
            self.ledger.note(server.id, f"detach {volume.serial}")
            if not self.is_refused("detach", server, code, answer):
                view = self.volume_settle(volume, "detach")
                volume.stuck = bool(view) and view["status"] == "in-use"
                self.ledger.note(server.id, f"detach {volume.serial} ended: {view and view['status']}")
                if view and view["status"] == "available" and rng.random() < 0.2:
                    self.delete_volume(volume)

    def delete_volume(self, volume):
        with volume.lock:
            code, _, _ = self.storage("volume-delete", "DELETE", f"/volumes/{volume.id}")
            self.counts["volume-delete", code] += 1
            if code != 202:
                return
            volume.gone = True
            if self.volume_settle(volume, "delete") == {}:
                with self.lock:
                    self.volumes.pop(volume.id, None)
            else:
                volume.gone = False

    def check_volume(self, server, rng, volume=None):
        """Read back what a guest wrote onto a volume, wherever it is now; then write something else."""
        volume = volume or self.some_volume(rng)
        if not volume or not server.address or not volume.lock.acquire(timeout=1):
            return
        try:
            if volume.seed is not None:
                answer = guest_ask(server.address, f"disk-check {volume.serial}", 20)
                self.judge_volume(server, volume, answer)
                if not (answer or "").startswith("{"):
                    return
            if volume.seed is None or rng.random() < 0.5:
                seed, volume.seed = rng.randrange(1, 1 << 30), None
                end = time.monotonic() + 8  # a guest takes a moment to see a new disk
                while True:
                    answer = guest_ask(server.address, f"disk-write {volume.serial} {seed} 4", 20) or ""
                    if "no disk" not in answer or time.monotonic() > end:
                        break
                    time.sleep(0.7)
                if answer.startswith("{"):
                    volume.seed = seed
                self.ledger.note(server.id, f"disk-write {volume.serial} {seed}: {answer}")
        finally:
            volume.lock.release()

    def judge_volume(self, server, volume, answer):
        """No answer and no such disk are no faults: the server may be anywhere just now."""
        self.ledger.note(server.id, f"disk-check {volume.serial} (seed {volume.seed}): {answer}")
        if answer and ("are wrong" in answer or answer.startswith("{") and json.loads(answer)["seed"] != volume.seed):
            self.ledger.fault("data", server, f"volume {volume.id}, written with seed {volume.seed}: {answer}")

    # ---- threads

    def client(self, number):
        rng = random.Random(f"{self.seed}/client{number}")
        while not self.over.is_set():
            with self.lock:
                there = [s for s in self.servers.values() if not s.gone]
                few = len(there) < SERVERS_MOST
            if few and (not there or rng.random() < 0.25):
                self.create(rng)
            elif rng.random() < 0.08:
                self.create_volume()
            else:
                self.turn(rng.choice(there), rng)
            self.over.wait(rng.uniform(0.1, 1.2))

    def turn(self, server, rng):
        view = self.view(server)
        if view == {}:
            server.gone = True
            with self.lock:
                self.servers.pop(server.id, None)
        if not view:
            return
        if not server.address:
            self.identify(server, view)
        suited = SUITED.get(view["status"], MOVING)
        action = rng.choice(ANYTHING) if rng.random() < 1 / 6 else rng.choices(list(suited), list(suited.values()))[0]
        self.one(server, action, rng)

    def watcher(self):
        """Asks the guests for their counters, and looks for what stands still."""
        while not self.over.wait(1.0):
            with self.lock:
                there = list(self.servers.values())
            for server in there:
                self.look(server)

    def look(self, server):
        if self.blind:
            return
        asked, quiet = server.restarts_asked, server.restarts_open == 0 and self.restart_everything == 0
        view = self.view(server)
        if not view:
            return
        state = view["OS-EXT-STS:task_state"]
        if state != server.busy_since[0]:
            server.busy_since, server.said_stuck = (state, time.monotonic()), False
        elif state and time.monotonic() - server.busy_since[1] > STUCK_S and not server.said_stuck:
            server.said_stuck = True
            self.ledger.fault("hangs", server, f"task_state {state} for {STUCK_S} s, status {view['status']}")
        if view["status"] not in ("ACTIVE", "MIGRATING", "VERIFY_RESIZE") or not server.address:
            return
        answer = guest_ask(server.address, "status", 0.6)
        if self.blind or not answer or server.gone or "delete" == state:
            return
        self.judge_guest(server, json.loads(answer))
        if quiet and state is None and server.restarts_asked == asked and self.restart_everything == 0:
            server.may_restart = False

    def judge_guest(self, server, seen):
        anew = seen["boot_seq"] != server.boot or seen["uptime_ms"] < server.uptime
        if seen["errors"] > (0 if anew else server.errors):
            self.ledger.fault("data", server, f"the guest found errors: {seen}")
        if anew and server.uptime:
            self.ledger.note(server.id, f"booted, was at record {server.seq}: {seen}")
            if not server.may_restart:
                self.ledger.fault("restarts", server, f"its guest was started anew though nobody asked for that: {seen}")
            if seen["boot_seq"] < server.seq:
                self.ledger.fault("data", server, f"record {server.seq} was on its disk, the next boot found only {seen['boot_seq']}")
        elif not anew and seen["seq"] < server.seq:
            self.ledger.fault("data", server, f"its counter went back from {server.seq}: {seen}")
        server.seq, server.boot = max(seen["seq"], server.seq), seen["boot_seq"]
        server.uptime, server.errors = seen["uptime_ms"], seen["errors"]

    def sampler(self):
        """Memory and descriptors of godwitd every ten seconds."""
        while not self.over.wait(10):
            self.sample()

    def sample(self):
        try:
            pid = controller_pid()
            with open(f"/proc/{pid}/status", encoding="ascii") as f:
                resident = int(re.search(r"^VmRSS:\s+(\d+)", f.read(), re.M)[1])
            fds = len(os.listdir(f"/proc/{pid}/fd"))
        except (OSError, ValueError, TypeError):
            return  # it is being killed just now
        if not self.samples or self.samples[-1][0] != pid:
            self.samples.append((pid, []))
        self.samples[-1][1].append((resident, fds))

    # ---- the run

    def configure(self):
        """Settings that the seed decides on, and a short patience with guests that do not shut down."""
        rng = random.Random(f"{self.seed}/settings")
        postcopy, resume = rng.random() < 0.5, rng.random() < 0.5
        config = os.path.join(state_dir(), "godwit", "godwit.conf")
        with open(config, encoding="utf-8") as f:
            text = f.read()
        if "shutdown_timeout" in text:
            return  # a lab that was up already, from a run before
        text = text.replace("[libvirt]\n", f"[libvirt]\nlive_migration_permit_post_copy = {postcopy}\n")
        text = text.replace("[godwit]\n", "[godwit]\nshutdown_timeout = 15\n")
        with open(config, "w", encoding="utf-8") as f:
            f.write(text + f"\n[rescue]\nresume_guests_state_on_host_boot = {resume}\n")
        say(f"moves may end by post-copy: {postcopy}; guests are resumed when their node is booted: {resume}")
        lab("controller", "kill")
        lab("controller", "start")

    def prepare(self):
        self.configure()
        self.ends_before = len(controller_ends())
        self.image = self.cloud.get("/image/v2/images?name=guest")["images"][0]["id"]
        self.network = self.cloud.get("/network/v2.0/networks?name=lab")["networks"][0]["id"]
        for name, vcpus, ram, disk in (("soak-more", 2, 288, 1), ("soak-disk", 1, 256, 2)):
            code, _, answer = self.cloud.compute("POST", "/flavors", {"flavor": {"name": name, "vcpus": vcpus, "ram": ram, "disk": disk}})
            if code not in (200, 409):  # 409: there since a run before
                raise Broken(f"flavor {name}: {code} {answer}")
        self.flavors = {f["name"]: f["id"] for f in self.cloud.get("/compute/v2.1/flavors")["flavors"]
                        if f["name"] in ("tiny", "soak-more", "soak-disk")}
        for host in HOSTS:
            lab("link", host, LINK)

    def kept(self, name, body, *arguments):
        """A thread's body; one that breaks off is a failure of the soak."""
        try:
            body(*arguments)
        except Exception:  # whatever it is, the others go on
            self.ledger.fault("lab", None, f"{name} broke off: {traceback.format_exc(limit=-3)}")

    def run(self, seconds, clients):
        rng = random.Random(f"{self.seed}/first")
        for _ in range(3):
            self.create(rng)
            self.create_volume()
        for server in list(self.servers.values()):
            self.attach(server, rng)
        jobs = [(f"client{n}", self.client, n) for n in range(clients)]
        jobs += [("watcher", self.watcher), ("sampler", self.sampler), ("faults", self.faults, seconds)]
        threads = [threading.Thread(target=self.kept, args=job, name=job[0], daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.over.wait(min(30, max(0.1, end - time.monotonic()))):
            done = sum(n for (what, code), n in self.counts.items() if code in (200, 202, 204))
            say(f"{self.ledger.at():.0f} s: {done} requests accepted, {len(self.servers)} servers, "
                f"{len(self.volumes)} volumes, {sum(map(len, self.ledger.faults.values()))} faults")
        self.over.set()
        for thread in threads:
            thread.join(HANG_S + 60)
            if thread.is_alive():
                self.ledger.fault("hangs", None, f"{thread.name} does not end")


def is_final(migration):
    return migration["status"] in FINAL
