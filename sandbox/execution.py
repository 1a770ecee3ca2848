"""One program in a running container, through the engine's exec API: what it prints as it prints it, how it ended."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STDOUT: Final = 1
STDERR: Final = 2

_ENGINE_FRAME = struct.Struct(">BxxxI")
_CHUNK = 1 << 18
_LOOK_S = 0.05
"""How often the engine is asked whether the program still runs while nothing is printed, in seconds."""


class Execution:
    """A program that the engine has started. Use it as a context manager; the engine doesn't end it."""

    def __init__(self, api: Any, container_id: str, argv: Sequence[str], stdin: bytes) -> None:
        """Start `argv` as the container's user, with its limits. Raises what the docker SDK raises."""
        self._api = api
        self._id = api.exec_create(container_id, list(argv), stdin=True)["Id"]
        self._attached = api.exec_start(self._id, socket=True)
        self._stream: socket.socket = getattr(self._attached, "_sock", self._attached)
        self._stream.setblocking(False)
        self._rest = memoryview(stdin)
        self._raw = bytearray()
        if not stdin:
            self._end_input()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of its streams."""
        self._stream.close()
        self._attached.close()

    def follow(self, deadline: float, take: Callable[[int, bytes], None]) -> int | None:
        """Feed and drain until the program itself ends; return its exit code, None when `deadline` comes first.

        `take` gets the kind of stream and the bytes. What the program leaves running may hold its streams open: the
        engine is asked, not the stream. Raises what the docker SDK raises, OSError.
        """
        while (left := deadline - time.monotonic()) > 0:
            if self._step(min(left, _LOOK_S), take):
                continue
            state = self._api.exec_inspect(self._id)
            if not state["Running"]:
                while self._step(_LOOK_S, take):  # What was still on its way.
                    pass
                return int(state["ExitCode"] or 0)
        return None

    def _step(self, seconds: float, take: Callable[[int, bytes], None]) -> bool:
        """Wait for something to do, do it; say whether there was anything."""
        readable, writable, _ = select.select([self._stream], [self._stream] if self._rest else [], [], seconds)
        if writable:
            self._feed()
        if not readable:
            return bool(writable)
        try:
            data = self._stream.recv(_CHUNK)
        except ConnectionResetError:
            data = b""  # It ended before it had read all of its input; whether the engine did, the engine tells.
        self._raw += data
        while len(self._raw) >= _ENGINE_FRAME.size:
            kind, length = _ENGINE_FRAME.unpack_from(self._raw)
            end = _ENGINE_FRAME.size + length
            if len(self._raw) < end:
                break
            take(kind, bytes(self._raw[_ENGINE_FRAME.size : end]))
            del self._raw[:end]
        if not data:
            time.sleep(0.001)  # The stream has ended; the engine knows the exit code in a moment.
        return bool(data)

    def _feed(self) -> None:
        try:
            self._rest = self._rest[self._stream.send(self._rest[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:
            self._rest = self._rest[:0]  # It has closed its standard input.
        if not self._rest:
            self._end_input()

    def _end_input(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_WR)
