"""What everything in Plait shares, and what authors of plugins import: `import plait_sdk as plait`.

A plugin is a `Plugin` with a `PluginConfig`, `Reads` and `Writes`, and methods marked `hookimpl`; they get views such
as `Request` and answer with a `Verdict`. `plait_sdk.contracts` holds the contract between control plane and proxy,
`check_pattern` is the pattern engine of the data path, `plait_sdk.testing` the harness for a plugin's tests.
"""

from plait_sdk._native import check_pattern
from plait_sdk.config import PluginConfig
from plait_sdk.control import Check, Command, Endpoint, IdentityRequest, Lifetime, Panel, Problem, Resource, Watch
from plait_sdk.errors import ConfigError, DefinitionError, HookTimeout, LoadError, PluginError, UndeclaredError
from plait_sdk.headers import Headers
from plait_sdk.markers import ALL, Reads, Writes, buffer, hookimpl, peek, stream
from plait_sdk.plugin import Plugin
from plait_sdk.types import (
    Attempt,
    Attributes,
    Body,
    Candidates,
    Connection,
    Destination,
    LogRecord,
    Outcome,
    Peer,
    Request,
    Response,
)
from plait_sdk.verdict import Continue, Deny, Reply, Verdict

__all__ = [
    "ALL",
    "Attempt",
    "Attributes",
    "Body",
    "Candidates",
    "Check",
    "Command",
    "ConfigError",
    "Connection",
    "Continue",
    "DefinitionError",
    "Deny",
    "Destination",
    "Endpoint",
    "Headers",
    "HookTimeout",
    "IdentityRequest",
    "Lifetime",
    "LoadError",
    "LogRecord",
    "Outcome",
    "Panel",
    "Peer",
    "Plugin",
    "PluginConfig",
    "PluginError",
    "Problem",
    "Reads",
    "Reply",
    "Request",
    "Resource",
    "Response",
    "UndeclaredError",
    "Verdict",
    "Watch",
    "Writes",
    "buffer",
    "check_pattern",
    "hookimpl",
    "peek",
    "stream",
]
