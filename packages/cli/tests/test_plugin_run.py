"""`plait plugin run`: a real mesh around a new plugin, a save that is live, a broken save that changes nothing."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 120.0


class Running:
    """The command at work, and the lines that it said."""

    def __init__(self, package: Path) -> None:
        self.source = package / "src" / "plait_my_tenant" / "plugin.py"
        command = [sys.executable, "-m", "plait_cli.main", "plugin", "run"]
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            command, cwd=package, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self.read = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def said(self, pattern: str) -> re.Match[str]:
        """The next line that fits, once it was said; those before it are read."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for number, line in enumerate(self.lines[self.read :], self.read + 1):
                if found := re.search(pattern, line):
                    self.read = number
                    return found
            assert self.process.poll() is None, "\n".join(self.lines)
            time.sleep(0.05)
        raise AssertionError(f"{pattern} was not said, but\n" + "\n".join(self.lines))

    def save(self, old: str, new: str) -> None:
        """Changes the plugin's file as an editor does."""
        self.source.write_text(self.source.read_text().replace(old, new))

    def end(self) -> int:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    new = [sys.executable, "-m", "plait_cli.main", "plugin", "new", "my-tenant"]
    subprocess.run(new, cwd=tmp_path, check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    started = Running(tmp_path / "my-tenant")
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()


def test_what_is_saved_is_live_and_what_is_broken_changes_nothing(running: Running) -> None:
    assert running.said(r"my-tenant: generation \d+ live")
    url = running.said(r"curl (http://\S+)/acme/orders")[1]

    def reached(path: str) -> dict[str, str]:
        answer = httpx.get(url + path, timeout=PATIENCE_SECONDS, trust_env=False)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["headers"])

    assert reached("/acme/orders")["x-tenant"] == "acme"
    assert running.said(r"GET /acme/orders +\+x-tenant: acme  [\d.]+ ms")

    running.save('.split("/")[1]', '.split("/")[1].upper()')
    running.said(r"saved plugin.py → my-tenant: generation \d+ live after [\d.]+ s")
    assert reached("/acme/two")["x-tenant"] == "ACME"

    running.save("import plait_sdk as plait", "import plait_sdk as plait\nimport nothing_like_this")
    running.said(r"saved plugin.py → ✗ .*nothing_like_this.*\(the version before serves on\)")
    assert reached("/acme/three")["x-tenant"] == "ACME"

    running.save("import nothing_like_this", "")
    running.save('.split("/")[1].upper()', '.split("/")[7]')
    running.said(r"saved plugin.py → my-tenant: generation \d+ live after [\d.]+ s")
    answer = httpx.get(f"{url}/acme/four", timeout=PATIENCE_SECONDS, trust_env=False)
    assert (answer.status_code, answer.headers["plait-reason"]) == (500, "plugin_error")
    assert running.said(r"error: on_request: Traceback")
    assert running.said(r'error:   File ".*/plait_my_tenant/plugin.py", line \d+, in on_request')
    assert running.end() == 0
