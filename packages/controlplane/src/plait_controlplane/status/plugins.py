"""What became of Plugins beside the proxies, as people are told of the object. Pure; called by `view`.

A proxy that could not load a version says why, and what serves meanwhile: the version before, or the user's
onLoadFailure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from plait_controlplane.resources.problem import Problem
from plait_controlplane.sources.lastgood import State, Verdict
from plait_controlplane.status.proxies import ProxyState

LINES = 6
"""Of a traceback the last lines tell what is wrong."""


def judged(verdicts: Iterable[Verdict], proxies: Iterable[ProxyState], versions: Mapping[str, bytes]) -> list[Verdict]:
    """The verdicts, those of Plugins with what proxies say of the version in force (by full name)."""
    connected = list(proxies)
    return [_judged(verdict, connected, versions) if verdict.kind == "Plugin" else verdict for verdict in verdicts]


def _judged(verdict: Verdict, proxies: list[ProxyState], versions: Mapping[str, bytes]) -> Verdict:
    name = f"{verdict.namespace}/{verdict.name}"
    failed = [
        (proxy.proxy, one)
        for proxy in proxies
        for one in proxy.plugins
        if one.name == name and one.state == "Failed" and one.version == versions.get(name)
    ]
    if not failed or verdict.state != "Accepted":
        return verdict
    whole = all(one.earlier_serves for _, one in failed)
    state: State = "Stale" if whole else "Refused"
    problems = [
        Problem(
            verdict.file, verdict.line, 1, f"Plugin {name}", "spec",
            f"beside {proxy} it was not loaded, {_meanwhile(one.earlier_serves)}: {_last(one.reason)}",
        )
        for proxy, one in failed
    ]  # fmt: skip
    return replace(verdict, state=state, problems=(*verdict.problems, *problems))


def _meanwhile(earlier_serves: bool) -> str:
    return "the version before serves on" if earlier_serves else "calls get what onLoadFailure says"


def _last(reason: str) -> str:
    return "\n".join(reason.strip().splitlines()[-LINES:])
