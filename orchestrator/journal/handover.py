"""What happens to a run whose attempt ended early: the next attempt, or the end where attempts keep dying."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.runs import Outcome

if TYPE_CHECKING:
    from orchestrator.events import Event
    from orchestrator.journal.stream import Writer

MOST_LOST: Final = 3
"""Attempts that may die one after the other without a step committed in between."""


def hand_over(journal: Writer, reason: str, *, to_blame: bool = True) -> bool:
    """Put the run in line for its next attempt; true if so, false where it ended instead.

    `to_blame` is false where the run isn't the cause, as when its worker is shut down: such an end doesn't count.
    """
    view = journal.view
    if view.cancel_requested:
        journal.append(e.Finished(outcome=Outcome.CANCELLED, reason="cancelled", tree=view.tree), operation="finish")
        return False
    lost = e.AttemptLost(attempt=view.attempt, reason=reason, void_step=open_step(journal.events), to_blame=to_blame)
    if to_blame and lost_in_a_row(journal.events) + 1 >= MOST_LOST:
        reason = f"{MOST_LOST} attempts in a row ended early, the last one: {reason}"
        journal.append(lost, e.Finished(outcome=Outcome.ERROR, reason=reason, tree=view.tree), operation="finish")
        return False
    journal.append(lost, e.Dispatched(attempt=view.attempt + 1, reason=reason), operation="requeue")
    return True


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
    """Return how many attempts ended early, to their own blame, since the last committed step."""
    count = 0
    for event in reversed(events):
        match event.body:
            case e.Checkpointed() | e.Rewound() | e.Finished():
                break
            case e.AttemptLost(to_blame=True):
                count += 1
            case _:
                continue
    return count
