"""Owns what every plugin must keep: rules that hold whatever a plugin is for, each with what to do where it is broken.

Called by authors' tests (`check_plugin`) and, as `python -m plait_sdk.testing.conformance MODULE:CLASS`, by `plait
plugin check`, in a process of its own, so that what a plugin does when it is imported is seen too. Needs Hypothesis:
`plait-sdk[testing]`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings

from plait_sdk import _native
from plait_sdk.calls import Phase
from plait_sdk.definition import check
from plait_sdk.errors import PluginError
from plait_sdk.hookspecs import NOT_CALLED
from plait_sdk.host.loading import StageFailed, find, load_plugin
from plait_sdk.plugin import Plugin
from plait_sdk.testing.exchange import Exchange, Failure
from plait_sdk.testing.harness import Harness
from plait_sdk.testing.requests import odd_requests
from plait_sdk.testing.splitting import splits

EXAMPLES = 200
"""Requests that a rule tries: a second or two, and enough for each odd value to meet each field."""

BUDGET_SECONDS = 0.005
"""CPU time of one request: a tenth of the time that a phase has by default."""

BODIES = (b"", b"plain text, twice: plain text", bytes(range(256)), b'{"a": [1, 2, {"b": null}]}')

SETTINGS = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
"""The same requests each time: a rule that fails now and then helps nobody."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one rule. `traceback` starts at the author's code."""

    rule: str
    ok: bool
    message: str = ""
    hint: str = ""
    traceback: str = ""


class Broken(Exception):
    """A rule was broken by one request."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.traceback = traceback


def check_plugin(
    plugin: type[Plugin[Any]], config: Mapping[str, Any] | None = None, *, bodies: Sequence[bytes] = BODIES
) -> list[Finding]:
    """Holds a plugin against every rule that can be tried in this process.

    Args:
        plugin: the class.
        config: one that is valid.
        bodies: what its body hooks are tried with; give some that matter to it.
    """
    try:
        harness = Harness(plugin, config=config)
    except (PluginError, Exception) as error:
        return [Finding("loads", False, f"{type(error).__name__}: {error}")]
    with harness:
        return [Finding("loads", True), *_rules(plugin, harness, bodies)]


def _rules(plugin: type[Plugin[Any]], harness: Harness, bodies: Sequence[bytes]) -> Iterator[Finding]:
    yield from _documented(plugin)
    yield _typed(plugin)
    yield _tried("survives odd requests", "a hook raises where a caller may send anything", lambda: _survives(harness))
    yield _tried(
        "survives any split of a body", "keep what may go on in the next chunk", lambda: _splits(harness, bodies)
    )
    yield _tried("keeps its budget", "do the slow part once, in worker_started", lambda: _budget(harness))


def _tried(rule: str, hint: str, trial: Callable[[], None]) -> Finding:
    try:
        trial()
    except Broken as broken:
        return Finding(rule, False, broken.message, hint, broken.traceback)
    return Finding(rule, True)


def _documented(plugin: type[Plugin[Any]]) -> Iterator[Finding]:
    documented = bool(plugin.__dict__.get("__doc__"))
    yield Finding(
        "says what it does", documented, "" if documented else f"{plugin.__name__} has no docstring", "say it"
    )
    fields = plugin.config_model().model_fields
    bare = [name for name, field in fields.items() if not field.description]
    told = f"config.{bare[0]} has no description" if bare else ""
    yield Finding("describes its configuration", not bare, told, 'write Field(…, description="…")')


def _typed(plugin: type[Plugin[Any]]) -> Finding:
    package = import_module(plugin.__module__.partition(".")[0])
    marker = Path(package.__file__ or ".").parent / "py.typed"
    typed = marker.exists() or not hasattr(package, "__path__")
    return Finding(
        "is typed", typed, "" if typed else f"{marker} is missing", "add the empty file, so that mypy reads you"
    )


def _survives(harness: Harness) -> None:
    (loaded,) = harness.chain.plugins

    @SETTINGS
    @given(request=odd_requests(loaded.scope))
    def attempt(request: dict[str, Any]) -> None:
        _unbroken(harness.request(**request), f"{request['method']} {request['target']!r} {dict(request['headers'])}")

    attempt()


def _splits(harness: Harness, bodies: Sequence[bytes]) -> None:
    for body in bodies if Phase.REQUEST_BODY in harness.chain.phases else ():
        whole = harness.request("POST", "/", body=body)

        @SETTINGS
        @given(chunks=splits(body))
        def attempt(chunks: list[bytes], whole: Exchange = whole, body: bytes = body) -> None:
            exchange = harness.request("POST", "/", body=chunks)
            _unbroken(exchange, f"body {chunks}")
            if (exchange.sent_body, exchange.status) != (whole.sent_body, whole.status):
                raise Broken(f"{body!r} in one piece and as {chunks} come to different ends")

        attempt()


def _budget(harness: Harness) -> None:
    spent = []
    for number in range(50):
        before = time.thread_time()
        harness.request("GET", f"/shop/{number}", headers={"x-request": str(number)})
        spent.append(time.thread_time() - before)
    median = sorted(spent)[len(spent) // 2]
    if median > BUDGET_SECONDS:
        raise Broken(
            f"a request takes {median * 1000:.1f} ms of CPU; a tenth of the deadline is {BUDGET_SECONDS * 1000:.0f}"
        )


def _unbroken(exchange: Exchange, sent: str) -> None:
    if isinstance(exchange.verdict, Failure):
        raise Broken(f"{exchange.verdict.text}, for {sent}", exchange.verdict.traceback)


def check_entry(entry: str, config: Mapping[str, Any]) -> list[Finding]:
    """As `check_plugin`, and that the plugin loads as a zygote would load it; for a fresh process."""
    wanted = {"name": entry, "entry": entry, "config": dict(config), "on_error": "closed"}
    try:
        load_plugin(wanted, _native.Interest)
    except StageFailed as failed:
        return [Finding(f"loads ({failed.stage})", False, failed.message, traceback=failed.traceback)]
    plugin, _ = find(entry, entry)
    missing = [hook for hook in check(entry, plugin) if hook in NOT_CALLED]
    note = f"{', '.join(missing)}: not called by a mesh of this version, only by the harness" if missing else ""
    return [Finding("loads in a zygote, without threads", True, note), *check_plugin(plugin, config)]


def main() -> None:
    """Prints findings as a JSON list, between two lines that no plugin prints."""
    parser = argparse.ArgumentParser(prog="plait_sdk.testing.conformance")
    parser.add_argument("entry")
    parser.add_argument("--config", default="{}")
    given_words = parser.parse_args()
    findings = check_entry(given_words.entry, json.loads(given_words.config))
    sys.stdout.write(f"\n{MARK}{json.dumps([asdict(finding) for finding in findings])}\n")


MARK = "plait-findings: "
"""Begins the line that holds the findings; all others are the plugin's own."""

if __name__ == "__main__":
    main()
