"""`plait plugin`: a scaffolded package passes its tests, is built, installed elsewhere and tested there; mistakes are
told.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from plait_cli.plugins.scaffold import Kind

BIN = Path(sys.executable).parent
ENOUGH = 600
"""Seconds: a build on a loaded machine."""


def plait(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "plait_cli.main", "plugin", *map(str, words)]
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=ENOUGH
    )


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    """One new package of each kind."""
    folder = tmp_path_factory.mktemp("packages")
    for kind in Kind:
        done = plait("new", f"my-{kind}", "--kind", kind, folder=folder)
        assert (done.returncode, f"cd my-{kind} && plait plugin test" in done.stdout) == (0, True), done.stderr
    return {kind: folder / f"my-{kind}" for kind in Kind}


@pytest.mark.parametrize("kind", Kind)
def test_a_new_package_passes_its_own_tests(packages: dict[Kind, Path], kind: Kind) -> None:
    done = plait("test", folder=packages[kind])
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", Kind)
def test_a_new_package_keeps_the_rules(packages: dict[Kind, Path], kind: Kind) -> None:
    done = plait("check", "-o", "json", folder=packages[kind])
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(finding["ok"] for finding in json.loads(done.stdout)["findings"])


def test_a_new_package_is_typed(packages: dict[Kind, Path]) -> None:
    sources = [str(folder / "src") for folder in packages.values()]
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={packages[Kind.auth]}/.mypy",
        *sources,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ENOUGH)
    assert done.returncode == 0, done.stdout


def test_a_new_package_is_built_installed_elsewhere_and_tested_there(
    packages: dict[Kind, Path], tmp_path: Path
) -> None:
    built = plait("build", "--no-isolated", "-o", "json", folder=packages[Kind.filter])
    assert built.returncode == 0, built.stderr
    wheel = json.loads(built.stdout)
    venv = tmp_path / "venv"
    subprocess.run([BIN / "uv", "venv", "-q", "--python", sys.executable, venv], check=True, timeout=ENOUGH)
    (site,) = venv.glob("lib/python*/site-packages")
    # What the wheel needs comes from here, the wheel itself from the file alone.
    (site / "needs.pth").write_text(sysconfig.get_paths()["purelib"])
    install = [BIN / "uv", "pip", "install", "-q", "--no-deps", "--offline", "--python", venv, wheel["path"]]
    subprocess.run(install, check=True, timeout=ENOUGH)
    shutil.copytree(packages[Kind.filter] / "tests", tmp_path / "elsewhere" / "tests")
    shutil.copy(packages[Kind.filter] / "README.md", tmp_path / "elsewhere")
    for words in (
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        ["-m", "plait_sdk.host.loading", "my-filter"],
    ):
        done = subprocess.run(
            [venv / "bin" / "python", *words],
            cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=False, timeout=ENOUGH,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_cost_of_each_hook_is_told_beside_no_plugin(packages: dict[Kind, Path]) -> None:
    done = plait("bench", "-o", "json", folder=packages[Kind.routing])
    assert done.returncode == 0, done.stderr
    (cost,) = json.loads(done.stdout)["hooks"]
    assert (cost["hook"], cost["budget_us"]) == ("choose_backend", 50_000)
    assert min(cost["alone_us"], cost["batch_us"], cost["none_us"]) > 0
    shown = plait("bench", folder=packages[Kind.routing]).stdout
    assert "choose_backend" in shown
    assert "NO PLUGIN" in shown


def test_a_published_version_never_changes(packages: dict[Kind, Path], tmp_path: Path) -> None:
    index = tmp_path / "index"
    package = tmp_path / "my-auth"
    shutil.copytree(packages[Kind.auth], package)
    wheel = json.loads(plait("build", "--no-isolated", "-o", "json", folder=package).stdout)
    for _ in range(2):
        published = plait("publish", wheel["path"], "--index", index, "-o", "json", folder=package)
        assert json.loads(published.stdout)["digest"] == wheel["digest"], published.stderr
    listed = json.loads(plait("list", "--index", index, "-o", "json", folder=package).stdout)
    assert [(each["version"], each["plugins"], each["digest"]) for each in listed["wheels"]] == [
        ("0.1.0", ["my-auth"], wheel["digest"])
    ]
    source = package / "src" / "plait_my_auth" / "plugin.py"
    source.write_text(source.read_text() + "\n# another\n")
    again = plait("build", "--no-isolated", "-o", "json", folder=package)
    refused = plait("publish", json.loads(again.stdout)["path"], "--index", index, folder=package)
    assert (refused.returncode, "holds another plait-my-auth 0.1.0" in refused.stderr) == (1, True), refused.stderr
    assert (index / wheel["file"]).exists()


BROKEN = '''"""Broken."""
import plait_sdk as plait

class MyFilter(plait.Plugin[plait.PluginConfig]):
    reads = plait.Reads(path=True)

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> None:
        request.path.split("/")[2]
'''


def test_check_shows_a_traceback_that_starts_at_the_authors_code(packages: dict[Kind, Path], tmp_path: Path) -> None:
    package = tmp_path / "my-filter"
    shutil.copytree(packages[Kind.filter], package)
    (package / "src" / "plait_my_filter" / "__init__.py").write_text(BROKEN)
    done = plait("check", "--config", os.devnull, folder=package)
    assert done.returncode == 2, done.stdout
    (tmp_path / "none.yaml").write_text("{}")
    done = plait("check", "--config", tmp_path / "none.yaml", folder=package)
    assert done.returncode == 1, done.stderr
    told = done.stdout.split("✗ survives odd requests")[1]
    assert "IndexError: list index out of range" in told
    assert 'plait_my_filter/__init__.py", line 9, in on_request' in told
    assert "plait_sdk/" not in told
    assert "✗ says what it does" in done.stdout


def test_check_tells_a_thread_that_is_started_at_import(packages: dict[Kind, Path], tmp_path: Path) -> None:
    package = tmp_path / "my-filter"
    shutil.copytree(packages[Kind.filter], package)
    init = package / "src" / "plait_my_filter" / "__init__.py"
    init.write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n" + init.read_text()
    )
    done = plait("check", folder=package)
    assert (done.returncode, "✗ loads (threads)" in done.stdout) == (1, True), done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("new", "Not A Name"), '"Not A Name" is no name of a plugin'),
        (("test",), "holds no pyproject.toml"),
        (("publish", "nothing.whl", "--index", "index"), "is no wheel"),
        (("new", "x", "--kind", "router"), "Invalid value"),
    ],
)
def test_wrong_usage_is_told(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = plait(*words, folder=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_with_several_plugins_asks_which(packages: dict[Kind, Path], tmp_path: Path) -> None:
    package = tmp_path / "my-filter"
    shutil.copytree(packages[Kind.filter], package)
    project = package / "pyproject.toml"
    line = 'my-filter = "plait_my_filter:MyFilter"\n'
    project.write_text(project.read_text().replace(line, line + line.replace("my-filter =", "other =")))
    asked = plait("check", folder=package)
    assert (asked.returncode, "--plugin my-filter or other" in asked.stderr) == (2, True)
    assert plait("check", "--plugin", "other", folder=package).returncode == 0
