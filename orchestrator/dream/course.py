"""What a run's journal says of its end and of its commands, for all that learn from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import events as e

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.events import Event
    from orchestrator.runs import Outcome


def outcome(events: Sequence[Event]) -> Outcome | None:
    """Return how a run ended at last; None for one that hasn't."""
    return next((event.body.outcome for event in reversed(events) if isinstance(event.body, e.Finished)), None)


def passed(events: Iterable[Event]) -> Iterator[tuple[int, str]]:
    """Yield the commands that ended with exit code 0, as they were typed, each with its step; undone steps' too."""
    started = dict[str, str]()
    for event in events:
        match event.body:
            case e.CallStarted(call=call) if call.name == "bash":
                started[call.id] = str(call.arguments.get("command", "")).strip()
            case e.CallFinished(step=step, exit_code=0, result=result) if result.call_id in started:
                yield step, started[result.call_id]
            case _:
                continue
