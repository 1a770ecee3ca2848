"""What an attempt gives its agents beside the model and the sandbox that they work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from orchestrator.pushing import NoCopies

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from orchestrator.agent.budget import Budget
    from orchestrator.agent.condenser import Opener
    from orchestrator.pushing import Copies
    from sandbox.open import Sandbox


class Fork(Protocol):
    """Opens a sandbox of its own on a tree, in any thread; a stop of the attempt ends it."""

    def __call__(self, tree: str, shell: str = "", /) -> AbstractContextManager[Sandbox]:
        """Return it as a context. Raises SandboxError, Stopped."""


@dataclass(frozen=True)
class Around:
    """What is there for an agent.

    `copies` is told of each committed step. `opener` opens the model that sums up beside the work, `models` one of the
    run's for another thread. `budget` is the ledger that its requests are paid from; without one it's that of the
    run's own limits. Without one of the others, what needs it isn't done.
    """

    copies: Copies = field(default_factory=NoCopies)
    opener: Opener | None = None
    models: Opener | None = None
    fork: Fork | None = None
    budget: Budget | None = None
