"""The words between the agent and its model, as values that the journal can keep."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

_MOST_TOKENS: Final = 1_000_000_000
"""Of one reply; no window comes near."""
_MOST_OF_ALL: Final = 10**15
"""Tokens of all replies of a run; beyond it figures get lost in other readers of JSON."""


class Value(BaseModel):
    """A frozen value that refuses unknown fields, and numbers that are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ToolCall(Value):
    """One call that the model asks for.

    `arguments` is the parsed JSON object; `invalid` holds the raw text where it couldn't be parsed.
    """

    id: str
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    invalid: str = ""


class ToolResult(Value):
    """What a call gave back, as the model sees it. `ok` is false for a refused or failed tool, not for exit codes."""

    call_id: str
    name: str
    content: str
    ok: bool = True


class Usage(Value):
    """Tokens of one request, as the provider counted them.

    `cached_tokens` (read from the provider's cache) and `cache_write_tokens` are part of `input_tokens`,
    `reasoning_tokens` of `output_tokens`.
    """

    input_tokens: int = Field(0, ge=0, le=_MOST_OF_ALL)
    output_tokens: int = Field(0, ge=0, le=_MOST_OF_ALL)
    cached_tokens: int = Field(0, ge=0, le=_MOST_OF_ALL)
    cache_write_tokens: int = Field(0, ge=0, le=_MOST_OF_ALL)
    reasoning_tokens: int = Field(0, ge=0, le=_MOST_OF_ALL)

    @classmethod
    def counted(cls, **tokens: int) -> Usage:
        """Return what somebody else counted, brought to what can be: no less than none, no part more than its whole."""
        told = {name: min(max(count, 0), _MOST_TOKENS) for name, count in tokens.items()}
        whole = {
            "cached_tokens": "input_tokens",
            "cache_write_tokens": "input_tokens",
            "reasoning_tokens": "output_tokens",
        }
        return cls(**{name: min(count, told.get(whole.get(name, name), 0)) for name, count in told.items()})

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields})


class Sent(Value):
    """A request as it went over the wire, in bytes of its body.

    `previous` is the size of the request before it, 0 where this process sent none, and `kept` how much of that one
    this one begins with; what stands behind the list of messages counts as kept where it is the same in both.
    """

    size: int
    previous: int = 0
    kept: int = 0


class FailedRequest(Value):
    """A request that failed, while the reply can still come: asked again after `wait_s`, or `instead` of another."""

    model: str
    error: str
    cause: str = ""
    wait_s: float = 0.0
    instead: str = ""


class Reply(Value):
    """One complete reply of a model.

    `model` is who gave it. `cost_usd` is None where the price is unknown. `sent` is None where nothing was sent.
    `raw` is the provider's message as the client keeps it, to be sent back unchanged; empty for the scripted model.
    """

    model: str = ""

    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    cost_usd: float | None = None
    finish_reason: str = "stop"
    sent: Sent | None = None
    raw: str = ""

    def beside(self, text: str) -> Reply:
        """Return what is kept of one that is no step's: what it cost, and as much of its text as is worth it."""
        return self.model_copy(update={"raw": "", "reasoning": "", "calls": (), "text": text})


class Part(Value):
    """A part of what a model is asked with, and about how many tokens it has."""

    name: str
    tokens: int


class ToolSpec(Value):
    """A tool as the model is told of it: name, description and the JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


class Turn(Value):
    """What was said since the last reply: the results of the last reply's calls, and text beside them."""

    text: str = ""
    results: tuple[ToolResult, ...] = ()


class Request(Value):
    """What a model is asked with. Each request extends the one before: `system` and `tools` are frozen per run.

    `before` is how many replies there were that aren't in `dialogue` any more, since the context was built anew.
    `candidate` is the number of the reply among several that are asked for at once, 0 for the only one; a provider
    isn't told.
    """

    system: str
    tools: tuple[ToolSpec, ...]
    dialogue: tuple[Turn | Reply, ...]
    before: int = 0
    candidate: int = 0
