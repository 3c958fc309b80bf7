# SPDX-License-Identifier: LGPL-2.1-or-later
"""volumes: the block storage API by the unmodified clients, openstack and cinder, and by raw requests that are wrong.
A part of tests/api/run, which hands over its own helpers as `api`. Needs no host that runs guests.
"""
import json
import os
import shutil

api = None  # tests/api/run


def volume_is(cloud, volume, status, kind="volume"):
    """What the block storage API says of a volume or snapshot once it has that status; "gone" is one, too."""
    def check():
        code, _, body = cloud.ask("GET", f"{cloud.urls['volumev3']}/{kind}s/{volume}")
        if code != 200:
            return status == "gone" and code == 404
        return body[kind] if body[kind]["status"] == status else None
    return check


def cinder(*argv, **more):
    return api.client("cinder", *argv, **more)


def test_volume_types(cloud):
    name = api.PREFIX + "type"
    row, text = api.osc_json("volume", "type", "create", "--public", "--description", "d", "--property", "a=b", name)
    api.ok(row is not None and row["name"] == name and row["is_public"], "openstack volume type create", text)
    rows, text = api.osc_json("volume", "type", "list", "--long")
    api.ok(rows is not None and {"__DEFAULT__", name} <= {r["Name"] for r in rows},
       "openstack volume type list", text)
    row, text = api.osc_json("volume", "type", "list", "--default")
    api.ok(row and row[0]["Name"] == "__DEFAULT__", "openstack volume type list --default", text)
    api.expect(api.osc("volume", "type", "set", "--property", "c=d", "--description", "new", name),
           "openstack volume type set")
    api.expect(api.osc("volume", "type", "unset", "--property", "a", name), "openstack volume type unset")
    row, text = api.osc_json("volume", "type", "show", name)
    api.ok(row is not None and row["properties"] == {"c": "d"} and row["description"] == "new",
       "openstack volume type show", text)
    api.expect_error(api.osc("volume", "type", "create", name), "a second type of that name", r"409|exists")
    api.expect(api.osc("volume", "create", "--size", "1", "--type", name, name), "a volume of that type", name)
    api.expect_error(api.osc("volume", "type", "delete", name), "a type in use is not deleted", r"in use|failed")
    row, _ = api.osc_json("volume", "show", name)
    volume = row["id"] if row else "none"
    api.ok(row and row["type"] == name, "the volume is of that type", row)
    api.wait(volume_is(cloud, volume, "available"), 60)
    api.expect(api.osc("volume", "delete", volume), "openstack volume delete")
    api.ok(api.wait(volume_is(cloud, volume, "gone"), 60), "the volume is gone")
    api.expect(api.osc("volume", "type", "delete", name), "openstack volume type delete")


