"""Wheels of this checkout -> images of the proxy and of the control plane. Called by `run`.

`./dev` has built the wheels that hold Rust; what the control plane needs of others is fetched once for each uv.lock.
Nothing is fetched while an image is built.
"""

import hashlib
import platform
import shutil
import sys
from pathlib import Path

from steps import CACHE, FOLDER, ROOT
from tools import Failed, Missing, run

HERE = Path(__file__).parent

PROXY = "plait/proxy:dev"
CONTROLPLANE = "plait/controlplane:dev"
PYTHON = "python:3.11-slim-bookworm"
"""The base of the control plane; scenarios run small programs on it."""

# The Python of the base image, whatever runs this; its libc is newer than any of these asks for.
TARGET = ["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11"]
MANYLINUX = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux2010")


def build() -> list[str]:
    """Builds both images; returns the names of all that a scenario needs."""
    context = FOLDER / "context"
    shutil.rmtree(context, ignore_errors=True)
    proxy, controlplane = context / "proxy", context / "controlplane"
    proxy.mkdir(parents=True)
    controlplane.mkdir()
    shutil.copy(_built("plait-proxy"), proxy)
    shutil.copy(_built("plait-sdk"), controlplane)
    run(
        "uv",
        "build",
        "-q",
        "--wheel",
        "--no-build-isolation",
        "--out-dir",
        controlplane,
        ROOT / "packages/controlplane",
    )
    for wheel in _dependencies().iterdir():
        shutil.copy(wheel, controlplane)
    for name, image in (("proxy", PROXY), ("controlplane", CONTROLPLANE)):
        run("docker", "build", "-q", "-t", image, "-f", HERE / "images" / f"{name}.Dockerfile", context)
    _present(PYTHON)
    return [PROXY, CONTROLPLANE, PYTHON]


def _present(image: str) -> None:
    """A base that an image was built on is not always an image of this machine."""
    try:
        run("docker", "image", "inspect", image)
    except Failed:
        run("docker", "pull", "-q", image)


def _built(name: str) -> Path:
    """The wheel that `./dev` installed into .venv."""
    stamp = ROOT / ".venv" / f".{name}"
    found = list((CACHE / "wheels" / f"{name}-{stamp.read_text().strip()}").glob("*.whl")) if stamp.exists() else []
    if len(found) != 1:
        raise Missing(f"there is no wheel of {name}: run ./dev setup")
    return found[0]


def _dependencies() -> Path:
    """A folder of wheels: what the control plane needs, as uv.lock pins it."""
    wanted = run(
        "uv", "export", "-q", "--frozen", "--no-dev", "--no-emit-workspace", "--package", "plait-controlplane", cwd=ROOT
    )  # fmt: skip
    key = hashlib.sha256(f"{wanted}{TARGET}{MANYLINUX}".encode()).hexdigest()[:16]
    folder = FOLDER / f"dependencies-{key}"
    if folder.is_dir():
        return folder
    fresh = folder.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    (fresh / "requirements.txt").write_text(wanted)
    platforms = [word for one in MANYLINUX for word in ("--platform", f"{one}_{platform.machine()}")]
    where = ["--no-deps", "--require-hashes", "-r", str(fresh / "requirements.txt"), "-d", str(fresh)]
    run(sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", *TARGET, *platforms, *where)
    (fresh / "requirements.txt").unlink()
    fresh.rename(folder)
    return folder
