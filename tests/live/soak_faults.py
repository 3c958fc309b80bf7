# SPDX-License-Identifier: LGPL-2.1-or-later
"""soak_faults: what breaks beneath a soak, one thing after the other: godwitd, a libvirtd, an OSD, a node."""
import random
import subprocess
import time

from livelab import HOSTS, Broken, lab, wait

FAULTS = ("controller", "libvirtd", "osd", "node", "rescue", "cut")


class Faults:
    """The part of a Soak that breaks things, and mends them."""

    def faults(self, seconds):
        """One after the other, each kind as often as the others; godwitd is left alone in the second half, for its memory."""
        rng = random.Random(f"{self.seed}/faults")
        end = time.monotonic() + seconds
        bag = []
        while not self.over.wait(rng.uniform(4, 11)):
            left = end - time.monotonic()
            if not bag:
                bag = list(FAULTS)
                rng.shuffle(bag)
            kind = bag.pop()
            if kind == "controller" and left < seconds * 0.5 or kind in ("node", "rescue", "cut") and left < 45:
                continue
            window = [time.monotonic(), None]
            self.troubles.append(window)
            try:
                getattr(self, "fault_" + kind)(rng)
            except (Broken, OSError, subprocess.SubprocessError) as error:
                self.ledger.fault("lab", None, f"{kind}: {error}")
            finally:
                window[1] = time.monotonic()
                self.counts["fault", kind] += 1
                self.ledger.note(None, f"{kind}: healed")

    def fault_controller(self, rng):
        window = [time.monotonic(), None]
        with self.away_lock:
            self.away.append(window)
        self.ledger.note(None, "godwitd is killed")
        lab("controller", "kill")
        self.kills += 1
        time.sleep(rng.choice((0, rng.uniform(0, 5))))
        lab("controller", "start")
        window[1] = time.monotonic()

    def fault_libvirtd(self, rng):
        host = rng.choice(HOSTS)
        self.ledger.note(None, f"libvirtd of {host} is killed")
        lab("libvirtd", host, "kill")
        time.sleep(rng.choice((0, rng.uniform(0, 6))))
        lab("libvirtd", host, "start")

    def fault_osd(self, rng):
        number = rng.choice("01")
        self.ledger.note(None, f"osd.{number} is killed")
        lab("ceph", "kill-osd", number)
        time.sleep(rng.uniform(1, 12))
        lab("ceph", "start-osd", number)

    def node_gone(self, host, how, *command):
        """From now on its guests may start anew; so may those on their way."""
        self.restart_everything += 1
        with self.lock:
            for server in self.servers.values():
                server.may_restart = True
        self.ledger.note(None, f"{host} {how}")
        lab(*command)

    def node_back(self, host, *command):
        try:
            lab(*command)
            up = wait(lambda: self.host_state(host) == "up", 90, 0.5)
            self.ledger.note(None, f"{host} is back ({' '.join(command)}), it is {self.host_state(host)}")
            if not up:
                self.ledger.fault("hangs", None, f"{host} is back and is not up after 90 s: {self.host_state(host)}")
        finally:
            with self.lock:
                for server in self.servers.values():
                    server.may_restart = True
                    server.restarts_asked += 1
            self.restart_everything -= 1

    def host_state(self, host):
        code, _, answer = self.ask(None, "host", "GET", "/godwit/v1/hosts/" + host)
        return answer["host"]["state"] if code == 200 else None

    def fault_node(self, rng):
        host = rng.choice(HOSTS)
        self.node_gone(host, "is powered off", "kill", host)
        time.sleep(rng.choice((rng.uniform(0, 3), rng.uniform(8, 25))))
        self.node_back(host, "boot", host)

    def rescue_from(self, host, rng):
        """Have what is there started elsewhere, as far as that is permitted."""
        if not wait(lambda: self.host_state(host) == "down", 90, 0.3):
            self.ledger.fault("hangs", None, f"{host} is gone for 90 s, and is {self.host_state(host)}")
            return
        with self.lock:
            there = list(self.servers.values())
        accepted = []
        for server in there:
            if (self.view(server) or {}).get("OS-EXT-SRV-ATTR:host") == host and \
                    self.act(server, "evacuate", {"evacuate": {}}, rng, patient=0) is not None:
                server.restarts_open += 1
                accepted.append(server)
        for server in accepted:
            view = self.settle(server, "evacuate")
            if view:
                self.ledger.note(server.id, f"evacuate ended: {view['status']} on {view['OS-EXT-SRV-ATTR:host']}")
            server.restarts_open -= 1

    def fault_rescue(self, rng):
        """A node is lost, its servers are started elsewhere, and then it comes back."""
        host = rng.choice(HOSTS)
        self.node_gone(host, "is powered off", "kill", host)
        try:
            self.rescue_from(host, rng)
            time.sleep(rng.choice((0, rng.uniform(0, 8))))
        finally:
            self.node_back(host, "boot", host)

    def fault_cut(self, rng):
        """The same with a node that cannot be reached, while its guests run on, and write for as long as nobody shuts them out."""
        host = rng.choice(HOSTS)
        how, command, heal = rng.choice((
            ("is cut off", ("partition", host), ("heal", host)),
            ("is cut off, but not from Ceph", ("partition", host, "--from", "controller,peers"), ("heal", host)),
            ("has lost its libvirtd", ("libvirtd", host, "kill"), ("libvirtd", host, "start"))))
        self.blind += 1
        self.node_gone(host, how, *command)
        try:
            self.rescue_from(host, rng)
            time.sleep(rng.choice((0, rng.uniform(0, 8))))
        finally:
            self.node_back(host, *heal)
            if not wait(lambda: not self.fences(), 90, 0.5):
                self.ledger.fault("hangs", None, f"{host} is back for 90 s, and there are still fences: {self.fences()}")
            self.blind -= 1

    def fences(self):
        code, _, answer = self.ask(None, "fences", "GET", "/godwit/v1/fences")
        return answer["fences"] if code == 200 else [code]