def test_volume_openstack(cloud):
    name = api.PREFIX + "volume"
    row, text = api.osc_json("volume", "create", "--size", "1", "--description", "d", "--property", "a=b", name)
    if not api.ok(row is not None and row["size"] == 1 and row["status"] == "creating", "openstack volume create", text):
        return
    volume = row["id"]
    api.ok(api.wait(volume_is(cloud, volume, "available"), 60), "it is available")
    rows, text = api.osc_json("volume", "list", "--long")
    api.ok(rows is not None and any(r["ID"] == volume and r["Status"] == "available" for r in rows),
       "openstack volume list --long", text)
    for more in (["--name", name], ["--status", "available"], ["--all-projects"], ["--limit", "1"],
                 ["--user", os.environ["OS_USERNAME"]], ["--project", os.environ["OS_PROJECT_NAME"]]):
        rows, text = api.osc_json("volume", "list", *more)
        api.ok(rows, f"openstack volume list {' '.join(more)}", text)
    rows, text = api.osc_json("volume", "list", "--name", name + "-none")
    api.ok(rows == [], "a name that no volume has", text)
    row, text = api.osc_json("volume", "show", name)
    api.ok(row is not None and row["id"] == volume and row["properties"] == {"a": "b"} and
       row["os-vol-host-attr:host"].startswith("godwit@"), "openstack volume show NAME", text)
    api.expect(api.osc("volume", "set", "--name", name + "2", "--description", "e", "--property", "c=d",
               "--bootable", "--read-only", "--image-property", "os=linux", volume), "openstack volume set")
    row, text = api.osc_json("volume", "show", volume)
    api.ok(row is not None and row["name"] == name + "2" and row["bootable"] in ("true", True) and
       row["properties"].get("readonly") == "True" and row["properties"].get("c") == "d",
       "all of that is set", text)
    api.expect(api.osc("volume", "unset", "--property", "a", "--image-property", "os", volume), "openstack volume unset")
    api.expect(api.osc("volume", "set", "--read-write", "--non-bootable", "--name", name, volume), "openstack volume set back")
    api.expect(api.osc("volume", "set", "--size", "2", volume), "openstack volume set --size")
    found = api.wait(volume_is(cloud, volume, "available"), 60)
    api.ok(found and found["size"] == 2 and found["metadata"] == {"c": "d"}, "it has 2 GB", found)
    api.expect_error(api.osc("volume", "set", "--size", "1", volume), "a volume does not shrink", r"greater|larger|failed|not")
    api.expect(api.osc("volume", "set", "--state", "error", volume), "openstack volume set --state error")
    api.expect(api.osc("volume", "set", "--state", "available", volume), "openstack volume set --state available")

    row, text = api.osc_json("volume", "snapshot", "create", "--volume", volume, "--property", "x=y", name + "-s")
    api.ok(row is not None and row["volume_id"] == volume, "openstack volume snapshot create", text)
    snapshot = row["id"] if row else "none"
    api.ok(api.wait(volume_is(cloud, snapshot, "available", "snapshot"), 60), "the snapshot is available")
    for more in ([], ["--long"], ["--volume", volume], ["--status", "available"], ["--all-projects"]):
        rows, text = api.osc_json("volume", "snapshot", "list", *more)
        api.ok(rows is not None and any(r["ID"] == snapshot for r in rows),
           f"openstack volume snapshot list {' '.join(more)}", text)
    api.expect(api.osc("volume", "snapshot", "set", "--description", "f", "--property", "z=1", snapshot),
           "openstack volume snapshot set")
    api.expect(api.osc("volume", "snapshot", "unset", "--property", "x", snapshot), "openstack volume snapshot unset")
    row, text = api.osc_json("volume", "snapshot", "show", name + "-s")
    api.ok(row is not None and row["properties"] == {"z": "1"} and row["description"] == "f",
       "openstack volume snapshot show", text)
    api.expect_error(api.osc("volume", "delete", volume), "a volume with a snapshot is not deleted", r"snapshot|failed")

    made = []
    for source, argv in (("--snapshot", [snapshot]), ("--source", [volume]), ("--image", ["guest", "--size", "2"])):
        row, text = api.osc_json("volume", "create", source, *argv, name + source)
        api.ok(row is not None and row["size"] == 2, f"openstack volume create {source}", text)
        if row:
            made.append(row["id"])
            api.ok(api.wait(volume_is(cloud, row["id"], "available"), 120), "it is available",
               volume_is(cloud, row["id"], "error")())
    api.ok(made and volume_is(cloud, made[-1], "available")()["bootable"] == "true",
       "what is made of an image is bootable")
    for one in made:
        api.expect(api.osc("volume", "delete", one), "openstack volume delete")
        api.ok(api.wait(volume_is(cloud, one, "gone"), 60), "it is gone", volume_is(cloud, one, "error_deleting")())
    api.expect(api.osc("volume", "snapshot", "delete", snapshot), "openstack volume snapshot delete")
    api.ok(api.wait(volume_is(cloud, snapshot, "gone", "snapshot"), 60), "the snapshot is gone")
    api.osc("volume", "snapshot", "create", "--volume", volume, name + "-s2")
    rows, _ = api.osc_json("volume", "snapshot", "list", "--volume", volume)
    api.ok(rows and api.wait(volume_is(cloud, rows[0]["ID"], "available", "snapshot"), 60), "one more snapshot", rows)
    api.expect(api.osc("volume", "delete", "--purge", volume), "openstack volume delete --purge")
    api.ok(api.wait(volume_is(cloud, volume, "gone"), 60), "volume and snapshot are gone",
       volume_is(cloud, volume, "error_deleting")())


