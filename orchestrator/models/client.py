"""A real model: asked over HTTP through pydantic-ai's low-level streaming API, under our own retries and stop."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic_ai.direct import model_request_stream
from pydantic_ai.models import ModelRequestParameters, create_async_httpx2_client

from orchestrator.dialogue import FailedRequest
from orchestrator.errors import DreamdockError, EndlessError, ModelError
from orchestrator.models import messages as convert
from orchestrator.models.cap import Cap
from orchestrator.models.failures import Failure, UnfinishedError, read_failure
from orchestrator.models.known import Known
from orchestrator.models.port import SILENT, OutOfTime
from orchestrator.models.prices import cost_usd, most_usd
from orchestrator.models.tap import Tap, TooLargeError
from orchestrator.models.wire import build, settings
from orchestrator.stop import Stopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from pydantic import SecretStr
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models import Model

    from orchestrator.dialogue import Reply, Request, ToolSpec
    from orchestrator.models.families import Choice
    from orchestrator.models.port import Listener
    from orchestrator.stop import Stop

LARGEST_REPLY: Final = 4 * 1024 * 1024
"""Characters of text, reasoning and arguments; many times what a model may write in one reply."""
MOST_CALLS: Final = 500
_MOST_ENDLESS: Final = 2
"""A reply that took all its time is asked for once more, not as often as one that failed at once."""


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to ask again. All times in seconds."""

    first_token_s: float = 300.0
    """To the first token, and between two: models that hide their reasoning are silent while they think."""
    total_s: float = 1800.0
    """For one whole reply."""
    attempts: int = 6
    """Requests in all, the first included."""
    backoff_s: float = 1.0
    """Wait before the second attempt; it doubles with each, with jitter."""
    longest_wait_s: float = 120.0
    """A provider that asks for more is taken as unavailable."""


