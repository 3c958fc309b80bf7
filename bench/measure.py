# SPDX-License-Identifier: LGPL-2.1-or-later
"""measure.py: what the benchmarks share: one kept HTTPS connection to Godwit, the machine's line, medians."""
import http.client
import json
import os
import platform
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import time

COMPUTE = "/compute/v2.1"
IDLE_S = 20  # godwitd closes a connection that was idle for 30 s


class ApiError(Exception):
    pass


class Api:
    """One TLS connection, kept alive, with a token. Not for several threads: each takes one of its own (again())."""

    def __init__(self, address, port, ca, token=None):
        self.address, self.port, self.ca, self.token = address, port, ca, token
        self.connection = http.client.HTTPSConnection(
            address, port, context=ssl.create_default_context(cafile=ca), timeout=60)
        self.open()

    def open(self):
        self.connection.close()
        self.connection.connect()
        self.used = time.monotonic()
        # A request is two small segments; the second must not wait for the first one's acknowledgement.
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def from_environment(cls):
        url = re.fullmatch(r"https://([^/:]+):(\d+)/identity(?:/v3)?/?", os.environ.get("OS_AUTH_URL", ""))
        if not url:
            raise ApiError('OS_AUTH_URL is not that of a godwitd; with the lab up: eval "$(lab/lab env)"')
        api = cls(url[1], int(url[2]), os.environ["OS_CACERT"])
        api.log_in(os.environ["OS_USERNAME"], os.environ["OS_PASSWORD"], os.environ["OS_PROJECT_NAME"])
        return api

    def again(self):
        return Api(self.address, self.port, self.ca, self.token)

    def log_in(self, user, password, project):
        domain = {"id": "default"}
        body = {"auth": {
            "identity": {"methods": ["password"],
                         "password": {"user": {"name": user, "password": password, "domain": domain}}},
            "scope": {"project": {"name": project, "domain": domain}}}}
        _, headers = self.call("POST", "/identity/v3/auth/tokens", body)
        self.token = headers["X-Subject-Token"]

    def call(self, method, path, body=None, raw=None):
        """Returns (decoded JSON or None, headers); any answer but 2xx is an ApiError."""
        headers = {"Accept": "application/json"}
        if self.token:
            headers["X-Auth-Token"] = self.token
        if path.startswith(COMPUTE):
            headers["OpenStack-API-Version"] = "compute 2.92"
        data = raw
        if raw is not None:
            headers["Content-Type"] = "application/octet-stream"
        elif body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body)
        if time.monotonic() - self.used > IDLE_S:
            self.open()
        self.connection.request(method, path, data, headers)
        answer = self.connection.getresponse()
        content = answer.read()
        self.used = time.monotonic()
        if not 200 <= answer.status < 300:
            raise ApiError(f"{method} {path}: {answer.status} {content.decode(errors='replace')}")
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return (json.loads(content) if is_json and content else None), answer.headers

    def get(self, path):
        return self.call("GET", path)[0]

    def post(self, path, body):
        return self.call("POST", path, body)[0]


def first_line(*command):
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().split("\n")[0]


def machine():
    """Cores, processor, kernel: what a figure means nothing without."""
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{len(os.sched_getaffinity(0))} cores ({model}), {platform.system()} {platform.release()}"


def load():
    return "load " + " ".join(f"{x:.2f}" for x in os.getloadavg())


def spread(values, digits=2):
    """median (min–max)"""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def verdict(name, value, target, digits=2, unit=""):
    """One line on a target. Information: a busy machine misses targets that an idle one meets."""
    word = "PASS" if value <= target else "OVER"
    return f"  {word}  {name}: {value:.{digits}f}{unit}, target at most {target:g}{unit}"
