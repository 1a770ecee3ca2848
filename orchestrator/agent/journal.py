"""The journal as an agent needs it. Two stand behind it: the run's own, and what a sub-agent sees of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from orchestrator.events import Deed, Event
    from orchestrator.models.port import Kind
    from orchestrator.settings import RunLimits


class View(Protocol):
    """What of a run's state its agent heeds; see `RunView`."""

    @property
    def limits(self) -> RunLimits:
        """What ends its work."""

    @property
    def pausing(self) -> str:
        """Who wants a pause at the end of the step; empty for nobody."""

    @property
    def preempting(self) -> str:
        """Why the worker is to be given up at the next checkpoint; empty for no reason."""

    def spent_s(self, now: datetime, /) -> float:
        """Return the seconds that count against the time limit."""


class Preview(Protocol):
    """Shows people what is said of a reply before it's complete; see `orchestrator.journal.live.Preview`."""

    def begin(self, step: int, /) -> None:
        """Begin a reply; what was said of another one is taken back."""

    def said(self, kind: Kind, piece: str, /) -> None:
        """Show a piece of it."""


class Journal(Protocol):
    """What happened, and the way to add to it; see `orchestrator.journal.writer.Writer`."""

    @property
    def events(self) -> Sequence[Event]:
        """All of it so far, in order."""

    @property
    def view(self) -> View:
        """What it's folded into."""

    @property
    def head(self) -> str:
        """The hash of the run's journal."""

    @property
    def now(self) -> datetime:
        """The time by the clock that the events have."""

    @property
    def preview(self) -> Preview:
        """Where a reply is shown while it comes."""

    def append(self, *bodies: Deed) -> object:
        """Add events, all of them or none."""

    def refresh(self) -> None:
        """Take in what others have added."""

    def blob(self, data: bytes, /) -> str:
        """Return a name for bytes that are stored with the next append; empty where they aren't."""
