"""Fixes that fix nothing: a command that goes on failing with the same lines; calls that no tool takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.agent.guards.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.agent.guards.acts import Act, Done

FAILURES: Final = 5
"""The same failure this many times, so after four fixes; reading something new, or changing another file, begins anew:
a run may live with a test that fails for reasons of its own while it works on one file after the other."""
REFUSED: Final = 3


def same_failure(done: Sequence[Done]) -> Finding | None:
    """Find a failure that stays the same whatever is changed, while nothing new is read."""
    wrong: tuple[str, ...] = ()
    steps: list[int] = []
    for one in reversed(done):
        failed = [act.wrong for act in one.acts if act.failed and act.wrong and not act.waits]
        wrong = wrong or (failed[-1] if failed else ())
        if wrong and wrong in failed:
            steps.append(one.step)
        elif failed:
            break  # Another failure: the one before is gone.
        if one.news or one.elsewhere or one.waits:
            break
    if len(steps) < FAILURES:
        return None
    return Finding("failures", f"the same failure came {len(steps)} times, whatever was changed", tuple(steps[::-1]))


def refused(done: Sequence[Done]) -> Finding | None:
    """Find replies in a row all of whose calls were refused for what they ask."""
    steps: list[int] = []
    for one in reversed(done):
        if not one.acts or not all(act.refused and _for_its_arguments(act) for act in one.acts):
            break
        steps.append(one.step)
    if len(steps) < REFUSED:
        return None
    return Finding("refused", f"no call of the last {len(steps)} replies could be carried out", tuple(steps[::-1]))


def _for_its_arguments(act: Act) -> bool:
    """Whether nothing was learned by the refusal. A path that doesn't exist is found by trying."""
    return bool(act.changes) or act.name == "submit" or act.came.startswith(_ARGUMENTS)


_ARGUMENTS: Final = ("error: wrong arguments", "error: the arguments are not", "error: there is no tool")
