"""The tasks of this checkout: `./dev nox -l` lists them, bare `./dev nox` is what CI gates on.

All run in .venv, which `./dev` makes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

ROOT = Path(__file__).parent
SYNC_BENCH = [
    "uv",
    "sync",
    "-q",
    "--frozen",
    "--inexact",
    "--no-install-workspace",
    "--all-packages",
    "--group",
    "bench",
]
PLUGINS = sorted(path.parent.relative_to(ROOT) for path in ROOT.glob("plugins/*/pyproject.toml"))
PYTHON = [
    "packages/sdk/src",
    "packages/controlplane/src",
    "packages/cli/src",
    *(str(folder / "src") for folder in PLUGINS),
]
RUST = ["cargo", "test", "-q", "--locked", "--workspace", "--exclude", "plait-sdk-native", "--no-fail-fast"]
LAST_FAILED = ROOT / ".pytest_cache/v/cache/lastfailed"
PASSED = ROOT / ".pytest_cache/passed"
nox.options.sessions = ["fmt", "lint", "types", "layers", "proto", "test", "rust", "docs", "wheels"]
nox.options.default_venv_backend = "none"


def run(session: nox.Session, *command: str, **options: object) -> None:
    session.run(*command, external=True, **options)  # type: ignore[arg-type]


@nox.session
def fmt(session: nox.Session) -> None:
    """Formatting of both languages; `-- --fix` writes it."""
    fix = "--fix" in session.posargs
    run(session, "ruff", "format", *([] if fix else ["--check"]), ".")
    run(session, "cargo", "fmt", "--all", *([] if fix else ["--check"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Style and mistakes: ruff, clippy with warnings as errors, cargo-deny where it is installed."""
    run(session, "ruff", "check", ".")
    run(session, "cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings")
    if shutil.which("cargo-deny") is None:
        session.warn("cargo-deny is not installed, dependencies are not checked: cargo install --locked cargo-deny")
        return
    # Advisories are left out: their database is fetched anew each time, and a gate must not depend on that.
    run(session, "cargo", "deny", "--log-level", "error", "--locked", "check", "licenses", "bans", "sources")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict."""
    run(session, "mypy", *PYTHON)


@nox.session
def layers(session: nox.Session) -> None:
    """The direction of dependencies: import-linter for Python, `cargo metadata` against the list for Rust."""
    run(session, "lint-imports")
    run(session, "cargo", "test", "-q", "--locked", "-p", "plait-app", "--test", "layers")


@nox.session
def proto(session: nox.Session) -> None:
    """Generates the contract in both languages and fails when the checked-in code differs; `-- --fix` keeps it."""
    generated = ["packages/sdk/src/plait_sdk/_gen", "packages/proxy/crates/wire/src/gen"]
    run(session, sys.executable, "packages/sdk/tools/generate.py")
    run(session, "cargo", "run", "-q", "--locked", "-p", "plait-wiregen")
    if "--fix" in session.posargs:
        return
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", *generated], cwd=ROOT, capture_output=True, text=True, check=True
    )
    if changed.stdout:
        session.error(f"generated code differs from the .proto files; commit what was written:\n{changed.stdout}")


@nox.session
def test(session: nox.Session) -> None:
    """Every Python test that needs no container engine."""
    shutil.rmtree(ROOT / ".pytest_cache", ignore_errors=True)
    run(session, "pytest", *session.posargs)
    PASSED.write_text("the whole of `test` passed\n")


@nox.session
def rust(session: nox.Session) -> None:
    """Every Rust test, corpora of the fuzz targets included."""
    run(session, *RUST)


@nox.session
def again(session: nox.Session) -> None:
    """What failed in `test`, and every Rust test, once more: tells a mistake from a busy machine."""
    if not PASSED.exists():
        # Without a list of what failed (pytest itself fell) everything is run.
        run(session, "pytest", *(["--last-failed"] if LAST_FAILED.exists() else []))
    run(session, *RUST)


@nox.session
def docs(session: nox.Session) -> None:
    """Documentation builds without a warning, and names only files that exist."""
    run(session, "cargo", "doc", "-q", "--locked", "--workspace", "--no-deps", env={"RUSTDOCFLAGS": "-D warnings"})
    run(session, sys.executable, "docs/check.py")


CHECKS = {
    "plait_sdk": ["python", "-c", "import plait_sdk.contracts; plait_sdk.check_pattern('a|b')"],
    "plait_proxy": ["plait-proxy", "--version"],
    "plait_controlplane": ["plait-controlplane", "--help"],
    "plait": ["plait", "--help"],
}
"""What shows that a distribution works. Each is installed with those of ours that it needs."""

NEEDS = {
    "plait_sdk": [],
    "plait_proxy": [],
    "plait_controlplane": ["plait_sdk"],
    "plait": ["plait_sdk", "plait_proxy", "plait_controlplane"],
}

for folder in PLUGINS:
    distribution = f"plait_{folder.name.replace('-', '_')}"
    CHECKS[distribution] = ["python", "-m", "plait_sdk.host.loading", folder.name]
    NEEDS[distribution] = ["plait_sdk"]


@nox.session
def wheels(session: nox.Session) -> None:
    """Builds all wheels, those of our plugins too, and installs each into a clean virtual environment of its own."""
    out = ROOT / "dist"
    shutil.rmtree(out, ignore_errors=True)
    for manifest in ("packages/sdk/crates/native/Cargo.toml", "packages/proxy/crates/app/Cargo.toml"):
        run(session, "maturin", "build", "-q", "--release", "--locked", "--manifest-path", manifest, "--out", str(out))
    for package in ("packages/controlplane", "packages/cli", *map(str, PLUGINS)):
        run(session, "uv", "build", "-q", "--wheel", "--no-build-isolation", "--out-dir", str(out), package)
    for name, check in CHECKS.items():
        # By file, never by name: an index may hold a stranger's distribution of the same name.
        files = [str(path) for one in [name, *NEEDS[name]] for path in out.glob(f"{one}-*.whl")]
        with tempfile.TemporaryDirectory() as folder:
            run(session, "uv", "venv", "-q", folder)
            clean = {"VIRTUAL_ENV": folder, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
            run(session, "uv", "pip", "install", "-q", *files, env=clean)
            run(session, f"{folder}/bin/{check[0]}", *check[1:], silent=True, env=clean)


@nox.session
def demo(session: nox.Session) -> None:
    """Every claim of the demo on live traffic; `-- --churn 5` makes it short."""
    run(session, "plait", "demo", "--check", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """What breaks a part of a running mesh; `./dev test` runs a short set. `-- --full` makes the load of a release."""
    named = any(not word.startswith("-") and Path(word).exists() for word in session.posargs)
    folders = [] if named else ["integration/standalone", "integration/faults", "integration/plugins"]
    run(session, "pytest", "-m", "fault", *folders, *session.posargs)


@nox.session
def faults_compare(session: nox.Session) -> None:
    """Some of the same faults with Envoy in the place of our sidecars; not among what is gated on."""
    run(session, *SYNC_BENCH)
    search = os.pathsep.join(str(ROOT / "integration" / name) for name in ("load", "protocols"))
    run(session, sys.executable, "integration/faults/compare.py", *session.posargs, env={"PYTHONPATH": search})


@nox.session
def kind(session: nox.Session) -> None:
    """The scenarios on a kind cluster, made and deleted; `-- --keep` leaves it. Needs Docker, kind, kubectl, Go."""
    run(session, sys.executable, "integration/kind/run.py", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """The Gateway API conformance suite for the mesh profiles, on a kind cluster."""
    beside = {"PYTHONPATH": "integration/kind"}
    run(session, sys.executable, "integration/conformance/run.py", *session.posargs, env=beside)


@nox.session
def scale(session: nox.Session) -> None:
    """The control plane of a cluster with 1,000 Services and 1,000 simulated proxies; not among what is gated on."""
    search = os.pathsep.join(str(ROOT / name) for name in ("integration/scale", "packages/controlplane/tests/fakes"))
    run(session, sys.executable, "integration/scale/at_scale.py", *session.posargs, env={"PYTHONPATH": search})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Five minutes of each fuzz target, `-- 30` for as many seconds. Corpora alone are replayed by `rust`."""
    if shutil.which("cargo-fuzz") is None:
        session.error("cargo-fuzz is missing: cargo install --locked cargo-fuzz, and rustup toolchain install nightly")
    seconds = session.posargs[0] if session.posargs else "300"
    session.chdir(ROOT / "packages/proxy")
    for target in sorted(path.stem for path in Path("fuzz/fuzz_targets").glob("*.rs")):
        limits = [f"-max_total_time={seconds}", "-max_len=2048"]
        run(session, "cargo", "+nightly", "fuzz", "run", "--fuzz-dir", "fuzz", target, "--", *limits)


@nox.session
def bench(session: nox.Session) -> None:
    """Benchmarks beside nginx, HAProxy and Envoy; `-- --groups hop,pair` runs some of them."""
    run(session, *SYNC_BENCH)
    run(session, "cargo", "build", "-q", "--release", "--locked", "-p", "plait-load")
    run(session, sys.executable, "integration/load/bench.py", *session.posargs)


@nox.session
def changelog(session: nox.Session) -> None:
    """What the next release will say."""
    run(session, "towncrier", "build", "--draft")
