# SPDX-License-Identifier: LGPL-2.1-or-later
"""livelab: what the live tests stand on: TAP, the lab, the cloud's API, guests, and what must always hold.

What a test asserts is looked up where it can be seen independently: in libvirt on the nodes (virsh inside them), in the
guest's own counters (lab/guest/ask), and in the API by raw HTTP. Waiting is bounded everywhere.
"""
import http.client
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
LAB = os.path.join(TOP, "lab", "lab")
ASK = os.path.join(TOP, "lab", "guest", "ask")
HOSTS = ("host1", "host2", "host3")
FINAL = ("completed", "error", "failed", "cancelled", "confirmed", "reverted", "done")
MIB = 1 << 20

count = failures = 0


class Broken(Exception):
    """The test cannot go on."""


def ok(good, name, detail=""):
    global count, failures
    count += 1
    print(f"{'ok' if good else 'not ok'} {count} - {name}", flush=True)
    if not good:
        failures += 1
        for line in str(detail).splitlines()[-12:]:
            print(f"#   {line}", flush=True)
    return bool(good)


def need(good, name, detail=""):
    if not ok(good, name, detail):
        raise Broken(name)
    return good


def say(text):
    print(f"# {text}", flush=True)


def run(*argv, timeout=90, check=True, env=None):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, env=env,
                          check=False)
    if check and done.returncode != 0:
        raise Broken(f"{shlex.join(argv)}: exit {done.returncode}: {done.stdout}{done.stderr}".strip())
    return done


def wait(check, seconds, pause=0.1):
    """The first true value of check, or its last one when the time is over."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value or time.monotonic() > end:
            return value
        time.sleep(pause)


# ---- the lab ------------------------------------------------------------------------------------------------------

def lab(*argv, timeout=120, check=True):
    return run(LAB, *argv, timeout=timeout, check=check).stdout.strip()


def lab_up(*more):
    lab("up", "--hosts", "3", *more, timeout=300)


def lab_down():
    lab("down", check=False)


def lab_env():
    for line in lab("env").splitlines():
        name, value = shlex.split(line.removeprefix("export "))[0].split("=", 1)
        os.environ[name] = value


def state_dir():
    return os.environ["GODWIT_LAB_DIR"]


def is_on(host):
    return bool(re.search(rf"^{host}\s+\S+\s+on ", lab("status"), re.M))


def virsh(host, *argv, check=True, timeout=60):
    return run(LAB, "exec", host, "virsh", "-q", *argv, check=check, timeout=timeout).stdout


def domains(host):
    """Name → state of every domain that the node's libvirt knows."""
    rows = [line.split(None, 2) for line in virsh(host, "list", "--all").splitlines() if line.strip()]
    return {row[1]: row[2].strip() for row in rows}


def controller_log():
    with open(os.path.join(state_dir(), "godwit", "godwitd.log"), encoding="utf-8", errors="replace") as f:
        return f.read()


def controller_restart(pause=0.0):
    lab("controller", "kill")
    time.sleep(pause)
    lab("controller", "start")


class Ping:
    """Answers of a guest every 20 ms; gap() is the longest time between two of them, in ms."""

    def __init__(self, address):
        self.process = subprocess.Popen(["ping", "-n", "-i", "0.02", "-D", address], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)

    def gap(self):
        self.process.terminate()
        out, _ = self.process.communicate(timeout=10)
        times = [float(t) for t in re.findall(r"^\[([0-9.]+)\] .*bytes from", out, re.M)]
        return max((b - a for a, b in zip(times, times[1:])), default=1e6) * 1000, len(times)


# ---- the API ------------------------------------------------------------------------------------------------------

