"""Objects as people are told of them: each with its state and what is wrong with it. Pure; called by `api`."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from plait_controlplane.sources.lastgood import Verdict


def objects(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """Entries of /v1/objects."""
    return [
        {
            "kind": verdict.kind,
            "namespace": verdict.namespace,
            "name": verdict.name,
            "file": verdict.file,
            "line": verdict.line,
            "status": verdict.state,
            "problems": [{**asdict(problem), "hint": ""} for problem in verdict.problems],
        }
        for verdict in verdicts
    ]
