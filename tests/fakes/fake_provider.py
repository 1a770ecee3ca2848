"""A fake model provider: a real HTTP server on the loopback that streams canned answers and keeps what it was asked.

It speaks OpenAI's chat completions and responses and Anthropic's messages, as far as the tests need them.
It knows nothing of DreamDock.
"""

from __future__ import annotations

import json
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ssl import SSLContext
    from types import TracebackType


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.raw)
        return parsed


@dataclass(frozen=True)
class Answer:
    """What to send back: `chunks` of a stream as they are; a cut one breaks the connection without its proper end.

    `silent_s` is how long the server says nothing before the first byte of the body, `pause_s` before each chunk, or
    until it is closed.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    chunks: tuple[bytes, ...] = ()
    content_type: str = "text/event-stream"
    cut: bool = False
    silent_s: float = 0.0
    pause_s: float = 0.0


class FakeProvider:
    """Serves `answers` in order, over TLS where a context is given; more requests get a 500 that says so."""

    def __init__(self, *answers: Answer, tls: SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if self.answers else error(500, "the fake has no answer left")


def chat(
    text: str = "",
    *,
    reasoning: str = "",
    calls: Iterable[tuple[str, str, str]] = (),
    field_name: str = "reasoning_content",
    finish: str | None = "",
    usage: dict[str, Any] | None = None,
    usage_in_choice: bool = False,
    pieces_of: int = 7,
    cut: bool = False,
) -> Answer:
    """Return a chat completion, streamed in small pieces. `calls` are (id, name, arguments); finish None sends none."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{field_name: piece} for piece in _pieces(reasoning)]
    deltas += [{"content": piece} for piece in _pieces(text, pieces_of)]
    calls = list(calls)
    for index, (call_id, name, arguments) in enumerate(calls):
        first: dict[str, Any] = {
            "index": index,
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }
        deltas.append({"tool_calls": [first]})
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in _pieces(arguments)]
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    if finish is not None and not cut:
        reason = finish or ("tool_calls" if calls else "stop")
        counted = usage or {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        inside = {"usage": counted} if usage_in_choice else {}
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **inside}]})
        if not usage_in_choice:
            chunks.append({"choices": [], "usage": counted})
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "fake"}
    lines = [b"data: " + json.dumps(head | chunk).encode() + b"\n\n" for chunk in chunks]
    return Answer(chunks=(*lines, *(() if cut else (b"data: [DONE]\n\n",))), cut=cut)


def responses(text: str, *, call: tuple[str, str, str] | None = None) -> Answer:
    """Return a streamed OpenAI response with encrypted reasoning, a text and at most one call."""
    items: list[dict[str, Any]] = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "SEALED", "status": "completed"},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        },
    ]
    if call:
        ids = {"id": "fc_1", "call_id": call[0], "status": "completed"}
        items.append({"type": "function_call", "name": call[1], "arguments": call[2], **ids})
    base = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": "fake",
        "parallel_tool_calls": True,
    }
    base |= {"tool_choice": "auto", "tools": [], "output": []}
    counted: dict[str, Any] = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
    counted |= {"input_tokens_details": {"cached_tokens": 64}, "output_tokens_details": {"reasoning_tokens": 8}}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": base | {"status": "in_progress"}}]
    for index, item in enumerate(items):
        place = {"output_index": index}
        begun = item | ({"content": []} if item["type"] == "message" else {})
        begun |= {"arguments": ""} if item["type"] == "function_call" else {}
        events.append({"type": "response.output_item.added", "item": begun, **place})
        place |= {"item_id": item["id"]}
        if item["type"] == "message":
            events.append(
                {"type": "response.output_text.delta", "content_index": 0, "delta": text, "logprobs": [], **place}
            )
        if item["type"] == "function_call":
            events.append({"type": "response.function_call_arguments.delta", "delta": item["arguments"], **place})
        events.append({"type": "response.output_item.done", "item": item, "output_index": index})
    done = base | {"status": "completed", "output": items, "usage": counted}
    events.append({"type": "response.completed", "response": done})
    numbered = [event | {"sequence_number": number} for number, event in enumerate(events)]
    return Answer(chunks=tuple(_event(event) for event in numbered))


def anthropic(text: str, *, thinking: str = "", call: tuple[str, str, str] | None = None) -> Answer:
    """Return a streamed Anthropic message with signed thinking, a text and at most one call."""
    usage = {"input_tokens": 36, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 0, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "fake", "content": [], "usage": usage}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message | {"stop_reason": None, "stop_sequence": None}}
    ]
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if thinking:
        deltas = [{"type": "thinking_delta", "thinking": thinking}, {"type": "signature_delta", "signature": "SIGNED"}]
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
    blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": text}]))
    if call:
        block = {"type": "tool_use", "id": call[0], "name": call[1], "input": {}}
        blocks.append((block, [{"type": "input_json_delta", "partial_json": call[2]}]))
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None}
    events.append({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 20}})
    events.append({"type": "message_stop"})
    return Answer(chunks=tuple(_event(event) for event in events))


def error(status: int, message: str, *, code: str = "", headers: dict[str, str] | None = None) -> Answer:
    """Return a refusal in OpenAI's form."""
    body = {"error": {"message": message, "type": "fake_error", "code": code or None}}
    return Answer(
        status=status, headers=headers or {}, chunks=(json.dumps(body).encode(),), content_type="application/json"
    )


def _pieces(text: str, size: int = 7) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def _event(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that hung up: the tests stop requests on purpose."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Small chunks go out at once, as from a real provider.
    fake: FakeProvider

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # The base class names it so.
        del format, args

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.fake.asked.append(Asked(self.path, {key.lower(): value for key, value in self.headers.items()}, raw))
        answer = self.fake.next_answer()
        with suppress(BrokenPipeError, ConnectionResetError):  # A client that was stopped hangs up.
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for key, value in {
            "Content-Type": answer.content_type,
            "Transfer-Encoding": "chunked",
            **answer.headers,
        }.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.flush()
        if answer.silent_s:
            self.fake.closing.wait(answer.silent_s)
        for chunk in answer.chunks:
            if answer.pause_s:
                self.fake.closing.wait(answer.pause_s)
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        if answer.cut:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")