class Cloud:
    def __init__(self):
        self.tls = ssl.create_default_context(cafile=os.environ["OS_CACERT"])
        self.root = os.environ["OS_AUTH_URL"].removesuffix("/identity")
        self.token = None
        user = {"name": os.environ["OS_USERNAME"], "domain": {"name": "Default"}, "password": os.environ["OS_PASSWORD"]}
        scope = {"project": {"name": os.environ["OS_PROJECT_NAME"], "domain": {"name": "Default"}}}
        code, headers, body = self.ask("POST", "/identity/v3/auth/tokens", {"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}})
        if code != 201:
            raise Broken(f"no token: {code} {body}")
        self.token = headers["X-Subject-Token"]
        self.project = body["token"]["project"]["id"]

    def ask(self, method, path, body=None):
        """Status, headers, decoded body."""
        request = urllib.request.Request(self.root + path, method=method,
                                         data=None if body is None else json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        request.add_header("OpenStack-API-Version", "compute 2.92")
        if self.token:
            request.add_header("X-Auth-Token", self.token)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}),
                                             urllib.request.HTTPSHandler(context=self.tls))
        try:
            answer = opener.open(request, timeout=40)
        except urllib.error.HTTPError as error:
            answer = error
        try:
            text = answer.read().decode(errors="replace")
        except http.client.HTTPException as error:  # killed in the middle of an answer
            raise ConnectionResetError(f"{method} {path}: {error}") from error
        return answer.status, answer.headers, json.loads(text) if text[:1] in ("{", "[") else text

    def get(self, path):
        code, _, body = self.ask("GET", path)
        if code != 200:
            raise Broken(f"GET {path}: {code} {body}")
        return body

    def compute(self, method, path, body=None):
        return self.ask(method, "/compute/v2.1" + path, body)

    def host(self, name):
        return self.get("/godwit/v1/hosts/" + name)["host"]

    def open_tasks(self):
        return self.get("/godwit/v1/tasks?open=1")["tasks"]

    def migrations(self):
        return self.get("/godwit/v1/migrations?limit=1000")["migrations"]

    def migration(self, number, since=None, wait_ms=0):
        more = f"?since={since}&wait_ms={wait_ms}" if since is not None else ""
        return self.get(f"/godwit/v1/migrations/{number}{more}")["migration"]

    def follow(self, number, until, seconds):
        """Long poll until a view of the move satisfies until, or is final, or the time is over."""
        end = time.monotonic() + seconds
        view = self.migration(number)
        while not until(view) and not view["ended_at"] and time.monotonic() < end:
            left = max(1, int((end - time.monotonic()) * 1000))
            view = self.migration(number, view["updated_at"], min(left, 5000))
        return view

    def ended(self, number, seconds=90):
        view = self.follow(number, lambda v: False, seconds)
        if view["status"] not in FINAL:
            raise Broken(f"the move is not over after {seconds} s: {json.dumps(view)}")
        return view


def cli(*argv, check=True, timeout=90):
    build = os.environ.get("GODWIT_BUILD", os.path.join(TOP, "build"))
    return run(os.path.join(build, "src", "cli", "godwit"), *argv, check=check, timeout=timeout)


# ---- guests -------------------------------------------------------------------------------------------------------

class Guest:
    """A server that is there; made() makes one."""

    def __init__(self, cloud, number):
        self.cloud, self.id = cloud, number
        view = self.view()
        self.name = view["name"]
        self.domain = view["OS-EXT-SRV-ATTR:instance_name"]
        self.address = next(a["addr"] for net in view["addresses"].values() for a in net)
        self.boot = None
        self.dirtying = False

    @classmethod
    def made(cls, cloud, name, host, network="lab", flavor="tiny", wait_boot=True):
        cli("server", "create", name, "--image", "guest", "--flavor", flavor, "--network", network, "--host", host,
            "--wait")
        guest = cls(cloud, cloud.get(f"/compute/v2.1/servers?name={name}")["servers"][0]["id"])
        if wait_boot:
            guest.booted()
        return guest

    def disks(self):
        """Serial → what the guest says of each of its disks."""
        return {disk["serial"]: disk for disk in json.loads(self.ask("disks"))}

    def ask(self, *command, seconds=10, check=True):
        done = run(ASK, self.address, *command, timeout=seconds + 10, check=check,
                   env={**os.environ, "ASK_TIMEOUT_S": str(seconds)})
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout.strip()

    def dirty(self, *rate_and_size):
        self.dirtying = rate_and_size != (0,)
        self.ask("dirty", *map(str, rate_and_size), seconds=5, check=False)

    def booted(self):
        """It was started on purpose: from now on it must not be again."""
        status = self.ask("status", seconds=60)
        self.boot = status["boot_seq"]
        return status

    def view(self):
        return self.cloud.get("/compute/v2.1/servers/" + self.id)["server"]

    def host(self):
        return self.view()["OS-EXT-SRV-ATTR:host"]

    def is_state(self, status, host=None):
        view = self.view()
        return (view["status"] == status and view["OS-EXT-STS:task_state"] is None and
                (host is None or view["OS-EXT-SRV-ATTR:host"] == host))

    def wait_state(self, status, seconds, host=None):
        return wait(lambda: self.is_state(status, host), seconds, 0.05)

    def action(self, body):
        code, headers, answer = self.cloud.compute("POST", f"/servers/{self.id}/action", body)
        return code, headers, json.dumps(answer)

    def move(self, host):
        """Accepted or Broken; the id of the move."""
        code, headers, answer = self.action({"os-migrateLive": {"host": host, "block_migration": "auto"}})
        if code != 202:
            raise Broken(f"moving {self.name} to {host}: {code} {answer}")
        return int(headers["X-Godwit-Migration"])

    def moved(self, host, seconds=60):
        view = self.cloud.ended(self.move(host), seconds)
        if view["status"] != "completed":
            raise Broken(f"moving {self.name} to {host}: {json.dumps(view)}")
        return view

    def place(self, host):
        """Have it run there, however."""
        if self.is_state("SHUTOFF"):
            self.start()
        if self.host() != host:
            self.moved(host)
        return self

    def start(self):
        code, _, answer = self.action({"os-start": None})
        if code != 202 or not self.wait_state("ACTIVE", 60):
            raise Broken(f"starting {self.name}: {code} {answer} {self.view()['status']}")
        return self.booted()

    def stop(self):
        code, _, answer = self.action({"os-stop": None})
        if code != 202 or not self.wait_state("SHUTOFF", 90):
            raise Broken(f"stopping {self.name}: {code} {answer} {self.view()['status']}")

    def doubt(self):
        """What Godwit says about not knowing where it runs; None: it knows. The action asked for is refused anyway."""
        running = self.view()["status"] != "SHUTOFF"
        _, _, answer = self.action({"os-start": None} if running else {"os-stop": None})
        return answer if "not certain where it runs" in answer else None

    def delete(self):
        self.cloud.compute("DELETE", "/servers/" + self.id)
        wait(lambda: self.cloud.compute("GET", "/servers/" + self.id)[0] == 404, 60)


