"""Asks a model of its own beside others: one candidate's reply."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from orchestrator.agent.around import Models
    from orchestrator.agent.journal import Journal
    from orchestrator.dialogue import FailedRequest, Reply, Request
    from orchestrator.models.port import Kind, Model


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

    def ask(self, name: str, request: Request, hearing: Hearing, within_s: float, most_tokens: int = 0) -> Reply:
        """Return the reply of the model of this name; see `orchestrator.models.port.Model`."""
        with self._asking:
            self._stop.check()
            if self._model is not None and self._model.name != name:
                self._model.close()
                self._model = None
            if self._model is None:
                self._model = self._models(name)
            return self._model.ask(request, self._stop, hearing, within_s=within_s, most_tokens=most_tokens)

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


class Hearing:
    """Listens to one of several models: what fails is journalled, what is said isn't shown."""

    def __init__(self, journal: Journal, step: int) -> None:
        """Take the journal, and the step that is asked for."""
        self._journal = journal
        self._step = step

    def said(self, kind: Kind, piece: str) -> None:
        """Show no piece: people would see several replies as one."""

    def failed(self, failure: FailedRequest) -> None:
        """Journal a failed request; another follows."""
        self._journal.append(e.RequestFailed(step=self._step, failure=failure))
