"""A real model: asked over HTTP through pydantic-ai's low-level streaming API, under our own retries and stop."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_ai.direct import model_request_stream
from pydantic_ai.models import ModelRequestParameters, create_async_httpx2_client

from orchestrator.models import messages as convert
from orchestrator.models.failures import Failure, UnfinishedError, read_failure
from orchestrator.models.prices import cost_usd
from orchestrator.models.wire import build, settings
from orchestrator.stop import Stopped

if TYPE_CHECKING:
    from pydantic import SecretStr
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models import Model

    from orchestrator.dialogue import Reply, Request
    from orchestrator.models.families import Choice
    from orchestrator.stop import Stop


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
    """A provider's model. Belongs to the thread that asks; only `stop` may be set from another."""

    def __init__(self, choice: Choice, key: SecretStr | None, patience: Patience) -> None:
        self.name = choice.name
        self._choice = choice
        self._key = key
        self._patience = patience
        self._settings = settings(choice, patience.first_token_s, patience.total_s)
        self._http = create_async_httpx2_client()
        self._models: dict[str, Model[Any]] = {}
        self._runner = asyncio.Runner()

    def ask(self, request: Request, stop: Stop) -> Reply:
        """Return one complete reply; see `orchestrator.models.port.Model`."""
        stop.check()
        return self._runner.run(self._ask(request, stop))

    def close(self) -> None:
        """Close the connections and the event loop."""
        if not self._http.is_closed:
            self._runner.run(self._http.aclose())
            self._runner.close()

    async def _ask(self, request: Request, stop: Stop) -> Reply:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def cancel() -> None:
            if task is not None:
                with suppress(RuntimeError):  # The loop was closed in the meantime: there is nothing to cancel.
                    loop.call_soon_threadsafe(task.cancel)

        forget = stop.on_set(cancel)
        try:
            return await self._with_retries(convert.to_messages(request), request)
        except asyncio.CancelledError:
            if stop.is_set:
                raise Stopped(stop.reason) from None
            raise
        finally:
            forget()

    async def _with_retries(self, messages: list[ModelMessage], request: Request) -> Reply:
        for attempt in range(1, self._patience.attempts + 1):
            try:
                return await self._once(messages, request)
            except Exception as error:  # noqa: BLE001  # Whatever an SDK raises becomes one of our errors, keyless.
                failure = read_failure(error, self._choice, self._key)
            wait = self._wait(failure, attempt)
            if wait is None:
                break
            await asyncio.sleep(wait)
        raise failure.error

    def _wait(self, failure: Failure, attempt: int) -> float | None:
        """Return the seconds to wait before asking again, or None where that's pointless."""
        if not failure.passing or attempt >= self._patience.attempts:
            return None
        backoff = self._patience.backoff_s * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311  # Jitter.
        wait = max(backoff, failure.retry_after or 0.0)
        return wait if wait <= self._patience.longest_wait_s else None

    async def _once(self, messages: list[ModelMessage], request: Request) -> Reply:
        parameters = ModelRequestParameters(function_tools=convert.to_tools(request.tools))
        async with model_request_stream(
            self._model(messages), messages, model_settings=self._settings, model_request_parameters=parameters
        ) as stream:
            async for _ in stream:
                pass
            response = stream.get()
        if not convert.finish_reason(response):
            raise UnfinishedError("the stream ended without a finish reason")
        return convert.to_reply(response, cost_usd(self._choice, response.usage))

    def _model(self, messages: list[ModelMessage]) -> Model[Any]:
        family = self._choice.family
        received = convert.received_field(messages) if family.reasoning_as_received else ""
        field = received or family.reasoning_field
        if field not in self._models:
            self._models[field] = build(self._choice, self._key, self._http, field)
        return self._models[field]
