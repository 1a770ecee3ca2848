"""What a failed request means: which of our errors it is, and whether asking again can help.

A refusal (key, model, request, window, credit, certificate) is never repeated: the same bytes would be refused again.
A passing failure (rate limit, overload, server error, time-out, cut stream) is, within bounds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

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

from orchestrator.errors import ConfigError, DreamdockError, ModelError, TooLongError, UnavailableError
from orchestrator.models import transport
from orchestrator.models.too_long import is_too_long, limit_in

if TYPE_CHECKING:
    from pydantic import SecretStr

    from orchestrator.models.families import Choice

_LONGEST_CAUSE: Final = 300
_LONGEST_READ: Final = 8192
_SHORTEST_PART: Final = 6  # Providers echo a part of the key. Shorter runs are words, but for the last few characters.
_TAIL: Final = 4
_MASKED: Final = re.compile(r"[\w-]+(?:\*{2,}|…|\.{3})[\w-]+")  # Or both its ends, with something between.
_PASSING = (ModelRateLimitError, ModelUnavailableError, ModelServerError, ModelConnectionError, ModelRequestTimeout)
_ODD = ValueError | TypeError | LookupError | AttributeError | RecursionError | ArithmeticError
"""What the SDKs raise on a stream whose parts aren't of the kinds that they should be."""
_TOO_LARGE: Final = 413  # What Anthropic says to too many bytes, and a proxy in front of a server of one's own.
_ELSEWHERE: Final = frozenset({301, 302, 303, 307, 308, 405})  # Redirections aren't followed: a key would go along.
_TOOLLESS: Final = re.compile(
    r"(?:not|n't) support (?:the )?(?:tool|function)|support tool use"
    r"|(?:tool|function)[ _-](?:use|call\w*|choice) (?:is |are )?not (?:supported|enabled)"
    r"|--enable-auto-tool-choice|--jinja",  # What vLLM and llama.cpp lack where they were started without.
    re.IGNORECASE,
)
_UNKNOWN: Final = re.compile(
    r"\bmodel\b.{0,80}\bnot (?:exist|found)|(?:unknown|invalid|no such|not supported) model", re.IGNORECASE
)


class Failure(NamedTuple):
    """An error for people, and whether the same request may be sent again, after how many seconds at least."""

    error: DreamdockError
    passing: bool
    retry_after: float | None = None


class UnfinishedError(Exception):
    """The stream ended without saying why: it was cut."""


def read_failure(error: Exception, choice: Choice, key: SecretStr | None) -> Failure:
    """Say what went wrong. The key is in no message, nor a part of six characters, as it is written."""
    cause = _cause(error, choice, key)
    if mistrust := transport.untrusted(error, choice):
        return Failure(mistrust, passing=False)
    too_long = _is_too_long(error, choice)
    page = isinstance(error, ModelRequestRejectedError) and _is_page(error) and not too_long
    if page or _status(error) in _ELSEWHERE:
        return Failure(_no_endpoint(choice, cause), passing=False)
    refused = isinstance(error, ModelRequestRejectedError | ModelQuotaExceededError) or too_long
    if isinstance(error, ModelAPIError) and (refused or _TOOLLESS.search(cause)):  # llama.cpp says it with a 500.
        return Failure(_refusal(error, choice, cause, keyless=key is None), passing=False)
    if isinstance(error, _PASSING):
        hint = transport.remedy(error, choice)
        problem = UnavailableError(f"{choice.name} doesn't answer", cause=cause, hint=hint)
        return Failure(problem, passing=True, retry_after=error.retry_after)
    if isinstance(error, ModelAPIError | UnexpectedModelBehavior | UnfinishedError | _ODD):
        cut = ModelError(f"the answer of {choice.name} is cut or malformed", cause=cause, hint=_right_address(choice))
        return Failure(cut, passing=True)
    return Failure(ModelError(f"{choice.name} can't be asked", cause=f"{type(error).__name__}: {cause}"), passing=False)


def _refusal(error: ModelAPIError, choice: Choice, cause: str, *, keyless: bool) -> DreamdockError:
    name = choice.name
    match error:
        case ModelAuthenticationError():
            # Without the provider's text: it likes to echo a part of the key.
            told = f"{name} wants a key" if keyless else f"the key for {name} is refused"
            answered = f"HTTP {_status(error)}" if _status(error) else "that it isn't valid"
            variable = choice.family.key or "the key's variable"
            hint = f"export {variable}=… (or {variable}_FILE=PATH) and restart the worker"
            return ConfigError(told, cause=f"{choice.base_url} answered {answered}", hint=hint)
        case ModelQuotaExceededError():
            hint = "top up the account, or take another --model"
            return ModelError(f"the account for {name} has no credit left", cause=cause, hint=hint)
        case _ if _is_too_long(error, choice):
            return _too_long(error, choice, cause)
        case _ if _TOOLLESS.search(cause):
            hint = "take a --model that can, or start its server so (vLLM --enable-auto-tool-choice, llama.cpp --jinja)"
            return ModelError(f"{name} can't call tools", cause=cause, hint=hint)
        case _ if isinstance(error, ModelNotFoundError) or _UNKNOWN.search(cause):
            return _not_found(choice, cause)
        case _:
            hint = f"dreamdock doctor --model {name} tries the smallest one"
            return ModelError(f"{name} refused the request", cause=cause, hint=hint)


