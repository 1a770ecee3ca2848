"""A fake model that works on a long task: a real HTTP server on the loopback that follows a script, deterministically.

It speaks OpenAI's chat completions, counts tokens as a provider would, refuses what is longer than its window, and
keeps what every request was like. It answers at once, in one piece, and is to run in a process of its own: `served`.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from tests.fakes.agent_script import Call, Fact, Mind, Said, Script, Seen, content, look, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

Mode = Literal["ok", "500", "400", "hang", "nonsense"]
"""How requests for a summary are answered."""
_NONSENSE: Final = "zxcv qwer asdf " * 40
_CHAINS: Final = 2
"""So many prompts that were built anew are kept, to see whether a request for a summary begins with one."""


class Asked(NamedTuple):
    """One request: what it was, how many bytes and tokens, and what it had in common with those before.

    `kept` is how many bytes of the prompt of the main request before, `previous`, this one begins with, `head` those of
    the first one. For a summary, `previous` is the main request that it was made from. `step` is the last that it saw
    done. Times are the machine's monotonic seconds.
    """

    kind: Literal["main", "condense", "other"]
    status: int
    size: int
    tokens: int
    kept: int
    previous: int
    head: int
    step: int
    came: float
    answered: float


@dataclass(frozen=True)
class Plan:
    """What the model is to be: its script, its window, and what it makes of requests for a summary.

    `signs` are phrases of which a request for a summary has one in what its user says, or in how it begins.
    """

    script: Script
    window: int
    condense: Mode = "ok"
    signs: tuple[str, ...] = ()
    bytes_per_token: float = 4.0


@dataclass(frozen=True)
class Record:
    """What came of it."""

    asked: tuple[Asked, ...] = ()
    lost: tuple[int, ...] = ()
    asks: tuple[int, ...] = ()
    missing: tuple[tuple[int, Fact], ...] = ()
    searched: int = 0
    not_found: tuple[tuple[int, Fact], ...] = ()

    def of(self, kind: str) -> list[Asked]:
        """Return the requests of a kind that weren't refused."""
        return [asked for asked in self.asked if asked.kind == kind and asked.status == _OK]


_OK: Final = 200


@dataclass
class FakeAgentModel:
    """The server's state: one request at a time is thought about."""

    plan: Plan
    mind: Mind = field(init=False)
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    _chains: list[bytes] = field(default_factory=list)
    _head: bytes = b""

    def __post_init__(self) -> None:
        self.mind = Mind(self.plan.script)

    def answer(self, raw: bytes, came: float) -> tuple[int, bytes]:
        """Return the status and the body of what is answered; of a summary that hangs, nothing."""
        body = json.loads(raw)
        with self.lock:
            status, said, asked = self._think(body, raw, came)
            self.asked.append(asked)
        if asked.kind == "condense" and self.plan.condense == "hang":
            self.closing.wait()
            return 0, b""
        if status != _OK:
            return status, json.dumps({"error": said}).encode()
        usage = {"prompt_tokens": asked.tokens, "completion_tokens": self._tokens(len(json.dumps(said)))}
        usage["total_tokens"] = sum(usage.values())
        cached = {"prompt_tokens_details": {"cached_tokens": self._tokens(asked.kept)}}
        return _OK, _reply(said, usage | cached, stream=bool(body.get("stream")))

    def record(self) -> Record:
        """Return what came of it so far."""
        mind = self.mind
        return Record(
            tuple(self.asked),
            tuple(mind.lost),
            tuple(sorted(mind.asked)),
            tuple(mind.missing),
            mind.searched,
            tuple(mind.not_found),
        )

    def _think(self, body: dict[str, Any], raw: bytes, came: float) -> tuple[int, Any, Asked]:
        prompt, before = rendered(body)
        seen = look(body)
        kind = self._kind(body, seen)
        tokens = self._tokens(len(prompt))
        before_it = self._chains[-1] if self._chains else b""
        kept, previous = _common(before_it, prompt), len(before_it)
        if kind == "condense":  # It was made from the main request that its last reply answered.
            kept, previous = max(_common(chain, prompt[:before]) for chain in (*self._chains, b"")), before
        status: int = _OK
        said: Any
        if tokens > self.plan.window:
            status, said = 400, _too_long(self.plan.window, tokens)
        elif kind == "main":
            said = self.mind.go_on(seen, raw)
            self._keep(prompt, kept)
        elif kind == "condense":
            status, said = self._summary(body["messages"], seen, raw)
        else:
            said = Said("A run of numbered steps.")
        head = _common(self._head, prompt)
        asked = Asked(kind, status, len(raw), tokens, kept, previous, head, seen.step, came, time.monotonic())
        return status, said, asked

    def _keep(self, prompt: bytes, kept: int) -> None:
        self._head = self._head or prompt
        if self._chains and kept == len(self._chains[-1]):
            self._chains.pop()
        self._chains = [*self._chains[-_CHAINS + 1 :], prompt]

    def _summary(self, messages: list[dict[str, Any]], seen: Seen, raw: bytes) -> tuple[int, Any]:
        instruction = _last_of_user(messages)
        if messages[-1].get("role") == "tool":  # It was told to write a file, and did.
            return _OK, Said("The summary is written.")
        match self.plan.condense:
            case "500":
                return 500, {"message": "the fake fails on purpose", "type": "server_error", "code": None}
            case "400":
                return 400, {"message": "the fake refuses on purpose", "type": "invalid_request_error", "code": None}
            case "nonsense":
                return _OK, Said(_NONSENSE)
            case _:
                return _OK, _written(instruction, self.mind.sum_up(instruction, seen, raw), seen)

    def _kind(self, body: dict[str, Any], seen: Seen) -> Literal["main", "condense", "other"]:
        messages = body.get("messages") or [{}]
        users = [content(message) for message in messages if message.get("role") == "user"]
        if any(sign in text for sign in self.plan.signs for text in (*users, content(messages[0])[:_LOOKED_AT])):
            return "condense"
        return "main" if seen.shell else "other"  # Some agents ask for a title.

    def _tokens(self, size: int) -> int:
        return int(size / self.plan.bytes_per_token)


