"""What calls itself a sentinel, and answers something else."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest

from orchestrator.errors import RedisAwayError
from orchestrator.journal.connection import require

_TOLD = (b"name", b"s", b"flags", b"master", b"num-other-sentinels", b"0", b"port", b"1")


def listed(*words: bytes) -> bytes:
    """Return an answer that names one service."""
    return b"*1\r\n*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


ANSWERS = {
    "number": b":5\r\n",
    "nothing": b"$-1\r\n",
    "half": listed(b"name"),
    "no host": listed(*_TOLD),
    "no port": listed(*_TOLD[:-2], b"ip", b"127.0.0.1"),
    "port": listed(*_TOLD[:-1], b"x", b"ip", b"127.0.0.1"),
    "host": listed(*_TOLD, b"ip", b"a..b"),
    "bytes": listed(*_TOLD, b"ip", b"\xff"),
    "deep": b"*1\r\n" * 5000 + b":1\r\n",
    "other": b"\xff\xfe\r\n",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_is_none_is_an_outage(answer: bytes) -> None:
    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=speak, args=(listener.accept()[0],), daemon=True).start()

    def speak(link: socket.socket) -> None:
        with link, suppress(OSError):
            while heard := link.recv(4096):
                told = b"+OK\r\n" * heard.count(b"CLIENT")
                link.sendall(b"+PONG\r\n" if b"PING" in heard else told or answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        with pytest.raises(RedisAwayError) as raised:
            require(f"redis+sentinel://127.0.0.1:{port}/s?protocol=2")
    assert "no sentinel tells the primary" in raised.value.cause
