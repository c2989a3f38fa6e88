"""The worker's end of calls, over the frames and rings of production; what authors see of it is tested elsewhere."""

import os
import signal
import subprocess
import sys

import pytest
from plait_sdk import _native

REQUEST, CANCEL = 1, 255


@pytest.fixture
def loopback() -> _native.Loopback:
    return _native.Loopback()


def ask(loopback: _native.Loopback, channel: _native.Channel, **fields: object) -> _native.Call:
    headers = [("X-User", "alice"), ("x-secret", "s"), ("x-many", "1"), ("x-many", "2")]
    loopback.call(REQUEST, 9, fields, request_headers=headers, attributes=[("from", "before")])  # type: ignore[arg-type]
    (call,) = channel.take()
    channel.begin(call, 0)
    return call


def effects(
    loopback: _native.Loopback, channel: _native.Channel, call: _native.Call
) -> list[tuple[int, str, str, str]]:
    channel.proceed(call)
    channel.flush()
    (verdict,) = loopback.verdicts()
    assert (verdict.id, verdict.outcome, verdict.plugin) == (call.id, "continue", None)
    return verdict.effects


def test_a_call_says_what_the_proxy_said_and_nothing_else(loopback: _native.Loopback) -> None:
    call = ask(loopback, loopback.channel(), method="GET", path="/a", port=80, candidates=["blue", "green"], body=b"\0")
    assert (call.phase, call.chain, call.skip, call.last) == (REQUEST, 9, 0, False)
    assert (call.method, call.path, call.port, call.candidates, call.body) == (
        "GET",
        "/a",
        80,
        ["blue", "green"],
        b"\0",
    )
    assert (call.query, call.peer_identity, call.status, call.claims) == (None, None, None, None)
    assert call.attributes() == {"from": "before"}


def test_a_plugin_sees_and_changes_the_headers_that_it_declared(loopback: _native.Loopback) -> None:
    channel = loopback.channel()
    call = ask(loopback, channel)
    headers = call.request_headers(_native.Interest(["x-user", "x-many"], ["x-tenant"]))
    assert (headers["X-USER"], headers["x-many"], headers.all("x-many")) == ("alice", "1, 2", ["1", "2"])
    assert (list(headers), len(headers), headers.get("x-tenant"), headers.get("x-tenant", 5)) == (
        ["x-user", "x-many"],
        2,
        None,
        5,
    )
    with pytest.raises(KeyError):
        headers["x-tenant"]
    for undeclared in (lambda: headers["x-secret"], lambda: headers.__setitem__("x-user", "bob")):
        with pytest.raises(PermissionError, match="add it to the plugin's"):
            undeclared()
    headers["X-Tenant"] = "blue"
    headers.append("x-tenant", "red")
    assert headers.items() == [
        ("x-user", "alice"),
        ("x-many", "1"),
        ("x-many", "2"),
        ("x-tenant", "blue"),
        ("x-tenant", "red"),
    ]
    assert effects(loopback, channel, call) == [
        (0, "set_request_header", "x-tenant", "blue"),
        (0, "append_request_header", "x-tenant", "red"),
    ]


def test_a_later_plugin_sees_the_changes_of_an_earlier_one(loopback: _native.Loopback) -> None:
    channel = loopback.channel()
    call = ask(loopback, channel, path="/a")
    everything = _native.Interest(None, None)
    call.path = "/b"
    del call.request_headers(everything)["x-many"]
    call.request_headers(everything)["x-user"] = "bob"
    channel.begin(call, 1)
    assert (call.path, call.request_headers(everything).items()) == ("/b", [("x-user", "bob"), ("x-secret", "s")])


def test_a_failed_plugin_leaves_its_error_and_no_effect(loopback: _native.Loopback) -> None:
    channel = loopback.channel()
    call = ask(loopback, channel, path="/a")
    call.set_label("kept", "yes")
    channel.begin(call, 1)
    call.path = "/b"
    # It waited, another call ran, it went on.
    channel.end()
    channel.begin(call, 1)
    call.set_attribute("also", "gone")
    call.rollback()
    call.note_error("boom")
    assert call.path == "/a"
    assert effects(loopback, channel, call) == [(0, "label", "kept", "yes"), (1, "failure", "boom", "")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x a", "1"),
        ("content-length", "1"),
        ("host", "a"),
        ("", "1"),
        ("x-a", "a\r\nb: c"),
        ("x-a", "\0"),
        ("x-a", " a"),
    ],
)
def test_what_could_split_a_message_fails_at_the_author_s_line(
    loopback: _native.Loopback, name: str, value: str
) -> None:
    call = ask(loopback, loopback.channel())
    with pytest.raises(ValueError, match=r"header"):
        call.request_headers(_native.Interest(None, None))[name] = value


def test_text_that_is_not_utf_8_passes_both_ways(loopback: _native.Loopback) -> None:
    channel = loopback.channel()
    loopback.call(REQUEST, 1, {}, request_headers=[("x-a", "caf\udce9")])
    (call,) = channel.take()
    channel.begin(call, 0)
    headers = call.request_headers(_native.Interest(None, None))
    headers["x-b"] = headers["x-a"]
    assert headers["x-b"] == "caf\udce9"


