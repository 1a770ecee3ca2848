"""pydantic-ai's chat model, without the SDK's walk over the whole dialogue for every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_ai.models.openai import OpenAIChatModel, OpenAIChatModelSettings, OpenAIStreamedResponse

from orchestrator.models.messages import USAGE

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models import ModelRequestParameters


class ChatModel(OpenAIChatModel):
    """Sends the mapped messages as they are.

    The openai SDK looks at each of them, against each kind of message that there is, for fields to rename, and finds
    none: 60 ms of CPU per request at 200 steps. What comes in `extra_body` is left alone, and stands for the argument.
    """

    async def _completions_create(
        self,
        messages: list[ModelMessage],
        stream: Any,
        model_settings: OpenAIChatModelSettings,
        model_request_parameters: ModelRequestParameters,
    ) -> Any:
        mapped = await self._map_messages(messages, model_request_parameters, model_settings=model_settings)
        body: Any = model_settings.get("extra_body") or {}
        lean = OpenAIChatModelSettings(**{**model_settings, "extra_body": {**body, "messages": mapped}})
        return await super()._completions_create([], stream, lean, model_request_parameters)

    @property
    def _streamed_response_cls(self) -> type[OpenAIStreamedResponse]:
        return _Stream


class _Stream(OpenAIStreamedResponse):
    def _map_provider_details(self, chunk: ChatCompletionChunk) -> dict[str, Any] | None:
        """Keep what Moonshot counts within the choice; `messages.to_usage` reads it where nothing else is counted."""
        details = super()._map_provider_details(chunk) or {}
        counted = (chunk.choices[0].model_extra or {}).get("usage")
        return {**details, USAGE: counted} if isinstance(counted, dict) else details
