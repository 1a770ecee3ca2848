"""What happens to a run whose attempt ended early: the next attempt, or nobody's until a person resumes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.errors import HeadMovedError
from orchestrator.runs import Outcome, State

if TYPE_CHECKING:
    from orchestrator.events import Event
    from orchestrator.journal.writer import Writer
    from orchestrator.runs import RunView

MOST_LOST: Final = 3
"""Attempts that may die one after the other without a step committed in between."""
_NOBODYS: Final = frozenset({State.WAITING, State.DONE})


def hand_over(journal: Writer, reason: str, *, to_blame: bool = True) -> bool:
    """Put the run in line for its next attempt; true if so, false where it ended or was parked instead.

    `to_blame` is false where the run isn't the cause, as when its worker is shut down: such an end doesn't count.
    Raises FencedError, HeadMovedError where it isn't the caller's to hand over.
    """
    number = journal.view.attempt
    while True:
        view = journal.view
        if view.cancel_requested:
            journal.append(
                e.Finished(outcome=Outcome.CANCELLED, reason="cancelled", tree=view.tree), operation="finish"
            )
            return False
        lost = e.AttemptLost(
            attempt=view.attempt, reason=reason, void_step=open_step(journal.events), to_blame=to_blame
        )
        parked = _parked(journal, reason, to_blame=to_blame)
        after = parked or e.Dispatched(attempt=view.attempt + 1, reason=reason)
        known = len(journal.events)
        try:
            journal.append(lost, after, operation="park" if parked else "requeue", strict=True)
        except HeadMovedError:
            if len(journal.events) == known or journal.view.attempt != number or journal.view.state in _NOBODYS:
                raise
            continue  # What was written meanwhile may be a request to pause, or to cancel.
        return parked is None


def park(journal: Writer) -> None:
    """Park the run of an attempt, as a person asked; where that was taken back meanwhile, the next attempt goes on."""
    journal.refresh()  # Who heard of the pause may be ahead of what was read.
    while journal.view.pausing and not journal.view.cancel_requested:
        view, void = journal.view, open_step(journal.events)
        lost = (
            []
            if void is None
            else [e.AttemptLost(attempt=view.attempt, reason="paused", void_step=void, to_blame=False)]
        )
        try:
            journal.append(*lost, paused(view), operation="park", strict=True)
        except HeadMovedError:
            continue
        return
    hand_over(journal, "the pause was taken back", to_blame=False)


def paused(view: RunView, who: str = "") -> e.Parked:
    """Return the event of a pause that was asked for by `who`, or before."""
    return e.Parked(why="paused", text=f"paused by {who or view.pausing}")


def _parked(journal: Writer, reason: str, *, to_blame: bool) -> e.Parked | None:
    """Return why nobody is to carry on: a person wants a pause, or attempts keep dying."""
    if journal.view.pausing:
        return paused(journal.view)
    if to_blame and lost_in_a_row(journal.events) + 1 >= MOST_LOST:
        return e.Parked(why="lost", text=f"{MOST_LOST} attempts in a row ended early, the last one: {reason}")
    return None


def open_step(events: list[Event]) -> int | None:
    """Return the number of the step that was begun and never committed, if there is one."""
    for event in reversed(events):
        match event.body:
            case e.Checkpointed() | e.Rewound() | e.AttemptLost():
                return None
            case e.Replied(step=step):
                return step
            case _:
                continue
    return None


def lost_in_a_row(events: list[Event]) -> int:
    """Return how many attempts ended early, to their own blame, since the last committed step, or since a resume.

    A sub-agent's step counts as well: the next attempt goes on behind it.
    """
    count = 0
    for event in reversed(events):
        match event.body:
            case e.Checkpointed() | e.Rewound() | e.Finished() | e.Parked() | e.Within(body=e.Checkpointed()):
                break
            case e.AttemptLost(to_blame=True):
                count += 1
            case _:
                continue
    return count