class ApiModel:
    """A provider's model. Belongs to the thread that asks; only `stop` may be set from another.

    `cache_key` is what requests that extend one another have in common: the run's id.
    """

    def __init__(self, choice: Choice, key: SecretStr | None, patience: Patience, *, cache_key: str = "") -> None:
        self.name = choice.name
        self.prompt_limit = choice.data.room.prompt
        self._choice = choice
        self._key = key
        self._patience = patience
        self._settings = settings(choice, patience.first_token_s, cache_key)
        self.reply_limit: int = self._settings.get("max_tokens", 0)
        self._cap = Cap()
        self._http = create_async_httpx2_client()
        self._tap = Tap(self._http)
        self._models: dict[str, Model[Any]] = {}
        self._known: Known[ModelMessage] = Known()
        self._tools: tuple[ToolSpec, ...] = ()
        self._parameters = ModelRequestParameters()
        self._runner = asyncio.Runner()
        self._model([])  # The SDK is imported now, not in the first request's time.

    def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
        """Return what a reply costs at most; see `orchestrator.models.port.Model`."""
        return most_usd(self._choice, prompt_tokens, reply_tokens)

    def ask(
        self,
        request: Request,
        stop: Stop,
        listener: Listener = SILENT,
        *,
        within_s: float | None = None,
        most_tokens: int = 0,
    ) -> Reply:
        """Return one complete reply; see `orchestrator.models.port.Model`."""
        stop.check()
        self._cap = Cap(most_tokens)
        return self._runner.run(self._ask(request, stop, listener, within_s))

    def close(self) -> None:
        """Close the connections and the event loop."""
        if not self._http.is_closed:
            self._runner.run(self._http.aclose())
            self._runner.close()

    async def _ask(self, request: Request, stop: Stop, listener: Listener, within_s: float | None) -> Reply:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def cancel() -> None:
            if task is not None:
                with suppress(RuntimeError):  # The loop was closed in the meantime: there is nothing to cancel.
                    loop.call_soon_threadsafe(task.cancel)

        forget = stop.on_set(cancel)
        try:
            async with asyncio.timeout(within_s):
                return await self._with_retries(convert.to_messages(request, self._known), request, listener)
        except TimeoutError:
            raise OutOfTime from None
        except asyncio.CancelledError:
            if stop.is_set:
                raise Stopped(stop.reason) from None
            raise
        finally:
            forget()

    async def _with_retries(self, messages: list[ModelMessage], request: Request, listener: Listener) -> Reply:
        for attempt in range(1, self._patience.attempts + 1):
            try:
                return await self._once(messages, request, listener)
            except DreamdockError:
                raise  # Ours already: what can't be used, or what the listener met.
            except Exception as error:  # noqa: BLE001  # Whatever an SDK raises becomes one of our errors, keyless.
                failure = self._failure(error, attempt)
            wait = self._wait(failure, attempt)
            if wait is None:
                break
            listener.failed(
                FailedRequest(model=self.name, error=failure.error.message, cause=failure.error.cause, wait_s=wait)
            )
            await asyncio.sleep(wait)
        raise failure.error

    def _failure(self, error: Exception, attempt: int) -> Failure:
        if isinstance(error, TimeoutError):
            cause = f"after {self._patience.total_s:.0f} s it was still not complete"
            problem = ModelError(f"a reply of {self.name} doesn't end", cause=cause, hint="take another --model")
            return Failure(problem, passing=attempt < _MOST_ENDLESS)
        return read_failure(error, self._choice, self._key)

    def _wait(self, failure: Failure, attempt: int) -> float | None:
        """Return the seconds to wait before asking again, or None where that's pointless."""
        if not failure.passing or attempt >= self._patience.attempts:
            return None
        backoff = self._patience.backoff_s * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311  # Jitter.
        wait = max(backoff, failure.retry_after or 0.0)
        return wait if wait <= self._patience.longest_wait_s else None

    async def _once(self, messages: list[ModelMessage], request: Request, listener: Listener) -> Reply:
        if self._tools is not request.tools:
            self._tools = request.tools
            self._parameters = ModelRequestParameters(function_tools=convert.to_tools(request.tools))
        asked: dict[str, Any] = {
            "model_settings": self._cap.put(self._settings),
            "model_request_parameters": self._parameters,
        }
        try:
            async with (
                asyncio.timeout(self._patience.total_s),
                model_request_stream(self._model(messages), messages, **asked) as stream,
            ):
                await self._listen(stream, listener)
                response = convert.unique_calls(stream.get())
        except TooLargeError:
            raise self._too_large() from None
        if not convert.finish_reason(response):
            raise UnfinishedError("the stream ended without a finish reason")
        usage = convert.to_usage(response)
        spent = {"model": self.name, "cost_usd": cost_usd(self._choice, usage), "sent": self._tap.sender.last}
        return convert.to_reply(response, usage).model_copy(update=spent)

    async def _listen(self, stream: AsyncIterable[Any], listener: Listener) -> None:
        self._cap.begin()
        size = calls = 0
        async for event in stream:
            for kind, piece in convert.pieces(event):
                size, calls = size + len(piece), calls + (kind == "call")
                if size > LARGEST_REPLY or calls > MOST_CALLS:
                    raise self._too_large()
                if self._cap.passed(piece):
                    raise self._endless()
                if kind is not None and piece:
                    listener.said(kind, piece)

    def _too_large(self) -> ModelError:
        cause = f"it has more than {LARGEST_REPLY // 1024**2} MiB, or {MOST_CALLS} calls"
        return ModelError(f"a reply of {self.name} is too large", cause=cause, hint="take another --model")

    def _endless(self) -> EndlessError:
        cause = f"it has clearly more than the {self._cap.most_tokens:,} tokens that were left to pay for"
        hint = "take another --model: this one's server ignores the limit of a reply"
        return EndlessError(f"a reply of {self.name} doesn't end where it was asked to", cause=cause, hint=hint)

    def _model(self, messages: list[ModelMessage]) -> Model[Any]:
        family = self._choice.family
        received = convert.received_field(messages) if family.reasoning_as_received else ""
        field = received or family.reasoning_field
        if field not in self._models:
            self._models[field] = build(self._choice, self._key, self._http, field)
        return self._models[field]
