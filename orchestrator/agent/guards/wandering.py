"""Looking around where all was seen: no change, no note, and nothing new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.agent.guards.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.agent.guards.acts import Done

STEPS: Final = 8


def wandering(done: Sequence[Done]) -> Finding | None:
    """Find steps in a row that only look, at what was seen already."""
    steps: list[int] = []
    for one in reversed(done):
        if not one.acts or one.news or one.moves or one.waits or not all(act.looks for act in one.acts):
            break
        steps.append(one.step)
    if len(steps) < STEPS:
        return None
    return Finding("wandering", f"{len(steps)} steps only looked at what was seen before", tuple(steps[::-1]))
