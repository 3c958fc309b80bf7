# SPDX-License-Identifier: LGPL-2.1-or-later
"""server_volumes: volumes in servers, by the unmodified clients: attach and detach, hot and cold, across a live
move, boot from volume. A part of tests/api/run, which hands over its own helpers as `api`.

Where the guest can be asked (lab/guest/ask reaches it), it must see what the API says, and its data must live.
"""
import json
import os
import subprocess

ASK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lab", "guest", "ask")
SERIAL = 20  # characters of a volume's id that a guest sees


class Guest:
    def __init__(self, address):
        self.address = address

    def ask(self, *command, seconds=30):
        done = subprocess.run([ASK, self.address, *map(str, command)], capture_output=True, text=True,
                              env={**os.environ, "ASK_TIMEOUT_S": str(seconds)})
        return done.stdout.strip() if done.returncode == 0 else None

    def serials(self):
        """None: it did not say."""
        answer = self.ask("disks")
        return {disk["serial"] for disk in json.loads(answer)} if answer else None

    def sees(self, volume, wanted=True):
        serials = self.serials()
        return serials is not None and (volume[:SERIAL] in serials) == wanted


class Part:
    def __init__(self, cloud, api):
        self.cloud, self.api = cloud, api
        self.name = api.PREFIX + "vol"

    # ---- helpers ----

    def ok(self, good, name, detail=""):
        return self.api.ok(good, name, detail)

    def volume(self, suffix, *options):
        row, text = self.api.osc_json("volume", "create", *options, self.name + suffix)
        if not self.ok(row is not None, f"openstack volume create {' '.join(options)}", text):
            return None
        self.becomes(row["id"], "available")
        return row["id"]

    def status(self, volume):
        code, _, body = self.cloud.ask("GET", f"{self.cloud.urls['volumev3']}/volumes/{volume}")
        return body["volume"]["status"] if code == 200 else "gone" if code == 404 else str(code)

    def becomes(self, volume, status, seconds=60):
        got = self.api.wait(lambda: self.status(volume) == status, seconds)
        return self.ok(got, f"volume {volume[:8]} is {status}", self.status(volume))

    def active(self, server, seconds=120):
        row = self.api.wait(self.api.server_is(self.cloud, server, "ACTIVE"), seconds)
        self.ok(row, "the server is ACTIVE", self.cloud.ask("GET", f"/servers/{server}", version="2.92")[2])
        return row

    def attached(self, server):
        """id of the volume → attachment, as the server's own list has it"""
        code, _, body = self.cloud.ask("GET", f"/servers/{server}/os-volume_attachments", version="2.92")
        return {row["volumeId"]: row for row in body["volumeAttachments"]} if code == 200 else {}

    def guest_of(self, row):
        addresses = [a["addr"] for network in row["addresses"].values() for a in network]
        guest = Guest(addresses[0]) if addresses else None
        if guest and self.api.wait(lambda: guest.ask("status", seconds=5), 60):
            return guest
        self.ok(True, "the guest answers # SKIP it cannot be asked from here")
        return None

    def sees(self, guest, volume, wanted=True):
        if guest:
            self.ok(self.api.wait(lambda: guest.sees(volume, wanted), 30),
                    f"the guest {'sees' if wanted else 'no longer sees'} volume {volume[:8]}", guest.serials())

    def move(self, server, guest):
        row = self.api.server_is(self.cloud, server, "ACTIVE")()
        code, _, body = self.cloud.ask("GET", "/os-services?binary=nova-compute", version="2.92")
        hosts = [s["host"] for s in body["services"]
                 if s["state"] == "up" and s["status"] == "enabled" and s["host"] != row["OS-EXT-SRV-ATTR:host"]]
        self.api.expect(self.api.osc("--os-compute-api-version", "2.30", "server", "migrate", "--live-migration",
                                     "--host", hosts[0], "--wait", server, timeout=180),
                        "openstack server migrate --live-migration with volumes attached", r"Complete")
        row = self.active(server)
        self.ok(row and row["OS-EXT-SRV-ATTR:host"] == hosts[0], f"it runs on {hosts[0]}", row)
        if guest:
            self.ok(guest.ask("status"), "the guest answers after the move")

    # ---- attach, move, detach ----

    def test_attach(self):
        api, cloud = self.api, self.cloud
        one, two = self.volume("1", "--size", "1"), self.volume("2", "--size", "1")
        row, text = api.osc_json("server", "create", "--image", "guest", "--flavor", "tiny", "--network", "lab",
                                 "--wait", self.name, timeout=180)
        if not self.ok(one and two and row is not None and row["status"] == "ACTIVE", "a server for volumes", text):
            return
        server = row["id"]
        guest = self.guest_of(self.active(server))

        api.expect(api.osc("server", "add", "volume", server, self.name + "1"), "openstack server add volume",
                   r"/dev/vdb", one)
        self.becomes(one, "in-use")
        self.sees(guest, one)
        api.expect_error(api.osc("server", "add", "volume", server, self.name + "1"),
                         "the same volume again is refused", r"already attached")
        api.expect_error(api.osc("volume", "delete", one), "a volume in use is not deleted", r"in-use|Invalid volume")
        api.expect(api.nova("volume-attach", self.name, two), "nova volume-attach", r"/dev/vdc", two)
        self.becomes(two, "in-use")
        self.sees(guest, two)
        api.expect(api.nova("volume-attachments", self.name), "nova volume-attachments", rf"/dev/vdb.*{one}|{one}",
                   two)
        row, text = api.osc_json("server", "show", server)
        self.ok(row is not None and {v["id"] for v in row["volumes_attached"]} == {one, two},
                "openstack server show has both", text)
        rows, text = api.osc_json("volume", "list")
        mine = [r for r in rows or [] if r["ID"] == one]
        self.ok(mine and mine[0]["Status"] == "in-use" and server in json.dumps(mine[0]["Attached to"]),
                "openstack volume list names the server", text)

        if guest:
            self.ok(guest.ask("disk-write", one[:SERIAL], 7, 8, seconds=60), "the guest writes to the volume")
        self.move(server, guest)
        self.ok(set(self.attached(server)) == {one, two}, "both volumes moved with the server", self.attached(server))
        self.sees(guest, one)
        if guest:
            self.ok(guest.ask("disk-check", one[:SERIAL], seconds=60), "and its data is what it wrote")

        api.expect_error(api.nova("volume-update", self.name, one, two), "nova volume-update is refused", r"409|Detach")
        api.expect(api.osc("server", "remove", "volume", server, self.name + "1"), "openstack server remove volume")
        self.becomes(one, "available")
        self.sees(guest, one, False)
        api.expect_error(api.osc("server", "remove", "volume", server, self.name + "1"),
                         "what is not attached is not removed", r"404|not attached|No VolumeAttachment")
        api.expect(api.nova("volume-detach", self.name, two), "nova volume-detach")
        self.becomes(two, "available")
        self.ok(not self.attached(server), "nothing is attached", self.attached(server))
        rows, text = api.osc_json("server", "event", "list", server)
        actions = [r["Action"] for r in rows or []]
        self.ok(actions.count("attach_volume") == 2 and actions.count("detach_volume") == 2,
                "openstack server event list tells of all that", text)

        self.test_cold(server, one)
        self.test_two_servers(one)
        api.expect(api.osc("server", "delete", "--wait", server, timeout=120), "openstack server delete")
        self.becomes(one, "available")
        for volume in (one, two):
            api.expect(api.osc("volume", "delete", volume), "openstack volume delete")
            self.becomes(volume, "gone")

    def test_cold(self, server, volume):
        """Attach and detach while the server is off; and what is attached is there after the start."""
        api = self.api
        api.expect(api.osc("server", "stop", server), "openstack server stop")
        self.ok(api.wait(api.server_is(self.cloud, server, "SHUTOFF"), 120), "SHUTOFF")
        api.expect(api.osc("server", "add", "volume", server, volume), "add volume to a server that is off")
        self.becomes(volume, "in-use")
        api.expect(api.osc("server", "start", server), "openstack server start")
        guest = self.guest_of(self.active(server))
        self.sees(guest, volume)
        api.expect(api.osc("server", "reboot", "--hard", "--wait", server, timeout=180), "a hard reboot")
        guest = self.guest_of(self.active(server))
        self.sees(guest, volume)
        api.expect(api.osc("server", "stop", server), "openstack server stop again")
        self.ok(api.wait(api.server_is(self.cloud, server, "SHUTOFF"), 120), "SHUTOFF")
        api.expect(api.osc("server", "remove", "volume", server, volume), "remove it while the server is off")
        self.becomes(volume, "available")
        api.expect(api.osc("server", "add", "volume", server, volume), "and add it again")
        self.becomes(volume, "in-use")

    def test_two_servers(self, volume):
        """A volume that one server has is not for another."""
        api = self.api
        row, text = api.osc_json("server", "create", "--image", "guest", "--flavor", "tiny", "--network", "lab",
                                 "--wait", self.name + "-b", timeout=180)
        if not self.ok(row is not None and row["status"] == "ACTIVE", "a second server", text):
            return
        api.expect_error(api.osc("server", "add", "volume", row["id"], volume),
                         "a volume of one server is refused to another", r"in-use")
        self.ok(not self.attached(row["id"]), "and is not there", self.attached(row["id"]))
        api.expect(api.osc("server", "delete", "--wait", row["id"], timeout=120), "the second server goes")

    # ---- boot from volume ----

    def test_boot_volume(self):
        api = self.api
        root = self.volume("-root", "--size", "1", "--image", "guest")
        if not root:
            return
        row, text = api.osc_json("server", "create", "--volume", self.name + "-root", "--flavor", "tiny",
                                 "--network", "lab", "--wait", self.name + "-v", timeout=180)
        if not self.ok(row is not None and row["status"] == "ACTIVE", "openstack server create --volume", text):
            return
        server = row["id"]
        row = self.active(server)
        self.ok(row["image"] == "" and row["OS-EXT-SRV-ATTR:root_device_name"] == "/dev/vda", "it has no image", row)
        guest = self.guest_of(row)
        self.sees(guest, root)
        api.expect_error(api.nova("volume-detach", self.name + "-v", root), "its root volume is not detached",
                         r"root device")
        self.move(server, guest)
        api.expect(api.osc("server", "reboot", "--hard", "--wait", server, timeout=180), "a hard reboot")
        self.guest_of(self.active(server))
        api.expect(api.osc("server", "delete", "--wait", server, timeout=120), "openstack server delete")
        self.becomes(root, "available")
        api.expect(api.osc("volume", "delete", root), "the volume outlived the server; now it goes")
        self.becomes(root, "gone")

    def test_boot_new(self):
        """The volume is made with the server: kept by the one client's default, removed as the other asks."""
        api = self.api
        row, text = api.osc_json("--os-compute-api-version", "2.67", "server", "create", "--image", "guest",
                                 "--boot-from-volume", "1", "--flavor", "tiny", "--network", "lab", "--wait",
                                 self.name + "-n", timeout=180)
        if self.ok(row is not None and row["status"] == "ACTIVE", "openstack server create --boot-from-volume", text):
            server = row["id"]
            self.guest_of(self.active(server))
            kept = list(self.attached(server))
            self.ok(len(kept) == 1, "with one volume", kept)
            api.expect(api.osc("server", "delete", "--wait", server, timeout=120), "openstack server delete")
            for volume in kept:
                self.becomes(volume, "available")
                api.expect(api.osc("volume", "delete", volume), "openstack volume delete")

        image, text = api.osc_json("image", "show", "guest")
        out = api.expect(api.nova("boot", "--flavor", "tiny", "--nic", "net-name=lab", "--poll", "--block-device",
                                  f"id={image['id']},source=image,dest=volume,size=1,bootindex=0,shutdown=remove",
                                  "--block-device", "source=blank,dest=volume,size=1,shutdown=remove",
                                  self.name + "-m", timeout=180), "nova boot --block-device twice")
        server = api.properties(out).get("id", "")
        guest = self.guest_of(self.active(server))
        gone = self.attached(server)
        self.ok(sorted(r["device"] for r in gone.values()) == ["/dev/vda", "/dev/vdb"] and
                all(r["delete_on_termination"] for r in gone.values()), "two volumes, to go with it", gone)
        for volume in gone:
            self.sees(guest, volume)
        api.expect(api.nova("delete", self.name + "-m"), "nova delete")
        for volume in gone:
            self.becomes(volume, "gone")

    def clean(self):
        for row in self.api.osc_json("volume", "list")[0] or []:
            if row["Name"].startswith(self.name):
                self.api.osc("volume", "delete", row["ID"])


def test_server_volumes(cloud, api):
    part = Part(cloud, api)
    part.clean()
    part.test_attach()
    part.test_boot_volume()
    part.test_boot_new()
