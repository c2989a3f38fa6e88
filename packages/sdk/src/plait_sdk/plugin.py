"""Owns the base class of plugins: a typed configuration, what it reads and writes, its name.

Subclassed by authors; made by the manager with the configuration of a `Plugin` object.
"""

import inspect
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from plait_sdk.config import PluginConfig
from plait_sdk.markers import Reads, Writes

C = TypeVar("C", bound=PluginConfig)


class Plugin(Generic[C]):
    """A plugin: hooks are methods marked `hookimpl`, `self.config` is what the user wrote in `spec.config`.

    One instance serves one `Plugin` object in one worker, and is called by one thread. What it keeps in `self` is
    gone when its worker is replaced; what must last for one request belongs in `request.attributes`.
    """

    reads: ClassVar[Reads] = Reads()
    writes: ClassVar[Writes] = Writes()
    uses_network: ClassVar[bool] = False
    """Whether hooks open sockets; the worker has none otherwise."""

    def __init__(self, config: C) -> None:
        self.config = config

    @classmethod
    def config_model(cls) -> type[PluginConfig]:
        """The model in the brackets of `Plugin[…]`; one without fields when there is none."""
        for base in inspect.getmro(cls):
            for generic in getattr(base, "__orig_bases__", ()):
                model = _model_of(generic)
                if model is not None:
                    return model
        return PluginConfig


def _model_of(generic: Any) -> type[PluginConfig] | None:
    origin = get_origin(generic)
    if not (isinstance(origin, type) and issubclass(origin, Plugin)):
        return None
    (model,) = get_args(generic)
    return model if isinstance(model, type) and issubclass(model, PluginConfig) else None
