"""The commands of others that a cluster takes, and what to do where one is missing. Called by everything beside it."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

HOW = {
    "docker": "install Docker Engine (https://docs.docker.com/engine/install), or podman-docker",
    "kind": "go install sigs.k8s.io/kind@v0.33.0, or https://kind.sigs.k8s.io/docs/user/quick-start",
    "kubectl": "https://kubernetes.io/docs/tasks/tools",
    "go": "install Go 1.26 or newer (https://go.dev/dl)",
}


class Missing(Exception):
    """Something that the machine must have; the message says how to get it."""


class Failed(Exception):
    """A command that did not do what it should; the message holds what it said."""


def require(*names: str) -> None:
    """Raises Missing with all that is not there."""
    missing = [f"{name} is missing: {HOW[name]}" for name in names if shutil.which(name) is None]
    if not missing and "docker" in names:
        try:
            run("docker", "version")
        except Failed as error:
            missing = [f"docker does not answer: start its daemon, or let this user reach it\n{error}"]
    if missing:
        raise Missing(
            "\n".join([*missing, "Without a registry, integration/kind/image/README.md says how to make all of it."])
        )


def run(*command: str | Path, given: str | None = None, cwd: Path | None = None, seconds: float = 600) -> str:
    """What the command printed; raises Failed."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, input=given, capture_output=True, text=True, cwd=cwd, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"{_named(words)} did not end within {seconds:g} s") from None
    if done.returncode != 0:
        raise Failed(f"{_named(words)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _named(words: Sequence[str]) -> str:
    return " ".join(words[:12])