def test_volume_quotas(cloud):
    project = os.environ["OS_PROJECT_NAME"]
    base = f"{cloud.urls['volumev3']}/os-quota-sets/{cloud.project}"
    code, _, body = cloud.ask("GET", base + "?usage=True")
    api.ok(code == 200, "the quotas with their usage", body)
    volumes, gigabytes = (body["quota_set"][key]["in_use"] for key in ("volumes", "gigabytes"))
    before, text = api.osc_json("quota", "show", project)
    api.ok(before is not None and "volumes" in json.dumps(before), "openstack quota show", text)
    api.expect(api.osc("quota", "set", "--volumes", str(volumes + 1), "--gigabytes", str(gigabytes + 3),
                       "--snapshots", "1", project),
               "openstack quota set --volumes --gigabytes --snapshots")
    row, text = api.osc_json("quota", "show", project)
    api.ok(row is not None and quota_of(row, "volumes") == volumes + 1 and
           quota_of(row, "gigabytes") == gigabytes + 3, "the quotas are set", text)
    api.expect_error(api.osc("volume", "create", "--size", "4", api.PREFIX + "quota"), "more gigabytes than the quota",
                     r"413|quota")
    row, text = api.osc_json("volume", "create", "--size", "2", api.PREFIX + "quota")
    api.ok(row is not None, "a volume within the quota", text)
    api.expect_error(api.osc("volume", "create", "--size", "1", api.PREFIX + "quota"), "one volume too many",
                     r"413|quota")
    out = api.expect(api.osc("limits", "show", "--absolute"), "openstack limits show --absolute",
                     rf"maxTotalVolumes .*\b{volumes + 1}\b", rf"totalVolumesUsed .*\b{volumes + 1}\b",
                     rf"totalGigabytesUsed .*\b{gigabytes + 2}\b", r"maxTotalCores")
    api.ok("maxTotalVolumeGigabytes" in out, "limits of volumes and of servers together", out)
    if row:
        api.wait(volume_is(cloud, row["id"], "available"), 60)
        api.expect(api.osc("volume", "delete", row["id"]), "it is deleted")
        api.ok(api.wait(volume_is(cloud, row["id"], "gone"), 60), "it is gone")
    code, _, _ = cloud.ask("DELETE", base)
    api.ok(code == 200, "the defaults again", code)
    rows, text = api.osc_json("quota", "list", "--volume")
    api.ok(rows is not None, "openstack quota list --volume", text)


def quota_of(shown, name):
    """`quota show` prints a row of columns or, by release, a list of resources."""
    if isinstance(shown, list):
        return next((row.get("Limit") for row in shown if row.get("Resource") == name), None)
    return shown.get(name)