def test_endings(loopback: _native.Loopback) -> None:
    channel = loopback.channel()
    for _ in range(3):
        loopback.call(REQUEST, 1, {})
    reply, deny, fail = channel.take()
    channel.reply(reply, 0, 201, [("Content-Type", "text/plain")], b"made")
    channel.deny(deny, 1, "no")
    channel.fail(fail, 2, "KeyError: 'x'", "traceback")
    with pytest.raises(RuntimeError, match="answered already"):
        channel.proceed(fail)
    channel.flush()
    replied, denied, failed = loopback.verdicts()
    assert (replied.outcome, replied.plugin, replied.status, replied.body) == ("reply", 0, 201, b"made")
    assert replied.effects[0] == (0, "reply_header", "content-type", "text/plain")
    assert (denied.outcome, denied.plugin, denied.status, denied.text) == ("deny", 1, 403, "no")
    assert (failed.outcome, failed.plugin, failed.text) == ("error", 2, "KeyError: 'x'")
    with pytest.raises(ValueError, match="200 to 599"):
        channel.reply(reply, 0, 100)


def test_only_the_marked_call_is_interrupted(loopback: _native.Loopback) -> None:
    channel = loopback.channel()
    call = ask(loopback, channel)
    assert not channel.interrupted()
    loopback.interrupt(call.id)
    assert channel.interrupted()
    channel.end()
    assert not channel.interrupted()


def test_a_cancelled_call_is_told(loopback: _native.Loopback) -> None:
    channel = loopback.channel()
    id = loopback.call(REQUEST, 1, {})
    loopback.cancel(id)
    assert [(call.id, call.phase) for call in channel.take()] == [(id, REQUEST), (id, CANCEL)]


def test_waiting_ends_with_a_call_with_time_and_with_the_proxy(loopback: _native.Loopback) -> None:
    channel = loopback.channel()
    assert not channel.wait(0)
    assert channel.arm()
    loopback.call(REQUEST, 1, {})
    assert channel.wait(30)
    channel.take()
    ours, theirs = os.pipe()
    os.close(theirs)
    with pytest.raises(EOFError):
        channel.wait(30, control=ours)
    os.close(ours)


SANDBOXED = """
import errno, os, pathlib, signal, socket, subprocess, sys, tempfile, threading
from plait_sdk import _native
scratch, secret, extra = sys.argv[1:]
held = _native.sandbox(
    network=False, processes=False, scratch=scratch, read=[], user=None, files=64, memory_bytes=64 << 20, keep=[]
)
assert held["seccomp"] == held["no_new_privs"] == "on", held

def refused(what):
    try:
        what()
    except (OSError, MemoryError, RuntimeError) as error:
        return True
    return False

status = pathlib.Path("/proc/self/status").read_text()
wrong = [name for name, fine in {
    "capabilities": "CapEff:\\t0000000000000000" in status and "NoNewPrivs:\\t1" in status,
    "socket": refused(lambda: socket.socket()),
    "unix socket": refused(lambda: socket.socket(socket.AF_UNIX)),
    "process": refused(lambda: subprocess.run(["/bin/true"])),
    "fork": refused(os.fork),
    "signal": refused(lambda: os.kill(os.getppid(), 0)),
    "memory": refused(lambda: bytearray(256 << 20)),
    "write": held["landlock"] == "absent" or refused(lambda: open("/tmp/plait-not-mine", "w")),
    "read": held["landlock"] == "absent" or refused(lambda: open(secret).read()),
    "own signal": not refused(lambda: os.kill(os.getpid(), 0)),
    "scratch": not refused(lambda: open(os.path.join(scratch, "mine"), "w").write("x")),
    "pair": not refused(lambda: socket.socketpair()),
    "thread": not refused(lambda: threading.Thread(target=int).start()),
    "late import": not refused(lambda: __import__("wave")),
    "descriptors": refused(lambda: os.fstat(int(extra))),
}.items() if not fine]
print(wrong)
"""


def test_what_a_sandboxed_process_cannot_do_and_what_it_still_can(tmp_path: object) -> None:
    base = str(tmp_path)
    scratch, secret = os.path.join(base, "scratch"), os.path.join(base, "key.pem")
    os.mkdir(scratch)
    with open(secret, "w") as file:
        file.write("key")
    extra = os.open(secret, os.O_RDONLY)
    run = [sys.executable, "-c", SANDBOXED, scratch, secret, str(extra)]
    done = subprocess.run(run, capture_output=True, text=True, pass_fds=[extra], timeout=60, check=False)
    os.close(extra)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_child_dies_with_its_parent() -> None:
    program = """
import os, signal, sys, time
from plait_sdk import _native
parent = os.getpid()
if (child := os.fork()) == 0:
    _native.die_with_parent(parent)
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(600)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    # The pipe ends when the last process that holds it does.
    assert parent.stdout.read() == b""
    parent.wait()
    parent.stdout.close()
