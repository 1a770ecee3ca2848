"""What the model is told of a submission that isn't accepted: why, what the acceptance command said, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.agent import wording
from orchestrator.agent.diagnosed import block
from orchestrator.agent.signal import signal
from orchestrator.endings import how
from orchestrator.memory.plain import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.agent.journal import Journal
    from orchestrator.events import Event
    from orchestrator.runs import Verdict
    from sandbox.open import Sandbox

_LONGEST: Final = 4_000
"""Characters of an acceptance command's output."""
_POINT: Final = 500
_AGAIN: Final = "Nothing has changed since it was refused last: what was said then holds."


def refused(found: e.Refused, journal: Journal, sandbox: Sandbox, *, count: int, most: int, longest: int) -> str:
    """Return what the model is told. `sandbox` has the tree that was submitted, `longest` are the characters for it."""
    failed = _failed(journal.events, sandbox, longest)
    unmet = [] if failed else [f"- {one_line(point, _POINT)}" for point in _unmet(journal.events)]
    told = _AGAIN if found.again else "\n\n".join(failed) or "\n".join(unmet)
    return wording.fill("refused", why=found.why, count=str(count), most=str(most), told=told)


def said(verdict: Verdict, longest: int = _LONGEST) -> str:
    """Return what an acceptance command said, cut to what it tells, and how it ended."""
    end = how(exit_code=verdict.exit_code, signal=None, timed_out=verdict.timed_out)
    more = filter(None, (end, "with the base's test files put back" if verdict.base_tests else "", verdict.flaky))
    shown = signal(verdict.output.encode(), longest=longest).text
    return f"$ {verdict.command}\n{shown}\n[{', '.join(more)}]"


def _unmet(events: Sequence[Event]) -> tuple[str, ...]:
    """Return the points that the judge found missing, since the work was last looked at."""
    for event in reversed(events):
        if isinstance(event.body, e.Ruled):
            return event.body.ruling.unmet
        if isinstance(event.body, e.Checkpointed):
            break
    return ()


def _failed(events: Sequence[Event], sandbox: Sandbox, longest: int) -> list[str]:
    """Return what the runs of the acceptance command said that failed, since it was last begun with."""
    judged: list[e.Judged] = []
    for event in reversed(events):
        if isinstance(event.body, e.FinishStarted | e.Checkpointed):
            break
        if isinstance(event.body, e.Judged) and not event.body.verdict.passed:
            judged.insert(0, event.body)
    room = min(_LONGEST, longest // max(len(judged), 1))
    return [
        "\n".join(filter(None, (said(one.verdict, room), block(sandbox, one.diagnostics, longest)))) for one in judged
    ]
