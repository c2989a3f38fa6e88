"""A directory, judged offline: every problem at once. Called by `plait lint` and `plait explain --dir`."""

from dataclasses import dataclass
from pathlib import Path

from plait_controlplane.resources.fields import Metadata
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.workload import Workload
from plait_controlplane.resources.world import World
from plait_controlplane.sources.directory import files, load
from plait_controlplane.translate.everything import Translation, check, translate
from plait_controlplane.translate.workload import Listeners, called_at


@dataclass(frozen=True)
class LintReport:
    """What stands in a directory and what is wrong with it."""

    files: int
    objects: int
    problems: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        """Problems that are no mere notes."""
        return [problem for problem in self.problems if problem.severity == "error"]


def lint_directory(directory: Path) -> LintReport:
    """Every problem of every file, in the order of files and lines."""
    world, problems = load(directory)
    found = sorted({*problems, *check(world)})
    return LintReport(len(files(directory)), len(world.objects), found)


def offline(world: World) -> Translation:
    """The translation of a world that no mesh runs: a listener that the user left to the mesh is shown as port 1."""
    return translate(world, {_name(workload.metadata): _listeners(workload) for workload in world.workloads})


def _name(metadata: Metadata) -> str:
    return f"{metadata.namespace}/{metadata.name}"


def _listeners(workload: Workload) -> Listeners:
    sidecar = workload.spec.sidecar
    inbound = sidecar.inbound or f"{workload.spec.address}:1"
    return Listeners(inbound, sidecar.outbound or "", called_at(inbound, workload.spec.address))
