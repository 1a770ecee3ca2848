from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.line import taken

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER = """
import ctypes, json, os, socket, sys
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
ours, theirs = socket.socketpair()
datagrams, _ = socket.socketpair(type=socket.SOCK_DGRAM)
pipe, _ = os.pipe()
found = {name: [fd, os.fstat(fd).st_ino] for name, fd in
         (("line", theirs.fileno()), ("datagrams", datagrams.fileno()), ("pipe", pipe))}
print(json.dumps(found), flush=True)
theirs.close() if sys.stdin.readline() == "close" else None
ours.sendall(b"hello from " + str(os.getpid()).encode())
sys.stdin.readline()
"""


class Other:
    """A process that offers a line, and other things that aren't one; it isn't dumpable, as the runner isn't."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.found: dict[str, list[int]] = json.loads(self.process.stdout.readline())

    def offer(self, name: str) -> dict[str, Any]:
        number, inode = self.found[name]
        return {"line": number, "inode": inode}

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def other() -> Iterator[Other]:
    other = Other()
    yield other
    other.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # Of this process.


@pytest.mark.needs_root
def test_a_line_is_taken_out_of_a_process_that_nobody_else_can_look_into(other: Other) -> None:
    line = taken(other.process.pid, other.offer("line"))
    assert line is not None
    with line:
        assert not line.get_inheritable()
        other.tell("go")
        assert line.recv(100) == b"hello from %d" % other.process.pid


@pytest.mark.needs_root
@pytest.mark.parametrize(
    "change",
    [
        {"inode": 1},
        {"line": 200},
        {"line": -1},
        {"line": 1 << 40},
        {"line": "3"},
        {"line": None},
        {"inode": [1]},
    ],
    ids=str,
)
def test_what_isnt_the_line_that_was_offered_is_let_go(other: Other, change: dict[str, Any]) -> None:
    before = open_descriptors()
    assert taken(other.process.pid, other.offer("line") | change) is None
    assert open_descriptors() == before


@pytest.mark.needs_root
@pytest.mark.parametrize("name", ["datagrams", "pipe"])
def test_something_else_isnt_taken_for_a_line(other: Other, name: str) -> None:
    before = open_descriptors()
    assert taken(other.process.pid, other.offer(name)) is None
    assert open_descriptors() == before


def test_a_process_that_isnt_there_or_was_never_told_has_none(other: Other) -> None:
    offer = other.offer("line")
    other.close()
    assert taken(other.process.pid, offer) is None
    assert taken(0, offer) is None
    assert taken(-1, offer) is None


def test_without_the_right_to_trace_there_is_none(other: Other) -> None:
    """In a process without capabilities, as a member of the group docker is one."""
    number, inode = other.found["line"]
    program = (
        f"from sandbox.line import taken; print(taken({other.process.pid}, {{'line': {number}, 'inode': {inode}}}))"
    )
    words = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
    done = subprocess.run([*words, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "None\n", done.stderr
