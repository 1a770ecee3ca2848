"""What a failed request means: which of our errors it is, and whether asking again can help.

A refusal (key, model, request, window, credit) is never repeated: the same bytes would be refused again.
A passing failure (rate limit, overload, server error, time-out, cut stream) is, within bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelRequestTimeout,
    ModelServerError,
    ModelUnavailableError,
    UnexpectedModelBehavior,
)

from orchestrator.errors import ConfigError, DreamdockError, ModelError, UnavailableError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from orchestrator.models.families import Choice

_LONGEST_CAUSE = 300
_SHORTEST_PART = 6  # Providers echo a masked key: its first or last characters. Shorter runs are words.
_PASSING = (ModelRateLimitError, ModelUnavailableError, ModelServerError, ModelConnectionError, ModelRequestTimeout)


class Failure(NamedTuple):
    """An error for people, and whether the same request may be sent again, after how many seconds at least."""

    error: DreamdockError
    passing: bool
    retry_after: float | None = None


class UnfinishedError(Exception):
    """The stream ended without saying why: it was cut."""


def read_failure(error: Exception, choice: Choice, key: SecretStr | None) -> Failure:
    """Say what went wrong. The key is in no message."""
    cause = _cause(error, key)
    if isinstance(error, ModelRequestRejectedError | ModelQuotaExceededError):
        return Failure(_refusal(error, choice, cause), passing=False)
    if isinstance(error, _PASSING):
        hint = "try again later, or another --model"
        problem = UnavailableError(f"{choice.name} doesn't answer", cause=cause, hint=hint)
        return Failure(problem, passing=True, retry_after=error.retry_after)
    if isinstance(error, ModelAPIError | UnexpectedModelBehavior | UnfinishedError | ValueError):
        hint = f"is {choice.base_url} really a {choice.family.wire} endpoint?"
        cut = ModelError(f"the answer of {choice.name} is cut or malformed", cause=cause, hint=hint)
        return Failure(cut, passing=True)
    return Failure(ModelError(f"{choice.name} can't be asked", cause=f"{type(error).__name__}: {cause}"), passing=False)


def _refusal(error: ModelAPIError, choice: Choice, cause: str) -> DreamdockError:
    name, address, variable = choice.name, choice.base_url, choice.family.key
    match error:
        case ModelAuthenticationError():
            # Without the provider's text: it likes to echo a part of the key.
            hint = f"export {variable}=… (or {variable}_FILE=PATH) and restart the worker"
            return ConfigError(
                f"the key for {name} is refused", cause=f"{address} answered {_status(error)}", hint=hint
            )
        case ModelNotFoundError():
            hint = f"--model {choice.family_id}/NAME with a model that it serves, or another --base-url"
            return ConfigError(f"{address} doesn't know {choice.model}", cause=cause, hint=hint)
        case ModelQuotaExceededError():
            hint = "top up the account, or take another --model"
            return ModelError(f"the account for {name} has no credit left", cause=cause, hint=hint)
        case ModelContextWindowExceededError():
            hint = "take a --model with a larger window, or a smaller task"
            return ModelError(f"the dialogue is too long for {name}", cause=cause, hint=hint)
        case _:
            return ModelError(f"{name} refused the request", cause=cause)


def _status(error: ModelAPIError) -> str:
    return f"HTTP {error.status_code}" if isinstance(error, ModelHTTPError) else "that it isn't valid"


def _cause(error: Exception, key: SecretStr | None) -> str:
    """Return the provider's own words, in one short line, without the key."""
    text = str(error)
    if isinstance(error, ModelHTTPError):
        text = f"HTTP {error.status_code}: {_words(error.body)}"
    if key is not None:
        secret = key.get_secret_value()
        text = text.replace(secret, "[key]")
        for part in (secret[:_SHORTEST_PART], secret[-_SHORTEST_PART:]):
            text = text.replace(part, "[key]") if len(part) == _SHORTEST_PART else text
    return " ".join(text.split())[:_LONGEST_CAUSE]


def _words(body: object) -> str:
    """Return the message in an error body, however deep the provider puts it."""
    if isinstance(body, dict):
        return next((_words(body[key]) for key in ("error", "message", "detail") if body.get(key)), str(body))
    return str(body or "no text")
