"""A run's journal, printed as it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator.cli import document
from orchestrator.cli.layout import put
from orchestrator.cli.narrator import Narrator
from orchestrator.cli.wording import Line
from orchestrator.journal.live import Said

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.cli.screen import Screen
    from orchestrator.events import Event
    from orchestrator.runs import Outcome


def tell(
    screen: Screen, run_id: str, events: Iterable[Event | Said], *, progress: bool, known: Iterable[Event] = ()
) -> tuple[list[Line], Outcome | None]:
    """Print events as they come, as words or JSON lines; with `progress` a status line is kept below them.

    `known` are events before those, which aren't told any more. What the model is just saying is drawn above the status
    line, and in JSON it is a line of its own.

    Returns what is to be said of the outcome, which isn't printed yet (something may have to stand before it), and the
    outcome.
    """
    narrator, end = Narrator(screen.id(run_id)), list[Line]()
    for before in known:
        narrator.tell(before)
    if not screen.json:
        put(screen, [Line("run", Text(screen.id(run_id), "bold"))])
    with screen.progress(narrator.status if progress else None, above=narrator.saying):
        for event in events:
            if isinstance(event, Said):
                narrator.hear(event)
                if screen.json:
                    document.said(run_id, event)
                continue
            told = narrator.tell(event)
            if screen.json:
                document.event(run_id, event)
                continue
            put(screen, end)  # It wasn't the end: the run was taken up again.
            end = told if narrator.outcome is not None else []
            put(screen, told if narrator.outcome is None else [])
    return end, narrator.outcome
