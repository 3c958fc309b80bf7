# SPDX-License-Identifier: LGPL-2.1-or-later
"""nodes.py: what happens to a domain on the nodes, seen by connections of the bench's own, and what else several benches need there."""
import os
import re
import subprocess
import threading
import time

import libvirt

from measure import ApiError

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAB = os.path.join(TOP, "lab", "lab")
EVENT_WAIT_S = 5


def run(*argv, timeout=120):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode:
        raise ApiError(f"{' '.join(argv)}: {done.stdout}{done.stderr}".strip())
    return done.stdout


def lab_pid(host):
    """A process of the node, to enter it by."""
    found = re.search(rf"^{host}\s+\S+\s+on\s+pid (\d+)", run(LAB, "status"), re.MULTILINE)
    if not found:
        raise ApiError(f"{host} is not on")
    return found[1]


def ask_guest(address, *command, seconds=60):
    """A command to the lab's guest, and its answer."""
    done = subprocess.run([os.path.join(TOP, "lab/guest/ask"), address, *command], capture_output=True, text=True, check=False,
                          env=os.environ | {"ASK_TIMEOUT_S": str(seconds)})
    if done.returncode:
        raise ApiError(f"the guest does not answer to {' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


class Nodes:
    """The bench's own eyes: lifecycle events of one domain on every node."""

    def __init__(self, hosts):
        libvirt.registerErrorHandler(lambda _, e: None, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._run, daemon=True).start()
        self.hosts = hosts
        self.uuid = None
        self.changed = threading.Condition()
        self.seen = {}
        self.calls = {h["name"]: libvirt.open(h["uri"]) for h in hosts}
        self.watching = {h["name"]: libvirt.open(h["uri"]) for h in hosts}
        for name, connection in self.watching.items():
            connection.setKeepAlive(5, 5)
            connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._event, name)

    @staticmethod
    def _run():
        while True:
            libvirt.virEventRunDefaultImpl()

    def _event(self, _, domain, event, detail, name):
        now = time.monotonic()
        if domain.UUIDString() == self.uuid:
            with self.changed:
                self.seen.setdefault((name, event, detail), now)
                self.changed.notify_all()

    def forget(self):
        with self.changed:
            self.seen.clear()

    def time_of(self, name, event, detail):
        """When that was seen since forget(); waits for it."""
        with self.changed:
            if not self.changed.wait_for(lambda: (name, event, detail) in self.seen, EVENT_WAIT_S):
                raise ApiError(f"no event {event}/{detail} of {self.uuid} came from {name}; seen: {sorted(self.seen)}")
            return self.seen[name, event, detail]

    def domain(self, name):
        return self.calls[name].lookupByUUIDString(self.uuid)
