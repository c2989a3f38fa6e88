"""A package of plugins of the control plane, installed into a folder: some of use, some that break in every way."""

import json
from pathlib import Path

PACKAGE = "house-rules"

SOURCE = '''
"""Plugins of tests."""

import asyncio
import dataclasses
import json
import pathlib
import threading

import plait_sdk as plait


class Config(plait.PluginConfig):
    """One path, for those that want one."""

    path: str = ""


class Owner(plait.Plugin[Config]):
    """Every Service has an owner."""

    @plait.hookimpl
    def validate(self, resource):
        labels = resource.body["metadata"].get("labels", {})
        if resource.kind == "Service" and "owner" not in labels:
            return [plait.Problem("metadata.labels", "every Service has an owner")]
        if resource.kind == "Service" and labels.get("owner") == "me":
            return [plait.Problem("metadata.labels.owner", "write a team", "note")]
        return None


class Defaults(plait.Plugin[Config]):
    """Gives Services an owner."""

    @plait.hookimpl
    async def mutate(self, resource):
        if resource.kind != "Service":
            return None
        await asyncio.sleep(0)
        meta = resource.body["metadata"]
        body = {**resource.body, "metadata": {**meta, "labels": {"owner": "shop", **meta.get("labels", {})}}}
        return dataclasses.replace(resource, body=body)


class Spoils(plait.Plugin[Config]):
    """Makes of a Service what is none."""

    @plait.hookimpl
    def mutate(self, resource):
        return dataclasses.replace(resource, body={**resource.body, "spec": {"ports": "none"}})


class Renames(plait.Plugin[Config]):
    """Makes another object."""

    @plait.hookimpl
    def mutate(self, resource):
        meta = {**resource.body["metadata"], "name": "other"}
        return dataclasses.replace(resource, body={**resource.body, "metadata": meta})


class Raises(plait.Plugin[Config]):
    """Cannot judge what is called bad."""

    @plait.hookimpl
    def validate(self, resource):
        if resource.name.startswith("bad"):
            raise ZeroDivisionError("no")


class Junk(plait.Plugin[Config]):
    """Answers what is no answer."""

    @plait.hookimpl
    def validate(self, resource):
        return "fine"


class Exits(plait.Plugin[Config]):
    """Tries to end the process."""

    @plait.hookimpl
    def validate(self, resource):
        raise SystemExit(3)


class Loops(plait.Plugin[Config]):
    """Never answers, in Python."""

    @plait.hookimpl
    def validate(self, resource):
        while True:
            pass


class Waits(plait.Plugin[Config]):
    """Never answers, in an await."""

    @plait.hookimpl
    async def validate(self, resource):
        await asyncio.Event().wait()


class Hangs(plait.Plugin[Config]):
    """Never answers, in C, while the file is there."""

    @plait.hookimpl
    def validate(self, resource):
        if pathlib.Path(self.config.path).exists():
            threading.Event().wait()


class Issues(plait.Plugin[Config]):
    """Says who gets a certificate, by the service account."""

    @plait.hookimpl
    def issue_identity(self, request):
        answers = {"closed": plait.Deny("not today"), "short": plait.Lifetime(60), "long": plait.Lifetime(10**9)}
        answers |= {"reply": plait.Reply(), "nothing": plait.Lifetime(0), "fine": plait.Continue()}
        if request.service_account == "raises":
            raise ZeroDivisionError("no")
        return answers.get(request.service_account)


class Finds(plait.Plugin[Config]):
    """Endpoints from a file of JSON."""

    @plait.hookimpl
    async def discover(self, watch):
        while True:
            for service, addresses in json.loads(pathlib.Path(self.config.path).read_text()).items():
                watch.update(service, [plait.Endpoint(address) for address in addresses])
            await asyncio.sleep(0.02)


class Wrong(plait.Plugin[Config]):
    """Its hook has an argument that there is not."""

    @plait.hookimpl
    def validate(self, resource, world):
        return []


class Requests(plait.Plugin[Config]):
    """Is for proxies."""

    @plait.hookimpl
    def on_request(self, request):
        return None
'''

CLASSES = (
    "Owner", "Defaults", "Spoils", "Renames", "Raises", "Junk", "Exits", "Loops", "Waits", "Hangs", "Issues",
    "Finds", "Wrong", "Requests",
)  # fmt: skip


def install(folder: Path) -> Path:
    """Makes a folder that is a place of packages, to be put on the path."""
    info = folder / "house_rules-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "house_rules.py").write_text(SOURCE)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
    points = "".join(f"{name.lower()} = house_rules:{name}\n" for name in CLASSES)
    (info / "entry_points.txt").write_text(f"[plait.plugins]\n{points}")
    return folder


def hooks_file(path: Path, *plugins: str, **more: object) -> Path:
    """A file for --hooks; `more` is said of each of the plugins."""
    path.write_text(json.dumps({"plugins": [{"package": PACKAGE, "plugin": name, **more} for name in plugins]}))
    return path
