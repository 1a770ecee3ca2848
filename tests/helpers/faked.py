"""Our client at the fake provider: fixtures, a first request, and a listener that keeps what it hears."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fake_provider import FakeProvider
from pydantic import SecretStr

from orchestrator.dialogue import FailedRequest, Reply, Request, ToolResult, ToolSpec, Turn
from orchestrator.models.client import ApiModel, Patience
from orchestrator.models.families import Choice, catalog
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.models.port import Kind

KNOWN = catalog({})
KEY = "sk-fake-0123456789abcdef"
QUICK = Patience(first_token_s=5, total_s=10, attempts=3, backoff_s=0.01, longest_wait_s=2)
TOOL = ToolSpec(
    name="bash",
    description="Run a command.",
    parameters={"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
)
FIRST = Request(system="You are tested.", tools=(TOOL,), dialogue=(Turn(text="Do it."),))
CALL = ("c1", "bash", '{"command": "ls"}')


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture
def ask(fake: FakeProvider) -> Iterator[Any]:
    opened: list[ApiModel] = []

    def ask(request: Request = FIRST, *, model: str = "mimo/mimo-v2.5-pro", patience: Patience = QUICK) -> Reply:
        opened.append(ApiModel(at(fake.url, model), SecretStr(KEY), patience))
        return opened[-1].ask(request, Stop())

    yield ask
    for model in opened:
        model.close()


def at(url: str, model: str) -> Choice:
    """The model as chosen, but asked at the fake."""
    family = model.partition("/")[0]
    base = url if family == "anthropic" else f"{url}/v1"
    return KNOWN.choose(model, base_url=base if family == "openai-compatible" else "").model_copy(
        update={"base_url": base}
    )


def answered(reply: Reply, content: str = "a.py") -> Request:
    results = tuple(ToolResult(call_id=call.id, name=call.name, content=content) for call in reply.calls)
    return FIRST.model_copy(update={"dialogue": (*FIRST.dialogue, reply, Turn(results=results))})


class Heard:
    def __init__(self) -> None:
        self.pieces: list[tuple[str, str]] = []
        self.failures: list[FailedRequest] = []

    def said(self, kind: Kind, piece: str) -> None:
        self.pieces.append((kind, piece))

    def failed(self, failure: FailedRequest) -> None:
        self.failures.append(failure)
        self.pieces.clear()

    def all(self, kind: str) -> str:
        return "".join(piece for said, piece in self.pieces if said == kind)


def opened(fake: FakeProvider, model: str = "mimo/m", patience: Patience = QUICK) -> ApiModel:
    return ApiModel(at(fake.url, model), SecretStr(KEY), patience, cache_key="abc")
