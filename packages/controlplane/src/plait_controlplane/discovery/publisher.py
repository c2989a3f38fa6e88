"""The current publication and who waits for the next. Written by `app`, read by every stream; one event loop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from plait_controlplane.interest.publication import Publication


class Publisher:
    """Holds the generation in force."""

    def __init__(self, first: Publication) -> None:
        self.current = first
        self._waiting: set[asyncio.Event] = set()

    def publish(self, publication: Publication) -> None:
        """Puts a generation in force and wakes every stream."""
        self.current = publication
        for event in self._waiting:
            event.set()

    @contextmanager
    def notices(self) -> Iterator[asyncio.Event]:
        """An event that is set at every publication; whoever waits clears it first."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            yield event
        finally:
            self._waiting.discard(event)
