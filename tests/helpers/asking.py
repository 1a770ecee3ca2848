"""Our client as the tests of real servers use it: what it asks, how patiently, and what it hears on the way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from kit import SECRET
from pydantic import SecretStr

from orchestrator.dialogue import FailedRequest, Reply, Request, ToolResult, ToolSpec, Turn
from orchestrator.models.client import ApiModel, Patience
from orchestrator.models.families import catalog
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from orchestrator.models.port import Kind

QUICK: Final = Patience(first_token_s=5, total_s=10, attempts=3, backoff_s=0.01, longest_wait_s=2)


def _tool(name: str, argument: str) -> ToolSpec:
    parameters = {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}
    return ToolSpec(name=name, description=f"A tool that takes a {argument}.", parameters=parameters)


TOOLS: Final = (_tool("bash", "command"), _tool("read", "path"))


def first(task: str) -> Request:
    """Return the first request of a run."""
    return Request(system="You are tested.", tools=TOOLS, dialogue=(Turn(text=task),))


def answered(request: Request, reply: Reply, content: str = "a.py") -> Request:
    """Return the request that follows a reply, each of its calls answered with `content`."""
    results = tuple(ToolResult(call_id=call.id, name=call.name, content=content) for call in reply.calls)
    turn = Turn(results=results, text="" if results else content)
    return request.model_copy(update={"dialogue": (*request.dialogue, reply, turn)})


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.begun = threading.Event()  # Set with the first piece of text.
        self.pieces: list[tuple[Kind, str]] = []
        self.failures: list[FailedRequest] = []

    def said(self, kind: Kind, piece: str) -> None:
        self.pieces.append((kind, piece))
        if kind == "text":
            self.begun.set()

    def failed(self, failure: FailedRequest) -> None:
        self.failures.append(failure)

    def all(self, kind: Kind) -> list[str]:
        """Return the pieces of one kind."""
        return [piece for heard, piece in self.pieces if heard == kind]


class Asker:
    """Asks models at an address of the test's, with everything else as their family says, and closes them."""

    def __init__(self) -> None:
        self.heard = Heard()
        self._opened: list[ApiModel] = []

    def __call__(
        self, model: str, url: str, request: Request, *, patience: Patience = QUICK, stop: Stop | None = None
    ) -> Reply:
        own = url if model.startswith("openai-compatible/") else ""
        choice = catalog({}).choose(model, base_url=own).model_copy(update={"base_url": url})
        self._opened.append(ApiModel(choice, SecretStr(SECRET), patience))
        return self._opened[-1].ask(request, stop or Stop(), self.heard)

    def close(self) -> None:
        for model in self._opened:
            model.close()
