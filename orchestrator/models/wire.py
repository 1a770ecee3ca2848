"""A chosen model as pydantic-ai's model and settings: the one place where a family's data meets the SDKs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from httpx2 import Timeout
from pydantic_ai.profiles.openai import OpenAIModelProfile

if TYPE_CHECKING:
    from httpx2 import AsyncClient
    from pydantic import SecretStr
    from pydantic_ai.models import Model
    from pydantic_ai.settings import ModelSettings

    from orchestrator.models.families import Choice

_CONNECT_S: Final = 10.0  # Who doesn't take a connection within that isn't thinking.


def build(choice: Choice, key: SecretStr | None, http: AsyncClient, reasoning_field: str) -> Model[Any]:
    """Return the model, speaking over `http`. `reasoning_field` is where reasoning goes back out."""
    secret = key.get_secret_value() if key else None
    if choice.family.wire == "anthropic":
        return _anthropic(choice, secret, http)
    if choice.family.wire == "responses":
        return _responses(choice, secret, http)
    return _chat(choice, secret, http, reasoning_field)


def settings(choice: Choice, first_token_s: float, cache_key: str) -> ModelSettings:
    """Return the settings of every request to this model: frozen, so that requests extend one another.

    `cache_key` leads requests that extend one another to the same cache, where the provider takes one.
    """
    chosen: dict[str, Any] = {
        "max_retries": 0,  # Retrying is ours: bounded, stoppable, and never for a refusal.
        "timeout": Timeout(first_token_s, connect=min(first_token_s, _CONNECT_S)),
        "first_event_timeout": first_token_s,
    }
    if choice.data.output or choice.family.wire == "anthropic":  # Anthropic requires one.
        chosen["max_tokens"] = choice.data.room.reply
    if choice.family.thinking:
        chosen["thinking"] = True
    if body := choice.body | ({choice.family.cache_key: cache_key} if choice.family.cache_key and cache_key else {}):
        chosen["extra_body"] = body
    if choice.family.wire == "anthropic":
        chosen["cache"] = True
    if choice.family.wire == "responses":
        chosen["openai_store"] = False  # The journal is where a run is kept.
        chosen["openai_prompt_cache_diagnostics"] = False  # It would change from request to request.
    return cast("ModelSettings", chosen)


def _chat(choice: Choice, secret: str | None, http: AsyncClient, reasoning_field: str) -> Model[Any]:
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider  # noqa: PLC0415  # One SDK per run.

    from orchestrator.models.chat import ChatModel  # noqa: PLC0415  # As above.

    family = choice.family
    profile = OpenAIModelProfile(
        supports_thinking=True,
        thinking_enabled_by_default=family.reasoning_required,
        openai_chat_thinking_field=reasoning_field or None,
        openai_chat_send_back_thinking_parts="field" if reasoning_field else False,
        openai_chat_thinking_requires_field_on_tool_calls=family.reasoning_required,
        openai_chat_streaming_requires_finish_reason=True,
        openai_chat_supports_max_completion_tokens=family.max_tokens_field == "max_completion_tokens",
        openai_supports_strict_tool_definition=False,
    )
    provider = OpenAICompatibleProvider(
        choice.family_id, base_url=choice.base_url, api_key=secret, http_client=http, profile=profile
    )
    return ChatModel(choice.model, provider=provider)


def _responses(choice: Choice, secret: str | None, http: AsyncClient) -> Model[Any]:
    from pydantic_ai.models.openai import OpenAIResponsesModel  # noqa: PLC0415  # As above.
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415  # As above.

    provider = OpenAIProvider(base_url=choice.base_url, api_key=secret, http_client=http)
    return OpenAIResponsesModel(choice.model, provider=provider)


def _anthropic(choice: Choice, secret: str | None, http: AsyncClient) -> Model[Any]:
    from pydantic_ai.models.anthropic import AnthropicModel  # noqa: PLC0415  # As above.
    from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415  # As above.

    provider = AnthropicProvider(base_url=choice.base_url, api_key=secret, http_client=http)
    return AnthropicModel(choice.model, provider=provider)
