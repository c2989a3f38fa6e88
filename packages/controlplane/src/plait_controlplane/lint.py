"""A directory, judged offline: every problem at once. Called by `plait lint` and `plait explain --dir`."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from plait_controlplane.hooks.configured import check_configs
from plait_controlplane.hooks.enabled import read_enabled
from plait_controlplane.hooks.judgement import Judgement, Reviewed
from plait_controlplane.hooks.runner import Runner
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


def lint_directory(directory: Path, hooks: Path | None = None) -> LintReport:
    """Every problem of every file, in the order of files and lines; `hooks` names plugins that judge too.

    Raises:
        BadFile: `hooks` says nothing that can be done.
    """
    world, problems = load(directory)
    count = len(world.objects)
    if hooks is not None:
        reviewed = asyncio.run(_reviewed(world, Runner(read_enabled(hooks))))
        # What plugins refuse is judged by the mesh all the same: every problem is told at once.
        refused = {key: one for key, one in world.objects.items() if key not in reviewed.world.objects}
        world = world.with_objects({**reviewed.world.objects, **refused})
        problems = [*problems, *reviewed.problems]
    found = sorted({*problems, *check(world), *check_configs(world)})
    return LintReport(len(files(directory)), count, found)


async def _reviewed(world: World, plugins: Runner) -> Reviewed:
    await plugins.start()
    return await Judgement(plugins).over(world)


def offline(world: World) -> Translation:
    """The translation of a world that no mesh runs: a listener that the user left to the mesh is shown as port 1."""
    return translate(world, {_name(workload.metadata): _listeners(workload) for workload in world.workloads})


def _name(metadata: Metadata) -> str:
    return f"{metadata.namespace}/{metadata.name}"


def _listeners(workload: Workload) -> Listeners:
    sidecar = workload.spec.sidecar
    inbound = sidecar.inbound or f"{workload.spec.address}:1"
    return Listeners(inbound, sidecar.outbound or "", called_at(inbound, workload.spec.address))
