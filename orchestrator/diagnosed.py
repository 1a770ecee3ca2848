"""The stories of a run's errors, as its journal tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.diagnostic import MOST_KEPT, Severity
from orchestrator.diagnostics.story import Story, Told, follow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.dialogue import ToolCall


def stories(events: Iterable[e.Event]) -> tuple[Story, ...]:
    """Return what became of each error that commands showed; steps that were never committed say nothing.

    Warnings have no story: a command that succeeds isn't asked for them, so that nobody knows when they went.
    """
    calls: dict[str, ToolCall] = {}
    open_step: list[Told] = []
    committed: list[Told] = []
    for event in events:
        match event.body:
            case e.Claimed():
                open_step.clear()
            case e.CallStarted() as started:
                calls[started.call.id] = started.call
            case e.CallFinished() as ended if ended.exit_code is not None or ended.signal is not None:
                call = calls.get(ended.result.call_id)
                command = call.arguments.get("command") if call else None
                if isinstance(command, str):
                    errors = [one for one in ended.diagnostics if one.severity is Severity.ERROR]
                    whole = len(ended.diagnostics) < MOST_KEPT and not ended.timed_out and ended.signal is None
                    open_step.append(Told(ended.step, command, errors, whole))
            case e.Checkpointed():
                committed += open_step
                open_step.clear()
            case _:
                pass
    return follow(committed)