def test_volume_cinder(cloud):
    if not shutil.which("cinder"):
        api.ok(True, "cinder # SKIP python3-cinderclient is not installed")
        return
    name = api.PREFIX + "cinder"
    api.expect(cinder("create", "--name", name, "--metadata", "a=b", "--poll", "1", timeout=120), "cinder create --poll", name)
    row, _ = api.osc_json("volume", "show", name)
    volume = row["id"] if row else "none"
    for version in ("3.0", "3.27", "3.60", "3.66"):
        api.expect(cinder("--os-volume-api-version", version, "list"), f"cinder list at {version}", volume)
    api.expect(cinder("list", "--name", name, "--metadata", "a=b", "--sort", "name:asc"), "cinder list with filters", volume)
    api.expect(cinder("show", name), "cinder show", r"status .*available")
    api.expect(cinder("rename", name, name + "2"), "cinder rename")
    api.expect(cinder("metadata", volume, "set", "c=d"), "cinder metadata set")
    api.expect(cinder("metadata-show", volume), "cinder metadata-show", r"c .*d")
    api.expect(cinder("extend", volume, "2"), "cinder extend")
    api.ok(api.wait(volume_is(cloud, volume, "available"), 60), "available after it")
    api.expect(cinder("snapshot-create", "--name", name, volume), "cinder snapshot-create", r"creating|available")
    out = api.expect(cinder("snapshot-list", "--volume-id", volume), "cinder snapshot-list", name)
    snapshot = next((r["ID"] for r in api.table(out)), "none")
    api.ok(api.wait(volume_is(cloud, snapshot, "available", "snapshot"), 60), "the snapshot is available")
    api.expect(cinder("snapshot-show", snapshot), "cinder snapshot-show", volume)
    api.expect(cinder("snapshot-delete", snapshot), "cinder snapshot-delete")
    api.ok(api.wait(volume_is(cloud, snapshot, "gone", "snapshot"), 60), "the snapshot is gone")
    api.expect(cinder("type-list"), "cinder type-list", r"__DEFAULT__")
    api.expect(cinder("type-default"), "cinder type-default", r"__DEFAULT__")
    api.expect(cinder("quota-show", cloud.project), "cinder quota-show", r"gigabytes .*1000")
    api.expect(cinder("quota-usage", cloud.project), "cinder quota-usage", r"volumes .*[1-9]\d* .*10")
    api.expect(cinder("quota-defaults", cloud.project), "cinder quota-defaults", r"volumes .*10")
    api.expect(cinder("absolute-limits"), "cinder absolute-limits", r"maxTotalVolumes .*10")
    api.expect(cinder("availability-zone-list"), "cinder availability-zone-list", r"nova .*available")
    api.expect(cinder("service-list"), "cinder service-list", r"cinder-volume .*godwit@.*enabled .*up")
    api.expect(cinder("get-pools", "--detail"), "cinder get-pools --detail", r"#volumes", r"free_capacity_gb")
    for command in ("backup-list", "transfer-list", "message-list", "group-list", "attachment-list", "summary",
                    "list-extensions", "qos-list", "version-list"):
        api.expect(cinder(command), f"cinder {command}")
    api.expect_error(cinder("retype", volume, "__DEFAULT__"), "cinder retype is refused", r"stays|400")
    api.expect_error(cinder("upload-to-image", volume, "x"), "cinder upload-to-image is refused", r"No image|400")
    api.expect(cinder("reset-state", "--state", "error", volume), "cinder reset-state")
    api.expect(cinder("force-delete", volume), "cinder force-delete")
    api.ok(api.wait(volume_is(cloud, volume, "gone"), 60), "it is gone")


def test_volume_wrong(cloud):
    base = cloud.urls["volumev3"]
    nobody = "00000000-0000-4000-8000-000000000000"

    def create(title, status, message="", **members):
        api.refused(cloud, title, status, "POST", base + "/volumes", {"volume": members}, message)

    create("a volume without a size", 400, "size")
    create("a volume of 0 GB", 400, "size", size=0)
    create("a volume of -1 GB", 400, "size", size=-1)
    create("a volume of 2^40 GB", 400, "size", size=1 << 40)
    create("a volume larger than the quota", 413, "quota", size=1 << 30)
    create("a volume of an unknown image", 400, nobody, size=1, imageRef=nobody)
    create("a volume of an unknown snapshot", 404, nobody, snapshot_id=nobody)
    create("a volume of an unknown volume", 404, nobody, source_volid=nobody)
    create("a volume of an unknown type", 404, "gold", size=1, volume_type="gold")
    create("metadata that is no text", 400, "metadata", size=1, metadata={"a": 1})
    create("a name with a line feed", 400, "control", size=1, name="a\nb")
    create("a name of 300 bytes", 400, "name", size=1, name="x" * 300)
    api.refused(cloud, "an unknown volume", 404, "GET", f"{base}/volumes/{nobody}")
    api.refused(cloud, "an unknown snapshot", 404, "GET", f"{base}/snapshots/{nobody}")
    api.refused(cloud, "another project in the path", 400, "GET",
            base.replace(cloud.project, nobody.replace("-", "")) + "/volumes")
    api.refused(cloud, "no token", 401, "GET", base + "/volumes", token="")
    api.refused(cloud, "broken JSON", 400, "POST", base + "/volumes", raw=b'{"volume": ')
    for version, status in (("3.67", 406), ("2.1", 406), ("3", 400), ("3.x", 400)):
        api.refused(cloud, f"microversion {version}", status, "GET", base + "/volumes",
                headers={"OpenStack-API-Version": "volume " + version})
    _, headers, _ = cloud.ask("GET", base + "/volumes", headers={"OpenStack-API-Version": "volume latest"})
    api.ok(headers["OpenStack-API-Version"] == "volume 3.66", "microversion latest", dict(headers))


def test_volumes(cloud, helpers):
    global api
    api = helpers
    test_volume_types(cloud)
    test_volume_openstack(cloud)
    test_volume_quotas(cloud)
    test_volume_cinder(cloud)
    test_volume_wrong(cloud)
