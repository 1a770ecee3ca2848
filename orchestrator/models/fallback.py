"""A second model behind the first: asked once the first can't answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orchestrator.dialogue import FailedRequest
from orchestrator.errors import ConfigError, EndlessError, ModelError, TooLongError, UnavailableError
from orchestrator.models.port import SILENT

if TYPE_CHECKING:
    from orchestrator.dialogue import Reply, Request
    from orchestrator.models.port import Listener, Model
    from orchestrator.stop import Stop


class FallbackModel:
    """Asks `first`; where that fails for good, `second` from then on, because its cache is the warm one now."""

    def __init__(self, first: Model, second: Model) -> None:
        self._first = first
        self._second = second
        self._asked = first

    @property
    def name(self) -> str:
        """The name of the model that is asked now."""
        return self._asked.name

    @property
    def prompt_limit(self) -> int:
        """That of the model that is asked now."""
        return self._asked.prompt_limit

    @property
    def reply_limit(self) -> int:
        """That of the one which says more, while either may answer; 0 where one of them doesn't say."""
        both = [model.reply_limit for model in self._left]
        return max(both) if all(both) else 0

    def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
        """Return what the dearer one costs, while either may answer."""
        return max(model.most_usd(prompt_tokens, reply_tokens) for model in self._left)

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
        if self._asked is self._second:
            return self._second.ask(request, stop, listener, within_s=within_s, most_tokens=most_tokens)
        began = time.monotonic()
        try:
            return self._first.ask(request, stop, listener, within_s=within_s, most_tokens=most_tokens)
        except (TooLongError, EndlessError):
            raise  # It does answer, once it is asked with less: that is for the agent to do. And it was paid for.
        except (UnavailableError, ConfigError, ModelError) as error:
            first, second = self._first.name, self._second.name
            listener.failed(FailedRequest(model=first, error=error.message, cause=error.cause, instead=second))
        self._asked = self._second
        left = None if within_s is None else within_s - (time.monotonic() - began)
        return self._second.ask(request, stop, listener, within_s=left, most_tokens=most_tokens)

    @property
    def _left(self) -> tuple[Model, ...]:
        """Those that may still answer."""
        return (self._second,) if self._asked is self._second else (self._first, self._second)

    def close(self) -> None:
        """Let go of both."""
        self._first.close()
        self._second.close()
