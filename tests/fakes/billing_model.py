"""A fake provider that bills: a real HTTP server on the loopback, for many at once, that counts what it charges.

It speaks OpenAI's chat completions, streamed. Each reply is as long as it may be, and at most `longest` tokens; one
that `ignores` its limit is always as long. A token has four bytes. It knows nothing of DreamDock.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TOKEN_BYTES: Final = 4
_PROSE: Final = "the reader of the ledger goes on with the next line and says what it has found there so far. "
_PIECE: Final = 2_000
"""Characters that are sent at once."""


@dataclass
class Biller:
    """What it charges, in US dollars per million tokens of prompt and reply, and what it has charged so far."""

    prompt_usd: float = 1.0
    reply_usd: float = 4.0
    longest: int = 6_000
    ignores: bool = False
    url: str = ""
    requests: int = 0
    tokens: int = 0
    usd: float = 0.0
    act: Callable[[dict[str, Any]], tuple[str, dict[str, Any]] | None] = lambda _body: None
    """Which tool a reply to a request calls, and how."""
    capped: list[int] = field(default_factory=list)
    """The limits that replies were asked to keep."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, raw: bytes) -> list[bytes]:
        """Charge for a request, and return its reply as the pieces of a stream."""
        body = json.loads(raw)
        cap = int(body.get("max_completion_tokens") or body.get("max_tokens") or 0)
        reply = self.longest if self.ignores else min(filter(None, (cap, self.longest)))
        prompt = len(json.dumps([body["messages"], body.get("tools", [])])) // _TOKEN_BYTES
        with self._lock:
            self.requests += 1
            number = self.requests
            self.tokens += prompt + reply
            self.usd += (prompt * self.prompt_usd + reply * self.reply_usd) / 1_000_000
            self.capped += [cap] if cap else []
        size = reply * _TOKEN_BYTES
        text = (_PROSE * (size // len(_PROSE) + 1))[:size]
        deltas: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"content": text[place : place + _PIECE]}, "finish_reason": None}]}
            for place in range(0, size, _PIECE)
        ]
        if (called := self.act(body)) is not None:
            function = {"name": called[0], "arguments": json.dumps(called[1])}
            call = {"index": 0, "id": f"call-{number}", "type": "function", "function": function}
            deltas.append({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]})
        finish = "stop" if called is None else "tool_calls"
        deltas.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        usage = {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}
        deltas.append({"choices": [], "usage": usage})
        base = {"id": "c", "created": 1_700_000_000, "model": "biller", "object": "chat.completion.chunk"}
        return [*(b"data: " + json.dumps(base | delta).encode() + b"\n\n" for delta in deltas), b"data: [DONE]\n\n"]


@contextmanager
def billing(biller: Biller) -> Iterator[Biller]:
    """Serve it while the block runs; its `url` is that of its API."""
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"biller": biller}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    biller.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield biller
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # Connections are kept open by who asks.

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that hung up: one whose reply is too long does."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    biller: Biller

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # The base class names it so.
        del format, args

    def do_POST(self) -> None:
        pieces = self.biller.answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        size = sum(map(len, pieces))
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nContent-Type: text/event-stream\r\n\r\n"
        self.wfile.write(head.encode())
        for piece in pieces:
            self.wfile.write(piece)
