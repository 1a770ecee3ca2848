"""A run's journal as one of its sub-agents sees it: as a journal of its own."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator import events as e

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from orchestrator.agent.journal import Journal, Preview, View
    from orchestrator.models.port import Kind
    from orchestrator.runs import RunSpec
    from orchestrator.settings import RunLimits

_SHARED: Final = (e.AttemptLost, e.SandboxReady)
"""What happens to a run happens to its sub-agents, too: their commands were cut off, their containers are new ones."""


class NoPreview:
    """Shows nobody anything: people see a sub-agent's replies once they are complete."""

    def begin(self, step: int, /) -> None:
        """Begin nothing."""

    def said(self, kind: Kind, piece: str, /) -> None:
        """Show nothing."""


@dataclass(frozen=True)
class ChildView:
    """What a sub-agent heeds: its own limits, on the clock of the agent above it.

    A pause at the end of the step waits for the step of the agent above; what stops at once comes by the stop.
    """

    limits: RunLimits
    above: View
    began_s: float

    @property
    def pausing(self) -> str:
        """Nobody's wish."""
        return ""

    @property
    def preempting(self) -> str:
        """Why the worker is to be given up: each of its agents does so at its next checkpoint."""
        return self.above.preempting

    def spent_s(self, now: datetime, /) -> float:
        """Return the seconds since it began, without those in which nobody carried the run while it was parked."""
        return max(self.above.spent_s(now) - self.began_s, 0.0)


class ChildJournal:
    """What of a journal is one sub-agent's, unwrapped; what it appends is wrapped. It begins as a run's does.

    Used by the thread of that sub-agent, and by those of its own.
    """

    def __init__(self, journal: Journal, began: int, spec: RunSpec) -> None:
        """Take the journal of the agent above, and the place in it of the event that the sub-agent began with."""
        first, self._body, self.spec = _beginning(journal.events[began], spec)
        self._journal = journal
        self._taken = began + 1
        self._events = [first]
        self._lock = threading.Lock()
        self.preview: Preview = NoPreview()

    @property
    def events(self) -> Sequence[e.Event]:
        """Its own events, in order, and those of the run that it has to know of."""
        with self._lock:
            for event in self._journal.events[self._taken :]:
                self._taken += 1
                self._events += _unwrapped(event, self._body.child)
            return self._events

    @property
    def view(self) -> ChildView:
        """What it heeds."""
        return ChildView(self._body.limits, self._journal.view, self._body.began_s)

    @property
    def head(self) -> str:
        """The hash of the run's journal."""
        return self._journal.head

    @property
    def now(self) -> datetime:
        """The time by the clock that the events have."""
        return self._journal.now

    def append(self, *bodies: e.Deed) -> None:
        """Add events as this sub-agent's; see `Writer.append`."""
        self._journal.append(*(e.Within(child=self._body.child, body=body) for body in bodies))

    def refresh(self) -> None:
        """Take in what others have added."""
        self._journal.refresh()

    def blob(self, data: bytes, /) -> str:
        """Return a name for bytes that are stored with the next append."""
        return self._journal.blob(data)


def own_events(events: Sequence[e.Event], began: int, spec: RunSpec) -> list[e.Event]:
    """Return what of a journal's events is one sub-agent's, as `ChildJournal` shows it."""
    first, body, _ = _beginning(events[began], spec)
    return [first, *(own for event in events[began + 1 :] for own in _unwrapped(event, body.child))]


def _unwrapped(event: e.Event, child: str) -> list[e.Event]:
    """Return the event as that sub-agent's own; nothing where it's another's."""
    if isinstance(event.body, e.Within) and event.body.child == child:
        return [event.model_copy(update={"body": event.body.body})]
    return [event] if isinstance(event.body, _SHARED) else []


def _beginning(event: e.Event, spec: RunSpec) -> tuple[e.Event, e.ChildStarted, RunSpec]:
    """Return the first event of a sub-agent's journal, what it stands for, and what the sub-agent is to do.

    No command decides of that: the agent above does.
    """
    if not isinstance(body := event.body, e.ChildStarted):
        raise ValueError(f"event {event.seq} begins no sub-agent")  # noqa: TRY004  # A wrong value, not a wrong type.
    repo = spec.repo.model_copy(update={"tree": body.tree})
    own = spec.model_copy(update={"task": body.task, "limits": body.limits, "accept": None, "repo": repo})
    return event.model_copy(update={"body": e.Submitted(spec=own)}), body, own
