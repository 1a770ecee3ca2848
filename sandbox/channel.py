"""The command channel: requests to the runner and its answers, framed, over its line or the attached stream.

What arrives was written inside the container. The runner's frames can't be forged by what it runs, and yet each length
is checked against a bound, every header must be the answer that is waited for, and anything else ends the channel.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

from sandbox.errors import ChannelLost

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER_BYTES = 1 << 20
"""Longest header that is accepted, in bytes."""

_LENGTHS = struct.Struct(">II")
_ENGINE_FRAME = struct.Struct(">BxxxI")
_STDERR = 2
_CHUNK = 1 << 18


class Channel:
    """One request at a time; `close` may be called from any thread and ends a request that waits."""

    def __init__(self, stream: socket.socket, *, attached: bool, reason: Callable[[], str]) -> None:
        """Take over `stream`: the runner's line, or where `attached` the engine's stream, with the engine's own frames.

        `reason` is asked why the container ended.
        """
        self._stream = stream
        self.attached = attached
        self._reason = reason
        self._turn = threading.Lock()
        self._lost = ""
        self._raw = bytearray()
        self._data = bytearray()
        self._complaints = bytearray()
        self._next_id = 0
        self._owed: list[int] = []
        self._held_since: float | None = None
        self._held_s = 0.0

    def request(
        self, header: dict[str, Any], body: bytes = b"", *, timeout_s: float, most: int = 0
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request, return the header and body of its answer.

        `timeout_s` is the time in seconds after which the runner counts as dead, `most` the longest body in bytes that
        is accepted. Raises ChannelLost, also for every later request.
        """
        with self._turn:
            deadline = self._clock() + timeout_s
            self._send(header, body, deadline)
            try:
                self._collect(deadline)
                return self._answer(self._next_id, deadline, most)
            except (OSError, RecursionError, ValueError) as error:
                raise self._loss(error) from error

    def post(self, header: dict[str, Any], *, timeout_s: float = 60.0) -> None:
        """Send a request that can't be refused, without waiting: its answer is read before the next one's.

        Raises ChannelLost.
        """
        with self._turn:
            self._send(header, b"", self._clock() + timeout_s)
            self._owed.append(self._next_id)

    def hello(self, *, timeout_s: float) -> dict[str, Any]:
        """Wait for the runner's first frame, at most `timeout_s` seconds. Raises ChannelLost."""
        with self._turn:
            try:
                return self._answer(0, self._clock() + timeout_s, 0)[0]
            except (OSError, RecursionError, ValueError) as error:
                raise self._loss(error) from error

    def is_quiet(self) -> bool:
        """Whether the other end is there and has sent nothing that nobody asked for: then it can be handed over."""
        with self._turn:
            if self._lost or self._raw or self._data or self._owed:
                return False
            self._stream.settimeout(0)
            try:
                self._stream.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return True
            except OSError:
                return False
            return False

    def hold(self) -> None:
        """Stop the clock of a request that waits, from any thread: the container is frozen."""
        self._held_since = time.monotonic()

    def go_on(self) -> None:
        """Let the clock run on."""
        if self._held_since is not None:
            self._held_s += time.monotonic() - self._held_since
            self._held_since = None

    def close(self, reason: str) -> None:
        """End the channel from any thread: a request that waits, and every later one, raises ChannelLost."""
        self._lost = self._lost or reason
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)

    def _loss(self, error: Exception | None = None) -> ChannelLost:
        """Close, and say why: what was given as the reason, else what was seen and what the engine knows."""
        if not self._lost:
            complaint = self._complaints.decode("utf-8", "backslashreplace").strip().splitlines()[-1:]
            said = f"the runner said: {complaint[0][:200]!r}" if complaint else ""
            self.close("; ".join(part for part in (str(error), self._reason(), said) if part))
        return ChannelLost("the sandbox is gone", cause=self._lost, hint="run the step again: its changes are undone")

    def _send(self, header: dict[str, Any], body: bytes, deadline: float) -> None:
        if self._lost:
            raise self._loss()
        self._next_id += 1
        text = json.dumps({**header, "id": self._next_id}).encode()
        try:
            self._stream.settimeout(self._left(deadline))
            self._stream.sendall(_LENGTHS.pack(len(text), len(body)) + text + body)
        except (OSError, RecursionError, ValueError) as error:
            raise self._loss(error) from error

    def _collect(self, deadline: float) -> None:
        """Read the answers that nobody waited for."""
        while self._owed:
            if "error" in self._answer(self._owed.pop(0), deadline, 0)[0]:
                raise ValueError("the runner couldn't do what it was told")

    def _answer(self, wanted: int, deadline: float, most: int) -> tuple[dict[str, Any], bytes]:
        head, body = _LENGTHS.unpack(self._take(_LENGTHS.size, deadline))
        if head > HEADER_BYTES or body > most:
            raise ValueError("the runner's answer is larger than agreed")
        header = json.loads(self._take(head, deadline))
        if not isinstance(header, dict) or header.get("id") != wanted:
            raise ValueError("the runner answered something else")
        return header, self._take(body, deadline)

    def _take(self, count: int, deadline: float) -> bytes:
        while len(self._data) < count:
            self._receive(deadline)
        data = bytes(self._data[:count])
        del self._data[:count]
        return data

    def _receive(self, deadline: float) -> None:
        """Read once; sort the engine's frames into answers and complaints (the runner's standard error)."""
        chunk = self._received(deadline)
        if not chunk:
            raise ConnectionError("the stream ended")
        if not self.attached:
            self._data += chunk
            return
        self._raw += chunk
        while len(self._raw) >= _ENGINE_FRAME.size:
            kind, length = _ENGINE_FRAME.unpack_from(self._raw)
            end = _ENGINE_FRAME.size + length
            if len(self._raw) < end:
                return
            part = self._raw[_ENGINE_FRAME.size : end]
            del self._raw[:end]
            if kind == _STDERR:
                self._complaints = (self._complaints + part)[-4096:]
            else:
                self._data += part

    def _received(self, deadline: float) -> bytes:
        while True:
            self._stream.settimeout(self._left(deadline))
            with contextlib.suppress(TimeoutError):  # The clock may have been stopped meanwhile; else `_left` says so.
                return self._stream.recv(_CHUNK)

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise TimeoutError("the runner doesn't answer")
        return left

    def _clock(self) -> float:
        """Return the time in seconds, without that for which the container was frozen."""
        since, now = self._held_since, time.monotonic()
        return now - self._held_s - (now - since if since is not None else 0.0)
