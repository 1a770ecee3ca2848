"""One candidate's place: a model that is asked, and a fork that is tried in, kept open for the attempt."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from orchestrator import events as e
from orchestrator.stop import Stop
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from orchestrator.agent.around import Fork
    from orchestrator.agent.condenser import Opener
    from orchestrator.dialogue import FailedRequest, Reply, Request
    from orchestrator.journal.writer import Writer
    from orchestrator.models.port import Kind, Model
    from sandbox.open import Sandbox


class Point(NamedTuple):
    """Where candidates start from: the last checkpoint's commit and tree, and the state of the shell there."""

    commit: str
    tree: str
    shell: str


class Seat:
    """Asks from one thread and opens its fork in another; each of the two is for one thread at a time.

    `give_up` may be called from any, and ends what is under way; nothing is done with the seat after that but `close`.
    """

    def __init__(self, models: Opener, fork: Fork, stop: Stop) -> None:
        """Take what opens a model and a fork; what is under way ends with `stop`."""
        self.stop = Stop()
        self._models = models
        self._fork = fork
        self._forget = stop.on_set(lambda: self.stop.set(stop.reason))
        self._model: Model | None = None
        self._open = ExitStack()
        self._box: Sandbox | None = None
        self._asking, self._forking = Lock(), Lock()

    def ask(self, name: str, request: Request, hearing: Hearing, within_s: float) -> Reply:
        """Return the reply of the model of this name; see `orchestrator.models.port.Model`."""
        with self._asking:
            self.stop.check()
            if self._model is not None and self._model.name != name:
                self._model.close()
                self._model = None
            if self._model is None:
                self._model = self._models(name)
            return self._model.ask(request, self.stop, hearing, within_s=within_s)

    def at(self, point: Point) -> Sandbox:
        """Return the fork, as it is at a checkpoint: rewound if it's open, else opened.

        Raises SandboxError, Stopped.
        """
        with self._forking:
            self.stop.check()
            if self._box is not None:
                try:
                    self._box.rewind(point.commit, shell=point.shell)
                except SandboxError:  # It's ended; another one may do.
                    self._leave()
                else:
                    return self._box
            self._box = box = self._open.enter_context(self._fork(point.tree, point.shell))
            self._open.callback(self.stop.on_set(lambda: _kill(box)))
            return box

    def give_up(self, why: str) -> None:
        """End what is under way at once."""
        self.stop.set(why)

    def close(self) -> None:
        """Let go of the model and remove the fork, once it's open if it's being opened."""
        self._forget()
        with self._forking:
            self._leave()
        with self._asking:
            if self._model is not None:
                self._model.close()
                self._model = None

    def _leave(self) -> None:
        self._box = None
        with suppress(SandboxError):  # What is left, the keeper finds.
            self._open.close()


class Hearing:
    """Listens to one of several models: what fails is journalled, what is said isn't shown."""

    def __init__(self, journal: Writer, step: int) -> None:
        """Take the journal, and the step that is asked for."""
        self._journal = journal
        self._step = step

    def said(self, kind: Kind, piece: str) -> None:
        """Show no piece: people would see several replies as one."""

    def failed(self, failure: FailedRequest) -> None:
        """Journal a failed request; another follows."""
        self._journal.append(e.RequestFailed(step=self._step, failure=failure))


def _kill(box: Sandbox) -> None:
    with suppress(SandboxError):  # It's gone already, or its engine is.
        box.kill()
