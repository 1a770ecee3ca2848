"""The guards' judgement: a loop is named to the model, then a new plan is asked for, then the work is stopped.

It works from the dialogue and from what was judged before, both of them in the journal: a later attempt judges alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.agent.guards.calls import round_and_round
from orchestrator.agent.guards.failures import refused, same_failure
from orchestrator.agent.guards.replies import cut_off, flood, garbled, said_before, silent
from orchestrator.agent.guards.wandering import wandering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.agent.guards.acts import Done
    from orchestrator.agent.guards.finding import Finding

_GUARDS: Final = (round_and_round, same_failure, refused, garbled, cut_off, silent, flood, said_before, wandering)
_LEVELS: Final[tuple[e.Level, ...]] = ("remind", "replan", "stop")
SILENT: Final = "silent"
"""The kind of those that call no tool."""
_PATIENCE: Final = {"failures": 1, SILENT: 1}
_USUAL_PATIENCE: Final = 2
"""How often a loop goes round after each level before the next one; a fix and its test are one."""


def judge(done: Sequence[Done], told: Sequence[e.Guarded]) -> e.Guarded | None:
    """Return what to do about the last steps, or None. `told` is what was judged since a person spoke last."""
    if not done or (told and told[-1].level == _LEVELS[-1]):
        return None
    judged = [_judged(finding, done[-1].step, told) for guard in _GUARDS if (finding := guard(done))]
    found = [one for one in judged if one is not None]
    return max(found, key=lambda one: _LEVELS.index(one.level), default=None)


def _judged(finding: Finding, step: int, told: Sequence[e.Guarded]) -> e.Guarded | None:
    """Return the next level for this loop; None where the last one hasn't been given its time."""
    before = [one for one in told if one.kind == finding.kind and one.step >= finding.steps[0]]
    level = _LEVELS[0]
    if before:
        further = sum(at > before[-1].step for at in finding.steps)
        if further < _PATIENCE.get(finding.kind, _USUAL_PATIENCE):
            return None
        level = _LEVELS[_LEVELS.index(before[-1].level) + 1]
    return e.Guarded(step=step, kind=finding.kind, level=level, reason=finding.reason, since=finding.steps[0])