def places(guest, hosts=None):
    """Where its domain runs, and where else something of it is (host → state), on the nodes that can be asked."""
    running, rest = [], {}
    for host in hosts or HOSTS:
        state = domains(host).get(guest.domain)
        if state == "running":
            running.append(host)
        elif state:
            rest[host] = state
    return running, rest


def runs_once(guest, hosts=None):
    return places(guest, hosts)[0]


# ---- the world of a run ---------------------------------------------------------------------------------------------

class World:
    def __init__(self, *lab_options):
        self.lab_options = lab_options
        self.cloud = None
        self.guests = []
        self.made = 0
        self.own_lab = False

    def up(self):
        self.own_lab = not os.path.islink("/run/godwit-lab")
        if self.own_lab:
            lab_up(*self.lab_options)
        self.fresh()

    def fresh(self):
        lab_env()
        self.cloud = Cloud()
        self.guests = []

    def renew(self):
        """A new lab: what a failed test left must not fail the next ones."""
        say("a new lab, because of the failure")
        lab_down()
        lab_up(*self.lab_options)
        self.fresh()

    def guest(self, host):
        """The first guest on that host; else any moved there; else a new one."""
        for guest in self.guests:
            if guest.is_state("ACTIVE", host):
                return guest
        return self.guests[0].place(host) if self.guests else self.new_guest(host)

    def new_guest(self, host, **more):
        self.made += 1
        guest = Guest.made(self.cloud, f"live-{os.getpid()}-{self.made}", host, **more)
        self.guests.append(guest)
        return guest

    def adopt(self, number):
        """A server that a test made in its own way."""
        guest = Guest(self.cloud, number)
        self.guests.append(guest)
        return guest

    def guests_on(self, *hosts):
        """So many different guests, each on its host."""
        chosen = []
        for host in hosts:
            free = [g for g in self.guests if g not in chosen]
            guest = next((g for g in free if g.is_state("ACTIVE", host)), None) or (free[0].place(host) if free else
                                                                                    self.new_guest(host))
            chosen.append(guest)
        return chosen

    def forget(self, guest):
        guest.delete()
        self.guests.remove(guest)

    # ---- a move that takes its time

    def slow_moves(self, *guests_and_hosts, rate="100mbit", dirty=(4, 16), sent_mib=15):
        """Start moves over slow links at once; their ids, when all are in the middle of the transfer."""
        for guest, to in guests_and_hosts:
            guest.dirty(*dirty)
            for host in (guest.host(), to):
                lab("link", host, rate)
        numbers = [guest.move(to) for guest, to in guests_and_hosts]

        def is_in_transfer(view):
            return view["status"] == "running" and view["memory_processed"] > sent_mib * MIB

        for number in numbers:
            view = self.cloud.follow(number, is_in_transfer, 30)
            if not is_in_transfer(view):
                raise Broken(f"not in the transfer: {json.dumps(view)}")
        return numbers

    def slow_move(self, guest, to, **more):
        return self.slow_moves((guest, to), **more)[0]

    def mend(self):
        """Undo every fault, and have everything connected again."""
        faults = lab("status")
        if "controller" in faults and re.search(r"^controller .* off$", faults, re.M):
            lab("controller", "start")
        for host in HOSTS:
            line = re.search(rf"^{host} .*$", faults, re.M).group()
            if "cut off" in line or "partitioned" in line:
                lab("heal", host)
            if "link " in line:
                lab("link", host, "off")
            if re.match(rf"{host}\s+\S+\s+off", line):
                lab("boot", host)
            elif "libvirtd not running" in line:
                lab("libvirtd", host, "start")
        for daemon in re.findall(r"^(mon|osd)\.(\w+)\s+\S+\s+off", faults, re.M):
            lab("ceph", *(("start-mon",) if daemon[0] == "mon" else ("start-osd", daemon[1])))
        for guest in self.guests:
            if guest.dirtying:
                guest.dirty(0)

    def all_up(self, seconds=60):
        return wait(lambda: all(self.cloud.host(h)["state"] == "up" for h in HOSTS), seconds, 0.2)

    def restart_libvirtd(self, host):
        """Kill and start it, and have the node looked at anew."""
        facts = self.cloud.host(host)["facts_at"]
        lab("libvirtd", host, "kill")
        lab("libvirtd", host, "start")
        need(wait(lambda: self.cloud.host(host)["facts_at"] > facts and self.cloud.host(host)["state"] == "up", 30),
             f"{host} is looked at anew after its libvirtd was killed and started", self.cloud.host(host))

    # ---- what must always hold

    def settled(self, seconds=45):
        """Is nothing under way any more?"""
        return wait(lambda: not self.cloud.open_tasks(), seconds, 0.2)

    def invariants(self):
        need(self.all_up(), "all nodes are up again", [self.cloud.host(h)["state_reason"] for h in HOSTS])
        ok(self.settled(), "no task is open", self.cloud.open_tasks())
        unfinished = [m for m in self.cloud.migrations() if m["status"] not in FINAL or not m["ended_at"]]
        ok(not unfinished, "every move has a final record", unfinished)
        ok(wait(lambda: not self.misplaced(), 10), "each server's domain is where its record says, once, and nowhere else", self.misplaced())
        bad = []
        for guest in self.guests:
            if not guest.is_state("ACTIVE"):
                continue
            status = guest.ask("status", check=False)
            if not isinstance(status, dict) or status["errors"] or status["boot_seq"] != guest.boot:
                bad.append(f"{guest.name} (boot {guest.boot}): {status}")
        ok(not bad, "every guest answers, was not restarted, and found no error in its data", "\n".join(bad))

    def misplaced(self):
        there = {host: domains(host) for host in HOSTS}
        servers = self.cloud.get("/compute/v2.1/servers/detail?all_tenants=1")["servers"]
        known = {server["OS-EXT-SRV-ATTR:instance_name"] for server in servers}
        wrong = [f"{name} on {host} is no server's" for host, found in there.items() for name in found
                 if name.startswith("instance-") and name not in known]
        for guest in self.guests:
            view = guest.view()
            here = {h: d[guest.domain] for h, d in there.items() if guest.domain in d}
            home = view["OS-EXT-SRV-ATTR:host"]
            expected = {"ACTIVE": {home: "running"}, "PAUSED": {home: "paused"},
                        "SHUTOFF": {home: "shut off"}}.get(view["status"])
            if here != expected:
                wrong.append(f"{guest.name}: record {view['status']} on {home}, nodes {here}, doubt {guest.doubt()}")
        return "\n".join(wrong)

    def keep_logs(self, name):
        """GODWIT_LIVE_LOGS: a directory that takes the logs of a failed test."""
        where = os.environ.get("GODWIT_LIVE_LOGS")
        if not where:
            return
        os.makedirs(where, exist_ok=True)
        shutil.copy(os.path.join(state_dir(), "godwit", "godwitd.log"), os.path.join(where, f"{name}-godwitd.log"))
        for host in HOSTS:
            log = os.path.join(state_dir(), "nodes", host, "var", "log", "libvirt", "libvirtd.log")
            if os.path.exists(log):
                shutil.copy(log, os.path.join(where, f"{name}-{host}-libvirtd.log"))
