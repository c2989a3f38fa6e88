"""Owns a load that keeps its rate whoever answers, and what became of each request of it. Called by the tests.

A request is timed from when it was due, so that a stall counts for all that should have been sent meanwhile.
"""

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

ANSWER_SECONDS = 60.0
"""A request without an answer for so long is lost."""


@dataclass(frozen=True)
class Seen:
    """One request. `status` 0: none came, `said` is why; else what `plait-reason` and `x-answered` say."""

    due: float
    ended: float
    status: int
    reason: str = ""
    answered: str = ""
    said: str = ""


@dataclass
class Steady:
    """A context: some connections, each with `rate` requests a second for one path, until it is left."""

    port: int
    path: str
    connections: int = 2
    rate: float = 50.0
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(self.connections)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wrong(self, right: Callable[[Seen], bool] = lambda one: one.status == 200) -> list[Seen]:
        """What did not end as it should."""
        return [one for one in self.seen if not right(one)]

    def percentile(self, share: float, chosen: Callable[[Seen], bool]) -> float:
        """Milliseconds within which so many of the chosen requests were answered; 0 where there are none."""
        times = sorted(one.ended - one.due for one in self.seen if one.status and chosen(one))
        return times[min(int(len(times) * share), len(times) - 1)] * 1000 if times else 0.0

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            try:
                connection.request("GET", self.path, headers={"host": "stock"})
                answer = connection.getresponse()
                text = answer.read().decode(errors="replace")
            except OSError as error:
                self.seen.append(Seen(due, time.monotonic(), 0, said=f"{type(error).__name__}: {error}"))
                connection.close()
            else:
                reason, answered = answer.getheader("plait-reason", ""), answer.getheader("x-answered", "")
                said = "" if answer.status == 200 else text[:200]
                self.seen.append(Seen(due, time.monotonic(), answer.status, reason, answered, said))
            due += 1 / self.rate
        connection.close()
