"""When a run is parked with something to ask a person, and how: all of it is in one append."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.agent.approving import Spent, allows, reasons
from orchestrator.agent.asking import DENIED
from orchestrator.agent.context import Projection
from orchestrator.errors import HeadMovedError
from orchestrator.journal.handover import hand_over

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.agent.context import Context
    from orchestrator.approvals import Approvals
    from orchestrator.journal.writer import Writer

_SHOWN: Final = 200
"""Characters of what is asked, in a list of runs."""


def due(context: Context, rules: Approvals, now: datetime) -> e.Asked | None:
    """Return what is to be asked before anything else is done: an approval of the last step, then its question.

    `now` is Redis's time. What a person asked to go back from needs neither.
    """
    asking = context.asking
    if context.rewind is not None:
        return None
    deadline = now + timedelta(seconds=rules.wait_seconds)
    if asking.step is not None and not asking.looked:
        # Who is done spends no more.
        spent = Spent(asking.spent_usd if context.summary is None else 0.0, asking.allowed_usd)
        if found := reasons(asking.step, rules, asking.unlooked, spent):
            names = tuple(one.rule for one in found)
            return e.Asked(
                id=f"a{asking.asked + 1}",
                kind="approval",
                step=asking.step.step,
                text="\n".join(one.text for one in found),
                default=DENIED,
                deadline=deadline,
                rules=names,
                allows_usd=allows(spent.usd) if "spending" in names else 0.0,
            )
    if asking.due is None:
        return None
    return e.Asked(
        id=f"q{asking.asked + 1}",
        kind="question",
        step=context.step,
        text=asking.due.question,
        options=tuple(asking.due.options),
        default=asking.due.default,
        deadline=deadline,
    )


def park(journal: Writer, rules: Approvals) -> None:
    """Park the run of an attempt with what is due; where that isn't any more, the next attempt goes on.

    Raises FencedError, HeadMovedError where it isn't the caller's to park.
    """
    journal.refresh()
    projection = Projection()
    while not journal.view.cancel_requested:
        found = due(projection.follow(journal.events), rules, journal.now)
        if found is None:
            break
        try:
            journal.append(found, parked(found), operation="park", strict=True)
        except HeadMovedError:
            continue  # What was written meanwhile may be a request to go back, or to cancel.
        return
    hand_over(journal, "there is nothing to be asked any more", to_blame=False)


def parked(asked: e.Asked) -> e.Parked:
    """Return the event of a run that waits for a person: in a line, for lists."""
    what = "asks" if asked.kind == "question" else f"step {asked.step} needs an approval"
    return e.Parked(why=asked.kind, text=f"{what}: {' '.join(asked.text.split())[:_SHOWN]}")
