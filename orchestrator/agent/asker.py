"""Asks a model of its own beside others: one candidate's reply."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from orchestrator.stop import Stop

if TYPE_CHECKING:
    from orchestrator.agent.around import Models
    from orchestrator.dialogue import Reply, Request
    from orchestrator.models.port import Listener, Model


class Asker:
    """Has a model that is opened when it's first asked, and kept; it's asked from one thread at a time.

    `give_up` may be called from any, and ends what is under way; nothing but `close` is done with it after that.
    """

    def __init__(self, models: Models, stop: Stop) -> None:
        """Take what opens a model; what is under way ends with `stop`."""
        self._models = models
        self._stop = Stop()
        self._forget = stop.on_set(lambda: self._stop.set(stop.reason))
        self._model: Model | None = None
        self._asking = Lock()

    def ask(self, name: str, request: Request, listener: Listener, within_s: float, most_tokens: int = 0) -> Reply:
        """Return the reply of the model of this name; see `orchestrator.models.port.Model`."""
        with self._asking:
            self._stop.check()
            if self._model is not None and self._model.name != name:
                self._model.close()
                self._model = None
            if self._model is None:
                self._model = self._models(name)
            return self._model.ask(request, self._stop, listener, within_s=within_s, most_tokens=most_tokens)

    def give_up(self, why: str) -> None:
        """End what is under way at once."""
        self._stop.set(why)

    def close(self) -> None:
        """Let go of the model, once it isn't asked any more."""
        self._forget()
        with self._asking:
            if self._model is not None:
                self._model.close()
                self._model = None
