"""pydantic-ai's chat model, without the walks over dialogue and tools that it and the SDK make for every request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic_ai.models.openai import OpenAIChatModel, OpenAIChatModelSettings, OpenAIStreamedResponse

from orchestrator.models.known import Known
from orchestrator.models.messages import USAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from openai.types.chat import ChatCompletionChunk
    from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.tools import ToolDefinition


class ChatModel(OpenAIChatModel):
    """Sends the mapped messages and tools as they are.

    The openai SDK looks at each of them, against each kind of message that there is, for fields to rename, and finds
    none: 60 ms of CPU per request at 200 steps. What comes in `extra_body` is left alone, and stands for the argument.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        """Take what pydantic-ai's own takes."""
        super().__init__(*arguments, **more)
        self._customized: tuple[list[ToolDefinition], list[ToolDefinition]] = ([], [])
        self._replies: Known[Any] = Known()
        self._turns: Known[list[Any]] = Known()

    def customize_request_parameters(self, model_request_parameters: ModelRequestParameters) -> ModelRequestParameters:
        """Return what the tools become here: those of a run are the same in each request, and walked through once."""
        given, customized = self._customized
        if given != model_request_parameters.function_tools:
            given = model_request_parameters.function_tools
            customized = super().customize_request_parameters(model_request_parameters).function_tools
            self._customized = (given, customized)
        return replace(model_request_parameters, function_tools=customized)

    async def _completions_create(
        self,
        messages: list[ModelMessage],
        stream: Any,
        model_settings: OpenAIChatModelSettings,
        model_request_parameters: ModelRequestParameters,
    ) -> Any:
        self._replies.begin()
        self._turns.begin()
        mapped = await self._map_messages(messages, model_request_parameters, model_settings=model_settings)
        tools, choice = self._get_tool_choice(model_settings, model_request_parameters)
        said: Any = model_settings.get("extra_body") or {}
        body = {**said, "messages": mapped} | ({"tools": tools, "tool_choice": choice} if tools else {})
        lean = OpenAIChatModelSettings(**{**model_settings, "extra_body": body})
        return await super()._completions_create([], stream, lean, replace(model_request_parameters, function_tools=[]))

    def _map_model_response(self, message: ModelResponse) -> Any:
        known = self._replies.find(message)
        return self._replies.keep(message, super()._map_model_response(message)) if known is None else known

    async def _map_user_message(self, message: ModelRequest) -> AsyncIterator[Any]:
        known = self._turns.find(message)
        if known is None:
            known = self._turns.keep(message, [])
            async for item in super()._map_user_message(message):
                known.append(item)
        for item in known:
            yield item

    @property
    def _streamed_response_cls(self) -> type[OpenAIStreamedResponse]:
        return _Stream


class _Stream(OpenAIStreamedResponse):
    def _map_provider_details(self, chunk: ChatCompletionChunk) -> dict[str, Any] | None:
        """Keep what Moonshot counts within the choice; `messages.to_usage` reads it where nothing else is counted."""
        details = super()._map_provider_details(chunk) or {}
        counted = (chunk.choices[0].model_extra or {}).get("usage")
        return {**details, USAGE: counted} if isinstance(counted, dict) else details
