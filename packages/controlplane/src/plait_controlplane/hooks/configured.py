"""Owns whether `spec.config` of Plugins is what their own schemas say, where the package is in this environment.

Called by lint alone: it imports the authors' code. A Plugin with a digest means a wheel that nobody unpacked here, and
one that cannot be imported here may be where its proxy runs; both are judged there, when they are loaded.
"""

import re
from collections.abc import Iterator

from plait_sdk.config import read_config
from plait_sdk.errors import ConfigError
from plait_sdk.host.loading import find

from plait_controlplane.resources.plugin import Plugin
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.world import World

PART = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def check_configs(world: World) -> Iterator[Problem]:
    """Each field that a plugin refuses, at its place."""
    for stored, plugin in world.kind(Plugin):
        for path, reason in refused(plugin):
            parts = [int(number) if number else word for number, word in PART.findall(path)]
            yield stored.problem(("spec", "config", *parts), reason)


def refused(plugin: Plugin) -> tuple[tuple[str, str], ...]:
    """Paths below `config`, and reasons."""
    spec = plugin.spec
    if spec.digest:
        return ()
    name = f"{plugin.metadata.namespace}/{plugin.metadata.name}"
    try:
        found, _ = find(name, spec.plugin or "", spec.package)
        read_config(name, found.config_model(), spec.config)
    except ConfigError as error:
        return error.problems
    except Exception:  # whatever an import of others' code raises
        return ()
    return ()
