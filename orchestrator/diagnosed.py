"""The stories of a run's errors and warnings, as its journal tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.diagnostic import LARGEST_READ, MOST_KEPT
from orchestrator.diagnostics.command import command, says_no
from orchestrator.diagnostics.story import Story, Told, follow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.dialogue import ToolCall


def stories(events: Iterable[e.Event]) -> tuple[Story, ...]:
    """Return what became of each error and warning that commands showed; steps never committed say nothing."""
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
                line = call.arguments.get("command") if call else None
                if isinstance(line, str):
                    open_step.append(Told(ended.step, line, ended.diagnostics, *_knows(ended, line)))
            case e.Checkpointed():
                committed += open_step
                open_step.clear()
            case _:
                pass
    return follow(committed)


def _knows(ended: e.CallFinished, line: str) -> tuple[bool, bool]:
    """Say whether all errors that a command has are known, and all warnings: only what isn't among them is fixed."""
    said = command(line)
    cut = said.partial and (bool(ended.diagnostics) or says_no(ended.result.content))
    whole = len(ended.diagnostics) < MOST_KEPT and not ended.timed_out and ended.signal is None and not cut
    if ended.exit_code != 0:
        return whole, whole
    # Of a command that ended well, warnings are read only where tools speak, and up to so many bytes.
    return whole, whole and said.speaks and ended.total_bytes <= LARGEST_READ
