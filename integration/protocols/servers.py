"""Runs servers of others as Debian packages them: as a user without rights, in a folder of their own, for a test.

Called by the tests of this folder. Starts nothing that is part of the mesh.
"""

import os
import pwd
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import certificates
import pytest
from mesh import listens, until

PATIENCE_SECONDS = 60
# Most such programs refuse root, or give it up for this user.
NOBODY = "nobody"


def program(name: str, package: str) -> str:
    """Where a program is; without it the test is skipped, and says which package of Debian has it."""
    # PostgreSQL keeps its programs apart by version, and what root alone runs is on no user's path.
    places = [*sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True), "/usr/sbin"]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt install {package})")
    return found


def user() -> str:
    """Who runs the servers: whoever runs the tests, but never root."""
    return NOBODY if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


@contextmanager
def folder(name: str) -> Iterator[Path]:
    """A folder that belongs to the servers' user."""
    with tempfile.TemporaryDirectory(prefix=f"plait-{name}-") as place:
        give(Path(place))
        yield Path(place)


def give(path: Path) -> None:
    """Gives a file, or a folder with all in it, to the servers' user."""
    for one in [path, *path.rglob("*")]:
        shutil.chown(one, user(), pwd.getpwnam(user()).pw_gid)


def certificate(place: Path, *names: str) -> Path:
    """Makes leaf.pem and leaf.key for each of `names` in a folder of `place`; gives the file of their root."""
    certificates.make(place, list(names))
    give(place)
    return place / names[0] / "roots.pem"


def name_of(name: str) -> str:
    """The name of a host in a certificate of `certificate`."""
    return f"{name}.bench.{certificates.DOMAIN}"


def trusting(root: Path, name: bool = True) -> ssl.SSLContext:
    """For a client: trusts `root` alone. `name`: and wants the server's name; a local port has none."""
    context = ssl.create_default_context(cafile=root)
    # What newer versions of Python demand beyond a chain and a name, our certificates of one day do not hold.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = name
    return context


def done(command: Sequence[str], place: Path) -> None:
    """Runs a program to its end, as the servers' user."""
    with (place / "made.log").open("wb") as log:
        code = subprocess.run(
            command, stdout=log, stderr=log, timeout=PATIENCE_SECONDS * 2, check=False, **_apart(place)
        ).returncode
    assert code == 0, f"{command[0]} ended with {code}: {(place / 'made.log').read_text(errors='replace')}"


@contextmanager
def running(command: Sequence[str], place: Path, port: int, end: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """A server from when it listens on `port` until it has ended."""
    with (place / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **_apart(place))
    try:
        until(lambda: listens(port) or server.poll() is not None, f"{command[0]} listens", PATIENCE_SECONDS)
        assert server.poll() is None, f"{command[0]} ended: {(place / 'server.log').read_text(errors='replace')}"
        yield
    finally:
        server.send_signal(end)
        try:
            server.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _apart(place: Path) -> dict[str, object]:
    """Options of a child: no rights, and nothing of our environment but the path."""
    options: dict[str, object] = {"cwd": place, "env": {"PATH": os.environ["PATH"], "HOME": str(place), "LC_ALL": "C"}}
    if os.geteuid() == 0:
        options |= {"user": NOBODY, "group": pwd.getpwnam(NOBODY).pw_gid, "extra_groups": []}
    return options
