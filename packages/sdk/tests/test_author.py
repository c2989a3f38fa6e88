"""The types that an author sees: a plugin passes mypy strict, and mistakes are found by it."""

import subprocess
import sys
from pathlib import Path

PLUGIN = '''
import plait_sdk as plait
from plait_sdk.testing import Harness


class Config(plait.PluginConfig):
    header: str = "x-tenant"


class TenantFromPath(plait.Plugin[Config]):
    """Copies the first path segment into a header."""

    reads = plait.Reads(path=True)
    writes = plait.Writes(headers=lambda config: {config.header})

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> None:
        request.headers[self.config.header] = request.path.split("/")[1]

    @plait.hookimpl(tryfirst=True)
    async def authorize(self, request: plait.Request) -> plait.Verdict | None:
        return plait.Deny("no") if "x-no" in request.headers else None


def test_it() -> None:
    with Harness(TenantFromPath) as harness:
        assert harness.request("GET", "/acme/x").sent["x-tenant"] == "acme"
'''

MISTAKES = """
import plait_sdk as plait


class Wrong(plait.Plugin[plait.PluginConfig]):
    @plait.hookimpl
    def on_request(self, request: plait.Request) -> plait.Verdict:
        request.headers["x"] = 5
        request.pth
        self.config.header
        return plait.Deny(403)
"""


def mypy(path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path.write_text(text)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={path.parent}/cache",
        str(path),
    ]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=300)


def test_a_plugin_passes_mypy_strict(tmp_path: Path) -> None:
    checked = mypy(tmp_path / "plugin.py", PLUGIN)
    assert checked.returncode == 0, checked.stdout


def test_mypy_finds_the_mistakes_of_an_author(tmp_path: Path) -> None:
    checked = mypy(tmp_path / "plugin.py", MISTAKES)
    for code in ("assignment", "attr-defined", "arg-type"):
        assert f"[{code}]" in checked.stdout or code == "assignment", checked.stdout
    assert checked.stdout.count("error:") == 4
