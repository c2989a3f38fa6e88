"""Generations on disk: the number in force, what it held, and the last hundred as YAML. Called by `folder`.

A control plane that starts over broken files finds here what was in force, and never gives a number twice.
"""

import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from plait_controlplane.resources.cluster import Cluster
from plait_controlplane.resources.reader import StoredObject, read, title
from plait_controlplane.resources.world import World
from plait_controlplane.sources.lastgood import Settled

LOG = logging.getLogger(__name__)
KEPT = 100


@dataclass(frozen=True)
class Generation:
    """One state of the world. `digest` tells whether proxies would see a difference."""

    number: int = 0
    digest: str = ""
    changed_unix: float = 0.0
    change: str = "nothing read yet"
    world: World = field(default_factory=World)


class History:
    """The state folder's generation.json and generations/."""

    def __init__(self, state: Path) -> None:
        self._record = state / "generation.json"
        self._folder = state / "generations"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def last(self) -> Generation:
        """The one in force when the control plane ended; the first beginning of all when there is none."""
        try:
            record = json.loads(self._record.read_text())
            number = int(record["generation"])
        except FileNotFoundError:
            return Generation(self._highest())
        except (OSError, ValueError, KeyError) as error:
            LOG.error("%s cannot be read, going on from the highest generation kept: %s", self._record, error)
            return Generation(self._highest())
        try:
            world = self._world(number, record["places"])
        except (OSError, KeyError) as error:
            LOG.error("generation %d cannot be read: %s", number, error)
            world = World()
        return Generation(number, record["digest"], record["changed_unix"], record["change"], world)

    def keep(self, generation: Generation, settled: Settled) -> None:
        """Writes a generation down, before any proxy hears of it."""
        kept = {key: stored for key, stored in settled.world.objects.items() if key not in settled.stand_ins}
        text = yaml.safe_dump_all((stored.document.data for stored in kept.values()), sort_keys=False)
        _write(self._folder / f"{generation.number}.yaml", text)
        record = {
            "generation": generation.number,
            "digest": generation.digest,
            "changed_unix": generation.changed_unix,
            "change": generation.change,
            "places": {title(key): stored.file for key, stored in kept.items()},
        }
        _write(self._record, json.dumps(record, indent=1))
        for path in self._folder.glob("*.yaml"):
            if path.stem.isdigit() and int(path.stem) <= generation.number - KEPT:
                path.unlink(missing_ok=True)

    def _world(self, number: int, places: dict[str, str]) -> World:
        path = self._folder / f"{number}.yaml"
        found, problems = read(str(path), path.read_text(encoding="utf-8"))
        for problem in problems:
            LOG.warning("generation %d: %s %s", number, problem.object, problem.message)
        objects = {
            stored.key: StoredObject(stored.resource, places.get(stored.title, str(path)), stored.document)
            for stored in found
        }
        return World(dict(sorted(objects.items())))

    def _highest(self) -> int:
        return max((int(path.stem) for path in self._folder.glob("*.yaml") if path.stem.isdigit()), default=0)


def what_changed(before: World, after: World) -> str:
    """For people: "routes.yaml changed HTTPRoute bookshop/reviews", "pod shop/web-1 came"; empty when neither did."""
    told: dict[tuple[str, str], list[str]] = {}
    for key in sorted({*before.objects, *after.objects}):
        old, new = before.objects.get(key), after.objects.get(key)
        if old is not None and new is not None and old.document.data == new.document.data:
            continue
        verb = "added" if old is None else "removed" if new is None else "changed"
        stored = new or old
        if stored is not None:
            # On a cluster an object's file is its own name.
            file = "" if stored.file == "/".join(filter(None, key)) else f"{Path(stored.file).name} "
            told.setdefault((file, verb), []).append(title(key))
    parts = [f"{file}{verb} {_few(names)}" for (file, verb), names in told.items()]
    parts += _cluster_changed(before.cluster, after.cluster)
    return "; ".join(parts[:3]) + (f"; {len(parts) - 3} more files" if len(parts) > 3 else "")


def _cluster_changed(before: Cluster, after: Cluster) -> list[str]:
    """Of pods with a proxy, and of the endpoints of Services where no pod says why."""
    pods = {
        "came": [name for name in after.pods if name not in before.pods],
        "gone": [name for name in before.pods if name not in after.pods],
        "changed": [name for name, pod in after.pods.items() if before.pods.get(name, pod) != pod],
    }
    parts = [f"pods {verb}: {_few(sorted(names))}" for verb, names in pods.items() if names]
    services = {*before.slices, *after.slices}
    moved = sorted(name for name in services if before.slices.get(name) != after.slices.get(name))
    return parts or ([f"endpoints changed of {_few(moved)}"] if moved else [])


def _few(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(path.suffix + ".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
