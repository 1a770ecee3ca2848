"""Calls that go round: the same one with the same result, or a few of them in the same order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.agent.guards.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.agent.guards.acts import Act, Done

TIMES: Final = 3
LONGEST: Final = 4
"""Calls after which it begins anew."""


def round_and_round(done: Sequence[Done]) -> Finding | None:
    """Find calls that give the same results again and again, `TIMES` times; none of them waits for anything."""
    acts = [(one.step, act) for one in done for act in one.acts]
    for period in range(1, LONGEST + 1):
        length = _length([act for _, act in acts], period)
        if length < TIMES * period:
            continue
        if any(act.waits or act.ran_out for _, act in acts[-period:]):
            return None
        steps = tuple(sorted({step for step, _ in acts[-length:]}))
        if len(steps) < 2:  # noqa: PLR2004  # One reply that asks the same thing thrice has seen no result of it yet.
            return None
        names = ", ".join(dict.fromkeys(act.name for _, act in acts[-period:]))
        times = length // period
        what = (
            f"the same call of {names} gave the same result {times} times"
            if period == 1
            else (f"the same {period} calls ({names}) gave the same results {times} times")
        )
        return Finding("calls", what, steps)
    return None


def _length(acts: Sequence[Act], period: int) -> int:
    """Return how many of the last calls repeat with this period."""
    length = period
    while length < len(acts) and _same(acts[-length - 1], acts[-length - 1 + period]):
        length += 1
    return length


def _same(one: Act, other: Act) -> bool:
    return one.key == other.key and one.came == other.came