def _is_too_long(error: Exception, choice: Choice) -> bool:
    """Say whether a request is refused for its length, whatever the status: servers have said it with a 500."""
    other = ModelRateLimitError | ModelAuthenticationError | ModelQuotaExceededError  # Tokens of a minute, for one.
    if not isinstance(error, ModelAPIError) or isinstance(error, other):
        return False
    known = isinstance(error, ModelContextWindowExceededError) or _status(error) == _TOO_LARGE
    return known or is_too_long(_said(error, choice))


def _too_long(error: ModelAPIError, choice: Choice, cause: str) -> TooLongError:
    limit = limit_in(_said(error, choice), error.body if isinstance(error, ModelHTTPError) else None)
    hint = "take a --model with a larger window, or a smaller task"
    if 0 < limit < sum(choice.data.room):
        hint = f"take a --model with a larger window, or set window = {limit} for this one, see docs/models.md"
    return TooLongError(f"the dialogue is too long for {choice.name}", cause=cause, hint=hint, limit=limit)


def _not_found(choice: Choice, cause: str) -> ConfigError:
    """Tell a model that isn't there from an address where no models are: only the former's answer speaks of one."""
    if "model" not in cause.lower() and choice.model not in cause:
        return _no_endpoint(choice, cause)
    elsewhere = "" if choice.family.base_url else ", or another --base-url"
    hint = f"--model {choice.family_id}/NAME with a model that it serves{elsewhere}"
    return ConfigError(f"{choice.base_url} doesn't know {choice.model}", cause=cause, hint=hint)


def _no_endpoint(choice: Choice, cause: str) -> ConfigError:
    return ConfigError(f"{choice.base_url} is no model's endpoint", cause=cause, hint=_right_address(choice))


def _right_address(choice: Choice) -> str:
    """Return the usual mistake in an address of one's own: such servers answer below /v1."""
    if not choice.family.base_url and not re.search(r"/v\d+$", choice.base_url):
        return f"--base-url {choice.base_url}/v1"
    return f"does {choice.base_url} really speak {choice.family.wire!r}?"


def _cause(error: Exception, choice: Choice, key: SecretStr | None) -> str:
    """Return the provider's or the system's own words, in one short line, without the key."""
    text = _said(error, choice)
    if key is not None:
        text = _MASKED.sub("[key]", _without(key.get_secret_value(), text))
    return text[:_LONGEST_CAUSE]


def _said(error: Exception, choice: Choice) -> str:
    """Return the provider's or the system's own words in one line. The key may be in it."""
    text = str(error)
    if isinstance(error, ModelHTTPError):
        text = f"HTTP {error.status_code}: {'a web page' if _is_page(error) else _words(error.body)}"
    elif isinstance(error, ModelConnectionError):
        text = transport.reason(error, choice)
    return " ".join(text[:_LONGEST_READ].replace("\0", " ").split())


def _without(secret: str, text: str) -> str:
    """Return the text with the key taken out, and every part of it that is too long to be a word."""
    text = re.sub(rf"(?<!\w){re.escape(secret[-_TAIL:])}(?!\w)", "[key]", text.replace(secret, "[key]"))
    starts = range(len(text) - _SHORTEST_PART + 1)
    told = {at + i for at in starts if text[at : at + _SHORTEST_PART] in secret for i in range(_SHORTEST_PART)}
    return re.sub("\0+", "[key]", "".join("\0" if at in told else sign for at, sign in enumerate(text)))


def _words(body: object) -> str:
    """Return the message in an error body, however deep the provider puts it."""
    if isinstance(body, dict):
        return next((_words(body[key]) for key in ("error", "message", "detail") if body.get(key)), str(body))
    return str(body or "no text")


def _status(error: Exception) -> int:
    """Return the HTTP status, 0 where there was none. That of a redirection only the SDK's own error knows."""
    return int(getattr(error, "status_code", 0) or getattr(error.__cause__, "status_code", 0))


def _is_page(error: Exception) -> bool:
    body = error.body if isinstance(error, ModelHTTPError) else None
    return isinstance(body, str) and body.lstrip().startswith("<")
