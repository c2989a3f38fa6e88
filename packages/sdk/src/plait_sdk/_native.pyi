"""The native half of the SDK: the data path's own engine, for Python, and the worker's end of what a proxy asks
plugins.

Plugin authors never import it: `plait_sdk.host` runs on it, `plait_sdk.testing` too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar, overload

__all__ = [
    "Call",
    "Channel",
    "Headers",
    "Interest",
    "Loopback",
    "Verdict",
    "check_pattern",
    "die_with_parent",
    "sandbox",
]

T = TypeVar("T")

def check_pattern(source: str) -> None:
    """Compiles a pattern exactly as the proxy does, and forgets it.

    Raises:
        ValueError: the proxy would refuse the pattern; the message says why.
    """

class Interest:
    """The headers that one plugin declared: names that it reads and names that it writes; None means all. What it
    writes it may also read.
    """

    def __new__(cls, reads: Iterable[str] | None, writes: Iterable[str] | None) -> Interest: ...

class Headers:
    """A live view of headers or trailers for one plugin: what earlier plugins of the chain changed is seen, what it
    changes becomes an effect.

    Names are compared without regard to case. A name that the plugin did not declare raises PermissionError and says
    what to declare;
    a name or value that may not be in a message raises ValueError.
    """

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: T) -> str | T: ...
    def __getitem__(self, name: str) -> str:
        """The value, several joined by a comma; KeyError when there is none."""
    def __setitem__(self, name: str, value: str) -> None: ...
    def __delitem__(self, name: str) -> None: ...
    def __contains__(self, name: object) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def items(self) -> list[tuple[str, str]]:
        """Names and values of what the plugin declared to read, in order, repeated names as often as they are there."""
    def all(self, name: str) -> list[str]:
        """Every value of a header."""
    def append(self, name: str, value: str) -> None:
        """Adds a value, whatever is there already."""

class Call:
    """One call of a chain in one phase. What no plugin of the chain declared is None. Setting makes an effect of the
    plugin last begun.
    """

    @property
    def id(self) -> int: ...
    @property
    def phase(self) -> int:
        """The number of the phase; 255 says that the proxy no longer waits for the call of this id."""
    @property
    def chain(self) -> int: ...
    @property
    def skip(self) -> int:
        """A bit for each plugin of the chain that must not run."""
    @property
    def last(self) -> bool:
        """The last piece of a body."""
    method: str | None
    path: str | None
    query: str | None
    authority: str | None
    status: int | None
    body: bytes | None
    """The body or its piece; a new object each time it is asked for."""
    claims: str | None
    """JSON text of what the caller was found to be."""
    @property
    def scheme(self) -> str | None: ...
    @property
    def protocol(self) -> str | None: ...
    @property
    def peer_identity(self) -> str | None: ...
    @property
    def peer_namespace(self) -> str | None: ...
    @property
    def peer_service_account(self) -> str | None: ...
    @property
    def peer_address(self) -> str | None: ...
    @property
    def workload(self) -> str | None: ...
    @property
    def service(self) -> str | None: ...
    @property
    def route(self) -> str | None: ...
    @property
    def traceparent(self) -> str | None: ...
    @property
    def tracestate(self) -> str | None: ...
    @property
    def request_id(self) -> str | None: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def port(self) -> int | None: ...
    @property
    def duration_micros(self) -> int | None: ...
    @property
    def bytes_in(self) -> int | None: ...
    @property
    def bytes_out(self) -> int | None: ...
    @property
    def attempt(self) -> int | None: ...
    @property
    def candidates(self) -> list[str]: ...
    def request_headers(self, interest: Interest) -> Headers: ...
    def response_headers(self, interest: Interest) -> Headers: ...
    def trailers(self, interest: Interest) -> Headers: ...
    def attributes(self) -> dict[str, str]:
        """What plugins noted for later phases of the same request, this one included."""
    def set_attribute(self, name: str, value: str) -> None: ...
    def set_label(self, name: str, value: str) -> None: ...
    def set_span_attribute(self, name: str, value: str) -> None: ...
    def choose(self, backend: str) -> None:
        """The backend that serves.

        Raises:
            ValueError: it is not one of the candidates.
        """
    def rank(self, endpoints: Sequence[str]) -> None: ...
    def set_key(self, key: str) -> None: ...
    def set_retry(self, retry: bool) -> None: ...
    def rollback(self) -> None:
        """Drops all effects of the plugin last begun on this call."""
    def note_error(self, text: str) -> None:
        """The plugin last begun failed and the chain goes on without it."""

class Channel:
    """A worker's end of what a proxy asks it. For one thread. Descriptors that it is given belong to it."""

    @staticmethod
    def ring(memory: int, ring_bytes: int, wake_worker: int, wake_proxy: int) -> Channel:
        """Over shared memory.

        Raises:
            OSError: the memory is not what it must be.
        """
    @staticmethod
    def stream(socket: int) -> Channel:
        """Over a Unix stream, where shared memory is not to be had; there are no marks then, and `interrupted` is
        always false.
        """
    def fileno(self) -> int:
        """What becomes readable when there is something to take and `arm` has said so before."""
    def take(self, most: int = 64) -> list[Call]:
        """The next calls, without waiting.

        Raises:
            EOFError: the proxy is gone (stream only), or broke the ring.
        """
    def arm(self) -> bool:
        """To be called before sleeping on `fileno`; False: there is something to take."""
    def wait(self, timeout: float | None = None, control: int = -1) -> bool:
        """Sleeps without the interpreter's lock until there is something to take; False after `timeout` seconds.
        Signal handlers run meanwhile.

        Raises:
            EOFError: `control` became readable: the proxy is gone or has something to say there.
        """
    def begin(self, call: Call, plugin: int) -> None:
        """Marks that a hook of the plugin with this index is entered, or entered again after it waited.

        Calls must be begun for the first time in the order in which they were taken.
        """
    def end(self) -> None:
        """No hook is being run: before an asynchronous worker goes back to its loop."""
    def interrupted(self) -> bool:
        """In a signal handler: the hook that is marked has overrun its deadline."""
    def proceed(self, call: Call) -> None:
        """Answers that the request goes on, with the call's effects. Every call is answered once; answers leave with
        `flush`.
        """
    def reply(
        self, call: Call, plugin: int, status: int, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> None: ...
    def deny(self, call: Call, plugin: int, reason: str, status: int = 403) -> None: ...
    def fail(self, call: Call, plugin: int, text: str, traceback: str = "") -> None: ...
    def flush(self) -> None:
        """Lets the proxy see the answers, and wakes it if it sleeps.

        Raises:
            EOFError: the proxy is gone, or takes nothing any more.
        """
    def close(self) -> None: ...

def die_with_parent(parent: int) -> None:
    """The kernel kills this process when its parent ends.

    Raises:
        ProcessLookupError: the parent is not `parent` any more.
    """

def sandbox(
    *,
    network: bool,
    processes: bool,
    scratch: str | None,
    read: Sequence[str],
    user: int | None,
    files: int,
    memory_bytes: int | None,
    keep: Sequence[int],
) -> dict[str, str]:
    """Gives up for good what a worker does not need; to be called once, after the fork and before the first call.

    Closes every descriptor above 2 but `keep` and those of channels; becomes `user` where it is root; drops all
    capabilities and the way to new privileges; limits memory beyond what is used now, open files and core dumps; may
    write below `scratch`, and read below `read` and where the interpreter finds modules, alone (Landlock); may open no
    sockets unless `network`, start no processes unless `processes`, and signal, trace or inspect no other process
    (seccomp).

    Returns:
        What holds, by name: "landlock" can be "absent" on an old kernel, all else holds or raises.

    Raises:
        OSError: something could not be given up: no call may be taken then.
    """

class Verdict:
    """What a worker answered, as the proxy reads it. For tests."""

    @property
    def id(self) -> int: ...
    @property
    def outcome(self) -> str:
        """continue, reply, deny or error."""
    @property
    def plugin(self) -> int | None: ...
    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes | None: ...
    @property
    def text(self) -> str | None: ...
    @property
    def effects(self) -> list[tuple[int, str, str, str]]:
        """Plugin's index, effect (set_request_header, append_response_header, remove_trailer, method, path, label,
        ...), name or value, value.
        """

class Loopback:
    """The proxy's end in the same process: the dispatch and the frames of production without a proxy. For tests."""

    def __new__(cls, ring_bytes: int = 262144) -> Loopback: ...
    def channel(self) -> Channel:
        """The worker's end; once."""
    def call(
        self,
        phase: int,
        chain: int,
        fields: Mapping[str, str | int | bytes | Sequence[str]],
        *,
        request_headers: Sequence[tuple[str, str]] = (),
        response_headers: Sequence[tuple[str, str]] = (),
        trailers: Sequence[tuple[str, str]] = (),
        attributes: Sequence[tuple[str, str]] = (),
        skip: int = 0,
        last: bool = False,
    ) -> int:
        """Asks the worker; `fields` by the names of `Call`, candidates as a sequence. Returns the call's id."""
    def cancel(self, id: int) -> None: ...
    def interrupt(self, id: int) -> None:
        """As the proxy does before it sends the signal."""
    def verdicts(self) -> list[Verdict]:
        """What was answered since.

        Raises:
            ValueError: an answer is junk; the proxy would treat it as the plugin's error.
        """
