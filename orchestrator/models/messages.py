"""Between our dialogue and pydantic-ai's messages. A reply goes back as it came: `Reply.raw` is the message itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.tools import ToolDefinition
from pydantic_core import from_json

from orchestrator.dialogue import Reply, Request, ToolCall, ToolSpec, Turn, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.models.known import Known
    from orchestrator.models.port import Kind

USAGE = "choice_usage"
"""Where a stream keeps, among the provider's details, the usage that came within a choice."""
_REASONING_FIELDS = frozenset({"reasoning", "reasoning_content"})


def to_messages(request: Request, known: Known[ModelMessage]) -> list[ModelMessage]:
    """Return the request's dialogue, the system text in front. The same dialogue always gives the same messages.

    `known` has those of the request before, and takes these.
    """
    known.begin()
    messages: list[ModelMessage] = []
    for said in request.dialogue:
        message = known.find(said) if messages else None  # The first one has the system text in it.
        messages.append(message or known.keep(said, _message(said, "" if messages else request.system)))
    return messages


def _message(said: Turn | Reply, system: str) -> ModelMessage:
    if isinstance(said, Reply):
        return _response(said)
    head: list[ModelRequestPart] = [SystemPromptPart(system)] if system else []
    return ModelRequest(parts=head + _parts(said))


def to_tools(specs: tuple[ToolSpec, ...]) -> list[ToolDefinition]:
    """Return the tools in their frozen order."""
    return [
        ToolDefinition(name=spec.name, description=spec.description, parameters_json_schema=spec.parameters)
        for spec in specs
    ]


def received_field(messages: list[ModelMessage]) -> str:
    """Return the field that reasoning first came in, or the empty string where none has come yet."""
    parts = (part for message in messages if isinstance(message, ModelResponse) for part in message.parts)
    ids = (part.id for part in parts if isinstance(part, ThinkingPart))
    return next((field for field in ids if field in _REASONING_FIELDS), "")


def pieces(event: Any) -> Iterator[tuple[Kind | None, str]]:
    """Yield what a streaming event brings: its kind, None for arguments and the like, and the text."""
    match event:
        case PartStartEvent(part=TextPart(content=text)) | PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            yield "text", text
        case PartStartEvent(part=ThinkingPart(content=text)):
            yield "reasoning", text
        case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=str(text))):
            yield "reasoning", text
        case PartStartEvent(part=ToolCallPart(tool_name=name, args=arguments)):
            yield "call", name
            yield None, str(arguments or "")
        case PartDeltaEvent(delta=ToolCallPartDelta(args_delta=arguments)):
            yield None, str(arguments or "")
        case _:
            return


def unique_calls(response: ModelResponse) -> ModelResponse:
    """Return a response whose calls have ids of their own: a result goes with an id."""
    seen: set[str] = set()
    parts = list(response.parts)
    for place, part in enumerate(parts):
        if isinstance(part, ToolCallPart) and part.tool_call_id in seen:
            parts[place] = replace(part, tool_call_id=f"{part.tool_call_id}-{place}")
        if isinstance(part := parts[place], ToolCallPart):
            seen.add(part.tool_call_id)
    return replace(response, parts=parts)


def to_reply(response: ModelResponse, usage: Usage) -> Reply:
    """Return a complete response as our value; who gave it, and what it cost, is for the caller to say."""
    return Reply(
        text="".join(part.content for part in response.parts if isinstance(part, TextPart)),
        reasoning="".join(part.content for part in response.parts if isinstance(part, ThinkingPart)),
        calls=tuple(_call(part) for part in response.parts if isinstance(part, ToolCallPart)),
        usage=usage,
        finish_reason=finish_reason(response),
        raw=ModelMessagesTypeAdapter.dump_json([response]).decode(),
    )


def finish_reason(response: ModelResponse) -> str:
    """Return why the reply ended, in the provider's word where pydantic-ai knows none; empty where it didn't say."""
    details = response.provider_details or {}
    return response.finish_reason or str(details.get("finish_reason") or "")


def to_usage(response: ModelResponse) -> Usage:
    """Return the tokens as the provider counted them, in whichever of their places it says so."""
    usage = response.usage
    counted = (response.provider_details or {}).get(USAGE)
    if counted and not usage.input_tokens:
        names = ("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"), ("cached_tokens",) * 2
        return Usage.counted(**{ours: int(counted.get(theirs) or 0) for ours, theirs in names})
    return Usage.counted(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cache_read_tokens or usage.details.get("cached_tokens", 0),
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.details.get("reasoning_tokens", 0),
    )


def _parts(turn: Turn) -> list[ModelRequestPart]:
    parts: list[ModelRequestPart] = [
        ToolReturnPart(tool_name=result.name, content=result.content, tool_call_id=result.call_id)
        for result in turn.results
    ]
    if turn.text:
        parts.append(UserPromptPart(turn.text))
    return parts


def _response(reply: Reply) -> ModelResponse:
    if reply.raw:
        return _load(reply.raw)
    text = [TextPart(reply.text)] if reply.text else []
    calls = [ToolCallPart(call.name, call.invalid or call.arguments, tool_call_id=call.id) for call in reply.calls]
    return ModelResponse(parts=[*text, *calls])


def _load(raw: str) -> ModelResponse:
    """Return the response that was kept."""
    [message] = ModelMessagesTypeAdapter.validate_json(raw)
    if not isinstance(message, ModelResponse):
        raise TypeError("what a reply kept is no response")
    return message


def _call(part: ToolCallPart) -> ToolCall:
    """Arguments that aren't a JSON object are kept as text: the agent answers them with an error result."""
    arguments: Any = part.args
    if isinstance(arguments, str):
        try:
            arguments = from_json(arguments, allow_inf_nan=False) if arguments.strip() else {}
        except ValueError:
            return ToolCall(id=part.tool_call_id, name=part.tool_name, invalid=str(part.args))
    if not isinstance(arguments, dict | None):
        return ToolCall(id=part.tool_call_id, name=part.tool_name, invalid=str(part.args))
    return ToolCall(id=part.tool_call_id, name=part.tool_name, arguments=arguments or {})
