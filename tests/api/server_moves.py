# SPDX-License-Identifier: LGPL-2.1-or-later
"""server_moves: what an operator does to servers around a move, by the unmodified clients: pause, suspend, lock, the
state by hand, resize, cold migration, confirm and revert, abort and force-complete, evacuation. A part of tests/api/run,
which hands over its own helpers as `api`.

One server is nova's, one openstack's, each with a thread of its own: the clients start slowly. What needs hands on the nodes
(a slow link, a dead node) is done where the cloud is the lab, and left out elsewhere.
"""
import os
import subprocess
import threading

from server_volumes import Guest

HERE = os.path.dirname(os.path.abspath(__file__))
LAB = os.path.join(HERE, "..", "..", "lab", "lab")
MARK = "/run/godwit-lab"
SLOW = "5mbit"  # a move of a guest that has booted takes a minute and more


def lab(*argv):
    return subprocess.run([LAB, *argv], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


class Operator:
    """One server and one client."""

    def __init__(self, part, client):
        self.part, self.api, self.cloud = part, part.api, part.cloud
        self.client = client
        self.name = f"{part.name}-{client}"
        self.id = None
        self.guest = None

    # ---- helpers ----

    def create(self, host=None):
        body = {"name": self.name, "imageRef": self.part.image, "flavorRef": self.part.flavors["tiny"],
                "networks": [{"uuid": self.part.network}]}
        if host:
            body["host"] = host
        code, _, answer = self.cloud.ask("POST", "/servers", {"server": body}, version="2.74")
        self.id = answer["server"]["id"] if code == 202 else None
        return self.id

    def row(self):
        return self.cloud.ask("GET", f"/servers/{self.id}", version="2.92")[2]["server"]

    def host(self):
        return self.row()["OS-EXT-SRV-ATTR:host"]

    def becomes(self, status, what, seconds=90):
        row = self.api.wait(self.api.server_is(self.cloud, self.id, status), seconds, 0.2)
        self.api.ok(row, f"{self.client}: {status} {what}", self.row())
        return row

    def booted(self):
        """A guest that has not booted does not hear that it is to power off, and has little to move."""
        if self.guest is None:
            addresses = [a["addr"] for network in self.row()["addresses"].values() for a in network]
            self.guest = Guest(addresses[0])
        return self.api.wait(lambda: self.guest.ask("status", seconds=5), 60)

    def run(self, nova, osc, *patterns, version=None):
        """The command of whichever client this is; the server's name comes last."""
        if self.client == "nova":
            argv, call = nova, self.api.nova
        else:
            argv, call = osc, self.api.osc
        said = f"{self.client} {' '.join(argv)}"
        before = ["--os-compute-api-version", version] if version and self.client != "nova" else []
        if "NAME" in argv:
            argv = [self.name if word == "NAME" else word for word in argv]
        else:
            argv = [*argv, self.name]
        return self.api.expect(call(*before, *argv, timeout=180), said, *patterns)

    def last_migration(self):
        code, _, body = self.cloud.ask("GET", f"/os-migrations?instance_uuid={self.id}", version="2.92")
        return body["migrations"][0] if code == 200 and body["migrations"] else {}

    def migration_is(self, kind, status, seconds=30):
        found = self.api.wait(lambda: self.last_migration().get("status") == status, seconds)
        row = self.last_migration()
        self.api.ok(found and row["migration_type"] == kind, f"{self.client}: its migration is {kind}, {status}", row)
        return row

    # ---- parts ----

    def still(self):
        """pause, suspend, lock, the state by hand: by the client that starts sooner"""
        if self.client != "nova":
            return
        for verb, status in (("pause", "PAUSED"), ("unpause", "ACTIVE"), ("suspend", "SUSPENDED"),
                             ("resume", "ACTIVE")):
            self.run([verb], [])
            self.becomes(status, f"after {verb}")
        self.run(["lock", "--reason", "audit"], [])
        row = self.row()
        self.api.ok(row["locked"] and row["locked_reason"] == "audit", f"{self.client}: locked, with the reason", row)
        self.run(["unlock"], [])
        self.api.ok(not self.row()["locked"], f"{self.client}: unlocked")
        self.run(["reset-state"], [])
        self.becomes("ERROR", "by hand")
        self.run(["reset-state", "--active"], [])
        self.becomes("ACTIVE", "by hand")

    def resize(self):
        """nova confirms what openstack reverts, and the other way round"""
        nova = self.client == "nova"
        before = self.host()
        self.booted()
        self.run(["resize", "NAME", "small"], ["server", "resize", "--flavor", "small"])
        row = self.becomes("VERIFY_RESIZE", "after resize")
        self.api.ok(row and row["flavor"]["ram"] == 512, f"{self.client}: with the new flavor", row)
        move = self.migration_is("resize", "finished")
        self.api.ok(move.get("old_instance_type_id") != move.get("new_instance_type_id"),
                    f"{self.client}: from one flavor to another", move)
        if not nova:
            self.booted()
        self.run(["resize-confirm"], ["server", "resize", "revert"])
        row = self.becomes("ACTIVE", "after its confirm" if nova else "after its revert")
        self.api.ok(row and row["flavor"]["ram"] == (512 if nova else 256) and
                    (nova or row["OS-EXT-SRV-ATTR:host"] == before), f"{self.client}: as it was to be", row)
        self.migration_is("resize", "confirmed" if nova else "reverted")

    def cold(self):
        nova = self.client == "nova"
        before = self.host()
        other = self.api.other_hosts(before)[0]
        self.booted()
        self.run(["migrate", "--host", other], ["server", "migrate", "--host", other], version="2.56")
        row = self.becomes("VERIFY_RESIZE", "after migrate")
        self.api.ok(row and row["OS-EXT-SRV-ATTR:host"] == other, f"{self.client}: on {other}", row)
        if nova:
            self.booted()
        self.run(["resize-revert"], ["server", "migration", "confirm"])
        row = self.becomes("ACTIVE", "after its revert" if nova else "after its confirm")
        self.api.ok(row and row["OS-EXT-SRV-ATTR:host"] == (before if nova else other),
                    f"{self.client}: where it was to be", row)
        self.migration_is("migration", "reverted" if nova else "confirmed")

    def start_move(self, target):
        code, headers, body = self.cloud.ask("POST", f"/servers/{self.id}/action", {
            "os-migrateLive": {"host": target, "block_migration": "auto"}}, version="2.92")
        if not self.api.ok(code == 202, f"{self.client}: a live migration to {target}", body):
            return None
        move = headers["X-Godwit-Migration"]
        path = f"/servers/{self.id}/migrations/{move}"
        runs = self.api.wait(lambda: self.cloud.ask("GET", path, version="2.92")[2].get("migration", {}).get(
            "status") == "running", 30, 0.1)
        self.api.ok(runs, f"{self.client}: it runs", self.last_migration())
        return move

    def abort(self, target):
        before = self.host()
        move = self.start_move(target)
        if move is None:
            return
        if self.client == "nova":
            self.run(["server-migration-list"], [], rf"\b{move}\b.*{before}.*running")
        else:
            self.run([], ["server", "migration", "show", "NAME", move], r"running", version="2.59")
        self.run(["live-migration-abort", "NAME", move], ["server", "migration", "abort", "NAME", move],
                 version="2.24")
        row = self.becomes("ACTIVE", "after the abort")
        self.api.ok(row and row["OS-EXT-SRV-ATTR:host"] == before, f"{self.client}: where it was", row)
        self.migration_is("live-migration", "cancelled")

    def force(self, target):
        move = self.start_move(target)
        if move is None:
            return
        self.run(["live-migration-force-complete", "NAME", move],
                 ["server", "migration", "force", "complete", "NAME", move], version="2.22")

    def forced(self, target):
        row = self.becomes("ACTIVE", "after force-complete")
        self.api.ok(row and row["OS-EXT-SRV-ATTR:host"] == target, f"{self.client}: on {target}", row)
        move = self.migration_is("live-migration", "completed")
        url = self.cloud.urls["compute"].split("/compute/")[0] + f"/godwit/v1/migrations/{move.get('id')}"
        code, _, body = self.cloud.ask("GET", url)
        self.api.ok(code == 200 and body["migration"]["wish"] == "force-complete" and
                    body["migration"]["forced"] in ("pause", "post-copy"),
                    f"{self.client}: Godwit tells which way", body)


class Part:
    def __init__(self, cloud, api):
        self.cloud, self.api = cloud, api
        self.name = api.PREFIX + "move"
        self.flavors = {row["name"]: row["id"] for row in cloud.ask("GET", "/flavors")[2]["flavors"]}
        self.image = cloud.ask("GET", f"{cloud.urls['image']}/v2/images?name=guest")[2]["images"][0]["id"]
        self.network = cloud.ask("GET", f"{cloud.urls['network']}/v2.0/networks?name=lab")[2]["networks"][0]["id"]
        self.operators = [Operator(self, "nova"), Operator(self, "openstack")]
        self.made = list(self.operators)

    def together(self, *names, arguments=()):
        """Each operator does the parts named, in their order, beside the other."""
        def run(operator):
            for name in names:
                try:
                    getattr(operator, name)(*arguments)
                except Exception as error:  # pylint: disable=broad-except
                    self.api.ok(False, f"{operator.client}: {name}", repr(error))

        threads = [threading.Thread(target=run, args=(operator,)) for operator in self.operators]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def test_wrong(self):
        """Refused, each with its status, and nothing changed."""
        one = self.operators[0]
        action, before = f"/servers/{one.id}/action", one.row()
        host = before["OS-EXT-SRV-ATTR:host"]

        def refused(name, status, body, message="", version="2.92", method="POST", path=action):
            self.api.refused(self.cloud, name, status, method, path, body, message, version=version)

        same = next(i for n, i in self.flavors.items() if n == before["flavor"]["original_name"])
        refused("resize to the same flavor", 400, {"resize": {"flavorRef": same}}, "flavor")
        refused("resize to an unknown flavor", 400, {"resize": {"flavorRef": "no-such"}}, "no-such")
        refused("confirm without a resize", 409, {"confirmResize": None}, "vm_state")
        refused("revert without a resize", 409, {"revertResize": None}, "vm_state")
        refused("cold migration to the same host", 400, {"migrate": {"host": host}}, host)
        refused("cold migration to an unknown host", 400, {"migrate": {"host": "mars"}}, "mars")
        refused("evacuation from a live host", 400, {"evacuate": {}}, "still in use")
        refused("evacuation to the same host", 400, {"evacuate": {"host": host}}, "same")
        refused("unpause of what is not paused", 409, {"unpause": None}, "vm_state")
        refused("resume of what is not suspended", 409, {"resume": None}, "vm_state")
        refused("abort of a move that has ended", 409, None, "no live migration", method="DELETE",
                path=f"/servers/{one.id}/migrations/{one.last_migration().get('id', 1)}")
        code, _, flavor = self.cloud.ask("POST", "/flavors", {"flavor": {
            "name": self.api.PREFIX + "flavor", "ram": 10 ** 7, "vcpus": 1, "disk": 1}})
        self.api.ok(code == 200, "a flavor that no host can hold", flavor)
        refused("resize to it", 400, {"resize": {"flavorRef": flavor["flavor"]["id"]}}, "No valid host")
        self.cloud.ask("DELETE", f"/flavors/{flavor['flavor']['id']}")
        for view in (before, after := one.row()):
            view.pop("updated")
        self.api.ok(before == after, "none of it changed the server", f"{before}\n{after}")

    def test_live(self, target):
        for operator in self.operators:
            operator.booted()
        sources = {operator.host() for operator in self.operators}
        for host in sources:
            lab("link", host, SLOW)
        try:
            self.together("abort", "force", arguments=(target,))
        finally:
            for host in sources:
                lab("link", host, "off")
        self.together("forced", arguments=(target,))

    # ---- a dead node ----

    def fence_command(self):
        """What the lab needs on a shared directory: its nodes are off when `lab kill` says so."""
        conf = os.path.join(os.path.realpath(MARK), "godwit", "godwit.conf")
        with open(conf, encoding="utf-8") as file:
            text = file.read()
        if "fence_command" in text or "driver = rbd" in text:
            return
        with open(conf, "a", encoding="utf-8") as file:
            file.write("\n[rescue]\nfence_command = /bin/true\n")
        lab("controller", "kill")
        lab("controller", "start")

    def test_dead(self, target):
        api, cloud = self.api, self.cloud
        one, two = self.operators
        third, fourth = more = [Operator(self, "third"), Operator(self, "fourth")]
        self.made += more
        for operator in more:
            api.ok(operator.create(host=target), f"a {operator.client} server on {target}")
        for operator in more:
            operator.becomes("ACTIVE", "at first")
        self.fence_command()
        lab("kill", target)
        code, _, body = cloud.ask("GET", f"/os-services?host={target}&binary=nova-compute", version="2.92")
        service = body["services"][0]["id"]
        api.expect(api.nova("service-force-down", service), "nova service-force-down", "True")
        api.expect(api.nova("evacuate", one.name, api.other_hosts(target)[0]), "nova evacuate NAME HOST")
        # This client fails after its request has succeeded, whatever the answer.
        code, out, err = api.osc("server", "evacuate", two.name)
        api.ok(code == 0 or "TupleWithMeta" in err, "openstack server evacuate", out + err)
        code, _, body = cloud.ask("POST", f"/servers/{fourth.id}/action", {"evacuate": {}}, version="2.95")
        api.ok(code == 200 and not body, "evacuate at 2.95", body)
        api.expect(api.nova("host-evacuate", target), "nova host-evacuate", rf"{third.id}.*True")
        row = fourth.becomes("SHUTOFF", "after the evacuation at 2.95")
        api.ok(row and row["OS-EXT-SRV-ATTR:host"] != target, f"fourth: not on {target}", row)
        for operator in (one, two, third):
            row = operator.becomes("ACTIVE", "after the evacuation")
            api.ok(row and row["OS-EXT-SRV-ATTR:host"] != target, f"{operator.client}: not on {target}", row)
        row = one.row()
        api.ok(row["OS-EXT-SRV-ATTR:host"] == api.other_hosts(target)[0], "on the host that was named", row)
        lab("boot", target)
        api.expect(api.nova("service-force-down", "--unset", service), "nova service-force-down --unset")
        api.ok(api.wait(lambda: cloud.ask("GET", f"/os-services?host={target}&binary=nova-compute",
                                          version="2.92")[2]["services"][0]["state"] == "up", 60, 0.5),
               f"{target} is back")
        for operator in self.made:
            operator.migration_is("evacuation", "completed", 60)

    def run(self):
        api = self.api
        for operator in self.made:
            api.ok(operator.create(), f"a server for {operator.client}")
        for operator in self.made:
            operator.becomes("ACTIVE", "at first")
        try:
            self.test_wrong()
            self.together("still", "resize", "cold")
            if not os.path.exists(MARK):
                api.ok(True, "abort, force-complete, evacuate # SKIP the cloud is not the lab: its nodes cannot be touched")
                return
            hosts = {operator.host() for operator in self.operators}
            target = next(h for h in ("host1", "host2", "host3") if h not in hosts)
            self.test_live(target)
            self.test_dead(target)
        finally:
            for operator in self.made:
                self.cloud.ask("DELETE", f"/servers/{operator.id}")
            for operator in self.made:
                api.ok(api.wait(api.server_is(self.cloud, operator.id, "gone"), 60), f"{operator.client}: deleted")


def test_server_moves(cloud, api):
    Part(cloud, api).run()
