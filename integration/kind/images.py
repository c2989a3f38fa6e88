"""Wheels of this checkout -> images of the proxy, with and without Python, and of the control plane. Called by `run`.

`./dev` has built the wheels that hold Rust; what Python needs of others is fetched once a uv.lock. While an image
is built, only nft is fetched, from the packages of its base.
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
PYTHON_PROXY = "plait/proxy-python:dev"
CONTROLPLANE = "plait/controlplane:dev"
PYTHON = "python:3.11-slim-bookworm"
"""The base of the control plane; scenarios run small programs on it."""

# The Python of the base image, whatever runs this; its libc is newer than any of these asks for.
TARGET = ["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11"]
MANYLINUX = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux2010")


def build() -> list[str]:
    """Builds the images; returns the names of all that a scenario needs."""
    context = FOLDER / "context"
    shutil.rmtree(context, ignore_errors=True)
    proxy, sdk, controlplane = (context / name for name in ("proxy", "sdk", "controlplane"))
    for folder in (proxy, sdk, controlplane):
        folder.mkdir(parents=True)
    shutil.copy(_built("plait-proxy"), proxy)
    for folder in (sdk, controlplane):
        shutil.copy(_built("plait-sdk"), folder)
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
    for package, folder in (("plait-controlplane", controlplane), ("plait-sdk", sdk)):
        for wheel in _dependencies(package).iterdir():
            shutil.copy(wheel, folder)
    for name, image in (("proxy", PROXY), ("proxy-python", PYTHON_PROXY), ("controlplane", CONTROLPLANE)):
        # The host's network: where no registry can be reached, packages can.
        file = HERE / "images" / f"{name}.Dockerfile"
        run("docker", "build", "-q", "--network", "host", "-t", image, "-f", file, context)
    _present(PYTHON)
    return [PROXY, PYTHON_PROXY, CONTROLPLANE, PYTHON]


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


def _dependencies(package: str) -> Path:
    """A folder of wheels: what a package of ours needs of others, as uv.lock pins it."""
    wanted = run("uv", "export", "-q", "--frozen", "--no-dev", "--no-emit-workspace", "--package", package, cwd=ROOT)
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