_LOOKED_AT: Final = 400
_FILE_HAS: Final = ("Execution context", "Live resources", "Session metadata", "Discovered", "Dead ends")
_FILE: Final = re.compile(r"CHECKPOINT_PATH = (\S+)")


@contextmanager
def served(plan: Plan) -> Iterator[Service]:
    """Serve a plan in a process of its own while the block runs; what came of it can be asked for behind it, too."""
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(its, plan), daemon=True)
    process.start()
    its.close()
    service = Service(ours.recv(), ours)
    try:
        yield service
        service.record()
    finally:
        with suppress(OSError):
            ours.send("end")
        process.join()


@dataclass
class Service:
    """A model that is served: its base URL, as `--base-url` takes it, and what came of it when that was last asked."""

    url: str
    pipe: Connection
    last: Record = field(default_factory=Record)

    def record(self) -> Record:
        """Return what came of it so far."""
        self.pipe.send("record")
        self.last = self.pipe.recv()
        return self.last


def _serve(pipe: Connection, plan: Plan) -> None:
    fake = FakeAgentModel(plan)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": fake}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    pipe.send(f"http://127.0.0.1:{server.server_port}/v1")
    with suppress(EOFError):  # Whoever started it is gone.
        while pipe.recv() == "record":
            with fake.lock:
                pipe.send(fake.record())
    fake.closing.set()
    server.shutdown()
    thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # Connections are kept open by who asks.

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that hung up: whoever is killed or stopped does."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fake: FakeAgentModel

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # The base class names it so.
        del format, args

    def do_GET(self) -> None:
        self._send(_OK, json.dumps({"object": "list", "data": [{"id": "horizon", "object": "model"}]}).encode())

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        came = time.monotonic()
        status, body = self.fake.answer(raw, came)
        if not status:
            self.close_connection = True
            return
        self._send(status, body)

    def _send(self, status: int, body: bytes) -> None:
        streamed = body.startswith(b"data: ")
        head = f"HTTP/1.1 {status} Fake\r\nContent-Length: {len(body)}\r\n"
        head += f"Content-Type: {'text/event-stream' if streamed else 'application/json'}\r\n\r\n"
        self.wfile.write(head.encode() + body)


def _last_of_user(messages: list[dict[str, Any]]) -> str:
    return next((content(message) for message in reversed(messages) if message.get("role") == "user"), "")


def _written(instruction: str, summary: str, seen: Seen) -> Said:
    """Return a summary as it was asked for: as the answer, or, by MiMo Code, in a file of a form of its own."""
    path = _FILE.search(instruction)
    if path is None or "write" not in seen.tools:
        return Said(summary)
    text = "\n\n".join(["Topic: numbered steps", summary, *(f"### {title}\n(none)" for title in _FILE_HAS)])
    return Said("", (Call("call_summary", "write", {"file_path": path[1], "content": text}),))


def _reply(said: Said, usage: dict[str, Any], *, stream: bool) -> bytes:
    calls = [
        {"index": place, "id": call.id, "type": "function"}
        | {"function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for place, call in enumerate(said.calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": said.text} | ({"tool_calls": calls} if calls else {})
    base: dict[str, Any] = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "horizon"}
    finish = "tool_calls" if calls else "stop"
    if not stream:
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return json.dumps(base | {"object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    base["object"] = "chat.completion.chunk"
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": message, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
        {"choices": [], "usage": usage},
    ]
    lines = [b"data: " + json.dumps(base | chunk).encode() + b"\n\n" for chunk in chunks]
    return b"".join(lines) + b"data: [DONE]\n\n"


def _too_long(window: int, tokens: int) -> dict[str, Any]:
    message = (
        f"This model's maximum context length is {window} tokens. However, your messages resulted in {tokens} tokens."
    )
    message += " Please reduce the length of the messages."
    return {"message": message, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}


def _common(one: bytes, other: bytes) -> int:
    """Return how many bytes two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
