"""One small request that proves a model: its address, its key, its name, that it streams, and that it calls tools."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.dialogue import Request, ToolSpec, Turn
from orchestrator.errors import ModelError, UnavailableError
from orchestrator.models.client import Patience
from orchestrator.models.port import OutOfTime
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from orchestrator.dialogue import FailedRequest, Reply, Usage
    from orchestrator.models.port import Kind, Model

LONGEST_S: Final = 120.0
"""Seconds for the whole probe, a second attempt included."""
PATIENCE: Final = Patience(first_token_s=60, total_s=LONGEST_S, attempts=2)
"""What the model is to be opened with: who asks for a proof doesn't want to wait as a run does."""
_TOOL: Final = "ping"
_REQUEST: Final = Request(
    system=f"This is a check of the connection. Call the tool {_TOOL} once and say nothing.",
    tools=(
        ToolSpec(
            name=_TOOL,
            description="Prove that you can call a tool.",
            parameters={
                "type": "object",
                "properties": {"word": {"type": "string", "description": "Any word."}},
                "required": ["word"],
            },
        ),
    ),
    dialogue=(Turn(text=f"Call the tool {_TOOL} with a word of your choice."),),
)
_LONGEST_TEXT: Final = 100


@dataclass(frozen=True)
class Probe:
    """How a model answered: seconds to the first piece and in all, from the last attempt's beginning; its cost."""

    first_s: float
    seconds: float
    usage: Usage
    cost_usd: float | None


def probe(model: Model, longest_s: float = LONGEST_S) -> Probe:
    """Ask a model to call a tool, for at most `longest_s` seconds.

    Raises what `Model.ask` does; ModelError where it answers without the call, UnavailableError where time is up.
    """
    watch = _Watch()
    try:
        reply = model.ask(_REQUEST, Stop(), watch, within_s=longest_s)
    except OutOfTime:
        cause = f"no complete reply within {longest_s:.0f} s"
        hint = "try again later, or another --model"
        raise UnavailableError(f"{model.name} is too slow", cause=cause, hint=hint) from None
    seconds = time.monotonic() - watch.began
    _check(reply, model.name)
    return Probe(watch.first_s or seconds, seconds, reply.usage, reply.cost_usd)


class _Watch:
    """Listens for the first piece of the attempt that succeeds."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.first_s: float | None = None

    def said(self, kind: Kind, piece: str) -> None:
        del kind, piece
        if self.first_s is None:
            self.first_s = time.monotonic() - self.began

    def failed(self, failure: FailedRequest) -> None:
        self.began, self.first_s = time.monotonic() + failure.wait_s, None


def _check(reply: Reply, name: str) -> None:
    hint = "take a --model that can call tools, or mend its server's chat template and tool parser"
    if any(call.name == _TOOL and not call.invalid for call in reply.calls):
        return
    if reply.calls:
        call = reply.calls[0]
        cause = f"it called {call.name!r} with {call.invalid[:_LONGEST_TEXT] or call.arguments!r}"
        raise ModelError(f"{name} calls tools wrongly", cause=cause, hint=hint)
    cause = f"it was asked to call {_TOOL!r} and said {reply.text[:_LONGEST_TEXT]!r}"
    raise ModelError(f"{name} calls no tool", cause=cause, hint=hint)
