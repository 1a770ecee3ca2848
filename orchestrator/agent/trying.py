"""Carries a candidate out in a fork, and runs the check behind it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.agent import tools
from orchestrator.agent.diagnosed import diagnosed
from orchestrator.agent.shown import clean
from orchestrator.agent.tally import tally
from orchestrator.diagnostic import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.dialogue import ToolCall
    from orchestrator.stop import Stop
    from sandbox.open import Sandbox

CARRIED_OUT: Final = frozenset({"bash", "read", "edit", "write", "grep", "glob", "processes"})
"""The tools whose calls are carried out in a fork; the others do nothing to a workspace."""


def try_out(
    box: Sandbox, number: int, calls: Iterable[ToolCall], command: str, *, stop: Stop, within_s: float
) -> e.Tried:
    """Carry a candidate's calls out, then run the check at the top of the workspace, and return what came of it.

    The calls have `within_s` seconds together, and the check as long again. Raises SandboxError, Stopped.
    """
    began = time.monotonic()
    ran: list[e.Ran] = []
    for call in calls:
        if call.name not in CARRIED_OUT:
            continue
        stop.check()
        left = within_s - (time.monotonic() - began)
        if left <= 0:
            took = time.monotonic() - began
            return e.Tried(candidate=number, ran=tuple(ran), seconds=took, failure="its calls took too long")
        outcome = tools.carry_out(tools.Hands(box, left), call)
        ran.append(
            e.Ran(
                call_id=call.id,
                ok=outcome.ok,
                exit_code=outcome.exit_code,
                timed_out=outcome.timed_out,
                duration_s=outcome.duration_s,
            )
        )
    stop.check()
    # Not in the resident shell: it starts from what the calls left there, and the real check doesn't.
    result = box.exec(["sh" if box.fallback else "bash", "-c", command], timeout_s=within_s)
    tests = tally(clean(result.output))
    return e.Tried(
        candidate=number,
        ran=tuple(ran),
        exit_code=result.exit_code,
        timed_out=result.timed_out,
        errors=sum(one.severity is Severity.ERROR and one.line > 0 for one in diagnosed(box, result)),
        tests_failed=tests.failed,
        tests_passed=tests.passed,
        seconds=time.monotonic() - began,
    )
