"""The worker process as the proxy meets it: the messages of a zygote, what a failed load says, forks, logs, the end."""

import array
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

DEADLINE = 120
"""Seconds after which a message is not late but missing."""

PLUGIN = """
import logging
import plait_sdk as plait

print("imported")

class Config(plait.PluginConfig):
    header: str = "x-tenant"

class TenantFromPath(plait.Plugin[Config]):
    reads = plait.Reads(path=True, headers={"X-User"})
    writes = plait.Writes(headers=lambda config: {config.header}, labels={"tenant"})

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> None:
        request.headers[self.config.header] = request.path.split("/")[1]

    @plait.hookimpl
    def worker_started(self) -> None:
        logging.getLogger("tenant").warning("started as %s", self.config.header)
"""


class Zygote:
    """A zygote and the proxy's end of its control socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(DEADLINE)
        command = [sys.executable, "-I", "-m", "plait_sdk.host", "--control", "0"]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ours.close()
        self.process.wait(DEADLINE)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def load(self, *plugins: dict[str, Any]) -> None:
        box = {
            "network": False,
            "processes": False,
            "scratch": str(self.folder),
            "read": ["/"],
            "user": None,
            "files": 64,
        }
        names = [plugin["name"] for plugin in plugins]
        chains = [{"id": 3, "direction": "inbound", "plugins": names}]
        common = {"path": [str(self.folder)], "config": {}, "on_error": "closed", "deadline_ms": 50}
        wanted = [{**common, **plugin} for plugin in plugins]
        head = {"kind": "load", "api": 1, "group": "default", "generation": 7, "memory_bytes": 1 << 28}
        self.send({**head, "plugins": wanted, "chains": chains, "sandbox": box})

    def send(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        body = json.dumps(message).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.ours.sendmsg([struct.pack("<I", len(body)) + body], rights)

    def receive(self, kind: str) -> dict[str, Any]:
        """The next message of a kind, log lines aside."""
        for message in messages(self.ours):
            if message["kind"] == kind:
                return message
            assert message["kind"] == "log", message
        raise AssertionError(f"no {kind}, but the end: {self.process.stdout and self.process.stdout.read().decode()}")


def messages(connection: socket.socket) -> Iterator[dict[str, Any]]:
    while head := connection.recv(4, socket.MSG_WAITALL):
        yield json.loads(connection.recv(struct.unpack("<I", head)[0], socket.MSG_WAITALL))


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Zygote]:
    (tmp_path / "tenant_from_path.py").write_text(PLUGIN)
    with Zygote(tmp_path) as started:
        yield started


ENTRY = {"name": "shop/tenant", "entry": "tenant_from_path:TenantFromPath"}


def test_what_is_loaded_is_told(zygote: Zygote) -> None:
    zygote.load({**ENTRY, "config": {"header": "X-Area"}})
    begun, log, loaded = zygote.receive("log"), zygote.receive("log"), zygote.receive("loaded")
    assert (begun["plugin"], begun["text"]) == ("shop/tenant", f"loading from {zygote.folder}")
    assert (log["plugin"], log["level"], log["text"]) == ("shop/tenant", "info", "imported")
    told = loaded["plugins"]["shop/tenant"]
    assert (told["hooks"], told["phases"]) == (["on_request", "worker_started"], ["request"])
    assert told["reads"]["path"] is True
    assert told["reads"]["method"] is False
    assert told["reads"]["headers"] == ["x-area", "x-user"]
    assert (told["writes"]["headers"], told["writes"]["labels"]) == (["x-area"], ["tenant"])
    assert told["reads"]["body"] == {"mode": "none", "bytes": 0}
    assert loaded["chains"] == {"3": ["shop/tenant"]}


FAILURES = {
    "import": (
        "import plait_sdk\nimport nothing_like_this\n",
        "ModuleNotFoundError: No module named 'nothing_like_this'",
    ),
    "hooks": (PLUGIN.replace("on_request", "on_requst"), 'did you mean "on_request"?'),
    "config": (PLUGIN.replace("lambda config: {config.header}", "lambda config: {config.heder}"), "AttributeError"),
    "threads": (
        f"import threading, time\nthreading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n{PLUGIN}",
        "thread",
    ),
    "selftest": (
        f"{PLUGIN}\n    @plait.hookimpl\n    def self_test(self): raise RuntimeError('no table')\n",
        "no table",
    ),
}


@pytest.mark.parametrize("stage", FAILURES)
def test_a_failed_load_says_stage_and_reason(zygote: Zygote, stage: str) -> None:
    text, reason = FAILURES[stage]
    (zygote.folder / "tenant_from_path.py").write_text(text)
    zygote.load(ENTRY)
    failed = zygote.receive("failed")
    assert (failed["plugin"], failed["stage"]) == ("shop/tenant", stage)
    assert reason in failed["message"]
    if failed["traceback"]:
        first = next(line for line in failed["traceback"].splitlines() if line.startswith("  File"))
        assert "tenant_from_path.py" in first
    assert zygote.process.wait(DEADLINE) == 1


def test_a_plugin_whose_decision_nobody_asks_for_is_refused(zygote: Zygote) -> None:
    hook = "\n    @plait.hookimpl\n    def rate_limit_key(self): ...\n"
    (zygote.folder / "tenant_from_path.py").write_text(PLUGIN + hook)
    zygote.load(ENTRY)
    failed = zygote.receive("failed")
    assert (failed["stage"], failed["message"]) == ("hooks", "rate_limit_key: not called by this version of the mesh")


def test_a_plugin_for_the_control_plane_alone_is_refused(zygote: Zygote) -> None:
    hook = "    @plait.hookimpl\n    def validate(self, resource): ...\n"
    text = f"import plait_sdk as plait\nclass TenantFromPath(plait.Plugin[plait.PluginConfig]):\n{hook}"
    (zygote.folder / "tenant_from_path.py").write_text(text)
    zygote.load({**ENTRY, "config": {}})
    failed = zygote.receive("failed")
    assert failed["stage"] == "hooks"
    assert failed["message"].startswith("validate: called by the control plane, when the file of its --hooks names")


def test_a_hook_that_only_tells_and_is_not_called_is_warned_about(zygote: Zygote) -> None:
    hook = "\n    @plait.hookimpl\n    def metrics_tick(self): ...\n"
    (zygote.folder / "tenant_from_path.py").write_text(PLUGIN + hook)
    zygote.load(ENTRY)
    assert [zygote.receive("log")["level"] for _ in range(3)] == ["info", "info", "warning"]
    assert zygote.receive("loaded")["plugins"]["shop/tenant"]["phases"] == ["request", "tick"]


def test_a_wrong_configuration_fails_with_its_path(zygote: Zygote) -> None:
    zygote.load({**ENTRY, "config": {"heder": "x"}})
    failed = zygote.receive("failed")
    assert (failed["stage"], 'config.heder: unknown field; did you mean "header"?' in failed["message"]) == (
        "config",
        True,
    )


WHEEL = {"plait_tenant-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: plait-tenant\nVersion: 1.2\n"}
POINT = "tenant_from_path:TenantFromPath"


def unpack(folder: Path, *names: str) -> None:
    """What a wheel leaves behind, with these entry points."""
    for path, text in WHEEL.items():
        (folder / path).parent.mkdir()
        (folder / path).write_text(text)
    points = "".join(f"{name} = {POINT}\n" for name in names)
    (folder / "plait_tenant-1.2.dist-info" / "entry_points.txt").write_text(f"[plait.plugins]\n{points}")


@pytest.mark.parametrize("entry", ["", "tenant", POINT])
@pytest.mark.parametrize("version", ["", ">=1,<2"])
def test_a_plugin_is_found_in_its_package(zygote: Zygote, entry: str, version: str) -> None:
    unpack(zygote.folder, "tenant")
    zygote.load(
        {"name": "shop/tenant", "entry": entry, "package": "plait_Tenant", "version": "" if ":" in entry else version}
    )
    told = zygote.receive("loaded")["plugins"]["shop/tenant"]
    assert told["version"] == ("" if ":" in entry else "1.2")


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (
            {"package": "plait-tenant", "entry": "", "version": ">=2"},
            "plait-tenant 1.2 is installed, and the Plugin wants >=2",
        ),
        ({"package": "plait-tenant", "entry": ""}, "plait-tenant has several plugins\n  say which: other, tenant"),
        (
            {"package": "plait-tenant", "entry": "tennant"},
            'plait-tenant has no plugin "tennant"\n  did you mean "tenant"?',
        ),
        (
            {"package": "plait-nothing", "entry": ""},
            "plait-nothing is not installed, or has no entry point of plait.plugins",
        ),
    ],
)
def test_a_package_that_does_not_fit_is_told(zygote: Zygote, wanted: dict[str, str], reason: str) -> None:
    unpack(zygote.folder, "tenant", *([] if "version" in wanted else ["other"]))
    zygote.load({"name": "shop/tenant", **wanted})
    failed = zygote.receive("failed")
    assert (failed["stage"], reason in failed["message"]) == ("import", True), failed


def test_every_plugin_that_failed_is_told(zygote: Zygote) -> None:
    zygote.load({**ENTRY, "config": {"heder": "x"}}, {"name": "shop/other", "entry": "no-such-plugin"})
    assert [zygote.receive("failed")["plugin"] for _ in range(2)] == ["shop/tenant", "shop/other"]


def test_a_worker_is_forked_becomes_ready_and_is_reaped(zygote: Zygote) -> None:
    zygote.load(ENTRY)
    zygote.receive("loaded")
    data, their_data = socket.socketpair()
    control, their_control = socket.socketpair()
    control.settimeout(DEADLINE)
    fork = {"kind": "fork", "worker": 12, "memory": {"ring_bytes": 262144}, "transport": "stream"}
    zygote.send(fork, (their_data.fileno(), their_control.fileno()))
    their_data.close()
    their_control.close()
    forked = zygote.receive("forked")
    assert forked["worker"] == 12
    said = messages(control)
    log = next(said)
    assert (log["kind"], log["plugin"], log["text"]) == ("log", "shop/tenant", "tenant: started as x-tenant"), log
    ready = next(said)
    assert (ready["kind"], ready["sandbox"]["no_new_privs"], ready["sandbox"]["seccomp"]) == ("ready", "on", "on")
    control.close()
    data.close()
    exited = zygote.receive("exited")
    assert (exited["pid"], exited["status"], exited["signal"]) == (forked["pid"], 0, None)


@pytest.mark.parametrize("end", ["stop", "close"])
def test_a_zygote_ends_with_the_proxy(zygote: Zygote, end: str) -> None:
    zygote.load(ENTRY)
    zygote.receive("loaded")
    if end == "stop":
        zygote.send({"kind": "stop"})
    else:
        zygote.ours.shutdown(socket.SHUT_RDWR)
    assert zygote.process.wait(DEADLINE) == 0
    assert not os.path.exists(f"/proc/{zygote.process.pid}")
