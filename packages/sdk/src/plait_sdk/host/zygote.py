"""Owns the zygote: loads a generation of plugins once, freezes its heap, and forks a worker whenever the proxy asks.

Started by `__main__`. It never takes a call, and nothing of an author's runs in it after loading.
"""

import gc
import os
import selectors
import sys
from typing import Any, NoReturn

from plait_sdk import _native
from plait_sdk.hookspecs import CONTROL_PLANE, LIFE, NOT_CALLED
from plait_sdk.host.control import Control
from plait_sdk.host.loading import StageFailed, load_plugin
from plait_sdk.host.output import Speaker, capture
from plait_sdk.host.report import describe
from plait_sdk.host.worker import Order, work
from plait_sdk.manager import Chain, Loaded, build


class Zygote:
    """One generation of one trust group."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.speaker = Speaker(control)
        self.chains: dict[int, Chain] = {}
        self.order: dict[str, Any] = {}
        self.children: dict[int, int] = {}
        self.selector = selectors.DefaultSelector()

    def run(self) -> NoReturn:
        """Loads, then forks on demand until the proxy says stop or is gone."""
        message, _ = self.control.receive()
        capture(self.speaker)
        if not self._load(message):
            os._exit(1)
        gc.collect()
        gc.freeze()
        self.selector.register(self.control, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.control:
                    self._obey()
                else:
                    self._reap(key.fd)

    def _load(self, message: dict[str, Any]) -> bool:
        self.order = message
        sys.path[:0] = [path for plugin in message["plugins"] for path in plugin.get("path", [])]
        loaded, failed = {}, []
        for wanted in message["plugins"]:
            self.speaker.plugin = wanted["name"]
            self.speaker.say("info", f"loading from {', '.join(wanted.get('path', ())) or sys.prefix}")
            try:
                loaded[wanted["name"]] = self._served(load_plugin(wanted, _native.Interest))
            except StageFailed as failure:
                failed.append(failure)
        self.speaker.plugin = None
        for each in failed:
            self.control.send({"kind": "failed", **each.facts()})
        if failed:
            return False
        self.chains = {chain["id"]: build([loaded[name] for name in chain["plugins"]]) for chain in message["chains"]}
        self.control.send(
            {
                "kind": "loaded",
                "plugins": {name: describe(plugin) for name, plugin in loaded.items()},
                "chains": {str(chain["id"]): chain["plugins"] for chain in message["chains"]},
            }
        )
        return True

    def _served(self, loaded: Loaded) -> Loaded:
        """A plugin whose hooks are called; a hook that decides and is not called would be a guard that is not there."""
        elsewhere = [hook for hook in loaded.hooks if hook in CONTROL_PLANE]
        if elsewhere:
            told = f"{', '.join(elsewhere)}: called by the control plane, when the file of its --hooks names the plugin"
            if set(loaded.hooks) <= {*elsewhere, *LIFE}:
                raise StageFailed(loaded.name, "hooks", told)
            self.speaker.say("warning", told)
        missing = [hook for hook in loaded.hooks if hook in NOT_CALLED and hook not in elsewhere]
        if missing:
            told = f"{', '.join(missing)}: not called by this version of the mesh"
            if any(NOT_CALLED[hook] for hook in missing):
                raise StageFailed(loaded.name, "hooks", told)
            self.speaker.say("warning", told)
        return loaded

    def _obey(self) -> None:
        message, descriptors = self.control.receive()
        if message["kind"] == "stop":
            os._exit(0)
        if message["kind"] == "fork":
            self._fork(message, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _fork(self, message: dict[str, Any], descriptors: list[int]) -> None:
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self.control.log(None, "error", f"worker {message['worker']} was not forked: {error.strerror}")
            return
        if pid == 0:
            self.selector.close()
            self.control.close()
            work(Order(message, descriptors, self.order, self.chains, zygote), self.speaker)
        watch = os.pidfd_open(pid)
        self.children[watch] = pid
        self.selector.register(watch, selectors.EVENT_READ)
        self.control.send({"kind": "forked", "worker": message["worker"], "pid": pid})

    def _reap(self, watch: int) -> None:
        self.selector.unregister(watch)
        pid = self.children.pop(watch)
        _, status = os.waitpid(pid, 0)
        os.close(watch)
        signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        self.control.send({"kind": "exited", "pid": pid, "status": code, "signal": signal})
