"""Owns what plugins print and log: each line goes to the proxy with the plugin's name beside it.

Installed by the zygote before anything of an author's is imported; `Speaker.plugin` is set by whoever enters a hook.
"""

import io
import logging
import sys
from collections.abc import Iterable
from typing import Any

from plait_sdk.host.control import Control

LONGEST_LINE = 8192
"""Characters of a line that are kept: more is a dump, not a log."""

LEVELS = ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info"), (logging.NOTSET, "debug"))


class Speaker:
    """Who is at work, and where lines go."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.plugin: str | None = None

    def say(self, level: str, text: str) -> None:
        """Sends one line."""
        shown = text if len(text) <= LONGEST_LINE else text[:LONGEST_LINE] + " …"
        self.control.log(self.plugin, level, shown)


class Lines(io.TextIOBase):
    """A text stream that sends each whole line."""

    def __init__(self, speaker: Speaker, level: str) -> None:
        self._speaker = speaker
        self._level = level
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._speaker.say(self._level, line)
        return len(text)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """A line goes when it ends; half of one waits."""


class Handler(logging.Handler):
    """Sends records of `logging`."""

    def __init__(self, speaker: Speaker) -> None:
        super().__init__()
        self._speaker = speaker
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._speaker.say(next(word for least, word in LEVELS if record.levelno >= least), self.format(record))
        except Exception:
            self.handleError(record)


def capture(speaker: Speaker) -> None:
    """Takes over standard output, standard error and the root logger, from level info on."""
    sys.stdout = Lines(speaker, "info")
    sys.stderr = Lines(speaker, "warning")
    logging.basicConfig(level=logging.INFO, handlers=[Handler(speaker)], force=True)
    logging.captureWarnings(True)
