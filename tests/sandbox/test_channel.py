from __future__ import annotations

import json
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from sandbox.channel import Channel
from sandbox.errors import ChannelLost

if TYPE_CHECKING:
    from collections.abc import Iterator


def answer(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack(">II", len(text), len(body)) + text + body


def engine_frame(data: bytes, kind: int = 1) -> bytes:
    return struct.pack(">BxxxI", kind, len(data)) + data


class Pair:
    """A channel and the raw other end of its stream."""

    def __init__(self) -> None:
        ours, self.other = socket.socketpair()
        self.channel = Channel(ours, attached=True, reason=lambda: "the container ended with code 3")
        self._ours = ours

    def close(self) -> None:
        self._ours.close()
        self.other.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def test_an_answer_is_put_together_from_pieces_of_any_size(pair: Pair) -> None:
    data = answer({"id": 1, "x": 2}, b"body")
    frames = b"".join(engine_frame(data[at : at + 3]) + engine_frame(b"talk", kind=2) for at in range(0, len(data), 3))
    pair.other.sendall(frames)
    assert pair.channel.request({"op": "run"}, timeout_s=5, most=10) == ({"id": 1, "x": 2}, b"body")


@pytest.mark.parametrize(
    "data",
    [
        answer({"id": 2}),
        answer({"id": "1"}),
        answer([1]),
        answer({"id": 1}, b"eleven byte"),
        struct.pack(">II", 1 << 31, 0),
        struct.pack(">II", 5, 0) + b"{bad}",
        struct.pack(">II", 4, 0) + b"\xff\xfe\xfd\xfc",
        struct.pack(">II", 100_000, 0) + b"[" * 100_000,
    ],
    ids=["another id", "id of another type", "no object", "body too long", "huge header", "no JSON", "no text", "deep"],
)
def test_whatever_isnt_the_answer_ends_the_channel_for_good(pair: Pair, data: bytes) -> None:
    pair.other.sendall(engine_frame(data))
    for _ in range(2):
        with pytest.raises(ChannelLost):
            pair.channel.request({"op": "run"}, timeout_s=5, most=10)


def test_silence_ends_at_the_deadline(pair: Pair) -> None:
    began = time.monotonic()
    with pytest.raises(ChannelLost):
        pair.channel.request({"op": "run"}, timeout_s=0.2)
    assert 0.1 < time.monotonic() - began < 2


def test_the_loss_tells_what_the_engine_and_the_runner_said(pair: Pair) -> None:
    pair.other.sendall(engine_frame(b"Traceback\nMemoryError\x1b[31m", kind=2))
    pair.other.shutdown(socket.SHUT_WR)
    with pytest.raises(ChannelLost) as lost:
        pair.channel.request({"op": "run"}, timeout_s=5)
    assert "ended with code 3" in lost.value.cause
    assert "MemoryError" in lost.value.cause
    assert "\x1b" not in lost.value.cause


def test_closing_from_another_thread_ends_a_request_that_waits(pair: Pair) -> None:
    threading.Timer(0.1, pair.channel.close, ("it was ended on request",)).start()
    began = time.monotonic()
    with pytest.raises(ChannelLost) as lost:
        pair.channel.request({"op": "run"}, timeout_s=30)
    assert lost.value.cause == "it was ended on request"
    assert time.monotonic() - began < 5


def test_the_clock_of_a_request_stands_still_while_the_container_is_frozen(pair: Pair) -> None:
    def freeze() -> None:
        pair.channel.hold()
        time.sleep(0.6)
        pair.channel.go_on()
        pair.other.sendall(engine_frame(answer({"id": 1})))

    threading.Timer(0.1, freeze).start()
    assert pair.channel.request({"op": "run"}, timeout_s=0.4) == ({"id": 1}, b"")
    began = time.monotonic()
    with pytest.raises(ChannelLost):
        pair.channel.request({"op": "run"}, timeout_s=0.3)
    assert time.monotonic() - began < 2, "and runs on afterwards"


def test_a_line_has_no_frames_of_the_engine() -> None:
    ours, other = socket.socketpair()
    with ours, other:
        channel = Channel(ours, attached=False, reason=lambda: "")
        other.sendall(answer({"id": 1}, b"body"))
        assert channel.request({"op": "run"}, timeout_s=5, most=10) == ({"id": 1}, b"body")


def test_nobody_waits_for_what_is_posted_until_the_next_request(pair: Pair) -> None:
    pair.channel.post({"op": "resume"})
    pair.channel.post({"op": "resume"})
    assert not pair.channel.is_quiet(), "an answer is on its way"
    pair.other.sendall(engine_frame(answer({"id": 1}) + answer({"id": 2}) + answer({"id": 3, "x": 1})))
    assert pair.channel.request({"op": "run"}, timeout_s=5) == ({"id": 3, "x": 1}, b"")
    assert pair.channel.is_quiet()


def test_what_was_posted_and_not_done_ends_the_channel(pair: Pair) -> None:
    pair.channel.post({"op": "resume"})
    pair.other.sendall(engine_frame(answer({"id": 1, "error": "internal"}) + answer({"id": 2})))
    for _ in range(2):
        with pytest.raises(ChannelLost):
            pair.channel.request({"op": "run"}, timeout_s=5)
    with pytest.raises(ChannelLost):
        pair.channel.post({"op": "resume"})
