"""How soon what an author wrote is live on a running mesh, and that nobody who calls notices. Times are printed."""

import shutil
import statistics
import time
from pathlib import Path

from plugged import HERE, Mesh, live, until
from steady import Steady

RELOADS = 50
VERSIONS = 2
"""Wheels that take turns: each reload is other code, and another configuration."""


def test_from_nothing_to_live(mesh: Mesh, tmp_path: Path) -> None:
    began = time.monotonic()

    def step(what: str) -> None:
        print(f"{time.monotonic() - began:6.2f} s  {what}")

    package = tmp_path / "first-one"
    new = mesh.plait("plugin", "new", "first-one", "--kind", "filter", "--dir", str(tmp_path))
    assert new.returncode == 0, new.stderr
    step("plait plugin new")
    source = package / "src" / "plait_first_one" / "plugin.py"
    text = source.read_text()
    assert text.count('.split("/")[1]') == 1
    source.write_text(text.replace('.split("/")[1]', '.split("/")[1].upper()'))
    step("one line is edited")
    built = mesh.plait("plugin", "build", "--no-isolated", "--dir", str(package))
    assert built.returncode == 0, built.stderr
    (wheel,) = (package / "dist").glob("*.whl")
    digest = mesh.publish(wheel)
    step("plait plugin build")
    mesh.attach("first", package="plait-first-one", plugin="first-one", digest=digest)
    until(lambda: mesh.received(path="/acme/x")["headers"].get("x-tenant") == "ACME", "the plugin is live")
    step("live on the running mesh")
    (mesh.yaml / "first.yaml").unlink()
    until(lambda: "x-tenant" not in mesh.received()["headers"], "the plugin is gone")


def test_reloads_lose_no_request(mesh: Mesh, tmp_path: Path) -> None:
    digests = [versioned(mesh, tmp_path / str(number), f"1.{number}.7") for number in range(VERSIONS)]
    mesh.attach("p", config={"word": "word-0"})
    live(mesh, "word-0")
    took = []
    with Steady(mesh.ports["web_out"], "/") as load:
        for number in range(1, RELOADS + 1):
            began = time.monotonic()
            mesh.attach("p", digest=digests[number % VERSIONS], config={"word": f"word-{number}"})
            live(mesh, f"word-{number}")
            took.append(time.monotonic() - began)
    median, longest = statistics.median(took), max(took)
    print(f"{RELOADS} reloads, {len(load.seen)} requests: live after {median:.2f} s, {longest:.2f} s at most")
    assert load.wrong() == []
    # Each was answered by the whole of one version.
    assert {one.answered for one in load.seen} <= {f"word-{number}" for number in range(RELOADS + 1)}
    mesh.detach("p")


def versioned(mesh: Mesh, folder: Path, version: str) -> str:
    """Builds the test package as another version; its digest."""
    shutil.copytree(HERE / "package", folder)
    manifest = folder / "pyproject.toml"
    text = manifest.read_text()
    assert text.count('version = "1.2.0"') == 1
    manifest.write_text(text.replace('version = "1.2.0"', f'version = "{version}"'))
    return mesh.build(folder)
