"""`plait version`: the version of each part that is installed here."""

import subprocess
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

from plait_cli.binaries import locate
from plait_cli.errors import Failure
from plait_cli.output import Format, OutputOption, print_json


def version(output: OutputOption = Format.table) -> None:
    """Prints the versions of the command, the control plane, the SDK and the proxy."""
    versions = {name: of_package(name) for name in ("plait", "plait-controlplane", "plait-sdk")}
    versions["plait-proxy"] = of_proxy()
    if output is Format.json:
        print_json(versions)
        return
    for name, text in versions.items():
        print(f"{name:20}{text}")


def of_package(name: str) -> str:
    """The version of an installed distribution."""
    try:
        return installed(name)
    except PackageNotFoundError:
        return "not installed"


def of_proxy() -> str:
    """What the binary says of itself; it may come from elsewhere than its wheel."""
    try:
        told = subprocess.run(
            [locate("plait-proxy"), "--version"], capture_output=True, text=True, timeout=5, check=True
        )
    except (Failure, OSError, subprocess.SubprocessError):
        return "not installed"
    return told.stdout.strip().removeprefix("plait-proxy ")
