"""Owns where a laptop mesh keeps its files and how a verb finds the mesh it is asked about.

Called by every verb. A mesh is up while its `up` holds the lock in its state folder; the kernel drops the lock whatever
way that process ends, so a stale mesh.json never counts as running. Must not talk to the mesh: that is `client`.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from plait_cli.errors import UNREACHABLE, USAGE, Failure

# Linux takes at most 107 bytes for the path of a Unix socket; the longest name in the folder is that of a proxy's.
LONGEST_SOCKETS_FOLDER = 107 - len("/proxy-") - 60

MeshOption = Annotated[
    str | None, typer.Option("--mesh", "-m", envvar="PLAIT_MESH", help="Name of the mesh; needed when several are up.")
]
HooksOption = Annotated[
    Path | None,
    typer.Option("--hooks", envvar="PLAIT_HOOKS", metavar="FILE", help="Names the control plane's own plugins."),
]
StateOption = Annotated[Path | None, typer.Option("--state", help="State folder of the mesh, as given to plait up.")]


@dataclass(frozen=True)
class Mesh:
    """One laptop mesh by its folders. `sockets` is short enough for Unix sockets; both folders have mode 0700."""

    name: str
    state: Path
    sockets: Path

    @property
    def control(self) -> Path:
        """What the control plane keeps: keys, ports, generations."""
        return self.state / "control"

    @property
    def log(self) -> Path:
        """Output of the children."""
        return self.state / "log"

    @property
    def api(self) -> Path:
        """The control plane's API."""
        return self.sockets / "api.sock"

    @property
    def record(self) -> Path:
        """What `up` says about itself."""
        return self.state / "mesh.json"

    def proxy_folder(self, workload: str) -> Path:
        """State of the sidecar of `workload` ("namespace/name")."""
        return self.state / "proxies" / workload.replace("/", ".")

    def admin(self, workload: str) -> Path:
        """Admin socket of the sidecar of `workload` ("namespace/name")."""
        return self.sockets / f"proxy-{workload.replace('/', '.')}.sock"

    def is_up(self) -> bool:
        """Whether a `plait up` holds this mesh's lock."""
        try:
            handle = os.open(self.state / "lock", os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def recorded(self) -> dict[str, object]:
        """mesh.json; empty when there is none."""
        try:
            content: dict[str, object] = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return {}
        return content

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the mesh for one `up`; raises Failure when another one does."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        owned(self.state)
        owned(self.sockets)
        handle = os.open(self.state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            hint = f"plait down --mesh {self.name}, or give this one another --name"
            raise Failure(f"mesh {self.name} is up already", hint, USAGE) from None
        try:
            yield
        finally:
            os.close(handle)


def owned(folder: Path) -> None:
    """Refuses a folder that is somebody else's (in /tmp anyone may have made it first) and closes it to others."""
    status = folder.stat()
    if status.st_uid != os.getuid():
        raise Failure(f"{folder} belongs to another user", "give a folder of your own with --state", USAGE)
    if status.st_mode & 0o077:
        folder.chmod(0o700)


def states_folder() -> Path:
    """Where the state folders of named meshes stand."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "plait"


def runtime_folder() -> Path:
    """Where the sockets of meshes stand; /tmp when the session has no runtime folder."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / "plait" if base else Path(f"/tmp/plait-{os.getuid()}")


def place(name: str, state: Path | None = None) -> Mesh:
    """The folders of a mesh. With `state` the sockets stand below it, unless that path is too long for a socket."""
    if state is None:
        return Mesh(name, states_folder() / name, runtime_folder() / name)
    state = state.absolute()
    sockets = state / "sockets"
    if len(os.fsencode(sockets)) > LONGEST_SOCKETS_FOLDER:
        sockets = Path(f"/tmp/plait-{os.getuid()}") / hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    return Mesh(name, state, sockets)


def find(name: str | None, state: Path | None) -> Mesh:
    """The running mesh a verb is asked about; raises Failure that says how to choose or how to start one."""
    if state is not None:
        mesh = place("", state)
        mesh = Mesh(str(mesh.recorded().get("name") or state.name), mesh.state, mesh.sockets)
        if mesh.is_up():
            return mesh
        raise Failure(f"no mesh is up in {state}", "plait up DIR --state " + str(state), UNREACHABLE)
    running = up_now()
    if name is not None:
        for mesh in running:
            if mesh.name == name:
                return mesh
        names = ", ".join(mesh.name for mesh in running) or "none"
        raise Failure(f"mesh {name} is not up", f"up now: {names}", UNREACHABLE)
    if not running:
        raise Failure(
            "no mesh is up",
            "plait up DIR starts one; plait demo shows one; --cluster asks the mesh of a cluster",
            UNREACHABLE,
        )
    if len(running) > 1:
        names = ", ".join(mesh.name for mesh in running)
        raise Failure(f"several meshes are up: {names}", f"choose one: --mesh {running[0].name}", USAGE)
    return running[0]


def up_now() -> list[Mesh]:
    """All named meshes that are up, by name."""
    folder = states_folder()
    names = sorted(path.parent.name for path in folder.glob("*/mesh.json")) if folder.is_dir() else []
    return [mesh for mesh in map(place, names) if mesh.is_up()]
