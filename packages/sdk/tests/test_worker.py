"""The loops of a worker on a real channel: batches, interruption, waiting hooks, cancellation, records."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import plait_sdk as plait
import pytest
from plait_sdk import _native
from plait_sdk.calls import Phase
from plait_sdk.host import worker
from plait_sdk.host.control import Control
from plait_sdk.host.dispatch import Dispatcher
from plait_sdk.host.waiting import Waiting
from plait_sdk.host.worker import _interrupter, serve_batch
from plait_sdk.manager import build, load

Loader = Callable[..., tuple[_native.Loopback, Dispatcher, _native.Channel]]


@pytest.fixture
def loaded() -> Loader:
    def make(*plugins: type[plait.Plugin[Any]], on_error: Any = "closed") -> Any:
        chain = build([load(each.__name__, each, None, _native.Interest, on_error=on_error) for each in plugins])
        loopback = _native.Loopback()
        channel = loopback.channel()
        return loopback, Dispatcher({0: chain}, channel), channel

    return make


def serve(loopback: _native.Loopback, dispatcher: Dispatcher, channel: _native.Channel) -> list[_native.Verdict]:
    serve_batch(dispatcher, channel, channel.take())
    channel.flush()
    return loopback.verdicts()


class Tag(plait.Plugin[plait.PluginConfig]):
    reads = plait.Reads(path=True)
    writes = plait.Writes(headers={"x-tag"})

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> plait.Verdict | None:
        request.headers["x-tag"] = request.path
        return plait.Deny("no") if request.path == "/no" else None


def test_a_batch_is_answered_call_by_call(loaded: Loader) -> None:
    loopback, dispatcher, channel = loaded(Tag)
    numbers = [loopback.call(Phase.REQUEST, 0, {"path": path}) for path in ("/a", "/no", "/b")]
    verdicts = serve(loopback, dispatcher, channel)
    assert [verdict.id for verdict in verdicts] == numbers
    assert [verdict.outcome for verdict in verdicts] == ["continue", "deny", "continue"]
    assert verdicts[2].effects == [(0, "set_request_header", "x-tag", "/b")]


class Hangs(plait.Plugin[plait.PluginConfig]):
    reads = plait.Reads(path=True)

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> None:
        if request.path == "/hang":
            overrun()
            while True:
                try:
                    signal.raise_signal(signal.SIGUSR1)
                except Exception:
                    pytest.fail("an author's `except Exception` caught the interruption")


overrun: Callable[[], None] = lambda: None  # noqa: E731


@pytest.fixture
def interrupting() -> Iterator[Callable[[_native.Channel], None]]:
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda channel: signal.signal(signal.SIGUSR1, _interrupter(channel)) and None
    signal.signal(signal.SIGUSR1, before)


def test_an_interruption_fails_only_its_call(
    loaded: Loader, interrupting: Callable[[_native.Channel], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback, dispatcher, channel = loaded(Hangs)
    interrupting(channel)
    numbers = [loopback.call(Phase.REQUEST, 0, {"path": path}) for path in ("/a", "/hang", "/b")]
    monkeypatch.setitem(globals(), "overrun", lambda: loopback.interrupt(numbers[1]))
    verdicts = serve(loopback, dispatcher, channel)
    assert [verdict.outcome for verdict in verdicts] == ["continue", "error", "continue"]
    assert verdicts[1].text == "deadline"


def test_a_signal_that_is_meant_for_no_hook_is_ignored(
    loaded: Loader, interrupting: Callable[[_native.Channel], None]
) -> None:
    _, _, channel = loaded(Hangs)
    interrupting(channel)
    signal.raise_signal(signal.SIGUSR1)


class Exits(plait.Plugin[plait.PluginConfig]):
    @plait.hookimpl
    def on_request(self) -> None:
        raise SystemExit(3)


def test_a_hook_that_exits_ends_no_worker(loaded: Loader) -> None:
    loopback, dispatcher, channel = loaded(Exits)
    loopback.call(Phase.REQUEST, 0, {})
    (verdict,) = serve(loopback, dispatcher, channel)
    assert (verdict.outcome, verdict.text) == ("error", "SystemExit: 3")


def test_a_hook_that_raises_is_told_with_its_traceback_once_a_second(
    loaded: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback, dispatcher, channel = loaded(Exits)
    ours, theirs = socket.socketpair()
    seconds = iter([10.0, 10.9, 11.1])
    monkeypatch.setattr(worker.time, "monotonic", lambda: next(seconds))
    dispatcher.failed = worker.Failures(Control(theirs)).tell
    for _ in range(3):
        loopback.call(Phase.REQUEST, 0, {})
    serve(loopback, dispatcher, channel)
    said = [Control(ours).receive()[0] for _ in range(2)]
    assert [(line["plugin"], line["level"]) for line in said] == [("Exits", "error")] * 2
    assert "in on_request" in said[0]["text"]
    assert next(seconds, None) is None


class Counts(plait.Plugin[plait.PluginConfig]):
    sizes: list[int] = []  # noqa: RUF012  # of all instances, for the test to see

    @plait.hookimpl
    def on_log(self, records: list[plait.LogRecord]) -> None:
        self.sizes.append(len(records))


def test_records_of_one_take_are_one_batch(loaded: Loader) -> None:
    loopback, dispatcher, channel = loaded(Counts)
    for status in range(200, 205):
        loopback.call(Phase.LOG, 0, {"status": status})
    assert [verdict.outcome for verdict in serve(loopback, dispatcher, channel)] == ["continue"] * 5
    assert Counts.sizes == [5]


class Waits(plait.Plugin[plait.PluginConfig]):
    reads = plait.Reads(path=True)
    writes = plait.Writes(headers={"x-tag"})

    @plait.hookimpl
    async def on_request(self, request: plait.Request) -> None:
        if request.path == "/never":
            await asyncio.get_running_loop().create_future()
        if request.path == "/slow":
            for _ in range(5):
                await asyncio.sleep(0)
        request.headers["x-tag"] = request.path


async def until(loopback: _native.Loopback, wanted: int) -> list[_native.Verdict]:
    """Verdicts in the order in which they came, when there are so many."""
    found: list[_native.Verdict] = []
    async with asyncio.timeout(60):
        while len(found) < wanted:
            await asyncio.sleep(0)
            found += loopback.verdicts()
    return found


@pytest.fixture
async def waiting(loaded: Loader) -> Any:
    loopback, dispatcher, channel = loaded(Waits, Tag)
    control, theirs = socket.socketpair()
    waiting = Waiting(dispatcher, channel, Control(theirs), asyncio.get_running_loop())
    asyncio.get_running_loop().add_reader(channel.fileno(), waiting.guarded)
    waiting.take()
    yield loopback, waiting
    asyncio.get_running_loop().remove_reader(channel.fileno())
    control.close()
    theirs.close()


async def test_hooks_that_wait_do_not_hold_others_up(waiting: Any) -> None:
    loopback, _ = waiting
    slow, fast = (loopback.call(Phase.REQUEST, 0, {"path": path}) for path in ("/slow", "/fast"))
    verdicts = await until(loopback, 2)
    assert [verdict.id for verdict in verdicts] == [fast, slow]
    assert [verdict.effects for verdict in verdicts] == [
        [(0, "set_request_header", "x-tag", path), (1, "set_request_header", "x-tag", path)]
        for path in ("/fast", "/slow")
    ]


async def test_a_call_that_waits_is_cancelled_and_answered(waiting: Any) -> None:
    loopback, worker = waiting
    number = loopback.call(Phase.REQUEST, 0, {"path": "/never"})
    worker.take()
    assert list(worker.tasks) == [number]
    await asyncio.sleep(0)  # lets the task begin to wait
    loopback.cancel(number)
    loopback.cancel(number + 1000)
    (verdict,) = await until(loopback, 1)
    assert (verdict.id, verdict.outcome, verdict.text, verdict.plugin) == (number, "error", "deadline", 0)
    assert worker.tasks == {}
