"""A second model behind the first: asked once the first can't answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orchestrator.dialogue import FailedRequest
from orchestrator.errors import ConfigError, ModelError, TooLongError, UnavailableError
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

    def ask(self, request: Request, stop: Stop, listener: Listener = SILENT, *, within_s: float | None = None) -> Reply:
        """Return one complete reply; see `orchestrator.models.port.Model`."""
        if self._asked is self._second:
            return self._second.ask(request, stop, listener, within_s=within_s)
        began = time.monotonic()
        try:
            return self._first.ask(request, stop, listener, within_s=within_s)
        except TooLongError:
            raise  # It does answer, once it is asked with less: that is for the agent to do.
        except (UnavailableError, ConfigError, ModelError) as error:
            first, second = self._first.name, self._second.name
            listener.failed(FailedRequest(model=first, error=error.message, cause=error.cause, instead=second))
        self._asked = self._second
        left = None if within_s is None else within_s - (time.monotonic() - began)
        return self._second.ask(request, stop, listener, within_s=left)

    def close(self) -> None:
        """Let go of both."""
        self._first.close()
        self._second.close()
