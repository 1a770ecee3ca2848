"""What an attempt gives its agents beside the model and the sandbox that they work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from orchestrator.pushing import NoCopies

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from orchestrator import events as e
    from orchestrator.agent.budget import Budget
    from orchestrator.agent.condenser import Opener
    from orchestrator.agent.context import Context
    from orchestrator.library.lookup import Lookup
    from orchestrator.models.port import Model
    from orchestrator.pushing import Copies
    from sandbox.open import Sandbox


class Fork(Protocol):
    """Opens a sandbox of its own on a tree, in any thread; a stop of the attempt ends it."""

    def __call__(self, tree: str, shell: str = "", /) -> AbstractContextManager[Sandbox]:
        """Return it as a context. Raises SandboxError, Stopped."""


class Models(Protocol):
    """Opens a model of the run for the thread that calls it."""

    def __call__(self, name: str, /, *, agent: str = "") -> Model:
        """Return the model by its full name, to be asked for a sub-agent of that name; the caller closes it."""


class Court(Protocol):
    """Rules on what was submitted, by the evidence: never by what the agent says of it."""

    def refuses(self, context: Context, /) -> e.Refused | None:
        """Return why it isn't accepted, None where it is. Raises SandboxError, Stopped, ModelError."""


@dataclass(frozen=True)
class Around:
    """What is there for an agent.

    `copies` is told of each committed step. `opener` opens the model that sums up beside the work, `models` one of the
    run's for another thread. `budget` is the ledger that its requests are paid from; without one it's that of the
    run's own limits. `court` decides whether a submission ends the work. Without one of the others, what needs it isn't
    done. `has` tells whether a checkpoint of the run is still there; `notes` are for the system text. `library` is
    where its agents look things up.
    """

    copies: Copies = field(default_factory=NoCopies)
    opener: Opener | None = None
    models: Models | None = None
    fork: Fork | None = None
    has: Callable[[str], bool] = lambda _commit: False
    notes: str = ""
    court: Court | None = None
    budget: Budget | None = None
    library: Lookup | None = None
